"""From recorded points to verdicts: every step in the order of the backward pass, then who is to blame for a scale."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..adapters.backward_pass import Point
from ..core.op import Array
from .graph import GradientGraph, Region, regions
from .mistakes.activations import region_variants
from .mistakes.blocks import block_variants
from .mistakes.places import site_variants
from .mistakes.replaced import replaced_variants, sum_variants
from .mistakes.results import linear_variants, result_variants
from .mistakes.variants import CLOSE, Context, Variant, explain
from .steps import (
    TOLERANCE,
    Judged,
    backward_order,
    conformed,
    fitted_scale,
    gradient,
    natural,
    upstream_of,
    without_epsilon,
)

Number = tuple[float, int]  # k · m^p

#: Where the known mistakes come from; of equally simple ones, the first is named first.
GENERATORS = (
    linear_variants,
    block_variants,
    region_variants,
    site_variants,
    sum_variants,
    replaced_variants,
    result_variants,
)


@dataclass
class Trial:
    """All points, and what is known of the steps so far.

    Attributes
    ----------
    hats
        At each point, the pass's own gradients by name, brought to the scale of the declared loss.
    search
        Whether to look for the cause of what is wrong.
    seconds
        How long that may take yet, for all steps together.
    """

    points: list[Point]
    exact: frozenset[str]
    ascent: bool = False
    loose: float = 1.0
    hats: list[dict[str, Array]] = field(default_factory=list)
    steps: dict[str, Judged] = field(default_factory=dict)
    region_lists: list[list[Region]] | None = None
    epsilons: list[Any] | None = None
    search: bool = True
    seconds: float = 6.0

    @property
    def sizes(self) -> list[int | None]:
        """The size of the batch at each point."""
        return [p.size for p in self.points]


def judged(trial: Trial) -> None:
    """Judge every step, in the order of the backward pass."""
    trial.hats = [dict(p.given) for p in trial.points]
    first = trial.points[0]
    order = [n for n in backward_order(first) if all(n in p.gradients for p in trial.points)]
    for name in order:
        trial.steps[name] = _judge(trial, name)


def _judge(trial: Trial, name: str) -> Judged:
    points = trial.points
    step = Judged(name, points[0].keys[name], name in trial.exact)
    known = list(trial.hats[0])
    step.upstream = upstream_of(points[0], name, known)
    if any(name in p.rewritten for p in points):
        step.unseen = "the array was read while it was being filled"
        return step
    for point, hat in zip(points, trial.hats, strict=True):
        step.expected.append(gradient(point, name, hat))
        step.truth.append(gradient(point, name, point.given))
    if any(e is None for e in step.expected):
        step.unseen = "the loss does not depend on it"
        return step
    raw = [p.gradients[name] for p in points]
    if any(u is None or not np.isfinite(np.asarray(u, np.float64)).all() for u in raw):
        if all(e is not None and np.isfinite(e).all() for e in step.expected):
            step.problem = "nonfinite"
            for k, u in enumerate(raw):
                step.found.append(None if u is None else np.asarray(u, np.float64))
                trial.hats[k].pop(name, None)
            return step
        step.unseen = "the right value is not finite itself"
        return step
    sign = -1.0 if trial.ascent and step.exact else 1.0
    notes = set()
    for k, u in enumerate(raw):
        array, note = conformed(u, points[k].nodes[name].shape, step.expected[k])
        step.found.append(None if array is None else sign * array)
        notes.add(note)
    step.shape_note = ",".join(sorted(notes - {""}))
    if any(f is None for f in step.found):
        step.problem = "shape"
    else:
        _compare(trial, step, raw)
        if step.scale is None and not step.exact:
            _before_the_mask(trial, step)
        if step.scale is None and "transposed" not in step.shape_note and _overwritten(trial, step):
            step.unseen = step.unseen or "the array was overwritten by a later step"
            return step
    if step.scale is not None:
        if step.shape_note == "transposed" and step.exact:
            step.problem = "transposed"
        for hat, found, c in zip(trial.hats, step.found, step.scale, strict=True):
            assert found is not None
            hat[name] = found / c
        return step
    step.problem = step.problem or "wrong"
    if trial.search:
        step.variants = variants_of(trial, step, raw, sign)
    scales = step.variants[0].scale if step.variants else [1.0] * len(points)
    if step.variants:
        number = natural(scales, trial.sizes)
        step.constant, step.power = number if number else (1.0, 0)
    for hat, found, c in zip(trial.hats, step.found, scales, strict=True):
        if found is not None:
            hat[name] = found / c
    return step


def _compare(trial: Trial, step: Judged, raw: Sequence[Any]) -> None:
    """Compare what was found with what follows from upstream; set the scale where they agree but for one."""
    tolerance = TOLERANCE * trial.loose
    step.scale = _scales(trial, step, step.expected, tolerance)
    if step.scale is not None:
        return
    near = step.error is not None and step.error < 0.05
    if not near:
        return
    if trial.epsilons is None:
        trial.epsilons = [without_epsilon(p) for p in trial.points]
    if all(e is not None for e in trial.epsilons):
        other = []
        for point, hat, (root, nodes, _) in zip(trial.points, trial.hats, trial.epsilons, strict=True):
            copy = Point(point.label, point.values, nodes=nodes, loss=root)
            other.append(gradient(copy, step.name, {k: v for k, v in hat.items() if k in nodes}))
        scale = None if any(o is None for o in other) else _scales(trial, step, other, tolerance)
        if scale is not None:
            step.scale, step.expected, step.epsilon = scale, other, True


def _before_the_mask(trial: Trial, step: Judged) -> None:
    """Where A1 is what dropout has left, but dA1 the gradient before it, mask included, let A1 mean what was before."""
    name = step.name
    earlier = [_masked_into(p, name, r) for p, r in zip(trial.points, _regions(trial), strict=True)]
    if any(node is None for node in earlier):
        return
    later = [p.nodes[name] for p in trial.points]
    for point, node in zip(trial.points, earlier, strict=True):
        assert node is not None
        point.nodes[name] = node
    other = [gradient(p, name, hat) for p, hat in zip(trial.points, trial.hats, strict=True)]
    scale = None if any(o is None for o in other) else _scales(trial, step, other, TOLERANCE * trial.loose)
    if scale is None:
        for point, node in zip(trial.points, later, strict=True):
            point.nodes[name] = node
        return
    step.scale, step.expected, step.masked = scale, other, True
    step.truth = [gradient(p, name, p.given) for p in trial.points]
    for point, node in zip(trial.points, later, strict=True):
        point.nodes[f"{name} after dropout"] = node
        if name in point.cached:
            point.cached[f"{name} after dropout"] = point.cached.pop(name)


def _masked_into(point: Point, name: str, found: Sequence[Region]) -> Any:
    """Return the unnamed value that becomes `name` by a mask alone; None if it does not."""
    named = {id(t) for t in point.nodes.values()}
    for region in found:
        if region.kind == "mask" and region.target is point.nodes[name] and id(region.source) not in named:
            return region.source
    return None


def _regions(trial: Trial) -> list[list[Region]]:
    if trial.region_lists is None:
        trial.region_lists = [regions(p) for p in trial.points]
    return trial.region_lists


def _scales(trial: Trial, step: Judged, expected: Sequence[Array | None], tolerance: float) -> list[float] | None:
    scales, errors, plains = [], [], []
    for point, hat, found, e in zip(trial.points, trial.hats, step.found, expected, strict=True):
        assert found is not None and e is not None
        upstream = max([float(np.max(np.abs(hat[u]), initial=0.0)) for u in step.upstream if u in hat], default=0.0)
        c, left, plain = fitted_scale(found, e, upstream)
        del point
        scales.append(c)
        errors.append(left)
        plains.append(plain)
    step.plain_error = max(plains)
    if step.error is None:
        step.error = max(errors)
    if max(plains) <= tolerance:
        step.constant, step.power, step.error = 1.0, 0, max(plains)
        return [1.0] * len(scales)
    number = natural(scales, trial.sizes)
    if max(errors) > tolerance or number is None:
        if max(errors) <= tolerance:
            step.error, step.only_scaled = max(plains), True
        return None
    step.constant, step.power = number
    step.error = max(errors)
    return scales


def _overwritten(trial: Trial, step: Judged) -> bool:
    """Whether the returned array shares its memory with another step's, which was written into it later."""
    pairs = trial.points[0].aliases
    others = [b if a == step.name else a for a, b in pairs if step.name in (a, b)]
    return any(n not in trial.steps for n in others) and not step.exact


