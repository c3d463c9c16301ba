"""The native engine: hands a plan to the C++ executor, which runs it without Python.

Steps that the executor has no kernel for run through their row's NumPy kernel, in their place.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..core.op import Array
from ..plan.model import BUFFER, CONSTANT, INPUT, PASSED, STATE, VIEW, Fused, Plan, Step, Value
from . import _native
from .base import Binding
from .numpy import COPIED_BYTES

_STORAGES = (INPUT, CONSTANT, STATE, BUFFER, VIEW, PASSED)
_DTYPES = tuple(np.dtype(n) for n in "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64".split())


def described(
    plan: Plan,
) -> tuple[list[Any], list[Any], list[int], list[int], list[int], list[tuple[int, int]], int]:
    """Return a plan as the executor takes it: numbers and names."""
    values = [
        (
            _STORAGES.index(v.storage),
            _DTYPES.index(v.dtype),
            v.root,
            v.offset,
            list(v.shape),
            list(v.strides),
            -1 if v.state is None else v.state,
        )
        for v in plan.values
    ]
    groups = []
    for step in plan.steps:
        if isinstance(step, Fused):
            types = [_DTYPES.index(d) for d in step.register_dtypes]
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


def without_kernel(plan: Plan) -> list[int]:
    """Return the numbers of the steps that the executor has no kernel for: they run through NumPy."""
    missing: list[int] = _native.without_kernel(*described(plan))
    return missing


def _row(plan: Plan, step: Step) -> tuple[str, list[int], int, list[int]]:
    """Return a step with its attributes as integers, in the order that the executor's kernel reads them."""
    values, op, attrs = plan.values, step.op, step.attrs
    if op.native is not None:
        numbers = op.native(values[step.output], *[values[i] for i in step.inputs], **attrs)
    else:
        axes = attrs.get("axis", ())
        numbers = axes if isinstance(axes, tuple) else (axes,)
    return op.name, list(step.inputs), step.output, list(numbers)


