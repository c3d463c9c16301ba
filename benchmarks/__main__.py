"""``python -m benchmarks``: measure pairs of sides over the grid and print a table."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.grid import Grid, write_json
from benchmarks.report import report
from benchmarks.sides import DEFAULT_PAIRS, SIDES
from benchmarks.workloads import GRID, QUICK, select


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        print(_listing())
        return 0
    try:
        grid = _grid(options)
    except ValueError as error:
        parser.error(str(error))

    record, results = grid.describe(), []
    start = time.monotonic()
    try:
        for done, result in enumerate(grid.results(), 1):
            results.append(result)
            _progress(done, grid.size(), time.monotonic() - start, result)
            if options.json is not None:
                write_json(options.json, {**record, "complete": done == grid.size(), "results": results})
    except KeyboardInterrupt:
        print("interrupted; what was measured so far:", file=sys.stderr)
    print(report(record, results, options.format))
    return 1 if any(result["status"] in ("wrong", "failed") for result in results) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time training steps of pairs of libraries that alternate in one process.",
        epilog="Exit code 1: a side was wrong or failed. Absent libraries are skipped and named.",
    )
    parser.add_argument(
        "--workload", metavar="NAMES", help="comma-separated names or their beginnings up to a slash (default: all)"
    )
    parser.add_argument("--sides", metavar="A,B,…", help="pair the first side with each of the others")
    parser.add_argument("--pairs", metavar="A:B,…", help="the pairs; a side with itself shows the noise")
    parser.add_argument("--threads", metavar="N,…", default=None, help="numbers of threads (default: 1,2)")
    parser.add_argument("--seconds", type=float, default=None, help="alternate each pair for so long (default: 2)")
    parser.add_argument("--format", choices=("text", "markdown"), default="text", help="of the table")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured, after each pair")
    parser.add_argument("--quick", action="store_true", help="three workloads, one thread, half a second a pair")
    parser.add_argument("--list", action="store_true", help="list workloads, sides and default pairs")
    return parser


def _grid(options: argparse.Namespace) -> Grid:
    """The grid that the options ask for. Raises ValueError that names the option and what would do."""
    if options.workload:
        workloads = select(options.workload.split(","))
    else:
        workloads = select(list(QUICK)) if options.quick else list(GRID)
    threads_text = options.threads or ("1" if options.quick else "1,2")
    threads = [int(text) if text.isdigit() else 0 for text in threads_text.split(",")]
    if min(threads) < 1:
        raise ValueError(f"--threads is {threads_text!r}, it takes whole numbers from 1, such as 1,2")
    seconds = options.seconds if options.seconds is not None else (0.5 if options.quick else 2.0)
    if not seconds > 0:
        raise ValueError(f"--seconds is {seconds}, it has to be above zero")
    return Grid(workloads, _pairs(options.sides, options.pairs), threads, seconds)


def _pairs(sides: str | None, pairs: str | None) -> list[tuple[str, str]]:
    if sides and pairs:
        raise ValueError("--sides and --pairs exclude each other")
    wanted = list(DEFAULT_PAIRS)
    if sides:
        first, *others = sides.split(",")
        if not others:
            raise ValueError(f"--sides is {sides!r}, it takes at least two sides")
        wanted = [(first, other) for other in others]
    elif pairs:
        if not all(text.count(":") == 1 for text in pairs.split(",")):
            raise ValueError(f"--pairs is {pairs!r}, it takes pairs such as numpy_hand:jax_scan")
        wanted = [(a, b) for a, b in (text.split(":") for text in pairs.split(","))]
    for a, b in wanted:
        for name in (a, b):
            if name not in SIDES:
                raise ValueError(f"no side is called {name!r}; there are: {', '.join(SIDES)}")
    return wanted


def _listing() -> str:
    lines = ["Workloads:"]
    lines += [f"  {workload.name:26} {workload.flops():>13,} flop a step" for workload in GRID]
    lines += ["Sides:"]
    for side in SIDES.values():
        absent = side.absent()
        lines.append(f"  {side.name:26} {side.runs}" + (f" [{absent}]" if absent else ""))
    lines += ["Default pairs:", *(f"  {a}:{b}" for a, b in DEFAULT_PAIRS)]
    return "\n".join(lines)


def _progress(done: int, size: int, seconds: float, result: dict[str, Any]) -> None:
    a, b = result["pair"]
    if result["status"] == "timed":
        outcome = f"{result['ratio']['median']:.2f}"
    else:
        outcome = f"{result['status']}, {result['side']}: {result['reason']}"
    text = f"[{done}/{size}, {seconds:.0f} s] {result['workload']} {result['threads']}T {a} : {b}  {outcome}"
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
