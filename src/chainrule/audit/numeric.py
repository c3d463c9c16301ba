"""Where a forward pass cannot be recorded: the gradients of the parameters against finite differences alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..adapters.backward_pass import AuditError, BackwardPass, Point
from ..adapters.new_values import Axes
from ..core.op import Array
from .behaviour import behaviour_findings
from .judge import Trial
from .report import RIGHT, UNSEEN, WRONG, Candidate, Finding, Report, Step
from .steps import conformed, fitted_scale

LARGEST = 400


def numeric_report(
    subject: BackwardPass, own: Point, axes: Axes | None, rng: np.random.Generator, adding: list[str], ascent: bool
) -> Report:
    """Return a report on the parameters alone."""
    findings: list[Finding] = []
    steps: list[Step] = []
    size = None
    if axes:
        name, axis = next(iter(axes.items()))
        size = int(np.shape(subject.values[name])[axis])
    depends = False
    for name, found in own.gradients.items():
        key = own.keys[name]
        if name not in subject.exact or found is None:
            steps.append(Step(key, UNSEEN, np.shape(found) if found is not None else ()))
            continue
        shape = np.shape(subject.values[name])
        array, _ = conformed(found, shape, None)
        if array is None:
            message = f"{key} has shape {np.shape(found)}, {name} has {shape}."
            findings.append(Finding(key, "wrong-shape", message, "", (Candidate("wrong-shape", message),)))
            steps.append(Step(key, WRONG, np.shape(found)))
            continue
        chosen, slopes = _differences(subject, name, rng)
        depends = depends or bool(np.any(slopes))
        theirs = array.ravel()[chosen] * (-1.0 if ascent else 1.0)
        c, left, plain = fitted_scale(theirs, slopes, 0.0)
        if plain <= 1e-4:
            steps.append(Step(key, RIGHT, np.shape(found), plain, plain))
            continue
        steps.append(Step(key, WRONG, np.shape(found), plain, plain))
        findings.append(_finding(key, c if left <= 1e-4 else None, size, plain))
    if findings and not depends and not any(f.cause == "wrong-shape" for f in findings):
        raise AuditError(
            f"the loss does not change with {', '.join(subject.exact[:6])}: is it computed from what forward is handed?"
        )
    trial = Trial([own], frozenset(subject.exact))
    notes = [
        f"forward could not be recorded ({own.why_not}); the gradients of the parameters were held to finite "
        "differences, error signals and causes within a step were not seen"
    ]
    findings += behaviour_findings(own, adding, trial)
    return Report(tuple(findings), (), tuple(steps), tuple(notes), subject.plain_loss(subject.values), subject.title)


def _differences(subject: BackwardPass, name: str, rng: np.random.Generator) -> tuple[Any, Array]:
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
        return Finding(key, "unknown", message, "", (), {"relative_error": error})
    cause = "constant-factor"
    if abs(c + 1) < 1e-3:
        cause = "sign"
    elif m and abs(c / m - 1) < 1e-3:
        cause = "missing-mean"
    elif m and abs(c * m - 1) < 1e-3:
        cause = "double-mean"
    message = f"{key} is {c:.4g} times what finite differences say."
    return Finding(key, cause, message, "", (Candidate(cause, message),), {"ratio": c})
