"""The command line: train, report, evaluate, predict, export, backprop, explain, audit, gradcheck, doctor."""

from __future__ import annotations

import csv
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from .core.arguments import integer

app = typer.Typer(
    help="Backpropagation with the lid off: train networks on a CPU and look at every gradient.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

DataArgument = Annotated[str, typer.Argument(help="digits, a CSV, TSV, Parquet or NPZ file, or a folder of IDX files")]
ModelArgument = Annotated[Path, typer.Argument(help="a model.safetensors, or the folder of its run")]
TargetOption = Annotated[str | None, typer.Option(help="the column to predict (for tables) or the array (for NPZ)")]
HiddenOption = Annotated[str, typer.Option(help="units of the hidden layers, such as 128,64; none for no hidden layer")]
ActivationOption = Annotated[str, typer.Option(help="relu, leaky_relu, elu, gelu, silu, sigmoid, tanh, softplus")]
SeedOption = Annotated[int, typer.Option(help="of the split, the first weights, the order and dropout")]


@contextmanager
def explained(status: int = 1) -> Iterator[None]:
    """Turn what a user can put right into one line on standard error, and an exit status."""
    try:
        yield
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except (ValueError, TypeError, LookupError, OSError, ImportError, ArithmeticError, MemoryError) as error:
        if os.environ.get("CHAINRULE_TRACEBACK"):
            raise
        fail(_reason(error), status)


def _reason(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return f"not enough memory ({error})" if str(error) else "not enough memory"
    if isinstance(error, OSError) and error.strerror:  # without "[Errno 28]"
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return text or type(error).__name__


def fail(message: str, status: int = 1) -> NoReturn:
    """Say what is wrong and leave."""
    typer.echo("error: " + " ".join(message.split()), err=True)
    raise typer.Exit(status)


def say(label: str, *lines: str) -> None:
    """Print lines beside a label, wrapped to the terminal in a column of their own."""
    width = min(shutil.get_terminal_size().columns, 120) if sys.stdout.isatty() else 10_000
    for i, line in enumerate(lines):
        indent = f"{label if i == 0 else '':<9}"
        for part in textwrap.wrap(line, max(width, 40), initial_indent=indent, subsequent_indent=" " * 9):
            typer.echo(part)


def widths(text: str) -> tuple[int, ...]:
    """Read ``128,64``."""
    if text.strip().lower() in ("", "none"):
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"hidden: expected integers separated by commas, such as 128,64, got {text!r}") from None


@app.command()
def train(
    source: DataArgument,
    target: TargetOption = None,
    task: Annotated[
        str | None, typer.Option(help="binary, multiclass or regression, instead of the inferred one")
    ] = None,
    hidden: HiddenOption = "256,128",
    activation: ActivationOption = "relu",
    dropout: Annotated[float, typer.Option(help="share of hidden values dropped in training")] = 0.1,
    epochs: Annotated[int, typer.Option(help="passes over the training part")] = 30,
    batch_size: Annotated[int, typer.Option(help="examples a step")] = 32,
    lr: Annotated[float, typer.Option(help="learning rate")] = 1e-3,
    schedule: Annotated[
        str, typer.Option(help="of the learning rate: cosine (down to 0 over the run) or constant")
    ] = "cosine",
    optimizer: Annotated[str, typer.Option(help="adam, adamw, sgd, rmsprop, adagrad")] = "adam",
    l2: Annotated[float, typer.Option(help="L2 regularisation of the weights")] = 0.0,
    test: Annotated[
        float, typer.Option(help="share held out for the final test, where the data has no test part")
    ] = 0.2,
    validation: Annotated[float, typer.Option(help="share of the training part to measure after each epoch")] = 0.0,
    patience: Annotated[
        int | None, typer.Option(help="stop after so many epochs without improvement, keep the best")
    ] = None,
    seed: SeedOption = 0,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="the run's folder; default: runs/NAME, numbered")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the run in --out")] = False,
    engine: Annotated[str | None, typer.Option(help="which engine computes")] = None,
    threads: Annotated[int | None, typer.Option(help="threads the engine may use")] = None,
    with_report: Annotated[
        bool, typer.Option("--report", help="look at the gradients on the way, and write report.html at the end")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but errors")] = False,
) -> None:
    """Train a network on data and write the run into a folder."""
    from . import reporting, runs

    with explained():
        settings = runs.Settings(
            hidden=widths(hidden),
            activation=activation,
            dropout=dropout,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            lr=lr,
            schedule=schedule,
            l2=l2,
            test=test,
            validation=validation,
            patience=patience,
            seed=seed,
        )
        if with_report:
            reporting.require_plotly()  # before the training, not after it
        prepared = runs.prepare(source, target, task, test=test, seed=seed)
        runs.check_engine(engine, threads)
        folder = runs.claim(out_folder, source, overwrite)
        try:
            if not quiet:
                _introduce(prepared, runs.network(prepared.preprocessor, settings))
            shown = False if quiet else None
            result = runs.train(
                prepared, settings, folder, progress=shown, engine=engine, threads=threads, report=with_report
            )
        except BaseException as error:
            if with_report and isinstance(error, FloatingPointError):  # the network as it was before it diverged
                written = reporting.report(folder)
                if not quiet:
                    say("report", str(written))
            runs.release(folder)
            raise
        if not quiet:
            _conclude(result)
        if with_report:
            written = reporting.report(result)
            if not quiet:
                say("report", str(written))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="the folder of a run, such as runs/digits")],
    out_file: Annotated[
        Path | None, typer.Option("--out", help="the file to write; default: report.html in the run's folder")
    ] = None,
) -> None:
    """Write the report of a run, one HTML file.

    Curves, worst predictions, the network's derivation and, of a run trained with --report, the flow of its gradients.
    """
    with explained():
        from . import reporting

        say("written", str(reporting.report(run, out_file)))


