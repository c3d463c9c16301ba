"""The progress of a run on the screen: a bar on a terminal, a line in a notebook."""

from __future__ import annotations

import html
import sys
import time
from typing import Any

from .callbacks import Callback, Run
from .history import summary

#: Seconds between two updates of a notebook's line: each is a message to the browser.
PAUSE = 0.2


def shown(progress: bool | None) -> Callback | None:
    """Return what shows the progress of a run, or None; by itself (None) on terminals and in notebooks alone."""
    if progress is False:
        return None
    if in_notebook():
        return NotebookLine()
    if progress or _is_terminal(sys.stderr):
        return TerminalBar()
    return None


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # none, closed, or a stand-in for a stream
        return False


def in_notebook() -> bool:
    """Whether the program runs in the kernel of a notebook. IPython in a terminal is a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return getattr(shell, "kernel", None) is not None


class TerminalBar(Callback):
    """A progress bar on standard error, by rich."""

    def on_begin(self, run: Run) -> None:
        """Draw the bar."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(bar_width=20),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("training", total=run.epochs, completed=run.epoch, figures="")
        self._bar.start()

    def on_epoch(self, run: Run) -> None:
        """Advance it."""
        self._bar.update(self._task, completed=run.epoch, figures=_figures(run))

    def on_end(self, run: Run) -> None:
        """Remove it."""
        self._bar.stop()


class NotebookLine(Callback):
    """A line with a bar below a notebook's cell, replaced in place; it stays there as it was in the end.

    Sent as HTML, with text for what shows no HTML; no widgets are needed.
    """

    def on_begin(self, run: Run) -> None:
        """Draw it."""
        from IPython.display import display

        self._began, self._first, self._sent = time.perf_counter(), run.epoch, time.perf_counter()
        self._line = display(self._content(run), raw=True, display_id=True)

    def on_epoch(self, run: Run) -> None:
        """Advance it, unless it was a moment ago."""
        if time.perf_counter() - self._sent >= PAUSE:
            self._update(run)

    def on_end(self, run: Run) -> None:
        """Draw how it ended."""
        self._update(run, ended=True)

    def _update(self, run: Run, ended: bool = False) -> None:
        self._sent = time.perf_counter()
        if self._line is not None:
            self._line.update(self._content(run, ended), raw=True)

    def _content(self, run: Run, ended: bool = False) -> dict[str, str]:
        taken, made = time.perf_counter() - self._began, run.epoch - self._first
        when = _duration(taken) if ended else ""
        if made and not ended:
            when = f"{_duration(taken / made * (run.epochs - run.epoch))} left"
        why = run.stopping if ended and run.stopping else ""
        parts = [f"epoch {run.epoch}/{run.epochs}", when, _figures(run), why]
        text = "  ".join(part for part in parts if part)
        bar = (
            f'<progress value="{run.epoch}" max="{run.epochs}" style="width: 12em; vertical-align: middle"></progress>'
        )
        line = f'<span style="font-family: monospace; white-space: pre-wrap">{html.escape(text)}</span>'
        return {"text/plain": text, "text/html": f"<div>{bar} {line}</div>"}


def _figures(run: Run) -> str:
    return summary({k: v for k, v in run.history[-1].items() if k != "lr"}) if len(run.history) else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{seconds:.1f} s"
