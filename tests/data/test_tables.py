"""CSV, TSV and Parquet: what is read, what is said, and every bad input's message."""

import gzip
import re
import subprocess
import sys
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import pytest

pl = pytest.importorskip("polars")

import chainrule  # noqa: E402
from chainrule.data import Preprocessor, read, read_features, read_table  # noqa: E402

CARS = """mpg,weight,origin,year
18.0,3504,usa,70
25.5,2130,japan,70
31.0,,europe,71
22.0,2833,?,71
"""


def write(folder, text, name="table.csv"):
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_columns_target_and_task(tmp_path):
    dataset = read(write(tmp_path, CARS), target="mpg")
    assert dataset.feature_names == ("weight", "origin", "year") and dataset.target_name == "mpg"
    np.testing.assert_array_equal(dataset.columns["weight"], [3504, 2130, np.nan, 2833])
    assert dataset.columns["origin"].tolist() == ["usa", "japan", "europe", None]
    assert dataset.columns["weight"].dtype == np.float64 and dataset.columns["origin"].dtype == object
    assert dataset.y.tolist() == [18.0, 25.5, 31.0, 22.0] and dataset.task == "regression"
    assert dataset.X is None and dataset.notes == () and dataset.source.endswith("table.csv")
    assert len(dataset) == 4


@pytest.mark.parametrize(
    ("target", "dtype", "task"),
    [("origin", "U", "multiclass"), ("year", "i", "binary"), ("mpg", "f", "regression")],
)
def test_target_types(tmp_path, target, dtype, task):
    extra = "30,1,usa,70\n31,1,usa,70\n32,1,japan,71\n"
    dataset = read(write(tmp_path, CARS + extra), target=target)
    assert dataset.y.dtype.kind == dtype and dataset.task == task


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("semicolon.csv", "a;b;c\n1;x;2.5\n2;y;3.5\n"),
        ("tab.csv", "a\tb\tc\n1\tx\t2.5\n2\ty\t3.5\n"),
        ("bar.csv", "a|b|c\n1|x|2.5\n2|y|3.5\n"),
        ("tab.tsv", "a\tb\tc\n1\tx\t2.5\n2\ty\t3.5\n"),
        ("commas.TSV", "a\tb\tc\n1\tx\t2.5\n2\ty\t3.5\n"),
        ("mark.csv", b"\xef\xbb\xbfa,b,c\n1,x,2.5\n2,y,3.5\n"),
        ("windows.csv", "a,b,c\r\n1,x,2.5\r\n2,y,3.5\r\n"),
        ("old-mac.csv", "a,b,c\r1,x,2.5\r2,y,3.5\r"),
        ("spaces.csv", "a , b, c\n1, x , 2.5\n 2,y ,3.5\n"),
        ("quotes.csv", '"a","b","c"\n1,"x",2.5\n"2","y",3.5\n'),
        ("comma in quotes.csv", '"a";"b";"c"\n1;x;2.5\n2;y;3.5'),
        ("blank lines.csv", "\n\na,b,c\n1,x,2.5\n2,y,3.5\n\n\n"),
        ("latin.csv", "a,b,c\n1,x,2.5\n2,y,3.5\n".encode("latin-1")),
        ("utf-16.csv", "a,b,c\r\n1,x,2.5\r\n2,y,3.5\r\n".encode("utf-16")),
        ("utf-16 without mark.csv", "a,b,c\n1,x,2.5\n2,y,3.5\n".encode("utf-16-be")),
        ("decimal commas.csv", "a;b;c\n1;x;2,5\n2;y;3,5\n"),
        ("packed.csv.gz", gzip.compress(b"a,b,c\n1,x,2.5\n2,y,3.5\n", mtime=0)),
        ("packed.tsv.gz", gzip.compress(b"a\tb\tc\n1\tx\t2.5\n2\ty\t3.5\n", mtime=0)),
    ],
)
def test_dialects(tmp_path, name, content):
    dataset = read(write(tmp_path, content, name), target="b")
    assert dataset.y.tolist() == ["x", "y"]
    assert dataset.feature_names == ("a", "c")
    assert dataset.columns["a"].tolist() == [1, 2] and dataset.columns["c"].tolist() == [2.5, 3.5]


@pytest.mark.parametrize("marker", ["", "?", "NA", "N/A", "n/a", "nan", "NaN", "null", "NULL", " ? ", '""'])
def test_missing_markers(tmp_path, marker):
    dataset = read(write(tmp_path, f"a,b,y\n1.5,u,0\n{marker},{marker},1\n2,v,0\n"))
    assert np.isnan(dataset.columns["a"]).tolist() == [False, True, False]
    assert dataset.columns["b"].tolist() == ["u", None, "v"]