def _introduce(prepared: Any, model: Any) -> None:
    rows = f"{prepared.source}: {len(prepared.train):,} rows to train, {len(prepared.test):,} to test"
    say("data", rows, *prepared.notes)
    say("network", f"{_sizes(model)}, {model.num_parameters:,} parameters")


def _sizes(model: Any) -> str:
    from .nn import Linear

    linear = [m for m in model.modules() if isinstance(m, Linear)]
    known = {"Linear", "Dropout", "Sequential"}
    kinds = {name for m in model.modules() if (name := type(m).__name__) not in known}
    sizes = "-".join(str(n) for n in (linear[0].in_features, *(m.out_features for m in linear))) if linear else ""
    return " ".join([sizes, *sorted(kinds)]).strip()


def _conclude(result: Any) -> None:
    rows = result.history.rows
    names = [k for k in (rows[-1] if rows else {}) if k not in ("epoch", "lr", "seconds")]
    if names:
        cells = [["epoch", *names], *([str(r["epoch"]), *(f"{r[n]:.4f}" for n in names)] for r in _some(rows))]
        columns = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            typer.echo("  ".join(c.rjust(w) for c, w in zip(line, columns, strict=True)))
    if result.history.stopped:
        best = f"; the weights are those of epoch {result.history.best_epoch}" if result.history.best_epoch else ""
        say("stopped", result.history.stopped + best)
    for part, figures in result.metrics.items():
        say(part, ", ".join(f"{name} {_figure(name, x)}" for name, x in figures.items()))
    say("time", f"{result.seconds:.1f} s")
    say("written", f"{result.folder}{os.sep} (model.safetensors, history.jsonl, run.json)")


