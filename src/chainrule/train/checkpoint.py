"""Checkpoints: everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..io import load_arrays, save_arrays
from ..op import Array
from .step import TrainingStep

FORMAT = "chainrule-checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often to save a run.

    Attributes
    ----------
    path : str or path
        One safetensors file, replaced atomically each time.
    epochs : int or None
        Save after every so many epochs.
    steps : int or None
        Save after every so many steps, also in the middle of an epoch.
    """

    path: str | os.PathLike[str]
    epochs: int | None = 1
    steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"a checkpoint every {value} {name}; 1 or more would do, or None")
        folder = Path(self.path).parent
        if not folder.is_dir():
            raise FileNotFoundError(f"checkpoint: there is no folder {folder}")


@dataclass
class Progress:
    """How far a run has come: whole epochs, steps within the next, and that epoch's sums so far."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    sums: tuple[float, ...] = ()


def save_checkpoint(
    path: str | os.PathLike[str],
    training: TrainingStep,
    progress: Progress,
    rows: list[dict[str, Any]],
    callbacks: list[Any],
    settings: Mapping[str, Any],
) -> None:
    """Write a run's whole state, atomically."""
    arrays: dict[str, Array] = {}
    arrays |= {f"parameters/{k}": v for k, v in training.parameters.items()}
    arrays |= {f"buffers/{k}": v for k, v in training.buffers.items()}
    arrays |= {f"optimizer/{i}": v for i, v in enumerate(training.optimizer_state)}
    plain: list[dict[str, Any]] = []
    for i, callback in enumerate(callbacks):
        state = callback.state() if hasattr(callback, "state") else {}
        arrays |= {f"callbacks/{i}/{k}": v for k, v in state.items() if isinstance(v, np.ndarray)}
        plain.append({k: v for k, v in state.items() if not isinstance(v, np.ndarray)})
    metadata = {
        "format": FORMAT,
        "progress": [progress.epoch, progress.batch, progress.step, progress.seconds, list(progress.sums)],
        "history": rows,
        "callbacks": plain,
        "settings": dict(settings),
    }
    save_arrays(path, arrays, metadata)


def load_checkpoint(
    path: str | os.PathLike[str], training: TrainingStep, callbacks: list[Any], settings: Mapping[str, Any]
) -> tuple[Progress, list[dict[str, Any]]]:
    """Read a run's state into `training` and `callbacks`; return how far it came and its history.

    Raises
    ------
    ValueError
        If the file is no checkpoint, is damaged, or belongs to a run with other settings: these are named, and nothing
        is changed.
    """
    arrays, metadata = load_arrays(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is no checkpoint (its metadata has no format {FORMAT!r})")
    saved = metadata["settings"]
    other = [
        f"{k} was {saved.get(k)!r}, is {settings.get(k)!r}"
        for k in sorted({*saved, *settings})
        if saved.get(k) != settings.get(k)
    ]
    if other:
        raise ValueError(f"{path} belongs to another run: {'; '.join(other)}. Give the same settings, or another path.")
    targets = {f"parameters/{k}": v for k, v in training.parameters.items()}
    targets |= {f"buffers/{k}": v for k, v in training.buffers.items()}
    targets |= {f"optimizer/{i}": v for i, v in enumerate(training.optimizer_state)}
    for name, array in targets.items():
        found = arrays.get(name)
        if found is None or found.shape != array.shape or found.dtype != array.dtype:
            there = "is missing" if found is None else f"has shape {found.shape} {found.dtype}"
            raise ValueError(f"{path}: {name} {there}, the run needs {array.shape} {array.dtype}")
    if len(metadata["callbacks"]) != len(callbacks):
        raise ValueError(f"{path} was saved with {len(metadata['callbacks'])} callbacks, this run has {len(callbacks)}")
    for name, array in targets.items():
        np.copyto(array, arrays[name])
    for i, (callback, plain) in enumerate(zip(callbacks, metadata["callbacks"], strict=True)):
        prefix = f"callbacks/{i}/"
        state = {**plain, **{k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}}
        if state and hasattr(callback, "restore"):
            callback.restore(state)
    epoch, batch, step, seconds, sums = metadata["progress"]
    return Progress(epoch, batch, step, seconds, tuple(sums)), metadata["history"]
