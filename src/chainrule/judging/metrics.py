"""The table of metrics: what each is called, what it needs, which direction is better, and how it is computed.

`evaluate`, the history of a training run, reports and searches read this table. A function takes predictions and the
weight of each example, which a bootstrap uses to draw examples more than once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..core.op import Array
from .calibration import calibration_error
from .predictions import Kind, Predictions, UndefinedMetric
from .ranking import auc, average_precision

#: Probabilities are kept this far from 0 and 1 in a logarithm, as scikit-learn does.
EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Metric:
    """A row of `METRICS`.

    Attributes
    ----------
    name : str
        As it is written in files and given by callers.
    title : str
        As it is shown.
    kind : {"classes", "values"}
        What it judges.
    needs : {"labels", "scores", "probabilities", "values"}
        What the predictions must have; probabilities are scores, too.
    better : {1, -1, 0}
        The sign of an improvement; 0 for a figure that only describes.
    function : function
        (predictions, weight of each example) -> number; raises `UndefinedMetric` where there is none.
    in_percent : bool
        Whether it is shown as a percentage.
    of_one : bool
        Whether it is, of two classes, about the second one only.

    Examples
    --------
    >>> from chainrule import judging
    >>> auc = judging.METRICS["auc"]
    >>> auc.title, auc.needs, auc.better
    ('AUC', 'scores', 1)
    """

    name: str
    title: str
    kind: Kind
    needs: Literal["labels", "scores", "probabilities", "values"]
    better: Literal[1, -1, 0]
    function: Callable[[Predictions, Array], float]
    in_percent: bool = False
    of_one: bool = False

    def fits(self, said: Predictions) -> bool:
        """Whether it can be asked of these predictions."""
        return self.kind == said.kind and (said.has_probabilities or self.needs != "probabilities")

    def title_for(self, said: Predictions) -> str:
        """Return its title, with the class that it is about."""
        return f"{self.title} of {said.label(1)}" if self.of_one and said.count == 2 else self.title

    def shown(self, x: float) -> str:
        """Return a value as text: four digits, and of thousands all, without an exponent."""
        if self.in_percent:
            return f"{100 * x:.2f} %"
        return f"{float(f'{x:.4g}'):,.0f}" if 1e3 <= abs(x) < 1e15 else f"{x:.4g}"


def measure(said: Predictions, weight: Array | None = None) -> tuple[dict[str, float], dict[str, str]]:
    """Return the metrics that have a value for these predictions, and of the others why they have none.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.judging import Predictions, measure
    >>> measure(Predictions.of_values(np.array([3.0, 3.0]), np.array([2.0, 3.0])))[1]
    {'r2': 'every target is the same'}
    """
    weight = np.ones(len(said)) if weight is None else weight
    found: dict[str, float] = {}
    undefined: dict[str, str] = {}
    for name, metric in METRICS.items():
        if metric.fits(said):
            try:
                found[name] = float(metric.function(said, weight))
            except UndefinedMetric as reason:
                undefined[name] = str(reason)
    return found, undefined


def _accuracy(said: Predictions, weight: Array) -> float:
    return float(np.average(said.predicted == said.true, weights=weight))


def confusion(said: Predictions, weight: Array) -> Array:
    """Return the weight of the examples of each true class (row) with each predicted class (column).

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import judging
    >>> said = judging.Predictions.of_probabilities(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]]))
    >>> judging.confusion(said, np.ones(3))
    array([[1., 0.],
           [1., 1.]])
    """
    count = said.count
    return np.bincount(said.true * count + said.predicted, weight, count * count).reshape(count, count)


def _balanced_accuracy(said: Predictions, weight: Array) -> float:
    counts = confusion(said, weight)
    rows = counts.sum(axis=1)
    return float(np.mean(counts.diagonal()[rows > 0] / rows[rows > 0]))


def _f1(said: Predictions, weight: Array) -> float:
    """Of two classes that of the second one; of more, the mean over the classes that occur."""
    counts = confusion(said, weight)
    right, both = 2 * counts.diagonal(), counts.sum(axis=0) + counts.sum(axis=1)
    if said.count == 2:
        if both[1] == 0:
            raise UndefinedMetric(f"{said.label(1)} is neither true nor predicted of any example")
        return float(right[1] / both[1])
    return float(np.mean(right[both > 0] / both[both > 0]))


def _log_loss(said: Predictions, weight: Array) -> float:
    assert said.scores is not None
    of_true = said.scores[np.arange(len(said)), said.true]
    return float(np.average(-np.log(np.clip(of_true, EPSILON, 1 - EPSILON)), weights=weight))


def _brier(said: Predictions, weight: Array) -> float:
    assert said.scores is not None
    if said.count == 2:
        return float(np.average((said.scores[:, 1] - said.true) ** 2, weights=weight))
    of_true = said.scores[np.arange(len(said)), said.true]
    return float(np.average((said.scores**2).sum(axis=1) - 2 * of_true + 1, weights=weight))


def _r2(said: Predictions, weight: Array) -> float:
    spread = np.average((said.true - np.average(said.true, weights=weight)) ** 2, weights=weight)
    if spread <= 0 or np.ptp(said.true[weight > 0]) == 0:
        raise UndefinedMetric("every target is the same")
    return float(1 - np.average(said.errors**2, weights=weight) / spread)


def _rmse(said: Predictions, weight: Array) -> float:
    return float(np.sqrt(np.average(said.errors**2, weights=weight)))


def _mae(said: Predictions, weight: Array) -> float:
    return float(np.average(np.abs(said.errors), weights=weight))


def _quantile(values: Array, weight: Array, share: float) -> float:
    """Return the least of ascending values at or below which this share of the weight lies."""
    total = np.cumsum(weight)
    return float(values[np.searchsorted(total, share * total[-1])])


def _absolute_error(share: float) -> Callable[[Predictions, Array], float]:
    return lambda said, weight: _quantile(np.abs(said.errors)[said.by_error[1]], weight[said.by_error[1]], share)


def _error(share: float) -> Callable[[Predictions, Array], float]:
    return lambda said, weight: _quantile(said.errors[said.by_error[0]], weight[said.by_error[0]], share)


_ROWS = (
    Metric("log_loss", "log loss", "classes", "probabilities", -1, _log_loss),
    Metric("accuracy", "accuracy", "classes", "labels", 1, _accuracy, in_percent=True),
    Metric("balanced_accuracy", "balanced accuracy", "classes", "labels", 1, _balanced_accuracy, in_percent=True),
    Metric("auc", "AUC", "classes", "scores", 1, auc),
    Metric("average_precision", "average precision", "classes", "scores", 1, average_precision, of_one=True),
    Metric("f1", "F1", "classes", "labels", 1, _f1, of_one=True),
    Metric("brier", "Brier score", "classes", "probabilities", -1, _brier),
    Metric("calibration_error", "calibration error", "classes", "probabilities", -1, calibration_error),
    Metric("r2", "R²", "values", "values", 1, _r2),
    Metric("rmse", "RMSE", "values", "values", -1, _rmse),
    Metric("mae", "MAE", "values", "values", -1, _mae),
    Metric("median_error", "median |error|", "values", "values", -1, _absolute_error(0.5)),
    Metric("error_90", "90 % of |error| below", "values", "values", -1, _absolute_error(0.9)),
    Metric("error_low", "5 % quantile of error", "values", "values", 0, _error(0.05)),
    Metric("error_high", "95 % quantile of error", "values", "values", 0, _error(0.95)),
)

METRICS: Mapping[str, Metric] = {row.name: row for row in _ROWS}
"""Name -> `Metric`, in the order in which they are shown."""
