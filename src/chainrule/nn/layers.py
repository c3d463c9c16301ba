"""Layers with parameters or state: Linear, Dropout, Embedding; and the shape-only ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..core.arguments import boolean, integer, number
from ..core.op import Array, Shape
from ..core.tensor import Parameter, Tensor
from ..ops.logic import stop_gradient
from ..ops.random import uniform
from ..ops.table import as_dtype
from . import init
from .describe import described
from .naming import Layer, Namer


@described
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
        Fixes the initial weights; without it they depend on the layer's place in the network.

    Raises
    ------
    ValueError
        In the call, when the last axis of X is not in_features long.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> layer = nn.Linear(3, 2, weight_init="ones", bias_init={"name": "constant", "value": 0.5})
    >>> layer(np.array([[1.0, 2.0, 3.0]])).value
    array([[6.5, 6.5]], dtype=float32)
    """

    starts: bool = True
    roles: ClassVar[dict[str, str]] = {"weight": "W", "bias": "b"}
    gives: tuple[str, ...] = ("Z",)
    _matrices = True
    _lengths = ("in_features", "out_features")
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
        self.in_features: int = integer("in_features", in_features, at_least=1)
        self.out_features: int = integer("out_features", out_features, at_least=1)
        self.weight_init: init.Initializer = init.get(weight_init)
        self.bias_init: init.Initializer = init.get(bias_init)
        fans = {"fan_in": self.in_features, "fan_out": self.out_features, "dtype": dtype, "seed": seed}
        self.make_parameter("weight", (self.in_features, self.out_features), self.weight_init, **fans)
        if boolean("bias", bias):
            self.make_parameter("bias", (self.out_features,), self.bias_init, **fans)
        else:
            self.bias = None

    @staticmethod
    def _count_of(settings: Mapping[str, Any]) -> int:
        return int((settings["in_features"] + bool(settings.get("bias", True))) * settings["out_features"])

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Compute Z."""
        if not x.shape or x.shape[-1] != self.in_features:
            raise ValueError(f"{called(x)} has shape {x.shape}, Linear expects (…, {self.in_features})")
        weight = name("W", self.weight)
        out: Any = np.matmul(as_dtype(x, weight.dtype), weight)
        if self.bias is not None:
            out = out + name("b", self.bias)
        return name("Z", out)

    def _signature(self) -> str:
        return f"{self.in_features}, {self.out_features}" + ("" if self.bias is not None else ", bias=False")


@described
class Identity(Layer):
    """Returns its input.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.Identity()([1.0, 2.0]).value
    array([1., 2.])
    """

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return x."""
        return x


@described
class Flatten(Layer):
    """Joins all axes but the first: (m, 28, 28) -> (m, 784).

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> nn.Flatten()(np.zeros((32, 28, 28))).shape
    (32, 784)
    """

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return x with two axes."""
        if not x.shape:
            raise ValueError(f"{called(x)} has no axes, Flatten expects (m, …)")
        flat: Any = np.reshape(x, (x.shape[0], math.prod(x.shape[1:])))
        return flat  # type: ignore[no-any-return]


@described
class Dropout(Layer):
    """Sets a share p of its input to zero in training and scales the rest by 1 / (1 - p); the identity in evaluation.

    The mask comes from a counter-based generator: it is determined by the seed, the layer's place in the network and
    the number of training calls. That number is the buffer ``counter``, so that a checkpoint resumes with the same
    masks.

    Parameters
    ----------
    p : float
        0 <= p < 1. Source: Srivastava et al., "Dropout", 2014 (in its inverted form).
    seed : int
        At least 0, below 2**64.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> layer = nn.Dropout(0.5, seed=1)
    >>> layer(np.ones(6)).value
    array([0., 0., 2., 2., 0., 0.])
    >>> layer.eval()(np.ones(6)).value
    array([1., 1., 1., 1., 1., 1.])
    """

    gives: tuple[str, ...] = ("M", "D")
    counter: Any

    def __init__(self, p: float = 0.5, *, seed: int = 0) -> None:
        self.p: float = number("p", p, at_least=0, below=1)
        self.seed: int = _word(seed)
        self._stream = 0
        self._depth = 0
        self.register_buffer("counter", np.zeros((), np.int64))

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return the masked, scaled input in training, the input itself otherwise."""
        if not self.training or self.p == 0:
            return x
        if x.dtype.kind != "f":
            raise TypeError(f"{called(x)} has dtype {x.dtype}, {type(self).__name__} expects float32 or float64")
        # the same elements whatever the dtype: a network in float64 can be compared with one in float32
        draw = uniform(self.counter, seed=self.seed, stream=self._stream, shape=self._drawn(x), dtype=np.float32)
        share = self._share()
        self.counter = self.counter + 1
        kept = as_dtype(1.0 / (1.0 - share), x.dtype)
        mask: Any = np.where(np.greater_equal(draw, as_dtype(share, np.float32)), kept, x.dtype.type(0))
        return name("D", x * name("M", mask if isinstance(mask, Tensor) else Tensor(mask)))

    def _drawn(self, x: Tensor) -> tuple[int, ...]:
        """Return the shape of the mask."""
        return x.shape

    def _share(self) -> Any:
        """Return the probability in this call, float64."""
        return np.float64(self.p)

    def _placed(self, path: str) -> None:
        depth = path.count(".") + 1 if path else 0
        if depth > self._depth:
            self._depth, self._stream = depth, init.key_of(0, path) & (2**64 - 1)

    def _reseeded(self, seed: int, path: str) -> None:
        self.seed = _word(seed)

    def _signature(self) -> str:
        return f"p={self.p:g}"


