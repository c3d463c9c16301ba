"""Memory of a plan: states updated in place, registers of fused steps, buffers reused after their last use."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .model import ALIGNMENT, BUFFER, PASSED, Fused, Step, Value

Group = Sequence[Step]


def may_overwrite(step: Step, root: int, values: Sequence[Value]) -> bool:
    """Whether `step` may overwrite its input in `root`: its kernel allows it, and the layouts agree."""
    out = values[step.output]
    if not step.op.may_overwrite:
        return False
    for k, i in enumerate(step.inputs):
        v = values[i]
        if v.root == root and not (v.same_layout(out) and (step.op.aliases is None or k in step.op.aliases)):
            return False
    return True


def states_in_place(
    values: Sequence[Value], groups: Sequence[Group], states: Sequence[int], updates: Mapping[int, int]
) -> dict[int, int]:
    """Return the updates (value -> state) that can be done in place, because no later step reads the old value."""
    if not updates:
        return {}
    last_read: dict[int, tuple[int, int]] = {}
    written: dict[int, tuple[int, int]] = {}
    for g, group in enumerate(groups):
        for k, step in enumerate(group):
            for i in step.inputs:
                last_read[values[i].root] = (g, k)
            written[step.output] = (g, k)
    place: dict[int, int] = {}
    for state, number in updates.items():
        if values[number].storage != BUFFER or number not in written or number in place:
            continue
        old = states[state]
        read, (g, k) = last_read.get(old, (-1, -1)), written[number]
        if read > (g, k) or (read == (g, k) and not may_overwrite(groups[g][k], old, values)):
            continue
        if _read_by_element(_reads(groups[g], values), old, values[number], values):
            place[number] = state
    return place


def _reads(group: Group, values: Sequence[Value]) -> dict[int, set[int]]:
    """Return root -> values through which a group reads it."""
    reads: dict[int, set[int]] = {}
    for step in group:
        for i in step.inputs:
            reads.setdefault(values[i].root, set()).add(i)
    return reads


def _read_by_element(reads: Mapping[int, set[int]], root: int, out: Value, values: Sequence[Value]) -> bool:
    """Whether a group reads `root` only with the layout of `out`; it may then be overwritten tile by tile."""
    return all(values[i].same_layout(out) for i in reads.get(root, ()))


class Storage:
    """Assigns registers and buffers according to the lifetimes of values.

    Parameters
    ----------
    values
        The values of the plan; replaced by values with a storage location.
    groups
        The steps in order; steps of one group run tile by tile.
    lasting
        Roots that are read after the last step.
    in_place
        Value -> state, for updates in place.
    """

    def __init__(
        self, values: list[Value], groups: Sequence[Group], lasting: set[int], in_place: Mapping[int, int]
    ) -> None:
        self.values, self.groups, self.in_place = values, groups, in_place
        self.last: dict[int, int] = {}  # root -> the operation that reads it last
        t = 0
        for group in groups:
            for step in group:
                for i in step.inputs:
                    self.last[values[i].root] = t
                t += 1
        self.last.update(dict.fromkeys(lasting, t))
        self.arena = _Arena()
        self.held: dict[int, tuple[int, int]] = {}  # buffer -> (offset, size)
        self.ending: dict[int, list[int]] = {}  # operation -> buffers last read by it
        self.reads: dict[int, set[int]] | None = None  # of the current group, once they are needed

    def assign(self) -> tuple[list[Step | Fused], int]:
        """Return the finished steps and the size of the arena."""
        out: list[Step | Fused] = []
        first = 0
        for group in self.groups:
            self.reads = None
            if len(group) == 1:
                self._store(group[0], first, group)
                out.append(group[0])
            else:
                out.append(self._fuse(group, first))
            for t in range(first, first + len(group)):
                for number in self.ending.pop(t, ()):
                    if number in self.held:
                        self.arena.give(*self.held.pop(number))
            first += len(group)
        return out, self.arena.top

    def _fuse(self, group: Group, first: int) -> Fused:
        registers: dict[int, int] = {}
        dtypes: list[np.dtype[Any]] = []
        idle: dict[np.dtype[Any], dict[int, None]] = {}  # free registers
        end = first + len(group)
        for t, step in enumerate(group, first):
            number = step.output
            value = self.values[number]
            dying = [i for i in step.inputs if i in registers and self.last[i] == t]
            if self.last.get(number, t) < end and number not in self.in_place:
                self.values[number] = _placed(value, PASSED)
                chosen = None
                for i in dying:
                    if dtypes[registers[i]] == value.dtype and may_overwrite(step, i, self.values):
                        chosen = registers[i]
                        break
                if chosen is None and idle.get(value.dtype):
                    chosen, _ = idle[value.dtype].popitem()
                if chosen is None:
                    chosen = len(dtypes)
                    dtypes.append(value.dtype)
                registers[number] = chosen
            else:
                self._store(step, t, group)
            for i in dying:
                if registers[i] != registers.get(number):
                    idle.setdefault(dtypes[registers[i]], {})[registers[i]] = None
        return Fused(self.values[group[0].output].shape, tuple(group), registers, tuple(dtypes))

    def _store(self, step: Step, t: int, group: Group) -> None:
        """Assign memory to the result of a step: its state, the buffer of an input used for the last time, or new."""
        number = step.output
        value = self.values[number]
        if number in self.in_place:
            self.values[number] = value._replace(state=self.in_place[number])
            return
        place = None
        for i in step.inputs:
            if i in self.held and self.last[i] == t and may_overwrite(step, i, self.values):
                if self.reads is None:
                    self.reads = _reads(group, self.values)
                if _read_by_element(self.reads, i, value, self.values):
                    place = self.held.pop(i)
                    break
        if place is None:
            size = -(-max(value.nbytes, 1) // ALIGNMENT) * ALIGNMENT
            place = self.arena.take(size), size
        self.held[number] = place
        self.values[number] = _placed(value, BUFFER, place[0])
        self.ending.setdefault(self.last.get(number, t), []).append(number)


def _placed(value: Value, storage: str, offset: int = 0) -> Value:
    """Return a value of a step with its place."""
    return Value(value.number, value.shape, value.dtype, storage, value.root, offset, value.strides, names=value.names)


class _Arena:
    """Free and used ranges of one block of memory that can grow; allocates the smallest free range that fits."""

    def __init__(self) -> None:
        self.top = 0
        self._by_size: list[tuple[int, int]] = []  # (size, offset), sorted
        self._starts: dict[int, int] = {}  # offset -> size
        self._ends: dict[int, int] = {}  # end -> offset

    def take(self, size: int) -> int:
        """Allocate `size` bytes; return their offset."""
        at = bisect_left(self._by_size, (size, 0))
        if at < len(self._by_size):
            have, offset = self._by_size[at]
            self._remove(offset)
            if have > size:
                self._add(offset + size, have - size)
            return offset
        offset = self.top
        if self.top in self._ends:  # extend the free range at the end
            offset = self._ends[self.top]
            self._remove(offset)
        self.top = offset + size
        return offset

    def give(self, offset: int, size: int) -> None:
        """Free a range and merge it with adjacent free ranges."""
        if offset + size in self._starts:
            size += self._remove(offset + size)
        if offset in self._ends:
            before = self._ends[offset]
            offset, size = before, size + self._remove(before)
        self._add(offset, size)

    def _add(self, offset: int, size: int) -> None:
        self._starts[offset], self._ends[offset + size] = size, offset
        insort(self._by_size, (size, offset))

    def _remove(self, offset: int) -> int:
        size = self._starts.pop(offset)
        del self._ends[offset + size]
        del self._by_size[bisect_left(self._by_size, (size, offset))]
        return size
