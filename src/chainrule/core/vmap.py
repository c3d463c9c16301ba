"""vmap: a function of one example, traced once and run on a batch of them.

The function is traced with tensors of the shapes of one example. The graph is then evaluated with a first axis more:
each row says how (`Operation.batch`), or it follows from its kind and its axes; rows for which neither holds are
evaluated example by example.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .apply import apply
from .arrays import checked_array
from .derived import derives
from .keywords import translates
from .node import Recording
from .op import ELEMENTWISE, Operation, Shape
from .reverse import topological
from .tensor import Tensor, inputs_of, latest, original, traced_leaf
from .tree import Structure, flatten, paths, unflatten


class Basis:
    """All cotangents of one array with a single 1, as a batch: an identity matrix that is computed only if needed."""

    def __init__(self, shape: Shape, size: int, dtype: Any) -> None:
        self.shape, self.size, self.dtype = shape, size, dtype

    def dense(self) -> Any:
        """Return the batch as an array."""
        return np.eye(self.size, dtype=self.dtype).reshape(self.size, *self.shape)


def aligned(x: Any, ndim: int) -> Any:
    """Give each example of a batch `ndim` axes, by axes of length 1 in front."""
    missing = ndim - (len(x.shape) - 1)
    return x if missing <= 0 else np.reshape(x, (x.shape[0], *(1,) * missing, *x.shape[1:]))


def spread(x: Any, size: int) -> Any:
    """Return a batch of equal examples."""
    return np.broadcast_to(x, (size, *np.shape(x)))


def evaluate(outputs: Sequence[Any], batches: dict[int, Any], size: int) -> list[Any]:
    """Evaluate a graph on batches.

    Parameters
    ----------
    outputs : sequence
        Nodes of the graph; arrays are taken as they are.
    batches : dict
        By ``id(leaf)``: an array or tensor with the examples along its first axis, or a `Basis`.
    size : int
        Number of examples.

    Returns
    -------
    list
        Batches; an output that does not depend on the leaves is repeated.
    """
    outputs = [latest(o) if isinstance(o, Tensor) else o for o in outputs]
    found: dict[int, Any] = dict(batches)
    with np.errstate(all="ignore"):
        for node in topological([o for o in outputs if isinstance(o, Tensor)]):
            if id(node) in found or node.op is None:
                continue
            nodes = inputs_of(node)
            flags = tuple([id(x) in found for x in nodes])
            if any(flags):
                inputs = [found.get(id(x), x) for x in nodes]
                found[id(node)] = _applied(node, flags, inputs, size)
    results = [found.get(id(o)) if isinstance(o, Tensor) else None for o in outputs]
    return [
        spread(o, size) if r is None else r.dense() if isinstance(r, Basis) else r
        for o, r in zip(outputs, results, strict=True)
    ]


def _applied(node: Tensor, flags: tuple[bool, ...], inputs: list[Any], size: int) -> Any:
    op, attrs = node.op, node.attrs
    assert op is not None
    if any(isinstance(x, Basis) for x in inputs):
        if op.of_basis is not None and (made := op.of_basis(flags, *inputs, **attrs)) is not None:
            return made
        inputs = [x.dense() if isinstance(x, Basis) else x for x in inputs]
    inputs = [x if isinstance(x, Tensor) else _plain(x) for x in inputs]
    if op.batch is not None and (made := op.batch(flags, *inputs, **attrs)) is not None:
        return made
    if op.kind == ELEMENTWISE:
        ndim = len(node.shape)
        return apply(op, tuple([aligned(x, ndim) if b else x for x, b in zip(inputs, flags, strict=True)]), attrs)
    if isinstance(axis := attrs.get("axis"), int | tuple):
        moved = axis + 1 if isinstance(axis, int) else tuple([a + 1 for a in axis])
        every = tuple([x if b else spread(x, size) for x, b in zip(inputs, flags, strict=True)])
        return apply(op, every, {**attrs, "axis": moved})
    return _one_by_one(op, flags, inputs, attrs, size)


def _plain(x: Any) -> Any:
    return x if isinstance(x, np.ndarray) else np.asarray(x)


def _one_by_one(op: Operation, flags: tuple[bool, ...], inputs: list[Any], attrs: dict[str, Any], size: int) -> Any:
    if size == 0:
        raise ValueError(f"vmap of {op.name} needs at least one example")
    return np.stack(
        [apply(op, tuple([x[i] if b else x for x, b in zip(inputs, flags, strict=True)]), attrs) for i in range(size)]
    )


@derives
@translates
def vmap(f: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0) -> Callable[..., Any]:
    """Return a function that applies `f`, a function of one example, to a batch of them.

    Parameters
    ----------
    f : callable
        Of arrays, numbers, or containers of them, written with NumPy functions. It is traced, so it cannot depend on
        values with ``if``. ``grad`` and other derivatives inside of it give those of each example.
    in_axes : int, None or tuple
        For each positional argument the axis along which the examples lie; None for one that is the same for all.
        A container of axes, with the structure of the argument, gives each of its arrays another. Keyword arguments are
        the same for all examples.
    out_axes : int, None or container
        Where the axis of the examples is put in the results; None for results that are the same for all.

    Raises
    ------
    ValueError
        If no argument has an axis of examples, or they differ in length.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> def loss(w, x, y):
    ...     return (x @ w - y) ** 2
    >>> X, y, w = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 2.0]), np.array([1.0, 0.5])
    >>> cr.vmap(cr.grad(loss), in_axes=(None, 0, 0))(w, X, y)  # the gradient of every example
    array([[ 2.,  4.],
           [18., 24.]])
    """
    name = str(getattr(f, "__name__", None) or type(f).__name__)

    @functools.wraps(f, updated=())
    def batched(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = flatten(args)
        axes = _axes(in_axes, structure, args, name)
        places = [p.replace("[", "argument ", 1).replace("]", "", 1) for p in paths(args)]
        values = [x if a is None else _first(x, a, p) for x, a, p in zip(leaves, axes, places, strict=True)]
        size = _size([(p, v) for p, v, a in zip(places, values, axes, strict=True) if a is not None], name)
        with Recording(f"vmap of {name}") as recording:
            mark = frozenset({recording})
            call = [
                _constant(v) if a is None else traced_leaf(tuple(v.shape[1:]), v.dtype, mark)
                for v, a in zip(values, axes, strict=True)
            ]
            result = f(*unflatten(structure, call), **kwargs)
        batches = {id(original(leaf)): v for leaf, v, a in zip(call, values, axes, strict=True) if a is not None}
        outputs, out_structure = flatten(result)
        if out_axes is None:
            _same_for_all(outputs, set(batches), name)
            return result
        targets = _axes(out_axes, out_structure, result, name)
        found = evaluate(outputs, batches, size)
        return unflatten(out_structure, [_placed(x, a) for x, a in zip(found, targets, strict=True)])

    return batched


def _constant(x: Any) -> Any:
    """Return an array as a tensor, so that it can be indexed by one."""
    return Tensor(checked_array(x, "an argument")) if isinstance(x, np.ndarray) else x


def _axes(axes: Any, structure: Structure, nest: Any, name: str) -> list[int | None]:
    """Return the axis of every leaf, from one for all or a container of them."""
    if axes is None or isinstance(axes, int):
        return [axes] * structure.leaves
    if not isinstance(axes, list | tuple | dict) or len(axes) != len(structure.children):
        raise ValueError(f"in_axes or out_axes of vmap of {name}: expected an axis, None, or one for each of "
                         f"{len(structure.children)} parts, got {axes!r}")  # fmt: skip
    parts = [axes[k] for k in structure.keys] if isinstance(axes, dict) else list(axes)
    return [a for part, child in zip(parts, structure.children, strict=True) for a in _axes(part, child, nest, name)]


def _first(x: Any, axis: int, place: str) -> Any:
    x = x if isinstance(x, Tensor) else checked_array(x, place)
    ndim = len(x.shape)
    if not -ndim <= axis < ndim:
        raise ValueError(f"vmap: {place} has shape {tuple(x.shape)}, without an axis {axis} of examples")
    return x if axis == 0 else np.moveaxis(x, axis, 0)


def _size(batches: list[tuple[str, Any]], name: str) -> int:
    lengths = {place: v.shape[0] for place, v in batches}
    if not lengths:
        raise ValueError(
            f"vmap of {name}: expected an axis of examples in at least one argument; all of in_axes is None"
        )
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{n} in {place}" for place, n in lengths.items())
        raise ValueError(f"vmap of {name}: the numbers of examples differ: {listed}")
    return int(next(iter(lengths.values())))


def _same_for_all(outputs: list[Any], leaves: set[int], name: str) -> None:
    if any(id(node) in leaves for node in topological([o for o in outputs if isinstance(o, Tensor)])):
        raise ValueError(f"vmap of {name}: out_axes is None, but the result depends on the example")


def _placed(x: Any, axis: int | None) -> Any:
    if axis is None:
        raise ValueError("vmap: out_axes is None for all results or for none")
    if axis != 0:
        x = np.moveaxis(x, 0, axis)
    if isinstance(x, Tensor):
        return x.value if x.value is not None and not x.requires_grad else x
    return x.copy() if x.base is not None or not x.flags.writeable else x
