"""Files of Parquet and Arrow: their columns, and their row groups or record batches one at a time."""

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .stored import PART_ROWS
from .wording import listed

SUFFIXES = (".parquet", ".arrow", ".feather", ".ipc")
#: Bytes that are read ahead of an open row group, in all and for each column.
BUFFERS, LARGEST_BUFFER, SMALLEST_BUFFER = 1 << 24, 1 << 20, 1 << 14


def found(paths: Any) -> list[Path]:
    """Return the files of a path, pattern or folder, or of several; raise if there are none of a known kind."""
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    files: list[Path] = []
    for path in given:
        text = os.fspath(path)
        if Path(text).is_dir():
            inside = sorted(f for f in Path(text).rglob("*") if f.suffix.casefold() in SUFFIXES)
        elif Path(text).exists():
            inside = [Path(text)]
        else:
            inside = [Path(name) for name in sorted(glob.glob(text, recursive=True))]
        if not inside:
            raise FileNotFoundError(
                f"{text}: no file found; expected {listed(SUFFIXES)}, a folder of them, or a pattern"
            )
        files += inside
    odd = next((f for f in files if f.suffix.casefold() not in SUFFIXES), None)
    if odd is not None:
        raise ValueError(f"{odd}: expected a file that ends in {listed(SUFFIXES)}")
    return files


def pyarrow_package() -> Any:
    """Import pyarrow."""
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError("reading rows that stay on disk needs pyarrow: pip install 'chainrule[arrow]'") from error
    return pyarrow


def _parquet(file: Path, columns: int = 1) -> Any:
    from pyarrow import parquet

    size = max(min(BUFFERS // columns, LARGEST_BUFFER), SMALLEST_BUFFER)
    try:
        return parquet.ParquetFile(file, buffer_size=size)  # not a whole row group at once
    except pyarrow_package().ArrowException as error:
        raise ValueError(f"{file}: cannot be read as Parquet: {error}") from None


def _ipc(file: Path) -> Any:
    pa = pyarrow_package()
    try:
        return pa.ipc.open_file(pa.OSFile(str(file)))
    except pa.ArrowException as error:
        raise ValueError(f"{file}: cannot be read as an Arrow file: {error}") from None


def _is_parquet(file: Path) -> bool:
    return file.suffix.casefold() == ".parquet"


def stamp(file: Path) -> tuple[int, int]:
    """Return what differs after a file was written anew."""
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def schema_of(file: Path) -> Any:
    """Return the columns of a file."""
    if not _is_parquet(file):
        return _ipc(file).schema.remove_metadata()
    with _parquet(file) as opened:
        return opened.schema_arrow.remove_metadata()


def pieces_of(file: Path, target: str | None) -> Iterator[tuple[int, int]]:
    """Yield the rows of each row group or record batch, and how many are without a target."""
    if not _is_parquet(file):
        opened = _ipc(file)
        for i in range(opened.num_record_batches):
            batch = opened.get_batch(i)
            yield batch.num_rows, 0 if target is None else batch.column(target).null_count
        return
    with _parquet(file) as opened:
        for i in range(opened.metadata.num_row_groups):
            group = opened.metadata.row_group(i)
            yield group.num_rows, 0 if target is None else _nulls(opened, i, target)


def _nulls(opened: Any, group: int, name: str) -> int:
    """Return how many values of a column are missing in a row group, from its statistics if it has them."""
    stored = opened.metadata.row_group(group)
    place = next(k for k in range(stored.num_columns) if stored.column(k).path_in_schema == name)
    statistics = stored.column(place).statistics
    if statistics is not None and statistics.has_null_count:
        return int(statistics.null_count)
    return int(opened.read_row_group(group, columns=[name]).column(0).null_count)


def read_piece(file: Path, number: int, names: list[str]) -> Iterator[Any]:
    """Yield the rows of a row group or record batch, some at a time."""
    if not _is_parquet(file):
        batch = _ipc(file).get_batch(number).select(names)
        for start in range(0, batch.num_rows, PART_ROWS):
            yield batch.slice(start, PART_ROWS)
        return
    with _parquet(file, len(names)) as opened:
        yield from opened.iter_batches(PART_ROWS, row_groups=[number], columns=names, use_threads=False)
