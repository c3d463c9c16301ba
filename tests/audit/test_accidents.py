"""Passes that are right under a condition, on the caller's data alone, or for a reason that may be doubted."""

import numpy as np
import pytest

import chainrule as cr
from tests.tables import for_each

rng = np.random.default_rng(3)
X = rng.normal(size=(7, 4))
SQUARE = rng.normal(size=(4, 4))


def scaled_norm(x, g, b):
    v = x.var(axis=0)
    h = (x - x.mean(axis=0)) / np.sqrt(v + 1e-5)
    return g * h + b, (h, v, g)


def scaled_norm_without_g(dout, cache):
    h, v, _ = cache
    dx = (dout - dout.mean(axis=0) - h * (dout * h).mean(axis=0)) / np.sqrt(v + 1e-5)
    return dx, (dout * h).sum(axis=0), dout.sum(axis=0)


def linear(x, W):
    return x @ W, (x, W)


def linear_not_transposed(dout, cache):
    x, W = cache
    return dout @ W, x.T @ dout


def dense(x, W, b):
    return np.maximum(x @ W + b, 0), (x, W, b)


def dense_without_bias(dout, cache):
    x, W, _ = cache
    dz = dout * (x @ W > 0)
    return dz @ W.T, x.T @ dz, dz.sum(axis=0)


def affine(x, W, b):
    return x @ W + b, (x, W)


def affine_all_summed(dout, cache):
    x, W = cache
    return dout @ W.T, x.T @ dout, np.sum(dout)


def affine_outer(dout, cache):
    x, W = cache
    return np.outer(dout, W), x.T @ dout, dout.sum(axis=0)


def affine_right(dout, cache):
    x, W = cache
    return dout @ W.T, x.T @ dout, dout.sum(axis=0)


CONDITIONS = {
    "gamma of ones": (scaled_norm, scaled_norm_without_g, (X, np.ones(4), np.zeros(4)), "every element of g is 1"),
    "gamma of twos": (scaled_norm, scaled_norm_without_g, (X, np.full(4, 2.0), np.zeros(4)), ""),
    "symmetric weights": (linear, linear_not_transposed, (X, SQUARE + SQUARE.T), "W is symmetric"),
    "other weights": (linear, linear_not_transposed, (X, SQUARE), ""),
    "biases of zeros": (dense, dense_without_bias, (X, SQUARE, np.zeros(4)), "every element of b is 0"),
    "other biases": (dense, dense_without_bias, (X, SQUARE, np.full(4, 0.7)), ""),
}  # fmt: skip


@for_each("case", CONDITIONS, every=4)
def test_the_condition_of_an_accident_is_said(case):
    forward, backward, inputs, condition = CONDITIONS[case]
    report = cr.audit_layer(forward, backward, *inputs)
    assert not report.ok
    message = report.findings[0].message
    assert (f"right by accident, as long as {condition}." in message) if condition else "accident" not in message


UNITS = {
    "all summed": (affine_all_summed, "db would be wrong"),
    "outer product": (affine_outer, "dx would be wrong"),
    "right": (affine_right, ""),
}


@for_each("case", UNITS)
def test_one_output_unit(case):
    backward, said = UNITS[case]
    report = cr.audit_layer(affine, backward, X, rng.normal(size=(4, 1)), rng.normal(size=1))
    notes = [n for n in report.notes if "output unit" in n]
    assert report.ok and (notes == [f"right for one output unit only: with more, {said}"] if said else not notes)


def forward(X, P):
    Z = X @ P["W"]
    return {"A0": X, "Z": Z, "A": np.tanh(Z)}


def loss(A, Y):
    return np.sum((A - Y) ** 2) / len(Y)


Y, P = rng.normal(size=(7, 3)), {"W": rng.normal(size=(4, 3))}


def outside(factor):
    inner = {"P": P, "X": X}

    def backward(cache, targets, parameters):
        dA = 2 * (cache["A"] - Y) / 7
        dZ = dA * (1 - cache["A"] ** 2)
        return {"dA": dA, "dZ": dZ, "dW": factor * inner["X"].T @ dZ}

    return backward


