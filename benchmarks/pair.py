"""One pair of sides on one workload: what `benchmarks.process` runs for the grid."""

from __future__ import annotations

import traceback
from dataclasses import asdict
from typing import Any

from benchmarks import machine, measure
from benchmarks.process import skipped
from benchmarks.sides import SIDES, Runner, Unsupported
from benchmarks.workloads import Workload, make_data

PAUSE_SECONDS = 0.01  # between blocks with several threads


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Gate both sides, time them if both pass, and say otherwise which one did not and why.

    The result's status is "timed", "skipped" (a side cannot run this), "wrong" (it disagrees with the reference) or
    "failed" (it raised).
    """
    workload = Workload(**{**job["workload"], "layers": tuple(job["workload"]["layers"])})
    data = make_data(workload)
    runners: list[Runner] = []
    for name in job["sides"]:
        try:
            runner = SIDES[name].make(workload, data, job["threads"])
            difference = measure.disagreement(runner, workload, data)
        except (Unsupported, ImportError, AttributeError) as error:
            # An attribute that is missing is an interface that this side's library does not have yet, or any more.
            kind = "" if isinstance(error, Unsupported) else f"{type(error).__name__}: "
            return skipped(name, f"{kind}{error}")
        except Exception as error:
            traceback.print_exc()
            return {"status": "failed", "side": name, "reason": f"{type(error).__name__}: {error}"}
        if difference is not None:
            return {"status": "wrong", "side": name, "reason": difference}
        runners.append(runner)

    rate = measure.machine_rate(workload)
    pause = PAUSE_SECONDS if job["threads"] > 1 else 0.0
    first, second = measure.alternate(runners[0], runners[1], job["seconds"], job["block_seconds"], pause)
    # Before and after, because a busy machine may have slowed either one down.
    rate = max(rate, measure.machine_rate(workload), key=lambda found: float(found["rate"]))
    sides = []
    for name, runner, times in zip(job["sides"], runners, (first, second), strict=True):
        summary = measure.spread(times)
        sides.append(
            {
                "side": name,
                "seconds_per_step": asdict(summary),
                "multiply_share": workload.flops() / summary.median / rate["rate"],
                "steps_per_run": runner.steps_per_run,
                "samples": times,
            }
        )
    return {
        "status": "timed",
        "sides": sides,
        "ratio": asdict(measure.spread(measure.pair_ratios(first, second))),
        "step_flops": workload.flops(),
        "multiply_rate": rate,
        "thread_pools": machine.blas_threads(),
        "load_average": machine.load_average(),
    }
