"""The grid: every selected pair on every workload and number of threads, each in a new process."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import machine_record
from benchmarks.process import measured, process_environment, skipped
from benchmarks.report import Style, report
from benchmarks.sides import SIDES
from benchmarks.workloads import Workload


@dataclass(frozen=True)
class Grid:
    """The measurements: the rows, the pairs, and the time for which each pair alternates."""

    workloads: list[Workload]
    pairs: list[tuple[str, str]]
    threads: list[int]
    seconds: float = 2.0
    block_seconds: float = 0.03
    time_limit: float = 600.0  # of one pair's process, in seconds: compilers may take minutes

    def size(self) -> int:
        return len(self.workloads) * len(self.pairs) * len(self.threads)

    def describe(self) -> dict[str, Any]:
        names = sorted({name for pair in self.pairs for name in pair})
        return description(names, self.threads, seconds=self.seconds, block_seconds=self.block_seconds)

    def results(self) -> Iterator[dict[str, Any]]:
        """One result per pair, in the order workload, threads, pair; missing and failed sides count as skipped."""
        unfit: dict[tuple[str, str], str] = {}  # (side, workload): found out once, not again for every peer
        for workload in self.workloads:
            for threads in self.threads:
                for pair in self.pairs:
                    result = _known_to_skip(pair, workload, unfit) or self._measure(workload, threads, pair)
                    if result["status"] == "skipped":
                        unfit[result["side"], workload.name] = result["reason"]
                    yield {"workload": workload.name, "threads": threads, "pair": list(pair), **result}

    def progress(self, result: dict[str, Any]) -> str:
        a, b = result["pair"]
        return f"{result['workload']} {result['threads']}T {a} : {b}  {result['ratio']['median']:.2f}"

    def report(self, record: dict[str, Any], results: Sequence[dict[str, Any]], style: Style) -> str:
        return report(record, results, style)

    def _measure(self, workload: Workload, threads: int, pair: tuple[str, str]) -> dict[str, Any]:
        job = {
            "workload": asdict(workload),
            "sides": pair,
            "threads": threads,
            "seconds": self.seconds,
            "block_seconds": self.block_seconds,
        }
        return measured("benchmarks.pair", job, self.time_limit)


def description(sides: Sequence[str], threads: Sequence[int], **settings: Any) -> dict[str, Any]:
    """The record of a measurement: machine, versions, a description of each side, settings."""
    # Of a library that is split in two, the half that computes is named as well.
    distributions = sorted({"numpy", *(SIDES[name].distribution for name in sides)})
    distributions += ["jaxlib"] if "jax" in distributions else []
    environment = {str(number): process_environment(number) for number in threads}
    return {
        "machine": machine_record(distributions),
        "sides": {name: SIDES[name].runs for name in sides},
        "settings": {**settings, "environment": environment},
    }


def _known_to_skip(
    pair: tuple[str, str], workload: Workload, unfit: dict[tuple[str, str], str]
) -> dict[str, Any] | None:
    for name in pair:
        reason = SIDES[name].absent() or unfit.get((name, workload.name))
        if reason is not None:
            return skipped(name, reason)
    return None


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write the document atomically: under a temporary name in the same folder, then renamed to `path`."""
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
