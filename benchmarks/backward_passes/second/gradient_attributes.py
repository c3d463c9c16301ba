"""Modules whose arrays carry .g, of an activation and of a scale with a shift; one class that is a residual block."""

import numpy as np

from benchmarks.backward_passes.cases import module


class Traced(np.ndarray):
    """An array with room for .g."""


def traced(a):
    return a if hasattr(a, "__dict__") else np.asarray(a).view(Traced)


class Node:
    def __call__(self, *args):
        self.args = [traced(a) for a in args]
        self.out = traced(self.forward(*self.args))
        return self.out

    def backward(self):
        self.bwd(self.out, *self.args)


class Affine(Node):
    """out = inp · scale + shift, feature by feature."""

    def __init__(self):
        rng = np.random.default_rng(80)
        self.scale = traced(rng.normal(size=5))
        self.shift = traced(rng.normal(size=5))

    def forward(self, inp):
        return inp * self.scale + self.shift


class Block:
    """y = x + tanh(x W1) W2."""

    def __init__(self):
        rng = np.random.default_rng(90)
        self.W1 = rng.normal(size=(5, 5)) / 2
        self.W2 = rng.normal(size=(5, 5)) / 2
        self.grad_W1 = self.grad_W2 = None

    def forward(self, x):
        self.x, self.h = x, np.tanh(x @ self.W1)
        return x + self.h @ self.W2


def plain(cls):
    return cls()


def batch():
    return (np.random.default_rng(95).normal(size=(5, 5)),)


wrong, right = module(plain, batch, {"scale": "scale.g", "shift": "shift.g"})
wrong_block, right_block = module(plain, batch, {"W1": "grad_W1", "W2": "grad_W2"})


@right(convention=".g on everything, sums by multiplying with ones")
class AffineByOnes(Affine):
    def bwd(self, out, inp):
        ones = np.ones(len(inp))
        self.scale.g = ones @ (out.g * inp)
        self.shift.g = ones @ out.g
        inp.g = out.g * self.scale


@wrong(step="dscale", cause="bias-not-summed", also=("transposed", "wrong-operand", "wrong-shape"), subtle=True)
class AffineSummedAlongTheFeatures(Affine):
    def bwd(self, out, inp):
        self.scale.g = (out.g * inp).sum(1)
        self.shift.g = out.g.sum(0)
        inp.g = out.g * self.scale


@wrong(step="dinp", cause="missing-factor")
class AffineThatForgetsItsScale(Affine):
    def bwd(self, out, inp):
        self.scale.g = (out.g * inp).sum(0)
        self.shift.g = out.g.sum(0)
        inp.g = out.g.copy()


@wrong_block(step="dx", cause="missing-term")
class BlockWithoutItsShortcut(Block):
    def backward(self, dout):
        self.grad_W2 = self.h.T @ dout
        dz = dout @ self.W2.T * (1 - self.h**2)
        self.grad_W1 = self.x.T @ dz
        return dz @ self.W1.T


@wrong_block(step="dW2", cause="sign")
class BlockThatDescends(Block):
    def backward(self, dout):
        self.grad_W2 = -self.h.T @ dout
        dz = dout @ self.W2.T * (1 - self.h**2)
        self.grad_W1 = self.x.T @ dz
        return dout + dz @ self.W1.T
