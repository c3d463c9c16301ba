"""evaluate, predict, sample and export: commands that use a trained model."""

from __future__ import annotations

import csv
import io as text
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ..show.document import printable
from . import options
from .figures import columns_of, figure, table
from .output import echo, emit, explained, say


@click.command()
@options.model
@options.source
@options.target
@click.option("--all", "everything", is_flag=True, help="all rows, also those the model was trained on")
@click.option("--importance", is_flag=True, help="how much worse it gets if the values of a column are permuted")
@options.max_bytes
def evaluate(
    model: Path, source: Any, target: str | None, everything: bool, importance: bool, max_bytes: int | None
) -> None:
    """Measure a trained model on data."""
    from .. import runs

    with explained():
        trained = runs.Trained.load(model)
        column = target or options.own_target(trained, source)
        rows, which = runs.to_measure(trained, source, column, everything, max_bytes)
        if not trained.is_of_text:
            notes = [*rows.notes, *trained.preprocessor.transform_with_notes(rows)[1]]
        else:
            unknown = int((trained.preprocessor.encode(rows.content) == 0).sum())
            notes = [f"{unknown:,} of them are not in the training text"] if unknown else []
        say(
            "data",
            f"{options.called(source)}: {len(rows):,} {'characters' if trained.is_of_text else 'rows'}, {which}",
            *notes,
        )
        judged = None if trained.is_of_text else trained.judge(rows, "these rows")
        if judged is None:
            for name, x in trained.evaluate(rows).items():
                say(name, figure(name, x))
        else:
            say("figures", *table(judged))
            for sentence in filter(None, (judged.headline, *judged.findings())):
                say("", sentence)
        if importance:
            found = None if judged is None else runs.importance(trained, rows)
            if found is None:
                most = runs.IMPORTANCE_COLUMNS
                raise ValueError(f"importance: is of the columns of tables, {most} at most; leave it out")
            say("columns", *columns_of(found))


@click.command()
@options.model
@options.features
@click.option("--out", "--output", type=options.PATH, help="a CSV file to write; default: standard output")
@click.option("--keep", multiple=True, metavar="COLUMN,…", help="columns of a table to write beside the predictions")
@options.max_bytes
def predict(model: Path, source: Any, out: Path | None, keep: tuple[str, ...], max_bytes: int | None) -> None:
    """Predict for the rows of new data; writes CSV.

    A table is read and predicted part by part, so it may be larger than memory.
    """
    from .. import io, runs
    from ..data.wording import added_up

    with explained():
        trained = runs.Trained.load(model)
        notes: list[str] = []
        rows = 0

        def blocks() -> Iterator[str]:
            nonlocal rows
            for columns, said in trained.predict_parts(source, options.names(keep), max_bytes):
                yield _csv(columns, with_names=not rows, on_terminal=out is None and sys.stdout.isatty())
                rows += len(columns["prediction"])
                notes[:] = added_up([*notes, *said])

        if out is None:
            for block in blocks():
                emit(block)
        else:
            io.write_atomically(out, (block.encode() for block in blocks()))
        for note in notes:
            echo(note, err=True)
        if out is not None:
            say("written", f"{rows:,} predictions to {out}")


def _csv(columns: Any, with_names: bool = True, on_terminal: bool = False) -> str:
    """Return columns as CSV: predictions exactly (on a terminal, a row in a line), probabilities to six digits."""
    shown = printable if on_terminal else str
    buffer = text.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if with_names:
        writer.writerow([shown(name) for name in columns])
    cells = [
        [f"{v:.6g}" for v in values.tolist()]
        if name.startswith("probability ")
        else [shown(v) if isinstance(v, str) else v for v in values]
        for name, values in (columns | {"prediction": columns["prediction"].tolist()}).items()
    ]
    writer.writerows(zip(*cells, strict=True))
    return buffer.getvalue()


@click.command()
@options.model
@click.option("--prompt", default="", help="the beginning of the text")
@click.option("--length", default=500, help="characters to write")
@click.option("--temperature", default=0.8, help="below 1 likely characters become likelier; 0: always the likeliest")
@click.option("--seed", default=0, help="another seed gives another text")
@options.threads
def sample(model: Path, prompt: str, length: int, temperature: float, seed: int, threads: int | None) -> None:
    """Write a text with a trained model of characters."""
    from .. import runs

    with explained():
        trained = runs.Trained.load(model)
        if not trained.is_of_text:
            raise ValueError(f"{model} is no model of texts: chainrule train TEXT.txt --model charlm makes one")
        letters = trained.preprocessor
        if unknown := sorted(set(prompt) - set(letters.vocabulary)):
            echo(f"the training text has none of: {', '.join(unknown)}", err=True)
        written = runs.sample(trained.model, letters, prompt, length, temperature, seed, threads=threads)
        echo(prompt + written)


@click.command()
@options.model
@click.argument("out_file", type=options.PATH, help="the ONNX file to write, such as model.onnx")
@click.option("--probabilities", is_flag=True, help="of a network alone: return probabilities instead of logits")
@click.option("--network-only", is_flag=True, help="leave the preprocessing out: take the network's inputs")
def export(model: Path, out_file: Path, probabilities: bool, network_only: bool) -> None:
    """Write a trained model as ONNX, for other programs to run.

    The file takes the columns of the data as they are, one input each, and returns predictions and probabilities, as
    predict does. With --network-only it takes preprocessed data, which its metadata describe, and returns logits.
    """
    with explained():
        from .. import runs

        if out_file.suffix.lower() != ".onnx":
            raise ValueError(f"OUT_FILE: expected a name ending in .onnx, got {out_file}")
        if not (network_only or probabilities) and runs.has_raw_columns(model):
            graph = runs.export_with_preprocessing(runs.Trained.load(model), out_file).graph
            say("written", f"{out_file}: takes {_inputs(graph)}; returns {', '.join(o.name for o in graph.output)}")
        else:
            _export_network(model, out_file, probabilities)


def _inputs(graph: Any) -> str:
    kinds = {1: "float32", 7: "int64", 8: "text", 11: "float64"}
    return ", ".join(f"{i.name} ({kinds[i.type.tensor_type.elem_type]})" for i in graph.input)


def _export_network(model: Path, out_file: Path, probabilities: bool) -> None:
    from .. import data, io, runs

    if probabilities:
        network, metadata = runs.with_probabilities(model)
    else:
        network, metadata = io.load(model / "model.safetensors" if model.is_dir() else model)
    stored = metadata.get("preprocessing")
    example = None if stored is None else data.preprocessing(stored).example()
    graph = io.to_onnx(network, out_file, example=example, metadata=metadata).graph
    shape = [d.dim_value or d.dim_param for d in graph.input[0].type.tensor_type.shape.dim]
    prepared = ", data preprocessed as its metadata describe" if "preprocessing" in metadata else ""
    returned = "probabilities" if probabilities else "the network's outputs"
    takes = f"{graph.input[0].name} ({', '.join(map(str, shape))}){prepared}"
    say("written", f"{out_file}: the network alone; takes {takes}; returns {returned}")
