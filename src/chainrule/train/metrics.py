"""Metrics: functions (output, target) -> one number, usable on arrays and inside a training step's graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

Metric = Callable[[Any, Any], Any]


def accuracy(output: Any, target: Any) -> Any:
    """Return the share of examples classified rightly, a fraction.

    With several output columns the largest wins, against class ids ``(m,)`` or one-hot rows ``(m, k)``; with one column
    (or none) the sign of the logit decides, against 0 and 1.
    """
    columns = output.shape[-1] if len(output.shape) > 1 else 1
    if columns > 1:
        ids = np.argmax(target, axis=-1) if len(target.shape) == len(output.shape) else target
        hits = np.equal(np.argmax(output, axis=-1), ids)
    else:
        hits = np.equal(np.greater(np.reshape(output, -1), 0), np.greater(np.reshape(target, -1), 0.5))
    return np.mean(hits.astype(np.float64))


def r2(output: Any, target: Any) -> Any:
    """Return the coefficient of determination, 1 - squared error / variance, over all elements."""
    output, target = np.reshape(output, -1), np.reshape(target, -1)
    spread = np.sum(np.square(target - np.mean(target)))
    return 1.0 - np.sum(np.square(output - target)) / np.maximum(spread, 1e-300)


def rmse(output: Any, target: Any) -> Any:
    """Return the root of the mean squared error, in the target's unit."""
    return np.sqrt(np.mean(np.square(np.reshape(output, -1) - np.reshape(target, -1))))


def mean_absolute_error(output: Any, target: Any) -> Any:
    """Return the mean absolute error, in the target's unit."""
    return np.mean(np.absolute(np.reshape(output, -1) - np.reshape(target, -1)))


METRICS: Mapping[str, Metric] = {"accuracy": accuracy, "r2": r2, "rmse": rmse, "mae": mean_absolute_error}
_BY_LOSS = {"cross_entropy": ("accuracy",), "binary_cross_entropy": ("accuracy",), "hinge": ("accuracy",)}


def resolve(metrics: Iterable[str | Metric] | Mapping[str, Metric] | None, loss: Any) -> dict[str, Metric]:
    """Return name -> function for what a caller gave; None takes what goes with the loss."""
    if metrics is None:
        name = loss if isinstance(loss, str) else getattr(loss, "__name__", "")
        metrics = _BY_LOSS.get(name, ())
    if isinstance(metrics, Mapping):
        return dict(metrics)
    found: dict[str, Metric] = {}
    for m in [metrics] if isinstance(metrics, str) else metrics:
        if callable(m):
            found[getattr(m, "__name__", type(m).__name__)] = m
        elif m in METRICS:
            found[m] = METRICS[m]
        else:
            raise ValueError(f"metrics names {m!r}; there are {', '.join(METRICS)}, or give a function (output, target) -> number")
    return found