def test_booleans_are_numbers_as_features_and_classes_as_target(tmp_path):
    path = write(tmp_path, "a,b\ntrue,False\nfalse,True\n,True\n")
    np.testing.assert_array_equal(read(path, "b").columns["a"], [1, 0, np.nan])
    assert read(path, "b").y.tolist() == [False, True, True] and read(path, "b").task == "binary"


@pytest.mark.parametrize("name", ["target", "label", "Class", "y", "Y"])
def test_usual_target_is_taken_and_said(tmp_path, name):
    dataset = read(write(tmp_path, f"a,{name}\n1,0\n2,1\n"))
    assert dataset.target_name == name
    assert dataset.notes == (f"used the column {name!r} as the target because of its name",)


def test_rows_without_target_are_left_out_and_said(tmp_path):
    path = write(tmp_path, "a,y\n1,0\n2,?\n3,1\n4,\nbad,1\n")
    dataset = read(path, "y")
    assert dataset.y.tolist() == [0, 1, 1] and dataset.y.dtype == np.int64
    assert dataset.rows.tolist() == [0, 2, 4]
    assert "left out 2 rows where the target 'y' is missing" in dataset.notes


def test_rows_without_any_value_are_left_out_and_said(tmp_path):
    dataset = read(write(tmp_path, "a,y\n1,0\n\n3,1\n,\n5,1\n"), "y")
    assert dataset.columns["a"].tolist() == [1, 3, 5] and dataset.rows.tolist() == [0, 2, 4]
    assert dataset.notes == ("left out 2 rows without any value",)


def test_row_numbers_in_the_first_column_are_left_out_and_said(tmp_path):
    dataset = read(write(tmp_path, ",a,y\n0,5,0\n1,6,1\n2,7,1\n"), "y")
    assert dataset.feature_names == ("a",)
    assert dataset.notes == ("left out the column without a name, which numbers the rows",)


def test_column_of_numbers_with_a_few_texts_is_said(tmp_path):
    dataset = read(write(tmp_path, "a,y\n1,0\n2,1\nx7,1\n4,0\n"), "y")
    assert dataset.columns["a"].tolist() == ["1", "2", "x7", "4"]
    said = "read the column 'a' as texts, since 1 row of 4 hold something other than numbers, the first is row 3: 'x7'"
    assert dataset.notes == (said,)


@pytest.mark.parametrize(("early", "late"), [("1", "2.5"), ("1", "x"), ("true", "2"), ("", "3"), ("", "x")])
def test_types_that_only_late_rows_tell(tmp_path, early, late):
    lines = ["a,y", *(f"{early},{i % 2}" for i in range(3000)), f"{late},1", f"{late},0"]
    column = read(write(tmp_path, "\n".join(lines)), "y").columns["a"]
    assert (column[-1] == late) if late == "x" or early == "true" else (column[-1] == float(late))
    assert (column.dtype == object) == (late == "x" or early == "true")


def test_file_without_header_is_noticed(tmp_path):
    path = write(tmp_path, "5.1,3.5,0\n4.9,3.0,1\n")
    dataset = read(path, "column_3")
    assert dataset.feature_names == ("column_1", "column_2") and len(dataset) == 2
    assert "the first row holds numbers" in dataset.notes[0]


def test_header_of_numbers_is_recognised(tmp_path):
    by_target = write(tmp_path, "2019,2020,kind\n1,2,red\n3,4,blue\n")
    assert read(by_target, "kind").feature_names == ("2019", "2020")
    by_next_row = write(tmp_path, "400,402,404,depth\n.1,.2,.3,7\n.2,.3,.4,8\n")
    assert read_features(by_next_row).feature_names == ("400", "402", "404", "depth")


def test_header_can_be_stated(tmp_path):
    years = write(tmp_path, "land,2019,2020\nred,2,0\nblue,4,1\n")
    assert read(years, "2020", header=True).feature_names == ("land", "2019")
    assert read_features(years).feature_names == ("column_1", "column_2", "column_3")
    assert read_features(years, header=True).feature_names == ("land", "2019", "2020")
    words = write(tmp_path, "red,big,0\nblue,big,1\n", "words.csv")
    assert read(words, "column_3", header=False).columns["column_1"].tolist() == ["red", "blue"]


def test_exclude(tmp_path):
    dataset = read(write(tmp_path, CARS), "mpg", exclude=["weight", "year"])
    assert dataset.feature_names == ("origin",)


