"""Verdicts put into words: findings with their causes, conventions, steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..adapters.backward_pass import Point
from ..core.op import Array
from .formulas import from_the_loss, scaled, written
from .graph import GradientGraph, regions
from .judge import Number, Trial, _is_one, _over, _values_at, conventional, dependents
from .mistakes.results import penalty_in
from .mistakes.variants import Variant, formula_of
from .report import INHERITED, RIGHT, UNSEEN, WRONG, Candidate, Convention, Finding, Step
from .steps import TOLERANCE, Judged, gradient


def verdict_of(trial: Trial, step: Judged, findings: list[Finding]) -> str:
    """Return RIGHT, WRONG, INHERITED or UNSEEN."""
    if step.unseen:
        return UNSEEN
    if any(f.name == step.key for f in findings):
        return WRONG
    if step.problem or step.blamed:
        return INHERITED
    faulty = [n for n, s in trial.steps.items() if s.problem or s.blamed]
    tainted = any(step.name in dependents(trial.steps, n) for n in faulty)
    total = total_error(step)
    own = (step.constant, step.power)
    differs = total is not None and total > 10 * TOLERANCE * trial.loose
    return INHERITED if tainted and (differs or (step.exact and not _is_one(own))) else RIGHT


def total_error(step: Judged) -> float | None:
    """Return the relative difference to the gradient of the declared loss, a convention of scale taken out."""
    errors = []
    for found, truth in zip(step.found, step.truth, strict=False):
        if found is None or truth is None:
            return None
        largest = float(np.max(np.abs(truth), initial=0.0))
        if largest == 0:
            continue
        c = 1.0
        if not step.exact:
            square = float(np.sum(truth * truth))
            c = float(np.sum(found * truth)) / square or 1.0
        errors.append(float(np.max(np.abs(found / c - truth))) / largest)
    return max(errors) if errors else None


def steps_of(trial: Trial, own: Point, findings: list[Finding]) -> list[Step]:
    """Return every step of the report."""
    out = []
    for name, step in trial.steps.items():
        found = own.gradients.get(name)
        out.append(
            Step(
                step.key,
                verdict_of(trial, step, findings),
                tuple(np.shape(found)) if found is not None else (),
                _error(trial, step),
                total_error(step) if not step.unseen else None,
                tuple(
                    trial.steps[u].key if u in trial.steps else ("d" + u if u != "loss" else u) for u in step.upstream
                ),
                formula(trial, step),
            )
        )
    seen = {s.name for s in out}
    for name, key in own.keys.items():
        if key not in seen:
            found = own.gradients[name]
            out.append(Step(key, UNSEEN, tuple(np.shape(found)) if found is not None else ()))
    return out


def _error(trial: Trial, step: Judged) -> float | None:
    """Return the error that the table shows; a step that is off by a factor alone is off by that."""
    if not step.problem and not step.blamed:
        return step.error
    pair = compared(trial, step, len(trial.points) - 1)  # as the evidence has it
    return relative_error(*pair) if pair is not None else step.plain_error


def compared(trial: Trial, step: Judged, k: int) -> tuple[Array, Array] | None:
    """Return what was found at a point and what would be right there, in the scale that the pass gives its signals."""
    if k >= len(step.found) or step.found[k] is None or step.expected[k] is None:
        return None
    theirs, right = np.asarray(step.found[k]), np.asarray(step.expected[k])
    m = float(trial.points[k].size or 1)
    if step.blamed == "scale":
        return theirs, theirs / (step.fault[0] * m ** step.fault[1])
    if step.exact:
        return theirs, right
    constant, power = conventional(trial.steps, step)
    if step.upstream == ("loss",) and step.variants:
        power = step.power
    return theirs, right * (constant * m**power)


def relative_error(theirs: Array, right: Array) -> float:
    """Return the largest difference, relative to the largest right value."""
    largest = float(np.max(np.abs(right), initial=0.0))
    return float(np.max(np.abs(theirs - right), initial=0.0)) / (largest or 1.0)


def formula(trial: Trial, step: Judged) -> str:
    """Return the right formula of a step, in the pass's own scale of its signals."""
    point = trial.points[0]
    if step.unseen or not step.expected or step.expected[0] is None:
        return ""
    truth = step.expected[0]
    if step.upstream == ("loss",):
        text = from_the_loss(point, step.name, truth)
        if text:
            return f"{step.key} = {text}"
    if trial.region_lists is None:
        trial.region_lists = [regions(p) for p in trial.points]
    graph = GradientGraph(point, step.name, trial.hats[0])
    if not graph.order:
        return ""
    graph.values = _values_at(point)
    penalty = penalty_in(graph)
    text = written(graph, trial.region_lists[0], {}, at=penalty[0] if penalty else None)
    if not text:
        return f"{step.key} = ∂loss/∂{step.name}" if step.upstream == ("loss",) else ""
    numbers = [(trial.steps[u].constant, trial.steps[u].power) for u in step.upstream if u in trial.steps]
    if (
        step.exact
        and numbers
        and numbers[0][1] == 1
        and all(n == numbers[0] for n in numbers)
        and ("loss" not in step.upstream or penalty)
    ):
        text = scaled(
            text if " + " not in text and " − " not in text else f"({text})", 1 / float(point.size or 1), point.size
        )
    return f"{step.key} = {text}{penalty[1] if penalty else ''}"


