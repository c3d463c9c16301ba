"""A gradient that is computed from something else: another loss, another gradient summed, some of its contributions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from ...core.op import Array
from ..scales import is_simple, law
from .general import MissingTerm, WrongOperand
from .indexing import MOST_NUMBERS, MOST_POSITIONS, called, contributions, signal_of, upstreams
from .table import Cause, mistake
from .variants import Context, Variant, of_result, ranked, replaced

#: Most contributions to one element, all of whose sums are tried.
MOST_SUMMED = 6
#: At least so many numbers, at all points together, must be sums of some contributions.
LEAST_NUMBERS = 4

# -- another loss ------------------------------------------------------------------------------------------------------

#: The gradients of the usual losses, up to a factor, by the output and the target.
_LOSSES: tuple[tuple[str, Callable[[Array, Array], Array]], ...] = (
    ("the squared error", lambda a, y: a - y),
    ("cross entropy", lambda a, y: -y / a),
    ("binary cross entropy", lambda a, y: (a - y) / (a * (1 - a))),
    ("the second term of binary cross entropy", lambda a, y: (1 - y) / (1 - a)),
    ("the absolute error", lambda a, y: np.sign(a - y)),
    ("sigmoid and binary cross entropy together", lambda a, y: 1 / (1 + np.exp(-a)) - y),
    ("the exponential loss", lambda a, y: -y * np.exp(-y * a)),
    ("the hinge loss", lambda a, y: -y * (y * a < 1)),
    ("the squared hinge loss", lambda a, y: -y * np.maximum(1 - y * a, 0)),
    ("the perceptron's loss", lambda a, y: -y * (y * a < 0)),
)


@mistake(WrongOperand, "it is the gradient of {loss}, which is not the loss")
def _gradient_of_another_loss(context: Context) -> Iterator[Variant]:
    if not context.graph.from_loss or context.graph.name in context.point.values:
        return
    for target, array in context.point.constants.items():
        if array.shape == context.shape and array.dtype.kind in "fiub":
            for n, (loss, _) in enumerate(_LOSSES):
                yield of_result(_of_loss(n, target), loss=loss)


def _of_loss(n: int, target: str) -> Callable[[Context], Array]:
    def compute(context: Context) -> Array:
        output = np.asarray(context.point.nodes[context.graph.name].value, np.float64)
        return _LOSSES[n][1](output, np.asarray(context.point.constants[target], np.float64))

    return compute


# -- another gradient --------------------------------------------------------------------------------------------------


@mistake(WrongOperand, "it is {other}, summed over {axes}")
def _sum_of_another(context: Context) -> Iterator[Variant]:
    for other, array in context.signals.items():
        for count in range(1, array.ndim + 1) if array.size > context.found.size else ():
            for axes in itertools.combinations(range(array.ndim), count):
                left = [n for a, n in enumerate(array.shape) if a not in axes and n > 1]
                if left == [n for n in context.found.shape if n > 1]:
                    where = f"axis {axes[0]}" if count == 1 else "axes " + ", ".join(map(str, axes))
                    yield of_result(_summed(other, axes), f"Σ {other}", other=other, axes=where)


def _summed(other: str, axes: tuple[int, ...]) -> Callable[[Context], Array]:
    return lambda context: np.asarray(context.signals[other].sum(axis=axes))


# -- more than there should be -----------------------------------------------------------------------------------------


class ExtraTerm(Cause):
    """A term too many is added.

    Wrong
    -----
        x, W = rng.normal(size=(9, 5)), rng.normal(size=(5, 5))


        def forward(x, W):
            return np.tanh(x @ W), (x, W, np.tanh(x @ W))


        def backward(dout, cache):
            x, W, a = cache
            dz = dout * (1 - a**2)
            dx = dz @ W.T + dout  # wrong
            return dx, x.T @ dz


        report = cr.audit_layer(forward, backward, x, W)

    Right
    -----
        dx = dz @ W.T

    How it shows
    ------------
    Yours minus the right gradient is another array of the pass, or a multiple of one; here the upstream gradient.

    Why it is wrong
    ---------------
    A gradient has one term for each path from its value to the loss. `dout` belongs to it only where the input is added
    to the output, as in a residual block.
    """

    code = "extra-term"
    shown_in = "dx"
    rank = 2


@mistake(ExtraTerm, "{other} is added")
def _another_array_added(context: Context) -> Iterator[Variant]:
    shape = context.result.shape
    if context.graph.name in context.point.values and context.graph.name in context.names(shape):
        names = [n for n in context.names(shape) if n != context.graph.name]  # its own multiple is a penalty
    else:
        names = context.names(shape)
    for other in [n for n, v in context.signals.items() if v.shape == shape] + names:
        yield of_result(_added(_array_named(other)), other=other)
    for name, i in context.graph.seeds.items():
        if context.graph.order[i].shape == shape:
            yield of_result(_added(_upstream_named(name)), other=called(context, name))


def _array_named(name: str) -> Callable[[Context], Array]:
    return lambda context: context.signals[name] if name in context.signals else context.values[name]


def _upstream_named(name: str) -> Callable[[Context], Array]:
    return lambda context: signal_of(context, name)


def _added(array: Callable[[Context], Array]) -> Callable[[Context], Array | None]:
    """Return the right gradient plus the multiple of an array that fits, if that is a usual one at every point."""

    def compute(context: Context) -> Array | None:
        factors = [_multiple(c, array(c)) for c in context.at_points]
        found = law(factors, [c.point.size for c in context.at_points])
        if found is None or not is_simple(found.k) or not all(factors):
            return None
        return np.asarray(context.result + _multiple(context, array(context)) * array(context))

    return compute


def _multiple(context: Context, array: Array) -> float:
    if not array.shape == context.found.shape == context.result.shape or array.size < 2:
        return 0.0
    return float(np.sum((context.found - context.result) * array)) / float(np.sum(array * array) or np.inf)


# -- one element for each label ----------------------------------------------------------------------------------------


@mistake(WrongOperand, "1 is subtracted from {what} ({labels}), not from one element for each example")
def _labels_misread(context: Context) -> Iterator[Variant]:
    for labels, array in context.point.constants.items() if len(context.shape) == 2 else ():
        if array.dtype.kind in "iu" and array.ndim == 1:
            for name in context.names(context.shape):
                yield of_result(_one_less(name, labels, 1), what="whole columns", labels=labels)
                yield of_result(_one_less(name, labels, 0), what="whole rows", labels=labels)


def _one_less(name: str, labels: str, axis: int) -> Callable[[Context], Array]:
    def compute(context: Context) -> Array:
        out, where = context.values[name].copy(), context.point.constants[labels]
        out[(slice(None), where) if axis else where] -= 1
        return out

    return compute


# -- some elements -----------------------------------------------------------------------------------------------------


@mistake(MissingTerm, "only {some} of {all} elements are computed, the others are zero")
def _zero_elsewhere(context: Context) -> Iterator[Variant]:
    filled = np.count_nonzero(context.found)
    if context.found.shape == context.result.shape and filled >= LEAST_NUMBERS:
        yield ranked(of_result(_where_filled, some=filled, all=np.count_nonzero(context.result)))


def _where_filled(context: Context) -> Array | None:
    if context.found.shape != context.result.shape or np.count_nonzero(context.found) < LEAST_NUMBERS:
        return None
    return np.where(context.found == 0, 0.0, context.result)


# -- some contributions ------------------------------------------------------------------------------------------------


@mistake(MissingTerm, "contributions of elements of {upstream} are left out; which ones depends on the data")
def _some_contributions(context: Context) -> Iterator[Variant]:
    numbers = sum(np.count_nonzero(c.found) for c in context.at_points)
    for name, i in upstreams(context).items() if numbers >= LEAST_NUMBERS else ():
        if all(_is_small(c, name) for c in context.at_points):
            split = [_parts(c, name) for c in context.at_points]
            several = [int(np.max(np.count_nonzero(parts, axis=0), initial=0)) for _, parts in split]
            if 2 <= max(several) <= MOST_SUMMED:  # of one contribution each, any mask would fit
                variant = replaced(_nearest_sums(name), upstream=called(context, name))
                variant.start, variant.evaluations = i, signal_of(context, name).size
                yield ranked(variant)


def _is_small(context: Context, name: str) -> bool:
    count = signal_of(context, name).size if name in upstreams(context) else MOST_POSITIONS + 1
    same = context.result.shape == context.found.shape
    return same and count <= MOST_POSITIONS and count * context.result.size <= MOST_NUMBERS


def _parts(context: Context, name: str) -> tuple[Array, Array]:
    """Return what does not come from an upstream gradient, and what each of its elements contributes."""
    axes = tuple(range(signal_of(context, name).ndim))
    parts = contributions(context, name, axes)
    parts = parts.reshape(len(parts), -1)
    return context.result.ravel() - parts.sum(axis=0), parts


def _nearest_sums(name: str) -> Callable[[Context], Array | None]:
    """Return the element by element sum of some contributions that is nearest to the found numbers."""

    def compute(context: Context) -> Array | None:
        rest, parts = _parts(context, name)
        out = rest.copy()
        for j, wanted in enumerate(context.found.ravel() - rest):
            terms = parts[parts[:, j] != 0, j]
            sums = (sum(chosen) for n in range(len(terms) + 1) for chosen in itertools.combinations(terms, n))
            out[j] += min(sums, key=lambda s: abs(s - wanted))
        return out.reshape(context.found.shape)

    return compute
