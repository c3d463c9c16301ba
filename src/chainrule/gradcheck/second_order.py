"""The gradient of a function as a function to check, for ``order=2``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..adapters.gradient_forms import ChainruleFunction, CheckedFunction, HandWritten, Leaf, Pullback
from ..adapters.torch_functions import TorchFunction
from ..core.op import Array


def second_order(function: CheckedFunction, hessian: Any, hvp: Any, seed: int) -> tuple[CheckedFunction, bool]:
    """Return the gradient as a function to check, and whether its own derivative is known by differences only."""
    name = f"grad {function.name}"
    if isinstance(function, HandWritten):
        if hessian is None and hvp is None:
            parts = function.f, function.arguments, function.labels, function.leaves
            return Mirrored(name, "the mirrored entry", *parts, inner=function, seed=seed), True
        form, derivative = ("jacobian", hessian) if hessian is not None else ("vjp", hvp)
        return replace(function, name=name, f=function.derivative, form=form, derivative=derivative), False
    rng = np.random.default_rng(seed)
    low = all(leaf.value.dtype.itemsize < 8 for leaf in function.leaves)
    leaves = list(function.leaves)
    for label, shape in zip(function.output_labels, function.shapes, strict=True):
        # of one number the Hessian itself is compared; of several, a random sum
        drawn = np.asarray(rng.normal(size=shape) if shape else 1.0, dtype=np.float32 if low else np.float64)
        leaves.append(Leaf(None, f"the cotangent{label}", drawn))
    assert isinstance(function, ChainruleFunction | TorchFunction)
    count, wanted = len(function.leaves), _wanted(function)

    def gradients(*tensors: Any) -> list[Any]:
        found = function.gradients(tensors[:count], tensors[count:])
        return [found[k] for k in wanted]

    arguments, labels = tuple(leaf.value for leaf in leaves), [leaf.label for leaf in leaves]
    return replace(function, name=name, f=gradients, arguments=arguments, labels=labels, leaves=leaves), False


def _wanted(function: CheckedFunction) -> list[int]:
    return [k for k, leaf in enumerate(function.leaves) if leaf.checked]


@dataclass
class Mirrored(CheckedFunction):
    """A gradient whose derivative is compared with its own transpose, as second derivatives are symmetric.

    The pullback of a cotangent is then the slope along it, which differences give.
    """

    inner: CheckedFunction | None = None
    seed: int = 0

    def call(self, point: list[Array]) -> list[Array]:
        """Return what the gradient is at `point`."""
        assert self.inner is not None
        rng = np.random.default_rng(self.seed)
        cotangents = [rng.normal(size=shape) if shape else np.ones(()) for shape in self.inner.shapes]
        found = self.inner.linearize(point)(cotangents)
        return [np.asarray(found[k], dtype=np.float64) for k in _wanted(self)]

    def linearize(self, point: list[Array]) -> Pullback:
        """Return the pullback at `point`."""
        point = [np.asarray(x, dtype=np.float64) for x in point]
        h = float(np.finfo(np.float64).eps ** (1 / 3)) * max(1.0, *(float(np.max(np.abs(x), initial=0)) for x in point))

        def central(parts: Sequence[Array], step: float) -> list[Array]:
            ends = []
            for t in (step, -step):
                moved = list(point)
                for k, part in zip(_wanted(self), parts, strict=True):
                    moved[k] = moved[k] + t * part
                ends.append(self.call(moved))
            return [(above - below) / (2 * step) for above, below in zip(*ends, strict=True)]

        def slopes(parts: list[Array]) -> list[Any]:
            near, far = central(parts, h), central(parts, 4 * h)
            found: list[Any] = [None] * len(self.leaves)
            for k, a, b in zip(_wanted(self), near, far, strict=True):
                found[k] = (16 * a - b) / 15
            return found

        return slopes
