"""PyTorch with the loss and its gradients through torch.compile.

The optimiser stays the fused one: compiling its step, or the whole training step at once, came out slower.
"""

from __future__ import annotations

from benchmarks.sides.side import StepByStep
from benchmarks.sides.torch_eager import build
from benchmarks.workloads import Data, Workload


def make(workload: Workload, data: Data, threads: int) -> StepByStep:
    return build(workload, data, threads, compiled=True)
