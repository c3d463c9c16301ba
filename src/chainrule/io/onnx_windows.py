"""ONNX's convolutions and pools, as functions of tensors or arrays; their settings, and ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..ops.table import shape_of

Pairs = tuple[tuple[int, int], ...]


def _pads(
    x: Any, size: Sequence[int], strides: Any, dilations: Any, pads: Any, auto_pad: bytes
) -> tuple[tuple[int, ...], tuple[int, ...], Pairs]:
    """Return strides, dilations and the elements before and after each axis in space."""
    n = len(size)
    strides, dilations = tuple(strides or (1,) * n), tuple(dilations or (1,) * n)
    if auto_pad in (b"SAME_UPPER", b"SAME_LOWER"):
        pairs = []
        for length, k, s, d in zip(shape_of(x)[2:], size, strides, dilations, strict=True):
            whole = max(0, (-(-length // s) - 1) * s + d * (k - 1) + 1 - length)
            less, more = whole // 2, whole - whole // 2
            pairs.append((less, more) if auto_pad == b"SAME_UPPER" else (more, less))
        return strides, dilations, tuple(pairs)
    if auto_pad not in (b"NOTSET", b"VALID"):
        raise ValueError(f"auto_pad is {auto_pad!r}, expected NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    flat = [0] * (2 * n) if pads is None or auto_pad == b"VALID" else list(pads)
    return strides, dilations, tuple(zip(flat[:n], flat[n:], strict=True))


def conv(
    x: Any, w: Any, b: Any = None, *, auto_pad: bytes = b"NOTSET", dilations: Any = None, group: int = 1,
    kernel_shape: Any = None, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    """Return the convolution of x with filters w (filters, channels / group, *size), plus b of each filter."""
    size = shape_of(w)[2:]
    stride, dilation, padding = _pads(x, size, strides, dilations, pads, auto_pad)
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
    stride, dilation, padding = _pads(x, size, strides, dilations, pads, b"NOTSET")
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
    """Return the largest element of each window."""
    if outputs > 1 or storage_order:
        raise ValueError("MaxPool has a second output, the positions; only the largest elements are supported")
    stride, dilation, padding = _pads(x, kernel_shape, strides, dilations, pads, auto_pad)
    padding = _ceiled(x, kernel_shape, stride, dilation, padding, ceil_mode)
    size = tuple(kernel_shape)
    return ops.max_pool(x, size, stride=stride, dilation=dilation, padding=padding, n=len(size))


def average_pool(
    x: Any, *, kernel_shape: Any, auto_pad: bytes = b"NOTSET", ceil_mode: int = 0, count_include_pad: int = 0,
    dilations: Any = None, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    """Return the mean of each window."""
    size = tuple(kernel_shape)
    stride, dilation, padding = _pads(x, size, strides, dilations, pads, auto_pad)
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
