"""What a plan is: numbered values, each with its storage, and steps over them. Immutable and printable.

A plan holds all that an engine needs: where every value lies (which root, at what offset, with which strides), which
operation makes it, and the programs of fused elementwise chains over registers.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..core.op import Array, Operation, Shape

INPUT, CONSTANT, STATE, BUFFER, VIEW, PASSED = "input", "constant", "state", "buffer", "view", "register"
ALIGNMENT = 64


class Value(NamedTuple):
    """One value of a plan: a tuple, because large plans have very many.

    Attributes
    ----------
    number : int
        Its place in ``plan.values``.
    storage : str
        ``input`` (given at each run), ``constant``, ``state`` (kept from run to run), ``buffer`` (in the arena),
        ``view`` (memory of another value), ``register`` (exists only inside one fused step).
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
        Its names.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> plan = cr.compile(lambda x: x[1:]).plan(np.zeros(4))
    >>> [(v.storage, v.shape, v.offset) for v in plan.values]
    [('input', (4,), 0), ('view', (3,), 8)]
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
    def value(self) -> Array | None:
        """A constant's content: shape rules read it under the name that it has in nodes."""
        return self.array

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, without gaps."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def start(self) -> int:
        """Bytes from the root's first element to this value's."""
        return self.offset if self.storage == VIEW else 0

    @property
    def span(self) -> tuple[int, int]:
        """First and one past the last byte of the elements, relative to the first element."""
        if 0 in self.shape:
            return 0, 0
        first, last = 0, self.dtype.itemsize
        for d, stride in zip(self.shape, self.strides, strict=True):
            if stride < 0:
                first += (d - 1) * stride
            else:
                last += (d - 1) * stride
        return first, last

    def same_layout(self, other: Value) -> bool:
        """Whether both have each element at the same place of their root."""
        if self.shape != other.shape or self.strides != other.strides:
            return False
        return self.start == other.start and self.dtype == other.dtype

    def __str__(self) -> str:
        return f"%{self.number}"


