"""``python -m benchmarks.profile WORKLOAD``: where the time of one training step goes, step by step of its plan."""

from __future__ import annotations

import argparse
import os
import sys
import time

from benchmarks.workloads import GRID, Workload, make_data


def main(arguments: list[str] | None = None) -> int:
    """Print the least time that each step of the plan took, in microseconds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("workload", help="its name in the grid (python -m benchmarks --list)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args(arguments)
    found = {w.name: w for w in GRID if w.optimizer is not None}
    if options.workload not in found:
        parser.error(f"no training workload {options.workload!r}; there are {', '.join(found)}")
    if options.threads < 1 or options.threads > (os.cpu_count() or 1):
        parser.error(f"--threads: expected an integer from 1 to {os.cpu_count() or 1}, got {options.threads}")
    print("\n".join(lines(found[options.workload], options.threads, options.seconds)))
    return 0


def lines(workload: Workload, threads: int, seconds: float) -> list[str]:
    """Measure a workload's step; return one line a step of its plan, and one for their sum."""
    import numpy as np

    from benchmarks.sides.chainrule_compiled import training_step

    data = make_data(workload)
    binding = training_step(workload, data, threads, "native").binding(data.inputs[0], data.targets[0])
    binding.run((data.inputs[0], data.targets[0]))
    least = np.array(binding.timed(3))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        least = np.minimum(least, binding.timed(3))
    out = [f"{us:9.2f}  {text}" for us, text in zip(least / 1e3, binding.plan.labels(), strict=False)]
    return [*out, f"{least.sum() / 1e3:9.2f}  all, in microseconds, the least of many runs each"]


if __name__ == "__main__":
    sys.exit(main())
