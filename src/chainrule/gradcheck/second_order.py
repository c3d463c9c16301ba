"""The gradient of a subject as a subject of its own: what ``order=2`` checks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..adapters.gradient_forms import ChainruleSubject, Leaf, Nested, OwnSubject, Pullback, Subject, TorchSubject
from ..core.op import Array
from ..core.transforms import vjp
from ..core.tree import flatten


def second_order(subject: Subject, args: tuple[Any, ...], hessian: Any, hvp: Any, seed: int) -> tuple[Subject, bool]:
    """Return the gradient of `subject` as a subject, and whether its own derivative is known by differences only."""
    name = f"grad {subject.name}"
    if isinstance(subject, OwnSubject):
        if hessian is None and hvp is None:
            return Mirrored(name, "the mirrored entry", subject.leaves, inner=subject, seed=seed), True
        form, derivative = ("jacobian", hessian) if hessian is not None else ("vjp", hvp)
        return OwnSubject(
            name,
            "yours",
            subject.leaves,
            f=subject.derivative,
            structure_in=subject.structure_in,
            fixed=subject.fixed,
            where=subject.where,
            form=form,
            derivative=derivative,
            names=subject.names,
        ), False
    rng = np.random.default_rng(seed)
    cotangents = [Leaf(None, f"the cotangent{label}", _draw(rng, shape, subject), checked=True)
                  for label, shape in zip(subject.output_labels, subject.shapes, strict=True)]  # fmt: skip
    leaves = [*subject.leaves, *cotangents]
    places = _in_a_row(leaves)
    if isinstance(subject, TorchSubject):
        return TorchSubject(name, subject.whose, f=_of_torch(subject), create_graph=True, **places), False
    assert isinstance(subject, ChainruleSubject)
    return ChainruleSubject(name, subject.whose, f=_of_chainrule(subject), **places), False


def _draw(rng: np.random.Generator, shape: tuple[int, ...], subject: Subject) -> Array:
    low = all(leaf.value.dtype.itemsize < 8 for leaf in subject.leaves)
    return np.asarray(rng.normal(size=shape), dtype=np.float32 if low else np.float64)


def _in_a_row(leaves: list[Leaf]) -> dict[str, Any]:
    values, structure = flatten(tuple(leaf.value for leaf in leaves))
    return {"leaves": leaves, "structure_in": structure, "fixed": values, "where": list(range(len(values)))}


def _wanted(subject: Subject) -> list[int]:
    return [k for k, leaf in enumerate(subject.leaves) if leaf.checked]


def _of_chainrule(subject: ChainruleSubject) -> Any:
    count, wanted = len(subject.leaves), _wanted(subject)

    def gradients(*tensors: Any) -> list[Any]:
        _, pullback = vjp(subject.flat, *tensors[:count])
        found = pullback(list(tensors[count:]))
        return [found[k] for k in wanted]

    return gradients


def _of_torch(subject: TorchSubject) -> Any:
    torch = sys.modules["torch"]
    count, wanted = len(subject.leaves), _wanted(subject)

    def gradients(*tensors: Any) -> list[Any]:
        values, _ = flatten(subject.f(*subject.rebuilt(tensors[:count])))
        outputs = [v for v, real in zip(values, subject.real, strict=True) if real]
        used = [(o, c) for o, c in zip(outputs, tensors[count:], strict=True) if o.requires_grad]
        asked = [tensors[k] for k in wanted]
        if not used:
            return [torch.zeros_like(x) for x in asked]
        ends, starts = zip(*used, strict=True)
        found = torch.autograd.grad(ends, asked, starts, create_graph=True, allow_unused=True)
        return [torch.zeros_like(x) if g is None else g for x, g in zip(asked, found, strict=True)]

    return gradients


@dataclass
class Mirrored(Subject):
    """A gradient whose derivative is held to its own transpose, as second derivatives are symmetric.

    The pullback of a cotangent is then the slope along it, which differences give.
    """

    inner: Nested | None = None
    seed: int = 0

    def call(self, point: list[Array]) -> list[Array]:
        """Return what the function returns at `point`."""
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
