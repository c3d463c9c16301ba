"""Reductions: sum, mean, extremes, products, spreads, log-sum-exp, cumulative sums."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ..op import OTHER, REDUCE, Example, Operation, Shape
from ..tensor import FUNCTIONS, Tensor, apply
from .table import as_dtype, implements, is_tensor, register, shape_of

Axis = int | tuple[int, ...] | None


def normalize_axis(axis: Axis, ndim: int, name: str = "axis") -> tuple[int, ...]:
    """Return `axis` as a sorted tuple of non-negative axes; None means all."""
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple | list) else (axis,)
    out = []
    for a in given:
        a = operator.index(a)
        if not -ndim <= a < ndim:
            raise np.exceptions.AxisError(a, ndim)
        out.append(a % ndim)
    if len(set(out)) != len(out):
        raise ValueError(f"{name} {axis} names an axis twice")
    return tuple(sorted(out))


def reduced_shape(shape: Shape, axis: tuple[int, ...], keepdims: bool) -> Shape:
    """Return `shape` after a reduction over `axis`."""
    if keepdims:
        return tuple(1 if i in axis else d for i, d in enumerate(shape))
    return tuple(d for i, d in enumerate(shape) if i not in axis)


def restore(x: Any, shape: Shape, axis: tuple[int, ...]) -> Any:
    """Put the reduced axes back, each of length 1, so that `x` broadcasts against the reduction's input."""
    return np.reshape(x, reduced_shape(shape, axis, True))


