"""Sums of products with a common factor: g · a + g · b is g · (a + b), one product less.

Gradients through an activation of several terms are such sums. What is left in brackets is the derivative itself,
which depends on nothing that comes from behind: it can be computed with the activation (`early.py`).

Of very large numbers a + b may overflow where the sum of the products does not, and infinities may meet in one and not
in the other. This is therefore done for training steps only, whose results no one computes with NumPy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..core.reverse import topological
from ..core.tensor import Tensor
from .factors import work
from .simplify import ADD, MULTIPLY, NEGATIVE, SUBTRACT, Rewriter


def draw_out_factors(rewriter: Rewriter, roots: Sequence[Tensor]) -> list[Tensor]:
    """Return `roots` with common factors of sums drawn out, where that leaves less to compute."""
    order = topological(roots)
    uses = Counter([id(x) for node in order for x in node.inputs])
    uses.update(map(id, roots))
    if not any([_is_sum(node) and _common(node, node.inputs, uses) for node in order]):
        return list(roots)
    new: dict[int, Tensor] = {}
    place: dict[int, int] = {}  # in the order of computation
    for node in order:
        if node.op is None or node.value is not None:
            new[id(node)] = node
            place.setdefault(id(node), len(place))
            continue
        inputs = tuple([new[id(x)] for x in node.inputs])
        made = _drawn_out(rewriter, node, inputs, uses, place) if _is_sum(node) else None
        new[id(node)] = made = rewriter.made(node.op, inputs, node.attrs) if made is None else made
        uses.setdefault(id(made), uses[id(node)])
        place.setdefault(id(made), len(place))
    found = [new[id(r)] for r in roots]
    if work(topological(found)) >= work(order):
        return list(roots)
    rewriter.names = {name: new.get(id(node), node) for name, node in rewriter.names.items()}
    return found


def _is_sum(node: Tensor) -> bool:
    """Whether a node adds or subtracts two real arrays of its own shape."""
    return (
        node.value is None
        and node.op in (ADD, SUBTRACT)
        and node.dtype.kind == "f"
        and all([x.shape == node.shape for x in node.inputs])
    )


def _opens(x: Tensor, like: Tensor, uses: Counter[int]) -> bool:
    """Whether a node is a product, or what is negated, that only its one user wants, of that user's shape."""
    return x.op in (MULTIPLY, NEGATIVE) and x.value is None and uses[id(x)] == 1 and x.shape == like.shape


def _drawn_out(
    rewriter: Rewriter, node: Tensor, terms: tuple[Tensor, ...], uses: Counter[int], place: dict[int, int]
) -> Tensor | None:
    """Return the product that a sum of two products with a common factor is; None where they have none.

    Of several factors it is the one computed last, so that as much as possible can be computed before.
    """
    both = _common(node, terms, uses)
    if not both:
        return None
    common = max(both, key=lambda x: place.get(id(x), 0))
    rests = []
    for term in terms:
        negated, rest = _without(rewriter, term, common, node, uses)
        if rest is None:
            return None
        rests.append(rewriter.made(NEGATIVE, (rest,), {}) if negated else rest)
    assert node.op is not None
    uses[id(common)] -= 1
    return rewriter.made(MULTIPLY, (common, rewriter.made(node.op, tuple(rests), {})), {})


def _common(node: Tensor, terms: tuple[Tensor, ...], uses: Counter[int]) -> list[Tensor]:
    """Return the factors, of the sum's shape, that both of its terms have."""
    one, other = terms
    if not (_opens(one, node, uses) and _opens(other, node, uses)):
        return []
    ids = {id(x) for x in _factors(other, node, uses)}
    return [x for x in _factors(one, node, uses) if id(x) in ids and x.shape == node.shape]


def _factors(x: Tensor, like: Tensor, uses: Counter[int]) -> list[Tensor]:
    found, stack = [], [x]
    while stack:
        x = stack.pop()
        if _opens(x, like, uses):
            stack += x.inputs
        elif x.value is None:
            found.append(x)
    return found


def _without(
    rewriter: Rewriter, x: Tensor, factor: Tensor, like: Tensor, uses: Counter[int]
) -> tuple[bool, Tensor | None]:
    """Return what is left of a product without one of its factors, None for nothing; and whether it is negated."""
    if x is factor:
        return False, None
    if x.op is NEGATIVE:
        negated, rest = _without(rewriter, x.inputs[0], factor, like, uses)
        return not negated, rest
    one, other = x.inputs
    if not any([y is factor for y in _factors(one, like, uses)]):
        one, other = other, one
    negated, rest = _without(rewriter, one, factor, like, uses)
    return negated, other if rest is None else rewriter.made(MULTIPLY, (rest, other), {})
