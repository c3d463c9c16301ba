"""autograd's ``misc.flatten``: a nest as one vector, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....core.tensor import Tensor
from ....core.tree import flatten as _leaves
from ....core.tree import unflatten as _nest
from ..tracer import plain


def flatten(value: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Return the numbers of a nest of arrays as a vector, and the function that makes the nest of such a vector.

    Dicts are read in the order of their sorted keys, as autograd does.

    Examples
    --------
    >>> from chainrule.compat.autograd.misc import flatten
    >>> vector, unflatten = flatten({"a": 1.0, "b": [2.0, 3.0]})
    >>> vector
    array([1., 2., 3.])
    >>> unflatten(vector)["b"][1] == 3.0
    np.True_
    >>> flatten([{"b": 1.0, "a": 2.0}])[0]
    array([2., 1.])
    """
    leaves, structure = _leaves(_sorted(value))
    arrays = [x if isinstance(x, Tensor) else np.asarray(x) for x in leaves]
    ends = np.cumsum([x.size for x in arrays], dtype=int)

    def unflatten(vector: Any) -> Any:
        parts = [plain(np.reshape(vector[e - x.size : e], x.shape)) for x, e in zip(arrays, ends, strict=True)]
        return _nest(structure, parts)

    return np.concatenate([np.ravel(x) for x in arrays]) if arrays else np.zeros(0), unflatten


def flatten_func(func: Callable[..., Any], example: Any) -> tuple[Callable[..., Any], Callable[[Any], Any], Any]:
    """Return `func` of a nest as a function of a vector to a vector, with what makes the nest, and the example."""
    vector, unflatten = flatten(example)
    return lambda x, *args: flatten(func(unflatten(x), *args))[0], unflatten, vector


def _sorted(value: Any) -> Any:
    """Return the nest with the keys of its dicts in order."""
    if type(value) is dict:
        return {key: _sorted(value[key]) for key in sorted(value)}
    return type(value)(map(_sorted, value)) if type(value) in (list, tuple) else value
