"""Matrix multiplication, the one contraction, and what is written with it: dot, inner, outer, tensordot, kron."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.node import FUNCTIONS
from ..core.notation import Layout
from ..core.op import CONTRACT, Example, Shape, register
from ..core.vmap import aligned
from .shape import RESHAPE
from .table import implements, promote, shape_of


def _matmul_shape(a: Any, b: Any) -> tuple[Shape, np.dtype[Any]]:
    if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError(
            f"matmul: shapes {tuple(a.shape)} and {tuple(b.shape)} do not multiply; the last axis of the first must "
            "equal the last but one of the second"
        )
    try:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(
            f"matmul: the leading axes of shapes {tuple(a.shape)} and {tuple(b.shape)} do not broadcast"
        ) from None
    return (*batch, a.shape[-2], b.shape[-1]), a.dtype


def _batched(batched: tuple[bool, bool], a: Any, b: Any) -> Any:
    if batched == (True, False) and len(b.shape) == 2:  # one product with all rows
        rows = np.reshape(a, (math.prod(a.shape[:-1]), a.shape[-1]))
        return np.reshape(np.matmul(rows, b), (*a.shape[:-1], b.shape[-1]))
    if batched == (False, True) and len(a.shape) == 2:
        return _batched((True, False), b.mT, a.T).mT
    ndim = max(len(x.shape) - one for x, one in zip((a, b), batched, strict=True))
    return np.matmul(*[aligned(x, ndim) if one else x for x, one in zip((a, b), batched, strict=True)])


def _of_basis(batched: tuple[bool, bool], a: Any, b: Any) -> Any:
    """Return the rows or columns of a matrix, for the products with all unit vectors."""
    if batched == (True, False) and len(b.shape) == 2 and len(a.shape) == 2 and a.shape[0] == 1:
        return np.reshape(b, (b.shape[0], 1, b.shape[1]))
    if batched == (False, True) and len(a.shape) == 2 and len(b.shape) == 2 and b.shape[1] == 1:
        return np.reshape(a.T, (a.shape[1], a.shape[0], 1))
    return None


MATMUL = register(
    "matmul",
    numpy=np.matmul,
    shape=_matmul_shape,
    kernel=lambda a, b, out=None: np.matmul(a, b, out=out),
    vjp=(lambda g, out, a, b: np.matmul(g, b.mT), lambda g, out, a, b: np.matmul(a.mT, g)),
    kind=CONTRACT,
    batch=_batched,
    of_basis=_of_basis,
    notation=Layout("matrix"),
    examples=lambda rng: [
        Example((rng.normal(size=(2, 3)), rng.normal(size=(3, 4)))),
        Example((rng.normal(size=(5, 2, 3)), rng.normal(size=(3, 4)))),
        Example((rng.normal(size=(2, 1, 2, 3)), rng.normal(size=(4, 3, 1)))),
        Example((rng.normal(size=(2, 0)), rng.normal(size=(0, 3)))),
    ],
    flops=lambda out, a, b, **attrs: 2 * math.prod(out) * a[-1],
)


@implements(np.matmul)
def matmul(a: Any, b: Any) -> Any:
    """As ``numpy.matmul``: stacks of matrices, vectors promoted to matrices."""
    (a, b), _ = promote(a, b)
    na, nb = len(a.shape), len(b.shape)
    if na == 0 or nb == 0:
        raise ValueError(
            f"matmul: shapes {tuple(shape_of(a))} and {tuple(shape_of(b))}; neither may be a scalar, use * instead"
        )
    if na >= 2 and nb >= 2:
        return apply(MATMUL, (a, b), {})
    if a.shape[-1] != b.shape[-min(nb, 2)]:
        raise ValueError(f"matmul: shapes {tuple(shape_of(a))} and {tuple(shape_of(b))} do not multiply")
    left = _as_matrix(a, (1, *a.shape)) if na == 1 else a
    right = _as_matrix(b, (*b.shape, 1)) if nb == 1 else b
    out = apply(MATMUL, (left, right), {})
    return _as_matrix(out, (*out.shape[: -2 if na == 1 else -1], *(out.shape[-1:] if nb > 1 else ())))


def _as_matrix(x: Any, shape: Shape) -> Any:
    """Return a vector as a matrix or back: a view that no program sees, since NumPy's product is a new array."""
    return apply(RESHAPE, (x,), {"shape": shape}, shared=False)


