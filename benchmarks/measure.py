"""How two sides are compared: a check of their results, then alternating timed blocks.

Both sides live in one process and alternate in blocks of about 30 ms: A B A B …. Each block starts from the first
weights, takes one run that is not timed (the other side's data left the caches), then times as many runs as fill
the block, up to the end of their asynchronous work. A block and the one after it make a pair; the ratio of the two
sides is taken pair by pair, so that a machine that slows down or is shared hits both. What is reported is the median
and the quartiles of the pairs, never the best. The garbage collector is off inside the blocks and runs between them.

With several threads the side that waits must not hold a core: OpenBLAS's threads by default spin for 100 ms after
their last multiply, which slowed PyTorch and JAX down two- to threefold. They are told to stop after 0.4 ms
(`OPENBLAS_THREAD_TIMEOUT`, which costs NumPy's own steps nothing measurable), and a pause between blocks outlasts
OpenMP's spinning of some milliseconds.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import reference
from benchmarks.sides import Runner
from benchmarks.workloads import Data, Workload

GATE_STEPS = 10
GATE_TOLERANCE = 1e-3
LEAST_PAIRS = 5


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of some figures."""

    median: float
    lower: float  # first quartile
    upper: float  # third quartile
    count: int


def spread(figures: Sequence[float]) -> Spread:
    """Median and quartiles (linear between the ordered figures). Raises ValueError without figures."""
    if not figures:
        raise ValueError("no values to summarise")
    lower, median, upper = np.percentile(figures, [25, 50, 75])
    return Spread(float(median), float(lower), float(upper), len(figures))


def pair_ratios(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """How many times longer the second side took, pair by pair: above 1 the first side is the faster."""
    return [b / a for a, b in zip(first, second, strict=True)]


def disagreement(runner: Runner, workload: Workload, data: Data) -> str | None:
    """The difference between the first steps of a side and the float64 reference, or None if they agree to 1e-3."""
    steps = max(GATE_STEPS, runner.steps_per_run if workload.input_gradient else 0)
    runner.reset()
    found: list[float] = []
    while len(found) < steps:
        runner.run(1)
        runner.finish()
        found += runner.losses()
    expected = reference.losses(workload, data, steps)
    for step, (a, b) in enumerate(zip(found, expected, strict=False)):
        if not abs(a - b) <= GATE_TOLERANCE * abs(b):  # also true of NaN
            return f"loss of step {step} is {a:.6g}, reference {b:.6g}"
    if not workload.input_gradient:
        return None
    gradients = reference.gradients(workload, data, (len(found) - 1) % workload.batches)
    for name, g, wanted in zip(_gradient_names(workload), runner.gradients(), gradients, strict=True):
        if g.shape != wanted.shape:
            return f"{name} has shape {g.shape}, reference {wanted.shape}"
        error = float(np.linalg.norm(g.astype(np.float64) - wanted) / np.linalg.norm(wanted))
        if not error <= GATE_TOLERANCE:
            return f"{name} is off by {error:.3g} of its norm"
    return None


def _gradient_names(workload: Workload) -> list[str]:
    layers = range(1, len(workload.layers))
    return ["dA0", *(name for layer in layers for name in (f"dW{layer}", f"db{layer}"))]


def runs_in(runner: Runner, seconds: float) -> int:
    """The number of runs, at least one, that take about `seconds`; finding it also warms the side up."""
    count = 1
    while True:
        taken = timed_block(runner, count)
        if taken >= seconds / 4:
            return max(1, round(count * seconds / taken))
        count *= 4 if taken < seconds / 40 else 2


def timed_block(runner: Runner, count: int) -> float:
    """Seconds for `count` runs after a reset and one run that is not counted."""
    runner.reset()
    runner.run(1)
    runner.finish()
    start = time.perf_counter_ns()
    runner.run(count)
    runner.finish()
    return (time.perf_counter_ns() - start) * 1e-9


def alternate(
    a: Runner, b: Runner, seconds: float, block_seconds: float = 0.03, pause_seconds: float = 0.0
) -> tuple[list[float], list[float]]:
    """Seconds per step of each block of both sides, in order: at least five pairs, for at most about `seconds`.

    `pause_seconds` is the time that idle threads are given to fall asleep before the other side's block.
    """
    sides = (a, b)
    counts = [runs_in(side, block_seconds) for side in sides]
    for side, count in zip(sides, counts, strict=True):
        timed_block(side, count)
    # What warm-up left behind is set aside, so that collecting between the blocks stays short.
    gc.collect()
    gc.freeze()
    gc.disable()
    times: tuple[list[float], list[float]] = ([], [])
    try:
        end = time.perf_counter() + seconds
        while len(times[0]) < LEAST_PAIRS or time.perf_counter() < end:
            for side, count, found in zip(sides, counts, times, strict=True):
                found.append(timed_block(side, count) / (count * side.steps_per_run))
                gc.collect()
                time.sleep(pause_seconds)
    finally:
        gc.enable()
        gc.unfreeze()
    return times


def multiply_rate(m: int, k: int, n: int, seconds: float = 0.1) -> float:
    """Floating-point operations a second in NumPy's float32 product (m, k) @ (k, n); the best of several blocks."""
    random = np.random.default_rng(0)
    a = random.standard_normal((m, k), dtype=np.float32)
    b = random.standard_normal((k, n), dtype=np.float32)
    out = np.empty((m, n), np.float32)
    np.dot(a, b, out)
    start = time.perf_counter_ns()
    np.dot(a, b, out)
    repeats = max(1, round(5e6 / (time.perf_counter_ns() - start)))  # blocks of about 5 ms
    best = 0.0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter_ns()
        for _ in range(repeats):
            np.dot(a, b, out)
        best = max(best, repeats * 2 * m * k * n / ((time.perf_counter_ns() - start) * 1e-9))
    return best


def machine_rate(workload: Workload) -> dict[str, Any]:
    """The multiply rate of this machine, in flop/s, at the workload's largest multiply and at 1024³.

    A step's share is taken of the larger of the two: what the machine reaches where nothing stands in its way.
    """
    largest = max(workload.multiplies(), key=lambda size: size[0] * size[1] * size[2])
    at_size, square = multiply_rate(*largest), multiply_rate(1024, 1024, 1024)
    return {"size": list(largest), "at_size": at_size, "at_1024_cubed": square, "rate": max(at_size, square)}
