"""What is shipped: types, the native module's stub, the distributions' contents, what the project says of itself."""

from __future__ import annotations

import ast
import importlib.resources
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import chainrule
from chainrule import engine
from tools import check_distributions, make_stub

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "tests" / "typing" / "program.py"
INSTALLED = Path(chainrule.__file__).resolve().parent


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


# -- types -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif("site-packages" not in INSTALLED.parts, reason="the installed package is meant")
def test_a_users_program_passes_mypy_strict(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(PROGRAM)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_the_users_program_runs(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(PROGRAM)], cwd=tmp_path, check=True)


@pytest.mark.skipif("native" not in engine.available(), reason="the native engine was not built")
@pytest.mark.skipif(importlib.util.find_spec("nanobind") is None, reason="nanobind is not installed")
def test_the_stub_is_what_nanobind_makes_of_the_native_module() -> None:
    kept = ast.dump(ast.parse(make_stub.STUB.read_text(encoding="utf-8")))
    assert kept == ast.dump(ast.parse(make_stub.generated())), "python tools/make_stub.py writes it anew"


@pytest.mark.parametrize("name", ["py.typed", "engine/_native.pyi"])
def test_the_package_brings_its_types(name: str) -> None:
    assert importlib.resources.files("chainrule").joinpath(name).is_file()


# -- what the project says of itself -----------------------------------------------------------------------------------


def released() -> list[str]:
    return re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M)


def test_the_version_is_the_same_everywhere() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    version = project()["version"]
    assert released()[0] == version == chainrule.__version__
    assert re.search(r"^version: (.*)$", citation, flags=re.M)[1] == version  # type: ignore[index]


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### (.*)$", text, flags=re.M)
    assert headings and set(headings) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - (unreleased|\d{4}-\d\d-\d\d)", h) for h in _titles(text))
    assert len(released()) == len(set(released()))


def _titles(text: str) -> list[str]:
    return re.findall(r"^## (.*)$", text, flags=re.M)


def test_licence_and_authors_are_stated() -> None:
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert project()["license"] == "MIT" and licence.startswith("MIT License") and "\nlicense: MIT\n" in citation
    (author,) = project()["authors"]
    assert author["name"] in licence and f"- name: {author['name']}" in citation


def test_every_extra_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.partition("## Extras")[2]
    assert [extra for extra in project()["optional-dependencies"] if f"| `{extra}` |" not in table] == []


# -- the distributions -------------------------------------------------------------------------------------------------

WHEEL = [
    "chainrule/__init__.py",
    "chainrule/nn/layers.py",
    "chainrule/py.typed",
    "chainrule/data/digits.npz",
    "chainrule/engine/_native.pyi",
    "chainrule/engine/_native.cpython-311-x86_64-linux-gnu.so",
    "chainrule/reporting/page.css",
    "chainrule/show/style.css",
    *(f"chainrule-0.1.0.dist-info/{f}" for f in "METADATA WHEEL RECORD entry_points.txt licenses/LICENSE".split()),
]
SDIST = [*check_distributions.NEEDED_IN_SDIST, ".ci/run"]
SDIST += [top for top in check_distributions.SDIST if not any(path.startswith(top + "/") for path in SDIST)]


def test_good_contents_pass() -> None:
    assert check_distributions.wrong_in_wheel(WHEEL, native=True) == []
    assert check_distributions.wrong_in_sdist(SDIST) == []


def test_every_file_of_the_package_is_expected_in_a_wheel() -> None:
    package = ROOT / "src" / "chainrule"
    files = [f"chainrule/{f.relative_to(package)}" for f in package.rglob("*") if f.is_file()]
    files = [f for f in files if not check_distributions.NEVER.search(f)]
    assert check_distributions.wrong_in_wheel([*WHEEL, *files], native=True) == []


def test_every_python_file_is_expected_in_an_sdist() -> None:
    files = [str(f.relative_to(ROOT)) for top in ("src", "tests", "benchmarks") for f in (ROOT / top).rglob("*.py")]
    assert check_distributions.wrong_in_sdist([*SDIST, *files]) == []


@pytest.mark.parametrize("name", WHEEL[2:])
def test_what_is_missing_from_a_wheel_is_seen(name: str) -> None:
    assert check_distributions.wrong_in_wheel([f for f in WHEEL if f != name], native=True)


@pytest.mark.parametrize("name", ["tests/test_a.py", "benchmarks/a.py", "chainrule/runs/x.npz", "chainrule/data/a.csv"])
def test_what_does_not_belong_into_a_wheel_is_seen(name: str) -> None:
    assert check_distributions.wrong_in_wheel([*WHEEL, name], native=True) == [f"the wheel has {name}"]


def test_a_wheel_without_the_native_engine_says_so() -> None:
    pure = [f for f in WHEEL if not f.endswith(".so")]
    assert check_distributions.wrong_in_wheel(pure, native=False) == []
    assert check_distributions.wrong_in_wheel(WHEEL, native=False)


@pytest.mark.parametrize("name", SDIST)
def test_what_is_missing_from_an_sdist_is_seen(name: str) -> None:
    assert check_distributions.wrong_in_sdist([f for f in SDIST if f != name])


@pytest.mark.parametrize(
    "name", ["src/chainrule/engine/_native.so", "runs/1/model.safetensors", "build/a.o", "docs/__pycache__/a.pyc"]
)
def test_what_does_not_belong_into_an_sdist_is_seen(name: str) -> None:
    assert check_distributions.wrong_in_sdist([*SDIST, name])


def test_metadata_is_read() -> None:
    good = "\n".join(f"{key}: {value}" for key, value in check_distributions.METADATA.items()) + "\n\ntext"
    assert check_distributions.wrong_in_metadata(good) == []
    assert check_distributions.wrong_in_metadata(good.replace("MIT", "GPL")) == [
        "License-Expression is 'GPL', not 'MIT'"
    ]
