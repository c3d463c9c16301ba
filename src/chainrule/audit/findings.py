"""Findings with their causes, conventions and steps, as sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..adapters.backward_pass import Point
from .blame import dependents, elements_per_example
from .evidence import evidence_of, not_finite, shown_error, total_error, with_one_cause
from .formulas import from_the_loss, scaled, written
from .judge import formula_graph
from .mistakes.absent import MissingGradient
from .mistakes.conduct import Nonfinite, Unknown, WrongShape
from .mistakes.everywhere import InconsistentCache, MutatesInput
from .mistakes.general import Transposed, UpdatedWeights
from .mistakes.penalties import penalty_in
from .mistakes.scaling import ConstantFactor, MissingMean, scale_mistake
from .mistakes.table import Cause, pages
from .mistakes.variants import AS_CACHED, AS_CHANGED, Variant
from .reference import gradient
from .report import INHERITED, RIGHT, UNSEEN, WRONG, Candidate, Convention, Finding, Step
from .scales import ONE, Scale
from .step import NONFINITE, SHAPE, TOLERANCE, TRANSPOSED, JudgedStep, Trial

MOST_CANDIDATES = 8
#: Of unrolled loops with more nodes than this, no formula would fit on a line.
LARGEST_FORWARD = 1000
#: Steps whose distances from a mistake differ by less are told in the order of the pass.
NEAR = 4
ADVICE = (
    "although the right gradient is finite: look for a division by zero, a logarithm of zero or an overflow in its "
    "formula."
)


def verdict_of(trial: Trial, step: JudgedStep, findings: list[Finding]) -> str:
    """Return RIGHT, WRONG, INHERITED or UNSEEN."""
    if step.unseen:
        return UNSEEN
    if any(f.name == step.key for f in findings):
        return WRONG
    if step.problem or step.fault is not None:
        return INHERITED
    faulty = [n for n, s in trial.steps.items() if s.problem or s.fault is not None]
    tainted = any(step.name in dependents(trial.steps, n) for n in faulty)
    total = total_error(step)
    differs = total is not None and total > 10 * TOLERANCE * trial.loose
    return INHERITED if tainted and (differs or (step.exact and not step.scale.is_one)) else RIGHT


def steps_of(trial: Trial, own: Point, findings: list[Finding]) -> list[Step]:
    """Return every step of the report."""
    shapes = {n: tuple(np.shape(g)) if g is not None else () for n, g in own.gradients.items()}
    judged = [
        Step(
            step.key,
            verdict_of(trial, step, findings),
            shapes.get(name, ()),
            shown_error(trial, step),
            total_error(step) if not step.unseen else None,
            tuple(trial.steps[u].key if u in trial.steps else ("d" + u if u != "loss" else u) for u in step.upstream),
            formula(trial, step),
        )
        for name, step in trial.steps.items()
    ]
    seen = {s.name for s in judged}
    return judged + [Step(key, UNSEEN, shapes[name]) for name, key in own.keys.items() if key not in seen]


# -- formulas ----------------------------------------------------------------------------------------------------------


def formula(trial: Trial, step: JudgedStep) -> str:
    """Return the right formula of a step, in the pass's own scale of its signals."""
    if step.formula is None:
        step.formula = _written(trial, step)
    return step.formula


def _written(trial: Trial, step: JudgedStep) -> str:
    point = trial.points[0]
    if step.unseen or not step.expected or step.expected[0] is None:
        return ""
    from_loss = step.upstream == ("loss",)
    if from_loss and (text := from_the_loss(point, step.name, step.expected[0])):
        return f"{step.key} = {text}"
    if len(point.order) > LARGEST_FORWARD:
        return f"{step.key} = ∂loss/∂{step.name}" if from_loss else ""
    graph = formula_graph(trial, step)
    if not graph.order:
        return ""
    penalty = penalty_in(graph)
    text = written(graph, trial.regions[0], {}, at=penalty[0] if penalty else None)
    if not text:
        return f"{step.key} = ∂loss/∂{step.name}" if from_loss else ""
    scales = [trial.steps[u].scale for u in step.upstream if u in trial.steps]
    divided = step.exact and scales and scales[0].p == 1 and all(s == scales[0] for s in scales)
    if divided and ("loss" not in step.upstream or penalty):
        text = scaled(_grouped(text), 1 / float(point.size or 1), point.size)
    return f"{step.key} = {text}{penalty[1] if penalty else ''}"


