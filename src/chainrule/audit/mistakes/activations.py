"""Mistakes with elementwise parts of the forward pass: derivatives of activations, dropout masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ...core.op import Array
from ..formulas import region_text
from ..graph import ACTIVATIONS, Change, GradientGraph, Region
from .variants import Context, Text, Variant, evaluated, misplaced, of_shape, siblings

Derivative = Callable[[Context, Region], Array]


class Mistake(NamedTuple):
    """What stands in the place of a derivative: cause, message, text, and its values."""

    cause: str
    message: str
    text: str
    derivative: Derivative


def region_variants(contexts: Sequence[Context]) -> Iterator[Variant]:
    """Yield derivatives of activations that are left out, squared, taken elsewhere or those of another activation."""
    first = contexts[0]
    placed = [k for k in range(len(first.regions)) if _place(first, k) is not None]
    names = first.graph.names_by_id
    groups = [[k] for k in placed]  # one after the other; then all of a kind, as in a loop over layers or time
    by_kind: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for k in placed:
        by_kind.setdefault((first.regions[k].kind, first.regions[k].source.shape), []).append(k)
    groups += [g for g in by_kind.values() if len(g) > 1]
    if len(by_kind) > 1:
        groups.append(placed)
    for group in groups:
        region = first.regions[group[0]]
        if region.kind == "factor" and abs(region.parameter - 1) < 1e-12:
            continue
        z, a = names.get(id(region.source), "Z"), names.get(id(region.target), "A")
        for mistake in _mistakes(region, z, a, first, len(group) > 1):
            spot = _place(first, group[0])
            texts = {spot[1]: _product(spot[0], mistake.text)} if spot is not None and len(group) == 1 else {}
            changes = _with(group, mistake.derivative)
            yield Variant(mistake.cause, mistake.message, evaluated(changes), texts, changes=changes)


def _product(p: int, factor: str) -> Text:
    def write(graph: GradientGraph, inner: Callable[[int], str]) -> str:
        return f"{inner(p)} ⊙ {factor}" if factor else inner(p)

    return write


def _place(context: Context, k: int) -> tuple[int, int] | None:
    """Return where the gradients of a region's target and of its source stand in the graph."""
    p = context.graph.reached.get(id(context.regions[k].target))
    q = context.graph.reached.get(id(context.regions[k].source))
    return None if p is None or q is None or p >= q else (p, q)


def _with(group: Sequence[int], derivative: Derivative) -> Callable[[Context], dict[int, Change] | None]:
    def made(context: Context) -> dict[int, Change] | None:
        changes: dict[int, Change] = {}
        for k in group:
            spot = _place(context, k)
            other = derivative(context, context.regions[k])
            if spot is None or other.shape != context.regions[k].derivative.shape:
                return None
            p, q = spot
            changes[q] = _corrected(p, other - context.regions[k].derivative, changes.get(q))
        return changes

    return made


def _corrected(p: int, difference: Array, earlier: Change | None) -> Change:
    """Return the change that adds (other derivative - right derivative) times the gradient at `p`."""

    def change(graph: GradientGraph, i: int, inputs: list[Array], at: Callable[[int], Array]) -> Array:
        base = earlier(graph, i, inputs, at) if earlier is not None else graph.plain(i, inputs)
        return np.asarray(base + at(p) * difference)

    return change


# -- what may stand in the place of a derivative -----------------------------------------------------------------------


def _source(context: Context, region: Region) -> Array:
    return np.asarray(region.source.value)


def _target(context: Context, region: Region) -> Array:
    return np.asarray(region.target.value)


def _constant(value: float) -> Derivative:
    return lambda context, region: np.full(region.derivative.shape, value)


def _right(context: Context, region: Region) -> Array:
    return region.derivative


def _squared(context: Context, region: Region) -> Array:
    return np.asarray(region.derivative**2)


def _of(function: Callable[[Array], Array], at: Derivative) -> Derivative:
    """Return a function of another array."""
    return lambda context, region: np.asarray(function(at(context, region)))


def _named(name: str) -> Derivative:
    return lambda context, region: context.values[name]


def _signal(name: str) -> Derivative:
    return lambda context, region: context.signals[name]


def _taken_at(at: Derivative) -> Derivative:
    """Return the right derivative, taken at another array."""
    return lambda context, region: region.derivative_at(at(context, region))


def _of_region(k: int) -> Derivative:
    return lambda context, region: context.regions[k].derivative


def _sigmoid_slope(a: Array) -> Array:
    return np.asarray(a * (1 - a))


def _tanh_slope(a: Array) -> Array:
    return np.asarray(1 - a * a)


#: Derivatives that are written with the activation's output.
BY_OUTPUT = {"sigmoid": (_sigmoid_slope, "{0} ⊙ (1 − {0})"), "tanh": (_tanh_slope, "(1 − {0}²)")}


