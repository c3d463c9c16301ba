"""Callbacks that fit calls during training, such as early stopping."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .. import nn
from ..core.arguments import integer, number, unexpected
from ..optim import ReduceOnPlateau
from .history import History
from .metrics import is_better_when_larger
from .step import TrainingStep


@dataclass
class Run:
    """A training run as callbacks see it.

    Attributes
    ----------
    model : nn.Module
        Its weights are current whenever an epoch's callback is called.
    history : History
        The rows so far.
    epochs, batch_size, steps_per_epoch : int
        `steps_per_epoch` is 0 as long as the length of an iterable is not known.
    epoch : int
        Epochs finished.
    step : int
        Steps made since the start.
    loss : float
        Of the last step.
    training : TrainingStep
        The plan's own parameters, buffers and optimiser state.
    stopping : str or None
        Why the run is about to end.
    interrupted : bool
        Whether Ctrl-C was pressed.
    settings : dict
        What ``fit`` was called with, as numbers, texts and dicts of them: the loss, the optimiser, the seed, ….

    Examples
    --------
    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> digits = cr.data.load_digits()
    >>> seen = []
    >>> def look(run):
    ...     seen.append((run.epoch, run.step))
    >>> _ = cr.fit(nn.Linear(64, 10), digits.X, digits.y, epochs=2, callbacks=[look], progress=False)
    >>> seen
    [(1, 57), (2, 114)]
    """

    model: nn.Module
    history: History
    epochs: int
    batch_size: int
    steps_per_epoch: int
    training: TrainingStep
    epoch: int = 0
    step: int = 0
    loss: float = math.nan
    stopping: str | None = None
    interrupted: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def stop(self, reason: str = "a callback asked for it") -> None:
        """End the run after the current step."""
        self.stopping = self.stopping or reason


class Callback:
    """Base of callbacks; override what you need.

    Any object with some of these methods can be a callback, and so can a plain function, which is called after each
    epoch. An error in a callback ends the run like any other error: the model keeps the weights so far.

    Examples
    --------
    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> class Printer(cr.Callback):
    ...     def on_epoch(self, run):
    ...         print(run.epoch, sorted(run.history[-1]))
    >>> digits = cr.data.load_digits()
    >>> model = nn.Sequential(nn.Linear(64, 10))
    >>> _ = cr.fit(model, digits.X, digits.y, epochs=1, callbacks=[Printer()], progress=False)
    1 ['accuracy', 'epoch', 'loss', 'lr', 'seconds']
    """

    everywhere = False

    def on_begin(self, run: Run) -> None:
        """Before the first step."""

    def on_step(self, run: Run) -> None:
        """After each step; ``run.loss`` is its loss. The model gets its weights at the end of the epoch."""

    def on_epoch(self, run: Run) -> None:
        """After each epoch; ``run.history[-1]`` is its row."""

    def on_end(self, run: Run) -> None:
        """Once, after the last step, also when the run was stopped or failed; the model has its weights by then.

        Called if `on_begin` was, in the opposite order.
        """

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold of this callback (numbers, text, arrays)."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""


class EarlyStopping(Callback):
    """Stop when a figure has not improved for a while, and keep the best weights.

    Parameters
    ----------
    patience : int
        Epochs without improvement that are allowed.
    metric : str or None
        A column of the history; None: ``val_loss``, or ``loss`` without a validation split.
    min_delta : float
        The smallest change that counts as an improvement.
    maximize : bool or None
        Whether larger is better; None: as the metric's row in ``chainrule.judging.METRICS`` says.
    growth : float
        How much longer to wait for each epoch until the best one: patience + growth · its number.

    Examples
    --------
    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> digits = cr.data.load_digits()
    >>> stop = cr.EarlyStopping(patience=1, min_delta=10.0)
    >>> history = cr.fit(
    ...     nn.Linear(64, 10), digits.X, digits.y, epochs=9, validation=0.2, early_stopping=stop, progress=False
    ... )
    >>> len(history), history.stopped
    (2, 'val_loss has not improved for 1 epoch')
    """

    everywhere = True

    def __init__(
        self,
        patience: int = 10,
        metric: str | None = None,
        min_delta: float = 0.0,
        maximize: bool | None = None,
        growth: float = 0.0,
    ) -> None:
        self.growth = number("growth", growth, at_least=0)
        self.patience = integer("patience", patience, at_least=1)
        self.min_delta = number("min_delta", min_delta, at_least=0)
        self.metric, self.maximize = metric, maximize
        self.best = math.inf
        self.best_epoch: int | None = None
        self.weights: list[Any] | None = None

    def on_begin(self, run: Run) -> None:
        """Reset, unless the run resumes from a checkpoint; stop if the checkpoint's run was stopped here."""
        if run.step == 0:
            self.best, self.best_epoch, self.weights = math.inf, None, None
        elif run.history.rows:
            self._stop_if_over(run, self._watched(run)[0])

    def _watched(self, run: Run) -> tuple[str, float]:
        return compared(run.history[-1], self.metric, "EarlyStopping", self.maximize)

    def _stop_if_over(self, run: Run, column: str) -> None:
        best = self.best_epoch or 0
        allowed = self.patience + int(self.growth * best)
        if run.epoch - best >= allowed:
            run.stop(f"{column} has not improved for {allowed} epoch{'s' * (allowed > 1)}")

    def on_epoch(self, run: Run) -> None:
        """Compare the figure; keep the weights if it is the best, stop if patience is exceeded."""
        column, value = self._watched(run)
        if value < self.best - self.min_delta:
            self.best, self.best_epoch = value, run.epoch
            self.weights = [a.copy() for a in run.training.trained]
        else:
            self._stop_if_over(run, column)

    def on_end(self, run: Run) -> None:
        """Restore the best weights."""
        if self.weights is not None:
            run.training.write_back(self.weights)
            run.history.best_epoch = self.best_epoch

    def state(self) -> dict[str, Any]:
        """Return the best figure, its epoch and its weights."""
        kept = {f"weights.{i}": w for i, w in enumerate(self.weights or [])}
        return {"best": None if math.isinf(self.best) else self.best, "best_epoch": self.best_epoch, **kept}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.best = math.inf if state["best"] is None else state["best"]
        self.best_epoch = state["best_epoch"]
        n = sum(k.startswith("weights.") for k in state)
        self.weights = [state[f"weights.{i}"] for i in range(n)] or None


