"""The training loop: epochs, steps, callbacks, checkpoints, and the handling of their errors."""

from __future__ import annotations

import contextlib
import errno
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.arrays import is_finite
from ..core.op import Array
from ..core.processes import Group, checksum
from ..io.files import sweep
from ..nn import Module
from .ahead import GivenUp
from .blas import limited
from .callbacks import Callback, Run
from .checkpoint import Checkpoint, Progress, load_checkpoint, save_checkpoint
from .feed import SLICE, Feed, Made
from .history import History
from .interrupt import interruptible
from .nonfinite import NonFiniteError, first_bad, first_bad_state
from .step import TrainingStep
from .together import Pace, firsts_file

#: What makes a first checkpoint fail for good. A full disk may have room for the next one.
_PERMANENT = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)


@dataclass(frozen=True)
class Job:
    """What a run consists of.

    Attributes
    ----------
    training : TrainingStep
    feed : Feed
        The batches of each epoch.
    epochs : int
    callbacks : sequence
        Objects with some of on_begin, on_step, on_epoch, on_end. What shows the progress also has an on_slice: called
        now and then within an epoch, without making the run any slower, as on_step would.
    saved : int
        How many of them, from the first on, are saved in a checkpoint.
    validate : function or None
        Returns the figures of the validation split.
    model : Module or None
        As callbacks see it; None: the one that is trained.
    described : mapping
        The settings that callbacks see.
    checkpoint : Checkpoint or None
        If its file exists, the run resumes from it.
    settings : mapping
        Compared with those of a checkpoint: with other settings it belongs to another run.
    """

    training: TrainingStep
    feed: Feed
    epochs: int
    callbacks: Sequence[Any] = ()
    saved: int = 0
    validate: Callable[[], Mapping[str, float]] | None = None
    model: Module | None = None
    described: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


