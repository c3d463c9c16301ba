"""Indexing, gathering, sorting; and their adjoints, which put values back where they came from."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.memory import is_number, share
from ..core.node import FUNCTIONS
from ..core.notation import Layout
from ..core.op import VIEW, Array, Example, Shape, register
from ..core.tensor import Tensor
from ..core.vmap import aligned
from .table import array_of, as_dtype, implements, is_tensor, one_axis, shape_of, stored

# -- basic indexing: views -------------------------------------------------------------------------


def probe(shape: Shape) -> Array:
    """Return an array of that shape without memory, to ask NumPy what an index gives."""
    return np.broadcast_to(np.zeros((), dtype=np.int8), shape)


SLICE = register(
    "slice",
    shape=lambda x, index: (probe(x.shape)[index].shape, x.dtype),
    kernel=lambda x, index: x[index if Ellipsis in index else (*index, Ellipsis)],  # a view also where it has no axes
    numpy="{0}[{index}]",
    vjp=(lambda g, out, x, index: place(g, index, tuple(x.shape)),),
    batch=lambda batched, x, index: x[(slice(None), *index)],
    kind=VIEW,
    put=lambda x, values, index: FUNCTIONS["assign"](x, values, index),
    notation=Layout("index"),
    examples=lambda rng: [
        Example((rng.normal(size=(3, 4)),), {"index": (slice(1, None), slice(None, None, -2))}),
        Example((rng.normal(size=(3, 4)),), {"index": (1, None, slice(0, 0))}),
        Example((rng.normal(size=(3, 4)),), {"index": (2, 3)}),
    ],
    flops=lambda out, *shapes, **attrs: 0,
)


def _zeros(shape: Shape, dtype: Any, out: Any) -> Any:
    """Return zeros, in `out` where that is given."""
    if out is None:
        return np.zeros(shape, dtype)
    out.fill(0)
    return out


def _place_kernel(g: Any, out: Any = None, *, index: Any, shape: Shape) -> Any:
    out = _zeros(shape, g.dtype, out)
    out[index] = g
    return out


def _placed(values: Any, index: Any, shape: Any) -> Any:
    """Return zeros of a shape, with the values at the index."""
    total = np.zeros(shape)
    total[index] = values
    return total


PLACE = register(
    "place",
    shape=lambda g, index, shape: (shape, g.dtype),
    kernel=_place_kernel,
    numpy=_placed,
    vjp=(lambda g, out, x, index, shape: g[index],),
    batch=lambda batched, g, index, shape: place(g, (slice(None), *index), (g.shape[0], *shape)),
    native=lambda out, g, index, shape: _strides_of(out, index),
    examples=lambda rng: [
        Example((rng.normal(size=(2, 2)),), {"index": (slice(1, None), slice(0, 2)), "shape": (3, 4)})
    ],
    flops=lambda out, *shapes, **attrs: 0,
)


def _strides_of(whole: Any, index: Any) -> list[int]:
    """Return the byte offset and the strides of a basic index into a C-ordered array."""
    memory = np.empty(whole.shape, whole.dtype)
    part = memory[index if any(i is Ellipsis for i in index) else (*index, ...)]
    start = part.__array_interface__["data"][0] - memory.__array_interface__["data"][0]
    return [start, *part.strides]


def place(g: Any, index: Any, shape: Shape) -> Any:
    """Return zeros of `shape` with `g` at a basic `index`: the adjoint of slicing."""
    return apply(PLACE, (g,), {"index": index, "shape": tuple(shape)})


# -- advanced indexing -----------------------------------------------------------------------------
# The index arrays are inputs (they may be computed); `index` says where each is used: a Slot k is the k-th of them.


class Slot(int):
    """The place of an index array within an index: the k-th input after the array."""


def filled(index: Any, arrays: Any) -> Any:
    """Return an index with the index arrays in their places."""
    return tuple(arrays[i] if type(i) is Slot else i for i in index)


def _gather_shape(x: Any, *arrays: Any, index: Any) -> tuple[Shape, np.dtype[Any]]:
    probes = [np.zeros(a.shape, np.int64) if a.dtype != bool else a.value for a in arrays]
    for k, i in enumerate(index):
        if type(i) is Slot and arrays[i].dtype.kind not in "iu":
            raise TypeError(
                f"index {k} has dtype {arrays[i].dtype}; index arrays are integers or booleans (integers given to a "
                "module stay integers if its class has takes_ids = True)"
            )
    try:
        # zeros stand for the positions: in range wherever the axis has any length
        return probe(x.shape)[filled(index, probes)].shape, x.dtype
    except IndexError as error:
        raise IndexError(f"indexing shape {tuple(x.shape)}: {error}") from None


def _gather_kernel(x: Any, *arrays: Any, out: Any = None, index: Any) -> Any:
    if out is None:
        return x[filled(index, arrays)]
    rows = arrays[0]
    if len(index) == 1 and len(arrays) == 1 and rows.size and rows.min() >= 0 and rows.max() < x.shape[0]:
        np.take(x, rows, axis=0, out=out, mode="clip")  # in range: the mode that writes to out without a copy
    else:
        np.copyto(out, x[filled(index, arrays)])
    return out


def _scatter_kernel(g: Any, *arrays: Any, out: Any = None, index: Any, shape: Shape) -> Any:
    out = _zeros(shape, g.dtype, out)
    many = len(index) == 1 and len(arrays) == 1 and arrays[0].ndim == 1 and len(shape) == 2 and arrays[0].size > 64
    if many and -shape[0] <= arrays[0].min() and arrays[0].max() < shape[0]:
        _scatter_rows(out, arrays[0].astype(np.intp) % shape[0], g)
    elif len(index) == len(arrays) == len(shape) > 1 and out.flags.c_contiguous and _all_within(arrays, shape):
        flat: Any = 0
        for a, n in zip(arrays, shape, strict=True):  # one position in the whole array: faster than several
            flat = flat * n + a.astype(np.intp) % n
        np.add.at(out.reshape(-1), flat, g)
    else:
        np.add.at(out, filled(index, arrays), g)
    return out


def _all_within(arrays: Any, shape: Shape) -> bool:
    """Whether arrays of integers are positions along the axes of a shape."""
    if not builtins.all(a.size and a.dtype.kind in "iu" for a in arrays):
        return False
    return builtins.all(-n <= a.min() and a.max() < n for a, n in zip(arrays, shape, strict=True))


def _scatter_rows(out: Any, rows: Any, g: Any) -> None:
    """Add rows of g into rows of out: sorted segments, much faster than ``np.add.at``."""
    order = np.argsort(rows, kind="stable")
    where = rows[order]
    starts = np.flatnonzero(np.concatenate(([True], where[1:] != where[:-1])))
    out[where[starts]] = np.add.reduceat(np.broadcast_to(g, (rows.size, out.shape[1]))[order], starts, axis=0)


def _picked(shape: tuple[int, ...], index: Any) -> list[int]:
    """Return an index as integers: the kept axes before the arrays'; per axis (array or -1, start, step, length)."""
    rest = len(shape) - sum(i is not None and i is not Ellipsis for i in index)
    full = [slice(None)] * rest
    at = next((k for k, i in enumerate(index) if i is Ellipsis), len(index))
    # None, which adds an axis of length 1, stays only to part arrays that don't stand side by side
    parts = [*index[:at], *([None] if at < len(index) else []), *full, *index[at + 1 :]]
    arrays = [k for k, i in enumerate(parts) if isinstance(i, int)]  # numbers count as arrays, as NumPy has it
    apart = arrays[-1] - arrays[0] >= len(arrays)
    numbers = [0 if apart else sum(isinstance(i, slice) for i in parts[: arrays[0]])]
    for n, i in zip(shape, [i for i in parts if i is not None], strict=True):
        if type(i) is Slot:
            numbers += [int(i), 0, 0, 0]
        elif isinstance(i, slice):
            steps = range(n)[i]
            numbers += [-1, steps.start, steps.step, len(steps)] if steps else [-1, 0, 0, 0]
        else:
            numbers += [-1, i % n, 0, 1]
    return numbers


