"""Forward passes as people write them: in place, example by example, at random, through time; and those that hide."""

from __future__ import annotations

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule.adapters.recording import Traced, Watch
from chainrule.audit.report import RIGHT, UNSEEN
from chainrule.core.tensor import Tensor
from tests.tables import in_turn, slow

rng = np.random.default_rng(5)
P = {"W1": rng.normal(size=(4, 6)), "b1": 0.1 * rng.normal(size=6), "W2": rng.normal(size=(6, 3)), "b2": np.zeros(3)}
X, Y = rng.normal(size=(9, 4)), rng.normal(size=(9, 3))
GENERATOR = np.random.default_rng(11)
KEEP = 0.7


def half_mse(A, Y):
    return 0.5 * np.sum((A - Y) ** 2) / len(Y)


def backward(c, Y, p, factor=1.0):
    m = len(Y)
    dZ2 = c["Z2"] - Y
    dA1 = dZ2 @ p["W2"].T
    if "D1" in c:
        dA1 = dA1 * c["D1"] / KEEP
    dZ1 = factor * dA1 * (c["A1"] > 0)
    return {
        "dZ2": dZ2, "dW2": c["H"].T @ dZ2 / m, "db2": dZ2.sum(0) / m, "dZ1": dZ1, "dW1": c["X"].T @ dZ1 / m,
        "db1": dZ1.sum(0) / m,
    }  # fmt: skip


def with_relu(relu, out=None):
    def forward(X, p):
        Z1 = X @ p["W1"] + p["b1"]
        A1 = relu(Z1)
        return {"X": X, "Z1": Z1, "A1": A1, "H": A1, "Z2": A1 @ p["W2"] + p["b2"]}

    return forward


def by_mask(Z):
    A = Z.copy()
    A[Z < 0] = 0
    return A


def by_out(Z):
    A = np.empty_like(Z)
    np.maximum(Z, 0, out=A)
    return A


def by_example(Z):
    A = np.zeros(Z.shape)
    for i in range(len(Z)):
        A[i] = np.maximum(Z[i], 0)
    return A


def by_element(Z):
    A = np.zeros_like(Z)
    for i in range(Z.shape[0]):
        for j in range(Z.shape[1]):
            if Z[i, j] > 0:
                A[i, j] = Z[i, j]
    return A


def by_list(Z):
    return np.array([np.where(z > 0, z, 0.0) for z in Z])


def in_place_product(Z):
    A = Z.copy()
    A *= Z > 0
    return A


def by_copyto(Z):
    A = np.zeros(Z.shape)
    np.copyto(A, Z, where=Z > 0)
    return A


RELUS = [by_mask, by_out, by_example, by_element, by_list, in_place_product, by_copyto]


@pytest.mark.parametrize("relu", in_turn(RELUS))
def test_writes_into_arrays_are_recorded(relu):
    given = dict(forward=with_relu(relu), loss=half_mse, parameters=P, X=X, Y=Y)
    report = cr.audit(backward, **given)
    assert report.ok, str(report)
    assert {s.verdict for s in report.steps} == {RIGHT}
    wrong = cr.audit(lambda c, Y, p: backward(c, Y, p, 2.0), **given)
    assert [(f.name, f.cause) for f in wrong.findings] == [("dZ1", "constant-factor")]


def dropout(X, p):
    Z1 = X @ p["W1"] + p["b1"]
    A1 = np.maximum(0, Z1)
    D1 = np.random.rand(*A1.shape) < KEEP
    H = A1 * D1 / KEEP
    return {"X": X, "Z1": Z1, "A1": A1, "D1": D1, "H": H, "Z2": H @ p["W2"] + p["b2"]}


def dropout_of_its_own(X, p):
    Z1 = X @ p["W1"] + p["b1"]
    A1 = np.maximum(0, Z1)
    D1 = GENERATOR.random(A1.shape) < KEEP
    H = A1 * D1 / KEEP
    return {"X": X, "Z1": Z1, "A1": A1, "D1": D1, "H": H, "Z2": H @ p["W2"] + p["b2"]}


@pytest.mark.parametrize("forward", [dropout, slow(dropout_of_its_own)])
def test_randomness_is_replayed_and_put_back(forward):
    state, own = np.random.get_state()[1].copy(), GENERATOR.bit_generator.state
    given = dict(forward=forward, loss=half_mse, parameters=P, X=X, Y=Y)

    def drawing(c, Y, p):
        np.random.rand(3)
        return backward(c, Y, p)

    assert cr.audit(drawing, **given).ok
    without = cr.audit(lambda c, Y, p: backward({k: v for k, v in c.items() if k != "D1"}, Y, p), **given)
    assert [(f.name, f.cause) for f in without.findings] == [("dZ1", "dropout-mask-missing")]
    assert np.array_equal(np.random.get_state()[1], state) and GENERATOR.bit_generator.state == own


