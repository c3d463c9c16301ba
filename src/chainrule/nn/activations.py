"""Activations as layers: one function element by element (softmax: along the last axis)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from .. import ops
from ..core.arguments import boolean, integer, number
from ..core.tensor import Parameter, Tensor
from ..ops.table import as_dtype
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


class SELU(Activation, names=("selu",)):
    """1.0507 · ELU(x, alpha=1.6733): keeps mean 0 and variance 1 from layer to layer.

    Source: Klambauer et al., "Self-normalizing neural networks", 2017.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.SELU()([-1.0, 2.0]).value.round(3)
    array([-1.111,  2.101])
    """

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return 1.0507009873554805 * ops.elu(x, 1.6732632423543772)


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


class LogSoftmax(Activation, names=("log_softmax",)):
    """The logarithm of the softmax along the last axis, computed without overflow.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.LogSoftmax()([[0.0, 0.0]]).value.round(3)
    array([[-0.693, -0.693]])
    """

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return ops.log_softmax(x, -1)


class Mish(Activation, names=("mish",)):
    """x · tanh(softplus(x)). Source: Misra, "Mish: a self regularized non-monotonic activation function", 2019.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.Mish()([-1.0, 2.0]).value.round(3)
    array([-0.303,  1.944])
    """

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return x * np.tanh(ops.softplus(x))


class Hardswish(Activation, names=("hardswish",)):
    """x · min(max(x + 3, 0), 6) / 6, pieces close to `SiLU`. Source: Howard et al., "Searching for MobileNetV3", 2019.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.Hardswish()([-1.0, 4.0]).value.round(3)
    array([-0.333,  4.   ])
    """

    def function(self, x: Tensor) -> Any:
        """Apply the activation."""
        return x * np.clip(x + 3.0, 0.0, 6.0) / 6.0


@described
class PReLU(Activation):
    """x where positive, else a · x; the slope a is trained, one for all or one for each channel (axis 1).

    Parameters
    ----------
    features : int
        1, or the length of axis 1.
    init : float
        The initial slope. Source: He et al., "Delving deep into rectifiers", 2015.
    dtype
        float32 (default) or float64.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.PReLU()([-1.0, 2.0]).value
    array([-0.25,  2.  ], dtype=float32)
    """

    roles: ClassVar[dict[str, str]] = {"weight": "a"}
    _lengths = ("features",)
    weight: Parameter

    def __init__(self, features: int = 1, init: float = 0.25, *, dtype: Any = np.float32) -> None:
        self.features: int = integer("features", features, at_least=1)
        self.init: float = number("init", init)
        constant = {"name": "constant", "value": self.init}
        self.make_parameter("weight", (self.features,), constant, dtype=dtype)

    @staticmethod
    def _count_of(settings: Mapping[str, Any]) -> int:
        return int(settings["features"])

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Compute the output, named A."""
        if self.features > 1 and (x.ndim < 2 or x.shape[1] != self.features):
            raise ValueError(f"the input has shape {x.shape}, PReLU expects (m, {self.features}, …)")
        x = as_dtype(x, self.weight.dtype)
        slope: Any = name("a", self.weight)
        if self.features > 1:
            slope = np.reshape(slope, (self.features, *(1,) * (x.ndim - 2)))
        return name("A", ops.relu(x) - slope * ops.relu(-x))

    def _signature(self) -> str:
        return f"{self.features}, init={self.init:g}"


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
        raise ValueError(f"unknown activation {name!r}; expected one of {', '.join(NAMED)}")
    return kind()
