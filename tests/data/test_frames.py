"""Data frames as X and y, and as data sets: pandas, polars, PyArrow, Arrow streams, dicts of columns."""

import dataclasses
import datetime
import decimal
import subprocess
import sys

import narwhals
import numpy as np
import polars as pl
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.data import Dataset, Preprocessor
from chainrule.frames import as_inputs, as_targets, columns
from tests.tables import for_each

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")

NAMES = ("age", "height", "weight")


@pytest.fixture
def numbers():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 3)).astype(np.float32)
    return X, (X[:, 0] > 0).astype(np.int64)


class Stream:
    """Has nothing but an Arrow stream."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


class Rows:
    """Behaves like a data set of Hugging Face."""

    def __init__(self, columns):
        self.columns_by_name = columns

    @property
    def column_names(self):
        return list(self.columns_by_name)

    def __getitem__(self, name):
        return self.columns_by_name[name]


FRAMES = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "lazy": lambda c: pl.DataFrame(c).lazy(),
    "pyarrow": pa.table,
    "stream": lambda c: Stream(pa.table(c)),
    "narwhals": lambda c: narwhals.from_native(pl.DataFrame(c)),
    "dict of arrays": dict,
    "dict of lists": lambda c: {k: list(v) for k, v in c.items()},
    "dict of series": lambda c: {k: pd.Series(v) for k, v in c.items()},
    "column_names": lambda c: Rows({k: list(v) for k, v in c.items()}),
}
every_frame = pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).initialize(1)


def fitted(X, y, **settings):
    model = network()
    cr.fit(model, X, y, **{"epochs": 2, "progress": False, **settings})
    return model


# -- X --------------------------------------------------------------------------------------------------------------


@every_frame
def test_a_frame_trains_and_predicts_as_its_matrix_does(make, numbers):
    X, y = numbers
    frame = make(dict(zip(NAMES, X.T, strict=True)))
    by_matrix, by_frame = fitted(X, y), fitted(frame, y, validation=(frame, y))
    assert by_frame.feature_names == NAMES and by_matrix.feature_names is None
    for path, value in by_matrix.state_dict().items():
        assert np.array_equal(value, by_frame.state_dict()[path])
    assert np.array_equal(cr.predict(by_frame, frame), cr.predict(by_matrix, X))
    assert cr.evaluate(by_frame, frame, y) == cr.evaluate(by_matrix, X, y)
    assert np.array_equal(cr.backprop(by_frame, frame, y)["dW1"], cr.backprop(by_matrix, X, y)["dW1"])
    assert np.array_equal(by_frame(frame).value, by_matrix(X).value)


def test_columns_are_taken_by_their_names(numbers):
    X, y = numbers
    frame = pd.DataFrame(X, columns=NAMES)
    model = fitted(frame, y)
    wanted = cr.predict(model, frame)
    moved = frame[["weight", "age", "height"]].assign(more="text")
    for other in (moved, pl.from_pandas(moved), pa.Table.from_pandas(moved)):
        assert np.array_equal(cr.predict(model, other), wanted)
        assert np.allclose(model(other).value, wanted, atol=1e-5)
        assert np.allclose(cr.backprop(model, other, y).values["Z2"], wanted, atol=1e-5)
    assert np.array_equal(cr.predict(model, X), wanted)  # an array has no names to go by
    assert np.array_equal(model[:1](moved).value, model[:1](X).value) and model[1:].feature_names is None
    validated = fitted(frame, y, validation=(moved, y))
    assert np.array_equal(cr.predict(validated, frame), wanted)


def test_a_dict_is_columns_to_a_sequential_and_itself_to_other_modules(numbers):
    X, y = numbers
    model = fitted(dict(zip(NAMES, X.T, strict=True)), y)
    turned = {name: X[:, NAMES.index(name)] for name in reversed(NAMES)}
    assert np.array_equal(model(turned).value, model(X).value)
    assert np.array_equal(nn.Sequential(model[0])(dict(zip(NAMES, X.T, strict=True))).value, model[0](X).value)

    class Own(nn.Module):
        def __init__(self):
            self.first = nn.Linear(3, 2)

        def forward(self, x):
            return self.first(x["all"])

    assert Own()({"all": X}).shape == (30, 2)


def test_a_data_set_says_how_to_prepare_it(numbers):
    made = Dataset.from_frame(pd.DataFrame(numbers[0], columns=NAMES), "age")
    for call in (lambda: cr.fit(network(), made, numbers[1], progress=False), lambda: cr.predict(network(), made)):
        with pytest.raises(TypeError, match=r"^X: expected numbers, got a Dataset.*Preprocessor.fit\(train\)"):
            call()


def test_columns_that_lack_are_named(numbers):
    X, y = numbers
    model = fitted(pd.DataFrame(X, columns=NAMES), y)
    other = pl.DataFrame(X, schema=["Age", "height", "weight"])
    message = "X does not have the column 'age', .*; it has the columns 'Age', 'height', 'weight'"
    for call in (lambda: cr.predict(model, other), lambda: cr.evaluate(model, other, y), lambda: model(other)):
        with pytest.raises(ValueError, match=message):
            call()


def test_names_go_with_the_last_fit(numbers):
    X, y = numbers
    model = fitted(pd.DataFrame(X, columns=NAMES), y)
    cr.fit(model, X, y, epochs=1, progress=False)
    assert model.feature_names is None
    cr.fit(model, pd.DataFrame(X), y, epochs=1, progress=False)
    assert model.feature_names == ("0", "1", "2")
    for names in (["a", "a", "b"], [1, "1", 2]):
        with pytest.raises(ValueError, match="X has several columns of the same name"):
            cr.fit(model, pd.DataFrame(X, columns=names), y, progress=False)


def test_a_model_that_has_names_keeps_their_order_when_it_is_trained_on(numbers):
    X, y = numbers
    frame = pd.DataFrame(X, columns=NAMES)
    wanted, model = fitted(frame, y), fitted(frame, y)
    cr.fit(wanted, frame, y, epochs=1, progress=False)
    cr.fit(model, frame[["weight", "height", "age"]], y, epochs=1, progress=False)
    assert model.feature_names == NAMES and np.array_equal(cr.predict(model, X), cr.predict(wanted, X))
    with pytest.raises(ValueError, match=r"X has shape \(30, 4\), Linear expects"):  # fit leaves no column aside
        cr.fit(model, frame.assign(more=1.0), y, epochs=1, progress=False)
    assert model.feature_names == NAMES


def test_sparse_columns_are_numbers(numbers):
    X, y = numbers
    X = np.where(X > 0, X, 0)
    frame = pd.DataFrame(X, columns=NAMES)
    sparse = frame.astype(pd.SparseDtype(np.float32, 0))
    assert np.array_equal(cr.predict(fitted(sparse, y), sparse), cr.predict(fitted(X, y), X))
    assert as_inputs(frame.astype(int).astype(pd.SparseDtype(int, 0)), "X")[0].dtype == np.int64


def holed(value):
    frame = pd.DataFrame(np.ones((5, 3)), columns=NAMES)
    frame.loc[3, "height"] = value
    return frame


INT = pl.DataFrame({"age": [1, 2, None], "height": [1, None, None], "weight": [1, 2, 3]})


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (holed(np.nan), r"column 'height' of X has no value \(or NaN\) at row 3: leave .*Preprocessor fills in"),
        (INT, r"column 'age' of X has no value .* at row 2 \(3 such values in 2 columns\)"),
        (
            INT.to_pandas().convert_dtypes(),
            r"column 'age' of X has no value .* at row 2 \(3 such values in 2 columns\)",
        ),
        (INT.to_arrow(), r"column 'age' of X has no value .* at row 2"),
        ({"age": [1.0, None], "height": [1, 2], "weight": [1, 2]}, r"column 'age' of X has no value .* at row 1"),
        ({"age": [None, None], "height": [1, 2], "weight": [1, 2]}, r"column 'age' of X has no value .* at row 0 \(2"),
        (pd.DataFrame({"age": [None, None], "height": 1, "weight": 2}), r"column 'age' of X has no value .* at row 0"),
        (holed(-np.inf), r"1 value that is not finite, the first -inf in column 'height' at row 3"),
        (holed(1e300), r"not finite in float32, the first 1e\+300 in column 'height' at row 3; scale"),
    ],
)
def test_values_that_are_missing_or_infinite_are_placed(frame, message):
    with pytest.raises(ValueError, match=message):
        cr.fit(network(), frame, np.zeros(len(frame), int), progress=False)


@pytest.mark.parametrize(
    ("frame", "kind", "message"),
    [
        (
            {"city": ["a", "b"], "age": [1, 2]},
            TypeError,
            "X holds texts in column 'city', expected numbers; data.D",
        ),
        (
            pd.DataFrame({"c": pd.Categorical(["u", "v"]), "t": pd.Timestamp("2020"), "s": ["a", "b"]}),
            TypeError,
            "X holds texts in columns 'c', 's' and dates in column 't'",
        ),
        ({"age": [1, 2], "size": [1]}, ValueError, "X: column 'age' has 2 rows, 'size' has 1"),
        ({"age": np.ones((2, 3))}, ValueError, r"column 'age' of X has shape \(2, 3\); expected one value per row"),
        ({"age": [[1], [2, 3]]}, ValueError, "column 'age' of X cannot be read as an array: .*inhomogeneous"),
        ({"age": [1, "x"]}, TypeError, "X holds texts in column 'age'"),  # as NumPy reads such a list
        ({"age": [{}, {}]}, ValueError, "column 'age' of X holds dict; expected numbers"),
        ({"age": np.ones(2, complex)}, ValueError, "column 'age' of X has dtype complex128"),
        (pl.DataFrame({"age": [[1], [2]]}), ValueError, r"column 'age' of X is of type List\(Int64\)"),
        (
            pd.DataFrame({"age": pd.period_range("2020", periods=2)}),
            ValueError,
            r"column 'age' of X is of type period\[D",
        ),
        ({}, ValueError, "X has no columns"),
        (pd.DataFrame(index=range(2)), ValueError, "X has no columns"),
        (pd.DataFrame({"age": []}), ValueError, r"X has shape \(0, 1\): no examples"),
        (pd.Series([1.0, 2.0], name="age"), ValueError, r"X has shape \(2,\), Linear expects"),
    ],
)
def test_what_is_no_input_is_named(frame, kind, message):
    with pytest.raises(kind, match=message):
        cr.fit(network(), frame, np.zeros(2, int), progress=False)


def test_integers_stay_integers():
    matrix, names = as_inputs(pl.DataFrame({"a": [1, 2], "b": [3, 4]}), "X")
    assert matrix.dtype == np.int64 and matrix.tolist() == [[1, 3], [2, 4]] and names == ("a", "b")
    model = nn.Sequential(nn.Embedding(5, 2), nn.Flatten(), nn.Linear(4, 2))
    cr.fit(model, pl.DataFrame({"a": [1, 2], "b": [3, 4]}), [0, 1], epochs=1, progress=False)


# -- y --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda y: pd.Series(y),
        lambda y: pd.Series(y).astype("Int64"),
        lambda y: pd.Series(y).astype("category"),
        lambda y: pd.DataFrame({"y": pd.Categorical(y)}),
        lambda y: pl.Series("y", y),
        lambda y: pa.chunked_array([y]),
        lambda y: pa.array(y),
        lambda y: narwhals.from_native(pl.Series(y), series_only=True),
        lambda y: pd.DataFrame({"y": y}),
        lambda y: {"y": y.tolist()},
        lambda y: y.tolist(),
    ],
)
def test_targets(make, numbers):
    X, y = numbers
    assert np.array_equal(cr.predict(fitted(X, make(y)), X), cr.predict(fitted(X, y), X))


def test_targets_of_several_columns(numbers):
    X, _ = numbers
    model = nn.Sequential(nn.Linear(3, 2))
    by_array = cr.fit(model, X, X[:, :2], loss="mse", epochs=1, progress=False)["loss"]
    by_frame = cr.fit(model.initialize(0), X, pd.DataFrame(X[:, :2]), loss="mse", epochs=1, progress=False)["loss"]
    assert by_array == by_frame


CLASSES = ["b", "a", "b"]


@pytest.mark.parametrize(
    ("y", "kind", "message"),
    [
        *[
            (y, TypeError, r"^y: .*'b'.*numpy.unique\(y, return_")
            for y in (
                CLASSES, np.array(CLASSES), np.array(CLASSES, object), pd.Series(CLASSES), {"kind": CLASSES},
                pd.Series(CLASSES).astype("category"), pl.DataFrame({"kind": CLASSES}), pl.Series(CLASSES),
            )
        ],
        (None, TypeError, "^y is None"),
        ({}, ValueError, "^y has no columns"),
        (pd.DataFrame(index=range(3)), ValueError, "^y has no columns"),
        ({"kind": [None] * 3}, ValueError, "column 'kind' of y has no value .* row 0"),
        (pd.DataFrame({"a": CLASSES, "b": 1}), TypeError, "got other values in column 'a'"),
        (pd.Series(pd.Timestamp("2020"), range(3), name="t"), TypeError, "got other values in column 't'"),
        (pd.Series([1, None, 0], dtype="Int64", name="price"), ValueError, "column 'price' of y has no value .* row 1"),
        (pl.Series(["a", None, "b"]), ValueError, r"^y has no value \(or NaN\) at row 1"),
        (pd.Series([0, 1]), ValueError, r"y has shape \(2,\), X has 3 rows"),
    ],
)  # fmt: skip
def test_what_is_no_target_is_named(y, kind, message):
    with pytest.raises(kind, match=message):
        cr.fit(network(), np.ones((3, 3)), y, progress=False)


@pytest.mark.parametrize("y", [CLASSES, np.array(CLASSES), pd.Series(CLASSES), pl.DataFrame({"kind": CLASSES})])
def test_backprop_names_texts_as_well(y):
    with pytest.raises(TypeError, match=r"^Y: .*'b'"):
        cr.backprop(network(), np.ones((3, 3)), y)
    assert cr.backprop(network(), np.ones((3, 3)), None, loss=lambda output, _: np.mean(output**2)).loss > 0


def test_what_the_message_says_does(numbers):
    X, y = numbers
    texts = np.array(["no", "yes"])[y]
    classes, ids = np.unique(texts, return_inverse=True)
    assert np.array_equal(ids, y) and classes.tolist() == ["no", "yes"]
    fitted(X, ids)


# -- columns --------------------------------------------------------------------------------------------------------

DAY, MOMENT = datetime.date(1970, 1, 3), datetime.datetime(1970, 1, 1, 0, 1)
VALUES = {
    "whole": ([1, None, 3], "numbers", [1, np.nan, 3], "i"),
    "real": ([1.5, None, 3.0], "numbers", [1.5, np.nan, 3], "f"),
    "truth": ([True, None, False], "numbers", [1, np.nan, 0], "b"),
    "exact": ([decimal.Decimal("1.5"), None, decimal.Decimal(2)], "numbers", [1.5, np.nan, 2], "f"),
    "text": (["u", None, "v"], "texts", ["u", None, "v"], "O"),
    "day": ([DAY, None, DAY], "dates", [2, np.nan, 2], "M"),
    "moment": ([MOMENT, None, MOMENT], "dates", [60 / 86400, np.nan, 60 / 86400], "M"),
    "time": ([datetime.time(0, 1), None, datetime.time(1)], "dates", [60, np.nan, 3600], "m"),
    "span": ([datetime.timedelta(1), None, datetime.timedelta(0, 2)], "dates", [86400, np.nan, 2], "m"),
}
BACKENDS = {
    "pandas": lambda c: pd.DataFrame(c),
    "pandas with Arrow": lambda c: pa.table(c).to_pandas(types_mapper=pd.ArrowDtype),
    "polars": lambda c: pl.DataFrame(c, strict=False),
    "pyarrow": pa.table,
    "dict": dict,
}


@for_each("make", BACKENDS.values(), ids=BACKENDS)
@for_each("what", VALUES)
def test_a_column_is_the_same_wherever_it_lies(what, make):
    given, kind, values, stored = VALUES[what]
    (column,) = columns(make({"c": given}), "X")
    assert column.name == "c" and column.kind == kind
    if kind == "texts":
        assert column.values.tolist() == values
    else:
        assert np.array_equal(column.values, values, equal_nan=True)
    if not (make is BACKENDS["pandas"] and what == "whole"):  # pandas has made floats of them
        assert column.dtype.kind == stored


@pytest.mark.parametrize("unit", ["D", "s", "ns"])
def test_dates_of_numpy(unit):
    moments = np.array(["1970-01-02", "NaT"], f"M8[{unit}]")
    (column,) = columns({"t": moments}, "X")
    assert np.array_equal(column.values, [1, np.nan], equal_nan=True)


def test_a_day_is_the_same_number_whether_it_has_a_time_or_not():
    days = [datetime.date(2020, 1, 1), datetime.date(2021, 7, 9)]
    moments = [datetime.datetime(day.year, day.month, day.day) for day in days]
    frames = [
        pl.DataFrame({"t": days}), pl.DataFrame({"t": days}).to_pandas(), pl.DataFrame({"t": moments}),
        pd.DataFrame({"t": pd.to_datetime(days).tz_localize("UTC")}), pd.DataFrame({"t": days}), pa.table({"t": days}),
        {"t": days}, {"t": moments}, {"t": np.array(days, "M8[D]")}, {"t": np.array(days, "M8[ns]")},
    ]  # fmt: skip
    for frame in frames:
        (column,) = columns(frame, "X")
        assert column.kind == "dates" and column.values.tolist() == [18262, 18817]


def test_categories_and_columns_without_any_value():
    frame = pd.DataFrame({"c": pd.Categorical(["x", None]), "n": [None, None]})
    category, nothing = columns(frame, "X")
    assert category.kind == "texts" and category.values.tolist() == ["x", None]
    assert nothing.values.tolist() == [None, None]
    (nothing,) = columns(pl.DataFrame({"n": [None, None]}), "X")
    assert nothing.kind == "numbers" and np.isnan(nothing.values).all()


@pytest.mark.parametrize("x", [np.ones(3), [1, 2], 3, "text", None, object(), cr.tensor([1.0])])
def test_what_is_no_table_is_left_alone(x):
    assert as_inputs(x, "X") == (x, None) if not isinstance(x, np.ndarray) else as_inputs(x, "X")[0] is x
    assert as_targets(x, "y") is x
    with pytest.raises(TypeError, match="X: expected a data frame"):
        columns(x, "X")


def test_arrays_import_nothing():
    code = (
        "import sys, numpy as np, chainrule as cr; from chainrule import nn; "
        "m = nn.Linear(2, 2); cr.fit(m, np.ones((3, 2)), np.zeros(3, int), epochs=1); cr.predict(m, [[1, 2]]); "
        "print([n for n in ('narwhals', 'pandas', 'polars', 'pyarrow', 'IPython', 'rich') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


# -- data sets ------------------------------------------------------------------------------------------------------


def mixed():
    m = 40
    rng = np.random.default_rng(0)
    return {
        "age": [None if i == 3 else float(v) for i, v in enumerate(rng.normal(size=m))],
        "city": [None if i == 4 else "abc"[i % 3] for i in range(m)],
        "seen": [datetime.date(2020, 1, 1 + i % 7) for i in range(m)],
        "member": [bool(i % 2) for i in range(m)],
        "kind": [None if i == 5 else "uv"[i % 2] for i in range(m)],
    }


@pytest.mark.parametrize("make", [v for k, v in BACKENDS.items()], ids=BACKENDS)
def test_a_frame_and_a_file_make_the_same_data_set(make, tmp_path):
    path = tmp_path / "mixed.parquet"
    pl.DataFrame(mixed()).write_parquet(path)
    read, made = cr.data.read(path, "kind"), Dataset.from_frame(make(mixed()), "kind")
    assert made.fingerprint() == read.fingerprint()
    assert (made.task, made.task_reason, made.notes) == (read.task, read.task_reason, read.notes)
    assert np.array_equal(made.rows, read.rows) and len(made) == 39 and made.target_name == "kind"
    by_file, by_frame = Preprocessor.fit(read), Preprocessor.fit(made)
    assert by_frame == dataclasses.replace(by_file, readings={})
    new = make({k: v for k, v in mixed().items() if k != "kind"})
    assert np.array_equal(by_frame.transform(new), by_file.transform(Dataset.from_frame(new)))
    assert by_frame.transform(new).shape == (40, len(by_frame.feature_names))


def test_a_mixed_frame_is_trained_on_through_a_preprocessor():
    train, test = Dataset.from_frame(pl.DataFrame(mixed()), "kind").split(0.25, seed=0)
    prepared = Preprocessor.fit(train)
    model = nn.Sequential(nn.Linear(len(prepared.feature_names), 8), nn.ReLU(), nn.Linear(8, 2))
    X, y = prepared.transform(train), prepared.transform_target(train)
    cr.fit(model, X, y, optimizer=cr.optim.Adam(0.01), epochs=100, progress=False)
    assert cr.evaluate(model, X, y)["accuracy"] == 1
    assert cr.evaluate(model, prepared.transform(test), prepared.transform_target(test))["accuracy"] > 0.6


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda f: Dataset.from_frame(f, "kid"), ValueError, "has no column 'kid'; it has .* Did you mean 'kind'"),
        (lambda f: Dataset.from_frame(f, exclude=["cty"]), ValueError, "has no column 'cty'.* Did you mean 'city'"),
        (
            lambda f: Dataset.from_frame(f, f["kind"]),
            TypeError,
            "target: .*Series",
        ),
        (lambda f: Dataset.from_frame(f[["kind"]], "kind"), ValueError, "'kind' is its only column"),
        (lambda f: Dataset.from_frame(f.assign(kind=None), "kind"), ValueError, "'kind' is missing in each of 40 rows"),
        (lambda f: Dataset.from_frame(f.iloc[:0], "kind"), ValueError, "the table has 4 columns and no rows"),
        (lambda f: Dataset.from_columns(f), TypeError, r"columns: .*DataFrame; .*Dataset.from_frame"),
        (lambda f: Dataset.from_frame(f.to_numpy(), "kind"), TypeError, "the frame: .*ndarray"),
        (
            lambda f: Preprocessor.fit(f),
            TypeError,
            "train: .*DataFrame; .*Dataset.from_frame",
        ),
    ],
)
def test_what_makes_no_data_set(call, kind, message):
    with pytest.raises(kind, match=message):
        call(pd.DataFrame(mixed()))


def test_what_a_preprocessor_does_not_need_may_be_of_any_type():
    prepared = Preprocessor.fit(Dataset.from_frame(pl.DataFrame(mixed()), "kind"))
    wanted, notes = prepared.transform_with_notes(pl.DataFrame(mixed()))
    more = pl.DataFrame({**mixed(), "list": [[1]] * 40})
    for frame in (more, more.lazy(), more.to_pandas(), {**mixed(), "list": [[1], [2, 3]] * 20}):
        found, said = prepared.transform_with_notes(frame)
        assert np.array_equal(found, wanted)
        assert said == ["ignored 1 column that the training split did not have: list", *notes]
    with pytest.raises(ValueError, match="lacks 4 columns of the training split: age"):
        prepared.transform({"other": [1, 2]})


def test_what_can_be_read_only_once():
    table = pa.table(mixed())
    made = Dataset.from_frame(table.to_reader(), "kind")
    assert made.fingerprint() == Dataset.from_frame(table, "kind").fingerprint()
    prepared = Preprocessor.fit(made)
    assert np.array_equal(prepared.transform(table.to_reader()), prepared.transform(table))


@pytest.mark.parametrize(
    ("names", "target"),
    [([0, 1, 2], np.int64(2)), ([0, 1, 2], 2), (pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)]), ("b", 1))],
)
def test_targets_are_named_as_pandas_does(names, target):
    frame = pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=names)
    made = Dataset.from_frame(frame, target)
    assert made.y.tolist() == [2, 5, 8, 11] and made.target_name == str(target) and len(made.feature_names) == 2


@pytest.mark.parametrize("values", [[3, 5, 3, 5], [3, 5, None, 5], [0.5, 1.5, 0.5, 1.5], [True, False, True, True]])
def test_labels_that_are_categories_of_numbers_stay_numbers(values):
    frame = pd.DataFrame({"a": [1.0, 2, 3, 4], "kind": pd.Categorical(values)})
    made = Dataset.from_frame(frame, "kind", task="multiclass" if None not in values else None)
    assert made.y.tolist() == [v for v in values if v is not None]
    assert columns(frame, "X")[1].kind == "texts"  # among the inputs they are categories


def test_columns_are_left_out_and_labels_keep_their_type():
    frame = pl.DataFrame({"a": [1.0, 2, 3, 4], "odd": [[1]] * 4, "t": [True, None, False, True]})
    made = Dataset.from_frame(frame, "t", exclude=["odd"], source="somewhere")
    assert made.feature_names == ("a",) and made.y.dtype == bool and made.source == "somewhere"
    assert Dataset.from_frame(frame, "t", exclude="odd").fingerprint() == made.fingerprint()
    assert Dataset.from_frame(pl.DataFrame({"a": [1, 2, 3], "t": [4, None, 7]}), "t").y.tolist() == [4, 7]
    assert made.rows.tolist() == [0, 2, 3]


def test_reports_name_the_columns(tmp_path, numbers):
    X, y = numbers
    frame = pd.DataFrame(X, columns=NAMES)
    model = network()
    flow = cr.GradientFlow(tmp_path, frame, y)
    history = cr.fit(model, frame, y, epochs=2, progress=False, callbacks=[flow])
    cr.reporting.store_run(tmp_path, model, history, frame[["weight", "height", "age"]], pd.Series(y))
    _, record = cr.io.load_arrays(next(tmp_path.glob("*.safetensors")))
    assert all(name in str(record) for name in NAMES)
