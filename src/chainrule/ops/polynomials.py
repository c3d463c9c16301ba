"""Polynomials by coefficients, the highest power first, and least-squares fits."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from .table import array_of, as_dtype, floating, implements, shape_of


@implements(np.polyval)
def polyval(p: Any, x: Any) -> Any:
    """As ``numpy.polyval``: by Horner's rule."""
    p, x = array_of(p), array_of(x)
    value = x * 0.0
    for i in range(shape_of(p)[0]):
        value = value * x + p[i]
    return value


@implements(np.vander)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """As ``numpy.vander``."""
    if len(shape_of(x)) != 1:
        raise ValueError(f"vander: x has shape {tuple(shape_of(x))}, expected a vector")
    count = shape_of(x)[0] if N is None else operator.index(N)
    x = as_dtype(x, np.promote_types(x.dtype, int))
    columns = [np.ones(shape_of(x), x.dtype)][:count]
    while len(columns) < count:
        columns.append(columns[-1] * x)
    if not columns:
        return np.zeros((*shape_of(x), 0), x.dtype)
    return np.stack(columns if increasing else columns[::-1], axis=1)


def _padded(a: Any, b: Any) -> tuple[Any, Any]:
    a, b = np.atleast_1d(array_of(a)), np.atleast_1d(array_of(b))
    n = max(shape_of(a)[0], shape_of(b)[0])
    first, second = (np.concatenate([np.zeros(n - shape_of(p)[0], p.dtype), p]) for p in (a, b))
    return first, second


@implements(np.polyadd)
def polyadd(a1: Any, a2: Any) -> Any:
    """As ``numpy.polyadd``."""
    first, second = _padded(a1, a2)
    return first + second


@implements(np.polysub)
def polysub(a1: Any, a2: Any) -> Any:
    """As ``numpy.polysub``."""
    first, second = _padded(a1, a2)
    return first - second


@implements(np.polymul)
def polymul(a1: Any, a2: Any) -> Any:
    """As ``numpy.polymul``, without leading zeros; while traced, those of coefficients without a value are kept."""
    return np.convolve(_without_leading_zeros(a1), _without_leading_zeros(a2))


def _without_leading_zeros(p: Any) -> Any:
    p = np.atleast_1d(array_of(p))
    value = p.value if isinstance(p, Tensor) else p
    if value is None:
        return p
    there = np.flatnonzero(value)
    return p[min(there[0] if there.size else len(value), len(value) - 1) :]


@implements(np.polyder)
def polyder(p: Any, m: int = 1) -> Any:
    """As ``numpy.polyder``: the coefficients of derivative number `m`."""
    for _ in range(operator.index(m)):
        n = shape_of(p)[0] - 1
        p = p[:-1] * np.arange(n, 0, -1)
    return p


@implements(np.polyint)
def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    """As ``numpy.polyint``: the coefficients of integral number `m`, with constants `k`."""
    p = floating(p)
    constants = [0.0] * m if k is None else list(np.atleast_1d(k)) * (m if np.ndim(k) == 0 else 1)
    for i in range(operator.index(m)):
        n = shape_of(p)[0]
        p = p / np.arange(n, 0, -1)
        p = np.concatenate([p, np.reshape(array_of(constants[i]), 1)])
    return p


@implements(np.polyfit)
def polyfit(x: Any, y: Any, deg: int, rcond: Any = None, full: bool = False, w: Any = None, cov: bool = False) -> Any:
    """As ``numpy.polyfit``: the coefficients of the least-squares polynomial."""
    if full or cov:
        raise TypeError("np.polyfit on tensors gives the coefficients only, not full= or cov=")
    x, y = floating(array_of(x)), floating(array_of(y))
    left = np.vander(x, operator.index(deg) + 1)
    if w is not None:
        w = array_of(w)
        left, y = left * np.expand_dims(w, 1), y * (w if len(shape_of(y)) == 1 else np.expand_dims(w, 1))
    scale = np.sqrt(np.sum(np.square(left), axis=0))
    solution = np.linalg.lstsq(left / scale, y, shape_of(x)[0] * np.finfo(x.dtype).eps if rcond is None else rcond)[0]
    return (solution.T / scale).T


@implements(np.poly)
def poly(seq_of_zeros: Any) -> Any:
    """As ``numpy.poly``, of the roots: the coefficients of the polynomial with them."""
    zeros = floating(seq_of_zeros)
    if len(shape_of(zeros)) != 1:
        raise ValueError(f"poly: expected a vector of roots, got shape {tuple(shape_of(zeros))}")
    result = np.ones(1, zeros.dtype)
    for i in range(shape_of(zeros)[0]):
        result = np.convolve(result, np.stack([np.ones((), zeros.dtype), -zeros[i]]))
    return result
