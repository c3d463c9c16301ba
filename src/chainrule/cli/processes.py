"""Commands in several processes of mpiexec: the first one prints and writes, and none waits for one that has failed."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

from ..core.processes import Group
from ..train.together import launched, world
from .output import explained

#: Seconds that the first process has to report an error before another does, which mostly is the same one.
PATIENCE = 1.0


def started() -> Group:
    """Return the processes that a launcher of MPI has started, or this one alone."""
    with explained():
        return Group(world()) if launched() > 1 else Group()


@contextlib.contextmanager
def ended_together(group: Group) -> Iterator[None]:
    """End all processes if this one ends with an error; after a signal all end by themselves."""
    try:
        yield
    except click.exceptions.Exit as ending:
        if 0 < ending.exit_code < 128:
            group.abort()
        raise
    except Exception:
        group.abort()
        raise


@contextlib.contextmanager
def of_the_first(group: Group, out: Path | None) -> Iterator[Path | None]:
    """Yield the folder for a run: `out`, or in all processes but the first one a folder that is deleted afterwards."""
    if group.first:
        yield out
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield Path(folder) / "run"
        except Exception as error:
            time.sleep(PATIENCE)
            place = f"process {group.rank} of {group.size}"
            raise ValueError(f"{place}: {error}") from None
