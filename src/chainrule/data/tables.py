"""Tables: CSV, TSV and Parquet through polars, which is imported when the first table is read."""

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..frames import EXPECTED
from .dataset import Dataset
from .expansion import Expansion
from .wording import counted, listed

if TYPE_CHECKING:
    import polars

SEPARATORS = ",;\t|"
MISSING = ("", "?", "NA", "N/A", "n/a", "nan", "NaN", "NAN", "null", "NULL")
TARGET_NAMES = ("target", "label", "class", "y")


def read_table(
    path: str | os.PathLike[str],
    target: str | None = None,
    task: str | None = None,
    exclude: Sequence[str] = (),
    header: bool | None = None,
    *,
    max_bytes: int | None = None,
) -> Dataset:
    r"""Read a table with its target.

    Parameters
    ----------
    path : path
        ``.csv``, ``.tsv`` (also with the suffix ``.gz``) or ``.parquet``. CSV is UTF-8; commas, semicolons, tabs
        and vertical bars are recognised as separators; empty fields and ``?``, ``NA``, ``N/A``, ``nan``, ``null`` are
        missing values.
    target : str, optional
        The target's column. By default the column called target, label, class or y, if there is exactly
        one.
    task : str, optional
        Overrides the inferred task.
    exclude : sequence of str
        Columns to leave out.
    header : bool, optional
        Whether the first row of a CSV names the columns; by default inferred from the row.
    max_bytes : int, optional
        How many bytes a compressed file may expand to. By default 100 times its size, but at least 64 MiB and at most
        4 GiB; what expands to more is refused before it takes memory.
        Of Parquet, 8 bytes per number and 16 per text are counted.

    Returns
    -------
    Dataset
        Rows whose target is missing are left out, as its notes say.

    Raises
    ------
    ValueError
        For an unreadable or truncated file, absent columns (the message suggests the nearest name), column
        types that are neither numbers nor texts, and the errors of `Dataset.from_columns`.
    ImportError
        Without polars.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from chainrule import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "rows.csv"
    ...     _ = file.write_text("size,kind\n1,a\n2,b\n3,a\n")
    ...     rows = data.read_table(file, "kind")
    >>> len(rows), rows.feature_names, rows.task
    (3, ('size',), 'binary')
    """
    frame, places, notes = _read_frame(Expansion(path, max_bytes), header, exclude, [target] if target else [])
    if target is None:
        target = _usual_target(path, [name for name in frame.columns if name not in exclude])
        notes.append(f"used the column {target!r} as the target because of its name")
    return Dataset.from_frame(frame, target, task=task, exclude=exclude, source=f"{path}", notes=notes, rows=places)


def read_table_features(
    path: str | os.PathLike[str], header: bool | None = None, *, max_bytes: int | None = None
) -> Dataset:
    """Read a table, every column as a feature; parameters and errors as for `read_table`."""
    frame, places, notes = _read_frame(Expansion(path, max_bytes), header)
    return Dataset.from_frame(frame, source=f"{path}", notes=notes, rows=places)


def _usual_target(path: str | os.PathLike[str], columns: Sequence[str]) -> str:
    usual = [name for name in columns if name.casefold() in TARGET_NAMES]
    if len(usual) == 1:
        return usual[0]
    found = f"several are possible ({listed(usual)})" if usual else f"the columns are {listed(columns)}"
    raise ValueError(f"{path}: target: expected the name of a column: {found}")


def _polars() -> Any:
    try:
        import polars
    except ImportError as error:
        raise ImportError("reading a CSV needs polars: pip install 'chainrule[tables]'") from error
    return polars


def _read_frame(
    source: Expansion, header: bool | None, exclude: Sequence[str] = (), target: Sequence[str] = ()
) -> "tuple[polars.DataFrame, NDArray[Any], list[str]]":
    """The table, the position of each of its rows in the file, and what was done to it."""
    pl, path = _polars(), Path(source.path)
    notes: list[str] = []
    try:
        if path.suffix.casefold() == ".parquet":
            rows = pl.scan_parquet(path).select(pl.len()).collect().item()
            schema = pl.read_parquet_schema(path)
            nested = [name for name, dtype in schema.items() if dtype.is_nested()]
            for name in nested:  # before their values take memory
                if name not in exclude:
                    raise ValueError(f"column {name!r} of {path} is of type {schema[name]}; {EXPECTED}")
            schema = {name: dtype for name, dtype in schema.items() if name not in nested}
            texts = [name for name, dtype in schema.items() if dtype == pl.String]
            width = 8 * (len(schema) + len(texts))
            source.check(rows * width, path.stat().st_size)
            # a dictionary holds a text once, however many rows have it
            sizes = pl.scan_parquet(path).select(pl.col(texts).str.len_bytes().cast(pl.UInt64).sum()).collect()
            source.check(rows * width + sum(sizes.row(0) if texts else ()), path.stat().st_size)
            frame = pl.read_parquet(path, columns=list(schema))
            frame = frame.with_columns(pl.lit(None).alias(name) for name in nested)  # excluded, but known by name
        else:
            frame = _read_csv(pl, source, header, [*exclude, *target], notes)
    except pl.exceptions.PolarsError as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path}: cannot be read as a table: {reason}") from None
    if frame.width == 0:
        raise ValueError(f"{path}: the table has no columns")
    frame = frame.rename({name: name.strip() for name in frame.columns})
    if frame.height == 0:
        raise ValueError(f"{path}: the table has the columns {listed(frame.columns)} but no rows")
    places = np.arange(frame.height)
    if "" in frame.columns and frame[""].to_list() == list(range(frame.height)):
        frame = frame.drop("")
        notes.append("left out the column without a name, which numbers the rows")
    blank = frame.select(pl.all_horizontal(pl.all().is_null())).to_series().to_numpy()
    if blank.any() and frame.width > 1:
        notes.append(f"left out {counted(int(blank.sum()), 'row')} without any value")
        frame, places = frame.filter(~blank), places[~blank]
    return frame, places, notes


