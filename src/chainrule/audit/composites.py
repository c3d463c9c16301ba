"""Rows of the operation table in place of what a forward pass computes step by step, such as a softmax.

People derive the row's reverse rule by hand, so known mistakes are searched for in that form.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..adapters.backward_pass import Point
from ..core.apply import apply
from ..core.op import ELEMENTWISE, REDUCE, Array, Operation, rows
from ..core.reverse import topological
from ..core.tensor import Tensor
from .reference import rebuilt

#: How many earlier values of the same shape are tried as the input.
NEAREST = 12


def with_rows(point: Point) -> Point:
    """Return the same run with rows in place of what computes the same; else `point` itself."""
    order = point.order
    other: dict[int, Any] = {}
    for node in order:
        if not _mixes(node):
            continue
        for source in _sources(point, order, node):
            found = _row(np.asarray(source.value), np.asarray(node.value))
            if found is not None:
                other[id(node)] = _made(source, *found)
                break
    if not other:
        return point
    new = rebuilt(point, other)
    nodes = {n: new.get(id(t), t) for n, t in point.nodes.items()}
    return dataclasses.replace(point, nodes=nodes, loss=new[id(point.root)])


def _mixes(node: Tensor) -> bool:
    """Whether a node joins an array with a statistic of one, the last step of such a formula."""
    if node.op is None or node.op.kind != ELEMENTWISE or not node.recordings or node.ndim == 0:
        return False
    return any(x.recordings and x.shape != node.shape for x in node.inputs)


def _sources(point: Point, order: list[Tensor], node: Tensor) -> list[Tensor]:
    """Return the values that it may be computed from, without a value between whose gradient was returned."""
    kept = {id(point.nodes[n]) for n in point.gradients if n in point.nodes}
    before = topological([node])
    candidates = [t for t in before[:-1] if t.recordings and t.shape == node.shape][-NEAREST:]
    found = []
    for source in candidates:
        inside = {id(source)}
        for t in before:
            if any(id(x) in inside for x in t.inputs):
                inside.add(id(t))
        if not (inside - {id(source), id(node)}) & kept:
            found.append(source)
    return found


def _row(source: Array, target: Array) -> tuple[Operation, dict[str, Any]] | None:
    """Return the row that gives the target, with its attributes."""
    for op in _candidates():
        for count in range(1, target.ndim + 1):
            for axis in itertools.combinations(range(target.ndim), count):
                if all(target.shape[k] > 1 for k in axis):
                    with np.errstate(all="ignore"):
                        value = np.asarray(op.evaluate(source, axis=axis))
                    if np.allclose(value, target, rtol=1e-9, atol=1e-12):
                        return op, {"axis": axis}
    return None


def _candidates() -> Iterator[Operation]:
    """Yield the rows that take an array to another of its shape along axes, and not by a linear map."""
    for op in rows():
        if op.differentiable and op.kind not in (ELEMENTWISE, REDUCE) and op.examples is not None and _keeps_shape(op):
            yield op


@functools.cache
def _keeps_shape(op: Operation) -> bool:
    example = op.points(np.random.default_rng(0))[0]
    if len(example.inputs) != 1 or set(example.attrs) != {"axis"} or not isinstance(example.attrs["axis"], tuple):
        return False
    x = np.asarray(example.inputs[0])
    return np.shape(op.evaluate(x, **example.attrs)) == x.shape and 0 not in op.linear


def _made(source: Tensor, op: Operation, attrs: dict[str, Any]) -> Any:
    return lambda new: apply(op, (new[id(source)],), attrs)
