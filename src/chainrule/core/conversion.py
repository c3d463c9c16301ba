"""Tensors become arrays, numbers and text: where values leave the graph, no gradient may be lost."""

from __future__ import annotations

from typing import Any

import numpy as np

from .node import FUNCTIONS, TRACE, Node, refuse_stale
from .op import Array
from .scipy_calls import calling_function

_TO_PLAIN = (
    "assignment into a plain array (make one to assign to by np.zeros_like(tensor, shape=…), join tensors by "
    "np.stack or np.concatenate)"
)


class Conversions(Node):
    """What gives the value of a tensor, or says why there is none."""

    __slots__ = ()

    def __repr__(self) -> str:
        name = f"{self.name}: " if self.name else ""
        made_by = f", {self.op.name}" if self.op else ""
        if self.value is None:
            return f"Tensor({name}shape {self.shape}, {self.dtype}{made_by}, traced)"
        text = np.array2string(self.value, separator=", ", threshold=50, prefix="Tensor(" + name)
        return f"Tensor({name}{text}, {self.dtype}{made_by})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec or self._is_integer_argument() else str(self)

    def __str__(self) -> str:
        return str(self.item()) if self._is_integer_argument() else repr(self)

    def _is_integer_argument(self) -> bool:
        """Whether this is an integer passed to a traced function, which can be part of what is compiled."""
        return self.weak and self.value is None and self.dtype.kind in "iu"

    def concrete(self, use: str) -> Array:
        """Return the value; raise if there is none yet. `use` names the purpose in the message."""
        if self.value is None:
            refuse_stale((self,))
            for recording in self.recordings:
                if (value := recording.value_of(self)) is not None:
                    return value
            raise TypeError(
                f"{use} needs a value, but this tensor (shape {self.shape}, {self.dtype}) is being traced and has "
                "no value. Express a choice that depends on values with np.where; make an argument that decides what "
                "is computed part of the signature, compile(f, static_argnames=…); call the function without compile "
                "to look."
            )
        if (trace := TRACE.get()) is not None:
            trace.looked_at(self)
        return self.value

    def detached(self, use: str) -> Array:
        """Return the value; raise while a derivative is being taken through it."""
        scipy_function = calling_function(FUNCTIONS) if self.value is None or self.requires_grad else None
        if scipy_function is not None:
            raise TypeError(_not_dispatched(scipy_function))
        value = self.concrete(use)
        if self.value is not None and self.requires_grad and self.dtype.kind == "f":
            raise TypeError(
                f"{use} would lose the gradient: a derivative is being taken through this tensor (shape {self.shape}). "
                "Use np.stack or np.concatenate to join tensors, NumPy functions to compute with them, "
                ".detach() or .item() to exclude it from the derivative on purpose."
            )
        return value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        value = self.detached(f"np.asarray(tensor), np.array([tensors]), np.r_ or {_TO_PLAIN}")
        if dtype is not None and value.dtype != dtype:
            if copy is False:
                raise ValueError(f"a tensor of {value.dtype} can be converted to {np.dtype(dtype)} only by a copy")
            return value.astype(dtype)
        return value.copy() if copy else value

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        """Share the value with another library, by the DLPack protocol, without a copy unless one is requested.

        A consumer whose protocol cannot mark memory as read-only gets a copy of such memory.
        """
        value = self.detached("from_dlpack(tensor)")
        if not value.flags.writeable and max_version is None and copy is None:
            value = value.copy()
        asked = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        return value.__dlpack__(**{k: v for k, v in asked.items() if v is not None})

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)  # the CPU's memory

    def numpy(self) -> Array:
        """Return a copy of the value. Raises while a derivative is being taken through it; ``detach()`` first."""
        return self.detached("tensor.numpy()").copy()

    def item(self) -> Any:
        """Return the only value as a Python number; no derivative is taken through it."""
        return self.concrete("tensor.item()").item()

    def tolist(self) -> Any:
        """Return the values as (nested lists of) Python numbers."""
        return self.detached("tensor.tolist()").tolist()

    def __bool__(self) -> bool:
        return bool(self.concrete("bool(tensor)"))

    def __float__(self) -> float:
        if self.op is not None and self.grad is not None:
            return float(self.item())  # `backward` was called on it: what is wanted now is the number
        return float(self.detached(f"float(tensor) or {_TO_PLAIN}").item())

    def __int__(self) -> int:
        return int(self.detached("int(tensor)").item())

    def __index__(self) -> int:
        return self.concrete("an index").__index__()

    def __complex__(self) -> complex:
        raise TypeError("complex numbers are not differentiated here: tensors are float32 or float64")


def _not_dispatched(name: str) -> str:
    """Return the message for a function of SciPy that cannot be given tensors."""
    package = name.split(".")[1]
    remedy = f"Call chainrule.{name}" if name in FUNCTIONS else f"See whether chainrule.scipy.{package} has it"
    return (
        f"{name} takes plain arrays only, so its gradient would be lost. {remedy}, or apply it to tensor.detach() if "
        "it needs no derivative."
    )
