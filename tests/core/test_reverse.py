"""The reverse pass itself: order, accumulation, un-broadcasting, names, what it keeps; on arrays and recorded."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import ops
from chainrule.core.apply import apply
from chainrule.core.node import Recording
from chainrule.core.reverse import fitted, reverse, topological
from chainrule.core.tensor import Tensor, constant, traced_leaf
from tests.ops.checking import close

A, B = np.array([1.0, 2.0, 3.0]), np.array([0.5, -1.0, 2.0])
ONE = np.ones(())


def leaf(x: Any, name: str | None = None) -> Tensor:
    with Recording("a test") as recording:
        return Tensor(np.asarray(x, float), name=name, recordings=frozenset({recording}))


def test_inputs_come_before_users() -> None:
    x = leaf(A)
    y = np.sum(np.exp(x) * x + np.sin(x))
    order = topological([y])
    place = {id(n): i for i, n in enumerate(order)}
    assert len(place) == len(order)  # each once
    for node in order:
        assert all(place[id(i)] < place[id(node)] for i in node.inputs)
    assert order[-1] is y


def test_values_used_more_than_once_add_up() -> None:
    x = leaf(A)
    y = x * x
    (g,), _ = reverse([np.sum(y + y * x + x)], [ONE], [x])
    close(g, 2 * A + 3 * A**2 + 1, 1e-15)


def test_several_outputs_and_repeated_outputs() -> None:
    x = leaf(A)
    y = x * 2
    (g,), _ = reverse([y, y, x], [A, B, A], [x])
    close(g, 2 * A + 2 * B + A, 1e-15)


def test_values_in_between_get_their_total_derivative() -> None:
    x = leaf(A)
    y = np.exp(x)
    z = y * y
    (gy, gz, gx), _ = reverse([np.sum(z)], [ONE], [y, z, x])
    close(gy, 2 * np.exp(A), 1e-15)
    close(gz, np.ones(3), 0)
    close(gx, 2 * np.exp(2 * A), 1e-15)


def test_what_is_not_reached() -> None:
    x, other = leaf(A), leaf(B)
    (_, none), _ = reverse([np.sum(x)], [ONE], [x, other])
    assert none is None
    (flat,), _ = reverse([np.sum(np.floor(x))], [ONE], [x])
    assert flat.shape == (3,) and not flat.any()


def test_everything_on_the_way_can_be_kept() -> None:
    x, other = leaf(A, "X"), leaf(B)
    y = np.tanh(x).named("Y")
    loss = np.sum(y * other)
    _, kept = reverse([loss], [ONE], [x], keep=True)
    close(kept[id(y)], B, 0)
    close(kept[id(x)], B * (1 - np.tanh(A) ** 2), 1e-15)
    assert kept[id(loss)] is ONE and id(other) not in kept
    assert reverse([loss], [ONE], [x])[1] == {}


def test_gradients_are_named_after_their_values() -> None:
    x = leaf(A, "X")
    z = (x * 3.0).named("Z1")
    (gx, gz), _ = reverse([np.sum(z**3)], [constant(ONE)], [x, z])
    assert (gx.name, gz.name) == ("dX", "dZ1")


def test_the_recorded_pass_is_a_graph() -> None:
    x = leaf(A)
    (g,), _ = reverse([np.sum(x**3)], [constant(ONE)], [x])
    assert isinstance(g, Tensor) and g.op is not None
    (second,), _ = reverse([np.sum(g)], [ONE], [x])
    close(second, 6 * A, 1e-14)


def test_a_traced_pass_has_shapes_only() -> None:
    with Recording("a trace") as recording:
        x = traced_leaf((4, 3), np.float32, frozenset({recording}), name="X")
        loss = np.mean(np.tanh(x @ np.ones((3, 2), np.float32)) ** 2)
        (g,), _ = reverse([loss], [constant(np.ones((), np.float32))], [x])
    assert (g.shape, g.dtype, g.value, g.name) == ((4, 3), np.float32, None, "dX")


def test_casts_go_back_to_the_dtype_of_each_input() -> None:
    x = Tensor(np.ones(3, np.float32), recordings=leaf(0).recordings)
    y = np.sum(x * np.ones(3))
    assert y.dtype == np.float64
    (g,), _ = reverse([y], [ONE], [x])
    assert g.dtype == np.float32


def test_a_rule_that_gives_a_wrong_shape_is_caught() -> None:
    broken = replace(ops.row("exp"), vjp=(lambda g, out, x: np.ones((7, 2)),))
    x = leaf(A)
    with pytest.raises((AssertionError, ValueError), match=r"rule 0 of exp|broadcast|reshape"):
        reverse([apply(broken, (x,), {})], [np.ones(3)], [x])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=3), st.lists(st.booleans(), min_size=3, max_size=3), st.integers(0, 3))
def test_unbroadcast_is_the_adjoint_of_broadcast(shape: list[int], ones: list[bool], cut: int) -> None:
    full = tuple(shape)
    small = tuple(1 if one else d for d, one in zip(full, ones, strict=False))[min(cut, len(full)) :]
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=small), rng.normal(size=full)
    back = ops.unbroadcast(g, small)
    assert back.shape == small
    assert np.isclose(np.sum(np.broadcast_to(x, full) * g), np.sum(x * back))
    assert fitted(g, Tensor(x), "a row", 0).shape == small


def test_random_graphs_agree_with_the_chain_rule_by_hand() -> None:
    """Forward-mode duals, written here, against the reverse pass on random programs."""
    rng = np.random.default_rng(5)
    for _ in range(30):
        x = leaf(rng.normal(size=3))
        assert x.value is not None
        values: list[Any] = [x]
        duals = [(x.value, np.eye(3))]  # (value, Jacobian in x)
        for _ in range(12):
            i, j = rng.integers(len(values), size=2)
            (u, du), (v, dv) = duals[i], duals[j]
            kind = rng.integers(4)
            if kind == 0:
                values.append(values[i] + values[j])
                duals.append((u + v, du + dv))
            elif kind == 1:
                values.append(values[i] * values[j])
                duals.append((u * v, v[:, None] * du + u[:, None] * dv))
            elif kind == 2:
                values.append(np.tanh(values[i]))
                duals.append((np.tanh(u), (1 - np.tanh(u) ** 2)[:, None] * du))
            else:
                values.append(values[i][::-1])
                duals.append((u[::-1], du[::-1]))
        w = rng.normal(size=3)
        (g,), _ = reverse([np.sum(w * values[-1])], [ONE], [x])
        close(np.zeros(3) if g is None else g, w @ duals[-1][1], 1e-12)


def test_a_given_cotangent_is_passed_on_in_place_of_the_accumulated_one() -> None:
    x = leaf(A)
    inner = np.exp(x)
    y = np.sum(inner * inner + x)  # x also has a path of its own
    given_here = np.array([2.0, -1.0, 0.5])
    (g_inner, g), _ = reverse([y], [ONE], [inner, x], given={id(inner): given_here})
    close(g_inner, given_here, 0.0)
    close(g, given_here * np.exp(A) + 1, 1e-15)
    (g,), passed = reverse([y], [ONE], [x], keep=True, given={id(x): given_here, id(leaf(A)): B})
    close(g, given_here, 0.0)
    close(passed[id(inner)], 2 * np.exp(A), 1e-15)
    (g,), _ = reverse([y], [ONE], [x], given={id(inner): leaf(given_here)})
    close(np.asarray(g.value), given_here * np.exp(A) + 1, 1e-15)
