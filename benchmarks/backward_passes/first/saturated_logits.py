"""A sigmoid output whose loss is computed from the logits, safely; the backward pass may do otherwise."""

import numpy as np

from benchmarks.backward_passes.cases import network


def data():
    rng = np.random.default_rng(23)
    X = rng.normal(size=(5, 14))
    Y = (X[0] > 0).astype(float).reshape(1, -1)
    X[0] *= 40
    parameters = {"W1": np.array([[1.0, 0.2, -0.3, 0.1, 0.2]]), "b1": np.array([[0.1]])}
    return parameters, X, Y


def forward(X, parameters):
    A0 = X
    Z1 = parameters["W1"] @ A0 + parameters["b1"]
    A1 = 1 / (1 + np.exp(-Z1))
    return {"A0": A0, "Z1": Z1, "A1": A1}


def loss(Z, Y):
    return np.mean(np.maximum(Z, 0) - Z * Y + np.log1p(np.exp(-np.abs(Z))))


wrong, right = network(forward, loss, data, output="Z1")


@right(convention="A - Y needs no division")
def without_division(cache, Y, parameters):
    m = Y.size
    delta = cache["A1"] - Y
    return {"dZ1": delta, "dW1": delta @ cache["A0"].T / m, "db1": np.sum(delta, keepdims=True) / m}


@wrong(step="dZ1", cause="nonfinite", subtle=True)
def through_the_probabilities(cache, Y, parameters):
    A1, m = cache["A1"], Y.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (1 - Y) / (1 - A1) - Y / A1
        dZ1 = slope * A1 * (1 - A1)
    dW1 = dZ1 @ cache["A0"].T / m
    db1 = np.sum(dZ1, axis=1, keepdims=True) / m
    return {"dZ1": dZ1, "dW1": dW1, "db1": db1}


@wrong(step="db1", cause="bias-not-summed", also=("wrong-shape",))
def bias_for_every_example(cache, Y, parameters):
    m = Y.shape[1]
    dZ1 = (cache["A1"] - Y) / m
    return {"dZ1": dZ1, "dW1": dZ1 @ cache["A0"].T, "db1": dZ1}


@wrong(step="dW1", cause="missing-mean", or_step=("db1",))
def never_averaged(cache, Y, parameters):
    dZ1 = cache["A1"] - Y
    dW1 = dZ1 @ cache["A0"].T
    db1 = dZ1.sum(axis=1, keepdims=True)
    return {"dZ1": dZ1, "dW1": dW1, "db1": db1}