#: Mistakes in an error signal, which show in every parameter behind it when the signal itself is not returned.
BEHIND_SEVERAL = frozenset(
    {
        "missing-activation-derivative",
        "derivative-at-activation",
        "derivative-applied-twice",
        "wrong-activation-derivative",
        "dropout-mask-missing",
        "missing-term",
        "updated-weights",
    }
)


def findings_of(trial: Trial) -> list[Finding]:
    """Return the findings, those of the forward pass first."""
    cache: dict[str, Finding] = {}
    found: list[Finding] = []
    explained: dict[tuple[str, str], set[str]] = {}
    for step in trial.steps.values():
        if step.unseen:
            continue
        if step.problem == "nonfinite":
            found.append(_nonfinite(trial, step))
        elif step.problem == "transposed":
            found.append(_simple(trial, step, "transposed", f"{step.key} is the transpose of what it should be."))
        elif step.problem in ("wrong", "shape"):
            told = {(v.cause, v.message) for v in step.variants if v.cause in BEHIND_SEVERAL}
            if any(explained.get(t, set()) & set(step.upstream) for t in told):
                continue  # the same mistake, in a signal that was not returned
            for t in told:
                explained.setdefault(t, set()).update(step.upstream)
            overwritten = next((v for v in step.variants if " as it is in the cache" in v.message), None)
            if overwritten is not None and overwritten is step.variants[0]:
                name = overwritten.message.partition(" as it is in the cache")[0].rpartition(" ")[2]
                cache.setdefault(name, _inconsistent(trial, name, step))
                continue
            found.append(_wrong(trial, step))
        elif step.blamed == "scale":
            found.append(_scale(trial, step))
    return [*cache.values(), *found]


def _evidence(trial: Trial, step: Judged) -> dict[str, Any]:
    evidence: dict[str, Any] = {}
    k = len(trial.points) - 1
    point = trial.points[k]
    raw = point.gradients.get(step.name)
    evidence["at"] = point.label
    evidence["expected_shape"] = list(point.nodes[step.name].shape)
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
    difference = np.abs(theirs - right)
    if difference.size:
        worst = np.unravel_index(
            int(np.nanargmax(difference)) if np.isfinite(difference).any() else 0, difference.shape
        )
        evidence["worst"] = {
            "index": [int(i) for i in worst],
            "theirs": float(theirs[worst]),
            "right": float(right[worst]),
        }
        largest = float(np.max(np.abs(right), initial=0.0))
        wrong = ~(difference <= 1e-6 * (largest or 1.0))
        evidence["wrong_entries"] = f"{int(wrong.sum())} of {wrong.size}"
        pattern = _pattern(theirs, right, wrong)
        if pattern:
            evidence["pattern"] = pattern
    return evidence


def _pattern(theirs: Any, right: Any, wrong: Any) -> str:
    if wrong.all() or not wrong.any() or wrong.ndim == 0:
        return ""
    if (right[wrong] == 0).all():
        return "wrong only where the right value is zero"
    if (theirs[wrong] == 0).all():
        return "zero where it should not be"
    if wrong.ndim == 2:
        if all(row.all() or not row.any() for row in wrong):
            return "whole rows are wrong"
        if all(column.all() or not column.any() for column in wrong.T):
            return "whole columns are wrong"
    return ""


def _simple(trial: Trial, step: Judged, cause: str, message: str, theirs: str = "") -> Finding:
    right = formula(trial, step)
    return Finding(step.key, cause, message, right, (Candidate(cause, message, theirs),), _evidence(trial, step))


def _nonfinite(trial: Trial, step: Judged) -> Finding:
    arrays = [p.gradients.get(step.name) for p in reversed(trial.points)]  # the caller's own data, if judged, is last
    if any(a is None for a in arrays):
        return _simple(trial, step, "nonfinite", f"{step.key} is None, or no array of numbers.")
    array = next(a for a in (np.asarray(a, np.float64) for a in arrays) if not np.isfinite(a).all())
    message = f"{_not_finite(array)} of {step.key}, {ADVICE}"
    return _simple(trial, step, "nonfinite", message)


