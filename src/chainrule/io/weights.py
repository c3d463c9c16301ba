"""Named arrays in one safetensors file, with JSON metadata."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.arrays import as_array
from ..core.op import Array
from .files import regular_file, write_atomically

#: The safetensors header may not be larger (its own limit); what says so is refused before memory is taken.
MOST_HEADER_BYTES = 100_000_000

#: How many values (numbers, texts, lists, objects) a header, or an entry of its metadata, may hold: what JSON packs
#: into three bytes takes a hundred in memory.
MOST_VALUES = 250_000

#: What the library computes with and counts with; nothing else is written or read.
DTYPES = {
    "F32": np.float32, "F64": np.float64, "BOOL": np.bool_, "I8": np.int8, "I16": np.int16, "I32": np.int32,
    "I64": np.int64, "U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64,
}  # fmt: skip
_WRITABLE = {np.dtype(d) for d in DTYPES.values()}
#: The entry of the metadata with a checksum of everything else in the file.
DIGEST = "digest"

_HALVES = ("F16", "BF16")
_MOST_AXES = 64  # NumPy's own limit
_LONGEST_NAME = 1_000
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)


def save_arrays(
    path: str | os.PathLike[str], arrays: Mapping[str, Array], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write arrays and metadata to a safetensors file, atomically.

    A digest of all of it goes with it, as the entry ``digest`` of the metadata.

    Parameters
    ----------
    path
        The file; an existing one is replaced.
    arrays
        Name -> array of float32, float64, bool or integers.
    metadata
        Name -> anything JSON can hold; each entry is stored as JSON text.

    Raises
    ------
    TypeError, ValueError
        For an array or an entry that the file cannot hold; the message names it, and nothing is written.
    OSError
        When the file cannot be written; an existing one is unchanged then.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from chainrule import io
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "arrays.safetensors")
    ...     io.save_arrays(file, {"x": np.arange(3)}, {"unit": "mm"})
    ...     io.load_arrays(file)
    ({'x': array([0, 1, 2])}, {'unit': 'mm'})
    """
    write_atomically(path, to_bytes(arrays, metadata))


def to_bytes(arrays: Mapping[str, Array], metadata: Mapping[str, Any] | None = None) -> bytes:
    """Return the content of the file that `save_arrays` writes."""
    return with_texts(arrays, texts_of(metadata or {}))


