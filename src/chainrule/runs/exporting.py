"""A trained model as an ONNX model that takes raw columns: preprocessing, network, probabilities and classes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import nn, ops
from ..data import Preprocessor, preprocessing
from ..data.features import RawColumn
from ..io import load
from ..io.onnx import Input, export
from ..io.onnx_reading import require_onnx
from ..io.weights import texts_of
from .judged import Rule

if TYPE_CHECKING:
    from .trained import Trained

_DTYPES = {"numbers": np.float64, "categories": np.int64, "dates": np.int64}


class FromRaw(nn.Module):
    """A trained model as a function of raw columns: it returns what `Trained.predict` does, classes as positions."""

    def __init__(self, model: nn.Module, preprocessor: Any, loss: str, rule: Rule) -> None:
        super().__init__()
        self.model = model
        self.preprocessor, self.loss, self.rule = preprocessor, loss, rule
        self.columns: tuple[RawColumn, ...] = preprocessor.raw_columns()

    @property
    def dtype(self) -> None:
        """None: the columns are not rounded to the dtype of the network before they are scaled."""
        return

    def forward(self, *columns: Any) -> Any:
        """Return the values of a regression; or the classes and, if there are any, their probabilities."""
        named = {column.name: values for column, values in zip(self.columns, columns, strict=True)}
        output = self.model(self.preprocessor.program(named))
        if self.preprocessor.task != "regression":
            return self.rule.program(output, self.loss)
        values = nn.losses.activate(self.loss, output.astype(np.float64)).astype(output.dtype)
        target = self.preprocessor.target
        return np.reshape(values, -1).astype(np.float64) * target.std + target.mean


def export_with_preprocessing(trained: Trained, path: str | os.PathLike[str] | None = None) -> Any:
    """Return a trained model as an ONNX model of raw columns, and write it to `path` if given.

    Each column is an input of its name and of shape (rows, 1): float64 for numbers, NaN where they are missing; texts
    for categories, empty where they are missing; int64 microseconds since 1970 for dates, as NumPy's ``datetime64[us]``
    stores them. A matrix or images are one input ``X``, of shape (rows, features). The outputs are ``prediction``,
    and ``probabilities`` with a column for each class.
    """
    require_onnx()
    whole = FromRaw(trained.model, trained.preprocessor, trained.loss, trained.rule)
    inputs = [
        Input(column.name, (column.width,), np.dtype(_DTYPES[column.kind]), column.labels, column.missing)
        for column in whole.columns
    ]
    classes, names = trained.preprocessor.classes, ["prediction", "probabilities"]
    names = [_free(name, [column.name for column in whole.columns]) for name in names]
    if not classes or nn.losses.activation_of(trained.loss) is None:
        names = names[:1]
    labels = {names[0]: list(classes)} if classes else None
    return export(whole, inputs, names, texts_of(trained.metadata), path, labels)


class Probabilities(nn.Module):
    """The end of a classifier: turns logits into the probabilities that `Trained.predict` returns."""

    def __init__(self, loss: str, temperature: float) -> None:
        super().__init__()
        self.loss, self.temperature = loss, temperature

    def forward(self, logits: Any) -> Any:
        """Return the probabilities of all classes, or the one of the second of two classes."""
        return nn.losses.activate(self.loss, logits / self.temperature)


def with_probabilities(path: str | os.PathLike[str]) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network of a classifier's model file, ended by what makes its logits probabilities, and the metadata.

    The file, or its folder, need not hold the preprocessing of a run.
    """
    file = Path(path)
    model, metadata = load(file / "model.safetensors" if file.is_dir() else file)
    loss = metadata.get("loss")
    end = nn.losses.activation_of(loss) if isinstance(loss, str) else None
    if not (end is ops.softmax or end is ops.sigmoid):
        raise ValueError(f"{file} was trained with the loss {loss!r}: its outputs are not logits of probabilities")
    assert isinstance(loss, str)
    rule = Rule()
    if metadata.get("rule") is not None:
        rule = Rule.from_dict(metadata["rule"], len(preprocessing(metadata.get("preprocessing")).classes))
    return nn.Sequential(model, Probabilities(loss, rule.temperature)), metadata


def _free(name: str, taken: list[str]) -> str:
    return name if name not in taken else _free(f"{name}_", taken)


def has_raw_columns(path: str | os.PathLike[str]) -> bool:
    """Return whether a model file, or the folder of a run, holds the preprocessing of tables, matrices or images."""
    file = Path(path)
    _, metadata = load(file / "model.safetensors" if file.is_dir() else file)
    stored = metadata.get("preprocessing")
    return isinstance(stored, dict) and "loss" in metadata and isinstance(preprocessing(stored), Preprocessor)
