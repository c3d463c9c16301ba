"""Trained models as ONNX models of raw columns: equal to what predict says, for all kinds of columns."""

import numpy as np
import pytest

from chainrule import data, nn, runs
from chainrule.data.dates import DAY, PARTS, PROGRAMS, WEEKDAYS, Calendar
from chainrule.runs.judged import Rule

from .tables import for_each

RNG = np.random.default_rng(0)
WORDS = ["red", "green", "ünï", "a b", "7", "missing", "x" * 50, "\N{SNOWMAN}", "None", "0.5", "'", "t", "u", "v"]


def columns(rows, rng, kinds):
    """Return columns of some kinds, with missing values in most of them."""

    def holes(values, missing):
        values[rng.random(rows) < rng.choice([0.0, 0.2])] = missing
        return values

    def texts(words):
        return holes(rng.choice(words, rows).astype(object), None)

    scale, days = 10.0 ** rng.integers(-3, 7), rng.integers(0, 900, rows) * np.timedelta64(DAY, "us")
    made = {
        "numbers": lambda: holes(rng.normal(size=rows) * scale + 10.0 ** rng.integers(0, 9), np.nan),
        "whole": lambda: rng.integers(0, 5, rows).astype(float),
        "booleans": lambda: rng.random(rows) < 0.4,
        "few": lambda: texts(WORDS[:3]),
        "many": lambda: texts(WORDS),
        "days": lambda: holes(np.datetime64("2019-06-01", "us") + days, "NaT"),
        "moments": lambda: holes(
            np.datetime64("1965-01-01", "us") + rng.integers(0, 4 * 10**15, rows).astype("m8[us]"), "NaT"
        ),
    }  # fmt: skip
    return {f"{kind} {i}": made[kind]() for i, kind in enumerate(kinds)}


TARGETS = {
    "binary": lambda rng, rows: rng.choice(["no", "yes"], rows),
    "booleans": lambda rng, rows: rng.random(rows) < 0.5,
    "multiclass": lambda rng, rows: rng.choice(["a", "b", "c"], rows),
    "integers": lambda rng, rows: rng.choice([3, 5, 8, 13], rows),
    "regression": lambda rng, rows: 100 + 20 * rng.normal(size=rows),
}


def trained(train, target, rule=None, loss=None, robust=False):
    """Return a model with random weights for a table."""
    dataset = data.Dataset.from_columns(train, target, target_name="target")
    preprocessor = data.Preprocessor.fit(dataset, robust=robust)
    settings = runs.Settings(hidden=(8,), loss=loss)
    model = runs.network(preprocessor, settings)
    if robust:
        table = preprocessor.features.layout
        first = nn.TableEmbedding(*table)
        model = nn.Sequential(first, nn.Linear(first.out_features, preprocessor.output_shape[-1])).initialize(0)
    model.eval()
    return runs.Trained(model, preprocessor, settings.loss_for(preprocessor.task), {}, rule or Rule())


def feeds(raw, preprocessor):
    """Return columns as ONNX Runtime takes them."""
    found = {}
    for column in preprocessor.raw_columns():
        values = raw[column.name]
        if values.dtype == object:
            values = np.array([v or "" for v in values], object)
        elif values.dtype.kind == "M":
            values = values.view(np.int64)
        else:
            values = values.astype(np.float64)
        found[column.name] = values[:, None]
    return found


def check(model, raw):
    """Compare ONNX Runtime with predict."""
    runtime = pytest.importorskip("onnxruntime")
    written = runs.export_with_preprocessing(model)
    session = runtime.InferenceSession(written.SerializeToString())
    labels, *shares = session.run(None, feeds(raw, model.preprocessor))
    expected = model.predict(data.Dataset.from_columns(raw))
    prediction = expected.pop("prediction")
    if model.preprocessor.task == "regression":
        np.testing.assert_allclose(labels, prediction, rtol=1e-5)
    else:
        assert labels.tolist() == prediction.tolist() and len(shares) == bool(expected)
        np.testing.assert_allclose(shares, [np.stack([*expected.values()], axis=1)] if expected else [], atol=1e-5)


CASES = [
    ("binary", ("numbers", "few")),
    ("booleans", ("booleans", "whole", "days")),
    ("multiclass", ("many", "moments", "numbers", "numbers")),
    ("integers", ("few",)),
    ("regression", ("moments", "numbers", "many", "booleans")),
    ("regression", ("days",)),
]


@pytest.mark.parametrize("robust", [False, True], ids=["standardised", "robust"])
@for_each(("target", "kinds"), CASES)
def test_tables(target, kinds, robust):
    rng = np.random.default_rng(len(kinds))
    model = trained(columns(120, rng, kinds), TARGETS[target](rng, 120), robust=robust)
    new = columns(50, rng, kinds)
    for name, values in new.items():
        if values.dtype == object:
            new[name] = np.where(rng.random(50) < 0.1, "never seen", values)
    check(model, new)


def test_thresholds_temperatures_and_scores():
    rng = np.random.default_rng(3)
    train, target = columns(80, rng, ("numbers", "few")), TARGETS["binary"](rng, 80)
    for rule, loss in ((Rule(temperature=3.0, threshold=0.4), None), (Rule(), "hinge")):
        check(trained(train, target, rule, loss), train)


def test_matrices_and_images():
    runtime = pytest.importorskip("onnxruntime")
    X = RNG.normal(size=(60, 48)) * 5 + 3
    X[:, 7] = 1.0
    holes = np.where(RNG.random(X.shape) < 0.1, np.nan, X)
    for rows, image, first in ((holes, None, False), (X, (6, 8), False), (X, (4, 4, 3), True)):
        dataset = data.Dataset.from_arrays(rows, RNG.integers(0, 3, 60), image_shape=image)
        preprocessor = data.Preprocessor.fit(dataset, impute=True, channels_first=first)
        layers = [nn.Flatten()] * first
        model = nn.Sequential(*layers, nn.Linear(int(np.prod(preprocessor.input_shape)), 3)).initialize(0)
        made = runs.Trained(model, preprocessor, "cross_entropy", {}, Rule())
        session = runtime.InferenceSession(runs.export_with_preprocessing(made).SerializeToString())
        labels, shares = session.run(None, {"X": rows})
        expected = made.predict(dataset)
        assert labels.tolist() == expected.pop("prediction").tolist()
        np.testing.assert_allclose(shares, np.stack([*expected.values()], axis=1), atol=1e-5)


def test_a_column_named_as_an_output():
    pytest.importorskip("onnx")
    rng = np.random.default_rng(1)
    model = trained({"prediction": rng.normal(size=30)}, TARGETS["binary"](rng, 30))
    made = runs.export_with_preprocessing(model)
    assert [o.name for o in made.graph.output] == ["prediction_", "probabilities"]


def test_the_calendar_is_numpys():
    moments = np.datetime64("1700-01-01", "us") + RNG.integers(0, 17 * 10**15, 5000).astype("m8[us]")
    edges = ["1900-02-28", "1900-03-01", "2000-02-29", "2000-12-31", "2024-02-29T23:59:59.999999", "1970-01-01"]
    moments = np.concatenate([moments, np.array(edges, "M8[us]")])
    calendar = Calendar(moments.view(np.int64).astype(np.float64))
    assert PARTS.keys() == PROGRAMS.keys()
    for part, values in PARTS.items():
        found = PROGRAMS[part](calendar)
        if part == "weekday":
            assert [WEEKDAYS[int(i)] for i in found] == values(moments).tolist()
        else:
            np.testing.assert_allclose(found, values(moments), rtol=1e-15, atol=1e-6 if "sine" in part else 0)
