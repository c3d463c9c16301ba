"""Reductions: sum, mean, extremes, products, positions, truth."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.arrays import FLOATS
from ..core.keywords import renamed
from ..core.node import FUNCTIONS
from ..core.notation import Layout
from ..core.op import REDUCE, Example, Operation, Shape, register
from .table import along, as_dtype, implements, one_axis, shape_of

_add: Any = np.add  # NumPy's annotations of reduce know no keepdims that is a variable
_multiply: Any = np.multiply
Axis = int | tuple[int, ...] | None


def normalize_axis(axis: Axis, ndim: int) -> tuple[int, ...]:
    """Return `axis` as a sorted tuple of non-negative axes; None means all."""
    if axis is None:
        return tuple(range(ndim))
    if type(axis) is int and -ndim <= axis < ndim:
        return (axis % ndim,)
    given = axis if isinstance(axis, tuple | list) else (axis,)
    out = []
    for a in given:
        a = operator.index(a)
        if not -ndim <= a < ndim:
            raise np.exceptions.AxisError(a, ndim)
        out.append(a % ndim)
    if len(set(out)) != len(out):
        raise ValueError(f"axis {axis} names an axis twice")
    return tuple(sorted(out))


def reduced_shape(shape: Shape, axis: tuple[int, ...], keepdims: bool) -> Shape:
    """Return `shape` after a reduction over `axis`."""
    if keepdims:
        return tuple(1 if i in axis else d for i, d in enumerate(shape))
    return tuple(d for i, d in enumerate(shape) if i not in axis)


def restore(x: Any, shape: Shape, axis: tuple[int, ...]) -> Any:
    """Put the reduced axes back, each of length 1, so that `x` broadcasts against the reduction's input."""
    return x.reshape(reduced_shape(shape, axis, True))


def spread(x: Any, shape: Shape) -> Any:
    """Return ``np.broadcast_to(x, shape)``, without its cost for arrays."""
    if isinstance(x, np.ndarray):
        out = np.empty(shape, x.dtype)
        out[...] = x
        return out
    return np.broadcast_to(x, shape)


