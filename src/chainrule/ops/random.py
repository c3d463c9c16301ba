r"""Random numbers as an operation: a pure function of (seed, stream, counter), so any engine can draw the same.

The generator is Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), which turns a key
of two 64-bit words and a counter of four into four 64-bit words::

    block k of a draw, k = 1, 2, …:    words[4 (k - 1) … 4 (k - 1) + 3] = philox4x64_10(
        key     = (seed, stream),
        counter = (k, c, 0, 0))        # c: the value of the counter input; k from 1, as NumPy's generator adds first

A draw of n numbers uses the words in order, element by element in C order:



dtype    words                    the i-th number, in [0, 1)


float64  one per number            ``(word[i] >> 11) * 2**-53``
float32  one for two, low first   ``(half[i] >> 8) * 2**-24``, with ``half[2 j] = word[j] & 0xffffffff``
                                  and ``half[2 j + 1] = word[j] >> 32``



Both conversions are exact. Draws with different seeds, streams or counters share no block.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.arguments import integer
from ..core.arrays import FLOATS
from ..core.op import Example, Shape, register
from ..core.shards import SHARD
from .table import array_of

_WORD = (1 << 64) - 1
#: Between the streams of the shards of a batch, for what is not drawn row by row. Odd, so that all of them differ.
_APART = 0x9E3779B97F4A7C15


def _uniform_kernel(
    counter: Any, out: Any = None, *, seed: int, stream: int, shape: Shape, dtype: np.dtype[Any]
) -> Any:
    key = np.array([seed, stream], np.uint64)
    generator = np.random.Philox(key=key, counter=np.array([0, int(counter) & _WORD, 0, 0], np.uint64))
    if out is None:
        out = np.empty(shape, dtype)
    size = out.size
    if dtype == FLOATS[1]:
        bits, scale = generator.random_raw(size), 2.0**-53
        bits >>= np.uint64(11)
    else:
        words = generator.random_raw((size + 1) // 2)
        bits, scale = words.astype("<u8", copy=False).view("<u4")[:size], 2.0**-24
        bits >>= np.uint32(8)
    np.copyto(out, bits.reshape(shape), casting="unsafe")
    out *= dtype.type(scale)
    return out


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


def _uniform_array(counter: Any, seed: int, stream: int, shape: Any, dtype: Any = np.float64) -> Any:
    """Return numbers in [0, 1) that depend on the arguments alone."""
    key, start = np.array([seed, stream], np.uint64), np.array([0, int(counter), 0, 0], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=start)).random(shape, dtype)


UNIFORM = register(
    "uniform",
    shape=lambda counter, seed, stream, shape, dtype: (tuple(shape), np.dtype(dtype)),
    kernel=_uniform_kernel,
    numpy=_uniform_array,
    vjp=(None,),
    differentiable=False,
    native=lambda out, counter, seed, stream, **attrs: [_signed(seed), _signed(stream)],
    examples=lambda rng: [
        Example((np.array(3),), {"seed": 7, "stream": 1, "shape": (2, 3), "dtype": np.dtype(np.float64)}),
        Example((np.array(0),), {"seed": 2**64 - 1, "stream": 0, "shape": (5,), "dtype": np.dtype(np.float32)}),
        Example((np.array(9),), {"seed": 1, "stream": 2, "shape": (), "dtype": np.dtype(np.float32)}),
        Example((np.array(9),), {"seed": 1, "stream": 2, "shape": (0, 2), "dtype": np.dtype(np.float64)}),
    ],
    flops=lambda out, counter, **attrs: 10 * math.prod(out),
)


def uniform(counter: Any, *, seed: int, stream: int = 0, shape: Any = (), dtype: Any = np.float32) -> Any:
    """Return numbers uniform in [0, 1), determined by the arguments alone.

    Parameters
    ----------
    counter : int, 0-d integer array or tensor
        Which draw: a step's number. Not negative.
    seed, stream : int
        The key, two words of 64 bits: the run's seed, and which of its consumers (a layer's number).
    shape : int or sequence of int
    dtype : float32 or float64

    Raises
    ------
    TypeError, ValueError
        For a counter that is not one integer, a key outside 64 bits, a dtype other than float32 and float64.

    Examples
    --------
    >>> uniform(3, seed=7, shape=2, dtype=np.float64).round(4)
    array([0.439 , 0.1657])
    """
    counter = array_of(counter)
    if counter.dtype.kind not in "iu" or counter.shape != ():
        raise TypeError(f"counter: expected one integer, got shape {tuple(counter.shape)}, {counter.dtype}")
    words = (("seed", seed), ("stream", stream))
    key = {name: integer(name, word, at_least=0, at_most=_WORD) for name, word in words}
    dtype = np.dtype(dtype)
    if dtype not in FLOATS:
        raise TypeError(f"dtype: expected float32 or float64, got {dtype}")
    sizes = tuple(operator.index(d) for d in (shape if np.iterable(shape) else (shape,)))
    shard = SHARD.get()
    if shard is None:
        return apply(UNIFORM, (counter,), {**key, "shape": sizes, "dtype": dtype})
    if sizes and sizes[0] == shard.rows:  # a row of the batch draws the same in whichever shard it is
        batch = apply(UNIFORM, (counter,), {**key, "shape": (shard.total, *sizes[1:]), "dtype": dtype})
        return batch[shard.start : shard.stop]
    key["stream"] = (key["stream"] + (shard.number + 1) * _APART) & _WORD
    return apply(UNIFORM, (counter,), {**key, "shape": sizes, "dtype": dtype})
