"""What is learnt from the training split, applied to others, written to JSON and read back."""

import copy
import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chainrule.data import Dataset, Preprocessor, load_digits

NAN = np.nan


def texts(*values):
    return np.array(values, dtype=object)


def cars(**changes):
    columns = {
        "horsepower": [100.0, NAN, 60.0, 80.0, 200.0, NAN],
        "origin": texts("usa", "japan", "europe", None, "usa", "japan"),
        "wheels": [4.0] * 6,
        "notes": [NAN] * 6,
        "weight": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        **changes,
    }
    return Dataset.from_columns(columns, [18.0, 25.5, 31.0, 22.0, 11.0, 27.0], target_name="mpg")


def test_table_by_hand():
    prepared = Preprocessor.fit(cars())
    assert prepared.feature_names == (
        "horsepower",
        "weight",
        "origin=europe",
        "origin=japan",
        "origin=usa",
        "origin=missing",
    )
    X = prepared.transform(cars())
    assert X.dtype == np.float32 and X.shape == (6, 6)
    # horsepower after imputing its median, 90: mean 620/6, mean of squares (1e4+8100+3600+6400+4e4+8100)/6.
    filled = np.array([100, 90, 60, 80, 200, 90])
    mean, std = 620 / 6, math.sqrt(76200 / 6 - (620 / 6) ** 2)
    np.testing.assert_allclose(X[:, 0], (filled - mean) / std, rtol=1e-6)
    np.testing.assert_allclose(X[:, 1], (np.arange(6) - 2.5) / math.sqrt(35 / 12), rtol=1e-6)
    assert X[:, 2:].tolist() == [
        [0, 0, 1, 0],
        [0, 1, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 1],
        [0, 0, 1, 0],
        [0, 1, 0, 0],
    ]
    assert prepared.notes == (
        "dropped 1 column without any value: notes",
        "dropped 1 constant column: wheels",
        "imputed 2 missing values of horsepower with the training median 90",
        "standardised 2 numeric columns to mean 0 and deviation 1 over the training split: horsepower, weight",
        "treated 1 missing value of origin as the category 'missing'",
        "one-hot encoded origin in 4 categories",
        "standardised the target mpg (training mean 22.4167, deviation 6.50907)",
    )
    assert prepared.task == "regression" and prepared.classes == () and prepared.target_name == "mpg"
    assert prepared.input_names == ("horsepower", "weight", "origin") and prepared.image_shape is None


def test_target_by_hand_and_back():
    dataset = cars()
    prepared = Preprocessor.fit(dataset)
    scaled = prepared.transform_target(dataset)
    assert scaled.shape == (6, 1) and scaled.dtype == np.float32
    assert abs(scaled.mean()) < 1e-6 and abs(scaled.std() - 1) < 1e-6
    np.testing.assert_array_equal(scaled, prepared.transform_target(dataset.y))
    np.testing.assert_allclose(prepared.inverse_target(scaled), dataset.y, rtol=1e-6)
    with pytest.raises(ValueError, match="has no target"):
        prepared.transform_target(dataset.without_target())


def test_only_the_training_part_counts():
    dataset = cars()
    train = dataset.take([0, 1, 2])
    prepared = Preprocessor.fit(train)
    X = prepared.transform(dataset)
    assert prepared.features.scaling.fill == (80.0, 2.0)
    np.testing.assert_allclose(X[:3].mean(axis=0)[:2], 0, atol=1e-6)
    np.testing.assert_array_equal(X[:3], prepared.transform(train))
    assert X[3:, :2].max() > 2


