"""Predictions of a trained network on examples it was not trained on: the confusion matrix, the worst predictions."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.op import Array
from ..data import Dataset
from ..io.weights import to_bytes
from ..judging import Predictions, confusion
from ..nn import Module, losses
from ..train import predict
from .judged import Columns, arrays_of, moment, stored_columns

FILE = "examples.safetensors"
FORMAT, VERSION = "chainrule-examples", 1

#: Numbers of entries kept: worst examples, features of one, points of a scatter plot, rows for the derivation, classes.
MOST_WORST, MOST_FEATURES, MOST_POINTS, SAMPLE, MOST_CLASSES = 14, 10, 1000, 32, 100

#: Characters of a text that are kept, and pixels of an image along an edge.
MOST_CHARACTERS, MOST_PIXELS = 120, 96


def examples_bytes(
    model: Module,
    X: Array,
    y: Array,
    *,
    loss: Any,
    raw: Dataset,
    classes: Sequence[Any] = (),
    decode: Callable[[Array], Array] | None = None,
    engine: str | None = None,
    threads: int | None = None,
    said: Predictions | None = None,
    columns: Columns | None = None,
) -> bytes:
    """Return the content of ``examples.safetensors`` for a network and examples.

    Parameters
    ----------
    model : Module
        Its outputs are what `loss` takes.
    X, y : arrays
        Inputs and targets as `fit` takes them.
    loss : str or callable
    raw : Dataset
        The same rows as they were read, to show them.
    classes : sequence
        The label of each class id.
    decode : function or None
        Turns a regression's outputs and targets into the target's own unit.
    said : judging.Predictions or None
        The predictions, if they are not those that follow from the outputs alone.
    columns : judged.Columns or None
        What the network makes of the columns of a table.
    """
    output = predict(model, X, engine=engine, threads=threads).astype(np.float64)
    arrays: dict[str, Array] = {"sample/X": X[:SAMPLE], "sample/y": y[:SAMPLE]}
    meta: dict[str, Any] = {"format": FORMAT, "version": VERSION, "examples": len(X)}
    activation = losses.output_activation(loss)
    found: dict[str, Array] | None = None
    if output.ndim > 2:
        pass  # outputs for each step of a sequence: there are no single examples to show
    elif activation in ("softmax", "sigmoid") or len(classes):
        found = _classified(output, y, activation, loss, said)
    else:
        found = _measured(output, y, decode)
    if said is None:
        said = Predictions.of_outputs(output, y, loss, classes, decode)
    if said is not None:
        arrays |= arrays_of(said)
        if found is not None and said.kind == "classes":
            found |= _confusion(said)
    if columns is not None:
        meta["columns"] = stored_columns(columns)
    if found is not None:
        arrays |= found
        meta["classes"] = _labels(classes, found)
        worst = arrays["worst/rows"]
        meta["features"] = [_features(raw, int(i)) for i in worst]
        meta["of features"] = len(raw.feature_names)
        if (images := _images(raw, worst)) is not None:
            arrays["worst/images"] = images
    return to_bytes(arrays, meta)


def _classified(
    output: Array, y: Array, activation: str, loss: Any, said: Predictions | None
) -> dict[str, Array] | None:
    if said is not None and said.scores is not None and said.has_probabilities:
        return _worst(said.scores, said.true, said.predicted)
    columns = output.reshape(len(output), -1)
    shares = np.asarray(losses.activate(loss, columns))
    if columns.shape[1] == 1:
        p = shares if activation == "sigmoid" else (columns > 0).astype(np.float64)
        shares = np.concatenate([1 - p, p], axis=1)
    elif activation == "sigmoid":
        return None  # several labels per example, not one class
    true = np.argmax(y, axis=1) if y.ndim == 2 and y.shape[1] > 1 else (y.reshape(-1) > 0.5 if y.dtype.kind == "f" else
                                                                        y.reshape(-1))  # fmt: skip
    true = true.astype(np.int64)
    guess, count = np.argmax(shares, axis=1).astype(np.int64), shares.shape[1]
    if len(true) != len(guess) or true.min() < 0 or true.max() >= count:
        return None
    return _worst(shares, true, guess)


def _worst(shares: Array, true: Array, guess: Array) -> dict[str, Array]:
    """Return the examples with the lowest probability of the true class, and the confusion matrix."""
    rows, count = np.arange(len(true)), shares.shape[1]
    worst = np.argsort(shares[rows, true], kind="stable")[:MOST_WORST]
    found = {
        "worst/rows": worst, "worst/true": true[worst], "worst/predicted": guess[worst],
        "worst/probability": shares[worst, true[worst]], "worst/probability of predicted": shares[worst, guess[worst]],
    }  # fmt: skip
    if count <= MOST_CLASSES:
        found["confusion"] = np.bincount(true * count + guess, minlength=count * count).reshape(count, count)
    return found


def _confusion(said: Predictions) -> dict[str, Array]:
    """Return the confusion matrix of predictions, which a threshold may have changed."""
    return {"confusion": confusion(said, np.ones(len(said))).astype(np.int64)} if said.count <= MOST_CLASSES else {}


def _measured(output: Array, y: Array, decode: Callable[[Array], Array] | None) -> dict[str, Array] | None:
    if output.size != len(output) or y.size != len(y):
        return None  # several numbers per example cannot be shown on one axis
    guess, true = (np.asarray(decode(a) if decode else a, np.float64).reshape(-1) for a in (output, y))
    worst = np.argsort(-np.abs(guess - true), kind="stable")[:MOST_WORST]
    some = np.random.default_rng(0).permutation(len(true))[:MOST_POINTS]
    return {
        "worst/rows": worst, "worst/true": true[worst], "worst/predicted": guess[worst],
        "points/true": true[some], "points/predicted": guess[some],
    }  # fmt: skip


def _labels(classes: Sequence[Any], found: dict[str, Array]) -> list[str]:
    if "worst/probability" not in found:
        return []
    count = 1 + int(max(found["worst/true"].max(), found["worst/predicted"].max()))
    count = max(count, len(found["confusion"]) if "confusion" in found else 0)
    return [_text(classes[i]) if i < len(classes) else str(i) for i in range(count)]


def _features(raw: Dataset, row: int) -> list[list[str]]:
    """Return name and value of the first features of a row, as text."""
    if raw.image_shape is not None:
        return []
    names = raw.feature_names[:MOST_FEATURES]
    if raw.columns is not None:
        return [[_text(name), _text(raw.columns[name][row])] for name in names]
    assert raw.X is not None
    return [[_text(name), _text(value)] for name, value in zip(names, raw.X[row], strict=False)]


def _text(value: Any) -> str:
    if value is None or value != value:
        return "missing"
    said = digits(float(value)) if isinstance(value, float | np.floating) else str(value)
    if isinstance(value, np.datetime64):
        said = moment(value)
    return said if len(said) <= MOST_CHARACTERS else said[: MOST_CHARACTERS - 1] + "…"


def digits(value: float) -> str:
    """Return a number as text: five digits, and of large ones all before the point, without an exponent."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.5g}"


def _images(raw: Dataset, rows: Array) -> Array | None:
    """Return rows as images of bytes, from black for the least value of all rows to white for the greatest.

    Of large images every n-th pixel is kept.
    """
    if raw.image_shape is None or raw.X is None or len(raw.image_shape) not in (2, 3):
        return None
    if len(raw.image_shape) == 3 and raw.image_shape[2] not in (1, 3):
        return None
    low, high = float(np.nanmin(raw.X)), float(np.nanmax(raw.X))
    scaled = (np.nan_to_num(raw.X[rows].astype(np.float64), nan=low) - low) / ((high - low) or 1.0)
    shape = raw.image_shape[:2] if raw.image_shape[2:] == (1,) else raw.image_shape
    every = -(-max(shape[:2]) // MOST_PIXELS)
    return np.round(255 * scaled).astype(np.uint8).reshape(len(rows), *shape)[:, ::every, ::every]


def png(image: Array) -> bytes:
    """Return an image of bytes, ``(height, width)`` grey or ``(height, width, 3)``, as a PNG file."""
    height, width = image.shape[:2]
    lines = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if image.ndim == 2 else 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
