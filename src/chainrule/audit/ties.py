"""Elements of a gradient for which there is a choice: which of several equal elements is the maximum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..adapters.backward_pass import Point
from ..core.op import Array
from ..core.tensor import Tensor
from .reference import gradient, rebuilt

#: Relative difference from which on the choice matters; where it cancels, as in a stable softmax, rounding is left.
_MATTERS = 1e-9


def with_all_of_equals(point: Point) -> Point | None:
    """Return the run with each of equal extrema counted fully in place of the table's choice; None without ties."""
    other = {id(node): _counting_all(node) for node in point.order if _has_ties(node)}
    if not other:
        return None
    new = rebuilt(point, other)
    nodes = {n: new[id(t)] for n, t in point.nodes.items() if id(t) in new}
    return Point(point.label, point.values, nodes=nodes, loss=new[id(point.root)])


def _has_ties(node: Tensor) -> bool:
    if node.op is None or node.op.at_kink is None or node.op.selects is None:
        return False
    if not any(x.recordings for x in node.inputs):
        return False
    return bool(np.any(node.op.at_kink(node.value, *(x.value for x in node.inputs), **node.attrs)))


def _counting_all(node: Tensor) -> Any:
    """Return what makes a node of the same value, the sum of all elements that are selected less what is too much."""
    op, values = node.op, [x.value for x in node.inputs]
    assert op is not None and op.selects is not None
    selected = [op.selects(i, node.value, *values, **node.attrs) for i in range(len(values))]
    masks = [np.asarray(s[0](), np.float64) if s is not None and callable(s[0]) else None for s in selected]

    def made(new: Mapping[int, Tensor]) -> Any:
        total: Any = np.asarray(node.value)
        for x, value, mask in zip(node.inputs, values, masks, strict=True):
            if mask is not None:
                change = (new[id(x)] - value) * mask
                total = total + (np.sum(change, **node.attrs) if node.attrs else change)
        return total

    return made


def chosen(other: Point | None, name: str, given: Mapping[str, Array], expected: Array) -> Array:
    """Return which elements of a gradient depend on the choice, found from the run `with_all_of_equals`."""
    if other is None:
        return np.zeros(expected.shape, bool)
    counted = gradient(other, name, {n: g for n, g in given.items() if n in other.nodes})
    if counted is None or counted.shape != expected.shape:
        return np.zeros(expected.shape, bool)
    size = float(np.max(np.abs(expected), initial=0.0))
    return np.asarray(np.abs(counted - expected) > _MATTERS * size)
