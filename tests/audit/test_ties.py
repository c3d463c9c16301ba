"""Where several elements are the largest, which of them gets the gradient is a choice."""

import numpy as np
import pytest

import chainrule as cr
from tests.tables import for_each

rng = np.random.default_rng(3)
ZEROS = np.maximum(rng.normal(size=(3, 2, 4, 4)), 0)  # with windows of zeros


def windows(x):
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h // 2, w // 2, 4)


def put_back(d):
    n, c, h, w, _ = d.shape
    return d.reshape(n, c, h, w, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, 2 * h, 2 * w)


def in_loops(x):
    out = np.zeros((*x.shape[:2], x.shape[2] // 2, x.shape[3] // 2))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            out[:, :, i, j] = np.max(x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2], axis=(2, 3))
    return out


def pairwise(x):
    rows = np.maximum(x[:, :, ::2], x[:, :, 1::2])
    return np.maximum(rows[..., ::2], rows[..., 1::2])


POOLS = {"loops": in_loops, "reshaped": lambda x: windows(x).max(-1), "pairs": pairwise}


def one_hot(at):
    return np.eye(4)[at]


MASKS = {
    "first": lambda w: one_hot(w.argmax(-1)),
    "last": lambda w: one_hot(3 - w[..., ::-1].argmax(-1)),
    "shared": lambda w: (w == w.max(-1, keepdims=True)) / np.sum(w == w.max(-1, keepdims=True), -1, keepdims=True),
    "all": lambda w: w == w.max(-1, keepdims=True),
}
WRONG = {
    "the smallest": lambda w: one_hot(w.argmin(-1)),
    "averaged": lambda w: one_hot(w.argmax(-1)) / 4,
}


def backward_of(mask):
    return lambda dout, x: put_back(mask(windows(x)) * dout[..., None])


@for_each(("pool", "mask"), [(p, m) for p in POOLS for m in MASKS])
def test_any_choice_of_equal_elements_is_right(pool, mask):
    report = cr.audit_layer(lambda x: (POOLS[pool](x), x), backward_of(MASKS[mask]), ZEROS)
    assert report.ok, str(report)


@for_each(("pool", "mask"), [("reshaped", "the smallest"), ("pairs", "averaged")])
def test_wrong_routes_are_found_in_spite_of_ties(pool, mask):
    report = cr.audit_layer(lambda x: (POOLS[pool](x), x), backward_of(WRONG[mask]), ZEROS)
    assert [f.name for f in report.findings] == ["dx"]


def network(mask, wrong=False):
    def forward(X, p):
        Z = X * p["w"][:, None, None]
        A = np.maximum(Z, 0)
        P = windows(A).max(-1)
        F = P.reshape(len(X), -1)
        return {"X": X, "Z": Z, "A": A, "P": P, "F": F, "out": F @ p["V"]}

    def backward(c, Y, p):
        dout = (c["out"] - Y) / len(Y)
        dP = (dout @ p["V"].T).reshape(c["P"].shape)
        dA = backward_of(mask)(dP, c["A"])
        dZ = dA if wrong else dA * (c["Z"] > 0)
        return {"dout": dout, "dV": c["F"].T @ dout, "dP": dP, "dA": dA, "dZ": dZ, "dw": (dZ * c["X"]).sum((0, 2, 3))}

    values = {"w": rng.normal(size=2), "V": rng.normal(size=(8, 3))}
    data = {"X": rng.normal(size=(5, 2, 4, 4)), "Y": rng.normal(size=(5, 3))}
    return cr.audit(
        backward, forward=forward, loss=lambda out, Y: 0.5 * np.sum((out - Y) ** 2) / len(Y), parameters=values, **data
    )


@pytest.mark.parametrize("mask", ["first", "all"])
def test_a_pool_of_what_relu_has_set_to_zero(mask):
    assert network(MASKS[mask]).ok
    assert network(MASKS[mask], wrong=True).findings[0].name == "dZ"


def test_a_wrong_pool_in_a_network():
    assert network(WRONG["averaged"]).findings[0].name == "dA"


def test_a_softmax_of_equal_scores():
    def forward(z):
        e = np.exp(z - z.max(1, keepdims=True))
        p = e / e.sum(1, keepdims=True)
        return p, p

    def backward(dout, p):
        return p * dout

    report = cr.audit_layer(forward, lambda d, p: p * (d - (d * p).sum(1, keepdims=True)), np.zeros((4, 3)))
    assert report.ok
    assert not cr.audit_layer(forward, backward, np.zeros((4, 3))).ok
