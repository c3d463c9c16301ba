"""``python -m benchmarks.estimators``: the estimators compared with scikit-learn's multi-layer perceptrons.

Speed: `fit` with the settings that both begin with, on the digits. The two sides alternate in one process, one fit
each, and every fit stops by the rule that both have in common; what is reported is the median of the pairs' ratios,
with quartiles. Quality: five folds, the same for both sides, inputs standardised on each fold's training part, the same
settings and random_state; the difference is taken fold by fold.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import machine_record, thread_numbers, usual_threads
from benchmarks.measure import Spread, pair_ratios, spread
from benchmarks.process import measured, process_environment
from benchmarks.report import Style, machine_lines, table

PACKAGES = ["chainrule", "scikit-learn", "numpy", "scipy"]
DATA_SETS = ("digits", "breast cancer", "wine", "diabetes")
FOLDS = 5
MODULE = "benchmarks.estimators"  # in a separate process it is not __main__


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimators", description="beside scikit-learn's MLPs")
    parser.add_argument("--threads", default=",".join(map(str, usual_threads())), help="such as 1,2")
    parser.add_argument("--pairs", type=int, default=7, help="fits of each side (7)")
    parser.add_argument("--seeds", type=int, default=2, help="random states for the quality; 0 leaves it out (2)")
    parser.add_argument("--format", choices=("text", "markdown"), default="text")
    parser.add_argument("--json", type=Path, help="a file for the results")
    options = parser.parse_args(arguments)
    try:
        threads = thread_numbers(options.threads)
    except ValueError as error:
        parser.error(str(error))
    if options.pairs < 1 or options.seeds < 0:
        parser.error("--pairs takes a whole number from 1, --seeds one from 0")
    record = {
        "machine": machine_record(PACKAGES),
        "settings": {"environment": {str(n): process_environment(n) for n in threads}},
    }
    speed = [
        measured(MODULE, {"what": "speed", "threads": n, "pairs": options.pairs, "dtype": dtype})
        for n in threads
        for dtype in ("auto", "float64")
    ]
    quality = [
        measured(MODULE, {"what": "quality", "threads": 1, "data": name, "seeds": options.seeds})
        for name in DATA_SETS * (options.seeds > 0)
    ]
    if options.json is not None:
        text = json.dumps({**record, "speed": speed, "quality": quality}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    print(report(record, speed, quality, options.format))
    return 1 if any(result["status"] != "measured" for result in [*speed, *quality]) else 0


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Measure in a separate process."""
    warnings.simplefilter("ignore")
    found = speed(job["pairs"], job["dtype"]) if job["what"] == "speed" else quality(job["data"], job["seeds"])
    return {"status": "measured", "threads": job["threads"], **found}


# -- speed -------------------------------------------------------------------------------------------------------------


