"""Derivatives of activations and masks: left out, taken at another array, those of another activation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ...core.node import Recording
from ...core.op import Array
from ...core.tensor import Tensor
from ..regions import MULTIPLY, USUAL, Region, activations
from .alterations import FACTOR, SIGN, alterations, altered, parts
from .derivatives import (
    OUTPUT_FORM,
    Derivative,
    Place,
    at_input,
    at_output,
    by_output,
    constant,
    fitted_above,
    fitted_mask,
    fitted_slope,
    has_kink_at_zero,
    is_activation,
    is_factor,
    is_mask,
    is_scaled_mask,
    is_unusual,
    is_usual,
    own_value_again,
    places,
    reads_output,
    slope_of,
    squared,
    taken_at,
    value_named,
)
from .general import MissingFactor, WrongOperand, misplaced
from .scaling import ConstantFactor
from .table import Cause, Matches, mistake
from .variants import Context, Variant


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
    `A1 = tanh(Z1)`, so `dA1/dZ1 = tanh′(Z1)` and, by the chain rule, `dZ1 = dA1 ⊙ tanh′(Z1)`.
    """

    code = "missing-activation-derivative"
    paired = spreads = True


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
    Right near 0, where `tanh(Z) ≈ Z`, and worse the larger |Z| is. With small initial weights a gradient check at the
    start of training nearly passes.

    Why it is wrong
    ---------------
    `dtanh` is a function of the pre-activation: `dA1/dZ1 = tanh′(Z1)`. The form `1 − A1²` uses the activation, and
    has no tanh in it; mixing the two gives `1 − tanh(A1)²`.
    """

    code = "derivative-at-activation"
    paired = spreads = True


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
    Often one factor is in a helper function and the other at the call, or the error signal of the output is
    multiplied by it: with sigmoid and cross entropy, `A − Y` is dZ already, and `(A − Y) * A * (1 -
    A)` has it twice.
    """

    code = "derivative-applied-twice"
    paired = spreads = True


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
    paired = spreads = True


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
    `D1 = A1 ⊙ mask`, hence `dA1 = dD1 ⊙ mask`, with the same mask as in the forward pass, its 1/0.8 included.
    """

    code = "dropout-mask-missing"
    paired = spreads = True


# -- one derivative in place of another --------------------------------------------------------------------------------

#: Cause, sentence, where, the derivative that is taken for the right one, and how it is written.
_DERIVATIVES: tuple[tuple[type[Cause], str, Callable[[Region], bool], Derivative, str], ...] = (
    (DropoutMaskMissing, "the dropout mask is not applied to the gradient", is_mask, constant(1.0), ""),
    (
        DropoutMaskMissing,
        "the mask is applied without its scale {scale}",
        is_scaled_mask,
        lambda c, r: (r.derivative != 0) * 1.0,
        "mask",
    ),
    (
        DropoutMaskMissing,
        "the scale {scale} of the dropout is applied without its mask",
        is_scaled_mask,
        lambda c, r: np.full(r.z.shape, r.derivative.max()),
        "{scale}",
    ),
    (DropoutMaskMissing, "the scale of the dropout is applied twice", is_mask, squared, "mask²"),
    (WrongOperand, "another mask is applied than in the forward pass", is_mask, fitted_mask, "another mask"),
    (ConstantFactor, "the factor {scale} is left out", is_factor, constant(1.0), ""),
    (MissingActivationDerivative, "{derivative} left out", is_usual, constant(1.0), ""),
    (MissingFactor, "{derivative} left out", is_unusual, constant(1.0), ""),
    (DerivativeAppliedTwice, "the derivative of {label} is multiplied in twice", is_activation, squared, "{slope}²"),
    (
        DerivativeAtActivation,
        "the derivative of {label} is taken at {a}, its output, not at {z}",
        is_activation,
        taken_at(at_output),
        "{kind}'({a})",
    ),
    (
        DerivativeAtActivation,
        "the derivative of {label}, written for its output {a}, is taken at {z}",
        reads_output,
        by_output(at_input),
        OUTPUT_FORM + "{z}",
    ),
    (
        DerivativeAtActivation,
        "the derivative of {label}, written for its output, is taken at {kind}({a})",
        reads_output,
        by_output(own_value_again),
        OUTPUT_FORM + "{kind}({a})",
    ),
    (
        WrongActivationDerivative,
        "the derivative of {label} has another slope below zero",
        has_kink_at_zero,
        fitted_slope,
        "slope'({z})",
    ),
    (
        WrongActivationDerivative,
        "the derivative of {label} has another slope above zero",
        is_activation,
        fitted_above,
        "slope'({z})",
    ),
    (
        WrongActivationDerivative,
        "the mask of {label} is inverted",
        has_kink_at_zero,
        lambda c, r: (r.z < 0) * 1.0,
        "1[{z} < 0]",
    ),
    (
        WrongActivationDerivative,
        "{a} itself is multiplied in, not the derivative of {label}",
        is_activation,
        at_output,
        "{a}",
    ),
    (
        WrongActivationDerivative,
        "{kind}({a}), the value of {label} at its output, is multiplied in, not the derivative",
        reads_output,
        own_value_again,
        "{kind}({a})",
    ),
)


def _in_all_places(where: Callable[[Region], bool], derivative: Derivative, text: str) -> Matches:
    def matches(context: Context) -> Iterator[Variant]:
        for place in places(context, where):
            yield place.with_derivative(derivative, text)

    return matches


for _cause, _sentence, _where, _derivative, _text in _DERIVATIVES:
    mistake(_cause, _sentence)(_in_all_places(_where, _derivative, _text))


@mistake(WrongActivationDerivative, "it is the derivative of {other}, not of {label}")
def _derivative_of_another(context: Context) -> Iterator[Variant]:
    known = tuple(activations())
    for place in places(context, is_activation):
        network = place.region.activation is not None and len(place.regions) == 1
        for other in known if network else USUAL:
            if other.name != place.region.kind:
                yield place.with_derivative(slope_of(other, at_input), "{other}'({z})", other=other.name)
                yield place.with_derivative(slope_of(other, at_output), "{other}'({a})", other=other.name)
                if other.reads_output:
                    derivative = by_output(at_output, other)
                    yield place.with_derivative(derivative, OUTPUT_FORM + "{a}", other=other.name, row=other.row)


@mistake(WrongActivationDerivative, "{wrong} in the derivative of {label}")
def _derivative_altered(context: Context) -> Iterator[Variant]:
    for place in places(context, is_activation):
        expression = _rule(place.region)
        for j, k, what in alterations(expression):
            wrong = "a sign is wrong" if what == SIGN else f"a {what} is missing"
            cause = MissingFactor.code if expression[j] is expression[-1] and what == FACTOR else ""
            yield place.with_derivative(_altered(j, k), "{label}'", cause, wrong=wrong)


def _rule(region: Region) -> list[Tensor]:
    """Return the derivative as the row's reverse rule computes it; empty where the activation is not a row."""
    rule = region.activation.rule if region.activation is not None else None
    if rule is None:
        return []
    recorded = frozenset({Recording("the audit of a rule")})
    g, out, x = (Tensor(np.asarray(v, np.float64), recordings=recorded) for v in (1.0, region.a, region.z))
    expression = parts(rule(g, out, x), lambda t: False)
    # the product with g itself is not part of the derivative
    if len(expression) > 1 and expression[-1].op is MULTIPLY and any(t is g for t in expression[-1].inputs):
        expression.pop()
    return expression