def test_new_file_in_another_order_with_more_columns_and_no_target():
    prepared = Preprocessor.fit(cars())
    new = Dataset.from_columns(
        {
            "colour": texts("red", "blue"),
            "origin": texts("usa", "mars"),
            "weight": [3.0, NAN],
            "mpg": [1.0, 2.0],
            "wheels": [4.0, 3.0],
            "horsepower": [NAN, 80.0],
        }
    )
    X, notes = prepared.transform_with_notes(new)
    assert notes == [
        "ignored 1 column that the training split did not have: colour",
        "imputed 1 missing value of horsepower with the training median 90",
        "imputed 1 missing value of weight with the training median 3.5",
        "1 row holds a category of origin that the training split did not have, encoded as zeros: mars",
    ]
    assert X[0, 2:].tolist() == [0, 0, 1, 0] and X[1, 2:].tolist() == [0, 0, 0, 0]
    np.testing.assert_array_equal(X, prepared.transform(new))


def test_missing_category_that_training_did_not_have():
    train = Dataset.from_columns({"c": texts("a", "b", "a")}, [0, 1, 1])
    X, notes = Preprocessor.fit(train).transform_with_notes(Dataset.from_columns({"c": texts(None, "b")}))
    assert X.tolist() == [[0, 0], [0, 1]]
    assert notes == ["1 row holds a category of c that the training split did not have, encoded as zeros: (missing)"]


def test_text_missing_and_no_value_are_one_category():
    train = Dataset.from_columns({"c": texts("missing", None, "a")}, [0, 1, 1])
    prepared = Preprocessor.fit(train)
    assert prepared.feature_names == ("c=a", "c=missing")
    assert prepared.transform(train).tolist() == [[0, 1], [0, 1], [1, 0]]


def test_columns_typed_otherwise_in_a_later_file():
    train = Dataset.from_columns({"n": [1.0, 2.0, 3.0], "code": texts("007", "12", "x")}, [0, 1, 1])
    prepared = Preprocessor.fit(train)
    later = Dataset.from_columns({"n": texts("2", None, " 3 "), "code": [7.0, 12.0, NAN]})
    X, notes = prepared.transform_with_notes(later)
    np.testing.assert_allclose(X[:, 0], [0, 0, math.sqrt(1.5)], rtol=1e-6)
    assert X[:, 1:].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert notes[0] == "imputed 1 missing value of n with the training median 2"


def test_column_of_names_is_dropped():
    n = 40
    names = texts(*(f"car {i}" for i in range(n)))
    train = Dataset.from_columns({"name": names, "w": np.arange(float(n))}, np.arange(n) % 2)
    prepared = Preprocessor.fit(train)
    assert prepared.feature_names == ("w",)
    assert "dropped 1 column of texts that differ from row to row: name" in prepared.notes
    assert prepared.transform_with_notes(train)[1] == []


def test_rare_categories_are_left_to_zeros():
    values = [f"c{i:03}" for i in range(110) for _ in range(3 if i < 20 else 4)]
    train = Dataset.from_columns({"c": texts(*values)}, np.arange(len(values)) % 2)
    prepared = Preprocessor.fit(train)
    assert len(prepared.feature_names) == 100
    # The 90 with four rows, and the first ten of the 20 with three.
    assert prepared.feature_names[9:11] == ("c=c009", "c=c020") and prepared.feature_names[-1] == "c=c109"
    said = "one-hot encoded c in 100 categories, the most frequent; 10 rarer ones set all of them to 0"
    assert said in prepared.notes
    X, notes = prepared.transform_with_notes(train)
    assert X.sum() == 90 * 4 + 10 * 3 and notes[0].startswith("30 rows hold a category of c")


def test_many_imputed_columns_are_summed_up():
    columns = {f"n{i}": [1.0, 2.0, NAN, 4.0] for i in range(15)}
    notes = Preprocessor.fit(Dataset.from_columns(columns, [0, 1, 0, 1])).notes
    assert sum("missing value of n" in note for note in notes) == 10
    assert "imputed 5 missing values of 5 more columns with their training medians" in notes


def test_matrix_by_hand():
    X = np.array([[1, 5, 10], [2, 5, 30], [3, 5, 20]], dtype=np.int64)
    train = Dataset.from_arrays(X, [0.5, 1.5, 2.0], feature_names=["a", "b", "c"])
    prepared = Preprocessor.fit(train)
    r = math.sqrt(1.5)
    np.testing.assert_allclose(prepared.transform(train), [[-r, -r], [0, r], [r, 0]], rtol=1e-6)
    assert prepared.feature_names == ("a", "c") and prepared.input_names == ("a", "b", "c")
    assert prepared.notes[:2] == (
        "dropped 1 constant column: b",
        "standardised 2 columns to mean 0 and deviation 1 over the training split",
    )