def _some(rows: list[Any]) -> list[Any]:
    """Return a dozen rows at most: evenly spaced, the last one among them."""
    step = -(-len(rows) // 12)
    return [r for i, r in enumerate(rows) if (len(rows) - 1 - i) % step == 0]


def _figure(name: str, x: float) -> str:
    return f"{100 * x:.2f} %" if name == "accuracy" else f"{x:.4g}"


@app.command()
def evaluate(
    model: ModelArgument,
    source: DataArgument,
    target: TargetOption = None,
    everything: Annotated[bool, typer.Option("--all", help="all rows, also those the model was trained on")] = False,
) -> None:
    """Measure a trained model on data."""
    from . import data, runs

    with explained():
        trained = runs.Trained.load(model)
        dataset = data.read(source, target or _own_target(trained, source), trained.preprocessor.task)
        rows, which = (dataset, "all rows") if everything else trained.held_out(dataset)
        figures = trained.evaluate(rows)
        say("data", f"{source}: {len(rows):,} rows, {which}")
        for name, x in figures.items():
            say(name, _figure(name, x))


def _own_target(trained: Any, source: str) -> str | None:
    """For tables, the column that the model was trained to predict."""
    is_table = Path(source).suffix.lower() in (".csv", ".tsv", ".gz", ".parquet", ".npz") and Path(source).is_file()
    name: str | None = trained.preprocessor.target_name
    return name if is_table else None


@app.command()
def predict(
    model: ModelArgument,
    source: DataArgument,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="a CSV file to write; default: standard output")
    ] = None,
) -> None:
    """Predict for the rows of new data; writes CSV."""
    from . import data, io, runs

    with explained():
        trained = runs.Trained.load(model)
        dataset = data.read_features(source)
        _, notes = trained.preprocessor.transform_with_notes(dataset)
        for note in (*dataset.notes, *notes):
            typer.echo(note, err=True)
        text = _csv(trained.predict(dataset))
        if out_file is None:
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            io.write_atomically(out_file, text.encode())
            say("written", f"{len(dataset):,} predictions to {out_file}")


def _csv(columns: Any) -> str:
    """Return columns as CSV: predictions exactly, probabilities to six digits."""
    import io as text

    buffer = text.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    cells = [
        values.tolist() if name == "prediction" else [f"{v:.6g}" for v in values.tolist()]
        for name, values in columns.items()
    ]
    writer.writerows(zip(*cells, strict=True))
    return buffer.getvalue()


@app.command()
def export(
    model: ModelArgument,
    out_file: Annotated[Path, typer.Argument(help="the ONNX file to write, such as model.onnx")],
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="of a classifier: give probabilities, not logits")
    ] = False,
) -> None:
    """Write a trained model as ONNX, for other programs to run.

    The preparation of the data is not part of it; what it was stands in the file's metadata.
    """
    with explained():
        from . import io, nn

        if out_file.suffix.lower() != ".onnx":
            raise ValueError(f"{out_file} does not end in .onnx; chainrule export writes ONNX")
        network, metadata = io.load(model / "model.safetensors" if model.is_dir() else model)
        if probabilities:
            loss = metadata.get("loss")
            ends = {"softmax": nn.Softmax, "sigmoid": nn.Sigmoid}
            end = nn.losses.output_activation(loss) if isinstance(loss, str) else ""
            if end not in ends:
                raise ValueError(
                    f"{model} was trained with the loss {loss!r}: its outputs are no logits of probabilities"
                )
            network = nn.Sequential(network, ends[end]())
        graph = io.to_onnx(network, out_file, metadata=metadata).graph
        shape = [d.dim_value or d.dim_param for d in graph.input[0].type.tensor_type.shape.dim]
        prepared = ", of data prepared as its metadata say" if "preprocessing" in metadata else ""
        say("written", f"{out_file}: takes {graph.input[0].name} ({', '.join(map(str, shape))}){prepared}")


