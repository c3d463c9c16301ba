"""The figures of a run's epochs as lines of text."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from ..train.callbacks import Callback, Run
from ..train.history import TIMES
from ..train.progress import duration, is_terminal, seconds_left, shown
from .output import echo


def progress(quiet: bool) -> Callback | bool | None:
    """Return how a run shows its progress: with a line each epoch where the output is not a terminal."""
    if quiet:
        return False
    return None if is_terminal(sys.stdout) else EpochLines()


#: Seconds from which the time left is worth a word.
LEAST = 10


class EpochLines(Callback):
    """Prints a line each epoch, with the time left if that is long; shows the bar if standard error is a terminal."""

    def __init__(self) -> None:
        self._bar = shown(None) or Callback()
        self._named = False

    def on_begin(self, run: Run) -> None:
        """Begin the bar."""
        self._began, self._first = time.perf_counter(), run.step
        self._bar.on_begin(run)

    def on_slice(self, run: Run) -> None:
        """Redraw the bar."""
        if on_slice := getattr(self._bar, "on_slice", None):
            on_slice(run)

    def on_epoch(self, run: Run) -> None:
        """Print the epoch's figures, below their names if it is the first."""
        left = seconds_left(run, time.perf_counter() - self._began, self._first)
        *names, figures = lines(run.history.rows[-1:], named=not self._named)
        for line in names:
            echo(line)
        echo(figures if left is None or left < LEAST else f"{figures}  {duration(left)} left")
        sys.stdout.flush()
        self._named = True
        self._bar.on_epoch(run)

    def on_end(self, run: Run) -> None:
        """Remove the bar."""
        self._bar.on_end(run)


def lines(rows: Iterable[dict[str, Any]], named: bool = True) -> Iterator[str]:
    """Yield a line of figures for each row of a history, below their names."""
    for row in rows:
        names = [name for name in row if name not in ("epoch", "lr", *TIMES)]
        widths = [5, *(max(len(name), 8) for name in names)]  # up to 999.9999
        cells = [["epoch", *names]] * named + [[str(row["epoch"]), *(f"{row[name]:.4f}" for name in names)]]
        for line in cells:
            yield "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        named = False
