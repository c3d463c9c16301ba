"""Variants that change the same thing wherever it occurs: an operand in every turn of a loop, terms of a long sum."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...core.op import Array
from ..graph import Change, GradientGraph
from .variants import Compute, Context, Variant, misplaced

VIEWS = ("transpose", "reshape", "slice", "broadcast_to", "cast", "identity", "gather")


def substituted(graph: GradientGraph, new: Mapping[int, Array], *, products: bool, deep: bool = False) -> Array | None:
    """Return the result with other values for forward nodes (by id), wherever they, or views of them, are operands.

    With `products`, in matrix products alone; with `deep`, also in what the forward pass computes from them.
    """
    memo: dict[int, Array | None] = {}
    fixed = [(np.asarray(t.value), new[id(t)]) for t in graph.point.nodes.values() if id(t) in new and not t.recordings]

    def value(node: Any) -> Array | None:
        """The changed value of a node that is not a gradient; None if it stays as it is."""
        key = id(node)
        if key in new:
            return new[key]
        if key in memo:
            return memo[key]
        memo[key] = None
        if node.op is None and fixed:  # views of constants, as of a first state of zeros, are constants themselves
            memo[key] = _same_constant(np.asarray(node.value), fixed)
        made_by_rule = key not in graph.forward
        if node.op is not None and (deep or node.op.name in VIEWS or made_by_rule):
            inner = [value(x) for x in node.inputs]
            if any(v is not None for v in inner):
                arrays = [np.asarray(x.value) if v is None else v for x, v in zip(node.inputs, inner, strict=True)]
                memo[key] = np.asarray(node.op.evaluate(*arrays, **node.attrs))
        return memo[key]

    current: dict[int, Array] = {}
    touched = False
    for i, node in enumerate(graph.order):
        if node.op is None:
            continue
        inputs, changed = [], False
        for x, p in zip(node.inputs, graph.dependent(i), strict=True):
            free = node.op.name == "matmul" or not products
            other = current.get(p) if p is not None else (value(x) if free else None)
            changed = changed or other is not None
            inputs.append(np.asarray(x.value) if other is None else other)
        if changed:
            touched = True
            current[i] = np.asarray(node.op.evaluate(*inputs, **node.attrs))
    last = len(graph.order) - 1
    return current.get(last) if touched else None


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
    stack = [
        x for i, n in enumerate(graph.order) for x, p in zip(n.inputs, graph.dependent(i), strict=True) if p is None
    ]
    seen: set[int] = set()
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if id(node) in graph.names_by_id:
            found[graph.names_by_id[id(node)]] = None
        elif node.op is not None and (node.op.name in VIEWS or id(node) not in graph.forward):
            stack += node.inputs
    return list(found)


def replaced_variants(contexts: Sequence[Context]) -> Iterator[Variant]:
    """Yield the gradient with one operand exchanged, transposed or flipped wherever it occurs."""
    first = contexts[0]
    names = operands(first.graph)
    yield from _shifted(first, names)
    yield from _from_changed_values(first)
    for name in names:
        value = first.values.get(name)
        if value is None:
            continue
        for label, turn in _turns(value):
            yield Variant("transposed", f"{name} is {label}", _with(name, _turned(name, turn)))
        for other, array in first.values.items():
            if other != name and array.shape == value.shape and np.any(array):
                message = f"{other} stands where {name} should"
                for products in (True, False):
                    yield Variant(misplaced(other, name), message, _with(name, _value(other), products))


def _from_changed_values(first: Context) -> Iterator[Variant]:
    """Yield the gradient with what was computed again from an array that is not what it was."""
    for changed in first.values:
        for why in (" as it is in the cache", " as backward changed it"):
            name = changed.removesuffix(why)
            if name != changed and name in first.point.nodes:
                message = f"{changed} stands where {name} should"
                cause = "inconsistent-cache" if why.endswith("cache") else "mutates-input"
                yield Variant(cause, message, _with(name, _value(changed), deep=True))


def _turned(name: str, turn: Callable[[Array], Array]) -> Callable[[Context], Array]:
    return lambda context: turn(context.values[name])


def _value(name: str) -> Callable[[Context], Array]:
    return lambda context: context.values[name]


def _turns(value: Array) -> Iterator[tuple[str, Callable[[Array], Array]]]:
    if value.ndim == 2 and value.shape[0] == value.shape[1]:
        yield "transposed where it should not be, or the other way round", _axes_exchanged(0, 1)
    if value.ndim > 2:
        yield "flipped along its last axes, or should be", lambda v: v[..., ::-1, ::-1]
        for i, j in itertools.combinations(range(value.ndim), 2):
            if value.shape[i] == value.shape[j]:
                yield f"used with axes {i} and {j} exchanged", _axes_exchanged(i, j)


def _axes_exchanged(i: int, j: int) -> Callable[[Array], Array]:
    return lambda v: np.swapaxes(v, i, j)


def _with(name: str, make: Callable[[Context], Array], products: bool = False, deep: bool = False) -> Compute:
    def compute(context: Context) -> Array | None:
        node = context.point.nodes.get(name)
        if node is None:
            return None
        return substituted(context.graph, {id(node): make(context)}, products=products, deep=deep)

    return compute


_NUMBERED = re.compile(r"^(.*?)\[?(\d+)\]?$")


def _shifted(first: Context, names: Sequence[str]) -> Iterator[Variant]:
    """Yield all values of a numbered family, h1, h2, …, taken one step later or earlier."""
    families: dict[str, list[str]] = {}
    for name in names:
        match = _NUMBERED.match(name)
        if match:
            families.setdefault(match[1], []).append(name)
    for name, node in first.point.nodes.items():  # the first state, where it is a constant
        match = _NUMBERED.match(name)
        if match and match[1] in families and name not in families[match[1]] and not node.recordings:
            families[match[1]].append(name)
    for members in families.values():
        stem = members[0].rstrip("0123456789[]")
        if len(members) < 2:
            continue
        for by, products in ((1, True), (-1, True), (1, False), (-1, False)):
            when = "after" if by > 0 else "before"
            message = f"{stem} is taken one step {when} the right one"
            yield Variant("wrong-operand", message, _moved(members, by, products))


def _moved(members: Sequence[str], by: int, products: bool) -> Compute:
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


# -- long sums ---------------------------------------------------------------------------------------------------------


def chains(graph: GradientGraph) -> list[list[int]]:
    """Return the sums of several terms in a gradient: for each, the position of the sum and then of its terms."""
    found = []
    adds = {
        i
        for i, n in enumerate(graph.order)
        if n.op is not None and n.op.name == "add" and None not in graph.dependent(i)
    }
    for root in sorted(adds):
        if any(u in adds and len(graph.users[root]) == 1 for u in graph.users[root]):
            continue
        parts: list[int] = []
        stack = [root]
        while stack:
            i = stack.pop()
            if i in adds and (i == root or len(graph.users[i]) == 1):
                stack += [p for p in graph.dependent(i) if p is not None]
            else:
                parts.append(i)
        if 3 <= len(parts) <= 96 or root == len(graph.order) - 1:
            found.append([root, *parts])
    return sorted(found, key=len, reverse=True)[:12]


def sum_variants(contexts: Sequence[Context]) -> Iterator[Variant]:
    """Yield the result with some of the terms of a sum alone, and with parts that replace each other."""
    lists = [chains(c.graph) for c in contexts]
    lengths = [[len(chain) for chain in chains_] for chains_ in lists]
    by_context = {id(c): chains_ for c, chains_ in zip(contexts, lists, strict=True)}
    for k in range(min(len(chains_) for chains_ in lists)):
        if all(length == lengths[0] for length in lengths) and contexts[0].found.size >= lengths[0][k]:
            yield Variant("missing-term", "some terms of the sum are left out", _some_terms(by_context, k))
        for order in (1, -1):
            yield Variant(
                "missing-term",
                "overlapping parts replace each other, where they should add up",
                _overwritten_parts(by_context, k, order),
            )


def _some_terms(by_context: dict[int, list[list[int]]], k: int) -> Compute:
    solved: list[Array] = []

    def compute(context: Context) -> Array | None:
        graph = context.graph
        root, *parts = by_context[id(context)][k]
        through = [graph.evaluated({root: _only(part)}) for part in parts]
        rest = context.result - np.sum(through, axis=0)  # what does not come through this sum
        if context.result.shape != context.found.shape:
            return None
        if not solved:
            design = np.stack([t.ravel() for t in through], axis=1)
            solution, *_ = np.linalg.lstsq(design, (context.found - rest).ravel(), rcond=None)
            chosen = np.asarray(np.round(solution), np.float64)
            if np.max(np.abs(solution - chosen)) > 1e-6 or not np.isin(chosen, (0.0, 1.0)).all() or not chosen.any():
                return None
            solved.append(chosen)
        return np.asarray(rest + np.tensordot(solved[0], np.stack(through), axes=1))

    return compute


def _only(part: int) -> Change:
    """Return the change that leaves one term of a sum."""

    def change(graph: GradientGraph, i: int, inputs: list[Array], at: Callable[[int], Array]) -> Array:
        return np.asarray(graph.order[part].value)

    return change


def _given(value: Array) -> Change:
    def change(graph: GradientGraph, i: int, inputs: list[Array], at: Callable[[int], Array]) -> Array:
        return value

    return change


def _overwritten_parts(by_context: dict[int, list[list[int]]], k: int, order: int) -> Compute:
    def compute(context: Context) -> Array | None:
        graph = context.graph
        root, *parts = by_context[id(context)][k]
        out: Array | None = None
        for i in parts[::order]:
            node = graph.order[i]
            if node.op is None or node.op.name != "place":
                return None
            out = np.zeros(node.attrs["shape"]) if out is None else out
            out[node.attrs["index"]] = node.inputs[0].value
        return None if out is None else graph.evaluated({root: _given(out)})

    return compute
