"""Arrays as input: NumPy's, other libraries' and lists, read as arrays of a dtype that the library computes with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .op import Array

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_FLOAT32, _FLOAT64 = FLOATS


def checked_array(x: Any, argument: str) -> Array:
    """Return `x` as an array of a dtype the library computes with; raise naming `argument` otherwise."""
    array = as_array(x, argument)
    if array.dtype is _FLOAT32 or array.dtype is _FLOAT64:
        return array
    kind = array.dtype.kind
    if kind == "f":
        native = array.dtype.newbyteorder("=")
        if native in FLOATS:
            return array.astype(native, copy=False)
        raise TypeError(f"{argument}: expected dtype float32 or float64, got {array.dtype}; use x.astype(np.float32)")
    if kind in "biu":
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    if kind == "c":
        raise TypeError(
            f"{argument} is complex ({array.dtype}); the library differentiates real numbers: float32 or float64"
        )
    remedy = _remedy(x)
    if not remedy and array.dtype == object and array.ndim == 0:
        remedy = "; arrays in an object are passed as a dict, list, tuple, named tuple or dataclass of them"
    raise TypeError(f"{argument} is {_described(x, array)}, not an array of real numbers{remedy}")


def as_array(x: Any, argument: str) -> Array:
    """Return `x` as an array, sharing memory where possible; raise naming `argument` when it cannot be read.

    Arrays of other libraries are read through ``__array__`` or DLPack, if they lie in the CPU's memory.
    """
    if type(x) is np.ndarray:
        return x
    if isinstance(x, np.matrix):
        raise TypeError(f"{argument} is a numpy.matrix, for which * is the matrix product; use np.asarray(x), and @")
    if isinstance(x, np.ndarray) and np.any(getattr(x, "mask", False)):
        raise ValueError(
            f"{argument} is a masked array with {int(np.sum(x.mask)):,} masked values, and its mask would be lost; use "  # type: ignore[attr-defined]
            "x.filled(…) or remove these rows"
        )
    try:
        if hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
            return np.from_dlpack(x)
        return np.asarray(x)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        if hasattr(x, "detached"):  # one of our tensors; its error says what to do
            raise
        remedy = _remedy(x)
        kind = ValueError if isinstance(error, ValueError) else TypeError
        if isinstance(x, list | tuple):
            raise kind(f"{argument} cannot be read as an array: {error}") from None
        raise kind(f"{argument} is {_described(x)}, which cannot be read as an array{remedy or f': {error}'}") from None


def is_finite(array: Array) -> bool:
    """Whether all elements of an array of real numbers are finite."""
    flat = array.ravel("K")
    # the sum of squares takes one pass; where it overflows, the elements decide
    return math.isfinite(flat.dot(flat)) or bool(np.isfinite(flat).all())


def _described(x: Any, array: Array | None = None) -> str:
    dtype = getattr(x, "dtype", None) if array is None else array.dtype
    module = type(x).__module__.partition(".")[0]
    name = type(x).__name__ if module in ("builtins", "numpy", "__main__") else f"{module}'s {type(x).__name__}"
    return f"of type {name}" + (f" (dtype {dtype})" if dtype is not None else "")


def _remedy(x: Any) -> str:
    """Return how to convert an array of another library that NumPy cannot read."""
    if getattr(getattr(x, "dtype", None), "names", None):
        return "; pass a dict of its columns: {name: x[name] for name in x.dtype.names}"
    steps = ""
    device = str(getattr(x, "device", "cpu"))
    if getattr(x, "requires_grad", False):
        steps += ".detach()"
    if getattr(x, "is_sparse", False) or "sparse" in str(getattr(x, "layout", "")):
        steps += ".to_dense()"
    elif callable(getattr(x, "toarray", None)):
        steps += ".toarray()"
    if not device.lower().startswith(("cpu", "tfrt_cpu")):
        steps += ".cpu()"
    if "bfloat16" in str(getattr(x, "dtype", "")):
        steps += ".float()" if hasattr(x, "float") else ".astype('float32')"
    if not steps:
        return ""
    why = " (the gradient would not reach the other library)" if ".detach()" in steps else ""
    return f"; use x{steps}{why}"
