"""What the steps of `scan` replace in generators and layers: random numbers, masks of dropout, running means."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import engine, nn, optim
from tests.tables import for_each

ENGINES = engine.available()
Program = Callable[[Any], Any]


class Steps(nn.Module):
    """Layers with state, called in each step."""

    def __init__(self, reverse: bool = False) -> None:
        super().__init__()
        self.cell = nn.Sequential(nn.Linear(5, 5, seed=1), nn.BatchNorm1d(5), nn.Dropout(0.4))
        self.drop, self.reverse = nn.Dropout(0.5), reverse

    def forward(self, x: Any) -> Any:
        def step(c: Any, x: Any) -> Any:
            h = np.tanh(self.drop(c) + self.cell(x))
            return h, h * self.cell(h)

        return cr.scan(step, np.zeros(x.shape[1:], np.float32), x, reverse=self.reverse)[1]


def noise(x: Any) -> Any:
    def step(c: Any, x: Any) -> Any:
        c = 0.5 * c + cr.random.normal((3, 5), dtype=np.float64) * x
        return c, c * cr.random.uniform(5, dtype=np.float64)

    return cr.scan(step, np.zeros((3, 5)), x)


def of_numbers(x: Any) -> Any:
    """A carry whose dtype is known only after the first recording of a step."""
    return cr.scan(lambda c, x: (c + x[0, 0] * cr.random.uniform(dtype=np.float64), c), 0.0, x, reverse=True)


def nested(x: Any) -> Any:
    def inner(c: Any, x: Any) -> Any:
        return c + x * cr.random.uniform(5, dtype=np.float64), cr.random.integers(0, 100, 2)

    def outer(c: Any, x: Any) -> Any:
        c, ids = cr.scan(inner, c * cr.random.uniform(dtype=np.float64), x)
        return c, ids

    before = cr.random.uniform(dtype=np.float64)
    return *cr.scan(outer, np.ones(5), x), before, cr.random.uniform(dtype=np.float64)


def draws(x: Any, n: int) -> Any:
    """Nothing but draws, so that equal ones would be seen."""
    return cr.scan(lambda c, _: (c, cr.random.uniform(4, dtype=np.float64)), 0.0, None, n)[1] + 0 * x[0, 0, 0]


PROGRAMS: dict[str, Program] = {"noise": noise, "numbers": of_numbers, "nested": nested}
X = np.random.default_rng(0).normal(size=(4, 3, 5))


def close(a: Any, b: Any, tolerance: float = 1e-12) -> None:
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, tolerance, tolerance)


@for_each("program", PROGRAMS)
def test_each_step_draws_the_numbers_of_the_loop(program: str) -> None:
    f = PROGRAMS[program]

    def loss(x: Any) -> Any:
        return sum(np.sum(np.cos(1.0 * y)) for y in f(x))

    for name in ENGINES:
        run, slope = (cr.compile(g, seed=7, engine=name) for g in (f, cr.grad(loss)))
        generators = [cr.random.Generator(7) for _ in range(2)]
        for _ in range(2):  # the second call goes on where the first has stopped
            for g, compiled, eager in zip(generators, (run, slope), (f, cr.grad(loss)), strict=True):
                with g:
                    expected = eager(X)
                close(compiled(X), expected)


def test_no_two_steps_draw_the_same() -> None:
    run = cr.compile(lambda x: draws(x, 50), seed=1)
    assert len(np.unique([run(X), run(X)])) == 2 * 50 * 4


def test_no_step_draws_nothing() -> None:
    generator, drop = cr.random.Generator(1), nn.Dropout(0.5)
    for name in (None, *ENGINES):
        run: Any = draws if name is None else cr.compile(draws, seed=1, engine=name)
        with generator:
            assert run(X, 0).shape == (0, 4)
            dropped = lambda x: cr.scan(lambda c, x: (c, drop(x)), 0.0, x)[1]  # noqa: E731
            (dropped if name is None else cr.compile(dropped, engine=name))(X[:0])
        assert generator.counter == drop.counter == 0


class Counting(nn.Module):
    n = 0

    def __init__(self) -> None:
        super().__init__()
        self.n, self.total = 0, 0.0

    def forward(self, x: Any) -> Any:
        self.n += 1
        return x * self.n

    def step(self, c: Any, x: Any) -> Any:
        self.total += 0.5
        return c, x * self.total


MODULE_LEVEL = 0


def changes_a_global(c: Any, x: Any) -> Any:
    global MODULE_LEVEL
    MODULE_LEVEL += 1
    return c, x * MODULE_LEVEL


def changes_a_variable() -> Any:
    t = 0

    def step(c: Any, x: Any) -> Any:
        nonlocal t
        t += 1
        return c, x * t

    return step


#: Steps that change a number outside, and its place in the error.
COUNTERS: dict[str, tuple[Any, str]] = {
    "variable": (changes_a_variable, "step changes t from 0 to 1"),
    "global": (lambda: changes_a_global, "changes MODULE_LEVEL from"),
    "method": (lambda: Counting().step, "step changes self.total from 0.0 to 0.5"),
    "layer": (lambda: (lambda m: lambda c, x: (c, m(x)))(Counting()), "Counting.n from 0 to 1"),
    "in a checkpoint": (lambda: cr.checkpoint(changes_a_variable()), "step changes t from 0 to 1"),
}


@for_each("way", COUNTERS)
def test_counters_outside_are_refused_where_one_step_stands_for_all(way: str) -> None:
    make, message = COUNTERS[way]
    layer = Counting()
    layer(X)  # made and used before

    def run(x: Any) -> Any:
        return cr.scan(make(), 0.0, layer(x) / layer.n)[1]

    if way != "in a checkpoint":
        assert len(np.unique(np.round(run(X) / X, 6))) == 4  # as a loop, each step has its number
    with pytest.raises(ValueError, match=message):
        cr.compile(run)(X)


@for_each("reverse", (False, True))
def test_layers_pass_their_state_from_step_to_step(reverse: bool) -> None:
    x = X.astype(np.float32)

    def gradient(model: Any) -> Any:
        return cr.grad(lambda x: np.sum(np.sin(model(x))))

    def state(model: Any) -> list[Any]:
        return [np.asarray(b) for _, b in sorted(model.named_buffers())]

    plain = Steps(reverse)
    expected = [gradient(plain)(x).detach().value for _ in range(2)]
    assert plain.drop.counter == 8 and plain.cell[2].counter == 16
    for name in ENGINES:
        model = Steps(reverse)
        run = cr.compile(gradient(model), engine=name)
        close([run(x) for _ in range(2)], expected, 2e-5)
        close(state(model), state(plain), 2e-5)


def test_training_passes_the_state_on() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.steps, self.out = Steps(), nn.Linear(5, 1, seed=2)

        def forward(self, x: Any) -> Any:
            return self.out(self.steps(np.swapaxes(x, 0, 1))[-1])

    x, y = np.random.default_rng(1).normal(size=(12, 4, 5)), np.zeros((12, 1))
    found, sgd = [], optim.SGD(0.05)
    for name in ENGINES:
        model = Model()
        cr.fit(model, x, y, loss="mse", optimizer=sgd, epochs=2, batch_size=3, engine=name, progress=False)
        assert model.steps.drop.counter == 2 * 4 * 4
        found.append([p.value for p in model.parameters()] + [np.asarray(b) for _, b in model.named_buffers()])
    close(found[0], found[-1], 1e-4)
