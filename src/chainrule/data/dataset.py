"""Data sets as they were read, before any preprocessing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..show.document import clean
from .splits import split
from .task import Task, as_target, infer_task
from .wording import counted, listed, suggestion

if TYPE_CHECKING:
    from ..frames import Column
    from .readings import Reading

#: Dates, with or without a time.
MOMENTS = np.dtype("M8[us]")
MICROSECONDS_A_DAY = 86_400_000_000


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Rows as they were read: a matrix or named columns, with a target and a description of it.

    Make one with `read`, `from_arrays` or `from_columns`; those check the contents and infer the task.

    Attributes
    ----------
    X : numpy.ndarray or None
        Matrix ``(rows, features)`` of numbers as they were stored (uint8 for images of the MNIST family).
    columns : mapping of str to numpy.ndarray, or None
        Instead of `X`, for a table: a float64 array (NaN = missing) for a column of numbers, an object array
        of `str` (None = missing) for a column of texts, a ``datetime64[us]`` array (NaT = missing) for dates.
    feature_names : tuple of str
        Of the columns of `X`, or of the table.
    y : numpy.ndarray or None
        Raw target, ``(rows,)``: labels or numbers, none missing.
    target_name : str or None
        Name of the target's column in the table, or of its array in the NPZ file.
    task : str or None
        ``"binary"``, ``"multiclass"`` or ``"regression"``; None without a target.
    task_reason : str
        The reason for this task, in a sentence.
    image_shape : tuple of int or None
        When each row is an image, its shape: ``(height, width)`` or ``(height, width, channels)``.
    test, validation : Dataset or None
        The test and the validation split, where the source has its own.
    source : str
        Where the rows came from.
    notes : tuple of str
        Remarks on what was changed or noticed while reading, in sentences.
    rows : numpy.ndarray or None
        Position of each row in the source, from 0, when rows were left out or selected; errors name the row
        of the file by it.
    names : numpy.ndarray or None
        Of the rows, where they have any: the files of images.
    readings : mapping of str to Reading
        Of a table from a file: what the texts of its columns mean.
    groups : array or None
        The label of each row's group; splits keep groups whole.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import data
    >>> rows = data.Dataset.from_columns({"size": [1.0, 2.0, 3.0, 4.0]}, ["a", "b", "a", "b"], target_name="kind")
    >>> rows
    <Dataset columns: 4 rows of 1 feature, target kind (binary)>
    >>> train, test = rows.split(0.5, seed=0)
    >>> len(train), len(test)
    (2, 2)
    """

    X: NDArray[Any] | None
    columns: Mapping[str, NDArray[Any]] | None
    feature_names: tuple[str, ...]
    y: NDArray[Any] | None = None
    target_name: str | None = None
    task: Task | None = None
    task_reason: str = ""
    image_shape: tuple[int, ...] | None = None
    test: "Dataset | None" = None
    source: str = "arrays"
    notes: tuple[str, ...] = ()
    rows: NDArray[Any] | None = None
    validation: "Dataset | None" = None
    names: NDArray[Any] | None = None
    readings: Mapping[str, "Reading"] = field(default_factory=dict)
    groups: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        """Check that the other splits have the features of the training split."""
        for part, other in (("test", self.test), ("validation", self.validation)):
            if other is not None and other.feature_names != self.feature_names:
                here, there = len(self.feature_names), len(other.feature_names)
                found = f"{there} features, the training split {here}" if here != there else "features with other names"
                raise ValueError(f"the {part} split of {self.source} has {found}; expected the same in both")

    @classmethod
    def from_arrays(
        cls,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        feature_names: Sequence[str] | None = None,
        target_name: str | None = None,
        task: str | None = None,
        image_shape: tuple[int, ...] | None = None,
        test: "Dataset | None" = None,
        source: str = "arrays",
        notes: Sequence[str] = (),
    ) -> "Dataset":
        """Make a dataset of a matrix (or a stack of images) and a target.

        Parameters
        ----------
        X : array_like
            ``(rows, features)``; or ``(rows, height, width[, channels])``, taken as images and flattened.
        y : array_like, optional
            ``(rows,)``, ``(rows, 1)`` or one-hot ``(rows, classes)``.
        feature_names : sequence of str, optional
            One for each feature; ``x0, x1, …`` or ``pixel_0_0, …`` otherwise.
        target_name, source, notes, test
            Kept as given.
        task : str, optional
            Overrides `infer_task`.
        image_shape : tuple of int, optional
            States that the rows of a 2-dimensional `X` are images of that shape.

        Raises
        ------
        ValueError
            For empty data, wrong shapes or dtypes, different lengths of `X` and `y`, and targets that `infer_task`
            refuses.
        """
        matrix, image_shape = _as_matrix(X, image_shape)
        target, chosen, reason = _with_task(y, task, target_name, len(matrix), "X")
        names = _default_names(matrix.shape[1], image_shape) if feature_names is None else tuple(feature_names)
        if len(names) != matrix.shape[1]:
            raise ValueError(
                f"feature_names: got {counted(len(names), 'name')}, X has {counted(matrix.shape[1], 'column')}"
            )
        if feature_names is not None and len(set(names)) != len(names):
            raise ValueError("feature_names: expected different names, got one of them twice")
        return cls(matrix, None, names, target, target_name, chosen, reason, image_shape, test, source, tuple(notes))

    @classmethod
    def from_columns(
        cls,
        columns: Mapping[str, ArrayLike],
        y: ArrayLike | None = None,
        *,
        target_name: str | None = None,
        task: str | None = None,
        test: "Dataset | None" = None,
        source: str = "columns",
        notes: Sequence[str] = (),
        rows: NDArray[Any] | None = None,
    ) -> "Dataset":
        """Make a dataset of named columns and a target.

        Parameters
        ----------
        columns : mapping of str to array_like
            Numbers and booleans become float64 (NaN = missing), texts become objects (None = missing), dates
            ``datetime64[us]`` (NaT = missing).
        y, target_name, task, test, source, notes
            As for `from_arrays`.
        rows : numpy.ndarray, optional
            Position of each row in the source, from 0.

        Raises
        ------
        ValueError
            For empty data, columns of different lengths, dtypes that are neither numbers, texts nor dates, and targets
            that `infer_task` refuses.
        """
        if not isinstance(columns, Mapping):
            raise TypeError(
                f"columns: expected a dict of columns, got type {type(columns).__name__}; use Dataset.from_frame(frame)"
            )
        if not columns:
            raise ValueError("columns: expected at least one column besides the target, got none")
        table = {str(name): _as_column(str(name), values) for name, values in columns.items()}
        lengths = {name: len(values) for name, values in table.items()}
        first, n = next(iter(lengths.items()))
        other = next((name for name in lengths if lengths[name] != n), None)
        if other is not None:
            raise ValueError(f"columns have different lengths: {first!r} has {n}, {other!r} has {lengths[other]} rows")
        if n == 0:
            raise ValueError(f"the table has {counted(len(table), 'column')} and no rows; expected at least one")
        target, chosen, reason = _with_task(y, task, target_name, n, "the table")
        return cls(
            None,
            table,
            tuple(table),
            target,
            target_name,
            chosen,
            reason,
            None,
            test,
            source,
            tuple(notes),
            rows,
        )

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        target: str | None = None,
        *,
        task: str | None = None,
        exclude: str | Sequence[str] = (),
        test: "Dataset | None" = None,
        source: str = "the frame",
        notes: Sequence[str] = (),
        rows: NDArray[Any] | None = None,
    ) -> "Dataset":
        """Make a dataset of a data frame: pandas, polars, PyArrow, a dict of columns, and others.

        Numbers and booleans become float64 (NaN = missing), texts and categories become objects (None =
        missing), dates ``datetime64[us]`` by the clock of their time zone (NaT = missing), times of day and durations
        numbers of seconds.

        Parameters
        ----------
        frame
            Of any kind that narwhals reads, or with ``__arrow_c_stream__``, or a mapping of names to columns.
        target : str, optional
            The target's column; rows where it is missing are left out, which the notes say.
        task, test, source, notes, rows
            As for `from_columns`.
        exclude : str or sequence of str
            Columns to leave out.

        Raises
        ------
        TypeError
            If `frame` is not a table.
        ValueError
            For absent columns (the message suggests the nearest name), columns that hold anything but numbers, texts
            or dates, and as for `from_columns`.
        """
        from .. import frames  # loads the tensors, which reading arrays does not need

        table = frames.by_name(frame, source)
        names = list(table)
        if not isinstance(target, str | int | np.integer | tuple | None):
            raise TypeError(f"target: expected the name of a column, got type {type(target).__name__}")
        target = None if target is None else str(target)
        exclude = [exclude] if isinstance(exclude, str) else [str(name) for name in exclude]
        require_names([*exclude, *([target] if target is not None else [])], names, source)
        found = frames.columns(table, source, [name for name in names if name not in exclude])
        said = list(notes)
        y, kept = None, None
        if target is not None:
            column = next(c for c in found if c.name == target)
            found.remove(column)
            y, kept = _present(frames.as_labels(column, table[target]), source, said)
            if not found:
                raise ValueError(f"{source}: the target {target!r} is its only column; expected at least one feature")
        spans = [column.name for column in found if column.kind == "dates" and column.dtype.kind == "m"]
        if spans:
            said.append(f"turned times of day and durations into numbers of seconds: {listed(spans)}")
        if kept is not None and rows is None:
            rows = np.arange(len(found[0].values))
        return cls.from_columns(
            {c.name: _of_frame(c) if kept is None else _of_frame(c)[kept] for c in found},
            y,
            target_name=target,
            task=task,
            test=test,
            source=source,
            notes=said,
            rows=rows if kept is None or rows is None else rows[kept],
        )

    def __len__(self) -> int:
        """The number of rows (the separate test split not counted)."""
        return len(self._first())

    def _first(self) -> NDArray[Any]:
        if self.X is not None:
            return self.X
        assert self.columns is not None
        return next(iter(self.columns.values()))

    def __repr__(self) -> str:
        shape = f" ({'×'.join(map(str, self.image_shape))} images)" if self.image_shape else ""
        parts = [f"{counted(len(self), 'row')} of {counted(len(self.feature_names), 'feature')}{shape}"]
        if self.y is not None:
            parts.append(f"target {self.target_name or 'y'} ({self.task})")
        if self.test is not None:
            parts.append(f"{counted(len(self.test), 'test row')} separate")
        return clean(f"<Dataset {self.source}: {', '.join(parts)}>")

    def take(self, indices: ArrayLike) -> "Dataset":
        """The rows of these numbers, in this order, without the separate test and validation splits.

        Raises
        ------
        IndexError
            For a number that is out of range.
        """
        chosen = np.asarray(indices, dtype=np.intp)
        return replace(
            self,
            X=None if self.X is None else self.X[chosen],
            columns=None if self.columns is None else {k: v[chosen] for k, v in self.columns.items()},
            y=None if self.y is None else self.y[chosen],
            test=None,
            validation=None,
            rows=chosen if self.rows is None else self.rows[chosen],
            names=None if self.names is None else self.names[chosen],
            groups=None if self.groups is None else self.groups[chosen],
        )

    def with_columns(self, columns: Mapping[str, NDArray[Any]]) -> "Dataset":
        """The same rows with these columns."""
        return replace(self, columns=columns, feature_names=tuple(columns), test=None, validation=None)

    def grouped_by(self, name: str) -> "Dataset":
        """The rows without one of the columns, which says what belongs together: splits keep its groups whole.

        Examples
        --------
        >>> from chainrule import data
        >>> rows = data.Dataset.from_columns({"who": ["a", "b", "b", "c"], "x": [1, 2, 3, 4]}, [5, 6, 7, 8])
        >>> train, test = rows.grouped_by("who").split(0.5)
        >>> sorted([len(set(train.groups)), len(set(test.groups))])
        [1, 2]
        """
        if self.columns is None:
            raise ValueError(f"groups: {self.source} is no table with columns; leave it out")
        require_names([name], list(self.columns), self.source)
        if self.test is not None or self.validation is not None:
            raise ValueError(f"groups: {self.source} is split already; leave it out")
        column = self.columns[name]
        labels = np.array(["" if v is None else str(v) for v in column.tolist()]) if column.dtype == object else column
        rest = {other: values for other, values in self.columns.items() if other != name}
        if not rest:
            raise ValueError(f"{self.source}: the column {name!r} of the groups is the only one besides the target")
        return replace(self.with_columns(rest), groups=labels)

    def without_target(self) -> "Dataset":
        """The features alone, without target and other splits."""
        return replace(self, y=None, task=None, task_reason="", test=None, validation=None)

    def split(self, fraction: float = 0.2, seed: int = 0, *, called: str = "fraction") -> "tuple[Dataset, Dataset]":
        """The training and the test split.

        If the source has its own test split, that is used, and `fraction` and `seed` have no effect.
        Otherwise rows are drawn by `chainrule.data.split`: whole groups if there are any, or else stratified by class
        when the task has classes.

        Parameters
        ----------
        fraction : float
            Fraction of the rows in the test split.
        seed : int
            Non-negative.
        called : str
            What the fraction is called in error messages.

        Returns
        -------
        train, test : Dataset
        """
        if self.test is not None:
            return replace(self, test=None, validation=None), self.test
        has_classes = self.task in ("binary", "multiclass")
        stratify = self.y if has_classes else None
        train, test = split(len(self), fraction, seed, stratify, groups=self.groups, called=called)
        return self.take(train), self.take(test)

    def fingerprint(self) -> str:
        """SHA-256 of the contents, in hexadecimal.

        Depends on names, dtypes, shapes and values of features and target, also of the test split, but not on
        where they were read from or how the task was chosen.
        """
        import hashlib  # loads OpenSSL, which reading and splitting do not need

        digest = hashlib.sha256()
        shape = None if self.image_shape is None else list(self.image_shape)
        digest.update(json.dumps([list(self.feature_names), self.target_name, shape]).encode())
        arrays = [self.X] if self.columns is None else list(self.columns.values())
        for array in [*arrays, self.y, *([] if self.groups is None else [self.groups])]:
            _feed(digest, array)
        for other in (self.test, self.validation):
            digest.update(b"" if other is None else other.fingerprint().encode())
        return digest.hexdigest()


