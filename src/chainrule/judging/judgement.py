"""A model judged on a part of the data: metrics with intervals beside the baseline, and what they say in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .baseline import Baseline
from .bootstrap import Intervals, intervals
from .metrics import METRICS, confusion, measure
from .predictions import Predictions

TELLING = ("log_loss", "accuracy", "auc", "rmse", "mae")
"""Metrics by which a model is compared with the baseline in words, the most telling first."""
#: Fewest examples of a part, and of a class, about which sentences are made; a recall below this is pointed out.
EXAMPLES, OF_CLASS, LOW_RECALL, OF_LOW_RECALL = 20, 5, 0.05, 20
#: Classes that a sentence names.
NAMED = 6
#: The least share of what a model gains over the baseline on the training split that it should gain on others, too.
KEPT = 0.75


@dataclass(frozen=True)
class Judgement:
    """What was measured of predictions on a part of the data.

    Attributes
    ----------
    said : Predictions
    split : str
        The part's name in sentences, such as "the test split".
    figures : dict of str to float
        By metric.
    undefined : dict of str to str
        Why the other metrics have no value.
    intervals : dict of str to (float, float)
        95 % intervals, by the bootstrap; empty without one.
    baseline : Baseline or None
    constant : dict of str to float
        The metrics of the baseline.
    gains : dict of str to (float, float)
        95 % intervals of by how much a metric is better than the baseline's.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import judging
    >>> said = judging.Predictions.of_probabilities(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]]))
    >>> judgement = judging.judge(said, None, split="the test split", seed=0)
    >>> round(judgement.figures["accuracy"], 3)
    0.667
    """

    said: Predictions
    split: str
    figures: dict[str, float]
    undefined: dict[str, str]
    intervals: Intervals = field(default_factory=dict)
    baseline: Baseline | None = None
    constant: dict[str, float] = field(default_factory=dict)
    gains: Intervals = field(default_factory=dict)

    @property
    def is_better(self) -> bool:
        """Whether each telling metric is better than the baseline's, as far as that is known."""
        return not any(_gain(self, name) <= 0 for name in self._compared())

    def _compared(self) -> list[str]:
        return [name for name in TELLING if name in self.figures and name in self.constant]

    @property
    def headline(self) -> str:
        """The model and the baseline in a sentence; empty without a baseline, or of too few examples."""
        compared = self._compared()
        if not compared or self.baseline is None or len(self.said) < EXAMPLES:
            return ""
        worse = [name for name in compared if _gain(self, name) <= 0]
        if worse:
            better = " and ".join(METRICS[name].title for name in compared if name not in worse)
            where = f"Better than the baseline on {self.split} in {better}, but not in everything"
            against = ", ".join(self._beside(name) for name in worse[:2])
            return f"{where if better else f'No better than the baseline on {self.split}'}: {against}."
        unsure = [METRICS[n].title for n in compared if self.gains.get(n, (1.0, 1.0))[0] <= 0]
        doubt = f" In {', '.join(unsure)} this may be chance: it is {len(self.said):,} examples." if unsure else ""
        beside = ", ".join(self._beside(name) for name in compared[:2])
        return f"Better than the baseline on {self.split}: {beside}.{doubt}"

    def _beside(self, name: str) -> str:
        """Return a metric, and what the baseline has."""
        metric = METRICS[name]
        return f"{metric.title} {metric.shown(self.figures[name])} against {self._of_baseline(name)}"

    def _of_baseline(self, name: str) -> str:
        assert self.baseline is not None
        shown = METRICS[name].shown(self.constant[name])
        if name == "accuracy":
            return f"{shown} of always saying {self.said.label(self.baseline.usual)}"
        of = {"log_loss": "the classes' shares", "auc": "chance", "rmse": "the mean", "mae": "the median"}
        return f"{shown} of {of[name]}"

    def findings(self) -> list[str]:
        """Return a sentence for each thing that a reader should know of the model, and none of a good one."""
        if len(self.said) < EXAMPLES or not np.isfinite(self.said.predicted).all():
            return []
        if self.said.kind == "values":
            return [] if self.baseline is None else list(_of_values(self))
        usual = None if self.baseline is None else self.baseline.usual
        auc = self.figures.get("auc") if self.gains.get("auc", (0.0, 0.0))[0] > 0 else None
        return [*of_classes(self.said, usual, self.split, auc), *_of_probabilities(self)]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the predictions in JSON's types."""
        return {
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            "undefined": self.undefined, "baseline": self.constant, "headline": self.headline,
            "better": self.is_better,
        }  # fmt: skip


def judge(said: Predictions, baseline: Baseline | None = None, *, split: str = "the data", seed: int = 0) -> Judgement:
    """Measure predictions, with intervals and the baseline.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.judging import Baseline, Predictions, judge
    >>> true = np.arange(50) % 2
    >>> p = np.where(true == 1, 0.8, 0.3)
    >>> said = Predictions.of_probabilities(true, np.stack([1 - p, p], axis=1))
    >>> print(judge(said, Baseline((0.5, 0.5)), split="the test split").headline)  # doctest: +ELLIPSIS
    Better than the baseline on the test split: log loss 0.2899 against 0.6931 of the classes' shares, ...
    """
    figures, undefined = measure(said)
    constant = () if baseline is None else baseline.predictions(said.true, said.classes)
    around, gains = intervals(said, constant, seed=seed)
    beside = {} if baseline is None else baseline.measured(said.true, said.classes)
    return Judgement(said, split, figures, undefined, around, baseline, beside, gains)