FUNCTIONS[np.matvec] = lambda x1, x2, /: np.squeeze(matmul(x1, np.expand_dims(x2, -1)), -1)
FUNCTIONS[np.vecmat] = lambda x1, x2, /: np.squeeze(matmul(np.expand_dims(x1, -2), x2), -2)


@implements(np.dot)
def dot(a: Any, b: Any, out: None = None) -> Any:
    """As ``numpy.dot``."""
    na, nb = len(shape_of(a)), len(shape_of(b))
    if na == 0 or nb == 0:
        return np.multiply(a, b)
    if na <= 2 and nb <= 2:
        return matmul(a, b)
    return tensordot(a, b, axes=((-1,), (-2 if nb > 1 else -1,)))


@implements(np.inner)
def inner(a: Any, b: Any) -> Any:
    """As ``numpy.inner``: over the last axes of both."""
    if len(shape_of(a)) == 0 or len(shape_of(b)) == 0:
        return np.multiply(a, b)
    return tensordot(a, b, axes=((-1,), (-1,)))


@implements(np.vdot)
def vdot(a: Any, b: Any) -> Any:
    """As ``numpy.vdot``: of the flattened arrays."""
    return matmul(np.reshape(a, -1), np.reshape(b, -1))


@implements(np.outer)
def outer(a: Any, b: Any, out: None = None) -> Any:
    """As ``numpy.outer``: of the flattened arrays."""
    return np.reshape(a, (-1, 1)) * np.reshape(b, (1, -1))


@implements(np.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """As ``numpy.tensordot``."""
    sa, sb = shape_of(a), shape_of(b)
    if np.iterable(axes):
        over_a, over_b = axes
        over_a = [operator.index(i) for i in (over_a if np.iterable(over_a) else (over_a,))]
        over_b = [operator.index(i) for i in (over_b if np.iterable(over_b) else (over_b,))]
    else:
        n = operator.index(axes)
        over_a, over_b = list(range(len(sa) - n, len(sa))), list(range(n))
    over_a, over_b = [i % len(sa) for i in over_a], [i % len(sb) for i in over_b]
    if [sa[i] for i in over_a] != [sb[i] for i in over_b]:
        raise ValueError(
            f"tensordot: axes {tuple(over_a)} of shape {tuple(sa)} and {tuple(over_b)} of shape {tuple(sb)} differ "
            "in length"
        )
    kept_a = [i for i in range(len(sa)) if i not in over_a]
    kept_b = [i for i in range(len(sb)) if i not in over_b]
    k = math.prod(sa[i] for i in over_a)
    left = np.reshape(np.transpose(a, kept_a + over_a), (math.prod(sa[i] for i in kept_a), k))
    right = np.reshape(np.transpose(b, over_b + kept_b), (k, math.prod(sb[i] for i in kept_b)))
    return np.reshape(matmul(left, right), [sa[i] for i in kept_a] + [sb[i] for i in kept_b])


@implements(np.kron)
def kron(a: Any, b: Any) -> Any:
    """As ``numpy.kron``."""
    sa, sb = list(shape_of(a)), list(shape_of(b))
    ndim = max(len(sa), len(sb))
    sa, sb = [1] * (ndim - len(sa)) + sa, [1] * (ndim - len(sb)) + sb
    left = np.reshape(a, [n for d in sa for n in (d, 1)])
    right = np.reshape(b, [n for d in sb for n in (1, d)])
    return np.reshape(left * right, [x * y for x, y in zip(sa, sb, strict=True)])
