"""chainrule, compiled, on the NumPy engine: forward, backward and update of a step as one plan, made once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.sides.numpy_network import loss_function, steps_by_gradient
from benchmarks.sides.side import StepByStep, library
from benchmarks.workloads import ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON, Data, Workload


def make(workload: Workload, data: Data, threads: int) -> StepByStep:
    if workload.optimizer is None:
        return gradients_only(workload, data, threads, "numpy")
    training = training_step(workload, data, threads, "numpy")
    first = training.snapshot()
    batches = list(zip(data.inputs, data.targets, strict=True))
    return StepByStep(
        training.run,
        batches,
        lambda: training.restore(first),
        gradients=lambda: [],
        read_loss=lambda results: float(results[0]),
    )


def training_step(workload: Workload, data: Data, threads: int, engine: str) -> Any:
    """The library's `TrainingStep` for this workload, with the first weights."""
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
    return train.TrainingStep(model, workload.loss, optimizer, engine=engine, threads=threads)


def gradients_only(workload: Workload, data: Data, threads: int, engine: str) -> StepByStep:
    """A layer's forward and backward pass: the compiled gradients of a pure function, nothing updated."""
    cr, losses = library("chainrule"), library("chainrule.nn.losses")
    loss = loss_function(workload, np, losses.cross_entropy, losses.binary_cross_entropy)
    compiled = cr.compile(cr.value_and_grad(loss, argnums=(0, 1)), engine=engine, threads=threads)
    return steps_by_gradient(workload, data, compiled)