class NativeBinding(Binding):
    """A plan bound to the executor's memory."""

    def __init__(self, plan: Plan, states: Sequence[Array] = (), threads: int | None = None) -> None:
        if len(states) != len(plan.states):
            raise ValueError(f"the plan has {len(plan.states)} states, {len(states)} arrays were given")
        self.plan = plan
        self._states = list(states)
        for k, (n, array) in enumerate(zip(plan.states, states, strict=True)):
            _check(f"state {k}", array, plan.values[n])
            if not array.flags.carray:
                raise ValueError(
                    f"state {k} is not a C-ordered array that can be written; np.array(state, order='C') makes one"
                )
        rows = described(plan)
        self._calls: dict[int, Any] = dict.fromkeys(_native.without_kernel(*rows))
        own = weakref.ref(self)  # the program calls back, but must not keep what keeps it

        def host(group: int) -> None:
            binding = own()
            assert binding is not None
            binding._calls[group]()

        constants = {v.number: _memory(v.array) for v in plan.values if v.array is not None}
        self._program = _native.Program(
            *rows,
            constants,
            [_memory(s) for s in states],
            list(self._calls),
            host,
            threads or _native.default_threads(),
            list(plan.kept.values()),
        )
        self._block = self._program.block()
        self._given: list[Array | None] = [None] * len(plan.inputs)
        self._arrays: dict[int, Array] = {}
        self._inputs = [self._array(n) for n in plan.inputs]
        for g in self._calls:
            self._calls[g] = self._numpy_calls(plan.steps[g])

    @property
    def left_to_numpy(self) -> tuple[str, ...]:
        """The operations of this plan that run through NumPy."""
        names = []
        for g in self._calls:
            step = self.plan.steps[g]
            names += [s.op.name for s in (step.steps if isinstance(step, Fused) else (step,))]
        return tuple(names)

    def _array(self, n: int) -> Array:
        """Return a value as an array over the executor's memory."""
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
            assert s.op.kernel is not None
            calls.append(partial(s.op.kernel, *arrays[:-1], out=arrays[-1], **s.attrs))

        def run() -> None:
            with np.errstate(all="ignore"):
                for call in calls:
                    call()

        return run

    def input_buffer(self, k: int) -> Array:
        """Return the memory of input k, to be filled before a run."""
        if self._given[k] is not None:
            self._program.set_input(k, 0, 0)
            self._given[k] = None
        return self._inputs[k]

    def run(self, inputs: Sequence[Array | None] = ()) -> None:
        """Run the plan. None, or nothing, for an input leaves it as it was."""
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
            self._program.set_input(k, *_memory(array))  # read where it lies
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
        """Run the steps of `rows` rows of an order, gathering each batch, without Python; return how many were made.

        What inputs 0 and 1 hold afterwards is open: batches that lie in a row are read where they are.
        """
        for binding in (self, *([rest] if rest else [])):
            if len(binding.plan.inputs) < 2:
                raise ValueError("run_batches: the plan has no inputs 0 and 1 to gather batches into")
            for k, data in enumerate((X, y)):
                own = binding.input_buffer(k)  # not where an earlier run read it
                if data.shape[1:] != own.shape[1:] or data.dtype != own.dtype or not data.flags.c_contiguous:
                    raise ValueError(
                        f"run_batches: data {k} has shape {data.shape}, {data.dtype}; its C-ordered rows must be "
                        f"those of the input, which has shape {own.shape}, {own.dtype}"
                    )
        if order.dtype != np.int64 or order.ndim != 1 or not (order.flags.c_contiguous and order.flags.aligned):
            raise ValueError(
                f"run_batches: order: expected a vector of int64, got {order.dtype} with {order.ndim} dimensions"
            )
        if results.dtype != np.float64 or not results.flags.carray:
            raise ValueError("run_batches: the results are no C-ordered float64 array that can be written")
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
        """Run `times` times on the inputs as they are; return the nanoseconds that each step took, on average."""
        return [t / times for t in self._program.run_timed(times)]

    def release(self) -> None:
        """Let go of arrays that the last run read where they are."""
        for k, array in enumerate(self._given):
            if array is not None:
                self.input_buffer(k)

    def value(self, n: int) -> Array:
        """Return value n as the last run left it."""
        value = self.plan.values[n]
        root = self.plan.values[value.root]
        if root.storage == INPUT and self._given[self.plan.inputs.index(root.number)] is not None:
            given = self._given[self.plan.inputs.index(root.number)]
            assert given is not None
            return np.ndarray(value.shape, value.dtype, given.reshape(-1).view(np.uint8), value.start, value.strides)
        return self._array(n)


def _memory(array: Array) -> tuple[int, int]:
    """Return where an array lies and how many bytes its elements span."""
    if not array.size:
        return array.__array_interface__["data"][0] or 64, 0
    if array.flags.c_contiguous:
        return array.__array_interface__["data"][0], array.nbytes
    low = sum(min(0, (d - 1) * s) for d, s in zip(array.shape, array.strides, strict=True))
    high = sum(max(0, (d - 1) * s) for d, s in zip(array.shape, array.strides, strict=True))
    assert low == 0, "memory that begins before its first element"
    return array.__array_interface__["data"][0], high + array.itemsize


def _check(what: str, array: Array, value: Value) -> None:
    if array.shape != value.shape or array.dtype != value.dtype:
        raise ValueError(
            f"{what} has shape {array.shape}, {array.dtype}; the plan was made for shape {value.shape}, {value.dtype}"
        )


class _Memory:
    """Bytes at an address, kept alive by what owns them."""

    def __init__(self, owner: Any, address: int, nbytes: int) -> None:
        self._owner = owner
        self.__array_interface__ = {"shape": (nbytes,), "typestr": "|u1", "data": (address, False), "version": 3}


def instruction_set() -> str:
    """Return the instruction set that the executor's kernels use."""
    return str(_native.instruction_set())


def default_threads() -> int:
    """Return how many threads the process may use."""
    return int(_native.default_threads())
