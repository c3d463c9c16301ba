"""Gradients of parameters that differ from that of the loss on purpose: clipped, or with a layer's own penalty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..adapters.backward_pass import Point
from ..core.op import Array

TOLERANCE = 1e-7
#: A gradient with fewer elements than this is not said to be clipped by value.
FEWEST = 4

Pairs = Sequence[tuple[Array, Array]]  # found, expected: at each point


@dataclass(frozen=True)
class Clipping:
    """How a pass clips the gradients of its parameters, as all of them together show.

    Attributes
    ----------
    bounds
        Of gradients that are clipped by value.
    norm
        What the norm of all gradients together is limited to; 0: it is not.
    factors
        By what all gradients are multiplied for it, at each point.
    """

    bounds: tuple[float, ...] = ()
    norm: float = 0.0
    factors: tuple[float, ...] = ()

    @classmethod
    def of(cls, parameters: Sequence[Pairs]) -> Clipping:
        """Return how gradients are clipped; `parameters` has those of each, found and right, at each point."""
        bounds = tuple(dict.fromkeys(b for pairs in parameters if (b := _bound(pairs) or _limit(pairs))))
        found, norms, factors = [], [], []
        for point in zip(*parameters, strict=True) if len(parameters) > 1 else ():
            theirs, right = (np.concatenate([np.ravel(pair[k]) for pair in point]) for k in (0, 1))
            a, b = float(np.linalg.norm(theirs)), float(np.linalg.norm(right))
            shorter = b > 0 and a <= b * (1 + TOLERANCE)
            found.append(shorter and np.allclose(theirs * b, right * a, 0, TOLERANCE * a * b))
            factors.append(a / b if b else 1.0)
            norms += [a] if a < b * (1 - TOLERANCE) else []
        norm = _common(norms, 1e-4) if all(found) else 0.0
        return cls(bounds, norm, tuple(factors))


def deliberate(
    name: str, key: str, pairs: Pairs, points: Sequence[Point], own_penalty: bool, clipping: Clipping
) -> str:
    """Return in a sentence what was done to a right gradient; empty where nothing explains the difference.

    Parameters
    ----------
    name, key : str
        The parameter, and what its gradient is called.
    pairs : sequence of (found, expected)
        At each point.
    points : sequence of Point
        The points themselves.
    own_penalty : bool
        Whether a layer may add the gradient of a penalty that the loss does not have.
    clipping : Clipping
        How the gradients of all parameters are clipped.
    """
    known = next((b for b in clipping.bounds if all(_is_clipped(*pair, b) for pair in pairs)), 0.0)
    if bound := _bound(pairs) or known:
        return f"{key} is clipped by value to ±{bound:.4g}; it is right before"
    if bound := _norm(pairs):
        return f"{key} is clipped by norm to {bound:.4g}; it is right before"
    if clipping.norm and all(
        np.allclose(found, c * right, 0, 10 * TOLERANCE * float(np.max(np.abs(right), initial=0.0)))
        for (found, right), c in zip(pairs, clipping.factors, strict=True)
    ):
        return f"{key} is clipped by the norm of all gradients together, to {clipping.norm:.4g}; it is right before"
    if own_penalty and (factor := _penalty(name, pairs, points)):
        return f"{key} includes a penalty of the layer's own, {factor:.4g} · {name}; it is right but for that"
    return ""


def _is_clipped(found: Array, expected: Array, bound: float) -> bool:
    scale = float(np.max(np.abs(expected), initial=0.0))
    return bool(np.allclose(np.clip(expected, -bound, bound), found, 0, TOLERANCE * scale))


def _common(numbers: Sequence[float], tolerance: float = TOLERANCE) -> float:
    """Return the number that all are, 0 where they differ or there are fewer than two."""
    if len(numbers) < 2 or max(numbers) - min(numbers) > tolerance * abs(max(numbers)):
        return 0.0
    return float(np.mean(numbers))


def _bound(pairs: Pairs) -> float:
    bounds = []
    inside = False
    for found, expected in pairs:
        largest = float(np.max(np.abs(found), initial=0.0))
        scale = float(np.max(np.abs(expected), initial=0.0))
        if found.size < FEWEST or not _is_clipped(found, expected, largest):
            return 0.0
        inside = inside or bool(np.any(np.abs(found) < largest * (1 - TOLERANCE)))
        if scale > largest * (1 + TOLERANCE):
            bounds.append(largest)
    return _common(bounds) if inside else 0.0


def _limit(pairs: Pairs) -> float:
    """Return what no element of a gradient, which may be wrong, exceeds at any point, but some reach at all."""
    largest = [float(np.max(np.abs(found), initial=0.0)) for found, _ in pairs]
    several = all(f.size >= FEWEST and (np.abs(f) < c).any() for (f, _), c in zip(pairs, largest, strict=True))
    return _common(largest, 0.0) if several else 0.0


def _norm(pairs: Pairs) -> float:
    norms = []
    for found, expected in pairs:
        a, b = float(np.sqrt(np.sum(found**2))), float(np.sqrt(np.sum(expected**2)))
        if b == 0 or a > b * (1 + TOLERANCE) or not np.allclose(found * b, expected * a, 0, TOLERANCE * a * b):
            return 0.0
        if a < b * (1 - TOLERANCE):
            norms.append(a)
    return _common(norms)


def _penalty(name: str, pairs: Pairs, points: Sequence[Point]) -> float:
    factors = []
    for (found, expected), point in zip(pairs, points, strict=True):
        value = np.asarray(point.values[name], np.float64)
        rest, square = found - expected, float(np.sum(value * value))
        factor = float(np.sum(rest * value)) / square if square else 0.0
        size = float(np.max(np.abs(found), initial=0.0)) + float(np.max(np.abs(expected), initial=0.0))
        if factor <= 0 or value.size < FEWEST or not np.allclose(rest, factor * value, 0, TOLERANCE * size):
            return 0.0
        factors.append(factor)
    return _common(factors)