def test_data_read_from_outside():
    report = cr.audit(outside(1), forward=forward, loss=loss, parameters=P, X=X, Y=Y)
    assert report.ok and report.notes[0].startswith("right on your data; backward reads") and "X" in report.notes[0]
    report = cr.audit(outside(2), forward=forward, loss=loss, parameters=P, X=X, Y=Y)
    assert [(f.name, f.cause) for f in report.findings] == [("dW", "constant-factor")]
    assert report.notes[0].startswith("backward reads")


# -- right, because … --------------------------------------------------------------------------------------------------


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def keeping(function):
    def forward(z):
        a = function(z)
        return a, {"z": z, "a": a}

    return forward


def sigmoid_by_output(dout, cache):
    a = cache["a"]
    return dout * a * (1 - a)


def sigmoid_by_input(dout, cache):
    z = cache["z"]
    return dout * np.exp(-z) / (1 + np.exp(-z)) ** 2


def tanh_by_output(dout, cache):
    return dout * (1 - cache["a"] ** 2)


def relu_by_output(dout, cache):
    return dout * (cache["a"] > 0)


def relu_by_input(dout, cache):
    return dout * (cache["z"] > 0)


def relu(z):
    return np.maximum(z, 0)


ACTIVATIONS = {
    "sigmoid, output": (sigmoid, sigmoid_by_output, "σ′(z) = a (1 − a)"),
    "sigmoid, input": (sigmoid, sigmoid_by_input, ""),
    "tanh": (np.tanh, tanh_by_output, "tanh′(z) = 1 − a²"),
    "relu, output": (relu, relu_by_output, "a > 0 exactly where z > 0"),
    "relu, input": (relu, relu_by_input, ""),
}


@for_each("case", ACTIVATIONS)
def test_reasons_of_activations(case):
    function, backward, reason = ACTIVATIONS[case]
    report = cr.audit_layer(keeping(function), backward, rng.normal(size=(6, 3)))
    assert report.ok
    assert [r for r in report.reasons if reason in r.message] if reason else not report.reasons


def test_reasons_of_a_mask_from_an_unpacked_cache():
    def forward(x, W):
        z = x @ W
        out = np.maximum(z, 0)
        return out, (x, W, z, out)

    def by_output(dout, cache):
        x, W, z, a = cache
        dz = dout * (a > 0) * np.ones_like(z)
        return dz @ W.T, x.T @ dz

    def by_input(dout, cache):
        x, W, z, a = cache
        dz = dout * (z > 0) * np.ones_like(a)
        return dz @ W.T, x.T @ dz

    x, W = rng.normal(size=(6, 4)), rng.normal(size=(4, 3))
    for backward, said in ((by_output, True), (by_input, False)):
        report = cr.audit_layer(forward, backward, x, W)
        assert report.ok and any("a > 0 exactly where z > 0" in r.message for r in report.reasons) is said, report


def test_reasons_of_a_network():
    targets = np.eye(3)[rng.integers(0, 3, 7)]

    def forward(X, P):
        Z = X @ P["W"]
        return {"A0": X, "Z": Z, "A": np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)}

    def loss(A, Y):
        return -np.sum(Y * np.log(A)) / len(Y)

    def backward(cache, Y, P):
        dZ = (cache["A"] - Y) / len(Y)
        return {"dZ": dZ, "dW": cache["A0"].T @ dZ}

    report = cr.audit(backward, forward=forward, loss=loss, parameters=P, X=X, Y=targets)
    assert [r.name for r in report.reasons] == ["dZ", "dZ"]
    assert "cancel to A − the target" in report.reasons[0].message and "1/m is kept in dZ" in report.reasons[1].message
    assert "Right, because" in str(report) and report.to_dict()["reasons"]

    def wrong(cache, Y, P):
        return {name: -g for name, g in backward(cache, Y, P).items()}

    assert not cr.audit(wrong, forward=forward, loss=loss, parameters=P, X=X, Y=targets).reasons


