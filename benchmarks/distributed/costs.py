"""The cost model: the time of a training step on many machines, from a few measured numbers.

A step of p processes is: the forward and backward pass of its share of the batch, a sum of gradients, and the update,
which each process makes. Messages cost a latency and their bytes over the bandwidth; each machine sends, and receives,
one message at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Network:
    """What a message costs.

    Attributes
    ----------
    name : str
    latency : float
        Seconds until a message without content arrives.
    bandwidth : float
        Bytes per second.
    overhead : float
        Seconds for which a message of any size keeps its sender busy.
    """

    name: str
    latency: float
    bandwidth: float
    overhead: float = 0.0

    def sending(self, size: float) -> float:
        """Return the seconds for which a message of so many bytes keeps its sender busy."""
        return self.overhead + size / self.bandwidth

    def message(self, size: float) -> float:
        """Return the seconds until a message of so many bytes has arrived."""
        return self.latency + self.sending(size)


@dataclass(frozen=True)
class Work:
    """What a training step computes.

    Attributes
    ----------
    name : str
    batch : int
        Rows.
    fixed, per_row : float
        Seconds of a step: those that do not depend on the rows, among them the update, and those of a row.
    gradients, outputs : int
        Bytes of all gradients, and of the outputs for a row, which are joined before the loss.
    """

    name: str
    batch: int
    fixed: float
    per_row: float
    gradients: int
    outputs: int = 0

    def alone(self) -> float:
        """Return the seconds of a step in one process."""
        return self.computed(1)

    def computed(self, processes: int) -> float:
        """Return the seconds that the process with the most rows computes."""
        return self.fixed + self.per_row * math.ceil(self.batch / processes)


def ring(processes: int, size: float, network: Network) -> float:
    """Return the seconds of a sum along a ring: pieces are summed on the first round, and passed on by the second."""
    return 2 * (processes - 1) * network.message(size / processes) if processes > 1 else 0.0


def tree(processes: int, size: float, network: Network) -> float:
    """Return the seconds of a sum along a binary tree of processes, and of its way back."""
    return 2 * math.ceil(math.log2(processes)) * network.message(size)


def pieces(processes: int, size: float, network: Network) -> float:
    """Return the seconds of what chainrule does: each process sums its piece of all parts, and sends it to all.

    The messages of a process follow each other without waiting for answers, so the latency counts once each way.
    """
    return 2 * joined(processes, size, network)


def joined(processes: int, size: float, network: Network) -> float:
    """Return the seconds until each process has the parts of all, of so many bytes together."""
    return network.latency + (processes - 1) * network.sending(size / processes) if processes > 1 else 0.0


SUMS = {"ring": ring, "tree": tree, "pieces": pieces}


def sums_of(processes: int, size: float, network: Network) -> tuple[float, ...]:
    """Return the seconds of a sum in each way."""
    return tuple(of(processes, size, network) for of in SUMS.values())


def step(work: Work, processes: int, network: Network, kind: str = "pieces") -> float:
    """Return the seconds of a training step."""
    outputs = joined(processes, work.outputs * work.batch, network)
    return work.computed(processes) + outputs + SUMS[kind](processes, work.gradients, network)


def speedup(work: Work, processes: int, network: Network, kind: str = "pieces") -> float:
    """Return how many times as fast as one process so many are, with the same batch."""
    return work.alone() / step(work, processes, network, kind)


def most(work: Work, network: Network, limit: int = 1024) -> int:
    """Return the number of processes beyond which a step gets no faster."""
    return min(range(1, min(limit, work.batch) + 1), key=lambda processes: (step(work, processes, network), processes))


def batch_for(work: Work, processes: int, network: Network, efficiency: float = 0.5) -> int | None:
    """Return the batch from which a share of the processes' time is used, doubling the work's own; None for none."""
    batch = work.batch
    while batch < 1000 * work.batch:
        if speedup(replace(work, batch=batch), processes, network) >= efficiency * processes:
            return batch
        batch *= 2
    return None
