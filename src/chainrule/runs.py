"""Training runs in folders: data in, a model file, a history and a record out. What the command line does."""

from __future__ import annotations

import contextlib
import json
import platform
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import data, io, nn, optim, reporting
from .core.arguments import choice, integer, number
from .core.op import Array
from .engine import choose
from .io.locks import locked
from .nn import activations
from .reporting.examples import FILE as EXAMPLES
from .reporting.storage import HISTORY, MODEL, RECORD, read_record, run_files
from .train import Callback, Checkpoint, History, evaluate, fit, predict
from .train.checkpoint import same_settings
from .train.diagnostics import of_curves, of_outputs

#: The state of an unfinished run, in its folder.
CHECKPOINT = "checkpoint.safetensors"
#: Schedules of the learning rate: from its value to 0 along half a cosine over the run, or constant.
SCHEDULES = ("cosine", "constant")
#: The default loss of each task.
LOSSES = {"binary": "binary_cross_entropy", "multiclass": "cross_entropy", "regression": "mse"}


@dataclass(frozen=True)
class Settings:
    """What a run was asked to do. The defaults suit small and medium tables and images."""

    hidden: tuple[int, ...] = (256, 128)
    activation: str = "relu"
    dropout: float = 0.1
    epochs: int = 30
    batch_size: int = 32
    optimizer: str = "adam"
    lr: float = 1e-3
    schedule: str = "cosine"
    l2: float = 0.0
    test: float = 0.2
    validation: float = 0.0
    patience: int | None = None
    seed: int = 0
    loss: str | None = None

    def __post_init__(self) -> None:
        for width in self.hidden:
            integer("hidden", width, at_least=1)
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0), ("patience", 1)):
            if (value := getattr(self, name)) is not None:
                integer(name, value, at_least=least)
        number("dropout", self.dropout, at_least=0, below=1)
        number("test", self.test, above=0, below=1)
        number("validation", self.validation, at_least=0, below=1)
        number("l2", self.l2, at_least=0)
        if self.patience is not None and not self.validation:
            raise ValueError("patience: needs a validation split; give its fraction, such as --validation 0.1")
        choice("schedule", self.schedule, SCHEDULES)
        activations.get(self.activation)
        self.make_optimizer(1)

    def make_optimizer(self, steps: int) -> optim.Optimizer:
        """Return the optimiser for a run of a number of steps."""
        optimizer = optim.get(self.optimizer, lr=self.lr)
        return optim.get(optimizer, lr=optim.Cosine(self.lr, steps)) if self.schedule == "cosine" else optimizer

    def loss_for(self, task: str) -> str:
        """Return the name of the loss for a task."""
        return choice("loss", self.loss or LOSSES[task], nn.losses.names(task))


@dataclass
class Prepared:
    """Data read and preprocessed: a training and a test split, as raw rows and as inputs of a network."""

    source: str
    preprocessor: data.Preprocessor
    train: data.Dataset
    test: data.Dataset
    fingerprint: str
    notes: list[str] = field(default_factory=list)

    def part(self, dataset: data.Dataset) -> tuple[Array, Array]:
        """Return X and y of a split."""
        return arrays(self.preprocessor, dataset)


def arrays(preprocessor: data.Preprocessor, dataset: data.Dataset) -> tuple[Array, Array]:
    """Return X and y of raw rows, y as the task's loss takes it: ids, or a column like a network's one output."""
    y = preprocessor.transform_target(dataset)
    return preprocessor.transform(dataset), y[:, None].astype(np.float32) if preprocessor.task == "binary" else y


@dataclass
class Result:
    """A finished run."""

    folder: Path
    model: nn.Module
    history: History
    metrics: dict[str, dict[str, float]]
    seconds: float
    resumable: bool = False  # its checkpoint is in the folder, for it did not end


def prepare(
    source: str,
    target: str | None = None,
    task: str | None = None,
    *,
    test: float = 0.2,
    seed: int = 0,
    max_bytes: int | None = None,
) -> Prepared:
    """Read data, split it, and fit the preprocessing on the training split."""
    dataset = data.read(source, target, task, max_bytes=max_bytes)
    train, held = dataset.split(test, seed)
    preprocessor = data.Preprocessor.fit(train, impute=True)
    notes = [*dataset.notes, dataset.task_reason, *preprocessor.notes]
    return Prepared(str(source), preprocessor, train, held, dataset.fingerprint(), [n for n in notes if n])