def shape_rule(dtype: Any = None) -> Any:
    """Return the shape rule of a reduction; `dtype` gives the result's dtype from its input's."""

    def shape(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> tuple[Shape, np.dtype[Any]]:
        kind = dtype(x.dtype) if dtype else x.dtype
        return reduced_shape(x.shape, axis, keepdims), np.dtype(kind)

    return shape


def accumulator(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of a sum: integers and booleans add up as int64, as in NumPy."""
    return dtype if dtype.kind == "f" else np.dtype(np.uint64 if dtype.kind == "u" else np.int64)


def reduction_examples(rng: np.random.Generator) -> list[Example]:
    """Return inputs and attributes at which the table tests try a reduction."""
    x = rng.normal(size=(2, 3, 4))
    return [
        Example((x,), {"axis": (0, 1, 2), "keepdims": False}),
        Example((x,), {"axis": (1,), "keepdims": False}),
        Example((x,), {"axis": (0, 2), "keepdims": True}),
        Example((np.float64(rng.normal()),), {"axis": (), "keepdims": False}),
    ]


SUM = register(
    "sum",
    shape=shape_rule(accumulator),
    kernel=lambda x, out=None, *, axis, keepdims: _add.reduce(x, axis, out=out, keepdims=keepdims),
    numpy=np.sum,
    vjp=(lambda g, out, x, axis, keepdims: spread(restore(g, x.shape, axis), x.shape),),
    kind=REDUCE,
    notation=Layout("big", "Σ"),
    examples=reduction_examples,
    flops=lambda out, x, **attrs: math.prod(x),
)


@implements(np.sum)
def sum(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False, **more: Any) -> Any:
    """As ``numpy.sum``."""
    a, initial = masked("sum", a, more, 0) if more else (a, None)
    no_more("sum", out, more)
    result = _in_dtype(SUM, a, axis, dtype, keepdims)
    return result if initial is None else result + as_dtype(initial, result.dtype)


def _in_dtype(op: Operation, a: Any, axis: Axis, dtype: Any, keepdims: bool) -> Any:
    """Apply a reduction that computes in `dtype`."""
    a = a if dtype is None else as_dtype(a, dtype)
    result = apply(op, (a,), {"axis": normalize_axis(axis, len(shape_of(a))), "keepdims": bool(keepdims)})
    return result if dtype is None else as_dtype(result, dtype)


def is_given(x: Any) -> bool:
    """Whether an argument of a reduction is given and is not NumPy's default."""
    return x is not None and x is not True and x is not np._NoValue


def masked(name: str, a: Any, more: dict[str, Any], neutral: Any) -> tuple[Any, Any]:
    """Take ``where=`` and ``initial=`` out of `more`: return `a` with `neutral` where it is left out, and the latter.

    Without a neutral element, as for extremes, the initial value takes its place.
    """
    where, initial = more.pop("where", True), more.pop("initial", None)
    initial = initial if is_given(initial) else None
    if is_given(where):
        if neutral is None and initial is None:
            raise ValueError(f"np.{name}(…, where=…) needs initial=: {name} of no elements has no value")
        a = np.where(where, a, as_dtype(initial, a.dtype) if neutral is None else neutral)
    return a, initial


def no_more(name: str, out: Any, more: dict[str, Any]) -> None:
    """Refuse the arguments of a reduction that tensors do not take."""
    if out is None and not more:
        return
    given = [k for k, v in more.items() if v is not np._NoValue and v is not None and not (k == "where" and v is True)]
    if given or out is not None:
        raise TypeError(f"np.{name} on tensors does not take {', '.join(given) or 'out'}{renamed(given)}")


def in_floats(name: str, a: Any, dtype: Any) -> Any:
    """Return `a` in the dtype in which NumPy computes a mean: integers in float64."""
    if dtype is not None and np.dtype(dtype) not in FLOATS:
        raise TypeError(f"np.{name}(…, dtype={np.dtype(dtype)}) on tensors: expected float32 or float64")
    return a if dtype is None and a.dtype.kind == "f" else as_dtype(a, dtype or np.float64)


@implements(np.mean)
def mean(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False, **more: Any) -> Any:
    """As ``numpy.mean``."""
    where = more.pop("where", True) if more else True
    no_more("mean", out, more)
    a = in_floats("mean", a, dtype)
    if is_given(where):
        count = np.sum(np.broadcast_to(where, shape_of(a)), axis=axis, keepdims=bool(keepdims))
        return np.sum(a, axis=axis, keepdims=bool(keepdims), where=where) / as_dtype(count, a.dtype)
    axes = normalize_axis(axis, len(a.shape))
    count = a.size if len(axes) == len(a.shape) else math.prod([a.shape[i] for i in axes])
    if count == 0:
        raise ValueError(f"np.mean of no elements: the array has shape {tuple(a.shape)}, the axes are {axes}")
    return apply(SUM, (a,), {"axis": axes, "keepdims": bool(keepdims)}) / count


def _reducing(op: Operation, neutral: Any, combine: Any, *functions: Any) -> Any:
    """Let a row implement NumPy functions that take an axis, but no dtype."""

    def implementation(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False, **more: Any) -> Any:
        a, initial = masked(op.name, a, more, neutral) if more else (a, None)
        no_more(op.name, out, more)
        result = apply(op, (a,), {"axis": normalize_axis(axis, len(shape_of(a))), "keepdims": bool(keepdims)})
        return result if initial is None else combine(result, as_dtype(initial, result.dtype))

    return implements(*functions)(implementation)


def _ties(out: Any, x: Any, axis: tuple[int, ...]) -> Any:
    return np.sum(np.equal(x, restore(out, x.shape, axis)), axis=axis)


def _extreme(name: str, ufunc: Any, function: Any) -> Operation:
    def kernel(x: Any, out: Any = None, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        return ufunc.reduce(x, axis, out=out, keepdims=keepdims)

    def shape(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> tuple[Shape, np.dtype[Any]]:
        if 0 in [x.shape[i] for i in axis]:
            raise ValueError(f"{name} of no elements: the array has shape {tuple(x.shape)}, the axes are {axis}")
        return reduced_shape(x.shape, axis, keepdims), x.dtype

    def rule(g: Any, out: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
        # ties share the gradient evenly
        hit = as_dtype(np.equal(x, restore(out, x.shape, axis)), x.dtype)
        return hit * (restore(g, x.shape, axis) / np.sum(hit, axis=axis, keepdims=True))

    return register(
        name,
        shape=shape,
        kernel=kernel,
        numpy=function,
        vjp=(rule,),
        kind=REDUCE,
        notation=Layout("big", name),
        at_kink=lambda out, x, axis, keepdims: _ties(out, x, axis) > 1,
        selects=lambda i, out, x, axis, keepdims: (lambda: np.equal(x, restore(out, x.shape, axis)), True),
        examples=reduction_examples,
        flops=lambda out, x, **attrs: math.prod(x),
    )


MAX = _extreme("max", np.maximum, np.max)
MIN = _extreme("min", np.minimum, np.min)


max = _reducing(MAX, None, np.maximum, np.max, np.amax)
min = _reducing(MIN, None, np.minimum, np.min, np.amin)


@implements(np.ptp)
def ptp(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False) -> Any:
    """As ``numpy.ptp``: maximum minus minimum."""
    return np.max(a, axis=axis, keepdims=bool(keepdims)) - np.min(a, axis=axis, keepdims=bool(keepdims))


def _exclusive_product(x: Any, axis: int) -> Any:
    """Return, for each element, the product of all others along `axis`; exact also where elements are zero."""
    n = x.shape[axis]
    if n == 1:
        return x * 0.0 + 1.0

    def ones(length: int) -> Any:
        return np.ones(tuple(length if i == axis else d for i, d in enumerate(x.shape)), dtype=x.dtype)

    # prefix and suffix products by doubling: log2(n) steps of whole-array products
    before = np.concatenate([ones(1), along(x, axis, 0, n - 1)], axis)
    after = np.concatenate([along(x, axis, 1, n), ones(1)], axis)
    step = 1
    while step < n:
        before = before * np.concatenate([ones(step), along(before, axis, 0, n - step)], axis)
        after = after * np.concatenate([along(after, axis, step, n), ones(step)], axis)
        step *= 2
    return before * after


def _prod_rule(g: Any, out: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    shape = tuple(x.shape)
    kept = [i for i in range(len(shape)) if i not in axis]
    order = kept + list(axis)
    flat = np.reshape(np.transpose(x, order), [*(shape[i] for i in kept), math.prod(shape[i] for i in axis)])
    others = _exclusive_product(flat, len(kept)) if flat.shape[-1] else flat
    others = np.transpose(np.reshape(others, [shape[i] for i in order]), np.argsort(order).tolist())
    return restore(g, shape, axis) * others


PROD = register(
    "prod",
    shape=shape_rule(accumulator),
    numpy=np.prod,
    kernel=lambda x, out=None, *, axis, keepdims: _multiply.reduce(x, axis, out=out, keepdims=keepdims),
    vjp=(_prod_rule,),
    kind=REDUCE,
    notation=Layout("big", "Π"),
    examples=reduction_examples,
    flops=lambda out, x, **attrs: math.prod(x),
)


@implements(np.prod)
def prod(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False, **more: Any) -> Any:
    """As ``numpy.prod``; the derivative is exact also where factors are zero."""
    a, initial = masked("prod", a, more, 1) if more else (a, None)
    no_more("prod", out, more)
    result = _in_dtype(PROD, a, axis, dtype, keepdims)
    return result if initial is None else result * as_dtype(initial, result.dtype)


def _arg(name: str, function: Any) -> Any:
    def kernel(x: Any, out: Any = None, *, axis: int, keepdims: bool) -> Any:
        return function(x, axis=axis, out=out, keepdims=keepdims)

    op = register(
        name,
        shape=lambda x, axis, keepdims: (reduced_shape(x.shape, (axis,), keepdims), np.dtype(np.intp)),
        kernel=kernel,
        numpy=function,
        vjp=(None,),
        differentiable=False,
        examples=lambda rng: [Example((rng.normal(size=(3, 4)),), {"axis": 1, "keepdims": False})],
    )

    def implementation(a: Any, axis: int | None = None, out: None = None, *, keepdims: bool = False) -> Any:
        flat, along_axis = one_axis(a, axis)
        result = apply(op, (flat,), {"axis": along_axis, "keepdims": bool(keepdims)})
        return np.reshape(result, (1,) * len(shape_of(a))) if keepdims and axis is None else result

    return implements(function)(implementation)


argmax = _arg("argmax", np.argmax)
argmin = _arg("argmin", np.argmin)


def _truth(name: str, ufunc: Any, function: Any, neutral: bool) -> Any:
    op = register(
        name,
        shape=shape_rule(lambda dtype: np.dtype(bool)),
        kernel=lambda x, out=None, *, axis, keepdims: ufunc.reduce(x, axis, bool, out=out, keepdims=keepdims),
        numpy=function,
        vjp=(None,),
        kind=REDUCE,
        differentiable=False,
        examples=reduction_examples,
    )
    return _reducing(op, neutral, ufunc, function)


all = _truth("all", np.logical_and, np.all, True)
any = _truth("any", np.logical_or, np.any, False)


@implements(np.count_nonzero)
def count_nonzero(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """As ``numpy.count_nonzero``."""
    return np.sum(np.not_equal(a, 0), axis=axis, keepdims=keepdims)


@implements(np.nansum)
def nansum(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False, **more: Any) -> Any:
    """As ``numpy.nansum``: a NaN counts as 0."""
    return sum(nan_as(0.0, a), axis, dtype, out, keepdims, **more)


def nan_as(number: float, a: Any) -> Any:
    """Return `a` with a number in place of NaN; integers are returned as they are."""
    return np.where(np.isnan(a), number, a) if a.dtype.kind == "f" else a


def _without_nan(function: Any, least: float) -> Any:
    def implementation(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False, **more: Any) -> Any:
        result = FUNCTIONS[function](nan_as(least, a), axis, out, keepdims, **more)
        if a.dtype.kind != "f" or "initial" in more:
            return result
        among = {"where": more["where"]} if "where" in more else {}
        nothing = np.all(np.isnan(a), axis=axis, keepdims=keepdims, **among)  # NumPy's result is NaN, with a warning
        return np.where(nothing, np.nan, result)

    return implementation


FUNCTIONS[np.nanmax] = _without_nan(np.max, -math.inf)
FUNCTIONS[np.nanmin] = _without_nan(np.min, math.inf)