@described
class Dropout2d(Dropout):
    """Sets whole channels to zero, each with probability p in training, and scales the rest by 1 / (1 - p).

    Parameters
    ----------
    p : float
        0 <= p < 1. Source: Tompson et al., "Efficient object localization using convolutional networks", 2015.
    seed : int
        At least 0, below 2**64.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> nn.Dropout2d(0.5, seed=1)(np.ones((1, 3, 1, 2))).value[0, :, 0]
    array([[0., 0.],
           [0., 0.],
           [2., 2.]])
    """

    def _drawn(self, x: Tensor) -> tuple[int, ...]:
        if x.ndim < 3:
            raise ValueError(f"{called(x)} has shape {x.shape}, Dropout2d expects (m, channels, *space)")
        return (*x.shape[:2], *(1,) * (x.ndim - 2))


@described
class FadingDropout(Dropout):
    """Dropout whose p falls: constant for half of `steps` training calls, then to 0 along half a cosine.

    Parameters
    ----------
    p : float
        At first; 0 <= p < 1. Source: Holzmüller et al., "Better by default", 2024.
    steps : int
        Training calls after which nothing is dropped any more.
    seed : int
        At least 0, below 2**64.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> layer = nn.FadingDropout(0.5, steps=4, seed=1)
    >>> [int((layer(np.ones(1000)).value == 0).sum()) for call in range(5)]
    [495, 489, 491, 242, 0]
    """

    def __init__(self, p: float, steps: int, *, seed: int = 0) -> None:
        super().__init__(p, seed=seed)
        self.steps: int = integer("steps", steps, at_least=1)

    def _share(self) -> Any:
        late = np.minimum(np.maximum(as_dtype(self.counter, np.float64) * (2.0 / self.steps) - 1.0, 0.0), 1.0)
        return (0.5 * self.p) * (1.0 + np.cos(math.pi * late))

    def _signature(self) -> str:
        return f"p={self.p:g}, steps={self.steps}"


