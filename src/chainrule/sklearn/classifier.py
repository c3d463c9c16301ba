"""Base of the classifiers: classes to targets, outputs to classes and probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import ClassifierMixin
from sklearn.utils import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels

from .. import ops
from ..core.op import Array
from ..nn import losses
from .base import Rows, TrainedEstimator, is_stochastic


def _gives_probabilities(estimator: Any) -> bool:
    if _gives_scores_only(estimator.loss):
        raise AttributeError(
            f"loss={estimator.loss!r} gives scores, not probabilities: use decision_function, or loss='log_loss'"
        )
    return True


def _gives_scores_only(loss: Any) -> bool:
    return isinstance(loss, str) and loss != "log_loss" and losses.activation_of(loss) is None


class ClassifierPart(ClassifierMixin, TrainedEstimator):  # type: ignore[misc]
    """Classes, and several labels per example."""

    loss: Any
    class_weight: Any
    classes_: Array
    out_activation_: str
    _kind: str  # "binary", "multiclass" or "multilabel-indicator"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (m, n_features)
            A sparse matrix is made dense in the dtype of training. NetClassifier and NetRegressor take arrays
            (m, …), too.
        y : array of shape (m,), or (m, k) of 0 and 1 for several labels
        sample_weight : array of shape (m,) or None
            Weight of each example; 0 excludes it.
        """
        return self._fit(X, y, sample_weight)

    def _losses(self) -> tuple[str, ...]:
        binary = losses.names("binary")
        return ("log_loss", *(name for name in losses.names("multiclass") if name in binary))

    def _checked_data(self, X: Any, y: Any, *, first: bool, incremental: bool) -> tuple[Any, Array, Array]:
        X, y = self._validated_pair(X, y, reset=first)
        if first and not incremental:
            self._know(y)
        else:
            self._compare(unique_labels(y))
        return X, y, self._encoded(y)

    def _know(self, y: Any) -> None:
        """Learn the classes from labels."""
        self._kind = type_of_target(y, input_name="y")
        if self._kind not in ("binary", "multiclass", "multilabel-indicator"):
            raise ValueError(f"Unknown label type: expected classes, or rows of 0 and 1, as y, got {self._kind}")
        self.classes_ = unique_labels(y) if y.ndim == 2 else np.unique(y)
        self.out_activation_ = "softmax" if self._kind == "multiclass" else "logistic"
        if _gives_scores_only(self.loss):
            self.out_activation_ = "identity"

    def _encoded(self, y: Any) -> Array:
        """Return known labels as columns of True and False: one per class, one for two classes, one per label."""
        if self._several():
            if type_of_target(y) != self._kind:
                raise ValueError("y: expected rows of 0 and 1, as in the first call, got one label per example")
            rows: Array = y.toarray() if sparse.issparse(y) else y
            if rows.shape[1] != len(self.classes_):
                raise ValueError(f"y: expected {len(self.classes_)} columns, one per label, got {rows.shape[1]}")
            if not (np.isin(rows, (0, 1)).all() or np.isin(rows, (-1, 1)).all()):
                raise ValueError(f"y: expected rows of 0 and 1, got the values {np.unique(rows)}")
            return np.asarray(rows == 1)
        if y.ndim != 1:
            raise ValueError("y: expected one label per example, as in the first call, got several")
        numbers = np.searchsorted(self.classes_, y)
        if self._kind == "binary":
            return np.asarray(numbers[:, np.newaxis] == 1)
        return np.asarray(numbers[:, np.newaxis] == np.arange(len(self.classes_)))

    def _compare(self, found: Array) -> None:
        unknown = np.setdiff1d(found, self.classes_)
        if self.warm_start and (len(unknown) or len(found) != len(self.classes_)):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.classes_}, `y` has {found}"
            )
        if len(unknown):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {found}."
            )

    @available_if(is_stochastic)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one epoch on the given data, continuing from the last call.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array of shape (n_classes,)
            All classes that will occur; required in the first call.
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight: expected a dict of class -> weight for partial_fit, got {self.class_weight!r}, which "
                "needs all of y"
            )
        if not hasattr(self, "module_"):
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self._know(y if type_of_target(y).startswith("multilabel") else unique_labels(classes))
        elif classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
            )
        return self._fit(X, y, sample_weight, incremental=True)

    def _weights_by_target(self, y: Array) -> Array | None:
        given = self.class_weight
        if given is None:
            return None
        if isinstance(given, Mapping) and y.ndim == 1:
            known = self.classes_.tolist()
            unknown = [label for label in given if label not in known]
            if unknown:
                raise ValueError(f"class_weight names {unknown}; the classes are {self.classes_}")
            by_class = np.array([given.get(label, 1.0) for label in known], np.float64)
            if not (np.isfinite(by_class).all() and (by_class >= 0).all()):
                raise ValueError(f"class_weight: expected finite numbers ≥ 0, got {given!r}")
            weights: Array = by_class[np.searchsorted(self.classes_, y)]
            return weights
        if not (isinstance(given, Mapping | list) or given == "balanced"):
            raise ValueError(f"class_weight: expected 'balanced', a dict of class -> weight, or None, got {given!r}")
        return np.asarray(compute_sample_weight(given, y), np.float64)

    def _training_loss(self) -> tuple[Any, float]:
        if isinstance(self.loss, str) and self.loss == "log_loss":
            return ("cross_entropy" if self._one_of_many() else "binary_cross_entropy"), 1.0
        return self.loss, 1.0

    def _one_of_many(self) -> bool:
        return self._kind == "multiclass"

    def _several(self) -> bool:
        return self._kind == "multilabel-indicator"

    def _stratified(self, y: Array) -> Any:
        return y > 0.5 if y.shape[1] == 1 else None

    def _score_of(self, output: Array, rows: Rows) -> float:
        output = output.reshape(len(output), -1)
        if self._one_of_many():
            hits = output.argmax(axis=1) == rows.y.argmax(axis=1)
        else:
            hits = ((output > 0) == (rows.y > 0.5)).all(axis=1)
        return float(np.average(hits, weights=rows.weights))

    # -- predictions ---------------------------------------------------------------------------------------------------

    def _scores(self, X: Any) -> Array:
        """Return the logits, (m, k)."""
        output = self._output(X)
        return output.reshape(len(output), -1)

    def predict(self, X: Any) -> Array:
        """Return the class of every row of X; for several labels per example, rows of 0 and 1.

        Parameters
        ----------
        X : array or sparse matrix of shape (m, n_features)
        """
        scores = self._scores(X)
        self._refuse_nan(scores)
        if self._one_of_many():
            return self._chosen(scores.argmax(axis=1))
        positive = scores > 0
        if self._several():
            return positive.astype(int)
        return self._chosen(positive[:, 0] if len(self.classes_) > 1 else np.zeros(len(scores), int))

    def _refuse_nan(self, scores: Array) -> None:
        """Raise where no class is chosen: NaN is neither the largest score nor above 0."""
        rows = np.flatnonzero(np.isnan(scores).any(axis=1))
        if not rows.size:
            return
        bad = [name for name, p in self.module_.named_parameters() if not np.isfinite(p.detach().numpy()).all()]
        reason = f"the weights {', '.join(bad)} are not finite" if bad else "the weights are too large for these inputs"
        raise ValueError(
            f"the outputs of the network for {len(rows)} of {len(scores)} rows of X are NaN, first for row {rows[0]}: "
            f"{reason}. Fit again, with a smaller learning rate or scaled inputs, or assign finite weights"
        )

    def _chosen(self, numbers: Array) -> Array:
        found: Array = self.classes_[numbers.astype(int)]
        return found

    @available_if(_gives_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Array:
        """Return the probability of every class, (m, n_classes), in the order of ``classes_``.

        For several labels per example, the probability of each label.

        Parameters
        ----------
        X : array or sparse matrix of shape (m, n_features)
        """
        scores = self._scores(X)
        if self._one_of_many():
            return np.asarray(ops.softmax(scores, -1))
        positive: Array = np.asarray(ops.sigmoid(scores))
        if self._several():
            return positive
        return np.concatenate([1 - positive, positive], axis=1)

    @available_if(_gives_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of `predict_proba`, computed from the logits: finite where a probability rounds to 0.

        Parameters
        ----------
        X : array or sparse matrix of shape (m, n_features)
        """
        scores = self._scores(X)
        if self._one_of_many():
            return np.asarray(ops.log_softmax(scores, -1))
        positive = -np.asarray(ops.softplus(-scores))
        if self._several():  # above ½ from the probability, so that labels that tie there tie here
            probability = np.asarray(ops.sigmoid(scores))
            return np.where(probability > 0.5, np.log(np.maximum(probability, 0.5)), positive)
        return np.concatenate([-np.asarray(ops.softplus(scores)), positive], axis=1)

    def decision_function(self, X: Any) -> Array:
        """Return the logits, (m, n_classes), the largest of which decides; between two classes (m,): the sign decides.

        Parameters
        ----------
        X : array or sparse matrix of shape (m, n_features)
        """
        scores = self._scores(X)
        if self._several():
            return scores
        if scores.shape[1] == 2:  # for two classes, the difference of the second and the first
            return np.asarray(scores[:, 1] - scores[:, 0])
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's estimator tags."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_label = True
        return tags
