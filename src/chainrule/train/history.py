"""The figures of a training run by epoch, as a table."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from .. import show
from ..core.op import Array
from ..show.document import clean

#: Columns of an epoch's duration, and of how long it waited for rows from a reader.
TIMES = ("seconds", "waited")


class History:
    """A table with a row per epoch: the loss, the metrics, those of the validation split, the learning rate, seconds.

    Attributes
    ----------
    rows : list of dict
    stopped : str or None
        Why the run ended before its last epoch; None if it didn't.
    interrupted : bool
        Whether Ctrl-C ended it.
    best_epoch : int or None
        The epoch whose weights were kept, with early stopping.
    last_parameters : dict or None
        With ``fit(ema=…)`` the parameters themselves, by path, of which the model has the averages.
    findings : list of str
        Diagnostics: overfitting, no progress, no better than a constant prediction, classes that are never predicted.

    Examples
    --------
    >>> from chainrule import History
    >>> history = History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    >>> history["loss"], len(history), history[-1]["epoch"]
    ([0.5, 0.25], 2, 2)
    """

    def __init__(self, rows: list[dict[str, Any]] | None = None) -> None:
        self.rows: list[dict[str, Any]] = list(rows or [])
        self.stopped: str | None = None
        self.interrupted = False
        self.best_epoch: int | None = None
        self.findings: list[str] = []
        self.last_parameters: dict[str, Array] | None = None

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(dict.fromkeys(k for row in self.rows for k in row))

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __getitem__(self, key: str | int | slice) -> Any:
        """Return a column (by name) as a list, or a row (by number) as a dict."""
        if not isinstance(key, str):
            return self.rows[key]
        if key not in self.columns:
            raise KeyError(f"no column {key!r}; there are {', '.join(self.columns) or 'none yet'}")
        return [row.get(key) for row in self.rows]

    def to_dict(self) -> dict[str, list[Any]]:
        """Return column name -> list of values."""
        return {c: self[c] for c in self.columns}

    def __repr__(self) -> str:
        last = (
            ", ".join(f"{k} {formatted(v)}" for k, v in self.rows[-1].items() if k != "epoch") if self.rows else "empty"
        )
        stopped = f"; stopped: {self.stopped}" if self.stopped else ""
        return clean(f"History({len(self.rows)} epochs; {last}{stopped})")

    def _repr_html_(self) -> str:
        from .history_html import document  # needed in notebooks only

        return show.as_fragment(document(self, formatted), bare=True)

    def __str__(self) -> str:
        columns = self.columns
        cells = [columns, *[[formatted(row.get(c)) for c in columns] for row in self.rows]]
        widths = [max(len(r[i]) for r in cells) for i in range(len(columns))]
        lines = ["  ".join(c.rjust(w) for c, w in zip(r, widths, strict=True)) for r in cells]
        if self.stopped:
            lines.append(f"stopped: {self.stopped}")
        lines += self.findings
        return "\n".join(lines)

    def plot(self, path: str | None = None) -> Any:
        """Draw loss and metrics by epoch with matplotlib, write them to `path` if given, and return the figure.

        A notebook shows the figure if it is the last expression of a cell.

        Raises
        ------
        ImportError
            Without matplotlib (the extra ``plot``).
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise ImportError("History.plot needs matplotlib: pip install 'chainrule[plot]'") from None
        names = [c for c in self.columns if c not in ("epoch", "lr", *TIMES) and not c.startswith("val_")]
        figure: Any = Figure(figsize=(4.5 * max(len(names), 1), 3.2), layout="constrained")
        figure._repr_png_ = partial(_png, figure)  # notebooks know only figures of pyplot
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0] if names else (), names, strict=False):
            for column, label in ((name, "training"), (f"val_{name}", "validation")):
                if column in self.columns:
                    axes.plot(self["epoch"], self[column], label=label)
            axes.set_xlabel("epoch")
            axes.set_ylabel(name)
            axes.legend()
        if path is not None:
            figure.savefig(path)
        return figure


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def formatted(x: Any) -> str:
    """Return a figure formatted for tables."""
    if isinstance(x, float):
        return f"{x:.4g}" if abs(x) < 1e-3 or abs(x) >= 1e4 else f"{x:.4f}"
    return "" if x is None else str(x)


def summary(row: Mapping[str, Any]) -> str:
    """Return a row as one line, for progress."""
    return "  ".join(f"{k} {formatted(v)}" for k, v in row.items() if k not in ("epoch", *TIMES))
