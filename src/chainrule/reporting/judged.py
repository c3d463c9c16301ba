"""The section on how good a model is: metrics beside the baseline, curves, calibration, errors, columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import judging
from ..core.op import Array
from ..data.wording import counted
from ..show import document as doc

if TYPE_CHECKING:
    from .storage import Stored

Blocks = tuple[doc.Block, ...]

#: Points of a curve, classes with a curve of their own, bars of the histogram of errors, and columns that are shown.
MOST_POINTS, MOST_CURVES, BARS, MOST_COLUMNS = 200, 8, 40, 20
#: The share of the errors that the histogram shows.
SHOWN_ERRORS = 0.99


@dataclass(frozen=True)
class Columns:
    """What a model makes of the columns of a table.

    Attributes
    ----------
    metric : str
        A key of `judging.METRICS`.
    worse : mapping of str to (float, float)
        Column -> by how much the metric gets worse if the column is permuted, and the deviation of that.
    rows, repeats : int
        How many rows that was measured on, and how often each column was permuted.
    dependence : mapping of str to (values, array)
        Column -> some values, and the mean prediction for each of them, ``(values, outputs)``.

    Examples
    --------
    >>> from chainrule.reporting import Columns
    >>> Columns("rmse", {"size": (2.0, 0.1)}, rows=100, repeats=5).worse["size"]
    (2.0, 0.1)
    """

    metric: str
    worse: Mapping[str, tuple[float, float]]
    rows: int
    repeats: int
    dependence: Mapping[str, tuple[Sequence[Any], Array]] = field(default_factory=dict)


def arrays_of(said: judging.Predictions) -> dict[str, Array]:
    """Return the curves of predictions, as they are stored."""
    if said.kind == "values":
        low, high = np.quantile(said.errors, [(1 - SHOWN_ERRORS) / 2, (1 + SHOWN_ERRORS) / 2])
        counts, edges = np.histogram(said.errors, BARS, (low, high) if low < high else None)
        return {"errors/counts": counts, "errors/edges": edges}
    found: dict[str, Array] = {}
    present = np.unique(said.true)
    for k in [1] if said.count == 2 else range(said.count) if said.count <= MOST_CURVES else []:
        if k in present and len(present) > 1:
            found[f"roc/{k}"] = _thinned(*judging.roc_curve(said, k))
            found[f"precision/{k}"] = _thinned(*judging.precision_recall_curve(said, k))
    if said.has_probabilities:
        found["calibration"] = np.stack(judging.binned(said))
    return found


def _thinned(x: Array, y: Array) -> Array:
    """Return the points of a curve, or some that are evenly spread along a longer one."""
    if len(x) <= MOST_POINTS:
        return np.stack([x, y])
    along = np.cumsum(np.hypot(np.diff(x, prepend=x[0]), np.diff(y, prepend=y[0])))
    places = np.searchsorted(along, np.linspace(0, along[-1], MOST_POINTS))
    return np.stack([x, y])[:, np.unique(np.minimum(places, len(x) - 1))]


def stored_columns(columns: Columns) -> dict[str, Any]:
    """Return what is said of the columns in JSON's types."""
    dependence = [
        {
            "name": name,
            "values": [_plain(v) for v in values],
            "ordered": not isinstance(values[0], str),
            "means": np.asarray(means).tolist(),
        }
        for name, (values, means) in columns.dependence.items()
    ]
    worse = [[name, mean, spread] for name, (mean, spread) in list(columns.worse.items())[:MOST_COLUMNS]]
    return {
        "metric": columns.metric, "worse": worse, "of": len(columns.worse), "rows": columns.rows,
        "repeats": columns.repeats, "dependence": dependence,
    }  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, np.datetime64):
        return moment(value)
    return float(value) if isinstance(value, np.floating | int) else str(value)


def moment(value: np.datetime64) -> str:
    """Return a date as text, without a time if that is midnight."""
    return re.sub(r"(T00:00(:00)?|:00)?(\.0+)?$", "", str(value)).replace("T", " ")


def verdict(record: Mapping[str, Any]) -> Blocks:
    """Return the headline: whether the model is better than the baseline."""
    judged = record.get("judgement")
    if not isinstance(judged, dict) or not judged.get("headline"):
        return ()
    return (doc.Section(doc.Paragraph(str(judged["headline"])), tone="good" if judged.get("better") else "bad"),)


