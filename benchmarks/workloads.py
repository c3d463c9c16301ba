"""The workloads of the grid, and the data and initial weights shared by all sides.

Both come from the workload's seed alone, so every side starts from the same numbers in every process.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Activation = Literal["sigmoid", "relu", "tanh"]
Optimizer = Literal["sgd", "adam"]
Loss = Literal["cross_entropy", "binary_cross_entropy", "mse"]

ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Workload:
    """One training step to be timed: a fully connected network, its batch, loss and optimiser.

    `loss` is the mean over the examples (over all elements for mse); the two cross entropies take logits.
    Without an optimiser the step is forward and backward only, and the gradient of the input is wanted too: the
    layer stands for one in the middle of a network.
    """

    name: str
    layers: tuple[int, ...]
    activation: Activation
    batch: int
    optimizer: Optimizer | None
    loss: Loss
    learning_rate: float = 0.0
    batches: int = 1  # different batches in the data
    passes: int = 1  # times over the data that a side which runs whole epochs goes in one call
    dtype: str = "float32"
    seed: int = 0

    @property
    def epoch_steps(self) -> int:
        return self.batches * self.passes

    @property
    def input_gradient(self) -> bool:
        return self.optimizer is None

    def multiplies(self) -> list[tuple[int, int, int]]:
        """The matrix multiplies (rows, inner, columns) of one step, in the order in which they are run."""
        pairs = list(pairwise(self.layers))
        forward = [(self.batch, n_in, n_out) for n_in, n_out in pairs]
        weight_gradients = [(n_in, self.batch, n_out) for n_in, n_out in pairs]
        first_signal = 0 if self.input_gradient else 1  # the data needs no gradient
        signals = [(self.batch, n_out, n_in) for n_in, n_out in pairs[first_signal:]]
        return forward + weight_gradients + signals

    def flops(self) -> int:
        """Floating-point operations of one step, counting the matrix multiplies only (2 for a multiply-add)."""
        return sum(2 * m * k * n for m, k, n in self.multiplies())


@dataclass(frozen=True)
class Data:
    """Inputs (batches, batch, n_in), targets (batches, batch[, n_out]), first weights as (W, b) by layer.

    Targets are int64 class ids for cross entropy, float32 zeros and ones (batches, batch) for binary cross
    entropy, float32 for mse. A side copies the weights that it changes.
    """

    inputs: Array
    targets: NDArray[np.int64] | Array
    weights: list[tuple[Array, Array]]


def make_data(workload: Workload) -> Data:
    """Normal inputs, targets from a random linear teacher with noise, Glorot-normal weights, small biases."""
    random = np.random.default_rng(workload.seed)
    n_in, n_out = workload.layers[0], workload.layers[-1]
    inputs = random.standard_normal((workload.batches, workload.batch, n_in), dtype=np.float32)
    teacher = random.standard_normal((n_in, n_out), dtype=np.float32) / np.float32(np.sqrt(n_in))
    scores = inputs @ teacher
    scores += np.float32(0.3) * random.standard_normal(scores.shape, dtype=np.float32)
    targets: NDArray[np.int64] | Array
    if workload.loss == "cross_entropy":
        targets = scores.argmax(axis=-1).astype(np.int64)
    elif workload.loss == "binary_cross_entropy":
        targets = (scores[..., 0] > 0).astype(np.float32)
    else:
        targets = np.tanh(scores)
    weights = []
    for fan_in, fan_out in pairwise(workload.layers):
        scale = np.float32(np.sqrt(2.0 / (fan_in + fan_out)))
        weight = scale * random.standard_normal((fan_in, fan_out), dtype=np.float32)
        # Biases other than zero show a side that forgets them or their update.
        weights.append((weight, np.float32(0.01) * random.standard_normal(fan_out, dtype=np.float32)))
    return Data(inputs, targets, weights)


def _classifier(layers: tuple[int, ...], batch: int, optimizer: Optimizer, batches: int, passes: int = 1) -> Workload:
    name = f"{'-'.join(map(str, layers))}/b{batch}/{optimizer}"
    rate = 0.1 if optimizer == "sgd" else 1e-3
    return Workload(name, layers, "relu", batch, optimizer, "cross_entropy", rate, batches, passes)


# An epoch (batches x passes) is long where the step is so short that the start of an epoch would be seen, and short
# where the step takes milliseconds, so that both sides' blocks are of about the same length.
GRID: tuple[Workload, ...] = (
    Workload("2-4-1/b4/sgd", (2, 4, 1), "sigmoid", 4, "sgd", "binary_cross_entropy", 0.5, 256, 4),
    _classifier((8, 16, 2), 4, "sgd", 256, 4),
    _classifier((64, 32, 10), 32, "sgd", 256),
    _classifier((64, 32, 10), 32, "adam", 256),
    _classifier((20, 50, 100, 2), 64, "adam", 256),
    _classifier((100, 250, 250, 10), 64, "sgd", 64),
    _classifier((784, 128, 10), 32, "sgd", 256),
    _classifier((784, 128, 10), 32, "adam", 256),
    _classifier((784, 128, 10), 128, "sgd", 64),
    _classifier((784, 128, 10), 128, "adam", 64),
    _classifier((784, 512, 512, 10), 256, "sgd", 8),
    _classifier((784, 512, 512, 10), 256, "adam", 8),
    Workload("4-32-16-4/b10000/adam", (4, 32, 16, 4), "tanh", 10_000, "adam", "mse", 1e-3, 1, 16),
    Workload("1024-512/b256/gradients", (1024, 512), "relu", 256, None, "mse", 0.0, 4, 2),
)
QUICK = ("2-4-1", "64-32-10", "784-128-10/b128/adam")


def select(patterns: list[str]) -> list[Workload]:
    """The workloads whose name is a pattern or continues it after a slash: "784-128-10", "784-128-10/b32".

    Raises ValueError that lists the names when a pattern selects nothing.
    """
    chosen: list[Workload] = []
    for pattern in patterns:
        found = [w for w in GRID if w.name == pattern or w.name.startswith(pattern + "/")]
        if not found:
            raise ValueError(f"--workload: expected some of {', '.join(w.name for w in GRID)}, got {pattern!r}")
        chosen += [w for w in found if w not in chosen]
    return chosen
