"""Products of sliding windows with a matrix: convolutions, for which no matrix of patches is made.

`sliding_window_view` is a view, but what brings it into the shape of a matrix (einsum, tensordot, a reshape before
``@``) copies every window. Each axis of such a matrix stands for some atoms: axes of the array without windows, places
of the windows along an axis, or taps, the elements within them. In whatever order they are: a sum over all taps is a
convolution, a sum over all places the gradient of its filters, and what adds up windows that a product has made is the
gradient of its input.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..core.op import Shape
from ..core.tensor import Tensor
from ..ops.convolution import CONV, CONV_INPUT, CONV_WEIGHT
from ..ops.index import PLACE as PLACE_ROW
from ..ops.index import SLICE
from ..ops.table import row_of
from ..ops.windows import OVERLAP_ADD, WINDOWS

if TYPE_CHECKING:
    from .simplify import Rewriter

MATMUL, RESHAPE, TRANSPOSE = (row_of(f) for f in (np.matmul, np.reshape, np.transpose))

OTHER, PLACE, TAP, FILTER = range(4)  # kinds of atoms
MOST_AXES = 2  # that the native engine convolves over


class Atom(NamedTuple):
    """An axis of an array of windows: its kind, which one of them, and its length, more than 1."""

    kind: int
    number: int
    length: int


#: For each axis of an array the atoms that it stands for, the last of them running fastest.
Axes = list[list[Atom]]


class Windows(NamedTuple):
    """Windows along some axes of an array of this shape."""

    shape: Shape
    axes: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    places: tuple[int, ...]

    def atoms(self) -> Axes:
        """Return what the axes of the view stand for."""
        kinds = [(PLACE, self.axes.index(a)) if a in self.axes else (OTHER, a) for a in range(len(self.shape))]
        lengths = [self.places[i] if kind == PLACE else self.shape[i] for kind, i in kinds]
        kinds += [(TAP, i) for i in range(len(self.size))]
        pairs = zip(kinds, (*lengths, *self.size), strict=True)
        return [[Atom(*kind, length)] if length > 1 else [] for kind, length in pairs]

    def settings(self) -> dict[str, Any]:
        """Return the attributes of the convolution."""
        padding = ((0, 0),) * len(self.axes)
        return {"stride": self.stride, "dilation": self.dilation, "padding": padding, "groups": 1}

    def order(self, examples: Sequence[Atom]) -> tuple[list[int], list[int]]:
        """Return the axes without windows: the examples, and all others, the channels."""
        first = [atom.number for atom in examples if atom.kind == OTHER]
        return first, [a for a in range(len(self.shape)) if a not in (*first, *self.axes)]


def product(rw: Rewriter, a: Tensor, b: Tensor) -> Tensor | None:
    """Return the convolution that a product is, one of whose factors is windows in the shape of a matrix, or None."""
    for one, other, turned in ((a, b, False), (b, a, True)):
        found = _read(one) if other.ndim == 2 else None
        if found is None:
            continue
        x, windows, axes = found
        summed = axes.pop(-2 if turned else -1)
        if turned:
            other = rw.made(TRANSPOSE, (other,), {"axes": (1, 0)})
            free: Axes = [*axes[:-1], _filters(other.shape[1]), axes[-1]]
        else:
            free = [*axes, _filters(other.shape[1])]
        made = _convolved(rw, x, windows, summed, _joined(free), other)
        return None if made is None else rw.made(RESHAPE, (made,), {"shape": MATMUL.shape(a, b)[0]})
    return None


def cut_windows(rw: Rewriter, x: Tensor, index: tuple[Any, ...]) -> Tensor | None:
    """Return a basic index of windows as windows of an index, with strides; None where it takes others."""
    moved = _moved(x.attrs, x.shape, index) if x.op is WINDOWS and x.value is None else None
    if moved is None:
        return None
    inner, attrs = moved
    return rw.made(WINDOWS, (rw.made(SLICE, x.inputs, {"index": inner}),), {**x.attrs, **attrs})


def _moved(
    attrs: dict[str, Any], shape: Shape, index: tuple[Any, ...]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Return the part of an index of windows that is one of their array, and the axes and strides of what is left."""
    stride, inner = list(attrs["stride"]), list(index)
    for axis, (i, length) in enumerate(zip(index, shape, strict=False)):
        if type(i) is not slice:
            if type(i) is not int or axis in attrs["axes"]:
                return None
        elif axis in attrs["axes"]:  # in the array, this axis is longer than in the view
            start, stop, step = i.indices(length)
            if start or step < 1 or len(range(0, stop, step)) != -(-length // step):
                return None
            stride[attrs["axes"].index(axis)] *= step
            inner[axis] = slice(None)
        elif i.indices(length) != (0, length, 1) and axis >= len(shape) - len(stride):
            return None  # some of the elements of each window
    axes = tuple([a - sum(type(i) is int for i in index[:a]) for a in attrs["axes"]])
    return tuple(inner[: len(shape) - len(stride)]), {"axes": axes, "stride": tuple(stride)}


def overlapped(rw: Rewriter, g: Tensor, attrs: dict[str, Any]) -> Tensor | None:
    """Return the gradient of a convolution's input that adding up windows made by a product is, or None."""
    if g.op is PLACE_ROW and g.value is None:  # of some windows: every so many, or those of a part of the array
        moved = _moved(attrs, g.shape, g.attrs["index"])
        if moved is None:
            return None
        inner, own = moved
        part = np.empty(attrs["shape"])[inner].shape
        made = rw.made(OVERLAP_ADD, g.inputs, {**attrs, **own, "shape": part})
        return rw.made(PLACE_ROW, (made,), {"index": inner, "shape": attrs["shape"]})
    n, shape = len(attrs["axes"]), attrs["shape"]
    size, places = g.shape[g.ndim - n :], tuple([g.shape[a] for a in attrs["axes"]])
    windows = Windows(shape, attrs["axes"], size, attrs["stride"], attrs["dilation"], places)
    if not _convolves(windows, g):
        return None
    axes: Axes | None = windows.atoms()
    while axes is not None and g.value is None and g.op in (TRANSPOSE, RESHAPE):
        (source,) = g.inputs
        if g.op is TRANSPOSE:
            axes = [axes[g.attrs["axes"].index(k)] for k in range(source.ndim)]
        else:
            axes = _cut(_joined(axes), source.shape)
        g = source
    if axes is None or g.op is not MATMUL or g.value is not None:
        return None
    a, b = g.inputs
    if a.ndim == g.ndim and b.ndim == 2 and _kinds(axes[:-1]) <= {OTHER, PLACE} and _kinds(axes[-1:]) <= {OTHER, TAP}:
        count, rows = b.shape[0], _joined(axes[:-1])
        (y, at_y), (w, at_w) = (a, rows + _filters(count)), (b, _filters(count) + axes[-1])
    elif a.ndim == 2 and _kinds([*axes[:-2], axes[-1]]) <= {OTHER, PLACE} and _kinds(axes[-2:-1]) <= {OTHER, TAP}:
        count, rows = a.shape[1], _joined(axes[:-2]) + axes[-1]
        (y, at_y), (w, at_w) = (b, _joined(axes[:-2]) + _filters(count) + axes[-1]), (a, axes[-2] + _filters(count))
    else:
        return None
    examples, channels = windows.order(rows)
    y = _rearranged(rw, y, at_y, _images(windows, examples, count), _image_shape(windows, examples, count))
    w = _rearranged(rw, w, at_w, _kernel(windows, channels, count), _kernel_shape(windows, channels, count))
    made = rw.made(CONV_INPUT, (y, w), {"space": tuple([shape[a] for a in windows.axes]), **windows.settings()})
    order = [*examples, *channels, *windows.axes]
    made = rw.made(RESHAPE, (made,), {"shape": tuple([shape[a] for a in order])})
    return rw.made(TRANSPOSE, (made,), {"axes": tuple([order.index(a) for a in range(len(shape))])})


def _convolved(
    rw: Rewriter, x: Tensor, windows: Windows, summed: list[Atom], free: list[Atom], matrix: Tensor
) -> Tensor | None:
    """Return the sums over some atoms of windows times a matrix (summed, filters), with axes `free`; or None."""
    count = matrix.shape[1]
    over_taps = _kinds([summed]) <= {OTHER, TAP} and _kinds([free]) <= {OTHER, PLACE, FILTER}
    if not over_taps and not (_kinds([summed]) <= {OTHER, PLACE} and _kinds([free]) <= {OTHER, TAP, FILTER}):
        return None
    examples, channels = windows.order(free if over_taps else summed)
    images, image_shape = _images(windows, examples, count), _image_shape(windows, examples, count)
    kernel, kernel_shape = _kernel(windows, channels, count), _kernel_shape(windows, channels, count)
    order = (*examples, *channels, *windows.axes)
    x = rw.made(TRANSPOSE, (x,), {"axes": order})
    space = tuple([x.shape[len(order) - len(windows.axes) + i] for i in range(len(windows.axes))])
    x = rw.made(RESHAPE, (x,), {"shape": (image_shape[0], kernel_shape[0], *space)})
    given = summed + _filters(count)
    if over_taps:
        w = _rearranged(rw, matrix, given, kernel, kernel_shape)
        made, atoms = rw.made(CONV, (x, w), windows.settings()), images
    else:
        y = _rearranged(rw, matrix, given, images, image_shape)
        made, atoms = rw.made(CONV_WEIGHT, (x, y), {"size": windows.size, **windows.settings()}), kernel
    return _rearranged(rw, made, atoms, free, tuple([atom.length for atom in free]))


def _images(windows: Windows, examples: Sequence[int], count: int) -> list[Atom]:
    """Return the atoms of an array (examples, filters, *places)."""
    atoms = windows.atoms()
    return [*_joined(atoms[a] for a in examples), *_filters(count), *_joined(atoms[a] for a in windows.axes)]


def _image_shape(windows: Windows, examples: Sequence[int], count: int) -> Shape:
    return (math.prod(windows.shape[a] for a in examples), count, *windows.places)


def _kernel(windows: Windows, channels: Sequence[int], count: int) -> list[Atom]:
    """Return the atoms of an array (channels, *size, filters)."""
    atoms = windows.atoms()
    return [*_joined(atoms[a] for a in channels), *_joined(atoms[len(windows.shape) :]), *_filters(count)]


def _kernel_shape(windows: Windows, channels: Sequence[int], count: int) -> Shape:
    return (math.prod(windows.shape[a] for a in channels), *windows.size, count)


def _rearranged(rw: Rewriter, x: Tensor, atoms: Sequence[Atom], wanted: Sequence[Atom], shape: Shape) -> Tensor:
    """Return an array whose elements are in the order of some atoms with them in another order, in a shape."""
    x = rw.made(RESHAPE, (x,), {"shape": tuple([atom.length for atom in atoms])})
    x = rw.made(TRANSPOSE, (x,), {"axes": tuple([atoms.index(atom) for atom in wanted])})
    return rw.made(RESHAPE, (x,), {"shape": shape})


def _read(x: Tensor) -> tuple[Tensor, Windows, Axes] | None:
    """Return the array, the windows and the atoms of a matrix of windows that has to be copied; None for another."""
    steps: list[Tensor] = []
    while x.value is None and x.op in (TRANSPOSE, RESHAPE):
        steps.append(x)
        x = x.inputs[0]
    if x.op is not WINDOWS or x.value is not None or not any(step.op is RESHAPE for step in steps):
        return None
    a = x.attrs
    places = tuple([x.shape[k] for k in a["axes"]])
    windows = Windows(x.inputs[0].shape, a["axes"], a["size"], a["stride"], a["dilation"], places)
    if not _convolves(windows, x):
        return None
    axes: Axes | None = windows.atoms()
    for step in reversed(steps):
        if axes is None:
            return None
        if step.op is TRANSPOSE:
            axes = [axes[k] for k in step.attrs["axes"]]
        else:
            axes = _cut(_joined(axes), step.shape)
    return None if axes is None else (x.inputs[0], windows, axes)


def _convolves(windows: Windows, x: Tensor) -> bool:
    within = len(windows.axes) <= MOST_AXES and math.prod(windows.size) > 1
    return within and x.dtype.kind == "f" and 0 not in x.shape and 0 not in windows.shape


def _cut(atoms: list[Atom], shape: Shape) -> Axes | None:
    """Return what the axes of a shape stand for; None if one would have a part of an atom."""
    axes: Axes = []
    rest = iter(atoms)
    for length in shape:
        some: list[Atom] = []
        while math.prod(atom.length for atom in some) < length:
            some.append(next(rest))
        if math.prod(atom.length for atom in some) != length:
            return None
        axes.append(some)
    return axes


def _filters(count: int) -> list[Atom]:
    return [Atom(FILTER, 0, count)] if count > 1 else []


def _joined(axes: Iterable[list[Atom]]) -> list[Atom]:
    return [atom for some in axes for atom in some]


def _kinds(axes: Axes) -> set[int]:
    return {atom.kind for some in axes for atom in some}
