"""Leaky ReLU, then softplus, then a linear output; the sum (no mean) of the squared errors; examples in columns."""

import numpy as np

from benchmarks.backward_passes.cases import network

alpha = 0.01


def data():
    rng = np.random.default_rng(109)
    parameters = {
        "W1": rng.normal(size=(8, 4)),
        "b1": 0.2 * rng.normal(size=(8, 1)),
        "W2": rng.normal(size=(8, 8)) / 3,
        "b2": 0.2 * rng.normal(size=(8, 1)),
        "W3": rng.normal(size=(2, 8)) / 3,
        "b3": np.zeros((2, 1)),
    }
    return parameters, rng.normal(size=(4, 8)), rng.normal(size=(2, 8))


def forward(X, parameters):
    Z1 = parameters["W1"] @ X + parameters["b1"]
    A1 = np.where(Z1 > 0, Z1, alpha * Z1)
    Z2 = parameters["W2"] @ A1 + parameters["b2"]
    A2 = np.log(1 + np.exp(Z2))
    Z3 = parameters["W3"] @ A2 + parameters["b3"]
    return {"X": X, "Z1": Z1, "A1": A1, "Z2": Z2, "A2": A2, "Z3": Z3}


def loss(Z3, Y):
    return np.sum((Z3 - Y) ** 2)


wrong, right = network(forward, loss, data)


@right(convention="2 in the parameters and not in the signals, slopes by np.where, sigmoid from A2")
def two_in_the_parameters(cache, Y, parameters):
    dZ3 = cache["Z3"] - Y
    dA2 = parameters["W3"].T @ dZ3
    dZ2 = dA2 * (1 - np.exp(-cache["A2"]))
    dA1 = parameters["W2"].T @ dZ2
    dZ1 = dA1 * np.where(cache["A1"] >= 0, 1.0, alpha)
    grads = {
        "dW3": dZ3 @ cache["A2"].T, "db3": dZ3.sum(axis=1), "dW2": dZ2 @ cache["A1"].T, "db2": dZ2.sum(axis=1),
        "dW1": dZ1 @ cache["X"].T, "db1": dZ1.sum(axis=1),
    }  # fmt: skip
    return {"dZ3": dZ3, "dA2": dA2, "dZ2": dZ2, **{name: 2 * grad for name, grad in grads.items()}}


@wrong(step="dZ1", cause="wrong-activation-derivative", also=("missing-term",), subtle=True)
def slope_of_the_leak_forgotten(cache, Y, parameters):
    dZ3 = 2 * (cache["Z3"] - Y)
    dW3, db3 = dZ3 @ cache["A2"].T, dZ3.sum(axis=1, keepdims=True)
    dZ2 = parameters["W3"].T @ dZ3 / (1 + np.exp(-cache["Z2"]))
    dW2, db2 = dZ2 @ cache["A1"].T, dZ2.sum(axis=1, keepdims=True)
    dZ1 = parameters["W2"].T @ dZ2 * (cache["Z1"] > 0)
    dW1, db1 = dZ1 @ cache["X"].T, dZ1.sum(axis=1, keepdims=True)
    return {"dZ3": dZ3, "dW3": dW3, "db3": db3, "dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dZ1", cause="wrong-activation-derivative", also=("constant-factor", "wrong-operand"), subtle=True)
def another_slope_than_forward(cache, Y, parameters):
    dZ3 = 2 * (cache["Z3"] - Y)
    dW3, db3 = dZ3 @ cache["A2"].T, dZ3.sum(axis=1, keepdims=True)
    dZ2 = parameters["W3"].T @ dZ3 / (1 + np.exp(-cache["Z2"]))
    dW2, db2 = dZ2 @ cache["A1"].T, dZ2.sum(axis=1, keepdims=True)
    dZ1 = parameters["W2"].T @ dZ2
    dZ1[cache["Z1"] <= 0] *= 0.2
    dW1, db1 = dZ1 @ cache["X"].T, dZ1.sum(axis=1, keepdims=True)
    return {"dZ3": dZ3, "dW3": dW3, "db3": db3, "dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dZ2", cause="wrong-layer", also=("wrong-activation-derivative",))
def leaky_slopes_for_the_softplus_layer(cache, Y, parameters):
    dZ3 = 2 * (cache["Z3"] - Y)
    dW3, db3 = dZ3 @ cache["A2"].T, dZ3.sum(axis=1, keepdims=True)
    dZ2 = parameters["W3"].T @ dZ3 * np.where(cache["Z1"] > 0, 1, alpha)
    dW2, db2 = dZ2 @ cache["A1"].T, dZ2.sum(axis=1, keepdims=True)
    dZ1 = parameters["W2"].T @ dZ2 * np.where(cache["Z1"] > 0, 1, alpha)
    dW1, db1 = dZ1 @ cache["X"].T, dZ1.sum(axis=1, keepdims=True)
    return {"dZ3": dZ3, "dW3": dW3, "db3": db3, "dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dZ2", cause="derivative-at-activation", subtle=True)
