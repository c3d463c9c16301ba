"""The loss of a workload as a plain NumPy function, and updates in place: for sides that differentiate NumPy code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.sides.side import StepByStep
from benchmarks.workloads import ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON, Data, Workload

LossOfLogits = Callable[[Any, Any], Any]


def loss_function(
    workload: Workload, numpy: Any, cross_entropy: LossOfLogits, binary_cross_entropy: LossOfLogits
) -> Callable[[Any, Any, Any], Any]:
    """``loss(weights, x, y)`` with weights as [(W, b), …]; `numpy` is the module whose functions it calls.

    The two cross entropies are the side's own, on logits (batch, classes) and (batch,).
    """

    def activate(z: Any) -> Any:
        if workload.activation == "relu":
            return numpy.maximum(z, 0)
        return numpy.tanh(z) if workload.activation == "tanh" else 1 / (1 + numpy.exp(-z))

    def loss(weights: Any, x: Any, y: Any) -> Any:
        a = x
        for weight, bias in weights[:-1]:
            a = activate(a @ weight + bias)
        weight, bias = weights[-1]
        z = a @ weight + bias
        if workload.loss == "mse":
            return numpy.mean((z - y) ** 2)
        if workload.loss == "binary_cross_entropy":
            return binary_cross_entropy(z[:, 0], y)
        return cross_entropy(z, y)

    return loss


class InPlaceUpdate:
    """SGD or Adam, array by array and in place, as one writes them next to a function that returns gradients."""

    def __init__(self, workload: Workload, data: Data) -> None:
        self._workload = workload
        self._data = data
        self.weights = [(weight.copy(), bias.copy()) for weight, bias in data.weights]
        self._parameters = [p for pair in self.weights for p in pair]
        self._first = [np.zeros_like(p) for p in self._parameters]
        self._second = [np.zeros_like(p) for p in self._parameters]
        self._work = [(np.empty_like(p), np.empty_like(p)) for p in self._parameters]
        self._steps = 0

    def reset(self) -> None:
        self._steps = 0
        first = [p for pair in self._data.weights for p in pair]
        for i, parameter in enumerate(self._parameters):
            np.copyto(parameter, first[i])
            self._first[i].fill(0)
            self._second[i].fill(0)

    def __call__(self, gradients: Any) -> None:
        """Update the weights from the gradients [(dW, db), …]."""
        flat = [g for pair in gradients for g in pair]
        if self._workload.optimizer == "sgd":
            for p, g, (work, _) in zip(self._parameters, flat, self._work, strict=True):
                np.multiply(g, np.float32(self._workload.learning_rate), out=work)
                np.subtract(p, work, out=p)
        elif self._workload.optimizer == "adam":
            self._adam(flat)

    def _adam(self, gradients: list[NDArray[np.float32]]) -> None:
        self._steps += 1
        beta1, beta2 = np.float32(ADAM_BETA1), np.float32(ADAM_BETA2)
        root = (1 - ADAM_BETA2**self._steps) ** 0.5  # of the second moment's correction, moved to rate and epsilon
        rate = np.float32(self._workload.learning_rate * root / (1 - ADAM_BETA1**self._steps))
        epsilon = np.float32(ADAM_EPSILON * root)
        for p, g, m, v, (work, square) in zip(
            self._parameters, gradients, self._first, self._second, self._work, strict=True
        ):
            np.subtract(g, m, out=work)
            np.multiply(work, 1 - beta1, out=work)
            np.add(m, work, out=m)
            np.multiply(g, g, out=square)
            np.subtract(square, v, out=square)
            np.multiply(square, 1 - beta2, out=square)
            np.add(v, square, out=v)
            np.sqrt(v, out=square)
            np.add(square, epsilon, out=square)
            np.divide(m, square, out=work)
            np.multiply(work, rate, out=work)
            np.subtract(p, work, out=p)


def steps_by_gradient(workload: Workload, data: Data, value_and_grad: Any) -> StepByStep:
    """A runner for ``loss, gradients = value_and_grad(weights, x, y)``, the input's gradient after the weights'."""
    update = InPlaceUpdate(workload, data)
    last: Any = None

    def step(x: Any, y: Any) -> Any:
        loss, gradients = value_and_grad(update.weights, x, y)
        update(gradients)
        return loss

    def gradients_only(x: Any, y: Any) -> Any:
        nonlocal last
        loss, last = value_and_grad(update.weights, x, y)
        return loss

    def gradients() -> list[Any]:
        by_layer, dx = last
        return [dx, *(g for pair in by_layer for g in pair)]

    return StepByStep(
        gradients_only if workload.input_gradient else step,
        list(zip(data.inputs, data.targets, strict=True)),
        update.reset,
        gradients,
    )
