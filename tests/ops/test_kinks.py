"""Points without a derivative: one convention for all rows, and selections whose other branch has no finite one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import ops
from chainrule.core.apply import apply
from chainrule.core.node import Recording
from chainrule.core.op import ELEMENTWISE, Operation
from chainrule.core.reverse import reverse
from chainrule.core.tensor import Tensor
from chainrule.nn import losses
from tests.ops.checking import close
from tests.tables import for_each

ROWS = ops.rows()
WAYS: dict[str, Callable[[Any], Any]] = {
    "eager": lambda f: f,
    "numpy": lambda f: cr.compile(f, engine="numpy"),
    "native": lambda f: cr.compile(f, engine="native"),
}

# -- the convention: the subgradient of least norm -------------------------------------------------

A = np.array
CASES: dict[str, tuple[Callable[..., Any], Any, Any]] = {
    "abs": (np.abs, [0.0, 2.0], [0, 1]),
    "fabs": (np.fabs, [0.0, -2.0], [0, -1]),
    "relu": (ops.relu, [0.0, 1.0], [0, 1]),
    "leaky_relu": (lambda x: ops.leaky_relu(x, 0.1), [0.0, 1.0], [0.1, 1]),
    "maximum literal": (lambda x: np.maximum(x, 0), [0.0, 1.0], [0, 1]),
    "maximum literal first": (lambda x: np.maximum(0.0, x), [0.0, 1.0], [0, 1]),
    "maximum array": (lambda x: np.maximum(x, np.zeros((), x.dtype)), [0.0, 1.0], [0, 1]),
    "maximum arrays": (lambda x: np.maximum(np.ones(2, x.dtype), x), [1.0, 2.0], [0, 1]),
    "fmax": (lambda x: np.fmax(x, np.ones(2, x.dtype)), [1.0, 2.0], [0, 1]),
    "minimum literal": (lambda x: np.minimum(x, 1), [1.0, 0.0], [0, 1]),
    "minimum array": (lambda x: np.minimum(np.ones(2, x.dtype), x), [1.0, 0.0], [0, 1]),
    "clip": (lambda x: np.clip(x, 0, 1), [0.0, 1.0], [0, 0]),
    "clip arrays": (lambda x: np.clip(x, np.zeros(2, x.dtype), np.ones(2, x.dtype)), [0.0, 1.0], [0, 0]),
    "maximum of itself": (lambda x: np.maximum(x, x), [1.0, 2.0], [1, 1]),
    "maximum of two": (lambda x: np.maximum(x[0], x[1]), [1.0, 1.0], [0.5, 0.5]),
    "minimum of two": (lambda x: np.minimum(x[0], x[1]), [1.0, 1.0], [0.5, 0.5]),
    "max": (np.max, [1.0, 1.0], [0.5, 0.5]),
    "min": (np.min, [1.0, 1.0], [0.5, 0.5]),
    "ptp": (np.ptp, [1.0, 1.0], [0, 0]),
    "hypot": (lambda x: np.hypot(x[0], x[1]), [0.0, 0.0], [0, 0]),
    "norm": (np.linalg.norm, [0.0, 0.0], [0, 0]),
    "norm 1": (lambda x: np.linalg.norm(x, 1), [0.0, -1.0], [0, -1]),
    "norm 3": (lambda x: np.linalg.norm(x, 3), [0.0, 0.0], [0, 0]),
    "norm inf": (lambda x: np.linalg.norm(x, np.inf), [0.0, 0.0], [0, 0]),
    "std": (np.std, [2.0, 2.0], [0, 0]),
    "hinge": (lambda x: np.maximum(0, 1 - x), [1.0, 0.0], [0, -1]),
    "sign": (np.sign, [0.0, 1.0], [0, 0]),
    "floor": (np.floor, [0.0, 1.0], [0, 0]),
    "round": (np.round, [0.5, 1.5], [0, 0]),
    "sort": (lambda x: np.sort(x)[0], [1.0, 1.0], [1, 0]),
    "median": (np.median, [1.0, 1.0], [0.5, 0.5]),
}


@for_each("dtype", [np.float64, np.float32])
@for_each("way", WAYS)
@for_each("name", CASES)
def test_kinks_have_the_subgradient_of_least_norm(name: str, way: str, dtype: Any) -> None:
    f, point, expected = CASES[name]
    found = WAYS[way](cr.grad(lambda x: np.sum(f(x))))(A(point, dtype))
    np.testing.assert_array_equal(found, A(expected, dtype))
    assert found.dtype == dtype


def test_which_of_two_inputs_are_differentiated_counts_not_how_they_are_given() -> None:
    def f(x: Any, y: Any) -> Any:
        return np.sum(np.maximum(x, y))

    one, zero = np.ones(1), np.zeros(1)
    for way in WAYS.values():
        assert way(cr.grad(f))(one, one) == zero
        assert way(cr.grad(f, 1))(one, one) == zero
        for part in way(cr.grad(f, (0, 1)))(one, one):
            assert part == 0.5
        assert way(cr.grad(lambda y: np.sum(y * cr.grad(f)(y, one))))(one) == zero


@pytest.mark.parametrize("op", [op for op in ROWS if op.kinks], ids=lambda op: op.name)
def test_rows_know_where_their_kinks_are(op: Operation) -> None:
    assert op.at_kink is not None
    for at, gradients in op.kinks:
        inputs = [np.asarray(x) for x in at]
        assert np.all(op.at_kink(op.evaluate(*inputs), *inputs))
        moved = [x + 0.5 * (i + 1) for i, x in enumerate(inputs)]
        assert not np.any(op.at_kink(op.evaluate(*moved), *moved))
        # no other gradient between the one-sided slopes along the inputs is shorter
        slopes = _one_sided(op, inputs)
        for low, high, g in zip(*slopes, gradients, strict=True):
            assert min(low, high) - 1e-6 <= g <= max(low, high) + 1e-6
        if len(inputs) == 1:
            (low,), (high,) = slopes
            assert gradients[0] == (0 if low * high <= 0 else min((low, high), key=abs))


def _one_sided(op: Operation, inputs: list[Any]) -> tuple[list[float], list[float]]:
    ends = []
    for h in (-1e-6, 1e-6):
        moved = [[x + h * (i == k) for i, x in enumerate(inputs)] for k in range(len(inputs))]
        ends.append([float((op.evaluate(*at) - op.evaluate(*inputs)) / h) for at in moved])
    return ends[0], ends[1]


def test_the_documentation_lists_every_row_with_a_kink() -> None:
    page = (Path(__file__).parents[2] / "docs" / "kinks.md").read_text()
    for op in ROWS:
        if op.kinks or op.at_kink is not None:
            assert f"`{ {'absolute': 'abs', 'norm2': 'norm'}.get(op.name, op.name) }" in page, op.name


@pytest.mark.parametrize(
    ("f", "size"),
    [
        (lambda x: np.linalg.norm(x) ** 2, 3),
        (lambda x: np.square(np.linalg.norm(x)), 2),
        (lambda x: np.sum(np.linalg.norm(np.reshape(x, (2, 2)), axis=1) ** 2), 4),
        (lambda x: np.linalg.norm(np.reshape(x, (2, 2)), "fro") ** 2, 4),
        (lambda x: np.hypot(x[0], x[1]) ** 2, 2),
        (lambda x: np.sum(np.abs(x) ** 2), 3),
        (lambda x: np.linalg.norm(x) * np.linalg.norm(x), 3),
        (lambda x: (lambda r: r * r)(np.linalg.norm(x)), 2),
        (lambda x: np.linalg.norm(x, axis=0) * (np.linalg.norm(x) / 3.0) * 3.0, 2),
        (lambda x: np.where(np.linalg.norm(x) < 9.0, np.linalg.norm(x) * np.linalg.norm(x), np.linalg.norm(x)), 3),
        (lambda x: np.hypot(x[0], x[1]) * np.hypot(x[0], x[1]), 2),
        (lambda x: np.sum(np.abs(x) * np.abs(x)), 2),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_the_square_of_a_norm_is_smooth_at_the_origin(f: Any, size: int, way: str) -> None:
    np.testing.assert_array_equal(WAYS[way](cr.hessian(f))(np.zeros(size)), 2 * np.eye(size))
    assert cr.gradcheck(f, np.zeros(size), order=2)
    x = np.linspace(-1, 1, size)
    close(cr.hessian(f)(x), 2 * np.eye(size), 1e-12)
    close(WAYS[way](f)(x), np.asarray(f(x)), 1e-14)


@pytest.mark.parametrize("way", WAYS)
def test_the_second_derivative_at_a_kink_is_zero(way: str) -> None:
    for f in (np.linalg.norm, np.std, lambda x: np.hypot(x[0], x[1]), lambda x: np.sum(np.abs(x))):
        np.testing.assert_array_equal(WAYS[way](cr.hessian(f))(np.zeros(2)), 0)
    x, y = np.array([3.0, 4.0]), np.array([1.0, -2.0])
    close(cr.hvp(np.linalg.norm, x, y), (y - x * (x @ y) / 25) / 5, 1e-14)
    # equal leaves are not the same variable: |x| |y| has a kink at the origin
    f = cr.hessian(lambda x, y: np.linalg.norm(x) * np.linalg.norm(y), argnums=(0, 1))
    np.testing.assert_array_equal(f(np.zeros(2), np.zeros(2))[0][0], 0)


@pytest.mark.parametrize("way", WAYS)
def test_the_square_of_a_deviation_is_smooth_where_all_elements_are_equal(way: str) -> None:
    variance = (np.eye(4) - 0.25) / 2
    for f in (
        lambda x: np.std(x) ** 2,
        lambda x: np.std(x) * np.std(x),
        lambda x: (np.linalg.norm(x - np.mean(x)) / 2.0) ** 2,
        np.var,
    ):
        close(WAYS[way](cr.hessian(f))(np.ones(4)), variance, 1e-14)
        close(WAYS[way](cr.hessian(f))(np.arange(4.0)), variance, 1e-12)


def test_ties_are_not_mistakes_for_the_audit() -> None:
    W, X = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 1.0]])

    def forward(X: Any, parameters: Any) -> Any:
        Z = X @ parameters["W"]
        return np.max(Z, axis=1, keepdims=True), {"X": X, "Z": Z}

    def backward(dout: Any, cache: Any) -> Any:
        first = np.zeros_like(cache["Z"])  # the first of equal elements gets all
        first[np.arange(len(first)), cache["Z"].argmax(axis=1)] = 1
        return {"W": cache["X"].T @ (first * dout)}

    output, cache = forward(X, {"W": W})
    found = cr.gradcheck(
        lambda W: forward(X, {"W": W})[0], W, vjp=lambda W, g: backward(g, forward(X, {"W": W})[1])["W"]
    )
    assert found.kinks
    assert output.shape == (3, 1)
    with Recording("a test") as recording:
        z = Tensor(cache["Z"], recordings=frozenset([recording]))
        node = np.max(z, axis=1)
    assert node.op.at_kink(node.value, z.value, **node.attrs).tolist() == [True, True, False]


# -- selections ------------------------------------------------------------------------------------

SPECIAL = A([0.0, -0.0, 1.0, -1.0, 2.0, -0.5, 1e3, -1e3, 1e200, -1e200, np.inf, -np.inf, np.nan])
SMOOTH = [
    op for op in ROWS
    if op.kind == ELEMENTWISE and op.differentiable and not op.flat and any(map(op.rule, range(len(op.domain))))
]  # fmt: skip


def _mixed(op: Operation) -> tuple[list[Any], Any]:
    """Return inputs, first from the row's domain, then of special values; and which are the first."""
    rng = np.random.default_rng(0)
    special = np.array(np.meshgrid(*[SPECIAL] * len(op.domain))).reshape(len(op.domain), -1)
    inputs = [np.concatenate([rng.uniform(low, high, 5), s]) for (low, high), s in zip(op.domain, special, strict=True)]
    return inputs, np.arange(inputs[0].size) < 5


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@for_each("way", ["eager", "numpy"])
@for_each("op", SMOOTH, ids=lambda op: op.name, every=3)
def test_an_inactive_branch_passes_no_gradient_on(op: Operation, way: str) -> None:
    inputs, active = _mixed(op)

    def derivatives(places: tuple[int, ...], where: Any) -> list[Any]:
        """Return the first and the second derivative, of the elements taken or of all."""

        def f(*xs: Any) -> Any:
            y = apply(op, xs, {}) * 1.5
            return np.sum((y if where is None else np.where(where, y, 0.0)) ** 2)

        gradient = cr.grad(f, places, allow_unused=True)

        def lengths(*xs: Any) -> Any:
            parts = gradient(*xs)
            return sum(np.sum((g if where is None else np.where(where, g, 0.0)) ** 2) for g in parts)

        return [gradient, cr.grad(lengths, places, allow_unused=True)]

    of_domain = [x[active] for x in inputs]
    for order in (0, 1):
        places = tuple(range(len(inputs)))
        try:
            expected = derivatives(places, None)[order](*of_domain)
        except TypeError:  # there is no formula for the derivative in the first inputs
            if order == 1:
                break
            places = places[-1:]
            expected = derivatives(places, None)[order](*of_domain)
        found = WAYS[way](derivatives(places, active)[order])(*inputs)
        for g, e in zip(found, expected, strict=True):
            np.testing.assert_array_equal(g[~active], 0)
            np.testing.assert_allclose(g[active], e, rtol=1e-7, atol=1e-9)


