"""A history for notebooks: the losses as curves, and the table's first, best and last rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..show.document import Block, Column, Content, Document, LineChart, Paragraph, Table

if TYPE_CHECKING:
    from .history import History

#: Rows at the beginning and at the end that are shown of a long table.
FIRST, LAST = 3, 5


def document(history: History, formatted: Callable[[Any], str]) -> Document:
    """Return the history as curves above a table, whose figures are written by `formatted`."""
    blocks: tuple[Block, ...] = (
        *_curves(history),
        _table(history, formatted) if history.rows else Paragraph("no epoch yet"),
    )
    if history.stopped:
        blocks += (Paragraph(f"stopped: {history.stopped}"),)
    blocks += tuple(Paragraph(finding, "warn") for finding in history.findings)
    return Document("Training history", blocks)


def _table(history: History, formatted: Callable[[Any], str]) -> Table:
    columns, rows = history.columns, history.rows
    shown = set(range(min(FIRST, len(rows)))) | set(range(max(len(rows) - LAST, 0), len(rows)))
    best = history.best_epoch - 1 if history.best_epoch else len(rows)
    shown |= {best} if best < len(rows) else set()
    lines: list[tuple[Content, ...]] = []
    best_line = -1
    before = -1
    for i in sorted(shown):
        if i > before + 1:
            lines.append(("…", *[""] * (len(columns) - 1)))
        best_line = len(lines) if i == best else best_line
        lines.append(tuple(formatted(rows[i].get(c)) for c in columns))
        before = i
    return Table(tuple(Column(c, "number") for c in columns), tuple(lines), {best_line: "strong"})


def _curves(history: History) -> tuple[LineChart, ...]:
    """Return the finite values of the losses over the epochs; nothing for fewer than two."""
    found: dict[str, tuple[tuple[float, float], ...]] = {
        name: tuple((i, float(v)) for i, v in enumerate(history[name]) if isinstance(v, float) and math.isfinite(v))
        for name in ("loss", "val_loss")
        if name in history.columns
    }
    found = {name: points for name, points in found.items() if len(points) > 1}
    if not found:
        return ()
    last = int(max(points[-1][0] for points in found.values()))
    epoch = history.rows[last].get("epoch", last + 1)
    return (LineChart(found, f"{' and '.join(found)} by epoch", f"epoch {epoch}"),)
