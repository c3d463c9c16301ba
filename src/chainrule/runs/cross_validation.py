"""Cross-validation: a run for each fold of the training split, measured on the rows that it was not trained on."""

from __future__ import annotations

import csv
import io as text
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import data, io
from ..core.arguments import integer
from ..core.op import Array
from .preparing import Prepared
from .settings import Settings
from .trained import Trained
from .training import Result, train

#: What is written into the folder of a run: the figures, the predictions for all rows, and a run for each fold.
FIGURES, PREDICTIONS, FOLDS = "cross_validation.json", "out_of_fold.csv", "folds"


@dataclass
class CrossValidation:
    """What was measured on each fold.

    Attributes
    ----------
    figures : dict of str to list of float
        By metric, a number for each fold where it has a value.
    fold : array of shape (m,)
        The fold of each row of the training split.
    predictions : dict of str to array
        Column -> a value for each row, by the network that was not trained on it: the prediction and probabilities.
    """

    figures: dict[str, list[float]]
    fold: Array
    predictions: dict[str, Array]


def cross_validate(
    prepared: Prepared,
    settings: Settings,
    folder: Path,
    folds: int,
    *,
    after: Callable[[int, Result], None] | None = None,
    **how: Any,
) -> CrossValidation:
    """Train and measure a network for each fold of the training split, and write what was found into a folder.

    Parameters
    ----------
    prepared : Prepared
        Rows or images; the test split is not used.
    settings : Settings
    folder : Path
        Gets ``cross_validation.json`` with the metrics of each fold, ``out_of_fold.csv`` with the predictions for the
        rows of the training split, and the runs in ``folds/1``, ….
    folds : int
        At least 2. Of classes, each fold has the same share of each as far as that is possible; the rows of a group
        are in the same fold.
    after : function or None
        Called with the number of each fold, from 1, and what was found.
    how
        As for `train`.
    """
    folds = integer("cv", folds, at_least=2)
    if prepared.is_of_text:
        raise ValueError("cv: is for tables and images, and this is a text; leave it out")
    whole, kind = prepared.train, prepared.preprocessor
    integer("cv", folds, at_least=2, at_most=len(whole))
    strata = None if kind.task == "regression" else whole.y
    fold = data.folds(len(whole), folds, settings.seed, strata, groups=whole.groups)
    figures: dict[str, list[float]] = {}
    predictions: dict[str, Array] = {}
    for k in range(folds):
        inside, outside = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        part, held = whole.take(inside), whole.take(outside)
        there = folder / FOLDS / str(k + 1)
        there.mkdir(parents=True, exist_ok=True)
        once = replace(prepared, preprocessor=kind.refit(part), train=part, test=held, validation=None)
        result = train(once, settings, there, **how)
        if after is not None:
            after(k + 1, result)
        for name, value in result.metrics["test"].items():
            figures.setdefault(name, []).append(value)
        for name, values in Trained.load(there).predict(held).items():
            column = predictions.setdefault(name, np.empty(len(whole), object))
            column[outside] = values
    found = CrossValidation(figures, fold, predictions)
    summary = {"folds": folds, "figures": figures, "mean": _each(figures, np.mean), "deviation": _each(figures, np.std)}
    io.write_atomically(folder / FIGURES, (json.dumps(summary, indent=2) + "\n").encode())
    io.write_atomically(folder / PREDICTIONS, _csv(found, whole))
    return found


def _each(figures: dict[str, list[float]], function: Any) -> dict[str, float]:
    return {name: float(function(values)) for name, values in figures.items()}


def _csv(found: CrossValidation, whole: data.Dataset) -> bytes:
    """Return the predictions beside the row in the data (from 1), the fold, and the target."""
    rows = np.arange(len(whole)) if whole.rows is None else whole.rows
    assert whole.y is not None
    columns = {"row": rows + 1, "fold": found.fold + 1, whole.target_name or "y": whole.y, **found.predictions}
    buffer = text.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
    return buffer.getvalue().encode()
