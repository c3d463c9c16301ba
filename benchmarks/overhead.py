"""The overhead of a step: nearly empty steps, many of them in one call of the engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import measure
from benchmarks.grid import description
from benchmarks.process import measured, skipped
from benchmarks.report import Style, left_out, machine_lines, table
from benchmarks.sides import SIDES, Unsupported
from benchmarks.sides.side import library
from benchmarks.workloads import Workload, make_data

SIDE = "chainrule_native"
CASES = {
    "empty": "no operations: a batch of one row is gathered, the loss is one of its numbers",
    "1-1/b1/sgd": "one weight, one bias: a linear layer, squared error, gradients, update by SGD, one row a step",
}
LEGEND = """\
ns a step: wall time of a step within one call of the native engine, median over blocks, and quartiles. Each step
gathers its batch, runs the plan and writes down the loss. At most 1000 are allowed."""


@dataclass(frozen=True)
class Overhead:
    """The measurements: each case with each number of threads."""

    threads: list[int]
    seconds: float = 2.0

    def size(self) -> int:
        return len(CASES) * len(self.threads)

    def describe(self) -> dict[str, Any]:
        return {**description([SIDE], self.threads, seconds=self.seconds), "cases": CASES}

    def results(self) -> Iterator[dict[str, Any]]:
        """One result a case and number of threads, each from a process of its own."""
        for case in CASES:
            for threads in self.threads:
                absent = SIDES[SIDE].absent()
                job = {"case": case, "threads": threads, "seconds": self.seconds}
                found = skipped(SIDE, absent) if absent else measured("benchmarks.overhead", job)
                yield {"case": case, "threads": threads, **found}

    def progress(self, result: dict[str, Any]) -> str:
        return f"{result['case']} {result['threads']}T  {1e9 * result['seconds_per_step']['median']:.0f} ns"

    def report(self, record: dict[str, Any], results: Sequence[dict[str, Any]], style: Style) -> str:
        """The machine and the table of cases."""
        timed = [result for result in results if result["status"] == "timed"]
        parts = [machine_lines(record)]
        if timed:
            parts += [
                cases_table(timed, style),
                "\n".join([*(f"{case}: {what}." for case, what in CASES.items()), LEGEND]),
            ]
        return "\n\n".join([*parts, *left_out(results)]) + "\n"


def cases_table(timed: Sequence[dict[str, Any]], style: Style) -> str:
    rows = []
    for result in timed:
        low, median, high = (f"{1e9 * result['seconds_per_step'][name]:.0f}" for name in ("lower", "median", "upper"))
        rows.append((result["case"], str(result["operations"]), str(result["threads"]), median, f"{low}–{high}"))
    return table(("step", "operations", "threads", "ns a step", "quartiles"), rows, style)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Time one case; the status is "timed", or "skipped" without a native engine."""
    # Long calls, because the call itself is no part of a step.
    workload = Workload("1-1/b1/sgd", (1, 1), "relu", 1, "sgd", "mse", 1e-3, batches=256, passes=64)
    data = make_data(workload)
    try:
        runner: Any = SIDES[SIDE].make(workload, data, job["threads"])
    except Unsupported as error:
        return skipped(SIDE, str(error))
    if job["case"] == "empty":
        runner = type(runner)(_empty_step(job["threads"]), data, workload.passes, lambda: None)
    first, second = measure.alternate(runner, runner, job["seconds"])
    times = first + second
    return {
        "status": "timed",
        "operations": len(runner.binding.plan.operations),
        "steps_per_run": runner.steps_per_run,
        "seconds_per_step": asdict(measure.spread(times)),
        "samples": times,
    }


def _empty_step(threads: int) -> Any:
    """A plan without operations, bound to the native engine: its output is the one number of its first input."""
    engine, plan, tensor = library("chainrule.engine"), library("chainrule.plan"), library("chainrule.core.tensor")
    with tensor.Recording("an empty step") as recording:
        x, y = (tensor.traced_leaf((1, 1), "float32", frozenset({recording}), name=name) for name in "XY")
        built, _ = plan.build([x.reshape(())], [x, y], name="an empty step")
    return engine.bind(built, engine="native", threads=threads)
