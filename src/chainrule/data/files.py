"""Reading every kind of file: `read` with a target, `read_features` without."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from .arrow_files import SUFFIXES, inside
from .dataset import Dataset
from .digits import load_digits
from .idx import FAMILY_FILE, read_idx, read_idx_folder
from .images import Size, is_image, read_image_folder, read_images
from .npz import read_npz, read_npz_features
from .readings import Reading
from .tables import Files, OnePath, matching, read_table, read_table_features
from .wording import suggestion

DIGITS = "digits"
OWN_TARGETS = {"digits": "digit", "folder": "label", "classes": "class"}
TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", *SUFFIXES)
KINDS = (
    "a table (.csv, .tsv, .parquet, .arrow), an .npz archive, a folder of MNIST-family IDX files or of images by "
    "class, or 'digits'"
)


def read(
    path: Files,
    target: str | None = None,
    task: str | None = None,
    *,
    exclude: Sequence[str] = (),
    header: bool | None = None,
    max_bytes: int | None = None,
    size: Size | None = None,
    channels: int | None = None,
    readings: Mapping[str, Reading] | None = None,
) -> Dataset:
    """Read a data set with its target, by the kind of file.

    Parameters
    ----------
    path : path, sequence of paths, or "digits"
        A table (``.csv``, ``.tsv``, ``.parquet``, ``.arrow``, or several files; see `read_table`), an NPZ archive
        (`read_npz`), a folder of IDX files (`read_idx_folder`) or of images by class (`read_image_folder`), or
        ``"digits"`` for the embedded ones (`load_digits`; a folder of that name is ``"./digits"``).
    target : str, optional
        A table's column, or an NPZ archive's array. Images with label files and the digits have their own.
    task : {"binary", "multiclass", "regression", "classification"}, optional
        Overrides the inferred task.
    exclude : sequence of str, optional
        Columns of a table to leave out.
    header : bool, optional
        Whether a CSV's first row names its columns; told from the row itself otherwise.
    max_bytes : int, optional
        How many bytes a compressed file may expand to. By default 100 times its size, but at least 64 MiB and at most
        4 GiB; what expands to more is refused before it takes memory.
    size, channels
        Of a folder of images: see `read_image_folder`.
    readings
        Of a table: see `read_table`.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError
        When nothing is at `path`; the message suggests similar names.
    ValueError
        When the file is of another kind or damaged, or its contents do not fit.

    Examples
    --------
    >>> from chainrule import data
    >>> digits = data.read("digits")
    >>> len(digits), digits.task
    (1797, 'multiclass')
    """
    paths = [DIGITS] if path == DIGITS else matching(path)
    if len(paths) > 1:
        _refuse_other_files(paths)
        return read_table(paths, target, task, exclude, header, max_bytes=max_bytes, readings=readings)
    kind, place = _kind(paths[0])
    if kind in OWN_TARGETS and target not in (None, OWN_TARGETS[kind]):
        raise ValueError(f"target: got {target!r}, but {path} has its own labels; leave target out")
    if kind != "table" and (exclude or header is not None):
        raise ValueError(f"exclude and header apply to tables only, and {path} is not a table; leave them out")
    if kind == "digits":
        _refuse_other_task(task)
        return load_digits()
    if kind == "folder":
        return read_idx_folder(place, task, max_bytes=max_bytes)
    if kind == "classes":
        return read_image_folder(place, task, size=size, channels=channels, max_bytes=max_bytes)
    if kind == "npz":
        return read_npz(place, target, task, max_bytes=max_bytes)
    if kind == "table":
        return read_table(place, target, task, exclude, header, max_bytes=max_bytes, readings=readings)
    what, holder = ("image", "folders of images by class") if kind == "image" else ("IDX file", "images and labels")
    raise ValueError(f"{path}: a single {what} has no target; give the folder that holds {holder}")


def _refuse_other_files(paths: Sequence[OnePath]) -> None:
    other = [path for path in paths if not is_table(path)]
    if other:
        expected = "a table (.csv, .tsv, .parquet, .arrow)"
        raise ValueError(f"{other[0]}: of several files, each must be {expected}; give one source")


def _refuse_other_task(task: str | None) -> None:
    if task not in (None, "multiclass", "classification"):
        raise ValueError(f"task: expected 'multiclass' for the ten digits, got {task!r}")


def read_features(
    path: Files,
    *,
    header: bool | None = None,
    max_bytes: int | None = None,
    size: Size | None = None,
    channels: int | None = None,
    readings: Mapping[str, Reading] | None = None,
) -> Dataset:
    """Read rows to predict for: features without a target.

    Parameters
    ----------
    path : path or "digits"
        As for `read`; also a single IDX file of images, an image, or a folder with images anywhere in it. Its target
        is not read; in a table it is one more column, which `Preprocessor.transform` ignores.
    header, max_bytes, size, channels, readings
        As for `read`.

    Returns
    -------
    Dataset
        With `y` None. Of a source with a training and a test split, the training split.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from chainrule import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "rows.npz"
    ...     np.savez(file, X=np.arange(6.0).reshape(3, 2), y=np.array([0, 1, 1]))
    ...     rows = data.read_features(file)
    >>> len(rows), rows.feature_names
    (3, ('x0', 'x1'))
    """
    paths = [DIGITS] if path == DIGITS else matching(path)
    if len(paths) > 1:
        _refuse_other_files(paths)
        return read_table_features(paths, header, max_bytes=max_bytes, readings=readings)
    kind, place = _kind(paths[0])
    if kind == "table":
        return read_table_features(place, header, max_bytes=max_bytes, readings=readings)
    if header is not None:
        raise ValueError(f"header applies to tables only, and {path} is not a table; leave it out")
    if kind == "digits":
        return load_digits().without_target()
    if kind == "folder":
        return read_idx_folder(place, max_bytes=max_bytes).without_target()
    if kind in ("image", "classes"):
        return read_images(place, size=size, channels=channels, max_bytes=max_bytes)
    if kind == "npz":
        return read_npz_features(place, max_bytes=max_bytes)
    return Dataset.from_arrays(read_idx(place, max_bytes=max_bytes), source=f"{path}")


def _kind(path: str | os.PathLike[str]) -> tuple[str, Path]:
    place = Path(path)
    if path == DIGITS:
        return "digits", place
    if place.is_dir():
        return "folder" if _holds_idx(place) else "classes", place
    if not place.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder.{_near(place)}")
    name = place.name.casefold()
    if name.endswith(TABLES):
        return "table", place
    if name.endswith(".npz"):
        return "npz", place
    if name.removesuffix(".gz").endswith((".idx", "ubyte")):
        return "idx", place
    if is_image(place):
        return "image", place
    raise ValueError(f"{path}: unknown kind of file; expected {KINDS}")


def is_table(path: Files) -> bool:
    """Whether these are files of a table, by their names; or a folder of Parquet or Arrow files.

    Examples
    --------
    >>> from chainrule import data
    >>> data.is_table("cars.csv.gz"), data.is_table("digits")
    (True, False)
    """
    if path == DIGITS:
        return False
    paths = [path] if isinstance(path, str | os.PathLike) else path
    return all(f"{one}".casefold().endswith(TABLES) or bool(inside(Path(one))) for one in paths)


def _holds_idx(folder: Path) -> bool:
    return any(FAMILY_FILE.match(entry.name) for entry in folder.iterdir())


def _near(place: Path) -> str:
    folder = place.parent
    if not folder.is_dir():
        return f" Nor is there a folder {folder}."
    names = sorted(entry.name for entry in folder.iterdir())
    return suggestion(place.name, names)
