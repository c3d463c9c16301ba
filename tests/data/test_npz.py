"""NPZ archives: the names taken, the names said, and damaged or pickled contents."""

import io
import re
import zipfile

import numpy as np
import pytest

from chainrule.data import read, read_features, read_npz

X = np.arange(24.0).reshape(8, 3)
Y = np.array([0, 1] * 4)


def save(folder, **arrays):
    path = folder / "a.npz"
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize("names", [("X", "y"), ("x", "y"), ("X", "Y"), ("data", "target"), ("images", "labels")])
@pytest.mark.parametrize("form", ["{}", "{}_train", "train_{}"])
def test_names(tmp_path, names, form):
    dataset = read(save(tmp_path, **dict(zip(map(form.format, names), (X, Y), strict=True))))
    np.testing.assert_array_equal(dataset.X, X)
    assert dataset.X.dtype == np.float64 and dataset.y.tolist() == Y.tolist() and dataset.task == "binary"
    assert dataset.target_name == form.format(names[1]) and dataset.feature_names == ("x0", "x1", "x2")
    assert dataset.test is None and dataset.notes == ()


@pytest.mark.parametrize("form", [("X_{}", "y_{}"), ("x_{}", "y_{}"), ("{}_images", "{}_labels")])
def test_own_test_part(tmp_path, form):
    images = np.arange(2 * 8 * 2 * 2, dtype=np.uint8).reshape(2, 8, 2, 2)
    # The test split may hold a single class: its task is the training split's.
    parts = {
        form[0].format("train"): images[0],
        form[1].format("train"): Y,
        form[0].format("test"): images[1],
        form[1].format("test"): Y * 0,
    }
    dataset = read(save(tmp_path, **parts))
    assert dataset.image_shape == (2, 2) and dataset.feature_names[1] == "pixel_0_1"
    assert dataset.X.dtype == np.uint8
    train, test = dataset.split()
    np.testing.assert_array_equal(test.X, images[1].reshape(8, 4))
    assert test.task == "binary" and train.test is None


def test_target_of_another_name(tmp_path):
    path = save(tmp_path, X=X, y=Y, price=X[:, 0] * 1.5)
    dataset = read(path, target="price")
    assert dataset.target_name == "price" and dataset.task == "regression"
    assert dataset.notes == ("ignored: y",)
    with pytest.raises(ValueError, match=r"has no array 'prize'; it has X, y, price\. Did you mean 'price'"):
        read(path, target="prize")


def test_task_can_be_stated(tmp_path):
    assert read(save(tmp_path, X=X, y=Y), task="multiclass").task == "multiclass"


def test_features_alone(tmp_path):
    assert read_features(save(tmp_path, X=X)).y is None
    dataset = read_features(save(tmp_path, X=X, y=Y))
    assert dataset.y is None and len(dataset) == 8


def test_one_hot_and_column_targets(tmp_path):
    assert read(save(tmp_path, X=X, y=np.eye(2)[Y])).y.tolist() == Y.tolist()
    assert read(save(tmp_path, X=X, y=Y[:, None])).y.tolist() == Y.tolist()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": X, "b": Y}, "holds the arrays a, b; expected X and y"),
        ({}, "holds the arrays (none); expected X and y"),
        ({"X": X}, "holds features (X) but no target"),
        ({"X": X, "y": Y[:5]}, "y has 5 rows, X has 8"),
        ({"X": X[0], "y": Y}, "X has shape (3,); expected (rows, features)"),
        ({"X": X[:0], "y": Y[:0]}, "X has shape (0, 3), which is empty"),
        ({"X": X * 1j, "y": Y}, "X has dtype complex128; expected real numbers"),
        ({"X": X.astype("U"), "y": Y}, "X has dtype <U"),
        ({"X": X, "y": Y * 0}, "y holds one value only (0)"),
        (
            {"X": X, "y": np.where(Y, np.nan, 1.5)},
            "y holds 4 values that are NaN or infinite, the first is y[1]",
        ),
        ({"X": X, "y": np.zeros((8, 2))}, "y has shape (8, 2)"),
        (
            {"X_train": X, "y_train": Y, "X_test": X[:, :2], "y_test": Y},
            "has 2 features, the training split 3",
        ),
        (
            {"X": np.array([[1], ["a"]], dtype=object), "y": Y[:2]},
            "the array 'X' cannot be read (Object arrays",
        ),
    ],
)
def test_bad_arrays(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read(save(tmp_path, **arrays))


class Trap:
    """Runs when it is unpickled."""

    sprung = False

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


def test_pickles_are_never_loaded(tmp_path):
    path = save(tmp_path, X=np.array([[Trap()]], dtype=object), y=np.array([0]))
    with pytest.raises(ValueError, match="cannot be read"):
        read(path)
    assert not Trap.sprung


def test_objects_beside_the_data_do_not_matter(tmp_path):
    dataset = read(save(tmp_path, X=X, y=Y, meta=np.array([{"a": 1}], dtype=object)))
    assert dataset.notes == ("ignored: meta",)


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.5, 0.9, 0.99])
def test_truncated_archive(tmp_path, fraction):
    path = save(tmp_path, X=X, y=Y)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(ValueError, match=r"a\.npz: not an NPZ archive, or a truncated one"):
        read(path)


def test_archive_with_flipped_bytes(tmp_path):
    path = save(tmp_path, X=np.random.default_rng(0).normal(size=(8, 30)), y=Y)
    content = bytearray(path.read_bytes())
    content[300:310] = b"\xff" * 10
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"a\.npz: the NPZ archive is damaged"):
        read(path)


def test_header_that_promises_too_much(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**7)})
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X.npy", header.getvalue())
        archive.writestr("y.npy", header.getvalue())
    with pytest.raises(ValueError, match=r"a\.npz: the array 'X'"):
        read(path)


def test_member_that_is_no_array(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X", "text")
        archive.writestr("y", "text")
    with pytest.raises(ValueError, match="the member 'X' is not an array"):
        read_npz(path)


def test_text_file_named_npz(tmp_path):
    path = tmp_path / "a.npz"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="not an NPZ archive"):
        read(path)
    with pytest.raises(ValueError, match="exclude and header apply to tables"):
        read(path, exclude=["a"])
    with pytest.raises(ValueError, match="header applies to tables"):
        read_features(path, header=True)
