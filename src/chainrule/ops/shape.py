"""Shapes: transpose, reshape, broadcast, and what asks for a shape alone."""

from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.broadcasting import unbroadcast
from ..core.memory import view_if_contiguous
from ..core.node import FUNCTIONS
from ..core.notation import Layout
from ..core.op import VIEW, Example, register
from ..core.tensor import Tensor
from ..core.vmap import Basis, aligned
from .reduce import normalize_axis
from .table import implements, is_tensor, shape_of

# -- the views -------------------------------------------------------------------------------------

TRANSPOSE = register(
    "transpose",
    shape=lambda x, axes: (tuple(x.shape[i] for i in axes), x.dtype),
    kernel=lambda x, axes: np.transpose(x, axes),
    numpy=np.transpose,
    passes=True,
    vjp=(lambda g, out, x, axes: np.transpose(g, _inverse(axes)),),
    batch=lambda batched, x, axes: np.transpose(x, (0, *[a + 1 for a in axes])),
    kind=VIEW,
    put=lambda x, values, axes: transpose(values, _inverse(axes)),
    notation=Layout("transposed"),
    examples=lambda rng: [
        Example((rng.normal(size=(2, 3)),), {"axes": (1, 0)}),
        Example((rng.normal(size=(2, 3, 4)),), {"axes": (2, 0, 1)}),
    ],
    flops=lambda out, *shapes, **attrs: 0,
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
    if axes is None:
        return apply(TRANSPOSE, (a,), {"axes": tuple(range(ndim - 1, -1, -1))})
    order = tuple([operator.index(i) for i in axes])
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
    "reshape",
    shape=lambda x, shape: (shape, x.dtype),
    kernel=lambda x, shape: np.reshape(x, shape),
    numpy=np.reshape,
    passes=True,
    vjp=(lambda g, out, x, shape: np.reshape(g, tuple(x.shape)),),
    batch=lambda batched, x, shape: np.reshape(x, (x.shape[0], *shape)),
    of_basis=lambda batched, x, shape: Basis(shape, x.size, x.dtype),
    kind=VIEW,
    put=lambda x, values, shape: FUNCTIONS["reshaped"](values, tuple(x.shape)),
    notation=Layout("reshaped"),
    examples=lambda rng: [
        Example((rng.normal(size=(2, 6)),), {"shape": (3, 4)}),
        Example((rng.normal(size=(2, 6)),), {"shape": (12,)}),
        Example((rng.normal(size=(1,)),), {"shape": ()}),
    ],
    flops=lambda out, *shapes, **attrs: 0,
)


@implements("reshaped")
def reshaped(a: Any, shape: tuple[int, ...]) -> Any:
    """Return `a` reshaped, always as a node of its own."""
    return apply(RESHAPE, (a,), {"shape": shape})


@implements(np.reshape)
def reshape(a: Any, /, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: bool | None = None) -> Any:
    """As ``numpy.reshape``, in C order."""
    if order != "C":
        raise TypeError(f"reshape: order={order!r}; tensors are reshaped in C order, transpose first for another")
    old = shape_of(a)
    wanted = shape if shape is not None else newshape
    several = isinstance(wanted, tuple | list) or np.iterable(wanted)
    target = [operator.index(d) for d in (wanted if several else (wanted,))]
    size = math.prod(old)
    if target.count(-1) == 1:
        rest = -math.prod(target)
        if rest == 0 or size % rest:
            raise ValueError(f"reshape: {size} elements of shape {tuple(old)} do not fit {tuple(target)}")
        target[target.index(-1)] = size // rest
    if math.prod(target) != size or min(target, default=0) < 0:
        raise ValueError(f"reshape: {size} elements of shape {tuple(old)} do not fit {tuple(target)}")
    if tuple(target) == tuple(old):
        return a
    return apply(RESHAPE, (a,), {"shape": tuple(target)})


@implements(np.ravel)
def ravel(a: Any, order: str = "C") -> Any:
    """As ``numpy.ravel``: a view of what is contiguous in memory, else a copy."""
    if order != "C" or not isinstance(a, Tensor):
        return reshape(a, -1, order)
    made = reshaped(a, (a.size,))
    view_if_contiguous(made)
    return made


@implements(np.squeeze)
def squeeze(a: Any, axis: Any = None) -> Any:
    """As ``numpy.squeeze``."""
    old = shape_of(a)
    axes = tuple(i for i, d in enumerate(old) if d == 1) if axis is None else normalize_axis(axis, len(old))
    for i in axes:
        if old[i] != 1:
            raise ValueError(
                f"squeeze: axis {i} of shape {tuple(old)} has length {old[i]}, only axes of length 1 can go"
            )
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
    "broadcast_to",
    shape=lambda x, shape: (shape, x.dtype),
    kernel=lambda x, shape: np.broadcast_to(x, shape),
    numpy=np.broadcast_to,
    passes=True,
    vjp=(lambda g, out, x, shape: unbroadcast(g, tuple(x.shape)),),
    batch=lambda batched, x, shape: np.broadcast_to(aligned(x, len(shape)), (x.shape[0], *shape)),
    kind=VIEW,
    examples=lambda rng: [
        Example((rng.normal(size=(3, 1)),), {"shape": (2, 3, 4)}),
        Example((rng.normal(size=()),), {"shape": (2, 2)}),
    ],
    flops=lambda out, *shapes, **attrs: 0,
)


@implements(np.broadcast_to)
def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    """As ``numpy.broadcast_to``."""
    target = tuple(operator.index(d) for d in (shape if np.iterable(shape) else (shape,)))
    old = tuple(shape_of(array))
    if old == target:
        return array
    fits = len(old) <= len(target) and builtins.all(a in (1, b) for a, b in zip(old[::-1], target[::-1], strict=False))
    if not fits:
        raise ValueError(f"broadcast_to: shape {old} does not broadcast to {target}")
    return apply(BROADCAST, (array,), {"shape": target})


@implements(np.broadcast_arrays)
def broadcast_arrays(*arrays: Any, subok: bool = False) -> tuple[Any, ...]:
    """As ``numpy.broadcast_arrays``."""
    shape = np.broadcast_shapes(*[shape_of(a) for a in arrays])
    return tuple(broadcast_to(a, shape) if is_tensor(a) else np.broadcast_to(a, shape) for a in arrays)


# -- functions that read no values -----------------------------------------------------------------

FUNCTIONS[np.shape] = shape_of
FUNCTIONS[np.ndim] = lambda a: len(shape_of(a))
FUNCTIONS[np.size] = lambda a, axis=None: a.size if axis is None else shape_of(a)[axis]
FUNCTIONS[np.result_type] = lambda *xs: np.result_type(*[x.dtype if isinstance(x, Tensor) else x for x in xs])
FUNCTIONS[np.iscomplexobj] = lambda x: False
FUNCTIONS[np.isrealobj] = lambda x: True
FUNCTIONS[np.real] = lambda x: x
