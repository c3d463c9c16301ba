"""Causes of mistakes by kind: passes of other layers, and with other names, than those of the benchmark."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import chainrule as cr
from tests.tables import for_each


def N(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def activation(f, slope):
    """An elementwise layer whose backward multiplies by ``slope(x, out)``."""
    return cr.audit_layer(lambda x: (f(x), (x, f(x))), lambda dout, c: {"dx": dout * slope(*c)}, 1.5 * N(3, 7, 5))


def elu(z):
    return np.where(z > 0, z, 0.7 * (np.exp(np.minimum(z, 0)) - 1))


def leaky(z):
    return np.where(z > 0, z, 0.2 * z)


def elu_of_input():
    return activation(elu, lambda x, y: np.where(x > 0, 1, x + 0.7))


def selu_of_input():
    return activation(lambda z: 1.05 * elu(z), lambda x, y: np.where(x > 0, 1.05, x + 1.05 * 0.7))


def leaky_as_relu():
    return activation(leaky, lambda x, y: x > 0)


def sigmoid_of_the_output():
    return activation(sigmoid, lambda x, y: sigmoid(y))


def one_minus_tanh():
    return activation(np.tanh, lambda x, y: 1 - y)


def network(change):
    """A classifier of rows with a hidden layer; `change` puts other gradients in place of the right ones."""

    def forward(X, P):
        Z1 = X @ P["W1"] + P["b1"]
        A1 = sigmoid(Z1)
        Z2 = A1 @ P["W2"] + P["b2"]
        e = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        return {"X": X, "Z1": Z1, "A1": A1, "Z2": Z2, "probs": e / e.sum(axis=1, keepdims=True)}

    def backward(cache, Y, P):
        m = len(Y)
        dZ2 = (cache["probs"] - Y) / m
        dA1 = dZ2 @ P["W2"].T
        dZ1 = dA1 * cache["A1"] * (1 - cache["A1"])
        grads = {"dZ2": dZ2, "dA1": dA1, "dZ1": dZ1, "dW1": cache["X"].T @ dZ1, "db1": dZ1.sum(axis=0)}
        grads |= {"dW2": cache["A1"].T @ dZ2, "db2": dZ2.sum(axis=0)}
        return {**grads, **change(cache, Y, P, grads)}

    def loss(probs, Y):
        return -np.sum(Y * np.log(probs)) / len(Y)

    P = {"W1": N(1, 3, 5), "b1": N(2, 5), "W2": N(3, 5, 4), "b2": N(4, 4)}
    Y = np.eye(4)[np.random.default_rng(9).integers(0, 4, 7)]
    return cr.audit(backward, forward=forward, loss=loss, parameters=P, X=N(5, 7, 3), Y=Y)


def derivative_at_the_gradient():
    return network(lambda c, Y, P, g: {"dZ1": g["dA1"] * -g["dA1"] * (1 + g["dA1"])})


def bias_from_weights():
    return network(lambda c, Y, P, g: {"db1": g["dW1"].sum(axis=0)})


def another_loss():
    return network(lambda c, Y, P, g: {"dprobs": (c["probs"] - Y) / (c["probs"] * (1 - c["probs"])) / len(Y)})


def last_example_missing():
    return network(lambda c, Y, P, g: {"dW2": c["A1"][:-1].T @ g["dZ2"][:-1]})


def divided_by_one_less():
    return network(lambda c, Y, P, g: {"dW2": c["A1"].T @ (c["probs"] - Y) / (len(Y) - 1)})


def noise():
    return network(lambda c, Y, P, g: {"dW2": np.random.default_rng(7).normal(size=P["W2"].shape)})


def smooth_function_of_the_right_one():
    return network(lambda c, Y, P, g: {"dA1": np.sin(3 * g["dA1"]) + g["dA1"]})


def normalised(means):
    """A normalisation of rows whose backward takes its means by ``means(array)``."""

    def forward(x):
        rstd = 1 / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
        n = (x - x.mean(axis=1, keepdims=True)) * rstd
        return n, (n, rstd)

    def backward(dout, cache):
        n, rstd = cache
        return {"dx": (dout - means(dout) - n * means(dout * n)) * rstd}

    return cr.audit_layer(forward, backward, N(8, 6, 5))


def in_pairs(array):
    return np.repeat([array[k : k + 2].mean() for k in range(0, len(array), 2)], 2)[: len(array), None]


def means_over_pairs():
    return normalised(in_pairs)


def means_over_all():
    return normalised(np.mean)


def recurrence(use, steps=4, kept=lambda t, T: True, carried=1.0):
    """An unrolled network with outputs at all times; ``use(X, h, t)`` are the operands of its two gradients."""

    def forward(X, P):
        h = [np.zeros((X.shape[1], 4))]
        for x in X:
            h.append(np.tanh(x @ P["W"] + h[-1] @ P["U"]))
        return {"X": X, "h": h, "out": np.stack(h[1:])}

    def backward(cache, Y, P):
        X, h, e = cache["X"], cache["h"], cache["out"] - Y
        dW, dU, dh = 0, 0, 0
        for t in reversed(range(len(X))):
            dh = e[t] + dh if kept(t, len(X)) else dh
            dz = dh * (1 - h[t + 1] ** 2)
            x, state = use(X, h, t)
            dW, dU, dh = dW + x.T @ dz, dU + state.T @ dz, carried * dz @ P["U"].T
        return {"dW": dW, "dU": dU}

    def loss(out, Y):
        return np.sum((out - Y) ** 2) / 2

    P = {"W": N(1, 3, 4) / 2, "U": N(2, 4, 4) / 2}
    return cr.audit(backward, forward=forward, loss=loss, parameters=P, X=N(3, steps, 6, 3), Y=N(4, steps, 6, 4))


def input_of_the_next_step():
    return recurrence(lambda X, h, t: (X[(t + 1) % len(X)], h[t]))


def only_the_last_output():
    return recurrence(lambda X, h, t: (X[t], h[t]), kept=lambda t, T: t == T - 1)


def gates(what):
    def forward(x, s, W, V):
        z, c = sigmoid(x @ W), np.tanh(x @ V)
        return z * s + (1 - z) * c, (x, s, W, V, z, c)

    def backward(dout, cache):
        x, s, W, V, z, c = cache
        dz, dc = dout * (s - c) * z * (1 - z), dout * (z if what == "complement" else 1 - z) * (1 - c**2)
        return dz @ W.T + dc @ V.T, dout * z, x.T @ dz, x.T @ dc

    return cr.audit_layer(forward, backward, N(1, 7, 3), N(2, 7, 4), N(3, 3, 4), N(4, 3, 4))


def complement_of_a_gate():
    return gates("complement")


def kernel_not_turned():
    def backward(dout, cache):
        x, w = cache
        return np.correlate(dout, w, mode="full"), np.correlate(x, dout, mode="valid")

    return cr.audit_layer(lambda x, w: (np.correlate(x, w, mode="valid"), (x, w)), backward, N(1, 9), N(2, 3))


def winners_of_other_windows():
    def forward(x):
        return np.array([max(x[i], x[i + 1]) for i in range(len(x) - 1)]), x

    def backward(dout, x):
        dx = np.zeros_like(x)
        for i in range(len(x)):
            j = min(i, len(x) - 2)
            dx[i] = dout[j] if x[i] == max(x[j], x[j + 1]) else 0.0
        return dx

    return cr.audit_layer(forward, backward, N(5, 8))


def penalty_of_absolute_values():
    def loss(out, Y, P):
        return np.mean(np.sum((out - Y) ** 2, axis=1)) / 2 + 0.1 * np.sum(P["W"] ** 2)

    def backward(cache, Y, P):
        return {"dW": cache["X"].T @ (cache["out"] - Y) / len(Y) + 0.2 * np.abs(P["W"])}

    def forward(X, P):
        return {"X": X, "out": X @ P["W"]}

    return cr.audit(backward, forward=forward, loss=loss, parameters={"W": N(1, 3, 2)}, X=N(2, 8, 3), Y=N(3, 8, 2))


def slopes_from_the_other_side():
    def forward(x, slope):
        return np.where(x > 0, x, slope * x), (x, slope)

    def backward(dout, cache):
        x, slope = cache
        return dout * np.where(x > 0, 1, slope), np.sum(dout * x * (x > 0), axis=0)

    return cr.audit_layer(forward, backward, N(1, 7, 4), 0.1 + 0.1 * np.arange(4))


def gate_on_the_other_operand():
    def forward(x, h, W, U):
        r = sigmoid(x @ W)
        return np.tanh(r * (h @ U)), (x, h, r, W, U, np.tanh(r * (h @ U)))

    def backward(dout, cache):
        x, h, r, W, U, out = cache
        dz = dout * (1 - out**2)
        dr = dz * (h @ U) * r * (1 - r)
        return dr @ W.T, (dz * r) @ U.T, x.T @ dr, (r * h).T @ dz

    return cr.audit_layer(forward, backward, N(1, 6, 3), N(2, 6, 4), N(3, 3, 4), N(4, 4, 4))


def blocks_of_an_upsampling(right=False):
    def forward(x):
        return x.repeat(2, axis=1).repeat(3, axis=2), x.shape

    def backward(dout, shape):
        n, h, w = shape
        if right:
            return dout.reshape(n, h, 2, w, 3).sum(axis=(2, 4))
        return dout.reshape(n, 2, h, 3, w).sum(axis=(1, 3))

    return cr.audit_layer(forward, backward, N(1, 3, 4, 5))


def hinge_without_its_mask(right=False):
    def forward(a, b, c):
        margin = np.sum((a - b) ** 2, axis=1) - np.sum((a - c) ** 2, axis=1) + 1
        return np.mean(np.maximum(margin, 0)), (a, b, c, margin > 0)

    def backward(dout, cache):
        a, b, c, active = cache
        g = 2 * dout / len(a) * (active[:, None] if right else 1)
        return g * (c - b), g * (b - a), g * (a - c)

    return cr.audit_layer(forward, backward, N(1, 6, 3), N(2, 6, 3), N(3, 6, 3))


NAMED = {
    slopes_from_the_other_side: "wrong-operand",
    gate_on_the_other_operand: "wrong-operand",
    blocks_of_an_upsampling: "transposed",
    hinge_without_its_mask: "missing-factor",
    elu_of_input: "derivative-at-activation",
    selu_of_input: "derivative-at-activation",
    leaky_as_relu: "wrong-activation-derivative",
    sigmoid_of_the_output: "wrong-activation-derivative",
    one_minus_tanh: "wrong-activation-derivative",
    derivative_at_the_gradient: "wrong-operand",
    bias_from_weights: "wrong-operand",
    another_loss: "wrong-operand",
    last_example_missing: "partial-loop",
    divided_by_one_less: "constant-factor",
    means_over_pairs: "wrong-axis",
    means_over_all: "wrong-axis",
    complement_of_a_gate: "wrong-operand",
    kernel_not_turned: "transposed",
    winners_of_other_windows: "missing-term",
    penalty_of_absolute_values: "wrong-regularization",
    noise: "unknown",
    smooth_function_of_the_right_one: "unknown",
}


def stacked_lstm(mistake=""):
    """An LSTM whose states are rows of arrays, and whose gates lie side by side."""

    def forward(x, W, U, b):
        steps, n = len(x), len(U)
        h, c, gates = np.zeros((steps + 1, n)), np.zeros((steps + 1, n)), []
        for t in range(steps):
            z = x[t] @ W + h[t] @ U + b
            i, f, o, g = sigmoid(z[:n]), sigmoid(z[n : 2 * n]), sigmoid(z[2 * n : 3 * n]), np.tanh(z[3 * n :])
            c[t + 1] = f * c[t] + i * g
            h[t + 1] = o * np.tanh(c[t + 1])
            gates.append((i, f, o, g))
        return h[1:], (x, W, U, h, c, gates)

    def backward(douts, cache):
        x, W, U, h, c, gates = cache
        dW, dU, db, dx = np.zeros_like(W), np.zeros_like(U), np.zeros(W.shape[1]), np.zeros_like(x)
        dh, dc = 0, 0
        for t in reversed(range(len(x))):
            i, f, o, g = gates[t]
            dh, a = douts[t] + dh, np.tanh(c[t + 1])
            dc = dh * o * (1 - a**2) + dc
            of_i, of_f = dc * g * i * (1 - i), dc * c[t + (mistake == "state")] * f * (1 - f)
            first, second = (of_f, of_i) if mistake == "gates" else (of_i, of_f)
            dz = np.concatenate([first, second, dh * a * o * (1 - o), dc * i * (1 - g**2)])
            dW, dU, db = dW + np.outer(x[t], dz), dU + np.outer(h[t + (mistake == "output")], dz), db + dz
            dx[t], dh, dc = dz @ W.T, dz @ U.T, dc * (1 if mistake == "factor" else f)
        return dx, dW, dU, db

    return cr.audit_layer(forward, backward, N(1, 4, 3), N(2, 3, 8), N(3, 2, 8), N(4, 8))


IN_TIME = {
    input_of_the_next_step: "wrong-time-step",
    only_the_last_output: "missing-term",
    functools.partial(stacked_lstm, "state"): "wrong-time-step",
    functools.partial(stacked_lstm, "gates"): "wrong-gate",
    functools.partial(stacked_lstm, "output"): "wrong-time-step",
    functools.partial(stacked_lstm, "factor"): "missing-factor",
}


@for_each(("subject", "cause"), list(NAMED.items()), every=5)
def test_the_cause_is_named(subject, cause):
    report = subject()
    assert report.findings and report.findings[0].cause == cause, str(report)


@pytest.mark.slow
@for_each(("subject", "causes"), list(IN_TIME.items()))
def test_the_cause_is_named_in_time(subject, causes):
    report = subject()
    assert report.findings and report.findings[0].cause in causes.split(), str(report)


def test_right_passes_are_right():
    own = recurrence(lambda X, h, t: (X[t], h[t]))
    assert own.ok and gates("").ok and network(lambda c, Y, P, g: {}).ok
    assert normalised(lambda a: a.mean(axis=1, keepdims=True)).ok
    assert stacked_lstm().ok
    assert blocks_of_an_upsampling(right=True).ok and hinge_without_its_mask(right=True).ok


def log_softmax(change):
    def forward(z):
        o = z - z.max(axis=1, keepdims=True)
        out = o - np.log(np.exp(o).sum(axis=1, keepdims=True))
        return out, out

    return cr.audit_layer(forward, lambda dout, out: {"dz": change(dout, np.exp(out))}, N(6, 6, 4))


def row_sums(array):
    return array.sum(axis=1, keepdims=True)


TWO_TERMS = [
    ("missing-factor", lambda g, p: g - p),
    ("sign", lambda g, p: g + p * row_sums(g)),
    ("wrong-axis", lambda g, p: g - p * g.sum(axis=0, keepdims=True)),
    ("missing-term", lambda g, p: g - p * g),
    ("constant-factor", lambda g, p: g - p * g.mean(axis=1, keepdims=True)),
    ("unknown", lambda g, p: g - p * row_sums(g) ** 2),
]


@for_each(("cause", "change"), TWO_TERMS, every=2)
def test_the_differing_term_is_named(cause, change):
    report = log_softmax(change)
    assert report.findings and report.findings[0].cause == cause, str(report)
    assert log_softmax(lambda g, p: g - p * row_sums(g)).ok
