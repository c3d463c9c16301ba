"""Linear algebra: inverse, solve, determinants, Cholesky, pseudo-inverse, powers and chains of matrices.

All take stacks of matrices in their last two axes, and are differentiable as often as wanted. The rules are those of
Giles, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation", 2008.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.linalg import LinAlgError
from numpy.linalg._linalg import SlogdetResult

from ..core.apply import apply
from ..core.node import FUNCTIONS
from ..core.notation import Layout, call, fences, superscript
from ..core.op import Example, Shape, register
from .table import array_of, floating, implements, promote, shape_of, stored


def t(x: Any) -> Any:
    """Return the transposed matrices."""
    return np.swapaxes(x, -1, -2)


def square_shape(name: str, reduced: bool = False) -> Callable[..., tuple[Shape, np.dtype[Any]]]:
    """Return the shape rule of a function of square matrices, with or without their two axes in the result."""

    def shape(a: Any, **attrs: Any) -> tuple[Shape, np.dtype[Any]]:
        if len(a.shape) < 2 or a.shape[-1] != a.shape[-2]:
            raise ValueError(f"{name}: a has shape {tuple(a.shape)}, expected square matrices (…, n, n)")
        return tuple(a.shape[:-2] if reduced else a.shape), a.dtype

    return shape


def kernel_of(name: str, compute: Callable[..., Any], trouble: str) -> Callable[..., Any]:
    """Return a kernel that calls LAPACK through NumPy and says which function failed, and why."""

    def kernel(*arrays: Any, out: Any = None, **attrs: Any) -> Any:
        try:
            result = compute(*arrays, **attrs)
        except LinAlgError as error:
            if "quare" in str(error):
                square_shape(name)(arrays[0])
            raise LinAlgError(f"{name}: {trouble} (shape {arrays[0].shape})") from None
        return stored(result, out)

    return kernel


def _well_conditioned(rng: np.random.Generator, *shape: int) -> Any:
    return rng.normal(size=shape) + 3.0 * np.eye(shape[-1])


def _square_examples(rng: np.random.Generator) -> list[Example]:
    return [
        Example((_well_conditioned(rng, 3, 3),)),
        Example((_well_conditioned(rng, 2, 2, 2),)),
        Example((np.zeros((0, 2, 2)),)),
    ]


def _cubic(out: Shape, a: Shape, *rest: Shape, **attrs: Any) -> int:
    return 2 * math.prod(a) * a[-1]


_SINGULAR = "the matrix, or one of the stack, is singular"

INV = register(
    "inv",
    numpy=np.linalg.inv,
    shape=square_shape("inv"),
    kernel=kernel_of("inv", np.linalg.inv, _SINGULAR),
    vjp=(lambda g, out, a: -np.matmul(np.matmul(t(out), g), t(out)),),
    notation=superscript("−1"),
    examples=_square_examples,
    flops=_cubic,
)


@implements(np.linalg.inv)
def inv(a: Any) -> Any:
    """As ``numpy.linalg.inv``."""
    return apply(INV, (floating(a),), {})


def _solve_shape(a: Any, b: Any) -> tuple[Shape, np.dtype[Any]]:
    square_shape("solve")(a)
    if len(b.shape) < 2 or b.shape[-2] != a.shape[-1]:
        raise ValueError(f"solve: a has shape {tuple(a.shape)}, b has {tuple(b.shape)}; b needs as many rows as a")
    try:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(
            f"solve: the leading axes of shapes {tuple(a.shape)} and {tuple(b.shape)} do not broadcast"
        ) from None
    return (*batch, *b.shape[-2:]), a.dtype


SOLVE = register(
    "solve",
    numpy=np.linalg.solve,
    shape=_solve_shape,
    kernel=kernel_of("solve", np.linalg.solve, _SINGULAR),
    vjp=(
        lambda g, out, a, b: -np.matmul(np.linalg.solve(t(a), g), t(out)),
        lambda g, out, a, b: np.linalg.solve(t(a), g),
    ),
    notation=Layout("matrix", "", (superscript("−1", 0), 1)),
    examples=lambda rng: [
        Example((_well_conditioned(rng, 3, 3), rng.normal(size=(3, 2)))),
        Example((_well_conditioned(rng, 2, 1, 2, 2), rng.normal(size=(3, 2, 1)))),
        Example((_well_conditioned(rng, 2, 2), np.zeros((2, 0)))),
    ],
    flops=lambda out, a, b: 2 * math.prod(a) * a[-1] // 3 + 2 * math.prod(out) * a[-1],
)


@implements(np.linalg.solve)
def solve(a: Any, b: Any) -> Any:
    """As ``numpy.linalg.solve``: `b` is a vector only when it has one axis, else a stack of matrices."""
    (a, b), _ = promote(a, b, floating=True)
    if len(shape_of(b)) != 1:
        return apply(SOLVE, (a, b), {})
    return np.squeeze(apply(SOLVE, (a, np.expand_dims(b, 1)), {}), -1)


def _cofactor_array(a: Any) -> Any:
    """Return the cofactors of a matrix: det(a) times the transpose of its inverse, also where it is singular."""
    try:
        return np.linalg.det(a)[..., None, None] * np.swapaxes(np.linalg.inv(a), -1, -2)
    except np.linalg.LinAlgError:  # singular: by the singular values, whose products stay finite
        u, s, vt = np.linalg.svd(a)
        n = s.shape[-1]
        others = np.stack([np.prod(np.delete(s, i, -1), axis=-1) for i in range(n)], -1)
        turn = np.linalg.det(u) * np.linalg.det(vt)
        return (turn[..., None, None] * (u * others[..., None, :]) @ vt).astype(a.dtype, copy=False)


def _cofactor_rule(g: Any, out: Any, a: Any) -> Any:
    inverse = t(np.linalg.inv(a))
    return np.sum(g * out, axis=(-2, -1), keepdims=True) * inverse - np.matmul(np.matmul(inverse, t(g)), out)


COFACTOR = register(
    "cofactor",
    numpy=_cofactor_array,
    shape=square_shape("cofactor"),
    kernel=kernel_of("cofactor", _cofactor_array, _SINGULAR),
    vjp=(_cofactor_rule,),
    notation="cof",
    examples=_square_examples,
    flops=_cubic,
    source="the gradient of the determinant, det(A) A^-T (Jacobi's formula); exists for singular matrices too",
)
DET = register(
    "det",
    numpy=np.linalg.det,
    shape=square_shape("det", reduced=True),
    kernel=kernel_of("det", np.linalg.det, _SINGULAR),
    vjp=(lambda g, out, a: np.expand_dims(g, (-2, -1)) * apply(COFACTOR, (a,), {}),),
    examples=_square_examples,
    flops=_cubic,
)


@implements(np.linalg.det)
def det(a: Any) -> Any:
    """As ``numpy.linalg.det``. The gradient exists at singular matrices; its own gradient does not."""
    return apply(DET, (floating(a),), {})


def _determinant_sign(a: Any) -> Any:
    """Return the sign of the determinant."""
    return np.linalg.slogdet(a)[0]


def _log_abs_determinant(a: Any) -> Any:
    """Return the logarithm of the absolute value of the determinant."""
    return np.linalg.slogdet(a)[1]


SLOGDET_SIGN = register(
    "slogdet_sign",
    numpy=_determinant_sign,
    shape=square_shape("slogdet", reduced=True),
    kernel=kernel_of("slogdet", _determinant_sign, _SINGULAR),
    vjp=(None,),
    differentiable=False,  # constant wherever the determinant is not 0
    notation="sign det",
    examples=_square_examples,
    flops=_cubic,
)


def _logabsdet_rule(g: Any, out: Any, a: Any) -> Any:
    try:
        return np.expand_dims(g, (-2, -1)) * t(np.linalg.inv(a))
    except LinAlgError:
        raise LinAlgError(f"slogdet: no gradient where the matrix is singular (shape {tuple(a.shape)})") from None


LOGABSDET = register(
    "logabsdet",
    numpy=_log_abs_determinant,
    shape=square_shape("slogdet", reduced=True),
    kernel=kernel_of("slogdet", _log_abs_determinant, _SINGULAR),
    vjp=(_logabsdet_rule,),
    notation=call("log", fences("| |", call("det", 0))),
    examples=_square_examples,
    flops=_cubic,
)


@implements(np.linalg.slogdet)
def slogdet(a: Any) -> SlogdetResult:
    """As ``numpy.linalg.slogdet``: (sign, logabsdet); the sign has no gradient."""
    a = floating(a)
    return SlogdetResult(apply(SLOGDET_SIGN, (a,), {}), apply(LOGABSDET, (a,), {}))


def _cholesky_rule(g: Any, out: Any, a: Any) -> Any:
    n = out.shape[-1]
    half = np.tri(n, dtype=out.dtype) - 0.5 * np.eye(n, dtype=out.dtype)  # the lower triangle, half of its diagonal
    inner = np.matmul(t(out), g) * half
    inner = np.linalg.solve(t(out), t(np.linalg.solve(t(out), t(inner))))
    return (inner + t(inner)) * half  # only this triangle of `a` is read


CHOLESKY = register(
    "cholesky",
    numpy=np.linalg.cholesky,
    shape=square_shape("cholesky"),
    kernel=kernel_of(
        "cholesky", lambda a: np.linalg.cholesky(a), "the matrix, or one of the stack, is not positive definite"
    ),
    vjp=(_cholesky_rule,),
    notation="chol",
    examples=lambda rng: [Example((_positive(rng, 3, 3),)), Example((_positive(rng, 2, 2, 2),))],
    flops=lambda out, a: math.prod(a) * a[-1] // 3,
    source="Murray, Differentiation of the Cholesky decomposition, 2016",
)


def _positive(rng: np.random.Generator, *shape: int) -> Any:
    root = rng.normal(size=shape)
    return root @ t(root) + np.eye(shape[-1])


@implements(np.linalg.cholesky)
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    """As ``numpy.linalg.cholesky``: reads the triangle that it returns, and the gradient is in that triangle."""
    a = floating(a)
    return t(apply(CHOLESKY, (t(a),), {})) if upper else apply(CHOLESKY, (a,), {})


def _pinv_shape(a: Any, **attrs: Any) -> tuple[Shape, np.dtype[Any]]:
    if len(a.shape) < 2:
        raise ValueError(f"pinv: a has shape {tuple(a.shape)}, expected matrices (…, m, n)")
    return (*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype


def _pinv_rule(g: Any, out: Any, a: Any, rtol: float | None) -> Any:
    left = np.matmul(t(g) - np.matmul(a, np.matmul(out, t(g))), np.matmul(out, t(out)))
    right = np.matmul(t(out), np.matmul(out, t(g) - np.matmul(np.matmul(t(g), out), a)))
    return left + right - np.matmul(np.matmul(t(out), g), t(out))


PINV = register(
    "pinv",
    numpy=np.linalg.pinv,
    shape=_pinv_shape,
    kernel=kernel_of("pinv", lambda a, rtol: np.linalg.pinv(a, rtol), "the singular values did not converge"),
    vjp=(_pinv_rule,),
    notation=superscript("+"),
    examples=lambda rng: [
        Example((rng.normal(size=(3, 2)),), {"rtol": None}),
        Example((rng.normal(size=(2, 2, 3)),), {"rtol": None}),
    ],
    flops=lambda out, a, **attrs: 8 * math.prod(a) * a[-1],
    source="Golub & Pereyra, 1973: where the rank does not change",
)


@implements(np.linalg.pinv)
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """As ``numpy.linalg.pinv``; the derivative is that at constant rank."""
    rtol = rcond if rcond is not None else rtol if isinstance(rtol, float | int) else None
    return apply(PINV, (floating(a),), {"rtol": rtol if rtol is None else float(rtol)})


@implements(np.linalg.matrix_power)
def matrix_power(a: Any, n: int) -> Any:
    """As ``numpy.linalg.matrix_power``: by repeated squaring."""
    n = operator.index(n)
    square_shape("matrix_power")(a)
    if n < 0:
        a, n = inv(a), -n
    if n == 0:
        return np.where(True, np.eye(shape_of(a)[-1], dtype=a.dtype), a)
    result = None
    while True:
        if n & 1:
            result = a if result is None else np.matmul(result, a)
        n >>= 1
        if not n:
            return result
        a = np.matmul(a, a)


@implements(np.linalg.multi_dot)
def multi_dot(arrays: Sequence[Any], *, out: None = None) -> Any:
    """As ``numpy.linalg.multi_dot``: the product of a chain of matrices, in the cheapest order."""
    chain = list(arrays)
    if len(chain) < 2:
        raise ValueError(f"multi_dot: expected two or more arrays, got {len(chain)}")
    first, last = len(shape_of(chain[0])) == 1, len(shape_of(chain[-1])) == 1
    if first:
        chain[0] = np.expand_dims(chain[0], 0)
    if last:
        chain[-1] = np.expand_dims(chain[-1], 1)
    for i, a in enumerate(chain):
        if len(shape_of(a)) != 2:
            raise ValueError(f"multi_dot: array {i} has shape {tuple(shape_of(a))}, expected a matrix")
    result = _chain(chain)
    if first and last:
        return np.reshape(result, ())
    return np.reshape(result, -1) if first or last else result


def _chain(chain: list[Any]) -> Any:
    """Multiply by the order of fewest multiplications (Cormen et al., matrix-chain order)."""
    n = len(chain)
    size = [shape_of(a)[0] for a in chain] + [shape_of(chain[-1])[1]]
    cost = [[0] * n for _ in range(n)]
    cut = [[0] * n for _ in range(n)]
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            choices = [(cost[i][k] + cost[k + 1][j] + size[i] * size[k + 1] * size[j + 1], k) for k in range(i, j)]
            cost[i][j], cut[i][j] = min(choices)

    def product(i: int, j: int) -> Any:
        return chain[i] if i == j else np.matmul(product(i, cut[i][j]), product(cut[i][j] + 1, j))

    return product(0, n - 1)


@implements(np.linalg.outer)
def outer(x1: Any, x2: Any, /) -> Any:
    """As ``numpy.linalg.outer``: of two vectors."""
    for name, x in (("x1", x1), ("x2", x2)):
        if len(shape_of(x)) != 1:
            raise ValueError(f"linalg.outer: {name} has shape {tuple(shape_of(x))}, expected a vector")
    return FUNCTIONS[np.outer](x1, x2)


@implements(np.cross)
def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    """As ``numpy.cross``, of vectors of length 3."""
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(array_of(a), axisa, -1), np.moveaxis(array_of(b), axisb, -1)
    if shape_of(a)[-1] != 3 or shape_of(b)[-1] != 3:
        raise ValueError(f"cross: vectors have lengths {shape_of(a)[-1]} and {shape_of(b)[-1]}, expected length 3")
    turned = [1, 2, 0], [2, 0, 1]
    result = a[..., turned[0]] * b[..., turned[1]] - a[..., turned[1]] * b[..., turned[0]]
    return np.moveaxis(result, -1, axisc)


FUNCTIONS[np.linalg.cross] = lambda x1, x2, /, *, axis=-1: cross(x1, x2, axis=axis)
FUNCTIONS[np.linalg.matmul] = lambda x1, x2, /: FUNCTIONS[np.matmul](x1, x2)
FUNCTIONS[np.linalg.tensordot] = lambda x1, x2, /, *, axes=2: FUNCTIONS[np.tensordot](x1, x2, axes)
FUNCTIONS[np.linalg.matrix_transpose] = t


@implements(np.vecdot)
def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """As ``numpy.vecdot``: the sum of products along `axis`."""
    (x1, x2), _ = promote(x1, x2)
    if axis != -1:
        x1, x2 = np.moveaxis(x1, axis, -1), np.moveaxis(x2, axis, -1)
    a, b = shape_of(x1), shape_of(x2)
    if not a or not b or a[-1] != b[-1]:
        raise ValueError(f"vecdot: shapes {tuple(a)} and {tuple(b)}; the axis must have one length in both")
    return np.squeeze(np.matmul(np.expand_dims(x1, -2), np.expand_dims(x2, -1)), (-2, -1))


FUNCTIONS[np.linalg.vecdot] = lambda x1, x2, /, *, axis=-1: vecdot(x1, x2, axis=axis)
