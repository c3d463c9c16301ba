"""Gradients that are not there, although the loss depends on the value."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..adapters.backward_pass import BackwardPass, Point
from ..core.op import Array
from .evidence import with_one_cause
from .mistakes.absent import MissingGradient, ZeroGradient
from .reference import gradient
from .report import Finding
from .step import Trial

#: The right gradient of a parameter that matters is larger than this, relative to the largest of all.
SMALLEST = 1e-9


def absent_findings(subject: BackwardPass, own: Point, points: list[Point]) -> list[Finding]:
    """Return a finding for each value that has no gradient, although the loss depends on it."""
    found = []
    for name in subject.exact:
        if name in subject.optional or name in own.gradients or not any(_depends(p, name) for p in points):
            continue
        message = f"d{name}: no gradient was found, although the loss depends on {name}."
        found.append(with_one_cause(f"d{name}", MissingGradient, message, "", {"found": list(own.keys.values())}))
    return found


def without_gradient(subject: BackwardPass, own: Point) -> list[str]:
    """Return a note on the data that has no gradient, which is no mistake."""
    names = [n for n in subject.exact if n in subject.optional and n not in own.gradients]
    return [f"no gradient was returned for {', '.join(names)}"] if names else []


def with_zeros_named(trial: Trial, findings: list[Finding]) -> list[Finding]:
    """Return the findings, those on gradients that are zero in every element with that cause."""
    keys = {s.key: s for s in trial.steps.values()}
    return [_zero(f) if f.name in keys and _all_zero(keys[f.name].found) else f for f in findings]


def _zero(finding: Finding) -> Finding:
    message = f"{finding.name} is zero in every element; the right gradient is not."
    named = with_one_cause(finding.name, ZeroGradient, message, finding.formula, finding.evidence)
    return dataclasses.replace(named, candidates=(*named.candidates, *finding.candidates))


def _all_zero(found: list[Array | None]) -> bool:
    return bool(found) and all(f is not None and f.size > 0 and not np.any(f) for f in found)


def _depends(point: Point, name: str) -> bool:
    if name not in point.nodes or point.loss is None:
        return False
    right = gradient(point, name, {})
    return right is not None and bool(np.any(np.abs(right) > SMALLEST))
