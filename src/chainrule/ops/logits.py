"""Log-sum-exp, softmax and the cross entropy on logits: stable over all of float range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.keywords import translates
from ..core.node import FUNCTIONS
from ..core.op import Example, Shape, register
from ..core.tensor import Tensor
from .reduce import Axis, normalize_axis, reduced_shape, reduction_examples, restore, shape_rule
from .table import array_of, as_dtype, floating, shape_of


def _logsumexp_expand(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    """Logarithm of the sum of e^x, without overflow."""
    top = np.max(x, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, x.dtype.type(0))  # all -inf, or +inf: shift by nothing
    total = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return total if keepdims else np.reshape(total, reduced_shape(tuple(x.shape), axis, False))


def _logsumexp_rule(g: Any, out: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    nothing = np.equal(restore(out, x.shape, axis), -math.inf)  # all are -inf: the derivative is 0
    return np.where(nothing, 0.0, restore(g, x.shape, axis)) * softmax(np.where(nothing, 0.0, x), axis)


LOGSUMEXP = register(
    "logsumexp",
    shape=shape_rule(),
    expand=_logsumexp_expand,
    vjp=(_logsumexp_rule,),
    examples=reduction_examples,
    flops=lambda out, x, **attrs: 4 * math.prod(x),
)


@translates
def logsumexp(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return log(sum(exp(a))), without overflow.

    Parameters
    ----------
    a : tensor or array of float32 or float64
    axis : int, tuple of int or None
        The axes to reduce; None for all.
    keepdims : bool
        Keep the reduced axes with length 1.

    Examples
    --------
    >>> logsumexp(np.array([1000.0, 1000.0])).round(4)
    np.float64(1000.6931)
    """
    a = floating(a)
    return apply(LOGSUMEXP, (a,), {"axis": normalize_axis(axis, len(shape_of(a))), "keepdims": bool(keepdims)})


def _softmax_expand(x: Any, *, axis: tuple[int, ...]) -> Any:
    """e^x over the sum of e^x, without overflow."""
    e = np.exp(x - np.maximum.reduce(x, axis=axis, keepdims=True))
    return e / np.add.reduce(e, axis=axis, keepdims=True)


SOFTMAX = register(
    "softmax",
    shape=lambda x, axis: (x.shape, x.dtype),
    expand=_softmax_expand,
    vjp=(lambda g, out, x, axis: out * (g - np.sum(g * out, axis=axis, keepdims=True)),),
    examples=lambda rng: [
        Example((rng.normal(size=(3, 4)),), {"axis": (1,)}),
        Example((rng.normal(size=(3, 4)),), {"axis": (0, 1)}),
    ],
    flops=lambda out, x, **attrs: 4 * math.prod(x),
)


@translates
def softmax(x: Any, axis: int | tuple[int, ...] = -1) -> Any:
    """Return exp(x) / sum(exp(x)) along `axis`, without overflow.

    Examples
    --------
    >>> softmax(np.array([[0.0, 1.0], [1000.0, 1000.0]])).round(4)
    array([[0.2689, 0.7311],
           [0.5   , 0.5   ]])
    """
    x = floating(x)
    return apply(SOFTMAX, (x,), {"axis": normalize_axis(axis, len(shape_of(x)))})


@translates
def log_softmax(x: Any, axis: int | tuple[int, ...] = -1) -> Any:
    """Return log(softmax(x)) along `axis`, without overflow or cancellation.

    Examples
    --------
    >>> log_softmax(np.array([0.0, 1000.0]))
    array([-1000.,     0.])
    """
    shifted = x - FUNCTIONS["stop_gradient"](np.max(x, axis=axis, keepdims=True))
    return shifted - logsumexp(shifted, axis=axis, keepdims=True)


def _cross_entropy_expand(z: Any, t: Any) -> Any:
    """-sum of t log softmax(x), without overflow."""
    # log-sum-exp and t·z around the largest logit, where they don't cancel
    top = np.maximum.reduce(z, axis=-1, keepdims=True)
    shifted = z - top
    likely = np.where(np.equal(t, 0.0), 0.0, t * shifted)  # also where a class is excluded by the logit -inf
    loss = np.log(np.add.reduce(np.exp(shifted), axis=-1)) - np.add.reduce(likely, axis=-1)
    if isinstance(t, Tensor) and t.op is ONE_HOT:
        return loss  # its rows sum to one (or are NaN): the term below is zero
    return loss + top.reshape(top.shape[:-1]) * (1.0 - np.add.reduce(t, axis=-1))


