"""The native engine computes what the NumPy engine computes, the same bits for any number of threads."""

import gc
import sys
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("chainrule.engine._native", reason="the native engine was not built")

import chainrule as cr
from chainrule import nn, ops, optim
from chainrule.core.apply import apply
from chainrule.core.op import Example, Operation
from chainrule.core.reverse import reverse
from chainrule.core.tensor import constant
from chainrule.engine import noted
from chainrule.engine.native import NativeBinding
from chainrule.engine.numpy import NumPyBinding
from tests.engine.native_cases import Training, check, near, run, same_bits
from tests.engine.native_mutants import attempt, described, mutate, plans
from tests.ops.checking import points
from tests.plan.graphs import arrays, dtypes, interpret, planned, programs, shapes
from tests.tables import for_each, slow, some

CASES = [pytest.param(op, e, id=f"{op.name}-{i}") for op in ops.rows() for i, e in enumerate(points(op))]
KINDS = [np.float32, np.float64]


def casted(inputs: Any, dtype: Any) -> list[Any]:
    return [np.asarray(x).astype(dtype) if np.asarray(x).dtype.kind == "f" else np.asarray(x) for x in inputs]


# -- the table -------------------------------------------------------------------------------------------------------


@for_each("dtype", KINDS)
@for_each(("op", "example"), CASES)
def test_every_row(op: Operation, example: Example, dtype: Any) -> None:
    inputs = casted(example.inputs, dtype)
    attrs = dict(example.attrs)
    if "dtype" in attrs and attrs["dtype"].kind == "f":
        attrs["dtype"] = np.dtype(dtype)
    check(lambda x, s: ([apply(op, tuple(x), attrs)], {}), inputs)


@for_each("dtype", KINDS)
@for_each(("op", "example"), [c for c in CASES if c.values[0].differentiable], every=4)
def test_every_gradient(op: Operation, example: Example, dtype: Any) -> None:
    inputs = casted(example.inputs, dtype)
    places = [k for k, x in enumerate(inputs) if x.dtype.kind == "f"]

    def gradients(x: Any, s: Any) -> Any:
        out = apply(op, tuple(x), dict(example.attrs))
        weights = np.random.default_rng(1).normal(size=out.shape).astype(out.dtype)
        found, _ = reverse([out], [constant(weights)], [x[k] for k in places])
        return [np.zeros(inputs[k].shape, dtype) if g is None else g for k, g in zip(places, found, strict=True)], {}

    check(gradients, inputs)


@pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.int32, np.uint8, np.int8, np.uint64])
def test_integers_and_booleans(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 2 if dtype == np.bool_ else 100, (5, 7)).astype(dtype) for _ in range(2))

    def function(x: Any, s: Any) -> Any:
        a, b = x
        out = [a == b, a < b, a.T >= b.T, np.where(a == b, a, b), np.sum(a, axis=0), np.max(a, axis=1), a[::-1, ::2]]
        out += [
            a.astype(np.float32) * 0.5,
            b.astype(np.float64) + 1.0,
            a.astype(bool),
            np.maximum(a, b[0]),
            np.argmax(a),
        ]
        return [*out, np.sum(a == b), np.all(a == b, axis=1), np.any(a == b), np.concatenate([a, b])], {}

    check(function, [a, b])


def test_integer_sums_and_products_wrap_around() -> None:
    x = np.array([[2**62, 2**62, 3], [2**63 - 1, 1, -5]])
    check(
        lambda x, s: ([np.sum(x[0], axis=1), np.prod(x[0], axis=1), x[0] + x[0], x[0] * x[0], x[0] - x[0][::-1]], {}),
        [x],
    )


def test_casts_of_what_does_not_fit() -> None:
    x = np.array([0.9, -0.9, 1e30, -1e30, np.inf, -np.inf, np.nan, 2.0**63, -(2.0**63)])
    for dtype in KINDS:
        check(lambda x, s: ([x[0].astype(np.int64), x[0].astype(bool)], {}), [x.astype(dtype)])


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int8, np.uint8, np.uint64])
def test_one_hot_of_ids_that_are_no_class(dtype: Any) -> None:
    limits = np.iinfo(dtype)
    ids = np.array([0, 1, 2, 99, limits.max, max(limits.min, -1), limits.min, 3], dtype)
    for x in (ids, ids.reshape(2, 4), ids[:0], ids[1].reshape(()), ids[::2].copy()[::-1]):
        check(lambda x, s: ([cr.one_hot(x[0], 5), cr.one_hot(x[0][..., None], 3)], {}), [x])


