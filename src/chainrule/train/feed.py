"""Where the batches of a run come from: arrays in memory, or batches that a program gives one after the other."""

from __future__ import annotations

import contextlib
import contextvars
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..core.op import Array
from ..core.tree import flatten, tree_map
from ..data.rows import length, take
from ..engine import Binding
from .ahead import GivenUp, ReadAhead
from .step import TrainingStep

#: Milliseconds after which a run of steps returns, so that Ctrl-C and progress are handled.
SLICE = 100.0
#: Batches of a stream after which the states are copied anew; so many are kept to find a value that is not finite.
KEPT = 16

Made = list[tuple[list[float], int]]  # loss and metrics of each step, and its number of examples


class Feed(ABC):
    """The batches of a run.

    Attributes
    ----------
    size : int
        Examples per batch; the last of an epoch may have fewer.
    examples, batches : int or None
        Per epoch; None if not known.
    accumulate : int
        Batches per update.
    torn : bool
        Whether a step has started but not finished.
    waited : float or None
        Seconds that an epoch has waited for a reader so far; None without one.
    given_up : function
        Says, while batches are waited for, whether to wait no longer: no steps are made then.
    """

    size: int
    examples: int | None
    batches: int | None
    accumulate: int = 1
    torn = False
    waited: float | None = None
    given_up: Callable[[], bool] = bool

    @abstractmethod
    def bind(self, training: TrainingStep) -> None:
        """Plan the steps, as far as the shapes of batches are known."""

    @abstractmethod
    def start(self, epoch: int, batch: int) -> None:
        """Begin an epoch, numbered from 0, at a batch."""

    @abstractmethod
    def ended(self, batch: int) -> bool:
        """Whether the epoch has no batch of this number."""

    @abstractmethod
    def run(self, training: TrainingStep, batch: int, most: int | None, limit: float = SLICE) -> Made:
        """Make steps from this batch on, at most so many, and only for so many milliseconds."""

    @abstractmethod
    def again(self, batch: int) -> tuple[Any, Any, bool]:
        """Return a batch once more, and whether an update follows it; of a stream one since the last copy."""

    def wants_copy(self, batch: int) -> bool:
        """Whether the states must be copied before this batch, since earlier batches are not kept."""
        return False

    def forget(self) -> None:  # noqa: B027
        """Keep no earlier batches, if any are kept."""

    def close(self) -> None:  # noqa: B027
        """End what reads ahead."""

    def last(self, batch: int) -> bool:
        """Whether an update follows a batch."""
        return (batch + 1) % self.accumulate == 0 or self.ended(batch + 1)


@contextlib.contextmanager
def closed_if_it_fails(feed: Feed) -> Iterator[None]:
    """End what reads ahead if nobody gets the feed."""
    try:
        yield
    except BaseException:
        feed.close()
        raise


