"""What plans leave out, share, reuse and show."""

import sys
import time
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, ops
from chainrule.core.node import Recording
from chainrule.core.reverse import reverse
from chainrule.core.tensor import constant, traced_leaf
from chainrule.ops.index import Slot
from chainrule.plan import Fused, Plan, PlanError, build
from chainrule.plan.simplify import _key
from tests.engine.test_numpy import network
from tests.plan.graphs import arrays, check_states, planned


def names(plan: Plan) -> list[str]:
    return [s.op.name for s in plan.operations]


def plan_of(function: Any, *shapes: Any, dtype: Any = np.float64, **more: Any) -> Plan:
    return planned(lambda x, s: (function(*x), {}), arrays(shapes, dtype), **more)


# -- what is left out, what is shared -------------------------------------------------------


def test_dead_nodes_are_gone() -> None:
    def function(x: Any) -> Any:
        np.exp(x) + np.sin(x)
        return [np.tanh(x)]

    assert names(plan_of(function, (3,))) == ["tanh"]


def test_equal_parts_are_computed_once() -> None:
    plan = plan_of(lambda x, y: [np.exp(x + y) * 2.0, np.exp(y + x) + 1.0], (3,), (3,))
    assert sorted(names(plan)) == ["add", "add", "exp", "multiply"]


def test_attributes_tell_parts_apart() -> None:
    plan = plan_of(lambda x: [np.sum(x, axis=0), np.sum(x, axis=1), x[0], x[1], x[0:2, 0], x[0, 0:2]], (3, 3))
    check_states(
        lambda x, s: ([np.sum(x[0], axis=0), np.sum(x[0], axis=1), x[0][1], x[0][0:2, 0], x[0][0, 0:2]], {}),
        arrays([(3, 3)], float),
        [],
    )
    assert names(plan) == ["sum", "sum"]


def test_the_place_of_an_index_array_tells_parts_apart() -> None:
    index = np.array([1, 2])
    plan = check_states(lambda x, s: ([x[0][x[1], 0], x[0][0, x[1]]], {}), [np.arange(9.0).reshape(3, 3), index], [])
    assert names(plan) == ["gather", "gather"]


def test_keys_of_attributes() -> None:
    different = [
        0,
        0.0,
        -0.0,
        False,
        Slot(0),
        "0",
        None,
        np.dtype("f4"),
        np.dtype("f8"),
        slice(0),
        slice(0, 0),
        (0,),
        (0.0,),
        ...,
    ]
    different += [
        np.arange(5000),
        np.where(np.arange(5000) == 2500, 0, np.arange(5000)),
        [0],
        np.zeros(2),
        np.zeros(2, "f4"),
    ]
    keys = [_key({"a": x}) for x in different]
    assert len(set(keys)) == len(different)
    assert _key({"a": np.arange(3), "b": slice(1, None)}) == _key({"b": slice(1, None), "a": np.arange(3)})


def test_softmax_cross_entropy_and_its_gradient_share_one_exponential() -> None:
    step, inputs, states = network((5, 4, 3), 6)
    plan = planned(step, inputs, states)
    assert names(plan).count("exp") == 1
    assert names(plan).count("max") == 1
    assert names(plan).count("one_hot") == 1


def test_identities_are_gone() -> None:
    def function(x: Any) -> Any:
        y = np.copy(x).named("y") * 1.0 + -0.0
        negated = -(y / 1.0)
        return [
            -negated - 0.0,
            np.transpose(np.transpose(x)),
            np.reshape(np.reshape(x, -1), (2, 3)),
            x.astype(x.dtype),
        ]

    plan = plan_of(function, (2, 3))
    assert not plan.steps
    assert plan.outputs == (plan.inputs[0],) * 4


def test_factors_become_one_unless_digits_would_be_lost() -> None:
    assert names(plan_of(lambda x: [0.5 * (0.25 * x)], (3,))) == ["multiply"]
    assert names(plan_of(lambda x: [1e-30 * (1e-30 * x)], (3,), dtype=np.float32)) == ["multiply", "multiply"]


def test_factors_of_two_go_to_the_smaller_array() -> None:
    plan = check_states(
        lambda x, s: ([x[0] * (2.0 * x[1]), np.tanh(x[1] * 0.5) * x[0]], {}), arrays([(1, 3), (4, 3)], float), []
    )
    assert [plan.values[s.output].shape for s in plan.operations if s.op.name == "multiply"].count((1, 3)) == 1
    assert names(plan_of(lambda x, y: [x * (3.0 * y)], (1, 3), (4, 3))) == ["multiply", "multiply"]


