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
from ..ops.table import as_dtype, dtype_of, shape_of
from .onnx_arguments import dtype_of_type, either, integers
from .onnx_networks import NETWORKS
from .onnx_resize import resize
from .onnx_sequences import SEQUENCES
from .onnx_shapes import SHAPES
from .onnx_windows import WINDOWS

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


def power(a: Any, b: Any) -> Any:
    """Return a to the power of b, with the dtype of a."""
    dtype = dtype_of(a)
    if dtype.kind in "iu" and dtype_of(b).kind == "f":
        return as_dtype(np.power(as_dtype(a, np.dtype(np.float64)), as_dtype(b, np.dtype(np.float64))), dtype)
    return np.power(a, as_dtype(b, dtype))


def _cumulative(function: Callable[..., Any], start: int) -> Callable[..., Any]:
    """Return the operator of a cumulative function; exclusive, its results begin with `start`."""

    def operation(x: Any, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Any:
        (along,) = integers(axis, "the axis of a cumulative operation")
        along %= len(shape_of(x))
        x = np.flip(x, along) if reverse else x
        if exclusive:
            index = (slice(None),) * along
            first = np.full_like(x[(*index, slice(0, 1))], start)
            x = np.concatenate([first, x[(*index, slice(0, -1))]], axis=along)
        out = as_dtype(function(x, axis=along), dtype_of(x))
        return np.flip(out, along) if reverse else out

    return operation


def bit_shift(a: Any, b: Any, *, direction: bytes) -> Any:
    """Shift the bits of integers; none are left when all are shifted out."""
    function = np.left_shift if direction == b"LEFT" else np.right_shift
    return function(a, b)


def is_inf(x: Any, *, detect_negative: int = 1, detect_positive: int = 1) -> Any:
    """Tell which elements are infinite, with a sign that counts."""
    found = np.isinf(x)
    if not detect_negative:
        found = np.logical_and(found, np.greater(x, 0))
    return found if detect_positive else np.logical_and(found, np.less(x, 0))


def cast_like(x: Any, like: Any, *, round_mode: bytes = b"up", saturate: int = 1) -> Any:
    """Convert x to the element type of another value."""
    return as_dtype(x, dtype_of(like))


def einsum(*xs: Any, equation: bytes) -> Any:
    """Return sums of products, written with subscripts."""
    return np.einsum(equation.decode().replace(" ", ""), *xs)


# -- reductions --------------------------------------------------------------------------------------------------------


def _reduce(function: Callable[..., Any]) -> Callable[..., Any]:
    def operation(
        x: Any, axes_: Any = None, *, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Any:
        over = either(axes_, axes, "the axes of a reduction") or (() if noop_with_empty_axes else None)
        return as_dtype(function(x, axis=over, keepdims=bool(keepdims)), dtype_of(x))  # integers stay what they are

    return operation


def _or_least(function: Callable[..., Any], sign: int) -> Callable[..., Any]:
    """Return a maximum (sign 1) or minimum (-1) that is, of no elements, the least or greatest number there is."""

    def reduction(x: Any, axis: Any, keepdims: bool) -> Any:
        if math.prod(shape_of(x)):
            return function(x, axis=axis, keepdims=keepdims)
        dtype = dtype_of(x)
        ends = np.finfo(np.float32) if dtype.kind in "fb" else np.iinfo(dtype)
        least = -sign * np.inf if dtype.kind in "fb" else (ends.min if sign == 1 else ends.max)
        first = np.sum(x, axis=axis, keepdims=keepdims)
        return np.full(shape_of(first), least > 0 if dtype.kind == "b" else least, dtype)

    return reduction


def _log_sum_exp(x: Any, axis: Any, keepdims: bool) -> Any:
    if math.prod(shape_of(x)):
        return ops.logsumexp(x, axis=axis, keepdims=keepdims)
    return np.log(np.sum(x, axis=axis, keepdims=keepdims))


def _position(function: Callable[..., Any]) -> Callable[..., Any]:
    def operation(x: Any, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
        if not select_last_index:
            return function(x, axis=axis, keepdims=bool(keepdims))
        return shape_of(x)[axis] - 1 - function(np.flip(x, axis), axis=axis, keepdims=bool(keepdims))

    return operation


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
    **SHAPES,
    **WINDOWS,
    **NETWORKS,
    **SEQUENCES,
    "ArgMax": _position(np.argmax),
    "ArgMin": _position(np.argmin),
    "BitShift": bit_shift,
    "Cast": cast,
    "CastLike": cast_like,
    "Clip": clip,
    "CumProd": _cumulative(np.cumprod, 1),
    "CumSum": _cumulative(np.cumsum, 0),
    "Div": div,
    "Einsum": einsum,
    "Gemm": gemm,
    "Identity": lambda x: x,
    "IsInf": is_inf,
    "Max": _of_all(np.maximum),
    "Mean": lambda *xs: _of_all(np.add)(*xs) / len(xs),
    "Min": _of_all(np.minimum),
    "Mod": lambda a, b, *, fmod=0: np.fmod(a, b) if fmod else np.remainder(a, b),
    "Pow": power,
    "Reciprocal": lambda x: 1.0 / x,
    "ReduceL1": _reduce(lambda x, **how: np.sum(np.absolute(x), **how)),
    "ReduceL2": _reduce(lambda x, **how: np.sqrt(np.sum(np.square(x), **how))),
    "ReduceLogSum": _reduce(lambda x, **how: np.log(np.sum(x, **how))),
    "ReduceLogSumExp": _reduce(_log_sum_exp),
    "ReduceMax": _reduce(_or_least(np.max, 1)),
    "ReduceMean": _reduce(np.mean),
    "ReduceMin": _reduce(_or_least(np.min, -1)),
    "ReduceSumSquare": _reduce(lambda x, **how: np.sum(np.square(x), **how)),
    "Resize": resize,
    "Sum": _of_all(np.add),
    "Upsample": lambda x, scales, *, mode=b"nearest": resize(x, scales, mode=mode, opset=10),
}
