"""A search for the settings with which a network predicts best, through Optuna."""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..io.locks import locked
from ..reporting.tuning_page import Trial, write_page
from ..train import Callback
from ..train.callbacks import Run
from .networks import NETWORKS
from .preparing import Prepared
from .settings import Settings
from .training import train

#: Files in the folder of a search: the trials, the page, and the run with the best settings.
TRIALS, PAGE, BEST = "trials.jsonl", "tune.html", "best"
#: Trials that run to their end, and epochs of each later one, before it can be ended for being worse than the median.
FULL_TRIALS, FULL_EPOCHS = 5, 3
#: Ended trials from which on the importance of a setting is more than chance.
ENOUGH_TRIALS = 20


@dataclass
class Search:
    """The trials of a search.

    Attributes
    ----------
    folder : Path
    trials : list of Trial
    importances : dict of str to float
        The share of the variation between trials that each setting accounts for; empty for few trials.
    """

    folder: Path
    trials: list[Trial] = field(default_factory=list)
    importances: dict[str, float] = field(default_factory=dict)

    @property
    def best(self) -> Trial | None:
        """The trial with the lowest validation loss; None if none has ended."""
        ended = [trial for trial in self.trials if trial.ended]
        return min(ended, key=lambda trial: trial.loss) if ended else None


def tune(
    prepared: Prepared,
    model: str,
    given: Mapping[str, Any],
    folder: Path,
    *,
    minutes: float | None = None,
    trials: int | None = None,
    resume: bool = False,
    engine: str | None = None,
    threads: int | None = None,
    told: Callable[[Trial], None] = lambda trial: None,
) -> Search:
    """Search for the settings of a network with the lowest validation loss.

    The first trial has the network's defaults, the next ones are drawn by the tree-structured Parzen estimator, and a
    trial that is worse than the median of the others is ended early. The folder gets the trials, so that the search
    can be resumed, a page about them, and the run with the best settings.

    Parameters
    ----------
    prepared : Prepared
    model : str
    given : mapping
        Settings that are the same in all trials; those left out are searched for, or have their defaults.
    folder : Path
    minutes, trials
        When to end; the trial that runs then is ended as well.
    resume : bool
        Whether to continue the search in the folder.
    engine, threads
        As `train` has them.
    told : function
        Called with each trial that has ended.

    Raises
    ------
    FileExistsError
        If the folder holds a search and `resume` is False.
    ValueError
        If the search in the folder was of other data or settings, or if nothing is left to search for.
    """
    optuna = _optuna()
    row = NETWORKS[model]
    spaces = {name: space for name, space in row.search.items() if name not in given}
    if not spaces:
        names = ", ".join(row.search) or "no setting"
        raise ValueError(f"nothing is left to search for: the model {model} searches for {names}")
    fixed = {"fingerprint": prepared.fingerprint, "model": model, **json.loads(json.dumps(dict(given)))}
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder), _quiet(optuna):
        study = _study(optuna, folder, fixed, resume, _settings(model, prepared, given).seed)
        work = _Work(optuna, prepared, model, given, folder, spaces, engine, threads, _deadline(minutes))
        search = Search(folder, _read(study))
        left = None if trials is None else max(trials - len(search.trials), 0)
        with contextlib.suppress(KeyboardInterrupt):
            while left != 0 and time.monotonic() < work.deadline:
                study.optimize(work.run, n_trials=1)
                search.trials = _read(study)
                told(search.trials[-1])
                left = None if left is None else left - 1
        search.trials = _read(study)
        search.importances = _importances(optuna, study)
        write_page(folder / PAGE, search.trials, search.importances, search.best)
    return search


@dataclass
class _Work:
    """What a trial does: it trains with the settings drawn for it, and keeps the run if it is the best one."""

    optuna: Any
    prepared: Prepared
    model: str
    given: Mapping[str, Any]
    folder: Path
    spaces: Mapping[str, Any]
    engine: str | None
    threads: int | None
    deadline: float

    def run(self, trial: Any) -> float:
        """Train; return the lowest validation loss."""
        tried = self.spaces if trial.number else {}  # first the defaults, whatever they depend on
        drawn = {name: space.suggest(trial, name) for name, space in tried.items()}
        settings = _settings(self.model, self.prepared, {**self.given, **drawn})
        watch = _Watch(trial, self.optuna.TrialPruned, self.deadline)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="trial-") as place:
            try:
                result = train(
                    self.prepared, settings, Path(place), progress=watch, engine=self.engine, threads=self.threads
                )
            except FloatingPointError as error:  # diverged
                raise self.optuna.TrialPruned(str(error)) from None
            if result.history.interrupted:
                raise KeyboardInterrupt
            if watch.loss < min(_losses(trial.study), default=math.inf):
                (self.folder / BEST).mkdir(exist_ok=True)
                for file in Path(place).iterdir():
                    shutil.copy(file, self.folder / BEST)
        trial.set_user_attr("epochs", len(result.history))
        return watch.loss