def _altered(j: int, k: int) -> Derivative:
    def derivative(context: Context, region: Region) -> Array:
        expression = _rule(region)
        return altered(expression, j, k) if j < len(expression) else np.zeros(0)

    return derivative


# -- other values of the pass ------------------------------------------------------------------------------------------


def _elsewhere(context: Context, wanted: Callable[[Region], bool]) -> Iterator[tuple[Place, str, str]]:
    """Yield single regions, each with the name of a value of its shape, and the cause if that is of another layer."""
    for place in places(context, wanted):
        for name in context.names(place.region.derivative.shape) if len(place.regions) == 1 else ():
            if name not in (place.z, place.a):
                yield place, name, place.misplaced(name)


@mistake(WrongOperand, "{name} is multiplied in instead of the mask")
def _other_value_for_mask(context: Context) -> Iterator[Variant]:
    for place, name, cause in _elsewhere(context, lambda r: is_mask(r) or is_factor(r)):
        kept = place.region.derivative != 0
        same = (n for n, v in context.values.items() if v.shape == kept.shape and np.array_equal(v != 0, kept))
        cause = cause or misplaced(name, next(same, "D"))
        yield place.with_derivative(value_named(name), "{name}", cause, name=name)


@mistake(WrongOperand, "the derivative of {label} is taken at {name}, not at {z}")
def _derivative_at_other_value(context: Context) -> Iterator[Variant]:
    for place, name, cause in _elsewhere(context, is_activation):
        yield place.with_derivative(taken_at(value_named(name)), "{kind}'({name})", cause, name=name)
        if reads_output(place.region):
            yield place.with_derivative(by_output(value_named(name)), OUTPUT_FORM + "{name}", cause, name=name)


@mistake(WrongOperand, "the derivative at {name} is multiplied in, not that of {label} at {z}")
def _derivative_of_other_region(context: Context) -> Iterator[Variant]:
    for place in places(context, is_activation):
        for k, other in enumerate(context.regions):
            same = other.derivative.shape == place.region.derivative.shape and other is not place.region
            if same and other.derivative.size and np.ptp(other.derivative) > 0:
                name = context.graph.name_of(other.source)
                text = f"{other.kind or 'f'}'({name or 'Z'})"
                yield place.with_derivative(_of_region(k), text, place.misplaced(name), name=name or "another value")


def _of_region(k: int) -> Derivative:
    return lambda context, region: context.regions[k].derivative


@mistake(WrongOperand, "the derivative of {other} at {name} is multiplied in, not that of {label} at {z}")
def _other_derivative_at_other_value(context: Context) -> Iterator[Variant]:
    for place, name, cause in _elsewhere(context, is_activation):
        for other in USUAL:
            words = {"name": name, "other": other.name}
            yield place.with_derivative(slope_of(other, value_named(name)), "{other}'({name})", cause, **words)


@mistake(WrongOperand, "the mask {name} > 1/2 is multiplied in, not the derivative of {label} at {z}")
def _rounded_value_for_derivative(context: Context) -> Iterator[Variant]:
    for place, name, _ in _elsewhere(context, is_activation):
        yield place.with_derivative(_over_half(name), "1[{name} > 1/2]", name=name)


def _over_half(name: str) -> Derivative:
    return lambda context, region: (context.values[name] > 0.5) * 1.0
