"""Side effects of a backward pass: arrays that it changes, and gradients that accumulate between calls."""

from __future__ import annotations

import numpy as np

from ..adapters.backward_pass import BackwardPass, Point
from .evidence import with_one_cause
from .mistakes.conduct import Accumulates
from .mistakes.everywhere import MutatesInput
from .report import Finding


def accumulates(subject: BackwardPass, own: Point) -> list[str]:
    """Call both passes again on equal copies; return the keys whose gradients accumulate."""
    try:
        again = subject.again()
    except Exception:
        return []
    if own.random:
        return []
    grown = []
    for name, first in own.gradients.items():
        second = again.gradients.get(name)
        if first is None or second is None or np.shape(first) != np.shape(second):
            continue
        a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
        size = float(np.max(np.abs(a), initial=0.0))
        if size and np.isfinite(a).all() and np.max(np.abs(b - 2 * a)) <= 1e-6 * size:
            grown.append(own.keys[name])
    return grown


def behaviour_findings(own: Point, adding: list[str], exact: frozenset[str]) -> list[Finding]:
    """Return findings on arrays that the pass changes or accumulates; `exact` are the parameters."""
    findings = []
    if own.changed:
        advice = "; copy before you write."
        if any(n in exact for n in own.changed):
            advice = ": the update belongs after it, when all gradients are known."
        message = f"backward changes {', '.join(own.changed)} in place{advice}"
        findings.append(with_one_cause("backward", MutatesInput, message, "", {"changed": list(own.changed)}))
    if adding:
        message = (
            f"a second call adds to the gradients of the first: {', '.join(adding)}. Start each call with new arrays."
        )
        findings.append(with_one_cause("backward", Accumulates, message, "", {"keys": list(adding)}))
    return findings
