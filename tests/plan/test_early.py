"""Derivatives are computed with what they belong to, where that leaves less in memory; and common factors drawn out."""

from typing import Any

import numpy as np

import chainrule as cr
from chainrule import ops
from chainrule.plan import Plan
from tests.engine.native_cases import near
from tests.plan.graphs import check_states, planned
from tests.tables import for_each

SHAPE = (6, 5)


def gelu(x: Any, W: Any, V: Any) -> Any:
    return np.sum(np.tanh(ops.gelu(x @ W) @ V))


def swish(x: Any, W: Any, V: Any) -> Any:
    return np.sum(np.tanh(ops.silu(x @ W) @ V))


def gated(x: Any, W: Any, V: Any) -> Any:
    """Two factors of one product, each wanted by the gradient of the other."""
    z = x @ W
    return np.sum(np.tanh((np.sin(z) * np.tanh(z)) @ V))


def mixed(x: Any, W: Any, V: Any) -> Any:
    """A sum as a gate has it: (1 - z) · n + z · h."""
    z = ops.sigmoid(x @ W)
    n = np.tanh(x @ V)
    return np.sum(((1 - z) * n + z * x) ** 2)


def tangent(x: Any, W: Any, V: Any) -> Any:
    """The derivative comes from the result, which is kept anyway."""
    return np.sum(np.tanh(np.tanh(x @ W) @ V))


def read_later(x: Any, W: Any, V: Any) -> Any:
    """The product is read by a later step as well, so that it stays."""
    z = x @ W
    return np.sum(np.tanh((np.sin(z) + z) @ V) @ z.T)


def views(x: Any, W: Any, V: Any) -> Any:
    z = x @ W
    y = np.sin(z) * z
    return np.sum(np.tanh(y[::-1] @ V) * np.cos(y))


def three(x: Any, W: Any, V: Any) -> Any:
    z = x @ W
    return np.sum(np.tanh((np.sin(z) * np.cos(z) * np.tanh(z)) @ V))


FUNCTIONS = [gelu, swish, gated, mixed, tangent, read_later, views, three]


def data() -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=SHAPE), rng.normal(size=(5, 5)), rng.normal(size=(5, 5))]


@for_each("function", FUNCTIONS)
def test_values_and_gradients(function: Any) -> None:
    expected = cr.value_and_grad(function, argnums=(0, 1, 2))(*data())
    for engine in ("numpy", None):
        found = cr.compile(cr.value_and_grad(function, argnums=(0, 1, 2)), engine=engine)(*data())
        near(found[0], np.asarray(expected[0]), 1e-10)
        for a, b in zip(found[1], expected[1], strict=True):
            near(a, np.asarray(b), 1e-9)
    x, *states = data()
    check_states(training_step(function), [x], states)


def training_step(function: Any) -> Any:
    def step(inputs: Any, states: Any) -> Any:
        loss, gradients = cr.value_and_grad(function, argnums=(1, 2))(*inputs, *states)
        return [loss], {k: s - 0.01 * g for k, (s, g) in enumerate(zip(states, gradients, strict=True))}

    return step


def groups(function: Any) -> tuple[Plan, list[list[str]]]:
    x, *states = data()
    plan = planned(training_step(function), [x], states)
    fused = [[s.op.name for s in step.steps] if hasattr(step, "steps") else [step.op.name] for step in plan.steps]
    return plan, fused


@for_each("function", [gelu, swish, gated, three])
def test_the_backward_pass_multiplies_by_a_derivative_that_waits_alone(function: Any) -> None:
    plan, fused = groups(function)
    products = [k for k, names in enumerate(fused) if names == ["matmul"]]
    assert fused[products[2] + 1] == ["multiply"], str(plan)  # after the third product, dA


@for_each("function", [tangent, read_later])
def test_what_is_kept_anyway_is_not_joined_by_its_derivative(function: Any) -> None:
    plan, fused = groups(function)
    first = next(names for names in fused if names != ["matmul"])
    assert set(first) <= {"tanh", "sin", "add"}, str(plan)


def test_common_factors_are_drawn_out() -> None:
    def function(a: Any, b: Any, g: Any) -> Any:
        return (g * np.sin(a)) * b - (2.0 * g) * np.exp(b), g * a + g, np.sin(g) * a + a * np.cos(b)

    plan = check_states(lambda xs, ss: ([], dict(enumerate(function(*ss)))), [], variables(), runs=1)
    names = [s.op.name for s in plan.operations]
    assert names.count("multiply") == 3 + 1 + 1, names


def variables() -> list[Any]:
    return [data()[0], data()[0] + 1, data()[0] - 1]


def test_what_is_compiled_overflows_where_numpy_does() -> None:
    arrays = [np.full(4, v, np.float32) for v in (1e-30, 3e38, 3e38)]
    for engine in ("numpy", None):
        found = cr.compile(lambda g, a, b: g * a + g * b, engine=engine)(*arrays)
        np.testing.assert_allclose(found, 6e8, rtol=1e-5)


def test_a_product_that_others_read_stays() -> None:
    def function(a: Any, b: Any, g: Any) -> Any:
        y = g * a
        return y + g * b, np.exp(y)

    plan = check_states(lambda xs, ss: ([], dict(enumerate(function(*ss)))), [], variables(), runs=1)
    assert [s.op.name for s in plan.operations].count("multiply") == 2