def test_features_alone_keep_every_column_and_row(tmp_path):
    dataset = read_features(write(tmp_path, "a,y\n1,0\n2,?\n"))
    assert dataset.feature_names == ("a", "y") and len(dataset) == 2
    assert dataset.y is None and dataset.task is None


def test_parquet_types(tmp_path):
    path = tmp_path / "table.parquet"
    pl.DataFrame(
        {
            "int": [1, None],
            "float": [1.5, float("nan")],
            "bool": [True, None],
            "text": ["a", None],
            "category": pl.Series(["u", "v"], dtype=pl.Categorical),
            "decimal": [Decimal("1.25"), None],
            "day": [date(1970, 1, 3), None],
            "moment": [datetime(1970, 1, 1, 0, 0, 2, 500000), None],
            "clock": [time(0, 0, 3), None],
            "span": [timedelta(seconds=4), None],
            "nothing": [None, None],
            "big": pl.Series([2**100, None], dtype=pl.Int128),
            "y": [0, 1],
        }
    ).write_parquet(path)
    dataset = read(path, "y")
    numbers = {name: v.tolist() for name, v in dataset.columns.items() if v.dtype == np.float64}
    first = {name: values[0] for name, values in numbers.items() if name != "nothing"}
    assert first == {
        "int": 1,
        "float": 1.5,
        "bool": 1,
        "decimal": 1.25,
        "clock": 3,
        "span": 4,
        "big": 2.0**100,
    }
    assert all(np.isnan(values[1]) for values in numbers.values()) and np.isnan(numbers["nothing"][0])
    assert dataset.columns["text"].tolist() == ["a", None]
    assert dataset.columns["category"].tolist() == ["u", "v"]
    dates = {name: v.astype(str).tolist() for name, v in dataset.columns.items() if v.dtype == "M8[us]"}
    assert dates == {"day": ["1970-01-03T00:00:00.000000", "NaT"], "moment": ["1970-01-01T00:00:02.500000", "NaT"]}
    assert dataset.notes == ("turned times of day and durations into numbers of seconds: clock, span",)


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S.%fZ", "%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M %p"])
def test_dates_in_csv_are_those_of_parquet(tmp_path, form):
    moments = pl.datetime_range(datetime(2024, 1, 30), datetime(2024, 3, 3), "7h35m", eager=True).rename("day")
    table = pl.DataFrame([moments, pl.int_range(len(moments), eager=True).alias("y") % 7])
    table.write_parquet(tmp_path / "t.parquet")
    table.with_columns(moments.dt.strftime(form)).write_csv(tmp_path / "t.csv")
    text, stored = (read(tmp_path / name, "y") for name in ("t.csv", "t.parquet"))
    assert text.columns["day"].dtype == "M8[us]" and np.array_equal(text.columns["day"], stored.columns["day"])
    by_text, by_stored = Preprocessor.fit(text), Preprocessor.fit(stored)
    assert np.array_equal(by_text.transform(text), by_stored.transform(stored))
    assert by_text.input_names == ("day",)
    assert set(by_text.feature_names) >= {"day (elapsed days)", "day (month)", "day (hour)", "day (weekday)=Wed"}


def test_parquet_target_that_is_not_a_number_is_missing(tmp_path):
    path = tmp_path / "table.parquet"
    pl.DataFrame({"a": [1, 2, 3, 4], "y": [0.5, float("nan"), None, 1.5]}).write_parquet(path)
    dataset = read(path, "y")
    assert dataset.y.tolist() == [0.5, 1.5] and dataset.columns["a"].tolist() == [1, 4]


def test_parquet_with_lists_is_refused_until_excluded(tmp_path):
    path = tmp_path / "table.parquet"
    pl.DataFrame({"a": [1, 2], "path": [[1, 2], [3]], "y": [0, 1]}).write_parquet(path)
    with pytest.raises(ValueError, match=r"column 'path' of .* is of type List.*leave this column out"):
        read(path, "y")
    assert read(path, "y", exclude=["path"]).feature_names == ("a",)


def test_parquet_with_lists_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "table.parquet"
    pl.DataFrame({"a": [1, 2], "path": [{"x": 1}, {"x": 2}], "y": [0, 1]}).write_parquet(path)
    scan = pl.scan_parquet
    monkeypatch.setattr(pl, "scan_parquet", None)
    with pytest.raises(ValueError, match=r"column 'path' of .* is of type Struct"):
        read(path, "y")
    monkeypatch.setattr(pl, "scan_parquet", scan)
    assert read(path, "y", exclude=["path"]).feature_names == ("a",)


