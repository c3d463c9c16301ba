"""ONNX operators as functions of tensors or arrays, by operator name.

A function's signature is the schema of its operator: positional arguments are the inputs of a node (None for an omitted
one), keyword arguments its attributes; `opset` and `outputs` are filled in. A node with inputs or attributes that the
signature lacks is rejected when the file is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import ops
from ..core.op import Array
from ..core.tensor import Tensor
from ..ops.table import as_dtype, dtype_of, shape_of
from . import onnx_windows
from .weights import DTYPES

#: The largest number of elements of a value that is computed from constants alone.
MOST_COMPUTED = 4_000_000

_DTYPES = tuple(map(np.dtype, DTYPES.values()))


def integers(x: Any, what: str) -> list[int]:
    """Return the integers of a shape, axes or bounds, which must not depend on the inputs of the graph."""
    array = x.concrete(what) if isinstance(x, Tensor) else np.asarray(x)
    return [int(n) for n in np.reshape(array, -1)]


def _axes(given: Any, attribute: Any, what: str) -> tuple[int, ...] | None:
    if given is None:
        return None if attribute is None else tuple(attribute)
    return tuple(integers(given, what))


# -- arithmetic --------------------------------------------------------------------------------------------------------


def div(a: Any, b: Any) -> Any:
    """Divide elementwise; integer division truncates towards zero."""
    if dtype_of(a).kind in "iu":
        return as_dtype(np.trunc(a / b), dtype_of(a))
    return a / b


def gemm(
    a: Any, b: Any, c: Any = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0
) -> Any:
    """Return alpha · a b + beta · c, with a and b transposed where requested."""
    out = np.matmul(np.transpose(a) if transA else a, np.transpose(b) if transB else b)
    out = out if alpha == 1 else out * alpha
    return out if c is None else out + (c if beta == 1 else c * beta)


def _of_all(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def operation(first: Any, *others: Any) -> Any:
        for x in others:
            first = function(first, x)
        return first

    return operation


def clip(x: Any, low: Any = None, high: Any = None, *, min: float | None = None, max: float | None = None) -> Any:
    """Limit x to the range from low to high; the bounds are attributes before opset 11."""
    low, high = (given if given is not None else attribute for given, attribute in ((low, min), (high, max)))
    x = x if low is None else np.maximum(x, as_dtype(low, dtype_of(x)))
    return x if high is None else np.minimum(x, as_dtype(high, dtype_of(x)))


def cast(x: Any, *, to: int, saturate: int = 1) -> Any:
    """Convert x to the element type with number `to`."""
    return as_dtype(x, dtype_of_type(to, "the result"))


def dtype_of_type(number: int, what: str) -> np.dtype[Any]:
    """Return the dtype for the number of an ONNX element type; `what` has this type."""
    from onnx import TensorProto, helper

    supported: dict[int, np.dtype[Any]] = {helper.np_dtype_to_tensor_dtype(dtype): dtype for dtype in _DTYPES}
    if number not in supported:
        name = TensorProto.DataType.Name(number) if number in TensorProto.DataType.values() else str(number)
        raise ValueError(f"{what} is of type {name}, expected one of {', '.join(map(str, _DTYPES))}")
    return supported[number]


def power(a: Any, b: Any) -> Any:
    """Return a to the power of b, with the dtype of a."""
    dtype = dtype_of(a)
    if dtype.kind in "iu" and dtype_of(b).kind == "f":
        return as_dtype(np.power(as_dtype(a, np.dtype(np.float64)), as_dtype(b, np.dtype(np.float64))), dtype)
    return np.power(a, as_dtype(b, dtype))


def cumsum(x: Any, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Any:
    """Return cumulative sums along an axis."""
    _only(exclusive=(exclusive, 0), reverse=(reverse, 0))
    return as_dtype(np.cumsum(x, axis=integers(axis, "CumSum's axis")[0]), dtype_of(x))


def _only(**settings: tuple[Any, Any]) -> None:
    for name, (found, wanted) in settings.items():
        if found != wanted:
            raise ValueError(f"{name} is {found}; only {wanted} is supported")


# -- activations -------------------------------------------------------------------------------------------------------


def hard_sigmoid(x: Any, *, alpha: float = 0.2, beta: float = 0.5) -> Any:
    """Return alpha · x + beta, limited to the range from 0 to 1."""
    return np.clip(alpha * x + beta, 0, 1)


def softmax(x: Any, *, axis: int | None = None, opset: int) -> Any:
    """Return the softmax along an axis; before opset 13, over this axis and all after it."""
    return ops.softmax(x, _softmax_axes(x, axis, opset))


def log_softmax(x: Any, *, axis: int | None = None, opset: int) -> Any:
    """Return the log-softmax, over the same axes as `softmax`."""
    return ops.log_softmax(x, _softmax_axes(x, axis, opset))


def _softmax_axes(x: Any, axis: int | None, opset: int) -> Any:
    if opset >= 13:
        return -1 if axis is None else axis
    ndim = len(shape_of(x))
    return tuple(range((1 if axis is None else axis) % ndim, ndim))


# -- normalisation -----------------------------------------------------------------------------------------------------


def batch_normalization(
    x: Any, scale: Any, bias: Any, mean: Any, variance: Any, *, epsilon: float = 1e-5, momentum: float = 0.9,
    training_mode: int = 0, spatial: int = 1,
) -> Any:  # fmt: skip
    """Normalise each channel (axis 1) by the running mean and variance."""
    _only(training_mode=(training_mode, 0), spatial=(spatial, 1))
    shape = (-1,) + (1,) * (len(shape_of(x)) - 2)
    scale, bias, mean, variance = (np.reshape(v, shape) for v in (scale, bias, mean, variance))
    return (x - mean) / np.sqrt(variance + epsilon) * scale + bias


def layer_normalization(
    x: Any, scale: Any, bias: Any = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Any:
    """Normalise over `axis` and all axes after it."""
    ndim = len(shape_of(x))
    axes = tuple(range(axis % ndim, ndim))
    centred = x - np.mean(x, axis=axes, keepdims=True)
    out = centred / np.sqrt(np.mean(np.square(centred), axis=axes, keepdims=True) + epsilon) * scale
    return out if bias is None else out + bias


def dropout(x: Any, ratio_: Any = None, training: Any = None, *, ratio: float = 0.5, seed: int = 0) -> Any:
    """Return x: inference mode, the only one supported, drops nothing."""
    if training is not None:
        _only(training_mode=(bool(integers(training, "training_mode")[0]), False))
    return x


# -- reductions --------------------------------------------------------------------------------------------------------


def _reduce(function: Callable[..., Any]) -> Callable[..., Any]:
    def operation(
        x: Any, axes_: Any = None, *, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Any:
        over = _axes(axes_, axes, "the axes of a reduction") or (() if noop_with_empty_axes else None)
        return as_dtype(function(x, axis=over, keepdims=bool(keepdims)), dtype_of(x))  # integers stay what they are

    return operation


def _position(function: Callable[..., Any]) -> Callable[..., Any]:
    def operation(x: Any, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
        _only(select_last_index=(select_last_index, 0))
        return function(x, axis=axis, keepdims=bool(keepdims))

    return operation


# -- shapes ------------------------------------------------------------------------------------------------------------


def reshape(x: Any, shape: Any, *, allowzero: int = 0) -> Any:
    """Change the shape; a length of 0 keeps the length of that axis, unless `allowzero` is set."""
    old, new = shape_of(x), integers(shape, "Reshape's shape")
    return np.reshape(x, new if allowzero else [old[i] if d == 0 else d for i, d in enumerate(new)])


def pad(
    x: Any, pads_: Any = None, value_: Any = None, axes_: Any = None, *, mode: bytes = b"constant", pads: Any = None,
    value: float = 0.0,
) -> Any:  # fmt: skip
    """Add elements before and after axes, or remove them where there are fewer than none."""
    ndim, flat = len(shape_of(x)), list(_axes(pads_, pads, "Pad's lengths") or ())
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


def expand(x: Any, shape: Any) -> Any:
    """Broadcast x with a shape, in both directions."""
    wanted = np.broadcast_shapes(shape_of(x), tuple(integers(shape, "Expand's shape")))
    return np.broadcast_to(x, wanted if isinstance(x, Tensor) else _small(wanted))


def constant_of_shape(shape: Any, *, value: Any = None) -> Any:
    """Return a constant array of a shape."""
    number = np.zeros((), np.float32) if value is None else np.reshape(value, ())
    return np.broadcast_to(number, _small(tuple(integers(shape, "ConstantOfShape's shape"))))


def _small(shape: tuple[int, ...]) -> tuple[int, ...]:
    if min(shape, default=0) < 0 or math.prod(shape) > MOST_COMPUTED:
        raise ValueError(f"a constant has shape {shape[:8]}, expected at most {MOST_COMPUTED:,} elements")
    return shape


def split(
    x: Any, split_: Any = None, *, axis: int = 0, split: Any = None, num_outputs: int | None = None, outputs: int
) -> Any:
    """Split along an axis, into parts of given or equal lengths."""
    length = shape_of(x)[axis]
    sizes = _axes(split_, split, "Split's sizes")
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
    return np.squeeze(x, _axes(axes_, axes, "Squeeze's axes"))


def unsqueeze(x: Any, axes_: Any = None, *, axes: Any = None) -> Any:
    """Insert axes of length 1."""
    return np.expand_dims(x, _axes(axes_, axes, "Unsqueeze's axes") or ())


def slice_(
    x: Any, starts_: Any = None, ends_: Any = None, axes_: Any = None, steps: Any = None, *,
    starts: Any = None, ends: Any = None, axes: Any = None,
) -> Any:  # fmt: skip
    """Slice along axes; the bounds are attributes before opset 10."""
    begin, end = _axes(starts_, starts, "Slice's starts"), _axes(ends_, ends, "Slice's ends")
    if begin is None or end is None:
        raise ValueError("Slice without starts and ends")
    over = _axes(axes_, axes, "Slice's axes") or tuple(range(len(begin)))
    strides = integers(steps, "Slice's steps") if steps is not None else [1] * len(begin)
    index = [slice(None)] * len(shape_of(x))
    for a, b, axis, step in zip(begin, end, over, strides, strict=True):
        first = a + shape_of(x)[axis] if a < 0 else a  # still negative: before the first element, where ONNX begins
        index[axis] = slice(max(first, 0), b, step)
    return x[tuple(index)]


def gather_nd(x: Any, indices: Any, *, batch_dims: int = 0) -> Any:
    """Return the elements at index tuples, which are the last axis of `indices`."""
    _only(batch_dims=(batch_dims, 0))
    return x[tuple(indices[..., k] for k in range(shape_of(indices)[-1]))]


def arange(start: Any, limit: Any, delta: Any) -> Array:
    """Return evenly spaced values from start to limit (exclusive)."""
    whole = dtype_of(start).kind in "iu"
    bounds = [x.concrete("Range's bounds") if isinstance(x, Tensor) else x for x in (start, limit, delta)]
    a, b, step = (int(np.squeeze(x)) if whole else float(x) for x in bounds)
    if not step or not abs((b - a) / step) <= MOST_COMPUTED / 8:
        raise ValueError(f"Range from {a} to {b} with step {step}: expected at most {MOST_COMPUTED // 8:,} values")
    return (a + step * np.arange(max(math.ceil((b - a) / step), 0))).astype(dtype_of(start))


#: Operators that are one function of NumPy or of chainrule.ops, for reading and writing.
PLAIN: dict[str, Callable[..., Any]] = {
    "Abs": np.absolute, "Acos": np.arccos, "Acosh": np.arccosh, "Add": np.add, "Asin": np.arcsin, "Asinh": np.arcsinh,
    "Atan": np.arctan, "Atanh": np.arctanh, "BitwiseAnd": np.bitwise_and,
    "BitwiseNot": np.invert, "BitwiseOr": np.bitwise_or, "BitwiseXor": np.bitwise_xor,
    "Ceil": np.ceil, "Cos": np.cos, "Cosh": np.cosh, "Det": np.linalg.det,
    "Equal": np.equal, "Erf": ops.erf, "Exp": np.exp, "Floor": np.floor, "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal, "IsInf": np.isinf, "IsNaN": np.isnan, "Less": np.less,
    "LessOrEqual": np.less_equal, "Log": np.log, "MatMul": np.matmul, "Mul": np.multiply, "Neg": np.negative,
    "Relu": ops.relu, "Round": np.rint, "Sigmoid": ops.sigmoid, "Sign": np.sign, "Sin": np.sin, "Sinh": np.sinh,
    "Softplus": ops.softplus, "Sqrt": np.sqrt, "Sub": np.subtract, "Tan": np.tan, "Tanh": np.tanh,
}  # fmt: skip
LOGICAL: dict[str, Callable[..., Any]] = {
    "And": np.logical_and, "Not": np.logical_not, "Or": np.logical_or, "Xor": np.logical_xor
}  # fmt: skip
REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceMax": np.max, "ReduceMin": np.min, "ReduceProd": np.prod, "ReduceSum": np.sum
}  # fmt: skip


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with a signature that `inspect` can read, which NumPy's lack."""
    if getattr(function, "nin", 1) == 2:
        return lambda a, b: function(a, b)
    return lambda x: function(x)