def sigmoid_of_the_softplus(cache, Y, parameters):
    def softplus_prime(z):
        return 1 / (1 + np.exp(-z))

    dZ3 = 2 * (cache["Z3"] - Y)
    dA2 = parameters["W3"].T @ dZ3
    dZ2 = dA2 * softplus_prime(cache["A2"])
    dA1 = parameters["W2"].T @ dZ2
    dZ1 = dA1 * np.where(cache["Z1"] > 0, 1, alpha)
    grads = {"dZ3": dZ3, "dA2": dA2, "dZ2": dZ2, "dA1": dA1, "dZ1": dZ1}
    for l, (dZ, A) in enumerate([(dZ1, cache["X"]), (dZ2, cache["A1"]), (dZ3, cache["A2"])], start=1):
        grads[f"dW{l}"] = dZ @ A.T
        grads[f"db{l}"] = dZ.sum(axis=1, keepdims=True)
    return grads


@wrong(step="dW3", cause="double-mean", also=("constant-factor",), or_step=("db3",))
def mean_out_of_habit(cache, Y, parameters):
    m = Y.shape[1]
    dZ3 = 2 * (cache["Z3"] - Y)
    dW3, db3 = dZ3 @ cache["A2"].T / m, dZ3.mean(axis=1, keepdims=True)
    dZ2 = parameters["W3"].T @ dZ3 / (1 + np.exp(-cache["Z2"]))
    dW2, db2 = dZ2 @ cache["A1"].T / m, dZ2.mean(axis=1, keepdims=True)
    dZ1 = parameters["W2"].T @ dZ2 * np.where(cache["Z1"] > 0, 1, alpha)
    dW1, db1 = dZ1 @ cache["X"].T / m, dZ1.mean(axis=1, keepdims=True)
    return {"dZ3": dZ3, "dW3": dW3, "db3": db3, "dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dA1", cause="updated-weights", also=("mutates-input",), subtle=True)
def weights_moved_in_place(cache, Y, parameters):
    rate = 0.01
    dZ3 = 2 * (cache["Z3"] - Y)
    dA2 = parameters["W3"].T @ dZ3
    dW3, db3 = dZ3 @ cache["A2"].T, dZ3.sum(axis=1, keepdims=True)
    dZ2 = dA2 / (1 + np.exp(-cache["Z2"]))
    dW2, db2 = dZ2 @ cache["A1"].T, dZ2.sum(axis=1, keepdims=True)
    parameters["W2"] -= rate * dW2
    parameters["b2"] -= rate * db2
    dA1 = parameters["W2"].T @ dZ2
    dZ1 = dA1 * np.where(cache["Z1"] > 0, 1, alpha)
    dW1, db1 = dZ1 @ cache["X"].T, dZ1.sum(axis=1, keepdims=True)
    return {
        "dZ3": dZ3, "dA2": dA2, "dW3": dW3, "db3": db3, "dZ2": dZ2, "dW2": dW2, "db2": db2,
        "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1,
    }  # fmt: skip


@wrong(step="dZ3", cause="missing-factor", also=("constant-factor",), or_step=("dW3", "db3"))
def two_forgotten(cache, Y, parameters):
    dZ3 = cache["Z3"] - Y
    dW3, db3 = dZ3 @ cache["A2"].T, dZ3.sum(axis=1, keepdims=True)
    dZ2 = parameters["W3"].T @ dZ3 / (1 + np.exp(-cache["Z2"]))
    dW2, db2 = dZ2 @ cache["A1"].T, dZ2.sum(axis=1, keepdims=True)
    dZ1 = parameters["W2"].T @ dZ2 * np.where(cache["Z1"] > 0, 1, alpha)
    dW1, db1 = dZ1 @ cache["X"].T, dZ1.sum(axis=1, keepdims=True)
    return {"dZ3": dZ3, "dW3": dW3, "db3": db3, "dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="db2", cause="bias-all-summed", also=("wrong-shape",))
def bias_of_a_whole_layer_in_one_sum(cache, Y, parameters):
    dZ3 = 2 * (cache["Z3"] - Y)
    dW3, db3 = dZ3 @ cache["A2"].T, dZ3.sum(axis=1, keepdims=True)
    dZ2 = parameters["W3"].T @ dZ3 / (1 + np.exp(-cache["Z2"]))
    dW2, db2 = dZ2 @ cache["A1"].T, np.ones_like(parameters["b2"]) * dZ2.sum()
    dZ1 = parameters["W2"].T @ dZ2 * np.where(cache["Z1"] > 0, 1, alpha)
    dW1, db1 = dZ1 @ cache["X"].T, dZ1.sum(axis=1, keepdims=True)
    return {"dZ3": dZ3, "dW3": dW3, "db3": db3, "dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1}
