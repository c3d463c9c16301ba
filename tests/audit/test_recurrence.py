"""Causes in recurrent networks: gradients that are not carried back, gates that are exchanged, terms with a factor."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr

SIZE, STEPS = 3, 2


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def lstm_forward(X, P):
    h, c = [np.zeros((X.shape[1], SIZE))], [np.zeros((X.shape[1], SIZE))]
    gates = []
    for x in X:
        a = x @ P["Wx"] + h[-1] @ P["Wh"] + P["b"]
        i, f, o = (sigmoid(a[:, k * SIZE : (k + 1) * SIZE]) for k in range(3))
        g = np.tanh(a[:, 3 * SIZE :])
        gates.append((i, f, o, g))
        c.append(f * c[-1] + i * g)
        h.append(o * np.tanh(c[-1]))
    return {"X": X, "gates": gates, "c": c, "h": h, "out": h[-1]}


def lstm_backward(mistake):
    def backward(cache, Y, P):
        X, h, c = cache["X"], cache["h"], cache["c"]
        grads = {"dWx": 0, "dWh": 0, "db": 0}
        dh, dc = cache["out"] - Y, 0
        for t in reversed(range(len(X))):
            i, f, o, g = cache["gates"][t]
            tanh_c = np.tanh(c[t + 1])
            dc = dc + dh * o * (1 - tanh_c**2)
            parts = [dc * g * i * (1 - i), dc * c[t] * f * (1 - f), dh * tanh_c * o * (1 - o), dc * i * (1 - g**2)]
            da = np.concatenate(parts, axis=1)
            stored = np.concatenate([parts[k] for k in (0, 2, 1, 3)], axis=1) if mistake == "gates" else da
            now = {"dWx": X[t].T @ stored, "dWh": h[t].T @ stored, "db": stored.sum(axis=0)}
            grads = {name: grads[name] + value for name, value in now.items()}
            dh = da @ P["Wh"].T
            dc = 0 if mistake == "cell" else dc * f
        return grads

    return backward


def lstm(mistake):
    rng = np.random.default_rng(11)
    P = {"Wx": rng.normal(size=(2, 4 * SIZE)), "Wh": rng.normal(size=(SIZE, 4 * SIZE)), "b": rng.normal(size=4 * SIZE)}
    X, Y = rng.normal(size=(STEPS, 5, 2)), rng.normal(size=(5, SIZE))
    loss = lambda out, Y: np.sum((out - Y) ** 2) / 2  # noqa: E731
    return cr.audit(lstm_backward(mistake), forward=lstm_forward, loss=loss, parameters=P, X=X, Y=Y)


def gru_forward(X, P):
    h, gates = [np.zeros((X.shape[1], SIZE))], []
    for x in X:
        r, z = sigmoid(x @ P["Wr"] + h[-1] @ P["Ur"]), sigmoid(x @ P["Wz"] + h[-1] @ P["Uz"])
        n = np.tanh(x @ P["Wn"] + (r * h[-1]) @ P["Un"])
        gates.append((r, z, n))
        h.append((1 - z) * n + z * h[-1])
    return {"X": X, "gates": gates, "h": h, "out": np.stack(h[1:])}


def gru_backward(mistake):
    def backward(cache, Y, P):
        X, h = cache["X"], cache["h"]
        grads = dict.fromkeys(("dWr", "dUr", "dWz", "dUz", "dWn", "dUn"), 0)
        carried = 0
        for t in reversed(range(len(X))):
            r, z, n = cache["gates"][t]
            dh = h[t + 1] - Y[t] + (0 if mistake == "carried" else carried)
            dn, dz = dh * (1 - z) * (1 - n**2), dh * (h[t] - n) * z * (1 - z)
            back = dn @ P["Un"].T
            dr = back * h[t] * r * (1 - r)
            state = r * h[t]
            now = {"dWr": X[t].T @ dr, "dUr": h[t].T @ dr, "dWz": X[t].T @ dz, "dUz": h[t].T @ dz}
            now |= {"dWn": X[t].T @ dn, "dUn": state.T @ dn}
            if mistake == "exchanged":
                now["dUr"], now["dUz"] = now["dUz"], now["dUr"]
            grads = {name: grads[name] + value for name, value in now.items()}
            carried = dh * z + back * r + dz @ P["Uz"].T + dr @ P["Ur"].T
        return grads

    return backward


def gru(mistake):
    rng = np.random.default_rng(12)
    P = {name + gate: rng.normal(size=(n, SIZE)) for name, n in (("W", 2), ("U", SIZE)) for gate in "rzn"}
    X, Y = rng.normal(size=(STEPS, 5, 2)), rng.normal(size=(STEPS, 5, SIZE))
    loss = lambda out, Y: np.sum((out - Y) ** 2) / 2  # noqa: E731
    return cr.audit(gru_backward(mistake), forward=gru_forward, loss=loss, parameters=P, X=X, Y=Y)


def layer_norm(mistake):
    def forward(x, gamma):
        spread = np.sqrt(np.var(x, axis=1, keepdims=True) + 1e-5)
        n = (x - np.mean(x, axis=1, keepdims=True)) / spread
        return gamma * n, (gamma, n, spread)

    def backward(dout, cache):
        gamma, n, spread = cache
        d = dout * gamma
        mean, along = d.mean(axis=1, keepdims=True), (d * n).mean(axis=1, keepdims=True)
        amounts = {"twice": (2, 1), "half": (1, 0.5), "sign": (-1, 1)}.get(mistake, (1, 1))
        return (d - amounts[0] * mean - amounts[1] * n * along) / spread, np.sum(dout * n, axis=0)

    rng = np.random.default_rng(13)
    return cr.audit_layer(forward, backward, rng.normal(size=(6, 5)), rng.normal(size=5))


long = pytest.mark.slow
WRONG = [
    pytest.param(lstm, "gates", "wrong-gate", marks=long),
    pytest.param(lstm, "cell", "truncated", marks=long),
    pytest.param(gru, "carried", "truncated", marks=long),
    pytest.param(gru, "exchanged", "wrong-gate", marks=long),
    (layer_norm, "twice", "constant-factor"),
    (layer_norm, "half", "constant-factor"),
    (layer_norm, "sign", "sign"),
]


@pytest.mark.parametrize(("subject", "wrong", "cause"), WRONG)
def test_the_cause_is_named(subject, wrong, cause):
    report = subject(wrong)
    assert report.findings and {f.cause for f in report.findings} == {cause}, str(report)
    if cause == "truncated":
        assert len(report.findings) == 1, "one mistake, one finding"


@pytest.mark.parametrize("subject", [lstm, gru, layer_norm])
def test_right_passes_are_right(subject):
    assert subject("").ok
