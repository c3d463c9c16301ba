"""Kill ``chainrule train`` at random times, resume it, and compare the weights with those of a run left alone.

``python kills.py FOLDER KILLS``: prints how many kills there were, after how many of them there was a checkpoint, and
the folders whose files differ. The processes are forked from this one, so that none spends its time on imports.
"""

import contextlib
import hashlib
import io
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import chainrule.runs
from chainrule.cli import app

COMMAND = [
    "train", "digits", "--hidden", "4", "--epochs", "12", "--batch-size", "64", "--validation", "0.2",
    "--patience", "9", "--checkpoint-every", "1", "--threads", "1",
]  # fmt: skip


def started(folder: Path) -> int:
    """Begin a run or resume it, in another process; return its number."""
    process = os.fork()
    if process == 0:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        try:
            app([*COMMAND, "--out", str(folder), "--resume"])
        except SystemExit as end:
            os._exit(end.code)
        finally:
            os._exit(99)
    return process


def finished(process: int) -> int:
    """Return the exit status of a process, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def files(folder: Path) -> dict[str, str]:
    """Return checksums of what must not differ: the weights, and the figures of each epoch without its times."""
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    figures = [{k: v for k, v in row.items() if k not in ("seconds", "waited")} for row in rows]
    return {
        "model": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "history": json.dumps(figures),
        "names": str(sorted(f.name for f in folder.iterdir())),
    }


def main(folder: Path, kills: int) -> None:
    """Kill so many processes, and print what became of the runs."""
    rng = random.Random(0)
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):  # loads what a run needs
        app([*COMMAND, "--out", str(folder / "first")])
    began = time.perf_counter()
    status = finished(started(folder / "whole"))
    assert status == 0, status
    seconds, wanted = time.perf_counter() - began, files(folder / "whole")
    killed, saved, different, run = 0, 0, [], 0
    while killed < kills:
        run += 1
        place = folder / f"run{run}"
        for _ in range(min(rng.randint(1, 8), kills - killed)):
            process = started(place)
            time.sleep(rng.uniform(0, 0.6 * seconds))
            os.kill(process, signal.SIGKILL)
            killed += finished(process) == -signal.SIGKILL
            saved += (place / chainrule.runs.CHECKPOINT).exists()
        if finished(started(place)) or files(place) != wanted:
            different.append(place.name)
    print(json.dumps({"kills": killed, "saved": saved, "runs": run, "different": different}))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
