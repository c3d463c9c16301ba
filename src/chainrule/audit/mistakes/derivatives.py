"""What a backward pass may take for the derivative of an activation or a mask, and where.

A `Derivative` returns the array that is multiplied in; a `Place` puts it into the gradient graph.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core.op import VIEW, Array
from ..formulas import output_form, region_text
from ..graph import At, Change, GradientGraph
from ..regions import LEAKY, NETWORK, Activation, Region
from .general import misplaced
from .variants import Changes, Context, Text, Variant, changed, number

Derivative = Callable[[Context, Region], Array]
_NUMBER = re.compile(r"\d+")
#: Before the name of an array: the derivative is written as the activation's rule for its output, with that array.
OUTPUT_FORM = "output form of "


# -- where -------------------------------------------------------------------------------------------------------------


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


def places(context: Context, wanted: Callable[[Region], bool]) -> Iterator[Place]:
    """Yield the regions one after the other; then those with one role, as a gate at all times; of a kind; all."""
    names = context.graph.names_by_id
    for group in context.once("groups of regions", lambda: _groups(context)):
        region = context.regions[group[0]]
        if wanted(region):
            z, a = names.get(id(region.source), "Z"), names.get(id(region.target), "A")
            if len(group) > 1:  # at which time a loop starts differs from parameter to parameter
                z, a = _NUMBER.sub("t", z), _NUMBER.sub("t", a)
            yield Place(context, list(group), region, z, a)


def _groups(context: Context) -> list[tuple[int, ...]]:
    singles = [k for k, r in enumerate(context.regions) if _spot(context, k) is not None]
    by: dict[Any, list[int]] = {}
    for k in singles:
        region = context.regions[k]
        kind = region.kind, region.source.shape, region.parameter if region.kind == "factor" else 0.0
        parameters, slices = roles(context)[k]
        for key in (kind, (kind, parameters), (kind, parameters, slices)):
            by.setdefault(key, []).append(k)
    groups = [(k,) for k in singles] + [tuple(g) for g in by.values() if len(g) > 1]
    return list(dict.fromkeys([*groups, tuple(singles)] if singles else groups))


Role = tuple[frozenset[str], tuple[str, ...]]


def roles(context: Context) -> list[Role]:
    """Return what tells the regions of an unrolled loop apart: the parameters in their sources, and which slices."""
    found: list[Role] = context.once("roles", lambda: [_role(context, r) for r in context.regions])
    return found


def _role(context: Context, region: Region) -> Role:
    """Return the parameters that the source of a region is computed from, other regions' targets apart."""
    graph, slices = context.graph, []
    node = region.source
    while node.op is not None and node.op.kind == VIEW and len(node.inputs) == 1:
        slices.append(str(node.attrs.get("index", "")))
        node = node.inputs[0]
    ends = {id(r.target) for r in context.regions}
    stack, seen, parameters = [node], {id(node)}, set()
    while stack:
        node = stack.pop()
        if graph.name_of(node) in context.point.values:
            parameters.add(graph.name_of(node))
        for x in node.inputs if id(node) not in ends or node is region.source else ():
            if x.recordings and id(x) not in seen:
                seen.add(id(x))
                stack.append(x)
    return frozenset(parameters), tuple(slices)


def is_mask(region: Region) -> bool:
    """Return whether a region is a dropout mask."""
    return region.kind == "mask"


def is_scaled_mask(region: Region) -> bool:
    """Return whether a region is a dropout mask with a scale."""
    return is_mask(region) and abs(region.parameter - 1) > 1e-9


def is_factor(region: Region) -> bool:
    """Return whether a region is a multiplication by a constant."""
    return region.kind == "factor" and abs(region.parameter - 1) > 1e-12


def is_activation(region: Region) -> bool:
    """Return whether a region is neither a mask nor a constant factor."""
    return region.kind not in ("mask", "factor")


def is_unusual(region: Region) -> bool:
    """Return whether a region is a step of a formula rather than an activation: unnamed, and none of the usual ones."""
    known = region.activation is not None and region.activation.function in NETWORK
    return is_activation(region) and not (known or region.named or region.kind == LEAKY)


def is_usual(region: Region) -> bool:
    """Return whether a region is one of the activations of networks, or has a name."""
    return is_activation(region) and not is_unusual(region)


def reads_output(region: Region) -> bool:
    """Return whether the derivative of a region's activation is usually written for its output."""
    return region.activation is not None and region.activation.reads_output


