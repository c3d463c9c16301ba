"""Sums of arrays that are put side by side into zeros: one concatenation.

The gradient of an array that was cut into parts, gates for instance, is such a sum, of one large array of zeros for
each part. Where the parts fill it, there is nothing to add.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..core.tensor import Tensor
from ..ops.index import PLACE
from ..ops.table import row_of

if TYPE_CHECKING:
    from .simplify import Rewriter

ADD, CONCATENATE, RESHAPE = (row_of(f) for f in (np.add, np.concatenate, np.reshape))


class Range(NamedTuple):
    """A range of an axis, with all of every other axis."""

    axis: int
    start: int
    stop: int


class Joins:
    """Knows which sums of a graph put arrays into ranges of one axis, and how much of it they fill together."""

    def __init__(self) -> None:
        self._filled: dict[frozenset[int], tuple[int, int]] = {}  # ids of the two terms -> axis, filled length

    def joined(self, rewriter: Rewriter, one: Tensor, other: Tensor) -> Tensor | None:
        """Return the concatenation that a sum of two terms is; None where it is another sum."""
        if one.shape != other.shape or one.dtype != other.dtype or one is other:
            return None
        known = self._fills(one), self._fills(other)
        if known[0] is None or known[1] is None or known[0][0] != known[1][0]:
            return None
        axis, length = known[0][0], known[0][1] + known[1][1]
        self._filled[frozenset((id(one), id(other)))] = axis, length
        if length != one.shape[axis]:
            return None
        parts = sorted(self._parts(one) + self._parts(other), key=lambda part: part[0])
        ends = [0, *(place.stop for place, _ in parts)]
        if any(place.start != end for (place, _), end in zip(parts, ends, strict=False)):
            return None
        shape = one.shape
        arrays = []
        for place, x in parts:
            whole = (*shape[:axis], place.stop - place.start, *shape[axis + 1 :])
            arrays.append(rewriter.made(RESHAPE, (x,), {"shape": whole}))
        return rewriter.made(CONCATENATE, tuple(arrays), {"axis": axis})

    def _fills(self, x: Tensor) -> tuple[int, int] | None:
        """Return the axis of which a term fills a range, or ranges, and their length."""
        if x.op is PLACE and x.value is None:
            place = _range_of(x)
            return None if place is None else (place.axis, place.stop - place.start)
        return self._filled.get(frozenset(map(id, x.inputs))) if x.op is ADD else None

    def _parts(self, x: Tensor) -> list[tuple[Range, Tensor]]:
        found, stack = [], [x]
        while stack:
            node = stack.pop()
            place = _range_of(node) if node.op is PLACE else None
            if place is None:
                stack += node.inputs
            else:
                found.append((place, node.inputs[0]))
        return found


def _range_of(x: Tensor) -> Range | None:
    """Return the range into which a node of `PLACE` puts its array; None for one of several axes."""
    found = None
    for axis, (i, length) in enumerate(zip(x.attrs["index"], x.shape, strict=False)):
        if type(i) is slice:
            start, stop, step = i.indices(length)
            if step != 1:
                return None
        elif type(i) is int:
            start, stop = i % length, i % length + 1
        else:
            return None
        if type(i) is int or stop - start != length:
            if found is not None:
                return None
            found = Range(axis, start, stop)
    return found


def cut_joined(rw: Rewriter, x: Tensor, index: tuple[Any, ...]) -> Tensor | None:
    """Return what a range of a joined vector is, or of a sum of vectors with an array put into zeros: what was put."""
    if not _is_range(index):
        return None
    found = _put(x, index[0].indices(x.shape[0]))
    if found is None:
        return None
    start, stop, _ = index[0].indices(x.shape[0])
    total = rw.constant(np.zeros(max(stop - start, 0), x.dtype)) if not found else found[0]
    for part in found[1:]:
        total = rw.made(ADD, (total, part), {})
    return total


def _put(x: Tensor, place: tuple[int, int, int]) -> list[Tensor] | None:
    """Return the arrays put at a place of a sum of such vectors; None where it is another sum or another place."""
    if x.value is not None:
        return None
    if x.op is ADD and all(y.shape == x.shape for y in x.inputs):
        one, other = (_put(y, place) for y in x.inputs)
        return None if one is None or other is None else one + other
    if x.op is CONCATENATE:
        ends = list(itertools.accumulate([part.shape[0] for part in x.inputs]))
        fitting = [part for part, end in zip(x.inputs, ends, strict=True) if (end - part.shape[0], end) == place[:2]]
        return fitting[:1] or None
    if x.op is not PLACE or not _is_range(x.attrs["index"]):
        return None
    start, stop, _ = there = x.attrs["index"][0].indices(x.shape[0])
    if there == place:
        return [x.inputs[0]]
    return [] if stop <= place[0] or place[1] <= start else None


def _is_range(index: tuple[Any, ...]) -> bool:
    return len(index) == 1 and type(index[0]) is slice and index[0].step in (None, 1)
