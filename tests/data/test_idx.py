"""IDX files: what is read, and every way in which a file can be wrong."""

import gzip
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chainrule.data import read, read_features, read_idx, read_idx_folder
from tests.tables import for_each

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
FASHION = Path("/usr/share/datasets/fashion-mnist")


def idx_bytes(array: np.ndarray) -> bytes:
    code = CODES[array.dtype.str[1:]]
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


IMAGES = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2)
LABELS = np.array([0, 1, 2, 1], dtype=np.uint8)


def family(folder: Path, form: str = "{}-{}-idx{}-ubyte", gz: bool = False, test: str | None = "t10k") -> Path:
    folder.mkdir(exist_ok=True)
    for part in filter(None, ("train", test)):
        for what, array in (("images", IMAGES), ("labels", LABELS)):
            content = idx_bytes(array)
            name = form.format(part, what, array.ndim) + (".gz" if gz else "")
            (folder / name).write_bytes(gzip.compress(content) if gz else content)
    return folder


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_reads_every_type(tmp_path, dtype, compress):
    array = (np.arange(24) - (0 if dtype == "u1" else 12)).reshape(2, 3, 4).astype(dtype)
    path = tmp_path / "a.idx"
    path.write_bytes(compress(idx_bytes(array)))
    found = read_idx(path)
    assert found.dtype == np.dtype(dtype) and found.dtype.isnative
    np.testing.assert_array_equal(found, array)


def test_hand_written_bytes(tmp_path):
    path = tmp_path / "a.idx"
    path.write_bytes(bytes.fromhex("00000b02 00000002 00000001 0102 ffff"))
    assert read_idx(path).tolist() == [[258], [-1]]


@given(array=hnp.arrays(st.sampled_from([np.uint8, np.int16, np.float64]), hnp.array_shapes(max_dims=4, min_side=0)))
def test_round_trip(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("idx") / "a.idx"
    path.write_bytes(idx_bytes(array))
    np.testing.assert_array_equal(read_idx(path), array)


@for_each("length", range(len(idx_bytes(IMAGES))))
def test_truncation_at_every_byte(tmp_path, length):
    path = tmp_path / "cut.idx"
    path.write_bytes(idx_bytes(IMAGES)[:length])
    with pytest.raises(ValueError, match=r"cut\.idx.*truncated"):
        read_idx(path)


@for_each("cut", range(1, 60))
def test_truncated_gzip(tmp_path, cut):
    path = tmp_path / "cut.gz"
    content = gzip.compress(idx_bytes(IMAGES))
    path.write_bytes(content[: max(2, len(content) - cut)])
    with pytest.raises(ValueError, match=r"cut\.gz.*(truncated|damaged)"):
        read_idx(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x01\x00" + idx_bytes(IMAGES)[2:], "starts with the bytes 01 00 08 03, which is not an IDX header"),
        (b"\x00\x00\x07" + idx_bytes(IMAGES)[3:], "not an IDX header"),
        (b"\x00\x00\x08\x00", "not an IDX header"),
        (b"PK\x03\x04 a zip", "not an IDX header"),
        (idx_bytes(IMAGES) + b"\x00", "states 4×3×2 values in 24 bytes, more found: there are bytes after its data"),
        (
            idx_bytes(IMAGES)[:-1],
            "states 4×3×2 values in 24 bytes, only 23 found: the file is truncated",
        ),
        (b"\x00\x00\x0e\x04" + b"\xff" * 16, "only 0 found"),
        (gzip.compress(idx_bytes(IMAGES))[:-6] + b"\0\0\0\0\0\0", "gzip stream is damaged"),
        (b"\x1f\x8b" + b"\x00" * 30, "gzip stream is damaged"),
        (gzip.compress(idx_bytes(IMAGES)) + b"rubbish", "gzip stream is damaged"),
    ],
    ids=["zeros", "type", "rank", "zip", "trailing", "short", "huge", "crc", "gzip-header", "gzip-trailing"],
)
def test_damaged_files(tmp_path, content, message):
    path = tmp_path / "a.idx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_idx(path)


