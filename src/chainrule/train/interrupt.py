"""Ctrl-C during a run."""

from __future__ import annotations

import signal
import threading
from types import TracebackType
from typing import Any

from .callbacks import Run


class Interrupts:
    """While open: the first Ctrl-C ends the run after the step at hand, a second one at once.

    After `close` was called, while the weights are put into the model, none does. Does nothing outside the main thread,
    or where the program handles Ctrl-C itself.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._closed = False
        self._installed = False

    def __enter__(self) -> Interrupts:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._installed and signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def close(self) -> None:
        """Let nothing interrupt what follows."""
        self._closed = True

    def _handle(self, number: int, frame: Any) -> None:
        if self._run.interrupted and not self._closed:
            raise KeyboardInterrupt
        self._run.interrupted = True
        self._run.stop(f"interrupted in epoch {self._run.epoch + 1}, after {self._run.step} steps")