def _mistakes(region: Region, z: str, a: str, context: Context, grouped: bool) -> Iterator[Mistake]:
    if region.kind == "mask":
        yield from _masks(region, z, a, context)
    elif region.kind == "factor":
        yield Mistake("constant-factor", f"the factor {region.parameter:.4g} is left out", "", _constant(1.0))
        yield from _others_for_mask(region, z, a, context)
    else:
        yield from _at_the_wrong_place(region, z, a, grouped)
        yield from _of_another_activation(region, z, a)
        yield from _parts(region, z, a)
        yield from _at_other_values(region, z, a, context)


def _masks(region: Region, z: str, a: str, context: Context) -> Iterator[Mistake]:
    cause, c = "dropout-mask-missing", region.parameter
    yield Mistake(cause, "the dropout mask is not applied to the gradient", "", _constant(1.0))
    if abs(c - 1) > 1e-9:
        yield Mistake(cause, f"the mask is applied without its scale {c:.4g}", "mask", _of(_nonzero, _right))
        yield Mistake(
            cause, "the scale of the dropout is applied without its mask", f"{c:.4g}", _of(_scale_alone, _right)
        )
    yield Mistake(cause, "the scale of the dropout is applied twice", "mask²", _squared)
    yield Mistake("wrong-operand", "another mask is applied than in the forward pass", "another mask", _another_mask)
    yield from _others_for_mask(region, z, a, context)


def _nonzero(mask: Array) -> Array:
    return np.asarray((mask != 0) * 1.0)


def _scale_alone(mask: Array) -> Array:
    return np.full(mask.shape, mask.max())


def _others_for_mask(region: Region, z: str, a: str, context: Context) -> Iterator[Mistake]:
    own = next(
        (
            n
            for n, v in context.values.items()
            if v.shape == region.derivative.shape and _same_zeros(v, region.derivative)
        ),
        "D",
    )
    for name in of_shape(context, region.derivative.shape):
        if name not in (z, a):
            yield Mistake(misplaced(name, own), f"{name} is multiplied in, in place of the mask", name, _named(name))


def _same_zeros(a: Array, b: Array) -> bool:
    return bool(np.array_equal(a != 0, b != 0))


def _another_mask(context: Context, region: Region) -> Array:
    """Return the mask that gives the numbers found, if it is one: zeros and one other value."""
    p = context.graph.reached.get(id(region.target))
    if p is None or context.graph.reached.get(id(region.source)) != len(context.graph.order) - 1:
        return np.zeros(0)
    incoming = np.asarray(context.graph.order[p].value)
    mask = np.where(np.abs(incoming) > 0, context.found.reshape(incoming.shape) / incoming, 0.0)
    others = mask[np.abs(mask) > 1e-9]
    if not others.size or others.size == mask.size or not np.allclose(others, others[0], rtol=1e-7):
        return np.zeros(0)
    return np.asarray(mask)


def label_of(region: Region) -> str:
    """Return how messages call an activation."""
    return {"": "the activation", "leaky_relu": "leaky ReLU"}.get(region.kind, region.kind)


def prime_at(kind: str, at: str) -> str:
    """Return the derivative at a value, as text."""
    return f"1[{at} > 0]" if kind == "relu" else f"{kind or 'f'}'({at})"


def _at_the_wrong_place(region: Region, z: str, a: str, grouped: bool) -> Iterator[Mistake]:
    kind, label = region.kind, label_of(region)
    unnamed = kind in ("", "square", "exp") and z == "Z"
    yield Mistake(
        "missing-factor" if unnamed else "missing-activation-derivative",
        "the derivatives of the activations are left out"
        if grouped
        else f"the derivative of {label} at {z} is left out",
        "",
        _constant(1.0),
    )
    yield Mistake(
        "derivative-applied-twice",
        f"the derivative of {label} is multiplied in twice",
        f"{region_text(region, z, a)}²",
        _squared,
    )
    cause = "derivative-at-activation"
    yield Mistake(
        cause,
        f"the derivative of {label} is taken at {a}, its output, not at {z}",
        prime_at(kind, a),
        _taken_at(_target),
    )
    if kind in BY_OUTPUT:
        slope, text = BY_OUTPUT[kind]
        yield Mistake(
            cause,
            f"the derivative of {label}, written for its output {a}, is taken at {z}",
            text.format(z),
            _of(slope, _source),
        )
        once_more = f"{kind}({a})"
        yield Mistake(
            cause,
            f"the derivative of {label}, written for its output, is taken at {once_more}",
            text.format(once_more),
            _of(slope, _of(ACTIVATIONS[kind][0], _target)),
        )