@described
class Embedding(Layer):
    """Looks up rows of W: integers of any shape (…) become vectors (…, dimensions).

    Parameters
    ----------
    rows, dimensions : int
        Shape of W. Ids run from 0 to rows - 1.
    weight_init
        Default: normal with standard deviation 1.
    padding_idx : int, optional
        An id whose row gets no gradient; it starts with zeros.
    dtype
        float32 (default) or float64.
    seed : int, optional
        Fixes the initial weights; without it they depend on the layer's place in the network.

    Notes
    -----
    The gradient of a row is the sum over all its occurrences.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> layer = nn.Embedding(4, 2)
    >>> layer.weight.assign(np.arange(8).reshape(4, 2))
    >>> layer([3, 0]).value
    array([[6., 7.],
           [0., 1.]], dtype=float32)
    """

    starts: bool = True
    roles: ClassVar[dict[str, str]] = {"weight": "W"}
    gives: tuple[str, ...] = ("Z",)
    weight: Parameter
    _ids = True
    _lengths = ("rows", "dimensions")

    def __init__(
        self,
        rows: int,
        dimensions: int,
        *,
        weight_init: Any = init.Normal(0.0, 1.0),  # noqa: B008 (immutable)
        padding_idx: int | None = None,
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        self.rows: int = integer("rows", rows, at_least=1)
        self.dimensions: int = integer("dimensions", dimensions, at_least=1)
        self.weight_init: init.Initializer = init.get(weight_init)
        self.padding_idx: int | None = None
        draw = self.weight_init
        if padding_idx is not None:
            self.padding_idx = integer("padding_idx", padding_idx, at_least=0, at_most=self.rows - 1)
            draw = _WithZeros(draw, self.padding_idx)
        self.make_parameter("weight", (self.rows, self.dimensions), draw, dtype=dtype, seed=seed)

    @staticmethod
    def _count_of(settings: Mapping[str, Any]) -> int:
        return int(settings["rows"] * settings["dimensions"])

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return the rows."""
        if x.dtype.kind not in "iu":
            raise TypeError(f"{called(x)} has dtype {x.dtype}, Embedding expects integers from 0 to {self.rows - 1}")
        if x.value is not None and x.value.size and not 0 <= x.value.min() <= x.value.max() < self.rows:
            raise ValueError(
                f"{called(x)} holds ids {x.value.min()} … {x.value.max()}, Embedding has rows 0 … {self.rows - 1}"
            )
        out: Any = name("W", self.weight)[x]
        if self.padding_idx is not None:
            padding = np.expand_dims(np.equal(x, self.padding_idx), -1)
            out = np.where(padding, stop_gradient(out), out)
        return name("Z", out)

    def _signature(self) -> str:
        return f"{self.rows}, {self.dimensions}" + (
            "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        )


@described
class PositionEmbedding(Layer):
    """Adds a vector for each position: X (m, T, dimensions) becomes X + W[:T].

    Parameters
    ----------
    length, dimensions : int
        Shape of W: the greatest number of positions, and the last axis of X.
    weight_init
        Default: normal with standard deviation 0.02.
    dtype
        float32 (default) or float64.
    seed : int, optional
        Fixes the initial weights; without it they depend on the layer's place in the network.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> layer = nn.PositionEmbedding(5, 2, weight_init="ones")
    >>> layer(np.zeros((1, 3, 2))).value.tolist()
    [[[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]]
    """

    roles: ClassVar[dict[str, str]] = {"weight": "W"}
    gives: tuple[str, ...] = ("Z",)
    _lengths = ("length", "dimensions")
    weight: Parameter

    def __init__(
        self,
        length: int,
        dimensions: int,
        *,
        weight_init: Any = init.Normal(0.0, 0.02),  # noqa: B008 (immutable)
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        self.length: int = integer("length", length, at_least=1)
        self.dimensions: int = integer("dimensions", dimensions, at_least=1)
        self.weight_init: init.Initializer = init.get(weight_init)
        self.make_parameter("weight", (self.length, self.dimensions), self.weight_init, dtype=dtype, seed=seed)

    @staticmethod
    def _count_of(settings: Mapping[str, Any]) -> int:
        return int(settings["length"] * settings["dimensions"])

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return x with the positions' vectors added."""
        if x.ndim != 3 or x.shape[1] > self.length or x.shape[2] != self.dimensions:
            expected = f"(m, T, {self.dimensions}) with T up to {self.length}"
            raise ValueError(f"{called(x)} has shape {x.shape}, PositionEmbedding expects {expected}")
        W: Any = name("W", self.weight)
        return name("Z", x + W[: x.shape[1]])

    def _signature(self) -> str:
        return f"{self.length}, {self.dimensions}"


@dataclass(frozen=True)
class _WithZeros:
    """An initialiser that leaves one row zero."""

    rest: init.Initializer
    row: int

    def __call__(self, rng: np.random.Generator, shape: Shape, dtype: Any, fan_in: int, fan_out: int) -> Array:
        array = self.rest(rng, shape, dtype, fan_in, fan_out)
        array[self.row] = 0
        return array


def called(x: Tensor) -> str:
    """Return how errors call an input: X, or its name in the network."""
    return "X" if x.name in (None, "A0") else str(x.name)


def _word(seed: Any) -> int:
    return integer("seed", seed, at_least=0, at_most=2**64 - 1)