def test_a_sum_of_products_of_stacks_is_one_product() -> None:
    def function(x: Any, s: Any) -> Any:
        a, b = x
        return [np.sum(np.swapaxes(a, -1, -2) @ b, axis=(0, 1)), np.sum(a @ np.swapaxes(b, -1, -2), axis=0)], {}

    for shape in [(3, 2, 4, 5), (1, 2, 4, 5), (0, 2, 4, 5), (3, 2, 1, 5)]:
        check_states(function, arrays([shape, shape], float), [])
    plan = plan_of(lambda a, b: [np.sum(np.swapaxes(a, -1, -2) @ b, axis=0)], (3, 4, 5), (3, 4, 6))
    assert names(plan) == ["matmul"]
    plan = plan_of(lambda a, b: [np.sum(a @ b, axis=0)], (3, 4, 5), (5, 6))
    assert names(plan) == ["matmul", "sum"]


def test_the_sum_of_a_negative_is_the_negative_of_the_sum() -> None:
    plan = cr.compile(lambda x: np.sum(-x, axis=1)).plan(np.ones((3, 4)))
    assert [(s.op.name, plan.values[s.output].shape) for s in plan.operations] == [("sum", (3,)), ("negative", (3,))]


def test_batch_norm_reads_its_channels_in_few_passes() -> None:
    """Forward and backward compute no more arrays of the input's size than the formulas need."""
    layer = nn.BatchNorm2d(5)

    def loss(x: Any) -> Any:
        return np.sum(np.square(ops.relu(layer(x))))

    x = np.random.default_rng(0).standard_normal((4, 5, 3, 3), dtype=np.float32)
    plan = cr.compile(cr.value_and_grad(loss)).plan(x)
    whole = [s.op.name for s in plan.operations if plan.values[s.output].shape == x.shape]
    assert len(whole) <= 15, whole
    assert whole.count("where") == 0, whole  # a relu's gradient is zero already where it took no value


def test_what_depends_on_constants_alone_is_computed_when_planning() -> None:
    plan = plan_of(lambda x: [x + np.sum(cr.tensor(np.arange(4.0)) ** 2)], (3,))
    assert names(plan) == ["add"]
    assert [v.array.item() for v in plan.values if v.array is not None] == [14.0]


def test_constants_are_copied() -> None:
    table = np.arange(3.0)
    plan = plan_of(lambda x: [x + table, x * np.broadcast_to(table[:1], 3)], (3,))
    assert table.flags.writeable
    contents = [v.array for v in plan.values if v.array is not None]
    assert all(not np.shares_memory(a, table) and not a.flags.writeable for a in contents)


def test_composites_are_expanded() -> None:
    plan = plan_of(lambda x: [cr.softmax(x), cr.logsumexp(x)], (2, 3))
    assert all(s.op.kernel is not None for s in plan.operations)


def test_the_mask_of_relu_needs_no_pre_activation() -> None:
    def function(x: Any, w: Any) -> Any:
        z = x @ w
        loss = np.sum(cr.relu(z) ** 2)
        gradients, _ = reverse([loss], [constant(1.0)], [w])
        return [loss, *gradients]

    plan = plan_of(function, (4, 3), (3, 2))
    relu = next(s for s in plan.operations if s.op.name == "relu")
    greater = next(s for s in plan.operations if s.op.name == "greater")
    assert greater.inputs[0] == relu.output


# -- memory -------------------------------------------------------


def chain(depth: int, width: int = 16) -> Plan:
    def function(x: Any, *weights: Any) -> Any:
        for w in weights:
            x = np.tanh(x @ w)
        return [np.sum(x)]

    return plan_of(function, (32, width), *[(width, width)] * depth)


def test_a_forward_pass_reuses_its_memory() -> None:
    assert chain(50).arena == chain(3).arena <= 2 * 32 * 16 * 8 + 64


def test_elementwise_chains_need_one_buffer_or_none() -> None:
    plan = plan_of(lambda x: [np.tanh(np.exp(-x * x) + 1.0) * 0.5], (100,))
    (step,) = plan.steps
    assert isinstance(step, Fused)
    assert len(step.register_dtypes) == 1
    assert plan.arena == -(-800 // 64) * 64


def test_elementwise_operations_stand_by_their_users() -> None:
    plan = plan_of(lambda x, w: [np.tanh(x) * (x @ w)], (4, 4), (4, 4))
    assert [type(s).__name__ for s in plan.steps] == ["Step", "Fused"]


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(), (3,)])
def test_twenty_thousand_operations(shape: Any) -> None:
    def function(x: Any) -> Any:
        y = x
        for k in range(10_000):
            y = np.sin(y) * (1.0 + k * 1e-9) if k % 2 else y + np.transpose(y)
        gradients, _ = reverse([np.sum(y)], [constant(1.0)], [x])
        return [y, *gradients]

    start = time.process_time()
    plan = plan_of(function, shape)
    assert len(plan.operations) > 20_000
    assert time.process_time() - start < 60  # linear takes a few seconds; what is quadratic takes minutes
    str(plan)