def section(stored: Stored) -> Blocks:
    """Return the metrics, and the places of the charts."""
    judged, arrays = stored.record.get("judgement"), stored.arrays
    if not isinstance(judged, dict):
        return ()
    columns = stored.meta.get("columns") or {}
    charts: list[Blocks] = []
    if any(name.startswith("roc/") for name in arrays):
        charts.append(
            _chart("roc", "ROC curve", "The share of a class that is found, by the share of others taken for it.")
        )
        charts.append(_chart("precision", "Precision and recall", "Dashed: how frequent the class is."))
    if "calibration" in arrays:
        of_best = "of the predicted class" if len(stored.meta.get("classes", ())) > 2 else ""
        charts.append(
            _chart("calibration", f"Calibration {of_best}".strip(), "How often what has a probability is true.")
        )
    if "points/true" in arrays:
        charts.append(_chart("residuals", "Residuals", "Predicted minus true, by the predicted value."))
    if "errors/counts" in arrays:
        charts.append(
            _chart("errors", "Distribution of the errors", "Predicted minus true; the extremes are left out.")
        )
    if columns.get("worse"):
        said = f"How much worse the {judging.METRICS[columns['metric']].title} gets if a column is permuted"
        if "rows" in columns:
            said += f" ({counted(columns['rows'], 'row')}, {columns['repeats']} permutations each)"
        charts.append(_chart("importance", "Importance of the columns", f"{said}."))
    parts: Blocks = (doc.Heading("How good is it?", anchor="judged"), _table(stored, judged), *_undefined(judged))
    parts += (doc.Columns(tuple(charts)),) if charts else ()
    if columns.get("dependence"):
        shown = [_chart(f"dependence-{i}", d["name"]) for i, d in enumerate(columns["dependence"])]
        parts += (
            doc.Heading("How predictions depend on a column", 3),
            doc.Paragraph(_DEPENDENCE, "dim"),
            doc.Columns(tuple(shown)),
        )
    return parts


_DEPENDS = doc.Heading("How predictions depend on a column", 3)
_DEPENDENCE = "The mean prediction if all rows had the same value in the column, and kept their values in the others."


def _chart(name: str, title: str, why: str = "") -> Blocks:
    said: Blocks = (doc.Paragraph(why, "dim"),) if why else ()
    return (doc.Heading(title, 4), *said, doc.Place(title, {"class": "chart", "id": f"judged-{name}"}))


def _table(stored: Stored, judged: Mapping[str, Any]) -> doc.Block:
    """Return the metrics of the test split with their intervals, the baseline's, and those of the training split."""
    metrics = stored.record.get("metrics") or {}
    test, trained = metrics.get("test") or {}, metrics.get("train") or {}
    classes = stored.meta.get("classes") or []
    beside, around = judged.get("baseline") or {}, judged.get("intervals") or {}
    rows = []
    for name, row in judging.METRICS.items():
        if not isinstance(test.get(name), int | float):
            continue
        found = (test[name], trained.get(name), beside.get(name))
        shown = [row.shown(x) if isinstance(x, int | float) else "–" for x in found]
        title = f"{row.title} of {classes[1]}" if row.of_one and len(classes) == 2 else row.title
        rows.append((title, *shown, " to ".join(map(row.shown, around[name])) if name in around else "–"))
    names = ("test split", "training split", "baseline", "95 % interval (test)")
    return doc.Table((doc.Column(""), *(doc.Column(name, "number") for name in names)), tuple(rows))


def _undefined(judged: Mapping[str, Any]) -> Blocks:
    reasons = judged.get("undefined") or {}
    said = tuple(f"No {judging.METRICS[n].title}: {reason}." for n, reason in reasons.items() if n in judging.METRICS)
    return (doc.Items(said),) if said else ()


def payload(stored: Stored) -> dict[str, Any]:
    """Return the data of the charts."""
    arrays, meta = stored.arrays, stored.meta
    labels = meta.get("classes") or []

    def curves(kind: str) -> list[dict[str, Any]]:
        found = [(int(name.partition("/")[2]), xy) for name, xy in arrays.items() if name.startswith(f"{kind}/")]
        return [
            {"name": labels[k] if k < len(labels) else str(k), "x": _short(xy[0]), "y": _short(xy[1])}
            for k, xy in sorted(found, key=lambda item: item[0])
        ]

    data: dict[str, Any] = {"roc": curves("roc"), "precision": curves("precision")}
    if "calibration" in arrays:
        counts, sums, right = arrays["calibration"]
        some = counts > 0
        rates = (sums[some] / counts[some], right[some] / counts[some], counts[some])
        data["calibration"] = dict(zip(("said", "true", "rows"), map(_short, rates), strict=True))
    if "errors/counts" in arrays:
        data["errors"] = {"counts": arrays["errors/counts"].tolist(), "edges": _short(arrays["errors/edges"])}
    if "confusion" in arrays and data["precision"]:
        shares = arrays["confusion"].sum(axis=1) / arrays["confusion"].sum()
        data["shares"] = _short(shares[1:2] if len(shares) == 2 else shares)
    return data | {"columns": meta.get("columns"), "classes": labels}


def _short(values: Array) -> list[float]:
    return [float(f"{x:.5g}") for x in values.tolist()]
