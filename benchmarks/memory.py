"""Peak resident memory of a process that trains a workload, with separate processes for each side.

The peak is the kernel's own figure, VmHWM in /proc/self/status, read after the last step: interpreter, NumPy, the
library with its shared objects as far as they were touched, the data and the training. The same line read before the
library is loaded says what of it is the interpreter, NumPy and the data. (`resource.getrusage` would not do: its
figure includes what the parent held before the process began.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.grid import description
from benchmarks.measure import spread
from benchmarks.process import measured, skipped
from benchmarks.report import Style, left_out, machine_lines, table
from benchmarks.sides import SIDES, Unsupported
from benchmarks.workloads import Workload, make_data

COMPARED = ("chainrule_native", "torch_eager", "jax_scan")
WORKLOADS = ("784-512-512-10",)
STEPS = 64
LOSS_TOLERANCE = 0.01  # of the last loss: float32 rounding grows over the steps
STATUS = Path("/proc/self/status")
LEGEND = f"""\
MB: peak resident memory (VmHWM) of a process that takes {STEPS} training steps, rounded up to whole epochs, in 10^6
bytes: median and quartiles of some processes. before: that peak before the library was loaded (Python, NumPy, data).
/ first: how many times as much as the workload's first side."""


@dataclass(frozen=True)
class Memory:
    """The measurements: each side on each workload, in several processes."""

    workloads: list[Workload]
    sides: list[str]
    threads: list[int]
    rounds: int = 3

    def size(self) -> int:
        return len(self.workloads) * len(self.sides) * len(self.threads)

    def describe(self) -> dict[str, Any]:
        return description(self.sides, self.threads, steps=STEPS, rounds=self.rounds)

    def results(self) -> Iterator[dict[str, Any]]:
        """One result a workload, number of threads and side; one whose last loss is not the first side's is wrong."""
        for workload in self.workloads:
            for threads in self.threads:
                expected = None
                for side in self.sides:
                    found = self._measure(workload, side, threads)
                    if found["status"] == "measured":
                        expected = found["loss"] if expected is None else expected
                        if not abs(found["loss"] - expected) <= LOSS_TOLERANCE * abs(expected):
                            reason = f"the last loss is {found['loss']:.6g}, {self.sides[0]}'s {expected:.6g}"
                            found = {"status": "wrong", "side": side, "reason": reason}
                    yield {"workload": workload.name, "threads": threads, "side": side, **found}

    def _measure(self, workload: Workload, side: str, threads: int) -> dict[str, Any]:
        absent = SIDES[side].absent()
        if absent is not None:
            return skipped(side, absent)
        rounds = []
        for _ in range(self.rounds):
            job = {"workload": asdict(workload), "side": side, "threads": threads}
            rounds.append(measured("benchmarks.memory", job))
            if rounds[-1]["status"] != "measured":
                return {**rounds[-1], "side": side}
        peaks, before = ([result[name] for result in rounds] for name in ("peak", "before"))
        return {**rounds[0], "peak": asdict(spread(peaks)), "before": asdict(spread(before)), "samples": peaks}

    def progress(self, result: dict[str, Any]) -> str:
        return f"{result['workload']} {result['threads']}T {result['side']}  {_megabytes(result['peak']['median'])} MB"

    def report(self, record: dict[str, Any], results: Sequence[dict[str, Any]], style: Style) -> str:
        """The machine and the table of peaks."""
        found = [result for result in results if result["status"] == "measured"]
        parts = [machine_lines(record), *([peaks_table(found, style), LEGEND] if found else [])]
        return "\n\n".join([*parts, *left_out(results)]) + "\n"


def peaks_table(found: Sequence[dict[str, Any]], style: Style) -> str:
    rows = []
    first: dict[tuple[str, int], float] = {}
    for result in found:
        low, median, high = (result["peak"][name] for name in ("lower", "median", "upper"))
        ratio = median / first.setdefault((result["workload"], result["threads"]), median)
        name = result["workload"], str(result["threads"]), result["side"]
        figures = _megabytes(median), f"{_megabytes(low)}–{_megabytes(high)}", _megabytes(result["before"]["median"])
        rows.append((*name, *figures, f"{ratio:.2f}"))
    return table(("workload", "threads", "side", "MB", "quartiles", "before", "/ first"), rows, style)


def _megabytes(count: float) -> str:
    return f"{count / 1e6:.0f}"


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Train on one side; the status is "measured", or "skipped" where that cannot be."""
    if not STATUS.exists():
        return skipped(job["side"], f"there is no {STATUS} here")
    workload = Workload(**{**job["workload"], "layers": tuple(job["workload"]["layers"])})
    data = make_data(workload)
    before = peak_memory()
    try:
        runner = SIDES[job["side"]].make(workload, data, job["threads"])
    except Unsupported as error:
        return skipped(job["side"], str(error))
    epochs = -(-STEPS // workload.epoch_steps)
    runner.run(epochs * workload.epoch_steps // runner.steps_per_run)
    runner.finish()
    return {
        "status": "measured",
        "peak": peak_memory(),
        "before": before,
        "steps": epochs * workload.epoch_steps,
        "loss": runner.losses()[-1],
    }


def peak_memory() -> int:
    """The peak resident memory of this process so far, in bytes."""
    for line in STATUS.read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"{STATUS} has no line VmHWM")
