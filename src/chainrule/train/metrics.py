"""Metrics: functions (output, target) -> one number, usable on arrays and inside a training step's graph."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import judging
from ..core.op import Array
from ..nn import losses
from ..nn.loss_checks import check_pairs
from .history import TIMES

Metric = Callable[[Any, Any], Any]


def accuracy(output: Any, target: Any) -> Any:
    """Return the fraction of examples classified correctly.

    With several output columns the largest wins, against class ids ``(m,)`` or one-hot rows ``(m, k)``; with one column
    (or none) the sign of the logit decides, against 0 and 1.
    """
    columns = output.shape[-1] if len(output.shape) > 1 else 1
    if columns > 1:
        rows = tuple(target.shape) == tuple(output.shape)
        ids = np.argmax(target, axis=-1) if rows else np.reshape(target, output.shape[:-1])
        hits = np.equal(np.argmax(output, axis=-1), ids)
    else:
        hits = np.equal(np.greater(np.reshape(output, -1), 0), np.greater(np.reshape(target, -1), 0.5))
    return np.mean(hits.astype(np.float64))


def r2(output: Any, target: Any) -> Any:
    """Return the coefficient of determination, 1 - squared error / variance, over all elements, in float64.

    0 for targets that are all equal. (In the history, ``r2`` of the training split is the mean over its batches.)
    """
    output, target = (np.reshape(a, -1).astype(np.float64) for a in (output, target))
    spread = np.sum(np.square(target - np.mean(target)))
    varies = spread > 0
    share = np.sum(np.square(output - target)) / np.where(varies, spread, 1.0)
    return np.where(varies, 1.0 - share, 0.0)


def rmse(output: Any, target: Any) -> Any:
    """Return the root of the mean squared error, in the target's unit."""
    return np.sqrt(np.mean(np.square(np.reshape(output, -1) - np.reshape(target, -1))))


def mean_absolute_error(output: Any, target: Any) -> Any:
    """Return the mean absolute error, in the target's unit."""
    return np.mean(np.absolute(np.reshape(output, -1) - np.reshape(target, -1)))


METRICS: Mapping[str, Metric] = {"accuracy": accuracy, "r2": r2, "rmse": rmse, "mae": mean_absolute_error}
"""The metrics that `evaluate` and `fit` know by name: functions ``(output, target)`` to a number.

Those of ``chainrule.judging.METRICS`` are known besides. They need all examples of a split at once, so `fit` measures
them on the validation split only.
"""


@dataclass(frozen=True)
class OfWholeSplit:
    """A metric that has a value for a whole split only, not as the mean over batches, such as the AUC."""

    metric: judging.Metric
    loss: Any

    def __call__(self, output: Any, target: Any) -> float:
        """Return its value."""
        said = judging.Predictions.of_outputs(np.asarray(output), np.asarray(target), self.loss)
        name = self.metric.name
        if said is None or not self.metric.fits(said):
            raise ValueError(
                f"metrics: {name}: needs {self.metric.needs}, which a network with this loss does not give"
            )
        try:
            return self.metric.function(said, np.ones(len(said)))
        except judging.UndefinedMetric as reason:
            raise ValueError(f"metrics: {name} has no value: {reason}") from None


_BY_LOSS = {"cross_entropy": ("accuracy",), "binary_cross_entropy": ("accuracy",), "hinge": ("accuracy",)}


#: Columns that every history has.
TAKEN = ("epoch", "loss", "lr", *TIMES)


def resolve(
    metrics: str | Metric | Iterable[str | Metric] | Mapping[str, Metric] | None, loss: Any
) -> dict[str, Metric]:
    """Return name -> function for an argument of the caller; None takes the defaults of the loss."""
    if metrics is None and isinstance(loss, Mapping | tuple | list):
        return _of_each(losses.get(loss))
    if metrics is None:
        name = loss if isinstance(loss, str) else getattr(loss, "__name__", "")
        metrics = _BY_LOSS.get(name, ())
    if isinstance(metrics, Mapping):
        named = list(metrics.items())
    elif isinstance(metrics, str) or callable(metrics):
        named = [_named(metrics, loss)]
    elif isinstance(metrics, Iterable):
        named = [_named(m, loss) for m in metrics]
    else:
        raise TypeError(
            f"metrics: expected names, functions, or a dict of functions, got type {type(metrics).__name__}"
        )
    found: dict[str, Metric] = {}
    for key, function in named:
        if not isinstance(key, str) or key in TAKEN or key in found or key.startswith("val_"):
            raise ValueError(
                f"metrics: the name {key!r} is already in use; choose another: metrics={{'name': function}}"
            )
        if not callable(function):
            raise TypeError(
                f"metrics: {key!r}: expected a function (output, target) -> number, got type {type(function).__name__}"
            )
        found[key] = function
    return found


def _of_each(loss: Any) -> dict[str, Metric]:
    """Return the loss of each output and its default metrics, under names like ``width_loss``."""
    found: dict[str, Metric] = {}
    for key, part in loss.parts.items():
        found[f"{key}_loss"] = loss.unweighted(key)
        for name, metric in resolve(None, part.given).items():
            found[f"{key}_{name}"] = functools.partial(_of_one, key, metric)
    return found


def _of_one(key: Any, metric: Metric, output: Any, target: Any) -> Any:
    return metric(output[key], target[key])


def check_metrics(metrics: Mapping[str, Metric], output: tuple[int, ...], target: Array) -> None:
    """Raise if a metric that is not one of ours broadcasts all outputs against all targets."""
    for name, function in metrics.items():
        if function not in METRICS.values() and not isinstance(function, OfWholeSplit):
            check_pairs(function, tuple(output), target, f"metrics: {name!r}")


def in_batches(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """Return the metrics that are measured on the batches of the training split, too."""
    return {name: metric for name, metric in metrics.items() if not isinstance(metric, OfWholeSplit)}


def is_better_when_larger(name: str) -> bool:
    """Return whether a larger value of a metric is better; False for names that are not known, such as a loss."""
    return name in judging.METRICS and judging.METRICS[name].better == 1


def _named(metric: str | Metric, loss: Any) -> tuple[str, Metric]:
    if isinstance(metric, str) and metric in METRICS:
        return metric, METRICS[metric]
    if isinstance(metric, str) and metric in judging.METRICS:
        return metric, OfWholeSplit(judging.METRICS[metric], loss)
    if callable(metric):
        return getattr(metric, "__name__", type(metric).__name__), metric
    raise ValueError(
        f"metrics names {metric!r}; there are {', '.join({**METRICS, **judging.METRICS})}, or give a function (output, "
        "target) -> number"
    )
