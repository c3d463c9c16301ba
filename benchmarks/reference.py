"""The training step in float64 NumPy, written to be read: what every side has to agree with before it is timed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.workloads import ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON, Data, Workload

Array = NDArray[np.float64]


def loss_and_gradients(
    workload: Workload, weights: list[tuple[Array, Array]], x: Array, y: NDArray[np.generic]
) -> tuple[float, list[tuple[Array, Array]], Array]:
    """The loss, the gradients (dW, db) by layer, and the gradient of the input."""
    activations = [x]
    for layer, (weight, bias) in enumerate(weights):
        z = activations[-1] @ weight + bias
        activations.append(z if layer == len(weights) - 1 else _activate(workload, z))
    loss, dz = _loss(workload, activations[-1], y)
    gradients: list[tuple[Array, Array]] = []
    for layer in reversed(range(len(weights))):
        gradients.insert(0, (activations[layer].T @ dz, dz.sum(axis=0)))
        da = dz @ weights[layer][0].T
        if layer > 0:
            dz = da * _slope(workload, activations[layer])
    return loss, gradients, da


def losses(workload: Workload, data: Data, steps: int) -> list[float]:
    """The loss of each of the first `steps` steps, each taken before the update of its step."""
    parameters = [p.astype(np.float64) for pair in data.weights for p in pair]
    first = [np.zeros_like(p) for p in parameters]
    second = [np.zeros_like(p) for p in parameters]
    found = []
    for step in range(steps):
        x = data.inputs[step % workload.batches].astype(np.float64)
        y = data.targets[step % workload.batches]
        pairs = list(zip(parameters[::2], parameters[1::2], strict=True))
        loss, gradients, _ = loss_and_gradients(workload, pairs, x, y)
        found.append(loss)
        for i, g in enumerate(g for pair in gradients for g in pair):
            if workload.optimizer == "sgd":
                parameters[i] = parameters[i] - workload.learning_rate * g
            elif workload.optimizer == "adam":
                first[i] = ADAM_BETA1 * first[i] + (1 - ADAM_BETA1) * g
                second[i] = ADAM_BETA2 * second[i] + (1 - ADAM_BETA2) * g**2
                m = first[i] / (1 - ADAM_BETA1 ** (step + 1))
                v = second[i] / (1 - ADAM_BETA2 ** (step + 1))
                parameters[i] = parameters[i] - workload.learning_rate * m / (np.sqrt(v) + ADAM_EPSILON)
    return found


def gradients(workload: Workload, data: Data, batch: int) -> list[Array]:
    """The gradients that a step without an optimiser leaves, for one batch: input, then W and b by layer."""
    weights = [(w.astype(np.float64), b.astype(np.float64)) for w, b in data.weights]
    x = data.inputs[batch].astype(np.float64)
    _, by_layer, dx = loss_and_gradients(workload, weights, x, data.targets[batch])
    return [dx, *(g for pair in by_layer for g in pair)]


def _activate(workload: Workload, z: Array) -> Array:
    if workload.activation == "relu":
        return np.maximum(z, 0)
    return np.tanh(z) if workload.activation == "tanh" else 1 / (1 + np.exp(-z))


def _slope(workload: Workload, a: Array) -> Array:
    """The activation's derivative, seen from its output."""
    if workload.activation == "relu":
        return (a > 0).astype(np.float64)
    return 1 - a**2 if workload.activation == "tanh" else a * (1 - a)


def _loss(workload: Workload, z: Array, y: NDArray[np.generic]) -> tuple[float, Array]:
    """The loss of the last layer's output and its gradient there."""
    examples = len(z)
    if workload.loss == "mse":
        difference = z - y.astype(np.float64)
        return float(np.mean(difference**2)), 2 * difference / difference.size
    if workload.loss == "binary_cross_entropy":
        target = y.astype(np.float64)[:, None]
        return float(np.mean(np.logaddexp(0, z) - target * z)), (1 / (1 + np.exp(-z)) - target) / examples
    shifted = z - z.max(axis=1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    one_hot = np.eye(z.shape[1])[y.astype(np.int64)]
    return float(-np.sum(one_hot * log_probability) / examples), (np.exp(log_probability) - one_hot) / examples
