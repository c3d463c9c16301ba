"""Virtual shards: how a batch is cut for training in several processes, and the fixed tree that adds up its parts.

The rows of a batch are cut into shards, whose number does not depend on the processes. Each process computes the shards
that it owns. What is summed over the batch is summed over shards, along a binary tree whose leaves are the shards, so
the result has the same bits for any number of processes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from .tensor import Tensor, traced_leaf

Span: TypeAlias = tuple[int, int]  # from, to (exclusive)
_T = TypeVar("_T")


def cut(count: int, parts: int) -> list[Span]:
    """Return consecutive spans of `count` things, as equal in length as possible, longer ones first.

    Examples
    --------
    >>> cut(8, 3)
    [(0, 3), (3, 6), (6, 8)]
    """
    length, longer = divmod(count, parts)
    starts = [i * length + min(i, longer) for i in range(parts + 1)]
    return list(itertools.pairwise(starts))


def middle(node: Span) -> int:
    """Return where the tree divides a node: its left half is complete, a power of two."""
    return node[0] + (1 << (node[1] - node[0] - 1).bit_length() - 1)


def within(span: Span, node: Span) -> list[Span]:
    """Return the largest nodes of the tree below `node` that lie within a span of shards.

    Examples
    --------
    >>> within((3, 6), (0, 8))
    [(3, 4), (4, 6)]
    """
    if span[0] <= node[0] and node[1] <= span[1]:
        return [node] if node[0] < node[1] else []
    if node[1] <= span[0] or span[1] <= node[0]:
        return []
    half = middle(node)
    return within(span, (node[0], half)) + within(span, (half, node[1]))


def summed(known: Mapping[Span, _T], node: Span, add: Callable[[_T, _T], _T]) -> _T:
    """Return the sum of a node of the tree, from the sums of nodes below it."""
    if node in known:
        return known[node]
    half = middle(node)
    return add(summed(known, (node[0], half), add), summed(known, (half, node[1]), add))


@dataclass(eq=False)
class Shard:
    """The shard of a batch that is being traced.

    Attributes
    ----------
    number : int
        Its place among the shards.
    start, stop : int
        Its rows.
    total : int
        The rows of the batch.
    parts : list of (Tensor, Tensor)
        What it adds to sums over the batch, and what stands for these sums until all shards have been traced.
    """

    number: int
    start: int
    stop: int
    total: int
    parts: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.stop - self.start

    def summed(self, part: Any) -> Tensor:
        """Return the sum of `part` over all shards of the batch."""
        total = traced_leaf(part.shape, part.dtype, part.recordings)
        self.parts.append((part, total))
        return total

    def of_batch(self, count: int) -> int:
        """Return how long an axis of the batch is that has length `count` in the shard."""
        if count % self.rows:
            raise ValueError(
                f"an axis of length {count} is averaged over a batch in {self.rows} rows of a shard; in several "
                "processes it must have as many elements for each row"
            )
        return count // self.rows * self.total


#: The shard that is being traced, if any. What is computed from all rows of a batch, or drawn for them, asks it.
SHARD: ContextVar[Shard | None] = ContextVar("the shard being traced", default=None)
