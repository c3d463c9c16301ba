"""What ONNX operators have in common: shapes and axes that are inputs or attributes, element types, settings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from .weights import DTYPES

#: The largest number of elements of a value that is computed from constants alone.
MOST_COMPUTED = 4_000_000
#: Greatest size of a value that depends on the input.
MOST_NUMBERS = 10**9

_DTYPES = tuple(map(np.dtype, DTYPES.values()))


def integers(x: Any, what: str) -> list[int]:
    """Return the integers of a shape, axes or bounds, which must not depend on the inputs of the graph."""
    array = x.concrete(what) if isinstance(x, Tensor) else np.asarray(x)
    return [int(n) for n in np.reshape(array, -1)]


def either(given: Any, attribute: Any, what: str) -> tuple[int, ...] | None:
    """Return integers that are an input in newer operator sets, and an attribute in older ones."""
    if given is None:
        return None if attribute is None else tuple(attribute)
    return tuple(integers(given, what))


def only(**settings: tuple[Any, Any]) -> None:
    """Raise for a setting with another value than the only one that is supported: name=(found, supported)."""
    for name, (found, wanted) in settings.items():
        if found != wanted:
            raise ValueError(f"{name} is {found}; only {wanted} is supported")


def small(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a constant; raise if it is too large."""
    if min(shape, default=0) < 0 or math.prod(shape) > MOST_COMPUTED:
        raise ValueError(f"a constant has shape {shape[:8]}, expected at most {MOST_COMPUTED:,} elements")
    return shape


def dtype_of_type(number: int, what: str) -> np.dtype[Any]:
    """Return the dtype for the number of an ONNX element type; `what` has this type."""
    from onnx import TensorProto, helper

    supported: dict[int, np.dtype[Any]] = {helper.np_dtype_to_tensor_dtype(dtype): dtype for dtype in _DTYPES}
    if number not in supported:
        name = TensorProto.DataType.Name(number) if number in TensorProto.DataType.values() else str(number)
        raise ValueError(f"{what} is of type {name}, expected one of {', '.join(map(str, _DTYPES))}")
    return supported[number]
