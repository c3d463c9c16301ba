"""Inverted dropout behind the first of two ReLU layers, mask in the cache; mean squared error; examples in rows."""

import numpy as np

from benchmarks.backward_passes.cases import network

keep_prob = 0.8


def data():
    rng = np.random.default_rng(8)
    parameters = {
        "W1": rng.normal(size=(4, 16)),
        "b1": 0.1 * rng.normal(size=16),
        "W2": rng.normal(size=(16, 16)) / 4,
        "b2": 0.1 * rng.normal(size=16),
        "W3": rng.normal(size=(16, 1)) / 4,
        "b3": np.zeros(1),
    }
    X = rng.normal(size=(16, 4))
    return parameters, X, np.sin(X.sum(axis=1, keepdims=True))


def forward(X, parameters):
    A0 = X
    Z1 = A0 @ parameters["W1"] + parameters["b1"]
    A1 = np.maximum(Z1, 0)
    M1 = (np.random.default_rng(99).random(Z1.shape) < keep_prob) / keep_prob
    D1 = A1 * M1
    Z2 = D1 @ parameters["W2"] + parameters["b2"]
    A2 = np.maximum(Z2, 0)
    Z3 = A2 @ parameters["W3"] + parameters["b3"]
    return {"A0": A0, "Z1": Z1, "A1": A1, "M1": M1, "D1": D1, "Z2": Z2, "A2": A2, "Z3": Z3}


def loss(output, Y):
    return np.mean((output - Y) ** 2)


wrong, right = network(forward, loss, data)


@right(convention="the 2 and the 1/m of the loss come last; the mask is recovered from D1 > 0")
def mask_from_what_survived(cache, Y, parameters):
    m = Y.shape[0]
    e3 = cache["Z3"] - Y
    e2 = (e3 @ parameters["W3"].T) * (cache["A2"] > 0)
    e1 = (e2 @ parameters["W2"].T) * (cache["D1"] > 0) / keep_prob
    grads = {"dW3": cache["A2"].T @ e3, "dW2": cache["D1"].T @ e2, "dW1": cache["A0"].T @ e1}
    grads.update(db3=e3.sum(axis=0), db2=e2.sum(axis=0), db1=e1.sum(axis=0))
    return {name: 2 * grad / m for name, grad in grads.items()}


@wrong(step="dA1", cause="dropout-mask-missing", also=("missing-factor",))
def mask_forgotten(cache, Y, parameters):
    m = Y.shape[0]
    dZ3 = 2 * (cache["Z3"] - Y) / m
    dW3 = cache["A2"].T @ dZ3
    db3 = dZ3.sum(axis=0)
    dZ2 = dZ3 @ parameters["W3"].T * (cache["Z2"] > 0)
    dW2 = cache["D1"].T @ dZ2
    db2 = dZ2.sum(axis=0)
    dA1 = dZ2 @ parameters["W2"].T
    dZ1 = dA1 * (cache["Z1"] > 0)
    dW1 = cache["A0"].T @ dZ1
    db1 = dZ1.sum(axis=0)
    return {
        "dZ3": dZ3, "dW3": dW3, "db3": db3, "dZ2": dZ2, "dW2": dW2, "db2": db2,
        "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1,
    }  # fmt: skip


@wrong(step="dA1", cause="constant-factor", also=("missing-factor", "dropout-mask-missing"), subtle=True)
def mask_without_its_scale(cache, Y, parameters):
    m = Y.shape[0]
    dZ3 = 2 * (cache["Z3"] - Y) / m
    dW3 = cache["A2"].T @ dZ3
    db3 = dZ3.sum(axis=0)
    dZ2 = dZ3 @ parameters["W3"].T * (cache["Z2"] > 0)
    dW2 = cache["D1"].T @ dZ2
    db2 = dZ2.sum(axis=0)
    dD1 = dZ2 @ parameters["W2"].T
    dA1 = dD1 * (cache["M1"] > 0)
    dZ1 = dA1 * (cache["Z1"] > 0)
    dW1 = cache["A0"].T @ dZ1
    db1 = dZ1.sum(axis=0)
    return {
        "dZ3": dZ3, "dW3": dW3, "db3": db3, "dZ2": dZ2, "dW2": dW2, "db2": db2,
        "dD1": dD1, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1,
    }  # fmt: skip


@wrong(step="dW2", cause="dropout-mask-missing", also=("wrong-operand", "missing-factor"), subtle=True)
def weights_see_the_activation_before_dropout(cache, Y, parameters):
    m = Y.shape[0]
    dZ3 = 2 * (cache["Z3"] - Y) / m
    dW3 = cache["A2"].T @ dZ3
    db3 = dZ3.sum(axis=0)
    dZ2 = dZ3 @ parameters["W3"].T * (cache["Z2"] > 0)
    dW2 = cache["A1"].T @ dZ2
    db2 = dZ2.sum(axis=0)
    dA1 = dZ2 @ parameters["W2"].T * cache["M1"]
    dZ1 = dA1 * (cache["Z1"] > 0)
    dW1 = cache["A0"].T @ dZ1
    db1 = dZ1.sum(axis=0)
    return {
        "dZ3": dZ3, "dW3": dW3, "db3": db3, "dZ2": dZ2, "dW2": dW2, "db2": db2,
        "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1,
    }  # fmt: skip


@wrong(step="dA1", cause="wrong-operand", also=("dropout-mask-missing",), subtle=True)
def another_mask_is_drawn(cache, Y, parameters):
    m = Y.shape[0]
    dZ3 = 2 * (cache["Z3"] - Y) / m
    dW3 = cache["A2"].T @ dZ3
    db3 = dZ3.sum(axis=0)
    dZ2 = dZ3 @ parameters["W3"].T * (cache["Z2"] > 0)
    dW2 = cache["D1"].T @ dZ2
    db2 = dZ2.sum(axis=0)
    mask = (np.random.default_rng(100).random(cache["A1"].shape) < keep_prob) / keep_prob
    dA1 = dZ2 @ parameters["W2"].T * mask
    dZ1 = dA1 * (cache["Z1"] > 0)
    dW1 = cache["A0"].T @ dZ1
    db1 = dZ1.sum(axis=0)
    return {
        "dZ3": dZ3, "dW3": dW3, "db3": db3, "dZ2": dZ2, "dW2": dW2, "db2": db2,
        "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1,
    }  # fmt: skip


@wrong(step="dZ3", cause="missing-factor", also=("constant-factor",), or_step=("dW3", "db3"))
def two_of_the_square_forgotten(cache, Y, parameters):
    m = Y.shape[0]
    dZ3 = (cache["Z3"] - Y) / m
    dW3 = cache["A2"].T @ dZ3
    db3 = dZ3.sum(axis=0)
    dZ2 = dZ3 @ parameters["W3"].T * (cache["Z2"] > 0)
    dW2 = cache["D1"].T @ dZ2
    db2 = dZ2.sum(axis=0)
    dA1 = dZ2 @ parameters["W2"].T * cache["M1"]
    dZ1 = dA1 * (cache["Z1"] > 0)
    dW1 = cache["A0"].T @ dZ1
    db1 = dZ1.sum(axis=0)
    return {
        "dZ3": dZ3, "dW3": dW3, "db3": db3, "dZ2": dZ2, "dW2": dW2, "db2": db2,
        "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1,
    }  # fmt: skip
