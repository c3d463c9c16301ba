"""Operators of tensors: each is the NumPy function of that name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .conversion import Conversions
from .node import FUNCTIONS, Node


class Operators(Conversions):
    """Arithmetic, comparisons, indexing, and assignment in place."""

    __slots__ = ()

    def __add__(self, other: Any) -> Any:
        return FUNCTIONS[np.add](self, other)

    def __radd__(self, other: Any) -> Any:
        return FUNCTIONS[np.add](other, self)

    def __sub__(self, other: Any) -> Any:
        return FUNCTIONS[np.subtract](self, other)

    def __rsub__(self, other: Any) -> Any:
        return FUNCTIONS[np.subtract](other, self)

    def __mul__(self, other: Any) -> Any:
        if self.weak and isinstance(other, list | tuple | str):  # repeated, as by the integer that this stands for
            return other * self.__index__()
        return FUNCTIONS[np.multiply](self, other)

    def __rmul__(self, other: Any) -> Any:
        if self.weak and isinstance(other, list | tuple | str):
            return other * self.__index__()
        return FUNCTIONS[np.multiply](other, self)

    def __truediv__(self, other: Any) -> Any:
        return FUNCTIONS[np.divide](self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return FUNCTIONS[np.divide](other, self)

    def __floordiv__(self, other: Any) -> Any:
        return FUNCTIONS[np.floor_divide](self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return FUNCTIONS[np.floor_divide](other, self)

    def __mod__(self, other: Any) -> Any:
        return FUNCTIONS[np.remainder](self, other)

    def __rmod__(self, other: Any) -> Any:
        return FUNCTIONS[np.remainder](other, self)

    def __pow__(self, other: Any) -> Any:
        return FUNCTIONS["**"](self, other)

    def __rpow__(self, other: Any) -> Any:
        return FUNCTIONS[np.power](other, self)

    def __matmul__(self, other: Any) -> Any:
        return FUNCTIONS[np.matmul](self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return FUNCTIONS[np.matmul](other, self)

    def __neg__(self) -> Any:
        return FUNCTIONS[np.negative](self)

    def __pos__(self) -> Any:
        return FUNCTIONS[np.positive](self)

    def __abs__(self) -> Any:
        return FUNCTIONS[np.absolute](self)

    def __invert__(self) -> Any:
        return FUNCTIONS[np.invert](self)

    def __and__(self, other: Any) -> Any:
        return FUNCTIONS[np.bitwise_and](self, other)

    def __rand__(self, other: Any) -> Any:
        return FUNCTIONS[np.bitwise_and](other, self)

    def __or__(self, other: Any) -> Any:
        return FUNCTIONS[np.bitwise_or](self, other)

    def __ror__(self, other: Any) -> Any:
        return FUNCTIONS[np.bitwise_or](other, self)

    def __xor__(self, other: Any) -> Any:
        return FUNCTIONS[np.bitwise_xor](self, other)

    def __rxor__(self, other: Any) -> Any:
        return FUNCTIONS[np.bitwise_xor](other, self)

    def __lshift__(self, other: Any) -> Any:
        return FUNCTIONS[np.left_shift](self, other)

    def __rlshift__(self, other: Any) -> Any:
        return FUNCTIONS[np.left_shift](other, self)

    def __rshift__(self, other: Any) -> Any:
        return FUNCTIONS[np.right_shift](self, other)

    def __rrshift__(self, other: Any) -> Any:
        return FUNCTIONS[np.right_shift](other, self)

    def __divmod__(self, other: Any) -> Any:
        return FUNCTIONS[np.divmod](self, other)

    def __rdivmod__(self, other: Any) -> Any:
        return FUNCTIONS[np.divmod](other, self)

    def __eq__(self, other: Any) -> Any:
        return FUNCTIONS[np.equal](self, other)

    def __ne__(self, other: Any) -> Any:
        return FUNCTIONS[np.not_equal](self, other)

    def __lt__(self, other: Any) -> Any:
        return FUNCTIONS[np.less](self, other)

    def __le__(self, other: Any) -> Any:
        return FUNCTIONS[np.less_equal](self, other)

    def __gt__(self, other: Any) -> Any:
        return FUNCTIONS[np.greater](self, other)

    def __ge__(self, other: Any) -> Any:
        return FUNCTIONS[np.greater_equal](self, other)

    def __getitem__(self, index: Any) -> Any:
        return FUNCTIONS["getitem"](self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        FUNCTIONS["setitem"](self, index, value)

    def __round__(self, ndigits: int = 0) -> Any:
        return FUNCTIONS[np.round](self, ndigits)


def _in_place(function: Any, name: str) -> Callable[..., Any]:
    def method(self: Node, other: Any) -> Any:
        return FUNCTIONS["in place"](self, FUNCTIONS[function](self, other))

    method.__name__ = name
    return method


for _name, _function in (
    ("__iadd__", np.add), ("__isub__", np.subtract), ("__imul__", np.multiply),
    ("__itruediv__", np.divide), ("__ipow__", np.power), ("__ifloordiv__", np.floor_divide),
    ("__imod__", np.remainder), ("__imatmul__", np.matmul), ("__iand__", np.bitwise_and),
    ("__ior__", np.bitwise_or), ("__ixor__", np.bitwise_xor), ("__ilshift__", np.left_shift),
    ("__irshift__", np.right_shift),
):  # fmt: skip
    setattr(Operators, _name, _in_place(_function, _name))
