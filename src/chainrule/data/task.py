"""The task of a target: its kind, the reason for it, and the numbers that a network is trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .readings import BOOLEANS
from .record import Record
from .wording import counted, listed

Task = Literal["binary", "multiclass", "regression"]
"""The kinds of task."""

Label = bool | int | float | str

TASKS: tuple[Task, ...] = get_args(Task)
MOST_INTEGER_CLASSES = 20


def as_target(y: ArrayLike, name: str = "y") -> NDArray[Any]:
    """Convert a target to one dimension of bool, integer, float or text.

    A column ``(n, 1)`` is flattened and one-hot rows become class ids.

    Parameters
    ----------
    y : array_like
        The target, one entry per row.
    name : str
        Its name in errors.

    Returns
    -------
    numpy.ndarray
        Shape ``(n,)``; dtype bool, int64, float32, float64 or fixed-width text.

    Raises
    ------
    ValueError
        When `y` is empty, has another shape or dtype, or holds NaN or infinity.
    """
    values = np.asarray(y)
    if values.dtype == object:
        # Texts often arrive as objects (pandas, polars); anything else in such an array is refused below.
        values = np.array(values.tolist()) if all(isinstance(v, str) for v in values.flat) else values
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2 and _is_one_hot(values):
        values = values.argmax(axis=1)
    if values.ndim != 1:
        raise ValueError(
            f"{name} has shape {values.shape}; expected one entry per row: shape (n,), (n, 1), or one-hot (n, classes)"
        )
    if values.size == 0:
        raise ValueError(f"{name} is empty; expected one entry per row")
    if values.dtype.kind not in "biufU":
        raise ValueError(f"{name} has dtype {values.dtype}; expected numbers, booleans or texts")
    if values.dtype.kind in "iu":
        if values.dtype == np.uint64 and values.max() > np.iinfo(np.int64).max:
            raise ValueError(f"{name} holds {values.max()}, which exceeds int64; give such labels as texts")
        return values.astype(np.int64)
    if values.dtype.kind == "f":
        _refuse_non_finite(values, name)
        return values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
    return values


def _is_one_hot(values: NDArray[Any]) -> bool:
    if values.dtype.kind not in "biuf" or values.shape[1] < 2 or values.shape[0] == 0:
        return False
    return bool(np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all())


def _refuse_non_finite(values: NDArray[Any], name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise ValueError(
            f"{name} holds {counted(bad.size, 'value')} that are NaN or infinite, the first is "
            f"{name}[{bad[0]}] = {values[bad[0]]}: leave those rows out"
        )


def infer_task(y: ArrayLike, task: str | None = None, name: str = "y") -> tuple[Task, str]:
    """Infer the task from a target, with the reason.

    Texts and booleans are classes, and so is anything with exactly two values. Whole numbers are classes if
    they take at most 20 values and either these are at most a tenth as many as the rows, or they are exactly
    0 … K-1 with at least two rows each. Everything else is regression.

    Parameters
    ----------
    y : array_like
        The target.
    task : {"binary", "multiclass", "regression", "classification"}, optional
        Overrides the choice; ``"classification"`` allows either of the first two. An override raises
        only if it is impossible (regression on texts, three classes as binary), so that a split with one
        class can be scored.
    name : str
        The target's name in sentences.

    Returns
    -------
    task : str
        ``"binary"``, ``"multiclass"`` or ``"regression"``.
    reason : str
        One sentence.

    Raises
    ------
    ValueError
        When the target cannot be predicted (only one value, or every text different) or `task` does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import data
    >>> data.infer_task(np.array(["yes", "no", "yes"]))
    ('binary', 'binary: y holds two values, no and yes')
    >>> data.infer_task(np.array([0.5, 1.25, 3.0]))[0]
    'regression'
    """
    values = as_target(y, name)
    distinct = np.unique(values)
    if task is not None:
        return _asked(task, values, distinct, name)
    if distinct.size == 1:
        raise ValueError(
            f"{name} holds one value only ({distinct[0]}) in {counted(values.size, 'row')}: expected "
            f"at least two classes"
        )
    if distinct.size == 2:
        return "binary", f"binary: {name} holds two values, {distinct[0]} and {distinct[1]}"
    if values.dtype.kind == "U":
        if distinct.size == values.size or (distinct.size > 10 and distinct.size * 2 > values.size):
            raise ValueError(
                f"{name} holds {distinct.size:,} different texts in {values.size:,} rows, which are names "
                f"of rows rather than classes; use another target, or set task='multiclass'"
            )
        return "multiclass", f"multiclass: {name} holds {distinct.size:,} different texts"
    whole = values.dtype.kind == "i" or bool((distinct == np.trunc(distinct)).all())
    kind = "integers" if whole else "numbers"
    numbers = f"{distinct.size:,} different {kind} in {counted(values.size, 'row')}"
    if whole and distinct.size <= MOST_INTEGER_CLASSES:
        if distinct.size * 10 <= values.size:
            return "multiclass", f"multiclass: {name} holds only {numbers}"
        if distinct[0] == 0 and distinct[-1] == distinct.size - 1 and distinct.size * 2 <= values.size:
            return "multiclass", f"multiclass: {name} counts from 0 to {distinct.size - 1}"
    return "regression", f"regression: {name} holds {numbers}"


def _asked(task: str, values: NDArray[Any], distinct: NDArray[Any], name: str) -> tuple[Task, str]:
    if task not in (*TASKS, "classification"):
        raise ValueError(f"task: expected one of {listed([*TASKS, 'classification'])}, got {task!r}")
    if task == "regression" and values.dtype.kind == "U":
        raise ValueError(
            f"task='regression' needs numbers, and {name} holds texts such as {str(distinct[0])!r}; "
            f"leave task out, or use a numeric target"
        )
    if task == "binary" and distinct.size > 2:
        raise ValueError(
            f"task='binary' needs two classes, and {name} holds {distinct.size:,} values "
            f"({listed(distinct, 5)}); use task='multiclass'"
        )
    if task == "classification":
        if distinct.size == 1:
            raise ValueError(f"{name} holds one class only ({distinct[0]}); expected at least two classes")
        task = "binary" if distinct.size == 2 else "multiclass"
    return cast(Task, task), f"{task}: as requested; {name} holds {counted(distinct.size, 'value')}"


@dataclass(frozen=True)
class Target:
    """The transformation of a raw target to the numbers trained on, and its inverse; fitted on the training split.

    Attributes
    ----------
    name : str or None
        The target's name: a column of a table, an array of an NPZ file.
    task : str
        ``"binary"``, ``"multiclass"`` or ``"regression"``.
    classes : tuple of labels
        The class of each id, sorted, but of words for no and yes that for yes last; empty for regression.
    mean, std : float
        Of a regression target over the training split, in its own unit; 0 and 1 for classes.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import data
    >>> target = data.Target.fit(np.array(["no", "yes", "no"]), "binary")
    >>> target.classes, target.encode(np.array(["yes", "no"]))
    (('no', 'yes'), array([1, 0]))
    """

    name: str | None
    task: Task
    classes: tuple[Label, ...] = ()
    mean: float = 0.0
    std: float = 1.0

    @classmethod
    def fit(cls, y: ArrayLike, task: Task, name: str | None = None) -> "Target":
        """Determine the classes, or mean and standard deviation, of the training split.

        Raises
        ------
        ValueError
            When the training split has one class (or one value) only.
        """
        called = name or "y"
        values = as_target(y, called)
        distinct = np.unique(values)
        if distinct.size == 1:
            raise ValueError(
                f"{called} holds one {'value' if task == 'regression' else 'class'} only ({distinct[0]}) "
                f"in the training split; expected at least two"
            )
        if task == "regression":
            numbers = values.astype(np.float64)
            with np.errstate(over="ignore"):
                mean, std = float(numbers.mean()), float(numbers.std())
            if not (np.isfinite(mean) and np.isfinite(std) and std > 0):
                raise ValueError(
                    f"{called} lies between {numbers.min():.4g} and {numbers.max():.4g}, which float64 "
                    f"cannot standardise: change its unit"
                )
            return cls(name, task, (), mean, std)
        if distinct.dtype.kind == "f" and (distinct == np.trunc(distinct)).all():
            distinct = distinct.astype(np.int64)
        classes = tuple(distinct.tolist())
        swapped = tuple(str(label).casefold() for label in reversed(classes)) in BOOLEANS  # ja comes before nein
        return cls(name, task, classes[::-1] if swapped else classes)

    def encode(self, y: ArrayLike, rows: NDArray[Any] | None = None) -> NDArray[Any]:
        """Turn a raw target into class ids, or into a standardised column.

        Parameters
        ----------
        y : array_like
            Raw target, n entries.
        rows : numpy.ndarray, optional
            Position of each entry in its file (from 0), for errors.

        Returns
        -------
        numpy.ndarray
            Classes: int64 ids, shape ``(n,)``. Regression: float32, shape ``(n, 1)`` like a network's
            output.

        Raises
        ------
        ValueError
            For a label that the training split did not have, or texts instead of numbers.
        """
        values = as_target(y, self.name or "y")
        if self.task == "regression":
            if values.dtype.kind == "U":
                raise ValueError(f"{self.name or 'y'}: expected numbers as in training, got texts ({values[0]!r}, …)")
            return ((values.astype(np.float64) - self.mean) / self.std).astype(np.float32)[:, None]
        distinct, where = np.unique(values, return_inverse=True)
        ids = np.array([self._id(label) for label in distinct.tolist()], dtype=np.int64)[where]
        unknown = np.flatnonzero(ids < 0)
        if unknown.size:
            first = int(unknown[0])
            row = (first if rows is None else int(rows[first])) + 1
            raise ValueError(
                f"{self.name or 'y'} holds the label {values[first]} in row {row}, which the training split "
                f"did not have: the classes are {listed(self.classes)}"
            )
        return ids

    def _id(self, label: Label) -> int:
        if label in self.classes:
            return self.classes.index(label)
        # One file holds the labels 1, 2, x (texts), the next only 1, 2 (numbers): the same labels with another
        # type.
        text = str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)
        texts = [str(known) for known in self.classes]
        return texts.index(text) if text in texts else -1

    def decode(self, predicted: ArrayLike) -> NDArray[Any]:
        """Turn class ids back into labels, or standardised outputs back into the target's unit.

        Parameters
        ----------
        predicted : array_like
            Classes: integer ids ``(n,)``. Regression: outputs ``(n,)`` or ``(n, 1)``.

        Returns
        -------
        numpy.ndarray
            Shape ``(n,)``: labels, or float64 values.

        Raises
        ------
        ValueError
            For ids that are not integers or are out of range, and for other shapes.
        """
        values = np.asarray(predicted)
        if self.task == "regression":
            if values.ndim == 2 and values.shape[1] == 1:
                values = values[:, 0]
            if values.ndim != 1:
                raise ValueError(f"predicted has shape {values.shape}; expected one output per row, (n,) or (n, 1)")
            return values.astype(np.float64) * self.std + self.mean
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise ValueError(
                f"predicted has shape {values.shape} and dtype {values.dtype}; expected integer class ids of shape (n,)"
            )
        outside = values[(values < 0) | (values >= len(self.classes))]
        if outside.size:
            raise ValueError(f"predicted holds the class id {outside[0]}; expected 0 to {len(self.classes) - 1}")
        labels: NDArray[Any] = np.array(self.classes)[values]
        return labels

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types."""
        return {
            "name": self.name,
            "task": self.task,
            "classes": list(self.classes),
            "mean": self.mean,
            "std": self.std,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Target":
        """The inverse of `to_dict`; anything malformed is a `ValueError`."""
        record = Record(data, "target")
        name = record.optional_text("name")
        task = cast(Task, record.choice("task", TASKS))
        classes = record.labels("classes")
        mean, std = record.number("mean"), record.number("std")
        record.finish()
        record.require(std > 0, "std must be above 0")
        if task == "regression":
            record.require(not classes, "a regression has no classes")
        else:
            record.require(len(classes) >= 2, "classification needs two classes or more")
            record.require(task != "binary" or len(classes) == 2, "binary needs exactly two classes")
        return cls(name, task, classes, mean, std)
