"""The files of a run that a report is made of."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import io
from ..core.arrays import as_array
from ..core.op import Array
from ..data import Dataset, Preprocessor
from ..engine import choose
from ..frames import as_inputs, as_targets
from ..io.files import checksum
from ..judging import Predictions
from ..nn import Module
from ..nn.sequential import logits_part
from ..train import History, predict
from ..train.diagnostics import of_curves, of_outputs
from .examples import FILE as EXAMPLES
from .examples import FORMAT, VERSION, examples_bytes
from .figures import finite
from .flow_file import Flow, read_flow
from .gradient_flow import FILE as FLOW
from .judged import Columns

#: The entry of the record with the digests of the run's files.
DIGESTS = "digests"
MODEL, HISTORY, RECORD = "model.safetensors", "history.jsonl", "run.json"


@dataclass(frozen=True)
class Stored:
    """The contents of a run's folder; missing parts are None or empty.

    Attributes
    ----------
    folder : Path
    record : dict
        Of ``run.json``: data, settings, engine, time, metrics.
    history : list of dict
        One row per epoch; of an unfinished run, the rows of the epochs that have a snapshot.
    flow : Flow or None
    stray : bool
        Whether a flow was left out because it belongs to a different run than the history.
    arrays, meta : dict
        Of ``examples.safetensors``.
    model : Module or None
    """

    folder: Path
    record: dict[str, Any]
    history: list[dict[str, Any]]
    flow: Flow | None
    stray: bool
    arrays: dict[str, Array]
    meta: dict[str, Any]
    model: Module | None


def read_run(folder: Path) -> Stored:
    """Read the folder of a run.

    Raises
    ------
    FileNotFoundError
        When there is no such folder, or neither a history nor a gradient flow in it.
    ValueError
        When a file does not have the expected contents.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; expected the folder of a run, such as runs/digits")
    flow = read_flow(folder / FLOW) if (folder / FLOW).is_file() else None
    if not (folder / HISTORY).is_file():
        if flow is None:
            raise FileNotFoundError(f"{folder} holds no run: expected {HISTORY} or {FLOW}")
        return _unfinished(folder, flow)
    text = (folder / HISTORY).read_text("utf-8")
    history = [_row(line, folder / HISTORY) for line in text.split("\n") if line]
    stray = flow is not None and not _of_one_run(flow, history)
    if stray and (folder / FLOW).stat().st_mtime > (folder / HISTORY).stat().st_mtime:
        assert flow is not None
        return _unfinished(folder, flow)  # of an unfinished run that was to replace the finished one
    record = read_record(folder) if (folder / RECORD).is_file() else {}
    arrays: dict[str, Array] = {}
    meta: dict[str, Any] = {}
    if (folder / EXAMPLES).is_file():
        arrays, meta = io.load_arrays(folder / EXAMPLES)
        if meta.get("format") != FORMAT or meta.get("version") != VERSION:
            raise ValueError(f"{folder / EXAMPLES} holds no examples that this release can read")
    model = io.load(folder / MODEL)[0] if (folder / MODEL).is_file() else None
    return Stored(folder, record, history, None if stray else flow, stray, arrays, meta, model)


def _unfinished(folder: Path, flow: Flow) -> Stored:
    """Return what an unfinished run left: its snapshots."""
    return Stored(folder, {}, [s.history for s in flow.snapshots if s.history], flow, False, {}, {}, None)


def _of_one_run(flow: Flow, history: list[dict[str, Any]]) -> bool:
    """Return whether the rows that the snapshots hold are those of the history."""
    rows = {row.get("epoch"): row for row in history}
    if flow.cost is not None:
        seconds = sum(x for row in history if isinstance(x := row.get("seconds"), int | float))
        if not math.isclose(flow.cost.get("training", 0.0), seconds, rel_tol=1e-6):
            return False
    return all(rows.get(s.epoch) == s.history for s in flow.snapshots if s.history)


def run_files(
    folder: Path, model: bytes | None, history: Sequence[Mapping[str, Any]], record: Mapping[str, Any]
) -> dict[str | os.PathLike[str], bytes]:
    """Return the files of a run and their contents; the record holds a digest of each, and of itself."""
    files = {HISTORY: "".join(_text(row) + "\n" for row in history).encode()}
    files |= {MODEL: model} if model is not None else {}
    whole = finite({**record, DIGESTS: {name: checksum(content) for name, content in files.items()}})
    whole[DIGESTS][RECORD] = checksum(_text(whole).encode())
    files[RECORD] = (_text(whole, indent=2) + "\n").encode()
    return {folder / name: content for name, content in files.items()}


def read_record(folder: Path) -> dict[str, Any]:
    """Read the record of a run; raise ValueError if it, or a file that it has a digest of, was changed."""
    record = _json(folder / RECORD)
    if isinstance(digests := record.get(DIGESTS), dict):  # an early version wrote none
        own = {**record, DIGESTS: {name: digest for name, digest in digests.items() if name != RECORD}}
        found = {RECORD: checksum(_text(own).encode())}
        found |= {n: checksum((folder / n).read_bytes()) for n in (HISTORY, MODEL) if (folder / n).is_file()}
        if changed := [name for name, digest in found.items() if digests.get(name, digest) != digest]:
            raise ValueError(
                f"{folder / changed[0]} is damaged, or was changed after the run: the digest in {RECORD} does not match"
            )
    return record


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}, not the record of a run")
    return found


