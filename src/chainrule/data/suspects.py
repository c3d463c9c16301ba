"""Columns that a practitioner would look at before training: names of rows, and copies of the target."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset

#: Names that other programs give to a column that numbers the rows.
NUMBERING = ("Unnamed: 0", "__index_level_0__")
#: Rows that are looked at.
MOST_ROWS = 20_000
#: Fewer rows tell nothing.
LEAST_ROWS = 30
#: How closely the means of a target of numbers have to follow where a text is the same (the correlation of ranks).
TOO_CLOSE = 0.995
#: How well a column orders the classes (the area under the ROC curve) or follows the target (the correlation of ranks)
#: before it is suspected of holding the target.
TOO_GOOD = 0.999
#: At most this many rows of a column of classes may have another class than the others with the same value.
IMPURE = 0.001


def suspect_columns(train: Dataset) -> list[str]:
    """Return a sentence on each column that names rows or determines the target alone.

    Parameters
    ----------
    train : Dataset
        A table with a target; at most 20,000 of its rows are looked at.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.data import Dataset
    >>> from chainrule.data.suspects import suspect_columns
    >>> y = np.arange(40) % 2
    >>> suspect_columns(Dataset.from_columns({"size": np.sin(np.arange(40)), "paid": 3.0 * y + 1}, y))
    ["the column 'paid' determines the target alone (area under the ROC curve 1.0000): leave it out if it is not known \
when predictions are made"]
    """
    if train.columns is None or train.y is None or len(train) < LEAST_ROWS:
        return []
    step = -(-len(train) // MOST_ROWS)
    y = train.y[::step]
    found = []
    for name, column in train.columns.items():
        values = column[::step]
        if reason := _leak(values, y, train.task == "regression"):
            found.append(
                f"the column {name!r} determines the target alone ({reason}): leave it out if it is not known when "
                "predictions are made"
            )
        elif _is_id(name, column):
            found.append(f"the column {name!r} looks like a name of the rows, different in each: leave it out if it is")
    return found


def called_id(name: str) -> bool:
    """Whether a column has a usual name of ids.

    Examples
    --------
    >>> from chainrule.data.suspects import called_id
    >>> [name for name in ("id", "order_id", "PassengerId", "Case No", "Unnamed: 0", "paid") if called_id(name)]
    ['id', 'order_id', 'PassengerId', 'Case No', 'Unnamed: 0']
    """
    if name in NUMBERING:
        return True
    last = re.split(r"[\W_]+|(?<=[a-z])(?=[A-Z])", name.strip())[-1].casefold()
    return last in ("", "id", "key", "uuid", "guid", "index", "nr", "no", "row", "rownames", "rowid", "obs")


def _is_id(name: str, column: NDArray[Any]) -> bool:
    """Whether whole numbers differ in all rows, and either count up or are called an id."""
    if column.dtype.kind != "f" or (column % 1 != 0).any():  # also NaN
        return False
    found = np.unique(column)
    return len(found) == len(column) and (called_id(name) or len(np.unique(np.diff(found))) == 1)


def _leak(values: NDArray[Any], y: NDArray[Any], regression: bool) -> str:
    """Return how a column determines the target, empty if it does not."""
    if values.dtype == object:
        return _following(values, y) if regression else _pure(values, y)
    numbers = values.astype(np.float64) if values.dtype.kind != "M" else values.view(np.int64).astype(np.float64)
    present = ~(np.isnat(values) if values.dtype.kind == "M" else np.isnan(values))
    numbers, y = numbers[present], y[present]
    if len(y) < LEAST_ROWS or len(np.unique(numbers)) < 2 or len(np.unique(y)) < 2:
        return ""
    if regression:
        followed = abs(float(np.corrcoef(_ranks(numbers), _ranks(y))[0, 1]))
        return f"correlation of ranks {followed:.4f}" if followed > TOO_GOOD else ""
    classes, ids = np.unique(y, return_inverse=True)
    if len(classes) == 2:
        area = _area(numbers, ids == 1)
        return f"area under the ROC curve {max(area, 1 - area):.4f}" if max(area, 1 - area) > TOO_GOOD else ""
    return _pure(numbers, y)


def _following(values: NDArray[Any], y: NDArray[Any]) -> str:
    """Say whether a target of numbers is nearly the same wherever a text is, if nearly all texts occur often."""
    _, groups = np.unique(np.array([str(v) for v in values.tolist()]), return_inverse=True)
    rows = np.bincount(groups)
    often = rows[groups] >= 5
    if often.sum() < 0.9 * len(y) or len(np.unique(y[often])) < 2:
        return ""
    ranks, groups = _ranks(y[often]), groups[often]
    means = np.bincount(groups, ranks)[groups] / rows[groups]
    explained = float(np.sqrt(np.var(means) / np.var(ranks)))
    return f"correlation of ranks with its means {explained:.4f}" if explained > TOO_CLOSE else ""


def _pure(values: NDArray[Any], y: NDArray[Any]) -> str:
    """Say whether nearly all values that occur often come with one class only."""
    _, ids = np.unique(y, return_inverse=True)
    _, groups = np.unique(np.array([str(v) for v in values.tolist()]), return_inverse=True)
    counts = np.zeros((groups.max() + 1, ids.max() + 1), np.int64)
    np.add.at(counts, (groups, ids), 1)
    rows = counts.sum(axis=1)
    often = rows >= 5  # a value of its own for each row determines everything and tells nothing
    if rows[often].sum() < 0.9 * len(y) or (counts[often].max(axis=0) > 0).sum() < 2:
        return ""
    best, largest = int(counts[often].max(axis=1).sum()), counts[often].sum(axis=0).max()
    total = int(rows[often].sum())
    if total - best > IMPURE * total or largest > (1 - 2 * IMPURE) * total:
        return ""
    return "nearly each of its values comes with one class only" if best < total else "each of its values has one class"


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return ranks, the mean of them for equal values."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: NDArray[np.float64] = (ends - (counts - 1) / 2)[group]
    return means


def _area(values: NDArray[Any], positive: NDArray[Any]) -> float:
    """Return the area under the ROC curve, from the sum of the ranks."""
    m = int(positive.sum())
    return float((_ranks(values)[positive].sum() - m * (m + 1) / 2) / (m * (len(values) - m)))
