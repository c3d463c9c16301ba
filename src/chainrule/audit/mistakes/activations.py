"""Derivatives of activations and masks: left out, taken at another array, those of another activation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core.op import Array
from ...core.tensor import Recording, Tensor
from ..formulas import region_text
from ..graph import At, Change, GradientGraph
from ..regions import MULTIPLY, Activation, Region, activations, usual_activations
from .alterations import FACTOR, alterations, altered, parts
from .general import MissingFactor, WrongLayer, WrongOperand
from .scaling import ConstantFactor
from .table import Cause, mistake
from .variants import Changes, Context, Variant, beside, changed, inner, number, siblings

Derivative = Callable[[Context, Region], Array]


class MissingActivationDerivative(Cause):
    """The derivative of the activation is left out.

    Wrong
    -----
        dZ1 = dA1  # wrong

    Right
    -----
        dZ1 = dA1 * (1 - cache["A1"] ** 2)

    How it shows
    ------------
    Yours is the upstream gradient unchanged; the ratio to the right one differs from entry to entry, and is 1
    divided by the activation's derivative: largest where the unit is saturated.

    Why it is wrong
    ---------------
    `A1 = tanh(Z1)`, so a nudge of Z1 moves A1 by `tanh′(Z1)`: `dZ1 = dA1 ⊙ tanh′(Z1)`.
    """

    code = "missing-activation-derivative"


class DerivativeAtActivation(Cause):
    """The derivative of the activation is taken at its output A, not at its input Z.

    Wrong
    -----
        def dtanh(Z):
            return 1 - np.tanh(Z) ** 2

        dZ1 = dA1 * dtanh(cache["A1"])  # wrong

    Right
    -----
        dZ1 = dA1 * dtanh(cache["Z1"])

    How it shows
    ------------
    Right near 0, where `tanh(Z) ≈ Z`, and worse the larger |Z| is. With small first weights a gradient check at the
    start of training nearly passes.

    Why it is wrong
    ---------------
    `dtanh` is a function of the pre-activation: `dA1/dZ1 = tanh′(Z1)`. What takes A1 is the short form `1 − A1²`,
    which has no tanh in it; mixing the two gives `1 − tanh(A1)²`.
    """

    code = "derivative-at-activation"


class DerivativeAppliedTwice(Cause):
    """The derivative of the activation is multiplied in twice.

    Wrong
    -----
        dZ1 = dA1 * (1 - cache["A1"] ** 2) ** 2  # wrong

    Right
    -----
        dZ1 = dA1 * (1 - cache["A1"] ** 2)

    How it shows
    ------------
    The ratio of yours to the right one is the activation's derivative, entry by entry: never above 1 for tanh.
    Signals vanish with depth much faster than they should.

    Why it is wrong
    ---------------
    One activation lies between Z1 and A1, so its derivative occurs once: `dZ1 = dA1 ⊙ (1 − A1²)`.

    Notes
    -----
    It is seldom written as plainly as here. More often one factor is in a helper and one at the call, or the
    output's error signal gets it: with sigmoid and cross entropy, `A − Y` is dZ already, and `(A − Y) * A * (1 -
    A)` has it twice.
    """

    code = "derivative-applied-twice"


class WrongActivationDerivative(Cause):
    """It is the derivative of another activation.

    Wrong
    -----
        dZ1 = dA1 * cache["A1"] * (1 - cache["A1"])  # wrong

    Right
    -----
        dZ1 = dA1 * (1 - cache["A1"] ** 2)

    How it shows
    ------------
    Yours is the upstream gradient times a derivative, but that of another activation: here the sigmoid's. With
    tanh, even signs are wrong, wherever A1 < 0.

    Why it is wrong
    ---------------
    `A (1 − A)` is σ′ in terms of σ. For tanh: `tanh′ = 1 − tanh²`, that is `1 − A²`.
    """

    code = "wrong-activation-derivative"


class DropoutMaskMissing(Cause):
    """The dropout mask of the forward pass, or its scale, is not applied to the gradient.

    Wrong
    -----
        def forward(X, P):
            Z1 = X @ P["W1"] + P["b1"]
            A1 = np.tanh(Z1)
            mask = (np.random.default_rng(1).random(A1.shape) < 0.8) / 0.8
            D1 = A1 * mask
            Z2 = D1 @ P["W2"] + P["b2"]
            return {"A0": X, "Z1": Z1, "A1": A1, "mask": mask, "D1": D1, "Z2": Z2}


        def backward(cache, Y, P):
            m = len(Y)
            dZ2 = cache["Z2"] - Y
            dW2 = cache["D1"].T @ dZ2 / m
            db2 = dZ2.sum(axis=0) / m
            dD1 = dZ2 @ P["W2"].T
            dA1 = dD1  # wrong
            dZ1 = dA1 * (1 - cache["A1"] ** 2)
            dW1 = cache["A0"].T @ dZ1 / m
            db1 = dZ1.sum(axis=0) / m
            return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dD1": dD1, "dA1": dA1, "dZ1": dZ1, "dW1": dW1, "db1": db1}

    Right
    -----
        dA1 = dD1 * cache["mask"]

    How it shows
    ------------
    Wrong where a unit was dropped (yours is not 0 there) and 0.8 times the right one elsewhere. If only the scale
    was forgotten, the zeros are right and the rest is not.

    Why it is wrong
    ---------------
    `D1 = A1 ⊙ mask`, hence `dA1 = dD1 ⊙ mask`, with the very mask of the forward pass, its 1/0.8 included.
    """

    code = "dropout-mask-missing"


# -- where they are ----------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """An elementwise region that the gradient goes through, or all regions of a kind at once."""

    context: Context
    regions: list[int]
    region: Region
    z: str
    a: str

    @property
    def label(self) -> str:
        """How messages call the activation."""
        return label_of(self.region)

    def with_derivative(self, derivative: Derivative, text: str, **words: Any) -> Variant:
        """Return the gradient with another derivative in place of the right one."""
        spot = _spot(self.context, self.regions[0])
        texts = {}
        if spot is not None and len(self.regions) == 1:
            texts = {spot[1]: beside(spot[0], f"{{}} ⊙ {text}") if text else inner(spot[0])}
        given = {"label": self.label, "z": self.z, "a": self.a, **words}
        return changed(spot[1] if spot is not None else 0, _with(self.regions, derivative), texts, **given)


def _places(context: Context, wanted: Callable[[Region], bool]) -> Iterator[Place]:
    """Yield the regions one after the other; then all of a kind, as in a loop over layers or time; then all."""
    names = context.graph.names_by_id
    singles = [k for k, r in enumerate(context.regions) if _spot(context, k) is not None]
    by_kind: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for k in singles:
        by_kind.setdefault((context.regions[k].kind, context.regions[k].source.shape), []).append(k)
    groups = [[k] for k in singles] + [g for g in by_kind.values() if len(g) > 1]
    for group in [*groups, singles] if len(by_kind) > 1 else groups:
        region = context.regions[group[0]]
        if wanted(region):
            z, a = names.get(id(region.source), "Z"), names.get(id(region.target), "A")
            yield Place(context, group, region, z, a)


def _is_mask(region: Region) -> bool:
    return region.kind == "mask"


def _is_factor(region: Region) -> bool:
    return region.kind == "factor" and abs(region.parameter - 1) > 1e-12


def _is_activation(region: Region) -> bool:
    return region.kind not in ("mask", "factor")


def _spot(context: Context, k: int) -> tuple[int, int] | None:
    """Return where the gradients of a region's target and of its source are in the graph."""
    p = context.graph.reached.get(id(context.regions[k].target))
    q = context.graph.reached.get(id(context.regions[k].source))
    return None if p is None or q is None or p >= q else (p, q)


def _with(group: Sequence[int], derivative: Derivative) -> Changes:
    def made(context: Context) -> dict[int, Change] | None:
        changes: dict[int, Change] = {}
        for k in group:
            spot, region = _spot(context, k), context.regions[k]
            other = derivative(context, region)
            if spot is None or other.shape != region.derivative.shape:
                return None
            p, q = spot
            changes[q] = _corrected(p, other - region.derivative, changes.get(q))
        return changes

    return made


def _corrected(p: int, difference: Array, earlier: Change | None) -> Change:
    """Return the change that adds (other derivative - right derivative) times the gradient at `p`."""

    def change(graph: GradientGraph, i: int, inputs: list[Array], at: At) -> Array:
        base = earlier(graph, i, inputs, at) if earlier is not None else graph.plain(i, inputs)
        return np.asarray(base + at(p) * difference)

    return change


# -- what may be taken for a derivative --------------------------------------------------------------------------------


def _constant(value: float) -> Derivative:
    return lambda context, region: np.full(region.derivative.shape, value)


def _squared(context: Context, region: Region) -> Array:
    return np.asarray(region.derivative**2)


def _z(context: Context, region: Region) -> Array:
    return region.z


def _a(context: Context, region: Region) -> Array:
    return region.a


def _named(name: str) -> Derivative:
    return lambda context, region: context.values[name] if name in context.values else context.signals[name]


def _slope(of: Activation, at: Derivative) -> Derivative:
    """Return the derivative of an activation, at another array."""

    def derivative(context: Context, region: Region) -> Array:
        z = at(context, region)
        return np.asarray(context.once((of.name, id(z)), lambda: (z, of.slope(z)))[1])  # z kept: ids stay valid

    return derivative


def _by_output(of: Activation, at: Derivative) -> Derivative:
    """Return the derivative of an activation, another array taken for its output."""

    def derivative(context: Context, region: Region) -> Array:
        slope = of.slope_by_output(at(context, region))
        return np.zeros(0) if slope is None else slope

    return derivative


def _taken_at(at: Derivative) -> Derivative:
    """Return the region's own derivative, taken at another array."""

    def derivative(context: Context, region: Region) -> Array:
        z = at(context, region)
        return np.asarray(context.once((id(region), id(z)), lambda: (z, region.derivative_at(z)))[1])

    return derivative


def label_of(region: Region) -> str:
    """Return how messages call an activation."""
    return {"": "the activation", "leaky_relu": "leaky ReLU"}.get(region.kind, region.kind)


def prime_at(kind: str, at: str) -> str:
    """Return the derivative at a value, as text."""
    return f"{kind or 'f'}'({at})"


# -- masks and factors -------------------------------------------------------------------------------------------------


@mistake(DropoutMaskMissing, "the dropout mask is not applied to the gradient")
def _mask_left_out(context: Context) -> Iterator[Variant]:
    for place in _places(context, _is_mask):
        yield place.with_derivative(_constant(1.0), "")


@mistake(DropoutMaskMissing, "the mask is applied without its scale {scale}")
def _mask_without_scale(context: Context) -> Iterator[Variant]:
    for place in _places(context, _is_mask):
        if abs(place.region.parameter - 1) > 1e-9:
            scale = number(place.region.parameter)
            yield place.with_derivative(lambda c, r: (r.derivative != 0) * 1.0, "mask", scale=scale)


@mistake(DropoutMaskMissing, "the scale {scale} of the dropout is applied without its mask")
def _scale_without_mask(context: Context) -> Iterator[Variant]:
    for place in _places(context, _is_mask):
        if abs(place.region.parameter - 1) > 1e-9:
            scale = number(place.region.parameter)
            yield place.with_derivative(lambda c, r: np.full(r.z.shape, r.derivative.max()), scale, scale=scale)


@mistake(DropoutMaskMissing, "the scale of the dropout is applied twice")
def _scale_twice(context: Context) -> Iterator[Variant]:
    for place in _places(context, _is_mask):
        yield place.with_derivative(_squared, "mask²")


@mistake(WrongOperand, "another mask is applied than in the forward pass")
def _another_mask(context: Context) -> Iterator[Variant]:
    for place in _places(context, _is_mask):
        yield place.with_derivative(_fitted_mask, "another mask")


def _fitted_mask(context: Context, region: Region) -> Array:
    """Return the mask that gives the numbers found, if it is one: zeros and one other value."""
    graph = context.graph
    p = graph.reached.get(id(region.target))
    if p is None or graph.reached.get(id(region.source)) != len(graph.order) - 1:
        return np.zeros(0)
    incoming = np.asarray(graph.order[p].value)
    mask = np.where(np.abs(incoming) > 0, context.found.reshape(incoming.shape) / incoming, 0.0)
    others = mask[np.abs(mask) > 1e-9]
    if not others.size or others.size == mask.size or not np.allclose(others, others[0], rtol=1e-7):
        return np.zeros(0)
    return np.asarray(mask)


@mistake(ConstantFactor, "the factor {factor} is left out")
def _factor_left_out(context: Context) -> Iterator[Variant]:
    for place in _places(context, _is_factor):
        yield place.with_derivative(_constant(1.0), "", factor=number(place.region.parameter))


@mistake(WrongOperand, "{name} is multiplied in, in place of the mask")
def _other_value_for_mask(context: Context) -> Iterator[Variant]:
    for place in _places(context, lambda r: _is_mask(r) or _is_factor(r)):
        kept = place.region.derivative != 0
        own = next(
            (n for n, v in context.values.items() if v.shape == kept.shape and np.array_equal(v != 0, kept)), "D"
        )
        for name in context.names(place.region.derivative.shape):
            if name not in (place.z, place.a):
                variant = place.with_derivative(_named(name), name, name=name)
                variant.cause = WrongLayer.code if siblings(name, own) else ""
                yield variant


# -- activations -------------------------------------------------------------------------------------------------------


@mistake(MissingActivationDerivative, "{what} left out")
def _derivative_left_out(context: Context) -> Iterator[Variant]:
    usual = {a.name for a in usual_activations()[:-2]} | {"leaky_relu"}
    for place in _places(context, _is_activation):
        one = len(place.regions) == 1
        what = f"the derivative of {place.label} at {place.z} is" if one else "the derivatives of the activations are"
        variant = place.with_derivative(_constant(1.0), "", what=what)
        if place.z == "Z" and place.region.kind not in usual:  # some step of a formula, not an activation
            variant.cause = MissingFactor.code
        yield variant


@mistake(DerivativeAppliedTwice, "the derivative of {label} is multiplied in twice")
def _derivative_squared(context: Context) -> Iterator[Variant]:
    for place in _places(context, _is_activation):
        yield place.with_derivative(_squared, f"{region_text(place.region, place.z, place.a)}²")


@mistake(DerivativeAtActivation, "the derivative of {label} is taken at {a}, its output, not at {z}")
def _derivative_at_output(context: Context) -> Iterator[Variant]:
    for place in _places(context, _is_activation):
        yield place.with_derivative(_taken_at(_a), prime_at(place.region.kind, place.a))


@mistake(DerivativeAtActivation, "the derivative of {label}, written for its output {a}, is taken at {at}")
def _output_form_elsewhere(context: Context) -> Iterator[Variant]:
    for place in _places(context, _is_activation):
        own = place.region.activation
        if own is not None and own.reads_output:
            yield place.with_derivative(_by_output(own, _z), prime_at(own.name, place.z), at=place.z)
            again = f"{own.name}({place.a})"
            yield place.with_derivative(_by_output(own, _value_again), prime_at(own.name, again), at=again)


def _value_again(context: Context, region: Region) -> Array:
    return region.activation.value(region.a) if region.activation is not None else np.zeros(0)


@mistake(WrongActivationDerivative, "it is the derivative of {other}, not of {label}")
def _derivative_of_another(context: Context) -> Iterator[Variant]:
    known, usual = list(activations()), usual_activations()
    for place in _places(context, _is_activation):
        network = place.region.activation is not None and len(place.regions) == 1
        for other in known if network else usual:
            if other.name == place.region.kind:
                continue
            words = {"other": other.name}
            yield place.with_derivative(_slope(other, _z), prime_at(other.name, place.z), **words)
            yield place.with_derivative(_slope(other, _a), prime_at(other.name, place.a), **words)
            if other.reads_output:
                yield place.with_derivative(_by_output(other, _a), prime_at(other.name, place.a), **words)


@mistake(WrongActivationDerivative, "the derivative of {label} has another slope below zero")
def _other_slope(context: Context) -> Iterator[Variant]:
    for place in _places(context, _has_kink_at_zero):
        yield place.with_derivative(_fitted_slope, f"slope'({place.z})")


@mistake(WrongActivationDerivative, "the mask of {label} is inverted")
def _inverted_mask(context: Context) -> Iterator[Variant]:
    for place in _places(context, _has_kink_at_zero):
        yield place.with_derivative(lambda c, r: (r.z < 0) * 1.0, f"1[{place.z} < 0]")


def _has_kink_at_zero(region: Region) -> bool:
    """Whether an activation is the identity above zero, and something else below."""
    above = region.z > 0
    return _is_activation(region) and bool(above.any()) and np.allclose(region.a[above], region.z[above])


def _fitted_slope(context: Context, region: Region) -> Array:
    """Fit one slope below zero: it must be the same wherever the signal is not zero."""
    graph = context.graph
    p, q = graph.reached.get(id(region.target)), graph.reached.get(id(region.source))
    if p is None or q != len(graph.order) - 1:
        return np.zeros(0)
    incoming = np.asarray(graph.order[p].value)
    clear = np.abs(incoming) > 1e-3 * np.max(np.abs(incoming))
    below, above = clear & (region.z < 0), clear & (region.z > 0)
    if not below.any() or not above.any():
        return np.zeros(0)
    found = context.found.reshape(region.z.shape)
    top = float(np.median(found[above] / incoming[above])) or 1.0
    return np.where(region.z > 0, 1.0, float(np.median(found[below] / incoming[below])) / top)


@mistake(WrongActivationDerivative, "{wrong} in the derivative of {label}")
def _derivative_altered(context: Context) -> Iterator[Variant]:
    for place in _places(context, _is_activation):
        expression = _rule(place.region)
        for j, k, what in alterations(expression):
            outermost = expression[j] is expression[-1] and what == FACTOR
            wrong = "a sign is wrong" if what == "sign" else f"a {what} is missing"
            variant = place.with_derivative(_altered(j, k), f"{place.label}'", wrong=wrong)
            variant.cause = MissingFactor.code if outermost else ""
            yield variant


def _rule(region: Region) -> list[Tensor]:
    """Return the derivative as the row's reverse rule computes it; empty where the activation is not a row."""
    row = region.activation.row if region.activation is not None else None
    rule = row.rule(0) if row is not None else None
    if rule is None:
        return []
    recorded = frozenset({Recording("the audit of a rule")})
    g, out, x = (Tensor(np.asarray(v, np.float64), recordings=recorded) for v in (1.0, region.a, region.z))
    made = rule(g, out, x)
    expression = parts(made, lambda t: False)
    # the product with g itself is not part of the derivative
    if len(expression) > 1 and expression[-1].op is MULTIPLY and any(t is g for t in expression[-1].inputs):
        expression.pop()
    return expression


def _altered(j: int, k: int) -> Derivative:
    def derivative(context: Context, region: Region) -> Array:
        expression = _rule(region)
        return altered(expression, j, k) if j < len(expression) else np.zeros(0)

    return derivative


@mistake(WrongActivationDerivative, "{a} itself is multiplied in, not the derivative of {label}")
def _output_for_derivative(context: Context) -> Iterator[Variant]:
    for place in _places(context, _is_activation):
        yield place.with_derivative(_a, place.a)


# -- other values of the pass ------------------------------------------------------------------------------------------


def _elsewhere(place: Place, name: str, variant: Variant) -> Variant:
    if siblings(name, place.z) or siblings(name, place.a):
        variant.cause = WrongLayer.code
    return variant


@mistake(WrongOperand, "the derivative of {label} is taken at {name}, not at {z}")
def _derivative_at_other_value(context: Context) -> Iterator[Variant]:
    for place in _places(context, _is_activation):
        own, kind = place.region.activation, place.region.kind
        for name in _others(place):
            variant = place.with_derivative(_taken_at(_named(name)), prime_at(kind, name), name=name)
            yield _elsewhere(place, name, variant)
            if own is not None and own.reads_output:
                text = region_text(place.region, name, name)
                yield _elsewhere(place, name, place.with_derivative(_by_output(own, _named(name)), text, name=name))
        for name, array in context.signals.items():
            if array.shape == place.region.derivative.shape:
                words = {"name": f"the gradient {name}"}
                yield place.with_derivative(_taken_at(_named(name)), prime_at(kind, name), **words)


def _others(place: Place) -> list[str]:
    return [n for n in place.context.names(place.region.derivative.shape) if n not in (place.z, place.a)]


@mistake(WrongOperand, "the derivative at {name} is multiplied in, not that of {label} at {z}")
def _derivative_of_other_region(context: Context) -> Iterator[Variant]:
    for place in _places(context, _is_activation):
        for k, other in enumerate(context.regions):
            same = other.derivative.shape == place.region.derivative.shape and other is not place.region
            if same and np.ptp(other.derivative) > 0:
                name = context.graph.name_of(other.source)
                text = region_text(other, name or "Z", "A")
                variant = place.with_derivative(_of_region(k), text, name=name or "another value")
                yield _elsewhere(place, name, variant)


def _of_region(k: int) -> Derivative:
    return lambda context, region: context.regions[k].derivative


@mistake(WrongOperand, "the derivative of {other} at {name} is multiplied in, not that of {label} at {z}")
def _other_derivative_at_other_value(context: Context) -> Iterator[Variant]:
    usual = usual_activations()
    for place in _places(context, _is_activation):
        for name in _others(place):
            for other in usual:
                text = prime_at(other.name, name)
                variant = place.with_derivative(_slope(other, _named(name)), text, name=name, other=other.name)
                yield _elsewhere(place, name, variant)


@mistake(WrongOperand, "the mask {name} > 1/2 is multiplied in, not the derivative of {label} at {z}")
def _rounded_value_for_derivative(context: Context) -> Iterator[Variant]:
    for place in _places(context, _is_activation):
        for name in _others(place):
            rounded = _over_half(name)
            yield place.with_derivative(rounded, f"1[{name} > 1/2]", name=name)


def _over_half(name: str) -> Derivative:
    return lambda context, region: (context.values[name] > 0.5) * 1.0
