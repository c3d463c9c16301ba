"""Derivatives of functions: grad, value_and_grad, vjp, jvp, jacobian, hessian, hvp.

All of them record the function once and read the graph; none has derivative rules.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .arrays import FLOATS, as_array, checked_array
from .derived import derives
from .node import FUNCTIONS, Recording
from .reverse import reverse, topological
from .tensor import Tensor, constant, latest, traced_leaf
from .tree import A_LEAF, Structure, flatten, leaves_as, paths, unflatten
from .vmap import Basis, evaluate

Function = Callable[..., Any]
_FLOAT32, _FLOAT64 = FLOATS


def _leaf(x: Any, argument: str, recording: Recording) -> Tensor:
    """Return a node for an argument: a fresh leaf, or an identity of a tensor that an outer call follows."""
    if isinstance(x, Tensor):
        if x.dtype.kind != "f":
            raise TypeError(
                f"{argument} has dtype {x.dtype}; a derivative needs float32 or float64: x.astype(np.float64)"
            )
        for r in x.recordings:
            r.nested = True
        node: Tensor = FUNCTIONS["identity"](x) if x.recordings or x.value is None else Tensor(x.value)
        node.weak = x.weak
        node.recordings = x.recordings | {recording}
        return node if x.memory is None else FUNCTIONS["as array"](node)
    if isinstance(x, bool):
        raise TypeError(f"{argument} is a bool; expected a real number")
    if isinstance(x, int | float):
        node = Tensor(np.asarray(float(x)))
        node.weak = True
    else:
        array = checked_array(x, argument)
        if array.dtype not in FLOATS:
            raise TypeError(
                f"{argument} has dtype {array.dtype}; a derivative needs float32 or float64: x.astype(np.float64)"
            )
        node = Tensor(array)
    node.recordings = frozenset({recording})
    return node


def _followed_by(recording: Recording, nest: Any, argument: str) -> tuple[Any, list[Tensor], Structure]:
    """Return an argument with tensors for its leaves, these tensors, and its structure."""
    alone = frozenset({recording})
    if type(nest) is np.ndarray and nest.shape and (nest.dtype is _FLOAT32 or nest.dtype is _FLOAT64):
        node = Tensor(nest, recordings=alone)
        return node, [node], A_LEAF
    values, structure = flatten(nest)
    nodes = []
    for i, v in enumerate(values):
        if type(v) is np.ndarray and (v.dtype is _FLOAT32 or v.dtype is _FLOAT64):
            node = Tensor(v, recordings=alone)
            nodes.append(node if v.shape else FUNCTIONS["as array"](node))
        else:
            nodes.append(_leaf(v, paths(nest, argument)[i], recording))
    return unflatten(structure, nodes), nodes, structure


def _finished(x: Any) -> Any:
    """Return a result as an array, or as a tensor while an outer derivative or trace still follows it."""
    if isinstance(x, Tensor):
        if x.value is None or (x.recordings and any(r.active for r in x.recordings)):
            return x
        return x.value
    return np.asarray(x) if isinstance(x, np.generic) else x


def _own(results: Sequence[Any], given: Sequence[Any] = ()) -> list[Any]:
    """Return results; arrays are copied where their memory is shared, read-only or an input's."""
    seen = {id(x) for x in given}
    out = []
    for x in results:
        x = _finished(x)
        if isinstance(x, np.ndarray):
            if x.base is not None or id(x) in seen or not x.flags.writeable:
                x = x.copy()
            seen.add(id(x))
        out.append(x)
    return out


def _all_finished(nest: Any) -> Any:
    values, structure = flatten(nest)
    return unflatten(structure, [_finished(v) for v in values])


def _followed(tensors: Sequence[Tensor]) -> bool:
    """Whether some derivative or trace beyond a just closed one goes through `tensors`."""
    for t in tensors:
        if t.value is None:
            return True
        for r in t.recordings:
            if r.active:
                return True
    return False


