"""chainrule, compiled: forward, backward and update of a step as one plan, made once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.sides.numpy_network import loss_function, steps_by_gradient
from benchmarks.sides.side import StepByStep, library
from benchmarks.workloads import ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON, Data, Workload


def make(workload: Workload, data: Data, threads: int) -> StepByStep:
    if workload.optimizer is None:
        return _gradients_only(workload, data, threads)
    step, restore = training_step(workload, data, threads)
    batches = list(zip(data.inputs, data.targets, strict=True))
    return StepByStep(step, batches, restore, gradients=lambda: [], read_loss=lambda results: float(results[0]))


def training_step(workload: Workload, data: Data, threads: int) -> tuple[Callable[[Any, Any], Any], Callable[[], None]]:
    """The compiled step, and a function that restores the first weights and the optimiser's state.

    The only place here that knows the library's training interface. The step returns (loss, *metrics).
    """
    nn, optim, train = library("chainrule.nn"), library("chainrule.optim"), library("chainrule.train")
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[workload.activation]
    layers: list[Any] = []
    for n_in, n_out in pairwise(workload.layers):
        layers += [nn.Linear(n_in, n_out), activation()]
    model = nn.Sequential(*layers[:-1])
    names = [name for name, _ in model.named_parameters()]
    first_weights = [p for pair in data.weights for p in pair]
    model.load_state_dict(dict(zip(names, first_weights, strict=True)))

    if workload.optimizer == "sgd":
        optimizer = optim.SGD(workload.learning_rate)
    else:
        optimizer = optim.Adam(workload.learning_rate, beta1=ADAM_BETA1, beta2=ADAM_BETA2, eps=ADAM_EPSILON)
    training = train.TrainingStep(model, workload.loss, optimizer, threads=threads)
    first = training.snapshot()
    return training.run, lambda: training.restore(first)


def _gradients_only(workload: Workload, data: Data, threads: int) -> StepByStep:
    """A layer's forward and backward pass: the compiled gradients of a pure function, nothing updated."""
    cr, losses = library("chainrule"), library("chainrule.nn.losses")
    loss = loss_function(workload, np, losses.cross_entropy, losses.binary_cross_entropy)
    compiled = cr.compile(cr.value_and_grad(loss, argnums=(0, 1)), threads=threads)
    return steps_by_gradient(workload, data, compiled)
