"""L layers in a loop, as in a deep learning course: ReLU, a sigmoid at the end, binary cross entropy, columns."""

import numpy as np

from benchmarks.backward_passes.cases import network


def data():
    rng = np.random.default_rng(1)
    sizes = [12, 8, 8, 8, 1]
    parameters = {}
    for l in range(1, len(sizes)):
        parameters[f"W{l}"] = rng.normal(size=(sizes[l], sizes[l - 1])) * np.sqrt(2 / sizes[l - 1])
        parameters[f"b{l}"] = 0.1 * rng.normal(size=(sizes[l], 1))
    X = rng.normal(size=(12, 8))
    Y = (rng.uniform(size=(1, 8)) > 0.5) * 1.0
    return parameters, X, Y


def forward(X, parameters):
    L = len(parameters) // 2
    cache = {"A0": X}
    for l in range(1, L + 1):
        cache[f"Z{l}"] = parameters[f"W{l}"] @ cache[f"A{l - 1}"] + parameters[f"b{l}"]
        if l < L:
            cache[f"A{l}"] = np.maximum(0, cache[f"Z{l}"])
        else:
            cache[f"A{l}"] = 1 / (1 + np.exp(-cache[f"Z{l}"]))
    return cache


def loss(AL, Y):
    return np.mean(-Y * np.log(AL) - (1 - Y) * np.log(1 - AL))


wrong, right = network(forward, loss, data)


@right(convention="helper functions, 1/m in dW and db; dA_prev of the input is returned too")
def with_helpers(cache, Y, parameters):
    def linear_backward(dZ, A_prev, W):
        m = A_prev.shape[1]
        return W.T @ dZ, dZ @ A_prev.T / m, np.sum(dZ, axis=1, keepdims=True) / m

    def relu_backward(dA, Z):
        dZ = np.array(dA, copy=True)
        dZ[Z <= 0] = 0
        return dZ

    grads = {}
    L = len(parameters) // 2
    AL = cache[f"A{L}"]
    dAL = -(np.divide(Y, AL) - np.divide(1 - Y, 1 - AL))
    grads[f"dA{L}"] = dAL
    grads[f"dZ{L}"] = dAL * AL * (1 - AL)
    for l in range(L, 0, -1):
        if l < L:
            grads[f"dZ{l}"] = relu_backward(grads[f"dA{l}"], cache[f"Z{l}"])
        grads[f"dA{l - 1}"], grads[f"dW{l}"], grads[f"db{l}"] = linear_backward(
            grads[f"dZ{l}"], cache[f"A{l - 1}"], parameters[f"W{l}"]
        )
    return grads


@wrong(step="dA2", cause="wrong-layer", subtle=True)
def weights_of_the_layer_below(cache, Y, parameters):
    m = Y.shape[1]
    dZ4 = cache["A4"] - Y
    dA3 = parameters["W4"].T @ dZ4
    dZ3 = dA3 * (cache["Z3"] > 0)
    dA2 = parameters["W2"].T @ dZ3
    dZ2 = dA2 * (cache["Z2"] > 0)
    dA1 = parameters["W2"].T @ dZ2
    dZ1 = dA1 * (cache["Z1"] > 0)
    grads = {"dZ4": dZ4, "dA3": dA3, "dZ3": dZ3, "dA2": dA2, "dZ2": dZ2, "dA1": dA1, "dZ1": dZ1}
    for l in (1, 2, 3, 4):
        grads[f"dW{l}"] = grads[f"dZ{l}"] @ cache[f"A{l - 1}"].T / m
        grads[f"db{l}"] = grads[f"dZ{l}"].sum(axis=1, keepdims=True) / m
    return grads


