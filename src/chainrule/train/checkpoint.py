"""Checkpoints: everything a run needs to resume as if it had not been stopped."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.arguments import integer
from ..io import save_arrays
from ..io.models import UNDIGESTED
from ..io.weights import load_checked
from .step import TrainingStep

FORMAT = "chainrule-checkpoint"
VERSION = 2  # since 2 with a digest


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often to save a run.

    A run that is stopped (Ctrl-C, early stopping, a callback) is also saved, and so is a finished run.

    Attributes
    ----------
    path : str or path
        One safetensors file, replaced atomically each time.
    epochs : int or None
        Save after this many epochs.
    steps : int or None
        Save after this many steps, also within an epoch.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> digits = cr.data.load_digits()
    >>> model = nn.Linear(64, 10)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "run.safetensors"
    ...     every_second = cr.Checkpoint(file, epochs=2)
    ...     _ = cr.fit(model, digits.X, digits.y, epochs=2, checkpoint=every_second, progress=False)
    ...     history = cr.fit(model, digits.X, digits.y, epochs=3, checkpoint=file, resume=True, progress=False)
    >>> history["epoch"]
    [1, 2, 3]
    """

    path: str | os.PathLike[str]
    epochs: int | None = 1
    steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "steps"):
            if (value := getattr(self, name)) is not None:
                integer(f"Checkpoint: {name}", value, at_least=1, alternative=" or None")
        path = Path(self.path)
        if not path.parent.is_dir():
            raise FileNotFoundError(f"checkpoint: there is no folder {path.parent}")
        if path.is_dir():
            raise IsADirectoryError(f"checkpoint: expected a file, got the folder {path}")


@dataclass
class Progress:
    """The progress of a run: whole epochs, steps within the next one, and that epoch's sums so far."""

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
    arrays = dict(training.kept)
    kept: list[dict[str, Any]] = []
    for i, callback in enumerate(callbacks):
        state = callback.state() if hasattr(callback, "state") else {}
        arrays |= {f"callbacks/{i}/{k}": v for k, v in state.items() if isinstance(v, np.ndarray)}
        kept.append({k: v for k, v in state.items() if not isinstance(v, np.ndarray)})
    record = {
        "progress": [progress.epoch, progress.batch, progress.step, progress.seconds, list(progress.sums)],
        "history": rows,
        "callbacks": kept,
        "kinds": [type(c).__name__ for c in callbacks],
        "settings": dict(settings),
    }
    # as separate text: figures may be NaN or infinite, which strict JSON does not allow
    try:
        text = json.dumps(record, default=_plain)
    except TypeError as error:
        raise TypeError(f"checkpoint: expected numbers, text and arrays in a callback's state() ({error})") from None
    save_arrays(path, arrays, {"format": FORMAT, "version": VERSION, "record": text})


def kept_shards(checkpoint: Any, first: bool) -> int | None:
    """Return how many shards batches are cut into in the run to resume; what cannot be read is reported later."""
    path = checkpoint.path if isinstance(checkpoint, Checkpoint) else checkpoint
    if not first or not isinstance(path, str | os.PathLike) or not Path(path).exists():
        return None
    with contextlib.suppress(LookupError, TypeError, ValueError, OSError, RecursionError, AttributeError):
        found = json.loads(load_checked(path)[1]["record"])["settings"].get("shards")
        return found if isinstance(found, int) and found > 0 else None
    return None


def load_checkpoint(
    path: str | os.PathLike[str], training: TrainingStep, callbacks: list[Any], settings: Mapping[str, Any]
) -> tuple[Progress, list[dict[str, Any]]]:
    """Read a run's state into `training` and `callbacks`; return its progress and its history.

    Raises
    ------
    ValueError
        If the file is not a checkpoint, is damaged, or belongs to a run with other settings, which the message names;
        nothing is changed.
    """
    arrays, metadata, digested = load_checked(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint (its metadata has no format {FORMAT!r})")
    version = metadata.get("version")
    if version not in (1, VERSION):
        raise ValueError(f"{path}: expected format version 1 to {VERSION}, got {version!r}")
    if version > 1 and not digested:
        raise ValueError(f"{path}: the digest is missing, so the checkpoint is damaged or was changed after saving")
    if not digested:
        warnings.warn(f"{path}: {UNDIGESTED}", stacklevel=2)
    try:
        record = json.loads(metadata["record"])
        epoch, batch, step, seconds, sums = record["progress"]
        progress = Progress(int(epoch), int(batch), int(step), float(seconds), tuple(float(s) for s in sums))
        rows = [dict(r) for r in record["history"]]
        kept, kinds, saved = record["callbacks"], record["kinds"], record["settings"]
        whole = min(progress.epoch, progress.batch, progress.step) >= 0 and len(rows) == progress.epoch
        if not whole or len(kept) != len(kinds) or (progress.batch > 0) != bool(sums):
            raise ValueError("its entries are inconsistent")
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: the checkpoint's record is damaged: {error!r}") from None
    same_settings(path, saved, json.loads(json.dumps(dict(settings), default=_plain)))
    given = [type(c).__name__ for c in callbacks]
    if kinds != given:
        had, has = (", ".join(k) or "none" for k in (kinds, given))
        raise ValueError(f"{path} was saved with the callbacks {had}; this run has {has}. Give the same ones.")
    targets = training.kept
    for name, array in targets.items():
        found = arrays.get(name)
        if found is None or found.shape != array.shape or found.dtype != array.dtype:
            there = "is missing" if found is None else f"has shape {found.shape} {found.dtype}"
            raise ValueError(f"{path}: {name} {there}, the run needs {array.shape} {array.dtype}")
    for i, (callback, plain) in enumerate(zip(callbacks, kept, strict=True)):
        prefix = f"callbacks/{i}/"
        state = {**plain, **{k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}}
        if state and hasattr(callback, "restore"):
            callback.restore(state)
    for name, array in targets.items():
        np.copyto(array, arrays[name])
    training.assign_frozen()
    return progress, rows


def same_settings(path: Any, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the differences, if a run was saved with other settings than those it has now."""
    other = [_difference(k, saved.get(k), now.get(k)) for k in sorted({*saved, *now}) if saved.get(k) != now.get(k)]
    if other:
        raise ValueError(f"{path} belongs to another run: {'; '.join(other)}. Give the same settings, or another path.")


def _difference(name: str, was: Any, now: Any) -> str:
    if isinstance(was, dict) and isinstance(now, dict):
        parts = [k for k in sorted({*was, *now}) if was.get(k) != now.get(k)]
        return "; ".join(_difference(f"{name} {k}", was.get(k), now.get(k)) for k in parts)
    texts = repr(was), repr(now)
    return f"{name} was {texts[0]}, is {texts[1]}" if max(map(len, texts)) < 80 else f"{name} differs"


def _plain(x: Any) -> Any:
    if isinstance(x, np.generic):
        return x.item()
    raise TypeError(f"{type(x).__name__} cannot be saved")
