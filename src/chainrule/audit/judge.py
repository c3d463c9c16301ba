"""From recorded points to verdicts: every step, in the order of the backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..adapters.backward_pass import Point
from ..core.op import Array
from ..core.tensor import Tensor
from .blame import conventional
from .deliberate import deliberate
from .graph import GradientGraph
from .mistakes.search import Budget, search
from .mistakes.variants import AS_CACHED, AS_CHANGED, Context, Variant
from .reference import backward_order, gradient, upstream_of
from .regions import Region
from .scales import ONE, best_scale, law
from .step import NONFINITE, SHAPE, TOLERANCE, TRANSPOSED, WRONG, JudgedStep, Trial, conformed
from .ties import chosen

#: Mistakes are searched for up to this relative difference.
SEARCH_TOLERANCE = 1e-8
#: Suffix of a value's name if the name itself is used for the value before dropout.
AFTER_DROPOUT = " after dropout"


def judge(trial: Trial) -> None:
    """Judge every step, in the order of the backward pass."""
    trial.scaled = [dict(p.given) for p in trial.points]
    for name in backward_order(trial.points[0]):
        if all(name in p.gradients for p in trial.points):
            trial.steps[name] = _judged(trial, name)


def _judged(trial: Trial, name: str) -> JudgedStep:
    points = trial.points
    step = JudgedStep(name, points[0].keys[name], name in trial.exact)
    step.upstream = upstream_of(points[0], name, list(trial.scaled[0]))
    raw = [p.gradients[name] for p in points]
    if any(name in p.rewritten for p in points):
        step.unseen = "the array was read while it was being filled"
    else:
        step.expected = [gradient(p, name, s) for p, s in zip(points, trial.scaled, strict=True)]
        step.truth = [gradient(p, name, p.given) for p in points]
        _check_finite(trial, step, raw)
    if step.unseen or step.problem:
        return step
    if not _compare_with_expected(trial, step, raw):
        step.unseen = "the array was overwritten by a later step"
        return step
    if step.scales is None and step.exact and not step.problem:
        _try_deliberate(trial, step)
    if step.scales is not None:
        if step.shape_note == "transposed" and step.exact:
            step.problem = TRANSPOSED
        scales = step.scales
    else:
        step.problem = step.problem or WRONG
        if trial.budgets is not None:
            step.variants = _variants(trial, step, raw, *trial.budgets)
        scales = step.variants[0].scales if step.variants else [1.0] * len(points)
        step.scale = (law(scales, trial.sizes) or ONE) if step.variants else step.scale
    for scaled, found, c in zip(trial.scaled, step.found, scales, strict=True):
        if found is not None:
            scaled[name] = found / c
    return step


def _check_finite(trial: Trial, step: JudgedStep, raw: Sequence[Any]) -> None:
    """Note where the gradient, or the one that it should be, is missing or not finite."""
    if any(e is None for e in step.expected):
        step.unseen = "the loss does not depend on it"
        return
    if all(u is not None and np.isfinite(np.asarray(u, np.float64)).all() for u in raw):
        return
    if not all(e is not None and np.isfinite(e).all() for e in step.expected):
        step.unseen = "the right value is not finite itself"
        return
    step.problem = NONFINITE
    step.found = [None if u is None else np.asarray(u, np.float64) for u in raw]
    for scaled in trial.scaled:
        scaled.pop(step.name, None)


def _compare_with_expected(trial: Trial, step: JudgedStep, raw: Sequence[Any]) -> bool:
    """Fill in the found value and its comparison; return whether it is what backward computed.

    The scales are None where it does not agree.
    """
    sign = -1.0 if trial.ascent and step.exact else 1.0
    pairs = [conformed(u, p.nodes[step.name].shape) for u, p in zip(raw, trial.points, strict=True)]
    step.found = [None if array is None else sign * array for array, _ in pairs]
    step.shape_note = ",".join(sorted({note for _, note in pairs} - {""}))
    if any(f is None for f in step.found):
        step.problem = SHAPE
        return True
    step.scales = _scales(trial, step, step.expected)
    near = step.error is not None and step.error < 0.05
    if step.scales is None and near and trial.without_epsilon is not None:
        _try_without_epsilon(trial, step)
    if step.scales is None and not step.exact:
        _try_before_dropout(trial, step)
    if step.scales is None:
        _try_total(trial, step)
    if step.scales is None and any(trial.with_all_of_equals):
        _try_other_choice(trial, step)
    return step.scales is not None or TRANSPOSED in step.shape_note or not _overwritten(trial, step)


def _scales(trial: Trial, step: JudgedStep, expected: Sequence[Array | None]) -> list[float] | None:
    """Return found / expected at each point where that is a number, the same law at all; else None."""
    found_scales = []
    tolerance = TOLERANCE * trial.loose
    for known, found, e in zip(trial.scaled, step.found, expected, strict=True):
        if found is None or e is None:
            return None
        upstream = max([float(np.max(np.abs(known[u]), initial=0.0)) for u in step.upstream if u in known], default=0.0)
        found_scales.append(best_scale(found, e, upstream))
    scales, errors, plains = (list(x) for x in zip(*found_scales, strict=True))
    error, step.plain_error = max(errors), max(plains)
    if step.error is None:
        step.error = error
    if step.plain_error <= tolerance:
        step.scale, step.error = ONE, step.plain_error
        return [1.0] * len(scales)
    if error > tolerance:
        return None
    found_law = law(scales, trial.sizes)
    if found_law is None:
        step.error, step.only_scaled = step.plain_error, True
        return None
    step.scale, step.error = found_law, error
    return scales


def _try_deliberate(trial: Trial, step: JudgedStep) -> None:
    """Where a right gradient was clipped, or a layer added its own penalty, take it as right and say so."""
    pairs = [(f, e) for f, e in zip(step.found, step.expected, strict=True) if f is not None and e is not None]
    if len(pairs) == len(trial.points):
        step.deliberate = deliberate(step.name, step.key, pairs, trial.points, trial.own_penalty, trial.clipping)
    if step.deliberate:
        step.scales, step.scale, step.error = [1.0] * len(pairs), ONE, 0.0


def _try_without_epsilon(trial: Trial, step: JudgedStep) -> None:
    pairs = zip(trial.without_epsilon or (), trial.scaled, strict=True)
    other = [gradient(p, step.name, {k: v for k, v in known.items() if k in p.nodes}) for (p, _), known in pairs]
    scales = _scales(trial, step, other)
    if scales is not None:
        step.scales, step.expected, step.epsilon = scales, other, True


def _try_total(trial: Trial, step: JudgedStep) -> None:
    """Take a step as right that equals the gradient of the loss, whatever the gradients above it are called."""
    before = step.scale, step.error, step.plain_error, step.only_scaled
    scales = _scales(trial, step, step.truth)
    if scales is not None and all(c == 1 for c in scales):
        step.scales, step.expected = scales, step.truth
    else:
        step.scale, step.error, step.plain_error, step.only_scaled = before


def _try_other_choice(trial: Trial, step: JudgedStep) -> None:
    """Take a step as right that differs only where equal elements leave a choice of the maximum."""
    found, expected = step.found, [e for e in step.expected if e is not None]
    runs = zip(trial.with_all_of_equals, trial.scaled, expected, strict=True)
    free = [chosen(other, step.name, known, e) for other, known, e in runs]
    kept = [np.where(f, 0.0, e) for f, e in zip(free, expected, strict=True)]
    if not any(map(np.any, free)) or not any(map(np.any, kept)):
        return
    arrays = [np.asarray(g) for g in found]
    step.found = [np.where(f, 0.0, g) for f, g in zip(free, arrays, strict=True)]
    scales = _scales(trial, step, kept)
    step.found = found
    if scales is not None:
        step.scales = scales
        step.expected = [np.where(f, g / c, e) for f, g, c, e in zip(free, arrays, scales, expected, strict=True)]


def _try_before_dropout(trial: Trial, step: JudgedStep) -> None:
    """Where A1 is what dropout has left, but dA1 the gradient before it, mask included, let A1 mean what was before."""
    name = step.name
    pairs = zip(trial.points, trial.regions, strict=True)
    earlier = [node for p, r in pairs if (node := _before_mask(p, name, r)) is not None]
    later = [p.nodes[name] for p in trial.points]
    if len(earlier) < len(later):
        return
    for point, node in zip(trial.points, earlier, strict=True):
        point.nodes[name] = node
    other = [gradient(p, name, known) for p, known in zip(trial.points, trial.scaled, strict=True)]
    scales = _scales(trial, step, other)
    if scales is None:
        for point, node in zip(trial.points, later, strict=True):
            point.nodes[name] = node
        return
    step.scales, step.expected, step.masked = scales, other, True
    step.truth = [gradient(p, name, p.given) for p in trial.points]
    for point, node in zip(trial.points, later, strict=True):
        point.nodes[name + AFTER_DROPOUT] = node
        if name in point.cached:
            point.cached[name + AFTER_DROPOUT] = point.cached.pop(name)


def _before_mask(point: Point, name: str, found: Sequence[Region]) -> Tensor | None:
    """Return the unnamed value that becomes `name` by a mask alone; None if it does not."""
    named = {id(t) for t in point.nodes.values()}
    masks = (r for r in found if r.kind == "mask" and r.target is point.nodes[name])
    return next((r.source for r in masks if id(r.source) not in named), None)


def _overwritten(trial: Trial, step: JudgedStep) -> bool:
    """Whether the returned array shares its memory with another step's, which was written into it later."""
    pairs = trial.points[0].aliases
    others = [b if a == step.name else a for a, b in pairs if step.name in (a, b)]
    return any(n not in trial.steps for n in others) and not step.exact


