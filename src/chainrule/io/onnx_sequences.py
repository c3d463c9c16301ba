"""ONNX's recurrent layers and attention, as functions of tensors or arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..ops.scan import scan
from ..ops.table import as_dtype, dtype_of, shape_of
from .onnx_arguments import dtype_of_type, only
from .onnx_networks import hard_sigmoid

# -- recurrent layers --------------------------------------------------------------------------------------------------

State = tuple[Any, ...]
Function = Callable[[Any], Any]
#: Returns the next state from x W, h R (both with their biases), the state and the peephole weights.
Cell = Callable[[Any, Any, State, Any, Sequence[Function]], State]

#: Activations of recurrent layers, for those that have no settings or are used with the default ones.
_ACTIVATIONS: dict[bytes, Function] = {
    b"HardSigmoid": hard_sigmoid, b"Relu": ops.relu, b"Sigmoid": ops.sigmoid, b"Softplus": ops.softplus,
    b"Softsign": lambda x: x / (1 + np.abs(x)), b"Tanh": np.tanh,
}  # fmt: skip
_DIRECTIONS = {b"forward": (False,), b"reverse": (True,), b"bidirectional": (False, True)}


def _activations(given: Any, default: list[bytes], directions: int, clip: float | None) -> list[list[Function]]:
    """Return the activations of each direction; their inputs are limited to the range from -clip to clip."""
    names = list(given or default * directions)
    if len(names) != len(default) * directions:
        raise ValueError(f"activations: expected {len(default) * directions}, got {len(names)}")
    for name in names:
        if name not in _ACTIVATIONS:
            known = ", ".join(each.decode() for each in _ACTIVATIONS)
            raise ValueError(f"the activation {name!r} is not supported; expected {known}")
    found = [_ACTIVATIONS[name] for name in names]
    if clip is not None:
        found = [_clipped(f, clip) for f in found]
    return [found[k * len(default) : (k + 1) * len(default)] for k in range(directions)]


def _clipped(function: Function, clip: float) -> Function:
    return lambda x: function(np.clip(x, -clip, clip))


def _recurrent(
    cell: Cell, x: Any, weights: Sequence[Any], starts: Sequence[Any], lengths: Any, functions: list[list[Function]],
    *, direction: bytes, layout: int,
) -> tuple[Any, ...]:  # fmt: skip
    """Run a layer in its directions; return the outputs of all steps, and each state after the last step."""
    if direction not in _DIRECTIONS:
        raise ValueError(f"direction is {direction!r}, expected forward, reverse or bidirectional")
    sequence = np.swapaxes(x, 0, 1) if layout else x
    steps, m, _ = shape_of(sequence)
    hidden = shape_of(weights[1])[-1]
    valid = None if lengths is None else np.less(np.arange(steps)[:, None, None], np.reshape(lengths, (1, m, 1)))
    outputs, ends = [], []
    for k, backwards in enumerate(_DIRECTIONS[direction]):
        state = tuple([
            np.zeros((m, hidden), dtype_of(x)) if s is None else (s[:, k] if layout else s[k]) for s in starts
        ])  # fmt: skip
        own = [None if w is None else w[k] for w in weights]
        end, out = _one_direction(cell, sequence, own, state, valid, functions[k], backwards)
        outputs.append(out)
        ends.append(end)
    stacked = [np.stack(column, axis=layout) for column in zip(*ends, strict=True)]
    every = np.stack(outputs, axis=1)
    return (np.transpose(every, (2, 0, 1, 3)) if layout else every, *stacked)


def _one_direction(
    cell: Cell, x: Any, weights: Sequence[Any], start: State, valid: Any, functions: Sequence[Function], backwards: bool
) -> tuple[State, Any]:
    w, r, b, p = weights
    width = shape_of(w)[0]
    z, after = np.matmul(x, np.transpose(w)), 0.0
    if b is not None:
        z, after = z + b[:width], b[width:]
    turned = np.transpose(r)

    def step(state: State, now: Any) -> tuple[State, Any]:
        new = cell(now[0], (state[0], turned, after), state, p, functions)
        if valid is None:
            return new, new[0]
        new = tuple([np.where(now[1], a, b) for a, b in zip(new, state, strict=True)])
        return new, np.where(now[1], new[0], np.zeros((), dtype_of(new[0])))

    return scan(step, start, (z,) if valid is None else (z, valid), reverse=backwards)


def _cut(z: Any, parts: int) -> list[Any]:
    width = shape_of(z)[-1] // parts
    return [z[..., k * width : (k + 1) * width] for k in range(parts)]


def _product(of: Any) -> Any:
    h, r, b = of
    return np.matmul(h, r) + b


def _lstm_cell(z: Any, of: Any, state: State, p: Any, functions: Sequence[Function]) -> State:
    f, g, h = functions
    _, c = state
    i, o, forget, new = _cut(z + _product(of), 4)
    pi, po, pf = (0.0, 0.0, 0.0) if p is None else _cut(p, 3)
    c = f(forget + pf * c) * c + f(i + pi * c) * g(new)
    return f(o + po * c) * h(c), c


def _gru_cell(linear_before_reset: int) -> Cell:
    def cell(z: Any, of: Any, state: State, p: Any, functions: Sequence[Function]) -> State:
        f, g = functions
        (h,), (_, r, b) = state, of
        width = 2 * shape_of(h)[-1]
        zu, zr, zn = _cut(z, 3)
        update, reset = _cut(np.matmul(h, r[:, :width]) + (b[:width] if shape_of(b) else b), 2)
        u, gate = f(zu + update), f(zr + reset)
        last, shift = r[:, width:], b[width:] if shape_of(b) else b
        inner = gate * (np.matmul(h, last) + shift) if linear_before_reset else np.matmul(gate * h, last) + shift
        return ((1 - u) * g(zn + inner) + u * h,)

    return cell


def rnn(
    x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, *, activation_alpha: Any = None,
    activation_beta: Any = None, activations: Any = None, clip: float | None = None, direction: bytes = b"forward",
    hidden_size: int | None = None, layout: int = 0, outputs: int,
) -> Any:  # fmt: skip
    """Return the outputs and the last state of a recurrent layer, h[t] = f(x[t] W + h[t-1] R + biases)."""
    only(activation_alpha=(activation_alpha, None), activation_beta=(activation_beta, None))
    functions = _activations(activations, [b"Tanh"], shape_of(w)[0], clip)
    found = _recurrent(
        lambda z, of, state, p, f: (f[0](z + _product(of)),), x, (w, r, b, None), (h,), lengths, functions,
        direction=direction, layout=layout,
    )  # fmt: skip
    return found[:outputs]


def lstm(
    x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, c: Any = None, p: Any = None, *,
    activation_alpha: Any = None, activation_beta: Any = None, activations: Any = None, clip: float | None = None,
    direction: bytes = b"forward", hidden_size: int | None = None, input_forget: int = 0, layout: int = 0,
    outputs: int,
) -> Any:  # fmt: skip
    """Return the outputs and the last states of an LSTM, whose gates stand in the order i, o, f, c."""
    only(
        activation_alpha=(activation_alpha, None),
        activation_beta=(activation_beta, None),
        input_forget=(input_forget, 0),
    )
    functions = _activations(activations, [b"Sigmoid", b"Tanh", b"Tanh"], shape_of(w)[0], clip)
    found = _recurrent(
        _lstm_cell, x, (w, r, b, p), (h, c), lengths, functions, direction=direction, layout=layout
    )  # fmt: skip
    return found[:outputs]


def gru(
    x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, *, activation_alpha: Any = None,
    activation_beta: Any = None, activations: Any = None, clip: float | None = None, direction: bytes = b"forward",
    hidden_size: int | None = None, layout: int = 0, linear_before_reset: int = 0, outputs: int,
) -> Any:  # fmt: skip
    """Return the outputs and the last state of gated recurrent units, whose gates stand in the order z, r, h."""
    only(activation_alpha=(activation_alpha, None), activation_beta=(activation_beta, None))
    functions = _activations(activations, [b"Sigmoid", b"Tanh"], shape_of(w)[0], clip)
    cell = _gru_cell(linear_before_reset)
    return _recurrent(cell, x, (w, r, b, None), (h,), lengths, functions, direction=direction, layout=layout)[:outputs]


# -- attention ---------------------------------------------------------------------------------------------------------


def attention(
    q: Any, k: Any, v: Any, mask: Any = None, past_key: Any = None, past_value: Any = None, lengths: Any = None, *,
    is_causal: int = 0, kv_num_heads: int | None = None, left_window_size: int = -1, q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0, right_window_size: int = -1, scale: float | None = None, softcap: float = 0.0,
    softmax_precision: int | None = None, outputs: int,
) -> Any:  # fmt: skip
    """Return attention's output, all keys and values, and the scores or weights."""
    joined = len(shape_of(q)) == 3
    if joined:
        q, k, v = (_heads(x, n) for x, n in ((q, q_num_heads), (k, kv_num_heads), (v, kv_num_heads)))
    before = 0
    if past_key is not None:
        before = shape_of(past_key)[2]
        k, v = np.concatenate([past_key, k], axis=2), np.concatenate([past_value, v], axis=2)
    groups = shape_of(q)[1] // shape_of(k)[1]
    keys, values = (x if groups == 1 else np.repeat(x, groups, axis=1) for x in (k, v))
    root = (1 / math.sqrt(shape_of(q)[-1]) if scale is None else scale) ** 0.5
    scores = [np.matmul(q * root, np.swapaxes(keys * root, -1, -2))]
    scores.append(softcap * np.tanh(scores[0] / softcap) if softcap else scores[0])
    windows = (left_window_size, 0 if is_causal else right_window_size)
    seen, bias = _seen(shape_of(scores[0]), mask, lengths, before, windows)
    shifted = scores[1] if bias is None else scores[1] + bias
    scores.append(shifted if seen is None else np.where(seen, shifted, as_dtype(np.array(-np.inf), dtype_of(shifted))))
    weights = _weights(scores[2], softmax_precision)
    out = np.matmul(weights, values)
    return (_joined(out) if joined else out, k, v, [*scores, weights][qk_matmul_output_mode])[:outputs]


