"""Regularisation: multiples of a parameter, or of its signs, in its gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ...core.op import Array
from ..graph import GradientGraph
from ..scales import ratio
from .alterations import ADD
from .table import Cause, mistake
from .variants import Context, Variant, at, inner, keep, number, of_result


class MissingRegularization(Cause):
    """The gradient of the regularisation is left out.

    Wrong
    -----
        lam = 0.3

        def loss(Z2, Y, P):
            return np.mean(np.sum((Z2 - Y) ** 2, axis=1)) / 2 + lam / 2 * (np.sum(P["W1"] ** 2) + np.sum(P["W2"] ** 2))

        dW2 = cache["A1"].T @ dZ2 / m  # wrong
        dW1 = cache["A0"].T @ dZ1 / m + lam * P["W1"]

    Right
    -----
        dW2 = cache["A1"].T @ dZ2 / m + lam * P["W2"]

    How it shows
    ------------
    Yours differs from the right gradient by a multiple of the weights themselves, here 0.3 · W2.

    Why it is wrong
    ---------------
    The loss has the term `λ/2 Σ W2²`; its derivative is `λ W2`.

    Notes
    -----
    Weight decay that the optimiser applies is not part of the loss: then leave the term out of the declared loss.
    """

    code = "missing-regularization"
    rank = -1


class WrongRegularization(Cause):
    """The gradient of the regularisation has the wrong factor.

    Wrong
    -----
        lam = 0.3

        def loss(Z2, Y, P):
            return np.mean(np.sum((Z2 - Y) ** 2, axis=1)) / 2 + lam / 2 * (np.sum(P["W1"] ** 2) + np.sum(P["W2"] ** 2))

        dW2 = cache["A1"].T @ dZ2 / m + 2 * lam * P["W2"]  # wrong
        dW1 = cache["A0"].T @ dZ1 / m + lam * P["W1"]

    Right
    -----
        dW2 = cache["A1"].T @ dZ2 / m + lam * P["W2"]

    How it shows
    ------------
    Yours differs from the right gradient by a multiple of the weights, although it contains one already: here 2 λ
    instead of λ. Often it is λ/m instead of λ.

    Why it is wrong
    ---------------
    `d/dW λ/2 W² = λ W`. With `λ W²` in the loss it is `2 λ W`; with `λ/(2m) W²` it is `λ/m W`.
    """

    code = "wrong-regularization"


class RegularizedBias(Cause):
    """The bias is regularised, although it is not regularised in the loss.

    Wrong
    -----
        lam = 0.3

        def loss(Z2, Y, P):
            return np.mean(np.sum((Z2 - Y) ** 2, axis=1)) / 2 + lam / 2 * (np.sum(P["W1"] ** 2) + np.sum(P["W2"] ** 2))

        dW2 = cache["A1"].T @ dZ2 / m + lam * P["W2"]
        db2 = dZ2.sum(axis=0) / m + lam * P["b2"]  # wrong
        dW1 = cache["A0"].T @ dZ1 / m + lam * P["W1"]

    Right
    -----
        db2 = dZ2.sum(axis=0) / m

    How it shows
    ------------
    Yours differs from the right gradient by a multiple of the bias. At the start of training, with biases of 0, the
    two are equal.

    Why it is wrong
    ---------------
    b2 does not occur in the regularisation of the loss, so it adds nothing to the gradient: `db2 = Σᵢ dZ2[i] / m`.

    Notes
    -----
    Biases may be regularised: with them in the loss, the same gradient is right.
    """

    code = "regularized-bias"


#: What penalties have for gradients: W for the sum of squares, sign(W) for the sum of absolute values.
_GRADIENTS: tuple[tuple[str, Callable[[Array], Array]], ...] = (("{}", lambda w: w), ("sign({})", np.sign))


def _penalties(context: Context) -> Iterator[tuple[str, Callable[[Array], Array], float, float]]:
    """Yield for each penalty: its gradient as text and as a function, how much is right, how much was added to that."""
    name = context.graph.name
    for text, of in _GRADIENTS if name in context.point.values and context.shape else ():
        if (added := _added(context, of)) is not None:
            yield text.format(name), of, _right(context, of), added


def _weights(context: Context) -> Array:
    return np.asarray(context.point.values[context.graph.name], np.float64)


def _added(context: Context, of: Callable[[Array], Array]) -> float | None:
    """Return the multiple of the parameter that was added to the right gradient, as it fits best."""
    weights = of(_weights(context))
    square = float(np.sum(weights * weights))
    if context.result.shape != context.found.shape or weights.shape != context.result.shape or not square:
        return None
    t = float(np.sum((context.found - context.result) * weights)) / square
    return t if abs(t) > 1e-12 else None


def _right(context: Context, of: Callable[[Array], Array]) -> float:
    """Return r where r · of(W) is the part of the gradient that comes from the regularisation; 0 if there is none."""
    weights, graph = of(_weights(context)), context.graph
    found: dict[int, float] = {}
    for i, node in enumerate(graph.order):
        term = np.asarray(node.value)
        fits = term.shape == weights.shape and term.size > 1 and _only_added(graph, i)
        if fits and (c := ratio(term, weights, 1e-10)) is not None:
            found[i] = c
    # W * W has a term for each of its factors; a sum of such terms stands for them
    return sum(c for i, c in found.items() if not any(user in found for user in graph.users[i]))


def _only_added(graph: GradientGraph, i: int) -> bool:
    """Whether a node reaches the result through additions alone."""
    while i != len(graph.order) - 1:
        users = graph.users[i]
        if len(users) != 1 or graph.order[users[0]].op is not ADD:
            return False
        i = users[0]
    return True


def _with(of: Callable[[Array], Array]) -> Callable[[Context], Array | None]:
    """Return the right gradient with the multiple that fits best added to it."""

    def compute(context: Context) -> Array | None:
        t = _added(context, of)
        return None if t is None else np.asarray(context.result + t * of(_weights(context)))

    return compute


def _is_none(right: float) -> bool:
    return abs(right) < 1e-12


@mistake(WrongRegularization, "the gradient of another penalty on {name} than the loss has is added")
def _both_penalties(context: Context) -> Iterator[Variant]:
    name = context.graph.name
    if name in context.point.values and context.shape:
        yield of_result(_two_penalties, name=name)


def _two_penalties(context: Context) -> Array | None:
    """Return the result with multiples of W and sign(W) added that fit best, if both are needed."""
    weights = _weights(context)
    if context.result.shape != context.found.shape or weights.size < 4:
        return None
    design = np.stack([weights.ravel(), np.sign(weights).ravel()], axis=1)
    solution, *_ = np.linalg.lstsq(design, (context.found - context.result).ravel(), rcond=None)
    if np.min(np.abs(solution)) < 1e-9:
        return None
    return np.asarray(context.result + (design @ solution).reshape(context.result.shape))


@mistake(WrongRegularization, "{added} · {what} is added, but the loss does not regularise {name}")
def _penalty_without_reason(context: Context) -> Iterator[Variant]:
    name = context.graph.name
    for what, of, right, added in _penalties(context):
        if _is_none(right):
            shape = np.shape(context.point.values[name])
            bias = name.lower().startswith("b") or (len(shape) < 2 and not name.lower().startswith(("w", "k", "theta")))
            cause = RegularizedBias.code if bias else ""
            yield of_result(_with(of), "", cause, added=number(added), what=what, name=name)


@mistake(MissingRegularization, "the gradient of the regularisation, {right} · {what}, is left out")
def _penalty_left_out(context: Context) -> Iterator[Variant]:
    for what, of, right, added in _penalties(context):
        if not _is_none(right) and abs(added + right) <= 1e-7 * abs(right):
            yield of_result(_with(of), right=number(right), what=what)


@mistake(MissingRegularization, "the gradient of the regularisation,{penalty}, is left out")
def _penalty_term_left_out(context: Context) -> Iterator[Variant]:
    graph = context.graph
    penalty = penalty_in(graph)
    if penalty is not None:
        other, text = penalty
        (i,) = graph.users[other]
        yield from at(context, i, keep(graph.dependent[i].index(other)), inner(other), penalty=text[2:])


@mistake(WrongRegularization, "the regularisation adds {total} · {what}, the loss asks for {right} · {what}")
def _penalty_with_other_factor(context: Context) -> Iterator[Variant]:
    for what, of, right, added in _penalties(context):
        if not _is_none(right) and abs(added + right) > 1e-7 * abs(right):
            yield of_result(_with(of), total=number(added + right), right=number(right), what=what)


def penalty_in(graph: GradientGraph) -> tuple[int, str] | None:
    """Return, for a gradient that is the sum of c · W and another part, the other part's place, and "+ c · W"."""
    i = len(graph.order) - 1
    weights = np.asarray(graph.point.values.get(graph.name, 0.0), np.float64)
    while (op := graph.order[i].op) is not None and op.passes:
        i = graph.dependent[i][0] or 0
    if op is not ADD or weights.size < 2:
        return None
    a, b = graph.dependent[i]
    for part, other in ((a, b), (b, a)):
        if part is None or other is None or graph.order[part].shape != weights.shape:
            continue
        if (c := ratio(np.asarray(graph.order[part].value), weights, 1e-10)) is not None:
            return other, f" {'−' if c < 0 else '+'} {abs(c):.4g} · {graph.name}"
    return None


