"""Dropout behind both hidden layers as the course does it: boolean masks D1, D2, then a division; columns."""

import numpy as np

from benchmarks.backward_passes.cases import network

keep_prob = 0.5


def data():
    rng = np.random.default_rng(137)
    X = rng.normal(size=(2, 10))
    Y = (np.sum(X, axis=0, keepdims=True) > 0) * 1.0
    parameters = {
        "W1": rng.normal(size=(10, 2)),
        "b1": 0.1 * rng.normal(size=(10, 1)),
        "W2": rng.normal(size=(10, 10)) / 2,
        "b2": 0.1 * rng.normal(size=(10, 1)),
        "W3": rng.normal(size=(1, 10)) / 2,
        "b3": np.zeros((1, 1)),
    }
    return parameters, X, Y


def forward(X, parameters):
    np.random.seed(1)
    Z1 = np.dot(parameters["W1"], X) + parameters["b1"]
    R1 = np.maximum(0, Z1)
    D1 = np.random.rand(*R1.shape) < keep_prob
    A1 = R1 * D1 / keep_prob
    Z2 = np.dot(parameters["W2"], A1) + parameters["b2"]
    R2 = np.maximum(0, Z2)
    D2 = np.random.rand(*R2.shape) < keep_prob
    A2 = R2 * D2 / keep_prob
    Z3 = np.dot(parameters["W3"], A2) + parameters["b3"]
    A3 = 1 / (1 + np.exp(-Z3))
    return {"X": X, "Z1": Z1, "D1": D1, "A1": A1, "Z2": Z2, "D2": D2, "A2": A2, "Z3": Z3, "A3": A3}


def loss(A3, Y):
    m = Y.shape[1]
    return 1.0 / m * np.sum(np.multiply(-np.log(A3), Y) + np.multiply(-np.log(1 - A3), 1 - Y))


wrong, right = network(forward, loss, data)


@right(convention="as the course has it: dA is that of what is left after dropout, masked in place")
def backward_propagation_with_dropout(cache, Y, parameters):
    m = Y.shape[1]
    dZ3 = cache["A3"] - Y
    dW3 = 1.0 / m * np.dot(dZ3, cache["A2"].T)
    db3 = 1.0 / m * np.sum(dZ3, axis=1, keepdims=True)
    dR2 = np.dot(parameters["W3"].T, dZ3)
    dR2 = dR2 * cache["D2"]
    dR2 = dR2 / keep_prob
    dZ2 = np.multiply(dR2, np.int64(cache["A2"] > 0))
    dW2 = 1.0 / m * np.dot(dZ2, cache["A1"].T)
    db2 = 1.0 / m * np.sum(dZ2, axis=1, keepdims=True)
    dR1 = np.dot(parameters["W2"].T, dZ2)
    dR1 *= cache["D1"]
    dR1 /= keep_prob
    dZ1 = np.multiply(dR1, np.int64(cache["A1"] > 0))
    dW1 = 1.0 / m * np.dot(dZ1, cache["X"].T)
    db1 = 1.0 / m * np.sum(dZ1, axis=1, keepdims=True)
    return {
        "dZ3": dZ3, "dW3": dW3, "db3": db3, "dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1,
    }  # fmt: skip


@wrong(step="dZ1", cause="dropout-mask-missing", also=("missing-factor",))
def mask_of_the_first_layer_forgotten(cache, Y, parameters):
    m = Y.shape[1]
    dZ3 = cache["A3"] - Y
    dW3, db3 = dZ3 @ cache["A2"].T / m, dZ3.sum(axis=1, keepdims=True) / m
    dA2 = parameters["W3"].T @ dZ3
    dZ2 = dA2 * cache["D2"] / keep_prob * (cache["Z2"] > 0)
    dW2, db2 = dZ2 @ cache["A1"].T / m, dZ2.sum(axis=1, keepdims=True) / m
    dA1 = parameters["W2"].T @ dZ2
    dZ1 = dA1 * (cache["Z1"] > 0)
    dW1, db1 = dZ1 @ cache["X"].T / m, dZ1.sum(axis=1, keepdims=True) / m
    return {
        "dZ3": dZ3, "dW3": dW3, "db3": db3, "dA2": dA2, "dZ2": dZ2, "dW2": dW2, "db2": db2,
        "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1,
    }  # fmt: skip


@wrong(step="dZ1", cause="wrong-layer", also=("wrong-operand", "dropout-mask-missing"), subtle=True)
def mask_of_the_second_layer_in_the_first(cache, Y, parameters):
    m = Y.shape[1]
    dZ3 = cache["A3"] - Y
    dW3, db3 = dZ3 @ cache["A2"].T / m, dZ3.sum(axis=1, keepdims=True) / m
    dA2 = parameters["W3"].T @ dZ3
    dZ2 = dA2 * cache["D2"] / keep_prob * (cache["Z2"] > 0)
    dW2, db2 = dZ2 @ cache["A1"].T / m, dZ2.sum(axis=1, keepdims=True) / m
    dA1 = parameters["W2"].T @ dZ2
    dZ1 = dA1 * cache["D2"] / keep_prob * (cache["Z1"] > 0)
    dW1, db1 = dZ1 @ cache["X"].T / m, dZ1.sum(axis=1, keepdims=True) / m
    return {
        "dZ3": dZ3, "dW3": dW3, "db3": db3, "dA2": dA2, "dZ2": dZ2, "dW2": dW2, "db2": db2,
        "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1,
    }  # fmt: skip


