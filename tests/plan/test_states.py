"""Updates of states: computed from the old states alone, in whatever order and memory the plan does it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainrule import engine
from chainrule.plan import Fused, Plan
from tests.plan.graphs import arrays, check_states, dtypes, interpret, planned, programs, shapes


def in_place(plan: Plan) -> set[int]:
    return {s for s, n in plan.updates if plan.values[n].state == s}


def test_sgd_writes_in_place() -> None:
    plan = check_states(
        lambda x, s: ([np.sum(s[0] @ x[0])], {0: s[0] - 0.1 * x[0]}),
        arrays([(3, 3)], float),
        arrays([(3, 3)], float),
    )
    assert in_place(plan) == {0}


def test_momentum_writes_both_in_place() -> None:
    def step(x: Any, s: Any) -> Any:
        v = 0.9 * s[1] + x[0]
        return [np.sum(s[0])], {0: s[0] - 0.1 * v, 1: v}

    plan = check_states(step, arrays([(7, 5)], float), arrays([(7, 5), (7, 5)], float))
    assert in_place(plan) == {0, 1}


def test_adam_writes_all_in_place() -> None:
    def step(x: Any, s: Any) -> Any:
        p, m, v, t = s
        g = x[0] * p
        t = t + 1.0
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        return [], {0: p - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8), 1: m, 2: v, 3: t}

    plan = check_states(
        step,
        arrays([(7, 5)], float),
        [*arrays([(7, 5)], float), np.zeros((7, 5)), np.zeros((7, 5)), np.zeros(())],
    )
    assert in_place(plan) == {0, 1, 2, 3}


def test_two_states_swap() -> None:
    check_states(lambda x, s: ([], {0: s[1], 1: s[0]}), [], arrays([(4, 3), (4, 3)], float))


def test_three_states_rotate_and_one_is_returned() -> None:
    check_states(lambda x, s: ([s[0], s[2][::-1]], {0: s[1], 1: s[2], 2: s[0]}), [], arrays([(4,), (4,), (4,)], float))


def test_each_update_sees_the_others_old_value() -> None:
    check_states(lambda x, s: ([], {0: s[0] - s[1], 1: s[1] * s[0]}), [], arrays([(20, 3), (20, 3)], float))
    check_states(lambda x, s: ([], {1: s[1] - s[0], 0: s[0] + s[1]}), [], arrays([(20, 3), (20, 3)], float))


def test_an_update_that_is_a_view_of_its_own_state() -> None:
    check_states(lambda x, s: ([], {0: s[0].T}), [], arrays([(5, 5)], float))
    check_states(lambda x, s: ([], {0: s[0][::-1], 1: s[0].T + 0.0}), [], arrays([(5, 5), (5, 5)], float))


def test_a_state_read_through_a_view_in_the_step_that_updates_it() -> None:
    plan = check_states(lambda x, s: ([], {0: 2.0 * s[0] - s[0].T}), [], arrays([(9, 9)], float), block=9)
    assert not in_place(plan)
    check_states(lambda x, s: ([], {0: np.tanh(2.0 * s[0] - s[0][::-1])}), [], arrays([(40, 3)], float), block=3)
    check_states(lambda x, s: ([], {0: np.tanh(s[0]) - s[0][0]}), [], arrays([(40, 3)], float), block=3)


def test_a_state_that_is_returned_is_the_old_one() -> None:
    check_states(lambda x, s: ([s[0], s[0].T, s[0][1]], {0: s[0] + 1.0}), [], arrays([(3, 2)], float))


def test_a_new_value_that_is_returned_too() -> None:
    def step(x: Any, s: Any) -> Any:
        new = s[0] * x[0]
        return [new, new.T, np.sum(new)], {0: new}

    assert in_place(check_states(step, arrays([(3, 2)], float), arrays([(3, 2)], float))) == {0}


def test_one_value_for_two_states() -> None:
    def step(x: Any, s: Any) -> Any:
        new = s[0] + s[1]
        return [], {0: new, 1: new}

    check_states(step, [], arrays([(3, 2), (3, 2)], float))


def test_an_input_or_a_constant_becomes_a_state() -> None:
    check_states(
        lambda x, s: ([s[0]], {0: x[0], 1: np.full(2, 3.0)}),
        arrays([(3, 2)], float),
        arrays([(3, 2), (2,)], float),
    )


def test_a_state_that_becomes_itself_costs_nothing() -> None:
    plan = check_states(lambda x, s: ([s[0]], {0: s[0]}), [], arrays([(3,)], float))
    assert not plan.steps
    assert not plan.updates


def test_the_update_must_fit_its_state() -> None:
    with pytest.raises(ValueError, match=r"update of state 0 has shape \(2,\), float64; the state has \(3,\), float64"):
        planned(lambda x, s: ([], {0: s[0][:2]}), [], arrays([(3,)], float))
    with pytest.raises(ValueError, match=r"updates: .*got 1"):
        planned(lambda x, s: ([], {1: s[0]}), [], arrays([(3,)], float))


def test_states_must_be_arrays_that_can_be_written_into() -> None:
    plan = planned(lambda x, s: ([], {0: s[0] + 1.0}), [], [np.zeros((2, 3))])
    frozen = np.zeros((2, 3))
    frozen.setflags(write=False)
    for bad in (frozen, np.zeros((3, 2)).T, np.zeros((2, 3), np.float32), np.zeros(6)):
        with pytest.raises(ValueError, match="state 0"):
            engine.bind(plan, [bad])
    with pytest.raises(ValueError, match="1 states, 0 arrays"):
        engine.bind(plan)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), programs, shapes, dtypes, st.sampled_from([1, 6, 1000]))
def test_random_updates(data: Any, program: Any, shapes: Any, dtype: Any, block: int) -> None:
    states, inputs = arrays([*shapes, shapes[0]], dtype), arrays(shapes[:1], dtype, seed=1)
    pool = interpret(program, [*states, *inputs])
    chosen = {}
    for k, s in enumerate(states):
        fitting = [i for i, value in enumerate(pool) if value.shape == s.shape and value.dtype == s.dtype]
        picked = data.draw(st.one_of(st.none(), st.sampled_from(fitting[::-1])))
        if picked is not None:
            chosen[k] = picked
    out = data.draw(st.lists(st.integers(0, len(pool) - 1), max_size=3))

    def step(x: Any, s: Any) -> Any:
        pool = interpret(program, [*s, *x])
        return [pool[i] for i in out], {k: pool[i] for k, i in chosen.items()}

    check_states(step, inputs, states, block=block)


def test_updates_of_a_network_run_in_one_fused_step_each() -> None:
    plan = planned(
        lambda x, s: ([], {0: s[0] - 0.1 * x[0], 1: s[1] - 0.1 * x[1]}),
        arrays([(4, 3), (3,)], float),
        arrays([(4, 3), (3,)], float),
    )
    assert [type(s) for s in plan.steps] == [Fused, Fused]
