"""The table itself: registration of rows, promotion of dtypes, the common shape rules."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.arrays import FLOATS, checked_array
from ..core.node import FUNCTIONS
from ..core.op import ELEMENTWISE, Example, Operation, Shape, is_row, register, row, rows
from ..core.tensor import Tensor

_SCALARS = (float, int, bool)
_FLOAT32, _FLOAT64 = FLOATS


def names() -> list[str]:
    """Return the names of the functions of NumPy and SciPy that work on tensors, sorted.

    Examples
    --------
    >>> "np.tanh" in names(), "np.linalg.solve" in names()
    (True, True)
    """
    found = set()
    for key in FUNCTIONS:
        if isinstance(key, tuple):
            found.add(f"np.{key[0].__name__}.{key[1]}")
        elif isinstance(key, str):
            found |= {key} if key.startswith("scipy.") else set()
        else:
            where = (getattr(key, "__module__", "") or "").removeprefix("numpy").lstrip(".")
            found.add("np." + (where + "." if where == "linalg" else "") + key.__name__)
    return sorted(found)


def implements(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate the implementation of NumPy functions on tensors."""

    def decorate(implementation: Callable[..., Any]) -> Callable[..., Any]:
        for function in functions:
            FUNCTIONS[function] = implementation
        return implementation

    return decorate


def row_of(function: Any) -> Operation:
    """Return the row that a NumPy function, or one of the library's own, applies.

    Examples
    --------
    >>> row_of(np.add), row_of(np.sum)
    (<operation add>, <operation sum>)
    """
    name = getattr(function, "__name__", repr(function))
    own = getattr(function, "__module__", "").startswith(__package__)
    if is_row(name) and (own or row(name).numpy is function):
        return row(name)
    found = getattr(FUNCTIONS.get(function, function), "op", None)
    found = found or next((op for op in rows() if op.numpy is function), None)
    if not isinstance(found, Operation):
        raise KeyError(f"{name!r} is not an operation of the table")
    return found


def is_tensor(*xs: Any) -> bool:
    """Whether any of `xs` is a tensor."""
    return any(isinstance(x, Tensor) for x in xs)


def shape_of(x: Any) -> Shape:
    """Return the shape of a tensor, an array or a number."""
    return x.shape if hasattr(x, "shape") else np.shape(x)


def dtype_of(x: Any) -> np.dtype[Any]:
    """Return the dtype of a tensor, an array or a number."""
    return x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype


def _stand_in(x: Any) -> Any:
    """Return what ``np.result_type`` should see: a Python number for weak scalars, else the dtype."""
    if isinstance(x, Tensor):
        return x.dtype.type(0).item() if x.weak else x.dtype
    if type(x) in _SCALARS:
        return type(x)(0)
    return x.dtype


def promote(*xs: Any, floating: bool = False) -> tuple[tuple[Any, ...], bool]:
    """Bring the inputs to one dtype by NumPy's rules, at least one being a tensor.

    Returns the inputs and whether all are weak (Python scalars). With `floating`, integers become float64.
    """
    if len(xs) == 2 and hasattr(xs[0], "dtype") and hasattr(xs[1], "dtype"):
        a, b = xs
        dtype = a.dtype
        if dtype is b.dtype and (dtype is _FLOAT32 or dtype is _FLOAT64):
            if not (isinstance(a, Tensor) and a.weak) and not (isinstance(b, Tensor) and b.weak):
                return xs, False
    xs = tuple([array_of(x) if isinstance(x, list | tuple) else x for x in xs])
    xs = tuple([x if isinstance(x, Tensor) or type(x) in _SCALARS else checked_array(x, "an operand") for x in xs])
    dtype = np.result_type(*[_stand_in(x) for x in xs])
    if floating and dtype.kind in "biu":
        dtype = FLOATS[1]
    weak = all(x.weak if isinstance(x, Tensor) else type(x) in _SCALARS for x in xs)
    return tuple([x if isinstance(x, Tensor) and x.dtype == dtype else _fitted(x, dtype) for x in xs]), weak


def as_dtype(x: Any, dtype: Any) -> Any:
    """Convert a tensor (recorded), an array or a number to `dtype`."""
    if isinstance(x, Tensor):
        if x.dtype == dtype:
            return x
        if x.op is None and x.value is not None and not x.recordings:
            return Tensor(x.value.astype(dtype))
        return apply(CAST, (x,), {"dtype": np.dtype(dtype)})
    return np.asarray(x, dtype=dtype)


def array_of(x: Any) -> Any:
    """Return a tensor unchanged, anything else as an array; a list that tensors are in as a tensor."""
    if isinstance(x, list | tuple) and _holds_tensors(x):
        return np.stack([array_of(i) for i in x])
    return x if isinstance(x, Tensor) else np.asarray(x)


def _holds_tensors(nest: Any) -> bool:
    return any(isinstance(x, Tensor) or (isinstance(x, list | tuple) and _holds_tensors(x)) for x in nest)


