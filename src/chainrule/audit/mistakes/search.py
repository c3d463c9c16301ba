"""Which known mistakes give the numbers found, by trying them all within a bounded amount of work."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..graph import NODE_WORK, NUMBERS, Change
from ..scales import ONE, Scale, is_simple, law, ratio
from .table import mistakes, pages
from .variants import AS_CACHED, AS_CHANGED, Context, Variant, changed

#: Work that an audit may do for all its steps together, for single mistakes and for pairs in one step; in units of
#: `chainrule.audit.graph.work_of`. It does not depend on the machine, so that neither does a report.
WORK, PAIRS_WORK = 1.5e6, 0.5e6
#: A step gets at least this share, whatever the others have used.
LEAST = 0.03
#: Along two directions, what a mistake gives is proportional to the numbers found within this.
PROBED = 1e-4
#: What one row of the table may spend of what is left, before every other row has had its turn.
SHARE = 0.15
#: What one step may spend of what is left.
MOST_FOR_A_STEP = 0.6
#: What a mistake raises that makes no sense for a step: shapes that do not go together, arrays without elements.
DOES_NOT_APPLY = (ValueError, IndexError, KeyError, TypeError, AttributeError, np.linalg.LinAlgError)
#: Number of variants of each cause that are tried together with others.
MOST_PAIRED = 10


@dataclass
class Budget:
    """The work that the search for causes may do in an audit; each step gets a small share in any case."""

    left: float

    def fairly(self, rows: Sequence[Iterator[Variant]], context: Context) -> Iterator[Variant]:
        """Yield the variants of all rows: of each row a share, so that none starves the others; then what is left."""
        whole = allowed = max(MOST_FOR_A_STEP * self.left, LEAST * WORK)
        waiting = dict(enumerate(rows))
        for part_of_all in (1 / len(rows), 0.0, 1.0):
            for k, row in list(waiting.items()):
                del waiting[k]
                part = part_of_all * whole or SHARE * allowed
                for variant in row:
                    variant.row, work = k, _work(variant, context)
                    if work > min(part, allowed):
                        waiting[k] = itertools.chain([variant], row)
                        break
                    allowed, part, self.left = allowed - work, part - work, self.left - work
                    yield variant

    def affordable(self, variants: Iterable[Variant], context: Context) -> Iterator[Variant]:
        """Yield variants of a step until the work for it is spent."""
        allowed = max(self.left, LEAST * WORK)
        for variant in variants:
            if allowed <= 0:
                return
            work = _work(variant, context)
            allowed -= work
            self.left -= work
            yield variant


def search(
    contexts: Sequence[Context],
    exact: bool,
    convention: Scale,
    budget: Budget,
    pairs: Budget,
    earlier: Sequence[Variant] = (),
) -> list[Variant]:
    """Return the variants that give the found numbers at every point, the simplest first.

    Parameters
    ----------
    contexts
        The step at each point.
    exact
        Whether it is the gradient of a parameter: its scale counts. Variants that give it but for one scale are taken
        when no other fits.
    convention
        The scale of the signals that the step is computed from.
    budget, pairs
        What may be spent on single mistakes, and on pairs of them.
    earlier
        What explains earlier steps: a mistake in a signal that was not returned shows in all that follows from it, and
        is the explanation where it fits.
    """
    for context in contexts:
        context.uniform = all(context.graph.structure == c.graph.structure for c in contexts)
        context.at_points = contexts
    again = _again(contexts, exact, earlier, budget)
    if again is not None:
        return [again]
    fitting: list[Variant] = []
    pairable: list[Variant] = []
    kinds: Counter[str] = Counter()
    rows = [_until_it_fails(row.variants(contexts[0])) for row in mistakes()]
    for variant in budget.fairly(rows, contexts[0]):
        if variant.changes is not None and pages()[variant.cause].paired and kinds[variant.cause] < MOST_PAIRED:
            kinds[variant.cause] += 1
            pairable.append(variant)
        if _fits(variant, contexts):
            fitting.append(variant)
    sizes = [c.point.size for c in contexts]
    if exact:
        plain = [v for v in fitting if all(abs(s - 1) <= 1e-6 for s in v.scales)]
        fitting = plain or [v for v in fitting if is_simple((law(v.scales, sizes) or ONE).k)]
    if fitting:
        return sorted(fitting, key=lambda v: (_needs_a_constant(law(v.scales, sizes), convention), _rank(v), v.row))
    return _pair(pairable, contexts, exact, pairs)


def _until_it_fails(variants: Iterator[Variant]) -> Iterator[Variant]:
    try:
        yield from variants
    except DOES_NOT_APPLY:
        return


def _again(contexts: Sequence[Context], exact: bool, earlier: Sequence[Variant], budget: Budget) -> Variant | None:
    """Return the variant with the words of one that explains an earlier step, if it gives the numbers."""
    told = {(v.row, v.message) for v in earlier if pages()[v.cause].spreads}
    rows = mistakes()
    for k in sorted({row for row, _ in told}):
        same = (v for v in _until_it_fails(rows[k].variants(contexts[0])) if (k, v.message) in told)
        for variant in budget.affordable(same, contexts[0]):
            variant.row = k
            if _fits(variant, contexts) and (not exact or all(abs(s - 1) <= 1e-6 for s in variant.scales)):
                return variant
    return None


def _work(variant: Variant, context: Context) -> float:
    """Return about how much work it is to try a variant at a point."""
    others = len(context.graph.forward) if variant.changes is None and variant.evaluations else 0
    compared = 3 * context.result.size / NUMBERS
    return NODE_WORK * 5 + compared + variant.evaluations * context.graph.work_from[variant.start] + others


def _fits(variant: Variant, contexts: Sequence[Context]) -> bool:
    """Whether a variant gives the found numbers up to one scale; an unusual constant is not an explanation."""
    scales = []
    for context in contexts:
        with np.errstate(all="ignore"):
            try:
                if context is contexts[0] and _is_ruled_out(variant, context):
                    return False
                value = variant.compute(context)
            except DOES_NOT_APPLY:
                return False  # shapes that do not go together: not what was computed
        scale = None if value is None else ratio(context.found, np.asarray(value), context.tolerance)
        if scale is None:
            return False
        scales.append(scale)
    found = law(scales, [c.point.size for c in contexts])
    variant.scales = scales
    return found is not None and (is_simple(found.k) or all(abs(s - 1) <= 1e-6 for s in scales))


def _is_ruled_out(variant: Variant, context: Context) -> bool:
    """Whether a change of a single node cannot give the numbers found, seen along two directions alone."""
    graph = context.graph
    made = variant.changes(context) if variant.changes is not None else None
    if not made or len(made) > 1 or context.found.shape != context.result.shape:
        return False
    ((i, change),) = made.items()
    shown = graph.shown(i, change)
    if shown is None:
        return False
    (a, b), (c, d) = ([m + r for m, r in zip(*shown, strict=True)], graph.along(context.found))
    if not np.isfinite([a, b]).all():
        return False
    return abs(a * d - b * c) > max(PROBED, 1e3 * context.tolerance) * (abs(a * d) + abs(b * c))


def _needs_a_constant(scale: Scale | None, convention: Scale) -> bool:
    """Whether an explanation gives the numbers only with a factor of its own, other than a power of m."""
    return abs((scale or ONE).k / convention.k - 1) > 1e-5


def _rank(variant: Variant) -> int:
    """The simpler explanation has the lower rank."""
    stale = AS_CACHED in variant.message or AS_CHANGED in variant.message
    return -2 if stale else pages()[variant.cause].rank + variant.rank


# -- two mistakes in one step ------------------------------------------------------------------------------------------


def _pair(variants: Sequence[Variant], contexts: Sequence[Context], exact: bool, budget: Budget) -> list[Variant]:
    """Return the first pair of mistakes that give the numbers together; only the plain ones are paired."""
    pairs = (_together(a, b) for a, b in itertools.combinations(variants, 2))
    for pair in budget.affordable(pairs, contexts[0]):
        if _fits(pair, contexts) and (not exact or all(abs(s - 1) <= 1e-6 for s in pair.scales)):
            return [pair]
    return []


def _together(a: Variant, b: Variant) -> Variant:
    pair = changed(min(a.start, b.start), _both(a, b), {**a.text, **b.text})
    pair.cause, pair.message = a.cause, f"{a.message}, and {b.message}"
    return pair


def _changes(variant: Variant, context: Context) -> dict[int, Change] | None:
    made = variant.changes
    return context.once(id(variant), lambda: made(context)) if made is not None else None


def _both(a: Variant, b: Variant) -> Callable[[Context], dict[int, Change] | None]:
    def changes(context: Context) -> dict[int, Change] | None:
        first, second = _changes(a, context), _changes(b, context)
        if not first or not second or set(first) & set(second):
            return None
        return {**first, **second}

    return changes