def texts_of(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return metadata as the JSON texts that a file holds."""
    if not isinstance(metadata, Mapping) or not all(isinstance(key, str) for key in metadata):
        raise TypeError(f"metadata: expected a dict with string keys, got {shown(metadata)}")
    text = {}
    for key, value in metadata.items():
        try:
            text[key] = json.dumps(value, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise type(error)(f"metadata {key!r}: JSON cannot hold it: {error}") from None
        except RecursionError:
            raise ValueError(f"metadata {key!r} is nested too deeply") from None
        if _holds_too_many(text[key]):
            raise ValueError(f"metadata {key!r} has more than {MOST_VALUES:,} values; save it as an array")
    return text


def with_texts(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """Return a safetensors file whose metadata are the given texts, and a digest."""
    from safetensors.numpy import save

    if DIGEST in metadata:
        raise ValueError(f"metadata: the name {DIGEST} is reserved")
    if not isinstance(arrays, Mapping):
        raise TypeError(f"arrays: expected a dict of arrays by name, got type {type(arrays).__name__}")
    plain = {}
    for name, given in arrays.items():
        array = np.array(as_array(given, str(name)), order="C")
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        if array.dtype not in _WRITABLE:
            raise TypeError(f"{name} has dtype {array.dtype}; a file holds float32, float64, bool and integers")
        if name == "__metadata__":
            raise ValueError("an array may not be called __metadata__: the format reserves that name")
        if not isinstance(name, str) or not _is_name(name):
            raise ValueError(f"{shown(name)} is not a valid name of an array: {_NAMES}")
        plain[name] = array
    return _in_order(save(plain, {**metadata, DIGEST: json.dumps(_digest(plain, metadata))}))


def _digest(arrays: Mapping[str, Array], texts: Mapping[str, str]) -> str:
    """Return a checksum of all that a file holds besides its digest."""
    digest = hashlib.blake2b(json.dumps({**texts, DIGEST: None}, sort_keys=True).encode(), digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(json.dumps([name, str(array.dtype), arrays[name].shape]).encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


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
    if len(header) > MOST_HEADER_BYTES or _holds_too_many(header.decode()):
        raise ValueError(f"too many arrays or too long metadata for one file: a header of {len(header):,} bytes")
    return b"".join((len(header).to_bytes(8, "little"), header, memoryview(content)[8 + length :]))


def load_arrays(
    path: str | os.PathLike[str], *, most_header_bytes: int = MOST_HEADER_BYTES
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read a safetensors file; return its arrays and its metadata.

    Nothing in the file is executed or unpickled, and no more memory is used than the file is long: its header is
    checked against its length before any array is made. What `save_arrays` wrote has a digest, which is checked;
    files of other programs have none, and changed numbers in them cannot be noticed.

    Parameters
    ----------
    path
        The file.
    most_header_bytes
        Refuse a longer header.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a safetensors file, or truncated, inconsistent, or changed after it was written; the message says
        what was found.

    Examples
    --------
    See `save_arrays`.
    """
    arrays, metadata, _ = load_checked(path, most_header_bytes)
    return arrays, metadata


def load_checked(
    path: str | os.PathLike[str], most_header_bytes: int = MOST_HEADER_BYTES
) -> tuple[dict[str, Array], dict[str, Any], bool]:
    """Return the arrays and the metadata of a file, and whether it has a digest, which fits then."""
    arrays, texts = _read(path, most_header_bytes)
    digested = texts.get(DIGEST, "").startswith('"')  # JSON text; another program's entry of this name is its own
    if digested:
        found = parsed(texts.pop(DIGEST))
        if found != _digest(arrays, texts):
            raise ValueError(
                f"{os.fspath(path)} is damaged, or was changed after it was written: the digest does not match"
            )
    return arrays, {key: parsed(text) for key, text in texts.items()}, digested


def _read(path: str | os.PathLike[str], most_header_bytes: int) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the arrays of a file, and its metadata as texts."""
    file = regular_file(path, "a safetensors file")
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        header, start = _header(file, stream, size, most_header_bytes)
        texts = _texts(file, header.pop("__metadata__", None))
        entries = _entries(file, header, size - start)
        try:
            arrays = {name: _numbers(stream, *entry) for name, entry in entries.items()}
        except (EOFError, MemoryError) as error:
            raise ValueError(f"{file} ({size:,} bytes) cannot be read: {error or 'not enough memory'}") from None
    return {name: arrays[name] for name in header}, texts


def _header(file: Path, stream: io.BufferedReader, size: int, most: int) -> tuple[dict[str, Any], int]:
    """Read the header; return it and where the arrays begin."""
    head = stream.read(8)
    length = int.from_bytes(head, "little")
    if head[:4] == b"PK\x03\x04":
        raise ValueError(
            f"{file} is a ZIP archive, not a safetensors file; io.save_arrays(path, dict(np.load(…))) makes one of an "
            ".npz file, safetensors.torch.save_file(torch.load(…), path) one of what torch.save wrote"
        )
    if len(head) < 8 or length > min(size - 8, most):
        raise ValueError(
            f"{file} is not a safetensors file, or truncated: {size:,} bytes, a header of {length:,} is declared"
        )
    try:
        header = _strictly(stream.read(length).decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not a safetensors file: its header is not JSON ({error})") from None
    if not isinstance(header, dict):
        raise ValueError(
            f"{file} is not a safetensors file: its header is a JSON {type(header).__name__}, not an object"
        )
    return header, 8 + length


def _texts(file: Path, metadata: Any) -> dict[str, str]:
    if metadata is None:
        return {}
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError(f"{file} is damaged: its metadata are not texts by name")
    return metadata


Entry = tuple[np.dtype[Any], tuple[int, ...]]


def _entries(file: Path, header: dict[str, Any], size: int) -> dict[str, Entry]:
    """Return name -> (dtype, shape) in the order of the file, if they fill its `size` bytes without a gap."""
    found = []
    for name, entry in header.items():
        if not _is_name(name):
            raise ValueError(f"{file} is damaged: {shown(name)} is not a valid name of an array: {_NAMES}")
        if isinstance(entry, dict) and entry.get("dtype") in _HALVES:
            raise ValueError(
                f"{file}: {name} has the unsupported dtype {entry['dtype']}; convert it to F32 with .float()"
            )
        try:
            found.append((*_span(entry), name))
        except ValueError as error:
            raise ValueError(f"{file} is damaged: {name} {error}") from None
    found.sort(key=lambda span: span[:2])
    position = 0
    for start, end, _, _, name in found:
        if start != position:
            wrong = "overlaps the array before it" if start < position else "comes after a gap"
            raise ValueError(f"{file} is damaged: {name} begins at byte {start:,}, not at {position:,}; it {wrong}")
        position = end
    if position != size:
        raise ValueError(
            f"{file} is damaged or truncated: its header declares {position:,} bytes of arrays, {size:,} are there"
        )
    return {name: (dtype, shape) for _, _, dtype, shape, name in found}


def _span(entry: Any) -> tuple[int, int, np.dtype[Any], tuple[int, ...]]:
    """Return begin, end, dtype and shape that an entry of the header declares."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError("is not described by dtype, shape and data_offsets")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in DTYPES:
        raise ValueError(f"has dtype {shown(kind)}; {', '.join(DTYPES)} are read")
    if not _are_counts(shape) or len(shape) > _MOST_AXES or 8 * math.prod(d for d in shape if d) >= 2**63:
        raise ValueError(f"has shape {shown(shape)}, which no array has")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise ValueError(f"has data_offsets {shown(offsets)}, not a begin and an end")
    begin, end = offsets
    dtype = np.dtype(DTYPES[kind])
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"of shape {shown(shape)} and {kind} lies in bytes {begin:,} to {end:,}: the sizes differ")
    return begin, end, dtype, tuple(shape)


