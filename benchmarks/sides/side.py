"""The interface of a side."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Unsupported(Exception):
    """The side cannot run this workload; the message gives the reason."""


class Runner(Protocol):
    """A workload set up on one side, ready to be run and timed."""

    steps_per_run: int

    def reset(self) -> None:
        """Go back to the first weights, a fresh optimiser and the first batch."""

    def run(self, count: int) -> None:
        """Take `count` times `steps_per_run` training steps; they may still be under way on return."""

    def finish(self) -> None:
        """Wait until all steps are done."""

    def losses(self) -> list[float]:
        """The losses of the steps of the last single run, oldest first."""

    def gradients(self) -> list[NDArray[np.generic]]:
        """Without an optimiser: the last step's gradients of the input, then W and b by layer."""


class StepByStep:
    """A runner whose side takes one step a call, ``loss = step(x, y)``, over batches that come round again."""

    steps_per_run = 1

    def __init__(
        self,
        step: Callable[[Any, Any], Any],
        batches: Sequence[tuple[Any, Any]],
        restore: Callable[[], None],
        gradients: Callable[[], Sequence[Any]],
        wait: Callable[[Any], object] = lambda loss: None,
        read_loss: Callable[[Any], float] = float,
    ) -> None:
        self._step = step
        self._batches = list(batches)
        self._restore = restore
        self._gradients = gradients
        self._wait = wait
        self._read_loss = read_loss
        self._loss: Any = None
        self._round = itertools.cycle(self._batches)

    def reset(self) -> None:
        self._restore()
        self._round = itertools.cycle(self._batches)

    def run(self, count: int) -> None:
        step = self._step
        loss = self._loss
        for x, y in itertools.islice(self._round, count):
            loss = step(x, y)
        self._loss = loss

    def finish(self) -> None:
        self._wait(self._loss)

    def losses(self) -> list[float]:
        return [self._read_loss(self._loss)]

    def gradients(self) -> list[NDArray[np.generic]]:
        return [np.asarray(g) for g in self._gradients()]


def library(name: str) -> Any:
    """The module `name`, loaded now: a side is listed without its library, and is typed the same with and without."""
    return importlib.import_module(name)