def test_what_is_not_finite_passes() -> None:
    x = np.array([[1.0, np.inf, -0.0], [np.nan, 2.0, 0.0], [np.inf, -np.inf, 1e-310]])
    functions = [np.exp, np.tanh, np.sqrt, np.log, np.sign, np.square, np.abs, np.floor, cr.relu, cr.sigmoid]

    def function(x: Any, s: Any) -> Any:
        (x,) = x
        out = [f(x) for f in functions]
        out += [np.max(x, axis=a) for a in (0, 1, None)] + [np.min(x, axis=a) for a in (0, 1, None)]
        return [*out, np.sum(x, axis=0), np.argmax(x, axis=1), np.maximum(x, x.T), x / x.T, np.isnan(x)], {}

    for dtype in KINDS:
        with np.errstate(all="ignore"):
            check(function, [x.astype(dtype)])


# -- graphs ----------------------------------------------------------------------------------------------------------


@settings(max_examples=70, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), programs, shapes, dtypes)
def test_random_graphs(data: Any, program: Any, shapes: Any, dtype: Any) -> None:
    inputs = arrays(shapes, dtype)
    with np.errstate(all="ignore"):
        pool = interpret(program, inputs)
    out = data.draw(st.lists(st.integers(0, len(pool) - 1), min_size=1, max_size=4))
    check(lambda x, s: ([interpret(program, x)[i] for i in out], {}), inputs, threads=(1, 2), tolerance=None)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs, shapes, dtypes)
def test_gradients_of_random_graphs(program: Any, shapes: Any, dtype: Any) -> None:
    inputs = arrays(shapes, dtype)

    def gradients(x: Any, s: Any) -> Any:
        values = interpret(program, x)[len(x) :]
        total = sum([np.sum(np.tanh(v)) for v in values], np.sum(x[0]))
        found, _ = reverse([total], [constant(np.ones((), total.dtype))], list(x))
        return [total, *[g for g in found if g is not None]], {}

    check(gradients, inputs, tolerance=1e-11 if dtype == np.float64 else 1e-4)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), programs, shapes, dtypes)
def test_states_of_random_graphs(data: Any, program: Any, shapes: Any, dtype: Any) -> None:
    states = arrays(shapes, dtype)

    def step(x: Any, s: Any) -> Any:
        pool = interpret(program, s)
        fitting = [[v for v in pool if (v.shape, v.dtype) == (old.shape, old.dtype)] for old in s]
        return [pool[-1]], {k: 0.5 * f[-1] if k % 2 else f[chosen[k] % len(f)] for k, f in enumerate(fitting)}

    chosen = data.draw(st.lists(st.integers(0, 20), min_size=len(states), max_size=len(states)))
    check(step, [], states)


@pytest.mark.parametrize("dtype", KINDS)
def test_shapes_and_strides(dtype: Any) -> None:
    def function(x: Any, s: Any) -> Any:
        a, row, column, one = x
        y = np.tanh(a) * row - column
        out = [y, y.T + one, y[::-1, ::-2] * 2.0, (a + row)[1:, ::3], np.broadcast_to(row, (2, *a.shape)) - a]
        out += [a.T @ y, a[::-1] @ y.T, a[:, ::2] @ y[:, ::2].T, np.where(a > row, a.T[0, 0], y[..., :1]), np.exp(row)]
        out += [np.sum(y[::-1, ::2], axis=0), np.sum(a.T, axis=0), np.max(a.T, axis=1), np.min(y[:, ::-1], axis=0)]
        return [
            *out,
            a,
            a.T,
            np.ones((3, 2), dtype),
            one,
            np.reshape(a.T, -1),
            a[0] @ y[0],
            np.concatenate([a.T, y.T]),
        ], {}

    for n, m in ((4, 6), (1, 1), (1, 5), (5, 1), (33, 70), (3, 1500)):
        check(function, arrays([(n, m), (m,), (n, 1), ()], dtype))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), ()])
def test_no_elements_and_no_axes(shape: Any) -> None:
    def function(x: Any, s: Any) -> Any:
        (a,) = x
        out = [np.tanh(a) * a, a + 1.0, np.sum(a), np.prod(a), a[..., None] * np.ones(3), a.astype(np.int64)]
        if a.ndim == 2:
            out += [a.T @ a, a @ a.T, np.sum(a, axis=0), np.sum(a, axis=1), np.concatenate([a, a]), np.sum(a.T @ a)]
        return [*out, a], {}

    with np.errstate(all="ignore"):
        check(function, arrays([shape], float))


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("shape", [(500, 401), slow((200_001,)), slow((3, 70_000)), slow((70_000, 3)), (7, 300, 90)])
def test_large_chains(shape: Any, dtype: Any) -> None:
    def function(x: Any, s: Any) -> Any:
        x, row = x
        y = np.tanh(x * row) + x
        out = [y, cr.relu(y - row), np.where(y > 0, x, y[::-1]), np.sum(y), np.sum(y, axis=-1), np.sum(y, axis=0)]
        return [*out, np.max(y, axis=-1), np.exp(-y) * y - y[:1], np.mean(y.T, axis=0)], {}

    check(function, arrays([shape, shape[1:]], dtype), threads=(1, 2, 3), tolerance=None if dtype is float else 2e-5)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize(
    ("m", "k", "n"), [(128, 784, 128), slow(200, 100, 300), slow(1000, 1000, 1), (1, 900, 900), slow(60, 20_000, 50)]
)
def test_large_products(m: int, k: int, n: int, dtype: Any) -> None:
    def function(x: Any, s: Any) -> Any:
        a, b, bias = x
        z = a @ b + bias
        return [z, a.T @ z, z @ b.T, np.transpose(b.T @ a.T), np.tanh(z / k)], {}

    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    check(function, arrays([(m, k), (k, n), (n,)], dtype), threads=(1, 2, 3), tolerance=tolerance)


