"""`assert_backward_right` raises with the report where a backward pass is wrong, and only there."""

import numpy as np
import pytest

import chainrule as cr

X = np.random.default_rng(0).normal(size=(6, 3))


def forward(x, W):
    return x @ W, (x, W)


class Double:
    def forward(self, x):
        return 2 * x

    def backward(self, dout):
        return 2 * dout


def test_functions_of_a_layer():
    W = np.ones((3, 2))
    cr.assert_backward_right(lambda d, c: (d @ c[1].T, c[0].T @ d), X, W, forward=forward)
    with pytest.raises(AssertionError, match=r"(?s)not right.*dW sign"):
        cr.assert_backward_right(lambda d, c: (d @ c[1].T, -c[0].T @ d), X, W, forward=forward)


def test_a_network():
    data = {
        "parameters": {"W": np.ones((3, 2))},
        "X": X,
        "Y": np.zeros((6, 2)),
        "loss": lambda Z, Y: np.sum((Z - Y) ** 2),
    }

    def network(X, p):
        return {"X": X, "Z": X @ p["W"]}

    cr.assert_backward_right(lambda c, Y, p: {"dW": 2 * c["X"].T @ (c["Z"] - Y)}, forward=network, **data)
    with pytest.raises(AssertionError, match="constant-factor"):
        cr.assert_backward_right(lambda c, Y, p: {"dW": c["X"].T @ (c["Z"] - Y)}, forward=network, **data)


def test_objects():
    cr.assert_backward_right(Double(), X)
