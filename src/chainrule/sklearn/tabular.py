"""TabularClassifier and TabularRegressor: networks for tables as they come."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import assert_all_finite, check_array, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from .. import judging, ops
from ..core.arguments import number
from ..core.op import Array
from ..judging import calibration
from ..nn import losses
from ..train import tables
from .tabular_base import Tabular


class TabularClassifier(ClassifierMixin, Tabular):  # type: ignore[misc]
    """A network that classifies the rows of tables, with settings that need no tuning.

    Takes columns of numbers, booleans, texts, categories and dates, with missing values. The network and its training
    are those of RealMLP-TD (Holzmüller et al., "Better by default", 2024): robust scales, embeddings of numbers and of
    categories, learned activations, Adam with cycles of the learning rate; the weights are those of the epoch with the
    smallest log loss on a validation split.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int
    embed_numbers : bool
        Whether numbers are embedded by waves. Without it training is faster; with ``dropout=0`` and ``weight_decay=0``,
        too, it is the simpler RealMLP-TD-S.
    activation : str or None
        None: ``"selu"``, mixed with the identity as the network learns.
    learning_rate : float or None
        The greatest of the cycles; None: 0.04.
    weight_decay, dropout : float
        Both fall to 0 in the second half of training.
    label_smoothing : float
        Share of each target that is spread over all classes. It makes probabilities too equal, which a temperature
        corrects that is fitted to the validation split.
    class_weight : dict, "balanced" or None
        Weight of the examples of each class.
    max_epochs : int or None
        None: 256, of tables of more than 80,000 rows fewer.
    batch_size : int or "auto"
        ``"auto"``: 64 to 1024, by the number of rows.
    validation_fraction : float
        Share of the rows that chooses the best epoch, at most 50,000; 0, and for fewer than 64 rows: none, all rows are
        trained on.
    n_iter_no_change : int or None
        Epochs without a better validation figure after which to stop; None: a quarter of all, and
        as many as it took to the best.
    refit : bool or "auto"
        Whether a second network is trained on all rows, for as many epochs as were best for the first one, and averaged
        with it, if `n_ens` is 1. ``"auto"``: of tables of up to 10,000 rows.
    n_ens : int
        Networks that are averaged; if several, each has another fold as its validation split.
    random_state : int, RandomState or None
        Of the splits, the initial weights, the orders and dropout.
    verbose : bool
        Whether to show the progress.
    callbacks : sequence
        As for ``chainrule.fit``.
    engine, threads
        As for ``chainrule.compile``; without `threads`, what OMP_NUM_THREADS allows.
    distributed, shards
        As for ``chainrule.fit``: the processes that share each batch, all of which call `fit` with the same data.

    Attributes
    ----------
    classes_ : array
    dates_, ngrams_, features_ : Dates, Ngrams, RobustFeatures
        How the columns become the networks' input.
    networks_, histories_ : list
        The trained networks, and how each training went.
    temperatures_ : list of float
        What the outputs of each network are divided by before they become probabilities.
    notes_ : list of str
        Sentences on the columns.
    n_features_in_, feature_names_in_, n_iter_

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.sklearn import TabularClassifier
    >>> rng = np.random.default_rng(0)
    >>> table = {"x": rng.normal(size=200), "kind": rng.choice(["a", "b", "c"], 200)}
    >>> y = (table["x"] > 0) == (table["kind"] == "b")
    >>> model = TabularClassifier(hidden_layer_sizes=(32,), max_epochs=30, random_state=0).fit(table, y)
    >>> model.score(table, y) > 0.9
    True
    """

    _regression = False

    def __init__(
        self,
        hidden_layer_sizes: Any = (256, 256, 256),
        *,
        embed_numbers: bool = True,
        activation: str | None = None,
        learning_rate: float | None = None,
        weight_decay: float = 0.02,
        dropout: float = 0.15,
        label_smoothing: float = tables.SMOOTHING,
        class_weight: Any = None,
        max_epochs: int | None = None,
        batch_size: Any = "auto",
        validation_fraction: float = 0.2,
        n_iter_no_change: int | None = None,
        refit: Any = "auto",
        n_ens: int = 1,
        random_state: Any = None,
        verbose: bool = False,
        callbacks: Any = (),
        engine: str | None = None,
        threads: int | None = None,
        distributed: Any = None,
        shards: int | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.embed_numbers = embed_numbers
        self.activation = activation
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.refit = refit
        self.n_ens = n_ens
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks
        self.engine = engine
        self.threads = threads
        self.distributed = distributed
        self.shards = shards

    def _check_settings(self) -> None:
        super()._check_settings()
        number("label_smoothing", self.label_smoothing, at_least=0, below=1)

    def _encoded(self, y: Any) -> Array:
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        self.classes_, ids = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y holds 1 class, {self.classes_[0]!r}; expected at least 2 classes")
        return np.asarray(ids)

    def _weights(self, sample_weight: Any, y: Array) -> Array | None:
        weights = super()._weights(sample_weight, y)
        if self.class_weight is None:
            return weights
        given = self.class_weight
        if isinstance(given, dict):
            known = self.classes_.tolist()
            if unknown := [label for label in given if label not in known]:
                raise ValueError(f"class_weight names {unknown}; the classes are {self.classes_}")
        elif given != "balanced":
            raise ValueError(f"class_weight: expected 'balanced', a dict of class -> weight, or None, got {given!r}")
        by_class: Array = np.asarray(compute_sample_weight(given, self.classes_[y]))
        return by_class if weights is None else weights * by_class

    def _task(self) -> tuple[Any, dict[str, Any], int, str]:
        loss, outputs = (
            ("binary_cross_entropy", 1) if len(self.classes_) == 2 else ("cross_entropy", len(self.classes_))
        )
        return tables.smoothed(loss, self.label_smoothing), {"log_loss": losses.get(loss)}, outputs, "val_log_loss"

    def _targets(self, y: Array) -> Array:
        return y.astype(np.int64) if len(self.classes_) > 2 else y[:, None].astype(np.float32)

    def _temperature(self, outputs: Array, y: Array) -> float:
        if not self.label_smoothing:
            return 1.0
        return judging.fit_temperature(outputs, y.astype(np.int64), calibration.SPREAD)

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of every class, (m, n_classes), in the order of ``classes_``.

        Parameters
        ----------
        X : data frame or array of shape (m, n_features)
        """
        check_is_fitted(self)
        if len(self.classes_) == 2:
            positive = np.mean([np.asarray(ops.sigmoid(z[:, 0])) for z in self._outputs(X)], axis=0)
            return np.stack([1 - positive, positive], axis=1)
        return np.asarray(np.mean([np.asarray(ops.softmax(z, -1)) for z in self._outputs(X)], axis=0))

    def predict(self, X: Any) -> Array:
        """Return the class of every row of X.

        Parameters
        ----------
        X : data frame or array of shape (m, n_features)
        """
        ids = self.predict_proba(X).argmax(axis=1)
        found: Array = self.classes_[ids]
        return found


