"""The training in JAX: ``python -m benchmarks.programs.mnist_jax FOLDER [--epochs N] [--seed S]``.

An epoch is one jitted call: the whole batches in a lax.scan, then the smaller last one.
The last line printed is the result in JSON.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.programs.dataset import read_folder
from benchmarks.programs.options import BATCH, HIDDEN, LEARNING_RATE, program_options
from benchmarks.sides.side import library
from benchmarks.workloads import ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON


def main() -> None:
    options = program_options(__doc__)
    jax: Any = library("jax")
    jnp = jax.numpy
    train_x, train_y, test_x, test_y = read_folder(options.folder)
    inputs, labels = jnp.asarray(train_x), jnp.asarray(train_y.astype(np.int32))

    def logits(weights: Any, x: Any) -> Any:
        for weight, bias in weights[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        weight, bias = weights[-1]
        return x @ weight + bias

    def loss_of(weights: Any, x: Any, y: Any) -> Any:
        z = logits(weights, x)
        return jnp.mean(jax.nn.logsumexp(z, axis=1) - jnp.take_along_axis(z, y[:, None], axis=1)[:, 0])

    def step(state: Any, batch: tuple[Any, Any]) -> tuple[Any, Any]:
        weights, first, second, count = state
        loss, gradients = jax.value_and_grad(loss_of)(weights, *batch)
        count = count + 1
        root = jnp.sqrt(1 - ADAM_BETA2**count)
        rate, epsilon = LEARNING_RATE * root / (1 - ADAM_BETA1**count), ADAM_EPSILON * root
        first = jax.tree.map(lambda m, g: m + (1 - ADAM_BETA1) * (g - m), first, gradients)
        second = jax.tree.map(lambda v, g: v + (1 - ADAM_BETA2) * (g * g - v), second, gradients)
        weights = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + epsilon), weights, first, second)
        return (weights, first, second, count), loss

    def run_epoch(state: Any, key: Any, inputs: Any, labels: Any) -> tuple[Any, Any]:
        order = jax.random.permutation(key, len(inputs))
        whole = len(inputs) // BATCH * BATCH
        batches = order[:whole].reshape(-1, BATCH)
        state, losses = jax.lax.scan(lambda s, rows: step(s, (inputs[rows], labels[rows])), state, batches)
        total = losses.sum() * BATCH
        rest = order[whole:]
        if len(rest):
            state, loss = step(state, (inputs[rest], labels[rest]))
            total += loss * len(rest)
        return state, total / len(inputs)

    sizes = (train_x.shape[1], *HIDDEN, int(train_y.max()) + 1)
    random = np.random.default_rng(options.seed)
    weights = [
        (
            jnp.asarray(random.standard_normal((n_in, n_out), dtype=np.float32) * np.float32((2 / n_in) ** 0.5)),
            jnp.zeros(n_out, jnp.float32),
        )
        for n_in, n_out in pairwise(sizes)
    ]
    zeros = jax.tree.map(jnp.zeros_like, weights)
    state = (weights, zeros, jax.tree.map(jnp.copy, zeros), jnp.float32(0))  # copied: each is donated
    epoch = jax.jit(run_epoch, donate_argnums=0)
    for number, key in enumerate(jax.random.split(jax.random.key(options.seed), options.epochs), 1):
        state, loss = epoch(state, key, inputs, labels)
        print(f"epoch {number}: loss {float(loss):.4f}")
    correct = jnp.argmax(jax.jit(logits)(state[0], jnp.asarray(test_x)), axis=1) == jnp.asarray(test_y.astype(np.int32))
    print(json.dumps({"test_accuracy": float(np.mean(np.asarray(correct)))}))


if __name__ == "__main__":
    main()
