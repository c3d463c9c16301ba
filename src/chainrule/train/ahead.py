"""Reading ahead: a thread takes the next items of an iterator while the engine works on earlier ones."""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

_END = object()
#: Seconds after which one that waits looks whether it still has to.
_LOOK = 0.05
#: Seconds that `close` waits for a thread in the middle of an item, after which it will end by itself.
_PATIENCE = 1.0


class GivenUp(Exception):
    """The program no longer waits for an item."""


class ReadAhead:
    """The items of an iterator that a thread of its own takes, at most `depth` before they are asked for.

    Parameters
    ----------
    source : function
        Returns the iterator; called, like the iterator, by the thread.
    context : contextvars.Context, optional
        In which the thread runs; by default a copy of the caller's.
    depth : int
        Items that wait at most; one more is being made.
    given_up : function, optional
        Says, while the program waits for an item, whether it is to wait no longer: `GivenUp` is raised then, and the
        item can be asked for again.

    Attributes
    ----------
    waited : float
        Seconds that the program has waited for items.

    Examples
    --------
    >>> ahead = ReadAhead(lambda: iter("ab"))
    >>> list(ahead)
    ['a', 'b']
    """

    def __init__(
        self,
        source: Callable[[], Iterator[Any]],
        context: contextvars.Context | None = None,
        depth: int = 1,
        given_up: Callable[[], bool] = bool,
    ) -> None:
        self.waited, self._given_up = 0.0, given_up
        self._ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._over = False
        # settings of the program, such as the generator of random numbers, hold in the thread too
        run = (context or contextvars.copy_context()).run
        self._thread = threading.Thread(target=run, args=(self._read, source), name="reader", daemon=True)
        self._thread.start()

    def _read(self, source: Callable[[], Iterator[Any]]) -> None:
        iterator = None
        try:
            iterator = source()
            for item in iterator:
                if not self._put((item, None)):
                    return
            self._put((_END, None))
        except BaseException as error:  # raised in the program, where the item is asked for
            self._put((_END, error))
        finally:
            close = getattr(iterator, "close", None)
            if close is not None and self._stopped.is_set():
                close()

    def _put(self, item: tuple[Any, BaseException | None]) -> bool:
        """Wait for room; return whether the item is still wanted."""
        while not self._stopped.is_set():
            try:
                self._ready.put(item, timeout=_LOOK)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._over:
            raise StopIteration
        started = time.perf_counter()
        try:
            item, error = self._wait()
        finally:
            self.waited += time.perf_counter() - started
        if item is _END:
            self._over = True
            self._thread.join()
            if error is not None:
                raise error
            raise StopIteration
        return item

    def _wait(self) -> tuple[Any, BaseException | None]:
        while True:
            try:
                return self._ready.get(timeout=_LOOK)
            except queue.Empty:
                if self._given_up():
                    raise GivenUp from None

    def close(self) -> None:
        """Stop the thread, and wait until it has ended, unless it is stuck."""
        self._over = True
        self._stopped.set()
        self._thread.join(_PATIENCE)
