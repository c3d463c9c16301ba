"""The audit: whether a backward pass that was written by hand is right, and if not, which step is wrong and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..adapters.backward_pass import AuditError, BackwardPass, Point
from ..adapters.containers import is_number_array
from ..adapters.new_values import SIZES, Axes, batch_axes, nudged, redrawn
from ..adapters.objects import Objects
from ..core.op import Array
from ..core.reverse import topological
from .behaviour import accumulates, behaviour_findings
from .findings import conventions_of, findings_of, nonfinite_findings, steps_of
from .judge import Trial, blame, judged
from .numeric import numeric_report
from .report import Report
from .steps import gradient, has_kink


def report_on(subject: BackwardPass, data: tuple[str, ...], ascent: bool) -> Report:
    """Run the passes on several values, judge every step, and return the report."""
    rng = np.random.default_rng(20180831)
    _check_data(subject, data)
    own = subject.first_run()
    if not own.gradients and not own.extra:
        raise AuditError("backward returned no gradients by name; a dict of them, as {'dW1': …}, would do")
    if not own.gradients:
        names = ", ".join([*own.nodes, *own.constants][:12])
        raise AuditError(
            f"none of the gradients ({', '.join(own.extra[:8])}) is called after a value; 'd' and a name would do: "
            f"{names}"
        )
    _check_dependence(subject, own)
    notes = _unlike_sizes(subject)
    if own.loss is not None and own.loss.value is not None and not np.isfinite(own.loss.value).all():
        notes.append("the loss of your data is not finite; only random data was judged")
    adding = accumulates(subject, own)
    if not isinstance(subject, Objects):
        subject.adding, subject.adds_up = tuple(adding), bool(adding)
    axes = _batch(subject, data, rng)
    points = _other_points(subject, axes, data, rng, notes)
    points = [p for p in points if _comparable(p, own)]
    if own.loss is None and not points:
        return numeric_report(subject, own, axes, rng, adding, ascent)
    _set_sizes(own, axes, subject.values)
    if own.loss is None:
        notes.append(f"forward could not be recorded on your data ({own.why_not}); random data was judged")
    elif np.isfinite(np.asarray(own.loss.value)).all() and not subject.adds_up:
        if has_kink(own) and points:
            notes.append(
                "values of your data lie on a kink (relu at 0), where any slope between is right; they were moved a bit"
            )
            moved = _try_run(subject, nudged_all(subject, rng), "your data")
            if moved is not None and moved.loss is not None and _comparable(moved, own):
                moved.size = own.size
                points.append(moved)
        else:
            points.append(own)
    if not points:
        points = [own]
    trial = Trial(points, frozenset(subject.exact), ascent, _looseness(own, points))
    for point in points[:2]:
        check_reference(subject, point, rng)
    judged(trial)
    excess = blame(trial)
    findings = findings_of(trial)
    findings += nonfinite_findings(own, {f.name for f in findings})
    findings += behaviour_findings(own, adding, trial)
    if own.random:
        notes.append("forward is random beyond NumPy's own generators; each run was judged with the values it drew")
    if axes and not findings:
        notes += _batch_of_one(subject, axes, trial, rng)
    notes += _what_was_not_seen(own, trial)
    loss = subject.plain_loss(subject.values)
    return Report(
        tuple(findings),
        tuple(conventions_of(trial, excess, findings)),
        tuple(steps_of(trial, own, findings)),
        tuple(dict.fromkeys(notes)),
        loss,
        subject.title,
    )


def _check_data(subject: BackwardPass, data: tuple[str, ...]) -> None:
    """Raise where there are no examples, or values that are not finite among them."""
    for name, value in subject.values.items():
        if not is_number_array(value):
            continue
        if value.size == 0:
            raise AuditError(f"{name} has shape {value.shape}, it is empty; a few examples would do")
        bad = int(np.sum(~np.isfinite(value))) if name in data and value.dtype.kind == "f" else 0
        if bad:
            raise AuditError(f"{bad} of the {value.size} elements of {name} are not finite; finite ones would do")


def _check_dependence(subject: BackwardPass, own: Point) -> None:
    """Raise where the loss depends on nothing whose gradient is to be judged: forward uses other arrays, perhaps."""
    if own.loss is None:
        return
    reached = {id(n) for n in topological([own.loss])}
    if not any(id(own.nodes[n]) in reached for n in subject.exact if n in own.nodes):
        raise AuditError(
            f"the loss does not depend on {', '.join(subject.exact[:6])}: does forward use other arrays than those "
            "that it is handed, global ones perhaps?"
        )


def _unlike_sizes(subject: BackwardPass) -> list[str]:
    shapes = [np.shape(subject.values[n]) for n in ("X", "Y") if is_number_array(subject.values.get(n))]
    if len(shapes) < 2 or not all(shapes) or set(shapes[0]) & set(shapes[1]):
        return []
    return [f"X has shape {shapes[0]}, Y {shapes[1]}, with no length in common: are they of the same examples?"]


def nudged_all(subject: BackwardPass, rng: np.random.Generator) -> dict[str, Any]:
    """Return values near the given ones, off every kink."""
    values = nudged(subject.values, rng)
    for name in subject.exact:
        if np.array_equal(values[name], subject.values[name]):
            values[name] = subject.values[name] + 0.05 * rng.normal(size=np.shape(values[name]))
    return values


def _set_sizes(point: Point, axes: Axes | None, values: Mapping[str, Any]) -> None:
    if axes:
        name, axis = next(iter(axes.items()))
        point.size = int(np.shape(values[name])[axis])


def _try_run(subject: BackwardPass, values: Mapping[str, Any], label: str) -> Point | None:
    try:
        point = subject.run(values, label)
    except AuditError:
        raise
    except Exception:
        return None
    if point.loss is None or not np.isfinite(np.asarray(point.loss.value)).all():
        return None
    return point


def _batch(subject: BackwardPass, data: tuple[str, ...], rng: np.random.Generator) -> Axes | None:
    """Find along which axes the examples lie: forward and loss must run with another number of them."""
    names = tuple(n for n in subject.values if any(n == d or n.startswith((d + "[", d + ".")) for d in data))
    for axes in batch_axes(subject.values, names):
        try:
            for size in (3, 5):
                weights = tuple(n for n in subject.exact if n not in axes)
                value = subject.plain_loss(redrawn(subject.values, weights, axes, size, rng))
                if not np.isfinite(value):
                    raise ValueError
        except AuditError:
            raise
        except Exception:
            continue
        return axes
    return None


def _sizes(subject: BackwardPass) -> list[int]:
    taken = {d for v in subject.values.values() if is_number_array(v) for d in v.shape}
    free = [s for s in SIZES if s not in taken]
    return (free or list(SIZES))[:2] if len(free) >= 2 else list(SIZES)[:2]


def _other_points(
    subject: BackwardPass, axes: Axes | None, data: tuple[str, ...], rng: np.random.Generator, notes: list[str]
) -> list[Point]:
    points: list[Point] = []
    if axes:
        for size in _sizes(subject):
            weights = tuple(n for n in subject.exact if n not in axes)
            point = _try_run(subject, redrawn(subject.values, weights, axes, size, rng), f"a random batch of {size}")
            if point is not None:
                point.size = size
                points.append(point)
        if len(points) == 2:
            return points
        notes.append("backward fails on other sizes of the batch; the size was left as it is")
        points = []
    else:
        notes.append("no axis of examples was found; the shapes were left as they are")
    for _ in range(2):
        axes_of = axes or {}
        weights = tuple(n for n in subject.exact if n not in axes_of and n not in ("X",))
        values = redrawn(subject.values, weights, axes, None, rng)
        point = _try_run(subject, values, "random values") or _try_run(
            subject, nudged_all(subject, rng), "values near yours"
        )
        if point is not None:
            _set_sizes(point, axes, subject.values)
            points.append(point)
    if not points:
        notes.append("the passes fail on other values; only your own data was judged")
    return points


def _batch_of_one(subject: BackwardPass, axes: Axes, trial: Trial, rng: np.random.Generator) -> list[str]:
    """Return what goes wrong with a single example."""
    values = redrawn(subject.values, tuple(n for n in subject.exact if n not in axes), axes, 1, rng)
    try:
        subject.plain_loss(values)
    except Exception:
        return []  # forward itself needs more than one
    try:
        point = subject.run(values, "a batch of one")
    except Exception as error:
        return [f"backward fails on a batch of one: {type(error).__name__}: {error}"]
    if point.loss is None or not np.isfinite(np.asarray(point.loss.value)).all():
        return []
    point.size = 1
    alone = Trial([point], trial.exact, trial.ascent, trial.loose, search=False)
    judged(alone)
    wrong = [
        s.key for s in alone.steps.values() if s.problem or (s.exact and s.scale is not None and s.constant != 1.0)
    ]
    return [f"on a batch of one, {', '.join(wrong)} would be wrong"] if wrong else []


def _comparable(point: Point, own: Point) -> bool:
    same = own.loss is None or set(own.nodes) == set(point.nodes)
    return point.loss is not None and set(own.gradients) <= set(point.gradients) and same


def _looseness(own: Point, points: list[Point]) -> float:
    """Return by how much to loosen tolerances: passes that compute in float32 inside."""
    narrow = any(np.asarray(g).dtype in (np.float32, np.float16) for g in own.gradients.values() if g is not None)
    return 1e3 if narrow or _in_float32(points[0]) else 1.0


def _in_float32(point: Point) -> bool:
    assert point.loss is not None
    return any(t.dtype == np.float32 for t in topological([point.loss]))


def check_reference(subject: BackwardPass, point: Point, rng: np.random.Generator) -> None:
    """Hold the reference gradients to central differences along random directions; raise if they differ."""
    if point.random:
        return
    given: dict[str, Array] = {}
    narrow = _in_float32(point)
    tolerance = 5e-2 if narrow else 2e-5
    for name in subject.exact:
        if name not in point.nodes:
            continue
        g = gradient(point, name, given)
        value = np.asarray(point.values[name], np.float64)
        direction = rng.normal(size=value.shape)
        slope = 0.0 if g is None else float(np.sum(g * direction))
        size = float(np.sqrt(np.sum(direction * direction))) or 1.0
        scale = abs(slope) + (0.0 if g is None else float(np.sqrt(np.sum(g * g))))
        base = abs(float(np.asarray(point.loss.value).ravel()[0])) if point.loss is not None else 1.0
        measured = []
        for h in (1e-2, 1e-3) if narrow else (1e-5, 1e-6, 1e-4, 1e-7):
            step = h * max(1.0, float(np.max(np.abs(value), initial=0.0)))
            ends = [
                subject.plain_loss({**point.values, name: value + s * step * direction / size * np.sqrt(value.size)})
                for s in (1.0, -1.0)
            ]
            difference = (ends[0] - ends[1]) / (2 * step) * size / np.sqrt(value.size or 1)
            measured.append(difference)
            noise = 1e-15 * (base + 1) / step * size
            if abs(difference - slope) <= tolerance * (scale + abs(difference)) + noise:
                break
        else:
            raise AuditError(
                f"the audit refuses to judge: its own gradient of {name} does not agree with finite differences "
                f"({slope:.6g} along a random direction, measured {measured[0]:.6g}). If forward does not behave "
                "the same each time it is called, give it a fixed seed."
            )


def _what_was_not_seen(own: Point, trial: Trial) -> list[str]:
    notes = []
    if own.extra:
        notes.append(f"not judged, since no value of the forward pass has such a name: {', '.join(own.extra)}")
    for step in trial.steps.values():
        if step.unseen:
            notes.append(f"{step.key} was not judged: {step.unseen}")
    off = [own.keys[n] for n in own.gradients if n not in trial.steps]
    if off:
        notes.append(f"not judged, since the loss does not depend on the value: {', '.join(off)}")
    missing = [n for n in trial.exact if n not in own.gradients and n in own.nodes]
    if missing:
        notes.append(f"no gradient was returned for {', '.join(sorted(missing))}")
    return notes
