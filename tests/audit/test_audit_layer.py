"""The audit of single layers and of modules."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from tests.tables import for_each

rng = np.random.default_rng(8)


def linear(x, W, b):
    return x @ W + b, (x, W)


def linear_backward(dout, cache):
    x, W = cache
    return dout @ W.T, x.T @ dout, dout.sum(axis=0)


LINEAR = rng.normal(size=(7, 4)), rng.normal(size=(4, 4)), rng.normal(size=4)


def test_a_layer():
    report = cr.audit_layer(linear, linear_backward, *LINEAR)
    assert report.ok and {s.name for s in report.steps} == {"dx", "dW", "db"}
    assert {s.name: s.formula for s in report.steps}["dW"] == "dW = xᵀ dout"


def test_gradients_as_a_dict_and_a_forward_without_a_cache():
    assert cr.audit_layer(
        linear, lambda d, c: dict(zip(("dx", "dW", "db"), linear_backward(d, c), strict=True)), *LINEAR
    ).ok
    report = cr.audit_layer(lambda x: np.tanh(x), lambda dout, cache: dout / np.cosh(cache[0]) ** 2, LINEAR[0])
    assert report.ok
    report = cr.audit_layer(lambda x, y: x * y, lambda dout, x, y: (dout * y, dout * y), LINEAR[0], 2 + LINEAR[0])
    assert [f.name for f in report.findings] == ["dy"]


@pytest.mark.parametrize(
    ("wrong", "name", "cause"),
    [
        (lambda d, c: (d @ c[1], c[0].T @ d, d.sum(0)), "dx", "transposed"),
        (lambda d, c: (d @ c[1].T, c[0].T @ d / len(d), d.sum(0)), "dW", "double-mean"),
        (lambda d, c: (d @ c[1].T, c[0].T @ d, d), "db", "bias-not-summed"),
        (lambda d, c: (d @ c[1].T, c[0].T @ d, d.sum()), "db", "bias-all-summed"),
        (lambda d, c: (-d @ c[1].T, c[0].T @ d, d.sum(0)), "dx", "sign"),
        (lambda d, c: (2 * d @ c[1].T, c[0].T @ d, d.sum(0)), "dx", "constant-factor"),
        (lambda d, c: (d @ c[1].T, c[0].T @ d, None), "db", "missing-gradient"),
        (lambda d, c: (d @ c[1].T, np.zeros_like(c[1]), d.sum(0)), "dW", "zero-gradient"),
    ],
)
def test_mistakes_in_a_layer(wrong, name, cause):
    report = cr.audit_layer(linear, wrong, *LINEAR)
    assert [(f.name, f.cause) for f in report.findings] == [(name, cause)], str(report)


def batchnorm(x, gamma, beta, eps=1e-5):
    mu, var = x.mean(0), x.var(0)
    xhat = (x - mu) / np.sqrt(var + eps)
    return gamma * xhat + beta, (xhat, gamma, np.sqrt(var + eps))


def batchnorm_backward(terms):
    def backward(dout, cache):
        xhat, gamma, std = cache
        dxhat = dout * gamma
        dx = (dxhat - terms[0] * dxhat.mean(0) - terms[1] * xhat * (dxhat * xhat).mean(0)) / std
        return dx, (dout * xhat).sum(0), dout.sum(0)

    return backward


BATCH = rng.normal(size=(9, 5)) * 3 + 1, rng.uniform(0.5, 1.5, size=5), rng.normal(size=5)


@for_each("terms", [(1, 1), (1, 0), (0, 1), (0, 0)], every=4)
def test_batch_norm(terms):
    report = cr.audit_layer(batchnorm, batchnorm_backward(terms), *BATCH)
    assert [(f.name, f.cause) for f in report.findings] == ([] if all(terms) else [("dx", "missing-term")])


@pytest.mark.parametrize("axis", [0, 1])
def test_a_normalisation_with_the_means_of_the_other(axis):
    def forward(x):
        std = np.sqrt(x.var(axis, keepdims=True) + 1e-5)
        xhat = (x - x.mean(axis, keepdims=True)) / std
        return xhat, (xhat, std)

    def along(which):
        def backward(dout, cache):
            xhat, std = cache
            means = (np.mean(v, axis=which, keepdims=True) for v in (dout, dout * xhat))
            return (dout - next(means) - xhat * next(means)) / std

        return backward

    assert cr.audit_layer(forward, along(axis), BATCH[0]).ok
    (finding,) = cr.audit_layer(forward, along(1 - axis), BATCH[0]).findings
    assert finding.cause == "wrong-axis" and f"run over axis {1 - axis}" in finding.message


def embedding(E, words):
    return E[words], (E.shape, words)


def test_integers_have_no_gradient_and_repeated_rows_add_up():
    E, words = rng.normal(size=(6, 3)), np.array([1, 4, 1, 5, 1])

    def adding(dout, cache):
        dE = np.zeros(cache[0])
        np.add.at(dE, cache[1], dout)
        return dE

    def replacing(dout, cache):
        dE = np.zeros(cache[0])
        dE[cache[1]] = dout
        return dE

    assert cr.audit_layer(embedding, adding, E, words).ok
    (finding,) = cr.audit_layer(embedding, replacing, E, words).findings
    assert (finding.name, finding.cause) == ("dE", "overwritten-overlap")


def convolution(x, w):
    k = w.shape[0]
    out = np.zeros((x.shape[0], x.shape[1] - k + 1))
    for t in range(out.shape[1]):
        out[:, t] = x[:, t : t + k] @ w
    return out, (x, w)


def test_a_convolution_by_loops():
    def backward(dout, cache, flipped=False):
        x, w = cache
        dx, dw = np.zeros_like(x), np.zeros_like(w)
        for t in range(dout.shape[1]):
            dx[:, t : t + len(w)] += np.outer(dout[:, t], w[::-1] if flipped else w)
            dw += x[:, t : t + len(w)].T @ dout[:, t]
        return dx, dw

    inputs = rng.normal(size=(3, 8)), rng.normal(size=3)
    assert cr.audit_layer(convolution, backward, *inputs).ok
    assert cr.audit_layer(convolution, lambda d, c: backward(d, c, True), *inputs).findings[0].name == "dx"


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_a_changed_upstream_gradient_is_found_where_a_second_call_would_give_another(slope):
    def relu_backward(dout, cache):
        dout[cache < 0] *= slope
        return dout

    report = cr.audit_layer(lambda x: (np.where(x < 0, slope * x, x), x), relu_backward, LINEAR[0])
    if slope:
        (finding,) = report.findings
        assert finding.cause == "mutates-input" and "dout" in finding.message
    else:
        assert report.ok and any("writes into dout in place: harmless" in note for note in report.notes)


def test_a_layer_without_numbers_is_refused():
    with pytest.raises(cr.AuditError, match="floating-point"):
        cr.audit_layer(lambda n: n + 1, lambda d, c: d, np.arange(3))


# -- modules -----------------------------------------------------------------------------------------------------------


class Linear:
    def __init__(self, n_in, n_out, seed=0):
        rng = np.random.default_rng(seed)
        self.W, self.b = rng.normal(size=(n_in, n_out)), rng.normal(size=n_out)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.grad_W, self.grad_b = self.x.T @ dout, dout.sum(0)
        return dout @ self.W.T


class Adding(Linear):
    def __init__(self, *args):
        super().__init__(*args)
        self.grad_W, self.grad_b = np.ones_like(self.W), np.ones_like(self.b)

    def backward(self, dout):
        self.grad_W += self.x.T @ dout
        self.grad_b += dout.sum(0)
        return dout @ self.W.T


class Tanh:
    power = 2

    def forward(self, x):
        self.a = np.tanh(x)
        return self.a

    def backward(self, dout):
        return dout * (1 - self.a**self.power)


class WrongTanh(Tanh):
    power = 1


class Store:
    """Parameters and gradients in dicts."""

    def __init__(self):
        self.params = {"W": rng.normal(size=(4, 4))}
        self.grads = {}

    def forward(self, x):
        self.x = x
        return x @ self.params["W"]

    def backward(self, dout):
        self.grads["W"] = self.x.T @ dout
        return dout @ self.params["W"]


class Parameter:
    def __init__(self, data):
        self.data, self.grad = data, np.zeros_like(data)


class Recording:
    """Parameters as objects."""

    def __init__(self):
        self.weight, self.bias = Parameter(LINEAR[1].copy()), Parameter(LINEAR[2].copy())

    def forward(self, x):
        self.x = x
        return x @ self.weight.data + self.bias.data

    def backward(self, dout):
        self.weight.grad = dout.T @ self.x
        self.bias.grad = dout.sum(0)
        return dout @ self.weight.data.T


class Nested:
    """Modules within a module."""

    def __init__(self, *layers):
        self.layers = list(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dout):
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout


class Carrying(np.ndarray):
    """An array with room for a gradient."""


class Article:
    """As in the article: a call keeps its arguments, gradients go into .g."""

    def __init__(self):
        self.weight, self.bias = (np.asarray(v).view(Carrying) for v in LINEAR[1:])

    def __call__(self, inp):
        self.inp = inp
        self.out = self.forward(inp)
        return self.out

    def forward(self, inp):
        return inp @ self.weight + self.bias

    def backward(self):
        self.inp.g = self.out.g @ self.weight.T
        self.weight.g = (np.expand_dims(self.inp, -1) * np.expand_dims(self.out.g, 1)).sum(0)
        self.bias.g = self.out.g.sum(0)


def test_a_module():
    report = cr.audit_module(Linear(4, 3), LINEAR[0])
    assert report.ok and {s.name for s in report.steps} == {"dx", "dW", "db"}


def test_a_module_that_adds_up():
    (finding,) = cr.audit_module(Adding(4, 3), LINEAR[0]).findings
    assert finding.cause == "accumulates"


def test_parameters_in_dicts():
    (finding,) = cr.audit_module(Store(), LINEAR[0]).findings
    assert (finding.name, finding.cause) == ("dx", "transposed")


def test_parameters_as_objects():
    (finding,) = cr.audit_module(Recording(), LINEAR[0]).findings
    assert (finding.name, finding.cause) == ("dweight", "transposed")


def test_modules_within_a_module():
    report = cr.audit_module(Nested(Linear(4, 6), Tanh(), Linear(6, 3)), LINEAR[0])
    assert report.ok and {s.name for s in report.steps} >= {"dx", "layers[0].dW", "layers[2].db"}
    assert not cr.audit_module(Nested(Linear(4, 6), WrongTanh(), Linear(6, 3)), LINEAR[0]).ok


def test_a_gradient_that_is_not_finite_on_the_data_given():
    x = LINEAR[0].copy()
    x[0, 0] = 0.0
    report = cr.audit_layer(lambda x: (np.abs(x), x), lambda dout, x: dout * (x / np.abs(x)), x)
    (finding,) = report.findings
    assert (finding.name, finding.cause) == ("dx", "nonfinite")


def test_the_modules_of_the_article():
    report = cr.audit_module(Article(), LINEAR[0].view(Carrying))
    assert report.ok and {s.name for s in report.steps} == {"dinp", "dweight", "dbias"}


def test_a_list_of_modules_is_a_network():
    Y = rng.normal(size=(7, 3))
    layers = [Linear(4, 6), Tanh(), Linear(6, 3, seed=1)]
    report = cr.audit_module(layers, LINEAR[0], loss=lambda A, Y: np.mean((A - Y) ** 2), Y=Y)
    signals = {"linear2.dx", "tanh1.dx", "dx"}
    assert report.ok and {s.name for s in report.steps} == {
        *signals,
        *(f"linear{i}.d{p}" for i in (0, 2) for p in "Wb"),
    }
    layers[1] = WrongTanh()
    report = cr.audit_module(layers, LINEAR[0])
    assert [f.name for f in report.findings] == ["wrongtanh1.dx"]


def test_what_is_no_module_is_refused():
    with pytest.raises(cr.AuditError, match="backward"):
        cr.audit_module(object(), LINEAR[0])


def pooled_forward(x, size, mode="max"):
    blocks = x.reshape(len(x), -1, size)
    return blocks.max(axis=2) if mode == "max" else blocks.mean(axis=2), (x, size)


def pooled_backward(dout, cache, mode="max"):
    x, size = cache
    blocks = x.reshape(len(x), -1, size)
    share = blocks == blocks.max(axis=2, keepdims=True) if mode == "max" else np.full(blocks.shape, 1 / size)
    return (share * dout[:, :, None]).reshape(x.shape)


@pytest.mark.parametrize("mode", ["max", "mean"])
def test_backward_has_the_options_that_forward_is_given(mode):
    x = np.random.default_rng(0).normal(size=(3, 8))
    assert cr.audit_layer(pooled_forward, pooled_backward, x, 2, mode).ok
    other = {"max": "mean", "mean": "max"}[mode]
    wrong = cr.audit_layer(pooled_forward, lambda dout, cache: pooled_backward(dout, cache, other), x, 2, mode)
    assert [f.name for f in wrong.findings] == ["dx"]