class Rows(Feed):
    """Arrays in memory, whose rows each epoch visits in an order of its own.

    Parameters
    ----------
    X, y : arrays, or nests of arrays
    examples : int
        How many rows an epoch visits.
    size : int
    order : function
        Returns, for an epoch from 0, the numbers of these rows in their order.
    accumulate : int
    """

    def __init__(
        self, X: Any, y: Any, examples: int, size: int, order: Callable[[int], Array], accumulate: int = 1
    ) -> None:
        self._X, self._y = (tree_map(np.ascontiguousarray, nest) for nest in (X, y))  # gathered row by row
        self._one_each = isinstance(self._X, np.ndarray) and isinstance(self._y, np.ndarray)
        self.examples, self.size, self.accumulate = examples, size, accumulate
        self.batches: int = -(-examples // size)
        self._order_of, self._order = order, np.zeros(0, np.int64)
        self._bindings: dict[tuple[int, bool], Binding] = {}

    def bind(self, training: TrainingStep) -> None:
        """Plan the steps for the sizes of batches; anew if what model or loss read has changed."""
        if self._bindings and training.are_current(self._bindings.values()):
            return
        kinds = [(self._rows(b), self.last(b)) for b in (*range(min(self.accumulate, self.batches)), self.batches - 1)]
        self._bindings = {
            (n, last): training.binding(take(self._X, slice(n)), take(self._y, slice(n)), last)
            for n, last in dict.fromkeys(kinds)
        }

    def _rows(self, batch: int) -> int:
        assert self.examples is not None
        return min(self.size, self.examples - batch * self.size)

    def start(self, epoch: int, batch: int) -> None:
        """Set the order."""
        self._order = self._order_of(epoch)

    def ended(self, batch: int) -> bool:
        """Whether all rows have been visited."""
        return batch >= self.batches

    def run(self, training: TrainingStep, batch: int, most: int | None, limit: float = SLICE) -> Made:
        """Make steps; those of arrays that an update follows each run without Python in between."""
        made: Made = []
        stop = min(self.batches, batch + (most or self.batches))
        end = time.perf_counter() + limit / 1000
        while batch < stop and (not made or (time.perf_counter() < end and math.isfinite(made[-1][0][0]))):
            last = self.last(batch)
            to = self._next_kind(batch, stop)
            self.torn = True
            with np.errstate(all="ignore"):
                found = self._run(batch, to, last, limit)
            self.torn = False
            batch += len(found)
            made += [(results, self.size) for results in found[:-1]]
            made.append((found[-1], self._rows(batch - 1)))
        return made

    def _next_kind(self, batch: int, stop: int) -> int:
        """Return the first batch before which all are updated by, or none is, as this one; at most `stop`."""
        every = self.accumulate
        if every == 1:
            return stop
        return batch + 1 if self.last(batch) else min(stop, batch // every * every + every - 1, self.batches - 1)

    def _run(self, batch: int, to: int, last: bool, limit: float) -> list[list[float]]:
        first, size = batch * self.size, self.size
        rows = min((to - batch) * size, len(self._order) - first)
        whole, rest = self._bindings[min(size, rows), last], self._bindings.get((rows % size, last))
        if not self._one_each:
            x, y, _ = self.again(batch)
            whole.run([*flatten(x)[0], *flatten(y)[0]])
            return [[float(whole.value(n)) for n in whole.plan.outputs]]
        results = np.empty((to - batch, len(whole.plan.outputs)))
        made = whole.run_batches(rest, self._X, self._y, self._order, first, min(size, rows), rows, results, limit)
        found: list[list[float]] = results[:made].tolist()
        return found

    def again(self, batch: int) -> tuple[Any, Any, bool]:
        """Return a batch."""
        rows = self._order[batch * self.size : (batch + 1) * self.size]
        return take(self._X, rows), take(self._y, rows), self.last(batch)


class Stream(Feed):
    """Batches that are read one after the other; the next one is read before a step, so that the last is known.

    Parameters
    ----------
    source : function
        Returns an iterator of the batches (x, y), nests of arrays, of an epoch from 0.
    batches : int or None
    accumulate : int
    ahead : bool
        Whether a thread reads the next batches during the steps.
    """

    def __init__(
        self,
        source: Callable[[int], Iterator[tuple[Any, Any]]],
        batches: int | None,
        accumulate: int = 1,
        ahead: bool = False,
    ) -> None:
        self._source, self.batches, self.accumulate = source, batches, accumulate
        self._context = contextvars.copy_context() if ahead else None
        self._iterator: Iterator[tuple[Any, Any]] = iter(())
        self.examples = None
        self._started: tuple[int, int] | None = None
        self._fresh = False  # whether no step has been made since
        self._recent: dict[int, tuple[Any, Any, bool]] = {}
        with closed_if_it_fails(self):
            self.start(0, 0)
        if self.ahead is None:
            raise ValueError("X has no batches; expected at least one pair (X, y)")
        self.size = length(self.ahead[0])

    def start(self, epoch: int, batch: int) -> None:
        """Read the first batch of an epoch, unless it has been read to be checked."""
        if self._started != (epoch, batch) or not self._fresh:
            self.close()
            self._iterator = self._source(epoch) if self._context is None else self._read_ahead(epoch)
            self.ahead: tuple[Any, Any] | None = next(self._iterator, None)
            self._next = 0
            while self._next < batch and self.ahead is not None:
                self.ahead, self._next = next(self._iterator, None), self._next + 1
            self._started, self._fresh = (epoch, batch), True

    def _read_ahead(self, epoch: int) -> ReadAhead:
        return ReadAhead(lambda: self._source(epoch), self._context, given_up=lambda: self.given_up())

    def bind(self, training: TrainingStep) -> None:
        """Plan the step of the first batch."""
        if self.ahead is not None:
            training.binding(*self.ahead, self.last(self._next))

    def ended(self, batch: int) -> bool:
        """Whether the batch that was read ahead does not exist; of later ones it is not known."""
        return self.ahead is None and batch >= self._next

    def run(self, training: TrainingStep, batch: int, most: int | None, limit: float = SLICE) -> Made:
        """Make steps, each by a call from Python."""
        made: Made = []
        end = time.perf_counter() + limit / 1000
        while self.ahead is not None and len(made) < (most or KEPT) and time.perf_counter() < end:
            (x, y), self._fresh = self.ahead, False
            try:
                self.ahead = next(self._iterator, None)
            except GivenUp:
                break
            self._next += 1
            last = self._next % self.accumulate == 0 or self.ahead is None
            self._recent[self._next - 1] = x, y, last
            self.torn = True
            results = training.run(x, y, last)
            self.torn = False
            made.append(([float(r) for r in results], length(x)))
            if not math.isfinite(made[-1][0][0]) or self.wants_copy(self._next):
                break
        return made

    def wants_copy(self, batch: int) -> bool:
        """Whether as many batches are kept as there may be."""
        return batch % KEPT == 0

    def again(self, batch: int) -> tuple[Any, Any, bool]:
        """Return a batch that is kept."""
        return self._recent[batch]

    def forget(self) -> None:
        """Keep no earlier batches."""
        self._recent.clear()

    @property
    def waited(self) -> float | None:  # type: ignore[override]
        """Seconds that the epoch has waited for the thread that reads."""
        return self._iterator.waited if isinstance(self._iterator, ReadAhead) else None

    def close(self) -> None:
        """End the thread that reads."""
        if isinstance(self._iterator, ReadAhead):
            self._iterator.close()
