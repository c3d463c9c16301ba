"""Digits with one hidden ReLU layer and a softmax; categorical cross entropy of one-hot rows; examples in rows.

64 pixels, 64 hidden units and a batch of 64: every transpose fits.
"""

import numpy as np

from benchmarks.backward_passes.cases import network


def data():
    rng = np.random.default_rng(7)
    X = rng.uniform(size=(64, 64))
    Y = np.eye(10)[rng.integers(0, 10, size=64)]
    parameters = {
        "W1": rng.normal(size=(64, 64)) * np.sqrt(2 / 64),
        "b1": 0.05 * rng.normal(size=64),
        "W2": rng.normal(size=(64, 10)) * np.sqrt(2 / 64),
        "b2": 0.05 * rng.normal(size=10),
    }
    return parameters, X, Y


def softmax(Z):
    e = np.exp(Z - np.max(Z, axis=1, keepdims=True))
    return e / np.sum(e, axis=1, keepdims=True)


def forward(X, parameters):
    cache = {}
    cache["X"] = X
    cache["Z1"] = X @ parameters["W1"] + parameters["b1"]
    cache["A1"] = np.maximum(0, cache["Z1"])
    cache["Z2"] = cache["A1"] @ parameters["W2"] + parameters["b2"]
    cache["P"] = softmax(cache["Z2"])
    return cache


def loss(P, Y):
    return -np.mean(np.sum(Y * np.log(P), axis=1))


wrong, right = network(forward, loss, data)


@right(convention="1/m in the error signal, no signals returned")
def parameters_only(cache, Y, parameters):
    delta = (cache["P"] - Y) / len(Y)
    grads = {"dW2": cache["A1"].T @ delta, "db2": delta.sum(0)}
    delta = delta @ parameters["W2"].T
    delta[cache["Z1"] <= 0] = 0
    grads["dW1"] = cache["X"].T @ delta
    grads["db1"] = delta.sum(0)
    return grads


@right(convention="relu'(0) = 1, full softmax Jacobian example by example, dP without 1/m")
def jacobian_of_softmax_per_example(cache, Y, parameters):
    P = cache["P"]
    N = P.shape[0]
    dP = -Y / P
    dZ2 = np.empty_like(P)
    for i in range(N):
        p = P[i].reshape(-1, 1)
        dZ2[i] = (np.diagflat(p) - p @ p.T) @ dP[i]
    dA1 = dZ2 @ parameters["W2"].T
    dZ1 = np.where(cache["Z1"] >= 0, dA1, 0.0)
    return {
        "dP": dP,
        "dZ2": dZ2,
        "dW2": cache["A1"].T @ dZ2 / N,
        "db2": dZ2.mean(axis=0),
        "dA1": dA1,
        "dZ1": dZ1,
        "dW1": cache["X"].T @ dZ1 / N,
        "db1": dZ1.mean(axis=0),
    }


@wrong(step="dZ2", cause="wrong-activation-derivative", also=("missing-term",))
def softmax_taken_for_a_sigmoid(cache, Y, parameters):
    P, m = cache["P"], Y.shape[0]
    dP = -Y / P / m
    dZ2 = dP * P * (1 - P)
    dW2 = cache["A1"].T @ dZ2
    db2 = dZ2.sum(axis=0)
    dA1 = dZ2 @ parameters["W2"].T
    dZ1 = dA1 * (cache["Z1"] > 0)
    dW1 = cache["X"].T @ dZ1
    db1 = dZ1.sum(axis=0)
    return {"dP": dP, "dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dW1", cause="transposed", also=("wrong-operand",), subtle=True)
