"""Processes that train together, and what they exchange: thin wraps of an MPI communicator.

Nothing here imports MPI: the caller gives a communicator of mpi4py, or any object with the methods that are used.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import platform
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .op import Array
from .shards import Span, cut, summed, within

#: Bytes of memory that the processes of a machine share, at most; what needs more is sent.
RESERVED = 1 << 30
#: Sums that shards are added up from, at most, by each process for itself; of more, each adds up a piece.
FEW = 8
#: Bytes to which shared arrays are aligned.
ALIGNMENT = 64
#: Up to this many bytes, every process gets all parts of a sum and adds them up; above, each adds up a piece of it.
WHOLE = 32_768


@dataclass(frozen=True)
class Layout:
    """Which shards of a batch each process owns.

    Attributes
    ----------
    shards : int
    owned : tuple of (int, int)
        The shards of each process; of one that has none, an empty span.
    """

    shards: int
    owned: tuple[Span, ...]

    @classmethod
    def of(cls, shards: int, processes: int) -> Layout:
        """Return the layout that spreads shards evenly."""
        return cls(shards, tuple(cut(shards, processes)))

    def nodes(self, rank: int) -> list[Span]:
        """Return the nodes of the tree whose sums a process computes alone."""
        return within(self.owned[rank], (0, self.shards))

    def computed(self, rank: int) -> range:
        """Return the shards that a process computes: those it owns, or the last one, which then nobody asks for."""
        first, end = self.owned[rank]
        return range(first, end) if first < end else range(self.shards - 1, self.shards)


class Group:
    """The processes of a communicator; without one, this process alone.

    Attributes
    ----------
    rank, size : int
    threads : int or None
        How many threads each should use by default; None: no others are known of.

    Examples
    --------
    >>> group = Group()
    >>> group.rank, group.size
    (0, 1)
    """

    def __init__(self, comm: Any = None) -> None:
        self.comm = comm
        self.rank: int = 0 if comm is None else comm.Get_rank()
        self.size: int = 1 if comm is None else comm.Get_size()
        places = self.everyones(_place())
        self.threads: int | None = None if self.size == 1 else _fair_share(places, self.rank)
        together = self.size > 1 and len({machine for machine, _ in places}) == 1
        self._memory = _SharedMemory.of(self) if together else None
        self._shared: dict[Any, Array | None] = {}
        self._sums: dict[Any, _Sum] = {}

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def everyones(self, value: Any) -> list[Any]:
        """Return the objects that the processes give, in the order of their ranks."""
        return [value] if self.comm is None else self.comm.allgather(value)

    def firsts(self, value: Any) -> Any:
        """Return the object that the first process gives."""
        return value if self.comm is None else self.comm.bcast(value, root=0)

    def abort(self) -> None:
        """End all processes."""
        if self.comm is not None:
            self.comm.Abort(1)

    def sum(self, layout: Layout, nodes: Sequence[Array], out: Array) -> Array:
        """Sum over shards: `nodes` are the sums of this process's nodes, in their order."""
        key = layout, out.shape, out.dtype
        if key not in self._sums:
            self._sums[key] = _Sum(self, layout, out)
        return self._sums[key](nodes[: len(layout.nodes(self.rank))], out)

    def shared(self, layout: Layout, name: str, like: Any) -> Array | None:
        """Return an array that all processes share: a row for each node of the tree that a process sums up alone.

        The rows, in the order of the shards, are as long as a vector `like`, or a little longer. None if the processes
        do not share memory, or if messages are better, since the vector is short or there are many nodes. Arrays that
        are in use at the same time have different names.
        """
        (size,), dtype = like.shape, np.dtype(like.dtype)
        key = layout, name, size, dtype
        if key not in self._shared:
            count = sum(len(layout.nodes(rank)) for rank in range(self.size))
            worth = count <= FEW and size * dtype.itemsize > WHOLE
            self._shared[key] = self._memory.rows(count, size, dtype) if self._memory and worth else None
        return self._shared[key]

    def own_rows(self, layout: Layout) -> slice:
        """Return which rows of a shared array this process writes."""
        first = sum(len(layout.nodes(rank)) for rank in range(self.rank))
        return slice(first, first + len(layout.nodes(self.rank)))

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.comm is not None:
            self.comm.Barrier()

    def rows(self, counts: Sequence[int], own: Array, out: Array) -> Array:
        """Join the rows of all processes, which have so many each."""
        if self.comm is None:
            np.copyto(out, own)
            return out
        width = out.size // len(out)
        own = np.ascontiguousarray(own[: counts[self.rank]])
        self.comm.Allgatherv(own.reshape(-1), [out.reshape(-1), [n * width for n in counts]])
        return out


def checksum(arrays: Sequence[Array]) -> int:
    """Return a number that differs if one bit of the arrays does."""
    found = 0
    for array in arrays:
        found = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, found)
    return found


