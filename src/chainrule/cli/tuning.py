"""tune: the search for the settings of a network."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import click

from ..core.arguments import integer, number
from . import options
from .output import echo, ended_by_signals, explained, say
from .training import train

#: Options of `train` about the run in a folder and what is printed, which a search doesn't have.
NOT_SEARCHED = {"out", "overwrite", "checkpoint_every", "resume", "with_report", "quiet", "engine", "threads", "shards"}
#: Of the rows that are trained on, held out to compare trials, unless the command says otherwise.
VALIDATION, PATIENCE = 0.2, 10


def _settings_of_train(command: Any) -> Any:
    """Add the options of `train`; none has a default, so that what is given is known from what isn't."""
    for parameter in reversed(train.params):
        if isinstance(parameter, click.Option) and parameter.name not in NOT_SEARCHED:
            described: dict[str, Any] = {"help": parameter.help, "type": parameter.type, "multiple": parameter.multiple}
            command = click.option(*parameter.opts, parameter.name, **described)(command)
    return command


@click.command()
@options.source
@click.option(
    "--minutes", type=float, help="end the search after so many minutes; default: 10, unless --trials is given"
)
@click.option("--trials", type=int, help="end the search after so many trials")
@click.option("--out", type=options.PATH, help="the folder of the search; default: runs/NAME-tune")
@click.option("--resume", is_flag=True, help="continue the search in the folder")
@click.option("--engine", help="native or numpy; default: native if it was built")
@options.threads
@click.option("--quiet", "-q", is_flag=True, help="print nothing but errors")
@_settings_of_train
def tune(
    source: Any, minutes: float | None, trials: int | None, out: Path | None, resume: bool, engine: str | None,
    threads: int | None, quiet: bool, **given: Any,
) -> None:  # fmt: skip
    """Search for the settings with which a network predicts best.

    Trials are compared by their loss on rows that are held out for validation. Settings that are given are the same in
    all trials. The first trial has the defaults; one that is worse than the median of the others is ended early. Ctrl-C
    ends the search, and --resume continues it. At the end the command to train with the best settings is printed; the
    run with them is in the folder already.
    """
    from .. import runs
    from .training import prepared_for

    with explained(), ended_by_signals():
        if trials is not None:
            integer("trials", trials, at_least=1)
        minutes = 10.0 if minutes is None and trials is None else minutes
        if minutes is not None:
            number("minutes", minutes, above=0)
        runs.check_engine(engine, threads)
        asked = {name: value for name, value in given.items() if value is not None and value != ()}
        of_network = {name: value for name, value in asked.items() if name in runs.SETTINGS}
        of_data = {name: value for name, value in asked.items() if name not in runs.SETTINGS}
        fixed = options.given(of_network)
        model = of_data.pop("model", None)
        prepared, network = prepared_for(source, fixed, model=model, **of_data)
        own = prepared.validation is not None
        compared = _compared(runs.Settings.of(network, prepared.examples, fixed, own_validation=own), own)
        folder = out or Path("runs") / f"{runs.folder_name(options.first(source))}-tune"
        if not quiet:
            say("data", f"{prepared.source}: {len(prepared.train):,} rows to train and validate", *prepared.notes)
            spaces = runs.NETWORKS[network].search
            say("searched", *(f"{name}: {space}" for name, space in spaces.items() if name not in fixed))
        search = runs.tune(
            prepared, network, {**fixed, **compared}, folder, minutes=minutes, trials=trials, resume=resume,
            engine=engine, threads=threads, told=_said if not quiet else lambda trial: None,
        )  # fmt: skip
        if not quiet:
            _conclude(search, runs, _command(source, {**asked, **compared}, search.best))


def _compared(settings: Any, own_validation: bool) -> dict[str, Any]:
    """Return the settings by which trials are compared, where the network's own don't hold rows out or stop early."""
    from .. import runs

    held = {} if own_validation or settings.validation else {"validation": VALIDATION}
    stopping = runs.NETWORKS[settings.model].stopping(settings, "val_loss")
    return held | ({} if stopping is not None else {"patience": PATIENCE})


def _said(trial: Any) -> None:
    early = "" if trial.ended else f" (ended early, after epoch {trial.epochs})"
    say(f"trial {trial.number} ", f"loss {trial.loss:.4g}{early}  {trial.words}")


def _command(source: Any, given: dict[str, Any], best: Any) -> str:
    """Return the command that trains with the best settings."""
    if best is None:
        return ""
    words = ["chainrule", "train", *([source] if isinstance(source, str) else source)]
    for name, value in {**given, **best.settings}.items():
        for each in value if isinstance(value, tuple) else (value,):
            words += [f"--{name.replace('_', '-')}", str(each)]
    return shlex.join(words)


def _conclude(search: Any, runs: Any, command: str) -> None:
    best = search.best
    if best is None:
        say("best", "no trial has ended: give the search more --minutes")
        return
    first = next((trial for trial in search.trials if trial.number == 1 and trial.ended), None)
    defaults = f"; the defaults: {first.loss:.4g}" if first is not None else ""
    say("best", f"trial {best.number} of {len(search.trials)}: validation loss {best.loss:.4g}{defaults}")
    if search.importances:
        say("matters", ", ".join(f"{name} {100 * share:.0f} %" for name, share in search.importances.items()))
    echo(f"{'train':<9}{command}")  # not wrapped, so that it can be copied
    say("written", f"{search.folder}{os.sep} ({runs.BEST}{os.sep}: the run, {runs.PAGE}, {runs.TRIALS})")
