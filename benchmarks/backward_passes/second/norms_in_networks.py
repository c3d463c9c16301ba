"""Batch norm over columns inside a network, and root-mean-square and group norms as layers."""

import numpy as np

from benchmarks.backward_passes.cases import layer, network


def data():
    rng = np.random.default_rng(151)
    parameters = {
        "W1": rng.normal(size=(6, 3)),
        "gamma": 1 + 0.2 * rng.normal(size=(6, 1)),
        "beta": 0.2 * rng.normal(size=(6, 1)),
        "W2": rng.normal(size=(2, 6)),
        "b2": 0.1 * rng.normal(size=(2, 1)),
    }
    return parameters, rng.normal(size=(3, 12)), rng.normal(size=(2, 12))


def forward(X, parameters):
    Z1 = parameters["W1"] @ X
    mu = np.mean(Z1, axis=1, keepdims=True)
    var = np.mean((Z1 - mu) ** 2, axis=1, keepdims=True)
    std = np.sqrt(var + 1e-8)
    N1 = (Z1 - mu) / std
    B1 = parameters["gamma"] * N1 + parameters["beta"]
    A1 = np.maximum(0, B1)
    Z2 = parameters["W2"] @ A1 + parameters["b2"]
    return {"X": X, "Z1": Z1, "std": std, "N1": N1, "B1": B1, "A1": A1, "Z2": Z2}


def loss(Z2, Y):
    return np.sum((Z2 - Y) ** 2) / (2 * Y.shape[1])


wrong, right = network(forward, loss, data)


