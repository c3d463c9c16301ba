"""The audit: run the passes at several points, judge every step, and report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..adapters.backward_pass import AuditError, BackwardPass, Point
from ..adapters.loss_functions import LossFunction
from ..adapters.new_values import Axes
from ..adapters.objects import Objects
from .absent import absent_findings, with_zeros_named, without_gradient
from .accidents import (
    for_one_hot_only,
    for_one_unit_only,
    read_from_outside,
    reads_one_position,
    with_accidents,
    wrong_steps,
)
from .behaviour import accumulates, after_updates, behaviour_findings, layout_findings
from .blame import blame
from .findings import conventions_of, findings_of, nonfinite_findings, steps_of
from .judge import judge
from .lines import once_for_each_class, with_lines
from .numeric import numeric_report
from .per_example import add_over_examples
from .points import (
    LARGE,
    batch_of,
    batch_of_one,
    check_data,
    check_dependence,
    comparable,
    mixed_examples,
    other_points,
    set_size,
    with_own_data,
)
from .reasons import reasons_of
from .reference import check_reference, is_single_precision
from .report import Report
from .step import Trial

_SEED = 20180831
#: By how much tolerances are loosened for passes that compute in float32 inside.
_LOOSENED = 1e3


def report_on_loss(subject: LossFunction, data: tuple[str, ...], *, batch: bool = True, causes: bool = True) -> Report:
    """Audit a function or program that computes a loss and gradients.

    If only variables that were taken for gradients by their names are wrong, the gradients proper are judged alone:
    when they are right, the names meant something else.
    """
    report = report_on(subject, data, False, batch=batch, causes=causes)
    if not report.ok and subject.signals and all(f.name in subject.signals for f in report.findings):
        subject.signals = set()
        returned = report_on(subject, data, False, batch=batch, causes=causes)
        return returned if returned.ok else report
    return report


def report_on(
    subject: BackwardPass, data: tuple[str, ...], ascent: bool, *, batch: bool = True, causes: bool = True
) -> Report:
    """Run the passes on several values, judge every step, and return the report.

    Parameters
    ----------
    subject
        The passes, as given by the caller.
    data
        The names of the inputs that hold examples.
    ascent
        Whether the gradients of the parameters have the opposite sign.
    batch
        Whether the inputs may have an axis of examples.
    causes
        Whether causes and lines of errors are searched for.
    """
    report, trial = _judged(subject, data, ascent, batch, causes)
    axis = reads_one_position(subject, trial.points[-1]) if trial and report.findings else None
    if axis is not None:
        subject.single_along = axis
        single, _ = _judged(subject, data, ascent, batch, causes)
        subject.single_along = None
        if single.ok:
            note = "right for one-hot targets: backward looks for the one element of dout that is not zero"
            return replace(single, notes=(f"{note}; with soft targets it would be wrong", *single.notes))
    outside = read_from_outside(subject, trial, report.findings) if trial else {}
    if outside:  # values that backward reads from elsewhere are the caller's own, whatever it is handed
        subject.fixed = tuple(outside)
        fixed, _ = _judged(subject, data, ascent, False, causes)
        if len(fixed.findings) == len(report.findings) and _unknown(fixed) >= _unknown(report):
            return report  # they explain nothing
        report = fixed
        note = f"backward reads {', '.join(outside.values())} from outside: other values of it were not tried"
        note = f"right on your data; {note}" if report.ok else note
        report = replace(report, notes=(note, *report.notes))
    return report


def _unknown(report: Report) -> int:
    """Return how many findings have no known cause."""
    return sum(finding.cause == "unknown" for finding in report.findings)


def _judged(
    subject: BackwardPass, data: tuple[str, ...], ascent: bool, batch: bool, causes: bool
) -> tuple[Report, Trial | None]:
    """Return the report, and what it was made from if the forward pass could be recorded."""
    rng = np.random.default_rng(_SEED)
    check_data(subject, data)
    subject.over_examples = None if batch else subject.over_examples
    own = subject.first_run()
    _check_names(own)
    check_dependence(subject, own)
    notes = _unlike_sizes(subject)
    axes = batch_of(subject, data, rng) if batch else None
    if axes and (added := add_over_examples(subject, own, axes)):
        notes, own = notes + added, subject.first_run()
    adding = accumulates(subject, own)
    if not isinstance(subject, Objects):
        subject.adding, subject.adds_up = tuple(adding), bool(adding)
    single = axes is not None and all(np.shape(subject.values[n])[axis] == 1 for n, axis in axes.items())
    kept = None if single else axes  # a batch of one is judged as it is
    large = own.loss is not None and len(own.order) > LARGE
    points = [p for p in other_points(subject, kept, data, rng, notes, large) if comparable(p, own)]
    if own.loss is None and not points:
        return numeric_report(subject, own, axes, rng, adding, ascent), None
    set_size(own, kept, subject.values)
    notes += mixed_examples(own)
    points = with_own_data(subject, own, points, rng, notes)
    trial = Trial(points, frozenset(subject.exact), ascent, _looseness(own, points), subject.own_penalty)
    trial.budgets = trial.budgets if causes else None
    for point in points[:2]:
        try:
            check_reference(subject, point, rng)
        except AuditError:
            raise
        except Exception as error:  # of a forward pass that refuses what does not sum to one
            raise AuditError(f"forward refuses values near yours, so there is nothing to compare: {error}") from error
    judge(trial)
    excess = blame(trial)
    findings = after_updates(subject, trial, with_zeros_named(trial, findings_of(trial)))
    findings += absent_findings(subject, own, points)
    findings += nonfinite_findings(own, {f.name for f in findings})
    findings += [] if findings else layout_findings(subject, own)
    findings += behaviour_findings(subject, own, adding, trial.exact, notes, right=not findings)
    if own.random:
        notes.append("forward is random beyond NumPy's own generators; each run was judged with the values it drew")
    if causes and findings:
        findings = with_lines(subject, own, with_accidents(subject, trial, findings, rng))
    if axes and not findings:
        notes += (_on_several_examples if single else _on_one_example)(subject, axes, trial, rng)
        notes += for_one_unit_only(subject, axes, trial, rng)
    notes += [] if findings else for_one_hot_only(subject, trial, rng)
    notes += _what_was_not_seen(own, trial) + without_gradient(subject, own)
    steps = steps_of(trial, own, findings)
    report = Report(
        tuple(once_for_each_class(subject, findings)),
        tuple(conventions_of(trial, excess, findings)),
        tuple(steps),
        tuple(dict.fromkeys(notes)),
        subject.plain_loss(subject.values),
        subject.title,
        subject.describe(),
        reasons=tuple(reasons_of(subject, trial, own, steps)) if causes else (),
    )
    return report, trial


def _check_names(own: Point) -> None:
    """Raise where no gradient is named after a value of the forward pass."""
    if own.gradients:
        return
    if not own.extra:
        raise AuditError("backward returned no gradients by name; expected a dict such as {'dW1': …}")
    names = ", ".join([*own.nodes, *own.constants][:12])
    raise AuditError(
        f"none of the gradients ({', '.join(own.extra[:8])}) is named after a value; expected 'd' and one of {names}"
    )


def _unlike_sizes(subject: BackwardPass) -> list[str]:
    shapes = [np.shape(subject.values[n]) for n in ("X", "Y") if isinstance(subject.values.get(n), np.ndarray)]
    if len(shapes) < 2 or not all(shapes) or set(shapes[0]) & set(shapes[1]):
        return []
    return [f"X has shape {shapes[0]}, Y {shapes[1]}, with no length in common: do they hold the same examples?"]


def _looseness(own: Point, points: list[Point]) -> float:
    narrow = any(np.asarray(g).dtype in (np.float32, np.float16) for g in own.gradients.values() if g is not None)
    return _LOOSENED if narrow or is_single_precision(points[0]) else 1.0


def _on_one_example(subject: BackwardPass, axes: Axes, trial: Trial, rng: np.random.Generator) -> list[str]:
    """Return the errors on a batch of one."""
    point = batch_of_one(subject, axes, rng)
    if isinstance(point, str):
        return [point] if point else []
    wrong = wrong_steps(trial, [point])
    return [f"on a batch of one, {', '.join(wrong)} would be wrong"] if wrong else []


def _on_several_examples(subject: BackwardPass, axes: Axes, trial: Trial, rng: np.random.Generator) -> list[str]:
    """Return what would be wrong on more examples than one."""
    points = other_points(subject, axes, (), rng, [])
    if not points or any(set(p.gradients) != set(trial.points[0].gradients) or p.loss is None for p in points):
        return ["right for one example only: backward fails for more"]
    wrong = wrong_steps(trial, points, scales=False)
    return [f"right for one example only: with more, {', '.join(wrong)} would be wrong"] if wrong else []


def _what_was_not_seen(own: Point, trial: Trial) -> list[str]:
    notes = []
    if own.extra:
        notes.append(f"not judged, since no value of the forward pass has such a name: {', '.join(own.extra)}")
    notes += [f"{step.key} was not judged: {step.unseen}" for step in trial.steps.values() if step.unseen]
    off = [own.keys[n] for n in own.gradients if n not in trial.steps]
    if off:
        notes.append(f"not judged, since the loss does not depend on the value: {', '.join(off)}")
    return notes
