"""Row groups of Parquet files and record batches of Arrow files, read part by part within a bounded memory.

While a row group is open, a page and often a dictionary of each column are in memory, so hundreds of columns take
hundreds of megabytes. Then some columns are decoded at a time, and written to a temporary file part by part; the parts
are put together from there.
"""

import errno
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from .arrow_files import arrow_file, column_of, is_parquet, parquet_file, pyarrow_package
from .stored import part_rows

#: Bytes that an open row group or record batch takes in memory, about.
OPEN_BYTES = 32 * 1024 * 1024
#: Bytes of a column that are read from the disk at once.
BUFFER = 64 * 1024
#: Bytes of a page, and of a dictionary, at most: what writers of Parquet files keep to.
PAGE = 1024 * 1024


class _RowGroup:
    """A row group of a Parquet file."""

    def __init__(self, file: Path, number: int, names: Sequence[str]) -> None:
        self._file, self._number = file, number
        with parquet_file(file) as opened:
            self._metadata = opened.metadata
        group = self._metadata.row_group(number)
        columns = {name: column_of(group, name) for name in names}
        #: What each column takes in memory while it is decoded.
        self.sizes = {name: _while_decoded(column) for name, column in columns.items()}
        stored = [column.total_uncompressed_size / max(group.num_rows, 1) for column in columns.values()]
        self.rows = part_rows(sum(max(8.0, size) for size in stored))

    def batches(self, names: Sequence[str]) -> Iterator[Any]:
        """Yield the rows of some columns, part by part."""
        with parquet_file(self._file, BUFFER, self._metadata) as opened:
            yield from opened.iter_batches(self.rows, row_groups=[self._number], columns=names, use_threads=False)


def _while_decoded(column: Any) -> int:
    """Return how many bytes of a column are in memory while it is read: pages as they are stored, and decoded."""
    copies = 1 + int(column.has_dictionary_page) + int(column.compression != "UNCOMPRESSED")
    return BUFFER + copies * min(int(column.total_uncompressed_size), PAGE)


class _RecordBatch:
    """A record batch of an Arrow file."""

    def __init__(self, file: Path, number: int, names: Sequence[str]) -> None:
        self._file, self._number = file, number
        opened = arrow_file(file, names[:1])
        rows = max(opened.get_batch(number).num_rows, 1)
        # the file does not say how large a column is
        each = max(8.0, file.stat().st_size / opened.num_record_batches / len(arrow_file(file).schema.names) / rows)
        self.sizes = dict.fromkeys(names, int(each * rows))
        self.rows = part_rows(each * len(names))

    def batches(self, names: Sequence[str]) -> Iterator[Any]:
        """Yield the rows of some columns, part by part."""
        batch = arrow_file(self._file, names).get_batch(self._number).select(names)
        for start in range(0, batch.num_rows, self.rows):
            yield batch.slice(start, self.rows)


def read_piece(file: Path, number: int, names: Sequence[str]) -> Iterator[Any]:
    """Yield the rows of a row group or record batch, part by part."""
    kind = "row group" if is_parquet(file) else "record batch"
    try:
        piece = (_RowGroup if is_parquet(file) else _RecordBatch)(file, number, names)
        groups = _fitting(piece.sizes)
        yield from piece.batches(names) if len(groups) == 1 else _through_a_file(piece, groups, file.parent)
    except (OSError, pyarrow_package().ArrowException) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            needed = "smaller row groups, or TMPDIR, the name of a folder with space, avoid it"
            raise OSError(errno.ENOSPC, f"no space for the temporary file of a {kind} of {file}; {needed}") from None
        raise ValueError(f"{file}: {kind} {number + 1} cannot be read: {error}") from error


def _fitting(sizes: Mapping[str, int]) -> list[list[str]]:
    """Return groups of columns that fit into memory."""
    groups: list[list[str]] = [[]]
    taken = 0
    for name, size in sizes.items():
        if groups[-1] and taken + size > OPEN_BYTES:
            groups.append([])
            taken = 0
        groups[-1].append(name)
        taken += size
    return groups


def _through_a_file(piece: _RowGroup | _RecordBatch, groups: Sequence[Sequence[str]], folder: Path) -> Iterator[Any]:
    """Yield the rows of a piece of which some columns are decoded at a time."""
    with _temporary(folder) as file:
        stored = [_written(piece.batches(names), file) for names in groups]
        yield from _beside_each_other([_read(file, places) for places in stored])


def _temporary(folder: Path) -> BinaryIO:
    """Return a file without a name: in TMPDIR, or on the disk of the data, since the system's folder may be memory."""
    try:
        return tempfile.TemporaryFile(dir=os.environ.get("TMPDIR") or folder)
    except OSError:  # a folder that cannot be written to
        return tempfile.TemporaryFile()


def _written(batches: Iterator[Any], file: BinaryIO) -> list[tuple[int, int]]:
    """Write record batches, and return where each is and how long."""
    pa, places = pyarrow_package(), []
    for batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        start = file.tell()
        file.write(sink.getvalue())
        places.append((start, file.tell() - start))
    return places


def _read(file: BinaryIO, places: Sequence[tuple[int, int]]) -> Iterator[Any]:
    for start, length in places:
        file.seek(start)
        with pyarrow_package().ipc.open_stream(file.read(length)) as reader:
            yield reader.read_next_batch()


def _beside_each_other(columns: Sequence[Iterator[Any]]) -> Iterator[Any]:
    """Yield record batches of all columns, from those of groups of columns, which may end at other rows."""
    pa = pyarrow_package()
    waiting = [next(batches, None) for batches in columns]
    while all(batch is not None for batch in waiting):
        rows = min(batch.num_rows for batch in waiting if batch is not None)
        arrays = [array.slice(0, rows) for batch in waiting if batch is not None for array in batch.columns]
        names = [name for batch in waiting if batch is not None for name in batch.schema.names]
        yield pa.RecordBatch.from_arrays(arrays, names)
        waiting = [
            batch.slice(rows) if batch is not None and batch.num_rows > rows else next(batches, None)
            for batch, batches in zip(waiting, columns, strict=True)
        ]