def one_axis(a: Any, axis: int | None) -> tuple[Any, int]:
    """Return `a` and its axis, counted from the first; for None the flattened `a` and 0."""
    if axis is None:
        return np.reshape(a, -1), 0
    ndim, axis = len(shape_of(a)), operator.index(axis)
    if not -ndim <= axis < ndim:
        raise np.exceptions.AxisError(axis, ndim)
    return a, axis % ndim


def along(x: Any, axis: int, start: int | None, stop: int | None = None, step: int | None = None) -> Any:
    """Return the slice of `x` from `start` to `stop` along an axis that is not negative."""
    return x[(slice(None),) * axis + (slice(start, stop, step),)]


def stored(result: Any, out: Any, casting: Any = "same_kind") -> Any:
    """Return the result of a kernel, written to `out` where that is given."""
    if out is None:
        return result
    np.copyto(out, result, casting=casting)
    return out


def floating(x: Any) -> Any:
    """Return a tensor or array of float32 or float64; integers become float64."""
    x = x if isinstance(x, Tensor) else checked_array(x, "an operand")
    return x if x.dtype.kind == "f" else as_dtype(x, FLOATS[1])


def broadcast_shape(name: str, *xs: Any) -> Shape:
    """Return the shape the inputs broadcast to; raise naming the operation and the shapes otherwise."""
    shape = xs[0].shape
    for x in xs:
        if x.shape != shape:
            longer, shorter = (shape, x.shape) if len(shape) > len(x.shape) else (x.shape, shape)
            if longer[len(longer) - len(shorter) :] != shorter:
                break
            shape = longer
    else:  # each shape ends with the others
        return tuple(shape)
    try:
        return np.broadcast_shapes(*[x.shape for x in xs])
    except ValueError:
        shapes = " and ".join(str(tuple(x.shape)) for x in xs)
        raise ValueError(
            f"{name}: shapes {shapes} do not broadcast; axes are compared from the last and must be equal or 1"
        ) from None


def elementwise_shape(name: str, result: Any = None) -> Callable[..., tuple[Shape, np.dtype[Any]]]:
    """Return the shape rule of an elementwise row; `result` is its dtype where that differs from its inputs'."""

    def shape(*xs: Any, **attrs: Any) -> tuple[Shape, np.dtype[Any]]:
        return broadcast_shape(name, *xs), np.dtype(result) if result is not None else xs[-1].dtype

    return shape


