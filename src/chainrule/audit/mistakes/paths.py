"""Paths to the loss that are left out: terms of long sums, values that are treated as constants."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from ...core.op import REDUCE, Array
from ...core.tensor import Tensor
from ...ops.index import PLACE
from ..graph import At, Change, GradientGraph
from .alterations import ADD
from .general import MissingTerm
from .table import mistake
from .variants import Changes, Context, Variant, changed, replaced

MOST_TERMS, MOST_SUMS, MOST_STATISTICS = 96, 12, 12


def chains(graph: GradientGraph) -> list[list[int]]:
    """Return the sums of several terms in a gradient: for each, the position of the sum and then of its terms."""
    found = []
    adds = {i for i, n in enumerate(graph.order) if n.op is ADD and None not in graph.dependent[i]}
    for root in sorted(adds):
        if any(u in adds and len(graph.users[root]) == 1 for u in graph.users[root]):
            continue
        terms: list[int] = []
        stack = [root]
        while stack:
            i = stack.pop()
            if i in adds and (i == root or len(graph.users[i]) == 1):
                stack += [p for p in graph.dependent[i] if p is not None]
            else:
                terms.append(i)
        if 3 <= len(terms) <= MOST_TERMS or root == len(graph.order) - 1:
            found.append([root, *terms])
    return sorted(found, key=len, reverse=True)[:MOST_SUMS]


def weighted_terms(context: Context, weights: tuple[float, ...]) -> Iterator[Variant]:
    """Yield what a sum gives with each of its terms multiplied by one of the weights."""
    for k, chain in enumerate(chains(context.graph)):
        if context.found.size * len(context.at_points) > len(chain):
            yield replaced(_with_weights(k, len(chain), weights))


def _with_weights(k: int, length: int, weights: tuple[float, ...]) -> Callable[[Context], Array | None]:
    solved: list[Array] = []  # the weight of each term, from all points

    def compute(context: Context) -> Array | None:
        split = terms_of(context, k)
        if split is None or len(split[1]) + 1 != length:
            return None
        rest, through = split
        if not solved:
            solution = weights_of(context, k)
            chosen = np.asarray(weights)[np.argmin(np.abs(solution[:, None] - np.asarray(weights)), axis=1)]
            if not np.max(np.abs(solution - chosen)) <= 1e-6 or not chosen.any():
                return None
            solved.append(chosen)
        return np.asarray(rest + np.tensordot(solved[0], np.stack(through), axes=1))

    return compute


def terms_of(context: Context, k: int) -> tuple[Array, list[Array]] | None:
    """Return what does not come through the `k`-th sum of a gradient, and what comes through each of its terms."""
    found: tuple[Array, list[Array]] | None = context.once(("terms of a sum", k), lambda: _terms_of(context, k))
    return found


def weights_of(context: Context, k: int) -> Array:
    """Return the weights of the terms that fit best, at all points together where they have the same terms."""
    return np.asarray(context.once(("weights of the terms", k), lambda: solved_together(context, _split(k))))


def _split(k: int) -> Callable[[Context], tuple[Array, list[Array]] | None]:
    return lambda context: terms_of(context, k)


def solved_together(context: Context, split: Callable[[Context], tuple[Array, list[Array]] | None]) -> Array:
    """Return the weights in found = rest + Σ weight · part that fit best; NaN where there are too few numbers."""
    count = len((split(context) or (None, []))[1])
    designs, wanted = [], []
    for other in context.at_points if context.uniform else (context,):
        rest, parts = split(other) or (np.zeros(0), [])
        if len(parts) == count > 0:
            designs.append(np.stack([part.ravel() for part in parts], axis=1))
            wanted.append((other.found - rest).ravel())
    if not count or sum(map(len, wanted)) < count + 2:
        return np.full(count, np.nan)
    design, target = np.concatenate(designs), np.concatenate(wanted)
    solution, *_ = np.linalg.lstsq(design, target, rcond=None)
    return np.asarray(solution)


def _terms_of(context: Context, k: int) -> tuple[Array, list[Array]] | None:
    """Return what comes through each term of a sum, and what does not come through it."""
    graph = context.graph
    root, *terms = chains(graph)[k]
    if context.result.shape != context.found.shape:
        return None
    through = [graph.evaluated({root: _given(np.asarray(graph.order[t].value))}) for t in terms]
    return context.result - np.sum(through, axis=0), through


def _given(value: Array) -> Change:
    return lambda graph, i, inputs, at: value


@mistake(MissingTerm, "overlapping parts replace each other instead of adding up")
def _overlapping_parts(context: Context) -> Iterator[Variant]:
    for k in range(len(chains(context.graph))):
        for order in (1, -1):
            yield replaced(_overwritten_parts(k, order))


def _overwritten_parts(k: int, order: int) -> Callable[[Context], Array | None]:
    def compute(context: Context) -> Array | None:
        graph = context.graph
        root, *terms = chains(graph)[k]
        out: Array | None = None
        for i in terms[::order]:
            node = graph.order[i]
            if node.op is not PLACE:
                return None
            out = np.zeros(node.attrs["shape"]) if out is None else out
            out[node.attrs["index"]] = node.inputs[0].value
        return None if out is None else graph.evaluated({root: _given(out)})

    return compute


# -- values that are treated as constants ------------------------------------------------------------------------------


@mistake(MissingTerm, "{values} treated as a constant: the path through it is left out")
def _statistic_constant(context: Context) -> Iterator[Variant]:
    """A mean, a variance or another reduction of the forward pass, or two of them, that depend on the value too."""
    found = _statistics(context.graph)
    if len(found) > MOST_STATISTICS:  # a loop: its reductions are not statistics
        return
    for i in range(len(found)):
        yield changed(_first(context, found[i]), _cut([i]), values=f"{_called(context.graph, found[i])} is")
    for i, j in itertools.combinations(range(len(found)), 2):
        if found[i].shape == found[j].shape:
            both = " and ".join(dict.fromkeys(_called(context.graph, found[k]) for k in (i, j)))
            start = min(_first(context, found[i]), _first(context, found[j]))
            yield changed(start, _cut([i, j]), values=f"{both}, each, is")


def _statistics(graph: GradientGraph) -> list[Tensor]:
    last = len(graph.order) - 1
    return [
        node
        for key, node in graph.forward.items()
        if node.op is not None and node.op.kind == REDUCE and graph.reached.get(key, last) < last
    ]


def _first(context: Context, node: Tensor) -> int:
    return context.graph.reached[id(node)]


def _called(graph: GradientGraph, node: Tensor) -> str:
    """Return how messages call a reduction: by its name, or that of what is computed from it alone."""
    users: dict[int, list[Tensor]] = {}
    for t in graph.forward.values():
        for x in t.inputs:
            users.setdefault(id(x), []).append(t)
    while not graph.name_of(node):
        after = users.get(id(node), [])
        if len(after) != 1 or after[0].shape != node.shape:
            return "a statistic of the forward pass"
        node = after[0]
    return graph.name_of(node)


def _cut(which: list[int]) -> Changes:
    def changes(context: Context) -> dict[int, Change]:
        graph = context.graph
        found = _statistics(graph)
        return {graph.reached[id(found[k])]: _zero for k in which}

    return changes


def _zero(graph: GradientGraph, i: int, inputs: list[Array], at: At) -> Array:
    return np.zeros(graph.order[i].shape)
