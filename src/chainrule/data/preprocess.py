"""From raw rows to a network's inputs and targets and back; fitted once, on the training split."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .dataset import Dataset
from .dates import Dates
from .features import ImageFeatures, Matrix, MatrixFeatures, RawColumn
from .ngrams import Ngrams
from .readings import LeftOut, Reading, reading_from
from .record import Record
from .robust_features import RobustFeatures
from .table_features import TableFeatures, require_columns
from .task import Label, Target, Task
from .wording import counted, listed, rounded

#: The format that is written. Format 1 has no dates and no readings.
FORMAT = 2
KINDS = {kind.kind: kind for kind in (TableFeatures, RobustFeatures, MatrixFeatures, ImageFeatures)}
Features = TableFeatures | RobustFeatures | MatrixFeatures | ImageFeatures


@dataclass(frozen=True)
class Preprocessor:
    """Scales, categories, replacements of missing values, and classes, computed from the training split.

    It holds plain numbers and texts, so a model file can store it (`to_dict`), and it is all that is needed
    to prepare new raw files.

    Attributes
    ----------
    features : TableFeatures, RobustFeatures, MatrixFeatures or ImageFeatures
        The transformation of the inputs.
    target : Target
        The transformation of the target.
    notes : tuple of str
        Sentences on what was done.
    dates : Dates
        The columns of dates, and what replaces them before `features` are computed.
    readings : mapping of str to Reading
        Of a table from a file: what the texts of its columns mean.
    ngrams : Ngrams
        The columns of texts in words, replaced like dates.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import data
    >>> train = data.Dataset.from_columns({"size": [1.0, 3.0]}, ["a", "b"], target_name="kind")
    >>> prepared = data.Preprocessor.fit(train)
    >>> prepared.transform(train)
    array([[-1.],
           [ 1.]], dtype=float32)
    >>> prepared.transform_target(train), prepared.classes
    (array([0, 1]), ('a', 'b'))
    """

    features: Features
    target: Target
    notes: tuple[str, ...] = ()
    dates: Dates = field(default_factory=Dates)
    readings: Mapping[str, Reading] = field(default_factory=dict)
    ngrams: Ngrams = field(default_factory=Ngrams)

    @classmethod
    def fit(
        cls, train: Dataset, impute: bool = False, channels_first: bool = False, robust: bool = False
    ) -> "Preprocessor":
        """Fit the preprocessing to the training split.

        Columns of numbers are standardised, texts become one-hot categories, constant columns are dropped; of a date
        the network sees elapsed days, month, weekday, season and hour, as far as they vary; texts in words, different
        in most rows, are hashed to numbers, other such texts left out. In a table, missing numbers
        are replaced by the median, and missing texts are a separate category. Images are standardised with one mean
        and one deviation. A regression target is standardised.

        Parameters
        ----------
        train : Dataset
            The training split, with a target.
        impute : bool
            Whether NaN in a matrix `X` are replaced by the medians of their columns, instead of refused (in
            images they always are).
        channels_first : bool
            Whether images become ``(rows, channels, height, width)``, as convolutions take them, instead of rows.
        robust : bool
            Whether the columns are prepared for a network that embeds them, as `RobustFeatures` says.

        Raises
        ------
        ValueError
            Without a target; with one class or value only; for values that are infinite or (in a matrix)
            NaN; when no feature varies.
        """
        if not isinstance(train, Dataset):
            raise TypeError(
                f"train: expected a Dataset, got type {type(train).__name__}; use Dataset.from_frame(train, target=…) "
                "for a data frame, or Dataset.from_arrays(X, y) for arrays"
            )
        if train.y is None or train.task is None:
            raise ValueError(f"{train.source} has no target y; expected one")
        if channels_first and train.image_shape is None:
            raise ValueError(f"{train.source} holds no images: channels_first is for images")
        target = Target.fit(train.y, train.task, train.target_name)
        dates, ngrams = Dates.fit(train), Ngrams.fit(train)
        train = ngrams.apply(dates.apply(train))
        features: Features
        if robust:
            features, notes = RobustFeatures.fit(train)
        elif train.columns is not None:
            features, notes = TableFeatures.fit(train)
        elif train.image_shape is not None:
            features, notes = ImageFeatures.fit(train, channels_first)
        else:
            features, notes = MatrixFeatures.fit(train, impute)
        if target.task == "regression":
            notes.append(
                f"standardised the target {target.name or 'y'} (training mean {rounded(target.mean)}, deviation "
                f"{rounded(target.std)})"
            )
        else:
            notes.append(f"{counted(len(target.classes), 'class', 'classes')}: {listed(target.classes)}")
        return cls(features, target, (*dates.notes(), *ngrams.notes(), *notes), dates, train.readings, ngrams)

    def refit(self, train: Dataset) -> "Preprocessor":
        """Return one of the same kind and the same classes, fitted on other rows."""
        features = self.features
        fresh = Preprocessor.fit(
            train,
            impute=True,
            channels_first=isinstance(features, ImageFeatures) and features.channels_first,
            robust=isinstance(features, RobustFeatures),
        )
        return fresh if self.task == "regression" else replace(fresh, target=self.target)

    @property
    def task(self) -> Task:
        """``"binary"``, ``"multiclass"`` or ``"regression"``."""
        return self.target.task

    @property
    def classes(self) -> tuple[Label, ...]:
        """The label of each class id; empty for regression."""
        return self.target.classes

    @property
    def target_name(self) -> str | None:
        """The target's column or array in the raw data."""
        return self.target.name

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the network's inputs."""
        return self.features.feature_names

    @property
    def input_names(self) -> tuple[str, ...]:
        """The columns that raw data must have."""
        return tuple(dict.fromkeys(self.origin(name) for name in self.features.input_names))

    def origin(self, name: str) -> str:
        """Return the column of the raw data that a column of numbers or categories was made from, or its own name."""
        return self.dates.origin(self.ngrams.origin(name))

    @property
    def input_readings(self) -> dict[str, Reading]:
        """The readings of the columns that raw data must have; other columns are left out."""
        names = self.input_names
        return {name: reading if name in names else LeftOut() for name, reading in self.readings.items()}

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the network's input for one row of the data."""
        return self.features.input_shape if isinstance(self.features, ImageFeatures) else (len(self.feature_names),)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the network's output for one row: a number for each class, or one."""
        return (len(self.classes) if self.task == "multiclass" else 1,)

    def example(self, rows: int = 1, rng: "np.random.Generator | None" = None) -> Matrix:
        """Return an input of the network to see what it takes: normal numbers, or zeros."""
        if isinstance(self.features, RobustFeatures):
            return self.features.example(rows, rng)
        shape = (rows, *self.input_shape)
        return np.zeros(shape, np.float32) if rng is None else rng.normal(size=shape).astype(np.float32)

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """The shape of an input row when it is an image."""
        return self.features.image_shape if isinstance(self.features, ImageFeatures) else None

    def transform(self, dataset: Any) -> Matrix:
        """The network's input for these rows.

        Parameters
        ----------
        dataset : Dataset or data frame
            Raw rows: the training split, the test split, or a new file. It may have its columns in another
            order and further ones, and needs no target.

        Returns
        -------
        numpy.ndarray
            float32, ``(rows, *input_shape)``.

        Raises
        ------
        ValueError
            When a column is missing, holds text instead of numbers, or holds values that cannot be used.
        """
        return self.transform_with_notes(dataset)[0]

    def transform_with_notes(self, dataset: Any) -> tuple[Matrix, list[str]]:
        """As `transform`, with sentences on imputed values, unknown categories and ignored columns."""
        if not isinstance(self.features, TableFeatures | RobustFeatures):
            return self.features.transform(dataset if isinstance(dataset, Dataset) else Dataset.from_frame(dataset))
        if isinstance(dataset, Dataset):
            require_columns(self.input_names, dataset)
            return self.features.transform(self.ngrams.apply(self.dates.apply(dataset)), self.target.name)
        return self._transform_table(self.features, dataset)

    def _transform_table(self, features: TableFeatures | RobustFeatures, frame: Any) -> tuple[Matrix, list[str]]:
        """Read the columns that are needed; the others may be of any type."""
        from ..frames import by_name  # loads the tensors, which reading arrays does not need

        table = by_name(frame, "the frame")
        needed = {name: values for name, values in table.items() if name in self.input_names}
        rows = Dataset.from_frame(needed or table)
        require_columns(self.input_names, rows)
        matrix, notes = features.transform(self.ngrams.apply(self.dates.apply(rows)))
        replaced = {*self.dates.parts, *self.ngrams.columns}
        aside = features.aside((name for name in table if name not in replaced), self.target.name)
        return matrix, [*aside, *notes]

    def raw_columns(self) -> tuple[RawColumn, ...]:
        """What `program` takes.

        Raises
        ------
        ValueError
            For columns of texts that are hashed, which NumPy functions of arrays cannot do.
        """
        if self.ngrams.columns:
            raise ValueError(
                f"the texts of {listed(map(repr, self.ngrams.columns))} are hashed, which an exported model cannot do: "
                "train without them (--exclude)"
            )
        found = {column.name: column for column in self.features.raw_columns()}
        for name in self.input_names:
            if name in self.dates.parts:
                found[name] = RawColumn(name, "dates")
        return tuple(column for name, column in found.items() if name not in self.dates.derived)

    def program(self, columns: Mapping[str, Any]) -> Any:
        """The network's input as `transform` gives it, computed by NumPy functions of arrays or tensors.

        An export traces it. The columns are read already: numbers, positions of categories, and dates.

        Parameters
        ----------
        columns : mapping of str to array or tensor of shape (m, width)
            As `raw_columns` says.
        """
        categories = {column.name: column.labels for column in self.features.raw_columns() if column.labels}
        return self.features.program(self.dates.program(columns, categories))

    def transform_target(self, y: ArrayLike | Dataset) -> NDArray[Any]:
        """The target as numbers that a loss takes.

        Parameters
        ----------
        y : array_like or Dataset
            A raw target, or the dataset that holds it.

        Returns
        -------
        numpy.ndarray
            Classes: int64 ids ``(rows,)``. Regression: float32 ``(rows, 1)``, standardised.

        Raises
        ------
        ValueError
            For labels that the training split did not have, and for a dataset without a target.
        """
        if not isinstance(y, Dataset):
            return self.target.encode(y)
        if y.y is None:
            raise ValueError(f"{y.source} has no target")
        return self.target.encode(y.y, y.rows)

    def inverse_target(self, predicted: ArrayLike) -> NDArray[Any]:
        """Turn class ids ``(rows,)`` into labels, or a regression's outputs into the target's own unit."""
        return self.target.decode(predicted)

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types; `from_dict` gives back an equal object."""
        return {
            "format": FORMAT,
            "features": self.features.to_dict(),
            "target": self.target.to_dict(),
            "notes": list(self.notes),
            "dates": self.dates.to_dict(),
            "ngrams": self.ngrams.to_dict(),
            "columns": list(self.readings),
            "readings": [reading.to_dict() for reading in self.readings.values()],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Preprocessor":
        """Read what `to_dict` wrote.

        Raises
        ------
        ValueError
            For anything that `to_dict` does not write: missing or unknown keys, other types, wrong lengths,
            numbers that are not finite.
        """
        record = Record(data, "preprocessing")
        number = record.whole("format", 1)
        record.require(number <= FORMAT, f"unknown format {number}; this version reads formats 1 to {FORMAT}")
        features, target = record.take("features"), Target.from_dict(record.take("target"))
        notes = record.texts("notes")
        dates, ngrams, readings = Dates(), Ngrams(), dict[str, Reading]()
        if number > 1:
            dates, ngrams = Dates.from_dict(record.take("dates")), Ngrams.from_dict(record.take("ngrams"))
            readings = _readings(record)
        record.finish()
        kind = Record(features, "features").choice("kind", tuple(KINDS))
        return cls(KINDS[kind].from_dict(features), target, notes, dates, readings, ngrams)


def _readings(record: Record) -> dict[str, Reading]:
    columns, found = record.distinct_texts("columns"), record.take("readings")
    record.require(isinstance(found, list) and len(found) == len(columns), "readings: expected one for each column")
    return {name: reading_from(reading, name) for name, reading in zip(columns, found, strict=True)}
