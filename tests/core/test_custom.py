"""custom_vjp and checkpoint: in every transformation, on both engines."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

WAYS: dict[str, Callable[[Any], Any]] = {
    "eager": lambda f: f,
    "numpy": lambda f: cr.compile(f, engine="numpy"),
    "native": lambda f: cr.compile(f, engine="native"),
}
X = np.array([0.3, -0.7, 1.1])


@dataclasses.dataclass
class Pair:
    a: Any
    b: Any


def _log1pexp() -> Any:
    @cr.custom_vjp
    def log1pexp(x: Any) -> Any:
        return np.log1p(np.exp(x))

    def forward(x: Any) -> Any:
        y = np.exp(x)
        return np.log1p(y), {"x": x, "y": y}

    log1pexp.defvjp(forward, lambda saved, g: (g * (1 - 1 / (1 + np.exp(saved["x"]))),))
    return log1pexp


@pytest.mark.parametrize("way", WAYS)
def test_orders_and_transformations_agree_with_the_plain_function(way: str) -> None:
    f = _log1pexp()

    def plain(x: Any) -> Any:
        return np.log1p(np.exp(x))

    for transform in (
        lambda f: cr.grad(lambda x: np.sum(f(x) ** 2)),
        lambda f: cr.hessian(lambda x: np.sum(f(x) ** 2)),
        lambda f: cr.grad(lambda x: np.sum(np.cos(cr.grad(lambda x: np.sum(f(x) ** 2))(x)))),
        lambda f: cr.jacobian(f),
        lambda f: lambda x: cr.jvp(f, (x,), (np.cos(X),))[1],
        lambda f: lambda x: cr.vjp(f, x)[1](np.cos(X))[0],
        lambda f: cr.vmap(cr.grad(lambda x: f(x) ** 2)),
        lambda f: cr.grad(lambda x: np.sum(cr.vmap(f)(x) ** 2)),
        lambda f: f,
    ):
        np.testing.assert_allclose(WAYS[way](transform(f))(X), transform(plain)(X), rtol=1e-12)
    assert cr.gradcheck(f, X, order=2)


@pytest.mark.parametrize("way", WAYS)
def test_it_is_the_given_rule_that_is_used(way: str) -> None:
    f = cr.custom_vjp(lambda x: x * 1.0)
    f.defvjp(lambda x: (x * 1.0, ()), lambda saved, g: (10.0 * g,))
    for g in (
        cr.grad(lambda x: np.sum(f(x))),
        cr.vmap(cr.grad(f)),
        cr.grad(lambda x: np.sum(cr.vmap(f)(x))),
        lambda x: cr.jvp(f, (x,), (np.ones(3),))[1],
    ):
        np.testing.assert_array_equal(WAYS[way](g)(X), np.full(3, 10.0))
    assert cr.gradcheck(f, X, raises=False).cause == "constant-factor"
    if way == "eager":
        x = cr.tensor(X, requires_grad=True)
        np.sum(f(x)).backward()
        np.testing.assert_array_equal(x.grad, np.full(3, 10.0))


@pytest.mark.parametrize("way", WAYS)
def test_containers_several_outputs_and_fixed_arguments(way: str) -> None:
    calls = []

    def forward(power: int, p: Any, unused: Any) -> Any:
        return {"y": p.a**power * p.b, "z": np.sum(p.b)}, (p, power)

    def backward(power: int, saved: Any, g: Any) -> Any:
        calls.append(1)
        p, _ = saved
        return Pair(g["y"] * power * p.a ** (power - 1) * p.b, np.sum(g["y"] * p.a**power) + g["z"]), None

    f = cr.custom_vjp(lambda power, p, unused: forward(power, p, unused)[0], nondiff_argnums=(0,))
    f.defvjp(forward, backward)

    def loss(p: Any, unused: Any) -> Any:
        out = f(3, p, unused)
        return np.sum(out["y"] ** 2) + out["z"]

    b = np.array(2.0)
    found, zero = WAYS[way](cr.grad(loss, (0, 1), allow_unused=True))(Pair(X, b), X)
    assert isinstance(found, Pair)
    np.testing.assert_allclose(found.a, 6 * X**5 * b**2, rtol=1e-12)
    np.testing.assert_allclose(found.b, 2 * np.sum(X**6) * b + 1, rtol=1e-12)
    np.testing.assert_array_equal(zero, np.zeros(3))
    assert len(calls) == 1


def test_what_is_wrong_with_a_rule_is_said() -> None:
    def made(forward: Any, backward: Any) -> Any:
        f = cr.custom_vjp(lambda x: x)
        f.defvjp(forward, backward)
        return cr.grad(lambda x: np.sum(f(x)))

    def same(x: Any) -> Any:
        return x, None

    with pytest.raises(TypeError, match="derivative is missing; call defvjp"):
        cr.custom_vjp(lambda x: x)(X)
    with pytest.raises(TypeError, match=r"expected \(result, saved\)"):
        made(lambda x: x, lambda s, g: (g,))(X)
    with pytest.raises(TypeError, match=r"a tuple of 1 gradient, .* got (Tensor|ndarray)"):
        made(same, lambda s, g: g)(X)
    with pytest.raises(TypeError, match=r"a tuple of 1 gradient, .* got 2"):
        made(same, lambda s, g: (g, g))(X)
    with pytest.raises(ValueError, match=r"has shape \(2,\), expected \(3,\)"):
        made(same, lambda s, g: (g[:2],))(X)
    with pytest.raises(ValueError, match="gradient 0: expected the structure"):
        made(same, lambda s, g: ({"x": g},))(X)
    with pytest.raises(TypeError, match="backward: expected a function"):
        cr.custom_vjp(lambda x: x).defvjp(same, None)


def _deep(x: Any, w: Any) -> Any:
    for _ in range(6):
        x = np.tanh(x @ w)
    return x


W = np.random.default_rng(0).normal(size=(8, 8)) / 2
BATCH = np.random.default_rng(1).normal(size=(64, 8))


@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_changes_no_derivative(way: str) -> None:
    def loss(deep: Any) -> Any:
        return lambda x, w: np.sum(deep(deep(x, w), w) ** 2)

    for transform in (
        lambda f: cr.grad(f, (0, 1)),
        lambda f: cr.grad(lambda x, w: np.sum(cr.grad(f, 1)(x, w) ** 2), (0, 1)),
        lambda f: cr.vmap(cr.grad(f, 1), in_axes=(0, None)),
    ):
        expected = transform(loss(_deep))(BATCH[:3], W)
        found = WAYS[way](transform(loss(cr.checkpoint(_deep))))(BATCH[:3], W)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def _kept(f: Any) -> int:
    """Return how many elements the graph of an eager call keeps."""
    sizes: dict[int, int] = {}

    def counted(x: Any, w: Any) -> Any:
        out = f(x, w)
        stack = [out]
        while stack:
            node = stack.pop()
            if id(node) not in sizes:
                sizes[id(node)] = node.size
                stack += node.inputs
        return np.sum(out)

    cr.grad(counted, (0, 1))(BATCH, W)
    return sum(sizes.values())


def test_a_checkpoint_keeps_less() -> None:
    def chain(step: Any) -> Any:
        return lambda x, w: step(step(step(step(x, w), w), w), w)

    plain, saving = chain(_deep), chain(cr.checkpoint(_deep))
    assert _kept(saving) < _kept(plain) / 3

    def memory(f: Any) -> int:
        return cr.compile(cr.grad(lambda x, w: np.sum(f(x, w)), (0, 1)), engine="numpy").plan(BATCH, W).arena

    assert memory(saving) < 0.7 * memory(plain)


def test_a_checkpoint_of_modules_reaches_their_parameters() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))
    np.sum(model(BATCH) ** 2).backward()
    expected = [p.grad.copy() for p in model.parameters()]
    for p in model.parameters():
        p.grad = None
    np.sum(cr.checkpoint(model)(BATCH) ** 2).backward()
    for p, e in zip(model.parameters(), expected, strict=True):
        np.testing.assert_allclose(p.grad, e, rtol=1e-5, atol=1e-6)


def _beside(step: Any) -> Any:
    """A loss of w and x whose steps are functions of x alone; w comes from outside, also as a computed value."""

    def loss(w: Any, x: Any) -> Any:
        twice, rows = 2.0 * w, np.sin(x)
        h = step(lambda x: np.tanh(x @ (w @ w)) * twice[0] + rows)(x)
        _, ys = cr.scan(step(lambda c, x: (np.tanh(c @ w + x), c)), h[0], h)
        return np.sum(ys**2) + np.sum(step(lambda h: h @ twice)(h))

    return loss


@pytest.mark.parametrize("engine", [None, "numpy", "native"])
@pytest.mark.parametrize("argnums", [0, 1, (0, 1)])
def test_a_checkpoint_reaches_tensors_beside_its_arguments(argnums: Any, engine: Any) -> None:
    w, x = np.random.default_rng(5).normal(size=(2, 3, 3))
    plain, saving = _beside(lambda f: f), _beside(cr.checkpoint)
    way = (lambda f: f) if engine is None else functools.partial(cr.compile, engine=engine)
    for transform in (cr.grad, lambda f, n: cr.grad(lambda *a: np.sum(np.sin(flat(cr.grad(f, n)(*a)))), n)):
        expected, found = transform(plain, argnums)(w, x), way(transform(saving, argnums))(w, x)
        np.testing.assert_allclose(flat(found), flat(expected), rtol=1e-9, atol=1e-11)


def flat(parts: Any) -> Any:
    return np.concatenate([np.ravel(p) for p in parts]) if isinstance(parts, tuple) else np.ravel(parts)


class Halves(nn.Module):
    def __init__(self, saving: bool) -> None:
        self.first, self.last, self.saving = nn.Linear(3, 4), nn.Linear(4, 2), saving
        self.middle = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Tanh())

    def forward(self, x: Any) -> Any:
        middle = cr.checkpoint(self.middle) if self.saving else self.middle
        return self.last(middle(self.first(x)))


def test_a_checkpoint_in_a_module_trains_its_parameters() -> None:
    rng, found = np.random.default_rng(0), []
    x, y = rng.normal(size=(24, 3)), rng.integers(0, 2, 24)
    for saving in (False, True):
        model = Halves(saving).to("float64").initialize(1)
        cr.fit(model, x, y, epochs=2, batch_size=8, progress=False)
        found.append(model.state_dict())
    for path, array in found[0].items():
        np.testing.assert_allclose(found[1][path], array, rtol=1e-9, atol=1e-11, err_msg=path)


def test_stop_gradient_takes_containers() -> None:
    def f(p: Any) -> Any:
        held = cr.stop_gradient(p)
        assert type(held) is Pair
        return np.sum(p.a * held.a) + p.b * held.b

    assert f(Pair(X, 2.0)) == pytest.approx(np.sum(X * X) + 4)
    found = cr.grad(f)(Pair(X, 2.0))
    np.testing.assert_array_equal(found.a, X)
    assert found.b == 2


def test_a_checkpoint_draws_the_same_random_numbers_again() -> None:
    drop = nn.Dropout(0.5)

    def cell(h: Any, x: Any, w: Any) -> Any:
        return np.tanh(drop(h) * w + cr.random.normal(8, dtype=np.float64) * x)

    def loss(again: bool) -> Any:
        def f(x: Any, w: Any) -> Any:
            step = cr.checkpoint(cell) if again else cell
            last, hs = cr.scan(lambda h, x: (step(h, x, w), h), np.zeros(8), x)
            return np.sum(last * hs) + np.sum(step(last, x[0], w) * last)

        return cr.grad(f, (0, 1))

    for name in ("numpy", "native"):
        found = []
        for again in (False, True):
            drop.counter = np.zeros((), np.int64)
            run = cr.compile(loss(again), engine=name, seed=3)
            found.append([*run(BATCH[:5], W[0]), *run(BATCH[:5], W[0]), drop.counter])
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_a_checkpoint_refuses_other_values_the_second_time() -> None:
    drop = nn.Dropout(0.5)
    with pytest.raises(ValueError, match="other values when it was evaluated again"):
        cr.grad(lambda x: np.sum(cr.checkpoint(lambda x: drop(np.exp(x)))(x)))(BATCH)
    again = cr.grad(lambda x: np.sum(cr.checkpoint(np.exp)(x)))(BATCH + np.nan)  # the same, also where it is nan
    assert np.isnan(again).all()