@app.command()
def backprop(
    source: DataArgument,
    model: Annotated[Path | None, typer.Option(help="a trained model; default: a new network")] = None,
    target: TargetOption = None,
    hidden: HiddenOption = "256,128",
    activation: ActivationOption = "relu",
    batch_size: Annotated[int, typer.Option(help="examples in the batch")] = 32,
    seed: SeedOption = 0,
) -> None:
    """Show every value and gradient of one batch.

    Z, A, W, b of each layer, and dZ, dA, dW, db.
    """
    import numpy as np

    from . import backprop as through
    from . import data, runs

    with explained():
        integer("batch_size", batch_size, at_least=1)
        settings = runs.Settings(widths(hidden), activation, dropout=0.0, seed=seed)
        if model is not None:
            trained = runs.Trained.load(model)
            dataset = data.read(source, target or _own_target(trained, source), trained.preprocessor.task)
            network, preprocessor = trained.model, trained.preprocessor
        else:
            prepared = runs.prepare(source, target, seed=seed)
            dataset, preprocessor = prepared.train, prepared.preprocessor
            network = runs.network(preprocessor, settings)
        batch = dataset.take(np.arange(min(batch_size, len(dataset))))
        X, y = runs.arrays(preprocessor, batch)
        loss = runs.LOSSES[preprocessor.task]
        say("data", f"{source}: the first {len(batch)} rows{'' if model else ' of the training part'}")
        say("network", f"{_sizes(network)}, loss {loss}")
        typer.echo(str(through(network, X, y, loss=loss)))


@app.command()
def audit(
    program: Annotated[Path, typer.Argument(help="a Python file with a backward pass; it is imported, which runs it")],
    forward: Annotated[str, typer.Option(help="what it calls forward(X, parameters) -> cache")] = "forward",
    backward: Annotated[str, typer.Option(help="what it calls backward(cache, Y, parameters) -> grads")] = "backward",
    loss: Annotated[str, typer.Option(help="what it calls loss(output, Y), or a loss such as mse")] = "loss",
    parameters: Annotated[
        str, typer.Option(help="what it calls the parameters: a dict, or a function that returns it")
    ] = "parameters",
    x: Annotated[str, typer.Option(help="what it calls the inputs: an array, or a function that returns it")] = "X",
    y: Annotated[str, typer.Option(help="what it calls the targets: an array, or a function that returns it")] = "Y",
    layer: Annotated[
        bool, typer.Option("--layer", help="forward(*inputs) and backward(dout, cache) are those of one layer")
    ] = False,
    ascent: Annotated[bool, typer.Option("--ascent", help="the gradients are meant to be added")] = False,
    html: Annotated[Path | None, typer.Option(help="a file for the report as a page")] = None,
) -> None:
    """Say which line of a hand-written backward pass is wrong.

    Each step is judged given the gradients that the file itself passes on, and the cause is named.

    The file is imported, so all of it runs: audit only programs that you would run. With --layer, the inputs are those
    that the file calls by the names of forward's arguments, or its tuple "inputs". Exit status: 0 when nothing is
    wrong, 1 when something is, 2 when the file cannot be audited.
    """
    with explained(2):
        from .audit import commands

        names = {"forward": forward, "backward": backward, "loss": loss, "parameters": parameters, "X": x, "Y": y}
        report = commands.audit_layer_of(program, names) if layer else commands.audit_program(program, names, ascent)
        _show(report)
        if html is not None:
            from .io import write_atomically

            write_atomically(html, report.to_html().encode())
            typer.echo(f"written to {html}", err=True)
    raise typer.Exit(0 if report.ok else 1)


