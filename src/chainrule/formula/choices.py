"""Rules for choices: "a where c holds, else b"."""

from __future__ import annotations

import numpy as np

from .expression import Expression, is_number, make, number, times
from .rows import ADD, CAST, MULTIPLY, NUMBER, WHERE


def choice(e: Expression) -> Expression | None:
    """``1[c]`` for "1 where c, else 0"; "a where c, else b" for the sum of both halves; c is known inside."""
    if e.op is WHERE:
        return _where(e)
    if e.op in (ADD, MULTIPLY):
        return _sum_of_halves(e) if e.op is ADD else _scaled_choice(e)
    return None


def _where(e: Expression) -> Expression | None:
    condition, a, b = e.inputs
    if is_number(a, 1.0) and is_number(b, 0.0) and condition.shape == e.shape:
        return make(CAST, condition, dtype=np.dtype(float))
    inside, outside = _knowing(a, condition, True), _knowing(b, condition, False)
    if inside != a or outside != b:
        made = make(WHERE, condition, inside, outside)
        return made if made.shape == e.shape else None
    return None


def _knowing(e: Expression, condition: Expression, holds: bool) -> Expression:
    def decided(x: Expression) -> Expression | None:
        if x.op is WHERE and x.inputs[0] == condition:
            chosen = x.inputs[1 if holds else 2]
            return chosen if chosen.shape == x.shape or chosen.op is NUMBER else None
        return None

    return e.mapped(decided)


def _half(e: Expression) -> tuple[Expression, Expression | None, Expression | None] | None:
    """Return condition, value where it holds, value where it does not, one of them None for 0."""
    if e.op is CAST and e.inputs[0].kind == "b":
        return e.inputs[0], number(1.0), None
    if e.op is MULTIPLY:  # a half, scaled
        for part, factor in (e.inputs, e.inputs[::-1]):
            half = _half(part) if part.op is WHERE else None
            if half is not None:
                return half[0], half[1] and times(half[1], factor), half[2] and times(half[2], factor)
    if e.op is not WHERE:
        return None
    condition, a, b = e.inputs
    if is_number(b, 0.0):
        return condition, a, None
    return (condition, None, b) if is_number(a, 0.0) else None


def _sum_of_halves(e: Expression) -> Expression | None:
    one, other = _half(e.inputs[0]), _half(e.inputs[1])
    if one is None or other is None or one[0] != other[0]:
        return None
    yes, no = one[1] or other[1], one[2] or other[2]
    if yes is None or no is None or (one[1] is None) == (other[1] is None):
        return None
    return make(WHERE, one[0], yes, no)


def _scaled_choice(e: Expression) -> Expression | None:
    for c, x in (e.inputs, e.inputs[::-1]):
        if is_number(c) and x.op is WHERE:
            condition, a, b = x.inputs
            parts = [y if is_number(y, 0.0) else times(c, y) for y in (a, b)]
            return make(WHERE, condition, *parts)
    return None
