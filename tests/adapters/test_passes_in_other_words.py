"""Passes whose arguments and results have other names and orders than usual: each is read, right and wrong."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from tests.tables import in_turn, slow

rng = np.random.default_rng(5)
X, W, Y = rng.normal(size=(6, 4)), rng.normal(size=(4, 3)), rng.normal(size=(6, 3))


class Delta:
    """Two methods: one for the parameters, one for the input."""

    def __init__(self):
        self._parameters, self._gradient = W.copy(), np.zeros((4, 3))

    def forward(self, X):
        return X @ self._parameters

    def zero_grad(self):
        self._gradient = np.zeros((4, 3))

    def backward_update_gradient(self, input, delta):
        self._gradient += self.factor * input.T @ delta

    def backward_delta(self, input, delta):
        return delta @ self._parameters.T


class Store:
    """Gradients are put into a dict that backward gets."""

    def __init__(self):
        self.params = {"linear/W": W.copy()}

    def forward(self, x):
        return x @ self.params["linear/W"], {}

    def __call__(self, *args):
        return self.forward(*args)[0]

    def backward(self, x, cache, upstream_gradient, gradients):
        gradients["linear/W"] = self.factor * x.T @ upstream_gradient
        return upstream_gradient @ self.params["linear/W"].T


class AfterImage:
    """backward(dout, image)."""

    def forward(self, image):
        return np.tanh(image)

    def backward(self, dout, image):
        return self.factor * dout * (1 - np.tanh(image) ** 2)


class Passing:
    """A loss whose methods hand on what they get."""

    def __call__(self, *args):
        return self.forward(*args).mean()

    def forward(self, x, y):
        return ((x - y) ** 2).sum(axis=1)

    def backward(self, *args):
        return self._gradient(*args) / len(args[0])

    def _gradient(self, x, y):
        return self.factor * 2 * (x - y)


class OwnUpstream:
    """A network that gives the gradient of its loss, without 1/m, and has 1/m in the layers."""

    def __init__(self):
        self.W = W.copy()

    def forward(self, x):
        self.x = x
        return x @ self.W

    def compute_loss(self, A, Y):
        return np.sum((A - Y) ** 2) / (2 * len(Y))

    def compute_loss_gradient(self, A, Y):
        return A - Y

    def backward(self, dA):
        self.dW = self.factor * self.x.T @ dA / len(self.x)


class CostFunction:
    """costFunction and costFunctionPrime; the gradients in a tuple without names."""

    def __init__(self):
        self.W1, self.W2 = W.copy(), rng.normal(size=(3, 3))

    def forward(self, X):
        self.a = np.tanh(X @ self.W1)
        return self.a @ self.W2

    def costFunction(self, X, y):
        return 0.5 * np.sum((self.forward(X) - y) ** 2)

    def costFunctionPrime(self, X, y):
        d = self.forward(X) - y
        return X.T @ (d @ self.W2.T * (1 - self.a**2)), self.factor * self.a.T @ d


class Flat:
    """The gradients in one vector."""

    def __init__(self):
        self.W1, self.W2 = W.copy(), rng.normal(size=(3, 3))

    def forward(self, X):
        self.a = np.tanh(X @ self.W1)
        return self.a @ self.W2

    def cost(self, X, y):
        return 0.5 * np.sum((self.forward(X) - y) ** 2)

    def computeGradients(self, X, y):
        d = self.forward(X) - y
        dW1, dW2 = X.T @ (d @ self.W2.T * (1 - self.a**2)), self.factor * self.a.T @ d
        return np.concatenate([dW1.ravel(), dW2.ravel()])


class ListOfInputs:
    """A list of arrays goes in, a list of gradients comes back."""

    def forward(self, X):
        self.X = X
        return X[0] * X[1]

    def backward(self, dout):
        return [self.factor * dout * self.X[1], dout * self.X[0]]


class Rebinding:
    """Backward gives an attribute another meaning, and leaves the array as it was."""

    def forward(self, x, y):
        self.p, self.y = x, y
        return -np.log(self.p[np.arange(len(x)), y])

    def backward(self):
        if self.y.ndim == 1:
            self.y = np.eye(4)[self.y]
        return -self.factor * self.y / self.p / len(self.p)


class Training:
    """Forward needs train=True, and the targets come behind."""

    def __init__(self):
        self.W = W.copy()

    def forward(self, x, train=False):
        return x @ self.W, (x,) if train else None

    def backward(self, y_pred, y, cache):
        (x,) = cache
        return {"W": self.factor * x.T @ (y_pred - y)}


class Derivative:
    """``diff`` beside ``loss``, in an object that can predict as well."""

    def predict(self, X):
        return np.exp(X) / np.exp(X).sum(axis=1, keepdims=True)

    def loss(self, X, y):
        return -np.mean(np.log(self.predict(X)[np.arange(len(X)), y]))

    def diff(self, X, y):
        p = self.predict(X)
        p[np.arange(len(X)), y] -= 1
        return self.factor * p / len(X)


LABELS = np.array([0, 1, 2, 3, 1, 0])
OBJECTS = {
    Delta: (X,), Store: (X,), AfterImage: (X,), Passing: (X, rng.normal(size=X.shape)), OwnUpstream: (X, Y),
    CostFunction: (X, Y), Flat: (X, Y), ListOfInputs: ([X, X + 1],), Rebinding: (np.abs(X) + 0.1, LABELS),
    Derivative: (X, LABELS),
}  # fmt: skip


@pytest.mark.parametrize("kind", in_turn(OBJECTS), ids=lambda kind: kind.__name__)
def test_objects(kind):
    made = kind()
    made.factor = 1.0
    report = cr.audit_module(made, *OBJECTS[kind])
    assert report.ok and report.steps and all(s.verdict == "right" for s in report.steps), str(report)
    made.factor = 2.5
    assert len(cr.audit_module(made, *OBJECTS[kind]).findings) == 1


def test_a_network_that_is_told_to_train():
    made = Training()
    made.factor = 1.0
    given = {"loss": lambda p, y: np.sum((p - y) ** 2) / 2, "Y": Y}
    assert cr.audit_module(made, X, **given).ok
    made.factor = 2.5
    assert [f.name for f in cr.audit_module(made, X, **given).findings] == ["dW"]


def scaled(x, gamma, momentum=0.9):
    return x * gamma, (x, gamma), x.mean(axis=0) * momentum, x.var(axis=0)


def scaled_backward(dout, cache):
    x, gamma = cache
    return dout * gamma, (dout * x).sum(axis=0)


def scaled_backward_wrong(dout, cache):
    return dout, scaled_backward(dout, cache)[1]


def relu(Z):
    return np.maximum(Z, 0)


def relu_backward(dA, Z):
    return dA * (Z > 0)


def relu_backward_wrong(dA, Z):
    return dA * Z


def sigmoid(Z):
    return 1 / (1 + np.exp(-Z))


def sigmoid_backward(dA, A):
    return dA * A * (1 - A)


def sigmoid_backward_wrong(dA, A):
    return dA * A


def tanh(x):
    return np.tanh(x), np.tanh(x)


def tanh_backward(cache, dout):
    return dout * (1 - cache**2)


def tanh_backward_wrong(cache, dout):
    return dout * (1 - cache)


def power(x, n=3):
    return x**n


def power_backward(dpower, orig, n):
    return dpower * n * orig ** (n - 1)


def power_backward_wrong(dpower, orig, n):
    return dpower * orig ** (n - 1)


@pytest.mark.parametrize(
    ("forward", "backward", "wrong", "inputs"),
    [
        (scaled, scaled_backward, scaled_backward_wrong, (X, X[0])),
        slow(relu, relu_backward, relu_backward_wrong, (X,)),
        (sigmoid, sigmoid_backward, sigmoid_backward_wrong, (X,)),
        slow(tanh, tanh_backward, tanh_backward_wrong, (X,)),
        slow(power, power_backward, power_backward_wrong, (X,)),
    ],
)
def test_functions(forward, backward, wrong, inputs):
    report = cr.audit_layer(forward, backward, *inputs)
    assert report.ok and all(s.verdict == "right" for s in report.steps), str(report)
    assert len(cr.audit_layer(forward, wrong, *inputs).findings) == 1


def test_a_gradient_of_zero_is_not_judged_by_the_noise_of_finite_differences():
    class Centred:
        def __init__(self):
            self.W, self.b = W.copy(), np.zeros(3)

        def forward(self, x):
            self.x = x
            z = np.array((x @ self.W + self.b).tolist())  # not recorded
            return z - z.mean(axis=0)

        def backward(self, dout):
            dz = dout - dout.mean(axis=0)
            self.dW, self.db = self.x.T @ dz, dz.sum(axis=0)

    assert cr.audit_module(Centred(), X).ok


class Dense:
    def __init__(self, a, b, factor=1.0):
        self.W, self.factor = rng.normal(size=(a, b)), factor

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, dout):
        self.dW = self.x.T @ dout
        return self.factor * dout @ self.W.T


@pytest.mark.parametrize(("place", "name"), in_turn([(None, ""), (0, "dx"), (2, "dense2.dx"), (1, "dense1.dx")]))
def test_a_wrong_signal_between_layers_is_found_where_it_is_made(place, name):
    sizes = [(4, 3), (3, 5), (5, 2)]
    layers = [Dense(*size, factor=2.5 if i == place else 1.0) for i, size in enumerate(sizes)]
    report = cr.audit_module(layers, X)
    assert [f.name for f in report.findings] == ([name] if name else []), str(report)


def test_one_mistake_in_a_class_is_one_finding_whatever_the_number_of_its_objects():
    class Updating(Dense):
        def backward(self, dout):
            self.W -= 0.1 * self.x.T @ dout
            return dout @ self.W.T

    report = cr.audit_module([Updating(*size) for size in [(4, 3), (3, 5), (5, 2)]], X)
    (finding,) = report.findings
    assert (finding.name, finding.cause) == ("dx", "updated-weights"), str(report)
    assert "updating2.dx, updating1.dx" in finding.message
    assert {s.name for s in report.steps if s.verdict == "wrong"} == {"dx", "updating1.dx", "updating2.dx"}