def require_names(wanted: Sequence[str], names: Sequence[str], source: str) -> None:
    """Raise an error if a table does not have these columns."""
    for name in wanted:
        if name not in names:
            raise ValueError(f"{source}: has no column {name!r}; it has {listed(names)}.{suggestion(name, names)}")


def _of_frame(column: "Column") -> NDArray[Any]:
    """Return the values of a column; days since 1970 as dates."""
    if column.kind != "dates" or column.dtype.kind != "M":
        return column.values
    moments = np.full(len(column.values), "NaT", MOMENTS)
    present = ~np.isnan(column.values)
    moments[present] = np.rint(column.values[present] * MICROSECONDS_A_DAY).astype(np.int64).astype(MOMENTS)
    return moments


def _present(column: "Column", source: str, notes: list[str]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return a target's values, and which rows have one (None if all do)."""
    values = column.values
    missing = np.array([v is None for v in values]) if values.dtype == object else np.isnan(values)
    lacking = int(missing.sum())
    if lacking and lacking == len(values):
        raise ValueError(f"{source}: the target {column.name!r} is missing in each of {counted(lacking, 'row')}")
    present = values[~missing] if lacking else values
    if present.dtype == object:
        present = np.array(present.tolist())
    if not lacking:
        return present, None
    notes.append(f"left out {counted(lacking, 'row')} where the target {column.name!r} is missing")
    return present.astype(column.dtype) if column.kind == "numbers" else present, np.flatnonzero(~missing)


def _feed(digest: Any, array: NDArray[Any] | None) -> None:
    if array is None:
        digest.update(b"none;")
    elif array.dtype.kind in "OU":
        digest.update(json.dumps(array.tolist()).encode())
    else:
        array = array.view(np.int64) if array.dtype.kind == "M" else array
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{little.dtype.str}{little.shape};".encode())
        digest.update(little.data if little.size else b"")


def _with_task(
    y: ArrayLike | None, task: str | None, target_name: str | None, n: int, beside: str
) -> tuple[NDArray[Any] | None, Task | None, str]:
    if y is None:
        if task is not None:
            raise ValueError(f"task: got {task!r}, but there is no target y")
        return None, None, ""
    name = target_name or "y"
    target = as_target(y, name)
    if len(target) != n:
        raise ValueError(f"{name} has {counted(len(target), 'row')}, {beside} has {n:,}; expected the same number")
    return target, *infer_task(target, task, name)


def _as_matrix(X: ArrayLike, image_shape: tuple[int, ...] | None) -> tuple[NDArray[Any], tuple[int, ...] | None]:
    values = np.asarray(X)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"X has dtype {values.dtype}; expected real numbers (a table can also hold texts)")
    if values.ndim in (3, 4) and image_shape is None:
        image_shape = values.shape[1:]
    if values.ndim not in (2, 3, 4):
        raise ValueError(
            f"X has shape {values.shape}; expected (rows, features) or (rows, height, width) or "
            f"(rows, height, width, channels)"
        )
    if values.size == 0:
        raise ValueError(f"X has shape {values.shape}, which is empty; expected at least one row and one feature")
    matrix = values.reshape(len(values), -1)
    if image_shape is not None and int(np.prod(image_shape)) != matrix.shape[1]:
        raise ValueError(f"image_shape {image_shape} does not match the {matrix.shape[1]} features of a row of X")
    return matrix, image_shape


def _default_names(width: int, image_shape: tuple[int, ...] | None) -> tuple[str, ...]:
    if image_shape is None:
        return tuple(f"x{i}" for i in range(width))
    return tuple("pixel_" + "_".join(map(str, place)) for place in np.ndindex(*image_shape))


def _as_column(name: str, values: ArrayLike) -> NDArray[Any]:
    column = np.asarray(values)
    if column.ndim != 1:
        raise ValueError(f"column {name!r} has shape {column.shape}; expected one value per row: (n,)")
    if column.dtype.kind in "biuf":
        return column.astype(np.float64, copy=False)
    if column.dtype.kind == "M":
        return column.astype(MOMENTS, copy=False)
    if column.dtype.kind == "U":
        return column.astype(object)
    strange = [v for v in column if not (v is None or isinstance(v, str))] if column.dtype == object else [column]
    if strange:
        found = type(strange[0]).__name__ if column.dtype == object else str(column.dtype)
        raise ValueError(f"column {name!r} holds {found}; expected numbers, dates, or texts with None where missing")
    return column
