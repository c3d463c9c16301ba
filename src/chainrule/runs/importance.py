"""What a trained model makes of each column: how much worse it is without it, and how its predictions depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import judging
from ..core.arguments import integer
from ..core.op import Array
from ..data import Dataset

if TYPE_CHECKING:
    from .trained import Trained

#: Rows that are predicted for at most, and how often a column is permuted; columns of wider tables are not judged.
ROWS, REPEATS, COLUMNS = 2000, 5, 400
#: Predictions for all permutations together: of wide tables, fewer rows are predicted for, but not fewer than these.
PREDICTIONS, FEWEST_ROWS = 200_000, 200
#: Of a partial dependence: rows, points of a column of numbers, categories, and classes.
DEPENDENCE_ROWS, POINTS, CATEGORIES, CLASSES = 300, 12, 8, 5


@dataclass(frozen=True)
class Importance:
    """How much a metric gets worse when the values of a column are permuted, by column, the largest first.

    Attributes
    ----------
    metric : str
        A key of `judging.METRICS`.
    worse : dict of str to (float, float)
        Column -> mean and standard deviation over the permutations.
    rows, repeats : int
        How many rows were predicted for, and how often each column was permuted.
    """

    metric: str
    worse: dict[str, tuple[float, float]]
    rows: int
    repeats: int


def importance(trained: Trained, dataset: Dataset, *, repeats: int = REPEATS, seed: int = 0) -> Importance | None:
    """Permute each column of rows with targets, and measure the predictions; None of images and of wide tables.

    The columns are those of the data, before preprocessing. Of many rows a sample is taken.
    """
    integer("repeats", repeats, at_least=1)
    columns = _columns(trained, dataset)
    if not 0 < len(columns) <= COLUMNS:
        return None
    rng = np.random.default_rng(integer("seed", seed, at_least=0))
    rows = _sample(dataset, max(min(ROWS, PREDICTIONS // (repeats * len(columns))), FEWEST_ROWS), rng)
    n, columns = len(rows), _columns(trained, rows)
    metric = _metric(trained, rows)

    def errors(part: Dataset) -> list[float]:
        outputs, targets = trained.outputs(part)
        found = []
        for start in range(0, len(part), n):  # a permutation each
            one = outputs[start : start + n], targets[start : start + n]
            said = trained.rule.predictions(trained.preprocessor, trained.loss, *one)
            assert said is not None
            found.append(-metric.better * metric.function(said, np.ones(n)))
        return found

    (whole,), found = errors(rows), {}
    again = rows.take(np.tile(np.arange(n), repeats))
    repeated = _columns(trained, again)
    for name, values in columns.items():
        orders = np.concatenate([rng.permutation(n) for _ in range(repeats)])
        worse = np.subtract(errors(_with(again, repeated, name, values[orders])), whole)
        found[name] = float(worse.mean()), float(worse.std())
    return Importance(metric.name, dict(sorted(found.items(), key=lambda item: -item[1][0])), n, repeats)


def partial_dependence(trained: Trained, dataset: Dataset, name: str, *, seed: int = 0) -> tuple[list[Any], Array]:
    """Return values of a column, and the mean prediction if all rows had each of them.

    Of two classes it is the probability of the second one, of more those of the first ones, else the value.
    """
    rows = _sample(dataset, DEPENDENCE_ROWS, np.random.default_rng(integer("seed", seed, at_least=0)))
    columns = _columns(trained, rows)
    points = _points(_columns(trained, dataset)[name])
    means = []
    for point in points:
        said = trained.predict(_with(rows, columns, name, np.full(len(rows), point, columns[name].dtype)))
        prediction = said.pop("prediction")
        shares = [values.mean() for values in said.values()]
        means.append(shares[1:2] if len(shares) == 2 else shares[:CLASSES] or [prediction.mean()])
    return points, np.array(means, np.float64)


def _columns(trained: Trained, dataset: Dataset) -> Mapping[str, Array]:
    """Return the raw columns that the model uses; none of images."""
    if trained.preprocessor.image_shape is not None:
        return {}
    if dataset.columns is not None:
        return {name: dataset.columns[name] for name in trained.preprocessor.input_names}
    assert dataset.X is not None
    return dict(zip(dataset.feature_names, dataset.X.T, strict=True))


def _with(dataset: Dataset, columns: Mapping[str, Array], name: str, values: Array) -> Dataset:
    """Return rows with other values in one column."""
    changed = {**columns, name: values}
    if dataset.columns is not None:
        return dataset.with_columns(changed)
    return Dataset(
        np.column_stack([*changed.values()]), None, dataset.feature_names, dataset.y, dataset.target_name, dataset.task
    )


def _sample(dataset: Dataset, most: int, rng: np.random.Generator) -> Dataset:
    return dataset if len(dataset) <= most else dataset.take(rng.choice(len(dataset), most, replace=False))


def _metric(trained: Trained, dataset: Dataset) -> judging.Metric:
    """Return the most telling metric that the predictions have."""
    said = trained.rule.predictions(trained.preprocessor, trained.loss, *trained.outputs(dataset))
    if said is None:
        raise ValueError("importance: needs one prediction for each row")
    return next(m for m in (judging.METRICS[name] for name in judging.TELLING) if m.fits(said))


def _points(values: Array) -> list[Any]:
    """Return the values of a column to show: the most frequent texts, or evenly spread numbers or dates."""
    if values.dtype == object:
        texts, counts = np.unique([v for v in values.tolist() if v is not None], return_counts=True)
        return sorted(texts[np.argsort(-counts, kind="stable")[:CATEGORIES]].tolist())
    known = np.sort(values[values == values])
    places = np.linspace(0.02, 0.98, POINTS) * (len(known) - 1)
    return list(np.unique(known[places.round().astype(int)]))
