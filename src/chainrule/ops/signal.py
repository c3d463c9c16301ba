"""Convolution, correlation and interpolation along one axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.op import Example, register
from ..core.tensor import Tensor
from .table import array_of, as_dtype, implements, is_tensor, promote, shape_of, stored
from .windows import sliding_window_view

# -- convolution -----------------------------------------------------------------------------------


def _part(full: int, n: int, m: int, mode: str, name: str) -> slice:
    """Return which of the `full` results `mode` keeps, for lengths n >= m."""
    if mode == "full":
        return slice(0, full)
    if mode == "valid":
        return slice(m - 1, n)
    if mode == "same":
        return slice((m - 1) // 2, (m - 1) // 2 + n)
    raise ValueError(f"{name}: mode is {mode!r}, expected full, same or valid")


@implements(np.convolve)
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """As ``numpy.convolve``: as a product of the windows of the longer with the shorter, reversed."""
    (a, v), _ = promote(array_of(a), array_of(v))
    for name, x in (("a", a), ("v", v)):
        if len(shape_of(x)) != 1 or not shape_of(x)[0]:
            raise ValueError(f"convolve: {name} has shape {tuple(shape_of(x))}; expected a vector that is not empty")
    if shape_of(v)[0] > shape_of(a)[0]:
        a, v = v, a
    n, m = shape_of(a)[0], shape_of(v)[0]
    first, last, _ = _part(n + m - 1, n, m, mode, "convolve").indices(n + m - 1)
    # where the window lies within a, a product; at both ends only the terms that there are, not zeros times infinity
    within = [sliding_window_view(a, m)[max(first + 1 - m, 0) : min(last, n) + 1 - m], v[::-1]]
    parts = [_end(a, v, first, m - 1), np.matmul(*within), _end(a, v, n, last)]
    return np.concatenate(parts)


def _end(a: Any, v: Any, first: int, last: int) -> Any:
    """Return the sums of a convolution whose windows reach beyond the ends of `a`."""
    n, m = shape_of(a)[0], shape_of(v)[0]
    positions = np.arange(first, max(first, last))[:, None] + np.arange(1 - m, 1)
    inside = (positions >= 0) & (positions < n)
    terms = a[np.where(inside, positions, 0)] * v[::-1]
    return np.sum(np.where(inside, terms, np.zeros((), a.dtype)), axis=1, dtype=a.dtype)


@implements(np.correlate)
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """As ``numpy.correlate``."""
    a, v = array_of(a), array_of(v)
    n, m = shape_of(a)[0], shape_of(v)[0]
    if mode == "same" and m > n:  # NumPy exchanges the two and reverses, which centres even lengths differently
        return convolve(v, a[::-1], mode)[::-1]
    return convolve(a, v[::-1], mode)


# -- interpolation ---------------------------------------------------------------------------------

SEARCHSORTED = register(
    "searchsorted",
    numpy=np.searchsorted,
    shape=lambda a, v, side: (tuple(v.shape), np.dtype(np.intp)),
    kernel=lambda a, v, out=None, *, side: stored(np.searchsorted(a, v, side), out),
    vjp=(None, None),
    differentiable=False,
    native=lambda out, a, v, side: [int(side == "right")],
    examples=lambda rng: [Example((np.array([0.0, 1.0, 2.0]), rng.normal(size=(2, 2))), {"side": "right"})],
)


@implements(np.searchsorted)
def searchsorted(a: Any, v: Any, side: str = "left", sorter: None = None) -> Any:
    """As ``numpy.searchsorted``: positions, through which no derivative goes."""
    if sorter is not None:
        raise TypeError("np.searchsorted(…, sorter=…) on tensors: sort a first")
    (a, v), _ = promote(array_of(a), array_of(v))
    if len(shape_of(a)) != 1:
        raise ValueError(f"searchsorted: a has shape {tuple(shape_of(a))}, expected a sorted vector")
    return apply(SEARCHSORTED, (a, v), {"side": side})


@implements(np.interp)
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: None = None) -> Any:
    """As ``numpy.interp``, differentiable in `x`, the knots `xp` and the values `fp`.

    At a knot (a kink) the derivative in `x` is that of the piece to its right; outside the knots it is 0.
    """
    if period is not None:
        raise TypeError(
            "np.interp(…, period=…) on tensors: reduce x to one period first, x - period * np.floor(x / period)"
        )
    x, xp, fp = (as_dtype(k, np.float64) for k in (x, xp, fp))  # as NumPy computes it
    n = shape_of(xp)[0] if len(shape_of(xp)) == 1 else 0
    if not n or tuple(shape_of(fp)) != (n,):
        raise ValueError(
            f"interp: xp has shape {tuple(shape_of(xp))}, fp {tuple(shape_of(fp))}; expected two vectors of one length"
        )
    xp, fp = (k if is_tensor(k) else Tensor(k) for k in (xp, fp))
    if n == 1:
        inside = fp[0] + 0.0 * x
    else:
        i = np.clip(searchsorted(xp, x, "right") - 1, 0, n - 2)
        x0, f0 = xp[i], fp[i]
        inside = f0 + (x - x0) * ((fp[i + 1] - f0) / (xp[i + 1] - x0))
    inside = np.where(np.less(x, xp[0]), fp[0] if left is None else left, inside)
    inside = np.where(np.equal(x, xp[n - 1]), fp[n - 1], inside)
    return np.where(np.greater(x, xp[n - 1]), fp[n - 1] if right is None else right, inside)
