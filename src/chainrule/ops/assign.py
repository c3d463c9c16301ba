"""Assignment: the row of ``x[index] = values``, and NumPy's functions that write into an array."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.memory import as_array, is_number, share, write
from ..core.node import FUNCTIONS
from ..core.notation import Layout
from ..core.op import Example, Shape, register
from ..core.tensor import Tensor
from .index import GATHER, SLICE, Slot, filled, parsed, probe
from .logic import identity
from .shape import RESHAPE
from .table import array_of, as_dtype, implements, is_tensor, shape_of

# -- the row ---------------------------------------------------------------------------------------
# Its inputs are the array, the index arrays as in gathering, and the values.


def _assign_shape(x: Any, *rest: Any, index: Any, repeats: bool) -> tuple[Shape, np.dtype[Any]]:
    *arrays, values = rest
    target = _target(x, arrays, index)
    try:
        fits = np.broadcast_shapes(values.shape, target) == target
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"could not broadcast input array from shape {tuple(values.shape)} into shape {target}")
    return tuple(x.shape), x.dtype


def _target(x: Any, arrays: Any, index: Any) -> Shape:
    target: Shape = probe(x.shape)[filled(index, [np.zeros(a.shape, np.intp) for a in arrays])].shape
    return target


def _assign_kernel(x: Any, *rest: Any, out: Any = None, index: Any, repeats: bool) -> Any:
    *arrays, values = rest
    if out is None:
        out = np.array(x)
    elif not np.may_share_memory(out, x):
        np.copyto(out, x)
    out[filled(index, arrays)] = values
    return out


def _assigned(x: Any, values: Any, index: Any, repeats: bool = False) -> Any:
    """Return a copy of x with values assigned at the index."""
    new = np.array(x)
    new[index] = values
    return new


def _assign_rule(i: int, g: Any, out: Any, x: Any, *rest: Any, index: Any, repeats: bool) -> Any:
    arrays = rest[:-1]
    if i == 0:
        return apply(ASSIGN, (g, *arrays, np.zeros((), g.dtype)), {"index": index, "repeats": False})
    if i <= len(arrays):
        return None
    if not arrays:
        return apply(SLICE, (g,), {"index": index})
    part = apply(GATHER, (g, *arrays), {"index": index})
    if not repeats:
        return part
    # of values assigned to one position the last one stays: find out which those are by assigning their numbers
    order = np.arange(int(np.prod(part.shape))).reshape(part.shape)
    marks = apply(ASSIGN, (np.zeros(tuple(x.shape), np.intp), *arrays, order), {"index": index, "repeats": True})
    return np.where(np.equal(apply(GATHER, (marks, *arrays), {"index": index}), order), part, np.zeros((), g.dtype))


def _kept(i: int, out: Any, x: Any, *rest: Any, index: Any, repeats: bool) -> Any:
    """Return where the elements of x are kept, when they are asked for."""
    if i:
        return None
    marks = (np.ones(tuple(x.shape), bool), *rest[:-1], np.zeros((), bool))
    return lambda: apply(ASSIGN, marks, {"index": index, "repeats": False}), True


ASSIGN = register(
    "assign",
    shape=_assign_shape,
    kernel=_assign_kernel,
    numpy=_assigned,
    vjp=_assign_rule,
    aliases=(0,),
    selects=_kept,
    notation=Layout("assigned"),
    examples=lambda rng: [
        Example((rng.normal(size=(3, 4)), rng.normal(size=(2, 1))), {"index": (slice(1, None),), "repeats": False}),
        Example((rng.normal(size=(3, 4)), rng.normal(size=())), {"index": (2, 3), "repeats": False}),
        Example(
            (rng.normal(size=(3, 4)), np.array([0, 2, 0]), rng.normal(size=(3, 4))),
            {"index": (Slot(0),), "repeats": True},
        ),
        Example(
            (rng.normal(size=(3, 4)), np.array([0, 2]), np.array([1, 1]), rng.normal(size=(2,))),
            {"index": (Slot(0), Slot(1)), "repeats": False},
        ),
    ],
    flops=lambda out, *shapes, **attrs: 0,
)


@implements("assign")
def assign(x: Any, values: Any, index: Any, arrays: Any = ()) -> Any:
    """Return `x` with `values` at an index: how a write into a view is put into its base."""
    return apply(ASSIGN, (x, *arrays, values), {"index": index, "repeats": False})


def _of(x: Tensor, value: Any) -> Any:
    """Return a value to be assigned in the dtype of `x`; no derivative flows through a float made an integer."""
    value = array_of(value)
    if not isinstance(value, Tensor):
        return np.asarray(value, dtype=x.dtype)
    if x.dtype.kind != "f" and value.dtype.kind == "f":
        value = FUNCTIONS["stop_gradient"](value)
    return as_dtype(value, x.dtype)


@implements("setitem")
def setitem(x: Tensor, index: Any, value: Any) -> None:
    """As ``array[index] = value``."""
    if _is_view_at(x, index, value):
        return
    value = _of(x, value)
    if isinstance(index, Tensor) and index.dtype == bool and index.value is None:
        write(x, _masked(x, index, value))
        return
    if index is Ellipsis or (isinstance(index, slice) and index == slice(None) and x.shape):
        write(x, identity(as_tensor(np.broadcast_to(_stripped(value, len(x.shape)), x.shape))))
        return
    plain, arrays = parsed(x, index)
    key = tuple(plain)
    try:
        target = _target(x, arrays, key)
    except IndexError as error:
        raise IndexError(f"index {index!r} on shape {x.shape}: {error}") from None
    value = _stripped(value, len(target))
    repeats = bool(arrays) and not _unique(arrays, index)
    write(x, apply(ASSIGN, (x, *arrays, value), {"index": key, "repeats": repeats}))


def _is_view_at(x: Tensor, index: Any, value: Any) -> bool:
    """Whether a value is the view of `x` at this index: ``x[index] += y`` changes the view, then assigns it."""
    memory = value.memory if isinstance(value, Tensor) else None
    if memory is None or memory.base is not x or memory.op is not SLICE:
        return False
    parts, viewed = index if isinstance(index, tuple) else (index,), memory.attrs["index"]
    return len(parts) == len(viewed) and builtins.all(
        (a is None or a is Ellipsis or isinstance(a, int | slice)) and type(a) is type(b) and a == b
        for a, b in zip(parts, viewed, strict=True)
    )


def as_tensor(x: Any) -> Tensor:
    """Return a tensor unchanged, an array as a constant."""
    return x if isinstance(x, Tensor) else Tensor(x)


def _stripped(value: Any, ndim: int) -> Any:
    """Return values without leading axes of length 1 that are too many: NumPy's assignment ignores these."""
    shape = tuple(shape_of(value))
    extra = len(shape) - ndim
    return np.reshape(value, shape[extra:]) if extra > 0 and builtins.all(n == 1 for n in shape[:extra]) else value


