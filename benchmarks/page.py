"""``python -m benchmarks.page FOLDER``: run all measurements and print the Markdown tables of docs/performance.md.

FOLDER holds the data set of the whole programs (see `benchmarks.programs`). Each measurement's record and results are
kept as JSON in the folder that ``--json`` names.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.__main__ import Measurement, measure
from benchmarks.grid import Grid, write_json
from benchmarks.layers.measure import PEERS, Layers
from benchmarks.layers.workloads import trainings
from benchmarks.machine import usual_threads
from benchmarks.memory import COMPARED, WORKLOADS, Memory, peaks_table
from benchmarks.multiplies import OTHERS, Multiplies, all_shapes, shapes_table, summary_table
from benchmarks.overhead import Overhead, cases_table
from benchmarks.programs.__main__ import PROGRAMS, Programs, programs_table
from benchmarks.report import Style, conditions, left_out, machine_lines, microseconds, table
from benchmarks.workloads import GRID, select

NATIVE_PAIRS = [("chainrule_native", "jax_scan"), ("chainrule_native", "torch_eager")]
NUMPY_PAIRS = [("chainrule_eager", "torch_eager"), ("chainrule_compiled", "numpy_hand")]
NUMPY_WORKLOADS = ["64-32-10", "784-128-10/b128"]
LAYERS = ["lenet/b8", "lenet/b32", "lenet/b128", "cnn/b32", "lstm/b32", "gru/b32", "gpt/b16", "makemore/b32"]
SHAPES = [*OTHERS, (1024, 1024, 1024)]  # of the multiplies that are shown; the summary is of all
Table = Callable[[Sequence[dict[str, Any]], Style], str]
HEAD = ("workload", "threads", "side", "µs", "peer", "µs", "times faster", "quartiles", "multiply rate")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("folder", type=Path, help="with the four IDX files of an MNIST-like data set")
    parser.add_argument("--seconds", type=float, default=2.0, help="alternate each pair for so long (default: 2)")
    parser.add_argument("--rounds", type=int, default=3, help="of the whole programs (default: 3)")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="keep everything measured here")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        parser.error(f"there is no folder {options.folder}")
    if not 0 < options.seconds < float("inf") or options.rounds < 1:
        parser.error("--seconds takes a number above zero, --rounds a whole number from 1")

    threads = usual_threads()
    kept: Path | None = options.json
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
    grid = Grid(list(GRID), NATIVE_PAIRS, threads, options.seconds)
    layers = Layers(trainings(LAYERS), list(PEERS), threads, options.seconds)
    multiplies = Multiplies(all_shapes(), threads, options.seconds / 20)
    measurements: list[tuple[str, str, Measurement, Table]] = [
        ("native", "The native engine", grid, pairs_table),
        ("layers", "Convolution, recurrence and attention", layers, pairs_table),
        ("multiplies", "Matrix multiplications", multiplies, multiplies_table),
        ("numpy", "The NumPy engine", replace(grid, workloads=select(NUMPY_WORKLOADS), pairs=NUMPY_PAIRS), pairs_table),
        ("overhead", "Overhead of a step", Overhead(threads, options.seconds), cases_table),
        ("memory", "Memory", Memory(select(list(WORKLOADS)), list(COMPARED), [1]), peaks_table),
    ]
    programs = Programs(options.folder, list(PROGRAMS), threads, options.rounds)

    sections, everything = [f"```text\n{machine_lines(grid.describe())}\n```"], []
    for name, title, measurement, as_table in measurements:
        _, results = measure(measurement, kept / f"{name}.json" if kept else None)
        sections.append(_section(title, results, as_table))
        everything += results
    results = programs.results()
    if kept is not None:
        write_json(kept / "programs.json", {**programs.describe(), "results": results})
    sections.append(_section("Whole programs", results, programs_table))
    print("\n\n".join(sections))
    return 1 if any(result["status"] in ("wrong", "failed") for result in [*everything, *results]) else 0


def _section(title: str, results: Sequence[dict[str, Any]], as_table: Table) -> str:
    """A heading, the table of results, and the measurements that were skipped."""
    measured = [result for result in results if result["status"] in ("timed", "measured")]
    found = conditions(measured)
    parts = [f"## {title}", *([f"Measured at: {found}."] if found else [])]
    parts += [*([as_table(measured, "markdown")] if measured else []), *left_out(results)]
    return "\n\n".join(parts)


def pairs_table(results: Sequence[dict[str, Any]], style: Style) -> str:
    rows = []
    for result in results:
        a, b = result["pair"]
        mine, other = (microseconds(side["seconds_per_step"]["median"]) for side in result["sides"])
        ratio, share = result["ratio"], result["sides"][0]["multiply_share"]
        quartiles = f"{ratio['lower']:.2f}–{ratio['upper']:.2f}"
        name = result["workload"], str(result["threads"])
        rows.append((*name, a, mine, b, other, f"{ratio['median']:.2f}", quartiles, f"{100 * share:.0f}%"))
    return table(HEAD, rows, style)


def multiplies_table(results: Sequence[dict[str, Any]], style: Style) -> str:
    """Some shapes, and the summary of all of them."""
    return f"{shapes_table(results, style, SHAPES)}\n\n{summary_table(results, style)}"


if __name__ == "__main__":
    sys.exit(main())
