"""Recording a function of JAX's arrays: its jaxpr is evaluated with NumPy's functions on recording arrays.

The table says what JAX's primitives are in NumPy. What the evaluation gives is compared with what JAX computes, so an
entry that is wrong or misunderstood ends the recording.
"""

from __future__ import annotations

import functools
import string
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import ops
from .containers import mapped, named_leaves
from .recording import Traced, Untraceable, on_recorded, unwrapped

NAME = "JAX"


def _dot_general(a: Any, b: Any, dimension_numbers: Any, **more: Any) -> Any:
    (contracted_a, contracted_b), (batch_a, batch_b) = dimension_numbers
    letters = iter(string.ascii_letters)
    of_a = [next(letters) for _ in range(np.ndim(a))]
    of_b = [next(letters) for _ in range(np.ndim(b))]
    for i, j in zip((*contracted_a, *batch_a), (*contracted_b, *batch_b), strict=True):
        of_b[j] = of_a[i]
    kept = [of_a[i] for i in batch_a]
    kept += [c for i, c in enumerate(of_a) if i not in (*contracted_a, *batch_a)]
    kept += [c for j, c in enumerate(of_b) if j not in (*contracted_b, *batch_b)]
    if not batch_a and np.ndim(a) == np.ndim(b) == 2 and kept == [of_a[0], of_b[1]]:
        return a @ b
    return np.einsum(f"{''.join(of_a)},{''.join(of_b)}->{''.join(kept)}", a, b)


def _broadcast(x: Any, shape: Sequence[int], broadcast_dimensions: Sequence[int], **more: Any) -> Any:
    spread = [1] * len(shape)
    for axis, length in zip(broadcast_dimensions, np.shape(x), strict=True):
        spread[axis] = length
    return np.broadcast_to(np.reshape(x, tuple(spread)), tuple(shape))


def _slice(x: Any, start_indices: Any, limit_indices: Any, strides: Any = None) -> Any:
    steps = strides or (1,) * len(start_indices)
    return x[tuple(slice(a, b, s) for a, b, s in zip(start_indices, limit_indices, steps, strict=True))]


def _select(which: Any, *cases: Any) -> Any:
    if len(cases) != 2:
        raise Untraceable("select_n of more than two cases is not recorded")
    return np.where(which, cases[1], cases[0])


def _pad(x: Any, value: Any, padding_config: Any) -> Any:
    if any(low < 0 or high < 0 or inner for low, high, inner in padding_config):
        raise Untraceable("a negative or interior padding is not recorded")
    return np.pad(x, [(low, high) for low, high, _ in padding_config], constant_values=float(np.asarray(value)))


def _positions(values: Any) -> Any:
    return tuple(np.asarray(values).ravel().astype(int).tolist())


def _dynamic_slice(x: Any, *starts: Any, slice_sizes: Sequence[int]) -> Any:
    first = [min(max(int(s), 0), n - size) for s, n, size in zip(starts, np.shape(x), slice_sizes, strict=True)]
    return x[tuple(slice(a, a + size) for a, size in zip(first, slice_sizes, strict=True))]


def _gathered(x: Any, indices: Any, bind: Callable[..., Any]) -> Any:
    """Return elements of `x`: the same primitive on their numbers says which."""
    jnp = sys.modules["jax"].numpy
    numbers = np.asarray(bind(jnp.arange(np.size(x)).reshape(np.shape(x)), jnp.asarray(indices)))
    return np.reshape(x, (-1,))[np.clip(numbers, 0, np.size(x) - 1)]


def _scattered(x: Any, indices: Any, updates: Any, bind: Callable[..., Any]) -> Any:
    """Return `x` with some elements replaced: the same primitive on the numbers of the new ones says which."""
    numbers = np.arange(np.size(updates)).reshape(np.shape(updates))
    jnp = sys.modules["jax"].numpy
    source = np.asarray(bind(jnp.full(np.shape(x), -1), jnp.asarray(indices), jnp.asarray(numbers)))
    return np.where(source < 0, x, np.reshape(updates, (-1,))[np.maximum(source, 0)])


#: Primitives that move elements by computed positions.
MOVES: dict[str, Callable[..., Any]] = {"gather": _gathered, "scatter": _scattered}


def _cumulated(x: Any, axis: int, reverse: bool = False) -> Any:
    return np.flip(np.cumsum(np.flip(x, axis), axis), axis) if reverse else np.cumsum(x, axis)