@pytest.mark.parametrize("early", [False, True])
def test_reason_of_a_pass_that_updates(early):
    class Dense:
        def __init__(self):
            self.W = np.array(SQUARE)

        def forward(self, x):
            self.x = x
            return x @ self.W

        def backward(self, dout, lr=0.1):
            dx = dout @ self.W.T
            self.W -= lr * self.x.T @ dout
            return dout @ self.W.T if early else dx

    report = cr.audit_module(Dense(), X)
    assert report.ok is not early
    assert [r.message for r in report.reasons] == (
        [] if early else ["it is formed with the weights before their update"]
    )


# -- writes ------------------------------------------------------------------------------------------------------------

LABELS = rng.integers(0, 3, 6)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def entropy(z, y):
    p = softmax(z)
    return -np.mean(np.log(p[range(len(y)), y])), {"P": p, "y": y}


def entropy_in_place(dout, cache):
    d, m = cache["P"], len(cache["y"])
    d[range(m), cache["y"]] -= 1
    d /= m
    return d * dout


def kept_relu(x):
    return np.maximum(x, 0), {"x": x.copy()}


def mask_twice(dout, cache):
    cache["x"][cache["x"] < 0] = 0
    dout[cache["x"] == 0] = 0
    return dout


def kept_sigmoid(x):
    out = sigmoid(x)
    return out, out


def output_in_place(dout, out):
    out *= 1 - out
    return dout * out


def square(x):
    return x**2, x


def input_in_place(dout, x):
    x *= 2
    return dout * x


WRITES = {
    "cache": (entropy, entropy_in_place, (rng.normal(size=(6, 3)), LABELS), "P in place: harmless in training"),
    "cache and dout": (kept_relu, mask_twice, (rng.normal(size=(6, 3)),), "x, dout in place: harmless, a second call"),
    "output": (kept_sigmoid, output_in_place, (rng.normal(size=(6, 3)),), ""),
    "input": (square, input_in_place, (rng.normal(size=(6, 3)),), ""),
}


@for_each("case", WRITES)
def test_writes_into_the_callers_arrays_are_errors_others_a_note(case):
    forward, backward, inputs, said = WRITES[case]
    report = cr.audit_layer(forward, backward, *inputs)
    assert [f.cause for f in report.findings] == ([] if said else ["mutates-input"])
    notes = [n for n in report.notes if "in place" in n]
    assert [said in n for n in notes] == ([True] if said else [])


def network_forward(X, p):
    s = X @ p["W"] + p["b"]
    e = np.exp(s - s.max(1, keepdims=True))
    return {"X": X, "S": s, "P": e / e.sum(1, keepdims=True)}


def labels_subtracted(c, y, p):
    d = c["P"]
    d[range(len(y)), y] -= 1
    d /= len(y)
    return {"dW": c["X"].T @ d, "db": d.sum(0)}


def too_early(c, y, p):
    d = c["P"]
    d[range(len(y)), y] -= 1
    return {"dW": c["X"].T @ c["P"] / len(y), "db": (c["P"] * (c["P"] > 0)).sum(0) / len(y)}


def weights_decayed(c, y, p):
    grads = labels_subtracted(c, y, p)
    p["W"] *= 0.99
    return grads


def inputs_scaled(c, y, p):
    grads = labels_subtracted(c, y, p)
    c["X"] *= 0
    return grads


def with_output(X, p):
    cache = network_forward(X, p)
    return cache["P"], cache


ONE_HOT = {
    "difference": (lambda P, Y: P - Y, False),
    "largest": (lambda P, Y: P - (Y == Y.max(1, keepdims=True)), True),
    "where it is one": (lambda P, Y: np.where(Y == 1, P - 1, P), True),
}