X = A([-1.0, 0.0, 1.0, 4.0])
INACTIVE: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "sqrt": (lambda x: np.where(x > 0, np.sqrt(x), 0.0), [0, 0, 0.5, 0.25]),
    "log": (lambda x: np.where(x > 0, np.log(x), x), [1, 1, 1, 0.25]),
    "x log x": (lambda x: np.where(x > 0, x * (np.log(x) - 1), 0), [0, 0, 0, np.log(4)]),
    "sinc": (lambda x: np.where(x == 0, 1.0, np.sin(x) / x), [0.30116868, 0, -0.30116868, -0.11611075]),
    "arctan2": (lambda x: np.where(x != 0, np.arctan2(x, x * x * 0), 0.0), [0, 0, 0, 0]),
    "power": (lambda x: np.where(x > 0, x**0.5 + np.power(x, 1.5), 0.0), [0, 0, 2, 3.25]),
    "nested": (lambda x: np.where(x > -5, np.where(x > 0, np.sqrt(x), 0.0), np.log(x)), [0, 0, 0.5, 0.25]),
    "nested, the outer": (lambda x: np.where(x > 0, np.where(x > -5, np.sqrt(x), 0.0), 0.0), [0, 0, 0.5, 0.25]),
    "select": (lambda x: np.select([x > 2, x > 0], [np.log(x), np.sqrt(x)], -x), [-1, -1, 0.5, 0.25]),
    "reshaped": (lambda x: np.where(x.reshape(2, 2) > 0, np.sqrt(x).reshape(2, 2), 0.0), [0, 0, 0.5, 0.25]),
    "transposed": (lambda x: np.where(x.reshape(2, 2).T > 0, np.sqrt(x).reshape(2, 2).T, 0.0), [0, 0, 0.5, 0.25]),
    "broadcast": (lambda x: np.where(x > 0, np.ones((3, 1)) * np.sqrt(x), 0.0), [0, 0, 1.5, 0.75]),
    "reduced": (lambda x: np.where([False, True], np.sum(np.sqrt(x.reshape(2, 2)), axis=1), 0.0), [0, 0, 0.5, 0.25]),
    "max": (lambda x: np.where([False, True], np.max(np.sqrt(x.reshape(2, 2)), axis=1), 0.0), [0, 0, 0, 0.25]),
    "maximum": (lambda x: np.maximum(np.sqrt(np.abs(x)), 0.5), [-0.5, 0, 0.5, 0.25]),
    "minimum": (lambda x: np.minimum(-np.sqrt(np.abs(x)), -0.5), [0.5, 0, -0.5, -0.25]),
    "relu": (lambda x: ops.relu(np.sqrt(np.abs(x)) - 0.5), [-0.5, 0, 0.5, 0.25]),
    "clip": (lambda x: np.clip(np.sqrt(np.abs(x)), 0.5, 1.5), [-0.5, 0, 0.5, 0]),
    "nanmax": (lambda x: np.nanmax(np.log(np.abs(x))), [0, 0, 0, 0.25]),
    "in a loop": (lambda x: sum((np.where(x > 0, np.sqrt(x), 0.0) for _ in range(3)), 0.0 * x), [0, 0, 1.5, 0.75]),
    "two users": (lambda x: np.where(x > 0, np.sqrt(x), 0.0) + np.where(x > 1, np.sqrt(x), 0.0), [0, 0, 0.5, 0.5]),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@for_each("way", WAYS)
