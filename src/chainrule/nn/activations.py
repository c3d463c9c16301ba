"""Activations as layers: one function element by element (softmax: along the last axis)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..core.tensor import Tensor
from .naming import Layer, Namer


class Activation(Layer):
    """A layer without parameters that gives A from Z."""

    gives: tuple[str, ...] = ("A",)

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Compute the output, named A."""
        return name("A", self.function(x))

    def function(self, x: Tensor) -> Any:
        """Apply the activation. To be written by subclasses."""
        raise TypeError(f"{type(self).__name__} has no function(self, x); write one")

    def config(self) -> dict[str, Any]:
        """Return the architecture as JSON-able data."""
        return {"type": type(self).__name__, **self._settings()}

    def _settings(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if not k.startswith("_") and k != "training"}

    def _signature(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in self._settings().items())


class ReLU(Activation):
    """max(0, x). Subgradient at 0: 0."""

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return ops.relu(x)


class LeakyReLU(Activation):
    """x where positive, else slope · x. Subgradient at 0: the slope.

    Parameters
    ----------
    slope : float
        Default 0.01. Source: Maas et al., 2013.
    """

    def __init__(self, slope: float = 0.01) -> None:
        self.slope: float = _number("slope", slope)

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return ops.leaky_relu(x, self.slope)


class ELU(Activation):
    """x where positive, else alpha (e^x - 1).

    Parameters
    ----------
    alpha : float
        Default 1. Source: Clevert et al., "Fast and accurate deep network learning by ELUs", 2015.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha: float = _number("alpha", alpha)

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        positive = np.greater(x, 0.0)
        # expm1 sees no positive x (it would overflow), and its slope at 0 is alpha
        return np.where(positive, x, self.alpha * np.expm1(np.where(positive, 0.0, x)))


class GELU(Activation):
    """x · Φ(x), Φ being the normal distribution function.

    Parameters
    ----------
    approximate : bool
        Use the tanh formula. Source: Hendrycks & Gimpel, "Gaussian Error Linear Units", 2016.
    """

    def __init__(self, approximate: bool = False) -> None:
        if not isinstance(approximate, bool):
            raise TypeError(f"approximate is {approximate!r}; True (tanh formula) or False (exact) would do")
        self.approximate = approximate

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return ops.gelu(x, self.approximate)


class SiLU(Activation):
    """x · sigmoid(x), also called swish."""

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return ops.silu(x)


class Sigmoid(Activation):
    """1 / (1 + e^-x)."""

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return ops.sigmoid(x)


class Tanh(Activation):
    """The hyperbolic tangent."""

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return np.tanh(x)


class Softplus(Activation):
    """log(1 + e^x), a smooth max(0, x)."""

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return ops.softplus(x)


class Softmax(Activation):
    """e^x over its sum along the last axis: probabilities from logits.

    Losses take logits: a network trained with ``cross_entropy`` ends before the softmax.
    """

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return ops.softmax(x, -1)


_NAMES: dict[str, type[Activation]] = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "gelu": GELU,
    "silu": SiLU,
    "swish": SiLU,
    "sigmoid": Sigmoid,
    "logistic": Sigmoid,
    "tanh": Tanh,
    "softplus": Softplus,
    "softmax": Softmax,
}


def get(name: str | Activation) -> Activation:
    """Return a new activation layer by name (``"relu"``, ``"tanh"``, …), or the given layer."""
    if isinstance(name, Activation):
        return name
    kind = _NAMES.get(str(name).lower())
    if kind is None:
        raise ValueError(f"no activation {name!r}; there are {', '.join(_NAMES)}")
    return kind()


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}; a finite number would do")
    return float(value)
