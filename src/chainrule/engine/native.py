"""The native engine: passes a plan to the C++ executor, which runs it without Python.

Steps without a native kernel call the NumPy kernel of their operation.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..core.op import Array
from ..plan.model import BUFFER, CONSTANT, INPUT, PASSED, STATE, VIEW, Fused, Loop, Plan, Step, Value
from . import _native, blocking
from .base import Binding
from .numpy import COPIED_BYTES, loop_call

_STORAGES = {storage: k for k, storage in enumerate((INPUT, CONSTANT, STATE, BUFFER, VIEW, PASSED))}
_NAMES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64".split()
_DTYPES = {np.dtype(name): k for k, name in enumerate(_NAMES)}


def described(
    plan: Plan,
) -> tuple[list[Any], list[Any], list[int], list[int], list[int], list[tuple[int, int]], int]:
    """Return a plan as integers and names, the arguments of the executor."""
    values = [
        (
            _STORAGES[v.storage],
            _DTYPES[v.dtype],
            v.root,
            v.offset,
            v.shape,
            v.strides,
            -1 if v.state is None else v.state,
        )
        for v in plan.values
    ]
    groups = []
    for step in plan.steps:
        if isinstance(step, Fused):
            types = [_DTYPES[d] for d in step.register_dtypes]
            groups.append((True, [_row(plan, s) for s in step.steps], dict(step.registers), types))
        else:
            groups.append((False, [_row(plan, step)], {}, []))
    return (
        values,
        groups,
        list(plan.inputs),
        list(plan.states),
        list(plan.outputs),
        list(plan.updates),
        plan.arena,
    )


def _bodies(plan: Plan) -> dict[str, Any]:
    """Return the bodies of a plan's loops, by step, as the argument that the executor takes; nothing for no loops."""
    found = {
        g: _native.LoopBody(*described(step.body), _constants(step.body), _bodies(step.body).get("bodies", {}))
        for g, step in enumerate(plan.steps)
        if isinstance(step, Loop)
    }
    return {"bodies": found} if found else {}


def _constants(plan: Plan) -> dict[int, tuple[int, int]]:
    return {v.number: _memory(v.array) for v in plan.values if v.array is not None}


def without_kernel(plan: Plan) -> list[int]:
    """Return the indices of the steps without a native kernel, which run through NumPy."""
    missing: list[int] = _native.without_kernel(*described(plan), **_bodies(plan))
    return missing


def _row(plan: Plan, step: Step) -> tuple[str, tuple[int, ...], int, tuple[int, ...]]:
    """Return a step with its attributes as integers, in the order that the native kernel expects."""
    values, op, attrs = plan.values, step.op, step.attrs
    if op.native is not None:
        numbers = op.native(values[step.output], *[values[i] for i in step.inputs], **attrs)
    else:
        axes = attrs.get("axis", ())
        numbers = axes if isinstance(axes, tuple) else (axes,)
    return op.name, step.inputs, step.output, tuple(numbers)


