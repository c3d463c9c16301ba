"""Sequences between ends that are tensors, and derivatives by differences: linspace, geomspace, gradient, unwrap."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ..core.node import FUNCTIONS
from .reduce import normalize_axis
from .table import along, array_of, as_dtype, floating, implements, promote, shape_of


@implements(np.linspace)
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: None = None,
) -> Any:
    """As ``numpy.linspace``."""
    count = operator.index(num)
    parts = count - 1 if endpoint else count
    (start, stop), _ = promote(start, stop, floating=True)
    start, stop = np.broadcast_arrays(start, stop)
    step = (stop - start) / parts if parts > 0 else np.nan * (stop - start)
    k = np.reshape(np.arange(count, dtype=start.dtype), (-1,) + (1,) * len(shape_of(start)))
    values = k * step + start if parts > 0 else k * (stop - start) + start
    if endpoint and count > 1:
        values = np.concatenate([values[:-1], np.expand_dims(stop, 0)])
    values = np.moveaxis(values if dtype is None else as_dtype(values, dtype), 0, axis)
    return (values, step) if retstep else values


@implements(np.logspace)
def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0, dtype: Any = None, axis: int = 0
) -> Any:
    """As ``numpy.logspace``."""
    values = np.power(base, np.linspace(start, stop, num=num, endpoint=endpoint, axis=axis))
    return values if dtype is None else as_dtype(values, dtype)


@implements(np.geomspace)
def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Any:
    """As ``numpy.geomspace``: between ends of one sign."""
    (start, stop), _ = promote(start, stop, floating=True)
    start, stop = np.broadcast_arrays(start, stop)
    sign = np.sign(start)
    logs = linspace(np.log10(sign * start), np.log10(sign * stop), num, endpoint)
    values = sign * np.power(10.0, logs)
    first = 1 if num > 0 else 0
    last = num - 1 if endpoint and num > 1 else num
    ends = [np.expand_dims(start, 0)[:first], values[first:last], np.expand_dims(stop, 0)[: num - last]]
    values = np.moveaxis(np.concatenate(ends), 0, axis)
    return as_dtype(values, np.float64 if dtype is None else dtype)


def _one_direction(f: Any, axis: int, spacing: Any, edge_order: int) -> Any:
    """Return the central differences along an axis; `spacing` is a step or the distances of neighbours."""
    n = shape_of(f)[axis]
    if n < edge_order + 1:
        raise ValueError(f"gradient: axis {axis} has length {n}, too short for edge_order={edge_order}")

    def piece(start: int, stop: int | None) -> Any:
        return along(f, axis, start, stop)

    distances = spacing
    if len(shape_of(spacing)) == 0:
        inner = (piece(2, None) - piece(0, -2)) / (2.0 * spacing)
        distances = np.broadcast_to(spacing, (max(n - 1, 1),))
    else:
        shape = [-1 if i == axis else 1 for i in range(len(shape_of(f)))]
        left, right = np.reshape(spacing[:-1], shape), np.reshape(spacing[1:], shape)
        a, b, c = -right / (left * (left + right)), (right - left) / (left * right), left / (right * (left + right))
        inner = a * piece(0, -2) + b * piece(1, -1) + c * piece(2, None)
    if edge_order == 1:
        first = (piece(1, 2) - piece(0, 1)) / distances[0]
        last = (piece(n - 1, n) - piece(n - 2, n - 1)) / distances[-1]
    else:
        h, k = distances[0], distances[1]
        first = piece(0, 1) * (-(2.0 * h + k) / (h * (h + k))) + piece(1, 2) * ((h + k) / (h * k))
        first = first + piece(2, 3) * (-h / (k * (h + k)))
        h, k = distances[-2], distances[-1]
        last = piece(n - 3, n - 2) * (k / (h * (h + k))) + piece(n - 2, n - 1) * (-(k + h) / (h * k))
        last = last + piece(n - 1, n) * ((2.0 * k + h) / (k * (h + k)))
    return np.concatenate([first, inner, last], axis)


@implements(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """As ``numpy.gradient``, differentiable in values, steps and coordinates."""
    f = floating(f)
    axes = normalize_axis(axis, len(shape_of(f)))
    given = list(varargs) or [1.0]
    if len(given) == 1:
        given *= len(axes)
    if len(given) != len(axes):
        raise TypeError(f"gradient: {len(given)} spacings are given for {len(axes)} axes")
    if edge_order not in (1, 2):
        raise ValueError(f"gradient: edge_order is {edge_order!r}, expected 1 or 2")
    results = []
    for k, spacing in zip(axes, given, strict=True):
        spacing = array_of(spacing)
        if len(shape_of(spacing)) == 1:
            if shape_of(spacing)[0] != shape_of(f)[k]:
                raise ValueError(f"gradient: {shape_of(spacing)[0]} coordinates for axis {k} of length {f.shape[k]}")
            spacing = np.diff(spacing)
        results.append(_one_direction(f, k, as_dtype(spacing, f.dtype), edge_order))
    return results[0] if len(axes) == 1 else tuple(results)


@implements(np.unwrap)
def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: float = 2 * math.pi) -> Any:
    """As ``numpy.unwrap``; the derivative is 1, since the corrections are whole periods."""
    p = floating(p)
    (axis,) = normalize_axis(axis, len(shape_of(p)))
    step = np.diff(p, axis=axis)
    half = period / 2
    wrapped = np.remainder(step + half, period) - half
    wrapped = np.where(np.logical_and(np.equal(wrapped, -half), np.greater(step, 0)), half, wrapped)
    correction = np.where(np.less(np.absolute(step), half if discont is None else discont), 0.0, wrapped - step)
    correction = FUNCTIONS["stop_gradient"](np.cumsum(correction, axis=axis))
    return np.concatenate([along(p, axis, 0, 1), along(p, axis, 1) + correction], axis)
