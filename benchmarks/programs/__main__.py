"""``python -m benchmarks.programs FOLDER``: median wall times of the same training in several programs, alternating."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.grid import description, write_json
from benchmarks.machine import pinned, thread_numbers, usual_threads
from benchmarks.measure import pair_ratios, spread
from benchmarks.process import ROOT, process_environment
from benchmarks.programs.options import BATCH, EPOCHS, HIDDEN, LEARNING_RATE
from benchmarks.report import Style, left_out, machine_lines, table
from benchmarks.sides import SIDES

# Each program's side, which names the library that it needs.
PROGRAMS = {"chainrule": "chainrule_native", "torch": "torch_eager", "jax": "jax_scan"}
COMMAND_LINE = "from chainrule.cli import main; main()"  # as the installed script does; runs from the sources, too


@dataclass(frozen=True)
class Finished:
    """A program that ran to its end: wall seconds of the whole process, and the test accuracy that it reports."""

    seconds: float
    test_accuracy: float


class Failed(Exception):
    """A program that cannot be started or did not end well; the message says why."""


@dataclass(frozen=True)
class Programs:
    """The measurements: each program on a folder, in alternation, for each number of threads."""

    folder: Path
    names: list[str]
    threads: list[int]
    rounds: int = 3
    epochs: int = EPOCHS

    def describe(self) -> dict[str, Any]:
        sides = [PROGRAMS[name] for name in self.names]
        return description(sides, self.threads, rounds=self.rounds, epochs=self.epochs, folder=str(self.folder))

    def results(self) -> list[dict[str, Any]]:
        """One result a number of threads and program: its runs, or why there are none."""
        return [result for threads in self.threads for result in self._in_turns(threads)]

    def _in_turns(self, threads: int) -> list[dict[str, Any]]:
        """Run each program once a round, with the round as its seed; one that fails is left out of later rounds.

        Before the rounds each runs for an epoch that does not count: it brings the files into the system's memory.
        """
        runs: dict[str, list[Finished]] = {name: [] for name in self.names}
        failures: dict[str, str] = {}
        for turn in range(self.rounds + 1):
            for name in self.names:
                if name in failures:
                    continue
                label = f"{threads}T, {f'round {turn}' if turn else 'warm-up'}, {name}"
                try:
                    finished = run(name, self.folder, self.epochs if turn else 1, turn, threads)
                except Failed as error:
                    failures[name] = str(error)
                    print(f"{label}: {error}", file=sys.stderr, flush=True)
                    continue
                print(f"{label}: {finished.seconds:.2f} s", file=sys.stderr, flush=True)
                if turn:
                    runs[name].append(finished)
        return [
            {"program": name, "threads": threads, **_result(name, runs[name], failures.get(name))}
            for name in self.names
        ]


def _result(name: str, runs: Sequence[Finished], failure: str | None) -> dict[str, Any]:
    if failure is not None:
        return {"status": "failed", "side": name, "reason": failure}
    return {"status": "timed", "runs": [asdict(finished) for finished in runs]}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.programs", description=__doc__)
    parser.add_argument("folder", type=Path, help="with the four IDX files of an MNIST-like data set")
    parser.add_argument("--programs", default=",".join(PROGRAMS), help=f"of {','.join(PROGRAMS)}")
    parser.add_argument("--rounds", type=int, default=3, help="runs per program, in alternation (default: 3)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"default: {EPOCHS}")
    parser.add_argument("--threads", metavar="N,…", help="numbers of threads (default: 1,2)")
    parser.add_argument("--format", choices=("text", "markdown"), default="text", help="of the table")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    options = parser.parse_args(arguments)
    try:
        programs = _programs(options)
    except ValueError as error:
        parser.error(str(error))
    record, results = programs.describe(), programs.results()
    print(report(record, results, options.format))
    if options.json is not None:
        write_json(options.json, {**record, "results": results})
    return 1 if any(result["status"] == "failed" for result in results) else 0


def _programs(options: argparse.Namespace) -> Programs:
    """The settings given by the options. Raises a ValueError that names an invalid option and the expected values."""
    names = options.programs.split(",")
    for name in names:
        if name not in PROGRAMS:
            raise ValueError(f"--programs: expected some of {', '.join(PROGRAMS)}, got {name!r}")
    for name in ("rounds", "epochs"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name}: expected an integer ≥ 1, got {getattr(options, name)}")
    if not options.folder.is_dir():
        raise ValueError(f"FOLDER: no such folder: {options.folder}")
    threads = thread_numbers(options.threads) if options.threads else usual_threads()
    return Programs(options.folder, names, threads, options.rounds, options.epochs)


def run(name: str, folder: Path, epochs: int, seed: int, threads: int) -> Finished:
    """Run one program from start to end. Raises `Failed`."""
    absent = SIDES[PROGRAMS[name]].absent()
    if absent is not None:
        raise Failed(absent)
    with tempfile.TemporaryDirectory() as scratch, pinned(threads):
        out = Path(scratch, "run")
        if name == "chainrule":
            command = chainrule_command(folder, epochs, seed, threads, out)
        else:
            command = [sys.executable, "-m", f"benchmarks.programs.mnist_{name}", str(folder.resolve())]
            command += ["--epochs", str(epochs), "--seed", str(seed), "--threads", str(threads)]
        environment = os.environ | process_environment(threads)
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


def chainrule_command(folder: Path, epochs: int, seed: int, threads: int, out: Path) -> list[str]:
    """The library's command line for the same training; it writes its record under `out`."""
    options = {
        "--hidden": ",".join(map(str, HIDDEN)),
        "--activation": "relu",
        "--dropout": 0,
        "--epochs": epochs,
        "--batch-size": BATCH,
        "--optimizer": "adam",
        "--lr": LEARNING_RATE,
        "--schedule": "constant",
        "--seed": seed,
        "--threads": threads,
        "--out": out,
    }
    arguments = ["train", str(folder.resolve()), *(str(part) for pair in options.items() for part in pair)]
    return [sys.executable, "-c", COMMAND_LINE, *arguments]


