"""Arguments and options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

#: A file or folder, as a Path.
PATH: click.Path = click.Path(path_type=Path)

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

source: Decorator = click.argument("source", help="digits, a CSV, TSV, Parquet or NPZ file, or a folder of IDX files")
model: Decorator = click.argument("model", type=PATH, help="a model.safetensors, or the folder of its run")
target: Decorator = click.option("--target", help="the column to predict (for tables) or the array (for NPZ)")
hidden: Decorator = click.option(
    "--hidden", default="256,128", help="units of the hidden layers, such as 128,64; none for no hidden layer"
)
activation: Decorator = click.option(
    "--activation", default="relu", help="relu, leaky_relu, elu, gelu, silu, sigmoid, tanh, softplus"
)
seed: Decorator = click.option(
    "--seed", default=0, help="seed of the split, the initial weights, the order of examples and dropout"
)
max_bytes: Decorator = click.option(
    "--max-bytes", type=int, help="bytes that a compressed data file may expand to; default: 100 times its size"
)


memory: Decorator = click.option(
    "--memory", type=float, help="megabytes of memory the program may take (not on Windows)"
)


def limits(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that limit a command that runs a user's program."""
    return click.option("--timeout", default=60.0, help="seconds the program may take; 0: no limit")(memory(command))


def widths(text: str) -> tuple[int, ...]:
    """Return the units of the hidden layers, from ``128,64``."""
    if text.strip().lower() in ("", "none"):
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"hidden: expected integers separated by commas, such as 128,64, got {text!r}") from None


def own_target(trained: Any, source: str) -> str | None:
    """Return, for tables, the column that the model was trained to predict."""
    is_table = Path(source).suffix.lower() in (".csv", ".tsv", ".gz", ".parquet", ".npz") and Path(source).is_file()
    name: str | None = trained.preprocessor.target_name
    return name if is_table else None
