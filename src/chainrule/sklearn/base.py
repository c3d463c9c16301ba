"""Base of the estimators: training a module on checked data, and computing its outputs."""

from __future__ import annotations

import copy
import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from .. import nn
from ..core.op import Array
from ..core.processes import Group, checksum
from ..core.tensor import Tensor
from ..nn import losses
from ..nn.sequential import logits_part
from ..train import NonFiniteError
from ..train.evaluation import Forward
from ..train.sharded import sharding_of
from ..train.together import Guard, group_of, guarded
from ..train.weights import WeightedTargets, checked_weights
from .lbfgs import minimise
from .objective import PenalizedStep
from .settings import Settings, usable_threads
from .training import Course, train

#: Rows that go through the module at once; up to the first number they do without a plan.
UNPLANNED, MOST = 64, 1024


@dataclass
class Rows:
    """Examples in the dtype that trains: inputs, targets (m, k), and weights or None."""

    X: Array
    y: Array
    weights: Array | None

    def part(self, rows: Array) -> Rows:
        """Return some of them."""
        return Rows(self.X[rows], self.y[rows], None if self.weights is None else self.weights[rows])


def is_stochastic(estimator: Any) -> bool:
    """Return whether training goes in batches; raise AttributeError if not."""
    if getattr(estimator, "solver", None) == "lbfgs":
        raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
    return True