def _scatter_added(values: Any, index: Any, shape: Any) -> Any:
    """Return zeros of a shape, with the values added at the index, which may hold a position more than once."""
    total = np.zeros(shape)
    np.add.at(total, index, values)
    return total


# -- the same for a batch --------------------------------------------------------------------------


def _arrays_lead(index: Any) -> bool:
    """Whether only index arrays come before everything else, so that their axes are the first of the result."""
    count = builtins.sum(type(i) is Slot for i in index)
    return all(type(i) is Slot for i in index[:count])


def _with_rows(batched: tuple[bool, ...], arrays: Any, index: Any, size: int) -> tuple[list[Any], Any]:
    """Return index arrays and an index that takes, for each example, its own row of a batch."""
    ndim = builtins.max(len(a.shape) - one for a, one in zip(arrays, batched, strict=True))
    rows = np.reshape(np.arange(size), (size, *(1,) * ndim))
    arrays = [aligned(a, ndim) if one else a for a, one in zip(arrays, batched, strict=True)]
    return [rows, *arrays], (Slot(0), *[Slot(i + 1) if type(i) is Slot else i for i in index])


def _gather_batch(batched: tuple[bool, ...], x: Any, *arrays: Any, index: Any) -> Any:
    own, of_arrays = batched[0], batched[1:]
    if not builtins.any(of_arrays) and _picked_together(index):
        return apply(GATHER, (x, *arrays), {"index": (slice(None), *index)})
    if not builtins.any(of_arrays) or not _arrays_lead(index):
        return None
    if own:
        size = x.shape[0]
        rows, index = _with_rows(of_arrays, arrays, index, size)
        return apply(GATHER, (x, *rows), {"index": index})
    ndim = builtins.max(len(a.shape) - one for a, one in zip(arrays, of_arrays, strict=True))
    together = [aligned(a, ndim) if one else a for a, one in zip(arrays, of_arrays, strict=True)]
    return apply(GATHER, (x, *together), {"index": index})