def _grouped(text: str) -> str:
    return f"({text})" if " + " in text or " − " in text else text


def _formula_of(variant: Variant, step: JudgedStep, right: str) -> str:
    """Return the formula that gives the numbers found, as text."""
    if variant.text:
        context = step.contexts[0]
        text = written(context.graph, context.regions, variant.text)
        if text:
            return f"{step.key} = {text}"
    if variant.formula.startswith("× ") and right:
        return f"{right} ⊙ {variant.formula[2:]}"
    return f"{step.key} = {variant.formula}" if variant.formula else ""


def _scaled_formula(right: str, scale: Scale) -> str:
    """Return the formula that is k · m^p times the right one."""
    key, equals, text = right.partition(" = ")
    if not equals:
        return ""
    if scale.p == 1 and text.endswith(" / m"):
        text = text.removesuffix(" / m")
    elif scale.p == -1:
        text = f"{text}²" if text.endswith(" / m") else f"{text} / m"
    elif scale.p:
        text = f"{'m' if scale.p == 1 else f'm^{scale.p}'} · {text}"
    if abs(scale.k - 1) > 1e-6:
        text = text if text.startswith("(") else _grouped(text)
        opposite = text.removeprefix("−") if text.startswith("−") else f"−{text}"
        text = opposite if abs(scale.k + 1) < 1e-6 else f"{scale.k:.4g} · {text}"
    return f"{key} = {text}"


# -- findings ----------------------------------------------------------------------------------------------------------


def findings_of(trial: Trial) -> list[Finding]:
    """Return the findings, those of the forward pass first."""
    cache: dict[str, Finding] = {}
    found: list[Finding] = []
    for step in trial.steps.values():
        if step.unseen:
            continue
        if step.problem == NONFINITE:
            found.append(_nonfinite(trial, step))
        elif step.problem == TRANSPOSED:
            found.append(_simple(trial, step, Transposed, f"{step.key} is the transpose of what it should be."))
        elif step.problem:
            if _is_told_elsewhere(trial, step):
                continue
            stale = _stale_name(step)
            if stale:
                cache.setdefault(stale, _inconsistent(trial, stale, step))
            else:
                found.append(_wrong(trial, step))
        elif step.fault is not None:
            found.append(_scale(trial, step, step.fault))
    return [*cache.values(), *found]


def _is_told_elsewhere(trial: Trial, step: JudgedStep) -> bool:
    """Whether a mistake in a signal that was not returned is told of another step, one that is nearer to it."""
    told = {(v.cause, v.message) for v in step.variants if pages()[v.cause].spreads}
    same = [
        (s, v)
        for s in trial.steps.values()
        for v in s.variants
        if s.problem and (v.cause, v.message) in told and set(s.upstream) & set(step.upstream)
    ]
    distances = {s.name: _distance(s, v) for s, v in reversed(same)}
    near = [s for s, _ in same if distances[s.name] <= min(distances.values()) + NEAR]
    return bool(near) and near[0] is not step


def _distance(step: JudgedStep, variant: Variant) -> int:
    """Return how many operations lie between a change of the graph and the gradient that it shows in."""
    context = step.contexts[0]
    distances = dict.fromkeys((variant.changes(context) if variant.changes is not None else None) or (), 0)
    for i, positions in enumerate(context.graph.dependent):
        before = [distances[p] + 1 for p in positions if p in distances]
        if before and i not in distances:
            distances[i] = min(before)
    return distances.get(len(context.graph.order) - 1, 0)


def _simple(trial: Trial, step: JudgedStep, cause: type[Cause], message: str) -> Finding:
    return with_one_cause(step.key, cause, message, formula(trial, step), evidence_of(trial, step))


