"""Loops over positions: writes that replace each other, positions left out, reversed or exchanged axes.

What each element of an upstream gradient contributes is computed from the recorded graph, so that no operation needs
to be known: a loop that goes wrong puts the same contributions together in another way.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...core.op import Array
from ...ops.shape import TRANSPOSE
from ..graph import Change
from .conduct import MemoryLayout
from .general import MissingTerm, Transposed
from .table import Cause, mistake
from .variants import LARGEST_GRAPH, LAST, Context, Variant, changed, of_result, ranked, replaced

Axes = tuple[int, ...]

#: Loops over more positions are not taken apart, nor are arrays of more axes.
MOST_POSITIONS, MOST_AXES = 256, 4
#: How many gradients of values without a name are tried, of those next to the loss and of those next to the result.
MOST_UNNAMED = 6
#: How they are called, with their place.
UNNAMED = "a value without a name, no."
#: Loops over more positions are not expected to write to all elements each time.
MOST_DENSE = 16
#: Nor are those whose contributions have more numbers in all.
MOST_NUMBERS = 50_000


class OverwrittenOverlap(Cause):
    """Contributions to the same place replace each other instead of adding up.

    Wrong
    -----
        x = rng.normal(size=(9, 8))


        def forward(x):
            return np.stack([x[:, t : t + 3].sum(axis=1) for t in range(6)], axis=1), x


        def backward(dout, x):
            dx = np.zeros_like(x)
            for t in range(6):
                dx[:, t : t + 3] = dout[:, t, None]  # wrong
            return {"dx": dx}


        report = cr.audit_layer(forward, backward, x)

    Right
    -----
                dx[:, t : t + 3] += dout[:, t, None]

    How it shows
    ------------
    Right where a value is used once, at the borders; elsewhere only the contribution of the last position is left.
    With windows that do not overlap nothing shows.

    Why it is wrong
    ---------------
    A value that is used in several places gets the sum of their gradients. `=` keeps the last of them; so does
    `dW[ids] += dout`, which adds once for each different index: use `np.add.at(dW, ids, dout)`.
    """

    code = "overwritten-overlap"
    rank = -2
    shown_in = "dx"


class PartialLoop(Cause):
    """Only some positions of a loop contribute.

    Wrong
    -----
        x = rng.normal(size=(9, 8))


        def forward(x):
            return np.stack([x[:, t : t + 3].sum(axis=1) for t in range(6)], axis=1), x


        def backward(dout, x):
            dx = np.zeros_like(x)
            for t in range(5):  # wrong
                dx[:, t : t + 3] += dout[:, t, None]
            return {"dx": dx}


        report = cr.audit_layer(forward, backward, x)

    Right
    -----
            for t in range(6):

    How it shows
    ------------
    Yours is the sum of the contributions of some positions; those of the others, often the last or all but the first,
    are missing.

    Why it is wrong
    ---------------
    Backward has to visit every position that forward does. A wrong limit of the loop is one way to miss some, a
    `return` inside of the loop another.
    """

    code = "partial-loop"
    rank = -1
    shown_in = "dx"


class Flipped(Cause):
    """It is reversed along an axis.

    Wrong
    -----
        x = rng.normal(size=(9, 8))


        def forward(x):
            return np.cumsum(x, axis=1), x


        def backward(dout, x):
            return {"dx": np.cumsum(dout[:, ::-1], axis=1)}  # wrong


        report = cr.audit_layer(forward, backward, x)

    Right
    -----
            return {"dx": np.cumsum(dout[:, ::-1], axis=1)[:, ::-1]}

    How it shows
    ------------
    Every number of the right gradient is there, in the opposite order along one axis or two.

    Why it is wrong
    ---------------
    The gradient has the order of its value. Where a sum runs backwards, or a kernel is turned around as in a
    convolution, the result has to be turned back, and a kernel that forward only slides along is turned in backward.
    """

    code = "flipped"
    shown_in = "dx"
    rank = 2


class MissingUpstream(Cause):
    """The upstream gradient is not multiplied in.

    Wrong
    -----
        x = rng.normal(size=(9, 8))


        def forward(x):
            return x**3, x


        def backward(dout, x):
            return {"dx": 3 * x**2}  # wrong


        report = cr.audit_layer(forward, backward, x)

    Right
    -----
            return {"dx": dout * 3 * x**2}

    How it shows
    ------------
    The gradient does not depend on the upstream gradient. Where that is one, as below a plain sum, nothing shows.

    Why it is wrong
    ---------------
    The chain rule: the gradient of a value is the local derivative *times* what comes from above.
    """

    code = "missing-upstream"
    shown_in = "dx"
    rank = 2


# -- where a loop may start from ---------------------------------------------------------------------------------------


def upstreams(context: Context) -> dict[str, int]:
    """Return the positions of the gradients that a step may be computed from, by the names of their values."""
    found: dict[str, int] = context.once("upstreams", lambda: _upstreams(context))
    return found


def _upstreams(context: Context) -> dict[str, int]:
    graph, last = context.graph, len(context.graph.order) - 1
    found = dict(graph.seeds)
    for name, node in context.point.nodes.items():
        position = graph.reached.get(id(node), last)
        if position < last and position not in found.values() and graph.order[position].size > 1:
            found[name] = position
    if context.uniform and last < LARGEST_GRAPH:
        taken = {*found.values(), last}
        others = sorted(i for i in set(graph.reached.values()) - taken if graph.order[i].size > 1)
        near = dict.fromkeys([*others[:MOST_UNNAMED], *others[-MOST_UNNAMED:]])
        found |= {f"{UNNAMED} {i}": i for i in near}
    return found


def signal_of(context: Context, name: str) -> Array:
    """Return the upstream gradient of a value."""
    return np.asarray(context.graph.order[upstreams(context)[name]].value)


def _given(value: Array) -> Change:
    return lambda graph, i, inputs, at: value


def _with_upstream(name: str, make: Callable[[Array], Array]) -> Callable[[Context], dict[int, Change] | None]:
    """Return the change that puts an array made from an upstream gradient in its place."""

    def changes(context: Context) -> dict[int, Change] | None:
        i = upstreams(context).get(name)
        return None if i is None else {i: _given(make(np.asarray(context.graph.order[i].value)))}

    return changes


def rank_of(name: str) -> int:
    """Return the rank of an explanation by the upstream gradient of a value."""
    return LAST if name.startswith(UNNAMED) else 0


def called(context: Context, name: str) -> str:
    """Return how messages call the upstream gradient of a value."""
    return "a gradient" if name.startswith(UNNAMED) else context.point.keys.get(name, "d" + name)


@mistake(MissingUpstream, "it is not multiplied by {upstream}")
def _upstream_left_out(context: Context) -> Iterator[Variant]:
    for name, i in upstreams(context).items():
        ones = _with_upstream(name, np.ones_like)
        yield ranked(changed(i, ones, upstream=called(context, name)), rank_of(name))


# -- another order -----------------------------------------------------------------------------------------------------


def _subsets(array: Array) -> Iterator[Axes]:
    """Yield each choice of axes that are longer than one."""
    axes = [a for a in range(array.ndim) if array.shape[a] > 1]
    for count in range(1, len(axes) + 1) if len(axes) <= MOST_AXES else ():
        yield from itertools.combinations(axes, count)


@mistake(Flipped, "{what} is reversed along {axes}")
def _reversed(context: Context) -> Iterator[Variant]:
    for axes in _subsets(context.result):
        yield of_result(_flipped_result(axes), what="it", axes=axes_named(axes))
    for name, i in upstreams(context).items():
        for axes in _subsets(signal_of(context, name)):
            changes = _with_upstream(name, _flip(axes))
            yield ranked(changed(i, changes, what=called(context, name), axes=axes_named(axes)), rank_of(name))


def _flip(axes: Axes) -> Callable[[Array], Array]:
    return lambda g: np.flip(g, axes)


def _flipped_result(axes: Axes) -> Callable[[Context], Array]:
    return lambda context: np.flip(context.result, axes)


def axes_named(axes: Axes) -> str:
    """Return axes as they are called in a message."""
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"


@mistake(Transposed, "{what} has its axes in the order {order}")
def _axes_exchanged(context: Context) -> Iterator[Variant]:
    for order in _orders(context.result):
        yield of_result(_result_in_order(order), what="it", order=order)
    for name, i in upstreams(context).items():
        g = signal_of(context, name)
        for order in _orders(g):
            # a turned array whose numbers are read in the order in which they lie in memory
            lies = context.graph.order[i].op is TRANSPOSE and np.transpose(g, order).shape != g.shape
            cause = MemoryLayout.code if lies else ""
            changes, what = _with_upstream(name, _in_order(order)), called(context, name)
            yield ranked(changed(i, changes, None, cause, what=what, order=order), rank_of(name))


def _orders(array: Array) -> list[Axes]:
    """Return the orders of the axes of an array, other than its own."""
    return list(itertools.permutations(range(array.ndim)))[1:] if 2 <= array.ndim <= MOST_AXES else []


def _in_order(order: Axes) -> Callable[[Array], Array]:
    """Return what reads an array with its axes in another order, where its shape changes as if it were in its own."""
    return lambda g: np.transpose(g, order).reshape(g.shape)


def _result_in_order(order: Axes) -> Callable[[Context], Array]:
    return lambda context: _in_order(order)(context.result)


# -- contributions put together in another way -------------------------------------------------------------------------


def _loops(context: Context) -> Iterator[tuple[str, int, Axes, int]]:
    """Yield the axes of each upstream gradient that a loop may run over, and their number of positions."""
    for name, i in upstreams(context).items():
        g = signal_of(context, name)
        for axes in _subsets(g):
            count = math.prod(g.shape[a] for a in axes)
            if count <= MOST_POSITIONS and count * context.result.size <= MOST_NUMBERS:
                yield name, i, axes, count


def contributions(context: Context, name: str, axes: Axes) -> Array:
    """Return what the elements of an upstream gradient contribute at each position along some axes."""
    return np.asarray(context.once(("contributions", name, axes), lambda: _computed(context, name, axes)))


def _computed(context: Context, name: str, axes: Axes) -> Array:
    i, g = upstreams(context)[name], signal_of(context, name)
    lengths = [g.shape[a] for a in axes]
    if math.prod(lengths) > MOST_POSITIONS:
        raise ValueError("too many positions")
    parts = []
    for position in np.ndindex(*lengths):
        index: list[slice | int] = [slice(None)] * g.ndim
        for a, p in zip(axes, position, strict=True):
            index[a] = p
        alone = np.zeros_like(g)
        alone[tuple(index)] = g[tuple(index)]
        parts.append(context.graph.response(i, alone))
    return np.stack(parts)


@mistake(PartialLoop, "{which} along {axes} of {upstream} is left out")
def _one_position_left_out(context: Context) -> Iterator[Variant]:
    for name, i in upstreams(context).items():
        for axis, length in enumerate(signal_of(context, name).shape):
            for position, which in ((-1, "the last position"), (0, "the first position")) if length > 1 else ():
                words: dict[str, Any] = {"which": which, "axes": axes_named((axis,)), "upstream": called(context, name)}
                zeroed = changed(i, _with_upstream(name, _zero_at(axis, position)), **words)
                yield ranked(zeroed, rank_of(name))


def _zero_at(axis: int, position: int) -> Callable[[Array], Array]:
    def zeroed(g: Array) -> Array:
        out = g.copy()
        np.moveaxis(out, axis, 0)[position] = 0
        return out

    return zeroed


@mistake(PartialLoop, "only some positions along {axes} of {upstream} contribute")
def _positions_left_out(context: Context) -> Iterator[Variant]:
    for name, i, axes, count in _loops(context):
        if 2 * count <= context.found.size:
            variant = replaced(_some_positions(name, axes), axes=axes_named(axes), upstream=called(context, name))
            variant.start, variant.evaluations = i, count
            yield ranked(variant, rank_of(name))


def _some_positions(name: str, axes: Axes) -> Callable[[Context], Array | None]:
    first: list[Array] = []  # a loop misses the same positions at every point; a mask would depend on the data

    def compute(context: Context) -> Array | None:
        parts = contributions(context, name, axes)
        if context.result.shape != context.found.shape or 2 * len(parts) > context.found.size:
            return None
        design = parts.reshape(len(parts), -1).T
        # the right gradient is affine in what is left out: the part that does not come from here stays
        rest = context.result - parts.sum(axis=0)
        solution, *_ = np.linalg.lstsq(design, (context.found - rest).ravel(), rcond=None)
        chosen = np.asarray(np.round(solution), np.float64)
        if np.max(np.abs(solution - chosen)) > 1e-6 or not np.isin(chosen, (0.0, 1.0)).all() or not chosen.any():
            return None
        first.append(chosen)
        same = np.array_equal(chosen, first[0]) if chosen.size == first[0].size else len(axes) == 1
        return np.asarray(rest + np.tensordot(chosen, parts, axes=1)) if same else None

    return compute


@mistake(OverwrittenOverlap, "contributions along {axes} of {upstream} replace each other instead of adding up")
def _contributions_overwritten(context: Context) -> Iterator[Variant]:
    for name, i, axes, count in _loops(context):
        # where each contributes to all elements, only one of them is left: a loop over them, or over something else
        everywhere = count <= MOST_DENSE and bool((contributions(context, name, axes) != 0).all())
        for boxes in (False,) if everywhere else (False, True):
            words: dict[str, Any] = {"axes": axes_named(axes), "upstream": called(context, name)}
            cause = MissingTerm.code if everywhere else ""
            variant = replaced(_last_written(name, axes, boxes), "", cause, **words)
            variant.start, variant.evaluations = i, 1 if boxes else count
            yield ranked(variant, rank_of(name) + (OverwrittenOverlap.rank if everywhere else 0))


def _last_written(name: str, axes: Axes, boxes: bool) -> Callable[[Context], Array | None]:
    """Return the last contribution to each element, in the order of the loop.

    Written is where it is not zero, or the whole window (`boxes`), as a maximum writes zeros next to its winner.
    """

    def compute(context: Context) -> Array | None:
        parts = contributions(context, name, axes)
        written = parts != 0
        if boxes:
            written = _windows(written, [signal_of(context, name).shape[a] for a in axes])
        if np.sum(written, axis=0).max(initial=0) < 2:
            return None
        rest = context.result - parts.sum(axis=0)
        out = np.zeros(context.result.shape)
        for part, where in zip(parts, written, strict=True):
            out[where] = part[where]
        return np.asarray(rest + out)

    return compute


def _windows(written: Array, lengths: list[int]) -> Array:
    """Return for each position the smallest box, a product of intervals that depend on one loop each."""
    shape = written.shape[1:]
    by_loop = written.reshape(*lengths, *shape)
    out = np.ones(by_loop.shape, bool)
    for k in range(len(lengths)):
        for a in range(len(shape)):
            others = tuple(x for x in range(by_loop.ndim) if x not in (k, len(lengths) + a))
            used = np.asarray(by_loop.any(axis=others))  # position, place along the axis
            inside = np.logical_or.accumulate(used, axis=1) & np.logical_or.accumulate(used[:, ::-1], axis=1)[:, ::-1]
            view = [1] * by_loop.ndim
            view[k], view[len(lengths) + a] = inside.shape
            out &= inside.reshape(view)
    return out.reshape(written.shape)
