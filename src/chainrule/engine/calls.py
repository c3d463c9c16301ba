"""Steps as NumPy calls: the cheapest of the ways in which NumPy can compute an operation.

Every operation can be run by its row's kernel; this module has shortcuts for some, chosen once, when a plan is bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .. import ops
from ..core.op import Array, Operation
from ..ops.logic import IDENTITY
from ..ops.logits import ONE_HOT
from ..ops.table import CAST, row_of
from ..plan.model import Step

Call = Callable[[], Any]

#: Up to this many elements a float32 sum by BLAS is as accurate as NumPy's pairwise one.
SUMMED = 4096
#: Up to this many elements it pays to broadcast a number to an array: NumPy compares two arrays much faster.
SPELLED = 65_536
#: Up to this many classes it pays to keep all rows of a one-hot table.
TABLED = 256

#: NumPy functions that take their output as a keyword argument.
_BY_KEYWORD = (np.maximum, np.minimum)
_REDUCTIONS = {row_of(f): u for f, u in (
    (np.sum, np.add), (np.prod, np.multiply), (np.max, np.maximum), (np.min, np.minimum)
)}  # fmt: skip


class Calls:
    """Makes the calls of one binding; keeps the constant arrays that they share."""

    def __init__(self) -> None:
        self._constants: dict[Any, Array] = {}

    def call(self, step: Step, inputs: Sequence[Array], out: Array) -> Call:
        """Return a call that computes `step` from `inputs` into `out`."""
        shortcut = SHORTCUTS.get(step.op)
        made = shortcut(self, step, inputs, out) if shortcut is not None else None
        if made is not None:
            return made
        kernel = step.op.kernel
        assert kernel is not None
        if isinstance(kernel, np.ufunc) and kernel not in _BY_KEYWORD:
            if out.ndim == 0:  # NumPy is slower on 0-dimensional arrays
                inputs, out = [x.reshape(1) for x in inputs], out.reshape(1)
            return partial(kernel, *inputs, out)
        return partial(kernel, *inputs, out=out, **step.attrs)

    def _constant(self, make: Callable[..., Array], *args: Any) -> Array:
        key = (make, *args)
        if key not in self._constants:
            self._constants[key] = make(*args)
        return self._constants[key]

    def _matmul(self, step: Step, inputs: Sequence[Array], out: Array) -> Call | None:
        a, b = inputs
        # np.dot starts faster than np.matmul, and copies what BLAS cannot read
        return partial(np.dot, a, b, out) if a.ndim == b.ndim == 2 else None

    def _sum(self, step: Step, inputs: Sequence[Array], out: Array) -> Call | None:
        """A sum over the first or the last axes is a product with ones."""
        (x,), axis = inputs, step.attrs["axis"]
        if x.dtype.kind != "f" or not x.size or not x.flags.c_contiguous:
            return self._reduction(step, inputs, out)
        kept = x.ndim - len(axis)
        if axis == tuple(range(kept, x.ndim)):
            rows = x.reshape(out.size, -1)
            if rows.shape[1] <= SUMMED:
                ones = self._constant(np.ones, rows.shape[1], x.dtype)
                if out.size == 1:
                    return partial(np.dot, rows[0], ones, out.reshape(()))
                return partial(np.dot, rows, ones, out.reshape(-1))
        elif axis == tuple(range(len(axis))):
            columns = x.reshape(-1, out.size)
            ones = self._constant(np.ones, columns.shape[0], x.dtype)
            return partial(np.dot, ones, columns, out.reshape(-1))
        return self._reduction(step, inputs, out)

    def _reduction(self, step: Step, inputs: Sequence[Array], out: Array) -> Call | None:
        axis, keepdims = step.attrs["axis"], step.attrs["keepdims"]
        return partial(_REDUCTIONS[step.op].reduce, inputs[0], axis, None, out, keepdims)

    def _relu(self, step: Step, inputs: Sequence[Array], out: Array) -> Call | None:
        (x,) = inputs
        if x.size > SPELLED:
            return None
        return partial(np.maximum, x, self._constant(np.zeros, x.shape, x.dtype), out=out)

    def _one_hot(self, step: Step, inputs: Sequence[Array], out: Array) -> Call | None:
        """Take rows of a table; the rows at both ends are for ids that are not a class."""
        (ids,), classes = inputs, step.attrs["classes"]
        if classes > TABLED or ids.dtype != np.intp or 0 in out.shape:
            return None
        table = self._constant(_one_hot_rows, classes, out.dtype)
        rows, one = np.empty(ids.shape, np.intp), np.array(1, np.intp)

        def take() -> None:
            np.add(ids, one, rows)
            table.take(rows, 0, out, "clip")

        return take

    def _cast(self, step: Step, inputs: Sequence[Array], out: Array) -> Call | None:
        return partial(np.copyto, out, inputs[0], "unsafe")

    def _identity(self, step: Step, inputs: Sequence[Array], out: Array) -> Call | None:
        return partial(np.copyto, out, inputs[0])


SHORTCUTS: dict[Operation, Callable[[Calls, Step, Sequence[Array], Array], Call | None]] = {
    **dict.fromkeys(_REDUCTIONS, Calls._reduction),
    row_of(np.sum): Calls._sum,
    row_of(np.matmul): Calls._matmul,
    row_of(ops.relu): Calls._relu,
    ONE_HOT: Calls._one_hot,
    CAST: Calls._cast,
    IDENTITY: Calls._identity,
}


def _one_hot_rows(classes: int, dtype: Any) -> Array:
    outside = np.nan if np.dtype(dtype).kind == "f" else 0
    return np.pad(np.eye(classes, dtype=dtype), ((1, 1), (0, 0)), constant_values=outside)
