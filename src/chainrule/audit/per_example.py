"""Gradients that a backward pass gives for each example, for the caller to add up or to average."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..adapters.backward_pass import BackwardPass, Point
from ..adapters.new_values import Axes
from .reference import gradient
from .scales import best_scale
from .step import TOLERANCE


def add_over_examples(subject: BackwardPass, point: Point, axes: Axes) -> list[str]:
    """Have the gradients of parameters added over the examples if all of them are given for each; return a note.

    A bias alone whose gradient is not summed is a mistake; that of a matrix has an axis more on purpose only.

    Parameters
    ----------
    subject
        The passes; `over_examples` is set.
    point
        A run of them.
    axes
        The inputs that hold the examples, and along which axis.
    """
    parameters = [n for n in subject.exact if n in point.gradients and n not in axes and n in point.values]
    shapes = {n: (np.shape(point.values[n]), np.shape(point.gradients[n])) for n in parameters}
    if point.loss is None or not any(len(shape) > 1 for shape, _ in shapes.values()):
        return []
    lengths = {np.shape(point.values[n])[axis] for n, axis in axes.items()}
    for axis in (0, -1):
        counts = {found[axis] if len(found) else 0 for _, found in shapes.values()}
        if len(counts) > 1 or not counts <= lengths or not all(_has_axis(*pair, axis) for pair in shapes.values()):
            continue
        added, averaged = (all(_agrees(point, n, axis, mean) for n in parameters) for mean in (False, True))
        matrices = [n for n, (shape, _) in shapes.items() if len(shape) > 1]
        one = any(_agrees(point, n, axis, mean) for n in matrices for mean in (False, True))
        if not one and not all(_agrees(point, n, axis, False, scaled=True) for n in parameters):
            continue  # matrices for another reason, such as a loss that mixes examples
        subject.over_examples = (axis, averaged and not added)
        names = ", ".join(point.keys[n] for n in parameters)
        done = "averaged" if averaged and not added else "added up"
        return [f"{names} are given for each example; they were {done} over the batch, as the caller has to do"]
    return []


def _has_axis(shape: tuple[int, ...], found: tuple[int, ...], axis: int) -> bool:
    """Whether a gradient's shape is the parameter's with the examples in front or behind; axes of length 1 aside."""
    rest = found[1:] if axis == 0 else found[:-1]
    return len(found) > 0 and tuple(d for d in rest if d != 1) == tuple(d for d in shape if d != 1)


def _agrees(point: Point, name: str, axis: int, averaged: bool, *, scaled: bool = False) -> bool:
    right: Any = gradient(point, name, {})
    if right is None:
        return True
    parts = np.asarray(point.gradients[name], np.float64)
    found = (parts.mean(axis=axis) if averaged else parts.sum(axis=axis)).reshape(right.shape)
    return best_scale(found, right, 0.0)[1 if scaled else 2] <= TOLERANCE
