"""Check the contents of a built sdist and wheel, and use the wheel in a clean environment.

``python -m build`` writes both into dist/; then, from anywhere: ``python tools/check_distributions.py dist``. With
``--contents`` nothing is installed. The last line of a successful check says ok.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterable
from email.parser import Parser
from pathlib import Path

#: Patterns of the paths in a wheel; each must match a file, and each file a pattern.
WHEEL = (
    r"chainrule/([a-z_]+/)*[a-zA-Z_]+\.py",
    r"chainrule/py\.typed",
    r"chainrule/data/digits\.(npz|txt)",
    r"chainrule/engine/_native\.pyi",
    r"chainrule/reporting/page\.(css|js)",
    r"chainrule/show/style\.css",
    r"chainrule-[^/]+\.dist-info/METADATA",
    r"chainrule-[^/]+\.dist-info/WHEEL",
    r"chainrule-[^/]+\.dist-info/RECORD",
    r"chainrule-[^/]+\.dist-info/entry_points\.txt",
    r"chainrule-[^/]+\.dist-info/licenses/LICENSE",
)
#: In a wheel only if it was built with a compiler.
NATIVE = r"chainrule/engine/_native\.[^/]+\.(so|pyd)"

#: The top level of an sdist, which contains nothing else.
SDIST = (
    ".ci .gitignore ARCHITECTURE.md CHANGELOG.md CITATION.cff CMakeLists.txt CONTRIBUTING.md LICENSE PKG-INFO "
    "README.md benchmarks docs examples mkdocs.yml pyproject.toml src tests tools"
).split()
NEEDED_IN_SDIST = (
    "src/chainrule/__init__.py src/chainrule/py.typed src/chainrule/data/digits.npz src/chainrule/engine/_native.pyi "
    "src/native/CMakeLists.txt src/native/bind.cpp tests/core/test_tensor.py tests/ops/test_table.py docs/index.md "
    "docs/images/train.svg examples/article_000_backpropagation.py benchmarks/grid.py tools/mkdocs_hooks.py"
).split()
NEVER = re.compile(
    r"\.(so|pyd|dll|dylib|o|a|pyc|egg-info)$|(^|/)(__pycache__|\.git|\.\w+_cache|\.hypothesis|dist)/|^runs/"
)

METADATA = {
    "Name": "chainrule",
    "License-Expression": "MIT",
    "License-File": "LICENSE",
    "Requires-Python": ">=3.11",
    "Description-Content-Type": "text/markdown",
}

SMOKE = """
import sys
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import data, engine, nn

assert Path(cr.__file__).is_relative_to(sys.prefix), cr.__file__
assert cr.gradcheck(lambda x: np.sum(np.tanh(x) ** 2), np.linspace(-1, 1, 5))
assert np.isclose(cr.compile(cr.grad(np.tanh))(0.5), 1 - np.tanh(0.5) ** 2)
digits = data.load_digits()
prepare = data.Preprocessor.fit(digits)
X, y = prepare.transform(digits), prepare.transform_target(digits)
model = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
for name in engine.available():
    history = cr.fit(model, X, y, loss="cross_entropy", epochs=1, seed=0, engine=name)
    assert np.isfinite(history[-1]["loss"])
print("smoke test passed with the engines", *engine.available())
"""


def wrong_in_wheel(names: Iterable[str], *, native: bool) -> list[str]:
    """Return the missing and the unexpected paths of a wheel."""
    files = [name for name in names if not name.endswith("/")]
    patterns = (*WHEEL, NATIVE) if native else WHEEL
    missing = [f"the wheel has no {p}" for p in patterns if not any(re.fullmatch(p, f) for f in files)]
    return missing + [f"the wheel has {f}" for f in files if not any(re.fullmatch(p, f) for p in patterns)]


def wrong_in_sdist(names: Iterable[str]) -> list[str]:
    """Return the missing and the unexpected paths of an sdist, relative to its folder."""
    files = [name for name in names if not name.endswith("/")]
    tops = {f.split("/")[0] for f in files}
    wrong = [f"the sdist has no {top}" for top in SDIST if top not in tops]
    wrong += [f"the sdist has no {f}" for f in NEEDED_IN_SDIST if f not in files]
    wrong += [f"the sdist has {top}" for top in sorted(tops - set(SDIST))]
    return wrong + [f"the sdist has {f}" for f in files if NEVER.search(f)]


def wrong_in_metadata(text: str) -> list[str]:
    """Return what is wrong with a METADATA or PKG-INFO file."""
    metadata = Parser().parsestr(text)
    return [f"{key} is {metadata[key]!r}, not {value!r}" for key, value in METADATA.items() if metadata[key] != value]


def contents(folder: Path, *, native: bool) -> tuple[Path, list[str]]:
    """Return the wheel in `folder`, and what is wrong with the wheel and the sdist."""
    (wheel,), (sdist,) = folder.glob("chainrule-*.whl"), folder.glob("chainrule-*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        paths = archive.namelist()
        metadata = archive.read(next(p for p in paths if p.endswith("/METADATA"))).decode()
    with tarfile.open(sdist) as archive_of_source:
        entries = [m.name for m in archive_of_source.getmembers() if m.isfile()]
        root = entries[0].split("/")[0]
        member = archive_of_source.extractfile(f"{root}/PKG-INFO")
        assert member is not None
        stated = member.read().decode()
    wrong = wrong_in_wheel(paths, native=native) + wrong_in_sdist([e.removeprefix(root + "/") for e in entries])
    wrong += wrong_in_metadata(metadata)
    if stated != metadata:
        wrong.append("the metadata of sdist and wheel differ")
    return wheel, wrong


def use(wheel: Path) -> None:
    """Install the wheel into a new environment, and use it from an empty folder."""
    with tempfile.TemporaryDirectory() as there:
        venv.create(Path(there) / "environment", with_pip=True)
        programs = Path(there) / "environment" / ("Scripts" if os.name == "nt" else "bin")
        work = Path(there) / "work"
        work.mkdir()
        settings = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "CHAINRULE_ENGINE")}
        for command in (
            [str(programs / "python"), "-m", "pip", "install", "--quiet", str(wheel.resolve())],
            [str(programs / "chainrule"), "doctor"],
            [str(programs / "chainrule"), "train", "digits", "--epochs", "2", "--seed", "0"],
            [str(programs / "python"), "-I", "-W", "error", "-c", SMOKE],
        ):
            subprocess.run(command, cwd=work, env=settings, check=True)


def main() -> int:
    """Check; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the wheel and the sdist are")
    parser.add_argument("--contents", action="store_true", help="look at the contents only")
    parser.add_argument("--no-native", action="store_true", help="the wheel was built without a compiler")
    arguments = parser.parse_args()
    wheel, wrong = contents(arguments.folder, native=not arguments.no_native)
    for message in wrong:
        print(message, file=sys.stderr)
    if wrong:
        return 1
    if not arguments.contents:
        use(wheel)
    print(f"ok: {wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