@app.command()
def gradcheck(
    target: Annotated[str, typer.Argument(help="file.py:function; the file is imported, which runs it")],
    grad: Annotated[
        str | None, typer.Option(help="what the file calls grad(*args), for a function to a number")
    ] = None,
    vjp: Annotated[str | None, typer.Option(help="what it calls vjp(*args, cotangent)")] = None,
    backward: Annotated[
        str | None, typer.Option(help="what it calls backward(dout, cache), for a function to (output, cache)")
    ] = None,
    jacobian: Annotated[str | None, typer.Option(help="what it calls jacobian(*args)")] = None,
    shape: Annotated[list[str] | None, typer.Option(help="draw an argument at random: W=3,4; may be repeated")] = None,
    order: Annotated[int, typer.Option(help="2: check the derivative of the gradient, too")] = 1,
    seed: Annotated[int, typer.Option(help="of random arguments, directions and samples")] = 0,
) -> None:
    """Compare a function's gradient with central differences.

    The arguments are what the file calls by their names, or drawn with --shape. The gradient is the one named, or the
    one that the file calls f_grad, grad_f, f_vjp, f_backward or f_jacobian (backward, for forward); else chainrule's
    own. The file is imported, so all of it runs. Exit status: 0 when the gradient is right, 1 when it is wrong, 2 when
    it cannot be checked.
    """
    with explained(2):
        from .gradcheck.commands import check_named

        given = {"grad": grad, "vjp": vjp, "backward": backward, "jacobian": jacobian}
        outcome = check_named(target, given, shape or [], order, seed)
        typer.echo(str(outcome))
    raise typer.Exit(0 if outcome else 1)


@app.command()
def explain(
    target: Annotated[
        str,
        typer.Argument(
            help="a model.safetensors, a run's folder, or file.py:function (the file is imported, which runs it)"
        ),
    ],
    loss: Annotated[str | None, typer.Option(help="of a model: from which loss; default: a given gradient")] = None,
    batch_size: Annotated[int, typer.Option(help="of a model: how many (random) examples")] = 32,
    shape: Annotated[list[str] | None, typer.Option(help="draw an argument at random: x=3,4; may be repeated")] = None,
    layout: Annotated[str, typer.Option(help="examples in rows or in columns")] = "rows",
    notation: Annotated[
        str, typer.Option(help="gradients (dZ), delta (error signals) or dict (a program's)")
    ] = "gradients",
    form: Annotated[str, typer.Option("--format", help="text, markdown, latex, html or numpy")] = "text",
    output: Annotated[Path | None, typer.Option(help="a file to write to")] = None,
    seed: Annotated[int, typer.Option(help="of random examples and arguments")] = 0,
) -> None:
    """Derive the gradients of a network or a function.

    A function's arguments are what its file calls by their names, or drawn with --shape. The format numpy is the
    forward and backward pass as a program.
    """
    with explained():
        from .explain import commands

        if form not in commands.FORMS:
            raise ValueError(f"format is {form!r}; one of {', '.join(commands.FORMS)} would do")
        derivation = commands.explained(target, shape or [], loss, batch_size, layout, notation, seed)
        text = commands.FORMS[form](derivation)
        if output is None:
            typer.echo(text.rstrip("\n"))
        else:
            from .io import write_atomically

            write_atomically(output, text.encode())
            typer.echo(f"written to {output}", err=True)


def _show(report: Any) -> None:
    """Print a report: in colours on a terminal, in 80 columns elsewhere."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(report)
    else:
        typer.echo(str(report))


@app.command()
def doctor() -> None:
    """Say which engine, threads and versions are in use."""
    from . import engine, runs

    with explained():
        chosen = engine.choose()
        lines = [f"{chosen} (CHAINRULE_ENGINE or --engine choose another)"]
        if "native" in engine.available():
            from .engine.native import default_threads, instruction_set

            lines.append(f"native engine: {instruction_set()}, {default_threads()} threads")
        else:
            lines.append("native engine: left out when installing, for want of a C++ compiler")
        say("engine", *lines)
        numbers = ", ".join(f"{name} {number}" for name, number in runs.versions().items())
        say("versions", numbers, f"NumPy's BLAS: {runs.blas()}")


def version(shown: bool) -> None:
    """Print the version and leave."""
    if shown:
        from . import __version__

        typer.echo(f"chainrule {__version__}")
        raise typer.Exit


@app.callback()
def common(
    shown: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Backpropagation with the lid off: train networks on a CPU and look at every gradient."""


def main() -> None:
    """Run the command line."""
    app()
