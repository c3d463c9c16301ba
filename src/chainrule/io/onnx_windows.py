"""ONNX's convolutions and pools, as functions of tensors or arrays; their settings, and ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..core.tensor import Tensor
from ..ops.table import as_dtype, dtype_of, shape_of
from ..ops.windows import overlap_add, places, windows
from .onnx_arguments import MOST_NUMBERS, integers

Pairs = tuple[tuple[int, int], ...]


def spread(
    shape: Sequence[int], size: Sequence[int], strides: Any, dilations: Any, pads: Any, auto_pad: bytes
) -> tuple[tuple[int, ...], tuple[int, ...], Pairs]:
    """Return strides, dilations and the elements before and after each axis in space."""
    n = len(size)
    strides, dilations = tuple(strides or (1,) * n), tuple(dilations or (1,) * n)
    if auto_pad in (b"SAME_UPPER", b"SAME_LOWER"):
        pairs = []
        for length, k, s, d in zip(shape[2:], size, strides, dilations, strict=True):
            whole = max(0, (-(-length // s) - 1) * s + d * (k - 1) + 1 - length)
            less, more = whole // 2, whole - whole // 2
            pairs.append((less, more) if auto_pad == b"SAME_UPPER" else (more, less))
        return strides, dilations, tuple(pairs)
    if auto_pad not in (b"NOTSET", b"VALID"):
        raise ValueError(f"auto_pad is {auto_pad!r}, expected NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    flat = [0] * (2 * n) if pads is None or auto_pad == b"VALID" else list(pads)
    padded = [max(d, 1) + abs(a) + abs(b) for d, a, b in zip(shape[2:], flat[:n], flat[n:], strict=True)]
    if math.prod(padded) > MOST_NUMBERS:
        raise ValueError(f"pads are {flat}, which makes more than {MOST_NUMBERS:,} numbers of shape {tuple(shape)}")
    return strides, dilations, tuple(zip(flat[:n], flat[n:], strict=True))


def conv(
    x: Any, w: Any, b: Any = None, *, auto_pad: bytes = b"NOTSET", dilations: Any = None, group: int = 1,
    kernel_shape: Any = None, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    """Return the convolution of x with filters w (filters, channels / group, *size), plus b of each filter."""
    size = shape_of(w)[2:]
    stride, dilation, padding = spread(shape_of(x), size, strides, dilations, pads, auto_pad)
    turned = np.moveaxis(w, 0, -1)
    out = ops.conv(x, turned, stride=stride, padding=padding, dilation=dilation, groups=group)
    return out if b is None else out + np.reshape(b, (-1, *(1,) * len(size)))


def conv_transpose(
    x: Any, w: Any, b: Any = None, *, auto_pad: bytes = b"NOTSET", dilations: Any = None, group: int = 1,
    kernel_shape: Any = None, output_padding: Any = None, output_shape: Any = None, pads: Any = None,
    strides: Any = None,
) -> Any:  # fmt: skip
    """Return the transposed convolution of x with w (channels, filters / group, *size), plus b of each filter."""
    size, space = shape_of(w)[2:], shape_of(x)[2:]
    n = len(size)
    stride, dilation, padding = spread(shape_of(x), size, strides, dilations, pads, b"NOTSET")
    more = tuple(output_padding or (0,) * n)
    turned = np.moveaxis(w, 1, -1)
    whole = ops.conv_transpose(x, turned, stride=stride, dilation=dilation, groups=group)
    full = [
        (d - 1) * s + e * (k - 1) + 1 + a for d, s, e, k, a in zip(space, stride, dilation, size, more, strict=True)
    ]
    if auto_pad in (b"SAME_UPPER", b"SAME_LOWER"):
        output_shape = output_shape or [d * s for d, s in zip(space, stride, strict=True)]
    if output_shape is not None:
        cut = [f - o for f, o in zip(full, list(output_shape)[-n:], strict=True)]
        halves = [(c // 2, c - c // 2) for c in cut]
        padding = tuple([half if auto_pad == b"SAME_UPPER" else half[::-1] for half in halves])
    extra = [(max(-before, 0), a + max(-after, 0)) for a, (before, after) in zip(more, padding, strict=True)]
    kept = [
        f - max(after, 0) - min(before, 0) - min(after, 0) for f, (before, after) in zip(full, padding, strict=True)
    ]
    index = [slice(max(before, 0), end) for end, (before, _) in zip(kept, padding, strict=True)]
    out = ops.zero_pad(whole, tuple(extra))[(slice(None), slice(None), *index)]
    return out if b is None else out + np.reshape(b, (-1, *(1,) * n))


def _ceiled(x: Any, size: Any, stride: Any, dilation: Any, padding: Pairs, ceil_mode: int) -> Pairs:
    """Return the padding with which the last windows that begin before the end are whole."""
    if not ceil_mode:
        return padding
    made = []
    for length, k, s, d, (before, after) in zip(shape_of(x)[2:], size, stride, dilation, padding, strict=True):
        reach, whole = d * (k - 1) + 1, length + before + after
        count = -(-(whole - reach) // s) + 1
        count -= (count - 1) * s >= length + before  # a window that begins beyond the end does not count
        made.append((before, after + max(0, (count - 1) * s + reach - whole)))
    return tuple(made)


def max_pool(
    x: Any, *, kernel_shape: Any, auto_pad: bytes = b"NOTSET", ceil_mode: int = 0, dilations: Any = None,
    pads: Any = None, storage_order: int = 0, strides: Any = None, outputs: int,
) -> Any:  # fmt: skip
    """Return the largest element of each window, and its place among all elements of x."""
    size, dtype = tuple(kernel_shape), dtype_of(x)
    stride, dilation, padding = spread(shape_of(x), size, strides, dilations, pads, auto_pad)
    padding = _ceiled(x, size, stride, dilation, padding, ceil_mode)
    largest = as_dtype(ops.max_pool(x, size, stride=stride, dilation=dilation, padding=padding, n=len(size)), dtype)
    if outputs == 1:
        return largest
    shape = shape_of(x)
    at = np.reshape(np.arange(math.prod(shape)), shape)
    if storage_order:
        at = np.reshape(np.arange(math.prod(shape)), (*shape[:2], *shape[:1:-1])).transpose(
            0, 1, *range(len(shape))[:1:-1]
        )
    pairs = ((0, 0), (0, 0), *padding)
    axes = tuple(range(2, len(shape)))
    values, places = (
        np.reshape(
            windows(np.pad(each, pairs, constant_values=least), axes, size, stride, dilation), (*shape_of(largest), -1)
        )
        for each, least in ((as_dtype(x, np.dtype(np.float64)), -np.inf), (at, 0))
    )
    first = np.argmax(values, axis=-1, keepdims=True)
    return largest, np.squeeze(np.take_along_axis(places, first, axis=-1), -1)


def max_unpool(
    x: Any, places: Any, output_shape: Any = None, *, kernel_shape: Any, pads: Any = None, strides: Any = None
) -> Any:  # fmt: skip
    """Return zeros with the elements of x at their places among all elements of the result."""
    n = len(kernel_shape)
    stride, flat = strides or [1] * n, pads or [0] * (2 * n)
    space = [
        (d - 1) * s + k - before - after
        for d, s, k, before, after in zip(shape_of(x)[2:], stride, kernel_shape, flat[:n], flat[n:], strict=True)
    ]
    inner = (*shape_of(x)[:2], *space)
    whole = tuple(integers(output_shape, "MaxUnpool's output_shape")) if output_shape is not None else inner
    made = (
        np.zeros(math.prod(inner), dtype_of(x))
        if not isinstance(x, Tensor)
        else np.zeros_like(x, shape=math.prod(inner))
    )
    made[np.reshape(places, -1)] = np.reshape(x, -1)
    made = np.reshape(made, inner)
    return ops.zero_pad(made, tuple([(0, w - d) for w, d in zip(whole, inner, strict=True)]))


def lp_pool(
    x: Any, *, kernel_shape: Any, auto_pad: bytes = b"NOTSET", ceil_mode: int = 0, dilations: Any = None, p: int = 2,
    pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    """Return the p-norm of each window."""
    size = tuple(kernel_shape)
    stride, dilation, padding = spread(shape_of(x), size, strides, dilations, pads, auto_pad)
    padding = _ceiled(x, size, stride, dilation, padding, ceil_mode)
    axes = tuple(range(2, 2 + len(size)))
    around = windows(ops.zero_pad(np.abs(x) ** p, padding), axes, size, stride, dilation)
    return np.sum(around, axis=tuple(range(-len(size), 0))) ** (1 / p)


def col2im(
    x: Any, image_shape: Any, block_shape: Any, *, dilations: Any = None, pads: Any = None, strides: Any = None
) -> Any:
    """Add up blocks, whose elements are columns of x, at the places they were taken from."""
    space, size = integers(image_shape, "Col2Im's image_shape"), integers(block_shape, "Col2Im's block_shape")
    n, (m, rows, _) = len(size), shape_of(x)
    stride, dilation, padding = spread((m, 1, *space), size, strides, dilations, pads, b"NOTSET")
    whole = [d + before + after for d, (before, after) in zip(space, padding, strict=True)]
    counts = [places(*each) for each in zip(whole, size, stride, dilation, strict=True)]
    channels = rows // math.prod(size)
    apart = np.reshape(x, (m, channels, *size, *counts))
    turned = np.transpose(apart, (0, 1, *range(2 + n, 2 + 2 * n), *range(2, 2 + n)))
    out = overlap_add(turned, tuple(range(2, 2 + n)), stride, dilation, (m, channels, *whole))
    return out[(..., *[slice(before, before + d) for d, (before, _) in zip(space, padding, strict=True)])]


def average_pool(
    x: Any, *, kernel_shape: Any, auto_pad: bytes = b"NOTSET", ceil_mode: int = 0, count_include_pad: int = 0,
    dilations: Any = None, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    """Return the mean of each window."""
    size = tuple(kernel_shape)
    stride, dilation, padding = spread(shape_of(x), size, strides, dilations, pads, auto_pad)
    ceiled = _ceiled(x, size, stride, dilation, padding, ceil_mode)
    if count_include_pad and ceiled != padding:  # what is added for the last windows does not count
        x, padding = (
            ops.zero_pad(x, padding),
            tuple([(0, c - p) for (_, p), (_, c) in zip(padding, ceiled, strict=True)]),
        )
        ceiled, count_include_pad = padding, 0
    counted = bool(count_include_pad)
    return ops.avg_pool(
        x, size, stride=stride, dilation=dilation, padding=ceiled, count_include_pad=counted, n=len(size)
    )


def global_pool(function: Any) -> Any:
    """Return the pooling over all positions in space."""
    return lambda x: function(x, axis=tuple(range(2, len(shape_of(x)))), keepdims=True)


#: Operator -> function.
WINDOWS: dict[str, Callable[..., Any]] = {
    "AveragePool": average_pool,
    "Col2Im": col2im,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "GlobalAveragePool": global_pool(np.mean),
    "GlobalLpPool": lambda x, *, p=2: global_pool(np.sum)(np.abs(x) ** p) ** (1 / p),
    "GlobalMaxPool": global_pool(np.max),
    "LpPool": lp_pool,
    "MaxPool": max_pool,
    "MaxUnpool": max_unpool,
}


def settings(attrs: Any) -> dict[str, Any]:
    """Return the attributes of ONNX's operators for those of a row."""
    pads = attrs["padding"]
    flat = [*[before for before, _ in pads], *[after for _, after in pads]]
    made = {"strides": list(attrs["stride"]), "dilations": list(attrs["dilation"]), "pads": flat}
    return made | ({"kernel_shape": list(attrs["size"])} if "size" in attrs else {"group": attrs["groups"]})


def output_padding(space: Sequence[int], given: Sequence[int], size: Sequence[int], attrs: Any) -> list[int]:
    """Return what a transposed convolution adds to its lengths so that they are those of `space`."""
    axes = zip(space, given, size, attrs["stride"], attrs["dilation"], attrs["padding"], strict=True)
    return [want + sum(p) - ((d - 1) * s + e * (k - 1) + 1) for want, d, k, s, e, p in axes]
