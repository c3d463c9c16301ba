"""Training in several processes: who takes part, whether all begin with the same, and what happens if one fails."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core.processes import Group
from .nonfinite import NonFiniteError


def group_of(distributed: Any) -> Group:
    """Return the processes that an argument `distributed` names: a communicator, "mpi" for all, None for this one."""
    if distributed is None or isinstance(distributed, Group):
        return distributed or Group()
    if isinstance(distributed, str) and distributed == "mpi":
        distributed = world()
    if not all(hasattr(distributed, name) for name in ("Get_rank", "Get_size", "allgather", "Allgatherv")):
        raise TypeError(
            f"distributed is a {type(distributed).__name__}; expected a communicator of mpi4py such as "
            "MPI.COMM_WORLD, 'mpi' for that one, or None"
        )
    return Group(distributed)


def launched() -> int:
    """Return how many processes a launcher of MPI says that it has started: mpiexec, or srun with PMI or PMIx."""
    of_slurm = "SLURM_NTASKS" if "PMIX_RANK" in os.environ else ""
    sizes = [os.environ.get(name, "") for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", of_slurm)]
    return max([int(size) for size in sizes if size.isdecimal()], default=1)


def world() -> Any:
    """Return MPI's communicator of all processes."""
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ImportError(
            f"training in several processes needs MPI and mpi4py ({error}); pip install 'chainrule[mpi]'"
        ) from None
    return MPI.COMM_WORLD


class Guard:
    """What one process of a group tells the others when it begins, and when it fails."""

    def __init__(self, group: Group) -> None:
        self.group, self._begun, self._known = group, False, False

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Wait for all processes; raise if one of them failed, or has other facts than the first."""
        everyones = self.group.everyones((None, dict(facts)))
        self._known = True  # what is raised here, all processes raise
        failed = [(rank, text) for rank, (text, _) in enumerate(everyones) if text]
        if failed:
            raise RuntimeError(f"training did not begin, since process {failed[0][0]} failed: {failed[0][1]}")
        first = everyones[0][1]
        for rank, (_, given) in enumerate(everyones):
            other = [name for name in sorted({*first, *given}) if first.get(name) != given.get(name)]
            if other:
                raise ValueError(
                    f"distributed: process {rank} has other {', '.join(other)} than process 0; give all processes the "
                    "same model, data and settings"
                )
        self._begun, self._known = True, False

    @contextlib.contextmanager
    def alike(self) -> Iterator[None]:
        """Do something that fails in all processes if it does in one."""
        self._known = True
        yield
        self._known = False

    def end(self) -> None:
        """Note that no process waits for another any more."""
        self._known = True

    def failed(self, error: BaseException) -> None:
        """Tell the others that this process failed: before the beginning in words; later all are ended."""
        text = f"{type(error).__name__}: {error}"
        if self._known:
            return
        if not self._begun:
            self.group.everyones((text, {}))
            return
        place = f"process {self.group.rank} of {self.group.size}"
        traceback.print_exception(error)
        print(f"chainrule: {place} failed and ends all others: {text}", file=sys.stderr, flush=True)
        self.group.abort()


@contextlib.contextmanager
def guarded(group: Group) -> Iterator[Guard]:
    """Let no process of the group wait for one that has failed; one such block may be within another."""
    guard = Guard(group)
    try:
        yield guard
    except NonFiniteError:
        raise  # all have the same numbers, so all raise it
    except BaseException as error:
        if group.size > 1 and not vars(error).get("told"):
            guard.failed(error)
            vars(error)["told"] = True  # a block around this one must not tell it again, since nobody would listen
        raise


@contextlib.contextmanager
def firsts_file(group: Group, path: str | os.PathLike[str]) -> Iterator[Path | None]:
    """Yield a file with the content that the first process finds at a path; None if it finds none."""
    content = Path(path).read_bytes() if group.first and group.size > 1 and Path(path).exists() else None
    if group.size == 1 or group.first:
        group.firsts(content)
        yield Path(path) if Path(path).exists() else None
        return
    content = group.firsts(content)
    if content is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / Path(path).name
        copy.write_bytes(content)
        yield copy


class Pace:
    """How many steps the processes make until they agree again on whether to stop: as many as take a given time."""

    def __init__(self, group: Group, seconds: float) -> None:
        self._group, self._seconds = group, seconds
        self.steps = 1

    def agree(self, stopping: str | None, interrupted: bool) -> tuple[str | None, bool]:
        """Return why to stop, if one process has a reason, and whether it was interrupted."""
        everyones = self._group.everyones((stopping, interrupted, self.steps))
        self.steps = everyones[0][2]
        reasons = [(text, signal) for text, signal, _ in everyones if text is not None]
        return reasons[0] if reasons else (None, False)

    def made(self, steps: int, seconds: float) -> None:
        """Note how long steps took."""
        fitting = math.floor(self._seconds / max(seconds / max(steps, 1), 1e-9))
        self.steps = max(1, min(fitting, 8 * self.steps))
