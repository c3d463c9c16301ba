"""Planar classification, as in a first course: tanh, then a sigmoid, binary cross entropy; examples in columns."""

import numpy as np

from benchmarks.backward_passes.cases import network


def data():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(2, 16))
    Y = (X[0] * X[1] > 0).astype(float).reshape(1, 16)
    parameters = {
        "W1": rng.normal(size=(4, 2)),
        "b1": 0.1 * rng.normal(size=(4, 1)),
        "W2": rng.normal(size=(1, 4)),
        "b2": np.zeros((1, 1)),
    }
    return parameters, X, Y


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def forward(X, parameters):
    W1, b1, W2, b2 = (parameters[name] for name in ("W1", "b1", "W2", "b2"))
    A0 = X
    Z1 = np.dot(W1, A0) + b1
    A1 = np.tanh(Z1)
    Z2 = np.dot(W2, A1) + b2
    A2 = sigmoid(Z2)
    return {"A0": A0, "Z1": Z1, "A1": A1, "Z2": Z2, "A2": A2}


def loss(A2, Y):
    m = Y.shape[1]
    return -np.sum(Y * np.log(A2) + (1 - Y) * np.log(1 - A2)) / m


wrong, right = network(forward, loss, data)


@right(convention="dZ carries no 1/m, dW and db divide by m")
def mean_in_the_parameters(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = cache["A2"] - Y
    dW2 = np.dot(dZ2, cache["A1"].T) / m
    db2 = np.sum(dZ2, axis=1, keepdims=True) / m
    dA1 = np.dot(parameters["W2"].T, dZ2)
    dZ1 = dA1 * (1 - np.power(cache["A1"], 2))
    dW1 = np.dot(dZ1, cache["A0"].T) / m
    db1 = np.sum(dZ1, axis=1, keepdims=True) / m
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@right(convention="1/m in dZ2, the derivative of tanh at Z, biases as vectors")
def mean_in_the_error_signal(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = (cache["A2"] - Y) / m
    dZ1 = parameters["W2"].T @ dZ2 / np.cosh(cache["Z1"]) ** 2
    return {
        "dZ2": dZ2,
        "dW2": dZ2 @ cache["A1"].T,
        "db2": dZ2.sum(axis=1),
        "dZ1": dZ1,
        "dW1": dZ1 @ cache["A0"].T,
        "db1": dZ1.sum(axis=1),
    }


@right(convention="the whole chain from dA2, means taken with np.mean, one example after the other for dW1")
def per_example_first_layer(cache, Y, parameters):
    A1, A2 = cache["A1"], cache["A2"]
    m = A2.shape[1]
    dA2 = -(np.divide(Y, A2) - np.divide(1 - Y, 1 - A2))
    dZ2 = dA2 * A2 * (1 - A2)
    dW2 = 1.0 / m * dZ2 @ A1.T
    db2 = np.mean(dZ2, axis=1, keepdims=True)
    dA1 = parameters["W2"].T @ dZ2
    dZ1 = dA1 * (1 - A1 * A1)
    dW1 = np.zeros_like(parameters["W1"])
    for i in range(m):
        dW1 += np.outer(dZ1[:, i], cache["A0"][:, i])
    dW1 /= m
    db1 = np.mean(dZ1, axis=1, keepdims=True)
    return {"dA2": dA2, "dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dW2", cause="missing-mean")
def no_mean_in_the_last_layer(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = cache["A2"] - Y
    dW2 = np.dot(dZ2, cache["A1"].T)
    db2 = np.sum(dZ2, axis=1, keepdims=True) / m
    dA1 = np.dot(parameters["W2"].T, dZ2)
    dZ1 = dA1 * (1 - np.power(cache["A1"], 2))
    dW1 = np.dot(dZ1, cache["A0"].T) / m
    db1 = np.sum(dZ1, axis=1, keepdims=True) / m
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dZ1", cause="missing-activation-derivative")
def tanh_derivative_forgotten(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = cache["A2"] - Y
    dW2 = (1 / m) * np.dot(dZ2, cache["A1"].T)
    db2 = (1 / m) * np.sum(dZ2, axis=1, keepdims=True)
    dZ1 = np.dot(parameters["W2"].T, dZ2)
    dW1 = (1 / m) * np.dot(dZ1, cache["A0"].T)
    db1 = (1 / m) * np.sum(dZ1, axis=1, keepdims=True)
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dZ1", cause="wrong-operand", also=("derivative-at-activation", "wrong-activation-derivative"), subtle=True)
def one_minus_z_squared(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = cache["A2"] - Y
    dW2 = np.dot(dZ2, cache["A1"].T) / m
    db2 = np.sum(dZ2, axis=1, keepdims=True) / m
    dZ1 = np.dot(parameters["W2"].T, dZ2) * (1 - np.power(cache["Z1"], 2))
    dW1 = np.dot(dZ1, cache["A0"].T) / m
    db1 = np.sum(dZ1, axis=1, keepdims=True) / m
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dZ1", cause="wrong-activation-derivative")
def sigmoid_derivative_in_the_tanh_layer(cache, Y, parameters):
    A1, A2 = cache["A1"], cache["A2"]
    m = Y.shape[1]
    dZ2 = A2 - Y
    dW2 = np.dot(dZ2, A1.T) / m
    db2 = np.sum(dZ2, axis=1, keepdims=True) / m
    dA1 = np.dot(parameters["W2"].T, dZ2)
    dZ1 = dA1 * A1 * (1 - A1)
    dW1 = np.dot(dZ1, cache["A0"].T) / m
    db1 = np.sum(dZ1, axis=1, keepdims=True) / m
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dZ2", cause="sign", or_step=("dW2", "db2"))
def target_minus_output(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = Y - cache["A2"]
    dW2 = np.dot(dZ2, cache["A1"].T) / m
    db2 = np.sum(dZ2, axis=1, keepdims=True) / m
    dA1 = np.dot(parameters["W2"].T, dZ2)
    dZ1 = dA1 * (1 - np.power(cache["A1"], 2))
    dW1 = np.dot(dZ1, cache["A0"].T) / m
    db1 = np.sum(dZ1, axis=1, keepdims=True) / m
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dZ2", cause="derivative-applied-twice", also=("missing-factor", "wrong-operand"))
def sigmoid_derivative_on_top_of_a_minus_y(cache, Y, parameters):
    A1, A2 = cache["A1"], cache["A2"]
    m = Y.shape[1]
    dZ2 = (A2 - Y) * A2 * (1 - A2)
    dW2 = np.dot(dZ2, A1.T) / m
    db2 = np.sum(dZ2, axis=1, keepdims=True) / m
    dA1 = np.dot(parameters["W2"].T, dZ2)
    dZ1 = dA1 * (1 - A1**2)
    dW1 = np.dot(dZ1, cache["A0"].T) / m
    db1 = np.sum(dZ1, axis=1, keepdims=True) / m
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="db1", cause="bias-all-summed")
def one_number_for_all_biases(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = cache["A2"] - Y
    dW2 = np.dot(dZ2, cache["A1"].T) / m
    db2 = np.sum(dZ2) / m
    dA1 = np.dot(parameters["W2"].T, dZ2)
    dZ1 = dA1 * (1 - np.power(cache["A1"], 2))
    dW1 = np.dot(dZ1, cache["A0"].T) / m
    db1 = np.sum(dZ1) / m
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dA1", cause="updated-weights", subtle=True)
def step_taken_while_going_backwards(cache, Y, parameters):
    lr = 0.5
    m = Y.shape[1]
    dZ2 = cache["A2"] - Y
    dW2 = np.dot(dZ2, cache["A1"].T) / m
    db2 = np.sum(dZ2, axis=1, keepdims=True) / m
    W2 = parameters["W2"] - lr * dW2
    dA1 = np.dot(W2.T, dZ2)
    dZ1 = dA1 * (1 - np.power(cache["A1"], 2))
    dW1 = np.dot(dZ1, cache["A0"].T) / m
    db1 = np.sum(dZ1, axis=1, keepdims=True) / m
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dA2", cause="missing-term", also=("partial-loop",))
def only_the_positive_examples(cache, Y, parameters):
    A1, A2 = cache["A1"], cache["A2"]
    m = Y.shape[1]
    dA2 = -np.divide(Y, A2)
    dZ2 = dA2 * A2 * (1 - A2)
    dW2 = np.dot(dZ2, A1.T) / m
    db2 = np.sum(dZ2, axis=1, keepdims=True) / m
    dA1 = np.dot(parameters["W2"].T, dZ2)
    dZ1 = dA1 * (1 - A1**2)
    dW1 = np.dot(dZ1, cache["A0"].T) / m
    db1 = np.sum(dZ1, axis=1, keepdims=True) / m
    return {"dA2": dA2, "dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


def forward_with_the_hidden_layer_overwritten(X, parameters):
    A0 = X
    Z1 = np.dot(parameters["W1"], A0) + parameters["b1"]
    A = np.tanh(Z1)
    cache = {"A0": A0, "Z1": Z1, "A1": Z1}
    Z2 = np.dot(parameters["W2"], A) + parameters["b2"]
    cache["Z2"] = Z2
    cache["A2"] = sigmoid(Z2)
    return cache


@wrong(step="A1", cause="inconsistent-cache", forward=forward_with_the_hidden_layer_overwritten)
def pre_activation_stored_as_activation(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = cache["A2"] - Y
    dW2 = np.dot(dZ2, cache["A1"].T) / m
    db2 = np.sum(dZ2, axis=1, keepdims=True) / m
    dA1 = np.dot(parameters["W2"].T, dZ2)
    dZ1 = dA1 * (1 - np.power(cache["A1"], 2))
    dW1 = np.dot(dZ1, cache["A0"].T) / m
    db1 = np.sum(dZ1, axis=1, keepdims=True) / m
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="dW1", cause="double-mean")
def mean_taken_in_both_places(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = cache["A2"] - Y
    dW2 = np.dot(dZ2, cache["A1"].T) / m
    db2 = np.sum(dZ2, axis=1, keepdims=True) / m
    dZ1 = np.dot(parameters["W2"].T, dZ2) * (1 - np.power(cache["A1"], 2))
    dW1 = (1 / m) * np.dot(dZ1 / m, cache["A0"].T)
    db1 = np.sum(dZ1, axis=1, keepdims=True) / m
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1}
