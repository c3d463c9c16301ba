"""Training a network on prepared data, into a folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import data, io, judging, nn, reporting
from ..core.op import Array
from ..core.processes import Group
from ..engine import choose
from ..reporting.storage import run_files
from ..train import Callback, Checkpoint, History, evaluate, fit, predict, tables
from ..train.diagnostics import of_curves, of_outputs
from ..train.metrics import accuracy
from .folders import CHECKPOINT
from .importance import importance, partial_dependence
from .judged import Rule, check_rule, row_weights
from .networks import NETWORKS, network
from .on_disk import held_out
from .preparing import Prepared
from .settings import Settings
from .text import sample
from .trained import Trained, with_loss
from .versions import versions

#: The columns whose influence a report shows, those of the largest importance.
DEPENDENCES = 6


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
    judgement: judging.Judgement | None = None  # on the test split
    rule: Sequence[str] = ()  # sentences on how outputs become predictions


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
    group: Group | None = None,
    shards: int | None = None,
) -> Result:
    """Train a network on prepared data and write the run into `folder`.

    The folder gets ``model.safetensors`` (weights; architecture and preprocessing in the metadata), ``history.jsonl``
    and ``run.json``, each written atomically; with `report`, also the files that ``chainrule.report`` reads. With
    `checkpoint_every`, the state is saved there after so many epochs, and a run that has not ended resumes from it.
    The processes of a group share each batch; each of them writes into a folder of its own.
    """
    started = time.perf_counter()
    preprocessor = prepared.preprocessor
    model = network(preprocessor, settings)
    loss = settings.loss_for(preprocessor.task)
    parts = _Parts.of(prepared, settings)
    check_rule(settings, preprocessor.task, loss, parts.held is not None)
    row, steps = NETWORKS[settings.model], settings.epochs * -(-parts.rows // settings.batch_size)
    trained_by = tables.smoothed(loss, settings.label_smoothing)
    metrics = None if trained_by is loss else {"accuracy": accuracy, "log_loss": nn.losses.get(loss)}
    stopping = row.stopping(settings, "val_log_loss" if metrics else "val_loss") if parts.held is not None else None
    row.begin(model, preprocessor, parts.X, parts.y, settings, steps)
    saving = None if checkpoint_every is None else Checkpoint(folder / CHECKPOINT, epochs=checkpoint_every)
    history = fit(
        model, *parts.given, loss=trained_by, metrics=metrics,
        optimizer=row.optimizer(model, preprocessor, settings, steps), epochs=settings.epochs,
        batch_size=settings.batch_size, validation=parts.validation, seed=settings.seed, l2=settings.l2,
        early_stopping=stopping, progress=progress, engine=engine, threads=threads,
        callbacks=[reporting.GradientFlow(folder, parts.X, parts.y)] if report else (),
        checkpoint=saving, resume=saving is not None, shards=shards,
        distributed=group.comm if group else None,
        sample_weight=row_weights(settings.class_weight, preprocessor, parts.given[1]),
    )  # fmt: skip
    model.eval()
    outcome = _text(prepared, model, loss) if prepared.is_of_text else _judged(prepared, model, loss, parts, settings)
    history.findings = [*prepared.suspects, *of_curves(history.rows, history.best_epoch), *outcome.findings]
    written = sample(model, preprocessor, threads=threads, engine=engine) if prepared.is_of_text else ""
    seconds = time.perf_counter() - started
    described = {"loss": loss, "preprocessing": preprocessor.to_dict(), "seed": settings.seed, "test": settings.test,
                 "fingerprint": prepared.fingerprint, **({} if prepared.stored is None else {"on_disk": True}),
                 **({} if prepared.groups is None else {"groups": prepared.groups}),
                 **outcome.stored}  # fmt: skip
    record = {
        "source": prepared.source, "task": preprocessor.task, "target": preprocessor.target_name, "loss": loss,
        "settings": asdict(settings), "seed": settings.seed, "engine": choose(engine), "threads": threads,
        "examples": {"train": parts.all_rows, "test": len(prepared.test)}, "parameters": model.num_parameters,
        "fingerprint": prepared.fingerprint, "notes": prepared.notes, "versions": versions(), "seconds": seconds,
        "epochs": len(history), "stopped": history.stopped, "best_epoch": history.best_epoch,
        "metrics": outcome.metrics, "findings": history.findings, **outcome.recorded,
        **({"processes": group.size} if group and group.size > 1 else {}),
        **({"baselines": prepared.baselines, "sample": written} if prepared.is_of_text else {}),
    }  # fmt: skip
    io.write_together(run_files(folder, io.model_bytes(model, described), history.rows, record))
    if report:
        _store_for_report(
            folder, prepared, Trained(model, preprocessor, loss, described, outcome.rule), outcome.judgement
        )
    else:
        reporting.forget(folder)
    if not history.interrupted:
        (folder / CHECKPOINT).unlink(missing_ok=True)
    resumable = (folder / CHECKPOINT).exists()
    rule = outcome.recorded.get("rule", ())
    return Result(folder, model, history, outcome.metrics, seconds, resumable, written, outcome.judgement, rule)


@dataclass
class _Parts:
    """What a network is trained on, and the validation split, as arrays.

    Attributes
    ----------
    X, y : arrays
        Of the training split, the rows held out for validation included.
    rows : int
        How many are trained on.
    validation
        What `fit` takes.
    held : (X, y) or None
        The validation split.
    """

    X: Array
    y: Array
    rows: int
    validation: float | tuple[Array, Array] | None
    held: tuple[Array, Array] | None
    chosen: Array | None = None  # the rows to train on, if `fit` does not choose them
    stored: Any = None

    @property
    def given(self) -> tuple[Any, Any]:
        """What `fit` takes: the arrays, or rows that stay on disk, of which these are a sample."""
        if self.stored is not None:
            return self.stored, None
        return (self.X, self.y) if self.chosen is None else (self.X[self.chosen], self.y[self.chosen])

    @property
    def all_rows(self) -> int:
        """How many rows there are to train on and to validate with; of rows on disk, without the latter."""
        return len(self.X) if self.stored is None else self.rows

    @classmethod
    def of(cls, prepared: Prepared, settings: Settings) -> _Parts:
        X, y = prepared.part(prepared.train)
        own, share = prepared.validation, settings.validation
        if prepared.stored is not None:
            return cls._of_stored(prepared, prepared.stored, X, y, settings)
        if own is not None and share:
            raise ValueError(f"validation: {prepared.source} has its own validation split; leave this out")
        if own is None and settings.patience is not None and not share:
            raise ValueError("patience: needs a validation split; give its fraction, such as --validation 0.1")
        if own is not None:
            held = prepared.part(own)
            return cls(X, y, len(X), held, held)
        if not share:
            return cls(X, y, len(X), None, None)
        groups = getattr(prepared.train, "groups", None)
        trained, rows = data.split(len(X), share, settings.seed, groups=groups, called="validation")  # as `fit` does
        held = X[rows], y[rows]
        return cls(X, y, len(trained), share, held) if groups is None else cls(X, y, len(trained), held, held, trained)

    @classmethod
    def _of_stored(cls, prepared: Prepared, rows: data.ArrowRows, X: Array, y: Array, settings: Settings) -> _Parts:
        if settings.class_weight is not None:
            raise ValueError(
                "class_weight: rows that stay on disk all count the same; leave it out, or use --in-memory"
            )
        held = None
        if settings.validation:
            readings = prepared.preprocessor.readings
            rows, sampled = held_out(rows, settings.validation, settings.seed, readings)
            held = prepared.part(sampled)
        return cls(X, y, len(rows), held, held, stored=rows.prepared_by(prepared.preprocessor))


@dataclass
class _Outcome:
    """What a trained network is found to do: figures by split, sentences, and what is stored of it."""

    metrics: dict[str, dict[str, float]]
    findings: list[str]
    stored: dict[str, Any] = field(default_factory=dict)
    recorded: dict[str, Any] = field(default_factory=dict)
    judgement: judging.Judgement | None = None
    rule: Rule = field(default_factory=Rule)


def _store_for_report(folder: Path, prepared: Prepared, trained: Trained, judgement: judging.Judgement | None) -> None:
    """Write what the report shows of the predictions on the test split, and of the columns of a table."""
    test, columns = prepared.test, None
    if judgement is not None:
        found = importance(trained, test)
        if found is not None:
            chosen = [name for name, (mean, _) in found.worse.items() if mean > 0][:DEPENDENCES]
            dependence = {name: partial_dependence(trained, test, name) for name in chosen}
            columns = reporting.Columns(found.metric, found.worse, found.rows, found.repeats, dependence)
    said = None if judgement is None else judgement.said
    split = prepared.part(test)
    reporting.store_predictions(
        folder, trained.model, *split, trained.loss, test, trained.preprocessor, said=said, columns=columns
    )


def _text(prepared: Prepared, model: nn.Module, loss: str) -> _Outcome:
    """Measure a model of characters on the end of its text; the rest is long."""
    X, y = prepared.part(prepared.test)
    found = of_outputs(predict(model, X), y, y, loss, "the test split", prepared.preprocessor.classes)
    return _Outcome({"test": evaluate(model, X, y, loss=loss)}, list(found))


def _judged(prepared: Prepared, model: nn.Module, loss: str, parts: _Parts, settings: Settings) -> _Outcome:
    """Fit the rule from outputs to predictions, and judge these on the training and the test split."""
    preprocessor = prepared.preprocessor
    held = None if parts.held is None else (predict(model, parts.held[0]), parts.held[1])
    rule = Rule.fit(preprocessor, parts.y, held, loss, settings)
    metrics, judgement = {}, None
    for split, (X, y) in (("train", (parts.X, parts.y)), ("test", prepared.part(prepared.test))):
        output = predict(model, X)
        said = rule.predictions(preprocessor, loss, output, y)
        metrics[split] = with_loss(output, y, loss, {} if said is None else judging.measure(said)[0])
        if said is not None and split == "test":
            judgement = judging.judge(said, rule.baseline, split="the test split", seed=settings.seed)
    stored = {"rule": rule.to_dict()}
    if judgement is None:
        return _Outcome(metrics, [], stored, rule=rule)
    findings = [*judgement.findings(), *judging.of_overfitting(judgement, metrics["train"])]
    recorded = {"judgement": judgement.to_dict(), "rule": rule.described(preprocessor, settings)}
    return _Outcome(metrics, findings, stored, recorded, judgement, rule)
