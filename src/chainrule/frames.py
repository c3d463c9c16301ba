"""Tables with named columns as input: pandas, polars, PyArrow and others through narwhals, and dicts of columns.

None of these packages is imported here until one of their objects is passed.
"""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .core.arrays import as_array, checked_array
from .core.op import Array

_SECONDS_A_DAY = 86_400
_EPOCH = datetime.datetime(1970, 1, 1)
_BACKENDS: tuple[Any, ...] = ("polars", "pyarrow", "pandas")
_REMEDY = "data.Dataset.from_frame(frame, target=…) with data.Preprocessor"


@dataclass(frozen=True)
class Column:
    """A column as it was read.

    Attributes
    ----------
    name : str
    kind : {"numbers", "texts", "dates"}
        As numbers: days since 1970 for dates, with or without a time (some libraries store dates as times
        at 0:00), by the clock of their time zone; seconds for times of day and durations.
    values : numpy.ndarray
        Numbers: in their own dtype, or float64 with NaN where some are missing. Texts: objects, None where missing.
    dtype : numpy.dtype
        That of the values which are not missing: integers and booleans have no missing value. ``datetime64[us]`` for
        dates, ``timedelta64[us]`` for times of day and durations.
    """

    name: str
    kind: Literal["numbers", "texts", "dates"]
    values: Array
    dtype: np.dtype[Any]


def by_name(frame: Any, argument: str) -> dict[str, Any]:
    """Return the columns of a table by name, not yet read; streams that can be read only once become tables."""
    opened = _opened(frame, argument)
    if not _is_table(opened):
        raise TypeError(f"{argument}: expected a data frame or a dict of columns, got type {type(frame).__name__}")
    if isinstance(opened, Mapping):
        pairs = [(str(name), values) for name, values in opened.items()]
    elif hasattr(opened, "iter_columns"):
        pairs = list(zip(map(str, opened.columns), opened.iter_columns(), strict=True))
    else:
        pairs = [(str(name), opened[name]) for name in opened.column_names]
    table = dict(pairs)
    if len(table) < len(pairs):
        twice = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
        raise ValueError(f"{argument} has several columns of the same name: {twice!r}")
    return table


def is_table(x: Any) -> bool:
    """Return whether `x` is a data frame, of any library, or a dict of columns."""
    return _is_table(_opened(x, "X"))


def columns(frame: Any, argument: str, names: Sequence[str] | None = None) -> list[Column]:
    """Return the columns of a table, in its order; or those called `names`, in that order.

    Parameters
    ----------
    frame
        A data frame of any kind that narwhals knows, an object with ``__arrow_c_stream__``, a dict of columns, or an
        object with ``column_names`` whose columns are ``frame[name]``.
    argument : str
        Its name in errors.
    names : sequence of str, optional

    Raises
    ------
    TypeError
        If `frame` is not a table.
    ValueError
        For columns that hold anything but numbers, booleans, texts, categories or dates, that have more than one axis
        or different lengths; and for two columns of the same name.
    """
    table = by_name(frame, argument)
    found = [_column(n, table[n], f"column {n!r} of {argument}") for n in (table if names is None else names)]
    lengths = {column.name: len(column.values) for column in found}
    odd = next((name for name in lengths if lengths[name] != len(found[0].values)), None)
    if odd is not None:
        first = found[0].name
        raise ValueError(f"{argument}: column {first!r} has {lengths[first]} rows, {odd!r} has {lengths[odd]}")
    return found


