"""The NumPy engine, the reference: every step becomes one bound call into its row's kernel.

Binding a plan allocates the arena once and turns each step into a call whose arrays are fixed; running it is a loop
over those calls. Fused steps over large arrays run in blocks of rows that stay in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ..core.op import Array
from ..ops.loop_body import pieces
from ..plan.model import BUFFER, CONSTANT, VIEW, Fused, Loop, Plan, Step, Value
from .base import Binding
from .calls import Call, Calls

#: Elements of one block of a fused step: two operands and a result of float32 fill half of a 1 MiB cache.
BLOCK = 32_768
#: Inputs up to this size are copied into place; larger ones are read without a copy.
COPIED_BYTES = 16_384


class NumPyBinding(Binding):
    """A plan bound to memory. Not to be used by two threads at once: each needs its own."""

    def __init__(self, plan: Plan, states: Sequence[Array] = ()) -> None:
        if len(states) != len(plan.states):
            raise ValueError(f"the plan has {len(plan.states)} states, {len(states)} arrays were given")
        self.plan = plan
        self._arena = _aligned(plan.arena)
        self._arrays: list[Array] = [np.empty(0)] * len(plan.values)
        for k, (n, array) in enumerate(zip(plan.states, states, strict=True)):
            _check(f"state {k}", array, plan.values[n])
            if not (array.flags.c_contiguous and array.flags.writeable):
                raise ValueError(
                    f"state {k}: expected a writable C-ordered array, as np.array(state, order='C') makes one"
                )
            self._arrays[n] = array
        for n in plan.inputs:
            value = plan.values[n]
            self._arrays[n] = np.zeros(value.shape, value.dtype)
        self._inputs = [(n, self._arrays[n]) for n in plan.inputs]
        views: dict[int, list[Value]] = {}
        for value in plan.values:
            if value.storage in (BUFFER, CONSTANT):
                self._arrays[value.number] = self._memory(value)
            elif value.storage == VIEW:
                views.setdefault(value.root, []).append(value)
        for value in (v for of_root in views.values() for v in of_root):
            self._arrays[value.number] = _view(self._arrays[value.root], value)
        self._input_views = [views.get(n, []) for n in plan.inputs]
        self._maker = Calls()
        self._calls: list[Call] = []
        self._readers: list[list[tuple[int, int, Callable[[], list[Call]]]]] = []
        self._bind()

    def _memory(self, value: Value) -> Array:
        if value.array is not None:
            return value.array
        if value.state is not None:
            return self._arrays[self.plan.states[value.state]]
        return np.ndarray(value.shape, value.dtype, buffer=self._arena, offset=value.offset)

    def _bind(self) -> None:
        """Make the calls, and note which of them read each input: they are made again for another array."""
        v = self.plan.values
        makers: list[tuple[Callable[[], list[Call]], set[int]]] = []
        for step in self.plan.steps:
            roots = {v[i].root for i in step.inputs}
            makers.append((self._fused(step) if isinstance(step, Fused) else partial(self._single, step), roots))
        for state, n in self.plan.updates:
            if v[n].state != state:
                makers.append((partial(self._update, state, n), {v[n].root}))
        readers: dict[int, list[tuple[int, int, Callable[[], list[Call]]]]] = {n: [] for n in self.plan.inputs}
        for make, roots in makers:
            start = len(self._calls)
            self._calls += make()
            for root in roots & readers.keys():
                readers[root].append((start, len(self._calls), make))
        self._readers = [readers[n] for n in self.plan.inputs]

    def _single(self, step: Step) -> list[Call]:
        if isinstance(step, Loop):
            return [loop_call(step, [self._arrays[i] for i in step.inputs], self._arrays[step.output])]
        return [self._maker.call(step, [self._arrays[i] for i in step.inputs], self._arrays[step.output])]

    def _update(self, state: int, n: int) -> list[Call]:
        return [partial(np.copyto, self._arrays[self.plan.states[state]], self._arrays[n])]

    def _fused(self, step: Fused) -> Callable[[], list[Call]]:
        """Return a function that makes the calls of a fused step, in blocks if it exceeds the cache."""
        size = math.prod(step.shape)
        rows = step.shape[0] if step.shape else 1
        block = rows if size <= 2 * BLOCK else max(1, min(rows, BLOCK * rows // size))
        shape = (block, *step.shape[1:]) if step.shape else ()
        registers = [np.empty(shape, dtype) for dtype in step.register_dtypes]

        def part(i: int, start: int, stop: int) -> Array:
            if i in step.registers:
                register = registers[step.registers[i]]
                return register if block == rows else register[: stop - start]
            array = self._arrays[i]
            whole = block == rows or array.ndim < len(step.shape) or array.shape[0] != rows
            return array if whole else array[start:stop]

        def make() -> list[Call]:
            return [
                self._maker.call(s, [part(i, start, stop) for i in s.inputs], part(s.output, start, stop))
                for start in range(0, max(rows, 1), max(block, 1))
                for stop in [min(start + block, rows)]
                for s in step.steps
            ]

        return make

    def input_buffer(self, k: int) -> Array:
        """Return the memory of input k, to be filled before a run; it then need not be passed."""
        _, buffer = self._inputs[k]
        self._rebind(k, buffer)
        return buffer

    def run(self, inputs: Sequence[Array | None] = ()) -> None:
        """Run the plan. None, or nothing, for an input leaves it as it was."""
        if len(inputs) > len(self._inputs):
            raise ValueError(f"{len(inputs)} inputs were given, the plan has {len(self._inputs)}")
        for k, array in enumerate(inputs):
            if array is None:
                continue
            n, buffer = self._inputs[k]
            if array is buffer or array is self._arrays[n]:
                self._rebind(k, array)
            elif buffer.nbytes <= COPIED_BYTES and array.shape == buffer.shape and array.dtype == buffer.dtype:
                np.copyto(buffer, array)
            else:
                self._give(k, array)
        for compute in self._calls:
            compute()

    def _give(self, k: int, array: Array) -> None:
        """Read a large C-ordered input where it is; copy any other into the buffer."""
        value = self.plan.values[self.plan.inputs[k]]
        _check(f"input {k}", array, value)
        if value.nbytes > COPIED_BYTES and array.flags.c_contiguous and type(array) is np.ndarray:
            self._rebind(k, array)
        else:
            np.copyto(self.input_buffer(k), array)

    def _rebind(self, k: int, array: Array) -> None:
        n = self.plan.inputs[k]
        if self._arrays[n] is array:
            return
        self._arrays[n] = array
        for v in self._input_views[k]:
            self._arrays[v.number] = _view(array, v)
        for start, stop, make in self._readers[k]:
            self._calls[start:stop] = make()

    def release(self) -> None:
        """Release arrays that the last run read without a copy; these inputs must be passed again."""
        for k, (_, buffer) in enumerate(self._inputs):
            self._rebind(k, buffer)

    def value(self, n: int) -> Array:
        """Return the memory of value n of the last run; the next run overwrites it."""
        return self._arrays[n]


def loop_call(step: Loop, inputs: Sequence[Array], out: Array) -> Call:
    """Return a call that runs a loop: its body's plan, bound to the carries, once per step."""
    body, plan = step.attrs["body"], step.body
    first, last = len(step.carries), len(step.carries) + len(step.stacked)
    carries = [np.empty(x.shape, x.dtype) for x in inputs[:first]]
    binding = NumPyBinding(plan, carries)
    parts = dict(zip(step.attrs["parts"], pieces(out, body, step.attrs["parts"]), strict=True))
    stacked = list(zip((x for p, x in parts.items() if p.stacked), plan.outputs, strict=True))
    finals = [(x, carries[p.position]) for p, x in parts.items() if not p.stacked]

    def run() -> None:
        for carry, start in zip(carries, inputs[:first], strict=True):
            np.copyto(carry, start)
        rest: Sequence[Array | None] = inputs[last:]
        for t in body.steps():
            binding.run([*(x[t, ...] for x in inputs[first:last]), *rest])
            rest = [None] * len(rest)
            for target, n in stacked:
                target[t] = binding.value(n)
        for target, carry in finals:
            np.copyto(target, carry)

    return run


def _check(what: str, array: Array, value: Value) -> None:
    if array.shape != value.shape or array.dtype != value.dtype:
        raise ValueError(
            f"{what} has shape {array.shape}, {array.dtype}; the plan was made for shape {value.shape}, {value.dtype}"
        )


def _view(root: Array, value: Value) -> Array:
    if 0 in value.shape:
        view = np.empty(value.shape, value.dtype)
    elif root.flags.c_contiguous:
        view = np.ndarray(value.shape, value.dtype, buffer=root, offset=value.offset, strides=value.strides)
    else:  # one number broadcast to a constant: every view starts at the same address
        view = np.lib.stride_tricks.as_strided(root, value.shape, value.strides)
    view.setflags(write=False)
    return view


def _aligned(nbytes: int) -> Array:
    """Return bytes that begin at a multiple of 64, which vector instructions load fastest."""
    raw = np.zeros(nbytes + 64, np.uint8)
    start = -raw.__array_interface__["data"][0] % 64
    return raw[start : start + nbytes]