def _ready(xs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Return the inputs if they need no promotion, else None: a fast path of `promote` for the common cases."""
    first = xs[0]
    if not isinstance(first, Tensor) or first.weak:
        return None
    dtype = first.dtype
    if dtype is not _FLOAT32 and dtype is not _FLOAT64:
        return None
    if len(xs) == 1:
        return xs
    second = xs[1]
    kind = type(second)
    if len(xs) != 2:
        return None
    if kind is float or kind is int:
        return (first, Tensor(np.asarray(second, dtype)))
    if kind is np.ndarray:
        return xs if second.dtype is dtype else None
    return xs if isinstance(second, Tensor) and second.dtype is dtype and not second.weak else None


def _is_complex(x: Any) -> bool:
    """Whether an operand is a complex number, array or pair of tensors."""
    return type(x) is complex or (not isinstance(x, Tensor) and getattr(getattr(x, "dtype", None), "kind", "") == "c")


def elementwise(op: Operation, *, ufunc: Any = None, floating: bool = False) -> Callable[..., Any]:
    """Return the function that applies an elementwise row to tensors, arrays and numbers.

    The dtypes are those of `ufunc`, where it is given; other rows promote as NumPy's arithmetic does.
    """
    if op.shape is None or op.kind != ELEMENTWISE:
        raise TypeError(f"{op.name} is not an elementwise row")

    def function(*xs: Any) -> Any:
        ready = _ready(xs)
        if ready is not None:
            return apply(op, ready, {})
        if not is_tensor(*xs):
            return op.evaluate(*xs)
        if any(_is_complex(x) for x in xs):
            return FUNCTIONS["complex"](op.numpy, *xs)
        promoted, weak = promote(*xs, floating=floating) if ufunc is None else loop_inputs(ufunc, *xs)
        out = apply(op, promoted, {})
        if weak and out.dtype != bool:
            out.weak = True
        return out

    function.op = op  # type: ignore[attr-defined]
    function.__name__ = op.name
    function.__doc__ = f"Apply ``{op.name}``, element by element, to tensors, arrays or numbers."
    return function


def composed(ufunc: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate the implementation of a ufunc by other functions: it gets its inputs in the dtypes of NumPy's loop."""

    def decorate(implementation: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(implementation)
        def function(*xs: Any) -> Any:
            if any(_is_complex(x) for x in xs):
                return FUNCTIONS["complex"](ufunc, *xs)
            promoted, weak = loop_inputs(ufunc, *xs)
            out = implementation(*promoted)
            out.weak = weak
            return out

        return implements(ufunc)(function)

    return decorate


def loop_inputs(ufunc: Any, *xs: Any) -> tuple[tuple[Any, ...], bool]:
    """Bring the inputs of a ufunc to the dtypes in which NumPy computes it; return also whether all are weak."""
    xs = tuple([x if isinstance(x, Tensor) or type(x) in _SCALARS else checked_array(x, "an operand") for x in xs])
    kinds = [_kind(x) for x in xs]
    weak = all(kind is int or kind is float for kind in kinds)  # a dtype equals the type it stands for
    if weak:
        kinds = [np.dtype(kind) for kind in kinds]
    *dtypes, result = _loop(ufunc, *kinds)
    if result.kind == "b":
        wide = [_comparable(x, dtype) for x, dtype in zip(xs, dtypes, strict=True)]
        if any(x is not y for x, y in zip(xs, wide, strict=True)):
            return loop_inputs(ufunc, *wide)
    return tuple([_fitted(x, dtype) for x, dtype in zip(xs, dtypes, strict=True)]), weak


def _kind(x: Any) -> Any:
    """Return the dtype of an operand, or int or float for a weak scalar."""
    if isinstance(x, Tensor) and x.weak:
        return int if x.dtype.kind in "iu" else float
    return x.dtype if hasattr(x, "dtype") else np.dtype(bool) if type(x) is bool else type(x)


@functools.cache
def _loop(ufunc: Any, *kinds: Any) -> tuple[np.dtype[Any], ...]:
    """Return the dtypes of a ufunc's inputs and result; raise where NumPy has no loop, or one without tensors."""
    dtypes = ufunc.resolve_dtypes((*kinds, *[None] * ufunc.nout))
    if dtypes[-1] in _ABSENT:
        raise TypeError(
            f"np.{ufunc.__name__} of {' and '.join(str(k) for k in kinds)} has dtype {dtypes[-1]} in NumPy, which "
            "tensors do not have: convert the operand first, for example by x.astype(np.float32)"
        )
    return tuple([_FLOAT32 if d in _ABSENT else d for d in dtypes])


_ABSENT = (np.dtype(np.float16),)


def _comparable(x: Any, dtype: np.dtype[Any]) -> Any:
    """Return an operand of a comparison, a Python integer that may be outside of `dtype` in one that has it."""
    if dtype.kind not in "iu" or _kind(x) is not int:
        return x
    if isinstance(x, Tensor) and x.value is None:
        return apply(CAST, (x,), {"dtype": x.dtype})
    number = int(x.concrete("an integer") if isinstance(x, Tensor) else x)
    limits = np.iinfo(dtype)
    if limits.min <= number <= limits.max:
        return x
    wide = np.asarray(number)
    return wide if wide.dtype.kind in "iu" else np.asarray(math.copysign(math.inf, number))


def _fitted(x: Any, dtype: np.dtype[Any]) -> Any:
    """Return an operand in `dtype`; a Python integer outside of it raises OverflowError, as NumPy does."""
    if isinstance(x, Tensor) and x.weak and x.dtype.kind in "iu" and dtype.kind in "iu" and x.dtype != dtype:
        if x.value is not None:
            return np.asarray(x.value.item(), dtype)
        if x.op is not None:
            raise TypeError(
                f"an integer computed from Python numbers meets {dtype}, and whether it fits is not known while the "
                f"function is traced: pass the numbers as arrays, np.asarray(n, np.{dtype})"
            )
        x.attrs.setdefault(WITHIN, set()).add(dtype)  # checked by each call
    return as_dtype(x, dtype)


#: The entry of a traced number's `attrs` that names the integer dtypes it must fit into.
WITHIN = "within"


def _cast_kernel(x: Any, out: Any = None, *, dtype: Any) -> Any:
    return np.asarray(x).astype(dtype) if out is None else stored(x, out, "unsafe")


CAST = register(
    "cast",
    shape=lambda x, dtype: (x.shape, np.dtype(dtype)),
    kernel=_cast_kernel,
    vjp=(lambda g, out, x, dtype: as_dtype(g, x.dtype),),
    kind=ELEMENTWISE,
    passes=True,
    numpy="{0}.astype({dtype})",
    aliases=(),
    examples=lambda rng: [Example((rng.normal(size=(3, 2)),), {"dtype": np.dtype(np.float64)})],
)


def known(x: Any, use: str) -> Any:
    """Return an argument that decides what is computed, a number or positions, as plain values; `use` names it."""
    if not is_tensor(x):
        return x
    values = x.concrete(use)
    return values if values.shape else values.item()


@implements("astype")
def astype(x: Any, dtype: Any, *, copy: bool = True) -> Any:
    """Return `x` converted to `dtype`, as ``numpy.astype``."""
    dtype = np.dtype(dtype)
    checked_array(np.empty(0, dtype), "dtype")
    made = as_dtype(x, dtype)
    return FUNCTIONS["copied"](made) if made is x and copy and isinstance(x, Tensor) else made


FUNCTIONS[np.astype] = astype
