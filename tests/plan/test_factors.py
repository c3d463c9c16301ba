"""Constant factors move to where another one stands; what is computed stays the same."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.core.reverse import reverse
from chainrule.core.tensor import Tensor, constant
from chainrule.ops.table import row_of
from chainrule.plan import Plan
from tests.engine.test_numpy import network
from tests.plan.graphs import arrays, check_states, interpret, planned, programs, shapes


def multiplications(plan: Plan) -> list[tuple[int, ...]]:
    return [plan.values[s.output].shape for s in plan.operations if s.op.name == "multiply"]


def test_the_learning_rate_moves_into_the_mean() -> None:
    step, inputs, states = network((5, 4, 3), 6)
    plan = planned(step, inputs, states)
    after = [s.op.name for s in plan.operations][-4:]
    assert after == ["subtract"] * 4
    assert (5, 4) not in multiplications(plan)


def test_it_says_so_in_the_names() -> None:
    def step(x: Any, s: Any) -> Any:
        z = (x[0] @ s[0]).named("Z")
        loss = np.mean(z * z)
        gradients, _ = reverse([loss], [constant(1.0)], s)
        return [loss], {0: s[0] - 0.1 * gradients[0]}

    plan = planned(step, arrays([(6, 5)], float), arrays([(5, 4)], float))
    assert "0.1·ds0" in str(plan)


def test_a_gradient_that_is_a_result_is_computed_without_it() -> None:
    def step(x: Any, s: Any) -> Any:
        z = x[0] @ s[0]
        loss = np.mean(z * z)
        gradients, _ = reverse([loss], [constant(1.0)], s)
        return [loss, *gradients], {0: s[0] - 0.1 * gradients[0]}

    plan = planned(step, arrays([(6, 5)], float), arrays([(5, 4)], float))
    assert (5, 4) in multiplications(plan)


def both(function: Any, *shapes: Any, dtype: Any = np.float64) -> Plan:
    """Compare with NumPy, return the plan."""
    return check_states(lambda x, s: (function(*x), {}), arrays(shapes, dtype), [])


def test_through_each_linear_operation() -> None:
    def function(a: Any, b: Any) -> Any:
        x = 3.0 * np.tanh(a)
        y = np.reshape(np.transpose(x), -1)[::-1]
        return [0.25 * np.sum(-np.broadcast_to(y / (1.0 + b * b), (2, 12)), axis=0)]

    plan = both(function, (3, 4), (12,))
    assert all(v.array is None or v.array != 0.25 for v in plan.values if v.array is None or v.array.size == 1)
    assert multiplications(plan) == [(12,), (3, 4)] or multiplications(plan) == [(3, 4), (12,)]


def test_either_factor_of_a_product_takes_it() -> None:
    for function in (lambda a, b: [0.5 * ((2.0 * a) @ b)], lambda a, b: [0.5 * (b @ (2.0 * a))]):
        plan = both(function, (3, 3), (3, 3))
        assert multiplications(plan) == []  # 0.5 · 2 = 1


def test_a_square_takes_no_factor_twice() -> None:
    both(lambda a: [0.5 * ((3.0 * a) @ (3.0 * a)), 0.25 * ((3.0 * a) * (3.0 * a))], (3, 3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_factors_that_would_lose_digits_stay(dtype: Any) -> None:
    tiny = float(np.finfo(dtype).tiny) ** 0.75

    def function(a: Any) -> Any:
        return [tiny * np.sum(tiny * a, axis=0), (1 / tiny) * np.sum((1 / tiny) * (tiny * a), axis=0)]

    both(function, (3, 3), dtype=dtype)


def test_sums_pass_it_to_both_sides() -> None:
    plan = both(lambda a, b: [0.1 * (np.sum(5.0 * np.tanh(a), axis=0) - 2.0 * b)], (3, 3), (3,))
    assert len(multiplications(plan)) == 2
    both(lambda a: [y := 2.0 * np.tanh(a), 0.1 * (np.exp(a) * 3.0 + 3.0 * np.exp(a) + y)], (3, 3))


def test_users_that_want_different_factors() -> None:
    both(
        lambda a, b: [y := 2.0 * np.tanh(a), 0.1 * (y @ b), 0.2 * (y @ b), 0.1 * np.sum(y), y @ b],
        (3, 3),
        (3, 3),
    )
    both(lambda a, b: [0.1 * (np.tanh(a) @ (2.0 * b)), 0.2 * np.sum(2.0 * b)], (3, 3), (3, 3))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), programs, shapes, st.sampled_from([1, 20, 1000]))
def test_gradient_descent_on_random_graphs(data: Any, program: Any, shapes: Any, block: int) -> None:
    states, inputs = arrays(shapes, np.float64), arrays(shapes[:1], np.float64, seed=1)
    n = len(interpret(program, [*states, *inputs]))
    results = data.draw(st.lists(st.integers(0, n - 1), max_size=2))

    def step(x: Any, s: Any) -> Any:
        eager = not isinstance(s[0], Tensor)
        leaves = [cr.tensor(v, requires_grad=True) for v in s] if eager else s
        pool = interpret(program, [*leaves, *x])
        loss = 0.5 * sum([np.mean(np.tanh(v)) for v in pool if v.size], np.sum(leaves[0]))
        gradients, _ = reverse([loss], [constant(np.ones(()))], leaves)
        new = {k: p - 0.1 * g for k, (p, g) in enumerate(zip(leaves, gradients, strict=True)) if g is not None}
        out = [loss, *(pool[i] for i in results), *(g for g in gradients[:1] if g is not None)]
        if not eager:
            return out, new
        values = [o.detach().numpy() if isinstance(o, Tensor) else o for o in out]
        return values, {k: v.detach().numpy() if isinstance(v, Tensor) else v for k, v in new.items()}

    check_states(step, inputs, states, runs=2, block=block)


@pytest.mark.parametrize(
    ("f", "inputs", "takes"),
    [
        (np.multiply, 2, ((0,), (1,))),
        (np.add, 2, ((0, 1),)),
        (np.divide, 2, ((0,),)),
        (np.where, 3, ((1, 2),)),
        (np.concatenate, 2, ((0, 1),)),
        (np.concatenate, 3, ()),  # of more inputs than were tried, a common factor is not known to come out
        (np.cumsum, 1, ((0,),)),
        (np.maximum, 2, ()),  # a factor below 0 would make it a minimum
        (np.exp, 1, ()),
    ],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_which_inputs_take_a_factor_follows_from_the_row(f: Any, inputs: int, takes: Any) -> None:
    assert row_of(f).takes_factor(inputs) == takes


def test_no_factor_moves_through_a_cast_to_integers() -> None:
    f = cr.compile(lambda x: 0.5 * np.sum((2.0 * x).astype(np.int64).astype(np.float64)))
    np.testing.assert_array_equal(f(np.array([0.7, 1.6])), 2.0)