def test_matrix_over_many_blocks_of_rows():
    X = np.random.default_rng(0).normal(3, 7, size=(5000, 4)).astype(np.float32)
    train = Dataset.from_arrays(X, np.arange(5000) % 2)
    Z = Preprocessor.fit(train).transform(train)
    expected = (X.astype(float) - X.mean(axis=0, dtype=float)) / X.astype(float).std(axis=0)
    np.testing.assert_allclose(Z, expected, rtol=1e-5, atol=1e-6)


def test_matrix_imputes_when_asked():
    X = np.array([[1.0, NAN], [NAN, 2.0], [3.0, 6.0], [5.0, NAN]])
    train = Dataset.from_arrays(X, [0, 1, 0, 1])
    prepared = Preprocessor.fit(train, impute=True)
    assert prepared.features.scaling.fill == (3.0, 4.0)
    assert "imputed 2 missing values of x1 with the training median 4" in prepared.notes
    Z, notes = prepared.transform_with_notes(train)
    np.testing.assert_allclose(Z[:, 1], np.array([0, -2, 2, 0]) / math.sqrt(2), rtol=1e-6)
    assert notes == [
        "imputed 1 missing value of x0 with the training median 3",
        "imputed 2 missing values of x1 with the training median 4",
    ]


def test_matrix_column_without_any_value():
    train = Dataset.from_arrays(np.array([[1.0, NAN], [2.0, NAN]]), [0, 1])
    prepared = Preprocessor.fit(train, impute=True)
    assert prepared.feature_names == ("x0",)
    assert prepared.notes[0] == "dropped 1 column without any value: x1"


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_images_have_one_scale(dtype):
    X = np.array([[[0, 0], [0, 4]], [[0, 0], [8, 4]]], dtype=dtype)
    train = Dataset.from_arrays(X, [0, 1])
    prepared = Preprocessor.fit(train)
    assert prepared.image_shape == (2, 2) and len(prepared.feature_names) == 4
    # Mean 2, mean of squares 96/8 = 12, so the deviation is sqrt(8).
    np.testing.assert_allclose(prepared.transform(train), (X.reshape(2, 4) - 2.0) / math.sqrt(8), rtol=1e-6)
    assert prepared.notes[0] == (
        "standardised the pixels (0 to 8) with one mean (2) and one deviation (2.82843) over the training split"
    )
    assert prepared.classes == (0, 1)


def test_images_on_another_scale_are_noticed():
    digits = load_digits()
    prepared = Preprocessor.fit(digits)
    assert prepared.transform_with_notes(digits.take([5, 6]))[1] == []
    for factor in (1 / 255, 16):
        other = Dataset.from_arrays(digits.X[:5] * factor)
        assert "is the scale the same?" in prepared.transform_with_notes(other)[1][0]


def test_digits_from_a_table_of_pixels():
    digits = load_digits()
    prepared = Preprocessor.fit(digits)
    table = Dataset.from_columns(dict(zip(digits.feature_names, digits.X[:9].T.astype(float), strict=True)))
    np.testing.assert_array_equal(prepared.transform(table), prepared.transform(digits.take(range(9))))


def test_table_from_a_named_matrix():
    train = Dataset.from_columns({"a": [1.0, 2.0, 4.0], "b": [3.0, 1.0, 2.0]}, [0, 1, 1])
    prepared = Preprocessor.fit(train)
    matrix = Dataset.from_arrays([[3.0, 1.0], [1.0, 2.0], [2.0, 4.0]], feature_names=["b", "a"])
    np.testing.assert_array_equal(prepared.transform(matrix), prepared.transform(train))


MATRIX = np.array([[1.0, 2.0], [3.0, 5.0], [4.0, 4.0]])