class NativeBinding(Binding):
    """A plan bound to memory of the native executor."""

    def __init__(self, plan: Plan, states: Sequence[Array] = (), threads: int | None = None) -> None:
        if len(states) != len(plan.states):
            raise ValueError(f"the plan has {len(plan.states)} states, {len(states)} arrays were given")
        self.plan = plan
        self._states = list(states)
        for k, (n, array) in enumerate(zip(plan.states, states, strict=True)):
            _check(f"state {k}", array, plan.values[n])
            if not array.flags.carray:
                raise ValueError(
                    f"state {k}: expected a writable C-ordered array; np.array(state, order='C') returns one"
                )
        own = weakref.ref(self)  # a strong reference from the callback would be a reference cycle

        def host(group: int) -> None:
            binding = own()
            assert binding is not None
            binding._calls[group]()

        rows, bodies, constants = described(plan), _bodies(plan), _constants(plan)
        memory, kept = [_memory(s) for s in states], list(plan.kept.values())
        most = threads or _native.default_threads()

        def program(left: list[int]) -> Any:
            return _native.Program(*rows, constants, memory, left, host, most, kept, **bodies)

        left: list[int] = []
        try:  # most plans leave nothing to NumPy; to ask first would check the plan twice
            self._program = program(left)
        except _native.PlanError:
            left = _native.without_kernel(*rows, **bodies)
            if not left:
                raise
            self._program = program(left)
        self._block = self._program.block()
        self._given: list[Array | None] = [None] * len(plan.inputs)
        self._arrays: dict[int, Array] = {}
        self._inputs = [self._array(n) for n in plan.inputs]
        self._calls: dict[int, Any] = {g: self._numpy_calls(plan.steps[g]) for g in left}

    @property
    def left_to_numpy(self) -> tuple[str, ...]:
        """The names of the operations that run through NumPy."""
        names = []
        for g in self._calls:
            step = self.plan.steps[g]
            names += [s.op.name for s in (step.steps if isinstance(step, Fused) else (step,))]
        return tuple(names)

    def _array(self, n: int) -> Array:
        """Return a value as an array that shares the memory of the executor."""
        if n not in self._arrays:
            value, root = self.plan.values[n], self.plan.values[self.plan.values[n].root]
            low, high = value.span
            state = self.plan.states.index(root.number) if root.storage == STATE else root.state
            owner = self._states[state] if state is not None else self._block if root.array is None else root.array
            holder = _Memory(owner, self._program.address(n) + low, max(high - low, 1))
            flat = np.asarray(holder)
            self._arrays[n] = np.ndarray(value.shape, value.dtype, flat, -low, value.strides)
        return self._arrays[n]

    def _numpy_calls(self, step: Step | Fused) -> Any:
        registers: Mapping[int, int] = step.registers if isinstance(step, Fused) else {}
        shape = step.shape if isinstance(step, Fused) else ()
        scratch = [np.empty(shape, d) for d in step.register_dtypes] if isinstance(step, Fused) else []
        calls = []
        for s in step.steps if isinstance(step, Fused) else (step,):
            arrays = [scratch[registers[i]] if i in registers else self._array(i) for i in (*s.inputs, s.output)]
            if isinstance(s, Loop):
                calls.append(loop_call(s, arrays[:-1], arrays[-1]))
                continue
            assert s.op.kernel is not None
            calls.append(partial(s.op.kernel, *arrays[:-1], out=arrays[-1], **s.attrs))

        def run() -> None:
            with np.errstate(all="ignore"):
                for call in calls:
                    call()

        return run

    def input_buffer(self, k: int) -> Array:
        """Return the buffer of input k, to be filled before a run."""
        if self._given[k] is not None:
            self._program.set_input(k, 0, 0)
            self._given[k] = None
        return self._inputs[k]

    def run(self, inputs: Sequence[Array | None] = ()) -> None:
        """Run the plan. An input that is None or omitted keeps its previous value."""
        if len(inputs) > len(self._inputs):
            raise ValueError(f"{len(inputs)} inputs were given, the plan has {len(self._inputs)}")
        for k, array in enumerate(inputs):
            if array is not None and array is not self._inputs[k]:
                self._give(k, array)
        self._program.run()

    def _give(self, k: int, array: Array) -> None:
        own = self._inputs[k]
        if array.shape != own.shape or array.dtype != own.dtype:
            _check(f"input {k}", array, self.plan.values[self.plan.inputs[k]])
        flags = array.flags
        readable = flags.c_contiguous and flags.aligned and type(array) is np.ndarray
        if own.nbytes > COPIED_BYTES and not self._calls and readable:
            self._program.set_input(k, *_memory(array))  # read without a copy
            self._given[k] = array
        else:
            np.copyto(self.input_buffer(k), array)

    def run_batches(
        self,
        rest: NativeBinding | None,
        X: Array,
        y: Array,
        order: Array,
        first: int,
        size: int,
        rows: int,
        results: Array,
        milliseconds: float,
    ) -> int:
        """Run one step per batch in the executor; see `Binding.run_batches`.

        The contents of inputs 0 and 1 are undefined afterwards: contiguous batches are read without a copy.
        """
        for binding in (self, *([rest] if rest else [])):
            if len(binding.plan.inputs) < 2:
                raise ValueError("run_batches: the plan has no inputs 0 and 1 to gather batches into")
            for k, data in enumerate((X, y)):
                own = binding.input_buffer(k)  # resets an input that was read without a copy
                if data.shape[1:] != own.shape[1:] or data.dtype != own.dtype or not data.flags.c_contiguous:
                    raise ValueError(
                        f"run_batches: data {k} has shape {data.shape}, {data.dtype}; expected C-ordered rows for an "
                        f"input of shape {own.shape}, {own.dtype}"
                    )
        if order.dtype != np.int64 or order.ndim != 1 or not (order.flags.c_contiguous and order.flags.aligned):
            raise ValueError(
                f"run_batches: order: expected a vector of int64, got {order.dtype} with {order.ndim} dimensions"
            )
        if results.dtype != np.float64 or not results.flags.carray:
            raise ValueError("run_batches: results: expected a writable C-ordered float64 array")
        made: int = self._program.run_batches(
            rest._program if rest else None,
            _memory(X),
            X.nbytes // max(len(X), 1),
            _memory(y),
            y.nbytes // max(len(y), 1),
            _memory(order),
            first,
            size,
            rows,
            _memory(results),
            milliseconds,
        )
        return made

    def timed(self, times: int = 1) -> list[float]:
        """Run `times` times on the current inputs; return the mean time of each step in nanoseconds."""
        return [t / times for t in self._program.run_timed(times)]

    def release(self) -> None:
        """Release arrays that the last run read without a copy."""
        for k, array in enumerate(self._given):
            if array is not None:
                self.input_buffer(k)

    def value(self, n: int) -> Array:
        """Return value n of the last run."""
        value = self.plan.values[n]
        root = self.plan.values[value.root]
        if root.storage == INPUT and self._given[self.plan.inputs.index(root.number)] is not None:
            given = self._given[self.plan.inputs.index(root.number)]
            assert given is not None
            return np.ndarray(value.shape, value.dtype, given.reshape(-1).view(np.uint8), value.start, value.strides)
        return self._array(n)


