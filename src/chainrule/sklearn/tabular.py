"""TabularClassifier and TabularRegressor: networks for tables as they come."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.utils import (
    assert_all_finite,
    check_array,
    check_random_state,
    compute_sample_weight,
)
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from .. import data, judging, nn, ops, optim
from ..core.arguments import boolean, integer, number
from ..core.op import Array
from ..core.processes import Group
from ..data.dates import Dates
from ..data.ngrams import Ngrams
from ..data.robust_features import RobustFeatures
from ..frames import is_table
from ..nn import losses
from ..train import EarlyStopping, History, fit, tables
from ..train.callbacks import Callback, Run, as_callbacks
from ..train.evaluation import Forward
from ..train.together import Guard, group_of, guarded
from ..train.weights import checked_weights
from .settings import usable_threads

#: Rows of tables, at most, of which a network is trained on all rows unless told otherwise.
FEW_TO_REFIT = 10_000
#: Rows that go through a network at once when it predicts.
AT_ONCE = 8192


@dataclass(frozen=True)
class _Table:
    """The rows that one network is trained on, and those that choose its best epoch, if there are any."""

    X: Array
    y: Array
    weights: Array | None
    train: Array
    held: Array | None


class _Until(Callback):
    """Ends a training after a number of epochs, as if it had gone on: the schedules are those of all epochs."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch(self, run: Run) -> None:
        if run.epoch >= self.epoch:
            run.stop(f"epoch {self.epoch} was the best of the network with a validation split")


