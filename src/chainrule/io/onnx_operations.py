"""ONNX's operations as functions of tensors or arrays, by their names there.

The signature is the schema: positional arguments are a node's inputs (None where one is left out), keywords its
attributes; `opset` and `outputs` are filled in. What a function does not take is refused when a file is read.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import ops
from ..core.op import Array
from ..core.tensor import Tensor
from ..ops.table import as_dtype, dtype_of, shape_of
from .weights import DTYPES

#: A value computed from constants alone may hold so many numbers: no network needs more.
MOST_COMPUTED = 4_000_000

_DTYPES = tuple(map(np.dtype, DTYPES.values()))


def integers(x: Any, what: str) -> list[int]:
    """Return the integers of a shape, axes or bounds: they must be known without the data."""
    array = x.concrete(what) if isinstance(x, Tensor) else np.asarray(x)
    return [int(n) for n in np.reshape(array, -1)]


def _axes(given: Any, attribute: Any, what: str) -> tuple[int, ...] | None:
    if given is None:
        return None if attribute is None else tuple(attribute)
    return tuple(integers(given, what))


# -- arithmetic --------------------------------------------------------------------------------------------------------


def div(a: Any, b: Any) -> Any:
    """Divide; integers towards zero."""
    if dtype_of(a).kind in "iu":
        return as_dtype(np.trunc(a / b), dtype_of(a))
    return a / b


def gemm(
    a: Any, b: Any, c: Any = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0
) -> Any:
    """Return alpha a b + beta c."""
    out = np.matmul(np.transpose(a) if transA else a, np.transpose(b) if transB else b)
    out = out if alpha == 1 else out * alpha
    return out if c is None else out + (c if beta == 1 else c * beta)


def _of_all(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def operation(first: Any, *others: Any) -> Any:
        for x in others:
            first = function(first, x)
        return first

    return operation


def mean(*xs: Any) -> Any:
    """Return the mean of several tensors."""
    return _of_all(np.add)(*xs) / len(xs)


def clip(x: Any, low: Any = None, high: Any = None, *, min: float | None = None, max: float | None = None) -> Any:
    """Bound x on both sides."""
    low, high = (given if given is not None else attribute for given, attribute in ((low, min), (high, max)))
    x = x if low is None else np.maximum(x, as_dtype(low, dtype_of(x)))
    return x if high is None else np.minimum(x, as_dtype(high, dtype_of(x)))


def cast(x: Any, *, to: int, saturate: int = 1) -> Any:
    """Convert to another type of numbers."""
    return as_dtype(x, cast_dtype(to))


def cast_dtype(number: int) -> np.dtype[Any]:
    """Return the dtype that ONNX's number of a type stands for."""
    from onnx import helper

    dtype: np.dtype[Any] = np.dtype(helper.tensor_dtype_to_np_dtype(number))
    if dtype not in _DTYPES:
        raise ValueError(f"conversion to type {number} ({dtype}); {', '.join(map(str, _DTYPES))} are read")
    return dtype


def power(a: Any, b: Any) -> Any:
    """Return a to the power of b, as a number of the type of a."""
    dtype = dtype_of(a)
    if dtype.kind in "iu" and dtype_of(b).kind == "f":
        return as_dtype(np.power(as_dtype(a, np.dtype(np.float64)), as_dtype(b, np.dtype(np.float64))), dtype)
    return np.power(a, as_dtype(b, dtype))