def overwritten(X, p):
    Z1 = X @ p["W1"] + p["b1"]
    cache = {"X": X, "Z1": Z1}
    A1 = np.tanh(Z1, out=Z1)
    cache.update(A1=A1, H=A1, Z2=A1 @ p["W2"] + p["b2"])
    return cache


def test_a_cache_that_is_overwritten_is_found_where_it_matters():
    def at(name):
        def passed(c, Y, p):
            m = len(Y)
            dZ2 = (c["Z2"] - Y) / m
            slope = 1 - np.tanh(c["Z1"]) ** 2 if name == "Z1" else 1 - c["A1"] ** 2
            dZ1 = dZ2 @ p["W2"].T * slope
            return {"dZ2": dZ2, "dZ1": dZ1, "dW1": c["X"].T @ dZ1}

        return passed

    given = dict(forward=overwritten, loss=half_mse, parameters=P, X=X, Y=Y, only=("W1",))
    assert cr.audit(at("A1"), **given).ok
    report = cr.audit(at("Z1"), **given)
    assert [(f.name, f.cause) for f in report.findings] == [("Z1", "inconsistent-cache")]


def test_a_sum_in_place_overwrites_what_was_stored_before():
    def forward(X, p, copied=False):
        H = X @ p["W"]
        cache = {"X": X, "H": H.copy() if copied else H}
        H += np.tanh(H @ p["V"])
        return {**cache, "S": H}

    def passed(c, Y, p):
        dS = (c["S"] - Y) / len(Y)
        dH = dS + (dS * (1 - np.tanh(c["H"] @ p["V"]) ** 2)) @ p["V"].T
        return {"dS": dS, "dW": c["X"].T @ dH}

    r = np.random.default_rng(1)
    weights = {"W": r.normal(size=(4, 3)), "V": r.normal(size=(3, 3))}
    given = dict(loss=half_mse, parameters=weights, X=X, Y=Y, only=("W",))
    assert cr.audit(passed, forward=lambda X, p: forward(X, p, True), **given).ok
    report = cr.audit(passed, forward=forward, **given)
    assert [(f.name, f.cause) for f in report.findings] == [("H", "inconsistent-cache")], str(report)


def test_a_loss_that_returns_a_python_number_is_recorded():
    given = dict(forward=with_relu(by_mask), parameters=P, X=X, Y=Y)
    assert cr.audit(backward, loss=lambda A, Y: float(half_mse(A, Y)), **given).ok
    report = cr.audit(backward, loss=lambda A, Y: half_mse(A, Y).item(), **given)
    assert report.ok and UNSEEN not in {s.verdict for s in report.steps}


def hidden(X, p):
    Z1 = X @ p["W1"] + p["b1"]
    A1 = np.array([[max(0.0, math.fsum([z])) for z in row] for row in Z1.tolist()])
    return {"X": X, "Z1": Z1, "A1": A1, "H": A1, "Z2": A1 @ p["W2"] + p["b2"]}


def test_a_forward_that_cannot_be_recorded_is_held_to_finite_differences():
    given = dict(forward=hidden, loss=half_mse, parameters=P, X=X, Y=Y)
    report = cr.audit(backward, **given)
    assert report.ok and any("could not be recorded" in n for n in report.notes)
    assert {s.name: s.verdict for s in report.steps} == {
        "dZ2": UNSEEN, "dW2": RIGHT, "db2": RIGHT, "dZ1": UNSEEN, "dW1": RIGHT, "db1": RIGHT,
    }  # fmt: skip
    report = cr.audit(lambda c, Y, p: {k: v * len(Y) for k, v in backward(c, Y, p).items()}, **given)
    assert {(f.name, f.cause) for f in report.findings} == {(n, "missing-mean") for n in ("dW2", "db2", "dW1", "db1")}


@pytest.mark.parametrize("rows", [True, False])
def test_losses_of_the_library_by_name(rows):
    labels = rng.integers(3, size=9)

    def forward(X, p):
        return {"X": X, "Z": X @ p["W"] if rows else p["W"] @ X}

    def passed(c, Y, p):
        Z = c["Z"] if rows else c["Z"].T
        e = np.exp(Z - Z.max(1, keepdims=True))
        dZ = e / e.sum(1, keepdims=True)
        dZ[np.arange(len(Y)), Y] -= 1
        dZ /= len(Y)
        return {"dZ": dZ, "dW": c["X"].T @ dZ} if rows else {"dZ": dZ.T, "dW": dZ.T @ c["X"].T}

    W = rng.normal(size=(4, 3))
    report = cr.audit(
        passed,
        forward=forward,
        loss="cross_entropy",
        parameters={"W": W if rows else W.T},
        X=X if rows else X.T,
        Y=labels,
    )
    assert report.ok and {s.verdict for s in report.steps} == {RIGHT}


