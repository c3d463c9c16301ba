"""Layers of networks for tables: embeddings of columns, scales, activations that are learned, a range of outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..core.arguments import integer, number
from ..core.tensor import Parameter, Tensor
from ..ops.table import as_dtype
from . import activations, init
from .describe import described
from .layers import called
from .naming import Layer, Namer


@described
class TableEmbedding(Layer):
    """Embeds the columns of a table: X (m, numbers + others + categories) becomes H.

    Each of the first columns, a number x, becomes x and cos(2π x f + p) W + b: waves of learned frequencies, and a map
    of them. The next columns stay as they are. The last columns, ids of categories, become rows of E. In H, the maps of
    the waves come first, then the columns that stay, the x among them, and then the rows of E.

    Parameters
    ----------
    numbers, others, categories : int
        How many columns there are of each kind.
    rows : int
        Of E, which all columns of categories share: they hold different ids, from 0 to rows - 1.
    frequencies : int
        Waves of each number.
    dimensions : int
        Length of a number's embedding, x included: at least 2.
    width : int
        Length of a row of E.
    scale : float
        Standard deviation of the initial frequencies. Source: Holzmüller et al., "Better by default", 2024 (PBLD);
        periodic embeddings: Gorishniy et al., "On embeddings for numerical features", 2022.
    dtype
        float32 (default) or float64.
    seed : int, optional
        Fixes the initial weights; without it they depend on the layer's place in the network.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> layer = nn.TableEmbedding(2, others=1, categories=1, rows=5)
    >>> layer(np.array([[0.5, -1.0, 1.0, 4.0]])).shape  # 2 · 3 + (2 + 1) + 8
    (1, 17)
    >>> layer.out_features
    17
    """

    roles: ClassVar[dict[str, str]] = {"frequency": "F", "phase": "p", "weight": "W", "bias": "b", "table": "E"}
    gives: tuple[str, ...] = ("H",)
    frequency: Parameter | None
    phase: Parameter | None
    weight: Parameter | None
    bias: Parameter | None
    table: Parameter | None

    def __init__(
        self,
        numbers: int,
        others: int = 0,
        categories: int = 0,
        rows: int = 0,
        *,
        frequencies: int = 16,
        dimensions: int = 4,
        width: int = 8,
        scale: float = 0.1,
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        self.numbers: int = integer("numbers", numbers, at_least=0)
        self.others: int = integer("others", others, at_least=0)
        self.categories: int = integer("categories", categories, at_least=0)
        self.rows: int = integer("rows", rows if categories else 0, at_least=1 if categories else 0)
        self.frequencies: int = integer("frequencies", frequencies, at_least=1)
        self.dimensions: int = integer("dimensions", dimensions, at_least=2)
        self.width: int = integer("width", width, at_least=1)
        self.scale: float = number("scale", scale, above=0)
        if not self.in_features:
            raise ValueError("numbers, others and categories are 0: expected at least one column")
        self.frequency = self.phase = self.weight = self.bias = self.table = None
        made = {"dtype": dtype, "seed": seed}
        if self.numbers:
            waves, learned, limit = self.frequencies, self.dimensions - 1, 1 / math.sqrt(self.frequencies)
            self.make_parameter("frequency", (numbers, waves), init.Normal(0.0, self.scale), **made)
            self.make_parameter("phase", (numbers, waves), init.Uniform(-math.pi, math.pi), **made)
            self.make_parameter("weight", (numbers, waves, learned), init.Uniform(-limit, limit), **made)
            self.make_parameter("bias", (numbers, learned), init.Uniform(-limit, limit), **made)
        if self.categories:
            self.make_parameter("table", (self.rows, self.width), init.Normal(0.0, 1.0), **made)

    @property
    def in_features(self) -> int:
        """The number of columns of X."""
        return self.numbers + self.others + self.categories

    @property
    def out_features(self) -> int:
        """The number of columns of H."""
        return self.numbers * self.dimensions + self.others + self.categories * self.width

    @staticmethod
    def _count_of(settings: Mapping[str, Any]) -> int:
        waves, learned = int(settings.get("frequencies", 16)), int(settings.get("dimensions", 4)) - 1
        of_numbers = int(settings["numbers"]) * (2 * waves + (waves + 1) * learned)
        return of_numbers + int(settings.get("rows", 0)) * int(settings.get("width", 8))

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return H."""
        if x.ndim != 2 or x.shape[1] != self.in_features:
            raise ValueError(f"{called(x)} has shape {x.shape}, TableEmbedding expects (m, {self.in_features})")
        plain = self.numbers + self.others
        parts: list[Any] = [x[:, :plain]] if plain else []
        if self.numbers:
            parts.insert(0, self._waves(x[:, : self.numbers], name))
        if self.categories:
            parts.append(self._rows_of(x[:, plain:], name))
        joined: Any = np.concatenate(parts, axis=1)
        return name("H", joined)

    def _waves(self, x: Any, name: Namer) -> Any:
        """Return the learned embeddings of numbers, (m, numbers · (dimensions - 1))."""
        assert self.frequency is not None and self.phase is not None
        assert self.weight is not None and self.bias is not None
        turns: Any = 2 * math.pi * name("F", self.frequency)
        angles = np.transpose(x)[:, :, None] * turns[:, None, :] + np.expand_dims(name("p", self.phase), 1)
        embedded = np.matmul(np.cos(angles), name("W", self.weight)) + np.expand_dims(name("b", self.bias), 1)
        flat: Any = np.reshape(np.transpose(embedded, (1, 0, 2)), (x.shape[0], -1))
        return flat

    def _rows_of(self, x: Any, name: Namer) -> Any:
        """Return the rows of E for columns of ids, (m, categories · width)."""
        assert self.table is not None
        ids = as_dtype(x, np.int64)
        known = ids.value if isinstance(ids, Tensor) else ids
        if known is not None and known.size and not 0 <= known.min() <= known.max() < self.rows:
            raise ValueError(
                f"X holds ids {known.min()} … {known.max()} of categories, TableEmbedding has rows 0 … {self.rows - 1}"
            )
        table: Any = name("E", self.table)
        return np.reshape(table[ids], (x.shape[0], -1))

    def _signature(self) -> str:
        return f"{self.numbers}, others={self.others}, categories={self.categories}, rows={self.rows}"


