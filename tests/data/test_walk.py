"""The whole way: a raw file, its training split, the record in a model file, a new raw file to predict for."""

import json
import re

import numpy as np
import pytest

pytest.importorskip("polars")

from chainrule.data import Preprocessor, batches, read, read_features


@pytest.fixture
def cars(tmp_path):
    """A table with everything in it: numbers, texts, missing values, a constant and a name for each row."""
    rng = np.random.default_rng(1)
    lines = ["name,mpg,cylinders,horsepower,origin,wheels"]
    for i in range(120):
        mpg = "" if i in (3, 77) else f"{rng.normal(24, 7):.1f}"
        power = "?" if i % 20 == 0 else str(rng.integers(50, 230))
        origin = ["usa", "japan", "europe"][rng.integers(3)]
        lines.append(f"car {i},{mpg},{rng.choice([4, 6, 8])},{power},{origin},4")
    path = tmp_path / "cars.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_from_csv_to_predictions(cars, tmp_path):
    dataset = read(cars, target="mpg")
    assert dataset.task == "regression" and len(dataset) == 118
    train, test = dataset.split(0.25, seed=0)
    prepared = Preprocessor.fit(train)
    assert prepared.feature_names == (
        "cylinders",
        "horsepower",
        "origin=europe",
        "origin=japan",
        "origin=usa",
    )
    said = " / ".join([*dataset.notes, dataset.task_reason, *prepared.notes])
    assert re.fullmatch(
        r"left out 2 rows where the target 'mpg' is missing / "
        r"regression: mpg holds \d+ different numbers in 118 rows / "
        r"dropped 1 constant column: wheels / dropped 1 column of texts that differ from row to row: name / "
        r"imputed \d missing values of horsepower with the training median [\d.]+ / "
        r"standardised 2 numeric columns .* / "
        r"one-hot encoded origin in 3 categories / standardised the target mpg .*",
        said,
    )
    X, y = prepared.transform(train), prepared.transform_target(train)
    np.testing.assert_allclose(X[:, :2].mean(axis=0), 0, atol=1e-5)
    assert sum(len(X[rows]) for rows in batches(len(train), 32, seed=0, epoch=1)) == len(y) == len(train)
    assert np.isfinite(prepared.transform(test)).all()

    record = json.dumps(prepared.to_dict())
    new = tmp_path / "new.csv"
    new.write_text("origin,horsepower,cylinders\njapan,95,4\nmars,,8\n")
    again = Preprocessor.from_dict(json.loads(record))
    Z, notes = again.transform_with_notes(read_features(new))
    scale = prepared.features.scaling
    expected = (np.array([[4, 95], [8, scale.fill[1]]]) - scale.mean) / scale.std
    np.testing.assert_allclose(Z, np.hstack([expected, [[0, 1, 0], [0, 0, 0]]]), rtol=1e-5, atol=1e-6)
    assert len(notes) == 2 and "imputed 1" in notes[0] and "mars" in notes[1]

    # The training file itself can be predicted for: its target and its unused columns are nothing new.
    Z, notes = again.transform_with_notes(read_features(cars))
    assert len(Z) == 120 and not any("ignored" in note for note in notes)


def test_error_names_the_row_of_the_file(cars):
    prepared = Preprocessor.fit(read(cars, target="mpg"))
    lines = cars.read_text().splitlines()
    lines[101] = "car 100,20.0,four,100,usa,4"
    cars.write_text("\n".join(lines))
    # Two rows lack the target and are left out before; the row is still the hundred and first of the file.
    for dataset in (read(cars, target="mpg"), read_features(cars), read(cars, target="mpg").split(0.99)[1]):
        with pytest.raises(ValueError, match="'cylinders' held numbers in training; row 101 holds 'four'"):
            prepared.transform(dataset)


def test_classes_of_a_table(cars):
    dataset = read(cars, target="origin", exclude=["name"])
    train, test = dataset.split(0.2, seed=1)
    prepared = Preprocessor.fit(train)
    assert prepared.task == "multiclass" and prepared.classes == ("europe", "japan", "usa")
    ids = prepared.transform_target(test)
    assert ids.dtype == np.int64
    assert prepared.inverse_target(ids).tolist() == test.y.tolist()
