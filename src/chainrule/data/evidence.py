"""Deciding what the texts of a table's columns mean, from all rows: part by part, for they need not fit in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .readings import (
    BOOLEANS,
    FORMS,
    NO_NUMBER,
    STYLES,
    Booleans,
    Clock,
    LeftOut,
    Moments,
    Numbers,
    Reading,
    Texts,
    polars_package,
    unit_of,
)
from .suspects import called_id
from .wording import counted, listed

if TYPE_CHECKING:
    import polars

#: Texts among numbers that may be missing values: at most so many different ones, in at most this share of the rows, if
#: there are at least this many different numbers (fewer may be names of categories).
ODD_WORDS, ODD_SHARE, LEAST_NUMBERS = 5, 0.1, 20
#: From so many digits on, numbers of equal length that begin with 0 are codes, such as postal codes.
CODE_DIGITS = 5
#: Rows that suffice to take numbers such as 20240301 for dates.
COMPACT_ROWS = 10
#: Texts that are looked at for units, and the first ones, which exclude most candidates.
SAMPLE, FIRST = 1000, 100


@dataclass
class Candidate:
    """A reading that fits the texts of a column seen so far.

    Attributes
    ----------
    reading : Reading
    unread : int
        Texts that it does not read: those of a column of numbers may be missing values.
    odd : dict of str to int
        These texts, as many as are needed -> the first row of each.
    """

    reading: Reading
    unread: int = 0
    odd: dict[str, int] = field(default_factory=dict)

    def fits(self, texts: "polars.Series", rows: "polars.Series", of: int) -> bool:
        """Take in further texts, out of this many: whether the reading still fits."""
        failed = self.reading.parse(texts).is_null()
        count = int(failed.sum())
        if not count or not isinstance(self.reading, Numbers):
            return not count
        self.unread += count
        for text, row in zip(texts.filter(failed).head(SAMPLE), rows.filter(failed).head(SAMPLE), strict=True):
            if len(self.odd) <= ODD_WORDS:
                self.odd.setdefault(text, row)
        return count * 2 < of


@dataclass
class Column:
    """What is known of a column of texts.

    Attributes
    ----------
    name : str
    present : int
        How many texts were taken in, without missing values.
    candidates : list of Candidate
        In order of preference.
    words : set of str
        Texts that are missing values if the column holds numbers or dates.
    separators : bool
        Whether a number has a point or a comma.
    code : bool
        Whether all are digits of the same length, `length`; `zero`: whether one begins with 0.
    distinct : int
        How many of the first texts differ.
    """

    name: str
    present: int = 0
    candidates: list[Candidate] | None = None
    words: set[str] = field(default_factory=set)
    separators: bool = False
    code: bool = True
    length: int = 0
    zero: bool = False
    distinct: int = 0
    seen: set[str] = field(default_factory=set)

    def add(self, column: "polars.Series", first_row: int) -> None:
        """Take in further rows."""
        pl = polars_package()
        known = column.is_not_null()
        texts = column.filter(known)
        self.present += len(texts)
        if not len(texts) or self.candidates == []:
            return
        rows = pl.int_range(first_row, first_row + len(column), eager=True).filter(known)
        whole = texts.cast(pl.Int64, strict=False).is_not_null()
        plain = whole if whole.all() else texts.cast(pl.Float64, strict=False).is_not_null()
        other = texts.filter(~plain).unique()
        words = other.filter(other.str.to_lowercase().is_in(NO_NUMBER)).to_list()
        if words:
            self.words |= set(words)
            clear = ~texts.is_in(words)
            texts, rows, whole, plain = (part.filter(clear) for part in (texts, rows, whole, plain))
            self.present -= int((~clear).sum())
        if len(texts):
            self._compare(texts, rows, whole, plain)

    def _compare(
        self, texts: "polars.Series", rows: "polars.Series", whole: "polars.Series", plain: "polars.Series"
    ) -> None:
        """Drop the candidates that do not fit; `whole`, `plain`: which texts are integers or numbers as they are."""
        if self.candidates is None:
            first = texts.head(FIRST)
            possible = [Candidate(reading) for reading in _possible(texts)]
            self.candidates = [Candidate(c.reading) for c in possible if c.fits(first, rows.head(FIRST), len(first))]
            self.distinct = int(texts.head(SAMPLE).n_unique())
        self._look(texts, whole)
        still = []
        for candidate in self.candidates:
            hard = _hard(candidate.reading, whole, plain)
            part = (texts, rows) if hard is None else (texts.filter(hard), rows.filter(hard))
            if candidate.fits(*part, len(texts)):
                still.append(candidate)
        self.candidates = still

    def _look(self, texts: "polars.Series", whole: "polars.Series") -> None:
        self.separators = self.separators or bool(texts.filter(~whole).str.contains("[.,]").any())
        if self.code:
            lengths = texts.str.len_chars()
            self.length = self.length or int(lengths[0])
            self.code = bool(whole.all() and (lengths == self.length).all())
            self.zero = self.zero or bool(texts.str.starts_with("0").any())
        if len(self.seen) <= 2:
            self.seen |= set(texts.str.to_lowercase().unique().head(3).to_list())

    def complete(self, kind: type[Reading]) -> list[Any]:
        """Return the readings of a kind that read every text."""
        return [c.reading for c in self.candidates or () if isinstance(c.reading, kind) and not c.unread]

    @property
    def plain(self) -> bool:
        """Whether all can be numbers as programs write them."""
        return any(reading.is_plain for reading in self.complete(Numbers))

    def styles(self) -> set[str]:
        """Return the signs before the fraction that are possible, if numbers have a sign at all."""
        return {n.decimal for n in self.complete(Numbers)} if self.separators else set()

    def orders(self) -> set[bool]:
        """Return whether the day may come before the month, where both are numbers: one answer, two, or none."""
        forms = [FORMS[m.form].format for m in self.complete(Moments)]
        return {form.startswith("%d") for form in forms if form[:2] in ("%d", "%m") and form[2] in "/-"}


def _possible(texts: "polars.Series") -> list[Reading]:
    sample = texts.head(SAMPLE).unique(maintain_order=True).to_list()
    before, after = unit_of(sample[:200])
    found: list[Reading] = [Booleans(*pair) for pair in BOOLEANS]
    found += [Moments(form) for form in FORMS]
    found += [Clock()]
    found += [Numbers(*style, before, after) for style in STYLES]
    return found


def _hard(reading: Reading, whole: "polars.Series", plain: "polars.Series") -> "polars.Series | None":
    """Return which texts a reading may fail to read, None for all."""
    if not isinstance(reading, Numbers) or reading.before or reading.after:
        return None
    return ~(plain if reading.decimal == "." else whole)


class Evidence:
    """What the rows of a table say about the columns that hold texts, or may number the rows.

    Parameters
    ----------
    texts, names : sequence of str
        The columns of texts, and all.
    target : str, optional
    """

    def __init__(self, texts: Sequence[str], names: Sequence[str], target: str | None = None) -> None:
        self._texts, self._target = list(texts), target
        self._columns: dict[str, Column] = {}
        self._numbering = {name for name in names if called_id(name) and name != target}

    @property
    def wanted(self) -> list[str]:
        """The columns that it looks at."""
        return list(dict.fromkeys([*self._texts, *sorted(self._numbering)]))

    def add(self, part: "polars.DataFrame", row: int) -> None:
        """Take in further rows of these columns, texts stripped, the first of which is number `row`."""
        pl = polars_package()
        for name in [name for name in self._texts if part[name].dtype == pl.String]:  # in some files, perhaps
            self._columns.setdefault(name, Column(name)).add(part[name], row)
        self._numbering = {name for name in self._numbering if _numbers_rows(part[name], row)}

    def decided(self, separator: str = ",", exclude: Sequence[str] = ()) -> tuple[dict[str, Reading], list[str]]:
        """Return what the columns mean, and sentences on what is unusual."""
        readings, notes = decided(self._columns, separator)
        found = readings.get(self._target) if self._target is not None else None
        if isinstance(found, Booleans) and found != Booleans("false", "true"):
            readings[str(self._target)] = Texts()  # predictions are these words
        for name in sorted(self._numbering):
            notes.append(f"left out the column {name!r}, which numbers the rows" if name else _NAMELESS)
        return readings | {name: LeftOut() for name in (*self._numbering, *exclude)}, notes


_NAMELESS = "left out the column without a name, which numbers the rows"


def _numbers_rows(column: "polars.Series", start: int) -> bool:
    """Whether a column counts the rows from 0 or 1, whose first is number `start`."""
    pl = polars_package()
    numbers = column.cast(pl.Int64, strict=False)
    begin = numbers[0] if len(numbers) else None
    if begin not in (start, start + 1):
        return False
    return bool((numbers == pl.int_range(begin, begin + len(numbers), eager=True)).fill_null(False).all())


def decided(columns: Mapping[str, Column], separator: str = ",") -> tuple[dict[str, Reading], list[str]]:
    """Return the reading of each column, and sentences on those that are unusual or ambiguous."""
    signs = [column.styles() for column in columns.values()]
    commas, points = signs.count({","}), signs.count({"."})
    comma = commas > points
    semicolon = separator == ";" and not points
    orders = [column.orders() for column in columns.values()]
    day_first = orders.count({True}) > orders.count({False}) or ((comma or semicolon) and {False} not in orders)
    notes: list[str] = []
    readings = {}
    for name, column in columns.items():
        # programs write 1.234 for 1.2 and a bit, also between semicolons: only decimal commas elsewhere tell otherwise
        readings[name] = _reading(column, comma or (semicolon and not column.plain), day_first, notes)
    return readings, notes


def _reading(column: Column, comma: bool, day_first: bool, notes: list[str]) -> Reading:
    """Return the reading of a column; `comma`, `day_first`: what the other columns suggest where it is ambiguous."""
    name = column.name
    if not column.present:
        return Texts() if column.words else Numbers()
    for pair in column.complete(Booleans):
        if column.seen == {pair.false, pair.true} and not column.words:
            return Booleans(pair.false, pair.true)
    if column.code and column.zero and column.length >= CODE_DIGITS:
        notes.append(f"read the column {name!r} as texts: its numbers of {column.length} digits, some beginning with 0")
        return Texts()
    found: Reading | None = _dates(column, day_first, notes)
    if found is None and column.complete(Clock):
        notes.append(f"read the column {name!r} as times, in seconds")
        found = Clock()
    found = found or _numbers(column, comma, notes)
    if found is None:
        return Texts()
    if column.words:
        notes.append(f"read {listed(map(repr, sorted(column.words)), 5)} in the column {name!r} as missing")
    return found


def _dates(column: Column, day_first: bool, notes: list[str]) -> Moments | None:
    found: list[Moments] = column.complete(Moments)
    if not found:
        return None
    if FORMS[found[0].form].format == "%Y%m%d" and column.present < COMPACT_ROWS:
        return None
    if len(column.orders()) == 2:
        chosen = next(m for m in found if FORMS[m.form].format.startswith("%d") == day_first)
        notes.append(f"read the column {column.name!r} as {chosen.form}; the other way round is possible as well")
        return chosen
    if not found[0].form.startswith("year-month"):
        notes.append(f"read the column {column.name!r} as dates written {found[0].form}")
    return found[0]


def _numbers(column: Column, comma: bool, notes: list[str]) -> Numbers | None:
    found: list[Numbers] = column.complete(Numbers)
    if found:
        best = found[0]
        if len(column.styles()) == 2:
            best = next(n for n in found if n.decimal == ("," if comma else "."))
        if not best.is_plain or (len(column.styles()) == 2 and comma):
            doubt = (
                "; its points and commas can be read the other way round as well" if len(column.styles()) == 2 else ""
            )
            notes.append(f"read the column {column.name!r} as numbers {best.said()}{doubt}")
        return best
    near = [c for c in column.candidates or () if isinstance(c.reading, Numbers)]
    if not near:
        return None
    nearest = min(near, key=lambda c: c.unread)
    text, row = next(iter(nearest.odd.items()))
    share = f"{counted(nearest.unread, 'row')} of {column.present:,}"
    few = len(nearest.odd) <= ODD_WORDS and nearest.unread <= ODD_SHARE * column.present
    if few and column.distinct >= LEAST_NUMBERS and isinstance(nearest.reading, Numbers):
        words = ", ".join(map(repr, nearest.odd))
        notes.append(
            f"read {words} in the column {column.name!r} of numbers as missing: {share}, the first is row {row + 1}"
        )
        return replace(nearest.reading, missing=tuple(nearest.odd))
    if nearest.unread * 2 < column.present:
        notes.append(
            f"read the column {column.name!r} as texts, since {share} hold something other than numbers, the first is "
            f"row {row + 1}: {text!r}"
        )
    return None