def _picked_together(index: Any) -> bool:
    """Whether the index arrays (and numbers, which NumPy counts among them) stand side by side."""
    places = [k for k, i in enumerate(index) if isinstance(i, int)]
    return places[-1] - places[0] < len(places)


def _scatter_batch(batched: tuple[bool, ...], g: Any, *arrays: Any, index: Any, shape: Shape) -> Any:
    if not batched[0]:
        return None
    size = g.shape[0]
    if not builtins.any(batched[1:]):
        if not _picked_together(index):
            return None
        return apply(SCATTER, (g, *arrays), {"index": (slice(None), *index), "shape": (size, *shape)})
    if not _arrays_lead(index):
        return None
    rows, index = _with_rows(batched[1:], arrays, index, size)
    return apply(SCATTER, (g, *rows), {"index": index, "shape": (size, *shape)})


GATHER = register(
    "gather",
    shape=_gather_shape,
    kernel=_gather_kernel,
    numpy="{0}[{index}]",
    vjp=lambda i, g, out, x, *arrays, index: None if i else _scatter(g, arrays, index, tuple(x.shape)),
    native=lambda out, x, *arrays, index: _picked(x.shape, index),
    batch=_gather_batch,
    notation=Layout("index"),
    examples=lambda rng: [
        Example((rng.normal(size=(3, 4)), np.array([0, 2, 2, -1])), {"index": (Slot(0),)}),
        Example((rng.normal(size=(3, 4)), np.array([0, 2]), np.array([1, 1])), {"index": (Slot(0), Slot(1))}),
        Example((rng.normal(size=(3, 4)), np.array([[1], [1]])), {"index": (slice(None), Slot(0))}),
    ],
    flops=lambda out, *shapes, **attrs: 0,
)
SCATTER = register(
    "scatter_add",
    shape=lambda g, *arrays, index, shape: (shape, g.dtype),
    kernel=_scatter_kernel,
    numpy=_scatter_added,
    vjp=lambda i, g, out, x, *arrays, index, shape: None if i else apply(GATHER, (g, *arrays), {"index": index}),
    native=lambda out, g, *arrays, index, shape: _picked(shape, index),
    batch=_scatter_batch,
    notation=Layout("scattered", "scatter"),
    examples=lambda rng: [
        Example((rng.normal(size=(3, 2)), np.array([1, 1, 0])), {"index": (Slot(0),), "shape": (4, 2)})
    ],
    flops=lambda out, x, *arrays, **attrs: math.prod(x),
)


