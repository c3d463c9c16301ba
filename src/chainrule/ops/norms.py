"""Norms of vectors and matrices, by composition; the 2-norm is a row, for its subgradient 0 at the origin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.node import FUNCTIONS
from ..core.notation import fences
from ..core.op import Example, register
from .exact_quotient import exact_quotient
from .reduce import Axis, normalize_axis, reduced_shape, restore
from .table import floating, implements, known, shape_of


def _norm2_rule(g: Any, out: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    exact = exact_quotient(g, out)
    if exact is not None:
        return restore(np.broadcast_to(exact, tuple(out.shape)), tuple(x.shape), axis) * x
    length = np.where(np.equal(out, 0), np.inf, out)  # at the origin, a kink: subgradient 0
    return restore(g / length, tuple(x.shape), axis) * x


NORM2 = register(
    "norm2",
    shape=lambda x, axis, keepdims: (reduced_shape(tuple(x.shape), axis, keepdims), x.dtype),
    expand=lambda x, axis, keepdims: np.sqrt(np.sum(np.square(x), axis=axis, keepdims=keepdims)),
    vjp=(_norm2_rule,),
    at_kink=lambda out, x, axis, keepdims: np.equal(out, 0),
    squared=lambda x, axis, keepdims: np.sum(np.square(x), axis=axis, keepdims=keepdims),
    notation=fences("‖ ‖₂"),
    examples=lambda rng: [
        Example((rng.normal(size=(3, 4)),), {"axis": (0, 1), "keepdims": False}),
        Example((rng.normal(size=(3, 4)),), {"axis": (1,), "keepdims": True}),
        Example((rng.normal(size=(3, 0)),), {"axis": (0,), "keepdims": False}),
    ],
    flops=lambda out, x, **attrs: 2 * math.prod(x),
)


def norm2(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """Return the root of the sum of squares over `axes`."""
    return apply(NORM2, (x,), {"axis": axes, "keepdims": keepdims})


def _vector(x: Any, axes: tuple[int, ...], order: Any, keepdims: bool) -> Any:
    if order == 2:
        return norm2(x, axes, keepdims)
    if order == 0:  # counts what is not zero; flat
        return np.sum(np.not_equal(x, 0).astype(x.dtype), axis=axes, keepdims=keepdims)
    size = np.absolute(x)
    if not isinstance(order, int | float | np.number):
        raise ValueError(f"norm: ord is {order!r}, expected a number or None for the norm of a vector")
    if order in (1, math.inf, -math.inf):
        reductions: dict[float, Any] = {1.0: np.sum, math.inf: np.max, -math.inf: np.min}
        return reductions[float(order)](size, axis=axes, keepdims=keepdims)
    order = float(order)
    total = np.sum(np.power(size, order), axis=axes, keepdims=keepdims)
    zero = np.equal(total, 0)  # at the origin, a kink: subgradient 0
    return np.where(zero, 0.0 if order > 0 else np.inf, np.power(np.where(zero, 1.0, total), 1.0 / order))


def _matrix(x: Any, axes: tuple[int, int], order: Any, keepdims: bool) -> Any:
    rows, columns = axes
    if order is None or order == "fro":
        return norm2(x, (min(axes), max(axes)), keepdims)
    if isinstance(order, int | float) and order in (1, -1, math.inf, -math.inf):
        inner, outer = (rows, columns) if abs(order) == 1 else (columns, rows)
        extreme = np.max if order > 0 else np.min
        result = extreme(np.sum(np.absolute(x), axis=inner, keepdims=True), axis=outer, keepdims=True)
        shape = tuple(shape_of(x))
        return result if keepdims else np.reshape(result, reduced_shape(shape, axes, False))
    singular: dict[Any, Any] = {2: lambda s: s[..., 0], -2: lambda s: s[..., -1], "nuc": lambda s: np.sum(s, axis=-1)}
    if order not in singular:
        raise ValueError(
            f"norm: ord is {order!r}, expected None, 'fro', 'nuc', ±1, ±2 or ±inf for the norm of a matrix"
        )
    result = singular[order](FUNCTIONS[np.linalg.svdvals](np.moveaxis(x, (rows, columns), (-2, -1))))
    return np.expand_dims(result, axes) if keepdims else result


@implements(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Any:
    """As ``numpy.linalg.norm``.

    The 2-norm (also Frobenius) and the p-norms have no derivative at the origin; 0 is the subgradient chosen there.
    """
    x, ord = floating(x), known(ord, "the order of np.linalg.norm")
    shape = tuple(shape_of(x))
    keepdims = bool(keepdims)
    if axis is None and (ord is None or (ord in ("fro", "f") and len(shape) == 2) or (ord == 2 and len(shape) == 1)):
        return norm2(x, tuple(range(len(shape))), keepdims)
    if axis is None and len(shape) > 2:
        raise ValueError(f"norm: x has shape {shape} and ord is {ord!r}; give one axis or two")
    axes = tuple(range(len(shape))) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    order = tuple(normalize_axis(a, len(shape))[0] for a in axes)
    if len(order) == 1:
        return _vector(x, order, 2 if ord is None else ord, keepdims)
    if len(order) != 2 or order[0] == order[1]:
        raise ValueError(f"norm: axis is {axis!r}, expected one axis (vectors) or two (matrices) of shape {shape}")
    return _matrix(x, (order[0], order[1]), ord, keepdims)


@implements(np.linalg.vector_norm)
def vector_norm(x: Any, /, *, axis: Axis = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """As ``numpy.linalg.vector_norm``: over one axis, several, or all elements."""
    x, ord = floating(x), known(ord, "the order of np.linalg.vector_norm")
    return _vector(x, normalize_axis(axis, len(shape_of(x))), ord, bool(keepdims))


@implements(np.linalg.matrix_norm)
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """As ``numpy.linalg.matrix_norm``: of the last two axes."""
    x = floating(x)
    ndim = len(shape_of(x))
    return _matrix(x, (ndim - 2, ndim - 1), ord, bool(keepdims))
