"""JAX: an epoch of training steps in one jitted lax.scan; a run is an epoch, its time is divided by the steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.sides.jax_jit import device_data, training_step
from benchmarks.sides.side import library
from benchmarks.workloads import Data, Workload


def make(workload: Workload, data: Data, threads: int) -> Epochs:
    return Epochs(workload, data)


class Epochs:
    """A runner that takes `workload.epoch_steps` steps in one call of a jitted scan over the batches."""

    def __init__(self, workload: Workload, data: Data) -> None:
        self._jax = jax = library("jax")
        step, self._first_state = training_step(workload, data)
        self.steps_per_run = workload.epoch_steps
        self._inputs, self._targets = map(jax.numpy.asarray, device_data(data))

        def one_pass(state: Any, inputs: Any, targets: Any) -> tuple[Any, Any]:
            state, losses = jax.lax.scan(lambda state, batch: step(state, *batch), state, (inputs, targets))
            return state, losses

        def epoch(state: Any, inputs: Any, targets: Any) -> tuple[Any, Any]:
            state, losses = jax.lax.scan(
                lambda state, _: one_pass(state, inputs, targets), state, None, length=workload.passes
            )
            return state, losses.reshape(-1)

        self._epoch = jax.jit(epoch, donate_argnums=0)
        self._losses: Any = None
        self.reset()

    def reset(self) -> None:
        self._state = self._jax.block_until_ready(self._first_state())

    def run(self, count: int) -> None:
        state = self._state
        for _ in range(count):
            state, self._losses = self._epoch(state, self._inputs, self._targets)
        self._state = state

    def finish(self) -> None:
        self._jax.block_until_ready((self._state, self._losses))

    def losses(self) -> list[float]:
        return [float(loss) for loss in np.asarray(self._losses)]

    def gradients(self) -> list[NDArray[np.generic]]:
        return [np.asarray(g) for g in self._jax.tree.leaves(self._state["gradients"])]
