"""Logistic regression as in the first week of a course: w is a column, examples in columns, the mean log loss."""

import numpy as np

from benchmarks.backward_passes.cases import network


def data():
    rng = np.random.default_rng(101)
    X = rng.normal(size=(4, 32))
    Y = (rng.uniform(size=(1, 32)) < 0.4).astype(float)
    return {"w": rng.normal(size=(4, 1)), "b": np.array([0.3])}, X, Y


def forward(X, parameters):
    z = np.dot(parameters["w"].T, X) + parameters["b"]
    A = 1 / (1 + np.exp(-z))
    return {"X": X, "z": z, "A": A}


def loss(A, Y):
    return -1 / Y.shape[1] * np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A))


wrong, right = network(forward, loss, data)


@right(convention="the bias's gradient is a number")
def vectorised(cache, Y, parameters):
    m = Y.shape[1]
    return {"dw": 1 / m * cache["X"] @ (cache["A"] - Y).T, "db": 1 / m * np.sum(cache["A"] - Y)}


@right(convention="three accumulators in a loop over the examples")
def first_programming_exercise(cache, Y, parameters):
    X, A = cache["X"], cache["A"]
    n, m = X.shape
    dw, db = np.zeros((n, 1)), 0.0
    for i in range(m):
        dz = A[0, i] - Y[0, i]
        for j in range(n):
            dw[j] += X[j, i] * dz
        db += dz
    return {"dw": dw / m, "db": db / m}


@wrong(step="dw", cause="missing-mean", or_step=("db",))
def loop_without_its_last_line(cache, Y, parameters):
    X, A = cache["X"], cache["A"]
    dw, db = np.zeros_like(parameters["w"]), 0.0
    for i in range(X.shape[1]):
        dz = A[0, i] - Y[0, i]
        dw += X[:, i : i + 1] * dz
        db += dz
    return {"dw": dw, "db": db}


@wrong(step="dw", cause="sign", or_step=("db",))
def gradient_ascent(cache, Y, parameters):
    m = Y.shape[1]
    error = Y - cache["A"]
    dw = np.dot(cache["X"], error.T) / m
    db = np.sum(error) / m
    return {"dw": dw, "db": db}


@wrong(step="db", cause="missing-mean")
def only_the_bias_is_not_averaged(cache, Y, parameters):
    m = Y.shape[1]
    dz = cache["A"] - Y
    dw = np.dot(cache["X"], dz.T) / m
    db = np.sum(dz)
    return {"dz": dz, "dw": dw, "db": db}


@wrong(step="dw", cause="double-mean")
def mean_of_the_mean(cache, Y, parameters):
    m = Y.shape[1]
    dz = (cache["A"] - Y) / m
    dw = cache["X"] @ dz.T / m
    db = np.sum(dz)
    return {"dz": dz, "dw": dw, "db": db}


@wrong(
    step="dw",
    cause="missing-term",
    also=(
        "partial-loop",
        "wrong-operand",
    ),
    subtle=True,
)
def last_example_left_out(cache, Y, parameters):
    X, A = cache["X"], cache["A"]
    m = Y.shape[1]
    dz = A - Y
    dw = np.zeros_like(parameters["w"])
    for i in range(m - 1):
        dw += X[:, i].reshape(-1, 1) * dz[0, i]
    return {"dz": dz, "dw": dw / m, "db": np.sum(dz) / m}


@wrong(step="dz", cause="derivative-applied-twice", also=("missing-factor",))
def sigmoid_prime_twice(cache, Y, parameters):
    A, m = cache["A"], Y.shape[1]
    dA = (A - Y) / (A * (1 - A)) / m
    dz = dA * (A * (1 - A)) ** 2
    return {"dA": dA, "dz": dz, "dw": cache["X"] @ dz.T, "db": np.sum(dz)}