def _nonfinite(trial: Trial, step: JudgedStep) -> Finding:
    arrays = [p.gradients.get(step.name) for p in reversed(trial.points)]  # the caller's own data, if judged, is last
    if any(a is None for a in arrays):
        return _simple(trial, step, MissingGradient, f"{step.key} is None or not an array of numbers.")
    array = next(a for a in (np.asarray(a, np.float64) for a in arrays) if not np.isfinite(a).all())
    return _simple(trial, step, Nonfinite, f"{not_finite(array)} of {step.key}, {ADVICE}")


def nonfinite_findings(own: Point, known: set[str]) -> list[Finding]:
    """Return findings on values and gradients that are not finite on the caller's own data."""
    if own.loss is None:
        return []
    if not np.isfinite(np.asarray(own.loss.value)).all():
        position = {id(t): i for i, t in enumerate(own.order)}
        inner = sorted((position[id(t)], n) for n, t in own.nodes.items() if id(t) in position)
        first = next((n for _, n in inner if not np.isfinite(np.asarray(own.nodes[n].value)).all()), None)
        bad = [own.keys[n] for n, g in own.gradients.items() if g is not None and not np.isfinite(g).all()]
        name = first or (bad[0] if bad else "loss")
        message = f"the loss of your data is not finite, nor is {name}" if name != "loss" else "the loss is not finite"
        evidence = {"at": own.label, "loss": float(np.asarray(own.loss.value).ravel()[0])}
        advice = "look for a logarithm of zero, a division by zero or an overflow"
        return [with_one_cause(name, Nonfinite, f"{message}: {advice}.", "", evidence)]
    for name, found in own.gradients.items():
        key = own.keys[name]
        if key in known or name not in own.nodes or found is None or np.isfinite(np.asarray(found, np.float64)).all():
            continue
        right = gradient(own, name, {n: g for n, g in own.given.items() if n != name})
        if right is not None and np.isfinite(right).all():
            message = f"{not_finite(np.asarray(found, np.float64))} of {key} on your data, {ADVICE}"
            evidence = {"at": own.label, "found_shape": list(np.shape(found))}
            return [with_one_cause(key, Nonfinite, message, "", evidence)]
    return []  # later ones are not finite as a consequence of the first


def _stale_name(step: JudgedStep) -> str:
    """Return the entry of the cache that is not what forward computes with, if the step is explained by one."""
    before, stale, _ = step.variants[0].message.partition(AS_CACHED) if step.variants else ("", "", "")
    return before.rpartition(" ")[2] if stale else ""


def _inconsistent(trial: Trial, name: str, step: JudgedStep) -> Finding:
    point = trial.points[0]
    held = point.cached.get(name)
    others = ((n, np.asarray(t.value)) for n, t in point.nodes.items() if n != name)
    same = next((n for n, v in others if held is not None and v.shape == held.shape and np.allclose(v, held)), "")
    what = f"it holds {same}" if same else "it was overwritten later"
    message = (
        f"cache[{name!r}] is not the {name} that forward computes with: {what}. {step.key} is computed from it. Store "
        "the array itself, and do not write into it afterwards."
    )
    return with_one_cause(name, InconsistentCache, message, "", evidence_of(trial, step))


def _wrong(trial: Trial, step: JudgedStep) -> Finding:
    right, evidence = formula(trial, step), evidence_of(trial, step)
    candidates: list[Candidate] = []
    seen: set[str] = set()
    for variant in step.variants:
        text = _formula_of(variant, step, right)
        if variant.message not in seen and text not in seen:  # skips duplicates
            seen |= {variant.message, text} - {""}
            candidates.append(Candidate(_cause_as_changed(trial, variant), variant.message, text))
    if not candidates:
        return _unexplained(step, right, evidence)
    message = f"{step.key} is wrong: {candidates[0].message}."
    if len({c.cause for c in candidates}) > 1:
        message += f" {len(candidates)} explanations fit; this is the simplest."
    return Finding(step.key, candidates[0].cause, message, right, tuple(candidates[:MOST_CANDIDATES]), evidence)


