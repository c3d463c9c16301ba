"""chainrule on the native engine: an epoch of training steps in one call, batches gathered there; as jax_scan."""

from __future__ import annotations

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
    return Epochs(workload, data, threads)


class Epochs:
    """A runner that takes `workload.epoch_steps` steps in one call of the engine."""

    def __init__(self, workload: Workload, data: Data, threads: int) -> None:
        self._training: Any = training_step(workload, data, threads, "native")
        self._first = self._training.snapshot()
        self.steps_per_run = workload.epoch_steps
        inputs, targets = data.inputs, data.targets
        self._X = np.ascontiguousarray(np.concatenate(list(inputs)))
        self._y = np.ascontiguousarray(np.concatenate(list(targets)))
        self._size = len(inputs[0])
        self._binding = self._training.binding(inputs[0], targets[0])
        self._order = np.tile(np.arange(len(self._X), dtype=np.int64), workload.passes)
        self._results = np.empty((self.steps_per_run, 1))

    def reset(self) -> None:
        self._training.restore(self._first)

    def run(self, count: int) -> None:
        rows = len(self._order)
        for _ in range(count):
            self._binding.run_batches(
                None, self._X, self._y, self._order, 0, self._size, rows, self._results, 1e9
            )

    def finish(self) -> None:
        pass

    def losses(self) -> list[float]:
        return [float(loss) for loss in self._results[:, 0]]

    def gradients(self) -> list[NDArray[np.generic]]:
        return []