@for_each("name", INACTIVE)
def test_selections_give_the_gradient_of_what_they_select(name: str, way: str) -> None:
    f, expected = INACTIVE[name]
    gradient = cr.grad(lambda x: np.sum(f(x)))
    close(WAYS[way](gradient)(X), A(expected, float), 1e-7)
    hessian = WAYS[way](cr.grad(lambda x: np.sum(np.cos(gradient(x)))))(X)
    assert np.isfinite(hessian).all()


def test_a_zero_that_is_not_from_a_selection_hides_nothing() -> None:
    with np.errstate(all="ignore"):
        found = cr.grad(lambda x: np.sum(np.where(x >= 0, np.sqrt(x) ** 2, 0.0)))(A([-1.0, 0.0, 1.0]))
    # at 0 the derivative of the root is infinite and that of the square zero: their product, 1, is not known
    np.testing.assert_array_equal(found, [0, np.nan, 1])


def test_without_selections_nothing_is_added_to_the_gradient() -> None:
    with Recording("a test") as recording:
        x = Tensor(np.linspace(0.5, 1, 4), recordings=frozenset([recording]))
        y = np.sum(np.sqrt(x) * np.tanh(x))
        (g,), _ = reverse([y], [Tensor(np.ones(()))], [x])
    seen, stack = set(), [g]
    while stack:
        node = stack.pop()
        seen.add(node.op.name if node.op else "")
        stack += node.inputs
    assert "where" not in seen


