"""The figures of one snapshot: distributions, ratios, shares of units, and the units that a drawing shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.op import Array

#: Bins of a distribution: of values between their least and greatest, of magnitudes a third of a decade wide.
BINS = 40
DECADES = (-12.0, 1.0 + 1 / 3)
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

#: Greatest number of elements of an array that a distribution uses.
MOST_ELEMENTS = 1024

#: Greatest number of units of a layer that are drawn.
MOST_UNITS = 10

#: A value is saturated where the activation's slope is less than this fraction of its largest slope.
SATURATED = 0.05

_EDGES = 10.0 ** np.linspace(*DECADES, BINS + 1)
_SHARES = np.array(QUANTILES)

#: The numbers that `distribution` and `magnitudes` return.
DISTRIBUTION = ("low", "high", *(f"quantile {q:g}" for q in QUANTILES), *(f"bin {i}" for i in range(BINS)))
MAGNITUDES = ("zeros", *(f"quantile {q:g}" for q in QUANTILES), *(f"bin {i}" for i in range(BINS)))


def sampled(size: int) -> Array:
    """Return which elements of an array of `size` are used: all of them, or the same evenly spread ones each time."""
    if size <= MOST_ELEMENTS:
        return np.arange(size)
    step = int(0.618 * size)  # the golden ratio's steps cover rows and columns evenly
    while math.gcd(step, size) > 1:
        step += 1
    return np.sort(np.arange(MOST_ELEMENTS) * step % size)


def distribution(values: Array) -> Array:
    """Return the numbers of `DISTRIBUTION` for values; all NaN when one isn't finite."""
    ordered = np.sort(values)  # values that are not finite come first or last
    low, high = float(ordered[0]), float(ordered[-1])
    if not (math.isfinite(low) and math.isfinite(high)):
        return np.full(len(DISTRIBUTION), np.nan)
    quantiles = ordered[(_SHARES * (len(ordered) - 1)).astype(int)]
    return np.concatenate([[low, high], quantiles, _counts(ordered, np.linspace(low, high, BINS + 1))])


def magnitudes(values: Array) -> Array:
    """Return the numbers of `MAGNITUDES`: zeros as a share, quantiles and bins of log10 |x| of the others.

    Values outside `DECADES` are counted in the outer bins. All NaN when a value isn't finite.
    """
    ordered = np.sort(np.abs(values))
    zeros = int(np.searchsorted(ordered, 0.0, side="right"))
    if not math.isfinite(ordered[-1]):
        return np.full(len(MAGNITUDES), np.nan)
    rest = ordered[zeros:]
    if not len(rest):
        return np.concatenate([[1.0], np.full(len(QUANTILES), np.nan), np.zeros(BINS)])
    quantiles = np.log10(rest[(_SHARES * (len(rest) - 1)).astype(int)])
    return np.concatenate([[zeros / len(values)], quantiles, _counts(rest, _EDGES)])


def _counts(ordered: Array, edges: Array) -> Array:
    below = np.searchsorted(ordered, edges.astype(ordered.dtype))
    below[0], below[-1] = 0, len(ordered)
    return np.diff(below)


def ratio(change: Array, weight: Array) -> float:
    """Return ‖change‖ / ‖weight‖; NaN where the weight is all zeros."""
    norm = _norm(weight)
    return _norm(change) / norm if norm else math.nan


def _norm(array: Array) -> float:
    flat = array.reshape(-1)
    return math.sqrt(float(np.dot(flat, flat)))


def shares(before: Array, after: Array, steepest: float) -> tuple[float, float, Array]:
    """Return the shares of a layer's dead units and of its saturated values, and both per unit.

    A unit is dead when no example of the sample sends a gradient to its input. A value is saturated where the slope
    of its activation is less than `SATURATED` of the largest slope (NaN where no gradient arrives).

    Parameters
    ----------
    before, after : array of shape (m, units)
        The cotangents of an activation's input and of its output.
    steepest : float
        The largest slope of the activation.
    """
    reached = after != 0
    weak = (np.abs(before) < SATURATED * steepest * np.abs(after)) & reached
    arrived, lost = np.count_nonzero(reached, axis=0), np.count_nonzero(weak, axis=0)
    dead = float(np.mean(~np.any(before != 0, axis=0)))
    saturated = float(lost.sum() / arrived.sum()) if arrived.any() else math.nan
    return dead, saturated, np.where(arrived > 0, lost / np.maximum(arrived, 1), np.nan)


def drawn_units(units: int) -> list[int]:
    """Return which units of a layer are drawn: all, or a number of evenly spaced ones."""
    if units <= MOST_UNITS:
        return list(range(units))
    return [round((i + 0.5) * units / MOST_UNITS - 0.5) for i in range(MOST_UNITS)]


def spread(count: int, most: int) -> list[int]:
    """Return which of `count` items are used: all, or `most` evenly spaced ones, including the first and the last."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def root_mean_square(values: Array, units: Sequence[int]) -> Array:
    """Return √ mean x² of some columns."""
    found: Array = np.sqrt(np.mean(np.square(values[:, units]), axis=0))
    return found


def finite(x: Any) -> Any:
    """Return nested data with None in place of numbers that strict JSON cannot represent."""
    if isinstance(x, Mapping):
        return {str(k): finite(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [finite(v) for v in x]
    if isinstance(x, np.generic):
        x = x.item()
    return None if isinstance(x, float) and not math.isfinite(x) else x
