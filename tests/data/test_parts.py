"""Tables read part by part: the same rows as at once, and several files as one table."""

import gzip

import numpy as np
import pytest

pl = pytest.importorskip("polars")

from chainrule.data import delimited, is_table, read, read_features, read_parts, tables  # noqa: E402
from chainrule.data.wording import added_up  # noqa: E402
from tests.tables import slow  # noqa: E402

ROWS = 300


@pytest.fixture
def table(tmp_path):
    """A table with blank rows, quoted texts with line feeds and separators in them, and a column of row numbers."""
    rng = np.random.default_rng(0)
    lines = ["row;size;day;note;y"]
    for i in range(ROWS):
        note = f'"a ""quoted""; text\n{i}"' if i % 7 == 0 else "plain"
        size = "" if i % 11 == 0 else f"{rng.normal():.3f}".replace(".", ",")
        lines.append(";;;;" if i == 150 else f"{i};{size};{i % 28 + 1:02}.03.2024;{note};{'yes' if i % 3 else 'no'}")
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def same(first, second):
    return first.dtype == second.dtype and np.array_equal(first, second, equal_nan=first.dtype != object)


FORMS = ("csv", "csv.gz", "utf-16", "parquet", "arrow", "feather")
#: Forms, and bytes or rows that are read at a time; the fewer, the longer it takes.
READ = [("csv", 1 << 23), ("csv.gz", 1 << 23), ("csv", 1000), ("utf-16", 1000), ("parquet", 200), ("arrow", 200)]
OTHERS = [(form, block) for block in (1 << 23, 200, 64) for form in FORMS if (form, block) not in READ]


@pytest.mark.parametrize(("form", "block"), [*READ, *(slow(*case) for case in OTHERS)])
def test_parts_are_the_rows_of_the_whole_table(table, form, block, monkeypatch):
    whole = read(table, "y")
    path = table
    if form == "csv.gz":
        path = table.with_suffix(".csv.gz")
        path.write_bytes(gzip.compress(table.read_bytes()))
    elif form == "utf-16":
        path.write_text(table.read_text(), encoding="utf-16")
    elif form != "csv":
        path = table.with_suffix(f".{form}")
        typed = pl.read_csv(table, separator=";", infer_schema=False)
        if form == "parquet":
            typed.write_parquet(path)
        else:
            typed.write_ipc(path, compression="zstd" if form == "feather" else "uncompressed")
    monkeypatch.setattr(delimited, "BLOCK", block)
    monkeypatch.setattr(tables, "ROWS", block)
    again = read(path, "y")
    assert again.columns.keys() == whole.columns.keys() == {"row", "size", "day", "note"} or form in (
        "parquet",
        "arrow",
        "feather",
    )
    assert all(same(again.columns[name], column) for name, column in whole.columns.items())
    parts = list(read_parts(path, again.readings, keep=["note", "row"]))
    assert (len(parts) > 1) == (block < 1 << 20 and form != "csv.gz")
    for name, column in whole.columns.items():
        assert same(np.concatenate([part.columns[name] for part, _ in parts]), column)
    assert np.concatenate([part.rows for part, _ in parts]).tolist() == whole.rows.tolist()
    kept = [value for _, given in parts for value in given["row"]]
    assert kept == [str(i) for i in range(ROWS) if i != 150]
    assert added_up(note for part, _ in parts for note in part.notes) == ["left out 1 row without any value"]


def test_several_files_are_one_table(tmp_path):
    for i, text in enumerate(["a,b,y\n1,x,0\n2,x,1\n", "b,y,a\nz,1,3\n", "y;a;b\n0;4;x\n"]):
        (tmp_path / f"part{i}.csv").write_text(text)
    paths = [tmp_path / f"part{i}.csv" for i in range(3)]
    for given in (paths, f"{tmp_path}/part*.csv"):
        dataset = read(given, "y")
        assert dataset.columns["a"].tolist() == [1, 2, 3, 4] and dataset.columns["b"].tolist() == ["x", "x", "z", "x"]
        assert dataset.y.tolist() == [0, 1, 1, 0]
        assert any(note.startswith("read 3 files as one table") for note in dataset.notes)
        assert len(read_features(given)) == 4
    paths[1].write_text("b,y\nz,1\n")
    with pytest.raises(
        ValueError, match=r"part1\.csv: expected the columns of .*part0\.csv, found a difference in 'a'"
    ):
        read(paths, "y")
    with pytest.raises(FileNotFoundError, match="no file matches"):
        read(f"{tmp_path}/other*.csv", "y")
    with pytest.raises(ValueError, match="of several files, each must be a table"):
        read([paths[0], "digits"], "y")
    assert is_table(paths) and not is_table("digits")


def test_a_cell_that_cannot_be_read_is_named_with_its_file_and_row(tmp_path):
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    first.write_text("a,y\n1.5,0\n2.5,1\n")
    second.write_text("a,y\n3.5,0\n\n1.2.3,1\n")
    readings = read(first, "y").readings
    with pytest.raises(
        ValueError, match=r"2\.csv: row 3 of the column 'a' holds '1\.2\.3', expected a number as in tr"
    ):
        read([first, second], "y", readings=readings)


def test_sentences_about_parts_are_added_up(tmp_path):
    from chainrule.data import Preprocessor

    path = tmp_path / "t.csv"
    path.write_text("a,c,y\n" + "".join(f"{i},{'uv'[i % 2]},{i % 2}\n" for i in range(20)))
    fitted = Preprocessor.fit(read(path, "y"))
    path.write_text("a,c\n" + "".join(f"{'' if i % 2 else i},{'uvwx'[i % 4]}\n" for i in range(20)))
    whole = read_features(path, readings=fitted.input_readings)
    _, once = fitted.transform_with_notes(whole)
    parts = [whole.take(range(start, start + 5)) for start in range(0, 20, 5)]
    assert added_up(note for part in parts for note in fitted.transform_with_notes(part)[1]) == once
    assert once == [
        "imputed 10 missing values of a with the training median 9.5",
        "10 rows hold a category of c that the training split did not have, encoded as zeros: w, x",
    ]


@pytest.mark.parametrize("block", [1 << 22, 40])
def test_rows_with_too_few_fields_are_said(tmp_path, block, monkeypatch):
    path = tmp_path / "t.csv"
    lines = ["a,y,b"] + [f"{i},{i % 2},{'' if i % 5 else i}" for i in range(50)]
    path.write_text("\n".join(lines) + "\n")
    assert not any("fewer fields" in note for note in read(path, "y").notes)
    lines[8], lines[31] = "7,1", '"30",0'
    path.write_text("\n".join([*lines[:20], "", " ", *lines[20:]]) + "\n")
    monkeypatch.setattr(delimited, "BLOCK", block)
    said = "2 rows have fewer fields than the first row, the first is row 8: what they lack was read as missing"
    dataset = read(path, "y")
    assert said in dataset.notes
    assert said in added_up(note for part, _ in read_parts(path, dataset.readings) for note in part.notes)