@described
class Scale(Layer):
    """Multiplies each column by a learned factor: S = X s.

    Parameters
    ----------
    features : int
        The length of the last axis.
    dtype
        float32 (default) or float64.

    Examples
    --------
    >>> from chainrule import nn
    >>> layer = nn.Scale(2)
    >>> layer.weight.assign([1.0, 3.0])
    >>> layer([[1.0, 2.0]]).value
    array([[1., 6.]], dtype=float32)
    """

    roles: ClassVar[dict[str, str]] = {"weight": "s"}
    gives: tuple[str, ...] = ("S",)
    _lengths = ("features",)
    weight: Parameter

    def __init__(self, features: int, *, dtype: Any = np.float32) -> None:
        self.features: int = integer("features", features, at_least=1)
        self.make_parameter("weight", (self.features,), "ones", dtype=dtype)

    @staticmethod
    def _count_of(settings: Mapping[str, Any]) -> int:
        return int(settings["features"])

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return X s."""
        if not x.shape or x.shape[-1] != self.features:
            raise ValueError(f"{called(x)} has shape {x.shape}, Scale expects (…, {self.features})")
        return name("S", as_dtype(x, self.weight.dtype) * name("s", self.weight))

    def _signature(self) -> str:
        return f"{self.features}"


@described
class MixedActivation(Layer):
    """x + a (f(x) - x): how much of an activation f each unit has is learned; at first all of it, a = 1.

    Parameters
    ----------
    activation : str
        The name of f, such as ``"selu"`` or ``"mish"``.
    features : int
        The length of the last axis. Source: Holzmüller et al., "Better by default", 2024.
    dtype
        float32 (default) or float64.

    Examples
    --------
    >>> from chainrule import nn
    >>> layer = nn.MixedActivation("relu", 3)
    >>> layer.weight.assign([1.0, 0.5, 0.0])
    >>> layer([[-2.0, -2.0, -2.0]]).value
    array([[ 0., -1., -2.]], dtype=float32)
    """

    roles: ClassVar[dict[str, str]] = {"weight": "a"}
    gives: tuple[str, ...] = ("A",)
    _lengths = ("features",)
    weight: Parameter

    def __init__(self, activation: str, features: int, *, dtype: Any = np.float32) -> None:
        activations.get(activation)  # raises for an unknown name
        self.activation: str = activation
        self.features: int = integer("features", features, at_least=1)
        self.make_parameter("weight", (self.features,), "ones", dtype=dtype)

    @staticmethod
    def _count_of(settings: Mapping[str, Any]) -> int:
        return int(settings["features"])

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return the mixture, named A."""
        if not x.shape or x.shape[-1] != self.features:
            raise ValueError(f"{called(x)} has shape {x.shape}, MixedActivation expects (…, {self.features})")
        x = as_dtype(x, self.weight.dtype)
        return name("A", x + name("a", self.weight) * (activations.get(self.activation).function(x) - x))

    def _signature(self) -> str:
        return f"{self.activation!r}, {self.features}"


@described
class OutputRange(Layer):
    """Limits its input to [low, high] in evaluation; the identity in training, so that no gradient is lost.

    For the output of a regression: no prediction is outside of the targets that were seen.

    Parameters
    ----------
    low, high : float or sequence of float
        One pair for all, or one number for each column.

    Examples
    --------
    >>> from chainrule import nn
    >>> layer = nn.OutputRange(-1.0, 2.0)
    >>> layer([[5.0]]).value, layer.eval()([[5.0]]).value
    (array([[5.]]), array([[2.]]))
    """

    gives: tuple[str, ...] = ("R",)

    def __init__(self, low: float | Sequence[float], high: float | Sequence[float]) -> None:
        self.low, self.high = _numbers("low", low), _numbers("high", high)
        if len(self.low) != len(self.high) or any(a > b for a, b in zip(self.low, self.high, strict=True)):
            raise ValueError(f"low is {low}, high is {high}; expected as many numbers, none of low above that of high")

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return x, limited in evaluation."""
        if self.training:
            return x
        low, high = (np.array(limit, x.dtype) for limit in (self.low, self.high))
        return name("R", np.minimum(np.maximum(x, low), high))

    def _signature(self) -> str:
        return f"{list(self.low)}, {list(self.high)}"


def _numbers(argument: str, given: Any) -> tuple[float, ...]:
    several = given if isinstance(given, Sequence) else [given]
    return tuple(number(argument, x) for x in several)
