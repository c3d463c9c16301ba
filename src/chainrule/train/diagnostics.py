"""Diagnostics of a run: no better than a constant, classes that are never predicted, overfitting, no progress."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.op import Array
from ..judging import Predictions, of_classes
from ..nn import losses

#: Relative rise of the validation loss that is reported: above its least value, and if that was in the first epoch.
RISE, RISE_AT_ONCE = 0.25, 0.05
#: Relative rise of the training loss from the first epoch to the last that is reported.
NO_PROGRESS = 0.01
#: Fewest epochs of a curve, and examples of a split that are judged.
EPOCHS, EXAMPLES = 3, 20


def of_curves(rows: Sequence[Mapping[str, Any]], best_epoch: int | None = None) -> Iterator[str]:
    """Yield what the losses of a history say; `best_epoch` is given if its weights were kept."""
    trained, held = _curve(rows, "loss"), _curve(rows, "val_loss")
    if len(trained) >= EPOCHS and _rise(trained, 0) > NO_PROGRESS:
        yield (
            f"The training loss does not fall: {trained[0]:.4g} in the first epoch, {_end(trained):.4g} at the end. A "
            "smaller learning rate or standardised inputs may help."
        )
    if len(held) < EPOCHS:
        return
    best = int(np.argmin(held))
    rise = _rise(held, best)
    if best == 0 and rise > RISE_AT_ONCE:
        yield (
            f"The validation loss rises from the first epoch on: from {held[0]:.4g} to {_end(held):.4g}. What is "
            "learned does not hold for other examples; fewer weights, l2=, dropout or more data may help."
        )
    elif rise > RISE and best_epoch is None:
        yield (
            f"Overfitting: the validation loss was {held[best]:.4g} in epoch {best + 1} and is {_end(held):.4g} at the "
            f"end, {100 * rise:.0f} % more. Early stopping keeps the weights of the best epoch."
        )


def _curve(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    values = [row.get(name) for row in rows]
    return [float(v) for v in values if isinstance(v, int | float) and np.isfinite(v)]


def _end(curve: Sequence[float]) -> float:
    """Return the last value, without the noise of one epoch."""
    return float(np.median(curve[-min(3, len(curve) // 2) :]))


def _rise(curve: Sequence[float], at: int) -> float:
    return (_end(curve) - curve[at]) / max(abs(curve[at]), 1e-12)


def of_outputs(
    output: Array, target: Array, trained: Array, loss: Any, split: str, classes: Sequence[Any] = ()
) -> Iterator[str]:
    """Yield what a network's outputs on a split say.

    Parameters
    ----------
    output : array of shape (m, …)
    target, trained : arrays
        Targets of the split, and of the training split, from which the best constant prediction is taken.
    loss : str or callable
        Only the losses that have a name are judged, since the task is known for them.
    split : str
        Its name in the sentences, such as "the validation split".
    classes : sequence
        The label of each class id.
    """
    tasks = losses.NAMED[loss].tasks if isinstance(loss, str) and loss in losses.NAMED else ()
    if len(output) < EXAMPLES or not np.isfinite(output).all():
        return
    if "regression" in tasks:
        yield from _worse_than_constant(output, target, trained, str(loss), split)
    elif (said := Predictions.of_outputs(output, target, loss, classes)) is not None:
        before = Predictions.of_outputs(np.zeros((len(trained), *output.shape[1:])), trained, loss)
        usual = None if before is None else int(np.bincount(before.true).argmax())
        yield from of_classes(said, usual, split)


def _worse_than_constant(output: Array, target: Array, trained: Array, loss: str, split: str) -> Iterator[str]:
    activation = losses.activation_of(loss)
    target, known = (given.reshape(len(given), -1).astype(np.float64) for given in (target, trained))
    values = [known.mean(axis=0), np.median(known, axis=0)]
    if activation is np.exp:
        values = [np.log(np.maximum(value, 1e-12)) for value in values]
    elif activation is not None:
        return
    measured = losses.get(loss)
    found = float(measured(output.reshape(target.shape).astype(np.float64), target))
    constant = min(float(measured(np.broadcast_to(value, target.shape).copy(), target)) for value in values)
    if found >= constant and constant > 0:
        yield (
            f"No better than a constant: the loss is {found:.4g} on {split}; predicting the mean or the median of the "
            f"training targets gives {constant:.4g}."
        )