class TrainedEstimator(BaseEstimator):  # type: ignore[misc]
    """Base of the estimators: fitting, and the way from X to the module's outputs.

    A family (MLP, Net) says how its module is made and what its settings mean; a kind (classifier, regressor) says what
    targets, losses and predictions are.
    """

    module_: nn.Module
    n_outputs_: int
    _course: Course
    _dtype: np.dtype[Any]
    _step: tuple[Any, PenalizedStep] | None
    _forward: Forward
    _planned_for: nn.Module  # the module of `_forward`
    _made_from: Any
    _recipe_names = "the module's parameters"
    _allow_nd = False  # whether X may have more than two axes

    def _keep(self, arguments: dict[str, Any]) -> None:
        """Store the arguments of `__init__`, its `locals()`, under their names, as they were given."""
        del arguments["self"]
        self.__dict__.update(arguments)

    # -- what a family says --------------------------------------------------------------------------------------------

    @abstractmethod
    def _settings(self) -> Settings:
        """Return the parameters, checked."""

    @abstractmethod
    def _made(self, features: int, outputs: int, random: np.random.RandomState) -> nn.Module:
        """Return a new module with its initial weights."""

    @abstractmethod
    def _recipe(self) -> Any:
        """Return what the module was made from, to be compared; `_recipe_names` says which parameters these are."""

    # -- what a kind says ----------------------------------------------------------------------------------------------

    @abstractmethod
    def _checked_data(self, X: Any, y: Any, *, first: bool, incremental: bool) -> tuple[Any, Array, Array]:
        """Return X (dense or sparse), the targets as given, and as numbers, (m, k)."""

    @abstractmethod
    def _weights_by_target(self, y: Array) -> Array | None:
        """Return a weight for each row that comes from its target alone."""

    @abstractmethod
    def _losses(self) -> tuple[str, ...]:
        """Return the losses that go by name."""

    @abstractmethod
    def _training_loss(self) -> tuple[Any, float]:
        """Return the loss, and what it is multiplied with when it is reported."""

    @abstractmethod
    def _score_of(self, output: Array, rows: Rows) -> float:
        """Return the score of the module's outputs."""

    @abstractmethod
    def _stratified(self, y: Array) -> Any:
        """Return what the held-out split is stratified by, or None."""

    # -- data ----------------------------------------------------------------------------------------------------------

    def _validated(self, X: Any, **rest: Any) -> Any:
        """Return X, and y if it is among the rest, as scikit-learn checks them."""
        return validate_data(
            self, X, accept_sparse=["csr", "csc"], dtype=(np.float64, np.float32), allow_nd=self._allow_nd, **rest
        )

    def _validated_pair(self, X: Any, y: Any, **rest: Any) -> tuple[Any, Any]:
        """Return X and y, which may have several columns; of a single one, its numbers."""
        X, y = self._validated(X, y=y, multi_output=True, **rest)
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    # -- training ------------------------------------------------------------------------------------------------------

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, incremental: bool = False) -> Self:
        settings = self._settings()
        try:
            with guarded(group_of(settings.distributed)) as guard:
                return self._fit_together(X, y, sample_weight, settings, guard, incremental)
        except NonFiniteError as error:
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                f"preprocessed. {str(error)[:1].upper()}{str(error)[1:]}"
            ) from None

    def _fit_together(
        self, X: Any, y: Any, sample_weight: Any, settings: Settings, guard: Guard, incremental: bool
    ) -> Self:
        group, state = guard.group, self.random_state
        if state is None and group.size > 1:
            state = group.firsts(int(np.random.SeedSequence().generate_state(1)[0]))
        random = check_random_state(state)
        if settings.rule is None and group.size > 1:
            raise ValueError("distributed: solver 'lbfgs' runs in one process; expected sgd or adam")
        if incremental and settings.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True: it makes one epoch")
        first = not hasattr(self, "module_") or (not settings.warm_start and not incremental)
        X, given, y = self._checked_data(X, y, first=first, incremental=incremental)
        if first and hasattr(self, "module_"):
            del self.module_  # it belongs to other classes; if anything fails now, nothing is fitted
        if not first and self._made_from != self._recipe():
            raise ValueError(
                f"{self._recipe_names} changed since the module was made, and training would continue with the old; "
                "call fit with warm_start=False to make a new one"
            )
        weights = self._weights(sample_weight, given, len(y))
        if first:
            self._begin(X, y, random, settings, continuing=incremental or settings.warm_start)
        rows = self._training_rows(X, y, weights)
        step = self._training_step(settings, rows, group, incremental=incremental)
        try:
            if settings.rule is None:
                self._minimise(settings, step, rows)
            else:
                self._descend(settings, step, rows, random, guard, incremental)
        finally:
            self.module_.load_state_dict(step.model.state_dict())
            if not incremental:
                self._step = None  # it holds the memory of plans; partial_fit creates another
            self._publish()
        return self

    def _weights(self, sample_weight: Any, y: Array, rows: int) -> Array | None:
        if isinstance(sample_weight, int | float | np.number):
            sample_weight = np.full(rows, sample_weight)  # equal for all, but relevant relative to the penalty
        weights = None if sample_weight is None else checked_weights(sample_weight, rows)
        by_target = self._weights_by_target(y)
        return weights if by_target is None else by_target if weights is None else weights * by_target

    def _begin(self, X: Any, y: Array, random: np.random.RandomState, settings: Settings, *, continuing: bool) -> None:
        """Make the module, in X's dtype; `continuing` says whether training goes on from what was there before."""
        self._dtype = settings.training_dtype(X.dtype, X.shape[0])
        self._course, self._step = Course(), None
        self.n_outputs_, self._made_from = y.shape[1], self._recipe()
        self.module_ = self._made(X.shape[1], self.n_outputs_, random).to(X.dtype).eval()
        if hasattr(self, "feature_names_in_"):
            self.module_.feature_names = tuple(map(str, self.feature_names_in_))
        self._forward = self._planned_forward()
        try:
            self._look(X[:1].toarray() if sparse.issparse(X) else X[:1])
        except BaseException:
            del self.module_  # it does not fit the data, so it must not be trained or used
            raise
        self._forward = self._planned_forward()  # what was seen may say which loss it is

    def _look(self, X: Array) -> None:
        """Check the module's output for one row; raise if it does not fit the targets."""

    def _targets(self, y: Array) -> Array:
        """Return the targets with a column for each of the module's outputs."""
        return y

    def _training_rows(self, X: Any, y: Array, weights: Array | None) -> Rows:
        dtype = np.dtype(np.int64) if self.module_.takes_ids else self._dtype
        if self.module_.takes_ids:
            X = self._ids(X)
        X = _cast(X, dtype, "X")
        dense = X.toarray() if sparse.issparse(X) else np.ascontiguousarray(X)
        rows = Rows(dense, _cast(self._targets(y), self._dtype, "y"), weights)
        if weights is not None and not weights.all():
            rows = rows.part(np.flatnonzero(weights))
            if not len(rows.X):
                raise ValueError("sample_weight: expected at least one weight > 0, got only zeros")
        return rows

    def _training_step(self, settings: Settings, rows: Rows, group: Group, *, incremental: bool) -> PenalizedStep:
        """Return the step with the module's current weights; in `partial_fit` the previous one if it fits."""
        if not incremental:
            self._course.optimizer = None
        weighted = rows.weights is not None
        key = (settings, weighted)
        if incremental and self._step is not None and self._step[0] == key:
            step = self._step[1]
            state = self.module_.state_dict()
            for name, array in [*step.parameters.items(), *step.buffers.items()]:
                array[...] = state[name]
            return step
        loss, reported = self._training_loss()
        losses.check_target(loss, rows.y.shape, rows.y)
        work = copy.deepcopy(self.module_).to(self._dtype).train()
        step = PenalizedStep(
            logits_part(work, loss), loss, settings.adjustable_rule(), alpha=settings.alpha,
            targets=WeightedTargets(np.empty((0, *self._target_shape()), self._dtype)) if weighted else None,
            reported=reported, engine=settings.engine, threads=usable_threads(settings.threads) or group.threads,
            sharding=sharding_of(settings.distributed, group, settings.shards),
        )  # fmt: skip
        self._step = key, step
        return step

    def _target_shape(self) -> tuple[int, ...]:
        """Return the shape of one example's target as the loss takes it."""
        return (self.n_outputs_,)

    def _packed(self, step: PenalizedStep, rows: Rows) -> Array:
        """Return the targets as the step takes them."""
        y = rows.y.reshape(len(rows.y), *self._target_shape())
        if step.targets is None:
            return y
        assert rows.weights is not None
        packed: Array = step.targets.pack(y, rows.weights, self._dtype)
        return packed

    def _minimise(self, settings: Settings, step: PenalizedStep, rows: Rows) -> None:
        rules, course = settings.rules, self._course
        found = minimise(
            step, rows.X, self._packed(step, rows), iterations=rules.epochs, evaluations=settings.evaluations,
            tol=rules.tol, verbose=rules.verbose,
        )  # fmt: skip
        course.epochs, course.losses, course.best_loss = found.iterations, found.losses, found.loss
        if found.interrupted:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        elif not found.converged:
            warnings.warn(
                f"lbfgs failed to converge after {found.iterations} iteration(s): {found.message}. More iterations "
                f"(max_iter={rules.epochs}) or standardised inputs usually help.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _descend(
        self,
        settings: Settings,
        step: PenalizedStep,
        rows: Rows,
        random: np.random.RandomState,
        guard: Guard,
        incremental: bool,
    ) -> None:
        rules, scored = replace(settings.rules, verbose=settings.rules.verbose and guard.group.first), None
        if incremental:
            rules = rules.one_epoch()
        if settings.early_stopping:
            rows, held = self._held_out(rows, settings.validation_fraction, random)
            scored = self._scored(step, held)
        state = random.get_state(legacy=False)
        facts = {"X": checksum([rows.X]), "y": checksum([rows.y]), "random_state": checksum([state["state"]["key"]])}
        if (settings.batch_size or 0) > len(rows.X):
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=4
            )
        train(
            step, rows.X, self._packed(step, rows), course=self._course, rules=rules,
            size=settings.batch_of(len(rows.X)), order=_orders(len(rows.X), settings.shuffle, random), scored=scored,
            callbacks=settings.callbacks, described=self._described() if settings.callbacks else {},
            begin=lambda: guard.begin({**facts, **step.exchanged()}),
        )  # fmt: skip
        guard.end()
        if self._course.interrupted:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        elif not incremental and self._course.stopped is None:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({rules.epochs}) reached and the optimization hasn't "
                "converged yet.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _described(self) -> dict[str, Any]:
        """Return the parameters, for loggers: numbers and text, others by their repr."""
        params = {name: value for name, value in self.get_params(deep=False).items() if name != "callbacks"}
        return {
            name: value if value is None or isinstance(value, str | int | float) else repr(value)
            for name, value in params.items()
        }

    def _held_out(self, rows: Rows, share: float, random: np.random.RandomState) -> tuple[Rows, Rows]:
        numbers = np.arange(len(rows.X))
        kept, held = train_test_split(numbers, random_state=random, test_size=share, stratify=self._stratified(rows.y))
        if len(held) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return rows.part(kept), rows.part(held)

    def _scored(self, step: PenalizedStep, held: Rows) -> Callable[[], tuple[float, float]]:
        forward = Forward(step.model, batch_size=MOST, engine=step.engine, threads=step.threads)
        packed = self._packed(step, held)

        def scored() -> tuple[float, float]:
            output = forward(held.X)
            return self._score_of(output, held), step.measured(output, packed)

        return scored

    def _publish(self) -> None:
        """Set the attributes that describe the training."""
        course, scored = self._course, self.early_stopping and self._settings().rule is not None
        self.n_iter_, self.t_ = course.epochs, course.samples
        self.loss_curve_ = course.losses
        self.loss_ = course.losses[-1] if course.losses else course.best_loss
        self.best_loss_ = None if scored else course.best_loss
        self.validation_scores_ = course.scores if scored else None
        self.validation_loss_curve_ = course.held_losses if scored else None
        self.best_validation_score_ = course.best_score if scored else None

    # -- the trained module --------------------------------------------------------------------------------------------

    def _planned_forward(self) -> Forward:
        self._planned_for = self.module_
        part, threads = logits_part(self.module_, self._training_loss()[0]), usable_threads(self.threads)
        return Forward(part, batch_size=MOST, engine=self.engine, threads=threads)

    def _output(self, X: Any) -> Array:
        """Return the module's output for every row of X, before the activation that belongs to the loss."""
        check_is_fitted(self)
        X = self._validated(X, reset=False)
        if sparse.issparse(X):
            X = X.tocsr()
        if not self.module_.takes_ids:
            X = _cast(X, self.module_.dtype or X.dtype, "X")
        parts = [self._raw(X[start : start + MOST]) for start in range(0, X.shape[0], MOST)]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _raw(self, X: Any) -> Array:
        rows: Array = X.toarray() if sparse.issparse(X) else X
        if self.module_.takes_ids:
            rows = self._ids(rows).astype(np.int64)
        if self._planned_for is not self.module_:  # somebody assigned another
            self._forward = self._planned_forward()
        if len(rows) <= UNPLANNED:
            return np.asarray(_single(self._forward.model(rows), Tensor).value)
        full = 1 << (len(rows) - 1).bit_length()  # few different sizes, so few plans
        padded = np.concatenate([rows, np.repeat(rows[-1:], full - len(rows), axis=0)])
        outputs: Array = _single(self._forward(padded), np.ndarray)[: len(rows)]
        return outputs

    def _ids(self, X: Any) -> Any:
        """Return row numbers to look up; raise unless they are integers within the module's number of rows."""
        X = X.toarray() if sparse.issparse(X) else X
        if np.any(X != np.floor(X)):
            raise ValueError(f"X holds {X[X != np.floor(X)][0]:g}; the module looks up rows by integers")
        extremes = [np.unravel_index(find(X), X.shape)[0] for find in (np.argmin, np.argmax)]
        self.module_(X[extremes].astype(np.int64))
        return X

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether there is a module to predict with."""
        return hasattr(self, "module_")

    # -- files and copies ----------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for files and copies, without plans, which are created again."""
        state: dict[str, Any] = dict(super().__getstate__())
        state.pop("_forward", None)
        state.pop("_planned_for", None)
        if "_step" in state:
            state["_step"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` returned."""
        super().__setstate__(state)
        if "module_" in state:
            self._forward = self._planned_forward()


def _cast(given: Any, dtype: np.dtype[Any], name: str) -> Any:
    """Return an array or a sparse matrix in another dtype; raise if that cannot hold its values."""
    if given.dtype == dtype:
        return given
    with np.errstate(over="ignore"):
        cast = given.astype(dtype)
    if dtype.kind == "f" and not np.isfinite(cast.data if sparse.issparse(cast) else cast).all():
        raise ValueError(f"{name} has values out of the range of {dtype}: standardise {name}, or set dtype='float64'")
    return cast


def _orders(examples: int, shuffled: bool, random: np.random.RandomState) -> Callable[[int], Array]:
    """Return the function that gives each epoch's order: that of the epoch before, shuffled."""
    order = np.arange(examples)

    def next_order(epoch: int) -> Array:
        nonlocal order
        if shuffled:
            order = order.copy()  # the last one may still be read
            random.shuffle(order)
        return order

    return next_order


def _single(output: Any, kind: type) -> Any:
    if not isinstance(output, kind):
        raise ValueError(f"module: expected a single tensor as output, got type {type(output).__name__}")
    return output
