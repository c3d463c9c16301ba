"""ReLU of the largest elements of windows, in place of the largest elements of ReLU: fewer are computed.

ReLU keeps the order of elements. Where it makes several of a window equal they are all 0, and so is the derivative.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops
from ..core.tensor import Tensor
from ..ops.pooling import MAX_POOL, UNPOOL
from ..ops.table import CAST, row_of

if TYPE_CHECKING:
    from .simplify import Rewriter

RELU, GREATER, MULTIPLY = row_of(ops.relu), row_of(np.greater), row_of(np.multiply)


def pooled(rw: Rewriter, x: Tensor, attrs: dict[str, Any]) -> Tensor | None:
    """Return the largest elements of ``relu(y)``: ``relu`` of the largest elements of y. None for other x."""
    if not _made_by(x, RELU) or not all_windows_full(attrs):
        return None
    return rw.made(RELU, (rw.made(MAX_POOL, x.inputs, attrs),), {})


def back_through_relu(rw: Rewriter, back: Tensor, mask: Tensor) -> Tensor | None:
    """Return ``unpool(g, relu(y)) * (relu(y) > 0)``, the gradient of the above, with the mask on g; else None."""
    if not (_made_by(back, UNPOOL) and _made_by(mask, CAST) and _made_by(mask.inputs[0], GREATER)):
        return None
    (g, a), (compared, zero) = back.inputs, mask.inputs[0].inputs
    if not _made_by(a, RELU) or not (compared is a or compared is a.inputs[0]):
        return None
    if zero.value is None or zero.shape != () or zero.value != 0:
        return None
    if g.dtype != mask.dtype or not all_windows_full(back.attrs):
        return None
    positive = rw.made(GREATER, (rw.made(MAX_POOL, (a,), back.attrs), zero), {})
    masked = rw.made(MULTIPLY, (g, rw.made(CAST, (positive,), mask.attrs)), {})
    return rw.made(UNPOOL, (masked, a.inputs[0]), back.attrs)


def all_windows_full(attrs: Mapping[str, Any]) -> bool:
    """Whether every window has an element that is no padding."""
    settings = zip(attrs["size"], attrs["dilation"], attrs["padding"], strict=True)
    return all([max(padding) == 0 or (dilation == 1 and max(padding) < size) for size, dilation, padding in settings])


def _made_by(x: Tensor, op: Any) -> bool:
    return x.op is op and x.value is None
