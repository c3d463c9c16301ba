"""Choices, comparisons and logic; and the rows that pass a value unchanged."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.notation import Layout
from ..core.op import ELEMENTWISE, Example, register
from ..core.tensor import Tensor
from ..core.tree import tree_map
from .elementwise import REAL, elementwise_row
from .table import (
    array_of,
    as_dtype,
    composed,
    dtype_of,
    elementwise_shape,
    implements,
    is_tensor,
    promote,
    shape_of,
    stored,
)

# -- choices ---------------------------------------------------------------------------------------


def _where_kernel(condition: Any, a: Any, b: Any, out: Any = None) -> Any:
    if out is None:
        return np.where(condition, a, b)
    if out is not b:
        np.copyto(out, b)
    np.copyto(out, a, where=condition)
    return out


def _where_shape(condition: Any, a: Any, b: Any) -> Any:
    return elementwise_shape("where")(condition, a, b)[0], a.dtype


WHERE = register(
    "where",
    shape=_where_shape,
    kernel=_where_kernel,
    numpy=np.where,
    vjp=(None, lambda g, out, c, a, b: np.where(c, g, 0.0), lambda g, out, c, a, b: np.where(c, 0.0, g)),
    kind=ELEMENTWISE,
    notation=Layout("cases"),
    selects=lambda i, out, c, a, b: None if i == 0 else (0, i == 1),
    aliases=(),
    flops=lambda out, *shapes, **attrs: 0,
    examples=lambda rng: [
        Example((rng.random((3, 4)) > 0.5, rng.normal(size=(3, 4)), rng.normal(size=(3, 4)))),
        Example((rng.random((3, 1)) > 0.5, rng.normal(size=4), rng.normal(size=()))),
    ],
)


@implements(np.where)
def where(condition: Any, a: Any = None, b: Any = None) -> Any:
    """As ``numpy.where``: `a` where `condition` holds, else `b`; of the condition alone, the positions."""
    if a is None and b is None:
        return np.nonzero(condition)
    if a is None or b is None:
        raise TypeError("np.where: pass the condition alone, or all three arguments")
    if is_tensor(condition):
        condition = condition if condition.dtype == bool else np.not_equal(condition, 0)
    else:
        condition = np.asarray(condition, dtype=bool)
    (a, b), weak = promote(a, b)
    out = apply(WHERE, (condition, a, b), {})
    out.weak = weak and shape_of(condition) == ()
    return out


@implements("stop_gradient")
def stop_gradient(x: Any) -> Any:
    """Return `x`, a tensor or a container of them, as a constant: no derivative is taken through it.

    Examples
    --------
    >>> import chainrule as cr
    >>> cr.grad(lambda x: x * stop_gradient(x))(3.0)
    array(3.)
    """
    if is_tensor(x):
        return apply(STOP_GRADIENT, (x,), {})
    return x if hasattr(x, "dtype") else tree_map(lambda v: stop_gradient(v) if is_tensor(v) else v, x)


STOP_GRADIENT = register(
    "stop_gradient",
    shape=lambda x: (x.shape, x.dtype),
    kernel=lambda x, out=None: stored(x, out),
    vjp=(None,),
    kind=ELEMENTWISE,
    differentiable=False,
    passes=True,
    flat=True,
    numpy="{0}",
    domain=(REAL,),
)
IDENTITY = register(
    "identity",
    shape=lambda x: (x.shape, x.dtype),
    kernel=lambda x, out=None: stored(x, out),
    vjp=(lambda g, out, x: g,),
    kind=ELEMENTWISE,
    passes=True,
    numpy="{0}",
    domain=(REAL,),
    flops=lambda out, *shapes, **attrs: 0,
)


def _first(x: Any, *others: Any) -> Any:
    return x


BARRIER = register(
    "barrier",
    shape=lambda x, *others: (x.shape, x.dtype),
    kernel=lambda x, *others, out=None: stored(x, out),
    vjp=lambda index, g, out, x, *others: None if index else g,
    passes=True,
    numpy=_first,
    notation="barrier",
    examples=lambda rng: [Example((rng.normal(size=(3, 2)), rng.normal(size=4)))],
    flops=lambda out, *shapes, **attrs: 0,
    batch=lambda batched, x, *others: x if batched[0] else None,
)


@implements("barrier")
def barrier(x: Any, *others: Any) -> Any:
    """Return `x`, which plans take only once `others` are known: what is computed of it is not computed earlier.

    Examples
    --------
    >>> barrier(np.array([1.0, 2.0]), np.zeros(3))
    array([1., 2.])
    """
    return apply(BARRIER, (x, *others), {}) if is_tensor(x, *others) else x


@implements("identity")
def identity(x: Any) -> Any:
    """Return the same value as a separate node of the graph, which can have another name.

    Examples
    --------
    >>> identity(np.array([1.0, 2.0]))
    array([1., 2.])
    """
    if not is_tensor(x):
        return x
    out = apply(IDENTITY, (x,), {})
    out.weak = x.weak
    return out


positive = composed(np.positive)(identity)

# -- comparisons and logic: nothing flows through them ---------------------------------------------

for _ufunc, _sign in (
    (np.equal, "="),
    (np.not_equal, "≠"),
    (np.less, "<"),
    (np.less_equal, "≤"),
    (np.greater, ">"),
    (np.greater_equal, "≥"),
    (np.logical_and, "∧"),
    (np.logical_or, "∨"),
    (np.logical_xor, "⊕"),
):
    elementwise_row(
        _ufunc,
        (None, None),
        Layout("condition", _sign),
        differentiable=False,
        result=bool,
        aliases=(),
        commutative=_ufunc not in (np.less, np.less_equal, np.greater, np.greater_equal),
    )
for _unary in (np.logical_not, np.isnan, np.isinf, np.isfinite, np.signbit):
    elementwise_row(_unary, (None,), _unary.__name__, differentiable=False, result=bool, aliases=())


def _integers(rng: np.random.Generator) -> list[Example]:
    return [Example((rng.integers(-9, 9, (3, 4)), rng.integers(0, 9, 4)))]


def _bitwise(ufunc: Any, logical: Any = None) -> Any:
    """Make a row for integers; on truth values it is the logical function."""
    row = elementwise_row(
        ufunc,
        (None,) * ufunc.nin,
        ufunc.__name__,
        numpy=(),
        differentiable=False,
        examples=lambda rng: [Example(e.inputs[: ufunc.nin]) for e in _integers(rng)],
    )

    def function(*xs: Any) -> Any:
        """Apply the row to integers, or the logical function to truth values."""
        return logical(*xs) if logical is not None and all(dtype_of(x).kind == "b" for x in xs) else row(*xs)

    return implements(ufunc)(function)


bitwise_and = _bitwise(np.bitwise_and, np.logical_and)
bitwise_or = _bitwise(np.bitwise_or, np.logical_or)
bitwise_xor = _bitwise(np.bitwise_xor, np.logical_xor)
invert = _bitwise(np.invert, np.logical_not)
left_shift = _bitwise(np.left_shift)
right_shift = _bitwise(np.right_shift)


@implements(np.nan_to_num)
def nan_to_num(x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    """As ``numpy.nan_to_num``; no derivative flows through replaced elements."""
    if not copy and len(shape_of(x)):
        x[...] = nan_to_num(x, True, nan, posinf, neginf)
        return x
    if x.dtype.kind != "f":
        return np.copy(x)
    limit = float(np.finfo(x.dtype).max)
    x = np.where(np.isnan(x), nan, x)
    x = np.where(np.equal(x, np.inf), limit if posinf is None else posinf, x)
    return np.where(np.equal(x, -np.inf), -limit if neginf is None else neginf, x)


@composed(np.heaviside)
def heaviside(x: Any, at_zero: Any) -> Any:
    """As ``numpy.heaviside``; the derivative in `x` is zero."""
    step = np.where(np.isnan(x), np.nan, as_dtype(np.greater(x, 0), dtype_of(x)))
    return np.where(np.equal(x, 0), at_zero, step)


@implements(np.select)
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """As ``numpy.select``."""
    out = default
    for condition, choice in zip(list(condlist)[::-1], list(choicelist)[::-1], strict=True):
        out = np.where(condition, choice, out)
    return out


@implements(np.allclose)
def allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """As ``numpy.allclose``: compares values, not a differentiable function."""
    x, y = (t.concrete("np.allclose") if isinstance(t, Tensor) else t for t in (a, b))
    return bool(np.allclose(x, y, rtol, atol, equal_nan))


@implements(np.array_equal)
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    """As ``numpy.array_equal``: compares values, not a differentiable function."""
    x, y = (t.concrete("np.array_equal") if isinstance(t, Tensor) else t for t in (a1, a2))
    return bool(np.array_equal(x, y, equal_nan))


@implements(np.isclose)
def isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """As ``numpy.isclose``: which elements are close; no derivative goes through."""
    b = as_dtype(array_of(b), np.result_type(dtype_of(b), 1.0))  # as NumPy: a difference of floating-point numbers
    close = np.logical_and(np.less_equal(np.absolute(a - b), atol + rtol * np.absolute(b)), np.isfinite(b))
    close = np.logical_or(close, np.equal(a, b))
    return np.logical_or(close, np.logical_and(np.isnan(a), np.isnan(b))) if equal_nan else close
