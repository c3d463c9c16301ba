"""The numbers behind a finding: the value found, the right value, and where they differ most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.op import Array
from .blame import conventional
from .mistakes.table import Cause
from .report import Candidate, Finding
from .scales import Scale
from .step import JudgedStep, Trial


def compared(trial: Trial, step: JudgedStep, k: int) -> tuple[Array, Array] | None:
    """Return the found and the right value at a point, in the scale of the pass's signals."""
    if k >= len(step.found) or step.found[k] is None or step.expected[k] is None:
        return None
    theirs, right = np.asarray(step.found[k]), np.asarray(step.expected[k])
    size = trial.points[k].size
    if step.fault is not None:
        return theirs, theirs / step.fault.at(size)
    if step.exact:
        return theirs, right
    scale = conventional(trial.steps, step)
    if step.upstream == ("loss",) and step.variants:
        scale = Scale(scale.k, step.scale.p)
    return theirs, right * scale.at(size)


def relative_error(theirs: Array, right: Array) -> float:
    """Return the largest difference, relative to the largest right value."""
    largest = float(np.max(np.abs(right), initial=0.0))
    return float(np.max(np.abs(theirs - right), initial=0.0)) / (largest or 1.0)


def shown_error(trial: Trial, step: JudgedStep) -> float | None:
    """Return the error that the table shows; a step that is off by a factor alone is off by that."""
    if not step.problem and step.fault is None:
        return step.error
    pair = compared(trial, step, len(trial.points) - 1)
    return relative_error(*pair) if pair is not None else step.plain_error


def total_error(step: JudgedStep) -> float | None:
    """Return the relative difference to the gradient of the declared loss, a convention of scale taken out."""
    errors = []
    for found, truth in zip(step.found, step.truth, strict=False):
        if found is None or truth is None:
            return None
        largest = float(np.max(np.abs(truth), initial=0.0))
        if largest == 0:
            continue
        square = float(np.sum(truth * truth))
        c = 1.0 if step.exact else float(np.sum(found * truth)) / square or 1.0
        errors.append(float(np.max(np.abs(found / c - truth))) / largest)
    return max(errors) if errors else None


def evidence_of(trial: Trial, step: JudgedStep) -> dict[str, Any]:
    """Return numbers and shapes by name, at the last point: the caller's own data, if that was judged."""
    k = len(trial.points) - 1
    point = trial.points[k]
    raw = point.gradients.get(step.name)
    evidence: dict[str, Any] = {"at": point.label, "expected_shape": list(point.nodes[step.name].shape)}
    if raw is not None:
        evidence["found_shape"] = list(np.shape(raw))
    pair = compared(trial, step, k)
    if pair is None:
        return evidence
    theirs, right = pair
    if np.isfinite(error := relative_error(theirs, right)):
        evidence["relative_error"] = error
    square = float(np.sum(right * right))
    if square:
        evidence["ratio"] = float(np.sum(theirs * right) / square)
    return {**evidence, **_differences(theirs, right)} if right.size else evidence


def _differences(theirs: Array, right: Array) -> dict[str, Any]:
    difference = np.abs(theirs - right)
    where = int(np.nanargmax(difference)) if np.isfinite(difference).any() else 0
    worst = np.unravel_index(where, difference.shape)
    largest = float(np.max(np.abs(right), initial=0.0))
    wrong = ~(difference <= 1e-6 * (largest or 1.0))
    found: dict[str, Any] = {
        "worst": {"index": [int(i) for i in worst], "theirs": float(theirs[worst]), "right": float(right[worst])},
        "wrong_entries": f"{int(wrong.sum())} of {wrong.size}",
    }
    pattern = _pattern(theirs, right, wrong)
    return {**found, "pattern": pattern} if pattern else found


def _pattern(theirs: Array, right: Array, wrong: Array) -> str:
    if wrong.all() or not wrong.any() or wrong.ndim == 0:
        return ""
    if (right[wrong] == 0).all():
        return "wrong only where the right value is zero"
    if (theirs[wrong] == 0).all():
        return "zero where it should not be"
    if wrong.ndim == 2 and all(row.all() or not row.any() for row in wrong):
        return "whole rows are wrong"
    if wrong.ndim == 2 and all(column.all() or not column.any() for column in wrong.T):
        return "whole columns are wrong"
    return ""


def with_one_cause(
    name: str, cause: type[Cause], message: str, formula: str = "", evidence: Mapping[str, Any] | None = None
) -> Finding:
    """Return a finding that has one explanation."""
    return Finding(name, cause.code, message, formula, (Candidate(cause.code, message),), evidence or {})


def not_finite(array: Array) -> str:
    """Return "2 NaN among the 45 elements" and the like."""
    nans, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    kinds = [f"{count} {what}" for count, what in ((nans, "NaN"), (infinite, "infinite")) if count]
    return f"{' and '.join(kinds)} among the {array.size} elements"
