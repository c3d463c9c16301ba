"""What a plan is: numbered values, each with its storage, and steps over them. Immutable and printable.

A plan holds all that an engine needs: where every value lies (which root, at what offset, with which strides), which
operation makes it, and the programs of fused elementwise chains over registers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..op import Array, Operation, Shape

INPUT, CONSTANT, STATE, BUFFER, VIEW, PASSED = "input", "constant", "state", "buffer", "view", "register"
ALIGNMENT = 64


@dataclass(frozen=True)
class Value:
    """One value of a plan.

    Attributes
    ----------
    number : int
        Its place in ``plan.values``.
    storage : str
        ``input`` (given at each run), ``constant``, ``state`` (kept from run to run), ``buffer`` (in the arena), ``view``
        (memory of another value), ``register`` (exists only inside one fused step).
    root : int
        The value whose memory this one uses; itself unless it is a view.
    offset : int
        Bytes from the root's first element; for buffers, bytes from the start of the arena.
    strides : tuple of int
        Bytes from element to element along each axis.
    array : numpy.ndarray or None
        A constant's content.
    state : int or None
        For the new value of a state, written in place: which state.
    names : tuple of str
        What it is called.
    """

    number: int
    shape: Shape
    dtype: np.dtype[Any]
    storage: str
    root: int
    offset: int
    strides: tuple[int, ...]
    array: Array | None = None
    state: int | None = None
    names: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, without gaps."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"%{self.number}"


@dataclass(frozen=True)
class Step:
    """One operation: ``values[output] = op(*values[inputs])``."""

    op: Operation
    inputs: tuple[int, ...]
    output: int
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fused:
    """A chain of elementwise operations of one shape, meant to run tile by tile.

    Attributes
    ----------
    shape : tuple of int
        The shape all of them have.
    steps : tuple of Step
        In order. Their inputs and outputs number values; outputs whose storage is ``register`` never reach memory.
    registers : mapping from value number to register number
    register_dtypes : tuple of dtype
        The dtype of each register; a register is reused when its value is dead.
    """

    shape: Shape
    steps: tuple[Step, ...]
    registers: Mapping[int, int]
    register_dtypes: tuple[np.dtype[Any], ...]

    @property
    def inputs(self) -> tuple[int, ...]:
        """Values read from outside."""
        made = {s.output for s in self.steps}
        return tuple(dict.fromkeys(i for s in self.steps for i in s.inputs if i not in made))

    @property
    def outputs(self) -> tuple[int, ...]:
        """Values written to memory."""
        return tuple(s.output for s in self.steps if s.output not in self.registers)


@dataclass(frozen=True)
class Plan:
    """An immutable list of steps over numbered values.

    Attributes
    ----------
    values : tuple of Value
    steps : tuple of Step or Fused
    inputs, states, outputs : tuple of int
        Value numbers, in the order of the function's leaves.
    updates : tuple of (int, int)
        (state number, value number): what each state becomes at the end of a run. Updates whose value is written in
        place need no copy.
    kept : mapping from name to value number
    arena : int
        Bytes that all buffers need together.
    name : str
        Of the function.
    """

    values: tuple[Value, ...]
    steps: tuple[Step | Fused, ...]
    inputs: tuple[int, ...]
    states: tuple[int, ...]
    outputs: tuple[int, ...]
    updates: tuple[tuple[int, int], ...]
    kept: Mapping[str, int]
    arena: int
    name: str = "function"

    @property
    def operations(self) -> tuple[Step, ...]:
        """All operations, those inside fused steps too, in order."""
        return tuple(s for step in self.steps for s in (step.steps if isinstance(step, Fused) else (step,)))

    @property
    def flops(self) -> int:
        """Floating-point operations of one run."""
        total = 0
        for s in self.operations:
            if s.op.flops is not None:
                shapes = [self.values[i].shape for i in s.inputs]
                total += s.op.flops(self.values[s.output].shape, *shapes, **s.attrs)
        return total

    def __str__(self) -> str:
        v = self.values
        lines = [
            f"plan of {self.name}: {len(self.steps)} steps, {len(self.operations)} operations, "
            f"{_bytes(self.arena)} of buffers, {self.flops:,} flops"
        ]
        for title, numbers in (("inputs", self.inputs), ("states", self.states)):
            if numbers:
                lines.append(f"  {title:<8}" + ", ".join(_typed(v[i]) for i in numbers))
        constants = [x for x in v if x.storage == CONSTANT and x.root == x.number]
        if constants:
            lines.append("  constant" + ", ".join(f" {_typed(x)}{_content(x)}" for x in constants))
        for step in self.steps:
            if isinstance(step, Fused):
                lines.append(f"  fused over {_shape(step.shape)}, {len(step.register_dtypes)} registers")
                lines += [self._line(s, "    ", step.registers) for s in step.steps]
            else:
                lines.append(self._line(step, "  ", {}))
        for state, value in self.updates:
            in_place = v[value].state == state
            lines.append(f"  %{self.states[state]} <- %{value}" + ("  (written in place)" if in_place else ""))
        lines.append("  outputs " + ", ".join(_typed(v[i]) for i in self.outputs))
        if self.kept:
            lines.append("  kept    " + ", ".join(f"{name} = %{i}" for name, i in self.kept.items()))
        return "\n".join(lines)

    def _line(self, step: Step, indent: str, registers: Mapping[int, int]) -> str:
        v = self.values
        args = ", ".join(self._operand(i, registers) for i in step.inputs)
        attrs = "".join(f", {k}={x}" for k, x in step.attrs.items())
        out = v[step.output]
        target = f"r{registers[step.output]}" if step.output in registers else str(out)
        where = "" if step.output in registers else f"  {_place(out)}"
        names = f"  # {', '.join(out.names)}" if out.names else ""
        return f"{indent}{target:<5}= {step.op.name}({args}{attrs}) : {_shape(out.shape)} {out.dtype}{where}{names}"

    def _operand(self, number: int, registers: Mapping[int, int]) -> str:
        if number in registers:
            return f"r{registers[number]}"
        x = self.values[number]
        if x.storage == VIEW:
            return f"%{x.root}" + (".T" if _is_transposed(x, self.values[x.root]) else f"[view {_shape(x.shape)}]")
        return str(x)


def contiguous_strides(shape: Shape, itemsize: int) -> tuple[int, ...]:
    """Return the strides of a C-ordered array."""
    strides = []
    step = itemsize
    for d in reversed(shape):
        strides.append(step)
        step *= max(d, 1)
    return tuple(reversed(strides))


def _is_transposed(x: Value, root: Value) -> bool:
    return x.shape == root.shape[::-1] and x.strides == root.strides[::-1] and x.offset == 0 and len(x.shape) > 1


def _shape(shape: Shape) -> str:
    return "×".join(map(str, shape)) if shape else "scalar"


def _typed(x: Value) -> str:
    names = f" {'/'.join(x.names)}" if x.names else ""
    return f"%{x.number}{names}: {_shape(x.shape)} {x.dtype}"


def _content(x: Value) -> str:
    return f" = {x.array.item():.6g}" if x.array is not None and x.array.size == 1 else ""


def _place(x: Value) -> str:
    if x.state is not None:
        return f"@state {x.state}"
    return f"@{x.offset}" if x.storage == BUFFER else ""


def _bytes(n: int) -> str:
    return f"{n / 2**20:.1f} MiB" if n >= 2**20 else f"{n / 1024:.1f} KiB"
