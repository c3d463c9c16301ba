"""Ctrl-C during a run."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from .callbacks import Run


@contextlib.contextmanager
def interruptible(run: Run) -> Iterator[Callable[[], None]]:
    """Let the first Ctrl-C end the run after the current step, and a second one at once.

    Yields a function: after it was called, while the weights are put into the model, no Ctrl-C interrupts. Does nothing
    outside the main thread, or where the program handles Ctrl-C itself.
    """
    closed = False

    def close() -> None:
        nonlocal closed
        closed = True

    def handle(number: int, frame: Any) -> None:
        if run.interrupted and not closed:
            raise KeyboardInterrupt
        run.interrupted = True
        run.stop(f"interrupted in epoch {run.epoch + 1}, after {run.step} steps")

    main = threading.current_thread() is threading.main_thread()
    installed = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        if installed:
            signal.signal(signal.SIGINT, handle)
        yield close
    finally:
        if installed and signal.getsignal(signal.SIGINT) is handle:
            signal.signal(signal.SIGINT, signal.default_int_handler)