def _of_another_activation(region: Region, z: str, a: str) -> Iterator[Mistake]:
    kind, label, cause = region.kind, label_of(region), "wrong-activation-derivative"
    for other, (_, derivative) in ACTIVATIONS.items():
        if other != kind:
            message = f"it is the derivative of {other}, but the activation is {label}"
            yield Mistake(cause, message, prime_at(other, z), _of(derivative, _source))
            yield Mistake(cause, message, prime_at(other, a), _of(derivative, _target))
    for other, (slope, text) in BY_OUTPUT.items():
        if other != kind:
            message = f"it is the derivative of {other}, but the activation is {label}"
            yield Mistake(cause, message, text.format(a), _of(slope, _target))
    if kind in ("relu", "leaky_relu", "elu"):
        yield Mistake(cause, f"the derivative of {label} has another slope below zero", f"slope'({z})", _other_slope)
        yield Mistake(cause, f"the mask of {label} is the wrong way round", f"1[{z} < 0]", _of(_negative, _source))


def _negative(z: Array) -> Array:
    return np.asarray((z < 0) * 1.0)


def _one_minus(a: Array) -> Array:
    return np.asarray(1 - a)


def _one_plus_product(a: Array) -> Array:
    return np.asarray(a * (1 + a))


def _one_plus_square(a: Array) -> Array:
    return np.asarray(1 + a * a)


def _parts(region: Region, z: str, a: str) -> Iterator[Mistake]:
    label = label_of(region)
    if region.kind in ("sigmoid", "tanh", "softplus"):
        cause = "wrong-activation-derivative"
        yield Mistake(
            "missing-factor",
            f"a factor of the derivative of {label} is missing",
            f"(1 − {a})",
            _of(_one_minus, _target),
        )
        yield Mistake(
            cause, f"the derivative of {label} has a wrong sign", f"{a} ⊙ (1 + {a})", _of(_one_plus_product, _target)
        )
        yield Mistake(
            cause, f"the derivative of {label} has a wrong sign", f"(1 + {a}²)", _of(_one_plus_square, _target)
        )
    yield Mistake(
        "wrong-activation-derivative", f"{a} itself is multiplied in, not the derivative of {label}", a, _target
    )


def _over_half(x: Array) -> Array:
    return np.asarray((x > 0.5) * 1.0)


def _at_other_values(region: Region, z: str, a: str, context: Context) -> Iterator[Mistake]:
    kind, label = region.kind, label_of(region)
    shape = region.derivative.shape
    names = [n for n in of_shape(context, shape) if n not in (z, a)]

    def cause(name: str) -> str:
        return "wrong-layer" if siblings(name, z) or siblings(name, a) else "wrong-operand"

    for name in names:
        message = f"the derivative of {label} is taken at {name}, not at {z}"
        yield Mistake(cause(name), message, prime_at(kind, name), _taken_at(_named(name)))
        if kind in BY_OUTPUT:
            slope, text = BY_OUTPUT[kind]
            yield Mistake(cause(name), message, text.format(name), _of(slope, _named(name)))
    for k, other in enumerate(context.regions):
        if other.derivative.shape == shape and other is not region and np.ptp(other.derivative) > 0:
            name = context.graph.names_by_id.get(id(other.source), "")
            message = f"the derivative at {name or 'another value'} is multiplied in, not that of {label} at {z}"
            yield Mistake(cause(name), message, region_text(other, name or "Z", "A"), _of_region(k))
    for name in names:
        for activation, (_, derivative) in ACTIVATIONS.items():
            message = f"the derivative of {activation} at {name} is multiplied in, not that of {label} at {z}"
            yield Mistake(cause(name), message, prime_at(activation, name), _of(derivative, _named(name)))
        message = f"the mask {name} > 1/2 is multiplied in, not the derivative of {label} at {z}"
        yield Mistake("wrong-operand", message, f"1[{name} > 1/2]", _of(_over_half, _named(name)))
    for name, array in context.signals.items():
        if array.shape == shape:
            message = f"the derivative of {label} is taken at the gradient {name}, not at {z}"
            yield Mistake("wrong-operand", message, prime_at(kind, name), _taken_at(_signal(name)))


def _other_slope(context: Context, region: Region) -> Array:
    """Fit one slope below zero: it must be the same wherever the signal is not zero."""
    p, q = context.graph.reached.get(id(region.target)), context.graph.reached.get(id(region.source))
    z = np.asarray(region.source.value)
    if p is None or q != len(context.graph.order) - 1:
        return np.zeros(0)
    incoming = np.asarray(context.graph.order[p].value)
    clear = np.abs(incoming) > 1e-3 * np.max(np.abs(incoming))
    below, above = clear & (z < 0), clear & (z > 0)
    if not below.any() or not above.any():
        return np.zeros(0)
    found = context.found.reshape(z.shape)
    top = float(np.median(found[above] / incoming[above])) or 1.0
    return np.where(z > 0, 1.0, float(np.median(found[below] / incoming[below])) / top)
