"""Digits at their real size in columns: 784 pixels, 32 sigmoids, a softmax, a batch of 64."""

import numpy as np

from benchmarks.backward_passes.cases import network


def data():
    rng = np.random.default_rng(211)
    X = rng.uniform(size=(784, 64)) * (rng.uniform(size=(784, 64)) < 0.2)
    Y = np.eye(10)[:, rng.integers(0, 10, size=64)]
    parameters = {
        "W1": rng.normal(size=(32, 784)) * np.sqrt(1 / 784),
        "b1": np.zeros((32, 1)),
        "W2": rng.normal(size=(10, 32)) * np.sqrt(1 / 32),
        "b2": np.zeros((10, 1)),
    }
    return parameters, X, Y


def forward(X, parameters):
    cache = {"X": X}
    cache["Z1"] = np.matmul(parameters["W1"], X) + parameters["b1"]
    cache["A1"] = 1.0 / (1.0 + np.exp(-cache["Z1"]))
    cache["Z2"] = np.matmul(parameters["W2"], cache["A1"]) + parameters["b2"]
    cache["A2"] = np.exp(cache["Z2"]) / np.sum(np.exp(cache["Z2"]), axis=0)
    return cache


def loss(Y_hat, Y):
    L_sum = np.sum(np.multiply(Y, np.log(Y_hat)))
    m = Y.shape[1]
    return -(1 / m) * L_sum


wrong, right = network(forward, loss, data)


@right(convention="every parameter with its own (1/m), sigmoid taken twice anew")
def digits_in_columns(cache, Y, parameters):
    m_batch = cache["X"].shape[1]
    s = 1.0 / (1.0 + np.exp(-cache["Z1"]))
    dZ2 = cache["A2"] - Y
    dW2 = (1.0 / m_batch) * np.matmul(dZ2, cache["A1"].T)
    db2 = (1.0 / m_batch) * np.sum(dZ2, axis=1, keepdims=True)
    dA1 = np.matmul(parameters["W2"].T, dZ2)
    dZ1 = dA1 * s * (1 - s)
    dW1 = (1.0 / m_batch) * np.matmul(dZ1, cache["X"].T)
    db1 = (1.0 / m_batch) * np.sum(dZ1, axis=1, keepdims=True)
    return {"dW1": dW1, "db1": db1, "dW2": dW2, "db2": db2}


@wrong(step="dZ1", cause="missing-factor", also=("wrong-activation-derivative",), subtle=True)
def sigmoid_itself_for_its_derivative(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = cache["A2"] - Y
    dW2 = (1 / m) * np.matmul(dZ2, cache["A1"].T)
    db2 = (1 / m) * np.sum(dZ2, axis=1, keepdims=True)
    dA1 = np.matmul(parameters["W2"].T, dZ2)
    dZ1 = dA1 * cache["A1"]
    dW1 = (1 / m) * np.matmul(dZ1, cache["X"].T)
    db1 = (1 / m) * np.sum(dZ1, axis=1, keepdims=True)
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="db1", cause="double-mean")
def mean_and_division(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = cache["A2"] - Y
    dW2 = (1 / m) * np.matmul(dZ2, cache["A1"].T)
    db2 = np.mean(dZ2, axis=1, keepdims=True)
    dZ1 = np.matmul(parameters["W2"].T, dZ2) * cache["A1"] * (1 - cache["A1"])
    dW1 = (1 / m) * np.matmul(dZ1, cache["X"].T)
    db1 = (1 / m) * np.mean(dZ1, axis=1, keepdims=True)
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1}
