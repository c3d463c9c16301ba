"""Selecting elements by conditions, positions and bins; sets of values; functions along an axis."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.node import FUNCTIONS
from ..core.tensor import Tensor
from .table import array_of, as_dtype, floating, implements, is_tensor, one_axis, shape_of


def _values(x: Any, use: str) -> Any:
    """Return the values of a tensor on which the shape of a result depends."""
    return x.concrete(use) if isinstance(x, Tensor) else np.asarray(x)


@implements(np.piecewise)
def piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    """As ``numpy.piecewise``, but that each function is given all of `x`, and its values are used where they hold."""
    x = array_of(x)
    single = not isinstance(condlist, list | tuple) or (
        len(shape_of(x)) > 0 and all(len(shape_of(c)) == 0 for c in condlist)
    )
    conditions = [condlist] if single else list(condlist)
    if len(funclist) not in (len(conditions), len(conditions) + 1):
        raise ValueError(f"piecewise: {len(conditions)} conditions need that many functions or one more")
    pieces = [f(x, *args, **kw) if callable(f) else f for f in funclist]
    result = pieces[len(conditions)] if len(pieces) > len(conditions) else 0
    result = as_dtype(np.broadcast_to(array_of(result), shape_of(x)), x.dtype)
    for condition, piece in zip(conditions, pieces, strict=False):
        result = np.where(array_of(condition), as_dtype(array_of(piece), x.dtype), result)
    return result


@implements(np.choose)
def choose(a: Any, choices: Sequence[Any], out: None = None, mode: str = "raise") -> Any:
    """As ``numpy.choose``."""
    choices = [c if type(c) in (int, float) else array_of(c) for c in choices]
    a = array_of(a)
    count = len(choices)
    if mode == "raise":
        known = a.value if isinstance(a, Tensor) else a
        if known is not None and known.size and not (0 <= known.min() and known.max() < count):
            raise ValueError(f"choose: entries {known.min()} … {known.max()} for {count} choices")
    else:
        a = np.remainder(a, count) if mode == "wrap" else np.clip(a, 0, count - 1)
    result = choices[0]
    for i in range(1, count):
        result = np.where(np.equal(a, i), choices[i], result)
    return np.broadcast_to(result, np.broadcast_shapes(shape_of(a), shape_of(result)))


@implements(np.compress)
def compress(condition: Any, a: Any, axis: int | None = None, out: None = None) -> Any:
    """As ``numpy.compress``."""
    a, axis = one_axis(array_of(a), axis)
    return np.take(a, np.flatnonzero(_values(condition, "np.compress")), axis=axis)


@implements(np.extract)
def extract(condition: Any, arr: Any) -> Any:
    """As ``numpy.extract``."""
    return np.take(np.reshape(array_of(arr), -1), np.flatnonzero(_values(condition, "np.extract")))


for _function in (np.nonzero, np.flatnonzero, np.argwhere, np.array_equiv, np.intersect1d, np.union1d, np.setdiff1d,
                  np.setxor1d, np.histogram_bin_edges):  # fmt: skip

    def _of_values(*args: Any, _function: Any = _function, **kwargs: Any) -> Any:
        use = f"np.{_function.__name__}"
        return _function(*[_values(x, use) if isinstance(x, Tensor) else x for x in args], **kwargs)

    FUNCTIONS[_function] = _of_values


@implements(np.digitize)
def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    """As ``numpy.digitize``: positions, through which no derivative goes."""
    edges = _values(bins, "np.digitize")
    step = np.diff(edges)
    if not (np.all(step >= 0) or np.all(step <= 0)):
        raise ValueError("digitize: bins must increase or decrease monotonically")
    if (step.size and step[0] < 0) or np.any(step < 0):
        return len(edges) - np.searchsorted(edges[::-1], x, side="left" if right else "right")
    return np.searchsorted(edges, x, side="left" if right else "right")


@implements(np.isin)
def isin(element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False, **more: Any) -> Any:
    """As ``numpy.isin``."""
    tests = np.reshape(array_of(test_elements), -1)
    found = np.any(np.equal(np.expand_dims(array_of(element), -1), tests), axis=-1)
    return np.logical_not(found) if invert else found


@implements(np.unique)
def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    **more: Any,
) -> Any:
    """As ``numpy.unique``; each value's gradient goes to its first occurrence."""
    found: Any = np.unique  # its annotations know no flags that are variables
    results = found(_values(ar, "np.unique"), True, return_inverse, return_counts, axis, **more)
    first = results[1]
    values = np.take(np.reshape(ar, -1) if axis is None else ar, first, axis=0 if axis is None else axis)
    wanted = results[1 if return_index else 2 :]
    return (values, *wanted) if wanted else values