@pytest.mark.parametrize(
    ("content", "target", "message"),
    [
        (CARS, None, "target: expected the name of a column: the columns are mpg, weight, origin, year"),
        ("label,y,a\n1,2,3\n", None, "several are possible (label, y)"),
        (CARS, "mgp", "has no column 'mgp'; it has mpg, weight, origin, year. Did you mean 'mpg'?"),
        (CARS, "Origin", "Did you mean 'origin'?"),
        (CARS, "zzz", "has no column 'zzz'; it has mpg, weight, origin, year."),
        ("", "y", "the file is empty"),
        ("\n\n", "y", "the file is empty"),
        ("a,y\n", "y", "the table has the columns a, y but no rows"),
        ("a,y\n1,\n2,NA\n", "y", "the target 'y' is missing in each of 2 rows"),
        ("y\n1\n2\n", "y", "the target 'y' is its only column"),
        ("a,y\n1,5\n2,5\n", "y", "y holds one value only (5) in 2 rows"),
        ("a,b,a\n1,2,3\n", "b", "the header names 'a' more than once; rename the columns"),
        ("a, a\n1,2\n", "a", "the header names 'a' more than once"),
        ("a,b,y\n1,2,0\n1,2,3,4\n1,2,1\n", "y", "cannot be read as a table: row 2 has 4 fields, the first row 3"),
        ("a,b,y\n1,2,0\n3,4", "y", "its last row has 2 fields of 3; the file looks truncated"),
        ('a,y\n"text,0\nmore,1\n', "y", "cannot be read as a table"),
        (b"a,y\n\x81,0\n1,1\n", "y", "the file is neither UTF-8 nor cp1252 text"),
        (b"\xff\xfea\x00,\x00y\x00\n\x001\x00,\x002\x00\n", "y", "the file is neither UTF-8 nor utf-16 text"),
        (b"\x7fELF\x00\x00", "y", "holds zero bytes, so it is not text"),
    ],
)
def test_bad_tables(tmp_path, content, target, message):
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read(path, target)
    assert "table.csv" in str(caught.value) or "y holds" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"PAR1 and no more", "cannot be read as a table"),
        ("a.parquet", b"", "cannot be read as a table"),
        ("a.csv.gz", gzip.compress(b"a,y\n1,0\n2,1\n", mtime=0)[:-3], "gzip stream is damaged or truncated"),
        ("a.csv.gz", b"a,y\n1,0\n", "gzip stream is damaged"),
        ("a.xlsx", b"PK", "expected a table (.csv, .tsv, .parquet, .arrow), an .npz archive, a folder"),
        ("a", b"a,y\n", "unknown kind of file"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read(write(tmp_path, content, name), "y")


def test_truncated_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    pl.DataFrame({"a": range(1000), "y": [0, 1] * 500}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="cannot be read as a table"):
        read(path, "y")


def test_unknown_excluded_column(tmp_path):
    with pytest.raises(ValueError, match=r"has no column 'wieght'.*Did you mean 'weight'"):
        read(write(tmp_path, CARS), "mpg", exclude=["wieght"])


def test_nothing_there(tmp_path):
    write(tmp_path, CARS, "cars.csv")
    with pytest.raises(FileNotFoundError, match=r"no such file or folder\. Did you mean 'cars\.csv'"):
        read(tmp_path / "car.csv", "mpg")
    with pytest.raises(FileNotFoundError, match="Nor is there a folder"):
        read(tmp_path / "nowhere" / "car.csv", "mpg")


def test_last_row_inside_a_quoted_text_of_several_lines_is_not_cut_off(tmp_path):
    dataset = read(write(tmp_path, 'y,a\n0,"one\nline"\n1,"two\nlines"'), "y")
    assert dataset.columns["a"].tolist() == ["one\nline", "two\nlines"]


def test_without_polars_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match=re.escape("needs polars: pip install 'chainrule[tables]'")):
        read_table(write(tmp_path, CARS), "mpg")


def test_what_importing_the_package_does_not_load():
    parent = next(iter(chainrule.__path__))
    # A bare parent package stands in for the real one, so that only this package's own imports are seen.
    bare = "import sys, types; sys.modules['chainrule'] = p = types.ModuleType('p'); p.__path__ = sys.argv[1:]; "
    slow = ("polars", "hashlib", "difflib", "numpy.random", "chainrule.core.tensor")
    code = f"import chainrule.data; print([name for name in {slow} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", bare + code, parent], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
