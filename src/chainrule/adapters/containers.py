"""Containers of arrays: dicts, lists and tuples, in which arguments, caches and gradients come."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Spelling = Callable[[str, Any], str]  # name of a container, key -> name of what is in it


def dotted(prefix: str, key: Any) -> str:
    """Return ``layer.W`` for a key that is a string, ``h[0]`` for an index."""
    if isinstance(key, str):
        return f"{prefix}.{key}" if prefix else key
    return f"{prefix}[{key!r}]"


def mapped(nest: Any, function: Callable[[str, Any], Any], prefix: str = "", spelling: Spelling = dotted) -> Any:
    """Return a container of the same structure, each leaf replaced by ``function(name, leaf)``.

    Parameters
    ----------
    nest
        Dicts, lists and tuples of anything; what is none of them is a leaf.
    function : callable
        Name and leaf -> what replaces it.
    prefix : str
        The name of `nest` itself.
    spelling : callable
        How names are put together; `dotted` by default.
    """
    if isinstance(nest, Mapping):
        found = {key: mapped(value, function, spelling(prefix, key), spelling) for key, value in nest.items()}
        if type(nest) is dict:
            return found
        try:
            return type(nest)(found)  # type: ignore[call-arg]
        except TypeError:
            return found
    if isinstance(nest, list | tuple):
        parts = [mapped(value, function, spelling(prefix, i), spelling) for i, value in enumerate(nest)]
        if isinstance(nest, list):
            return parts
        return type(nest)(*parts) if hasattr(nest, "_fields") else tuple(parts)
    return function(prefix, nest)


def named_leaves(nest: Any, prefix: str = "", spelling: Spelling = dotted) -> dict[str, Any]:
    """Return the leaves of a container by name: ``W1``, ``h[0]``, ``layer.W``."""
    found: dict[str, Any] = {}
    mapped(nest, found.__setitem__, prefix, spelling)
    return found


def is_number_array(x: Any) -> bool:
    """Whether `x` is an array of real numbers."""
    return isinstance(x, np.ndarray) and x.dtype.kind in "fiub"


def is_float_array(x: Any) -> bool:
    """Whether `x` is an array of floating-point numbers."""
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def as_arrays(nest: Any) -> Any:
    """Return a container with the same numbers, whose arrays are NumPy's."""

    def leaf(name: str, value: Any) -> Any:
        of_another_library = hasattr(value, "__array__") and not isinstance(value, np.ndarray | np.generic)
        return np.asarray(value) if of_another_library or isinstance(value, np.floating) else value

    if isinstance(nest, list | tuple) and nest and all(isinstance(v, int | float | list | tuple) for v in nest):
        with contextlib.suppress(ValueError):  # rows of several lengths
            if is_number_array(array := np.asarray(nest)):
                return array
    return mapped(nest, leaf)


def as_kind_of(old: Any, new: Any) -> Any:
    """Return an array as one of the subclass that `old` is of, other values unchanged."""
    both = isinstance(old, np.ndarray) and isinstance(new, np.ndarray)
    return new.view(type(old)) if both and type(old) is not np.ndarray else new


def output_and_cache(result: Any, takes_cache: bool) -> tuple[Any, Any]:
    """Return the output and the cache among what a forward pass returned, which may have a state behind them."""
    if not isinstance(result, tuple) or not result:
        return result, None
    if takes_cache and len(result) == 2:
        return result[0], result[1]
    held = [r for r in result[1:] if isinstance(r, tuple | list | Mapping)]
    return result[0], held[0] if takes_cache and len(held) == 1 else None


class Arguments:
    """Arguments by name, and the arrays in them by their own names: ``x``, ``layers[0].W``.

    Parameters
    ----------
    parts : dict
        Name of an argument -> an array or a container of them.
    unnamed : str, optional
        The argument whose arrays are called by their keys alone: ``W1`` instead of ``parameters.W1``.
    """

    def __init__(self, parts: Mapping[str, Any], unnamed: str | None = None) -> None:
        self._parts = {name: as_arrays(x) for name, x in parts.items()}
        self._unnamed = unnamed

    def leaves(self, *names: str) -> dict[str, Any]:
        """Return the arrays in the arguments called `names`, or in all of them, by name."""
        found: dict[str, Any] = {}
        for name in names or self._parts:
            found.update(named_leaves(self._parts[name], "" if name == self._unnamed else name))
        return found

    def part(self, name: str, values: Mapping[str, Any]) -> Any:
        """Return an argument with its arrays replaced by `values`; subclasses of arrays stay what they are."""
        prefix = "" if name == self._unnamed else name
        return mapped(self._parts[name], lambda path, old: as_kind_of(old, values[path]), prefix)

    def parts(self, values: Mapping[str, Any]) -> list[Any]:
        """Return all arguments with their arrays replaced by `values`."""
        return [self.part(name, values) for name in self._parts]