class _Watch(Callback):
    """Reports the validation loss to a trial, and ends it if the others were better by then or the time is up."""

    def __init__(self, trial: Any, pruned: type[Exception], deadline: float) -> None:
        self.trial, self.pruned, self.deadline = trial, pruned, deadline
        self.loss = math.inf

    def on_step(self, run: Run) -> None:
        """End the run if the time is up, with what it has reached."""
        if time.monotonic() > self.deadline and run.epoch:
            run.stop("the time of the search is up")

    def on_epoch(self, run: Run) -> None:
        """Report the epoch."""
        row = run.history[-1]
        loss = row.get("val_log_loss", row["val_loss"])  # with smoothed labels the loss says less
        self.loss = min(self.loss, loss)
        self.trial.report(self.loss, run.epoch)
        if self.trial.should_prune():
            self.trial.set_user_attr("epochs", run.epoch)
            raise self.pruned(f"worse than the median after epoch {run.epoch}")


def _optuna() -> Any:
    try:
        return importlib.import_module("optuna")
    except ImportError:
        raise ImportError("tune needs Optuna: pip install 'chainrule[tune]'") from None


@contextlib.contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Keep Optuna from writing a line about each trial."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _study(optuna: Any, folder: Path, fixed: dict[str, Any], resume: bool, seed: int) -> Any:
    """Open the search in a folder, or begin one."""
    file = folder / TRIALS
    if file.exists() and not resume:
        raise FileExistsError(f"{folder} already holds a search; continue it with --resume, or choose another --out")
    journal = optuna.storages.journal
    backend = journal.JournalFileBackend(str(file), lock_obj=journal.JournalFileOpenLock(str(file)))
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(backend), study_name="chainrule", load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=FULL_TRIALS, n_warmup_steps=FULL_EPOCHS),
    )  # fmt: skip
    # A search that is resumed would draw the same settings again with the same seed.
    study.sampler = optuna.samplers.TPESampler(seed=seed + 1000 * len(study.trials))
    before = study.user_attrs.get("fixed")
    if before is None:
        study.set_user_attr("fixed", fixed)
    elif before != fixed:
        other = sorted(name for name in {*before, *fixed} if before.get(name) != fixed.get(name))
        raise ValueError(f"{folder} holds a search with a different {', '.join(other)}; choose another --out")
    return study


def _settings(model: str, prepared: Prepared, given: Mapping[str, Any]) -> Settings:
    return Settings.of(model, prepared.examples, given, own_validation=prepared.validation is not None)


def _deadline(minutes: float | None) -> float:
    return math.inf if minutes is None else time.monotonic() + 60 * minutes


def _losses(study: Any) -> list[float]:
    return [trial.loss for trial in _read(study) if trial.ended]


def _read(study: Any) -> list[Trial]:
    """Return the trials that have ended or were ended early; those that a killed process left are left out."""
    found: list[Trial] = []
    for trial in study.trials:
        if trial.state.name in ("COMPLETE", "PRUNED"):
            ended = trial.state.name == "COMPLETE"
            loss = trial.value if ended else min(trial.intermediate_values.values(), default=math.nan)
            epochs = trial.user_attrs.get("epochs", 0)
            settings = {name: f"{x:.3g}" if isinstance(x, float) else str(x) for name, x in trial.params.items()}
            found.append(Trial(len(found) + 1, settings, loss, ended, epochs, trial.duration.total_seconds()))
    return found


def _importances(optuna: Any, study: Any) -> dict[str, float]:
    """Return how much each setting matters; nothing for too few trials to tell."""
    ended = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    if len(ended) < ENOUGH_TRIALS or len({trial.value for trial in ended}) < 2:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    names = list(ended[-1].params)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator, params=names))
