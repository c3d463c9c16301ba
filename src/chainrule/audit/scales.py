"""Scales: by how much a gradient differs from another, as a constant times a power of the batch size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..core.op import Array

#: Relative difference of two scales that are taken to be equal.
CLOSE = 1e-5


class Scale(NamedTuple):
    """A factor k · m^p, m being the number of examples in the batch."""

    k: float = 1.0
    p: int = 0

    def at(self, size: int | None) -> float:
        """Return the factor for a batch of `size`."""
        return float(self.k * float(size or 1) ** self.p)

    def times(self, other: Scale) -> Scale:
        """Return the product of two scales."""
        return Scale(self.k * other.k, self.p + other.p)

    def over(self, other: Scale) -> Scale:
        """Return the quotient of two scales."""
        return Scale(self.k / other.k, self.p - other.p)

    def like(self, other: Scale) -> bool:
        """Whether two scales are equal."""
        return self.p == other.p and abs(self.k / other.k - 1) < CLOSE

    @property
    def is_one(self) -> bool:
        """Whether it changes nothing."""
        return self.like(ONE)


ONE = Scale()


def law(scales: Sequence[float], sizes: Sequence[int | None]) -> Scale | None:
    """Return the k · m^p that gives the scale found at each point, for batches of `sizes`; None if there is none."""
    if not scales:
        return ONE
    known = [m for m in sizes if m is not None]
    if len(set(known)) <= 1 or len(known) < len(scales):
        k = scales[0]
        if not np.allclose(scales, k, rtol=CLOSE):
            return None
        m = known[0] if known else None
        powers = (1, -1) if m is not None and m > 1 else ()
        return next((Scale(1.0, p) for p in powers if m and abs(k / m**p - 1) < 1e-6), Scale(float(k)))
    for p in (0, 1, -1, 2, -2, -3, -4, -5, -6):  # 1/m in every layer
        constants = [s / float(m) ** p for s, m in zip(scales, known, strict=True)]
        if np.allclose(constants, constants[0], rtol=CLOSE):
            return Scale(float(constants[0]), p)
    return None


def is_simple(k: float) -> bool:
    """Whether a constant is often omitted or added by mistake: 1, -1, 2, 1/2, a width, its inverse."""
    k = abs(k)
    ways = (k, 2 * k, 1 / k, 2 / k) if k else ()
    return any(abs(v - round(v)) < CLOSE and 1 <= round(v) <= 4096 for v in ways)


def ratio(found: Array, value: Array, tolerance: float) -> float | None:
    """Return c where found = c · value (equal up to axes of length 1), else None."""
    if value.shape != found.shape:
        if value.size != found.size or [d for d in value.shape if d > 1] != [d for d in found.shape if d > 1]:
            return None
        value = value.reshape(found.shape)
    largest = float(np.max(np.abs(value), initial=0.0))
    if not np.isfinite(largest) or largest == 0:
        return None
    value = value / largest  # squares of large values overflow
    c = float(np.sum(found * value)) / float(np.sum(value * value)) / largest
    if c == 0 or not np.isfinite(c):
        return None
    return c if float(np.max(np.abs(found - c * largest * value))) <= tolerance * abs(c) * largest else None


def best_scale(found: Array, expected: Array, upstream: float) -> tuple[float, float, float]:
    """Return the best c in found = c · expected, the relative error that it leaves, and the error for c = 1."""
    size = max(float(np.max(np.abs(expected), initial=0.0)), 1e-7 * upstream, 1e-300)
    square = float(np.sum(expected * expected))
    plain = float(np.max(np.abs(found - expected), initial=0.0)) / size
    if square == 0 or np.sqrt(square) < 1e-7 * upstream:
        return 1.0, plain, plain
    c = float(np.sum(found * expected)) / square
    if c == 0 or abs(c) < 1e-12:
        return 1.0, plain, plain
    return c, float(np.max(np.abs(found - c * expected), initial=0.0)) / (abs(c) * size), plain
