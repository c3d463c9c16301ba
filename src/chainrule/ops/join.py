"""Joining and splitting; inserting and deleting."""

from __future__ import annotations

import builtins
import itertools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.node import FUNCTIONS
from ..core.notation import fences
from ..core.op import Example, Shape, register
from .logic import identity
from .reduce import normalize_axis
from .table import along, array_of, as_dtype, implements, is_tensor, known, one_axis, promote, shape_of


def _concatenate_shape(*xs: Any, axis: int) -> tuple[Shape, np.dtype[Any]]:
    first = tuple(xs[0].shape)
    for i, x in enumerate(xs):
        same = len(x.shape) == len(first) and builtins.all(
            a == b for j, (a, b) in enumerate(zip(x.shape, first, strict=True)) if j != axis
        )
        if not same:
            raise ValueError(
                f"concatenate: array {i} has shape {tuple(x.shape)}, array 0 has {first}; only axis {axis} may differ"
            )
    return tuple(builtins.sum(x.shape[axis] for x in xs) if j == axis else d for j, d in enumerate(first)), xs[0].dtype


def _concatenate_rule(index: int, g: Any, out: Any, *xs: Any, axis: int) -> Any:
    start = builtins.sum(x.shape[axis] for x in xs[:index])
    return along(g, axis, start, start + xs[index].shape[axis])


CONCATENATE = register(
    "concatenate",
    numpy=np.concatenate,
    shape=_concatenate_shape,
    kernel=lambda *xs, out=None, axis: np.concatenate(xs, axis, out),
    vjp=_concatenate_rule,
    notation=fences("[ ]"),
    examples=lambda rng: [
        Example((rng.normal(size=(2, 3)), rng.normal(size=(2, 1)), rng.normal(size=(2, 0))), {"axis": 1}),
        Example((rng.normal(size=(2, 3)), rng.normal(size=(1, 3))), {"axis": 0}),
    ],
    flops=lambda out, *shapes, **attrs: 0,
)


@implements(np.concatenate, np.concat)
def concatenate(
    arrays: Sequence[Any], axis: int | None = 0, out: None = None, *, dtype: Any = None, **more: Any
) -> Any:
    """As ``numpy.concatenate``."""
    if len(arrays) == 0:
        raise ValueError("concatenate: no arrays given")
    parts = [array_of(a) if isinstance(a, list | tuple) else a for a in arrays]
    if axis is None:
        parts, axis = [np.reshape(p, -1) for p in parts], 0
    if not is_tensor(*parts):
        return np.concatenate(parts, axis)
    if builtins.any([len(shape_of(p)) == 0 for p in parts]):
        raise ValueError("concatenate: arrays without axes cannot be joined; np.stack joins scalars")
    (axis,) = normalize_axis(axis, len(shape_of(parts[0])))
    promoted, _ = promote(*parts)
    out_ = apply(CONCATENATE, promoted, {"axis": axis}) if len(promoted) > 1 else identity(promoted[0])
    return out_ if dtype is None else as_dtype(out_, dtype)


@implements(np.stack)
def stack(arrays: Sequence[Any], axis: int = 0, out: None = None, **more: Any) -> Any:
    """As ``numpy.stack``."""
    parts = [array_of(a) for a in arrays]
    shapes = {tuple(shape_of(a)) for a in parts}
    if len(shapes) != 1:
        raise ValueError(f"stack: all arrays must have one shape; found {', '.join(map(str, sorted(shapes)))}")
    return concatenate([np.expand_dims(a, axis) for a in parts], axis)


def _column(x: Any) -> Any:
    return np.reshape(x, (-1, 1)) if len(shape_of(x)) < 2 else x


def _stacker(prepared: Any, axis: int) -> Any:
    def implementation(tup: Sequence[Any], **more: Any) -> Any:
        parts = [prepared(p) for p in tup]
        return concatenate(parts, builtins.min(axis, len(shape_of(parts[0])) - 1))

    return implementation


