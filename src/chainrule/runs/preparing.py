"""Data of a run: read, split and preprocessed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .. import data
from ..core.op import Array
from .networks import NETWORKS


@dataclass
class Prepared:
    """Data read and preprocessed: a training and a test split, as raw rows and as inputs of a network."""

    source: str
    preprocessor: data.Preprocessor
    train: data.Dataset
    test: data.Dataset
    fingerprint: str
    notes: list[str] = field(default_factory=list)
    validation: data.Dataset | None = None

    def part(self, dataset: data.Dataset) -> tuple[Array, Array]:
        """Return X and y of a split."""
        return arrays(self.preprocessor, dataset)


def arrays(preprocessor: data.Preprocessor, dataset: data.Dataset) -> tuple[Array, Array]:
    """Return X and y of raw rows, y as the task's loss takes it: ids, or a column like a network's one output."""
    y = preprocessor.transform_target(dataset)
    return preprocessor.transform(dataset), y[:, None].astype(np.float32) if preprocessor.task == "binary" else y


def prepare(
    source: str,
    target: str | None = None,
    task: str | None = None,
    *,
    model: str = "mlp",
    test: float = 0.2,
    seed: int = 0,
    max_bytes: int | None = None,
    size: tuple[int, int] | None = None,
) -> Prepared:
    """Read data, split it, and fit the preprocessing for a network on the training split."""
    dataset = data.read(source, target, task, max_bytes=max_bytes, size=size)
    if size is not None and dataset.names is None:
        raise ValueError(f"size: only images in folders are resized, {source} holds none; leave it out")
    images = NETWORKS[model].takes == "images"
    if images and dataset.image_shape is None:
        raise ValueError(f"model: {model} is a network for images, and {source} holds none; use mlp")
    train, held = dataset.split(test, seed)
    preprocessor = data.Preprocessor.fit(train, impute=True, channels_first=images)
    notes = [*dataset.notes, dataset.task_reason, *preprocessor.notes]
    notes = [note for note in notes if note]
    return Prepared(str(source), preprocessor, train, held, dataset.fingerprint(), notes, dataset.validation)
