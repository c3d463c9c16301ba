"""A regression with a tanh and a ReLU layer; ½ Σ (A - Y)² averaged over the examples; examples in rows."""

import numpy as np

from benchmarks.backward_passes.cases import network


def data():
    rng = np.random.default_rng(11)
    n, width = 32, 8
    X = rng.normal(size=(n, 5))
    Y = np.stack([np.sin(X[:, 0]) + X[:, 1], X[:, 2] * X[:, 3]], axis=1)
    parameters = {
        "W1": rng.normal(size=(5, width)) / 2,
        "b1": 0.1 * rng.normal(size=(1, width)),
        "W2": rng.normal(size=(width, width)) / 2,
        "b2": 0.1 * rng.normal(size=(1, width)),
        "W3": rng.normal(size=(width, 2)) / 2,
        "b3": np.zeros((1, 2)),
    }
    return parameters, X, Y


def forward(X, parameters):
    p = parameters
    Z1 = X.dot(p["W1"]) + p["b1"]
    H1 = np.tanh(Z1)
    Z2 = H1.dot(p["W2"]) + p["b2"]
    H2 = np.maximum(Z2, 0)
    out = H2.dot(p["W3"]) + p["b3"]
    return {"X": X, "Z1": Z1, "H1": H1, "Z2": Z2, "H2": H2, "out": out}


def loss(out, Y):
    return 0.5 * np.sum((out - Y) ** 2) / Y.shape[0]


wrong, right = network(forward, loss, data)


@right(convention="the error signals are those of Y - out, the minus is in the parameters' gradients")
def minus_in_the_parameters(cache, Y, parameters):
    N = Y.shape[0]
    error = Y - cache["out"]
    d2 = error.dot(parameters["W3"].T) * (cache["H2"] > 0)
    d1 = d2.dot(parameters["W2"].T) * (1 - cache["H1"] ** 2)
    return {
        "dW3": -cache["H2"].T.dot(error) / N,
        "db3": -error.mean(axis=0, keepdims=True),
        "dW2": -cache["H1"].T.dot(d2) / N,
        "db2": -d2.mean(axis=0, keepdims=True),
        "dW1": -cache["X"].T.dot(d1) / N,
        "db1": -d1.mean(axis=0, keepdims=True),
    }


@right(convention="1/N comes in at the last hidden layer already; relu by np.heaviside with ½ at 0")
def heaviside_of_a_half(cache, Y, parameters):
    N = float(len(Y))
    dout = (cache["out"] - Y) / N
    dW3 = np.einsum("ni,nj->ij", cache["H2"], dout)
    db3 = np.ones((1, len(Y))) @ dout
    dH2 = np.einsum("nj,ij->ni", dout, parameters["W3"])
    dZ2 = dH2 * np.heaviside(cache["Z2"], 0.5)
    dW2 = np.einsum("ni,nj->ij", cache["H1"], dZ2)
    db2 = np.ones((1, len(Y))) @ dZ2
    dH1 = np.einsum("nj,ij->ni", dZ2, parameters["W2"])
    dZ1 = dH1 - dH1 * cache["H1"] ** 2
    dW1 = np.einsum("ni,nj->ij", cache["X"], dZ1)
    db1 = np.ones((1, len(Y))) @ dZ1
    return {
        "dout": dout, "dW3": dW3, "db3": db3, "dH2": dH2, "dZ2": dZ2, "dW2": dW2, "db2": db2,
        "dH1": dH1, "dZ1": dZ1, "dW1": dW1, "db1": db1,
    }  # fmt: skip


@right(convention="gradients summed up example by example, divided by N in the end")
def one_example_at_a_time(cache, Y, parameters):
    grads = {"d" + name: np.zeros_like(value) for name, value in parameters.items()}
    N = Y.shape[0]
    for n in range(N):
        delta = cache["out"][n] - Y[n]
        grads["dW3"] += np.outer(cache["H2"][n], delta)
        grads["db3"] += delta
        delta = (parameters["W3"] @ delta) * (cache["Z2"][n] > 0)
        grads["dW2"] += np.outer(cache["H1"][n], delta)
        grads["db2"] += delta
        delta = (parameters["W2"] @ delta) * (1 - cache["H1"][n] ** 2)
        grads["dW1"] += np.outer(cache["X"][n], delta)
        grads["db1"] += delta
    return {name: grad / N for name, grad in grads.items()}


