"""The reverse pass: the only place where cotangents are accumulated, un-broadcast, checked and named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .arrays import is_finite
from .broadcasting import unbroadcast
from .node import FUNCTIONS, STANDING
from .selection import Selections
from .tensor import Tensor, Written, inputs_of, latest, original


def topological(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Return every node that the outputs depend on, inputs before users.

    The traversal is iterative, so the depth of the graph is not limited.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import tensor
    >>> x = tensor(2.0, requires_grad=True)
    >>> [node.op.name if node.op else "leaf" for node in topological([np.sin(x) * x])]
    ['leaf', 'sin', 'multiply']
    """
    order: list[Tensor] = []
    seen: set[int] = set()
    stack: list[Tensor | None] = [latest(t) for t in reversed(outputs)]
    while stack:
        node = stack.pop()
        if node is None:  # marks that all inputs of the next node are in the order
            order.append(stack.pop())  # type: ignore[arg-type]
            continue
        if id(node) in seen:
            continue
        seen.add(id(node))
        if not node.inputs:
            order.append(node)
            continue
        stack += (node, None)
        for x in inputs_of(node):
            if id(x) not in seen:
                stack.append(x)
    return order


def leading_to(targets: set[int], outputs: Sequence[Tensor]) -> tuple[list[Tensor], set[int]]:
    """Return the nodes on the paths from `targets` to `outputs`, inputs before users, and their ids."""
    order: list[Tensor] = []
    needed: set[int] = set()
    seen: set[int] = set()
    stack: list[Tensor | None] = list(reversed(outputs))
    while stack:
        node = stack.pop()
        if node is None:  # marks that all inputs of the next node have been visited
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
            if type(x) is Written:
                inputs_of(node)  # puts the versions that it was computed from in their place
                x = original(x)
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
    outputs : sequence of Tensor
        Any nodes of the graph.
    cotangents : sequence
        One per output, of the same shape. With arrays, the pass computes arrays; with tensors, every operation is
        recorded, so the result is a graph that can be differentiated, planned or explained.
    wanted : sequence of Tensor
        Nodes of the graph: leaves, or intermediate values (their gradients are total derivatives).
    keep : bool
        Also return the cotangent of every visited node, by ``id(node)``.
    given : mapping, optional
        Cotangents, by ``id(node)``, that replace the accumulated ones.

    Returns
    -------
    gradients : list
        One per element of `wanted`, of the same shape and dtype, or None if no path leads from it to the outputs.
    passed : dict
        With `keep`, the cotangents of all visited nodes; otherwise empty.

    Notes
    -----
    The chain rule in its adjoint form: for v = f(u), ū += (∂f/∂u)ᵀ v̄, over the nodes in reverse topological order.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import tensor
    >>> x = tensor([1.0, 2.0], requires_grad=True)
    >>> y = x**2
    >>> (dx, dy), _ = reverse([np.sum(y)], [np.float64(1)], [x, y])
    >>> dx, dy
    (array([2., 4.]), array([1., 1.]))
    """
    wanted = [original(t) if type(t) is Written else t for t in wanted]
    outputs = [latest(t) if type(t) is Written else t for t in outputs]
    targets = {id(t) for t in wanted}
    order, needed = leading_to(targets, outputs)
    kept, starts = None if keep else targets, list(zip(outputs, cotangents, strict=True))
    recorded = False
    for g in cotangents if given is None else (*cotangents, *given.values()):
        recorded = recorded or isinstance(g, Tensor)
    with np.errstate(all="ignore"):
        # on arrays, an infinite derivative is seen in the result; the conditions of selections are computed only then
        selections = Selections() if recorded else None
        reached, selecting = _cotangents(order, needed, starts, kept, given, selections)
        if selecting and not recorded and not all([is_finite(g) for g in reached.values()]):
            reached, _ = _cotangents(order, needed, starts, kept, given, Selections())
    gradients = []
    for t in wanted:
        if id(t) in reached:
            gradients.append(reached[id(t)])
        elif id(t) in needed:  # a path exists, but every derivative along it is zero
            gradients.append(np.zeros(t.shape, t.dtype))
        else:
            gradients.append(None)
    return gradients, reached if keep else {}


def _cotangents(
    order: Sequence[Tensor],
    needed: set[int],
    starts: Sequence[tuple[Tensor, Any]],
    kept: set[int] | None,
    given: Mapping[int, Any] | None,
    selections: Selections | None,
) -> tuple[dict[int, Any], bool]:
    """Return the cotangents of the nodes in `kept`, of all for None, by id, and whether some row selects values."""
    pending: dict[int, Any] = {}
    for node, g in starts:
        if id(node) in needed:
            pending[id(node)] = pending[id(node)] + g if id(node) in pending else g
    reached: dict[int, Any] = {}
    selecting = False
    for node in reversed(order):
        at = id(node)
        g = pending.pop(at, None)
        if g is None:
            continue
        if given is not None:
            g = given.get(at, g)
        recorded = isinstance(g, Tensor)
        if recorded and node.name is not None:
            g = g.named("d" + node.name)
        if kept is None or at in kept:
            reached[at] = g
        op = node.op
        if op is None or not op.differentiable:
            continue
        nodes, rules = node.inputs, op.vjp
        # without recording, the same rules compute on arrays
        out, inputs = (node, nodes) if recorded else (node.value, [x.value for x in nodes])
        selecting = selecting or op.selects is not None
        if op.alone is not None and sum([id(x) in needed for x in nodes]) == 1:
            rules = op.alone
        for index, x in enumerate(nodes):
            key = id(x)
            if key not in needed:
                continue
            rule = rules[index] if isinstance(rules, tuple) else op.rule(index)
            part = None if rule is None else rule(g, out, *inputs, **node.attrs)
            if part is None:
                continue
            if selections is not None and (selecting or selections):
                part = selections.guarded(node, index, part, (out, *inputs), key not in pending)
            if part.shape != x.shape or part.dtype is not x.dtype:
                part = fitted(part, x, op.name, index)
            earlier = pending.get(key)
            pending[key] = part if earlier is None else earlier + part
    return reached, selecting


def fitted(part: Any, x: Tensor, name: str, index: int) -> Any:
    """Sum the result of a rule over broadcast axes, check its shape, and convert it to the dtype of the input."""
    if part.shape != x.shape:
        part = unbroadcast(part, x.shape)
        if part.shape != x.shape:
            raise AssertionError(f"rule {index} of {name} returned shape {part.shape} for an input of shape {x.shape}")
    return part if part.dtype == x.dtype else FUNCTIONS["astype"](part, x.dtype)


def backward(output: Tensor, gradient: Any = None) -> None:
    """Add d output / d leaf to ``leaf.grad`` for every leaf that requires a gradient.

    Parameters
    ----------
    output : Tensor
        A scalar, or any floating-point tensor if `gradient` is given.
    gradient : array, optional
        The cotangent of `output`, of the same shape; 1 by default.

    Raises
    ------
    ValueError
        If no leaf requires a gradient, `output` is not a scalar, or `gradient` has another shape.

    Examples
    --------
    >>> from chainrule import tensor
    >>> x = tensor([1.0, 2.0], requires_grad=True)
    >>> backward((x**2).sum())
    >>> x.grad
    array([2., 4.])
    """
    if output.dtype.kind != "f" or STANDING not in output.recordings:
        raise ValueError(
            "backward(): this tensor does not depend on a parameter that is not frozen, or on a tensor created with "
            "requires_grad=True"
        )
    if gradient is None:
        if output.shape != ():
            raise ValueError(
                f"backward(): expected a scalar, got a tensor of shape {output.shape}; reduce it (np.sum, np.mean) or "
                "pass the cotangent, backward(gradient)"
            )
        gradient = np.ones((), output.dtype)
    gradient = np.asarray(gradient, dtype=output.dtype)
    if gradient.shape != output.shape:
        raise ValueError(f"gradient: expected the shape of the tensor, {output.shape}, got {gradient.shape}")
    leaves = [n for n in topological([output]) if n.op is None and STANDING in n.recordings]
    gradients, _ = reverse([output], [gradient], leaves)
    for leaf, g in zip(leaves, gradients, strict=True):
        leaf.grad = np.array(g) if leaf.grad is None else leaf.grad + g
    if output.op is not None:
        output.grad = gradient


FUNCTIONS["backward"] = backward