def test_products_of_stacks() -> None:
    def function(x: Any, s: Any) -> Any:
        a, b, c = x
        return [a @ b, b @ c, b[:1] @ c.T, np.transpose(b, (0, 2, 1)) @ b, a[:, 0] @ b[1], np.tanh(a @ b[::-1])], {}

    for dtype in KINDS:
        check(function, arrays([(3, 2, 4, 5), (2, 5, 4), (4, 4)], dtype), threads=(1, 2))
        check(function, arrays([(3, 2, 100, 64), (2, 64, 80), (80, 80)], dtype), threads=(1, 2, 3))


def test_products_of_stacks_and_one_matrix() -> None:
    def function(x: Any, s: Any) -> Any:
        a, b = x
        rows = [np.transpose(a, (1, 0, 2, 3)), a[:, :, ::2], a[:, :1], a[:, :, :1], a[::-1], a[:0]]
        return [y @ b for y in (a, *rows)] + [
            np.swapaxes(a, 2, 3) @ np.reshape(b, -1)[:8].reshape(4, 2),
            np.tanh(0.01 * (a @ b)),
        ], {}

    for dtype in KINDS:
        check(function, arrays([(3, 2, 4, 5), (5, 6)], dtype), threads=(1, 2))
        check(function, arrays([(3, 2, 4, 200), (200, 300)], dtype), threads=(1, 2, 3))


def test_constants_however_they_lie() -> None:
    table = np.random.default_rng(0).normal(size=(6, 5))
    flipped, turned = table[::-1, ::-1], table.T
    spread = np.broadcast_to(np.float64(2.5), (6, 5))

    def function(x: Any, s: Any) -> Any:
        c = [constant(v) for v in (table, flipped, spread, table[::2])]
        out = [x[0] + v for v in c[:3]] + [constant(turned) @ x[0], c[3] * 2.0, c[1], c[2], c[2][1:, ::2]]
        return [*out, x[0][:5, 0] + c[2][0], np.sum(c[1] * x[0]), x[0][1:] - c[2][1:]], {}

    check(function, arrays([(6, 5)], float))


# -- states ----------------------------------------------------------------------------------------------------------


def test_states() -> None:
    a = arrays([(40, 30)], float)
    two = arrays([(40, 30), (40, 30)], float)
    check(lambda x, s: ([np.sum(s[0] * x[0])], {0: s[0] - 0.1 * x[0]}), a, two[:1])
    check(lambda x, s: ([], {0: s[1], 1: s[0]}), [], two)
    check(lambda x, s: ([s[0], s[2][::-1]], {0: s[1], 1: s[2], 2: s[0]}), [], arrays([(4,), (4,), (4,)], float))
    check(lambda x, s: ([], {0: s[0] - s[1], 1: s[1] * s[0]}), [], two)
    check(lambda x, s: ([], {0: s[0].T}), [], arrays([(5, 5)], float))
    check(lambda x, s: ([], {0: s[0][::-1], 1: s[0].T + 0.0}), [], arrays([(5, 5), (5, 5)], float))
    check(lambda x, s: ([], {0: 2.0 * s[0] - s[0].T}), [], arrays([(90, 90)], float), threads=(1, 2, 3))
    check(lambda x, s: ([], {0: np.tanh(s[0]) - s[0][0]}), [], arrays([(400, 300)], float), threads=(1, 2, 3))
    check(lambda x, s: ([s[0][1:]], {0: np.where(s[0] > 0, s[0] * x[0], s[0]), 1: s[1]}), a, two)
    check(lambda x, s: ([], {0: s[0] + 1}), [], [np.array(3)])