def as_inputs(
    x: Any, argument: str, names: Sequence[str] | None = None, *, familiar: Sequence[str] | None = None
) -> tuple[Any, tuple[str, ...] | None]:
    """Return a table as a matrix of numbers with the names of its columns; anything else unchanged, with None.

    Parameters
    ----------
    x
        A table (see `columns`) gives an array of shape (m, columns), a series one of shape (m,).
    argument : str
        Its name in errors.
    names : sequence of str or None
        Take these columns, in this order; others are ignored.
    familiar : sequence of str or None
        The order of the columns, if the table has exactly these; otherwise the table's order is kept.

    Raises
    ------
    TypeError
        For columns of texts or dates; the message names them.
    ValueError
        For absent columns, and for missing values: the message gives column, row (from 0) and number.
    """
    if type(x) is np.ndarray:
        return x, None
    opened = _opened(x, argument)
    if _is_series(opened):
        found, only = [_column(opened.name or "", opened, argument)], None
    elif _is_table(opened):
        table = by_name(opened, argument)
        if names is None and familiar is not None and table.keys() == set(familiar):
            names = familiar
        only = tuple(table if names is None else names)
        lacking = [name for name in only if name not in table]
        if lacking:
            raise ValueError(
                f"{argument} does not have the {_listed(lacking)}, which the model was trained with; it has the "
                f"{_listed(table)}"
            )
        found = columns(table, argument, only)
    else:
        return x, None
    wrong = [c for c in found if c.kind != "numbers" and len(_missing(c.values)) < len(c.values)]
    other = [(kind, [c.name for c in wrong if c.kind == kind]) for kind in ("texts", "dates")]
    if any(names for _, names in other):
        held = " and ".join(f"{kind}{_in_columns(names)}" for kind, names in other if names)
        raise TypeError(
            f"{argument} holds {held}, expected numbers; {_REMEDY} converts them to numbers, or leave them out"
        )
    _refuse_missing(found, argument, f"{_REMEDY} fills in what is missing")
    return found[0].values if only is None else _matrix(found, argument), only


def as_targets(y: Any, argument: str) -> Any:
    """Return a series or a table of targets as an array; anything else unchanged.

    A series gives shape (m,), a table (m, columns), and one column of texts an object array of shape (m,).

    Raises
    ------
    TypeError
        For dates, and for texts in a table of several columns.
    ValueError
        For missing values: the message gives column, row (from 0) and number.
    """
    opened = _opened(y, argument)
    if _is_series(opened):
        found = [as_labels(_column(opened.name or "", opened, argument), opened)]
    elif _is_table(opened):
        table = by_name(opened, argument)
        found = [as_labels(column, table[column.name]) for column in columns(table, argument)]
    else:
        return y
    wrong = [c for c in found if c.kind != "numbers" and len(_missing(c.values)) < len(c.values)]
    if any(c.kind == "dates" for c in wrong) or (wrong and len(found) > 1):
        raise TypeError(
            f"{argument}: expected numbers or class ids, got other values{_in_columns([c.name for c in wrong])}"
        )
    _refuse_missing(found, argument, "Dataset.from_frame(frame, target=…) does")
    return found[0].values if _is_series(opened) or wrong else _matrix(found, argument)


def as_labels(column: Column, values: Any) -> Column:
    """Return a target's column: `column`, or the numbers themselves where `values` are categories of numbers."""
    series = _opened(values, column.name)
    if _is_series(series) and column.kind == "texts":
        array = np.asarray(series.to_native())
        if array.dtype.kind in "biuf":
            return Column(column.name, "numbers", array, array.dtype)
    return column


def target_array(y: Any, argument: str) -> Array:
    """Return any kind of targets as an array of numbers; raise for texts, naming the first."""
    array = as_array(as_targets(y, argument), argument)
    if array.dtype.kind in "UTO" and array.size and isinstance(array.flat[0], str):
        raise TypeError(
            f"{argument}: expected class indices, got strings such as {str(array.flat[0])!r}; use "
            f"classes, {argument} = numpy.unique({argument}, return_inverse=True)"
        )
    return checked_array(array if array.dtype.kind != "O" else y, argument)


def _matrix(found: list[Column], argument: str) -> Array:
    if not found:
        raise ValueError(f"{argument} has no columns")
    matrix = np.empty((len(found[0].values), len(found)), np.result_type(*[c.values.dtype for c in found]))
    for i, column in enumerate(found):
        matrix[:, i] = column.values
    return matrix


def _refuse_missing(found: list[Column], argument: str, remedy: str) -> None:
    missing = {c.name: _missing(c.values) for c in found}
    missing = {name: rows for name, rows in missing.items() if rows.size}
    if missing:
        name, rows = next(iter(missing.items()))
        place = f"column {name!r} of {argument}" if name else argument
        count = sum(r.size for r in missing.values())
        more = f" ({count:,} such values in {len(missing):,} column{'s' * (len(missing) > 1)})" if count > 1 else ""
        raise ValueError(f"{place} has no value (or NaN) at row {rows[0]}{more}: leave those rows out; {remedy}")


