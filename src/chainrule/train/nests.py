"""Inputs and targets that are several arrays: tuples and dicts of arrays, with examples in rows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import nn
from ..core.op import Array
from ..core.tree import flatten, paths, tree_map
from ..data.rows import take
from ..nn.functional import evaluation_mode


def called(model: nn.Module, values: Mapping[str, Any], x: Any) -> tuple[Any, dict[str, Any]]:
    """Run the model with other tensors in place of its own: ``functional_call`` with an input, or a nest of inputs."""
    args, kwargs = arguments(model, x)
    return nn.functional_call(model, values, *args, **kwargs)


def arguments(model: nn.Module, x: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of ``forward`` for an input.

    A tuple is several arguments, if `forward` takes as many; a dict is arguments by name, if it has these names. Any
    other nest is one argument.
    """
    if isinstance(x, dict) and takes_names(model, x):
        return (), x
    if isinstance(x, tuple) and _fits(model, *x):
        return x, {}
    return (x,), {}


def takes_names(model: nn.Module, names: Mapping[str, Any]) -> bool:
    """Whether the model's ``forward`` has arguments of these names."""
    return all(isinstance(name, str) for name in names) and _fits(model, **names)


def _fits(model: nn.Module, *args: Any, **kwargs: Any) -> bool:
    try:
        inspect.signature(model.forward).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def is_nest(x: Any) -> bool:
    """Whether an argument is a tuple or a dict of arrays (or of such nests), and not an array in tuples of numbers."""
    if isinstance(x, dict):
        return True
    return isinstance(x, tuple) and bool(x) and all(hasattr(part, "shape") or is_nest(part) for part in x)


def is_inputs(x: Any, model: nn.Module) -> bool:
    """Whether `x` is several inputs of the model: as `is_nest`, but a dict of vectors is the columns of a table.

    Unless ``forward`` has arguments of these names.
    """
    if isinstance(x, dict):
        several = len(x) > 1 and takes_names(model, x)
        return several or any(is_nest(part) or _axes(part) > 1 for part in x.values())
    return is_nest(x)


def _axes(part: Any) -> int:
    try:
        return np.ndim(part)
    except ValueError:  # lists of several lengths: no array
        return 1


def read(nest: Any, name: str, checked: Callable[[Any, str], Array]) -> Any:
    """Return a nest with each of its parts as a checked array; all have the same number of rows."""
    if isinstance(nest, dict):
        found: Any = {key: _part(part, f"{name}[{key!r}]", checked) for key, part in nest.items()}
    else:
        found = tuple([_part(part, f"{name}[{i}]", checked) for i, part in enumerate(nest)])
    leaves, places = flatten(found)[0], paths(found, name)
    if not leaves:
        raise ValueError(f"{name} is an empty {type(nest).__name__}; expected arrays in it")
    for array, place in zip(leaves, places, strict=True):
        if len(array) != len(leaves[0]):
            raise ValueError(f"{place} has {len(array):,} rows, {places[0]} has {len(leaves[0]):,}")
    return found


def _part(part: Any, name: str, checked: Callable[[Any, str], Array]) -> Any:
    return read(part, name, checked) if is_nest(part) else checked(part, name)


def cast(nest: Any, dtype: Any) -> Any:
    """Return the arrays of real numbers in `dtype`, others as they are."""
    return tree_map(lambda a: a.astype(dtype, copy=False) if a.dtype.kind == "f" else a, nest)


def telling_rows(X: Any) -> list[int]:
    """Return the first row; of row numbers to look up, also those with the least and the greatest."""
    rows = [0]
    for a in flatten(X)[0]:
        if a.dtype.kind in "iu" and a.size:
            width = a.size // len(a)
            rows += [int(a.argmin()) // width, int(a.argmax()) // width]
    return rows


def check_ids(model: nn.Module, X: Any) -> None:
    """Raise what the model raises for negative integers, which in a plan are rows counted from the end."""
    if any(a.dtype.kind == "i" and a.size and a.min() < 0 for a in flatten(X)[0]):
        with evaluation_mode(model), np.errstate(all="ignore"):
            called(model, {}, take(X, telling_rows(X)))
