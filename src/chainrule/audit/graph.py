"""The gradient of one step as a graph that can be changed: what the known mistakes are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..adapters.backward_pass import Point
from ..core.op import Array
from ..core.reverse import reverse, topological
from ..core.tensor import Recording, Tensor, apply

#: ``change(graph, i, inputs, at)`` computes node i differently; ``at(j)`` is the present value of node j.
Change = Callable[["GradientGraph", int, list[Array], Callable[[int], Array]], Array]


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
    """

    def __init__(self, point: Point, name: str, given: Mapping[str, Array]) -> None:
        assert point.loss is not None
        self.point, self.name = point, name
        recording = Recording("the audit of a step")
        tensors = {n: Tensor(np.asarray(g, np.float64), recordings=frozenset({recording})) for n, g in given.items()}
        node = point.nodes[name]
        fixed = {id(point.nodes[n]): t for n, t in tensors.items() if n != name and point.nodes[n] is not node}
        start = Tensor(np.ones(point.loss.shape), recordings=frozenset({recording}))
        self.values: dict[str, Array] = {}
        ranked = sorted(
            point.nodes.items(), key=lambda item: "[" not in item[0]
        )  # the plainest name goes last, and stays
        self.names_by_id = {id(t): n for n, t in ranked}
        saved = [(t, t.name) for t in topological([point.loss])]
        for t, _ in saved:
            t.name = None
        try:
            (result,), reached = reverse([point.loss], [start], [node], keep=True, given=fixed)
        finally:
            for t, old in saved:
                t.name = old
        self.order: list[Tensor] = []
        self.position: dict[int, int] = {}
        self.seeds: dict[str, int] = {}
        self.from_loss, self.start = False, None
        self.forward = {id(t) for t, _ in saved}
        if not isinstance(result, Tensor):
            self.reached: dict[int, int] = {}
            return
        dependent = {id(start)} | {id(t) for t in tensors.values()}
        kept = []
        for t in topological([result]):
            if id(t) in dependent or any(id(x) in dependent for x in t.inputs):
                dependent.add(id(t))
                kept.append(t)
        self.order = kept
        self.position = {id(t): i for i, t in enumerate(kept)}
        self.seeds = {n: self.position[id(t)] for n, t in tensors.items() if id(t) in self.position}
        self.from_loss = id(start) in self.position
        self.start = self.position.get(id(start))
        self.reached = {k: self.position[id(g)] for k, g in reached.items() if id(g) in self.position}
        self.users: list[list[int]] = [[] for _ in kept]
        for i, t in enumerate(kept):
            for x in t.inputs:
                j = self.position.get(id(x))
                if j is not None:
                    self.users[j].append(i)
        self._keep = (tensors, start, reached)

    def structure(self) -> tuple[str, ...]:
        """Return the operations in order: graphs with the same structure can be changed at the same place."""
        return tuple(t.op.name if t.op is not None else "" for t in self.order)

    def dependent(self, i: int) -> list[int | None]:
        """Return, for each input of node `i`, its position, or None for a value of the forward pass."""
        return [self.position.get(id(x)) for x in self.order[i].inputs]

    def evaluated(self, changes: Mapping[int, Change]) -> Array:
        """Return the result with the nodes in `changes` computed differently."""
        values: dict[int, Array] = {}

        def at(j: int) -> Array:
            return values[j] if j in values else np.asarray(self.order[j].value)

        for i in range(min(changes), len(self.order)):
            node = self.order[i]
            positions = self.dependent(i)
            touched = i in changes or any(p in values for p in positions if p is not None)
            if not touched:
                continue
            inputs = [
                values[p] if p is not None and p in values else np.asarray(x.value)
                for p, x in zip(positions, node.inputs, strict=True)
            ]
            if i in changes:
                values[i] = changes[i](self, i, inputs, at)
            else:
                assert node.op is not None
                values[i] = np.asarray(node.op.evaluate(*inputs, **node.attrs))
        last = len(self.order) - 1
        value = self.order[last].value
        assert value is not None
        return values.get(last, value)

    def plain(self, i: int, inputs: list[Array]) -> Array:
        """Return node `i` computed as it is, from `inputs`."""
        node = self.order[i]
        if node.op is None:
            return np.asarray(node.value)
        return np.asarray(node.op.evaluate(*inputs, **node.attrs))


# -- elementwise regions of the forward pass ---------------------------------------------------------------------------


