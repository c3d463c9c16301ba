"""A tanh layer and a softmax, class labels as integers; the loss is the mean of -log p of the true class; rows."""

import numpy as np

from benchmarks.backward_passes.cases import network


def data():
    rng = np.random.default_rng(107)
    parameters = {
        "W1": rng.normal(size=(16, 32)) / 4,
        "b1": 0.1 * rng.normal(size=(1, 32)),
        "W2": rng.normal(size=(32, 4)) / 4,
        "b2": 0.1 * rng.normal(size=(1, 4)),
    }
    return parameters, rng.normal(size=(32, 16)), rng.integers(0, 4, size=32)


def forward(X, parameters):
    z1 = X.dot(parameters["W1"]) + parameters["b1"]
    a1 = np.tanh(z1)
    z2 = a1.dot(parameters["W2"]) + parameters["b2"]
    exp_scores = np.exp(z2)
    probs = exp_scores / np.sum(exp_scores, axis=1, keepdims=True)
    return {"X": X, "z1": z1, "a1": a1, "z2": z2, "exp_scores": exp_scores, "probs": probs}


def loss(probs, y):
    return np.sum(-np.log(probs[np.arange(len(y)), y])) / len(y)


wrong, right = network(forward, loss, data)


@right(convention="delta3 and delta2 by the blog post, averaged in the end, nothing but parameters")
def blog_post(cache, y, parameters):
    num_examples = len(y)
    delta3 = cache["probs"].copy()
    delta3[range(num_examples), y] -= 1
    dW2 = (cache["a1"].T).dot(delta3)
    db2 = np.sum(delta3, axis=0, keepdims=True)
    delta2 = delta3.dot(parameters["W2"].T) * (1 - np.power(cache["a1"], 2))
    dW1 = np.dot(cache["X"].T, delta2)
    db1 = np.sum(delta2, axis=0)
    return {name: g / num_examples for name, g in {"dW1": dW1, "db1": db1, "dW2": dW2, "db2": db2}.items()}


@right(convention="through the exponentials one by one")
def through_the_exponentials(cache, y, parameters):
    m = len(y)
    e, p = cache["exp_scores"], cache["probs"]
    dprobs = np.zeros_like(p)
    dprobs[np.arange(m), y] = -1 / (m * p[np.arange(m), y])
    s = e.sum(axis=1, keepdims=True)
    dexp = dprobs / s - np.sum(dprobs * e, axis=1, keepdims=True) / s**2
    dz2 = dexp * e
    da1 = dz2 @ parameters["W2"].T
    dz1 = da1 * (1 - cache["a1"] ** 2)
    return {
        "dprobs": dprobs, "dexp_scores": dexp, "dz2": dz2, "dW2": cache["a1"].T @ dz2, "db2": dz2.sum(axis=0),
        "da1": da1, "dz1": dz1, "dW1": cache["X"].T @ dz1, "db1": dz1.sum(axis=0),
    }  # fmt: skip


@wrong(step="dexp_scores", cause="missing-term")
def sum_of_the_exponentials_taken_for_a_constant(cache, y, parameters):
    m = len(y)
    e, p = cache["exp_scores"], cache["probs"]
    dprobs = np.zeros_like(p)
    dprobs[np.arange(m), y] = -1 / (m * p[np.arange(m), y])
    dexp = dprobs / e.sum(axis=1, keepdims=True)
    dz2 = dexp * e
    dz1 = dz2 @ parameters["W2"].T * (1 - cache["a1"] ** 2)
    return {
        "dprobs": dprobs, "dexp_scores": dexp, "dz2": dz2, "dW2": cache["a1"].T @ dz2, "db2": dz2.sum(axis=0),
        "dz1": dz1, "dW1": cache["X"].T @ dz1, "db1": dz1.sum(axis=0),
    }  # fmt: skip


@right(convention="written into what forward keeps for it")
def probabilities_decremented_in_place(cache, y, parameters):
    num_examples = len(y)
    delta3 = cache["probs"]
    delta3[range(num_examples), y] -= 1
    dW2 = cache["a1"].T.dot(delta3) / num_examples
    db2 = np.mean(delta3, axis=0, keepdims=True)
    delta2 = delta3.dot(parameters["W2"].T) * (1 - np.power(cache["a1"], 2))
    dW1 = np.dot(cache["X"].T, delta2) / num_examples
    db1 = np.mean(delta2, axis=0, keepdims=True)
    return {"dW2": dW2, "db2": db2, "dW1": dW1, "db1": db1}


