"""Derivatives of activations and masks: left out, taken at another array, those of another activation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core.node import Recording
from ...core.op import Array
from ...core.tensor import Tensor
from ..formulas import output_form, region_text
from ..graph import At, Change, GradientGraph
from ..regions import LEAKY, MULTIPLY, NETWORK, USUAL, Activation, Region, activations
from .alterations import FACTOR, SIGN, alterations, altered, parts
from .general import MissingFactor, WrongOperand, misplaced
from .scaling import ConstantFactor
from .table import Cause, Matches, mistake
from .variants import Changes, Context, Text, Variant, changed, number

Derivative = Callable[[Context, Region], Array]
#: Before the name of an array: the derivative is written as the activation's rule for its output, with that array.
OUTPUT_FORM = "output form of "


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


# -- where they are ----------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """An elementwise region that the gradient goes through, or all regions of a kind at once."""

    context: Context
    regions: list[int]
    region: Region
    z: str
    a: str

    def misplaced(self, name: str) -> str:
        """Return the cause for a value in place of the region's own: "" unless it is of another layer."""
        return misplaced(name, self.z) or misplaced(name, self.a)

    def with_derivative(self, derivative: Derivative, text: str, cause: str = "", **words: Any) -> Variant:
        """Return the gradient with another derivative in place of the right one, written as `text`."""
        region, one = self.region, len(self.regions) == 1
        label = label_of(region)
        left_out = f"the derivative of {label} at {self.z} is" if one else "the derivatives of the activations are"
        given = {"label": label, "z": self.z, "a": self.a, "kind": region.kind or "f", "derivative": left_out, **words}
        given["scale"] = number(region.parameter)
        p, q = _spot(self.context, self.regions[0]) or (0, 0)
        texts = {q: _written(p, region, text, given)} if one else {}
        return changed(q, _with(self.regions, derivative), texts, cause, **given)


def _written(p: int, region: Region, text: str, words: dict[str, Any]) -> Text:
    """Return what writes the gradient at `p` times a text; the derivative is formed when it is asked for."""

    def write(graph: GradientGraph, write_node: Callable[[int], str]) -> str:
        slope = region_text(region, words["z"], words["a"]) if "{slope}" in text else ""
        slope = f"({slope})" if "⊙" in slope else slope
        factor = text.removeprefix(OUTPUT_FORM).format(slope=slope, **words)
        row = words.get("row", region.activation.row if region.activation is not None else None)
        if text.startswith(OUTPUT_FORM) and row is not None:
            factor = output_form(row, factor, region.source.shape)
        return f"{write_node(p)} ⊙ {factor}" if text else write_node(p)

    return write


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


def _is_scaled_mask(region: Region) -> bool:
    return _is_mask(region) and abs(region.parameter - 1) > 1e-9


def _is_factor(region: Region) -> bool:
    return region.kind == "factor" and abs(region.parameter - 1) > 1e-12


def _is_activation(region: Region) -> bool:
    return region.kind not in ("mask", "factor")


def _is_unusual(region: Region) -> bool:
    """Whether it is rather some step of a formula than an activation: unnamed, and none of the usual ones."""
    known = region.activation is not None and region.activation.function in NETWORK
    return _is_activation(region) and not (known or region.named or region.kind == LEAKY)


def _is_usual(region: Region) -> bool:
    return _is_activation(region) and not _is_unusual(region)


def _reads_output(region: Region) -> bool:
    return region.activation is not None and region.activation.reads_output


def _has_kink_at_zero(region: Region) -> bool:
    """Whether an activation is the identity above zero, and something else below."""
    above = region.z > 0
    return _is_activation(region) and bool(above.any()) and np.allclose(region.a[above], region.z[above])


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


def _by_output(at: Derivative, of: Activation | None = None) -> Derivative:
    """Return the derivative of an activation (by default the region's own), another array taken for its output."""

    def derivative(context: Context, region: Region) -> Array:
        activation = of or region.activation
        slope = activation.slope_by_output(at(context, region)) if activation is not None else None
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
    return {"": "the activation", LEAKY: "leaky ReLU"}.get(region.kind, region.kind)


# -- one derivative in place of another --------------------------------------------------------------------------------


