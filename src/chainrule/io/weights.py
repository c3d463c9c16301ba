"""Named arrays in one safetensors file, with JSON metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..op import Array
from .files import write_atomically

#: The safetensors header may not be larger (its own limit); what says so is refused before memory is taken.
MOST_HEADER_BYTES = 100_000_000


def save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, Array], metadata: Mapping[str, Any] | None = None) -> None:
    """Write arrays and metadata to a safetensors file, atomically.

    Parameters
    ----------
    path
        The file; an existing one is replaced.
    arrays
        Name -> array of float32, float64, bool or integers.
    metadata
        Name -> anything JSON can hold; stored as JSON text, an entry each.
    """
    from safetensors.numpy import save

    text = {key: json.dumps(value, sort_keys=True, allow_nan=False) for key, value in (metadata or {}).items()}
    write_atomically(path, save({k: np.ascontiguousarray(v) if v.ndim else v.copy() for k, v in arrays.items()}, text))


def load_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read a safetensors file; return its arrays and its metadata.

    Nothing in the file is executed or unpickled.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no safetensors file, or truncated, or inconsistent; the message says what was found.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}" if not file.exists() else f"{file} is a folder, not a safetensors file")
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(8)
        length = int.from_bytes(head, "little")
        if len(head) < 8 or length > min(size - 8, MOST_HEADER_BYTES):
            raise ValueError(f"{file} is no safetensors file, or truncated: {size:,} bytes, a header of {length:,} is declared")
        try:
            header = json.loads(stream.read(length))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{file} is no safetensors file: its header is no JSON ({error})") from None
    if not isinstance(header, dict):
        raise ValueError(f"{file} is no safetensors file: its header is a JSON {type(header).__name__}, not an object")
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(str(file))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is damaged or truncated ({size:,} bytes): {error}") from None
    metadata = {}
    given = header.get("__metadata__", {})
    for key, text in given.items():
        try:
            metadata[key] = json.loads(text)
        except (ValueError, RecursionError):
            metadata[key] = text
    return arrays, metadata
