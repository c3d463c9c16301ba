"""What one process measures: training steps, sums over processes, messages. Under mpiexec it prints a line of JSON.

``python -m benchmarks.distributed.trainings NAME…`` is what ``python -m benchmarks.distributed`` starts.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.layers.chainrule_native import network
from benchmarks.layers.workloads import Training
from chainrule import nn, optim
from chainrule.core.processes import Group, Layout
from chainrule.train.feed import Rows
from chainrule.train.sharded import Sharding
from chainrule.train.step import TrainingStep
from chainrule.train.together import launched, world

#: Networks by name: the widths of affine layers and the rows of a batch, or the batch of a network of the layers.
NETWORKS: dict[str, tuple[tuple[int, ...], int]] = {
    "784-128-10/b32": ((784, 128, 10), 32),
    "784-512-512-10/b256": ((784, 512, 512, 10), 256),
    "4-32-16-4/b10000": ((4, 32, 16, 4), 10_000),
    "lenet/b128": ((), 128),
    "cnn/b128": ((), 128),
    "gpt/b32": ((), 32),
}
#: Bytes of arrays that are summed, and of messages.
SIZES = (1024, 65_536, 1 << 20, 1 << 22)
REPEATS = 15


def made(name: str, batch: int) -> tuple[nn.Module, Any, Any]:
    """Return a network and a batch of its data."""
    widths = NETWORKS[name][0]
    if widths:
        rng = np.random.default_rng(0)
        layers = [
            layer for inputs, outputs in itertools.pairwise(widths) for layer in (nn.Linear(inputs, outputs), nn.ReLU())
        ]
        x = rng.normal(size=(batch, widths[0])).astype(np.float32)
        return nn.Sequential(*layers[:-1]), x, rng.integers(0, widths[-1], batch)
    training = Training(name.partition("/")[0], batch)
    x, y = training.data()
    return network(nn, training), x[:batch], y[:batch]


def step_of(name: str, batch: int, threads: int | None, sharding: Sharding | None) -> tuple[TrainingStep, Rows]:
    """Return the step of a network with Adam, and a feed of one batch."""
    model, x, y = made(name, batch)
    model.initialize(0).train()
    training = TrainingStep(model, "cross_entropy", optim.Adam(1e-3), threads=threads, sharding=sharding)
    feed = Rows(x, y, batch, batch, lambda epoch: np.arange(batch))
    feed.bind(training)
    return training, feed


def timed(run: Callable[[], Any], seconds: float = 0.05, group: Group | None = None) -> float:
    """Return the least time of a call, of some repeats; each process makes as many calls as the first."""
    group = group or Group()
    run()
    started = time.perf_counter()
    run()
    calls = group.firsts(max(1, math.ceil(seconds / (time.perf_counter() - started))))
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        for _ in range(calls):
            run()
        times.append((time.perf_counter() - started) / calls)
    return min(times)


def step_seconds(name: str, batch: int, threads: int | None, sharding: Sharding | None = None) -> float:
    """Return the least time of a training step."""
    training, feed = step_of(name, batch, threads, sharding)

    def run() -> None:
        feed.start(0, 0)
        feed.run(training, 0, None, math.inf)

    return timed(run, group=sharding.group if sharding else None)


def sum_seconds(group: Group, size: int) -> float:
    """Return the least time of a sum over processes that have one part each."""
    layout = Layout.of(group.size, group.size)
    part, total = np.ones(size // 4, np.float32), np.empty(size // 4, np.float32)
    return timed(lambda: group.sum(layout, [part], total), 0.01, group)


def message_seconds(group: Group, size: int) -> float:
    """Return the least time of a message from the first process to the second, half of a round trip."""
    buffer = np.ones(size, np.uint8)

    def there_and_back() -> None:
        if group.rank == 0:
            group.comm.Send(buffer, dest=1)
            group.comm.Recv(buffer, source=1)
        elif group.rank == 1:
            group.comm.Recv(buffer, source=0)
            group.comm.Send(buffer, dest=0)

    return timed(there_and_back, 0.01, group) / 2


def main(names: list[str]) -> None:
    """Measure in all processes, and print what the first one finds."""
    group = Group(world()) if launched() > 1 else Group()
    found: dict[str, Any] = {"processes": group.size, "steps": {}}
    for name in names:
        batch = NETWORKS[name][1]
        found["steps"][name] = step_seconds(name, batch, 1, Sharding(group, group.size))
    if group.size > 1:
        found["sums"] = {size: sum_seconds(group, size) for size in SIZES}
        found["messages"] = {size: message_seconds(group, size) for size in (8, *SIZES)}
    if group.first:
        print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
