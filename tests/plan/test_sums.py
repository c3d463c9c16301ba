"""Sums are made of other sums, and maxima of windows of less, where training steps compute fewer elements so."""

from typing import Any

import numpy as np

import chainrule as cr
from chainrule import ops
from chainrule.plan import Plan
from tests.plan.graphs import check_states, close, planned
from tests.tables import for_each

AXES = (0, 2, 3)
SHAPE = (6, 3, 8, 10)


def by_channel(a: Any) -> Any:
    return np.reshape(a, (3, 1, 1))


def standardised(x: Any, a: Any, b: Any) -> Any:
    centred = x - by_channel(np.mean(x, axis=AXES))
    deviation = np.sqrt(np.mean(np.square(centred), axis=AXES) + 1e-5)
    return centred * by_channel(a / deviation) + by_channel(b)


def whole(x: Any, a: Any, b: Any) -> Any:
    return np.sum(np.tanh(standardised(x, a, b)) * x)


def pooled(x: Any, a: Any, b: Any) -> Any:
    return np.sum(np.sin(ops.max_pool(ops.relu(standardised(np.tanh(x), a, b)), 2)))


def pooled_with_padding(x: Any, a: Any, b: Any) -> Any:
    return np.sum(np.sin(ops.max_pool(standardised(np.tanh(x), a, b), 3, stride=2, padding=1)))


def layer_norm(x: Any, a: Any, b: Any) -> Any:
    centred = x - np.mean(x, axis=-1, keepdims=True)
    return np.sum(np.sin(centred / np.sqrt(np.mean(np.square(centred), axis=-1, keepdims=True) + 1e-5) * by_channel(a)))


def data() -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=SHAPE), rng.normal(size=3) + 2, rng.normal(size=3)]


def training_step(function: Any) -> Any:
    def step(inputs: Any, states: Any) -> Any:
        loss, gradients = cr.value_and_grad(function, argnums=(0, 1, 2), allow_unused=True)(*states)
        return [loss], {k: s - 0.01 * g for k, (s, g) in enumerate(zip(states, gradients, strict=True))}

    return step


@for_each("function", [whole, pooled, pooled_with_padding, layer_norm])
def test_values_and_gradients(function: Any) -> None:
    check_states(training_step(function), [], data())


def summed(plan: Plan) -> list[tuple[int, ...]]:
    return [plan.values[s.inputs[0]].shape for s in plan.operations if s.op.name == "sum"]


def test_the_gradient_of_a_standardised_array_adds_up_no_gradient_that_is_computed_for_that() -> None:
    plan = planned(training_step(whole), [], data())
    # the loss; x and its square; g and g times what is centred
    assert summed(plan).count(SHAPE) == 5, str(plan)


def test_sums_of_what_goes_back_through_maxima_are_over_windows() -> None:
    plan = planned(training_step(pooled), [], data())
    assert summed(plan).count(SHAPE) == 2, str(plan)  # x and its square
    assert summed(plan).count((6, 3, 4, 5)) == 3, str(plan)


#: Functions of x (6, 3, 8, 10), y and a (3,): sums whose terms are there in another form.
TOTALS: dict[str, Any] = {
    "scaled": lambda x, y, a: (np.sum(x, axis=AXES), np.sum(x * by_channel(a), axis=AXES)),
    "divided": lambda x, y, a: (np.sum(x, axis=AXES), np.sum(-x / by_channel(a), axis=AXES)),
    "sum and difference": lambda x, y, a: (
        np.sum(x, axis=AXES),
        np.sum(y, axis=AXES),
        np.sum(by_channel(a) - (x - y), axis=AXES),
    ),
    "other axes": lambda x, y, a: (np.sum(x, axis=(2, 3)), np.sum(x * by_channel(a), axis=AXES)),
    "over everything": lambda x, y, a: (np.sum(x), np.sum(2.0 * x + 1.0)),
    "a factor that varies": lambda x, y, a: (np.sum(x, axis=0), np.sum(x * by_channel(a), axis=(0, 1))),
    "of itself": lambda x, y, a: (np.sum(x + x, axis=AXES), np.sum((x + x) + (x + x), axis=AXES)),
    "kept axes": lambda x, y, a: (
        np.sum(x, axis=AXES, keepdims=True),
        np.sum(x * by_channel(a) + x, axis=AXES, keepdims=True),
    ),
}


@for_each("name", TOTALS)
def test_sums_that_are_there_in_another_form(name: str) -> None:
    x, a, _ = data()
    states = [x, np.cos(x), a, *(np.zeros_like(t) for t in TOTALS[name](x, np.cos(x), a))]

    def step(inputs: Any, states: Any) -> Any:
        return [], {k + 3: t for k, t in enumerate(TOTALS[name](*states[:3]))}

    check_states(step, [], states, runs=1)


def test_long_chains_of_terms() -> None:
    x = np.ones((4, 4))

    def step(inputs: Any, states: Any) -> Any:
        y = states[0]
        for _ in range(3000):
            y = y + states[1]
        return [np.sum(states[0]), np.sum(y)], {2: np.tanh(y)}

    check_states(step, [], [x, x / 3000, x], runs=1)


# -- ReLU and maxima of windows --------------------------------------------------------------------------------------

WINDOWS = [
    {"size": 2},
    {"size": 3, "stride": 2, "padding": 1},
    {"size": 2, "stride": 1, "dilation": 2},
    {"size": 3, "stride": 1, "padding": (0, 2), "dilation": 2},
]


@for_each("settings", WINDOWS)
@for_each("dtype", ["float32", "float64"])
def test_relu_after_maxima_gives_the_same_bits(settings: Any, dtype: str) -> None:
    rng = np.random.default_rng(1)
    x = np.round(rng.normal(size=(3, 2, 9, 8)), 1).astype(dtype)  # many are equal, or 0
    weights = rng.normal(size=(3, 2, 9, 8)).astype(dtype)

    def f(x: Any) -> Any:
        out = ops.max_pool(ops.relu(x), **settings)
        return np.sum(out * weights[(..., *map(slice, out.shape[2:]))]), out

    both = cr.value_and_grad(f, has_aux=True)
    (_, expected), gradient = both(x)
    for engine in ("numpy", None):
        (_, found), g = cr.compile(both, engine=engine)(x)
        np.testing.assert_array_equal(found, expected)
        close(g, gradient)


def test_relu_is_computed_of_the_maxima_only() -> None:
    x = np.ones((2, 3, 8, 8), np.float32)
    plan = cr.compile(cr.grad(lambda x: np.sum(ops.max_pool(ops.relu(x), 2))), engine="numpy").plan(x)
    masked = [plan.values[s.output].shape for s in plan.operations if s.op.name in ("relu", "greater", "multiply")]
    assert set(masked) == {(2, 3, 4, 4)}, str(plan)