def _reduced(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axes, **more: function(x, axis=tuple(axes))


_SAME = ("exp log log1p expm1 sqrt tanh sin cos tan sinh cosh abs sign floor ceil square add").split()
_RENAMED = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2", "asinh": "arcsinh", "acosh": "arccosh",
    "atanh": "arctanh", "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater",
    "ge": "greater_equal", "and": "logical_and", "or": "logical_or", "not": "logical_not", "max": "maximum",
    "min": "minimum", "sub": "subtract", "mul": "multiply", "div": "divide", "neg": "negative", "pow": "power",
    "is_finite": "isfinite", "rem": "fmod", "cbrt": "cbrt", "exp2": "exp2",
}  # fmt: skip

#: What JAX's primitives are in NumPy; the parameters of a primitive come as keywords.
PRIMITIVES: dict[str, Callable[..., Any]] = {
    **{n: (lambda f: lambda *xs, **more: f(*xs))(getattr(np, n)) for n in _SAME},
    **{n: (lambda f: lambda *xs, **more: f(*xs))(getattr(np, m)) for n, m in _RENAMED.items()},
    "logistic": lambda x, **more: on_recorded(ops.sigmoid)(x),
    "erf": lambda x, **more: on_recorded(ops.erf)(x),
    "rsqrt": lambda x, **more: 1.0 / np.sqrt(x),
    "integer_pow": lambda x, y, **more: x**y,
    "add_any": lambda x, y: x + y,
    "dot_general": _dot_general,
    "reduce_sum": _reduced(np.sum),
    "reduce_max": _reduced(np.max),
    "reduce_min": _reduced(np.min),
    "reduce_prod": _reduced(np.prod),
    "argmax": lambda x, axes, **more: np.argmax(x, axis=axes[0]),
    "argmin": lambda x, axes, **more: np.argmin(x, axis=axes[0]),
    "cumsum": _cumulated,
    "broadcast_in_dim": _broadcast,
    "reshape": lambda x, new_sizes, **more: np.reshape(x, tuple(new_sizes)),
    "squeeze": lambda x, dimensions: np.reshape(x, tuple(d for i, d in enumerate(np.shape(x)) if i not in dimensions)),
    "expand_dims": lambda x, dimensions: np.expand_dims(x, tuple(dimensions)),
    "transpose": lambda x, permutation: np.transpose(x, permutation),
    "rev": lambda x, dimensions: np.flip(x, tuple(dimensions)),
    "concatenate": lambda *xs, dimension: np.concatenate(xs, axis=dimension),
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "select_n": _select,
    "pad": _pad,
    "clamp": lambda low, x, high: np.minimum(np.maximum(x, low), high),
    "stop_gradient": lambda x, **more: x,
    "copy": lambda x: x,
    "copy_p": lambda x: x,
    "convert_element_type": lambda x, new_dtype, **more: _converted(x, new_dtype),
}  # fmt: skip


def _converted(x: Any, dtype: Any) -> Any:
    real = np.dtype(dtype).kind == "f" and (isinstance(x, Traced) or np.asarray(x).dtype.kind == "f")
    return x if real else np.asarray(x).astype(dtype)


_LOOPS = {"scan", "while", "cond"}


