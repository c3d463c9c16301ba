"""The styles in which people write backward passes: each is understood as it is, right ones pass, wrong ones don't."""

from __future__ import annotations

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule.adapters.layer_functions import LayerFunctions
from chainrule.adapters.network_functions import NetworkFunctions
from chainrule.adapters.objects import Objects
from chainrule.audit.report import RIGHT
from tests.tables import in_turn

RNG = np.random.default_rng(8)
X = RNG.normal(size=(7, 4))


class Linear:
    """State, parameters and gradients in attributes; `wrong` is a factor of the gradient of W."""

    wrong = 1.0

    def __init__(self):
        rng = np.random.default_rng(1)
        self.W, self.b = rng.normal(size=(4, 3)), rng.normal(size=3)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def gradients(self, dout):
        return self.wrong * self.x.T @ dout, dout.sum(0)

    def backward(self, dout):
        self.dW, self.db = self.gradients(dout)
        return dout @ self.W.T


class DefaultUpstream(Linear):
    def backward(self, dout=1):
        return super().backward(dout)


class NoUpstream(Linear):
    def backward(self, dout=None):
        return super().backward(dout)


class ParallelLists(Linear):
    def __init__(self):
        super().__init__()
        self.params = [self.W, self.b]
        self.grads = [np.zeros_like(p) for p in self.params]
        del self.W, self.b

    def forward(self, x):
        self.x = x
        W, b = self.params
        return x @ W + b

    def backward(self, dout):
        dW, db = self.gradients(dout)
        self.grads[0][...] = dW
        self.grads[1][...] = db
        return dout @ self.params[0].T


class ListsBesideAttributes(Linear):
    def __init__(self):
        super().__init__()
        self.params, self.grads = [self.W, self.b], [None, None]

    def backward(self, dout):
        self.grads[:] = self.gradients(dout)
        return dout @ self.W.T


class Accumulating(Linear):
    def __init__(self):
        super().__init__()
        self.dW, self.db = np.ones_like(self.W), np.ones_like(self.b)

    def zero_grad(self):
        self.dW[:], self.db[:] = 0, 0

    def backward(self, dout):
        dW, db = self.gradients(dout)
        self.dW += dW
        self.db += db
        return dout @ self.W.T


class Updating(Linear):
    """Trains itself in backward; the gradients are what the weights change by."""

    def __init__(self):
        super().__init__()
        self.lr = 0.05

    def backward(self, dout):
        dx = dout @ self.W.T
        dW, db = self.gradients(dout)
        self.W -= self.lr * dW
        self.b = self.b - self.lr * db
        return dx


class UpdatingByArgument(Linear):
    def backward(self, dout, learning_rate):
        dx = dout @ self.W.T
        dW, db = self.gradients(dout)
        self.W -= learning_rate * dW
        self.b -= learning_rate * db
        return dx


class Optimizer:
    lr = None

    def __init__(self, lr):
        self.lr = lr

    def update(self, W, g):
        W -= self.lr * g


class UpdatingByOptimizer(Linear):
    def __init__(self):
        super().__init__()
        self.optimizer = Optimizer(0.01)

    def backward(self, dout):
        dx = dout @ self.W.T
        for p, g in zip((self.W, self.b), self.gradients(dout), strict=True):
            self.optimizer.update(p, g)
        return dx


class KeepsInput(Linear):
    """Returns nothing: the gradient of the input is an attribute."""

    def backward(self, dout):
        self.dW, self.db = self.gradients(dout)
        self.dinputs = dout @ self.W.T


STYLES = {
    DefaultUpstream: "gradients in dW, db",
    NoUpstream: "gradients in dW, db",
    ParallelLists: "gradients in grads[0], grads[1]",
    ListsBesideAttributes: "parameters W, b; gradients in grads[0], grads[1]",
    Accumulating: "gradients in dW, db",
    Updating: "from the update with learning rate 0.05",
    UpdatingByArgument: "from the update with learning rate 0.1",
    UpdatingByOptimizer: "from the update with learning rate 0.01",
    KeepsInput: "gradients in dW, db",
}


