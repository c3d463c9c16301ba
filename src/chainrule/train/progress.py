"""The progress of a run on the screen: a bar on a terminal, a line in a notebook."""

from __future__ import annotations

import html
import math
import shutil
import sys
import time
from typing import Any

from ..show.document import clean
from .callbacks import Callback, Run
from .history import summary

#: Least number of seconds between two updates: in a notebook, each is a message to the browser.
PAUSE = 0.2
#: Share of an epoch's time from which its waiting for a reader is shown.
WORTH_SAYING = 0.05
#: Cells of the terminal's bar.
CELLS = 20


def shown(progress: bool | Callback | None) -> Callback | None:
    """Return a callback that shows the progress of a run, or None; by default on terminals and in notebooks only."""
    if progress is False:
        return None
    if isinstance(progress, Callback):
        return progress
    if in_notebook():
        return NotebookLine()
    if progress or is_terminal(sys.stderr):
        return TerminalBar()
    return None


def is_terminal(stream: Any) -> bool:
    """Whether a stream writes to a terminal."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # none, closed, or a stand-in for a stream
        return False


def in_notebook() -> bool:
    """Whether the program runs in the kernel of a notebook. IPython in a terminal is a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return getattr(shell, "kernel", None) is not None


class _Line(Callback):
    """One line with the progress of a run, redrawn within and after an epoch unless the last update was very recent."""

    def on_begin(self, run: Run) -> None:
        """Draw it."""
        self._began = self._drawn = time.perf_counter()
        self._first = run.step
        self._draw(run)

    def on_epoch(self, run: Run) -> None:
        """Redraw it."""
        self.on_slice(run)

    def on_slice(self, run: Run) -> None:
        """Redraw it, within an epoch."""
        if time.perf_counter() - self._drawn >= PAUSE:
            self._drawn = time.perf_counter()
            self._draw(run)

    def _draw(self, run: Run) -> None:
        """Show the line."""

    def _text(self, run: Run, ended: bool = False) -> str:
        taken, each = time.perf_counter() - self._began, run.steps_per_epoch
        when = duration(taken) if ended else ""
        left = None if ended else seconds_left(run, taken, self._first)
        if left is not None:
            when = f"{duration(left)} left"
        within = run.step - run.epoch * each
        epoch = f"epoch {run.epoch}/{run.epochs}"
        if within and not ended:
            epoch = f"epoch {run.epoch + 1}/{run.epochs}, {f'{100 * within // each} %' if each else f'step {within}'}"
        why = clean(run.stopping) if ended and run.stopping else ""
        return "  ".join(part for part in (epoch, when, clean(_figures(run)), why) if part)


class TerminalBar(_Line):
    """A progress bar on standard error, removed at the end."""

    def _draw(self, run: Run) -> None:
        filled = CELLS * run.step // max(run.epochs * run.steps_per_epoch, 1)
        line = f"{'━' * filled}{'─' * (CELLS - filled)}  {self._text(run)}"
        self._write(line[: shutil.get_terminal_size().columns - 1])

    def on_end(self, run: Run) -> None:
        """Draw it a last time, and remove it."""
        self._draw(run)
        self._write("")

    def _write(self, line: str) -> None:
        stream = sys.stderr
        encoding = getattr(stream, "encoding", None) or "utf-8"
        # from the start of the line; the last code clears the previous content
        stream.write("\r" + line.encode(encoding, "replace").decode(encoding) + "\x1b[K")
        stream.flush()


class NotebookLine(_Line):
    """A line with a bar below a notebook's cell, replaced in place; the last state remains.

    Sent as HTML, with text for frontends without HTML; no widgets are needed.
    """

    def on_begin(self, run: Run) -> None:
        """Draw it."""
        self._display: Any = None
        super().on_begin(run)

    def on_end(self, run: Run) -> None:
        """Draw the final state."""
        self._draw(run, ended=True)

    def _draw(self, run: Run, ended: bool = False) -> None:
        text = self._text(run, ended)
        bar = (
            f'<progress value="{run.epoch}" max="{run.epochs}" style="width: 12em; vertical-align: middle"></progress>'
        )
        line = f'<span style="font-family: monospace; white-space: pre-wrap">{html.escape(text)}</span>'
        content = {"text/plain": text, "text/html": f"<div>{bar} {line}</div>"}
        if self._display is None:
            from IPython.display import display

            self._display = display(content, raw=True, display_id=True)
        else:
            self._display.update(content, raw=True)


def _figures(run: Run) -> str:
    if not len(run.history):
        return f"loss {run.loss:.4g}" if math.isfinite(run.loss) else ""
    row = run.history[-1]
    shares = [row["waited"] / row["seconds"]] if row.get("waited") and row["seconds"] else []
    slow = [f"waited for rows {share:.0%}" for share in shares if share > WORTH_SAYING]
    return "  ".join([summary({k: v for k, v in row.items() if k != "lr"}), *slow])


def seconds_left(run: Run, taken: float, first: int) -> float | None:
    """Return how long the run still takes if its steps go on as since step `first`; None if that is not known."""
    made, each = run.step - first, run.steps_per_epoch
    return taken / made * (run.epochs * each - run.step) if made and each else None


def duration(seconds: float) -> str:
    """Return a duration as text: ``2.5 s``, ``1:01``, ``2:02:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{seconds:.1f} s"
