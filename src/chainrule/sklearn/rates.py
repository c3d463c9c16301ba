"""The learning rate after each epoch, and when training no longer improves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..core.arguments import number
from ..optim import Optimizer

#: An adaptive learning rate at or below this ends the training.
SMALLEST = 1e-6


def first_rate(rule: Optimizer) -> float:
    """Return the learning rate of an optimiser's first step."""
    return float(rule.learning_rate(0))


@dataclass(frozen=True)
class Rates:
    """One learning rate for the whole training."""

    first: float
    ending: ClassVar[str] = "Stopping."

    def start(self) -> float:
        """Return the learning rate of the first epoch."""
        return self.first

    def after(self, rate: float, epoch: int, samples: int) -> float:
        """Return the learning rate of the next epoch, after a number of epochs and samples."""
        return rate

    def stalled(self, rate: float, epoch: int) -> float | None:
        """Return the learning rate to continue with when training has stalled; None to stop."""
        return None


@dataclass(frozen=True)
class InverseScaling(Rates):
    """first / (samples + 1) ** power."""

    power: float = 0.5

    def after(self, rate: float, epoch: int, samples: int) -> float:
        """Return the learning rate of the next epoch."""
        return float(self.first / (samples + 1) ** self.power)


@dataclass(frozen=True)
class Adaptive(Rates):
    """Divides the rate by 5 whenever training stalls."""

    ending: ClassVar[str] = "Learning rate too small. Stopping."

    def stalled(self, rate: float, epoch: int) -> float | None:
        """Return a fifth of the rate, until it is very small."""
        return None if rate <= SMALLEST else rate / 5.0


@dataclass(frozen=True)
class WarmRestarts(Rates):
    """Half a cosine from the first rate down to 0, repeated, each twice as long as the previous one.

    Training stops at the end of one of them only. Source: Loshchilov & Hutter, "SGDR", 2017.

    Attributes
    ----------
    period : int
        Epochs of the first.
    """

    period: int = 10

    def _place(self, epoch: int) -> tuple[int, int]:
        """Return the number of finished epochs of the current cosine, and its length."""
        start, length = 0, self.period
        while epoch - start >= length:
            start, length = start + length, 2 * length
        return epoch - start, length

    def after(self, rate: float, epoch: int, samples: int) -> float:
        """Return the learning rate of the next epoch."""
        done, length = self._place(epoch)
        return self.first * (1.0 + math.cos(math.pi * done / length)) / 2.0

    def stalled(self, rate: float, epoch: int) -> float | None:
        """Continue, unless the next epoch would start a new cosine."""
        return None if self._place(epoch)[0] == 0 else rate


@dataclass(frozen=True)
class ByEpoch(Rates):
    """A function of the epoch, from 0."""

    function: Callable[[int], Any] = float

    def start(self) -> float:
        """Return the learning rate of the first epoch."""
        return self._asked(0)

    def after(self, rate: float, epoch: int, samples: int) -> float:
        """Return the learning rate of the next epoch."""
        return self._asked(epoch)

    def _asked(self, epoch: int) -> float:
        return number(f"learning_rate({epoch})", self.function(epoch), at_least=0)
