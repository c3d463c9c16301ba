"""A measurement in a process of its own: kept to its processors and threads before anything makes threads.

The parent calls ``measured(module, job)``; the child loads that module and calls its ``run(job)``, which returns the
result. Job and result are JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import pin, thread_environment

ROOT = Path(__file__).resolve().parent.parent


def measured(module: str, job: dict[str, Any], time_limit: float = 600.0) -> dict[str, Any]:
    """What ``run(job)`` of a module returns; the job names its "threads". Without an answer the status is "failed"."""
    environment = os.environ | process_environment(job["threads"])
    with tempfile.TemporaryDirectory() as folder:
        job_file, result_file = Path(folder, "job.json"), Path(folder, "result.json")
        job_file.write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, "-m", "benchmarks.process", module, str(job_file), str(result_file)]
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=time_limit
            )
        except subprocess.TimeoutExpired:
            return {"status": "failed", "side": None, "reason": f"took over {time_limit:.0f} s"}
        if not result_file.exists():
            last_words = done.stderr.strip().splitlines()[-1:] or [f"ended with code {done.returncode}"]
            return {"status": "failed", "side": None, "reason": last_words[0]}
        result: dict[str, Any] = json.loads(result_file.read_text(encoding="utf-8"))
        if result["status"] == "failed":
            result["stderr"] = done.stderr[-4000:]
        return result


def skipped(side: str, reason: str) -> dict[str, Any]:
    """The result of a side that cannot be measured here."""
    return {"status": "skipped", "side": side, "reason": reason}


def process_environment(threads: int) -> dict[str, str]:
    """The variables of such a process; OpenBLAS's idle threads stop after 2^20 cycles, see `benchmarks.measure`."""
    return {**thread_environment(threads), "OPENBLAS_THREAD_TIMEOUT": "20"}


def main() -> None:
    module, job_file, result_file = sys.argv[1:4]
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    pinned = pin(job["threads"])
    # Only now, with the process kept to its processors: it loads NumPy and with it the BLAS threads.
    result = importlib.import_module(module).run(job)
    Path(result_file).write_text(json.dumps({**result, "affinity": pinned}), encoding="utf-8")


if __name__ == "__main__":
    main()