def _missing(values: Array) -> Array:
    """Return the rows without a value."""
    if values.dtype == object:
        return np.flatnonzero([v is None for v in values])
    return np.flatnonzero(np.isnan(values)) if values.dtype.kind == "f" else np.empty(0, np.intp)


def _is_plain(x: Any) -> bool:
    """Whether `x` certainly is not a table, without any import."""
    return not isinstance(x, Mapping) and not any(hasattr(type(x), sign) for sign in _SIGNS)


#: Attributes that tables and series have and arrays do not.
_SIGNS = (
    "__arrow_c_stream__", "__narwhals_dataframe__", "__narwhals_series__", "column_names", "dtypes", "to_frame"
)  # fmt: skip


def _opened(x: Any, argument: str) -> Any:
    """Return `x` as a narwhals frame or series; unchanged if it is neither."""
    if type(x) is np.ndarray or isinstance(x, Mapping) or _is_plain(x):
        return x
    import narwhals

    try:
        opened = narwhals.from_native(x, pass_through=True, allow_series=True)
    except narwhals.exceptions.DuplicateError as error:
        raise ValueError(f"{argument} has several columns of the same name: {error}") from None
    if isinstance(opened, narwhals.LazyFrame):
        return opened.collect()
    if isinstance(opened, narwhals.DataFrame | narwhals.Series) or not hasattr(x, "__arrow_c_stream__"):
        return opened
    return narwhals.DataFrame.from_arrow(x, backend=_backend())


def _backend() -> Any:
    import importlib.util

    installed = next((name for name in _BACKENDS if importlib.util.find_spec(name) is not None), None)
    if installed is None:
        raise ImportError(f"reading an Arrow stream needs one of {', '.join(_BACKENDS)}: pip install polars")
    return installed


def _is_table(opened: Any) -> bool:
    return isinstance(opened, Mapping) or any(hasattr(type(opened), s) for s in ("iter_columns", "column_names"))


def _is_series(opened: Any) -> bool:
    return type(opened).__module__.startswith("narwhals.") and not _is_table(opened)


# -- one column --------------------------------------------------------------------------------------------------------


def _column(name: str, values: Any, place: str) -> Column:
    values = _opened(values, place)
    if _is_series(values):
        return _of_series(name, values, place)
    array = values if isinstance(values, np.ndarray) else as_array(values, place)
    if array.ndim != 1:
        raise ValueError(f"{place} has shape {array.shape}; expected one value per row: (m,)")
    kind = array.dtype.kind
    if kind in "biuf":
        return Column(name, "numbers", array, array.dtype)
    if kind in "mM":
        return _of_dates(name, _dates(array), kind)
    if kind in "UTO":
        return _of_objects(name, [None if _is_nan(v) else v for v in array.tolist()], place)
    raise ValueError(f"{place} has dtype {array.dtype}; {EXPECTED}")


EXPECTED = "expected numbers, booleans, texts or dates: leave this column out"


