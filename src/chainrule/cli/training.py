"""train and report: a run in a folder, and its page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from . import options
from .output import echo, explained, figure, say, sizes

#: Lines of the history that are printed, at most.
MOST_LINES = 12


@click.command()
@options.source
@options.target
@click.option("--loss", help="of the task; default: cross-entropy or mean squared error")
@click.option("--task", help="binary, multiclass or regression, instead of the inferred one")
@options.hidden
@options.activation
@click.option("--dropout", default=0.1, help="fraction of hidden values dropped in training")
@click.option("--epochs", default=30, help="passes over the training split")
@click.option("--batch-size", default=32, help="examples per step")
@click.option("--lr", default=1e-3, help="learning rate")
@click.option("--schedule", default="cosine", help="of the learning rate: cosine (down to 0 over the run) or constant")
@click.option("--optimizer", default="adam", help="adam, adamw, sgd, rmsprop, adagrad")
@click.option("--l2", default=0.0, help="L2 regularisation of the weights")
@click.option("--test", default=0.2, help="fraction held out for the final test, where the data has no test split")
@click.option("--validation", default=0.0, help="fraction of the training split held out for validation")
@click.option("--patience", type=int, help="epochs without improvement after which to stop; the best weights are kept")
@options.seed
@options.max_bytes
@click.option("--out", type=options.PATH, help="the run's folder; default: runs/NAME, numbered")
@click.option("--overwrite", is_flag=True, help="replace the run in --out")
@click.option("--engine", help="which engine computes")
@click.option("--threads", type=int, help="threads the engine may use")
@click.option(
    "--report", "with_report", is_flag=True, help="record the gradients during training, and write report.html"
)
@click.option("--quiet", "-q", is_flag=True, help="print nothing but errors")
def train(
    source: str,
    target: str | None,
    task: str | None,
    hidden: str,
    max_bytes: int | None,
    out: Path | None,
    overwrite: bool,
    engine: str | None,
    threads: int | None,
    with_report: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Train a network on data and write the run into a folder."""
    from .. import reporting, runs

    with explained():
        asked = runs.Settings(hidden=options.widths(hidden), **settings)
        if with_report:
            reporting.require_plotly()  # before the training, not after it
        prepared = runs.prepare(source, target, task, test=asked.test, seed=asked.seed, max_bytes=max_bytes)
        asked.loss_for(prepared.preprocessor.task)
        runs.check_engine(engine, threads)
        folder = runs.claim(out, source, overwrite)
        try:
            if not quiet:
                _introduce(prepared, runs.network(prepared.preprocessor, asked))
            shown = False if quiet else None
            result = runs.train(
                prepared, asked, folder, progress=shown, engine=engine, threads=threads, report=with_report
            )
        except BaseException as error:
            if with_report and isinstance(error, FloatingPointError):  # report the network from before it diverged
                _report(folder, quiet)
            runs.release(folder)
            raise
        if not quiet:
            _conclude(result)
        if with_report:
            _report(result, quiet)


@click.command()
@click.argument("run", type=options.PATH, help="the folder of a run, such as runs/digits")
@click.option("--out", type=options.PATH, help="the file to write; default: report.html in the run's folder")
def report(run: Path, out: Path | None) -> None:
    """Write the report of a run, one HTML file.

    Curves, worst predictions, the network's derivation and, of a run trained with --report, the gradient flow.
    """
    with explained():
        from .. import reporting

        say("written", str(reporting.report(run, out)))


def _report(run: Any, quiet: bool) -> None:
    from .. import reporting

    written = reporting.report(run)
    if not quiet:
        say("report", str(written))


def _introduce(prepared: Any, model: Any) -> None:
    rows = f"{prepared.source}: {len(prepared.train):,} rows to train, {len(prepared.test):,} to test"
    say("data", rows, *prepared.notes)
    say("network", f"{sizes(model)}, {model.num_parameters:,} parameters")


def _conclude(result: Any) -> None:
    rows = result.history.rows
    names = [k for k in (rows[-1] if rows else {}) if k not in ("epoch", "lr", "seconds")]
    if names:
        cells = [["epoch", *names], *([str(r["epoch"]), *(f"{r[n]:.4f}" for n in names)] for r in _some(rows))]
        columns = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            echo("  ".join(c.rjust(w) for c, w in zip(line, columns, strict=True)))
    if result.history.stopped:
        best = f"; the weights are those of epoch {result.history.best_epoch}" if result.history.best_epoch else ""
        say("stopped", result.history.stopped + best)
    for split, figures in result.metrics.items():
        say(split, ", ".join(f"{name} {figure(name, x)}" for name, x in figures.items()))
    say("time", f"{result.seconds:.1f} s")
    say("written", f"{result.folder}{os.sep} (model.safetensors, history.jsonl, run.json)")


def _some(rows: list[Any]) -> list[Any]:
    """Return a dozen rows at most: evenly spaced, the last one among them."""
    step = -(-len(rows) // MOST_LINES)
    return [r for i, r in enumerate(rows) if (len(rows) - 1 - i) % step == 0]