def matrix(**places):
    X = MATRIX.copy()
    for place, value in places.items():
        X[int(place[1]), int(place[2])] = value
    return Dataset.from_arrays(X, [0, 1, 0])


def table(**columns):
    return Dataset.from_columns({"a": [1.0, 2.0, 3.0], "c": texts("u", "v", "u"), **columns}, [0, 1, 0])


def image(*pixels):
    return Dataset.from_arrays(np.array(pixels, dtype=float).reshape(2, 1, 2), [0, 1])


@pytest.mark.parametrize(
    ("train", "impute", "message"),
    [
        (
            matrix(x11=NAN),
            False,
            "X holds 1 value not finite (1 NaN, 0 infinite), the first in row 2, column 2",
        ),
        (matrix(x11=NAN), False, "or fit with impute=True to fill NaN with medians"),
        (matrix(x11=NAN, x20=np.inf), False, "X holds 2 values not finite (1 NaN, 1 infinite)"),
        (matrix(x11=NAN, x20=-np.inf), True, "(0 NaN, 1 infinite), the first in row 3, column 1 (x0)"),
        (matrix(x11=NAN).take([1, 2]), False, "the first in row 2"),
        (matrix(x00=1e300, x10=-1e300), False, "x0: values too large or too close together to standardise"),
        (matrix().take([0]), False, "y holds one class only (0) in the training split"),
        (matrix().without_target(), False, "has no target y"),
        (
            Dataset.from_arrays(np.ones((3, 2)), [0, 1, 0]),
            False,
            "no usable feature is left: dropped 2 const",
        ),
        (table(a=[1.0, np.inf, 2.0]), False, "the column 'a' holds 1 infinite value, the first in row 2"),
        (
            table(a=[1.0] * 3, c=texts(None, None, None)),
            False,
            "no usable feature is left: dropped 1 column",
        ),
        (table(a=[1e300, -1e300, 0.0]), False, "a: values too large"),
        (image(1, 1, 1, 1), False, "every pixel of the training images is 1"),
        (
            image(1, 2, NAN, 1),
            True,
            "(1 NaN, 0 infinite), the first in row 2, column 1 (pixel_0_0): leave those rows out",
        ),
    ],
)
def test_training_parts_that_cannot_be_used(train, impute, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Preprocessor.fit(train, impute=impute)


@pytest.mark.parametrize(
    ("train", "later", "message"),
    [
        (
            table(),
            Dataset.from_columns({"b": [1.0], "c": texts("u")}),
            "lacks 1 column of the training split: a",
        ),
        (
            table(),
            Dataset.from_columns({"b": [1.0]}),
            "lacks 2 columns of the training split: a, c; it has b",
        ),
        (
            table(),
            matrix().without_target(),
            "lacks 2 columns of the training split: a, c; it has x0, x1",
        ),
        (
            table(),
            Dataset.from_columns({"a": texts("1", None, "fast", "x"), "c": texts(*"uvuv")}),
            "the column 'a' held numbers in training; row 3 holds 'fast' (2 such rows)",
        ),
        (
            table(),
            Dataset.from_columns({"a": texts("1", None, "fast"), "c": texts(*"uvu")}).take([2]),
            "row 3 holds 'fast' (1 such row)",
        ),
        (table(), table(a=[1.0, np.inf, 2.0]), "the column 'a' holds 1 infinite value, the first in row 2"),
        (
            table(),
            table(a=texts("1", "2", "inf")),
            "the column 'a' holds 1 infinite value, the first in row 3",
        ),
        (
            table(),
            table(a=[1.0, 1e200, 2.0]),
            "row 2 of columns lies too far from the training split for float32",
        ),
        (matrix(), matrix(x00=NAN), "X holds 1 value not finite"),
        (matrix(), matrix(x00=1e200), "row 1 of arrays lies too far"),
        (matrix(), Dataset.from_arrays(np.ones((2, 3))), "X has 3 columns, the training split had 2: x0, x1"),
        (matrix(), table(), "lacks 2 columns of the training split: x0, x1"),
        (matrix(), Dataset.from_columns({"x0": [1.0], "x1": texts("u")}), "the column 'x1' holds texts"),
        (
            image(1, 2, 3, 4),
            Dataset.from_arrays(np.ones((2, 3, 3))),
            "X has 9 columns, the training split had 2",
        ),
    ],
)
def test_later_parts_that_do_not_fit(train, later, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Preprocessor.fit(train).transform(later)


def test_label_that_training_did_not_have():
    prepared = Preprocessor.fit(load_digits())
    with pytest.raises(ValueError, match="digit holds the label 11 in row 1, which the training split did not have"):
        prepared.transform_target([11])


ALL_KINDS = {
    "table": Preprocessor.fit(cars()),
    "categories only": Preprocessor.fit(Dataset.from_columns({"c": texts("a", "b")}, ["no", "yes"])),
    "numbers only": Preprocessor.fit(Dataset.from_columns({"n": [0.1, 0.2]}, [True, False])),
    "dates": Preprocessor.fit(
        Dataset.from_columns({"d": np.array(["2024-02-28", "NaT", "2024-03-05"], "M8[D]")}, [0, 1, 0])
    ),
    "matrix": Preprocessor.fit(matrix()),
    "imputing matrix": Preprocessor.fit(matrix(x11=NAN), impute=True),
    "image": Preprocessor.fit(load_digits()),
}


@pytest.mark.parametrize("name", ALL_KINDS)
def test_json_round_trip(name):
    prepared = ALL_KINDS[name]
    text = json.dumps(prepared.to_dict(), allow_nan=False)
    again = Preprocessor.from_dict(json.loads(text))
    assert again == prepared
    assert json.dumps(again.to_dict()) == text


@given(
    X=hnp.arrays(np.float64, st.tuples(st.integers(2, 30), st.integers(1, 5)), elements=st.floats(-1e6, 1e6)),
    y=st.data(),
)
def test_round_trip_transforms_alike(X, y):
    X[0], X[1] = 0.0, 1.0
    target = y.draw(hnp.arrays(np.int64, len(X), elements=st.integers(0, 5)))
    target[:2] = 0, 1
    train = Dataset.from_arrays(X, target, task="classification")
    prepared = Preprocessor.fit(train)
    again = Preprocessor.from_dict(json.loads(json.dumps(prepared.to_dict())))
    Z = prepared.transform(train)
    np.testing.assert_array_equal(again.transform(train), Z)
    np.testing.assert_allclose(Z.mean(axis=0, dtype=float), 0, atol=1e-4)
    np.testing.assert_allclose(Z.std(axis=0, dtype=float), 1, atol=1e-4)
    np.testing.assert_array_equal(again.inverse_target(again.transform_target(train)), target)


def places(value, path=()):
    """Every place in nested dicts and lists."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


@pytest.mark.parametrize("name", ALL_KINDS)
def test_from_dict_needs_every_key(name):
    good = ALL_KINDS[name].to_dict()
    keys = [path for path in places(good) if path and isinstance(path[-1], str)]
    assert len(keys) > 10
    for path in keys:
        bad = copy.deepcopy(good)
        del at(bad, path[:-1])[path[-1]]
        with pytest.raises(ValueError, match=f"the key '{path[-1]}' is missing"):
            Preprocessor.from_dict(bad)


@pytest.mark.parametrize("wrong", [{"a": 1}, [[]], math.nan, -math.inf, 10**400], ids=repr)
@pytest.mark.parametrize("name", ["table", "categories only", "dates", "matrix", "imputing matrix", "small image"])
def test_from_dict_refuses_what_is_nowhere_right(name, wrong):
    small_image = Preprocessor.fit(image(1, 2, 3, 4))
    good = (small_image if name == "small image" else ALL_KINDS[name]).to_dict()
    for path in filter(None, places(good)):
        if wrong == 10**400 and "classes" in path[:-1]:
            continue  # a label may be any integer
        bad = copy.deepcopy(good)
        at(bad, path[:-1])[path[-1]] = wrong
        with pytest.raises(
            ValueError, match=r"^(preprocessing|target|dates|n-grams|scaling|categories|[a-z ]*features): "
        ):
            Preprocessor.from_dict(bad)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("table", lambda d: d.update(extra=1), "preprocessing: unknown keys ['extra']"),
        ("table", lambda d: d.update(format=3), "unknown format 3; this version reads formats 1 to 2"),
        (
            "table",
            lambda d: d.update(features=[]),
            "features: expected an object with keys, found list",
        ),
        (
            "table",
            lambda d: d["features"].update(kind="sound"),
            "features: kind: expected one of table, robust, matrix, image, got 'sound'",
        ),
        ("table", lambda d: d["features"].update(kind="matrix"), "the key 'input_names' is missing"),
        ("table", lambda d: d["features"]["scaling"].update(fill=None), "a table's scaling needs fill"),
        (
            "table",
            lambda d: d["features"]["scaling"]["std"].__setitem__(0, 0.0),
            "all entries of std must be above 0",
        ),
        ("table", lambda d: d["features"]["scaling"]["mean"].pop(), "mean: expected 2 entries, got 1"),
        ("table", lambda d: d["features"]["left_out"].append("weight"), "expected different column names"),
        ("table", lambda d: d["features"]["categories"][0].append("usa"), "origin names something twice"),
        ("table", lambda d: d["features"].update(categories=[[]]), "a categorical column needs categories"),
        (
            "table",
            lambda d: d["target"].update(task="ranking"),
            "task: expected one of binary, multiclass",
        ),
        ("table", lambda d: d["target"].update(classes=[1, 2]), "a regression has no classes"),
        ("table", lambda d: d["target"].update(std=0), "target: std must be above 0"),
        ("table", lambda d: d["target"].update(mean=True), "mean must hold numbers, found True"),
        ("matrix", lambda d: d["target"].update(classes=[1]), "classification needs two classes or more"),
        ("matrix", lambda d: d["target"].update(classes=[1, 2, 3]), "binary needs exactly two classes"),
        ("matrix", lambda d: d["target"].update(classes=[1, "a"]), "classes must hold labels of one type"),
        ("matrix", lambda d: d["target"].update(classes=[1, 1]), "classes names something twice"),
        ("matrix", lambda d: d["features"].update(kept=[1, 0]), "kept must ascend"),
        ("matrix", lambda d: d["features"].update(kept=[0, 2]), "kept must ascend"),
        ("matrix", lambda d: d["features"].update(kept=[]), "mean: expected 0 entries, got 2"),
        (
            "image",
            lambda d: d["features"].update(image_shape=[8, 9]),
            "image_shape and input_names have different sizes",
        ),
        ("image", lambda d: d["features"].update(image_shape=[64]), "image_shape must have 2 or 3 entries"),
        ("image", lambda d: d["features"].update(low=16), "low must be below high"),
        ("image", lambda d: d["features"].update(std=0), "image features: std must be above 0"),
    ],
)
def test_from_dict_says_what_is_wrong(name, change, message):
    record = json.loads(json.dumps(ALL_KINDS[name].to_dict()))
    change(record)
    with pytest.raises(ValueError, match=re.escape(message)):
        Preprocessor.from_dict(record)


def test_what_earlier_versions_wrote_is_read():
    record = ALL_KINDS["table"].to_dict() | {"format": 1}
    for key in ("dates", "ngrams", "columns", "readings"):
        del record[key]
    assert Preprocessor.from_dict(record) == ALL_KINDS["table"]


def test_whole_numbers_pass_where_another_writer_dropped_the_fraction():
    record = ALL_KINDS["matrix"].to_dict()
    assert record["target"]["mean"] == 0.0
    record["target"].update(mean=0, std=1)
    assert Preprocessor.from_dict(record) == ALL_KINDS["matrix"]


def test_from_dict_of_no_object():
    with pytest.raises(ValueError, match="preprocessing: expected an object with keys, found list"):
        Preprocessor.from_dict([])