def network(preprocessor: data.Preprocessor, settings: Settings) -> nn.Sequential:
    """Build the multilayer perceptron that fits the data."""
    width = len(preprocessor.feature_names)
    layers: list[nn.Module] = []
    for units in settings.hidden:
        layers += [nn.Linear(width, units), activations.get(settings.activation)]
        layers += [nn.Dropout(settings.dropout)] * bool(settings.dropout)
        width = units
    return nn.Sequential(*_separate(layers), nn.Linear(width, outputs_for(preprocessor))).initialize(settings.seed)


def outputs_for(preprocessor: data.Preprocessor) -> int:
    """Return how many outputs a network has for the task: one per class, or one."""
    return len(preprocessor.classes) if preprocessor.task == "multiclass" else 1


def _separate(layers: Sequence[nn.Module]) -> list[nn.Module]:
    """Give every position its own layer object."""
    return [nn.from_config(layer.config()) for layer in layers]


@contextlib.contextmanager
def claimed(
    out: Path | None, source: str, *, overwrite: bool = False, resume: bool = False
) -> Iterator[tuple[Path, bool]]:
    """Make the folder of a run and hold it: `out`, or the first free ``runs/NAME``, ``runs/NAME-2``, ….

    With `resume` and without `out`, it is the one of these whose checkpoint is the latest. What a killed run left half
    written there is removed, and so is the folder if it stays empty. Yields the folder, and whether the run in it has
    ended already, so that there is nothing to resume.

    Raises
    ------
    FileExistsError
        If `out` already holds a run, and `overwrite` and `resume` are False.
    BlockingIOError
        If another process trains into it.
    """
    folder = out if out is not None else _latest(source) if resume else None
    if folder is None:
        folder = _numbered(source)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"--out: expected a folder, got the file {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        held = [name for name in (MODEL, RECORD, HISTORY, CHECKPOINT) if (folder / name).exists()]
        if held and not overwrite and not resume:
            more = "continue it with --resume, " if CHECKPOINT in held else ""
            raise FileExistsError(
                f"{folder} already holds a run ({', '.join(held)}); {more}choose another --out, or add --overwrite"
            )
        io.files.sweep(*(folder / name for name in (MODEL, RECORD, HISTORY, CHECKPOINT, EXAMPLES)))
        if not resume:
            (folder / CHECKPOINT).unlink(missing_ok=True)
        yield folder, resume and RECORD in held and CHECKPOINT not in held


def check_same(folder: Path, prepared: Prepared, settings: Settings) -> None:
    """Raise ValueError if the run in a folder was of other data or settings."""
    record = read_record(folder)
    now = {"fingerprint": prepared.fingerprint, **json.loads(json.dumps(asdict(settings)))}
    same_settings(folder, {"fingerprint": record.get("fingerprint"), **record.get("settings", {})}, now)


