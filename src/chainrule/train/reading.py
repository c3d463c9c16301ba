"""Reading what a caller gives as inputs and targets: checked arrays, and nests of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import nn
from ..core.arrays import checked_array
from ..core.op import Array
from ..core.tree import flatten
from ..data import Dataset
from ..frames import as_inputs, target_array
from .nests import is_inputs, is_nest, read


def inputs(
    model: nn.Module, X: Any, name: str, dtype: Any, names: Sequence[str] | None = None, *, keep: bool = False
) -> tuple[Any, tuple[str, ...] | None]:
    """Return inputs of a model as a checked array or nest of arrays, and the names of a table's columns.

    Of a table the columns called `names` are taken; with `keep` they only give the order.
    """
    if is_inputs(X, model):
        return read(X, name, lambda part, place: checked_input(part, place, dtype)), None
    if isinstance(X, Dataset):
        checked_input(X, name)
    X, found = as_inputs(X, name, familiar=names) if keep else as_inputs(X, name, names)
    return checked_input(X, name, dtype, found), found


def targets(y: Any, X: Any, name: str = "y", of: str = "X", dtype: Any = None, loss: Any = None) -> Any:
    """Return targets as a checked array or nest of arrays, with as many rows as the inputs.

    A dict is a table of targets if the loss, known by its name, takes one array.
    """
    first = flatten(X)[0][0]
    if is_nest(y) and not (isinstance(y, dict) and isinstance(loss, str)):
        return read(y, name, lambda part, place: checked_target(part, first, place, of, dtype))
    return checked_target(y, first, name, of, dtype)


def checked_input(X: Any, name: str, dtype: Any = None, names: Sequence[str] | None = None) -> Array:
    """Return `X` as an array with rows and finite numbers, real ones in `dtype`; raise saying what is wrong.

    Of a data frame the columns called `names` are taken, in this order.
    """
    if isinstance(X, Dataset):
        raise TypeError(
            f"{name}: expected numbers, got a Dataset; use prepared = data.Preprocessor.fit(train), "
            "then prepared.transform(…) and prepared.transform_target(…)"
        )
    X, _ = as_inputs(X, name, names)
    X = checked_array(X, name)
    if X.ndim == 0 or X.shape[0] == 0:
        raise ValueError(f"{name} has shape {X.shape}: no examples; expected at least one row, (m, …)")
    return require_finite(X, name, dtype, names)


def require_finite(x: Array, name: str, dtype: Any = None, names: Sequence[str] | None = None) -> Array:
    """Return `x`, real numbers in `dtype`; raise unless all are finite there, saying how many are not and where."""
    if x.dtype.kind != "f":
        return x
    with np.errstate(all="ignore"):
        cast = x if dtype is None or x.dtype == dtype else x.astype(dtype)
        if np.isfinite(cast.sum(dtype=np.float64)):  # the sum finds any, at the cost of one pass
            return cast
    bad = ~np.isfinite(cast)
    count = int(bad.sum())
    if count:
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        those = f"{count:,} value{'s' * (count > 1)} that {'are' if count > 1 else 'is'} not finite"
        place = f"at {list(first)}"
        if names is not None and len(first) == 2 and first[1] < len(names):
            place = f"in column {names[first[1]]!r} at row {first[0]}"
        if np.isfinite(x[first]):
            raise ValueError(f"{name} holds {those} in {cast.dtype}, the first {x[first]} {place}; scale the data")
        raise ValueError(f"{name} holds {those}, the first {x[first]} {place}; impute or remove them first")
    return cast


def checked_target(y: Any, X: Array, name: str = "y", inputs: str = "X", dtype: Any = None) -> Array:
    """Return `y` as an array with as many rows as `X`, real ones in `dtype`."""
    y = target_array(y, name)
    if y.ndim == 0 or y.shape[0] != len(X):
        raise ValueError(f"{name} has shape {y.shape}, {inputs} has {len(X):,} rows; expected one target per example")
    return require_finite(y, name, dtype)
