"""The points at which a backward pass is judged: the caller's data, and random values of the same kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..adapters.backward_pass import AuditError, BackwardPass, Point
from ..adapters.containers import is_number_array
from ..adapters.new_values import SIZES, Axes, batch_axes, nudged, redrawn
from ..core.op import ELEMENTWISE
from ..core.reverse import topological
from .reference import has_kink

#: Graphs with more nodes than this are those of unrolled loops, perhaps over the examples.
LARGE, SMALL_SIZES = 400, (3, 4, 5, 6, 7)


def check_data(subject: BackwardPass, data: tuple[str, ...]) -> None:
    """Raise if there are no examples, or some values are not finite."""
    for name, value in subject.values.items():
        if not is_number_array(value):
            continue
        if value.size == 0:
            raise AuditError(f"{name} has shape {value.shape}, expected at least one example")
        bad = int(np.sum(~np.isfinite(value))) if name in data and value.dtype.kind == "f" else 0
        if bad:
            raise AuditError(f"{name}: expected finite numbers, got {bad} of {value.size} that are not")


def check_dependence(subject: BackwardPass, own: Point) -> None:
    """Raise if the loss depends on none of the values to be judged; forward may use other arrays."""
    if own.loss is None:
        return
    reached = {id(n) for n in topological([own.loss])}
    if not any(id(own.nodes[n]) in reached for n in subject.exact if n in own.nodes):
        raise AuditError(
            f"the loss does not depend on {', '.join(subject.exact[:6])}: does forward use arrays other than "
            "its arguments, such as globals?"
        )


def mixed_examples(point: Point) -> list[str]:
    """Return a note where arrays with a number for each example, of shapes (n,) and (n, 1), are broadcast to n × n."""
    for node in point.order if point.loss is not None else ():
        shapes = [x.shape for x in node.inputs]
        lengths = [max(s, default=1) for s in shapes]
        n = lengths[0] if lengths else 1
        flat = len(shapes) == 2 and all(math.prod(s) == n and n > 1 for s in shapes)
        if flat and node.shape == (n, n) and node.op is not None and node.op.kind == ELEMENTWISE:
            if point.size in (None, n):
                one, other = shapes
                return [
                    f"the loss mixes examples: shapes {one} and {other} are broadcast to {n}×{n}, every example with "
                    "every other one; give both one shape"
                ]
    return []


def loss_is_finite(point: Point) -> bool:
    """Whether the loss of a recorded run is a finite number."""
    return point.loss is not None and bool(np.isfinite(np.asarray(point.loss.value)).all())


def comparable(point: Point, own: Point) -> bool:
    """Whether a run has the values and gradients that the one on the caller's data has."""
    same = own.loss is None or set(own.nodes) == set(point.nodes)
    return point.loss is not None and set(own.gradients) <= set(point.gradients) and same


def _try_run(subject: BackwardPass, values: Mapping[str, Any], label: str) -> Point | None:
    try:
        point = subject.run(values, label)
    except AuditError:
        raise
    except Exception:
        return None
    return point if loss_is_finite(point) else None


def batch_of(subject: BackwardPass, data: tuple[str, ...], rng: np.random.Generator) -> Axes | None:
    """Find along which axes the examples lie: forward and loss must run with another number of them."""
    names = tuple(n for n in subject.values if any(n == d or n.startswith((d + "[", d + ".")) for d in data))
    for axes in batch_axes(subject.values, names):
        try:
            sizes = [subject.plain_loss(_redrawn(subject, axes, size, rng)) for size in (3, 5)]
        except AuditError:
            raise
        except Exception:
            continue
        if np.isfinite(sizes).all():
            return axes
    return None


def _redrawn(subject: BackwardPass, axes: Axes | None, size: int | None, rng: np.random.Generator) -> dict[str, Any]:
    """Return random values of the same kind, for another size of the batch."""
    kept = {*(axes or {"X"}), *subject.targets, *(("X",) if size is None else ())}
    values = redrawn(subject.values, tuple(n for n in subject.exact if n not in kept), axes, size, rng)
    return {**values, **{n: subject.values[n] for n in subject.fixed}}


def set_size(point: Point, axes: Axes | None, values: Mapping[str, Any]) -> None:
    """Note how many examples a point has."""
    if axes:
        name, axis = next(iter(axes.items()))
        point.size = int(np.shape(values[name])[axis])


def other_points(
    subject: BackwardPass,
    axes: Axes | None,
    data: tuple[str, ...],
    rng: np.random.Generator,
    notes: list[str],
    large: bool = False,
) -> list[Point]:
    """Run the passes on two random batches, of other sizes if they can; of small ones if the graph is `large`."""
    if axes:
        points = []
        for size in _sizes(subject, large):
            point = _try_run(subject, _redrawn(subject, axes, size, rng), f"a random batch of {size}")
            if point is not None:
                point.size = size
                points.append(point)
        if len(points) == 2:
            return points
        notes.append("backward fails for other batch sizes; the size was kept")
    else:
        notes.append("no batch axis was found; the shapes were kept")
    points = []
    for _ in range(2):
        values = _redrawn(subject, axes, None, rng)
        point = _try_run(subject, values, "random values") or _near(subject, rng, "values near yours")
        if point is not None:
            set_size(point, axes, subject.values)
            points.append(point)
    if not points:
        notes.append("the passes fail on other values; only your own data was judged")
    return points


def _sizes(subject: BackwardPass, large: bool) -> list[int]:
    """Return two sizes of the batch that no array has; small ones where a loop may run over the examples."""
    taken = {d for v in subject.values.values() if is_number_array(v) for d in v.shape}
    sizes = SMALL_SIZES if large else SIZES
    free = [s for s in sizes if s not in taken]
    return (free if len(free) >= 2 else list(sizes))[:2]


def _near(subject: BackwardPass, rng: np.random.Generator, label: str) -> Point | None:
    """Run the passes on values near the given ones, off every kink."""
    values = nudged(subject.values, rng)
    for name in subject.exact:
        if np.array_equal(values[name], subject.values[name]):
            values[name] = subject.values[name] + 0.05 * rng.normal(size=np.shape(values[name]))
    values |= {n: subject.values[n] for n in subject.fixed}
    return _try_run(subject, values, label)


def with_own_data(
    subject: BackwardPass, own: Point, points: list[Point], rng: np.random.Generator, notes: list[str]
) -> list[Point]:
    """Return the points at which the pass is judged, the caller's data among them where that is possible."""
    if own.loss is None:
        notes.append(f"forward could not be recorded on your data ({own.why_not}); random data was judged")
    elif not loss_is_finite(own):
        notes.append("the loss of your data is not finite; only random data was judged")
    elif not subject.adds_up:
        if not (has_kink(own) and points):
            return [*points, own]
        notes.append("values of your data are on a kink (relu at 0), where any slope between is right; they were moved")
        moved = _near(subject, rng, "your data")
        if moved is not None and comparable(moved, own):
            moved.size = own.size
            return [*points, moved]
    return points or [own]


def batch_of_one(subject: BackwardPass, axes: Axes, rng: np.random.Generator) -> Point | str:
    """Run the passes on a single example; return the point, or the error of backward ("" if there is none)."""
    values = _redrawn(subject, axes, 1, rng)
    try:
        subject.plain_loss(values)
    except Exception:
        return ""  # forward needs more than one example
    try:
        point = subject.run(values, "a batch of one")
    except Exception as error:
        return f"backward fails on a batch of one: {type(error).__name__}: {error}"
    point.size = 1
    return point if loss_is_finite(point) else ""
