"""Sliding windows: a view that shows each window's elements along new axes, and its adjoint, which adds them back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ..core.apply import apply
from ..core.notation import call
from ..core.op import VIEW, Example, Shape, register
from .index import GATHER, Slot
from .table import array_of, implements, shape_of, stored


def places(length: int, size: int, stride: int, dilation: int) -> int:
    """Return how many windows of `size` elements, `dilation` apart, begin `stride` apart within an axis."""
    return max(0, (length - dilation * (size - 1) - 1) // stride + 1)


def _windows_shape(x: Any, axes: Any, size: Any, stride: Any, dilation: Any) -> tuple[Shape, np.dtype[Any]]:
    shape = list(x.shape)
    for a, *window in zip(axes, size, stride, dilation, strict=True):
        shape[a] = places(x.shape[a], *window)
    return (*shape, *size), x.dtype


def _windows_kernel(x: Any, axes: Any, size: Any, stride: Any, dilation: Any) -> Any:
    shape, _ = _windows_shape(x, axes, size, stride, dilation)
    steps = list(x.strides)
    for a, s in zip(axes, stride, strict=True):
        steps[a] *= s
    apart = [x.strides[a] * d for a, d in zip(axes, dilation, strict=True)]
    return np.lib.stride_tricks.as_strided(x, shape, (*steps, *apart), writeable=False)


def _windows(x: Any, axes: Any, size: Any, stride: Any, dilation: Any) -> Any:
    """Return the windows of x along axes, their elements along new axes at the end."""
    for i in range(len(axes)):
        reach = dilation[i] * (size[i] - 1) + 1
        x = np.lib.stride_tricks.sliding_window_view(x, reach, axes[i])[..., :: dilation[i]]
        x = np.swapaxes(np.swapaxes(x, 0, axes[i])[:: stride[i]], 0, axes[i])
    return x


def _gathered(x: Any, axes: Any, size: Any, stride: Any, dilation: Any) -> Any:
    """Return the windows of x along axes: its elements at positions."""
    for a, *window in zip(axes, size, stride, dilation, strict=True):
        k, s, d = window
        positions = s * np.arange(places(x.shape[a], *window))[:, None] + d * np.arange(k)
        picked = apply(GATHER, (x, positions), {"index": (*(slice(None),) * a, Slot(0))})
        x = np.moveaxis(picked, a + 1, -1)
    return x


WINDOWS = register(
    "windows",
    shape=_windows_shape,
    kernel=_windows_kernel,
    numpy=_windows,
    definition=_gathered,
    vjp=(lambda g, out, x, axes, size, stride, dilation: overlap_add(g, axes, stride, dilation, tuple(x.shape)),),
    batch=lambda batched, x, axes, size, stride, dilation: windows(
        x, tuple([a + 1 for a in axes]), size, stride, dilation
    ),
    kind=VIEW,
    notation=call("windows"),
    examples=lambda rng: [
        Example((rng.normal(size=(2, 5)),), {"axes": (1,), "size": (3,), "stride": (1,), "dilation": (1,)}),
        Example((rng.normal(size=(5, 7)),), {"axes": (0, 1), "size": (2, 3), "stride": (2, 3), "dilation": (2, 1)}),
        Example((rng.normal(size=(4, 3)),), {"axes": (0,), "size": (1,), "stride": (5,), "dilation": (1,)}),
    ],
    flops=lambda out, *shapes, **attrs: 0,
)


def _overlap_add(g: Any, axes: Any, stride: Any, dilation: Any, shape: Any) -> Any:
    """Return zeros of a shape, with the elements of all windows added where they were taken from."""
    n = len(axes)
    total = np.zeros(shape, g.dtype)
    for k in np.ndindex(g.shape[g.ndim - n :]):
        index = [slice(None)] * (g.ndim - n)
        for i in range(n):
            first = dilation[i] * k[i]
            index[axes[i]] = slice(first, first + stride[i] * g.shape[axes[i]], stride[i])
        total[(*index,)] += g[(..., *k)]
    return total


def in_out(function: Any) -> Any:
    """Return the kernel of a plain function: the result goes into `out` where that is given."""

    def kernel(*arrays: Any, out: Any = None, **attrs: Any) -> Any:
        return stored(function(*arrays, **attrs), out)

    return kernel


OVERLAP_ADD = register(
    "overlap_add",
    shape=lambda g, axes, stride, dilation, shape: (tuple(shape), g.dtype),
    kernel=in_out(_overlap_add),
    numpy=_overlap_add,
    vjp=(
        lambda g, out, x, axes, stride, dilation, shape: windows(
            g, axes, tuple(x.shape[len(x.shape) - len(axes) :]), stride, dilation
        ),
    ),
    batch=lambda batched, g, axes, stride, dilation, shape: overlap_add(
        g, tuple([a + 1 for a in axes]), stride, dilation, (g.shape[0], *shape)
    ),
    native=lambda out, g, axes, stride, dilation, shape: (*axes, *stride, *dilation),
    notation=call("overlap add"),
    examples=lambda rng: [
        Example((rng.normal(size=(2, 3, 3)),), {"axes": (1,), "stride": (1,), "dilation": (1,), "shape": (2, 5)}),
        Example(
            (rng.normal(size=(2, 2, 2, 3)),), {"axes": (0, 1), "stride": (2, 3), "dilation": (2, 1), "shape": (5, 7)}
        ),
    ],
    flops=lambda out, g, **attrs: math.prod(g),
)


def windows(x: Any, axes: Any, size: Any, stride: Any, dilation: Any) -> Any:
    """Return the windows of `x` along axes that are not negative: a view, with the windows' elements at the end."""
    return apply(WINDOWS, (x,), {"axes": axes, "size": size, "stride": stride, "dilation": dilation})


def overlap_add(g: Any, axes: Any, stride: Any, dilation: Any, shape: Shape) -> Any:
    """Return zeros of a shape with windows added where `windows` takes them from: its adjoint."""
    return apply(OVERLAP_ADD, (g,), {"axes": axes, "stride": stride, "dilation": dilation, "shape": shape})


@implements(np.lib.stride_tricks.sliding_window_view)
def sliding_window_view(x: Any, window_shape: Any, axis: Any = None, **unused: Any) -> Any:
    """As ``numpy.lib.stride_tricks.sliding_window_view``: a view that is only read."""
    x = array_of(x)
    shape = shape_of(x)
    size = tuple([int(k) for k in window_shape]) if np.ndim(window_shape) else (int(window_shape),)
    axes = tuple(range(len(shape))) if axis is None else normalize_axis_tuple(axis, len(shape), allow_duplicate=True)
    if len(size) != len(axes):
        raise ValueError(f"sliding_window_view: window_shape has {len(size)} lengths for {len(axes)} axes")
    for k, (a, width) in enumerate(zip(axes, size, strict=True)):
        left = shape[a] - sum(size[j] - 1 for j in range(k) if axes[j] == a)
        if not 0 <= width <= left:
            raise ValueError(f"sliding_window_view: a window of {width} does not fit axis {a} of {tuple(shape)}")
    ones = (1,) * len(axes)
    if len(set(axes)) == len(axes):
        return windows(x, axes, size, ones, ones)
    for a, width in zip(axes, size, strict=True):  # windows of windows
        x = windows(x, (a,), (width,), (1,), (1,))
    return x
