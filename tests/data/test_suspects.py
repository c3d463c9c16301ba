"""Columns that name rows, and columns that hold the target."""

import numpy as np
import pytest

from chainrule.data import Dataset, read, suspect_columns
from chainrule.data.suspects import called_id

N = 400
RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=N)
BINARY = np.where(RNG.random(N) < 0.3, "yes", "no")
CLASSES = np.array(["u", "v", "w"])[RNG.integers(3, size=N)]
MEASURED = RNG.lognormal(size=N)
PLACES = RNG.integers(20, size=N)
KINDS, PRICES = np.array([f"kind {i}" for i in PLACES], object), np.exp(PLACES / 5.0)
WORDS = {"u": "red", "v": "blue", "w": "green", "yes": "paid", "no": "open"}


def found(y, **columns):
    sentences = suspect_columns(Dataset.from_columns({"noise": NOISE, **columns}, y, target_name="y"))
    return [sentence.split("'")[1] for sentence in sentences]


def mostly(values, wrong):
    """The same values, but for some rows that have those of their neighbours."""
    values = np.array(values)
    values[:wrong] = np.roll(values, 1)[:wrong]
    return values


LEAKS = {
    "a number of two classes": (BINARY, (BINARY == "yes") * 3.0 + 0.5),
    "two ranges": (BINARY, np.where(BINARY == "yes", 5, -5) + NOISE),
    "reversed": (BINARY, np.where(BINARY == "yes", -5, 5) + NOISE),
    "with missing values": (BINARY, np.where(np.arange(N) % 5 == 0, np.nan, (BINARY == "yes") * 1.0)),
    "dates": (BINARY, np.where(BINARY == "yes", np.datetime64("2024-05-05"), np.datetime64("2023-05-05"))),
    "a category of two classes": (BINARY, np.array([WORDS[y] for y in BINARY], object)),
    "a category of three classes": (CLASSES, np.array([WORDS[y] for y in CLASSES], object)),
    "ids of three classes": (CLASSES, np.unique(CLASSES, return_inverse=True)[1] * 1.0),
    "another unit": (MEASURED, MEASURED * 2.54 + 1),
    "its logarithm": (MEASURED, -np.log(MEASURED)),
    "a category for each price": (PRICES, KINDS),
    "a category for each range of prices": (PRICES * np.exp(NOISE / 20), KINDS),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_column_that_determines_the_target_is_found(name):
    y, column = LEAKS[name]
    assert found(y, a=column) == ["a"]


HONEST = {
    "a good column": (BINARY, np.where(BINARY == "yes", 1.0, -1.0) + NOISE),
    "a category with exceptions": (CLASSES, np.array([WORDS[y] for y in mostly(CLASSES, 40)], object)),
    "another value in each row": (CLASSES, NOISE[::-1]),
    "words that differ": (CLASSES, np.array([f"w{i // 2}" for i in range(N)], object)),
    "correlated": (MEASURED, np.log(MEASURED) + NOISE / 5),
    "numbers with holes": (MEASURED, np.floor(NOISE * 1e9)),
    "a category of similar prices": (PRICES * np.exp(NOISE / 5), KINDS),
    "a few rows of each category": (MEASURED, np.array([f"w{i // 3}" for i in range(N)], object)),
    "constant": (BINARY, np.ones(N)),
    "nothing": (BINARY, np.full(N, np.nan)),
}


@pytest.mark.parametrize("name", HONEST)
def test_other_columns_are_not(name):
    y, column = HONEST[name]
    assert found(y, a=column) == []


def test_ids():
    order = RNG.permutation(N) * 10.0 + 5
    assert found(BINARY, order=order) == ["order"]
    assert found(BINARY, order_id=np.unique(RNG.integers(0, 10**6, 2 * N))[:N] * 1.0) == ["order_id"]
    assert found(BINARY, size=np.unique(RNG.integers(0, 10**6, 2 * N))[:N] * 1.0) == []
    names = ("paid", "grid", "notes", "kind", "income", "row width")
    assert [name for name in (*names, "ID", "userID", "x.id") if called_id(name)] == ["ID", "userID", "x.id"]
    with_gaps = {"Unnamed: 0": np.flatnonzero(RNG.random(10 * N) < 0.3)[:N] * 1.0}  # rows that were left of a table
    assert found(BINARY, **with_gaps) == ["Unnamed: 0"]


def test_few_rows_tell_nothing():
    rows = Dataset.from_columns({"a": [1.0, 2.0, 3.0, 4.0]}, [0, 0, 1, 1])
    assert suspect_columns(rows) == []


def test_a_column_that_numbers_the_rows_is_left_out(tmp_path):
    pytest.importorskip("polars")
    path = tmp_path / "t.csv"
    path.write_text("PassengerId,size,y\n" + "".join(f"{i + 1},{i % 5},{i % 2}\n" for i in range(9)))
    dataset = read(path, "y")
    assert dataset.feature_names == ("size",)
    assert dataset.notes == ("left out the column 'PassengerId', which numbers the rows",)
