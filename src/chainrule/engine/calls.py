"""Steps as NumPy calls: of the ways in which NumPy can compute an operation, the one that costs least.

Every operation can be run by its row's kernel; what stands here are shortcuts past it, chosen once, when a plan is bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from ..op import Array
from ..plan.model import Step

Call = Callable[[], Any]

#: Up to this many elements a float32 sum by BLAS is as accurate as NumPy's pairwise one.
SUMMED = 4096
#: Up to this many elements it pays to spell a number out as an array: NumPy compares array with array much faster.
SPELLED = 65_536

#: NumPy wants these to be told their output by name.
_BY_KEYWORD = (np.maximum, np.minimum)


def call(step: Step, inputs: Sequence[Array], out: Array) -> Call:
    """Return a call that computes `step` from `inputs` into `out`."""
    shortcut = SHORTCUTS.get(step.op.name)
    made = shortcut(step, inputs, out) if shortcut is not None else None
    if made is not None:
        return made
    kernel = step.op.kernel
    assert kernel is not None
    if isinstance(kernel, np.ufunc) and kernel not in _BY_KEYWORD:
        return partial(kernel, *inputs, out)
    return partial(kernel, *inputs, out=out, **step.attrs)


def _matmul(step: Step, inputs: Sequence[Array], out: Array) -> Call | None:
    a, b = inputs
    if a.ndim != 2 or b.ndim != 2 or not out.flags.c_contiguous:
        return None
    return partial(np.dot, a, b, out)  # starts faster than matmul, and copies what BLAS cannot read


def _sum(step: Step, inputs: Sequence[Array], out: Array) -> Call | None:
    (x,), axis = inputs, step.attrs["axis"]
    if x.dtype.kind != "f" or not x.size or not x.flags.c_contiguous or not out.flags.c_contiguous:
        return _reduced(step, inputs, out)
    kept = x.ndim - len(axis)
    if axis == tuple(range(kept, x.ndim)):  # the last axes
        rows = x.reshape(out.size, -1)
        if rows.shape[1] <= SUMMED:
            if out.size == 1:
                return partial(np.dot, rows[0], _ones(x.size, x.dtype), out.reshape(()))
            return partial(np.dot, rows, _ones(rows.shape[1], x.dtype), out.reshape(-1))
    elif axis == tuple(range(len(axis))):  # the first axes
        columns = x.reshape(-1, out.size)
        return partial(np.dot, _ones(columns.shape[0], x.dtype), columns, out.reshape(-1))
    return _reduced(step, inputs, out)


@lru_cache(maxsize=64)
def _ones(n: int, dtype: np.dtype[Any]) -> Array:
    ones = np.ones(n, dtype)
    ones.setflags(write=False)
    return ones


@lru_cache(maxsize=64)
def _zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    zeros = np.zeros(shape, dtype)
    zeros.setflags(write=False)
    return zeros


_REDUCTIONS = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}


def _reduced(step: Step, inputs: Sequence[Array], out: Array) -> Call | None:
    return partial(
        _REDUCTIONS[step.op.name].reduce, inputs[0], step.attrs["axis"], None, out, step.attrs["keepdims"]
    )


def _relu(step: Step, inputs: Sequence[Array], out: Array) -> Call | None:
    (x,) = inputs
    return partial(np.maximum, x, _zeros(x.shape, x.dtype), out=out) if x.size <= SPELLED else None


def _cast(step: Step, inputs: Sequence[Array], out: Array) -> Call | None:
    return partial(np.copyto, out, inputs[0], "unsafe")


def _identity(step: Step, inputs: Sequence[Array], out: Array) -> Call | None:
    return partial(np.copyto, out, inputs[0])


SHORTCUTS: dict[str, Callable[[Step, Sequence[Array], Array], Call | None]] = {
    "matmul": _matmul,
    "sum": _sum,
    "prod": _reduced,
    "max": _reduced,
    "min": _reduced,
    "relu": _relu,
    "cast": _cast,
    "identity": _identity,
}
