"""chainrule train on Parquet and Arrow files that stay on disk."""

import json

import numpy as np
import pytest

from tests.data.test_arrow import write
from tests.tables import slow

from .conftest import QUICK

pa = pytest.importorskip("pyarrow")


def houses(rows=3000, seed=0):
    rng = np.random.default_rng(seed)
    size, kind = rng.normal(size=rows), rng.choice(["flat", "house"], rows)
    price = 3 * size + 2 * (kind == "house") + 0.1 * rng.normal(size=rows)
    return pa.table({"size": size, "kind": kind, "price": price, "dear": np.where(price > 1, "yes", "no")})


@pytest.mark.parametrize(
    ("model", "target", "exclude"),
    [
        ("tabular", "price", "dear"),
        ("mlp", "dear", "price"),
        slow("tabular", "dear", "price"),
        slow("mlp", "price", "dear"),
    ],
)
def test_a_network_trains_on_rows_on_disk(run, tmp_path, model, target, exclude):
    write(houses(), tmp_path / "houses.parquet", 500)
    options = ("--target", target, "--exclude", exclude, "--model", model, "--epochs", "4", "--hidden", "16")
    on_disk = run("train", "houses.parquet", *options, "--on-disk", "--validation", "0.2", "--out", "a")
    assert "stay on disk" in on_disk.output
    run("train", "houses.parquet", *options, "--in-memory", "--validation", "0.2", "--out", "b")
    records = [json.loads((tmp_path / name / "run.json").read_text()) for name in "ab"]
    figure = "rmse" if target == "price" else "accuracy"
    disk, memory = (found["metrics"]["test"][figure] for found in records)
    assert disk == pytest.approx(memory, rel=0.4, abs=0.1)
    assert 1700 < records[0]["examples"]["train"] < 2200
    assert all("waited" in json.loads(line) for line in (tmp_path / "a" / "history.jsonl").read_text().splitlines())
    run("predict", "a", "houses.parquet", "--out", "predicted.csv")
    assert len((tmp_path / "predicted.csv").read_text().splitlines()) == 3001


@pytest.mark.parametrize("suffix", ["parquet", slow("arrow")])
def test_a_network_is_evaluated_on_the_rows_that_were_held_out(run, tmp_path, suffix):
    texts = pa.array([f" {i % 40}" if i % 9 else "NA" for i in range(1000)])  # numbers
    table = houses(1000).append_column("age", texts)
    name = write(table, tmp_path / f"houses.{suffix}", 150).name
    run("train", name, "--target", "price", "--exclude", "dear", *QUICK, "--on-disk", "--out", "a")
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    tested = record["examples"]["test"]
    found = run("evaluate", "a", name)
    assert f"{tested} rows, the split held out in training" in found.output
    assert f"{record['metrics']['test']['rmse']:.4g}" in found.output
    assert "1,000 rows, all rows" in run("evaluate", "a", name, "--all").output
    other = write(houses(900, 1).append_column("age", texts[:900]), tmp_path / f"other.{suffix}", 150).name
    assert "900 rows, all rows" in run("evaluate", "a", other).output


def test_arrow_files_and_patterns_are_one_table(run, tmp_path):
    table = houses(900)
    for i in range(3):
        write(table.slice(300 * i, 300), tmp_path / f"part-{i}.arrow", 100)
    run("train", "part-*.arrow", "--target", "price", "--exclude", "dear", *QUICK, "--out", "a")
    assert json.loads((tmp_path / "a" / "run.json").read_text())["examples"]["test"] in range(120, 240)


@pytest.mark.parametrize("how", ["--on-disk", "--in-memory"])
def test_a_folder_of_files_is_one_table_for_each_command(run, tmp_path, how):
    table = houses(300)
    (tmp_path / "parts" / "2024").mkdir(parents=True)
    write(table.slice(0, 100), tmp_path / "parts" / "a.arrow", 50)
    write(table.slice(100, 100), tmp_path / "parts" / "b.feather", 50)
    write(table.slice(200, 100), tmp_path / "parts" / "2024" / "c.parquet", 50)
    (tmp_path / "parts" / "_SUCCESS").write_text("")
    (tmp_path / "parts" / "._c.parquet").write_text("no table")
    run("train", "parts", "--target", "price", "--exclude", "dear", *QUICK, how, "--out", "a")
    tested = json.loads((tmp_path / "a" / "run.json").read_text())["examples"]["test"]
    assert f"{tested} rows" in run("evaluate", "a", "parts").output
    for source, rows in (("parts", 300), ("parts/a.arrow", 100), ("parts/b.feather", 100)):
        run("predict", "a", source, "--out", "predicted.csv")
        assert len((tmp_path / "predicted.csv").read_text().splitlines()) == rows + 1


def test_columns_of_other_types_can_be_left_out(run, refused, tmp_path):
    table = houses(200).append_column("vector", pa.array([[1.0, 2.0]] * 200))
    write(table, tmp_path / "houses.parquet", 100)
    given = ("train", "houses.parquet", "--target", "price", *QUICK, "--on-disk")
    assert "houses.parquet: column 'vector' is of type list<" in refused(*given)
    run(*given, "--exclude", "vector,dear")


def test_the_report_is_that_of_a_sample(run, tmp_path):
    pytest.importorskip("plotly")
    write(houses(800), tmp_path / "houses.parquet", 200)
    run("train", "houses.parquet", "--target", "dear", "--exclude", "price", *QUICK, "--on-disk", "--report")
    assert (tmp_path / "runs" / "houses" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--target", "prize"), "no column 'prize'"),
        ((), "target: of data that stays on disk, give the column"),
        (("--target", "price", "--exclude", "colour"), "exclude: there is no column 'colour'"),
        (("--target", "dear", "--class-weight", "balanced"), "class_weight: rows that stay on disk"),
        (("--target", "price", "--model", "lenet"), "model: lenet is no network for tables"),
        (("--target", "price", "--size", "8x8"), "size: is for folders of images"),
    ],
)
def test_what_is_refused(refused, tmp_path, options, message):
    write(houses(100), tmp_path / "houses.parquet", 50)
    assert message in refused("train", "houses.parquet", "--on-disk", *options)


def test_other_files_do_not_stay_on_disk(refused, tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    assert "on_disk: expected files that end in" in refused("train", "rows.csv", "--target", "b", "--on-disk")
