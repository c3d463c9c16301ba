"""Training and test split, and the order of rows in an epoch.

The same seed gives the same result on every machine and with every version of NumPy: orders come from sorting
the raw 64-bit output of the counter-based Philox generator. NumPy promises that stream (and `SeedSequence`,
which seeds it) in all versions, while it may change how `Generator.permutation` consumes it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.arguments import integer, number
from .wording import counted

Indices = NDArray[np.intp]


def split(
    n: int,
    fraction: float,
    seed: int = 0,
    stratify: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    called: str = "fraction",
) -> tuple[Indices, Indices]:
    """Split `n` rows into a training and a test split.

    Parameters
    ----------
    n : int
        Number of rows.
    fraction : float
        Fraction of the rows in the test split, between 0 and 1.
    seed : int
        Non-negative.
    stratify : array_like, optional
        A class label for each row: the test split then holds `fraction` of each class (rounded so that the
        sizes add up), and every class keeps at least one row in the training split.
    groups : array_like, optional
        A label for each row: the rows of a group stay together, so that the fraction is only nearly right.
    called : str
        What the fraction is called in error messages.

    Returns
    -------
    train, test : numpy.ndarray
        Row numbers, ascending, disjoint, together all of ``0 … n-1``.

    Raises
    ------
    ValueError
        When a split would be empty, or an argument is out of its range.

    Examples
    --------
    >>> from chainrule import data
    >>> train, test = data.split(10, 0.3, seed=0)
    >>> len(train), len(test), sorted([*train, *test]) == list(range(10))
    (7, 3, True)
    """
    n, seed = integer("n", n, at_least=1), integer("seed", seed, at_least=0)
    fraction = number(called, fraction, above=0, below=1)
    wanted = round(n * fraction)
    if not 0 < wanted < n:
        part = "test" if wanted == 0 else "training"
        raise ValueError(f"{called}={fraction} of {counted(n, 'row')} leaves the {part} split empty")
    is_test = np.zeros(n, dtype=bool)
    if groups is not None:
        ids, sizes = _group_ids(groups, n, 2)
        sequence = _shuffled(len(sizes), seed, ())
        totals = np.cumsum(sizes[sequence])[:-1]
        taken = int(np.argmin(np.abs(totals - wanted))) + 1
        is_test = np.isin(ids, sequence[:taken])
    else:
        order = _shuffled(n, seed, ())
        is_test[order[:wanted] if stratify is None else _stratified(order, wanted, np.asarray(stratify))] = True
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def _group_ids(groups: ArrayLike, n: int, least: int) -> tuple[Indices, Indices]:
    """Return the number of each row's group, and the sizes of the groups."""
    labels = np.asarray(groups)
    if labels.shape != (n,):
        raise ValueError(f"groups has shape {labels.shape}; expected one label for each of the n={n} rows: ({n},)")
    _, ids, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(sizes) < least:
        raise ValueError(f"groups: expected at least {least} different ones, got {len(sizes)}")
    return ids, sizes


def _stratified(order: Indices, wanted: int, labels: NDArray[Any]) -> Indices:
    n = order.size
    if labels.shape != (n,):
        raise ValueError(f"stratify has shape {labels.shape}; expected one label for each of the n={n} rows: ({n},)")
    _, ids, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    quota = sizes * wanted / n
    spare = sizes - 1
    taken = np.minimum(np.floor(quota).astype(np.intp), spare)
    # The rows left over by rounding down go to the classes with the largest remainders.
    for group in np.argsort(taken - quota, kind="stable"):
        if taken.sum() == wanted:
            break
        taken[group] += taken[group] < spare[group]
    if not taken.any():
        raise ValueError(
            f"stratify holds {counted(sizes.size, 'class', 'classes')} in {counted(n, 'row')}, one row "
            f"each: expected at least two rows of some class"
        )
    # Rank of each row within its class, in shuffled order.
    by_class = order[np.argsort(ids[order], kind="stable")]
    rank = np.arange(n) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return by_class[rank < np.repeat(taken, sizes)]


