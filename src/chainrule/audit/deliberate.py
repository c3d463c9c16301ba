"""Gradients of parameters that differ from that of the loss on purpose: clipped, or with a layer's own penalty."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..adapters.backward_pass import Point
from ..core.op import Array

TOLERANCE = 1e-7
#: A gradient with fewer elements than this is not said to be clipped by value.
FEWEST = 4

Pairs = Sequence[tuple[Array, Array]]  # found, expected: at each point


def deliberate(name: str, key: str, pairs: Pairs, points: Sequence[Point], own_penalty: bool) -> str:
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
    """
    if bound := _bound(pairs):
        return f"{key} is clipped by value to ±{bound:.4g}; it is right before"
    if bound := _norm(pairs):
        return f"{key} is clipped by norm to {bound:.4g}; it is right before"
    if own_penalty and (factor := _penalty(name, pairs, points)):
        return f"{key} includes a penalty of the layer's own, {factor:.4g} · {name}; it is right but for that"
    return ""


def _common(numbers: Sequence[float]) -> float:
    """Return the number that all are, 0 where they differ or there are fewer than two."""
    if len(numbers) < 2 or max(numbers) - min(numbers) > TOLERANCE * abs(max(numbers)):
        return 0.0
    return float(np.mean(numbers))


def _bound(pairs: Pairs) -> float:
    bounds = []
    inside = False
    for found, expected in pairs:
        largest = float(np.max(np.abs(found), initial=0.0))
        scale = float(np.max(np.abs(expected), initial=0.0))
        if found.size < FEWEST or not np.allclose(np.clip(expected, -largest, largest), found, 0, TOLERANCE * scale):
            return 0.0
        inside = inside or bool(np.any(np.abs(found) < largest * (1 - TOLERANCE)))
        if scale > largest * (1 + TOLERANCE):
            bounds.append(largest)
    return _common(bounds) if inside else 0.0


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
