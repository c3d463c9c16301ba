"""What the texts of a column mean: numbers, booleans as words, dates, times of day; or just texts.

A reading turns texts into values, and into nulls what it cannot read. The readings of a table's columns are decided
once, from all rows of the training data (`evidence`), and are recorded with the model.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .record import Record
from .wording import listed

if TYPE_CHECKING:
    import polars

#: Texts that are missing values in every column.
MISSING = (
    "", "?", "-", "--", "–", "—", ".", "NA", "N/A", "n/a", "na", "N.A.", "n.a.", "nan", "NaN", "NAN", "null", "Null",
    "NULL", "<NA>", "NaT", "nil", "NIL", "(null)", "#N/A", "#NA", "#NULL!", "#VALUE!", "#DIV/0!", "#REF!", "#NUM!",
)  # fmt: skip
#: Further ones in columns of numbers or dates; among texts, they are categories.
NO_NUMBER = ("none", "unknown", "unk", "missing", "not available", "undefined", "n.d.", "tbd", "tba", "*", "**")
#: Words for no and yes, in this order.
BOOLEANS = (
    ("false", "true"), ("no", "yes"), ("f", "t"), ("n", "y"), ("off", "on"), ("nein", "ja"), ("non", "oui"),
)  # fmt: skip


def polars_package() -> Any:
    """Import polars, which reads tables."""
    try:
        import polars
    except ImportError as error:
        raise ImportError("reading a table needs polars: pip install 'chainrule[tables]'") from error
    return polars


@dataclass(frozen=True)
class Texts:
    """Texts as they are."""

    kind: ClassVar[str] = "texts"
    what: ClassVar[str] = "a text"

    def parse(self, texts: "polars.Series") -> "polars.Series":
        """Return the texts."""
        return texts

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types."""
        return {"kind": self.kind}

    @classmethod
    def from_record(cls, record: Record) -> "Texts":
        """The inverse of `to_dict`."""
        return cls()


