"""Batches of rows that stay on disk: a thread reads and shuffles the next block while the engine trains on one."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from typing import Any

from ..core.op import Array
from .ahead import GivenUp, ReadAhead
from .feed import SLICE, Feed, Made, Rows, closed_if_it_fails
from .step import TrainingStep

Block = tuple[Any, Any, Array]


class StoredFeed(Feed):
    """The blocks of an epoch one after the other, each trained on like arrays in memory.

    Parameters
    ----------
    blocks : function
        Returns an iterator of the blocks of an epoch: inputs, targets and the order of their rows. All but the
        last have whole updates.
    examples : int
        Rows of an epoch.
    size : int
    accumulate : int
    """

    def __init__(self, blocks: Callable[[int], Iterator[Block]], examples: int, size: int, accumulate: int = 1) -> None:
        self._blocks, self.examples, self.accumulate = blocks, examples, accumulate
        self.size = min(size, examples)
        self.batches: int = -(-examples // self.size)
        self._context = contextvars.copy_context()
        self._reader: ReadAhead | None = None
        self._block: Rows | None = None
        self._first = 0  # the number of the block's first batch in the epoch
        self._started: tuple[int, int] | None = None
        with closed_if_it_fails(self):
            self.start(0, 0)

    @property
    def shown(self) -> tuple[Any, Any]:
        """The first rows, to see what they are like."""
        assert self._block is not None
        x, y, _ = self._block.again(0)
        return x, y

    @property
    def waited(self) -> float | None:  # type: ignore[override]
        """Seconds that the epoch has waited for the thread that reads."""
        return None if self._reader is None else self._reader.waited

    def start(self, epoch: int, batch: int) -> None:
        """Read the first block of an epoch, and those before a batch."""
        if self._started != (epoch, batch):
            self.close()
            self._block, self._first = None, 0
            self._reader = ReadAhead(lambda: self._blocks(epoch), self._context, given_up=lambda: self.given_up())
            self._next()
            while self._is_behind(batch):
                self._next()
        self._started = (epoch, batch)

    def _is_behind(self, batch: int) -> bool:
        """Whether a batch comes after the block."""
        return self._block is not None and self._end <= batch

    @property
    def _end(self) -> int:
        return self._first + (self._block.batches if self._block is not None else 0)

    def _next(self) -> None:
        assert self._reader is not None
        self._first, self._block = self._end, None  # the old one is released before the next is taken
        found = next(self._reader, None)
        if found is not None:
            x, y, order = found
            self._block = Rows(x, y, len(order), min(self.size, len(order)), lambda _: order, self.accumulate)
            self._block.start(0, 0)

    def bind(self, training: TrainingStep) -> None:
        """Plan the steps of the block."""
        if self._block is not None:
            self._block.bind(training)

    def ended(self, batch: int) -> bool:
        """Whether all blocks have been visited."""
        return batch >= self.batches

    def run(self, training: TrainingStep, batch: int, most: int | None, limit: float = SLICE) -> Made:
        """Make steps within a block."""
        self._started = None
        if batch >= self._end:
            try:
                self._next()
            except GivenUp:
                return []
            self.bind(training)
        if self._block is None:
            raise ValueError(f"the rows ended after {batch} batches of {self.batches}: were the files changed?")
        self.torn = True
        made = self._block.run(training, batch - self._first, most, limit)
        self.torn = False
        return made

    def wants_copy(self, batch: int) -> bool:
        """Whether the next batch is in another block, and the rows of this one are about to be forgotten."""
        return batch == self._end and not self.ended(batch)

    def again(self, batch: int) -> tuple[Any, Any, bool]:
        """Return a batch of the block."""
        assert self._block is not None
        return self._block.again(batch - self._first)

    def close(self) -> None:
        """End the thread that reads."""
        if self._reader is not None:
            self._reader.close()
