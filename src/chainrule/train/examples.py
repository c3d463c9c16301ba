"""The examples of a run as a caller gave them: in memory, or batches; with the validation split and weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import nn
from ..core.habits import LOADER
from ..core.op import Array
from ..data import ArrayRows, StoredRows, epoch_order, split
from ..data.rows import length, take
from ..data.stored import blocks
from .evaluation import ROWS
from .feed import Feed, Rows, Stream
from .reading import inputs, targets
from .sources import Source, is_source
from .stored_feed import StoredFeed
from .weights import WeightedTargets, checked_weights

#: Bytes of a memory-mapped array from which its rows are read in blocks.
LARGE_BYTES = 1 << 30


@dataclass(frozen=True)
class Visits:
    """How the examples are visited."""

    loss: Any
    epochs: int
    batch_size: int | None
    shuffle: bool
    seed: int
    accumulate: int
    validation: Any
    sample_weight: Any


@dataclass(frozen=True)
class Examples:
    """Checked examples.

    Attributes
    ----------
    feed : Feed
    shown : (X, y)
        All examples, or a first batch.
    rows : array or None
        The rows of these to train on; None for batches.
    held_out : (X, y), Source or None
        The validation split.
    names : tuple of str or None
        Of columns.
    weights, packed : WeightedTargets or None, targets or None
        With sample weights, how targets and weights lie together.
    """

    feed: Feed
    shown: tuple[Any, Any]
    rows: Array | None
    held_out: Any
    names: tuple[str, ...] | None = None
    weights: WeightedTargets | None = None
    packed: Any = None


def of_arrays(model: nn.Module, X: Any, y: Any, plan: Visits) -> Examples:
    """Read examples that are in memory."""
    if _is_large(X) and plan.sample_weight is None and isinstance(y, np.ndarray):
        return of_stored(model, ArrayRows(X, y), plan)
    if is_source(X) or isinstance(y, Iterator):
        raise TypeError(f"y is of type {type(y).__name__}, X of type {type(X).__name__}; {LOADER}")
    dtype = model.dtype or np.dtype(np.float32)
    X, names = inputs(model, X, "X", dtype, model.feature_names, keep=True)
    y = targets(y, X, dtype=dtype, loss=plan.loss)
    weights = None if plan.sample_weight is None else checked_weights(plan.sample_weight, length(X))
    rows, held_out = _parts(model, X, y, plan, names)
    together, packed = None, None
    if weights is not None:
        rows = _with_weight(rows, weights)
        together = WeightedTargets(y)
        packed = together.pack(y, weights, dtype)
    size = min(plan.batch_size or len(rows), len(rows))
    order = _order(rows, plan.seed, plan.shuffle)
    feed = Rows(X, y if packed is None else packed, len(rows), size, order, plan.accumulate)
    return Examples(feed, (X, y), rows, held_out, names, together, packed)


def _is_large(X: Any) -> bool:
    """Whether an array is in a file, and larger than what is read into memory without being asked to."""
    return isinstance(X, np.memmap) and X.nbytes > LARGE_BYTES


def _order(rows: Array, seed: int, shuffle: bool) -> Callable[[int], Array]:
    return lambda epoch: rows[epoch_order(len(rows), seed, epoch, shuffle)]


def of_stored(model: nn.Module, rows: StoredRows, plan: Visits) -> Examples:
    """Read the first block of rows that stay on disk."""
    if plan.sample_weight is not None:
        raise ValueError("sample_weight: expected None with rows on disk; give whole arrays, or weigh in the loss")
    share, held_out = plan.validation, None
    if isinstance(share, int | float) and not isinstance(share, bool):
        if share:
            rows, held = rows.split(share, plan.seed)
            held_out = Source(held, model, "validation", loss=plan.loss)
    elif share is not None:
        held_out = _held_out(model, share, None, plan)
    source = Source(rows, model, "X", loss=plan.loss)
    size = min(plan.batch_size or len(rows), len(rows))

    def of_epoch(epoch: int) -> Iterator[tuple[Any, Any, Array]]:
        return blocks(rows, plan.seed, epoch, plan.shuffle, size * plan.accumulate, source.read)

    feed = StoredFeed(of_epoch, len(rows), size, plan.accumulate)
    return Examples(feed, feed.shown, None, held_out)


def of_batches(model: nn.Module, X: Any, y: Any, plan: Visits) -> Examples:
    """Read the first of batches that are given one after the other."""
    if isinstance(X, StoredRows):
        return of_stored(model, X, plan)
    if not is_source(X) and not isinstance(X, list | tuple):
        raise TypeError(f"y is None, X is of type {type(X).__name__}; {LOADER}")
    if plan.sample_weight is not None:
        raise ValueError("sample_weight: expected None with batches; give whole arrays, or weigh in the loss")
    source = Source(X, model, "X", batch_size=plan.batch_size, shuffle=plan.shuffle, seed=plan.seed, loss=plan.loss)
    if source.once and plan.epochs > 1:
        raise ValueError(
            f"X is a {type(X).__name__}, which gives its batches only once, and epochs is {plan.epochs}; use a "
            "function that returns a new one, or epochs=1"
        )
    share, held_out = plan.validation, None
    if isinstance(share, int | float) and not isinstance(share, bool):
        held_out = source.split(share) if share else None
    elif share is not None:
        held_out = _held_out(model, share, None, plan)
    feed = Stream(source, source.batches, plan.accumulate, ahead=not isinstance(X, list | tuple))
    assert feed.ahead is not None
    return Examples(feed, feed.ahead, None, held_out)


def _parts(model: nn.Module, X: Any, y: Any, plan: Visits, names: tuple[str, ...] | None) -> tuple[Array, Any]:
    """Return the rows to train on, and the validation data."""
    share, count = plan.validation, length(X)
    everything = np.arange(count)
    if share is None:
        return everything, None
    if isinstance(share, tuple | list) or is_source(share):
        held = _held_out(model, share, names, plan)
        if isinstance(held, tuple) and hasattr(X, "shape") and held[0].shape[1:] != X.shape[1:]:
            raise ValueError(
                f"validation[0] has shape {held[0].shape}, X has {X.shape}; all axes but the first must be equal"
            )
        return everything, held
    if isinstance(share, bool) or not isinstance(share, int | float | np.number):
        raise TypeError(f"validation is a {type(share).__name__}; {_HELD}")
    if share == 0:
        return everything, None
    if not 0 < share < 1:
        raise ValueError(f"validation is {share}; expected a fraction between 0 and 1, such as 0.1, or (X, y)")
    if not 0 < round(count * float(share)) < count:
        raise ValueError(
            f"validation={share} of {count:,} examples leaves a split empty; use another fraction or (X, y)"
        )
    train, held_rows = split(count, float(share), plan.seed)
    return train, (take(X, held_rows), take(y, held_rows))


_HELD = "expected a fraction between 0 and 1, or (X, y)"


def _held_out(model: nn.Module, given: Any, names: tuple[str, ...] | None, plan: Visits) -> Any:
    """Return separate validation data: (X, y), or batches."""
    if is_source(given):
        if isinstance(given, Iterator):
            raise TypeError(
                f"validation is a {type(given).__name__}, which gives its batches only once; give (X, y), a loader, or "
                "a function that returns a new iterator"
            )
        return Source(given, model, "validation", batch_size=ROWS, loss=plan.loss)
    if not isinstance(given, tuple | list):
        raise TypeError(f"validation is a {type(given).__name__}; {_HELD}")
    if len(given) != 2:
        raise ValueError(f"validation has {len(given)} entries; {_HELD}")
    dtype = model.dtype or np.dtype(np.float32)
    X, _ = inputs(model, given[0], "validation[0]", dtype, names)
    return X, targets(given[1], X, "validation[1]", "validation[0]", dtype, plan.loss)


def _with_weight(rows: Array, weights: Array) -> Array:
    """Return the rows whose weight is above 0."""
    kept: Array = rows[weights[rows] > 0]
    if not len(kept):
        raise ValueError(
            f"sample_weight is zero for all {len(rows):,} examples to train on; use another validation split"
        )
    return kept
