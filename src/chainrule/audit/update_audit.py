"""The audit of an optimiser's update: run it for some steps, judge them, and report."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..adapters.recorded_run import AuditError
from ..adapters.settings_names import SETTINGS
from ..adapters.source_lines import definition_of
from ..adapters.update_functions import UpdateRun, run_update, takes_count
from ..core.arguments import choice, integer, number
from ..core.op import Array
from .lines import at
from .mistakes.rules import MissingEpsilon
from .report import RIGHT, WRONG, Candidate, Convention, Finding, Report, Step
from .update_forms import Steps
from .update_judge import RULES, TOLERANCE, Verdict, judge_update, rule_of

_SEED = 20140322
NAME = "update"
#: Rules that are the same as another unless the mean of squares falls.
ADAPTIVE = ("adam", "adamw", "amsgrad")


def audit_update(
    update: Any,
    rule: str,
    steps: int,
    parameters: Mapping[str, Any] | None,
    config: Mapping[str, Any] | None,
    given: dict[str, float],
) -> Report:
    """Run an update on drawn gradients, judge every step, and return the report; see `chainrule.audit_optimizer`."""
    rule = choice("rule", rule.lower(), RULES)
    integer("steps", steps, at_least=3, at_most=10)
    settings = {_canonical(name): number(name, value) for name, value in given.items()}
    start, gradients = _drawn(parameters, steps, rule)
    with np.errstate(all="ignore"):  # an update that is wrong may divide by 0
        return _audited(update, rule, settings, config, start, gradients)


def _audited(
    update: Any,
    rule: str,
    settings: dict[str, float],
    config: Mapping[str, Any] | None,
    start: dict[str, Array],
    gradients: list[dict[str, Array]],
) -> Report:
    verdict, run, made = _judged(update, rule, settings, config, start, gradients, 1)
    if verdict.cause and takes_count(update):  # a count among the arguments may start at 0
        with contextlib.suppress(AuditError):
            other = _judged(update, rule, settings, config, start, gradients, 0)
            if not other[0].cause:
                verdict, run, made = other
    if not verdict.cause and rule in ("rmsprop", "adagrad", *ADAPTIVE):
        verdict = _without_gradient(verdict, update, settings, config, start, gradients)
    report = _report(rule, settings, verdict, run, made)
    return replace(report, findings=tuple(at(f, definition_of(update)) for f in report.findings))


def _canonical(name: str) -> str:
    if name not in SETTINGS:
        known = "lr, momentum, alpha, beta1, beta2, eps, weight_decay"
        raise TypeError(f"audit_optimizer has no argument {name!r}; settings of the rules are {known}")
    return SETTINGS[name] or name


def _drawn(
    parameters: Mapping[str, Any] | None, steps: int, rule: str
) -> tuple[dict[str, Array], list[dict[str, Array]]]:
    """Return parameters, and gradients for each step; some elements of a gradient are positive in every step.

    For adaptive rules every fourth element becomes small after half of the steps, so that a mean of squares falls. For
    Lion every second one has all sizes, so that now the past decides about the sign, now the gradient.
    """
    rng = np.random.default_rng(_SEED)
    start = {"W1": rng.normal(size=(3, 4)), "b1": rng.normal(size=(3, 4))}
    if parameters is not None:
        start = {name: np.array(value, np.float64) for name, value in parameters.items()}
    gradients = []
    for step in range(steps):
        row = {}
        for name, value in start.items():
            g = rng.normal(size=value.shape)
            flat = g.reshape(-1)
            flat[::2] = np.abs(flat[::2]) + 0.5
            if rule in ADAPTIVE and step >= steps // 2:
                flat[1::4] *= 1e-3
            if rule == "lion":
                flat[1::2] *= 10 ** rng.uniform(-3, 0, flat[1::2].shape)
            row[name] = g
        gradients.append(row)
    return start, gradients


def _judged(
    update: Any,
    rule: str,
    settings: dict[str, float],
    config: Mapping[str, Any] | None,
    start: dict[str, Array],
    gradients: list[dict[str, Array]],
    first_count: int,
) -> tuple[Verdict, UpdateRun, Steps]:
    run = run_update(update, start, gradients, settings, config, first_count)
    made = _steps(run, gradients)
    known = {**_known(run.settings), **settings}
    lr = known.get("lr")
    if lr is None and rule != "rmsprop":
        lr = known.get("alpha")
    return judge_update(made, rule, known, lr if lr and lr > 0 else None), run, made


def _known(found: Mapping[str, float]) -> dict[str, float]:
    """Return settings that were found by their own names."""
    known: dict[str, float] = {}
    for name, value in found.items():
        known.setdefault(SETTINGS[name] or name, value)
    return known


def _steps(run: UpdateRun, gradients: list[dict[str, Array]]) -> Steps:
    names = list(run.parameters[0])
    given = run.drawn or gradients
    rows = [np.concatenate([np.ravel(row[n]) for n in names]) for row in given]
    held = [np.concatenate([np.ravel(row[n]) for n in names]) for row in run.parameters]
    owner = np.repeat(np.arange(len(names)), [np.size(run.parameters[0][n]) for n in names])
    return Steps(np.array(rows), np.array(held), owner)


def _without_gradient(
    verdict: Verdict,
    update: Any,
    settings: dict[str, float],
    config: Mapping[str, Any] | None,
    start: dict[str, Array],
    gradients: list[dict[str, Array]],
) -> Verdict:
    """Return the verdict where one element's gradient is always 0."""
    zeroed = [{n: g.copy() for n, g in row.items()} for row in gradients]
    for row in zeroed:
        for g in row.values():
            g.reshape(-1)[0] = 0.0
    run = run_update(update, start, zeroed, settings, config)
    if all(np.isfinite(a).all() for a in run.parameters[-1].values()) or run.drawn:
        return verdict
    sentence = "an element whose gradient is 0 from the start becomes NaN: nothing keeps the divisor from 0"
    return Verdict(MissingEpsilon.code, sentence, "", verdict.factor, verdict.expected, verdict.settings)


