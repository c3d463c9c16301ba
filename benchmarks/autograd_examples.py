"""The examples of autograd's source distribution, under autograd and under chainrule: the same numbers, and the time.

``python -m benchmarks.autograd_examples`` fetches the distribution with pip (or takes the file named by ``--sdist``),
runs each example alternately on both sides in processes of their own, and prints a table of medians of processor time.
Plotting is replaced by a recorder of what would be plotted, optimisers stop after some iterations, and programs after
some lines of output; both sides alike. What ``scipy.optimize.minimize`` asks for under autograd is recorded, and
chainrule is asked for the same, in the same order: a difference in the last bit would otherwise grow from step to step,
and the two would do different work.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import importlib
import io
import json
import os
import re
import runpy
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

VERSION = "1.9.1"
#: Steps of the optimisers of both libraries, and of ``scipy.optimize.minimize``.
STEPS, ITERATIONS = 100, 10
LINES = 130
#: These read MNIST from the network, or are no programs.
LEFT_OUT = {
    "__init__", "convnet", "data", "data_mnist", "generative_adversarial_net", "neural_net", "variational_autoencoder",
}  # fmt: skip


def unpacked(folder: Path, sdist: Path | None = None) -> Path:
    """Return the folder of autograd's source distribution, fetched unless a file is given."""
    if sdist is None:
        fetch = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "-q", "-d", str(folder)]
        subprocess.run([*fetch, f"autograd=={VERSION}"], check=True, capture_output=True, timeout=120)
        sdist = next(folder.glob("autograd-*.tar.gz"))
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return next(p for p in folder.glob("autograd-*") if p.is_dir())


def examples(source: Path) -> dict[str, Path]:
    """Return the programs that need no download, by name."""
    return {p.stem: p for p in sorted((source / "examples").rglob("*.py")) if p.stem not in LEFT_OUT}


# -- one side ----------------------------------------------------------------------------------------------------------


class Enough(Exception):
    """Ends a program that has printed enough lines."""


class Canvas:
    """Stands for everything of Matplotlib; keeps the numbers that it is given."""

    def __init__(self, numbers: list[float]) -> None:
        self.numbers = numbers

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.numbers += numbers_in(args)
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter((self, self))

    def __getitem__(self, index: Any) -> Any:
        return self


def numbers_in(x: Any) -> list[float]:
    """Return the real numbers in a nest of arrays; a long array is represented by its mean and its norm."""
    if isinstance(x, list | tuple):
        return [n for item in x for n in numbers_in(item)]
    if isinstance(x, dict):
        return numbers_in(list(x.values()))
    if isinstance(x, np.ndarray | float | int | np.number) and np.asarray(x).dtype.kind in "fiu":
        array = np.asarray(x, float).ravel()
        return array.tolist() if array.size <= 8 else [float(array.mean()), float(np.linalg.norm(array))]
    return []


