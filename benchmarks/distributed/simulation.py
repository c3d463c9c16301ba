"""A simulation of training steps on many machines, message by message, with delays that the model does not know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.distributed.costs import Network, Work


class Machines:
    """Clocks of machines that compute and send messages to each other.

    Parameters
    ----------
    count : int
    network : Network
    jitter : float
        The standard deviation of the logarithm of each duration: no two messages or passes take the same time.
    seed : int
    """

    def __init__(self, count: int, network: Network, jitter: float, seed: int) -> None:
        self.count, self.network, self._jitter = count, network, jitter
        self._draw = np.random.default_rng(seed)
        self.clocks = np.zeros(count)

    def _delayed(self, seconds: float, shape: tuple[int, ...]) -> np.ndarray:
        return seconds * np.exp(self._jitter * self._draw.normal(size=shape))

    def compute(self, seconds: float) -> None:
        """Let all compute."""
        self.clocks += self._delayed(seconds, (self.count,))

    def send(self, to: np.ndarray, size: float, senders: np.ndarray | None = None) -> None:
        """Let machines send a message each, to different ones, which wait for it."""
        senders = np.arange(self.count) if senders is None else senders
        taken = self._delayed(self.network.sending(size), (len(senders),))
        left = self.clocks[senders] + taken
        arrived = left + self._delayed(self.network.latency, (len(senders),))
        self.clocks[senders] = left
        np.maximum.at(self.clocks, to, arrived)

    def ring(self, size: float) -> None:
        """Sum along a ring."""
        for _ in range(2 * (self.count - 1)):
            self.send((np.arange(self.count) + 1) % self.count, size / self.count)

    def tree(self, size: float) -> None:
        """Sum along a binary tree, and send the sum back."""
        widths = [1 << level for level in range((self.count - 1).bit_length())]
        for width in widths:
            receivers = np.arange(0, self.count - width, 2 * width)
            self.send(receivers, size, receivers + width)
        for width in reversed(widths):
            senders = np.arange(0, self.count - width, 2 * width)
            self.send(senders + width, size, senders)

    def pieces(self, size: float) -> None:
        """Send each its piece of all parts, and then the sums of pieces to all; nobody waits for single messages."""
        self.join(size)
        self.join(size)

    def join(self, size: float) -> None:
        """Send each machine's part to all others."""
        left, arrived = self.clocks.copy(), self.clocks.copy()
        for distance in range(1, self.count):
            to = (np.arange(self.count) + distance) % self.count
            left += self._delayed(self.network.sending(size / self.count), (self.count,))
            np.maximum.at(arrived, to, left + self._delayed(self.network.latency, (self.count,)))
        self.clocks = np.maximum(left, arrived)


def simulated(
    work: Work, processes: int, network: Network, kind: str = "pieces", *, jitter: float = 0.1, steps: int = 20
) -> float:
    """Return the mean seconds of training steps that are simulated message by message."""
    machines = Machines(processes, network, jitter, seed=0)
    for _ in range(steps):
        machines.compute(work.computed(processes))
        machines.join(work.outputs * work.batch)
        getattr(machines, kind)(work.gradients)
    return float(machines.clocks.max()) / steps


def overlapped(
    work: Work, layers: Sequence[tuple[float, float]], processes: int, network: Network, *,
    jitter: float = 0.1, steps: int = 20,
) -> float:  # fmt: skip
    """Return the mean seconds of steps in which each layer's gradient is summed while the next one is computed.

    The best case: messages take no time of the processors that compute. The backward pass is two thirds of what is
    computed for the rows; half of what does not depend on them, the update, comes after the sums.

    Parameters
    ----------
    work : Work
    layers : sequence of (float, float)
        Bytes of gradients, and the share of the backward pass they take, in the order of the backward pass.
    processes : int
    network : Network
    jitter : float
    steps : int
    """
    machines = Machines(processes, network, jitter, seed=0)
    of_rows = work.computed(processes) - work.fixed
    for _ in range(steps):
        machines.compute(work.fixed / 2 + of_rows / 3)
        machines.join(work.outputs * work.batch)
        sent = machines.clocks
        for size, share in layers:
            machines.compute(share * of_rows * 2 / 3)
            computed = machines.clocks.copy()
            machines.clocks = np.maximum(sent, computed)
            machines.pieces(size)
            sent, machines.clocks = machines.clocks, computed
        machines.clocks = np.maximum(sent, machines.clocks)
        machines.compute(work.fixed / 2)
    return float(machines.clocks.max()) / steps
