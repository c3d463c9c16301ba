"""Multiples of one array are computed where they are read, and nothing else is computed twice."""

from typing import Any

import numpy as np

import chainrule as cr
from chainrule.plan import Plan
from tests.engine.native_cases import near
from tests.tables import for_each


def halves(x: Any, W: Any) -> Any:
    z = np.tanh(x) + x
    return np.sum((np.sin(0.5 * z) @ W) * (np.cos(z * 0.3) @ W))


def kept_anyway(x: Any, W: Any) -> Any:
    z = np.tanh(x)
    return np.sum((z @ W) * (3.0 * z)) + np.sum(np.sin(3.0 * z) @ W)


def single(x: Any, W: Any) -> Any:
    """One multiple of what nobody else reads: kept, as that is no more than its array."""
    y = 2.0 * (x + 1.0)
    return np.sum((y @ W) * np.exp(y))


def views(x: Any, W: Any) -> Any:
    z = np.tanh(x)
    y = 2.0 * z
    return np.sum((y.T @ np.exp(z)) @ (0.5 * z).T @ np.cos(y[::-1]))


def costly(x: Any, W: Any) -> Any:
    z = np.tanh(x)
    return np.sum((np.exp(z) @ W) * np.exp(z))


def integers(x: Any, W: Any) -> Any:
    n = (x > 0).astype(int)
    return np.sum((3 * n) @ (2 * n).T) + np.sum(x)


FUNCTIONS = [halves, kept_anyway, single, views, costly, integers]


@for_each("function", FUNCTIONS)
def test_values_and_gradients(function: Any) -> None:
    rng = np.random.default_rng(0)
    x, W = rng.normal(size=(5, 5)), rng.normal(size=(5, 5))
    expected = function(x, W), cr.grad(function)(x, W)
    for engine in ("numpy", None):
        found = cr.compile(cr.value_and_grad(function), engine=engine)(x, W)
        for a, b in zip(found, expected, strict=True):
            near(a, np.asarray(b), 1e-10)


def test_two_multiples_of_an_array_are_kept_as_the_array() -> None:
    plan = planned_gradient(halves)
    factors = [
        s
        for s in plan.operations
        if s.op.name == "multiply" and any(plan.values[n].array is not None for n in s.inputs)
    ]
    again = [s for s in factors if sum(t.inputs == s.inputs for t in factors) == 2]
    assert len(again) == 4, str(plan)  # 0.5 z and 0.3 z, in the forward pass and in the reverse pass
    assert all(plan.values[s.output].storage == "register" for s in again), str(plan)


def test_what_costs_something_is_computed_once() -> None:
    for function in (costly, single):
        plan = planned_gradient(function)
        computed = [(s.op, s.inputs, str(s.attrs)) for s in plan.operations]
        assert len(set(computed)) == len(computed), str(plan)


def planned_gradient(function: Any) -> Plan:
    step = cr.compile(cr.value_and_grad(function), engine="numpy")
    return step.plan(np.ones((5, 5)), np.ones((5, 5)))


def standardised(x: Any, W: Any) -> Any:
    """Where the array that it is made of waits anyway, the standardised one does not."""
    z = np.sin(x) @ W
    centred = z - np.mean(z, axis=0)
    y = centred * np.mean(np.square(centred), axis=0) + W[0]
    k = np.tanh(np.tanh(y @ W) @ W)
    return np.sum((k @ y) @ (k.T @ z))


@for_each("size", (8, 256, 300))
def test_large_arrays_are_standardised_again_before_they_are_read(size: int) -> None:
    rng = np.random.default_rng(size)
    x, W = rng.normal(size=(size, size)), rng.normal(size=(size, size)) / size
    expected = standardised(x, W)
    for engine in ("numpy", None):
        near(cr.compile(standardised, engine=engine)(x, W), np.asarray(expected), 1e-9)
    plan = cr.compile(standardised, engine="numpy").plan(x, W)
    made = [s for s in plan.operations if s.op.name == "add" and plan.values[s.inputs[1]].shape == (size,)]
    assert len(made) == (1 if size == 8 else 2), str(plan)
