"""What every engine offers: a plan bound to memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..op import Array
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

    @abstractmethod
    def value(self, n: int) -> Array:
        """Return value n as the last run left it; valid until the next run."""
