"""Rules of simplification, from expression to expression; each keeps the value.

What a graph's own simplification does (factors of one, double negations, needless casts) has happened before; these
rules make changes that only a reader cares for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .choices import choice
from .expression import Expression, frozen, is_number, make, number, plus, times
from .joined import (
    joined_rows,
    nothing,
    product_of_rows,
    regrouped,
    reshaped_twice,
    side_by_side,
    sum_of_rows,
    turned_ones,
    turned_parts,
)
from .numbers import fraction
from .parts import index_inside, single
from .rows import (
    ADD,
    BROADCAST,
    CAST,
    DIVIDE,
    EXP,
    EXPM1,
    IDENTITY,
    MATMUL,
    MULTIPLY,
    NEGATIVE,
    NUMBER,
    POWER,
    RESHAPE,
    SQUARE,
    STOP_GRADIENT,
    SUBTRACT,
    SUM,
    TRANSPOSE,
)  # fmt: skip

Rule = Callable[[Expression], Expression | None]


def simplify(e: Expression) -> Expression:
    """Return the expression with all rules applied, from the leaves up, until none changes anything."""
    for _ in range(20):
        simpler = e.mapped(_at_node)
        if simpler == e:
            break
        e = simpler
    return e


def _at_node(e: Expression) -> Expression | None:
    changed = False
    for _ in range(20):
        for rule in RULES.values():
            made = rule(e)
            if made is not None and made != e:
                e, changed = made, True
                break
        else:
            break
    return e if changed else None


# -- what only passes values on ------------------------------------------------------------------------------------


def passing(e: Expression) -> Expression | None:
    """``x`` for the identity of x, and for a conversion to the kind of number that x is."""
    if e.op in (IDENTITY, STOP_GRADIENT):
        return e.inputs[0]
    if e.op is CAST and e.kind == e.inputs[0].kind:
        return e.inputs[0]
    if e.op in (RESHAPE, BROADCAST) and e.inputs[0].shape == e.shape:
        return e.inputs[0]
    return None


def mask(e: Expression) -> Expression | None:
    """A truth value times a number needs no conversion, nor does an integer beside a number."""
    if e.op not in (MULTIPLY, ADD, SUBTRACT):
        return None
    for i, x in enumerate(e.inputs):
        plain = x.op is CAST and (x.inputs[0].kind == "i" or (x.inputs[0].kind == "b" and e.op is MULTIPLY))
        if plain and e.inputs[1 - i].kind == "f" and e.kind == "f":
            return make(e.op, *[x.inputs[0] if j == i else y for j, y in enumerate(e.inputs)])
    return None


def kept_axes(e: Expression) -> Expression | None:
    """A reduction whose axes are put back: one that keeps them."""
    if e.op is not RESHAPE or e.inputs[0].axes is None or dict(e.inputs[0].attrs).get("keepdims", True):
        return None
    inner = e.inputs[0]
    kept = tuple(1 if i in inner["axis"] else d for i, d in enumerate(inner.inputs[0].shape))
    if kept != e.shape:
        return None
    return replace(inner, shape=kept, attrs=frozen({**dict(inner.attrs), "keepdims": True}))


def spread(e: Expression) -> Expression | None:
    """An elementwise operation broadcasts by itself."""
    if e.op not in (ADD, SUBTRACT, MULTIPLY, DIVIDE):
        return None
    for i, x in enumerate(e.inputs):
        if x.op is BROADCAST or (x.op is RESHAPE and _leading_ones(x)):
            parts = [x.inputs[0] if j == i else y for j, y in enumerate(e.inputs)]
            if np.broadcast_shapes(*[p.shape for p in parts]) == e.shape:
                return make(e.op, *parts)
    return None


def _leading_ones(e: Expression) -> bool:
    inner = e.inputs[0].shape
    return e.shape == (1,) * (len(e.shape) - len(inner)) + inner


def turned_twice(e: Expression) -> Expression | None:
    """The transpose of a transpose is the array itself."""
    if e.op is not TRANSPOSE or e.inputs[0].op is not TRANSPOSE:
        return None
    inner = e.inputs[0]
    whole = tuple(inner["axes"][i] for i in e["axes"]) == tuple(range(len(e.shape)))
    return inner.inputs[0] if whole else None


def turned_product(e: Expression) -> Expression | None:
    """(A B)ᵀ = Bᵀ Aᵀ."""
    n = len(e.shape)
    if e.op is not TRANSPOSE or e.inputs[0].op is not MATMUL or e["axes"] != (*range(n - 2), n - 1, n - 2):
        return None
    a, b = (make(TRANSPOSE, x, axes=(*range(k - 2), k - 1, k - 2)) for x in e.inputs[0].inputs if (k := len(x.shape)))
    return make(MATMUL, b, a)


# -- products ------------------------------------------------------------------------------------------------------


def _factors(e: Expression) -> tuple[float, int, list[Expression], list[Expression]]:
    """Return number, power of m, numerators and denominators of a product."""
    if e.op is BROADCAST and e.inputs[0].op is NUMBER:
        e = e.inputs[0]
    if e.op is NUMBER:
        return e["value"], e["batch"], [], []
    if e.op is NEGATIVE:
        value, batch, over, under = _factors(e.inputs[0])
        return -value, batch, over, under
    if e.op in (MULTIPLY, DIVIDE):
        a, b = _factors(e.inputs[0]), _factors(e.inputs[1])
        if e.op is MULTIPLY:
            return a[0] * b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]
        if b[0] != 0.0:
            return a[0] / b[0], a[1] - b[1], a[2] + b[3], a[3] + b[2]
    return 1.0, 0, [e], []


def product(e: Expression) -> Expression | None:
    """A product as one number, times what is above the line, over what is below it; equal factors as a square."""
    if e.op not in (MULTIPLY, DIVIDE, NEGATIVE):
        return None
    value, batch, over, under = _factors(e)
    for x in list(over):
        if x in under and x.shape == e.shape and x.kind == "f":
            over.remove(x)
            under.remove(x)
    near = fraction(value)
    value = float(near) if near is not None else value
    top, bottom = _joined(over), _joined(under)
    made = number(value, batch)
    if top is not None and bottom is not None:
        made = _scaled(value, batch, make(DIVIDE, top, bottom))
    elif top is not None:
        made = _scaled(value, batch, top)
    elif bottom is not None:
        made = make(DIVIDE, number(value, batch), bottom)
    if made.shape != e.shape or (made.kind == "b" and e.kind != "b"):
        return None
    return made


def _scaled(value: float, batch: int, e: Expression) -> Expression:
    if batch == 0 and value == -1.0:
        return make(NEGATIVE, e)
    return times(number(value, batch), e)


def _joined(parts: list[Expression]) -> Expression | None:
    joined: Expression | None = None
    grouped: list[tuple[Expression, int]] = []
    for x, times_ in map(_power, sorted(parts, key=lambda x: x.kind == "b")):  # truth values have no sign
        at = next((i for i, (y, _) in enumerate(grouped) if y == x and x.kind == "f"), None)
        if at is None:
            grouped.append((x, times_))
        else:
            grouped[at] = (x, grouped[at][1] + times_)
    for x, count in grouped:
        power = x if count == 1 else make(SQUARE, x) if count == 2 else make(POWER, x, number(count))
        joined = power if joined is None else make(MULTIPLY, joined, power)
    return joined


def _power(e: Expression) -> tuple[Expression, int]:
    """Return base and exponent."""
    if e.op is SQUARE:
        return e.inputs[0], 2
    if e.op is POWER and is_number(e.inputs[1]) and e.inputs[1]["value"] in (2, 3, 4, 5, 6):
        return e.inputs[0], int(e.inputs[1]["value"])
    return e, 1


def squared(e: Expression) -> Expression | None:
    """(c x)² = c² x², and (-x)² = x²."""
    if e.op is not SQUARE:
        return None
    x = e.inputs[0]
    if x.op is NEGATIVE:
        return make(SQUARE, x.inputs[0])
    if x.op is MULTIPLY and is_number(x.inputs[0]):
        c, rest = x.inputs
        return times(number(c["value"] ** 2, 2 * c["batch"]), make(SQUARE, rest))
    return None


# -- sums ----------------------------------------------------------------------------------------------------------


def signs(e: Expression) -> Expression | None:
    """Minus signs become subtractions: a + (-b) = a - b, a - (-b) = a + b, for numbers too; a + 0 = a."""
    if e.op not in (ADD, SUBTRACT):
        return None
    a, b = e.inputs
    if is_number(a) and is_number(b) and a["batch"] == b["batch"]:
        return number(a["value"] + b["value"] * (1 if e.op is ADD else -1), a["batch"])
    if is_number(b, 0.0) and a.shape == e.shape:
        return a
    if is_number(a, 0.0) and b.shape == e.shape:
        return b if e.op is ADD else make(NEGATIVE, b)
    positive = _without_sign(b)
    if positive is not None:
        return make(SUBTRACT if e.op is ADD else ADD, a, positive)
    if e.op is ADD and (first := _without_sign(a)) is not None:
        return make(SUBTRACT, b, first)
    return None


def _without_sign(e: Expression) -> Expression | None:
    if e.op is NEGATIVE:
        return e.inputs[0]
    if e.op is NUMBER and e["value"] < 0:
        return number(-e["value"], e["batch"])
    if e.op is MULTIPLY and is_number(e.inputs[0]) and e.inputs[0]["value"] < 0:
        return times(number(-e.inputs[0]["value"], e.inputs[0]["batch"]), e.inputs[1])
    return None


def like_terms(e: Expression) -> Expression | None:
    """2 x + 3 x = 5 x, anywhere in a sum."""
    if e.op not in (ADD, SUBTRACT):
        return None
    merged: list[tuple[float, int, Expression]] = []
    terms = list(_terms(e, 1.0))
    for value, batch, x in terms:
        at = next((i for i, (_, b, y) in enumerate(merged) if y == x and b == batch), None)
        if at is None:
            merged.append((value, batch, x))
        else:
            merged[at] = (merged[at][0] + value, batch, x)
    if len(merged) == len(terms):
        return None
    total = None
    for value, batch, x in merged:
        if value:
            near = fraction(value)
            term = _scaled(float(near) if near is not None else value, batch, x)
            total = term if total is None else plus(total, term)
    return total if total is not None and total.shape == e.shape else None


def _terms(e: Expression, sign: float) -> list[tuple[float, int, Expression]]:
    if e.op in (ADD, SUBTRACT):
        return _terms(e.inputs[0], sign) + _terms(e.inputs[1], sign if e.op is ADD else -sign)
    if e.op is NEGATIVE:
        return _terms(e.inputs[0], -sign)
    if e.op is MULTIPLY and is_number(e.inputs[0]):
        return [(sign * e.inputs[0]["value"], e.inputs[0]["batch"], e.inputs[1])]
    return [(sign, 0, e)]


def exponential(e: Expression) -> Expression | None:
    """(e^x - 1) + 1 = e^x."""
    if e.op is not ADD:
        return None
    for a, b in (e.inputs, e.inputs[::-1]):
        if a.op is EXPM1 and is_number(b, 1.0):
            return make(EXP, *a.inputs)
    return None


def scaled(e: Expression) -> Expression | None:
    """f(c x) = c f(x) for a number c and whatever is linear: a sum, a transpose, a change of shape."""
    if len(e.inputs) != 1 or e.op in (CAST, NEGATIVE) or 0 not in e.op.linear:
        return None
    (inner,) = e.inputs
    if inner.op is NEGATIVE:
        return make(NEGATIVE, replace(e, inputs=inner.inputs))
    if inner.op is not MULTIPLY:
        return None
    c, rest = inner.inputs
    fits = is_number(c) and rest.shape == inner.shape and rest.kind == "f"
    return times(c, replace(e, inputs=(rest,))) if fits else None


def sum_of_sums(e: Expression) -> Expression | None:
    """Σᵢ Σⱼ x = Σ x over all axes."""
    if e.op is not SUM or e.inputs[0].op is not SUM or e["keepdims"] or e.inputs[0]["keepdims"]:
        return None
    inner = e.inputs[0]
    if len(e["axis"]) != len(inner.shape):
        return None
    every = tuple(range(len(inner.inputs[0].shape)))
    return replace(e, inputs=inner.inputs, attrs=frozen({"axis": every, "keepdims": False}))


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        passing, mask, kept_axes, spread, choice, exponential, squared, product, signs, like_terms, scaled,
        sum_of_sums, turned_twice, turned_product, index_inside, single, reshaped_twice, regrouped,
        turned_ones, turned_parts, joined_rows, side_by_side, sum_of_rows, product_of_rows, nothing,
    )
}  # fmt: skip