def _memory(array: Array) -> tuple[int, int]:
    """Return the address of an array and the number of bytes from its first to its last element."""
    if not array.size:
        return array.__array_interface__["data"][0] or 64, 0
    if array.flags.c_contiguous:
        return array.__array_interface__["data"][0], array.nbytes
    low = sum(min(0, (d - 1) * s) for d, s in zip(array.shape, array.strides, strict=True))
    high = sum(max(0, (d - 1) * s) for d, s in zip(array.shape, array.strides, strict=True))
    assert low == 0, "an array with negative strides"
    return array.__array_interface__["data"][0], high + array.itemsize


def _check(what: str, array: Array, value: Value) -> None:
    if array.shape != value.shape or array.dtype != value.dtype:
        raise ValueError(
            f"{what} has shape {array.shape}, {array.dtype}; the plan was made for shape {value.shape}, {value.dtype}"
        )


class _Memory:
    """Bytes at an address, with a reference to the object that owns them."""

    def __init__(self, owner: Any, address: int, nbytes: int) -> None:
        self._owner = owner
        self.__array_interface__ = {"shape": (nbytes,), "typestr": "|u1", "data": (address, False), "version": 3}


def instruction_set() -> str:
    """Return the instruction set that the native kernels use."""
    return str(_native.instruction_set())


def default_threads() -> int:
    """Return the number of threads that the process may use."""
    return int(_native.default_threads())


blocking.apply()
