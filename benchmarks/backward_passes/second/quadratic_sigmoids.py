"""Sigmoids in every layer and the quadratic cost, gradients called nabla by the book; examples in columns."""

import numpy as np

from benchmarks.backward_passes.cases import network

sizes = [6, 5, 5, 3]


def data():
    rng = np.random.default_rng(103)
    parameters = {}
    for l in range(1, len(sizes)):
        parameters[f"w{l}"] = rng.normal(size=(sizes[l], sizes[l - 1]))
        parameters[f"b{l}"] = rng.normal(size=(sizes[l], 1))
    return parameters, rng.normal(size=(6, 5)), np.eye(3)[:, rng.integers(0, 3, size=5)]


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def sigmoid_prime(z):
    return sigmoid(z) * (1 - sigmoid(z))


def forward(x, parameters):
    cache = {"a0": x}
    for l in range(1, len(parameters) // 2 + 1):
        cache[f"z{l}"] = np.dot(parameters[f"w{l}"], cache[f"a{l - 1}"]) + parameters[f"b{l}"]
        cache[f"a{l}"] = sigmoid(cache[f"z{l}"])
    return cache


def loss(a, y):
    return 0.5 * np.sum((a - y) ** 2) / y.shape[1]


wrong, right = network(forward, loss, data)


@right(convention="one example at a time, nablas added up and divided in the end, sigmoid'(z)")
def book_style(cache, Y, parameters):
    L, m = 3, Y.shape[1]
    nabla = {name: np.zeros_like(value) for name, value in parameters.items()}
    for i in range(m):
        column = {name: value[:, i : i + 1] for name, value in cache.items()}
        delta = (column[f"a{L}"] - Y[:, i : i + 1]) * sigmoid_prime(column[f"z{L}"])
        for l in range(L, 0, -1):
            nabla[f"b{l}"] += delta
            nabla[f"w{l}"] += np.dot(delta, column[f"a{l - 1}"].transpose())
            if l > 1:
                delta = np.dot(parameters[f"w{l}"].transpose(), delta) * sigmoid_prime(column[f"z{l - 1}"])
    return {"d" + name: value / m for name, value in nabla.items()}


@right(convention="signals with 1/m at layer 1 only where the parameters of the layer do not take it")
def factors_where_it_pleases(cache, Y, parameters):
    m = Y.shape[1]
    dz3 = (cache["a3"] - Y) * cache["a3"] * (1 - cache["a3"])
    dz2 = parameters["w3"].T @ dz3 * cache["a2"] * (1 - cache["a2"])
    dz1 = parameters["w2"].T @ (dz2 / m) * cache["a1"] * (1 - cache["a1"])
    return {
        "dz3": dz3, "dw3": dz3 @ cache["a2"].T / m, "db3": dz3.mean(axis=1, keepdims=True),
        "dz2": dz2, "dw2": dz2 @ cache["a1"].T / m, "db2": dz2.mean(axis=1, keepdims=True),
        "dz1": dz1, "dw1": dz1 @ cache["a0"].T, "db1": dz1.sum(axis=1, keepdims=True),
    }  # fmt: skip


@wrong(step="dz3", cause="missing-activation-derivative")
def cross_entropy_delta_with_quadratic_cost(cache, Y, parameters):
    m = Y.shape[1]
    grads = {"dz3": cache["a3"] - Y}
    for l in (3, 2, 1):
        dz = grads[f"dz{l}"]
        grads[f"dw{l}"] = dz @ cache[f"a{l - 1}"].T / m
        grads[f"db{l}"] = dz.sum(axis=1, keepdims=True) / m
        if l > 1:
            grads[f"dz{l - 1}"] = parameters[f"w{l}"].T @ dz * sigmoid_prime(cache[f"z{l - 1}"])
    return grads


@wrong(step="dz3", cause="derivative-at-activation")
def sigmoid_prime_of_the_activations(cache, Y, parameters):
    m = Y.shape[1]
    grads = {"dz3": (cache["a3"] - Y) * sigmoid_prime(cache["a3"])}
    for l in (3, 2, 1):
        dz = grads[f"dz{l}"]
        grads[f"dw{l}"] = dz @ cache[f"a{l - 1}"].T / m
        grads[f"db{l}"] = dz.sum(axis=1, keepdims=True) / m
        if l > 1:
            grads[f"dz{l - 1}"] = parameters[f"w{l}"].T @ dz * sigmoid_prime(cache[f"a{l - 1}"])
    return grads


@wrong(step="dz1", cause="derivative-at-activation", subtle=True)
def activation_given_to_sigmoid_prime_once(cache, Y, parameters):
    m = Y.shape[1]
    dz3 = (cache["a3"] - Y) * sigmoid_prime(cache["z3"]) / m
    dz2 = np.dot(parameters["w3"].T, dz3) * sigmoid_prime(cache["z2"])
    dz1 = np.dot(parameters["w2"].T, dz2) * sigmoid_prime(cache["a1"])
    return {
        "dz3": dz3, "dw3": dz3 @ cache["a2"].T, "db3": dz3.sum(axis=1, keepdims=True),
        "dz2": dz2, "dw2": dz2 @ cache["a1"].T, "db2": dz2.sum(axis=1, keepdims=True),
        "dz1": dz1, "dw1": dz1 @ cache["a0"].T, "db1": dz1.sum(axis=1, keepdims=True),
    }  # fmt: skip


@wrong(step="dz2", cause="wrong-operand", also=("wrong-activation-derivative", "derivative-at-activation"), subtle=True)
def z_times_one_minus_z(cache, Y, parameters):
    m = Y.shape[1]
    dz3 = (cache["a3"] - Y) * cache["a3"] * (1 - cache["a3"])
    dz2 = np.dot(parameters["w3"].T, dz3) * cache["z2"] * (1 - cache["z2"])
    dz1 = np.dot(parameters["w2"].T, dz2) * cache["z1"] * (1 - cache["z1"])
    return {
        "dz3": dz3, "dw3": dz3 @ cache["a2"].T / m, "db3": dz3.sum(axis=1, keepdims=True) / m,
        "dz2": dz2, "dw2": dz2 @ cache["a1"].T / m, "db2": dz2.sum(axis=1, keepdims=True) / m,
        "dz1": dz1, "dw1": dz1 @ cache["a0"].T / m, "db1": dz1.sum(axis=1, keepdims=True) / m,
    }  # fmt: skip


@wrong(step="dz1", cause="transposed", subtle=True)
def square_layer_not_transposed(cache, Y, parameters):
    m = Y.shape[1]
    dz3 = (cache["a3"] - Y) * sigmoid_prime(cache["z3"])
    dz2 = np.dot(parameters["w3"].T, dz3) * sigmoid_prime(cache["z2"])
    dz1 = np.dot(parameters["w2"], dz2) * sigmoid_prime(cache["z1"])
    grads = {"dz3": dz3, "dz2": dz2, "dz1": dz1}
    for l in (3, 2, 1):
        grads[f"dw{l}"] = grads[f"dz{l}"] @ cache[f"a{l - 1}"].T / m
        grads[f"db{l}"] = grads[f"dz{l}"].mean(axis=1, keepdims=True)
    return grads


@wrong(step="dw2", cause="transposed", subtle=True)
def outer_product_the_other_way_round(cache, Y, parameters):
    m = Y.shape[1]
    dw1, dw2, dw3 = (np.zeros_like(parameters[name]) for name in ("w1", "w2", "w3"))
    dz3 = (cache["a3"] - Y) * sigmoid_prime(cache["z3"])
    dz2 = parameters["w3"].T @ dz3 * sigmoid_prime(cache["z2"])
    dz1 = parameters["w2"].T @ dz2 * sigmoid_prime(cache["z1"])
    for i in range(m):
        dw3 += np.outer(dz3[:, i], cache["a2"][:, i])
        dw2 += np.outer(cache["a1"][:, i], dz2[:, i])
        dw1 += np.outer(dz1[:, i], cache["a0"][:, i])
    return {"dz3": dz3, "dw3": dw3 / m, "dz2": dz2, "dw2": dw2 / m, "dz1": dz1, "dw1": dw1 / m}


@wrong(step="dw3", cause="wrong-layer", also=("wrong-operand",), subtle=True)
def activations_one_layer_too_early(cache, Y, parameters):
    m = Y.shape[1]
    dz3 = (cache["a3"] - Y) * sigmoid_prime(cache["z3"])
    dz2 = parameters["w3"].T @ dz3 * sigmoid_prime(cache["z2"])
    dz1 = parameters["w2"].T @ dz2 * sigmoid_prime(cache["z1"])
    return {
        "dz3": dz3, "dw3": dz3 @ cache["a1"].T / m, "db3": dz3.mean(axis=1, keepdims=True),
        "dz2": dz2, "dw2": dz2 @ cache["a1"].T / m, "db2": dz2.mean(axis=1, keepdims=True),
        "dz1": dz1, "dw1": dz1 @ cache["a0"].T / m, "db1": dz1.mean(axis=1, keepdims=True),
    }  # fmt: skip


@wrong(step="db3", cause="bias-not-summed", also=("wrong-shape",))
def deltas_returned_as_bias_gradients(cache, Y, parameters):
    m = Y.shape[1]
    delta = (cache["a3"] - Y) * sigmoid_prime(cache["z3"]) / m
    grads = {"dw3": delta @ cache["a2"].T, "db3": delta}
    for l in (2, 1):
        delta = parameters[f"w{l + 1}"].T @ delta * sigmoid_prime(cache[f"z{l}"])
        grads[f"dw{l}"] = delta @ cache[f"a{l - 1}"].T
        grads[f"db{l}"] = delta
    return grads
