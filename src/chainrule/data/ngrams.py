"""Columns of texts in words as numbers: hashed character n-grams."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset
from .record import Record
from .wording import counted

#: Characters of an n-gram (bytes, in UTF-8), and how many numbers replace a column.
LENGTH, BUCKETS = 3, 128
#: Texts in words: of so many words and so many different texts at least; fewer rows cannot tell what matters in them.
LEAST_WORDS, LEAST_ROWS = 2.5, 500
#: What follows the name of a text in those of its numbers, before the number.
_PART = " (n-grams "
#: Bytes of texts that are hashed at a time.
BLOCK = 1 << 18


@dataclass(frozen=True)
class Ngrams:
    """The columns of texts in words, each replaced by `BUCKETS` numbers.

    Every three successive bytes of a text, in lower case, choose one of the numbers and add or subtract 1, by their
    hash (Weinberger et al., 2009: Feature hashing for large scale multitask learning); the numbers of a text are
    scaled to length 1. A missing text is zeros.

    Attributes
    ----------
    columns : tuple of str

    Examples
    --------
    >>> from chainrule.data.ngrams import hashed
    >>> first, second = hashed(["to be or not to be", "To be, or not to be"])
    >>> bool(first @ second > 0.7)
    True
    """

    columns: tuple[str, ...] = ()

    @classmethod
    def fit(cls, train: Dataset) -> "Ngrams":
        """Choose the columns whose texts differ from row to row and have several words."""
        table = train.columns or {}
        return cls(tuple(name for name, column in table.items() if column.dtype == object and _in_words(column)))

    def apply(self, dataset: Dataset) -> Dataset:
        """Return the rows with numbers in place of these columns."""
        if dataset.columns is None or not set(self.columns) & dataset.columns.keys():
            return dataset
        columns: dict[str, NDArray[Any]] = {}
        for name, column in dataset.columns.items():
            if name not in self.columns:
                columns[name] = column
                continue
            texts = [None if v is None or v != v else str(v) for v in column.tolist()]
            columns |= {_named(name, i): numbers for i, numbers in enumerate(hashed(texts).T)}
        return dataset.with_columns(columns)

    def origin(self, name: str) -> str:
        """Return the column that this one is a part of; otherwise its own name."""
        return next((raw for raw in self.columns if name.startswith(f"{raw}{_PART}")), name)

    def notes(self) -> list[str]:
        """Return a sentence on each column."""
        return [f"turned the texts of {name} into {BUCKETS} numbers: hashed character n-grams" for name in self.columns]

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types."""
        return {"columns": list(self.columns), "buckets": BUCKETS, "length": LENGTH}

    @classmethod
    def from_dict(cls, data: Any) -> "Ngrams":
        """The inverse of `to_dict`; anything malformed is a `ValueError`."""
        record = Record(data, "n-grams")
        columns, sizes = record.distinct_texts("columns"), (record.whole("buckets", 1), record.whole("length", 1))
        record.finish()
        record.require(
            sizes == (BUCKETS, LENGTH), f"expected {counted(BUCKETS, 'bucket')} of n-grams of length {LENGTH}"
        )
        return cls(columns)


def _named(column: str, number: int) -> str:
    return f"{column}{_PART}{number})"


def together(names: Iterable[str]) -> list[str]:
    """Return names of columns for a sentence, the numbers of a text as one.

    Examples
    --------
    >>> from chainrule.data.ngrams import together
    >>> together(["size", "title (n-grams 3)", "title (n-grams 7)"])
    ['size', 'title (2 n-grams)']
    """
    parts = [name.rpartition(_PART) for name in names]
    counts = Counter(text for text, found, _ in parts if found)
    said = [f"{text} ({counted(counts[text], 'n-gram')})" if found else name for text, found, name in parts]
    return list(dict.fromkeys(said))


def _in_words(column: NDArray[Any]) -> bool:
    texts = [text for text in column.tolist() if text is not None]
    if len(texts) < LEAST_ROWS or len(set(texts)) * 2 < len(texts):
        return False
    return sum(len(text.split()) for text in texts) >= LEAST_WORDS * len(texts)


def hashed(texts: "list[str] | list[str | None]") -> NDArray[np.float64]:
    """Return a row of `BUCKETS` numbers for each text."""
    out, block, size = np.zeros((len(texts), BUCKETS)), list[bytes](), 0
    for i, text in enumerate(texts):
        block.append(b"" if text is None else f" {text.casefold()} ".encode())
        size += len(block[-1])
        if size >= BLOCK or i == len(texts) - 1:
            out[i + 1 - len(block) : i + 1] = _hashed(block)
            block, size = [], 0
    return out


def _hashed(texts: list[bytes]) -> NDArray[np.float64]:
    lengths = np.array([len(text) for text in texts])
    rows = np.repeat(np.arange(len(texts)), lengths)
    data = np.frombuffer(b"".join(texts), np.uint8).astype(np.uint32)
    n = len(data) - LENGTH + 1
    if n < 1:
        return np.zeros((len(texts), BUCKETS))
    codes = np.zeros(n, np.uint32)
    for i in range(LENGTH):
        codes = codes << np.uint32(8) | data[i : i + n]
    codes *= np.uint32(2_654_435_769)  # Knuth's multiplicative hash: the high bits depend on all bytes
    codes ^= codes >> np.uint32(15)
    codes *= np.uint32(2_246_822_519)
    whole = rows[:n] == rows[LENGTH - 1 :]
    signs = np.where(codes >> np.uint32(31), 1.0, -1.0)
    places = rows[:n] * BUCKETS + (codes >> np.uint32(20)) % BUCKETS
    found = np.bincount(places[whole], signs[whole], len(texts) * BUCKETS).reshape(len(texts), BUCKETS)
    sizes = np.linalg.norm(found, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(found, sizes, out=np.zeros_like(found), where=sizes > 0)
    return unit