def variants_of(trial: Trial, step: Judged, raw: Sequence[Any], sign: float) -> list[Variant]:
    """Return the known mistakes that give this step's numbers at every point."""
    chosen = [k for k, p in enumerate(trial.points) if p.label != "your data"] or list(range(len(trial.points)))
    region_lists = _regions(trial)
    contexts = []
    for k in chosen:
        point = trial.points[k]
        graph = GradientGraph(point, step.name, trial.hats[k])
        if not graph.order:
            return []
        context = Context(
            point,
            graph,
            region_lists[k],
            sign * np.asarray(raw[k], np.float64),
            point.nodes[step.name].shape,
            loose=CLOSE * trial.loose,
        )
        context.values = _values_at(point)
        context.signals = {
            point.keys[n]: np.asarray(g, np.float64)
            for n, g in point.gradients.items()
            if n != step.name and g is not None and np.asarray(g).dtype.kind == "f"
        }
        graph.values = {**context.values, **context.signals}
        contexts.append(context)
    start = time.monotonic()
    sizes = [trial.points[k].size for k in chosen]
    found = explain(GENERATORS, contexts, step.exact, sizes, start + max(trial.seconds, 0.2))
    trial.seconds -= time.monotonic() - start
    convention = conventional(trial.steps, step)
    found.sort(key=lambda v: (_needs_a_constant(natural(v.scale, sizes), convention), v.rank))
    if found and len(chosen) < len(trial.points):
        for variant in found:  # the points that were not tried get the scale by its law
            number = natural(variant.scale, [trial.points[k].size for k in chosen]) or (1.0, 0)
            variant.scale = [number[0] * float(p.size or 1) ** number[1] for p in trial.points]
    step.contexts = contexts
    return found