def _seed(out: Tensor, followed: bool, value: Any = None) -> Any:
    """Return the cotangent to start from: an array, or a tensor when the pass must be recorded."""
    if value is None:
        value = np.ones(out.shape, out.dtype)
    if isinstance(value, Tensor):
        return value
    return constant(value) if followed else value


def _pull(
    outputs: Sequence[Tensor],
    cotangents: Sequence[Any],
    wanted: Sequence[Tensor],
    where: Callable[[int], str] | None,
) -> list[Any]:
    """Run the reverse pass; an input that the outputs don't depend on raises, named by `where`, or gets zeros."""
    gradients, _ = reverse(outputs, cotangents, wanted)
    for i, g in enumerate(gradients):
        if g is None:
            if where is not None:
                raise ValueError(
                    f"{where(i)} does not reach the result: its gradient would be zero everywhere. Leave it out of "
                    "argnums, or pass allow_unused=True to get zeros."
                )
            gradients[i] = np.zeros(wanted[i].shape, wanted[i].dtype)
    return gradients


def _argnums(argnums: int | Sequence[int], count: int, name: str) -> tuple[int, ...]:
    if type(argnums) is int and 0 <= argnums < count:
        return (argnums,)
    wanted = (argnums,) if isinstance(argnums, int | np.integer) else argnums
    if not isinstance(wanted, tuple | list):
        raise TypeError(f"argnums: expected the position of an argument or a tuple of positions, got {argnums!r}")
    out = []
    for a in wanted:
        a = operator.index(a)
        if not -count <= a < count:
            raise ValueError(f"argnums names argument {a}, but {name} was called with {count} positional arguments")
        out.append(a % count)
    if len(set(out)) != len(out):
        raise ValueError(f"argnums {argnums} names an argument twice")
    return tuple(out)


def _name_of(f: Any) -> str:
    return str(getattr(f, "__name__", None) or type(f).__name__)


def _scalar(out: Any, name: str) -> Tensor:
    if not isinstance(out, Tensor):
        if isinstance(out, int | float | np.number | np.ndarray) and np.ndim(out) == 0 and not isinstance(out, bool):
            return constant(np.asarray(out, dtype=np.float64))  # depends on no argument: the caller raises
        raise ValueError(_not_scalar(name, out))
    if out.shape != ():
        raise ValueError(_not_scalar(name, out))
    if out.dtype.kind != "f":
        raise TypeError(f"{name} returned dtype {out.dtype}; expected a real number (float32 or float64)")
    return latest(out)


def _not_scalar(name: str, out: Any) -> str:
    found = f"shape {tuple(out.shape)}" if hasattr(out, "shape") else f"a {type(out).__name__}"
    return (
        f"grad of {name}: expected a scalar, got {found}. Reduce it with np.sum or np.mean, or use "
        "jacobian (all outputs) or vjp (a weighting of them)."
    )