class Region:
    """A part of the forward pass that maps one array to another element by element: an activation, a mask.

    Attributes
    ----------
    source, target : Tensor
    kind : str
        "relu", "sigmoid", "tanh", …, "mask" for a constant with zeros, "factor" for another constant, or "".
    """

    def __init__(self, source: Tensor, target: Tensor) -> None:
        self.source, self.target = source, target
        self.derivative = self.derivative_at(np.asarray(source.value))
        self.kind, self.parameter = recognised(np.asarray(source.value), np.asarray(target.value), self.derivative)

    def function(self, x: Tensor) -> Tensor:
        """Return the target computed from another source."""
        memo: dict[int, Any] = {id(self.source): x}
        for node in topological([self.target]):
            if id(node) in memo or node.op is None or not any(id(i) in memo for i in node.inputs):
                continue
            inputs = [memo.get(id(i), i) for i in node.inputs]
            memo[id(node)] = apply(node.op, tuple(inputs), dict(node.attrs))
        return memo[id(self.target)]  # type: ignore[no-any-return]

    def derivative_at(self, value: Array) -> Array:
        """Return the derivative at another value of the source."""
        leaf = Tensor(np.asarray(value, np.float64), recordings=frozenset({Recording("the audit of a region")}))
        with np.errstate(all="ignore"):
            out = self.function(leaf)
            (g,), _ = reverse([out], [np.ones(out.shape)], [leaf])
        return np.zeros(leaf.shape) if g is None else np.asarray(g)


def regions(point: Point) -> list[Region]:
    """Return the elementwise regions of a recorded forward pass, named values being their borders."""
    assert point.loss is not None
    order = topological([point.loss])
    masks = [np.asarray(v) != 0 for n, v in point.constants.items() if n not in point.values and v.dtype.kind in "fiub"]
    named = {id(t) for t in point.nodes.values()} | {id(t) for n in order if (t := _masked(n, masks)) is not None}
    source: dict[int, dict[int, Tensor]] = {}
    users: dict[int, list[Tensor]] = {}
    for node in order:
        for x in node.inputs:
            users.setdefault(id(x), []).append(node)
        if node.op is None or not node.recordings or node.op.kind != "elementwise":
            continue
        found: dict[int, Tensor] = {}
        for x in node.inputs:
            if x.recordings or (x.op is not None and not x.op.differentiable):
                inner = source.get(id(x)) if id(x) not in named else None
                if x.op is not None and not x.op.differentiable:
                    continue
                found.update(inner if inner and len(inner) == 1 else {id(x): x})
        source[id(node)] = found
    result = []
    for node in order:
        found = source.get(id(node), {})
        if len(found) != 1 or not node.shape:
            continue
        (start,) = found.values()
        if start.shape != node.shape:
            continue
        exits = id(node) in named or any(
            len(source.get(id(u), {})) != 1 or u.shape != node.shape for u in users.get(id(node), [])
        )
        if exits:
            result.append(Region(start, node))
    return result


def _masked(node: Tensor, masks: Sequence[Array]) -> Tensor | None:
    """Return what a node multiplies by one of the masks that the cache holds; None where it does not."""
    if node.op is None or node.op.name != "multiply":
        return None
    for x, mask in (node.inputs, node.inputs[::-1]):
        if not x.recordings or mask.recordings or mask.value is None or x.shape != mask.shape:
            continue
        kept = mask.value != 0
        if not kept.all() and any(kept.shape == m.shape and np.array_equal(kept, m) for m in masks):
            return x
    return None


def _sigmoid(z: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-z)))


#: Known activations: the function and its derivative at z.
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "sigmoid": (_sigmoid, lambda z: _sigmoid(z) * (1 - _sigmoid(z))),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "softplus": (lambda z: np.logaddexp(z, 0), _sigmoid),
    "elu": (
        lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
        lambda z: np.where(z > 0, 1.0, np.exp(np.minimum(z, 0))),
    ),
    "swish": (lambda z: z * _sigmoid(z), lambda z: _sigmoid(z) * (1 + z * (1 - _sigmoid(z)))),
    "square": (np.square, lambda z: 2 * z),
    "exp": (np.exp, np.exp),
}


def recognised(z: Array, a: Array, derivative: Array) -> tuple[str, float]:
    """Return which activation leads from z to a, and its slope for a leaky ReLU or a constant factor."""
    with np.errstate(all="ignore"):
        for name, (function, _) in ACTIVATIONS.items():
            if np.allclose(function(z), a, rtol=1e-9, atol=1e-12):
                return name, 0.0
        negative = (z < 0) & np.isfinite(z)
        if negative.any() and (z > 0).any() and np.allclose(a[z > 0], z[z > 0]):
            slope = float(a[negative][0] / z[negative][0])
            if np.allclose(a[negative], slope * z[negative]):
                return "leaky_relu", slope
        if np.allclose(a, derivative * z, rtol=1e-9):
            if np.allclose(derivative, derivative.flat[0] if derivative.size else 1.0):
                return "factor", float(derivative.flat[0])
            values = np.unique(np.round(derivative, 12))
            if len(values) == 2 and 0 in values and not np.array_equal(derivative != 0, z > 0):
                return "mask", float(values.max())
    return "", 0.0
