"""A trained model, with what is needed to use it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import data, io, judging, nn
from ..core.op import Array
from ..train import evaluate, predict
from ..train.evaluation import Forward, measure
from .judged import Rule
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
    rule : Rule
        How its outputs become predictions.
    """

    model: nn.Module
    preprocessor: Any
    loss: str
    metadata: dict[str, Any]
    rule: Rule
    _forward: Forward = field(init=False, repr=False)  # planned once for all parts of a table

    def __post_init__(self) -> None:
        self._forward = Forward(self.model)

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
            stored = metadata.get("rule")
            rule = Rule() if stored is None else Rule.from_dict(stored, len(preprocessor.classes))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{file}: {error}") from None
        return cls(model, preprocessor, metadata["loss"], metadata, rule)

    @property
    def is_of_text(self) -> bool:
        """Whether the model continues texts."""
        return isinstance(self.preprocessor, data.Characters)

    def read(self, source: Any, target: str | None = None, max_bytes: int | None = None) -> Any:
        """Read data with targets, as the model was trained on."""
        if self.is_of_text:
            return data.read_text(source)
        return data.read(
            source, target, self.preprocessor.task, max_bytes=max_bytes, **self._form(self.preprocessor.readings)
        )

    def read_features(self, source: Any, max_bytes: int | None = None) -> data.Dataset:
        """Read data to predict for."""
        if self.is_of_text:
            raise ValueError(f"this model continues texts, and predicts nothing for {source}: use chainrule sample")
        return data.read_features(source, max_bytes=max_bytes, **self._form(self.preprocessor.input_readings))

    def predict_parts(
        self, source: Any, keep: Sequence[str] = (), max_bytes: int | None = None
    ) -> Iterator[tuple[dict[str, Any], Sequence[str]]]:
        """Read data and predict, part by part, so that a table may be larger than memory.

        Parameters
        ----------
        source, max_bytes
            As for `read_features`.
        keep : sequence of str
            Columns of a table to return beside the predictions, as they are in the file.

        Yields
        ------
        columns : dict
            Name -> values: the columns of `keep` or the files of images, then those of `predict`.
        notes : sequence of str
            Sentences on what was special in this part (`chainrule.data.wording.added_up`).
        """
        if data.is_table(source) and not self.is_of_text:
            readings = self.preprocessor.input_readings
            parts = data.read_parts(source, readings, keep=keep, max_bytes=max_bytes)
        else:
            if keep:
                raise ValueError(f"keep: is for the columns of tables, and {source} is not a table; leave it out")
            dataset = self.read_features(source, max_bytes)
            parts = iter([(dataset, {} if dataset.names is None else {"file": dataset.names.tolist()})])
        for dataset, kept in parts:
            _, notes = self.preprocessor.transform_with_notes(dataset)
            yield kept | self.predict(dataset), (*dataset.notes, *notes)

    def _form(self, readings: Any) -> dict[str, Any]:
        """What `data.read` needs to read data as in training: size and channels of images, readings of a table."""
        shape = self.preprocessor.image_shape
        if shape is not None:
            return {"size": shape[:2], "channels": 3 if shape[2:] == (3,) else 1}
        return {"readings": readings} if readings else {}

    def evaluate(self, dataset: data.Dataset | data.Text) -> dict[str, float]:
        """Return the loss and the metrics on raw rows with targets, or on a text."""
        if isinstance(dataset, data.Text):
            return evaluate(self.model, *arrays(self.preprocessor, dataset), loss=self.loss)
        output, target = self.outputs(dataset)
        said = self.rule.predictions(self.preprocessor, self.loss, output, target)
        return with_loss(output, target, self.loss, {} if said is None else judging.measure(said)[0])

    def judge(self, dataset: data.Dataset, split: str = "the data", seed: int = 0) -> judging.Judgement | None:
        """Return the metrics on raw rows with targets, with intervals and the baseline."""
        return self.rule.judge(self.preprocessor, self.loss, *self.outputs(dataset), split=split, seed=seed)

    def outputs(self, dataset: data.Dataset) -> tuple[Array, Array]:
        """Return the network's outputs, and the targets as the loss takes them."""
        X, y = arrays(self.preprocessor, dataset)
        return self._forward(X), y

    def held_out(self, dataset: Any) -> tuple[Any, str]:
        """Return the rows that the model was not trained on, as far as that is known, and a description of them."""
        if dataset.test is not None:
            return dataset.test, "its own test split"
        share: Any = self.metadata.get("test")
        seed: Any = self.metadata.get("seed")
        numbers = isinstance(share, float) and isinstance(seed, int)
        groups: Any = self.metadata.get("groups")
        if isinstance(groups, str) and groups in dataset.feature_names:
            dataset = dataset.grouped_by(groups)
        if numbers and dataset.fingerprint() == self.metadata.get("fingerprint"):
            _, test = dataset.split(share, seed)
            return test, "the split held out in training (all rows: --all)"
        return dataset, "all rows"

    def predict(self, dataset: data.Dataset) -> dict[str, Array]:
        """Return column name -> values: the prediction and, for classes, the probability of each."""
        output = self._forward(self.preprocessor.transform(dataset))
        if self.preprocessor.task == "regression":
            values = np.asarray(nn.losses.activate(self.loss, output.astype(np.float64)))
            return {"prediction": self.preprocessor.inverse_target(values.astype(output.dtype))}
        scores, predicted, are_probabilities = self.rule.scored(output, self.loss)
        labels = self.preprocessor.inverse_target(predicted)
        if not are_probabilities:
            return {"prediction": labels}
        columns = {f"probability {c}": scores[:, i] for i, c in enumerate(self.preprocessor.classes)}
        return {"prediction": labels, **columns}


def with_loss(output: Array, target: Array, loss: str, figures: dict[str, float]) -> dict[str, float]:
    """Return the loss that was trained with, before the metrics."""
    return measure(output, target, loss, {}) | figures
