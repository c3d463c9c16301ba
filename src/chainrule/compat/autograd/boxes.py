"""Boxes: values of a program's own classes, such as functions of a Hilbert space, that a derivative is taken of.

The graph has a number, always 0, in the place of such a value. A box holds the value with that node; the cotangents of
the node are values, too, which the vector space registered for their class adds.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ...core.tensor import Tensor
from .vspaces import vspace


class _TensorsAreBoxes(type):
    def __instancecheck__(cls, x: Any) -> bool:
        return super().__instancecheck__(x) or (cls is Box and isinstance(x, Tensor))


class Box(metaclass=_TensorsAreBoxes):
    """A value that a derivative is being taken through; tensors are boxes of arrays.

    A subclass that is also one of a program's class has its methods while a derivative is taken of a value of it.
    """

    type_mappings: ClassVar[dict[type, Any]] = {}

    def __init__(self, value: Any, trace: Any, node: Any) -> None:
        self._value, self._trace, self._node = value, trace, node

    @classmethod
    def register(cls, value_type: type) -> None:
        """Make this the class of boxes for values of a class."""
        Box.type_mappings[value_type] = cls


class Cotangent:
    """The cotangent of a box's node: a value of a registered class, with what the reverse pass asks of a number."""

    shape = ()
    dtype = np.dtype(np.float64)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __add__(self, other: Any) -> Cotangent:
        return Cotangent(vspace(self.value).add(self.value, other.value))

    def __float__(self) -> float:
        return 0.0  # asked whether it is finite


def has_box(value: Any) -> bool:
    """Whether `value` is of a class that boxes are registered for."""
    return type(value) in Box.type_mappings


def boxed(value: Any, node: Tensor) -> Any:
    """Return the box of a value, whose place in the graph is `node`."""
    return Box.type_mappings[type(value)](value, None, node)


def node_of(x: Any) -> Any:
    """Return the node of a tensor or a box; None for anything else."""
    return x if isinstance(x, Tensor) else x._node if isinstance(x, Box) else None
