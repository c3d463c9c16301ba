"""The parts of dates that a network sees."""

import datetime

import numpy as np
import pytest

from chainrule.data import Dataset, Preprocessor
from chainrule.data.dates import PARTS, WEEKDAYS, Dates


def dates(*texts):
    return Dataset.from_columns({"t": np.array(texts, "M8[us]"), "x": np.arange(len(texts))})


def test_parts_are_those_of_the_calendar():
    rng = np.random.default_rng(0)
    moments = rng.integers(-3_000_000_000, 4_000_000_000, 300).astype("M8[s]").astype("M8[us]")
    found = {name: part(moments) for name, part in PARTS.items()}
    for i, moment in enumerate(moments.tolist()):
        day = moment.date()
        hour = (moment - datetime.datetime(moment.year, moment.month, moment.day)).total_seconds() / 3600
        assert found["elapsed days"][i] == pytest.approx(day.toordinal() - 719163 + hour / 24)
        assert found["month"][i] == day.month and found["day of month"][i] == day.day
        assert found["weekday"][i] == WEEKDAYS[day.weekday()] == f"{day:%a}"
        assert found["hour"][i] == pytest.approx(hour)
        season = 2 * np.pi * (day.timetuple().tm_yday - 1) / 365.25
        assert found["sine of season"][i] == pytest.approx(np.sin(season))
        assert found["cosine of season"][i] == pytest.approx(np.cos(season))


def test_only_parts_that_vary_are_used():
    assert Dates.fit(dates("2024-03-04", "2024-03-11")).parts["t"][:2] == ("elapsed days", "day of month")
    assert "hour" not in Dates.fit(dates("2024-03-04", "2025-01-01")).parts["t"]
    assert Dates.fit(dates("2024-03-04T05", "2024-03-04T06")).parts["t"] == (
        "elapsed days", "hour", "sine of hour", "cosine of hour",
    )  # fmt: skip
    assert Dates.fit(dates("2024-03-04", "2024-03-04")).parts["t"] == ("elapsed days",)
    months, years = dates("2024-03-01", "2024-05-01"), dates("2024-01-01", "2026-01-01")
    assert Dates.fit(months).parts["t"] == ("elapsed days", "month", "sine of season", "cosine of season")
    assert Dates.fit(years).parts["t"] == ("elapsed days",)


def test_missing_dates_are_missing_parts():
    rows = dates("2024-03-04", "NaT", "2024-07-05")
    columns = Dates.fit(rows).apply(rows).columns
    assert np.isnan(columns["t (month)"]).tolist() == [False, True, False]
    assert columns["t (weekday)"].tolist() == ["Mon", None, "Fri"]


def test_texts_in_place_of_dates_are_parsed_or_named():
    rows = dates("2024-03-04", "2024-07-05")
    fitted = Preprocessor.fit(Dataset.from_columns(rows.columns, [0, 1]))
    texts = Dataset.from_columns({"t": np.array(["2024-03-04", "2024-07-05"]), "x": [0, 1]})
    assert np.array_equal(fitted.transform(texts), fitted.transform(rows))
    wrong = Dataset.from_columns({"t": np.array(["2024-03-04", "soon"]), "x": [0, 1]})
    with pytest.raises(ValueError, match="the column 't' held dates in training; row 2 holds 'soon'"):
        fitted.transform(wrong)


def test_a_column_of_the_name_of_a_part_is_refused():
    rows = Dataset.from_columns({"t": np.array(["2024-03-04", "2024-07-05"], "M8[D]"), "t (month)": [1, 2]}, [0, 1])
    with pytest.raises(ValueError, match="has the name of a part of a date; rename it"):
        Preprocessor.fit(rows)
