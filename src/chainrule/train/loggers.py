"""Callbacks that send a run's figures to TensorBoard, MLflow, or anything with ``log(dict, step=…)``."""

from __future__ import annotations

import contextlib
import math
import numbers
import os
import re
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .callbacks import Callback, Run

#: Greatest length of a text in MLflow.
_LONGEST = 5000

#: Characters that MLflow does not allow in names.
_REFUSED = re.compile(r"[^\w\-. :/]")


class Logger(Callback):
    """Base of the loggers: after each epoch, it writes the rows of the history that have not been written yet.

    An error before the first step ends the call of ``fit``, as in any callback. A later error does not stop training:
    it gives one `RuntimeWarning`, and each following epoch tries again, first with the rows that are not yet written.
    At the end there is another warning if some are missing; the history that ``fit`` returns has them all.

    The row of an epoch is written with the epoch's number as its step. A run that is resumed from a checkpoint
    continues after the rows of the checkpoint.
    """

    def __init__(self) -> None:
        self._written = 0
        self._failing = False

    def begin(self, run: Run, settings: Mapping[str, Any]) -> None:
        """Before the first step, with the run's hyperparameters: numbers and texts. To be written by subclasses."""

    def write(self, run: Run, figures: Mapping[str, float], epoch: int) -> None:
        """Write the figures of an epoch. To be written by subclasses."""

    def end(self, run: Run) -> None:
        """After the last step, also when the run was stopped or failed. To be written by subclasses."""

    def on_begin(self, run: Run) -> None:
        """Write the hyperparameters."""
        self._written, self._failing = len(run.history), False
        try:
            self.begin(run, hyperparameters(run))
        except BaseException:
            with contextlib.suppress(Exception):  # what it has opened by then
                self.end(run)
            raise

    def on_epoch(self, run: Run) -> None:
        """Write the rows that have not been written yet."""
        self._attempt(lambda: self._write_rows(run))

    def on_end(self, run: Run) -> None:
        """Write the rows that have not been written yet, and close."""
        self._attempt(lambda: self._write_rows(run))
        self._attempt(lambda: self.end(run))
        lost = len(run.history) - self._written
        if lost:
            what = "the last epoch" if lost == 1 else f"the last {lost:,} epochs"
            _warn(f"{type(self).__name__}: {what} could not be written; the history that fit returns has all of them")

    def _write_rows(self, run: Run) -> None:
        for row in run.history[self._written :]:
            self.write(run, _figures(row), int(row["epoch"]))
            self._written += 1

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
            self._failing = False
        except Exception as error:
            if not self._failing:
                _warn(f"{type(self).__name__} failed, training continues: {type(error).__name__}: {error}")
            self._failing = True


class LogTo(Logger):
    """Send the figures of each epoch to an object that has ``log(dict, step=…)``, or to a function called like that.

    For example a run of Weights & Biases or Trackio, or their module. If the object has a mapping ``config``, the
    hyperparameters that it lacks are added. The object stays open: the caller finishes it.

    Parameters
    ----------
    target
        The object or the function.
    prefix : str
        Put before each name: ``"train/"`` gives ``train/loss``.

    Examples
    --------
    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> digits = cr.data.load_digits()
    >>> def log(figures, step):
    ...     print(step, sorted(figures))
    >>> _ = cr.fit(nn.Linear(64, 10), digits.X, digits.y, epochs=2, callbacks=[cr.LogTo(log)], progress=False)
    1 ['accuracy', 'loss', 'lr', 'seconds']
    2 ['accuracy', 'loss', 'lr', 'seconds']
    """

    def __init__(self, target: Any, prefix: str = "") -> None:
        super().__init__()
        log = getattr(target, "log", target)
        if not callable(log):
            raise TypeError(
                f"target: expected an object with log(dict, step=…) or a function, got type {type(target).__name__}"
            )
        self.target, self.prefix, self._log = target, prefix, log

    def begin(self, run: Run, settings: Mapping[str, Any]) -> None:
        """Add to the target's config."""
        config: Any = getattr(self.target, "config", None)
        if hasattr(config, "update") and hasattr(config, "keys"):
            there = set(config.keys())  # Weights & Biases does not allow changes of values
            config.update({name: value for name, value in settings.items() if name not in there})

    def write(self, run: Run, figures: Mapping[str, float], epoch: int) -> None:
        """Log them."""
        self._log({self.prefix + name: value for name, value in figures.items()}, step=epoch)


