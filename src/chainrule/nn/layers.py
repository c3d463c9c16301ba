"""Layers with parameters or state: Linear, Dropout, normalisations, Embedding; and the shape-only ones."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ..core.tensor import Parameter, Tensor
from ..ops.random import uniform
from ..ops.table import as_dtype
from . import init
from .naming import Layer, Namer


class Linear(Layer):
    """The affine map Z = X W + b on the last axis.

    Parameters
    ----------
    in_features, out_features : int
        X has shape (…, in_features), Z (…, out_features); W is (in_features, out_features), b (out_features,).
    bias : bool
        Whether there is a b.
    weight_init, bias_init
        Initialisers of ``nn.init``, by name or as callables. Default: He uniform (variance 2 / in_features) and zeros.
    dtype
        float32 (default) or float64.
    seed : int, optional
        Fixes the first weights; without it they depend on the layer's place in the network.

    Raises
    ------
    ValueError
        In the call, when the last axis of X is not in_features long.
    """

    starts: bool = True
    roles: ClassVar[dict[str, str]] = {"weight": "W", "bias": "b"}
    gives: tuple[str, ...] = ("Z",)
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        weight_init: Any = "he_uniform",
        bias_init: Any = "zeros",
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        self.in_features: int = positive("in_features", in_features)
        self.out_features: int = positive("out_features", out_features)
        self.weight_init: init.Initializer = init.get(weight_init)
        self.bias_init: init.Initializer = init.get(bias_init)
        fans = {"fan_in": self.in_features, "fan_out": self.out_features, "dtype": dtype, "seed": seed}
        self.make_parameter("weight", (self.in_features, self.out_features), self.weight_init, **fans)
        if truth("bias", bias):
            self.make_parameter("bias", (self.out_features,), self.bias_init, **fans)
        else:
            self.bias = None

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Compute Z."""
        if not x.shape or x.shape[-1] != self.in_features:
            raise ValueError(f"{called(x)} has shape {x.shape}, Linear expects (…, {self.in_features})")
        weight = name("W", self.weight)
        out: Any = np.matmul(as_dtype(x, weight.dtype), weight)
        if self.bias is not None:
            out = out + name("b", self.bias)
        return name("Z", out)

    def config(self) -> dict[str, Any]:
        """Return the architecture as JSON-able data."""
        return {
            "type": "Linear",
            "in_features": self.in_features,
            "out_features": self.out_features,
            "bias": self.bias is not None,
            "weight_init": init.config(self.weight_init),
            "bias_init": init.config(self.bias_init),
            "dtype": str(self.weight.dtype),
        }

    def _signature(self) -> str:
        return f"{self.in_features}, {self.out_features}" + ("" if self.bias is not None else ", bias=False")


class Identity(Layer):
    """Gives its input."""

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return x."""
        return x

    def config(self) -> dict[str, Any]:
        """Return the architecture as JSON-able data."""
        return {"type": "Identity"}


class Flatten(Layer):
    """Joins all axes but the first: (m, 28, 28) -> (m, 784)."""

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return x with two axes."""
        if not x.shape:
            raise ValueError(f"{called(x)} has no axes, Flatten expects (m, …)")
        flat: Any = np.reshape(x, (x.shape[0], math.prod(x.shape[1:])))
        return flat  # type: ignore[no-any-return]

    def config(self) -> dict[str, Any]:
        """Return the architecture as JSON-able data."""
        return {"type": "Flatten"}