def test_parts_of_a_state_that_nobody_reads_are_made_in_its_memory() -> None:
    def step(x: Any, s: Any) -> Any:
        return [], {0: np.concatenate([x[0] @ x[0], np.exp(x[0]), np.sum(x[0], axis=0, keepdims=True)])}

    inputs, old = arrays([(20, 20)], float), arrays([(41, 20)], float)
    check(step, inputs, old)
    plan = planned(step, inputs, old)
    (join,) = [made for made in plan.operations if made.op.name == "concatenate"]
    binding = NativeBinding(plan, old)
    assert all(np.shares_memory(binding.value(n), old[0]) for n in join.inputs)
    # of one that is read, before its new parts or with them
    check(lambda x, s: ([np.sum(s[0])], step(x, s)[1]), inputs, old)
    check(lambda x, s: ([s[0][::2]], step(x, s)[1]), inputs, old)
    check(lambda x, s: ([], step([x[0] * np.sum(s[0])], s)[1]), inputs, old)
    check(lambda x, s: ([], {0: np.concatenate([s[0][20:40] @ x[0], np.exp(s[0][:21])])}), inputs, old)
    check(lambda x, s: ([], {**step(x, s)[1], 1: s[0] + 1.0}), inputs, [*old, *old])


def test_states_of_a_wrong_form_are_refused() -> None:
    plan = planned(lambda x, s: ([], {0: s[0] + 1.0}), [], [np.zeros((3, 2))])
    with pytest.raises(ValueError, match=r"state 0 has shape \(2, 3\), float64; the plan was made for shape \(3, 2\)"):
        NativeBinding(plan, [np.zeros((2, 3))])
    locked = np.zeros((3, 2))
    locked.flags.writeable = False
    crooked = np.frombuffer(bytearray(49), np.uint8)[1:].view(float).reshape(3, 2)
    for bad in (locked, np.zeros((2, 3)).T, np.zeros((6, 2))[::2], crooked):
        with pytest.raises(ValueError, match="state 0: expected a writable C-ordered array"):
            NativeBinding(plan, [bad])
    with pytest.raises(ValueError, match="the plan has 1 states, 0 arrays were given"):
        NativeBinding(plan)


# -- inputs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 2), (100, 60)])
def test_inputs_are_read_where_they_are_or_copied_but_never_written(shape: Any) -> None:
    plan = planned(lambda x, s: ([x[0] * 2.0, x[0].T, x[0], x[0][1:, ::-1]], {}), arrays([shape], float))
    binding = NativeBinding(plan)
    n, m = shape
    crooked = np.frombuffer(bytearray(8 * n * m + 1), np.uint8)[1:].view(float).reshape(shape)
    locked = arrays([shape], float, 3)[0]
    locked.flags.writeable = False
    for x in (
        *arrays([shape], float, 1),
        np.asfortranarray(arrays([shape], float, 2)[0]),
        locked,
        crooked,
        np.ones((2 * n, m))[::2],
    ):
        for _ in range(2):
            before = x.copy()
            binding.run([x])
            found = [binding.value(k) for k in plan.outputs]
            for f, e in zip(found, [x * 2, x.T, x, x[1:, ::-1]], strict=True):
                np.testing.assert_array_equal(f, e)
            np.testing.assert_array_equal(x, before)
            if x.flags.writeable:
                x += 1.0  # the same array with other content is read anew
        binding.release()
    assert not np.shares_memory(binding.value(plan.inputs[0]), x)


def test_released_inputs_are_let_go() -> None:
    class Watched(np.ndarray):
        pass

    plan = planned(lambda x, s: ([x[0] * 2.0], {}), [np.zeros((100, 60))])
    binding = NativeBinding(plan)
    owner = np.ones(6000).view(Watched)
    seen = weakref.ref(owner)
    binding.run([np.asarray(owner).reshape(100, 60)])
    del owner
    gc.collect()
    assert seen() is not None or binding.value(plan.inputs[0])[0, 0] == 1
    binding.release()
    gc.collect()
    assert seen() is None
    binding.run()


def test_a_buffer_that_was_filled_need_not_be_given() -> None:
    for shape in ((3, 2), (100, 60)):
        plan = planned(lambda x, s: ([x[0] + x[1]], {}), arrays([shape, shape], float))
        binding = NativeBinding(plan)
        a, b = arrays([shape, shape], float)
        binding.run([a, b])
        binding.input_buffer(0)[...] = 7.0
        binding.run([None, b])
        near(binding.value(plan.outputs[0]), 7 + b)
        binding.input_buffer(1)[...] = 1.0
        binding.run()
        near(binding.value(plan.outputs[0]), np.full(shape, 8.0))
        binding.run([a])
        near(binding.value(plan.outputs[0]), a + 1)
        binding.run([binding.input_buffer(0), None])
        near(binding.value(plan.outputs[0]), np.full(shape, 8.0) if a.nbytes > 16_384 else a + 1)


