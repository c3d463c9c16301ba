"""A gradient as a whole: transposed, with another factor, from another upstream gradient, for some classes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ...core.op import Array
from ..formulas import output_form, region_text
from ..regions import USUAL
from .activations import DerivativeAppliedTwice
from .alterations import DIVIDE
from .derivatives import label_of
from .general import MissingFactor, MissingTerm, Transposed, WrongOperand
from .products import BiasAllSummed
from .table import mistake
from .variants import Changes, Context, Variant, changed, of_result


def _times(factor: Callable[[Context], Array]) -> Callable[[Context], Array]:
    return lambda context: np.asarray(context.result * factor(context))


@mistake(BiasAllSummed, "the gradient is summed over the units too")
def _result_summed(context: Context) -> Iterator[Variant]:
    base = context.result
    if base.ndim == 1 or (base.ndim == 2 and 1 in base.shape):
        yield of_result(lambda c: np.full(c.found.shape, np.sum(c.result)))
        yield of_result(lambda c: np.asarray(np.sum(c.result)))


@mistake(Transposed, "the result is transposed")
def _result_transposed(context: Context) -> Iterator[Variant]:
    if context.result.ndim == 2:
        yield of_result(lambda c: c.result.T)


@mistake(DerivativeAppliedTwice, "{factor} is multiplied in once too often")
def _region_once_more(context: Context) -> Iterator[Variant]:
    graph = context.graph
    for k, region in enumerate(context.regions):
        if region.derivative.shape != context.result.shape or region.kind == "factor":
            continue
        z, a = graph.name_of(region.source) or "Z", graph.name_of(region.target) or "A"
        own = id(region.source) in graph.reached or region.source is context.point.nodes.get(graph.name)
        mask = region.kind == "mask"
        factor = f"the mask of {a}" if mask else f"the derivative of {label_of(region)} at {z}"
        text = "" if mask else "× " + region_text(region, z, a)
        cause = WrongOperand.code if mask and not own else ""
        yield of_result(_times(_derivative(k)), text, cause, factor=factor)


def _derivative(k: int) -> Callable[[Context], Array]:
    return lambda context: context.regions[k].derivative


@mistake(DerivativeAppliedTwice, "the derivative of {activation} at {z} is multiplied in as well")
def _slope_as_well(context: Context) -> Iterator[Variant]:
    z = context.graph.name
    if context.result.ndim and z in context.values:
        for activation in USUAL:
            factor = _function_of(z, activation.slope)
            yield of_result(_times(factor), f"× {activation.name}'({z})", activation=activation.name, z=z)


@mistake(DerivativeAppliedTwice, "the derivative of {activation}, for the output {name}, is multiplied in as well")
def _slope_by_output_as_well(context: Context) -> Iterator[Variant]:
    for name in context.names(context.result.shape) if context.result.ndim else ():
        for activation in USUAL:
            if activation.reads_output:
                factor = _function_of(name, activation.slope_by_output)
                text = output_form(activation.row, name, context.result.shape) if activation.row is not None else name
                yield of_result(_times(factor), f"× {text}", activation=activation.name, name=name)


@mistake(WrongOperand, "{name} is multiplied in as well")
def _value_as_well(context: Context) -> Iterator[Variant]:
    for name in context.names(context.result.shape) if context.result.ndim else ():
        yield of_result(_times(_function_of(name, lambda a: a)), f"× {name}", name=name)


def _function_of(name: str, function: Callable[[Array], Array | None]) -> Callable[[Context], Array]:
    return lambda context: np.asarray(function(context.values[name]))


@mistake(MissingFactor, "the division by {name} is left out")
def _division_left_out(context: Context) -> Iterator[Variant]:
    graph = context.graph
    for position, node in enumerate(graph.forward.values()):
        if node.op is DIVIDE and 1 < node.inputs[1].size < context.result.size:
            name = graph.name_of(node.inputs[1]) or "a value of the forward pass"
            yield of_result(_times(_denominator(position)), name=name)


def _denominator(position: int) -> Callable[[Context], Array]:
    return lambda context: np.asarray(list(context.graph.forward.values())[position].inputs[1].value)


@mistake(MissingTerm, "{what}")
def _true_classes(context: Context) -> Iterator[Variant]:
    shape = context.result.shape
    for name, labels in context.point.constants.items() if len(shape) == 2 else ():
        if labels.dtype.kind in "iu" and labels.size in shape:
            axis = 1 if labels.size == shape[0] else 0
            what = f"the elements of the true classes ({name}) are zero: their term is left out"
            yield of_result(_classes(name, axis, kept=False), what=what)
            what = f"only the elements of the true classes ({name}) are not zero"
            yield of_result(_classes(name, axis, kept=True), what=what)


def _classes(name: str, axis: int, *, kept: bool) -> Callable[[Context], Array | None]:
    def compute(context: Context) -> Array | None:
        hit = np.zeros(context.result.shape, bool)
        np.put_along_axis(hit, np.expand_dims(context.point.constants[name].ravel(), axis), True, axis)
        return np.where(hit == kept, context.result, 0.0)

    return compute


@mistake(WrongOperand, "it is computed from {other}, not from {own}")
def _from_other_signal(context: Context) -> Iterator[Variant]:
    graph = context.graph
    for seed, i in graph.seeds.items():
        own = context.point.keys.get(seed, "d" + seed)
        for other, array in context.signals.items():
            if array.shape == graph.order[i].shape and other != own:
                yield changed(i, _seeded(seed, other), other=other, own=own)


def _seeded(seed: str, other: str) -> Changes:
    return lambda context: {context.graph.seeds[seed]: lambda graph, i, inputs, at: graph.values[other]}


@mistake(WrongOperand, "it is {other}, unchanged")
def _other_signal(context: Context) -> Iterator[Variant]:
    for other, array in context.signals.items():
        if array.shape == context.result.shape:
            yield of_result(_signal(other), other, other=other)


def _signal(name: str) -> Callable[[Context], Array]:
    return lambda context: context.signals[name]
