"""Matrix multiplies of training: the native engine's beside those of NumPy's BLAS and PyTorch.

The sides of a shape take turns in one process, in short blocks, each with an output of its own that it fills again:
the native engine its plan's, NumPy and PyTorch one given as `out`. A side's figure is the median over its blocks; a
ratio is taken block by block, to the better of the peers' medians. "compiled" is the call of the compiled function,
which also returns a new array.
"""

from __future__ import annotations

import gc
import importlib.util
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks import machine, measure
from benchmarks.grid import description
from benchmarks.process import measured, skipped
from benchmarks.report import Style, left_out, machine_lines, table
from benchmarks.sides import SIDES

OURS, PEERS = "chainrule", ("numpy", "torch")
LAYOUTS = ("NN", "NT", "TN")
SIZES = (32, 64, 128, 256, 512, 1024)
OTHERS = (  # of networks in these benchmarks
    *((128, 784, 128), (784, 128, 128), (256, 784, 512), (784, 256, 512)),
    *((256, 512, 512), (96, 300, 224), (64, 300, 200)),
)
SAMPLE_SECONDS = 4e-4
PAUSE_SECONDS = 2e-2  # longer than OpenMP threads spin after their work
TOLERANCE = 1e-3
HEAD = ("m×k×n", "threads", "layout", "native", "spread", "compiled", "numpy", "torch", "ratio", "spread")
LEGEND = """\
Gflop/s, float32: the medians over blocks; spread: quartiles. NN: A and B as they are, NT: B is the transpose of an
array, TN: A is. native: a bound plan, compiled: the call that returns a new array. ratio: native to the better peer."""

Shape = tuple[int, int, int]
Times = dict[str, list[float]]


def all_shapes() -> list[Shape]:
    """Every m × k × n of the usual sizes of layers and batches, and some of networks in these benchmarks."""
    return [*OTHERS, *(s for s in itertools.product(SIZES, repeat=3) if s not in OTHERS)]


def parse_shapes(text: str) -> list[Shape]:
    """The shapes in "128x784x128,64x64x64". Raises ValueError for what is none."""
    shapes = []
    for part in text.split(","):
        sizes = part.split("x")
        if len(sizes) != 3 or not all(size.isdecimal() and int(size) > 0 for size in sizes):
            raise ValueError(f"--workload: expected shapes such as 128x784x128, m×k×n, got {part!r}")
        shapes.append((int(sizes[0]), int(sizes[1]), int(sizes[2])))
    return shapes


@dataclass(frozen=True)
class Multiplies:
    """The measurements: each shape in three layouts, with each number of threads."""

    shapes: list[Shape]
    threads: list[int]
    seconds: float = 0.1

    def size(self) -> int:
        return len(self._jobs())

    def describe(self) -> dict[str, Any]:
        sides = ["chainrule_native", "numpy_hand", "torch_eager"]
        return description(sides, self.threads, seconds=self.seconds, sample_seconds=SAMPLE_SECONDS)

    def _jobs(self) -> list[dict[str, Any]]:
        """Shapes of the same m share a process."""
        rows = dict.fromkeys(m for m, _, _ in self.shapes)
        return [
            {"m": m, "threads": t, "seconds": self.seconds, "shapes": [s for s in self.shapes if s[0] == m]}
            for m in rows
            for t in self.threads
        ]

    def results(self) -> Iterator[dict[str, Any]]:
        """The cases of one m and number of threads after the other, each of a process of its own."""
        absent = SIDES["chainrule_native"].absent()
        for job in self._jobs():
            found = skipped(OURS, absent) if absent else measured(__name__, job)
            yield {"workload": f"m = {job['m']}", "threads": job["threads"], **found}

    def progress(self, result: dict[str, Any]) -> str:
        ratios = [case["ratio"]["median"] for case in result["cases"]]
        return f"{result['workload']} {result['threads']}T  ratio {min(ratios):.2f} to {max(ratios):.2f}"

    def report(self, record: dict[str, Any], results: Sequence[dict[str, Any]], style: Style) -> str:
        """The machine with its multiply rate, the table of shapes, and the summary."""
        timed = [result for result in results if result["status"] == "timed"]
        parts = [machine_lines(record)]
        if timed:
            rates = [result["multiply_rate"]["rate"] * 1e-9 for result in timed]
            parts[0] += (
                f"\nMultiply rate of one thread, from the first-level cache: {min(rates):.0f}–{max(rates):.0f} Gflop/s"
            )
            parts += [shapes_table(timed, style), LEGEND, summary_table(timed, style)]
        return "\n\n".join([*parts, *left_out(results)]) + "\n"


SUMMARY_HEAD = ("threads", "shapes", "worst ratio", "of shape", "10th percentile", "median", "below 0.95")


