"""Text files of rows, such as CSV: how they are written, and their rows, part by part."""

import codecs
import csv
import io
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .expansion import Expansion
from .readings import MISSING, polars_package
from .wording import Counted, counted, listed

if TYPE_CHECKING:
    import polars

SEPARATORS = ",;\t|"
#: Bytes that are parsed at a time.
BLOCK = 1 << 22
#: Bytes from which separator and header are inferred.
BEGINNING = 1 << 16


@dataclass(frozen=True)
class Delimited:
    """A text file of rows.

    Attributes
    ----------
    source : Expansion
    encoding : str
    separator : str
    header : bool
        Whether the first row names the columns.
    names : tuple of str
    """

    source: Expansion
    encoding: str
    separator: str
    header: bool
    names: tuple[str, ...]

    def texts(self, columns: Sequence[str]) -> list[str]:
        """Which of these columns hold texts: all."""
        return list(columns)

    def parts(
        self, columns: Sequence[str], rows: int | None = None, notes: list[str] | None = None
    ) -> "Iterator[polars.DataFrame]":
        """Yield these columns as texts without spaces around them, null where missing; `rows` has no effect.

        Sentences on rows with too few fields, whose other values are missing, are added to `notes`.
        """
        pl = polars_package()
        schema = dict.fromkeys(self.names, pl.String)
        row = 0
        for i, block in enumerate(self._blocks()):
            rows_only = block[_row_end(block, 0) + 1 :] if self.header and i == 0 else block
            if not rows_only:
                continue
            try:
                frame = pl.read_csv(rows_only, has_header=False, schema=schema, separator=self.separator)
            except pl.exceptions.PolarsError as error:
                raise ValueError(f"{self.source.path}: {self._reason(block, row, error)}") from None
            if notes is not None:
                notes += self._short_rows(rows_only, frame, row)
            row += frame.height
            yield frame.select(stripped(pl, name) for name in columns)

    def _blocks(self) -> Iterator[bytes]:
        """Yield the file as UTF-8, cut between rows."""
        rest = b""
        for block in _utf8(self.source, self.encoding):
            block = rest + block
            cut = _row_end(block, -1) + 1
            rest = block[cut:]
            if cut:
                yield block[:cut]
        if rest.strip(b"\r\n"):
            self._refuse_cut_off(rest)
            yield rest

    def _refuse_cut_off(self, last: bytes) -> None:
        """Refuse a short last row without an end: polars fills it with nulls, but the file was truncated."""
        if last.count(b'"') % 2:
            return  # an unclosed quote: polars reports it
        rows = beginning(last, self.separator, len(last))
        found = len(rows[-1]) if rows else 0
        if found < len(self.names):
            of = len(self.names)
            raise ValueError(
                f"{self.source.path}: its last row has {counted(found, 'field')} of {of}; the file looks truncated"
            )

    def _short_rows(self, block: bytes, frame: "polars.DataFrame", first_row: int) -> list[str]:
        width, separators = len(self.names), block.count(self.separator.encode())
        if not frame[self.names[-1]].null_count() or (b'"' not in block and separators == (width - 1) * frame.height):
            return []
        lines = csv.reader(io.StringIO(block.decode(), newline=""), delimiter=self.separator)
        short = [row for row, fields in enumerate(lines) if len(fields) < width and any(map(str.strip, fields))]
        return [Counted(_said_short, (), len(short), [f"{first_row + short[0] + 1:,}"])] if short else []

    def _reason(self, block: bytes, first_row: int, error: Exception) -> str:
        """Say what is wrong with rows that polars refuses."""
        lines = csv.reader(io.StringIO(block.decode(errors="replace"), newline=""), delimiter=self.separator)
        try:
            for number, fields in enumerate(lines, 1 - int(self.header and not first_row)):
                if len(fields) > len(self.names):
                    return (
                        f"cannot be read as a table: row {first_row + number} has {counted(len(fields), 'field')}, the "
                        f"first row {len(self.names)}"
                    )
        except csv.Error:
            pass
        text = str(error).strip()
        return f"cannot be read as a table: {text.splitlines()[0] if text else type(error).__name__}"


def stripped(pl: Any, name: str) -> Any:
    """Return a column of texts without spaces around them, null where missing."""
    text = pl.col(name).str.strip_chars()
    return pl.when(text.is_in(MISSING)).then(None).otherwise(text).alias(name)


def _said_short(rows: int, first: Sequence[str]) -> str:
    verb = "has" if rows == 1 else "have"
    shortest = min(first, key=lambda number: int(number.replace(",", "")))
    return (
        f"{counted(rows, 'row')} {verb} fewer fields than the first row, the first is row {shortest}: what they lack "
        "was read as missing"
    )