def _incoming(context: Context, region: Region) -> Array | None:
    """Return the gradient that reaches a region's target, where that of its source is the result."""
    graph = context.graph
    p, q = graph.reached.get(id(region.target)), graph.reached.get(id(region.source))
    return np.asarray(graph.order[p].value) if p is not None and q == len(graph.order) - 1 else None


def _fitted_mask(context: Context, region: Region) -> Array:
    """Return the mask that gives the numbers found, if it is one: zeros and one other value."""
    incoming = _incoming(context, region)
    if incoming is None:
        return np.zeros(0)
    mask = np.where(np.abs(incoming) > 0, context.found.reshape(incoming.shape) / incoming, 0.0)
    others = mask[np.abs(mask) > 1e-9]
    if not others.size or others.size == mask.size or not np.allclose(others, others[0], rtol=1e-7):
        return np.zeros(0)
    return np.asarray(mask)


def _fitted_slope(context: Context, region: Region) -> Array:
    """Fit one slope below zero: it must be the same wherever the signal is not zero."""
    incoming = _incoming(context, region)
    if incoming is None:
        return np.zeros(0)
    clear = np.abs(incoming) > 1e-3 * np.max(np.abs(incoming))
    below, above = clear & (region.z < 0), clear & (region.z > 0)
    if not below.any() or not above.any():
        return np.zeros(0)
    found = context.found.reshape(region.z.shape)
    top = float(np.median(found[above] / incoming[above])) or 1.0
    return np.where(region.z > 0, 1.0, float(np.median(found[below] / incoming[below])) / top)


def _own_value_again(context: Context, region: Region) -> Array:
    return region.activation.value(region.a) if region.activation is not None else np.zeros(0)


#: Cause, sentence, where, the derivative that is taken for the right one, and how it is written.
_DERIVATIVES: tuple[tuple[type[Cause], str, Callable[[Region], bool], Derivative, str], ...] = (
    (DropoutMaskMissing, "the dropout mask is not applied to the gradient", _is_mask, _constant(1.0), ""),
    (
        DropoutMaskMissing,
        "the mask is applied without its scale {scale}",
        _is_scaled_mask,
        lambda c, r: (r.derivative != 0) * 1.0,
        "mask",
    ),
    (
        DropoutMaskMissing,
        "the scale {scale} of the dropout is applied without its mask",
        _is_scaled_mask,
        lambda c, r: np.full(r.z.shape, r.derivative.max()),
        "{scale}",
    ),
    (DropoutMaskMissing, "the scale of the dropout is applied twice", _is_mask, _squared, "mask²"),
    (WrongOperand, "another mask is applied than in the forward pass", _is_mask, _fitted_mask, "another mask"),
    (ConstantFactor, "the factor {scale} is left out", _is_factor, _constant(1.0), ""),
    (MissingActivationDerivative, "{derivative} left out", _is_usual, _constant(1.0), ""),
    (MissingFactor, "{derivative} left out", _is_unusual, _constant(1.0), ""),
    (DerivativeAppliedTwice, "the derivative of {label} is multiplied in twice", _is_activation, _squared, "{slope}²"),
    (
        DerivativeAtActivation,
        "the derivative of {label} is taken at {a}, its output, not at {z}",
        _is_activation,
        _taken_at(_a),
        "{kind}'({a})",
    ),
    (
        DerivativeAtActivation,
        "the derivative of {label}, written for its output {a}, is taken at {z}",
        _reads_output,
        _by_output(_z),
        OUTPUT_FORM + "{z}",
    ),
    (
        DerivativeAtActivation,
        "the derivative of {label}, written for its output, is taken at {kind}({a})",
        _reads_output,
        _by_output(_own_value_again),
        OUTPUT_FORM + "{kind}({a})",
    ),
    (
        WrongActivationDerivative,
        "the derivative of {label} has another slope below zero",
        _has_kink_at_zero,
        _fitted_slope,
        "slope'({z})",
    ),
    (
        WrongActivationDerivative,
        "the mask of {label} is inverted",
        _has_kink_at_zero,
        lambda c, r: (r.z < 0) * 1.0,
        "1[{z} < 0]",
    ),
    (
        WrongActivationDerivative,
        "{a} itself is multiplied in, not the derivative of {label}",
        _is_activation,
        _a,
        "{a}",
    ),
)


def _in_all_places(where: Callable[[Region], bool], derivative: Derivative, text: str) -> Matches:
    def matches(context: Context) -> Iterator[Variant]:
        for place in _places(context, where):
            yield place.with_derivative(derivative, text)

    return matches


