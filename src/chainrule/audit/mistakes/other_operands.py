"""Operands that are another part of the pass: slices of the same array, values without a name, complements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...core.op import Array
from ...core.tensor import Tensor
from ...ops.contract import MATMUL
from ..graph import Change, GradientGraph
from .alterations import MULTIPLY
from .general import WrongOperand
from .products import arrays, factors
from .table import Cause, mistake
from .variants import LEAST_OF_A_LOOP, Changes, Context, Variant, at, changed, exchange

#: How many values of a shape are tried in place of an operand.
MOST_ARRAYS = 12


class WrongTimeStep(Cause):
    """The values are those of the step of time before or after.

    Wrong
    -----
        X, Y = rng.normal(size=(5, 6, 3)), rng.normal(size=(6, 4))
        P = {"W": rng.normal(size=(3, 4)) / 2, "U": rng.normal(size=(4, 4)) / 2}


        def forward(X, P):
            h = [np.zeros((X.shape[1], 4))]
            for x in X:
                h.append(np.tanh(x @ P["W"] + h[-1] @ P["U"]))
            return {"X": X, "h": h, "out": h[-1]}


        def loss(out, Y):
            return np.sum((out - Y) ** 2) / 2


        def backward(cache, Y, P):
            X, h = cache["X"], cache["h"]
            dW, dU, dh = 0, 0, cache["out"] - Y
            for t in reversed(range(len(X))):
                dz = dh * (1 - h[t + 1] ** 2)
                dW, dU = dW + X[t - 1].T @ dz, dU + h[t].T @ dz  # wrong
                dh = dz @ P["U"].T
            return {"dW": dW, "dU": dU}


        report = cr.audit(backward, forward=forward, loss=loss, parameters=P, X=X, Y=Y)

    Right
    -----
        dW, dU = dW + X[t].T @ dz, dU + h[t].T @ dz

    How it shows
    ------------
    All shapes agree, and the gradient has about the right size. With an input that is the same at all times nothing
    shows.

    Why it is wrong
    ---------------
    `z[t] = X[t] W + h[t−1] U`: the step t multiplies W by X[t], so the gradient has that factor with dz[t]. `X[t - 1]`
    at t = 0 is the last one, without an error.
    """

    code = "wrong-time-step"
    shown_in = "dW"


# -- slices of one array -----------------------------------------------------------------------------------------------


@mistake(WrongTimeStep, "{name} is taken one step {when} the right one along axis {axis}")
def _slices_shifted(context: Context) -> Iterator[Variant]:
    """Every operand that is a slice X[t] of a value, taken at t - 1 or t + 1."""
    for name, axis in dict.fromkeys((n, a) for _, _, n, a, _ in _slices(context)):
        for by, when in ((-1, "before"), (1, "after")):
            yield changed(0, _shifted(name, axis, by), None, "", name=name, when=when, axis=axis)


def _slices(context: Context) -> list[tuple[int, int, str, int, int]]:
    """Return the operands of products that are slices: (node, operand, name, axis, index)."""
    found: list[tuple[int, int, str, int, int]] = context.once("slices", lambda: list(_found_slices(context)))
    return found


def _found_slices(context: Context) -> Iterator[tuple[int, int, str, int, int]]:
    """Yield the slices of each value; in a loop those of an array in which all steps of the line have theirs."""
    graph = context.graph
    stacks = {**context.point.values, **context.values} if len(graph.order) > LEAST_OF_A_LOOP else context.point.values
    found: dict[tuple[str, int], dict[Any, list[tuple[int, int, int]]]] = {}
    for i, k, _, factor, label in factors(context, MATMUL, MULTIPLY):
        value = np.asarray(factor.value)
        for name, whole in stacks.items() if not label and value.size > 1 else ():
            if (place := _place_in(np.asarray(whole), value)) is not None:
                found.setdefault((name, place[0]), {}).setdefault(graph.lines[i], []).append((i, 1 - k, place[1]))
    taken: set[int] = set()
    for (name, axis), lines in found.items():
        kept = {line: p for line, p in lines.items() if len(p) == graph.classes_of_lines[line][1]}
        alike = {_kind(graph, i) for places in kept.values() if len(places) > 1 for i, _, _ in places}
        for places in kept.values():  # a first state of zeros is in every array that begins with them
            nodes = {i for i, _, _ in places}
            if not taken & nodes and (len(places) > 1 or not alike or _kind(graph, places[0][0]) in alike):
                taken |= nodes
                yield from ((i, k, name, axis, index) for i, k, index in places)


def _kind(graph: GradientGraph, i: int) -> tuple[Any, ...]:
    return graph.order[i].op, graph.order[i].shape


def _place_in(whole: Array, part: Array) -> tuple[int, int] | None:
    """Return the axis and the index at which an array, or its transpose, lies in another."""
    if whole.ndim not in (part.ndim + 1, part.ndim):
        return None
    for axis in range(whole.ndim):
        lines = np.moveaxis(whole, axis, 0)
        for turned in (part, part.T):
            if lines[:1].size == turned.size and lines.shape[0] > 1:
                same = np.flatnonzero((lines.reshape(len(lines), -1) == turned.ravel()).all(axis=1))
                if same.size:
                    return axis, int(same[0])
    return None


def _shifted(name: str, axis: int, by: int) -> Changes:
    def changes(context: Context) -> dict[int, Change] | None:
        whole = np.asarray(context.point.values[name] if name in context.point.values else context.values[name])
        made: dict[int, Change] = {}
        for i, k, other, a, index in _slices(context):
            if (other, a) == (name, axis):
                part = np.take(whole, (index + by) % whole.shape[axis], axis=axis)
                made[i] = exchange(k, _like(np.take(whole, index, axis=axis), part))
        return made

    return changes


def _like(old: Array, new: Array) -> Callable[[GradientGraph, Array], Array]:
    """Return what puts a slice in the place of another, turned as that is."""

    def put(graph: GradientGraph, operand: Array) -> Array:
        straight = operand.size == old.size and np.array_equal(operand.ravel(), old.ravel())
        return (new if straight else new.T).reshape(operand.shape)

    return put


# -- values without a name ---------------------------------------------------------------------------------------------


@mistake(WrongOperand, "another part of {what} is used in place of an operand")
def _other_value_without_name(context: Context) -> Iterator[Variant]:
    for i, k, _, factor, label in factors(context, MATMUL, MULTIPLY) if context.uniform else ():
        others = _unnamed(context, factor.shape) if factor.size > 1 else []
        for n in others[:MOST_ARRAYS]:
            what = f"the pass than {label}" if label else "the pass"
            yield from at(context, i, exchange(1 - k, _nth(n)), what=what)


def _unnamed(context: Context, shape: tuple[int, ...]) -> list[int]:
    """Return the positions of the operands of a shape that have no name: slices, and what is computed in between."""
    found: dict[tuple[int, ...], list[int]] = context.once("unnamed operands", lambda: _by_shape(context))
    return found.get(shape, [])


def _by_shape(context: Context) -> dict[tuple[int, ...], list[int]]:
    found: dict[tuple[int, ...], list[int]] = {}
    for n, node in enumerate(_operands(context.graph)):
        if not context.graph.name_of(node):
            found.setdefault(node.shape, []).append(n)
    return found


def _operands(graph: GradientGraph) -> list[Tensor]:
    """Return the operands of a gradient that are not gradients, each once, in the order of the graph."""
    pairs = zip(graph.order, graph.dependent, strict=True)
    return list({id(x): x for t, ps in pairs for x, p in zip(t.inputs, ps, strict=True) if p is None}.values())


def _nth(n: int) -> Callable[[GradientGraph, Array], Array]:
    return lambda graph, old: np.asarray(_operands(graph)[n].value)


# -- complements -------------------------------------------------------------------------------------------------------


@mistake(WrongOperand, "1 − {other} is used in place of {right}")
def _complement(context: Context) -> Iterator[Variant]:
    for i, k, _, factor, label in arrays(context, MULTIPLY):
        for other in context.names(factor.shape):
            yield from at(context, i, exchange(1 - k, _one_minus(other)), other=other, right=label or "another value")


def _one_minus(name: str) -> Callable[[GradientGraph, Array], Array]:
    return lambda graph, old: 1 - graph.values[name]