def _row(line: str, path: Path) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{path}: a line is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f"{path}: a line is not a row of a history")
    return row


def store_run(
    folder: str | os.PathLike[str],
    model: Module,
    history: History,
    X: Any,
    y: Any,
    *,
    loss: Any = "cross_entropy",
    classes: Sequence[Any] = (),
    feature_names: Sequence[str] | None = None,
    image_shape: tuple[int, ...] | None = None,
    engine: str | None = None,
    threads: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write the files of a run of ``fit`` that `report` reads; ``chainrule train --report`` does this automatically.

    Parameters
    ----------
    folder : str or path
        Created if missing; a run in it is replaced (but not the gradient flow, which `GradientFlow` writes).
    model, history
        As trained, and what ``fit`` returned.
    X, y : arrays or data frames
        Examples to measure the network on: a test split, usually.
    loss : str or callable
    classes : sequence
        The label of each class id.
    feature_names : sequence of str or None
        None: the columns of a data frame X, if it is one.
    image_shape : tuple of int or None
        When each row of X is an image: ``(height, width)`` or ``(height, width, channels)``.
    engine, threads
        As given to ``fit``.
    settings : mapping or None
        Further settings to list: the optimiser, the batch size, ….

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import chainrule as cr
    >>> from chainrule import nn, reporting
    >>> X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    >>> y = (X[:, 0] > 0).astype(np.int64)
    >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).initialize(0)
    >>> history = cr.fit(model, X, y, epochs=2, progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     reporting.store_run(folder, model, history, X, y, classes=("no", "yes"))
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['examples.safetensors', 'history.jsonl', 'model.safetensors', 'run.json']
    """
    X, columns = as_inputs(X, "X", model.feature_names)
    X, y = as_array(X, "X"), as_array(as_targets(y, "y"), "y")
    feature_names = columns if feature_names is None else feature_names
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    rows = X.reshape(len(X), -1)
    names = tuple(feature_names) if feature_names is not None else tuple(f"x{i}" for i in range(rows.shape[1]))
    raw = Dataset(rows, None, names, image_shape=image_shape)
    record = {
        "source": "arrays", "loss": loss if isinstance(loss, str) else getattr(loss, "__name__", "a function"),
        "settings": dict(settings or {}), "engine": choose(engine), "threads": threads, "examples": {"test": len(X)},
        "parameters": model.num_parameters, "versions": {"numpy": np.__version__, "python": platform.python_version()},
        "epochs": len(history),
        "seconds": sum(row["seconds"] for row in history), "stopped": history.stopped,
        "best_epoch": history.best_epoch,
    }  # fmt: skip
    output = predict(logits_part(model, loss), X, engine=engine, threads=threads)
    found = of_outputs(output, y, y, loss, "the examples of this report", classes)
    record["findings"] = [*of_curves(history.rows, history.best_epoch), *found]
    shown = examples_bytes(model, X, y, loss=loss, raw=raw, classes=classes, engine=engine, threads=threads)
    stored = None
    try:
        stored = io.model_bytes(model, {"loss": record["loss"]})
    except TypeError:  # a custom class that cannot be stored: the report then has no derivation
        (path / MODEL).unlink(missing_ok=True)
    io.write_together({**run_files(path, stored, history.rows, record), path / EXAMPLES: shown})


def store_predictions(
    folder: Path,
    model: Module,
    X: Array,
    y: Array,
    loss: str,
    raw: Dataset,
    preprocessor: Preprocessor,
    *,
    said: Predictions | None = None,
    columns: Columns | None = None,
) -> None:
    """Write what a network says about a test split, as a training run prepared it.

    Parameters
    ----------
    folder : path
    model : Module
    X, y : arrays
        The test split as the network takes it.
    loss : str
    raw : Dataset
        The same rows as they were read.
    preprocessor : Preprocessor
    said : judging.Predictions or None
        The predictions, if they are not those that follow from the network's outputs alone.
    columns : judged.Columns or None
        What the network makes of the columns of a table.

    Examples
    --------
    >>> import chainrule as cr
    >>> from pathlib import Path
    >>> from chainrule.reporting import store_predictions
    >>> raw = cr.data.read("digits")
    >>> preprocessor = cr.data.Preprocessor.fit(raw)
    >>> X, y = preprocessor.transform(raw), preprocessor.transform_target(raw)
    >>> model = cr.nn.Linear(64, 10, seed=0)
    >>> store_predictions(Path("."), model, X, y, "cross_entropy", raw, preprocessor)
    >>> Path("examples.safetensors").exists()
    True
    """
    decode = preprocessor.inverse_target if preprocessor.task == "regression" else None
    content = examples_bytes(
        model, X, y, loss=loss, raw=raw, classes=preprocessor.classes, decode=decode, said=said, columns=columns
    )
    io.write_atomically(folder / EXAMPLES, content)


def forget(folder: Path) -> None:
    """Remove what an earlier run left for a report: it would be shown with another run's history.

    Examples
    --------
    >>> from pathlib import Path
    >>> from chainrule.reporting import forget
    >>> _ = Path("gradient_flow.jsonl").write_text("{}")
    >>> forget(Path("."))
    >>> Path("gradient_flow.jsonl").exists()
    False
    """
    for name in (FLOW, EXAMPLES):
        (folder / name).unlink(missing_ok=True)


def _text(x: Any, indent: int | None = None) -> str:
    return json.dumps(finite(x), indent=indent, ensure_ascii=False, allow_nan=False, default=str)