def batch_not_transposed(cache, Y, parameters):
    m = Y.shape[0]
    dZ2 = cache["P"] - Y
    dW2 = cache["A1"].T @ dZ2 / m
    db2 = dZ2.sum(axis=0) / m
    dA1 = dZ2 @ parameters["W2"].T
    dZ1 = dA1 * (cache["Z1"] > 0)
    dW1 = cache["X"] @ dZ1 / m
    db1 = dZ1.sum(axis=0) / m
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dW1", cause="transposed", subtle=True)
def gradient_of_the_transposed_weights(cache, Y, parameters):
    m = Y.shape[0]
    dZ2 = (cache["P"] - Y) / m
    dW2 = cache["A1"].T @ dZ2
    db2 = dZ2.sum(axis=0)
    dZ1 = dZ2 @ parameters["W2"].T * (cache["Z1"] > 0)
    dW1 = dZ1.T @ cache["X"]
    db1 = dZ1.sum(axis=0)
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="db1", cause="bias-not-summed", also=("wrong-shape",))
def bias_of_every_example(cache, Y, parameters):
    m = Y.shape[0]
    dZ2 = (cache["P"] - Y) / m
    dW2 = cache["A1"].T @ dZ2
    db2 = np.sum(dZ2, axis=0)
    dA1 = dZ2 @ parameters["W2"].T
    dZ1 = dA1 * (cache["Z1"] > 0)
    dW1 = cache["X"].T @ dZ1
    db1 = dZ1
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="db1", cause="bias-not-summed", also=("transposed", "wrong-operand"), subtle=True)
def bias_summed_over_the_units(cache, Y, parameters):
    m = Y.shape[0]
    dZ2 = (cache["P"] - Y) / m
    dW2 = cache["A1"].T @ dZ2
    db2 = np.sum(dZ2, axis=0)
    dA1 = dZ2 @ parameters["W2"].T
    dZ1 = dA1 * (cache["Z1"] > 0)
    dW1 = cache["X"].T @ dZ1
    db1 = np.sum(dZ1, axis=1)
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dZ1", cause="wrong-layer", also=("wrong-operand", "wrong-activation-derivative"))
def mask_of_the_input(cache, Y, parameters):
    m = Y.shape[0]
    dZ2 = (cache["P"] - Y) / m
    dW2 = cache["A1"].T @ dZ2
    db2 = np.sum(dZ2, axis=0)
    dA1 = dZ2 @ parameters["W2"].T
    dZ1 = dA1 * (cache["X"] > 0.5)
    dW1 = cache["X"].T @ dZ1
    db1 = np.sum(dZ1, axis=0)
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dZ1", cause="wrong-operand", subtle=True)
def mask_of_the_error_signal(cache, Y, parameters):
    m = Y.shape[0]
    dZ2 = (cache["P"] - Y) / m
    dW2 = cache["A1"].T @ dZ2
    db2 = np.sum(dZ2, axis=0)
    dA1 = dZ2 @ parameters["W2"].T
    dZ1 = dA1 * (dA1 > 0)
    dW1 = cache["X"].T @ dZ1
    db1 = np.sum(dZ1, axis=0)
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dW2", cause="wrong-operand", also=("derivative-at-activation",), subtle=True)
def z_in_the_place_of_a(cache, Y, parameters):
    m = Y.shape[0]
    dZ2 = (cache["P"] - Y) / m
    dW2 = cache["Z1"].T @ dZ2
    db2 = np.sum(dZ2, axis=0)
    dA1 = dZ2 @ parameters["W2"].T
    dZ1 = dA1 * (cache["Z1"] > 0)
    dW1 = cache["X"].T @ dZ1
    db1 = np.sum(dZ1, axis=0)
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@right(convention="written into what forward keeps for it")
def probabilities_turned_into_the_error_signal_in_place(cache, Y, parameters):
    m = Y.shape[0]
    dZ2 = cache["P"]
    dZ2[np.arange(m), Y.argmax(axis=1)] -= 1
    dZ2 /= m
    dW2 = cache["A1"].T @ dZ2
    db2 = np.sum(dZ2, axis=0)
    dA1 = dZ2 @ parameters["W2"].T
    dZ1 = dA1 * (cache["Z1"] > 0)
    dW1 = cache["X"].T @ dZ1
    db1 = np.sum(dZ1, axis=0)
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dZ2", cause="missing-term", also=("wrong-activation-derivative",), subtle=True)
def only_the_true_class(cache, Y, parameters):
    P, m = cache["P"], Y.shape[0]
    dZ2 = Y * (P - 1) / m
    dW2 = cache["A1"].T @ dZ2
    db2 = np.sum(dZ2, axis=0)
    dA1 = dZ2 @ parameters["W2"].T
    dZ1 = dA1 * (cache["Z1"] > 0)
    dW1 = cache["X"].T @ dZ1
    db1 = np.sum(dZ1, axis=0)
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}
