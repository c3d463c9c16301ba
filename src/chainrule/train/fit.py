"""fit: the training loop."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import nn, optim
from ..data import epoch_order, split
from ..nn import losses
from ..op import Array
from .callbacks import EarlyStopping, Run, as_callback
from .callbacks import Progress as ProgressBar
from .checkpoint import Checkpoint, Progress, load_checkpoint, save_checkpoint
from .evaluate import Forward, checked_input, checked_target, evaluation_mode, fitting_dtype, measure
from .history import History
from .metrics import Metric, resolve
from .step import Scalar, TrainingStep


class NonFiniteError(FloatingPointError):
    """The loss, or a parameter, became NaN or infinite; the message names the first value that did."""


def fit(
    model: nn.Module,
    X: Any,
    y: Any,
    *,
    loss: str | Scalar = "cross_entropy",
    optimizer: Any = None,
    epochs: int = 20,
    batch_size: int | None = 32,
    shuffle: bool = True,
    validation: float | tuple[Any, Any] | None = None,
    seed: int = 0,
    callbacks: Iterable[Any] = (),
    progress: bool | None = None,
    engine: str | None = None,
    threads: int | None = None,
    metrics: Iterable[str | Metric] | Mapping[str, Metric] | None = None,
    early_stopping: int | EarlyStopping | None = None,
    l1: float = 0.0,
    l2: float = 0.0,
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
    resume: bool = False,
) -> History:
    """Train a model by mini-batch gradient descent.

    Parameters
    ----------
    model : nn.Module
        Trained in place: its parameters are replaced when an epoch ends.
    X : array of shape (m, …)
        Examples in rows.
    y : array of shape (m, …)
        Targets as the loss takes them: class ids ``(m,)`` or one-hot rows for ``cross_entropy``.
    loss : str or callable
        By name (see ``nn.losses``), or any function (output, target) -> scalar.
    optimizer : str or optimiser
        From ``chainrule.optim``; None is ``Adam(1e-3)``.
    epochs : int
        How often every example is visited.
    batch_size : int or None
        Examples a step; None takes all of them at once. A smaller batch at the end of an epoch is used as it is.
    shuffle : bool
        Visit the examples in a new order each epoch, drawn from `seed`.
    validation : float, (X, y) or None
        A share of the examples to hold out (drawn from `seed`), or separate data: measured after each epoch.
    seed : int
        Of the order, the split and dropout. The same seed gives the same weights.
    callbacks : iterable
        Functions of a `Run`, called after each epoch, or `Callback` objects.
    progress : bool or None
        Show a bar on standard error; None: if that is a terminal.
    engine, threads
        As for ``chainrule.compile``.
    metrics
        Names, functions (output, target) -> number, or a dict of them; None: what goes with the loss.
    early_stopping : int, EarlyStopping or None
        Epochs without improvement after which to stop; the best weights are kept.
    l1, l2 : float
        Regularisation of the weights (not the biases); see ``nn.losses.penalty``.
    checkpoint : path, Checkpoint or None
        Where to save the run after every epoch, or as the `Checkpoint` says.
    resume : bool
        Go on from the checkpoint if there is one; the weights become what they would have been without the stop, bit
        for bit.

    Returns
    -------
    History
        A row an epoch. After Ctrl-C: the rows so far, ``history.stopped`` says so, and the model has the weights so far.

    Raises
    ------
    ValueError, TypeError
        For data or settings that don't fit, before anything is trained; the message names the argument.
    NonFiniteError
        When the loss or a parameter is no longer finite; the model has the weights before that step.
    FileExistsError
        If the checkpoint is there already and `resume` is False.
    """
    X, y = checked_input(X, "X"), checked_target(y, X)
    _at_least(epochs=epochs, batch_size=batch_size)
    optimizer = optim.get("adam" if optimizer is None else optimizer)
    figures = resolve(metrics, loss)
    training_rows, held_out = _parts(X, y, validation, seed)
    dtype = next((p.dtype for p in model.parameters()), np.dtype(np.float32))
    y = fitting_dtype(y, dtype)
    if X.dtype.kind == "f" and X.dtype != dtype:
        X = X.astype(dtype)
    was_training = [(m, m.training) for _, m in model.named_modules()]
    model.train()
    dropouts = [(m, m.seed) for m in model.modules() if isinstance(m, nn.Dropout)]
    for layer, own in dropouts:
        layer.seed = (own + seed * 0x9E3779B97F4A7C15) % 2**64  # another seed draws other masks
    try:
        _check_targets(model, loss, X, y)
        training = TrainingStep(model, loss, optimizer, l1=l1, l2=l2, metrics=figures, engine=engine, threads=threads)
        rows = len(training_rows)
        size = min(batch_size or rows, rows)
        calls = [as_callback(c) for c in callbacks]
        if early_stopping is not None:
            calls.append(EarlyStopping(early_stopping) if isinstance(early_stopping, int) else early_stopping)
        saved = len(calls)  # the bar holds nothing that a checkpoint needs
        if progress or (progress is None and sys.stderr.isatty()):
            calls.append(ProgressBar())
        loop = _Loop(training, X, y, training_rows, size, shuffle, seed, figures, calls, saved, epochs)
        if held_out is not None:
            held_figures = resolve(metrics, loss)
            loop.validation = (Forward(model, engine=engine, threads=threads), held_out, loss, held_figures)
        loop.checkpoint = Checkpoint(checkpoint) if isinstance(checkpoint, str | os.PathLike) else checkpoint
        loop.settings = {
            "batch_size": size, "examples": rows, "shuffle": shuffle, "seed": seed, "l1": l1, "l2": l2,
            "loss": loss if isinstance(loss, str) else getattr(loss, "__name__", "function"), "optimizer": optimizer.config(),
        }  # fmt: skip
        if loop.checkpoint is not None and Path(loop.checkpoint.path).exists():
            if not resume:
                raise FileExistsError(f"checkpoint {loop.checkpoint.path} exists; go on from it with resume=True, or name another")
            loop.progress, loop.history.rows = load_checkpoint(loop.checkpoint.path, training, calls[:saved], loop.settings)
        return loop.run()
    finally:
        for module, mode in was_training:
            module.training = mode
        for layer, own in dropouts:
            layer.seed = own


def _at_least(**numbers: int | None) -> None:
    for name, n in numbers.items():
        if n is not None and n < 1:
            raise ValueError(f"{name} is {n}; 1 or more would do")


def _parts(X: Array, y: Array, validation: Any, seed: int) -> tuple[Array, tuple[Array, Array] | None]:
    """Return the rows to train on, and the validation data."""
    everything = np.arange(len(X))
    if validation is None or validation == 0:
        return everything, None
    if isinstance(validation, tuple | list):
        if len(validation) != 2:
            raise ValueError(f"validation has {len(validation)} parts; a share between 0 and 1, or (X, y), would do")
        held_X = checked_input(validation[0], "validation[0]")
        if held_X.shape[1:] != X.shape[1:]:
            raise ValueError(f"validation[0] has shape {held_X.shape}, X has {X.shape}; all axes but the first must be equal")
        return everything, (held_X, checked_target(validation[1], held_X))
    train, held = split(len(X), float(validation), seed)
    return train, (X[held], y[held])


def _check_targets(model: nn.Module, loss: str | Scalar, X: Array, y: Array) -> None:
    """Let the loss look at all targets before anything is trained: labels out of range, wrong shapes."""
    with evaluation_mode(model):
        output = model(X[:1]).detach().value
    losses.get(loss)(np.zeros((len(X), *output.shape[1:]), output.dtype), y)


class _Loop:
    """The state of one call of fit."""

    def __init__(
        self,
        training: TrainingStep,
        X: Array,
        y: Array,
        rows: Array,
        size: int,
        shuffle: bool,
        seed: int,
        figures: Mapping[str, Metric],
        callbacks: Sequence[Any],
        saved: int,
        epochs: int,
    ) -> None:
        self.training, self.X, self.y, self.rows, self.size = training, X, y, rows, size
        self.shuffle, self.seed, self.figures, self.epochs = shuffle, seed, figures, epochs
        self.callbacks, self.saved = callbacks, saved
        self.history = History()
        self.progress = Progress()
        self.validation: Any = None
        self.checkpoint: Checkpoint | None = None
        self.settings: dict[str, Any] = {}
        self.batches = -(-len(rows) // size)
        self._watched = [c.on_step for c in callbacks if _overrides(c, "on_step")]

    def run(self) -> History:
        """Train to the end, or to a stop."""
        p = self.progress
        run = Run(self.training.model, self.history, self.epochs, self.size, self.batches, self.training, p.epoch, p.step)
        self._call("on_begin", run)
        try:
            with _deferred_interrupt(run):
                while p.epoch < self.epochs and run.stopping is None:
                    self._epoch(run)
            self.history.stopped = run.stopping
        except KeyboardInterrupt:
            self.history.stopped = f"interrupted in epoch {p.epoch + 1}, after {p.step} steps"
        finally:
            self._call("on_end", run)
            self.training.write_back()
        return self.history

    def _call(self, method: str, run: Run) -> None:
        for c in self.callbacks:
            if hasattr(c, method):
                getattr(c, method)(run)

    def _epoch(self, run: Run) -> None:
        p, training = self.progress, self.training
        started = time.perf_counter() - p.seconds
        order = self.rows[epoch_order(len(self.rows), self.seed, p.epoch, self.shuffle)]
        before = training.snapshot()
        first = p.batch
        sums = list(p.sums) or [0.0] * (1 + len(self.figures))
        with np.errstate(all="ignore"):
            for b in range(p.batch, self.batches):
                rows = order[b * self.size : (b + 1) * self.size]
                results = self._step(rows)
                if not math.isfinite(results[0]):
                    raise self._explained(order, before, first, b)
                for i, value in enumerate(results):
                    sums[i] += value * len(rows)
                p.batch, p.step = b + 1, p.step + 1
                p.sums, p.seconds = tuple(sums), time.perf_counter() - started
                run.step, run.loss = p.step, results[0]
                for on_step in self._watched:
                    on_step(run)
                if self.checkpoint and self.checkpoint.steps and p.step % self.checkpoint.steps == 0 and p.batch < self.batches:
                    self._save()
                if run.stopping is not None and p.batch < self.batches:
                    return
        if not all(np.isfinite(v).all() for v in training.parameters.values()):
            raise self._explained(order, before, first, self.batches - 1)
        self._close_epoch(run, sums, time.perf_counter() - started)

    def _step(self, rows: Array) -> tuple[Any, ...]:
        """Gather a batch into the plan's own input buffers, and run it."""
        training = self.training
        binding = self._binding(len(rows))
        x, y = binding.input_buffer(0), binding.input_buffer(1)
        np.take(self.X, rows, axis=0, out=x, mode="clip")
        np.take(self.y, rows, axis=0, out=y, mode="clip")
        binding.run()
        return training.results(binding)

    def _binding(self, n: int) -> Any:
        if not hasattr(self, "_bound"):
            self._bound: dict[int, Any] = {}
        if n not in self._bound:
            self._bound[n] = self.training.binding(self.X[:n], self.y[:n])
        return self._bound[n]

    def _close_epoch(self, run: Run, sums: list[float], seconds: float) -> None:
        p = self.progress
        rate = float(self.training.optimizer.learning_rate(p.step - 1))
        row: dict[str, Any] = {"epoch": p.epoch + 1}
        row |= {name: s / len(self.rows) for name, s in zip(("loss", *self.figures), sums, strict=True)}
        self.training.write_back()
        if self.validation is not None:
            forward, (held_X, held_y), loss, figures = self.validation
            measured = measure(forward(held_X), held_y, loss, figures)
            row |= {f"val_{k}": v for k, v in measured.items()}
        row |= {"lr": rate, "seconds": seconds}
        self.history.rows.append(row)
        p.epoch, p.batch, p.sums, p.seconds = p.epoch + 1, 0, (), 0.0
        run.epoch = p.epoch
        self._call("on_epoch", run)
        if self.checkpoint is not None:
            every = self.checkpoint.epochs
            by_steps = self.checkpoint.steps and p.step % self.checkpoint.steps == 0
            if (every and p.epoch % every == 0) or by_steps or p.epoch == self.epochs:
                self._save()

    def _save(self) -> None:
        assert self.checkpoint is not None
        callbacks = list(self.callbacks[: self.saved])
        save_checkpoint(self.checkpoint.path, self.training, self.progress, self.history.rows, callbacks, self.settings)

    def _explained(self, order: Array, before: list[Array], first: int, bad: int) -> NonFiniteError:
        """Go through the epoch again, step by step, to the first value that is not finite, and name it."""
        training, p = self.training, self.progress
        where = f"the loss is not finite in epoch {p.epoch + 1}, step {bad + 1} of {self.batches}"
        found = None
        training.restore(before)
        for b in range(first, bad + 1):
            rows = order[b * self.size : (b + 1) * self.size]
            good = training.snapshot()
            results = self._step(rows)
            finite = all(np.isfinite(v).all() for v in training.states if v.dtype.kind == "f")
            if not math.isfinite(results[0]) or not finite:
                training.restore(good)
                where = f"training stopped being finite in epoch {p.epoch + 1}, step {b + 1} of {self.batches}"
                found = training.first_bad(self.X[rows], self.y[rows])
                break
        cause = f": the first tensor that went bad is {found}" if found else ""
        return NonFiniteError(
            f"{where}{cause}. A smaller learning rate, clip_norm in the optimiser, or standardised inputs usually help. "
            "The model has the weights from before that step."
        )


@contextlib.contextmanager
def _deferred_interrupt(run: Run) -> Iterator[None]:
    """Let Ctrl-C end the run after the current step, so that no update is left half done; a second one ends it at once."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run.stop(f"interrupted in epoch {run.epoch + 1}")

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _overrides(callback: Any, method: str) -> bool:
    from .callbacks import Callback

    own = getattr(type(callback), method, None)
    return own is not None and own is not getattr(Callback, method, None)