def _cross_entropy_shape(z: Any, t: Any) -> tuple[Shape, np.dtype[Any]]:
    if tuple(z.shape) != tuple(t.shape) or not z.shape:
        raise ValueError(
            f"cross_entropy: logits have shape {tuple(z.shape)}, targets {tuple(t.shape)}; they must be equal"
        )
    return tuple(z.shape[:-1]), z.dtype


CROSS_ENTROPY = register(
    "cross_entropy_with_logits",
    shape=_cross_entropy_shape,
    expand=_cross_entropy_expand,
    vjp=(
        lambda g, out, z, t: g.reshape(*g.shape, 1) * (apply(SOFTMAX, (z,), {"axis": (len(z.shape) - 1,)}) - t),
        lambda g, out, z, t: -g.reshape(*g.shape, 1) * z,
    ),
    notation="cross_entropy",
    batch=lambda batched, z, t: cross_entropy_with_logits(*np.broadcast_arrays(z, t)),
    examples=lambda rng: [
        Example((rng.normal(size=(3, 4)), rng.dirichlet(np.ones(4), size=3))),
        Example((rng.normal(size=4), np.array([0.0, 1.0, 0.0, 0.0]))),
    ],
    flops=lambda out, z, t, **attrs: 6 * math.prod(z),
    source="-sum(t log softmax(z)) = logsumexp(z) - t·z for targets that sum to one",
)


def cross_entropy_with_logits(logits: Any, targets: Any) -> Any:
    """Return -sum(targets · log softmax(logits)) along the last axis, one entry per example; targets sum to one.

    Examples
    --------
    >>> cross_entropy_with_logits(np.array([[0.0, 0.0]]), np.array([[1.0, 0.0]])).round(4)
    array([0.6931])
    """
    return apply(CROSS_ENTROPY, (logits, as_dtype(targets, logits.dtype)), {})


def _one_hot_kernel(ids: Any, out: Any = None, *, classes: int, dtype: Any) -> Any:
    if out is None:
        out = np.empty((*ids.shape, classes), dtype)
    np.equal(np.arange(classes), ids[..., None], out=out, casting="unsafe")
    if out.dtype.kind == "f":  # an id out of range is not noticed when values are not known beforehand
        out[(ids < 0) | (ids >= classes)] = np.nan
    return out


ONE_HOT = register(
    "one_hot",
    shape=lambda ids, classes, dtype: ((*ids.shape, classes), np.dtype(dtype)),
    kernel=_one_hot_kernel,
    numpy="np.eye({classes})[{0}]",
    batch=lambda batched, ids, **attrs: _one_hot_batch(ids, attrs),
    vjp=(None,),
    differentiable=False,
    notation="onehot",
    examples=lambda rng: [Example((np.array([0, 2, 1]),), {"classes": 3, "dtype": np.dtype(np.float64)})],
)


def _one_hot_batch(ids: Any, attrs: dict[str, Any]) -> Any:
    return apply(ONE_HOT, (ids,), attrs)


@translates
def one_hot(ids: Any, classes: int, dtype: Any = np.float32) -> Any:
    """Return, for each class id, a row of zeros with a one at that position; shape (…, classes).

    Ids outside 0 … classes - 1 raise a ValueError. In a compiled function their values are not known when it is
    traced; there they give rows of NaN.

    Examples
    --------
    >>> one_hot([0, 2], classes=3)
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    ids = array_of(ids)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"ids: expected integers, got {ids.dtype}")
    known = ids.value if isinstance(ids, Tensor) else ids
    if known is not None and known.size and not (0 <= known.min() and known.max() < classes):
        reach = f"{known.min()} … {known.max()}"
        raise ValueError(f"ids: expected 0 … {classes - 1} for {classes} classes, got {reach}")
    return apply(ONE_HOT, (ids,), {"classes": int(classes), "dtype": np.dtype(dtype)})
