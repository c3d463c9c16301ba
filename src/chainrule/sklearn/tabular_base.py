"""What the estimators of tables have in common: reading tables, training the networks, their outputs."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .. import data, nn, optim
from ..core.arguments import boolean, integer, number
from ..core.op import Array
from ..core.processes import Group
from ..data.dates import Dates
from ..data.ngrams import Ngrams
from ..data.robust_features import RobustFeatures
from ..frames import is_table
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
