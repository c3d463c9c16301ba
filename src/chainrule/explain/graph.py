"""Which values of a recorded graph get names, and formulas that hold for any number of examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..core.op import CONTRACT, OTHER, REDUCE
from ..core.reverse import topological
from ..core.tensor import Tensor
from ..formula.expression import Batch, Expression, number
from ..formula.rows import NAME, NUMBER

_REDUCING = frozenset({REDUCE, CONTRACT, OTHER})


def users_of(nodes: Sequence[Tensor]) -> dict[int, list[Tensor]]:
    """Return, by the ids of nodes, which of the nodes read them."""
    users: dict[int, list[Tensor]] = {}
    for node in nodes:
        for x in node.inputs:
            users.setdefault(id(x), []).append(node)
    return users


def unnamed_landmarks(
    outputs: Sequence[Tensor], gradients: Sequence[Tensor], longest: int, network: Tensor
) -> list[Tensor]:
    """Return the values of a forward pass that should get a name.

    Those are values that the two passes use more than once and that contain sums, products or several operations, and
    values that would make a formula too long. Within the loss, which comes after the output of the `network`,
    elementwise operations are left together.
    """
    inside = {id(n) for n in topological([network])}
    forward = topological(outputs)
    users = users_of(topological([*outputs, *gradients]))
    length: dict[int, int] = {}
    reducing: dict[int, bool] = {}
    found = []
    last = {id(o) for o in outputs}
    for node in forward:
        if node.op is None:
            length[id(node)], reducing[id(node)] = 0, False
            continue
        passing = node.op.passes  # it gets no name
        most = longest if id(node) in inside else 3 * longest
        inner = sum(length[id(x)] for x in node.inputs) + (not passing)
        sums = any(reducing[id(x)] for x in node.inputs) or (node.op.kind in _REDUCING and not passing)
        several = sums or (inner >= 6 and id(node) in inside)
        shared = (
            several and len({id(u) for u in users.get(id(node), ())}) > 1 and not passing and node.op.differentiable
        )
        if node.name is None and id(node) not in last and node.dtype.kind == "f" and (shared or inner > most):
            found.append(node)
        cut = node.name is not None or (bool(found) and found[-1] is node)
        length[id(node)], reducing[id(node)] = (0, False) if cut else (inner, sums)
    return found


class StructureChanges(Exception):
    """The graphs for two batch sizes differ in structure: the formulas hold for one batch size only."""


def generalised(first: Expression, second: Expression, m: int, n: int) -> Expression:
    """Return the expression that equals `first` for m examples and `second` for n."""
    if first.op is not second.op or len(first.inputs) != len(second.inputs):
        raise StructureChanges
    if first.op is NAME:
        if first["name"] != second["name"]:
            raise StructureChanges
        return first
    if first.op is NUMBER:
        return _number(first["value"], second["value"], m, n)
    inputs = tuple(generalised(a, b, m, n) for a, b in zip(first.inputs, second.inputs, strict=True))
    attrs = tuple((k, _attribute(v, second[k], m, n)) for k, v in first.attrs)
    return replace(first, inputs=inputs, attrs=attrs)


def _number(a: float, b: float, m: int, n: int) -> Expression:
    if a == b or (math.isnan(a) and math.isnan(b)):
        return number(a)
    for batch in (-1, 1, -2, 2):
        per_example = a / float(m) ** batch
        if math.isclose(per_example, b / float(n) ** batch, rel_tol=1e-12):
            near = round(per_example * 2) / 2
            return number(near if math.isclose(near, per_example, rel_tol=1e-12) else per_example, batch)
    raise StructureChanges


def _attribute(a: Any, b: Any, m: int, n: int) -> Any:
    if type(a) is tuple and type(b) is tuple and len(a) == len(b):
        return tuple(_attribute(x, y, m, n) for x, y in zip(a, b, strict=True))
    if a == b:
        return a
    if type(a) is int and type(b) is int and a % m == 0 and a * n == b * m:
        return Batch(a // m)
    raise StructureChanges