class PlateauRate(Callback):
    """Lowers the learning rate as a `ReduceOnPlateau` says."""

    everywhere = True

    def __init__(self, schedule: ReduceOnPlateau) -> None:
        self.schedule, self.best, self.waited = schedule, math.inf, 0

    def on_begin(self, run: Run) -> None:
        """Reset, unless the run resumes from a checkpoint."""
        if run.step == 0:
            self.best, self.waited = math.inf, 0

    def on_epoch(self, run: Run) -> None:
        """Compare the figure with the best; lower the rate if the patience is exceeded."""
        value = compared(run.history[-1], self.schedule.metric, "ReduceOnPlateau")[1]
        if value < self.best - self.schedule.threshold * (abs(self.best) if math.isfinite(self.best) else 0.0):
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited > self.schedule.patience:
            rate = run.training.rate
            assert rate is not None
            rate[...] = max(rate * self.schedule.factor, min(self.schedule.min_lr, rate))
            self.waited = 0

    def state(self) -> dict[str, Any]:
        """Return the best figure, and the epochs since."""
        return {"best": None if math.isinf(self.best) else self.best, "waited": self.waited}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.best, self.waited = math.inf if state["best"] is None else state["best"], state["waited"]


def compared(row: dict[str, Any], metric: str | None, watcher: str, maximize: bool | None = None) -> tuple[str, float]:
    """Return which column of the history a callback watches, and a figure of its last row that is to be small."""
    column = metric or ("val_loss" if "val_loss" in row else "loss")
    if column not in row:
        raise ValueError(f"{watcher} watches {column!r}; the history has {', '.join(row)}")
    larger = maximize if maximize is not None else is_better_when_larger(column.removeprefix("val_"))
    return column, -row[column] if larger else row[column]


class EachEpoch(Callback):
    """A plain function as a callback."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def on_epoch(self, run: Run) -> None:
        """Call it."""
        self.function(run)


def as_callbacks(given: Any) -> list[Any]:
    """Return the callbacks for what a caller gave, a list of objects and functions."""
    if not isinstance(given, Iterable):
        raise unexpected("callbacks", "a list of callbacks", given)
    return [_as_callback(x) for x in given]


def _as_callback(x: Any) -> Any:
    if isinstance(x, type):
        raise TypeError(f"callbacks: expected an object or a function, got the class {x.__name__}; use {x.__name__}()")
    if isinstance(x, Callback) or any(hasattr(x, m) for m in ("on_begin", "on_step", "on_epoch", "on_end")):
        return x
    if callable(x):
        return EachEpoch(x)
    raise TypeError(
        f"callbacks: expected a function or an object with on_epoch (or on_begin, …), got {type(x).__name__}"
    )
