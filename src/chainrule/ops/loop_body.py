"""The body of a loop: the graph of one step, and what a loop gives.

A traced `chainrule.scan` becomes nodes of one operation (`chainrule.ops.loop`). Its attributes are the step's graph
(`Body`) and what the node gives of it (`Part`): the carry after the last step, or the values of a node in every step.
Nodes of one loop that differ in their parts alone are run together: a plan merges them. So what the reverse pass reads
of the forward one is a part more of the same loop, and what nobody reads is not computed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.node import NOTHING
from ..core.op import Shape
from ..core.replay import computed, inside, one_of
from ..core.tensor import Tensor, traced_leaf


class Part(NamedTuple):
    """What a loop gives: carry `position` after the last step, or, `stacked`, node `position` in every step."""

    stacked: bool
    position: int


class Body:
    """One step of a loop as a graph; it refers to nothing outside of it.

    Attributes
    ----------
    carries, xs, constants : tuple of Tensor
        Its leaves: what a step gets from the one before, its slices of the stacked inputs, and what is the same in all
        steps. The inputs of the operation have this order.
    new : tuple of Tensor
        The nodes that are the carries of the next step.
    order : tuple of Tensor
        All nodes, inputs before users; parts refer to them by position.
    length : int
        Number of steps.
    reverse : bool
        Whether the last slice comes first.
    """

    def __init__(
        self,
        leaves: tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]],
        new: Sequence[Tensor],
        order: Sequence[Tensor],
        length: int,
        reverse: bool,
    ) -> None:
        self.carries, self.xs, self.constants = (tuple(some) for some in leaves)
        self.new, self.order, self.length, self.reverse = tuple(new), tuple(order), length, reverse
        self.pullbacks: dict[Any, Any] = {}  # what the reverse rule has made of it, by the parts

    def __repr__(self) -> str:
        return f"{self.length} steps" + (" in reverse" if self.reverse else "")

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        """All leaves, in the order of the operation's inputs."""
        return (*self.carries, *self.xs, *self.constants)

    def place(self, node: Tensor) -> Part:
        """Return the part that has the values of a node in every step."""
        return Part(True, next(k for k, n in enumerate(self.order) if n is node))

    def node(self, part: Part) -> Tensor:
        """Return the node whose values a part has."""
        return self.order[part.position] if part.stacked else self.new[part.position]

    def shape(self, part: Part) -> Shape:
        """Return the shape of a part."""
        shape = self.node(part).shape
        return (self.length, *shape) if part.stacked else shape

    def steps(self) -> range:
        """Return the positions of the slices in the order of the steps."""
        return range(self.length - 1, -1, -1) if self.reverse else range(self.length)

    def trimmed(self, parts: Sequence[Part]) -> tuple[Body, list[Part], list[int]]:
        """Return the body that computes some parts and no more, these parts of it, and which inputs it has."""
        wanted = [self.order[p.position] for p in parts if p.stacked]
        kept = {p.position for p in parts if not p.stacked}
        place = {id(leaf): k for k, leaf in enumerate(self.leaves)}
        while True:
            _, reached = inside([*wanted, *(self.new[k] for k in sorted(kept))], one_of(self.leaves))
            found = {place[id(leaf)] for leaf in reached}
            more = {k for k in found if k < len(self.carries)}
            if more <= kept:
                break
            kept |= more
        carries = sorted(kept)
        used = [*carries, *sorted(found - kept)]
        first, last = len(self.carries), len(self.carries) + len(self.xs)
        xs = [self.leaves[k] for k in used if first <= k < last]
        constants = [self.leaves[k] for k in used if k >= last]
        leaves = [self.carries[k] for k in carries], xs, constants
        body = Body(leaves, [self.new[k] for k in carries], self.order, self.length, self.reverse)
        return body, [p if p.stacked else Part(False, carries.index(p.position)) for p in parts], used


def leaf_like(x: Any, dtype: Any = None) -> Tensor:
    """Return a new leaf without a value, of the shape and dtype of a node."""
    return traced_leaf(tuple(x.shape), x.dtype if dtype is None else dtype, NOTHING)


def unrolled(inputs: Sequence[Any], body: Body, parts: Sequence[Part]) -> list[Any]:
    """Compute the parts of a loop step by step, on arrays or tensors."""
    first, last = len(body.carries), len(body.carries) + len(body.xs)
    carry = list(inputs[:first])
    constants = dict(zip(map(id, body.constants), inputs[last:], strict=True))
    order, _ = inside([*body.new, *(body.node(p) for p in parts)], one_of(body.leaves))
    each: dict[int, dict[int, Any]] = {p.position: {} for p in parts if p.stacked}
    for t in body.steps():
        known = constants | {id(leaf): x for leaf, x in zip(body.carries, carry, strict=True)}
        known |= {id(leaf): x[t] for leaf, x in zip(body.xs, inputs[first:last], strict=True)}
        found = computed(order, known)
        for position, values in each.items():
            values[t] = found[id(body.order[position])]
        carry = [found[id(node)] for node in body.new]
    return [
        carry[p.position] if not p.stacked
        else np.stack([each[p.position][t] for t in range(body.length)]) if body.length
        else np.zeros(body.shape(p), body.node(p).dtype)
        for p in parts
    ]  # fmt: skip


def pieces(flat: Any, body: Body, parts: Sequence[Part]) -> list[Any]:
    """Cut what a loop gives into its parts."""
    shapes = [body.shape(p) for p in parts]
    ends = list(itertools.accumulate(map(math.prod, shapes)))
    return [np.reshape(flat[end - math.prod(s) : end], s) for s, end in zip(shapes, ends, strict=True)]
