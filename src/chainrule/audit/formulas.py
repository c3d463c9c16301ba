"""A step's gradient graph as a line of text, with the caller's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from ..core.op import Array, Operation, Shape, row
from ..core.tensor import Tensor
from ..formula.expression import Expression, frozen, name, number, times
from ..formula.printer import ADDED, ATOM, PRODUCT, Printed, TextPrinter
from ..formula.reading import slope
from ..formula.rows import MULTIPLY, NAME
from ..formula.rules import simplify

if TYPE_CHECKING:
    from ..adapters.backward_pass import Point
    from .graph import GradientGraph
    from .regions import Region

#: The longest formula that is shown, in characters, and the most nodes that are read for one.
LONGEST, MOST_NODES = 90, 60

Text = Callable[["GradientGraph", Callable[[int], str]], str]


class _TooLong(Exception):
    """There is no formula that fits on a line."""


class _Printer(TextPrinter):
    """Writes names as the caller does; sums don't show their axes. `texts` are names that stand for what is written."""

    axes = ""

    def __init__(self) -> None:
        super().__init__(str)
        self.texts: dict[str, int] = {}

    def text(self, e: Expression) -> Printed:
        """Return what is written, and how tightly it binds."""
        return (e["name"], self.texts.get(e["name"], ATOM)) if e.op is NAME else super().text(e)

    def leaf(self, text: str, node: Tensor, level: int = ADDED) -> Expression:
        """Return something that is written already, in the place of a node."""
        self.texts[text] = level
        return name(text, node.shape)


def written(graph: GradientGraph, regions: Sequence[Region], changed: Mapping[int, Text], at: int | None = None) -> str:
    """Return the formula of a graph, the nodes in `changed` written differently; "" where it gets too long.

    With `at`, it is the formula of that node, not of the result.
    """
    for start in _starts(graph) if graph.from_loss else [None]:
        reader = _Reader(graph, regions, changed, start)
        try:
            text = reader.printer.form(simplify(reader.gradient(len(graph.order) - 1 if at is None else at)))
        except _TooLong:
            continue
        if len(text) <= LONGEST:
            return text
    return ""


def _starts(graph: GradientGraph) -> list[tuple[int, str] | None]:
    """Return what a formula may begin with when it begins at the loss: "(A2 − Y) / m", else "∂loss/∂A2"."""
    last = len(graph.order) - 1
    named = sorted((i, n) for t, n in graph.names_by_id.items() if (i := graph.reached.get(t)) is not None and i < last)
    free = [(i, n) for i, n in named if not any(_depends(graph, i, j) for j in graph.seeds.values())]
    short = [(i, from_the_loss(graph.point, n, np.asarray(graph.order[i].value))) for i, n in free]
    return [*(s for s in short if s[1]), *((i, f"∂loss/∂{n}") for i, n in free[:6])] or [None]


def _depends(graph: GradientGraph, i: int, j: int) -> bool:
    """Whether node `i` is computed from node `j`."""
    seen, stack = set(), [i]
    while stack:
        k = stack.pop()
        if k == j:
            return True
        if k in seen or k < j:
            continue
        seen.add(k)
        stack += [p for p in graph.dependent[k] if p is not None]
    return False


