"""Operations across processes: what several of them compute of a batch, summed or joined. They are not in the table.

Each process has a graph of its own, for the shards that it owns; these operations are where the graphs meet. All
processes must run the same ones in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.op import Array, Example, Operation
from ..core.processes import Group, Layout
from ..core.shards import summed


def _summed_kernel(*nodes: Array, out: Any = None, group: Group, layout: Layout) -> Array:
    return group.sum(layout, nodes, np.empty_like(nodes[0]) if out is None else out)


def _alike(*parts: Any, **attrs: Any) -> Any:
    if any(part.shape != parts[0].shape or part.dtype != parts[0].dtype for part in parts):
        raise ValueError(f"parts of a sum have shapes {', '.join(str(part.shape) for part in parts)}; expected one")
    return parts[0].shape, parts[0].dtype


def _of_sum(index: int, g: Any, out: Any, *nodes: Any, **attrs: Any) -> Any:
    raise TypeError("the sum of gradients over processes has no derivative")


#: The sum over all shards, of the sums over nodes of their tree that this process has. Of a process without shards the
#: one node only tells the shape.
SUM_OVER_SHARDS = Operation(
    "sum_over_shards",
    shape=_alike,
    kernel=_summed_kernel,
    vjp=_of_sum,
    differentiable=False,
    examples=lambda rng: [Example((rng.normal(size=3),), {"group": Group(), "layout": Layout.of(1, 1)})],
)


def own_nodes(parts: Sequence[Any], group: Group, layout: Layout) -> list[Any]:
    """Return the sums of the nodes that a process computes alone, from the parts of its shards."""
    first, end = layout.owned[group.rank]
    known = {(first + i, first + i + 1): part for i, part in enumerate(parts[: end - first])}
    return [summed(known, node, np.add) for node in layout.nodes(group.rank)]


def sum_over_shards(parts: Sequence[Any], group: Group, layout: Layout) -> Any:
    """Return the sum over all shards of parts that this process computed, one for each of its shards."""
    nodes = own_nodes(parts, group, layout)
    if group.size == 1:
        return nodes[0]
    return apply(SUM_OVER_SHARDS, tuple(nodes or parts[:1]), {"group": group, "layout": layout})


def _nodes_kernel(*nodes: Array, out: Any = None, group: Group, layout: Layout, name: str) -> Array:
    rows = group.shared(layout, name, nodes[0])
    assert rows is not None, "the nodes of all processes are not in memory that they share"
    for row, node in zip(rows[group.own_rows(layout)], nodes, strict=False):
        _copy(row[: node.size], node)
    group.wait()
    if out is None:
        return np.array(rows)
    _copy(out, rows)
    return out  # type: ignore[no-any-return]


def _copy(to: Array, array: Array) -> None:
    """Copy an array, unless it is there already."""
    if to.__array_interface__["data"] != array.__array_interface__["data"]:
        np.copyto(to, array)


def _rows_of_all(*nodes: Any, group: Group, layout: Layout, name: str) -> Any:
    rows = group.shared(layout, name, nodes[0])
    assert rows is not None
    return rows.shape, rows.dtype


#: The nodes of all processes, in memory that they share, each of which writes its own there. Until `FINISHED`, nobody
#: changes them.
SHARED_NODES = Operation(
    "shared_nodes", shape=_rows_of_all, kernel=_nodes_kernel, vjp=_of_sum, differentiable=False, examples=lambda rng: []
)


def _finished_kernel(*last: Array, out: Any = None, group: Group) -> Any:
    group.wait()
    out = np.empty((), bool) if out is None else out
    out[...] = True
    return out


#: True, once all processes have computed the inputs.
FINISHED = Operation(
    "finished",
    shape=lambda *last, group: ((), np.dtype(bool)),
    kernel=_finished_kernel,
    vjp=_of_sum,
    differentiable=False,
    examples=lambda rng: [Example((rng.normal(size=3),), {"group": Group()})],
)


class SharedSums:
    """Sums over shards of which the processes of a machine share the nodes, and add them up each for itself.

    A plan may make the nodes where the others read them: its states include the memory.

    Attributes
    ----------
    places : list of (Tensor, Array)
        What a plan has to put into which memory.
    """

    def __init__(self, group: Group, layout: Layout) -> None:
        self._group, self._layout = group, layout
        self.places: list[tuple[Any, Array]] = []

    def sum(self, parts: Sequence[Any], name: str) -> Any:
        """Return the sum over all shards of vectors that this process computed, one for each of its shards."""
        group, layout = self._group, self._layout
        memory = group.shared(layout, name, parts[0])
        if memory is None:
            return sum_over_shards(parts, group, layout)
        nodes = own_nodes(parts, group, layout)
        rows = apply(SHARED_NODES, tuple(nodes or parts[:1]), {"group": group, "layout": layout, "name": name})
        size = parts[0].shape[0]
        places = [row[:size] for row in memory[group.own_rows(layout)]]
        self.places += [*zip(nodes, places, strict=True), (rows, memory)]
        every = [node for rank in range(group.size) for node in layout.nodes(rank)]
        return summed({node: rows[i, :size] for i, node in enumerate(every)}, (0, layout.shards), np.add)

    def finished(self, last: Sequence[Any]) -> list[tuple[Any, Array]]:
        """Return the places, with one more that a plan reaches when all processes have computed `last`.

        This is all that is made of the sums, so that no process writes into the memory while others read it.
        """
        if self.places:
            self.places.append((apply(FINISHED, tuple(last), {"group": self._group}), np.zeros((), bool)))
        return self.places


def _shared(*parts: Any, group: Group, layout: Layout) -> Any:
    total = sum_over_shards(parts, group, layout)
    return np.broadcast_to(total, (len(parts), *total.shape))


def _of_shared(index: int, g: Any, out: Any, *parts: Any, group: Group, layout: Layout) -> Any:
    """Every shard's part is in the sum that every shard reads: the cotangents of all shards are summed likewise."""
    zero = g.dtype.type(0)  # makes -0.0 a 0.0, whether or not others were added to it
    gradients = tuple([g[i] + zero for i in range(len(parts))])
    return apply(SHARED_SUM, gradients, {"group": group, "layout": layout})[index]


