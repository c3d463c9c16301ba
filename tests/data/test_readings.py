"""Random tables, written in many ways, are read back to the values that they were written from."""

import csv
import datetime
import gzip
import io
import json

import numpy as np
import pytest

pytest.importorskip("polars")

from chainrule.data import Dataset, Preprocessor, read, read_features
from chainrule.data.readings import (
    FORMS,
    Booleans,
    Clock,
    LeftOut,
    Moments,
    Numbers,
    Texts,
    reading_from,
)

ROWS = 40
MISSING = ["", "?", "NA", "n/a", "-", "null", "NaN", "#N/A", "."]
DAYS = {
    "%Y-%m-%d": 0, "%Y/%m/%d": 0, "%Y.%m.%d": 0, "%d.%m.%Y": 0, "%m/%d/%Y": 0, "%d/%m/%Y": 0, "%d-%m-%Y": 0,
    "%d.%m.%y": 0, "%d %b %Y": 0, "%B %d, %Y": 0, "%d-%b-%y": 0, "%a, %d %b %Y": 0, "%Y%m%d": 0,
    "%Y-%m-%d %H:%M": 60, "%Y-%m-%dT%H:%M:%S": 1, "%Y-%m-%dT%H:%M:%S.%fZ": 1e-6, "%Y-%m-%d %H:%M:%S+02:00": 1,
    "%d.%m.%Y %H:%M": 60, "%m/%d/%Y %I:%M %p": 60, "%b %d, %Y, %I:%M:%S %p": 1,
}  # fmt: skip
WORDS = [("no", "yes"), ("False", "True"), ("f", "t"), ("N", "Y"), ("off", "on"), ("nein", "ja")]
UNITS = [("", ""), ("$", ""), ("", " €"), ("", "%"), ("", " kg"), ("USD ", ""), ("", " km/h"), ("£", "")]


def number(value, places, decimal, thousands, unit):
    text = f"{abs(value):,.{places}f}".replace(",", "§").replace(".", decimal).replace("§", thousands)
    sign = "-" if value < 0 and float(f"{value:.{places}f}") else ""
    return sign + unit[0] + text + unit[1]


def numbers(rng, decimal, thousands):
    """Numbers of any size, some with and some without thousands; at least one tells the sign of the fraction."""
    places = int(rng.integers(1, 5))
    values = np.round(rng.normal(size=ROWS) * 10 ** rng.integers(0, 7, ROWS), places)
    values[0] = 0.5
    unit = UNITS[rng.integers(len(UNITS))]
    return values, [number(v, places, decimal, thousands, unit) for v in values]


def whole(rng, decimal, thousands):
    values = rng.integers(-(10**7), 10**7, ROWS).astype(float)
    values[:2] = 1_234_567, 2
    return values, [number(v, 0, decimal, thousands, ("", "")) for v in values]


def booleans(rng, *_):
    false, true = WORDS[rng.integers(len(WORDS))]
    values = rng.permutation(np.arange(ROWS) % 2)
    return values.astype(float), [true if v else false for v in values]