@dataclass(frozen=True)
class LeftOut:
    """A column that is not read."""

    kind: ClassVar[str] = "left out"
    what: ClassVar[str] = "anything"

    def parse(self, texts: "polars.Series") -> "polars.Series":
        """Return the texts."""
        return texts

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types."""
        return {"kind": self.kind}

    @classmethod
    def from_record(cls, record: Record) -> "LeftOut":
        """The inverse of `to_dict`."""
        return cls()


@dataclass(frozen=True)
class Numbers:
    """Numbers in decimal notation.

    Attributes
    ----------
    decimal, thousands : str
        The signs before the fraction and between thousands; `thousands` may be empty.
    before, after : str
        A currency or a unit, which is left out.
    missing : tuple of str
        Texts that are read as missing values.
    """

    kind: ClassVar[str] = "numbers"
    what: ClassVar[str] = "a number"
    decimal: str = "."
    thousands: str = ""
    before: str = ""
    after: str = ""
    missing: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether these are numbers as programs write them."""
        return self == Numbers(missing=self.missing)

    def parse(self, texts: "polars.Series") -> "polars.Series":
        """Return float64 numbers."""
        pl = polars_package()
        if not self.is_plain:
            texts = self._plain(texts)
        numbers: polars.Series = texts.cast(pl.Float64, strict=False).fill_nan(None)
        return numbers

    def _plain(self, texts: "polars.Series") -> "polars.Series":
        """Write numbers as programs do; null where that is impossible."""
        texts = texts.str.replace_all("[\u00a0\u2007\u2009\u202f]", " ").str.replace_all("[−–]", "-")
        texts = texts.str.replace(r"^\((.*)\)$", "-$1")
        for unit, place in ((self.before, r"^([+-]?)\s*{}\s*"), (self.after, r"()\s*{}$")):
            if unit:
                texts = texts.str.replace(place.format(re.escape(unit)), "$1")
        point, group = re.escape(self.decimal), re.escape(self.thousands)
        whole = rf"(?:[1-9]\d{{0,2}}(?:{group}\d{{3}})+|\d+)" if group else r"\d+"
        if self.thousands == ",":
            whole = rf"(?:[1-9]\d{{0,2}}(?:,\d{{2,3}})*,\d{{3}}|{whole})"  # also lakhs: 1,23,456
        number = rf"^[+-]?(?:{whole}(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?$"
        texts = texts.set(~texts.str.contains(number).fill_null(False), None)
        if self.thousands:
            texts = texts.str.replace_all(self.thousands, "", literal=True)
        return texts if self.decimal == "." else texts.str.replace(self.decimal, ".", literal=True)

    def said(self) -> str:
        """Describe what is unusual about them."""
        signs = {",": "commas", ".": "points", " ": "spaces", "'": "apostrophes"}
        parts = [f"{signs[self.thousands]} between thousands"] if self.thousands else []
        parts += ["a decimal comma"] if self.decimal == "," else []
        units = [repr(unit) for unit in (self.before, self.after) if unit]
        return " and ".join([*(["with " + " and ".join(parts)] if parts else []), *[f"without {u}" for u in units]])

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types."""
        return {
            "kind": self.kind, "decimal": self.decimal, "thousands": self.thousands, "before": self.before,
            "after": self.after, "missing": list(self.missing),
        }  # fmt: skip

    @classmethod
    def from_record(cls, record: Record) -> "Numbers":
        """The inverse of `to_dict`."""
        decimal, thousands = record.choice("decimal", DECIMALS), record.choice("thousands", THOUSANDS)
        record.require(decimal != thousands, "decimal and thousands must differ")
        return cls(decimal, thousands, record.text("before"), record.text("after"), record.distinct_texts("missing"))


DECIMALS = (".", ",")
THOUSANDS = ("", ",", ".", " ", "'")
#: How numbers are written, in order of preference.
STYLES = ((".", ""), (".", ","), (",", ""), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'"))

_CODES = "USD EUR GBP CHF JPY CNY INR CAD AUD NZD SEK NOK DKK PLN CZK HUF BRL MXN ZAR KRW US$ R$ A$ C$ Rs Rs. kr Fr."
_NUMBER = re.compile(
    r"^\(?[+\-−–]?\s*(?P<before>[^\d\s.,+\-−–(]*)\s*"
    r"[+\-−–]?[\d.,' \u00a0\u2009\u202f]*\d[.,]?(?:[eE][+-]?\d+)?(?P<after>\D*?)\)?$"
)
_UNIT = re.compile(r"[^\W\d]+(?:[ /][^\W\d]+)?[²³]?|[%‰°]\w?")


def unit_of(texts: list[str]) -> tuple[str, str]:
    """Return the unit before or after the numbers in all texts, such as ``("$", "")``; empty if there is none."""
    found: set[tuple[str, str]] = set()
    for text in texts:
        match = _NUMBER.match(text)
        if match is None:
            continue
        found.add((match["before"].strip(), match["after"].strip()))
    if any(_is_currency(before or after) for before, after in found):
        found.discard(("", ""))
    before, after = found.pop() if len(found) == 1 else ("", "")
    known = (not before or _is_currency(before)) and (not after or _UNIT.fullmatch(after) or _is_currency(after))
    return (before, after) if known and not (before and after) else ("", "")


def _is_currency(unit: str) -> bool:
    return unit in _CODES.split() or (len(unit) == 1 and unicodedata.category(unit) == "Sc")


@dataclass(frozen=True)
class Booleans:
    """Two words as 0 and 1."""

    kind: ClassVar[str] = "booleans"
    false: str
    true: str

    @property
    def what(self) -> str:
        """What a cell must hold."""
        return f"{self.false!r} or {self.true!r}"

    def parse(self, texts: "polars.Series") -> "polars.Series":
        """Return booleans."""
        pl = polars_package()
        words = {self.false: False, self.true: True}
        found: polars.Series = texts.str.to_lowercase().replace_strict(words, default=None, return_dtype=pl.Boolean)
        return found

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types."""
        return {"kind": self.kind, "false": self.false, "true": self.true}

    @classmethod
    def from_record(cls, record: Record) -> "Booleans":
        """The inverse of `to_dict`."""
        words = record.text("false"), record.text("true")
        record.require(words in BOOLEANS, f"expected a pair of {listed(BOOLEANS)}")
        return cls(*words)


@dataclass(frozen=True)
class Form:
    """A way to write a date: its description, the pattern of the texts, and the format for parsing them."""

    said: str
    pattern: str
    format: str


_MONTH = r"[A-Za-z]{3,9}\.?"
FORMS: Mapping[str, Form] = {
    form.said: form
    for form in (
        Form("year-month-day", r"\d{4}-\d{1,2}-\d{1,2}", "%Y-%m-%d"),
        Form("year/month/day", r"\d{4}/\d{1,2}/\d{1,2}", "%Y/%m/%d"),
        Form("year.month.day", r"\d{4}\.\d{1,2}\.\d{1,2}", "%Y.%m.%d"),
        Form("yearmonthday", r"(?:19|20)\d{6}", "%Y%m%d"),
        Form("day.month.year", r"\d{1,2}\.\d{1,2}\.\d{4}", "%d.%m.%Y"),
        Form("month/day/year", r"\d{1,2}/\d{1,2}/\d{4}", "%m/%d/%Y"),
        Form("day/month/year", r"\d{1,2}/\d{1,2}/\d{4}", "%d/%m/%Y"),
        Form("month-day-year", r"\d{1,2}-\d{1,2}-\d{4}", "%m-%d-%Y"),
        Form("day-month-year", r"\d{1,2}-\d{1,2}-\d{4}", "%d-%m-%Y"),
        Form("day.month.year of two digits", r"\d{1,2}\.\d{1,2}\.\d{2}", "%d.%m.%y"),
        Form("month/day/year of two digits", r"\d{1,2}/\d{1,2}/\d{2}", "%m/%d/%y"),
        Form("day/month/year of two digits", r"\d{1,2}/\d{1,2}/\d{2}", "%d/%m/%y"),
        Form("day name-of-month year", rf"\d{{1,2}}[ -]{_MONTH}[ -]\d{{4}}", "%d %B %Y"),
        Form("day name-of-month year of two digits", rf"\d{{1,2}}[ -]{_MONTH}[ -]\d{{2}}", "%d %B %y"),
        Form("name-of-month day year", rf"{_MONTH} \d{{1,2}},? ?\d{{4}}", "%B %d %Y"),
        Form("name-of-month year", rf"{_MONTH}[ -]\d{{4}}", "%B %Y"),
        Form("year-month", r"\d{4}-\d{2}", "%Y-%m"),
    )
}
_PARTS = r"^(?:[A-Za-z]{3,9},\s+)?(.*?\S)(?:(?:[Tt]|,?\s+)(\d{1,2}:\d{2}.*))?$"
_TIME = (
    r"^(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s*(?:([AaPp])\.?[Mm]\.?)?"
    r"\s*(?:Z|z|UTC|GMT|[+-]\d{2}:?\d{2}|[+-]\d{2})?$"
)


