"""What passes do by convention: targets without a gradient, gradients of each example, clipping, factors of layers."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.audit.deliberate import Clipping
from tests.tables import slow

rng = np.random.default_rng(0)
X, W, B = rng.normal(size=(6, 4)), rng.normal(size=(4, 3)), rng.normal(size=3)
ONE_HOT = np.eye(4)[[0, 3, 1, 1, 2, 0]]


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def entropy(scores, q):
    p = softmax(scores)
    return -np.sum(q * np.log(p)) / len(scores), (p, q)


def head(h, W, one_hot):
    p = softmax(h @ W)
    return -np.sum(one_hot * np.log(p)) / len(h), (h, W, p, one_hot)


def head_back(dout, cache, target=None, weights=True):
    h, W, p, one_hot = cache
    dz = (p - one_hot) / len(h) * dout
    return dz @ W.T, h.T @ dz if weights else None, target


def masked(x, keep, g):
    return x * keep * g, (x, keep, g)


SOFT = softmax(rng.normal(size=(6, 4)))
SQUARE = rng.normal(size=(4, 4))
KEEP = (rng.random((6, 4)) > 0.4) * 1.0
WITHOUT_TARGETS = {
    "None": (entropy, lambda dout, c: ((c[0] - c[1]) * dout / len(c[0]), None), X, ONE_HOT),
    "soft": (entropy, lambda dout, c: ((c[0] - c[1]) * dout / len(c[0]), None), X, SOFT),
    "alone": (entropy, lambda dout, c: (c[0] - c[1]) * dout / len(c[0]), X, ONE_HOT),
    "zeros": (entropy, lambda dout, c: ((c[0] - c[1]) * dout / len(c[0]), 0 * c[1]), X, ONE_HOT),
    "behind weights": (head, head_back, X, SQUARE, ONE_HOT),
    "mask": (masked, lambda d, c: (d * c[1] * c[2], None, np.sum(d * c[0] * c[1], axis=0)), X, KEEP, X[0]),
}


@pytest.mark.parametrize("kind", WITHOUT_TARGETS)
def test_targets_and_masks_need_no_gradient_but_a_note(kind):
    report = cr.audit_layer(*WITHOUT_TARGETS[kind])
    assert report.ok and any("no gradient was returned for" in note for note in report.notes), report


def test_weights_need_one():
    report = cr.audit_layer(head, lambda d, c: head_back(d, c, weights=False), X, SQUARE, ONE_HOT)
    assert [(f.name, f.cause) for f in report.findings] == [("dW", "missing-gradient")]


def test_a_gradient_of_the_targets_is_judged_where_there_is_one():
    report = cr.audit_layer(head, lambda d, c: head_back(d, c, target=c[2]), X, SQUARE, ONE_HOT)
    assert [f.name for f in report.findings] == ["done_hot"]


# -- of each example ---------------------------------------------------------------------------------------------------


class Dense:
    def __init__(self, W=W, b=B):
        self.W, self.b = W.copy(), b.copy()

    def forward(self, x):
        self.x = x
        self.a = np.tanh(x @ self.W + self.b)
        return self.a

    def backward(self, dout):
        dz = dout * (1 - self.a**2)
        self.keep(dz)
        return dz @ self.W.T

    def keep(self, dz):
        self.dW, self.db = self.x.T @ dz, dz.sum(axis=0)


class OfEachExample(Dense):
    def keep(self, dz):
        self.dW, self.db = np.einsum("ni,nj->nij", self.x, dz), dz


class TwiceOfEachExample(Dense):
    def keep(self, dz):
        self.dW, self.db = 2 * self.x[:, :, None] * dz[:, None, :], dz


class Unsummed(Dense):
    def keep(self, dz):
        self.dW, self.db = self.x.T @ dz, dz


@pytest.mark.parametrize(
    ("layer", "found"),
    [
        (OfEachExample, []),
        (TwiceOfEachExample, [("dW", "constant-factor")]),
        (Unsummed, [("db", "bias-not-summed")]),
    ],
)
def test_gradients_of_each_example_are_added_and_a_bias_alone_is_not(layer, found):
    report = cr.audit_module(layer(), X)
    assert [(f.name, f.cause) for f in report.findings] == found, report
    assert any("dW, db are given for each example" in n for n in report.notes) is (layer is not Unsummed)


def test_the_mean_over_the_examples_is_recognised():
    def backward(dout, cache):
        x, W = cache
        return dout @ W.T / len(x), x[:, :, None] * dout[:, None, :]

    def forward(x, W):
        return np.mean(np.sum(x @ W, axis=1)), (x, W)

    report = cr.audit_layer(forward, lambda d, c: backward(d * np.ones((len(c[0]), 3)), c), X, W)
    assert report.ok and "averaged" in "".join(report.notes), report


def test_a_loss_that_mixes_examples_gives_no_gradients_of_each():
    def linear(w, b, X, y):
        error = X @ w + b - y  # (n, 1) minus (n,)
        return np.mean(error**2), 2 * X.T @ error / len(y), 2 * error.mean(axis=0)

    report = cr.audit_loss(linear, W[:, :1], np.zeros(1), X, X[:, 0])
    assert not report.ok and not any("given for each example" in n for n in report.notes), report


# -- clipping ----------------------------------------------------------------------------------------------------------

XS, TARGETS = [np.eye(5)[[i]].T for i in (0, 3, 2, 1)], [3, 2, 1, 4]
WEIGHTS = rng.normal(size=(6, 5)), 0.5 * rng.normal(size=(6, 6)), np.zeros((6, 1)), rng.normal(size=(5, 6))


def recurrent(Wx, Wh, b, Wy, xs, targets):
    hs, ps, loss = [np.zeros_like(b)], [], 0
    for x, t in zip(xs, targets, strict=True):
        hs.append(np.tanh(Wx @ x + Wh @ hs[-1] + b))
        p = np.exp(Wy @ hs[-1])
        ps.append(p / p.sum())
        loss += -np.log(ps[-1][t, 0])
    grads = [np.zeros_like(a) for a in (Wx, Wh, b, Wy)]
    above = np.zeros_like(b)
    for i in reversed(range(len(xs))):
        dy = ps[i].copy()
        dy[targets[i]] -= 1
        dz = (1 - hs[i + 1] ** 2) * (Wy.T @ dy + above)
        for g, part in zip(grads, (dz @ xs[i].T, dz @ hs[i].T, dz, dy @ hs[i + 1].T), strict=True):
            g += part
        above = Wh.T @ dz
    return loss, grads


def by_value(grads, bound):
    for g in grads:
        np.clip(g, -bound, bound, out=g)
    return grads


def by_their_norm(grads, bound):
    norm = np.sqrt(sum(np.sum(g**2) for g in grads))
    return [g * min(1, bound / (norm + 1e-6)) for g in grads]


def by_each_norm(grads, bound):
    return [g * min(1, bound / np.linalg.norm(g)) for g in grads]


@pytest.mark.parametrize(
    ("clip", "bound", "said"),
    [
        slow(by_value, 5, ""),
        (by_value, 0.3, "clipped by value to ±0.3"),
        (by_their_norm, 0.5, "clipped by the norm of all gradients together, to 0.5"),
        slow(by_each_norm, 0.5, "clipped by norm to 0.5"),
    ],
)
def test_clipped_gradients_are_right_and_the_report_says_so(clip, bound, said):
    def loss(Wx, Wh, b, Wy, xs, targets):
        value, grads = recurrent(Wx, Wh, b, Wy, xs, targets)
        dWx, dWh, db, dWy = clip(grads, bound)
        return value, dWx, dWh, db, dWy

    report = cr.audit_loss(loss, *WEIGHTS, XS, TARGETS)
    assert report.ok, report
    assert len([c for c in report.conventions if said and said in c.message]) == (4 if said else 0)
    assert not [n for n in report.notes if "would be wrong" in n]


def test_gradients_that_have_no_norm_in_common_are_not_called_clipped():
    right = [[rng.normal(size=(3, 4)) for _ in range(2)] for _ in range(3)]  # three parameters at two points
    assert Clipping.of([[(r / 4, r) for r in rs] for rs in right]).norm == 0
    norms = [np.sqrt(sum(np.sum(rs[k] ** 2) for rs in right)) for k in range(2)]
    both = Clipping.of([[(r / n, r) for r, n in zip(rs, norms, strict=True)] for rs in right])
    assert np.isclose(both.norm, 1) and np.allclose(both.factors, 1 / np.array(norms))


# -- the same factor in every layer ------------------------------------------------------------------------------------


class Halved(Dense):
    def backward(self, dout):
        return 0.5 * super().backward(dout)


class Divided(Dense):
    def backward(self, dout):
        return super().backward(dout) / len(dout)


class Doubled(Dense):
    def keep(self, dz):
        self.dW, self.db = 2 * (self.x.T @ dz), dz.sum(axis=0)


SIZES = ((4, 5), (5, 3), (3, 2))


@pytest.mark.parametrize(
    ("layer", "name", "cause"),
    [
        slow(Halved, "dx", "constant-factor"),
        slow(Divided, "dx", "double-mean"),
        (Doubled, "doubled2.dW", "constant-factor"),
    ],
)
def test_a_factor_in_every_layer_is_one_mistake_where_it_is_made(layer, name, cause):
    draws = np.random.default_rng(1)
    layers = [layer(draws.normal(size=s), draws.normal(size=s[1])) for s in SIZES]
    report = cr.audit_module(layers, X)
    assert [(f.name, f.cause) for f in report.findings] == [(name, cause)], report
    assert not report.conventions and "the same code" in report.findings[0].message


# -- memory order ------------------------------------------------------------------------------------------------------


def normalised(x, W, b):
    z = x @ W + b
    centred = z - z.mean(axis=0)
    deviation = np.sqrt(np.mean(centred**2, axis=0) + 1e-5)
    return centred / deviation, (x, W, centred / deviation, deviation)


def through_normalisation(dout, cache):
    x, W, out, deviation = cache
    dz = (dout - dout.mean(axis=0) - out * np.mean(dout * out, axis=0)) / deviation
    return dz @ W.T, x.T @ dz, dz.sum(axis=0)  # the last is zero but for rounding, which depends on the order of sums


def test_rounding_that_depends_on_memory_order_is_none_of_the_mistakes():
    report = cr.audit_layer(normalised, through_normalisation, X, W, B)
    assert report.ok, report


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sums_in_another_order_are_the_same(dtype):
    def backward(dout, cache):
        x, W = (a.astype(dtype) for a in cache)
        return dout.astype(dtype) @ W.T, x.T @ dout.astype(dtype)

    assert cr.audit_layer(lambda x, W: (x @ W, (x, W)), backward, X, W).ok


def test_values_taken_in_the_order_of_memory_are_a_mistake():
    def forward(x, g):
        return x * g, (np.broadcast_to(g, x.shape), x)

    def backward(dout, cache):
        g, x = cache
        return (dout.ravel(order="K") * g.ravel()).reshape(x.shape), np.sum(dout * x, axis=0)

    report = cr.audit_layer(forward, backward, X, rng.normal(size=4))
    assert [(f.name, f.cause) for f in report.findings] == [("dx", "memory-layout")], report


def test_masks_that_are_drawn_leave_something_in_every_row():
    def forward(h, a, neighbours):
        e = h @ a
        scores = np.where(neighbours > 0, e[:, None] + e[None, :], -1e9)
        return softmax(scores) @ h, (h, a, softmax(scores))

    def backward(dout, cache):  # of a row without neighbours this would be wrong: its weights are not zero
        h, a, p = cache
        dp = dout @ h.T
        ds = p * (dp - np.sum(dp * p, axis=1, keepdims=True))
        de = ds.sum(axis=1) + ds.sum(axis=0)
        return p.T @ dout + np.outer(de, a), h.T @ de

    neighbours = np.eye(5) + np.eye(5, k=1)
    report = cr.audit_layer(forward, backward, X[:5], X[0], neighbours)
    assert report.ok, report