def _inner(parameters: Mapping[str, Any]) -> Any:
    """Return the jaxpr that a primitive calls: jit, custom_jvp_call, remat …; None where it calls none."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if name in parameters:
            return parameters[name]
    return None


def _scanned(parameters: Mapping[str, Any], inputs: Sequence[Any]) -> list[Any]:
    """Evaluate a scan, step by step."""
    fixed, carried, length = parameters["num_consts"], parameters["num_carry"], parameters["length"]
    constants, carry, sequences = inputs[:fixed], list(inputs[fixed : fixed + carried]), inputs[fixed + carried :]
    rows: list[list[Any]] = []
    steps = range(length - 1, -1, -1) if parameters["reverse"] else range(length)
    for i in steps:
        found = _evaluated(parameters["jaxpr"], [*constants, *carry, *(s[i] for s in sequences)])
        carry, ys = found[:carried], found[carried:]
        rows.append(ys)
    if parameters["reverse"]:
        rows.reverse()
    return [*carry, *(np.stack(ys) for ys in zip(*rows, strict=True))]


def _evaluated(closed: Any, inputs: Sequence[Any]) -> list[Any]:
    """Evaluate a jaxpr on arrays, recorded or not."""
    jaxpr, constants = (closed.jaxpr, closed.consts) if hasattr(closed, "consts") else (closed, [])
    known: dict[Any, Any] = {}
    known.update(zip(jaxpr.constvars, map(np.asarray, constants), strict=True))
    known.update(zip(jaxpr.invars, inputs, strict=True))

    def value(atom: Any) -> Any:
        return np.asarray(atom.val) if hasattr(atom, "val") else known[atom]

    for equation in jaxpr.eqns:
        arguments = [value(a) for a in equation.invars]
        results = _applied(equation, arguments)
        known.update(zip(equation.outvars, results, strict=True))
    return [value(a) for a in jaxpr.outvars]


def _applied(equation: Any, arguments: Sequence[Any]) -> Sequence[Any]:
    name, parameters = equation.primitive.name, equation.params
    inner = None if name in _LOOPS else _inner(parameters)
    if inner is not None:
        return _evaluated(inner, arguments)
    if not any(isinstance(x, Traced) for x in arguments):
        results = equation.primitive.bind(*arguments, **parameters)
        return [np.asarray(r) for r in results] if equation.primitive.multiple_results else [np.asarray(results)]
    if name == "scan":
        return _scanned(parameters, arguments)
    if name == "cond":
        branch = parameters["branches"][int(np.asarray(unwrapped(arguments[0])))]
        return _evaluated(branch, arguments[1:])
    if name in MOVES:
        bind = functools.partial(equation.primitive.bind, **parameters)
        return [MOVES[name](*arguments, bind)]
    form = PRIMITIVES.get(name)
    if form is None:
        raise Untraceable(f"JAX's {name} has no equivalent in NumPy here")
    return [form(*arguments, **parameters)]


def entered(x: Any, dtype: Any = None) -> Any:
    """Return an array, recorded or not, as JAX's."""
    value = unwrapped(x).value if isinstance(x, Traced) else x
    return sys.modules["jax"].numpy.asarray(value) if isinstance(value, np.ndarray) else value


def left(x: Any) -> Any:
    """Return one of JAX's arrays as NumPy's, other values unchanged."""
    return np.asarray(x) if is_tensor(x) else x


def is_tensor(x: Any) -> bool:
    """Whether `x` is one of JAX's arrays, which nobody has made unless JAX is loaded."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(x, jax.Array)


def without_gradients() -> Any:
    """Return the context in which the passes run: in float64, in this thread."""
    jax = sys.modules["jax"]
    return jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64()


def dtype_for(forward: Any, inputs: Sequence[Any]) -> Any:
    """Return None: the context says what JAX computes in."""
    return None


def call_recorded(f: Callable[..., Any], values: Sequence[Any], dtype: Any = None) -> Any:
    """Call a function of JAX's arrays; where values are recorded, return its results as recording arrays."""
    with without_gradients():
        return _called(f, values)


def _called(f: Callable[..., Any], values: Sequence[Any]) -> Any:
    jax = sys.modules["jax"]
    plain = [mapped(v, lambda _, x: entered(x)) for v in values]
    result = mapped(f(*plain), lambda _, x: left(x))
    leaves = named_leaves(list(values))
    if not any(isinstance(x, Traced) for x in leaves.values()):
        return result
    arrays = [k for k, x in enumerate(values) if isinstance(x, Traced | np.ndarray)]
    fixed = dict(enumerate(plain))

    def of_arrays(*given: Any) -> Any:
        return f(*({**fixed, **dict(zip(arrays, given, strict=True))}[k] for k in range(len(values))))

    jaxpr = jax.make_jaxpr(of_arrays)(*(plain[k] for k in arrays))
    found = iter(_evaluated(jaxpr, [values[k] for k in arrays]))

    def recorded(_: str, x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        twin = next(found)
        value = unwrapped(twin).value if isinstance(twin, Traced) else np.asarray(twin)
        tolerance = 1e-9 if x.dtype == np.float64 else 1e-4
        if value.shape != x.shape or not np.allclose(value, x, tolerance, tolerance, equal_nan=True):
            raise Untraceable("JAX's function differs from its equivalent in NumPy")
        return twin

    return mapped(result, recorded)
