"""What a gradient should be, given the pass's own upstream gradients; and whether that reference can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..adapters.backward_pass import AuditError, BackwardPass, Point
from ..core.apply import apply
from ..core.op import Array, Operation
from ..core.reverse import leading_to, reverse
from ..core.tensor import Tensor
from ..ops.table import row_of

#: Additive constants that are there against division by zero alone are not larger.
LARGEST_EPSILON = 1e-3
_WITH_EPSILON = tuple(row_of(f) for f in (np.add, np.subtract, np.maximum, np.minimum))


def gradient(point: Point, name: str, given: Mapping[str, Any]) -> Array | None:
    """Return the gradient of the loss at `name`, the cotangents of the names in `given` being as given."""
    root = point.root
    node = point.nodes[name]
    fixed = {id(point.nodes[n]): g for n, g in given.items() if n != name and point.nodes[n] is not node}
    (g,), _ = reverse([root], [np.ones(root.shape, root.dtype)], [node], given=fixed)
    return None if g is None else np.asarray(g)


def backward_order(point: Point) -> list[str]:
    """Return the names of the gradients in the order in which a backward pass reaches them."""
    order = point.order
    position = {id(n): i for i, n in enumerate(order)}
    first_use: dict[int, int] = {}
    for i, node in enumerate(order):
        for x in node.inputs:
            first_use[id(x)] = i
    inner = [n for n, t in point.nodes.items() if t.inputs and id(t) in position]
    ranks: dict[str, tuple[float, int]] = {}
    for k, name in enumerate(point.gradients):
        named = point.nodes.get(name)
        if named is None or id(named) not in position:
            continue
        rank = float(position[id(named)])
        if not named.inputs and name != "X":  # a parameter: right after the last signal that it is computed from
            above = [position[id(point.nodes[u])] for u in upstream_of(point, name, inner) if u != "loss"]
            rank = min(above, default=first_use[id(named)]) - 0.5
        ranks[name] = (-rank, k)
    return sorted(ranks, key=lambda n: ranks[n])


def upstream_of(point: Point, name: str, given: Sequence[str]) -> tuple[str, ...]:
    """Return the names in `given` that are nearest to `name` on its paths to the loss, and "loss" if one has none."""
    root, node = point.root, point.nodes[name]
    stops: dict[int, str] = {}
    for n in given:
        if n != name and point.nodes[n] is not node:
            stops.setdefault(id(point.nodes[n]), n)
    order, _ = leading_to({id(node)}, [root])
    reached = {id(node)}
    found: dict[str, None] = {}
    for user in order:
        if id(user) not in reached and not any(id(x) in reached for x in user.inputs):
            continue
        if id(user) in stops:
            found[stops[id(user)]] = None
        else:
            reached.add(id(user))
    if id(root) in reached:
        found["loss"] = None
    return tuple(found)


def rebuilt(point: Point, other: Mapping[int, Any]) -> dict[int, Tensor]:
    """Return the nodes of a recorded forward pass computed again, by the ids of the old ones.

    ``other[id(node)]`` makes a node from the new inputs of the old one, in place of its operation.
    """
    new: dict[int, Tensor] = {}
    with np.errstate(all="ignore"):
        for node in point.order:
            inputs = tuple(new[id(x)] for x in node.inputs)
            if id(node) in other:
                made = other[id(node)](new)
            elif node.op is None or all(a is b for a, b in zip(inputs, node.inputs, strict=True)):
                made = node
            else:
                made = apply(node.op, inputs, dict(node.attrs))
            new[id(node)] = made if isinstance(made, Tensor) else Tensor(np.asarray(made))
    return new


def without_epsilon(point: Point) -> tuple[Point, float] | None:
    """Return the same run with its small additive constants (ε) set to zero, and the largest of them."""
    small: dict[int, float] = {}
    other: dict[int, Any] = {}
    for node in point.order:
        if node.op not in _WITH_EPSILON or node.op is None:
            continue
        constants = {i: e for i, x in enumerate(node.inputs) if (e := _epsilon(x))}
        if constants:
            small[id(node)] = max(constants.values(), key=abs)
            other[id(node)] = _with_zeros(node, node.op, constants)
    if not small:
        return None
    new = rebuilt(point, other)
    nodes = {n: new[id(t)] for n, t in point.nodes.items() if id(t) in new}
    return Point(point.label, point.values, nodes=nodes, loss=new[id(point.root)]), max(small.values(), key=abs)


def _epsilon(x: Tensor) -> float:
    """Return the value of a small constant; 0 for anything else."""
    if x.op is not None or x.recordings or x.value is None or x.value.size != 1:
        return 0.0
    value = float(x.value.ravel()[0])
    return value if abs(value) <= LARGEST_EPSILON else 0.0


def _with_zeros(node: Tensor, op: Operation, which: Mapping[int, float]) -> Any:
    def made(new: Mapping[int, Tensor]) -> Any:
        zero = {i: Tensor(np.zeros_like(node.inputs[i].value)) for i in which}
        return apply(op, tuple(zero.get(i, new[id(x)]) for i, x in enumerate(node.inputs)), dict(node.attrs))

    return made


def has_kink(point: Point) -> bool:
    """Whether some value of the run is exactly on a kink: relu at 0, a tie of a maximum, the border of a condition."""
    for node in point.order:
        if node.op is None or not any(x.recordings for x in node.inputs):
            continue
        values = [np.asarray(x.value) for x in node.inputs]
        compared = not node.op.differentiable and all(v.dtype.kind == "f" for v in values)
        if compared and len(values) == 2 and bool(np.any(values[0] == values[1])):
            return True
        # Ties of max along an axis are left out: where softmax subtracts the maximum, its gradient cancels.
        at_kink = node.op.at_kink if node.op.kind == "elementwise" else None
        if at_kink is not None and bool(np.any(at_kink(node.value, *values, **node.attrs))):
            return True
    return False


def is_single_precision(point: Point) -> bool:
    """Whether the forward pass computes in float32 inside."""
    return any(t.dtype == np.float32 for t in point.order)


def check_reference(subject: BackwardPass, point: Point, rng: np.random.Generator) -> None:
    """Compare the reference gradients with central differences along random directions; raise if they differ."""
    if point.random:
        return
    narrow = is_single_precision(point)
    tolerance, steps = (5e-2, (1e-2, 1e-3)) if narrow else (2e-5, (1e-5, 1e-6, 1e-4, 1e-7))
    base = abs(float(np.asarray(point.root.value).ravel()[0]))
    for name in subject.exact:
        if name not in point.nodes or (name in subject.targets and name not in point.gradients):
            continue
        g = gradient(point, name, {})
        value = np.asarray(point.values[name], np.float64)
        direction = rng.normal(size=value.shape)
        slope = 0.0 if g is None else float(np.sum(g * direction))
        length = float(np.sqrt(np.sum(direction * direction))) or 1.0
        scale = abs(slope) + (0.0 if g is None else float(np.sqrt(np.sum(g * g))))
        measured = []
        for h in steps:
            step = h * max(1.0, float(np.max(np.abs(value), initial=0.0)))
            moves = (s * step * direction / length * np.sqrt(value.size) for s in (1.0, -1.0))
            ends = [subject.plain_loss({**point.values, name: value + move}) for move in moves]
            measured.append((ends[0] - ends[1]) / (2 * step) * length / np.sqrt(value.size or 1))
            noise = 1e-15 * (base + 1) / step * length
            if abs(measured[-1] - slope) <= tolerance * (scale + abs(measured[-1])) + noise:
                break
        else:
            raise AuditError(
                f"the audit cannot judge: its own gradient of {name} does not agree with finite differences "
                f"({slope:.6g} along a random direction, measured {measured[0]:.6g}). If forward does not behave "
                "the same each time it is called, give it a fixed seed."
            )
