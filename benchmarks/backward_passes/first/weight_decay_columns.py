"""A ReLU layer and a sigmoid with an L2 penalty λ / 2m Σ W², which is part of the loss; examples in columns."""

import numpy as np

from benchmarks.backward_passes.cases import network

lambd = 0.7


def data():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(3, 20))
    Y = (X.sum(axis=0, keepdims=True) > 0) * 1.0
    parameters = {
        "W1": rng.normal(size=(6, 3)),
        "b1": 0.1 * rng.normal(size=(6, 1)),
        "W2": rng.normal(size=(1, 6)),
        "b2": 0.1 * rng.normal(size=(1, 1)),
    }
    return parameters, X, Y


def forward(X, parameters):
    Z1 = parameters["W1"] @ X + parameters["b1"]
    A1 = np.maximum(0, Z1)
    Z2 = parameters["W2"] @ A1 + parameters["b2"]
    A2 = 1 / (1 + np.exp(-Z2))
    return {"X": X, "Z1": Z1, "A1": A1, "Z2": Z2, "A2": A2}


def loss(A2, Y, parameters):
    m = Y.shape[1]
    cross_entropy = -np.sum(Y * np.log(A2) + (1 - Y) * np.log(1 - A2)) / m
    penalty = lambd / (2 * m) * (np.sum(np.square(parameters["W1"])) + np.sum(np.square(parameters["W2"])))
    return cross_entropy + penalty


wrong, right = network(forward, loss, data)


@right(convention="the penalty is added in a loop in the end")
def penalty_added_last(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = cache["A2"] - Y
    dZ1 = (parameters["W2"].T @ dZ2) * np.int64(cache["A1"] > 0)
    grads = {
        "dZ2": dZ2, "dW2": dZ2 @ cache["A1"].T, "db2": np.sum(dZ2, axis=1, keepdims=True),
        "dZ1": dZ1, "dW1": dZ1 @ cache["X"].T, "db1": np.sum(dZ1, axis=1, keepdims=True),
    }  # fmt: skip
    for name in ("W2", "W1"):
        grads["d" + name] = (grads["d" + name] + lambd * parameters[name]) / m
    for name in ("b2", "b1"):
        grads["d" + name] = grads["d" + name] / m
    return grads


@wrong(step="dW2", cause="missing-regularization")
def no_penalty_at_all(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = cache["A2"] - Y
    dW2 = dZ2 @ cache["A1"].T / m
    db2 = np.sum(dZ2, axis=1, keepdims=True) / m
    dA1 = parameters["W2"].T @ dZ2
    dZ1 = np.multiply(dA1, np.int64(cache["A1"] > 0))
    dW1 = dZ1 @ cache["X"].T / m
    db1 = np.sum(dZ1, axis=1, keepdims=True) / m
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dW1", cause="missing-regularization", subtle=True)
def no_penalty_in_the_first_layer(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = cache["A2"] - Y
    dW2 = dZ2 @ cache["A1"].T / m + lambd / m * parameters["W2"]
    db2 = np.sum(dZ2, axis=1, keepdims=True) / m
    dA1 = parameters["W2"].T @ dZ2
    dZ1 = np.multiply(dA1, np.int64(cache["A1"] > 0))
    dW1 = dZ1 @ cache["X"].T / m
    db1 = np.sum(dZ1, axis=1, keepdims=True) / m
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dW2", cause="wrong-regularization", subtle=True)
def penalty_not_divided_by_m(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = (cache["A2"] - Y) / m
    dW2 = dZ2 @ cache["A1"].T + lambd * parameters["W2"]
    db2 = np.sum(dZ2, axis=1, keepdims=True)
    dA1 = parameters["W2"].T @ dZ2
    dZ1 = np.where(cache["Z1"] > 0, dA1, 0)
    dW1 = dZ1 @ cache["X"].T + lambd * parameters["W1"]
    db1 = np.sum(dZ1, axis=1, keepdims=True)
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dW2", cause="wrong-regularization", subtle=True)
def two_lambda(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = cache["A2"] - Y
    dW2 = (dZ2 @ cache["A1"].T + 2 * lambd * parameters["W2"]) / m
    db2 = np.sum(dZ2, axis=1, keepdims=True) / m
    dA1 = parameters["W2"].T @ dZ2
    dZ1 = dA1 * (cache["Z1"] > 0)
    dW1 = (dZ1 @ cache["X"].T + 2 * lambd * parameters["W1"]) / m
    db1 = np.sum(dZ1, axis=1, keepdims=True) / m
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="db2", cause="regularized-bias")
def decay_of_everything(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = cache["A2"] - Y
    dZ1 = (parameters["W2"].T @ dZ2) * (cache["A1"] > 0)
    grads = {
        "dW2": dZ2 @ cache["A1"].T / m, "db2": np.sum(dZ2, axis=1, keepdims=True) / m,
        "dW1": dZ1 @ cache["X"].T / m, "db1": np.sum(dZ1, axis=1, keepdims=True) / m,
    }  # fmt: skip
    for name in parameters:
        grads["d" + name] += lambd / m * parameters[name]
    return grads


@wrong(step="dW1", cause="wrong-regularization", also=("wrong-operand",), subtle=True)
def sign_of_the_weights(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = cache["A2"] - Y
    dW2 = dZ2 @ cache["A1"].T / m + lambd / m * parameters["W2"]
    db2 = np.sum(dZ2, axis=1, keepdims=True) / m
    dA1 = parameters["W2"].T @ dZ2
    dZ1 = dA1 * (cache["Z1"] > 0)
    dW1 = dZ1 @ cache["X"].T / m + lambd / m * np.sign(parameters["W1"])
    db1 = np.sum(dZ1, axis=1, keepdims=True) / m
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}
