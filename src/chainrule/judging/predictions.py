"""What a model says about examples, beside what is true: the form in which it is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ..core.op import Array
from ..nn import losses

Kind = Literal["classes", "values"]


class UndefinedMetric(ValueError):
    """A metric has no value for these examples; the message says why.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import judging
    >>> said = judging.Predictions.of_probabilities(np.array([1, 1]), np.array([[0.9, 0.1], [0.4, 0.6]]))
    >>> try:
    ...     judging.METRICS["auc"].function(said, np.ones(2))
    ... except judging.UndefinedMetric:
    ...     print("one class alone has no AUC")
    one class alone has no AUC
    """


@dataclass(frozen=True)
class Predictions:
    """Predictions of a model for examples whose targets are known.

    Attributes
    ----------
    true : array of shape (m,)
        Class ids, or the values of a regression's target in its own unit.
    predicted : array of shape (m,)
        As `true`.
    scores : array of shape (m, classes), or None
        A larger score means that the class is more likely; None for a regression.
    has_probabilities : bool
        Whether the scores are probabilities.
    classes : sequence
        The label of each class id; empty for a regression.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.judging import Predictions
    >>> said = Predictions.of_probabilities(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]]))
    >>> said.predicted, said.kind
    (array([0, 1, 0]), 'classes')
    """

    true: Array
    predicted: Array
    scores: Array | None = None
    has_probabilities: bool = False
    classes: Sequence[Any] = ()

    @classmethod
    def of_probabilities(
        cls, true: Array, probabilities: Array, classes: Sequence[Any] = (), threshold: float | None = None
    ) -> Predictions:
        """Make them of class ids and the probability of each class.

        Of two classes, the second one is predicted where its probability is at least `threshold`.
        """
        if threshold is None:
            predicted = probabilities.argmax(axis=1)
        else:
            predicted = (probabilities[:, 1] >= threshold).astype(np.int64)
        labels = classes or range(probabilities.shape[1])
        return cls(np.asarray(true, np.int64), predicted, probabilities, True, labels)

    @classmethod
    def of_values(cls, true: Array, predicted: Array) -> Predictions:
        """Make them of the values of a regression."""
        return cls(np.asarray(true, np.float64).reshape(-1), np.asarray(predicted, np.float64).reshape(-1))

    @classmethod
    def of_outputs(
        cls,
        output: Array,
        target: Array,
        loss: Any,
        classes: Sequence[Any] = (),
        decode: Callable[[Array], Array] | None = None,
    ) -> Predictions | None:
        """Make them of the outputs of a network and the targets as its loss takes them.

        Parameters
        ----------
        output, target : arrays of shape (m, …)
        loss : str
            None is returned for a loss without a name, since its task is not known, and for several outputs per
            example that are not classes.
        classes : sequence
        decode : function or None
            Turns outputs and targets of a regression into the target's own unit.
        """
        tasks = losses.NAMED[loss].tasks if isinstance(loss, str) and loss in losses.NAMED else ()
        if not tasks or output.ndim > 2 or len(output) == 0:
            return None
        columns = output.reshape(len(output), -1).astype(np.float64)
        if "regression" in tasks:
            return _of_regression(columns, target, loss, decode)
        wide = columns.shape[1] > 1
        if wide and "multiclass" not in tasks:
            return None  # several labels per example
        flat = target.reshape(len(target), -1)
        true = flat.argmax(axis=1) if flat.shape[1] > 1 else flat[:, 0] if wide else flat[:, 0] > 0.5
        scores, predicted, probable = scored(columns, loss)
        return cls(true.astype(np.int64), predicted, scores, probable, classes or range(scores.shape[1]))

    @property
    def kind(self) -> Kind:
        """``"classes"`` or ``"values"``."""
        return "values" if self.scores is None else "classes"

    @property
    def count(self) -> int:
        """The number of classes."""
        return 0 if self.scores is None else self.scores.shape[1]

    def __len__(self) -> int:
        return len(self.true)

    def take(self, rows: Array) -> Predictions:
        """Return those for some of the examples."""
        scores = None if self.scores is None else self.scores[rows]
        return replace(self, true=self.true[rows], predicted=self.predicted[rows], scores=scores)

    @cached_property
    def errors(self) -> Array:
        """Predicted minus true value."""
        found: Array = self.predicted - self.true
        return found

    @cached_property
    def by_error(self) -> tuple[Array, Array]:
        """The examples by ascending error, and by ascending absolute error."""
        return np.argsort(self.errors), np.argsort(np.abs(self.errors))

    @cached_property
    def orders(self) -> dict[int, tuple[Array, Array]]:
        """Of the classes ranked so far: examples by descending score, and where a run of equal scores ends."""
        return {}

    def order(self, of_class: int) -> tuple[Array, Array]:
        """Return the examples by descending score of a class, and the positions at which equal scores end."""
        if of_class not in self.orders:
            assert self.scores is not None
            ranked = np.argsort(-self.scores[:, of_class], kind="stable")
            values = self.scores[ranked, of_class]
            self.orders[of_class] = ranked, np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
        return self.orders[of_class]

    def label(self, of_class: int) -> Any:
        """Return the label of a class id."""
        return self.classes[of_class] if of_class < len(self.classes) else of_class


def scored(columns: Array, loss: str) -> tuple[Array, Array, bool]:
    """Return a score of each class, the predicted classes, and whether the scores are probabilities.

    Parameters
    ----------
    columns : array of shape (m, classes) or (m, 1)
        Outputs of a network; one column is of the second of two classes.
    loss : str

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import judging
    >>> scores, predicted, probable = judging.scored(np.array([[0.0], [2.0]]), "binary_cross_entropy")
    >>> predicted.tolist(), probable, scores.round(2).tolist()
    ([0, 1], True, [[0.5, 0.5], [0.12, 0.88]])
    """
    wide = columns.shape[1] > 1
    scores = np.asarray(losses.activate(loss, columns))
    probable = losses.activation_of(loss) is not None
    if not wide:
        scores = np.concatenate([1 - scores if probable else -scores, scores], axis=1)
    # of the outputs, not of the probabilities: these may round to equal numbers
    predicted = columns.argmax(axis=1) if wide else (columns[:, 0] > 0).astype(np.int64)
    return scores, predicted, probable


def _of_regression(
    columns: Array, target: Array, loss: str, decode: Callable[[Array], Array] | None
) -> Predictions | None:
    if columns.shape[1] != 1 or target.size != len(columns):
        return None
    values = np.asarray(losses.activate(loss, columns))
    true, predicted = (np.asarray(decode(a) if decode else a) for a in (target.reshape(-1, 1), values))
    return Predictions.of_values(true, predicted)