@dataclass(frozen=True)
class Moments:
    """Dates, with or without a time, by the clock of the place: an offset such as +02:00 is not added.

    Attributes
    ----------
    form : str
        A key of `FORMS`.
    """

    kind: ClassVar[str] = "dates"
    form: str

    @property
    def what(self) -> str:
        """What a cell must hold."""
        return f"a date ({self.form})"

    def parse(self, texts: "polars.Series") -> "polars.Series":
        """Return times in microseconds."""
        pl, form = polars_package(), FORMS[self.form]
        with_more = bool(texts.str.contains("[:,]").any())
        days = texts.str.extract(_PARTS, 1) if with_more else texts
        days = days.set(~days.str.contains(f"^{form.pattern}$").fill_null(False), None)
        if "%B" in form.format:  # 5-Jan-2015, Jan. 5, 2015
            days = days.str.replace_all(r"[-., ]+", " ")
        complete = "%d" in form.format
        dates = (days if complete else days + " 1").str.to_date(form.format + ("" if complete else " %d"), strict=False)
        moments: polars.Series = dates.cast(pl.Datetime("us"))
        if with_more:
            moments = moments + _time_of_day(pl, texts.str.extract(_PARTS, 2))
        return moments

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types."""
        return {"kind": self.kind, "form": self.form}

    @classmethod
    def from_record(cls, record: Record) -> "Moments":
        """The inverse of `to_dict`."""
        return cls(record.choice("form", tuple(FORMS)))


@dataclass(frozen=True)
class Clock:
    """Times of day, such as 14:30, 9:05 PM or 1:02:33.5, as seconds."""

    kind: ClassVar[str] = "times"
    what: ClassVar[str] = "a time such as 14:30"

    def parse(self, texts: "polars.Series") -> "polars.Series":
        """Return numbers of seconds."""
        pl = polars_package()
        times = texts.set(~texts.str.contains(_TIME).fill_null(False), None)
        seconds: polars.Series = _time_of_day(pl, times).dt.total_microseconds() / 1e6
        return seconds.set(times.is_null(), None)

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types."""
        return {"kind": self.kind}

    @classmethod
    def from_record(cls, record: Record) -> "Clock":
        """The inverse of `to_dict`."""
        return cls()


def _time_of_day(pl: Any, times: "polars.Series") -> "polars.Series":
    """Return durations: zero where there is no text, null for what is no time of day."""
    hours, minutes, seconds = (times.str.extract(_TIME, group).cast(pl.Int64) for group in (1, 2, 3))
    fraction = times.str.extract(_TIME, 4).str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64).fill_null(0)
    half = times.str.extract(_TIME, 5).str.to_lowercase()
    hours = hours.zip_with(half.is_null(), hours % 12 + 12 * (half == "p").cast(pl.Int64))
    possible = (hours < 24) & (minutes < 60) & (seconds.fill_null(0) < 60)
    total = ((hours * 60 + minutes) * 60 + seconds.fill_null(0)) * 1_000_000 + fraction
    spans: polars.Series = total.set(~possible.fill_null(False), None).cast(pl.Duration("us"))
    return spans.set(times.is_null(), 0)


Reading = Texts | LeftOut | Numbers | Booleans | Moments | Clock
KINDS: Mapping[str, Any] = {kind.kind: kind for kind in (Texts, LeftOut, Numbers, Booleans, Moments, Clock)}


def values(reading: Reading, texts: "polars.Series") -> "tuple[polars.Series, polars.Series]":
    """Return what a column of texts means, and which of them could not be read."""
    found = reading.parse(texts)
    unread = found.is_null() & texts.is_not_null()
    if unread.any() and not isinstance(reading, Booleans):
        allowed = texts.str.to_lowercase().is_in(NO_NUMBER)
        if isinstance(reading, Numbers):
            allowed |= texts.is_in(reading.missing)
        unread &= ~allowed
    return found, unread


def reading_from(data: Any, column: str) -> Reading:
    """Read what a reading's `to_dict` wrote; anything else is a `ValueError`."""
    record = Record(data, f"reading of {column}")
    found: Reading = KINDS[record.choice("kind", tuple(KINDS))].from_record(record)
    record.finish()
    return found
