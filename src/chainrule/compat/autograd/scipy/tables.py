"""SciPy's modules with the functions that the operation table has in place of SciPy's where a tensor is given."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from ....core.node import FUNCTIONS
from ....core.tensor import Tensor
from ..numpy.namespaces import namespace


def functions_of(name: str) -> dict[str, Any]:
    """Return the contents of a module of SciPy, such as ``scipy.special``, for tensors, too."""
    names = namespace(importlib.import_module(name))
    start = f"{name}."
    ours = {
        key.removeprefix(start): f for key, f in FUNCTIONS.items() if isinstance(key, str) and key.startswith(start)
    }
    return names | {key: _chosen(names[key], f) if key in names else f for key, f in ours.items()}


def _chosen(theirs: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(theirs, updated=())
    def function(*args: Any, **kwargs: Any) -> Any:
        return (ours if any(isinstance(x, Tensor) for x in args) else theirs)(*args, **kwargs)

    return function
