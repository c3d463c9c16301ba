"""IDX files, plain or gzip, and folders of them as the MNIST family is published.

The format: two zero bytes, a byte for the type, a byte for the number of dimensions, each dimension as a
big-endian 32-bit number, then the values, big-endian, the last index varying fastest
(http://yann.lecun.com/exdb/mnist/).
"""

import gzip
import math
import os
import re
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset
from .expansion import Expansion
from .wording import counted, listed

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
BLOCK = 1 << 20

FAMILY_FILE = re.compile(
    r"(?P<prefix>.*?)(?P<part>train|t10k|test)[-.](?P<what>images|labels)[-.]idx[134][-.]ubyte(\.gz)?$"
)


def read_idx(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> NDArray[Any]:
    """Read the array that an IDX file holds.

    Parameters
    ----------
    path : path
        Plain, or compressed with gzip; recognised by the contents, not by the name.
    max_bytes : int, optional
        How many bytes a compressed file may expand to. By default 100 times its size, but at least 64 MiB and at most
        4 GiB; what expands to more is refused before it takes memory.

    Returns
    -------
    numpy.ndarray
        In the machine's byte order, with the dimensions that the header states.

    Raises
    ------
    ValueError
        When the header is not an IDX header, the file is longer or shorter than the header states,
        the gzip stream is damaged, or it would expand to more than `max_bytes`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from chainrule import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "labels"
    ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))  # three unsigned bytes
    ...     rows = data.read_idx(file)
    >>> rows
    array([7, 8, 9], dtype=uint8)
    """
    with open(path, "rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not compressed:
            return _parse(file, path)
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _parse(cast(BinaryIO, unpacked), path, Expansion(path, max_bytes))
        except EOFError:
            raise ValueError(f"{path}: the gzip stream ends early; the file is truncated, fetch it again") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: the gzip stream is damaged ({error}); fetch the file again") from None


def _parse(file: BinaryIO, path: str | os.PathLike[str], expansion: Expansion | None = None) -> NDArray[Any]:
    magic = file.read(4)
    if len(magic) < 4:
        raise ValueError(f"{path}: {counted(len(magic), 'byte')}, an IDX header has at least 4; it is truncated")
    zeros, code, rank = magic[:2], magic[2], magic[3]
    if zeros != b"\0\0" or code not in TYPES or rank == 0:
        raise ValueError(
            f"{path}: starts with the bytes {magic.hex(' ')}, which is not an IDX header "
            f"(00 00, then a type of {', '.join(f'{known:02x}' for known in TYPES)}, then a number of "
            "dimensions)"
        )
    sizes = file.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise ValueError(
            f"{path}: truncated in its header: {counted(rank, 'dimension')} need {4 * rank} bytes, found {len(sizes)}"
        )
    shape = tuple(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, 4 * rank, 4))
    dtype = np.dtype(TYPES[code])
    # math.prod does not overflow, so a header with a wrong size is caught by the length check, not by the
    # allocator.
    promised = math.prod(shape) * dtype.itemsize
    if expansion is not None:
        expansion.check(promised, os.path.getsize(path))
    content = _read_up_to(file, promised + 1)
    if len(content) != promised:
        found = f"only {len(content):,}" if len(content) < promised else "more"
        advice = "the file is truncated" if len(content) < promised else "there are bytes after its data"
        raise ValueError(
            f"{path}: the header states {'×'.join(map(str, shape))} values in {promised:,} bytes, "
            f"{found} found: {advice}"
        )
    return np.frombuffer(content, dtype).astype(dtype.newbyteorder("="), copy=False).reshape(shape)


def _read_up_to(file: BinaryIO, limit: int) -> bytearray:
    """Read in blocks, since read(limit) would allocate as much as a wrong header states."""
    content = bytearray()
    while len(content) < limit:
        block = file.read(min(BLOCK, limit - len(content)))
        if not block:
            break
        content += block
    return content


def read_idx_folder(
    folder: str | os.PathLike[str], task: str | None = None, *, max_bytes: int | None = None
) -> Dataset:
    """Read a folder that holds a data set of the MNIST family.

    That is ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``, and for the test split ``t10k-…`` (or
    ``test-…``); with or without ``.gz``, with ``-`` or ``.`` around ``idx3``, with a common prefix as in
    EMNIST.

    Parameters
    ----------
    folder : path
        The folder.
    task : str, optional
        Overrides the task, which is classification because the files hold labels.
    max_bytes : int, optional
        For each file; see `read_idx`.

    Returns
    -------
    Dataset
        `X` as stored (uint8), flattened; `image_shape`; the test split in `test`.

    Raises
    ------
    ValueError
        When files are missing, there is more than one data set, or counts and shapes do not match.

    Examples
    --------
    >>> import gzip, tempfile
    >>> from pathlib import Path
    >>> from chainrule import data
    >>> images = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 10, 20, 30, 40])  # two images of 1 × 2
    >>> labels = bytes([0, 0, 8, 1, 0, 0, 0, 2, 0, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for part in ('train', 't10k'):
    ...         _ = Path(folder, f'{part}-images-idx3-ubyte').write_bytes(images)
    ...         _ = Path(folder, f'{part}-labels-idx1-ubyte').write_bytes(labels)
    ...     rows = data.read_idx_folder(folder)
    >>> len(rows), len(rows.test), rows.image_shape
    (2, 2, (1, 2))
    """
    files, notes = _family_files(Path(folder))
    parts = {}
    for part in ("train", "test"):
        images, labels = files.get((part, "images")), files.get((part, "labels"))
        if images is not None and labels is not None:
            parts[part] = _read_part(images, labels, max_bytes)
        elif images is not None or labels is not None:
            there, lacking = ("images", "labels") if labels is None else ("labels", "images")
            raise ValueError(f"{folder}: holds the {part} {there} ({images or labels}) and no {part} {lacking}")
    if "train" not in parts:
        raise ValueError(f"{folder}: holds a test split but no train-images and train-labels")
    if "test" not in parts:
        notes.append("the folder has no test split (t10k-…)")
    train = Dataset.from_arrays(
        *parts["train"], target_name="label", task=task or "classification", source=f"{folder}", notes=notes
    )
    if task is None:
        train = replace(train, task_reason=f"{train.task}: the folder holds images with labels")
    if "test" not in parts:
        return train
    test = Dataset.from_arrays(*parts["test"], target_name="label", task=train.task, source=f"{folder} (test split)")
    return replace(train, test=test)


def _family_files(folder: Path) -> tuple[dict[tuple[str, str], Path], list[str]]:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    matches = [match for match in map(FAMILY_FILE.match, names) if match]
    if not matches:
        held = listed(names) if names else "no files"
        raise ValueError(
            f"{folder}: expected train-images-idx3-ubyte and train-labels-idx1-ubyte (also .gz), found {held}"
        )
    prefixes = sorted({match["prefix"] for match in matches})
    if len(prefixes) > 1:
        raise ValueError(
            f"{folder}: holds {len(prefixes)} data sets ({listed(repr(p) for p in prefixes)}); give each its own folder"
        )
    files: dict[tuple[str, str], Path] = {}
    notes = []
    for match in matches:
        key = ("train" if match["part"] == "train" else "test", match["what"])
        if key in files:
            notes.append(f"read {files[key].name} and ignored {match.string}")
        else:
            files[key] = folder / match.string
    return files, notes


def _read_part(images_path: Path, labels_path: Path, max_bytes: int | None) -> tuple[NDArray[Any], NDArray[Any]]:
    images, labels = (read_idx(path, max_bytes=max_bytes) for path in (images_path, labels_path))
    if images.ndim not in (3, 4):
        raise ValueError(f"{images_path}: expected 3 dimensions (number, height, width), got {images.ndim}")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"{labels_path}: expected 1 dimension of integers, got {labels.ndim} of {labels.dtype}")
    if len(images) != len(labels):
        raise ValueError(f"{images_path.name} holds {len(images):,} images, {labels_path.name} {len(labels):,} labels")
    return images, labels
