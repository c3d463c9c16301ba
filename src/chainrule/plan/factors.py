"""Constant factors moved to where they cost nothing: learning rates into the mean that gradients start from.

A backward pass is linear in what it starts from. Hence a factor of its results, c · (Aᵀ dZ), may move down to where
another constant factor stands already, Aᵀ (c · dZ), c · (1/n · …) = (c/n) · …, as long as nobody needs the values on
the way without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..core.reverse import topological
from ..core.tensor import Tensor
from .simplify import MULTIPLY, Rewriter, is_normal


def move_factors(rewriter: Rewriter, roots: Sequence[Tensor]) -> list[Tensor]:
    """Return `roots` with constant factors moved towards the leaves, where that leaves less to compute."""
    order = topological(roots)
    ways = _ways(order)
    if not any(id(node) in ways and not ways[id(node)] and id(_rest(node)) in ways for node in order):
        return list(roots)
    moved = _rebuilt(rewriter, order, roots, _demands(order, ways, roots), ways)
    return moved if work(topological(moved)) < work(order) else list(roots)


def _factor(node: Tensor) -> Tensor | None:
    """Return the constant number that a node multiplies by, if it does just that."""
    if node.op is MULTIPLY and node.value is None:
        for x in node.inputs:
            if x.value is not None and x.shape == () and x.dtype.kind == "f":
                return x
    return None


def _rest(node: Tensor) -> Tensor:
    factor = _factor(node)
    return next(x for x in node.inputs if x is not factor)


def _ways(order: Sequence[Tensor]) -> dict[int, tuple[int, ...]]:
    """Return, for nodes that can take a factor, the inputs to pass it to; none for one that has a factor itself."""
    ways: dict[int, tuple[int, ...]] = {}
    for node in order:
        if _factor(node) is not None:
            ways[id(node)] = ()
        elif ways and node.op is not None and node.dtype.kind == "f" and any([id(x) in ways for x in node.inputs]):
            for way in node.op.takes_factor(len(node.inputs)):
                # in one dtype: a cast to integers, for instance, is linear in no factor
                if all(id(node.inputs[k]) in ways and node.inputs[k].dtype == node.dtype for k in way):
                    ways[id(node)] = way
                    break
    return ways


def _demands(
    order: Sequence[Tensor], ways: dict[int, tuple[int, ...]], roots: Sequence[Tensor]
) -> dict[int, float | None]:
    """Return the factor that all users of a node want it with; None where they differ or it is a result."""
    wanted: dict[int, float | None] = {id(r): None for r in roots}

    def want(node: Tensor, factor: float) -> None:
        if wanted.setdefault(id(node), factor) != factor:
            wanted[id(node)] = None

    for node in reversed(order):
        own = wanted.get(id(node))
        factor = _factor(node)
        if factor is not None:
            rest = _rest(node)
            movable = id(rest) in ways
            want(rest, (1.0 if own is None else own) * factor.value.item() if movable else 1.0)  # type: ignore[union-attr]
            continue
        way = ways.get(id(node), ())
        for k, x in enumerate(node.inputs):
            want(x, own if k in way and own is not None else 1.0)
    return wanted


def _rebuilt(
    rewriter: Rewriter,
    order: Sequence[Tensor],
    roots: Sequence[Tensor],
    wanted: dict[int, float | None],
    ways: dict[int, tuple[int, ...]],
) -> list[Tensor]:
    """Compute each node with the factor that its users want."""
    new: dict[int, Tensor] = {}  # with the wanted factor, or plain where users differ
    names: dict[int, list[str]] = {}
    for name, node in rewriter.names.items():
        names.setdefault(id(node), []).append(name)

    def scaled(node: Tensor, factor: float) -> Tensor:
        if factor == 1.0:
            return node
        return rewriter.made(MULTIPLY, (rewriter.constant(np.asarray(factor, node.dtype)), node), {})

    def given(x: Tensor, factor: float) -> Tensor:
        """Return `x` times `factor`, from whatever of it was computed."""
        return new[id(x)] if wanted[id(x)] == factor else scaled(new[id(x)], factor)

    for node in order:
        if node.op is None or node.value is not None:
            new[id(node)] = node
            continue
        demand = wanted[id(node)]
        own = 1.0 if demand is None else demand
        factor = _factor(node)
        if factor is not None:
            rest = _rest(node)
            if id(rest) in ways:
                new[id(node)] = given(rest, own * factor.value.item())  # type: ignore[union-attr]
            else:
                both = rewriter.constant(np.asarray(own * factor.value.item(), node.dtype))  # type: ignore[union-attr]
                if own != 1.0 and not is_normal(both.value):
                    new[id(node)] = scaled(rewriter.made(MULTIPLY, (factor, given(rest, 1.0)), {}), own)
                else:
                    new[id(node)] = rewriter.made(MULTIPLY, (both, given(rest, 1.0)), {})
            continue
        way = ways.get(id(node), ())
        inputs = tuple([given(x, own if k in way else 1.0) for k, x in enumerate(node.inputs)])
        made = rewriter.made(node.op, inputs, node.attrs)
        new[id(node)] = made if way else scaled(made, own)
        for name in names.get(id(node), ()) if own != 1.0 else ():
            rewriter.names[f"{own:.3g}·{name}"] = new[id(node)]
    return [new[id(r)] for r in roots]


def work(order: Sequence[Tensor]) -> int:
    """Return the number of elements computed."""
    return sum([math.prod(n.shape) + 1 for n in order if n.op is not None and n.value is None])
