"""Shapes: transpose, reshape, broadcast, join, split, pad, flip, roll, tile, repeat, triangles."""

from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..op import OTHER, VIEW, Example, Operation, Shape
from ..tensor import FUNCTIONS, Tensor, apply
from .reduce import normalize_axis
from .table import as_dtype, implements, is_tensor, promote, register, shape_of

# -- the views -----------------------------------------------------------------------------------------------------------

TRANSPOSE = register(
    Operation(
        "transpose",
        shape=lambda x, axes: (tuple(x.shape[i] for i in axes), x.dtype),
        kernel=lambda x, axes: np.transpose(x, axes),
        vjp=(lambda g, out, x, axes: np.transpose(g, _inverse(axes)),),
        kind=VIEW,
        latex="{0}^T",
        examples=lambda rng: [
            Example((rng.normal(size=(2, 3)),), {"axes": (1, 0)}),
            Example((rng.normal(size=(2, 3, 4)),), {"axes": (2, 0, 1)}),
        ],
        flops=lambda out, *shapes, **attrs: 0,
    )
)


def _inverse(axes: Sequence[int]) -> tuple[int, ...]:
    out = [0] * len(axes)
    for i, a in enumerate(axes):
        out[a] = i
    return tuple(out)


@implements(np.transpose, np.permute_dims)
def transpose(a: Any, axes: Sequence[int] | None = None) -> Any:
    """As ``numpy.transpose``."""
    ndim = len(shape_of(a))
    order = tuple(range(ndim))[::-1] if axes is None else tuple(operator.index(i) for i in axes)
    if sorted(i % ndim if -ndim <= i < ndim else i for i in order) != list(range(ndim)):
        raise ValueError(f"transpose: axes {order} are not a permutation of the {ndim} axes of shape {shape_of(a)}")
    return apply(TRANSPOSE, (a,), {"axes": tuple(i % ndim for i in order)})


@implements(np.matrix_transpose)
def matrix_transpose(a: Any) -> Any:
    """As ``numpy.matrix_transpose``: exchange the last two axes."""
    return np.swapaxes(a, -1, -2)


@implements(np.swapaxes)
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    """As ``numpy.swapaxes``."""
    order = list(range(len(shape_of(a))))
    (i,), (j,) = normalize_axis(axis1, len(order)), normalize_axis(axis2, len(order))
    order[i], order[j] = order[j], order[i]
    return transpose(a, order)