class TensorBoardLogger(Logger):
    """Write event files that TensorBoard reads: a curve per column of the history, and the hyperparameters as text.

    Parameters
    ----------
    folder : str or path
        One folder per run; created if missing. ``tensorboard --logdir`` takes the parent folder to compare runs.
    histograms : bool
        Write the distributions of all parameters after each epoch, too.

    Raises
    ------
    ImportError
        Without tensorboardX (the extra ``tensorboard``).

    Examples
    --------
    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> digits = cr.data.load_digits()
    >>> logger = cr.TensorBoardLogger('runs/digits')  # doctest: +SKIP
    >>> cr.fit(nn.Linear(64, 10), digits.X, digits.y, callbacks=[logger])  # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike[str], *, histograms: bool = False) -> None:
        super().__init__()
        try:
            import tensorboardX
        except ImportError:
            raise ImportError("TensorBoardLogger needs tensorboardX: pip install 'chainrule[tensorboard]'") from None
        if Path(folder).is_file():
            raise NotADirectoryError(f"folder: expected a folder for the run, got the file {os.fspath(folder)!r}")
        self.folder, self.histograms, self._open = Path(folder), histograms, tensorboardX.SummaryWriter
        self._writer: Any = None

    def begin(self, run: Run, settings: Mapping[str, Any]) -> None:
        """Open the event file."""
        self._writer = self._open(str(self.folder), flush_secs=5)
        lines = [f"| {name} | {_cell(value)} |" for name, value in settings.items() if name != "model"]
        model = "\n".join("    " + line for line in settings["model"].splitlines())
        self._writer.add_text("hyperparameters", "\n".join(["| | |", "|---|---|", *lines, "", model]))
        self._writer.flush()

    def write(self, run: Run, figures: Mapping[str, float], epoch: int) -> None:
        """Add a point to each curve."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, epoch)
        if self.histograms and epoch == run.epoch:
            for path, parameter in run.model.named_parameters():
                self._writer.add_histogram(path.replace(".", "/"), parameter.value, epoch)

    def end(self, run: Run) -> None:
        """Close the event file."""
        self._writer.close()


class MLflowLogger(Logger):
    """Write metrics and hyperparameters to MLflow.

    Inside ``with mlflow.start_run():`` into that run, which stays open; otherwise into a new run, which ends as
    FINISHED, KILLED (Ctrl-C) or FAILED.

    Parameters
    ----------
    experiment : str
        Created if there is none of this name.
    run_name : str, optional
    tracking_uri : str, optional
        Default: MLflow's configuration (``MLFLOW_TRACKING_URI``).
    run_id : str, optional
        Write into this run; hyperparameters that it already has are not changed.
    tags : mapping, optional

    Attributes
    ----------
    run_id : str or None
        The run that is written to, from the first step on.

    Raises
    ------
    ImportError
        Without MLflow (the extra ``mlflow``: mlflow-skinny).

    Examples
    --------
    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> digits = cr.data.load_digits()
    >>> logger = cr.MLflowLogger()  # doctest: +SKIP
    >>> cr.fit(nn.Linear(64, 10), digits.X, digits.y, callbacks=[logger])  # doctest: +SKIP
    """

    def __init__(
        self,
        experiment: str = "chainrule",
        *,
        run_name: str | None = None,
        tracking_uri: str | None = None,
        run_id: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        try:
            import mlflow
        except ImportError:
            raise ImportError("MLflowLogger needs MLflow: pip install 'chainrule[mlflow]'") from None
        self.experiment, self.run_name, self.run_id = experiment, run_name, run_id
        self._tags, self._own = dict(tags or {}), False
        self._mlflow, self._client = mlflow, mlflow.MlflowClient(tracking_uri)

    def begin(self, run: Run, settings: Mapping[str, Any]) -> None:
        """Find or create the run, and write the hyperparameters."""
        active = self._mlflow.active_run()
        if self.run_id is None and active is not None:
            self.run_id = active.info.run_id
        if self.run_id is None:
            found = self._client.get_experiment_by_name(self.experiment)
            place = found.experiment_id if found else self._client.create_experiment(self.experiment)
            self.run_id = self._client.create_run(place, run_name=self.run_name).info.run_id
            self._own = True
        for name, text in {**self._tags, "model": settings["model"][:_LONGEST]}.items():
            self._client.set_tag(self.run_id, name, text)
        there = self._client.get_run(self.run_id).data.params  # MLflow does not allow changes of values
        entity = self._mlflow.entities.Param
        new = {name: value for name, value in settings.items() if name != "model" and name not in there}
        self._client.log_batch(self.run_id, params=[entity(k, str(v)[:_LONGEST]) for k, v in new.items()])

    def write(self, run: Run, figures: Mapping[str, float], epoch: int) -> None:
        """Log the metrics of an epoch."""
        now, entity = int(time.time() * 1000), self._mlflow.entities.Metric
        named = {_REFUSED.sub("_", name): value for name, value in figures.items()}
        self._client.log_batch(self.run_id, metrics=[entity(k, v, now, epoch) for k, v in named.items()])

    def end(self, run: Run) -> None:
        """End the run if this logger created it."""
        if self._own:
            ended = run.epoch >= run.epochs or run.stopping is not None
            status = "KILLED" if run.interrupted else "FINISHED" if ended else "FAILED"
            self._client.set_terminated(self.run_id, status)
            self.run_id, self._own = None, False


def hyperparameters(run: Run) -> dict[str, Any]:
    """Return the settings of a run: numbers and texts by name, not nested."""
    settings: dict[str, Any] = {"model": repr(run.model), "parameters": run.model.num_parameters}
    for name, value in run.settings.items():
        nested = value.items() if isinstance(value, Mapping) else [("", value)]
        settings |= {f"{name}.{k}" if k else name: _plain(v) for k, v in nested if v is not None}
    return settings


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | bool | int | float) else str(value)


def _figures(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of a row of the history, since MLflow and others refuse NaN and infinity."""
    found = {k: v for k, v in row.items() if k != "epoch" and isinstance(v, numbers.Real)}
    return {k: float(v) for k, v in found.items() if math.isfinite(v)}


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|")


def _warn(message: str) -> None:
    # without a registry of warnings, so that a second run with the same failure warns again
    warnings.warn_explicit(message, RuntimeWarning, "chainrule", 0, module=__name__)
