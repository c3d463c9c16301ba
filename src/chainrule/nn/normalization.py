"""Normalisations: standardised values, scaled and shifted by parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..core.arguments import integer, number
from ..core.shards import SHARD
from ..core.tensor import Parameter, Tensor
from ..ops.table import as_dtype
from . import init
from .describe import described
from .layers import called
from .naming import Layer, Namer


class _Normalization(Layer):
    """Scale and shift of standardised values: γ (x - mean) / sqrt(variance + eps) + β."""

    roles: ClassVar[dict[str, str]] = {"weight": "gamma", "bias": "beta"}
    gives: tuple[str, ...] = ("N",)
    _lengths: tuple[str, ...] = ("features",)
    weight: Parameter
    bias: Parameter

    def __init__(self, features: int, *, eps: float = 1e-5, dtype: Any = np.float32) -> None:
        self.features: int = integer("features", features, at_least=1)
        self.eps: float = number("eps", eps, above=0)
        self.make_parameter("weight", (self.features,), init.ones, dtype=dtype)
        self.make_parameter("bias", (self.features,), init.zeros, dtype=dtype)

    @staticmethod
    def _count_of(settings: Mapping[str, Any]) -> int:
        return 2 * int(settings["features"])

    def _scaled(self, centred: Any, variance: Any, name: Namer) -> Tensor:
        """Return the standardised values, scaled and shifted along their axis of features."""
        shape = (self.features, *(1,) * (centred.ndim - 1 - self._axis(centred)))
        gamma, beta = (np.reshape(p, shape) for p in (name("gamma", self.weight), name("beta", self.bias)))
        deviation: Any = np.sqrt(variance + self.eps)
        if len(shape) > 1:  # then one factor for each feature, not for each of its values
            return name("N", centred * (gamma * (1.0 / deviation)) + beta)
        return name("N", centred / deviation * gamma + beta)

    def _axis(self, x: Any) -> int:
        """Return the axis of the features, which are the last."""
        return int(x.ndim) - 1

    def _signature(self) -> str:
        return f"{self.features}"


@described
class LayerNorm(_Normalization):
    """Standardises each example over its last axis, then scales and shifts: γ (x - mean) / sqrt(var + eps) + β.

    Parameters
    ----------
    features : int
        Length of the last axis.
    eps : float
        Added to the variance. Source: Ba et al., "Layer normalization", 2016.
    dtype
        float32 (default) or float64.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> nn.LayerNorm(3, dtype=np.float64)(np.array([[1.0, 2.0, 3.0]])).value.round(3)
    array([[-1.225,  0.   ,  1.225]])
    """

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return the normalised input."""
        if not x.shape or x.shape[-1] != self.features:
            raise ValueError(f"{called(x)} has shape {x.shape}, LayerNorm expects (…, {self.features})")
        x = as_dtype(x, self.weight.dtype)
        centred = x - np.mean(x, axis=-1, keepdims=True)
        return self._scaled(centred, np.mean(np.square(centred), axis=-1, keepdims=True), name)


def batch_mean(x: Any, axes: tuple[int, ...]) -> Any:
    """Return the mean along the axis of examples and others, over the whole batch, also where it is cut into shards.

    A module that computes statistics of a batch by this function trains in several processes as in one.

    Parameters
    ----------
    x : array or tensor
        Examples are along axis 0.
    axes : tuple of int
        The axes to average over, 0 among them.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> nn.batch_mean(np.array([[1.0, 2.0], [3.0, 6.0]]), (0,))
    array([2., 4.])
    """
    shard = SHARD.get()
    if shard is None:
        return np.mean(x, axis=axes)
    part: Any = np.sum(x, axis=axes)
    count = _batch_rows(x) * math.prod([x.shape[a] for a in axes if a])
    return shard.summed(part) / part.dtype.type(count)


def _batch_rows(x: Any) -> int:
    """Return how many rows `x` has in the whole batch."""
    shard = SHARD.get()
    return int(x.shape[0]) if shard is None else shard.of_batch(x.shape[0])