def _are_counts(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(n) is int and 0 <= n < 2**63 for n in numbers)


def _numbers(stream: io.BufferedReader, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    array = np.empty(math.prod(shape), dtype.newbyteorder("<"))
    content = array.view(np.uint8)
    if stream.readinto(content.data) != content.size:
        raise EOFError("it became shorter while it was read")
    if dtype.kind == "b" and content.max(initial=0) > 1:
        raise EOFError("an array of BOOL holds other bytes than 0 and 1")
    return array.astype(dtype, copy=False).reshape(shape)


def parsed(text: str) -> Any:
    """Return the value of a JSON text of the metadata; other files hold plain text, which is returned unchanged."""
    try:
        return _strictly(text)
    except (ValueError, RecursionError):
        return text


def _strictly(text: str) -> Any:
    """Read JSON; refuse what JSON does not know (NaN), what is ambiguous (a key twice), and what fills the memory."""
    if _holds_too_many(text):
        raise ValueError(f"more than {MOST_VALUES:,} values in it")
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)


def _holds_too_many(text: str) -> bool:
    return _values(text) > MOST_VALUES and _values(_TEXT.sub("", text)) > MOST_VALUES


def _values(text: str) -> int:
    return sum(map(text.count, ",[{"))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{shown(name)} occurs twice")
        found[name] = value
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} stands in it")


_NAMES = f"expected 1 to {_LONGEST_NAME:,} printable characters"


def _is_name(name: str) -> bool:
    return 0 < len(name) <= _LONGEST_NAME and name.isprintable()


def shown(value: Any) -> str:
    """Return a value as messages show it: escaped, and not at length."""
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
