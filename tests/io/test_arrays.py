"""Arrays in safetensors files: round trips, and files that are damaged or hostile."""

import json
import struct
import time
from pathlib import Path

import numpy as np
import pytest

from chainrule.io import load_arrays, save_arrays
from chainrule.io.weights import to_bytes

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array(np.pi),
    "c": np.zeros((0, 4), np.float64),
    "d": np.array([True, False]),
    "e": np.arange(-3, 3, dtype=np.int8),
    "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "g": np.arange(10, dtype=np.int64)[::2],
    "h": np.arange(4, dtype=">f4"),
    "nan": np.array([np.nan, -np.inf, -0.0]),
    "ünï/code.0": np.ones((), np.uint64),
}
METADATA = {"text": "x: {ü}", "number": 1.5, "nest": {"a": [1, None, True]}, "empty": ""}


def test_round_trip(tmp_path):
    file = tmp_path / "arrays"
    save_arrays(file, ARRAYS, METADATA)
    arrays, metadata = load_arrays(file)
    assert metadata == METADATA and arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype.newbyteorder("=") and arrays[name].shape == array.shape
        np.testing.assert_array_equal(arrays[name], array)
    save_arrays(file, {})
    assert load_arrays(file) == ({}, {})


def test_the_same_content_makes_the_same_bytes():
    metadata = {f"entry {i}": i for i in range(20)}  # the writer's own order of entries differs from call to call
    first = to_bytes(ARRAYS, metadata)
    assert all(to_bytes(ARRAYS, dict(reversed(metadata.items()))) == first for _ in range(5))
    length = int.from_bytes(first[:8], "little")
    assert length % 8 == 0 and next(iter(json.loads(first[8 : 8 + length]))) == "__metadata__"


def test_what_is_no_file_is_called_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="is a folder, not"):
        load_arrays(tmp_path)
    if Path("/dev/null").exists():
        with pytest.raises(FileNotFoundError, match="is a device or a pipe, not"):
            load_arrays("/dev/null")


def test_others_read_it(tmp_path):
    torch = pytest.importorskip("safetensors.torch", exc_type=ImportError)
    save_arrays(tmp_path / "x", {"a": ARRAYS["a"]}, METADATA)
    assert torch.load_file(tmp_path / "x")["a"].tolist() == ARRAYS["a"].tolist()


def test_metadata_of_others_that_is_no_json_comes_as_text(tmp_path):
    from safetensors.numpy import save_file

    others = {"format": "pt", "nan": "NaN", "twice": '{"a": 1, "a": 2}', "deep": "[" * 100_000}
    save_file({"a": ARRAYS["a"]}, tmp_path / "x", {**others, "n": "3"})
    assert load_arrays(tmp_path / "x")[1] == {**others, "n": 3}


@pytest.mark.parametrize(
    ("arrays", "metadata", "kind", "message"),
    [
        ({"z": np.ones(2, complex)}, {}, TypeError, "z has dtype complex128"),
        ({"z": np.array(["a"])}, {}, TypeError, "z has dtype <U1"),
        ({"z": np.array([None])}, {}, TypeError, "z has dtype object"),
        ({"__metadata__": np.ones(2)}, {}, ValueError, "may not be called __metadata__"),
        ({}, {"m": {1, 2}}, TypeError, "metadata 'm': JSON"),
        ({}, {"m": np.nan}, ValueError, "metadata 'm': JSON"),
    ],
)
def test_what_a_file_cannot_hold(tmp_path, arrays, metadata, kind, message):
    with pytest.raises(kind, match=message):
        save_arrays(tmp_path / "x", arrays, metadata)
    assert not list(tmp_path.iterdir())


def test_an_npz_file_is_told(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.ones(2))
    with pytest.raises(ValueError, match=r"x.npz is a ZIP archive.*save_arrays"):
        load_arrays(tmp_path / "x.npz")
    save_arrays(tmp_path / "x", dict(np.load(tmp_path / "x.npz")))
    np.testing.assert_array_equal(load_arrays(tmp_path / "x")[0]["a"], [1, 1])


