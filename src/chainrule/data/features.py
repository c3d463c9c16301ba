"""From matrices and images to a network's input: fitted on the training split, applied to any later one.

`table_features` does the same for named columns. All arithmetic is in float64 and ends in float32.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset
from .record import Record
from .wording import Counted, counted, listed, rounded, row_in_file

Matrix = NDArray[np.float32]

# Rows that are converted to float64 at a time: 60,000 images are 47 MB as bytes and would be 376 MB at once.
BLOCK = 2048

# Treatment of NaN: an error, an error that names the option for imputing, or imputation.
Nan = Literal["refused", "imputable", "allowed"]


@dataclass(frozen=True)
class RawColumn:
    """A column of raw data, as a program of the preprocessing takes it: an array of shape (m, width).

    Attributes
    ----------
    name : str
    kind : {"numbers", "categories", "dates"}
        float64 with NaN for missing values; int64 positions among `labels`, -1 for unknown ones; or int64 microseconds
        since 1970.
    width : int
    labels : tuple of str
    missing : int
        The position of a missing category.
    """

    name: str
    kind: Literal["numbers", "categories", "dates"]
    width: int = 1
    labels: tuple[str, ...] = ()
    missing: int = -1


@dataclass(frozen=True)
class Scaling:
    """Standardisation of columns: ``(x - mean) / std``, after imputing missing values.

    Attributes
    ----------
    mean, std : tuple of float
        One per column, of the training split; std above 0.
    fill : tuple of float or None
        The value that replaces NaN, the training median; None when NaN is an error.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    fill: tuple[float, ...] | None

    def apply(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Standardise the rows of a matrix, an array or a tensor."""
        numbers = values.astype(np.float64)
        if self.fill is not None:
            numbers = np.where(np.isnan(numbers), np.asarray(self.fill), numbers)
        scaled: NDArray[np.float64] = (numbers - np.asarray(self.mean)) / np.asarray(self.std)
        return scaled

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types."""
        fill = None if self.fill is None else list(self.fill)
        return {"mean": list(self.mean), "std": list(self.std), "fill": fill}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], length: int) -> "Scaling":
        """The inverse of `to_dict`, for `length` columns; anything malformed is a `ValueError`."""
        record = Record(data, "scaling")
        mean, std = record.numbers("mean", length), record.scales("std", length)
        fill = None if record.is_null("fill") else record.numbers("fill", length)
        record.finish()
        return cls(mean, std, fill)


