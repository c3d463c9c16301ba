"""Arguments and options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

#: A file or folder, as a Path.
PATH: click.Path = click.Path(path_type=Path)

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _one_or_several(context: click.Context, parameter: click.Parameter, paths: tuple[str, ...]) -> Any:
    return paths[0] if len(paths) == 1 else list(paths)


def _source(help: str) -> Decorator:
    return click.argument("source", nargs=-1, required=True, callback=_one_or_several, help=help)


source: Decorator = _source(
    "digits, a CSV, TSV, Parquet or NPZ file, several CSV, TSV or Parquet files of one table, a folder of IDX files or "
    "of images by class, or a text"
)
features: Decorator = _source(
    "digits, a CSV, TSV, Parquet or NPZ file, several files of one table, a folder of IDX files or of images, or an "
    "image"
)
model: Decorator = click.argument("model", type=PATH, help="a model.safetensors, or the folder of its run")
target: Decorator = click.option("--target", help="the column to predict (for tables) or the array (for NPZ)")
network: Decorator = click.option(
    "--model",
    help="the network: tabular or mlp, for images lenet or cnn, for texts charlm; default: tabular, for images mlp, "
    "for .txt charlm",
)
hidden: Decorator = click.option(
    "--hidden",
    help="units of the hidden layers, such as 128,64; none for no hidden layer; default: tabular 256,256,256, mlp "
    "256,128",
)
activation: Decorator = click.option(
    "--activation",
    help="relu, leaky_relu, elu, selu, gelu, silu, mish, sigmoid, tanh, softplus; default: relu, tabular selu, or mish "
    "for numbers",
)
seed: Decorator = click.option(
    "--seed", default=0, help="seed of the split, the initial weights, the order of examples and dropout"
)
max_bytes: Decorator = click.option(
    "--max-bytes", type=int, help="bytes that a compressed data file may expand to; default: 100 times its size"
)


threads: Decorator = click.option("--threads", type=int, help="threads the engine may use")
memory: Decorator = click.option(
    "--memory", type=float, help="megabytes of memory the program may take (not on Windows)"
)


def limits(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that limit a command that runs a user's program."""
    return click.option("--timeout", default=60.0, help="seconds the program may take; 0: no limit")(memory(command))


def names(given: Sequence[str] | None) -> list[str]:
    """Return names of columns, separated by commas or given by several options."""
    return list(dict.fromkeys(name.strip() for part in given or () for name in part.split(",") if name.strip()))


def widths(text: str) -> tuple[int, ...]:
    """Return the units of the hidden layers, from ``128,64``."""
    if text.strip().lower() in ("", "none"):
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"hidden: expected integers separated by commas, such as 128,64, got {text!r}") from None


def image_size(text: str | None) -> tuple[int, int] | None:
    """Return height and width, from ``28x28``."""
    if text is None:
        return None
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) != 2 or not all(part.isdecimal() and 0 < int(part) < 10_000 for part in parts):
        raise ValueError(f"size: expected height and width such as 28x28, got {text!r}")
    return int(parts[0]), int(parts[1])


def given(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a network that were given on the command line; those left out have its defaults."""
    named = {name: value for name, value in settings.items() if value is not None}
    return named | {"hidden": widths(named["hidden"])} if "hidden" in named else named


def refuse_for_texts(source: str, **settings: Any) -> None:
    """Raise an error for a setting that only tables and images have."""
    for name, value in settings.items():
        if value is not None:
            raise ValueError(f"{name}: is for tables and images, and {source} is read as a text; leave it out")


def first(source: Any) -> str:
    """Return the first of the files, whose name stands for all."""
    return str(source[0] if isinstance(source, list) else source)


def called(source: Any) -> str:
    """Return how messages name the files."""
    return str(source) if isinstance(source, str) else f"{source[0]} and {len(source) - 1:,} more"


def own_target(trained: Any, source: Any) -> str | None:
    """Return, for tables, the column that the model was trained to predict."""
    from .. import data

    name: str | None = trained.preprocessor.target_name
    return name if data.is_table(source) or Path(first(source)).suffix.lower() == ".npz" else None
