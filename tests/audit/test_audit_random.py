"""Networks made at random: right passes in any convention are never blamed, any mistake is found, at its step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.audit.report import WRONG
from tests.tables import slow, some

ACTIVATIONS = {
    "tanh": (np.tanh, lambda z, a: 1 - a**2),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z, a: a * (1 - a)),
    "relu": (lambda z: np.maximum(0, z), lambda z, a: (z > 0) * 1.0),
    "leaky": (lambda z: np.where(z > 0, z, 0.1 * z), lambda z, a: np.where(z > 0, 1.0, 0.1)),
    "softplus": (lambda z: np.log(1 + np.exp(z)), lambda z, a: 1 / (1 + np.exp(-z))),
    "linear": (lambda z: z * 1.0, lambda z, a: np.ones_like(z)),
}
#: name -> which step it spoils, given the number of a layer.
MUTATIONS = {
    "derivative left out": "dZ",
    "derivative twice": "dZ",
    "noise in the signal": "dZ",
    "weights transposed in memory": "dA",
    "other sign": "dW",
    "one entry": "dW",
    "no mean": "dW",
    "one example": "db",
}


@dataclass
class Network:
    widths: list[int]
    activations: list[str]
    rows: bool
    loss: str
    early: bool  # the 1/m is in the error signal
    vectors: bool  # biases as vectors
    kept: tuple[bool, ...]  # which signals are returned
    mutation: tuple[str, int] | None = None

    @property
    def depth(self):
        return len(self.widths) - 1

    def forward(self, X, p):
        cache = {"A0": X}
        A = X
        for i in range(1, self.depth + 1):
            b = p[f"b{i}"]
            b = b[:, None] if self.vectors and not self.rows else b
            Z = A @ p[f"W{i}"] + b if self.rows else p[f"W{i}"] @ A + b
            A = ACTIVATIONS[self.activations[i - 1]][0](Z)
            cache[f"Z{i}"], cache[f"A{i}"] = Z, A
        return cache

    def loss_of(self, A, Y):
        m = Y.shape[0 if self.rows else 1]
        return {
            "half": lambda: np.sum((A - Y) ** 2) / (2 * m),
            "mean": lambda: np.mean((A - Y) ** 2),
            "sum": lambda: np.sum((A - Y) ** 2),
        }[self.loss]()

    def scale(self, Y, m):
        return {"half": 1.0, "mean": 2.0 * m / Y.size, "sum": 2.0}[self.loss]

    def backward(self, c, Y, p):
        axis = 0 if self.rows else 1
        m = Y.shape[axis]
        mean = m if self.loss != "sum" else 1
        now, later = (mean, 1) if self.early else (1, mean)
        grads = {}
        dA = self.scale(Y, m) * (c[f"A{self.depth}"] - Y) / now
        for i in range(self.depth, 0, -1):
            wrong = self.mutation[0] if self.mutation and self.mutation[1] == i else ""
            Z, A, W = c[f"Z{i}"], c[f"A{i}"], p[f"W{i}"]
            slope = ACTIVATIONS[self.activations[i - 1]][1](Z, A)
            dZ = dA * slope
            if wrong == "derivative left out":
                dZ = dA
            if wrong == "derivative twice":
                dZ = dZ * slope
            if wrong == "noise in the signal":
                dZ = dZ * (1 + 0.01 * np.sin(17 * Z))
            before = c[f"A{i - 1}"]
            dW = (before.T @ dZ if self.rows else dZ @ before.T) / later
            db = np.sum(dZ, axis=axis, keepdims=not self.vectors) / later
            if wrong == "other sign":
                dW = -dW
            if wrong == "one entry":
                dW[0, 0] *= 1.001
            if wrong == "no mean":
                dW = dW * m
            if wrong == "one example":
                db = np.sum(dZ[1:] if self.rows else dZ[:, 1:], axis=axis, keepdims=not self.vectors) / later
            dA = dZ @ W.T if self.rows else W.T @ dZ
            if wrong == "weights transposed in memory":
                dA = dZ @ W.reshape(W.T.shape) if self.rows else W.reshape(W.T.shape) @ dZ
            if self.kept[i - 1] or wrong:
                grads[f"dZ{i}"] = dZ
            grads[f"dW{i}"], grads[f"db{i}"] = dW, db
            if i > 1 and (self.kept[i - 1] or wrong):
                grads[f"dA{i - 1}"] = dA
        return grads

    def data(self, seed):
        rng = np.random.default_rng(seed)
        p = {}
        for i in range(1, self.depth + 1):
            n, k = self.widths[i - 1 : i + 1]
            W, b = rng.normal(size=(n, k)) / np.sqrt(n), 0.1 * rng.normal(size=k)
            p[f"W{i}"] = W if self.rows else W.T
            p[f"b{i}"] = b if self.vectors else (b[None] if self.rows else b[:, None])
        X, Y = rng.normal(size=(8, self.widths[0])), rng.normal(size=(8, self.widths[-1]))
        return (p, X, Y) if self.rows else (p, X.T, Y.T)

    def audited(self, seed):
        p, X, Y = self.data(seed)
        return cr.audit(self.backward, forward=self.forward, loss=self.loss_of, parameters=p, X=X, Y=Y)


@st.composite
def networks(draw):
    depth = draw(st.integers(1, 3))
    return Network(
        [draw(st.integers(2, 6)) for _ in range(depth + 1)],
        [draw(st.sampled_from(sorted(ACTIVATIONS))) for _ in range(depth)],
        draw(st.booleans()),
        draw(st.sampled_from(["half", "mean", "sum"])),
        draw(st.booleans()),
        draw(st.booleans()),
        tuple(draw(st.booleans()) for _ in range(depth)),
    )


def rounds(examples):
    return settings(
        max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
    )


#: The same property with a few networks in every run of the tests, and with many in the slow ones.
FEW_AND_MANY = pytest.mark.parametrize("examples", [3, slow(some(60))])


@FEW_AND_MANY
def test_right_passes_are_never_blamed(examples):
    @rounds(examples)
    @given(networks(), st.integers(0, 5))
    def holds(network, seed):
        report = network.audited(seed)
        assert report.ok, f"{network}\n{report}"

    holds()


@FEW_AND_MANY
def test_a_mistake_is_always_found_at_its_step(examples):
    @rounds(examples)
    @given(networks(), st.integers(0, 5), st.sampled_from(sorted(MUTATIONS)), st.integers(1, 3))
    def holds(network, seed, mutation, layer):
        check_that_it_is_found(network, seed, mutation, layer)

    holds()


def check_that_it_is_found(network, seed, mutation, layer):
    layer = min(layer, network.depth)
    linear = network.activations[layer - 1] in ("linear", "relu")
    if mutation in ("derivative twice", "derivative left out") and linear:
        return  # 1² = 1: not wrong
    if mutation == "no mean" and network.loss == "sum":
        return
    if mutation == "weights transposed in memory" and (layer == 1 or 1 in network.data(0)[0][f"W{layer}"].shape):
        return
    network.mutation = (mutation, layer)
    report = network.audited(seed)
    step = MUTATIONS[mutation] + str(layer - 1 if mutation.startswith("weights") else layer)
    assert not report.ok, f"{network}\n{report}"
    assert report.findings[0].name == step, f"{network}\n{report}"
    assert [s.name for s in report.steps if s.verdict == WRONG] == [step], f"{network}\n{report}"
