"""Passes that are right on the caller's data alone: by accident, or because they read the data from outside."""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..adapters.backward_pass import BackwardPass, Point
from ..adapters.containers import is_float_array, is_number_array, named_leaves
from ..adapters.new_values import Axes, redrawn
from ..core.op import Array
from .judge import judge
from .report import Finding
from .scales import best_scale
from .step import TOLERANCE, JudgedStep, Trial

OWN = "your data"


def with_accidents(
    subject: BackwardPass, trial: Trial, findings: list[Finding], rng: np.random.Generator
) -> list[Finding]:
    """Return the findings, those on steps that are right on the caller's own data with the condition for it."""
    steps = {s.key: s for s in trial.steps.values()}
    lucky = [f.name for f in findings if f.name in steps and right_on_own_data(trial, steps[f.name])]
    if not lucky:
        return findings
    conditions = _conditions(subject, trial, lucky, rng)
    said = {key: _sentence(conditions.get(key, [])) for key in lucky}
    return [dataclasses.replace(f, message=f"{f.message} {said[f.name]}") if f.name in said else f for f in findings]


def _sentence(conditions: list[str]) -> str:
    if not conditions:
        return "On your data it is right by accident, on other values of the same kind it is not."
    return f"On your data it is right by accident, as long as {' and '.join(conditions)}."


def right_on_own_data(trial: Trial, step: JudgedStep) -> bool:
    """Whether a step is the right one on the caller's own data, whatever it is elsewhere."""
    k = next((k for k, p in enumerate(trial.points) if p.label == OWN), None)
    if k is None or len(trial.points) < 2 or k >= len(step.found) or step.found[k] is None or step.expected[k] is None:
        return False
    found, expected = step.found[k], step.expected[k]
    if found is None or expected is None or found.shape != expected.shape or not np.any(expected):
        return False
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return False
    return best_scale(found, expected, 0.0)[2] <= TOLERANCE * trial.loose


def _conditions(subject: BackwardPass, trial: Trial, keys: list[str], rng: np.random.Generator) -> dict[str, list[str]]:
    """Return what is special about the caller's values without which each step would be wrong."""
    found: dict[str, list[str]] = {key: [] for key in keys}
    for name in subject.exact:
        value = subject.values[name]
        condition = _special(name, np.asarray(value)) if is_float_array(value) else ""
        if not condition:
            continue
        other = {**subject.values, name: rng.normal(size=value.shape) + 0.3}
        wrong = _wrong_at(subject, trial, other)
        for key in keys:
            if key in wrong:
                found[key].append(condition)
    return found


def _special(name: str, value: Array) -> str:
    """Return what a value of an initialisation or a test may have in particular; empty if nothing."""
    if not value.size:
        return ""
    if not np.ptp(value):
        what = f"{value.flat[0]:g}" if value.flat[0] in (0, 1) else "the same number"
        return f"every element of {name} is {what}" if value.size > 1 else f"{name} is {value.flat[0]:g}"
    if value.ndim == 2 and value.shape[0] == value.shape[1]:
        if np.allclose(value, value.T, atol=1e-12):
            return f"{name} is symmetric"
        if np.allclose(value @ value.T, np.eye(len(value)), atol=1e-9):
            return f"{name} is orthogonal"
    for axis, lines in ((0, "columns"), (1, "rows")) if value.ndim == 2 else ():
        if np.allclose(value.sum(axis=axis), 1, atol=1e-9):
            return f"the {lines} of {name} sum to 1"
    return ""


def _wrong_at(subject: BackwardPass, trial: Trial, values: Mapping[str, Any]) -> list[str]:
    """Return the keys of the steps that are wrong on other values."""
    try:
        point = subject.run(values, "other values")
    except Exception:  # whatever the user's code raises
        return []
    return wrong_steps(trial, [point])


def wrong_steps(trial: Trial, points: list[Point], *, scales: bool = True) -> list[str]:
    """Return the keys of the steps that are wrong at other points than those of a trial; with `scales`, by a factor."""
    if any(p.loss is None or set(p.gradients) != set(trial.points[0].gradients) for p in points):
        return []
    other = Trial(points, trial.exact, trial.ascent, trial.loose, trial.own_penalty, budgets=None)
    judge(other)
    steps = [s for n, s in other.steps.items() if n not in trial.steps or not trial.steps[n].deliberate]
    return [s.key for s in steps if s.problem or (scales and s.exact and s.scales is not None and s.scale.k != 1)]


# -- one output unit ---------------------------------------------------------------------------------------------------


def for_one_unit_only(subject: BackwardPass, axes: Axes, trial: Trial, rng: np.random.Generator) -> list[str]:
    """Return a note on what would be wrong if a network with one output unit had more."""
    shapes = {n: (np.ndim(subject.values[n]), axis) for n, axis in axes.items()}
    for last in (True, False):
        along = any(ndim > 1 and axis == (ndim - 1 if last else 0) for ndim, axis in shapes.values())
        values = None if along else _widened(subject, axes, last)  # units are not where examples are
        if values is None:
            continue
        drawn = redrawn(values, tuple(n for n in subject.exact if n not in axes), axes, None, rng)
        try:
            if not np.isfinite(subject.plain_loss(drawn)):
                continue
        except Exception:  # the forward pass does not take these shapes
            continue
        try:
            point = subject.run(drawn, "more output units")
        except Exception:  # whatever the user's code raises
            return ["right for one output unit only: with more, backward fails"]
        wrong = wrong_steps(trial, [point], scales=False)
        return [f"right for one output unit only: with more, {', '.join(wrong)} would be wrong"] if wrong else []
    return []