@pytest.mark.parametrize("gz", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    "form", ["{}-{}-idx{}-ubyte", "{}-{}.idx{}-ubyte", "{}-{}-idx{}.ubyte", "emnist-digits-{}-{}-idx{}-ubyte"]
)
@pytest.mark.parametrize("test", ["t10k", "test"])
def test_folder_in_every_spelling(tmp_path, form, gz, test):
    dataset = read(family(tmp_path, form, gz, test))
    assert dataset.X.dtype == np.uint8 and dataset.X.shape == (4, 6)
    assert dataset.image_shape == (3, 2) and dataset.feature_names[-1] == "pixel_2_1"
    assert dataset.y.tolist() == [0, 1, 2, 1] and dataset.y.dtype == np.int64
    assert dataset.task == "multiclass" and "labels" in dataset.task_reason
    assert len(dataset.test) == 4 and dataset.test.task == "multiclass"
    assert dataset.notes == ()


def test_folder_without_test_part_says_so(tmp_path):
    dataset = read_idx_folder(family(tmp_path, test=None))
    assert dataset.test is None
    assert dataset.notes == ("the folder has no test split (t10k-…)",)


def test_folder_with_both_plain_and_gzip_says_which_it_reads(tmp_path):
    family(tmp_path, gz=True)
    dataset = read(family(tmp_path))
    assert "read train-images-idx3-ubyte and ignored train-images-idx3-ubyte.gz" in dataset.notes


def test_single_file_gives_features(tmp_path):
    path = family(tmp_path) / "t10k-images-idx3-ubyte"
    whole = read_features(tmp_path)
    assert whole.y is None and whole.test is None and whole.task is None
    assert read_features(path).X.shape == (4, 6)
    with pytest.raises(ValueError, match="a single IDX file has no target; give the folder"):
        read(path)


def shorten_labels(folder):
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS[:3]))


def flat_images(folder):
    (folder / "train-images-idx3-ubyte").write_bytes(idx_bytes(LABELS))


def square_labels(folder):
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(IMAGES))


def other_test_shape(folder):
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(IMAGES[:, :2]))


def no_images(folder):
    (folder / "train-images-idx3-ubyte").write_bytes(idx_bytes(IMAGES[:0]))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS[:0]))


def one_class(folder):
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS * 0))


def second_set(folder):
    family(folder, "letters-{}-{}-idx{}-ubyte")


def drop(*names):
    def act(folder):
        for name in names:
            (folder / name).unlink()

    act.__name__ = "no " + " ".join(names)
    return act


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shorten_labels, "train-images-idx3-ubyte holds 4 images, train-labels-idx1-ubyte 3 labels"),
        (flat_images, "expected 3 dimensions (number, height, width), got 1"),
        (square_labels, "expected 1 dimension of integers, got 3 of uint8"),
        (other_test_shape, "has 4 features, the training split 6"),
        (no_images, "X has shape (0, 3, 2), which is empty"),
        (one_class, "label holds one class only (0)"),
        (second_set, "holds 2 data sets ('', 'letters-'); give each its own folder"),
        (drop("train-labels-idx1-ubyte"), "and no train labels"),
        (drop("t10k-images-idx3-ubyte"), "and no test images"),
        (
            drop("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
            "no train-images and train-labels",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_folders_that_do_not_fit(tmp_path, damage, message):
    damage(family(tmp_path))
    with pytest.raises(ValueError, match=re.escape(message)):
        read(tmp_path)


def test_other_folder_says_what_it_holds(tmp_path):
    with pytest.raises(ValueError, match=r"expected .*train-images-idx3-ubyte.* found no files"):
        read(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"found notes\.txt"):
        read(tmp_path)


@pytest.mark.skipif(not FASHION.is_dir(), reason="the package dataset-fashion-mnist is not installed")
def test_fashion_mnist():
    dataset = read(FASHION)
    assert dataset.X.shape == (60_000, 784) and dataset.test.X.shape == (10_000, 784)
    assert dataset.X.dtype == np.uint8 and dataset.image_shape == (28, 28)
    assert np.bincount(dataset.y).tolist() == [6000] * 10 and np.bincount(dataset.test.y).tolist() == [1000] * 10
    # Mean and deviation of the training pixels as they are published: 0.2860 and 0.3530 of 255.
    assert math.isclose(dataset.X.mean() / 255, 0.2860, abs_tol=1e-4)
    train, test = dataset.split(0.5, seed=9)
    assert len(train) == 60_000 and test is dataset.test
