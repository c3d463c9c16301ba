"""Metrics as text: one, and a table of them beside the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def figure(name: str, x: float) -> str:
    """Return a metric as text, as its row says."""
    from ..judging import METRICS

    return METRICS[name].shown(x) if name in METRICS else f"{x:.4g}"


def short(figures: Mapping[str, float]) -> str:
    """Return the telling metrics of a split; only without one the loss, which is of outputs before any temperature."""
    from ..judging import METRICS

    names = [name for name in ("log_loss", "rmse") if name in figures] or ["loss"]
    named = [(METRICS[name].title if name in METRICS else name, name) for name in (*names, "accuracy")]
    return ", ".join(f"{title} {figure(name, figures[name])}" for title, name in named if name in figures)


def table(judged: Any) -> list[str]:
    """Return the metrics of a judgement in lines: value, interval, baseline; and those without a value."""
    from ..judging import METRICS

    rows = [(f"{len(judged.said):,} rows", "model", "95 % interval", "baseline")]
    for name, x in judged.figures.items():
        shown = METRICS[name].shown
        around = " to ".join(map(shown, judged.intervals[name])) if name in judged.intervals else ""
        beside = shown(judged.constant[name]) if name in judged.constant else ""
        rows.append((METRICS[name].title_for(judged.said), shown(x), around, beside))
    return [*aligned(rows), *(f"no {METRICS[name].title}: {reason}" for name, reason in judged.undefined.items())]


def spread(found: Any) -> list[str]:
    """Return the metrics of a cross-validation in lines: mean, deviation, range over the folds."""
    import numpy as np

    from ..judging import METRICS

    rows = [(f"{max(found.fold) + 1} folds", "mean", "deviation", "range")]
    for name, values in found.figures.items():
        if name in METRICS:
            mean, deviation, low, high = map(
                METRICS[name].shown, (np.mean(values), np.std(values), min(values), max(values))
            )
            rows.append((METRICS[name].title, mean, deviation, f"{low} to {high}"))
    return aligned(rows)


def columns_of(found: Any) -> list[str]:
    """Return the importances of columns in lines: by how much the metric gets worse, and the deviation of that."""
    from ..judging import METRICS

    rows = [(f"{METRICS[found.metric].title} worse by", f"mean of {found.repeats}", "deviation")]
    return aligned(rows + [(name, f"{mean:.4g}", f"{spread:.2g}") for name, (mean, spread) in found.worse.items()])


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return rows as lines, the first column at the left and the others at the right."""
    first, *widths = (max(len(row[i]) for row in rows) for i in range(len(rows[0])))
    return [
        row[0].ljust(first) + "".join("  " + cell.rjust(w) for cell, w in zip(row[1:], widths, strict=True))
        for row in rows
    ]
