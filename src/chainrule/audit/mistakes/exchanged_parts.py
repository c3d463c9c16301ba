"""Parts that change places: the two sides of a condition, the operand that a factor belongs to, blocks of a reshape."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...core.op import Array
from ...ops.contract import MATMUL
from ...ops.logic import WHERE
from ..graph import At, Change, GradientGraph
from .alterations import MULTIPLY
from .general import Transposed, WrongOperand
from .indexing import called, signal_of, upstreams
from .products import arrays, nodes
from .recurrence import WrongGate
from .table import mistake
from .variants import Changes, Context, Variant, changed, exchange, keep, replaced

#: Gradients with more axes that were stretched are not looked at.
MOST_STRETCHED = 3


@mistake(WrongOperand, "the mask is that of the other elements, those for which the condition does not hold")
def _condition_inverted(context: Context) -> Iterator[Variant]:
    """Every mask of one condition at once: the derivative of ``where(x > 0, x, a * x)`` has it twice."""
    first: dict[int, int] = {}
    for i, _ in nodes(context, WHERE):
        first.setdefault(id(context.graph.order[i].inputs[0]), i)
    for i in first.values():
        yield changed(i, _with_condition_inverted(list(first.values()).index(i)))


def _with_condition_inverted(n: int) -> Changes:
    def changes(context: Context) -> dict[int, Change] | None:
        conditions = list(dict.fromkeys(id(context.graph.order[i].inputs[0]) for i, _ in nodes(context, WHERE)))
        if n >= len(conditions):
            return None
        masks = [i for i, _ in nodes(context, WHERE) if id(context.graph.order[i].inputs[0]) == conditions[n]]
        return dict.fromkeys(masks, _inverted)

    return changes


def _inverted(graph: GradientGraph, i: int, inputs: list[Array], at: At) -> Array:
    return graph.plain(i, [np.logical_not(inputs[0]), *inputs[1:]])


@mistake(WrongOperand, "{factor} is multiplied into {other}, not into the gradient")
def _factor_on_the_other_operand(context: Context) -> Iterator[Variant]:
    """``(r * h).T @ g`` in place of ``h.T @ (r * g)``."""
    graph = context.graph
    products = {p: (i, k) for i, k, p, _, _ in arrays(context, MATMUL)} if context.uniform else {}
    for i, k, _, factor, label in arrays(context, MULTIPLY):
        if i not in products:
            continue
        product, gradient = products[i]
        operand = graph.order[product].inputs[1 - gradient]
        turned = factor.shape != operand.shape
        if factor.shape not in (operand.shape, operand.shape[::-1]) or factor.ndim < 2:
            continue
        other = graph.name_of(operand) or (graph.name_of(operand.inputs[0]) if operand.inputs else "")
        words = {"factor": label or "a factor", "other": other or "the other operand"}
        yield changed(i, _moved(i, k, product, gradient, turned), None, "", **words)


def _moved(i: int, k: int, product: int, gradient: int, turned: bool) -> Changes:
    def changes(context: Context) -> dict[int, Change] | None:
        factor = np.asarray(context.graph.order[i].inputs[1 - k].value)
        factor = np.swapaxes(factor, -1, -2) if turned else factor
        return {i: keep(k), product: exchange(1 - gradient, lambda graph, old: old * factor)}

    return changes


@mistake(Transposed, "{upstream} is split into blocks that lie side by side, not into neighbours: a reshape's axes")
def _blocks_for_neighbours(context: Context) -> Iterator[Variant]:
    """``g.reshape(r, n).sum(0)`` in place of ``g.reshape(n, r).sum(1)``, the gradient of each element repeated."""
    for name in upstreams(context):
        axes = _stretched(signal_of(context, name), context.result)
        for count in range(1, len(axes) + 1 if len(axes) <= MOST_STRETCHED else 1):
            for chosen in itertools.combinations(axes, count):
                yield replaced(lambda c, n=name, a=chosen: _summed(c, n, a), upstream=called(context, name))  # type: ignore[misc]


def _stretched(g: Array, result: Array) -> list[int]:
    """Return the axes of a gradient that are a multiple of the result's; none if the others differ."""
    if g.ndim != result.ndim or any(n % max(m, 1) for n, m in zip(g.shape, result.shape, strict=True)):
        return []
    return [a for a in range(g.ndim) if g.shape[a] != result.shape[a]]


def _summed(context: Context, name: str, chosen: tuple[int, ...]) -> Array | None:
    g, shape = signal_of(context, name), context.result.shape
    for axis in _stretched(g, context.result):
        n, r = shape[axis], g.shape[axis] // shape[axis]
        split = (r, n) if axis in chosen else (n, r)
        g = g.reshape(*g.shape[:axis], *split, *g.shape[axis + 1 :]).sum(axis=axis if axis in chosen else axis + 1)
    return g if g.shape == context.found.shape else None


# -- gates in a loop ---------------------------------------------------------------------------------------------------


@mistake(WrongGate, "the gradients of two gates that lie side by side are exchanged, at every step")
def _gates_exchanged(context: Context) -> Iterator[Variant]:
    graph = context.graph
    lines = {
        line: first for line, (first, count) in graph.classes_of_lines.items() if count > 1 and _is_part(graph, first)
    }
    for (one, i), (other, j) in itertools.combinations(lines.items(), 2):
        a, b = graph.order[i], graph.order[j]
        if a.op is b.op and a.shape == b.shape and a.inputs[0].shape == b.inputs[0].shape:
            if repr(a.attrs["index"]) != repr(b.attrs["index"]):
                yield changed(min(i, j), _exchanged(one, other, a.attrs["index"], b.attrs["index"]))


def _is_part(graph: GradientGraph, i: int) -> bool:
    """Whether a node puts a gradient in a part of an axis."""
    index = graph.order[i].attrs.get("index", ())
    parts = [k for k in index if isinstance(k, slice) and k != slice(None)]
    return bool(parts) and graph.order[i].size > graph.order[i].inputs[0].size


def _exchanged(one: Any, other: Any, of_one: Any, of_other: Any) -> Changes:
    def changes(context: Context) -> dict[int, Change]:
        lines = context.graph.lines
        return {i: _put_at(of_other if s == one else of_one) for i, s in enumerate(lines) if s in (one, other)}

    return changes


def _put_at(index: Any) -> Change:
    def change(graph: GradientGraph, i: int, inputs: list[Array], at: At) -> Array:
        node = graph.order[i]
        assert node.op is not None
        return np.asarray(node.op.evaluate(*inputs, **{**node.attrs, "index": index}))

    return change