class Dropout(Layer):
    """Sets a share p of its input to zero in training and scales the rest by 1 / (1 - p); the identity in evaluation.

    The mask comes from a counter-based generator: (seed, the layer's place in the network, number of the training call)
    determine it. The number of calls is the buffer ``counter``, so that a checkpoint resumes with the same masks.

    Parameters
    ----------
    p : float
        0 <= p < 1. Source: Srivastava et al., "Dropout", 2014 (in its inverted form).
    seed : int
        Below 2**64.
    """

    gives: tuple[str, ...] = ("M", "D")
    counter: Any

    def __init__(self, p: float = 0.5, *, seed: int = 0) -> None:
        if isinstance(p, bool) or not isinstance(p, int | float | np.number) or not 0 <= p < 1:
            raise ValueError(f"p is {p!r}; the share of values to drop is at least 0 and below 1")
        self.p: float = float(p)
        self.seed: int = _word(seed)
        self._stream = 0
        self._depth = 0
        self.register_buffer("counter", np.zeros((), np.int64))

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return the thinned input in training, the input itself otherwise."""
        if not self.training or self.p == 0:
            return x
        if x.dtype.kind != "f":
            raise TypeError(f"{called(x)} has dtype {x.dtype}, Dropout expects float32 or float64")
        draw = uniform(self.counter, seed=self.seed, stream=self._stream, shape=x.shape, dtype=x.dtype)
        self.counter = self.counter + 1
        kept = x.dtype.type(1.0 / (1.0 - self.p))
        mask: Any = np.where(np.greater_equal(draw, x.dtype.type(self.p)), kept, x.dtype.type(0))
        return name("D", x * name("M", mask if isinstance(mask, Tensor) else Tensor(mask)))

    def _placed(self, path: str) -> None:
        depth = path.count(".") + 1 if path else 0
        if depth > self._depth:
            self._depth, self._stream = depth, init.key_of(0, path) & (2**64 - 1)

    def _reseeded(self, seed: int, path: str) -> None:
        self.seed = _word(seed)

    def config(self) -> dict[str, Any]:
        """Return the architecture as JSON-able data."""
        return {"type": "Dropout", "p": self.p, "seed": self.seed}

    def _signature(self) -> str:
        return f"p={self.p:g}"


class LayerNorm(Layer):
    """Standardises each example over its last axis, then scales and shifts: γ (x - mean) / sqrt(var + eps) + β.

    Parameters
    ----------
    features : int
        Length of the last axis.
    eps : float
        Added to the variance. Source: Ba et al., "Layer normalization", 2016.
    dtype
        float32 (default) or float64.
    """

    roles: ClassVar[dict[str, str]] = {"weight": "gamma", "bias": "beta"}
    gives: tuple[str, ...] = ("N",)
    weight: Parameter
    bias: Parameter

    def __init__(self, features: int, *, eps: float = 1e-5, dtype: Any = np.float32) -> None:
        self.features: int = positive("features", features)
        self.eps: float = _positive_number("eps", eps)
        self.make_parameter("weight", (self.features,), init.ones, dtype=dtype)
        self.make_parameter("bias", (self.features,), init.zeros, dtype=dtype)

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return the normalised input."""
        if not x.shape or x.shape[-1] != self.features:
            raise ValueError(f"{called(x)} has shape {x.shape}, LayerNorm expects (…, {self.features})")
        x = as_dtype(x, self.weight.dtype)
        centred = x - np.mean(x, axis=-1, keepdims=True)
        spread = np.sqrt(np.mean(np.square(centred), axis=-1, keepdims=True) + self.eps)
        return name("N", centred / spread * name("gamma", self.weight) + name("beta", self.bias))

    def config(self) -> dict[str, Any]:
        """Return the architecture as JSON-able data."""
        return {"type": "LayerNorm", "features": self.features, "eps": self.eps, "dtype": str(self.weight.dtype)}

    def _signature(self) -> str:
        return f"{self.features}"


