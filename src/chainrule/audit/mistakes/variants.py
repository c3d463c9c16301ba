"""What a known mistake computes at a step: a change of its gradient graph, or another array in place of the result."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...adapters.backward_pass import Point
from ...core.op import Array
from ...core.tensor import Tensor
from ...ops.shape import TRANSPOSE
from ..graph import Change, GradientGraph
from ..regions import Region

Text = Callable[[GradientGraph, Callable[[int], str]], str]

#: In graphs with more nodes, those of unrolled loops, single nodes are not changed.
LARGEST_GRAPH = 400
#: Graphs with more nodes are those of loops: a mistake in a line of theirs is made at every step.
LEAST_OF_A_LOOP = 120
#: How values are called that are not what the forward pass computes with.
AS_CACHED, AS_CHANGED = " as it is in the cache", " as backward changed it"


@dataclass
class Context:
    """A step at one point: its graph, and every value that might be used in place of another.

    Attributes
    ----------
    found
        The gradient as it was returned, in its own shape.
    values, signals
        Values of the forward pass, and the other gradients that were returned, by name.
    tolerance
        Largest relative difference between what was found and what a mistake gives.
    uniform
        Whether the graphs of the step have one structure at all points.
    kept
        What several mistakes compute: derivatives at an array, the changes of a variant.
    at_points
        The step at all points, this one among them.
    """

    point: Point
    graph: GradientGraph
    regions: list[Region]
    found: Array
    shape: tuple[int, ...]
    values: dict[str, Array]
    signals: dict[str, Array]
    tolerance: float
    uniform: bool = True
    kept: dict[Any, Any] = field(default_factory=dict)
    at_points: Sequence[Context] = ()

    @property
    def result(self) -> Array:
        """The right gradient."""
        return np.asarray(self.graph.order[-1].value)

    def once(self, key: Any, compute: Callable[[], Any]) -> Any:
        """Return what `compute` gives, computed the first time that `key` is asked for."""
        if key not in self.kept:
            self.kept[key] = compute()
        return self.kept[key]

    def names(self, shape: tuple[int, ...]) -> list[str]:
        """Return the names of the values of a shape, except those that are the same number everywhere."""
        return [n for n, v in self.values.items() if v.shape == shape and (v.size < 2 or np.ptp(v) > 0)]


Compute = Callable[[Context], Array | None]
Changes = Callable[[Context], dict[int, Change] | None]


@dataclass
class Variant:
    """One wrong way to compute a step.

    Attributes
    ----------
    compute
        What it gives at a point; None, or an error of shapes, where it cannot be computed.
    words
        What the sentence of its mistake is filled with.
    changes
        Every node of the graph that is computed differently, by position, so that two mistakes can be made at once.
    start
        The first of them at the first point: nothing before it is computed again.
    text
        How nodes of the graph are written in its formula, by position; `formula` is the whole, where that is simpler.
    evaluations
        How often the graph is evaluated for it.
    cause, message
        Filled in by the row of the table; `cause` is set where a match has another than its row.
    scales
        The factor that is left between what it gives and what was found, at each point.
    row
        The place of its row in the table: of several that fit equally well the earlier one is named first.
    rank
        What is added to the rank of its cause: of several that fit, one with a lower rank is the simpler explanation.
    """

    compute: Compute
    words: dict[str, Any] = field(default_factory=dict)
    changes: Changes | None = None
    start: int = 0
    text: dict[int, Text] = field(default_factory=dict)
    formula: str = ""
    evaluations: int = 1
    cause: str = ""
    message: str = ""
    scales: list[float] = field(default_factory=list)
    row: int = 0
    rank: int = 0


# -- changes at places of the graph ------------------------------------------------------------------------------------


def changed(
    start: int, changes: Changes, text: dict[int, Text] | None = None, cause: str = "", **words: Any
) -> Variant:
    """Return the variant with some nodes of the graph computed differently, the first of them at `start`."""

    def compute(context: Context) -> Array | None:
        made = changes(context)
        return context.graph.evaluated(made) if made else None

    return Variant(compute, words, changes, start, text or {}, cause=cause)


def at(
    context: Context, i: int, change: Change, text: Text | None = None, cause: str = "", **words: Any
) -> Iterator[Variant]:
    """Yield the gradient with node `i` computed differently, and with all nodes of its kind, as in a loop over time."""
    graph = context.graph
    signature, (_, alike) = graph.signatures[i], graph.classes_of_lines[graph.lines[i]]
    in_loop = len(graph.order) > LEAST_OF_A_LOOP and alike > 2
    if context.uniform and len(graph.order) <= LARGEST_GRAPH and not in_loop:
        yield changed(i, lambda other: {i: change}, {i: text} if text else None, cause, **words)
    first, count = graph.classes[signature]
    if in_loop and _is_first_of_line(graph, i, count):
        yield changed(i, _in_line(graph.lines[i], change), None, cause, **words)
    if first == i and (not context.uniform or count > 1):
        yield changed(i, _everywhere(signature, change), None, cause, **words)


def _is_first_of_line(graph: GradientGraph, i: int, most: int) -> bool:
    """Whether a node is the first of a line of a loop, which is one of several of its kind."""
    first, count = graph.classes_of_lines[graph.lines[i]]
    return first == i and 1 < count < most


def _in_line(line: tuple[Any, ...], change: Change) -> Changes:
    return lambda context: {i: change for i, s in enumerate(context.graph.lines) if s == line}


def _everywhere(signature: tuple[Any, ...], change: Change) -> Changes:
    return lambda context: {i: change for i, s in enumerate(context.graph.signatures) if s == signature}


def keep(k: int, factor: float = 1.0) -> Change:
    """Return the change that leaves one input alone."""
    return lambda graph, i, inputs, at: factor * np.broadcast_arrays(*inputs)[k]


def exchange(k: int, make: Callable[[GradientGraph, Array], Array]) -> Change:
    """Return the change that puts another array in place of input `k`."""
    return lambda graph, i, inputs, at: graph.plain(i, [make(graph, x) if j == k else x for j, x in enumerate(inputs)])


def value(name: str, turned: bool = False) -> Callable[[GradientGraph, Array], Array]:
    """Return what puts a value in an operand's place, by name."""
    return lambda graph, old: np.swapaxes(graph.values[name], -1, -2) if turned else graph.values[name]