def _needs_a_constant(scale: Number | None, convention: Number) -> bool:
    """Whether an explanation gives the numbers only with a factor of its own, other than a power of m."""
    return abs((scale or (1.0, 0))[0] / convention[0] - 1) > 1e-5


def _values_at(point: Point) -> dict[str, Array]:
    values = {n: np.asarray(t.value, np.float64) for n, t in point.nodes.items() if t.value is not None}
    for name, array in {**point.constants, **point.cached}.items():
        if array.dtype.kind not in "fiub":
            continue
        if name in values:
            if array.shape == values[name].shape and not np.allclose(array, values[name], rtol=1e-9, equal_nan=True):
                values[f"{name} as it is in the cache"] = np.asarray(array, np.float64)
        else:
            values[name] = np.asarray(array, np.float64)
    for name, array in point.after.items():
        values[f"{name} as backward changed it"] = np.asarray(array, np.float64)
    return values


# -- who is to blame for a scale ---------------------------------------------------------------------------------------


def dependents(steps: Mapping[str, Judged], name: str) -> list[str]:
    """Return the steps that were computed from the gradient of `name`, directly or not."""
    found = {name}
    for other, step in steps.items():  # in the order of the backward pass
        if any(u in found for u in step.upstream):
            found.add(other)
    return [n for n in steps if n in found and n != name]


def blame(trial: Trial) -> dict[str, Number]:
    """Decide, for every scale, whether it is a convention or an error, and whose; return the excess of each step."""
    steps = trial.steps
    excess: dict[str, Number] = {}
    for name, step in steps.items():
        if step.unseen or step.problem in ("nonfinite",):
            continue
        own: Number = (step.constant, step.power)
        up = _of_upstream(steps, excess, step)
        if step.exact:
            excess[name] = own
            rest = _over(own, up)
            if step.scale is not None and not _is_one(rest):
                step.blamed, step.fault = "scale", rest
                excess[name] = up
            continue
        inherited = conventional(steps, step)
        local = _over(own, inherited)
        excess[name] = up
        if _is_one(local) and not (step.problem == "wrong" and not step.variants):
            continue
        ends = [steps[n] for n in dependents(steps, name) if steps[n].exact and steps[n].scale is not None]
        numbers = [_over((e.constant, e.power), up) for e in ends]
        if not ends:
            if step.scale is not None and not _is_one(local) and (own[1] not in (0, 1) or own[0] < 0):
                step.blamed, step.fault = "scale", local
            continue
        if step.problem == "wrong" and not step.variants:
            if all(_alike(n, numbers[0]) for n in numbers):
                excess[name] = _times(up, numbers[0])
            continue
        k, p = 1.0, 0
        plain_mean = _alike(local, (1.0, 1))
        count = _elements(trial, step)
        whole_mean = count is not None and local[1] == 1 and abs(local[0] - count) < 1e-6
        if all(_alike(n, local) for n in numbers) and not plain_mean and not whole_mean:
            k, p = local
        elif abs(local[0] - 1) > 1e-6 and all(abs(n[0] / local[0] - 1) < 1e-5 for n in numbers):
            if not (whole_mean and all(n[1] == 1 for n in numbers)):
                k = local[0]
        if local[1] < 0 and all(n[1] == local[1] for n in numbers):
            p = local[1]
        if (k, p) != (1.0, 0):
            excess[name] = _times(up, (k, p))
            if step.scale is not None:
                step.blamed, step.fault = "scale", (k, p)
    return excess


def _elements(trial: Trial, step: Judged) -> float | None:
    """Return how many outputs an example has, for losses that are means over all elements."""
    truth, m = step.truth[0], trial.points[0].size
    if truth is None or not m or truth.size % m:
        return None
    return truth.size / m


def _of_upstream(steps: Mapping[str, Judged], excess: Mapping[str, Number], step: Judged) -> Number:
    for name in step.upstream:
        if name in excess and not _is_one(excess[name]):
            return excess[name]
    return (1.0, 0)


def conventional(steps: Mapping[str, Judged], step: Judged) -> Number:
    """Return the scale of the signals that a step was computed from, if they have one in common."""
    numbers = [(steps[u].constant, steps[u].power) for u in step.upstream if u in steps]
    return numbers[0] if numbers and all(_alike(n, numbers[0]) for n in numbers) else (1.0, 0)


def _over(a: Number, b: Number) -> Number:
    return a[0] / b[0], a[1] - b[1]


def _times(a: Number, b: Number) -> Number:
    return a[0] * b[0], a[1] + b[1]


def _alike(a: Number, b: Number) -> bool:
    return a[1] == b[1] and abs(a[0] / b[0] - 1) < 1e-5


def _is_one(a: Number) -> bool:
    return _alike(a, (1.0, 0))
