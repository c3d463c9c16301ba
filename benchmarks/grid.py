"""The grid: every wanted pair on every workload and number of threads, each in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import machine_record, thread_environment
from benchmarks.sides import SIDES
from benchmarks.workloads import Workload

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Grid:
    """What is to be measured: the rows, the pairs, and how long each pair is alternated."""

    workloads: list[Workload]
    pairs: list[tuple[str, str]]
    threads: list[int]
    seconds: float = 2.0
    block_seconds: float = 0.03
    time_limit: float = 600.0  # of one pair's process, in seconds: compilers may take minutes

    def size(self) -> int:
        return len(self.workloads) * len(self.pairs) * len(self.threads)

    def describe(self) -> dict[str, Any]:
        """The record that goes with the results: machine, versions, settings."""
        names = sorted({name for pair in self.pairs for name in pair})
        # Of a library that is split in two, the half that computes is named as well.
        distributions = sorted({"numpy", *(SIDES[name].distribution for name in names)})
        distributions += ["jaxlib"] if "jax" in distributions else []
        return {
            "machine": machine_record(distributions),
            "sides": {name: SIDES[name].runs for name in names},
            "settings": {
                "seconds": self.seconds,
                "block_seconds": self.block_seconds,
                "environment": {str(threads): pair_environment(threads) for threads in self.threads},
            },
        }

    def results(self) -> Iterator[dict[str, Any]]:
        """One result a pair, in the order workload, threads, pair; absent and unfit sides come as skipped."""
        unfit: dict[tuple[str, str], str] = {}  # (side, workload): found out once, not again for every peer
        for workload in self.workloads:
            for threads in self.threads:
                for pair in self.pairs:
                    result = _known_to_skip(pair, workload, unfit) or self._measure(workload, threads, pair)
                    if result["status"] == "skipped":
                        unfit[result["side"], workload.name] = result["reason"]
                    yield {"workload": workload.name, "threads": threads, "pair": list(pair), **result}

    def _measure(self, workload: Workload, threads: int, pair: tuple[str, str]) -> dict[str, Any]:
        environment = os.environ | pair_environment(threads)
        job = {
            "workload": asdict(workload),
            "sides": pair,
            "threads": threads,
            "seconds": self.seconds,
            "block_seconds": self.block_seconds,
        }
        with tempfile.TemporaryDirectory() as folder:
            job_file, result_file = Path(folder, "job.json"), Path(folder, "result.json")
            job_file.write_text(json.dumps(job), encoding="utf-8")
            command = [sys.executable, "-m", "benchmarks.pair", str(job_file), str(result_file)]
            try:
                done = subprocess.run(
                    command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=self.time_limit
                )
            except subprocess.TimeoutExpired:
                return {"status": "failed", "side": None, "reason": f"took over {self.time_limit:.0f} s"}
            if not result_file.exists():
                last_words = done.stderr.strip().splitlines()[-1:] or [f"ended with code {done.returncode}"]
                return {"status": "failed", "side": None, "reason": last_words[0]}
            result: dict[str, Any] = json.loads(result_file.read_text(encoding="utf-8"))
            if result["status"] == "failed":
                result["stderr"] = done.stderr[-4000:]
            return result


def pair_environment(threads: int) -> dict[str, str]:
    """The variables of a pair's process; OpenBLAS's idle threads stop after 2^20 cycles, see `benchmarks.measure`."""
    return {**thread_environment(threads), "OPENBLAS_THREAD_TIMEOUT": "20"}


def _known_to_skip(
    pair: tuple[str, str], workload: Workload, unfit: dict[tuple[str, str], str]
) -> dict[str, Any] | None:
    for name in pair:
        reason = SIDES[name].absent() or unfit.get((name, workload.name))
        if reason is not None:
            return {"status": "skipped", "side": name, "reason": reason}
    return None


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write the document under a temporary name beside `path` and move it there: `path` is never half a file."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.resolve().parent, prefix=path.name, suffix=".part", delete=False
    ) as file:
        try:
            json.dump(document, file, indent=1)
            file.write("\n")
        except BaseException:
            Path(file.name).unlink()
            raise
    os.replace(file.name, path)
