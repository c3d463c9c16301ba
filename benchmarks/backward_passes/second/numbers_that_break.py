"""A cross entropy computed safely from logits, beside probabilities that underflow; robust losses."""

import numpy as np

from benchmarks.backward_passes.cases import network


def overconfident():
    rng = np.random.default_rng(197)
    X = rng.normal(size=(10, 3))
    X[4] *= 900
    return {"W": rng.normal(size=(3, 4)), "b": 0.1 * rng.normal(size=4)}, X, np.eye(4)[rng.integers(0, 4, size=10)]


def linear_softmax(X, parameters):
    S = X @ parameters["W"] + parameters["b"]
    e = np.exp(S - np.max(S, axis=1, keepdims=True))
    P = e / e.sum(axis=1, keepdims=True)
    Z = X @ parameters["W"] + parameters["b"]
    return {"X": X, "Z": Z, "P": P}


def log_softmax_loss(Z, Y):
    top = Z.max(axis=1, keepdims=True)
    log_p = Z - top - np.log(np.sum(np.exp(Z - top), axis=1, keepdims=True))
    return -np.mean(np.sum(Y * log_p, axis=1))


def exact_fit():
    rng = np.random.default_rng(199)
    X = rng.normal(size=(9, 2))
    w, b = np.array([[2.0], [-1.0]]), np.array([0.5])
    Y = X @ w + b
    Y[1:] += 2 * rng.normal(size=(8, 1))
    return {"w": w, "b": b}, X, Y


def line(X, parameters):
    out = X @ parameters["w"] + parameters["b"]
    return {"X": X, "out": out}


def charbonnier(out, Y):
    return np.mean(np.sqrt(1e-4 + (out - Y) ** 2))


def mean_absolute_error(out, Y):
    return np.mean(np.abs(out - Y))


def huber(out, Y):
    e = np.abs(out - Y)
    return np.mean(np.where(e <= 1, 0.5 * e**2, e - 0.5))


wrong, right = network(linear_softmax, log_softmax_loss, overconfident, output="Z")
wrong_robust, right_robust = network(line, charbonnier, exact_fit)
wrong_absolute, right_absolute = network(line, mean_absolute_error, exact_fit)
wrong_huber, right_huber = network(line, huber, exact_fit)


@right(convention="P - Y with labels found by argmax")
def without_logarithms(cache, Y, parameters):
    m = len(Y)
    dZ = cache["P"].copy()
    dZ[np.arange(m), Y.argmax(axis=1)] -= 1
    return {"dZ": dZ, "dW": cache["X"].T @ dZ / m, "db": dZ.mean(axis=0)}


@wrong(step="dZ", cause="nonfinite", subtle=True)
def divided_by_probabilities_of_nought(cache, Y, parameters):
    m, P = len(Y), cache["P"]
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = Y / P
        dZ = -P * (inner - np.sum(inner * P, axis=1, keepdims=True)) / m
    return {"dZ": dZ, "dW": cache["X"].T @ dZ, "db": dZ.sum(axis=0)}


@right_absolute(convention="np.sign, which is 0 where the fit is exact")
def absolute_by_signs(cache, Y, parameters):
    dout = np.sign(cache["out"] - Y)
    return {"dw": cache["X"].T @ dout / len(Y), "db": dout.mean(axis=0)}


@right_huber(convention="np.clip is the derivative of Huber's loss")
def huber_by_clipping(cache, Y, parameters):
    dout = np.clip(cache["out"] - Y, -1, 1) / len(Y)
    return {"dout": dout, "dw": cache["X"].T @ dout, "db": dout.sum(axis=0)}


@wrong_absolute(step="dout", cause="nonfinite", subtle=True)
def error_over_its_absolute_value(cache, Y, parameters):
    e = cache["out"] - Y
    with np.errstate(invalid="ignore"):
        dout = e / np.abs(e) / len(Y)
    return {"dout": dout, "dw": cache["X"].T @ dout, "db": dout.sum(axis=0)}


@wrong_robust(step="dout", cause="missing-factor", also=("wrong-operand",))
def error_forgotten_above_the_root(cache, Y, parameters):
    e = cache["out"] - Y
    dout = 1 / np.sqrt(1e-4 + e**2) / len(Y)
    return {"dout": dout, "dw": cache["X"].T @ dout, "db": dout.sum(axis=0)}


@wrong_huber(step="dout", cause="wrong-activation-derivative", also=("missing-term", "wrong-operand"), subtle=True)
def huber_taken_for_a_square(cache, Y, parameters):
    dout = (cache["out"] - Y) / len(Y)
    return {"dout": dout, "dw": cache["X"].T @ dout, "db": dout.sum(axis=0)}


@wrong_huber(step="dout", cause="missing-factor", also=("wrong-operand", "sign"), subtle=True)
def sign_forgotten_in_the_linear_part(cache, Y, parameters):
    e = cache["out"] - Y
    dout = np.where(np.abs(e) <= 1, e, 1.0) / len(Y)
    return {"dout": dout, "dw": cache["X"].T @ dout, "db": dout.sum(axis=0)}
