"""Averages and spreads: average, variance, standard deviation, median."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .norms import norm2
from .reduce import Axis, no_more, normalize_axis
from .table import along, as_dtype, implements, shape_of


@implements(np.var)
def var(
    a: Any, axis: Axis = None, dtype: Any = None, out: None = None, ddof: float = 0, keepdims: bool = False, **more: Any
) -> Any:
    """As ``numpy.var``: the mean squared deviation, over (count - ddof)."""
    deviation, axes, count = _deviation("var", a, axis, dtype, out, ddof, more)
    return np.sum(np.square(deviation), axis=axes, keepdims=keepdims) / count


@implements(np.std)
def std(
    a: Any, axis: Axis = None, dtype: Any = None, out: None = None, ddof: float = 0, keepdims: bool = False, **more: Any
) -> Any:
    """As ``numpy.std``: the root of `var`. Where all elements are equal (a kink) the subgradient is 0."""
    deviation, axes, count = _deviation("std", a, axis, dtype, out, ddof, more)
    return norm2(deviation, axes, bool(keepdims)) / math.sqrt(count)


def _deviation(
    name: str, a: Any, axis: Axis, dtype: Any, out: None, ddof: float, more: dict[str, Any]
) -> tuple[Any, tuple[int, ...], float]:
    """Return how far elements are from their mean, the axes, and the degrees of freedom."""
    ddof = more.pop("correction", None) or ddof
    no_more(name, out, more)
    if dtype is not None or a.dtype.kind != "f":
        a = as_dtype(a, dtype or np.float64)
    axes = normalize_axis(axis, len(shape_of(a)))
    count: float = math.prod(a.shape[i] for i in axes) - ddof
    if count <= 0:
        raise ValueError(f"np.{name} over axes {axes} of shape {tuple(a.shape)} with ddof={ddof}: too few elements")
    return a - np.mean(a, axis=axes, keepdims=True), axes, count


@implements(np.average)
def average(a: Any, axis: Axis = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False) -> Any:
    """As ``numpy.average``."""
    if weights is None:
        result, total = np.mean(a, axis=axis, keepdims=keepdims), None
    else:
        if shape_of(weights) != shape_of(a):
            if not isinstance(axis, int) or len(shape_of(weights)) != 1:
                raise ValueError(
                    f"weights have shape {shape_of(weights)}, a has {shape_of(a)}; give one axis and as many weights"
                )
            weights = np.reshape(weights, [-1 if i == axis % len(shape_of(a)) else 1 for i in range(len(shape_of(a)))])
            weights = np.broadcast_to(weights, shape_of(a))
        total = np.sum(weights, axis=axis, keepdims=keepdims)
        result = np.sum(a * weights, axis=axis, keepdims=keepdims) / total
    if returned:
        raise TypeError("np.average(…, returned=True) on tensors: sum the weights instead")
    return result


@implements(np.median)
def median(a: Any, axis: Axis = None, out: None = None, overwrite_input: bool = False, keepdims: bool = False) -> Any:
    """As ``numpy.median`` along one axis, several or all."""
    old = shape_of(a)
    axes = normalize_axis(axis, len(old))
    if len(axes) != 1:  # brought together into one axis, the last
        rest = tuple(k for k in range(len(old)) if k not in axes)
        joined = (*(old[k] for k in rest), math.prod(old[k] for k in axes))
        result = median(np.reshape(np.transpose(a, rest + axes), joined), -1)
        return np.reshape(result, tuple(1 if k in axes else n for k, n in enumerate(old))) if keepdims else result
    (axis,) = axes
    n = old[axis]
    if n == 0:
        raise ValueError(f"np.median of no elements: the array has shape {tuple(old)}, the axis is {axis}")
    middle = along(np.sort(a, axis=axis), axis, (n - 1) // 2, n // 2 + 1)
    return np.mean(middle, axis=axis, keepdims=keepdims)
