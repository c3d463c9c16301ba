"""A side on the folds of a table, in a process of its own; the result of each fold is a file, as it arrives."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.grid import write_json
from benchmarks.machine import load_average
from benchmarks.process import measured
from benchmarks.tables.sets import BY_NAME, Table, Task
from benchmarks.tables.sides import SIDES, outputs

FOLDS = 5


@dataclass(frozen=True)
class Tables:
    """The measurements: tables, sides and folds, each table and side in a process; those on file are not repeated."""

    folder: Path
    tables: list[Table]
    sides: list[str]
    folds: list[int]
    threads: int = 2
    time_limit: float = 3600.0  # of a side on the folds of a table

    def results(self) -> Iterator[dict[str, Any]]:
        """One result for each table and side that is not complete yet, after it was measured."""
        for table in self.tables:
            for name in self.sides:
                missing = [fold for fold in self.folds if not file_of(self.folder, table.name, name, fold).exists()]
                if not missing or (table.large and not SIDES[name].large):
                    continue
                job = {"table": table.name, "side": name, "folds": missing, "threads": self.threads}
                job["folder"] = str(self.folder.resolve())
                yield {"table": table.name, "side": name, **measured(__name__, job, self.time_limit)}


def file_of(folder: Path, table: str, side: str, fold: int) -> Path:
    return folder / f"{table}-{side}-{fold}.json".replace(" ", "_")


def read_results(folder: Path) -> list[dict[str, Any]]:
    """All folds on file."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*-*-*.json"))]
    return [result for result in found if result["table"] in BY_NAME and result["side"] in SIDES]


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Measure the folds of a job and write their files."""
    warnings.simplefilter("ignore")
    table, side = BY_NAME[job["table"]], SIDES[job["side"]]
    absent = side.absent()
    if absent:
        return {"status": "skipped", "reason": absent}
    frame, y = table.load()
    frame = side.prepare(frame)
    errors = []
    for fold, (train, test) in enumerate(splits(y, table.task)):
        if fold in job["folds"]:
            found = one_fold(side.make(table.task, frame, job["threads"]), table.task, frame, y, train, test)
            name = {"table": table.name, "side": side.name, "fold": fold, "threads": job["threads"]}
            write_json(file_of(Path(job["folder"]), table.name, side.name, fold), name | found)
            errors.append(found["error"])
    return {"status": "measured", "error": float(np.mean(errors))}


def splits(y: np.ndarray[Any, Any], task: Task) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """The folds, the same for all sides: shuffled, and with the same share of each class."""
    from sklearn.model_selection import KFold, StratifiedKFold

    kind = KFold if task == "regression" else StratifiedKFold
    return list(kind(FOLDS, shuffle=True, random_state=0).split(y, y))


def one_fold(estimator: Any, task: Task, frame: Any, y: Any, train: Any, test: Any) -> dict[str, Any]:
    """The errors of an estimator and of the baseline, and the times of `fit` and of the predictions."""
    start, processor = time.perf_counter(), time.process_time()
    estimator.fit(frame.iloc[train], y[train])
    fitted, used = time.perf_counter(), time.process_time()
    found = outputs(estimator, task, frame.iloc[test])
    end = time.perf_counter()
    return {
        "rows": len(y),
        "columns": frame.shape[1],
        **errors(task, y[test], found),
        "baseline": errors(task, y[test], guesses(task, y[train], len(test))),
        "fit_seconds": fitted - start,
        "fit_processor_seconds": used - processor,
        "predict_seconds": end - fitted,
        "load": load_average(),
    }


def guesses(task: Task, y: Any, rows: int) -> Any:
    """The outputs of the baseline: the mean, or the shares of the classes."""
    if task == "regression":
        return np.full(rows, y.mean())
    return np.tile(np.bincount(y) / len(y), (rows, 1))


def errors(task: Task, y: Any, found: Any) -> dict[str, float]:
    """The errors of outputs: "error" is 1 - AUC, log loss or RMSE, by the task; "wrong" is the share of wrong classes.

    Raises ValueError for outputs that are not finite or not of the right shape.
    """
    from sklearn.metrics import log_loss, roc_auc_score

    if not np.isfinite(found).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(found))} outputs are not finite")
    if found.shape[:1] != y.shape or (task != "regression" and found.shape[1] != y.max() + 1):
        raise ValueError(f"outputs of shape {found.shape} for {y.shape} targets")
    if task == "regression":
        return {"error": float(np.sqrt(np.mean((found - y) ** 2))), "absolute": float(np.mean(np.abs(found - y)))}
    wrong = float(np.mean(found.argmax(axis=1) != y))
    loss = float(log_loss(y, found, labels=np.arange(found.shape[1])))
    error = 1 - float(roc_auc_score(y, found[:, 1])) if task == "binary" else loss
    return {"error": error, "wrong": wrong, "log_loss": loss}
