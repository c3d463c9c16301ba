"""backprop, audit, gradcheck and explain: gradients shown, checked and derived."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..core.arguments import choice, integer, number
from . import options
from .child import Limits, in_child
from .output import echo, emit, explained, say, show, sizes, write


@click.command()
@options.source
@click.option("--model", type=options.PATH, help="a trained model; default: a new network")
@options.target
@options.hidden
@options.activation
@click.option("--batch-size", default=32, help="examples in the batch")
@options.seed
@options.max_bytes
def backprop(
    source: str,
    model: Path | None,
    target: str | None,
    hidden: str | None,
    activation: str | None,
    batch_size: int,
    seed: int,
    max_bytes: int | None,
) -> None:
    """Show every value and gradient of one batch.

    Z, A, W, b of each layer, and dZ, dA, dW, db.
    """
    from .. import runs
    from ..backpropagation import backprop as through

    with explained():
        integer("batch_size", batch_size, at_least=1)
        given = options.given({"hidden": hidden, "activation": activation})
        settings = runs.Settings(**given, dropout=0.0, seed=seed)
        if model is not None:
            trained = runs.Trained.load(model)
            column = target or options.own_target(trained, source)
            dataset = trained.read(source, column, max_bytes)
            network, preprocessor = trained.model, trained.preprocessor
        else:
            prepared = runs.prepare(source, target, model=settings.model, seed=seed, max_bytes=max_bytes)
            dataset, preprocessor = prepared.train, prepared.preprocessor
            network = runs.network(preprocessor, settings)
        batch = dataset.take(range(min(batch_size, len(dataset))))
        X, y = runs.arrays(preprocessor, batch)
        loss = runs.LOSSES[preprocessor.task]
        say("data", f"{source}: the first {len(batch)} rows{'' if model else ' of the training split'}")
        say("network", f"{sizes(network)}, loss {loss}")
        echo(str(through(network, X, y, loss=loss)))


@click.command()
@click.argument("program", type=options.PATH, help="a Python file with a backward pass; it is imported, which runs it")
@click.option("--forward", default="forward", help="the name of forward(X, parameters) -> cache in the file")
@click.option("--backward", default="backward", help="the name of backward(cache, Y, parameters) -> grads")
@click.option("--loss", default="loss", help="the name of loss(output, Y), or one of chainrule's losses, such as mse")
@click.option("--parameters", default="parameters", help="the name of the parameters, or of a function returning them")
@click.option("--x", "X", default="X", help="the name of the inputs: an array, or a function that returns it")
@click.option("--y", "Y", default="Y", help="the name of the targets: an array, or a function that returns it")
@click.option("--layer", is_flag=True, help="forward(*inputs) and backward(dout, cache) are those of one layer")
@click.option("--shape", multiple=True, help="draw an argument at random: x=6,4; may be repeated")
@click.option("--ascent", is_flag=True, help="the gradients are added to the parameters, not subtracted")
@click.option("--html", type=options.PATH, help="a file for the report as a page")
@click.option("--format", "form", default="text", help="text, json, github (annotations), sarif, html or markdown")
@click.option("--output", type=options.PATH, help="a file to write the report to")
@options.limits
def audit(
    program: Path, html: Path | None, output: Path | None, timeout: float, memory: float | None, **more: Any
) -> None:
    """Find the wrong line in a hand-written backward pass.

    Each step is judged on the gradients that the file itself passes to it, and the cause of an error is named.

    The file is imported, so all of it runs, in a separate process: audit only programs that you would run. It is
    taken for a network if it defines forward, backward, loss, parameters, X and Y. Otherwise pairs of functions,
    classes and a training loop are found by their names, and audited on the file's data or on small drawn ones; the
    report says how each was read. --backward NAME audits one of them alone, --shape x=6,4 says how large an argument
    is. With --layer, the inputs have the names of forward's arguments in the file, or are its tuple "inputs". Exit
    status: 0 when nothing is wrong, 1 when something is, 2 when the file cannot be audited, or does not finish in time.
    """
    files = {"html": None if html is None else str(html), "output": None if output is None else str(output)}
    asked = {"program": str(program), **files, **more}
    ok = in_child("cli.gradients:audit_here", asked, _limits(timeout, memory), 2)
    raise click.exceptions.Exit(0 if ok else 1)


def audit_here(
    program: str,
    html: str | None,
    output: str | None,
    form: str,
    layer: bool,
    ascent: bool,
    shape: Sequence[str] = (),
    **names: str,
) -> bool:
    """Audit a program in this process and print the report; return whether nothing is wrong."""
    with explained(2):
        from ..audit import commands
        from ..audit.formats import FORMS

        choice("format", form, FORMS)
        file = Path(program)
        report = commands.audit_layer_of(file, names) if layer else commands.audit_program(file, names, ascent, shape)
        if output is not None:
            write(Path(output), FORMS[form](report))
        elif form == "text":
            show(report)
        else:
            emit(FORMS[form](report))
        if html is not None:
            write(Path(html), report.to_html())
        return report.ok


def _limits(timeout: float, memory: float | None) -> Limits:
    with explained(2):
        number("timeout", timeout, at_least=0)
        if memory is not None:
            number("memory", memory, above=0)
    return Limits(timeout or None, None if memory is None else round(memory * 1e6))


@click.command()
@click.argument("target", help="file.py:function; the file is imported, which runs it")
@click.option("--grad", help="the name of grad(*args) in the file, for a function that returns a number")
@click.option("--vjp", help="the name of vjp(*args, cotangent)")
@click.option("--backward", help="the name of backward(dout, cache), for a function that returns (output, cache)")
@click.option("--jacobian", help="the name of jacobian(*args)")
@click.option("--shape", multiple=True, help="draw an argument at random: W=3,4; may be repeated")
@click.option("--order", default=1, help="2: check the derivative of the gradient, too")
@click.option("--seed", default=0, help="seed of random arguments, directions and samples")
@options.limits
def gradcheck(timeout: float, memory: float | None, **asked: Any) -> None:
    """Compare a function's gradient with central differences.

    The arguments are the values that the file has under their names, or drawn with --shape. The gradient is the one
    named, or the one that the file calls f_grad, grad_f, f_vjp, f_backward or f_jacobian (backward, for forward); else
    chainrule's own. The file is imported, so all of it runs, in a separate process. Exit status: 0 when the gradient
    is right, 1 when it is wrong, 2 when it cannot be checked, or not in time.
    """
    ok = in_child("cli.gradients:gradcheck_here", asked, _limits(timeout, memory), 2)
    raise click.exceptions.Exit(0 if ok else 1)


def gradcheck_here(target: str, shape: list[str], order: int, seed: int, **given: str | None) -> bool:
    """Check a gradient in this process and print the result; return whether it is right."""
    with explained(2):
        from ..gradcheck.commands import check_named

        outcome = check_named(target, given, list(shape), order, seed)
        echo(str(outcome))
        return bool(outcome)


@click.command()
@click.argument("target", help="a model.safetensors, a run's folder, or file.py:function (the file is imported)")
@click.option("--loss", help="loss of a model; default: none, an upstream gradient dA is assumed")
@click.option("--batch-size", default=32, help="number of random examples for a model")
@click.option("--shape", multiple=True, help="draw an argument at random: x=3,4; may be repeated")
@click.option("--layout", default="rows", help="examples in rows or in columns")
@click.option(
    "--notation", default="gradients", help="gradients (dZ), delta (error signals) or dict (keys, as in a program)"
)
@click.option("--format", "form", default="text", help="text, markdown, latex, html or numpy")
@click.option("--output", type=options.PATH, help="a file to write to")
@click.option("--seed", default=0, help="seed of random examples and arguments")
@options.limits
def explain(output: Path | None, timeout: float, memory: float | None, **asked: Any) -> None:
    """Derive the gradients of a network or a function.

    A function's arguments are the values that its file has under their names, or drawn with --shape. The format numpy
    is the forward and backward pass as a program. A file is imported, so all of it runs, in a separate process.
    """
    asked["output"] = None if output is None else str(output)
    if asked["target"].rpartition(":")[0].endswith(".py"):
        in_child("cli.gradients:explain_here", asked, _limits(timeout, memory), 1)
    else:
        explain_here(**asked)


def explain_here(
    target: str,
    loss: str | None,
    batch_size: int,
    shape: list[str],
    layout: str,
    notation: str,
    form: str,
    output: str | None,
    seed: int,
) -> None:
    """Derive gradients in this process, and print or write them."""
    with explained():
        from ..explain import commands

        choice("format", form, commands.FORMS)
        derivation = commands.explained(target, list(shape), loss, batch_size, layout, notation, seed)
        text = commands.FORMS[form](derivation)
        if output is None:
            emit(text.rstrip("\n") + "\n")
        else:
            write(Path(output), text)
