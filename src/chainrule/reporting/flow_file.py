"""Reading what `GradientFlow` wrote, also from a run that was killed while it wrote."""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.op import Array
from .gradient_flow import FORMAT, MOST_SNAPSHOTS, VERSION

_NUMBERS = ("epochs", "batch_size", "rows", "of")


@dataclass(frozen=True)
class Snapshot:
    """The figures after an epoch (0: before the first step), by (number of the layer, name), and the history's row.

    `weights` is the epoch whose weights they are of: an earlier one where early stopping restored the best ones.
    """

    epoch: int
    weights: int
    step: int
    figures: dict[tuple[int, str], Array]
    history: dict[str, Any]


@dataclass(frozen=True)
class Flow:
    """The snapshots of a run.

    Attributes
    ----------
    layers : list of dict
        ``name``, ``weight``, ``shape``; ``inputs`` and ``units``: those that are drawn; ``one_sided``:
        whether the activation saturates on one side only.
    snapshots : list of Snapshot
        By epoch.
    settings : dict
        ``epochs``, ``batch_size``, ``rows`` (examples in the sample), ``of`` (layers of the network), ``share``.
    cost : dict or None
        ``seconds`` that the callback took, ``training``: of the epochs; None when the run did not finish.
    """

    layers: list[dict[str, Any]]
    snapshots: list[Snapshot]
    settings: dict[str, Any]
    cost: dict[str, float] | None


def read_flow(path: Path) -> Flow:
    """Read a file of snapshots; truncated or damaged lines are skipped.

    Raises
    ------
    ValueError
        When the file is not of this kind.
    """
    lines = path.read_bytes().split(b"\n")
    header = _parsed(lines[0])
    if header is None or header.get("format") != FORMAT:
        raise ValueError(f"{path} is not a gradient-flow file: its first line does not contain {FORMAT}")
    if header.get("version") != VERSION:
        raise ValueError(f"{path} is of format version {header.get('version')!r}; this release reads {VERSION}")
    try:
        layers = [_layer(layer) for layer in header["layers"]]
        fields = [_field(field, len(layers)) for field in header["fields"]]
        settings = {name: int(header[name]) for name in _NUMBERS} | {"share": float(header["share"])}
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: the first line is damaged ({type(error).__name__}: {error})") from None
    found: dict[int, Snapshot] = {}
    cost: dict[str, float] | None = None
    for row in filter(None, map(_parsed, lines[1:])):
        if (snapshot := _snapshot(row, fields)) is not None:
            found = {epoch: s for epoch, s in found.items() if epoch < snapshot.epoch}  # a run that resumed from here
            found[snapshot.epoch] = snapshot
        elif isinstance(row.get("cost"), dict):
            cost = {str(k): float(v) for k, v in row["cost"].items() if isinstance(v, int | float)}
    kept = list(found.values())[:MOST_SNAPSHOTS]
    return Flow(layers, kept, settings, cost)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _layer(given: dict[str, Any]) -> dict[str, Any]:
    layer: dict[str, Any] = {"name": str(given["name"]), "weight": str(given["weight"])}
    layer["shape"] = [int(n) for n in given["shape"]]
    layer["one_sided"] = given.get("one_sided") is True
    for key in ("inputs", "units"):
        if key in given:
            layer[key] = [int(n) for n in given[key]]
    return layer


def _field(given: list[Any], layers: int) -> tuple[tuple[int, str], tuple[int, ...]]:
    layer, name, shape = given
    if not 0 <= int(layer) < layers:
        raise ValueError(f"a field belongs to layer {layer}")
    return (int(layer), str(name)), tuple(int(n) for n in shape)


def _snapshot(row: dict[str, Any], fields: list[tuple[tuple[int, str], tuple[int, ...]]]) -> Snapshot | None:
    numbers = [n for k in ("epoch", "weights", "step") if type(n := row.get(k)) is int]
    text, history = row.get("figures"), row.get("history")
    if len(numbers) != 3 or not isinstance(text, str) or not isinstance(history, dict):
        return None
    try:
        found = np.frombuffer(base64.b64decode(text, validate=True), "<f4")
    except (binascii.Error, ValueError):
        return None
    sizes = [math.prod(shape) for _, shape in fields]
    if sum(sizes) != len(found):
        return None
    parts = np.split(found, np.cumsum(sizes)[:-1])
    figures = {key: part.reshape(shape) for (key, shape), part in zip(fields, parts, strict=True)}
    return Snapshot(numbers[0], numbers[1], numbers[2], figures, history)
