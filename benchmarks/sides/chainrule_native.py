"""chainrule on the native engine: an epoch of training steps in one call, batches gathered there; as jax_scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.sides.chainrule_compiled import gradients_only, training_step
from benchmarks.sides.side import Runner, Unsupported, library
from benchmarks.workloads import Data, Workload


def make(workload: Workload, data: Data, threads: int) -> Runner:
    if "native" not in library("chainrule.engine").available():
        raise Unsupported("the native engine was not built")
    if workload.optimizer is None:
        return gradients_only(workload, data, threads, "native")
    training = training_step(workload, data, threads, "native")
    first = training.snapshot()
    binding = training.binding(data.inputs[0], data.targets[0])
    return Epochs(binding, data, workload.passes, lambda: training.restore(first))


class Epochs:
    """A runner that goes `passes` times over the data, batch by batch, in one call of the engine."""

    def __init__(self, binding: Any, data: Data, passes: int, restore: Callable[[], None]) -> None:
        self.binding = binding
        self._restore = restore
        batches, self._size = data.targets.shape[:2]
        self._X, self._y = (array.reshape(-1, *array.shape[2:]) for array in (data.inputs, data.targets))
        self._order = np.tile(np.arange(len(self._X), dtype=np.int64), passes)
        self.steps_per_run = batches * passes
        self._results = np.empty((self.steps_per_run, 1))

    def reset(self) -> None:
        self._restore()

    def run(self, count: int) -> None:
        rows = len(self._order)
        for _ in range(count):
            self.binding.run_batches(None, self._X, self._y, self._order, 0, self._size, rows, self._results, 1e9)

    def finish(self) -> None:
        pass

    def losses(self) -> list[float]:
        return [float(loss) for loss in self._results[:, 0]]

    def gradients(self) -> list[NDArray[np.generic]]:
        return []
