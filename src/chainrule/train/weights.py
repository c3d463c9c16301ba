"""Sample weights: a loss in which some examples count more than others.

A step's plan reads two arrays, X and y, row by row. The weights are one more column of y, so that they are
shuffled, gathered and cut into batches with it, natively.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.arrays import checked_array
from ..core.op import Array
from ..nn import losses
from ..ops.table import as_dtype


def checked_weights(weights: Any, rows: int, name: str = "sample_weight") -> Array:
    """Return one weight per row as float64; raise unless they are finite, ≥ 0, and not all 0."""
    array = checked_array(weights, name).astype(np.float64)
    if array.shape not in ((rows,), (rows, 1)):
        raise ValueError(f"{name}: expected one weight per example, shape ({rows},), got {array.shape}")
    array = array.reshape(rows)
    if not np.isfinite(array).all() or (array.size and array.min() < 0):
        bad = int(np.flatnonzero(~(np.isfinite(array) & (array >= 0)))[0])
        raise ValueError(f"{name}: expected finite numbers ≥ 0, got {array[bad]} at [{bad}]")
    if not array.any():
        raise ValueError(f"{name}: expected at least one weight > 0, got only zeros for {rows:,} examples")
    return array


class WeightedTargets:
    """Targets and weights packed into one array, and unpacked.

    Parameters
    ----------
    y : array of shape (m, …), or nest of arrays
        Targets as a loss takes them.
    """

    def __init__(self, y: Any) -> None:
        self._one = isinstance(y, np.ndarray)
        self._shape: tuple[int, ...] = y.shape[1:] if self._one else ()
        self._dtype: np.dtype[Any] = y.dtype if self._one else np.dtype(np.float64)

    def pack(self, y: Any, weights: Array, dtype: Any) -> Any:
        """Return rows of `dtype`: the targets, flat, and the weight in the last column; of a nest a pair."""
        if not self._one:
            return y, weights.astype(dtype)
        flat = y.reshape(len(y), -1)
        packed = np.empty((len(y), flat.shape[1] + 1), dtype)
        with np.errstate(over="ignore"):
            packed[:, :-1], packed[:, -1] = flat, weights
            kept = np.isfinite(packed[:, -1].sum()) and np.array_equal(packed[:, -1] > 0, weights > 0)
        if not kept:
            raise ValueError(
                f"sample_weight: the range from {weights.min():g} to {weights.max():g} is too wide for {packed.dtype}; "
                "scale the weights to about 1"
            )
        return packed

    def unpack(self, packed: Any) -> tuple[Any, Any]:
        """Return targets and weights; class ids are integers again."""
        if not self._one:
            return packed[0], packed[1]
        target = np.reshape(packed[:, :-1], (packed.shape[0], *self._shape))
        return (target if self._dtype.kind == "f" else as_dtype(target, self._dtype)), packed[:, -1]

    def loss(self, loss: Any) -> Callable[[Any, Any], Any]:
        """Return `loss` for packed targets: Σ w l / Σ w over a batch, l being an example's loss.

        Where some examples count more than others in the mean of `loss`, by s, it is Σ w l / Σ w s.
        """
        of = losses.get(loss)
        takes = inspect.signature(of).parameters
        if "reduction" not in takes and not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
            raise ValueError(
                "sample_weight needs a loss (output, target, *, reduction) that returns the loss of each example "
                "with reduction='none'"
            )

        def weighted_loss(output: Any, packed: Any) -> Any:
            target, weights = self.unpack(packed)
            values = of(output, target, reduction="none")
            shape = tuple(output.shape) if self._one else values.shape
            if len(values.shape) > 1 and tuple(values.shape) != shape[: len(values.shape)]:
                raise ValueError(
                    f"the loss with reduction='none' has shape {tuple(values.shape)} for an output of shape {shape} "
                    f"and a target of shape {tuple(target.shape)}: it broadcasts examples against each other; expected "
                    "output and target of the same shape"
                )
            return weighted_mean(values, weights, losses.shares(of, output, target))

        vars(weighted_loss)["unweighted"] = of  # of targets alone, for who looks at examples without their weights
        return weighted_loss

    def total(self, loss: Any) -> Callable[[Any, Any], Any]:
        """Return a function of outputs and packed targets: what `loss` of them divides by."""
        of = losses.get(loss)

        def total_weight(output: Any, packed: Any) -> Any:
            target, weights = self.unpack(packed)
            return _total(weights, losses.shares(of, output, target))

        return total_weight

    def metric(self, metric: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Return `metric` for packed targets. It ignores the weights."""
        return lambda output, packed: metric(output, self.unpack(packed)[0])


def unweighted(loss: Any) -> Any:
    """Return the loss of targets alone, given one of packed targets; other losses as they are."""
    return getattr(getattr(loss, "_chainrule_loss", loss), "unweighted", loss)


def weighted_mean(values: Any, weights: Any, shares: Any = None) -> Any:
    """Return Σ w l / Σ w s, l and s being means of an example's values and shares, which have shape (m, …)."""
    if not values.shape or values.shape[0] != weights.shape[0]:
        raise ValueError(
            f"the loss with reduction='none' has shape {tuple(values.shape)}; with weights it must have one row per "
            f"example, ({weights.shape[0]}, …)"
        )
    return np.sum(_by_example(values) * weights) / _total(weights, shares)


def _total(weights: Any, shares: Any) -> Any:
    return np.sum(weights if shares is None else _by_example(shares) * weights)


def _by_example(values: Any) -> Any:
    return np.mean(np.reshape(values, (values.shape[0], -1)), axis=1)
