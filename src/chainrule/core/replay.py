"""Graphs computed again: the nodes between some leaves and outputs, from other values for the leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .apply import apply
from .tensor import Tensor, inputs_of, latest


def inside(outputs: Iterable[Tensor], is_leaf: Callable[[Tensor], bool]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the nodes that outputs depend on, inputs before users, down to leaves; and which leaves these are."""
    order: list[Tensor] = []
    leaves: list[Tensor] = []
    seen: set[int] = set()
    stack = [(latest(t), False) for t in reversed(list(outputs))]
    while stack:
        node, finished = stack.pop()
        if finished:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            if is_leaf(node):
                leaves.append(node)
                order.append(node)
                continue
            stack.append((node, True))
            stack += [(x, False) for x in inputs_of(node) if id(x) not in seen]
    return order, leaves


def one_of(nodes: Iterable[Tensor]) -> Callable[[Tensor], bool]:
    """Return a function that tells whether a node is one of these."""
    ids = {id(node) for node in nodes}
    return lambda node: id(node) in ids


def computed(order: Iterable[Tensor], known: Mapping[int, Any]) -> dict[int, Any]:
    """Compute the nodes of a graph again, from what stands for some of them; by ``id(node)``."""
    found: dict[int, Any] = dict(known)
    for node in order:
        if id(node) in found:
            continue
        if node.op is None:
            found[id(node)] = node if node.value is None else node.value
        else:
            made = apply(node.op, tuple([found[id(x)] for x in inputs_of(node)]), node.attrs, shared=False)
            if node.name is not None and isinstance(made, Tensor) and made.name is None:
                made.name = node.name
            found[id(node)] = made
    return found
