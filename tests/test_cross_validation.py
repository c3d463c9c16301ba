"""Cross-validation of runs: the folds, what is measured, and what is written."""

import csv
import json

import numpy as np
import pytest

from chainrule import data, runs
from chainrule.data.splits import folds
from chainrule.judging import Predictions, measure
from chainrule.runs.training import _Parts

RNG = np.random.default_rng(0)
QUICK = runs.Settings(hidden=(6,), epochs=4, lr=0.02)


def prepared(y, n=60):
    columns = {"a": RNG.normal(size=n), "b": RNG.choice(["u", "v", "w"], n).astype(object)}
    dataset = data.Dataset.from_columns(columns, y, target_name="kind")
    train, test = dataset.split(0.2, 0)
    return runs.Prepared("made", data.Preprocessor.fit(train), train, test, dataset.fingerprint())


@pytest.mark.parametrize(("n", "k"), [(10, 2), (11, 3), (50, 5), (7, 7)])
def test_folds(n, k):
    labels = RNG.integers(0, 3, n)
    for stratify in (None, labels):
        found = folds(n, k, 1, stratify)
        sizes = np.bincount(found, minlength=k)
        assert sizes.max() - sizes.min() <= 1 and np.array_equal(found, folds(n, k, 1, stratify))
    for label in np.unique(labels):
        of_label = np.bincount(found[labels == label], minlength=k)
        assert of_label.max() - of_label.min() <= 1
    assert n < 20 or not np.array_equal(found, folds(n, k, 2, labels))


def test_folds_that_are_refused():
    with pytest.raises(ValueError, match="k: expected an integer ≥ 2 and ≤ 5"):
        folds(5, 6)
    with pytest.raises(ValueError, match="stratify has shape"):
        folds(5, 2, stratify=[1, 2])


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_predictions_are_those_of_the_other_folds(tmp_path, task):
    y = RNG.choice(["no", "yes"], 60) if task == "binary" else RNG.normal(size=60)
    given = prepared(y)
    told = []
    found = runs.cross_validate(given, QUICK, tmp_path, 3, after=lambda *args: told.append(args), progress=False)
    assert [(k, result.metrics["test"]["loss"]) for k, result in told] == [*enumerate(found.figures["loss"], 1)]
    for k in range(3):
        rows = np.flatnonzero(found.fold == k)
        trained = runs.Trained.load(tmp_path / "folds" / str(k + 1))
        again = trained.predict(given.train.take(rows))
        assert all(found.predictions[name][rows].tolist() == values.tolist() for name, values in again.items())
        assert trained.evaluate(given.train.take(rows))["loss"] == found.figures["loss"][k]
        if task == "binary":
            p = np.stack([again["probability no"], again["probability yes"]], axis=1)
            said = Predictions.of_probabilities((given.train.y[rows] == "yes").astype(int), p)
            assert measure(said)[0]["auc"] == pytest.approx(found.figures["auc"][k])
    stored = json.loads((tmp_path / "cross_validation.json").read_text())
    assert stored["folds"] == 3 and stored["mean"]["loss"] == pytest.approx(np.mean(found.figures["loss"]))
    with (tmp_path / "out_of_fold.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [int(line["row"]) for line in lines] == (given.train.rows + 1).tolist()
    assert [line["kind"] for line in lines] == [str(v) for v in given.train.y.tolist()]
    assert [line["prediction"] for line in lines] == [str(v) for v in found.predictions["prediction"].tolist()]


def test_groups_stay_together_in_all_splits(tmp_path):
    table = {"person": np.repeat(np.arange(20), 6), "a": RNG.normal(size=120), "kind": np.tile(["u", "v"], 60)}
    file = tmp_path / "table.csv"
    rows = zip(*(column.tolist() for column in table.values()), strict=True)
    file.write_text("\n".join([",".join(table), *(",".join(map(str, row)) for row in rows)]) + "\n")
    given = runs.prepare(str(file), "kind", groups="person")
    assert "groups of person: 16 to train, 4 to test" in given.notes and given.preprocessor.input_names == ("a",)
    settings = runs.Settings(hidden=(6,), epochs=2, validation=0.2)
    found = runs.cross_validate(given, settings, tmp_path, 4, progress=False)
    people = given.train.groups
    assert all(len(set(found.fold[people == person].tolist())) == 1 for person in set(people.tolist()))
    runs.train(given, settings, tmp_path, progress=False)
    trained = runs.Trained.load(tmp_path)
    held, which = trained.held_out(trained.read(str(file), "kind"))
    assert which.startswith("the split held out") and held.rows.tolist() == given.test.rows.tolist()
    assert not set(table["person"][held.rows].tolist()) & set(people.tolist())
    parts = _Parts.of(given, settings)
    assert len(parts.given[0]) % 6 == 0 and len(parts.given[0]) + len(parts.held[0]) == len(given.train)
    with pytest.raises(ValueError, match=r"has no column 'persons'.*Did you mean 'person'"):
        runs.prepare(str(file), "kind", groups="persons")
    with pytest.raises(ValueError, match=r"groups: .* is no table with columns"):
        runs.prepare("digits", groups="x0")


def test_a_class_of_one_row(tmp_path):
    y = np.array(["rare"] + ["no", "yes"] * 29 + ["no"])
    given = prepared(y)
    found = runs.cross_validate(given, QUICK, tmp_path, 4, progress=False)
    assert len(found.figures["accuracy"]) == 4 and set(found.predictions) >= {"probability rare"}


def test_more_folds_than_rows_are_refused(tmp_path):
    with pytest.raises(ValueError, match="cv: expected an integer ≥ 2 and ≤ 48, got 49"):
        runs.cross_validate(prepared(RNG.normal(size=60)), QUICK, tmp_path, 49)


def test_texts_are_refused(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("abc abd " * 200)
    with pytest.raises(ValueError, match="cv: is for tables and images"):
        runs.cross_validate(runs.prepare_text(str(text), context=8), QUICK, tmp_path, 3)
