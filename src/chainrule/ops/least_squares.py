"""What follows from singular values, and systems of tensors: least squares, rank, condition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from .decompositions import matrices, svd, svdvals
from .table import array_of, floating, implements, shape_of


@implements(np.linalg.tensorinv)
def tensorinv(a: Any, ind: int = 2) -> Any:
    """As ``numpy.linalg.tensorinv``."""
    shape = tuple(shape_of(a))
    n = math.prod(shape[ind:])
    return np.reshape(np.linalg.inv(np.reshape(a, (-1, n))), shape[ind:] + shape[:ind])


@implements(np.linalg.tensorsolve)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    """As ``numpy.linalg.tensorsolve``."""
    if axes is not None:
        moved = [k % len(shape_of(a)) for k in axes]
        a = np.transpose(a, [*(k for k in range(len(shape_of(a))) if k not in moved), *moved])
    shape = tuple(shape_of(a))[len(shape_of(b)) :]
    return np.reshape(np.linalg.solve(np.reshape(a, (-1, math.prod(shape))), np.reshape(b, -1)), shape)


def _numerical_rank(s: Any, tolerance: Any) -> Any:
    return np.sum(np.greater(s, tolerance), axis=-1)


@implements(np.linalg.matrix_rank)
def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """As ``numpy.linalg.matrix_rank``: a count, through which no derivative goes."""
    A = floating(A)
    if len(A.shape) < 2:
        return np.sum(np.any(np.not_equal(A, 0)))
    s = svd(A, compute_uv=False, hermitian=hermitian)
    if tol is None:
        rtol = max(A.shape[-2:]) * np.finfo(s.dtype).eps if rtol is None else np.expand_dims(rtol, -1)
        tol = np.max(s, axis=-1, keepdims=True) * rtol
    else:
        tol = np.expand_dims(tol, -1)
    return _numerical_rank(s, tol)


@implements(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Any:
    """As ``numpy.linalg.cond``."""
    x = floating(x)
    matrices("cond", x)
    if p is None or p == 2 or p == -2:
        s = svdvals(x)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return np.linalg.norm(x, p, axis=(-2, -1)) * np.linalg.norm(np.linalg.inv(x), p, axis=(-2, -1))


@implements(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: Any = None) -> tuple[Any, Any, Any, Any]:
    """As ``numpy.linalg.lstsq``: (solution, residuals, rank, singular values); the derivative is that at constant rank.

    While a function is traced the rank is unknown; then residuals are NaN where NumPy gives none for a lower rank.
    """
    a, b = floating(a), floating(array_of(b))
    m, n = matrices("lstsq", a)
    if len(a.shape) != 2 or len(shape_of(b)) not in (1, 2) or shape_of(b)[0] != m:
        raise ValueError(f"lstsq: a has shape {a.shape}, b has {shape_of(b)}; expected (m, n), and (m,) or (m, k)")
    eps = np.finfo(a.dtype).eps
    rtol = eps * max(m, n) if rcond is None else eps if rcond == -1 else float(rcond)
    s = svdvals(a)
    rank = _numerical_rank(s, rtol * s[0]).astype(np.int32)
    x = np.matmul(np.linalg.pinv(a, rtol=rtol), b)
    known = rank.value if isinstance(rank, Tensor) else rank
    if m <= n or (known is not None and int(known) < n):
        return x, np.zeros(0, a.dtype), rank, s
    rest = np.square(np.matmul(a, x) - b)
    residuals = np.sum(np.reshape(rest, (m, -1)), axis=0)
    return x, residuals if known is not None else np.where(np.equal(rank, n), residuals, np.nan), rank, s
