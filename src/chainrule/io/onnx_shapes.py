"""ONNX's operators that move, pick or make elements, as functions of tensors or arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..core.op import Array
from ..core.tensor import Tensor, constant
from ..ops.index import scatter_add
from ..ops.table import dtype_of, shape_of
from .onnx_arguments import MOST_COMPUTED, dtype_of_type, either, integers, only, small


def reshape(x: Any, shape: Any, *, allowzero: int = 0) -> Any:
    """Change the shape; a length of 0 keeps the length of that axis, unless `allowzero` is set."""
    old, new = shape_of(x), integers(shape, "Reshape's shape")
    return np.reshape(x, new if allowzero else [old[i] if d == 0 else d for i, d in enumerate(new)])


def pad(
    x: Any, pads_: Any = None, value_: Any = None, axes_: Any = None, *, mode: bytes = b"constant", pads: Any = None,
    value: float = 0.0,
) -> Any:  # fmt: skip
    """Add elements before and after axes, or remove them where there are fewer than none."""
    ndim, flat = len(shape_of(x)), list(either(pads_, pads, "Pad's lengths") or ())
    axes = range(ndim) if axes_ is None else [a % ndim for a in integers(axes_, "Pad's axes")]
    widths, kept = [(0, 0)] * ndim, [slice(None)] * ndim
    for a, before, after in zip(axes, flat[: len(flat) // 2], flat[len(flat) // 2 :], strict=True):
        widths[a] = max(before, 0), max(after, 0)
        kept[a] = slice(max(-before, 0), shape_of(x)[a] - max(-after, 0))
    x = x[tuple(kept)]
    if mode != b"constant":
        return np.pad(x, widths, mode=mode.decode())  # type: ignore[call-overload]
    number = value if value_ is None else np.reshape(value_, ()).item()
    return ops.zero_pad(x, tuple(widths)) if number == 0 else np.pad(x, widths, constant_values=number)


def flatten(x: Any, *, axis: int = 1) -> Any:
    """Return a matrix: the axes before `axis` form the rows, the others the columns."""
    shape = shape_of(x)
    axis = axis + len(shape) if axis < 0 else axis
    return np.reshape(x, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def shape(x: Any, *, start: int = 0, end: int | None = None) -> Array:
    """Return the shape of x, or a slice of it."""
    return np.array(shape_of(x)[start:end], np.int64)


def size(x: Any) -> Array:
    """Return the number of elements."""
    return np.array(math.prod(shape_of(x)), np.int64)


def expand(x: Any, shape: Any) -> Any:
    """Broadcast x with a shape, in both directions."""
    wanted = np.broadcast_shapes(shape_of(x), tuple(integers(shape, "Expand's shape")))
    return np.broadcast_to(x, wanted if isinstance(x, Tensor) else small(wanted))


def tile(x: Any, repeats: Any) -> Any:
    """Repeat x along its axes."""
    times = integers(repeats, "Tile's repeats")
    whole = tuple([d * n for d, n in zip(shape_of(x), times, strict=True)])
    return np.tile(x, times) if isinstance(x, Tensor) or small(whole) else x


def constant_of_shape(shape: Any, *, value: Any = None) -> Any:
    """Return a constant array of a shape."""
    number = np.zeros((), np.float32) if value is None else np.reshape(value, ())
    return np.broadcast_to(number, small(tuple(integers(shape, "ConstantOfShape's shape"))))


def eye_like(x: Any, *, dtype: int | None = None, k: int = 0) -> Array:
    """Return a matrix of zeros with ones on a diagonal."""
    rows, columns = small(tuple(shape_of(x)))
    return np.eye(rows, columns, k, dtype_of(x) if dtype is None else dtype_of_type(dtype, "the result"))


def arange(start: Any, limit: Any, delta: Any) -> Array:
    """Return evenly spaced values from start to limit (exclusive)."""
    whole = dtype_of(start).kind in "iu"
    bounds = [x.concrete("Range's bounds") if isinstance(x, Tensor) else x for x in (start, limit, delta)]
    a, b, step = (int(np.squeeze(x)) if whole else float(x) for x in bounds)
    if not step or not abs((b - a) / step) <= MOST_COMPUTED / 8:
        raise ValueError(f"Range from {a} to {b} with step {step}: expected at most {MOST_COMPUTED // 8:,} values")
    return (a + step * np.arange(max(math.ceil((b - a) / step), 0))).astype(dtype_of(start))


# -- parts -------------------------------------------------------------------------------------------------------------


def split(
    x: Any, split_: Any = None, *, axis: int = 0, split: Any = None, num_outputs: int | None = None, outputs: int
) -> Any:
    """Split along an axis, into parts of given or equal lengths."""
    length = shape_of(x)[axis]
    sizes = either(split_, split, "Split's sizes")
    if sizes is None:
        each = -(-length // outputs)
        sizes = tuple(min(each, length - i * each) for i in range(outputs))
    if sum(sizes) != length or len(sizes) != outputs:
        raise ValueError(f"Split cuts an axis of length {length} into {sizes}")
    return tuple(np.split(x, np.cumsum(sizes)[:-1].tolist(), axis))


def top_k(x: Any, k: Any, *, axis: int = -1, largest: int = 1, sorted: int = 1, outputs: int) -> Any:
    """Return the k largest (or smallest) elements along an axis in order, and their indices."""
    (count,) = integers(k, "TopK's k")
    axis %= len(shape_of(x))
    if not 0 <= count <= shape_of(x)[axis]:
        raise ValueError(f"TopK has k={count}, expected 0 to {shape_of(x)[axis]}, the length of the axis")
    order = np.argsort(_negated(x) if largest else x, axis=axis, stable=True)
    places = order[(slice(None),) * axis + (slice(0, count),)]
    return np.take_along_axis(x, places, axis=axis), places


def _negated(x: Any) -> Any:
    """Return values that sort in the opposite order; for integers without overflow."""
    dtype = dtype_of(x)
    return -x if dtype.kind == "f" else (np.iinfo(dtype).max if dtype.kind == "u" else -1) - x


def squeeze(x: Any, axes_: Any = None, *, axes: Any = None) -> Any:
    """Remove axes of length 1."""
    return np.squeeze(x, either(axes_, axes, "Squeeze's axes"))


def unsqueeze(x: Any, axes_: Any = None, *, axes: Any = None) -> Any:
    """Insert axes of length 1."""
    return np.expand_dims(x, either(axes_, axes, "Unsqueeze's axes") or ())


def slice_(
    x: Any, starts_: Any = None, ends_: Any = None, axes_: Any = None, steps: Any = None, *,
    starts: Any = None, ends: Any = None, axes: Any = None,
) -> Any:  # fmt: skip
    """Slice along axes; the bounds are attributes before opset 10."""
    begin, end = either(starts_, starts, "Slice's starts"), either(ends_, ends, "Slice's ends")
    if begin is None or end is None:
        raise ValueError("Slice without starts and ends")
    over = either(axes_, axes, "Slice's axes") or tuple(range(len(begin)))
    strides = integers(steps, "Slice's steps") if steps is not None else [1] * len(begin)
    index = [slice(None)] * len(shape_of(x))
    for a, b, axis, step in zip(begin, end, over, strides, strict=True):
        first = a + shape_of(x)[axis] if a < 0 else a  # still negative: before the first element, where ONNX begins
        index[axis] = slice(max(first, 0), b, step)
    return x[tuple(index)]


def trilu(x: Any, k: Any = None, *, upper: int = 1) -> Any:
    """Keep the part of matrices on one side of a diagonal."""
    diagonal = 0 if k is None else integers(k, "Trilu's k")[0]
    return np.triu(x, diagonal) if upper else np.tril(x, diagonal)


def center_crop_pad(x: Any, shape: Any, *, axes: Any = None) -> Any:
    """Cut axes, or add zeros, equally at both ends."""
    whole, wanted = shape_of(x), integers(shape, "CenterCropPad's shape")
    over = range(len(whole)) if axes is None else [a % len(whole) for a in axes]
    index, widths = [slice(None)] * len(whole), [(0, 0)] * len(whole)
    for a, new in zip(over, wanted, strict=True):
        less, more = max(whole[a] - new, 0), max(new - whole[a], 0)
        index[a] = slice(less // 2, less // 2 + min(new, whole[a]))
        widths[a] = more // 2, more - more // 2
    return ops.zero_pad(x[tuple(index)], tuple(widths))


# -- at indices --------------------------------------------------------------------------------------------------------


def gather_elements(x: Any, indices: Any, *, axis: int = 0) -> Any:
    """Return, at each place, the element at an index along an axis."""
    return x[_along(indices, axis, shape_of(x))]


def _along(indices: Any, axis: int, whole: Sequence[int]) -> tuple[Any, ...]:
    """Return the index of all axes for indices along one; the other axes may be shorter than those of the array."""
    shape = shape_of(indices)
    axis %= len(whole)
    grids = [np.reshape(np.arange(d), (-1, *(1,) * (len(shape) - k - 1))) for k, d in enumerate(shape)]
    return (*grids[:axis], indices, *grids[axis + 1 :])


def gather_nd(x: Any, indices: Any, *, batch_dims: int = 0) -> Any:
    """Return the elements at index tuples, which are the last axis of `indices`; the first axes may go together."""
    return x[_tuples(indices, batch_dims)]


def _tuples(indices: Any, together: int = 0) -> tuple[Any, ...]:
    shape = shape_of(indices)
    lead = [np.reshape(np.arange(d), (-1, *(1,) * (len(shape) - k - 2))) for k, d in enumerate(shape[:together])]
    return (*lead, *[indices[..., k] for k in range(shape[-1])])


#: How the values of a scatter join those that are there.
_JOINING: dict[bytes, Any] = {b"add": np.add, b"mul": np.multiply, b"max": np.maximum, b"min": np.minimum}


def _scattered(x: Any, index: Any, updates: Any, reduction: bytes) -> Any:
    if reduction == b"add" and len(index) == len(shape_of(x)):  # also where the indices are traced
        return x + scatter_add(updates, np.broadcast_arrays(*index), shape_of(x))
    out = np.copy(constant(x) if isinstance(updates, Tensor) else x)
    if reduction == b"none":
        out[index] = updates
    elif reduction in _JOINING:
        _JOINING[reduction].at(out, index, updates)
    else:
        raise ValueError(f"reduction is {reduction!r}, expected none, {', '.join(k.decode() for k in _JOINING)}")
    return out


def scatter_elements(x: Any, indices: Any, updates: Any, *, axis: int = 0, reduction: bytes = b"none") -> Any:
    """Return x with other elements at indices along an axis."""
    return _scattered(x, _along(indices, axis, shape_of(x)), updates, reduction)


def scatter_nd(x: Any, indices: Any, updates: Any, *, reduction: bytes = b"none") -> Any:
    """Return x with other elements, or parts, at index tuples."""
    return _scattered(x, _tuples(indices), updates, reduction)


def one_hot(indices: Any, depth: Any, values: Any, *, axis: int = -1) -> Any:
    """Return the second of two values at indices along a new axis, the first elsewhere."""
    (count,) = integers(depth, "OneHot's depth")
    indices = np.expand_dims(indices, axis % (len(shape_of(indices)) + 1))
    where = np.reshape(np.arange(count), [-1 if d == axis % len(shape_of(indices)) else 1
                                          for d in range(len(shape_of(indices)))])  # fmt: skip
    return np.where(np.equal(np.where(indices < 0, indices + count, indices), where), values[1], values[0])


def reverse_sequence(x: Any, lengths: Any, *, batch_axis: int = 1, time_axis: int = 0) -> Any:
    """Reverse the first steps of each example."""
    only(axes=({batch_axis, time_axis}, {0, 1}))
    at = np.expand_dims(np.arange(shape_of(x)[time_axis]), 1 - time_axis)
    each = np.expand_dims(lengths, time_axis)
    places = np.where(at < each, each - 1 - at, at)
    examples = np.expand_dims(np.arange(shape_of(x)[batch_axis]), time_axis)
    return x[(places, examples) if time_axis == 0 else (examples, places)]


# -- blocks ------------------------------------------------------------------------------------------------------------


def depth_to_space(x: Any, *, blocksize: int, mode: bytes = b"DCR") -> Any:
    """Move channels to places in space, in blocks."""
    m, c, h, w = shape_of(x)
    b, depth = blocksize, c // blocksize**2
    if mode == b"DCR":
        apart = np.transpose(np.reshape(x, (m, b, b, depth, h, w)), (0, 3, 4, 1, 5, 2))
    else:
        apart = np.transpose(np.reshape(x, (m, depth, b, b, h, w)), (0, 1, 4, 2, 5, 3))
    return np.reshape(apart, (m, depth, h * b, w * b))


def space_to_depth(x: Any, *, blocksize: int, mode: bytes = b"DCR") -> Any:
    """Move blocks of places in space to channels."""
    m, c, h, w = shape_of(x)
    b = blocksize
    order = (0, 3, 5, 1, 2, 4) if mode == b"DCR" else (0, 1, 3, 5, 2, 4)
    apart = np.transpose(np.reshape(x, (m, c, h // b, b, w // b, b)), order)
    return np.reshape(apart, (m, c * b * b, h // b, w // b))


Operator = Callable[..., Any]

#: Operator -> function.
SHAPES: dict[str, Operator] = {
    "CenterCropPad": center_crop_pad,
    "Concat": lambda *xs, axis: np.concatenate(list(xs), axis),
    "ConstantOfShape": constant_of_shape,
    "DepthToSpace": depth_to_space,
    "Expand": expand,
    "EyeLike": eye_like,
    "Flatten": flatten,
    "Gather": lambda x, indices, *, axis=0: np.take(x, indices, axis=axis),
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "OneHot": one_hot,
    "Pad": pad,
    "Range": arange,
    "Reshape": reshape,
    "ReverseSequence": reverse_sequence,
    "Scatter": scatter_elements,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "Shape": shape,
    "Size": size,
    "Slice": slice_,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "TopK": top_k,
    "Transpose": lambda x, *, perm=None: np.transpose(x, perm),
    "Trilu": trilu,
    "Unsqueeze": unsqueeze,
    "Where": lambda condition, a, b: np.where(condition, a, b),
}
