"""Mistakes with a gradient as a whole: transposed, with another factor on top, with multiples of the parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ...core.op import Array
from ..formulas import region_text
from ..graph import ACTIVATIONS, GradientGraph
from .activations import label_of
from .variants import Compute, Context, Variant, of_shape, ratio

At = Callable[[int], Array]


def result_variants(contexts: Sequence[Context]) -> Iterator[Variant]:
    """Yield the right result transposed, with another factor on top, or with another step's gradient upstream."""
    first = contexts[0]
    base = first.result
    if base.ndim == 1 or (base.ndim == 2 and 1 in base.shape):
        message = "the gradient is summed over the units too"
        yield Variant("bias-all-summed", message, lambda c: np.full(c.found.shape, np.sum(c.result)))
        yield Variant("bias-all-summed", message, lambda c: np.asarray(np.sum(c.result)))
    if base.ndim == 2:
        yield Variant("transposed", "the result is transposed", lambda c: c.result.T)
    yield from _more_derivatives(first, base)
    yield from _label_variants(first, base)
    if first.graph.name in first.point.nodes and base.ndim:
        yield from _more_factors(first, base)
    yield from _other_signals(first, base)


def _times(factor: Callable[[Context], Array]) -> Compute:
    return lambda context: np.asarray(context.result * factor(context))


def _more_derivatives(first: Context, base: Array) -> Iterator[Variant]:
    graph = first.graph
    for k, region in enumerate(first.regions):
        if region.derivative.shape != base.shape or region.kind == "factor":
            continue
        z, a = graph.names_by_id.get(id(region.source), "Z"), graph.names_by_id.get(id(region.target), "A")
        here = id(region.source) in graph.reached or region.source is first.point.nodes.get(graph.name)
        compute = _times(_derivative_of(k))
        if region.kind == "mask":
            cause = "derivative-applied-twice" if here else "wrong-operand"
            yield Variant(cause, f"the mask of {a} is multiplied in once too often", compute)
            continue
        where = "once more; it is contained in the rest already" if here else "which does not belong to this step"
        message = f"the derivative of {label_of(region)} at {z} is multiplied in {where}"
        yield Variant("derivative-applied-twice", message, compute, formula="× " + region_text(region, z, a))


def _derivative_of(k: int) -> Callable[[Context], Array]:
    return lambda context: context.regions[k].derivative


def _more_factors(first: Context, base: Array) -> Iterator[Variant]:
    z = first.graph.name
    twice = "derivative-applied-twice"
    for activation, (_, derivative) in ACTIVATIONS.items():
        yield Variant(
            twice,
            f"the derivative of {activation} at {z} is multiplied in as well",
            _times(_function_of(z, derivative)),
            formula=f"× {activation}'({z})",
        )
    for name in of_shape(first, base.shape):
        yield Variant(
            twice,
            f"{name}(1 − {name}) is multiplied in as well",
            _times(_function_of(name, lambda a: a * (1 - a))),
            formula=f"× {name}(1 − {name})",
        )
        yield Variant(
            "wrong-operand",
            f"{name} is multiplied in as well",
            _times(_function_of(name, lambda a: a)),
            formula=f"× {name}",
        )


def _function_of(name: str, function: Callable[[Array], Array]) -> Callable[[Context], Array]:
    return lambda context: function(context.values[name])


def _label_variants(first: Context, base: Array) -> Iterator[Variant]:
    """Yield results in which the elements of the true classes are left out, or are all that is left."""
    if base.ndim != 2:
        return
    for name, labels in first.point.constants.items():
        if labels.dtype.kind not in "iu" or labels.size not in base.shape:
            continue
        axis = 1 if labels.size == base.shape[0] else 0
        yield Variant(
            "missing-term",
            f"the elements of the true classes ({name}) are zero: their part is left out",
            _classes(name, axis, kept=False),
        )
        yield Variant(
            "missing-term", f"only the elements of the true classes ({name}) are there", _classes(name, axis, kept=True)
        )


def _classes(name: str, axis: int, *, kept: bool) -> Compute:
    def compute(context: Context) -> Array | None:
        hit = np.zeros(context.result.shape, bool)
        np.put_along_axis(hit, np.expand_dims(context.point.constants[name].ravel(), axis), True, axis)
        return np.where(hit == kept, context.result, 0.0)

    return compute


def _other_signals(first: Context, base: Array) -> Iterator[Variant]:
    graph = first.graph
    for seed, i in graph.seeds.items():
        own = first.point.keys.get(seed, "d" + seed)
        for name, array in first.signals.items():
            if array.shape == graph.order[i].shape and name != own:
                yield Variant("wrong-operand", f"it is computed from {name}, not from {own}", _from_signal(seed, name))
    for name, array in first.signals.items():
        if array.shape == base.shape:
            yield Variant("wrong-operand", f"it is {name}, unchanged", _signal(name), formula=name)


