"""What the commands print: labelled lines, reports, and errors in one line.

Names of columns, classes and files come from data, so everything is printed by `echo` here, which lets nothing through
that a terminal would obey.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import textwrap
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from ..show.document import printable

#: The styles of `show.terminal` that are not colours.
_STYLES: dict[str, dict[str, Any]] = {"bold": {"bold": True}, "dim": {"dim": True}}


def echo(text: str, err: bool = False) -> None:
    """Print lines, with escapes for what cannot be printed."""
    click.echo(printable(text, keep="\n"), err=err)


def emit(text: str) -> None:
    """Write a result: its own bytes into a file or a pipe, and to a terminal only what can be printed."""
    sys.stdout.write(printable(text, keep="\n") if sys.stdout.isatty() else text)
    sys.stdout.flush()


@contextmanager
def explained(status: int = 1) -> Iterator[None]:
    """Turn errors that a user can fix into one line on standard error and an exit status; show warnings as a line."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            yield
    except BrokenPipeError:  # the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(0) from None
    except (ValueError, TypeError, LookupError, OSError, ImportError, ArithmeticError, MemoryError) as error:
        if os.environ.get("CHAINRULE_TRACEBACK"):
            raise
        fail(_reason(error), status)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP of a terminal that is closed, do what Ctrl-C does; exit with their status afterwards."""
    asked: list[int] = []

    def handle(number: int, frame: Any) -> None:
        asked.append(number)
        signal.raise_signal(signal.SIGINT)

    in_main = threading.current_thread() is threading.main_thread()
    ending = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ours = [s for s in ending if in_main and signal.getsignal(s) is signal.SIG_DFL]  # else someone looks after it
    for number in ours:
        signal.signal(number, handle)
    try:
        yield
    except (KeyboardInterrupt, click.Abort):
        if not asked:
            raise
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
    if asked:
        raise click.exceptions.Exit(128 + asked[0])


def _reason(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return f"not enough memory ({error})" if str(error) else "not enough memory"
    if isinstance(error, OSError) and error.strerror:  # without "[Errno 28]"
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return text or type(error).__name__


def _warn(
    message: Any, category: type[Warning], filename: str, lineno: int, file: Any = None, line: str | None = None
) -> None:
    where = "" if category is UserWarning else f"{filename}, line {lineno}: {category.__name__}: "
    echo("warning: " + " ".join(f"{where}{message}".split()), err=True)


def fail(message: str, status: int = 1) -> NoReturn:
    """Print an error and exit."""
    echo("error: " + " ".join(message.split()), err=True)
    raise click.exceptions.Exit(status)


def say(label: str, *lines: str) -> None:
    """Print lines next to a label, wrapped to the terminal's width in their own column."""
    width = min(shutil.get_terminal_size().columns, 120) if sys.stdout.isatty() else 10_000
    for i, line in enumerate(lines):
        indent = f"{label if i == 0 else '':<9}"
        for part in textwrap.wrap(printable(line), max(width, 40), initial_indent=indent, subsequent_indent=" " * 9):
            echo(part)


def sizes(model: Any) -> str:
    """Return a network's layer sizes and the kinds of its other layers, such as ``64-256-10 ReLU``."""
    from ..nn import Conv2d, Linear, TransformerEncoderLayer

    modules = list(model.modules())
    linear = [(m.in_features, m.out_features) for m in modules if isinstance(m, Linear)]
    channels = [(m.in_channels, m.out_channels) for m in modules if isinstance(m, Conv2d)]
    transformers = [m for m in modules if isinstance(m, TransformerEncoderLayer)]
    if transformers:
        first = transformers[0]
        return f"transformer of width {first.d_model}, layers: {len(transformers)}, heads: {first.nhead}"
    known = {"Conv2d", "Linear", "Dropout", "Sequential"}
    kinds = {name for m in modules if (name := type(m).__name__) not in known}
    convolutions = [f"Conv2d {_chain(channels)}, Linear" for _ in channels[:1]]
    return " ".join([*convolutions, *[_chain(linear) for _ in linear[:1]], *sorted(kinds)])


def _chain(widths: Sequence[tuple[int, int]]) -> str:
    return "-".join(map(str, (widths[0][0], *(after for _, after in widths))))


def write(path: Path, text: str) -> None:
    """Write a file, and say so on standard error."""
    from ..io import write_atomically

    write_atomically(path, text.encode())
    echo(f"written to {path}", err=True)


def show(report: Any) -> None:
    """Print a report: in colours on a terminal, in 80 columns elsewhere."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        echo(str(report))
    else:
        _show_in_colours(report.__rich__().document)


def show_document(document: Any) -> None:
    """Print a document like a report."""
    from ..show import as_text

    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        echo(as_text(document))
    else:
        _show_in_colours(document)


def _show_in_colours(document: Any) -> None:
    from ..show.terminal import lines

    for line in lines(document.blocks, shutil.get_terminal_size().columns):
        click.echo(
            "".join(click.style(word, **_STYLES.get(style, {"fg": style})) if style else word for word, style in line)
        )
