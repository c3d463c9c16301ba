"""How a backward pass behaves when it is called: what it changes, and whether it adds to what it returned before."""

from __future__ import annotations

import numpy as np

from ..adapters.backward_pass import BackwardPass, Point
from .judge import Trial
from .report import Candidate, Finding


def accumulates(subject: BackwardPass, own: Point) -> list[str]:
    """Call both passes again on equal copies; return the keys whose gradients grew by themselves."""
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


def behaviour_findings(own: Point, adding: list[str], trial: Trial) -> list[Finding]:
    """Return the findings on behaviour."""
    findings = []
    if own.changed:
        names = ", ".join(own.changed)
        weights = [n for n in own.changed if n in trial.exact]
        message = f"backward changes {names} in place"
        message += (
            ": the update belongs after it, when all gradients are known." if weights else "; copy before you write."
        )
        candidate = Candidate("mutates-input", message)
        findings.append(Finding("backward", "mutates-input", message, "", (candidate,), {"changed": list(own.changed)}))
    if adding:
        message = (
            f"a second call adds to the gradients of the first: {', '.join(adding)}. Begin each call with new arrays."
        )
        findings.append(
            Finding(
                "backward", "accumulates", message, "", (Candidate("accumulates", message),), {"keys": list(adding)}
            )
        )
    return findings
