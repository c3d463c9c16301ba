"""Random numbers for functions that are traced: each call and each step of a training run draws new ones.

Every draw is an operation of the seed and a counter (Philox, see ``chainrule.ops.random``). The counter is state: a
compiled function reads it at each call and stores it afterwards, as a training run does at each step, so both draw the
same numbers as the function itself. There is no global generator. The functions of this module draw from the innermost
generator in force: that of the training run (``fit(…, seed=0)``), of the compiled function (``compile(f, seed=0)``), or
of a ``with`` block:

>>> import chainrule as cr
>>> with cr.random.Generator(0):
...     noise = cr.random.normal((2, 3))
>>> noise.shape, noise.dtype
((2, 3), dtype('float32'))
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np

from .core.arguments import integer
from .core.arrays import FLOATS
from .core.node import TRACE
from .core.op import Array
from .core.trace import Holder
from .ops.random import uniform as uniform_at

_IN_FORCE: ContextVar[tuple[Generator, ...]] = ContextVar("generators in force", default=())

#: The second word of the key: no layer of a network draws from this stream.
STREAM = 0x63685F72616E646F


class Generator(Holder):
    """A source of random numbers: a seed, and a counter of draws.

    Two generators with the same seed give the same numbers in the same order, on each engine and for any number of
    threads. Its methods can be called within functions that are differentiated, compiled or trained; as a context
    manager it is what the functions of `chainrule.random` draw from.

    Parameters
    ----------
    seed : int
        0 to 2**64 - 1.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> rng = cr.random.Generator(0)
    >>> noisy = cr.compile(lambda x: x + rng.uniform(2, dtype=np.float64))
    >>> noisy(np.zeros(2)).round(3), noisy(np.zeros(2)).round(3)
    (array([0.512, 0.738]), array([0.813, 0.661]))
    >>> again = cr.random.Generator(0)
    >>> again.uniform(2, dtype=np.float64).round(3)
    array([0.512, 0.738])
    """

    counter: Any

    def __init__(self, seed: int) -> None:
        self.seed: int = integer("seed", seed, at_least=0, at_most=2**64 - 1)
        self.counter = np.zeros((), np.int64)
        self._buffers: dict[str, Array] = {"counter": self.counter}

    def __repr__(self) -> str:
        return f"Generator(seed={self.seed}, draws={self.counter})"

    def __enter__(self) -> Generator:
        _IN_FORCE.set((*_IN_FORCE.get(), self))
        return self

    def __exit__(self, *_: object) -> None:
        _IN_FORCE.set(_IN_FORCE.get()[:-1])

    def uniform(self, shape: Any = (), *, low: Any = 0.0, high: Any = 1.0, dtype: Any = np.float32) -> Any:
        """Return numbers uniform in [low, high)."""
        trace = TRACE.get()
        own = self if trace is None else trace.twin(self)
        counter = own.counter
        own.counter = np.add(counter, 1) if trace is not None else np.asarray(counter + 1)
        draw = uniform_at(counter, seed=self.seed, stream=STREAM, shape=shape, dtype=dtype)
        plain = isinstance(low, int | float) and isinstance(high, int | float)
        return draw if plain and (low, high) == (0, 1) else low + (high - low) * draw

    def normal(self, shape: Any = (), *, dtype: Any = np.float32) -> Any:
        """Return numbers from the standard normal distribution (Box & Muller, 1958)."""
        radius, angle = self.uniform((2, *_sizes(shape)), dtype=dtype)
        return np.sqrt(-2.0 * np.log1p(-radius)) * np.cos((2 * math.pi) * angle)

    def bernoulli(self, p: Any = 0.5, shape: Any = None) -> Any:
        """Return booleans that are True with probability `p`: a number, or an array or tensor of numbers."""
        sizes = np.shape(p) if shape is None else shape
        dtype = p.dtype if hasattr(p, "dtype") and p.dtype in FLOATS else np.float64
        return np.less(self.uniform(sizes, dtype=dtype), p)

    def integers(self, low: int, high: int, shape: Any = ()) -> Any:
        """Return int64 numbers from `low` to `high` - 1, each with the same probability (up to 2**-53)."""
        low, high = integer("low", low), integer("high", high)
        if high <= low:
            raise ValueError(f"high: expected an integer above low, {low}, got {high}")
        return np.floor(self.uniform(shape, dtype=np.float64) * (high - low)).astype(np.int64) + low

    def permutation(self, n: int) -> Any:
        """Return the numbers 0 to n - 1 in random order."""
        return np.argsort(self.uniform(integer("n", n, at_least=0), dtype=np.float64))


def _sizes(shape: Any) -> tuple[Any, ...]:
    return tuple(shape) if np.iterable(shape) else (shape,)


def in_force() -> Generator | None:
    """Return the innermost generator in force."""
    return _IN_FORCE.get()[-1] if _IN_FORCE.get() else None


def _source(function: Callable[..., Any]) -> Generator:
    found = in_force()
    if found is None:
        raise RuntimeError(
            f"cr.random.{function.__name__}: no generator is in force. fit(…, seed=…) and compile(f, seed=…) provide "
            "one; elsewhere, write: with cr.random.Generator(seed): …"
        )
    return found


def uniform(shape: Any = (), *, low: Any = 0.0, high: Any = 1.0, dtype: Any = np.float32) -> Any:
    """Return numbers uniform in [low, high), new at each call and each training step.

    Parameters
    ----------
    shape : int or sequence of int
    low, high : float, array or tensor
        A derivative can be taken in them.
    dtype : float32 or float64

    Raises
    ------
    RuntimeError
        If no generator is in force: outside of `fit`, compiled functions and ``with cr.random.Generator(seed):``.

    Examples
    --------
    >>> import chainrule as cr
    >>> with cr.random.Generator(0):
    ...     draw = cr.random.uniform(1000, low=-1.0)
    >>> bool(-1 <= draw.min() < -0.9), bool(0.9 < draw.max() < 1)
    (True, True)
    """
    return _source(uniform).uniform(shape, low=low, high=high, dtype=dtype)


def normal(shape: Any = (), *, dtype: Any = np.float32) -> Any:
    """Return numbers from the standard normal distribution, new at each call and each training step.

    Parameters and errors: as for `uniform`. Of float32, none is beyond ±5.8; of float64, ±8.6.

    Examples
    --------
    The noise of a variational autoencoder, ``mean + spread * normal``:

    >>> import numpy as np
    >>> import chainrule as cr
    >>> def sample(mean, log_variance):
    ...     return mean + np.exp(0.5 * log_variance) * cr.random.normal(mean.shape, dtype=np.float64)
    >>> draw = cr.compile(sample, seed=1)
    >>> draw(np.zeros(2), np.zeros(2)).round(3), draw(np.zeros(2), np.zeros(2)).round(3)
    (array([ 0.513, -2.945]), array([0.399, 0.284]))
    """
    return _source(normal).normal(shape, dtype=dtype)


def bernoulli(p: Any = 0.5, shape: Any = None) -> Any:
    """Return booleans that are True with probability `p`, new at each call and each training step.

    Parameters
    ----------
    p : float, array or tensor
    shape : int or sequence of int, optional
        By default the shape of `p`.

    Examples
    --------
    >>> import chainrule as cr
    >>> with cr.random.Generator(0):
    ...     draw = cr.random.bernoulli(0.25, 10_000)
    >>> draw.dtype, round(float(draw.mean()), 2)
    (dtype('bool'), 0.25)
    """
    return _source(bernoulli).bernoulli(p, shape)


def integers(low: int, high: int, shape: Any = ()) -> Any:
    """Return int64 numbers from `low` to `high` - 1, new at each call and each training step.

    Examples
    --------
    >>> import chainrule as cr
    >>> with cr.random.Generator(0):
    ...     draw = cr.random.integers(1, 7, 600)
    >>> int(draw.min()), int(draw.max())
    (1, 6)
    """
    return _source(integers).integers(low, high, shape)


def permutation(n: int) -> Any:
    """Return the numbers 0 to n - 1 in random order, new at each call and each training step.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> with cr.random.Generator(0):
    ...     order = cr.random.permutation(5)
    >>> np.sort(order)
    array([0, 1, 2, 3, 4])
    """
    return _source(permutation).permutation(n)
