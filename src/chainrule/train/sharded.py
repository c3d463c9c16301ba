"""The forward pass of a batch that is cut into shards, and the sum of the gradients of the shards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.arguments import integer
from ..core.processes import Group, Layout
from ..core.reverse import topological
from ..core.shards import SHARD, Shard, cut
from ..core.tensor import Tensor
from ..core.trace import Trace, put_back
from ..core.tree import flatten, paths, unflatten
from ..ops.collective import SharedSums, joined_rows, shared_sum
from ..ops.logic import IDENTITY
from ..plan import Plan


def sharding_of(distributed: Any, group: Group, shards: int | None) -> Sharding | None:
    """Return how batches are cut, by the arguments of `fit`: by default into one shard for each process."""
    if distributed is None and shards is None:
        return None
    return Sharding(group, group.size if shards is None else integer("shards", shards, at_least=1))


@dataclass(frozen=True)
class Sharding:
    """How batches are cut, and the processes that share the work.

    Attributes
    ----------
    group : Group
    shards : int
        At most; a batch of fewer rows has a shard for each.
    """

    group: Group
    shards: int

    def forward(
        self,
        trace: Trace,
        run: Callable[[Mapping[str, Any], Any], Any],
        x: Any,
        copy: Callable[[], dict[str, Tensor]],
    ) -> ShardedPass:
        """Trace the model on the shards that this process computes.

        Parameters
        ----------
        trace : Trace
        run : function
            Runs the model with parameters on some rows; returns its output and new buffers.
        x : nest of tensors
            The rows of the batch.
        copy : function
            Returns new nodes for the parameters, so that each shard has a gradient of its own.
        """
        rows = flatten(x)[0][0].shape[0]
        spans = cut(rows, min(self.shards, rows))
        layout = Layout.of(len(spans), self.group.size)
        passes = ShardedPass(self.group, layout, spans, rows)
        before = trace.buffers()
        for number in layout.computed(self.group.rank):
            shard = Shard(number, *spans[number], rows)
            own = copy()
            part = _part(x, shard)
            token = SHARD.set(shard)
            try:
                output, buffers = run(own, part)
            finally:
                SHARD.reset(token)
            replaced = trace.replaced(before)
            after = [(twin, name, twin.__dict__[name]) for twin, name, _ in replaced]
            put_back(replaced)  # every shard begins with the same counters
            if not passes.copies:
                passes.buffers, state = buffers, after
                _check_buffers(buffers, part)
            passes.add(shard, own, output)
        put_back(state)
        passes.connect()
        return passes


class ShardedPass:
    """The forward passes of the shards that a process computes."""

    def __init__(self, group: Group, layout: Layout, spans: Sequence[tuple[int, int]], rows: int) -> None:
        self.group, self.layout, self.rows = group, layout, rows
        owned = [spans[first:end] for first, end in layout.owned]
        self._counts = tuple([sum(stop - start for start, stop in part) for part in owned])
        self.copies: list[dict[str, Tensor]] = []  # of the parameters, one for each shard
        self.buffers: dict[str, Tensor] = {}
        self.sums = SharedSums(group, layout)
        self._shards: list[Shard] = []
        self._outputs: list[Any] = []

    def add(self, shard: Shard, own: dict[str, Tensor], output: Any) -> None:
        """Add the pass of a shard."""
        leaves = flatten(output)[0]
        for leaf, place in zip(leaves, paths(output, "output"), strict=True):
            if not isinstance(leaf, Tensor) or not leaf.shape or leaf.shape[0] != shard.rows:
                found = f"shape {leaf.shape}" if isinstance(leaf, Tensor) else type(leaf).__name__
                raise ValueError(
                    f"distributed: the model's {place} for {shard.rows} rows of a batch is of {found}; expected a row "
                    "for each of them, so that the outputs of several processes can be joined"
                )
        self._shards.append(shard)
        self._outputs.append(output)
        self.copies.append(own)

    def connect(self) -> None:
        """Put the sums over all shards where the shards read them."""
        if len({len(shard.parts) for shard in self._shards}) > 1:
            raise ValueError("distributed: the model computes different statistics for different shards of a batch")
        for entries in zip(*[shard.parts for shard in self._shards], strict=True):
            total = shared_sum([part for part, _ in entries], self.group, self.layout)
            for i, (_, leaf) in enumerate(entries):
                leaf.op, leaf.inputs = IDENTITY, (total[i],)

    def output(self) -> Any:
        """Return the outputs for all rows of the batch."""
        leaves = zip(*[flatten(output)[0] for output in self._outputs], strict=True)
        structure = flatten(self._outputs[0])[1]
        return unflatten(structure, [joined_rows(_below(list(parts)), self.group, self._counts) for parts in leaves])

    def sum(self, gradients: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the sums over shards of gradients in blocks, one mapping for each pass."""
        return {name: self.sums.sum([of_one[name] for of_one in gradients], name) for name in gradients[0]}


def _part(x: Any, shard: Shard) -> Any:
    leaves, structure = flatten(x)
    named = zip(leaves, paths(x, "X"), strict=True)
    parts: list[Any] = [leaf[shard.start : shard.stop] for leaf in leaves]
    for part, (_, name) in zip(parts, named, strict=True):
        part.name = name
    return unflatten(structure, parts)


def exchanges(plan: Plan) -> list[tuple[Any, ...]]:
    """Return what a plan exchanges with other processes, in order: they must do the same, or wait for ever."""
    made = [(step.op.name, plan.values[step.output]) for step in plan.operations if "group" in step.attrs]
    return [(name, value.shape, value.dtype.str) for name, value in made]


def _below(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _check_buffers(buffers: Mapping[str, Tensor], part: Any) -> None:
    """Raise if a buffer becomes what only the rows of one shard say."""
    rows = {id(leaf) for leaf in flatten(part)[0]}
    for name, new in buffers.items():
        if any(id(node) in rows for node in topological([new])):
            raise ValueError(
                f"distributed: the buffer {name} is computed from the rows of a shard, not of the whole batch; in the "
                "module, use chainrule.nn.batch_mean for means over examples"
            )
