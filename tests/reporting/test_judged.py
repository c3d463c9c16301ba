"""The section of the report on how good a model is, and what it says of the columns of a table."""

import json

import numpy as np
import pytest

from chainrule import data, runs
from chainrule.io import load_arrays
from chainrule.judging import Predictions, roc_curve
from chainrule.reporting import judged
from chainrule.reporting.page import document
from chainrule.reporting.storage import read_run
from chainrule.show.markdown import markdown as as_markdown
from tests.tables import slow

RNG = np.random.default_rng(0)
N = 240


def a_run(folder, target, columns=None, **settings):
    """Train on columns of which only `signal` and `word` matter, and store what the report needs."""
    columns = columns or COLUMNS
    dataset = data.Dataset.from_columns(columns, target, target_name="target")
    train, test = dataset.split(0.3, 0)
    prepared = runs.Prepared("made", data.Preprocessor.fit(train), train, test, dataset.fingerprint())
    runs.train(
        prepared, runs.Settings(hidden=(8,), epochs=15, lr=0.02, **settings), folder, report=True, progress=False
    )
    return read_run(folder)


WORDS = RNG.choice(["a", "b"], N)
COLUMNS = {
    "noise": RNG.normal(size=N), "signal": RNG.normal(size=N), "word": WORDS.astype(object),
    "day": np.datetime64("2024-01-01") + RNG.integers(0, 300, N),
}  # fmt: skip
VALUE = 3 * COLUMNS["signal"] + 2 * (WORDS == "a")
TARGETS = {
    "two": np.where(VALUE > 2, "yes", "no"),
    "three": np.array(["low", "middle", "high"])[np.digitize(VALUE, [-1, 2])],
    "value": VALUE,
    "chance": RNG.permutation(np.where(RNG.random(N) < 0.1, "yes", "no")),
}


@pytest.mark.parametrize("target", ["two", slow("three"), "value"])
def test_a_good_model(tmp_path, target):
    stored = a_run(tmp_path, TARGETS[target])
    text = as_markdown(document(stored))
    assert "Better than the baseline on the test split" in text and "How good is it?" in text
    columns = stored.meta["columns"]
    assert columns["worse"][0][0] == "signal" and columns["of"] == 4
    depends = {d["name"]: d for d in columns["dependence"]}
    assert np.shape(depends["signal"]["means"])[1] == {"two": 1, "three": 3, "value": 1}[target]
    assert [depends[name]["ordered"] for name in ("signal", "word")] == [True, False]
    if target != "three":
        means = np.ravel(depends["signal"]["means"])
        assert means[-1] > means[0] and np.ravel(depends["word"]["means"])[0] > np.ravel(depends["word"]["means"])[1]
    drawn = judged.payload(stored)
    if target == "value":
        assert sum(drawn["errors"]["counts"]) > 0.9 * 72 and not drawn["roc"]
    else:
        assert len(drawn["roc"]) == len(drawn["precision"]) == {"two": 1, "three": 3}[target]
        assert sum(drawn["calibration"]["rows"]) == 72
    json.dumps(drawn, allow_nan=False)


def test_a_model_that_is_no_better_says_so_at_the_top(tmp_path):
    stored = a_run(tmp_path, TARGETS["chance"])
    text = as_markdown(document(stored))
    head = text.split("How good is it?")[0]
    assert "No better than the baseline on the test split: " in head or ", but not in everything: " in head
    assert stored.record["judgement"]["better"] is False