for _cause, _sentence, _where, _derivative, _text in _DERIVATIVES:
    mistake(_cause, _sentence)(_in_all_places(_where, _derivative, _text))


@mistake(WrongActivationDerivative, "it is the derivative of {other}, not of {label}")
def _derivative_of_another(context: Context) -> Iterator[Variant]:
    known = tuple(activations())
    for place in _places(context, _is_activation):
        network = place.region.activation is not None and len(place.regions) == 1
        for other in known if network else USUAL:
            if other.name != place.region.kind:
                yield place.with_derivative(_slope(other, _z), "{other}'({z})", other=other.name)
                yield place.with_derivative(_slope(other, _a), "{other}'({a})", other=other.name)
                if other.reads_output:
                    derivative = _by_output(_a, other)
                    yield place.with_derivative(derivative, OUTPUT_FORM + "{a}", other=other.name, row=other.row)


@mistake(WrongActivationDerivative, "{wrong} in the derivative of {label}")
def _derivative_altered(context: Context) -> Iterator[Variant]:
    for place in _places(context, _is_activation):
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
    for place in _places(context, wanted):
        for name in context.names(place.region.derivative.shape) if len(place.regions) == 1 else ():
            if name not in (place.z, place.a):
                yield place, name, place.misplaced(name)


@mistake(WrongOperand, "{name} is multiplied in instead of the mask")
def _other_value_for_mask(context: Context) -> Iterator[Variant]:
    for place, name, cause in _elsewhere(context, lambda r: _is_mask(r) or _is_factor(r)):
        kept = place.region.derivative != 0
        same = (n for n, v in context.values.items() if v.shape == kept.shape and np.array_equal(v != 0, kept))
        cause = cause or misplaced(name, next(same, "D"))
        yield place.with_derivative(_named(name), "{name}", cause, name=name)


@mistake(WrongOperand, "the derivative of {label} is taken at {name}, not at {z}")
def _derivative_at_other_value(context: Context) -> Iterator[Variant]:
    for place, name, cause in _elsewhere(context, _is_activation):
        yield place.with_derivative(_taken_at(_named(name)), "{kind}'({name})", cause, name=name)
        if _reads_output(place.region):
            yield place.with_derivative(_by_output(_named(name)), OUTPUT_FORM + "{name}", cause, name=name)


@mistake(WrongOperand, "the derivative of {label} is taken at the gradient {name}, not at {z}")
def _derivative_at_gradient(context: Context) -> Iterator[Variant]:
    for place in _places(context, _is_activation):
        for name, array in context.signals.items():
            if array.shape == place.region.derivative.shape and len(place.regions) == 1:
                yield place.with_derivative(_taken_at(_named(name)), "{kind}'({name})", name=name)


@mistake(WrongOperand, "the derivative at {name} is multiplied in, not that of {label} at {z}")
def _derivative_of_other_region(context: Context) -> Iterator[Variant]:
    for place in _places(context, _is_activation):
        for k, other in enumerate(context.regions):
            same = other.derivative.shape == place.region.derivative.shape and other is not place.region
            if same and np.ptp(other.derivative) > 0:
                name = context.graph.name_of(other.source)
                text = f"{other.kind or 'f'}'({name or 'Z'})"
                yield place.with_derivative(_of_region(k), text, place.misplaced(name), name=name or "another value")


def _of_region(k: int) -> Derivative:
    return lambda context, region: context.regions[k].derivative


@mistake(WrongOperand, "the derivative of {other} at {name} is multiplied in, not that of {label} at {z}")
def _other_derivative_at_other_value(context: Context) -> Iterator[Variant]:
    for place, name, cause in _elsewhere(context, _is_activation):
        for other in USUAL:
            words = {"name": name, "other": other.name}
            yield place.with_derivative(_slope(other, _named(name)), "{other}'({name})", cause, **words)


@mistake(WrongOperand, "the mask {name} > 1/2 is multiplied in, not the derivative of {label} at {z}")
def _rounded_value_for_derivative(context: Context) -> Iterator[Variant]:
    for place, name, _ in _elsewhere(context, _is_activation):
        yield place.with_derivative(_over_half(name), "1[{name} > 1/2]", name=name)


def _over_half(name: str) -> Derivative:
    return lambda context, region: (context.values[name] > 0.5) * 1.0
