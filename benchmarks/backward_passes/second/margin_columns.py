"""A tanh layer and one score, labels −1 and 1, the mean of max(0, 1 − y s); examples in columns."""

import numpy as np

from benchmarks.backward_passes.cases import network


def data():
    rng = np.random.default_rng(131)
    X = rng.normal(size=(3, 20))
    Y = np.where(X[:1] + X[1:2] > 0, 1.0, -1.0)
    parameters = {
        "W1": rng.normal(size=(6, 3)),
        "b1": 0.1 * rng.normal(size=(6, 1)),
        "w2": rng.normal(size=(1, 6)),
        "b2": np.zeros((1, 1)),
    }
    return parameters, X, Y


def forward(X, parameters):
    Z = parameters["W1"] @ X + parameters["b1"]
    H = np.tanh(Z)
    s = parameters["w2"] @ H + parameters["b2"]
    return s, {"X": X, "Z": Z, "H": H, "s": s}


def loss(s, Y):
    return np.mean(np.maximum(0, 1 - Y * s))


wrong, right = network(forward, loss, data)


@right(convention="only the violating examples are gone through")
def violating_examples(cache, Y, parameters):
    m = Y.shape[1]
    grads = {"d" + name: np.zeros_like(value) for name, value in parameters.items()}
    for i in np.flatnonzero(Y * cache["s"] < 1):
        y, h, x = Y[0, i], cache["H"][:, i : i + 1], cache["X"][:, i : i + 1]
        grads["dw2"] -= y * h.T / m
        grads["db2"] -= y / m
        back = -y * parameters["w2"].T * (1 - h * h) / m
        grads["dW1"] += back @ x.T
        grads["db1"] += back
    return grads


@wrong(step="ds", cause="sign", or_step=("dw2", "db2"))
def minus_of_the_hinge_forgotten(cache, Y, parameters):
    m = Y.shape[1]
    ds = Y * (Y * cache["s"] < 1) / m
    dZ = parameters["w2"].T @ ds * (1 - cache["H"] ** 2)
    return {
        "ds": ds, "dw2": ds @ cache["H"].T, "db2": ds.sum(axis=1, keepdims=True),
        "dZ": dZ, "dW1": dZ @ cache["X"].T, "db1": dZ.sum(axis=1, keepdims=True),
    }  # fmt: skip


@wrong(step="ds", cause="missing-factor", also=("missing-term", "missing-activation-derivative", "wrong-operand"))
def every_example_pushes(cache, Y, parameters):
    m = Y.shape[1]
    ds = -Y / m
    dZ = parameters["w2"].T @ ds * (1 - cache["H"] ** 2)
    return {
        "ds": ds, "dw2": ds @ cache["H"].T, "db2": ds.sum(axis=1, keepdims=True),
        "dZ": dZ, "dW1": dZ @ cache["X"].T, "db1": dZ.sum(axis=1, keepdims=True),
    }  # fmt: skip


@wrong(step="ds", cause="wrong-operand", also=("missing-term", "wrong-activation-derivative"), subtle=True)
def perceptron_rule_without_the_margin(cache, Y, parameters):
    m = Y.shape[1]
    ds = np.where(Y * cache["s"] < 0, -Y, 0.0) / m
    dZ = parameters["w2"].T @ ds * (1 - cache["H"] ** 2)
    return {
        "ds": ds, "dw2": ds @ cache["H"].T, "db2": ds.sum(axis=1, keepdims=True),
        "dZ": dZ, "dW1": dZ @ cache["X"].T, "db1": dZ.sum(axis=1, keepdims=True),
    }  # fmt: skip


@wrong(step="ds", cause="missing-factor", also=("wrong-operand",))
def label_forgotten(cache, Y, parameters):
    m = Y.shape[1]
    ds = -(1.0 - Y * cache["s"] > 0).astype(float) / m
    dZ = parameters["w2"].T @ ds * (1 - cache["H"] ** 2)
    return {
        "ds": ds, "dw2": ds @ cache["H"].T, "db2": ds.sum(axis=1, keepdims=True),
        "dZ": dZ, "dW1": dZ @ cache["X"].T, "db1": dZ.sum(axis=1, keepdims=True),
    }  # fmt: skip


@wrong(step="dw2", cause="constant-factor", also=("missing-mean", "wrong-operand"), or_step=("db2",), subtle=True)
def averaged_over_the_violating_examples(cache, Y, parameters):
    active = Y * cache["s"] < 1
    ds = -Y * active
    count = active.sum()
    dZ = parameters["w2"].T @ ds * (1 - cache["H"] ** 2)
    return {
        "ds": ds, "dw2": ds @ cache["H"].T / count, "db2": ds.sum(axis=1, keepdims=True) / count,
        "dZ": dZ, "dW1": dZ @ cache["X"].T / count, "db1": dZ.sum(axis=1, keepdims=True) / count,
    }  # fmt: skip
