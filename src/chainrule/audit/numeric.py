"""For forward passes that cannot be recorded: parameter gradients compared with finite differences only."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..adapters.backward_pass import AuditError, BackwardPass, Point
from ..adapters.new_values import Axes
from ..core.op import Array
from .behaviour import behaviour_findings
from .evidence import with_one_cause
from .lines import with_lines
from .mistakes.conduct import Unknown, WrongShape
from .mistakes.scaling import scale_mistake
from .points import set_size
from .report import RIGHT, UNSEEN, WRONG, Finding, Report, Step
from .scales import Scale, best_scale
from .step import conformed

#: Greatest number of elements of a parameter that are compared.
LARGEST = 400
TOLERANCE = 1e-4
#: What rounding leaves in central differences of a loss of size 1.
_NOISE = 1e-10


def numeric_report(
    subject: BackwardPass, own: Point, axes: Axes | None, rng: np.random.Generator, adding: list[str], ascent: bool
) -> Report:
    """Return a report on the parameters alone."""
    findings: list[Finding] = []
    steps: list[Step] = []
    set_size(own, axes, subject.values)
    depends = False
    loss = subject.plain_loss(subject.values)
    smallest = _NOISE * max(1.0, abs(loss)) / TOLERANCE * 1e7  # central differences of a zero gradient are noise
    for name, found in own.gradients.items():
        key, shape = own.keys[name], np.shape(found) if found is not None else ()
        if name not in subject.exact or found is None:
            steps.append(Step(key, UNSEEN, shape))
            continue
        expected_shape = np.shape(subject.values[name])
        array, _ = conformed(found, expected_shape)
        if array is None:
            message = f"{key} has shape {shape}, {name} has {expected_shape}."
            findings.append(with_one_cause(key, WrongShape, message))
            steps.append(Step(key, WRONG, shape))
            continue
        chosen, slopes = _differences(subject, name, rng)
        depends = depends or bool(np.any(slopes))
        c, left, plain = best_scale(array.ravel()[chosen] * (-1.0 if ascent else 1.0), slopes, smallest)
        steps.append(Step(key, RIGHT if plain <= TOLERANCE else WRONG, shape, plain, plain))
        if plain > TOLERANCE:
            findings.append(_finding(key, c if left <= TOLERANCE else None, own.size, plain))
    if findings and not depends and not any(f.cause == WrongShape.code for f in findings):
        raise AuditError(
            f"the loss does not change with {', '.join(subject.exact[:6])}: is it computed from what forward is passed?"
        )
    notes = [
        f"forward could not be recorded ({own.why_not}); the gradients of the parameters were checked against finite "
        "differences, error signals and causes within a step were not seen"
    ]
    findings += behaviour_findings(subject, own, adding, frozenset(subject.exact), notes, right=not findings)
    findings = with_lines(subject, own, findings)
    return Report(tuple(findings), (), tuple(steps), tuple(notes), loss, subject.title, subject.describe())


def _differences(subject: BackwardPass, name: str, rng: np.random.Generator) -> tuple[Any, Array]:
    """Return which elements of a parameter were chosen, and the central differences of the loss in them."""
    value = np.asarray(subject.values[name], np.float64)
    chosen = np.arange(value.size) if value.size <= LARGEST else rng.choice(value.size, LARGEST, replace=False)
    slopes = np.empty(len(chosen))
    for k, i in enumerate(chosen):
        h = 6e-6 * max(1.0, abs(float(value.ravel()[i])))
        ends = []
        for s in (h, -h):
            moved = value.copy()
            moved.ravel()[i] += s
            ends.append(subject.plain_loss({**subject.values, name: moved}))
        slopes[k] = (ends[0] - ends[1]) / (2 * h)
    return chosen, slopes


def _finding(key: str, c: float | None, m: int | None, error: float) -> Finding:
    if c is None:
        message = f"{key} does not agree with finite differences (relative error {error:.2g})."
        return Finding(key, Unknown.code, message, "", (), {"relative_error": error})
    powers = [p for p in (0, 1, -1) if m and abs(abs(c) / float(m) ** p - 1) < 1e-3]
    scale = Scale(float(np.sign(c)), powers[0]) if powers else Scale(c)
    cause, _ = scale_mistake(key, scale, m, None)
    message = f"{key} is {c:.4g} times what finite differences give."
    return with_one_cause(key, cause, message, "", {"ratio": c})
