"""Cumulative sums and products, differences and the trapezoidal rule along an axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.node import FUNCTIONS
from ..core.op import Example, register
from .reduce import accumulator, is_given, no_more, normalize_axis
from .table import along, array_of, as_dtype, implements, one_axis, shape_of


def _flip(x: Any, axis: int) -> Any:
    return along(x, axis, None, None, -1)


CUMSUM = register(
    "cumsum",
    numpy=np.cumsum,
    shape=lambda x, axis: (x.shape, accumulator(x.dtype)),
    kernel=lambda x, out=None, *, axis: np.add.accumulate(x, axis, accumulator(x.dtype), out),
    vjp=(lambda g, out, x, axis: _flip(np.cumsum(_flip(g, axis), axis=axis), axis),),
    examples=lambda rng: [
        Example((rng.normal(size=(3, 4)),), {"axis": 0}),
        Example((rng.normal(size=(3, 4)),), {"axis": 1}),
    ],
    flops=lambda out, x, **attrs: math.prod(x),
)


@implements(np.cumsum)
def cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    """As ``numpy.cumsum``."""
    no_more("cumsum", out, {})
    a, axis = one_axis(a if dtype is None else as_dtype(a, dtype), axis)
    result = apply(CUMSUM, (a,), {"axis": axis})
    return result if dtype is None else as_dtype(result, dtype)


@implements(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """As ``numpy.diff``: differences of neighbours, n times."""
    a = array_of(a)
    (axis,) = normalize_axis(axis, len(shape_of(a)))
    edge = tuple(1 if i == axis else d for i, d in enumerate(shape_of(a)))
    ends = [
        [] if not is_given(x) else [x if len(shape_of(x)) else np.broadcast_to(array_of(x), edge)]
        for x in (prepend, append)
    ]
    a = np.concatenate([*ends[0], a, *ends[1]], axis) if ends[0] or ends[1] else a
    difference = np.not_equal if a.dtype == bool else np.subtract
    for _ in range(n):
        a = difference(along(a, axis, 1), along(a, axis, 0, -1))
    return a


@implements(np.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """As ``numpy.trapezoid``: the integral by the trapezoidal rule."""
    y = array_of(y)
    (axis,) = normalize_axis(axis, len(shape_of(y)))
    if x is not None:
        x = array_of(x)
        if len(shape_of(x)) == 1:
            dx = np.diff(x)
            dx = np.reshape(dx, [-1 if i == axis else 1 for i in range(len(shape_of(y)))])
        else:
            dx = np.diff(x, axis=axis)
    return np.sum(dx * (along(y, axis, 1) + along(y, axis, 0, -1)) / 2.0, axis=axis)


@implements(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """As ``numpy.ediff1d``."""
    flat = np.reshape(ary, -1)
    parts = [flat[1:] - flat[:-1]]
    if to_begin is not None:
        parts.insert(0, _end("to_begin", to_begin, ary.dtype))
    if to_end is not None:
        parts.append(_end("to_end", to_end, ary.dtype))
    return np.concatenate(parts)


def _end(name: str, values: Any, dtype: Any) -> Any:
    values = array_of(values)
    if not np.can_cast(values.dtype, dtype, casting="same_kind"):
        raise TypeError(f"ediff1d: {name} has dtype {values.dtype}, which does not fit into {dtype}")
    return as_dtype(np.reshape(values, -1), dtype)


@implements(np.cumprod)
def cumprod(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    """As ``numpy.cumprod``; by doubling, so that the derivative is exact also where factors are zero."""
    no_more("cumprod", out, {})
    a, axis = one_axis(as_dtype(a, accumulator(a.dtype) if dtype is None else dtype), axis)
    n = shape_of(a)[axis]
    step = 1
    while step < n:
        a = np.concatenate([along(a, axis, 0, step), along(a, axis, step) * along(a, axis, 0, n - step)], axis)
        step *= 2
    return a


def _cumulative(function: Any, start: float) -> Any:
    def implementation(
        x: Any, /, *, axis: int | None = None, dtype: Any = None, out: None = None, include_initial: bool = False
    ) -> Any:
        if axis is None and len(shape_of(x)) > 1:
            raise ValueError(f"{function.__name__}: x has shape {tuple(shape_of(x))}; say which axis")
        (axis,) = normalize_axis(-1 if axis is None else axis, len(shape_of(x)))
        result = FUNCTIONS[function](x, axis=axis, dtype=dtype)
        if include_initial:
            shape = [1 if i == axis else d for i, d in enumerate(shape_of(x))]
            result = np.concatenate([np.full(shape, start, result.dtype), result], axis)
        return result

    return implementation


FUNCTIONS[np.cumulative_sum] = _cumulative(np.cumsum, 0)
FUNCTIONS[np.cumulative_prod] = _cumulative(np.cumprod, 1)
