"""Gradients of a parameter that a loop uses again and again: which uses contribute, and what comes to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ...core.op import Array
from ..graph import Change
from .derivatives import roles
from .general import MissingTerm
from .indexing import axes_named, called, signal_of, upstreams
from .paths import chains, solved_together, terms_of
from .recurrence import Truncated
from .table import mistake
from .variants import Context, Variant, replaced

#: Longer loops are not taken apart by output and use.
MOST_STEPS = 12
#: Loops are taken apart that use a parameter at least so often.
LEAST_USES = 2

Parts = tuple[Array, list[Array]]


# -- by the place of the use -------------------------------------------------------------------------------------------


@mistake(MissingTerm, "only what comes through {kept} is added up")
def _uses_left_out(context: Context) -> Iterator[Variant]:
    """A parameter that several layers, or gates at all times, share: what comes through some of them is left out."""
    for k in range(len(chains(context.graph))):
        groups = _groups(context, k)
        if 2 <= len(groups) < len(chains(context.graph)[k]) - 1:
            weights = _rounded(solved_together(context, _by_group(k)))
            if weights is not None and weights.any() and not weights.all():
                kept = " and ".join(name for name, w in zip(groups, weights, strict=True) if w)
                yield replaced(_weighted(_by_group(k), weights), kept=kept or "some uses")


def _groups(context: Context, k: int) -> dict[str, list[int]]:
    """Return the terms of a sum by the parameters of the region that they come through."""
    graph = context.graph
    where = {
        graph.reached.get(id(region.source)): ", ".join(sorted(parameters - {graph.name}))
        for region, (parameters, _) in zip(context.regions, roles(context), strict=True)
    }
    found: dict[str, list[int]] = {}
    for n, term in enumerate(chains(graph)[k][1:]):
        i: int | None = term
        while i is not None and i not in where:
            i = next((p for p in graph.dependent[i] if p is not None), None)
        found.setdefault(where.get(i, ""), []).append(n)
    return found


def _by_group(k: int) -> Callable[[Context], Parts | None]:
    def split(context: Context) -> Parts | None:
        if k >= len(chains(context.graph)) or (terms := terms_of(context, k)) is None:
            return None
        rest, through = terms
        return rest, [np.sum([through[n] for n in group], axis=0) for group in _groups(context, k).values()]

    return split


def _rounded(solution: Array) -> Array | None:
    """Return weights that are all 0 or 1; None for others."""
    chosen = np.round(solution)
    fits = chosen.size > 0 and np.max(np.abs(solution - chosen)) <= 1e-6
    return chosen if fits and np.isin(chosen, (0.0, 1.0)).all() else None


def _weighted(split: Callable[[Context], Parts | None], weights: Array) -> Callable[[Context], Array | None]:
    def compute(context: Context) -> Array | None:
        rest, parts = split(context) or (None, [])
        if rest is None or len(parts) != len(weights):
            return None
        return np.asarray(rest + np.tensordot(weights, np.stack(parts), axes=1))

    return compute


# -- by output and use -------------------------------------------------------------------------------------------------


@mistake(Truncated, "{what}")
def _steps_left_out(context: Context) -> Iterator[Variant]:
    """Of the outputs of a loop only some go back in time, or not all the way."""
    for name, i in upstreams(context).items() if context.uniform else ():
        shapes = [signal_of(c, name).shape for c in context.at_points]
        for axis, lengths in enumerate(zip(*shapes, strict=True)):
            if not 2 <= lengths[0] <= MOST_STEPS or len(set(lengths)) > 1:  # an axis of examples, not of steps
                continue
            split = _by_output_and_use(name, axis)
            _, parts = split(context) or (None, [])
            reached = np.array([np.any(part) for part in parts]).reshape(lengths[0], -1)
            later = parts and len(set(reached.sum(axis=1).tolist())) == lengths[0]  # later outputs go back to more uses
            for weights in _tables(context, split, reached) if later else ():
                what, cause = _told(weights, reached, axes_named((axis,)), called(context, name))
                variant = replaced(_weighted(split, weights.ravel()), "", cause, what=what)
                variant.start, variant.evaluations = i, 0
                yield variant


def _tables(context: Context, split: Callable[[Context], Parts | None], reached: Array) -> Iterator[Array]:
    """Yield which outputs may go back to which uses: 0 and 1 as they fit best, or a plain rule for too few numbers."""
    live = np.flatnonzero(reached)
    solution = solved_together(context, _only(split, live.tolist()))
    if np.isfinite(solution).all():
        weights = np.zeros(reached.shape)
        if (chosen := _rounded(solution)) is not None and chosen.any():
            weights.ravel()[live] = chosen
            yield weights
        return
    for outputs in (slice(None), slice(-1, None), slice(0, 1)):
        kept = np.zeros(reached.shape, bool)
        kept[outputs] = reached[outputs]
        for depth in range(1, reached.shape[1] + 1):
            count = np.cumsum(reached, axis=1)
            for near in (count > count[:, -1:] - depth, count <= depth):
                if (kept & near).any() and not near[reached].all():
                    yield (kept & near) * 1.0


def _only(split: Callable[[Context], Parts | None], live: Sequence[int]) -> Callable[[Context], Parts | None]:
    def chosen(context: Context) -> Parts | None:
        rest, parts = split(context) or (None, [])
        return None if rest is None or max(live, default=0) >= len(parts) else (rest, [parts[k] for k in live])

    return chosen


def _by_output_and_use(name: str, axis: int) -> Callable[[Context], Parts | None]:
    return lambda context: context.once(("output and use", name, axis), lambda: _taken_apart(context, name, axis))


def _taken_apart(context: Context, name: str, axis: int) -> Parts | None:
    """Return what each position of an upstream gradient along an axis gives each use of the parameter."""
    graph, last = context.graph, len(context.graph.order) - 1
    _, *uses = next((c for c in chains(graph) if c[0] == last), [last])
    i = upstreams(context).get(name)
    if not LEAST_USES <= len(uses) <= MOST_STEPS or i is None or context.result.shape != context.found.shape:
        return None
    g = signal_of(context, name)
    parts: list[Array] = []
    for position in range(g.shape[axis]):
        alone = np.zeros_like(g)
        np.moveaxis(alone, axis, 0)[position] = np.moveaxis(g, axis, 0)[position]
        values = graph.values_with({i: _given(alone)})
        nothing = np.zeros(context.result.shape)
        parts += [values[u] if u in values else nothing for u in uses]
    return context.result - np.sum(parts, axis=0), parts


def _given(value: Array) -> Change:
    return lambda graph, i, inputs, at: value


def _told(weights: Array, reached: Array, axis: str, upstream: str) -> tuple[str, str]:
    """Return what is left out in words, and its cause.

    `weights` and `reached` say for each output and use, whether it is added up and whether it is one at all.
    """
    outputs = weights.any(axis=1)
    full = bool((weights[outputs] == reached[outputs]).all())
    some = f"of {upstream} only {int(np.sum(outputs))} of {len(weights)} positions along {axis} contribute"
    if full:
        return some, MissingTerm.code
    depth = weights[outputs].sum(axis=1).astype(int).tolist()
    far = f"what comes to it is not carried back further than {max(depth)} {'step' if max(depth) == 1 else 'steps'}"
    return far if outputs.all() or (outputs == reached.any(axis=1)).all() else f"{some}, and {far}", ""
