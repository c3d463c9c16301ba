"""Softmax and cross entropy."""

import numpy as np

import chainrule as cr
from benchmarks.backward_passes.reported.claims import (
    R,
    bce_mean_rows,
    case,
    ce,
    central,
    layer,
    module_check,
    net,
    onehot,
    sig,
    softmax_rows,
)


@case(
    False,
    "dx",
    "missing-term wrong-activation-derivative",
    "diagonal of the softmax Jacobian only",
    wrong="x",
    style="layer classes",
)
def diagonal_of_the_jacobian():
    class Softmax:
        def forward(self, x):
            self.p = softmax_rows(x)
            return self.p

        def backward(self, grad):
            return grad * self.p * (1 - self.p)

    x = R(39).normal(size=(5, 4))
    return lambda: cr.audit_module(Softmax(), x), module_check(Softmax, x)


@case(
    False,
    "dx",
    "wrong-operand missing-term wrong-shape",
    "one Jacobian over the flattened batch: examples mix",
    wrong="x",
    style="layer functions",
)
def jacobian_over_the_batch():
    def forward(x):
        e = np.exp(x - x.max(axis=0))
        p = e / e.sum(axis=0)
        return p, p

    def backward(dout, p):
        s = p.reshape(-1, 1)
        J = np.diagflat(s) - s @ s.T
        return (J @ dout.reshape(-1)).reshape(p.shape)

    return layer(forward, backward, R(41).normal(size=(4, 3)))


def two_that_cancel(back):
    def forward(X, p):
        Z1 = X @ p["W1"] + p["b1"]
        A1 = np.tanh(Z1)
        Z2 = A1 @ p["W2"] + p["b2"]
        return {"X": X, "Z1": Z1, "A1": A1, "Z2": Z2, "A2": softmax_rows(Z2)}

    def backward(c, Y, p):
        A2 = c["A2"]
        dA2 = (-Y / A2 + (1 - Y) / (1 - A2)) / len(Y)
        dZ2 = dA2 * A2 * (1 - A2)
        dZ1 = dZ2 @ p["W2"].T * (1 - c["A1"] ** 2)
        g = {"dA2": dA2} if back else {}
        return g | {
            "dZ2": dZ2,
            "dW2": c["A1"].T @ dZ2,
            "db2": dZ2.sum(0),
            "dZ1": dZ1,
            "dW1": c["X"].T @ dZ1,
            "db1": dZ1.sum(0),
        }

    r = R(43)
    p = {"W1": r.normal(size=(4, 6)), "b1": r.normal(size=6), "W2": r.normal(size=(6, 3)), "b2": r.normal(size=3)}
    return net(forward, backward, ce, p, r.normal(size=(8, 4)), onehot(r.integers(0, 3, 8), 3))


@case(
    False,
    "dA2",
    "missing-term wrong-operand wrong-activation-derivative",
    "dA2 is of another loss, dZ2 of another activation: they cancel (parameters right)",
    style="dict rows",
)
def errors_that_cancel():
    return two_that_cancel(True)


@case(True, note="the two that cancel, dA2 not returned: all that is returned is right", style="dict rows")
def errors_that_cancel_unseen():
    return two_that_cancel(False)


