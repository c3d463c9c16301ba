"""The record of the machine and the software of a measurement."""

from __future__ import annotations

import contextlib
import datetime
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def thread_environment(threads: int) -> dict[str, str]:
    """The environment variables that BLAS and OpenMP libraries read when they are loaded."""
    counts = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    return {**{variable: str(threads) for variable in counts}, "JAX_PLATFORMS": "cpu"}


def machine_record(distributions: list[str]) -> dict[str, Any]:
    """The processor, the cores available to this process, and the versions of all libraries that are timed."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "instruction_sets": instruction_sets(),
        "cores": os.cpu_count(),
        "affinity": affinity(),
        "cgroup_cpu_max": cgroup_quota(),
        "load_average": load_average(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy_blas": numpy_blas(),
        "versions": {name: version(name) for name in distributions},
        "revision": revision(),
    }


def revision() -> str | None:
    """The commit of the sources, with the suffix "-dirty" if they were changed; None without git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def load_average() -> list[float] | None:
    """The load averages over 1, 5 and 15 minutes; None if the system does not provide them."""
    return list(os.getloadavg()) if hasattr(os, "getloadavg") else None


def cpu_model() -> str:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def instruction_sets() -> list[str]:
    """The vector extensions among the processor's flags; empty where the system does not list them."""
    for line in _lines("/proc/cpuinfo"):
        if line.startswith(("flags", "Features")):
            wanted = ("avx", "fma", "asimd", "sve", "amx")
            return [flag for flag in line.partition(":")[2].split() if flag.startswith(wanted)]
    return []


def affinity() -> list[int] | None:
    """The processors that this process may run on, or None where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def thread_numbers(text: str) -> list[int]:
    """The numbers of threads in "1,2". Raises ValueError for what is no such list, or more than can be had."""
    threads = [int(part) if part.isdecimal() else 0 for part in text.split(",")]
    if min(threads) < 1:
        raise ValueError(f"--threads: expected integers ≥ 1, such as 1,2, got {text!r}")
    usable = len(affinity() or ())
    if usable and max(threads) > usable:
        raise ValueError(f"--threads: expected at most the {usable} available cores, got {text!r}")
    return threads


def usual_threads() -> list[int]:
    """One thread and two, where the process may use so many processors."""
    return [1, 2][: len(affinity() or ()) or None]


def pin(threads: int) -> list[int] | None:
    """Pin this process to the first `threads` of its cores. Return them, or None if pinning is not available."""
    allowed = affinity()
    if allowed is not None:
        os.sched_setaffinity(0, allowed[:threads])
    return affinity()


@contextlib.contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Pin this process and its children to the first `threads` of its cores within a context."""
    before = affinity()
    pin(threads)
    try:
        yield
    finally:
        if before is not None:
            os.sched_setaffinity(0, before)


def cgroup_quota() -> str | None:
    """This process's processor quota as the kernel writes it ("max 100000": none), or None."""
    lines = _lines("/sys/fs/cgroup/cpu.max")
    return lines[0] if lines else None


def numpy_blas() -> dict[str, str]:
    import numpy as np  # not at the top: a process is pinned before NumPy is loaded

    found: Any = np.show_config(mode="dicts")
    blas = found.get("Build Dependencies", {}).get("blas", {})
    return {key: str(blas[key]) for key in ("name", "version", "openblas configuration") if key in blas}


def blas_threads() -> list[dict[str, Any]] | None:
    """The thread pools of this process as threadpoolctl sees them, or None without it."""
    if importlib.util.find_spec("threadpoolctl") is None:
        return None
    threadpoolctl: Any = importlib.import_module("threadpoolctl")
    kept = ("internal_api", "version", "num_threads")
    return [{key: pool.get(key) for key in kept} for pool in threadpoolctl.threadpool_info()]


def version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