ADVICE = (
    "although the right gradient is finite: look for a division by zero, a logarithm of zero or an overflow in its "
    "formula."
)


def _not_finite(array: Array) -> str:
    """Return "2 NaN among the 45 elements" and the like."""
    nans, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    kinds = [f"{count} {what}" for count, what in ((nans, "NaN"), (infinite, "infinite")) if count]
    return f"{' and '.join(kinds)} among the {array.size} elements"


def nonfinite_findings(own: Point, known: set[str]) -> list[Finding]:
    """Return findings on gradients that are not finite on the caller's own data, where the right ones are."""
    if own.loss is None or not np.isfinite(np.asarray(own.loss.value)).all():
        return []
    out = []
    for name, found in own.gradients.items():
        key = own.keys[name]
        if key in known or name not in own.nodes or found is None or np.isfinite(np.asarray(found, np.float64)).all():
            continue
        right = gradient(own, name, {n: g for n, g in own.given.items() if n != name})
        if right is None or not np.isfinite(right).all():
            continue
        message = f"{_not_finite(np.asarray(found, np.float64))} of {key} on your data, {ADVICE}"
        evidence = {"at": own.label, "found_shape": list(np.shape(found))}
        out.append(Finding(key, "nonfinite", message, "", (Candidate("nonfinite", message),), evidence))
        break  # what follows from it is not finite either
    return out


def _inconsistent(trial: Trial, name: str, step: Judged) -> Finding:
    point = trial.points[0]
    held = point.cached.get(name)
    same = [
        n
        for n, t in point.nodes.items()
        if n != name and held is not None and t.shape == held.shape and np.allclose(np.asarray(t.value), held)
    ]
    what = f"it holds {same[0]}" if same else "it was overwritten later"
    message = (
        f"cache[{name!r}] is not the {name} that forward computes with: {what}. {step.key} is computed from it. Store "
        "the array itself, and do not write into it afterwards."
    )
    return Finding(
        name, "inconsistent-cache", message, "", (Candidate("inconsistent-cache", message),), _evidence(trial, step)
    )


def _wrong(trial: Trial, step: Judged) -> Finding:
    right = formula(trial, step)
    evidence = _evidence(trial, step)
    if not step.variants:
        if step.problem == "shape":
            found, expected = tuple(evidence.get("found_shape", ())), tuple(evidence["expected_shape"])
            message = f"{step.key} has shape {found}, {step.name} has {expected}."
            return Finding(step.key, "wrong-shape", message, right, (Candidate("wrong-shape", message),), evidence)
        message = f"{step.key} is wrong, and none of the known mistakes gives its numbers."
        if step.error is not None and step.only_scaled:
            message = (
                f"{step.key} has the right direction, but its length is off by a factor that depends on the data: is "
                "the gradient clipped or normalised?"
            )
        return Finding(step.key, "unknown", message, right, (), evidence)
    candidates = []
    seen: set[str] = set()
    for variant in step.variants:
        text = formula_of(variant, step.contexts[0], step.key, right) if step.contexts else ""
        if variant.message in seen or text in seen:
            continue  # the same in other words
        seen |= {variant.message, text} - {""}
        candidates.append(Candidate(_as_changed(trial, variant), variant.message, text))
    first = candidates[0].cause
    message = f"{step.key} is wrong: {candidates[0].message}."
    if len({c.cause for c in candidates}) > 1:
        message += f" {len(candidates)} ways fit; this is the simplest."
    return Finding(step.key, first, message, right, tuple(candidates[:8]), evidence)


def _as_changed(trial: Trial, variant: Variant) -> str:
    before, changed, _ = variant.message.partition(" as backward changed it")
    if not changed:
        return variant.cause
    return "updated-weights" if before.rpartition(" ")[2] in trial.exact else "mutates-input"


def _scale(trial: Trial, step: Judged) -> Finding:
    k, p = step.fault
    m = trial.points[-1].size
    cause, message = scale_cause(step.key, k, p, m, _outputs(trial, step))
    right = formula(trial, step)
    candidates = [Candidate(cause, message, _scaled_formula(right, k, p))]
    if cause == "constant-factor" and p == 1:
        candidates.append(Candidate("missing-mean", "it is not divided by m but by something else", ""))
    return Finding(step.key, cause, message, right, tuple(candidates), _evidence(trial, step))


