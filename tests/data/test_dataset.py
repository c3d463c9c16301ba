"""Datasets: checks on construction, parts, fingerprints, and the embedded digits."""

import dataclasses
import re
import runpy
import zipfile
from pathlib import Path

import numpy as np
import pytest

from chainrule import data
from chainrule.data import Dataset, load_digits, read, read_features

X = np.arange(12.0).reshape(4, 3)
Y = [0, 1, 0, 1]
PACKAGE = Path(data.__file__).parent
TOOL = PACKAGE.parents[2] / "tools" / "make_digits.py"


def test_digits():
    digits = load_digits()
    assert digits.X.shape == (1797, 64) and digits.X.dtype == np.float32
    assert digits.y.shape == (1797,) and digits.y.dtype == np.int64
    assert (digits.X.min(), digits.X.max()) == (0, 16)
    assert digits.task == "multiclass" and digits.image_shape == (8, 8) and digits.source == "digits"
    # Published with the data: how often each digit is there.
    assert np.bincount(digits.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    # The first image is a 0; its first two rows of pixels, as scikit-learn's documentation shows them.
    assert digits.X[0, :16].tolist() == [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]
    assert digits.fingerprint() == "360544b43a69ef585ab5d4e4ff813e9f1b4840c230b33b0ba7faddea7794bd85"


def test_digits_are_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    pixels, labels = datasets.load_digits(return_X_y=True)
    np.testing.assert_array_equal(load_digits().X, pixels)
    np.testing.assert_array_equal(load_digits().y, labels)


def test_digits_file_is_small_and_its_source_is_named():
    assert (PACKAGE / "digits.npz").stat().st_size < 100_000
    for text in ((PACKAGE / "digits.txt").read_text(), load_digits.__doc__):
        assert all(word in text for word in ("UCI", "Alpaydin", "Kaynak", "CC BY 4.0", "10.24432/C50P49"))


@pytest.mark.skipif(not TOOL.exists(), reason="the tool lives in the repository, not in the package")
def test_digits_can_be_made_anew(tmp_path):
    pytest.importorskip("sklearn")
    make = runpy.run_path(str(TOOL))["main"]
    make(tmp_path / "a.npz")
    make(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as made, zipfile.ZipFile(PACKAGE / "digits.npz") as kept:
        # Members, not the archive: another zlib compresses to other bytes.
        assert {name: made.read(name) for name in made.namelist()} == {
            name: kept.read(name) for name in kept.namelist()
        }


def test_read_digits_by_name():
    assert read("digits").fingerprint() == load_digits().fingerprint()
    assert read("digits", target="digit", task="multiclass").target_name == "digit"
    assert read_features("digits").y is None and len(read_features("digits")) == 1797
    with pytest.raises(ValueError, match="target: got 'x', but digits has its own labels"):
        read("digits", target="x")
    with pytest.raises(ValueError, match="task: expected 'multiclass' for the ten digits"):
        read("digits", task="binary")


def test_from_arrays():
    dataset = Dataset.from_arrays(X, Y, target_name="kind", feature_names=["a", "b", "c"], source="here")
    assert len(dataset) == 4 and dataset.feature_names == ("a", "b", "c")
    assert dataset.task == "binary" and dataset.task_reason == "binary: kind holds two values, 0 and 1"
    assert repr(dataset) == "<Dataset here: 4 rows of 3 features, target kind (binary)>"
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.y = None


def test_images():
    dataset = Dataset.from_arrays(np.zeros((2, 3, 4, 3), dtype=np.uint8), [0, 1])
    assert dataset.image_shape == (3, 4, 3) and dataset.X.shape == (2, 36)
    assert dataset.feature_names[-1] == "pixel_2_3_2"
    assert "(3×4×3 images)" in repr(dataset)
    assert Dataset.from_arrays(X, image_shape=(1, 3)).image_shape == (1, 3)


def test_from_columns():
    dataset = Dataset.from_columns({"n": [1, 2], "b": [True, False], "t": ["u", "v"]}, ["x", "y"])
    assert {name: column.dtype for name, column in dataset.columns.items()} == {
        "n": float,
        "b": float,
        "t": object,
    }
    assert len(dataset) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Dataset.from_arrays(X, Y[:3]), "y has 3 rows, X has 4"),
        (lambda: Dataset.from_arrays(X, Y[:3], target_name="k"), "k has 3 rows, X has 4"),
        (lambda: Dataset.from_arrays([], []), "X has shape (0,)"),
        (lambda: Dataset.from_arrays(np.zeros((0, 3)), []), "X has shape (0, 3), which is empty"),
        (lambda: Dataset.from_arrays(np.zeros((3, 0)), Y), "X has shape (3, 0), which is empty"),
        (lambda: Dataset.from_arrays(np.zeros((1, 1, 1, 1, 1)), [0]), "X has shape (1, 1, 1, 1, 1)"),
        (lambda: Dataset.from_arrays([["a"]], [0]), "X has dtype <U1; expected real numbers"),
        (lambda: Dataset.from_arrays(X, Y, feature_names=["a"]), "feature_names: got 1 name, X has 3 columns"),
        (lambda: Dataset.from_arrays(X, Y, feature_names=list("aba")), "feature_names: expected different names"),
        (
            lambda: Dataset.from_arrays(X, Y, image_shape=(2, 2)),
            "image_shape (2, 2) does not match the 3 features",
        ),
        (lambda: Dataset.from_arrays(X, task="binary"), "task: got 'binary', but there is no target y"),
        (lambda: Dataset.from_columns({}), "columns: expected at least one column"),
        (lambda: Dataset.from_columns({"a": []}), "the table has 1 column and no rows"),
        (lambda: Dataset.from_columns({"a": [1, 2], "b": [1]}), "'a' has 2, 'b' has 1 rows"),
        (lambda: Dataset.from_columns({"a": [1, 2]}, [1]), "y has 1 row, the table has 2"),
        (lambda: Dataset.from_columns({"a": [[1, 2]]}), "column 'a' has shape (1, 2)"),
        (lambda: Dataset.from_columns({"a": np.array([1j])}), "column 'a' holds complex128"),
        (lambda: Dataset.from_columns({"a": np.array([None, 3], dtype=object)}), "column 'a' holds int"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_take_keeps_track_of_rows():
    table = Dataset.from_columns({"a": [1.0, 2.0, 3.0, 4.0], "t": list("uvwx")}, Y)
    part = table.take([3, 1]).take([1])
    assert part.columns["a"].tolist() == [2.0] and part.columns["t"].tolist() == ["v"] and part.y.tolist() == [1]
    assert part.rows.tolist() == [1] and part.task == "binary"
    with pytest.raises(IndexError):
        table.take([4])


def test_split_is_stratified_for_classes_and_deterministic():
    y = np.repeat([0, 1, 2], [60, 30, 10])
    dataset = Dataset.from_arrays(np.arange(100.0)[:, None], y)
    train, test = dataset.split(0.2, seed=5)
    assert np.bincount(test.y).tolist() == [12, 6, 2] and len(train) == 80
    assert sorted([*train.X[:, 0], *test.X[:, 0]]) == list(range(100))
    assert dataset.split(0.2, seed=5)[1].fingerprint() == test.fingerprint()
    assert dataset.split(0.2, seed=6)[1].fingerprint() != test.fingerprint()


def test_split_of_a_regression_is_not_stratified():
    dataset = Dataset.from_arrays(X, [0.5, 1.5, 2.5, 3.5])
    train, test = dataset.split(0.25)
    assert len(train) == 3 and len(test) == 1


def test_own_test_part_is_used():
    test = Dataset.from_arrays(X[:2], Y[:2])
    dataset = Dataset.from_arrays(X, Y, test=test)
    assert dataset.split(0.5)[1] is test and dataset.split(0.5)[0].test is None
    assert "2 test rows separate" in repr(dataset)
    with pytest.raises(ValueError, match="has 2 features, the training split 3; expected the same"):
        Dataset.from_arrays(X, Y, test=Dataset.from_arrays(X[:, :2], Y))
    with pytest.raises(ValueError, match="has features with other names"):
        Dataset.from_arrays(X, Y, test=Dataset.from_arrays(X, Y, feature_names=list("abc")))


BASE = {"X": X, "y": Y, "target_name": "k"}


def base(**changes):
    return Dataset.from_arrays(**{**BASE, **changes})


@pytest.mark.parametrize(
    "other",
    [
        base(X=X + np.eye(4, 3)),
        base(X=X.astype(np.float32)),
        base(X=X.reshape(4, 1, 3)),
        base(y=[1, 0, 0, 1]),
        base(y=["0", "1", "0", "1"]),
        base(target_name="l"),
        base(feature_names=["a", "b", "c"]),
        base(test=base()),
        base().without_target(),
        base().take([0, 1, 2]),
        base().take([1, 0, 2, 3]),
    ],
)
def test_fingerprint_sees_every_difference(other):
    assert other.fingerprint() != base().fingerprint()


@pytest.mark.parametrize(
    "same",
    [
        base(source="elsewhere", notes=["said"]),
        base(task="multiclass"),
        base(X=np.asfortranarray(X)),
        base(X=X.astype(">f8")),
        base(X=np.repeat(X, 2, axis=1)[:, ::2]),
        base(y=np.array(Y, dtype=np.uint8)),
    ],
)
def test_fingerprint_sees_content_alone(same):
    assert same.fingerprint() == base().fingerprint()
    assert re.fullmatch("[0-9a-f]{64}", same.fingerprint())


def test_fingerprint_of_tables():
    table = {"a": [1.0, np.nan], "t": np.array(["u", None], dtype=object)}
    prints = {
        Dataset.from_columns(columns).fingerprint()
        for columns in (
            table,
            {**table, "a": [1.0, 2.0]},
            {**table, "t": ["u", "None"]},
            {**table, "t": ["u", ""]},
            {"t": table["t"], "a": table["a"]},
        )
    }
    assert len(prints) == 5
    assert Dataset.from_columns(table).fingerprint() in prints
