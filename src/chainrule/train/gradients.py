"""The gradients of a training step, in one or several copies of the parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.reverse import reverse
from ..core.tensor import Tensor, constant
from ..nn.loss_checks import is_sensitive


def gradients_of(loss: Tensor, objective: Tensor, copies: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Any]]:
    """Return the gradients in each of several copies of the parameters, the last of which only penalties read."""
    start = constant(np.ones((), objective.dtype))
    wanted = [p for parameters in copies for p in parameters.values()]
    gradients, _ = reverse([objective], [start], wanted)
    names = list(copies[0])
    unreached = [name for name, g in zip(names, gradients, strict=False) if g is None]
    if unreached:
        raise ValueError(
            f"the loss does not reach the parameter{'s' * (len(unreached) > 1)} {', '.join(unreached)}: they would "
            "not be trained. Use them in forward, or remove them."
        )
    if not is_sensitive(loss, wanted):
        raise ValueError(
            "the loss has no derivative with respect to any parameter: it uses the model's output only through "
            "functions whose derivative is zero, such as argmax, comparisons and rounding"
        )
    found = [None if g is None else constant(g) for g in gradients]
    return [dict(zip(names, found[i : i + len(names)], strict=True)) for i in range(0, len(found), len(names))]
