"""Copies of modules that share all objects with the original except the parameters and buffers that are replaced."""

from __future__ import annotations

import types
from typing import Any, TypeAlias

from ..core.tensor import Parameter, Tensor
from ..core.trace import Holder, Trace

Swap: TypeAlias = dict[int, Tensor]  # id of a parameter -> what stands for it
States: TypeAlias = dict[tuple[int, str], Any]  # (id of a module, buffer) -> what stands for it


class Nested(Holder):
    """A holder whose attributes, also within containers, may be other holders of this kind."""

    def _twin(self, trace: Trace) -> Holder:
        twin: Holder = Twins({}, {}, trace, lasting=True).of(self)
        return twin


_REPLACEABLE = (Parameter, Nested, list, tuple, dict, types.MethodType)


class Twins:
    """Makes copies of modules; what is shared between the originals stays shared.

    Parameters
    ----------
    swap, states
        What replaces parameters and buffers.
    trace : Trace or None
        The trace being recorded: buffers that `states` does not replace become inputs of it.
    lasting : bool
        Whether the trace stores what is assigned to the copies in the originals.
    """

    def __init__(self, swap: Swap, states: States, trace: Trace | None, *, lasting: bool = False) -> None:
        self.swap, self.states, self.trace, self.lasting = swap, states, trace, lasting
        self.made: dict[int, Holder] = {} if trace is None or not lasting else trace.twins

    def of(self, holder: Any) -> Any:
        """Return the copy of a module, made on first use."""
        if id(holder) in self.made:
            return self.made[id(holder)]
        twin: Holder = object.__new__(type(holder))
        self.made[id(holder)] = twin
        for name, value in holder.__dict__.items():
            if (id(holder), name) in self.states:
                value = self.states[id(holder), name]
            elif name in holder._buffers:
                if self.trace is not None:
                    value = self.trace.read(holder, name, twin if self.lasting else holder)
            elif isinstance(value, _REPLACEABLE):
                value = self.swapped(value)
            twin.__dict__[name] = value
        if self.trace is not None:
            self.trace.twins[id(twin)] = twin
            if self.lasting:
                self.trace.originals.append((holder, twin, dict(twin.__dict__)))
        return twin

    def swapped(self, value: Any) -> Any:
        """Return an attribute with everything replaced in it, the same object if there is nothing to replace."""
        if isinstance(value, Parameter):
            return self.swap.get(id(value), value)
        if isinstance(value, Nested):
            return self.of(value)
        if isinstance(value, types.MethodType):  # self.act = self.relu: bound to the twin
            owner = value.__self__
            if isinstance(owner, Nested):
                return types.MethodType(value.__func__, self.of(owner))
        if isinstance(value, dict):
            items = {k: self.swapped(v) for k, v in value.items()}
            return items if any(items[k] is not v for k, v in value.items()) else value
        if isinstance(value, (list, tuple)):
            parts = [self.swapped(v) for v in value]
            if all(a is b for a, b in zip(parts, value, strict=True)):
                return value
            if isinstance(value, list):
                return parts
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        return value
