"""Recurrent layers: RNN, LSTM and GRU, whose steps run in `chainrule.scan`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from .. import ops
from ..core.arguments import boolean, choice, integer, number
from ..core.node import TRACE
from ..core.tensor import Tensor, constant
from ..ops.scan import scan
from ..ops.table import as_dtype
from . import init
from .describe import described
from .layers import Dropout, called
from .naming import Layer, Namer, by_letter

State = tuple[Any, ...]


class Recurrent(Layer):
    """What recurrent layers have in common: directions, stacked layers, padding, and the first products.

    The products of all inputs with W are one multiplication before the loop. Weights are stored as (inputs, gates ·
    hidden_size), gates side by side; PyTorch has them transposed.
    """

    starts: bool = True
    _takes_one = False
    _matrices = True
    _lengths = ("input_size", "hidden_size")
    gates: ClassVar[tuple[str, ...]] = ("h",)  # what W gives, side by side
    carried: ClassVar[tuple[str, ...]] = ("h",)  # the state; the first one is the output

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        self.input_size: int = integer("input_size", input_size, at_least=1)
        self.hidden_size: int = integer("hidden_size", hidden_size, at_least=1)
        self.num_layers: int = integer("num_layers", num_layers, at_least=1)
        self.bias: bool = boolean("bias", bias)
        self.dropout: float = number("dropout", dropout, at_least=0, below=1)
        self.bidirectional: bool = boolean("bidirectional", bidirectional)
        if self.dropout and self.num_layers > 1:
            self.drop = [Dropout(self.dropout) for _ in range(self.num_layers - 1)]
        limit = 1 / math.sqrt(self.hidden_size)
        initializer = init.Uniform(-limit, limit)
        roles = {}
        for k, suffix, mark in self._parts():
            features = self.input_size if k == 0 else self.hidden_size * (1 + self.bidirectional)
            width = len(self.gates) * self.hidden_size
            shapes: dict[str, tuple[int, ...]] = {
                "weight_ih": (features, width),
                "weight_hh": (self.hidden_size, width),
            }
            shapes |= {"bias_ih": (width,), "bias_hh": (width,)} if self.bias else {}
            for position, (name, shape) in enumerate(shapes.items()):
                own = None if seed is None else init.key_of(seed, name + suffix) & (2**63 - 1)
                self.make_parameter(name + suffix, shape, initializer, dtype=dtype, seed=own)
                roles[name + suffix] = ("W", "U", "b", "d")[position] + mark
        self.__dict__["roles"] = roles

    def _parts(self) -> Iterator[tuple[int, str, str]]:
        """Yield, for each layer and direction, its layer, and the ends of its parameters' and values' names."""
        for k in range(self.num_layers):
            for backwards in (False, True)[: 1 + self.bidirectional]:
                marks = [f"l{k}"] * (k > 0) + ["reverse"] * backwards
                yield k, f"_l{k}" + "_reverse" * backwards, f"[{', '.join(marks)}]" if marks else ""

    @classmethod
    def _count_of(cls, settings: Mapping[str, Any]) -> int:
        n, h = int(settings["input_size"]), int(settings["hidden_size"])
        layers, directions = int(settings.get("num_layers", 1)), 1 + bool(settings.get("bidirectional", False))
        biases = 2 * bool(settings.get("bias", True))
        rows = (n + h + biases) + (layers - 1) * (directions * h + h + biases)
        return len(cls.gates) * h * directions * rows

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return the states of the last layer in all steps."""
        return self._all(x, None, None, name)[0]

    def forward(self, X: Any, state: Any = None, *, lengths: Any = None, return_state: bool = False) -> Any:
        """Return the states of the last layer in all steps; with `return_state`, also those after the last step."""
        if state is None and lengths is None and not return_state:
            return self.compute(X, by_letter)
        out, after = self._all(X, state, lengths, by_letter)
        return (out, after) if return_state else out

    def _all(self, x: Any, state: Any, lengths: Any, name: Namer) -> tuple[Tensor, Any]:
        kind = type(self).__name__
        if not isinstance(x, Tensor) or x.ndim != 3 or x.shape[-1] != self.input_size:
            found = f"shape {x.shape}" if isinstance(x, Tensor) else f"type {type(x).__name__}"
            shown = called(x) if isinstance(x, Tensor) else "X"
            raise ValueError(f"{shown} has {found}, {kind} expects (m, T, {self.input_size})")
        dtype = self.dtype
        x = as_dtype(x, dtype)
        valid = None if lengths is None else _valid(lengths, x.shape[0], x.shape[1])
        starts = self._starts(state, x.shape[0], dtype)
        sequence: Any = np.swapaxes(x, 0, 1)  # the steps come first
        after: list[State] = []
        outputs: list[Any] = []
        for number_, (k, suffix, mark) in enumerate(self._parts()):
            begin = [s[number_] for s in starts]
            final, out = self._one(sequence, tuple(begin), valid, suffix, mark, name)
            after.append(final)
            outputs.append(out)
            if len(outputs) == 1 + self.bidirectional:
                sequence = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=-1)
                outputs = []
                if k < self.num_layers - 1 and self.dropout:
                    sequence = self.drop[k](sequence)
        states = tuple(np.stack(column) for column in zip(*after, strict=True))
        return constant(np.swapaxes(sequence, 0, 1)), states if len(states) > 1 else states[0]

    def _starts(self, state: Any, m: int, dtype: Any) -> list[Any]:
        """Return the first states, each of shape (layers · directions, m, hidden_size)."""
        shape = (self.num_layers * (1 + self.bidirectional), m, self.hidden_size)
        if state is None:
            return [np.zeros(shape, dtype)] * len(self.carried)
        parts = state if isinstance(state, tuple | list) else (state,)
        if len(parts) != len(self.carried) or any(tuple(np.shape(s)) != shape for s in parts):
            expected = " and ".join(self.carried)
            found = ", ".join(str(tuple(np.shape(s))) for s in parts)
            raise ValueError(f"state: expected {expected} of shape {shape}, got shapes {found}")
        return [as_dtype(s if isinstance(s, Tensor) else np.asarray(s), dtype) for s in parts]

    def _one(self, x: Any, start: State, valid: Any, suffix: str, mark: str, name: Namer) -> tuple[State, Any]:
        """Run one layer in one direction over a sequence with the steps first."""
        steps, m, features = x.shape
        W = name("W" + mark, getattr(self, "weight_ih" + suffix))
        U = name("U" + mark, getattr(self, "weight_hh" + suffix))
        b = name("b" + mark, getattr(self, "bias_ih" + suffix)) if self.bias else None
        d = name("d" + mark, getattr(self, "bias_hh" + suffix)) if self.bias else None
        z: Any = np.reshape(x, (steps * m, features)) @ W
        first, each = self._biases(b, d)
        if first is not None:
            z = z + first
        z = np.reshape(z, (steps, m, z.shape[-1]))
        backwards = suffix.endswith("reverse")
        times = _times(steps, backwards)

        def step(state: State, now: Any) -> tuple[State, Any]:
            t = next(times)
            product = state[0] @ U if each is None else state[0] @ U + each
            after = self._cell(now[0], product, state, lambda letter, v: name(f"{letter}{mark}[{t}]", v))
            if valid is None:
                return after, after[0]
            after = tuple(np.where(now[1], new, old) for new, old in zip(after, state, strict=True))
            return after, np.where(now[1], after[0], after[0].dtype.type(0))

        return scan(step, start, (z,) if valid is None else (z, valid), reverse=backwards)

    def _biases(self, b: Any, d: Any) -> tuple[Any, Any]:
        """Return what is added to X W of all steps at once, and what to h U in each step."""
        return (None if b is None else b + d), None

    def _cell(self, z: Any, product: Any, state: State, name: Namer) -> State:
        """Return the next state from X W + b, h U and the state."""
        raise TypeError(f"{type(self).__name__} has no method _cell(self, z, product, state, name)")

    def _cut(self, z: Any) -> list[Any]:
        """Return the gates, which stand side by side."""
        n = self.hidden_size
        return [z[:, k * n : (k + 1) * n] for k in range(len(self.gates))]

    def _signature(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.num_layers > 1:
            text += f", num_layers={self.num_layers}"
        return text + ", bidirectional=True" * self.bidirectional


def _valid(lengths: Any, m: int, steps: int) -> Any:
    """Return, for each step and example, whether the sequence has that step."""
    found = lengths if isinstance(lengths, Tensor) else np.asarray(lengths)
    if tuple(found.shape) != (m,) or found.dtype.kind not in "iu":
        raise ValueError(f"lengths: expected {m} integers, got shape {tuple(found.shape)}, {found.dtype}")
    values = found.value if isinstance(found, Tensor) else found
    if values is not None and values.size and not 0 <= values.min() <= values.max() <= steps:
        raise ValueError(f"lengths: expected 0 to {steps} steps, got {values.min()} to {values.max()}")
    return np.less(np.arange(steps)[:, None, None], np.reshape(found, (1, m, 1)))


def _times(steps: int, backwards: bool) -> Iterator[Any]:
    """Return the steps' numbers for names: t where one step stands for all."""
    if TRACE.get() is not None:
        return itertools.repeat("t")
    numbers = range(max(steps, 1))  # of no steps one is recorded, too
    return iter(numbers[::-1] if backwards else numbers)


@described
class RNN(Recurrent):
    """A recurrent layer of Elman: h[t] = tanh(x[t] W + b + h[t-1] U + d).

    Parameters
    ----------
    input_size, hidden_size : int
        X has shape (m, T, input_size), the output (m, T, hidden_size), twice as wide if bidirectional.
    num_layers : int
        Layers on top of each other.
    bias : bool
        Whether there are b and d.
    dropout : float
        Between the layers, in training.
    bidirectional : bool
        Whether a second one runs backwards; its states stand beside those of the first.
    nonlinearity : {"tanh", "relu"}
    dtype
        float32 (default) or float64.
    seed : int, optional
        Fixes the initial weights; without it they depend on the layer's place in the network.

    Notes
    -----
    Called with ``state=``, it starts with another state than zeros; with ``return_state=True`` it returns
    ``(output, state)``, a state being of shape (num_layers · directions, m, hidden_size). ``lengths=`` gives the number
    of steps of each sequence of a padded batch: later outputs are zero, and the state is that after the last step.
    W is ``weight_ih_l0``, U is ``weight_hh_l0``, as PyTorch calls them, of shape (inputs, hidden_size).

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> layer = nn.RNN(3, 5)
    >>> layer(np.ones((2, 4, 3))).shape
    (2, 4, 5)
    >>> out, state = layer(np.ones((2, 4, 3)), lengths=[4, 1], return_state=True)
    >>> bool(np.all(out[1, 1:] == 0)), bool(np.all(state[0] == np.stack([out[0, 3], out[1, 0]])))
    (True, True)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        nonlinearity: str = "tanh",
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        self.nonlinearity: str = choice("nonlinearity", nonlinearity, tuple(_NONLINEAR))
        super().__init__(input_size, hidden_size, num_layers, bias, dropout, bidirectional, dtype=dtype, seed=seed)

    def _cell(self, z: Any, product: Any, state: State, name: Namer) -> State:
        return (name("h", _NONLINEAR[self.nonlinearity](name("z", z + product))),)


_NONLINEAR: dict[str, Callable[[Any], Any]] = {"tanh": np.tanh, "relu": ops.relu}


@described
class LSTM(Recurrent):
    """Long short-term memory: gates i, f, o and candidates g, of x[t] W + b + h[t-1] U + d.

    c[t] = f c[t-1] + i g and h[t] = o tanh(c[t]), with i, f, o through sigmoid and g through tanh. They stand side by
    side in W, U, b and d in the order i, f, g, o.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, dropout, bidirectional, dtype, seed
        As of `RNN`.

    Notes
    -----
    Called as an `RNN`; a state is a pair (h, c). Source: Hochreiter & Schmidhuber, 1997, with forget gates (Gers et
    al., 2000).

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> out, (h, c) = nn.LSTM(3, 5, num_layers=2)(np.ones((2, 4, 3)), return_state=True)
    >>> out.shape, h.shape, bool(np.all(out[:, -1] == h[1]))
    ((2, 4, 5), (2, 2, 5), True)
    """

    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
    carried: ClassVar[tuple[str, ...]] = ("h", "c")

    def _cell(self, z: Any, product: Any, state: State, name: Namer) -> State:
        i, f, g, o = self._cut(name("z", z + product))
        i, f, o = (name(letter, ops.sigmoid(gate)) for letter, gate in zip("ifo", (i, f, o), strict=True))
        c = name("c", f * state[1] + i * name("g", np.tanh(g)))
        return name("h", o * np.tanh(c)), c


@described
class GRU(Recurrent):
    """Gated recurrent units: h[t] = (1 - z) n + z h[t-1], with gates r, z and candidates n.

    r and z are sigmoids of x[t] W + b + h[t-1] U + d, and n = tanh(x[t] W + b + r (h[t-1] U + d)). They stand side by
    side in W, U, b and d in the order r, z, n.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, dropout, bidirectional, dtype, seed
        As of `RNN`.

    Notes
    -----
    Called as an `RNN`. Source: Cho et al., 2014, with r applied after the product, as in PyTorch.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> nn.GRU(3, 5, bidirectional=True)(np.ones((2, 4, 3))).shape
    (2, 4, 10)
    """

    gates: ClassVar[tuple[str, ...]] = ("r", "z", "n")

    def _biases(self, b: Any, d: Any) -> tuple[Any, Any]:
        return b, d

    def _cell(self, z: Any, product: Any, state: State, name: Namer) -> State:
        inputs, states = self._cut(name("v", z)), self._cut(name("u", product))
        r, keep = (name(letter, ops.sigmoid(inputs[k] + states[k])) for k, letter in enumerate("rz"))
        candidate = name("n", np.tanh(inputs[2] + r * states[2]))
        return (name("h", candidate + keep * (state[0] - candidate)),)
