"""Rules for parts of arrays: an index of a sum or a product, values placed side by side, steps of a sequence.

Networks compute what all steps of a sequence (or all gates, all heads) have in common by one product, and take parts
of it. A reader wants to see the step: ``X[:, 3] W + b``, not the fourth part of a product of reshaped arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..core.op import ELEMENTWISE, Shape
from ..ops.index import PLACE, SLICE
from .expression import Batch, Expression, Range, frozen, make, number
from .rows import BROADCAST, CONCATENATE, MATMUL, RESHAPE, TRANSPOSE

#: What is taken of one axis: a position, or a range of positions.
Pick = int | range


# -- an index moves inwards --------------------------------------------------------------------------------------------


def index_inside(e: Expression) -> Expression | None:
    """(a + b)[k] = a[k] + b[k], (A B)[k] = A[k] B, and so on for whatever the index leaves its meaning."""
    picks = picks_of(e) if e.op is SLICE else None
    if picks is None:
        return None
    inner = e.inputs[0]
    if all(whole(p, n) for p, n in zip(picks, inner.shape, strict=True)):
        return inner
    if inner.op.kind == ELEMENTWISE and inner.inputs and not inner.op.passes:
        return _remade(inner, [_of_broadcast(x, picks) for x in inner.inputs], e.shape)
    inside = {SLICE: _of_slice, MATMUL: _of_product, TRANSPOSE: _of_transpose, RESHAPE: _of_reshape}
    made = inside[inner.op](inner, picks) if inner.op in inside else None
    if inner.op is CONCATENATE:
        made = _of_joined(inner, picks)
    if inner.op is PLACE:
        made = _of_placed(inner, picks)
    return made if made is not None and made.shape == e.shape else None


def picks_of(e: Expression) -> list[Pick] | None:
    """Return what an index takes of each axis; None where it adds axes or skips elements."""
    index, shape = list(e["index"]), e.inputs[0].shape
    if Ellipsis in index:
        at = index.index(Ellipsis)
        index[at : at + 1] = [Range(None, None, None)] * (len(shape) - len(index) + 1)
    index += [Range(None, None, None)] * (len(shape) - len(index))
    if len(index) != len(shape):
        return None
    found: list[Pick] = []
    for part, n in zip(index, shape, strict=True):
        if type(part) is int:
            found.append(part % n)
        elif isinstance(part, Range) and part.step in (None, 1) and not isinstance(part.start, Batch):
            found.append(range(n) if isinstance(part.stop, Batch) else range(n)[slice(part.start, part.stop)])
        else:
            return None
    return found


def span(pick: Pick) -> range:
    """Return the positions that are taken."""
    return range(pick, pick + 1) if isinstance(pick, int) else pick


def whole(pick: Pick, n: int) -> bool:
    """Whether all of an axis of length n is taken."""
    return isinstance(pick, range) and len(pick) == n


def taken(x: Expression, picks: Sequence[Pick]) -> Expression:
    """Return x[picks]."""
    index: list[Any] = []
    for pick, n in zip(picks, x.shape, strict=True):
        if isinstance(pick, range):
            index.append(slice(None) if len(pick) == n else slice(pick.start, pick.stop))
        else:
            index.append(pick)
    while index and index[-1] == slice(None):
        index.pop()
    return make(SLICE, x, index=tuple(index)) if index else x


def _remade(e: Expression, inputs: Sequence[Expression], shape: Shape) -> Expression | None:
    made = make(e.op, *inputs, **{k: _sliceable(v) for k, v in e.attrs})
    return Expression(e.op, tuple(inputs), e.attrs, made.shape, e.kind) if made.shape == shape else None


def _sliceable(v: Any) -> Any:
    return slice(v.start, v.stop, v.step) if isinstance(v, Range) else v


def _of_broadcast(x: Expression, picks: Sequence[Pick]) -> Expression:
    """Return the part of an operand of an elementwise operation; an axis of length 1 stands for all positions."""
    own = picks[len(picks) - len(x.shape) :]
    parts = [p if n != 1 else (0 if isinstance(p, int) else range(1)) for p, n in zip(own, x.shape, strict=True)]
    return taken(x, parts)


def _of_slice(inner: Expression, picks: Sequence[Pick]) -> Expression | None:
    first = picks_of(inner)
    if first is None:
        return None
    rest = iter(picks)
    return taken(inner.inputs[0], [p if isinstance(p, int) else p[_key(next(rest))] for p in first])


def _key(pick: Pick) -> Any:
    return pick if isinstance(pick, int) else slice(pick.start, pick.stop)


def _of_product(inner: Expression, picks: Sequence[Pick]) -> Expression | None:
    a, b = inner.inputs
    if len(a.shape) < 2 or len(b.shape) < 2 or len(a.shape) != len(inner.shape):
        return None
    *lead, row, column = picks
    shared = len(b.shape) > 2
    if isinstance(column, int) or (isinstance(row, int) and (shared or not any(isinstance(p, range) for p in lead))):
        return None
    if shared and b.shape[:-2] != a.shape[:-2]:
        return None
    left = taken(a, [*lead, row, range(a.shape[-1])])
    right = taken(b, [*(lead if shared else []), range(b.shape[-2]), column])
    return make(MATMUL, left, right)


def _of_transpose(inner: Expression, picks: Sequence[Pick]) -> Expression:
    axes = inner["axes"]
    before: list[Pick] = [picks[axes.index(i)] for i in range(len(axes))]
    kept = [i for i in range(len(axes)) if isinstance(before[i], range)]
    order = tuple(kept.index(a) for a in axes if a in kept)
    part = taken(inner.inputs[0], before)
    return part if order == tuple(range(len(order))) else make(TRANSPOSE, part, axes=order)


def _of_reshape(inner: Expression, picks: Sequence[Pick]) -> Expression | None:
    """Move an index before a change of shape that splits axes, or leaves those alone that it takes parts of."""
    x = inner.inputs[0]
    before: list[Pick] = []
    after: list[Any] = []
    for old, new in groups_of(x.shape, inner.shape):
        own, attributes = [picks[j] for j in new], [inner["shape"][j] for j in new]
        if all(whole(p, inner.shape[j]) for p, j in zip(own, new, strict=True)):
            before += [range(x.shape[i]) for i in old]
            after += attributes
            continue
        long = [k for k, j in enumerate(new) if inner.shape[j] != 1]
        if any(isinstance(inner["shape"][new[k]], Batch) for k in long[1:]):
            return None  # how many positions it goes over depends on the number of examples
        if len(old) != 1 or not long or not all(whole(own[k], inner.shape[new[k]]) for k in long[1:]):
            return None
        first, size = own[long[0]], math.prod(inner.shape[new[k]] for k in long[1:])
        if size == 1 and isinstance(first, int):
            before.append(first)
        else:
            before.append(range(span(first).start * size, span(first).stop * size))
        after += [len(p) if isinstance(p, range) else None for p in own[: long[0] + 1]]
        after += attributes[long[0] + 1 :]
    part = taken(x, before)
    after = [a for a in after if a is not None]
    shape = tuple(len(p) for p in picks if isinstance(p, range))
    return part if part.shape == shape else Expression(RESHAPE, (part,), frozen({"shape": tuple(after)}), shape, x.kind)


def groups_of(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """Return the axes before and after a change of shape, in groups that have the same number of elements."""
    found: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        a, b = [i] if i < len(old) else [], [j] if j < len(new) else []
        i, j = i + len(a), j + len(b)
        while (m := math.prod(old[k] for k in a)) != (n := math.prod(new[k] for k in b)):
            if m < n:
                a.append(i)
                i += 1
            else:
                b.append(j)
                j += 1
        found.append((a, b))
    return found


def _of_joined(inner: Expression, picks: Sequence[Pick]) -> Expression | None:
    axis, start = inner["axis"], 0
    pick = picks[axis]
    wanted = span(pick)
    for x in inner.inputs:
        n = x.shape[axis]
        if start <= wanted.start and wanted.stop <= start + n:
            own: Pick = pick - start if isinstance(pick, int) else range(pick.start - start, pick.stop - start)
            return taken(x, [own if k == axis else p for k, p in enumerate(picks)])
        start += n
    return None


def _of_placed(inner: Expression, picks: Sequence[Pick]) -> Expression | None:
    """Return a position of values placed into zeros: the values there, or zeros where others are."""
    at = placed_at(inner)
    axes = [k for k, n in enumerate(inner.shape) if at is None or not whole(at[k], n)]
    if at is None or len(axes) != 1 or not isinstance(picks[axes[0]], int) or not isinstance(at[axes[0]], int):
        return None
    rest = [p for k, p in enumerate(picks) if k != axes[0]]
    if picks[axes[0]] == at[axes[0]]:
        return taken(inner.inputs[0], rest)
    lengths = [n if whole(p, d) else len(span(p)) for n, p, d in zip(inner["shape"], picks, inner.shape, strict=True)]
    kept = [k for k, p in enumerate(picks) if isinstance(p, range)]
    attrs = frozen({"shape": tuple(lengths[k] for k in kept)})
    return Expression(BROADCAST, (number(0.0),), attrs, tuple(len(span(picks[k])) for k in kept))


def placed_at(e: Expression) -> list[Pick] | None:
    """Return where values are placed along each axis."""
    like = Expression(SLICE, (Expression(BROADCAST, (), (), e.shape),), (("index", e["index"]),), ())
    return picks_of(like)


def single(e: Expression) -> Expression | None:
    """x[2:3] without its axis of length 1 is x[2]; so is that of its transpose."""
    inner = e.inputs[0] if e.moves_ones else e
    if inner.op not in (SLICE, TRANSPOSE) or len(inner.shape) < 2 + (inner.op is TRANSPOSE):
        return None
    left = list(e.shape)
    picks: list[Pick] = []
    for n in inner.shape:
        kept = bool(left) and left[0] == n
        picks.append(range(n) if kept else 0)
        left = left[kept:]
    part = taken(inner, picks)
    return index_inside(part) if part.op is SLICE and part.shape == e.shape else None
