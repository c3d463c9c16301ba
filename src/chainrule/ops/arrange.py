"""Arranging elements: pad, flip, roll, tile, repeat, triangles, diagonals, grids. All are compositions."""

from __future__ import annotations

import builtins
import operator
from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.arguments import choice
from ..core.memory import share_read_only
from ..core.node import FUNCTIONS
from ..core.op import Example, register
from ..core.tensor import Tensor
from .join import concatenate
from .reduce import normalize_axis
from .shape import broadcast_arrays, broadcast_to, moveaxis, reshape, swapaxes
from .table import along, implements, one_axis, shape_of


@implements(np.pad)
def pad(array: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Any:
    """As ``numpy.pad``, for the modes constant, edge, reflect, symmetric and wrap."""
    shape = shape_of(array)
    widths = np.broadcast_to(np.asarray(pad_width), (len(shape), 2)).tolist()
    if builtins.any(w < 0 for pair in widths for w in pair):
        raise ValueError(f"pad: pad_width {pad_width} has a negative width")
    if mode == "constant":
        fills = np.broadcast_to(np.asarray(constant_values), (len(shape), 2))
        for axis, pair in enumerate(widths):
            have = shape_of(array)
            before, after = (
                [np.full([width if i == axis else d for i, d in enumerate(have)], fill, array.dtype)] * (width > 0)
                for width, fill in zip(pair, fills[axis].tolist(), strict=True)
            )
            array = concatenate([*before, array, *after], axis)
        return array
    choice("mode", mode, ("constant", "edge", "reflect", "symmetric", "wrap"))
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


def _rolled(x: Any, *, shift: int, axis: int) -> Any:
    """The last `shift` positions along an axis, then the others."""
    axis, rest = axis % len(shape_of(x)), shape_of(x)[axis] - shift
    return concatenate([along(x, axis, rest), along(x, axis, 0, rest)], axis)


ROLL = register(
    "roll",
    numpy=np.roll,
    shape=lambda x, shift, axis: (tuple(x.shape), x.dtype),
    expand=_rolled,
    vjp=(lambda g, out, x, shift, axis: _roll_along(g, x.shape[axis] - shift, axis),),
    batch=lambda batched, x, shift, axis: _roll_along(x, shift, axis),
    examples=lambda rng: [
        Example((rng.normal(size=(3, 4)),), {"shift": 1, "axis": -2}),
        Example((rng.normal(size=(5,)),), {"shift": 3, "axis": -1}),
    ],
    flops=lambda out, x, **attrs: 0,
)


def _roll_along(x: Any, shift: int, axis: int) -> Any:
    return apply(ROLL, (x,), {"shift": shift, "axis": axis})


@implements(np.roll)
def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    """As ``numpy.roll``."""
    if axis is None:
        return reshape(roll(reshape(a, -1), shift, 0), shape_of(a))
    shifts, axes = np.broadcast_arrays(shift, axis)
    given = a
    for s, ax in zip(shifts.ravel().tolist(), axes.ravel().tolist(), strict=True):
        (ax,) = normalize_axis(ax, len(shape_of(a)))
        n = shape_of(a)[ax]
        s = s % n if n else 0
        if s:
            a = _roll_along(a, s, ax - len(shape_of(a)))
    return np.copy(a) if a is given else a  # never the array itself


@implements(np.fft.fftshift)
def fftshift(x: Any, axes: Any = None) -> Any:
    """As ``numpy.fft.fftshift``."""
    return _halfway(x, axes, 1)


@implements(np.fft.ifftshift)
def ifftshift(x: Any, axes: Any = None) -> Any:
    """As ``numpy.fft.ifftshift``."""
    return _halfway(x, axes, -1)


def _halfway(x: Any, axes: Any, sign: int) -> Any:
    """Roll by half the length of each axis, forwards or backwards."""
    n = len(shape_of(x))
    chosen = range(n) if axes is None else normalize_axis(axes, n)
    return roll(x, [sign * (shape_of(x)[ax] // 2) for ax in chosen], list(chosen)) if n else x


@implements(np.tile)
def tile(A: Any, reps: Any) -> Any:
    """As ``numpy.tile``."""
    counts = [operator.index(r) for r in (reps if np.iterable(reps) else (reps,))]
    shape = list(shape_of(A))
    counts = [1] * (len(shape) - len(counts)) + counts
    shape = [1] * (len(counts) - len(shape)) + shape
    if set(counts) <= {1}:
        return np.copy(reshape(A, shape))
    pairs = [d for d in shape for _ in (0, 1)]
    pairs[::2] = [1] * len(shape)
    spread = [n for r, d in zip(counts, shape, strict=True) for n in (r, d)]
    return reshape(broadcast_to(reshape(A, pairs), spread), [r * d for r, d in zip(counts, shape, strict=True)])


@implements(np.repeat)
def repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    """As ``numpy.repeat``."""
    a, axis = one_axis(a, axis)
    return np.take(a, np.repeat(np.arange(shape_of(a)[axis]), np.asarray(repeats)), axis=axis)


# -- triangles and diagonals -----------------------------------------------------------------------


def _triangle(m: Any, k: int) -> Any:
    rows, columns = shape_of(m)[-2:]
    return np.tri(rows, columns, k, dtype=bool)


@implements(np.tril)
def tril(m: Any, k: int = 0) -> Any:
    """As ``numpy.tril``."""
    return np.where(_triangle(m, k), m, np.zeros((), m.dtype))


@implements(np.triu)
def triu(m: Any, k: int = 0) -> Any:
    """As ``numpy.triu``."""
    return np.where(_triangle(m, k - 1), np.zeros((), m.dtype), m)


@implements(np.diagonal)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """As ``numpy.diagonal``: a view that is only read."""
    made = _diagonal(a, offset, axis1, axis2)
    if isinstance(made, Tensor):

        def read(base: Any) -> Any:
            function = _diagonal if isinstance(base, Tensor) else np.diagonal
            return function(base, offset, axis1, axis2)

        share_read_only(made, a, read)
    return made


def _diagonal(a: Any, offset: int, axis1: int, axis2: int) -> Any:
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
        raise ValueError(f"diag: v has shape {tuple(shape_of(v))}, expected a vector or a matrix")
    fill = np.zeros(abs(k), v.dtype)
    rows = concatenate([v, fill] if k >= 0 else [fill, v])  # chosen, not added to zeros: -0 stays
    return np.where(np.eye(shape_of(rows)[0], k=k, dtype=bool), reshape(rows, (-1, 1)), np.zeros((), v.dtype))


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
    if not sparse:
        grids = list(broadcast_arrays(*grids))
    return tuple(FUNCTIONS[np.copy](x) for x in grids) if copy else tuple(grids)
