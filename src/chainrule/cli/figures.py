"""Metrics as text: one, and a table of them beside the baseline."""

from __future__ import annotations

from typing import Any


def figure(name: str, x: float) -> str:
    """Return a metric as text, as its row says."""
    from ..judging import METRICS

    return METRICS[name].shown(x) if name in METRICS else f"{x:.4g}"


def table(judged: Any) -> list[str]:
    """Return the metrics of a judgement in lines: value, interval, baseline; and those without a value."""
    from ..judging import METRICS

    rows = [(f"{len(judged.said):,} rows", "model", "95 % interval", "baseline")]
    for name, x in judged.figures.items():
        shown = METRICS[name].shown
        around = " to ".join(map(shown, judged.intervals[name])) if name in judged.intervals else ""
        beside = shown(judged.constant[name]) if name in judged.constant else ""
        rows.append((METRICS[name].title_for(judged.said), shown(x), around, beside))
    first, *widths = (max(len(row[i]) for row in rows) for i in range(4))
    lines = [row[0].ljust(first) + "".join("  " + cell.rjust(w) for cell, w in zip(row[1:], widths, strict=True))
             for row in rows]  # fmt: skip
    return [*lines, *(f"no {METRICS[name].title}: {reason}" for name, reason in judged.undefined.items())]