def test_truncated_anywhere(tmp_path):
    file = tmp_path / "x"
    save_arrays(file, {"a": np.arange(50, dtype=np.float32), "b": np.ones(3)}, METADATA)
    whole = file.read_bytes()
    head = 8 + struct.unpack("<Q", whole[:8])[0]
    for length in [*range(head + 1), *range(head + 1, len(whole), 7), len(whole) - 1]:
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"not a safetensors file|is damaged or truncated"):
            load_arrays(file)
    file.write_bytes(whole + b"x")
    with pytest.raises(ValueError, match="is damaged or truncated"):
        load_arrays(file)


def written(header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(shape, start, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


HOSTILE = {
    "a header of 2**64 bytes": written(b"{}", length=2**64 - 1),
    "a header of 99 MB that is not there": written(b"{}", length=99_000_000),
    "no JSON": written(b"\xff\xfe{"),
    "a list": written(b"[]"),
    "deep nesting": written(b"[" * 200_000),
    "deep nesting in an object": written(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "huge shape": written({"a": entry([2**40, 2**40], 0, 4)}, bytes(4)),
    "huge shape without elements": written({"a": entry([0, 2**62], 0, 0)}),
    "huge offsets": written({"a": entry([2**60], 0, 2**62)}, bytes(4)),
    "overlapping": written({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)),
    "a hole": written({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12)),
    "backwards": written({"a": entry([1], 4, 0)}, bytes(4)),
    "negative": written({"a": entry([-1], 0, 4)}, bytes(4)),
    "shape and size differ": written({"a": entry([3], 0, 4)}, bytes(4)),
    "unknown dtype": written({"a": entry([1], 0, 4, "OBJ")}, bytes(4)),
    "half precision": written({"a": entry([2], 0, 4, "BF16")}, bytes(4)),
    "an entry that is none": written({"a": 3}),
    "an entry that lacks": written({"a": {"dtype": "F32"}}),
    "metadata that is a list": written({"__metadata__": []}),
    "metadata of numbers": written({"__metadata__": {"a": 1}}),
    "a number too long": written(b'{"a": ' + b"9" * 10_000 + b"}"),
    "a pickle": b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "a zip": b"PK\x03\x04" + bytes(60),
    "empty": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_quickly(tmp_path, name):
    file = tmp_path / "x"
    file.write_bytes(HOSTILE[name])
    began = time.process_time()
    with pytest.raises(ValueError, match=str(file)):
        load_arrays(file)
    assert time.process_time() - began < 5


def test_null_metadata_is_none(tmp_path):
    (tmp_path / "x").write_bytes(written({"__metadata__": None}))
    try:
        assert load_arrays(tmp_path / "x") == ({}, {})
    except ValueError as error:
        assert "damaged" in str(error)


def test_absent_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nope"):
        load_arrays(tmp_path / "nope")
    with pytest.raises(FileNotFoundError, match="is a folder, not a safetensors file"):
        load_arrays(tmp_path)


def test_arrays_that_would_lose_something_or_have_no_name(tmp_path):
    masked = np.ma.masked_array([1.0, 2.0], [False, True])
    with pytest.raises(ValueError, match="x is a masked array with 1 masked values"):
        save_arrays(tmp_path / "a", {"x": masked})
    with pytest.raises(ValueError, match="3 is not a valid name"):
        save_arrays(tmp_path / "a", {3: np.ones(2)})
    with pytest.raises(TypeError, match=r"arrays: expected a dict.*list"):
        save_arrays(tmp_path / "a", [np.ones(2)])
    with pytest.raises(ValueError, match="too many arrays or too long metadata for one file"):
        save_arrays(tmp_path / "a", {str(i): np.zeros(1, bool) for i in range(60_000)})
    assert not list(tmp_path.iterdir())