def _place() -> tuple[str, list[int]]:
    """Return the machine, and the processors that this process may use."""
    own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return platform.node(), sorted(own)


def _fair_share(places: Sequence[tuple[str, list[int]]], rank: int) -> int:
    """Return how many threads a process can have if those of its machine have as many."""
    machine, own = places[rank]
    there = [processors for name, processors in places if name == machine]
    return max(1, min(len(own), len(set().union(*there)) // len(there)))


class _Sum:
    """The sum of one array over shards, with the memory that it needs."""

    def __init__(self, group: Group, layout: Layout, out: Array) -> None:
        self._group, self._layout, self._shape = group, layout, out.shape
        self._nodes = [layout.nodes(rank) for rank in range(group.size)]
        pieces = cut(out.size, group.size) if out.nbytes > WHOLE else [(0, out.size)] * group.size
        self._in_pieces, self._pieces = out.nbytes > WHOLE, pieces
        self._own = slice(*pieces[group.rank])
        length = self._own.stop - self._own.start
        given = len(self._nodes[group.rank])
        self._sent = np.empty(given * out.size, out.dtype)
        self._received = np.empty(sum(map(len, self._nodes)) * length, out.dtype)
        self._arrives = [len(nodes) * length for nodes in self._nodes]
        self._leaves = [given * (stop - start) for start, stop in pieces]
        rows = self._received.reshape(-1, length) if length else np.empty((sum(map(len, self._nodes)), 0), out.dtype)
        self._known = dict(zip([n for nodes in self._nodes for n in nodes], rows, strict=True))

    def __call__(self, nodes: Sequence[Array], out: Array) -> Array:
        comm, flat = self._group.comm, [node.reshape(-1) for node in nodes]
        if comm is None:
            mine = dict(zip(self._nodes[0], flat, strict=True))
            np.copyto(out, self._total(mine).reshape(self._shape))
            return out
        if not self._in_pieces:
            sent = flat[0] if len(flat) == 1 else np.concatenate(flat) if flat else self._sent
            comm.Allgatherv(sent, [self._received, self._arrives])
            np.copyto(out, self._total(self._known).reshape(self._shape))
            return out
        comm.Alltoallv([self._packed(flat), self._leaves], [self._received, self._arrives])
        piece = self._total(self._known)
        comm.Allgatherv(piece, [out.reshape(-1), [stop - start for start, stop in self._pieces]])
        return out

    def _packed(self, nodes: list[Array]) -> Array:
        """Return the pieces of all nodes, those for one process side by side."""
        if len(nodes) == 1:
            return nodes[0]
        place = 0
        for start, stop in self._pieces:
            for node in nodes:
                self._sent[place : place + stop - start] = node[start:stop]
                place += stop - start
        return self._sent

    def _total(self, known: dict[Span, Array]) -> Array:
        return summed(known, (0, self._layout.shards), np.add)


class _SharedMemory:
    """Memory of the first process that all processes of a machine use: a file without a name, so none is left behind.

    All take the same arrays from it in the same order. What is not written to takes no memory.
    """

    def __init__(self, mapped: mmap.mmap) -> None:
        self._mapped, self._taken = mapped, 0

    @classmethod
    def of(cls, group: Group) -> _SharedMemory | None:
        """Return the memory of a group, each process of which calls this; None if one of them cannot use it."""
        with contextlib.ExitStack() as ends:
            own = group.firsts(_unnamed_file(ends) if group.first else None)
            mapped = None
            with contextlib.suppress(OSError, ValueError, TypeError):
                process, number, identity = own
                with open(f"/proc/{process}/fd/{number}", "r+b") as file:
                    if os.fstat(file.fileno()).st_ino == identity:  # else processes have other numbers there
                        mapped = mmap.mmap(file.fileno(), RESERVED)
            usable = all(group.everyones(mapped is not None))
        return cls(mapped) if mapped is not None and usable else None

    def rows(self, count: int, size: int, dtype: np.dtype[Any]) -> Array | None:
        """Return an array of aligned rows, of at least so many elements; None if there is no room for it."""
        width = -(-size * dtype.itemsize // ALIGNMENT) * ALIGNMENT
        start, self._taken = self._taken, self._taken + count * width
        if self._taken > RESERVED:
            return None
        array = np.frombuffer(self._mapped, np.uint8, count * width, start)
        return array.view(dtype).reshape(count, -1)


def _unnamed_file(ends: contextlib.ExitStack) -> tuple[int, int, int] | None:
    """Return process, number and identity of a file in memory, which is open until others have it open, too."""
    with contextlib.suppress(OSError, AttributeError):
        number = os.memfd_create("chainrule")
        ends.callback(os.close, number)
        os.ftruncate(number, RESERVED)
        return os.getpid(), number, os.fstat(number).st_ino
    return None
