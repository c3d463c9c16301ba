"""Side effects of a backward pass: arrays that it changes, and gradients that accumulate between calls."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ..adapters.backward_pass import BackwardPass, Point, copied
from ..adapters.containers import mapped
from ..adapters.network_functions import NetworkFunctions
from ..adapters.objects import Objects
from .evidence import with_one_cause
from .mistakes.conduct import Accumulates, MemoryLayout
from .mistakes.everywhere import MutatesInput
from .mistakes.general import UpdatedWeights
from .report import Finding
from .step import Trial


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


def behaviour_findings(
    subject: BackwardPass, own: Point, adding: list[str], exact: frozenset[str], notes: list[str], *, right: bool
) -> list[Finding]:
    """Return findings on arrays that the pass changes or accumulates; `exact` are the parameters.

    A write that changes nothing for the caller is a note, which calls it harmless where the gradients are `right`.
    """
    findings = []
    harmless, same = _harmless(subject, own)
    if harmless and len(harmless) == len(own.changed):
        what = "a second call gives the same" if same else "a second call without a new forward pass gives others"
        kind = ("harmless, " if same else "harmless in training, but ") if right else ""
        notes.append(f"backward writes into {', '.join(harmless)} in place: {kind}{what}")
    if changed := [n for n in own.changed if n not in harmless]:
        advice = "; copy before you write."
        if any(n in exact and n in own.inputs_changed for n in changed):
            advice = ": the update belongs after it, when all gradients are known."
        message = f"backward changes {', '.join(changed)} in place{advice}"
        findings.append(with_one_cause("backward", MutatesInput, message, "", {"changed": changed}))
    if adding:
        message = (
            f"a second call adds to the gradients of the first: {', '.join(adding)}. Start each call with new arrays."
        )
        findings.append(with_one_cause("backward", Accumulates, message, "", {"keys": list(adding)}))
    return findings


def layout_findings(subject: BackwardPass, own: Point) -> list[Finding]:
    """Return the first gradient whose values change with the order in which arrays are stored in memory."""
    try:
        twin = subject.copied()
        plain = twin.repeated()
        if own.changed or any(not _equal(g, plain.get(n)) for n, g in own.gradients.items()):
            return []
        other = subject.copied()
        other.upstream = mapped(twin.handed, _in_fortran_order)
        found = other.repeated({n: _in_fortran_order(n, v) for n, v in subject.values.items()})
    except Exception:  # whatever the user's code raises
        return []
    kinds = [np.asarray(g).dtype for g in plain.values() if g is not None]
    loose = 1e-3 if np.dtype(np.float32) in kinds else 1e-9
    rounding = loose * max((_largest(g) for g in plain.values() if g is not None), default=0.0)
    for name, gradient in plain.items():
        if name in found and gradient is not None and not _near(found[name], gradient, rounding):
            key = own.keys.get(name, name)
            message = f"{key} changes when the arrays are stored in another memory order, as a transposed array is."
            return [with_one_cause(key, MemoryLayout, message)]
    return []


def _in_fortran_order(name: str, value: Any) -> Any:
    return np.asfortranarray(value) if isinstance(value, np.ndarray) and value.ndim > 1 else value


def _harmless(subject: BackwardPass, own: Point) -> tuple[list[str], bool]:
    """Return what backward writes into without harm, and whether a second call on the same cache gives the same.

    Inputs, parameters and outputs are the caller's; what forward keeps is backward's own, as long as that can be
    called again. After a write into dout a second call must not differ, unless it is dout that was clipped, as the
    gradient of a bias that is another name of it.
    """
    if not own.changed:
        return [], True
    kept = [n for n in own.changed if n not in own.inputs_changed and n != "dout"]
    same, runs = _as_before(subject, own)
    if not isinstance(subject, Objects):
        apart = subject.returned_apart() if runs and isinstance(subject, NetworkFunctions) else set()
        kept = [n for n in kept if runs and n not in apart and not re.match(r"out\b", n)]
    if "dout" not in own.changed:
        return kept, same
    twin = subject.copied()
    twin.upstream = own.handed
    if isinstance(subject, Objects) and _clips_dout(subject, own.handed):
        return [*kept, "dout"], same
    try:
        again = twin.repeated()
    except Exception:  # whatever the user's code raises
        return kept, same
    return [*kept, "dout"] if all(_equal(g, again.get(n)) for n, g in own.gradients.items()) else kept, same


def _clips_dout(subject: Objects, handed: Any) -> bool:
    """Whether backward left the upstream gradient clipped by value."""
    twin, values = subject.copied(), copied(subject.values)
    output, _ = twin.forward(values)
    dout = np.asarray(twin.dout(output, values))
    bound = float(np.max(np.abs(handed), initial=0.0))
    return bound > 0 and np.array_equal(np.clip(dout, -bound, bound), handed)


def _as_before(subject: BackwardPass, own: Point) -> tuple[bool, bool]:
    """Return whether a second call of backward on the same cache gives the same, and whether it runs at all."""
    try:
        first, second = subject.backward_twice()
    except Exception:  # whatever the user's code raises
        return False, False
    return all(_equal(first.get(key), second.get(key)) for key in own.keys.values()), True


def _equal(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    return np.shape(a) == np.shape(b) and bool(np.allclose(np.asarray(a), np.asarray(b), rtol=1e-12, equal_nan=True))


def after_updates(subject: BackwardPass, trial: Trial, findings: list[Finding]) -> list[Finding]:
    """Return the findings, those with another cause that vanish with a small learning rate as `updated-weights`."""
    wrong = {s.key: n for n, s in trial.steps.items() if s.problem}
    if not isinstance(subject, Objects) or not subject.found.rates or not wrong:
        return findings
    point = trial.points[-1]
    try:
        slow = subject.with_small_rate().run(point.values, point.label, record=False).gradients
    except Exception:  # whatever the user's code raises
        return findings
    found = []
    for f in findings:
        step = trial.steps.get(wrong.get(f.name, ""))
        right, array = (step.expected[-1], slow.get(step.name)) if step else (None, None)
        truth = step.truth[-1] if step else None
        if any(_near(array, r) for r in (right, truth)):
            message = (
                f"{f.name} is computed from weights that backward has already updated: update after their last use."
            )
            f = with_one_cause(f.name, UpdatedWeights, message, f.formula, f.evidence)
        found.append(f)
    return found


def _near(a: Any, b: Any, rounding: float = 0.0) -> bool:
    """Whether gradients agree; one that is zero, as of a bias before batch norm, holds rounding errors alone."""
    if a is None or b is None or np.shape(a) != np.shape(b):
        return False
    return _largest(np.asarray(a, np.float64) - b) <= 1e-4 * _largest(b) + rounding


def _largest(x: Any) -> float:
    return float(np.max(np.abs(np.asarray(x, np.float64)), initial=0.0))