@derives
def value_and_grad(
    f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False, *, allow_unused: bool = False
) -> Function:
    """Return a function that computes `f` and its gradient.

    Parameters
    ----------
    f : callable
        Of arrays, numbers, or dicts, lists and tuples of them; returns a scalar. Written with NumPy functions.
    argnums : int or sequence of int
        Which positional arguments to differentiate. An int gives one gradient, a sequence a tuple of them.
    has_aux : bool
        `f` returns ``(scalar, anything)``; the second part is passed through.
    allow_unused : bool
        Give zeros for arguments the result doesn't depend on, instead of raising.

    Returns
    -------
    callable
        ``(value, gradient)``, or ``((value, aux), gradient)``. Gradients have the structure, shapes and dtypes of
        their arguments.

    Raises
    ------
    ValueError
        When `f` does not return a scalar, or the result does not depend on an argument.
    TypeError
        For arguments that are not real numbers, and for NumPy functions without a rule.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> loss, dw = cr.value_and_grad(lambda w: np.sum(w**2))(np.array([1.0, 2.0]))
    >>> float(loss), dw
    (5.0, array([2., 4.]))
    """
    name = _name_of(f)
    purpose = f"grad of {name}"

    @functools.wraps(f, updated=())
    def with_gradient(*args: Any, **kwargs: Any) -> Any:
        wanted = _argnums(argnums, len(args), name)
        with Recording(purpose) as recording:
            call = list(args)
            tensors: list[Tensor] = []
            structures = []
            for a in wanted:
                call[a], nodes, structure = _followed_by(recording, args[a], f"argument {a}")
                tensors += nodes
                structures.append(structure)
            result = f(*call, **kwargs)
            aux = None
            if has_aux:
                if not (isinstance(result, tuple) and len(result) == 2):
                    raise ValueError(
                        f"has_aux=True: {name} must return (scalar, anything), it returned {type(result).__name__}"
                    )
                result, aux = result
            out = _scalar(result, name)
        followed = _followed([out])

        def where(i: int) -> str:
            return [p for a in wanted for p in paths(args[a], f"argument {a} of {name}")][i]

        gradients = _pull([out], [_seed(out, followed)], tensors, None if allow_unused or recording.nested else where)
        finished = iter(_own(gradients, [out.value]))
        parts = tuple([unflatten(s, finished) for s in structures])
        gradient = parts[0] if isinstance(argnums, int | np.integer) else parts
        value = _finished(out)
        return ((value, _all_finished(aux)) if has_aux else value), gradient

    return with_gradient


@derives
def grad(
    f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False, *, allow_unused: bool = False
) -> Function:
    """Return a function that computes the gradient of `f`, a function to a scalar.

    Parameters, errors: as for `value_and_grad`. With `has_aux` the result is ``(gradient, aux)``.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> def f(x, y):
    ...     return np.sum(x**2 * y)
    >>> x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    >>> cr.grad(f)(x, y)
    array([ 6., 16.])
    >>> cr.grad(f, argnums=(0, 1))(x, y)[1]
    array([1., 4.])
    """
    both = value_and_grad.__wrapped__(f, argnums, has_aux, allow_unused=allow_unused)  # type: ignore[attr-defined]

    @functools.wraps(f, updated=())
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, g = both(*args, **kwargs)
        return (g, value[1]) if has_aux else g

    return gradient


