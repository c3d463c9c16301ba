"""chainrule, eager: value_and_grad of a plain NumPy function each step, then the update in place by hand."""

from __future__ import annotations

import numpy as np

from benchmarks.sides.numpy_network import loss_function, steps_by_gradient
from benchmarks.sides.side import StepByStep, library
from benchmarks.workloads import Data, Workload


def make(workload: Workload, data: Data, threads: int) -> StepByStep:
    cr, losses = library("chainrule"), library("chainrule.nn.losses")
    loss = loss_function(workload, np, losses.cross_entropy, losses.binary_cross_entropy)
    arguments = (0, 1) if workload.input_gradient else 0
    return steps_by_gradient(workload, data, cr.value_and_grad(loss, argnums=arguments))
