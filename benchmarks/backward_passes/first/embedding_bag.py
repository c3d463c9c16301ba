"""The mean of three words' vectors, a linear layer and logits under the library's cross entropy; words repeat."""

import numpy as np

from benchmarks.backward_passes.cases import network


def data():
    rng = np.random.default_rng(17)
    words = rng.integers(0, 9, size=(10, 3))
    words[0] = [4, 4, 7]
    parameters = {"E": rng.normal(size=(9, 4)), "W": rng.normal(size=(4, 5)) / 2, "b": 0.1 * rng.normal(size=5)}
    return parameters, words, rng.integers(0, 5, size=10)


def forward(X, parameters):
    cache = {"X": X}
    cache["V"] = parameters["E"][X]
    cache["H"] = cache["V"].mean(axis=1)
    cache["logits"] = cache["H"] @ parameters["W"] + parameters["b"]
    return cache


wrong, right = network(forward, "cross_entropy", data)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@right(convention="np.add.at, 1/m in the signal of the logits, whose own softmax is taken here")
def scattered(cache, Y, parameters):
    dlogits = softmax(cache["logits"])
    dlogits[np.arange(len(Y)), Y] -= 1
    dlogits /= len(Y)
    dH = dlogits @ parameters["W"].T
    dV = np.repeat(dH[:, None, :], 3, axis=1) / 3
    dE = np.zeros_like(parameters["E"])
    np.add.at(dE, cache["X"], dV)
    return {"dlogits": dlogits, "dW": cache["H"].T @ dlogits, "db": dlogits.sum(0), "dH": dH, "dV": dV, "dE": dE}


@wrong(step="dE", cause="missing-term", also=("overwritten-overlap", "accumulates", "wrong-operand"), subtle=True)
def assigned_where_words_repeat(cache, Y, parameters):
    dlogits = softmax(cache["logits"])
    dlogits[np.arange(len(Y)), Y] -= 1
    dlogits /= len(Y)
    dW = cache["H"].T @ dlogits
    db = dlogits.sum(axis=0)
    dH = dlogits @ parameters["W"].T
    dE = np.zeros_like(parameters["E"])
    for n, words in enumerate(cache["X"]):
        for word in words:
            dE[word] = dH[n] / 3
    return {"dlogits": dlogits, "dW": dW, "db": db, "dH": dH, "dE": dE}


@wrong(
    step="dE",
    cause="missing-term",
    also=(
        "overwritten-overlap",
        "wrong-operand",
    ),
    subtle=True,
)
def fancy_index_increment(cache, Y, parameters):
    m = len(Y)
    dlogits = softmax(cache["logits"])
    dlogits[np.arange(m), Y] -= 1
    dW = cache["H"].T @ dlogits / m
    db = dlogits.sum(axis=0) / m
    dH = dlogits @ parameters["W"].T / m
    dE = np.zeros_like(parameters["E"])
    dV = np.stack([dH, dH, dH], axis=1) / 3
    dE[cache["X"]] += dV
    return {"dlogits": dlogits, "dW": dW, "db": db, "dH": dH, "dV": dV, "dE": dE}


@wrong(step="dE", cause="constant-factor", also=("missing-factor", "missing-mean"))
def mean_over_the_words_forgotten(cache, Y, parameters):
    m = len(Y)
    dlogits = (softmax(cache["logits"]) - np.eye(5)[Y]) / m
    dW = cache["H"].T @ dlogits
    db = dlogits.sum(axis=0)
    dH = dlogits @ parameters["W"].T
    dE = np.zeros_like(parameters["E"])
    for j in range(3):
        np.add.at(dE, cache["X"][:, j], dH)
    return {"dlogits": dlogits, "dW": dW, "db": db, "dH": dH, "dE": dE}


@wrong(step="dlogits", cause="missing-term")
def one_hot_not_subtracted(cache, Y, parameters):
    dlogits = softmax(cache["logits"]) / len(Y)
    dW = cache["H"].T @ dlogits
    db = dlogits.sum(axis=0)
    dH = dlogits @ parameters["W"].T
    dE = np.zeros_like(parameters["E"])
    for j in range(3):
        np.add.at(dE, cache["X"][:, j], dH / 3)
    return {"dlogits": dlogits, "dW": dW, "db": db, "dH": dH, "dE": dE}
