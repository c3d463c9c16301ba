"""Whether a scale is a convention that later steps compensate or an error, and of which step."""

from __future__ import annotations

from collections.abc import Mapping

from .scales import ONE, Scale
from .step import NONFINITE, WRONG, JudgedStep, Trial


def dependents(steps: Mapping[str, JudgedStep], name: str) -> list[str]:
    """Return the steps that were computed from the gradient of `name`, directly or not."""
    found = {name}
    for other, step in steps.items():  # in the order of the backward pass
        if any(u in found for u in step.upstream):
            found.add(other)
    return [n for n in steps if n in found and n != name]


def conventional(steps: Mapping[str, JudgedStep], step: JudgedStep) -> Scale:
    """Return the scale of the signals that a step was computed from, if they have one in common."""
    scales = [steps[u].scale for u in step.upstream if u in steps]
    return scales[0] if scales and all(s.like(scales[0]) for s in scales) else ONE


def blame(trial: Trial) -> dict[str, Scale]:
    """Decide for every scale whether it is a convention or an error, and of which step; return each step's excess."""
    steps = trial.steps
    excess: dict[str, Scale] = {}
    for name, step in steps.items():
        if step.unseen or step.problem == NONFINITE:
            continue
        above = next((excess[u] for u in step.upstream if u in excess and not excess[u].is_one), ONE)
        if step.exact:
            excess[name] = _of_parameter(step, above)
        else:
            excess[name] = _of_signal(trial, step, above)
    return excess


def _of_parameter(step: JudgedStep, above: Scale) -> Scale:
    """The scale of a parameter's gradient matters: a factor that does not come from upstream is its own mistake."""
    rest = step.scale.over(above)
    if step.scales is not None and not rest.is_one:
        step.fault = rest
        return above
    return step.scale


def _of_signal(trial: Trial, step: JudgedStep, above: Scale) -> Scale:
    """An error signal may have any scale that every parameter behind it compensates."""
    steps = trial.steps
    local = step.scale.over(conventional(steps, step))
    unexplained = step.problem == WRONG and not step.variants
    if local.is_one and not unexplained:
        return above
    ends = [steps[n] for n in dependents(steps, step.name) if steps[n].exact and steps[n].scales is not None]
    if not ends:
        if step.scales is not None and not local.is_one and (step.scale.p not in (0, 1) or step.scale.k < 0):
            step.fault = local
        return above
    behind = [e.scale.over(above) for e in ends]
    if unexplained:
        return above.times(behind[0]) if all(s.like(behind[0]) for s in behind) else above
    nearest = [steps[n].scale.over(above) for n in steps if step.name in steps[n].upstream and steps[n] in ends]
    fault = _shown_behind(local, behind, nearest, elements_per_example(trial, step))
    if fault.is_one:
        return above
    if step.scales is not None:
        step.fault = fault
    return above.times(fault)


def _shown_behind(local: Scale, behind: list[Scale], nearest: list[Scale], elements: float | None) -> Scale:
    """Return what of a signal's scale shows in all parameters behind it, and is not the plain sum over the batch.

    A constant that none of the nearest of them compensates shows, whatever further factors they have.
    """
    plain_mean = local.like(Scale(1.0, 1))
    whole_mean = elements is not None and local.p == 1 and abs(local.k - elements) < 1e-6
    fault = ONE
    if all(s.like(local) for s in behind) and not plain_mean and not whole_mean:
        fault = local
    elif abs(local.k - 1) > 1e-6 and all(abs(s.k / local.k - 1) < 1e-5 for s in behind):
        if not (whole_mean and all(s.p == 1 for s in behind)):
            fault = Scale(local.k)
    constant = local.p == 0 and abs(local.k - 1) > 1e-6
    if fault.is_one and constant and nearest and not any(abs(s.k - 1) < 1e-5 for s in nearest):
        fault = local
    if local.p < 0 and all(s.p <= local.p for s in nearest or behind):
        fault = Scale(fault.k, local.p)
    return fault


def elements_per_example(trial: Trial, step: JudgedStep) -> float | None:
    """Return how many elements of a step belong to one example; None if they are not divided among the examples."""
    truth, m = step.truth[0] if step.truth else None, trial.points[0].size
    return truth.size / m if truth is not None and m and truth.size % m == 0 else None
