"""From the columns of a table to the input of a network that embeds them: robust scales, flags, ids."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset
from .features import Matrix, RawColumn, imputed
from .ngrams import together
from .record import Record
from .table_features import (
    MISSING,
    as_numbers,
    category_ids,
    ignored,
    raw_columns,
    refuse_infinite,
    required_columns,
    unknown_categories,
)
from .wording import counted, listed

#: Up to so many categories, each has an input of its own (two share one); more get ids.
FEW = 8
#: The smooth limit of scaled values.
LIMIT = 3.0

#: Why a column is left out, as notes say it: the noun, and what follows.
EMPTY, CONSTANT = ("column", " without any value"), ("constant column", "")
NAMING = ("column", " of texts that differ from row to row")

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class RobustFeatures:
    """The columns of a table, for a network that embeds numbers and categories (`nn.TableEmbedding`).

    Its inputs are, in this order: the numbers; a flag for each column of numbers that had missing values; an input for
    each category where there are few, one for two; and for each column of many categories the row of a table of
    vectors, 0 for a category that is unknown or was seen once.

    All but the ids are centred to the median and divided by the distance of the quartiles, or by half of the range
    where that is 0; then z becomes z / sqrt(1 + (z / 3)²), so that no value is far outside. Missing numbers become the
    median. Source: Holzmüller et al., "Better by default", 2024.

    Attributes
    ----------
    numeric : tuple of str
        The columns of numbers that are used.
    flagged : tuple of str
        Those with a flag.
    categorical : tuple of str
        The columns of texts that are used.
    categories : tuple of tuple of str
        For each of those its categories; ``"missing"`` is one where the training split had missing values.
    medians, factors : tuple of float
        Of all inputs but the ids.
    left_out : tuple of str
        The columns of the training split that are not used.
    """

    kind = "robust"
    numeric: tuple[str, ...]
    flagged: tuple[str, ...]
    categorical: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    medians: tuple[float, ...]
    factors: tuple[float, ...]
    left_out: tuple[str, ...]

    @classmethod
    def fit(cls, train: Dataset, weights: Numbers | None = None) -> "tuple[RobustFeatures, list[str]]":
        """Compute medians, quartiles and categories of the training split; also return sentences about it.

        Raises
        ------
        ValueError
            For infinite values, and when no column is left.
        """
        columns = required_columns((), train)
        rows = slice(None) if weights is None else weights > 0
        numbers = {name: column[rows] for name, column in columns.items() if column.dtype != object}
        texts = {name: Counter(column[rows].tolist()) for name, column in columns.items() if column.dtype == object}
        for name, column in numbers.items():
            refuse_infinite(name, column, train)
        dropped = {**_useless(numbers), **_useless_texts(texts)}
        left_out = tuple(name for name in columns if name in dropped)
        notes = [
            f"dropped {counted(len(names), noun)}{reason}: {listed(together(names))}"
            for noun, reason in dict.fromkeys(dropped.values())
            if (names := [name for name in left_out if dropped[name] == (noun, reason)])
        ]
        if len(left_out) == len(columns):
            raise ValueError(f"no usable feature is left: {'; '.join(notes)}")
        numeric = tuple(name for name in numbers if name not in dropped)
        categorical = tuple(name for name in texts if name not in dropped)
        missing = {name: int(np.isnan(numbers[name]).sum()) for name in numeric if numbers[name].dtype.kind == "f"}
        flagged = tuple(name for name, count in missing.items() if count)
        categories = tuple(_known(texts[name]) for name in categorical)
        made = cls(numeric, flagged, categorical, categories, (), (), left_out)
        scales = [_scale(column, weights) for column in made._plain(columns, train)]
        made = replace(made, medians=tuple(s[0] for s in scales), factors=tuple(s[1] for s in scales))
        return made, [*notes, *made._described(missing)]

    def _described(self, missing: Mapping[str, int]) -> list[str]:
        """Return sentences about what was fitted."""
        notes = imputed(self.numeric, [missing.get(name, 0) for name in self.numeric], self.medians)
        if self.numeric:
            scaled = counted(len(self.numeric), "numeric column")
            names = listed(together(self.numeric))
            notes.append(f"scaled {scaled} by median and quartiles of the training split: {names}")
        sizes = {name: len(known) for name, known in self._texts()}
        for done, chosen in (
            ("one-hot encoded", [name for name, size in sizes.items() if size <= FEW]),
            ("embedded", [name for name, size in sizes.items() if size > FEW]),
        ):
            if chosen:
                texts = listed(f"{name} ({sizes[name]:,})" for name in chosen)
                notes.append(
                    f"{done} {counted(len(chosen), 'column')} of categories, with their number: {texts}"
                )
        return notes

    # -- inputs ------------------------------------------------------------------------------------------------------

    @property
    def embedded(self) -> dict[str, int]:
        """The columns of many categories, and the first row of each in the table of vectors; row 0 is for all."""
        many = [(name, known) for name, known in self._texts() if len(known) > FEW]
        starts = np.cumsum([1, *(len(known) for _, known in many)])
        return {name: int(start) for (name, _), start in zip(many, starts, strict=False)}

    @property
    def table_rows(self) -> int:
        """The rows of the table of vectors; 0 without columns of many categories."""
        many = sum(len(known) for known in self.categories if len(known) > FEW)
        return many + 1 if many else 0

    @property
    def layout(self) -> tuple[int, int, int, int]:
        """How many inputs are numbers, others and ids, and the rows that the ids are of."""
        ids = len(self.embedded)
        return len(self.numeric), len(self.feature_names) - len(self.numeric) - ids, ids, self.table_rows

    def _texts(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        return zip(self.categorical, self.categories, strict=True)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the network's inputs."""
        flags = [f"{name} is missing" for name in self.flagged]
        hot = [
            f"{name}={c}" for name, known in self._texts() if len(known) <= FEW for c in known[-1:] * (len(known) == 2)
            or known
        ]  # fmt: skip
        return (*self.numeric, *flags, *hot, *self.embedded)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The columns that a raw table must have."""
        return (*self.numeric, *self.categorical)

    def _plain(self, columns: Mapping[str, NDArray[Any]], dataset: Dataset) -> Iterator[Numbers]:
        """Yield all inputs but the ids, not scaled; missing numbers are NaN."""
        for name in self.numeric:
            yield as_numbers(name, columns[name], dataset)
        for name in self.flagged:
            yield np.isnan(as_numbers(name, columns[name], dataset)).astype(np.float64)
        for name, known in self._texts():
            if len(known) > FEW:
                continue
            ids = category_ids(columns[name], known)
            if len(known) == 2:
                yield np.where(ids < 0, 0.0, 2.0 * ids - 1.0)
            else:
                for i in range(len(known)):
                    yield (ids == i).astype(np.float64)

    # -- use ---------------------------------------------------------------------------------------------------------

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
        out = np.empty((len(dataset), len(self.feature_names)), dtype=np.float32)
        missing = []
        scales = zip(self._plain(columns, dataset), self.medians, self.factors, strict=True)
        for j, (column, median, factor) in enumerate(scales):
            if j < len(self.numeric):
                missing.append(int(np.isnan(column).sum()))
            out[:, j] = _scaled(column, median, factor)
        notes += imputed(self.numeric, missing, self.medians)
        starts, place = self.embedded, len(self.medians)
        for name, known in self._texts():
            ids = category_ids(columns[name], known)
            if name in starts:
                out[:, place] = np.where(ids < 0, 0, ids + starts[name])
                place += 1
            notes += unknown_categories(name, columns[name], ids)
        return out, notes

    def raw_columns(self) -> tuple[RawColumn, ...]:
        """What `program` takes."""
        return raw_columns(self.numeric, dict(self._texts()))

    def program(self, columns: Mapping[str, Any]) -> Any:
        """The network's input, by NumPy functions that can be traced."""
        flags = [np.isnan(columns[name]).astype(np.float64) for name in self.flagged]
        parts = [*(columns[name] for name in self.numeric), *flags]
        for name, known in self._texts():
            if len(known) == 2:
                sides = 2.0 * columns[name].astype(np.float64) - 1.0
                parts.append(np.where(np.less(columns[name], 0), 0.0, sides))
            elif len(known) <= FEW:
                parts.append(np.equal(columns[name], np.arange(len(known))).astype(np.float64))
        if parts:
            z = (np.concatenate(parts, axis=1) - np.asarray(self.medians)) * np.asarray(self.factors)
            z = np.clip(np.where(np.isnan(z), 0.0, z), -1e30, 1e30)
            parts = [z / np.sqrt(1.0 + np.square(z / LIMIT))]
        for name, start in self.embedded.items():
            ids = np.where(np.less(columns[name], 0), 0, columns[name] + start)
            parts.append(ids.astype(np.float64))
        return np.concatenate(parts, axis=1).astype(np.float32)

    def aside(self, names: Any, target_name: str | None) -> list[str]:
        """Sentences about the columns of these names that are ignored."""
        return ignored(names, {*self.input_names, *self.left_out, target_name})

    def example(self, rows: int, rng: "np.random.Generator | None") -> Matrix:
        """Inputs to see what a network takes: zeros, or normal numbers and any ids."""
        shape = rows, len(self.feature_names)
        if rng is None:
            return np.zeros(shape, np.float32)
        made = rng.normal(size=shape).astype(np.float32)
        ids = len(self.embedded)
        if ids:
            made[:, -ids:] = rng.integers(self.table_rows, size=(rows, ids))
        return made

    # -- files -------------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types."""
        return {
            "kind": self.kind,
            "numeric": list(self.numeric),
            "flagged": list(self.flagged),
            "categorical": list(self.categorical),
            "categories": [list(group) for group in self.categories],
            "medians": list(self.medians),
            "factors": list(self.factors),
            "left_out": list(self.left_out),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "RobustFeatures":
        """The inverse of `to_dict`; anything malformed is a `ValueError`."""
        record = Record(data, "robust features")
        record.choice("kind", (cls.kind,))
        numeric, flagged = record.distinct_texts("numeric"), record.distinct_texts("flagged")
        categorical, left_out = record.distinct_texts("categorical"), record.distinct_texts("left_out")
        groups = record.take("categories")
        names = (*numeric, *categorical, *left_out)
        record.require(len(set(names)) == len(names), "expected different column names")
        record.require(bool(numeric or categorical), "no column is left")
        record.require(set(flagged) <= set(numeric), "flagged names a column that is not numeric")
        record.require(
            isinstance(groups, list) and len(groups) == len(categorical),
            "categories must be a list with one entry for each categorical column",
        )
        categories = tuple(
            Record({name: group}, "categories").distinct_texts(name)
            for name, group in zip(categorical, groups, strict=True)
        )
        record.require(all(len(known) > 1 for known in categories), "a categorical column needs two categories or more")
        made = cls(numeric, flagged, categorical, categories, (), (), left_out)
        plain = len(made.feature_names) - len(made.embedded)
        medians, factors = record.numbers("medians", plain), record.numbers("factors", plain)
        record.finish()
        return replace(made, medians=medians, factors=factors)


def _useless(numbers: Mapping[str, NDArray[Any]]) -> dict[str, tuple[str, str]]:
    """Return the columns of numbers that say nothing, and why."""
    ranges = {name: (np.fmin.reduce(column), np.fmax.reduce(column)) for name, column in numbers.items()}
    empty = {name: EMPTY for name, (low, _) in ranges.items() if np.isnan(low)}
    constant = {name for name, (low, high) in ranges.items() if low == high}
    same = {name: CONSTANT for name in constant if not np.isnan(numbers[name]).any()}
    return {**empty, **same}


def _useless_texts(texts: Mapping[str, Counter[str | None]]) -> dict[str, tuple[str, str]]:
    """Return the columns of texts that say nothing, and why."""
    reasons = {}
    for name, found in texts.items():
        if set(found) == {None}:
            reasons[name] = EMPTY
        elif len(found) == 1:
            reasons[name] = CONSTANT
        elif len(found) > 10 and len(found) * 2 > found.total():
            reasons[name] = NAMING
    return reasons


def _known(found: Counter[str | None]) -> tuple[str, ...]:
    """Return the categories that have an input or an id: of many, those that were seen more than once."""
    missing = found.get(None, 0)
    many = len(found) > FEW
    kept = sorted(str(c) for c, count in found.items() if c is not None and (count > 1 or not many))
    return tuple(kept if MISSING in kept or not missing else [*kept, MISSING])


def _scale(column: Numbers, weights: Numbers | None) -> tuple[float, float]:
    """Return the median, and what the distance to it is multiplied with."""
    kept = ~np.isnan(column)
    values, counts = column[kept], None if weights is None else weights[kept]
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75), method="inverted_cdf", weights=counts)
    spread = high - low or (values.max() - values.min()) / 2
    return float(median), float(1.0 / spread) if spread > 0 else 0.0


def _scaled(column: Numbers, median: float, factor: float) -> Numbers:
    """Return a column centred, scaled and smoothly limited; NaN becomes 0, the median."""
    with np.errstate(over="ignore"):
        z = np.clip((column - median) * factor, -1e30, 1e30)
    z /= np.sqrt(1.0 + np.square(z / LIMIT))
    z[np.isnan(z)] = 0.0
    return z
