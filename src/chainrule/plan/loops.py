"""Loops in a graph: nodes that run the same loop become one, which computes what is read, and reads it in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.op import LOOP, VIEW
from ..core.replay import computed, inside, one_of
from ..core.reverse import topological
from ..core.tensor import Tensor
from ..ops.index import PLACE
from ..ops.loop_body import Body, Part, leaf_like, pieces
from ..ops.shape import TRANSPOSE
from .simplify import Rewriter


def merge_loops(rewriter: Rewriter, roots: Sequence[Tensor]) -> list[Tensor]:
    """Return `roots` with every loop run once, for all that is read of it."""
    if not rewriter.loops:
        return list(roots)
    order = topological(roots)
    loops: dict[Any, list[Tensor]] = {}
    for node in order:
        if node.op is not None and node.op.kind == LOOP:
            loops.setdefault(_key(node), []).append(node)
    merged: dict[Any, tuple[Tensor, Body, list[Part], list[Part]]] = {}
    new: dict[int, Tensor] = {}
    for node in order:
        if node.op is None:
            new[id(node)] = node
            continue
        inputs = tuple([new[id(x)] for x in node.inputs])
        if node.op.kind != LOOP:
            new[id(node)] = rewriter.made(node.op, inputs, node.attrs)
            continue
        key = _key(node)
        if key not in merged:
            merged[key] = _merged(rewriter, loops[key], tuple([_in_order(rewriter, x) for x in inputs]))
        new[id(node)] = _cut(node, *merged[key])
    rewriter.names = {name: new.get(id(node), node) for name, node in rewriter.names.items()}
    return rewriter.rewrite([new[id(r)] for r in roots])


def _key(node: Tensor) -> Any:
    return tuple(map(id, node.inputs)), id(node.attrs["body"]), node.dtype


def _merged(
    rewriter: Rewriter, nodes: Sequence[Tensor], inputs: tuple[Tensor, ...]
) -> tuple[Tensor, Body, list[Part], list[Part]]:
    """Return one node for several; its body, trimmed, and its parts, as the old body has them and as its own has."""
    nodes = sorted(nodes, key=lambda node: -len(node.attrs["parts"]))  # so those of several parts stay in one piece
    wanted = list(dict.fromkeys(p for node in nodes for p in node.attrs["parts"]))
    body, moved, views = _views_before(rewriter, nodes[0].attrs["body"], wanted, inputs)
    body, parts, used = body.trimmed(moved)
    kept = tuple([(*inputs, *views)[k] for k in used])
    made = rewriter.made(nodes[0].op, kept, {"body": body, "parts": tuple(parts)})  # type: ignore[arg-type]
    return made, body, wanted, parts


def _in_order(rewriter: Rewriter, x: Tensor) -> Tensor:
    """Return what a loop reads; transposed zeros with some values put into them are made in the order it is read in.

    The gradient of a single step's output is such an array. Its transpose would be copied, with all the zeros.
    """
    placed = x.inputs[0] if x.op is TRANSPOSE else x
    if placed is x or placed.op is not PLACE or placed.value is not None:
        return x
    index, axes = placed.attrs["index"], x.attrs["axes"]
    if any(type(i) is not int and not isinstance(i, slice) for i in index):
        return x
    index = (*index, *[slice(None)] * (placed.ndim - len(index)))
    kept = [a for a in range(placed.ndim) if isinstance(index[a], slice)]
    order = tuple([kept.index(a) for a in axes if a in kept])
    values = rewriter.made(TRANSPOSE, placed.inputs, {"axes": order})
    return rewriter.made(PLACE, (values,), {"index": tuple([index[a] for a in axes]), "shape": x.shape})


def _views_before(
    rewriter: Rewriter, body: Body, parts: Sequence[Part], inputs: tuple[Tensor, ...]
) -> tuple[Body, list[Part], list[Tensor]]:
    """Return a body that gets rearranged constants, transposed weights for instance, as further inputs.

    A loop reads arrays in C order: they are rearranged once, and not by the product of every step. Also
    returned are the parts, as the new body has them, and the further inputs.
    """
    given = dict(zip(map(id, body.constants), inputs[len(inputs) - len(body.constants) :], strict=True))
    order, _ = inside([*body.new, *(body.node(p) for p in parts)], one_of(body.leaves))
    found = [
        node for node in order if node.op is not None and node.op.kind == VIEW and node.size == node.inputs[0].size
    ]
    found = [node for node in found if id(node.inputs[0]) in given]
    if not found:
        return body, list(parts), []
    leaves = {id(node): leaf_like(node) for node in found}
    made = computed(order, {id(leaf): leaf for leaf in body.leaves} | leaves)
    new_order = list({id(made[id(node)]): made[id(node)] for node in order}.values())
    constants = [*body.constants, *leaves.values()]
    new = [made[id(node)] for node in body.new]
    moved = Body((body.carries, body.xs, constants), new, new_order, body.length, body.reverse)
    views = [rewriter.made(node.op, (given[id(node.inputs[0])],), node.attrs) for node in found]  # type: ignore[arg-type]
    return moved, [moved.place(made[id(body.node(p))]) if p.stacked else p for p in parts], views


def _cut(node: Tensor, made: Tensor, body: Body, old: list[Part], parts: list[Part]) -> Any:
    """Return what an old node gave, from the merged one."""
    wanted = [old.index(p) for p in node.attrs["parts"]]
    if wanted == list(range(wanted[0], wanted[0] + len(wanted))):
        sizes = [math.prod(body.shape(p)) for p in parts]
        start = sum(sizes[: wanted[0]])
        return made[start : start + node.size]
    found = pieces(made, body, parts)
    return np.concatenate([np.reshape(found[k], -1) for k in wanted])
