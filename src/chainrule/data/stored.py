"""Rows that stay on disk: read in pieces, shuffled in blocks that fit into memory."""

import math
import mmap
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.arguments import integer, number
from ..core.tree import flatten
from .rows import joined, length, take
from .splits import epoch_order

Array = NDArray[Any]
Part = tuple[Any, Any]

#: Rows that are read, checked and transformed at a time, at most, and their bytes.
PART_ROWS, PART_BYTES = 16384, 8 * 1024 * 1024
#: Rows that preprocessing is fitted to take so many bytes, at most.
SAMPLE_BYTES = 128 * 1024 * 1024
#: Bytes of the rows that are shuffled together.
BLOCK_BYTES = 64 * 1024 * 1024
#: Pieces from which the rows of one block come.
PLACES = 8


def part_rows(width: float) -> int:
    """Return how many rows of so many bytes each are read at a time."""
    return max(1, min(PART_ROWS, int(PART_BYTES / max(width, 1))))


class StoredRows(ABC):
    """Inputs and targets on disk, in pieces of which one or a few are in memory at a time.

    A subclass says how many rows each piece has, and reads one. ``fit``, ``evaluate`` and ``predict`` take such an
    object in place of arrays; iterating over it gives all rows in order, in parts ``(X, y)``.

    Parameters
    ----------
    block_bytes : int
        How much memory the rows take that are shuffled together. Of such blocks three exist at a time: one from which
        batches are taken, one that is ready, and one that is being read.

    Notes
    -----
    An epoch visits the pieces in a random order, and reads parts of 8 pieces by turns. Their rows fill a block, within
    which the order is random. So a batch is a random sample of its block, and a block one of 8 places in the data: if
    the data are sorted, batches are less mixed than those of arrays in memory. Smaller pieces and larger blocks help.
    The order depends on the seed, the epoch, the pieces and `block_bytes` alone.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> X = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)
    >>> rows = cr.data.ArrayRows(X, X.sum(axis=1, keepdims=True))
    >>> len(rows), [len(x) for x, y in rows]
    (1000, [1000])
    >>> history = cr.fit(cr.nn.Linear(3, 1), rows, loss="mse", epochs=3, progress=False)
    >>> history["loss"][-1] < history["loss"][0]
    True
    """

    def __init__(self, *, block_bytes: int = BLOCK_BYTES) -> None:
        self.block_bytes = integer("block_bytes", block_bytes, at_least=1)

    @property
    @abstractmethod
    def pieces(self) -> Sequence[int]:
        """The number of rows of each piece."""

    @abstractmethod
    def read(self, piece: int) -> Iterator[Part]:
        """Yield the rows of a piece in order, in parts (X, y) of at most 16,384 rows; y is None without target."""

    def __len__(self) -> int:
        return int(sum(self.pieces))

    def __iter__(self) -> Iterator[Part]:
        for piece in range(len(self.pieces)):
            yield from self.read(piece)

    def split(self, share: float, seed: int = 0) -> "tuple[StoredRows, StoredRows]":
        """Return the rows without a random share of them, and these; both still on disk.

        Examples
        --------
        >>> import numpy as np
        >>> from chainrule import data
        >>> rest, held = data.ArrayRows(np.zeros((1000, 2)), np.zeros(1000)).split(0.1)
        >>> len(rest) + len(held), 60 < len(held) < 140
        (1000, True)
        """
        share, seed = number("share", share, above=0, below=1), integer("seed", seed, at_least=0)
        return Selected(self, share, seed, held=False), Selected(self, share, seed, held=True)


class Selected(StoredRows):
    """Some rows of others: those that a random number picks for each row, or the rest."""

    def __init__(self, rows: StoredRows, share: float, seed: int, *, held: bool) -> None:
        super().__init__(block_bytes=rows.block_bytes)
        self._rows, self._share, self._seed, self._held = rows, share, seed, held
        self._pieces = [int(self._picked(i).sum()) for i in range(len(rows.pieces))]
        if not sum(self._pieces):
            which = "held-out" if held else "remaining"
            raise ValueError(f"share={share:g} of {len(rows):,} rows leaves the {which} part empty")

    @property
    def pieces(self) -> Sequence[int]:
        """The number of rows of each piece."""
        return self._pieces

    def read(self, piece: int) -> Iterator[Part]:
        """Yield the rows of a piece that are picked."""
        mask, start = self._picked(piece), 0
        for X, y in self._rows.read(piece):
            here = mask[start : start + length(X)]
            start += len(here)
            if here.any():
                yield take(X, here), None if y is None else take(y, here)

    def _picked(self, piece: int) -> NDArray[np.bool_]:
        mask = picked(self._rows.pieces[piece], piece, self._share, self._seed)
        return mask if self._held else ~mask


def picked(count: int, piece: int, share: float, seed: int) -> NDArray[np.bool_]:
    """Return which rows of a piece are held out: each with the probability `share`."""
    # A stream of its own for each piece, different from those of orders.
    draws = np.random.Philox(np.random.SeedSequence(seed, spawn_key=(piece, 1))).random_raw(count)
    found: NDArray[np.bool_] = draws < np.uint64(share * 2.0**64)
    return found


