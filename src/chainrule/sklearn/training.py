"""A run of the library's training loop by scikit-learn's rules: when it stops, what it records."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..core.op import Array
from ..train import Callback, NonFiniteError, Run
from ..train.feed import Rows
from ..train.loop import Job, Loop
from .objective import PenalizedStep
from .rates import Rates

#: Returns score and loss of the held-out split.
Scored = Callable[[], tuple[float, float]]


@dataclass
class Course:
    """What an estimator's training came to so far; `warm_start` and `partial_fit` go on from it.

    Attributes
    ----------
    samples : int
        Seen so far, over all epochs.
    epochs : int
        Of the last call.
    losses, scores, held_losses : list of float
        After each epoch: the mean loss of its batches; score and loss of the held-out split.
    best_loss, best_score : float
    waiting : int
        Epochs without an improvement.
    optimizer : list of arrays or None
        The optimiser's state.
    rule : tuple or None
        Which optimiser's state that is.
    rates : Rates or None
        How the learning rate went on.
    rate : float
        The next epoch's.
    stopped : str or None
        Why the last call ended before its last epoch.
    interrupted : bool
    """

    samples: int = 0
    epochs: int = 0
    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    held_losses: list[float] = field(default_factory=list)
    best_loss: float = math.inf
    best_score: float = -math.inf
    waiting: int = 0
    optimizer: list[Array] | None = None
    rule: tuple[Any, ...] | None = None
    rates: Rates | None = None
    rate: float = 0.0
    stopped: str | None = None
    interrupted: bool = False


@dataclass(frozen=True)
class Rules:
    """How long to train.

    Attributes
    ----------
    epochs : int
        At most.
    tol : float
        What counts as an improvement.
    patience : float
        Epochs without one that are allowed.
    rates : Rates
    verbose : bool
    goes_on : bool
        Whether learning rate and count of epochs go on from the call before.
    """

    epochs: int
    tol: float
    patience: float
    rates: Rates
    verbose: bool
    goes_on: bool = False

    def one_epoch(self) -> Rules:
        """Return the rules of a call that makes one epoch more."""
        return replace(self, epochs=1, goes_on=True)


class Watch(Callback):
    """Records each epoch in a `Course`, sets the learning rate, stops, and keeps the best weights of a scored run.

    Parameters
    ----------
    course, rules
    rate : float
        The first epoch's learning rate.
    examples : int
        An epoch's.
    scored : function or None
        Without one, the loss decides.
    """

    everywhere = True

    def __init__(self, course: Course, rules: Rules, rate: float, examples: int, scored: Scored | None) -> None:
        self._course, self._rules, self._rate, self._examples, self._scored = course, rules, rate, examples, scored
        self._best: list[Array] | None = None
        self._before = len(course.losses) if rules.goes_on else 0

    def on_begin(self, run: Run) -> None:
        """Set the first learning rate."""
        self._set(run, self._rate)

    def _set(self, run: Run, rate: float) -> None:
        self._rate = rate
        state = run.training.rate
        if state is not None:  # else the optimiser goes by a schedule
            state[...] = rate

    def on_epoch(self, run: Run) -> None:
        """Record; judge; change the learning rate or stop."""
        course, rules, row = self._course, self._rules, run.history[-1]
        course.epochs, course.samples = run.epoch, course.samples + self._examples
        course.losses.append(row["loss"])
        if rules.verbose:
            print(f"Iteration {run.epoch}, loss = {row['loss']:.8f}")
        improved = self._score(run) if self._scored else self._lose(row["loss"])
        course.waiting = 0 if improved else course.waiting + 1
        rate = rules.rates.after(self._rate, self._before + run.epoch, course.samples)
        if course.waiting > rules.patience:
            rate = self._stalled(run, rate)
        self._set(run, rate)
        course.rates, course.rate = rules.rates, rate

    def _lose(self, loss: float) -> bool:
        course = self._course
        improved = loss <= course.best_loss - self._rules.tol
        course.best_loss = min(course.best_loss, loss)
        return improved

    def _score(self, run: Run) -> bool:
        assert self._scored is not None
        course = self._course
        score, loss = self._scored()
        course.scores.append(score)
        course.held_losses.append(loss)
        run.history[-1].update(val_score=score, val_loss=loss)
        if self._rules.verbose:
            print(f"Validation score: {score:f}")
        improved = score >= course.best_score + self._rules.tol
        if score > course.best_score:
            course.best_score = score
            self._best = [a.copy() for a in run.training.trained]
        return improved

    def _stalled(self, run: Run, rate: float) -> float:
        what = "Validation score" if self._scored else "Training loss"
        rules = self._rules
        text = f"{what} did not improve more than tol={rules.tol:f} for {rules.patience} consecutive epochs."
        lower = rules.rates.stalled(rate, self._before + run.epoch)
        if lower is None:
            run.stop(text)
        elif lower != rate:
            self._course.waiting = 0
        if rules.verbose and lower != rate:
            print(f"{text} {rules.rates.ending if lower is None else f'Setting learning rate to {lower:f}'}")
        return rate if lower is None else lower

    def on_end(self, run: Run) -> None:
        """Put the best weights back; note how it ended."""
        self._course.stopped = run.stopping
        self._course.interrupted = (run.stopping or "").startswith("interrupted")
        if self._best is not None:
            run.training.write_back(self._best)

    def diverged(self, error: NonFiniteError) -> bool:
        """Record an epoch whose values were not finite, and warn; return False if there are no weights to keep."""
        if self._best is None:
            return False
        course = self._course
        course.epochs += 1
        for curve in (course.losses, course.scores, course.held_losses):
            curve.append(math.nan)
        course.stopped = str(error)
        warnings.warn(
            f"The weights with the best validation score, {course.best_score:.4g}, are kept, since {error}",
            ConvergenceWarning,
            stacklevel=6,
        )
        return True


def train(
    step: PenalizedStep,
    X: Array,
    y: Array,
    *,
    course: Course,
    rules: Rules,
    size: int,
    order: Callable[[int], Array],
    scored: Scored | None = None,
    callbacks: Sequence[Any] = (),
    described: Mapping[str, Any] | None = None,
    begin: Callable[[], None] | None = None,
) -> None:
    """Train until the rules say stop; `step` holds the weights then, and its model does.

    Parameters
    ----------
    step : PenalizedStep
        Goes on from the optimiser's state that `course` has, if it has one that fits.
    X, y : arrays
        In the step's dtype; y packed if the step is weighted.
    course : Course
        Written to.
    rules : Rules
    size : int
        Examples a step.
    order : function
        Epoch, from 0 -> the order of the rows.
    scored : function or None
    callbacks : sequence
    described : mapping or None
        What callbacks are told about the run.
    begin : function or None
        Called when all is planned, before the first step.
    """
    rule = type(step.optimizer), getattr(step.optimizer, "rate_in_velocity", None)
    kept = course.optimizer if course.rule == rule else None  # another's arrays mean something else
    if kept is not None and [s.shape for s in kept] == [s.shape for s in step.optimizer_state]:
        for state, old in zip(step.optimizer_state, kept, strict=True):
            np.copyto(state, old, casting="same_kind")
    first = course.rate if rules.goes_on and course.rates == rules.rates else rules.rates.start()
    watch = Watch(course, rules, first, len(X), scored)
    job = Job(
        step, Rows(X, y, len(X), size, order), epochs=rules.epochs, callbacks=[watch, *callbacks],
        described=described or {},
    )  # fmt: skip
    try:
        loop = Loop(job)
        if begin is not None:
            begin()
        loop.run()
    except NonFiniteError as error:
        if not watch.diverged(error):
            raise
    finally:
        course.optimizer, course.rule = step.optimizer_state, rule
