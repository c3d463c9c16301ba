"""Sums of arrays that are put side by side into zeros: concatenations, where the parts fill the whole."""

from typing import Any

import numpy as np

import chainrule as cr
from chainrule import engine
from tests.tables import for_each

#: Functions of a (4, 6) array, and whether their gradient joins parts that fill it.
CASES: dict[str, tuple[Any, bool]] = {
    "columns": (lambda x: np.sum(np.sin(x[:, :2]) * x[:, 4:]) + np.sum(x[:, 2:4] ** 3), True),
    "rows by number": (lambda x: np.sum(x[0] * x[1] * np.exp(x[2]) * x[-1]), True),
    "numbers and ranges": (lambda x: np.sum(x[0] * x[1]) + np.sum(np.tanh(x[2:])), True),
    "split": (lambda x: sum(np.sum(np.sin(p) * k) for k, p in enumerate(np.split(x, 3, axis=1))), True),
    "a middle axis": (lambda x: (lambda y: np.sum(y[:, 0] * np.cos(y[:, 1])))(x.reshape(2, 2, 6)), True),
    "overlapping": (lambda x: np.sum(np.tanh(x[:, :4]) * x[:, 2:]), False),
    "the same length, overlapping": (lambda x: np.sum(np.tanh(x[:2]) * x[1:3]), False),
    "one part twice": (lambda x: np.sum(np.tanh(x[:2]) * np.sum(x[:2], axis=0)), False),
    "with a gap": (lambda x: np.sum(x[:, :2] * np.exp(x[:, 3:5])), False),
    "two axes": (lambda x: np.sum(x[:2, :3] * x[2:, 3:]), False),
    "other axes": (lambda x: np.sum(x[:2] ** 2) + np.sum(x[:, 3:] ** 3), False),
    "steps": (lambda x: np.sum(x[::2] * np.sin(x[1::2])), False),
}
X = np.random.default_rng(0).normal(size=(4, 6))


@for_each("case", CASES)
def test_gradients_are_those_of_the_sum(case: str) -> None:
    f, joins = CASES[case]
    expected = cr.grad(f)(X)
    for name in engine.available():
        gradient = cr.compile(cr.grad(f), engine=name)
        np.testing.assert_allclose(gradient(X), expected, 1e-12)
        found = [s.op.name for s in gradient.plan(X).operations]
        assert ("concatenate" in found, "place" in found) == (joins, not joins), found


def test_vectors() -> None:
    x, f = np.arange(1.0, 9.0), lambda x: np.sum(np.log(x[:3])) + np.sum(x[3:5] ** 2) + np.prod(x[5:])
    np.testing.assert_allclose(cr.compile(cr.grad(f))(x), cr.grad(f)(x))
    # what is cut out of the joined vector again is the part itself
    part = cr.compile(lambda x: cr.grad(f)(x)[3:5])
    np.testing.assert_allclose(part(x), 2 * x[3:5])
    assert not {"concatenate", "place", "log"} & {s.op.name for s in part.plan(x).operations}


def test_the_gates_of_a_recurrent_layer_are_put_together_once() -> None:
    def loss(w: Any, x: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            a, b, c, d = np.split(x + h @ w, 4, axis=1)
            return np.tanh(a) * b + np.tanh(c) * d, None

        return np.sum(cr.scan(step, np.zeros((2, 3)), x)[0])

    w, x = np.random.default_rng(1).normal(size=(3, 12)), np.random.default_rng(2).normal(size=(5, 2, 12))
    gradient = cr.compile(cr.grad(loss, (0, 1)))
    for found, expected in zip(gradient(w, x), cr.grad(loss, (0, 1))(w, x), strict=True):
        np.testing.assert_allclose(found, expected, 1e-12)
    loops = [s.body for s in gradient.plan(w, x).steps if s.op.name == "scan"]  # type: ignore[union-attr]
    names = [s.op.name for s in loops[-1].operations]  # type: ignore[union-attr]
    assert names.count("concatenate") == 1 and "place" not in names


def test_joined_in_the_order_in_which_a_reshape_reads() -> None:
    def function(x: Any, y: Any) -> Any:
        z = np.concatenate([np.sin(x), np.cos(y)])
        return np.reshape(np.transpose(z, (1, 0, 2)), (5, 12)), np.reshape(z, (2, 30))

    x, y = np.random.default_rng(0).normal(size=(2, 1, 5, 6))
    for name in engine.available():
        step = cr.compile(lambda x, y: function(x, y)[0], engine=name)
        np.testing.assert_allclose(step(x, y), function(x, y)[0], 1e-12)
        assert [s.op.name for s in step.plan(x, y).operations] == ["sin", "cos", "concatenate"]
        for found, expected in zip(cr.compile(function, engine=name)(x, y), function(x, y), strict=True):
            np.testing.assert_allclose(found, expected, 1e-12)


def test_one_copy_in_another_order_for_all_its_readers() -> None:
    def function(x: Any) -> Any:
        z = np.swapaxes(np.sin(x), 0, 1)
        return np.reshape(z, (6, 10)) @ np.reshape(z, (10, 6)), np.reshape(z, -1)

    x = np.random.default_rng(0).normal(size=(5, 6, 2))
    for name in engine.available():
        step = cr.compile(function, engine=name)
        for found, expected in zip(step(x), function(x), strict=True):
            np.testing.assert_allclose(found, expected, 1e-12)
        assert [s.op.name for s in step.plan(x).operations].count("identity") == 1
