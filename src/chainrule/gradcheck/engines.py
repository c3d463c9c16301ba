"""What engines with a known mistake make of a function: contributions that overwrite, paths that are run again.

The function is run once on tensors; the mistakes of an engine are made on its graph, and compared with the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ..adapters.gradient_forms import HandWritten
from ..core.node import Recording
from ..core.op import Array
from ..core.reverse import fitted, topological
from ..core.tensor import Tensor
from .comparison import Comparison
from .diagnosis import Diagnosis

#: Larger graphs are not taken apart.
LARGEST = 60
#: Points at which a mistake has to give the numbers, and how far the second is from the first.
POINTS, MOVED = 2, 0.1

Gradients = dict[int, Array]
Starts = Sequence[tuple[Tensor, Array]]
Engine = Callable[[Sequence[Tensor], Starts], Gradients]


def engine_mistake(comparison: Comparison) -> Diagnosis | None:
    """Return the mistake of an engine that gives all the gradients of a function written by hand; None if none does."""
    function = comparison.function
    if not isinstance(function, HandWritten) or function.form == "jacobian":
        return None
    rng = np.random.default_rng(0)
    runs = []
    for n in range(POINTS):
        point = [x + n * MOVED * rng.normal(size=x.shape) for x in comparison.point]
        try:
            runs.append(_run(function, point, rng))
        except Exception:  # the function, or its gradient, is not one for tensors, or not for this point
            return None
    if any(not 2 < len(order) <= LARGEST or not any(map(np.any, found)) for order, _, _, found in runs):
        return None
    for (cause, explanation), engines in _engines([len(order) for order, _, _, _ in runs], function.form == "vjp"):
        if all(_gives(engine, *run) for engine, run in zip(engines, runs, strict=True)):
            return cause, explanation
    return None


Run = tuple[list[Tensor], list[tuple[Tensor, Array]], list[Tensor], list[Array]]


def _run(function: HandWritten, point: list[Array], rng: np.random.Generator) -> Run:
    """Return a function's graph, the cotangents of its outputs, its leaves and the gradients that were found."""
    recordings = frozenset({Recording("the diagnosis of a gradient")})
    leaves = [Tensor(x.copy(), recordings=recordings) for x in point]
    outputs = [t for t in function.real_outputs(function.f(*function.rebuilt(leaves))) if isinstance(t, Tensor)]
    cotangents = [np.asarray(rng.normal(size=t.shape)) for t in outputs]
    found = function.linearize(point)([np.asarray(g) for g in cotangents])
    kept = [(leaf, np.asarray(g)) for leaf, g in zip(leaves, found, strict=True) if g is not None]
    starts = list(zip(outputs, cotangents, strict=True))
    return topological(outputs), starts, [leaf for leaf, _ in kept], [g for _, g in kept]


def _gives(
    engine: Engine, order: Sequence[Tensor], starts: Starts, leaves: Sequence[Tensor], found: Sequence[Array]
) -> bool:
    with np.errstate(all="ignore"):
        gradients = engine(order, starts)
    pairs = [(gradients.get(id(leaf), np.zeros(leaf.shape)), g) for leaf, g in zip(leaves, found, strict=True)]
    return bool(pairs) and all(_equal(a, b) for a, b in pairs)


def _equal(a: Array, b: Array) -> bool:
    return bool(np.all(np.abs(a - b) <= 1e-9 * np.max(np.abs(b), initial=0.0)))


