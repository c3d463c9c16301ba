"""doctor: what is installed and used."""

from __future__ import annotations

import shutil

import click

from .output import explained, say


@click.command()
@click.option("--calibrate", is_flag=True, help="Measure for some seconds how multiplies are best blocked; store it.")
def doctor(calibrate: bool) -> None:
    """Print which engine, threads and versions are in use."""
    from .. import engine, runs

    with explained():
        chosen = engine.choose()
        lines = [f"{chosen} (CHAINRULE_ENGINE or --engine choose another)"]
        if "native" in engine.available():
            from ..engine.native import default_threads, instruction_set

            lines.append(f"native engine: {instruction_set()}, {default_threads()} threads")
            lines += _multiplies(calibrate)
        else:
            lines.append("native engine: not installed, because no C++ compiler was found")
            if calibrate:
                raise ValueError("--calibrate needs the native engine, which is not installed")
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


def _multiplies(calibrate: bool) -> list[str]:
    """Lines about caches and the blocks of multiplies, after a calibration if wanted."""
    from ..engine import _native, blocking, calibration

    if calibrate:
        chosen, gain = calibration.calibrate()
        usual = blocking.Blocking(*_native.default_blocking())
        said = (
            "the usual blocks are the fastest" if chosen == usual else f"{gain:.2f} times as fast as the usual blocks"
        )
        how = f"calibrated now: {said}; stored in {blocking.stored_in()}"
    elif blocking.stored() is not None:
        how = f"calibrated: {blocking.stored_in()}"
    else:
        how = "not calibrated (chainrule doctor --calibrate)"
    first, second, third = (f"{size // 1024:,} KiB" for size in _native.caches())
    strip, panels, reuse = _native.blocking()
    return [
        f"caches: {first} and {second} a core, {third} shared; {_native.vector_bytes()} bytes in a vector",
        f"multiply rate: {_native.multiply_rate() * 1e-9:.0f} Gflop/s of one thread in float32",
        f"blocks: {strip / 1024:.3g} KiB of rows, {panels / 1024:.4g} KiB of panels, copies from {reuse} rows",
        how,
    ]