def _accuracy_of_run(out: Path) -> float:
    records = sorted(out.rglob("run.json"))
    if not records:
        raise Failed("wrote no run.json")
    record: Any = json.loads(records[0].read_text(encoding="utf-8"))
    return float(record["metrics"]["test"]["accuracy"])


def report(record: dict[str, Any], results: Sequence[dict[str, Any]], style: Style) -> str:
    """The machine, the table of programs, and what was not measured."""
    timed = [result for result in results if result["status"] == "timed"]
    parts = [machine_lines(record), *([programs_table(timed, style)] if timed else []), *left_out(results)]
    return "\n\n".join(parts) + "\n"


def programs_table(timed: Sequence[dict[str, Any]], style: Style) -> str:
    """Median wall seconds with quartiles, the ratio to the first program round by round, and the accuracy."""
    rows = []
    first: dict[int, list[float]] = {}
    for result in timed:
        times = [run["seconds"] for run in result["runs"]]
        accuracies = [run["test_accuracy"] for run in result["runs"]]
        seconds = spread(times)
        ratio = spread(pair_ratios(first.setdefault(result["threads"], times), times))
        rows.append(
            (
                result["program"],
                str(result["threads"]),
                f"{seconds.median:.2f}",
                f"{seconds.lower:.2f}–{seconds.upper:.2f}",
                f"{ratio.median:.2f}",
                f"{100 * spread(accuracies).median:.2f}%",
                f"{100 * min(accuracies):.2f}–{100 * max(accuracies):.2f}%",
            )
        )
    head = ("program", "threads", "wall s", "quartiles", f"/ {timed[0]['program']}", "test accuracy", "range")
    return table(head, rows, style)


if __name__ == "__main__":
    sys.exit(main())