def test_gradients_in_lists_and_positions():
    layers = [{"W": P["W1"], "b": P["b1"]}, {"W": P["W2"], "b": P["b2"]}]

    def forward(X, layers):
        A = [X]
        for layer in layers:
            A.append(np.tanh(A[-1] @ layer["W"] + layer["b"]))
        return A[-1], {"A": A}

    def passed(c, Y, layers):
        A, grads = c["A"], [None, None]
        dA = (A[-1] - Y) / len(Y)
        for i in (1, 0):
            dZ = dA * (1 - A[i + 1] ** 2)
            grads[i] = (A[i].T @ dZ, dZ.sum(0))
            dA = dZ @ layers[i]["W"].T
        return [g for pair in grads for g in pair]

    report = cr.audit(passed, forward=forward, loss=half_mse, parameters=layers, X=X, Y=Y)
    assert report.ok and len(report.steps) == 4


def through_time(X, p):
    h = [np.zeros((len(X), len(p["b"])))]
    for t in range(X.shape[1]):
        h.append(np.tanh(X[:, t] @ p["Wx"] + h[-1] @ p["Wh"] + p["b"]))
    return {"X": X, "h": h, "y": h[-1] @ p["Wy"]}


@pytest.mark.parametrize(
    ("wrong", "step", "cause", "signals"),
    [
        ("", None, None, True),
        ("", None, None, False),
        ("no tanh", "dh[2]", "missing-activation-derivative", True),
        slow("no tanh", "dh[2]", "missing-activation-derivative", False),
        slow("last step alone", "dWh", "missing-term", True),
        ("last step alone", "dWh", "missing-term", False),
        slow("state after the step", "dWh", "wrong-operand", True),
        slow("state after the step", "dWh", "wrong-operand", False),
    ],
)
def test_a_recurrent_network_with_its_states_in_a_list(wrong, step, cause, signals):
    def passed(c, Y, p):
        dy = (c["y"] - Y) / len(Y)
        dh, grads = dy @ p["Wy"].T, {"dy": dy, "dWy": c["h"][-1].T @ dy}
        states, total = [None] * len(c["h"]), {k: np.zeros_like(p[k]) for k in ("Wx", "Wh", "b")}
        for t in reversed(range(1, len(c["h"]))):
            states[t] = dh
            da = dh if wrong == "no tanh" else dh * (1 - c["h"][t] ** 2)
            if not (wrong == "last step alone" and t < len(c["h"]) - 1):
                total["Wh"] += c["h"][t if wrong == "state after the step" else t - 1].T @ da
            total["Wx"] += c["X"][:, t - 1].T @ da
            total["b"] += da.sum(0)
            dh = da @ p["Wh"].T
        states[0] = dh
        grads.update({"d" + k: v for k, v in total.items()})
        return {**grads, "dh": states} if signals else grads

    r = np.random.default_rng(4)
    p = {
        "Wx": r.normal(size=(3, 5)),
        "Wh": r.normal(size=(5, 5)) / 2,
        "b": 0.1 * r.normal(size=5),
        "Wy": r.normal(size=(5, 2)),
    }
    report = cr.audit(
        passed, forward=through_time, loss=half_mse, parameters=p, X=r.normal(size=(6, 3, 3)), Y=r.normal(size=(6, 2))
    )
    found = [(f.name, f.cause) for f in report.findings]
    if step is None:
        assert not found
    elif wrong == "last step alone" and not signals:  # as if nothing were carried back
        assert found[0] in [(step, cause), (step, "truncated")], str(report)
    elif signals or not step.startswith("dh"):
        assert found[0] == (step, cause), str(report)
    else:  # no signals were returned: the first parameter behind it
        assert found == [("dWx", cause)] or found == [("dWh", cause)], str(report)


# -- the stand-in for an array -----------------------------------------------------------------------------------------


def traced(value):
    return Traced(Tensor(np.array(value, np.float64), recordings=frozenset({Watch()})))


def test_views_share_their_memory():
    A = traced(np.arange(6.0).reshape(2, 3))
    row = A[0]
    row[1] = 10.0
    row += 1.0
    assert np.array_equal(A.node.value, [[1, 11, 3], [3, 4, 5]])
    A[...] = 0.0
    assert np.array_equal(row.node.value, np.zeros(3))


@pytest.mark.parametrize(
    "write",
    [
        lambda a: a.__setitem__((slice(None), 1), -1.0),
        lambda a: a.__setitem__(a > 2, 0.0),
        lambda a: a.__setitem__(a > 2, np.arange(3.0)),
        lambda a: a.__setitem__(([0, 1], [1, 2]), [7.0, 8.0]),
        lambda a: a.__setitem__(slice(None, None, -1), np.ones((2, 3))),
        lambda a: np.add.at(a, ([0, 0], [1, 1]), 1.0),
        lambda a: np.multiply(a, 2.0, out=a),
        lambda a: np.divide(1.0, a, out=a, where=a > 0.5),
        lambda a: a.fill(3.0),
    ],
)
def test_a_write_does_what_numpy_does(write):
    array = np.arange(6.0).reshape(2, 3)
    stand_in = traced(array)
    with np.errstate(divide="ignore"):
        write(array)
        write(stand_in)
    assert np.array_equal(stand_in.node.value, array)
