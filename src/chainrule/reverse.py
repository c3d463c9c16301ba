"""The reverse pass. The only place where cotangents are accumulated, un-broadcast, checked and named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .ops.shape import unbroadcast
from .ops.table import as_dtype
from .tensor import FUNCTIONS, STANDING, Tensor


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


def reverse(
    outputs: Sequence[Tensor],
    cotangents: Sequence[Any],
    wanted: Sequence[Tensor],
    *,
    keep: bool = False,
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
    order = topological(outputs)
    targets = {id(t) for t in wanted}
    needed = set()
    for node in order:
        if id(node) in targets or any(id(x) in needed for x in node.inputs):
            needed.add(id(node))

    pending: dict[int, Any] = {}
    for node, g in zip(outputs, cotangents, strict=True):
        if id(node) in needed:
            pending[id(node)] = pending[id(node)] + g if id(node) in pending else g
    reached: dict[int, Any] = {}
    with np.errstate(all="ignore"):
        for node in reversed(order):
            key = id(node)
            if key not in pending:
                continue
            g = pending.pop(key)
            if node.name is not None and isinstance(g, Tensor):
                g = g.named("d" + node.name)
            if keep or key in targets:
                reached[key] = g
            op = node.op
            if op is None or not op.differentiable:
                continue
            out: Any = node
            inputs: Sequence[Any] = node.inputs
            if not isinstance(g, Tensor):  # no record wanted: the same rules, on arrays
                out, inputs = node.value, [x.value for x in node.inputs]
            for index, x in enumerate(node.inputs):
                if id(x) not in needed:
                    continue
                rule = op.rule(index)
                part = None if rule is None else rule(g, out, *inputs, **node.attrs)
                if part is None:
                    continue
                part = fitted(part, x, op.name, index)
                pending[id(x)] = pending[id(x)] + part if id(x) in pending else part
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
    return part if part.dtype == x.dtype else as_dtype(part, x.dtype)


def backward(output: Tensor, gradient: Any = None) -> None:
    """Add d output / d leaf to ``leaf.grad`` for every leaf that requires a gradient."""
    if output.dtype.kind != "f" or STANDING not in output.recordings:
        raise ValueError("backward(): this tensor depends on no tensor made with requires_grad=True, and on no parameter")
    if gradient is None:
        if output.shape != ():
            raise ValueError(
                f"backward() of a tensor of shape {output.shape}: a gradient is of a scalar; reduce it (np.sum, np.mean) "
                "or pass the cotangent, backward(gradient)"
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
