"""Quantiles, and statistics that leave NaN out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.node import FUNCTIONS
from .norms import norm2
from .reduce import Axis, nan_as, no_more, normalize_axis
from .table import array_of, as_dtype, floating, implements, is_tensor, shape_of

#: Methods of quantiles -> (alpha, beta) of Hyndman & Fan, "Sample quantiles in statistical packages", 1996.
_PLOTTING_POSITIONS = {
    "linear": (1.0, 1.0),
    "weibull": (0.0, 0.0),
    "hazen": (0.5, 0.5),
    "interpolated_inverted_cdf": (0.0, 1.0),
    "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (3 / 8, 3 / 8),
}
#: Methods that choose one or both neighbours of the linear position: what becomes of its fraction.
_CHOICES: dict[str, Callable[[Any, Any], Any]] = {
    "lower": lambda position, fraction: np.zeros_like(fraction),
    "higher": lambda position, fraction: np.ceil(fraction),
    "midpoint": lambda position, fraction: np.where(np.equal(fraction, 0), 0.0, 0.5),
    "nearest": lambda position, fraction: np.rint(position) - np.floor(position),
}


def _one_axis_last(a: Any, axis: Axis) -> tuple[Any, tuple[int, ...], tuple[int, ...]]:
    """Return `a` with the reduced axes joined as the last one, these axes, and the shape with ones in their place."""
    old = tuple(shape_of(a))
    axes = normalize_axis(axis, len(old))
    rest = tuple(k for k in range(len(old)) if k not in axes)
    joined = np.reshape(np.transpose(a, rest + axes), (*(old[k] for k in rest), math.prod(old[k] for k in axes)))
    return joined, axes, tuple(1 if k in axes else n for k, n in enumerate(old))


def _interpolated(ordered: Any, q: Any, count: Any, method: str, dtype: Any) -> Any:
    """Return quantiles along the last axis of sorted values, of which the first `count` are used; those of q lead."""
    if method in _PLOTTING_POSITIONS:
        alpha, beta = _PLOTTING_POSITIONS[method]
        position = count * q + (alpha + q * (1.0 - alpha - beta)) - 1.0
    elif method in _CHOICES:
        position = (count - 1) * q
    else:
        known = ", ".join([*_PLOTTING_POSITIONS, *_CHOICES])
        raise ValueError(f"quantile: method is {method!r}; tensors take {known}")
    position = np.maximum(np.minimum(position, count - 1.0), 0.0)
    below = np.floor(position)
    fraction = position - below
    if method in _CHOICES:
        fraction = _CHOICES[method](position, fraction)
    index = below.astype(np.intp)
    last = np.maximum(count - 1, 0)
    fraction = as_dtype(fraction, dtype)
    low = np.take_along_axis(ordered, index, -1)
    high = np.take_along_axis(ordered, np.minimum(index + 1, last).astype(np.intp), -1)
    step = high - low
    near = np.where(np.less(fraction, 0.5), low + step * fraction, high - step * (1.0 - fraction))
    return np.where(np.equal(low, high), low, near)


def _quantile(
    name: str, a: Any, q: Any, axis: Axis, keepdims: bool, method: str, scale: float, ignore_nan: bool
) -> Any:
    a = floating(a)
    if type(q) in (int, float):
        q = np.asarray(q, a.dtype)
    q = array_of(q)
    q = q / q.dtype.type(scale) if q.dtype.kind == "f" else q / scale
    if not is_tensor(q) and np.any(np.logical_not((q >= 0) & (q <= 1))):
        raise ValueError(f"np.{name}: q must be in the range from 0 to {scale:g}")
    joined, axes, ones = _one_axis_last(a, axis)
    if not shape_of(joined)[-1]:
        raise ValueError(f"np.{name} of no elements: the array has shape {tuple(a.shape)}, the axes are {axes}")
    ordered = np.sort(joined, axis=-1)
    flat = np.reshape(q, -1)
    dtype = a.dtype if method in _CHOICES and method != "midpoint" else np.result_type(a.dtype, q.dtype)
    missing = np.isnan(ordered)
    if ignore_nan:
        count = np.sum(np.logical_not(missing), axis=-1, keepdims=True)
    else:
        count = np.full((1,) * len(shape_of(ordered)), shape_of(ordered)[-1])
    found = _interpolated(
        ordered, np.broadcast_to(flat, (*shape_of(ordered)[:-1], *shape_of(flat))), count, method, dtype
    )
    if not ignore_nan:
        found = np.where(missing[..., -1:], np.nan, found)
    found = as_dtype(np.moveaxis(found, -1, 0), dtype)
    rest = tuple(n for k, n in enumerate(a.shape) if k not in axes)
    return np.reshape(found, (*shape_of(q), *(ones if keepdims else rest)))


def _quantiles(name: str, scale: float, ignore_nan: bool) -> Callable[..., Any]:
    def implementation(
        a: Any,
        q: Any,
        axis: Axis = None,
        out: None = None,
        overwrite_input: bool = False,
        method: str = "linear",
        keepdims: bool = False,
        *,
        weights: None = None,
    ) -> Any:
        no_more(name, out, {"weights": weights})
        return _quantile(name, a, q, axis, bool(keepdims), method, scale, ignore_nan)

    return implementation


FUNCTIONS[np.quantile] = _quantiles("quantile", 1.0, False)
FUNCTIONS[np.percentile] = _quantiles("percentile", 100.0, False)
FUNCTIONS[np.nanquantile] = _quantiles("nanquantile", 1.0, True)
FUNCTIONS[np.nanpercentile] = _quantiles("nanpercentile", 100.0, True)


@implements(np.nanmedian)
def nanmedian(
    a: Any, axis: Axis = None, out: None = None, overwrite_input: bool = False, keepdims: bool = False
) -> Any:
    """As ``numpy.nanmedian``."""
    no_more("nanmedian", out, {})
    return _quantile("nanmedian", a, 0.5, axis, keepdims is True, "linear", 1.0, True)


# -- without NaN -----------------------------------------------------------------------------------


def _present(a: Any, axis: Axis, keepdims: bool, instead: float = 0.0) -> tuple[Any, Any, Any]:
    """Return where `a` is a number, `a` with `instead` elsewhere, and the count along `axis`."""
    a = floating(a)
    there = np.logical_not(np.isnan(a))
    count = np.sum(there, axis=axis, keepdims=keepdims).astype(a.dtype)
    return there, np.where(there, a, instead), count


def _checked(name: str, more: dict[str, Any]) -> bool:
    """Return keepdims; refuse other arguments of a NumPy function."""
    keepdims = more.pop("keepdims", False)
    more.pop("mean", None)
    no_more(name, None, more)
    return keepdims is not np._NoValue and bool(keepdims)


def _warn_of_none(count: Any, least: float, message: str) -> None:
    values = getattr(count, "value", count)
    if values is not None and np.any(values <= least):
        warnings.warn(message, RuntimeWarning, stacklevel=4)


@implements(np.nanmean)
def nanmean(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, **more: Any) -> Any:
    """As ``numpy.nanmean``."""
    no_more("nanmean", out, {"dtype": dtype})
    _, kept, count = _present(a, axis, keepdims := _checked("nanmean", more))
    _warn_of_none(count, 0, "Mean of empty slice")
    return np.sum(kept, axis=axis, keepdims=keepdims) / count


def _deviations(name: str, a: Any, axis: Axis, out: Any, ddof: float, more: dict[str, Any]) -> tuple[Any, Any, bool]:
    """Return how far the numbers are from their mean, 0 for NaN; the degrees of freedom; and keepdims."""
    ddof = more.pop("correction", None) or ddof
    no_more(name, out, {"dtype": more.pop("dtype", None)})
    keepdims = _checked(name, more)
    there, kept, count = _present(a, axis, True)
    mean = np.sum(kept, axis=axis, keepdims=True) / np.maximum(count, 1.0)
    freedom = count - ddof
    _warn_of_none(freedom, 0, "Degrees of freedom <= 0 for slice.")
    freedom = np.where(np.greater(freedom, 0), freedom, np.nan)
    return np.where(there, kept - mean, 0.0), freedom if keepdims else np.sum(freedom, axis=axis), keepdims


@implements(np.nanvar)
def nanvar(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, ddof: float = 0, **more: Any) -> Any:
    """As ``numpy.nanvar``."""
    deviation, freedom, keepdims = _deviations("nanvar", a, axis, out, ddof, {"dtype": dtype, **more})
    return np.sum(np.square(deviation), axis=axis, keepdims=keepdims) / freedom


@implements(np.nanstd)
def nanstd(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, ddof: float = 0, **more: Any) -> Any:
    """As ``numpy.nanstd``. Where all numbers are equal (a kink) the subgradient is 0."""
    deviation, freedom, keepdims = _deviations("nanstd", a, axis, out, ddof, {"dtype": dtype, **more})
    return norm2(deviation, normalize_axis(axis, len(shape_of(a))), keepdims) / np.sqrt(freedom)


def _replacing(function: Any, instead: float) -> Callable[..., Any]:
    """Return a function that treats NaN as another number."""

    def implementation(a: Any, axis: Any = None, *args: Any, **kwargs: Any) -> Any:
        return function(nan_as(instead, a), axis, *args, **kwargs)

    return implementation


FUNCTIONS[np.nanprod] = _replacing(np.prod, 1.0)
FUNCTIONS[np.nancumsum] = _replacing(np.cumsum, 0.0)
FUNCTIONS[np.nancumprod] = _replacing(np.cumprod, 1.0)


def _position(function: Any, instead: float) -> Callable[..., Any]:
    def implementation(a: Any, axis: Any = None, out: None = None, *, keepdims: bool = False) -> Any:
        values = getattr(a, "value", a)
        if values is not None and np.any(np.all(np.isnan(values), axis=axis)):
            raise ValueError("All-NaN slice encountered")
        return function(np.where(np.isnan(a), instead, a), axis=axis, keepdims=keepdims is True)

    return implementation


FUNCTIONS[np.nanargmax] = _position(np.argmax, -math.inf)
FUNCTIONS[np.nanargmin] = _position(np.argmin, math.inf)
