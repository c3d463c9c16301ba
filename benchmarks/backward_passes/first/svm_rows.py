"""A linear classifier under the multiclass hinge loss with L2, as in a vision course; examples in rows."""

import numpy as np

from benchmarks.backward_passes.cases import network

reg = 0.05


def data():
    rng = np.random.default_rng(21)
    X = rng.normal(size=(24, 12))
    y = rng.integers(0, 5, size=24)
    return {"W": rng.normal(size=(12, 5)) / 3, "b": 0.1 * rng.normal(size=5)}, X, y


def forward(X, parameters):
    scores = X.dot(parameters["W"]) + parameters["b"]
    return scores, {"X": X, "scores": scores}


def loss(scores, y, parameters):
    rows = np.arange(y.shape[0])
    margins = np.maximum(0, scores - scores[rows, y][:, np.newaxis] + 1.0)
    hinge = np.sum(margins) / y.shape[0] - 1.0  # the true class adds its margin of 1
    return hinge + reg * np.sum(parameters["W"] ** 2)


wrong, right = network(forward, loss, data)


@right(convention="two loops over examples and classes")
def naive_loops(cache, y, parameters):
    X, W = cache["X"], parameters["W"]
    dW, db = np.zeros_like(W), np.zeros(W.shape[1])
    num_train, num_classes = X.shape[0], W.shape[1]
    for i in range(num_train):
        scores = X[i].dot(W) + parameters["b"]
        for j in range(num_classes):
            if j == y[i]:
                continue
            if scores[j] - scores[y[i]] + 1 > 0:
                dW[:, j] += X[i]
                dW[:, y[i]] -= X[i]
                db[j] += 1
                db[y[i]] -= 1
    return {"dW": dW / num_train + 2 * reg * W, "db": db / num_train}


@wrong(step="dscores", cause="missing-term")
def true_class_gets_nothing(cache, y, parameters):
    N = len(y)
    rows = np.arange(N)
    margins = cache["scores"] - cache["scores"][rows, y][:, None] + 1
    margins[rows, y] = 0
    dscores = (margins > 0).astype(float)
    dscores /= N
    dW = cache["X"].T.dot(dscores) + 2 * reg * parameters["W"]
    db = dscores.sum(axis=0)
    return {"dscores": dscores, "dW": dW, "db": db}


@wrong(step="dscores", cause="missing-factor", also=("missing-term",), subtle=True)
def true_class_counted_once(cache, y, parameters):
    N = len(y)
    rows = np.arange(N)
    margins = np.maximum(0, cache["scores"] - cache["scores"][rows, y][:, None] + 1)
    margins[rows, y] = 0
    dscores = (margins > 0) * 1.0
    dscores[rows, y] = -1
    dscores /= N
    dW = cache["X"].T.dot(dscores) + 2 * reg * parameters["W"]
    db = dscores.sum(axis=0)
    return {"dscores": dscores, "dW": dW, "db": db}


@wrong(step="dscores", cause="missing-term", also=("wrong-operand", "wrong-activation-derivative"), subtle=True)
def margin_forgotten(cache, y, parameters):
    N = len(y)
    rows = np.arange(N)
    violated = cache["scores"] > cache["scores"][rows, y][:, None]
    dscores = violated.astype(float)
    dscores[rows, y] = -violated.sum(axis=1)
    dscores /= N
    dW = cache["X"].T.dot(dscores) + 2 * reg * parameters["W"]
    db = dscores.sum(axis=0)
    return {"dscores": dscores, "dW": dW, "db": db}


@wrong(step="dW", cause="wrong-regularization", subtle=True)
def half_of_the_penalty(cache, y, parameters):
    N = len(y)
    rows = np.arange(N)
    violated = cache["scores"] - cache["scores"][rows, y][:, None] + 1 > 0
    dscores = violated.astype(float)
    dscores[rows, y] -= violated.sum(axis=1)
    dscores /= N
    dW = cache["X"].T.dot(dscores)
    dW += reg * parameters["W"]
    db = dscores.sum(axis=0)
    return {"dscores": dscores, "dW": dW, "db": db}
