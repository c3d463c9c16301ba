"""Decompositions of matrices: eigenvalues and eigenvectors, singular values, QR; and what follows from them.

A decomposition is one row, whose results lie side by side along the last axis; the functions take them apart.

Eigenvectors of equal eigenvalues, and singular vectors of equal singular values, are not determined. What does not
depend on their choice (sums of equal values, projections, U Vᵀ) has its derivative; where the derivative cannot be told
from the vectors alone (V f(w) Vᵀ at equal w), it is NaN. Values count as equal within eps^¾ of their sum.

Source: Giles, "Collected matrix derivative results", 2008; Townsend, "Differentiating the SVD".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.linalg._linalg import EighResult, EigResult, QRResult, SVDResult

from ..core.apply import apply
from ..core.op import Example, Shape, register
from .linalg import kernel_of, square_shape, t
from .table import floating, implements

_CONVERGENCE = "the iteration did not converge"


def _gaps(values: Any) -> tuple[Any, Any]:
    """Return 1 / (v_j - v_i), 0 where the values are equal, and which pairs are."""
    gap = np.expand_dims(values, -2) - np.expand_dims(values, -1)
    return _inverse(gap, np.expand_dims(np.sum(np.absolute(values), axis=-1), (-2, -1)))


def _inverse(x: Any, scale: Any) -> tuple[Any, Any]:
    """Return 1 / x, 0 where x vanishes against `scale`, and where it does."""
    small = np.less_equal(np.absolute(x), scale * np.finfo(x.dtype).eps ** 0.75)
    return np.where(small, 0.0, 1.0 / np.where(small, 1.0, x)), small


def _undetermined(equal: Any, g: Any, *turns: Any) -> Any:
    """Return NaN for pairs of equal values whose cotangents `g` and those of their vectors, `turns`, both matter."""
    used = np.zeros(tuple(equal.shape), bool)
    for turn in turns:
        scale = np.sum(np.absolute(turn), axis=(-2, -1), keepdims=True)
        used = np.logical_or(used, np.greater(np.absolute(turn), scale * np.finfo(turn.dtype).eps ** 0.75))
    used = np.logical_and(np.logical_or(used, t(used)), np.logical_not(np.eye(equal.shape[-1], dtype=bool)))
    read = np.not_equal(g, 0)
    read = np.logical_or(np.expand_dims(read, -1), np.expand_dims(read, -2))
    return np.where(np.logical_and(np.logical_and(equal, used), read), np.nan, 0.0)


def _diagonal(x: Any) -> Any:
    return np.expand_dims(x, -1) * np.eye(x.shape[-1], dtype=x.dtype)


# -- eigenvalues -----------------------------------------------------------------------------------


def _packed_shape(name: str) -> Callable[..., tuple[Shape, np.dtype[Any]]]:
    def shape(a: Any, **attrs: Any) -> tuple[Shape, np.dtype[Any]]:
        (*batch, n, _), dtype = square_shape(name)(a)
        return (*batch, n, n + 1), dtype

    return shape


def _eigh_array(a: Any, uplo: Any) -> Any:
    """Return each eigenvalue of a symmetric matrix, followed by its eigenvector, as a row."""
    w, v = np.linalg.eigh(a, uplo)
    return np.concatenate([w[..., None], np.swapaxes(v, -1, -2)], axis=-1)


def _eigh_rule(g: Any, out: Any, a: Any, uplo: str) -> Any:
    w, vt, gw, gvt = out[..., 0], out[..., 1:], g[..., 0], g[..., 1:]
    inverse, equal = _gaps(w)
    turn = np.matmul(vt, t(gvt))
    inner = _diagonal(gw) + inverse * turn + _undetermined(equal, gw, turn)
    full = np.matmul(np.matmul(t(vt), inner), vt)
    n = w.shape[-1]
    half = np.tri(n, dtype=w.dtype) - 0.5 * np.eye(n, dtype=w.dtype)  # only this triangle of `a` is read
    return (full + t(full)) * (half if uplo == "L" else half.T)


EIGH = register(
    "eigh",
    numpy=_eigh_array,
    shape=_packed_shape("eigh"),
    kernel=kernel_of("eigh", _eigh_array, _CONVERGENCE),
    vjp=(_eigh_rule,),
    examples=lambda rng: [
        Example((rng.normal(size=(3, 3)),), {"uplo": "L"}),
        Example((rng.normal(size=(2, 2, 2)),), {"uplo": "U"}),
    ],
    flops=lambda out, a, **attrs: 9 * math.prod(a) * a[-1],
)


def _eigh(a: Any, triangle: str) -> Any:
    if triangle.upper() not in ("L", "U"):
        raise ValueError(f"UPLO is {triangle!r}, expected 'L' or 'U'")
    return apply(EIGH, (floating(a),), {"uplo": triangle.upper()})


@implements(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> EighResult:
    """As ``numpy.linalg.eigh``: reads one triangle of `a`, and the gradient is in that triangle."""
    rows = _eigh(a, UPLO)
    return EighResult(rows[..., 0], t(rows[..., 1:]))


@implements(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    """As ``numpy.linalg.eigvalsh``: reads one triangle of `a`, and the gradient is in that triangle."""
    return _eigh(a, UPLO)[..., 0]


def _eig_array(a: Any) -> Any:
    """Return each eigenvalue of a matrix, all being real, followed by its eigenvector, as a row."""
    w, v = np.linalg.eig(a)
    if np.iscomplexobj(w):
        raise TypeError("eig: the matrix, or one of the stack, has complex eigenvalues; only real ones are supported")
    return np.concatenate([w[..., None], np.swapaxes(v, -1, -2)], axis=-1)


def _eig_rule(g: Any, out: Any, a: Any) -> Any:
    w, vt, gw, gv = out[..., 0], out[..., 1:], g[..., 0], t(g[..., 1:])
    inverse, equal = _gaps(w)
    turn = np.matmul(vt, gv)
    length = np.sum(vt * t(gv), axis=-1)  # eigenvectors keep their length
    turn = turn - np.matmul(vt, t(vt)) * np.expand_dims(length, -2)
    inner = _diagonal(gw) + inverse * turn + _undetermined(equal, gw, turn)
    return np.linalg.solve(vt, np.matmul(inner, vt))


EIG = register(
    "eig",
    numpy=_eig_array,
    shape=_packed_shape("eig"),
    kernel=kernel_of("eig", _eig_array, _CONVERGENCE),
    vjp=(_eig_rule,),
    examples=lambda rng: [
        Example((np.diag([1.0, 3.0, 6.0]) + 0.3 * rng.normal(size=(3, 3)),)),
        Example((np.diag([1.0, 4.0]) + 0.3 * rng.normal(size=(2, 2, 2)),)),
    ],
    flops=lambda out, a, **attrs: 25 * math.prod(a) * a[-1],
)


@implements(np.linalg.eig)
def eig(a: Any) -> EigResult:
    """As ``numpy.linalg.eig``, of matrices whose eigenvalues are real; complex ones are refused."""
    rows = apply(EIG, (floating(a),), {})
    return EigResult(rows[..., 0], t(rows[..., 1:]))


@implements(np.linalg.eigvals)
def eigvals(a: Any) -> Any:
    """As ``numpy.linalg.eigvals``, of matrices whose eigenvalues are real; complex ones are refused."""
    return apply(EIG, (floating(a),), {})[..., 0]


# -- singular values -------------------------------------------------------------------------------


def matrices(name: str, a: Any) -> tuple[int, int]:
    """Return the rows and columns of a stack of matrices; raise for anything else."""
    if len(a.shape) < 2:
        raise ValueError(f"{name}: a has shape {tuple(a.shape)}, expected matrices (…, m, n)")
    return a.shape[-2], a.shape[-1]


def _svd_array(a: Any) -> Any:
    """Return each left singular vector of a matrix, followed by the singular value and the right vector, as a row."""
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    return np.concatenate([np.swapaxes(u, -1, -2), s[..., None], vt], axis=-1)


def _svd_shape(a: Any) -> tuple[Shape, np.dtype[Any]]:
    m, n = matrices("svd", a)
    return (*a.shape[:-2], min(m, n), m + 1 + n), a.dtype


def _svd_rule(g: Any, out: Any, a: Any) -> Any:
    m = a.shape[-2]
    ut, s, vt = out[..., :m], out[..., m], out[..., m + 1 :]
    gut, gs, gvt = g[..., :m], g[..., m], g[..., m + 1 :]
    left, right = np.matmul(ut, t(gut)), np.matmul(vt, t(gvt))
    left_part, right_part = left - t(left), right - t(right)
    difference, equal = _gaps(s)
    scale = np.sum(s, axis=-1, keepdims=True)
    total, _ = _inverse(np.expand_dims(s, -2) + np.expand_dims(s, -1), np.expand_dims(scale, -1))
    # s_j A + s_i B over s_j² - s_i², as two terms of which only the first needs different values
    inner = 0.5 * ((left_part + right_part) * difference + (left_part - right_part) * total)
    inner = _diagonal(gs) + inner + _undetermined(equal, gs, left, right)
    inverse, zero = _inverse(s, scale)
    result = np.matmul(t(ut), np.matmul(inner, vt))
    # what lies outside of the spaces that the vectors span
    for turned, other, ours in ((gut, vt, ut), (gvt, ut, vt)):
        if ours.shape[-1] == ours.shape[-2]:
            continue
        outside = turned - np.matmul(np.matmul(turned, t(ours)), ours)
        lost = np.logical_and(zero, np.not_equal(gs, 0))
        lost = np.logical_and(lost, np.any(np.not_equal(turned, 0), axis=-1))
        outside = outside * np.expand_dims(np.where(lost, np.nan, inverse), -1)
        part = np.matmul(t(outside), other)
        result = result + (part if ours is ut else t(part))
    return result


SVD = register(
    "svd",
    numpy=_svd_array,
    shape=_svd_shape,
    kernel=kernel_of("svd", _svd_array, _CONVERGENCE),
    vjp=(_svd_rule,),
    examples=lambda rng: [
        Example((rng.normal(size=(2, 3)),)),
        Example((rng.normal(size=(2, 3, 2)),)),
        Example((rng.normal(size=(2, 2)),)),
    ],
    flops=lambda out, a, **attrs: 14 * math.prod(a) * min(a[-2:]),
)


def _complement_array(a: Any, of: str) -> Any:
    """Return the columns that a full decomposition adds to the reduced one: a basis of what is orthogonal."""
    m, n = a.shape[-2:]
    if of == "qr":
        return np.linalg.qr(a, mode="complete")[0][..., :, n:]
    u, _, vt = np.linalg.svd(a)
    return u[..., :, n:] if of == "left" else np.swapaxes(vt[..., m:, :], -1, -2)


def _complement_shape(a: Any, of: str) -> tuple[Shape, np.dtype[Any]]:
    m, n = matrices("svd", a)
    return (*a.shape[:-2], *((n, max(n - m, 0)) if of == "right" else (m, max(m - n, 0)))), a.dtype


def _complement_rule(g: Any, out: Any, a: Any, of: str) -> Any:
    outer, inverse = np.matmul(out, t(g)), t(np.linalg.pinv(a))
    return -np.matmul(inverse, t(outer)) if of == "right" else -np.matmul(outer, inverse)


COMPLEMENT = register(
    "orthogonal_complement",
    numpy=_complement_array,
    shape=_complement_shape,
    kernel=kernel_of("svd", _complement_array, _CONVERGENCE),
    vjp=(_complement_rule,),
    notation="complement",
    examples=lambda rng: [
        Example((rng.normal(size=(3, 2)),), {"of": "left"}),
        Example((rng.normal(size=(2, 2, 3)),), {"of": "right"}),
        Example((rng.normal(size=(3, 2)),), {"of": "qr"}),
    ],
    flops=lambda out, a, **attrs: 14 * math.prod(a) * min(a[-2:]),
    source="Nᵀ A = 0 gives dN = -A⁺ᵀ dAᵀ N, for a basis that turns as little as possible",
)


@implements(np.linalg.svd)
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    """As ``numpy.linalg.svd``; of the vectors that `full_matrices` adds, functions of their span have a derivative."""
    a = floating(a)
    if hermitian:
        w, v = eigh(a)
        order = np.flip(np.argsort(np.absolute(w), axis=-1), -1)
        w, v = np.take_along_axis(w, order, -1), np.take_along_axis(v, np.expand_dims(order, -2), -1)
        s = np.absolute(w)
        return (
            SVDResult(v, s, t(v * np.expand_dims(np.where(np.less(w, 0), -1.0, 1.0).astype(w.dtype), -2)))
            if compute_uv
            else s
        )
    m, n = matrices("svd", a)
    rows = apply(SVD, (a,), {})
    u, s, vt = t(rows[..., :m]), rows[..., m], rows[..., m + 1 :]
    if not compute_uv:
        return s
    if full_matrices and m > n:
        u = np.concatenate([u, apply(COMPLEMENT, (a,), {"of": "left"})], -1)
    if full_matrices and n > m:
        vt = np.concatenate([vt, t(apply(COMPLEMENT, (a,), {"of": "right"}))], -2)
    return SVDResult(u, s, vt)


@implements(np.linalg.svdvals)
def svdvals(x: Any, /) -> Any:
    """As ``numpy.linalg.svdvals``."""
    return svd(x, compute_uv=False)


# -- QR --------------------------------------------------------------------------------------------


def _qr_array(a: Any) -> Any:
    """Return each column of Q of a matrix with at least as many rows as columns, followed by the row of R."""
    q, r = np.linalg.qr(a)
    return np.concatenate([np.swapaxes(q, -1, -2), r], axis=-1)


def _qr_shape(a: Any) -> tuple[Shape, np.dtype[Any]]:
    m, n = matrices("qr", a)
    return (*a.shape[:-2], n, m + n), a.dtype


def _qr_rule(g: Any, out: Any, a: Any) -> Any:
    m, n = a.shape[-2:]
    q, r, gq, gr = t(out[..., :m]), out[..., m:], t(g[..., :m]), g[..., m:]
    inner = np.matmul(r, t(gr)) - np.matmul(t(gq), q)
    lower = np.tri(n, dtype=r.dtype)
    inner = inner * lower + t(inner) * (lower.T - np.eye(n, dtype=r.dtype))  # the lower triangle, mirrored
    return t(np.linalg.solve(r, t(gq + np.matmul(q, inner))))


QR = register(
    "qr",
    numpy=_qr_array,
    shape=_qr_shape,
    kernel=kernel_of("qr", _qr_array, _CONVERGENCE),
    vjp=(_qr_rule,),
    examples=lambda rng: [Example((rng.normal(size=(3, 2)),)), Example((rng.normal(size=(2, 2, 2)),))],
    flops=lambda out, a, **attrs: 4 * math.prod(a) * a[-1],
    source="Walter & Lehmann, Algorithmic differentiation of linear algebra functions, 2012",
)


@implements(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    """As ``numpy.linalg.qr`` in modes reduced, complete and r; the leading columns must be independent."""
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"qr: mode is {mode!r}, expected 'reduced', 'complete' or 'r' for tensors")
    a = floating(a)
    m, n = matrices("qr", a)
    k = min(m, n)
    first = a[..., :k]
    rows = apply(QR, (first,), {})
    q, r = t(rows[..., :m]), rows[..., m:] * np.tri(k, dtype=a.dtype).T
    if n > k:
        r = np.concatenate([r, np.matmul(t(q), a[..., k:])], -1)
    if mode == "complete" and m > k:
        q = np.concatenate([q, apply(COMPLEMENT, (a,), {"of": "qr"})], -1)
        r = np.concatenate([r, np.zeros((*r.shape[:-2], m - k, n), r.dtype)], -2)
    return r if mode == "r" else QRResult(q, r)
