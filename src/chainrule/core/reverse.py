"""The reverse pass. The only place where cotangents are accumulated, un-broadcast, checked and named."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .op import Shape
from .tensor import FUNCTIONS, STANDING, Tensor

_add: Any = np.add  # NumPy's annotations of reduce know no keepdims that is a variable


def topological(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Return every node the outputs depend on, inputs before users. Iterative: depth is no limit."""
    order: list[Tensor] = []
    seen: set[int] = set()
    stack: list[tuple[Tensor, bool]] = [(t, False) for t in reversed(outputs)]
    while stack:
        node, finished = stack.pop()
        if finished:
            order.append(node)
            continue
        if id(node) in seen:
            continue
        seen.add(id(node))
        if not node.inputs:
            order.append(node)
            continue
        stack.append((node, True))
        for x in node.inputs:
            if id(x) not in seen:
                stack.append((x, False))
    return order


def _leading_to(targets: set[int], outputs: Sequence[Tensor]) -> tuple[list[Tensor], set[int]]:
    """Return the nodes on the paths from `targets` to `outputs`, inputs before users, and their ids."""
    order: list[Tensor] = []
    needed: set[int] = set()
    seen: set[int] = set()
    stack: list[Tensor | None] = list(reversed(outputs))
    while stack:
        node = stack.pop()
        if node is None:  # what follows is a node whose inputs are all in order
            node = stack.pop()
            assert node is not None
            key = id(node)
            on_a_path = key in targets
            for x in node.inputs:
                if id(x) in needed:
                    on_a_path = True
                    break
            if on_a_path:
                needed.add(key)
                order.append(node)
            continue
        key = id(node)
        if key in seen:
            continue
        seen.add(key)
        stack += (node, None)
        for x in node.inputs:
            key = id(x)
            if key in seen:
                continue
            if x.inputs:
                stack.append(x)
            elif key in targets:  # a leaf; the others, constants, need no visit
                seen.add(key)
                needed.add(key)
                order.append(x)
    return order, needed


def reverse(
    outputs: Sequence[Tensor],
    cotangents: Sequence[Any],
    wanted: Sequence[Tensor],
    *,
    keep: bool = False,
    given: Mapping[int, Any] | None = None,
) -> tuple[list[Any], dict[int, Any]]:
    """Pull cotangents of `outputs` back to `wanted`.

    Parameters
    ----------
    outputs
        Tensors; each may stand anywhere in the graph.
    cotangents
        One an output, of its shape. Given as arrays, the pass computes on arrays at once; given as tensors, every step
        is recorded, so that the result is a graph that can be differentiated, planned or explained.
    wanted
        Tensors of the graph: leaves, or values in between (then it is their total derivative).
    keep
        Also return the cotangent of every node on the way, by ``id(node)``.
    given
        Cotangents, by ``id(node)``, that are passed on in place of those accumulated there.

    Returns
    -------
    gradients
        One for each of `wanted`: of its shape and dtype, or None where no path leads from it to the outputs.
    passed
        With `keep`, the cotangents of all nodes on the way; else empty.

    Notes
    -----
    The chain rule in its adjoint form: for v = f(u), ū += (∂f/∂u)ᵀ v̄, over the nodes in reverse topological order.
    """
    targets = {id(t) for t in wanted}
    order, needed = _leading_to(targets, outputs)
    pending: dict[int, Any] = {}
    for node, g in zip(outputs, cotangents, strict=True):
        if id(node) in needed:
            pending[id(node)] = pending[id(node)] + g if id(node) in pending else g
    reached: dict[int, Any] = {}
    with np.errstate(all="ignore"):
        for node in reversed(order):
            g = pending.pop(id(node), None)
            if g is None:
                continue
            if given is not None:
                g = given.get(id(node), g)
            recorded = isinstance(g, Tensor)
            if recorded and node.name is not None:
                g = g.named("d" + node.name)
            if keep or id(node) in targets:
                reached[id(node)] = g
            op = node.op
            if op is None or not op.differentiable:
                continue
            nodes, rules = node.inputs, op.vjp
            # no record wanted: the same rules, on arrays
            out, inputs = (node, nodes) if recorded else (node.value, [x.value for x in nodes])
            for index, x in enumerate(nodes):
                key = id(x)
                if key not in needed:
                    continue
                rule = rules[index] if isinstance(rules, tuple) else op.rule(index)
                part = None if rule is None else rule(g, out, *inputs, **node.attrs)
                if part is None:
                    continue
                if part.shape != x.shape or part.dtype is not x.dtype:
                    part = fitted(part, x, op.name, index)
                earlier = pending.get(key)
                pending[key] = part if earlier is None else earlier + part
    gradients = []
    for t in wanted:
        if id(t) in reached:
            gradients.append(reached[id(t)])
        elif id(t) in needed:  # a path leads there, but every derivative on it is zero
            gradients.append(np.zeros(t.shape, t.dtype))
        else:
            gradients.append(None)
    return gradients, reached if keep else {}


def fitted(part: Any, x: Tensor, name: str, index: int) -> Any:
    """Sum a rule's result over broadcast axes and hold it to its input's shape and dtype."""
    if part.shape != x.shape:
        part = unbroadcast(part, x.shape)
        if part.shape != x.shape:
            raise AssertionError(f"rule {index} of {name} gave shape {part.shape} for an input of shape {x.shape}")
    return part if part.dtype == x.dtype else FUNCTIONS["astype"](part, x.dtype)


def backward(output: Tensor, gradient: Any = None) -> None:
    """Add d output / d leaf to ``leaf.grad`` for every leaf that requires a gradient."""
    if output.dtype.kind != "f" or STANDING not in output.recordings:
        raise ValueError(
            "backward(): this tensor depends on no tensor made with requires_grad=True, and on no parameter"
        )
    if gradient is None:
        if output.shape != ():
            raise ValueError(
                f"backward() of a tensor of shape {output.shape}: a gradient is of a scalar; reduce it (np.sum, "
                "np.mean) or pass the cotangent, backward(gradient)"
            )
        gradient = np.ones((), output.dtype)
    gradient = np.asarray(gradient, dtype=output.dtype)
    if gradient.shape != output.shape:
        raise ValueError(f"gradient has shape {gradient.shape}, the tensor {output.shape}")
    leaves = [n for n in topological([output]) if n.op is None and STANDING in n.recordings]
    gradients, _ = reverse([output], [gradient], leaves)
    for leaf, g in zip(leaves, gradients, strict=True):
        leaf.grad = np.array(g) if leaf.grad is None else leaf.grad + g


FUNCTIONS["backward"] = backward


def unbroadcast(g: Any, shape: Shape) -> Any:
    """Sum `g` over the axes along which `shape` was broadcast to g's shape."""
    have = tuple(g.shape)
    if have == shape:
        return g
    lead = len(have) - len(shape)
    if lead > 0 and have[lead:] == shape:  # a bias: the common case
        return _add.reduce(g, axis=tuple(range(lead)))
    if lead < 0:
        return np.broadcast_to(g, shape)
    axes = tuple(i for i, d in enumerate(have) if i < lead or (shape[i - lead] == 1 and d != 1))
    if axes:
        g = _add.reduce(g, axis=axes, keepdims=lead == 0)
    if tuple(g.shape) != shape:
        size_one = math.prod(g.shape) == math.prod(shape)
        g = np.reshape(g, shape) if size_one else np.broadcast_to(g, shape)
    return g
