"""Normalisations (x - mean) / spread whose derivative takes its means over something else."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ...core.op import Array
from ...core.tensor import Tensor
from ..graph import At, Change, GradientGraph
from .alterations import DIVIDE, MULTIPLY, SUBTRACT
from .table import Cause, mistake
from .variants import Changes, Context, Variant, changed

#: Means of what: of an array, with its axes kept.
Mean = Callable[[Array], Array]
BLOCKS = (2, 3, 4, 8)


class WrongAxis(Cause):
    """A mean or a sum runs over other elements than it should.

    Wrong
    -----
        x = rng.normal(size=(6, 5))


        def forward(x):
            spread = np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
            n = (x - x.mean(axis=1, keepdims=True)) / spread
            return n, (n, spread)


        def backward(dout, cache):
            n, spread = cache
            mean, along = np.mean(dout), np.mean(dout * n)  # wrong
            return {"dx": (dout - mean - n * along) / spread}


        report = cr.audit_layer(forward, backward, x)

    Right
    -----
        mean, along = dout.mean(axis=1, keepdims=True), (dout * n).mean(axis=1, keepdims=True)

    How it shows
    ------------
    Right for a single row. With several, rows act on each other's gradients that have nothing to do with each other.

    Why it is wrong
    ---------------
    Each row is normalised by its own mean and spread, so the means in its derivative are over that row: the same axes
    as in the forward pass.
    """

    code = "wrong-axis"
    shown_in = "dx"


class Normalisation(NamedTuple):
    """A value (x - mean) / spread that the gradient goes through; `start` is the position of the gradient of x."""

    start: int
    out: Tensor
    spread: Array


@mistake(WrongAxis, "the means in the derivative of the normalisation run over {what}")
def _over_more(context: Context) -> Iterator[Variant]:
    for k, found in enumerate(_normalisations(context)):
        axes = range(found.out.ndim)
        for count in range(1, found.out.ndim + 1):
            for chosen in itertools.combinations(axes, count):
                listed = f"ax{'is' if count == 1 else 'es'} {', '.join(map(str, chosen))}"
                what = "all elements" if count == found.out.ndim else listed
                yield changed(found.start, _means_over(k, _along(chosen)), what=what)
        own = tuple(a for a in axes if found.spread.ndim != found.out.ndim or found.spread.shape[a] == 1)
        for size in BLOCKS:
            yield changed(found.start, _means_over(k, _in_blocks(size, own)), what=f"blocks of {size} rows")


def _along(axes: tuple[int, ...]) -> Mean:
    return lambda array: np.mean(array, axis=axes, keepdims=True)


def _in_blocks(size: int, axes: tuple[int, ...]) -> Mean:
    """Return the mean over some axes and over blocks of rows."""

    def mean(array: Array) -> Array:
        rows = np.mean(array, axis=axes, keepdims=True)
        for start in range(0, len(rows), size):
            rows[start : start + size] = np.mean(rows[start : start + size], axis=0, keepdims=True)
        return np.asarray(rows)

    return mean


def _normalisations(context: Context) -> list[Normalisation]:
    """Return each normalised value that the gradient goes through."""
    found: list[Normalisation] = context.once("normalisations", lambda: list(_found(context)))
    return found


def _found(context: Context) -> Iterator[Normalisation]:
    graph = context.graph
    last = {id(context.point.nodes[graph.name]): len(graph.order) - 1}
    for out in graph.forward.values():
        if out.op not in (DIVIDE, MULTIPLY) or out.inputs[0].op is not SUBTRACT or id(out) not in graph.reached:
            continue
        source, scale = out.inputs[0].inputs[0], np.asarray(out.inputs[1].value)
        start = graph.reached.get(id(source), last.get(id(source)))
        if start is not None and source.shape == out.shape and 1 < scale.size < out.size:
            yield Normalisation(start, out, scale if out.op is DIVIDE else 1 / scale)


def _means_over(k: int, mean: Mean) -> Changes:
    """Return the change to (g - mean(g) - out · mean(g · out)) / spread, with other means."""

    def changes(context: Context) -> dict[int, Change]:
        start, node, spread = _normalisations(context)[k]
        p, out = context.graph.reached[id(node)], np.asarray(node.value)

        def change(graph: GradientGraph, i: int, inputs: list[Array], at: At) -> Array:
            g = at(p)
            return np.asarray((g - mean(g) - out * mean(g * out)) / spread)

        return {start: change}

    return changes
