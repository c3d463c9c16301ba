"""Derivatives of activations at arrays without a name: gradients, other values; and forms for the output."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ...core.op import Array
from ..regions import Region
from .activations import DerivativeAtActivation, WrongActivationDerivative
from .derivatives import Derivative, by_output, is_activation, places, reads_output, taken_at
from .general import WrongOperand
from .table import mistake
from .variants import Context, Variant

#: How many arrays of a shape are tried.
MOST_ARRAYS = 16
#: Signs and factors of gradients: an error is written as a - y or y - a, with the mean of the loss or without it.
_FACTORS: tuple[tuple[float, int], ...] = ((1.0, 0), (-1.0, 0), (1.0, 1), (-1.0, 1), (0.5, 1), (-0.5, 1))

At = Callable[[Context], Array]


# -- forms for the output ----------------------------------------------------------------------------------------------


def _form(region: Region) -> list[tuple[Array, Array]] | None:
    """Return the derivative as polynomials of the output, (where, coefficients) on both sides of zero.

    The derivatives of sigmoid, tanh, ELU and SELU are such; None if it is none, or a constant on both sides.
    """
    found, bent = [], False
    for side in (region.z > 0, region.z <= 0):
        a, slope = region.a[side], region.derivative[side]
        degree = min(2, np.unique(a).size - 2)
        if degree < 1:
            return None
        coefficients = np.polyfit(a, slope, degree)
        if np.max(np.abs(np.polyval(coefficients, a) - slope)) > 1e-9 * max(1.0, np.max(np.abs(slope))):
            return None
        bent = bent or bool(np.max(np.abs(coefficients[:-1])) > 1e-7)
        found.append((side, coefficients))
    return found if bent else None


def _form_at(at: Derivative) -> Derivative:
    """Return the derivative in its form for the output, with another array in place of the output."""

    def derivative(context: Context, region: Region) -> Array:
        form, other = context.once(("form", id(region)), lambda: _form(region)), at(context, region)
        if form is None or other.shape != region.z.shape:
            return np.zeros(0)
        out = np.zeros(region.z.shape)
        for side, coefficients in form:
            out[side] = np.polyval(coefficients, other[side])
        return out

    return derivative


@mistake(DerivativeAtActivation, "the derivative of {label}, written for its output {a}, is taken at {z}")
def _output_form_at_input(context: Context) -> Iterator[Variant]:
    for place in places(context, lambda r: is_activation(r) and not reads_output(r)):
        if _form(place.region) is not None:
            yield place.with_derivative(_form_at(lambda c, r: r.z), "f'({z})")


@mistake(WrongActivationDerivative, "a constant is left out of the derivative of {label}, written for its output {a}")
def _output_form_without_constant(context: Context) -> Iterator[Variant]:
    for place in places(context, is_activation):
        if _form(place.region) is not None:
            yield place.with_derivative(_without_constant, "f'({a})")


def _without_constant(context: Context, region: Region) -> Array:
    """Return the derivative as a polynomial of the output, without the constant where it depends on the output."""
    form = context.once(("form", id(region)), lambda: _form(region))
    if form is None:
        return np.zeros(0)
    out = np.zeros(region.z.shape)
    for side, coefficients in form:
        bent = np.max(np.abs(coefficients[:-1])) > 1e-7
        out[side] = np.polyval([*coefficients[:-1], 0.0] if bent else coefficients, region.a[side])
    return out


# -- at gradients, and at values without a name ------------------------------------------------------------------------


def _gradients(context: Context, shape: tuple[int, ...]) -> Iterator[tuple[str, At]]:
    """Yield the gradients of a shape that were returned or that the step is computed from, with their names."""
    for name, array in context.signals.items():
        if array.shape == shape:
            yield name, _signal(name)
    graph = context.graph
    names = {graph.reached.get(id(node)): name for name, node in context.point.nodes.items()}
    inner = [i for i, node in enumerate(graph.order[:-1]) if node.shape == shape and node.op is not None]
    for i in inner[-MOST_ARRAYS:]:
        of = names.get(i, "")
        yield context.point.keys.get(of, f"d{of}") if of else "a gradient", _node(i)


def _signal(name: str) -> At:
    return lambda context: context.signals[name]


def _node(i: int) -> At:
    return lambda context: np.asarray(context.graph.order[i].value)


def _values(context: Context, shape: tuple[int, ...]) -> Iterator[tuple[str, At]]:
    """Yield the values of the forward pass that have a shape and no name."""
    graph = context.graph
    unnamed = [k for k, t in enumerate(graph.forward.values()) if t.shape == shape and not graph.name_of(t)]
    for k in unnamed[:MOST_ARRAYS] if context.uniform else ():
        yield "another value of the pass", _forward(k)


def _forward(k: int) -> At:
    return lambda context: np.asarray(list(context.graph.forward.values())[k].value)


def _times(at: At, factor: float, power: int) -> Derivative:
    return lambda context, region: factor * float(context.point.size or 1) ** power * at(context)


@mistake(WrongOperand, "the derivative of {label} is taken at the gradient {name}, not at {z}")
def _derivative_at_gradient(context: Context) -> Iterator[Variant]:
    for place in places(context, is_activation):
        for name, at in _gradients(context, place.region.z.shape) if len(place.regions) == 1 else ():
            for factor, power in _FACTORS:
                other = _times(at, factor, power)
                yield place.with_derivative(taken_at(other), "{kind}'({name})", name=name)
                if reads_output(place.region):
                    yield place.with_derivative(by_output(other), "{kind}'({name})", name=name)


@mistake(WrongOperand, "the derivative of {label} is taken at {name}, not at {z}")
def _derivative_at_unnamed_value(context: Context) -> Iterator[Variant]:
    for place in places(context, is_activation):
        for name, at in _values(context, place.region.z.shape) if len(place.regions) == 1 else ():
            other = _times(at, 1.0, 0)
            yield place.with_derivative(taken_at(other), "f'", name=name)
            if reads_output(place.region):
                yield place.with_derivative(by_output(other), "f'", name=name)