@dataclass(frozen=True)
class Step:
    """One operation: ``values[output] = op(*values[inputs])``.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> (step,) = cr.compile(lambda x: np.sum(x)).plan(np.zeros(4)).steps
    >>> step.op, step.inputs, step.output, step.attrs
    (<operation sum>, (0,), 1, {'axis': (0,), 'keepdims': False})
    """

    op: Operation
    inputs: tuple[int, ...]
    output: int
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Loop(Step):
    """A loop: its operation runs a plan once per step.

    The inputs are those of the operation: the first carries, the stacked inputs, and what is the same in all steps.

    Attributes
    ----------
    body : Plan
        Of one step. Its states are the carries, its inputs the slices of the stacked inputs and the rest; its outputs
        are the values that are stacked.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> running = cr.compile(lambda x: cr.scan(lambda total, x: (total + x, total), 0.0, x)[1])
    >>> [step.op.name for step in running.plan(np.ones(5)).steps[0].body.operations]
    ['identity', 'add']
    """

    body: Plan = field(kw_only=True)

    @property
    def carries(self) -> tuple[int, ...]:
        """The values that the carries start with."""
        return self.inputs[: len(self.body.states)]

    @property
    def stacked(self) -> tuple[int, ...]:
        """The stacked inputs."""
        return self.inputs[len(self.carries) : len(self.carries) + len(self.attrs["body"].xs)]

    @property
    def constants(self) -> tuple[int, ...]:
        """The inputs that are the same in all steps."""
        return self.inputs[len(self.carries) + len(self.stacked) :]


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
        The dtype of each register; a register is reused when its value is no longer needed.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> (fused,) = cr.compile(lambda x: np.exp(-x)).plan(np.zeros(4)).steps
    >>> [step.op.name for step in fused.steps], fused.registers
    (['negative', 'exp'], {1: 0})
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
    through_numpy : frozenset of int
        Numbers of the steps that the native engine has no kernel for, where it was asked; for printing.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> print(cr.compile(lambda x: np.sum(np.exp(-x)), engine="numpy").plan(np.zeros(3)))
    plan of <lambda>: 2 steps, 3 operations, 0.1 KiB of buffers, 9 flops
      inputs    %0: 3 float64
      fused over 3, 1 register
        r0   = negative(%0)                                      float64
        %2   = exp(r0)                                           float64 @0
      %3   = sum(%2, axis=(0,))                                  scalar float64 @64
      outputs   %3: scalar float64
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
    through_numpy: frozenset[int] = frozenset()

    @property
    def results(self) -> tuple[int, ...]:
        """All values that are read after the last step: outputs, kept values and updates."""
        return (*self.outputs, *self.kept.values(), *(value for _, value in self.updates))

    @property
    def operations(self) -> tuple[Step, ...]:
        """All operations, those inside fused steps too, in order."""
        return tuple(s for step in self.steps for s in (step.steps if isinstance(step, Fused) else (step,)))

    @property
    def flops(self) -> int:
        """Floating-point operations of one run."""
        total = 0
        for s in self.operations:
            if isinstance(s, Loop):
                total += s.attrs["body"].length * s.body.flops
            elif s.op.flops is not None:
                shapes = [self.values[i].shape for i in s.inputs]
                total += s.op.flops(self.values[s.output].shape, *shapes, **s.attrs)
        return total

    def labels(self) -> list[str]:
        """Return one line for each step: its operations and the shapes of what it reads and makes."""
        lines = []
        for step in self.steps:
            names = " ".join(s.op.name for s in (step.steps if isinstance(step, Fused) else (step,)))
            read = ", ".join(_shape(self.values[i].shape) for i in step.inputs)
            made = step.outputs if isinstance(step, Fused) else (step.output,)
            lines.append(f"{names}: {read} -> {', '.join(_shape(self.values[i].shape) for i in made)}")
        return lines

    def __str__(self) -> str:
        v, through_numpy = self.values, self.through_numpy
        lines = [
            f"plan of {self.name}: {len(self.steps)} steps, {len(self.operations)} operations, "
            f"{_bytes(self.arena)} of buffers, {self.flops:,} flops"
        ]
        lines += _listed("inputs", [_typed(v[i]) for i in self.inputs])
        lines += _listed("states", [_typed(v[i]) for i in self.states])
        lines += _listed("constants", [_typed(x) + _content(x) for x in v if x.storage == CONSTANT])
        for g, step in enumerate(self.steps):
            notes = ["through NumPy"] if g in through_numpy else []
            if isinstance(step, Fused):
                n = len(step.register_dtypes)
                line = f"  fused over {_shape(step.shape)}" + (f", {n} register{'s' * (n > 1)}" if n else "")
                lines.append(line + _note(notes))
                lines += [self._line(s, "    ", step) for s in step.steps]
            else:
                lines.append(self._line(step, "  ", None, notes))
                if isinstance(step, Loop):
                    lines += textwrap.indent(str(step.body), "    ").splitlines()
        for state, value in self.updates:
            if v[value].state != state:
                lines.append(f"  %{self.states[state]} <- copy of {self._operand(value, {})}")
        lines += _listed(
            "outputs", [f"{self._operand(i, {})}: {_shape(v[i].shape)} {v[i].dtype}" for i in self.outputs]
        )
        lines += _listed("kept", [f"{name} = {self._operand(i, {})}" for name, i in self.kept.items()])
        if through_numpy:
            lines.append(f"  {len(through_numpy)} of {len(self.steps)} steps through NumPy in the native engine")
        return "\n".join(lines)

    def _line(self, step: Step, indent: str, fused: Fused | None, notes: Sequence[str] = ()) -> str:
        out = self.values[step.output]
        registers = fused.registers if fused is not None else {}
        args = ", ".join([*(self._operand(i, registers) for i in step.inputs), *_attrs(step.attrs)])
        target = f"r{registers[step.output]}" if step.output in registers else str(out)
        if out.state is not None:
            target = str(self.values[self.states[out.state]])
        text = f"{indent}{target:<4} = {step.op.name}({args})"
        kind = f"{_shape(out.shape)} {out.dtype}" if fused is None else str(out.dtype)
        notes = [*notes, *(["in place"] if out.state is not None else [])]
        if out.names:
            notes.append(", ".join(out.names))
        place = f" @{out.offset}" if out.storage == BUFFER and out.state is None else ""
        return f"{text:<60} {kind}{place}" + _note(notes)

    def _operand(self, number: int, registers: Mapping[int, int]) -> str:
        if number in registers:
            return f"r{registers[number]}"
        x = self.values[number]
        root = self.values[x.root]
        name = str(root) if root.state is None else f"%{self.states[root.state]}"
        if x.storage == VIEW:
            return name + (".T" if _is_transposed(x, root) else f"[{_shape(x.shape)}]")
        return name


def _note(parts: Sequence[str]) -> str:
    return f"  # {'; '.join(parts)}" if parts else ""


def contiguous_strides(shape: Shape, itemsize: int) -> tuple[int, ...]:
    """Return the strides of a C-ordered array."""
    if len(shape) < 2:
        return (itemsize,) * len(shape)
    if len(shape) == 2:
        return itemsize * max(shape[1], 1), itemsize
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
    if x.array is None or x.array.size == 0:
        return ""
    first = x.array[(0,) * x.array.ndim]
    spread = x.array.size == 1 or not any(x.array.strides)
    return f" = {first:.6g}" if spread else ""


def _listed(title: str, items: Iterable[str]) -> list[str]:
    """Return a title and what belongs to it, over as many lines as it takes; nothing for nothing."""
    text = ", ".join(items)
    if not text:
        return []
    return textwrap.wrap(text, 100, initial_indent=f"  {title:<10}", subsequent_indent=" " * 12, break_long_words=False)


def _attrs(attrs: Mapping[str, Any]) -> list[str]:
    return [f"{k}={_short(x)}" for k, x in attrs.items() if x is not False]


def _short(x: Any) -> str:
    """Return a static attribute as short text: slices as in an index, arrays by their shape."""
    if isinstance(x, slice):
        parts = ["" if p is None else str(p) for p in (x.start, x.stop, x.step)]
        return ":".join(parts if x.step is not None else parts[:2])
    if isinstance(x, tuple | list):
        text = "(" + ", ".join(map(_short, x)) + ("," if len(x) == 1 else "") + ")"
    elif isinstance(x, np.ndarray):
        return f"array of {_shape(x.shape)}"
    else:
        text = "..." if x is Ellipsis else str(x)
    return text if len(text) <= 40 else text[:37] + "..."


def _bytes(n: int) -> str:
    return f"{n / 2**20:.1f} MiB" if n >= 2**20 else f"{n / 1024:.1f} KiB"
