"""Products and sums of a gradient: factors, terms and operands left out, exchanged or transposed; sums over axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...core.op import REDUCE, Array
from ...core.tensor import Tensor
from ...ops.contract import MATMUL
from ...ops.index import SCATTER
from ...ops.logic import WHERE
from ...ops.shape import TRANSPOSE
from ..graph import At, Change, GradientGraph
from .alterations import ADD, DIVIDE, MULTIPLY, NEGATIVE, SUBTRACT, TERM, alterations, altered, parts
from .general import MissingFactor, MissingTerm, Transposed, UpdatedWeights, WrongOperand, misplaced
from .penalties import penalty_in
from .scaling import ConstantFactor, Sign
from .table import Cause, mistake
from .variants import (
    Context,
    Variant,
    at,
    beside,
    exchange,
    inner,
    keep,
    number,
    operand_name,
    replaced,
    value,
)


class BiasNotSummed(Cause):
    """The bias' gradient is not summed over the examples.

    Wrong
    -----
        db1 = dZ1 / m  # wrong

    Right
    -----
        db1 = dZ1.sum(axis=0) / m

    How it shows
    ------------
    The gradient has a row for each example, 9×7, where b1 has 7 entries. The update `b1 -= lr * db1` broadcasts, or
    fails.

    Why it is wrong
    ---------------
    b1 was broadcast: it was added to every example, and the gradients of all uses add up: `db1[j] = Σᵢ dZ1[i,j] / m`.
    """

    code = "bias-not-summed"


class BiasAllSummed(Cause):
    """The bias' gradient is summed over the units too.

    Wrong
    -----
        db1 = dZ1.sum() / m  # wrong

    Right
    -----
        db1 = dZ1.sum(axis=0) / m

    How it shows
    ------------
    One number for all units: every bias of the layer gets the same update. It broadcasts, so there is no error.

    Why it is wrong
    ---------------
    `db1[j] = Σᵢ dZ1[i,j] / m` sums over the examples only; each unit has its own gradient. Always give the axis.
    """

    code = "bias-all-summed"


# -- where they are ----------------------------------------------------------------------------------------------------


def nodes(context: Context, *ops: Any, inputs: int = 1) -> Iterator[tuple[int, list[int]]]:
    """Yield the nodes of some operations by position, each with those of its inputs that are gradients."""
    graph = context.graph
    for i, node in enumerate(graph.order):
        if node.op in ops:
            gradients = [k for k, p in enumerate(graph.dependent[i]) if p is not None]
            if len(gradients) == inputs:
                yield i, gradients


def factors(context: Context, *ops: Any) -> Iterator[tuple[int, int, int, Tensor, str]]:
    """Yield products of a gradient and a value: position, which input and which node is the gradient, value, name."""
    graph = context.graph
    for i, (k,) in nodes(context, *ops):
        p, factor = graph.dependent[i][k], graph.order[i].inputs[1 - k]
        assert p is not None
        yield i, k, p, factor, graph.name_of(factor)


def arrays(context: Context, *ops: Any) -> Iterator[tuple[int, int, int, Tensor, str]]:
    """Yield the products whose factor is not a single number."""
    return (found for found in factors(context, *ops) if found[3].size > 1)


# -- sums --------------------------------------------------------------------------------------------------------------


@mistake(MissingTerm, "a term of the sum is left out: a second path to the loss")
def _term_left_out(context: Context) -> Iterator[Variant]:
    graph, penalty = context.graph, penalty_in(context.graph)
    for i, _ in nodes(context, ADD, SUBTRACT, inputs=2):
        for k, p in enumerate(graph.dependent[i]):
            assert p is not None
            if penalty is None or i != len(graph.order) - 1 or penalty[0] != p:
                sign = -1.0 if k == 1 and graph.order[i].op is SUBTRACT else 1.0
                yield from at(context, i, keep(k, sign), inner(p))


@mistake(Sign, "a term of the sum has the wrong sign")
def _term_with_other_sign(context: Context) -> Iterator[Variant]:
    for i, _ in nodes(context, ADD, SUBTRACT, inputs=2):
        sign = 1.0 if context.graph.order[i].op is ADD else -1.0
        yield from at(context, i, _weighted(1.0, -sign))
        yield from at(context, i, _weighted(-1.0, sign))


@mistake(ConstantFactor, "a term of the sum is taken {amount}")
def _term_with_factor(context: Context) -> Iterator[Variant]:
    for i, _ in nodes(context, ADD, SUBTRACT, inputs=2):
        sign = 1.0 if context.graph.order[i].op is ADD else -1.0
        for amount, factor in (("twice", 2.0), ("half", 0.5)):
            yield from at(context, i, _weighted(factor, sign), amount=amount)
            yield from at(context, i, _weighted(1.0, factor * sign), amount=amount)


def _weighted(a: float, b: float) -> Change:
    return lambda graph, i, inputs, at: a * inputs[0] + b * inputs[1]


@mistake(Sign, "a minus is missing")
def _minus_left_out(context: Context) -> Iterator[Variant]:
    for i, _ in nodes(context, NEGATIVE):
        yield from at(context, i, keep(0))


@mistake(MissingTerm, "values written to the same place replace each other instead of adding up")
def _overlap_overwritten(context: Context) -> Iterator[Variant]:
    for i, _ in nodes(context, SCATTER):
        yield from at(context, i, _assigned)


def _assigned(graph: GradientGraph, i: int, inputs: list[Array], at: At) -> Array:
    attrs = graph.order[i].attrs
    out = np.zeros(attrs["shape"])
    out[tuple(inputs[1 + part] if isinstance(part, int) else part for part in attrs["index"])] = inputs[0]
    return out


def _sums(context: Context) -> Iterator[int]:
    graph = context.graph
    for i, node in enumerate(graph.order):
        if node.op is not None and node.op.kind == REDUCE and 0 in node.op.linear and graph.dependent[i][0] is not None:
            yield i


def _of_a_bias(context: Context, i: int) -> bool:
    """Whether a sum is left of the gradient of a vector that was broadcast; else it is part of a formula."""
    if sum(length > 1 for length in context.shape) > 1:
        return False
    return not context.graph.order[i].attrs["keepdims"] or context.shape == context.graph.order[i].shape


@mistake(BiasNotSummed, "{what}")
def _sum_left_out(context: Context) -> Iterator[Variant]:
    for i in _sums(context):
        what, cause = "the gradient is not summed over the examples", ""
        if not _of_a_bias(context, i):
            what = "a sum in the derivative is left out: only the diagonal of the Jacobian is taken"
            cause = MissingTerm.code
        yield from at(context, i, keep(0), inner(context.graph.dependent[i][0] or 0), cause, what=what)


@mistake(BiasNotSummed, "{what} over the wrong axis")
def _wrong_axis(context: Context) -> Iterator[Variant]:
    for i in _sums(context):
        what, cause = "the gradient is summed", ""
        if not _of_a_bias(context, i):
            what, cause = "the sum in the derivative runs", WrongOperand.code
        node = context.graph.order[i]
        for j in range(node.inputs[0].ndim):
            if (j,) != node.attrs["axis"]:
                yield from at(context, i, _summed((j,)), None, cause, what=what)


@mistake(BiasAllSummed, "{what}")
def _summed_over_all(context: Context) -> Iterator[Variant]:
    for i in _sums(context):
        node = context.graph.order[i]
        ndim = node.inputs[0].ndim
        if ndim > 1 and node.attrs["axis"] != tuple(range(ndim)):
            cause = "" if sum(length > 1 for length in context.shape) < 2 else WrongOperand.code
            yield from at(context, i, _summed(None), None, cause, what=_over_all(cause))
            yield from at(context, i, _summed_and_spread, None, cause, what=_over_all(cause))


@mistake(BiasNotSummed, "the gradient of {which} is taken, not the sum over all")
def _one_example(context: Context) -> Iterator[Variant]:
    for i in _sums(context):
        what, cause = "example", ""
        if not _of_a_bias(context, i):
            what, cause = "position", "partial-loop"
        for j in range(context.graph.order[i].inputs[0].ndim):
            yield from at(context, i, _one_of(j, 0), None, cause, which=f"one {what}")
            yield from at(context, i, _one_of(j, -1), None, cause, which=f"the last {what}")


def _over_all(cause: str) -> str:
    return "the sum in the derivative runs over all axes" if cause else "the gradient is summed over the units too"


def _summed(axis: tuple[int, ...] | None) -> Change:
    def change(graph: GradientGraph, i: int, inputs: list[Array], at: At) -> Array:
        keepdims = bool(graph.order[i].attrs["keepdims"]) and axis is not None
        return np.asarray(np.sum(inputs[0], axis=axis, keepdims=keepdims))

    return change


def _summed_and_spread(graph: GradientGraph, i: int, inputs: list[Array], at: At) -> Array:
    return np.full(graph.order[i].shape, np.sum(inputs[0]))


def _one_of(axis: int, index: int) -> Change:
    return lambda graph, i, inputs, at: np.take(inputs[0], index, axis=axis)


# -- factors -----------------------------------------------------------------------------------------------------------


@mistake(MissingFactor, "a mask is left out")
def _condition_left_out(context: Context) -> Iterator[Variant]:
    graph = context.graph
    for i, (k,) in nodes(context, WHERE):
        yield from at(context, i, keep(k), inner(graph.dependent[i][k] or 0))


@mistake(ConstantFactor, "the factor {factor} is left out")
def _number_left_out(context: Context) -> Iterator[Variant]:
    for i, k, p, factor, _ in factors(context, MULTIPLY, DIVIDE):
        if factor.size == 1 and abs(abs(_single(factor)) - 1) > 1e-12:
            text = ("" if context.graph.order[i].op is MULTIPLY else "1/") + number(_single(factor))
            yield from at(context, i, keep(k), inner(p), factor=text)


def _single(factor: Tensor) -> float:
    return float(np.asarray(factor.value).ravel()[0])


@mistake(MissingTerm, "{term} is left out of a factor")
def _factor_without_term(context: Context) -> Iterator[Variant]:
    """A factor such as (P - Y) of which a term is left out."""
    for i, k, _, factor, label in arrays(context, MULTIPLY, DIVIDE):
        expression = parts(factor, _is_border(context.graph)) if not label else []
        for j, a, what in alterations(expression):
            if what == TERM and j == len(expression) - 1:
                yield from at(context, i, exchange(1 - k, _altered(i, 1 - k, j, a)), term="a term")


@mistake(MissingFactor, "{factor} of the product is left out")
def _factor_left_out(context: Context) -> Iterator[Variant]:
    graph = context.graph
    for i, k, p, factor, label in arrays(context, MULTIPLY, DIVIDE):
        filled = np.asarray(factor.value)
        constant = factor.op is None and id(factor) in graph.forward and not label
        mask = constant and (filled == 0).any() and np.unique(np.round(filled, 12)).size == 2
        cause = "dropout-mask-missing" if mask else ""
        yield from at(context, i, keep(k), inner(p), cause, factor=f"the factor {label}" if label else "a factor")


@mistake(MissingFactor, "{factor} of the product is left out in one of the terms")
def _factor_left_out_once(context: Context) -> Iterator[Variant]:
    """A product that is used several times, or multiplies a sum: the factor is left out in one place."""
    graph = context.graph
    for i, k, p, _, label in arrays(context, MULTIPLY):
        factor = f"the factor {label}" if label else "a factor"
        for j in _products_with(graph, i):
            for user in graph.users[j] if len(graph.users[j]) > 1 else ():
                yield from at(context, user, _unmultiplied(i, k, j), factor=factor)
        if graph.order[p].op in (ADD, SUBTRACT):
            for term in (0, 1):
                yield from at(context, i, _one_term_alone(k, p, term), factor=factor)


def _products_with(graph: GradientGraph, i: int) -> list[int]:
    """Return the products that have a product as a factor, and that itself."""
    found = [i]
    for j in found:
        found += [u for u in graph.users[j] if graph.order[u].op is MULTIPLY and u not in found]
    return found


def _unmultiplied(i: int, k: int, j: int) -> Change:
    """Return the change that uses the product at `j` without the factor that node `i` multiplies in."""

    def change(graph: GradientGraph, user: int, inputs: list[Array], at: At) -> Array:
        factor = np.asarray(graph.order[i].inputs[1 - k].value)
        pairs = zip(inputs, graph.dependent[user], strict=True)
        return graph.plain(user, [x / factor if q == j else x for x, q in pairs])

    return change


def _one_term_alone(k: int, p: int, term: int) -> Change:
    """Return the change that multiplies a factor into only one term of the sum at `p`."""

    def change(graph: GradientGraph, i: int, inputs: list[Array], at: At) -> Array:
        pairs = zip(graph.order[p].inputs, graph.dependent[p], strict=True)
        values = [np.asarray(x.value) if q is None else at(q) for x, q in pairs]
        values[term] = values[term] * inputs[1 - k]
        return graph.plain(p, values)

    return change


@mistake(WrongOperand, "multiplied by {factor} squared")
def _factor_squared(context: Context) -> Iterator[Variant]:
    for i, k, _, _, label in arrays(context, MULTIPLY):
        yield from at(context, i, exchange(1 - k, lambda graph, old: old**2), factor=label or "a factor")


@mistake(MissingFactor, "multiplied by {factor} instead of divided")
def _multiplied_not_divided(context: Context) -> Iterator[Variant]:
    for i, _, _, _, label in arrays(context, DIVIDE):
        yield from at(context, i, lambda graph, i, inputs, at: inputs[0] * inputs[1], factor=label or "a factor")


@mistake(WrongOperand, "a factor of the product is wrong: a {what} is missing, or has another sign")
def _factor_altered(context: Context) -> Iterator[Variant]:
    for i, k, _, factor, label in arrays(context, MULTIPLY, DIVIDE):
        for j, a, what in alterations(parts(factor, _is_border(context.graph))) if not label else ():
            if what != TERM:
                yield from at(context, i, exchange(1 - k, _altered(i, 1 - k, j, a)), what=what)


def _is_border(graph: GradientGraph) -> Callable[[Tensor], bool]:
    """Where the parts of a factor end: at values with a name."""
    return lambda node: bool(graph.name_of(node))


def _altered(i: int, k: int, j: int, a: int) -> Callable[[GradientGraph, Array], Array]:
    return lambda graph, old: np.broadcast_to(
        altered(parts(graph.order[i].inputs[k], _is_border(graph)), j, a), old.shape
    )


@mistake(WrongOperand, "{other} is used in place of {right}")
def _other_factor(context: Context) -> Iterator[Variant]:
    graph = context.graph
    for i, k, p, factor, label in arrays(context, MULTIPLY, DIVIDE):
        for other in [*context.values, *context.signals]:
            if other != label and graph.values[other].shape == factor.shape:
                text = beside(p, f"{{}} ⊙ {other}") if graph.order[i].op is MULTIPLY else None
                words = {"other": other, "right": label or "another value"}
                yield from at(context, i, exchange(1 - k, value(other)), text, misplaced(other, label), **words)


@mistake(WrongOperand, "{factor} is multiplied in after the sums, not before")
def _factor_after_sums(context: Context) -> Iterator[Variant]:
    for i, k, _, _, label in arrays(context, MULTIPLY):
        if _spreads(context, i, k):
            yield replaced(_outside(i, k), factor=label or "a factor")


def _spreads(context: Context, i: int, k: int) -> bool:
    """Whether a factor is repeated over the result, as the scale of a normalisation is."""
    factor, result = context.graph.order[i].inputs[1 - k].shape, context.result.shape
    return len(factor) <= len(result) and all(a in (1, b) for a, b in zip(factor[::-1], result[::-1], strict=False))


def _outside(i: int, k: int) -> Callable[[Context], Array | None]:
    def compute(context: Context) -> Array | None:
        factor = np.asarray(context.graph.order[i].inputs[1 - k].value)
        return np.asarray(context.graph.evaluated({i: keep(k)}) * factor)

    return compute


# -- matrix products ---------------------------------------------------------------------------------------------------


@mistake(Transposed, "a transpose is missing")
def _transpose_left_out(context: Context) -> Iterator[Variant]:
    for i, _ in nodes(context, TRANSPOSE):
        shape = context.graph.order[i].shape
        if len(set(shape)) < len(shape):
            yield from at(context, i, keep(0))


@mistake(Transposed, "the upstream gradient is transposed in the product, or should be")
def _upstream_transposed(context: Context) -> Iterator[Variant]:
    for i, k, _, _, _ in factors(context, MATMUL):
        if _square(context.graph.order[i].inputs[k].shape):
            yield from at(context, i, exchange(k, _turned))


@mistake(Transposed, "{operand} {what}")
def _operand_transposed(context: Context) -> Iterator[Variant]:
    for i, k, p, factor, _ in factors(context, MATMUL):
        if _square(factor.shape):
            turned, label = operand_name(context.graph, factor)
            text = _product(p, k, label + ("" if turned else "ᵀ"))
            words = {"operand": label or "an operand", "what": "is not transposed" if turned else "is transposed"}
            yield from at(context, i, exchange(1 - k, _turned), text, **words)


@mistake(Transposed, "the operands of the product are exchanged")
def _operands_exchanged(context: Context) -> Iterator[Variant]:
    for i, k, _, factor, _ in factors(context, MATMUL):
        if factor.shape == context.graph.order[i].inputs[k].shape:
            yield from at(context, i, lambda graph, i, inputs, at: np.asarray(np.matmul(inputs[1], inputs[0])))


@mistake(WrongOperand, "{other} is used in place of {right}")
def _other_operand(context: Context) -> Iterator[Variant]:
    for i, k, p, factor, _ in factors(context, MATMUL):
        flipped, label = operand_name(context.graph, factor)
        for other, array in context.values.items():
            if array.ndim < 2 or not np.any(array) or other == label:
                continue
            for turned in (flipped, not flipped):
                if _shape(array, turned) == factor.shape:
                    text = _product(p, k, other + ("ᵀ" if turned else ""))
                    words = {"other": other, "right": label or "another value"}
                    cause = misplaced(other, label)
                    yield from at(context, i, exchange(1 - k, value(other, turned)), text, cause, **words)


@mistake(WrongOperand, "{other} is used in place of the upstream gradient")
def _other_upstream(context: Context) -> Iterator[Variant]:
    for i, k, _, _, _ in factors(context, MATMUL):
        for other, array in context.signals.items():
            for turned in (False, True):
                if array.ndim >= 2 and _shape(array, turned) == context.graph.order[i].inputs[k].shape:
                    yield from at(context, i, exchange(k, value(other, turned)), other=other)


@mistake(UpdatedWeights, "{weights} is taken after its update, with a step of {rate}")
def _weights_after_update(context: Context) -> Iterator[Variant]:
    for i, k, _, factor, _ in factors(context, MATMUL):
        turned, label = operand_name(context.graph, factor)
        rate = _rate(context, i, k, label, turned) if label in context.point.values else None
        if rate is not None:
            yield replaced(_updated(i, k, label, turned, rate), weights=label, rate=number(rate))


def _direction(context: Context, i: int, k: int, label: str, turned: bool) -> Array | None:
    """Return the result with the gradient of the weights in place of the weights."""
    step = context.point.gradients.get(label)
    if step is None or np.shape(step) != np.shape(context.point.values[label]):
        return None
    update = np.asarray(step, np.float64)
    return context.graph.evaluated({i: exchange(1 - k, lambda g, old: update.swapaxes(-1, -2) if turned else update)})


def _rate(context: Context, i: int, k: int, label: str, turned: bool) -> float | None:
    """Return the learning rate that fits best at one point."""
    direction = _direction(context, i, k, label, turned)
    if direction is None or direction.size != context.found.size:
        return None
    design = np.stack([context.result.ravel(), direction.ravel()], axis=1)
    if not np.isfinite(design).all():
        return None
    solution, *_ = np.linalg.lstsq(design, context.found.ravel(), rcond=None)
    rate = -float(solution[1] / solution[0]) if solution[0] else 0.0
    return rate if abs(rate) > 1e-9 else None


def _updated(i: int, k: int, label: str, turned: bool, rate: float) -> Callable[[Context], Array | None]:
    def compute(context: Context) -> Array | None:
        direction = _direction(context, i, k, label, turned)
        return None if direction is None else np.asarray(context.result - rate * direction)

    return compute


def _square(shape: tuple[int, ...]) -> bool:
    return len(shape) >= 2 and shape[-1] == shape[-2]


def _shape(array: Array, turned: bool) -> tuple[int, ...]:
    return (*array.shape[:-2], array.shape[-1], array.shape[-2]) if turned else array.shape


def _turned(graph: GradientGraph, old: Array) -> Array:
    return np.swapaxes(old, -1, -2)


def _product(p: int, k: int, operand: str) -> Any:
    return beside(p, f"{{}} {operand}" if k == 0 else f"{operand} {{}}")
