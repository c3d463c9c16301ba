"""The article's modules: a call keeps its arguments and its output, backward reads out.g and leaves inp.g; and a
network of two layers in one class.
"""

import numpy as np

from benchmarks.backward_passes.cases import module


class Array(np.ndarray):
    """An array that can carry its gradient in .g."""


def with_gradient(a):
    return a if hasattr(a, "__dict__") else np.asarray(a).view(Array)


class Module:
    def __call__(self, *args):
        self.args = [with_gradient(a) for a in args]
        self.out = with_gradient(self.forward(*self.args))
        return self.out

    def backward(self):
        self.back(self.out, *self.args)


class Lin(Module):
    def __init__(self, n_in, n_out):
        rng = np.random.default_rng(50)
        self.weight = with_gradient(rng.normal(size=(n_in, n_out)) / np.sqrt(n_in))
        self.bias = with_gradient(0.1 * rng.normal(size=n_out))

    def forward(self, inp):
        return inp @ self.weight + self.bias


class TwoLayerNet:
    """tanh(x W1 + b1) W2 + b2."""

    def __init__(self, n_in, n_out, hidden=6):
        rng = np.random.default_rng(60)
        self.W1, self.b1 = rng.normal(size=(n_in, hidden)) / 2, 0.1 * rng.normal(size=hidden)
        self.W2, self.b2 = rng.normal(size=(hidden, n_out)) / 2, 0.1 * rng.normal(size=n_out)
        self.dW1 = self.db1 = self.dW2 = self.db2 = None

    def forward(self, x):
        self.x = x
        self.h = np.tanh(x @ self.W1 + self.b1)
        return self.h @ self.W2 + self.b2


def square(cls):
    return cls(6, 6)


def batch():
    return (np.random.default_rng(70).normal(size=(10, 6)),)


wrong, right = module(square, batch, {"weight": "weight.g", "bias": "bias.g"})
wrong_net, right_net = module(square, batch, {"W1": "dW1", "b1": "db1", "W2": "dW2", "b2": "db2"})


@right(convention="inp.g and weight.g, by outer products as in the article")
class LinOfTheArticle(Lin):
    def back(self, out, inp):
        inp.g = out.g @ self.weight.T
        self.weight.g = (np.expand_dims(inp, -1) * np.expand_dims(out.g, 1)).sum(0)
        self.bias.g = out.g.sum(0)


@wrong(step="dinp", cause="transposed", subtle=True)
class LinWithoutItsTranspose(Lin):
    def back(self, out, inp):
        inp.g = out.g @ self.weight
        self.weight.g = inp.T @ out.g
        self.bias.g = out.g.sum(0)


@wrong(step="dweight", cause="double-mean", also=("constant-factor",))
class LinThatAveragesItsOuterProducts(Lin):
    def back(self, out, inp):
        inp.g = out.g @ self.weight.T
        self.weight.g = (np.expand_dims(inp, -1) * np.expand_dims(out.g, 1)).mean(0)
        self.bias.g = out.g.sum(0)


@right_net(convention="two layers in one class, gradients named after the parameters")
class NetInOneClass(TwoLayerNet):
    def backward(self, dout):
        self.dW2, self.db2 = self.h.T @ dout, dout.sum(axis=0)
        dz = (1 - self.h**2) * (dout @ self.W2.T)
        self.dW1, self.db1 = self.x.T @ dz, dz.sum(axis=0)
        return dz @ self.W1.T


@wrong_net(
    step="dW1", cause="missing-activation-derivative", also=("missing-factor",), or_step=("db1", "dx"), subtle=True
)
class NetWithALinearHiddenLayer(TwoLayerNet):
    def backward(self, dout):
        self.dW2, self.db2 = self.h.T @ dout, dout.sum(axis=0)
        dh = dout @ self.W2.T
        self.dW1, self.db1 = self.x.T @ dh, dh.sum(axis=0)
        return dh @ self.W1.T


@wrong_net(step="dW2", cause="wrong-layer", also=("wrong-operand",), subtle=True)
class NetWhoseSecondLayerSeesTheInput(TwoLayerNet):
    def backward(self, dout):
        self.dW2, self.db2 = self.x.T @ dout, dout.sum(axis=0)
        dz = (1 - self.h**2) * (dout @ self.W2.T)
        self.dW1, self.db1 = self.x.T @ dz, dz.sum(axis=0)
        return dz @ self.W1.T
