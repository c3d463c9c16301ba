"""What a prediction achieves that looks at no feature: the classes' shares in the training split, or its mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.op import Array
from .metrics import METRICS, measure
from .predictions import Predictions


@dataclass(frozen=True)
class Baseline:
    """Constant predictions, from the targets of the training split.

    Of classes: the probabilities are the classes' shares, and the most frequent class is predicted. Of values: the mean
    or the median, for each metric the better one.

    Attributes
    ----------
    shares : tuple of float
        Of each class; empty for a regression.
    mean, median : float
        Of a regression's target; 0 for classes.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.judging import Baseline
    >>> baseline = Baseline.of_classes(np.array([0, 0, 1, 0]), 2)
    >>> baseline.usual, baseline.measured(np.array([0, 1]), ("no", "yes"))["accuracy"]
    (0, 0.5)
    """

    shares: tuple[float, ...] = ()
    mean: float = 0.0
    median: float = 0.0

    @classmethod
    def of_classes(cls, true: Array, count: int) -> Baseline:
        """Return that of class ids."""
        return cls(tuple((np.bincount(true, minlength=count) / len(true)).tolist()))

    @classmethod
    def of_values(cls, true: Array) -> Baseline:
        """Return that of a regression's target."""
        return cls((), float(np.mean(true)), float(np.median(true)))

    @property
    def usual(self) -> int:
        """The most frequent class."""
        return int(np.argmax(self.shares))

    def predictions(self, true: Array, classes: Sequence[Any] = ()) -> tuple[Predictions, ...]:
        """Return the constant predictions for examples."""
        if not self.shares:
            return tuple(Predictions.of_values(true, np.full(len(true), x)) for x in (self.mean, self.median))
        return (Predictions.of_probabilities(true, np.tile(self.shares, (len(true), 1)), classes),)

    def measured(self, true: Array, classes: Sequence[Any] = (), weight: Array | None = None) -> dict[str, float]:
        """Return the metrics that have a direction, each of the better constant."""
        return best([measure(said, weight)[0] for said in self.predictions(true, classes)])

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return {"shares": list(self.shares), "mean": self.mean, "median": self.median}


def best(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return of several measurements the best value of each metric that has a direction."""
    names = [name for name in METRICS if METRICS[name].better and all(name in f for f in figures)]
    return {name: max((f[name] for f in figures), key=lambda x: METRICS[name].better * x) for name in names}