def test_wrong_inputs_are_refused() -> None:
    binding = NativeBinding(planned(lambda x, s: ([x[0] + 1.0], {}), [np.zeros((3, 2))]))
    for bad in (np.zeros((2, 3)), np.zeros(2), np.zeros((3, 2), np.float32), np.zeros((3, 2), ">f8")):
        with pytest.raises(ValueError, match=r"input 0 has shape .*the plan was made for shape \(3, 2\), float64"):
            binding.run([bad])
    with pytest.raises(ValueError, match="2 inputs were given, the plan has 1"):
        binding.run([np.zeros((3, 2))] * 2)


def test_values_outlive_the_binding() -> None:
    states = arrays([(20, 20)], float)
    kept = states[0] * 0.5
    plan = planned(
        lambda x, s: ([s[0] * x[0], constant(np.full((20, 20), 3.0)), x[0].T], {0: s[0] * 0.5}),
        arrays([(20, 20)], float),
        states,
    )
    binding = NativeBinding(plan, states)
    x = arrays([(20, 20)], float, 5)
    before = states[0].copy()
    binding.run(x)
    found = [binding.value(n) for n in (*plan.outputs, plan.updates[0][1])]
    seen = weakref.ref(binding)
    del binding, states, plan
    gc.collect()
    assert seen() is None
    for f, e in zip(found, [before * x[0], np.full((20, 20), 3.0), x[0].T, kept], strict=True):
        near(f, e)


# -- steps that NumPy does -------------------------------------------------------------------------------------------


def test_steps_of_numpy_in_the_middle() -> None:
    def function(x: Any, s: Any) -> Any:
        a = np.tanh(x[0]) + 1.0
        b = np.linalg.inv(a @ a.T + 50.0 * np.eye(50)) @ a
        return [b, np.linalg.inv(a[:, :50]) + 1.0, np.sum(b)], {0: s[0] + np.cumsum(b, axis=0)}

    binding = check(function, arrays([(50, 60)], float), [np.zeros((50, 60))], tolerance=1e-9)
    assert binding.left_to_numpy == ("inv", "inv")


def test_a_plan_printed_says_which_steps_numpy_does() -> None:
    def function(x: Any, s: Any) -> Any:
        return [np.linalg.inv(x[0] * 2.0).named("inverse") * 3.0], {}

    plan = noted(planned(function, arrays([(4, 4)], float)), "native")
    lines = str(plan).splitlines()
    (line,) = [k for k in lines if "inv(" in k]
    assert line.endswith("# through NumPy; inverse")
    assert lines[-1] == "  1 of 3 steps through NumPy in the native engine"
    assert sum("through NumPy" in k for k in lines) == 2
    product = planned(lambda x, s: ([x[0] @ x[0]], {}), arrays([(4, 4)], float))
    assert "NumPy" not in str(noted(product, "native"))


def test_the_engine_looks_for_steps_without_a_kernel_only_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    module: Any = sys.modules["chainrule.engine.native"]
    original = module._native.without_kernel
    monkeypatch.setattr(module._native, "without_kernel", lambda *rows: asked.append(1) or original(*rows))
    inputs = arrays([(4, 4)], float)
    for function, times in ((lambda x, s: ([x[0] @ x[0]], {}), 0), (lambda x, s: ([np.linalg.inv(x[0])], {}), 1)):
        plan = planned(function, inputs)
        asked.clear()
        binding = NativeBinding(plan)
        binding.run(inputs)
        assert len(asked) == times
        np.testing.assert_allclose(
            binding.value(plan.outputs[0]), [inputs[0] @ inputs[0], np.linalg.inv(inputs[0])][times]
        )