def _scaled_formula(right: str, k: float, p: int) -> str:
    """Return the formula that is k · m^p times the right one."""
    key, equals, text = right.partition(" = ")
    if not equals:
        return ""
    if p == 1 and text.endswith(" / m"):
        text = text.removesuffix(" / m")
    elif p == -1:
        text = f"{text}²" if text.endswith(" / m") else f"{text} / m"
    elif p:
        text = f"{'m' if p == 1 else f'm^{p}'} · {text}"
    if abs(k - 1) > 1e-6:
        several = " + " in text or " − " in text
        text = f"({text})" if several and not text.startswith("(") else text
        text = f"−{text}" if abs(k + 1) < 1e-6 else f"{k:.4g} · {text}"
    return f"{key} = {text}"


def _outputs(trial: Trial, step: Judged) -> float | None:
    m = trial.points[0].size
    for name, s in trial.steps.items():
        truth = s.truth[0] if s.truth else None
        if s.upstream == ("loss",) and not s.exact and truth is not None and m and truth.size % m == 0:
            del name
            return float(truth.size / m)
    return None


def scale_cause(key: str, k: float, p: int, m: int | None, outputs: float | None) -> tuple[str, str]:
    """Return the cause and the message for a gradient that is k · m^p times what it should be."""
    total = k * float(m or 1) ** p
    size = abs(k)
    cause, why = "constant-factor", ""
    if p == 0 and _near(size, 1):
        why = "it has the wrong sign"
    elif p == 1 and _near(size, 1):
        cause, why = "missing-mean", f"the sum over the batch is not divided by m = {m}"
    elif p < 0 and _near(size, 1):
        cause, why = "double-mean", f"it is divided by m = {m} once more than the loss asks for"
    elif p == 0 and (_near(size, 2) or _near(size, 0.5)):
        pass
    elif p >= 0 and outputs and outputs > 1 and _near(size, outputs):
        cause, why = "missing-mean", f"the loss is a mean over the {outputs:.0f} outputs, too"
    elif p <= 0 and outputs and outputs > 1 and _near(size, 1 / outputs):
        cause, why = "double-mean", f"it is divided by the {outputs:.0f} outputs, too"
    elif p == 1 and size < 1 and _near(abs(total), 1):
        return cause, f"{key} is right in a batch of {m} alone: it is divided by {1 / size:.6g} in any other, too."
    elif p == 1 and size < 1:
        why = f"it is divided by {1 / size:.6g}, not by m = {m}"
    elif p:
        why = f"and by how much depends on the batch, here of {m}"
    amount = f"{total:.6g} times too large" if total > 1 else f"{total:.6g} times what it should be"
    return ("sign" if k < 0 else cause), f"{key} is {amount}{': ' if why else ''}{why}."


def _near(a: float, b: float) -> bool:
    return abs(a / b - 1) < 1e-5


def conventions_of(trial: Trial, excess: Mapping[str, Number], findings: list[Finding]) -> list[Convention]:
    """Return what the pass does in its own way, and rightly."""
    out = []
    wrong = {f.name for f in findings}
    plain = [
        s for s in trial.steps.values() if not s.unseen and not s.exact and s.scale is not None and s.key not in wrong
    ]
    undivided = [s.key for s in plain if s.power == 1 and abs(s.constant - 1) < 1e-6]
    if undivided:
        out.append(Convention("", f"{', '.join(undivided)} carry no 1/m; the gradients of the parameters divide by m"))
    for s in plain:
        number = _over((s.constant, s.power), excess.get(s.name, (1.0, 0)))
        if s.key not in undivided and not _is_one(number):
            m = trial.points[-1].size or 1
            out.append(
                Convention(
                    s.key,
                    f"{s.key} is {number[0] * m ** number[1]:.4g} times the gradient of the loss; made up for later",
                )
            )
    for s in trial.steps.values():
        if s.epsilon and trial.epsilons and trial.epsilons[0]:
            out.append(
                Convention(s.key, f"{s.key} leaves out the small constant {trial.epsilons[0][2]:g} of the forward pass")
            )
        if s.masked:
            out.append(Convention(s.key, f"{s.key} is the gradient before dropout: the mask is in it"))
        if s.shape_note == "reshaped" and not s.problem:
            shapes = np.shape(trial.points[-1].gradients[s.name]), trial.points[-1].nodes[s.name].shape
            out.append(Convention(s.key, f"{s.key} has shape {shapes[0]}, {s.name} has {tuple(shapes[1])}"))
        if s.shape_note == "transposed" and not s.exact and s.key not in wrong:
            out.append(Convention(s.key, f"{s.key} is stored transposed"))
    if trial.ascent:
        out.append(Convention("", "the gradients of the parameters are to be added (ascent)"))
    return out
