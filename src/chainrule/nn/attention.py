"""Attention: scores of queries and keys, softmax, and the values that they weigh; and the layer of a transformer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from .. import ops
from ..core.arguments import boolean, choice, integer, number
from ..core.tensor import Parameter, Tensor
from ..ops.table import as_dtype
from . import init
from .describe import described
from .layers import Dropout, Linear, called
from .naming import Layer, Namer, by_letter
from .normalization import LayerNorm


@described
class MultiheadAttention(Layer):
    """Attention of each position to others, by several heads: A = softmax(Q Kᵀ / √d), A V, and a last affine map.

    Queries, keys and values are affine maps of the input, for all heads by one matrix: ``in_proj_weight``, of shape
    (embed_dim, 3 · embed_dim). PyTorch has it transposed.

    Parameters
    ----------
    embed_dim : int
        X has shape (m, T, embed_dim), and so has the output.
    num_heads : int
        Divides embed_dim; d = embed_dim / num_heads.
    dropout : float
        Of the weights A, in training.
    bias : bool
        Whether the affine maps add a bias.
    causal : bool
        Whether a position sees only itself and those before it.
    dtype
        float32 (default) or float64.
    seed : int, optional
        Fixes the initial weights; without it they depend on the layer's place in the network.

    Notes
    -----
    ``layer(X)`` is self-attention, ``layer(query, key, value)`` takes keys and values of another sequence.
    ``key_padding_mask=`` of shape (m, T) is True where a key is not to be seen. With ``return_weights=True``, the
    result is ``(output, A)``, A being of shape (m, num_heads, T, T).
    Source: Vaswani et al., "Attention is all you need", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> layer = nn.MultiheadAttention(8, 2, causal=True)
    >>> out, A = layer(np.random.default_rng(0).normal(size=(3, 5, 8)), return_weights=True)
    >>> out.shape, A.shape, A.value[0, 0, 0]
    ((3, 5, 8), (3, 2, 5, 5), array([1., 0., 0., 0., 0.], dtype=float32))
    """

    starts: bool = True
    roles: ClassVar[dict[str, str]] = {"in_proj_weight": "W", "in_proj_bias": "b"}
    gives: tuple[str, ...] = ("Q", "K", "V", "S", "A", "Z")
    _takes_one = False
    _matrices = True
    _lengths = ("embed_dim", "num_heads")
    in_proj_weight: Parameter
    in_proj_bias: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        causal: bool = False,
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        self.embed_dim: int = integer("embed_dim", embed_dim, at_least=1)
        self.num_heads: int = integer("num_heads", num_heads, at_least=1)
        if self.embed_dim % self.num_heads:
            raise ValueError(f"num_heads: expected a divisor of embed_dim ({embed_dim}), got {num_heads}")
        self.dropout: float = number("dropout", dropout, at_least=0, below=1)
        self.bias: bool = boolean("bias", bias)
        self.causal: bool = boolean("causal", causal)
        n = self.embed_dim
        self.make_parameter("in_proj_weight", (n, 3 * n), init.glorot_uniform, dtype=dtype, seed=seed)
        if self.bias:
            self.make_parameter("in_proj_bias", (3 * n,), init.zeros, dtype=dtype)
        else:
            self.in_proj_bias = None
        self.out_proj = Linear(n, n, self.bias, weight_init=init.glorot_uniform, dtype=dtype, seed=seed)
        if self.dropout:
            self.drop = Dropout(self.dropout)

    @staticmethod
    def _count_of(settings: Mapping[str, Any]) -> int:
        n = int(settings["embed_dim"])
        return 4 * n * (n + bool(settings.get("bias", True)))

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return the result of self-attention."""
        return self._attend(x, x, x, None, name)[0]

    def forward(
        self,
        query: Any,
        key: Any = None,
        value: Any = None,
        *,
        key_padding_mask: Any = None,
        return_weights: bool = False,
    ) -> Any:
        """Return what the values give for each query; with `return_weights`, also the weights."""
        key = query if key is None else key
        out, weights = self._attend(query, key, key if value is None else value, key_padding_mask, by_letter)
        return (out, weights) if return_weights else out

    def _attend(self, query: Any, key: Any, value: Any, hidden: Any, name: Namer) -> tuple[Tensor, Tensor]:
        for x in (query, key, value):
            if not isinstance(x, Tensor) or x.ndim != 3 or x.shape[-1] != self.embed_dim:
                raise ValueError(f"{_shown(x)}, MultiheadAttention expects (m, T, {self.embed_dim})")
        if key.shape != value.shape or key.shape[0] != query.shape[0]:
            raise ValueError(f"query, key and value have shapes {query.shape}, {key.shape} and {value.shape}")
        q, k, v = (name(letter, x) for letter, x in zip("QKV", self._projected(query, key, value, name), strict=True))
        d = self.embed_dim // self.num_heads
        scores: Any = np.matmul(q, np.swapaxes(k, -1, -2)) * q.dtype.type(1 / math.sqrt(d))
        scores = name("S", scores)
        unseen = self._unseen(query.shape[1], key.shape[:2], hidden)
        if unseen is not None:
            scores = np.where(unseen, scores.dtype.type(-np.inf), scores)
        weights = name("A", ops.softmax(scores))
        used = self.drop(weights) if self.dropout else weights
        joined: Any = np.swapaxes(np.matmul(used, v), 1, 2)
        joined = np.reshape(joined, query.shape)
        out = self.out_proj.compute(joined, lambda part, x: name(part if part == "Z" else f"{part}[out_proj]", x))
        return out, weights

    def _projected(self, query: Any, key: Any, value: Any, name: Namer) -> list[Any]:
        """Return queries, keys and values, of shape (m, heads, T, d)."""
        n, heads = self.embed_dim, self.num_heads
        W = name("W", self.in_proj_weight)
        b = None if self.in_proj_bias is None else name("b", self.in_proj_bias)

        def parts(x: Any, first: int, last: int) -> Any:
            """Return the projections first … last - 1 of x, each by heads."""
            m, steps, _ = x.shape
            whole = first == 0 and last == 3
            rows: Any = np.reshape(as_dtype(x, W.dtype), (m * steps, n)) @ (W if whole else W[:, first * n : last * n])
            if b is not None:
                rows = rows + (b if whole else b[first * n : last * n])
            return np.transpose(np.reshape(rows, (m, steps, last - first, heads, n // heads)), (2, 0, 3, 1, 4))

        if query is key is value:
            found = parts(query, 0, 3)
            return [found[k] for k in range(3)]
        return [parts(x, k, k + 1)[0] for k, x in enumerate((query, key, value))]

    def _unseen(self, queries: int, keys: tuple[int, ...], hidden: Any) -> Any:
        """Return where a query must not look at a key; None if it may look everywhere."""
        m, steps = keys
        unseen: Any = np.triu(np.ones((queries, steps), bool), 1) if self.causal else None
        if hidden is None:
            return unseen
        hidden = hidden if isinstance(hidden, Tensor) else np.asarray(hidden)
        if tuple(hidden.shape) != (m, steps) or hidden.dtype.kind != "b":
            found = f"{tuple(hidden.shape)}, {hidden.dtype}"
            raise ValueError(f"key_padding_mask: expected truth values of shape {(m, steps)}, got {found}")
        padding: Any = np.reshape(hidden, (m, 1, 1, steps))
        return padding if unseen is None else np.logical_or(padding, unseen)

    def _signature(self) -> str:
        return f"{self.embed_dim}, {self.num_heads}" + ", causal=True" * self.causal


@described
class TransformerEncoderLayer(Layer):
    """A layer of a transformer: self-attention, then two affine maps, each with a sum past it and layer norm.

    Parameters
    ----------
    d_model, nhead : int
        X has shape (m, T, d_model), and so has the output; nhead heads of attention.
    dim_feedforward : int
        Width between the two affine maps.
    dropout : float
        In training: of the weights of attention, and of what each part computes.
    activation : {"relu", "gelu"}
        Between the two affine maps.
    layer_norm_eps : float
        As `LayerNorm` has it.
    norm_first : bool
        Whether each part takes the normalised input, X + f(norm(X)); else the sum is normalised, norm(X + f(X)).
    causal : bool
        Whether a position sees only itself and those before it.
    dtype
        float32 (default) or float64.
    seed : int, optional
        Fixes the initial weights; without it they depend on the layer's place in the network.

    Notes
    -----
    Called with ``key_padding_mask=``, as `MultiheadAttention`.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> layer = nn.TransformerEncoderLayer(8, 2, 16, norm_first=True, causal=True)
    >>> layer(np.ones((3, 5, 8))).shape
    (3, 5, 8)
    """

    starts: bool = True
    _takes_one = False
    _lengths = ("d_model", "nhead", "dim_feedforward")

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str = "relu",
        layer_norm_eps: float = 1e-5,
        norm_first: bool = False,
        *,
        causal: bool = False,
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        self.d_model: int = integer("d_model", d_model, at_least=1)
        self.nhead: int = integer("nhead", nhead, at_least=1)
        self.dim_feedforward: int = integer("dim_feedforward", dim_feedforward, at_least=1)
        self.dropout: float = number("dropout", dropout, at_least=0, below=1)
        self.activation: str = choice("activation", activation, ("relu", "gelu"))
        self.layer_norm_eps: float = number("layer_norm_eps", layer_norm_eps, above=0)
        self.norm_first: bool = boolean("norm_first", norm_first)
        self.causal: bool = boolean("causal", causal)
        n, wide, more = self.d_model, self.dim_feedforward, {"dtype": dtype, "seed": seed}
        self.self_attn = MultiheadAttention(n, self.nhead, self.dropout, causal=self.causal, **more)
        self.linear1 = Linear(n, wide, **more)
        self.linear2 = Linear(wide, n, **more)
        self.norm1 = LayerNorm(n, eps=self.layer_norm_eps, dtype=dtype)
        self.norm2 = LayerNorm(n, eps=self.layer_norm_eps, dtype=dtype)
        if self.dropout:
            self.drop, self.drop1, self.drop2 = (Dropout(self.dropout) for _ in range(3))

    @staticmethod
    def _count_of(settings: Mapping[str, Any]) -> int:
        n, wide = int(settings["d_model"]), int(settings.get("dim_feedforward", 2048))
        return 4 * n * (n + 1) + 2 * n * wide + wide + n + 4 * n

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return the output."""
        return self._run(x, None, name)

    def forward(self, X: Any, *, key_padding_mask: Any = None) -> Any:
        """Return the output."""
        return self._run(X, key_padding_mask, by_letter)

    def _run(self, x: Any, hidden: Any, name: Namer) -> Tensor:
        if not isinstance(x, Tensor) or x.ndim != 3 or x.shape[-1] != self.d_model:
            raise ValueError(f"{_shown(x)}, TransformerEncoderLayer expects (m, T, {self.d_model})")
        x = as_dtype(x, self.norm1.weight.dtype)

        def norm1(x: Any) -> Any:
            return self.norm1.compute(x, _within(name, "norm1"))

        def norm2(x: Any) -> Any:
            return self.norm2.compute(x, _within(name, "norm2"))

        def attention(x: Any) -> Any:
            out, _ = self.self_attn._attend(x, x, x, hidden, _within(name, "self_attn"))
            return self.drop1(out) if self.dropout else out

        def feedforward(x: Any) -> Any:
            inner: Any = self.linear1.compute(x, _within(name, "linear1"))
            inner = ops.relu(inner) if self.activation == "relu" else ops.gelu(inner)
            inner = name("A[linear1]", self.drop(inner) if self.dropout else inner)
            out = self.linear2.compute(inner, _within(name, "linear2"))
            return self.drop2(out) if self.dropout else out

        if self.norm_first:
            x = name("R[self_attn]", x + attention(norm1(x)))
            return name("Z", x + feedforward(norm2(x)))
        x = norm1(name("R[self_attn]", x + attention(x)))
        return name("Z", norm2(name("R[linear2]", x + feedforward(x))))

    def _signature(self) -> str:
        return f"{self.d_model}, {self.nhead}, {self.dim_feedforward}" + ", causal=True" * self.causal


def _within(name: Namer, part: str) -> Namer:
    """Return a namer for the values of a part of a layer."""

    def within(letter: str, value: Tensor) -> Tensor:
        base, _, inner = letter.partition("[")
        return name(f"{base}[{part}.{inner}" if inner else f"{base}[{part}]", value)

    return within


def _shown(x: Any) -> str:
    return f"{called(x)} has shape {x.shape}" if isinstance(x, Tensor) else f"X is a {type(x).__name__}"