def _shape_rule(dtype: Any = None) -> Any:
    def shape(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> tuple[Shape, np.dtype[Any]]:
        kind = dtype(x.dtype) if dtype else x.dtype
        return reduced_shape(x.shape, axis, keepdims), np.dtype(kind)

    return shape


def _accumulator(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Integers and booleans add up as int64, as in NumPy."""
    return dtype if dtype.kind == "f" else np.dtype(np.uint64 if dtype.kind == "u" else np.int64)


def _examples(rng: np.random.Generator) -> list[Example]:
    x = rng.normal(size=(2, 3, 4))
    return [
        Example((x,), {"axis": (0, 1, 2), "keepdims": False}),
        Example((x,), {"axis": (1,), "keepdims": False}),
        Example((x,), {"axis": (0, 2), "keepdims": True}),
        Example((np.float64(rng.normal()),), {"axis": (), "keepdims": False}),
    ]


def _sum_kernel(x: Any, out: Any = None, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    return np.add.reduce(x, axis, None, out, keepdims)


SUM = register(
    Operation(
        "sum",
        shape=_shape_rule(_accumulator),
        kernel=_sum_kernel,
        vjp=(lambda g, out, x, axis, keepdims: np.broadcast_to(restore(g, x.shape, axis), x.shape),),
        kind=REDUCE,
        latex=lambda x, axis, keepdims: r"\sum " + x,
        precedence=1,
        examples=_examples,
        flops=lambda out, x, **attrs: math.prod(x),
    )
)


@implements(np.sum, (np.add, "reduce"))
def sum(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False, **more: Any) -> Any:
    """As ``numpy.sum``."""
    _no_more("sum", out, more)
    a = a if dtype is None else as_dtype(a, dtype)
    return apply(SUM, (a,), {"axis": normalize_axis(axis, len(shape_of(a))), "keepdims": bool(keepdims)})


def _no_more(name: str, out: Any, more: dict[str, Any]) -> None:
    given = [k for k, v in more.items() if v is not np._NoValue and v is not None and not (k == "where" and v is True)]
    if given or out is not None:
        raise TypeError(f"np.{name} on tensors does not take {', '.join(given) or 'out'}")


@implements(np.mean)
def mean(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False, **more: Any) -> Any:
    """As ``numpy.mean``."""
    _no_more("mean", out, more)
    if dtype is not None or a.dtype.kind != "f":
        a = as_dtype(a, dtype or np.float64)
    axes = normalize_axis(axis, len(shape_of(a)))
    count = math.prod(a.shape[i] for i in axes)
    if count == 0:
        raise ValueError(f"np.mean of no elements: the array has shape {tuple(a.shape)}, the axes are {axes}")
    return sum(a, axes, keepdims=keepdims) / count


def _extreme(name: str, ufunc: np.ufunc, latex: str) -> Operation:
    def kernel(x: Any, out: Any = None, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        return ufunc.reduce(x, axis, None, out, keepdims)

    def shape(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> tuple[Shape, np.dtype[Any]]:
        if 0 in [x.shape[i] for i in axis]:
            raise ValueError(f"{name} of no elements: the array has shape {tuple(x.shape)}, the axes are {axis}")
        return reduced_shape(x.shape, axis, keepdims), x.dtype

    def rule(g: Any, out: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
        # ties share the gradient evenly
        hit = as_dtype(np.equal(x, restore(out, x.shape, axis)), x.dtype)
        return hit * (restore(g, x.shape, axis) / np.sum(hit, axis=axis, keepdims=True))

    return register(
        Operation(
            name,
            shape=shape,
            kernel=kernel,
            vjp=(rule,),
            kind=REDUCE,
            latex=lambda x, axis, keepdims: latex + " " + x,
            precedence=2,
            examples=_examples,
            flops=lambda out, x, **attrs: math.prod(x),
        )
    )


MAX = _extreme("max", np.maximum, r"\max")
MIN = _extreme("min", np.minimum, r"\min")


@implements(np.max, np.amax, (np.maximum, "reduce"))
def max(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False, **more: Any) -> Any:
    """As ``numpy.max``; ties share the gradient evenly."""
    _no_more("max", out, more)
    return apply(MAX, (a,), {"axis": normalize_axis(axis, len(shape_of(a))), "keepdims": bool(keepdims)})


@implements(np.min, np.amin, (np.minimum, "reduce"))
def min(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False, **more: Any) -> Any:
    """As ``numpy.min``; ties share the gradient evenly."""
    _no_more("min", out, more)
    return apply(MIN, (a,), {"axis": normalize_axis(axis, len(shape_of(a))), "keepdims": bool(keepdims)})


@implements(np.ptp)
def ptp(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False) -> Any:
    """As ``numpy.ptp``: maximum minus minimum."""
    return np.max(a, axis=axis, keepdims=bool(keepdims)) - np.min(a, axis=axis, keepdims=bool(keepdims))


def _exclusive_product(x: Any, axis: int) -> Any:
    """Return, for each element, the product of all others along `axis`; exact also where elements are zero."""
    n = x.shape[axis]
    ones = np.ones(tuple(1 if i == axis else d for i, d in enumerate(x.shape)), dtype=x.dtype)
    if n == 1:
        return x * 0.0 + 1.0

    def part(start: int, stop: int) -> Any:
        index = (slice(None),) * axis + (slice(start, stop),)
        return x[index]

    # prefix and suffix products by doubling: log2(n) steps of whole-array products
    before = np.concatenate([ones, part(0, n - 1)], axis)
    after = np.concatenate([part(1, n), ones], axis)
    step = 1
    while step < n:
        pad = np.ones(tuple(step if i == axis else d for i, d in enumerate(x.shape)), dtype=x.dtype)
        head = (slice(None),) * axis + (slice(0, n - step),)
        tail = (slice(None),) * axis + (slice(step, n),)
        before = before * np.concatenate([pad, before[head]], axis)
        after = after * np.concatenate([after[tail], pad], axis)
        step *= 2
    return before * after


def _prod_rule(g: Any, out: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    shape = tuple(x.shape)
    kept = [i for i in range(len(shape)) if i not in axis]
    order = kept + list(axis)
    flat = np.reshape(np.transpose(x, order), [shape[i] for i in kept] + [-1 if 0 not in shape else math.prod(shape[i] for i in axis)])
    others = _exclusive_product(flat, len(kept)) if flat.shape[-1] else flat
    others = np.transpose(np.reshape(others, [shape[i] for i in order]), np.argsort(order).tolist())
    return restore(g, shape, axis) * others


PROD = register(
    Operation(
        "prod",
        shape=_shape_rule(_accumulator),
        kernel=lambda x, out=None, *, axis, keepdims: np.multiply.reduce(x, axis, None, out, keepdims),
        vjp=(_prod_rule,),
        kind=REDUCE,
        latex=lambda x, axis, keepdims: r"\prod " + x,
        precedence=1,
        examples=_examples,
        flops=lambda out, x, **attrs: math.prod(x),
    )
)


@implements(np.prod, (np.multiply, "reduce"))
def prod(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False, **more: Any) -> Any:
    """As ``numpy.prod``; the derivative is exact also where factors are zero."""
    _no_more("prod", out, more)
    a = a if dtype is None else as_dtype(a, dtype)
    return apply(PROD, (a,), {"axis": normalize_axis(axis, len(shape_of(a))), "keepdims": bool(keepdims)})


@implements(np.var)
def var(
    a: Any, axis: Axis = None, dtype: Any = None, out: None = None, ddof: float = 0, keepdims: bool = False, **more: Any
) -> Any:
    """As ``numpy.var``: the mean squared deviation, over (count - ddof)."""
    ddof = more.pop("correction", None) or ddof
    _no_more("var", out, more)
    if dtype is not None or a.dtype.kind != "f":
        a = as_dtype(a, dtype or np.float64)
    axes = normalize_axis(axis, len(shape_of(a)))
    count = math.prod(a.shape[i] for i in axes) - ddof
    return np.sum(np.square(a - np.mean(a, axis=axes, keepdims=True)), axis=axes, keepdims=keepdims) / count


@implements(np.std)
def std(
    a: Any, axis: Axis = None, dtype: Any = None, out: None = None, ddof: float = 0, keepdims: bool = False, **more: Any
) -> Any:
    """As ``numpy.std``: the root of `var`."""
    return np.sqrt(var(a, axis, dtype, out, ddof, keepdims, **more))


@implements(np.average)
def average(a: Any, axis: Axis = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False) -> Any:
    """As ``numpy.average``."""
    if weights is None:
        result, total = np.mean(a, axis=axis, keepdims=keepdims), None
    else:
        if shape_of(weights) != shape_of(a):
            if not isinstance(axis, int) or len(shape_of(weights)) != 1:
                raise ValueError(f"weights have shape {shape_of(weights)}, a has {shape_of(a)}; give one axis and as many weights")
            weights = np.reshape(weights, [-1 if i == axis % len(shape_of(a)) else 1 for i in range(len(shape_of(a)))])
            weights = np.broadcast_to(weights, shape_of(a))
        total = np.sum(weights, axis=axis, keepdims=keepdims)
        result = np.sum(a * weights, axis=axis, keepdims=keepdims) / total
    if returned:
        raise TypeError("np.average(…, returned=True) on tensors: sum the weights instead")
    return result


def _logsumexp_expand(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    top = np.max(x, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, x.dtype.type(0))  # all -inf, or +inf: shift by nothing
    total = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return total if keepdims else np.reshape(total, reduced_shape(tuple(x.shape), axis, False))


LOGSUMEXP = register(
    Operation(
        "logsumexp",
        shape=_shape_rule(),
        expand=_logsumexp_expand,
        vjp=(lambda g, out, x, axis, keepdims: restore(g, x.shape, axis) * softmax(x, axis),),
        kind=OTHER,
        latex=lambda x, axis, keepdims: r"\log \sum e^{" + x + "}",
        precedence=2,
        examples=_examples,
        flops=lambda out, x, **attrs: 4 * math.prod(x),
    )
)


def logsumexp(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return log(sum(exp(a))), without overflow.

    Parameters
    ----------
    a : tensor or array of float32 or float64
    axis : int, tuple of int or None
        The axes to reduce; None for all.
    keepdims : bool
        Keep the reduced axes with length 1.
    """
    a = a if is_tensor(a) else np.asarray(a)
    a = a if a.dtype.kind == "f" else as_dtype(a, np.float64)
    return apply(LOGSUMEXP, (a,), {"axis": normalize_axis(axis, len(shape_of(a))), "keepdims": bool(keepdims)})


def _softmax_expand(x: Any, *, axis: tuple[int, ...]) -> Any:
    top = np.max(x, axis=axis, keepdims=True)
    e = np.exp(x - top)
    return e / np.sum(e, axis=axis, keepdims=True)


SOFTMAX = register(
    Operation(
        "softmax",
        shape=lambda x, axis: (x.shape, x.dtype),
        expand=_softmax_expand,
        vjp=(lambda g, out, x, axis: out * (g - np.sum(g * out, axis=axis, keepdims=True)),),
        kind=OTHER,
        latex=r"\operatorname{{softmax}}({0})",
        examples=lambda rng: [
            Example((rng.normal(size=(3, 4)),), {"axis": (1,)}),
            Example((rng.normal(size=(3, 4)),), {"axis": (0, 1)}),
        ],
        flops=lambda out, x, **attrs: 4 * math.prod(x),
    )
)


def softmax(x: Any, axis: int | tuple[int, ...] = -1) -> Any:
    """Return exp(x) / sum(exp(x)) along `axis`, without overflow."""
    x = x if is_tensor(x) else np.asarray(x)
    x = x if x.dtype.kind == "f" else as_dtype(x, np.float64)
    return apply(SOFTMAX, (x,), {"axis": normalize_axis(axis, len(shape_of(x)))})


def log_softmax(x: Any, axis: int | tuple[int, ...] = -1) -> Any:
    """Return log(softmax(x)) along `axis`, without overflow or cancellation."""
    shifted = x - stop_gradient(np.max(x, axis=axis, keepdims=True))
    return shifted - logsumexp(shifted, axis=axis, keepdims=True)


def stop_gradient(x: Any) -> Any:
    """Return `x` as a constant for the derivative."""
    return FUNCTIONS["stop_gradient"](x)


def _cross_entropy_expand(z: Any, t: Any) -> Any:
    # log-sum-exp and t·z around the largest logit, where they don't cancel; the last term is 0 when t sums to one
    top = np.max(z, axis=-1, keepdims=True)
    shifted = z - top
    fit = np.sum(t * shifted, axis=-1)
    return np.log(np.sum(np.exp(shifted), axis=-1)) - fit + np.reshape(top, top.shape[:-1]) * (1.0 - np.sum(t, axis=-1))


def _cross_entropy_shape(z: Any, t: Any) -> tuple[Shape, np.dtype[Any]]:
    if tuple(z.shape) != tuple(t.shape) or not z.shape:
        raise ValueError(f"cross_entropy: logits have shape {tuple(z.shape)}, targets {tuple(t.shape)}; they must be equal")
    return tuple(z.shape[:-1]), z.dtype


CROSS_ENTROPY = register(
    Operation(
        "cross_entropy_with_logits",
        shape=_cross_entropy_shape,
        expand=_cross_entropy_expand,
        vjp=(
            lambda g, out, z, t: np.expand_dims(g, -1) * (softmax(z, -1) - t),
            lambda g, out, z, t: -np.expand_dims(g, -1) * z,
        ),
        kind=OTHER,
        latex=r"\log \sum e^{{{0}}} - {1} \cdot {0}",
        precedence=0,
        examples=lambda rng: [
            Example((rng.normal(size=(3, 4)), rng.dirichlet(np.ones(4), size=3))),
            Example((rng.normal(size=4), np.array([0.0, 1.0, 0.0, 0.0]))),
        ],
        flops=lambda out, z, t, **attrs: 6 * math.prod(z),
        source="-sum(t log softmax(z)) = logsumexp(z) - t·z for targets that sum to one",
    )
)


def cross_entropy_with_logits(logits: Any, targets: Any) -> Any:
    """Return -sum(targets · log softmax(logits)) along the last axis, an entry an example; targets sum to one."""
    return apply(CROSS_ENTROPY, (logits, as_dtype(targets, logits.dtype)), {})


def _one_hot_kernel(ids: Any, out: Any = None, *, classes: int, dtype: Any) -> Any:
    if out is None:
        out = np.empty((*ids.shape, classes), dtype)
    np.equal(np.arange(classes, dtype=ids.dtype), ids[..., None], out=out, casting="unsafe")
    return out


ONE_HOT = register(
    Operation(
        "one_hot",
        shape=lambda ids, classes, dtype: ((*ids.shape, classes), np.dtype(dtype)),
        kernel=_one_hot_kernel,
        vjp=(None,),
        differentiable=False,
        latex=r"\operatorname{{onehot}}({0})",
        examples=lambda rng: [Example((np.array([0, 2, 1]),), {"classes": 3, "dtype": np.dtype(np.float64)})],
    )
)


def one_hot(ids: Any, classes: int, dtype: Any = np.float32) -> Any:
    """Return a row of zeros with a one at each class id; shape (…, classes)."""
    ids = ids if is_tensor(ids) else np.asarray(ids)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"ids has dtype {ids.dtype}; class ids are integers")
    return apply(ONE_HOT, (ids,), {"classes": int(classes), "dtype": np.dtype(dtype)})


def _flip(x: Any, axis: int) -> Any:
    return x[(slice(None),) * axis + (slice(None, None, -1),)]


CUMSUM = register(
    Operation(
        "cumsum",
        shape=lambda x, axis: (x.shape, _accumulator(x.dtype)),
        kernel=lambda x, out=None, *, axis: np.add.accumulate(x, axis, _accumulator(x.dtype), out),
        vjp=(lambda g, out, x, axis: _flip(np.cumsum(_flip(g, axis), axis=axis), axis),),
        latex=r"\operatorname{{cumsum}}({0})",
        examples=lambda rng: [Example((rng.normal(size=(3, 4)),), {"axis": 0}), Example((rng.normal(size=(3, 4)),), {"axis": 1})],
        flops=lambda out, x, **attrs: math.prod(x),
    )
)


@implements(np.cumsum, (np.add, "accumulate"))
def cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    """As ``numpy.cumsum``."""
    _no_more("cumsum", out, {})
    a = a if dtype is None else as_dtype(a, dtype)
    if axis is None:
        a, axis = np.reshape(a, -1), 0
    return apply(CUMSUM, (a,), {"axis": normalize_axis(axis, len(shape_of(a)))[0]})


@implements(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    """As ``numpy.diff``: differences of neighbours, n times."""
    (axis,) = normalize_axis(axis, len(shape_of(a)))
    for _ in range(n):
        a = a[(slice(None),) * axis + (slice(1, None),)] - a[(slice(None),) * axis + (slice(0, -1),)]
    return a


def _arg(name: str, function: Any) -> Any:
    def kernel(x: Any, out: Any = None, *, axis: int, keepdims: bool) -> Any:
        return function(x, axis=axis, out=out, keepdims=keepdims)

    op = register(
        Operation(
            name,
            shape=lambda x, axis, keepdims: (reduced_shape(x.shape, (axis,), keepdims), np.dtype(np.intp)),
            kernel=kernel,
            vjp=(None,),
            differentiable=False,
            latex=r"\operatorname{{" + name + "}}({0})",
            examples=lambda rng: [Example((rng.normal(size=(3, 4)),), {"axis": 1, "keepdims": False})],
        )
    )

    def implementation(a: Any, axis: int | None = None, out: None = None, *, keepdims: bool = False) -> Any:
        if axis is None:
            a, axis = np.reshape(a, -1), 0
        return apply(op, (a,), {"axis": normalize_axis(axis, len(shape_of(a)))[0], "keepdims": bool(keepdims)})

    return implements(function)(implementation)


argmax = _arg("argmax", np.argmax)
argmin = _arg("argmin", np.argmin)


def _truth(name: str, ufunc: np.ufunc, function: Any) -> Any:
    op = register(
        Operation(
            name,
            shape=_shape_rule(lambda dtype: np.dtype(bool)),
            kernel=lambda x, out=None, *, axis, keepdims: ufunc.reduce(x, axis, bool, out, keepdims),
            vjp=(None,),
            kind=REDUCE,
            differentiable=False,
            latex=r"\operatorname{{" + name + "}}({0})",
            examples=_examples,
        )
    )

    def implementation(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False, **more: Any) -> Any:
        _no_more(name, out, more)
        return apply(op, (a,), {"axis": normalize_axis(axis, len(shape_of(a))), "keepdims": bool(keepdims)})

    return implements(function)(implementation)


all = _truth("all", np.logical_and, np.all)
any = _truth("any", np.logical_or, np.any)


@implements(np.count_nonzero)
def count_nonzero(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """As ``numpy.count_nonzero``."""
    return np.sum(np.not_equal(a, 0), axis=axis, keepdims=keepdims)


for _function, _replacement in ((np.nansum, 0.0), (np.nanmax, -math.inf), (np.nanmin, math.inf)):

    def _without_nan(a: Tensor, axis: Axis = None, *, _f: Any = _function, _r: float = _replacement, **more: Any) -> Any:
        base = {np.nansum: np.sum, np.nanmax: np.max, np.nanmin: np.min}[_f]
        return base(np.where(np.isnan(a), _r, a), axis=axis, **more)

    FUNCTIONS[_function] = _without_nan
