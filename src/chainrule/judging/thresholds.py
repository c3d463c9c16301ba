"""The probability from which the second of two classes is predicted, chosen by a metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ..core.op import Array
from .predictions import Predictions, UndefinedMetric
from .ranking import counts_above


def _f1(hits: Array, others: Array) -> Array:
    return np.asarray(2 * hits / (hits + others + hits[-1]))


def _balanced(hits: Array, others: Array) -> Array:
    return np.asarray(hits / hits[-1] + 1 - others / others[-1])


CHOICES: Mapping[str, Callable[[Array, Array], Array]] = {"f1": _f1, "balanced": _balanced}
"""By what a threshold is chosen: name -> function of the true and the false positives for each threshold."""


def best_threshold(said: Predictions, by: str) -> float:
    """Return the probability of the second class with the largest F1 or balanced accuracy.

    It lies in the middle between two probabilities of the examples.

    Parameters
    ----------
    said : Predictions
        Of two classes, for examples that the model was not trained on.
    by : {"f1", "balanced"}

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.judging import Predictions, best_threshold
    >>> p = np.array([0.1, 0.2, 0.3, 0.4])
    >>> said = Predictions.of_probabilities(np.array([0, 0, 1, 1]), np.stack([1 - p, p], axis=1))
    >>> best_threshold(said, "f1")
    0.25
    """
    if not said.has_probabilities or said.count != 2 or said.scores is None:
        raise ValueError("threshold: needs the probabilities of two classes")
    if len(np.unique(said.true)) < 2:
        raise UndefinedMetric(f"threshold: every example is of one class, {said.label(int(said.true[0]))}")
    hits, others = counts_above(said, np.ones(len(said)), 1)
    ranked, ends = said.order(1)
    values = said.scores[ranked, 1][ends]
    at = int(np.argmax(CHOICES[by](hits, others)))
    below = values[at + 1] if at + 1 < len(values) else 0.0
    return float((values[at] + below) / 2)
