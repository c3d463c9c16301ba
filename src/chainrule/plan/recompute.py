"""Values computed again where they are read, instead of kept in memory: multiples of one array, for instance.

A function and its derivative often read several multiples of the same array, or standardise it. Each of these costs as
much memory traffic as the array itself, and little to compute.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import replace

import numpy as np

from ..core.op import ELEMENTWISE
from ..ops.table import row_of
from .model import BUFFER, Step, Value

DIVIDE = row_of(np.divide)

#: Bytes of an array from which it does not wait in a cache for a reader that comes later.
LARGE = 1 << 18


def computed_again(groups: list[list[Step]], values: list[Value], lasting: Set[int]) -> None:
    """Let later groups compute what groups before make of one array, if that leaves less in memory.

    Changes `groups`, and adds the values that are computed again to `values`. Those in `lasting` stay where they are.
    """
    _where_read(groups, values, lasting)
    _before_they_are_read(groups, values, lasting)


def _where_read(groups: list[list[Step]], values: list[Value], lasting: Set[int]) -> None:
    """Single steps in the groups that read their results, if these are elementwise."""
    readers = _readers(groups, values)
    multiples: dict[int, list[tuple[int, Step]]] = defaultdict(list)  # array -> cheap steps that others read
    for g, group in enumerate(groups):
        for step in group:
            source = _source(step, values)
            if source is None or step.output in lasting or values[source].storage != BUFFER:
                continue
            outside = [r for r in readers[step.output] if r[0] != g]
            if len(outside) == len(readers[step.output]):
                continue  # computed once for all its readers, none of them here
            if outside and all([_takes(groups[h], n, step, values) for h, n in outside]):
                multiples[source].append((g, step))
    for source, found in multiples.items():
        for g, step in found:
            stays = source in lasting or any([h > g for h, _ in readers[source]])
            if stays or len(found) > 1:
                for h in sorted({h for h, _ in readers[step.output] if h != g}):
                    _compute(groups[h], [step], values)


def _before_they_are_read(groups: list[list[Step]], values: list[Value], lasting: Set[int]) -> None:
    """Large results of some steps by groups of their own, where the array that they are made of waits, too."""
    readers = _readers(groups, values)
    before: dict[int, list[list[Step]]] = defaultdict(list)  # group -> those to put before it
    for g, group in enumerate(groups):
        for step in group:
            n = step.output
            if group[0].op.kind != ELEMENTWISE or n in lasting or values[n].nbytes < LARGE:
                continue
            far = sorted({h for h, _ in _later(readers[n], g)})
            if not far or len(far) == len({h for h, _ in readers[n]}):
                continue  # nobody reads it later, or all do
            steps, source = _made_of_one(n, group, values)
            waits = source is not None and (source in lasting or any([h >= far[0] for h, _ in readers[source]]))
            if not waits or any([m != n for h, m in readers[n] if h in far]):
                continue
            again = _again(steps, values)
            before[far[0]].append(steps)
            for h in far:
                groups[h][:] = [_reading(reader, {n: again}) for reader in groups[h]]
    for h in sorted(before, reverse=True):
        groups[h:h] = before[h]


def _later(readers: Sequence[tuple[int, int]], g: int) -> Iterator[tuple[int, int]]:
    """Yield the readers after those that follow group g one by one."""
    at = {h for h, _ in readers}
    while g + 1 in at:
        g += 1
    yield from [(h, n) for h, n in readers if h > g]


def _made_of_one(n: int, group: Sequence[Step], values: Sequence[Value]) -> tuple[list[Step], int | None]:
    """Return the steps of a group that make n of one array, and that array; None where others are among them."""
    steps: list[Step] = []
    wanted = n
    for step in reversed(group):
        if step.output != wanted:
            continue
        source = _source(step, values)
        if source is None:
            return [], None
        steps.insert(0, step)
        wanted = source
    return steps, wanted if values[wanted].storage == BUFFER else None


def _readers(groups: Sequence[Sequence[Step]], values: Sequence[Value]) -> dict[int, list[tuple[int, int]]]:
    """Return, by root, the groups that read it and the values through which they do."""
    readers: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for g, group in enumerate(groups):
        for step in group:
            for n in step.inputs:
                readers[values[n].root].append((g, n))
    return readers


def _source(step: Step, values: Sequence[Value]) -> int | None:
    """Return the array of which a step makes a multiple, or the like, with much smaller ones; None for other steps."""
    out = values[step.output]
    if step.op.kind != ELEMENTWISE or not step.op.linear or out.dtype.kind != "f":
        return None
    arrays = [n for n in step.inputs if values[n].array is None or values[n].array.size > 1]  # type: ignore[union-attr]
    if len(arrays) > 1 and out.nbytes >= LARGE and step.op is not DIVIDE:  # a division takes as long as reading
        arrays = [n for n in arrays if 4 * math.prod(values[n].shape) > math.prod(out.shape)]
    if len(arrays) != 1 or values[arrays[0]].root != arrays[0]:
        return None
    source = values[arrays[0]]
    return arrays[0] if (source.shape, source.dtype) == (out.shape, out.dtype) else None


def _takes(group: Sequence[Step], read: int, step: Step, values: Sequence[Value]) -> bool:
    """Whether a group can compute a step's result, which it reads as value `read`."""
    out = group[0].output
    return group[0].op.kind == ELEMENTWISE and read == step.output and values[out].shape == values[read].shape


def _compute(group: list[Step], steps: Sequence[Step], values: list[Value]) -> None:
    """Let a group compute what it reads of the last of these steps."""
    first, read = [*steps], steps[-1].output
    again = _again(first, values)
    group[:] = [*first, *(_reading(step, {read: again}) for step in group)]


def _again(steps: list[Step], values: list[Value]) -> int:
    """Let steps make values of their own; return the last of these."""
    new: dict[int, int] = {}
    for k, step in enumerate(steps):
        n = len(values)
        values.append(values[step.output]._replace(number=n, root=n, names=()))
        steps[k] = replace(_reading(step, new), output=n)
        new[step.output] = n
    return len(values) - 1


def _reading(step: Step, others: dict[int, int]) -> Step:
    """Return a step that reads other values in place of some."""
    inputs = tuple([others.get(n, n) for n in step.inputs])
    return step if inputs == step.inputs else replace(step, inputs=inputs)
