"""The NumPy engine computes what NumPy computes: for each row of the table and for random graphs."""

import gc
import threading
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import ops
from chainrule.compiled import compile
from chainrule.core.apply import apply
from chainrule.core.op import Example, Operation
from chainrule.core.reverse import reverse
from chainrule.core.tensor import constant
from chainrule.engine import bind, choose
from tests.ops.checking import points
from tests.plan.graphs import arrays, blocks_of, close, dtypes, interpret, planned, programs, shapes
from tests.tables import for_each

CASES = [pytest.param(op, e, id=f"{op.name}-{i}") for op in ops.rows() for i, e in enumerate(points(op))]


def run(function: Any, inputs: Any, block: int = 8) -> tuple[list[Any], Any]:
    """Plan ``function(*inputs) -> list``, run it twice, return the results and the plan."""
    plan = planned(lambda x, s: (function(*x), {}), inputs)
    with blocks_of(block):
        binding = bind(plan)
    with np.errstate(all="ignore"):
        for _ in range(2):
            binding.run(inputs)
    return [binding.value(n).copy() for n in plan.outputs], plan


def casted(inputs: Any, dtype: Any) -> list[Any]:
    return [np.asarray(x).astype(dtype) if np.asarray(x).dtype.kind == "f" else np.asarray(x) for x in inputs]


@for_each("dtype", [np.float32, np.float64])
@for_each(("op", "example"), CASES, every=3)
def test_every_row_runs_as_eagerly(op: Operation, example: Example, dtype: Any) -> None:
    inputs = casted(example.inputs, dtype)
    attrs = dict(example.attrs)
    if "dtype" in attrs and attrs["dtype"].kind == "f":
        attrs["dtype"] = np.dtype(dtype)
    expected = np.asarray(op.evaluate(*inputs, **attrs))
    (found,), _ = run(lambda *xs: [apply(op, xs, attrs)], inputs)
    close(found, expected.astype(found.dtype))
    assert expected.dtype == found.dtype


@for_each(("op", "example"), [c for c in CASES if c.values[0].differentiable], every=3)
def test_every_row_differentiates_as_eagerly(op: Operation, example: Example) -> None:
    inputs = casted(example.inputs, np.float64)
    places = [k for k, x in enumerate(inputs) if x.dtype.kind == "f"]
    if not places:
        return

    def gradients(*xs: Any) -> Any:
        out = apply(op, tuple(xs), dict(example.attrs))
        weights = np.random.default_rng(1).normal(size=out.shape)
        found, _ = reverse([out], [constant(weights)], [xs[k] for k in places])
        return [np.zeros(inputs[k].shape) if g is None else g for k, g in zip(places, found, strict=True)]

    leaves = [cr.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    expected = gradients(*leaves)
    found, _ = run(gradients, inputs)
    for f, e in zip(found, expected, strict=True):
        close(f, e.detach().numpy() if isinstance(e, cr.Tensor) else e, 1e-10)


@settings(max_examples=70, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), programs, shapes, dtypes, st.sampled_from([1, 6, 10_000]))
def test_random_graphs(data: Any, program: Any, shapes: Any, dtype: Any, block: int) -> None:
    inputs = arrays(shapes, dtype)
    with np.errstate(all="ignore"):
        pool = interpret(program, inputs)
    out = data.draw(st.lists(st.integers(0, len(pool) - 1), min_size=1, max_size=4))
    found, _ = run(lambda *xs: [interpret(program, xs)[i] for i in out], inputs, block)
    for f, i in zip(found, out, strict=True):
        close(f, pool[i])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs, shapes, st.sampled_from([1, 6, 10_000]))
def test_gradients_of_random_graphs(program: Any, shapes: Any, block: int) -> None:
    inputs = arrays(shapes, np.float64)

    def total(*xs: Any) -> Any:
        values = interpret(program, xs)[len(xs) :]
        return sum([np.sum(np.tanh(v)) for v in values], np.sum(xs[0]))

    step = cr.value_and_grad(total, tuple(range(len(inputs))), allow_unused=True)
    with blocks_of(block), np.errstate(all="ignore"):
        value, gradients = step(*inputs)
        compiled_value, compiled_gradients = compile(step)(*inputs)
    close(compiled_value, value, 1e-10)
    for f, e in zip(compiled_gradients, gradients, strict=True):
        close(f, e, 1e-10)


