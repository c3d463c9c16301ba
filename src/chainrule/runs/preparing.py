"""Data of a run: read, split and preprocessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import data
from ..core.op import Array
from .networks import NETWORKS


@dataclass
class Prepared:
    """Data read and preprocessed: a training and a test split, as they were read and as inputs of a network.

    Attributes
    ----------
    source : str
    preprocessor : data.Preprocessor or data.Characters
    train, test, validation : data.Dataset or data.Text
        Of a text, the end is both test and validation split.
    fingerprint : str
    notes : list of str
    suspects : list of str
        Sentences on columns that name rows, or determine the target alone.
    baselines : dict of str to float
        Of a text: what simple counts cost on the test split, in nats for each character.
    model : str
        The network that the data is prepared for.
    groups : str or None
        The column whose groups stay together.
    stored : data.ArrowRows or None
        All rows to train on, if they stay on disk; `train` and `test` are samples then.
    """

    source: str
    preprocessor: Any
    train: Any
    test: Any
    fingerprint: str
    notes: list[str] = field(default_factory=list)
    validation: Any = None
    baselines: dict[str, float] = field(default_factory=dict)
    suspects: list[str] = field(default_factory=list)
    model: str = "charlm"
    groups: str | None = None
    stored: data.ArrowRows | None = None

    def part(self, split: Any) -> tuple[Array, Array]:
        """Return X and y of a split."""
        return arrays(self.preprocessor, split)

    @property
    def is_of_text(self) -> bool:
        """Whether the data is a text."""
        return isinstance(self.preprocessor, data.Characters)

    @property
    def examples(self) -> int:
        """How many examples the training split has: rows, or windows of a text."""
        if self.stored is not None:
            return len(self.stored)
        return (len(self.train) - 1) // self.preprocessor.context if self.is_of_text else len(self.train)


def arrays(preprocessor: Any, split: Any) -> tuple[Array, Array]:
    """Return X and y of raw data, y as the task's loss takes it: ids, or a column like a network's one output."""
    y = preprocessor.transform_target(split)
    return preprocessor.transform(split), y[:, None].astype(np.float32) if preprocessor.task == "binary" else y


def prepare(
    source: str | Sequence[str],
    target: str | None = None,
    task: str | None = None,
    *,
    model: str | None = None,
    test: float = 0.2,
    seed: int = 0,
    max_bytes: int | None = None,
    size: tuple[int, int] | None = None,
    exclude: Sequence[str] = (),
    groups: str | None = None,
) -> Prepared:
    """Read data, split it, and fit the preprocessing for a network on the training split.

    Without a model, it is the default for data of this kind. The rows of a group, by a column of a table, which the
    network does not see, are in the same split.
    """
    if isinstance(source, str) and Path(source).suffix.lower() == ".txt" and Path(source).is_file():
        raise ValueError(f"model: {model or 'tabular'} is no network for texts, and {source} is one; use charlm")
    dataset = data.read(source, target, task, max_bytes=max_bytes, size=size, exclude=exclude)
    if size is not None and dataset.names is None:
        raise ValueError(f"size: only images in folders are resized, {source} holds none; leave it out")
    model = model or default_model(dataset)
    images = NETWORKS[model].takes == "images"
    if images and dataset.image_shape is None:
        raise ValueError(f"model: {model} is a network for images, and {source} holds none; use tabular")
    if groups is not None:
        dataset = dataset.grouped_by(groups)
    train, held = dataset.split(test, seed, called="test")
    preprocessor = data.Preprocessor.fit(
        train, impute=True, channels_first=images, robust=NETWORKS[model].takes == "table"
    )
    notes = [note for note in (*dataset.notes, dataset.task_reason, *preprocessor.notes) if note]
    if train.groups is not None and held.groups is not None:
        counts = len(set(train.groups.tolist())), len(set(held.groups.tolist()))
        notes.append(f"groups of {groups}: {counts[0]:,} to train, {counts[1]:,} to test")
    called = source if isinstance(source, str) else dataset.source
    return Prepared(
        called, preprocessor, train, held, dataset.fingerprint(), notes, dataset.validation,
        suspects=data.suspect_columns(train), model=model, groups=groups,
    )  # fmt: skip


def default_model(dataset: data.Dataset) -> str:
    """Return the name of the network for data of this kind."""
    return "tabular" if dataset.image_shape is None else "mlp"


def prepare_text(source: str, *, context: int, test: float = 0.1) -> Prepared:
    """Read a text, hold out its end, and collect the characters of its beginning."""
    text = data.read_text(source)
    train, held = text.split(test)
    letters = data.Characters.fit(train, context)
    letters.transform(held)  # raises if it is too short
    unknown = sorted(set(held.content) - set(letters.vocabulary))
    notes = [*letters.notes, *[f"only in the test split: {', '.join(unknown[:20])}" for _ in unknown[:1]]]
    baselines = data.count_losses(letters.encode(train.content), letters.encode(held.content), len(letters.vocabulary))
    return Prepared(str(source), letters, train, held, text.fingerprint(), notes, held, baselines)
