"""doctor: what is installed and used."""

from __future__ import annotations

import shutil

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
        say("mpi", _mpi())
        say("versions", numbers, f"NumPy's BLAS: {runs.blas()}")


def _mpi() -> str:
    """Return which MPI is found."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # not installed, or without the library of an MPI
        return f"none ({str(error).splitlines()[0]}); pip install 'chainrule[mpi]' for training in several processes"
    name = MPI.Get_library_version().splitlines()[0].split(",")[0].strip()
    mpiexec = shutil.which("mpiexec") or "not in PATH"
    return f"{name}, MPI {'.'.join(map(str, MPI.Get_version()))}, mpiexec: {mpiexec}"