def _signal(name: str) -> Compute:
    return lambda context: context.signals[name]


def _from_signal(seed: str, name: str) -> Compute:
    def instead(graph: GradientGraph, i: int, inputs: list[Array], at: At) -> Array:
        return graph.values[name]

    return lambda context: context.graph.evaluated({context.graph.seeds[seed]: instead})


# -- multiples of the parameter, by least squares ----------------------------------------------------------------------


def linear_variants(contexts: Sequence[Context]) -> Iterator[Variant]:
    """Yield the result plus a multiple of the parameter: regularisation left out, doubled, or where none belongs."""
    first = contexts[0]
    name = first.graph.name
    if name not in first.point.values or not first.shape:
        return
    message = f"another penalty on {name} than the loss has is derived"
    yield Variant("wrong-regularization", message, _two_penalties)
    for text, of in ((name, _itself), (f"sign({name})", _sign)):
        added = [_added(c, of) for c in contexts]
        if any(t is None for t in added):
            continue
        right = [_multiple(c, of) for c in contexts]
        cause, message = _penalty_cause(name, text, [t or 0.0 for t in added], right, first)
        yield Variant(cause, message, _with_penalty(of))


def _itself(weights: Array) -> Array:
    return weights


def _sign(weights: Array) -> Array:
    return np.sign(weights)


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


def _with_penalty(of: Callable[[Array], Array]) -> Compute:
    def compute(context: Context) -> Array | None:
        t = _added(context, of)
        return None if t is None else np.asarray(context.result + t * of(_weights(context)))

    return compute


def _penalty_cause(
    name: str, text: str, added: Sequence[float], right: Sequence[float], first: Context
) -> tuple[str, str]:
    total = [t + r for t, r in zip(added, right, strict=True)]
    if all(abs(r) < 1e-12 for r in right):
        shape = np.shape(first.point.values[name])
        bias = len(shape) < 2 or 1 in shape or name.startswith("b")
        message = f"{total[0]:.4g} · {text} is added, but the loss does not regularise {name}"
        return ("regularized-bias" if bias else "wrong-regularization"), message
    if all(abs(t) <= 1e-7 * abs(r) for t, r in zip(total, right, strict=True)):
        return "missing-regularization", f"the gradient of the regularisation, {right[0]:.4g} · {text}, is left out"
    message = f"the regularisation adds {total[0]:.4g} · {text}, the loss asks for {right[0]:.4g} · {text}"
    return "wrong-regularization", message + (f": {total[0] / right[0]:.4g} times as much" if right[0] else "")


def _two_penalties(context: Context) -> Array | None:
    """Return the result with a multiple of W and one of sign(W) added that fit best, if both are needed."""
    weights = _weights(context)
    if context.result.shape != context.found.shape or weights.size < 4:
        return None
    design = np.stack([weights.ravel(), np.sign(weights).ravel()], axis=1)
    solution, *_ = np.linalg.lstsq(design, (context.found - context.result).ravel(), rcond=None)
    if np.min(np.abs(solution)) < 1e-9:
        return None
    return np.asarray(context.result + (design @ solution).reshape(context.result.shape))


def _multiple(context: Context, of: Callable[[Array], Array]) -> float:
    """Return r where r · of(W) is the part of the gradient that comes from the regularisation; 0 if there is none."""
    weights, graph = of(_weights(context)), context.graph
    for i, node in enumerate(graph.order):
        value = np.asarray(node.value)
        if value.shape == weights.shape and value.size > 1 and _only_added(graph, i):
            c = ratio(value, weights, 1e-10)
            if c is not None:
                return c
    return 0.0


def penalty_in(graph: GradientGraph) -> tuple[int, str] | None:
    """Return, for a gradient that is the sum of c · W and another part, the other part's place, and "+ c · W"."""
    i = len(graph.order) - 1
    weights = np.asarray(graph.point.values.get(graph.name, 0.0), np.float64)
    while (op := graph.order[i].op) is not None and op.name in ("cast", "identity", "reshape"):
        i = graph.dependent(i)[0] or 0
    if op is None or op.name != "add" or weights.size < 2:
        return None
    a, b = graph.dependent(i)
    for part, other in ((a, b), (b, a)):
        if part is None or other is None or graph.order[part].shape != weights.shape:
            continue
        c = ratio(np.asarray(graph.order[part].value), weights, 1e-10)
        if c is not None:
            return other, f" {'−' if c < 0 else '+'} {abs(c):.4g} · {graph.name}"
    return None


def _only_added(graph: GradientGraph, i: int) -> bool:
    """Whether a node reaches the result through additions alone."""
    last = len(graph.order) - 1
    while i != last:
        if len(graph.users[i]) != 1:
            return False
        (i,) = graph.users[i]
        op = graph.order[i].op
        if op is None or op.name != "add":
            return False
    return True
