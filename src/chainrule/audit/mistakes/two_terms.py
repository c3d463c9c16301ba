"""Layers whose derivative is a sum of two terms, as of softmax: fitted to the numbers with other factors and sums.

With g for the upstream gradient and p for a value of the pass, the derivatives of softmax, p ⊙ g − p Σ p ⊙ g, of
log-softmax, g − p Σ g, and of normalisations have terms with and without the factor p, with and without a sum. What is
found is a mistake of the term in which it differs from the right one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ...core.op import Array
from ..scales import law
from .general import MissingFactor, MissingTerm, WrongOperand
from .indexing import called, signal_of, upstreams
from .normalisations import WrongAxis
from .scaling import ConstantFactor, Sign
from .table import mistake
from .variants import Context, Variant, of_result, ranked

#: Most values p that are tried, most axes of an array, and the relative difference up to which terms fit.
MOST_VALUES, MOST_AXES, CLOSE = 6, 3, 1e-8


class Term(NamedTuple):
    """A term: whether it has the factor p, what stands behind it, "g", "pg" or "1", and the axes of its sum."""

    factor: bool
    inner: str
    axes: tuple[int, ...] | None

    def of(self, g: Array, p: Array) -> Array:
        """Return the value of the term."""
        value = {"g": g, "pg": p * g, "1": np.ones_like(g)}[self.inner]
        if self.axes is not None:
            value = np.broadcast_to(value.sum(axis=self.axes, keepdims=True), g.shape)
        return p * value if self.factor else value


class Form(NamedTuple):
    """A sum of terms with a coefficient each, at every point."""

    terms: tuple[Term, ...]
    weights: tuple[Array, ...]


Values = Callable[[Context], tuple[Array, Array]]


@mistake(WrongOperand, "in the derivative with respect to {name}, {what}")
def _other_terms(context: Context) -> Iterator[Variant]:
    candidates = list(_candidates(context))
    name, results = context.graph.name, [c.result for c in context.at_points]
    for values in candidates:
        right = _fitted(context, values, results)
        if right is None:
            continue
        for others in (values, *candidates):
            found = _fitted(context, others, [c.found for c in context.at_points])
            if found is not None:
                cause, what = _difference(right, found) if others is values else ("", "another value is a factor")
                if what:
                    yield ranked(of_result(_of_form(others, found, context), "", cause, name=name, what=what), 1)
                return
        return


def _candidates(context: Context) -> Iterator[Values]:
    """Yield what may be g and p, at any point: gradients and values, or their exponentials, of the result's shape."""
    shape = context.result.shape
    if not 1 <= len(shape) <= MOST_AXES or context.found.shape != shape or context.result.size < 6:
        return
    names = [n for n in context.names(shape) if n != context.graph.name][:MOST_VALUES]
    for upstream in upstreams(context):
        if signal_of(context, upstream).shape == shape and called(context, upstream) != "a gradient":
            for name in names:
                yield _named(upstream, name, lambda a: a)
                yield _named(upstream, name, np.exp)


def _named(upstream: str, name: str, function: Callable[[Array], Array]) -> Values:
    return lambda context: (signal_of(context, upstream), function(context.values[name]))


def _terms(ndim: int) -> list[Term]:
    sums = [(a,) for a in range(ndim)] + ([tuple(range(ndim))] if ndim > 1 else [])
    within = [Term(f, inner, axes) for axes in sums for inner in ("g", "pg") for f in (False, True)]
    return [Term(False, "g", None), Term(True, "g", None), Term(True, "1", None), *within]


def _fitted(context: Context, values: Values, wanted: Sequence[Array]) -> Form | None:
    """Return the one or two terms that give some arrays, one at each point; None if none do."""
    known = [values(c) for c in context.at_points]
    if not all(np.isfinite(p).all() and g.shape == p.shape == w.shape for (g, p), w in zip(known, wanted, strict=True)):
        return None
    terms = _terms(context.result.ndim)
    pairs = [(t,) for t in terms] + list(itertools.combinations(terms, 2))
    arrays = [{t: t.of(g, p).ravel() for t in terms} for g, p in known]
    for chosen in pairs:
        solved = _solved([([a[t] for t in chosen], w.ravel()) for a, w in zip(arrays, wanted, strict=True)])
        if solved is not None and _are_lawful(context, solved):
            return Form(chosen, tuple(solved))
    return None


def _solved(equations: Iterable[tuple[Sequence[Array], Array]]) -> list[Array] | None:
    """Return the weights of terms at every point; None, at the first without, if there are none."""
    found = []
    for terms, wanted in equations:
        weights = _weights(terms, wanted)
        if weights is None:
            return None
        found.append(weights)
    return found


def _weights(terms: Sequence[Array], wanted: Array) -> Array | None:
    design = np.stack(terms, axis=1)
    square, projected = design.T @ design, design.T @ wanted
    if abs(np.linalg.det(square)) <= 1e-12 * np.prod(np.diag(square)):
        return None
    solution = np.linalg.solve(square, projected)
    left = np.max(np.abs(design @ solution - wanted))
    return np.asarray(solution) if left <= CLOSE * np.max(np.abs(wanted)) and np.min(np.abs(solution)) > 1e-6 else None


def _are_lawful(context: Context, weights: Sequence[Array]) -> bool:
    """Whether each coefficient is a constant times a power of m."""
    sizes = [c.point.size for c in context.at_points]
    return all(law([float(w[k]) for w in weights], sizes) is not None for k in range(len(weights[0])))


def _of_form(values: Values, form: Form, first: Context) -> Callable[[Context], Array | None]:
    def compute(context: Context) -> Array | None:
        n = next((k for k, c in enumerate(first.at_points) if c is context), None)
        if n is None:
            return None
        g, p = values(context)
        return np.asarray(sum(w * t.of(g, p) for w, t in zip(form.weights[n], form.terms, strict=True)))

    return compute


def _difference(right: Form, found: Form) -> tuple[str, str]:
    """Return the cause of a form that is not the right one, and what is different in words."""
    gone, new = (set(a.terms) - set(b.terms) for a, b in ((right, found), (found, right)))
    if not new:
        return _other_weights(right, found) if not gone else (MissingTerm.code, "a term is left out")
    if len(new) > 1 or not gone:
        return "", ""
    added = new.pop()
    nearest = min(gone, key=lambda t: sum(x != y for x, y in zip(t, added, strict=True)))
    if (nearest.factor, nearest.inner) == (added.factor, added.inner) and nearest.axes and added.axes:
        return WrongAxis.code, "a sum runs over the wrong axis"
    if added.inner == "1":
        return MissingFactor.code, "the sum is left out of a term"
    if nearest.axes and added.axes is None:
        return MissingTerm.code, "a sum is left out"
    if (nearest.factor, nearest.inner) > (added.factor, added.inner):
        return MissingFactor.code, "a factor of a term is left out"
    return WrongOperand.code, "a term has another factor"


def _other_weights(right: Form, found: Form) -> tuple[str, str]:
    by_term = dict(zip(right.terms, right.weights[0], strict=True))
    ratios = [float(w / by_term[t]) for t, w in zip(found.terms, found.weights[0], strict=True)]
    off = [r for r in ratios if abs(r - ratios[0]) > 1e-6] or ratios
    if any(abs(r + 1) < 1e-6 for r in off):
        return Sign.code, "a term has the wrong sign"
    return ConstantFactor.code, f"a term is {off[0]:.4g} times what it should be"
