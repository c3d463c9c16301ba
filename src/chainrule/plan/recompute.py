"""Values computed again where they are read, instead of kept in memory: multiples of one array, for instance.

A function and its derivative often read several multiples of the same array. Each of them costs as much memory traffic
as the array itself, and nothing to compute.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ..core.op import ELEMENTWISE
from .model import BUFFER, Step, Value


def computed_again(groups: list[list[Step]], values: list[Value], lasting: set[int]) -> None:
    """Let later groups compute what groups before make of one array and numbers, if that leaves less in memory.

    Changes `groups`, and adds the values that are computed again to `values`. Those in `lasting` stay where they are.
    """
    readers = _readers(groups, values)
    made = {step.output: g for g, group in enumerate(groups) for step in group}
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
        stays = source in lasting or any(h != made.get(source) for h, _ in readers[source])
        if stays or len(found) > 1:
            for g, step in found:
                for h in sorted({h for h, _ in readers[step.output] if h != g}):
                    _compute(groups[h], step, values)


def _readers(groups: Sequence[Sequence[Step]], values: Sequence[Value]) -> dict[int, list[tuple[int, int]]]:
    """Return, by root, the groups that read it and the values through which they do."""
    readers: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for g, group in enumerate(groups):
        for step in group:
            for n in step.inputs:
                readers[values[n].root].append((g, n))
    return readers


def _source(step: Step, values: Sequence[Value]) -> int | None:
    """Return the array of which a step makes a multiple, or the like; None for other steps."""
    if step.op.kind != ELEMENTWISE or not step.op.linear or values[step.output].dtype.kind != "f":
        return None
    arrays = [n for n in step.inputs if values[n].array is None or values[n].array.size > 1]  # type: ignore[union-attr]
    if len(arrays) != 1 or values[arrays[0]].root != arrays[0]:
        return None
    source, out = values[arrays[0]], values[step.output]
    return arrays[0] if (source.shape, source.dtype) == (out.shape, out.dtype) else None


def _takes(group: Sequence[Step], read: int, step: Step, values: Sequence[Value]) -> bool:
    """Whether a group can compute a step's result, which it reads as value `read`."""
    out = group[0].output
    return group[0].op.kind == ELEMENTWISE and read == step.output and values[out].shape == values[read].shape


def _compute(group: list[Step], step: Step, values: list[Value]) -> None:
    again = values[step.output]._replace(number=len(values), root=len(values), names=())
    values.append(again)
    for k, reader in enumerate(group):
        inputs = tuple([again.number if n == step.output else n for n in reader.inputs])
        if inputs != reader.inputs:
            group[k] = Step(reader.op, inputs, reader.output, reader.attrs)
    group.insert(0, Step(step.op, step.inputs, again.number, step.attrs))
