"""Skip-gram with a softmax over the whole vocabulary, tables of input and of output vectors; one-hot targets."""

import numpy as np

from benchmarks.backward_passes.cases import network


def data():
    rng = np.random.default_rng(193)
    centre = rng.integers(0, 8, size=16)
    parameters = {"E": rng.normal(size=(8, 5)), "U": rng.normal(size=(8, 5)) / 2}
    return parameters, centre, np.eye(8)[rng.integers(0, 8, size=16)]


def forward(X, parameters):
    V = parameters["E"][X]
    S = V @ parameters["U"].T
    e = np.exp(S - S.max(axis=1, keepdims=True))
    P = e / e.sum(axis=1, keepdims=True)
    return {"X": X, "V": V, "S": S, "P": P}


def loss(P, Y):
    return -np.sum(Y * np.log(P)) / len(Y)


wrong, right = network(forward, loss, data)


@right(convention="the rows are gathered by multiplying with one-hot vectors")
def by_one_hot_rows(cache, Y, parameters):
    dS = cache["P"] - Y
    m = len(Y)
    hot = np.eye(8)[cache["X"]]
    dV = dS @ parameters["U"]
    return {"dS": dS, "dU": dS.T @ cache["V"] / m, "dV": dV, "dE": hot.T @ dV / m}


@right(convention="word by word, with an inner loop over the vocabulary")
def word_by_word(cache, Y, parameters):
    E, U, X = parameters["E"], parameters["U"], cache["X"]
    dE, dU = np.zeros_like(E), np.zeros_like(U)
    for n in range(len(X)):
        for k in range(len(U)):
            error = (cache["P"][n, k] - Y[n, k]) / len(X)
            dE[X[n]] += error * U[k]
            dU[k] += error * E[X[n]]
    return {"dE": dE, "dU": dU}


@wrong(step="dE", cause="missing-term", also=("overwritten-overlap", "wrong-operand", "accumulates"), subtle=True)
def last_occurrence_wins(cache, Y, parameters):
    dS = (cache["P"] - Y) / len(Y)
    dU = dS.T @ cache["V"]
    dV = dS @ parameters["U"]
    dE = np.zeros_like(parameters["E"])
    dE[cache["X"]] = dV
    return {"dS": dS, "dU": dU, "dV": dV, "dE": dE}


@wrong(step="dE", cause="wrong-shape")
def gradient_of_the_looked_up_rows(cache, Y, parameters):
    dS = (cache["P"] - Y) / len(Y)
    dU = dS.T @ cache["V"]
    dE = dS @ parameters["U"]
    return {"dS": dS, "dU": dU, "dE": dE}


@wrong(step="dE", cause="missing-factor", also=("wrong-operand", "double-mean", "constant-factor"), subtle=True)
def averaged_over_each_words_occurrences(cache, Y, parameters):
    dS = (cache["P"] - Y) / len(Y)
    dU = dS.T @ cache["V"]
    dV = dS @ parameters["U"]
    dE = np.zeros_like(parameters["E"])
    np.add.at(dE, cache["X"], dV)
    counts = np.bincount(cache["X"], minlength=8)
    dE /= np.maximum(counts, 1)[:, None]
    return {"dS": dS, "dU": dU, "dV": dV, "dE": dE}


@wrong(step="dU", cause="missing-mean")
def output_vectors_not_averaged(cache, Y, parameters):
    m = len(Y)
    dS = cache["P"] - Y
    dU = dS.T @ cache["V"]
    dV = dS @ parameters["U"] / m
    dE = np.zeros_like(parameters["E"])
    np.add.at(dE, cache["X"], dV)
    return {"dS": dS, "dU": dU, "dV": dV, "dE": dE}