def has_kink_at_zero(region: Region) -> bool:
    """Return whether an activation is the identity above zero, and something else below."""
    above = region.z > 0
    return is_activation(region) and bool(above.any()) and np.allclose(region.a[above], region.z[above])


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


def constant(value: float) -> Derivative:
    """Return a derivative that has one value everywhere."""
    return lambda context, region: np.full(region.derivative.shape, value)


def squared(context: Context, region: Region) -> Array:
    """Return the region's own derivative, squared."""
    return np.asarray(region.derivative**2)


def at_input(context: Context, region: Region) -> Array:
    """Return a region's input Z."""
    return region.z


def at_output(context: Context, region: Region) -> Array:
    """Return a region's output A."""
    return region.a


def value_named(name: str) -> Derivative:
    """Return the value, or the gradient, of a name."""
    return lambda context, region: context.values[name] if name in context.values else context.signals[name]


def slope_of(of: Activation, at: Derivative) -> Derivative:
    """Return the derivative of an activation, at another array."""

    def derivative(context: Context, region: Region) -> Array:
        z = at(context, region)
        slope = context.once((of.name, id(z)), lambda: (z, of.slope(z)))[1]  # z kept: ids stay valid
        return _unless_one(np.asarray(slope))

    return derivative


def by_output(at: Derivative, of: Activation | None = None) -> Derivative:
    """Return the derivative of an activation (by default the region's own), another array taken for its output."""

    def derivative(context: Context, region: Region) -> Array:
        activation = of or region.activation
        slope = activation.slope_by_output(at(context, region)) if activation is not None else None
        return np.zeros(0) if slope is None else slope

    return derivative


def taken_at(at: Derivative) -> Derivative:
    """Return the region's own derivative, taken at another array."""

    def derivative(context: Context, region: Region) -> Array:
        z = at(context, region)
        return _unless_one(np.asarray(context.once((id(region), id(z)), lambda: (z, region.derivative_at(z)))[1]))

    return derivative


def _unless_one(slope: Array) -> Array:
    """Return a derivative, none if it is 1 everywhere: it is the one that is left out, wherever it is taken."""
    return np.zeros(0) if slope.size and np.all(slope == 1) else slope


def label_of(region: Region) -> str:
    """Return how messages call an activation."""
    return {"": "the activation", LEAKY: "leaky ReLU"}.get(region.kind, region.kind)


# -- derivatives fitted to the numbers found ---------------------------------------------------------------------------


def _incoming(context: Context, region: Region) -> Array | None:
    """Return the gradient that reaches a region's target, where that of its source is the result."""
    graph = context.graph
    p, q = graph.reached.get(id(region.target)), graph.reached.get(id(region.source))
    return np.asarray(graph.order[p].value) if p is not None and q == len(graph.order) - 1 else None


def fitted_mask(context: Context, region: Region) -> Array:
    """Return the mask that gives the numbers found, if it is one: zeros and one other value."""
    incoming = _incoming(context, region)
    if incoming is None:
        return np.zeros(0)
    mask = np.where(np.abs(incoming) > 0, context.found.reshape(incoming.shape) / incoming, 0.0)
    others = mask[np.abs(mask) > 1e-9]
    if not others.size or others.size == mask.size or not np.allclose(others, others[0], rtol=1e-7):
        return np.zeros(0)
    return np.asarray(mask)


def fitted_slope(context: Context, region: Region) -> Array:
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


def fitted_above(context: Context, region: Region) -> Array:
    """Fit one slope above zero, where the derivative below it is right."""
    incoming = _incoming(context, region)
    if incoming is None or region.z.shape != context.found.shape:
        return np.zeros(0)
    right = incoming * region.derivative
    clear = np.abs(right) > 1e-3 * np.max(np.abs(right))
    below, above = clear & (region.z < 0), clear & (region.z > 0)
    if not below.any() or not above.any():
        return np.zeros(0)
    scale = float(np.median(context.found[below] / right[below])) or 1.0
    slope = float(np.median(context.found[above] / incoming[above])) / scale
    return np.where(region.z > 0, slope, region.derivative)


def own_value_again(context: Context, region: Region) -> Array:
    """Return the activation of the output: f(A), where A = f(Z)."""
    return region.activation.value(region.a) if region.activation is not None else np.zeros(0)