def sniffed(source: Expansion, header: bool | None, named: Sequence[str], notes: list[str]) -> Delimited:
    """Find out how a file is written; `named` are columns that the caller knows of."""
    path = Path(source.path)
    encoding = _encoding(source)
    if encoding == "cp1252":
        notes.append("the file is no UTF-8 text and was read as Windows-1252 (Latin-1)")
    start, rows = b"", []
    for block in _utf8(source, encoding):
        start += block[:BEGINNING]
        if len(start) >= BEGINNING:
            break
    if not start.strip():
        raise ValueError(f"{path}: the file is empty; a table has a row of column names and rows of values")
    separator = "\t" if ".tsv" in path.name.casefold() else _separator(start)
    rows = beginning(start, separator)
    first, second = (rows[0] if rows else []), (rows[1] if len(rows) > 1 else [])
    if header is None:
        header = _is_header(first, second, named)
        if not header:
            notes.append("the first row holds numbers and was read as data: the columns are column_1, column_2, …")
    names = first if header else [f"column_{number}" for number in range(1, len(first) + 1)]
    repeated = [name for name, number in Counter(names).items() if number > 1]
    if repeated:
        raise ValueError(f"{path}: the header names {listed(map(repr, repeated))} more than once; rename the columns")
    return Delimited(source, encoding, separator, header, tuple(names))


def _encoding(source: Expansion) -> str:
    """Return UTF-8 or UTF-16 by the first bytes; otherwise, of a text that is not UTF-8 somewhere, Windows-1252."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for i, block in enumerate(_bytes(source)):
        if i == 0:
            if block[:2] in (b"\xff\xfe", b"\xfe\xff"):
                return "utf-16"
            zeros = np.frombuffer(block[:4096], np.uint8) == 0
            if zeros.any():
                halves = zeros[::2].mean(), zeros[1::2].mean()
                if max(halves) > 0.5 and min(halves) == 0:
                    return "utf-16-be" if halves[0] > halves[1] else "utf-16-le"
                raise ValueError(f"{source.path}: the file holds zero bytes, so it is not text; expected UTF-8 text")
        try:
            decoder.decode(block)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8"


def _bytes(source: Expansion) -> Iterator[bytes]:
    if Path(source.path).suffix.casefold() == ".gz":
        yield from source.unpacked()
        return
    with Path(source.path).open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def _utf8(source: Expansion, encoding: str) -> Iterator[bytes]:
    """Yield the file as UTF-8 with lines that end with a line feed, without byte order mark and blank lines before."""
    decoder = codecs.getincrementaldecoder(encoding)()
    begun, old_mac = False, False
    for block in itertools.chain(_bytes(source), [b""]):
        try:
            data = block if encoding == "utf-8" else decoder.decode(block, final=not block).encode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{source.path}: the file is neither UTF-8 nor {encoding} text: {error.reason}") from None
        if not begun:
            data = data.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
            old_mac = b"\n" not in data and b"\r" in data
            begun = bool(data)
        yield data.replace(b"\r", b"\n") if old_mac else data


def _row_end(block: bytes, which: int) -> int:
    """Return where the first (0) or the last (-1) row ends: a line feed outside of quotes, -1 if there is none."""
    if b'"' not in block:
        return block.rfind(b"\n") if which else block.find(b"\n")
    data = np.frombuffer(block, np.uint8)
    quoted = np.cumsum(data == 34, dtype=np.int64) % 2
    ends = np.flatnonzero((data == 10) & (quoted == 0))
    return int(ends[which]) if ends.size else -1


def beginning(data: bytes, separator: str, most: int = 2) -> list[list[str]]:
    """Return the first rows, as fields without spaces around them."""
    lines = csv.reader(io.StringIO(data.decode(errors="replace"), newline=""), delimiter=separator)
    rows: list[list[str]] = []
    try:
        for row in lines:
            rows.append([field.strip() for field in row])
            if len(rows) == most:
                break
    except csv.Error:
        pass  # an unclosed quote: polars reports it
    return rows


def _separator(data: bytes) -> str:
    """Return the separator that cuts the first rows into most fields, equally many in each."""
    whole = data.count(b"\n") + (len(data) < BEGINNING)

    def score(separator: str) -> tuple[int, int]:
        widths = [len(row) for row in beginning(data, separator, min(20, max(whole, 1))) if row]
        return (min(widths) if len(set(widths)) == 1 else 1), widths[0] if widths else 0

    return max(SEPARATORS, key=score)


def _is_header(first: Sequence[str], second: Sequence[str], named: Sequence[str]) -> bool:
    """Whether the first row names the columns, rather than being data already.

    Names can be numbers (years, wavelengths); then a name given by the caller, or a text above a number, decides.
    """
    numbers = sum(map(_is_number, first))
    text_above_number = any(
        _is_number(below) and not _is_number(above) for above, below in zip(first, second, strict=False)
    )
    return numbers * 2 <= len(first) or text_above_number or any(name in first for name in named)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
