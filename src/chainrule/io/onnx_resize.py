"""ONNX's Resize: along each axis, the product with a matrix of weights, or the elements at the nearest places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.op import Array
from ..ops.table import as_dtype, dtype_of, shape_of
from .onnx_arguments import integers


class _Axis(NamedTuple):
    """What becomes of one axis."""

    axis: int
    length: int
    new: int
    scale: Any  # of float32 where it is given, of float64 where it is the quotient of lengths
    region: tuple[float, float]


def resize(
    x: Any, roi: Any = None, scales: Any = None, sizes: Any = None, *, antialias: int = 0, axes: Any = None,
    coordinate_transformation_mode: bytes | None = None, cubic_coeff_a: float = -0.75, exclude_outside: int = 0,
    extrapolation_value: float = 0.0, keep_aspect_ratio_policy: bytes = b"stretch", mode: bytes = b"nearest",
    nearest_mode: bytes | None = None, opset: int,
) -> Any:  # fmt: skip
    """Return x with other lengths; before opset 11, the second input are the scales."""
    if opset < 11:
        roi, scales = None, roi
    where = coordinate_transformation_mode or (b"asymmetric" if opset < 11 else b"half_pixel")
    nearest_mode = nearest_mode or (b"floor" if opset < 11 else b"round_prefer_floor")
    over = [a % len(shape_of(x)) for a in (range(len(shape_of(x))) if axes is None else axes)]
    crop = where == b"tf_crop_and_resize"
    found = _axes(x, over, _numbers(roi) if crop else None, scales, sizes, keep_aspect_ratio_policy)
    inside: Any = None
    kind = dtype_of(x)
    for each in found:
        if each.new == each.length and each.scale == 1 and not crop:
            continue
        at = _places(each, where)
        if mode == b"nearest":
            x = np.take(x, np.clip(_nearest(at, nearest_mode), 0, each.length - 1), axis=each.axis)
        else:
            matrix = _matrix(at, each, mode, cubic_coeff_a, bool(antialias), bool(exclude_outside))
            x = np.moveaxis(np.tensordot(x, matrix.astype(np.result_type(kind, np.float32)), (each.axis, 0)),
                            -1, each.axis)  # fmt: skip
        if crop:
            within = np.expand_dims((at >= 0) & (at <= each.length - 1), tuple(range(1, len(shape_of(x)) - each.axis)))
            inside = within if inside is None else inside & within
    return as_dtype(x if inside is None else np.where(inside, x, extrapolation_value), kind)


def _numbers(x: Any) -> list[float]:
    array = x.concrete("Resize's scales and regions") if hasattr(x, "concrete") else np.asarray(x)
    return [float(n) for n in np.reshape(array, -1)]


def _axes(
    x: Any, over: Sequence[int], roi: Sequence[float] | None, scales: Any, sizes: Any, policy: bytes
) -> list[_Axis]:
    lengths = [shape_of(x)[a] for a in over]
    regions = [(0.0, 1.0)] * len(over) if roi is None else list(zip(roi[: len(over)], roi[len(over) :], strict=True))
    if scales is not None and np.size(scales):
        # computed with as they are stored: 0.7 · 10 is 7 and 3 / 0.6 is 5 in float32, both are below in float64
        factors: list[Any] = [np.float32(f) for f in _numbers(scales)]
        new = [int(np.floor(d * (b - a) * f)) for d, (a, b), f in zip(lengths, regions, factors, strict=True)]
    else:
        new = integers(sizes, "Resize's sizes")
        factors = [np.float64(n / d) for n, d in zip(new, lengths, strict=True)]
        if policy != b"stretch":
            factors = [min(factors) if policy == b"not_larger" else max(factors)] * len(over)
            new = [int(np.floor(f * d + 0.5)) for f, d in zip(factors, lengths, strict=True)]
    return [_Axis(*each) for each in zip(over, lengths, new, factors, regions, strict=True)]


def _places(each: _Axis, where: bytes) -> Any:
    """Return where the new elements stand among the old ones."""
    j, scale, length = np.arange(each.new, dtype=each.scale.dtype), each.scale, each.length
    whole = scale * length
    half = (j + 0.5) / scale - 0.5
    if where == b"half_pixel" or (where == b"pytorch_half_pixel" and whole > 1):
        return half
    if where == b"pytorch_half_pixel":
        return np.full(each.new, -0.5)
    if where == b"half_pixel_symmetric":
        return half + length / 2 * (1 - each.new / whole)
    if where == b"asymmetric":
        return j / scale
    if where == b"align_corners":
        return j * ((length - 1) / (whole - 1)) if whole != 1 else np.zeros(each.new)
    if where == b"tf_crop_and_resize":
        start, end = each.region
        if whole == 1:
            return np.full(each.new, (start + end) / 2 * (length - 1))
        return start * (length - 1) + j * ((end - start) * (length - 1) / (each.new - 1 if each.new > 1 else 1))
    raise ValueError(
        f"coordinate_transformation_mode is {where.decode(errors='replace')!r}; expected half_pixel, "
        "pytorch_half_pixel, half_pixel_symmetric, asymmetric, align_corners or tf_crop_and_resize"
    )


def _nearest(at: Array, mode: bytes) -> Array:
    modes = {
        b"round_prefer_floor": np.ceil(at - 0.5), b"round_prefer_ceil": np.floor(at + 0.5), b"floor": np.floor(at),
        b"ceil": np.ceil(at),
    }  # fmt: skip
    if mode not in modes:
        raise ValueError(f"nearest_mode is {mode!r}, expected {', '.join(m.decode() for m in modes)}")
    return modes[mode].astype(np.int64)


def _matrix(at: Array, each: _Axis, mode: bytes, a: float, antialias: bool, exclude: bool) -> Array:
    """Return the weights (length, new) of interpolation; elements beyond an end are those at the end."""
    if mode not in (b"linear", b"cubic"):
        raise ValueError(f"mode is {mode!r}, expected nearest, linear or cubic")
    stretch = min(each.scale, 1.0) if antialias else 1.0
    reach = (1 if mode == b"linear" else 2) / stretch
    around = np.floor(at)[:, None] + np.arange(-int(np.ceil(reach)), int(np.ceil(reach)) + 2)
    t = np.abs(around - at[:, None]) * stretch
    if mode == b"linear":
        weights = np.maximum(0, 1 - t)
    else:
        near, far = ((a + 2) * t - (a + 3)) * t * t + 1, ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
        weights = np.where(t <= 1, near, np.where(t < 2, far, 0))
    if exclude:
        weights = np.where((around >= 0) & (around < each.length), weights, 0)
    weights = weights / np.sum(weights, axis=1, keepdims=True)
    places = np.clip(around, 0, each.length - 1).astype(np.int64)
    matrix = np.zeros((each.length, each.new))
    np.add.at(matrix, (places, np.arange(each.new)[:, None]), weights)
    return matrix
