"""Dates as numbers and categories: elapsed days, and the parts of year, week and day."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import MICROSECONDS_A_DAY, MOMENTS, Dataset
from .record import Record
from .table_features import MISSING
from .wording import listed, row_in_file

DAY = MICROSECONDS_A_DAY
#: The number that NumPy stores for a missing date.
MISSING_MOMENT = np.iinfo(np.int64).min
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def _elapsed(moments: NDArray[Any]) -> NDArray[Any]:
    return moments.view(np.int64) / DAY


def _days_since(moments: NDArray[Any], unit: str) -> NDArray[np.int64]:
    """Return the whole days since the beginning of the month or the year."""
    return (moments - moments.astype(f"M8[{unit}]").astype(MOMENTS)).view(np.int64) // DAY


def _season(moments: NDArray[Any]) -> NDArray[Any]:
    return _days_since(moments, "Y") * (2 * np.pi / 365.25)


def _hours(moments: NDArray[Any]) -> NDArray[Any]:
    return moments.view(np.int64) % DAY / (DAY / 24)


def _weekday(moments: NDArray[Any]) -> NDArray[Any]:
    return np.array(WEEKDAYS, object)[(moments.view(np.int64) // DAY + 3) % 7]  # 1 January 1970 was a Thursday


#: Name -> the values of dates that are not missing: numbers, or texts for categories.
PARTS: Mapping[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "elapsed days": _elapsed,
    "month": lambda moments: moments.astype("M8[M]").view(np.int64) % 12 + 1,
    "day of month": lambda moments: _days_since(moments, "M") + 1,
    "weekday": _weekday,
    "sine of season": lambda moments: np.sin(_season(moments)),
    "cosine of season": lambda moments: np.cos(_season(moments)),
    "hour": _hours,
    "sine of hour": lambda moments: np.sin(_hours(moments) * np.pi / 12),
    "cosine of hour": lambda moments: np.cos(_hours(moments) * np.pi / 12),
}


class Calendar:
    """The parts of dates as a program of NumPy functions, for tensors: of microseconds since 1970, in float64.

    Years begin in March, so that the leap day is the last day. The formulas are those of Hinnant, "chrono-compatible
    low-level date algorithms", 2013.
    """

    def __init__(self, microseconds: Any) -> None:
        self.microseconds = microseconds
        self.days = np.floor(microseconds / DAY)
        day = self.days + 719_468  # since 1 March of the year 0
        era = np.floor(day / 146_097)
        day = day - era * 146_097
        leap_days = np.floor(day / 1460) - np.floor(day / 36_524) + np.floor(day / 146_096)
        year = np.floor((day - leap_days) / 365)
        self.since_march = day - (365 * year + np.floor(year / 4) - np.floor(year / 100))
        self.months = np.floor((5 * self.since_march + 2) / 153)  # since March
        self.year = year + 400 * era

    def day_of_year(self) -> Any:
        """The days since 1 January."""
        leap = self._divisible(4) - self._divisible(100) + self._divisible(400)
        return np.where(self.months < 10, self.since_march + 59 + leap, self.since_march - 306)

    def _divisible(self, by: int) -> Any:
        return (self.year == by * np.floor(self.year / by)).astype(np.float64)

    def season(self) -> Any:
        """The angle of the day in the year."""
        return self.day_of_year() * (2 * np.pi / 365.25)

    def hours(self) -> Any:
        """The hours since midnight."""
        return (self.microseconds - self.days * DAY) / (DAY / 24)


#: As `PARTS`, of a `Calendar`; a weekday is its position in `WEEKDAYS`.
PROGRAMS: Mapping[str, Callable[[Calendar], Any]] = {
    "elapsed days": lambda dates: dates.microseconds / DAY,
    "month": lambda dates: np.where(dates.months < 10, dates.months + 3, dates.months - 9),
    "day of month": lambda dates: dates.since_march - np.floor((153 * dates.months + 2) / 5) + 1,
    "weekday": lambda dates: dates.days + 3 - 7 * np.floor((dates.days + 3) / 7),
    "sine of season": lambda dates: _wave(np.sin, dates.season()),
    "cosine of season": lambda dates: _wave(np.cos, dates.season()),
    "hour": lambda dates: dates.hours(),
    "sine of hour": lambda dates: _wave(np.sin, dates.hours() * (np.pi / 12)),
    "cosine of hour": lambda dates: _wave(np.cos, dates.hours() * (np.pi / 12)),
}


def _wave(function: Callable[[Any], Any], angle: Any) -> Any:
    """Return sine or cosine by way of float32: ONNX Runtime has no cosine of float64."""
    return function(angle.astype(np.float32)).astype(np.float64)


@dataclass(frozen=True)
class Dates:
    """The columns of dates of a table, and the parts that replace each of them.

    Attributes
    ----------
    parts : mapping of str to tuple of str
        Column -> names of `PARTS`, those that vary in the training split.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.data import Dataset
    >>> from chainrule.data.dates import Dates
    >>> days = Dataset.from_columns({"day": np.array(["2024-02-28", "2024-02-29", "2024-03-01"], "M8[D]")})
    >>> Dates.fit(days).apply(days).columns["day (weekday)"].tolist()
    ['Wed', 'Thu', 'Fri']
    """

    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def fit(cls, train: Dataset) -> "Dates":
        """Choose the parts that vary."""
        dates = {name: column for name, column in (train.columns or {}).items() if column.dtype.kind == "M"}
        return cls({name: _varying(column[~np.isnat(column)]) for name, column in dates.items()})

    def apply(self, dataset: Dataset) -> Dataset:
        """Return the rows with numbers and categories in place of the columns of dates.

        Raises
        ------
        ValueError
            If a column that held dates in training holds something else; the message names the row. If the name of a
            part is that of another column.
        """
        if dataset.columns is None or not self.parts.keys() & dataset.columns.keys():
            return dataset
        columns: dict[str, NDArray[Any]] = {}
        for name, column in dataset.columns.items():
            columns |= self._replaced(name, column, dataset) if name in self.parts else {name: column}
        clash = self.derived & dataset.columns.keys()
        if clash:
            raise ValueError(f"{dataset.source}: the column {min(clash)!r} has the name of a part of a date; rename it")
        return dataset.with_columns(columns)

    def program(self, columns: Mapping[str, Any], categories: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
        """Replace dates as `apply` does, by NumPy functions, so that it can be traced.

        Parameters
        ----------
        columns : mapping of str to array or tensor of shape (m, 1)
            Of dates: microseconds since 1970 as int64, as NumPy stores them.
        categories : mapping of str to tuple of str
            Of the columns of texts; their values become positions in these.
        """
        found: dict[str, Any] = {}
        for name, column in columns.items():
            if name not in self.parts:
                found[name] = column
                continue
            missing, dates = np.equal(column, MISSING_MOMENT), Calendar(column.astype(np.float64))
            for part in self.parts[name]:
                values, key = PROGRAMS[part](dates), _named(name, part)
                if key in categories:
                    found[key] = _positions(values, missing, categories[key])
                else:
                    found[key] = np.where(missing, np.nan, values)
        return found

    @property
    def derived(self) -> set[str]:
        """The names of the columns that replace dates."""
        return {_named(name, part) for name, parts in self.parts.items() for part in parts}

    def origin(self, name: str) -> str:
        """Return the column that this one is a part of; otherwise its own name."""
        return next((raw for raw, parts in self.parts.items() if name in [_named(raw, p) for p in parts]), name)

    def notes(self) -> list[str]:
        """Return a sentence on each column of dates."""
        return [f"read the dates of {name} as {listed(parts)}" for name, parts in self.parts.items()]

    def _replaced(self, name: str, column: NDArray[Any], dataset: Dataset) -> dict[str, NDArray[Any]]:
        moments = _moments(name, column, dataset)
        missing = np.isnat(moments)
        present = np.ascontiguousarray(moments[~missing])
        found: dict[str, NDArray[Any]] = {}
        for part in self.parts[name]:
            values = PARTS[part](present)
            texts = values.dtype == object
            whole = np.full(len(moments), None if texts else np.nan, object if texts else np.float64)
            whole[~missing] = values
            found[_named(name, part)] = whole
        return found

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types."""
        return {"columns": list(self.parts), "parts": [list(parts) for parts in self.parts.values()]}

    @classmethod
    def from_dict(cls, data: Any) -> "Dates":
        """The inverse of `to_dict`; anything malformed is a `ValueError`."""
        record = Record(data, "dates")
        columns, groups = record.distinct_texts("columns"), record.take("parts")
        record.finish()
        record.require(isinstance(groups, list) and len(groups) == len(columns), "parts: expected a list per column")
        parts = {n: Record({n: group}, "dates").distinct_texts(n) for n, group in zip(columns, groups, strict=True)}
        known = all(group and set(group) <= PARTS.keys() for group in parts.values())
        record.require(known, f"parts: expected some of {listed(PARTS)}")
        return cls(parts)