def _engines(sizes: Sequence[int], second_order: bool) -> Iterator[tuple[Diagnosis, list[Engine]]]:
    """Yield each mistake with the engine that makes it, for each of the points."""
    constant = "A value that was computed from the arguments is taken for a constant: a path is left out."
    constants: list[tuple[Diagnosis, list[Engine]]] = [
        (("missing-term", constant), [_constant(k)] * len(sizes)) for k in range(min(sizes))
    ]
    if second_order:  # formulas, rather than an engine
        yield from constants
    overwritten = "It is what the last use of a value contributes: `=` in place of `+=` where a value is used twice."
    again = "Each path runs all that is below it again, with what has been added up by then: visit each value once."
    for reverse in (False, True):
        yield ("overwritten-overlap", overwritten), [_overwriting(reverse)] * len(sizes)
        yield ("accumulates", again), [_recursive(reverse)] * len(sizes)
    once = "A value is passed on before all that uses it has added to it: visit them in topological order."
    yield ("missing-term", once), [_breadth_first] * len(sizes)
    yield from constants


# -- engines -----------------------------------------------------------------------------------------------------------


def _parts(node: Tensor, g: Array) -> list[tuple[Tensor, Array]]:
    """Return what a node contributes to the gradient of each of its inputs."""
    found = []
    for k, x in enumerate(node.inputs if node.op is not None and node.op.differentiable else ()):
        if x.recordings and node.op is not None and (rule := node.op.rule(k)) is not None:
            part = rule(g, node.value, *(i.value for i in node.inputs), **node.attrs)
            if part is not None:
                found.append((x, np.asarray(fitted(np.asarray(part), x, node.op.name, k))))
    return found


def _overwriting(reverse: bool) -> Engine:
    """Return the engine that keeps the last contribution; which one that is depends on the order of the visits."""

    def engine(order: Sequence[Tensor], starts: Starts) -> Gradients:
        grads = {id(t): g for t, g in starts}
        for node in reversed(_visited([t for t, _ in starts], reverse)):
            for x, part in _parts(node, grads[id(node)]) if id(node) in grads else ():
                grads[id(x)] = part
        return grads

    return engine


def _visited(outputs: Sequence[Tensor], reverse: bool) -> list[Tensor]:
    """Return the nodes in topological order, the inputs of each visited from the first or from the last."""
    found: list[Tensor] = []
    seen: set[int] = set()
    stack = [(t, False) for t in outputs]
    while stack:
        node, finished = stack.pop()
        if finished:
            found.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            inputs = [(x, False) for x in node.inputs]
            stack += [(node, True), *(inputs if reverse else inputs[::-1])]  # the last of a stack is visited first
    return found


def _recursive(reverse: bool) -> Engine:
    """Return the engine that calls backward of every input whenever something is added to it."""

    def engine(order: Sequence[Tensor], starts: Starts) -> Gradients:
        grads: Gradients = {}
        stack = list(starts)[::-1]
        calls = 0
        while stack and calls < LARGEST**2:
            node, g = stack.pop()
            calls += 1
            grads[id(node)] = grads.get(id(node), 0.0) + g
            stack += _pending(node, grads[id(node)], reverse)
        return grads

    return engine


def _pending(node: Tensor, g: Array, reverse: bool) -> list[tuple[Tensor, Array]]:
    parts = _parts(node, g)
    return parts if reverse else parts[::-1]  # the last of a stack is visited first


def _breadth_first(order: Sequence[Tensor], starts: Starts) -> Gradients:
    grads = {id(t): g for t, g in starts}
    queue, seen = [t for t, _ in starts], {id(t) for t, _ in starts}
    for node in queue:
        for x, part in _parts(node, grads[id(node)]):
            grads[id(x)] = grads.get(id(x), 0.0) + part
            if id(x) not in seen:
                seen.add(id(x))
                queue.append(x)
    return grads


def _constant(k: int) -> Engine:
    """Return the engine that takes the k-th value, and all that are equal to it, for constants."""

    def engine(order: Sequence[Tensor], starts: Starts) -> Gradients:
        value = np.asarray(order[k].value)
        grads = {id(t): g for t, g in starts}
        for node in reversed(order):
            same = node.op is not None and node.shape == value.shape and np.array_equal(np.asarray(node.value), value)
            for x, part in _parts(node, grads[id(node)]) if id(node) in grads and not same else ():
                grads[id(x)] = grads.get(id(x), 0.0) + part
        return grads

    return engine