def _unique(arrays: Any, index: Any) -> bool:
    """Whether no position can occur twice among index arrays."""
    masks = [
        i for i in (index if isinstance(index, tuple) else (index,)) if hasattr(i, "dtype") and i.dtype.kind == "b"
    ]
    if masks and len(arrays) == builtins.sum(m.ndim for m in masks):
        return True
    values = [a.value if isinstance(a, Tensor) else a for a in arrays]
    if len(values) > 1 or values[0] is None:
        return False
    return bool((values[0] >= 0).all()) and len(np.unique(values[0])) == values[0].size


def _masked(x: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Return `x` with a value where a traced mask holds: the value must not depend on how many elements it picks."""
    if mask.shape != x.shape[: mask.ndim]:
        raise IndexError(f"boolean index of shape {mask.shape} on shape {x.shape}; the lengths must be equal")
    rest = x.shape[mask.ndim :]
    value = _stripped(value, len(rest))
    if len(shape_of(value)) > len(rest):
        raise TypeError(
            f"x[mask] = values of shape {tuple(shape_of(value))} needs the values of the mask, which is being traced. "
            "Use np.where(mask, values, x), with values shaped like x."
        )
    picked: Any = np.reshape(mask, mask.shape + (1,) * len(rest))
    made: Any = np.where(picked, value, x)
    return as_tensor(made)


# -- in-place operators and out= -------------------------------------------------------------------


@implements("into")
def into(out: Tensor, result: Any, casting: Any = "same_kind", where: Any = True) -> Tensor:
    """Write a result into a tensor, as ``out=`` and ``np.copyto`` do; return the tensor."""
    result = array_of(result)
    if not np.can_cast(result.dtype, out.dtype, casting):
        raise TypeError(f"cannot cast the result from {result.dtype} to {out.dtype} with casting rule {casting!r}")
    if np.broadcast_shapes(tuple(result.shape), out.shape) != out.shape:
        raise ValueError(
            f"non-broadcastable output operand with shape {out.shape} doesn't match the broadcast shape "
            f"{tuple(result.shape)}"
        )
    if where is not True:
        result = np.where(where, _of(out, result), out)
    setitem(out, ..., result)
    return out


@implements("in place")
def in_place(x: Tensor, result: Any) -> Any:
    """Return what ``x += y`` binds: `x` with the result written into it, or the result where `x` is a number."""
    return result if is_number(x) else into(x, result)


@implements("ufunc.at")
def at(ufunc: Any, a: Any, indices: Any, b: Any = None) -> None:
    """As ``ufunc.at``: repeated indices accumulate."""
    _check_target(a, f"np.{ufunc.__name__}.at")
    plain, arrays = parsed(a, indices)
    if not arrays or _unique(arrays, indices):
        a[indices] = ufunc(a[indices]) if b is None else ufunc(a[indices], b)
        return
    positions = np.arange(int(np.prod(a.shape))).reshape(a.shape)
    index = filled(tuple(plain), [x.concrete(f"np.{ufunc.__name__}.at") if is_tensor(x) else x for x in arrays])
    where = positions[index].reshape(-1)
    values = None if b is None else np.reshape(np.broadcast_to(array_of(b), positions[index].shape), -1).copy()
    cells = flat(a)
    if ufunc is np.add or ufunc is np.subtract:
        total = FUNCTIONS["scatter_add"](as_tensor(values), (where,), cells.shape)
        a[...] = into(a.copy(), ufunc(a, np.reshape(total, a.shape)))
        return
    for turn in _turns(where):
        taken = cells[where[turn]]
        cells[where[turn]] = ufunc(taken) if values is None else ufunc(taken, values[turn])


def _turns(where: Any) -> list[Any]:
    """Return which entries come first at their position, which second, and so on."""
    order = np.argsort(where, kind="stable")
    starts = np.flatnonzero(np.r_[True, where[order][1:] != where[order][:-1]])
    rank = np.arange(where.size) - np.repeat(starts, np.diff(np.r_[starts, where.size]))
    return [order[rank == k] for k in range(int(rank.max(initial=-1)) + 1)]


def _check_target(a: Any, name: str) -> None:
    if not isinstance(a, Tensor):
        raise TypeError(
            f"{name} writes a tensor into a plain array (shape {np.shape(a)}), where the gradient would be lost. Make "
            f"a tensor to write to: np.zeros_like(tensor, shape={np.shape(a)})."
        )


# -- functions that write --------------------------------------------------------------------------


@implements("flat")
def flat(x: Tensor) -> Tensor:
    """Return the elements as one axis, in C order: a view whatever the layout in memory."""
    attrs = {"shape": (x.size,)}
    made: Tensor = apply(RESHAPE, (x,), attrs)
    share(made, x, RESHAPE, attrs, sure=True)
    return made


@implements(np.copyto)
def copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
    """As ``numpy.copyto``."""
    _check_target(dst, "np.copyto")
    into(dst, src, casting, where)


def _cycled(values: Any, count: int) -> Any:
    """Return the first `count` values, repeated as often as needed."""
    values = np.reshape(array_of(values), -1)
    return values[np.arange(count) % shape_of(values)[0]]


@implements(np.put)
def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    """As ``numpy.put``."""
    _check_target(a, "np.put")
    where = np.asarray(ind).reshape(-1)
    if mode != "raise":
        where = np.clip(where, 0, a.size - 1) if mode == "clip" else where % a.size
    if where.size:
        flat(a)[where] = _cycled(v, where.size)


@implements(np.place)
def place_values(arr: Any, mask: Any, vals: Any) -> None:
    """As ``numpy.place``."""
    _check_target(arr, "np.place")
    where = np.flatnonzero(mask.concrete("np.place") if is_tensor(mask) else mask)
    if where.size:
        flat(arr)[where] = _cycled(vals, where.size)


@implements(np.putmask)
def putmask(a: Any, mask: Any, values: Any) -> None:
    """As ``numpy.putmask``."""
    _check_target(a, "np.putmask")
    into(a, np.reshape(_cycled(values, a.size), a.shape), "same_kind", np.reshape(mask, a.shape))


@implements(np.fill_diagonal)
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    """As ``numpy.fill_diagonal``."""
    _check_target(a, "np.fill_diagonal")
    marks = np.zeros(a.shape, bool)
    np.fill_diagonal(marks, True, wrap)
    place_values(a, marks, val)


@implements(np.put_along_axis)
def put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None = -1) -> None:
    """As ``numpy.put_along_axis``."""
    _check_target(arr, "np.put_along_axis")
    if axis is None:
        arr, axis = flat(arr), 0
    n = len(arr.shape)
    where = shape_of(indices)
    grids = [np.reshape(np.arange(d), [-1 if i == j else 1 for j in range(n)]) for i, d in enumerate(where)]
    arr[tuple(array_of(indices) if i == axis % n else grid for i, grid in enumerate(grids))] = values


# -- arrays to be filled ---------------------------------------------------------------------------


def _like(fill: float) -> Any:
    def function(
        a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, **more: Any
    ) -> Any:
        return as_array(Tensor(np.full(shape_of(a) if shape is None else shape, fill, dtype or a.dtype)))

    return function


FUNCTIONS[np.zeros_like] = FUNCTIONS[np.empty_like] = _like(0)
FUNCTIONS[np.ones_like] = _like(1)


@implements(np.full_like)
def full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, **more: Any
) -> Any:
    """As ``numpy.full_like``; the fill may be a tensor."""
    made = _like(0)(a if is_tensor(a) else np.asarray(a), dtype, shape=shape)
    made[...] = np.asarray(fill_value, made.dtype) if type(fill_value) is int else fill_value
    return made


@implements(np.copy)
def copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    """As ``numpy.copy``."""
    made = identity(a)
    if isinstance(made, Tensor) and made.value is not None and not made.value.flags.c_contiguous:
        made.value = made.value.copy("K" if order == "K" else "C")  # as NumPy's, which ravel and reshape depend on
    return as_array(made)


@implements("copied")
def copied(x: Tensor) -> Tensor:
    """As ``array.copy()``; a number stays one."""
    made: Tensor = identity(x)
    if made.value is not None and (made.op is None or not made.value.flags.c_contiguous):
        made.value = made.value.copy()
    if made.op is None:
        made.name = x.name
    return made if is_number(x) else as_array(made)
