"""Convolutions and correlations of ``scipy.signal`` on tensors, with SciPy's signatures.

Examples
--------
>>> import numpy as np
>>> import chainrule as cr
>>> from chainrule.scipy import signal
>>> cr.grad(lambda k: np.sum(signal.convolve(np.array([1.0, 2.0, 3.0]), k, "valid") ** 2))(np.array([1.0, -1.0]))
array([10.,  6.])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ..core.arguments import choice
from ..core.tensor import Tensor
from ..ops.convolution import conv
from ..ops.table import as_dtype

__all__ = ["convolve", "convolve2d", "correlate", "correlate2d", "fftconvolve"]

MODES = ("full", "same", "valid")
#: How arrays go on beyond their ends: SciPy's names, and those of `numpy.pad`.
BOUNDARIES = {"fill": "constant", "wrap": "wrap", "symm": "symmetric"}


def convolve(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Any:
    """As ``scipy.signal.convolve``, of tensors or arrays with any number of axes."""
    choice("method", method, ("auto", "direct", "fft"))
    in1, in2, dtype = _operands("convolve", in1, in2, mode)
    if method == "auto":
        from scipy.signal import choose_conv_method

        method = choose_conv_method(*(np.broadcast_to(np.zeros((), x.dtype), x.shape) for x in (in1, in2)), mode)
    compute = fftconvolve if method == "fft" else _direct
    return _as_kind(compute(in1, in2, mode), dtype)


def correlate(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Any:
    """As ``scipy.signal.correlate``."""
    return convolve(in1, _reversed(in2), mode, method)


def fftconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> Any:
    """As ``scipy.signal.fftconvolve``: by Fourier transforms along `axes` (all), broadcast along the others."""
    in1, in2, _ = _operands("fftconvolve", in1, in2, mode, over=axes)
    over = _axes(axes, in1.ndim)
    if not in1.size or not in2.size or not over:
        return np.zeros(0) if over else in1 * in2
    _, first, lengths = _part([in1.shape[a] for a in over], [in2.shape[a] for a in over], mode)
    full = [in1.shape[a] + in2.shape[a] - 1 for a in over]
    product = np.fft.rfftn(in1, full, over) * np.fft.rfftn(in2, full, over)
    whole: Any = np.fft.irfftn(product, full, over)
    index = [slice(None)] * whole.ndim
    for a, start, length in zip(over, first, lengths, strict=True):
        index[a] = slice(start, start + length)
    return as_dtype(whole[tuple(index)], np.result_type(in1.dtype, in2.dtype))


def convolve2d(in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0) -> Any:
    """As ``scipy.signal.convolve2d``, with `boundary` "fill", "wrap" or "symm"."""
    return _of_matrices("convolve2d", in1, in2, mode, boundary, fillvalue)


def correlate2d(in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0) -> Any:
    """As ``scipy.signal.correlate2d``; with mode "same", matrices of even lengths are centred as there."""
    return _of_matrices("correlate2d", in1, _reversed(in2), mode, boundary, fillvalue, late=True)


def _of_matrices(name: str, in1: Any, in2: Any, mode: str, boundary: str, fillvalue: Any, late: bool = False) -> Any:
    choice("boundary", boundary, tuple(BOUNDARIES))
    in1, in2, dtype = _operands(name, in1, in2, mode)
    if in1.ndim != 2:
        raise ValueError(f"{name}: expected two matrices, got shapes {tuple(in1.shape)} and {tuple(in2.shape)}")
    zeros = boundary == "fill" and not isinstance(fillvalue, Tensor) and fillvalue == 0
    if mode == "valid" or zeros or not in1.size or not in2.size:
        return _as_kind(_direct(in1, in2, mode, late), dtype)
    around = [(n - 1, n - 1) for n in in2.shape]
    if boundary == "fill":
        padded: Any = np.pad(in1 - fillvalue, around) + fillvalue
    else:
        padded = np.pad(in1, around, mode=BOUNDARIES[boundary])  # type: ignore[call-overload]
    whole = _direct(padded, in2, "valid")
    _, first, lengths = _part(in1.shape, in2.shape, mode, late)
    index = tuple([slice(start, start + length) for start, length in zip(first, lengths, strict=True)])
    return _as_kind(whole[index], dtype)


def _operands(name: str, in1: Any, in2: Any, mode: str, over: Any = None) -> tuple[Any, Any, np.dtype[Any]]:
    """Return both as tensors or arrays of floats, and the dtype of the result."""
    choice("mode", mode, MODES)
    in1, in2 = (x if isinstance(x, Tensor) else np.asarray(x) for x in (in1, in2))
    for x, place in ((in1, "in1"), (in2, "in2")):
        if x.dtype.kind not in "fiub":
            raise TypeError(f"{name}: {place} has dtype {x.dtype}, expected real numbers")
    if in1.ndim != in2.ndim:
        raise ValueError(f"{name}: in1 has shape {tuple(in1.shape)}, in2 {tuple(in2.shape)}; expected as many axes")
    dtype = np.result_type(in1.dtype, in2.dtype)
    exact = np.result_type(dtype, np.float32)
    return as_dtype(in1, exact), as_dtype(in2, exact), dtype


def _axes(axes: Any, ndim: int) -> tuple[int, ...]:
    return tuple(range(ndim)) if axes is None else normalize_axis_tuple(axes, ndim)


def _part(n: Sequence[int], m: Sequence[int], mode: str, late: bool = False) -> tuple[bool, list[int], list[int]]:
    """Return whether a mode exchanges arrays of lengths n and m; where the part of the full result begins, its lengths.

    `late`: whether "same" leaves out more before than behind.
    """
    pairs = list(zip(n, m, strict=True))
    if mode == "full":
        return False, [0 for _ in pairs], [a + b - 1 for a, b in pairs]
    if mode == "same":
        return False, [(b - 1 + late) // 2 for _, b in pairs], [a for a, _ in pairs]
    larger = all(a >= b for a, b in pairs)
    if not larger and not all(a <= b for a, b in pairs):
        raise ValueError(f"mode='valid' expects one array to be the larger along every axis; lengths are {pairs}")
    return not larger, [min(pair) - 1 for pair in pairs], [abs(a - b) + 1 for a, b in pairs]


def _direct(in1: Any, in2: Any, mode: str, late: bool = False) -> Any:
    if not in1.ndim:
        return in1 * in2
    if not in1.size or not in2.size:
        return np.zeros(0)
    exchanged, first, lengths = _part(in1.shape, in2.shape, mode, late)
    if exchanged:
        in1, in2 = in2, in1
    # how many zeros the filter, reversed, reads before the first element, and behind the last
    padding = [
        (m - 1 - start, start + length - n)
        for n, m, start, length in zip(in1.shape, in2.shape, first, lengths, strict=True)
    ]
    w = np.reshape(_reversed(in2), (1, *in2.shape, 1))
    return np.reshape(conv(np.reshape(in1, (1, 1, *in1.shape)), w, padding=padding), lengths)


def _reversed(x: Any) -> Any:
    x = x if isinstance(x, Tensor) else np.asarray(x)
    return x[(slice(None, None, -1),) * x.ndim]


def _as_kind(x: Any, dtype: np.dtype[Any]) -> Any:
    """Return a result in the dtype of the operands: integers were computed in floating point."""
    return as_dtype(x if dtype.kind == "f" else np.round(x), dtype)
