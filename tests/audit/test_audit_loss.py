"""The audit of one function that computes a loss and its gradients."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from tests.tables import in_turn

rng = np.random.default_rng(31)


def logistic(w, b, X, y, factor=1.0):
    m = X.shape[1]
    p = 1 / (1 + np.exp(-(w.T @ X + b)))
    cost = -np.sum(y * np.log(p) + (1 - y) * np.log(1 - p)) / m
    dw = factor * X @ (p - y).T / m
    db = np.sum(p - y) / m
    return {"dw": dw, "db": db}, cost


def hinge(W, X, y, reg, factor=2.0):
    dW, loss = np.zeros(W.shape), 0.0
    for i in range(len(X)):
        scores = X[i].dot(W)
        for j in range(W.shape[1]):
            margin = scores[j] - scores[y[i]] + 1
            if j != y[i] and margin > 0:
                loss += margin
                dW[:, j] += X[i]
                dW[:, y[i]] -= X[i]
    return loss / len(X) + reg * np.sum(W * W), dW / len(X) + factor * reg * W


def unrolled(theta, X, y, decay, factor=1.0):
    W1, W2 = theta[:12].reshape(3, 4), theta[12:].reshape(4, 2)
    a1 = np.tanh(X @ W1)
    out = a1 @ W2
    J = np.sum((out - y) ** 2) / 2 / len(X) + decay / 2 * np.sum(theta**2)
    dout = (out - y) / len(X)
    dz1 = dout @ W2.T * (1 - a1**2)
    return J, np.concatenate([(X.T @ dz1).ravel(), factor * (a1.T @ dout).ravel()]) + decay * theta


def layered(X, y, params, factor=1.0):
    (W1, b1), (W2, b2) = params
    z1 = X @ W1 + b1
    a1 = 1 / (1 + np.exp(-z1))
    z2 = a1 @ W2 + b2
    loss = np.mean((z2 - y) ** 2)
    dz2 = 2 * (z2 - y) / y.size
    dz1 = -factor * -dz2 @ W2.T * a1 * (1 - a1)
    return loss, [(X.T @ dz1, dz1.sum(axis=0)), (a1.T @ dz2, dz2.sum(axis=0))]


class TwoLayers:
    def __init__(self, factor=1.0):
        r = np.random.default_rng(2)
        self.factor = factor
        self.params = {"W1": r.normal(size=(4, 6)), "b1": np.zeros(6), "W2": r.normal(size=(6, 3)), "b2": np.zeros(3)}

    def loss(self, X, y, reg=0.0):
        W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
        hidden = np.maximum(0, X.dot(W1) + b1)
        scores = hidden.dot(W2) + b2
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        probs = e / e.sum(axis=1, keepdims=True)
        loss = -np.log(probs[np.arange(len(X)), y]).mean() + 0.5 * reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
        dscores = probs
        dscores[np.arange(len(X)), y] -= 1
        dscores /= len(X)
        grads = {"W2": hidden.T.dot(dscores) + self.factor * reg * W2, "b2": dscores.sum(axis=0)}
        dhidden = dscores.dot(W2.T)
        dhidden[hidden <= 0] = 0
        return loss, {**grads, "W1": X.T.dot(dhidden) + reg * W1, "b1": dhidden.sum(axis=0)}


Wxh, Whh, Why = 0.3 * rng.normal(size=(6, 5)), 0.3 * rng.normal(size=(6, 6)), 0.3 * rng.normal(size=(5, 6))
bh, by = np.zeros((6, 1)), np.zeros((5, 1))


def characters(inputs, targets, first, factor=1.0):
    """A recurrent network whose states are in dicts by time, -1 being the one before the first."""
    x, h, p, loss = {}, {-1: np.copy(first)}, {}, 0
    for t in range(len(inputs)):
        x[t] = np.zeros((5, 1))
        x[t][inputs[t]] = 1
        h[t] = np.tanh(Wxh @ x[t] + Whh @ h[t - 1] + bh)
        e = np.exp(Why @ h[t] + by)
        p[t] = e / np.sum(e)
        loss += -np.log(p[t][targets[t], 0])
    dWxh, dWhh, dWhy, dbh, dby = (np.zeros_like(a) for a in (Wxh, Whh, Why, bh, by))
    later = np.zeros_like(h[0])
    for t in reversed(range(len(inputs))):
        dy = np.copy(p[t])
        dy[targets[t]] -= 1
        dWhy += dy @ h[t].T
        dby += dy
        draw = (1 - h[t] * h[t]) * (Why.T @ dy + later)
        dbh += draw
        dWxh += draw @ x[t].T
        dWhh += factor * draw @ h[t - 1].T
        later = Whh.T @ draw
    return loss, dWxh, dWhh, dWhy, dbh, dby, h[len(inputs) - 1]


X, LABELS = rng.normal(size=(8, 4)), rng.integers(0, 3, 8)
PARAMS = [(rng.normal(size=(4, 5)), rng.normal(size=5)), (rng.normal(size=(5, 2)), rng.normal(size=2))]
CALLS = {
    "a cost beside a dict, one parameter a number": (
        logistic,
        (rng.normal(size=(4, 1)), 0.3, X.T, rng.integers(0, 2, (1, 8))),
        {"dw", "db"},
        "dw",
    ),
    "loops over examples": (hinge, (rng.normal(size=(4, 3)), X, LABELS, 0.1), {"dW"}, "dW"),
    "parameters in one vector": (
        unrolled,
        (rng.normal(size=20), X[:, :3], rng.normal(size=(8, 2)), 0.3),
        {"dtheta", "dout"},
        "dtheta",
    ),
    "tuples in a list": (
        layered,
        (X, rng.normal(size=(8, 2)), PARAMS),
        {"dz2", "dz1", *(f"dparams[{i}][{j}]" for i in (0, 1) for j in (0, 1))},
        "dz1",
    ),
    "states in dicts, parameters as globals": (
        characters,
        ([0, 2, 1, 4], [2, 1, 4, 3], np.zeros((6, 1))),
        {"dWxh", "dWhh", "dWhy", "dbh", "dby"},
        "dWhh",
    ),
}


@pytest.mark.parametrize("name", in_turn(CALLS, every=2))
def test_functions_that_return_loss_and_gradients(name):
    f, args, steps, wrong = CALLS[name]
    report = cr.audit_loss(f, *args)
    assert report.ok and {s.name for s in report.steps} == steps, str(report)
    assert all(s.verdict == "right" for s in report.steps)
    report = cr.audit_loss(f, *args, factor=1.5)
    assert [finding.name for finding in report.findings] == [wrong], str(report)


def test_a_method_whose_parameters_are_attributes():
    report = cr.audit_loss(TwoLayers().loss, X, LABELS, reg=0.1)
    assert report.ok and {s.name for s in report.steps} == {"W1", "b1", "W2", "b2"}, str(report)
    assert "W1, b1, W2, b2 from outside its arguments" in report.read_as
    report = cr.audit_loss(TwoLayers(2.0).loss, X, LABELS, reg=0.1)
    assert [(f.name, f.cause) for f in report.findings] == [("W2", "wrong-regularization")]


def test_a_parameter_whose_gradient_is_left_out():
    def without(X, y, params):
        loss, grads = layered(X, y, [params["first"], params["second"]])
        return loss, {"first": [grads[0][0], None], "second": grads[1]}

    params = {"first": PARAMS[0], "second": PARAMS[1]}
    report = cr.audit_loss(without, X, rng.normal(size=(8, 2)), params)
    assert [f.cause for f in report.findings] == ["missing-gradient"], str(report)


def test_a_variable_whose_name_means_something_else_is_not_judged():
    def f(w, X, y):
        out = X @ w
        loss = np.mean((out - y) ** 2)
        dout = out - y
        dw = 2 * X.T @ (dout / len(X) * (1 + 0 * out**2))
        return loss, dw

    report = cr.audit_loss(f, rng.normal(size=4), X, rng.normal(size=8))
    assert report.ok, str(report)


@pytest.mark.parametrize("k", [1, 2])
def test_the_gradient_of_a_number_without_a_name_is_judged(k):
    def logistic(w, b, X, y, reg):
        p = 1 / (1 + np.exp(-(X @ w + b)))
        loss = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)) + reg * np.sum(w**2)
        dz = (p - y) / len(y)
        return loss, X.T @ dz + 2 * reg * w, k * dz.sum()

    report = cr.audit_loss(logistic, rng.normal(size=4), 0.3, X, (X[:, 0] > 0) * 1.0, 0.1)
    assert [s.name for s in report.steps] == ["dw", "db"] and report.ok is (k == 1), str(report)


def test_what_is_no_pair():
    with pytest.raises(cr.AuditError, match="returned a ndarray; expected the loss"):
        cr.audit_loss(lambda w: w * 2, np.ones(3))
    with pytest.raises(cr.AuditError, match="the function fails on the data given: KeyError"):
        cr.audit_loss(lambda w: {}[0], np.ones(3))
