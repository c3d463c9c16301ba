"""Nests of arrays: dicts, lists and tuples, as caches and parameters come in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def named_leaves(nest: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of a nest of dicts, lists and tuples by name: ``W1``, ``h[0]``, ``layer.W``."""
    found: dict[str, Any] = {}
    if isinstance(nest, Mapping):
        for key, value in nest.items():
            plain = isinstance(key, str)
            name = (f"{prefix}.{key}" if prefix else key) if plain else f"{prefix}[{key!r}]"
            found.update(named_leaves(value, name))
    elif isinstance(nest, list | tuple):
        for i, value in enumerate(nest):
            found.update(named_leaves(value, f"{prefix}[{i}]"))
    else:
        found[prefix] = nest
    return found


def mapped(nest: Any, function: Callable[[str, Any], Any], prefix: str = "") -> Any:
    """Return a nest of the same structure, each leaf replaced by ``function(name, leaf)``."""
    if isinstance(nest, Mapping):
        out = {}
        for key, value in nest.items():
            name = (f"{prefix}.{key}" if prefix else key) if isinstance(key, str) else f"{prefix}[{key!r}]"
            out[key] = mapped(value, function, name)
        return out if type(nest) is dict else _same_type(nest, out)
    if isinstance(nest, list):
        return [mapped(v, function, f"{prefix}[{i}]") for i, v in enumerate(nest)]
    if isinstance(nest, tuple):
        parts = [mapped(v, function, f"{prefix}[{i}]") for i, v in enumerate(nest)]
        return type(nest)(*parts) if hasattr(nest, "_fields") else tuple(parts)
    return function(prefix, nest)


def _same_type(nest: Any, out: dict[Any, Any]) -> Any:
    try:
        return type(nest)(out)
    except TypeError:
        return out


def is_number_array(x: Any) -> bool:
    """Whether `x` is an array of real numbers."""
    return isinstance(x, np.ndarray) and x.dtype.kind in "fiub"


def as_arrays(nest: Any) -> Any:
    """Return a nest whose numbers stay as they are and whose arrays are NumPy's."""

    def leaf(name: str, value: Any) -> Any:
        if isinstance(value, np.ndarray) or isinstance(value, bool | int | float | str) or value is None:
            return value
        if isinstance(value, np.floating):
            return np.asarray(value)
        if hasattr(value, "__array__") and not np.isscalar(value):
            return np.asarray(value)
        return value

    if isinstance(nest, list | tuple) and nest and all(isinstance(v, int | float | list | tuple) for v in nest):
        with_numbers = np.asarray(nest) if _rectangular(nest) else None
        if with_numbers is not None and with_numbers.dtype.kind in "fiub":
            return with_numbers
    return mapped(nest, leaf)


def _rectangular(nest: Any) -> bool:
    try:
        np.asarray(nest)
    except ValueError:
        return False
    return True