def _of_series(name: str, series: Any, place: str) -> Column:
    import narwhals as nw

    native = series.to_native()
    stored = getattr(native, "dtype", None)
    if isinstance(stored, np.dtype) and stored.kind in "biuf":  # pandas': only NaN can mark missing values
        return Column(name, "numbers", native.to_numpy(), stored)
    dtype = series.dtype
    if dtype.is_decimal() or dtype in (nw.Int128, nw.UInt128):
        series, dtype = series.cast(nw.Float64), nw.Float64()
    if dtype.is_numeric() or dtype == nw.Boolean:
        lacking = series.null_count()
        values = (series.cast(nw.Float64) if lacking else series).to_numpy()
        own = bool if dtype == nw.Boolean else int if dtype.is_integer() else values.dtype
        return Column(name, "numbers", values, np.dtype(own) if lacking else values.dtype)
    if dtype in (nw.Date, nw.Datetime):
        if isinstance(dtype, nw.Datetime) and dtype.time_zone is not None:
            series = series.dt.replace_time_zone(None)
        stamps = series.dt.timestamp("us").cast(nw.Float64).to_numpy()
        return _of_dates(name, stamps / 1e6 / _SECONDS_A_DAY, "M")
    if dtype == nw.Duration:
        return _of_dates(name, series.dt.total_microseconds().cast(nw.Float64).to_numpy() / 1e6, "m")
    if dtype in (nw.Categorical, nw.Enum):
        series, dtype = series.cast(nw.String), nw.String()
    missing = series.is_null().to_numpy()
    if dtype != nw.String and missing.all():
        return Column(name, "numbers", np.full(len(series), np.nan), np.dtype(float))
    if dtype == nw.Unknown:  # such as pandas' sparse columns: read as NumPy reads them
        array = as_array(native, place)
        if array.dtype.kind in "biuf":
            return Column(name, "numbers", array, array.dtype)
        dtype = stored or dtype
    if dtype not in (nw.String, nw.Object, nw.Time):
        raise ValueError(f"{place} is of type {dtype}; {EXPECTED}")
    return _of_objects(name, [None if m else v for v, m in zip(series.to_list(), missing, strict=True)], place)


def _of_objects(name: str, values: list[Any], place: str) -> Column:
    """Read Python's own objects, None where missing."""
    present = [v for v in values if v is not None]
    if all(isinstance(v, str) for v in present):
        texts = np.empty(len(values), object)
        texts[:] = values
        return Column(name, "texts", texts, texts.dtype)
    if all(isinstance(v, _NUMBERS) for v in present):
        numbers = np.array([math.nan if v is None else float(v) for v in values])
        found = np.array(present).dtype
        return Column(name, "numbers", numbers, found if found.kind in "bi" else numbers.dtype)
    if all(isinstance(v, _DATES) for v in present):
        kind: Literal["M", "m"] = "M" if all(isinstance(v, datetime.date) for v in present) else "m"
        return _of_dates(name, np.array([math.nan if v is None else _as_number(v) for v in values]), kind)
    kinds = sorted({type(v).__name__ for v in present})
    raise ValueError(f"{place} holds {' and '.join(kinds[:3])}; {EXPECTED}")


def _of_dates(name: str, values: Array, kind: str) -> Column:
    return Column(name, "dates", values, np.dtype(f"{kind}8[us]"))


_NUMBERS = (int, float, np.number, np.bool, decimal.Decimal)
_DATES = (datetime.date, datetime.time, datetime.timedelta)


def _as_number(moment: Any) -> float:
    if isinstance(moment, datetime.datetime):
        return (moment.replace(tzinfo=None) - _EPOCH).total_seconds() / _SECONDS_A_DAY
    if isinstance(moment, datetime.date):
        return float(moment.toordinal() - _EPOCH.toordinal())
    if isinstance(moment, datetime.time):
        moment = datetime.timedelta(
            hours=moment.hour, minutes=moment.minute, seconds=moment.second, microseconds=moment.microsecond
        )
    return float(moment.total_seconds())


def _dates(array: Array) -> Array:
    """Days for NumPy's dates, seconds for durations; NaN for what is missing."""
    kind = array.dtype.kind
    days = kind == "M" and np.datetime_data(array.dtype)[0] in ("Y", "M", "W", "D")  # may exceed microseconds
    numbers = array.astype(f"{kind}8[{'D' if days else 'us'}]").astype(np.float64)
    if not days:
        numbers = numbers / 1e6 / (_SECONDS_A_DAY if kind == "M" else 1)
    return np.where(np.isnat(array), np.nan, numbers)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


# -- wording -----------------------------------------------------------------------------------------------------------


def _in_columns(names: list[str]) -> str:
    return f" in {_listed(names)}" if any(names) else ""


def _listed(names: Iterable[str], limit: int = 8) -> str:
    texts = [repr(name) for name in names]
    more = f" and {len(texts) - limit:,} more" if len(texts) > limit else ""
    return f"{'column' if len(texts) == 1 else 'columns'} {', '.join(texts[:limit])}{more}"
