"""Tables that stay on disk: what is read is what was written, a sample is a fair one, and errors name the file."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import data
from chainrule.data import ArrowRows, Preprocessor

WRITTEN = ("parquet", "arrow")


def write(table: pa.Table, path: Path, rows: int) -> Path:
    """Write a table in pieces of so many rows."""
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=rows)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=rows)
    return path


def a_table(rows: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    size = rng.normal(size=rows)
    kind = rng.choice(list("abcde"), rows)
    day = np.datetime64("2020-01-01") + rng.integers(0, 700, rows).astype("timedelta64[D]")
    target = [
        None if hidden else ("yes" if x > 0 else "no") for x, hidden in zip(size, rng.random(rows) < 0.1, strict=True)
    ]
    columns: dict[str, Any] = {"size": pa.array(size, mask=rng.random(rows) < 0.1), "kind": kind, "day": day}
    return pa.table({**columns, "bought": target})


@pytest.mark.parametrize("suffix", WRITTEN)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.integers(1, 40), st.booleans())
def test_what_is_read_is_what_was_written(
    suffix: str, tmp_path_factory: pytest.TempPathFactory, counts: list[int], rows: int, grouped: bool
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    tables = []
    for i, count in enumerate(counts):
        rng = np.random.default_rng(i)
        target = pa.array(rng.normal(size=count).astype(np.float32), mask=rng.random(count) < 0.2)
        tables.append(pa.table({"a": rng.normal(size=count), "n": rng.integers(0, 9, count), "y": target}))
        write(tables[-1], folder / f"part-{i}.{suffix}", rows)
    whole = pa.concat_tables(tables)
    known = whole.filter(whole["y"].is_valid())
    if not known.num_rows:
        with pytest.raises(ValueError, match="no rows"):
            ArrowRows(folder, "y")
        return
    found = ArrowRows(folder if grouped else f"{folder}/part-*.{suffix}", "y")
    assert len(found) == known.num_rows
    X, y = (np.concatenate(part) for part in zip(*found, strict=True))
    np.testing.assert_array_equal(X, np.stack([known["a"].to_numpy(), known["n"].to_numpy()], axis=1))
    np.testing.assert_array_equal(y[:, 0], known["y"].to_numpy())
    assert bool(found.notes) == (known.num_rows < whole.num_rows)


@pytest.mark.parametrize("suffix", WRITTEN)
def test_prepared_rows_are_those_of_the_table_in_memory(suffix: str, tmp_path: Path) -> None:
    table = a_table(1000)
    file = write(table, tmp_path / f"rows.{suffix}", 130)
    rows = ArrowRows(file, "bought")
    whole = data.read(write(table, tmp_path / "whole.parquet", 1000), "bought")
    prepared = Preprocessor.fit(whole)
    assert rows.fit() == prepared
    X, y = (np.concatenate(part) for part in zip(*ArrowRows(file, "bought", transform=prepared), strict=True))
    np.testing.assert_array_equal(X, prepared.transform(whole))
    np.testing.assert_array_equal(y, prepared.transform_target(whole))
    model = cr.nn.Linear(X.shape[1], 1)
    unknown = ArrowRows(file, columns=rows.names, transform=prepared)
    assert len(cr.predict(model, unknown)) == table.num_rows


TEXTS = {
    "numbers": ["1", " 2 ", "30", "4", "5"],
    "decimal commas": ["1,5", "2,25", "1.000,5", "7", "8,0"],
    "missing": ["a", "", " NA", "b", None],
    "dates": ["2020-01-31", "2021-05-03", None, "2019-12-01", "2020-02-02"],
    "times": ["14:30", "9:05", "0:00", "23:59", "7:07"],
    "words": ["yes", "no", "no", "yes", "?"],
    "codes": ["01234", "04321", "99999", "00001", "12345"],
    "texts": [" a", "a", "b ", "c", "a b"],
}


@pytest.mark.parametrize("suffix", WRITTEN)
def test_texts_mean_what_they_mean_in_a_table_in_memory(suffix: str, tmp_path: Path) -> None:
    count = 500
    rng = np.random.default_rng(1)
    kinds = [pa.string(), pa.large_string(), pa.string_view()]
    columns = {
        name: pa.array(
            [texts[k] for k in rng.integers(0, len(texts), count)], kinds[i % (3 if suffix == "parquet" else 2)]
        )
        for i, (name, texts) in enumerate(TEXTS.items())
    }
    table = pa.table({"id": np.arange(count), **columns, "": np.arange(count), "y": rng.choice(["no", "yes"], count)})
    rows = ArrowRows(write(table, tmp_path / f"rows.{suffix}", 60), "y")
    whole = data.read(write(table, tmp_path / "whole.parquet", count), "y")
    prepared = Preprocessor.fit(whole)
    assert rows.fit() == prepared
    assert {type(reading).__name__ for reading in prepared.readings.values()} >= {
        "Numbers",
        "Moments",
        "Clock",
        "LeftOut",
    }
    X, y = (np.concatenate(part) for part in zip(*rows.prepared_by(prepared), strict=True))
    np.testing.assert_array_equal(X, prepared.transform(whole))
    np.testing.assert_array_equal(y, prepared.transform_target(whole))
    rest, held = rows.split(0.01, seed=1)
    assert rest.fit().readings == prepared.readings, "all rows of the files decide"
    assert held.sample(readings=prepared.readings).feature_names == whole.feature_names


def test_texts_that_cannot_be_read_as_in_training_are_named(tmp_path: Path) -> None:
    good = pa.table({"n": [str(i) for i in range(40)], "y": np.arange(40.0)})
    prepared = ArrowRows(write(good, tmp_path / "good.parquet", 10), "y").fit()
    bad = pa.table({"n": [*map(str, range(30)), "many", *map(str, range(9))], "y": np.arange(40.0)})
    rows = ArrowRows(write(bad, tmp_path / "bad.parquet", 20), "y", transform=prepared)
    with pytest.raises(
        ValueError, match=r"bad\.parquet, row group 2: row 11 of the column 'n' holds 'many', expected a numb"
    ):
        list(rows)
    lacking = pa.table({"n": np.arange(3.0), "y": ["a", "NA", "b"]})
    with pytest.raises(ValueError, match="the target 'y' holds texts that stand for missing values"):
        ArrowRows(write(lacking, tmp_path / "lacking.parquet", 20), "y").fit()


def test_a_sample_that_is_too_small_for_the_texts_has_them_all(tmp_path: Path) -> None:
    table = pa.table({"kind": [f"t{i % 50}" for i in range(1000)], "y": np.arange(1000) % 2})
    sample = ArrowRows(write(table, tmp_path / "rows.parquet", 300), "y").sample(3)
    assert sample.columns is not None and sorted(sample.columns["kind"]) == sorted({f"t{i}" for i in range(50)})


def test_files_that_change_while_they_are_read_are_an_error(tmp_path: Path) -> None:
    file = write(a_table(100), tmp_path / "rows.parquet", 20)
    rows = ArrowRows(file, "bought")
    write(a_table(130), file, 20)
    with pytest.raises(ValueError, match=r"rows\.parquet was changed after its rows were counted"):
        rows.fit()
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"rows\.parquet"):
        rows.fit()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1.0], "y": [[1]]}, "the target 'y' is of type list<"),
        ({"y": [1.0]}, "the target 'y' is its only column"),
    ],
)
def test_columns_that_cannot_be_trained_on_are_named(columns: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        ArrowRows(write(pa.table(columns), tmp_path / "rows.parquet", 10), "y")
    twice = pa.Table.from_arrays([pa.array([1.0])] * 3, names=["a", "a", "y"])
    with pytest.raises(ValueError, match="several columns of the same name: 'a'"):
        ArrowRows(write(twice, tmp_path / "twice.parquet", 10), "y")


def test_a_sample_is_fair_and_has_every_text(tmp_path: Path) -> None:
    count = 30_000
    kinds = np.array(["often"] * count, dtype=object)
    kinds[[17, 12_345, 29_999]] = ["once", "twice", "twice"]
    kinds[20_000] = "last"
    table = pa.table({"place": np.arange(count), "kind": kinds, "y": np.arange(count) % 7})
    rows = ArrowRows(write(table, tmp_path / "rows.parquet", 1000), "y")
    sample = rows.sample(2000, seed=1)
    assert len(sample) == 2000
    assert sample.columns is not None
    assert set(sample.columns["kind"]) == {"often", "once", "twice", "last"}
    places = np.asarray(sample.columns["place"])
    assert (np.diff(places) > 0).all(), "in the order of the table"
    shares = np.histogram(places, bins=10, range=(0, count))[0] / 2000
    np.testing.assert_allclose(shares, 0.1, atol=0.03)
    np.testing.assert_array_equal(places, rows.sample(2000, seed=1).columns["place"])  # type: ignore[index]
    assert not np.array_equal(places, rows.sample(2000, seed=2).columns["place"])  # type: ignore[index]
    assert len(rows.sample(40_000)) == count


def test_parts_are_split_before_they_are_prepared(tmp_path: Path) -> None:
    table = a_table(2000)
    rows = ArrowRows(write(table, tmp_path / "rows.parquet", 300), "bought", columns=["size"])
    rest, test = rows.split(0.25, seed=1)
    train, held = rest.split(0.5, seed=1)
    parts = [part for part in (train, held, test) if isinstance(part, ArrowRows)]
    samples = [np.asarray(part.sample().columns["size"]) for part in parts]  # type: ignore[index]
    assert [len(s) for s in samples] == [len(part) for part in parts]
    found, known = np.concatenate(samples), np.asarray(rows.sample().columns["size"])  # type: ignore[index]
    np.testing.assert_array_equal(np.sort(found), np.sort(known))
    assert 0.2 < len(test) / len(rows) < 0.3
    prepared = parts[0].prepared_by(parts[0].fit())
    assert sum(len(X) for X, _ in prepared) == len(train)


def test_errors_name_the_file_and_what_is_expected(tmp_path: Path) -> None:
    table = a_table(50)
    file = write(table, tmp_path / "rows.parquet", 20)
    other = write(table.drop_columns(["kind"]), tmp_path / "other.parquet", 20)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(file.read_bytes()[:200])
    text = tmp_path / "rows.csv"
    text.write_text("a,b\n1,2\n")
    nan = write(pa.table({"a": [1.0, 2.0], "y": [1.0, np.nan]}), tmp_path / "nan.arrow", 2)
    for make, error, message in (
        (lambda: ArrowRows(tmp_path / "none-*.parquet"), FileNotFoundError, "no file found"),
        (lambda: ArrowRows([file, other]), ValueError, "other.parquet has other columns"),
        (lambda: ArrowRows(broken), ValueError, "broken.parquet: cannot be read as Parquet"),
        (lambda: ArrowRows(text), ValueError, "rows.csv: expected a file that ends in"),
        (lambda: ArrowRows(file, "bougt"), ValueError, "no column 'bougt'.*Did you mean 'bought'"),
        (lambda: ArrowRows(file, columns=["siz"]), ValueError, "no column 'siz'"),
        (lambda: list(ArrowRows(file, "bought")), ValueError, "column 'kind' holds string"),
        (lambda: list(ArrowRows(nan, "y")), ValueError, "nan.arrow: the target 'y' holds NaN"),
        (lambda: ArrowRows(file).sample(0), ValueError, "rows"),
    ):
        with pytest.raises(error, match=message):
            make()


TRAINED = """
import json, resource, sys
import chainrule as cr
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = cr.data.ArrowRows(sys.argv[1], "y", block_bytes=8 << 20)
model = cr.nn.Sequential(cr.nn.Linear(20, 8), cr.nn.ReLU(), cr.nn.Linear(8, 1))
history = cr.fit(model, rows, loss="mse", epochs=1, batch_size=4096, validation=0.1, progress=False)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"grown": (after - before) * 1024, "loss": history["loss"][-1]}))
"""


@pytest.mark.slow
def test_training_takes_memory_for_some_blocks_and_not_for_the_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    file, columns = tmp_path / "rows.parquet", [f"x{i}" for i in range(20)]
    schema = pa.schema([(name, pa.float32()) for name in [*columns, "y"]])
    with pq.ParquetWriter(file, schema, compression="none", use_dictionary=False) as writer:
        for _ in range(40):
            X = rng.normal(size=(100_000, 20)).astype(np.float32)
            writer.write_table(pa.table([*X.T, X.sum(axis=1)], schema=schema), row_group_size=50_000)
    done = subprocess.run([sys.executable, "-c", TRAINED, str(file)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["loss"] < 15
    assert file.stat().st_size > 320e6
    assert found["grown"] < 220e6