def replaced(make: Compute, formula: str = "", cause: str = "", **words: Any) -> Variant:
    """Return the variant that gives an array as a whole."""
    return Variant(make, words, formula=formula, cause=cause)


#: The rank of an explanation by values that have no name, or by a pattern: only where nothing else fits.
LAST = 4


def ranked(variant: Variant, rank: int = LAST) -> Variant:
    """Return a variant as an explanation that comes after others."""
    variant.rank = rank
    return variant


def of_result(make: Compute, formula: str = "", cause: str = "", **words: Any) -> Variant:
    """Return the variant that is made from the right gradient: the graph is not evaluated for it."""
    return Variant(make, words, formula=formula, cause=cause, evaluations=0)


# -- words and text ----------------------------------------------------------------------------------------------------

_NUMBERED = re.compile(r"^(.*?)[_\[]?(\d+)\]?$")


def siblings(a: str, b: str) -> bool:
    """Whether two names differ in their layer's number only: W1 and W2."""
    if a.startswith("cache[") or b.startswith("cache["):  # places in a tuple, no layers
        return False
    first, second = _NUMBERED.match(a), _NUMBERED.match(b)
    return bool(first and second and first[1] == second[1] and a != b)


def inner(p: int) -> Text:
    """Return what writes the node at `p`."""
    return lambda graph, write: write(p)


def beside(p: int, pattern: str) -> Text:
    """Return what writes the node at `p` into a pattern: ``"{} ⊙ A1"``."""
    return lambda graph, write: pattern.replace("{}", write(p))


def number(value: Any) -> str:
    """Return a number as it is written in a message."""
    return f"{float(value):.4g}"


def operand_name(graph: GradientGraph, node: Tensor) -> tuple[bool, str]:
    """Return whether an operand is transposed, and its name."""
    turned = False
    while not graph.name_of(node) and node.op is TRANSPOSE:
        turned = not turned
        node = node.inputs[0]
    return turned, graph.name_of(node)
