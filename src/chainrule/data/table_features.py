"""From named columns to a network's input: numbers standardised, texts as one-hot categories."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset
from .features import BLOCK, Matrix, RawColumn, Scaling, imputed, refuse_unscalable, store
from .ngrams import together
from .record import Record
from .wording import Counted, counted, listed, row_in_file, suggestion

MISSING = "missing"
MOST_CATEGORIES = 100


@dataclass(frozen=True)
class TableFeatures:
    """The columns of a table: numbers first, then one input for each category of each text column.

    Attributes
    ----------
    numeric : tuple of str
        The columns of numbers that are used.
    scaling : Scaling
        Of those.
    categorical : tuple of str
        The columns of texts that are used.
    categories : tuple of tuple of str
        For each of those its categories; ``"missing"`` is one where the training split had missing values.
    left_out : tuple of str
        The columns of the training split that are not used.
    """

    kind = "table"
    numeric: tuple[str, ...]
    scaling: Scaling
    categorical: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    left_out: tuple[str, ...]

    @classmethod
    def fit(cls, train: Dataset) -> "tuple[TableFeatures, list[str]]":
        """Compute medians, means, deviations and categories of the training split; also return sentences about it.

        Raises
        ------
        ValueError
            For infinite values, and when no column is left.
        """
        assert train.columns is not None
        numbers = {name: column for name, column in train.columns.items() if column.dtype != object}
        texts = {name: Counter(column.tolist()) for name, column in train.columns.items() if column.dtype == object}
        for name, column in numbers.items():
            refuse_infinite(name, column, train)
        ranges = {name: (np.fmin.reduce(column), np.fmax.reduce(column)) for name, column in numbers.items()}
        n = len(train)
        empty = [name for name in train.columns if _is_empty(name, ranges, texts)]
        constant = [name for name in ranges if ranges[name][0] == ranges[name][1]]
        constant += [name for name, found in texts.items() if len(found) == 1 and name not in empty]
        naming = [name for name, found in texts.items() if len(found) > 10 and len(found) * 2 > n]
        left_out = [name for name in train.columns if name in {*empty, *constant, *naming}]
        notes = [
            f"dropped {counted(len(names), noun)}{reason}: {listed(together(names))}"
            for names, noun, reason in (
                (empty, "column", " without any value"),
                (constant, "constant column", ""),
                (naming, "column", " of texts that differ from row to row"),
            )
            if names
        ]
        numeric = [name for name in numbers if name not in left_out]
        categorical = [name for name in texts if name not in left_out]
        if not numeric and not categorical:
            raise ValueError(f"no usable feature is left: {'; '.join(notes)}")
        scaling = _fit_numbers({name: numbers[name] for name in numeric}, notes)
        categories = tuple(_fit_categories(name, texts[name], notes) for name in categorical)
        return cls(tuple(numeric), scaling, tuple(categorical), categories, tuple(left_out)), notes

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the network's inputs: columns of numbers, then ``column=category``."""
        one_hot = (f"{name}={c}" for name, group in zip(self.categorical, self.categories, strict=True) for c in group)
        return (*self.numeric, *one_hot)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The columns that a raw table must have."""
        return (*self.numeric, *self.categorical)

    def transform(self, dataset: Dataset, target_name: str | None = None) -> tuple[Matrix, list[str]]:
        """The network's input, and sentences about what was special in these rows.

        Columns may come in another order. Those that the training split did not have are ignored, with a
        sentence about them (except `target_name`).

        Raises
        ------
        ValueError
            When a column is missing, or a column of numbers holds text (the message names the row) or infinity.
        """
        columns = required_columns(self.input_names, dataset)
        notes = self.aside(dataset.feature_names, target_name)
        out = np.zeros((len(dataset), len(self.feature_names)), dtype=np.float32)
        if self.numeric:
            numbers = np.column_stack([as_numbers(name, columns[name], dataset) for name in self.numeric])
            notes += imputed(self.numeric, np.isnan(numbers).sum(axis=0).tolist(), self.scaling.fill)
            for start in range(0, len(numbers), BLOCK):
                block = slice(start, start + BLOCK)
                store(out[:, : len(self.numeric)], block, self.scaling.apply(numbers[block]), dataset)
        start = len(self.numeric)
        for name, known in zip(self.categorical, self.categories, strict=True):
            ids = category_ids(columns[name], known)
            found = np.flatnonzero(ids >= 0)
            out[found, start + ids[found]] = 1
            start += len(known)
            notes += unknown_categories(name, columns[name], ids)
        return out, notes

    def raw_columns(self) -> tuple[RawColumn, ...]:
        """What `program` takes."""
        return raw_columns(self.numeric, dict(zip(self.categorical, self.categories, strict=True)))

    def program(self, columns: Mapping[str, Any]) -> Any:
        """The network's input, by NumPy functions that can be traced."""
        parts = []
        if self.numeric:
            parts = [self.scaling.apply(np.concatenate([columns[name] for name in self.numeric], axis=1))]
        for name, known in zip(self.categorical, self.categories, strict=True):
            parts.append(np.equal(columns[name], np.arange(len(known))).astype(np.float64))
        return np.concatenate(parts, axis=1).astype(np.float32)

    def aside(self, names: Iterable[str], target_name: str | None) -> list[str]:
        """Sentences about the columns of these names that are ignored."""
        return ignored(names, {*self.input_names, *self.left_out, target_name})

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types."""
        return {
            "kind": self.kind,
            "numeric": list(self.numeric),
            "scaling": self.scaling.to_dict(),
            "categorical": list(self.categorical),
            "categories": [list(group) for group in self.categories],
            "left_out": list(self.left_out),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "TableFeatures":
        """The inverse of `to_dict`; anything malformed is a `ValueError`."""
        record = Record(data, "table features")
        record.choice("kind", (cls.kind,))
        numeric, categorical = record.distinct_texts("numeric"), record.distinct_texts("categorical")
        left_out = record.distinct_texts("left_out")
        scaling = Scaling.from_dict(record.take("scaling"), len(numeric))
        groups = record.take("categories")
        record.finish()
        record.require(scaling.fill is not None, "a table's scaling needs fill")
        record.require(
            len({*numeric, *categorical, *left_out}) == len((*numeric, *categorical, *left_out)),
            "expected different column names",
        )
        record.require(bool(numeric or categorical), "no column is left")
        record.require(
            isinstance(groups, list) and len(groups) == len(categorical),
            "categories must be a list with one entry for each categorical column",
        )
        categories = tuple(
            Record({name: group}, "categories").distinct_texts(name)
            for name, group in zip(categorical, groups, strict=True)
        )
        record.require(all(categories), "a categorical column needs categories")
        return cls(numeric, scaling, categorical, categories, left_out)


def raw_columns(numeric: Sequence[str], texts: Mapping[str, tuple[str, ...]]) -> tuple[RawColumn, ...]:
    """Return the description of columns of numbers and of texts with their known categories."""
    numbers = (RawColumn(name, "numbers") for name in numeric)
    categories = (
        RawColumn(name, "categories", 1, known, known.index(MISSING) if MISSING in known else -1)
        for name, known in texts.items()
    )
    return (*numbers, *categories)


def required_columns(names: Sequence[str], dataset: Dataset) -> Mapping[str, NDArray[Any]]:
    """Return the columns of a data set by name; raise unless those of these names are there."""
    require_columns(names, dataset)
    if dataset.columns is not None:
        return dataset.columns
    assert dataset.X is not None
    return dict(zip(dataset.feature_names, dataset.X.T, strict=True))


def require_columns(names: Sequence[str], dataset: Dataset) -> None:
    """Raise an error if the rows lack columns of the training split."""
    found = dataset.feature_names
    lacking = [name for name in names if name not in found]
    if lacking:
        near = suggestion(lacking[0], [name for name in found if name not in names])
        raise ValueError(
            f"{dataset.source}: lacks {counted(len(lacking), 'column')} of the training split: {listed(lacking)}; "
            f"it has {listed(found)}.{near}"
        )


def ignored(names: Iterable[str], known: set[str | None]) -> list[str]:
    """Return a sentence about the columns that are not known, if there are any."""
    extra = [name for name in names if name not in known]
    if not extra:
        return []
    return [f"ignored {counted(len(extra), 'column')} that the training split did not have: {listed(extra)}"]


def _is_empty(name: str, ranges: Mapping[str, Any], texts: Mapping[str, Counter[str | None]]) -> bool:
    return bool(np.isnan(ranges[name][0])) if name in ranges else set(texts[name]) == {None}


def _fit_numbers(columns: Mapping[str, NDArray[Any]], notes: list[str]) -> Scaling:
    if not columns:
        return Scaling((), (), ())
    matrix = np.column_stack(list(columns.values()))
    missing, median = np.isnan(matrix), np.nanmedian(matrix, axis=0)
    notes += imputed(columns, missing.sum(axis=0).tolist(), median.tolist())
    matrix = np.where(missing, median, matrix)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = matrix.mean(axis=0), matrix.std(axis=0)
    refuse_unscalable(list(columns), mean, std)
    notes.append(
        f"standardised {counted(len(columns), 'numeric column')} to mean 0 and deviation 1 over the training "
        f"split: {listed(together(columns))}"
    )
    return Scaling(tuple(mean.tolist()), tuple(std.tolist()), tuple(median.tolist()))


def _fit_categories(name: str, found: Counter[str | None], notes: list[str]) -> tuple[str, ...]:
    missing = found.pop(None, 0)
    # Sorted by number of rows, then by name, so that the kept categories do not depend on the order of the rows.
    ranked = sorted(found, key=lambda category: (-found[category], str(category)))
    kept = sorted(str(category) for category in ranked[:MOST_CATEGORIES])
    if missing:
        notes.append(f"treated {counted(missing, 'missing value')} of {name} as the category {MISSING!r}")
        kept = kept if MISSING in kept else [*kept, MISSING]
    rest = len(ranked) - MOST_CATEGORIES
    only = f", the most frequent; {counted(rest, 'rarer one')} set all of them to 0" if rest > 0 else ""
    notes.append(f"one-hot encoded {name} in {counted(len(kept), 'category', 'categories')}{only}")
    return tuple(kept)


def as_numbers(name: str, column: NDArray[Any], dataset: Dataset) -> NDArray[np.float64]:
    """Return a column of numbers in float64, also one that was read as texts; missing ones are NaN."""
    if column.dtype != object:
        numbers = column.astype(np.float64)
    else:
        numbers = np.array([_number(value) for value in column])
        texts = np.flatnonzero([value is not None for value in column] & np.isnan(numbers))
        if texts.size:
            row = row_in_file(dataset.rows, int(texts[0]))
            raise ValueError(
                f"{dataset.source}: the column {name!r} held numbers in training; row {row} holds "
                f"{column[texts[0]]!r} ({counted(texts.size, 'such row')}): correct it, or leave the field "
                "empty"
            )
    refuse_infinite(name, numbers, dataset)
    return numbers


def _number(text: str | None) -> float:
    try:
        return np.nan if text is None else float(text)
    except ValueError:
        return np.nan


def refuse_infinite(name: str, column: NDArray[Any], dataset: Dataset) -> None:
    """Raise if a column holds infinite values."""
    bad = np.flatnonzero(np.isinf(column))
    if bad.size:
        raise ValueError(
            f"{dataset.source}: the column {name!r} holds {counted(bad.size, 'infinite value')}, the first "
            f"in row {row_in_file(dataset.rows, int(bad[0]))}: correct it, or leave the field empty"
        )


def category_ids(column: NDArray[Any], known: tuple[str, ...]) -> NDArray[np.intp]:
    """Return the position of each value among the known categories; -1 for unknown ones."""
    ids: dict[Any, int] = {category: i for i, category in enumerate(known)}
    if column.dtype != object:
        # A file in which every category looks like a number is read as numbers: 7 is then the category "007".
        ids = {_number(category): i for category, i in reversed(ids.items())}
    missing = known.index(MISSING) if MISSING in known else -1
    return np.array([missing if _is_missing(v) else ids.get(v, -1) for v in column.tolist()], dtype=np.intp)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def unknown_categories(name: str, column: NDArray[Any], ids: NDArray[np.intp]) -> list[str]:
    """Return a sentence about the rows whose category is not known, if there are any."""
    unknown = np.flatnonzero(ids < 0)
    if not unknown.size:
        return []
    names = {"(missing)" if _is_missing(value) else str(value) for value in column[unknown].tolist()}
    return [Counted(_said_unknown, (name,), unknown.size, names)]


def _said_unknown(name: str, rows: int, names: list[str]) -> str:
    return (
        f"{counted(rows, 'row')} {'holds' if rows == 1 else 'hold'} a category of {name} that the training split did "
        f"not have, encoded as zeros: {listed(names, 6)}"
    )