def folds(
    n: int, k: int, seed: int = 0, stratify: ArrayLike | None = None, *, groups: ArrayLike | None = None
) -> Indices:
    """Assign `n` rows to `k` folds of nearly equal size.

    Parameters
    ----------
    n : int
        Number of rows.
    k : int
        Number of folds, at least 2 and at most `n`.
    seed : int
        Non-negative.
    stratify : array_like, optional
        A class label for each row: the rows of each class are spread evenly over the folds.
    groups : array_like, optional
        A label for each row: the rows of a group are in the same fold, the folds nearly of a size.

    Returns
    -------
    numpy.ndarray
        The fold of each row, from 0.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import data
    >>> fold = data.folds(10, 3, stratify=[0] * 6 + [1] * 4)
    >>> np.bincount(fold).tolist(), np.bincount(fold[:6]).tolist()
    ([4, 3, 3], [2, 2, 2])
    """
    n, seed = integer("n", n, at_least=2), integer("seed", seed, at_least=0)
    k = integer("k", k, at_least=2, at_most=n)
    if groups is not None:
        ids, sizes = _group_ids(groups, n, k)
        order = _shuffled(len(sizes), seed, (0, 0))
        filled, places = np.zeros(k, np.intp), np.empty(len(sizes), np.intp)
        for group in order[np.argsort(-sizes[order], kind="stable")].tolist():  # the largest first
            places[group] = filled.argmin()
            filled[places[group]] += sizes[group]
        return places[ids]
    order = _shuffled(n, seed, (0, 0))
    if stratify is not None:
        labels = np.asarray(stratify)
        if labels.shape != (n,):
            raise ValueError(
                f"stratify has shape {labels.shape}; expected one label for each of the n={n} rows: ({n},)"
            )
        _, ids = np.unique(labels, return_inverse=True)
        order = order[np.argsort(ids[order], kind="stable")]  # class by class, so that each is dealt out in turn
    found = np.empty(n, np.intp)
    found[order] = np.arange(n) % k
    return found


def epoch_order(n: int, seed: int = 0, epoch: int = 0, shuffle: bool = True) -> Indices:
    """The order in which an epoch visits `n` rows.

    It depends on `(n, seed, epoch)` alone, so a resumed run has the same order as an uninterrupted one.

    Parameters
    ----------
    n : int
        Number of rows.
    seed, epoch : int
        Non-negative.
    shuffle : bool
        If False, the order is ``0 … n-1``.

    Returns
    -------
    numpy.ndarray
        A permutation of ``0 … n-1``.

    Examples
    --------
    >>> from chainrule import data
    >>> sorted(data.epoch_order(5, seed=0, epoch=1).tolist())
    [0, 1, 2, 3, 4]
    >>> data.epoch_order(5, shuffle=False)
    array([0, 1, 2, 3, 4])
    """
    n, seed = integer("n", n, at_least=1), integer("seed", seed, at_least=0)
    epoch = integer("epoch", epoch, at_least=0)
    if not shuffle:
        return np.arange(n, dtype=np.intp)
    # A spawn key gives every epoch a stream different from the others and from the one that `split` uses.
    return _shuffled(n, seed, (epoch,))


def batches(n: int, batch_size: int, seed: int = 0, epoch: int = 0, shuffle: bool = True) -> Iterator[Indices]:
    """The mini-batches of an epoch, as row numbers; the last one holds the remaining rows.

    Parameters
    ----------
    n, seed, epoch, shuffle
        As for `epoch_order`.
    batch_size : int
        Rows per batch, at least 1.

    Returns
    -------
    iterator of numpy.ndarray
        Views of the epoch's order.

    Examples
    --------
    >>> from chainrule import data
    >>> [len(rows) for rows in data.batches(10, 4)]
    [4, 4, 2]
    """
    size = integer("batch_size", batch_size, at_least=1)
    order = epoch_order(n, seed, epoch, shuffle)
    return (order[start : start + size] for start in range(0, n, size))


def _shuffled(n: int, seed: int, stream: tuple[int, ...]) -> Indices:
    # numpy.random is slow to load, so it is used only here and in no annotation.
    keys = np.random.Philox(np.random.SeedSequence(seed, spawn_key=stream)).random_raw(n)
    return np.argsort(keys, kind="stable")
