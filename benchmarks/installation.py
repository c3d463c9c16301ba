"""The size of an installation and the time of its import, each in a new environment.

``python -m benchmarks.installation WHEEL`` takes chainrule's wheel (``python -m build`` makes one) and prints a table
in Markdown. The environments are made in a temporary folder, which is removed; the peers need the package index.

Size: the files of what ``pip install`` brought, without and with byte code. Import: fresh processes that import
nothing, the package, or NumPy, in turns; time from the start of the interpreter to its end, less that of the one that
imports nothing, on the clock and of the processor (which other programs disturb less). Byte code lies there, and a
first round is not counted. NumPy's share is the processor's time for ``import numpy`` in that environment.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.measure import Spread, spread
from benchmarks.report import Style, table

PEERS = {"numpy": "numpy", "torch": "torch==2.13.0", "jax": "jax", "scikit-learn": "scikit-learn"}
MODULES = {"scikit-learn": "sklearn"}


@dataclass(frozen=True)
class Importing:
    """Milliseconds of an import: wall time and CPU time."""

    wall: Spread
    processor: Spread


@dataclass(frozen=True)
class Installed:
    """The measurements of one package: number of packages installed, megabytes, milliseconds."""

    name: str
    version: str
    packages: int
    size: float
    size_with_bytecode: float
    importing: Importing
    importing_numpy: Importing | None


def measured(name: str, requirement: str, rounds: int) -> Installed:
    """Install a package into a new environment, and measure."""
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder) / name
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", where], check=True)
        python = where / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        before = megabytes(where)
        pip = [sys.executable, "-m", "pip", "--python", str(python)]
        subprocess.run([*pip, "install", "--quiet", "--no-compile", requirement], check=True)
        size = megabytes(where) - before
        # files that Python cannot compile (templates, for example) are ignored
        subprocess.run([python, "-m", "compileall", "-q", "-j", "0", where], capture_output=True, check=False)
        with_bytecode = megabytes(where) - before
        listed = json.loads(subprocess.check_output([*pip, "list", "--format", "json"]))
        versions = {package["name"]: package["version"] for package in listed}
        modules = [MODULES.get(name, name), *(["numpy"] if "numpy" in versions else [])]
        own, *of_numpy = import_times(python, modules, rounds)
        return Installed(
            name, versions[name], len(versions), size, with_bytecode, own, of_numpy[0] if of_numpy else None
        )


def megabytes(folder: Path) -> float:
    """The sum of the sizes of the files in a folder; links are not followed."""
    found = (Path(root) / file for root, _, files in os.walk(folder) for file in files)
    return sum(path.lstat().st_size for path in found) / 1e6


def import_times(python: Path, modules: Sequence[str], rounds: int) -> list[Importing]:
    """The time in milliseconds of importing each module, minus that of an interpreter that imports nothing."""
    statements = ["pass", *(f"import {module}" for module in modules)]
    times: list[list[tuple[float, float]]] = [[] for _ in statements]
    for turn in range(rounds + 1):
        for statement, taken in zip(statements, times, strict=True):
            both = process_times([str(python), "-I", "-W", "ignore", "-c", statement])
            if turn:  # the first one reads files from the disk
                taken.append(both)
    nothing, *importing = [list(zip(*taken, strict=True)) for taken in times]
    return [
        Importing(*(spread([a - b for a, b in zip(*pair, strict=True)]) for pair in zip(taken, nothing, strict=True)))
        for taken in importing
    ]


def process_times(command: Sequence[str]) -> tuple[float, float]:
    """Run a command; return its wall time and its CPU time in milliseconds."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)
    taken, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return 1000 * taken, 1000 * used


def installation_table(results: Sequence[Installed], style: Style) -> str:
    """One row per package."""
    head = ("package", "packages", "MB", "with byte code", "import ms", "quartiles", "CPU ms", "of it NumPy")
    rows = [
        (
            f"{r.name} {r.version}",
            str(r.packages),
            f"{r.size:.0f}",
            f"{r.size_with_bytecode:.0f}",
            f"{r.importing.wall.median:.0f}",
            f"{r.importing.wall.lower:.0f}–{r.importing.wall.upper:.0f}",
            f"{r.importing.processor.median:.0f}",
            f"{r.importing_numpy.processor.median:.0f}" if r.importing_numpy else "–",
        )
        for r in results
    ]
    return table(head, rows, style)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.installation", description=__doc__)
    parser.add_argument("wheel", type=Path, help="chainrule's")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="default: all")
    parser.add_argument("--rounds", type=int, default=15, help="fresh processes of each kind (default: 15)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements")
    options = parser.parse_args(arguments)
    if not options.wheel.is_file():
        parser.error(f"wheel: no such file: {options.wheel}")
    if options.rounds < 2:
        parser.error(f"--rounds: expected an integer ≥ 2, got {options.rounds}")
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < 4e9:
        parser.error(f"the temporary folder has {free / 1e9:.1f} GB left, expected at least 4 GB")
    wanted = {"chainrule": str(options.wheel.resolve()), **{name: PEERS[name] for name in options.peers}}
    results = []
    for name, requirement in wanted.items():
        print(f"{name} …", file=sys.stderr)
        results.append(measured(name, requirement, options.rounds))
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n", encoding="utf-8")
    print(installation_table(results, "markdown"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