def test_a_fused_step_that_numpy_does_is_said_too(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(lambda x, s: ([np.tanh(x[0]) * 2.0 + x[0]], {}), arrays([(4, 4)], float))
    monkeypatch.setattr("chainrule.engine.native.without_kernel", lambda plan: [0])
    (line,) = [k for k in str(noted(plan, "native")).splitlines() if "fused" in k]
    assert line.endswith("  # through NumPy")


def test_a_plan_is_printed_where_the_engine_was_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(lambda x, s: ([np.linalg.inv(x[0])], {}), arrays([(4, 4)], float))
    monkeypatch.setitem(sys.modules, "chainrule.engine.native", None)
    assert "NumPy" not in str(noted(plan, "numpy"))


class Stop(Exception):
    pass


def test_an_exception_within_a_step_leaves_the_binding_usable() -> None:
    x = arrays([(6, 6)], float)
    plan = planned(lambda x, s: ([np.linalg.inv(x[0] * 2.0) + 1.0], {0: s[0] + 1.0}), x, [np.zeros(3)])
    state = np.zeros(3)
    binding = NativeBinding(plan, [state], 2)
    (group,) = binding._calls
    kernel = binding._calls[group]

    def fail() -> None:
        raise Stop("within the step")

    expected = np.linalg.inv(x[0] * 2.0) + 1.0
    for _ in range(3):
        binding._calls[group] = fail
        with pytest.raises(Stop, match="within the step"):
            binding.run(x)
        binding._calls[group] = kernel
        binding.run(x)
        near(binding.value(plan.outputs[0]), expected)


def test_a_binding_that_runs_refuses_to_be_run_again() -> None:
    x = arrays([(6, 6)], float)
    plan = planned(lambda x, s: ([np.linalg.inv(x[0] * 2.0) + 1.0], {}), x)
    binding = NativeBinding(plan)
    (group,) = binding._calls
    binding._calls[group] = binding.run
    with pytest.raises(RuntimeError, match="this binding is running already"):
        binding.run(x)


def test_an_index_out_of_range_is_an_error() -> None:
    x, ids = np.arange(12.0).reshape(4, 3), np.array([0, -1, 3])
    plan = planned(lambda x, s: ([x[0][x[1]] * 2.0], {}), [x, ids])
    binding = NativeBinding(plan)
    for bad in (4, -5, 2**62, -(2**63)):
        with pytest.raises(IndexError, match="out of"):
            binding.run([x, np.array([0, bad, 1])])
        binding.run([x, ids])
        near(binding.value(plan.outputs[0]), x[ids] * 2)


# -- networks --------------------------------------------------------------------------------------------------------

ACTIVATIONS = [nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Softmax]
LOSSES = ["mse", "half_mse", "mae", "huber", "binary_cross_entropy", "cross_entropy", "hinge"]
OPTIMIZERS = [
    optim.SGD(0.1),
    optim.SGD(0.1, momentum=0.9),
    optim.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    optim.Adam(0.01),
    optim.AdamW(0.01),
    optim.RMSprop(0.01),
    optim.Adagrad(0.01),
    optim.Adam(0.01, clip_norm=1.0),
    optim.SGD(optim.Cosine(0.1, 100)),
]


def trains_alike(training: Training, threads: Any = (1,)) -> None:
    b = training.batch
    binding = check(training.plan(), [training.X[:b], training.y[:b]], training.states(), threads, runs=4)
    assert binding.left_to_numpy == ()


@pytest.mark.parametrize("activation", [*ACTIVATIONS, lambda: nn.GELU(approximate=True)])
def test_no_step_of_an_activation_is_left_to_numpy(activation: Any) -> None:
    trains_alike(Training((6, 9, 7, 4), activation, optim.SGD(0.1)))


@pytest.mark.parametrize("loss", LOSSES)
def test_no_step_of_a_loss_is_left_to_numpy(loss: str) -> None:
    trains_alike(Training((6, 9, 3), nn.Tanh, optim.SGD(0.1), loss))
    trains_alike(Training((2, 4, 1), nn.Sigmoid, optim.SGD(0.1), loss if loss != "cross_entropy" else "mse", batch=4))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
def test_no_step_of_an_optimizer_is_left_to_numpy(optimizer: Any) -> None:
    trains_alike(Training((6, 9, 3), nn.ReLU, optimizer))


def test_no_step_of_other_layers_is_left_to_numpy() -> None:
    trains_alike(Training((6, 9, 3), nn.ReLU, optim.SGD(0.1), dropout=0.4))
    trains_alike(Training((6, 9, 3), nn.ReLU, optim.Adam(0.1), layers=[nn.LayerNorm(6)]))
    trains_alike(Training((6, 9, 3), nn.ReLU, optim.Adam(0.1), layers=[nn.BatchNorm1d(6)]))
    more = [nn.Identity(), nn.Flatten(), nn.Linear(6, 6, bias=False)]
    trains_alike(Training((6, 9, 3), nn.ReLU, optim.SGD(0.1), layers=more))
    trains_alike(Training((6, 9, 3), nn.ReLU, optim.SGD(0.1), metrics={"accuracy": cr.train.metrics.accuracy}))


@pytest.mark.parametrize("optimizer", [optim.SGD(0.1), optim.Adam(0.01)])
def test_no_step_of_an_embedding_is_left_to_numpy(optimizer: Any) -> None:
    training = Training((12, 9, 3), nn.Tanh, optimizer, layers=[nn.Embedding(20, 3), nn.Flatten()])
    training.X = np.random.default_rng(1).integers(20, size=(40, 4))
    trains_alike(training, (1, 2))


def test_the_workloads() -> None:
    trains_alike(Training((2, 4, 1), nn.Sigmoid, optim.SGD(0.1), "half_mse", batch=4, rows=4))
    trains_alike(Training((64, 32, 10), nn.ReLU, optim.SGD(0.1), batch=32))
    trains_alike(Training((8, 16, 2), nn.Sigmoid, optim.SGD(0.1), batch=4))
    trains_alike(Training((64, 32, 10), nn.ReLU, optim.Adam(1e-3), batch=32), (1, 2))
    trains_alike(Training((784, 128, 10), nn.ReLU, optim.Adam(1e-3), batch=128, rows=128), (1, 2, 3))
    trains_alike(Training((784, 512, 512, 10), nn.ReLU, optim.SGD(0.1), batch=256, rows=256), (1, 2, 3))
    trains_alike(Training((4, 32, 16, 4), nn.Tanh, optim.Adam(1e-3), batch=10_000, rows=10_000), (1, 2, 3))


# -- threads ---------------------------------------------------------------------------------------------------------


def test_bindings_run_at_once() -> None:
    training = Training((200, 300, 10), nn.Tanh, optim.Adam(1e-3), batch=200, rows=200, dropout=0.2)
    plan = training.plan()
    data = [training.X, training.y]
    expected, states = run(plan, data, training.states(), runs=10)
    failures: list[BaseException] = []

    def work(threads: int) -> None:
        try:
            for _ in range(3):
                found, mine = run(plan, data, training.states(), threads, runs=10)
                for a, b in zip([*found, *mine], [*expected, *states], strict=True):
                    same_bits(a, b)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(1 + k % 3,)) for k in range(6)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert not failures, failures