class _Reader:
    """Reads expressions off a gradient graph."""

    def __init__(
        self,
        graph: GradientGraph,
        regions: Sequence[Region],
        changed: Mapping[int, Text],
        start: tuple[int, str] | None,
    ) -> None:
        self.graph, self.changed, self.start = graph, changed, start
        self.printer, self.nodes = _Printer(), 0
        self.seeds = {i: graph.point.keys.get(n, "d" + n) for n, i in graph.seeds.items()}
        self.places = {q: (p, region) for region in regions for p, q in self._place(region)}

    def _place(self, region: Region) -> list[tuple[int, int]]:
        """Return where a region's derivative is multiplied in: the nodes before and after it."""
        graph = self.graph
        p, q = graph.reached.get(id(region.target)), graph.reached.get(id(region.source))
        if p is None or q is None or p >= q:
            return []
        made, found = np.asarray(graph.order[p].value) * region.derivative, np.asarray(graph.order[q].value)
        return [(p, q)] if made.shape == found.shape and np.allclose(made, found, rtol=1e-9, atol=0) else []

    def gradient(self, i: int) -> Expression:
        """Return the expression of node `i`, which depends on an upstream gradient."""
        self.nodes += 1
        node = self.graph.order[i]
        if self.nodes > MOST_NODES:
            raise _TooLong
        if i in self.changed:
            return self.printer.leaf(self.changed[i](self.graph, self._inner), node)
        if i in self.seeds:
            return name(self.seeds[i], node.shape)
        if self.start is not None and i == self.start[0]:
            text = self.start[1]
            return self.printer.leaf(text, node, ATOM if text.startswith("∂") or text.endswith(")") else PRODUCT)
        if i in self.places:
            p, region = self.places[i]
            return times(self.gradient(p), self._derivative(region))
        if node.op is None or i == self.graph.start:
            raise _TooLong
        positions = self.graph.dependent[i]
        inputs = [
            self.gradient(p) if p is not None else self._value(x) for p, x in zip(positions, node.inputs, strict=True)
        ]
        return Expression(node.op, tuple(inputs), frozen(node.attrs), node.shape)

    def _inner(self, i: int) -> str:
        return self.printer.bracketed(simplify(self.gradient(i)), PRODUCT)

    def _derivative(self, region: Region) -> Expression:
        names = self.graph.names_by_id
        z, a = names.get(id(region.source), "Z"), names.get(id(region.target), "A")
        derivative = _slope(region, z, a)
        if derivative is not None:
            return derivative
        if region.kind == "mask" and (known := self._known(region.derivative)):
            return name(known, region.derivative.shape)
        text = region_text(region, z, a)
        if region.kind == "mask" and (known := self._known(region.derivative / (region.parameter or 1.0))):
            text = text.replace("mask", known)
        return self.printer.leaf(text, region.source, PRODUCT if " · " in text else ATOM)

    def _value(self, node: Tensor) -> Expression:
        """Return the expression of a node that no upstream gradient goes into."""
        kind = node.dtype.kind if node.dtype.kind in "fb" else "i"
        label = self.graph.names_by_id.get(id(node)) or ""
        if not label and node.size == 1 and node.value is not None and not node.recordings:
            return number(float(node.value.ravel()[0]))
        label = label or self._known(np.asarray(node.value))
        if label:
            return name(f"({label})" if " " in label else label, node.shape, kind)
        self.nodes += 1
        if node.op is None or self.nodes > MOST_NODES:
            raise _TooLong
        return Expression(node.op, tuple(map(self._value, node.inputs)), frozen(node.attrs), node.shape, kind)

    def _known(self, value: Array) -> str:
        same = (n for n, v in self.graph.values.items() if v.shape == value.shape and np.array_equal(v, value))
        return next(same, "")


def region_text(region: Region, z: str, a: str) -> str:
    """Return the derivative of an elementwise part of the forward pass: "1[Z1 > 0]", "(1 − A1²)"."""
    kind, parameter = region.kind, region.parameter
    if kind == "leaky_relu":
        return f"(1 if {z} > 0 else {parameter:g})"
    if kind == "mask":
        return "mask" if abs(parameter - 1) < 1e-12 else f"mask · {parameter:.4g}"
    if kind == "factor":
        return f"{parameter:.4g}"
    derivative = _slope(region, z, a)
    return _Printer().bracketed(derivative, PRODUCT) if derivative is not None else f"{kind or 'f'}'({z})"


def output_form(op: Operation, at: str, shape: Shape) -> str:
    """Return a row's derivative as it is written for the output, with `at` in its place: "(1 − Z1²)"."""
    derivative = slope(op, at, at, shape)
    return _Printer().bracketed(derivative, PRODUCT) if derivative is not None else f"{op.name}'({at})"


def _slope(region: Region, z: str, a: str) -> Expression | None:
    """Return the derivative of a region that is an operation of the table."""
    try:
        return slope(row(region.kind), z, a, region.source.shape)
    except KeyError:
        return None


def from_the_loss(point: Point, name: str, truth: Array) -> str:
    """Return "(A2 − Y) / m" where the gradient at the output is a multiple of such a difference; else ""."""
    values = {n: np.asarray(t.value) for n, t in point.nodes.items() if t.shape == truth.shape}
    labels = {n: v for n, v in point.constants.items() if v.shape == truth.shape}
    for y, labelled in labels.items():
        for a, array in values.items():
            difference = array - labelled
            square = float(np.sum(difference * difference))
            if square == 0:
                continue
            c = float(np.sum(truth * difference)) / square
            if c and np.max(np.abs(truth - c * difference)) <= 1e-6 * abs(c) * np.max(np.abs(difference)):
                return scaled(f"({a} − {y})", c, point.size, truth.size)
    return ""


def scaled(text: str, c: float, m: int | None, elements: int | None = None) -> str:
    """Return c times the formula `text`, as "text / m" where c is a multiple of 1 / m or of 1 / elements."""
    if abs(c - 1) < 1e-6:
        return text
    counts = (n for n in (m, elements) if n and n > 1)
    whole = next((n for n in counts if min(abs(abs(c) * n / k - 1) for k in (1, 2, 0.5)) < 1e-6), 0)
    by_example = bool(m and whole and whole % m == 0)
    per_example = c * m if m and by_example else c
    near = float(Fraction(per_example).limit_denominator(1000))
    value = near if abs(near - per_example) <= 1e-6 * abs(c) else float(f"{c:.4g}")
    factor = number(value, -1 if by_example else 0)
    return _Printer().form(Expression(MULTIPLY, (factor, name(text, (2, 2))), (), (2, 2)))
