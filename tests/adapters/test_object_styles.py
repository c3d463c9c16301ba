"""Classes as people write them: right ones are right with nothing left unjudged, wrong ones are wrong at their step."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.audit.report import RIGHT
from tests.tables import in_turn, slow

RNG = np.random.default_rng(21)
X, Y = RNG.normal(size=(6, 4)), RNG.random((6, 3))
COLUMN, COLUMN_Y = RNG.normal(size=(4, 1)), RNG.random((3, 1))
COLUMNS, COLUMNS_Y = X.T.copy(), Y.T.copy()
ROW, ROW_Y = RNG.normal(size=4), RNG.random(3)
P = RNG.dirichlet(np.ones(3), size=6)
LABELS = np.eye(3)[[0, 2, 1, 1, 0, 2]]


def half_squares(output, target):
    return np.sum((output - target) ** 2) / 2


def mean_squares(output, target):
    return np.mean(np.sum((output - target) ** 2, axis=1)) / 2


def weights(*shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


class Base:
    """`k` is a factor of one gradient: 1 is right."""

    k = 1.0


class UnderscoredNames(Base):
    def __init__(self):
        self.W, self.b = weights(4, 3), weights(3)

    def forward_pass(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward_pass(self, grad):
        self.grad_W, self.grad_b = self.k * self.x.T @ grad, grad.sum(0)
        return grad @ self.W.T


class ShortNames(Base):
    def __init__(self):
        self.params = {"W": weights(4, 3), "b": weights(3)}
        self.grads = {}

    def fprop(self, x):
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def bprop(self, d):
        self.grads["W"] = self.k * self.x.T @ d
        self.grads["b"] = d.sum(axis=0)
        return d @ self.params["W"].T


class Propagates(Base):
    def __init__(self):
        self.weights, self.bias = weights(4, 3), np.zeros((1, 3))

    def propagate_forward(self, inputs):
        self.inputs = inputs
        return np.tanh(inputs @ self.weights + self.bias)

    def propagate_backward(self, upstream):
        d = upstream * (1 - np.tanh(self.inputs @ self.weights + self.bias) ** 2)
        self.dweights, self.dbias = self.k * self.inputs.T @ d, d.sum(0, keepdims=True)
        return d @ self.weights.T


class CalledAndBackprop(Base):
    def __init__(self):
        self.W = weights(4, 3)

    def __call__(self, x):
        self.x = x
        return x @ self.W

    def backprop(self, delta):
        self.delta_W = self.k * self.x.T @ delta
        return delta @ self.W.T


class ReturnsAll(Base):
    def __init__(self):
        self.W, self.b = weights(4, 3), weights(3)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        return dout @ self.W.T, self.k * self.x.T @ dout, dout.sum(0)


class ReturnsNested(ReturnsAll):
    def backward(self, dout):
        return dout @ self.W.T, [self.k * self.x.T @ dout, dout.sum(0)]


class ReturnsDict(ReturnsAll):
    def backward(self, dout):
        return {"dx": dout @ self.W.T, "dW": self.k * self.x.T @ dout, "db": dout.sum(0)}


class ReturnsCache(ReturnsAll):
    def forward(self, x):
        out = x @ self.W + self.b
        return out, (x, out)

    def backward(self, dout, cache):
        x, _ = cache
        self.dW, self.db = self.k * x.T @ dout, dout.sum(0)
        return dout @ self.W.T


class UpdatesWithRate(Base):
    def __init__(self):
        self.weights, self.biases = weights(4, 3), weights(1, 3)

    def forward(self, input):
        self.input = input
        return input @ self.weights + self.biases

    def backward(self, output_error, learning_rate):
        before = output_error @ self.weights.T
        self.weights -= learning_rate * self.k * self.input.T @ output_error
        self.biases -= learning_rate * output_error.sum(axis=0, keepdims=True)
        return before


class UpdatesWithDefaultRate(UpdatesWithRate):
    def backward(self, output_error, lr=0.03):
        return UpdatesWithRate.backward(self, output_error, lr)


class UpdatesWithOwnRate(Base):
    def __init__(self):
        self.W, self.eta = weights(4, 3), 0.02

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, d):
        dx = d @ self.W.T
        self.W = self.W - self.eta * self.k * (self.x.T @ d)
        return dx


class UpdatesWithWrittenRate(Base):
    def __init__(self):
        self.W, self.b = weights(4, 3), weights(3)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, d):
        dx = d @ self.W.T
        self.W -= 0.25 * self.x.T @ d
        self.b -= self.k * 0.25 * d.sum(0)
        return dx


class Parameter:
    def __init__(self, value):
        self.value, self.grad = value, np.zeros_like(value)


class ParameterObjects(Base):
    def __init__(self):
        self.W, self.b = Parameter(weights(4, 3)), Parameter(weights(3))

    def zero_grad(self):
        for p in (self.W, self.b):
            p.grad[...] = 0

    def forward(self, x):
        self.x = x
        return x @ self.W.value + self.b.value

    def backward(self, dout):
        self.W.grad += self.k * self.x.T @ dout
        self.b.grad += dout.sum(0)
        return dout @ self.W.value.T


class ParallelLists(Base):
    def __init__(self):
        self.params = [weights(4, 3), weights(3)]
        self.grads = [np.zeros((4, 3)), np.zeros(3)]

    def forward(self, x):
        self.x = x
        return x @ self.params[0] + self.params[1]

    def backward(self, dout):
        self.grads[0][...] = self.k * self.x.T @ dout
        self.grads[1][...] = dout.sum(0)
        return dout @ self.params[0].T


class Scalars(Base):
    def __init__(self):
        self.w, self.b = 0.7, -0.2

    def forward(self, x):
        self.x = x
        return np.tanh(self.w * x + self.b)

    def backward(self, dout):
        d = dout * (1 - np.tanh(self.w * self.x + self.b) ** 2)
        self.dw, self.db = self.k * np.sum(d * self.x), np.sum(d)
        return self.w * d


class LayerLists(Base):
    """W and b of each layer in lists; backward starts from the targets and returns lists."""

    def __init__(self, last=3):
        self.sizes = [4, 5, last]
        self.biases = [weights(5, 1), weights(last, 1)]
        self.weights = [weights(5, 4), weights(last, 5)]

    def feedforward(self, a):
        for b, w in zip(self.biases, self.weights, strict=True):
            a = sigmoid(w @ a + b)
        return a

    def backprop(self, x, y):
        a1 = sigmoid(self.weights[0] @ x + self.biases[0])
        a2 = sigmoid(self.weights[1] @ a1 + self.biases[1])
        d2 = self.cost_derivative(a2, y) * a2 * (1 - a2)
        d1 = self.weights[1].T @ d2 * a1 * (1 - a1)
        return [d1, d2], [self.k * d1 @ x.T, d2 @ a1.T]

    def cost_derivative(self, output_activations, y):
        return output_activations - y


class MiniBatches(LayerLists):
    def update_mini_batch(self, mini_batch, eta):
        nabla_b, nabla_w = [0, 0], [0, 0]
        for x, y in mini_batch:
            db, dw = self.backprop(x, y)
            nabla_b = [n + d for n, d in zip(nabla_b, db, strict=True)]
            nabla_w = [n + d for n, d in zip(nabla_w, dw, strict=True)]
        self.weights = [w - eta / len(mini_batch) * n for w, n in zip(self.weights, nabla_w, strict=True)]
        self.biases = [b - eta / len(mini_batch) * n for b, n in zip(self.biases, nabla_b, strict=True)]


class FeedAndLearn(Base):
    def __init__(self):
        self.W1, self.W2 = weights(5, 4), weights(3, 5)

    def feed(self, x):
        self.h = sigmoid(self.W1 @ x)
        self.o = sigmoid(self.W2 @ self.h)
        return self.o

    def learn(self, x, t, lr=0.1):
        o = self.feed(x)
        d2 = (o - t) * o * (1 - o)
        d1 = self.W2.T @ d2 * self.h * (1 - self.h)
        self.W2 -= lr * d2 @ self.h.T
        self.W1 -= self.k * lr * d1 @ x.T


class ThinkAndTrain(Base):
    """Adds (target − output), a fixed number of times."""

    def __init__(self):
        self.synapses = weights(4, 3)

    def think(self, inputs):
        return sigmoid(inputs @ self.synapses)

    def train(self, training_inputs, training_outputs, iterations):
        for _ in range(iterations):
            output = self.think(training_inputs)
            error = training_outputs - output
            self.synapses += self.k * training_inputs.T @ (error * output * (1 - output))


class OutputHandedBack(Base):
    def __init__(self):
        self.W1, self.W2 = weights(4, 5), weights(5, 3)

    def forward(self, X):
        self.z2 = sigmoid(X @ self.W1)
        return sigmoid(self.z2 @ self.W2)

    def backward(self, X, y, o):
        delta = (y - o) * o * (1 - o)
        hidden = delta @ self.W2.T * self.z2 * (1 - self.z2)
        self.W1 += self.k * X.T @ hidden
        self.W2 += self.z2.T @ delta


class ByTarget(Base):
    def __init__(self):
        self.W1, self.b1, self.W2 = weights(4, 5), weights(5), weights(5, 3)

    def forward(self, X):
        self.X, self.h = X, np.tanh(X @ self.W1 + self.b1)
        self.out = self.h @ self.W2
        return self.out

    def backward(self, y):
        d = (self.out - y) / len(y)
        dh = d @ self.W2.T * (1 - self.h**2)
        self.dW2, self.dW1, self.db1 = self.h.T @ d, self.k * self.X.T @ dh, dh.sum(0)


class LossMethodOnOutput(ByTarget):
    def compute_loss(self, output, y):
        return np.sum((output - y) ** 2) / 2 / len(y)


class LossAndGradient(Base):
    """predict, loss(x, t), gradient(x, t) with a dict of gradients."""

    def __init__(self):
        self.params = {"W1": weights(4, 5), "b1": weights(5), "W2": weights(5, 3), "b2": weights(3)}

    def predict(self, x):
        h = sigmoid(x @ self.params["W1"] + self.params["b1"])
        return h @ self.params["W2"] + self.params["b2"]

    def loss(self, x, t):
        return np.sum((self.predict(x) - t) ** 2) / len(x)

    def accuracy(self, x, t):
        return np.mean(self.predict(x).argmax(1) == t.argmax(1))

    def gradient(self, x, t):
        h = sigmoid(x @ self.params["W1"] + self.params["b1"])
        d = 2 * (self.predict(x) - t) / len(x)
        dh = d @ self.params["W2"].T * h * (1 - h)
        return {"W1": self.k * x.T @ dh, "b1": dh.sum(0), "W2": h.T @ d, "b2": d.sum(0)}


class LossReturnsGradients(Base):
    def __init__(self):
        self.params = {"W1": weights(4, 5), "W2": weights(5, 3)}

    def loss(self, X, y=None, reg=0.1):
        W1, W2 = self.params["W1"], self.params["W2"]
        h = np.maximum(0, X @ W1)
        scores = h @ W2
        if y is None:
            return scores
        d = (scores - y) / len(X)
        loss = np.sum((scores - y) ** 2) / 2 / len(X) + reg * np.sum(W1 * W1)
        dh = d @ W2.T
        dh[h <= 0] = 0
        return loss, {"W1": self.k * (X.T @ dh + 2 * reg * W1), "W2": h.T @ d}


class SoftmaxWithLoss(Base):
    def forward(self, x, t):
        self.t = t
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.y = e / e.sum(axis=1, keepdims=True)
        return -np.sum(t * np.log(self.y)) / len(x)

    def backward(self, dout=1):
        return self.k * (self.y - self.t) / len(self.t)


class ScaledSoftmaxWithLoss(SoftmaxWithLoss):
    def backward(self, dout=1):
        return dout * super().backward()


class LossWithGradient(Base):
    def loss(self, y, p):
        return -y * np.log(p) - (1 - y) * np.log(1 - p)

    def gradient(self, y, p):
        return self.k * (-(y / p) + (1 - y) / (1 - p))


class LossOfEachExample(Base):
    def forward(self, y_pred, y_true):
        return -np.log(np.sum(np.clip(y_pred, 1e-7, 1 - 1e-7) * y_true, axis=1))

    def backward(self, dvalues, y_true):
        self.dinputs = self.k * -y_true / dvalues
        self.dinputs = self.dinputs / len(dvalues)


class ActivationAndLoss(Base):
    def forward(self, inputs, y_true):
        e = np.exp(inputs - inputs.max(axis=1, keepdims=True))
        self.output = e / e.sum(axis=1, keepdims=True)
        return np.mean(-np.log(np.sum(self.output * y_true, axis=1)))

    def backward(self, dvalues, y_true):
        self.dinputs = dvalues.copy()
        self.dinputs[range(len(dvalues)), y_true.argmax(1)] -= 1
        self.dinputs = self.k * self.dinputs / len(dvalues)


class LossWithoutArguments(Base):
    def forward(self, pred, label):
        self.pred, self.label = pred, label
        return np.mean((pred - label) ** 2)

    def backward(self):
        return self.k * 2 * (self.pred - self.label) / self.pred.size


class ActivationWithGradient(Base):
    def __call__(self, x):
        return sigmoid(x)

    def gradient(self, x):
        p = self(x)
        return self.k * p * (1 - p)


class OutputAttribute(Base):
    """Returns nothing, both ways."""

    def __init__(self):
        self.weights, self.biases = weights(4, 3), np.zeros((1, 3))

    def forward(self, inputs, training):
        self.inputs = inputs
        self.output = inputs @ self.weights + self.biases

    def backward(self, dvalues):
        self.dweights, self.dbiases = self.k * self.inputs.T @ dvalues, dvalues.sum(0, keepdims=True)
        self.dinputs = dvalues @ self.weights.T


class OneExample(Base):
    """For vectors: the outer product is the gradient of one example."""

    def __init__(self):
        self.W, self.b = weights(3, 4), weights(3)

    def forward(self, x):
        self.x = x
        return np.tanh(self.W @ x + self.b)

    def backward(self, d):
        dz = d * (1 - np.tanh(self.W @ self.x + self.b) ** 2)
        self.dW, self.db = self.k * np.outer(dz, self.x), dz
        return self.W.T @ dz


class OneColumn(Base):
    def __init__(self):
        self.W, self.b = weights(3, 4), weights(3, 1)

    def forward(self, x):
        self.x = x
        return self.W @ x + self.b

    def backward(self, d):
        self.dW, self.db = self.k * d @ self.x.T, d
        return self.W.T @ d


class OneRow(Base):
    def __init__(self):
        self.W, self.b = weights(4, 3), weights(1, 3)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, d):
        self.dW, self.db = self.k * self.x.T @ d, d
        return d @ self.W.T


class Columns(Base):
    def __init__(self):
        self.W, self.b = weights(3, 4), weights(3, 1)

    def forward(self, A_prev):
        self.A_prev = A_prev
        return self.W @ A_prev + self.b

    def backward(self, dZ):
        self.dW, self.db = self.k * dZ @ self.A_prev.T, dZ.sum(1, keepdims=True)
        return self.W.T @ dZ


class WritesInPlace(Base):
    """Zeroes its upstream gradient in place: harmless."""

    def forward(self, x):
        self.mask = x <= 0
        return np.maximum(x, 0)

    def backward(self, dout):
        dout[self.mask] = 0
        return self.k * dout


class Dense(UnderscoredNames):
    forward, backward = UnderscoredNames.forward_pass, UnderscoredNames.backward_pass


class Network(Base):
    """Layers in a list, called by the network; each has its own gradients."""

    def __init__(self):
        self.layers = [ReturnsCacheless(4, 5), Tanh(), ReturnsCacheless(5, 3)]
        self.layers[0].k = self.k

    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, d):
        for layer in reversed(self.layers):
            d = layer.backward(d)
        return d


class ReturnsCacheless(Base):
    def __init__(self, n, m):
        self.W, self.b = weights(n, m), weights(m)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, d):
        self.dW, self.db = self.k * self.x.T @ d, d.sum(0)
        return d @ self.W.T


class Tanh(Base):
    def forward(self, x):
        self.y = np.tanh(x)
        return self.y

    def backward(self, d):
        return self.k * d * (1 - self.y**2)


class CalledWithArguments(ReturnsCacheless):
    """Keeps what it was called with in __call__, for backward."""

    def __init__(self):
        super().__init__(4, 3)

    def __call__(self, *arguments):
        self.arguments = arguments
        self.out = self.forward(*arguments)
        return self.out

    def backward(self, d):
        self.x = self.arguments[0]
        return super().backward(d + 0 * self.out)


#: class -> inputs, options, number of gradients, the step that k makes wrong
STYLES = {
    UnderscoredNames: ((X,), {}, 3, "dW"),
    ShortNames: ((X,), {}, 3, "params.dW"),
    Propagates: ((X,), {}, 3, "dweights"),
    CalledAndBackprop: ((X,), {}, 2, "dW"),
    ReturnsAll: ((X,), {}, 3, "dW"),
    ReturnsNested: ((X,), {}, 3, "dW"),
    ReturnsDict: ((X,), {}, 3, "dW"),
    ReturnsCache: ((X,), {}, 3, "dW"),
    UpdatesWithRate: ((X,), {}, 3, "dweights"),
    UpdatesWithDefaultRate: ((X,), {}, 3, "dweights"),
    UpdatesWithOwnRate: ((X,), {}, 2, "dW"),
    UpdatesWithWrittenRate: ((X,), {"lr": 0.25}, 3, "db"),
    ParameterObjects: ((X,), {}, 3, "dW"),
    ParallelLists: ((X,), {}, 3, "dparams[0]"),
    Scalars: ((X,), {}, 3, "dw"),
    LayerLists: ((COLUMN, COLUMN_Y), {"loss": half_squares}, 4, "dweights[0]"),
    MiniBatches: ((COLUMN, COLUMN_Y), {"loss": half_squares, "backward": "update_mini_batch"}, 4, "dweights[0]"),
    FeedAndLearn: ((COLUMN, COLUMN_Y), {"loss": half_squares}, 2, "dW1"),
    ThinkAndTrain: ((X, Y), {"loss": half_squares, "lr": 1}, 1, "dsynapses"),
    OutputHandedBack: ((X, Y), {"loss": half_squares, "lr": 1}, 2, "dW1"),
    ByTarget: ((X,), {"Y": Y, "loss": mean_squares}, 3, "dW1"),
    LossMethodOnOutput: ((X, Y), {}, 3, "dW1"),
    LossAndGradient: ((X, Y), {}, 4, "params.dW1"),
    LossReturnsGradients: ((X, Y), {}, 2, "params.dW1"),
    SoftmaxWithLoss: ((X[:, :3], LABELS), {}, 1, "dx"),
    ScaledSoftmaxWithLoss: ((X[:, :3], LABELS), {}, 1, "dx"),
    LossWithGradient: ((LABELS, P), {}, 1, "dp"),
    LossOfEachExample: ((P, LABELS), {}, 1, "dy_pred"),
    ActivationAndLoss: ((X[:, :3], LABELS), {}, 1, "dinputs"),
    LossWithoutArguments: ((P, Y), {}, 1, "dpred"),
    ActivationWithGradient: ((X,), {}, 1, "dx"),
    OutputAttribute: ((X,), {}, 3, "dweights"),
    OneExample: ((ROW,), {}, 3, "dW"),
    OneColumn: ((COLUMN,), {}, 3, "dW"),
    OneRow: ((X[:1],), {}, 3, "dW"),
    Columns: ((COLUMNS,), {}, 3, "dW"),
    WritesInPlace: ((X,), {}, 1, "dx"),
    Dense: ((X,), {}, 3, "dW"),
    CalledWithArguments: ((X,), {}, 3, "dW"),
    Network: ((X,), {}, 5, "layers[0].dW"),
}


@pytest.mark.parametrize("style", in_turn(STYLES, every=5), ids=lambda c: c.__name__)
def test_right_classes_are_right(style):
    inputs, options, count, _ = STYLES[style]
    report = cr.audit_module(style(), *inputs, **options)
    assert report.ok, str(report)
    assert [s.verdict for s in report.steps] == [RIGHT] * count, str(report)


@pytest.mark.parametrize("style", in_turn(STYLES, every=7), ids=lambda c: c.__name__)
def test_wrong_classes_are_wrong_at_their_step(style):
    inputs, options, _, step = STYLES[style]
    wrong = type(style.__name__, (style,), {"k": 1.7, "__module__": style.__module__})
    report = cr.audit_module(wrong(), *inputs, **options)
    assert [(f.name, f.cause) for f in report.findings] == [(step, "constant-factor")], str(report)


class OwnPenalty(ReturnsCacheless):
    reg = 0.3

    def __init__(self):
        super().__init__(4, 3)

    def backward(self, d):
        dx = super().backward(d)
        self.dW = self.changed(self.dW)
        return dx

    def changed(self, gradient):
        return gradient + self.reg * self.W


class ClippedByValue(OwnPenalty):
    def changed(self, gradient):
        return np.clip(gradient, -0.5, 0.5)


class ClippedByNorm(OwnPenalty):
    def changed(self, gradient):
        return gradient * min(1.0, 0.7 / np.linalg.norm(gradient))


@pytest.mark.parametrize(
    ("style", "words"),
    [
        (OwnPenalty, "dW includes a penalty of the layer's own, 0.3 · W"),
        slow(ClippedByValue, "dW is clipped by value to ±0.5"),
        (ClippedByNorm, "dW is clipped by norm to 0.7"),
    ],
)
def test_what_a_layer_does_to_its_gradient_on_purpose_is_said(style, words):
    report = cr.audit_module(style(), X)
    assert report.ok and [s.verdict for s in report.steps] == [RIGHT] * 3, str(report)
    assert any(words in c.message for c in report.conventions)
    wrong = type("Wrong", (style,), {"changed": lambda self, g: style.changed(self, g) + 0.1 * np.sign(g)})
    assert [f.name for f in cr.audit_module(wrong(), X).findings] == ["dW"]


class ClippedWithAlias:
    """The gradient of the bias is another name of what backward is handed, and is clipped in place."""

    def __init__(self, factor=1.0):
        self.W, self.b, self.factor = weights(4, 3), np.zeros((1, 3)), factor

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backprop(self, d_y, learn_rate=0.02):
        d_W, d_b = self.factor * self.x.T @ d_y, d_y
        for d in (d_W, d_b):
            np.clip(d, -0.5, 0.5, out=d)
        self.W -= learn_rate * d_W
        self.b -= learn_rate * d_b


def test_clipping_what_backward_is_handed_is_a_note():
    report = cr.audit_module(ClippedWithAlias(), X[:1])
    assert report.ok and any("writes into dout in place" in n for n in report.notes), str(report)
    assert [f.name for f in cr.audit_module(ClippedWithAlias(-1.0), X[:1]).findings] == ["dW"]


def test_a_parameter_without_a_gradient_is_a_finding():
    class NoBias(ReturnsCacheless):
        value = None

        def __init__(self):
            super().__init__(4, 3)

        def backward(self, d):
            dx = super().backward(d)
            self.db = self.value
            return dx

    assert [(f.name, f.cause) for f in cr.audit_module(NoBias(), X).findings] == [("db", "missing-gradient")]
    assert cr.audit_module(NoBias(), X, only=["W"]).ok
    NoBias.value = np.zeros(3)
    assert [(f.name, f.cause) for f in cr.audit_module(NoBias(), X).findings] == [("db", "zero-gradient")]


def test_a_single_example_is_judged_as_it_is():
    notes = cr.audit_module(OneColumn(), COLUMN).notes
    assert "right for one example only: with more, db would be wrong" in notes
    assert not any("one example only" in note for note in cr.audit_module(Columns(), COLUMN).notes)
    assert cr.audit_module(OneExample(), ROW, batch=None).ok


def test_an_update_before_the_last_use_is_named():
    class TooEarly(UpdatesWithOwnRate):
        def backward(self, d):
            self.W = self.W - self.eta * (self.x.T @ d)
            return d @ self.W.T

    assert [(f.name, f.cause) for f in cr.audit_module(TooEarly(), X).findings] == [("dx", "updated-weights")]
    layers = [OwnPenalty(), TooEarly()]
    layers[1].W = weights(3, 2)
    assert cr.audit_module(layers, X).findings[0].cause == "updated-weights"


def test_corrections_of_how_an_object_was_read():
    class Named(ReturnsCacheless):
        def __init__(self):
            super().__init__(4, 3)

        def ahead(self, x):
            return super().forward(x)

        def home(self, d):
            dx = super().backward(d)
            self.first, self.second = self.dW, self.db
            del self.dW, self.db
            return dx

    given = dict(forward="ahead", backward="home", gradients={"W": "first", "b": "second"})
    report = cr.audit_module(Named(), X, **given)
    assert report.ok and [s.name for s in report.steps] == ["dx", "dW", "db"]
    assert "class Named (ahead, home); parameters W, b; gradients in first, second" in str(report).replace("\n", " ")
    with pytest.raises(cr.AuditError, match="has no method upwards; it has"):
        cr.audit_module(Named(), X, forward="upwards")
    with pytest.raises(cr.AuditError, match="there is no V; the object holds W, b"):
        cr.audit_module(Named(), X, parameters=["V"])
    with pytest.raises(cr.AuditError, match="backward takes the targets, and the loss is not known"):
        cr.audit_module(ByTarget(), X, Y=Y)


class WeightedLoss:
    """A loss with a weight for each class, which is no parameter."""

    def __init__(self):
        self.scale = np.array([1.0, 2.0, 0.5])

    def loss(self, predicted, actual):
        return np.sum(self.scale * (predicted - actual) ** 2)

    def grad(self, predicted, actual):
        return 2 * self.scale * (predicted - actual)


def test_weights_of_the_classes_are_no_parameters():
    rng = np.random.default_rng(0)
    report = cr.audit_module(WeightedLoss(), rng.normal(size=(5, 3)), rng.normal(size=(5, 3)))
    assert report.ok and [s.name for s in report.steps] == ["dpredicted"], str(report)


class Inner:
    """A layer of a network that keeps the gradient without the penalty."""

    def __init__(self, W):
        self.W = W

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, dout):
        self.dW = self.x.T @ dout
        return dout @ self.W.T


class Penalised:
    """A network that returns gradients by name, with the derivative of its penalty."""

    def __init__(self, decay):
        self.params = {"W1": np.random.default_rng(1).normal(size=(4, 3))}
        self.layer, self.decay = Inner(self.params["W1"]), decay

    def loss(self, x, t):
        self.error = self.layer.forward(x) - t
        return np.sum(self.error**2) / 2 + 0.05 * np.sum(self.params["W1"] ** 2)

    def gradient(self, x, t):
        self.loss(x, t)
        self.layer.backward(self.error)
        return {"W1": self.layer.dW + self.decay * self.layer.W}


@pytest.mark.parametrize(("decay", "ok"), [(0.1, True), (0.3, False)])
def test_gradients_returned_by_name_come_before_those_that_layers_keep(decay, ok):
    rng = np.random.default_rng(0)
    report = cr.audit_module(Penalised(decay), rng.normal(size=(6, 4)), rng.normal(size=(6, 3)))
    assert report.ok is ok and [s.name for s in report.steps] == ["params.dW1"], str(report)


def traced(function):
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


class Decorated(Inner):
    """A layer whose methods are decorated without functools.wraps."""

    forward = traced(Inner.forward)
    backward = traced(Inner.backward)


class Scaled:
    """An object without state: backward takes forward's arguments again, and returns gradients in its own order."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def forward(self, x, b):
        return np.tanh(x) + b

    def backward(self, x, b, top):
        return self.factor * top.sum(0, keepdims=True), top * (1 - np.tanh(x) ** 2)