class Tabular(BaseEstimator):  # type: ignore[misc]
    """Base of both: reading tables, training the networks, their outputs."""

    _regression: bool
    dates_: Dates
    ngrams_: Ngrams
    features_: RobustFeatures
    networks_: list[nn.Sequential]
    temperatures_: list[float]
    histories_: list[History]

    # -- what a kind says --------------------------------------------------------------------------------------------

    @abstractmethod
    def _encoded(self, y: Any) -> Array:
        """Return the targets as numbers, (m,); learn what they are."""

    def _standardise(self, y: Array, weights: Array | None) -> None:
        """Learn the scale of the targets that are trained on."""

    @abstractmethod
    def _task(self) -> tuple[Any, dict[str, Any], int, str]:
        """Return the loss, further metrics, the number of outputs, and the figure that chooses the best epoch."""

    @abstractmethod
    def _targets(self, y: Array) -> Array:
        """Return targets as the loss takes them."""

    def _temperature(self, outputs: Array, y: Array) -> float:
        """Return what the outputs are divided by, fitted to the rows that were held out."""
        return 1.0

    # -- data --------------------------------------------------------------------------------------------------------

    def _read(self, X: Any, *, first: bool) -> data.Dataset:
        """Return the columns of X; where X or the table of training has no names, the place decides."""
        if sparse.issparse(X):
            raise TypeError("X is a sparse matrix, but a table is dense: X.toarray() makes it one")
        if isinstance(X, Mapping) and first:
            self.n_features_in_, self.feature_names_in_ = len(X), np.array(list(X), object)
        if is_table(X):
            if not isinstance(X, Mapping):
                validate_data(self, X, reset=first, skip_check_array=True)
            dataset = data.Dataset.from_frame(X, source="X")
            if hasattr(self, "feature_names_in_"):
                return dataset
            columns = {f"x{i}": column for i, column in enumerate((dataset.columns or {}).values())}
            return data.Dataset.from_columns(columns, source="X")
        array = validate_data(self, X, reset=first, dtype=None, ensure_all_finite=False)
        names = getattr(self, "feature_names_in_", None)
        names = [f"x{i}" for i in range(array.shape[1])] if names is None else list(names)
        if array.dtype.kind not in "OUS":
            return data.Dataset.from_arrays(array, feature_names=names, source="X")
        return data.Dataset.from_columns(dict(zip(names, map(_texts, array.T), strict=True)), source="X")

    def _weights(self, sample_weight: Any, y: Array) -> Array | None:
        if isinstance(sample_weight, int | float | np.number):
            sample_weight = np.full(len(y), sample_weight)
        return None if sample_weight is None else checked_weights(sample_weight, len(y))

    # -- training ----------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the networks.

        Parameters
        ----------
        X : data frame or array of shape (m, n_features)
            Columns of numbers, with NaN where they are missing, booleans, texts, categories and dates.
        y : array of shape (m,)
        sample_weight : array of shape (m,) or None
            Weight of each example; 0 excludes it.
        """
        with guarded(group_of(self.distributed)) as guard:
            return self._fit_together(X, y, sample_weight, guard)

    def _fit_together(self, X: Any, y: Any, sample_weight: Any, guard: Guard) -> Self:
        group, state = guard.group, self.random_state
        if state is None and group.size > 1:
            state = group.firsts(int(np.random.SeedSequence().generate_state(1)[0]))
        self._check_settings()
        random = check_random_state(state)
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        dataset = self._read(X, first=True)
        numbers = self._encoded(y)
        if len(numbers) != len(dataset):
            raise ValueError(f"inconsistent numbers of samples: X has {len(dataset)} rows, y has {len(numbers)}")
        weights = self._weights(sample_weight, numbers)
        if len(dataset) < 2:
            raise ValueError("X holds 1 sample (n_samples=1); expected at least 2 rows to train on")
        self.dates_, self.ngrams_ = Dates.fit(dataset), Ngrams.fit(dataset)
        dataset = self.ngrams_.apply(self.dates_.apply(dataset))
        self.features_, notes = RobustFeatures.fit(dataset, weights)
        self.notes_ = [str(note) for note in (*self.dates_.notes(), *self.ngrams_.notes(), *notes)]
        matrix = self.features_.transform(dataset)[0]
        if weights is not None and not weights.all():
            rows = np.flatnonzero(weights)
            if not len(rows):
                raise ValueError("sample_weight: expected at least one weight > 0, got only zeros")
            matrix, numbers, weights = matrix[rows], numbers[rows], weights[rows]
        if len(matrix) < tables.FEW_ROWS:
            matrix, numbers, weights = _merged(matrix, numbers, weights)
        self._standardise(numbers, weights)
        self.networks_, self.histories_, self.temperatures_, forwards = [], [], [], []
        for train, held in self._splits(len(matrix), numbers, random):
            seed = int(random.randint(2**31))
            forwards.append(self._train(_Table(matrix, numbers, weights, train, held), seed, group))
            if self.histories_[-1].interrupted:
                warnings.warn("Training interrupted by user.", stacklevel=2)
                break
        best = self.histories_[0].best_epoch
        if best and self._refits(len(matrix)) and not self.histories_[0].interrupted:
            everything = _Table(matrix, numbers, weights, np.arange(len(matrix)), None)
            forwards.append(self._train(everything, int(random.randint(2**31)), group, epochs=best))
            self.temperatures_[1] = self.temperatures_[0]
        guard.end()
        self._forwards = forwards
        self.n_iter_ = max(len(history) for history in self.histories_)
        return self

    def _refits(self, rows: int) -> bool:
        """Whether a network is trained on all rows besides the one whose validation split chose its epoch."""
        return self.n_ens == 1 and bool(rows <= FEW_TO_REFIT if self.refit == "auto" else self.refit)

    def _check_settings(self) -> None:
        for width in self.hidden_layer_sizes:
            integer("hidden_layer_sizes", width, at_least=1)
        number("validation_fraction", self.validation_fraction, at_least=0, below=1)
        number("dropout", self.dropout, at_least=0, below=1)
        number("weight_decay", self.weight_decay, at_least=0)
        integer("n_ens", self.n_ens, at_least=1)
        for name in ("verbose", "embed_numbers"):
            boolean(name, getattr(self, name))
        as_callbacks(self.callbacks)
        for name in ("max_epochs", "n_iter_no_change"):
            if getattr(self, name) is not None:
                integer(name, getattr(self, name), at_least=1, alternative=" or None")
        if self.learning_rate is not None:
            number("learning_rate", self.learning_rate, above=0, alternative=" or None")
        if not (isinstance(self.batch_size, str) and self.batch_size == "auto"):
            integer("batch_size", self.batch_size, at_least=1, alternative=" or 'auto'")
        if not (isinstance(self.refit, bool) or (isinstance(self.refit, str) and self.refit == "auto")):
            raise ValueError(f"refit: expected True, False or 'auto', got {self.refit!r}")
        if self.shards is not None:
            integer("shards", self.shards, at_least=1, alternative=" or None")
        if self.activation is not None:
            nn.activations.get(self.activation)

    def _splits(self, rows: int, y: Array, random: np.random.RandomState) -> list[tuple[Array, Array | None]]:
        """Return the rows that each network is trained on, and those that are held out."""
        everything = np.arange(rows)
        if rows < tables.FEW_ROWS or not self.validation_fraction:
            return [(everything, None)] * self.n_ens
        strata = None if self._regression or np.bincount(y.astype(int)).min() < max(self.n_ens, 2) else y
        if self.n_ens > 1:
            kind = KFold if strata is None else StratifiedKFold
            return list(kind(self.n_ens, shuffle=True, random_state=random).split(everything, strata))
        size = max(min(round(rows * self.validation_fraction), tables.HELD_OUT), 1)
        if strata is not None and size < len(np.unique(y)):
            strata = None
        train, held = train_test_split(everything, test_size=size, random_state=random, stratify=strata)
        return [(np.sort(train), np.sort(held))]

    def _train(self, table: _Table, seed: int, group: Group, epochs: int | None = None) -> Forward:
        defaults, (loss, metrics, outputs, watched) = tables.DEFAULTS[self._regression], self._task()
        size = self.batch_size if self.batch_size != "auto" else tables.batch_size(len(table.train))
        size, most = min(size, len(table.train)), self.max_epochs or tables.epochs(len(table.train))
        steps = most * -(-len(table.train) // size)
        numbers, others, ids, table_rows = self.features_.layout
        if not self.embed_numbers:
            numbers, others = 0, numbers + others
        embedding, hidden = nn.TableEmbedding(numbers, others, ids, table_rows), list(self.hidden_layer_sizes)
        activation = self.activation or defaults.activation
        layers = tables.layers(embedding, hidden, activation=activation, dropout=self.dropout)
        network = nn.Sequential(*layers, nn.Linear([embedding.out_features, *hidden][-1], outputs))
        X = table.X if len(table.train) == len(table.X) else table.X[table.train]
        y = self._targets(table.y[table.train])
        limits = (float(y.min()), float(y.max())) if self._regression else None
        tables.begin(network, X, steps=steps, seed=seed, limits=limits)
        calls = list(as_callbacks(self.callbacks))
        validation = None
        if epochs is not None:
            calls.append(_Until(epochs))
        if table.held is not None:
            validation = table.X[table.held], self._targets(table.y[table.held])
            stop = tables.patience(watched, most)
            if self.n_iter_no_change is not None:
                stop = EarlyStopping(self.n_iter_no_change, watched, maximize=False)
            calls.insert(0, stop)
        rate = optim.CosineCycles(self.learning_rate or defaults.lr, steps)
        history = fit(
            network, X, y, loss=loss, metrics=metrics, epochs=most,
            optimizer=tables.optimizer(network, rate, self.weight_decay, steps),
            batch_size=size, validation=validation, seed=seed, callbacks=calls, progress=bool(self.verbose),
            sample_weight=None if table.weights is None else table.weights[table.train],
            engine=self.engine, threads=usable_threads(self.threads), shards=self.shards,
            distributed=None if self.distributed is None else group,
        )  # fmt: skip
        self.networks_.append(network.eval())
        self.histories_.append(history)
        forward = self._planned(network)
        held = table.held
        self.temperatures_.append(
            1.0 if held is None else self._temperature(_outputs(forward, table.X[held]), table.y[held])
        )
        return forward

    # -- outputs -----------------------------------------------------------------------------------------------------

    def _planned(self, network: nn.Module) -> Forward:
        return Forward(network, batch_size=AT_ONCE, engine=self.engine, threads=usable_threads(self.threads))

    def _outputs(self, X: Any) -> list[Array]:
        """Return the outputs of each network for every row of X, float64."""
        check_is_fitted(self)
        dataset = self.ngrams_.apply(self.dates_.apply(self._read(X, first=False)))
        matrix = self.features_.transform(dataset)[0]
        found = zip(self._forwards, self.temperatures_, strict=True)
        return [_outputs(forward, matrix) / temperature for forward, temperature in found]

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether there are networks to predict with."""
        return hasattr(self, "_forwards")

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for files and copies, without plans, which are created again."""
        state: dict[str, Any] = dict(super().__getstate__())
        state.pop("_forwards", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` returned."""
        super().__setstate__(state)
        if "networks_" in state:
            self._forwards = [self._planned(network) for network in self.networks_]

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's estimator tags."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags


