"""Passes that are written number by number: constant factors, such as a dropout mask, left out of all of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...core.op import Operation
from ..graph import Change
from .activations import DropoutMaskMissing
from .alterations import DIVIDE, MULTIPLY
from .products import factors
from .table import mistake
from .variants import Changes, Context, Variant, changed, keep

Kind = tuple[Operation | None, Operation | None]


@mistake(DropoutMaskMissing, "the mask is not applied to the gradient{scale}")
def _mask_by_numbers(context: Context) -> Iterator[Variant]:
    """A loop over units that multiplies each by 0 or 1, and by a scale."""
    kinds = {kind: {number for _, _, number in found} for kind, found in _constants(context).items() if len(found) > 1}
    for mask in (kind for kind, numbers in kinds.items() if numbers <= {0.0, 1.0} and 0.0 in numbers):
        yield changed(0, _left_out(mask), scale="")
        for kind in (kind for kind, numbers in kinds.items() if len(numbers) == 1 and kind != mask):
            yield changed(0, _left_out(mask, kind), scale=", nor is its scale")


def _constants(context: Context) -> dict[Kind, list[tuple[int, int, float]]]:
    """Return the products with a constant number by their place in a formula: position, which input, the number."""
    found: dict[Kind, list[tuple[int, int, float]]] = {}
    order = context.graph.order
    for i, k, p, factor, label in factors(context, MULTIPLY, DIVIDE):
        if factor.size == 1 and factor.op is None and not label:
            found.setdefault((order[i].op, order[p].op), []).append((i, k, float(np.asarray(factor.value).ravel()[0])))
    return found


def _left_out(*kinds: Kind) -> Changes:
    def changes(context: Context) -> dict[int, Change]:
        constants = _constants(context)
        return {i: keep(k) for kind in kinds for i, k, _ in constants.get(kind, ())}

    return changes
