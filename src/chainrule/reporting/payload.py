"""The data of the page's charts as JSON: numbers with few digits, histograms and shades as bytes."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..core.op import Array
from . import judged
from .figures import BINS, DECADES, QUANTILES, finite, spread
from .flow_file import Flow, Snapshot
from .storage import Stored

#: Ratios and shares by epoch that are drawn as lines.
LINES = ("gradient", "update", "dead", "saturated")

#: Greatest number of epochs of a curve, and of layers times snapshots, that are drawn.
MOST_EPOCHS, MOST_PICTURES = 2000, 800

#: Decades of the shades of a drawing, below its greatest value.
SHADES = 5.0


def as_script(name: str, data: Mapping[str, Any]) -> str:
    """Return data as an element that the script reads; no text in it can end the element or begin another."""
    text = json.dumps(finite(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character, code in (("&", "\\u0026"), ("<", "\\u003c"), (">", "\\u003e"), ("\u2028", "\\u2028"),
                            ("\u2029", "\\u2029")):  # fmt: skip
        text = text.replace(character, code)
    return f'<script type="application/json" id="{name}">{text}</script>'


def payload(stored: Stored) -> dict[str, Any]:
    """Return the data of everything that the script draws."""
    rows = [stored.history[i] for i in spread(len(stored.history), MOST_EPOCHS)]
    data: dict[str, Any] = {"history": _history(rows), "judged": judged.payload(stored)}
    arrays = stored.arrays
    if "confusion" in arrays:
        data["confusion"] = {"labels": stored.meta["classes"], "counts": arrays["confusion"].tolist()}
    if "points/true" in arrays:
        data["points"] = {k: _short(arrays[f"points/{k}"]) for k in ("true", "predicted")}
        data["points"]["target"] = str(stored.record.get("target") or "")
    if stored.flow is not None and stored.flow.snapshots:
        data["flow"] = _flow(stored.flow, drawn_snapshots(stored.flow))
    return data


def _history(rows: list[dict[str, Any]]) -> dict[str, list[float | None]]:
    names = dict.fromkeys(k for row in rows for k in row)
    return {str(name): [_number(row.get(name)) for row in rows] for name in names}


def _number(x: Any) -> float | None:
    return float(f"{x:.6g}") if isinstance(x, int | float) and math.isfinite(x) else None


def _short(values: Array) -> list[float | None]:
    return [_number(v) for v in values.tolist()]


def drawn_snapshots(flow: Flow) -> list[Snapshot]:
    """Return the snapshots that the page shows: all, or fewer of a deep network, evenly spaced."""
    most = max(2, MOST_PICTURES // max(1, len(flow.layers)))
    return [flow.snapshots[i] for i in spread(len(flow.snapshots), most)]


def _flow(flow: Flow, snapshots: list[Snapshot]) -> dict[str, Any]:
    layers = []
    for i, layer in enumerate(flow.layers):
        of = [s.figures for s in snapshots]
        lines = {name: [_number(float(f[i, name])) for f in of] for name in LINES if (i, name) in of[0]}
        kinds = [name for name in ("Z", "A", "dZ", "dW") if (i, name) in of[0]]
        layers.append({**layer, **lines, "distributions": {k: [_distribution(f[i, k], k) for f in of] for k in kinds}})
    return {
        "epochs": [s.epoch for s in snapshots], "weights": [s.weights for s in snapshots],
        "layers": layers, "decades": DECADES,
        "quantiles": QUANTILES, "drawing": _drawing(flow.layers, snapshots),
    }  # fmt: skip


def _distribution(numbers: Array, kind: str) -> dict[str, Any] | None:
    """Return ``{"q": quantiles, "bins": bytes}``, and the range or the share of zeros."""
    if math.isnan(numbers[0]):
        return None
    ahead = 1 if kind.startswith("d") else 2
    bins = numbers[-BINS:]
    heights = np.round(255 * bins / (bins.max() or 1.0))
    return {
        ("zeros" if ahead == 1 else "range"): _short(numbers[:ahead]) if ahead == 2 else _number(float(numbers[0])),
        "q": _short(numbers[ahead:-BINS]), "bins": _bytes(heights),
    }  # fmt: skip


def _drawing(layers: list[dict[str, Any]], snapshots: list[Snapshot]) -> dict[str, Any] | None:
    """Return the shades of nodes and edges: 0 for zero, 1 to 255 along a logarithm that all layers and epochs share."""
    if not all("units" in layer for layer in layers):
        return None
    each = range(len(layers))

    def taken(name: str) -> list[list[Array]]:
        return [[np.abs(s.figures[i, name]) for i in each] for s in snapshots]

    with np.errstate(all="ignore"):
        relative = [
            [np.nan_to_num(change / weight, posinf=0.0) for change, weight in zip(a, b, strict=True)]
            for a, b in zip(taken("edges update"), taken("edges W"), strict=True)
        ]
    shades = {"W": taken("edges W"), "dW": taken("edges dW"), "update": relative, "dZ": taken("units dZ")}
    saturated = [
        [_bytes(np.nan_to_num(s.figures[i, "units saturated"]) * 254 + 1) if (i, "units saturated") in s.figures
         else None for i in each] for s in snapshots
    ]  # fmt: skip
    return {name: _shaded(values) for name, values in shades.items()} | {"saturated": {"shades": saturated}}


def _shaded(values: list[list[Array]]) -> dict[str, Any]:
    greatest = max((float(np.nanmax(a)) for a in _flat(values) if a.size and np.isfinite(a).any()), default=0.0)
    top = math.log10(greatest) if greatest > 0 and math.isfinite(greatest) else 0.0
    shades = [[_bytes(_shade(array, top)) for array in snapshot] for snapshot in values]
    return {"top": round(top, 3), "decades": SHADES, "shades": shades}


def _flat(values: list[list[Array]]) -> Iterable[Array]:
    return (array for snapshot in values for array in snapshot)


def _shade(array: Array, top: float) -> Array:
    sizes = np.nan_to_num(array.reshape(-1), posinf=10.0**top)
    with np.errstate(divide="ignore"):
        along = 1 + (np.log10(sizes) - top) / SHADES
    return np.where(sizes > 0, np.round(1 + 254 * np.clip(along, 0, 1)), 0)


def _bytes(values: Array) -> str:
    return base64.b64encode(np.clip(values, 0, 255).astype(np.uint8).tobytes()).decode()