class Loop:
    """The state of one run of a `Job`."""

    def __init__(self, job: Job) -> None:
        self.job, self.training = job, job.training
        self._group = job.training.sharding.group if job.training.sharding else Group()
        self._pace = Pace(self._group, SLICE / 1000) if self._group.size > 1 else None
        self.history, self.progress = History(), Progress()
        # planned now, so that a batch that the model does not accept is found before training starts
        job.feed.bind(job.training)
        self._each_step = any(overrides(c, "on_step") for c in job.callbacks)
        self._callbacks = [c for c in job.callbacks if self._group.first or getattr(c, "everywhere", False)]
        self._on_step = [c.on_step for c in self._callbacks if overrides(c, "on_step")]
        self._on_slice = [c.on_slice for c in self._callbacks if hasattr(c, "on_slice")]
        self._before: list[Array] = []  # the states at the beginning of the epoch, or before the batches that are kept
        self._first = 0  # and the batch that follows them
        self._saved_at = -1

    def resume(self) -> None:
        """Take over the state of the job's checkpoint, if there is one."""
        job = self.job
        if job.checkpoint is None:
            return
        if self._group.first:
            sweep(job.checkpoint.path)
        with firsts_file(self._group, job.checkpoint.path) as file:
            if file is not None:
                saved = list(job.callbacks[: job.saved])
                self.progress, self.history.rows = load_checkpoint(file, job.training, saved, job.settings)

    def run(self) -> History:
        """Train to the end or a stop. In every case the model gets consistent weights and each on_end is called."""
        job, p = self.job, self.progress
        run = Run(
            job.model or self.training.model, self.history, job.epochs, job.feed.size, job.feed.batches or 0,
            self.training, p.epoch, p.step, settings=dict(job.described),
        )  # fmt: skip
        if self._pace is None:  # other processes would wait for this one's steps
            job.feed.given_up = lambda: run.stopping is not None
        self._before = self.training.snapshot()
        largest = 2 * job.feed.size * max(a.size for a in self.training.parameters.values())
        threads = limited(self.training.threads, largest)
        with interruptible(run) as close, threads, contextlib.ExitStack() as ends:
            ends.callback(self.training.write_back)
            try:
                for c in self._callbacks:
                    if hasattr(c, "on_begin"):
                        c.on_begin(run)
                    if hasattr(c, "on_end"):
                        ends.callback(c.on_end, run)
                while p.epoch < job.epochs and not self._stops(run):
                    self._epoch(run)
                if job.checkpoint and run.stopping is not None and self._saved_at != p.step:
                    self._save()
            except KeyboardInterrupt:
                run.interrupted = True
                run.stopping = f"interrupted in epoch {p.epoch + 1}, after {p.step} steps"
                if job.feed.torn:
                    batch = f", step {self._first + 1}" if self._first else ""
                    run.stopping = f"interrupted within a step; the weights are those before epoch {p.epoch + 1}{batch}"
            finally:
                close()
                if job.feed.torn:
                    self.training.restore(self._before)
                self.history.stopped, self.history.interrupted = run.stopping, run.interrupted
                self.training.write_back()
        return self.history

    def _stops(self, run: Run) -> bool:
        """Whether the run is to end now, of which several processes must be of one mind."""
        if self._pace is None:
            return run.stopping is not None
        stopping, interrupted = self._pace.agree(run.stopping, run.interrupted)
        if self.training.rate is not None:
            self.training.rate[...] = self._group.firsts(self.training.rate)  # a callback may have set it
        if stopping is None:  # a signal that came while the others were waited for is told next time
            return False
        run.stopping, run.interrupted = stopping, interrupted
        return True

    def _epoch(self, run: Run) -> None:
        job, p, training, feed = self.job, self.progress, self.training, self.job.feed
        started = time.perf_counter() - p.seconds
        try:
            feed.start(p.epoch, p.batch)
        except GivenUp:
            return
        feed.bind(training)
        # of the loss, the metrics, and if it is not known beforehand the number of examples
        sums = list(p.sums) or [0.0] * (1 + len(training.metrics) + (feed.examples is None))
        self._copy()
        while not feed.ended(p.batch):
            made = self._steps()
            if not made:  # what reads batches ahead was not waited for
                return
            for results, count in made:
                if not math.isfinite(results[0]):
                    raise self._explained(p.batch)
                for i, value in enumerate(results):
                    sums[i] += value * count
                if feed.examples is None:
                    sums[-1] += count
                p.batch, p.step = p.batch + 1, p.step + 1
                run.step, run.loss = p.step, results[0]
            if feed.wants_copy(p.batch):
                self._require_finite()
                self._copy()
            if feed.ended(p.batch):
                break
            for on_slice in self._on_slice:
                on_slice(run)
            p.sums, p.seconds = tuple(sums), time.perf_counter() - started
            for on_step in self._on_step:
                on_step(run)
            if job.checkpoint and job.checkpoint.steps and p.step % job.checkpoint.steps == 0:
                self._save()
            if self._stops(run):
                return
        self._require_finite()
        run.steps_per_epoch = p.batch
        for on_step in self._on_step:
            on_step(run)
        examples = sums.pop() if feed.examples is None else feed.examples
        self._close_epoch(run, [s / examples for s in sums], started)

    def _copy(self) -> None:
        """Copy the states as they are before the next batch."""
        self._before, self._first = self.training.snapshot(), self.progress.batch
        self.job.feed.forget()

    def _require_finite(self) -> None:
        with np.errstate(all="ignore"):
            finite = all([is_finite(s) for s in self.training.states if s.dtype.kind == "f"])
        if not finite:
            raise self._explained(self.progress.batch - 1)

    def _steps(self) -> Made:
        """Make steps until the next callback or checkpoint, for at most `SLICE`."""
        feed, pace, most = self.job.feed, self._pace, None
        if self._each_step:
            most = 1
            feed.bind(self.training)  # a callback may have changed a setting
        elif (saving := self.job.checkpoint) and saving.steps:
            most = saving.steps - self.progress.step % saving.steps
        if pace is None:
            return feed.run(self.training, self.progress.batch, most, SLICE)
        started = time.perf_counter()
        made = feed.run(self.training, self.progress.batch, min(most or pace.steps, pace.steps), math.inf)
        pace.made(len(made), time.perf_counter() - started)
        return made

    def _close_epoch(self, run: Run, means: list[float], started: float) -> None:
        job, p = self.job, self.progress
        row: dict[str, Any] = {"epoch": p.epoch + 1}
        row |= dict(zip(("loss", *self.training.metrics), means, strict=True))
        if self._pace is not None:
            self._require_same()
        self.training.write_back()
        if job.validate is not None:
            row |= {f"val_{k}": v for k, v in job.validate().items()}
        rate = self.training.rate
        row["lr"] = float(
            self.training.optimizer.learning_rate(max(self.training.updates - 1, 0)) if rate is None else rate
        )
        row["seconds"] = time.perf_counter() - started
        if job.feed.waited is not None:
            row["waited"] = job.feed.waited
        self.history.rows.append(row)
        p.epoch, p.batch, p.sums, p.seconds = p.epoch + 1, 0, (), 0.0
        run.epoch = p.epoch
        for c in self._callbacks:
            if hasattr(c, "on_epoch"):
                c.on_epoch(run)
        if job.checkpoint is not None:
            every, steps = job.checkpoint.epochs, job.checkpoint.steps
            if (every and p.epoch % every == 0) or (steps and p.step % steps == 0) or p.epoch == job.epochs:
                self._save()

    def _require_same(self) -> None:
        """Raise if the processes have come to different weights."""
        sums = self._group.everyones(checksum(self.training.states))
        others = [str(rank) for rank, found in enumerate(sums) if found != sums[0]]
        if others:
            raise RuntimeError(
                f"after epoch {self.progress.epoch + 1} process 0 has other weights than process {', '.join(others)}. "
                "Either the processors differ in instruction set (chainrule doctor tells), or a callback or a module "
                "did something in one process only; a callback with everywhere = True is called in all"
            )

    def _save(self) -> None:
        job = self.job
        assert job.checkpoint is not None
        if not self._group.first:
            self._saved_at = self.progress.step
            return
        saved = list(job.callbacks[: job.saved])
        try:
            save_checkpoint(job.checkpoint.path, self.training, self.progress, self.history.rows, saved, job.settings)
        except OSError as error:
            if self._saved_at < 0 and error.errno in _PERMANENT:
                raise
            step, reason = self.progress.step, error.strerror or error
            warnings.warn(f"after step {step} no checkpoint was saved, training continues: {reason}", stacklevel=2)
            return
        self._saved_at = self.progress.step

    def _explained(self, bad: int) -> NonFiniteError:
        """Repeat the steps since the last copy up to the first value that is not finite, and name it."""
        training, epoch, feed = self.training, self.progress.epoch + 1, self.job.feed
        at, found = bad, None
        training.restore(self._before)
        for b in range(self._first, bad + 1):
            x, y, last = feed.again(b)
            good = training.snapshot()
            loss = training.run(x, y, last)[0]
            after = first_bad_state(training)
            if not math.isfinite(loss) or after:
                training.restore(good)
                at = b
                found = first_bad(training, x, y) or after
                break
        cause = f": the first non-finite tensor is {found}" if found else ""
        of = f" of {feed.batches}" if feed.batches else ""
        return NonFiniteError(
            f"training stopped being finite in epoch {epoch}, step {at + 1}{of}{cause}. A smaller "
            "learning rate, clip_norm in the optimiser, or standardised inputs usually help. The model has the weights "
            "from before that step."
        )


def overrides(callback: Any, method: str) -> bool:
    """Return whether a callback overrides the method of this name."""
    own = getattr(callback, method, None)
    return own is not None and getattr(own, "__func__", own) is not getattr(Callback, method)