@wrong(step="dZ2", cause="wrong-layer", subtle=True)
def relu_of_the_layer_below(cache, Y, parameters):
    L, m = len(parameters) // 2, Y.shape[1]
    A = [cache[f"A{l}"] for l in range(L + 1)]
    Z = [cache[f"Z{l}"] for l in range(1, L + 1)]
    dZ4 = A[4] - Y
    dA3 = parameters["W4"].T @ dZ4
    dZ3 = dA3 * (Z[2] > 0)
    dA2 = parameters["W3"].T @ dZ3
    dZ2 = dA2 * (Z[0] > 0)
    dA1 = parameters["W2"].T @ dZ2
    dZ1 = dA1 * (Z[0] > 0)
    grads = {"dZ4": dZ4, "dA3": dA3, "dZ3": dZ3, "dA2": dA2, "dZ2": dZ2, "dA1": dA1, "dZ1": dZ1}
    for l, dZ in zip(range(1, L + 1), (dZ1, dZ2, dZ3, dZ4), strict=True):
        grads[f"dW{l}"] = dZ @ A[l - 1].T / m
        grads[f"db{l}"] = dZ.sum(axis=1, keepdims=True) / m
    return grads


@wrong(step="dZ3", cause="missing-activation-derivative")
def loop_starts_with_the_wrong_branch(cache, Y, parameters):
    L, m = len(parameters) // 2, Y.shape[1]
    grads = {}
    dZ = cache[f"A{L}"] - Y
    for l in reversed(range(1, L + 1)):
        if l < L:
            dA = parameters[f"W{l + 1}"].T @ dZ
            dZ = dA if l == L - 1 else dA * (cache[f"A{l}"] > 0)
        grads[f"dZ{l}"] = dZ
        grads[f"dW{l}"] = dZ @ cache[f"A{l - 1}"].T / m
        grads[f"db{l}"] = np.sum(dZ, axis=1, keepdims=True) / m
    return grads


@wrong(step="dW4", cause="constant-factor", also=("missing-mean", "wrong-operand"), or_step=("db4",), subtle=True)
def divided_by_the_number_of_features(cache, Y, parameters):
    L = len(parameters) // 2
    m = cache["A0"].shape[0]
    grads = {f"dZ{L}": cache[f"A{L}"] - Y}
    for l in range(L, 0, -1):
        grads[f"dW{l}"] = grads[f"dZ{l}"] @ cache[f"A{l - 1}"].T / m
        grads[f"db{l}"] = np.sum(grads[f"dZ{l}"], axis=1, keepdims=True) / m
        if l > 1:
            grads[f"dZ{l - 1}"] = (parameters[f"W{l}"].T @ grads[f"dZ{l}"]) * (cache[f"A{l - 1}"] > 0)
    return grads


@wrong(step="dZ1", cause="wrong-activation-derivative")
def sigmoid_in_the_first_layer(cache, Y, parameters):
    L, m = len(parameters) // 2, Y.shape[1]
    grads = {f"dZ{L}": cache[f"A{L}"] - Y}
    for l in range(L, 0, -1):
        grads[f"dW{l}"] = grads[f"dZ{l}"] @ cache[f"A{l - 1}"].T / m
        grads[f"db{l}"] = np.sum(grads[f"dZ{l}"], axis=1, keepdims=True) / m
        if l > 1:
            grads[f"dA{l - 1}"] = parameters[f"W{l}"].T @ grads[f"dZ{l}"]
            Z = cache[f"Z{l - 1}"]
            if l == 2:
                s = 1 / (1 + np.exp(-Z))
                grads["dZ1"] = grads["dA1"] * s * (1 - s)
            else:
                grads[f"dZ{l - 1}"] = grads[f"dA{l - 1}"] * (Z > 0)
    return grads


@wrong(step="dA3", cause="updated-weights", also=("mutates-input",))
def descent_inside_the_loop(cache, Y, parameters):
    L, m, learning_rate = len(parameters) // 2, Y.shape[1], 0.1
    grads = {f"dZ{L}": cache[f"A{L}"] - Y}
    for l in range(L, 0, -1):
        dZ = grads[f"dZ{l}"]
        grads[f"dW{l}"] = dZ @ cache[f"A{l - 1}"].T / m
        grads[f"db{l}"] = np.sum(dZ, axis=1, keepdims=True) / m
        parameters[f"W{l}"] = parameters[f"W{l}"] - learning_rate * grads[f"dW{l}"]
        parameters[f"b{l}"] = parameters[f"b{l}"] - learning_rate * grads[f"db{l}"]
        if l > 1:
            grads[f"dA{l - 1}"] = parameters[f"W{l}"].T @ dZ
            grads[f"dZ{l - 1}"] = grads[f"dA{l - 1}"] * (cache[f"Z{l - 1}"] > 0)
    return grads