@implements(np.bincount)
def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    """As ``numpy.bincount``, differentiable in the weights."""
    ids = _values(x, "np.bincount")
    if weights is None:
        return np.bincount(ids, minlength=minlength)
    count = max(int(ids.max()) + 1 if ids.size else 0, operator.index(minlength))
    return FUNCTIONS["scatter_add"](as_dtype(array_of(weights), np.float64), (ids,), (count,))


@implements(np.trim_zeros)
def trim_zeros(filt: Any, trim: str = "fb", axis: None = None) -> Any:
    """As ``numpy.trim_zeros``, of a vector."""
    there = np.flatnonzero(_values(filt, "np.trim_zeros"))
    n = shape_of(filt)[0]
    start = (int(there[0]) if there.size else n) if "f" in trim.lower() else 0
    stop = (int(there[-1]) + 1 if there.size else 0) if "b" in trim.lower() else n
    return filt[start : max(start, stop)]


@implements(np.resize)
def resize(a: Any, new_shape: Any) -> Any:
    """As ``numpy.resize``: elements repeat."""
    size = int(np.prod(new_shape))
    flat = np.reshape(a, -1)
    return np.reshape(np.take(flat, np.arange(size) % max(shape_of(flat)[0], 1)), new_shape)


@implements(np.argpartition)
def argpartition(a: Any, kth: Any, axis: int | None = -1, **more: Any) -> Any:
    """As ``numpy.argpartition``; fully sorted, which is one such partition."""
    return np.argsort(a, axis=axis)


@implements(np.apply_along_axis)
def apply_along_axis(func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    """As ``numpy.apply_along_axis``: calls the function for each vector along `axis`."""
    moved = np.moveaxis(arr, axis, -1)
    batch = tuple(shape_of(moved)[:-1])
    found = [array_of(func1d(moved[i], *args, **kwargs)) for i in np.ndindex(*batch)]
    if not found:
        raise ValueError("apply_along_axis: there are no vectors to apply the function to")
    shape = tuple(shape_of(found[0]))
    result = np.reshape(np.stack(found), batch + shape)
    axis %= len(shape_of(arr))
    return np.moveaxis(result, range(len(batch), len(batch) + len(shape)), range(axis, axis + len(shape)))


@implements(np.apply_over_axes)
def apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    """As ``numpy.apply_over_axes``."""
    for axis in np.atleast_1d(axes).tolist():
        result = func(a, axis)
        a = result if len(shape_of(result)) == len(shape_of(a)) else np.expand_dims(result, axis)
    return a


FUNCTIONS[np.tril_indices_from] = lambda arr, k=0: np.tril_indices_from(np.empty(shape_of(arr)), k)
FUNCTIONS[np.triu_indices_from] = lambda arr, k=0: np.triu_indices_from(np.empty(shape_of(arr)), k)
FUNCTIONS[np.diag_indices_from] = lambda arr: np.diag_indices_from(np.empty(shape_of(arr)))

# -- functions of complex numbers, on real ones ----------------------------------------------------

FUNCTIONS[np.conjugate] = lambda x: np.copy(x)
FUNCTIONS[np.real_if_close] = lambda a, tol=100: a
FUNCTIONS[np.imag] = lambda val: np.zeros(shape_of(val), val.dtype)
FUNCTIONS[np.iscomplex] = lambda x: np.zeros(shape_of(x), bool)
FUNCTIONS[np.isreal] = lambda x: np.ones(shape_of(x), bool)


@implements(np.angle)
def angle(z: Any, deg: bool = False) -> Any:
    """As ``numpy.angle``, of real numbers: pi for negative ones, with derivative 0."""
    half = 180.0 if deg else np.pi
    return as_dtype(np.where(np.signbit(z), half, 0.0), floating(z).dtype) if is_tensor(z) else np.angle(z, deg)
