"""Mistakes at single places of a gradient graph: factors, terms, operands, axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ...core.op import Array
from ..graph import Change, GradientGraph
from .results import penalty_in
from .variants import Compute, Context, Text, Variant, at_site, misplaced, number

At = Callable[[int], Array]
LARGEST_GRAPH = 400


def site_variants(contexts: Sequence[Context]) -> Iterator[Variant]:
    """Yield products with a factor left out or exchanged, sums without a term, other axes, transposed operands."""
    graph = contexts[0].graph
    if len(graph.order) > LARGEST_GRAPH:
        return
    same = all(c.graph.structure() == graph.structure() for c in contexts)
    counts: dict[tuple[Any, ...], int] = {}
    for i, node in enumerate(graph.order):
        if node.op is not None:
            counts[_signature(graph, i)] = counts.get(_signature(graph, i), 0) + 1
    repeated: dict[tuple[Any, str], Variant] = {}
    for i, node in enumerate(graph.order):
        if node.op is None:
            continue
        signature = _signature(graph, i)
        for variant in _at(contexts[0], i):
            if same or variant.change is None:
                yield variant
            if variant.change is not None and (counts[signature] > 1 or not same):
                repeated.setdefault((signature, variant.message), variant)
    for (signature, _), variant in repeated.items():  # the same at all places of a kind: loops over time or examples
        assert variant.change is not None
        yield Variant(variant.cause, variant.message, _everywhere(variant.change, signature))


def _signature(graph: GradientGraph, i: int) -> tuple[Any, ...]:
    """Return what places that come from the same line of a loop have in common."""
    node = graph.order[i]
    assert node.op is not None
    others = []
    for x, p in zip(node.inputs, graph.dependent(i), strict=True):
        made_by = x.op.name if x.op is not None else graph.names_by_id.get(id(x), "leaf")
        others.append("*" if p is not None else made_by)
    return (node.op.name, len(node.shape), *others)


def _everywhere(change: Change, signature: tuple[Any, ...]) -> Compute:
    def compute(context: Context) -> Array | None:
        graph = context.graph
        places = [i for i, n in enumerate(graph.order) if n.op is not None and _signature(graph, i) == signature]
        return graph.evaluated(dict.fromkeys(places, change)) if places else None

    return compute


def _at(context: Context, i: int) -> Iterator[Variant]:
    graph = context.graph
    op = graph.order[i].op
    assert op is not None
    dependent = [k for k, p in enumerate(graph.dependent(i)) if p is not None]
    if op.name in ("add", "subtract") and len(dependent) == 2:
        yield from _terms(graph, i, op.name)
    elif op.name in ("multiply", "divide", "where") and len(dependent) == 1:
        yield from _factors(context, i, dependent[0], op.name)
    elif op.name == "matmul" and len(dependent) == 1:
        yield from _operands(context, i, dependent[0])
    elif op.name == "sum":
        yield from _axes(graph, i)
    elif op.name == "scatter_add":
        message = "values written to the same place replace each other instead of adding up"
        yield at_site("missing-term", message, i, _assigned)
    elif op.name == "transpose" and len(set(graph.order[i].shape)) < len(graph.order[i].shape):
        yield at_site("transposed", "a transpose is missing", i, _kept(0))
    elif op.name == "negative":
        yield at_site("sign", "a minus is missing", i, _kept(0))


# -- changes -----------------------------------------------------------------------------------------------------------


def _kept(k: int, factor: float = 1.0) -> Change:
    """Return the change that leaves one input alone."""

    def change(graph: GradientGraph, i: int, inputs: list[Array], at: At) -> Array:
        return np.asarray(factor * np.broadcast_to(inputs[k], np.broadcast_shapes(*(x.shape for x in inputs))))

    return change


def _assigned(graph: GradientGraph, i: int, inputs: list[Array], at: At) -> Array:
    attrs = graph.order[i].attrs
    out = np.zeros(attrs["shape"])
    out[tuple(inputs[1 + part] if isinstance(part, int) else part for part in attrs["index"])] = inputs[0]
    return out


def _input(k: int, make: Callable[[GradientGraph, Array], Array]) -> Change:
    """Return the change that exchanges input `k`."""

    def change(graph: GradientGraph, i: int, inputs: list[Array], at: At) -> Array:
        return graph.plain(i, [make(graph, x) if j == k else x for j, x in enumerate(inputs)])

    return change


def _value(name: str, turned: bool = False) -> Callable[[GradientGraph, Array], Array]:
    """Return what takes the place of an operand: a value by name."""
    return lambda graph, old: np.swapaxes(graph.values[name], -1, -2) if turned else graph.values[name]


def _turned(graph: GradientGraph, old: Array) -> Array:
    return np.swapaxes(old, -1, -2)


def _inner(p: int) -> Text:
    return lambda graph, inner: inner(p)


# -- sums --------------------------------------------------------------------------------------------------------------


def _terms(graph: GradientGraph, i: int, name: str) -> Iterator[Variant]:
    sign = 1.0 if name == "add" else -1.0
    a, b = graph.dependent(i)
    assert a is not None and b is not None
    penalty = penalty_in(graph) if i == len(graph.order) - 1 else None
    for kept, k, weight in ((a, 0, 1.0), (b, 1, sign)):
        cause, message = "missing-term", "a term of the sum is left out: a second path to the loss"
        if penalty is not None and penalty[0] == kept:
            cause, message = (
                "missing-regularization",
                f"the gradient of the regularisation,{penalty[1][2:]}, is left out",
            )
        yield at_site(cause, message, i, _kept(k, weight), _inner(kept))
    yield at_site("sign", "a term of the sum has the wrong sign", i, _weighted(1.0, -sign))
    yield at_site("sign", "a term of the sum has the wrong sign", i, _weighted(-1.0, sign))


def _weighted(a: float, b: float) -> Change:
    def change(graph: GradientGraph, i: int, inputs: list[Array], at: At) -> Array:
        return np.asarray(a * inputs[0] + b * inputs[1])

    return change


def _axes(graph: GradientGraph, i: int) -> Iterator[Variant]:
    axis, p = graph.order[i].attrs["axis"], graph.dependent(i)[0]
    assert p is not None
    ndim = len(graph.order[i].inputs[0].shape)
    cause = "bias-not-summed"
    yield at_site(cause, "the gradient is not summed over the examples", i, _kept(0), _inner(p))
    for j in range(ndim):
        if (j,) != axis:
            yield at_site(cause, "the gradient is summed over the wrong axis", i, _summed((j,)))
    if ndim > 1 and axis != tuple(range(ndim)):
        everything = "the gradient is summed over the units too"
        yield at_site("bias-all-summed", everything, i, _summed(None))
        yield at_site("bias-all-summed", everything, i, _summed(None, spread=True))
    for j in range(ndim):
        for which, k in (("one", 0), ("the last", -1)):
            yield at_site(cause, f"the gradient of {which} example is taken, not the sum over all", i, _one_of(j, k))


def _summed(axis: tuple[int, ...] | None, *, spread: bool = False) -> Change:
    def change(graph: GradientGraph, i: int, inputs: list[Array], at: At) -> Array:
        total = np.asarray(np.sum(inputs[0], axis=axis))
        return np.full(graph.order[i].shape, total) if spread else total

    return change


def _one_of(axis: int, index: int) -> Change:
    def change(graph: GradientGraph, i: int, inputs: list[Array], at: At) -> Array:
        return np.asarray(np.take(inputs[0], index, axis=axis))

    return change


# -- products ----------------------------------------------------------------------------------------------------------


def _factors(context: Context, i: int, k: int, name: str) -> Iterator[Variant]:
    graph = context.graph
    node = graph.order[i]
    p = graph.dependent(i)[k]
    assert p is not None
    left_out = _inner(p)
    if name == "where":
        yield at_site("missing-factor", "a mask is left out", i, _kept(k), left_out)
        return
    factor = node.inputs[1 - k]
    value = np.asarray(factor.value)
    label = graph.names_by_id.get(id(factor), "")
    if value.size == 1:
        text = number(value.ravel()[0]) if name == "multiply" else f"1/{number(value.ravel()[0])}"
        if abs(abs(float(value.ravel()[0])) - 1) > 1e-12:
            yield at_site("constant-factor", f"the factor {text} is left out", i, _kept(k), left_out)
        return
    yield from _parts_of(graph, i, k, factor)
    constant = factor.op is None and id(factor) in graph.forward and label == ""
    mask = constant and (value == 0).any() and np.unique(np.round(value, 12)).size == 2
    yield at_site(
        "dropout-mask-missing" if mask else "missing-factor",
        f"the factor {label} is left out" if label else "a factor of the product is left out",
        i,
        _kept(k),
        left_out,
    )
    what = label or "a factor"
    if name == "multiply":
        yield at_site("wrong-operand", f"multiplied by {what} squared", i, _input(1 - k, lambda graph, old: old**2))
    else:
        yield at_site("missing-factor", f"multiplied by {what} where it should be divided", i, _multiplied)
    for other in [*context.values, *context.signals]:
        if other != label and graph.values[other].shape == value.shape:
            yield at_site(
                misplaced(other, label),
                f"{other} stands where {label or 'another value'} should",
                i,
                _input(1 - k, _value(other)),
                _times(p, other) if name == "multiply" else None,
            )


def _multiplied(graph: GradientGraph, i: int, inputs: list[Array], at: At) -> Array:
    return np.asarray(inputs[0] * inputs[1])


def _times(p: int, name: str) -> Text:
    return lambda graph, inner: f"{inner(p)} ⊙ {name}"


def _parts_of(graph: GradientGraph, i: int, k: int, factor: Any) -> Iterator[Variant]:
    """Yield a product with a factor like (P − Y) of which a term is left out."""
    if factor.op is None or factor.op.name not in ("add", "subtract") or id(factor) in graph.names_by_id:
        return
    for j in (0, 1):
        left, kept = factor.inputs[j], factor.inputs[1 - j]
        if kept.size > 1:
            what = graph.names_by_id.get(id(left), "")
            message = f"the term {what} is left out" if what else "a term is left out"
            sign = -1.0 if j == 0 and factor.op.name == "subtract" else 1.0
            yield at_site("missing-term", message, i, _input(1 - k, _input_of_factor(i, 1 - k, 1 - j, sign)))


def _input_of_factor(i: int, k: int, j: int, sign: float) -> Callable[[GradientGraph, Array], Array]:
    def make(graph: GradientGraph, old: Array) -> Array:
        return np.broadcast_to(sign * np.asarray(graph.order[i].inputs[k].inputs[j].value), old.shape)

    return make


def _operands(context: Context, i: int, k: int) -> Iterator[Variant]:
    graph = context.graph
    node = graph.order[i]
    value, upstream = np.asarray(node.inputs[1 - k].value), np.asarray(node.inputs[k].value)
    flipped, label = _base_name(graph, node.inputs[1 - k])
    p = graph.dependent(i)[k]
    assert p is not None
    if _square(upstream):
        message = "the gradient from upstream is transposed in the product, or should be"
        yield at_site("transposed", message, i, _input(k, _turned))
    if _square(value):
        message = f"{label or 'an operand'} {'is not transposed' if flipped else 'is transposed'}"
        written = _beside(p, k, label + ("" if flipped else "ᵀ"))
        yield at_site("transposed", message, i, _input(1 - k, _turned), written)
    if value.shape == upstream.shape:
        yield at_site("transposed", "the operands of the product are exchanged", i, _exchanged)
    for name, array in context.values.items():
        if array.ndim < 2 or not np.any(array):
            continue
        for turned in (flipped, not flipped):
            if _shape(array, turned) == value.shape and name != label:
                yield at_site(
                    misplaced(name, label),
                    f"{name} stands where {label or 'another value'} should",
                    i,
                    _input(1 - k, _value(name, turned)),
                    _beside(p, k, name + ("ᵀ" if turned else "")),
                )
    for name, array in context.signals.items():
        for turned in (False, True):
            if array.ndim >= 2 and _shape(array, turned) == upstream.shape:
                message = f"{name} stands where the gradient upstream should"
                yield at_site("wrong-operand", message, i, _input(k, _value(name, turned)))
    if label in context.point.values:
        yield _updated(i, k, label, flipped)


def _square(array: Array) -> bool:
    return array.ndim >= 2 and array.shape[-1] == array.shape[-2]


def _shape(array: Array, turned: bool) -> tuple[int, ...]:
    return (*array.shape[:-2], array.shape[-1], array.shape[-2]) if turned else array.shape


def _exchanged(graph: GradientGraph, i: int, inputs: list[Array], at: At) -> Array:
    return np.asarray(np.matmul(inputs[1], inputs[0]))


def _beside(p: int, k: int, operand: str) -> Text:
    return lambda graph, inner: f"{inner(p)} {operand}" if k == 0 else f"{operand} {inner(p)}"


def _base_name(graph: GradientGraph, node: Any) -> tuple[bool, str]:
    """Return (whether it is transposed, the name) of an operand."""
    flipped = False
    while id(node) not in graph.names_by_id and node.op is not None and node.op.name == "transpose":
        flipped = not flipped
        node = node.inputs[0]
    return flipped, graph.names_by_id.get(id(node), "")


def _updated(i: int, k: int, label: str, flipped: bool) -> Variant:
    """Return the step with the weights after an update by their own gradient; the size of the step is fitted."""
    rates: list[float] = []

    def compute(context: Context) -> Array | None:
        update = context.point.gradients.get(label)
        if update is None or np.shape(update) != np.shape(context.point.values[label]):
            return None
        step = np.asarray(update, np.float64)

        def instead(graph: GradientGraph, old: Array) -> Array:
            return np.swapaxes(step, -1, -2) if flipped else step

        direction = context.graph.evaluated({i: _input(1 - k, instead)})
        design = np.stack([context.result.ravel(), direction.ravel()], axis=1)
        solution, *_ = np.linalg.lstsq(design, context.found.ravel(), rcond=None)
        rate = -float(solution[1] / solution[0]) if solution[0] else 0.0
        rates.append(rate)
        if abs(rate) < 1e-9 or not np.allclose(rates, rates[0], rtol=1e-4):
            return None
        variant.message = f"{label} is taken after its update, with a step of {rate:.4g}"
        return np.asarray(context.result - rate * direction)

    variant = Variant("updated-weights", f"{label} is taken after its update", compute)
    return variant
