"""A ReLU regression under λ Σ W² (no half, no mean) and the mean over the batch of ½ squared errors; rows."""

import numpy as np

from benchmarks.backward_passes.cases import network

lam = 0.02


def data():
    rng = np.random.default_rng(127)
    parameters = {
        "W1": rng.normal(size=(7, 10)) / 2,
        "b1": 0.3 * rng.normal(size=10),
        "W2": rng.normal(size=(10, 3)) / 2,
        "b2": 0.3 * rng.normal(size=3),
    }
    X = rng.normal(size=(10, 7))
    return parameters, X, np.tanh(X[:, :3])


def forward(X, parameters):
    z1 = X @ parameters["W1"] + parameters["b1"]
    h = np.maximum(z1, 0)
    out = h @ parameters["W2"] + parameters["b2"]
    return {"X": X, "z1": z1, "h": h, "out": out}


def loss(out, Y, parameters):
    fit = 0.5 * np.mean(np.sum((out - Y) ** 2, axis=1))
    return fit + lam * (np.sum(parameters["W1"] ** 2) + np.sum(parameters["W2"] ** 2))


wrong, right = network(forward, loss, data)


@right(convention="the penalty first, then the data's part added to it")
def penalty_first(cache, Y, parameters):
    grads = {"d" + name: 2 * lam * parameters[name] for name in ("W1", "W2")}
    dout = (cache["out"] - Y) / len(Y)
    grads["dW2"] = grads["dW2"] + cache["h"].T @ dout
    grads["db2"] = dout.sum(0)
    dh = dout @ parameters["W2"].T
    dz1 = np.where(cache["z1"] < 0, 0, dh)
    grads["dW1"] = grads["dW1"] + cache["X"].T @ dz1
    grads["db1"] = dz1.sum(0)
    return grads


@wrong(step="dW2", cause="wrong-regularization", subtle=True)
def half_lambda_as_in_the_other_convention(cache, Y, parameters):
    m = len(Y)
    dout = (cache["out"] - Y) / m
    dW2 = cache["h"].T @ dout + lam * parameters["W2"]
    db2 = dout.sum(axis=0)
    dz1 = dout @ parameters["W2"].T * (cache["z1"] > 0)
    dW1 = cache["X"].T @ dz1 + lam * parameters["W1"]
    db1 = dz1.sum(axis=0)
    return {"dout": dout, "dW2": dW2, "db2": db2, "dz1": dz1, "dW1": dW1, "db1": db1}


@wrong(step="dW2", cause="wrong-regularization", subtle=True)
def penalty_divided_by_m(cache, Y, parameters):
    m = len(Y)
    dout = cache["out"] - Y
    dW2 = (cache["h"].T @ dout + 2 * lam * parameters["W2"]) / m
    db2 = dout.mean(axis=0)
    dz1 = dout @ parameters["W2"].T * (cache["z1"] > 0)
    dW1 = (cache["X"].T @ dz1 + 2 * lam * parameters["W1"]) / m
    db1 = dz1.mean(axis=0)
    return {"dout": dout, "dW2": dW2, "db2": db2, "dz1": dz1, "dW1": dW1, "db1": db1}


@wrong(step="dW2", cause="wrong-regularization", also=("sign",), subtle=True)
def penalty_subtracted(cache, Y, parameters):
    m = len(Y)
    dout = (cache["out"] - Y) / m
    dW2 = cache["h"].T @ dout - 2 * lam * parameters["W2"]
    db2 = dout.sum(axis=0)
    dz1 = dout @ parameters["W2"].T * (cache["z1"] > 0)
    dW1 = cache["X"].T @ dz1 - 2 * lam * parameters["W1"]
    db1 = dz1.sum(axis=0)
    return {"dout": dout, "dW2": dW2, "db2": db2, "dz1": dz1, "dW1": dW1, "db1": db1}


@wrong(step="dW1", cause="missing-regularization", subtle=True)
def penalty_for_the_output_layer_only(cache, Y, parameters):
    m = len(Y)
    dout = (cache["out"] - Y) / m
    grads = {"dW2": cache["h"].T @ dout, "db2": dout.sum(axis=0)}
    grads["dW2"] += 2 * lam * parameters["W2"]
    dz1 = dout @ parameters["W2"].T * (cache["h"] > 0)
    grads["dW1"] = cache["X"].T @ dz1
    grads["db1"] = dz1.sum(axis=0)
    return grads


@wrong(step="db1", cause="regularized-bias", subtle=True)
def bias_of_the_hidden_layer_decays(cache, Y, parameters):
    m = len(Y)
    dout = (cache["out"] - Y) / m
    dW2 = cache["h"].T @ dout + 2 * lam * parameters["W2"]
    db2 = dout.sum(axis=0)
    dz1 = dout @ parameters["W2"].T * (cache["z1"] > 0)
    dW1 = cache["X"].T @ dz1 + 2 * lam * parameters["W1"]
    db1 = dz1.sum(axis=0) + 2 * lam * parameters["b1"]
    return {"dout": dout, "dW2": dW2, "db2": db2, "dz1": dz1, "dW1": dW1, "db1": db1}


@wrong(step="dW1", cause="wrong-regularization", also=("wrong-operand", "wrong-layer"), subtle=True)
def penalty_of_absolute_weights(cache, Y, parameters):
    m = len(Y)
    dout = (cache["out"] - Y) / m
    dW2 = cache["h"].T @ dout + 2 * lam * parameters["W2"]
    db2 = dout.sum(axis=0)
    dz1 = dout @ parameters["W2"].T * (cache["z1"] > 0)
    dW1 = cache["X"].T @ dz1 + 2 * lam * np.abs(parameters["W1"])
    db1 = dz1.sum(axis=0)
    return {"dout": dout, "dW2": dW2, "db2": db2, "dz1": dz1, "dW1": dW1, "db1": db1}
