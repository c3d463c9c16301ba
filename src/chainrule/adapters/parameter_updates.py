"""The statements of a training loop that update parameters, and what they update."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from .looped_places import LoopedPlace, bound
from .updated_places import Place

_NOT_UPDATED = re.compile(r"loss|cost|mse|nll|objective|^(J|L|E)$|error|count|total|correct|step|iter", re.IGNORECASE)

Containers = dict[str, ast.expr]  # variable of a loop -> what it is an element of


def places_in(loop: ast.For | ast.While, space: Mapping[str, Any]) -> list[Place]:
    """Return what the updates of a loop change, where it is a parameter."""
    found: dict[str, Place] = {}
    for statement, containers in _statements(loop.body, {}):
        target = updated_by(statement)
        if target is None:
            continue
        container = {**containers, **_of_comprehension(statement)}.get(_root(target))
        text = ast.unparse(target)
        if container is None:
            place = Place(target, statement.lineno)
        else:
            known = found.get(text)
            earlier = known.containers if isinstance(known, LoopedPlace) else ()
            place = LoopedPlace(target, statement.lineno, (*earlier, container))
            found.pop(text, None)
        if place.values(space):
            found.setdefault(text, place)
    return list(found.values())


def _statements(body: list[ast.stmt], containers: Containers) -> Iterator[tuple[ast.stmt, Containers]]:
    """Yield all statements, with the variables of the loops that they are in."""
    for statement in body:
        yield statement, containers
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef):
            new = bound(statement.target, statement.iter) if isinstance(statement, ast.For) else {}
            inner = [s for s in ast.iter_child_nodes(statement) if isinstance(s, ast.stmt)]
            yield from _statements(inner, {**containers, **new})


def updated_by(statement: ast.stmt) -> ast.expr | None:
    """Return what an update changes: of ``W -= …``, ``W[i] += …``, ``net.W = net.W - …``; None for other statements.

    Of ``weights = [w - lr * g for w, g in zip(weights, grads)]`` it is ``w``.
    """
    target: ast.expr | None = None
    if isinstance(statement, ast.AugAssign) and isinstance(statement.op, ast.Sub | ast.Add):
        target = statement.target
    elif (difference := difference_of(statement)) is not None and isinstance(statement, ast.Assign):
        whole, left = statement.targets[0], difference.left
        container = _of_comprehension(statement).get(_root(left), left)
        if ast.unparse(container) == ast.unparse(whole):
            target = left
    if not isinstance(target, ast.Name | ast.Subscript | ast.Attribute):
        return None
    last = target.id if isinstance(target, ast.Name) else target.attr if isinstance(target, ast.Attribute) else ""
    added = statement.value if isinstance(statement, ast.AugAssign) else None
    constant = isinstance(added, ast.Constant) or (added is not None and _is_square(added))  # i += 1, v += dW**2
    return None if constant or _NOT_UPDATED.search(last) else target


def _is_square(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return ast.unparse(node.left) == ast.unparse(node.right)
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow)


def difference_of(statement: ast.stmt) -> ast.BinOp | None:
    """Return what an assignment assigns, or puts into each element of a list, where it is a sum or a difference."""
    value = statement.value if isinstance(statement, ast.Assign) else None
    value = value.elt if isinstance(value, ast.ListComp) else value
    return value if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Sub | ast.Add) else None


def loop_of(statement: ast.stmt) -> ast.comprehension | None:
    """Return the loop of a list comprehension that is assigned."""
    value = statement.value if isinstance(statement, ast.Assign) else None
    single = isinstance(value, ast.ListComp) and len(value.generators) == 1 and not value.generators[0].ifs
    return value.generators[0] if isinstance(value, ast.ListComp) and single else None


def _of_comprehension(statement: ast.stmt) -> Containers:
    loop = loop_of(statement)
    return {} if loop is None else bound(loop.target, loop.iter)


def _root(target: ast.expr) -> str:
    while isinstance(target, ast.Attribute | ast.Subscript):
        target = target.value
    return target.id if isinstance(target, ast.Name) else ""