def vjp(f: Function, *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """Evaluate `f` and return ``(value, pullback)``.

    ``pullback(cotangent)`` takes a cotangent of the value's structure and shapes and returns a tuple with one gradient
    per argument: cotangentᵀ · Jacobian. It may be called any number of times. With `has_aux`:
    ``(value, pullback, aux)``.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> A = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> y, pullback = cr.vjp(lambda x: A @ x, np.array([1.0, 1.0]))
    >>> y
    array([3., 7.])
    >>> pullback(np.array([1.0, 0.0]))
    (array([1., 2.]),)
    """
    name = _name_of(f)
    with Recording(f"vjp of {name}") as recording:
        tensors: list[Tensor] = []
        structures = []
        call = []
        for i, p in enumerate(primals):
            followed, nodes, structure = _followed_by(recording, p, f"primal {i}")
            call.append(followed)
            tensors += nodes
            structures.append(structure)
        result = f(*call)
        aux = None
        if has_aux:
            result, aux = result
    outputs, out_structure = flatten(result)
    nodes_out = [constant(o) for o in outputs]

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        """Return one gradient per argument."""
        given = leaves_as(out_structure, cotangent, f"the cotangent of {name}")
        used = [(o, c) for o, c in zip(nodes_out, given, strict=True) if o.dtype.kind == "f"]
        starts = []
        followed = _followed(nodes_out) or any(isinstance(c, Tensor) for _, c in used)
        for o, c in used:
            if not isinstance(c, Tensor):
                c = as_array(c, "the cotangent").astype(o.dtype, copy=False)
            if tuple(c.shape) != tuple(o.shape):
                raise ValueError(f"the cotangent has shape {tuple(c.shape)}, the value of {name} has {tuple(o.shape)}")
            starts.append(_seed(o, followed, c))
        gradients = _pull([o for o, _ in used], starts, tensors, None)
        finished = iter(_own(gradients, starts))
        return tuple(unflatten(s, finished) for s in structures)

    value = unflatten(out_structure, [_finished(o) for o in nodes_out])
    return (value, pullback, _all_finished(aux)) if has_aux else (value, pullback)


def _tangents(primals: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
    if len(primals) != len(tangents):
        raise ValueError(f"tangents: expected one per primal, {len(primals)}, got {len(tangents)}")
    out = []
    for i, (p, t) in enumerate(zip(primals, tangents, strict=True)):
        points, structure = flatten(p)
        directions = leaves_as(structure, t, f"tangent {i}")
        for x, v in zip(points, directions, strict=True):
            if np.shape(x) != np.shape(v):
                raise ValueError(f"tangent {i} has shape {np.shape(v)}, its primal has {np.shape(x)}")
            if not hasattr(x, "dtype"):
                dtype: Any = np.float64
            else:
                dtype = x.dtype if isinstance(x, Tensor) else as_array(x, f"primal {i}").dtype
            out.append(v if isinstance(v, Tensor) else as_array(v, f"tangent {i}").astype(dtype, copy=False))
    return out


def jvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """Evaluate `f` at `primals` and its derivative along `tangents`; return ``(value, tangent)``.

    Computed without forward rules: the pullback u ↦ Jᵀu is linear, and pulling the tangents back through *it* gives
    J·tangents (the "double reverse" identity).

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> y, dy = cr.jvp(lambda x: x**3, (np.array([1.0, 2.0]),), (np.array([1.0, 0.5]),))
    >>> y
    array([1., 8.])
    >>> dy
    array([3., 6.])
    """
    name = _name_of(f)
    for what, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, tuple | list):
            raise TypeError(
                f"jvp of {name}: {what}: expected a tuple with one entry per argument, got type {type(given).__name__}"
            )
    directions = _tangents(list(primals), list(tangents))
    with Recording(f"jvp of {name}") as recording:
        tensors: list[Tensor] = []
        call = []
        for i, p in enumerate(primals):
            followed, nodes, _ = _followed_by(recording, p, f"primal {i}")
            call.append(followed)
            tensors += nodes
        result = f(*call)
        outputs, out_structure = flatten(result)
        real = [o for o in outputs if isinstance(o, Tensor) and o.dtype.kind == "f"]
        dummies = []
        for o in real:
            u = Tensor(np.zeros(o.shape, o.dtype)) if o.value is not None else constant(np.zeros(o.shape, o.dtype))
            u.recordings = frozenset({recording})
            dummies.append(u)
        pulled, _ = reverse(real, dummies, tensors)
    linear = [(g, t) for g, t in zip(pulled, directions, strict=True) if isinstance(g, Tensor)]
    followed = _followed([g for g, _ in linear]) or any(isinstance(t, Tensor) for _, t in linear)
    starts = [constant(t) if followed else t for _, t in linear]
    pushed, _ = reverse([g for g, _ in linear], starts, dummies)
    tangent = iter(
        _own([np.zeros(u.shape, u.dtype) if p is None else p for u, p in zip(dummies, pushed, strict=True)], starts)
    )
    moved = [next(tangent) if isinstance(o, Tensor) and o.dtype.kind == "f" else np.zeros(np.shape(o)) for o in outputs]
    return unflatten(out_structure, [_finished(constant(o)) for o in outputs]), unflatten(out_structure, moved)


@derives
def jacobian(f: Function, argnums: int | Sequence[int] = 0) -> Function:
    """Return a function that computes the Jacobian of `f`.

    Each Jacobian has shape ``(*output.shape, *argument.shape)``, nested as the output's structure over the argument's.
    The reverse passes for all elements of an output run together, as a batch.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> cr.jacobian(lambda x: np.stack([x[0] * x[1], x[0] ** 2]))(np.array([2.0, 3.0]))
    array([[3., 2.],
           [4., 0.]])
    """
    name = _name_of(f)

    @functools.wraps(f, updated=())
    def jacobian_of(*args: Any, **kwargs: Any) -> Any:
        wanted = _argnums(argnums, len(args), name)
        with Recording(f"jacobian of {name}") as recording:
            call = list(args)
            tensors: list[Tensor] = []
            structures = []
            for a in wanted:
                call[a], nodes, structure = _followed_by(recording, args[a], f"argument {a}")
                tensors += nodes
                structures.append(structure)
            outputs, out_structure = flatten(f(*call, **kwargs))
        blocks = []
        for output in outputs:
            parts = iter(_own(_all_rows(constant(output), tensors)))
            nests = tuple([unflatten(s, parts) for s in structures])
            blocks.append(nests[0] if isinstance(argnums, int | np.integer) else nests)
        return unflatten(out_structure, blocks)

    return jacobian_of


def _all_rows(output: Tensor, tensors: Sequence[Tensor]) -> list[Any]:
    """Return the Jacobians of one output for each of `tensors`."""
    size = output.size
    if output.dtype.kind != "f" or not size:
        return [np.zeros((*output.shape, *t.shape), t.dtype) for t in tensors]
    if size <= FEW_ROWS and not _followed([output]):
        units = np.eye(size, dtype=output.dtype).reshape(size, *output.shape)
        passes = zip(*[_pull([output], [unit], tensors, None) for unit in units], strict=True)
        return [np.reshape(np.stack(rows), (*output.shape, *t.shape)) for rows, t in zip(passes, tensors, strict=True)]
    start = traced_leaf(output.shape, output.dtype, frozenset({Recording("a batch of cotangents")}))
    gradients = _pull([output], [start], tensors, None)
    nodes = topological([g for g in gradients if isinstance(g, Tensor)])
    count = max(1, MOST_ELEMENTS // max([node.size for node in nodes if node.value is None], default=1))
    rows = []
    for low in range(0, size, count):
        few = min(count, size - low)
        batch: Any = Basis(output.shape, size, output.dtype)
        if few < size:
            batch = np.zeros((few, size), output.dtype)
            batch[np.arange(few), low + np.arange(few)] = 1
            batch = batch.reshape(few, *output.shape)
        rows.append(evaluate(gradients, {id(start): batch}, few))
    whole = rows[0] if len(rows) == 1 else [np.concatenate(parts) for parts in zip(*rows, strict=True)]
    return [np.reshape(r, (*output.shape, *t.shape)) for r, t in zip(whole, tensors, strict=True)]


FEW_ROWS = 3
"""Up to so many reverse passes of an output run one after the other, which takes less time than making a batch."""

MOST_ELEMENTS = 1 << 26
"""How many elements of one value of a batch of reverse passes are kept at once."""


@derives
def hessian(f: Function, argnums: int = 0) -> Function:
    """Return a function that computes the Hessian of `f`, a function to a scalar, in one argument.

    For an array argument of shape s the result has shape ``(*s, *s)``; for a nest, a nest of nests.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> cr.hessian(lambda x: x[0] ** 2 * x[1])(np.array([2.0, 3.0]))
    array([[6., 4.],
           [4., 0.]])
    """
    made: Function = jacobian(grad(f, argnums, allow_unused=True), argnums)
    return made


def hvp(f: Function, x: Any, v: Any) -> Any:
    """Return the Hessian of `f` (a function of `x` to a scalar) times `v`, without forming the Hessian.

    `v` has the structure and shapes of `x`. The cost is a small multiple of a gradient's.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> cr.hvp(lambda x: np.sum(x**3), np.array([1.0, 2.0]), np.array([1.0, 0.0]))
    array([6., 0.])
    """
    (_, product) = jvp(grad(f, allow_unused=True), (x,), (v,))
    return product
