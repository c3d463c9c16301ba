"""HIPS autograd: value_and_grad of a loss written with autograd.numpy, then the update in place by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.sides.numpy_network import loss_function, steps_by_gradient
from benchmarks.sides.side import StepByStep, library
from benchmarks.workloads import Data, Workload


def make(workload: Workload, data: Data, threads: int) -> StepByStep:
    autograd, anp = library("autograd"), library("autograd.numpy")
    rows = np.arange(workload.batch)

    def cross_entropy(z: Any, y: Any) -> Any:
        shifted = z - anp.max(z, axis=1, keepdims=True)
        return anp.mean(anp.log(anp.sum(anp.exp(shifted), axis=1)) - shifted[rows, y])

    def binary_cross_entropy(z: Any, y: Any) -> Any:
        return anp.mean(anp.logaddexp(np.float32(0), z) - y * z)

    loss = loss_function(workload, anp, cross_entropy, binary_cross_entropy)
    arguments = (0, 1) if workload.input_gradient else 0
    return steps_by_gradient(workload, data, autograd.value_and_grad(loss, arguments))