@pytest.mark.parametrize("shape", [(1,), (1, 1), (500, 401), (200_001,), (3, 70_000), (70_000, 3)])
def test_blocks_of_rows(shape: Any) -> None:
    x, row = arrays([shape, shape[1:]], np.float32)

    def function(x: Any, row: Any) -> Any:
        y = np.tanh(x * row) + x
        return [y, cr.relu(y - row), np.where(y > 0, x, y[::-1])]

    found, _ = run(function, [x, row], block=1000)
    y = np.tanh(x * row) + x
    for f, e in zip(found, [y, np.maximum(y - row, 0), np.where(y > 0, x, y[::-1])], strict=True):
        close(f, e)


def test_a_result_read_through_a_view_in_the_same_chain() -> None:
    def function(x: Any) -> Any:
        y = np.tanh(x)
        z = y + np.transpose(y) * 2.0
        return [np.exp(z[::-1]) - z + z[0]]

    x = arrays([(40, 40)], np.float64)
    found, _ = run(function, x, block=100)
    close(found[0], function(x[0])[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, (0, 1), (1, 2), (0, 2)])
def test_sums(axis: Any, dtype: Any) -> None:
    x = np.random.default_rng(0).normal(size=(3, 50, 200)).astype(dtype)
    found, _ = run(lambda x: [np.sum(x, axis=axis), np.sum(x, axis=axis, keepdims=True), np.sum(x.T, axis=axis)], [x])
    wide = x.astype(np.float64)
    for f, e in zip(found, [wide.sum(axis), wide.sum(axis, keepdims=True), wide.T.sum(axis)], strict=True):
        close(f, e.astype(dtype), 1e-5 if dtype == np.float32 else 1e-12)


def test_a_long_float32_sum_stays_accurate() -> None:
    x = np.full(10_000_000, 0.1, np.float32)
    (found,), _ = run(lambda x: [np.sum(x)], [x])
    assert abs(found / 1e6 - 1) < 1e-6


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int8, np.uint8, np.uint64])
@pytest.mark.parametrize("classes", [3, 100, 300])
def test_one_hot_of_ids_that_are_no_class_is_nan(dtype: Any, classes: int) -> None:
    limits = np.iinfo(dtype)
    ids = np.array([0, 1, 2, 99, limits.max, max(limits.min, -1), limits.min, 3], dtype)
    for x in (ids, ids.reshape(2, 4), ids[:0], ids[1].reshape(())):
        (found,), _ = run(lambda x: [cr.one_hot(x, classes)], [x])
        expected = (x[..., None] == np.arange(classes)).astype(np.float32)
        expected[(x < 0) | (x >= classes)] = np.nan
        np.testing.assert_array_equal(found, expected)


def test_infinities_and_nan_pass_sums() -> None:
    x = np.array([[1.0, np.inf], [np.nan, 2.0], [np.inf, -np.inf]])
    found, _ = run(lambda x: [np.sum(x, axis=1), np.sum(x, axis=0), np.sum(x)], [x])
    with np.errstate(all="ignore"):
        for f, e in zip(found, [x.sum(1), x.sum(0), x.sum()], strict=True):
            np.testing.assert_array_equal(f, e)


# -- inputs -------------------------------------------------------


def test_inputs_are_read_where_they_are_or_copied_but_never_written() -> None:
    plan = planned(lambda x, s: ([x[0] * 2.0, x[0].T], {}), arrays([(100, 60)], float))
    binding = bind(plan)
    for x in (
        *arrays([(100, 60)], float, 1),
        np.asfortranarray(arrays([(100, 60)], float, 2)[0]),
        arrays([(200, 60)], float)[0][::2],
    ):
        for _ in range(2):
            before = x.copy()
            binding.run([x])
            close(binding.value(plan.outputs[0]), x * 2)
            close(binding.value(plan.outputs[1]), x.T)
            np.testing.assert_array_equal(x, before)
            x += 1.0  # the same array with other content is read anew


def test_a_buffer_that_was_filled_need_not_be_given() -> None:
    for shape in ((3, 2), (100, 60)):
        plan = planned(lambda x, s: ([x[0] + x[1]], {}), arrays([shape, shape], float))
        binding = bind(plan)
        a, b = arrays([shape, shape], float)
        binding.run([a, b])
        binding.input_buffer(0)[...] = 7.0
        binding.run([None, b])
        close(binding.value(plan.outputs[0]), 7 + b)
        binding.input_buffer(1)[...] = 1.0
        binding.run()
        close(binding.value(plan.outputs[0]), np.full(shape, 8.0))
        binding.run([a])
        close(binding.value(plan.outputs[0]), a + 1)


