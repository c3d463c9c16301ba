"""The layers' benchmark: chainrule and each peer alternate in a process of their own, for every network and batch."""

from __future__ import annotations

import importlib
import math
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import machine, measure
from benchmarks.grid import description
from benchmarks.layers.workloads import NETWORKS, Training
from benchmarks.process import measured, skipped
from benchmarks.report import Style, report
from benchmarks.sides import SIDES, Unsupported

PEERS = ("torch_eager", "jax_scan")  # modules of this package and names of sides
OURS = "chainrule_native"
PAUSE_SECONDS = 0.01


@dataclass(frozen=True)
class Layers:
    """The measurements: every network and batch size, number of threads and peer, each pair in a new process."""

    trainings: list[Training]
    peers: list[str]
    threads: list[int]
    seconds: float = 2.0
    block_seconds: float = 0.1
    time_limit: float = 600.0

    def size(self) -> int:
        return len(self.trainings) * len(self.peers) * len(self.threads)

    def describe(self) -> dict[str, Any]:
        settings = {"seconds": self.seconds, "block_seconds": self.block_seconds, "networks": NETWORKS}
        return description([OURS, *self.peers], self.threads, **settings)

    def results(self) -> Iterator[dict[str, Any]]:
        for training in self.trainings:
            for threads in self.threads:
                for peer in self.peers:
                    absent = SIDES[peer].absent()
                    job = {"training": asdict(training), "peer": peer, "threads": threads}
                    job |= {"seconds": self.seconds, "block_seconds": self.block_seconds}
                    found = skipped(peer, absent) if absent else measured(__name__, job, self.time_limit)
                    yield {"workload": training.name, "threads": threads, "pair": [OURS, peer], **found}

    def progress(self, result: dict[str, Any]) -> str:
        return f"{result['workload']} {result['threads']}T {result['pair'][1]}  {result['ratio']['median']:.2f}"

    def report(self, record: dict[str, Any], results: Sequence[dict[str, Any]], style: Style) -> str:
        return report(record, results, style)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Time the two sides alternately, if the first losses of both are those of classes that are guessed."""
    training, runners = Training(**job["training"]), []
    for side in (OURS, job["peer"]):
        try:
            runner = importlib.import_module(f"benchmarks.layers.{side}").make(training, job["threads"])
            runner.reset()
            runner.run(1)
            runner.finish()
        except (Unsupported, ImportError) as error:
            return skipped(side, str(error))
        except Exception as error:
            traceback.print_exc()
            return {"status": "failed", "side": side, "reason": f"{type(error).__name__}: {error}"}
        loss, guessed = runner.losses()[0], math.log(training.classes)
        if not guessed / 2 < loss < 3 * guessed:
            return {
                "status": "wrong",
                "side": side,
                "reason": f"the first loss is {loss:.3g}, expected about {guessed:.3g}",
            }
        runners.append(runner)
    pause = PAUSE_SECONDS if job["threads"] > 1 else 0.0
    first, second = measure.alternate(runners[0], runners[1], job["seconds"], job["block_seconds"], pause)
    rate = measure.multiply_rate(1024, 1024, 1024)
    flops = runners[0].flops()
    sides = []
    for name, times in zip((OURS, job["peer"]), (first, second), strict=True):
        summary = measure.spread(times)
        share = flops / summary.median / rate
        sides.append(
            {"side": name, "seconds_per_step": asdict(summary), "multiply_share": share, "samples": times}
        )
    return {
        "status": "timed",
        "sides": sides,
        "ratio": asdict(measure.spread(measure.pair_ratios(first, second))),
        "step_flops": flops,
        "multiply_rate": {"rate": rate},
        "thread_pools": machine.blas_threads(),
        "load_average": machine.load_average(),
    }