class TabularRegressor(RegressorMixin, Tabular):  # type: ignore[misc]
    """A network that predicts a number from the rows of tables, with settings that need no tuning.

    Takes columns of numbers, booleans, texts, categories and dates, with missing values. The network and its training
    are those of RealMLP-TD (Holzmüller et al., "Better by default", 2024): robust scales, embeddings of numbers and of
    categories, learned activations, Adam with cycles of the learning rate; targets are standardised, and predictions
    stay in their range; the weights are those of the epoch with the smallest error on a validation split.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int
    embed_numbers : bool
        Whether numbers are embedded by waves. Without it training is faster; with ``dropout=0`` and ``weight_decay=0``,
        too, it is the simpler RealMLP-TD-S.
    activation : str or None
        None: ``"mish"``, mixed with the identity as the network learns.
    learning_rate : float or None
        The greatest of the cycles; None: 0.2.
    weight_decay, dropout : float
        Both fall to 0 in the second half of training.
    max_epochs : int or None
        None: 256, of tables of more than 80,000 rows fewer.
    batch_size : int or "auto"
        ``"auto"``: 64 to 1024, by the number of rows.
    validation_fraction : float
        Share of the rows that chooses the best epoch, at most 50,000; 0, and for fewer than 64 rows: none, all rows are
        trained on.
    n_iter_no_change : int or None
        Epochs without a better validation figure after which to stop; None: a quarter of all, and
        as many as it took to the best.
    refit : bool or "auto"
        Whether a second network is trained on all rows, for as many epochs as were best for the first one, and averaged
        with it, if `n_ens` is 1. ``"auto"``: of tables of up to 10,000 rows.
    n_ens : int
        Networks that are averaged; if several, each has another fold as its validation split.
    random_state : int, RandomState or None
        Of the splits, the initial weights, the orders and dropout.
    verbose : bool
        Whether to show the progress.
    callbacks : sequence
        As for ``chainrule.fit``.
    engine, threads
        As for ``chainrule.compile``; without `threads`, what OMP_NUM_THREADS allows.
    distributed, shards
        As for ``chainrule.fit``: the processes that share each batch, all of which call `fit` with the same data.

    Attributes
    ----------
    dates_, ngrams_, features_ : Dates, Ngrams, RobustFeatures
        How the columns become the networks' input.
    networks_, histories_ : list
        The trained networks, and how each training went.
    notes_ : list of str
        Sentences on the columns.
    n_features_in_, feature_names_in_, n_iter_

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.sklearn import TabularRegressor
    >>> rng = np.random.default_rng(0)
    >>> table = {"x": rng.normal(size=200), "kind": rng.choice(["a", "b", "c"], 200)}
    >>> y = table["x"] * (table["kind"] == "b")
    >>> model = TabularRegressor(hidden_layer_sizes=(32,), max_epochs=30, random_state=0).fit(table, y)
    >>> model.score(table, y) > 0.8
    True
    """

    _regression = True
    _mean: float
    _spread: float

    def __init__(
        self,
        hidden_layer_sizes: Any = (256, 256, 256),
        *,
        embed_numbers: bool = True,
        activation: str | None = None,
        learning_rate: float | None = None,
        weight_decay: float = 0.02,
        dropout: float = 0.15,
        max_epochs: int | None = None,
        batch_size: Any = "auto",
        validation_fraction: float = 0.2,
        n_iter_no_change: int | None = None,
        refit: Any = "auto",
        n_ens: int = 1,
        random_state: Any = None,
        verbose: bool = False,
        callbacks: Any = (),
        engine: str | None = None,
        threads: int | None = None,
        distributed: Any = None,
        shards: int | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.embed_numbers = embed_numbers
        self.activation = activation
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.refit = refit
        self.n_ens = n_ens
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks
        self.engine = engine
        self.threads = threads
        self.distributed = distributed
        self.shards = shards

    def _encoded(self, y: Any) -> Array:
        numbers: Array = column_or_1d(
            check_array(y, ensure_2d=False, dtype=np.float64, input_name="y"), warn=True, dtype=np.float64
        )
        return numbers

    def _standardise(self, y: Array, weights: Array | None) -> None:
        self._mean = float(np.average(y, weights=weights))
        self._spread = float(np.sqrt(np.average((y - self._mean) ** 2, weights=weights))) or 1.0
        if not (np.isfinite(self._mean) and np.isfinite(self._spread)):
            raise ValueError(f"y lies between {y.min():.4g} and {y.max():.4g}, which float64 cannot standardise")

    def _task(self) -> tuple[Any, dict[str, Any], int, str]:
        return "mse", {}, 1, "val_loss"

    def _targets(self, y: Array) -> Array:
        return ((y[:, None] - self._mean) / self._spread).astype(np.float32)

    def predict(self, X: Any) -> Array:
        """Return the prediction for every row of X, (m,), within the range of the targets in training.

        Parameters
        ----------
        X : data frame or array of shape (m, n_features)
        """
        found = np.mean([z[:, 0] for z in self._outputs(X)], axis=0)
        return np.asarray(found * self._spread + self._mean)
