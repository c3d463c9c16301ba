"""`verify` refuses a plan for each rule that it breaks."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from chainrule import engine
from chainrule.ops import row
from chainrule.plan import Fused, Plan, PlanError, Step, Value, verify
from tests.plan.graphs import arrays, blocks_of, close, interpret, planned, programs


def sample() -> Plan:
    """A plan with everything: inputs, states, a constant, views, registers, buffers, updates copied and in place."""

    def step(x: Any, s: Any) -> Any:
        z = x[0] @ s[0] + np.arange(4.0)
        y = np.tanh(np.exp(-z * z) + 1.0)
        g = np.transpose(x[0]) @ y
        total = np.sum(y, axis=0)
        return [total, s[1], np.sum(y)], {0: s[0] - 0.1 * g, 1: s[2], 2: s[1]}

    return planned(step, arrays([(5, 3)], float), arrays([(3, 4), (2,), (2,)], float))


PLAN = sample()


def test_the_sample_is_valid_and_has_everything() -> None:
    verify(PLAN)
    assert {v.storage for v in PLAN.values} == {"input", "state", "constant", "buffer", "view", "register"}
    assert any(v.state is not None for v in PLAN.values)
    assert len(PLAN.updates) == 3


def with_value(plan: Plan, n: int, **changes: Any) -> Plan:
    values = list(plan.values)
    values[n] = values[n]._replace(**changes)
    return replace(plan, values=tuple(values))


def with_step(plan: Plan, g: int, step: Any) -> Plan:
    return replace(plan, steps=(*plan.steps[:g], step, *plan.steps[g + 1 :]))


def first(storage: str, plan: Plan = PLAN, also: Callable[[Value], bool] = lambda v: True) -> int:
    return next(v.number for v in plan.values if v.storage == storage and also(v))


def step_at(kind: type, name: str = "", plan: Plan = PLAN) -> int:
    return next(g for g, s in enumerate(plan.steps) if type(s) is kind and (not name or s.op.name == name))


def buffers(plan: Plan) -> list[Value]:
    return [v for v in plan.values if v.storage == "buffer" and v.state is None]


def refused(plan: Plan, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        verify(plan)


INPUT, STATE, CONSTANT, VIEW, REGISTER = (first(s) for s in ("input", "state", "constant", "view", "register"))
BUFFER = first("buffer", also=lambda v: v.state is None)
MATMUL, FUSED = step_at(Step, "matmul"), step_at(Fused)


@pytest.mark.parametrize(
    ("n", "changes", "message"),
    [
        (BUFFER, {"number": 999}, "is numbered 999"),
        (BUFFER, {"storage": "attic"}, "unknown storage 'attic'"),
        (BUFFER, {"dtype": np.dtype("c16")}, "no engine computes with"),
        (INPUT, {"dtype": np.dtype(">f8")}, "no engine computes with"),
        (BUFFER, {"shape": (5, -4)}, "negative length"),
        (BUFFER, {"strides": (8,)}, "2 axes and 1 strides"),
        (BUFFER, {"root": 999}, "has root 999"),
        (BUFFER, {"root": INPUT}, "is not a view, but its root is"),
        (BUFFER, {"strides": (8, 40)}, "gaps in it"),
        (INPUT, {"strides": (48, 8)}, "gaps in it"),
        (BUFFER, {"offset": -64}, "the arena"),
        (BUFFER, {"offset": PLAN.arena}, "the arena"),
        (BUFFER, {"offset": 8}, "no multiple of 64"),
        (BUFFER, {"array": np.zeros((5, 4))}, "only they, have content"),
        (CONSTANT, {"array": None}, "only they, have content"),
        (CONSTANT, {"array": np.arange(4.0)}, "can be written"),
        (CONSTANT, {"array": np.broadcast_to(np.arange(5.0), 5)}, "another shape or dtype"),
        (CONSTANT, {"array": np.broadcast_to(np.arange(4), 4)}, "another shape or dtype"),
        (CONSTANT, {"array": np.broadcast_to(0.0, 4)}, "other strides"),
        (VIEW, {"offset": 8}, "reaches bytes 8 to 128"),
        (VIEW, {"offset": -8}, "reaches bytes -8"),
        (VIEW, {"strides": (8, -24)}, "reaches bytes -96"),
        (VIEW, {"offset": 4, "strides": (8, 8)}, "across the elements"),
        (VIEW, {"strides": (4, 8)}, "across the elements"),
        (VIEW, {"dtype": np.dtype("i8")}, "a view of"),
        (VIEW, {"root": VIEW}, "no memory of its own"),
        (VIEW, {"root": REGISTER}, "no memory of its own"),
        (VIEW, {"state": 0}, "is written into a state"),
        (BUFFER, {"state": 7}, "state 7, which is none"),
        (BUFFER, {"state": 1}, "is not its update"),
        (INPUT, {"storage": "state"}, "the plan's inputs"),
        (STATE, {"storage": "input"}, "the plan's inputs"),
        (INPUT, {"shape": (3, 5), "strides": (40, 8)}, "matmul: "),
        (BUFFER, {"dtype": np.dtype("f4"), "strides": (16, 4)}, "matmul"),
        (BUFFER, {"shape": (4, 5), "strides": (40, 8)}, "matmul"),
        (REGISTER, {"storage": "buffer"}, "has registers for"),
    ],
)
def test_values(n: int, changes: Any, message: str) -> None:
    refused(with_value(PLAN, n, **changes), message)


def test_inputs_and_states_are_listed_once() -> None:
    refused(replace(PLAN, inputs=()), "the plan's inputs are")
    refused(replace(PLAN, inputs=PLAN.inputs * 2), "the plan's inputs are")
    refused(replace(PLAN, states=PLAN.states[:2]), "the plan's states are")


def test_order() -> None:
    refused(replace(PLAN, steps=PLAN.steps[::-1]), "before it is written")
    refused(replace(PLAN, steps=(PLAN.steps[0], *PLAN.steps)), "a second time")
    refused(replace(PLAN, steps=PLAN.steps[1:]), "before it is written")
    refused(replace(PLAN, steps=()), "never computed")


def test_operations() -> None:
    step: Any = PLAN.steps[MATMUL]
    a, b = step.inputs
    refused(with_step(PLAN, MATMUL, replace(step, inputs=(a, 999))), "names %999")
    refused(with_step(PLAN, MATMUL, replace(step, inputs=(a,))), "has 1 inputs")
    refused(with_step(PLAN, MATMUL, replace(step, inputs=(b, a))), "matmul: shapes")
    refused(with_step(PLAN, MATMUL, replace(step, attrs={"axis": 3})), "axis")
    refused(with_step(PLAN, MATMUL, replace(step, output=INPUT)), "a second time")
    refused(with_step(PLAN, MATMUL, replace(step, output=VIEW)), "which is view|before it is written")
    refused(with_step(PLAN, MATMUL, Step(row("softmax"), (a,), step.output, {"axis": (1,)})), "composite")
    refused(
        with_step(PLAN, MATMUL, Step(row("transpose"), (a,), step.output, {"axes": (1, 0)})),
        "a view is a value",
    )
    g = step_at(Step, "sum")
    total: Any = PLAN.steps[g]
    refused(with_step(PLAN, g, replace(total, attrs={"axis": (9,), "keepdims": False})), "sum")


def test_fused_steps() -> None:
    step: Any = PLAN.steps[FUSED]
    refused(with_step(PLAN, FUSED, replace(step, steps=())), "registers for|fuses nothing")
    refused(with_step(PLAN, FUSED, replace(step, steps=(), registers={})), "fuses nothing")
    refused(with_step(PLAN, FUSED, replace(step, shape=(4, 5))), "in a step over")
    refused(with_step(PLAN, FUSED, replace(step, registers={})), "has registers for")
    refused(with_step(PLAN, FUSED, replace(step, registers={**step.registers, 999: 0})), "has registers for")
    refused(
        with_step(PLAN, FUSED, replace(step, registers=dict.fromkeys(step.registers, 7))),
        "writes register 7 of",
    )
    wrong = tuple(np.dtype("f4") for _ in step.register_dtypes)
    refused(with_step(PLAN, FUSED, replace(step, register_dtypes=wrong)), "another dtype")
    matmul: Any = PLAN.steps[MATMUL]
    refused(with_step(PLAN, MATMUL, Fused((5, 4), (matmul,), {}, ())), "not elementwise, but fused")
    for inner in step.steps:
        if inner.output in step.registers:
            loose = (*PLAN.steps[:FUSED], *step.steps, *PLAN.steps[FUSED + 1 :])
            refused(replace(PLAN, steps=loose), "a register of another step|outside a fused step")


def test_registers_hold_what_is_read() -> None:
    def function(x: Any, s: Any) -> Any:
        a, b = np.exp(x[0]), np.sin(x[0])
        return [(a - b) * (a + b)], {}

    plan = planned(function, arrays([(4, 4)], float))
    (step,) = plan.steps
    assert isinstance(step, Fused)
    assert len(step.register_dtypes) >= 2
    refused(
        with_step(plan, 0, replace(step, registers=dict.fromkeys(step.registers, 0))),
        "from a register that holds|overwrites",
    )


def test_registers_are_overwritten_only_where_the_kernel_allows() -> None:
    def function(x: Any, s: Any) -> Any:
        a = np.exp(x[0])
        return [np.sin(np.where(x[0] > 0, a, 1.0))], {}

    plan = planned(function, arrays([(4, 4)], float))
    (step,) = plan.steps
    assert isinstance(step, Fused)
    floats = {n: 0 if plan.values[n].dtype == float else 1 for n in step.registers}
    shared = replace(step, registers=floats, register_dtypes=(np.dtype(float), np.dtype(bool)))
    refused(with_step(plan, 0, shared), "overwrites")


def test_live_buffers_do_not_overlap() -> None:
    plan = planned(lambda x, s: ([x[0] @ x[0], x[0] @ x[0].T, x[0].T @ x[0]], {}), arrays([(4, 4)], float))
    for n in plan.outputs[1:]:
        for offset in (0, 64):
            refused(with_value(plan, n, offset=offset), "still to be read")


def test_an_input_is_overwritten_in_place_only_element_by_element() -> None:
    plan = planned(lambda x, s: ([np.sum(x[0] @ x[0], axis=0)], {}), arrays([(8, 8)], float))
    product, total = (s.output for s in plan.operations)
    refused(with_value(plan, total, offset=plan.values[product].offset), "still to be read")

    plan = planned(lambda x, s: ([np.tanh((x[0] @ x[0]).T)], {}), arrays([(8, 8)], float))
    product, total = (s.output for s in plan.operations)
    refused(with_value(plan, total, offset=plan.values[product].offset), "still to be read")


def test_tiles() -> None:
    def function(x: Any, s: Any) -> Any:
        p = x[0] @ x[0]
        return [np.tanh(np.exp(p.T) + 1.0)], {}

    plan = planned(function, arrays([(8, 8)], float))
    product = plan.operations[0].output
    fused: Any = plan.steps[-1]
    assert isinstance(fused, Fused)
    refused(
        with_value(plan, fused.outputs[0], offset=plan.values[product].offset),
        "across tiles|still to be read",
    )


def test_outputs_of_one_fused_step_do_not_cross() -> None:
    def function(x: Any, s: Any) -> Any:
        a = np.exp(x[0])
        return [np.sin(a) + a], {}

    plan = planned(function, arrays([(8, 8)], float))
    fused: Any = plan.steps[0]
    # the same program with every register in memory, and the second result half over the first, once that is dead
    values = []
    offsets = {s.output: 512 * k for k, s in enumerate(fused.steps)}
    for v in plan.values:
        values.append(v._replace(storage="buffer", offset=offsets[v.number]) if v.number in offsets else v)
    steps = (replace(fused, registers={}, register_dtypes=()),)
    good = replace(plan, values=tuple(values), steps=steps, arena=2048)
    verify(good)
    c = fused.steps[-1].output
    refused(with_value(good, c, offset=256), "over each other|still to be read")


def test_states_and_updates() -> None:
    refused(replace(PLAN, updates=(*PLAN.updates, PLAN.updates[0])), "updated twice")
    refused(
        replace(PLAN, updates=((9, PLAN.updates[0][1]), *PLAN.updates[1:])),
        "updates of states|is not its update",
    )
    refused(replace(PLAN, updates=PLAN.updates[1:]), "is not its update")
    (s0, n0), (s1, n1), (s2, n2) = PLAN.updates
    refused(replace(PLAN, updates=((s0, n1), (s1, n0), (s2, n2))), "shape or dtype differs")
    copied = planned(lambda x, s: ([], {0: x[0], 1: x[1]}), arrays([(2,), (2,)], float), arrays([(2,), (2,)], float))
    verify(copied)
    refused(
        replace(copied, updates=((0, copied.states[1]), (1, copied.states[0]))),
        "lies in a state that changes",
    )
    refused(replace(PLAN, outputs=(PLAN.states[0],)), "lies in a state that changes")
    refused(replace(PLAN, kept={"W": PLAN.states[0]}), "lies in a state that changes")
    refused(replace(PLAN, outputs=(REGISTER,)), "never computed")
    refused(replace(PLAN, outputs=(999,)), "never computed")


def test_a_state_is_not_overwritten_before_its_last_reader() -> None:
    plan = planned(lambda x, s: ([], {0: s[0] + s[1], 1: s[1] * 2.0}), [], arrays([(3, 3), (3, 3)], float))
    fused: Any = plan.steps[0]
    swapped = replace(fused, steps=fused.steps[::-1])
    refused(with_step(plan, 0, swapped), "overwrites %1, which is still to be read")
    plan = planned(lambda x, s: ([], {0: s[0].T + s[0]}), [], arrays([(3, 3)], float))
    n = plan.updates[0][1]
    refused(with_value(plan, n, state=0, offset=0), "still to be read")


def test_useless_steps() -> None:
    refused(replace(PLAN, outputs=PLAN.outputs[1:]), "which nobody reads")


# -- random changes -------------------------------------------------------


def memory_changes(plan: Plan, data: Any) -> Plan:
    """Change where one thing lies or when it is done; what is computed stays the same."""
    kind = data.draw(st.sampled_from(["offset", "register", "order", "inner order", "state", "arena", "split"]))
    if kind == "offset":
        assume(buffers(plan))
        v = data.draw(st.sampled_from(buffers(plan)))
        return with_value(plan, v.number, offset=64 * data.draw(st.integers(-1, plan.arena // 64 + 1)))
    fused = [g for g, s in enumerate(plan.steps) if isinstance(s, Fused)]
    if kind in ("register", "inner order", "split"):
        assume(fused)
        g = data.draw(st.sampled_from(fused))
        step: Any = plan.steps[g]
        if kind == "register":
            assume(step.registers)
            n = data.draw(st.sampled_from(sorted(step.registers)))
            r = data.draw(st.integers(0, len(step.register_dtypes)))
            return with_step(plan, g, replace(step, registers={**step.registers, n: r}))
        k = data.draw(st.integers(0, len(step.steps) - 1))
        if kind == "split":
            parts = []
            for part in (step.steps[:k], step.steps[k:]):
                parts.append(
                    replace(
                        step,
                        steps=part,
                        registers={s.output: step.registers[s.output] for s in part if s.output in step.registers},
                    )
                )
            return replace(plan, steps=(*plan.steps[:g], *parts, *plan.steps[g + 1 :]))
        rest = [*step.steps[:k], *step.steps[k + 1 :]]
        rest.insert(data.draw(st.integers(0, len(rest))), step.steps[k])
        return with_step(plan, g, replace(step, steps=tuple(rest)))
    if kind == "order":
        assume(plan.steps)
        k = data.draw(st.integers(0, len(plan.steps) - 1))
        steps = [*plan.steps[:k], *plan.steps[k + 1 :]]
        steps.insert(data.draw(st.integers(0, len(steps))), plan.steps[k])
        return replace(plan, steps=tuple(steps))
    if kind == "state":
        copied = [
            (s, n) for s, n in plan.updates if plan.values[n].storage == "buffer" and plan.values[n].state is None
        ]
        assume(copied)
        s, n = data.draw(st.sampled_from(copied))
        return with_value(plan, n, state=s, offset=0)
    return replace(plan, arena=data.draw(st.integers(0, plan.arena)))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.data(), programs)
def test_a_changed_plan_is_refused_or_computes_the_same(data: Any, program: Any) -> None:
    states, inputs = arrays([(13, 7), (13, 7), (13, 13)], float), arrays([(13, 7), (7,)], float, seed=1)
    with np.errstate(all="ignore"):
        pool = interpret(program, [*states, *inputs])
    fitting = [[i for i, v in enumerate(pool) if v.shape == s.shape and i != k][::-1] for k, s in enumerate(states)]
    chosen = {k: data.draw(st.sampled_from(f)) for k, f in enumerate(fitting) if f}
    out = data.draw(st.lists(st.integers(0, len(pool) - 1), min_size=1, max_size=3))

    def step(x: Any, s: Any) -> Any:
        pool = interpret(program, [*s, *x])
        return [pool[i] for i in out], {k: pool[i] for k, i in chosen.items()}

    plan = planned(step, inputs, states)
    changed = memory_changes(plan, data)
    try:
        verify(changed)
    except PlanError:
        return
    results = []
    for p in (plan, changed):
        mine = [s.copy() for s in states]

        with blocks_of(20):
            binding = engine.bind(p, mine)
        with np.errstate(all="ignore"):
            binding.run(inputs)
        results.append([*mine, *(binding.value(n).copy() for n in p.outputs)])
    for a, b in zip(*results, strict=True):
        close(b, a, 1e-12)


def test_a_plan_does_not_change() -> None:
    with pytest.raises(AttributeError):
        PLAN.arena = 3  # type: ignore[misc]
