"""NumPy's namespaces with functions that also take lists of tensors: ``np.mean([a, b])``."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from ....core.tensor import Tensor

#: Functions whose first argument is a sequence of arrays, not an array.
SEQUENCES = {
    np.block, np.broadcast_shapes, np.choose, np.column_stack, np.concat, np.concatenate, np.dstack, np.hstack,
    np.linalg.multi_dot, np.piecewise, np.select, np.stack, np.vstack,
    getattr(np, "row_stack", np.vstack),
}  # fmt: skip


def holds_tensor(x: Any) -> bool:
    """Whether a nest of lists and tuples holds a tensor."""
    for item in x:
        kind = type(item)
        if kind is Tensor or ((kind is list or kind is tuple) and holds_tensor(item)):
            return True
    return False


def joined(x: Any) -> Any:
    """Return nested lists and tuples that hold tensors as one tensor; anything else as it is."""
    if not isinstance(x, list | tuple) or not holds_tensor(x):
        return x
    made = [joined(item) for item in x]
    return np.stack([item if isinstance(item, Tensor) else np.asarray(item) for item in made])


def taking_lists(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a NumPy function that joins lists of tensors among its positional arguments."""
    elements = function in SEQUENCES

    @functools.wraps(function, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        for x in args:
            if (type(x) is list or type(x) is tuple) and holds_tensor(x):
                if elements:
                    args = tuple([[joined(e) for e in x] if isinstance(x, list | tuple) else x for x in args])
                else:
                    args = tuple([joined(x) for x in args])
                break
        return function(*args, **kwargs)

    return wrapped


def namespace(module: types.ModuleType) -> dict[str, Any]:
    """Return the public names of a module of NumPy or SciPy; functions take lists of tensors, too."""
    names = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return {
        name: value if isinstance(value, type | types.ModuleType) or not callable(value) else taking_lists(value)
        for name, value in names.items()
    }