class ArrayRows(StoredRows):
    """Arrays, usually memory-mapped files, that are read and converted piece by piece.

    Parameters
    ----------
    X, y : array-like with a shape
        As many rows each; ``numpy.load(path, mmap_mode="r")`` gives such arrays. `y` may be None.
    piece_rows : int, optional
        Consecutive rows that are read together; by default, and at most, 16,384 or as many as 8 MiB hold.
    block_bytes : int
        As for `StoredRows`.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import data
    >>> rows = data.ArrayRows(np.arange(10.0).reshape(5, 2), np.arange(5), piece_rows=2)
    >>> list(rows.pieces), len(rows)
    ([2, 2, 1], 5)
    """

    def __init__(self, X: Any, y: Any = None, *, piece_rows: int | None = None, block_bytes: int = BLOCK_BYTES) -> None:
        super().__init__(block_bytes=block_bytes)
        self._X, self._y = X, y
        if not hasattr(X, "shape") or not len(X.shape) or not X.shape[0]:
            raise ValueError(f"X: expected an array with rows, got {type(X).__name__} of shape {np.shape(X)}")
        if y is not None and len(y) != len(X):
            raise ValueError(f"y has {len(y):,} rows, X has {len(X):,}")
        most = part_rows(math.prod(X.shape[1:]) * getattr(getattr(X, "dtype", None), "itemsize", 8))
        self._each = most if piece_rows is None else min(integer("piece_rows", piece_rows, at_least=1), most)

    @property
    def pieces(self) -> Sequence[int]:
        """The number of rows of each piece."""
        count = len(self._X)
        return [min(self._each, count - start) for start in range(0, count, self._each)]

    def read(self, piece: int) -> Iterator[Part]:
        """Yield the rows of a piece."""
        rows = slice(piece * self._each, min((piece + 1) * self._each, len(self._X)))
        yield _rows(self._X, rows), None if self._y is None else _rows(self._y, rows)


def _rows(array: Any, rows: slice) -> Array:
    """Return consecutive rows; of a file by reading it, since the pages of a mapped file would stay in memory."""
    base: Any = getattr(array, "base", None)  # of a part of a file, an array
    whole_file = isinstance(array, np.memmap) and isinstance(base, mmap.mmap) and array.flags.c_contiguous
    if not whole_file:
        return np.asarray(array[rows])
    each = array.nbytes // len(array)
    shape = (rows.stop - rows.start, *array.shape[1:])
    count = shape[0] * each // array.itemsize
    flat = np.fromfile(array.filename, array.dtype, count, offset=array.offset + rows.start * each)
    return flat.reshape(shape)


def blocks(
    rows: StoredRows, seed: int, epoch: int, shuffle: bool, whole: int, checked: Any = None
) -> Iterator[tuple[Any, Any, Array]]:
    """Yield the blocks of an epoch: inputs, targets, and the order of their rows.

    Parameters
    ----------
    rows : StoredRows
    seed, epoch : int
    shuffle : bool
        If False, the rows keep their order.
    whole : int
        The rows of each block but the last are a multiple of this: what is left begins the next block.
    checked : function, optional
        Of a part, returns it as the model takes it.
    """
    parts = _parts(rows, seed, epoch, shuffle)
    if checked is not None:
        parts = map(checked, parts)
    waiting: list[Part] = []
    count, wanted, number_of_block = 0, 0, 0
    for part in parts:
        waiting.append(part)
        count += length(part[0])
        wanted = wanted or _rows_of_block(part, rows.block_bytes, whole)
        if count >= wanted:
            X, y, order = _shuffled(waiting, seed, epoch, number_of_block, shuffle)
            kept = count % whole
            yield X, y, order[: count - kept]
            rest = order[count - kept :]
            waiting, count = ([(take(X, rest), take(y, rest))] if kept else []), kept
            number_of_block += 1
    if count:
        yield _shuffled(waiting, seed, epoch, number_of_block, shuffle)


def _rows_of_block(part: Part, block_bytes: int, whole: int) -> int:
    """Return how many rows make a block: at least as many as have to be together."""
    size = sum(a.nbytes for a in flatten(part)[0]) / length(part[0])
    return max(whole, int(block_bytes / max(size, 1)))


def _shuffled(parts: Sequence[Part], seed: int, epoch: int, block: int, shuffle: bool) -> tuple[Any, Any, Array]:
    X, y = (joined([part[k] for part in parts]) for k in (0, 1))
    count = length(X)
    if not shuffle:
        return X, y, np.arange(count)
    keys = np.random.Philox(np.random.SeedSequence(seed, spawn_key=(epoch, block, 2))).random_raw(count)
    return X, y, np.argsort(keys, kind="stable")


def _parts(rows: StoredRows, seed: int, epoch: int, shuffle: bool) -> Iterator[Part]:
    """Yield the parts of all pieces, those of some pieces by turns."""
    order = iter(epoch_order(len(rows.pieces), seed, epoch, shuffle).tolist())
    open_pieces: list[Iterator[Part]] = []
    while True:
        while len(open_pieces) < (PLACES if shuffle else 1):
            piece = next(order, None)
            if piece is None:
                break
            open_pieces.append(iter(rows.read(piece)))
        if not open_pieces:
            return
        for reader in list(open_pieces):
            part = next(reader, None)
            if part is None:
                open_pieces.remove(reader)
            else:
                yield part
