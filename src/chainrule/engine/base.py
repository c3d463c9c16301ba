"""The interface of an engine: a plan bound to memory."""

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
    """A plan bound to memory: an arena for its buffers and arrays for its states.

    Runs allocate no memory. A binding may be used by one thread at a time; bind the plan again for another thread.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> from chainrule.engine import bind
    >>> double = cr.compile(lambda x: 2 * x)
    >>> _ = double(np.ones(3))
    >>> binding = bind(double.plan(), engine="numpy")
    >>> binding.run([np.array([1.0, 2.0, 3.0])])
    >>> binding.value(binding.plan.outputs[0])
    array([2., 4., 6.])
    """

    plan: Plan

    @abstractmethod
    def input_buffer(self, k: int) -> Array:
        """Return the buffer of input k, to be filled before a run."""

    @abstractmethod
    def run(self, inputs: Sequence[Array | None] = ()) -> None:
        """Run the plan once; pass None for an input whose buffer has been filled."""

    @abstractmethod
    def release(self) -> None:
        """Release arrays that the last run used without a copy; these inputs must be passed again."""

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
        """Run one step per batch, with the rows of each batch gathered into inputs 0 and 1.

        Parameters
        ----------
        rest : Binding or None
            The binding for the last batch, if it is smaller than `size`.
        X, y : arrays
            The arrays whose rows are gathered.
        order : array of int64
            Indices of rows.
        first, rows : int
            The first position in `order`, and the number of positions to use.
        size : int
            Batch size.
        results : array of float64, (steps, outputs)
            Receives the outputs of each step.
        milliseconds : float
            Time limit, after which the method returns.

        Returns
        -------
        int
            The number of steps: fewer than all if the time limit is reached or the first output of a step is not
            finite.
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
        """Return value n of the last run; the array is valid until the next run."""