def test_the_derivation_says_that_labels_were_smoothed_and_settings_without_a_value_are_left_out(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    smoothed = as_markdown(document(a_run(tmp_path / "a", TARGETS["two"], label_smoothing=0.1)))
    plain = as_markdown(document(a_run(tmp_path / "b", TARGETS["two"]))).replace("\\", "")
    assert "0.1 of each label was spread over the classes" in smoothed and "was spread over" not in plain
    assert "class_weight" not in plain and "label_smoothing" in plain


def test_the_predictions_are_those_of_the_rule(tmp_path):
    """Matrix, worst examples and facts have the run's threshold and temperature."""
    stored = a_run(tmp_path, TARGETS["two"], threshold="0.0", calibrate="temperature", validation=0.2)
    assert stored.arrays["confusion"][:, 0].sum() == 0 and (stored.arrays["worst/predicted"] == 1).all()
    trained = runs.Trained.load(tmp_path)
    test = data.Dataset.from_columns(COLUMNS, TARGETS["two"], target_name="target").split(0.3, 0)[1]
    row = int(stored.arrays["worst/rows"][0])
    p = trained.predict(test)[f"probability {test.y[row]}"][row]
    np.testing.assert_allclose(stored.arrays["worst/probability"][0], p, rtol=1e-5)
    assert trained.rule.temperature != 1
    said = as_markdown(document(stored)).split("How good is it?")[0]
    assert "predicts yes where its probability is at least 0" in said
    assert f"the temperature {trained.rule.temperature:.4g}" in said
    assert "F1 of yes" in as_markdown(document(stored))
    day = dict(stored.meta["features"][0])["day"]
    assert np.datetime64(day) == test.columns["day"][row] and len(day) == 10
    arrays, _ = load_arrays(tmp_path / "examples.safetensors")
    assert {"roc/1", "precision/1", "calibration"} <= arrays.keys()


def test_curves_of_many_rows_are_thinned():
    true = RNG.integers(0, 2, 5000)
    p = np.clip(0.5 + 0.2 * true + 0.3 * RNG.normal(size=5000), 0, 1)
    said = Predictions.of_probabilities(true, np.stack([1 - p, p], axis=1))
    found = judged.arrays_of(said)["roc/1"]
    x, y = roc_curve(said, 1)
    assert found.shape[1] <= judged.MOST_POINTS and found[:, 0].tolist() == [0, 0] and found[:, -1].tolist() == [1, 1]
    assert np.abs(np.interp(found[0], x, y) - found[1]).max() < 0.02


def test_importance_is_scikit_learns(tmp_path):
    """With the same permutations it would be equal; here, with many of them, nearly so."""
    inspection = pytest.importorskip("sklearn.inspection")
    X = RNG.normal(size=(300, 3))
    y = X[:, 0] + 0.3 * X[:, 1]
    dataset = data.Dataset.from_arrays(X, y)
    prepared = runs.Prepared("made", data.Preprocessor.fit(dataset), dataset, dataset, "")
    runs.train(prepared, runs.Settings(hidden=(8,), epochs=20, lr=0.02), tmp_path, progress=False)
    trained = runs.Trained.load(tmp_path)

    class Estimator:
        _estimator_type = "regressor"

        def fit(self, X, y):
            return self

    def score(_, X, y):
        said = trained.predict(data.Dataset.from_arrays(X))["prediction"]
        return -np.sqrt(np.mean((said - y) ** 2))

    expected = inspection.permutation_importance(Estimator(), X, y, scoring=score, n_repeats=20, random_state=0)
    found = runs.importance(trained, dataset, repeats=20)
    assert found.metric == "rmse" and list(found.worse) == ["x0", "x1", "x2"]
    for j in range(3):
        assert found.worse[f"x{j}"][0] == pytest.approx(expected.importances_mean[j], rel=0.1, abs=0.01)


def test_importance_of_wide_tables_is_measured_on_fewer_rows(tmp_path):
    X = RNG.normal(size=(900, 120)).astype(np.float32)
    dataset = data.Dataset.from_arrays(X, 2 * X[:, 7])
    prepared = runs.Prepared("made", data.Preprocessor.fit(dataset), dataset, dataset, "")
    runs.train(prepared, runs.Settings(hidden=(8,), epochs=4, lr=0.02), tmp_path, progress=False)
    trained = runs.Trained.load(tmp_path)
    found = runs.importance(trained, dataset)
    assert next(iter(found.worse)) == "x7" and len(found.worse) == 120
    assert 200 <= found.rows <= 200_000 / (120 * found.repeats)
    assert runs.importance(trained, dataset.take(np.arange(90))).rows == 90