def _scatter(g: Any, arrays: Any, index: Any, shape: Shape) -> Any:
    if not is_tensor(g):
        arrays = [a.value if isinstance(a, Tensor) else a for a in arrays]
    return apply(SCATTER, (g, *arrays), {"index": index, "shape": tuple(shape)})


@implements("scatter_add")
def scatter_add(values: Any, index: tuple[Any, ...], shape: Shape) -> Any:
    """Return zeros of `shape` with `values` added at the positions of the index arrays `index`."""
    return _scatter(values, list(index), tuple(Slot(i) for i in range(len(index))), shape)


@implements("getitem")
def getitem(x: Tensor, index: Any) -> Any:
    """As ``array[index]``: integers, slices, ``...``, None, integer and boolean arrays, in any mixture."""
    plain, arrays = parsed(x, index)
    key = tuple(plain)
    if arrays:
        out = apply(GATHER, (x, *arrays), {"index": key})
        if out.shape and builtins.all(isinstance(a, Tensor) and is_number(a) for a in arrays):
            share(out, x, _Chosen(key, arrays), {}, sure=True)  # computed positions, which NumPy has as numbers
        return out
    try:
        out = apply(SLICE, (x,), {"index": key})
    except IndexError as error:
        raise IndexError(f"index {index!r} on shape {tuple(x.shape)}: {error}") from None
    if not out.shape and not any(i is Ellipsis for i in key):
        out.memory = None  # an element is a number, not a view
    return out


class _Chosen:
    """How a view at computed positions is read from its base, and put into it."""

    def __init__(self, key: Any, positions: Any) -> None:
        self.key, self.positions = key, positions

    def __call__(self, base: Any) -> Any:
        if not isinstance(base, Tensor):
            return base[filled(self.key, [0] * len(self.positions))]  # for its layout in memory
        return apply(GATHER, (base, *self.positions), {"index": self.key})

    def put(self, x: Any, values: Any) -> Any:
        return FUNCTIONS["assign"](x, values, self.key, self.positions)


_BY_MASK = (
    "x[mask], whose length is the number of true values (write x[mask] *= 2 as x = np.where(mask, x * 2, x), and "
    "np.sum(x[mask]) as np.sum(x, where=mask)),"
)


def parsed(x: Tensor, index: Any) -> tuple[list[Any], list[Any]]:
    """Return an index with a `Slot` in place of each index array, and these arrays, after checks of both."""
    parts = index if isinstance(index, tuple) else (index,)
    plain: list[Any] = []
    arrays: list[Any] = []
    for part in parts:
        if part is None or part is Ellipsis or isinstance(part, slice):
            plain.append(part)
        elif isinstance(part, int | np.integer) and not isinstance(part, bool | np.bool):
            plain.append(int(part))
        elif isinstance(part, Tensor) and part.value is not None and part.dtype.kind in "iu" and is_number(part):
            plain.append(int(part.value))
        elif isinstance(part, Tensor) and part.dtype != bool:
            plain.append(Slot(len(arrays)))
            arrays.append(part)
        else:
            array = part.concrete(_BY_MASK) if isinstance(part, Tensor) else np.asarray(part)
            array = array.astype(np.intp) if array.size == 0 and array.dtype.kind == "f" else array
            if array.dtype == bool:
                _check_mask(array, plain, x)
                for positions in np.nonzero(array) if array.ndim else (np.zeros(int(array), np.intp),):
                    plain.append(Slot(len(arrays)))
                    arrays.append(positions)
                if not array.ndim:
                    raise TypeError("a single True or False as an index: use np.where, or a boolean array")
            elif array.dtype.kind in "iu":
                plain.append(Slot(len(arrays)))
                arrays.append(array)
            else:
                raise TypeError(
                    f"index of type {type(part).__name__} (dtype {array.dtype}); "
                    "expected integers, slices, None, … or arrays"
                )
    if not arrays:
        return plain, arrays
    _check_range(x, plain, arrays)
    return plain, arrays


