"""A trained model, with what is needed to use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import data, io, nn
from ..core.op import Array
from ..train import evaluate, predict
from .preparing import arrays


@dataclass
class Trained:
    """A model file with what is needed to use it.

    Attributes
    ----------
    model : nn.Module
    preprocessor : data.Preprocessor or data.Characters
    loss : str
    metadata : dict
    """

    model: nn.Module
    preprocessor: Any
    loss: str
    metadata: dict[str, Any]

    @classmethod
    def load(cls, path: str | Path) -> Trained:
        """Read a model file that a run wrote, given as the file or its folder."""
        file = Path(path)
        if file.is_dir():
            file = file / "model.safetensors"
        model, metadata = io.load(file)
        absent = [k for k in ("loss", "preprocessing") if k not in metadata]
        if absent:
            raise ValueError(
                f"{file} holds a model without {' and '.join(absent)}: it was not written by a training run"
            )
        try:
            preprocessor = data.preprocessing(metadata["preprocessing"])
            if metadata["loss"] not in nn.losses.names(preprocessor.task):
                raise ValueError(f"loss {metadata['loss']!r} does not fit a {preprocessor.task} task")
            given, expected = predict(model, preprocessor.example()).shape, (1, *preprocessor.output_shape)
            if given != expected:
                raise ValueError(f"the network's output for one row has shape {given}, expected {expected}")
        except (ValueError, TypeError) as error:
            raise ValueError(f"{file}: {error}") from None
        return cls(model, preprocessor, metadata["loss"], metadata)

    @property
    def is_of_text(self) -> bool:
        """Whether the model continues texts."""
        return isinstance(self.preprocessor, data.Characters)

    def read(self, source: str, target: str | None = None, max_bytes: int | None = None) -> Any:
        """Read data with targets, as the model was trained on."""
        if self.is_of_text:
            return data.read_text(source)
        return data.read(
            source, target, self.preprocessor.task, max_bytes=max_bytes, **self._form(self.preprocessor.readings)
        )

    def read_features(self, source: str, max_bytes: int | None = None) -> data.Dataset:
        """Read data to predict for."""
        if self.is_of_text:
            raise ValueError(f"this model continues texts, and predicts nothing for {source}: use chainrule sample")
        return data.read_features(source, max_bytes=max_bytes, **self._form(self.preprocessor.input_readings))

    def _form(self, readings: Any) -> dict[str, Any]:
        """What `data.read` needs to read data as in training: size and channels of images, readings of a table."""
        shape = self.preprocessor.image_shape
        if shape is not None:
            return {"size": shape[:2], "channels": 3 if shape[2:] == (3,) else 1}
        return {"readings": readings} if readings else {}

    def evaluate(self, dataset: data.Dataset | data.Text) -> dict[str, float]:
        """Return the loss and the metrics on raw rows with targets, or on a text."""
        return measured(self.model, *arrays(self.preprocessor, dataset), self.loss, self.preprocessor)

    def held_out(self, dataset: Any) -> tuple[Any, str]:
        """Return the rows that the model was not trained on, as far as that is known, and a description of them."""
        if dataset.test is not None:
            return dataset.test, "its own test split"
        share: Any = self.metadata.get("test")
        seed: Any = self.metadata.get("seed")
        numbers = isinstance(share, float) and isinstance(seed, int)
        if numbers and dataset.fingerprint() == self.metadata.get("fingerprint"):
            _, test = dataset.split(share, seed)
            return test, "the split held out in training (all rows: --all)"
        return dataset, "all rows"

    def predict(self, dataset: data.Dataset) -> dict[str, Array]:
        """Return column name -> values: the prediction and, for classes, the probability of each."""
        output = predict(self.model, self.preprocessor.transform(dataset))
        shares = np.asarray(nn.losses.activate(self.loss, output.astype(np.float64)))
        if self.preprocessor.task == "regression":
            return {"prediction": self.preprocessor.inverse_target(shares.astype(output.dtype))}
        binary = self.preprocessor.task == "binary"
        labels = self.preprocessor.inverse_target((output[:, 0] > 0).astype(int) if binary else output.argmax(axis=1))
        if nn.losses.activation_of(self.loss) is None:  # scores, not probabilities
            return {"prediction": labels}
        if binary:
            shares = np.concatenate([1 - shares, shares], axis=1)
        columns = {f"probability {c}": shares[:, i] for i, c in enumerate(self.preprocessor.classes)}
        return {"prediction": labels, **columns}


def measured(model: nn.Module, X: Array, y: Array, loss: str, preprocessor: Any) -> dict[str, float]:
    """Return the loss and the metrics of a model, those of a regression in the target's own unit."""
    figures = evaluate(
        model, X, y, loss=loss, metrics=("r2", "rmse", "mae") if preprocessor.task == "regression" else None
    )
    for name in ("rmse", "mae"):  # in the target's own unit
        if name in figures:
            figures[name] *= preprocessor.target.std
    return figures
