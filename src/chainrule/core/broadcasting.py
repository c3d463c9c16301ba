"""Sums over the axes along which an array was broadcast."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .op import Shape

_add: Any = np.add  # NumPy's annotations of reduce do not accept a variable as keepdims


def unbroadcast(g: Any, shape: Shape) -> Any:
    """Sum `g` over the axes along which `shape` was broadcast to the shape of `g`.

    Examples
    --------
    >>> import numpy as np
    >>> unbroadcast(np.ones((3, 2)), (2,))
    array([3., 3.])
    """
    have = tuple(g.shape)
    if have == shape:
        return g
    lead = len(have) - len(shape)
    if lead > 0 and have[lead:] == shape:  # a bias, the common case
        return _add.reduce(g, axis=tuple(range(lead)))
    if lead < 0:
        return np.broadcast_to(g, shape)
    axes = tuple(i for i, d in enumerate(have) if i < lead or (shape[i - lead] == 1 and d != 1))
    if axes:
        g = _add.reduce(g, axis=axes, keepdims=lead == 0)
    if tuple(g.shape) != shape:
        size_one = math.prod(g.shape) == math.prod(shape)
        g = np.reshape(g, shape) if size_one else np.broadcast_to(g, shape)
    return g
