"""A history as HTML for notebooks: the losses as curves and the table's first, best and last rows. No scripts."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from .history import formatted

if TYPE_CHECKING:
    from .history import History

#: Rows at the beginning and at the end that are shown of a long table.
FIRST, LAST = 3, 5
#: Points of a curve: of longer ones the least and the greatest of each stretch are drawn.
MOST_POINTS = 1000
WIDTH, HEIGHT = 320, 120
#: Readable on white and on black.
COLORS = {"loss": "#2a85c7", "val_loss": "#d9822b"}

_STYLE = """
.chainrule-history { font-size: 13px; color: inherit; max-width: 100%; overflow-x: auto; }
.chainrule-history table { border-collapse: collapse; font: inherit; color: inherit; }
.chainrule-history th, .chainrule-history td { padding: 1px 0.8em; text-align: right; white-space: nowrap; border: 0;
  background: transparent; font-variant-numeric: tabular-nums; }
.chainrule-history .best { font-weight: bold; }
.chainrule-history svg { display: block; max-width: 100%; }
"""


def as_html(history: History) -> str:
    """Return the history as curves above a table."""
    parts = [_curves(history), _table(history)]
    if history.stopped:
        parts.append(f"<div>stopped: {escape(history.stopped)}</div>")
    return f'<div class="chainrule-history"><style>{_STYLE}</style>{"".join(parts)}</div>'


def _table(history: History) -> str:
    columns, rows = history.columns, history.rows
    if not rows:
        return "<div>no epoch yet</div>"
    shown = set(range(min(FIRST, len(rows)))) | set(range(max(len(rows) - LAST, 0), len(rows)))
    best = history.best_epoch - 1 if history.best_epoch else None
    shown |= {best} if best is not None and best < len(rows) else set()
    lines = ["<tr>" + "".join(f"<th>{escape(c)}</th>" for c in columns) + "</tr>"]
    before = -1
    for i in sorted(shown):
        if i > before + 1:
            lines.append(f'<tr><td>…</td><td colspan="{max(len(columns) - 1, 1)}"></td></tr>')
        cells = "".join(f"<td>{escape(formatted(rows[i].get(c)))}</td>" for c in columns)
        lines.append(f"<tr{' class=best' if i == best else ''}>{cells}</tr>")
        before = i
    return f"<table>{''.join(lines)}</table>"


def _curves(history: History) -> str:
    """Draw the finite values of the losses over the epochs; nothing for fewer than two."""
    found = {
        name: [(i, float(v)) for i, v in enumerate(history[name]) if isinstance(v, float) and math.isfinite(v)]
        for name in COLORS
        if name in history.columns
    }
    found = {name: points for name, points in found.items() if len(points) > 1}
    if not found:
        return ""
    values = [v for points in found.values() for _, v in points]
    low, high = min(values), max(values)
    left, right, top, bottom = 4, WIDTH - 90, 12, HEIGHT - 18
    lines = []
    for n, (name, points) in enumerate(found.items()):
        places = (
            f"{left + (right - left) * i / (len(history) - 1):.1f},{bottom - (bottom - top) * _share(v, low, high):.1f}"
            for i, v in _thinned(points)
        )
        path = f'<polyline points="{" ".join(places)}" fill="none" stroke="{COLORS[name]}" stroke-width="1.5"/>'
        label = f'<text x="{right + 8}" y="{top + 14 * n + 4}" fill="{COLORS[name]}">{name}</text>'
        lines.append(path + label)
    axis = f'<path d="M{left},{top}V{bottom}H{right}" fill="none" stroke="currentColor" opacity="0.4"/>'
    scale = "".join(
        f'<text x="{x}" y="{y}" fill="currentColor" text-anchor="{anchor}">{text}</text>'
        for x, y, anchor, text in (
            (left + 4, top - 2, "start", formatted(high)),
            (left + 4, bottom - 3, "start", formatted(low)),
            (right, bottom + 13, "end", f"epoch {history.rows[-1].get('epoch', len(history))}"),
        )
    )
    title = f"{' and '.join(found)} by epoch"
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}" '
        f'font-size="11">{axis}{scale}{"".join(lines)}</svg>'
    )


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return the first and the last point, and of each stretch between them the least and the greatest."""
    if len(points) <= MOST_POINTS:
        return points
    length = -(-len(points) // (MOST_POINTS // 2))
    stretches = [points[k : k + length] for k in range(0, len(points), length)]
    ends = [f(s, key=lambda point: point[1]) for s in stretches for f in (min, max)]
    return sorted({points[0], *ends, points[-1]})


def _share(value: float, low: float, high: float) -> float:
    return (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5
