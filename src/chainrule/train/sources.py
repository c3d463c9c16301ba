"""Batches that do not come from whole arrays: iterables, functions that return them, data sets with rows by number."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import nn
from ..core.arrays import as_array
from ..data import Dataset, StoredRows, epoch_order
from ..data import split as split_rows
from .nests import check_ids
from .reading import inputs, targets

#: What arrays, tensors and data frames have, and collections of batches do not.
_OF_ARRAYS = ("shape", "__array__", "__dataframe__", "__arrow_c_stream__", "__dlpack__", "columns")

_PAIR = "expected a pair (X, y) of arrays with examples in rows"


def is_source(x: Any) -> bool:
    """Whether `x` gives batches, or rows by number, and is not an array, a table, or a list of numbers."""
    if isinstance(x, StoredRows):
        return True
    if isinstance(x, Mapping | list | tuple | str | bytes | Dataset | nn.Module):
        return False
    if isinstance(x, type) or any(hasattr(type(x), name) for name in _OF_ARRAYS):
        return False
    return callable(x) or hasattr(x, "__iter__") or _has_rows(x)


def _has_rows(x: Any) -> bool:
    return hasattr(x, "__getitem__") and hasattr(x, "__len__") and not isinstance(x, list | tuple)


class Source:
    """Batches (X, y) of each epoch, as checked arrays.

    Parameters
    ----------
    given
        A data set with ``len`` and rows by number, each a pair (x, y) of one example; an iterable of pairs (X, y) of
        batches; or a function that returns one, of no argument or of the epoch, from 0.
    model : nn.Module
        Whose inputs these are.
    name : str
        For messages.
    batch_size : int or None
        Of a data set; None: all rows.
    shuffle, seed
        Of a data set: whether and in which order each epoch visits the rows.
    loss
        Decides what targets may be.

    Attributes
    ----------
    batches : int or None
        Per epoch, if known.
    once : bool
        Whether it gives its batches only once.
    """

    def __init__(
        self, given: Any, model: nn.Module, name: str, *, batch_size: int | None = None, shuffle: bool = False,
        seed: int = 0, loss: Any = None,
    ) -> None:  # fmt: skip
        self._given, self._model, self._name, self._loss = given, model, name, loss
        self._shuffle, self._seed = shuffle, seed
        self.once = isinstance(given, Iterator)
        self.by_row = _has_rows(given) and not isinstance(given, StoredRows)
        self._rows = np.arange(len(given)) if self.by_row else np.zeros(0, np.int64)
        if self.by_row and not len(self._rows):
            raise ValueError(f"{name} has no rows; expected at least one")
        self._size = batch_size or max(len(self._rows), 1)

    @property
    def batches(self) -> int | None:
        """The number of batches per epoch, if it is known."""
        if self.by_row:
            return -(-len(self._rows) // self._size)
        known = hasattr(self._given, "__len__") and not isinstance(self._given, StoredRows)
        return len(self._given) if known else None

    def split(self, share: float) -> Source:
        """Leave a share of the rows, drawn from the seed, to another source; return it."""
        if not self.by_row:
            raise ValueError(
                f"validation is {share}, but of an iterable no part can be held out; give (X, y), or other batches"
            )
        if not 0 < round(len(self._rows) * share) < len(self._rows):
            raise ValueError(f"validation={share} of {len(self._rows):,} examples leaves a split empty")
        kept, held = split_rows(len(self._rows), share, self._seed)
        other = Source(self._given, self._model, "validation", batch_size=self._size, seed=self._seed, loss=self._loss)
        other._rows, self._rows = self._rows[held], self._rows[kept]
        return other

    def __call__(self, epoch: int = 0) -> Iterator[tuple[Any, Any]]:
        """Yield the batches of an epoch."""
        empty = True
        for i, batch in enumerate(self._raw(epoch)):
            yield self.read(batch, f"{self._name}: batch {i + 1}")
            empty = False
        if empty:
            once = "it gives its batches only once; " if epoch and not callable(self._given) else ""
            raise ValueError(
                f"{self._name} gave no batches in epoch {epoch + 1}: {once}expected pairs (X, y) in each epoch, from a "
                "list, a loader, or a function that returns a new iterator"
            )

    def inputs(self) -> Iterator[Any]:
        """Yield the inputs of the batches, which need not be pairs with targets."""
        for i, batch in enumerate(self._raw(0)):
            x = batch[0] if isinstance(batch, tuple | list) and len(batch) == 2 else batch
            yield self._inputs(x, f"{self._name}: batch {i + 1}")

    def _raw(self, epoch: int) -> Iterable[Any]:
        return self._by_rows(epoch) if self.by_row else self._items(epoch)

    def _items(self, epoch: int) -> Iterable[Any]:
        if not callable(self._given) or hasattr(self._given, "__iter__"):
            return self._given  # type: ignore[no-any-return]
        takes_epoch = any(
            p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
            for p in inspect.signature(self._given).parameters.values()
        )
        found = self._given(epoch) if takes_epoch else self._given()
        if not isinstance(found, Iterable):
            raise TypeError(f"{self._name}(): expected an iterable of pairs (X, y), got a {type(found).__name__}")
        return found

    def _by_rows(self, epoch: int) -> Iterator[Any]:
        order = self._rows[epoch_order(len(self._rows), self._seed, epoch, self._shuffle)]
        for start in range(0, len(order), self._size):
            rows = [self._given[int(i)] for i in order[start : start + self._size]]
            pairs = [isinstance(row, tuple | list) and len(row) == 2 for row in rows]
            yield _stacked([tuple(row) for row in rows] if all(pairs) else rows, f"{self._name}[i]")

    def read(self, batch: Any, where: str = "") -> tuple[Any, Any]:
        """Return a batch as checked arrays."""
        where = where or self._name
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise TypeError(f"{where}: {_PAIR}, got {_found(batch)}")
        X = self._inputs(batch[0], where)
        try:
            check_ids(self._model, X)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        return X, targets(_as_tuple(batch[1]), X, f"{where}: y", "X", self._dtype, self._loss)

    @property
    def _dtype(self) -> Any:
        return self._model.dtype or np.dtype(np.float32)

    def _inputs(self, x: Any, where: str) -> Any:
        return inputs(self._model, _as_tuple(x), f"{where}: X", self._dtype, self._model.feature_names)[0]


def _stacked(parts: list[Any], name: str) -> Any:
    """Return examples, or nests of them, as one array or one nest of arrays."""
    first = parts[0]
    if isinstance(first, dict):
        return {key: _stacked([part[key] for part in parts], f"{name}[{key!r}]") for key in first}
    if isinstance(first, tuple):
        return tuple([_stacked([part[k] for part in parts], f"{name}[{k}]") for k in range(len(first))])
    arrays = [as_array(part, name) for part in parts]
    different = next((a for a in arrays if a.shape != arrays[0].shape), None)
    if different is not None:
        raise ValueError(f"{name} has shapes {arrays[0].shape} and {different.shape}; expected one shape for all rows")
    return np.stack(arrays)


def _as_tuple(part: Any) -> Any:
    """Return a list of arrays, as loaders make of tuples, as a tuple."""
    return tuple(part) if isinstance(part, list) and part and all(hasattr(p, "shape") for p in part) else part


def _found(x: Any) -> str:
    if isinstance(x, tuple | list):
        return f"a {type(x).__name__} of {len(x)} entries"
    return f"an array of shape {tuple(x.shape)}" if hasattr(x, "shape") else f"a {type(x).__name__}"
