"""The calibration of multiplies: block sizes compared on the machine at hand, and the fastest stored."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np

from ..core.node import Recording
from ..core.tensor import traced_leaf
from ..plan import build
from . import _native
from .blocking import Blocking, entries_of, machine, stored_in, write
from .native import NativeBinding

SHAPES = ((128, 784, 128), (256, 784, 512), (512, 512, 512), (64, 300, 300))  # m × k × n
ROUNDS = 12
WORTH = 0.98  # of the time that the usual blocks take: less is the noise of the clock


def calibrate() -> tuple[Blocking, float]:
    """Measure for some seconds and store the fastest blocks; return them and how many times as fast they are."""
    path = stored_in()
    entries = entries_of(path) if path.is_file() else {}  # a damaged file is refused before anything is measured
    usual = Blocking(*_native.default_blocking())
    best, gain = usual, 1.0
    for name, factors in (("strip", (0.5, 2.0)), ("panels", (0.5, 1.5)), ("reuse", (0.25, 4.0))):
        others = [Blocking(**{**asdict(best), name: int(getattr(best, name) * factor)}) for factor in factors]
        relative = _compared([best, *others])
        fastest = int(np.argmin(relative))
        if relative[fastest] < WORTH:
            best, gain = others[fastest - 1], gain / relative[fastest]
    entries[machine()] = best
    write(path, entries)
    _native.set_blocking(**asdict(best))
    return best, gain


def _compared(choices: list[Blocking]) -> list[float]:
    """Return the time of each choice, relative to the first: geometric means over the shapes, taken in turns."""
    logarithms = np.zeros(len(choices))
    before = _native.blocking()
    for m, k, n in SHAPES:
        for transposed in (False, True):
            bindings = []
            for choice in choices:
                _native.set_blocking(**asdict(choice))
                bindings.append(_multiply(m, k, n, transposed))
            times = np.array([[_timed(binding) for binding in bindings] for _ in range(ROUNDS)])
            best = np.sort(times, axis=0)[: ROUNDS // 2].mean(axis=0)  # the slower half was disturbed
            logarithms += np.log(best / best[0])
    _native.set_blocking(*before)
    relative: list[float] = np.exp(logarithms / (2 * len(SHAPES))).tolist()
    return relative


def _multiply(m: int, k: int, n: int, transposed: bool) -> Any:
    """Return a plan of one multiply of one thread, bound; `transposed`: A is the transpose of an array."""
    random = np.random.default_rng(0)
    shape = (k, m) if transposed else (m, k)
    with Recording("a multiply") as recording:
        x, y = (traced_leaf(s, "float32", frozenset({recording}), name=c) for s, c in ((shape, "A"), ((k, n), "B")))
        plan, _ = build([(x.T if transposed else x) @ y], [x, y], name="a multiply")
    binding = NativeBinding(plan, threads=1)
    binding.run([random.standard_normal(s, dtype=np.float32) for s in (shape, (k, n))])
    return binding


def _timed(binding: Any) -> float:
    binding.run()
    start = time.perf_counter()
    binding.run()
    binding.run()
    return time.perf_counter() - start