def speed(pairs: int, dtype: str) -> dict[str, Any]:
    """Fit both sides alternately with their default parameters."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier as Theirs

    from chainrule.sklearn import MLPClassifier as Ours

    X, y = load_digits(return_X_y=True)
    sides = (lambda: Ours(random_state=0, dtype=dtype), lambda: Theirs(random_state=0))
    for make in sides:
        make().set_params(max_iter=2).fit(X, y)  # loads what is loaded once
    seconds: tuple[list[float], list[float]] = ([], [])
    processor: tuple[list[float], list[float]] = ([], [])
    epochs, accuracy = [0, 0], [0.0, 0.0]
    for _ in range(pairs):
        for side, make in enumerate(sides):
            taken, busy, fitted = timed(make().fit, X, y)
            seconds[side].append(taken)
            processor[side].append(busy)
            epochs[side], accuracy[side] = fitted.n_iter_, fitted.score(X, y)
    figures = [
        {"seconds": vars(spread(times)), "epochs": n, "training accuracy": score}
        for times, n, score in zip(seconds, epochs, accuracy, strict=True)
    ]
    ratios = {
        "ratio": vars(spread(pair_ratios(*seconds))), "processor_ratio": vars(spread(pair_ratios(*processor)))
    }  # fmt: skip
    return {"dtype": dtype, "sides": figures, **ratios}


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, float, Any]:
    """Call a function; return its wall time, its CPU time (both in seconds), and its result."""
    start, busy = time.perf_counter(), time.process_time()
    result = function(*arguments)
    return time.perf_counter() - start, time.process_time() - busy, result


# -- quality -----------------------------------------------------------------------------------------------------------


def quality(name: str, seeds: int) -> dict[str, Any]:
    """Score both sides on the same folds of a data set."""
    import numpy as np

    scores = np.array([fold_scores(name, seed) for seed in range(seeds)]).reshape(-1, 2)
    differences = scores[:, 0] - scores[:, 1]
    error = float(differences.std(ddof=1) / np.sqrt(len(differences)))
    return {
        "data": name,
        "score": "R²" if name == "diabetes" else "accuracy",
        "folds": len(scores),
        "ours": float(scores[:, 0].mean()),
        "theirs": float(scores[:, 1].mean()),
        "spread": float(scores[:, 1].std(ddof=1)),
        "difference": float(differences.mean()),
        "standard_error": error,
    }


def fold_scores(name: str, seed: int) -> list[tuple[float, float]]:
    """Score both libraries on each of five folds."""
    from sklearn import datasets, neural_network
    from sklearn.model_selection import KFold, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from chainrule import sklearn as ours

    X, y = getattr(datasets, "load_" + name.replace(" ", "_"))(return_X_y=True)
    kind, folds = ("MLPRegressor", KFold) if name == "diabetes" else ("MLPClassifier", StratifiedKFold)
    scores = []
    for train, test in folds(FOLDS, shuffle=True, random_state=seed).split(X, y):
        target = (y - y[train].mean()) / y[train].std() if kind == "MLPRegressor" else y
        found = [
            make_pipeline(StandardScaler(), getattr(module, kind)(random_state=seed))
            .fit(X[train], target[train])
            .score(X[test], target[test])
            for module in (ours, neural_network)
        ]
        scores.append((found[0], found[1]))
    return scores


# -- the report --------------------------------------------------------------------------------------------------------


def report(record: dict[str, Any], speed: list[dict[str, Any]], quality: list[dict[str, Any]], style: Style) -> str:
    parts = [machine_lines(record)]
    timed = [result for result in speed if result["status"] == "measured"]
    if timed:
        head = (
            "dtype",
            "threads",
            "chainrule ms",
            "quartiles",
            "scikit-learn ms",
            "quartiles",
            "epochs",
            "ms an epoch",
        )
        head += ("times faster", "quartiles", "by processor time")
        parts.append(table(head, [_speed_row(result) for result in timed], style))
    scored = [result for result in quality if result["status"] == "measured"]
    if scored:
        head = (
            "data",
            "score",
            "folds",
            "chainrule",
            "scikit-learn",
            "spread of folds",
            "difference",
            "standard error",
        )
        parts.append(table(head, [_quality_row(result) for result in scored], style))
    failed = [result for result in [*speed, *quality] if result["status"] != "measured"]
    return "\n\n".join([*parts, *[f"failed: {result['reason']}" for result in failed]]) + "\n"


def _speed_row(result: dict[str, Any]) -> tuple[str, ...]:
    sides, ratio = result["sides"], Spread(**result["ratio"])
    times = [Spread(**side["seconds"]) for side in sides]
    epochs = [side["epochs"] for side in sides]
    cells = ["float32" if result["dtype"] == "auto" else result["dtype"], str(result["threads"])]
    for t in times:
        cells += [f"{1e3 * t.median:.0f}", f"{1e3 * t.lower:.0f}–{1e3 * t.upper:.0f}"]
    cells.append(f"{epochs[0]}, {epochs[1]}")
    cells.append(", ".join(f"{1e3 * t.median / n:.2f}" for t, n in zip(times, epochs, strict=True)))
    busy = Spread(**result["processor_ratio"])
    return (*cells, f"{ratio.median:.1f}", f"{ratio.lower:.1f}–{ratio.upper:.1f}", f"{busy.median:.1f}")


def _quality_row(result: dict[str, Any]) -> tuple[str, ...]:
    figures = [f"{result[key]:.4f}" for key in ("ours", "theirs", "spread")]
    return (
        result["data"],
        result["score"],
        str(result["folds"]),
        *figures,
        f"{result['difference']:+.4f}",
        f"{result['standard_error']:.4f}",
    )


if __name__ == "__main__":
    sys.exit(main())
