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


def sum_over_shards(parts: Sequence[Any], group: Group, layout: Layout) -> Any:
    """Return the sum over all shards of parts that this process computed, one for each of its shards."""
    first, end = layout.owned[group.rank]
    known = {(first + i, first + i + 1): part for i, part in enumerate(parts[: end - first])}
    nodes = [summed(known, node, np.add) for node in layout.nodes(group.rank)]
    if group.size == 1:
        return nodes[0]
    return apply(SUM_OVER_SHARDS, tuple(nodes or parts[:1]), {"group": group, "layout": layout})


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
