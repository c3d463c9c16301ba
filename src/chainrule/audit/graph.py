"""The gradient of one step as a graph that can be changed: known mistakes are changes of its nodes."""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..adapters.backward_pass import Point
from ..core.node import Recording
from ..core.op import Array
from ..core.reverse import reverse, topological
from ..core.tensor import Tensor
from ..ops.table import row_of

ADD, NEGATIVE = row_of(np.add), row_of(np.negative)

#: How far an operand is looked into, to tell the lines of a loop apart.
DEEPEST = 6

At = Callable[[int], Array]
#: ``change(graph, i, inputs, at)`` computes node i differently; ``at(j)`` is the present value of node j.
Change = Callable[["GradientGraph", int, list[Array], At], Array]

#: Work is counted in units of about a microsecond: a constant per node, and one unit per number of elements.
NODE_WORK, NUMBERS = 4.0, 1000.0


def work_of(nodes: Sequence[Tensor]) -> float:
    """Return the work of evaluating nodes, in units that do not depend on the machine."""
    total = 0.0
    for node in nodes:
        if node.op is None:
            continue
        flops = node.op.flops(node.shape, *(x.shape for x in node.inputs), **node.attrs) if node.op.flops else 0
        total += NODE_WORK + max(flops / 8, math.prod(node.shape)) / NUMBERS
    return total