#: What is written in place of the gradient of a penalty.
_INSTEAD: tuple[tuple[str, Callable[[Array], Array]], ...] = (
    ("|{}|", np.abs),
    ("{}²", np.square),
    ("one number for all elements, as the sum of {} is,", np.ones_like),
)


@mistake(WrongRegularization, "a multiple of {other} is added, the loss asks for {right} · {what}")
def _other_function_of_weights(context: Context) -> Iterator[Variant]:
    name = context.graph.name
    for what, of in _GRADIENTS if name in context.point.values and context.shape else ():
        right = _right(context, of)
        for n, (other, _) in enumerate(_INSTEAD) if not _is_none(right) else ():
            words = {"other": other.format(name), "right": number(right), "what": what.format(name)}
            yield of_result(_with_instead(of, n), **words)


def _with_instead(of: Callable[[Array], Array], n: int) -> Callable[[Context], Array | None]:
    def compute(context: Context) -> Array | None:
        weights = _weights(context)
        if context.result.shape != context.found.shape or weights.shape != context.result.shape:
            return None
        base, added = context.result - _right(context, of) * of(weights), _INSTEAD[n][1](weights)
        t = float(np.sum((context.found - base) * added)) / float(np.sum(added * added))
        return np.asarray(base + t * added)

    return compute


@mistake(MissingRegularization, "the gradient of the regularisation, {right} · {what}, is left out in some {lines}")
def _penalty_left_out_in_part(context: Context) -> Iterator[Variant]:
    name = context.graph.name
    for what, of in _GRADIENTS if name in context.point.values and len(context.shape) == 2 else ():
        right = _right(context, of)
        for axis, lines in ((0, "rows"), (1, "columns")) if not _is_none(right) else ():
            words = {"right": number(right), "what": what.format(name), "lines": lines}
            yield of_result(_without_lines(of, axis), **words)


def _without_lines(of: Callable[[Array], Array], axis: int) -> Callable[[Context], Array | None]:
    """Return the right gradient without the penalty in the rows, or columns, where it is missing."""

    def compute(context: Context) -> Array | None:
        if context.result.shape != context.found.shape:
            return None
        penalty = _right(context, of) * of(_weights(context))
        left_out = np.isclose(context.found, context.result - penalty, rtol=1e-7, atol=0).all(axis=1 - axis)
        kept = np.expand_dims(~left_out, 1 - axis)
        return context.result - penalty + kept * penalty if left_out.any() and kept.any() else None

    return compute
