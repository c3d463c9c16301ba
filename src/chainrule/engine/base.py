"""What every engine offers: a plan bound to memory."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.op import Array
from ..plan.model import Plan


class Binding(ABC):
    """A plan bound to memory: an arena for its buffers, arrays for its states. Runs allocate nothing.

    One thread at a time; bind the plan again for another.
    """

    plan: Plan

    @abstractmethod
    def input_buffer(self, k: int) -> Array:
        """Return the memory of input k, to be filled before a run."""

    @abstractmethod
    def run(self, inputs: Sequence[Array | None] = ()) -> None:
        """Run the plan once; None for an input whose buffer was filled."""

    @abstractmethod
    def release(self) -> None:
        """Let go of arrays that the last run read where they are; their inputs must be given again."""

    def run_batches(
        self,
        rest: Any,
        X: Array,
        y: Array,
        order: Array,
        first: int,
        size: int,
        rows: int,
        results: Array,
        milliseconds: float,
    ) -> int:
        """Run step after step on batches gathered into inputs 0 and 1.

        Parameters
        ----------
        rest : Binding or None
            For the last batch, where it is smaller than `size`.
        X, y : arrays
            Whose rows are gathered.
        order : array of int64
            The numbers of the rows.
        first, rows : int
            Where in `order` to begin, and how many of it to use.
        size : int
            Rows a batch.
        results : array of float64, (steps, outputs)
            Takes the outputs of each step.
        milliseconds : float
            Return when so much time is over.

        Returns
        -------
        int
            Steps made: all of them, or fewer when time is over or the first output of a step is not finite.
        """
        end = time.perf_counter() + milliseconds / 1000
        steps = -(-rows // size)
        for s in range(steps):
            ids = order[first + s * size : first + min((s + 1) * size, rows)]
            binding = self if len(ids) == size else rest
            np.take(X, ids, axis=0, out=binding.input_buffer(0), mode="clip")
            np.take(y, ids, axis=0, out=binding.input_buffer(1), mode="clip")
            binding.run()
            for k, n in enumerate(binding.plan.outputs):
                results[s, k] = binding.value(n)
            if not math.isfinite(results[s, 0]) or time.perf_counter() > end:
                return s + 1
        return steps

    @abstractmethod
    def value(self, n: int) -> Array:
        """Return value n as the last run left it; valid until the next run."""
