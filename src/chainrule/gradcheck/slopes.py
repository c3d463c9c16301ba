"""Slopes by differences: central, one-sided and extrapolated, with detection of kinks and jumps.

A function is evaluated along a line through a point: ``line(t)`` gives all its outputs there, flat, in float64.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.op import Array

Outputs = Callable[[list[Array]], Array]


class Line:
    """A function along a direction in one of its arrays, through a point.

    Parameters
    ----------
    outputs : callable
        A list of arrays -> all outputs, flat, float64.
    point : list of numpy.ndarray
        In float64.
    place : int
        Which array of the point is moved.
    direction : int or numpy.ndarray
        One element, by its place in the flat array; or an array of its shape.
    """

    def __init__(self, outputs: Outputs, point: list[Array], place: int, direction: int | Array) -> None:
        self.outputs, self.point, self.place, self.direction = outputs, point, place, direction

    @property
    def start(self) -> float:
        """The element that moves, or the size of a typical one."""
        x = self.point[self.place]
        if isinstance(self.direction, np.ndarray):
            return float(np.sqrt(np.mean(x**2)))
        return float(x.reshape(-1)[self.direction])

    def step(self, eps: float) -> float:
        """Return ``eps**(1/3) * max(1, |x|)``: where truncation and rounding of a central difference balance."""
        return self.representable(float(eps ** (1 / 3)) * max(1.0, abs(self.start)))

    def representable(self, h: float) -> float:
        """Return the actual step from x to the floating-point number next to x + h."""
        if isinstance(self.direction, np.ndarray):
            return h
        return (self.start + h) - self.start or h

    def __call__(self, t: float) -> Array:
        """Return all outputs at distance `t`."""
        moved = self.point[self.place].copy()
        if isinstance(self.direction, np.ndarray):
            moved += t * self.direction
        else:
            moved.reshape(-1)[self.direction] += t
        return self.outputs([moved if k == self.place else x for k, x in enumerate(self.point)])

    def central(self, h: float) -> Array:
        """Return ``(f(x+h) - f(x-h)) / 2h``."""
        with np.errstate(all="ignore"):
            return np.asarray((self(h) - self(-h)) / (2 * h))


@dataclass
class Slopes:
    """The estimated slope of every output along a line.

    Attributes
    ----------
    best, error
        The slope, extrapolated, and how far it is known.
    low, high
        Between them lie the one-sided slopes where there is a kink; equal to `best` elsewhere.
    kinked
        Where the one-sided slopes differ however small the step is, or grow without bound.
    shrunk
        Smallest over usual step: below 1 where the usual step was too large, above 1 where it was too small.
    """

    best: Array
    error: Array
    low: Array
    high: Array
    kinked: Array
    shrunk: Array


def settled(line: Line, f0: Array, eps: float, rounding: Array) -> Slopes:
    """Estimate slopes in detail: one-sided at shrinking steps, and central differences at many steps, extrapolated.

    A kink shows when each side's slope stays as it is while the step shrinks, and the two differ: on a smooth
    function their difference shrinks with the step. If a side's slope grows as the step shrinks, by the same factor
    each time, there is a jump or a vertical tangent. `f0` are the outputs at the point, `eps` is their relative
    rounding and `rounding` the absolute one, output by output.
    """
    h = line.step(eps)
    with np.errstate(all="ignore"):
        sides = [(t, line(t), line(-t)) for t in (h, h / 16, h / 256, h / 4096)]
        right = [(above - f0) / t for t, above, _ in sides]
        left = [(f0 - below) / t for t, _, below in sides]
        gap = np.abs(right[2] - left[2])
        visible = gap > 80 * rounding / (h / 256)
        steady = np.ones(f0.shape, bool)
        for side in (right, left):
            steady &= (np.abs(side[0] - side[2]) <= 0.1 * gap) & (np.abs(side[1] - side[2]) <= 0.1 * gap)
        kinked = visible & steady & (gap > 1e-6 * (np.abs(right[2]) + np.abs(left[2])))
        bounds = []
        near_zero = not isinstance(line.direction, np.ndarray) and 0 < abs(line.start) < 1e-3
        for side in (right, left):
            first, second, third = (b / a for a, b in itertools.pairwise(side))
            same = (np.abs(second - first) <= 0.1 * first) & (np.abs(third - first) <= 0.1 * first)
            grows = visible & (first >= 2) & same & (not near_zero)  # 1/x near 0 grows, too
            bounds.append(np.where(grows, np.copysign(np.inf, side[2]), side[2]))
            kinked |= grows
        best, error, shrunk = _extrapolated(line, eps, rounding, h)
        low = np.where(kinked, np.minimum(*bounds), best)
        high = np.where(kinked, np.maximum(*bounds), best)
    return Slopes(best, error, low, high, kinked, shrunk)


def _extrapolated(line: Line, eps: float, rounding: Array, h: float) -> tuple[Array, ...]:
    """Return the best slope over many steps, its error and its step over the usual one, output by output."""
    best = _tableau(line, rounding, [line.representable(h * 4.0**k) for k in range(5, -8, -1)])
    if not isinstance(line.direction, np.ndarray) and 0 < abs(line.start) < 1e-3:  # log near 0: a step as small as x
        small = float(eps ** (1 / 3)) * abs(line.start)
        near = _tableau(line, rounding, [line.representable(small * 4.0**k) for k in range(4, -5, -1)])
        clear = near[1] <= 1e-3 * np.abs(near[0])
        best = tuple(np.where(clear, a, b) for a, b in zip(near, best, strict=True))
    slopes, errors, steps = best
    return slopes, errors, steps / h


def _tableau(line: Line, rounding: Array, steps: Sequence[float]) -> tuple[Array, ...]:
    """Extrapolate from neighbouring steps (Richardson); return the slopes known best, their errors and steps."""
    central = np.array([line.central(t) for t in steps])
    ratio = np.array([(a / b) ** 2 for a, b in itertools.pairwise(steps)])[:, None]
    slopes = (ratio * central[1:] - central[:-1]) / (ratio - 1)
    change = np.abs(np.diff(slopes, axis=0))
    nothing = np.full((1, rounding.size), np.inf)
    errors = np.maximum(np.abs(slopes - central[1:]), np.concatenate([nothing, change]))
    errors[:-1] = np.maximum(errors[:-1], change)
    smaller = np.broadcast_to(np.array(steps[1:])[:, None], slopes.shape)
    errors = errors + rounding / smaller
    errors = np.where(np.isfinite(errors), errors, np.inf)
    chosen = np.argmin(errors, axis=0)[None]
    return tuple(np.take_along_axis(x, chosen, 0)[0] for x in (slopes, errors, smaller))


def in_rows(slopes: Slopes, rows: Any) -> Slopes:
    """Return the slopes of weighted sums of the outputs: `rows` is (sums, outputs), or None for the outputs."""
    if rows is None:
        return slopes
    with np.errstate(all="ignore"):
        ends = np.stack([_products(rows, slopes.low), _products(rows, slopes.high)])
        used = rows != 0
        return Slopes(
            best=rows @ slopes.best,
            error=_products(np.abs(rows), slopes.error).sum(-1),
            low=ends.min(0).sum(-1),
            high=ends.max(0).sum(-1),
            kinked=(used & slopes.kinked).any(-1),
            shrunk=np.where(used, slopes.shrunk, 1).min(-1, initial=1),
        )


def _products(rows: Array, x: Array) -> Array:
    return np.where(rows == 0, 0.0, rows * x)  # 0 · ∞ counts for nothing