def bound_optimisers(numbers: list[float]) -> None:
    """Stop the optimisers of both libraries after `STEPS`; keep what they find."""
    ours = importlib.import_module("autograd.misc.optimizers")

    def bounded(optimize: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            kwargs["num_iters"] = min(kwargs.get("num_iters", STEPS), STEPS)
            found = optimize(*args, **kwargs)
            numbers.extend(numbers_in(found))
            return found

        return run

    for name in ("sgd", "rmsprop", "adam"):
        setattr(ours, name, bounded(getattr(ours, name)))


class Minimizer:
    """Stands for ``scipy.optimize.minimize``: records what it asks for, or asks for what was recorded.

    Parameters
    ----------
    numbers : list
        Gets the answers.
    asked : dict or None
        The points of an earlier run, by number and kind of question.
    """

    def __init__(self, numbers: list[float], asked: dict[str, Any] | None) -> None:
        import scipy.optimize

        self.numbers, self.asked = numbers, asked
        self.recorded: dict[str, Any] = {}
        self.minimize = scipy.optimize.minimize
        scipy.optimize.minimize = self

    def __call__(self, fun: Any, x0: Any, **options: Any) -> Any:
        given = {"fun": fun, **{kind: options.get(kind) for kind in ("jac", "hessp", "callback")}}
        answering = {kind: self.answering(kind, f) for kind, f in given.items() if callable(f)}
        if self.asked is not None:
            return self.repeat(answering)
        options["options"] = dict(options.get("options", {}), maxiter=ITERATIONS, disp=False)
        found = self.minimize(x0=x0, **{**options, **answering})
        self.record("found", found.x)
        return found

    def record(self, kind: str, *points: Any) -> None:
        self.recorded[f"{len(self.recorded)} {kind}"] = np.stack(points)

    def answering(self, kind: str, function: Any) -> Any:
        def answer(*points: Any) -> Any:
            points = tuple(np.array(p) for p in points)
            self.record(kind, *points)
            value = function(*points)
            self.numbers.extend(numbers_in(value))
            return value

        return answer

    def repeat(self, answering: dict[str, Any]) -> Any:
        from scipy.optimize import OptimizeResult

        assert self.asked is not None
        while True:
            kind, points = next(((k, p) for k, p in self.asked.items() if int(k.split()[0]) == len(self.recorded)))
            if kind.endswith("found"):
                self.record("found", *points)
                return OptimizeResult(x=points[0])
            answering[kind.split()[1]](*points)


def stub_plotting(numbers: list[float]) -> None:
    """Put a recorder in the place of Matplotlib, whose images are read before."""
    from matplotlib.image import imread

    canvas = Canvas(numbers)
    for name in ("matplotlib", "matplotlib.pyplot", "matplotlib.cm", "matplotlib.image"):
        module = types.ModuleType(name)
        module.__getattr__ = lambda attribute: getattr(canvas, attribute)  # type: ignore[method-assign]
        module.imread = imread  # type: ignore[attr-defined]
        sys.modules[name] = module
    sys.modules["matplotlib"].__path__ = []  # type: ignore[attr-defined]


def run(side: str, program: Path, asked: Path) -> dict[str, Any]:
    """Run a program on one side; return its seconds and the numbers that it printed and found, or plotted.

    The file `asked` has what optimisers asked for on autograd's side, which writes it.
    """
    if side == "chainrule":
        from chainrule.compat import autograd

        autograd.install()
    for name in ("numpy", "scipy", "scipy.linalg", "misc.optimizers", "misc.fixed_points", "test_util"):
        importlib.import_module(f"autograd.{name}")
    found: list[float] = []
    plotted: list[float] = []
    printed = io.StringIO()
    lines = 0
    original = builtins.print

    def counted(*args: Any, **kwargs: Any) -> None:
        nonlocal lines
        lines += 1
        if lines > LINES:
            raise Enough
        original(*args, **kwargs)

    stub_plotting(plotted)
    bound_optimisers(found)
    minimizer = Minimizer(found, dict(np.load(asked)) if side == "chainrule" else None)
    np.random.seed(0)
    sys.path.insert(0, str(program.parent))
    os.chdir(program.parent)
    os.system = lambda command: 0  # type: ignore[assignment]  # one of them makes a film
    builtins.print = counted
    begin = time.process_time()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings(), contextlib.suppress(Enough):
        warnings.simplefilter("ignore")
        runpy.run_path(str(program), run_name="__main__")
    seconds = time.process_time() - begin
    builtins.print = original
    if side == "autograd":
        np.savez(asked, **minimizer.recorded)
    text = re.sub(r"node_\d+", "node", printed.getvalue())
    numbers = [float(n) for n in re.findall(r"(?<![\w.])[-+]?\d+\.\d+(?:e[-+]?\d+)?", text)]
    # what is only plotted may be random draws with a nearly singular covariance: kept where there is nothing else
    return {"seconds": seconds, "numbers": numbers + found or plotted}


# -- both sides --------------------------------------------------------------------------------------------------------


def of_both(program: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what `run` returns under autograd and under chainrule, each from a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "asked.npz"
        return of_side("autograd", program, asked), of_side("chainrule", program, asked)


def of_side(side: str, program: Path, asked: Path) -> dict[str, Any]:
    """Return what `run` returns, from a process of its own."""
    root = Path(__file__).resolve().parent.parent
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(
        str(Path(p).resolve()) for p in [str(root), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    )
    environment["OPENBLAS_NUM_THREADS"] = "1"  # processor time is compared
    command = [sys.executable, "-m", "benchmarks.autograd_examples", "--side", side, str(program), str(asked)]
    finished = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=3000)
    if finished.returncode:
        raise RuntimeError(f"{program.stem} failed under {side}:\n{finished.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return result


def difference(theirs: list[float], ours: list[float]) -> float:
    """Return the largest difference, relative to numbers above 1; infinite if there are more on one side."""
    if len(theirs) != len(ours):
        return float("inf")
    a, b = np.array(theirs), np.array(ours)
    with np.errstate(invalid="ignore"):
        distance = np.where(a == b, 0.0, np.absolute(a - b) / np.maximum(1.0, np.absolute(a)))
    distance[np.isnan(a) & np.isnan(b)] = 0.0
    return float(np.max(distance, initial=0.0))


def main() -> None:
    """Run one side of one example, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", nargs="*", help="names of examples; default: all")
    parser.add_argument("--side", choices=("autograd", "chainrule"), help="run one program, and print what it gave")
    parser.add_argument("--sdist", type=Path, help="autograd's source distribution")
    parser.add_argument("--pairs", type=int, default=3, help="runs per side")
    options = parser.parse_args()
    if options.side:
        print(json.dumps(run(options.side, *map(Path, options.programs))))
        return
    print("| example | autograd, s | chainrule, s | times as fast | largest difference |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, program in examples(unpacked(Path(folder), options.sdist)).items():
            if options.programs and name not in options.programs:
                continue
            pairs = [of_both(program) for _ in range(options.pairs)]
            theirs, ours = (statistics.median(pair[i]["seconds"] for pair in pairs) for i in (0, 1))
            apart = difference(pairs[0][0]["numbers"], pairs[0][1]["numbers"])
            print(f"| {name} | {theirs:.2f} | {ours:.2f} | {theirs / ours:.1f} | {apart:.0e} |", flush=True)


if __name__ == "__main__":
    main()
