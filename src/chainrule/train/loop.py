"""The training loop: epochs, steps, callbacks, checkpoints, and what happens when one of them fails."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.op import Array
from ..nn import Module
from .blas import limited
from .callbacks import Callback, Run
from .checkpoint import Checkpoint, Progress, save_checkpoint
from .history import History
from .interrupt import Interrupts
from .step import TrainingStep

#: Milliseconds after which a run of steps comes back, so that Ctrl-C and progress are served.
SLICE = 100.0


class NonFiniteError(FloatingPointError):
    """The loss, or a parameter, became NaN or infinite; the message names the first value that did."""


class Loop:
    """The state of one call of fit.

    Parameters
    ----------
    training : TrainingStep
    X, y : arrays
    examples : int
        How many rows an epoch visits.
    order : function
        Returns, for an epoch from 0, the numbers of these rows in their order.
    size : int
        Examples a step.
    epochs : int
    callbacks : sequence
        With on_begin, on_step, on_epoch, on_end, as far as they have them.
    saved : int
        How many of them belong into a checkpoint; the first ones.
    validate : function or None
        Returns the figures of the validation part.
    """

    training: TrainingStep
    examples: int
    order: Callable[[int], Array]
    size: int
    X: Array
    y: Array
    epochs: int
    callbacks: Sequence[Any]
    saved: int
    validate: Callable[[], Mapping[str, float]] | None
    model: Module
    history: History
    progress: Progress
    batches: int

    def __init__(
        self,
        training: TrainingStep,
        X: Array,
        y: Array,
        *,
        examples: int,
        order: Callable[[int], Array],
        size: int,
        epochs: int,
        callbacks: Sequence[Any],
        saved: int,
        validate: Callable[[], Mapping[str, float]] | None,
    ) -> None:
        self.training, self.examples, self.order, self.size = training, examples, order, size
        self.X, self.y = np.ascontiguousarray(X), np.ascontiguousarray(y)  # gathered row by row
        self.epochs, self.callbacks, self.saved, self.validate = epochs, callbacks, saved, validate
        self.model = training.model  # as callbacks see it
        self.history = History()
        self.progress = Progress()
        self.checkpoint: Checkpoint | None = None
        self.settings: dict[str, Any] = {}  # what a checkpoint is held to
        self.described: dict[str, Any] = {}  # what callbacks are told
        self.batches = -(-examples // size)
        # planned now, so that a batch that the model cannot take is found before anything is trained
        sizes = {size, examples - (self.batches - 1) * size}
        self._bindings = {n: training.binding(X[:n], y[:n]) for n in sizes}
        self._on_step = [c.on_step for c in callbacks if overrides(c, "on_step")]
        self._before: list[Array] = []  # the states at the beginning of the epoch
        self._torn = False  # whether a step has begun and not ended
        self._saved_at = -1

    def run(self) -> History:
        """Train to the end or a stop. However it ends, the model gets whole weights and each callback its on_end."""
        p = self.progress
        run = Run(
            self.model, self.history, self.epochs, self.size, self.batches, self.training, p.epoch, p.step,
            settings=self.described,
        )  # fmt: skip
        self._before = self.training.snapshot()
        largest = 2 * self.size * max(a.size for a in self.training.parameters.values())
        threads = limited(self.training.threads, largest)
        with Interrupts(run) as interrupts, threads, contextlib.ExitStack() as ends:
            ends.callback(self.training.write_back)
            try:
                for c in self.callbacks:
                    if hasattr(c, "on_begin"):
                        c.on_begin(run)
                    if hasattr(c, "on_end"):
                        ends.callback(c.on_end, run)
                while p.epoch < self.epochs and run.stopping is None:
                    self._epoch(run)
                if self.checkpoint and run.stopping is not None and self._saved_at != p.step:
                    self._save()
            except KeyboardInterrupt:
                run.interrupted = True
                run.stopping = f"interrupted in epoch {p.epoch + 1}, after {p.step} steps"
                if self._torn:
                    run.stopping = f"interrupted within a step; the weights are those before epoch {p.epoch + 1}"
            finally:
                interrupts.close()
                if self._torn:
                    self.training.restore(self._before)
                self.history.stopped = run.stopping
                self.training.write_back()
        return self.history

    def _epoch(self, run: Run) -> None:
        p, training, size = self.progress, self.training, self.size
        started = time.perf_counter() - p.seconds
        order = self.order(p.epoch)
        first = p.batch
        sums = list(p.sums) or [0.0] * (1 + len(training.metrics))
        self._before = training.snapshot()
        while p.batch < self.batches:
            for results in self._steps(order, p.batch):
                if not math.isfinite(results[0]):
                    raise self._explained(order, first, p.batch)
                count = min(size, len(order) - p.batch * size)
                for i, value in enumerate(results):
                    sums[i] += value * count
                p.batch, p.step = p.batch + 1, p.step + 1
                run.step, run.loss = p.step, results[0]
            if p.batch == self.batches:
                break
            p.sums, p.seconds = tuple(sums), time.perf_counter() - started
            for on_step in self._on_step:
                on_step(run)
            if self.checkpoint and self.checkpoint.steps and p.step % self.checkpoint.steps == 0:
                self._save()
            if run.stopping is not None:
                return
        if not all(np.isfinite(s).all() for s in training.states if s.dtype.kind == "f"):
            raise self._explained(order, first, self.batches - 1)
        for on_step in self._on_step:
            on_step(run)
        self._close_epoch(run, sums, started)

    def _steps(self, order: Array, b: int) -> list[list[float]]:
        """Make steps from batch b on, as many as nobody wants to look in between, for at most a tenth of a second."""
        most = self.batches - b
        if self._on_step:
            most = 1
        elif self.checkpoint and self.checkpoint.steps:
            most = min(most, self.checkpoint.steps - self.progress.step % self.checkpoint.steps)
        return self._run(order, b, most, SLICE)

    def _run(self, order: Array, b: int, steps: int, milliseconds: float) -> list[list[float]]:
        first = b * self.size
        rows = min(steps * self.size, len(order) - first)
        whole = self._bindings[min(self.size, rows)]
        rest = self._bindings.get(rows % self.size)
        results = np.empty((steps, len(whole.plan.outputs)))
        self._torn = True
        with np.errstate(all="ignore"):
            size = min(self.size, rows)
            made = whole.run_batches(rest, self.X, self.y, order, first, size, rows, results, milliseconds)
        self._torn = False
        found: list[list[float]] = results[:made].tolist()
        return found

    def _close_epoch(self, run: Run, sums: list[float], started: float) -> None:
        p = self.progress
        row: dict[str, Any] = {"epoch": p.epoch + 1}
        row |= {name: s / self.examples for name, s in zip(("loss", *self.training.metrics), sums, strict=True)}
        self.training.write_back()
        if self.validate is not None:
            row |= {f"val_{k}": v for k, v in self.validate().items()}
        row["lr"] = float(self.training.optimizer.learning_rate(p.step - 1))
        row["seconds"] = time.perf_counter() - started
        self.history.rows.append(row)
        p.epoch, p.batch, p.sums, p.seconds = p.epoch + 1, 0, (), 0.0
        run.epoch = p.epoch
        for c in self.callbacks:
            if hasattr(c, "on_epoch"):
                c.on_epoch(run)
        if self.checkpoint is not None:
            every, steps = self.checkpoint.epochs, self.checkpoint.steps
            if (every and p.epoch % every == 0) or (steps and p.step % steps == 0) or p.epoch == self.epochs:
                self._save()

    def _save(self) -> None:
        assert self.checkpoint is not None
        callbacks = list(self.callbacks[: self.saved])
        save_checkpoint(self.checkpoint.path, self.training, self.progress, self.history.rows, callbacks, self.settings)
        self._saved_at = self.progress.step

    def _explained(self, order: Array, first: int, bad: int) -> NonFiniteError:
        """Go through the epoch again, step by step, to the first value that is not finite, and name it."""
        training, epoch = self.training, self.progress.epoch + 1
        at, found = bad, None
        training.restore(self._before)
        for b in range(first, bad + 1):
            rows = order[b * self.size : (b + 1) * self.size]
            good = training.snapshot()
            loss = self._run(order, b, 1, SLICE)[0][0]
            after = training.first_bad_state()
            if not math.isfinite(loss) or after:
                training.restore(good)
                at = b
                found = training.first_bad(self.X[rows], self.y[rows]) or after
                break
        cause = f": the first tensor that went bad is {found}" if found else ""
        return NonFiniteError(
            f"training stopped being finite in epoch {epoch}, step {at + 1} of {self.batches}{cause}. A smaller "
            "learning rate, clip_norm in the optimiser, or standardised inputs usually help. The model has the weights "
            "from before that step."
        )


def overrides(callback: Any, method: str) -> bool:
    """Return whether a callback has a method of its own of this name."""
    own = getattr(callback, method, None)
    return own is not None and getattr(own, "__func__", own) is not getattr(Callback, method)
