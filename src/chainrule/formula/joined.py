"""Rules for arrays side by side and rows in groups: gates, heads, and the steps of a sequence.

A network multiplies the rows of all steps at once. What comes out is read as one product for each step, and gradients
of parts, each placed into zeros, as the array that they form together.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from ..core.op import Shape
from ..ops.index import PLACE, SLICE
from .expression import Batch, Expression, frozen, is_number, make, number, plus, times
from .parts import Pick, groups_of, placed_at, span, taken, whole
from .rows import ADD, BROADCAST, CONCATENATE, MATMUL, MULTIPLY, NEGATIVE, RESHAPE, SUBTRACT, SUM, TRANSPOSE

# -- changes of shape --------------------------------------------------------------------------------------------------


def regrouped(e: Expression) -> Expression | None:
    """A product of rows that are grouped before and after: reshape(reshape(X) W + b) = X W + b."""
    if e.op is not RESHAPE or e.inputs[0].op not in (ADD, MATMUL) or len(e.shape) < 2:
        return None
    whole = _restored(e.inputs[0], e.shape, e["shape"])
    if whole is not None or len(e.shape) < 4 or any(isinstance(n, Batch) for n in e["shape"][2:]):
        return whole
    width = math.prod(e.shape[2:])  # the last axis is cut, too, as into heads
    rows = _restored(e.inputs[0], (*e.shape[:2], width), (*e["shape"][:2], width))
    return None if rows is None else Expression(RESHAPE, (rows,), e.attrs, e.shape, e.kind)


def _restored(x: Expression, shape: Shape, lengths: Sequence[Any]) -> Expression | None:
    """Return x with its rows regrouped, if that undoes a change of shape within."""
    counted = [n for n, length in zip(shape, lengths, strict=True) if isinstance(length, Batch)]
    if x.op is RESHAPE and x.inputs[0].shape == shape and all(shape.count(n) == 1 for n in counted):
        return x.inputs[0]
    if x.op is MATMUL and len(x.inputs[1].shape) == 2 and x.shape[-1] == shape[-1]:
        a, b = x.inputs
        left = _restored(a, (*shape[:-1], a.shape[-1]), (*lengths[:-1], a.shape[-1]))
        return None if left is None else make(MATMUL, left, b)
    if x.op is ADD and x.shape[-1] == shape[-1]:
        terms = [y if y.shape in ((), shape[-1:]) else _restored(y, shape, lengths) for y in x.inputs]
        known = [t for t in terms if t is not None]
        return plus(*known) if len(known) == 2 else None
    return None


def reshaped_twice(e: Expression) -> Expression | None:
    """A change of shape of another one is one change of shape."""
    if e.op is not RESHAPE or e.inputs[0].op is not RESHAPE:
        return None
    return Expression(RESHAPE, e.inputs[0].inputs, e.attrs, e.shape, e.kind)


def turned_ones(e: Expression) -> Expression | None:
    """Axes of length 1 move by a change of shape; a transpose is for the others."""
    if e.op is not TRANSPOSE or e.inputs[0].op is not RESHAPE or not e.inputs[0].moves_ones:
        return None
    inner = e.inputs[0]
    x = inner.inputs[0]
    long = [a for a in e["axes"] if inner.shape[a] != 1]
    lengths = tuple(inner["shape"][a] for a in e["axes"])
    if long != sorted(long):
        if 1 in x.shape:
            return None
        x = make(TRANSPOSE, x, axes=tuple(sorted(long).index(a) for a in long))
    return x if x.shape == e.shape else Expression(RESHAPE, (x,), frozen({"shape": lengths}), e.shape, e.kind)


def turned_parts(e: Expression) -> Expression | None:
    """The transpose of arrays side by side: the transposes side by side."""
    if e.op is not TRANSPOSE or e.inputs[0].op is not CONCATENATE:
        return None
    inner, axes, n = e.inputs[0], e["axes"], len(e["axes"])
    swap = (*range(n - 2), n - 1, n - 2)
    if axes == swap:
        return None
    if axes[-1] == inner["axis"] != n - 1:
        return make(TRANSPOSE, make(TRANSPOSE, inner, axes=(*axes[:-2], axes[-1], axes[-2])), axes=swap)
    turned = [make(TRANSPOSE, x, axes=axes) for x in inner.inputs]
    return make(CONCATENATE, *turned, axis=axes.index(inner["axis"]))


def joined_rows(e: Expression) -> Expression | None:
    """Arrays side by side in groups of axes that become one: the arrays, each in this shape, side by side."""
    if e.op is not RESHAPE or e.inputs[0].op is not CONCATENATE or e.moves_ones:
        return None
    inner = e.inputs[0]
    for old, new in groups_of(inner.shape, e.shape):
        if old[:1] == [inner["axis"]] and len(new) == 1 and not isinstance(e["shape"][new[0]], Batch):
            size = math.prod(inner.shape[i] for i in old[1:])
            widths = [x.shape[inner["axis"]] * size for x in inner.inputs]
            parts = [_widened(x, e, new[0], width) for x, width in zip(inner.inputs, widths, strict=True)]
            return make(CONCATENATE, *parts, axis=new[0])
    return None


def _widened(x: Expression, like: Expression, axis: int, width: int) -> Expression:
    """Return x in the shape of another change of shape, but for one axis."""
    lengths, shape = list(like["shape"]), list(like.shape)
    lengths[axis] = shape[axis] = width
    x = x.inputs[0] if x.op is RESHAPE else x
    return Expression(RESHAPE, (x,), frozen({"shape": tuple(lengths)}), tuple(shape), x.kind)


# -- values side by side -----------------------------------------------------------------------------------------------


def side_by_side(e: Expression) -> Expression | None:
    """A sum of values placed next to each other, so that they fill an axis, is the array [a, b, …] of them."""
    if e.op not in (ADD, SUBTRACT):
        return None
    parts = _placed_terms(e, 1.0)
    if parts is None or any(x.shape != e.shape for _, _, x in parts):
        return None
    picks = [placed_at(x) for _, _, x in parts]
    known = [p for p in picks if p is not None]
    axes = {k for p in known for k, n in enumerate(e.shape) if not whole(p[k], n)}
    if len(known) < len(picks) or len(axes) != 1:
        return None
    (axis,) = axes
    spans = [span(p[axis]) for p in known]
    order = sorted(range(len(spans)), key=lambda k: spans[k].start)
    ends = [0, *(spans[k].stop for k in order)]
    if [spans[k].start for k in order] != ends[:-1] or ends[-1] != e.shape[axis]:
        return None
    values = [_as_part(parts[k], known[k], axis) for k in order]
    return make(CONCATENATE, *values, axis=axis)


def _placed_terms(e: Expression, sign: float) -> list[tuple[float, int, Expression]] | None:
    """Return the terms of a sum of placed values, each with its factor; None if another is among them."""
    if e.op in (ADD, SUBTRACT):
        left = _placed_terms(e.inputs[0], sign)
        right = _placed_terms(e.inputs[1], sign if e.op is ADD else -sign)
        return None if left is None or right is None else left + right
    if e.op is NEGATIVE:
        return _placed_terms(e.inputs[0], -sign)
    if e.op is MULTIPLY and is_number(e.inputs[0]) and e.inputs[1].op is PLACE:
        return [(sign * e.inputs[0]["value"], e.inputs[0]["batch"], e.inputs[1])]
    return [(sign, 0, e)] if e.op is PLACE else None


def _as_part(term: tuple[float, int, Expression], picks: Sequence[Pick], axis: int) -> Expression:
    value, batch, placed = term
    x = placed.inputs[0]
    if isinstance(picks[axis], int):
        lengths = list(placed["shape"])
        lengths[axis] = 1
        shape = (*x.shape[:axis], 1, *x.shape[axis:])
        x = Expression(RESHAPE, (x,), frozen({"shape": tuple(lengths)}), shape, x.kind)
    return times(number(value, batch), x)


# -- sums over the steps -----------------------------------------------------------------------------------------------


def sum_of_rows(e: Expression) -> Expression | None:
    """A sum over grouped rows is a sum over both axes, and over the steps side by side a sum of sums."""
    if e.op is not SUM or e["keepdims"]:
        return None
    x, axes = e.inputs[0], e["axis"]
    if axes == (0,) and len(x.shape) == 2 and (first := next((y for y in x.walk() if y.op is RESHAPE), None)):
        grouped = _grouped(x, first.inputs[0].shape[:2])
        return None if grouped is None else make(SUM, grouped, axis=(0, 1), keepdims=False)
    if x.op is CONCATENATE and x["axis"] in axes and all(_single_step(p, x["axis"]) for p in x.inputs):
        left = tuple(a - (a > x["axis"]) for a in axes if a != x["axis"])
        steps = [make(SUM, p.inputs[0], axis=left, keepdims=False) if left else p.inputs[0] for p in x.inputs]
        return functools.reduce(plus, steps[::-1])
    return None


def product_of_rows(e: Expression) -> Expression | None:
    """XᵀG for the rows of all steps is Σᵢ XᵢᵀGᵢ over their groups, and Σₜ X[t]ᵀG[t] where G is a gradient per step."""
    if e.op is not MATMUL or len(e.shape) != 2 or e.inputs[0].op is not TRANSPOSE:
        return None
    left, right = e.inputs[0].inputs[0], e.inputs[1]
    cut = next((x for x in (left, right) if x.op is RESHAPE and _two_in_one(x.inputs[0].shape, x.shape)), None)
    if cut is None:
        return None
    a, g = (_grouped(x, cut.inputs[0].shape[:2]) for x in (left, right))
    if a is None or g is None:
        return None
    if g.op is CONCATENATE and g["axis"] == 0 and all(_single_step(p, 0) for p in g.inputs):
        rows = [taken(a, [k, range(a.shape[1]), range(a.shape[2])]) for k in range(a.shape[0])]
        terms = [
            make(MATMUL, make(TRANSPOSE, x, axes=(1, 0)), p.inputs[0]) for x, p in zip(rows, g.inputs, strict=True)
        ]
        return functools.reduce(plus, terms[::-1])
    return make(SUM, make(MATMUL, make(TRANSPOSE, a, axes=(0, 2, 1)), g), axis=(0,), keepdims=False)


def _grouped(x: Expression, groups: Shape) -> Expression | None:
    """Return an array of rows with the rows in groups, from before they were put together."""
    shape = (*groups, x.shape[-1])
    if x.op is CONCATENATE and x["axis"] == 1:
        parts = [_grouped(p, groups) for p in x.inputs]
        known = [p for p in parts if p is not None]
        return make(CONCATENATE, *known, axis=2) if len(known) == len(parts) else None
    if x.op is not RESHAPE or len(groups) != 2 or x.inputs[0].shape[:2] != groups:
        return None
    inner, rows = x.inputs[0], x["shape"][0]
    if inner.shape == shape:
        return inner
    lengths: tuple[Any, ...] = groups
    if isinstance(rows, Batch):
        if groups[0] == groups[1] or rows.times not in groups:
            return None
        lengths = tuple(n if n == rows.times else Batch(1) for n in groups)
    attrs = frozen({"shape": (*lengths, shape[-1])})
    return Expression(RESHAPE, (inner,), attrs, shape, x.kind)


def _two_in_one(before: Shape, after: Shape) -> bool:
    return len(before) == 3 and after == (before[0] * before[1], before[2])


def _single_step(part: Expression, axis: int) -> bool:
    """Whether it is a value with an axis of length 1 added: one step beside others."""
    x = part.inputs[0] if part.op is RESHAPE and part.moves_ones else None
    return x is not None and part.shape == (*x.shape[:axis], 1, *x.shape[axis:])


# -- zeros -------------------------------------------------------------------------------------------------------------


def nothing(e: Expression) -> Expression | None:
    """A + 0 B = A, also where 0 is an array."""
    if e.op not in (ADD, SUBTRACT):
        return None
    a, b = e.inputs
    if _zero(b) and a.shape == e.shape:
        return a
    if _zero(a) and b.shape == e.shape:
        return b if e.op is ADD else make(NEGATIVE, b)
    if e.op is ADD and a.op is MATMUL and len(a.shape) == 2 and a.shape == e.shape and a.inputs[0].op is BROADCAST:
        if _zero(a.inputs[0]):
            attrs = frozen({"shape": (a.inputs[0]["shape"][0], a.shape[1])})
            return Expression(BROADCAST, (b,), attrs, e.shape, e.kind)
    return None


def _zero(e: Expression) -> bool:
    if e.op in (MATMUL, MULTIPLY):
        return any(_zero(x) for x in e.inputs)
    return is_number(e, 0.0) or (e.op in (BROADCAST, RESHAPE, TRANSPOSE, SUM, SLICE, NEGATIVE) and _zero(e.inputs[0]))
