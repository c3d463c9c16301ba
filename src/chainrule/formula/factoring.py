"""Gradients as the upstream gradient times a local derivative."""

from __future__ import annotations

import functools
from collections.abc import Collection

from .expression import Expression, is_name, is_number, make, number, plus, times
from .rows import ADD, BROADCAST, CAST, DIVIDE, IDENTITY, MULTIPLY, NEGATIVE, SUBTRACT, WHERE
from .rules import simplify


def coefficient(e: Expression, label: str) -> Expression | None:
    """Return c with e = label ⊙ c element by element, e being linear in `label`; None where it is not that simple."""
    if is_name(e, label):
        return number(1.0)
    if label not in e.names():
        return number(0.0)
    if e.moves_ones or e.op in (BROADCAST, CAST, IDENTITY):
        return coefficient(e.inputs[0], label)
    parts = [coefficient(x, label) for x in e.inputs]
    if any(p is None for p in parts):
        return None
    known = [p for p in parts if p is not None]
    if e.op is NEGATIVE:
        return make(NEGATIVE, known[0])
    if e.op is ADD:
        return plus(*known)
    if e.op is SUBTRACT:
        return make(SUBTRACT, *known)
    if e.op is WHERE and is_number(known[0], 0.0):
        return make(WHERE, e.inputs[0], known[1], known[2])
    if e.op is DIVIDE and is_number(known[1], 0.0):
        return make(DIVIDE, known[0], e.inputs[1])
    if e.op is MULTIPLY:
        for i in (0, 1):
            if is_number(known[1 - i], 0.0):
                return times(known[i], e.inputs[1 - i])
    return None


def shares(e: Expression, gradients: Collection[str]) -> dict[str, Expression]:
    """Return what each gradient in e, broadcast where it is smaller, is multiplied by; none where one is not."""
    found: dict[str, Expression] = {}
    for g in [n for n in e.names() if n in gradients]:
        c = coefficient(e, g)
        if c is None:
            return {}
        found[g] = simplify(c)
    return found


def factored(e: Expression, gradients: Collection[str]) -> tuple[Expression, dict[str, Expression]]:
    """Return e as Σ g ⊙ c over the gradients in it, and the coefficients; e itself where it is not of that form."""
    found = shares(e, gradients)
    whole = {x["name"]: x for x in e.walk() if is_name(x) and x.shape == e.shape}
    if not found or not found.keys() <= whole.keys():
        return simplify(e), {}
    total = functools.reduce(plus, (times(whole[g], c) for g, c in found.items()))
    return (simplify(total), found) if total.shape == e.shape else (simplify(e), {})