def _widened(subject: BackwardPass, axes: Axes, last: bool) -> dict[str, Any] | None:
    """Return the values with more than one output unit, in rows (`last`) or in columns; None if there is not one."""
    taken = {d for v in subject.values.values() if is_number_array(v) for d in v.shape}
    width = next(n for n in (2, 3, 4, 5, 6) if n not in taken or n == 6)
    out, found = dict(subject.values), False
    first = next(iter(axes))
    if np.shape(subject.values[first])[-1 if last else 0] == 1:  # a single column: (n, 1) says nothing of units
        return None
    for name, value in subject.values.items():
        axis = -1 if last else 0
        if not is_number_array(value) or not value.ndim or name == first or value.shape[axis] != 1:
            continue
        if axes.get(name) in (axis, value.ndim - 1 if last else 0):
            continue
        out[name] = np.repeat(value, width, axis=axis)
        found = found or (name in subject.exact and value.ndim > 1 and value.size > 1)
    return out if found else None


# -- one-hot targets ---------------------------------------------------------------------------------------------------


def for_one_hot_only(subject: BackwardPass, trial: Trial, rng: np.random.Generator) -> list[str]:
    """Return a note on what would be wrong if targets that are one-hot were probabilities."""
    target = subject.values.get("Y")
    if target is None or not is_number_array(target) or target.ndim < 2:
        return []
    binary = bool(np.all((target == 0) | (target == 1)))
    axes = [a for a in range(target.ndim) if target.shape[a] > 1 and np.all(target.sum(axis=a) == 1)]
    if not binary or not axes:
        return []
    soft = rng.gamma(2.0, size=target.shape) + 0.05
    values = {**subject.values, "Y": soft / soft.sum(axis=axes[-1], keepdims=True)}
    wrong = _wrong_at(subject, trial, values)
    return [f"right for one-hot targets; with soft targets, {', '.join(wrong)} would be wrong"] if wrong else []


def reads_one_position(subject: BackwardPass, own: Point) -> int | None:
    """Return the axis of a layer's probabilities if its backward pass is not linear in dout: it looks for a position.

    A linear one that is wrong stays wrong, whatever dout has.
    """
    out = own.nodes.get("out")
    if out is None or out.value is None or np.min(out.value) < 0:
        return None
    axes = [a for a in range(out.ndim) if out.shape[a] > 1 and np.allclose(np.sum(out.value, axis=a), 1)]
    if not axes:
        return None
    try:
        runs = [subject.copied() for _ in range(3)]
        draws = np.random.default_rng(1).normal(size=(2, *out.shape))
        for k, draw in enumerate(draws):  # elements at one position, which differ
            np.moveaxis(draw, axes[-1], 0)[np.arange(out.shape[axes[-1]]) != k] = 0
        for run, upstream in zip(runs, (*draws, draws.sum(axis=0)), strict=True):
            run.upstream = upstream
        one, other, both = (run.repeated() for run in runs)
        linear = all(np.allclose(one[n] + other[n], both[n], rtol=1e-6) for n in both)
    except Exception:  # whatever the user's code raises
        return None
    return None if linear else axes[-1]


# -- data from outside -------------------------------------------------------------------------------------------------


def read_from_outside(subject: BackwardPass, trial: Trial, findings: Sequence[Finding]) -> dict[str, str]:
    """Return which values backward reads from globals or an enclosing function, and their names there.

    Only where that may explain steps that are right on the caller's own data and wrong on other values, or wrong on all
    for no known cause.
    """
    steps = {s.key: s for s in trial.steps.values()}
    wrong = [f for f in findings if f.name in steps]
    if subject.fixed or not any(f.cause == "unknown" or right_on_own_data(trial, steps[f.name]) for f in wrong):
        return {}
    outer = dict(_outer(subject.handed_over.get("backward"), 2))
    given = {n: v for n, v in subject.values.items() if is_number_array(v) and v.size > 1}
    found = {g: n for n, v in outer.items() for g, w in given.items() if v.shape == w.shape and np.array_equal(v, w)}
    return dict(sorted(found.items()))


def _outer(f: Any, depth: int) -> Iterator[tuple[str, Array]]:
    f = inspect.unwrap(getattr(f, "__func__", f))
    if not isinstance(f, types.FunctionType):
        return
    names = inspect.getclosurevars(f)
    for name, value in {**names.globals, **names.nonlocals}.items():
        if depth and isinstance(value, types.FunctionType):
            yield from _outer(value, depth - 1)
        elif isinstance(value, np.ndarray | dict | list | tuple):
            yield from ((n, v) for n, v in named_leaves({name: value}).items() if is_number_array(v))
