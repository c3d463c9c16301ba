"""Tables of Parquet and Arrow files that stay on disk, read through pyarrow, which is imported when it is needed."""

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.arguments import integer, number
from ..frames import EXPECTED
from .arrow_files import found, pieces_of, pyarrow_package, schema_of, stamp
from .arrow_pieces import read_piece
from .arrow_texts import TextReader, is_text
from .dataset import Dataset
from .preprocess import Preprocessor
from .readings import Reading
from .stored import BLOCK_BYTES, SAMPLE_BYTES, Part, StoredRows, picked
from .wording import counted, listed, suggestion

#: Rows of a sample to which the preprocessing is fitted, at most.
SAMPLE_ROWS = 200_000
#: Bytes that a number, and what a text adds to its letters, take in a data set.
NUMBER, TEXT = 8, 64
#: Different texts of a column that a sample has for certain.
MOST_TEXTS = 10_000


class ArrowRows(StoredRows):
    """The rows of Parquet or Arrow files, of which some row groups or record batches are in memory at a time.

    Parameters
    ----------
    paths : path, or sequence of paths
        Files of one schema (``.parquet``; ``.arrow``, ``.feather`` and ``.ipc`` without compression of the file),
        folders of them, or patterns such as ``"part-*.parquet"``. Their rows follow each other in the order of the
        names.
    target : str, optional
        The target's column; without one, the rows have inputs alone.
    columns : sequence of str, optional
        The columns of the inputs; by default all others.
    transform : Preprocessor, optional
        Prepares inputs and target. Without one the columns must hold numbers, and the target numbers or class ids.
    block_bytes : int
        As for `StoredRows`.

    Raises
    ------
    ValueError, FileNotFoundError
        If no file is found, files differ in their columns, or a column does not exist.
    ImportError
        Without pyarrow.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import pyarrow as pa
    >>> import pyarrow.parquet as pq
    >>> import chainrule as cr
    >>> size = np.linspace(0, 1, 1000)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pq.write_table(pa.table({"size": size, "price": 2 * size}), f"{folder}/a.parquet", row_group_size=300)
    ...     rows = cr.data.ArrowRows(f"{folder}/*.parquet", "price")
    ...     prepared = rows.prepared_by(rows.fit())
    ...     history = cr.fit(cr.nn.Linear(1, 1), prepared, loss="mse", epochs=20, progress=False)
    >>> list(rows.pieces), rows.names, history["loss"][-1] < history["loss"][0]
    ([300, 300, 300, 100], ('size',), True)
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        target: str | None = None,
        *,
        columns: Sequence[str] | None = None,
        transform: Preprocessor | None = None,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        super().__init__(block_bytes=block_bytes)
        pyarrow_package()
        self.files, self.target, self._transform = found(paths), target, transform
        self._stamps = {file: stamp(file) for file in self.files}
        self._schema = schema_of(self.files[0])
        wanted = [*(columns or ()), *([] if target is None else [target])]
        for name in wanted:
            if name not in self._schema.names:
                names = self._schema.names
                raise ValueError(
                    f"{self.files[0]}: there is no column {name!r}; the columns are {listed(names)}."
                    f"{suggestion(name, names)}"
                )
        self.names = tuple(n for n in (columns or self._schema.names) if n != target)
        self._check_columns()
        self._pieces: list[tuple[Path, int, int]] = []  # file, number within it, rows with a target
        missing = 0
        for file in self.files:
            if not schema_of(file).equals(self._schema):
                raise ValueError(f"{file} has other columns than {self.files[0]}: {schema_of(file)}")
            counts = list(pieces_of(file, target))
            self._pieces += [(file, i, rows - without) for i, (rows, without) in enumerate(counts) if rows > without]
            missing += sum(without for _, without in counts)
        if not self._pieces:
            raise ValueError(f"{self.files[0]}: the table has the columns {listed(self._schema.names)} but no rows")
        self._counts = [rows for _, _, rows in self._pieces]
        self._held: tuple[tuple[float, int, bool], ...] = ()  # share and seed of each split, and which part this is
        self.notes = [f"left out {counted(missing, 'row')} without a value of {target}"] if missing else []

    def _check_columns(self) -> None:
        names, target, file = self._schema.names, self.target, self.files[0]
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise ValueError(f"{file} has several columns of the same name: {twice!r}")
        if not self.names:
            raise ValueError(f"{file}: the target {target!r} is its only column; expected at least one feature")
        for name in self._columns:
            kind = self._schema.field(name).type
            if _holds_other_things(kind):
                expected = EXPECTED.partition(":")[0] if name == target else EXPECTED
                what = "the target" if name == target else "column"
                raise ValueError(f"{file}: {what} {name!r} is of type {kind}; {expected}")

    @property
    def pieces(self) -> Sequence[int]:
        """The number of rows of each row group or record batch."""
        return self._counts

    def prepared_by(self, transform: Preprocessor) -> "ArrowRows":
        """Return the same rows, prepared.

        Examples
        --------
        See `ArrowRows`.
        """
        other = copy.copy(self)
        other._transform = transform
        return other

    def split(self, share: float, seed: int = 0) -> "tuple[ArrowRows, ArrowRows]":
        """Return the rows without a random share of them, and these; see `StoredRows.split`."""
        share, seed = number("share", share, above=0, below=1), integer("seed", seed, at_least=0)
        return self._part(share, seed, held=False), self._part(share, seed, held=True)

    def _part(self, share: float, seed: int, *, held: bool) -> "ArrowRows":
        other = copy.copy(self)
        other._held = (*self._held, (share, seed, held))
        other._counts = [int(other._mask(piece).sum()) for piece in range(len(self._pieces))]
        if not len(other):
            part = "held-out" if held else "remaining"
            raise ValueError(f"share={share:g} of {len(self):,} rows leaves the {part} part empty")
        return other

    def _mask(self, piece: int) -> NDArray[np.bool_]:
        """Return which rows of a piece with a target are in this part."""
        mask = np.ones(self._pieces[piece][2], bool)
        for share, seed, held in self._held:
            rows = np.flatnonzero(mask)
            mask[rows[picked(len(rows), piece, share, seed) != held]] = False
        return mask

    def read(self, piece: int) -> Iterator[Part]:
        """Yield the rows of a piece as inputs and target."""
        readings = None if self._transform is None else self._transform.readings
        for batch in self.tables(piece, self._texts(readings) if readings else None):
            yield self._prepared(batch)

    def tables(self, piece: int, read: Callable[[Any, str, int], Any] | None = None) -> Iterator[Any]:
        """Yield the rows of a piece as record batches of pyarrow, with the columns of inputs and target.

        `read` is called with each batch before rows are left out, with where it is from and its first row there.
        """
        file, number, _ = self._pieces[piece]
        if stamp(file) != self._stamps[file]:
            raise ValueError(
                f"{file} was changed after its rows were counted: begin again, with files that stay as they are"
            )
        mask, start, first = self._mask(piece) if self._held else None, 0, 0
        for raw in read_piece(file, number, self._columns):
            batch, lacking = raw, 0 if self.target is None else raw.column(self.target).null_count
            if read is not None:
                batch, first = read(raw, f"{file}, row group {number + 1}", first), first + raw.num_rows
            if self.target is not None:
                batch = self._with_target(batch, file, lacking)
            if mask is not None:
                here, start = mask[start : start + batch.num_rows], start + batch.num_rows
                batch = batch.filter(pyarrow_package().array(here))
            if batch.num_rows:
                yield batch

    @property
    def _columns(self) -> list[str]:
        return [*self.names, *([] if self.target is None else [self.target])]

    def _texts(self, readings: Mapping[str, Reading] | None) -> TextReader:
        return TextReader(self._schema, self._columns, self.target, readings)

    def _with_target(self, batch: Any, file: Path, lacking: int) -> Any:
        """Return the rows that have a target, of which the file says that so many lack it."""
        target = batch.column(self.target)
        if target.null_count > lacking:
            raise ValueError(
                f"{file}: the target {self.target!r} holds texts that stand for missing values, such as '' or 'NA'; "
                "store missing values as nulls"
            )
        if pyarrow_package().types.is_floating(target.type) and np.isnan(target.drop_null().to_numpy()).any():
            raise ValueError(f"{file}: the target {self.target!r} holds NaN; store missing values as nulls")
        return batch.filter(target.is_valid()) if target.null_count else batch

    def sample(
        self, rows: int = SAMPLE_ROWS, seed: int = 0, *, task: str | None = None,
        readings: Mapping[str, Reading] | None = None,
    ) -> Dataset:  # fmt: skip
        """Return a random sample of the rows, drawn in one pass, with each text and class that occurs at least once.

        Of a column with more than 10,000 texts those found first. All rows, in their order, if there are no more. The
        sample has fewer rows if they would take more than 128 MiB; the rows that are kept for their texts take at most
        half of it.
        What the texts of a column mean, all rows of the files decide as in `read_table`, unless `readings` say it.
        """
        drawn = _Sample(integer("rows", rows, at_least=1), integer("seed", seed, at_least=0), self.target)
        texts = self._texts(readings)
        for piece in range(len(self._pieces)):
            for batch in self.tables(piece, texts):
                drawn.add(batch)
        source = f"{self.files[0]}" + (f" and {len(self.files) - 1} more" if len(self.files) > 1 else "")
        found, notes = texts.decided()
        table = texts.finished(drawn.table(), source)
        dataset = Dataset.from_frame(table, self.target, task=task, source=source, notes=notes)
        return replace(dataset, readings=found)

    def fit(self, rows: int = SAMPLE_ROWS, seed: int = 0) -> Preprocessor:
        """Return the preprocessing fitted to such a sample; of a table with no more rows, to all of them."""
        return Preprocessor.fit(self.sample(rows, seed))

    def _prepared(self, batch: Any) -> Part:
        if self._transform is not None:
            task = None if self.target is None else self._transform.task
            frame = Dataset.from_frame(pyarrow_package().Table.from_batches([batch]), self.target, task=task)
            y = None if self.target is None else self._transform.transform_target(frame)
            return self._transform.transform(frame), y
        columns = [_numbers(batch.column(name), name) for name in self.names]
        y = None if self.target is None else _numbers(batch.column(self.target), self.target)
        return np.stack(columns, axis=1), None if y is None else y if y.dtype.kind in "iu" else y[:, None]


class _Sample:
    """Rows drawn from record batches: those with the least of random numbers, and the first with each text."""

    def __init__(self, rows: int, seed: int, target: str | None) -> None:
        self._rows, self._target = rows, target
        self._draws = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(3,))))
        self._batches: list[Any] = []
        self._keys: list[NDArray[Any]] = []
        self._seen: dict[str, set[Any]] = {}
        self._held, self._limit = 0, np.inf
        self._bytes, self._kept_for_texts = 0.0, 0.0

    def add(self, batch: Any) -> None:
        """Draw from the rows of a record batch."""
        keys, width = self._draws.random(batch.num_rows), _width(batch)
        if self._target is not None:  # each class is in the sample, whatever its size
            keys[self._first_with_a_text(batch, [self._target])] = -1.0
        left = int((SAMPLE_BYTES / 2 - self._kept_for_texts) / width)
        if left > 0:
            others = [name for name in batch.schema.names if name != self._target]
            first = self._first_with_a_text(batch, others)[:left]
            keys[first] = -1.0
            self._kept_for_texts += width * len(first)
        picked = np.flatnonzero(keys < self._limit)
        if len(picked):
            taken = _those(batch, keys < self._limit)
            self._batches.append(taken)
            self._keys.append(keys[picked])
            self._held += len(picked)
            self._bytes += _width(taken) * len(picked)
        if self._held > 2 * self._rows + 65536 or self._bytes > 1.5 * SAMPLE_BYTES:
            self._prune()

    def _first_with_a_text(self, batch: Any, names: Sequence[str]) -> list[int]:
        """Return the rows that have a text or class which no earlier row has."""
        pa, rows = pyarrow_package(), []
        for name in names:
            values = batch.column(name)
            kind = values.type
            classes = pa.types.is_integer(kind) or pa.types.is_boolean(kind)
            if not (is_text(kind) or pa.types.is_dictionary(kind) or (name == self._target and classes)):
                continue
            seen = self._seen.setdefault(name, set())
            if len(seen) >= MOST_TEXTS:
                continue
            encoded = values if pa.types.is_dictionary(kind) else values.dictionary_encode()
            codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            used, first = np.unique(codes, return_index=True)
            dictionary = encoded.dictionary.to_pylist()
            for code, row in zip(used.tolist(), first.tolist(), strict=True):
                if code >= 0 and dictionary[code] not in seen and len(seen) < MOST_TEXTS:
                    seen.add(dictionary[code])
                    rows.append(row)
        return rows

    def _prune(self) -> None:
        """Keep the rows with the least numbers, in their order."""
        self._rows = min(self._rows, max(1, int(SAMPLE_BYTES * self._held / max(self._bytes, 1))))
        keys = np.concatenate(self._keys)
        if len(keys) > self._rows:
            self._limit = max(np.partition(keys, self._rows)[self._rows], 0.0)  # those below 0 are kept in any case
        self._batches = [_those(batch, k < self._limit) for batch, k in zip(self._batches, self._keys, strict=True)]
        self._keys = [k[k < self._limit] for k in self._keys]
        self._held = sum(batch.num_rows for batch in self._batches)
        self._bytes = sum(_width(batch) * batch.num_rows for batch in self._batches)

    def table(self) -> Any:
        """Return the sample."""
        self._prune()
        return pyarrow_package().Table.from_batches(self._batches).combine_chunks()


def _those(batch: Any, mask: NDArray[np.bool_]) -> Any:
    """Return some rows of a record batch, without the memory of the others."""
    return batch.take(pyarrow_package().array(np.flatnonzero(mask)))


def _width(batch: Any) -> float:
    """Return how many bytes a row takes in a data set, about."""
    each = [
        TEXT + column.nbytes / max(batch.num_rows, 1) if is_text(column.type) else NUMBER for column in batch.columns
    ]
    return float(sum(each))


def _holds_other_things(kind: Any) -> bool:
    types = pyarrow_package().types
    return bool(
        types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind) or types.is_binary_view(kind) or types.is_interval(kind)
    )  # fmt: skip


def _numbers(values: Any, name: str) -> NDArray[Any]:
    """Return a column as an array of numbers; what is missing as NaN."""
    pa = pyarrow_package()
    kind = values.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise ValueError(
            f"column {name!r} holds {kind}; without transform= all columns must hold numbers: give the preprocessing "
            "that rows.fit() returns, or leave it out of columns="
        )
    array: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return array.astype(np.int64) if array.dtype.kind == "b" else array
