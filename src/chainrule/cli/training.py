"""train and report: a run in a folder, and its page."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..core.arguments import integer
from . import options, processes
from .figures import figure, short, spread, table
from .output import echo, ended_by_signals, explained, say, sizes

#: Lines of the history that are printed, at most.
MOST_LINES = 12


@click.command()
@options.source
@options.target
@click.option("--exclude", multiple=True, metavar="COLUMN,…", help="columns of a table to leave out")
@click.option("--groups", metavar="COLUMN", help="rows with the same value here stay together in all splits")
@click.option("--loss", help="loss function; default: cross-entropy or mean squared error, by the task")
@click.option("--task", help="binary, multiclass or regression, instead of the inferred one")
@options.network
@click.option("--size", help="height and width to resize a folder's images to, such as 32x32")
@options.hidden
@options.activation
@click.option("--context", type=int, help="characters that charlm sees at once; default: 64")
@click.option("--width", type=int, help="of the vectors in charlm; default: 128")
@click.option("--layers", type=int, help="of the transformer in charlm; default: 2")
@click.option(
    "--dropout",
    type=float,
    help="fraction of values dropped in training; default: tabular 0.15, mlp 0.1, lenet 0.2, cnn 0.3, charlm 0",
)
@click.option(
    "--epochs",
    type=int,
    help="passes over the training split; default: tabular 256, others 30; fewer if there are many examples",
)
@click.option("--batch-size", type=int, help="examples per step; default: 32, tabular 64 to 1024, by the rows")
@click.option(
    "--lr", type=float, help="learning rate; default: 0.001, cnn and charlm 0.002, tabular 0.04, or 0.2 for numbers"
)
@click.option(
    "--schedule", help="learning rate over the run: cosine (down to 0), cycles (the default of tabular) or constant"
)
@click.option("--optimizer", help="adam, adamw (the one of tabular), sgd, rmsprop, adagrad, lion; default: adam")
@click.option(
    "--label-smoothing", type=float, help="share of each target that is spread over the classes; default: tabular 0.1"
)
@click.option("--l2", default=0.0, help="L2 regularisation of the weights")
@click.option(
    "--test", type=float, help="fraction held out for the final test, of a text its end; default: 0.2, of a text 0.1"
)
@click.option(
    "--validation",
    type=float,
    help="fraction of the training split held out for validation; default: tabular 0.2, 50,000 rows at most, others 0",
)
@click.option("--class-weight", help="of a classifier: balanced, or weights by class such as '{\"yes\": 5}'")
@click.option(
    "--threshold",
    help="of two classes: the probability from which the second is predicted, or f1 or balanced (balanced accuracy): "
    "the best one on the validation split",
)
@click.option("--calibrate", help="temperature: divide the logits by the number that is best on the validation split")
@click.option("--cv", type=int, metavar="FOLDS", help="cross-validate on the training split first")
@click.option("--patience", type=int, help="epochs without improvement after which to stop; the best weights are kept")
@click.option(
    "--on-disk/--in-memory",
    default=None,
    help="read Parquet and Arrow files while the network trains, or before; default: on disk if they exceed 1 GiB",
)
@options.seed
@options.max_bytes
@click.option("--out", type=options.PATH, help="the run's folder; default: runs/NAME, numbered")
@click.option("--overwrite", is_flag=True, help="replace the run in --out")
@click.option("--checkpoint-every", type=int, metavar="EPOCHS", help="write a checkpoint after this many epochs")
@click.option("--resume", is_flag=True, help="resume from the checkpoint in the folder, if there is one")
@click.option("--engine", help="native or numpy; default: native if it was built")
@options.threads
@click.option("--shards", type=int, help="parts of a batch that the processes of mpiexec share; default: one each")
@click.option(
    "--report", "with_report", is_flag=True, help="record the gradients during training, and write report.html"
)
@click.option("--quiet", "-q", is_flag=True, help="print nothing but errors")
def train(
    source: Any,
    target: str | None,
    exclude: tuple[str, ...],
    groups: str | None,
    task: str | None,
    model: str | None,
    size: str | None,
    on_disk: bool | None,
    max_bytes: int | None,
    out: Path | None,
    overwrite: bool,
    checkpoint_every: int | None,
    resume: bool,
    engine: str | None,
    threads: int | None,
    shards: int | None,
    cv: int | None,
    with_report: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Train a network on data and write the run into a folder.

    Ctrl-C ends a run after the current step and writes it as it is then. SIGTERM does the same, with exit status 143.
    With --checkpoint-every, a run that was interrupted or killed is resumed by the same command with --resume: the
    weights are the same bit for bit. In a terminal the progress is shown; elsewhere each epoch is a line of the output.
    With --cv 5, five networks are trained and measured before, each on other rows of the training split; the folder
    gets their figures, and predictions for all these rows.
    mpiexec -n 4 chainrule train … shares each batch between processes, of which the first prints and writes.
    """
    from .. import reporting, runs
    from .epoch_lines import progress

    group = processes.started()
    quiet, with_report = quiet or not group.first, with_report and group.first
    together = processes.ended_together(group), explained(), ended_by_signals(), processes.of_the_first(group, out)
    with contextlib.ExitStack() as entered:
        *_, out = [entered.enter_context(part) for part in together]
        if resume and overwrite:
            raise ValueError("give --resume or --overwrite, not both: the one keeps what is in the folder")
        if checkpoint_every is not None:
            integer("checkpoint-every", checkpoint_every, at_least=1)
        given = options.given(settings)
        runs.Settings.of(network_for(source, model), 1, given)  # refuses wrong settings before the data is read
        if with_report:
            reporting.require_plotly()  # before the training, not after it
        prepared, network = prepared_for(
            source, given, target, task, model, size, max_bytes, exclude, on_disk, groups
        )  # fmt: skip
        asked = runs.Settings.of(
            network, prepared.examples, given, own_validation=prepared.validation is not None
        )  # fmt: skip
        asked.loss_for(prepared.preprocessor.task)
        runs.check_engine(engine, threads)
        with runs.claimed(out, options.first(source), overwrite=overwrite, resume=resume) as (folder, ended):
            if group.firsts(ended):
                if group.first:
                    runs.check_same(folder, prepared.fingerprint, asked)
                if not quiet:
                    say("resumed", f"{folder}{os.sep}: the run has ended already, nothing to resume")
                return
            if not quiet:
                _introduce(prepared, asked, runs.network(prepared.preprocessor, asked))
                if group.size > 1:
                    say("mpi", f"{group.size} processes, threads of each: {threads or group.threads}")
                if (folder / runs.CHECKPOINT).exists():
                    say("resumed", f"from {folder / runs.CHECKPOINT}")
            if cv is not None:
                found = runs.cross_validate(
                    prepared, asked, folder, cv, after=None if quiet else _tell_fold, progress=False,
                    engine=engine, threads=threads,
                )  # fmt: skip
                if not quiet:
                    say("folds", *spread(found))
            shown = progress(quiet)
            try:
                result = runs.train(
                    prepared, asked, folder, progress=shown, engine=engine, threads=threads,
                    report=with_report, checkpoint_every=checkpoint_every or (1 if resume else None),
                    group=group, shards=shards,
                )  # fmt: skip
            except FloatingPointError:
                if with_report:  # report the network from before it diverged
                    _report(folder, quiet)
                raise
            if not quiet:
                _conclude(result, with_epochs=shown is None)
            if with_report:
                _report(result, quiet)


