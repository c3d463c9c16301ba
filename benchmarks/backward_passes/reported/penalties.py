"""Penalties on the weights."""

import numpy as np

import chainrule as cr
from benchmarks.backward_passes.reported.claims import R, case, central, rows, softmax_rows


@case(
    False,
    "dW2",
    "wrong-regularization",
    "decay with a minus; tanh' helper is tanh",
    wrong="W1 b1 W2",
    style="class, update in place",
    glue=5,
    as_written=False,
    reason="update in the method: returns gradients",
)
def decay_with_a_minus():
    lam = 0.05

    def tanh_prime(x):
        return (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x))

    def backward(c, Y, p):
        dZ2 = c["A2"] - Y
        dZ1 = dZ2 @ p["W2"].T * tanh_prime(c["Z1"])
        return {
            "dZ2": dZ2,
            "dW2": c["A1"].T @ dZ2 - lam * p["W2"],
            "db2": dZ2.sum(0, keepdims=True),
            "dZ1": dZ1,
            "dW1": c["X"].T @ dZ1 - lam * p["W1"],
            "db1": dZ1.sum(0, keepdims=True),
        }

    def loss(A, Y, p):
        return np.sum((A - Y) ** 2) / 2 + lam / 2 * (np.sum(p["W1"] ** 2) + np.sum(p["W2"] ** 2))

    return rows(backward, loss, np.tanh, lambda Z: Z)


class TwoLayer:
    """The class of a course: params in a dict; loss(X, y, reg) returns loss and grads."""

    def __init__(self, bias_penalty, scale, factor):
        r = R(52)
        self.params = {"W1": r.normal(size=(4, 6)), "b1": np.zeros(6), "W2": r.normal(size=(6, 3)), "b2": np.zeros(3)}
        self.bias_penalty, self.scale, self.factor = bias_penalty, scale, factor

    def loss(self, X, y, reg):
        W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
        n = X.shape[0]
        h = np.maximum(0, X.dot(W1) + b1)
        P = softmax_rows(h.dot(W2) + b2)
        loss = -np.mean(np.log(P[np.arange(n), y])) + self.scale * reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
        if self.bias_penalty:
            loss += self.scale * reg * (np.sum(b1 * b1) + np.sum(b2 * b2))
        d = P.copy()
        d[np.arange(n), y] -= 1
        d /= n
        g = {"W2": h.T.dot(d) + self.factor * reg * W2, "b2": d.sum(axis=0)}
        dh = d.dot(W2.T)
        dh[h <= 0] = 0
        return loss, g | {"W1": X.T.dot(dh) + self.factor * reg * W1, "b1": dh.sum(axis=0)}


def two_layer(bias_penalty, scale, factor):
    t = TwoLayer(bias_penalty, scale, factor)
    r = R(53)
    X, y = r.normal(size=(8, 4)), r.integers(0, 3, 8)

    def forward(X, Y, p):
        t.params = p
        return {"loss": t.loss(X, Y, 0.1)[0]}

    def backward(cache, X, Y, p):
        t.params = p
        return t.loss(X, Y, 0.1)[1]

    p = {k: v.copy() for k, v in t.params.items()}

    def check():
        q = {k: v + 0.3 for k, v in p.items()} if bias_penalty else p  # biases of zero hide it
        t.params = q
        g = t.loss(X, y, 0.1)[1]
        return {k: (g[k], central(lambda: t.loss(X, y, 0.1)[0], q[k])) for k in q}

    return lambda: cr.audit(backward, forward=forward, loss=lambda out, Y: out, parameters=p, X=X, Y=y), check


@case(
    False,
    "W2 W1",
    "wrong-regularization",
    "half the penalty in the loss, the whole twice in the gradient",
    wrong="W1 W2",
    style="class, loss() returns loss and grads",
    glue=7,
    reason="adapter: loss as the output, params set on the object",
)
def penalty_twice():
    return two_layer(False, 0.5, 2.0)


@case(
    True,
    note="lambda in loss and gradient agree: right",
    style="class, loss() returns loss and grads",
    glue=7,
    reason="adapter: loss as the output, params set on the object",
)
def penalty_as_declared():
    return two_layer(False, 0.5, 1.0)
