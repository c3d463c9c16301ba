"""Methods of ufuncs: ``np.add.reduce``, ``np.maximum.accumulate``, ``np.subtract.outer``, ``np.add.reduceat``.

Their axis is 0 by default, unlike that of the functions ``np.sum`` and ``np.cumsum``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.node import FUNCTIONS
from . import logits
from .reduce import no_more
from .table import along, array_of, as_dtype, one_axis, shape_of

#: Ufunc -> the function that reduces by it.
_REDUCTIONS: dict[Any, Callable[..., Any]] = {
    np.add: np.sum,
    np.multiply: np.prod,
    np.maximum: np.max,
    np.minimum: np.min,
    np.logical_and: np.all,
    np.logical_or: np.any,
    np.logaddexp: lambda a, axis=None, keepdims=False: logits.logsumexp(a, axis, keepdims),
}
#: Ufunc -> the function that accumulates by it, where that is not by doubling.
_ACCUMULATIONS: dict[Any, Callable[..., Any]] = {np.add: np.cumsum, np.multiply: np.cumprod}
_BY_DOUBLING = (np.maximum, np.minimum, np.fmax, np.fmin, np.logaddexp, np.logical_and, np.logical_or)


def _reduce(function: Callable[..., Any]) -> Callable[..., Any]:
    def implementation(a: Any, axis: Any = 0, dtype: Any = None, out: None = None, **more: Any) -> Any:
        no_more(f"{function.__name__}.reduce", out, {})
        a = array_of(a) if dtype is None else as_dtype(a, dtype)
        return function(a, axis=axis, **more)

    return implementation


def accumulated(ufunc: Any) -> Callable[..., Any]:
    """Return the accumulation of an associative ufunc: log2(n) steps on whole arrays."""

    def implementation(a: Any, axis: int = 0, dtype: Any = None, out: None = None) -> Any:
        no_more(f"{ufunc.__name__}.accumulate", out, {"dtype": dtype})
        a, axis = one_axis(a, axis)
        n, step = shape_of(a)[axis], 1
        while step < n:
            joined = ufunc(along(a, axis, step), along(a, axis, 0, n - step))
            a = np.concatenate([as_dtype(along(a, axis, 0, step), joined.dtype), joined], axis)
            step *= 2
        return a

    return implementation


def _accumulate(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, axis=0, dtype=None, out=None: function(a, axis=axis, dtype=dtype, out=out)


def _reduceat(ufunc: Any) -> Callable[..., Any]:
    def implementation(a: Any, indices: Any, axis: int = 0, dtype: Any = None, out: None = None) -> Any:
        no_more(f"{ufunc.__name__}.reduceat", out, {"dtype": dtype})
        a, axis = one_axis(a, axis)
        starts = np.asarray(indices).tolist()
        parts = []
        for i, start in enumerate(starts):
            stop = starts[i + 1] if i + 1 < len(starts) else shape_of(a)[axis]
            part = along(a, axis, start, max(stop, start + 1))
            parts.append(ufunc.reduce(part, axis=axis, keepdims=True))
        return np.concatenate(parts, axis)

    return implementation


def _outer(function: Callable[..., Any]) -> Callable[..., Any]:
    def implementation(a: Any, b: Any, /) -> Any:
        shape = (*shape_of(a), *(1,) * len(shape_of(b)))
        return function(np.reshape(a, shape), b)

    return implementation


for _ufunc, _function in _REDUCTIONS.items():
    FUNCTIONS[_ufunc, "reduce"] = _reduce(_function)
    FUNCTIONS[_ufunc, "reduceat"] = _reduceat(_ufunc)
for _ufunc, _function in _ACCUMULATIONS.items():
    FUNCTIONS[_ufunc, "accumulate"] = _accumulate(_function)
for _ufunc in _BY_DOUBLING:
    FUNCTIONS[_ufunc, "accumulate"] = accumulated(_ufunc)
for _ufunc in [key for key in FUNCTIONS if isinstance(key, np.ufunc) and key.nin == 2 and key.signature is None]:
    FUNCTIONS[_ufunc, "outer"] = _outer(FUNCTIONS[_ufunc])
