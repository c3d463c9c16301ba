"""The tables of results: errors, ranks and times of all sides, and what has to be said about single tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.report import Style, table
from benchmarks.tables.sets import TABLES
from benchmarks.tables.sides import OURS, SIDES

BASELINE = "baseline"
SURE = 2.0  # a mean difference over the folds of so many standard errors is one
LEGEND = """\
Error: 1 - AUC (binary), log loss (several classes) or RMSE (regression) on the fold that was held out, divided by that
of the baseline, which predicts the classes' shares or the mean: 0 is right, 1 no better than that. Means over the
folds, ± the standard deviation between folds; "of 2": over so many folds only. Rank: of the mean errors in each table,
averaged over the tables in which all the sides of the list were measured, on the folds that they have in common.
Seconds: of all fits on these, by the clock and, which other programs disturb less, of the processor; times ours: the
geometric mean over the tables of their ratios to ours. Ours better, level, worse: in how many tables the difference to
that side, over all folds that both have, is larger than twice its standard error, or not."""
CLOCKS = ("fit_seconds", "fit_processor_seconds")

Results = dict[tuple[str, str], dict[int, dict[str, Any]]]  # (table, side) -> fold -> result


def report(results: Sequence[dict[str, Any]], style: Style) -> str:
    """The tables of the small and of the large sets, the comparison in pairs, and the sentences."""
    by_key: Results = {}
    for result in results:
        by_key.setdefault((result["table"], result["side"]), {})[result["fold"]] = result
    parts = []
    for large in (False, True):
        names = [t.name for t in TABLES if t.large == large and any(key[0] == t.name for key in by_key)]
        if names:
            parts += _part(names, by_key, style)
    if not parts:
        return "no results yet"
    return "\n\n".join([*parts, LEGEND, *sentences(by_key)])


def _part(names: list[str], results: Results, style: Style) -> list[str]:
    sides = [name for name in SIDES if name != BASELINE and any((table, name) in results for table in names)]
    rows = [_errors_row(name, sides, results) for name in names]
    parts = [table(("table", "rows", "columns", "folds", *sides), rows, style)]
    times = [_times_row(name, sides, results) for name in names]
    parts.append(table(("seconds of a fit (of the processor)", *sides), times, style))
    full = [side for side in sides if all(_has_all(side, name, sides, results) for name in names)]
    for some in [full, sides] if full != sides else [sides]:
        shared = complete(names, some, results)
        if len(some) > 1 and shared:
            folds = sum(map(len, shared.values()))
            head = ("side", f"mean rank of {len(shared)}", f"mean error of {folds} folds")
            head += ("seconds", "times ours", "processor", "times ours", "ours better", "level", "worse")
            parts.append(table(head, [_side_row(side, some, shared, names, results) for side in some], style))
    return parts


def _has_all(side: str, name: str, sides: Sequence[str], results: Results) -> bool:
    """Whether a side was measured on all folds of a table on which any side was."""
    return all(results.get((name, other), {}).keys() <= results.get((name, side), {}).keys() for other in sides)


def complete(names: Sequence[str], sides: Sequence[str], results: Results) -> dict[str, list[int]]:
    """The tables in which all sides have folds in common, and these folds."""
    common = {name: set.intersection(*(set(results.get((name, side), {})) for side in sides)) for name in names}
    return {name: sorted(folds) for name, folds in common.items() if folds}


def relative(result: dict[str, Any]) -> float:
    """The error over that of the baseline. With an AUC of 1/2 that is 1/2, whatever the fold."""
    return float(result["error"] / result["baseline"]["error"])


def _errors_row(name: str, sides: Sequence[str], results: Results) -> tuple[str, ...]:
    found = {side: list(results.get((name, side), {}).values()) for side in sides}
    some = next(folds[0] for folds in found.values() if folds)
    most = max(map(len, found.values()))
    cells = []
    for folds in found.values():
        errors = [relative(result) for result in folds]
        fewer = f" of {len(folds)}" if len(folds) < most else ""
        cells.append(f"{np.mean(errors):.3f} ±{np.std(errors):.3f}{fewer}" if errors else "-")
    return (name, f"{some['rows']:,}", str(some["columns"]), str(most), *cells)


def _side_row(
    side: str, sides: Sequence[str], shared: dict[str, list[int]], names: Sequence[str], results: Results
) -> tuple[str, ...]:
    means = {s: {name: _mean(results[name, s], folds) for name, folds in shared.items()} for s in sides}
    ranks = [1 + sum(means[s][name] < means[side][name] for s in sides) for name in shared]
    cells = [side, f"{np.mean(ranks):.2f}", f"{np.mean(list(means[side].values())):.3f}"]
    peer = OURS if OURS in sides else side
    for clock in CLOCKS:
        used, ours = ([_seconds(results[name, s], shared[name], clock) for name in shared] for s in (side, peer))
        cells += [f"{sum(used):.0f}", f"{np.exp(np.mean(np.log(np.divide(used, ours)))):.2f}"]
    if side == peer:
        return (*cells, "-", "-", "-")
    both = complete(names, [OURS, side], results)
    verdicts = [compared(results[name, OURS], results[name, side], folds) for name, folds in both.items()]
    return (*cells, *(str(verdicts.count(verdict)) for verdict in ("better", "level", "worse")))


def _times_row(name: str, sides: Sequence[str], results: Results) -> tuple[str, ...]:
    cells = []
    for side in sides:
        folds = results.get((name, side), {})
        by_clock, processor = (_seconds(folds, list(folds), clock) / max(len(folds), 1) for clock in CLOCKS)
        cells.append(f"{by_clock:.3g} ({processor:.3g})" if folds else "-")
    return (name, *cells)


def _mean(folds: dict[int, dict[str, Any]], numbers: Sequence[int]) -> float:
    return float(np.mean([relative(folds[number]) for number in numbers]))


def _seconds(folds: dict[int, dict[str, Any]], numbers: Sequence[int], clock: str) -> float:
    return float(sum(folds[number][clock] for number in numbers))


def compared(ours: dict[int, dict[str, Any]], theirs: dict[int, dict[str, Any]], numbers: Sequence[int]) -> str:
    """Whether the first is "better" or "worse" by more than the folds' noise, or "level"."""
    differences = [relative(ours[number]) - relative(theirs[number]) for number in numbers]
    noise = float(np.std(differences, ddof=1) / np.sqrt(len(differences))) if len(differences) > 1 else np.inf
    if abs(np.mean(differences)) <= SURE * noise:
        return "level"
    return "better" if np.mean(differences) < 0 else "worse"


def sentences(results: Results) -> list[str]:
    """A sentence for each table where ours is no better than the baseline, in the error or in the classes."""
    said = []
    for (name, side), folds in results.items():
        if side != OURS:
            continue
        error = float(np.mean([relative(result) for result in folds.values()]))
        if error >= 1:
            said.append(f"{name}: worse than the baseline, with {error:.3f} of its error.")
        wrong = [(result["wrong"], result["baseline"]["wrong"]) for result in folds.values() if "wrong" in result]
        mean = np.mean(wrong, axis=0) if wrong else (0.0, 1.0)
        if mean[0] >= mean[1]:
            said.append(
                f"{name}: {mean[0]:.1%} of the predicted classes are wrong, {mean[1]:.1%} if the most frequent one is "
                "predicted always."
            )
    return ["\n".join(said)] if said else []