#: The sum over all shards, once for each shard of this process, so that the derivative can tell them apart.
SHARED_SUM = Operation(
    "shared_sum",
    shape=lambda *parts, **attrs: ((len(parts), *_alike(*parts)[0]), parts[0].dtype),
    expand=_shared,
    vjp=_of_shared,
    examples=lambda rng: [
        Example(tuple(rng.normal(size=(2, 3))), {"group": Group(), "layout": Layout.of(2, 1)}),
    ],
)


def shared_sum(parts: Sequence[Any], group: Group, layout: Layout) -> Any:
    """Return the sum over all shards, once for each part that this process gives."""
    return apply(SHARED_SUM, tuple(parts), {"group": group, "layout": layout})


def _joined_kernel(own: Array, out: Any = None, *, group: Group, counts: tuple[int, ...]) -> Array:
    return group.rows(counts, own, np.empty((sum(counts), *own.shape[1:]), own.dtype) if out is None else out)


def _own_rows(g: Any, out: Any, own: Any, *, group: Group, counts: tuple[int, ...]) -> Any:
    start = sum(counts[: group.rank])
    if not counts[group.rank]:  # a process without shards, which computes the last rows for nobody
        start -= own.shape[0]
    return g[start : start + own.shape[0]]


#: The rows of all processes, of which this one has its own. Its derivative is that of a result that all compute alike.
JOINED_ROWS = Operation(
    "joined_rows",
    shape=lambda own, group, counts: ((sum(counts), *own.shape[1:]), own.dtype),
    kernel=_joined_kernel,
    vjp=(_own_rows,),
    examples=lambda rng: [Example((rng.normal(size=(2, 3)),), {"group": Group(), "counts": (2,)})],
)


def joined_rows(own: Any, group: Group, counts: tuple[int, ...]) -> Any:
    """Return the rows of all processes."""
    return own if group.size == 1 else apply(JOINED_ROWS, (own,), {"group": group, "counts": counts})