def _heads(x: Any, count: int | None) -> Any:
    """Return (m, T, heads · width) as (m, heads, T, width)."""
    m, steps, width = shape_of(x)
    if not count or width % count:
        raise ValueError(f"the number of heads is {count}, which does not divide the width, {width}")
    return np.swapaxes(np.reshape(x, (m, steps, count, width // count)), 1, 2)


def _joined(x: Any) -> Any:
    """Return (m, heads, T, width) as (m, T, heads · width)."""
    m, heads, steps, width = shape_of(x)
    return np.reshape(np.swapaxes(x, 1, 2), (m, steps, heads * width))


def _seen(shape: Sequence[int], mask: Any, lengths: Any, before: int, windows: tuple[int, int]) -> tuple[Any, Any]:
    """Return which keys each query sees (None: all), and what is added to the scores."""
    queries, keys = shape[-2:]
    conditions, bias = [], None
    offset: Any = before
    if lengths is not None:
        counts = np.reshape(lengths, (-1, 1, 1, 1))
        conditions.append(np.less(np.arange(keys), counts))
        offset = counts - queries
    distance = np.arange(keys) - (np.arange(queries)[:, None] + offset)
    left, right = windows
    conditions += [np.greater_equal(distance, -left)] if left >= 0 else []
    conditions += [np.less_equal(distance, right)] if right >= 0 else []
    if mask is not None:
        missing = keys - shape_of(mask)[-1]
        if missing:
            conditions.append(np.arange(keys) < keys - missing)
            mask = np.concatenate([mask, np.zeros((*shape_of(mask)[:-1], missing), dtype_of(mask))], axis=-1)
        if dtype_of(mask).kind == "b":
            conditions.append(mask)
        else:
            bias = mask
    seen = None
    for condition in conditions:
        seen = condition if seen is None else np.logical_and(seen, condition)
    return seen, bias


def _weights(scores: Any, precision: int | None) -> Any:
    """Return the softmax along the last axis; a query that sees no key gets zeros."""
    dtype = dtype_of(scores)
    scores = scores if precision is None else as_dtype(scores, dtype_of_type(precision, "softmax_precision"))
    blind = np.equal(np.max(scores, axis=-1, keepdims=True), -np.inf)
    zero = np.zeros((), dtype_of(scores))
    return as_dtype(np.where(blind, zero, ops.softmax(np.where(blind, zero, scores), -1)), dtype)


def rotary_embedding(
    x: Any, cos: Any, sin: Any, positions: Any = None, *, interleaved: int = 0, num_heads: int = 0,
    rotary_embedding_dim: int = 0,
) -> Any:  # fmt: skip
    """Rotate pairs of features by angles that belong to positions."""
    joined = len(shape_of(x)) == 3
    x = _heads(x, num_heads) if joined else x
    width = rotary_embedding_dim or shape_of(x)[-1]
    cos, sin = (np.expand_dims(t if positions is None else np.take(t, positions, axis=0), 1) for t in (cos, sin))
    cos, sin = cos[..., : width // 2], sin[..., : width // 2]
    turned, rest = x[..., :width], x[..., width:]
    if interleaved:
        a, b = turned[..., ::2], turned[..., 1::2]
    else:
        a, b = turned[..., : width // 2], turned[..., width // 2 :]
    pair = [cos * a - sin * b, sin * a + cos * b]
    turned = np.reshape(np.stack(pair, axis=-1), shape_of(turned)) if interleaved else np.concatenate(pair, axis=-1)
    out = np.concatenate([turned, rest], axis=-1)
    return _joined(out) if joined else out


#: Operator -> function.
SEQUENCES: dict[str, Callable[..., Any]] = {
    "Attention": attention, "GRU": gru, "LSTM": lstm, "RNN": rnn, "RotaryEmbedding": rotary_embedding
}  # fmt: skip