def network_for(source: Any, model: str | None) -> str:
    """Return the name of the network that is trained, as far as the source's name tells."""
    first = Path(options.first(source))
    if model is not None or first.suffix.lower() == ".txt":
        return model or "charlm"
    return "mlp" if first.is_dir() or f"{first}" == "digits" else "tabular"


def prepared_for(
    source: Any,
    given: Mapping[str, Any],
    target: str | None = None,
    task: str | None = None,
    model: str | None = None,
    size: str | None = None,
    max_bytes: int | None = None,
    exclude: Sequence[str] | None = None,
    on_disk: bool | None = False,
    groups: str | None = None,
) -> tuple[Any, str]:
    """Read and prepare the data of a run; return them, and the name of the network."""
    from .. import runs

    network = network_for(source, model)
    first = runs.Settings.of(network, 1, given)
    if runs.NETWORKS[network].takes == "text":
        file = options.first(source)
        options.refuse_for_texts(file, exclude=exclude or None, target=target, task=task, size=size, groups=groups)
        return runs.prepare_text(file, context=first.context or 1, test=first.test), network
    if runs.stays_on_disk(source, on_disk):
        if size is not None:
            raise ValueError(f"size: is for folders of images, and {options.first(source)} is a table; leave it out")
        if groups is not None:
            raise ValueError("groups: rows that stay on disk are split one by one; use --in-memory")
        prepared = runs.prepare_on_disk(
            source, target, task, model=model, test=first.test, seed=first.seed, exclude=options.names(exclude)
        )
        return prepared, prepared.model
    prepared = runs.prepare(
        source, target, task, model=model, test=first.test, seed=first.seed, max_bytes=max_bytes,
        size=options.image_size(size), exclude=options.names(exclude), groups=groups,
    )  # fmt: skip
    return prepared, prepared.model


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


