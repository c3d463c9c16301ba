"""PyTorch through torch.compile: the loss with its gradients, and the optimiser's step, each compiled."""

from __future__ import annotations

from benchmarks.sides.side import StepByStep
from benchmarks.sides.torch_eager import build
from benchmarks.workloads import Data, Workload


def make(workload: Workload, data: Data, threads: int) -> StepByStep:
    return build(workload, data, threads, compiled=True)
