"""The networks written for JAX: an epoch of steps in one jitted lax.scan; images have their channels last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.layers.workloads import ADAM_RATE, CONTEXT, FEATURES, HEADS, HIDDEN, INPUTS, SGD_RATE, WIDE, Training
from benchmarks.sides.side import Runner, library


def make(training: Training, threads: int) -> Runner:
    return Epochs(training)


class Epochs:
    """A runner whose run is an epoch in one call of a jitted scan over the batches."""

    def __init__(self, training: Training) -> None:
        self._jax = jax = library("jax")
        x, y = training.data()
        self.steps_per_run = len(x) // training.batch
        if x.ndim == 4:
            x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        self._batches = [jax.numpy.asarray(a.reshape(self.steps_per_run, training.batch, *a.shape[1:])) for a in (x, y)]
        networks = {"lenet": lenet, "cnn": cnn, "lstm": recurrent, "gru": recurrent, "gpt": gpt, "makemore": makemore}
        self._parameters, forward = networks[training.network](jax, Weights(jax), training.network)
        self._epoch = jax.jit(lambda state, x, y: jax.lax.scan(self._step(forward, training), state, (x, y)))
        self.reset()

    def _step(self, forward: Callable[[Any, Any], Any], training: Training) -> Callable[[Any, Any], Any]:
        jax = self._jax
        jnp, of_each = jax.numpy, jax.tree.map

        def loss_of(parameters: Any, x: Any, y: Any) -> Any:
            logarithms = jax.nn.log_softmax(forward(parameters, x))
            return -jnp.take_along_axis(logarithms, y[..., None], axis=-1).mean()

        def step(state: Any, batch: Any) -> Any:
            parameters, mean, square, t = state
            loss, g = jax.value_and_grad(loss_of)(parameters, *batch)
            if not training.adam:
                return (of_each(lambda p, g: p - SGD_RATE * g, parameters, g), mean, square, t), loss
            t = t + 1
            mean = of_each(lambda m, g: 0.9 * m + 0.1 * g, mean, g)
            square = of_each(lambda v, g: 0.999 * v + 0.001 * g * g, square, g)

            def moved(p: Any, m: Any, v: Any) -> Any:
                return p - ADAM_RATE * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8)

            return (of_each(moved, parameters, mean, square), mean, square, t), loss

        return step

    def reset(self) -> None:
        jnp = self._jax.numpy
        zeros = self._jax.tree.map(jnp.zeros_like, self._parameters)
        self._state = (self._parameters, zeros, zeros, jnp.zeros((), "float32"))

    def run(self, count: int) -> None:
        for _ in range(count):
            self._state, self._losses = self._epoch(self._state, *self._batches)

    def finish(self) -> None:
        self._jax.block_until_ready((self._state, self._losses))

    def losses(self) -> list[float]:
        return [float(loss) for loss in np.asarray(self._losses)]

    def gradients(self) -> list[Any]:
        return []


class Weights:
    """Draws parameters: normal ones, scaled by the number of inputs, zeros and ones."""

    def __init__(self, jax: Any) -> None:
        self._jnp, self._rng = jax.numpy, np.random.default_rng(0)

    def __call__(self, *shape: int) -> Any:
        scale = np.prod(shape[:-1]) ** -0.5
        return self._jnp.asarray(self._rng.standard_normal(shape, dtype=np.float32) * np.float32(scale))

    def affine(self, inputs: int, outputs: int) -> Any:
        return self(inputs, outputs), self._jnp.zeros(outputs)

    def scale(self, count: int) -> Any:
        return self._jnp.ones(count), self._jnp.zeros(count)


def lenet(jax: Any, draw: Weights, name: str) -> Any:
    sizes = ((400, 120), (120, 84), (84, 10))
    parameters = {
        "kernels": [(draw(5, 5, 1, 6), jax.numpy.zeros(6)), (draw(5, 5, 6, 16), jax.numpy.zeros(16))],
        "layers": [draw.affine(*size) for size in sizes],
    }

    def forward(p: Any, x: Any) -> Any:
        for (kernel, bias), padding in zip(p["kernels"], ("SAME", "VALID"), strict=True):
            x = pooled(jax, jax.nn.relu(convolved(jax, x, kernel, padding) + bias))
        return perceptron(jax, p["layers"], x)

    return parameters, forward


def cnn(jax: Any, draw: Weights, name: str) -> Any:
    jnp = jax.numpy
    parameters = {
        "kernels": [(draw(3, 3, a, b), jnp.zeros(b), *draw.scale(b)) for a, b in ((1, 32), (32, 64))],
        "layers": [draw.affine(64 * 49, 128), draw.affine(128, 10)],
    }

    def forward(p: Any, x: Any) -> Any:
        for kernel, bias, scale, shift in p["kernels"]:
            z = convolved(jax, x, kernel, "SAME") + bias
            z = (z - z.mean((0, 1, 2))) / jnp.sqrt(z.var((0, 1, 2)) + 1e-5)
            x = pooled(jax, jax.nn.relu(z * scale + shift))
        return perceptron(jax, p["layers"], x)

    return parameters, forward


def makemore(jax: Any, draw: Weights, name: str) -> Any:
    parameters = {"characters": draw(27, 10), "layers": [draw.affine(80, 200), draw.affine(200, 27)]}

    def forward(p: Any, x: Any) -> Any:
        (W1, b1), (W2, b2) = p["layers"]
        return jax.numpy.tanh(p["characters"][x].reshape(len(x), -1) @ W1 + b1) @ W2 + b2

    return parameters, forward


def recurrent(jax: Any, draw: Weights, name: str) -> Any:
    jnp, sigmoid = jax.numpy, jax.nn.sigmoid
    gates = (4 if name == "lstm" else 3) * HIDDEN
    parameters = {
        "in": draw.affine(INPUTS, gates),
        "hidden": draw.affine(HIDDEN, gates),
        "out": draw.affine(HIDDEN, 10),
    }

    def lstm(hidden: Any, carry: Any, u: Any) -> Any:
        (h, c), (U, b) = carry, hidden
        i, f, g, o = jnp.split(u + h @ U + b, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
        return (sigmoid(o) * jnp.tanh(c), c), None

    def gru(hidden: Any, carry: Any, u: Any) -> Any:
        (h, c), (U, b) = carry, hidden
        (r, z, n), (of_r, of_z, of_n) = (jnp.split(a, 3, axis=1) for a in (u, h @ U + b))
        z = sigmoid(z + of_z)
        return ((1 - z) * jnp.tanh(n + sigmoid(r + of_r) * of_n) + z * h, c), None

    def forward(p: Any, x: Any) -> Any:
        W, b = p["in"]
        start = jnp.zeros((len(x), HIDDEN))
        step = lstm if name == "lstm" else gru
        (h, _), _ = jax.lax.scan(
            lambda carry, u: step(p["hidden"], carry, u), (start, start), jnp.swapaxes(x @ W + b, 0, 1)
        )
        return h @ p["out"][0] + p["out"][1]

    return parameters, forward


def gpt(jax: Any, draw: Weights, name: str) -> Any:
    jnp = jax.numpy
    parameters = {
        "characters": draw(65, FEATURES),
        "places": jnp.zeros((CONTEXT, FEATURES)),
        "blocks": [
            {
                "norms": [draw.scale(FEATURES), draw.scale(FEATURES)],
                "in": draw.affine(FEATURES, 3 * FEATURES),
                "out": draw.affine(FEATURES, FEATURES),
                "wide": [draw.affine(FEATURES, WIDE), draw.affine(WIDE, FEATURES)],
            }
            for _ in range(2)
        ],
        "norm": draw.scale(FEATURES),
        "out": draw.affine(FEATURES, 65),
    }
    seen = jnp.tril(jnp.ones((CONTEXT, CONTEXT), bool))

    def normal(x: Any, scale: Any) -> Any:
        return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5) * scale[0] + scale[1]

    def attention(p: Any, x: Any) -> Any:
        m, T, _ = x.shape
        parts = jnp.split(x @ p["in"][0] + p["in"][1], 3, axis=-1)
        q, k, v = (part.reshape(m, T, HEADS, -1).transpose(0, 2, 1, 3) for part in parts)
        scores = jnp.where(seen, q @ k.swapaxes(-1, -2) / (FEATURES // HEADS) ** 0.5, -jnp.inf)
        joined = (jax.nn.softmax(scores) @ v).transpose(0, 2, 1, 3).reshape(x.shape)
        return joined @ p["out"][0] + p["out"][1]

    def forward(p: Any, x: Any) -> Any:
        h = p["characters"][x] + p["places"]
        for block in p["blocks"]:
            h = h + attention(block, normal(h, block["norms"][0]))
            (W1, b1), (W2, b2) = block["wide"]
            h = h + jax.nn.gelu(normal(h, block["norms"][1]) @ W1 + b1, approximate=False) @ W2 + b2
        return normal(h, p["norm"]) @ p["out"][0] + p["out"][1]

    return parameters, forward


def convolved(jax: Any, x: Any, kernel: Any, padding: str) -> Any:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def pooled(jax: Any, x: Any) -> Any:
    return jax.lax.reduce_window(x, -jax.numpy.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def perceptron(jax: Any, layers: Any, x: Any) -> Any:
    x = x.reshape(len(x), -1)
    for W, b in layers[:-1]:
        x = jax.nn.relu(x @ W + b)
    return x @ layers[-1][0] + layers[-1][1]