@right(convention="signals without 1/m all the way through the norm")
def norm_of_unscaled_signals(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = cache["Z2"] - Y
    dB1 = parameters["W2"].T @ dZ2 * (cache["B1"] > 0)
    dN1 = parameters["gamma"] * dB1
    N1 = cache["N1"]
    mean = dN1.mean(axis=1, keepdims=True)
    along = np.mean(dN1 * N1, axis=1, keepdims=True)
    dZ1 = (dN1 - mean - N1 * along) / cache["std"]
    return {
        "dZ2": dZ2, "dW2": dZ2 @ cache["A1"].T / m, "db2": dZ2.mean(axis=1, keepdims=True), "dB1": dB1,
        "dgamma": (dB1 * N1).mean(axis=1, keepdims=True), "dbeta": dB1.mean(axis=1, keepdims=True),
        "dN1": dN1, "dZ1": dZ1, "dW1": dZ1 @ cache["X"].T / m,
    }  # fmt: skip


@wrong(step="dZ1", cause="missing-term", subtle=True)
def mean_path_forgotten(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = (cache["Z2"] - Y) / m
    dW2, db2 = dZ2 @ cache["A1"].T, dZ2.sum(axis=1, keepdims=True)
    dB1 = parameters["W2"].T @ dZ2 * (cache["B1"] > 0)
    dgamma, dbeta = np.sum(dB1 * cache["N1"], axis=1, keepdims=True), np.sum(dB1, axis=1, keepdims=True)
    dN1 = dB1 * parameters["gamma"]
    dZ1 = (dN1 - cache["N1"] * np.mean(dN1 * cache["N1"], axis=1, keepdims=True)) / cache["std"]
    dW1 = dZ1 @ cache["X"].T
    return {
        "dZ2": dZ2, "dW2": dW2, "db2": db2, "dB1": dB1, "dgamma": dgamma, "dbeta": dbeta,
        "dN1": dN1, "dZ1": dZ1, "dW1": dW1,
    }  # fmt: skip


@wrong(step="dN1", cause="missing-factor")
def gamma_left_out(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = (cache["Z2"] - Y) / m
    dW2, db2 = dZ2 @ cache["A1"].T, dZ2.sum(axis=1, keepdims=True)
    dB1 = parameters["W2"].T @ dZ2 * (cache["B1"] > 0)
    dgamma, dbeta = np.sum(dB1 * cache["N1"], axis=1, keepdims=True), np.sum(dB1, axis=1, keepdims=True)
    dN1 = dB1
    centred = dN1 - dN1.mean(axis=1, keepdims=True)
    dZ1 = (centred - cache["N1"] * np.mean(dN1 * cache["N1"], axis=1, keepdims=True)) / cache["std"]
    dW1 = dZ1 @ cache["X"].T
    return {
        "dZ2": dZ2, "dW2": dW2, "db2": db2, "dB1": dB1, "dgamma": dgamma, "dbeta": dbeta,
        "dN1": dN1, "dZ1": dZ1, "dW1": dW1,
    }  # fmt: skip


@wrong(step="dB1", cause="wrong-layer", also=("wrong-operand", "wrong-activation-derivative"), subtle=True)
def relu_mask_from_before_the_norm(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = (cache["Z2"] - Y) / m
    dW2, db2 = dZ2 @ cache["A1"].T, dZ2.sum(axis=1, keepdims=True)
    dB1 = parameters["W2"].T @ dZ2 * (cache["Z1"] > 0)
    dgamma, dbeta = np.sum(dB1 * cache["N1"], axis=1, keepdims=True), np.sum(dB1, axis=1, keepdims=True)
    dN1 = dB1 * parameters["gamma"]
    centred = dN1 - dN1.mean(axis=1, keepdims=True)
    dZ1 = (centred - cache["N1"] * np.mean(dN1 * cache["N1"], axis=1, keepdims=True)) / cache["std"]
    dW1 = dZ1 @ cache["X"].T
    return {
        "dZ2": dZ2, "dW2": dW2, "db2": db2, "dB1": dB1, "dgamma": dgamma, "dbeta": dbeta,
        "dN1": dN1, "dZ1": dZ1, "dW1": dW1,
    }  # fmt: skip


@wrong(step="dgamma", cause="missing-mean", or_step=("dbeta",))
def scale_and_shift_not_averaged(cache, Y, parameters):
    m = Y.shape[1]
    dZ2 = cache["Z2"] - Y
    dW2, db2 = dZ2 @ cache["A1"].T / m, dZ2.sum(axis=1, keepdims=True) / m
    dB1 = parameters["W2"].T @ dZ2 * (cache["A1"] > 0)
    dgamma, dbeta = np.sum(dB1 * cache["N1"], axis=1, keepdims=True), np.sum(dB1, axis=1, keepdims=True)
    dN1 = dB1 * parameters["gamma"]
    centred = dN1 - dN1.mean(axis=1, keepdims=True)
    dZ1 = (centred - cache["N1"] * np.mean(dN1 * cache["N1"], axis=1, keepdims=True)) / cache["std"]
    dW1 = dZ1 @ cache["X"].T / m
    return {
        "dZ2": dZ2, "dW2": dW2, "db2": db2, "dB1": dB1, "dgamma": dgamma, "dbeta": dbeta,
        "dN1": dN1, "dZ1": dZ1, "dW1": dW1,
    }  # fmt: skip


def rmsnorm(x, g):
    r = np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-6)
    n = x / r
    return g * n, (x, r, n, g)


def rows():
    rng = np.random.default_rng(157)
    return rng.normal(size=(8, 8)), rng.normal(size=8)


wrong_rms, right_rms = layer(rmsnorm, rows)


@right_rms(convention="row by row with the whole Jacobian")
def rmsnorm_by_jacobian(dout, cache):
    x, r, n, g = cache
    D = x.shape[1]
    dx = np.empty_like(x)
    for i in range(len(x)):
        jacobian = (np.eye(D) - np.outer(n[i], n[i]) / D) / r[i]
        dx[i] = jacobian @ (dout[i] * g)
    return dx, np.einsum("nd,nd->d", dout, n)


@wrong_rms(step="dx", cause="missing-term", subtle=True)
def rms_taken_for_a_constant(dout, cache):
    x, r, n, g = cache
    return dout * g / r, np.sum(dout * n, axis=0)


@wrong_rms(step="dx", cause="missing-factor", also=("missing-mean", "constant-factor", "missing-term"), subtle=True)
def rms_sum_for_a_mean(dout, cache):
    x, r, n, g = cache
    dn = dout * g
    dx = (dn - n * np.sum(dn * n, axis=-1, keepdims=True)) / r
    return dx, np.sum(dout * n, axis=0)


@wrong_rms(step="dg", cause="bias-not-summed", also=("transposed", "wrong-shape", "wrong-operand"), subtle=True)
def gain_summed_within_the_row(dout, cache):
    x, r, n, g = cache
    dn = dout * g
    dx = (dn - n * np.mean(dn * n, axis=-1, keepdims=True)) / r
    return dx, np.sum(dout * n, axis=1)


@wrong_rms(step="dx", cause="missing-term", also=("sign", "wrong-operand"), subtle=True)
def rms_term_added(dout, cache):
    x, r, n, g = cache
    dn = dout * g
    dx = (dn + n * np.mean(dn * n, axis=-1, keepdims=True)) / r
    return dx, np.sum(dout * n, axis=0)
