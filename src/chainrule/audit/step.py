"""What is known of one step of a backward pass, at every point."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.op import Array
from .mistakes.variants import Context, Variant
from .scales import ONE, Scale

TOLERANCE = 1e-6
NONFINITE, SHAPE, TRANSPOSED, WRONG = "nonfinite", "shape", "transposed", "wrong"


@dataclass
class JudgedStep:
    """The gradient of one value, compared with what follows from the upstream gradients of the same pass.

    Attributes
    ----------
    exact
        Whether it is the gradient of a parameter: its scale counts.
    found, expected, truth
        At each point: the gradient as returned (brought to the value's shape); as it follows from the pass's own
        upstream gradients; as it follows from the loss.
    scales
        ``found / expected`` at each point where that is one number; else None.
    scale
        The same as one law.
    error, plain_error
        The largest relative difference, with the scale taken out and without.
    problem
        NONFINITE, SHAPE, TRANSPOSED, WRONG or "".
    variants
        The known mistakes that give its numbers.
    fault
        What its own formula has too much: k · m^p; None where the scale is not to blame.
    epsilon
        It is right with the small constants of the forward pass left out.
    masked
        It is the gradient of what dropout was applied to, under the name of what is left.
    only_scaled
        It is right but for a factor that is none of the usual ones.
    unseen
        Why it was not judged.
    """

    name: str
    key: str
    exact: bool
    upstream: tuple[str, ...] = ()
    found: list[Array | None] = field(default_factory=list)
    expected: list[Array | None] = field(default_factory=list)
    truth: list[Array | None] = field(default_factory=list)
    scales: list[float] | None = None
    scale: Scale = ONE
    error: float | None = None
    plain_error: float | None = None
    shape_note: str = ""
    problem: str = ""
    variants: list[Variant] = field(default_factory=list)
    contexts: list[Context] = field(default_factory=list)
    fault: Scale | None = None
    epsilon: bool = False
    masked: bool = False
    only_scaled: bool = False
    unseen: str = ""


def conformed(found: Any, shape: tuple[int, ...]) -> tuple[Array | None, str]:
    """Bring a gradient to its value's shape where that is a convention; else (None, what is wrong)."""
    array = np.asarray(found, np.float64)
    if array.shape == shape:
        return array, ""
    squeezed = tuple(d for d in shape if d != 1)
    if array.size == int(np.prod(shape)) and tuple(d for d in array.shape if d != 1) == squeezed and len(squeezed) <= 1:
        return array.reshape(shape), "reshaped"
    if array.ndim == 2 and array.shape == shape[::-1]:
        return array.T, "transposed"
    return None, "shape"
