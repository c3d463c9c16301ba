"""Reading the MNIST family's four IDX files, plain or gzip, for the programs that are compared with the library."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes. Raises ValueError if it is of another type or not whole."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    zero, kind, dimensions = struct.unpack_from(">HBB", content)
    if zero != 0 or kind != 8:
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
    if values.size != np.prod(shape):
        raise ValueError(f"{path} has {values.size} values, expected shape {shape} from its header")
    return values.reshape(shape)


def read_folder(
    folder: Path,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Training inputs (n, pixels) in 0…1 and labels, then those of the test."""
    train_x, train_y, test_x, test_y = (
        read_idx(_find(folder, name)) for name in ("train-images", "train-labels", "t10k-images", "t10k-labels")
    )
    return _scaled(train_x), train_y.astype(np.int64), _scaled(test_x), test_y.astype(np.int64)


def _find(folder: Path, beginning: str) -> Path:
    found = sorted(folder.glob(f"{beginning}*ubyte*"))
    if not found:
        raise FileNotFoundError(f"{folder} has no file {beginning}…ubyte; expected four IDX files as in MNIST")
    return found[0]


def _scaled(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
