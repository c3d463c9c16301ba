"""Handwritten digits at their real size: 784 pixels, 128 hidden units, 10 classes, a batch of 128; rows."""

import numpy as np

from benchmarks.backward_passes.cases import network


def data():
    rng = np.random.default_rng(37)
    X = rng.uniform(size=(128, 784)) * (rng.uniform(size=(128, 784)) < 0.2)
    Y = np.eye(10)[rng.integers(0, 10, size=128)]
    parameters = {
        "W1": rng.normal(size=(784, 128)) * np.sqrt(2 / 784),
        "b1": np.zeros(128),
        "W2": rng.normal(size=(128, 10)) * np.sqrt(2 / 128),
        "b2": np.zeros(10),
    }
    return parameters, X, Y


def forward(X, parameters):
    A0 = X
    Z1 = A0 @ parameters["W1"] + parameters["b1"]
    A1 = np.maximum(Z1, 0)
    Z2 = A1 @ parameters["W2"] + parameters["b2"]
    exp = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
    A2 = exp / exp.sum(axis=1, keepdims=True)
    return {"A0": A0, "Z1": Z1, "A1": A1, "Z2": Z2, "A2": A2}


def loss(A2, Y):
    return -np.sum(Y * np.log(A2)) / len(Y)


wrong, right = network(forward, loss, data)


@right(convention="a loop over the layers with the last signal first")
def digits_right(cache, Y, parameters):
    m = Y.shape[0]
    dZ = (cache["A2"] - Y) / m
    grads = {}
    for layer in (2, 1):
        grads[f"dZ{layer}"] = dZ
        grads[f"dW{layer}"] = cache[f"A{layer - 1}"].T @ dZ
        grads[f"db{layer}"] = dZ.sum(axis=0)
        if layer == 2:
            dZ = dZ @ parameters["W2"].T * (cache["Z1"] > 0)
    return grads


@wrong(step="dW2", cause="missing-mean", or_step=("db2",))
def digits_never_averaged(cache, Y, parameters):
    dZ2 = cache["A2"] - Y
    dW2 = cache["A1"].T @ dZ2
    db2 = dZ2.sum(axis=0)
    dZ1 = dZ2 @ parameters["W2"].T * (cache["Z1"] > 0)
    dW1 = cache["A0"].T @ dZ1
    db1 = dZ1.sum(axis=0)
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dZ1", cause="wrong-activation-derivative", also=("wrong-operand", "derivative-at-activation"))
def relu_itself_for_its_derivative(cache, Y, parameters):
    dZ2 = (cache["A2"] - Y) / len(Y)
    dW2 = cache["A1"].T @ dZ2
    db2 = dZ2.sum(axis=0)
    dZ1 = dZ2 @ parameters["W2"].T * cache["A1"]
    dW1 = cache["A0"].T @ dZ1
    db1 = dZ1.sum(axis=0)
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1}
