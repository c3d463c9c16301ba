"""``python -m benchmarks.distributed``: measure steps in 1 to 4 processes here, and predict those of 16 to 256.

It wants the extra ``[mpi]``. As root, and with more processes than processors, it sets what Open MPI asks for.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
from typing import Any

import numpy as np

from benchmarks.distributed.costs import Network, Work, batch_for, most, speedup, step, sums_of
from benchmarks.distributed.simulation import overlapped, simulated
from benchmarks.distributed.trainings import NETWORKS, made, step_seconds

#: Networks to predict for, with usual figures: the nominal bandwidth less headers and copies; by TCP, latencies of
#: the kernels at both ends and a switch; by InfiniBand, those of MPI.
CLUSTERS = (
    Network("10 Gbit/s Ethernet", latency=25e-6, bandwidth=1.1e9, overhead=2e-6),
    Network("25 Gbit/s Ethernet", latency=20e-6, bandwidth=2.8e9, overhead=2e-6),
    Network("100 Gbit/s Ethernet", latency=15e-6, bandwidth=8e9, overhead=2e-6),
    Network("100 Gbit/s InfiniBand", latency=1.5e-6, bandwidth=11e9, overhead=0.3e-6),
)
MANY = (2, 4, 16, 64, 256)
ALLOWED = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
#: With it, Open MPI binds no process to a processor of its own.
CROWDED = {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}


def work_of(name: str) -> Work:
    """Measure what a step costs on one thread: with the whole batch, and with an eighth of it."""
    batch = NETWORKS[name][1]
    whole, part = (step_seconds(name, rows, 1) for rows in (batch, batch // 8))
    per_row = max(whole - part, 0.0) / (batch - batch // 8)
    model, x, _ = made(name, batch)
    gradients = sum(p.value.nbytes for p in model.parameters() if p.value is not None)
    outputs = np.asarray(model(x[:1]).value).nbytes
    return Work(name, batch, whole - per_row * batch, per_row, gradients, outputs)


def layers_of(name: str) -> list[tuple[float, float]]:
    """Return the bytes of gradients of each affine layer, from the last one, and its share of the backward pass."""
    sizes = list(itertools.pairwise(NETWORKS[name][0]))
    products = [n * m * (2 if k else 1) for k, (n, m) in enumerate(sizes)]  # the inputs have no gradient
    return [(4 * m * (n + 1), p / sum(products)) for (n, m), p in zip(reversed(sizes), reversed(products), strict=True)]


def in_processes(count: int, names: list[str]) -> dict[str, Any]:
    """Return what so many processes measure."""
    mpiexec = shutil.which("mpiexec")
    if mpiexec is None:
        raise SystemExit("mpiexec is not in PATH: pip install 'chainrule[mpi]'")
    command = [mpiexec, "-n", str(count), sys.executable, "-m", "benchmarks.distributed.trainings", *names]
    allowed = ALLOWED | (CROWDED if count > (os.cpu_count() or 1) else {})
    done = subprocess.run(command, env=allowed | dict(os.environ), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def here(found: dict[int, dict[str, Any]]) -> Network:
    """Return the network of this machine, from messages of all sizes."""
    messages = {int(size): seconds for size, seconds in found[2]["messages"].items()}
    largest = max(messages)
    return Network("this machine", messages[8], largest / max(messages[largest] - messages[8], 1e-9))


def print_measured(found: dict[int, dict[str, Any]], works: dict[str, Work], together: dict[str, float]) -> None:
    """Print the table of this machine."""
    network = here(found)
    print(f"messages: {1e6 * network.latency:.1f} µs, {network.bandwidth / 1e9:.1f} GB/s")
    print("sums over processes, µs, measured / by the model (ring, tree, pieces):")
    for count, of_count in found.items():
        for size, seconds in of_count.get("sums", {}).items():
            model = ", ".join(f"{1e6 * s:.0f}" for s in sums_of(count, int(size), network))
            print(f"  {count} processes, {int(size):>9,} bytes  {1e6 * seconds:8.0f}   {model}")
    print("steps, µs, measured / by the model:")
    for name, work in works.items():
        print(f"  {name}: one process with 2 threads, uncut batches: {1e6 * together[name]:.0f}")
        for count, of_count in found.items():
            predicted = step(work, count, network)
            ratio = together[name] / of_count["steps"][name]
            print(
                f"    {count} processes {1e6 * of_count['steps'][name]:8.0f} {1e6 * predicted:8.0f}"
                f"   {ratio:.2f} times the speed of 2 threads"
            )


def print_predicted(works: dict[str, Work]) -> None:
    """Print the table of speed-ups on clusters, by the model and simulated."""
    for network in CLUSTERS:
        print(f"{network.name}: speed-up of a batch of the same size, by the model / simulated with delays")
        for name, work in works.items():
            pairs = [f"{speedup(work, n, network):.1f}/{work.alone() / simulated(work, n, network):.1f}" for n in MANY]
            larger = batch_for(work, 16, network)
            print(f"  {name:<20} {'  '.join(pairs)}   best at {most(work, network)}; half of 16 from batch {larger}")
            if layers := layers_of(name):
                ratios = [simulated(work, n, network) / overlapped(work, layers, n, network) for n in MANY]
                print(f"  {'':<20} {', '.join(f'{r:.2f}' for r in ratios)} times that if sums overlapped at no cost")
        print(f"  {'processes':<20} {', '.join(map(str, MANY))}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distributed", description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--network", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    options = parser.parse_args()
    works = {name: work_of(name) for name in options.network}
    for work in works.values():
        print(
            f"{work.name}: {1e6 * work.fixed:.0f} µs + {1e6 * work.per_row:.2f} µs a row, "
            f"{work.gradients:,} bytes of gradients"
        )
    print_predicted(works)
    found = {count: in_processes(count, options.network) for count in options.processes}
    if 2 in found:
        print_measured(found, works, {name: step_seconds(name, NETWORKS[name][1], 2) for name in works})


if __name__ == "__main__":
    main()