# -- the causes --------------------------------------------------------------------------------------------------------


def _variants(trial: Trial, step: JudgedStep, raw: Sequence[Any], budget: Budget, pairs: Budget) -> list[Variant]:
    """Return the known mistakes that give this step's numbers at every point."""
    random = [k for k, p in enumerate(trial.points) if p.label != "your data"] or list(range(len(trial.points)))
    sign = -1.0 if trial.ascent and step.exact else 1.0
    step.contexts = [_context(trial, step, k, sign * np.asarray(raw[k], np.float64)) for k in random]
    if not all(c.graph.order for c in step.contexts):
        step.contexts = []
        return []
    earlier = [s.variants[0] for s in trial.steps.values() if s.variants]
    found = search(step.contexts, step.exact, conventional(trial.steps, step), budget, pairs, earlier)
    if len(random) < len(trial.points):
        for variant in found:  # the points that were not tried get the scale by its law
            scale = law(variant.scales, [c.point.size for c in step.contexts]) or ONE
            variant.scales = [scale.at(size) for size in trial.sizes]
    return found


def _context(trial: Trial, step: JudgedStep, k: int, found: Array) -> Context:
    """Return the step at one point, with every value that might be used in place of another."""
    point = trial.composites[k]
    graph = GradientGraph(point, step.name, {n: g for n, g in trial.scaled[k].items() if n in point.nodes})
    values = values_at(point)
    signals = {
        point.keys[n]: np.asarray(g, np.float64)
        for n, g in point.gradients.items()
        if n != step.name and g is not None and np.asarray(g).dtype.kind == "f"
    }
    graph.values = {**values, **signals}
    shape = point.nodes[step.name].shape
    tolerance = SEARCH_TOLERANCE * trial.loose
    return Context(point, graph, trial.composite_regions[k], found, shape, values, signals, tolerance)


def values_at(point: Point) -> dict[str, Array]:
    """Return all arrays of a run by name; those that differ from what forward computes with under names that say so."""
    values = {n: np.asarray(t.value, np.float64) for n, t in point.nodes.items() if t.value is not None}
    for name, array in {**point.constants, **point.cached}.items():
        if array.dtype.kind not in "fiub":
            continue
        if name not in values:
            values[name] = np.asarray(array, np.float64)
        elif array.shape == values[name].shape and not np.allclose(array, values[name], rtol=1e-9, equal_nan=True):
            values[name + AS_CACHED] = np.asarray(array, np.float64)
    for name, array in point.after.items():
        values[name + AS_CHANGED] = np.asarray(array, np.float64)
    return values


def formula_graph(trial: Trial, step: JudgedStep) -> GradientGraph:
    """Return the gradient graph of a step at the first point, from which its formula is written."""
    graph = GradientGraph(trial.points[0], step.name, trial.scaled[0])
    graph.values = values_at(trial.points[0])
    return graph
