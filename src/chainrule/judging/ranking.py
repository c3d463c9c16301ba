"""How well scores rank examples: areas below the ROC and the precision-recall curve, and these curves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..core.op import Array
from .predictions import Predictions, UndefinedMetric


def counts_above(said: Predictions, weight: Array, of_class: int) -> tuple[Array, Array]:
    """Return the weights of true and of false examples at and above each different score, from the highest score."""
    ranked, ends = said.order(of_class)
    hits, weights = said.true[ranked] == of_class, weight[ranked]
    return np.cumsum(weights * hits)[ends], np.cumsum(weights * ~hits)[ends]


def auc(said: Predictions, weight: Array) -> float:
    """Return the area below the ROC curve: of the second of two classes, or the mean of each class against the rest.

    Classes that no example has are left out of the mean.
    """
    return _mean_over_classes(said, weight, _area_of_roc)


def average_precision(said: Predictions, weight: Array) -> float:
    """Return the mean of the precision over the steps of recall; of more than two classes as for `auc`."""
    return _mean_over_classes(said, weight, _area_of_precision)


def _mean_over_classes(said: Predictions, weight: Array, area: Callable[[Array, Array], float]) -> float:
    present = np.bincount(said.true, weight, said.count) > 0
    if np.count_nonzero(present) < 2:
        only = said.label(int(np.flatnonzero(present)[0]))
        raise UndefinedMetric(f"every example is of one class, {only}")
    if said.count == 2:
        return area(*counts_above(said, weight, 1))
    return float(np.mean([area(*counts_above(said, weight, int(k))) for k in np.flatnonzero(present)]))


def _area_of_roc(hits: Array, others: Array) -> float:
    x, y = np.insert(others, 0, 0.0), np.insert(hits, 0, 0.0)
    return float(np.trapezoid(y, x) / (x[-1] * y[-1]))


def _area_of_precision(hits: Array, others: Array) -> float:
    found = hits + others
    precision = np.divide(hits, found, out=np.zeros_like(hits), where=found > 0)
    return float(np.sum(np.diff(hits, prepend=0.0) * precision) / hits[-1])


def roc_curve(said: Predictions, of_class: int) -> tuple[Array, Array]:
    """Return the false and the true positive rate of a class for each threshold, from (0, 0) to (1, 1).

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.judging import Predictions, roc_curve
    >>> said = Predictions.of_probabilities(np.array([0, 1, 1]), np.array([[0.8, 0.2], [0.9, 0.1], [0.3, 0.7]]))
    >>> [rates.tolist() for rates in roc_curve(said, 1)]
    [[0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 0.5, 1.0]]
    """
    hits, others = counts_above(said, np.ones(len(said)), of_class)
    return np.insert(others / others[-1], 0, 0.0), np.insert(hits / hits[-1], 0, 0.0)


def precision_recall_curve(said: Predictions, of_class: int) -> tuple[Array, Array]:
    """Return recall and precision of a class for each threshold, from the highest.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.judging import Predictions, precision_recall_curve
    >>> said = Predictions.of_probabilities(np.array([0, 1, 1]), np.array([[0.8, 0.2], [0.5, 0.5], [0.3, 0.7]]))
    >>> [values.tolist() for values in precision_recall_curve(said, 1)]
    [[0.5, 1.0, 1.0], [1.0, 1.0, 0.6666666666666666]]
    """
    hits, others = counts_above(said, np.ones(len(said)), of_class)
    return hits / hits[-1], hits / (hits + others)
