"""Whether probabilities are as often right as they say, and the temperature that makes them so."""

from __future__ import annotations

import numpy as np

from ..core.op import Array
from .predictions import Predictions

#: Bins of equal width from 0 to 1.
BINS = 15
#: Temperatures that are tried lie between its inverse and this; steps of the search for the best.
MOST_TEMPERATURE, STEPS = 100.0, 60


def confidences(said: Predictions) -> tuple[Array, Array]:
    """Return the probabilities that are judged, and whether what they are of is true.

    Of two classes it is the probability of the second one; of more, that of the most probable class.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import judging
    >>> said = judging.Predictions.of_probabilities(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]]))
    >>> probabilities, right = judging.confidences(said)
    >>> probabilities, right
    (array([0.1, 0.6, 0.3]), array([False,  True,  True]))
    """
    assert said.scores is not None
    if said.count == 2:
        return said.scores[:, 1], said.true == 1
    best = said.scores.argmax(axis=1)
    return said.scores[np.arange(len(said)), best], said.true == best


def binned(said: Predictions, weight: Array | None = None) -> tuple[Array, Array, Array]:
    """Return of each bin the weight of its examples, the sum of their probabilities, and the weight of the true ones.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.judging import Predictions, binned
    >>> said = Predictions.of_probabilities(np.array([0, 1]), np.array([[0.8, 0.2], [0.3, 0.7]]))
    >>> [int(n) for n in binned(said)[0]]
    [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]
    """
    weight = np.ones(len(said)) if weight is None else weight
    p, hits = confidences(said)
    places = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    counts, sums, right = (np.bincount(places, weight * x, BINS) for x in (1.0, p, hits))
    return counts, sums, right


def calibration_error(said: Predictions, weight: Array) -> float:
    """Return the expected calibration error: the mean over examples of |probability - frequency| of their bins."""
    counts, sums, right = binned(said, weight)
    return float(np.abs(sums - right).sum() / counts.sum())


#: The standard deviation of the logarithm of a temperature before the data is seen, where a prior is asked for.
SPREAD = 0.2


def fit_temperature(logits: Array, true: Array, spread: float | None = None) -> float:
    """Return the number by which dividing the logits gives the least log loss.

    Parameters
    ----------
    logits : array of shape (m, classes) or (m, 1)
        One column is the logit of the second of two classes.
    true : array of shape (m,)
        Class ids.
    spread : float or None
        Standard deviation of a normal prior on the logarithm of the temperature, which keeps that of few examples near
        1: where all of them are right, the least log loss has the temperature 0. None: no prior.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.judging import fit_temperature
    >>> sure = np.array([[4.0], [4.0], [4.0], [4.0]])  # but right in three of four: log 3 would do
    >>> print(round(fit_temperature(sure, np.array([1, 1, 1, 0])) * np.log(3), 3))
    4.0
    >>> print(round(fit_temperature(sure[:3], np.array([1, 1, 1]), spread=0.2), 3))
    0.992
    """
    wide = np.concatenate([np.zeros_like(logits), logits], axis=1) if logits.shape[1] == 1 else logits
    margins = (wide - wide[np.arange(len(wide)), true][:, None]).astype(np.float64)

    def slope(logarithm: float) -> float:
        """The derivative of the log loss and the prior by the logarithm of the inverse temperature."""
        scaled = np.exp(logarithm) * margins
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        of_loss = float(np.mean((powers * scaled).sum(axis=1) / powers.sum(axis=1)))
        return of_loss if spread is None else of_loss + logarithm / (spread**2 * len(true))

    low, high = -np.log(MOST_TEMPERATURE), np.log(MOST_TEMPERATURE)
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return float(np.exp(-(low + high) / 2))