@for_each("case", ONE_HOT)
def test_what_is_right_for_one_hot_targets_only_is_a_note(case):
    error, only = ONE_HOT[case]

    def backward(c, Y, p):
        d = error(c["P"], Y) / len(Y)
        return {"dS": d, "dW": c["X"].T @ d, "db": d.sum(0)}

    def audited(Y):
        p, X = {"W": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}, rng.normal(size=(6, 4))
        entropy = lambda P, Y: -np.sum(Y * np.log(P)) / len(Y)  # noqa: E731
        return cr.audit(backward, forward=network_forward, loss=entropy, parameters=p, X=X, Y=Y)

    report = audited(np.eye(3)[LABELS])
    said = "right for one-hot targets; with soft targets, dS"
    assert report.ok and any(said in n for n in report.notes) == only
    soft = rng.uniform(0.1, 1, size=(6, 3))
    assert audited(soft / soft.sum(1, keepdims=True)).ok != only


def probabilities(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


LARGEST, FIRST = (lambda d: np.abs(d).argmax(1)), (lambda d: (d != 0).argmax(1))


def at_one_position(dout, p, factor=1.0, position=LARGEST):
    at, rows = position(dout), np.arange(len(p))
    return (dout[rows, at] * p[rows, at])[:, None] * (np.eye(p.shape[1])[at] - factor * p)


@for_each("position", [LARGEST, FIRST])
@pytest.mark.slow
def test_a_softmax_that_reads_one_position_of_dout(position):
    z = rng.normal(size=(6, 3))
    forward = lambda z: (probabilities(z),) * 2  # noqa: E731
    report = cr.audit_layer(forward, lambda d, p: at_one_position(d, p, 1.0, position), z)
    assert report.ok and any("right for one-hot targets" in n for n in report.notes)
    assert not cr.audit_layer(forward, lambda d, p: at_one_position(d, p, 2.0, position), z).ok
    assert not cr.audit_layer(forward, lambda d, p: d * p, z).ok


NETWORK_WRITES = {
    "cache": (network_forward, labels_subtracted, []),
    "cache, then read": (network_forward, too_early, ["db"]),
    "parameter": (network_forward, weights_decayed, ["backward"]),
    "input": (network_forward, inputs_scaled, ["backward"]),
    "output beside the cache": (with_output, labels_subtracted, ["backward"]),
}


@for_each("case", NETWORK_WRITES)
def test_writes_into_the_cache_of_a_network_are_a_note(case):
    forward, backward, wrong = NETWORK_WRITES[case]
    p = {"W": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}
    entropy = lambda P, y: -np.log(P[range(len(y)), y]).mean()  # noqa: E731
    report = cr.audit(backward, forward=forward, loss=entropy, parameters=p, X=rng.normal(size=(6, 4)), Y=LABELS)
    assert [f.name for f in report.findings] == wrong
    assert report.ok == (not wrong)
    if wrong != ["backward"]:
        said = "P in place: harmless in training, but a second" if report.ok else "P in place: a second call"
        assert any(said in n for n in report.notes)


# -- a loss of every example with every other one ----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7,), (7, 1)])
def test_a_loss_that_mixes_examples_is_named(shape):
    targets, parameters = rng.normal(size=shape), {"W": rng.normal(size=(4, 1))}

    def forward(X, P):
        return {"A0": X, "Z": X @ P["W"]}

    def loss(Z, Y):
        return np.mean((Z - Y) ** 2)

    def backward(cache, Y, P):
        difference = cache["Z"] - Y
        dZ = 2 * (difference.mean(axis=1, keepdims=True) if mixed else difference) / len(Y)
        return {"dZ": dZ, "dW": cache["A0"].T @ dZ}

    mixed = len(shape) == 1
    report = cr.audit(backward, forward=forward, loss=loss, parameters=parameters, X=X, Y=targets)
    mixing = [n for n in report.notes if "mixes examples" in n]
    assert report.ok and [("(7, 1) and (7,)" in n and "7×7" in n) for n in mixing] == ([True] if mixed else [])
