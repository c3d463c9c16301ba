"""What a cotangent is a multiple of: ``norm(x) * norm(x)`` is smooth at the origin, though the norm is not.

Its derivative is 2 norm(x) x / norm(x), which a second derivative must see as 2 x: at x = 0, where the quotient is not
defined, only a convention could replace it. So the rules of norms look for their own result among the factors of the
cotangent.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.node import FUNCTIONS
from ..core.tensor import Tensor, latest

_DEPTH = 8
_PASSING = (np.multiply, np.divide, np.negative, np.add, np.subtract, np.where)


def exact_quotient(g: Any, out: Any, depth: int = _DEPTH) -> Any:
    """Return ``g / out`` if `g` was computed as a multiple of `out`, else None.

    Parameters
    ----------
    g : array or Tensor
        A cotangent; of an array it is not known how it was computed.
    out : array or Tensor
    depth : int
        How many operations to look into.
    """
    if not isinstance(g, Tensor) or not isinstance(out, Tensor) or depth == 0:
        return None
    g = latest(g)
    if _same(g, out, _DEPTH):
        return np.ones((), out.dtype)
    if g.op is None:
        is_zero = g.value is not None and not g.recordings and not g.value.any()  # a recorded zero may be varied
        return np.zeros((), out.dtype) if is_zero else None
    function, inputs = g.op.numpy, g.inputs
    if function not in _PASSING:
        return None
    parts = [exact_quotient(x, out, depth - 1) for x in inputs]
    if function is np.multiply:
        k = next((k for k, part in enumerate(parts) if part is not None), None)
        return None if k is None else parts[k] * inputs[1 - k]
    if function is np.divide:
        parts[1] = inputs[1]
    elif function is np.where:
        parts[0] = inputs[0]
    return None if any(part is None for part in parts) else FUNCTIONS[function](*parts)


def _same(a: Any, b: Any, depth: int) -> bool:
    """Whether two nodes are the same operations on the same leaves."""
    a, b = latest(a), latest(b)
    if a is b:
        return True
    if a.op is None and b.op is None and not a.recordings and not b.recordings:
        return bool(a.shape == b.shape == () and a.value is not None and a.value == b.value)
    if depth == 0 or a.op is None or a.op is not b.op or a.shape != b.shape:
        return False
    try:
        hash(tuple(a.attrs.values()))  # arrays cannot be hashed, nor simply compared
    except TypeError:
        return False
    return a.attrs == b.attrs and all(_same(x, y, depth - 1) for x, y in zip(a.inputs, b.inputs, strict=True))
