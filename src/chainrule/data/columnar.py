"""Parquet and Arrow files: their columns and rows, part by part."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..frames import EXPECTED
from .arrow_files import is_parquet
from .delimited import stripped
from .expansion import Expansion
from .readings import polars_package

if TYPE_CHECKING:
    import polars


@dataclass(frozen=True)
class Columnar:
    """A Parquet or Arrow file.

    Attributes
    ----------
    source : Expansion
    schema : mapping of str to polars type
        By the names of the columns without spaces around them.
    stored : mapping of str to str
        The names as they are in the file.
    """

    source: Expansion
    schema: Any
    stored: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(self.schema)

    def texts(self, columns: Sequence[str]) -> list[str]:
        """Which of these columns hold texts."""
        return [name for name in columns if self.schema[name] == polars_package().String]

    def parts(
        self, columns: Sequence[str], rows: int | None = None, notes: list[str] | None = None
    ) -> "Iterator[polars.DataFrame]":
        """Yield these columns, `rows` at a time or all at once; texts stripped, and null where missing."""
        pl, path = polars_package(), self.source.path
        for name in columns:  # before their values take memory
            if self.schema[name].is_nested():
                raise ValueError(f"column {name!r} of {path} is of type {self.schema[name]}; {EXPECTED}")
        frame = self._scan().select(pl.col(self.stored[name]).alias(name) for name in columns)
        height = self._scan().select(pl.len()).collect().item()
        step = rows or max(height, 1)
        texts = self.texts(columns)
        self._check(pl, len(columns), texts, min(step, height))
        for start in range(0, max(height, 1), step):
            part = frame.slice(start, step).collect()
            yield part.with_columns(stripped(pl, name) for name in texts)

    def _check(self, pl: Any, columns: int, texts: Sequence[str], rows: int) -> None:
        size, width = Path(self.source.path).stat().st_size, 8 * (columns + len(texts))
        self.source.check(rows * width, size)
        if texts:
            # a dictionary holds a text once, however many rows have it
            lengths = pl.col([self.stored[name] for name in texts]).str.len_bytes().cast(pl.UInt64)
            sizes = self._scan().select(lengths).slice(0, rows).sum().collect()
            self.source.check(rows * width + sum(sizes.row(0)), size)

    def _scan(self) -> Any:
        pl, path = polars_package(), Path(self.source.path)
        return pl.scan_parquet(path) if is_parquet(path) else pl.scan_ipc(path)


def opened(source: Expansion) -> Columnar:
    """Read what columns a file has."""
    pl, path = polars_package(), Path(source.path)
    schema = pl.read_parquet_schema(path) if is_parquet(path) else pl.read_ipc_schema(path)
    return Columnar(
        source, {name.strip(): dtype for name, dtype in schema.items()}, {name.strip(): name for name in schema}
    )
