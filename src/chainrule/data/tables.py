"""Tables: CSV, TSV, Parquet and Arrow through polars, which is imported when the first table is read."""

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import columnar, delimited
from .arrow_files import SUFFIXES, inside
from .dataset import Dataset, require_names
from .evidence import Evidence
from .expansion import Expansion
from .readings import LeftOut, Reading, Texts, polars_package, values
from .wording import Counted, added_up, counted, listed

if TYPE_CHECKING:
    import polars

TARGET_NAMES = ("target", "label", "class", "y")
#: Rows of a Parquet or Arrow file that are read at a time, if not all at once.
ROWS = 1 << 16

OnePath = str | os.PathLike[str]
Files = OnePath | Sequence[OnePath]


def read_table(
    path: Files,
    target: str | None = None,
    task: str | None = None,
    exclude: Sequence[str] = (),
    header: bool | None = None,
    *,
    max_bytes: int | None = None,
    readings: Mapping[str, Reading] | None = None,
) -> Dataset:
    r"""Read a table with its target.

    Parameters
    ----------
    path : path or sequence of paths
        ``.csv``, ``.tsv`` (also with the suffix ``.gz``), ``.parquet``, ``.arrow``, ``.feather`` or ``.ipc``; several
        files with the same columns are read as one table. A path with ``*`` or ``?`` stands for all files that match,
        in alphabetical order, and a folder of Parquet or Arrow files for all of them. CSV is UTF-8,
        UTF-16 or Windows-1252; commas, semicolons, tabs and vertical bars are recognised as separators; empty fields
        and ``?``, ``-``, ``NA``, ``n/a``, ``nan``, ``null`` and the like are missing. All rows decide whether the
        texts of a column are numbers (also with decimal commas, signs between thousands, currencies, units),
        booleans as words, dates or times of day; the notes say what is unusual or ambiguous.
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
    readings : mapping of str to Reading, optional
        What the columns mean, instead of deciding it; from the `readings` of another dataset or a `Preprocessor`.

    Returns
    -------
    Dataset
        Rows whose target is missing are left out, as its notes say.

    Raises
    ------
    ValueError
        For an unreadable or truncated file, absent columns (the message suggests the nearest name), column types that
        are neither numbers, texts nor dates, and the errors of `Dataset.from_columns`. With `readings`, for a
        text that they cannot read; the message names row and column.
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
    table = Table.open(path, header, [*exclude, *([target] if target else [])], max_bytes)
    notes = list(table.notes)
    if target is None:
        target = _usual_target(table.called, [name for name in table.names if name not in exclude])
        notes.append(f"used the column {target!r} as the target because of its name")
    require_names([*exclude, target], table.names, table.called)
    if readings is None:
        readings, said = table.decide(exclude, target)
        notes += said
    frame, places = table.read(readings, notes)
    dataset = Dataset.from_frame(frame, target, task=task, source=table.called, notes=notes, rows=places)
    return replace(dataset, readings=readings)


def read_table_features(
    path: Files,
    header: bool | None = None,
    *,
    max_bytes: int | None = None,
    readings: Mapping[str, Reading] | None = None,
) -> Dataset:
    """Read a table, every column as a feature; parameters and errors as for `read_table`."""
    table = Table.open(path, header, list(readings or ()), max_bytes)
    notes = list(table.notes)
    if readings is None:
        readings, said = table.decide()
        notes += said
    frame, places = table.read(readings, notes)
    return replace(Dataset.from_frame(frame, source=table.called, notes=notes, rows=places), readings=readings)


def read_parts(
    path: Files,
    readings: Mapping[str, Reading],
    *,
    keep: Sequence[str] = (),
    max_bytes: int | None = None,
) -> Iterator[tuple[Dataset, dict[str, list[Any]]]]:
    r"""Read a table part by part: the rows that `read_table_features` reads at once.

    Parameters
    ----------
    path, readings, max_bytes
        As for `read_table`; without readings, the whole table is read first to decide them.
    keep : sequence of str
        Columns whose values are given beside each part as they are in the file.

    Yields
    ------
    part : Dataset
        Its `rows` are positions in the whole table.
    kept : dict of str to list

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from chainrule import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "rows.csv"
    ...     _ = file.write_text("size,kind\n1,a\n2,b\n3,a\n")
    ...     parts = [(len(part), kept) for part, kept in data.read_parts(file, {}, keep=["kind"])]
    >>> parts
    [(3, {'kind': ['a', 'b', 'a']})]
    """
    table = Table.open(path, None, list(readings), max_bytes)
    require_names(keep, table.names, table.called)
    decided_now, notes = ({}, []) if readings else table.decide()
    notes = [*table.notes, *notes]
    rows = 0
    for frame, places, blank in table.parts(readings or decided_now, ROWS, keep, notes):
        notes += [Counted(blank_rows, (), blank)] if blank else []
        if not len(places):
            continue
        rows += len(places)
        kept = {name: frame[_kept(name)].to_list() for name in keep}
        part = frame.drop(_kept(name) for name in keep)
        yield Dataset.from_frame(part, source=table.called, notes=notes, rows=places), kept
        notes.clear()
    if not rows:
        raise table.without_rows()


def _usual_target(path: str, columns: Sequence[str]) -> str:
    usual = [name for name in columns if name.casefold() in TARGET_NAMES]
    if len(usual) == 1:
        return usual[0]
    found = f"several are possible ({listed(usual)})" if usual else f"the columns are {listed(columns)}"
    raise ValueError(f"{path}: target: expected the name of a column: {found}")


@dataclass(frozen=True)
class Table:
    """The rows of one or several files.

    Attributes
    ----------
    files : list of Delimited or Parquet
    called : str
        As messages name it.
    names : tuple of str
        The columns, in the order of the first file.
    notes : tuple of str
        Sentences on how the files are written.
    """

    files: "list[delimited.Delimited | columnar.Columnar]"
    called: str
    names: tuple[str, ...]
    notes: tuple[str, ...]

    @classmethod
    def open(
        cls, path: Files, header: bool | None = None, named: Sequence[str] = (), max_bytes: int | None = None
    ) -> "Table":
        """Find out how the files are written, and that they have the same columns."""
        paths = matching(path)
        notes: list[str] = []
        files = [_opened(Expansion(p, max_bytes), header, named, notes) for p in paths]
        names = files[0].names
        for file, place in zip(files, paths, strict=True):
            if set(file.names) != set(names):
                odd = sorted(set(file.names) ^ set(names))
                raise ValueError(
                    f"{place}: expected the columns of {paths[0]}, found a difference in {listed(map(repr, odd))}"
                )
        called = f"{paths[0]}" if len(paths) == 1 else f"{paths[0]} and {counted(len(paths) - 1, 'more file')}"
        if len(paths) > 1:
            notes.append(f"read {len(paths):,} files as one table: {listed(paths, 4)}")
        return cls(files, called, names, tuple(dict.fromkeys(notes)))

    def decide(self, exclude: Sequence[str] = (), target: str | None = None) -> tuple[dict[str, Reading], list[str]]:
        """Return what the texts of each column mean, and sentences on what is unusual, from all rows."""
        used = [name for name in self.names if name not in exclude]
        texts = [name for name in used if any(name in file.texts(used) for file in self.files)]
        evidence = Evidence(texts, used, target)
        with _explained(self.called):
            row = 0
            for file in self.files:
                for part in file.parts(evidence.wanted, ROWS) if evidence.wanted else ():
                    evidence.add(part, row)
                    row += part.height
        separators = [f.separator for f in self.files if isinstance(f, delimited.Delimited)]
        return evidence.decided(separators[0] if separators else ",", exclude)

    def read(self, readings: Mapping[str, Reading], notes: list[str]) -> "tuple[polars.DataFrame, NDArray[Any]]":
        """Return all rows that have a value, and the position of each."""
        pl = polars_package()
        short: list[str] = []
        parts = list(self.parts(readings, notes=short))
        notes += added_up(short)
        height = sum(len(places) for _, places, _ in parts)
        if not height:
            raise self.without_rows()
        blank = sum(lacking for _, _, lacking in parts)
        if blank:
            notes.append(Counted(blank_rows, (), blank))
        frame = pl.concat([frame for frame, _, _ in parts], how="vertical_relaxed")
        whole = [c.name for c in frame if c.dtype == pl.Float64 and bool(((c % 1 == 0) & (c.abs() < 2**53)).all())]
        return frame.with_columns(pl.col(whole).cast(pl.Int64)), np.concatenate([places for _, places, _ in parts])

    def parts(
        self,
        readings: Mapping[str, Reading],
        rows: int | None = None,
        keep: Sequence[str] = (),
        notes: list[str] | None = None,
    ) -> "Iterator[tuple[polars.DataFrame, NDArray[Any], int]]":
        """Yield rows that have a value, the position of each, and how many have none.

        The columns of texts mean what `readings` say; those that `keep` names are added as they are, under another
        name (`_kept`).
        """
        used = [name for name in self.names if not isinstance(readings.get(name), LeftOut)]
        start = 0
        with _explained(self.called):
            for file in self.files:
                before = start
                for part in file.parts(list(dict.fromkeys([*used, *keep])), rows, notes):
                    at = f"{file.source.path}", start - before
                    frame = part.select(meaning(part[name], readings.get(name), *at) for name in used)
                    blank = _blank(part.select(used))
                    places = np.arange(start, start + part.height)
                    start += part.height
                    frame = frame.with_columns(part[name].alias(_kept(name)) for name in keep)
                    yield frame.filter(~blank), places[~blank], int(blank.sum())

    def without_rows(self) -> ValueError:
        """Return the error of a table without rows."""
        return ValueError(f"{self.called}: the table has the columns {listed(self.names)} but no rows")


def meaning(column: "polars.Series", reading: Reading | None, path: str, start: int) -> "polars.Series":
    """Return what a column of texts means; `start` is the position of its first row in the file."""
    pl = polars_package()
    if reading is None or isinstance(reading, Texts) or column.dtype != pl.String:
        return column
    found, unread = values(reading, column)
    if unread.any():
        row = int(unread.arg_max() or 0)
        raise ValueError(
            f"{path}: row {start + row + 1} of the column {column.name!r} holds {column[row]!r}, expected "
            f"{reading.what} as in training ({counted(int(unread.sum()), 'such row')}): correct it, or leave the "
            "field empty"
        )
    return found.alias(column.name)


def _kept(name: str) -> str:
    return f"as it is: {name}"


def blank_rows(number: int, _: Any) -> str:
    """Return a sentence on rows that were left out."""
    return f"left out {counted(number, 'row')} without any value"


def matching(path: Files) -> list[OnePath]:
    """Return the files of a path or a sequence of paths, each of which may be a pattern, or a folder of a table."""
    paths: list[OnePath] = []
    for one in [path] if isinstance(path, str | os.PathLike) else path:
        pattern = not Path(one).exists() and any(sign in f"{one}" for sign in "*?[")
        found: Sequence[OnePath] = sorted(glob.glob(f"{one}")) if pattern else (inside(Path(one)) or [one])
        if not found:
            raise FileNotFoundError(f"{one}: no file matches")
        paths += found
    return paths


def _opened(
    source: Expansion, header: bool | None, named: Sequence[str], notes: list[str]
) -> "delimited.Delimited | columnar.Columnar":
    with _explained(f"{source.path}"):
        has_types = Path(source.path).suffix.casefold() in SUFFIXES
        file = columnar.opened(source) if has_types else delimited.sniffed(source, header, named, notes)
    if not file.names:
        raise ValueError(f"{source.path}: the table has no columns")
    return file


@contextmanager
def _explained(called: str) -> Iterator[None]:
    """Turn errors of polars into a ValueError that names the file."""
    pl = polars_package()
    try:
        yield
    except pl.exceptions.PolarsError as error:
        text = str(error).strip()
        reason = text.splitlines()[0] if text else type(error).__name__
        raise ValueError(f"{called}: cannot be read as a table: {reason}") from None


def _blank(frame: "polars.DataFrame") -> NDArray[Any]:
    """Return which rows have no value, if there are several columns."""
    pl = polars_package()
    if frame.width < 2:
        return np.zeros(frame.height, bool)
    found: NDArray[Any] = frame.select(pl.all_horizontal(pl.all().is_null())).to_series().to_numpy()
    return found
