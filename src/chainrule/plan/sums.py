"""Sums over axes that are made of other sums, so that no array has to be computed for them alone.

A sum of a x + b y is a Σx + b Σy where a and b are the same along its axes. In the backward pass of a normalisation Σx
and Σy are there already: the gradients of its parameters, and the mean. And what goes back through a maximum of windows
is zero but at one element of each: a sum of it, or of its product with an array, is one over windows.

Products that cancel in one of these ways may overflow in the other: this is done for training steps only, whose results
no one computes with NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from ..core.op import ELEMENTWISE
from ..core.reverse import topological
from ..core.tensor import Tensor
from ..ops.pooling import POOL_LIKE, UNPOOL
from ..ops.table import row_of
from .pooled import all_windows_full
from .simplify import ADD, DIVIDE, MULTIPLY, NEGATIVE, RESHAPE, SUBTRACT, Rewriter

SUM = row_of(np.sum)
DEEPEST = 16  # operations within one another that are looked through
Axes = tuple[int, ...]


def made_of_sums(rewriter: Rewriter, roots: Sequence[Tensor]) -> list[Tensor]:
    """Return `roots` with sums made of other sums.

    Whether one is depends on what it adds up alone: parts of a batch are added up alike, whatever else there is.
    """
    order = topological(roots)
    sums = [node for node in order if node.op is SUM and node.value is None and node.dtype.kind == "f"]
    if not sums:
        return list(roots)
    made = _Sums(rewriter, order, sums)
    for node in order:
        made.add(node)
    rewriter.names = {name: made.new.get(id(node), node) for name, node in rewriter.names.items()}
    return [made.new[id(r)] for r in roots]


class _Sums:
    """Rebuilds a graph, inputs before users; knows which sums it has."""

    def __init__(self, rewriter: Rewriter, order: Sequence[Tensor], sums: Sequence[Tensor]) -> None:
        self.new: dict[int, Tensor] = {}
        self._rw = rewriter
        self._there = {(id(node.inputs[0]), node.attrs["axis"]) for node in sums}
        self._known: dict[tuple[int, Axes], Tensor | None] = {}
        self._in_memory = {id(x) for node in order if node.op and node.op.kind != ELEMENTWISE for x in node.inputs}

    def add(self, node: Tensor) -> None:
        if node.op is None or node.value is not None:
            self.new[id(node)] = node
            return
        total = None
        if node.op is SUM and node.dtype.kind == "f" and 4 * node.size <= node.inputs[0].size:
            total = self._of(node.inputs[0], node.attrs["axis"], 0)
        if total is None or total.shape != node.shape:
            total = self._rw.made(node.op, tuple([self.new[id(x)] for x in node.inputs]), node.attrs)
        self.new[id(node)] = total

    def _sum(self, x: Tensor, axes: Axes) -> Tensor:
        return self._rw.made(SUM, (x,), {"axis": axes, "keepdims": False})

    def _of(self, x: Tensor, axes: Axes, depth: int) -> Tensor | None:
        """Return the sum of x, made of other sums or of less than x; None if there are none."""
        key = id(x), axes
        if key not in self._known:
            self._known[key] = self._made(x, axes, depth) if depth < DEEPEST and x.value is None else None
        return self._known[key]

    def _made(self, x: Tensor, axes: Axes, depth: int) -> Tensor | None:
        rw = self._rw
        if x.op is UNPOOL and _whole_windows(x, axes):
            return self._sum(self.new[id(x.inputs[0])], axes)
        if x.op in (ADD, SUBTRACT, NEGATIVE):
            terms = [t for y in x.inputs if (t := self._term(y, x, axes, depth)) is not None]
            return rw.made(x.op, tuple(terms), {}) if len(terms) == len(x.inputs) else None
        if x.op not in (MULTIPLY, DIVIDE):
            return None
        one, other = x.inputs
        if x.op is MULTIPLY and _same_along(one, axes, x.ndim):
            one, other = other, one
        if _same_along(other, axes, x.ndim) and one.shape == x.shape:
            total = self._term(one, x, axes, depth)
            return None if total is None else rw.made(x.op, (total, self._reduced(other, x, axes)), {})
        if x.op is MULTIPLY and one.shape == other.shape:
            for back, v in ((one, other), (other, one)):
                if back.op is UNPOOL and back.value is None and _whole_windows(back, axes):
                    like = self._chosen(v, back, depth)
                    return self._sum(rw.made(MULTIPLY, (self.new[id(back.inputs[0])], like), {}), axes)
        return None

    def _chosen(self, v: Tensor, back: Tensor, depth: int) -> Tensor:
        """Return the elements of v where the largest of the windows of `back` are.

        They are computed of those of an array in memory, if one and what is the same in a window make v.
        """
        if v.op is not None and v.op.kind == ELEMENTWISE and id(v) not in self._in_memory and depth < DEEPEST:
            space = range(v.ndim - len(back.attrs["size"]), v.ndim)
            arrays = [y for y in v.inputs if not _same_along(y, space, v.ndim)]
            if len(arrays) == 1 and (arrays[0].shape, arrays[0].dtype) == (v.shape, v.dtype):
                inputs = [self._chosen(y, back, depth + 1) if y is arrays[0] else self.new[id(y)] for y in v.inputs]
                return self._rw.made(v.op, tuple(inputs), v.attrs)
        return self._rw.made(POOL_LIKE, (self.new[id(v)], self.new[id(back.inputs[1])]), back.attrs)

    def _term(self, y: Tensor, x: Tensor, axes: Axes, depth: int) -> Tensor | None:
        """Return the sum of a term, or of the factor that varies, of x."""
        if y.dtype != x.dtype:
            return None
        if _same_along(y, axes, x.ndim):
            count = np.asarray(math.prod([x.shape[a] for a in axes]), x.dtype)
            return self._rw.made(MULTIPLY, (self._reduced(y, x, axes), self._rw.constant(count)), {})
        if y.shape != x.shape:
            return None
        total = self._of(y, axes, depth + 1)
        return self._sum(self.new[id(y)], axes) if total is None and (id(y), axes) in self._there else total

    def _reduced(self, y: Tensor, x: Tensor, axes: Axes) -> Tensor:
        """Return y, one element along these axes of x, without them."""
        shape = (1,) * (x.ndim - y.ndim) + y.shape
        kept = tuple([d for a, d in enumerate(shape) if a not in axes])
        return self._rw.made(RESHAPE, (self.new[id(y)],), {"shape": kept}) if y.shape else self.new[id(y)]


def _same_along(x: Tensor, axes: Iterable[int], ndim: int) -> bool:
    """Whether x, broadcast to `ndim` axes, has one element along each of `axes`."""
    shape = (1,) * (ndim - x.ndim) + x.shape
    return all([shape[a] == 1 for a in axes])


def _whole_windows(x: Tensor, axes: Axes) -> bool:
    n = len(x.attrs["size"])
    return set(range(x.ndim - n, x.ndim)) <= set(axes) and all_windows_full(x.attrs)