def _outputs(forward: Forward, matrix: Array) -> Array:
    """Return the outputs of a network for every row, float64."""
    rows, padded = len(matrix), matrix
    if rows % AT_ONCE:  # few different sizes, so few plans
        full = min(max(1 << (rows - 1).bit_length(), 16), -(-rows // AT_ONCE) * AT_ONCE)
        padded = np.concatenate([matrix, np.repeat(matrix[-1:], full - rows, axis=0)])
    return np.asarray(forward(padded)[:rows], np.float64)


def _texts(column: Array) -> Array:
    """Return a column of an array of objects: numbers if all are, else texts, None where missing."""
    missing = [v is None or v != v for v in column.tolist()]
    if any(isinstance(v, str) for v in column.tolist()):
        return np.array([None if gone else str(v) for v, gone in zip(column.tolist(), missing, strict=True)], object)
    try:
        return np.array([np.nan if gone else float(v) for v, gone in zip(column.tolist(), missing, strict=True)])
    except (TypeError, ValueError) as error:
        raise TypeError(f"X: argument must be a string or a number: {error}") from None


def _merged(X: Array, y: Array, weights: Array | None) -> tuple[Array, Array, Array]:
    """Return the different rows of a small table, in a fixed order, with the weights of equal ones added up.

    A row that occurs twice then is exactly a row of twice the weight.
    """
    rows = np.concatenate([X.astype(np.float64), y[:, None]], axis=1)
    _, first, where = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    total = np.bincount(where.ravel(), weights=weights, minlength=len(first)).astype(np.float64)
    return X[first], y[first], total


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
        return judging.fit_temperature(outputs, y.astype(np.int64), judging.SPREAD)

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