def test_threads_out_of_range_are_refused() -> None:
    plan = planned(lambda x, s: ([x[0] + 1.0], {}), [np.zeros(3)])
    for threads in (-1, 10_000):
        with pytest.raises(ValueError, match=f"threads: expected 1 to 256, got {threads}"):
            NativeBinding(plan, threads=threads)


# -- whole runs of batches -------------------------------------------------------------------------------------------


class Runs:
    """A training on both ways: batch by batch, and by run_batches."""

    def __init__(self, training: Training, threads: int = 1) -> None:
        self.training, self.order = training, np.random.default_rng(2).permutation(len(training.X))
        self.states = training.states()
        b, left = training.batch, len(training.X) % training.batch
        self.binding = NativeBinding(training.plan(), self.states, threads)
        self.rest = NativeBinding(training.plan(left), self.states, threads) if left else None
        self.steps = -(-len(self.order) // b)
        self.results = np.full((self.steps, len(self.binding.plan.outputs)), -1.0)

    def run(self, milliseconds: float = 1e9, **changes: Any) -> int:
        t = self.training
        arguments = dict(
            rest=self.rest, X=t.X, y=t.y, order=self.order, first=0, size=t.batch, rows=len(self.order),
            results=self.results, milliseconds=milliseconds,
        )  # fmt: skip
        return self.binding.run_batches(**{**arguments, **changes})

    def stepwise(self, engine: Any) -> tuple[list[Any], Any]:
        t, states = self.training, self.training.states()
        bindings = {n: engine(t.plan(n), states) for n in {t.batch, len(t.X) % t.batch} - {0}}
        results = np.zeros_like(self.results)
        for s in range(self.steps):
            ids = self.order[s * t.batch : (s + 1) * t.batch]
            binding = bindings[len(ids)]
            binding.run([t.X[ids], t.y[ids]])
            results[s] = [binding.value(n) for n in binding.plan.outputs]
        return states, results


@pytest.mark.parametrize("rows", [40, 43, 8, 5])
@pytest.mark.parametrize("threads", [1, 2])
def test_batches_are_steps(rows: int, threads: int) -> None:
    training = Training(
        (6, 9, 3), nn.Tanh, optim.Adam(0.01), rows=rows, dropout=0.2, metrics={"accuracy": cr.train.metrics.accuracy}
    )
    runs = Runs(training, threads)
    assert runs.run() == runs.steps
    states, results = runs.stepwise(NativeBinding)
    same_bits(runs.results, results)
    for a, b in zip(runs.states, states, strict=True):
        same_bits(a, b)
    states, results = runs.stepwise(NumPyBinding)
    near(runs.results, results, 1e-5)
    for a, b in zip(runs.states, states, strict=True):
        near(a, b, 1e-5)


def test_batches_follow_the_order_from_where_they_are_told_to() -> None:
    runs = Runs(Training((6, 9, 3), nn.Tanh, optim.SGD(0.1), rows=43))
    whole = Runs(runs.training)
    whole.run()
    for first, rows in ((0, 8), (8, 16), (24, 19)):
        made = runs.run(first=first, rows=rows, results=runs.results[first // 8 :])
        assert made == -(-rows // 8)
    same_bits(runs.results, whole.results)
    assert runs.run(first=43, rows=0) == 0
    for a, b in zip(runs.states, whole.states, strict=True):
        same_bits(a, b)


def test_a_rest_that_is_the_whole() -> None:
    runs = Runs(Training((6, 9, 3), nn.Tanh, optim.SGD(0.1), rows=8))
    assert runs.run(rest=runs.binding) == 1


def test_batches_stop_where_the_loss_is_not_finite() -> None:
    training = Training((6, 9, 3), nn.Tanh, optim.SGD(0.1), rows=40)
    training.X[17, 2] = np.nan
    runs = Runs(training)
    runs.order = np.arange(40)
    assert runs.run() == 3
    assert np.isfinite(runs.results[:2]).all()
    assert np.isnan(runs.results[2, 0])
    assert (runs.results[3:] == -1).all()


def test_batches_stop_when_time_is_over() -> None:
    training = Training((6, 9, 3), nn.Tanh, optim.SGD(1e-6), rows=20_000, batch=2)
    runs, slices = Runs(training), 0
    made = runs.run(0.0)
    assert made == 1
    while made < runs.steps:
        made += runs.run(1.0, first=2 * made, rows=20_000 - 2 * made, results=runs.results[made:])
        slices += 1
    assert slices > 1
    whole = Runs(training)
    whole.run()
    same_bits(runs.results, whole.results)


def test_batches_on_inputs_that_an_earlier_run_read_where_they_lay() -> None:
    training = Training((200, 9, 3), nn.Tanh, optim.SGD(0.1), rows=80, batch=40)
    runs, other = Runs(training), Runs(training)
    kept = training.X[:40].copy()
    runs.binding.run([kept, training.y[:40]])
    for state, start in zip(runs.states, other.states, strict=True):
        np.copyto(state, start)
    runs.run()
    other.run()
    same_bits(runs.results, other.results)
    np.testing.assert_array_equal(kept, training.X[:40])


def test_batches_with_wrong_arguments_are_refused() -> None:
    training = Training((6, 9, 3), nn.Tanh, optim.SGD(0.1), rows=43)
    runs = Runs(training)
    before = [s.copy() for s in runs.states]
    order = runs.order
    far, low = order.copy(), order.copy()
    far[42], low[0] = 43, -1
    big = 2**62
    X, y = training.X, training.y
    wrong: list[dict[str, Any]] = [
        {"rest": None},
        {"rest": runs.binding},
        {"size": 9},
        {"size": 0},
        {"size": -8},
        {"size": big},
        {"first": -1},
        {"first": 1},
        {"first": big, "rows": big},
        {"rows": -1},
        {"rows": 44},
        {"rows": big},
        {"order": far},
        {"order": low},
        {"order": order.astype(np.int32)},
        {"order": order[::-1]},
        {"order": order.reshape(1, -1)},
        {"order": order[:10]},
        {"results": runs.results[:-1]},
        {"results": runs.results.astype(np.float32)},
        {"results": np.zeros((2, 12))[:, ::2].T},
        {"X": X[:40]},
        {"X": X[:, :5]},
        {"X": X.astype(float)},
        {"X": np.asfortranarray(X)},
        {"X": X[::-1]},
        {"X": X[:, 0]},
        {"y": y[:40]},
        {"y": y.astype(np.int32)},
        {"y": y[:, None]},
        {"y": y[::-1]},
    ]
    for changes in wrong:
        with pytest.raises(ValueError):
            runs.run(**changes)
    other = NativeBinding(planned(lambda x, s: ([np.sum(x[0])], {}), [X[:3]]))
    vector = NativeBinding(planned(lambda x, s: ([x[0][:, 0] * x[1]], {}), [X[:3], y[:3]]))
    for binding in (other, vector):
        with pytest.raises(ValueError):
            runs.run(rest=binding)
        with pytest.raises((ValueError, IndexError)):
            binding.run_batches(None, X, y, order, 0, 3, 3, runs.results, 1e9)
    for a, b in zip(runs.states, before, strict=True):
        same_bits(a, b)
    assert runs.run() == runs.steps


# -- malformed programs ----------------------------------------------------------------------------------------------

PLANS = plans()


@pytest.mark.parametrize("examples", [50, slow(some(2000))])
def test_malformed_programs_are_never_executed(examples: int) -> None:
    unhealthy = [HealthCheck.too_slow, HealthCheck.data_too_large]

    @settings(max_examples=examples, deadline=None, suppress_health_check=unhealthy)
    @given(st.data(), st.integers(0, len(PLANS) - 1), st.integers(1, 3))
    def check(data: Any, k: int, changes: int) -> None:
        rows: Any = described(PLANS[k])
        for _ in range(changes):
            rows = mutate(data, rows)
        attempt(PLANS[k], rows, threads=1)

    check()


def test_well_formed_programs_are_executed() -> None:
    for plan in PLANS:
        assert attempt(plan, described(plan), 2)