def _introduce(prepared: Any, settings: Any, model: Any) -> None:
    what = "characters" if prepared.baselines else "rows"
    rows = f"{prepared.source}: {len(prepared.train):,} {what} to train, {len(prepared.test):,} to test"
    if settings.validation:
        rows += f"; of those to train, {100 * settings.validation:.2g} % are held out for validation"
    say("data", rows, *prepared.notes)
    if prepared.suspects:
        say("look at", *prepared.suspects)
    if prepared.baselines:
        counts = ", ".join(f"{figure(name, x)} by counts of {name}" for name, x in prepared.baselines.items())
        say("baseline", f"nats for each character of the test split: {counts}")
    say("network", f"{sizes(model)}, {model.num_parameters:,} parameters")


def _tell_fold(number: int, result: Any) -> None:
    figures = result.metrics["test"]
    say("fold", f"{number}: {short(figures)}, {result.seconds:.1f} s")
    sys.stdout.flush()


def _conclude(result: Any, with_epochs: bool) -> None:
    from .epoch_lines import lines

    if with_epochs:
        for line in lines(_some(result.history.rows, result.history.best_epoch)):
            echo(line)
    if result.history.stopped:
        say("stopped", result.history.stopped)
    if result.history.best_epoch:
        say("weights", f"those of epoch {result.history.best_epoch}, the best on the validation split")
    if result.rule:
        say("rule", *result.rule)
    for split, figures in result.metrics.items():
        if split == "test" and result.judgement is not None:
            say("test", *table(result.judgement))
            say("verdict", *filter(None, [result.judgement.headline]))
        else:
            say(split, short(figures))
    for finding in result.history.findings:
        say("finding", finding)
    if result.sample:
        say("sample", *result.sample.split("\n"))
    say("time", f"{result.seconds:.1f} s")
    say("written", f"{result.folder}{os.sep} (model.safetensors, history.jsonl, run.json)")
    if result.history.interrupted and result.resumable:
        say("", "resume with the same command and --resume")


def _some(rows: list[Any], best: int | None) -> list[Any]:
    """Return a dozen rows, evenly spaced and the last one among them, and that of the best epoch."""
    step = -(-len(rows) // MOST_LINES)
    return [r for i, r in enumerate(rows) if (len(rows) - 1 - i) % step == 0 or r["epoch"] == best]