def _axis_of(plain: list[Any], ndim: int, total: list[Any]) -> int:
    """Return the axis that the next entry of an index refers to."""
    used = builtins.sum(1 for p in plain if p is not None and p is not Ellipsis)
    if Ellipsis in [p for p in plain if p is Ellipsis]:
        after = builtins.sum(1 for p in total if p is not None and p is not Ellipsis) - used
        return ndim - after
    return used


def _check_mask(mask: Array, plain: list[Any], x: Tensor) -> None:
    if Ellipsis in [p for p in plain if p is Ellipsis]:
        return
    axis = _axis_of(plain, x.ndim, plain)
    if mask.shape != x.shape[axis : axis + mask.ndim]:
        raise IndexError(
            f"boolean index of shape {mask.shape} on axes {axis}… of shape {tuple(x.shape)}; the lengths must be equal"
        )


def _check_range(x: Tensor, plain: list[Any], arrays: list[Any]) -> None:
    for k, part in enumerate(plain):
        if type(part) is not Slot:
            continue
        values = arrays[part].value if isinstance(arrays[part], Tensor) else arrays[part]
        axis = _axis_of(plain[:k], x.ndim, plain)
        if axis >= x.ndim:
            raise IndexError(f"too many indices for shape {tuple(x.shape)}")
        n = x.shape[axis]
        if values is not None and values.size and (values.min() < -n or values.max() >= n):
            raise IndexError(
                f"index array reaches {int(values.min())}…{int(values.max())}, "
                f"axis {axis} of shape {tuple(x.shape)} has length {n}"
            )


# -- take, sort ------------------------------------------------------------------------------------


@implements(np.take)
def take(a: Any, indices: Any, axis: int | None = None, out: None = None, mode: str = "raise") -> Any:
    """As ``numpy.take``."""
    a, axis = one_axis(a, axis)
    if not is_tensor(a):
        a = Tensor(np.asarray(a))
    if mode != "raise":
        n = shape_of(a)[axis]
        indices = np.clip(indices, 0, n - 1) if mode == "clip" else np.remainder(indices, n)
    return a[(slice(None),) * axis + (array_of(indices),)]


@implements(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    """As ``numpy.take_along_axis``."""
    arr, axis = one_axis(arr, axis)
    shape = shape_of(arr)
    grids = [np.reshape(np.arange(d), [-1 if i == j else 1 for j in range(len(shape))]) for i, d in enumerate(shape)]
    index = tuple(indices if i == axis else grid for i, grid in enumerate(grids))
    return (arr if is_tensor(arr) else Tensor(np.asarray(arr)))[index]


def _argsort_kernel(x: Any, out: Any = None, *, axis: int) -> Any:
    return stored(np.argsort(x, axis=axis, kind="stable"), out)


ARGSORT = register(
    "argsort",
    shape=lambda x, axis: (x.shape, np.dtype(np.intp)),
    kernel=_argsort_kernel,
    numpy='np.argsort({0}, axis={axis}, kind="stable")',
    vjp=(None,),
    differentiable=False,
    examples=lambda rng: [Example((rng.normal(size=(3, 4)),), {"axis": 1})],
)


@implements(np.argsort)
def argsort(a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    """As ``numpy.argsort``, stable."""
    a, axis = one_axis(a, axis)
    return apply(ARGSORT, (a,), {"axis": axis})


@implements(np.sort)
def sort(a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    """As ``numpy.sort``; each element's gradient goes where it came from."""
    a, axis = one_axis(a, axis)
    return np.take_along_axis(a, argsort(a, axis), axis)


@implements(np.partition)
def partition(a: Any, kth: Any, axis: int = -1, **more: Any) -> Any:
    """As ``numpy.partition``; fully sorted, which is one such partition."""
    return sort(a, axis)


FUNCTIONS["as_dtype"] = as_dtype
