"""What regressors add: numbers as targets, one or several an example."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if

from ..core.op import Array
from ..nn import losses
from .base import Rows, TrainedEstimator, is_stochastic


class RegressorPart(RegressorMixin, TrainedEstimator):  # type: ignore[misc]
    """Numbers."""

    loss: Any
    out_activation_: str

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (m, n_features)
            A sparse one is made dense as a whole, in the dtype that trains. NetClassifier and NetRegressor take arrays
            (m, …), too.
        y : array of shape (m,) or (m, n_outputs)
        sample_weight : array of shape (m,) or None
            How much each example counts; 0 leaves it out.
        """
        return self._fit(X, y, sample_weight)

    @available_if(is_stochastic)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Make one epoch over the given data, from where the last call ended.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def _losses(self) -> tuple[str, ...]:
        return ("squared_error", *losses.names("regression"))

    def _checked_data(self, X: Any, y: Any, *, first: bool, incremental: bool) -> tuple[Any, Array, Array]:
        X, y = self._validated_pair(X, y, y_numeric=True, reset=first)
        numbers = y.reshape(len(y), -1).astype(np.float64)
        if not first and numbers.shape[1] != self.n_outputs_:
            raise ValueError(f"y has {numbers.shape[1]} columns, the module was trained for {self.n_outputs_}")
        self.n_outputs_ = numbers.shape[1]
        self.out_activation_ = self._activation()
        return X, y, numbers

    def _activation(self) -> str:
        """Return the name of what turns outputs into predictions."""
        return losses.output_activation(self._training_loss()[0])

    def _weights_by_target(self, y: Array) -> Array | None:
        return None

    def _training_loss(self) -> tuple[Any, float]:
        if isinstance(self.loss, str) and self.loss == "squared_error":
            return "half_mse", 1.0 / self.n_outputs_
        return self.loss, 1.0

    def _stratified(self, y: Array) -> Any:
        return None

    def _predicted(self, output: Array) -> Array:
        output = output.reshape(len(output), -1)
        with np.errstate(over="ignore"):
            output = np.asarray(losses.activation_called(self.out_activation_)(output))
        return output[:, 0] if output.shape[1] == 1 else output

    def _score_of(self, output: Array, rows: Rows) -> float:
        predicted = self._predicted(output)
        if not np.isfinite(predicted).all():
            return float("nan")
        with np.errstate(over="ignore"):
            return float(r2_score(rows.y, predicted, sample_weight=rows.weights))

    def predict(self, X: Any) -> Array:
        """Return the prediction for every row of X: (m,), or (m, n_outputs).

        Parameters
        ----------
        X : array or sparse matrix of shape (m, n_features)
        """
        return self._predicted(self._output(X))

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn's tools may expect."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        return tags
