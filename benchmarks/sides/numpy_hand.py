"""An optimised training step written by hand in NumPy.

What makes it fast, each measured: every operation has ``out=`` and its buffer is made once; parameters and gradients
lie in one flat array each, so the update is a few calls for the whole network; constants are zero-dimensional float32
arrays (a Python number costs 0.7 µs a call); ReLU takes the maximum with an array of zeros (2.5 times faster
than with a number); sums over examples are products with ones; the output layer lies transposed, classes in rows,
because NumPy is slow in reductions and broadcasts along a short last axis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.sides.side import StepByStep, Unsupported
from benchmarks.workloads import ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON, Data, Workload

Array = NDArray[np.float32]
Step = Callable[[Array, NDArray[Any]], Any]


def constant(value: float) -> Array:
    return np.array(value, np.float32)


def make(workload: Workload, data: Data, threads: int) -> StepByStep:
    parameters, weights = _flat(data)
    first = parameters.copy()
    gradients, weight_gradients = _flat(data)
    update, forget = _update(workload, parameters, gradients)
    input_gradient = np.empty((workload.batch, workload.layers[0]), np.float32)

    def restore() -> None:
        np.copyto(parameters, first)
        forget()

    if len(weights) == 1:
        step = _one_layer(workload, weights, weight_gradients, input_gradient)
    elif len(weights) == 2:
        step = _two_layers(workload, weights, weight_gradients, update)
    elif len(weights) == 3:
        step = _three_layers(workload, weights, weight_gradients, update)
    else:
        raise Unsupported(f"written by hand for one to three layers, not for {len(weights)}")
    return StepByStep(
        step,
        list(zip(data.inputs, data.targets, strict=True)),
        restore,
        lambda: [input_gradient, *(g for pair in weight_gradients for g in pair)],
    )


def _flat(data: Data) -> tuple[Array, list[tuple[Array, Array]]]:
    """All parameters in one array, and the (W, b) of each layer as views of it."""
    flat = np.concatenate([p.ravel() for pair in data.weights for p in pair])
    views, start = [], 0
    for weight, bias in data.weights:
        middle, end = start + weight.size, start + weight.size + bias.size
        views.append((flat[start:middle].reshape(weight.shape), flat[middle:end]))
        start = end
    return flat, views


def _one_layer(
    workload: Workload,
    weights: list[tuple[Array, Array]],
    gradients: list[tuple[Array, Array]],
    dx: Array,
) -> Step:
    """Forward and backward of one linear layer; rows, because its output is wide."""
    if workload.loss != "mse" or workload.optimizer is not None:
        raise Unsupported("one layer is written by hand for mse without an optimiser only")
    ((w, b),), ((dw, db),) = weights, gradients
    z = np.empty((workload.batch, workload.layers[-1]), np.float32)
    ones = np.ones(workload.batch, np.float32)
    size, slope = constant(z.size), constant(2 / z.size)
    flat = z.reshape(-1)

    def step(x: Array, y: Array) -> Any:
        np.dot(x, w, z)
        np.add(z, b, z)
        np.subtract(z, y, z)
        loss = np.dot(flat, flat) / size
        np.multiply(z, slope, z)
        np.dot(x.T, z, dw)
        np.dot(ones, z, db)
        np.dot(z, w.T, dx)
        return loss

    return step


def _two_layers(
    workload: Workload,
    weights: list[tuple[Array, Array]],
    gradients: list[tuple[Array, Array]],
    update: Callable[[], None],
) -> Step:
    (w1, b1), (w2, b2) = weights
    (dw1, db1), (dw2, db2) = gradients
    activate, slope = _activation(workload, workload.layers[1])
    a1, da1 = (np.empty((workload.batch, workload.layers[1]), np.float32) for _ in range(2))
    z2 = np.empty((workload.layers[2], workload.batch), np.float32)
    loss_and_signal = _loss(workload, z2)
    ones = np.ones(workload.batch, np.float32)
    w2_rows, z2_rows, a1_columns, b2_column = w2.T, z2.T, a1.T, b2[:, None]

    def step(x: Array, y: NDArray[Any]) -> Any:
        np.dot(x, w1, a1)
        np.add(a1, b1, a1)
        activate(a1)
        np.dot(w2_rows, a1_columns, z2)
        np.add(z2, b2_column, z2)
        loss = loss_and_signal(y)  # z2 now holds dz2
        np.dot(a1_columns, z2_rows, dw2)
        np.dot(z2, ones, db2)
        np.dot(z2_rows, w2_rows, da1)
        slope(a1, da1)
        np.dot(x.T, da1, dw1)
        np.dot(ones, da1, db1)
        update()
        return loss

    return step


def _three_layers(
    workload: Workload,
    weights: list[tuple[Array, Array]],
    gradients: list[tuple[Array, Array]],
    update: Callable[[], None],
) -> Step:
    (w1, b1), (w2, b2), (w3, b3) = weights
    (dw1, db1), (dw2, db2), (dw3, db3) = gradients
    activate1, slope1 = _activation(workload, workload.layers[1])
    activate2, slope2 = _activation(workload, workload.layers[2])
    a1, da1 = (np.empty((workload.batch, workload.layers[1]), np.float32) for _ in range(2))
    a2, da2 = (np.empty((workload.batch, workload.layers[2]), np.float32) for _ in range(2))
    z3 = np.empty((workload.layers[3], workload.batch), np.float32)
    loss_and_signal = _loss(workload, z3)
    ones = np.ones(workload.batch, np.float32)
    w3_rows, z3_rows, a2_columns, b3_column = w3.T, z3.T, a2.T, b3[:, None]

    def step(x: Array, y: NDArray[Any]) -> Any:
        np.dot(x, w1, a1)
        np.add(a1, b1, a1)
        activate1(a1)
        np.dot(a1, w2, a2)
        np.add(a2, b2, a2)
        activate2(a2)
        np.dot(w3_rows, a2_columns, z3)
        np.add(z3, b3_column, z3)
        loss = loss_and_signal(y)  # z3 now holds dz3
        np.dot(a2_columns, z3_rows, dw3)
        np.dot(z3, ones, db3)
        np.dot(z3_rows, w3_rows, da2)
        slope2(a2, da2)
        np.dot(a1.T, da2, dw2)
        np.dot(ones, da2, db2)
        np.dot(da2, w2.T, da1)
        slope1(a1, da1)
        np.dot(x.T, da1, dw1)
        np.dot(ones, da1, db1)
        update()
        return loss

    return step


def _activation(workload: Workload, width: int) -> tuple[Callable[[Array], object], Callable[[Array, Array], object]]:
    """Two functions in place: z becomes a; da, given a, becomes dz."""
    shape = (workload.batch, width)
    one, half = constant(1), constant(0.5)
    work = np.empty(shape, np.float32)

    if workload.activation == "relu":
        zeros, zero, positive = np.zeros(shape, np.float32), constant(0), np.empty(shape, np.bool)

        def relu(z: Array) -> object:
            return np.maximum(z, zeros, out=z)  # positional: deprecated, and the warning takes longer than the maximum

        def relu_slope(a: Array, da: Array) -> object:
            np.greater(a, zero, positive)
            return np.multiply(da, positive, da)

        return relu, relu_slope

    if workload.activation == "tanh":

        def tanh(z: Array) -> object:
            return np.tanh(z, z)

        def tanh_slope(a: Array, da: Array) -> object:
            np.multiply(a, a, work)
            np.subtract(one, work, work)
            return np.multiply(da, work, da)

        return tanh, tanh_slope

    def sigmoid(z: Array) -> object:
        np.multiply(z, half, z)  # by tanh, which cannot overflow
        np.tanh(z, z)
        np.multiply(z, half, z)
        return np.add(z, half, z)

    def sigmoid_slope(a: Array, da: Array) -> object:
        np.subtract(one, a, work)
        np.multiply(work, a, work)
        return np.multiply(da, work, da)

    return sigmoid, sigmoid_slope


def _loss(workload: Workload, z: Array) -> Callable[[NDArray[Any]], Any]:
    """A function of the targets that returns the loss of z (outputs, batch) and puts the gradient in its place."""
    outputs, batch = z.shape
    flat, ones = z.reshape(-1), np.ones(batch, np.float32)
    examples, share = constant(batch), constant(1 / batch)

    if workload.loss == "mse":
        size, slope = constant(z.size), constant(2 / z.size)

        def mse(y: Array) -> Any:
            np.subtract(z, y.T, z)
            loss = np.dot(flat, flat) / size
            np.multiply(z, slope, z)
            return loss

        return mse

    row = np.empty(batch, np.float32)
    if workload.loss == "binary_cross_entropy":
        zero, half = constant(0), constant(0.5)

        def binary_cross_entropy(y: Array) -> Any:
            np.logaddexp(zero, flat, row)
            loss = (np.dot(row, ones) - np.dot(flat, y)) / examples
            np.multiply(flat, half, flat)  # sigmoid(z) - y, by tanh
            np.tanh(flat, flat)
            np.multiply(flat, half, flat)
            np.add(flat, half, flat)
            np.subtract(flat, y, flat)
            np.multiply(flat, share, flat)
            return loss

        return binary_cross_entropy

    columns, places, width = np.arange(batch), np.empty(batch, np.int64), np.array(batch)
    picked, share_of_sum = np.empty(batch, np.float32), np.empty(batch, np.float32)
    class_ones = np.ones(outputs, np.float32)

    def cross_entropy(y: NDArray[np.int64]) -> Any:
        np.multiply(y, width, places)
        np.add(places, columns, places)
        np.maximum.reduce(z, 0, out=row)
        np.subtract(z, row, z)
        flat.take(places, None, picked, "clip")  # "clip" writes to `picked` at once, "raise" buffers
        np.exp(z, z)
        np.dot(class_ones, z, row)
        np.divide(share, row, share_of_sum)
        np.log(row, row)
        np.subtract(row, picked, row)
        loss = np.dot(row, ones) / examples
        np.multiply(z, share_of_sum, z)
        flat[places] -= share
        return loss

    return cross_entropy


def _update(workload: Workload, parameters: Array, gradients: Array) -> tuple[Callable[[], None], Callable[[], None]]:
    """The update of all parameters in place, and a function that clears the optimiser's state."""
    rate = constant(workload.learning_rate)

    def sgd() -> None:
        np.multiply(gradients, rate, gradients)
        np.subtract(parameters, gradients, parameters)

    if workload.optimizer != "adam":
        return sgd, lambda: None

    # The moments are kept without their factor (1 - beta), which saves two passes over each; the step puts it back.
    m, v, work = np.zeros_like(parameters), np.zeros_like(parameters), np.empty_like(parameters)
    beta1, beta2 = constant(ADAM_BETA1), constant(ADAM_BETA2)
    scale, epsilon = constant(0), constant(0)
    steps = 0

    def adam() -> None:
        nonlocal steps
        steps += 1
        m_factor = (1 - ADAM_BETA1) / (1 - ADAM_BETA1**steps)
        v_factor = ((1 - ADAM_BETA2) / (1 - ADAM_BETA2**steps)) ** 0.5
        scale[()] = workload.learning_rate * m_factor / v_factor
        epsilon[()] = ADAM_EPSILON / v_factor
        np.multiply(m, beta1, m)
        np.add(m, gradients, m)
        np.multiply(v, beta2, v)
        np.multiply(gradients, gradients, gradients)
        np.add(v, gradients, v)
        np.sqrt(v, work)
        np.add(work, epsilon, work)
        np.divide(m, work, work)
        np.multiply(work, scale, work)
        np.subtract(parameters, work, parameters)

    def forget() -> None:
        nonlocal steps
        steps = 0
        m.fill(0)
        v.fill(0)

    return adam, forget
