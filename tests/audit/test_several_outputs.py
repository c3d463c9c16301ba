"""Layers that return several arrays, one of which may be computed from another."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from tests.tables import slow

rng = np.random.default_rng(21)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def cell(x, h, c, W, U, b):
    """An LSTM cell: h is computed from the c that is returned beside it."""
    n = h.shape[1]
    a = x @ W + h @ U + b
    i, f, o, g = sigmoid(a[:, :n]), sigmoid(a[:, n : 2 * n]), sigmoid(a[:, 2 * n : 3 * n]), np.tanh(a[:, 3 * n :])
    c_next = f * c + i * g
    return o * np.tanh(c_next), c_next, (x, h, c, W, U, i, f, o, g, c_next)


def cell_backward(sign=1.0, in_place=False):
    def backward(dh, dc, cache):
        x, h, c, W, U, i, f, o, g, c_next = cache
        t = np.tanh(c_next)
        if in_place:
            dc += dh * o * (1 - t**2)
        else:
            dc = dc + dh * o * (1 - t**2)
        da = np.hstack([dc * g * i * (1 - i), dc * c * f * (1 - f), dh * t * o * (1 - o), dc * i * (1 - g**2)])
        return da @ W.T, da @ U.T, sign * dc * f, x.T @ da, h.T @ da, da.sum(axis=0)

    return backward


SHAPES = (5, 3), (5, 4), (5, 4), (3, 16), (4, 16), (16,)
INPUTS = tuple(rng.normal(size=s) for s in SHAPES)


@pytest.mark.parametrize("packed", [False, slow(True)])
def test_an_lstm_cell(packed):
    def forward(*inputs):
        h, c, cache = cell(*inputs)
        return (h, c), cache

    def audited(backward):
        if packed:  # (h, c), cache and backward((dh, dc), cache)
            return cr.audit_layer(forward, lambda douts, cache: backward(*douts, cache), *INPUTS)
        return cr.audit_layer(cell, backward, *INPUTS)

    report = audited(cell_backward())
    assert report.ok and len(report.steps) == 6 and not report.notes, str(report)
    report = audited(cell_backward(sign=-1.0))
    assert [(f.name, f.cause) for f in report.findings] == [("dx2" if packed else "dc", "sign")]


def test_a_write_into_the_upstream_gradient_is_all_that_is_wrong():
    report = cr.audit_layer(cell, cell_backward(in_place=True), *INPUTS)
    assert [f.cause for f in report.findings] == ["mutates-input"]
    assert all(s.verdict == "right" for s in report.steps)


def test_three_outputs_in_a_chain():
    def forward(x, W):
        z = x @ W
        a = np.tanh(z)
        return z, a, a * a, (x, W, a)

    def backward(dz, da, ds, cache, doubled=2.0):
        x, W, a = cache
        dz = dz + (da + doubled * a * ds) * (1 - a * a)
        return dz @ W.T, x.T @ dz

    inputs = rng.normal(size=(6, 3)), rng.normal(size=(3, 4))
    assert cr.audit_layer(forward, backward, *inputs).ok
    report = cr.audit_layer(forward, lambda dz, da, ds, cache: backward(dz, da, ds, cache, 1.0), *inputs)
    assert [f.name for f in report.findings] == ["dx"] and "dW" in str(report)


def test_what_equals_the_gradient_of_the_loss_is_not_wrong_below_a_wrong_signal():
    def forward(X, p):
        A = np.tanh(X @ p["W"])
        return {"X": X, "A": A, "S": A**2}

    def backward(cache, Y, p):
        dS = cache["S"] - Y
        dA = 2 * cache["A"] * dS
        return {"dS": 3 * dS * cache["A"], "dA": dA, "dW": cache["X"].T @ (dA * (1 - cache["A"] ** 2))}

    given = dict(parameters={"W": INPUTS[3]}, X=INPUTS[0], Y=rng.normal(size=(5, 16)))
    report = cr.audit(backward, forward=forward, loss=lambda S, Y: np.sum((S - Y) ** 2) / 2, **given)
    assert [f.name for f in report.findings] == ["dS"], str(report)
    assert {s.name: s.verdict for s in report.steps}["dA"] == "right"
