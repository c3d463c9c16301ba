"""``python -m benchmarks.programs FOLDER``: the same training by several programs in turns, median wall times."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.grid import ROOT, write_json
from benchmarks.machine import affinity, machine_record, pin, thread_environment
from benchmarks.measure import pair_ratios, spread
from benchmarks.programs.options import BATCH, EPOCHS, HIDDEN, LEARNING_RATE
from benchmarks.report import machine_lines, table
from benchmarks.sides import SIDES


@dataclass(frozen=True)
class Finished:
    """A program that ran to its end: wall seconds of the whole process, and the test accuracy that it reports."""

    seconds: float
    test_accuracy: float


class Failed(Exception):
    """A program that cannot be started or did not end well; the message says why."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.programs", description=__doc__)
    parser.add_argument("folder", type=Path, help="with the four IDX files of an MNIST-like data set")
    parser.add_argument("--programs", default=",".join(PROGRAMS), help=f"of {','.join(PROGRAMS)}")
    parser.add_argument("--rounds", type=int, default=3, help="how often each runs, in turns (default: 3)")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--threads", type=int, default=len(affinity() or [0]))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    options = parser.parse_args(arguments)
    names = options.programs.split(",")
    unknown = [name for name in names if name not in PROGRAMS]
    if unknown:
        parser.error(f"no program is called {unknown[0]!r}; there are: {', '.join(PROGRAMS)}")

    pin(options.threads)  # the programs inherit it
    record = {"machine": machine_record(["numpy", *(SIDES[PROGRAMS[name]].distribution for name in names)])}
    runs, failures = in_turns(names, options)
    print(summary(record, runs, failures))
    if options.json is not None:
        settings = {"rounds": options.rounds, "epochs": options.epochs, "threads": options.threads}
        found = {name: [asdict(run) for run in of] for name, of in runs.items()}
        write_json(options.json, {**record, "settings": settings, "runs": found, "failures": failures})
    return 1 if failures else 0


def in_turns(names: list[str], options: argparse.Namespace) -> tuple[dict[str, list[Finished]], dict[str, str]]:
    """Run each program once a round, with the round as its seed; one that fails is left out of later rounds."""
    runs: dict[str, list[Finished]] = {name: [] for name in names}
    failures: dict[str, str] = {}
    for seed in range(options.rounds):
        for name in names:
            if name in failures:
                continue
            try:
                finished = run(name, options.folder, options.epochs, seed, options.threads)
            except Failed as error:
                failures[name] = str(error)
                print(f"round {seed + 1}, {name}: {error}", file=sys.stderr, flush=True)
            else:
                runs[name].append(finished)
                print(f"round {seed + 1}, {name}: {finished.seconds:.2f} s", file=sys.stderr, flush=True)
    return {name: of for name, of in runs.items() if name not in failures}, failures


def run(name: str, folder: Path, epochs: int, seed: int, threads: int) -> Finished:
    """Run one program from start to end. Raises `Failed`."""
    absent = SIDES[PROGRAMS[name]].absent()
    if absent is not None:
        raise Failed(absent)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "run")
        if name == "chainrule":
            command = chainrule_command(folder, epochs, seed, out)
        else:
            command = [sys.executable, "-m", f"benchmarks.programs.mnist_{name}", str(folder.resolve())]
            command += ["--epochs", str(epochs), "--seed", str(seed), "--threads", str(threads)]
        environment = os.environ | thread_environment(threads)
        start = time.perf_counter()
        try:
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        except OSError as error:
            raise Failed(f"cannot be started: {error}") from error
        seconds = time.perf_counter() - start
        if done.returncode != 0:
            raise Failed((done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1])
        if name == "chainrule":
            return Finished(seconds, _accuracy_of_run(out))
        return Finished(seconds, float(json.loads(done.stdout.splitlines()[-1])["test_accuracy"]))


def chainrule_command(folder: Path, epochs: int, seed: int, out: Path) -> list[str]:
    """The library's command line for the same training; it writes its record under `out`."""
    program = Path(sysconfig.get_path("scripts"), "chainrule")
    options = {
        "--hidden": ",".join(map(str, HIDDEN)),
        "--activation": "relu",
        "--epochs": epochs,
        "--batch-size": BATCH,
        "--optimizer": "adam",
        "--lr": LEARNING_RATE,
        "--seed": seed,
        "--out": out,
    }
    return [str(program), "train", str(folder.resolve()), *(str(part) for pair in options.items() for part in pair)]


def _accuracy_of_run(out: Path) -> float:
    records = sorted(out.rglob("run.json"))
    if not records:
        raise Failed("wrote no run.json")
    record: Any = json.loads(records[0].read_text(encoding="utf-8"))
    return float(record["metrics"]["test"]["accuracy"])


def summary(record: dict[str, Any], runs: dict[str, list[Finished]], failures: dict[str, str]) -> str:
    """Median wall seconds with quartiles, the ratio to the first program round by round, and the accuracy."""
    rows = []
    first = next(iter(runs), None)
    for name, of in runs.items():
        seconds = spread([run.seconds for run in of])
        ratio = spread(pair_ratios([run.seconds for run in runs[first or name]], [run.seconds for run in of]))
        accuracy = spread([run.test_accuracy for run in of])
        rows.append(
            (
                name,
                f"{seconds.median:.2f}",
                f"{seconds.lower:.2f}–{seconds.upper:.2f}",
                f"{ratio.median:.2f}",
                f"{100 * accuracy.median:.2f}%",
            )
        )
    parts = [machine_lines(record)]
    if rows:
        parts.append(table(("program", "wall s", "spread", f"/ {first}", "test accuracy"), rows, "text"))
    parts += [f"{name}: not measured, {reason}" for name, reason in failures.items()]
    return "\n\n".join(parts)


# Each program's side, which names the library that it needs.
PROGRAMS = {"chainrule": "chainrule_compiled", "torch": "torch_eager", "jax": "jax_scan"}

if __name__ == "__main__":
    sys.exit(main())
