"""Functions of NumPy that do not pass tensors on: arrays made of them, and the classes of integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....core.tensor import Tensor
from .namespaces import holds_tensor, joined


def array(A: Any, dtype: Any = None, *args: Any, ndmin: int = 0, **kwargs: Any) -> Any:
    """As ``numpy.array``, also of tensors and nested lists of them."""
    A = joined(A)
    if not isinstance(A, Tensor):
        return np.array(A, dtype, *args, ndmin=ndmin, **kwargs)
    made = A if dtype is None else A.astype(dtype)
    return made.reshape((1,) * max(0, ndmin - made.ndim) + made.shape)


def full(shape: Any, fill_value: Any, dtype: Any = None, **kwargs: Any) -> Any:
    """As ``numpy.full``, also with a tensor."""
    fill_value = joined(fill_value)
    if not isinstance(fill_value, Tensor):
        return np.full(shape, fill_value, dtype, **kwargs)
    return array(np.broadcast_to(fill_value, shape), dtype)


def full_like(a: Any, fill_value: Any, dtype: Any = None, **kwargs: Any) -> Any:
    """As ``numpy.full_like``, also with a tensor."""
    return full(np.shape(a), fill_value, np.result_type(a) if dtype is None else dtype)


def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """As ``numpy.append``."""
    arr, values = array(arr), array(values)
    return np.concatenate([np.ravel(arr), np.ravel(values)] if axis is None else [arr, values], axis=axis or 0)


def where(condition: Any, *args: Any, **kwargs: Any) -> Any:
    """As ``numpy.where``; numbers and lists of Python give a number or a list of Python, as in autograd."""
    chosen = [joined(x) for x in (*args, *(kwargs[name] for name in ("x", "y") if name in kwargs))]
    found = np.where(joined(condition), *chosen)
    if any(_is_array(x) for x in (condition, *chosen)) or not chosen:
        return found
    return found.tolist()


def _is_array(x: Any) -> bool:
    """Whether `x` is an array, a tensor or a list that holds one."""
    return isinstance(x, np.ndarray | np.generic | Tensor) or (isinstance(x, list | tuple) and any(map(_is_array, x)))


class _Joined:
    """``np.r_`` and ``np.c_`` on tensors."""

    def __init__(self, original: Any, join: Any) -> None:
        self.original, self.join = original, join

    def __getitem__(self, items: Any) -> Any:
        items = items if isinstance(items, tuple) else (items,)
        if not holds_tensor(items):
            return self.original[items]
        made = [self.original[x] if isinstance(x, slice) else joined(x) for x in items]
        return self.join([np.atleast_1d(x) for x in made])


def make_diagonal(D: Any, offset: int = 0, axis1: int = -1, axis2: int = -2) -> Any:
    """Return matrices with the last axis of `D` on their diagonals."""
    return D[..., None] * np.eye(np.shape(D)[-1])


def _integer_class(kind: Any) -> Any:
    """Return a class of integers that reads tensors' values: no derivative is taken through integers."""

    def new(cls: Any, *args: Any) -> Any:
        return kind(*[x.concrete(kind.__name__) if isinstance(x, Tensor) else x for x in args])

    return type(kind.__name__, (kind,), {"__new__": new})


#: Name -> what stands in ``autograd.numpy`` for NumPy's function of that name.
MADE_OF_TENSORS: dict[str, Any] = {
    **{f.__name__: f for f in (array, append, full, full_like, where, make_diagonal)},
    **dict.fromkeys(("asarray", "asanyarray", "ascontiguousarray"), array),
    **{kind.__name__: _integer_class(kind) for kind in (np.int8, np.int16, np.int32, np.int64)},
    "r_": _Joined(np.r_, np.concatenate),
    "c_": _Joined(np.c_, np.column_stack),
}
