"""chainrule, compiled: forward, backward and update of a step as one plan, made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.sides.numpy_network import loss_function, steps_by_gradient
from benchmarks.sides.side import StepByStep, library
from benchmarks.workloads import ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON, Data, Workload


def make(workload: Workload, data: Data, threads: int) -> StepByStep:
    if workload.optimizer is None:
        return _gradients_only(workload, data)
    step, restore = training_step(workload, data)
    batches = list(zip(data.inputs, data.targets, strict=True))
    return StepByStep(step, batches, restore, gradients=lambda: [])


def training_step(
    workload: Workload, data: Data
) -> tuple[Callable[[Any, Any], Any], Callable[[], None]]:
    """The compiled step ``loss = step(x, y)``, and a function that restores first weights and optimiser state.

    This is the only place that knows the library's training interface. It is written for a trainer that keeps the
    parameters and the optimiser's state, `Trainer(model, loss=, optimizer=)`, with ``step(x, y)`` and ``reset()``.
    """
    nn, optim = library("chainrule.nn"), library("chainrule.optim")
    train = library("chainrule.train")
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[workload.activation]
    layers: list[Any] = []
    for n_in, n_out in zip(workload.layers, workload.layers[1:], strict=False):
        layers += [nn.Linear(n_in, n_out), activation()]
    model = nn.Sequential(*layers[:-1])
    if workload.optimizer == "sgd":
        optimizer = optim.SGD(workload.learning_rate)
    else:
        optimizer = optim.Adam(
            workload.learning_rate, beta1=ADAM_BETA1, beta2=ADAM_BETA2, epsilon=ADAM_EPSILON
        )
    trainer = train.Trainer(model, loss=workload.loss, optimizer=optimizer)

    def restore() -> None:
        linears = [layer for layer in layers if isinstance(layer, nn.Linear)]
        for linear, (weight, bias) in zip(linears, data.weights, strict=True):
            np.copyto(linear.weight, weight)
            np.copyto(linear.bias, bias)
        trainer.reset()

    restore()
    return trainer.step, restore


def _gradients_only(workload: Workload, data: Data) -> StepByStep:
    """A layer's forward and backward pass: the compiled gradients of a pure function, nothing updated."""
    cr, losses = library("chainrule"), library("chainrule.nn.losses")
    loss = loss_function(workload, np, losses.cross_entropy, losses.binary_cross_entropy)
    compiled = cr.compile(cr.value_and_grad(loss, argnums=(0, 1)))
    return steps_by_gradient(workload, data, compiled)