def _report(rule: str, settings: Mapping[str, float], verdict: Verdict, run: UpdateRun, made: Steps) -> Report:
    formula = _formula(rule)
    errors = _errors(made.moves, verdict)
    shape = (made.gradients.shape[1],)
    names = ", ".join(run.parameters[0])
    findings: tuple[Finding, ...] = ()
    if verdict.cause:
        evidence = _evidence(made.moves, verdict, errors)
        message = f"The update is not that of {rule}: {verdict.sentence}."
        candidate = Candidate(verdict.cause, verdict.sentence)
        findings = (Finding(NAME, verdict.cause, message, formula, (candidate,), evidence),)
    verdicts = [WRONG if verdict.cause and not e <= TOLERANCE else RIGHT for e in errors]
    steps = tuple(
        Step(f"step {n}", v, shape, e, None) for n, (v, e) in enumerate(zip(verdicts, errors, strict=True), 1)
    )
    conventions = []
    if verdict.form:
        conventions.append(Convention(NAME, f"right, in the form {verdict.form}"))
    notes = [f"settings: {', '.join(f'{k} = {v:g}' for k, v in verdict.settings.items())}"] if verdict.settings else []
    if "lr" not in {**_known(run.settings), **settings} and not verdict.cause:
        notes.append(f"the learning rate was not given; the steps are those of lr = {verdict.factor:.6g}")
    if run.changed_gradients:
        notes.append("the update writes into the gradients that it is given")
    read_as = f"{run.read_as} ({names}); {len(errors)} steps on drawn gradients"
    title = f"Audit of an update against {rule}"
    return Report(findings, tuple(conventions), steps, tuple(notes), math.nan, title, read_as)


def _formula(rule: str) -> str:
    """Return the rule as its class describes it."""
    return (inspect.getdoc(rule_of(rule)) or "").partition("\n")[0].rstrip(".")


def _errors(found: Array, verdict: Verdict) -> list[float]:
    factor = verdict.factor if not verdict.cause else 1.0
    largest = np.max(np.abs(verdict.expected), axis=1) * abs(factor)
    with np.errstate(all="ignore"):
        return [
            float(e) for e in np.max(np.abs(found - factor * verdict.expected), axis=1) / np.where(largest, largest, 1)
        ]


def _evidence(found: Array, verdict: Verdict, errors: list[float]) -> dict[str, Any]:
    wrong = next((n for n, e in enumerate(errors) if not e <= TOLERANCE), 0)
    k = int(np.argmax(np.abs(np.nan_to_num(found[wrong]) - np.nan_to_num(verdict.expected[wrong]))))
    return {"first_step": wrong + 1, "worst": {"found": found[wrong, k], "expected": verdict.expected[wrong, k]}}