def dates(rng, *_):
    form = list(DAYS)[rng.integers(len(DAYS))]
    step = DAYS[form] * 1_000_000 or 86_400_000_000
    values = (rng.integers(10**14, 16 * 10**14, ROWS) // int(step) * int(step)).astype("M8[us]")
    values[0] = np.datetime64("1999-12-31")
    return values, [value.strftime(form) for value in values.tolist()]


def times(rng, *_):
    values = rng.integers(0, 86_400, ROWS)
    return values.astype(float), [f"{datetime.timedelta(seconds=int(v))}" for v in values]


def codes(rng, *_):
    texts = [f"{v:05}" for v in rng.integers(0, 99_999, ROWS)]
    texts[0] = "01234"
    return np.array(texts, object), texts


def texts(rng, *_):
    words = ["red", "blue, light", 'say "no"', "two\nlines", "none", "x; y", "ü|é", "a\tb"]
    chosen = [words[i] for i in rng.integers(len(words), size=ROWS)]
    return np.array(chosen, object), chosen


def written(rng, table, separator, encoding, folder):
    buffer = io.StringIO()
    quoting = [csv.QUOTE_MINIMAL, csv.QUOTE_ALL][rng.integers(2)]
    end = ["\n", "\r\n"][rng.integers(2)]
    writer = csv.writer(buffer, delimiter=separator, quoting=quoting, lineterminator=end)
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    packed = bool(rng.integers(2))
    content = buffer.getvalue().encode(encoding)
    path = folder / ("t.csv.gz" if packed else "t.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


@pytest.mark.parametrize("seed", range(25))
def test_a_table_is_read_back(seed, tmp_path):
    rng = np.random.default_rng(seed)
    decimal, thousands = [(".", ","), (",", "."), (",", " "), (".", "'"), (".", ""), (",", "")][rng.integers(6)]
    kinds = [numbers, whole, booleans, dates, times, codes, texts]
    values, table = {}, {}
    for i in range(int(rng.integers(2, 8))):
        name = f"c{i}"
        kind = kinds[rng.integers(len(kinds))]
        values[name], table[name] = kind(rng, decimal, thousands)
        for row in np.flatnonzero(rng.random(ROWS) < 0.15)[1:]:
            if row > 1:
                table[name][row] = MISSING[rng.integers(len(MISSING))]
                values[name][row] = {"O": None, "f": np.nan, "M": "NaT"}[values[name].dtype.kind]
    table["number"] = [str(i % 7) for i in range(ROWS)]
    encoding = ["utf-8", "utf-8-sig", "utf-16", "cp1252"][rng.integers(4)]
    path = written(rng, table, ",;\t|"[rng.integers(4)], encoding, tmp_path)
    dataset = read(path, "number")
    again = read_features(path, readings=dataset.readings)
    for name, expected in values.items():
        for column in (dataset.columns[name], again.columns[name]):
            assert column.dtype == expected.dtype, (table[name], dataset.readings[name], dataset.notes)
            same = np.array_equal(column, expected, equal_nan=True) if column.dtype != object else None
            assert same if same is not None else column.tolist() == expected.tolist(), (name, table[name])


# -- what is ambiguous ------------------------------------------------------------------------------------------------


def columns(tmp_path, text, target="y"):
    path = tmp_path / "t.csv"
    path.write_text(text)
    dataset = read(path, target)
    return dataset.columns, "; ".join(dataset.notes)


@pytest.mark.parametrize(
    ("text", "values", "said"),
    [
        ('a,y\n"1,234",0\n"2,500",1\n', [1234, 2500], "commas between thousands; its points and commas can be read"),
        ("a;y\n1,234;0\n2,500;1\n", [1.234, 2.5], "a decimal comma; its points and commas can be read the other way"),
        ("a;b;y\n1,234;0.5;0\n2,500;0.7;1\n", [1234, 2500], "commas between thousands; its points and commas"),
        ("a;y\n1.234;0\n2.500;1\n", [1.234, 2.5], ""),
        ("a;b;y\n1.234;0,5;0\n2.500;0,7;1\n", [1234, 2500], "points between thousands and a decimal comma; its points"),
        ("a,y\n1.234,0\n2.500,1\n", [1.234, 2.5], ""),
        ("a,y\n1.234,0\n0.500,1\n", [1.234, 0.5], ""),
        ("a;y\n0,234;0\n2,500;1\n", [0.234, 2.5], "with a decimal comma"),
        ('a,y\n"1,23,456",0\n"2,500",1\n', [123456, 2500], "commas between thousands"),
        ("a,y\n(12),0\n5,1\n", [-12, 5], ""),
        ("a,y\n−12,0\n5,1\n", [-12, 5], ""),
        ("a,y\n5 %,0\n12.5%,1\n", [5, 12.5], "without '%'"),
    ],
)
def test_points_and_commas(tmp_path, text, values, said):
    found, notes = columns(tmp_path, text)
    assert found["a"].tolist() == values and said in notes
    assert said or "'a'" not in notes or "(" in text or "−" in text


@pytest.mark.parametrize(
    ("text", "day", "said"),
    [
        ("a,y\n03/04/2024,0\n05/06/2024,1\n", "2024-03-04", "as month/day/year; the other way round is possible"),
        ("a;y\n03/04/2024;0\n05/06/2024;1\n", "2024-04-03", "as day/month/year; the other way round is possible"),
        ("a,b,y\n03/04/2024,13/01/2024,0\n05/06/2024,1/1/2024,1\n", "2024-04-03", "as day/month/year; the other way"),
        ("a,y\n03/04/2024,0\n13/06/2024,1\n", "2024-04-03", "as dates written day/month/year"),
        ("a,y\n03/04/2024,0\n05/16/2024,1\n", "2024-03-04", "as dates written month/day/year"),
    ],
)
def test_day_or_month_first(tmp_path, text, day, said):
    found, notes = columns(tmp_path, text)
    assert found["a"][0] == np.datetime64(day) and said in notes


def test_mixtures_stay_texts(tmp_path):
    for cells in (["1,5", "2.5"], ["2024-01-01", "next week"], ["yes", "no", "maybe"], ["$5", "€6"], ["3 kg", "4 g"]):
        text = "a;y\n" + "".join(f"{cell};{i % 2}\n" for i, cell in enumerate(cells * 3))
        assert columns(tmp_path, text)[0]["a"].tolist() == cells * 3


def test_odd_words_among_many_numbers_are_missing_and_said(tmp_path):
    cells = [f"{i}.5" for i in range(60)]
    cells[7] = cells[9] = "broken"
    found, notes = columns(tmp_path, "a,y\n" + "".join(f"{cell},{i % 2}\n" for i, cell in enumerate(cells)))
    assert np.isnan(found["a"]).nonzero()[0].tolist() == [7, 9]
    assert "read 'broken' in the column 'a' of numbers as missing: 2 rows of 60, the first is row 8" in notes
    cells = [str(i % 4) for i in range(60)]
    cells[7] = "other"
    found, notes = columns(tmp_path, "a,y\n" + "".join(f"{cell},{i % 2}\n" for i, cell in enumerate(cells)))
    assert found["a"].tolist() == cells and "read the column 'a' as texts, since 1 row of 60" in notes


def test_words_of_no_number(tmp_path):
    found, notes = columns(tmp_path, "a,b,y\n1,none,0\nunknown,red,1\n3,none,0\n")
    assert np.isnan(found["a"]).tolist() == [False, True, False] and found["b"].tolist() == ["none", "red", "none"]
    assert "read 'unknown' in the column 'a' as missing" in notes


def test_words_of_the_target_stay(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,y\n1,yes\n2,no\n3,yes\n")
    assert read(path, "y").y.tolist() == ["yes", "no", "yes"]


def test_readings_are_recorded_with_the_preprocessing(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a;d;z;y\n1,234;03/04/2024;01234;0\n0,5;05/06/2024;12345;1\n2,5;07/08/2024;12345;1\n")
    fitted = Preprocessor.fit(read(path, "y", exclude=["z"]))
    assert fitted.readings["a"] == Numbers(",") and fitted.readings["z"] == LeftOut()
    again = Preprocessor.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert again == fitted
    path.write_text("d,a\n01/02/2024,1\n")  # by itself, this would be month/day
    rows = read_features(path, readings=again.input_readings)
    assert rows.columns["d"][0] == np.datetime64("2024-02-01")


READINGS = [
    Texts(), LeftOut(), Numbers(), Numbers(",", ".", "", "€", ("broken",)), Booleans("no", "yes"), Clock(),
    *map(Moments, FORMS),
]  # fmt: skip


@pytest.mark.parametrize("reading", READINGS, ids=repr)
def test_records(reading):
    record = json.loads(json.dumps(reading.to_dict()))
    assert reading_from(record, "a") == reading
    for key in record:
        with pytest.raises(ValueError, match=r"^reading of a: "):
            reading_from({name: value for name, value in record.items() if name != key}, "a")
        with pytest.raises(ValueError, match=r"^reading of a: "):
            reading_from(record | {key: 5}, "a")
    with pytest.raises(ValueError, match="unknown keys"):
        reading_from(record | {"more": 5}, "a")


def test_a_frame_has_no_readings():
    assert Dataset.from_frame({"a": [1, 2], "y": [0, 1]}, "y").readings == {}
