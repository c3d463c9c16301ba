"""Tables that stay on disk: what is read is what was written, a sample is a fair one, and errors name the file."""

import errno
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
from chainrule.data import ArrowRows, Preprocessor, arrow, arrow_pieces, stored
from chainrule.data.arrow import _Sample
from chainrule.data.stored import _parts
from tests.tables import in_turn

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


@pytest.mark.parametrize("suffix", in_turn(WRITTEN))
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
        ({"a": [1.0], "y": [[1]]}, r"the target 'y' is of type list<.*expected numbers, booleans, texts or dates$"),
        ({"a": [[1.0]], "y": [1.0]}, r"rows.parquet: column 'a' is of type list<.*leave this column out$"),
        ({"a": [{"b": 1}], "y": [1.0]}, "column 'a' is of type struct<"),
        ({"a": [b"1"], "y": [1.0]}, "column 'a' is of type binary"),
        ({"y": [1.0]}, "the target 'y' is its only column"),
    ],
)
def test_columns_that_cannot_be_trained_on_are_named(columns: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        ArrowRows(write(pa.table(columns), tmp_path / "rows.parquet", 10), "y")
    nested = write(pa.table({"b": [1.0], "a": [[1.0]], "y": [1.0]}), tmp_path / "nested.parquet", 10)
    assert len(ArrowRows(nested, "y", columns=["b"])) == 1
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


@pytest.mark.parametrize("kind", ["long texts", "short texts", "numbers"])
def test_a_sample_takes_bounded_memory(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count, size = 6000, 300_000
    columns: dict[str, Any] = {"place": np.arange(count), "y": np.arange(count) // 1000}
    if kind == "numbers":
        columns |= {f"x{i}": np.arange(count) for i in range(30)}
    else:
        columns["note"] = [f"{i} " * (200 if kind == "long texts" else 1) for i in range(count)]
    rows = ArrowRows(write(pa.table(columns), tmp_path / "rows.parquet", 500), "y")
    monkeypatch.setattr(arrow, "SAMPLE_BYTES", size)
    drawn = _Sample(count, 0, "y")
    most = 0.0
    for piece in range(len(rows.pieces)):
        for batch in rows.tables(piece):
            drawn.add(batch)
            most = max(most, sum(held.nbytes for held in drawn._batches))
    assert most < 2 * size
    table = drawn.table()
    each = 32 * 8 if kind == "numbers" else table["note"].nbytes / table.num_rows + 64 + 16
    assert 0.9 * size < table.num_rows * each < 1.1 * size
    assert set(table["y"].to_pylist()) == set(range(6)), "each class"
    halves = np.histogram(table["place"].to_numpy(), bins=2, range=(0, count))[0] / table.num_rows
    np.testing.assert_allclose(halves, 0.5, atol=0.05 if kind == "numbers" else 0.35)


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


def of_all_kinds(rows: int) -> pa.Table:
    rng = np.random.default_rng(0)
    table = a_table(rows)
    more = {
        "label": pa.array(rng.choice(["a", "b", "c"], rows)).dictionary_encode(),
        "name": pa.array(np.char.mod("name %d", rng.integers(0, 10**6, rows)), mask=rng.random(rows) < 0.1),
        "number": rng.normal(size=rows).astype(np.float32),
        "id": pa.array(rng.integers(2**53, 2**60, rows)),
        "flag": pa.array(rng.random(rows) < 0.5, mask=rng.random(rows) < 0.1),
    }
    for name, column in more.items():
        table = table.append_column(name, [column])
    return table


@pytest.mark.parametrize("suffix", WRITTEN)
def test_columns_that_are_decoded_some_at_a_time_are_the_same(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = of_all_kinds(1000)
    rows = ArrowRows(write(table, tmp_path / f"rows.{suffix}", 400), "bought")
    whole = [batch for piece in range(3) for batch in rows.tables(piece)]
    read: list[list[str]] = []
    piece = arrow_pieces._RowGroup if suffix == "parquet" else arrow_pieces._RecordBatch

    def noted(self: Any, names: Any, batches: Any = piece.batches) -> Any:
        read.append(list(names))
        return batches(self, names)

    monkeypatch.setattr(piece, "batches", noted)
    for limit, groups in ((1 << 30, 1), (1, len(table.schema))):
        monkeypatch.setattr(arrow_pieces, "OPEN_BYTES", limit)
        read.clear()
        assert [batch for piece in range(3) for batch in rows.tables(piece)] == whole
        assert len(read) == 3 * groups, f"{groups} groups of columns"
    monkeypatch.setattr(stored, "PART_BYTES", 8000)
    parts = [batch for piece in range(3) for batch in rows.tables(piece)]
    assert len(parts) > 3 * len(whole)
    assert pa.Table.from_batches(parts).combine_chunks() == pa.Table.from_batches(whole).combine_chunks()


def test_columns_whose_parts_end_at_other_rows_are_put_together() -> None:
    a = pa.table({"a": np.arange(10)})
    b = pa.table({"b": -np.arange(10)})
    found = list(arrow_pieces._beside_each_other([iter(a.to_batches(4)), iter(b.to_batches(5))]))
    assert [batch.num_rows for batch in found] == [4, 1, 3, 2]
    assert pa.Table.from_batches(found).combine_chunks() == a.append_column("b", b["b"])


@contextmanager
def counted() -> Iterator[Any]:
    """Count the memory that pyarrow takes."""
    usual = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(pool)
    try:
        yield pool
    finally:
        pa.set_memory_pool(usual)


@pytest.mark.parametrize("kind", ["dictionaries", "large pages", "compressed", "arrow"])
def test_open_pieces_of_wide_tables_take_bounded_memory(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, columns, groups = 4_000, 12, 8
    rng = np.random.default_rng(0)
    table = pa.table({f"x{i}": rng.normal(size=rows * groups) for i in range(columns)})
    if kind == "arrow":
        file = write(table, tmp_path / "wide.arrow", rows)
    else:
        file, named = tmp_path / "wide.parquet", kind == "dictionaries"
        compression = "zstd" if kind == "compressed" else "none"
        pq.write_table(table, file, row_group_size=rows, use_dictionary=named, compression=compression)
    monkeypatch.setattr(arrow_pieces, "OPEN_BYTES", 60_000)
    monkeypatch.setattr(arrow_pieces, "BUFFER", 4096)
    monkeypatch.setattr(stored, "PART_BYTES", 50_000)
    with counted() as pool:
        visited = sum(len(X) for X, _ in _parts(ArrowRows(file), 0, 0, True))
    assert visited == rows * groups
    assert pool.max_memory() < rows * columns * 8 * groups / 4


def test_of_an_open_row_group_pages_are_in_memory_and_not_whole_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, columns = 60_000, 5
    rng = np.random.default_rng(0)
    table = pa.table({f"x{i}": rng.normal(size=rows) for i in range(columns)})
    file = tmp_path / "rows.parquet"
    pq.write_table(table, file, compression="none", use_dictionary=False, data_page_size=16384, write_batch_size=512)
    monkeypatch.setattr(stored, "PART_BYTES", 20_000)
    before, taken, visited = pa.total_allocated_bytes(), [], 0
    for X, _ in ArrowRows(file):
        visited += len(X)
        taken.append(pa.total_allocated_bytes() - before)
    assert visited == rows
    assert max(taken) < columns * 2 * (arrow_pieces.BUFFER + 16384) < rows * columns * 8 / 2


def test_the_temporary_file_is_beside_the_data_or_in_tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = of_all_kinds(100)
    rows = ArrowRows(write(table, tmp_path / "rows.parquet", 50), "bought")
    monkeypatch.setattr(arrow_pieces, "OPEN_BYTES", 1)
    folders: list[Any] = []

    def refuse(dir: Any = None) -> Any:
        folders.append(dir)
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.delenv("TMPDIR", raising=False)
    for _ in range(2):
        with pytest.raises(OSError, match=r"no space for the temporary file of a row group of .*rows\.parquet.*TMPDIR"):
            list(rows.tables(0))
        monkeypatch.setenv("TMPDIR", "/elsewhere")
    assert folders == [tmp_path, None, "/elsewhere", None]


def test_a_damaged_row_group_is_named(tmp_path: Path) -> None:
    file = write(a_table(20_000), tmp_path / "rows.parquet", 10_000)
    place = pq.ParquetFile(file).metadata.row_group(1).column(0).data_page_offset
    content = bytearray(file.read_bytes())
    content[place : place + 40] = b"\xff" * 40
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"rows\.parquet: row group 2 cannot be read"):
        ArrowRows(file, "bought").fit()


TRAINED = """
import json, resource, sys
import chainrule as cr
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = cr.data.ArrowRows(sys.argv[1], "y", block_bytes=8 << 20)
model = cr.nn.Sequential(cr.nn.Linear(len(rows.names), 8), cr.nn.ReLU(), cr.nn.Linear(8, 1))
history = cr.fit(model, rows, loss="mse", epochs=1, batch_size=512, validation=0.1, progress=False)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"grown": (after - before) * 1024, "loss": history["loss"][-1]}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "groups", "options"), [
    (20, 400, {"compression": "none", "use_dictionary": False}),
    (300, 12, {}),
])  # fmt: skip
def test_training_takes_memory_for_some_blocks_and_not_for_the_table(
    columns: int, groups: int, options: Any, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    file, names = tmp_path / "rows.parquet", [f"x{i}" for i in range(columns)]
    schema = pa.schema([(name, pa.float32()) for name in [*names, "y"]])
    X = rng.normal(size=(10_000, columns)).astype(np.float32)
    with pq.ParquetWriter(file, schema, **options) as writer:
        for _ in range(groups):
            writer.write_table(pa.table([*X.T, X[:, :20].sum(axis=1)], schema=schema))
    done = subprocess.run([sys.executable, "-c", TRAINED, str(file)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["loss"] < 20
    assert file.stat().st_size > 150e6
    assert found["grown"] < 180e6