#: Operator -> function.
OPERATIONS: dict[str, Callable[..., Any]] = {
    **{name: _plain(function) for name, function in (PLAIN | LOGICAL).items()},
    **{name: _reduce(function) for name, function in REDUCTIONS.items()},
    "ArgMax": _position(np.argmax),
    "ArgMin": _position(np.argmin),
    "AveragePool": onnx_windows.average_pool,
    "BatchNormalization": batch_normalization,
    "Cast": cast,
    "Clip": clip,
    "Concat": lambda *xs, axis: np.concatenate(list(xs), axis),
    "Conv": onnx_windows.conv,
    "ConvTranspose": onnx_windows.conv_transpose,
    "ConstantOfShape": constant_of_shape,
    "CumSum": cumsum,
    "Div": div,
    "Dropout": dropout,
    "Elu": lambda x, *, alpha=1.0: ops.elu(x, alpha),
    "Expand": expand,
    "Flatten": flatten,
    "Gather": lambda x, indices, *, axis=0: np.take(x, indices, axis=axis),
    "GatherND": gather_nd,
    "Mod": lambda a, b, *, fmod=0: np.fmod(a, b) if fmod else np.remainder(a, b),
    "Gelu": lambda x, *, approximate=b"none": ops.gelu(x, approximate == b"tanh"),
    "Gemm": gemm,
    "GlobalAveragePool": onnx_windows.global_pool(np.mean),
    "GlobalMaxPool": onnx_windows.global_pool(np.max),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": lambda x: x * hard_sigmoid(x, alpha=1 / 6),
    "Identity": lambda x: x,
    "LayerNormalization": layer_normalization,
    "LeakyRelu": lambda x, *, alpha=0.01: ops.leaky_relu(x, alpha),
    "LogSoftmax": log_softmax,
    "Max": _of_all(np.maximum),
    "MaxPool": onnx_windows.max_pool,
    "Mean": lambda *xs: _of_all(np.add)(*xs) / len(xs),
    "Min": _of_all(np.minimum),
    "Mish": lambda x: x * np.tanh(ops.softplus(x)),
    "PRelu": lambda x, slope: np.where(np.greater(x, 0), x, slope * x),
    "Pad": pad,
    "Pow": power,
    "Range": arange,
    "Reciprocal": lambda x: 1.0 / x,
    "ReduceL1": _reduce(lambda x, **how: np.sum(np.absolute(x), **how)),
    "ReduceL2": _reduce(lambda x, **how: np.sqrt(np.sum(np.square(x), **how))),
    "ReduceLogSumExp": _reduce(ops.logsumexp),
    "ReduceMean": _reduce(np.mean),
    "ReduceSumSquare": _reduce(lambda x, **how: np.sum(np.square(x), **how)),
    "Reshape": reshape,
    "Selu": lambda x, *, alpha=1.6732632423543772, gamma=1.0507009873554805: gamma * ops.elu(x, alpha),
    "Shape": shape,
    "Slice": slice_,
    "Softmax": softmax,
    "Softsign": lambda x: x / (1.0 + np.absolute(x)),
    "Split": split,
    "Squeeze": squeeze,
    "Sum": _of_all(np.add),
    "TopK": top_k,
    "Transpose": lambda x, *, perm=None: np.transpose(x, perm),
    "Unsqueeze": unsqueeze,
    "Where": lambda condition, a, b: np.where(condition, a, b),
}
