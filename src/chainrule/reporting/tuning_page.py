"""The page of a search for settings: the losses of its trials, what matters, and all trials in a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.wording import counted
from ..io.files import write_atomically
from ..show import html
from ..show.document import Block, Column, Document, Heading, LineChart, Paragraph, Table


@dataclass(frozen=True)
class Trial:
    """A trial: the settings that were tried, as text, none for the defaults; the lowest validation loss; its length."""

    number: int
    settings: Mapping[str, str]
    loss: float
    ended: bool
    epochs: int
    seconds: float

    @property
    def words(self) -> str:
        """The settings as words."""
        return ", ".join(f"{name} {value}" for name, value in self.settings.items()) or "the defaults"


def write_page(file: Path, trials: Sequence[Trial], importances: Mapping[str, float], best: Trial | None) -> None:
    """Write the page of a search."""
    write_atomically(file, html.page(_document(trials, importances, best)).encode())


def _document(trials: Sequence[Trial], importances: Mapping[str, float], best: Trial | None) -> Document:
    blocks: list[Block] = [Heading("Search for settings", 1)]
    if best is None:
        return Document("Search for settings", (*blocks, Paragraph("no trial has ended yet")))
    early = sum(not trial.ended for trial in trials)
    was = "was" if early == 1 else "were"
    blocks += [
        Paragraph(
            f"Best: trial {best.number} of {len(trials)}, validation loss {best.loss:.4g}: {best.words}.", "strong"
        ),
        *[Paragraph(f"{counted(early, 'trial')} {was} ended early, since the median of the others was better.")]
        * bool(early),
        *_curves(trials),
    ]
    if importances:
        rows = tuple((name, f"{100 * share:.0f} %") for name, share in importances.items())
        note = "The share of the difference between good and other trials that each setting accounts for."
        columns = (Column("setting"), Column("importance", "number"))
        blocks += [Heading("What matters"), Paragraph(note, "dim"), Table(columns, rows)]
    return Document("Search for settings", (*blocks, Heading("Trials"), _table(trials, best)))


def _curves(trials: Sequence[Trial]) -> tuple[LineChart, ...]:
    """Return the losses of the trials that ended, and the best one up to each."""
    points = [(float(trial.number), trial.loss) for trial in trials if trial.ended and math.isfinite(trial.loss)]
    if len(points) < 2:
        return ()
    best = [(x, min(y for _, y in points[: i + 1])) for i, (x, _) in enumerate(points)]
    curves = {"trial": tuple(points), "best so far": tuple(best)}
    return (LineChart(curves, "validation loss by trial", f"trial {trials[-1].number}"),)


def _table(trials: Sequence[Trial], best: Trial) -> Table:
    names = list(dict.fromkeys(name for trial in trials for name in trial.settings))
    head = [Column("trial", "number"), *(Column(name) for name in names)]
    head += [Column("validation loss", "number"), Column("epochs", "number"), Column("seconds", "number"), Column("")]
    ranked = sorted(trials, key=lambda trial: (not trial.ended, trial.loss))
    rows = tuple(
        (
            str(trial.number), *(trial.settings.get(name, "default") for name in names),
            f"{trial.loss:.4g}" if math.isfinite(trial.loss) else "-", str(trial.epochs), f"{trial.seconds:.1f}",
            "" if trial.ended else "ended early",
        )
        for trial in ranked
    )  # fmt: skip
    return Table(tuple(head), rows, {ranked.index(best): "strong"})
