"""Methods and attributes that tensors share with arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .keywords import KEYWORDS, translated, translates
from .node import FUNCTIONS, Node
from .operators import Operators


class ArrayMethods(Operators):
    """As the methods of ``numpy.ndarray``."""

    __slots__ = ()

    @property
    def T(self) -> Any:
        """The transpose: all axes reversed."""
        return FUNCTIONS[np.transpose](self)

    @property
    def mT(self) -> Any:
        """The matrix transpose: the last two axes exchanged."""
        return FUNCTIONS[np.matrix_transpose](self)

    def reshape(self, *shape: Any, **kwargs: Any) -> Any:
        """As ``numpy.ndarray.reshape``."""
        return FUNCTIONS[np.reshape](self, shape[0] if len(shape) == 1 else shape, **kwargs)

    def transpose(self, *axes: Any) -> Any:
        """As ``numpy.ndarray.transpose``."""
        if len(axes) == 1 and (axes[0] is None or isinstance(axes[0], tuple | list)):
            return FUNCTIONS[np.transpose](self, axes[0])
        return FUNCTIONS[np.transpose](self, axes or None)

    def astype(
        self, dtype: Any, order: str = "K", casting: str = "unsafe", subok: bool = True, copy: bool = True
    ) -> Any:
        """Return the values converted to `dtype`, as ``numpy.ndarray.astype``."""
        if not np.can_cast(self.dtype, dtype, casting):  # type: ignore[arg-type]
            raise TypeError(f"astype: {self.dtype} cannot be cast to {np.dtype(dtype)} by the rule {casting!r}")
        return FUNCTIONS["astype"](self, dtype, copy=copy)

    @translates
    def flatten(self, order: str = "C") -> Any:
        """Return a copy of the values as one axis, in C order."""
        if order != "C":
            raise TypeError(f"flatten: order={order!r}; expected 'C'; {KEYWORDS['start_dim']}")
        return self.reshape(-1).copy()

    @property
    def flat(self) -> Any:
        """The values as one axis, in C order, which can be read, written and iterated over."""
        return FUNCTIONS["flat"](self)

    @flat.setter
    def flat(self, value: Any) -> None:
        FUNCTIONS["flat"](self)[...] = value

    def copy(self, order: str = "C") -> Any:
        """Return a copy, as ``numpy.ndarray.copy``: writes into it do not change this tensor."""
        return FUNCTIONS["copied"](self)

    def fill(self, value: Any) -> None:
        """Set every element to `value`, a number or a tensor without axes."""
        self[...] = value

    def sort(self, axis: int = -1, **kwargs: Any) -> None:
        """Sort along an axis in place, as ``numpy.ndarray.sort``; ``np.sort`` returns a sorted copy."""
        self[...] = FUNCTIONS[np.sort](self, axis, **kwargs)

    def partition(self, kth: Any, axis: int = -1, **kwargs: Any) -> None:
        """Partition along an axis in place, as ``numpy.ndarray.partition``."""
        self[...] = FUNCTIONS[np.partition](self, kth, axis, **kwargs)


def _method(function: Any, name: str) -> Callable[..., Any]:
    def method(self: Node, *args: Any, **kwargs: Any) -> Any:
        if "out" in kwargs:
            return function(self, *args, **kwargs)  # NumPy calls __array_function__
        try:
            return FUNCTIONS[function](self, *args, **kwargs)
        except TypeError as error:
            raise translated(error, kwargs) from None

    method.__name__ = name
    method.__doc__ = f"As ``numpy.{name}`` on this tensor."
    return method


for _name in (
    "sum mean max min prod var std cumsum cumprod searchsorted all any argmax argmin argsort put dot squeeze swapaxes "
    "trace diagonal clip repeat take round ravel"
).split():
    setattr(ArrayMethods, _name, _method(getattr(np, _name), _name))