def _by_target(da):
    """A class with forward(X) and backward(y), gradients as attributes; `da` is dL/da2."""

    class Classifier:
        def __init__(self):
            r = R(45)
            self.W1, self.b1, self.W2, self.b2 = (
                r.normal(size=(4, 5)),
                r.normal(size=5),
                r.normal(size=(5, 1)),
                r.normal(size=1),
            )

        def forward(self, X):
            self.X = X
            self.a1 = np.tanh(X @ self.W1 + self.b1)
            self.a2 = sig(self.a1 @ self.W2 + self.b2)
            return self.a2

        def backward(self, y):
            dz2 = da(self.a2, y) / len(y) * self.a2 * (1 - self.a2)
            self.dW2, self.db2 = self.a1.T @ dz2, dz2.sum(axis=0)
            dz1 = dz2 @ self.W2.T * (1 - self.a1**2)
            self.dW1, self.db1 = self.X.T @ dz1, dz1.sum(axis=0)

    X, y = R(46).normal(size=(8, 4)), R(46).integers(0, 2, (8, 1)).astype(float)

    def check():
        c = Classifier()
        f = lambda: bce_mean_rows(c.forward(X), y)
        want = {k: central(f, getattr(c, k)) for k in ("W1", "b1", "W2", "b2")}
        f()
        c.backward(y)
        return {k: (getattr(c, "d" + k), v) for k, v in want.items()}

    return lambda: cr.audit_module(Classifier(), X, loss=bce_mean_rows, Y=y), check


@case(
    False,
    "dW2 db2",
    "missing-term",
    "binary cross entropy without its (1-y) part (the tool hands dout where y is meant)",
    wrong="W1 b1 W2 b2",
    style="class, backward(y), .dW attributes",
)
def half_of_the_cross_entropy():
    return _by_target(lambda a, y: -(y / a))


@case(
    True,
    note="control for half_of_the_cross_entropy (backward is handed dout in place of y): the whole derivative, right",
    style="class, backward(y), .dW attributes",
)
def whole_cross_entropy_given_labels():
    return _by_target(lambda a, y: -(y / a) + (1 - y) / (1 - a))


@case(
    False,
    "dpred",
    "wrong-operand nonfinite",
    "labels divided by the output buffer, which forward filled with the losses; no mean",
    wrong="pred",
    style="loss class (forward(pred, label), backward())",
)
def labels_over_the_losses():
    class CrossEntropy:
        def forward(self, pred, label):
            self.pred, self.label = pred, label
            self.buffer = -label * np.log(pred)
            return np.sum(self.buffer) / len(pred)

        def backward(self):
            self.buffer = -self.label / self.buffer
            return self.buffer

    r = R(47)
    pred, label = softmax_rows(r.normal(size=(5, 3))), softmax_rows(r.normal(size=(5, 3)))

    def check():
        c = CrossEntropy()
        want = central(lambda: CrossEntropy().forward(pred, label), pred)
        c.forward(pred, label)
        return {"pred": (c.backward(), want)}

    return lambda: cr.audit_module(CrossEntropy(), pred, label), check


@case(
    False,
    "A2 Z2 dA2 dZ2 dW2 db2 dZ1 dW1 db1",
    "nonfinite",
    "one maximum for the whole batch: a small row is 0/0",
    wrong="W1 b1 W2 b2",
    style="dict rows",
)
def one_maximum_for_all_rows():
    def forward(X, p):
        Z1 = X @ p["W1"] + p["b1"]
        A1 = np.maximum(0, Z1)
        Z2 = A1 @ p["W2"] + p["b2"]
        E = np.exp(Z2 - np.max(Z2))
        return {"X": X, "Z1": Z1, "A1": A1, "Z2": Z2, "A2": E / np.sum(E, axis=1, keepdims=True)}

    def backward(c, Y, p):
        dZ2 = (c["A2"] - Y) / len(Y)
        dZ1 = dZ2 @ p["W2"].T * (c["Z1"] > 0)
        return {
            "dZ2": dZ2,
            "dW2": c["A1"].T @ dZ2,
            "db2": dZ2.sum(0),
            "dZ1": dZ1,
            "dW1": c["X"].T @ dZ1,
            "db1": dZ1.sum(0),
        }

    r = R(49)
    p = {
        "W1": r.normal(size=(4, 6)),
        "b1": r.normal(size=6),
        "W2": np.abs(r.normal(size=(6, 3))),
        "b2": r.normal(size=3),
    }
    X = r.normal(size=(4, 4)) * np.array([[1.0], [3000.0], [1.0], [2.0]])
    return net(forward, backward, ce, p, X, onehot(r.integers(0, 3, 4), 3))
