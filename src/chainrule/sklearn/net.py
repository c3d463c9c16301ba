"""NetClassifier and NetRegressor: any module as an estimator."""

from __future__ import annotations

import copy
import inspect
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from .. import nn, optim
from ..core.arguments import number
from ..core.op import Array
from ..nn import losses
from ..nn.sequential import logits_part
from ..optim import Optimizer
from .base import TrainedEstimator
from .classifier import ClassifierPart
from .rates import ByEpoch, Rates, first_rate
from .regressor import RegressorPart
from .settings import Settings

#: Prefix of the names of the module's parameters.
PREFIX = "module__"


class Net(TrainedEstimator):
    """Base of both: the parameters, and the module."""

    _shape: tuple[int, ...]
    _allow_nd = True

    # -- parameters of the module --------------------------------------------------------------------------------------

    def _keep(self, arguments: dict[str, Any]) -> None:
        own = arguments.pop("module__parameters")
        for name in own:
            if not name.startswith(PREFIX):
                known = ", ".join(name for name in arguments if name != "self")
                raise TypeError(
                    f"{type(self).__name__} has no parameter {name!r}; it has {known}, and those of the module begin "
                    f"with {PREFIX}"
                )
        super()._keep(arguments | own)

    def _own(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name.startswith(PREFIX)}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, including those of the module.

        Parameters
        ----------
        deep : bool
            Has no effect: a module has no parameters in scikit-learn's sense.
        """
        found: dict[str, Any] = super().get_params(deep=False)
        return found | self._own()

    def set_params(self, **params: Any) -> Self:
        """Set parameters; ``module__hidden=64`` is passed to the class or function that creates the module.

        Parameters
        ----------
        **params
        """
        own = {name: value for name, value in params.items() if name.startswith(PREFIX)}
        self.__dict__.update(own)
        super().set_params(**{name: value for name, value in params.items() if name not in own})
        return self

    # -- settings ------------------------------------------------------------------------------------------------------

    def _settings(self) -> Settings:
        rule = self._rule()
        first = first_rate(rule)
        rates = ByEpoch(first, self.learning_rate) if callable(self.learning_rate) else Rates(first)
        return Settings.read(self, rule=rule, rates=rates, max_epochs="max_epochs")

    def _rule(self) -> Optimizer:
        if isinstance(self.optimizer, Optimizer) and (self.learning_rate is None or callable(self.learning_rate)):
            return self.optimizer
        rate = None if callable(self.learning_rate) else self.learning_rate
        if rate is not None:
            rate = number("learning_rate", rate, above=0)
        try:
            return optim.get(self.optimizer, rate)
        except (TypeError, ValueError) as error:
            raise ValueError(f"optimizer: {error}") from None

    # -- the module ----------------------------------------------------------------------------------------------------

    def _made(self, features: int, outputs: int, random: np.random.RandomState) -> nn.Module:
        own = {name.removeprefix(PREFIX): value for name, value in self._own().items()}
        if isinstance(self.module, nn.Module):
            if own:
                raise ValueError(
                    f"{PREFIX}{next(iter(own))} needs a class or function as module, but module is a "
                    f"{type(self.module).__name__} : give its class, or a function that returns it"
                )
            return copy.deepcopy(self.module)
        if not callable(self.module):
            raise ValueError(
                f"module: expected an nn.Module, a class, or a function that returns a module, got {self.module!r}"
            )
        made = _called(self.module, own, {"n_features": features, "n_outputs": outputs})
        if not isinstance(made, nn.Module):
            raise ValueError(f"module: expected a function that returns an nn.Module, got type {type(made).__name__}")
        return copy.deepcopy(made).initialize(int(random.randint(2**31)))  # a function may return the same module again

    def _recipe(self) -> Any:
        return [self.module, {name: repr(value) for name, value in self._own().items()}]

    def _look(self, X: Any) -> None:
        shape = self._raw(X).shape
        self._shape = shape[1:]
        if len(shape) not in (1, 2) or shape[0] != len(X):
            raise ValueError(
                f"module: expected output shape ({len(X)}, {self.n_outputs_}) for {len(X)} row(s) of X, got {shape}"
            )
        self._fit_outputs(shape[1] if len(shape) == 2 else 1)
        self._compare_end()

    def _compare_end(self) -> None:
        """Raise if the module ends in an activation that the loss neither applies itself nor expects."""
        last = self.module_
        while isinstance(last, nn.Sequential) and len(last):
            last = last[-1]
        loss = self._training_loss()[0]
        if not isinstance(last, nn.Softmax | nn.Sigmoid) or logits_part(self.module_, loss) is not self.module_:
            return
        activation = losses.output_activation(loss)
        if activation == "identity":
            if isinstance(self, ClassifierPart):
                raise ValueError(
                    "module: expected logits for this loss, without an output activation, got a module that ends with "
                    f"{type(last).__name__}"
                )
            return
        wanted = activation.capitalize()
        if type(last).__name__ == wanted:
            raise ValueError(
                f"module: expected {wanted} as the last layer of the module itself, or no output activation, got a "
                f"submodule that ends with {wanted}"
            )
        raise ValueError(
            f"module: expected {wanted} or no output activation for these targets, got a module that ends with "
            f"{type(last).__name__}"
        )

    @abstractmethod
    def _fit_outputs(self, columns: int) -> None:
        """Raise unless the number of output columns fits the targets."""

    def _target_shape(self) -> tuple[int, ...]:
        return self._shape

    def _refused(self, columns: int, wanted: str) -> ValueError:
        return ValueError(f"module: expected {wanted}, got {columns} output column(s)")


def _called(maker: Callable[..., Any], own: dict[str, Any], offered: dict[str, int]) -> Any:
    """Call a class or function with its parameters, and with the sizes that it takes by name."""
    takes = inspect.signature(maker).parameters
    unknown = (
        [] if any(p.kind is p.VAR_KEYWORD for p in takes.values()) else [name for name in own if name not in takes]
    )
    if unknown:
        raise ValueError(
            f"module takes {', '.join(takes) or 'nothing'}; found {', '.join(PREFIX + n for n in unknown)}"
        )
    given = {name: size for name, size in offered.items() if name in takes} | own
    try:
        inspect.signature(maker).bind(**given)
    except TypeError as error:
        raise ValueError(f"module: {error}; pass arguments as {PREFIX}…=…") from None
    return maker(**given)


class NetClassifier(Net, ClassifierPart):
    """Any module as a classifier.

    Its outputs are logits (or end in the Softmax or Sigmoid that belongs to the loss): one column per class; for two
    classes one column or two; for several labels per example one column per label.

    Parameters
    ----------
    module : nn.Module, class or function
        A module is copied, and training starts from its weights. A class or a function is called, with the
        ``module__…`` parameters, and with ``n_features`` and ``n_outputs`` if it takes these names; its weights are
        drawn from `random_state`.
    loss : str or function
        ``"log_loss"``, ``"hinge"``, or a function (logits, target) -> scalar; targets are one-hot rows (m, classes),
        between two classes 0 and 1, shaped like the module's output.
    class_weight : dict, "balanced" or None
        Weight of the examples of each class.
    optimizer : str or Optimizer
    learning_rate : float, function or None
        None: that of the optimiser. A function gives the rate of an epoch, from 0.
    alpha : float
        Strength of the L2 penalty alpha/2 Σ W², which is divided by the number (or summed weight) of a batch's
        examples.
    batch_size : int or "auto"
        ``"auto"``: 200, or all examples if they are fewer.
    max_epochs : int
    shuffle : bool
    random_state : int, RandomState or None
        Of the initial weights, the validation split and the orders.
    tol, n_iter_no_change
        Training stops if the loss (or the score of the validation split) has not improved by `tol` for more than
        `n_iter_no_change` epochs; inf: never.
    early_stopping : bool
        Hold out a validation split, stop when its score no longer improves, and keep the best weights.
    validation_fraction : float
    warm_start, verbose : bool
    callbacks : sequence
        As for ``chainrule.fit``.
    dtype : {"auto", "float32", "float64"}
        Data type of training. ``"auto"``: float32 in batches, the dtype of X where all examples are taken at once.
        The trained weights and the predictions have the dtype of X in any case.
    engine, threads
        As for ``chainrule.compile``; without `threads`, what OMP_NUM_THREADS allows.
    distributed, shards
        As for ``chainrule.fit``: the processes that share each batch, all of which call `fit` with the same data.
    **module__parameters
        ``module__hidden=64`` is the module's parameter ``hidden``, also in grid searches.

    Attributes
    ----------
    module_ : nn.Module
        The trained module, in evaluation mode.
    classes_ : array
    n_iter_, t_, loss_, best_loss_, loss_curve_, validation_scores_, validation_loss_curve_, best_validation_score_,
    n_features_in_, n_outputs_
        As for MLPClassifier.

    Examples
    --------
    >>> from chainrule import data, nn
    >>> from chainrule.sklearn import NetClassifier
    >>> digits = data.load_digits()
    >>> X, y = digits.X / 16, digits.y
    >>> def network(n_features, n_outputs, hidden=32):
    ...     return nn.Sequential(nn.Linear(n_features, hidden), nn.ReLU(), nn.Linear(hidden, n_outputs))
    >>> model = NetClassifier(network, module__hidden=64, max_epochs=500, random_state=0)
    >>> model.fit(X[:1000], y[:1000]).score(X[1000:], y[1000:]) > 0.8
    True
    """

    def __init__(
        self,
        module: Any = None,
        *,
        loss: Any = "log_loss",
        class_weight: Any = None,
        optimizer: Any = "adam",
        learning_rate: Any = None,
        alpha: float = 0.0,
        batch_size: Any = "auto",
        max_epochs: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        n_iter_no_change: Any = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        verbose: Any = False,
        callbacks: Any = (),
        dtype: str = "auto",
        engine: str | None = None,
        threads: int | None = None,
        distributed: Any = None,
        shards: int | None = None,
        **module__parameters: Any,
    ) -> None:
        self._keep(locals())

    def _fit_outputs(self, columns: int) -> None:
        kind = self._kind
        if kind == "binary" and columns == 2:
            self.n_outputs_ = 2
            if self.out_activation_ == "logistic":
                self.out_activation_ = "softmax"
        elif columns != self.n_outputs_:
            per_class = f"{self.n_outputs_} output columns, one per class"
            raise self._refused(columns, "one or two output columns" if kind == "binary" else per_class)

    def _one_of_many(self) -> bool:
        return super()._one_of_many() or (self._kind == "binary" and self.n_outputs_ == 2)

    def _targets(self, y: Array) -> Array:
        return np.concatenate([~y, y], axis=1) if y.shape[1] < self.n_outputs_ else y

    def _stratified(self, y: Array) -> Any:
        return y.argmax(axis=1) if self._one_of_many() else super()._stratified(y)


class NetRegressor(Net, RegressorPart):
    """Any module as a regressor, with as many columns of output as y has.

    Parameters
    ----------
    module : nn.Module, class or function
        A module is copied, and training starts from its weights. A class or a function is called, with the
        ``module__…`` parameters, and with ``n_features`` and ``n_outputs`` if it takes these names; its weights are
        drawn from `random_state`.
    loss : str or function
        ``"squared_error"``, ``"poisson"`` (of the exponential of the outputs), ``"mae"``, ``"huber"``, another of
        ``nn.losses`` for numbers, or a function (output, target) -> scalar.
    optimizer : str or Optimizer
    learning_rate : float, function or None
        None: that of the optimiser. A function gives the rate of an epoch, from 0.
    alpha : float
        Strength of the L2 penalty alpha/2 Σ W², which is divided by the number (or summed weight) of a batch's
        examples.
    batch_size : int or "auto"
        ``"auto"``: 200, or all examples if they are fewer.
    max_epochs : int
    shuffle : bool
    random_state : int, RandomState or None
        Of the initial weights, the validation split and the orders.
    tol, n_iter_no_change
        Training stops if the loss (or the score of the validation split) has not improved by `tol` for more than
        `n_iter_no_change` epochs; inf: never.
    early_stopping : bool
        Hold out a validation split, stop when its score no longer improves, and keep the best weights.
    validation_fraction : float
    warm_start, verbose : bool
    callbacks : sequence
        As for ``chainrule.fit``.
    dtype : {"auto", "float32", "float64"}
        Data type of training. ``"auto"``: float32 in batches, the dtype of X where all examples are taken at once.
        The trained weights and the predictions have the dtype of X in any case.
    engine, threads
        As for ``chainrule.compile``; without `threads`, what OMP_NUM_THREADS allows.
    distributed, shards
        As for ``chainrule.fit``: the processes that share each batch, all of which call `fit` with the same data.
    **module__parameters
        ``module__hidden=64`` is the module's parameter ``hidden``, also in grid searches.

    Attributes
    ----------
    module_ : nn.Module
        The trained module, in evaluation mode.
    n_iter_, t_, loss_, best_loss_, loss_curve_, validation_scores_, validation_loss_curve_, best_validation_score_,
    n_features_in_, n_outputs_
        As for MLPRegressor.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> from chainrule.sklearn import NetRegressor
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> model = NetRegressor(nn.Sequential(nn.Linear(1, 1)), max_epochs=200, learning_rate=0.1, random_state=0)
    >>> model.fit(X, 2 * X[:, 0] + 1).score(X, 2 * X[:, 0] + 1) > 0.99
    True
    """

    def __init__(
        self,
        module: Any = None,
        *,
        loss: Any = "squared_error",
        optimizer: Any = "adam",
        learning_rate: Any = None,
        alpha: float = 0.0,
        batch_size: Any = "auto",
        max_epochs: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        n_iter_no_change: Any = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        verbose: Any = False,
        callbacks: Any = (),
        dtype: str = "auto",
        engine: str | None = None,
        threads: int | None = None,
        distributed: Any = None,
        shards: int | None = None,
        **module__parameters: Any,
    ) -> None:
        self._keep(locals())

    def _fit_outputs(self, columns: int) -> None:
        if columns != self.n_outputs_:
            raise self._refused(columns, f"{self.n_outputs_} output column(s), as in y")
