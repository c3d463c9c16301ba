"""Traces: recordings in which tensors have no values, and the state that a traced function reads and changes.

While a function is traced, a module or a generator of random numbers is replaced by a stand-in: a copy whose arrays are
inputs of the plan. What the function assigns to it is the new state, which is stored in the original after each run.
So no original ever holds a traced tensor because of a trace, not even after an error.
"""

from __future__ import annotations

import types
from collections.abc import Iterable
from contextvars import Token
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from .node import TRACE, Recording
from .op import Array
from .reverse import topological
from .tensor import Parameter, Tensor, traced_leaf


class Holder:
    """An object with arrays that a call may replace: they are in its ``__dict__`` under the names in ``_buffers``."""

    _buffers: dict[str, Array]
    _unread: tuple[str, ...] = ()  # attributes that a trace does not depend on

    def _twin(self, trace: Trace) -> Holder:
        """Return the copy that stands in for this object in a trace; `Trace.copied` makes it."""
        return trace.copied(self)


@dataclass(eq=False)
class State:
    """An array of an object outside, as a trace reads it."""

    owner: Holder
    name: str
    leaf: Tensor
    twin: Holder

    def read(self) -> Any:
        """Return the current array."""
        return self.owner.__dict__[self.name]

    def write(self, value: Array) -> None:
        """Store a new array."""
        self.owner.__dict__[self.name] = value

    @property
    def new(self) -> Any:
        """What the traced function has made of it; the leaf itself if it was only read."""
        return self.twin.__dict__[self.name]


#: A twin, the name of an array of its, and the array.
Replaced: TypeAlias = tuple[Holder, str, Any]


def put_back(arrays: Iterable[Replaced]) -> None:
    """Let twins have these arrays."""
    for twin, name, array in arrays:
        twin.__dict__[name] = array


class Trace(Recording):
    """The recording of a function whose arguments have shapes and dtypes but no values."""

    __slots__ = ("_before", "_known", "_tokens", "originals", "parameters", "pinned", "states", "twins")
    traces = True

    def __init__(self, purpose: str) -> None:
        super().__init__(purpose)
        self.states: list[State] = []
        self.twins: dict[int, Holder] = {}  # by the id of an original, and of each twin
        self.originals: list[tuple[Holder, Holder, dict[str, Any]]] = []  # original, twin, the twin's first attributes
        self.parameters: dict[int, Parameter] = {}  # those whose values the function has looked at
        self.pinned: dict[int, Any] = {}  # position of an argument -> its value, which the function has looked at
        self._known: dict[int, tuple[int, Array]] = {}  # id of a leaf -> position and value of the argument
        self._tokens: list[Token[Any]] = []

    def __enter__(self) -> Trace:
        self._tokens.append(TRACE.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        self.active = False
        TRACE.reset(self._tokens.pop())

    def argument(self, position: int, array: Array, weak: bool = False) -> Tensor:
        """Return the leaf of an argument."""
        leaf = traced_leaf(array.shape, array.dtype, frozenset({self}), weak=weak)
        if array.shape == () and array.dtype.kind in "iub":
            self._known[id(leaf)] = position, array
        return leaf

    # -- state outside -------------------------------------------------------------------------------------------------

    def twin(self, holder: Any) -> Any:
        """Return what stands in for an object outside; a twin stands for itself."""
        found = self.twins.get(id(holder))
        return holder._twin(self) if found is None else found

    def method(self, f: Any) -> Any:
        """Return a method of an object outside as the method of what stands in for it; any other function as it is."""
        owner = f.__self__ if isinstance(f, types.MethodType) else None
        return types.MethodType(f.__func__, self.twin(owner)) if isinstance(owner, Holder) else f

    def copied(self, holder: Holder) -> Holder:
        """Return a copy of an object whose arrays are inputs of the trace; it shares everything else."""
        twin: Holder = object.__new__(type(holder))
        self.twins[id(holder)] = self.twins[id(twin)] = twin
        twin.__dict__.update(holder.__dict__)
        for name in holder._buffers:
            twin.__dict__[name] = self.read(holder, name, twin)
        self.originals.append((holder, twin, dict(twin.__dict__)))
        return twin

    def read(self, owner: Holder, name: str, twin: Holder) -> Any:
        """Return the leaf of an array of an object outside."""
        array = owner.__dict__[name]
        if isinstance(array, Tensor):  # the object is part of an outer trace
            return array
        leaf = traced_leaf(array.shape, array.dtype, frozenset({self}))
        self.states.append(State(owner, name, leaf, twin))
        return leaf

    def changed(self) -> list[State]:
        """Return the states that the function has replaced."""
        return [s for s in self.states if s.new is not s.leaf and s.twin is not s.owner]

    def buffers(self) -> list[Replaced]:
        """Return the arrays of all twins as they are now: the twin, the array's name and what it is."""
        twins = {id(twin): twin for twin in self.twins.values()}
        return [(twin, name, twin.__dict__[name]) for twin in twins.values() for name in twin._buffers]

    def replaced(self, before: list[Replaced]) -> list[Replaced]:
        """Return the arrays of twins that were replaced since `before`, also of twins made since then."""
        known = {(id(twin), name): (twin, name, array) for twin, name, array in before}
        made = {(id(s.twin), s.name): (s.twin, s.name, s.leaf) for s in self.states if s.twin is not s.owner}
        return [entry for entry in (made | known).values() if entry[0].__dict__[entry[1]] is not entry[2]]

    def hand_back(self) -> None:
        """Store in the originals what the function has assigned to other attributes of their twins."""
        for original, twin, first in self.originals:
            for name, value in twin.__dict__.items():
                if name not in original._buffers and (name not in first or value is not first[name]):
                    setattr(original, name, value)

    # -- values that a function looks at -------------------------------------------------------------------------------

    def value_of(self, tensor: Tensor) -> Array | None:
        """Return a value that depends on integer arguments alone; the trace then holds for these integers only."""
        values: dict[int, Any] = {}
        pinned = {}
        for node in topological([tensor]):
            if node.value is not None:
                values[id(node)] = node.value
            elif id(node) in self._known:
                position, values[id(node)] = self._known[id(node)]
                pinned[position] = values[id(node)].item()
            elif node.op is None:
                return None
            else:
                values[id(node)] = node.op.evaluate(*[values[id(x)] for x in node.inputs], **node.attrs)
        self.pinned |= pinned
        return np.asarray(values[id(tensor)])

    def looked_at(self, tensor: Tensor) -> None:
        """Note that the function has read a value: on which parameters it depends."""
        for node in topological([tensor]):
            if isinstance(node, Parameter) and node.value is not None:
                self.parameters[id(node)] = node
