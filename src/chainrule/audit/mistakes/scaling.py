"""A gradient that is a multiple of the right one: signs, constants, the size of the batch."""

from __future__ import annotations

from ..scales import CLOSE, Scale
from .table import Cause


class Sign(Cause):
    """The sign is wrong.

    Wrong
    -----
        dZ2 = Y - cache["Z2"]  # wrong

    Right
    -----
        dZ2 = cache["Z2"] - Y

    How it shows
    ------------
    Every entry is the negative of the right one: the ratio is −1. The loss rises under gradient descent.

    Why it is wrong
    ---------------
    `d/dZ2 ½ (Z2 − Y)² = (Z2 − Y)`: what comes first in the loss comes first in its derivative.

    Notes
    -----
    If the gradients are *added* to the parameters (ascent, or `δ = Y − A` as in older texts), say so:
    `cr.audit(…, ascent=True)`.
    """

    code = "sign"


class ConstantFactor(Cause):
    """It is off by a constant factor.

    Wrong
    -----
        dZ2 = 2 * (cache["Z2"] - Y)  # wrong

    Right
    -----
        dZ2 = cache["Z2"] - Y

    How it shows
    ------------
    The ratio of yours to the right one is the same number in every entry; here 2. Training still works, at another
    learning rate, which is why this goes unnoticed.

    Why it is wrong
    ---------------
    The loss has a ½, and it cancels the 2 of the square: `d/dZ2 ½ (Z2 − Y)² = Z2 − Y`.

    Notes
    -----
    The loss that you declare decides: with `np.sum((Z2 - Y) ** 2)` and no ½ the 2 is right.
    """

    code = "constant-factor"


class MissingMean(Cause):
    """The sum over the batch is not divided by its size, although the loss is a mean.

    Wrong
    -----
        dW2 = cache["A1"].T @ dZ2  # wrong

    Right
    -----
        dW2 = cache["A1"].T @ dZ2 / m

    How it shows
    ------------
    The ratio of yours to the right one is m, the number of examples; it changes with the size of the batch.

    Why it is wrong
    ---------------
    The loss is a mean: `L = 1/m Σᵢ Lᵢ`, hence `dL/dW2 = 1/m Σᵢ dLᵢ/dW2`; the product `A1ᵀ dZ2` is the sum.

    Notes
    -----
    Where you divide by m is your choice: once, in `dZ2`, or in each `dW` and `db`. The audit reports that as
    a convention. What counts is that it is in every parameter's gradient exactly once; see
    [double-mean](double-mean.md).
    """

    code = "missing-mean"


class DoubleMean(Cause):
    """It is divided by the size of the batch twice.

    Wrong
    -----
        dZ2 = (cache["Z2"] - Y) / m
        dW2 = cache["A1"].T @ dZ2 / m  # wrong
        db2 = dZ2.sum(axis=0)
        dW1 = cache["A0"].T @ dZ1
        db1 = dZ1.sum(axis=0)

    Right
    -----
        dW2 = cache["A1"].T @ dZ2

    How it shows
    ------------
    The ratio of yours to the right one is 1/m. Learning is slow, and slower with larger batches.

    Why it is wrong
    ---------------
    `dZ2 = (Z2 − Y) / m` is the gradient of the mean already; everything computed from it has the 1/m.
    """

    code = "double-mean"


def scale_mistake(key: str, scale: Scale, m: int | None, outputs: float | None) -> tuple[type[Cause], str]:
    """Return the cause and the message for a gradient that is k · m^p times what it should be.

    `outputs` is how many numbers the network gives per example, for losses that are means over them, too.
    """
    total = scale.at(m)
    cause, why = _reason(scale, m, outputs)
    if cause is ConstantFactor and scale.p == 1 and abs(scale.k) < 1 and _near(abs(total), 1):
        divisor = f"{1 / abs(scale.k):.6g}"
        return cause, f"{key} is right in a batch of {m} alone: it is divided by {divisor} for any other size, too."
    amount = f"{total:.6g} times too large" if total > 1 else f"{total:.6g} times what it should be"
    return (Sign if scale.k < 0 else cause), f"{key} is {amount}{': ' if why else ''}{why}."


def _reason(scale: Scale, m: int | None, outputs: float | None) -> tuple[type[Cause], str]:
    size, p = abs(scale.k), scale.p
    if _near(size, 1) and p <= 1:
        if p == 0:
            return ConstantFactor, "it has the wrong sign"
        if p == 1:
            return MissingMean, f"the sum over the batch is not divided by m = {m}"
        return DoubleMean, f"it is divided by m = {m} once more than the loss asks for"
    if p == 0 and (_near(size, 2) or _near(size, 0.5)):
        return ConstantFactor, ""
    if outputs and outputs > 1 and p >= 0 and _near(size, outputs):
        return MissingMean, f"the loss is a mean over the {outputs:.0f} outputs, too"
    if outputs and outputs > 1 and p <= 0 and _near(size, 1 / outputs):
        return DoubleMean, f"it is divided by the {outputs:.0f} outputs, too"
    if p == 1 and size < 1:
        return ConstantFactor, f"it is divided by {1 / size:.6g}, not by m = {m}"
    return ConstantFactor, f"the factor depends on the size of the batch, here {m}" if p else ""


def _near(a: float, b: float) -> bool:
    return abs(a / b - 1) < CLOSE
