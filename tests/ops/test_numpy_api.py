"""Every NumPy function that has an implementation, in its signature variants: value, dtype, trace and gradient."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import chainrule as cr
import chainrule.core.transforms
from chainrule import ops
from chainrule.core.node import FUNCTIONS, Recording
from chainrule.core.reverse import reverse
from chainrule.core.tensor import Tensor, traced_leaf
from chainrule.ops.fourier import TRANSFORMS
from tests.ops.checking import close, derivative
from tests.tables import for_each

rng = np.random.default_rng(3)


def normal(*shape: int) -> np.ndarray:
    return rng.normal(size=shape)


V, W = normal(5), normal(5)
A, B, C = normal(3, 4), normal(4, 2), normal(3, 4)
S = normal(3, 3) + 3 * np.eye(3)
P = S @ S.T + np.eye(3)
D = normal(2, 3, 4)
POSITIVE = np.abs(A) + 0.3
UNIT = np.tanh(A)
SPACED = np.array([-1.2, -0.35, 0.15, 0.8, 1.9])  # distinct, no integers, no ties
MASK = A > 0
SOME = np.array([[1, 0, 1, 1], [0, 1, 1, 0], [1, 1, 0, 1]], bool)
NAN = np.where(np.abs(A) < 0.4, np.nan, A)


@dataclass
class Case:
    """A call: of which function, on which inputs (all arrays of floats are differentiated)."""

    key: Any
    call: Callable[..., Any]
    inputs: tuple[np.ndarray, ...]
    smooth: bool = True  # a gradient to compare
    traceable: bool = True


CASES: list[Case] = []


def parts(x: Any) -> list[Any]:
    return list(x) if isinstance(x, tuple | list) else [x]


def case(key: Any, call: Callable[..., Any], *inputs: np.ndarray, smooth: bool = True, traceable: bool = True) -> None:
    CASES.append(Case(key, call, inputs, smooth, traceable))


def each(functions: str, *inputs: np.ndarray, smooth: bool = True) -> None:
    for name in functions.split():
        case(getattr(np, name), getattr(np, name), *inputs, smooth=smooth)


# -- elementwise -----------------------------------------------------------------------------------
each("tan", UNIT)
each("negative square exp expm1 exp2 sin cos arctan sinh cosh tanh arcsinh absolute fabs positive sinc copy real", A)
each("log log1p log2 log10 sqrt cbrt reciprocal", POSITIVE)
each("arcsin arccos arctanh", UNIT)
each("arccosh", POSITIVE + 1)
each("deg2rad radians rad2deg degrees", A)
each("add subtract multiply maximum minimum fmax fmin hypot arctan2 logaddexp logaddexp2", A, C)
each("divide", A, POSITIVE)
each("power float_power", POSITIVE, C)
each("remainder fmod floor_divide", A, POSITIVE)
each("sign floor ceil rint trunc fix round around", A)
each("equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor", A, C, smooth=False)
each("bitwise_and bitwise_or bitwise_xor", MASK, C > 0, smooth=False)
each("logical_not isnan isinf isfinite signbit", A, smooth=False)
each("invert", MASK, smooth=False)
WHOLE, SMALL = rng.integers(-9, 9, (3, 4)), rng.integers(0, 5, 4)
each("bitwise_and bitwise_or bitwise_xor left_shift right_shift remainder", WHOLE, SMALL, smooth=False)
each("invert", WHOLE, smooth=False)
case(np.divmod, np.divmod, A, POSITIVE)
case(np.divmod, lambda a: divmod(a, 0.7), A)
case(np.bitwise_and, lambda a: ~(a & 3) | a ^ 5 | 6 ^ a & (1 << a % 7) >> 1, WHOLE, smooth=False)
each("nan_to_num", A)
for exponent in (0, 1, 2, 3, 0.5, -1, -2, 1.5):
    case("**", lambda a, e=exponent: a**e, POSITIVE)
    case(np.power, lambda a, e=exponent: np.power(a, e), POSITIVE)
case(np.power, lambda a: 2.0**a, A)
case(np.power, lambda a: a**2, A)
case(np.power, lambda a: a**3, A)
case(np.add, lambda a, b: a + b, A, normal(4))
case(np.multiply, lambda a, b: a * b, normal(3, 1), normal(1, 4))
case(np.divide, lambda a, b: a / b, A, POSITIVE[:1])
case(np.remainder, lambda a: a % 0.7, A)
case(np.floor_divide, lambda a: a // 0.7, A)
case(np.round, lambda a: np.round(a, 2), np.array([0.123, -0.457, 0.891]))
case(np.round, lambda a: a.round(1), A)
case(np.clip, lambda a: np.clip(a, -0.5, 0.5), A)
case(np.clip, lambda a: np.clip(a, None, 0.5), A)
case(np.clip, lambda a: np.clip(a, min=-0.5), A)
case(np.clip, lambda a, lo, hi: np.clip(a, lo, hi), A, -POSITIVE[0], POSITIVE[1])
case(np.where, lambda a, b: np.where(a > 0, a * a, b), A, C)
case(np.where, lambda a: np.where(MASK, a, 0.0), A)
case(np.where, lambda a: np.where(MASK[:, :1], 1.0, a), A)
case(np.heaviside, lambda a: np.heaviside(a, 0.5), A)
case(np.select, lambda a, b: np.select([a > 0.5, a > 0], [a * a, b], 3.0), A, C)
case(np.nan_to_num, lambda a: np.nan_to_num(np.where(MASK, a, np.nan), nan=2.0, posinf=3.0, neginf=4.0), A)
case(np.isclose, lambda a: np.isclose(a, A + 1e-9), A, smooth=False)

# -- reductions ------------------------------------------------------------------------------------
for name in "sum mean max min amax amin prod var std ptp median nansum nanmax nanmin".split():
    f = getattr(np, name)
    for kwargs in ({}, {"axis": 0}, {"axis": -1}, {"axis": 1, "keepdims": True}):
        case(f, lambda a, f=f, kwargs=kwargs: f(a, **kwargs), A)
for name in "sum mean max min prod var std".split():
    f = getattr(np, name)
    case(f, lambda a, f=f: f(a, axis=(0, 2)), D)
    case(f, lambda a, f=f: f(a, axis=(-1, 0), keepdims=True), D)
    case(f, lambda a, name=name: getattr(a, name)(axis=1), A)
    case(f, lambda a, f=f: f(a), np.array(1.5))
case(np.sum, lambda a: np.sum(a, dtype=np.float64), A)
case(np.var, lambda a: np.var(a, axis=0, ddof=1), A)
case(np.var, lambda a: np.var(a, correction=1), A)
case(np.std, lambda a: np.std(a, axis=1, ddof=1, keepdims=True), A)
for name in ("nansum", "nanmax", "nanmin", "nan_to_num"):
    f = getattr(np, name)
    case(f, lambda a, f=f: f(np.where(np.abs(A) < 0.4, np.nan, a)), A)
case(np.average, lambda a: np.average(a), A)
case(np.average, lambda a: np.average(a, axis=1), A)
case(np.average, lambda a, w: np.average(a, axis=1, weights=w), A, POSITIVE[0])
case(np.average, lambda a, w: np.average(a, weights=w, axis=0), A, POSITIVE)
case(np.average, lambda a, w: np.average(a, weights=w, axis=0, keepdims=True), A, POSITIVE)
for ufunc, method in ((np.add, "reduce"), (np.multiply, "reduce"), (np.maximum, "reduce"), (np.minimum, "reduce")):
    case((ufunc, method), lambda a, u=ufunc, m=method: getattr(u, m)(a, axis=1), A)
for ufunc, method in ((np.add, "accumulate"), (np.multiply, "accumulate")):
    case((ufunc, method), lambda a, u=ufunc, m=method: getattr(u, m)(a, axis=1), A)
for f in (np.cumsum, np.cumprod):
    case(f, lambda a, f=f: f(a), A)
    case(f, lambda a, f=f: f(a, axis=0), A)
    case(f, lambda a, f=f: f(a, axis=-1), D)
    case(f, lambda a, f=f: f(a * np.array([1, 0, 2, 0, 3.0])), V)
for f in (np.cumulative_sum, np.cumulative_prod):
    case(f, lambda a, f=f: f(a), V)
    case(f, lambda a, f=f: f(a, axis=1, include_initial=True), A)
case(np.diff, lambda a: np.diff(a), A)
case(np.diff, lambda a: np.diff(a, n=2, axis=0), A)
case(np.ediff1d, np.ediff1d, A)
case(np.ediff1d, lambda a: np.ediff1d(a, to_begin=1.0, to_end=np.array([2.0, 3.0])), V)
for f in (np.argmax, np.argmin):
    case(f, lambda a, f=f: f(a), A, smooth=False)
    case(f, lambda a, f=f: f(a, axis=0), A, smooth=False)
    case(f, lambda a, f=f: f(a, axis=1, keepdims=True), A, smooth=False)
for f in (np.all, np.any):
    case(f, lambda a, f=f: f(a > 0), A, smooth=False)
    case(f, lambda a, f=f: f(a > 0, axis=0), A, smooth=False)
case(np.count_nonzero, lambda a: np.count_nonzero(a > 0, axis=1), A, smooth=False)
case(np.trapezoid, lambda y: np.trapezoid(y), A)
case(np.trapezoid, lambda y: np.trapezoid(y, dx=0.5, axis=0), A)
case(np.trapezoid, lambda y, x: np.trapezoid(y, x), A, np.sort(normal(4)))
case(np.trapezoid, lambda y, x: np.trapezoid(y, x, axis=0), A, POSITIVE)

# -- contractions ----------------------------------------------------------------------------------
case(np.matmul, lambda a, b: a @ b, A, B)
case(np.matmul, lambda a, b: a @ b, D, B)
case(np.matmul, lambda a, b: a @ b, V, W)
case(np.matmul, lambda a, b: a @ b, A, normal(4))
case(np.matmul, lambda a, b: a @ b, normal(3), A)
case(np.matmul, lambda a, b: a @ b, normal(3), D)
case(np.matmul, lambda a, b: a @ b, D, normal(4))
case(np.matmul, lambda a, b: np.matmul(a, b), normal(2, 1, 2, 3), normal(4, 3, 2))
case(np.dot, np.dot, A, B)
case(np.dot, np.dot, V, W)
case(np.dot, np.dot, D, B)
case(np.dot, np.dot, D, normal(5, 4, 2))
case(np.dot, np.dot, D, normal(4))
case(np.dot, np.dot, np.array(2.0), A)
case(np.dot, lambda a, b: a.dot(b), A, B)
case(np.inner, np.inner, V, W)
case(np.inner, np.inner, A, C)
case(np.inner, np.inner, D, A)
case(np.inner, np.inner, np.array(3.0), A)
case(np.vdot, np.vdot, A, C)
case(np.outer, np.outer, V, A)
case(np.linalg.outer, np.linalg.outer, V, normal(3))
case(np.tensordot, lambda a, b: np.tensordot(a, b, 1), A, B)
case(np.tensordot, lambda a, b: np.tensordot(a, b, 0), V, W)
case(np.tensordot, lambda a, b: np.tensordot(a, b), A, C)
case(np.tensordot, lambda a, b: np.tensordot(a, b, axes=([1, 0], [0, 2])), D, normal(3, 5, 2))
case(np.tensordot, lambda a, b: np.tensordot(a, b, axes=(-1, 0)), D, B)
case(np.linalg.tensordot, lambda a, b: np.linalg.tensordot(a, b, axes=1), A, B)
case(np.linalg.matmul, lambda a, b: np.linalg.matmul(a, b), A, B)
case(np.kron, np.kron, A, B)
case(np.kron, np.kron, V, W)
case(np.kron, np.kron, A, V)
case(np.vecdot, np.vecdot, A, C)
case(np.vecdot, lambda a, b: np.vecdot(a, b, axis=0), A, C)
case(np.vecdot, np.vecdot, D, A[0])
case(np.linalg.vecdot, lambda a, b: np.linalg.vecdot(a, b, axis=0), A, C)
case(np.cross, np.cross, normal(4, 3), normal(3))
case(np.cross, lambda a, b: np.cross(a, b, axis=0), normal(3, 2), normal(3, 2))
case(np.cross, lambda a, b: np.cross(a, b, axisa=0, axisb=1, axisc=0), normal(3, 2), normal(2, 3))
case(np.linalg.cross, np.linalg.cross, normal(4, 3), normal(4, 3))
case(np.einsum, lambda a, b: np.einsum("ij,jk->ki", a, b), A, B)
for mode in ("full", "same", "valid"):
    for n, m in ((5, 3), (3, 5), (4, 2), (2, 4), (5, 4), (4, 4), (3, 1), (1, 1)):
        case(np.convolve, lambda a, b, mode=mode: np.convolve(a, b, mode), normal(n), normal(m))
        case(np.correlate, lambda a, b, mode=mode: np.correlate(a, b, mode), normal(n), normal(m))
for width, axis in (((2, 3), (1, 0)), (3, 1), ((2, 2, 2), None)):
    case(sliding_window_view, lambda x, w=width, a=axis: sliding_window_view(x, w, a), normal(3, 4, 2))

# -- linear algebra --------------------------------------------------------------------------------
STACK = normal(2, 3, 3) + 3 * np.eye(3)
case(np.linalg.inv, np.linalg.inv, S)
case(np.linalg.inv, np.linalg.inv, STACK)
case(np.linalg.solve, np.linalg.solve, S, normal(3))
case(np.linalg.solve, np.linalg.solve, S, normal(3, 2))
case(np.linalg.solve, np.linalg.solve, STACK, normal(3))
case(np.linalg.solve, np.linalg.solve, STACK, normal(2, 3, 2))
case(np.linalg.solve, np.linalg.solve, STACK[:, None], normal(4, 3, 1))
case(np.linalg.det, np.linalg.det, S)
case(np.linalg.det, np.linalg.det, STACK)
case(np.linalg.det, np.linalg.det, np.outer(V[:3], V[:3]))  # singular: the gradient is the matrix of cofactors, 0 here
case(np.linalg.det, np.linalg.det, np.diag([1.0, 2.0, 0.0]))
case(np.linalg.slogdet, lambda a: np.linalg.slogdet(a).logabsdet, STACK)
case(np.linalg.slogdet, lambda a: np.linalg.slogdet(a)[1], -S)
case(np.linalg.slogdet, lambda a: np.linalg.slogdet(a).sign, -STACK, smooth=False)
symmetric = lambda a: (a + np.swapaxes(a, -1, -2)) / 2  # noqa: E731
case(np.linalg.cholesky, np.linalg.cholesky, P + np.triu(P, 1))  # reads one triangle
case(np.linalg.cholesky, lambda a: np.linalg.cholesky(a, upper=True), np.stack([P, P + 1]) + np.tril(P, -1))
case(np.linalg.pinv, np.linalg.pinv, A)
case(np.linalg.pinv, lambda a: np.linalg.pinv(a, rtol=1e-10), B)
for power in (-2, -1, 0, 1, 2, 3, 5):
    case(np.linalg.matrix_power, lambda a, n=power: np.linalg.matrix_power(a, n), S)
case(np.linalg.matrix_power, lambda a: np.linalg.matrix_power(a, 3), STACK)
case(np.linalg.multi_dot, lambda a, b, c: np.linalg.multi_dot([a, b, c]), A, B, normal(2, 5))
case(np.linalg.multi_dot, lambda a, b, c: np.linalg.multi_dot([a, b, c]), normal(3), A, B)
case(np.linalg.multi_dot, lambda a, b, c: np.linalg.multi_dot([a, b, c]), normal(3), A, normal(4))
case(np.linalg.multi_dot, lambda a, b: np.linalg.multi_dot([a, b]), A, B)
case(np.linalg.norm, np.linalg.norm, V)
case(np.linalg.norm, np.linalg.norm, D)
for order in (None, 1, 2, 3, 0, 0.5, -1, -2, 1.5, np.inf, -np.inf):
    case(np.linalg.norm, lambda a, p=order: np.linalg.norm(a, p), V)
    case(np.linalg.norm, lambda a, p=order: np.linalg.norm(a, p, axis=1), A)
    case(np.linalg.norm, lambda a, p=order: np.linalg.norm(a, ord=p, axis=0, keepdims=True), A)
for order in (None, "fro", 1, -1, np.inf, -np.inf):
    case(np.linalg.norm, lambda a, p=order: np.linalg.norm(a, p), A)
    case(np.linalg.norm, lambda a, p=order: np.linalg.norm(a, p, axis=(2, 0)), D)
    case(np.linalg.norm, lambda a, p=order: np.linalg.norm(a, p, axis=(0, 1), keepdims=True), D)
for order in (1, 2, 3, np.inf):
    case(np.linalg.vector_norm, lambda a, p=order: np.linalg.vector_norm(a, ord=p), D)
    case(np.linalg.vector_norm, lambda a, p=order: np.linalg.vector_norm(a, axis=(0, 1), ord=p, keepdims=True), D)
case(np.linalg.matrix_norm, np.linalg.matrix_norm, D)
case(np.linalg.matrix_norm, lambda a: np.linalg.matrix_norm(a, ord=1, keepdims=True), D)
for order in (2, -2, "nuc"):
    case(np.linalg.norm, lambda a, p=order: np.linalg.norm(a, p), A)
    case(np.linalg.norm, lambda a, p=order: np.linalg.norm(a, p, axis=(2, 0), keepdims=True), D)
case(np.linalg.matrix_norm, lambda a: np.linalg.matrix_norm(a, ord="nuc"), D)
NONSYMMETRIC, REAL_EIGENVALUES = normal(2, 3, 3), np.diag([1.0, 4.0, 9.0]) + 0.3 * normal(2, 3, 3)
for uplo in ("L", "U"):
    case(np.linalg.eigh, lambda a, u=uplo: tuple(np.linalg.eigh(a, UPLO=u)), NONSYMMETRIC)
    case(np.linalg.eigvalsh, lambda a, u=uplo: np.linalg.eigvalsh(a, UPLO=u), NONSYMMETRIC)
case(np.linalg.eig, lambda a: tuple(np.linalg.eig(a)), REAL_EIGENVALUES)
case(np.linalg.eigvals, np.linalg.eigvals, REAL_EIGENVALUES)
for x in (A, A.T.copy(), S, D):
    case(np.linalg.svd, lambda a: tuple(np.linalg.svd(a, full_matrices=False)), x)
    case(np.linalg.svd, lambda a: np.linalg.svd(a, compute_uv=False), x)
    case(np.linalg.svdvals, np.linalg.svdvals, x)
    for mode in ("reduced", "r"):
        case(np.linalg.qr, lambda a, m=mode: parts(np.linalg.qr(a, m)), x)
# of the vectors that complete a basis, only functions of their span have a derivative: a projection
project = lambda v: v @ np.swapaxes(v, -1, -2)  # noqa: E731
case(np.linalg.svd, lambda a: project(np.linalg.svd(a).U[..., 2:]), normal(2, 3, 2))
case(np.linalg.svd, lambda a: project(np.swapaxes(np.linalg.svd(a).Vh, -1, -2)[..., 2:]), normal(2, 3))
case(np.linalg.svd, lambda a: np.linalg.svd(a).U @ np.linalg.svd(a).Vh[:3], A)
case(np.linalg.svd, lambda a: tuple(np.linalg.svd(a + a.T, hermitian=True)), S - 2 * P)
case(np.linalg.qr, lambda a: project(np.linalg.qr(a, "complete").Q[..., 2:]), normal(2, 3, 2))
case(np.linalg.qr, lambda a: np.linalg.qr(a, "complete").R, normal(2, 3, 2))
for order in (None, 2, -2, 1, -1, np.inf, "fro"):
    case(np.linalg.cond, lambda a, p=order: np.linalg.cond(a, p), STACK)
case(np.linalg.matrix_rank, lambda a: np.linalg.matrix_rank(a), np.stack([S, np.ones((3, 3))]), smooth=False)
case(np.linalg.matrix_rank, lambda a: np.linalg.matrix_rank(a, 1e3), S, smooth=False)
case(np.linalg.matrix_rank, lambda a: np.linalg.matrix_rank(a, rtol=0.5, hermitian=True), P, smooth=False)
case(np.linalg.lstsq, lambda a, b: np.linalg.lstsq(a, b)[:2], A.T.copy(), normal(4))
case(np.linalg.lstsq, lambda a, b: np.linalg.lstsq(a, b, rcond=None)[:2], A.T.copy(), normal(4, 2))
case(np.linalg.lstsq, lambda a, b: np.linalg.lstsq(a, b)[::3], A, normal(3))
case(np.linalg.lstsq, lambda a, b: np.linalg.lstsq(a, b)[2], A, normal(3), smooth=False)
for f in (np.trace, np.linalg.trace):
    case(f, lambda a, f=f: f(a), A)
    case(f, lambda a, f=f: f(a, offset=1), D)
case(np.trace, lambda a: np.trace(a, -1, 2, 1), D)
for f in (np.diagonal, np.linalg.diagonal):
    for offset in (-2, -1, 0, 1, 3):
        case(f, lambda a, f=f, k=offset: f(a, offset=k), A)
        case(f, lambda a, f=f, k=offset: f(a, offset=k), D)
case(np.diagonal, lambda a: np.diagonal(a, 0, 1, 2), D)
case(np.linalg.matrix_transpose, np.linalg.matrix_transpose, D)
case(np.matrix_transpose, np.matrix_transpose, D)
case(np.matrix_transpose, lambda a: a.mT, D)
for k in (-1, 0, 2):
    case(np.diag, lambda a, k=k: np.diag(a, k), V)
    case(np.diag, lambda a, k=k: np.diag(a, k), A)
    case(np.diagflat, lambda a, k=k: np.diagflat(a, k), A)
    case(np.tril, lambda a, k=k: np.tril(a, k), D)
    case(np.triu, lambda a, k=k: np.triu(a, k), A)

# -- shapes ----------------------------------------------------------------------------------------
case(np.transpose, np.transpose, D)
case(np.transpose, lambda a: np.transpose(a, (1, -1, 0)), D)
case(np.transpose, lambda a: a.transpose(2, 0, 1), D)
case(np.transpose, lambda a: a.T, A)
case(np.permute_dims, lambda a: np.permute_dims(a, (1, 2, 0)), D)
case(np.swapaxes, lambda a: np.swapaxes(a, 0, -1), D)
case(np.swapaxes, lambda a: a.swapaxes(0, 1), D)
case(np.moveaxis, lambda a: np.moveaxis(a, 0, -1), D)
case(np.moveaxis, lambda a: np.moveaxis(a, [0, 2], [1, 0]), D)
case(np.rollaxis, lambda a: np.rollaxis(a, 2), D)
case(np.rollaxis, lambda a: np.rollaxis(a, 0, 3), D)
case(np.reshape, lambda a: np.reshape(a, (4, 3)), A)
case(np.reshape, lambda a: np.reshape(a, -1), A)
case(np.reshape, lambda a: a.reshape(2, -1), A)
case(np.reshape, lambda a: a.flatten(), A)
case(np.ravel, np.ravel, A)
case(np.ravel, lambda a: a.ravel(), D)
case(np.squeeze, np.squeeze, normal(1, 3, 1))
case(np.squeeze, lambda a: np.squeeze(a, axis=-1), normal(1, 3, 1))
case(np.squeeze, lambda a: a.squeeze(0), normal(1, 3, 1))
case(np.expand_dims, lambda a: np.expand_dims(a, 1), A)
case(np.expand_dims, lambda a: np.expand_dims(a, (0, -1)), A)
for f in (np.atleast_1d, np.atleast_2d, np.atleast_3d):
    for x in (np.array(2.0), V, A, D):
        case(f, f, x)
    case(f, lambda a, b, f=f: f(a, b), np.array(2.0), V)
case(np.broadcast_to, lambda a: np.broadcast_to(a, (2, 3, 4)), A)
case(np.broadcast_to, lambda a: np.broadcast_to(a, (3, 2)), normal(3, 1))
case(np.broadcast_to, lambda a: np.broadcast_to(a, 3), np.array(2.0))
case(np.broadcast_arrays, lambda a, b: tuple(np.broadcast_arrays(a, b)), normal(3, 1), normal(4))
for f in (np.concatenate, np.concat):
    case(f, lambda a, b, f=f: f([a, b]), A, normal(2, 4))
    case(f, lambda a, b, f=f: f((a, b, a), axis=1), A, normal(3, 1))
    case(f, lambda a, b, f=f: f([a, b], axis=None), A, V)
    case(f, lambda a, f=f: f([a, np.ones((3, 2))], axis=-1), A)
    case(f, lambda a, f=f: f([a]), A)
case(np.stack, lambda a, b: np.stack([a, b]), A, C)
case(np.stack, lambda a, b: np.stack([a, b], axis=-1), A, C)
case(np.stack, lambda a: np.stack([a, 1.0]), np.array(2.0))
for f in (np.vstack, np.hstack, np.dstack, np.column_stack):
    case(f, lambda a, b, f=f: f([a, b]), A, C)
    case(f, lambda a, b, f=f: f((a, b)), V, W)
case(np.block, lambda a, b: np.block([[a, b], [np.zeros((1, 6))]]), A, normal(3, 2))
case(np.block, lambda a, b: np.block([a, b, 1.0]), V, W)
case(np.block, lambda a: np.block([[[a, a]], [[a, a]]]), D)
case(np.append, lambda a, b: np.append(a, b), A, V)
case(np.append, lambda a, b: np.append(a, b, axis=0), A, C)
case(np.insert, lambda a: np.insert(a, 1, 7.0), V)
case(np.insert, lambda a, b: np.insert(a, 1, b, axis=0), A, normal(4))
case(np.insert, lambda a, b: np.insert(a, 2, b, axis=1), A, normal(3))
case(np.insert, lambda a, b: np.insert(a, [1], b, axis=1), A, normal(3, 2))
case(np.insert, lambda a, b: np.insert(a, [0, 2, 2], b), V, normal(3))
case(np.insert, lambda a, b: np.insert(a, slice(1, 3), b), V, normal(2))
case(np.delete, lambda a: np.delete(a, 1), V)
case(np.delete, lambda a: np.delete(a, [0, -1], axis=1), A)
case(np.delete, lambda a: np.delete(a, slice(0, 2), axis=1), A)
for f in (np.split, np.array_split):
    case(f, lambda a, f=f: tuple(f(a, 2, axis=1)), A)
    case(f, lambda a, f=f: tuple(f(a, [1, 3])), V)
case(np.array_split, lambda a: tuple(np.array_split(a, 3)), V)
case(np.vsplit, lambda a: tuple(np.vsplit(a, 3)), A)
case(np.hsplit, lambda a: tuple(np.hsplit(a, 2)), A)
case(np.hsplit, lambda a: tuple(np.hsplit(a, [2])), V)
case(np.unstack, lambda a: np.unstack(a, axis=1), A)
for mode in ("constant", "edge", "reflect", "symmetric", "wrap"):
    case(np.pad, lambda a, m=mode: np.pad(a, 1, mode=m), A)
    case(np.pad, lambda a, m=mode: np.pad(a, ((0, 2), (1, 0)), mode=m), A)
    case(np.pad, lambda a, m=mode: np.pad(a, (2, 3), m), V)
    case(np.pad, lambda a, m=mode: np.pad(a, ((1, 2),), m), A)
case(np.pad, lambda a: np.pad(a, 2, constant_values=3.0), A)
case(np.pad, lambda a: np.pad(a, ((1, 1), (2, 0)), constant_values=((1.0, 2.0), (3.0, 4.0))), A)
case(np.flip, np.flip, A)
case(np.flip, lambda a: np.flip(a, 0), A)
case(np.flip, lambda a: np.flip(a, (0, -1)), D)
case(np.flipud, np.flipud, A)
case(np.fliplr, np.fliplr, A)
for k in (-1, 0, 1, 2, 3):
    case(np.rot90, lambda a, k=k: np.rot90(a, k), A)
case(np.rot90, lambda a: np.rot90(a, 1, (2, 0)), D)
for shift in (np.fft.fftshift, np.fft.ifftshift):
    case(shift, shift, D)
    case(shift, lambda a, shift=shift: shift(a, axes=(1, -1)), D)
case(np.roll, lambda a: np.roll(a, 2), A)
case(np.roll, lambda a: np.roll(a, -1, axis=0), A)
case(np.roll, lambda a: np.roll(a, (1, 7), axis=(0, 1)), A)
case(np.tile, lambda a: np.tile(a, 2), A)
case(np.tile, lambda a: np.tile(a, (2, 1, 3)), A)
case(np.tile, lambda a: np.tile(a, (2, 2)), V)
case(np.repeat, lambda a: np.repeat(a, 2), A)
case(np.repeat, lambda a: np.repeat(a, 3, axis=0), A)
case(np.repeat, lambda a: np.repeat(a, [1, 0, 2, 1], axis=1), A)
case(np.repeat, lambda a: a.repeat(2, axis=1), A)
for kwargs in ({}, {"indexing": "ij"}, {"sparse": True}, {"sparse": True, "indexing": "ij"}):
    case(np.meshgrid, lambda a, b, kw=kwargs: tuple(np.meshgrid(a, b, **kw)), V, normal(3))
case(np.meshgrid, lambda a, b, c: tuple(np.meshgrid(a, b, c)), V, normal(3), normal(2))

# -- statistics, sequences, selection --------------------------------------------------------------
PAIRS = normal(3, 7)
for f in (np.quantile, np.nanquantile):
    for kwargs in (
        {},
        {"axis": 0},
        {"axis": -1, "keepdims": True},
        {"axis": (0, 2)},
        {"axis": (0, 1), "keepdims": True},
    ):
        case(f, lambda a, f=f, kw=kwargs: f(a, 0.3, **kw), D)
        case(f, lambda a, f=f, kw=kwargs: f(a, np.array([0.1, 0.55, 1.0, 0.0]), **kw), D)
    case(f, lambda a, q, f=f: f(a, q), V, np.array([0.2, 0.65]))
    for method in ("lower", "higher", "midpoint", "nearest", "weibull", "hazen", "interpolated_inverted_cdf",
                   "median_unbiased", "normal_unbiased"):  # fmt: skip
        case(f, lambda a, f=f, m=method: f(a, np.array([0.0, 0.2, 0.5, 0.93]), axis=1, method=m), A)
for f in (np.percentile, np.nanpercentile):
    case(f, lambda a, f=f: f(a, 30), A)
    case(f, lambda a, f=f: f(a, [10.0, 50, 100], axis=1), A)
    case(f, lambda a, f=f: f(a, np.array(25.0), axis=0, keepdims=True), A)
with_nan = lambda a: np.where(SOME, a, np.nan)  # noqa: E731
NANS = "nanmean nanvar nanstd nanmedian nanprod nanmax nanmin nansum"
for name in NANS.split():
    f = getattr(np, name)
    for kwargs in ({}, {"axis": 0}, {"axis": -1}, {"axis": 1, "keepdims": True}):
        case(f, lambda a, f=f, kw=kwargs: f(with_nan(a), **kw), A)
    case(f, lambda a, f=f: f(a, axis=(0, 2)), D)
case(np.nanvar, lambda a: np.nanvar(with_nan(a), axis=1, ddof=1), A)
case(np.nanstd, lambda a: np.nanstd(with_nan(a), ddof=1), A)
case(np.nanquantile, lambda a: np.nanquantile(with_nan(a), [0.2, 0.7], axis=1), A)
case(np.nanpercentile, lambda a: np.nanpercentile(with_nan(a), 40), A)
case(np.quantile, lambda a: np.quantile(with_nan(a), 0.4, axis=0), A)
for f in (np.nancumsum, np.nancumprod):
    case(f, lambda a, f=f: f(with_nan(a)), A)
    case(f, lambda a, f=f: f(with_nan(a), axis=1), A)
for f in (np.nanargmax, np.nanargmin):
    case(f, lambda a, f=f: f(with_nan(a)), A, smooth=False)
    case(f, lambda a, f=f: f(with_nan(a), axis=1, keepdims=True), A, smooth=False)
COUNTS = np.array([1, 2, 1, 3])
for kwargs in ({}, {"bias": True}, {"ddof": 2}, {"rowvar": False}, {"fweights": COUNTS},
               {"aweights": POSITIVE[0]}, {"aweights": POSITIVE[0], "fweights": COUNTS, "ddof": 0}):  # fmt: skip
    case(np.cov, lambda a, kw=kwargs: np.cov(a if kw.get("rowvar", True) else a.T, **kw), A)
case(np.cov, np.cov, V)
case(np.cov, np.cov, V, W)
case(np.cov, np.cov, A, C)
case(np.corrcoef, np.corrcoef, PAIRS)
case(np.corrcoef, np.corrcoef, V, W)
case(np.corrcoef, lambda a: np.corrcoef(a, rowvar=False), PAIRS.T.copy())
case(np.average, lambda a: np.average(a, axis=0, returned=True)[0], A)
case(np.quantile, lambda a: np.quantile(a, [[0.1], [0.2]], axis=1), A)
case(np.average, lambda a, w: np.average(a, axis=1, weights=w, returned=True), A, POSITIVE[0])
# where= and initial= of reductions
for name in "sum prod mean var std".split():
    f = getattr(np, name)
    for kwargs in ({}, {"axis": 0}, {"axis": 1, "keepdims": True}):
        case(f, lambda a, f=f, kw=kwargs: f(a, where=SOME, **kw), A)
    case(f, lambda a, f=f: f(a, where=SOME[0], axis=1), A)
case(np.var, lambda a: np.var(a, axis=1, ddof=1, where=SOME), A)
for name, start in (("sum", 2.5), ("prod", 2.5), ("max", -9.0), ("min", 9.0), ("max", 0.1)):
    f = getattr(np, name)
    case(f, lambda a, f=f, s=start: f(a, axis=1, initial=s), A)
    case(f, lambda a, f=f, s=start: f(a, axis=0, initial=s, where=SOME), A)
for f in (np.all, np.any):
    case(f, lambda a, f=f: f(a > 0, axis=0, where=SOME), A, smooth=False)
# methods of ufuncs
for ufunc in (np.add, np.multiply, np.maximum, np.minimum, np.logaddexp):
    case((ufunc, "reduce"), lambda a, u=ufunc: u.reduce(a), A)
    case((ufunc, "reduce"), lambda a, u=ufunc: u.reduce(a, axis=1, keepdims=True), A)
    case((ufunc, "reduceat"), lambda a, u=ufunc: u.reduceat(a, [0, 2, 1]), A)
    case((ufunc, "reduceat"), lambda a, u=ufunc: u.reduceat(a, [1, 3], axis=1), A)
for ufunc in (np.add, np.multiply, np.maximum, np.minimum, np.fmax, np.fmin, np.logaddexp):
    case((ufunc, "accumulate"), lambda a, u=ufunc: u.accumulate(a), A)
    case((ufunc, "accumulate"), lambda a, u=ufunc: u.accumulate(a, axis=1), A)
for ufunc in (np.logical_and, np.logical_or):
    for method in ("reduce", "accumulate"):
        case((ufunc, method), lambda a, u=ufunc, m=method: getattr(u, m)(a > 0), A, smooth=False)
    case((ufunc, "reduceat"), lambda a, u=ufunc: u.reduceat(a > 0, [0, 2], axis=1), A, smooth=False)
for key in FUNCTIONS:
    if isinstance(key, tuple) and key[1] == "outer":
        discrete = "divide" in key[0].__name__ or "mod" in key[0].__name__ or key[0] is np.remainder
        whole = "bitwise" in key[0].__name__ or "shift" in key[0].__name__
        x, y = (WHOLE[0], SMALL) if whole else (POSITIVE[0], POSITIVE[1])
        case(key, lambda a, b, u=key[0]: u.outer(a, b), x, y, smooth=not discrete and x.dtype.kind == "f")
case((np.subtract, "outer"), lambda a, b: np.subtract.outer(a, b), A, V)
# sequences
for kwargs in ({}, {"num": 4}, {"num": 5, "endpoint": False}, {"num": 1}, {"num": 3, "retstep": True}):
    case(np.linspace, lambda a, b, kw=kwargs: np.linspace(a, b, **kw), np.array(0.3), np.array(1.7))
case(np.linspace, lambda a: np.linspace(a, 3, 4), normal(2))
case(np.linspace, lambda a, b: np.linspace(a, b, 3, axis=-1), normal(2, 1), normal(3))
case(np.logspace, lambda a, b: np.logspace(a, b, 4), np.array(0.3), np.array(1.7))
case(np.logspace, lambda a, b: np.logspace(a, b, 4, endpoint=False, base=2.0), np.array(0.3), np.array(1.7))
for num, endpoint in ((4, True), (3, False), (1, True)):
    case(np.geomspace, lambda a, b, n=num, e=endpoint: np.geomspace(a, b, n, e), np.array(0.3), np.array(1.7))
case(np.geomspace, lambda a: np.geomspace(a, -9.0, 4), np.array([-0.3, -2.0]))
for edge in (1, 2):
    case(np.gradient, lambda a, e=edge: np.gradient(a, edge_order=e), D[:, :, :3] if edge == 3 else normal(3, 4, 5))
    case(np.gradient, lambda a, h, e=edge: np.gradient(a, h, axis=1, edge_order=e), A, np.array(0.7))
    case(np.gradient, lambda a, x, e=edge: np.gradient(a, x, axis=0, edge_order=e), normal(5, 2), SPACED)
    case(np.gradient, lambda a, x, e=edge: np.gradient(a, 0.5, x, edge_order=e), normal(3, 5), SPACED)
case(np.gradient, np.gradient, V)
case(np.unwrap, np.unwrap, np.array([0.1, 3.0, -3.0, 2.9, 9.5, 0.2]))
case(np.unwrap, lambda a: np.unwrap(a, axis=0, period=1.0), A)
case(np.unwrap, lambda a: np.unwrap(a, discont=4.0), np.array([0.1, 3.0, -3.0, 2.9, 9.5, 0.2]))
case(np.diff, lambda a: np.diff(a, prepend=0.0, append=normal(3, 2) * 0 + 1), A)
case(np.polyval, np.polyval, V, A)
case(np.polyval, lambda x: np.polyval([1.0, 2, 3], x), A)
case(np.polyval, lambda p: np.polyval(p, 1.5), V)
for kwargs in ({}, {"N": 3}, {"N": 3, "increasing": True}):
    case(np.vander, lambda a, kw=kwargs: np.vander(a, **kw), V)
for f in (np.polyadd, np.polysub, np.polymul):
    case(f, f, V, normal(3))
    case(f, f, normal(2), W)
case(np.polymul, lambda a: np.polymul(a, [0.0, 0.0, 2.0, 1.0]), V)
for m in (0, 1, 2):
    case(np.polyder, lambda a, m=m: np.polyder(a, m), V)
    case(np.polyint, lambda a, m=m: np.polyint(a, m), V)
case(np.polyint, lambda a: np.polyint(a, 2, k=[1.0, 2.0]), V)
case(np.poly, np.poly, V[:4])
case(np.polyfit, lambda x, y: np.polyfit(x, y, 2), SPACED, V)
case(np.polyfit, lambda x, y: np.polyfit(x, y, 1), SPACED, normal(5, 2))
case(np.polyfit, lambda x, y, w: np.polyfit(x, y, 2, w=w), SPACED, V, np.abs(W) + 0.5)
# selection
case(np.piecewise, lambda a: np.piecewise(a, [a < -0.5, a > 0.5], [lambda x: x**2, np.sin, 3.0]), A)
case(np.piecewise, lambda a: np.piecewise(a, [a < -0.5, a > 0.5], [-1, lambda x, k: k * x], 2.0), A)
case(np.piecewise, lambda a: np.piecewise(a, a < 0, [np.negative, np.exp]), V)
case(np.choose, lambda a, b: np.choose([0, 1, 1, 0], [a, b]), A, C)
for mode in ("wrap", "clip"):
    case(np.choose, lambda a, b, m=mode: np.choose([[3], [-1], [1]], [a, b, 2.0], mode=m), A, normal(4))
case(np.compress, lambda a: np.compress([True, False, True], a, axis=0), A)
case(np.compress, lambda a: np.compress(a[0] > 0, a, axis=1), A, traceable=False)
case(np.extract, lambda a: np.extract(MASK, a), A)
for f in (np.flatnonzero, np.nonzero, np.argwhere):
    case(f, lambda a, f=f: a * (1 + len(f(a > 0))), A, smooth=False, traceable=False)
for f in (np.intersect1d, np.union1d, np.setdiff1d, np.setxor1d):
    case(f, lambda a, f=f: a * (1 + len(f(a, A[:2]))), A, smooth=False, traceable=False)
case(np.array_equiv, lambda a: a * (1 + np.array_equiv(a, A)), A, smooth=False, traceable=False)
case(np.histogram_bin_edges, lambda a: a * len(np.histogram_bin_edges(a, 3)), A, traceable=False)
EDGES = np.array([[-2.0, -1, -0.5], [1, 0, 3]])
for bins in ([-1.0, 0, 1], [1.0, 0, -1]):
    for right in (False, True):
        case(np.digitize, lambda a, b=bins, r=right: np.digitize(a, b, right=r), EDGES, smooth=False)
for invert in (False, True):
    case(np.isin, lambda a, i=invert: np.isin(a, A[0], invert=i), A, smooth=False)
case(np.unique, lambda a: np.unique(a), A, traceable=False)
case(np.unique, lambda a: np.unique(a, axis=0), A, traceable=False)
case(np.unique, lambda a: a * np.unique(a, return_counts=True)[1].sum(), A, traceable=False)
case(np.bincount, lambda w: np.bincount([0, 2, 2, 4, 0], w, minlength=7), V)
case(np.bincount, lambda w: np.bincount([0, 2, 2, 4, 0], weights=w), V)
for trim in ("fb", "f", "b"):
    case(np.trim_zeros, lambda a, t=trim: np.trim_zeros(np.array([0, 0, 1, 0, 1.0]) * a, t), V, traceable=False)
case(np.resize, lambda a: np.resize(a, (3, 7)), V)
case(np.argpartition, lambda a: np.take_along_axis(a, np.argpartition(a, 2, axis=1), 1)[:, 2], A, smooth=False)
case(np.apply_along_axis, lambda a: np.apply_along_axis(np.sum, 1, a), D)
case(np.apply_along_axis, lambda a: np.apply_along_axis(lambda v: np.outer(v, v[:2]), 1, a), D)
case(np.apply_over_axes, lambda a: np.apply_over_axes(np.sum, a, [0, 2]), D)
for f in (np.tril_indices_from, np.triu_indices_from):
    case(f, lambda a, f=f: a[f(a)], A)
    case(f, lambda a, f=f: a[f(a, k=1)], A)
case(np.diag_indices_from, lambda a: a[np.diag_indices_from(a)], S)
case(np.dsplit, lambda a: tuple(np.dsplit(a, 2)), D)
case(np.conjugate, np.conjugate, A)
case(np.real_if_close, np.real_if_close, A)
case(np.imag, lambda a: a + np.imag(a), A)
case(np.iscomplex, lambda a: a + np.iscomplex(a), A)
case(np.isreal, lambda a: a + np.isreal(a), A)
case(np.angle, np.angle, A)
case(np.angle, lambda a: np.angle(a, deg=True), A)
case(np.i0, np.i0, A)
case(np.matvec, np.matvec, D, normal(4))
case(np.vecmat, np.vecmat, normal(3), D)
case(np.linalg.tensorinv, lambda a: np.linalg.tensorinv(a.reshape(2, 3, 6) + np.eye(6).reshape(2, 3, 6)), normal(6, 6))
case(np.linalg.tensorsolve, lambda a, b: np.linalg.tensorsolve(a.reshape(2, 3, 6), b), normal(6, 6), normal(2, 3))
case(np.linalg.tensorsolve, lambda a, b: np.linalg.tensorsolve(a, b, (1,)), normal(2, 6, 3), normal(2, 3))

# -- indexing: each is a case of "getitem" ---------------------------------------------------------
ROWS_OF_A, IDS = np.array([2, 0, 2, -1]), np.array([[0, 1], [3, 3]])
INDICES: list[Any] = [
    0, -1, np.int64(1), slice(1, None), slice(None, None, -1), slice(2, 0, -1), slice(None, None, 2), slice(5, 9),
    None, Ellipsis, (), (0, 1), (slice(None), 2), (None, 1), (Ellipsis, 0), (Ellipsis, None, slice(1, 3)),
    (slice(None, None, -2), None, -1), (0, Ellipsis), ROWS_OF_A, [0, 2, 2], (slice(None), IDS), (ROWS_OF_A, 1),
    (1, IDS), (ROWS_OF_A[:, None], np.array([0, 3])), (ROWS_OF_A, slice(1, 3)), (Ellipsis, IDS), (IDS % 3, None),
    (slice(1, None), [0, 0, 3]), MASK, (slice(None), MASK[0]), (MASK[:, 0], slice(None)), (MASK[:, 1], 1),
    (Ellipsis, MASK[0]), np.zeros(3, bool), np.ones((3, 4), bool), np.array([], int), [], ([0, 1], [1, 2]),
    (np.array(1), slice(None)), np.array(2), np.array([True, False, True]), [True, False, True],
]  # fmt: skip
for index in INDICES:
    case("getitem", lambda a, i=index: a[i], A)
for index in [
    (ROWS_OF_A[:2] % 2, slice(None), [0, 1]), (0, slice(None), [0, 1]), (slice(None), [0, 1], [0, 1]),
    ([0, 1], Ellipsis, [0, 1]), (Ellipsis, [0, 1], slice(1, 3)), (0, [1, 2], slice(None)), ([0], slice(None), 0),
    (slice(None), [[0, 1]], None, 2), (1, 1, 1), (np.ones((2, 3), bool), 0), (slice(None), np.ones((3, 4), bool)),
    (None, [0, 1], None, [0, 1]), (0, None, [0, 1], slice(None, None, -1)),
]:  # fmt: skip
    case("getitem", lambda a, i=index: a[i], D)
case("getitem", lambda a: a[()], np.array(2.0))
case("getitem", lambda a: a[..., None], np.array(2.0))
case("getitem", lambda a: a[np.argmax(a, axis=0), np.arange(4)], A)  # a traced index
case("getitem", lambda a: a[:, np.argmin(a[0])], A)
case("getitem", lambda a: a[a > 0], A, traceable=False)
case("getitem", lambda a: tuple(row for row in a), A)  # iteration
case(np.take, lambda a: np.take(a, [0, 5, 5]), A)
case(np.take, lambda a: np.take(a, IDS, axis=1), A)
case(np.take, lambda a: np.take(a, 1, axis=-1), A)
case(np.take, lambda a: np.take(a, [7, -9], axis=1, mode="clip"), A)
case(np.take, lambda a: np.take(a, [7, -9], axis=1, mode="wrap"), A)
case(np.take, lambda a: a.take([1, 2], axis=0), A)
case(np.take_along_axis, lambda a: np.take_along_axis(a, np.argsort(a, axis=1), axis=1), A)
case(np.take_along_axis, lambda a: np.take_along_axis(a, IDS[:, :1] % 3, axis=0), A[:, :1])
case(np.take_along_axis, lambda a: np.take_along_axis(a, ROWS_OF_A, axis=None), A)
case(np.sort, np.sort, A)
case(np.sort, lambda a: np.sort(a, axis=0), A)
case(np.sort, lambda a: np.sort(a, axis=None), A)
case(np.argsort, np.argsort, A, smooth=False)
case(np.argsort, lambda a: a.argsort(axis=0), A, smooth=False)
case(np.partition, lambda a: np.sort(np.partition(a, 2, axis=1), axis=1), A)
case(np.median, lambda a: np.median(a, axis=0, keepdims=True), normal(4, 3))
case(np.median, lambda a: np.median(a, axis=(2, 0)), normal(2, 3, 4))
case(np.median, lambda a: np.median(a, axis=(0, -1), keepdims=True), normal(2, 3, 4))
case(np.searchsorted, lambda a: np.searchsorted(np.array([-1.0, 0, 1]), a), A, smooth=False)
case(np.searchsorted, lambda a: np.searchsorted(np.array([-1.0, 0, 1]), a, side="right"), A, smooth=False)
KNOTS = np.array([-1.0, -0.3, 0.5, 1.0])
case(np.interp, lambda x, f: np.interp(x, KNOTS, f), SPACED, normal(4))
case(np.interp, lambda x, k, f: np.interp(x, k, f), SPACED, KNOTS, normal(4))
case(np.interp, lambda x, f: np.interp(x, KNOTS, f, left=9.0, right=8.0), SPACED.reshape(5, 1), normal(4))
case(np.interp, lambda x: np.interp(x, [0.0], [2.0]), np.array(0.3))

# -- what reads no values, and the library's own ---------------------------------------------------
case(np.shape, lambda a: np.ones(np.shape(a)) * a, A)
case(np.ndim, lambda a: a * np.ndim(a), A)
case(np.size, lambda a: a * (np.size(a) + np.size(a, 1)), A)
case(np.result_type, lambda a: a * np.ones(3, np.result_type(a, np.float32))[:, None], A)
case(np.iscomplexobj, lambda a: a * (1 + np.iscomplexobj(a)), A)
case(np.isrealobj, lambda a: a * (1 + np.isrealobj(a)), A)
case(np.zeros_like, lambda a: a + np.zeros_like(a), A)
case(np.empty_like, lambda a: a + 0 * np.ones_like(np.empty_like(a)), A)
case(np.ones_like, lambda a: a * np.ones_like(a, shape=4), A)
case(np.full_like, lambda a: a * np.full_like(a, 3.0), A)
case(np.astype, lambda a: np.astype(a, np.float64), A)
case(np.allclose, lambda a: a * (1 + np.allclose(a, a)), A, traceable=False)
case(np.array_equal, lambda a: a * (1 + np.array_equal(a, a)), A, traceable=False)
case("astype", lambda a: a.astype(np.float64), A)
case("astype", lambda a: a.astype(bool), A, smooth=False)

#: Not NumPy functions, or tested where they belong (those of SciPy in test_special.py and test_scipy_linalg.py).
ELSEWHERE: set[Any] = {
    "complex",
    "identity",
    "relu",
    "stop_gradient",
    "backward",
    "scatter_add",
    "as_dtype",
    "barrier",
} | {
    # tests/core/test_assignment.py
    *(np.copyto, np.put, np.place, np.putmask, np.fill_diagonal, np.put_along_axis),
    *("assign", "setitem", "into", "in place", "ufunc.at", "flat", "copied", "share", "reshaped", "as array", "latest"),
}


def named(c: Case) -> str:
    if isinstance(c.key, tuple):
        return f"{c.key[0].__name__}.{c.key[1]}"
    return c.key if isinstance(c.key, str) else c.key.__name__


every = for_each("c", [pytest.param(c, id=f"{named(c)}-{i}") for i, c in enumerate(CASES)])


def test_every_function_has_a_case() -> None:
    missing = {k for k in FUNCTIONS if k not in ELSEWHERE and not str(k).startswith("scipy.")}
    missing -= {c.key for c in CASES} | set(TRANSFORMS)  # those are in test_fourier.py
    assert not missing, sorted(map(str, missing))
    assert ELSEWHERE <= set(FUNCTIONS)


@every
@for_each("dtype", [np.float32, np.float64])
def test_value_and_dtype(c: Case, dtype: Any) -> None:
    arrays = [x.astype(dtype) if x.dtype.kind == "f" else x for x in c.inputs]
    with np.errstate(all="ignore"):
        expected = parts(c.call(*arrays))
        found = parts(c.call(*[Tensor(x) for x in arrays]))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert isinstance(a, Tensor)
        assert a.shape == np.shape(b)
        assert a.dtype == np.asarray(b).dtype
        np.testing.assert_allclose(
            a.value, b, rtol=1e-12 if dtype is np.float64 else 2e-4, atol=1e-5 if dtype is np.float32 else 1e-12
        )


@every
def test_traced(c: Case) -> None:
    def leaf(x: Any) -> Tensor:
        return traced_leaf(x.shape, x.dtype, frozenset({recording}))

    with Recording("a trace") as recording, np.errstate(all="ignore"):
        if not c.traceable:
            with pytest.raises(TypeError, match="is being traced"):
                c.call(*map(leaf, c.inputs))
            return
        found = parts(c.call(*map(leaf, c.inputs)))
    with np.errstate(all="ignore"):
        expected = parts(c.call(*c.inputs))
    for a, b in zip(found, expected, strict=True):
        assert (a.shape, a.dtype, a.value) == (np.shape(b), np.asarray(b).dtype, None)


def gradients(c: Case, arrays: Any, weights: Any) -> list[Any]:
    with Recording("a test") as recording:
        leaves = [Tensor(x, recordings=frozenset({recording})) for x in arrays]
        outputs = parts(c.call(*leaves))
    outs = [(o, w.astype(o.dtype)) for o, w in zip(outputs, weights, strict=True) if o.recordings]
    found, _ = reverse([o for o, _ in outs], [w for _, w in outs], leaves)
    return [np.zeros(x.shape) if g is None else np.asarray(g) for x, g in zip(arrays, found, strict=True)]


@for_each("c", [pytest.param(c, id=f"{named(c)}-{i}") for i, c in enumerate(CASES) if c.smooth], every=8)
def test_gradient(c: Case) -> None:
    r = np.random.default_rng(4)
    with np.errstate(all="ignore"):
        weights = [r.normal(size=np.shape(x)) for x in parts(c.call(*c.inputs))]
        found = gradients(c, c.inputs, weights)
    for k, g in enumerate(found):

        def weighted(x: Any, k: int = k) -> Any:
            with np.errstate(all="ignore"):
                results = parts(c.call(*[x if i == k else y for i, y in enumerate(c.inputs)]))
            return np.asarray(sum(np.nansum(w * o) for w, o in zip(weights, results, strict=True)))

        close(g.reshape(1, -1), derivative(weighted, c.inputs[k]), what=f"{named(c)}, input {k}")


@for_each("c", [pytest.param(c, id=f"{named(c)}-{i}") for i, c in enumerate(CASES) if c.smooth])
def test_float32_stays(c: Case) -> None:
    arrays = [x.astype(np.float32) for x in c.inputs]
    with np.errstate(all="ignore"):
        weights = [np.ones(np.shape(x)) for x in parts(c.call(*arrays))]
        assert all(g.dtype == np.float32 or not g.any() for g in gradients(c, arrays, weights))


def test_as_dtype_and_scatter_add() -> None:
    x = FUNCTIONS["as_dtype"](Tensor(A), np.float32)
    assert x.dtype == np.float32
    g = cr.grad(lambda v: np.sum(W[:3] * FUNCTIONS["scatter_add"](v, (np.array([0, 2, 0, 1, 2]),), (3,))))(V)
    close(g, W[:3][[0, 2, 0, 1, 2]], 0)


def test_own_functions_are_exported() -> None:
    for name in ops.__all__:
        assert hasattr(ops, name)


# -- kinks of compositions: the subgradients that their docstrings state ------------------

KINKS: list[tuple[Callable[..., Any], Any, Any]] = [
    (np.linalg.norm, np.zeros(3), [0, 0, 0]),
    (lambda x: np.linalg.norm(x, 3), np.zeros(3), [0, 0, 0]),
    (lambda x: np.linalg.norm(x, 1), np.array([0.0, 2, -1]), [0, 1, -1]),
    (lambda x: np.linalg.norm(x, np.inf), np.array([2.0, -2, 1]), [0.5, -0.5, 0]),
    (np.std, np.full(3, 2.0), [0, 0, 0]),
    (lambda x: np.sum(np.clip(x, -1, 1)), np.array([-2.0, -1, 0, 1, 2]), [0, 0, 1, 0, 0]),
    (lambda x: np.sum(np.abs(x)), np.zeros(2), [0, 0]),
    (lambda x: np.sum(ops.relu(x)), np.zeros(2), [0, 0]),
    (lambda x: np.sum(ops.leaky_relu(x, 0.1)), np.zeros(2), [0.1, 0.1]),
    (lambda x: np.sum(ops.elu(x, 2.0)), np.zeros(2), [2.0, 2.0]),
    (np.max, np.array([1.0, 1, 0]), [0.5, 0.5, 0]),
    (lambda x: np.median(x), np.array([3.0, 1, 2, 9]), [0.5, 0, 0.5, 0]),
    (lambda x: np.sum(np.interp(x, KNOTS, [0.0, 1, 3, 3])), np.array([-0.3, 2.0]), [2.5, 0]),
    (lambda x: np.sum(x**0), np.array([0.0, 1]), [0, 0]),
    (lambda x: np.sum(x**2.0), np.array([0.0, 1]), [0, 2]),
    (lambda x: np.sum(np.power(x, np.array([0, 1, 3]))), np.zeros(3), [0, 1, 0]),
    (np.prod, np.array([0.0, 0, 2]), [0, 0, 0]),
    (lambda x: np.sum(np.sinc(x)), np.zeros(1), [0]),
]


@pytest.mark.parametrize(("f", "x", "expected"), KINKS)
def test_kinks(f: Any, x: Any, expected: Any) -> None:
    close(cr.grad(f)(x), np.asarray(expected, float), 1e-12)
    recorded = cr.grad(lambda w: np.sum(w * cr.grad(f)(x * 1.0) * 1.0))  # the same by the recorded pass
    close(recorded(np.ones_like(x)), np.asarray(expected, float), 1e-12)
