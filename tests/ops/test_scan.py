"""`scan` against the loop that it stands for: values, derivatives of both orders, engines, dtypes and sizes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import engine
from chainrule.core.tree import flatten, unflatten
from tests.tables import for_each

ENGINES = engine.available()
Program = Callable[[Any, Any], Any]


def loop(f: Any, init: Any, xs: Any, length: int | None = None, reverse: bool = False) -> Any:
    """The definition, in plain Python."""
    slices, structure = flatten(xs)
    steps = len(slices[0]) if slices else length
    assert steps is not None
    carry, found = init, {}
    for t in reversed(range(steps)) if reverse else range(steps):
        carry, found[t] = f(carry, unflatten(structure, [x[t] for x in slices]))
    columns = [flatten(found[t])[0] for t in range(steps)]
    stacked = [np.stack(column) for column in zip(*columns, strict=True)]
    return carry, unflatten(flatten(found[0])[1], stacked)


def draw(*shape: int, dtype: Any = float, seed: int = 0) -> Any:
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(dtype) * np.asarray(0.6, dtype)


def rnn(scan: Any, w: Any, x: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = np.tanh(x @ w["u"][:3] + h @ w["u"][3:] + w["b"])
        return h, h

    return scan(step, w["h"], x)


def lstm(scan: Any, w: Any, x: Any) -> Any:
    def step(state: Any, x: Any) -> Any:
        h, c = state["h"], state["c"]
        z = np.concatenate([x, h], axis=1) @ w["v"] + np.concatenate([w["b"]] * 4)
        i, f, g, o = (z[:, 4 * k : 4 * k + 4] for k in range(4))
        c = cr.sigmoid(f) * c + cr.sigmoid(i) * np.tanh(g)
        h = cr.sigmoid(o) * np.tanh(c)
        return {"h": h, "c": c}, (h, [c])

    return scan(step, {"h": w["h"], "c": np.zeros_like(w["h"])}, x)


def single(scan: Any, w: Any, x: Any) -> Any:
    """Of vectors, so that products with matrices are outer products in the reverse pass."""

    def step(h: Any, x: Any) -> Any:
        return np.sin(h @ w["u"][3:] + x @ w["u"][:3]), h * x[0]

    return scan(step, w["b"], x[:, 0])


def numbers(scan: Any, w: Any, x: Any) -> Any:
    return scan(lambda c, x: (c * np.cos(x[0, 0]) + x[1, 1], None), 0.5, x)[0]


def backwards(scan: Any, w: Any, x: Any) -> Any:
    return scan(lambda c, x: (c * w["b"][:3] + x, (c, x * c)), x[0] * 2, {"x": x}["x"], reverse=True)


def nested(scan: Any, w: Any, x: Any) -> Any:
    def row(total: Any, x: Any) -> Any:
        return total * 0.5 + np.tanh(x * w["b"][:3]), total

    def step(c: Any, x: Any) -> Any:
        c, rows = scan(row, c, x)
        return c, np.sum(rows * w["b"][0], axis=0)

    return scan(step, w["b"][1:], x)


def remembered(scan: Any, w: Any, x: Any) -> Any:
    def layer(h: Any, x: Any) -> Any:
        return np.tanh(np.tanh(h @ w["u"][3:] + x @ w["u"][:3]) @ w["u"][3:])

    again = cr.checkpoint(lambda u, h, x: np.tanh(np.tanh(h @ u[3:] + x @ u[:3]) @ u[3:])) if scan is cr.scan else None

    def step(h: Any, x: Any) -> Any:
        h = again(w["u"], h, x) if again else layer(h, x)
        return h, h

    return scan(step, w["h"], x)


def counted(scan: Any, w: Any, x: Any) -> Any:
    """A carry of integers, which is an index, too."""

    def step(c: Any, x: Any) -> Any:
        n, total = c
        return (n + 1, total + w["u"][n, 0] * np.where(x > 0, x, 0.1 * x)), n * 2

    (n, total), twice = scan(step, (0, np.zeros_like(x[0])), x)
    return total, np.sum(twice) * 1.0 + n


def without(scan: Any, w: Any, x: Any) -> Any:
    return scan(lambda h, _: (np.tanh(h @ w["u"][3:]), w["b"] * 2), w["h"], None, length=4)


def passing(scan: Any, w: Any, x: Any) -> Any:
    """What is passed on, ignored, repeated and constant."""

    def step(c: Any, x: Any) -> Any:
        a, b, unused = c
        return (b, a, unused * x[0]), (x, x, a, np.ones(2))

    (a, b, _), ys = scan(step, (w["b"], w["b"] ** 2, w["b"][:3]), x)
    return a, b, ys


def kernels(scan: Any, w: Any, x: Any) -> Any:
    """Stacks of products, whose gradients are sums over steps and over the stack."""

    def step(h: Any, x: Any) -> Any:
        s = np.matmul(x[:, None, :] * w["b"][:3], w["u"][:3])
        return h + s[:, 0], cr.softmax(s[:, 0] / (1 + h**2)) @ w["u"][3:]

    return scan(step, w["h"], x)


def extremes(scan: Any, w: Any, x: Any) -> Any:
    def step(c: Any, x: Any) -> Any:
        return np.maximum(c, x), np.sqrt(np.where(x > 0, x, 1.0)) + np.max(c, axis=0, keepdims=True)

    return scan(step, x[0] * w["b"][0], x)


def sliced(scan: Any, w: Any, x: Any) -> Any:
    """The reverse pass reads a part of one product, all of another, overlapping parts of a third, and of the carry."""

    def step(h: Any, x: Any) -> Any:
        z = h @ w["v"][:4]
        h = np.tanh(z[:, :4]) * z[:, 8:12] + np.sin(h[:, :1] * h[:, 3:])
        y = x @ w["v"][4:]
        q = (h * h) @ w["v"][:4]
        return h, (np.cos(y) * y[:, :1], q[:, 1:7] * q[:, 3:9] * q[:, 9, None], np.square(h.T[2:3]))

    return scan(step, w["h"], x)


PROGRAMS = [
    rnn, lstm, single, numbers, backwards, nested, remembered, counted, without, passing, kernels, extremes, sliced,
]  # fmt: skip
SIZES = {"some": (5, 2), "one step": (1, 2), "no example": (3, 0)}


def inputs(steps: int = 5, batch: int = 2, dtype: Any = float) -> tuple[Any, Any]:
    w = {"u": draw(7, 4, dtype=dtype), "v": draw(7, 16, dtype=dtype), "b": draw(4, dtype=dtype)}
    return {**w, "h": draw(batch, 4, dtype=dtype)}, draw(steps, batch, 3, dtype=dtype)


def total(program: Any, scan: Any) -> Any:
    """Return a scalar function of all results, weighted so that each counts differently."""

    def f(w: Any, x: Any) -> Any:
        leaves, _ = flatten(program(scan, w, x))
        return sum(np.sum(np.sin(y + k) * (k + 1)) for k, y in enumerate(leaves))

    return f


def close(found: Any, expected: Any, tolerance: float = 1e-9) -> None:
    for a, b in zip(flatten(found)[0], flatten(expected)[0], strict=True):
        assert np.shape(a) == np.shape(b)
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_allclose(a, b, tolerance, tolerance)


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_is_the_loop(program: Any) -> None:
    w, x = inputs()
    expected = program(loop, w, x)
    close(program(cr.scan, w, x), expected)
    for name in ENGINES:
        close(cr.compile(lambda w, x: program(cr.scan, w, x), engine=name)(w, x), expected)


def second(f: Any) -> Any:
    """Return the derivative of the gradient along a direction that depends on the place."""

    def along(w: Any, x: Any) -> Any:
        parts = flatten(cr.grad(f, (0, 1), allow_unused=True)(w, x))[0]
        return sum(np.sum(np.cos(g) * (k + 1)) for k, g in enumerate(parts))

    return cr.grad(along, (0, 1), allow_unused=True)


def check_derivative(program: Any, derivative: Any, engines: Any) -> None:
    w, x = inputs()
    expected = derivative(total(program, loop))(w, x)
    close(derivative(total(program, cr.scan))(w, x), expected)
    for name in engines:
        step = cr.compile(derivative(total(program, cr.scan)), engine=name)
        close(step(w, x), expected)
        cr.verify(step)


@pytest.mark.parametrize("program", PROGRAMS)
def test_gradients(program: Any) -> None:
    check_derivative(program, lambda f: cr.grad(f, (0, 1), allow_unused=True), ENGINES)


def test_second_derivatives() -> None:
    check_derivative(rnn, second, ENGINES[:1])


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_second_derivatives_of_all(program: Any) -> None:
    check_derivative(program, second, ENGINES)


@for_each("size", SIZES)
def test_sizes_and_float32(size: str) -> None:
    for program in (rnn, backwards, counted):
        for name, dtype in zip(ENGINES, (np.float32, np.float64), strict=False):
            w, x = inputs(*SIZES[size], dtype=dtype)
            expected = cr.grad(total(program, loop), (0, 1), allow_unused=True)(w, x)
            step = cr.compile(cr.grad(total(program, cr.scan), (0, 1), allow_unused=True), engine=name)
            close(step(w, x), expected, 1e-9 if dtype is np.float64 else 2e-4)


def test_no_step() -> None:
    w, x = inputs(0)
    for scan in (cr.scan, *(cr.compile(lambda w, x: rnn(cr.scan, w, x), engine=name) for name in ENGINES)):
        h, ys = scan(w, x) if isinstance(scan, cr.Compiled) else rnn(scan, w, x)
        np.testing.assert_array_equal(h, w["h"])
        assert ys.shape == (0, 2, 4)
    for name in ENGINES:
        dw = cr.compile(cr.grad(lambda w: np.sum(rnn(cr.scan, w, x)[0] ** 2), allow_unused=True), engine=name)(w)
        np.testing.assert_allclose(dw["h"], 2 * w["h"])
        assert not dw["u"].any() and not dw["b"].any()


def test_jvp_vmap_and_jacobian_of_compiled_loops() -> None:
    w, x = inputs()

    def f(scan: Any) -> Any:
        return lambda b, x: rnn(scan, {**w, "b": b}, x)[1]

    expected = cr.jacobian(f(loop))(w["b"], x)
    for name in ENGINES:
        close(cr.compile(lambda b, x: cr.jacobian(f(cr.scan))(b, x), engine=name)(w["b"], x), expected)
        tangent = cr.compile(lambda b, x: cr.jvp(f(cr.scan), (b, x), (b, x))[1], engine=name)(w["b"], x)
        close(tangent, cr.jvp(f(loop), (w["b"], x), (w["b"], x))[1])
    bs = np.stack([w["b"], w["b"] * 2, w["b"] - 1])
    each = cr.vmap(f(cr.scan), in_axes=(0, None))
    close(each(bs, x), np.stack([f(loop)(b, x) for b in bs]))
    close(cr.compile(lambda bs, x: each(bs, x))(bs, x), np.stack([f(loop)(b, x) for b in bs]))
    both = cr.vmap(f(cr.scan), in_axes=(0, 1))
    xs = np.moveaxis(np.stack([x, x + 1, x * 2]), 0, 1)
    close(cr.compile(lambda bs, x: both(bs, x))(bs, xs), np.stack([f(loop)(b, xs[:, k]) for k, b in enumerate(bs)]))


def test_numbers_as_arguments() -> None:
    for n, xs in ((2, np.arange(3)), (2.5, np.arange(3.0)), (2, np.arange(3.0)), (1.5, np.arange(3, dtype="f"))):
        expected = loop(lambda c, x: (c + x, c * x), n, xs)
        for name in ENGINES:
            run = cr.compile(lambda n, xs: cr.scan(lambda c, x: (c + x, c * x), n, xs), engine=name)
            close(run(n, xs), expected)


def test_gradcheck() -> None:
    w, x = inputs()
    assert cr.gradcheck(lambda w, x: rnn(cr.scan, w, x)[1], w, x)


def test_plans_do_not_grow_with_the_steps() -> None:
    step = cr.compile(cr.grad(total(rnn, cr.scan), (0, 1), allow_unused=True))
    w, x = inputs(10)
    short, long = step.plan(w, x), step.plan(w, draw(10_000, 2, 3))
    assert [len(p.steps) for p in (short, long)] == [len(short.steps)] * 2
    assert len(short.operations) < 20


def test_only_what_is_read_is_computed_and_kept() -> None:
    w, x = inputs(10)
    values = cr.compile(lambda w, x: rnn(cr.scan, w, x)[1]).plan(w, x)
    assert len(values.steps[0].body.outputs) == 1  # type: ignore[union-attr]
    gradient = cr.compile(cr.grad(total(lstm, cr.scan), allow_unused=True)).plan(w, x)
    forward = next(s for s in gradient.steps if s.op.name == "scan")  # type: ignore[union-attr]
    assert len(forward.body.outputs) == 9  # type: ignore[union-attr]  # i f g o c h tanh(c), and [x h], c before
    again = cr.compile(cr.grad(total(remembered, cr.scan), allow_unused=True)).plan(w, x)
    forward = next(s for s in again.steps if s.op.name == "scan")  # type: ignore[union-attr]
    assert len(forward.body.outputs) == 2  # type: ignore[union-attr]  # h, before and after

    def gate(scan: Any, w: Any, x: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            z = h @ w["v"][:4]
            return np.tanh(z[:, :4]) * z[:, 8:12] + x[:, :1], None

        return scan(step, w["h"], x)[0]

    parts = cr.compile(cr.grad(total(gate, cr.scan), allow_unused=True)).plan(w, x)
    forward = next(s for s in parts.steps if s.op.name == "scan")  # type: ignore[union-attr]
    widths = [forward.body.values[n].shape[-1] for n in forward.body.outputs]  # type: ignore[union-attr]
    assert widths == [4] * 3, str(parts)  # of the product only what is read


#: What is read of all states, of shape (steps, 2, 3, 4): their axes in another order, of which an index takes some; and
#: whether the gradient with respect to them is made in the order in which the loop reads it.
READ: dict[str, tuple[tuple[int, ...], Any, bool]] = {
    "the last step": ((1, 0, 2, 3), (slice(None), -1), True),
    "every second step": ((1, 0, 2, 3), (slice(None), slice(None, None, 2)), True),
    "steps from the end": ((2, 3, 0, 1), (1, slice(None), slice(None, None, -2)), True),
    "of a cycle": ((3, 0, 1, 2), (slice(1, 3), 2, slice(None), 0), True),
    "a new axis": ((3, 2, 1, 0), (None, 1), False),
    "the end": ((1, 0, 2, 3), (..., 3), False),
}


@for_each("case", READ)
def test_cotangents_of_some_steps_are_made_in_the_order_in_which_they_are_read(case: str) -> None:
    axes, index, in_order = READ[case]

    def read(scan: Any) -> Any:
        def f(h: Any, w: Any, x: Any) -> Any:
            states = scan(lambda h, x: ((h := np.tanh(h * w + x)), h), h, x)[1]
            return np.sum(np.sin(np.transpose(states, axes)[index]) * weights)

        return cr.grad(f, (0, 1, 2))

    h, w, x = draw(2, 3, 4), draw(3, 4), draw(5, 2, 3, 4)
    weights = draw(*np.transpose(x, axes)[index].shape)
    for name in ENGINES:
        step = cr.compile(read(cr.scan), engine=name)
        close(step(h, w, x), read(loop)(h, w, x))
        plan = step.plan(h, w, x)
        (placed,) = [s for s in plan.operations if s.op.name == "place"]
        assert (plan.values[placed.output].shape == x.shape) == in_order, str(plan)
        cr.verify(step)


def test_parameters_are_read_at_each_call() -> None:
    p = cr.Parameter(np.array([0.5]), name="p")
    f = cr.compile(lambda x: cr.scan(lambda c, x: (c * p + x, c), np.zeros(1), x)[0])
    x = np.ones((3, 1))
    np.testing.assert_allclose(f(x), [1.75])
    p.assign([0.0])
    np.testing.assert_allclose(f(x), [1.0])


MISTAKES: dict[str, tuple[Any, type[Exception], str]] = {
    "lengths": (lambda: cr.scan(lambda c, x: (c, x), 0.0, (np.ones(3), np.ones(4))), ValueError, r"3 \(xs\[0\]\), 4"),
    "length": (lambda: cr.scan(lambda c, x: (c, x), 0.0, np.ones(3), 4), ValueError, r"3 \(xs\), 4 \(length\)"),
    "nothing": (lambda: cr.scan(lambda c, x: (c, x), 0.0), ValueError, "xs or length"),
    "a number": (lambda: cr.scan(lambda c, x: (c, x), 0.0, 3.0), ValueError, "xs is a number"),
    "no pair": (lambda: cr.scan(lambda c, x: c, np.ones(3), np.ones(3)), TypeError, r"\(carry, y\), got"),
    "shape": (lambda: cr.scan(lambda c, x: (np.ones(2), x), np.ones(3), np.ones(3)), ValueError, r"\(3,\).*\(2,\)"),
    "dtype": (lambda: cr.scan(lambda c, x: (c + x, x), np.ones(3, "f"), np.ones(3)), TypeError, "float32.*float64"),
    "structure": (lambda: cr.scan(lambda c, x: ([c], x), (1.0,), np.ones(3)), ValueError, r"structure \(\*,\), got \["),
    "function": (lambda: cr.scan(3, 1.0, np.ones(3)), TypeError, "f: expected a function"),
    "length below 0": (lambda: cr.scan(lambda c, x: (c, x), 1.0, length=-1), ValueError, "length: expected .*, got -1"),
}


@for_each("mistake", MISTAKES)
def test_mistakes(mistake: str) -> None:
    call, kind, message = MISTAKES[mistake]
    with pytest.raises(kind, match=message):
        call()
    with pytest.raises(kind, match=message):
        cr.compile(lambda x: call())(np.ones(1))