def _gain(judged: Judgement, name: str) -> float:
    return METRICS[name].better * (judged.figures[name] - judged.constant[name])


def of_overfitting(judged: Judgement, trained: Mapping[str, float]) -> Iterator[str]:
    """Yield a sentence if much of what a model gains over the baseline on the training split is lost on the other one.

    Parameters
    ----------
    judged : Judgement
    trained : dict of str to float
        The metrics of the training split.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.judging import Baseline, Predictions, judge, of_overfitting
    >>> true = np.arange(100.0)
    >>> judged = judge(Predictions.of_values(true, true + 25 * np.sin(true)), Baseline.of_values(true))
    >>> [s.partition(". ")[0] for s in of_overfitting(judged, {"rmse": 5.0})]
    ['Much better on the training split than on the data: the RMSE is 5 and 17.68']
    """
    measured = judged.constant.keys() & judged.intervals.keys() & judged.figures.keys() & trained.keys()
    name = next((n for n in ("log_loss", "rmse") if n in measured), None)
    if name is None or len(judged.said) < EXAMPLES:
        return
    before, after, constant = trained[name], judged.figures[name], judged.constant[name]
    if before < judged.intervals[name][0] and constant - after < KEPT * (constant - before):
        metric = METRICS[name]
        yield (
            f"Much better on the training split than on {judged.split}: the {metric.title} is "
            f"{metric.shown(before)} and {metric.shown(after)}. Part of what was learned does not hold for other "
            "examples; more of them, fewer columns or more dropout may help."
        )


def of_classes(said: Predictions, usual: int | None, split: str, auc: float | None = None) -> Iterator[str]:
    """Yield what predicted classes say: no better than the usual class, classes that are never or hardly found.

    Parameters
    ----------
    said : Predictions
    usual : int or None
        The most frequent class of the training split.
    split : str
    auc : float or None
        Given if it is surely better than chance.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.judging import Predictions, of_classes
    >>> true = np.array([0] * 15 + [1] * 5)
    >>> said = Predictions.of_probabilities(true, np.tile([0.8, 0.2], (20, 1)), ("no", "yes"))
    >>> print(list(of_classes(said, None, "the test split"))[0].partition(".")[0])
    Never predicted on the test split: yes (5 examples)
    """
    table = confusion(said, np.ones(len(said)))
    counts, right = table.sum(axis=1).astype(int), table.diagonal()
    accuracy = right.sum() / len(said)
    guessed = counts[usual] / len(said) if usual is not None else 0.0
    if usual is not None and accuracy <= guessed and np.count_nonzero(counts) > 1:
        head, rest = "No better than guessing", ""
        if auc is not None:
            head = "Accuracy no better than guessing"
            rest = f" The AUC, {auc:.3f}, is better than chance: the order of the probabilities tells more."
        yield (
            f"{head}: {100 * accuracy:.1f} % of {split} are right; always saying "
            f"{said.label(usual)}, the most frequent class, gives {100 * guessed:.1f} %.{rest}"
        )
    never = (table.sum(axis=0) == 0) & (counts >= OF_CLASS)
    if never.any():
        named = [f"{said.label(i)} ({counts[i]:,} examples)" for i in np.flatnonzero(never).tolist()]
        yield f"Never predicted on {split}: {_some(named)}. {_help(said)}"
    low = ~never & (counts >= OF_LOW_RECALL) & (right < LOW_RECALL * counts)
    if low.any():
        named = [f"{said.label(i)} ({right[i]:.0f} of {counts[i]:,} examples)" for i in np.flatnonzero(low).tolist()]
        yield f"Hardly found on {split}: {_some(named)}. {_help(said)}"


def _help(said: Predictions) -> str:
    """Return what may help a class that is not found."""
    weights = "weights of the examples (sample_weight=, --class-weight)"
    if said.count == 2 and said.has_probabilities:
        return f"Another threshold (--threshold f1) or {weights} may help."
    return f"{weights.capitalize()} may help."


def _some(named: list[str]) -> str:
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    return f"{', '.join(named[:NAMED])}{more}"


def _of_probabilities(judged: Judgement) -> Iterator[str]:
    figures, constant = judged.figures, judged.constant
    if "log_loss" in figures and "log_loss" in constant and _gain(judged, "log_loss") <= 0:
        yield (
            f"Probabilities no better than the classes' shares: the log loss is {figures['log_loss']:.4g} on "
            f"{judged.split}; saying for each example how frequent the classes are gives {constant['log_loss']:.4g}."
        )
    if "auc" in figures and judged.gains.get("auc", (0.0, 1.0))[1] < 0:
        yield f"Ranked the wrong way: the AUC is {figures['auc']:.3f} on {judged.split}, and chance gives 0.5."


def _of_values(judged: Judgement) -> Iterator[str]:
    for name, constant in (("rmse", "mean"), ("mae", "median")):
        if _gain(judged, name) <= 0:
            yield (
                f"No better than a constant: the {METRICS[name].title} is {judged.figures[name]:.4g} on "
                f"{judged.split}; predicting the {constant} of the training targets gives {judged.constant[name]:.4g}."
            )
