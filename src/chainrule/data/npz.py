"""NPZ archives: arrays under the usual names of features and targets; no pickled objects."""

import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset
from .expansion import Expansion
from .wording import listed, suggestion

PAIRS = (("X", "y"), ("x", "y"), ("X", "Y"), ("data", "target"), ("images", "labels"))
FORMS = (("{}", None), ("{}_train", "{}_test"), ("train_{}", "test_{}"))
EXPECTED = "X and y (or x and y, data and target, images and labels), or X_train, y_train, X_test, y_test"


@dataclass(frozen=True)
class Found:
    """The names of an archive's arrays; None for those that it does not have."""

    features: str
    target: str | None
    test_features: str | None = None
    test_target: str | None = None


def read_npz(
    path: str | os.PathLike[str],
    target: str | None = None,
    task: str | None = None,
    *,
    max_bytes: int | None = None,
) -> Dataset:
    """Read features and target from an NPZ archive.

    Parameters
    ----------
    path : path
        The archive. It holds ``X`` and ``y`` (or ``x`` and ``y``, ``data`` and ``target``, ``images`` and
        ``labels``); or each with the suffix ``_train`` (or the prefix ``train_``), and with ``_test`` for a test
        split.
    target : str, optional
        The name of the target's array, if it is none of these.
    task : str, optional
        Overrides the inferred task.
    max_bytes : int, optional
        How many bytes a compressed file may expand to. By default 100 times its size, but at least 64 MiB and at most
        4 GiB; what expands to more is refused before it takes memory.

    Returns
    -------
    Dataset
        Features of 3 or 4 dimensions are images: ``(n, height, width)``, with a last axis for channels, or with the
        channels, 1 or 3 of them, before height and width.

    Raises
    ------
    ValueError
        When the file is damaged or not an archive, the names are others (the message lists them), or an array
        holds objects, or the arrays would take more than `max_bytes`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from chainrule import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "rows.npz"
    ...     np.savez(file, X=np.arange(6.0).reshape(3, 2), y=np.array([0, 1, 1]))
    ...     rows = data.read_npz(file)
    >>> len(rows), rows.target_name, rows.task
    (3, 'y', 'binary')
    """
    found, arrays, notes = _read(path, target, max_bytes)
    if found.target is None:
        raise ValueError(f"{path}: holds features ({found.features}) but no target; expected {EXPECTED}")
    train = Dataset.from_arrays(
        channels_last(arrays[found.features], notes),
        arrays[found.target],
        target_name=found.target,
        task=task,
        source=f"{path}",
        notes=notes,
    )
    if found.test_features is None or found.test_target is None:
        return train
    test = Dataset.from_arrays(
        channels_last(arrays[found.test_features], []),
        arrays[found.test_target],
        target_name=found.test_target,
        task=train.task,
        source=f"{path} (test split)",
    )
    return replace(train, test=test)


def read_npz_features(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> Dataset:
    """Read the features of an NPZ archive, with or without a target; errors as for `read_npz`."""
    found, arrays, notes = _read(path, None, max_bytes)
    return Dataset.from_arrays(channels_last(arrays[found.features], notes), source=f"{path}", notes=notes)


def channels_last(images: NDArray[Any], notes: list[str]) -> NDArray[Any]:
    """Return images ``(n, channels, height, width)`` with their channels last, and note it; other arrays as they are.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.data.npz import channels_last
    >>> channels_last(np.zeros((5, 3, 8, 10)), notes := []).shape, notes
    ((5, 8, 10, 3), ['the images have their channels first'])
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.shape[3] in (1, 3):
        return images
    notes.append("the images have their channels first")
    return np.moveaxis(images, 1, -1)


def _read(
    path: str | os.PathLike[str], target: str | None, max_bytes: int | None
) -> tuple[Found, dict[str, NDArray[Any]], list[str]]:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: not an NPZ archive, or a truncated one; np.savez writes such files")
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = _find(path, archive.files, target)
            wanted = {found.features, found.target, found.test_features, found.test_target} - {None}
            members = [each for each in archive.zip.infolist() if each.filename.removesuffix(".npy") in wanted]
            compressed = min(sum(each.compress_size for each in members), os.path.getsize(path))
            Expansion(path, max_bytes).check(sum(each.file_size for each in members), compressed)
            arrays = {name: _load(path, archive, name) for name in archive.files if name in wanted}
            unread = [name for name in archive.files if name not in arrays]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"{path}: the NPZ archive is damaged ({error}); write or fetch it again") from None
    return found, arrays, [f"ignored: {listed(unread)}"] if unread else []


def _load(path: str | os.PathLike[str], archive: Any, name: str) -> NDArray[Any]:
    try:
        array = archive[name]
    except ValueError as error:
        # NumPy's message: an object array, or an invalid header.
        raise ValueError(f"{path}: the array {name!r} cannot be read ({error}); store plain numbers or texts") from None
    except MemoryError:
        raise ValueError(f"{path}: the array {name!r} states a size that does not fit into memory") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path}: the member {name!r} is not an array; np.savez writes arrays")
    return array


def _find(path: str | os.PathLike[str], names: Sequence[str], target: str | None) -> Found:
    if target is not None and target not in names:
        raise ValueError(f"{path}: has no array {target!r}; it has {listed(names)}.{suggestion(target, names)}")
    candidates = [_fit(names, target, form, pair) for form in FORMS for pair in PAIRS]
    fitting = [found for found in candidates if found is not None]
    if not fitting:
        raise ValueError(f"{path}: holds the arrays {listed(names) or '(none)'}; expected {EXPECTED}")
    # An archive with `data` and `target` also fits the pair (X, Y) with neither; features with a target go
    # first.
    return next((found for found in fitting if found.target is not None), fitting[0])


def _fit(names: Sequence[str], target: str | None, form: tuple[str, str | None], pair: tuple[str, str]) -> Found | None:
    train, test = form
    features, usual = train.format(pair[0]), train.format(pair[1])
    if features not in names or features == target:
        return None
    if target not in (None, usual):
        return Found(features, target)
    if usual not in names:
        return Found(features, None)
    if test is None or not {test.format(pair[0]), test.format(pair[1])} <= set(names):
        return Found(features, usual)
    return Found(features, usual, test.format(pair[0]), test.format(pair[1]))