@implements(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    """As ``numpy.moveaxis``."""
    ndim = len(shape_of(a))
    sources = [operator.index(i) % ndim for i in (source if np.iterable(source) else [source])]
    targets = [operator.index(i) % ndim for i in (destination if np.iterable(destination) else [destination])]
    order = [i for i in range(ndim) if i not in sources]
    for t, s in sorted(zip(targets, sources, strict=True)):
        order.insert(t, s)
    return transpose(a, order)


@implements(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """As ``numpy.rollaxis``."""
    ndim = len(shape_of(a))
    (axis,) = normalize_axis(axis, ndim)
    start = start + ndim if start < 0 else start
    return moveaxis(a, axis, start - 1 if axis < start else start)


RESHAPE = register(
    Operation(
        "reshape",
        shape=lambda x, shape: (shape, x.dtype),
        kernel=lambda x, shape: np.reshape(x, shape),
        vjp=(lambda g, out, x, shape: np.reshape(g, tuple(x.shape)),),
        kind=VIEW,
        latex="{0}",
        examples=lambda rng: [
            Example((rng.normal(size=(2, 6)),), {"shape": (3, 4)}),
            Example((rng.normal(size=(2, 6)),), {"shape": (12,)}),
            Example((rng.normal(size=(1,)),), {"shape": ()}),
        ],
        flops=lambda out, *shapes, **attrs: 0,
    )
)


@implements(np.reshape)
def reshape(a: Any, /, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: bool | None = None) -> Any:
    """As ``numpy.reshape``, in C order."""
    if order != "C":
        raise TypeError(f"reshape: order={order!r}; tensors are reshaped in C order, transpose first for another")
    old = shape_of(a)
    wanted = shape if shape is not None else newshape
    target = [operator.index(d) for d in (wanted if np.iterable(wanted) else (wanted,))]
    size = math.prod(old)
    if target.count(-1) == 1:
        rest = -math.prod(target)
        if rest == 0 or size % rest:
            raise ValueError(f"reshape: {size} elements of shape {tuple(old)} do not fit {tuple(target)}")
        target[target.index(-1)] = size // rest
    if math.prod(target) != size or builtins.any(d < 0 for d in target):
        raise ValueError(f"reshape: {size} elements of shape {tuple(old)} do not fit {tuple(target)}")
    if tuple(target) == tuple(old):
        return a
    return apply(RESHAPE, (a,), {"shape": tuple(target)})


@implements(np.ravel)
def ravel(a: Any, order: str = "C") -> Any:
    """As ``numpy.ravel``."""
    return reshape(a, -1, order)


@implements(np.squeeze)
def squeeze(a: Any, axis: Any = None) -> Any:
    """As ``numpy.squeeze``."""
    old = shape_of(a)
    axes = tuple(i for i, d in enumerate(old) if d == 1) if axis is None else normalize_axis(axis, len(old))
    for i in axes:
        if old[i] != 1:
            raise ValueError(f"squeeze: axis {i} of shape {tuple(old)} has length {old[i]}, only axes of length 1 can go")
    return reshape(a, [d for i, d in enumerate(old) if i not in axes])


@implements(np.expand_dims)
def expand_dims(a: Any, axis: Any) -> Any:
    """As ``numpy.expand_dims``."""
    old = list(shape_of(a))
    axes = normalize_axis(axis, len(old) + (len(axis) if isinstance(axis, tuple | list) else 1))
    for i in axes:
        old.insert(i, 1)
    return reshape(a, old)


def _at_least(ndim: int) -> Any:
    def function(*arrays: Any) -> Any:
        out = []
        for a in arrays:
            shape = shape_of(a)
            if ndim == 3 and len(shape) == 2:
                shape = (*shape, 1)
            elif ndim == 3 and len(shape) == 1:
                shape = (1, *shape, 1)
            out.append(reshape(a, (1,) * (ndim - len(shape)) + tuple(shape)))
        return out[0] if len(out) == 1 else tuple(out)

    return function


for _function, _ndim in ((np.atleast_1d, 1), (np.atleast_2d, 2), (np.atleast_3d, 3)):
    FUNCTIONS[_function] = _at_least(_ndim)

BROADCAST = register(
    Operation(
        "broadcast_to",
        shape=lambda x, shape: (shape, x.dtype),
        kernel=lambda x, shape: np.broadcast_to(x, shape),
        vjp=(lambda g, out, x, shape: unbroadcast(g, tuple(x.shape)),),
        kind=VIEW,
        latex="{0}",
        examples=lambda rng: [
            Example((rng.normal(size=(3, 1)),), {"shape": (2, 3, 4)}),
            Example((rng.normal(size=()),), {"shape": (2, 2)}),
        ],
        flops=lambda out, *shapes, **attrs: 0,
    )
)


@implements(np.broadcast_to)
def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    """As ``numpy.broadcast_to``."""
    target = tuple(operator.index(d) for d in (shape if np.iterable(shape) else (shape,)))
    old = tuple(shape_of(array))
    if old == target:
        return array
    fits = len(old) <= len(target) and builtins.all(
        a in (1, b) for a, b in zip(old[::-1], target[::-1], strict=False)
    )
    if not fits:
        raise ValueError(f"broadcast_to: shape {old} does not broadcast to {target}")
    return apply(BROADCAST, (array,), {"shape": target})


@implements(np.broadcast_arrays)
def broadcast_arrays(*arrays: Any, subok: bool = False) -> tuple[Any, ...]:
    """As ``numpy.broadcast_arrays``."""
    shape = np.broadcast_shapes(*[shape_of(a) for a in arrays])
    return tuple(broadcast_to(a, shape) if is_tensor(a) else np.broadcast_to(a, shape) for a in arrays)


def unbroadcast(g: Any, shape: Shape) -> Any:
    """Sum `g` over the axes along which `shape` was broadcast to g's shape."""
    have = tuple(g.shape)
    if have == shape:
        return g
    lead = len(have) - len(shape)
    if lead < 0:
        return np.broadcast_to(g, shape)
    axes = tuple(i for i, d in enumerate(have) if i < lead or (shape[i - lead] == 1 and d != 1))
    if axes:
        g = np.sum(g, axis=axes, keepdims=lead == 0)
    if tuple(g.shape) != shape:
        size_one = math.prod(g.shape) == math.prod(shape)
        g = np.reshape(g, shape) if size_one else np.broadcast_to(g, shape)
    return g


# -- joining and splitting -------------------------------------------------------------------------------------------------


def _concatenate_shape(*xs: Any, axis: int) -> tuple[Shape, np.dtype[Any]]:
    first = tuple(xs[0].shape)
    for i, x in enumerate(xs):
        same = len(x.shape) == len(first) and builtins.all(
            a == b for j, (a, b) in enumerate(zip(x.shape, first, strict=True)) if j != axis
        )
        if not same:
            raise ValueError(f"concatenate: array {i} has shape {tuple(x.shape)}, array 0 has {first}; only axis {axis} may differ")
    return tuple(builtins.sum(x.shape[axis] for x in xs) if j == axis else d for j, d in enumerate(first)), xs[0].dtype


def _concatenate_rule(index: int, g: Any, out: Any, *xs: Any, axis: int) -> Any:
    start = builtins.sum(x.shape[axis] for x in xs[:index])
    return g[(slice(None),) * axis + (slice(start, start + xs[index].shape[axis]),)]


CONCATENATE = register(
    Operation(
        "concatenate",
        shape=_concatenate_shape,
        kernel=lambda *xs, out=None, axis: np.concatenate(xs, axis, out),
        vjp=_concatenate_rule,
        kind=OTHER,
        latex=lambda *xs, axis: r"\left[" + ", ".join(xs) + r"\right]",
        examples=lambda rng: [
            Example((rng.normal(size=(2, 3)), rng.normal(size=(2, 1)), rng.normal(size=(2, 0))), {"axis": 1}),
            Example((rng.normal(size=(2, 3)), rng.normal(size=(1, 3))), {"axis": 0}),
        ],
        flops=lambda out, *shapes, **attrs: 0,
    )
)


@implements(np.concatenate, np.concat)
def concatenate(arrays: Sequence[Any], axis: int | None = 0, out: None = None, *, dtype: Any = None, **more: Any) -> Any:
    """As ``numpy.concatenate``."""
    if len(arrays) == 0:
        raise ValueError("concatenate: no arrays given")
    parts = list(arrays)
    if axis is None:
        parts, axis = [np.reshape(p, -1) for p in parts], 0
    if not is_tensor(*parts):
        return np.concatenate(parts, axis)
    if builtins.any(len(shape_of(p)) == 0 for p in parts):
        raise ValueError("concatenate: arrays without axes cannot be joined; np.stack joins scalars")
    (axis,) = normalize_axis(axis, len(shape_of(parts[0])))
    promoted, _ = promote(*parts)
    out_ = apply(CONCATENATE, promoted, {"axis": axis}) if len(promoted) > 1 else promoted[0]
    return out_ if dtype is None else as_dtype(out_, dtype)


@implements(np.stack)
def stack(arrays: Sequence[Any], axis: int = 0, out: None = None, **more: Any) -> Any:
    """As ``numpy.stack``."""
    parts = [a if is_tensor(a) else np.asarray(a) for a in arrays]
    shapes = {tuple(shape_of(a)) for a in parts}
    if len(shapes) != 1:
        raise ValueError(f"stack: all arrays must have one shape; found {', '.join(map(str, sorted(shapes)))}")
    return concatenate([np.expand_dims(a, axis) for a in parts], axis)


def _stacker(function: Any, ndim: int, axis: Any) -> None:
    @implements(function)
    def implementation(tup: Sequence[Any], **more: Any) -> Any:
        parts = list(tup)
        if function is np.column_stack:
            parts = [np.reshape(p, (-1, 1)) if len(shape_of(p)) < 2 else p for p in parts]
        else:
            atleast = {1: np.atleast_1d, 2: np.atleast_2d, 3: np.atleast_3d}[ndim]
            parts = [atleast(p) for p in parts]
        return concatenate(parts, axis(len(shape_of(parts[0]))))


_stacker(np.vstack, 2, lambda ndim: 0)
_stacker(np.hstack, 1, lambda ndim: 0 if ndim == 1 else 1)
_stacker(np.dstack, 3, lambda ndim: 2)
_stacker(np.column_stack, 2, lambda ndim: 1)


@implements(np.split, np.array_split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """As ``numpy.split``; parts may be unequal as in ``numpy.array_split``."""
    (axis,) = normalize_axis(axis, len(shape_of(ary)))
    n = shape_of(ary)[axis]
    if np.iterable(indices_or_sections):
        edges = [0, *[operator.index(i) for i in indices_or_sections], n]
    else:
        sections = operator.index(indices_or_sections)
        small, extra = divmod(n, sections)
        edges = [0]
        for i in range(sections):
            edges.append(edges[-1] + small + (i < extra))
    lead = (slice(None),) * axis
    return [ary[(*lead, slice(a, b))] for a, b in zip(edges, edges[1:], strict=False)]


@implements(np.split)
def split_evenly(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """As ``numpy.split``: a number of sections must divide the axis."""
    n = shape_of(ary)[normalize_axis(axis, len(shape_of(ary)))[0]]
    if not np.iterable(indices_or_sections) and n % operator.index(indices_or_sections):
        raise ValueError(f"split: {n} elements do not divide into {indices_or_sections} equal parts; np.array_split takes unequal ones")
    return split(ary, indices_or_sections, axis)


FUNCTIONS[np.vsplit] = lambda ary, parts: split_evenly(ary, parts, 0)
FUNCTIONS[np.hsplit] = lambda ary, parts: split_evenly(ary, parts, 0 if len(shape_of(ary)) == 1 else 1)
FUNCTIONS[np.unstack] = lambda x, /, *, axis=0: tuple(np.moveaxis(x, axis, 0)[i] for i in range(shape_of(x)[axis]))


@implements(np.append)
def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """As ``numpy.append``."""
    return concatenate([arr, values], axis)


# -- pad, flip, roll, tile, repeat: compositions ---------------------------------------------------------------------------


@implements(np.pad)
def pad(array: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Any:
    """As ``numpy.pad``, for the modes constant, edge, reflect, symmetric and wrap."""
    shape = shape_of(array)
    widths = np.broadcast_to(np.asarray(pad_width), (len(shape), 2)).tolist()
    if builtins.any(w < 0 for pair in widths for w in pair):
        raise ValueError(f"pad: pad_width {pad_width} holds a negative width")
    if mode == "constant":
        fills = np.broadcast_to(np.asarray(constant_values), (len(shape), 2))
        for axis, (before, after) in enumerate(widths):
            parts = [array]
            have = list(shape_of(array))
            if before:
                parts.insert(0, np.full([before if i == axis else d for i, d in enumerate(have)], fills[axis, 0], array.dtype))
            if after:
                parts.append(np.full([after if i == axis else d for i, d in enumerate(have)], fills[axis, 1], array.dtype))
            array = concatenate(parts, axis)
        return array
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise TypeError(f"pad: mode {mode!r} has no rule; constant, edge, reflect, symmetric and wrap have")
    for axis, (before, after) in enumerate(widths):
        if before or after:
            source = np.pad(np.arange(shape[axis]), (before, after), mode=mode)  # type: ignore[call-overload]
            array = np.take(array, source, axis=axis)
    return array


@implements(np.flip)
def flip(m: Any, axis: Any = None) -> Any:
    """As ``numpy.flip``."""
    axes = normalize_axis(axis, len(shape_of(m)))
    return m[tuple(slice(None, None, -1) if i in axes else slice(None) for i in range(len(shape_of(m))))]


FUNCTIONS[np.flipud] = lambda m: flip(m, 0)
FUNCTIONS[np.fliplr] = lambda m: flip(m, 1)


@implements(np.rot90)
def rot90(m: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Any:
    """As ``numpy.rot90``."""
    for _ in range(k % 4):
        m = flip(swapaxes(m, *axes), axes[0])
    return m


@implements(np.roll)
def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    """As ``numpy.roll``."""
    if axis is None:
        return reshape(roll(reshape(a, -1), shift, 0), shape_of(a))
    shifts, axes = np.broadcast_arrays(shift, axis)
    for s, ax in zip(shifts.ravel().tolist(), axes.ravel().tolist(), strict=True):
        (ax,) = normalize_axis(ax, len(shape_of(a)))
        n = shape_of(a)[ax]
        s = s % n if n else 0
        if s:
            lead = (slice(None),) * ax
            a = concatenate([a[(*lead, slice(n - s, None))], a[(*lead, slice(0, n - s))]], ax)
    return a


@implements(np.tile)
def tile(A: Any, reps: Any) -> Any:
    """As ``numpy.tile``."""
    counts = [operator.index(r) for r in (reps if np.iterable(reps) else (reps,))]
    shape = list(shape_of(A))
    counts = [1] * (len(shape) - len(counts)) + counts
    shape = [1] * (len(counts) - len(shape)) + shape
    pairs = [d for d in shape for _ in (0, 1)]
    pairs[::2] = [1] * len(shape)
    spread = [n for r, d in zip(counts, shape, strict=True) for n in (r, d)]
    return reshape(broadcast_to(reshape(A, pairs), spread), [r * d for r, d in zip(counts, shape, strict=True)])


@implements(np.repeat)
def repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    """As ``numpy.repeat``."""
    if axis is None:
        a, axis = reshape(a, -1), 0
    (axis,) = normalize_axis(axis, len(shape_of(a)))
    return np.take(a, np.repeat(np.arange(shape_of(a)[axis]), np.asarray(repeats)), axis=axis)


# -- triangles and diagonals -------------------------------------------------------------------------------------------------


@implements(np.tril)
def tril(m: Any, k: int = 0) -> Any:
    """As ``numpy.tril``."""
    return np.where(np.tri(*shape_of(m)[-2:], k=k, dtype=bool), m, 0.0)


@implements(np.triu)
def triu(m: Any, k: int = 0) -> Any:
    """As ``numpy.triu``."""
    return np.where(np.tri(*shape_of(m)[-2:], k=k - 1, dtype=bool), 0.0, m)


@implements(np.diagonal)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """As ``numpy.diagonal``."""
    a = moveaxis(a, (axis1, axis2), (-2, -1))
    rows, columns = shape_of(a)[-2:]
    i = np.arange(builtins.max(0, builtins.min(rows + builtins.min(offset, 0), columns - builtins.max(offset, 0))))
    return a[..., i + builtins.max(0, -offset), i + builtins.max(0, offset)]


FUNCTIONS[np.linalg.diagonal] = lambda x, /, *, offset=0: diagonal(x, offset, -2, -1)


@implements(np.trace)
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: None = None) -> Any:
    """As ``numpy.trace``."""
    return np.sum(diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype)


FUNCTIONS[np.linalg.trace] = lambda x, /, *, offset=0, dtype=None: trace(x, offset, -2, -1, dtype)


@implements(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    """As ``numpy.diag``: the diagonal of a matrix, or a matrix with this diagonal."""
    if len(shape_of(v)) == 2:
        return diagonal(v, k)
    if len(shape_of(v)) != 1:
        raise ValueError(f"diag: v has shape {tuple(shape_of(v))}; a vector or a matrix would do")
    n = shape_of(v)[0] + abs(k)
    i = np.arange(shape_of(v)[0])
    return FUNCTIONS["scatter_add"](v, (i + builtins.max(0, -k), i + builtins.max(0, k)), (n, n))


@implements(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    """As ``numpy.diagflat``."""
    return diag(reshape(v, -1), k)


@implements(np.meshgrid)
def meshgrid(*xi: Any, indexing: str = "xy", sparse: bool = False, copy: bool = True) -> tuple[Any, ...]:
    """As ``numpy.meshgrid``."""
    n = len(xi)
    grids = [reshape(x, [-1 if i == j else 1 for j in range(n)]) for i, x in enumerate(xi)]
    if indexing == "xy" and n > 1:
        grids = [swapaxes(x, 0, 1) for x in grids]
    return tuple(grids) if sparse else broadcast_arrays(*grids)


# -- functions that read no values -------------------------------------------------------------------------------------------

FUNCTIONS[np.shape] = shape_of
FUNCTIONS[np.ndim] = lambda a: len(shape_of(a))
FUNCTIONS[np.size] = lambda a, axis=None: a.size if axis is None else shape_of(a)[axis]
FUNCTIONS[np.result_type] = lambda *xs: np.result_type(*[x.dtype if isinstance(x, Tensor) else x for x in xs])
FUNCTIONS[np.iscomplexobj] = lambda x: False
FUNCTIONS[np.isrealobj] = lambda x: True
FUNCTIONS[np.real] = lambda x: x


def _like(fill: float) -> Any:
    def function(a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, **more: Any) -> Any:
        return np.full(shape_of(a) if shape is None else shape, fill, dtype or a.dtype)

    return function


FUNCTIONS[np.zeros_like] = FUNCTIONS[np.empty_like] = _like(0)
FUNCTIONS[np.ones_like] = _like(1)


@implements(np.full_like)
def full_like(a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, **more: Any) -> Any:
    """As ``numpy.full_like``; the fill may be a tensor."""
    return broadcast_to(as_dtype(fill_value, dtype or a.dtype), shape_of(a) if shape is None else shape)


@implements(np.allclose)
def allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """As ``numpy.allclose``: compares values, not a differentiable function."""
    return bool(np.allclose(*[x.concrete("np.allclose") if is_tensor(x) else x for x in (a, b)], rtol, atol, equal_nan))


@implements(np.array_equal)
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    """As ``numpy.array_equal``: compares values, not a differentiable function."""
    return bool(np.array_equal(*[x.concrete("np.array_equal") if is_tensor(x) else x for x in (a1, a2)], equal_nan))
