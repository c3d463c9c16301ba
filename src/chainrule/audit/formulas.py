"""A step's gradient graph as a line of text, with the names that the caller uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.op import Array

if TYPE_CHECKING:
    from ..adapters.backward_pass import Point
    from .graph import GradientGraph, Region

LONGEST = 90
SUM, ELEMENTWISE, PRODUCT, ATOM = 0, 1, 2, 3

Inner = Callable[[int], str]
Text = tuple[str, int]


def region_text(region: Region, z: str, a: str) -> str:
    """Return the derivative of an elementwise part of the forward pass: "1[Z1 > 0]", "(1 − A1²)"."""
    kind = region.kind
    if kind == "relu":
        return f"1[{z} > 0]"
    if kind == "sigmoid":
        return f"{a} ⊙ (1 − {a})"
    if kind == "tanh":
        return f"(1 − {a}²)"
    if kind == "leaky_relu":
        return f"(1 if {z} > 0 else {region.parameter:g})"
    if kind == "mask":
        return "mask" if abs(region.parameter - 1) < 1e-12 else f"mask · {region.parameter:.4g}"
    if kind == "factor":
        return f"{region.parameter:.4g}"
    if kind == "square":
        return f"2 {z}"
    return f"{kind or 'f'}'({z})"


def written(
    graph: GradientGraph,
    regions: Sequence[Region],
    changed: Mapping[int, Callable[[GradientGraph, Inner], str]],
    at: int | None = None,
) -> str:
    """Return the formula of a graph, the nodes in `changed` written differently; "" where it gets too long.

    With `at`, it is the formula of that node, not of the result.
    """
    for start in _starts(graph) if graph.from_loss else [None]:
        writer = _Writer(graph, regions, changed, start)
        try:
            text, _ = writer.text(len(graph.order) - 1 if at is None else at)
        except _TooLong:
            continue
        if len(text) <= LONGEST:
            return text
    return ""


def _starts(graph: GradientGraph) -> list[tuple[int, Text] | None]:
    """Return what a formula may begin with when it begins at the loss: "(A2 − Y) / m", else "∂loss/∂A2"."""
    last = len(graph.order) - 1
    named = sorted((i, n) for t, n in graph.names_by_id.items() if (i := graph.reached.get(t)) is not None and i < last)
    free = [(i, n) for i, n in named if not any(_depends(graph, i, j) for j in graph.seeds.values())]
    short: list[tuple[int, Text] | None] = []
    for i, n in free:
        text = from_the_loss(graph.point, n, np.asarray(graph.order[i].value))
        if text:
            short.append((i, (text, ATOM if text.endswith(")") and text.startswith("(") else SUM)))
    return [*short, *((i, (f"∂loss/∂{n}", ATOM)) for i, n in free[:6])] or [None]


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
        stack += [p for p in graph.dependent(k) if p is not None]
    return False


def turned(text: str) -> str:
    """Return the transpose of a name or of something in brackets."""
    if " " in text and not text.endswith(")"):
        return f"({text})ᵀ"
    return text[:-1] if text.endswith("ᵀ") else text + "ᵀ"


class _TooLong(Exception):
    pass


class _Writer:
    def __init__(
        self,
        graph: GradientGraph,
        regions: Sequence[Region],
        changed: Mapping[int, Any],
        start: tuple[int, Text] | None = None,
    ) -> None:
        self.graph, self.changed = graph, changed
        self.atoms: dict[int, Text] = {i: (f"{graph.point.keys.get(n, 'd' + n)}", ATOM) for n, i in graph.seeds.items()}
        self.places: dict[int, tuple[int, Region]] = {}
        self.steps = 0
        for region in regions:
            p, q = graph.reached.get(id(region.target)), graph.reached.get(id(region.source))
            if p is None or q is None or p >= q:
                continue
            value = np.asarray(graph.order[p].value) * region.derivative
            if value.shape == graph.order[q].shape and np.allclose(
                value, np.asarray(graph.order[q].value), rtol=1e-9, atol=0
            ):
                self.places[q] = (p, region)
        if start is not None and start[0] not in self.atoms:
            self.atoms[start[0]] = start[1]

    def text(self, i: int) -> Text:
        self.steps += 1
        if self.steps > 60:
            raise _TooLong
        if i in self.changed:
            return self.changed[i](self.graph, lambda j: self.bracketed(j, PRODUCT)), SUM
        if i in self.atoms:
            return self.atoms[i]
        if i in self.places:
            p, region = self.places[i]
            names = self.graph.names_by_id
            z, a = names.get(id(region.source), "Z"), names.get(id(region.target), "A")
            if region.kind == "mask":
                mask = self._known(region.derivative / (region.parameter or 1.0))
                factor = region_text(region, z, a)
                factor = self._known(region.derivative) or (factor.replace("mask", mask) if mask else factor)
            else:
                factor = region_text(region, z, a)
            return f"{self.bracketed(p, ELEMENTWISE)} ⊙ {factor}", ELEMENTWISE
        return self._node(i)

    def _known(self, value: Array) -> str:
        for name, array in self.graph.values.items():
            if array.shape == value.shape and np.array_equal(array, value):
                return name
        return ""

    def bracketed(self, i: int, precedence: int) -> str:
        text, own = self.text(i)
        return f"({text})" if own < precedence else text

    def _node(self, i: int) -> Text:
        graph = self.graph
        node = graph.order[i]
        if node.op is None or i == graph.start:
            raise _TooLong
        name, positions = node.op.name, graph.dependent(i)
        if name in ("cast", "reshape", "identity", "broadcast_to") and positions[0] is not None:
            return self.text(positions[0])
        if name == "transpose" and positions[0] is not None:
            return self._transposed(positions[0])
        if name == "negative" and positions[0] is not None:
            return "−" + self.bracketed(positions[0], PRODUCT), SUM
        if name == "sum" and positions[0] is not None:
            return "Σ " + self.bracketed(positions[0], ATOM), PRODUCT
        if name in ("add", "subtract"):
            a = self.bracketed(positions[0], SUM) if positions[0] is not None else self._value(node.inputs[0])
            b = self.bracketed(positions[1], PRODUCT) if positions[1] is not None else self._value(node.inputs[1])
            return f"{a} {'+' if name == 'add' else '−'} {b}", SUM
        if name in ("multiply", "divide", "matmul") and positions.count(None) == 1:
            k = positions.index(None)
            inner = self.bracketed(positions[1 - k], PRODUCT)  # type: ignore[arg-type]
            other = self._value(node.inputs[k])
            if name == "matmul":
                return (f"{inner} {other}" if k == 1 else f"{other} {inner}"), PRODUCT
            scalar = node.inputs[k].size == 1
            if not scalar:
                inner = self.bracketed(positions[1 - k], ELEMENTWISE)  # type: ignore[arg-type]
                return f"{inner} {'⊙' if name == 'multiply' else '/'} {other}", ELEMENTWISE
            if name == "divide":
                return f"{inner} / {other}", PRODUCT
            return f"{other} · {inner}", PRODUCT
        raise _TooLong

    def _transposed(self, i: int) -> Text:
        """Return (a b)ᵀ as bᵀ aᵀ."""
        node, positions = self.graph.order[i], self.graph.dependent(i)
        plain = i not in self.changed and i not in self.atoms and i not in self.places
        if plain and node.op is not None and node.op.name == "matmul" and positions.count(None) == 1:
            k = positions.index(None)
            inner = turned(self.bracketed(positions[1 - k], ATOM))  # type: ignore[arg-type]
            other = turned(self._value(node.inputs[k]))
            return (f"{other} {inner}" if k == 1 else f"{inner} {other}"), PRODUCT
        return turned(self.bracketed(i, ATOM)), ATOM

    def _value(self, node: Any) -> str:
        names = self.graph.names_by_id
        if id(node) in names:
            name = names[id(node)]
            return f"({name})" if " " in name else name
        if node.op is not None and node.op.name == "transpose":
            return turned(self._value(node.inputs[0]))
        if node.op is not None and node.op.name in ("cast", "identity"):
            return self._value(node.inputs[0])
        if node.op is not None and node.op.name in ("greater", "less", "greater_equal", "less_equal"):
            sign = {"greater": ">", "less": "<", "greater_equal": "≥", "less_equal": "≤"}[node.op.name]
            return f"1[{self._value(node.inputs[0])} {sign} {self._value(node.inputs[1])}]"
        if node.size == 1 and node.value is not None and not node.recordings:
            return f"{float(node.value.ravel()[0]):.6g}"
        known = self._known(np.asarray(node.value))
        if known:
            return known
        raise _TooLong


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
    """Return ``text / m`` and the like."""
    if abs(c - 1) < 1e-6:
        return text
    sign = "−" if c < 0 else ""
    c = abs(c)
    whole = f"({elements // m} m)" if m and elements and elements % m == 0 else f"{elements}"
    for letter, value in (("m", m), (whole, elements)):
        if value and value > 1:
            for number in (1, 2, 0.5):
                if abs(c * value / number - 1) < 1e-6:
                    return f"{sign}{'' if number == 1 else f'{number:g} '}{text} / {letter}"
    if abs(c - 1) < 1e-6:
        return sign + text
    if abs(1 / c - round(1 / c)) < 1e-6 and c < 1:
        return f"{sign}{text} / {round(1 / c)}"
    return f"{sign}{c:.4g} · {text}"