@wrong(step="dz2", cause="wrong-operand", also=("missing-term",), subtle=True)
def one_subtracted_in_the_first_columns(cache, y, parameters):
    m = len(y)
    dz2 = cache["probs"].copy()
    dz2[:, y] -= 1
    dz2 /= m
    dz1 = dz2.dot(parameters["W2"].T) * (1 - cache["a1"] ** 2)
    return {
        "dz2": dz2, "dW2": cache["a1"].T.dot(dz2), "db2": dz2.sum(axis=0, keepdims=True),
        "dz1": dz1, "dW1": cache["X"].T.dot(dz1), "db1": dz1.sum(axis=0, keepdims=True),
    }  # fmt: skip


@wrong(step="dW1", cause="missing-mean")
def first_layer_not_averaged(cache, y, parameters):
    m = len(y)
    dz2 = cache["probs"] - np.eye(4)[y]
    dW2 = cache["a1"].T.dot(dz2) / m
    db2 = dz2.mean(axis=0, keepdims=True)
    da1 = dz2.dot(parameters["W2"].T)
    dz1 = da1 * (1 - cache["a1"] ** 2)
    dW1 = cache["X"].T.dot(dz1)
    db1 = dz1.mean(axis=0, keepdims=True)
    return {"dz2": dz2, "dW2": dW2, "db2": db2, "da1": da1, "dz1": dz1, "dW1": dW1, "db1": db1}


@wrong(step="dz1", cause="missing-factor", also=("constant-factor", "wrong-activation-derivative"), subtle=True)
def one_minus_a_without_the_square(cache, y, parameters):
    m = len(y)
    dz2 = (cache["probs"] - np.eye(4)[y]) / m
    dW2 = cache["a1"].T.dot(dz2)
    db2 = dz2.sum(axis=0, keepdims=True)
    da1 = dz2.dot(parameters["W2"].T)
    dz1 = da1 * (1 - cache["a1"])
    dW1 = cache["X"].T.dot(dz1)
    db1 = dz1.sum(axis=0, keepdims=True)
    return {"dz2": dz2, "dW2": dW2, "db2": db2, "da1": da1, "dz1": dz1, "dW1": dW1, "db1": db1}


@wrong(step="dz1", cause="wrong-activation-derivative")
def relu_mask_in_a_tanh_network(cache, y, parameters):
    m = len(y)
    dz2 = cache["probs"].copy()
    dz2[np.arange(m), y] -= 1
    dW2 = cache["a1"].T.dot(dz2) / m
    db2 = dz2.mean(axis=0, keepdims=True)
    dz1 = dz2.dot(parameters["W2"].T)
    dz1[cache["a1"] <= 0] = 0
    dW1 = cache["X"].T.dot(dz1) / m
    db1 = dz1.mean(axis=0, keepdims=True)
    return {"dz2": dz2, "dW2": dW2, "db2": db2, "dz1": dz1, "dW1": dW1, "db1": db1}


@wrong(step="db1", cause="bias-not-summed", also=("transposed", "wrong-shape", "wrong-operand"), subtle=True)
def bias_summed_over_the_wrong_axis(cache, y, parameters):
    m = len(y)
    dz2 = cache["probs"].copy()
    dz2[np.arange(m), y] -= 1
    dz2 /= m
    dW2 = cache["a1"].T.dot(dz2)
    db2 = dz2.sum(axis=0, keepdims=True)
    dz1 = dz2.dot(parameters["W2"].T) * (1 - cache["a1"] ** 2)
    dW1 = cache["X"].T.dot(dz1)
    db1 = dz1.sum(axis=1).reshape(1, -1)
    return {"dz2": dz2, "dW2": dW2, "db2": db2, "dz1": dz1, "dW1": dW1, "db1": db1}


@wrong(step="dz2", cause="sign", or_step=("dW2", "db2"))
def labels_minus_probabilities(cache, y, parameters):
    m = len(y)
    dz2 = (np.eye(4)[y] - cache["probs"]) / m
    dW2 = cache["a1"].T.dot(dz2)
    db2 = dz2.sum(axis=0, keepdims=True)
    dz1 = dz2.dot(parameters["W2"].T) * (1 - cache["a1"] ** 2)
    dW1 = cache["X"].T.dot(dz1)
    db1 = dz1.sum(axis=0, keepdims=True)
    return {"dz2": dz2, "dW2": dW2, "db2": db2, "dz1": dz1, "dW1": dW1, "db1": db1}


history = {}


@wrong(step="backward", cause="accumulates", subtle=True, forget=history.clear)
def running_sums_of_all_calls(cache, y, parameters):
    m = len(y)
    dz2 = (cache["probs"] - np.eye(4)[y]) / m
    dz1 = dz2.dot(parameters["W2"].T) * (1 - cache["a1"] ** 2)
    new = {"W2": cache["a1"].T @ dz2, "b2": dz2.sum(axis=0), "W1": cache["X"].T @ dz1, "b1": dz1.sum(axis=0)}
    for name, grad in new.items():
        history.setdefault(name, []).append(grad)
    return {"d" + name: np.sum(grads, axis=0) for name, grads in history.items()}