def _read_csv(
    pl: Any, source: Expansion, header: bool | None, named: Sequence[str], notes: list[str]
) -> "polars.DataFrame":
    path, data = Path(source.path), _text_bytes(source)
    separator = "\t" if ".tsv" in path.name.casefold() else _separator(data)
    first, second = _first_rows(data[: 1 << 20], separator)
    if header is None:
        header = _is_header(first, second, named)
        if not header:
            notes.append("the first row holds numbers and was read as data: the columns are column_1, column_2, …")
    if header:
        _refuse_repeated(path, first)
    _refuse_cut_off(path, data, separator, len(first))
    frame = _parse_csv(pl, data, separator=separator, has_header=header)
    if not header:
        # The names that polars generates differ between its versions.
        frame.columns = [f"column_{number}" for number in range(1, frame.width + 1)]
    return frame.with_columns(_tidied(pl, column, notes) for column in frame if column.dtype == pl.String)


def _parse_csv(pl: Any, data: bytes, **form: Any) -> "polars.DataFrame":
    # Inferring the types from all rows takes longer than reading them, so the first rows decide; if a value
    # further down does not fit, all rows are used.
    try:
        frame: polars.DataFrame = pl.read_csv(data, infer_schema_length=1000, null_values=list(MISSING), **form)
    except pl.exceptions.ComputeError:
        frame = pl.read_csv(data, infer_schema_length=None, null_values=list(MISSING), **form)
    return frame


def _text_bytes(source: Expansion) -> bytes:
    path = Path(source.path)
    data = source.gunzip() if path.suffix.casefold() == ".gz" else path.read_bytes()
    data = data.removeprefix(b"\xef\xbb\xbf").strip(b"\r\n")
    if not data:
        raise ValueError(f"{path}: the file is empty; a table has a row of column names and rows of values")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(f"{path}: the file is UTF-16 text; save it as UTF-8")
    if b"\0" in data[:4096]:
        raise ValueError(f"{path}: the file holds zero bytes, so it is not text; expected UTF-8 text")
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    return data


def _separator(data: bytes) -> str:
    first_line = data.split(b"\n", 1)[0].decode(errors="replace")
    outside_quotes = "".join(first_line.split('"')[::2])
    return max(SEPARATORS, key=outside_quotes.count)


def _first_rows(data: bytes, separator: str) -> tuple[list[str], list[str]]:
    lines = csv.reader(io.StringIO(data.decode(errors="replace"), newline=""), delimiter=separator)
    rows: list[list[str]] = []
    try:
        for row in lines:
            rows.append([field.strip() for field in row])
            if len(rows) == 2:
                break
    except csv.Error:
        pass  # an unclosed quote: polars reports it with its position
    return (rows[0] if rows else []), (rows[1] if len(rows) > 1 else [])


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


def _refuse_repeated(path: Path, names: Sequence[str]) -> None:
    repeated = [name for name, number in Counter(names).items() if number > 1]
    if repeated:
        raise ValueError(f"{path}: the header names {listed(map(repr, repeated))} more than once; rename the columns")


def _refuse_cut_off(path: Path, data: bytes, separator: str, width: int) -> None:
    """Refuse a short last row: polars fills it with nulls, but the file was truncated."""
    last = data.rsplit(b"\n", 1)[-1]
    if last.count(b'"') % 2:
        return  # the end of a quoted text of several lines
    found = len(_first_rows(last, separator)[0])
    if found < width:
        raise ValueError(f"{path}: its last row has {counted(found, 'field')} of {width}; the file looks truncated")


def _tidied(pl: Any, column: "polars.Series", notes: list[str]) -> "polars.Series":
    """Strip spaces, recognise missing values, and convert a column of numbers to numbers."""
    stripped = column.str.strip_chars()
    text = stripped.set(stripped.is_in(MISSING), None)
    present = len(text) - text.null_count()
    for dtype in (pl.Int64, pl.Float64):
        numbers = text.cast(dtype, strict=False)
        parsed = len(numbers) - numbers.null_count()
        if parsed == present:
            return numbers
    if parsed * 2 > present:
        odd = int((numbers.is_null() & text.is_not_null()).arg_true()[0])
        notes.append(
            f"read the column {column.name!r} as texts, since {counted(present - parsed, 'row')} of "
            f"{present:,} hold something other than numbers, the first is row {odd + 1}: {text[odd]!r}"
        )
    return text