def test_methods_decorated_without_their_signature_and_objects_without_state():
    rng = np.random.default_rng(0)
    x, b = rng.normal(size=(5, 4)), rng.normal(size=(1, 4))
    report = cr.audit_module(Decorated(rng.normal(size=(4, 3))), x)
    assert report.ok and {s.name for s in report.steps} == {"dx", "dW"}, str(report)
    report = cr.audit_module(Scaled(), x, b)
    assert report.ok and {s.name for s in report.steps} == {"dx", "db"}, str(report)
    assert [f.name for f in cr.audit_module(Scaled(2.0), x, b).findings] == ["db"]


class Curve:
    """A function whose local derivative takes the same argument under another name; gradients are flushed."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, z):
        return np.tanh(z)

    def grad(self, x):
        return self.factor * (1 - np.tanh(x) ** 2)


@pytest.mark.parametrize(("factor", "ok"), [(1.0, True), (3.0, False)])
def test_local_derivatives_take_the_input_under_any_name(factor, ok):
    assert cr.audit_module(Curve(factor), np.random.default_rng(0).normal(size=(5, 4))).ok is ok


class InPlace:
    """A layer that writes into its input."""

    def forward(self, x):
        self.mask = x > 0
        x *= self.mask
        return x

    def backward(self, dout):
        return dout * self.mask


def test_audits_leave_the_users_arrays_alone():
    x = np.random.default_rng(0).normal(size=(5, 4))
    before = x.copy()
    cr.audit_module(InPlace(), x)
    assert np.array_equal(x, before)