class _BatchNorm(_Normalization):
    """Standardises each feature, along axis 1, over all other axes."""

    running_mean: Any
    running_var: Any
    _ndims: ClassVar[tuple[int, ...]] = (2, 3)
    _expects: ClassVar[str]

    def __init__(self, features: int, *, eps: float = 1e-5, momentum: float = 0.1, dtype: Any = np.float32) -> None:
        super().__init__(features, eps=eps, dtype=dtype)
        self.momentum: float = number("momentum", momentum, above=0, at_most=1)
        self.register_buffer("running_mean", np.zeros(self.features, dtype))
        self.register_buffer("running_var", np.ones(self.features, dtype))

    def _axis(self, x: Any) -> int:
        return 1

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return the normalised input."""
        if x.ndim not in self._ndims or x.shape[1] != self.features:
            expected = self._expects.format(features=self.features)
            raise ValueError(f"{called(x)} has shape {x.shape}, {type(self).__name__} expects {expected}")
        x = as_dtype(x, self.weight.dtype)
        spread = (self.features, *(1,) * (x.ndim - 2))
        if not self.training:
            known: Any = np.reshape(self.running_mean, spread)
            return self._scaled(x - known, np.reshape(self.running_var, spread), name)
        axes = (0, *range(2, x.ndim))
        count = _batch_rows(x) * math.prod(x.shape[2:])
        if count < 2:
            raise ValueError(
                f"{called(x)} has shape {x.shape}: {count} value(s) of each feature; batch norm needs at least 2 in "
                "training, or model.eval()"
            )
        mean = batch_mean(x, axes)
        centred: Any = x - np.reshape(mean, spread)
        variance = batch_mean(np.square(centred), axes)
        old, new = 1 - self.momentum, self.momentum
        self.running_mean = old * self.running_mean + new * mean.detach()
        self.running_var = old * self.running_var + (new * count / (count - 1)) * variance.detach()
        return self._scaled(centred, np.reshape(variance, spread), name)


@described
class BatchNorm1d(_BatchNorm):
    """Standardises each feature over the batch, then scales and shifts.

    Training uses the batch's mean and (biased) variance and moves the running statistics towards them (buffers; the
    running variance is the unbiased one, as in PyTorch); evaluation uses the running statistics.

    Parameters
    ----------
    features : int
        X has shape (m, features), m at least 2 in training, or (m, features, length).
    eps : float
        Added to the variance.
    momentum : float
        Weight of the new batch in the running statistics, 0 < momentum <= 1. Source: Ioffe & Szegedy, 2015.
    dtype
        float32 (default) or float64.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> layer = nn.BatchNorm1d(1, dtype=np.float64)
    >>> layer(np.array([[1.0], [3.0]])).value.round(3)
    array([[-1.],
           [ 1.]])
    >>> layer.running_mean
    array([0.2])
    """

    _expects = "(m, {features}) or (m, {features}, length)"


@described
class BatchNorm2d(_BatchNorm):
    """Standardises each channel over the batch and its space, then scales and shifts; else as `BatchNorm1d`.

    Parameters
    ----------
    features : int
        X has shape (m, features, h, w).
    eps : float
        Added to the variance.
    momentum : float
        Weight of the new batch in the running statistics, 0 < momentum <= 1.
    dtype
        float32 (default) or float64.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> layer = nn.BatchNorm2d(1, dtype=np.float64)
    >>> layer(np.array([[[[1.0, 3.0]]]])).value.round(3)
    array([[[[-1.,  1.]]]])
    """

    _ndims = (4,)
    _expects = "(m, {features}, h, w)"


@described
class GroupNorm(_Normalization):
    """Standardises each example over groups of its channels and its space, then scales and shifts each channel.

    Parameters
    ----------
    num_groups : int
        Divides `features`.
    features : int
        The channels: X has shape (m, features, *space).
    eps : float
        Added to the variance. Source: Wu & He, "Group normalization", 2018.
    dtype
        float32 (default) or float64.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> nn.GroupNorm(1, 2, dtype=np.float64)(np.array([[[1.0], [3.0]]])).value.round(3)
    array([[[-1.],
            [ 1.]]])
    """

    _lengths = ("num_groups", "features")

    def __init__(self, num_groups: int, features: int, *, eps: float = 1e-5, dtype: Any = np.float32) -> None:
        super().__init__(features, eps=eps, dtype=dtype)
        self.num_groups: int = integer("num_groups", num_groups, at_least=1)
        if self.features % self.num_groups:
            raise ValueError(f"num_groups is {num_groups}, expected a divisor of the {features} features")

    def _axis(self, x: Any) -> int:
        return 1

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return the normalised input."""
        if x.ndim < 2 or x.shape[1] != self.features:
            raise ValueError(f"{called(x)} has shape {x.shape}, GroupNorm expects (m, {self.features}, …)")
        x = as_dtype(x, self.weight.dtype)
        groups: Any = np.reshape(x, (x.shape[0], self.num_groups, math.prod(x.shape[1:]) // self.num_groups))
        centred = groups - np.mean(groups, axis=-1, keepdims=True)
        variance = np.mean(np.square(centred), axis=-1, keepdims=True)
        standardised: Any = np.reshape(centred / np.sqrt(variance + self.eps), x.shape)
        spread = (self.features, *(1,) * (x.ndim - 2))
        gamma, beta = (np.reshape(p, spread) for p in (name("gamma", self.weight), name("beta", self.bias)))
        return name("N", standardised * gamma + beta)

    def _signature(self) -> str:
        return f"{self.num_groups}, {self.features}"


@described
class RMSNorm(Layer):
    """Divides each example by the root of the mean square over its last axis, then scales: γ x / sqrt(mean(x²) + eps).

    Parameters
    ----------
    features : int
        Length of the last axis.
    eps : float
        Added to the mean square. Source: Zhang & Sennrich, "Root mean square layer normalization", 2019.
    dtype
        float32 (default) or float64.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> nn.RMSNorm(2, dtype=np.float64)(np.array([[1.0, 7.0]])).value.round(3)
    array([[0.2, 1.4]])
    """

    roles: ClassVar[dict[str, str]] = {"weight": "gamma"}
    gives: tuple[str, ...] = ("N",)
    _lengths = ("features",)
    weight: Parameter

    def __init__(self, features: int, *, eps: float = 1e-5, dtype: Any = np.float32) -> None:
        self.features: int = integer("features", features, at_least=1)
        self.eps: float = number("eps", eps, above=0)
        self.make_parameter("weight", (self.features,), init.ones, dtype=dtype)

    @staticmethod
    def _count_of(settings: Mapping[str, Any]) -> int:
        return int(settings["features"])

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return the normalised input."""
        if not x.shape or x.shape[-1] != self.features:
            raise ValueError(f"{called(x)} has shape {x.shape}, RMSNorm expects (…, {self.features})")
        x = as_dtype(x, self.weight.dtype)
        size = np.sqrt(np.mean(np.square(x), axis=-1, keepdims=True) + self.eps)
        return name("N", x / size * name("gamma", self.weight))

    def _signature(self) -> str:
        return f"{self.features}"
