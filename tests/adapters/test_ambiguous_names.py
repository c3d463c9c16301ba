"""Names that mean several things: eta, alpha, initials; numbers that grow into arrays; methods that return nothing."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.audit.report import RIGHT
from tests.tables import in_turn

RNG = np.random.default_rng(5)
X, IMAGES = RNG.normal(size=(6, 4)), RNG.normal(size=(2, 3, 3, 2))


class HandedEta:
    """The upstream gradient is called eta, and the gradients after the initials of weights and bias."""

    k = 1.0

    def __init__(self):
        self.weights, self.bias = RNG.normal(size=(4, 3)), RNG.normal(size=3)

    def forward(self, x):
        self.x = x
        return x @ self.weights + self.bias

    def backward(self, eta):
        self.w_gradient, self.b_gradient = self.k * self.x.T @ eta, eta.sum(axis=0)
        return eta @ self.weights.T


class GivenAlpha:
    """Its alpha is the upstream gradient as well."""

    k = 1.0

    def forward(self, z):
        self.s = 1 / (1 + np.exp(-z))
        return self.s

    def backprop(self, alpha):
        return self.k * alpha * self.s * (1 - self.s)


class SlopeByDefault:
    """A setting that both methods have, with the same default."""

    k = 1.0

    def function(self, x, alpha=0.1):
        return np.where(x > 0, x, alpha * x)

    def derivative(self, x, alpha=0.1):
        return self.k * np.where(x > 0, 1.0, alpha)


class GrowingNumbers:
    """Scale and shift are numbers until the first update makes arrays of them."""

    k = 1.0

    def __init__(self):
        self.gamma, self.beta, self.count = 1, 0.0, 3

    def forward(self, x):
        self.u = x - x.mean(axis=(0, 1, 2), keepdims=True)
        self.s = 1 / np.sqrt((self.u**2).mean(axis=(0, 1, 2), keepdims=True) + 1e-5)
        return self.gamma * self.u * self.s + self.beta

    def backward(self, dy, lr=0.05):
        n = self.u * self.s
        dn = dy * self.gamma
        means = [v.mean(axis=(0, 1, 2), keepdims=True) for v in (dn, dn * n)]
        self.beta -= lr * dy.sum(axis=(0, 1, 2), keepdims=True)
        self.gamma -= lr * self.k * (dy * n).sum(axis=(0, 1, 2), keepdims=True)
        self.count += 1
        return self.s * (dn - means[0] - n * means[1])


class OutputLayer:
    """It has nothing to train: what backward makes of the targets is the gradient of its input."""

    k = 1.0

    def forward(self, x):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.p = e / e.sum(axis=1, keepdims=True)
        return self.p

    def backward(self, y):
        return self.k * (self.p - y) / len(y)


def cross_entropy(p, y):
    return -np.mean(np.sum(y * np.log(p), axis=1))


TARGETS = np.eye(4)[[0, 1, 2, 3, 1, 0]]
STYLES = {
    HandedEta: (X, {}, ["dx", "dweights", "dbias"], "dweights"),
    GivenAlpha: (X, {}, ["dz"], "dz"),
    SlopeByDefault: (X, {}, ["dx"], "dx"),
    GrowingNumbers: (IMAGES, {}, ["dx", "dgamma", "dbeta"], "dgamma"),
    OutputLayer: (X, {"loss": cross_entropy, "Y": TARGETS}, ["dx"], "dx"),
}


@pytest.mark.parametrize("style", in_turn(STYLES), ids=lambda c: c.__name__)
def test_names_of_several_meanings_are_read_as_what_fits(style):
    inputs, options, names, step = STYLES[style]
    report = cr.audit_module(style(), inputs, **options)
    assert {s.name: s.verdict for s in report.steps} == dict.fromkeys(names, RIGHT) and report.ok, str(report)
    wrong = type(style.__name__, (style,), {"k": 1.3, "__module__": __name__})
    assert [f.name for f in cr.audit_module(wrong(), inputs, **options).findings] == [step]


class KeepsVelocities:
    """A network whose backward returns nothing, with arrays that only its updates use."""

    def __init__(self):
        self.weights = [RNG.normal(size=(4, 5)), RNG.normal(size=(5, 2))]
        self.velocities = [np.zeros_like(w) for w in self.weights]

    def forward(self, x):
        self.kept = [x, np.tanh(x @ self.weights[0])]
        return self.kept[1] @ self.weights[1]

    def backward(self, y):
        d = self.kept[1] @ self.weights[1] - y
        first = (d @ self.weights[1].T * (1 - self.kept[1] ** 2)).T @ self.kept[0]
        self.grad_weights = [first.T, self.kept[1].T @ d]


def test_what_only_an_update_uses_is_no_step():
    report = cr.audit_module(KeepsVelocities(), X, loss=lambda o, y: np.sum((o - y) ** 2) / 2, Y=X[:, :2])
    assert report.ok and [s.name for s in report.steps] == ["dweights[1]", "dweights[0]"], str(report)