class BatchNorm1d(Layer):
    """Standardises each feature over the batch, then scales and shifts.

    In training by the batch's mean and (biased) variance, which also move the running ones (buffers; the running
    variance is the unbiased one, as in PyTorch); in evaluation by the running ones.

    Parameters
    ----------
    features : int
        X has shape (m, features), m at least 2 in training.
    eps : float
        Added to the variance.
    momentum : float
        Weight of the new batch in the running statistics, 0 < momentum <= 1. Source: Ioffe & Szegedy, 2015.
    dtype
        float32 (default) or float64.
    """

    roles: ClassVar[dict[str, str]] = {"weight": "gamma", "bias": "beta"}
    gives: tuple[str, ...] = ("N",)
    weight: Parameter
    bias: Parameter
    running_mean: Any
    running_var: Any

    def __init__(self, features: int, *, eps: float = 1e-5, momentum: float = 0.1, dtype: Any = np.float32) -> None:
        self.features: int = positive("features", features)
        self.eps: float = _positive_number("eps", eps)
        self.momentum: float = _positive_number("momentum", momentum)
        if self.momentum > 1:
            raise ValueError(f"momentum is {momentum!r}; the weight of a new batch is above 0 and at most 1")
        self.make_parameter("weight", (self.features,), init.ones, dtype=dtype)
        self.make_parameter("bias", (self.features,), init.zeros, dtype=dtype)
        self.register_buffer("running_mean", np.zeros(self.features, dtype))
        self.register_buffer("running_var", np.ones(self.features, dtype))

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return the normalised input."""
        if x.ndim != 2 or x.shape[-1] != self.features:
            raise ValueError(f"{called(x)} has shape {x.shape}, BatchNorm1d expects (m, {self.features})")
        x = as_dtype(x, self.weight.dtype)
        if self.training:
            m = x.shape[0]
            if m < 2:
                raise ValueError(
                    f"{called(x)} has {m} example(s); batch norm needs at least 2 in training, or model.eval()"
                )
            mean: Any = np.mean(x, axis=0)
            centred = x - mean
            variance: Any = np.mean(np.square(centred), axis=0)
            old, new = 1 - self.momentum, self.momentum
            self.running_mean = old * self.running_mean + new * mean.detach()
            self.running_var = old * self.running_var + (new * m / (m - 1)) * variance.detach()
        else:
            centred, variance = x - self.running_mean, self.running_var
        scaled = centred / np.sqrt(variance + self.eps)
        return name("N", scaled * name("gamma", self.weight) + name("beta", self.bias))

    def config(self) -> dict[str, Any]:
        """Return the architecture as JSON-able data."""
        dtype = str(self.weight.dtype)
        return {
            "type": "BatchNorm1d",
            "features": self.features,
            "eps": self.eps,
            "momentum": self.momentum,
            "dtype": dtype,
        }

    def _signature(self) -> str:
        return f"{self.features}"


class Embedding(Layer):
    """Looks rows of W up: integers of any shape (…) become vectors (…, dimensions).

    Parameters
    ----------
    rows, dimensions : int
        Shape of W. Ids run from 0 to rows - 1.
    weight_init
        Default: normal with standard deviation 1.
    dtype
        float32 (default) or float64.
    seed : int, optional
        Fixes the first weights; without it they depend on the layer's place in the network.
    """

    starts: bool = True
    roles: ClassVar[dict[str, str]] = {"weight": "W"}
    gives: tuple[str, ...] = ("Z",)
    weight: Parameter
    _ids = True

    def __init__(
        self,
        rows: int,
        dimensions: int,
        *,
        weight_init: Any = init.Normal(0.0, 1.0),  # noqa: B008 (immutable)
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        self.rows: int = positive("rows", rows)
        self.dimensions: int = positive("dimensions", dimensions)
        self.weight_init: init.Initializer = init.get(weight_init)
        self.make_parameter("weight", (self.rows, self.dimensions), self.weight_init, dtype=dtype, seed=seed)

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return the rows."""
        if x.dtype.kind not in "iu":
            raise TypeError(f"{called(x)} has dtype {x.dtype}, Embedding expects integers from 0 to {self.rows - 1}")
        if x.value is not None and x.value.size and not 0 <= x.value.min() <= x.value.max() < self.rows:
            raise ValueError(
                f"{called(x)} holds ids {x.value.min()} … {x.value.max()}, Embedding has rows 0 … {self.rows - 1}"
            )
        return name("Z", name("W", self.weight)[x])

    def config(self) -> dict[str, Any]:
        """Return the architecture as JSON-able data."""
        return {
            "type": "Embedding",
            "rows": self.rows,
            "dimensions": self.dimensions,
            "weight_init": init.config(self.weight_init),
            "dtype": str(self.weight.dtype),
        }

    def _signature(self) -> str:
        return f"{self.rows}, {self.dimensions}"


def called(x: Tensor) -> str:
    """Return how errors call an input: X, or its name in the network."""
    return "X" if x.name in (None, "A0") else str(x.name)


def positive(name: str, value: Any) -> int:
    """Return `value` as an int; raise unless it is a whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} is {value!r}; a whole number from 1 would do")
    return int(value)


def truth(name: str, value: Any) -> bool:
    """Return `value`; raise unless it is True or False."""
    if not isinstance(value, bool | np.bool):
        raise TypeError(f"{name} is {value!r}; True or False would do")
    return bool(value)


def _positive_number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}; a number above 0 would do")
    return float(value)


def _word(seed: Any) -> int:
    word = init.checked_seed(seed)
    if word >= 2**64:
        raise ValueError(f"seed is {word}; below 2**64 would do")
    return word
