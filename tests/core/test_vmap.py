"""vmap: for every row of the table the same as the examples one by one; derivatives inside and around it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, ops
from chainrule.core.apply import apply
from chainrule.core.op import Operation
from chainrule.core.vmap import evaluate
from chainrule.nn import losses
from tests.ops.checking import points
from tests.tables import for_each

ROWS = ops.rows()
SIZE = 3


def _cases() -> list[Any]:
    return [pytest.param(op, e, id=f"{op.name}-{i}") for op in ROWS for i, e in enumerate(points(op))]


def _batch(x: Any, k: int) -> Any:
    """Return a batch of slightly different inputs; of positions, the same ones in another order."""
    x = np.asarray(x)
    if x.dtype.kind == "f":
        return np.stack([x * (1 - 0.01 * i * (k + 1)) for i in range(SIZE)])
    if x.dtype.kind == "b":
        return np.stack([x, ~x, x])
    return np.stack([np.roll(x, i) if x.ndim else x for i in range(SIZE)])


def _flags(count: int) -> list[tuple[bool, ...]]:
    every = tuple([True] * count)
    return [every] if count == 1 else [every, *[tuple(i == k for i in range(count)) for k in range(count)]]


@for_each(("op", "example"), _cases(), every=6)
def test_every_row_gives_what_single_calls_give(op: Operation, example: Any) -> None:
    inputs = [np.asarray(x) for x in example.inputs]
    for flags in _flags(len(inputs)):
        batches = [_batch(x, k) if one else x for k, (x, one) in enumerate(zip(inputs, flags, strict=True))]
        axes = tuple([0 if one else None for one in flags])
        single = [[b[i] if one else b for b, one in zip(batches, flags, strict=True)] for i in range(SIZE)]
        try:
            expected = np.stack([np.asarray(op.evaluate(*xs, **example.attrs)) for xs in single])
        except np.linalg.LinAlgError:  # a made-up input that has no result
            continue
        found = cr.vmap(lambda *xs: apply(op, xs, example.attrs), in_axes=axes)(*batches)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
        real = [k for k, x in enumerate(inputs) if x.dtype.kind == "f"]
        if not (op.differentiable and real):
            continue

        gradient = cr.grad(lambda *ys: np.sum(np.sin(apply(op, ys, example.attrs))), real, allow_unused=True)
        try:
            ones = [gradient(*xs) for xs in single]
        except (TypeError, np.linalg.LinAlgError):  # there is no derivative in the first inputs
            continue
        for k, g in enumerate(cr.vmap(gradient, in_axes=axes)(*batches)):
            np.testing.assert_allclose(g, np.stack([one[k] for one in ones]), rtol=1e-8, atol=1e-9)


RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(5, 4)), RNG.integers(0, 3, size=5)
PARAMETERS = {"W": RNG.normal(size=(4, 3)), "b": RNG.normal(size=3)}


def loss(p: Any, x: Any, y: Any) -> Any:
    return losses.cross_entropy(np.tanh(x @ p["W"] + p["b"])[None], y[None])


def test_gradients_of_every_example() -> None:
    ones = [cr.grad(loss)(PARAMETERS, x, y) for x, y in zip(X, Y, strict=True)]
    per_example = cr.vmap(cr.grad(loss), in_axes=(None, 0, 0))
    for f in (per_example, cr.compile(per_example, engine="numpy"), cr.compile(per_example, engine="native")):
        found = f(PARAMETERS, X, Y)
        for k, v in found.items():
            np.testing.assert_allclose(v, np.stack([g[k] for g in ones]), rtol=1e-10, atol=1e-12)


def test_derivatives_around_it() -> None:
    def norms(p: Any) -> Any:
        g = cr.vmap(cr.grad(loss), in_axes=(None, 0, 0))(p, X, Y)
        return np.sum(g["W"] ** 2) + np.sum(g["b"] ** 4)

    assert cr.gradcheck(norms, PARAMETERS)
    hessian = cr.vmap(cr.hessian(lambda x: np.sum(np.sin(x) * x[::-1])))(X)
    np.testing.assert_allclose(hessian[2], cr.hessian(lambda x: np.sum(np.sin(x) * x[::-1]))(X[2]), rtol=1e-12)


def test_assignments_inside() -> None:
    def f(x: Any) -> Any:
        y = np.zeros_like(x)
        y[1:] = x[:-1] ** 2
        x = x * 1.0
        x += y
        return np.sum(x * y)

    for g in (f, cr.grad(f)):
        np.testing.assert_allclose(cr.vmap(g)(X), np.stack([g(x) for x in X]))


class Both(NamedTuple):
    total: Any
    parts: Any


def test_axes_and_containers() -> None:
    def f(p: Any, x: Any, *, scale: float) -> Any:
        return Both(np.sum(x) * scale, {"z": x * p["w"], "c": 1.0})

    found = cr.vmap(f, in_axes=({"w": None}, 1), out_axes=(0, {"z": -1, "c": 0}))({"w": X[0]}, X.T, scale=2.0)
    assert isinstance(found, Both)
    np.testing.assert_allclose(found.total, 2 * X.sum(1))
    np.testing.assert_allclose(found.parts["z"], (X * X[0]).T)
    np.testing.assert_array_equal(found.parts["c"], np.ones(5))
    table = cr.vmap(cr.vmap(np.subtract, in_axes=(0, None)), in_axes=(None, 0), out_axes=1)(X[0], X[1])
    np.testing.assert_allclose(table, np.subtract.outer(X[0], X[1]))
    assert cr.vmap(lambda x, c: c * 2.0, in_axes=(0, None), out_axes=None)(X, 4.0) == 8
    np.testing.assert_allclose(cr.vmap(lambda x: x[::2, None] @ x[None, 1::2])(X)[3], np.outer(X[3, ::2], X[3, 1::2]))
    np.testing.assert_allclose(cr.vmap(lambda x, i: x[i], in_axes=(None, 0))(X, Y), X[Y])
    np.testing.assert_allclose(cr.vmap(lambda x, i: x[i])(X, Y % 4), X[np.arange(5), Y % 4])


def test_a_network() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3))
    np.testing.assert_allclose(cr.vmap(model)(X.astype(np.float32)).value, model(X.astype(np.float32)).value, rtol=1e-5)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match=r"argument 1 has shape \(\), without an axis 0"):
        cr.vmap(np.add)(X, 1.0)
    with pytest.raises(ValueError, match="numbers of examples differ: 5 in argument 0, 4 in argument 1"):
        cr.vmap(lambda x, y: np.sum(x) * np.sum(y))(X, X.T)
    with pytest.raises(ValueError, match="at least one argument"):
        cr.vmap(np.sin, in_axes=None)(X)
    with pytest.raises(ValueError, match="one for each of 2 parts"):
        cr.vmap(np.add, in_axes=(0, 0, 0))(X, X)
    with pytest.raises(ValueError, match="depends on the example"):
        cr.vmap(np.sin, out_axes=None)(X)
    with pytest.raises(TypeError, match=r"np\.where"):
        cr.vmap(lambda x: x if x[0] > 0 else -x)(X)


def test_jacobians_of_many_outputs() -> None:
    M = RNG.normal(size=(40, 30))
    x = RNG.normal(size=30)
    np.testing.assert_array_equal(cr.jacobian(lambda x: M @ x)(x), M)
    np.testing.assert_array_equal(cr.jacobian(lambda x: x @ M.T)(x), M)
    found = cr.jacobian(lambda x, y: {"t": np.tanh(M @ x) * y, "s": np.sum(x * y)}, (0, 1))(x, np.array(2.0))
    a = np.tanh(M @ x)
    np.testing.assert_allclose(found["t"][0], 2 * (1 - a**2)[:, None] * M)
    np.testing.assert_allclose(found["t"][1], a)
    np.testing.assert_allclose(found["s"][0], np.full(30, 2.0))
    A = RNG.normal(size=(3, 3)) + 3 * np.eye(3)
    of_inverse = cr.jacobian(np.linalg.inv)(A)
    i = np.linalg.inv(A)
    np.testing.assert_allclose(of_inverse, -np.einsum("ik,lj->ijkl", i, i), rtol=1e-9)


def test_a_jacobian_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    M = RNG.normal(size=(7, 5))
    whole = cr.jacobian(lambda x: np.sin(M @ x))(X[0, :1] + np.arange(5.0))
    monkeypatch.setattr("chainrule.core.transforms.MOST_ELEMENTS", 14)
    counted = []
    monkeypatch.setattr("chainrule.core.transforms.evaluate", lambda *a: counted.append(a[2]) or evaluate(*a))
    np.testing.assert_allclose(cr.jacobian(lambda x: np.sin(M @ x))(X[0, :1] + np.arange(5.0)), whole)
    assert counted == [2, 2, 2, 1]