def _numbered(source: str) -> Path:
    number = 1
    while True:
        folder = Path("runs") / (_name(source) if number == 1 else f"{_name(source)}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1


def _name(source: str) -> str:
    return Path(source).name.split(".")[0] or "run"


def _latest(source: str) -> Path | None:
    """Return the folder of the data's run that was saved last."""
    numbered = re.compile(rf"{re.escape(_name(source))}(-\d+)?")
    saved = [f for f in Path("runs").glob(f"*/{CHECKPOINT}") if numbered.fullmatch(f.parent.name)]
    return max(saved, key=lambda f: f.stat().st_mtime).parent if saved else None


def train(
    prepared: Prepared,
    settings: Settings,
    folder: Path,
    *,
    progress: bool | Callback | None = None,
    engine: str | None = None,
    threads: int | None = None,
    report: bool = False,
    checkpoint_every: int | None = None,
) -> Result:
    """Train a network on prepared data and write the run into `folder`.

    The folder gets ``model.safetensors`` (weights; architecture and preprocessing in the metadata), ``history.jsonl``
    and ``run.json``, each written atomically; with `report`, also the files that ``chainrule.report`` reads. With
    `checkpoint_every`, the state is saved there after so many epochs, and a run that has not ended resumes from it.
    """
    started = time.perf_counter()
    preprocessor = prepared.preprocessor
    model = network(preprocessor, settings)
    X, y = prepared.part(prepared.train)
    loss = settings.loss_for(preprocessor.task)
    rows = len(X) - round(len(X) * settings.validation)
    if rows < 1:
        raise ValueError(f"validation={settings.validation:g} of {len(X)} rows leaves the training split empty")
    optimizer = settings.make_optimizer(settings.epochs * -(-rows // settings.batch_size))
    saving = None if checkpoint_every is None else Checkpoint(folder / CHECKPOINT, epochs=checkpoint_every)
    history = fit(
        model, X, y, loss=loss, optimizer=optimizer, epochs=settings.epochs, batch_size=settings.batch_size,
        validation=settings.validation or None, seed=settings.seed, l2=settings.l2,
        early_stopping=settings.patience, progress=progress, engine=engine, threads=threads,
        callbacks=[reporting.GradientFlow(folder, X, y)] if report else (),
        checkpoint=saving, resume=saving is not None,
    )  # fmt: skip
    model.eval()
    metrics = {
        "train": _measured(model, X, y, loss, preprocessor),
        "test": _measured(model, *prepared.part(prepared.test), loss, preprocessor),
    }
    history.findings = [*of_curves(history.rows, history.best_epoch), *_found(prepared, model, loss, y)]
    seconds = time.perf_counter() - started
    described = {"loss": loss, "preprocessing": preprocessor.to_dict(), "seed": settings.seed, "test": settings.test,
                 "fingerprint": prepared.fingerprint}  # fmt: skip
    record = {
        "source": prepared.source, "task": preprocessor.task, "target": preprocessor.target_name, "loss": loss,
        "settings": asdict(settings), "seed": settings.seed, "engine": choose(engine), "threads": threads,
        "examples": {"train": len(prepared.train), "test": len(prepared.test)}, "parameters": model.num_parameters,
        "fingerprint": prepared.fingerprint, "notes": prepared.notes, "versions": versions(), "seconds": seconds,
        "epochs": len(history), "stopped": history.stopped, "best_epoch": history.best_epoch, "metrics": metrics,
        "findings": history.findings,
    }  # fmt: skip
    io.write_together(run_files(folder, io.model_bytes(model, described), history.rows, record))
    if report:
        reporting.store_predictions(folder, model, *prepared.part(prepared.test), loss, prepared.test, preprocessor)
    else:
        reporting.forget(folder)
    if not history.interrupted:
        (folder / CHECKPOINT).unlink(missing_ok=True)
    return Result(folder, model, history, metrics, seconds, (folder / CHECKPOINT).exists())


def _found(prepared: Prepared, model: nn.Module, loss: str, trained: Array) -> list[str]:
    """Return the diagnostics of a network's outputs on the test split."""
    X, y = prepared.part(prepared.test)
    labels = prepared.preprocessor.classes
    return list(of_outputs(predict(model, X), y, trained, loss, "the test split", labels))


def check_engine(engine: str | None, threads: int | None) -> None:
    """Raise for an unavailable engine or fewer than one thread, before anything is written."""
    choose(engine)
    if threads is not None:
        integer("threads", threads, at_least=1)


def versions() -> dict[str, str]:
    """Return the versions of the packages that a result may depend on."""
    from . import __version__

    return {
        "chainrule": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def blas() -> str:
    """Return the name of NumPy's BLAS library."""
    found = np.show_config(mode="dicts")
    library = found.get("Build Dependencies", {}).get("blas", {}) if isinstance(found, dict) else {}
    return f"{library.get('name', 'unknown')} {library.get('version', '')}".strip()


@dataclass
class Trained:
    """A model file with what is needed to use it."""

    model: nn.Module
    preprocessor: data.Preprocessor
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
            preprocessor = data.Preprocessor.from_dict(metadata["preprocessing"])
            if metadata["loss"] not in nn.losses.names(preprocessor.task):
                raise ValueError(f"loss {metadata['loss']!r} does not fit a {preprocessor.task} task")
            width, outputs = len(preprocessor.feature_names), outputs_for(preprocessor)
            given = predict(model, np.zeros((1, width), np.float32)).shape
            if given != (1, outputs):
                raise ValueError(f"the network's output for one row has shape {given}, expected {(1, outputs)}")
        except (ValueError, TypeError) as error:
            raise ValueError(f"{file}: {error}") from None
        return cls(model, preprocessor, metadata["loss"], metadata)

    def evaluate(self, dataset: data.Dataset) -> dict[str, float]:
        """Return the loss and the metrics on raw rows with targets."""
        return _measured(self.model, *arrays(self.preprocessor, dataset), self.loss, self.preprocessor)

    def held_out(self, dataset: data.Dataset) -> tuple[data.Dataset, str]:
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


def _measured(model: nn.Module, X: Array, y: Array, loss: str, preprocessor: data.Preprocessor) -> dict[str, float]:
    figures = evaluate(
        model, X, y, loss=loss, metrics=("r2", "rmse", "mae") if preprocessor.task == "regression" else None
    )
    for name in ("rmse", "mae"):  # in the target's own unit
        if name in figures:
            figures[name] *= preprocessor.target.std
    return figures