# -- logits of -inf --------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_excluded_classes_add_nothing(way: str, dtype: Any) -> None:
    z = A([[1.0, -np.inf, 2.0], [0.5, 1.0, -np.inf]], dtype)
    kept = [z[0, [0, 2]], z[1, [0, 1]]]
    p = [np.exp(k) / np.exp(k).sum() for k in kept]
    expected = A([[p[0][0] - 1, 0, p[0][1]], [p[1][0], p[1][1] - 1, 0]]) / 2
    loss = -(np.log(p[0][0]) + np.log(p[1][1])) / 2
    ids, rows = A([0, 1]), np.eye(3, dtype=dtype)[[0, 1]]
    for f in (
        lambda z: losses.cross_entropy(z, ids),
        lambda z: losses.cross_entropy(z, rows),
        lambda z: -np.mean(ops.log_softmax(z)[np.arange(2), ids]),
        lambda z: np.mean(ops.logsumexp(z, axis=1) - z[np.arange(2), ids]),
        lambda z: -np.mean(np.sum(np.where(rows > 0, np.log(ops.softmax(z)), 0), axis=1)),
    ):
        with np.errstate(all="ignore"):
            value, gradient = WAYS[way](cr.value_and_grad(f))(z)
        close(value, loss, 1e-6)
        close(gradient, expected, 1e-6)
    impossible, gradient = WAYS[way](cr.value_and_grad(lambda z: losses.cross_entropy(z, A([1, 1]))))(z)
    assert impossible == np.inf
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("way", WAYS)
def test_the_sum_of_nothing(way: str) -> None:
    nothing = np.full((2, 3), -np.inf)
    with np.errstate(all="ignore"):
        for f, value in ((ops.logsumexp, -np.inf), (lambda x: np.sum(np.exp(ops.logsumexp(x, axis=1))), 0.0),
                         (lambda x: np.logaddexp(x[0, 0], x[1, 1]), -np.inf)):  # fmt: skip
            assert WAYS[way](f)(nothing) == value
            np.testing.assert_array_equal(WAYS[way](cr.grad(f))(nothing), 0)
        half = A([[1.0, 2.0, -np.inf], [-np.inf, -np.inf, -np.inf]])
        second = WAYS[way](cr.grad(lambda x: np.sum(cr.grad(lambda x: np.sum(ops.logsumexp(x, axis=1)))(x) ** 2)))(half)
    assert np.isfinite(second).all()
