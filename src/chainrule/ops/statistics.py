"""Averages and spreads: average, variance, standard deviation, median."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .norms import norm2
from .reduce import Axis, in_floats, is_given, no_more, normalize_axis
from .table import along, array_of, as_dtype, dtype_of, floating, implements, is_tensor, shape_of


@implements(np.var)
def var(
    a: Any, axis: Axis = None, dtype: Any = None, out: None = None, ddof: float = 0, keepdims: bool = False, **more: Any
) -> Any:
    """As ``numpy.var``: the mean squared deviation, over (count - ddof)."""
    deviation, axes, count = _deviation("var", a, axis, dtype, out, ddof, bool(keepdims), more)
    return np.sum(np.square(deviation), axis=axes, keepdims=keepdims) / count


@implements(np.std)
def std(
    a: Any, axis: Axis = None, dtype: Any = None, out: None = None, ddof: float = 0, keepdims: bool = False, **more: Any
) -> Any:
    """As ``numpy.std``: the root of `var`. Where all elements are equal (a kink) the subgradient is 0."""
    deviation, axes, count = _deviation("std", a, axis, dtype, out, ddof, bool(keepdims), more)
    root = math.sqrt(count) if isinstance(count, int | float) else np.sqrt(count)
    return norm2(deviation, axes, bool(keepdims)) / root


def _deviation(
    name: str, a: Any, axis: Axis, dtype: Any, out: None, ddof: float, keepdims: bool, more: dict[str, Any]
) -> tuple[Any, tuple[int, ...], Any]:
    """Return how far elements are from their mean, the axes, and the degrees of freedom."""
    ddof = more.pop("correction", None) or ddof
    where, mean = more.pop("where", True), more.pop("mean", None)
    no_more(name, out, more)
    a = in_floats(name, a, dtype)
    axes = normalize_axis(axis, len(shape_of(a)))
    if is_given(where):
        there = np.broadcast_to(where, shape_of(a))
        centre = mean if is_given(mean) else np.mean(a, axis=axes, keepdims=True, where=where)
        freedom = as_dtype(np.sum(there, axis=axes, keepdims=keepdims), a.dtype) - ddof
        return np.where(there, a - centre, 0.0), axes, np.where(np.greater(freedom, 0), freedom, np.nan)
    count: float = math.prod(a.shape[i] for i in axes) - ddof
    if count <= 0:
        raise ValueError(f"np.{name} over axes {axes} of shape {tuple(a.shape)} with ddof={ddof}: too few elements")
    return a - (mean if is_given(mean) else np.mean(a, axis=axes, keepdims=True)), axes, count


@implements(np.average)
def average(a: Any, axis: Axis = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False) -> Any:
    """As ``numpy.average``."""
    if not is_tensor(a):
        a = np.asarray(a)
    if weights is not None and a.dtype.kind != "f" and dtype_of(weights).kind != "f":
        a = as_dtype(a, np.float64)
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
        total = np.sum(weights, axis=axis, dtype=(a * weights).dtype, keepdims=keepdims)
        if isinstance(total, np.ndarray | np.generic) or total.value is not None:
            if np.any(np.equal(total, 0).value if is_tensor(total) else total == 0):
                raise ZeroDivisionError("np.average: weights sum to zero")
        result = np.sum(a * weights, axis=axis, keepdims=keepdims) / total
    if not returned:
        return result
    if total is None:
        total = np.asarray(math.prod(shape_of(a)) // max(math.prod(shape_of(result)), 1), a.dtype)
    return result, np.broadcast_to(total, shape_of(result))


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
    ordered = np.sort(a, axis=axis)
    middle = along(ordered, axis, (n - 1) // 2, n // 2 + 1)
    result = np.mean(middle, axis=axis, keepdims=keepdims)
    if a.dtype.kind != "f":
        return result
    last = along(ordered, axis, n - 1)  # a NaN is sorted to the end
    return np.where(np.isnan(last if keepdims else np.squeeze(last, axis)), np.nan, result)


@implements(np.cov)
def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    """As ``numpy.cov``: the covariance of variables in rows."""
    x = np.atleast_2d(floating(array_of(m)))
    x = x.T if not rowvar and len(shape_of(m)) > 1 else x
    if y is not None:
        y = np.atleast_2d(floating(array_of(y)))
        x = np.concatenate([x, y.T if not rowvar and shape_of(y)[0] != 1 else y])
    x = as_dtype(x, np.float64 if dtype is None else dtype)
    ddof = (0 if bias else 1) if ddof is None else ddof
    weights = [array_of(w) for w in (fweights, aweights) if w is not None]
    if not weights:
        count: Any = shape_of(x)[1]
        w, freedom = 1.0, count - ddof
        centre = np.sum(x, axis=1, keepdims=True) / count
    else:
        w = math.prod(weights[1:], start=weights[0] * 1.0)
        count = np.sum(w)
        freedom = count - ddof * (np.sum(w * aweights) / count if aweights is not None else 1.0)
        centre = np.sum(x * w, axis=1, keepdims=True) / count
    deviation = x - centre
    return np.squeeze(np.matmul(deviation, (deviation * w).T) / freedom)


@implements(np.corrcoef)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    """As ``numpy.corrcoef``: the correlation of variables in rows."""
    c = cov(x, y, rowvar, dtype=dtype)
    if not shape_of(c):
        return c / c
    deviation = np.sqrt(np.diagonal(c))
    c = c / np.expand_dims(deviation, 1) / deviation
    return np.where(np.greater(np.absolute(c), 1.0), np.sign(c), c)  # beyond 1 by rounding