@wrong(step="dZ2", cause="constant-factor", also=("missing-factor", "dropout-mask-missing"), subtle=True)
def division_by_keep_prob_forgotten(cache, Y, parameters):
    m = Y.shape[1]
    dZ3 = cache["A3"] - Y
    dW3, db3 = dZ3 @ cache["A2"].T / m, dZ3.sum(axis=1, keepdims=True) / m
    dA2 = parameters["W3"].T @ dZ3
    dZ2 = dA2 * cache["D2"] * (cache["Z2"] > 0)
    dW2, db2 = dZ2 @ cache["A1"].T / m, dZ2.sum(axis=1, keepdims=True) / m
    dA1 = parameters["W2"].T @ dZ2
    dZ1 = dA1 * cache["D1"] * (cache["Z1"] > 0)
    dW1, db1 = dZ1 @ cache["X"].T / m, dZ1.sum(axis=1, keepdims=True) / m
    return {
        "dZ3": dZ3, "dW3": dW3, "db3": db3, "dA2": dA2, "dZ2": dZ2, "dW2": dW2, "db2": db2,
        "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1,
    }  # fmt: skip


@wrong(step="dZ2", cause="constant-factor", also=("derivative-applied-twice", "missing-factor"), subtle=True)
def mask_with_its_scale_twice(cache, Y, parameters):
    m = Y.shape[1]
    dZ3 = cache["A3"] - Y
    dW3, db3 = dZ3 @ cache["A2"].T / m, dZ3.sum(axis=1, keepdims=True) / m
    dA2 = parameters["W3"].T @ dZ3
    dR2 = dA2 * cache["D2"] / keep_prob
    dZ2 = dR2 * cache["D2"] / keep_prob * (cache["Z2"] > 0)
    dW2, db2 = dZ2 @ cache["A1"].T / m, dZ2.sum(axis=1, keepdims=True) / m
    dA1 = parameters["W2"].T @ dZ2
    dZ1 = dA1 * cache["D1"] / keep_prob * (cache["Z1"] > 0)
    dW1, db1 = dZ1 @ cache["X"].T / m, dZ1.sum(axis=1, keepdims=True) / m
    return {
        "dZ3": dZ3, "dW3": dW3, "db3": db3, "dA2": dA2, "dZ2": dZ2, "dW2": dW2, "db2": db2,
        "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1,
    }  # fmt: skip


def forward_with_one_mask_name(X, parameters):
    np.random.seed(1)
    Z1 = np.dot(parameters["W1"], X) + parameters["b1"]
    D = np.random.rand(*Z1.shape) < keep_prob
    A1 = np.maximum(0, Z1) * D / keep_prob
    Z2 = np.dot(parameters["W2"], A1) + parameters["b2"]
    D = np.random.rand(*Z2.shape) < keep_prob
    A2 = np.maximum(0, Z2) * D / keep_prob
    Z3 = np.dot(parameters["W3"], A2) + parameters["b3"]
    A3 = 1 / (1 + np.exp(-Z3))
    return {"X": X, "Z1": Z1, "D1": D, "A1": A1, "Z2": Z2, "D2": D, "A2": A2, "Z3": Z3, "A3": A3}


@wrong(
    step="D1",
    cause="inconsistent-cache",
    also=("dropout-mask-missing", "wrong-layer", "wrong-operand"),
    or_step=("dZ1",),
    forward=forward_with_one_mask_name,
    subtle=True,
)
def the_second_mask_kept_for_both_layers(cache, Y, parameters):
    m = Y.shape[1]
    dZ3 = cache["A3"] - Y
    dW3, db3 = dZ3 @ cache["A2"].T / m, dZ3.sum(axis=1, keepdims=True) / m
    dZ2 = parameters["W3"].T @ dZ3 * cache["D2"] / keep_prob * (cache["Z2"] > 0)
    dW2, db2 = dZ2 @ cache["A1"].T / m, dZ2.sum(axis=1, keepdims=True) / m
    dZ1 = parameters["W2"].T @ dZ2 * cache["D1"] / keep_prob * (cache["Z1"] > 0)
    dW1, db1 = dZ1 @ cache["X"].T / m, dZ1.sum(axis=1, keepdims=True) / m
    return {
        "dZ3": dZ3, "dW3": dW3, "db3": db3, "dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1,
    }  # fmt: skip
