"""Terms of long sums with another sign or a factor, tried after what is simpler."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ...core.op import Array
from ..scales import is_simple, law
from .general import MissingTerm
from .paths import chains, terms_of, weighted_terms
from .scaling import ConstantFactor, Sign
from .table import mistake
from .variants import Context, Variant, ranked, replaced


@mistake(MissingTerm, "some terms of the sum are left out")
def _terms_left_out(context: Context) -> Iterator[Variant]:
    yield from weighted_terms(context, (0.0, 1.0))


@mistake(Sign, "some terms of the sum have the wrong sign")
def _terms_with_other_sign(context: Context) -> Iterator[Variant]:
    yield from weighted_terms(context, (-1.0, 1.0))


@mistake(ConstantFactor, "some terms of the sum are taken twice, or half of them")
def _terms_with_factor(context: Context) -> Iterator[Variant]:
    yield from weighted_terms(context, (1.0, 2.0))
    yield from weighted_terms(context, (1.0, 0.5))


@mistake(ConstantFactor, "a term of the sum has {factor}")
def _term_with_any_factor(context: Context) -> Iterator[Variant]:
    """One term with a factor that fits at every point: a constant, a power of m, or m and m - 1 exchanged."""
    for k, chain in enumerate(chains(context.graph)):
        for n in range(len(chain) - 1):
            weights = [_weight(c, k, n) for c in context.at_points]
            solved = [w for w in weights if w is not None]
            factor = _law_of(context, solved) if len(solved) == len(weights) else ""
            if factor:
                yield ranked(replaced(_with_fitted(k, n), factor=factor), 1)


def _weight(context: Context, k: int, n: int) -> float | None:
    """Return the weight of one term that fits best."""
    _, terms = terms_of(context, k) or (None, [])
    if n >= len(terms):
        return None
    square = float(np.sum(terms[n] * terms[n]))
    return 1 + float(np.sum((context.found - context.result) * terms[n])) / square if square else None


def _law_of(context: Context, weights: list[float]) -> str:
    """Return the factor in words; "" if it is no usual one."""
    sizes = [c.point.size for c in context.at_points]
    found = law(weights, sizes)
    if found is not None and is_simple(found.k):
        return f"the factor {found.k:.4g}" + (f" · m^{found.p}" if found.p else "")
    known = [m for m in sizes if m and m > 1]
    if len(known) == len(weights):
        for words, ratio_of in (("the divisor m − 1, not m", _over_less), ("the divisor m, not m − 1", _less_over)):
            if np.allclose(weights, [ratio_of(m) for m in known], rtol=1e-6):
                return words
    return ""


def _over_less(m: int) -> float:
    return m / (m - 1)


def _less_over(m: int) -> float:
    return (m - 1) / m


def _with_fitted(k: int, n: int) -> Callable[[Context], Array | None]:
    def compute(context: Context) -> Array | None:
        _, terms = terms_of(context, k) or (None, [])
        weight = _weight(context, k, n)
        return None if weight is None else np.asarray(context.result + (weight - 1) * terms[n])

    return compute
