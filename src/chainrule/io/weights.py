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

#: What the library computes with and counts with; nothing else is written or read.
DTYPES = {
    "F32": np.float32, "F64": np.float64, "BOOL": np.bool_, "I8": np.int8, "I16": np.int16, "I32": np.int32,
    "I64": np.int64, "U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64,
}  # fmt: skip
_WRITABLE = {np.dtype(d) for d in DTYPES.values()}


def save_arrays(
    path: str | os.PathLike[str], arrays: Mapping[str, Array], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write arrays and metadata to a safetensors file, atomically.

    Parameters
    ----------
    path
        The file; an existing one is replaced.
    arrays
        Name -> array of float32, float64, bool or integers.
    metadata
        Name -> anything JSON can hold; stored as JSON text, an entry each.

    Raises
    ------
    TypeError, ValueError
        For an array or an entry that the file cannot hold; it is named, and nothing is written.
    OSError
        When the file cannot be written; an existing one is unchanged then.
    """
    write_atomically(path, to_bytes(arrays, metadata))


def to_bytes(arrays: Mapping[str, Array], metadata: Mapping[str, Any] | None = None) -> bytes:
    """Return the content of the file that `save_arrays` writes."""
    from safetensors.numpy import save

    plain = {}
    for name, given in arrays.items():
        array = np.array(given, order="C")
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        if array.dtype not in _WRITABLE:
            raise TypeError(f"{name} has dtype {array.dtype}; a file holds float32, float64, bool and integers")
        if name == "__metadata__":
            raise ValueError("an array may not be called __metadata__: the format keeps that name")
        plain[name] = array
    text = {}
    for key, value in (metadata or {}).items():
        try:
            text[key] = json.dumps(value, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise type(error)(f"metadata {key!r} is not what JSON can hold: {error}") from None
    # an empty dict beside no arrays gives a file that it cannot read itself
    return _in_order(save(plain, text or None))


def _in_order(content: bytes) -> bytes:
    """Return a safetensors file with its header's entries in order: the writer's own order differs from run to run.

    The same arrays and metadata then make the same bytes, so that files can be compared by their checksums.
    """
    length = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + length])
    metadata = entries.pop("__metadata__", {})
    begin = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    header = json.dumps(begin | entries, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)  # the arrays begin at a multiple of 8
    return b"".join((len(header).to_bytes(8, "little"), header, memoryview(content)[8 + length :]))


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
        raise FileNotFoundError(
            f"no file {file}"
            if not file.exists()
            else f"{file} is a {'folder' if file.is_dir() else 'device or a pipe'}, not a safetensors file"
        )
    size = file.stat().st_size
    header = _header(file, size)
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(str(file))
    except (SafetensorError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is damaged or truncated ({size:,} bytes): {error}") from None
    metadata: dict[str, Any] = {}
    for key, text in (header.get("__metadata__") or {}).items():
        try:
            metadata[key] = json.loads(text)
        except (ValueError, RecursionError):
            metadata[key] = text
    return arrays, metadata


def _header(file: Path, size: int) -> dict[str, Any]:
    """Read the header and refuse what is no safetensors file of ours, before any array is made."""
    with file.open("rb") as stream:
        head = stream.read(8)
        length = int.from_bytes(head, "little")
        if len(head) < 8 or length > min(size - 8, MOST_HEADER_BYTES):
            raise ValueError(
                f"{file} is no safetensors file, or truncated: {size:,} bytes, a header of {length:,} is declared"
            )
        try:
            header = json.loads(stream.read(length))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{file} is no safetensors file: its header is no JSON ({error})") from None
    if not isinstance(header, dict):
        raise ValueError(f"{file} is no safetensors file: its header is a JSON {type(header).__name__}, not an object")
    for name, entry in header.items():
        kind = entry.get("dtype") if isinstance(entry, dict) else None
        if name != "__metadata__" and kind not in DTYPES:
            raise ValueError(f"{file}: {name} has dtype {kind!r}; {', '.join(DTYPES)} are read")
    return header