class GradientGraph:
    """A step's gradient, recorded: linear in the upstream gradients, with values of the forward pass as factors.

    Attributes
    ----------
    order : list of Tensor
        The nodes that depend on an upstream gradient, inputs before users; the last is the result.
    seeds : dict
        Position in `order` of each upstream gradient, by name.
    reached : dict
        ``id(forward node)`` -> position of its cotangent.
    forward : dict
        The nodes of the forward pass, by their ids.
    given : dict
        The cotangents that it was made with, by name.
    values : dict
        Every value that might be used in place of another, by name.
    """

    def __init__(self, point: Point, name: str, given: Mapping[str, Array]) -> None:
        self.point, self.name, self.given = point, name, dict(given)
        self.values: dict[str, Array] = {}
        recording = Recording("the audit of a step")
        tensors = {n: Tensor(np.asarray(g, np.float64), recordings=frozenset({recording})) for n, g in given.items()}
        node = point.nodes[name]
        fixed = {id(point.nodes[n]): t for n, t in tensors.items() if n != name and point.nodes[n] is not node}
        start = Tensor(np.ones(point.root.shape), recordings=frozenset({recording}))
        plain_last = sorted(point.nodes.items(), key=lambda item: "[" not in item[0])  # the simplest name is kept
        self.names_by_id = {id(t): n for n, t in plain_last}
        forward = point.order
        self.forward = {id(t): t for t in forward}
        result, reached = _recorded(forward, point.root, start, node, fixed)
        self.order: list[Tensor] = []
        if isinstance(result, Tensor):
            dependent = {id(start)} | {id(t) for t in tensors.values()}
            for t in topological([result]):
                if id(t) in dependent or any(id(x) in dependent for x in t.inputs):
                    dependent.add(id(t))
                    self.order.append(t)
        self.position = {id(t): i for i, t in enumerate(self.order)}
        self.seeds = {n: self.position[id(t)] for n, t in tensors.items() if id(t) in self.position}
        self.start = self.position.get(id(start))
        self.from_loss = self.start is not None
        self.reached = {k: self.position[id(g)] for k, g in reached.items() if id(g) in self.position}
        self.users: list[list[int]] = [[] for _ in self.order]
        for i, t in enumerate(self.order):
            for x in t.inputs:
                if (j := self.position.get(id(x))) is not None:
                    self.users[j].append(i)
        self._keep = (tensors, start, reached)  # ids stay valid
        self._reach: dict[tuple[int, ...], list[int]] = {}

    @cached_property
    def dependent(self) -> list[list[int | None]]:
        """For each node, the position of each of its inputs, or None for a value of the forward pass."""
        return [[self.position.get(id(x)) for x in node.inputs] for node in self.order]

    def name_of(self, node: Tensor) -> str:
        """Return the name of a forward value, or ""."""
        return self.names_by_id.get(id(node), "")

    @cached_property
    def structure(self) -> tuple[Any, ...]:
        """The operations in order: graphs with the same structure can be changed at the same place."""
        return tuple(t.op for t in self.order)

    @cached_property
    def signatures(self) -> list[tuple[Any, ...]]:
        """A key that is equal for nodes of the same line of a loop: operation and kinds of operands."""
        found: list[tuple[Any, ...]] = []
        for i, node in enumerate(self.order):
            made_by = (
                "gradient" if p is not None else x.op or self.name_of(x)
                for x, p in zip(node.inputs, self.dependent[i], strict=True)
            )
            found.append((node.op, len(node.shape), *made_by))
        return found

    @cached_property
    def lines(self) -> list[tuple[Any, ...]]:
        """A narrower key: what the operands are made of, and of a sum what its terms are; steps of a loop are alike."""
        return [
            (node.op, len(node.shape), _index_of(node), *self._made_of(i, 1 if None not in self.dependent[i] else 0))
            for i, node in enumerate(self.order)
        ]

    def _made_of(self, i: int, depth: int) -> list[Any]:
        """Return what the inputs of a node are, gradients to a depth."""
        found: list[Any] = []
        for x, p in zip(self.order[i].inputs, self.dependent[i], strict=True):
            if p is None:
                found.append(self._kind(x, DEEPEST))
            elif depth:
                found.append((self.order[p].op, *self._made_of(p, depth - 1)))
            else:
                found.append(self.order[p].op is NEGATIVE)  # within a derivative
        return found

    def _kind(self, x: Tensor, depth: int) -> Any:
        """Return what a value of the forward pass is made of: parameters by name, parts by where they are cut out."""
        if x.op is None or not depth:
            return x.op or re.sub(r"\d+", "#", self.name_of(x))
        if "index" in x.attrs:  # a gate's part of all gates, or a step
            return x.op, _index_of(x), re.sub(r"\d+", "#", self.name_of(x.inputs[0]))
        return (x.op, *(self._kind(y, depth - 1) for y in x.inputs))

    @cached_property
    def classes_of_lines(self) -> dict[tuple[Any, ...], tuple[int, int]]:
        """For each of `lines`, the first node that has it and how many do."""
        return _counted(self.lines)

    @cached_property
    def classes(self) -> dict[tuple[Any, ...], tuple[int, int]]:
        """For each signature, the first node that has it and how many do."""
        return _counted(self.signatures)

    @cached_property
    def work_from(self) -> list[float]:
        """The work of evaluating the graph from each node to the end."""
        work = [0.0]
        for node in reversed(self.order):
            work.append(work[-1] + work_of([node]))
        return work[:0:-1]

    @cached_property
    def operands(self) -> list[list[Array]]:
        """The present values of each node's inputs."""
        return [[np.asarray(x.value) for x in node.inputs] for node in self.order]

    def _reached_from(self, starts: tuple[int, ...]) -> list[int]:
        """Return the nodes that depend on some of `starts`, and those themselves, in order."""
        if starts not in self._reach:
            marked = set(starts)
            for i in range(starts[0], len(self.order)):
                if i in marked:
                    marked.update(self.users[i])
            self._reach[starts] = sorted(marked)
        return self._reach[starts]

    def evaluated(self, changes: Mapping[int, Change]) -> Array:
        """Return the result with the nodes in `changes` computed differently; only what they reach is computed."""
        last = len(self.order) - 1
        return self.values_with(changes).get(last, np.asarray(self.order[last].value))

    def values_with(self, changes: Mapping[int, Change]) -> dict[int, Array]:
        """Return the values of the nodes that the `changes` reach, by position."""
        values: dict[int, Array] = {}

        def at(j: int) -> Array:
            return values[j] if j in values else np.asarray(self.order[j].value)

        for i in self._reached_from(tuple(sorted(changes))):
            inputs = list(self.operands[i])
            for k, p in enumerate(self.dependent[i]):
                if p in values:
                    inputs[k] = values[p]
            values[i] = changes[i](self, i, inputs, at) if i in changes else self.plain(i, inputs)
        return values

    def shown(self, i: int, change: Change) -> tuple[list[float], list[float]] | None:
        """Return how far a change of one node moves the result along two directions, and where the result is on them.

        The result is linear in each node, so one reverse pass along a direction does for every change. None if the
        change gives another shape, or the node has no cotangent.
        """
        if i not in self._pulled:
            return None
        old = np.asarray(self.order[i].value)
        new = change(self, i, list(self.operands[i]), lambda j: np.asarray(self.order[j].value))
        if np.shape(new) != old.shape:
            return None
        difference = np.asarray(new, np.float64) - old
        return [float(np.vdot(g, difference)) for g in self._pulled[i]], self.along(np.asarray(self.order[-1].value))

    def along(self, result: Array) -> list[float]:
        """Return the products of a result with the two directions."""
        return [float(np.vdot(u, result)) for u in self._directions]

    @cached_property
    def _directions(self) -> list[Array]:
        rng = np.random.default_rng(0)
        return [rng.uniform(0.5, 1.5, self.order[-1].shape) * rng.choice((-1, 1), self.order[-1].shape) for _ in "12"]

    @cached_property
    def _pulled(self) -> dict[int, list[Array]]:
        """For each node, the cotangents of the two directions."""
        last, found = self.order[-1], []
        starts = [self.order[i] for i in {*self.seeds.values(), *([] if self.start is None else [self.start])}]
        for u in self._directions:
            gradients, reached = reverse([last], [u], starts, keep=True)
            whole = sum(float(np.vdot(g, np.asarray(s.value))) for g, s in zip(gradients, starts, strict=True))
            if not abs(whole - float(np.vdot(u, np.asarray(last.value)))) <= 1e-6 * abs(whole):
                return {}  # not linear
            found.append({i: np.asarray(reached[id(t)]) for i, t in enumerate(self.order) if id(t) in reached})
        return {i: [f[i] for f in found] for i in found[0] if i in found[1]}

    def response(self, i: int, value: Array) -> Array:
        """Return what `value` at node `i` contributes to the result: all other paths are zero."""
        values, waiting, last = {i: value}, list(self.users[i]), -1
        heapq.heapify(waiting)
        while waiting:
            if (j := heapq.heappop(waiting)) == last:
                continue
            last = j
            single = self._only_summand(j, values)
            if single is not None:  # most of the nodes of an unrolled loop add up what its steps contribute
                values[j] = single
                for user in self.users[j]:
                    heapq.heappush(waiting, user)
                continue
            inputs = [
                x if p is None else values[p] if p in values else np.zeros_like(x)
                for x, p in zip(self.operands[j], self.dependent[j], strict=True)
            ]
            if np.any(found := self.plain(j, inputs)):
                values[j] = found
                for user in self.users[j]:
                    heapq.heappush(waiting, user)
        return values.get(len(self.order) - 1, np.zeros(self.order[-1].shape))

    def _only_summand(self, i: int, values: Mapping[int, Array]) -> Array | None:
        """Return the one summand of node `i` that is not zero, if the node is a sum of gradients of its shape."""
        if self.order[i].op is not ADD or None in self.dependent[i]:
            return None
        found = [values[p] for p in self.dependent[i] if p is not None and p in values]
        return found[0] if len(found) == 1 and found[0].shape == self.order[i].shape else None

    def plain(self, i: int, inputs: list[Array]) -> Array:
        """Return node `i` computed as it is, from `inputs`."""
        node = self.order[i]
        if node.op is None:
            return np.asarray(node.value)
        return np.asarray(node.op.evaluate(*inputs, **node.attrs))


def _index_of(node: Tensor) -> tuple[str, ...]:
    """Return which part of an array a node takes or fills, without the number of a step."""
    return tuple("#" if isinstance(k, int) else repr(k) for k in node.attrs.get("index", ()))


def _counted(keys: Sequence[tuple[Any, ...]]) -> dict[tuple[Any, ...], tuple[int, int]]:
    found: dict[tuple[Any, ...], tuple[int, int]] = {}
    for i, key in enumerate(keys):
        first, count = found.get(key, (i, 0))
        found[key] = (first, count + 1)
    return found


def _recorded(
    forward: Sequence[Tensor], loss: Tensor, start: Tensor, node: Tensor, fixed: Mapping[int, Tensor]
) -> tuple[Any, dict[int, Any]]:
    """Record the reverse pass, without naming its nodes."""
    saved = [t.name for t in forward]
    for t in forward:
        t.name = None
    try:
        (result,), reached = reverse([loss], [start], [node], keep=True, given=fixed)
    finally:
        for t, name in zip(forward, saved, strict=True):
            t.name = name
    return result, reached