@dataclass(frozen=True)
class MatrixFeatures:
    """The columns of a matrix, each standardised; constant columns are dropped.

    Attributes
    ----------
    input_names : tuple of str
        The columns of a raw matrix, in order.
    kept : tuple of int
        The positions of those that are used.
    scaling : Scaling
        Of the kept columns.
    """

    kind = "matrix"
    input_names: tuple[str, ...]
    kept: tuple[int, ...]
    scaling: Scaling

    @classmethod
    def fit(cls, train: Dataset, impute: bool = False) -> "tuple[MatrixFeatures, list[str]]":
        """Compute means and deviations of the training split; also return sentences that describe it.

        Raises
        ------
        ValueError
            For values that are not finite (NaN is allowed with `impute`), and when no column varies.
        """
        X = _raw_matrix(train, train.feature_names, "allowed" if impute else "imputable")
        notes: list[str] = []
        low, high = np.fmin.reduce(X, axis=0), np.fmax.reduce(X, axis=0)
        varies = low < high
        names = np.array(train.feature_names, dtype=object)
        empty = np.isnan(low) if low.dtype.kind == "f" else np.zeros(len(low), dtype=bool)
        for dropped, what in ((~varies & ~empty, "constant column"), (empty, "column")):
            if dropped.any():
                without = " without any value" if what == "column" else ""
                notes.append(f"dropped {counted(int(dropped.sum()), what)}{without}: {listed(names[dropped])}")
        kept = np.flatnonzero(varies)
        if kept.size == 0:
            raise ValueError(f"no usable feature is left: {'; '.join(notes)}")
        fill = None
        if impute:
            X = X[:, kept].astype(np.float64)
            missing, median = np.isnan(X), np.nanmedian(X, axis=0)
            fill = tuple(median.tolist())
            notes += imputed(names[kept].tolist(), missing.sum(axis=0).tolist(), fill)
            X = np.where(missing, median, X)
            moments = _moments(X, slice(None))
        else:
            moments = _moments(X, kept)
        refuse_unscalable(names[kept].tolist(), *moments)
        notes.append(f"standardised {counted(kept.size, 'column')} to mean 0 and deviation 1 over the training split")
        scaling = Scaling(tuple(moments[0].tolist()), tuple(moments[1].tolist()), fill)
        return cls(train.feature_names, tuple(kept.tolist()), scaling), notes

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the network's inputs."""
        return tuple(self.input_names[i] for i in self.kept)

    def transform(self, dataset: Dataset) -> tuple[Matrix, list[str]]:
        """The network's input, and sentences about what was special in these rows."""
        X = _raw_matrix(dataset, self.input_names, "imputable" if self.scaling.fill is None else "allowed")
        out = np.empty((len(X), len(self.kept)), dtype=np.float32)
        kept = np.array(self.kept)
        missing = np.zeros(len(self.kept), dtype=np.intp)
        for block in _blocks(len(X)):
            rows = X[block][:, kept]
            if self.scaling.fill is not None:
                missing += np.isnan(rows).sum(axis=0)
            store(out, block, self.scaling.apply(rows), dataset)
        fill = self.scaling.fill or ()
        return out, imputed(self.feature_names, missing.tolist(), fill)

    def raw_columns(self) -> tuple[RawColumn, ...]:
        """What `program` takes: all columns at once."""
        return (RawColumn("X", "numbers", len(self.input_names)),)

    def program(self, columns: Mapping[str, Any]) -> Any:
        """The network's input, by NumPy functions that can be traced."""
        return self.scaling.apply(columns["X"][:, np.array(self.kept)]).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types."""
        return {
            "kind": self.kind,
            "input_names": list(self.input_names),
            "kept": list(self.kept),
            "scaling": self.scaling.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "MatrixFeatures":
        """The inverse of `to_dict`; anything malformed is a `ValueError`."""
        record = Record(data, "matrix features")
        record.choice("kind", (cls.kind,))
        names, kept = record.distinct_texts("input_names"), record.wholes("kept", 0)
        scaling = Scaling.from_dict(record.take("scaling"), len(kept))
        record.finish()
        record.require(bool(kept), "kept is empty")
        record.require(all(a < b for a, b in zip(kept, (*kept[1:], len(names)), strict=True)), "kept must ascend")
        return cls(names, kept, scaling)


@dataclass(frozen=True)
class ImageFeatures:
    """The pixels of images, all standardised with one mean and one deviation.

    One scale for all preserves the image: a pixel in the corner that is rarely inked stays faint instead of
    being amplified. Scaling by the greatest possible value first would change nothing after standardisation.

    Attributes
    ----------
    image_shape : tuple of int
        ``(height, width)`` or ``(height, width, channels)``.
    input_names : tuple of str
        The pixels of a raw row, in order.
    mean, std : float
        Over all pixels of the training split.
    low, high : float
        The range of the pixels of the training split.
    channels_first : bool
        Whether a network gets images ``(rows, channels, height, width)``, as convolutions take them, instead of rows.
    """

    kind = "image"
    image_shape: tuple[int, ...]
    input_names: tuple[str, ...]
    mean: float
    std: float
    low: float
    high: float
    channels_first: bool = False

    @classmethod
    def fit(cls, train: Dataset, channels_first: bool = False) -> "tuple[ImageFeatures, list[str]]":
        """Compute mean and deviation of the training split; also return sentences that describe it.

        Raises
        ------
        ValueError
            For values that are not finite, and when all pixels are equal.
        """
        assert train.image_shape is not None
        X = _raw_matrix(train, train.feature_names, "refused")
        low, high = float(X.min()), float(X.max())
        if low == high:
            raise ValueError(f"every pixel of the training images is {low:g}; expected different values")
        pixels = X.reshape(-1, 1)
        mean, std = _moments(pixels, slice(None), BLOCK * X.shape[1])
        refuse_unscalable(["the pixels"], mean, std)
        note = (
            f"standardised the pixels ({low:g} to {high:g}) with one mean ({mean[0]:.6g}) and one deviation "
            f"({std[0]:.6g}) over the training split"
        )
        scale = float(mean[0]), float(std[0]), low, high
        return cls(train.image_shape, train.feature_names, *scale, channels_first), [note]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the network's inputs: all pixels."""
        return self.input_names

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the network's input for one image."""
        if not self.channels_first:
            return (len(self.input_names),)
        height, width, *channels = self.image_shape
        return (*(channels or [1]), height, width)

    def transform(self, dataset: Dataset) -> tuple[Matrix, list[str]]:
        """The network's input, and sentences about what was special in these rows."""
        X = _raw_matrix(dataset, self.input_names, "refused")
        scaling = Scaling((self.mean,), (self.std,), None)
        out = np.empty(X.shape, dtype=np.float32)
        for block in _blocks(len(X)):
            store(out, block, scaling.apply(X[block]), dataset)
        if self.channels_first:
            channels = self.input_shape[0]
            out = np.ascontiguousarray(np.moveaxis(out.reshape(len(X), -1, channels), -1, 1))
            out = out.reshape(len(X), *self.input_shape)
        low, high, span = float(X.min()), float(X.max()), self.high - self.low
        if high - low < span / 20 or low < self.low - span or high > self.high + span:
            return out, [
                f"the pixels range from {low:g} to {high:g}, in training they ranged from {self.low:g} to "
                f"{self.high:g}: is the scale the same?"
            ]
        return out, []

    def raw_columns(self) -> tuple[RawColumn, ...]:
        """What `program` takes: the pixels of images as rows."""
        return (RawColumn("X", "numbers", len(self.input_names)),)

    def program(self, columns: Mapping[str, Any]) -> Any:
        """The network's input, by NumPy functions that can be traced."""
        pixels = ((columns["X"] - self.mean) / self.std).astype(np.float32)
        if not self.channels_first:
            return pixels
        channels, height, width = self.input_shape
        return np.transpose(np.reshape(pixels, (-1, height, width, channels)), (0, 3, 1, 2))

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types."""
        return {
            "kind": self.kind,
            "image_shape": list(self.image_shape),
            "input_names": list(self.input_names),
            "mean": self.mean,
            "std": self.std,
            "low": self.low,
            "high": self.high,
            "channels_first": self.channels_first,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ImageFeatures":
        """The inverse of `to_dict`; anything malformed is a `ValueError`."""
        record = Record(data, "image features")
        record.choice("kind", (cls.kind,))
        shape, names = record.wholes("image_shape", 1), record.distinct_texts("input_names")
        mean, std, low, high = (record.number(key) for key in ("mean", "std", "low", "high"))
        channels_first = record.flag("channels_first")
        record.finish()
        record.require(len(shape) in (2, 3), "image_shape must have 2 or 3 entries")
        record.require(int(np.prod(shape)) == len(names), "image_shape and input_names have different sizes")
        record.require(std > 0, "std must be above 0")
        record.require(low < high, "low must be below high")
        return cls(shape, names, mean, std, low, high, channels_first)


def _raw_matrix(dataset: Dataset, names: tuple[str, ...], nan: Nan) -> NDArray[Any]:
    """The raw numbers of these columns, finite."""
    if dataset.X is not None:
        X = dataset.X
        if X.shape[1] != len(names):
            raise ValueError(
                f"X has {counted(X.shape[1], 'column')}, the training split had {len(names)}: {listed(names, 4)}"
            )
    else:
        assert dataset.columns is not None
        X = _stacked(dataset.columns, names, dataset)
    _refuse_non_finite(X, names, dataset, nan)
    return X


def _stacked(columns: Mapping[str, NDArray[Any]], names: tuple[str, ...], dataset: Dataset) -> NDArray[Any]:
    lacking = [name for name in names if name not in columns]
    if lacking:
        raise ValueError(
            f"{dataset.source}: lacks {counted(len(lacking), 'column')} of the training split: {listed(lacking)}"
        )
    texts = [name for name in names if columns[name].dtype == object]
    if texts:
        raise ValueError(f"{dataset.source}: the column {texts[0]!r} holds texts, expected numbers as in training")
    return np.column_stack([columns[name] for name in names])


def _refuse_non_finite(X: NDArray[Any], names: tuple[str, ...], dataset: Dataset, nan: Nan) -> None:
    if X.dtype.kind != "f":
        return
    # One sum tells whether any value is NaN or infinite, without an array of booleans as large as X.
    with np.errstate(invalid="ignore", over="ignore"):
        if np.isfinite(X.sum()):
            return
    bad = np.isinf(X) if nan == "allowed" else ~np.isfinite(X)
    if not bad.any():
        return
    i, j = (int(k) for k in np.argwhere(bad)[0])
    number, missing = int(bad.sum()), int(np.isnan(X[bad]).sum())
    can_fill = missing and nan == "imputable"
    by_medians = ", or fit with impute=True to fill NaN with medians" if can_fill else ""
    raise ValueError(
        f"X holds {counted(number, 'value')} not finite ({missing} NaN, {number - missing} "
        f"infinite), the first in row {row_in_file(dataset.rows, i)}, column {j + 1} ({names[j]}): "
        f"leave those rows out{by_medians}"
    )


def _blocks(rows: int, size: int = BLOCK) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, rows, size))


def _moments(X: NDArray[Any], kept: Any, size: int = BLOCK) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of columns, in two passes over blocks of rows."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean = sum(X[block].sum(axis=0, dtype=np.float64) for block in _blocks(len(X), size))[kept] / len(X)
        squares = sum(((X[block][:, kept] - mean) ** 2).sum(axis=0) for block in _blocks(len(X), size))
        return mean, np.sqrt(squares / len(X))


def refuse_unscalable(names: list[str], mean: NDArray[np.float64], std: NDArray[np.float64]) -> None:
    """Refuse columns whose deviation float64 cannot represent: its square overflows or underflows."""
    bad = np.flatnonzero(~(np.isfinite(mean) & np.isfinite(std) & (std > 0)))
    if bad.size:
        raise ValueError(
            f"{names[bad[0]]}: values too large or too close together to standardise (mean "
            f"{mean[bad[0]]:.3g}, deviation {std[bad[0]]:.3g}): change the unit, or leave the column out"
        )


def store(out: Matrix, block: slice, values: NDArray[np.float64], dataset: Dataset) -> None:
    """Round to float32 into `out`; values that float32 cannot represent raise an error."""
    with np.errstate(over="ignore"):
        out[block] = values
    if not np.isfinite(out[block].sum(dtype=np.float64)):
        row = int(np.flatnonzero(~np.isfinite(out[block]).all(axis=1))[0]) + (block.start or 0)
        raise ValueError(
            f"row {row_in_file(dataset.rows, row)} of {dataset.source} lies too far from the training split "
            f"for float32: correct it, or leave it out"
        )


def imputed(names: Any, missing: Any, fill: Any, limit: int = 10) -> list[str]:
    """Describe which columns had missing values imputed: one sentence each, beyond `limit` one for the rest."""
    filled = [(name, number, value) for name, number, value in zip(names, missing, fill, strict=False) if number]
    notes: list[str] = [Counted(_imputed, (name, value), number) for name, number, value in filled[:limit]]
    if filled[limit:]:
        rest = sum(number for _, number, _ in filled[limit:])
        notes.append(Counted(_imputed_others, (len(filled) - limit,), rest))
    return notes


def _imputed(name: str, value: float, number: int, _: Any) -> str:
    return f"imputed {counted(number, 'missing value')} of {name} with the training median {rounded(value)}"


def _imputed_others(columns: int, number: int, _: Any) -> str:
    others = counted(columns, "more column")
    return f"imputed {counted(number, 'missing value')} of {others} with their training medians"
