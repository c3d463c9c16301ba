"""Columns of texts in Arrow tables: they mean what they would mean in a table that is read into memory."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .delimited import stripped
from .evidence import Evidence
from .readings import LeftOut, Numbers, Reading, polars_package
from .tables import meaning

if TYPE_CHECKING:
    import polars


class TextReader:
    """Reads the texts of record batches: without spaces around them, null where missing, numbers and dates as such.

    Parameters
    ----------
    schema : pyarrow.Schema
    names : sequence of str
        The columns of the batches.
    target : str, optional
    readings : mapping of str to Reading, optional
        What the texts mean; without them, the rows that are read decide it.
    """

    def __init__(
        self, schema: Any, names: Sequence[str], target: str | None, readings: Mapping[str, Reading] | None = None
    ) -> None:
        self._texts = [name for name in names if is_text(schema.field(name).type)]
        self._evidence = Evidence(self._texts, names, target) if readings is None else None
        self._readings, self._rows = readings or {}, 0

    def __call__(self, batch: Any, place: str, start: int) -> Any:
        """Return a record batch with its texts read; `start` is the number of its first row in `place`."""
        wanted = self._texts if self._evidence is None else self._evidence.wanted
        if not wanted:
            return batch
        pl = polars_package()
        frame = pl.from_arrow(batch.select(wanted))
        frame.columns = wanted  # polars names a column without a name
        frame = frame.with_columns(stripped(pl, name) for name in self._texts)
        if self._evidence is not None:
            self._evidence.add(frame, self._rows)
            self._rows += len(frame)
        return self._meaning(batch, frame, place, start)

    def decided(self) -> tuple[Mapping[str, Reading], list[str]]:
        """Return what the columns mean, and sentences on what is unusual."""
        if self._evidence is not None:
            self._readings, notes = self._evidence.decided()
            return self._readings, notes
        return self._readings, []

    def finished(self, table: Any, place: str) -> Any:
        """Return a table of rows that have been read, now that it is known what their texts mean."""
        left_out = [name for name in table.column_names if isinstance(self._readings.get(name), LeftOut)]
        table = table.drop_columns(left_out)
        names = [name for name in self._texts if name not in left_out]
        if not names or self._evidence is None:
            return table
        frame = polars_package().from_arrow(table.select(names))
        frame.columns = names
        return self._meaning(table, frame, place, 0)

    def _meaning(self, rows: Any, frame: "polars.DataFrame", place: str, start: int) -> Any:
        pl = polars_package()
        for name in [name for name in self._texts if name in frame.columns]:
            found = meaning(frame[name], self._readings.get(name), place, start)
            if isinstance(self._readings.get(name), Numbers) and bool(((found % 1 == 0) & (found.abs() < 2**53)).all()):
                found = found.cast(pl.Int64)
            column = found.to_arrow(compat_level=pl.CompatLevel.oldest())  # of strings that pyarrow can draw from
            rows = rows.set_column(rows.schema.get_field_index(name), name, column)
        return rows


def is_text(kind: Any) -> bool:
    """Whether a type of pyarrow is one of texts, other than of categories."""
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
