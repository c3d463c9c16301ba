"""Windows that slide over an array: backward cuts them, or adds to them, at other places than forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...core.op import Array
from ...core.tensor import Tensor
from ...ops.index import PLACE, SLICE
from ..graph import At, Change, GradientGraph
from .general import WrongOperand
from .table import Cause, mistake
from .variants import Changes, Context, Variant, changed

Index = tuple[Any, ...]
#: The starts of the windows of a loop along each axis; returns an index with another start.
Move = Callable[[Index, list[list[int]]], Index]


class WrongWindow(Cause):
    """The windows of backward are not those of forward.

    Wrong
    -----
        x, w = rng.normal(size=(9, 9)), rng.normal(size=3)


        def forward(x, w):
            return np.stack([x[:, 2 * t : 2 * t + 3] @ w for t in range(4)], axis=1), (x, w)


        def backward(dout, cache):
            x, w = cache
            dx = np.zeros_like(x)
            dw = np.zeros_like(w)
            for t in range(4):
                dx[:, t : t + 3] += dout[:, t, None] * w  # wrong
                dw += dout[:, t] @ x[:, 2 * t : 2 * t + 3]
            return {"dx": dx, "dw": dw}


        report = cr.audit_layer(forward, backward, x, w)

    Right
    -----
                dx[:, 2 * t : 2 * t + 3] += dout[:, t, None] * w

    How it shows
    ------------
    The numbers are right for one window; the others are at the wrong place. With a stride of 1, or without padding,
    nothing shows.

    Why it is wrong
    ---------------
    The window of output t starts at `s·t − p`, with stride s and padding p. Backward sends the gradient of output t
    where forward has read from.
    """

    code = "wrong-window"
    shown_in = "dx"
    rank = 2


# -- the windows of a loop ---------------------------------------------------------------------------------------------


def _kind(node: Tensor, axes: int) -> tuple[Any, ...]:
    """Return what the windows of a loop have in common: of how many axes the array is, and how it is indexed."""
    return axes, *(type(part) for part in node.attrs["index"])


def _bounds(part: Any) -> int | None:
    """Return where an index starts along its axis; None if it takes the whole axis."""
    if isinstance(part, slice):
        return part.start if isinstance(part.start, int) and part.start >= 0 else (0 if part.stop is not None else None)
    return part if isinstance(part, int) and part >= 0 else None


def _families(context: Context) -> dict[tuple[Any, ...], list[list[int]]]:
    """Return the starts along each axis of the windows that forward reads or backward writes, for each kind."""
    found: dict[tuple[Any, ...], list[Index]] = {}
    graph = context.graph
    for node in graph.order:
        if node.op is PLACE:
            found.setdefault(_kind(node, node.ndim), []).append(node.attrs["index"])
    for node in graph.forward.values():
        if node.op is SLICE:
            found.setdefault(_kind(node, node.inputs[0].ndim), []).append(node.attrs["index"])
    moving = {}
    for kind, indices in found.items():
        columns = zip(*indices, strict=True)
        starts = [sorted({s for part in column if (s := _bounds(part)) is not None}) for column in columns]
        if any(len(s) > 1 and part is slice for s, part in zip(starts, kind[1:], strict=False)):
            moving[kind] = starts
    return moving


def _shifted(part: Any, start: int) -> Any:
    """Return an index of the same length that starts elsewhere."""
    old = _bounds(part)
    if not isinstance(part, slice) or old is None:
        return start
    stop = None if part.stop is None else max(part.stop - old + start, 0)
    return slice(max(start, 0), stop, part.step)


def _moved(axis: int | None, to: Callable[[int, int], int]) -> Move:
    """Return the move of the n-th start along an axis (None: along all with a stride) to ``to(n, width)``."""

    def move(index: Index, starts: list[list[int]]) -> Index:
        out = list(index)
        for a, part in enumerate(index):
            start = _bounds(part)
            windowed = isinstance(part, slice) and len(starts[a]) > 1 and start is not None
            if windowed and start is not None and axis in (None, a):
                out[a] = _shifted(part, to(starts[a].index(start), (part.stop or start + 1) - start))
        return tuple(out)

    return move


def _exchanged(a: int, b: int) -> Move:
    """Return the move that takes the loops over two axes for each other."""

    def move(index: Index, starts: list[list[int]]) -> Index:
        first, second = _bounds(index[a]), _bounds(index[b])
        if first is None or second is None:
            return index
        out = list(index)
        out[a], out[b] = _shifted(index[a], second), _shifted(index[b], first)
        return tuple(out)

    return move


def _without_step(index: Index, starts: list[list[int]]) -> Index:
    """Return the index with neighbours in place of every s-th element, as many of them."""
    out = []
    for part in index:
        if isinstance(part, slice) and (part.step or 1) > 1 and part.stop is not None:
            start = part.start or 0
            part = slice(start, start + len(range(start, part.stop, part.step)))
        out.append(part)
    return tuple(out)


def _moves(starts: list[list[int]]) -> Iterator[tuple[Move, str]]:
    axes = [a for a, s in enumerate(starts) if len(s) > 1]
    for axis in (None, *axes) if len(axes) > 1 else (None,):
        where = "" if axis is None else f" along axis {axis}"
        yield _moved(axis, lambda n, width: n), f"move by 1 each{where}"
        yield _moved(axis, lambda n, width: n * width), f"are next to each other{where}"
        for p in (1, 2, -1):
            yield _moved_by(axis, -p), f"start {abs(p)} {'earlier' if p > 0 else 'later'}{where}"
    for k, a in enumerate(axes):
        for b in axes[k + 1 :]:
            yield _exchanged(a, b), f"take the loops over axes {a} and {b} for each other"
    yield _without_step, "take neighbours, without the stride"


def _moved_by(axis: int | None, shift: int) -> Move:
    def move(index: Index, starts: list[list[int]]) -> Index:
        out = list(index)
        for a, part in enumerate(index):
            start = _bounds(part)
            if start is not None and len(starts[a]) > 1 and isinstance(part, slice) and axis in (None, a):
                out[a] = _shifted(part, start + shift)
        return tuple(out)

    return move


# -- the changes -------------------------------------------------------------------------------------------------------


@mistake(WrongWindow, "the windows of backward {how}; forward has them elsewhere")
def _windows_elsewhere(context: Context) -> Iterator[Variant]:
    for kind, starts in _families(context).items():
        for move, how in _moves(starts):
            yield changed(0, _with_windows(kind, move), how=how)


def _with_windows(kind: tuple[Any, ...], move: Move) -> Changes:
    """Return the changes of all windows of a kind, written or read."""

    def changes(context: Context) -> dict[int, Change] | None:
        graph = context.graph
        starts = _families(context).get(kind)
        made: dict[int, Change] = {}
        read: dict[int, Array | None] = {}
        for i, node in enumerate(graph.order) if starts else ():
            if node.op is PLACE and _kind(node, node.ndim) == kind:
                made[i] = _placed(move(node.attrs["index"], starts or []))
                continue
            factors = {
                k: v
                for k, (x, p) in enumerate(zip(node.inputs, graph.dependent[i], strict=True))
                if p is None and (v := _read_elsewhere(x, kind, move, starts or [], read)) is not None
            }
            if factors:
                made[i] = _with_inputs(factors)
        return made

    return changes


def _placed(index: Index) -> Change:
    def change(graph: GradientGraph, i: int, inputs: list[Array], at: At) -> Array:
        shape = graph.order[i].shape
        ends = [part.stop if isinstance(part, slice) and part.stop is not None else 0 for part in index]
        larger = [max(n, end) for n, end in zip(shape, [*ends, *[0] * len(shape)], strict=False)]
        out = np.zeros(larger)  # what lies beyond the end is cut off
        out[index] = inputs[0]
        return out[tuple(slice(n) for n in shape)]

    return change


def _with_inputs(others: dict[int, Array]) -> Change:
    return lambda graph, i, inputs, at: graph.plain(i, [others.get(k, x) for k, x in enumerate(inputs)])


def _read_elsewhere(
    node: Tensor, kind: tuple[Any, ...], move: Move, starts: list[list[int]], read: dict[int, Array | None]
) -> Array | None:
    """Return a value of the forward pass as it is with windows cut elsewhere; None if it has no window of this kind."""
    chain = [node]
    while chain[-1].op is not None and id(chain[-1]) not in read and not _is_window(chain[-1], kind):
        inputs = [x for x in chain[-1].inputs if x.op is not None]
        if len(inputs) != 1:
            break
        chain.append(inputs[0])
    last = chain.pop()
    if id(last) in read:
        value = read[id(last)]
    elif _is_window(last, kind):
        value = np.asarray(last.inputs[0].value)[move(last.attrs["index"], starts)]
    else:
        value = None
    read[id(last)] = value
    for t in reversed(chain):
        if value is not None and t.op is not None:
            inner = [value if x.op is not None else np.asarray(x.value) for x in t.inputs]
            value = np.asarray(t.op.evaluate(*inner, **t.attrs))
        read[id(t)] = value
    return value


def _is_window(node: Tensor, kind: tuple[Any, ...]) -> bool:
    return node.op is SLICE and _kind(node, node.inputs[0].ndim) == kind


# -- padding -----------------------------------------------------------------------------------------------------------


@mistake(WrongWindow, "{what}")
def _cut_off_at_one_side(context: Context) -> Iterator[Variant]:
    cuts = [i for i in range(len(context.graph.order)) if _is_cut(context.graph, i)]
    for first, where in ((True, "end"), (False, "start")) if cuts else ():
        if any(_is_in_the_middle(context.graph, i) for i in cuts):
            yield changed(0, _cut_from(first=first), what=f"the padding is cut off at the {where} alone")
        else:
            what = f"the part that is cut off is at the {where}, not at the other side"
            yield changed(0, _cut_from(first=first), None, WrongOperand.code, what=what)


def _is_in_the_middle(graph: GradientGraph, i: int) -> bool:
    """Whether elements are cut off on both sides of an axis."""
    node = graph.order[i]
    ends = zip(node.attrs["index"], node.inputs[0].shape, strict=False)
    return any((part.start or 0) > 0 and part.stop not in (None, n) for part, n in ends)


def _is_cut(graph: GradientGraph, i: int) -> bool:
    node = graph.order[i]
    if node.op is not SLICE or node.attrs.get("index") is None:
        return False
    return all(isinstance(part, slice) and part.step in (None, 1) for part in node.attrs["index"])


def _cut_from(*, first: bool) -> Changes:
    return lambda context: {i: _as_long(first) for i in range(len(context.graph.order)) if _is_cut(context.graph, i)}


def _as_long(first: bool) -> Change:
    """Return the change that takes as many elements from the start, or from the end."""

    def change(graph: GradientGraph, i: int, inputs: list[Array], at: At) -> Array:
        array = inputs[0]
        lengths = graph.order[i].shape
        return array[tuple(slice(n) if first else slice(array.shape[a] - n, None) for a, n in enumerate(lengths))]

    return change
