"""Objects that need calls before their forward pass, and sequences as lists and dicts of arrays."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from tests.tables import in_turn

rng = np.random.default_rng(0)
X = rng.normal(size=(6, 4))


class Dense:
    """Its weights are made by one of the methods below."""

    k = 1

    def __init__(self, units=3):
        self.units, self.W, self.optimizer, self.shape = units, None, None, None

    def fill(self, n):
        self.W = np.random.default_rng(1).normal(size=(n, self.units))
        self.b = np.zeros(self.units)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW, self.db = self.k * self.x.T @ dout, dout.sum(axis=0)
        return dout @ self.W.T


class Initialize(Dense):
    def initialize(self, input_shape):
        self.fill(input_shape[-1])


class Build(Dense):
    def build(self, in_features, rng):
        self.fill(in_features)


class InTwoSteps(Dense):
    def set_input_shape(self, shape):
        self.shape = shape

    def init_weights(self):
        self.fill(self.shape[0])


class Compile(Dense):
    def compile(self, loss="mse", lr=0.1):
        self.fill(4)


class SGD:
    def __init__(self, learning_rate=0.05):
        self.learning_rate = learning_rate

    def update(self, w, g):
        return w - self.learning_rate * g


class Optimizer(Dense):
    def __init__(self):
        super().__init__()
        self.fill(4)

    def set_optimizer(self, optimizer):
        self.optimizer = optimizer

    def backward(self, dout):
        before = dout @ self.W.T
        self.W = self.optimizer.update(self.W, self.k * self.x.T @ dout)
        self.b = self.optimizer.update(self.b, dout.sum(axis=0))
        return before


@pytest.mark.parametrize(
    ("layer", "said"),
    in_turn(
        [
            (Initialize, "set up by initialize(input_shape=(4,))"),
            (Build, "set up by build(in_features=4, rng=Generator)"),
            (InTwoSteps, "set up by set_input_shape(shape=(4,)), init_weights()"),
            (Compile, "set up by compile()"),
            (Optimizer, "learning rate 0.05; set up by set_optimizer(optimizer=SGD)"),
        ],
        every=2,
    ),
)
def test_what_an_object_needs_first_is_called_on_a_copy(layer, said):
    module = layer()
    before = dict(vars(module))
    report = cr.audit_module(module, X)
    assert report.ok and len(report.steps) == 3 and report.read_as.endswith(said), report
    assert vars(module) == before
    wrong = layer()
    wrong.k = 2
    assert [f.name for f in cr.audit_module(wrong, X).findings] == ["dW"]


def test_a_list_of_layers_gets_the_shapes_between_them():
    report = cr.audit_module([Initialize(5), Initialize(2)], X)
    assert report.ok and "initialize(input_shape=(4,)), initialize(input_shape=(5,))" in report.read_as


def test_what_cannot_be_called_is_said():
    class Odd(Dense):
        def setup(self, graph, tables):
            self.W = tables["W"]

    with pytest.raises(
        cr.AuditError, match=r"Is Odd to be set up first\? Call setup\(graph, tables\) before the audit"
    ):
        cr.audit_module(Odd(), X)


# -- sequences ---------------------------------------------------------------------------------------------------------

XS = [rng.normal(size=(4, 1)) for _ in range(4)]
WX, WH, WY = rng.normal(size=(5, 4)), 0.4 * rng.normal(size=(5, 5)), rng.normal(size=(2, 5))


def unrolled(xs, h0, Wx, Wh):
    hs = {-1: h0}
    for t, x in enumerate(xs):
        hs[t] = np.tanh(Wx @ x + Wh @ hs[t - 1])
    return hs, (xs, hs, Wx, Wh)


def back_in_time(dhs, cache, shift=0):
    xs, hs, Wx, Wh = cache
    dWx, dWh, above, dxs = np.zeros_like(Wx), np.zeros_like(Wh), 0, [None] * len(xs)
    for t in reversed(range(len(xs))):
        dz = (dhs[t] + above) * (1 - hs[t] ** 2)
        dWx += dz @ xs[t].T
        dWh += dz @ hs[t - 1 + shift].T
        above, dxs[t] = Wh.T @ dz, Wx.T @ dz
    return dxs, above, dWx, dWh


@pytest.mark.slow
def test_a_dict_of_states_with_the_first_in_it():
    h0 = rng.normal(size=(5, 1))
    report = cr.audit_layer(unrolled, back_in_time, XS, h0, WX, WH)
    assert report.ok and len(report.steps) == 7 and not report.notes, report
    report = cr.audit_layer(unrolled, lambda dhs, cache: back_in_time(dhs, cache, 1), XS, h0, WX, WH)
    assert [f.name for f in report.findings] == ["dWh"]


class Recurrent:
    shift = 0

    def __init__(self):
        self.Wx, self.Wh = WX.copy(), WH.copy()

    def forward(self, inputs):
        self.states, self.kept = unrolled(inputs, np.zeros((5, 1)), self.Wx, self.Wh)
        return [self.states[t] for t in range(len(inputs))]

    def backward(self, douts):
        dxs, _, self.dWx, self.dWh = back_in_time(douts, self.kept, self.shift)
        return dxs


class Network(Recurrent):
    def __init__(self):
        super().__init__()
        self.Wy = WY.copy()

    def forward(self, inputs):
        self.hs = super().forward(inputs)
        return [self.Wy @ h for h in self.hs]

    def loss(self, outputs, targets):
        return sum(np.sum((a - b) ** 2) for a, b in zip(outputs, targets, strict=True)) / 2

    def backward(self, targets):
        errors = [self.Wy @ h - y for h, y in zip(self.hs, targets, strict=True)]
        dWy = sum(e @ h.T for e, h in zip(errors, self.hs, strict=True))
        super().backward([self.Wy.T @ e for e in errors])
        return {"Wx": self.dWx, "Wh": self.dWh, "Wy": dWy}


@pytest.mark.parametrize(
    ("kind", "targets"), in_turn([(Recurrent, ()), (Network, ([rng.normal(size=(2, 1)) for _ in XS],))])
)
def test_objects_whose_output_is_a_list(kind, targets):
    report = cr.audit_module(kind(), XS, *targets)
    assert report.ok and {"dWx", "dWh"} <= {s.name for s in report.steps}, report
    assert all(s.verdict == "right" for s in report.steps)
    wrong = kind()
    wrong.shift = 1
    assert [f.name for f in cr.audit_module(wrong, XS, *targets).findings] == ["dWh"]
