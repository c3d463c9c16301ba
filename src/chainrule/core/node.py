"""The node of the graph: an operation applied to inputs, and the recordings that depend on it.

Everything else in the library reads the graph of these nodes. What a node does as an array is in `operators`,
`methods`, `conversion` and `dispatch`, which `tensor` puts together.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np

from . import habits
from .op import Array, Operation, Shape
from .registry import Registry

#: NumPy function -> implementation on tensors. Filled by ``chainrule.ops``; operators and both protocols read it.
FUNCTIONS: Registry[Any, Callable[..., Any]] = Registry()


class StaleTensorError(TypeError, ValueError):
    """A tensor without a value is used after the trace that it belongs to."""


class Recording:
    """One derivative or trace being taken.

    Tensors carry the recordings they depend on, so that no tensor turns into a plain array while a derivative
    through it is still being taken. A recording is closed when the call that opened it returns.
    """

    __slots__ = ("active", "nested", "purpose")

    traces = False  # whether its tensors have no values

    def __init__(self, purpose: str) -> None:
        self.purpose: str = purpose
        self.active: bool = True
        self.nested: bool = False

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.active = False

    def value_of(self, tensor: Any) -> Array | None:
        """Return the value of a tensor without one, if a trace can provide it."""
        return None


#: The innermost trace (`chainrule.core.trace.Trace`) of this thread, if any.
TRACE: ContextVar[Any] = ContextVar("the trace being recorded", default=None)

#: The recording of parameters and of ``tensor(…, requires_grad=True)``: never closed.
STANDING = Recording("a tensor that requires a gradient")

#: The recording of frozen parameters, closed: no derivative is taken, but plans read the parameters at each run.
FROZEN = Recording("a frozen parameter")
FROZEN.active = False

NOTHING: frozenset[Recording] = frozenset()


class Node:
    """What a tensor consists of."""

    __slots__ = (
        "__weakref__",
        "attrs",
        "dtype",
        "grad",
        "inputs",
        "memory",
        "name",
        "op",
        "recordings",
        "shape",
        "value",
        "weak",
    )

    op: Operation | None
    inputs: tuple[Any, ...]
    attrs: dict[str, Any]
    value: Array | None
    shape: Shape
    dtype: np.dtype[Any]
    name: str | None
    weak: bool
    recordings: frozenset[Recording]
    grad: Array | None
    memory: Any  # chainrule.core.memory.Memory of a tensor that was written, is a view or has views; else None

    def __init__(self, value: Array, *, name: str | None = None, recordings: frozenset[Recording] = NOTHING) -> None:
        self.op = None
        self.inputs = ()
        self.attrs = {}
        self.value = value
        try:
            self.shape = value.shape
        except AttributeError:
            raise TypeError(f"Tensor takes an array, got type {type(value).__name__}: use cr.tensor(value)") from None
        self.dtype = value.dtype
        self.name = name
        self.weak = False
        self.recordings = recordings
        self.grad = None
        self.memory = None

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        n = 1
        for d in self.shape:
            n *= d
        return n

    @property
    def requires_grad(self) -> bool:
        """Whether a derivative through this tensor is being taken, now or by ``backward``."""
        return any(r.active for r in self.recordings)

    @requires_grad.setter
    def requires_grad(self, value: Any) -> None:
        raise AttributeError(habits.REQUIRES_GRAD)


def refuse_stale(inputs: tuple[Any, ...]) -> None:
    """Raise for tensors without a value whose trace is over: something has stored them."""
    for x in inputs:
        if x.value is not None:
            continue
        purpose = None
        for r in x.recordings:
            if r.traces:
                if r.active:
                    break
                purpose = purpose or r.purpose
        else:
            if purpose is None:
                continue
            raise StaleTensorError(
                f"a traced tensor (shape {x.shape}, {x.dtype}), which has no value, was stored during {purpose} and is "
                "used after it. It is not an argument of the function that uses it: return it from the one that "
                "computes it, or keep it by name with compile(…, keep=…)"
            )