def test_wrong_inputs_are_refused() -> None:
    binding = bind(planned(lambda x, s: ([x[0] + 1.0], {}), [np.zeros((3, 2))]))
    for bad in (np.zeros((2, 3)), np.zeros(2), np.zeros((3, 2), np.float32)):
        with pytest.raises(ValueError, match=r"input 0 has shape .*the plan was made for shape \(3, 2\), float64"):
            binding.run([bad])
    with pytest.raises(ValueError, match="2 inputs were given, the plan has 1"):
        binding.run([np.zeros((3, 2))] * 2)
    assert not binding.value(binding.plan.inputs[0]).any()


def test_engines_are_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose("numpy") == "numpy"
    monkeypatch.setenv("CHAINRULE_ENGINE", "numpy")
    assert choose() == "numpy"
    with pytest.raises(ValueError, match=r"engine: .*'abacus'"):
        choose("abacus")
    plan = planned(lambda x, s: ([x[0]], {}), [np.zeros(2)])
    with pytest.raises(ValueError, match=r"threads: .* 0"):
        bind(plan, threads=0)


# -- nothing is allocated -------------------------------------------------------


def network(layers: Any, batch: int) -> tuple[Any, list[Any], list[Any]]:
    """Return the step of a network with SGD, its batch and its parameters."""
    rng = np.random.default_rng(0)
    states = []
    for a, b in pairwise(layers):
        states += [(rng.normal(size=(a, b)) / np.sqrt(a)).astype(np.float32), np.zeros(b, np.float32)]

    def step(x: Any, s: Any) -> Any:
        activation = x[0]
        for k in range(0, len(s), 2):
            z = activation @ s[k] + s[k + 1]
            activation = cr.relu(z) if k + 2 < len(s) else z
        loss = np.mean(ops.cross_entropy_with_logits(activation, cr.one_hot(x[1], layers[-1])))
        gradients, _ = reverse([loss], [constant(np.ones((), np.float32))], s)
        return [loss], {k: p - np.float32(0.1) * g for k, (p, g) in enumerate(zip(s, gradients, strict=True))}

    inputs = [rng.normal(size=(batch, layers[0])).astype(np.float32), rng.integers(layers[-1], size=batch)]
    return step, inputs, states


@pytest.mark.parametrize(("layers", "batch"), [((64, 32, 10), 32), ((784, 128, 10), 128)])
def test_a_training_step_allocates_no_arrays(layers: Any, batch: int) -> None:
    step, inputs, states = network(layers, batch)
    binding = bind(planned(step, inputs, states), states)
    losses = []
    for _ in range(3):
        binding.run(inputs)
        losses.append(float(binding.value(binding.plan.outputs[0])))
    assert losses[2] < losses[1] < losses[0]
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(100):  # NumPy keeps small freed blocks for later
            binding.run(inputs)
        kept, most = zip(*(_traced_over(lambda: binding.run(inputs), 100) for _ in range(5)), strict=True)
    finally:
        tracemalloc.stop()
    # Threads of the test runner allocate at times too, but not in each of five rounds.
    assert min(kept) < 512
    assert min(most) < 8192 * 4 + 4096, "more than the buffer that NumPy's iterator takes to broadcast"


def _traced_over(run: Callable[[], Any], count: int) -> tuple[int, int]:
    """Return the bytes that calls leave allocated, and the most at any time, beyond those before them."""
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    for _ in range(count):
        run()
    after, peak = tracemalloc.get_traced_memory()
    return after - before, peak - before


def test_two_bindings_of_one_plan_run_at_once() -> None:
    x = arrays([(64, 64)], float)
    plan = planned(
        lambda x, s: ([np.tanh(x[0] @ x[0]), np.sum(x[0], axis=0)], {0: s[0] + x[0]}), x, [np.zeros((64, 64))]
    )
    states = [np.zeros((64, 64)) for _ in range(4)]
    failures = []

    def work(state: Any) -> None:
        try:
            binding = bind(plan, [state])
            for _ in range(50):
                binding.run(x)
                close(binding.value(plan.outputs[0]), np.tanh(x[0] @ x[0]))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(s,)) for s in states]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
    for s in states:
        close(s, 50 * x[0], 1e-10)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_rows_added_by_number_from_either_end(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(-300 if dtype == np.int64 else 0, 200, 500).astype(dtype)
    g = rng.normal(size=(500, 3))
    (found,), _ = run(lambda g, ids: [ops.index.scatter_add(g, (ids,), (300, 3))], [g, ids])
    expected = np.zeros((300, 3))
    for i, row in zip(ids, g, strict=True):
        expected[int(i)] += row
    close(found, expected)
    plan = planned(lambda x, s: ([ops.index.scatter_add(x[0], (x[1],), (100, 3))], {}), [g, ids])
    with pytest.raises(IndexError, match="is out of bounds for axis 0 with size 100"):
        bind(plan, engine="numpy").run([g, ids])
