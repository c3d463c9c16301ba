"""``python -m benchmarks.larger_than_memory``: an epoch over a Parquet data set on disk beside the same rows in memory.

The data set is written on the spot, of random float32 numbers. Both sides train the same network in processes of their
own, one after the other, several times by turns; the one with rows in memory is given as many of them as `--memory`
allows, and what is compared are rows per second. The peak is the kernel's figure for the process, VmHWM.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine_record, thread_numbers
from benchmarks.process import measured, process_environment
from benchmarks.report import Style, machine_lines, table

MODULE = "benchmarks.larger_than_memory"
COLUMNS, GROUP, FILE_ROWS = 20, 65_536, 1 << 20
LAYERS = (COLUMNS, 128, 128, 1)
BATCH = 256
SIDES = ("on disk", "in memory")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description="rows on disk beside rows in memory")
    parser.add_argument("--gigabytes", type=float, default=6.0, help="size of the data set (6)")
    parser.add_argument("--memory", type=float, default=0.5, help="gigabytes of rows for the side in memory (0.5)")
    parser.add_argument("--threads", default="2", help="such as 1,2")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each side (3)")
    parser.add_argument("--folder", type=Path, help="where to write the data set; by default a temporary folder")
    parser.add_argument("--format", choices=("text", "markdown"), default="text")
    options = parser.parse_args(arguments)
    threads = thread_numbers(options.threads)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows = write(Path(folder), int(options.gigabytes * 1e9))
        print(f"{rows:,} rows of {COLUMNS} columns and a target, {_size(Path(folder)) / 1e9:.2f} GB", file=sys.stderr)
        found: dict[tuple[int, str], list[dict[str, Any]]] = {}
        for count in threads:
            for _ in range(options.rounds):
                for side in SIDES:
                    job = {"threads": count, "side": side, "folder": folder, "memory": int(options.memory * 1e9)}
                    result = measured(MODULE, job, time_limit=3600)
                    if result["status"] != "measured":
                        print(f"{side}: {result['reason']}", file=sys.stderr)
                        return 1
                    found.setdefault((count, side), []).append(result)
                    print(f"{side}: {result}", file=sys.stderr, flush=True)
    print(report(found, rows, options.format))
    return 0


def report(found: dict[tuple[int, str], list[dict[str, Any]]], rows: int, style: Style) -> str:
    """The table."""
    lines = []
    for (count, side), results in found.items():
        rates = [r["rows"] / r["seconds"] for r in results]
        known = statistics.median([r["rows"] / r["seconds"] for r in found[count, SIDES[1]]])
        waited = statistics.median([r["waited"] / r["seconds"] for r in results])
        peak = max(r["peak"] for r in results)
        rate = statistics.median(rates)
        spread = f"{min(rates):,.0f}–{max(rates):,.0f}"
        lines.append(
            [side, f"{count}", f"{rate:,.0f}", spread, f"{rate / known:.2f}", f"{waited:.0%}", f"{peak / 1e6:,.0f}"]
        )
    names = ["rows", "threads", "rows a second", "spread", "/ in memory", "waited", "peak MB"]
    head = [f"{rows:,} rows on disk; {'-'.join(map(str, LAYERS))}, Adam, batches of {BATCH}"]
    environment = {str(count): process_environment(count) for count, _ in found}
    record = {"machine": machine_record(["chainrule", "numpy", "pyarrow"]), "settings": {"environment": environment}}
    return "\n".join([machine_lines(record), *head, "", table(names, lines, style)])


def write(folder: Path, size: int) -> int:
    """Write the data set, and return its number of rows."""
    import pyarrow as pa
    from pyarrow import parquet

    random = np.random.default_rng(0)
    schema = pa.schema([(f"x{i}", pa.float32()) for i in range(COLUMNS)] + [("y", pa.float32())])
    rows = -(-size // (4 * (COLUMNS + 1)))
    weights = random.standard_normal(COLUMNS, dtype=np.float32) / np.float32(np.sqrt(COLUMNS))
    for number, first in enumerate(range(0, rows, FILE_ROWS)):
        X = random.standard_normal((min(FILE_ROWS, rows - first), COLUMNS), dtype=np.float32)
        target = np.tanh(X @ weights)
        parquet.write_table(
            pa.table([*np.ascontiguousarray(X.T), target], schema=schema), folder / f"part-{number:04}.parquet",
            row_group_size=GROUP, compression="none", use_dictionary=False,
        )  # fmt: skip
    return rows


def run(job: dict[str, Any]) -> dict[str, Any]:
    """One side: an epoch in this process."""
    import chainrule as cr
    from chainrule import data, nn

    rows: Any = data.ArrowRows(job["folder"], "y")
    count, y = len(rows), None
    if job["side"] == "in memory":
        rows, y = _in_memory(rows, job["memory"])
        count = len(rows)
    steps = [nn.Linear(a, b) for a, b in pairwise(LAYERS)]
    model = nn.Sequential(steps[0], nn.ReLU(), steps[1], nn.ReLU(), steps[2])
    model.initialize(0)
    started = time.perf_counter()
    history = cr.fit(model, rows, y, loss="mse", epochs=1, batch_size=BATCH, threads=job["threads"], progress=False)
    seconds = time.perf_counter() - started
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {
        "status": "measured", "side": job["side"], "rows": count, "seconds": seconds, "loss": history["loss"][-1],
        "waited": history[-1].get("waited", 0.0), "peak": 1024 * int(peak.split()[1]),
    }  # fmt: skip


def _in_memory(rows: Any, size: int) -> tuple[Any, Any]:
    """The first rows, as many as fit into some bytes."""
    count = min(size // (4 * (COLUMNS + 1)), len(rows))
    X, y, at = np.empty((count, COLUMNS), np.float32), np.empty((count, 1), np.float32), 0
    for inputs, target in rows:
        take = min(len(inputs), count - at)
        X[at : at + take], y[at : at + take] = inputs[:take], target[:take]
        at += take
        if at == count:
            break
    return X, y


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


if __name__ == "__main__":
    sys.exit(main())
