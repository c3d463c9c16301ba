"""A residual block, and an output layer that uses the embedding's weights again (transposed); sum of squared errors."""

import numpy as np

from benchmarks.backward_passes.cases import network


def data():
    rng = np.random.default_rng(13)
    parameters = {
        "E": rng.normal(size=(6, 8)) / 2,
        "W1": rng.normal(size=(8, 8)) / 3,
        "W2": rng.normal(size=(8, 8)) / 3,
        "b1": 0.1 * rng.normal(size=8),
        "b2": 0.1 * rng.normal(size=8),
    }
    X = rng.normal(size=(8, 6))
    return parameters, X, rng.normal(size=(8, 6))


def forward(X, parameters):
    H = X @ parameters["E"]
    Z1 = H @ parameters["W1"] + parameters["b1"]
    A1 = np.tanh(Z1)
    R = A1 @ parameters["W2"] + parameters["b2"]
    S = H + R
    out = S @ parameters["E"].T
    return {"X": X, "H": H, "Z1": Z1, "A1": A1, "R": R, "S": S, "out": out}


def loss(out, Y):
    return 0.5 * np.sum((out - Y) ** 2)


wrong, right = network(forward, loss, data)


@right(convention="no mean anywhere, since the loss is a sum; both uses of E collected in one dictionary")
def gradients_added_where_they_arise(cache, Y, parameters):
    grads = {}
    dout = cache["out"] - Y
    grads["dE"] = dout.T @ cache["S"]
    dH = dout @ parameters["E"]
    dR = dH.copy()
    grads["db2"] = dR.sum(axis=0)
    grads["dW2"] = cache["A1"].T @ dR
    dZ1 = dR @ parameters["W2"].T * (1 - cache["A1"] ** 2)
    grads["db1"] = dZ1.sum(axis=0)
    grads["dW1"] = cache["H"].T @ dZ1
    dH += dZ1 @ parameters["W1"].T
    grads["dE"] += cache["X"].T @ dH
    return grads


@wrong(step="dH", cause="missing-term")
def residual_path_forgotten(cache, Y, parameters):
    dout = cache["out"] - Y
    dS = dout @ parameters["E"]
    db2 = dS.sum(axis=0)
    dW2 = cache["A1"].T @ dS
    dA1 = dS @ parameters["W2"].T
    dZ1 = dA1 * (1 - cache["A1"] ** 2)
    db1 = dZ1.sum(axis=0)
    dW1 = cache["H"].T @ dZ1
    dH = dZ1 @ parameters["W1"].T
    dE = cache["X"].T @ dH + dout.T @ cache["S"]
    return {
        "dout": dout, "dS": dS, "db2": db2, "dW2": dW2, "dA1": dA1, "dZ1": dZ1, "db1": db1, "dW1": dW1,
        "dH": dH, "dE": dE,
    }  # fmt: skip


@wrong(step="dE", cause="missing-term", subtle=True)
def second_use_of_the_embedding_forgotten(cache, Y, parameters):
    dout = cache["out"] - Y
    dS = dout @ parameters["E"]
    db2 = dS.sum(axis=0)
    dW2 = cache["A1"].T @ dS
    dA1 = dS @ parameters["W2"].T
    dZ1 = dA1 * (1 - cache["A1"] ** 2)
    db1 = dZ1.sum(axis=0)
    dW1 = cache["H"].T @ dZ1
    dH = dS + dZ1 @ parameters["W1"].T
    dE = cache["X"].T @ dH
    return {
        "dout": dout, "dS": dS, "db2": db2, "dW2": dW2, "dA1": dA1, "dZ1": dZ1, "db1": db1, "dW1": dW1,
        "dH": dH, "dE": dE,
    }  # fmt: skip


@wrong(step="dW1", cause="double-mean", also=("constant-factor",), or_step=("dW2", "db2"))
def mean_of_a_loss_that_is_a_sum(cache, Y, parameters):
    m = len(Y)
    dout = cache["out"] - Y
    dS = dout @ parameters["E"]
    dA1 = dS @ parameters["W2"].T
    dZ1 = dA1 * (1 - cache["A1"] ** 2)
    dH = dS + dZ1 @ parameters["W1"].T
    return {
        "dout": dout, "dS": dS, "dA1": dA1, "dZ1": dZ1, "dH": dH,
        "dW1": cache["H"].T @ dZ1 / m, "dW2": cache["A1"].T @ dS / m,
        "db1": dZ1.mean(axis=0), "db2": dS.mean(axis=0),
        "dE": (cache["X"].T @ dH + dout.T @ cache["S"]) / m,
    }  # fmt: skip


@wrong(step="dH", cause="wrong-operand", also=("wrong-layer",), subtle=True)
def residual_path_adds_the_wrong_signal(cache, Y, parameters):
    dout = cache["out"] - Y
    dS = dout @ parameters["E"]
    db2 = dS.sum(axis=0)
    dW2 = cache["A1"].T @ dS
    dA1 = dS @ parameters["W2"].T
    dZ1 = dA1 * (1 - cache["A1"] ** 2)
    db1 = dZ1.sum(axis=0)
    dW1 = cache["H"].T @ dZ1
    dH = dA1 + dZ1 @ parameters["W1"].T
    dE = cache["X"].T @ dH + dout.T @ cache["S"]
    return {
        "dout": dout, "dS": dS, "db2": db2, "dW2": dW2, "dA1": dA1, "dZ1": dZ1, "db1": db1, "dW1": dW1,
        "dH": dH, "dE": dE,
    }  # fmt: skip


def forward_added_in_place(X, parameters):
    H = X @ parameters["E"]
    cache = {"X": X, "H": H}
    Z1 = H @ parameters["W1"] + parameters["b1"]
    A1 = np.tanh(Z1)
    R = A1 @ parameters["W2"] + parameters["b2"]
    H += R
    out = H @ parameters["E"].T
    cache.update(Z1=Z1, A1=A1, R=R, S=H, out=out)
    return cache


@wrong(step="H", cause="inconsistent-cache", forward=forward_added_in_place, subtle=True)
def block_input_overwritten_by_the_sum(cache, Y, parameters):
    dout = cache["out"] - Y
    dS = dout @ parameters["E"]
    dW2 = cache["A1"].T @ dS
    dZ1 = dS @ parameters["W2"].T * (1 - cache["A1"] ** 2)
    dW1 = cache["H"].T @ dZ1
    dH = dS + dZ1 @ parameters["W1"].T
    dE = cache["X"].T @ dH + dout.T @ cache["S"]
    return {
        "dout": dout, "dS": dS, "db2": dS.sum(axis=0), "dW2": dW2, "dZ1": dZ1, "db1": dZ1.sum(axis=0), "dW1": dW1,
        "dH": dH, "dE": dE,
    }  # fmt: skip
