"""Fourier transforms: of real tensors, and of pairs of them that stand for complex ones.

The rows take and give the real and imaginary part along the last axis, and transform the axis before. A transform and
its inverse, without their factors, are each other's derivative.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.arguments import choice
from ..core.node import FUNCTIONS
from ..core.op import Example, Operation, Shape, register
from .arrange import fftshift, ifftshift
from .complex_pair import COMPLEX, Complex, is_complex, pair
from .table import along, array_of, floating, shape_of, stored


def _fft_array(x: Any, sign: int) -> Any:
    """Return the sums of a Fourier transform, without a factor; real and imaginary parts lie along the last axis."""
    z = x[..., 0] + 1j * x[..., 1]
    f = np.fft.ifft(z, norm="forward") if sign > 0 else np.fft.fft(z)
    return np.stack([f.real, f.imag], axis=-1).astype(x.dtype)


def _rfft_array(x: Any) -> Any:
    """Return the Fourier transform of real numbers; real and imaginary parts lie along a new last axis."""
    f = np.fft.rfft(x)
    return np.stack([f.real, f.imag], axis=-1).astype(x.dtype)


def _irfft_array(x: Any, n: int) -> Any:
    """Return the real numbers of which this is the Fourier transform, times their count."""
    return np.fft.irfft(x[..., 0] + 1j * x[..., 1], n, norm="forward").astype(x.dtype)


def _flops(out: Shape, x: Shape, **attrs: Any) -> int:
    return 5 * math.prod(x) * max(1, math.ceil(math.log2(max(2, x[-2] if len(x) > 1 else x[-1]))))


def _filling(compute: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, out=None, **attrs: stored(compute(x, **attrs), out)


def _twice(n: int, dtype: Any) -> Any:
    """Return how often each coefficient of a real transform stands for two of the complex one: [[1], [2], …]."""
    weights = np.full((n // 2 + 1, 1), 2.0, dtype)
    weights[0] = 1.0
    if n % 2 == 0:
        weights[-1] = 1.0
    return weights


FFT: Operation = register(
    "dft",
    numpy=_fft_array,
    shape=lambda x, sign: (tuple(x.shape), x.dtype),
    kernel=_filling(_fft_array),
    vjp=(lambda g, out, x, sign: apply(FFT, (g,), {"sign": -sign}),),
    examples=lambda rng: [
        Example((rng.normal(size=(2, 3, 2)),), {"sign": -1}),
        Example((rng.normal(size=(4, 2)),), {"sign": 1}),
    ],
    flops=_flops,
)
RFFT = register(
    "real_dft",
    numpy=_rfft_array,
    shape=lambda x: ((*x.shape[:-1], x.shape[-1] // 2 + 1, 2), x.dtype),
    kernel=_filling(_rfft_array),
    vjp=(lambda g, out, x: apply(IRFFT, (g / _twice(x.shape[-1], g.dtype),), {"n": x.shape[-1]}),),
    examples=lambda rng: [Example((rng.normal(size=(2, 5)),)), Example((rng.normal(size=4),))],
    flops=_flops,
)
IRFFT: Operation = register(
    "inverse_real_dft",
    numpy=_irfft_array,
    shape=lambda x, n: ((*x.shape[:-2], n), x.dtype),
    kernel=_filling(_irfft_array),
    vjp=(lambda g, out, x, n: apply(RFFT, (g,), {}) * _twice(n, g.dtype),),
    examples=lambda rng: [
        Example((rng.normal(size=(2, 3, 2)),), {"n": 5}),
        Example((rng.normal(size=(3, 2)),), {"n": 4}),
    ],
    flops=_flops,
)


def _sized(x: Any, n: int) -> Any:
    """Return `x` cut or filled with zeros to `n` elements along the last axis."""
    if n < 1:
        raise ValueError(f"fft: n is {n}, expected at least 1 element")
    have = shape_of(x)[-1]
    if have < n:
        return np.concatenate([x, np.zeros((*shape_of(x)[:-1], n - have), x.dtype)], -1)
    return along(x, len(shape_of(x)) - 1, 0, n) if have > n else x


def _factor(norm: str | None, n: int, inverse: bool) -> float:
    norm = choice("norm", "backward" if norm is None else norm, ("backward", "ortho", "forward"))
    if norm == "ortho":
        return 1.0 / math.sqrt(n)
    return 1.0 / n if (norm == "backward") is inverse else 1.0


def _split(x: Any) -> Complex:
    return Complex(x[..., 0], x[..., 1])


def _last(x: Any, axis: int) -> Any:
    given: Any = x if isinstance(x, Complex) else floating(array_of(x))
    return np.moveaxis(given, axis, -1)


def _back(x: Any, axis: int, factor: float) -> Any:
    x = np.moveaxis(x, -1, axis)
    return x if factor == 1.0 else x * factor


def _complex(inverse: bool) -> Callable[..., Any]:
    def implementation(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: None = None) -> Any:
        z = pair(_last(a, axis))
        count = z.shape[-1] if n is None else int(n)
        both = np.stack([_sized(z.real, count), _sized(z.imag, count)], axis=-1)
        return _back(_split(apply(FFT, (both,), {"sign": 1 if inverse else -1})), axis, _factor(norm, count, inverse))

    return implementation


def _rfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: None = None) -> Any:
    if is_complex(a):
        raise TypeError("np.fft.rfft takes real numbers; use np.fft.fft for complex ones")
    x = _last(a, axis)
    count = shape_of(x)[-1] if n is None else int(n)
    return _back(_split(apply(RFFT, (_sized(x, count),), {})), axis, _factor(norm, count, False))


def _irfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: None = None) -> Any:
    z = pair(_last(a, axis))
    count = 2 * (z.shape[-1] - 1) if n is None else int(n)
    both = np.stack([_sized(z.real, count // 2 + 1), _sized(z.imag, count // 2 + 1)], axis=-1)
    return _back(apply(IRFFT, (both,), {"n": count}), axis, _factor(norm, count, True))


def _several(name: str, one: Callable[..., Any], rest: Callable[..., Any], default: Any, last_first: bool) -> Any:
    """Return the transform over several axes: `one` over the last of them, `rest` over the others."""

    def implementation(a: Any, s: Any = None, axes: Any = default, norm: str | None = None, out: None = None) -> Any:
        ndim = len(shape_of(a))
        if axes is None:
            axes = range(ndim) if s is None else range(ndim - len(s), ndim)
        axes = [k % ndim for k in axes]
        sizes = [None] * len(axes) if s is None else [None if n == -1 else n for n in s]
        if len(sizes) != len(axes):
            raise ValueError(f"{name}: s has {len(sizes)} entries for {len(axes)} axes")
        steps = [(rest, k, n) for k, n in zip(axes[:-1], sizes[:-1], strict=True)]
        steps.insert(0 if last_first else len(steps), (one, axes[-1], sizes[-1]))
        for transform, k, n in steps:
            a = transform(a, n, k, norm)
        return a

    return implementation


_fft, _ifft = _complex(False), _complex(True)
TRANSFORMS: dict[Any, Callable[..., Any]] = {
    np.fft.fft: _fft,
    np.fft.ifft: _ifft,
    np.fft.rfft: _rfft,
    np.fft.irfft: _irfft,
}
for _ending, _default in (("2", (-2, -1)), ("n", None)):
    for _name, _one, _rest, _first in (
        ("fft", _fft, _fft, True), ("ifft", _ifft, _ifft, True), ("rfft", _rfft, _fft, True),
        ("irfft", _irfft, _ifft, False),
    ):  # fmt: skip
        _function = getattr(np.fft, _name + _ending)
        TRANSFORMS[_function] = _several(_name + _ending, _one, _rest, _default, _first)
TRANSFORMS |= {np.fft.fftshift: fftshift, np.fft.ifftshift: ifftshift}
FUNCTIONS.update(TRANSFORMS)
COMPLEX.update(TRANSFORMS)
