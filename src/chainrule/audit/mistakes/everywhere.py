"""One operand that is another value, or turned, wherever it occurs in a gradient: as in loops over time or examples."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from ...core.op import VIEW, Array
from ...core.reverse import topological
from ...core.tensor import Tensor
from ...ops.contract import MATMUL
from ...ops.index import GATHER
from ..graph import GradientGraph
from .general import Transposed, UpdatedWeights, WrongOperand, misplaced
from .table import Cause, mistake
from .variants import AS_CACHED, AS_CHANGED, Context, Variant, replaced

#: Arrays of more axes are not reversed.
MOST_AXES = 4


class InconsistentCache(Cause):
    """The cache does not hold what the forward pass computes.

    Wrong
    -----
        def forward(X, P):
            Z1 = X @ P["W1"] + P["b1"]
            A1 = np.tanh(Z1, out=Z1)  # wrong
            Z2 = A1 @ P["W2"] + P["b2"]
            return {"A0": X, "Z1": Z1, "A1": A1, "Z2": Z2}

        dZ1 = dA1 * (1 - np.tanh(cache["Z1"]) ** 2)

    Right
    -----
        A1 = np.tanh(Z1)

    How it shows
    ------------
    The entry `Z1` of the cache does not hold what forward computed under that name: here it holds A1, because
    `out=Z1` wrote over it. The loss is right; backward then works with the wrong values.

    Why it is wrong
    ---------------
    The entries of a cache must be those of the formulas: `A1 = f(Z1)` must hold for the stored arrays.

    Notes
    -----
    The same happens with `A1 = Z1` and then `A1[A1 < 0] = 0`: one array, two names.
    """

    code = "inconsistent-cache"
    shown_in = "Z1"


class MutatesInput(Cause):
    """The backward pass changes the arrays that it is given.

    Wrong
    -----
        def backward(cache, Y, P):
            m = len(Y)
            dZ2 = np.subtract(cache["Z2"], Y, out=Y)  # wrong
            dW2 = cache["A1"].T @ dZ2 / m
            db2 = dZ2.sum(axis=0) / m
            dA1 = dZ2 @ P["W2"].T
            dZ1 = dA1 * (1 - cache["A1"] ** 2)
            dW1 = cache["A0"].T @ dZ1 / m
            db1 = dZ1.sum(axis=0) / m
            return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}

    Right
    -----
        dZ2 = cache["Z2"] - Y

    How it shows
    ------------
    The gradients are right, once. But after the call the targets are gone, and the next step learns others. What
    forward keeps for backward may be written into: a note says so.

    Why it is wrong
    ---------------
    `out=Y` makes no new array: it writes into the one that the caller goes on using.
    """

    code = "mutates-input"
    shown_in = "backward"


def is_view(node: Tensor) -> bool:
    """Whether a node has elements of its input, in another order or shape."""
    return node.op is not None and (node.op.passes or node.op.kind == VIEW or node.op is GATHER)


def substituted(graph: GradientGraph, new: Mapping[int, Array], *, products: bool, deep: bool = False) -> Array | None:
    """Return the result with other values for forward nodes (by id), wherever they, or views of them, are operands.

    With `products`, in matrix products alone; with `deep`, also in what the forward pass computes from them.
    """
    others = _other_values(graph, new, deep)
    current: dict[int, Array] = {}
    for i, node in enumerate(graph.order):
        inputs, touched = [], False
        for x, p in zip(node.inputs, graph.dependent[i], strict=True):
            free = node.op is MATMUL or not products
            other = current.get(p) if p is not None else (others.get(id(x)) if free else None)
            touched = touched or other is not None
            inputs.append(np.asarray(x.value) if other is None else other)
        if touched and node.op is not None:
            current[i] = np.asarray(node.op.evaluate(*inputs, **node.attrs))
    return current.get(len(graph.order) - 1)


def _other_values(graph: GradientGraph, new: Mapping[int, Array], deep: bool) -> dict[int, Array]:
    """Return the values of all operands that change when forward nodes have other values."""
    fixed = [(np.asarray(t.value), new[id(t)]) for t in graph.point.nodes.values() if id(t) in new and not t.recordings]
    others = dict(new)
    for node in topological([x for i, n in enumerate(graph.order) for x in _operands(graph, i, n)]):
        if id(node) in others:
            continue
        if node.op is None:  # views of constants, as of a first state of zeros, are constants themselves
            same = _same_constant(np.asarray(node.value), fixed)
            if same is not None:
                others[id(node)] = same
        elif any(id(x) in others for x in node.inputs) and (deep or is_view(node) or id(node) not in graph.forward):
            arrays = [others.get(id(x), np.asarray(x.value)) for x in node.inputs]
            others[id(node)] = np.asarray(node.op.evaluate(*arrays, **node.attrs))
    return others


def _operands(graph: GradientGraph, i: int, node: Tensor) -> Iterator[Tensor]:
    """Yield the inputs of a node that are not gradients."""
    return (x for x, p in zip(node.inputs, graph.dependent[i], strict=True) if p is None)


def _same_constant(value: Array, fixed: Sequence[tuple[Array, Array]]) -> Array | None:
    for old, instead in fixed:
        if old.shape == value.shape and np.array_equal(old, value):
            return instead
        if old.ndim == 2 and old.T.shape == value.shape and np.array_equal(old.T, value):
            return instead.T
    return None


def operands(graph: GradientGraph) -> list[str]:
    """Return the names of the forward values that occur in a gradient, themselves or as views."""
    found: dict[str, None] = {}
    stack = [x for i, n in enumerate(graph.order) for x in _operands(graph, i, n)]
    seen: set[int] = set()
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if name := graph.name_of(node):
            found[name] = None
        elif is_view(node) or id(node) not in graph.forward:
            stack += node.inputs
    return list(found)


def _with(
    name: str, make: Callable[[Context], Array], products: bool = False, deep: bool = False
) -> Callable[[Context], Array | None]:
    def compute(context: Context) -> Array | None:
        node = context.point.nodes.get(name)
        if node is None:
            return None
        return substituted(context.graph, {id(node): make(context)}, products=products, deep=deep)

    return compute


def _value(name: str) -> Callable[[Context], Array]:
    return lambda context: context.values[name]


# -- one step in time --------------------------------------------------------------------------------------------------

_NUMBERED = re.compile(r"^(.*?)\[?(\d+)\]?$")


@mistake(WrongOperand, "{family} is taken one step {when} the right one")
def _other_time_step(context: Context) -> Iterator[Variant]:
    """All values of a numbered family, h1, h2, …, taken one step later or earlier."""
    for members in _families(context):
        family = members[0].rstrip("0123456789[]")
        for by, products in ((1, True), (-1, True), (1, False), (-1, False)):
            yield replaced(_moved(members, by, products), family=family, when="after" if by > 0 else "before")


def _families(context: Context) -> list[list[str]]:
    found: dict[str, list[str]] = {}
    for name in operands(context.graph):
        if match := _NUMBERED.match(name):
            found.setdefault(match[1], []).append(name)
    for name, node in context.point.nodes.items():  # the first state, where it is a constant
        match = _NUMBERED.match(name)
        if match and match[1] in found and name not in found[match[1]] and not node.recordings:
            found[match[1]].append(name)
    return [members for members in found.values() if len(members) > 1]


def _moved(members: Sequence[str], by: int, products: bool) -> Callable[[Context], Array | None]:
    def compute(context: Context) -> Array | None:
        new = {}
        for name in members:
            match = _NUMBERED.match(name)
            assert match is not None
            start, end = match.span(2)
            other = f"{name[:start]}{int(match[2]) + by}{name[end:]}"
            if other in context.values and context.values[other].shape == context.values[name].shape:
                new[id(context.point.nodes[name])] = context.values[other]
        return substituted(context.graph, new, products=products) if new else None

    return compute


# -- arrays that are not what they were --------------------------------------------------------------------------------


@mistake(InconsistentCache, "{changed} is used in place of {name}")
def _computed_from_cache(context: Context) -> Iterator[Variant]:
    for name in _stale(context, AS_CACHED):
        yield replaced(_with(name, _value(name + AS_CACHED), deep=True), changed=name + AS_CACHED, name=name)


@mistake(MutatesInput, "{changed} is used in place of {name}")
def _computed_from_changed(context: Context) -> Iterator[Variant]:
    for name in _stale(context, AS_CHANGED):
        cause = UpdatedWeights.code if name in context.point.values and name != "X" else ""
        instead = _with(name, _value(name + AS_CHANGED), deep=True)
        yield replaced(instead, "", cause, changed=name + AS_CHANGED, name=name)


def _stale(context: Context, why: str) -> list[str]:
    names = [n.removesuffix(why) for n in context.values if n.endswith(why)]
    return [n for n in names if n in context.point.nodes]


# -- turned and exchanged ----------------------------------------------------------------------------------------------


@mistake(Transposed, "{name} is {turned}")
def _operand_turned(context: Context) -> Iterator[Variant]:
    for name in operands(context.graph):
        for turned, turn in _turns(context.values[name]) if name in context.values else ():
            yield replaced(_with(name, _turned(name, turn)), name=name, turned=turned)


def _turned(name: str, turn: Callable[[Array], Array]) -> Callable[[Context], Array]:
    return lambda context: turn(context.values[name])


def _turns(value: Array) -> Iterator[tuple[str, Callable[[Array], Array]]]:
    if value.ndim == 2 and value.shape[0] == value.shape[1]:
        yield "transposed where it should not be, or not transposed where it should be", _axes_exchanged(0, 1)
    for count in range(1, value.ndim + 1) if value.ndim <= MOST_AXES else ():
        for axes in itertools.combinations(range(value.ndim), count):
            if all(value.shape[a] > 1 for a in axes):
                yield f"reversed along axis {', '.join(map(str, axes))}, or should be", _reversed(axes)
    if value.ndim > 2:
        for i, j in itertools.combinations(range(value.ndim), 2):
            if value.shape[i] == value.shape[j]:
                yield f"used with axes {i} and {j} exchanged", _axes_exchanged(i, j)


def _reversed(axes: tuple[int, ...]) -> Callable[[Array], Array]:
    return lambda v: np.flip(v, axes)


def _axes_exchanged(i: int, j: int) -> Callable[[Array], Array]:
    return lambda v: np.swapaxes(v, i, j)


@mistake(WrongOperand, "{other} is used in place of {name}")
def _operand_exchanged(context: Context) -> Iterator[Variant]:
    for name in operands(context.graph):
        value = context.values.get(name)
        for other, array in context.values.items() if value is not None else ():
            if other != name and value is not None and array.shape == value.shape and np.any(array):
                for products in (True, False):
                    instead = _with(name, _value(other), products)
                    yield replaced(instead, "", misplaced(other, name), other=other, name=name)


@mistake(WrongOperand, "{first} and {second} are exchanged")
def _operands_exchanged(context: Context) -> Iterator[Variant]:
    names = [n for n in operands(context.graph) if n in context.values and n in context.point.nodes]
    for first, second in itertools.combinations(names, 2):
        if context.values[first].shape == context.values[second].shape:
            yield replaced(_both_exchanged(first, second), first=first, second=second)


def _both_exchanged(first: str, second: str) -> Callable[[Context], Array | None]:
    def compute(context: Context) -> Array | None:
        nodes = context.point.nodes
        new = {id(nodes[first]): context.values[second], id(nodes[second]): context.values[first]}
        return substituted(context.graph, new, products=False)

    return compute
