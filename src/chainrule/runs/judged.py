"""From a run's network to probabilities, classes and a judgement: what is stored with the model for that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import judging, nn
from ..core.op import Array
from ..data.record import Record
from ..judging import calibration

if TYPE_CHECKING:
    from ..data import Preprocessor
    from .settings import Settings


@dataclass(frozen=True)
class Rule:
    """How outputs become predictions, and the baseline that they are compared with.

    Attributes
    ----------
    baseline : judging.Baseline or None
        None of a model file that was written without one.
    temperature : float
        The logits are divided by it.
    threshold : float or None
        The probability from which the second of two classes is predicted; None: 0.5.
    """

    baseline: judging.Baseline | None = None
    temperature: float = 1.0
    threshold: float | None = None

    @classmethod
    def fit(
        cls, preprocessor: Preprocessor, trained: Array, held: tuple[Array, Array] | None, loss: str, settings: Settings
    ) -> Rule:
        """Make the one that the settings ask for.

        Parameters
        ----------
        preprocessor : data.Preprocessor
        trained : array
            The targets of the training split.
        held : (output, target) or None
            Of the validation split.
        loss : str
        settings : Settings
        """
        if preprocessor.task == "regression":
            return cls(judging.Baseline.of_values(preprocessor.inverse_target(trained)))
        true = trained.reshape(-1).astype(np.int64)
        rule = cls(judging.Baseline.of_classes(true, len(preprocessor.classes)))
        if (settings.calibrate is not None or settings.label_smoothing) and held is not None:
            output, target = held  # smoothed labels make probabilities that are too near to each other
            spread = None if settings.calibrate is not None else calibration.SPREAD
            fitted = judging.fit_temperature(output, target.reshape(-1).astype(np.int64), spread)
            rule = replace(rule, temperature=fitted)
        if settings.threshold in judging.CHOICES and held is not None:
            said = rule.predictions(preprocessor, loss, *held)
            assert said is not None and settings.threshold is not None
            return replace(rule, threshold=judging.best_threshold(said, settings.threshold))
        return rule if settings.threshold is None else replace(rule, threshold=float(settings.threshold))

    def described(self, preprocessor: Preprocessor, settings: Settings) -> list[str]:
        """Return sentences on how classes are predicted, unless it is by the largest output."""
        found = []
        if self.temperature != 1:
            fitted = f"{self.temperature:.4g}, fitted to the validation split"
            found.append(f"divides the logits by the temperature {fitted}")
        if self.threshold is not None:
            by = {"f1": "F1", "balanced": "balanced accuracy"}.get(str(settings.threshold))
            chosen = f": the largest {by} on the validation split" if by else ""
            found.append(
                f"predicts {preprocessor.classes[1]} where its probability is at least {self.threshold:.4g}{chosen}"
            )
        return found

    def scored(self, output: Array, loss: str) -> tuple[Array, Array, bool]:
        """Return a score of each class, the predicted classes, and whether the scores are probabilities."""
        columns = output.reshape(len(output), -1).astype(np.float64) / self.temperature
        scores, predicted, probable = judging.scored(columns, loss)
        if self.threshold is not None:
            predicted = (scores[:, 1] >= self.threshold).astype(np.int64)
        return scores, predicted, probable

    def program(self, output: Any, loss: str) -> Any:
        """Return the predicted classes and their probabilities, or the classes alone, as `scored` does, of a tensor."""
        columns = output.astype(np.float64) / self.temperature
        one = columns.shape[1] == 1
        predicted = np.greater(columns[:, 0], 0) if one else np.argmax(columns, axis=1)
        if nn.losses.activation_of(loss) is None:
            return (predicted.astype(np.int64),)
        scores = nn.losses.activate(loss, columns)
        scores = np.concatenate([1 - scores, scores], axis=1) if one else scores
        if self.threshold is not None:
            predicted = np.greater_equal(scores[:, 1], self.threshold)
        return predicted.astype(np.int64), scores.astype(np.float32)

    def predictions(
        self, preprocessor: Preprocessor, loss: str, output: Array, target: Array
    ) -> judging.Predictions | None:
        """Return predictions beside their targets; None of several outputs for each example."""
        if preprocessor.task == "regression":
            return judging.Predictions.of_outputs(output, target, loss, decode=preprocessor.inverse_target)
        scores, predicted, probable = self.scored(output, loss)
        true = target.reshape(-1).astype(np.int64)
        return judging.Predictions(true, predicted, scores, probable, preprocessor.classes)

    def judge(
        self, preprocessor: Preprocessor, loss: str, output: Array, target: Array, *, split: str, seed: int
    ) -> judging.Judgement | None:
        """Measure outputs, with intervals and the baseline."""
        said = self.predictions(preprocessor, loss, output, target)
        return None if said is None else judging.judge(said, self.baseline, split=split, seed=seed)

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return {**asdict(self), "baseline": None if self.baseline is None else self.baseline.to_dict()}

    @classmethod
    def from_dict(cls, stored: Any, classes: int) -> Rule:
        """Read what `to_dict` wrote; anything malformed is a `ValueError`."""
        record = Record(stored, "rule")
        temperature = record.number("temperature")
        threshold = None if record.is_null("threshold") else record.number("threshold")
        baseline = None if record.is_null("baseline") else _baseline(record.take("baseline"), classes)
        record.finish()
        record.require(temperature > 0, "temperature must be above 0")
        record.require(threshold is None or (classes == 2 and 0 <= threshold <= 1), "threshold is for two classes")
        return cls(baseline, temperature, threshold)


def _baseline(stored: Any, classes: int) -> judging.Baseline:
    record = Record(stored, "baseline")
    shares = record.numbers("shares", classes)
    mean, median = record.number("mean"), record.number("median")
    record.finish()
    return judging.Baseline(shares, mean, median)


def check_threshold(given: str | None) -> None:
    """Raise ValueError for a threshold that is neither a probability nor the name of a metric to choose it by."""
    if given is None or given in judging.CHOICES:
        return
    try:
        fits = 0 <= float(given) <= 1
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"threshold: expected a number from 0 to 1, {' or '.join(judging.CHOICES)}, got {given!r}")


def check_rule(settings: Settings, task: str, loss: str, has_validation: bool) -> None:
    """Raise ValueError for settings of the rule that do not fit the task, the loss or the data."""
    for name, value in (("threshold", settings.threshold), ("calibrate", settings.calibrate)):
        if value is None:
            continue
        if task == "regression" or nn.losses.activation_of(loss) is None:
            raise ValueError(f"{name}: needs probabilities of classes, and a {task} with the loss {loss} has none")
        if name == "threshold" and task != "binary":
            raise ValueError(f"threshold: is for two classes, and this is {task}; leave it out")
        if (name == "calibrate" or value in judging.CHOICES) and not has_validation:
            raise ValueError(f"{name}: {value} is fitted on a validation split; give its fraction as validation, 0.1")
    if settings.class_weight is not None and task == "regression":
        raise ValueError("class_weight: is for classes, and this is a regression; leave it out")


def row_weights(given: str | None, preprocessor: Preprocessor, target: Array) -> Array | None:
    """Return the weight of each example by its class.

    Parameters
    ----------
    given : str or None
        ``balanced``: all classes count the same together; or a JSON object of weights by label, others count 1.
    preprocessor : data.Preprocessor
    target : array
        Of the training split.
    """
    if given is None:
        return None
    ids = target.reshape(-1).astype(np.int64)
    labels = [str(label) for label in preprocessor.classes]
    if given == "balanced":
        counts = np.bincount(ids, minlength=len(labels))
        by_class = len(ids) / (len(labels) * np.maximum(counts, 1))
    else:
        weights = _read_weights(given)
        if unknown := sorted(weights.keys() - set(labels)):
            raise ValueError(f"class_weight: {unknown[0]!r} is no class; there are {', '.join(labels[:20])}")
        by_class = np.array([weights.get(label, 1.0) for label in labels])
    return np.asarray(by_class[ids], np.float64)


def _read_weights(given: str) -> Mapping[str, float]:
    try:
        found = json.loads(given)
    except ValueError:
        found = None
    numbers = isinstance(found, dict) and all(
        isinstance(w, int | float) and not isinstance(w, bool) and 0 <= w < np.inf for w in found.values()
    )
    if not numbers or not isinstance(found, dict):
        raise ValueError(
            f'class_weight: expected balanced, or weights of at least 0 by class such as {{"yes": 5}}, got {given!r}'
        )
    return found
