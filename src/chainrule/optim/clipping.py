"""Gradient clipping: pure functions of nests of gradients, arrays or tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.arguments import number
from ..core.tree import flatten, tree_map
from ..ops.table import as_dtype


def global_norm(gradients: Any) -> Any:
    """Return sqrt(Σ g²) over all elements of all gradients of a nest, float64.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import optim
    >>> float(optim.global_norm({"w": np.array([3.0, 0.0]), "b": np.array([4.0])}))
    5.0
    """
    leaves, _ = flatten(gradients)
    total: Any = np.float64(0.0)
    for g in leaves:
        total = total + as_dtype(np.sum(np.square(g)), np.float64)
    return np.sqrt(total)


def clip_by_norm(gradients: Any, limit: float) -> Any:
    """Scale all gradients by min(1, limit / global norm), which preserves their direction.

    Source: Pascanu et al., "On the difficulty of training recurrent neural networks", 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import optim
    >>> optim.clip_by_norm([np.array([3.0, 4.0])], 1.0)
    [array([0.6, 0.8])]
    """
    number("limit", limit, above=0)
    # avoids a division by a norm of 0: any norm up to the limit gives exactly 1
    scale = limit / np.maximum(global_norm(gradients), limit)
    return tree_map(lambda g: g * as_dtype(scale, g.dtype), gradients)


def clip_by_value(gradients: Any, limit: float) -> Any:
    """Limit every element to [-limit, limit].

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import optim
    >>> optim.clip_by_value([np.array([3.0, -0.5])], 1.0)
    [array([ 1. , -0.5])]
    """
    number("limit", limit, above=0)
    return tree_map(lambda g: np.clip(g, -limit, limit), gradients)
