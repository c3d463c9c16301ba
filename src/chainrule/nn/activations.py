"""Activations as layers: one function element by element (softmax: along the last axis)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..core.arguments import boolean, number
from ..core.tensor import Tensor
from .describe import described
from .naming import Layer, Namer

#: Name -> class. A class enters itself: ``class Mish(Activation, names=("mish",))``.
NAMED: dict[str, type[Activation]] = {}


class Activation(Layer):
    """A layer without parameters that computes A from Z.

    Subclass it and write ``function(self, x)`` with NumPy functions. With ``names`` the activation can be chosen by
    name wherever one is: ``nn.activations.get``, the estimators, ``chainrule train --activation``.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> class Cube(nn.Activation):
    ...     def function(self, x):
    ...         return x**3
    >>> nn.Sequential(nn.Linear(2, 1, weight_init="ones"), Cube())(np.ones((1, 2))).value
    array([[8.]], dtype=float32)
    """

    gives: tuple[str, ...] = ("A",)

    def __init_subclass__(cls, *, names: tuple[str, ...] = (), **more: Any) -> None:
        """Enter the class under its names."""
        super().__init_subclass__(**more)
        for name in names:
            NAMED[name] = cls
        if names:
            described(cls)

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Compute the output, named A."""
        return name("A", self.function(x))

    def function(self, x: Tensor) -> Any:
        """Apply the activation. To be written by subclasses."""
        raise TypeError(f"{type(self).__name__} has no method function(self, x)")

    def _signature(self) -> str:
        settings = {k: v for k, v in self.__dict__.items() if not k.startswith("_") and k != "training"}
        return ", ".join(f"{k}={v}" for k, v in settings.items())


class ReLU(Activation, names=("relu",)):
    """max(0, x). Subgradient at 0: 0.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.ReLU()([-1.0, 2.0]).value
    array([0., 2.])
    """

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return ops.relu(x)


class LeakyReLU(Activation, names=("leaky_relu",)):
    """x where positive, else slope · x. Subgradient at 0: the slope.

    Parameters
    ----------
    slope : float
        Default 0.01. Source: Maas et al., 2013.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.LeakyReLU(0.1)([-1.0, 2.0]).value
    array([-0.1,  2. ])
    """

    def __init__(self, slope: float = 0.01) -> None:
        self.slope: float = number("slope", slope)

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return ops.leaky_relu(x, self.slope)


class ELU(Activation, names=("elu",)):
    """x where positive, else alpha (e^x - 1).

    Parameters
    ----------
    alpha : float
        Default 1. Source: Clevert et al., "Fast and accurate deep network learning by ELUs", 2015.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.ELU()([-1.0, 2.0]).value.round(3)
    array([-0.632,  2.   ])
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha: float = number("alpha", alpha)

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return ops.elu(x, self.alpha)


class GELU(Activation, names=("gelu",)):
    """x · Φ(x), Φ being the normal distribution function.

    Parameters
    ----------
    approximate : bool
        Use the tanh formula. Source: Hendrycks & Gimpel, "Gaussian Error Linear Units", 2016.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.GELU()([-1.0, 2.0]).value.round(3)
    array([-0.159,  1.954])
    """

    def __init__(self, approximate: bool = False) -> None:
        self.approximate: bool = boolean("approximate", approximate)

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return ops.gelu(x, self.approximate)


class SiLU(Activation, names=("silu", "swish")):
    """x · sigmoid(x), also called swish.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.SiLU()([-1.0, 2.0]).value.round(3)
    array([-0.269,  1.762])
    """

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return ops.silu(x)


class Sigmoid(Activation, names=("sigmoid", "logistic")):
    """1 / (1 + e^-x).

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.Sigmoid()([-1.0, 0.0]).value.round(3)
    array([0.269, 0.5  ])
    """

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return ops.sigmoid(x)


class Tanh(Activation, names=("tanh",)):
    """The hyperbolic tangent.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.Tanh()([-1.0, 0.0]).value.round(3)
    array([-0.762,  0.   ])
    """

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return np.tanh(x)


class Softplus(Activation, names=("softplus",)):
    """log(1 + e^x), a smooth max(0, x).

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.Softplus()([-1.0, 0.0]).value.round(3)
    array([0.313, 0.693])
    """

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return ops.softplus(x)


class Softmax(Activation, names=("softmax",)):
    """e^x over its sum along the last axis: probabilities from logits.

    Losses take logits: a network trained with ``cross_entropy`` ends before the softmax.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.Softmax()([[0.0, 0.0], [0.0, 2.0]]).value.round(3)
    array([[0.5  , 0.5  ],
           [0.119, 0.881]])
    """

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return ops.softmax(x, -1)


def get(name: str | Activation) -> Activation:
    """Return a new activation layer by name (``"relu"``, ``"tanh"``, …), or the given layer.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.activations.get("leaky_relu")
    LeakyReLU(slope=0.01) [0 parameters]
    """
    if isinstance(name, Activation):
        return name
    kind = NAMED.get(str(name).lower())
    if kind is None:
        raise ValueError(f"unknown activation {name!r}; known are {', '.join(NAMED)}")
    return kind()
