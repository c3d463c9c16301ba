"""doctor: what is installed and used."""

from __future__ import annotations

import click

from .output import explained, say


@click.command()
def doctor() -> None:
    """Print which engine, threads and versions are in use."""
    from .. import engine, runs

    with explained():
        chosen = engine.choose()
        lines = [f"{chosen} (CHAINRULE_ENGINE or --engine choose another)"]
        if "native" in engine.available():
            from ..engine.native import default_threads, instruction_set

            lines.append(f"native engine: {instruction_set()}, {default_threads()} threads")
        else:
            lines.append("native engine: not installed, because no C++ compiler was found")
        say("engine", *lines)
        numbers = ", ".join(f"{name} {number}" for name, number in runs.versions().items())
        say("versions", numbers, f"NumPy's BLAS: {runs.blas()}")