def _positions(weekdays: Any, missing: Any, known: tuple[str, ...]) -> Any:
    """Return the positions of weekdays among the known categories; -1 for unknown ones."""
    places = [known.index(day) if day in known else -1 for day in WEEKDAYS]
    found = np.where(missing, known.index(MISSING) if MISSING in known else -1, -1)
    for number, place in enumerate(places):
        found = np.where(np.logical_and(np.equal(weekdays, number), np.logical_not(missing)), place, found)
    return found


def _named(column: str, part: str) -> str:
    return f"{column} ({part})"


def _varying(present: NDArray[Any]) -> tuple[str, ...]:
    moments = np.ascontiguousarray(present)
    varying = [part for part, values in ((p, f(moments)) for p, f in PARTS.items()) if np.unique(values).size > 1]
    if "day of month" not in varying:  # months or years, whose first day has a weekday by chance
        varying = [part for part in varying if part != "weekday"]
    return tuple(varying) or ("elapsed days",)


def _moments(name: str, column: NDArray[Any], dataset: Dataset) -> NDArray[Any]:
    if column.dtype.kind == "M":
        return column
    texts = column.tolist()
    moments = np.full(len(texts), "NaT", MOMENTS)
    for row, text in enumerate(texts):
        if text is None or text != text:
            continue
        try:
            moments[row] = np.datetime64(text)
        except (ValueError, TypeError):
            raise ValueError(
                f"{dataset.source}: the column {name!r} held dates in training; row {row_in_file(dataset.rows, row)} "
                f"holds {text!r}: expected a date such as 2024-03-01 or 2024-03-01T14:30, or an empty field"
            ) from None
    return moments
