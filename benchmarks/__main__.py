"""``python -m benchmarks``: measure pairs of sides over the grid, or what an option selects, and print a table."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.grid import Grid, write_json
from benchmarks.layers.measure import PEERS, Layers
from benchmarks.layers.workloads import trainings
from benchmarks.machine import thread_numbers, usual_threads
from benchmarks.memory import COMPARED, WORKLOADS, Memory
from benchmarks.multiplies import Multiplies, all_shapes, parse_shapes
from benchmarks.overhead import Overhead
from benchmarks.report import row_name
from benchmarks.sides import DEFAULT_PAIRS, SIDES
from benchmarks.workloads import GRID, QUICK, Workload, select

Measurement = Grid | Layers | Memory | Multiplies | Overhead


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        print(_listing())
        return 0
    try:
        if options.json is not None and not options.json.resolve().parent.is_dir():
            raise ValueError(f"--json: no such folder: {options.json.resolve().parent}")
        measurement = _measurement(options)
    except ValueError as error:
        parser.error(str(error))
    record, results = measure(measurement, options.json)
    print(measurement.report(record, results, options.format))
    return 1 if any(result["status"] in ("wrong", "failed") for result in results) else 0


def measure(measurement: Measurement, file: Path | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Measure and report progress; return the record and the results, also written to `file` as they arrive."""
    record, results = measurement.describe(), []
    size, start = measurement.size(), time.monotonic()
    try:
        for done, result in enumerate(measurement.results(), 1):
            results.append(result)
            _say(f"[{done}/{size}, {time.monotonic() - start:.0f} s] {_outcome(measurement, result)}")
            if file is not None:
                write_json(file, {**record, "complete": done == size, "results": results})
    except KeyboardInterrupt:
        _say("interrupted; what was measured so far:")
    return record, results


def _outcome(measurement: Measurement, result: dict[str, Any]) -> str:
    if result["status"] in ("timed", "measured"):
        return measurement.progress(result)
    return f"{row_name(result)}  {result['status']}, {result['side']}: {result['reason']}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time training steps of pairs of libraries that alternate in one process.",
        epilog="Exit code 1: a side was wrong or failed. Absent libraries are skipped and named.",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--overhead", action="store_true", help="time steps without arithmetic on the native engine")
    instead.add_argument("--memory", action="store_true", help="peak memory of processes that train, side by side")
    instead.add_argument(
        "--layers", action="store_true", help="convolution, recurrence, attention beside PyTorch and JAX"
    )
    instead.add_argument(
        "--gemm", action="store_true", help="matrix multiplies beside NumPy and PyTorch; --workload: 128x784x128,…"
    )
    instead.add_argument("--list", action="store_true", help="list workloads, sides and default pairs")
    parser.add_argument(
        "--workload", metavar="NAMES", help="comma-separated names or their beginnings up to a slash (default: all)"
    )
    parser.add_argument("--sides", metavar="A,B,…", help="pair the first side with each of the others")
    parser.add_argument("--pairs", metavar="A:B,…", help="the pairs; a side with itself shows the noise")
    parser.add_argument("--threads", metavar="N,…", help="numbers of threads (default: 1,2; --memory: 1)")
    parser.add_argument("--seconds", type=float, help="seconds for which sides alternate (default: 2; --gemm: 0.1)")
    parser.add_argument("--format", choices=("text", "markdown"), default="text", help="of the table")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements as they arrive")
    parser.add_argument("--quick", action="store_true", help="three workloads, one thread, half a second per pair")
    return parser


def _measurement(options: argparse.Namespace) -> Measurement:
    """The settings given by the options. Raises a ValueError that names an invalid option and the expected values."""
    usual = [1] if options.quick or options.memory else usual_threads()
    threads = thread_numbers(options.threads) if options.threads else usual
    seconds = options.seconds if options.seconds is not None else (0.5 if options.quick else 2.0)
    if not 0 < seconds < float("inf"):
        raise ValueError(f"--seconds: expected a number > 0, got {seconds}")
    if options.layers:
        _refuse(options, "--layers", "pairs", "quick")
        peers = options.sides.split(",") if options.sides else list(PEERS)
        if not set(peers) <= set(PEERS):
            raise ValueError(f"--layers: expected sides among {', '.join(PEERS)}, got {options.sides!r}")
        return Layers(trainings(options.workload.split(",") if options.workload else None), peers, threads, seconds)
    if options.gemm:
        _refuse(options, "--gemm", "sides", "pairs", "quick")
        shapes = parse_shapes(options.workload) if options.workload else all_shapes()
        return Multiplies(shapes, threads, options.seconds or 0.1)
    if options.overhead:
        _refuse(options, "--overhead", "workload", "sides", "pairs")
        return Overhead(threads, seconds)
    if options.memory:
        _refuse(options, "--memory", "pairs", "seconds", "quick")
        sides = options.sides.split(",") if options.sides else list(COMPARED)
        _check_sides(sides)
        return Memory(_workloads(options, WORKLOADS), sides, threads)
    workloads = _workloads(options, QUICK if options.quick else [w.name for w in GRID])
    return Grid(workloads, _pairs(options.sides, options.pairs), threads, seconds)


def _refuse(options: argparse.Namespace, mode: str, *names: str) -> None:
    for name in names:
        if getattr(options, name):
            raise ValueError(f"--{name} cannot be combined with {mode}")


def _workloads(options: argparse.Namespace, default: Sequence[str]) -> list[Workload]:
    return select(options.workload.split(",") if options.workload else list(default))


def _check_sides(names: Sequence[str]) -> None:
    for name in names:
        if name not in SIDES:
            raise ValueError(f"expected sides among {', '.join(SIDES)}, got {name!r}")


def _pairs(sides: str | None, pairs: str | None) -> list[tuple[str, str]]:
    if sides and pairs:
        raise ValueError("--sides and --pairs exclude each other")
    wanted = list(DEFAULT_PAIRS)
    if sides:
        first, *others = sides.split(",")
        if not others:
            raise ValueError(f"--sides: expected at least two sides, got {sides!r}")
        wanted = [(first, other) for other in others]
    elif pairs:
        if not all(text.count(":") == 1 for text in pairs.split(",")):
            raise ValueError(f"--pairs: expected pairs such as numpy_hand:jax_scan, got {pairs!r}")
        wanted = [(a, b) for a, b in (text.split(":") for text in pairs.split(","))]
    _check_sides([name for pair in wanted for name in pair])
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


if __name__ == "__main__":
    sys.exit(main())
