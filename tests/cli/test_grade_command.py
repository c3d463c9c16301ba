"""A class of submissions, made from the benchmark's passes: the table is right, and no submission harms another."""

from __future__ import annotations

import csv
import inspect
import json
import os
import re
import sys
import textwrap
from pathlib import Path

import pytest

from benchmarks.backward_passes.cases import cases

from .test_child import called

FAMILY = "planar_columns"
HARMFUL = {
    "hanging": "while True: pass",
    "exiting": "import os; os._exit(0)",
    "leaving": "raise SystemExit(0)",
    "broken": "def backward(:",
    "without": "x = 1",
}


def passes():
    return [c for c in cases() if c.half == "first" and c.family == FAMILY and c.intended is None]


def source(f):
    text = textwrap.dedent(inspect.getsource(f))
    return re.sub(rf"\A(@.*?\n)*?def {f.__name__}\(", "def backward(", text[text.index(f"def {f.__name__}(") :])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("class")
    found = passes()
    module = Path(inspect.getsourcefile(found[0].backward)).read_text("utf-8")
    head = module[: module.index("wrong, right = ")].replace(
        "from benchmarks.backward_passes.cases import network\n", ""
    )
    (place / "reference.py").write_text(head + "\nparameters, X, Y = data()\n", encoding="utf-8")
    (place / "class").mkdir()
    return place


def submit(folder, names, harmful):
    for path in (folder / "class").iterdir():
        path.unlink()
    found = passes()
    (folder / "class" / "writing.py").write_text(
        "import pathlib\npathlib.Path('left_behind').write_text('x')\n"
        f"pathlib.Path(__file__).write_text('nothing')\n{helpers(folder)}\n{source(found[0].backward)}",
        encoding="utf-8",
    )
    for name in harmful:
        text = HARMFUL[name]
        (folder / "class" / f"{name}.py").write_text(text, encoding="utf-8")
    for name, case in names.items():
        (folder / "class" / f"{name}.py").write_text(f"{helpers(folder)}\n{source(case.backward)}", encoding="utf-8")


def helpers(folder):
    return (folder / "reference.py").read_text("utf-8")


def graded(folder, *more):
    before = {p.name: p.read_text("utf-8") for p in (folder / "class").iterdir()}
    result = called(
        folder, "grade", "class", "--forward", "reference.py", "--csv", "grades.csv",
        "--json", "grades.json", "--html", "grades.html", *more, timeout=240,
    )  # fmt: skip
    assert {p.name: p.read_text("utf-8") for p in (folder / "class").iterdir()} == before
    assert not list(folder.rglob("left_behind"))
    return result


def check(folder, names, harmful):
    submit(folder, names, harmful)
    result = graded(folder)
    assert result.returncode == 1, result.stderr
    found = {g["name"]: g for g in json.loads((folder / "grades.json").read_text("utf-8"))}
    assert set(found) == {*names, *harmful, "writing"}
    for name in harmful:
        assert found[name]["problem"] and not found[name]["ok"] and found[name]["points"] == 0
    assert "os._exit" in found["exiting"]["problem"]
    assert "hanging" not in harmful or "not finished after" in found["hanging"]["problem"]
    for name, case in {**names, "writing": passes()[0]}.items():
        grade = found[name]
        assert not grade["problem"], grade
        assert grade["ok"] == case.is_right, grade
        assert case.is_right or (grade["first"] in case.steps and grade["cause"] in case.causes), grade
        assert case.is_right == (grade["points"] == grade["most"]), grade
    with open(folder / "grades.csv", encoding="utf-8") as file:
        rows = {row["submission"]: row for row in csv.DictReader(file)}
    assert {n: int(r["points"]) for n, r in rows.items()} == {n: g["points"] for n, g in found.items()}
    page = (folder / "grades.html").read_text("utf-8")
    assert "█" in page and all(name in page for name in found)
    for name in found:
        assert name in result.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="limits of Unix")
def test_a_class_is_graded_and_no_submission_harms_another(folder):
    check(folder, {"student": next(c for c in passes() if not c.is_right)}, ["exiting"])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits of Unix")
def test_thirty_submissions_are_graded(folder):
    chosen = passes() * 3
    names = {f"student{i:02}": case for i, case in enumerate(chosen[: 30 - len(HARMFUL) - 1])}
    check(folder, names, list(HARMFUL))


def test_a_layer_whose_reference_has_no_backward_pass(tmp_path, run):
    (tmp_path / "class").mkdir()
    data = "import numpy as np\nx, w = np.ones((3, 2)) * [[1], [2], [4]], np.arange(8.0).reshape(2, 4)\n"
    (tmp_path / "reference.py").write_text(data + "def forward(x, w):\n    return x @ w, (x, w)\n")
    text = "def backward(dout, cache):\n    x, w = cache\n    return dout @ w.T, x.T @ dout\n"
    (tmp_path / "class" / "ada.py").write_text(text.replace("x.T @ dout", "x.T @ dout / len(x)"))
    result = run("grade", "class", "--forward", "reference.py", "--layer", status=1)
    assert "1/2" in result.stdout and "double-mean" in result.stdout


@pytest.mark.slow
def test_what_cannot_be_graded_is_said(tmp_path, run):
    (tmp_path / "class").mkdir()
    (tmp_path / "reference.py").write_text("x = 1\n")
    assert "holds no submissions" in run("grade", "class", "--forward", "reference.py", status=2).stderr
    (tmp_path / "class" / "ada.py").write_text("x = 1\n")
    assert "has no parameters" in run("grade", "class", "--forward", "reference.py", status=2).stderr
    assert os.listdir(tmp_path / "class") == ["ada.py"]
