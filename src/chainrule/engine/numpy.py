"""The NumPy engine, the reference: every step becomes one bound call into its row's kernel.

Binding a plan allocates the arena once and turns each step into a call whose arrays are fixed; running it is a loop over
those calls. Fused steps over large arrays run in blocks of rows that stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..op import Array
from ..plan.model import BUFFER, CONSTANT, VIEW, Fused, Plan, Step, Value
from .base import Binding

#: Elements of one block of a fused step: two operands and a result of float32 fill half of a 1 MiB cache.
BLOCK = 32_768
#: Inputs up to this size are copied into place; larger ones are read where they are.
COPIED_BYTES = 16_384

Call = Callable[[], Any]


class NumPyBinding(Binding):
    """A plan bound to memory. Not for two threads at once: each takes its own."""

    def __init__(self, plan: Plan, states: Sequence[Array] = ()) -> None:
        if len(states) != len(plan.states):
            raise ValueError(f"the plan has {len(plan.states)} states, {len(states)} arrays were given")
        self.plan = plan
        self._arena = _aligned(plan.arena)
        self._arrays: dict[int, Array] = {}
        self._given: list[Array | None] = [None] * len(plan.inputs)
        self._own: list[bool] = []
        for n, array in zip(plan.states, states, strict=True):
            value = plan.values[n]
            if array.shape != value.shape or array.dtype != value.dtype or not array.flags.c_contiguous:
                raise ValueError(f"state {n} has shape {array.shape} {array.dtype}, the plan expects {value.shape} {value.dtype}")
            self._arrays[n] = array
        for n in plan.inputs:
            value = plan.values[n]
            self._own.append(value.nbytes <= COPIED_BYTES)
            self._arrays[n] = np.zeros(value.shape, value.dtype)
        for value in plan.values:
            if value.storage in (BUFFER, CONSTANT):
                self._arrays[value.number] = self._memory(value)
        for value in plan.values:
            if value.storage == VIEW:
                self._arrays[value.number] = _view(self._arrays[value.root], value)
        self._calls: list[Call] = []
        self._users: list[list[tuple[int, int, Callable[[], list[Call]]]]] = [[] for _ in plan.inputs]
        self._bind()

    def _memory(self, value: Value) -> Array:
        if value.storage == CONSTANT:
            assert value.array is not None
            return value.array
        if value.state is not None:
            return self._arrays[self.plan.states[value.state]]
        return np.ndarray(value.shape, value.dtype, buffer=self._arena, offset=value.offset)

    def _bind(self) -> None:
        readers: dict[int, list[int]] = {n: [] for n in self.plan.inputs}
        makers: list[Callable[[], list[Call]]] = []
        for step in self.plan.steps:
            make = partial(self._fused, step) if isinstance(step, Fused) else partial(self._single, step)
            for root in {self.plan.values[i].root for i in step.inputs}:
                if root in readers:
                    readers[root].append(len(makers))
            makers.append(make)
        for state, n in self.plan.updates:
            if self.plan.values[n].state is None:
                makers.append(partial(self._update, state, n))
                root = self.plan.values[n].root
                if root in readers:
                    readers[root].append(len(makers) - 1)
        starts = []
        for make in makers:
            starts.append(len(self._calls))
            self._calls += make()
        starts.append(len(self._calls))
        for k, n in enumerate(self.plan.inputs):
            self._users[k] = [(starts[m], starts[m + 1], makers[m]) for m in readers[n]]

    def _single(self, step: Step) -> list[Call]:
        return [_call(step, [self._arrays[i] for i in step.inputs], self._arrays[step.output])]

    def _update(self, state: int, n: int) -> list[Call]:
        return [partial(np.copyto, self._arrays[self.plan.states[state]], self._arrays[n])]

    def _fused(self, step: Fused) -> list[Call]:
        """Return the calls of a fused step, block by block where the whole would not stay in the cache."""
        size = int(np.prod(step.shape))
        rows = step.shape[0] if step.shape else 1
        block = rows if size <= 2 * BLOCK else max(1, min(rows, BLOCK * rows // max(size, 1)))
        shape = (block, *step.shape[1:]) if step.shape else ()
        registers = [np.empty(shape, dtype) for dtype in step.register_dtypes]
        calls = []
        for start in range(0, max(rows, 1), max(block, 1)):
            stop = min(start + block, rows)

            def part(i: int, start: int = start, stop: int = stop) -> Array:
                if i in step.registers:
                    register = registers[step.registers[i]]
                    return register if block == rows else register[: stop - start]
                array = self._arrays[i]
                whole = block == rows or array.ndim < len(step.shape) or array.shape[0] != rows
                return array if whole else array[start:stop]

            calls += [_call(s, [part(i) for i in s.inputs], part(s.output)) for s in step.steps]
        return calls

    def input_buffer(self, k: int) -> Array:
        """Return the memory of input k, to be filled before a run; it then need not be passed."""
        if self._given[k] is not None:
            self._rebind(k, np.zeros_like(self._arrays[self.plan.inputs[k]]))
            self._given[k] = None
        return self._arrays[self.plan.inputs[k]]

    def run(self, inputs: Sequence[Array | None] = ()) -> None:
        """Run the plan. None, or nothing, for an input leaves its buffer as it was filled."""
        for k, array in enumerate(inputs):
            if array is None or array is self._given[k]:
                continue
            if self._own[k]:
                np.copyto(self._arrays[self.plan.inputs[k]], array)
            else:
                self._rebind(k, array)
                self._given[k] = array
        for call in self._calls:
            call()

    def _rebind(self, k: int, array: Array) -> None:
        n = self.plan.inputs[k]
        value = self.plan.values[n]
        if array.shape != value.shape or array.dtype != value.dtype:
            raise ValueError(f"input {k} has shape {array.shape} {array.dtype}, the plan expects {value.shape} {value.dtype}")
        self._arrays[n] = np.ascontiguousarray(array) if array.ndim else array
        for v in self.plan.values:
            if v.storage == VIEW and v.root == n:
                self._arrays[v.number] = _view(self._arrays[n], v)
        for start, stop, make in self._users[k]:
            self._calls[start:stop] = make()

    def value(self, n: int) -> Array:
        """Return the memory of value n, as the last run left it; the next run overwrites it."""
        return self._arrays[n]


def _call(step: Step, inputs: Sequence[Array], out: Array) -> Call:
    assert step.op.kernel is not None
    return partial(step.op.kernel, *inputs, out=out, **step.attrs)


def _view(root: Array, value: Value) -> Array:
    if root.size == 0 or 0 in value.shape:
        return np.zeros(value.shape, value.dtype)
    offset = value.offset
    base = root.view() if root.flags.writeable else root
    flat = np.lib.stride_tricks.as_strided(base, value.shape, value.strides, writeable=root.flags.writeable)
    if offset == 0:
        return flat
    # as_strided starts at the root's first element; a byte view of the root gives any other start
    start = root.reshape(-1)[offset // root.itemsize :]
    return np.lib.stride_tricks.as_strided(start, value.shape, value.strides, writeable=root.flags.writeable)


def _aligned(nbytes: int) -> Array:
    """Return bytes that begin at a multiple of 64, as vector units like it."""
    raw = np.zeros(nbytes + 64, np.uint8)
    start = -raw.__array_interface__["data"][0] % 64
    return raw[start : start + nbytes]


