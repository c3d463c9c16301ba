"""Layers as classes, gradients in attributes: dW, as many write; accumulated or not, scaled or not."""

import numpy as np

from benchmarks.backward_passes.cases import module


class Dense:
    """y = x W + b, examples in rows."""

    def __init__(self, n_in, n_out):
        rng = np.random.default_rng(0)
        self.W = rng.normal(size=(n_in, n_out)) / np.sqrt(n_in)
        self.b = 0.1 * rng.normal(size=n_out)
        self.dW = np.zeros_like(self.W)
        self.db = np.zeros_like(self.b)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b


class TanhDense(Dense):
    """y = tanh(x W + b)."""

    def forward(self, x):
        self.x = x
        self.z = x @ self.W + self.b
        self.a = np.tanh(self.z)
        return self.a


class LeakyReLU:
    """y = x where x > 0, else slope · x."""

    def __init__(self, slope=0.1):
        self.slope = slope

    def forward(self, x):
        self.x = x
        return np.where(x > 0, x, self.slope * x)


def square(cls):
    return cls(8, 8)


def tall(cls):
    return cls(6, 3)


def batch():
    return (np.random.default_rng(1).normal(size=(8, 8)),)


def narrow_batch():
    return (np.random.default_rng(2).normal(size=(12, 6)),)


names = {"W": "dW", "b": "db"}
wrong, right = module(square, batch, names)
wrong_tanh, right_tanh = module(tall, narrow_batch, names)
wrong_leaky, right_leaky = module(lambda cls: cls(), batch, {})


@right(convention="einsum, gradients set anew, a bias as a row")
class DenseByEinsum(Dense):
    def backward(self, dout):
        self.dW = np.einsum("ni,no->io", self.x, dout)
        self.db = np.einsum("no->o", dout)
        return np.einsum("no,io->ni", dout, self.W)


@right_tanh(convention="the derivative at the pre-activation, the gradients written in place")
class TanhDenseInPlace(TanhDense):
    def backward(self, dout):
        dz = dout / np.cosh(self.z) ** 2
        np.matmul(self.x.T, dz, out=self.dW)
        np.sum(dz, axis=0, out=self.db)
        return dz @ self.W.T


@right_leaky(convention="a slope array that is multiplied")
class LeakyBySlopes(LeakyReLU):
    def backward(self, dout):
        slopes = np.ones_like(self.x)
        slopes[self.x <= 0] = self.slope
        return dout * slopes


@wrong(step="backward", cause="accumulates", or_step=("dW",), subtle=True)
class DenseThatAdds(Dense):
    def backward(self, dout):
        self.dW += self.x.T @ dout
        self.db += dout.sum(axis=0)
        return dout @ self.W.T


@wrong(step="dx", cause="transposed", subtle=True)
class DenseWithoutTranspose(Dense):
    def backward(self, dout):
        self.dW = self.x.T @ dout
        self.db = dout.sum(axis=0)
        return dout @ self.W


@wrong(step="dW", cause="double-mean", also=("constant-factor",), or_step=("db",))
class DenseWithAMeanOfItsOwn(Dense):
    def backward(self, dout):
        N = dout.shape[0]
        self.dW = np.dot(self.x.T, dout) / N
        self.db = np.mean(dout, axis=0)
        return np.dot(dout, self.W.T)


@wrong(step="dx", cause="updated-weights", also=("mutates-input",))
class DenseThatLearnsInBackward(Dense):
    lr = 0.1

    def backward(self, dout):
        self.dW = self.x.T @ dout
        self.db = dout.sum(axis=0)
        self.W = self.W - self.lr * self.dW
        self.b = self.b - self.lr * self.db
        return dout @ self.W.T


@wrong_tanh(step="dW", cause="missing-activation-derivative", or_step=("db",), subtle=True)
class TanhOnlyForTheInput(TanhDense):
    def backward(self, dout):
        self.dW = self.x.T @ dout
        self.db = dout.sum(axis=0)
        return (dout * (1 - self.a**2)) @ self.W.T


@wrong_tanh(step="dx", cause="derivative-applied-twice", also=("missing-factor",), subtle=True)
class TanhTwiceForTheInput(TanhDense):
    def backward(self, dout):
        dz = dout * (1 - self.a**2)
        self.dW = self.x.T @ dz
        self.db = dz.sum(axis=0)
        dz = dz * (1 - self.a**2)
        return dz @ self.W.T


@wrong_leaky(step="dx", cause="wrong-activation-derivative", also=("missing-term",), subtle=True)
class LeakyWithoutItsLeak(LeakyReLU):
    def backward(self, dout):
        return dout * (self.x > 0)


@wrong_leaky(step="backward", cause="mutates-input", subtle=True)
class LeakyInPlace(LeakyReLU):
    def backward(self, dout):
        dout[self.x <= 0] *= self.slope
        return dout