@wrong(step="dout", cause="constant-factor", also=("missing-factor",), or_step=("dW3", "db3"))
def two_of_the_square_without_the_half(cache, Y, parameters):
    N = Y.shape[0]
    dout = 2 * (cache["out"] - Y) / N
    dW3 = cache["H2"].T.dot(dout)
    db3 = dout.sum(axis=0, keepdims=True)
    dH2 = dout.dot(parameters["W3"].T)
    dZ2 = dH2 * (cache["Z2"] > 0)
    dW2 = cache["H1"].T.dot(dZ2)
    db2 = dZ2.sum(axis=0, keepdims=True)
    dH1 = dZ2.dot(parameters["W2"].T)
    dZ1 = dH1 * (1 - cache["H1"] ** 2)
    dW1 = cache["X"].T.dot(dZ1)
    db1 = dZ1.sum(axis=0, keepdims=True)
    return {
        "dout": dout, "dW3": dW3, "db3": db3, "dH2": dH2, "dZ2": dZ2, "dW2": dW2, "db2": db2,
        "dH1": dH1, "dZ1": dZ1, "dW1": dW1, "db1": db1,
    }  # fmt: skip


@wrong(step="dH1", cause="transposed", subtle=True)
def square_weights_not_transposed(cache, Y, parameters):
    N = Y.shape[0]
    dout = (cache["out"] - Y) / N
    dW3 = cache["H2"].T.dot(dout)
    db3 = dout.sum(axis=0, keepdims=True)
    dH2 = dout.dot(parameters["W3"].T)
    dZ2 = dH2 * (cache["Z2"] > 0)
    dW2 = cache["H1"].T.dot(dZ2)
    db2 = dZ2.sum(axis=0, keepdims=True)
    dH1 = dZ2.dot(parameters["W2"])
    dZ1 = dH1 * (1 - cache["H1"] ** 2)
    dW1 = cache["X"].T.dot(dZ1)
    db1 = dZ1.sum(axis=0, keepdims=True)
    return {
        "dout": dout, "dW3": dW3, "db3": db3, "dH2": dH2, "dZ2": dZ2, "dW2": dW2, "db2": db2,
        "dH1": dH1, "dZ1": dZ1, "dW1": dW1, "db1": db1,
    }  # fmt: skip


@wrong(step="dZ1", cause="wrong-layer", also=("wrong-activation-derivative",))
def relu_derivative_copied_down(cache, Y, parameters):
    N = Y.shape[0]
    dout = (cache["out"] - Y) / N
    dW3 = cache["H2"].T.dot(dout)
    db3 = dout.sum(axis=0, keepdims=True)
    dZ2 = dout.dot(parameters["W3"].T) * (cache["Z2"] > 0)
    dW2 = cache["H1"].T.dot(dZ2)
    db2 = dZ2.sum(axis=0, keepdims=True)
    dZ1 = dZ2.dot(parameters["W2"].T) * (cache["Z2"] > 0)
    dW1 = cache["X"].T.dot(dZ1)
    db1 = dZ1.sum(axis=0, keepdims=True)
    return {
        "dout": dout, "dW3": dW3, "db3": db3, "dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1,
        "db1": db1,
    }  # fmt: skip


@wrong(step="dZ1", cause="wrong-activation-derivative")
def both_hidden_layers_taken_for_relu(cache, Y, parameters):
    N = Y.shape[0]
    dout = cache["out"] - Y
    dW3 = cache["H2"].T.dot(dout) / N
    db3 = np.mean(dout, axis=0, keepdims=True)
    dZ2 = dout.dot(parameters["W3"].T) * (cache["Z2"] > 0)
    dW2 = cache["H1"].T.dot(dZ2) / N
    db2 = np.mean(dZ2, axis=0, keepdims=True)
    dZ1 = dZ2.dot(parameters["W2"].T) * (cache["Z1"] > 0)
    dW1 = cache["X"].T.dot(dZ1) / N
    db1 = np.mean(dZ1, axis=0, keepdims=True)
    return {
        "dout": dout, "dW3": dW3, "db3": db3, "dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1,
        "db1": db1,
    }  # fmt: skip