FUNCTIONS[np.vstack] = _stacker(np.atleast_2d, 0)
FUNCTIONS[np.hstack] = _stacker(np.atleast_1d, 1)
FUNCTIONS[np.dstack] = _stacker(np.atleast_3d, 2)
FUNCTIONS[np.column_stack] = _stacker(_column, 1)


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
        edges = [i * small + builtins.min(i, extra) for i in range(sections + 1)]
    return [along(ary, axis, a, b) for a, b in itertools.pairwise(edges)]


@implements(np.split)
def split_evenly(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """As ``numpy.split``: a number of sections must divide the axis."""
    n = shape_of(ary)[normalize_axis(axis, len(shape_of(ary)))[0]]
    if not np.iterable(indices_or_sections) and n % operator.index(indices_or_sections):
        raise ValueError(
            f"split: {n} elements do not divide into {indices_or_sections} equal parts; "
            "np.array_split takes unequal ones"
        )
    return split(ary, indices_or_sections, axis)


FUNCTIONS[np.vsplit] = lambda ary, parts: split_evenly(ary, parts, 0)
FUNCTIONS[np.hsplit] = lambda ary, parts: split_evenly(ary, parts, 0 if len(shape_of(ary)) == 1 else 1)
FUNCTIONS[np.dsplit] = lambda ary, parts: split_evenly(ary, parts, 2)
FUNCTIONS[np.unstack] = lambda x, /, *, axis=0: tuple(np.moveaxis(x, axis, 0)[i] for i in range(shape_of(x)[axis]))


@implements(np.append)
def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """As ``numpy.append``."""
    return concatenate([arr, values], axis)


@implements(np.delete)
def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    """As ``numpy.delete``."""
    arr, axis = one_axis(arr, axis)
    obj = known(obj, "the positions of np.delete")
    return np.take(arr, np.delete(np.arange(shape_of(arr)[axis]), obj), axis=axis)


@implements(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    """As ``numpy.insert``."""
    obj = known(obj, "the positions of np.insert")
    arr, axis = one_axis(array_of(arr), axis)
    values = as_dtype(values, arr.dtype)
    shape = list(shape_of(arr))
    n = shape[axis]
    single = not isinstance(obj, slice) and np.size(obj) == 1
    if len(shape_of(values)) < len(shape):
        values = np.reshape(values, (1,) * (len(shape) - len(shape_of(values))) + tuple(shape_of(values)))
    if single and np.ndim(obj) == 0:
        values = np.moveaxis(values, 0, axis)
    count = shape_of(values)[axis] if single else len(np.arange(n)[obj] if isinstance(obj, slice) else np.asarray(obj))
    shape[axis] = count
    values = as_dtype(np.broadcast_to(values, shape), arr.dtype)
    order = np.insert(np.arange(n), obj, np.arange(n, n + count))
    return np.take(np.concatenate([arr, values], axis), order, axis=axis)


@implements(np.block)
def block(arrays: Any) -> Any:
    """As ``numpy.block``: assembled from nested lists of blocks."""

    def depth(nest: Any) -> int:
        return 1 + max((depth(x) for x in nest), default=0) if isinstance(nest, list) else 0

    def leaves(nest: Any) -> Sequence[Any]:
        return [leaf for x in nest for leaf in leaves(x)] if isinstance(nest, list) else [nest]

    levels = depth(arrays)
    ndim = max(levels, *[len(shape_of(x)) for x in leaves(arrays)], 0)

    def joined(nest: Any, level: int) -> Any:
        if not isinstance(nest, list):
            if level != levels:
                raise ValueError(f"block: the lists are nested to unequal depths, {level} and {levels}")
            x = array_of(nest)
            return np.reshape(x, (1,) * (ndim - len(shape_of(x))) + tuple(shape_of(x)))
        if not nest:
            raise ValueError("block: an empty list holds no block")
        return np.concatenate([joined(x, level + 1) for x in nest], axis=level - levels)

    return joined(arrays, 0)