def cumsum(x: Any, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Any:
    """Return running sums."""
    _only(exclusive=(exclusive, 0), reverse=(reverse, 0))
    return as_dtype(np.cumsum(x, axis=integers(axis, "CumSum's axis")[0]), dtype_of(x))


def _only(**settings: tuple[Any, Any]) -> None:
    for name, (found, wanted) in settings.items():
        if found != wanted:
            raise ValueError(f"{name} is {found}; only {wanted} is read")


# -- activations -------------------------------------------------------------------------------------------------------


def gelu(x: Any, *, approximate: str = "none") -> Any:
    """Return x · Φ(x)."""
    return ops.gelu(x, _text(approximate) == "tanh")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def elu(x: Any, *, alpha: float = 1.0) -> Any:
    """Return x where positive, else alpha (e^x - 1)."""
    return ops.elu(x, alpha)


def selu(x: Any, *, alpha: float = 1.6732632423543772, gamma: float = 1.0507009873554805) -> Any:
    """Return gamma · elu(x)."""
    return gamma * ops.elu(x, alpha)


def leaky_relu(x: Any, *, alpha: float = 0.01) -> Any:
    """Return x where positive, else alpha · x."""
    return ops.leaky_relu(x, alpha)


def prelu(x: Any, slope: Any) -> Any:
    """Return x where positive, else slope · x."""
    return np.where(np.greater(x, 0), x, slope * x)


def hard_sigmoid(x: Any, *, alpha: float = 0.2, beta: float = 0.5) -> Any:
    """Return alpha x + beta, between 0 and 1."""
    return np.clip(alpha * x + beta, 0, 1)


def softmax(x: Any, *, axis: int | None = None, opset: int) -> Any:
    """Return e^x over its sum: along an axis, before opset 13 over all axes from it on."""
    return ops.softmax(x, _softmax_axes(x, axis, opset))


def log_softmax(x: Any, *, axis: int | None = None, opset: int) -> Any:
    """Return the logarithm of `softmax`."""
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
    """Normalise by running statistics, feature by feature on axis 1."""
    _only(training_mode=(training_mode, 0), spatial=(spatial, 1))
    shape = (-1,) + (1,) * (len(shape_of(x)) - 2)
    scale, bias, mean, variance = (np.reshape(v, shape) for v in (scale, bias, mean, variance))
    return (x - mean) / np.sqrt(variance + epsilon) * scale + bias


def layer_normalization(
    x: Any, scale: Any, bias: Any = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Any:
    """Normalise each example over its axes from `axis` on."""
    ndim = len(shape_of(x))
    axes = tuple(range(axis % ndim, ndim))
    centred = x - np.mean(x, axis=axes, keepdims=True)
    out = centred / np.sqrt(np.mean(np.square(centred), axis=axes, keepdims=True) + epsilon) * scale
    return out if bias is None else out + bias


def dropout(x: Any, ratio_: Any = None, training: Any = None, *, ratio: float = 0.5, seed: int = 0) -> Any:
    """Return x: nothing is dropped in evaluation."""
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


def _norm(x: Any, **how: Any) -> Any:
    return np.sqrt(np.sum(np.square(x), **how))


def _position(function: Callable[..., Any]) -> Callable[..., Any]:
    def operation(x: Any, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
        _only(select_last_index=(select_last_index, 0))
        return function(x, axis=axis, keepdims=bool(keepdims))

    return operation


def global_average(x: Any) -> Any:
    """Return the mean over all axes but the first two, which stay with length 1."""
    return np.mean(x, axis=tuple(range(2, len(shape_of(x)))), keepdims=True)


# -- shapes ------------------------------------------------------------------------------------------------------------


def reshape(x: Any, shape: Any, *, allowzero: int = 0) -> Any:
    """Give x another shape; 0 stands for the length it has there."""
    old, new = shape_of(x), integers(shape, "Reshape's shape")
    return np.reshape(x, new if allowzero else [old[i] if d == 0 else d for i, d in enumerate(new)])


def flatten(x: Any, *, axis: int = 1) -> Any:
    """Join the axes before `axis`, and those from it on."""
    shape = shape_of(x)
    axis = axis + len(shape) if axis < 0 else axis
    return np.reshape(x, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def shape(x: Any, *, start: int = 0, end: int | None = None) -> Array:
    """Return the lengths of the axes."""
    return np.array(shape_of(x)[start:end], np.int64)


def expand(x: Any, shape: Any) -> Any:
    """Broadcast x against a shape."""
    wanted = np.broadcast_shapes(shape_of(x), tuple(integers(shape, "Expand's shape")))
    return np.broadcast_to(x, wanted if isinstance(x, Tensor) else _small(wanted))


def constant_of_shape(shape: Any, *, value: Any = None) -> Any:
    """Return one number in a shape."""
    number = np.zeros((), np.float32) if value is None else np.reshape(value, ())
    return np.broadcast_to(number, _small(tuple(integers(shape, "ConstantOfShape's shape"))))


def _small(shape: tuple[int, ...]) -> tuple[int, ...]:
    if min(shape, default=0) < 0 or math.prod(shape) > MOST_COMPUTED:
        raise ValueError(
            f"a constant of shape {shape[:8]}; at most {MOST_COMPUTED:,} numbers are computed from constants"
        )
    return shape


def transpose(x: Any, *, perm: Any = None) -> Any:
    """Exchange axes."""
    return np.transpose(x, perm)


def concat(*xs: Any, axis: int) -> Any:
    """Join along an axis."""
    return np.concatenate(list(xs), axis)


def split(
    x: Any, split_: Any = None, *, axis: int = 0, split: Any = None, num_outputs: int | None = None, outputs: int
) -> Any:
    """Cut along an axis."""
    length = shape_of(x)[axis]
    sizes = _axes(split_, split, "Split's sizes")
    if sizes is None:
        each = -(-length // outputs)
        sizes = tuple(min(each, length - i * each) for i in range(outputs))
    if builtins.sum(sizes) != length or len(sizes) != outputs:
        raise ValueError(f"Split cuts an axis of length {length} into {sizes}")
    return tuple(np.split(x, np.cumsum(sizes)[:-1].tolist(), axis))


def top_k(x: Any, k: Any, *, axis: int = -1, largest: int = 1, sorted: int = 1, outputs: int) -> Any:
    """Return the k largest (or smallest) along an axis, in order, and where they stand."""
    (count,) = integers(k, "TopK's k")
    axis %= len(shape_of(x))
    if not 0 <= count <= shape_of(x)[axis]:
        raise ValueError(f"the {count} first of {shape_of(x)[axis]}")
    order = np.argsort(_negated(x) if largest else x, axis=axis, stable=True)
    places = order[(slice(None),) * axis + (slice(0, count),)]
    return np.take_along_axis(x, places, axis=axis), places


def _negated(x: Any) -> Any:
    """Return numbers in the opposite order; integers without an overflow."""
    dtype = dtype_of(x)
    return -x if dtype.kind == "f" else (np.iinfo(dtype).max if dtype.kind == "u" else -1) - x


def squeeze(x: Any, axes_: Any = None, *, axes: Any = None) -> Any:
    """Drop axes of length 1."""
    return np.squeeze(x, _axes(axes_, axes, "Squeeze's axes"))


def unsqueeze(x: Any, axes_: Any = None, *, axes: Any = None) -> Any:
    """Add axes of length 1."""
    return np.expand_dims(x, _axes(axes_, axes, "Unsqueeze's axes") or ())


def slice_(
    x: Any, starts_: Any = None, ends_: Any = None, axes_: Any = None, steps: Any = None, *,
    starts: Any = None, ends: Any = None, axes: Any = None,
) -> Any:  # fmt: skip
    """Cut a part out along axes."""
    begin, end = _axes(starts_, starts, "Slice's starts"), _axes(ends_, ends, "Slice's ends")
    if begin is None or end is None:
        raise ValueError("Slice without starts and ends")
    over = _axes(axes_, axes, "Slice's axes") or tuple(range(len(begin)))
    strides = integers(steps, "Slice's steps") if steps is not None else [1] * len(begin)
    index = [slice(None)] * len(shape_of(x))
    for a, b, axis, step in zip(begin, end, over, strides, strict=True):
        index[axis] = _bounded(a, b, step, shape_of(x)[axis])
    return x[tuple(index)]


def _bounded(start: int, end: int, step: int, length: int) -> slice:
    """Return a slice that begins within the axis: backwards from before its beginning means from its first entry."""
    start = start + length if start < 0 else start
    return slice(max(start, 0), end, step)


def gather(x: Any, indices: Any, *, axis: int = 0) -> Any:
    """Take entries along an axis."""
    return np.take(x, indices, axis=axis)


def gather_nd(x: Any, indices: Any, *, batch_dims: int = 0) -> Any:
    """Take entries at positions, whose coordinates stand along the last axis."""
    _only(batch_dims=(batch_dims, 0))
    return x[tuple(indices[..., k] for k in range(shape_of(indices)[-1]))]


def arange(start: Any, limit: Any, delta: Any) -> Array:
    """Count from start to limit."""
    whole = dtype_of(start).kind in "iu"
    a, b, step = (integers(x, "Range's bounds")[0] if whole else _number(x) for x in (start, limit, delta))
    if not step or not abs((b - a) / step) <= MOST_COMPUTED / 8:
        raise ValueError(f"Range counts from {a} to {b} by {step}")
    return (a + step * np.arange(max(math.ceil((b - a) / step), 0))).astype(dtype_of(start))


def _number(x: Any) -> float:
    """Return a number that must be known without the data."""
    return float(x.concrete("Range's bounds") if isinstance(x, Tensor) else x)


def _same(x: Any) -> Any:
    return x


#: What a function of NumPy, or of chainrule.ops, is called in ONNX; for reading and for writing.
PLAIN: dict[str, Callable[..., Any]] = {
    "Abs": np.absolute, "Acos": np.arccos, "Acosh": np.arccosh, "Add": np.add, "Asin": np.arcsin, "Asinh": np.arcsinh,
    "Atan": np.arctan, "Atanh": np.arctanh, "Ceil": np.ceil, "Cos": np.cos, "Cosh": np.cosh, "Det": np.linalg.det,
    "Equal": np.equal, "Erf": ops.erf, "Exp": np.exp, "Floor": np.floor, "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal, "IsInf": np.isinf, "IsNaN": np.isnan, "Less": np.less,
    "LessOrEqual": np.less_equal, "Log": np.log, "MatMul": np.matmul, "Mul": np.multiply, "Neg": np.negative,
    "Relu": ops.relu, "Round": np.rint, "Sigmoid": ops.sigmoid, "Sign": np.sign, "Sin": np.sin, "Sinh": np.sinh,
    "Softplus": ops.softplus, "Sqrt": np.sqrt, "Sub": np.subtract, "Tan": np.tan, "Tanh": np.tanh,
}  # fmt: skip


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with a signature: NumPy's have none that can be read."""
    if getattr(function, "nin", 1) == 2:
        return lambda a, b: function(a, b)
    return lambda x: function(x)


#: Name in ONNX -> function.
OPERATIONS: dict[str, Callable[..., Any]] = {
    **{name: _plain(function) for name, function in PLAIN.items()},
    "And": _plain(np.logical_and),
    "Not": _plain(np.logical_not),
    "Or": _plain(np.logical_or),
    "Xor": _plain(np.logical_xor),
    "ArgMax": _position(np.argmax),
    "ArgMin": _position(np.argmin),
    "BatchNormalization": batch_normalization,
    "Cast": cast,
    "Clip": clip,
    "Concat": concat,
    "ConstantOfShape": constant_of_shape,
    "CumSum": cumsum,
    "Div": div,
    "Dropout": dropout,
    "Elu": elu,
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "GatherND": gather_nd,
    "Gelu": gelu,
    "Gemm": gemm,
    "GlobalAveragePool": global_average,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": lambda x: x * hard_sigmoid(x, alpha=1 / 6),
    "Identity": _same,
    "LayerNormalization": layer_normalization,
    "LeakyRelu": leaky_relu,
    "LogSoftmax": log_softmax,
    "Max": _of_all(np.maximum),
    "Mean": mean,
    "Min": _of_all(np.minimum),
    "Mish": lambda x: x * np.tanh(ops.softplus(x)),
    "PRelu": prelu,
    "Pow": power,
    "Range": arange,
    "Reciprocal": lambda x: 1.0 / x,
    "ReduceL1": _reduce(lambda x, **how: np.sum(np.absolute(x), **how)),
    "ReduceL2": _reduce(_norm),
    "ReduceLogSumExp": _reduce(ops.logsumexp),
    "ReduceMax": _reduce(np.max),
    "ReduceMean": _reduce(np.mean),
    "ReduceMin": _reduce(np.min),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "ReduceSumSquare": _reduce(lambda x, **how: np.sum(np.square(x), **how)),
    "Reshape": reshape,
    "Selu": selu,
    "Shape": shape,
    "Slice": slice_,
    "Softmax": softmax,
    "Softsign": lambda x: x / (1.0 + np.absolute(x)),
    "Split": split,
    "Squeeze": squeeze,
    "Sum": _of_all(np.add),
    "TopK": top_k,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    "Where": lambda condition, a, b: np.where(condition, a, b),
}
