"""A small library's modules: parameters with .data and .grad, other names for gradients, losses apart."""

import numpy as np

from benchmarks.backward_passes.cases import module


class Parameter:
    """An array and its gradient."""

    def __init__(self, data):
        self.data = data
        self.grad = np.zeros_like(data)


class Linear:
    """y = x Wᵀ + b, the weights (out, in) as in the big framework."""

    def __init__(self, n_in, n_out):
        rng = np.random.default_rng(10)
        self.weight = Parameter(rng.normal(size=(n_out, n_in)) / np.sqrt(n_in))
        self.bias = Parameter(0.1 * rng.normal(size=n_out))

    def forward(self, x):
        self.inp = x
        return x @ self.weight.data.T + self.bias.data


class SigmoidLayer:
    """y = σ(x W + b), gradients in grad_W and grad_b."""

    def __init__(self, n_in, n_out):
        rng = np.random.default_rng(20)
        self.W = rng.normal(size=(n_in, n_out))
        self.b = rng.normal(size=(1, n_out))
        self.grad_W = None
        self.grad_b = None

    def forward(self, x):
        self.x = x
        self.y = 1 / (1 + np.exp(-(x @ self.W + self.b)))
        return self.y


class Softmax:
    """Rows that sum to one."""

    def forward(self, x):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.p = e / e.sum(axis=1, keepdims=True)
        return self.p


def eight(cls):
    return cls(8, 8)


def five(cls):
    return cls(4, 5)


def plain(cls):
    return cls()


def eight_rows():
    return (np.random.default_rng(30).normal(size=(8, 8)),)


def six_rows():
    return (np.random.default_rng(40).normal(size=(6, 4)),)


wrong, right = module(eight, eight_rows, {"weight": "weight.grad", "bias": "bias.grad"})
wrong_sigmoid, right_sigmoid = module(five, six_rows, {"W": "grad_W", "b": "grad_b"})
wrong_softmax, right_softmax = module(plain, eight_rows, {})


@right(convention="the outer products of all examples, then their sum")
class LinearOuter(Linear):
    def backward(self, grad):
        self.weight.grad = (grad[:, :, None] * self.inp[:, None, :]).sum(0)
        self.bias.grad = grad.sum(0)
        return grad @ self.weight.data


@right_sigmoid(convention="example by example")
class SigmoidByExample(SigmoidLayer):
    def backward(self, dy):
        self.grad_W, self.grad_b = np.zeros_like(self.W), np.zeros_like(self.b)
        dx = np.zeros_like(self.x)
        for n, (x, y) in enumerate(zip(self.x, self.y, strict=True)):
            dz = dy[n] * y * (1 - y)
            self.grad_W += np.outer(x, dz)
            self.grad_b += dz
            dx[n] = self.W @ dz
        return dx


@right_softmax(convention="p (g − Σ g p)")
class SoftmaxShort(Softmax):
    def backward(self, g):
        return self.p * (g - (g * self.p).sum(axis=1, keepdims=True))


@wrong(step="dweight", cause="transposed", subtle=True)
class LinearWithTheGradientTransposed(Linear):
    def backward(self, grad):
        self.weight.grad = self.inp.T @ grad
        self.bias.grad = grad.sum(axis=0)
        return grad @ self.weight.data


@wrong(step="dx", cause="transposed", subtle=True)
class LinearThatForgetsItsLayout(Linear):
    def backward(self, grad):
        self.weight.grad = grad.T @ self.inp
        self.bias.grad = grad.sum(axis=0)
        return grad @ self.weight.data.T


@wrong(step="backward", cause="accumulates", or_step=("dbias",), subtle=True)
class LinearWhoseBiasAddsUp(Linear):
    def backward(self, grad):
        self.weight.grad = grad.T @ self.inp
        self.bias.grad += grad.sum(axis=0)
        return grad @ self.weight.data


@wrong(step="dbias", cause="bias-all-summed")
class LinearWithABiasOfOneNumber(Linear):
    def backward(self, grad):
        self.weight.grad = grad.T @ self.inp
        self.bias.grad = np.zeros_like(self.bias.data)
        for row in grad:
            self.bias.grad += row.sum()
        return grad @ self.weight.data


@wrong(step="backward", cause="mutates-input", subtle=True)
class LinearThatScalesItsGradient(Linear):
    def backward(self, grad):
        self.weight.grad = grad.T @ self.inp
        self.bias.grad = grad.sum(axis=0)
        dx = grad @ self.weight.data
        grad *= 0
        return dx


@wrong_sigmoid(step="dW", cause="derivative-at-activation", or_step=("db", "dx"), subtle=True)
class SigmoidOfItsOwnOutput(SigmoidLayer):
    def backward(self, dy):
        s = 1 / (1 + np.exp(-self.y))
        dz = dy * s * (1 - s)
        self.grad_W = self.x.T @ dz
        self.grad_b = dz.sum(axis=0, keepdims=True)
        return dz @ self.W.T


@wrong_sigmoid(step="dx", cause="missing-activation-derivative", also=("missing-factor",), subtle=True)
class SigmoidForgottenForTheInput(SigmoidLayer):
    def backward(self, dy):
        dz = dy * self.y * (1 - self.y)
        self.grad_W = self.x.T @ dz
        self.grad_b = dz.sum(axis=0, keepdims=True)
        return dy @ self.W.T


@wrong_softmax(step="dx", cause="wrong-activation-derivative", also=("missing-term",))
class SoftmaxDiagonalOnly(Softmax):
    def backward(self, g):
        return g * self.p * (1 - self.p)


@wrong_softmax(step="dx", cause="missing-term", subtle=True)
class SoftmaxWithoutItsSum(Softmax):
    def backward(self, g):
        return g * self.p


@wrong_softmax(step="dx", cause="wrong-operand", also=("missing-term", "transposed"), subtle=True)
class SoftmaxSummedOverTheBatch(Softmax):
    def backward(self, g):
        return self.p * (g - (g * self.p).sum(axis=0, keepdims=True))
