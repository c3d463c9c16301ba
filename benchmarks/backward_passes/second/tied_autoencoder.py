"""An autoencoder whose decoder is its encoder transposed; the library's "mse" (a mean over all elements), rows."""

import numpy as np

from benchmarks.backward_passes.cases import network


def data():
    rng = np.random.default_rng(113)
    parameters = {
        "W": rng.normal(size=(12, 5)) / 3,
        "b": 0.1 * rng.normal(size=5),
        "c": 0.1 * rng.normal(size=12),
    }
    X = rng.uniform(size=(16, 12))
    return parameters, X, X.copy()


def forward(X, parameters):
    Zh = X @ parameters["W"] + parameters["b"]
    H = 1 / (1 + np.exp(-Zh))
    R = H @ parameters["W"].T + parameters["c"]
    return {"X": X, "Zh": Zh, "H": H, "R": R}


wrong, right = network(forward, "mse", data)


@right(convention="the mean over all elements is taken at once in dR")
def both_uses(cache, Y, parameters):
    dR = 2 * (cache["R"] - Y) / Y.size
    dH = dR @ parameters["W"]
    dZh = dH * cache["H"] * (1 - cache["H"])
    dW = cache["X"].T @ dZh + dR.T @ cache["H"]
    return {"dR": dR, "dc": dR.sum(axis=0), "dH": dH, "dZh": dZh, "db": dZh.sum(axis=0), "dW": dW}


@wrong(step="dW", cause="missing-term")
def encoder_only(cache, Y, parameters):
    dR = 2 * (cache["R"] - Y) / Y.size
    dH = dR @ parameters["W"]
    dZh = dH * cache["H"] * (1 - cache["H"])
    dW = cache["X"].T @ dZh
    return {"dR": dR, "dc": dR.sum(axis=0), "dH": dH, "dZh": dZh, "db": dZh.sum(axis=0), "dW": dW}


@wrong(step="dW", cause="transposed", also=("wrong-operand",), subtle=True)
def decoder_part_transposed_by_reshape(cache, Y, parameters):
    dR = 2 * (cache["R"] - Y) / Y.size
    dH = dR @ parameters["W"]
    dZh = dH * cache["H"] * (1 - cache["H"])
    dW = cache["X"].T @ dZh + (cache["H"].T @ dR).reshape(parameters["W"].shape)
    return {"dR": dR, "dc": dR.sum(axis=0), "dH": dH, "dZh": dZh, "db": dZh.sum(axis=0), "dW": dW}


@wrong(step="dR", cause="constant-factor", also=("missing-mean",), or_step=("dc", "dW"))
def mean_over_the_examples_only(cache, Y, parameters):
    m = Y.shape[0]
    dR = 2 * (cache["R"] - Y) / m
    dH = dR @ parameters["W"]
    dZh = dH * cache["H"] * (1 - cache["H"])
    dW = cache["X"].T @ dZh + dR.T @ cache["H"]
    return {"dR": dR, "dc": dR.sum(axis=0), "dH": dH, "dZh": dZh, "db": dZh.sum(axis=0), "dW": dW}


@wrong(step="dZh", cause="missing-factor", also=("wrong-activation-derivative",), subtle=True)
def half_of_the_sigmoid_derivative(cache, Y, parameters):
    dR = 2 * (cache["R"] - Y) / Y.size
    dH = dR @ parameters["W"]
    dZh = dH * (1 - cache["H"])
    dW = cache["X"].T @ dZh + dR.T @ cache["H"]
    return {"dR": dR, "dc": dR.sum(axis=0), "dH": dH, "dZh": dZh, "db": dZh.sum(axis=0), "dW": dW}


@wrong(step="dc", cause="wrong-operand", also=("missing-term", "wrong-layer"))
def bias_of_the_decoder_from_the_reconstruction(cache, Y, parameters):
    dR = 2 * (cache["R"] - Y) / Y.size
    dc = np.sum(cache["R"], axis=0) * 2 / Y.size
    dH = dR @ parameters["W"]
    dZh = dH * cache["H"] * (1 - cache["H"])
    dW = cache["X"].T @ dZh + dR.T @ cache["H"]
    return {"dR": dR, "dc": dc, "dH": dH, "dZh": dZh, "db": dZh.sum(axis=0), "dW": dW}
