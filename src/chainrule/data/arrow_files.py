"""Files of Parquet and Arrow: which there are, their columns, and how many rows their pieces have."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .wording import listed

SUFFIXES = (".parquet", ".arrow", ".feather", ".ipc")


def found(paths: Any) -> list[Path]:
    """Return the files of a path, pattern or folder, or of several; raise if there are none of a known kind."""
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    files: list[Path] = []
    for path in given:
        text = os.fspath(path)
        if Path(text).is_dir():
            those = inside(Path(text))
        elif Path(text).exists():
            those = [Path(text)]
        else:
            those = [Path(name) for name in sorted(glob.glob(text, recursive=True))]
        if not those:
            raise FileNotFoundError(
                f"{text}: no file found; expected {listed(SUFFIXES)}, a folder of them, or a pattern"
            )
        files += those
    odd = next((f for f in files if f.suffix.casefold() not in SUFFIXES), None)
    if odd is not None:
        raise ValueError(f"{odd}: expected a file that ends in {listed(SUFFIXES)}")
    return files


def inside(folder: Path) -> list[Path]:
    """Return the Parquet and Arrow files in a folder and in its folders, in the order of their names."""
    if not folder.is_dir():
        return []
    named = (f for f in folder.rglob("*") if f.suffix.casefold() in SUFFIXES and not f.name.startswith((".", "_")))
    return sorted(f for f in named if f.is_file())


def pyarrow_package() -> Any:
    """Import pyarrow."""
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError("reading rows that stay on disk needs pyarrow: pip install 'chainrule[arrow]'") from error
    return pyarrow


def parquet_file(file: Path, buffer_size: int = 0, metadata: Any = None) -> Any:
    """Open a Parquet file, to be read through buffers of some bytes for each column."""
    from pyarrow import parquet

    try:
        # without pre_buffer=False, pyarrow reads whole row groups at once, whatever buffer_size is
        return parquet.ParquetFile(file, buffer_size=buffer_size, pre_buffer=False, metadata=metadata)
    except pyarrow_package().ArrowException as error:
        raise ValueError(f"{file}: cannot be read as Parquet: {error}") from None


def arrow_file(file: Path, names: Sequence[str] | None = None) -> Any:
    """Open an Arrow file, of which only some columns are read."""
    pa = pyarrow_package()
    try:
        opened = pa.ipc.open_file(pa.OSFile(str(file)))
        if names is None:
            return opened
        fields = [opened.schema.get_field_index(name) for name in names]
        return pa.ipc.open_file(pa.OSFile(str(file)), options=pa.ipc.IpcReadOptions(included_fields=fields))
    except pa.ArrowException as error:
        raise ValueError(f"{file}: cannot be read as an Arrow file: {error}") from None


def is_parquet(file: Path) -> bool:
    """Whether a file is one of Parquet, by its name."""
    return file.suffix.casefold() == ".parquet"


def stamp(file: Path) -> tuple[int, int]:
    """Return what differs after a file was written anew."""
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def schema_of(file: Path) -> Any:
    """Return the columns of a file."""
    if not is_parquet(file):
        return arrow_file(file).schema.remove_metadata()
    with parquet_file(file) as opened:
        return opened.schema_arrow.remove_metadata()


def pieces_of(file: Path, target: str | None) -> Iterator[tuple[int, int]]:
    """Yield the rows of each row group or record batch, and how many are without a target."""
    if not is_parquet(file):
        opened = arrow_file(file, [target or schema_of(file).names[0]])
        for i in range(opened.num_record_batches):
            batch = opened.get_batch(i)
            yield batch.num_rows, 0 if target is None else batch.column(target).null_count
        return
    with parquet_file(file) as opened:
        for i in range(opened.metadata.num_row_groups):
            group = opened.metadata.row_group(i)
            yield group.num_rows, 0 if target is None else _nulls(opened, i, target)


def column_of(row_group: Any, name: str) -> Any:
    """Return what the metadata of a row group says of a column."""
    places = range(row_group.num_columns)
    return next(c for c in map(row_group.column, places) if c.path_in_schema == name)


def _nulls(opened: Any, group: int, name: str) -> int:
    """Return how many values of a column are missing in a row group, from its statistics if it has them."""
    statistics = column_of(opened.metadata.row_group(group), name).statistics
    if statistics is not None and statistics.has_null_count:
        return int(statistics.null_count)
    return int(opened.read_row_group(group, columns=[name]).column(0).null_count)