@pytest.mark.parametrize("step", [lambda y: np.tanh(np.sin(y)), lambda y: np.tanh(y @ y), lambda y: y * 1.1 + 0.1])
def test_work_grows_in_proportion_to_the_operations(step: Any) -> None:
    def calls(count: int) -> int:
        def function(x: Any) -> Any:
            for _ in range(count):
                x = step(x)
            return [x]

        made = 0

        def count_calls(frame: Any, event: str, argument: Any) -> None:
            nonlocal made
            made += event in ("call", "c_call")

        sys.setprofile(count_calls)
        try:
            plan_of(function, (2, 2))
        finally:
            sys.setprofile(None)
        return made

    few, many = calls(150), calls(300)
    assert many < 2.1 * few


def test_verification_makes_no_message_of_a_rule_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(lambda x, w: [np.tanh(np.transpose(x) @ w) + 1.0], (4, 4), (4, 4))

    def shown(value: Any) -> str:
        raise AssertionError("a value is shown")

    monkeypatch.setattr(cr.plan.model.Value, "__str__", shown)
    cr.verify(plan)


# -- what it refuses, what it shows -------------------------------------------------------


def test_a_tensor_of_another_trace_is_refused() -> None:
    with Recording("a test") as recording:
        mark = frozenset({recording})
        x, other = traced_leaf((2,), float, mark), traced_leaf((2,), float, mark)
        y = x + other
    with pytest.raises(ValueError, match="not an argument of the function"):
        build([y], [x])


def test_parameters_are_captured_in_order_and_once() -> None:
    w, b = cr.Parameter(np.ones((3, 2)), name="W"), cr.Parameter(np.ones(2), name="b")
    with Recording("a test") as recording:
        x = traced_leaf((4, 3), float, frozenset({recording}))
        y = np.tanh(x @ w + b) @ np.transpose(w)
    plan, captured = build([y], [x])
    assert {id(p) for p in captured} == {id(w), id(b)}
    assert len(plan.inputs) == 3
    assert [plan.values[n].names for n in plan.inputs[1:]] == [(p.name,) for p in captured]


def test_kept_values_are_named() -> None:
    with Recording("a test") as recording:
        x = traced_leaf((4, 3), float, frozenset({recording}), name="X")
        z = (x * 2.0).named("Z")
        y = np.tanh(z)
    plan, _ = build([np.sum(y)], [x], keep={"Z": z, "input": x})
    assert plan.kept["Z"] in {s.output for s in plan.operations}
    assert plan.values[plan.kept["Z"]].storage == "buffer"
    assert plan.kept["input"] == plan.inputs[0]
    assert "Z" in plan.values[plan.kept["Z"]].names


def test_print() -> None:
    step, inputs, states = network((64, 32, 10), 32)
    plan = planned(step, inputs, states)
    text = str(plan)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 110
    assert lines[0].startswith("plan of test: ")
    assert lines[1] == "  inputs    %0 x0: 32×64 float32, %1 x1: 32 int64"
    assert lines[2].startswith("  states    %2 s0: 64×32 float32, %3 s1: 32 float32")
    assert sum("# in place" in line for line in lines) == 4
    assert "matmul(%0.T, " in text
    assert "sum(%" in text and "axis=(0,)" in text and "keepdims" not in text
    many = str(plan_of(lambda *xs: [x[0:1, ::-2] for x in xs], *[(3, 3)] * 30))
    assert max(map(len, many.splitlines())) <= 110


def test_print_shows_attributes_short() -> None:
    index = (slice(1, None), slice(None, None, -2), 0, None, Ellipsis)
    plan = plan_of(lambda x: [ops.index.place(x, (slice(1, None), slice(0, 2)), (3, 4))], (2, 2))
    assert "place(%0, index=(1:, 0:2), shape=(3, 4))" in str(plan)
    from chainrule.plan.model import _short

    assert _short(index) == "(1:, ::-2, 0, None, ...)"
    assert len(_short(tuple(range(1000)))) <= 40
    assert _short(np.zeros((3, 4))) == "array of 3×4"


def test_plan_errors_are_value_errors() -> None:
    assert issubclass(PlanError, ValueError)
