"""Training a network on prepared data, into a folder."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import data, io, nn, reporting
from ..core.op import Array
from ..engine import choose
from ..reporting.storage import run_files
from ..train import Callback, Checkpoint, History, fit, predict
from ..train.diagnostics import of_curves, of_outputs
from .folders import CHECKPOINT
from .networks import network
from .preparing import Prepared
from .settings import Settings
from .text import sample
from .trained import measured
from .versions import versions


@dataclass
class Result:
    """A finished run."""

    folder: Path
    model: nn.Module
    history: History
    metrics: dict[str, dict[str, float]]
    seconds: float
    resumable: bool = False  # its checkpoint is in the folder, for it did not end
    sample: str = ""  # of a model of characters: what it writes


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
    text = isinstance(preprocessor, data.Characters)
    model = network(preprocessor, settings)
    X, y = prepared.part(prepared.train)
    loss = settings.loss_for(preprocessor.task)
    rows = len(X) - round(len(X) * settings.validation)
    if rows < 1:
        raise ValueError(f"validation={settings.validation:g} of {len(X)} rows leaves the training split empty")
    held = _validation(prepared, settings)
    optimizer = settings.make_optimizer(settings.epochs * -(-rows // settings.batch_size))
    saving = None if checkpoint_every is None else Checkpoint(folder / CHECKPOINT, epochs=checkpoint_every)
    history = fit(
        model, X, y, loss=loss, optimizer=optimizer, epochs=settings.epochs, batch_size=settings.batch_size,
        validation=held, seed=settings.seed, l2=settings.l2,
        early_stopping=settings.patience, progress=progress, engine=engine, threads=threads,
        callbacks=[reporting.GradientFlow(folder, X, y)] if report else (),
        checkpoint=saving, resume=saving is not None,
    )  # fmt: skip
    model.eval()
    metrics = {} if text else {"train": measured(model, X, y, loss, preprocessor)}  # a text is long
    metrics["test"] = measured(model, *prepared.part(prepared.test), loss, preprocessor)
    history.findings = [*of_curves(history.rows, history.best_epoch), *_found(prepared, model, loss, y)]
    written = sample(model, preprocessor, threads=threads, engine=engine) if text else ""
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
        **({"baselines": prepared.baselines, "sample": written} if text else {}),
    }  # fmt: skip
    io.write_together(run_files(folder, io.model_bytes(model, described), history.rows, record))
    if report:
        reporting.store_predictions(folder, model, *prepared.part(prepared.test), loss, prepared.test, preprocessor)
    else:
        reporting.forget(folder)
    if not history.interrupted:
        (folder / CHECKPOINT).unlink(missing_ok=True)
    return Result(folder, model, history, metrics, seconds, (folder / CHECKPOINT).exists(), written)


def _validation(prepared: Prepared, settings: Settings) -> float | tuple[Array, Array] | None:
    """Return what `fit` takes as validation data: a fraction of the training split, or the source's own split."""
    own = prepared.validation
    if own is not None and settings.validation:
        raise ValueError(f"validation: {prepared.source} has its own validation split; leave this out")
    if own is None and settings.patience is not None and not settings.validation:
        raise ValueError("patience: needs a validation split; give its fraction, such as --validation 0.1")
    return (settings.validation or None) if own is None else prepared.part(own)


def _found(prepared: Prepared, model: nn.Module, loss: str, trained: Array) -> list[str]:
    """Return the diagnostics of a network's outputs on the test split."""
    X, y = prepared.part(prepared.test)
    labels = prepared.preprocessor.classes
    return list(of_outputs(predict(model, X), y, trained, loss, "the test split", labels))
