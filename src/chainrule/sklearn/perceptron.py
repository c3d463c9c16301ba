"""The parameters of a multi-layer perceptron, and its network and training."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .. import nn, optim
from ..core.arguments import boolean, choice, integer, number
from ..core.op import Array
from ..nn import activations
from ..optim import Optimizer
from .base import TrainedEstimator
from .layer_arrays import LayerArrays
from .rates import Adaptive, ByEpoch, InverseScaling, Rates, WarmRestarts, first_rate
from .settings import Settings

SCHEDULES = ("constant", "invscaling", "adaptive", "warm_restarts")
SOLVERS = ("adam", "sgd", "lbfgs", "adamw", "rmsprop", "adagrad", "lion")
#: The attributes of the estimator, and those of a layer that they show.
ARRAYS = {"coefs_": "weight", "intercepts_": "bias"}


class MultilayerPerceptron(TrainedEstimator):
    """Base of both: the parameters, and the network that they describe."""

    _given: dict[str, list[Any]]  # weights that were assigned before there is a network
    _recipe_names = "hidden_layer_sizes, activation or dropout"

    # -- settings ------------------------------------------------------------------------------------------------------

    def _settings(self) -> Settings:
        self._hidden()
        first = number("learning_rate_init", self.learning_rate_init, above=0)
        return Settings.read(
            self,
            rule=self._rule(first),
            rates=self._rates(first),
            max_epochs="max_iter",
            evaluations=integer("max_fun", self.max_fun, at_least=1),
        )

    def _rule(self, first: float) -> Optimizer | None:
        if isinstance(self.solver, Optimizer):
            return self.solver
        choice("solver", self.solver, SOLVERS, alternative=" or an optimiser")
        betas: dict[str, Any] = {
            "beta1": number("beta_1", self.beta_1, at_least=0, below=1),
            "beta2": number("beta_2", self.beta_2, at_least=0, below=1),
            "eps": number("epsilon", self.epsilon, above=0),
        }
        momentum = number("momentum", self.momentum, at_least=0, at_most=1)
        nesterov = boolean("nesterovs_momentum", self.nesterovs_momentum)
        if self.solver == "lbfgs":
            return None
        if self.solver == "sgd":
            return optim.SGD(first, momentum, nesterov and momentum > 0, rate_in_velocity=True)
        return optim.Adam(first, **betas, eps_hat=True) if self.solver == "adam" else optim.get(self.solver, first)

    def _rates(self, first: float) -> Rates:
        power = number("power_t", self.power_t, at_least=0)
        if isinstance(self.solver, Optimizer):
            first = first_rate(self.solver)
        if callable(self.learning_rate):
            return ByEpoch(first, self.learning_rate)
        name = choice("learning_rate", self.learning_rate, SCHEDULES, alternative=" or a function of the epoch")
        period = integer("restart_every", self.restart_every, at_least=1)
        if name == "warm_restarts":
            return WarmRestarts(first, period)
        if name == "constant" or self.solver != "sgd":
            return Rates(first)
        return Adaptive(first) if name == "adaptive" else InverseScaling(first, power)

    # -- the network ---------------------------------------------------------------------------------------------------

    def _hidden(self) -> list[tuple[int, nn.Module, float]]:
        """Return units, a new activation and the dropout of each hidden layer."""
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if isinstance(sizes, Sequence | np.ndarray) else [sizes]
        for size in sizes:
            if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
                raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        kinds = self._by_layer("activation", self.activation, len(sizes))
        drops = self._by_layer("dropout", self.dropout, len(sizes))
        return [
            (int(size), _activation(kind), number("dropout", drop, at_least=0, below=1))
            for size, kind, drop in zip(sizes, kinds, drops, strict=True)
        ]

    def _recipe(self) -> Any:
        return [(size, repr(kind), drop) for size, kind, drop in self._hidden()]

    def _by_layer(self, name: str, given: Any, layers: int) -> list[Any]:
        if not isinstance(given, list | tuple | np.ndarray):
            return [given] * layers
        if len(given) != layers:
            raise ValueError(f"{name}: expected one entry for each of the {layers} hidden layers, got {len(given)}")
        return list(given)

    def _made(self, features: int, outputs: int, random: np.random.RandomState) -> nn.Module:
        hidden = self._hidden()
        sizes = [features, *[size for size, _, _ in hidden], outputs]
        logistic = bool(hidden) and all(isinstance(kind, activations.Sigmoid) for _, kind, _ in hidden)
        layers: list[nn.Module] = []
        for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            bound = np.sqrt((2.0 if logistic else 6.0) / (fan_in + fan_out))
            linear = nn.Linear(fan_in, fan_out, dtype=np.float64, weight_init="zeros")
            linear.weight.assign(random.uniform(-bound, bound, (fan_in, fan_out)))
            assert linear.bias is not None
            linear.bias.assign(random.uniform(-bound, bound, fan_out))
            layers.append(linear)
            if i < len(hidden):
                _, activation, drop = hidden[i]
                layers += [activation, nn.Dropout(drop)] if drop else [activation]
        dropouts = [layer for layer in layers if isinstance(layer, nn.Dropout)]
        seed = int(random.randint(2**31)) if dropouts else 0
        for layer in dropouts:
            layer.seed = seed
        self.n_layers_ = len(sizes)
        return nn.Sequential(*layers)

    # -- weights -------------------------------------------------------------------------------------------------------

    @property
    def coefs_(self) -> list[Array]:
        """The weights, layer by layer: (inputs, outputs) each. Writing to them and assignments take effect.

        If they are assigned before the first call of `partial_fit`, or of `fit` with ``warm_start=True``, training
        starts from them.
        """
        return self._arrays("coefs_")

    @coefs_.setter
    def coefs_(self, values: Any) -> None:
        self._assign("coefs_", values)

    @property
    def intercepts_(self) -> list[Array]:
        """The biases, layer by layer; they are assigned as `coefs_` are."""
        return self._arrays("intercepts_")

    @intercepts_.setter
    def intercepts_(self, values: Any) -> None:
        self._assign("intercepts_", values)

    def _arrays(self, name: str) -> list[Any]:
        if hasattr(self, "module_"):
            linears = [layer for layer in self.module_.modules() if isinstance(layer, nn.Linear)]
            return LayerArrays(name, [getattr(layer, ARRAYS[name]) for layer in linears])
        if name not in self.__dict__.get("_given", {}):
            raise AttributeError(f"this {type(self).__name__} has no {name} before it is fitted")
        given: list[Any] = self._given[name]
        return given

    def _assign(self, name: str, values: Any) -> None:
        if hasattr(self, "module_"):
            LayerArrays.replace(self._arrays(name), values)  # type: ignore[arg-type]
        else:
            self.__dict__.setdefault("_given", {})[name] = list(values)

    def _begin(self, X: Any, y: Array, random: np.random.RandomState, settings: Settings, *, continuing: bool) -> None:
        given = self.__dict__.pop("_given", {})
        super()._begin(X, y, random, settings, continuing=continuing)
        try:
            for name in given if continuing else ():
                self._assign(name, given[name])
        except BaseException:
            del self.module_
            self._given = given
            raise


def _activation(given: Any) -> nn.Module:
    if isinstance(given, nn.Module):
        return copy.deepcopy(given)
    if isinstance(given, str) and given == "identity":
        return nn.Identity()
    if not isinstance(given, str):
        raise ValueError(f"activation: expected a name, a layer such as nn.ELU(0.5), or a list of them, got {given!r}")
    try:
        return activations.get(given)
    except ValueError as error:
        raise ValueError(f"activation: {error}, identity") from None