def _unexplained(step: JudgedStep, right: str, evidence: dict[str, Any]) -> Finding:
    if step.problem == SHAPE:
        found, expected = tuple(evidence.get("found_shape", ())), tuple(evidence["expected_shape"])
        message = f"{step.key} has shape {found}, {step.name} has {expected}."
        return with_one_cause(step.key, WrongShape, message, right, evidence)
    message = f"{step.key} is wrong, and none of the known mistakes gives its numbers."
    if step.error is not None and step.only_scaled:
        message = (
            f"{step.key} has the right direction, but its length is off by a factor that depends on the data: is the "
            "gradient clipped or normalised?"
        )
    return Finding(step.key, Unknown.code, message, right, (), evidence)


def _cause_as_changed(trial: Trial, variant: Variant) -> str:
    """Return the cause; an array that backward itself has changed is one of its own."""
    before, changed, _ = variant.message.partition(AS_CHANGED)
    if not changed:
        return variant.cause
    return UpdatedWeights.code if before.rpartition(" ")[2] in trial.exact else MutatesInput.code


def _scale(trial: Trial, step: JudgedStep, fault: Scale) -> Finding:
    cause, message = scale_mistake(step.key, fault, trial.points[-1].size, _outputs(trial))
    right = formula(trial, step)
    candidates = [Candidate(cause.code, message, _scaled_formula(right, fault))]
    if cause is ConstantFactor and fault.p == 1:
        candidates.append(Candidate(MissingMean.code, "it is divided by another number than m", ""))
    return Finding(step.key, cause.code, message, right, tuple(candidates), evidence_of(trial, step))


def _outputs(trial: Trial) -> float | None:
    """Return how many numbers the network gives per example."""
    steps = (s for s in trial.steps.values() if s.upstream == ("loss",) and not s.exact)
    return next((n for s in steps if (n := elements_per_example(trial, s)) is not None), None)


# -- conventions -------------------------------------------------------------------------------------------------------


def conventions_of(trial: Trial, excess: Mapping[str, Scale], findings: list[Finding]) -> list[Convention]:
    """Return the conventions of the pass, which are not errors."""
    wrong = {f.name for f in findings}
    signals = [s for s in trial.steps.values() if not (s.unseen or s.exact or s.scales is None or s.key in wrong)]
    undivided = [s.key for s in signals if s.scale.like(Scale(1.0, 1))]
    out = []
    if undivided:
        out.append(Convention("", f"{', '.join(undivided)} carry no 1/m; the gradients of the parameters divide by m"))
    for s in signals:
        rest = s.scale.over(excess.get(s.name, ONE))
        if s.key not in undivided and not rest.is_one:
            factor = rest.at(trial.points[-1].size)
            message = f"{s.key} is {factor:.4g} times the gradient of the loss, which later steps compensate"
            out.append(Convention(s.key, message))
    for s in trial.steps.values():
        out += _conventions_of_step(trial, s, s.key in wrong)
    if trial.ascent:
        out.append(Convention("", "the gradients of the parameters are to be added (ascent)"))
    return out


def _conventions_of_step(trial: Trial, s: JudgedStep, wrong: bool) -> list[Convention]:
    out = []
    if s.epsilon and trial.without_epsilon:
        epsilon = trial.without_epsilon[0][1]
        out.append(Convention(s.key, f"{s.key} leaves out the small constant {epsilon:g} of the forward pass"))
    if s.deliberate:
        out.append(Convention(s.key, s.deliberate))
    if s.masked:
        out.append(Convention(s.key, f"{s.key} is the gradient before dropout: it includes the mask"))
    if s.shape_note == "reshaped" and not s.problem:
        point = trial.points[-1]
        shape, expected = np.shape(point.gradients[s.name]), tuple(point.nodes[s.name].shape)
        out.append(Convention(s.key, f"{s.key} has shape {shape}, {s.name} has {expected}"))
    if s.shape_note == TRANSPOSED and not s.exact and not wrong:
        out.append(Convention(s.key, f"{s.key} is stored transposed"))
    return out