@pytest.mark.parametrize("style", in_turn(STYLES, every=2), ids=lambda c: c.__name__)
def test_objects_are_understood_as_they_are(style):
    layer = style()
    before = {k: np.array(v) for k, v in vars(layer).items() if isinstance(v, np.ndarray)}
    assert STYLES[style] in Objects(layer, [X]).describe()
    report = cr.audit_module(layer, X)
    assert report.ok, str(report)
    assert len(report.steps) == 3
    assert all(np.array_equal(vars(layer)[k], v) for k, v in before.items()) and "x" not in vars(layer)
    layer.wrong = 2.0
    report = cr.audit_module(layer, X)
    assert not report.ok and {f.cause for f in report.findings} == {"constant-factor"}
    assert {f.name for f in report.findings} <= {"dW", "dparams[0]"}


def test_state_that_closures_share_holds_arrays_when_backward_runs():
    layer = Linear()
    kinds = set()

    def backward(dout, cache):
        kinds.add(type(layer.x))
        return layer.backward(dout)

    report = cr.audit_layer(layer.forward, backward, X)
    assert report.ok and "x" not in vars(layer)
    assert not cr.audit_layer(layer.forward, lambda d, c: 2 * layer.backward(d), X).ok


def lstm_like(x, h):
    c = np.tanh(x + h)
    return c * x, c, (x, h, c)


def lstm_like_backward(dout, dc, cache):
    x, _, c = cache
    da = (dc + dout * x) * (1 - c**2)
    return dout * c + da, da


def test_several_outputs_have_an_upstream_gradient_each():
    subject = LayerFunctions(lstm_like, lstm_like_backward, [X, X + 1])
    assert "lstm_like_backward(dout, dc, cache)" in subject.describe()
    point = subject.run(subject.values, "own")
    assert set(point.given) == {"out[0]", "out[1]"} and set(point.gradients) == {"x", "h"}


def test_gradients_in_a_list_within_a_tuple():
    def backward(dout, cache):
        x, W, _ = cache
        return dout @ W.T, [x.T @ dout, dout.sum(0)]

    def forward(x, W, b):
        return x @ W + b, (x, W, b)

    report = cr.audit_layer(forward, backward, X, RNG.normal(size=(4, 3)), np.zeros(3))
    assert report.ok and {s.name for s in report.steps} == {"dx", "dW", "db"}


def test_parameters_may_be_numbers_and_functions_those_of_math():
    def forward(x, p):
        h = 1 / (1 + math.exp(-(p["w"] * x + p["b"])))
        return {"x": x, "h": h, "out": math.tanh(p["v"] * h)}

    def backward(cache, y, p, factor=1.0):
        dz = (cache["out"] - y) * (1 - cache["out"] ** 2)
        dh = dz * p["v"] * cache["h"] * (1 - cache["h"])
        return {"dv": dz * cache["h"], "dw": dh * cache["x"] * factor, "db": dh}

    given = dict(forward=forward, loss=lambda out, y: (out - y) ** 2 / 2, X=np.array(0.7), Y=np.array(0.2))
    given["parameters"] = {"w": 0.3, "b": -0.1, "v": 1.3}
    report = cr.audit(backward, **given)
    assert report.ok and {s.verdict for s in report.steps} == {RIGHT}, str(report)
    report = cr.audit(lambda c, y, p: backward(c, y, p, 3.0), **given)
    assert [(f.name, f.cause) for f in report.findings] == [("dw", "constant-factor")], str(report)


def test_networks_in_functions_say_how_they_were_read():
    def forward(X, parameters):
        return {"X": X, "Z": X @ parameters["W"]}

    subject = NetworkFunctions(lambda cache, Y, p: {}, forward, "mse", {"W": np.ones((4, 1))}, X, X[:, :1])
    assert "forward(X, parameters)" in subject.describe() and "parameters W;" in subject.describe()


def test_an_argument_of_any_name_is_the_cache_that_forward_returned():
    forward = lambda x: (np.tanh(x), (x, np.tanh(x)))  # noqa: E731
    assert cr.audit_layer(forward, lambda dout, c: {"dx": dout * (1 - c[1] ** 2)}, X).ok
    assert cr.audit_layer(lambda x: np.tanh(x), lambda dA, Z: dA * (1 - np.tanh(Z) ** 2), X).ok