@wrong(step="dZ1", cause="derivative-at-activation", subtle=True)
def tanh_prime_of_the_activation(cache, Y, parameters):
    def tanh_prime(z):
        return 1 - np.tanh(z) ** 2

    N = Y.shape[0]
    dout = (cache["out"] - Y) / N
    dW3 = cache["H2"].T.dot(dout)
    db3 = dout.sum(axis=0, keepdims=True)
    dZ2 = dout.dot(parameters["W3"].T) * (cache["H2"] > 0)
    dW2 = cache["H1"].T.dot(dZ2)
    db2 = dZ2.sum(axis=0, keepdims=True)
    dZ1 = dZ2.dot(parameters["W2"].T) * tanh_prime(cache["H1"])
    dW1 = cache["X"].T.dot(dZ1)
    db1 = dZ1.sum(axis=0, keepdims=True)
    return {
        "dout": dout, "dW3": dW3, "db3": db3, "dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1,
        "db1": db1,
    }  # fmt: skip


@wrong(step="dW2", cause="double-mean", or_step=("db2",))
def mean_again_in_the_second_layer(cache, Y, parameters):
    N = Y.shape[0]
    dout = (cache["out"] - Y) / N
    dW3 = cache["H2"].T.dot(dout)
    db3 = dout.sum(axis=0, keepdims=True)
    dZ2 = dout.dot(parameters["W3"].T) * (cache["Z2"] > 0)
    dW2 = cache["H1"].T.dot(dZ2) / N
    db2 = dZ2.sum(axis=0, keepdims=True) / N
    dZ1 = dZ2.dot(parameters["W2"].T) * (1 - cache["H1"] ** 2)
    dW1 = cache["X"].T.dot(dZ1) / N
    db1 = dZ1.sum(axis=0, keepdims=True) / N
    return {
        "dout": dout, "dW3": dW3, "db3": db3, "dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1,
        "db1": db1,
    }  # fmt: skip


@wrong(step="db2", cause="wrong-layer", also=("wrong-operand",), subtle=True)
def bias_from_the_layer_below(cache, Y, parameters):
    N = Y.shape[0]
    dout = (cache["out"] - Y) / N
    dW3 = cache["H2"].T.dot(dout)
    db3 = dout.sum(axis=0, keepdims=True)
    dZ2 = dout.dot(parameters["W3"].T) * (cache["Z2"] > 0)
    dZ1 = dZ2.dot(parameters["W2"].T) * (1 - cache["H1"] ** 2)
    dW2 = cache["H1"].T.dot(dZ2)
    db2 = dZ1.sum(axis=0, keepdims=True)
    dW1 = cache["X"].T.dot(dZ1)
    db1 = dZ1.sum(axis=0, keepdims=True)
    return {
        "dout": dout, "dW3": dW3, "db3": db3, "dZ2": dZ2, "dZ1": dZ1, "dW2": dW2, "db2": db2, "dW1": dW1,
        "db1": db1,
    }  # fmt: skip


@wrong(step="db3", cause="wrong-shape", also=("bias-not-summed",))
def bias_summed_the_other_way(cache, Y, parameters):
    N = Y.shape[0]
    dout = (cache["out"] - Y) / N
    dW3 = cache["H2"].T.dot(dout)
    db3 = dout.sum(axis=1, keepdims=True)
    dZ2 = dout.dot(parameters["W3"].T) * (cache["Z2"] > 0)
    dW2 = cache["H1"].T.dot(dZ2)
    db2 = dZ2.sum(axis=0, keepdims=True)
    dZ1 = dZ2.dot(parameters["W2"].T) * (1 - cache["H1"] ** 2)
    dW1 = cache["X"].T.dot(dZ1)
    db1 = dZ1.sum(axis=0, keepdims=True)
    return {
        "dout": dout, "dW3": dW3, "db3": db3, "dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1,
        "db1": db1,
    }  # fmt: skip


grads_of_the_run = {}


@wrong(step="backward", cause="accumulates", subtle=True, forget=grads_of_the_run.clear)
def grads_never_zeroed(cache, Y, parameters):
    N = Y.shape[0]
    d3 = (cache["out"] - Y) / N
    d2 = d3.dot(parameters["W3"].T) * (cache["Z2"] > 0)
    d1 = d2.dot(parameters["W2"].T) * (1 - cache["H1"] ** 2)
    new = {
        "dW3": cache["H2"].T.dot(d3), "db3": d3.sum(axis=0, keepdims=True),
        "dW2": cache["H1"].T.dot(d2), "db2": d2.sum(axis=0, keepdims=True),
        "dW1": cache["X"].T.dot(d1), "db1": d1.sum(axis=0, keepdims=True),
    }  # fmt: skip
    for name, grad in new.items():
        grads_of_the_run[name] = grads_of_the_run.get(name, 0) + grad
    return grads_of_the_run