def summary(timed: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """For each number of threads: how far the ratios reach."""
    rows = []
    for threads in dict.fromkeys(result["threads"] for result in timed):
        cases = [case for result in timed if result["threads"] == threads for case in result["cases"]]
        ratios = np.array([case["ratio"]["median"] for case in cases])
        worst = cases[int(ratios.argmin())]
        low, middle = np.percentile(ratios, [10, 50])
        below = f"{int((ratios < 0.95).sum())}"
        at = f"{_name(worst['shape'])} {worst['layout']}"
        rows.append((str(threads), str(len(cases)), f"{ratios.min():.2f}", at, f"{low:.2f}", f"{middle:.2f}", below))
    return rows


def shapes_table(timed: Sequence[dict[str, Any]], style: Style, shapes: Sequence[Shape] | None = None) -> str:
    """The rates of all shapes, or of those given, in each layout."""
    wanted = None if shapes is None else {tuple(shape) for shape in shapes}
    found = [(case, result["threads"]) for result in timed for case in result["cases"]]
    rows = [_row(case, threads) for case, threads in found if wanted is None or tuple(case["shape"]) in wanted]
    return table(HEAD, rows, style)


def summary_table(timed: Sequence[dict[str, Any]], style: Style) -> str:
    """How far the ratios reach, of all shapes, for each number of threads."""
    return table(SUMMARY_HEAD, summary(timed), style)


def _name(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def _row(case: dict[str, Any], threads: int) -> tuple[str, ...]:
    work = 2e-9 * float(np.prod(case["shape"]))
    rates = {side: f"{work / times['median']:.1f}" for side, times in case["times"].items()}
    native, ratio = case["times"]["native"], case["ratio"]
    return (
        *(_name(case["shape"]), str(threads), case["layout"]),
        *(rates["native"], f"{work / native['upper']:.0f}–{work / native['lower']:.0f}", rates["compiled"]),
        *(rates["numpy"], rates.get("torch", "-")),
        *(f"{ratio['median']:.2f}", f"{ratio['lower']:.2f}–{ratio['upper']:.2f}"),
    )


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Time the shapes of a job in all layouts; the status is "timed", or "wrong" if a product is."""
    from chainrule.engine import _native

    # Warmed up by the first shape: a processor that was idle is slow.
    cases = []
    for shape in job["shapes"]:
        for layout in LAYOUTS:
            sides, wanted, products = _sides(shape, layout, job["threads"])
            for name, product in products.items():
                error = float(np.abs(product - wanted).max() / np.abs(wanted).max())
                if not error <= TOLERANCE:
                    return {"status": "wrong", "side": name, "reason": f"{_name(shape)} {layout} is off by {error:.3g}"}
            cases.append({"shape": shape, "layout": layout, **_compared(sides, shape, job)})
    return {
        "status": "timed",
        "cases": cases,
        "multiply_rate": {"rate": _native.multiply_rate()},
        "thread_pools": machine.blas_threads(),
        "load_average": machine.load_average(),
    }


def _sides(shape: Shape, layout: str, threads: int) -> tuple[dict[str, Callable[[], Any]], Any, dict[str, Any]]:
    """The functions to time, the product, and what each of the sides makes of it."""
    import chainrule as cr
    from chainrule import engine

    m, k, n = shape
    random = np.random.default_rng(0)
    a = random.standard_normal((k, m) if layout[0] == "T" else (m, k), dtype=np.float32)
    b = random.standard_normal((n, k) if layout[1] == "T" else (k, n), dtype=np.float32)

    def product(a: Any, b: Any) -> Any:
        return (a.T if layout[0] == "T" else a) @ (b.T if layout[1] == "T" else b)

    compiled = cr.compile(product, engine="native", threads=threads)
    made = compiled(a, b)
    binding = engine.bind(compiled.plan(), engine="native", threads=threads)
    binding.run([a, b])
    out = np.empty((m, n), np.float32)
    left, right = (a.T if layout[0] == "T" else a), (b.T if layout[1] == "T" else b)
    sides: dict[str, Callable[[], Any]] = {
        "native": binding.run,
        "compiled": lambda: compiled(a, b),
        "numpy": lambda: np.matmul(left, right, out=out),
    }
    products = {"native": binding.value(binding.plan.outputs[0]), "compiled": made}
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        of_torch = torch.empty((m, n))
        x, y = torch.from_numpy(left), torch.from_numpy(right)
        sides["torch"] = lambda: torch.mm(x, y, out=of_torch)
    return sides, left.astype(np.float64) @ right.astype(np.float64), products


def _compared(sides: dict[str, Callable[[], Any]], shape: Shape, job: dict[str, Any]) -> dict[str, Any]:
    """Times of all sides, taken in turns, and the ratio of the native engine to the better peer."""
    counts = {name: _calls_in(side, SAMPLE_SECONDS) for name, side in sides.items()}
    times: Times = {name: [] for name in sides}
    gc.disable()
    try:
        end = time.perf_counter() + job["seconds"] * len(sides)
        while len(times["native"]) < measure.LEAST_PAIRS or time.perf_counter() < end:
            for name, side in sides.items():
                times[name].append(_timed(side, counts[name]))
                if job["threads"] > 1:
                    time.sleep(PAUSE_SECONDS)
    finally:
        gc.enable()
    best = min((name for name in PEERS if name in sides), key=lambda name: np.median(times[name]))
    ratio = measure.spread(measure.pair_ratios(times["native"], times[best]))
    spreads = {name: asdict(measure.spread(found)) for name, found in times.items()}
    return {"times": spreads, "ratio": asdict(ratio), "best_peer": best}


def _calls_in(side: Callable[[], Any], seconds: float) -> int:
    side()
    return max(1, round(seconds / min(_timed(side, 1) for _ in range(3))))


def _timed(side: Callable[[], Any], count: int) -> float:
    """Seconds of a call, after one that brings the side's data back into the caches."""
    side()
    start = time.perf_counter_ns()
    for _ in range(count):
        side()
    return (time.perf_counter_ns() - start) * 1e-9 / count
