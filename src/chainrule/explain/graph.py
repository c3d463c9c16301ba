"""From recorded graphs to expressions: what stands between one named value and the next."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.op import CONTRACT, OTHER, REDUCE, Array, Operation
from ..core.reverse import topological
from ..core.tensor import Tensor, traced_leaf
from ..formula.expression import Batch, Expression, frozen, in_double, name, number
from ..formula.rows import BROADCAST, NAME, NUMBER
from ..plan.simplify import Rewriter

_REDUCING = frozenset({REDUCE, CONTRACT, OTHER})


class Readable(Rewriter):
    """The plan's simplifications, but for those that a reader would not make: composites stay what they are."""

    def _made(self, op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> Tensor | None:
        return self.node(op, inputs, attrs) if op.expand is not None else super()._made(op, inputs, attrs)

    def existing(self, op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> Tensor | None:
        """Return None: a formula says Z > 0, where a plan would rather keep A > 0."""
        return None

    def symbol(self, leaf: Tensor, name: str | None = None) -> None:
        """Let a leaf stand for any value."""
        self._finish(leaf, traced_leaf(leaf.shape, leaf.dtype, frozenset(), name=name or leaf.name))


def as_symbols(
    leaves: Sequence[Tensor], outputs: Sequence[Tensor], names: Sequence[str | None]
) -> tuple[list[Tensor], list[Tensor]]:
    """Return a recorded graph without values: its leaves as symbols, and its outputs; names are given, or stay."""
    rewriter = Readable()
    for leaf, label in zip(leaves, names, strict=True):
        rewriter.symbol(leaf, label)
    made = rewriter.rewrite(outputs)
    for label, node in rewriter.names.items():
        if node.name is None:
            node.name = label
    return [rewriter._new[id(leaf)] for leaf in leaves], made


def evaluated(outputs: Sequence[Tensor]) -> None:
    """Compute the values of a graph whose leaves have theirs."""
    with np.errstate(all="ignore"):
        for node in topological(outputs):
            if node.op is not None:
                attrs = in_double(node.op, node.attrs)  # a network may compute in less
                node.value = np.asarray(node.op.evaluate(*[x.value for x in node.inputs], **attrs))


def simplified(leaves: Mapping[str, Tensor], outputs: Sequence[Tensor]) -> list[Tensor]:
    """Return the nodes of `outputs`, simplified, with the `leaves` as symbols under these names."""
    rewriter = Readable()
    for label, leaf in leaves.items():
        rewriter.symbol(leaf, label)
    return rewriter.rewrite(outputs)


class Reader:
    """Reads expressions off simplified nodes; named nodes are not looked into.

    Parameters
    ----------
    named
        (name, node), in the order of computation. Where a node has two names, the first one stands for it.
    """

    def __init__(self, named: Iterable[tuple[str, Tensor]]) -> None:
        self.label: dict[int, str] = {}
        self.constants: dict[str, Array] = {}
        self._kept: list[Tensor] = []
        for label, node in named:
            if node.value is None and id(node) not in self.label:
                self.label[id(node)] = label
                self._kept.append(node)

    def read(self, node: Tensor, label: str) -> Expression:
        """Return the expression of the node called `label`: in terms of the names before it."""
        if self.label.get(id(node)) == label and node.op is not None:
            return self._operation(node)
        return self._expression(node)

    def _expression(self, node: Tensor) -> Expression:
        if id(node) in self.label:
            return name(self.label[id(node)], node.shape, _kind(node))
        if node.op is None:
            return self._leaf(node)
        return self._operation(node)

    def _operation(self, node: Tensor) -> Expression:
        assert node.op is not None
        inputs = tuple(self._expression(x) for x in node.inputs)
        return Expression(node.op, inputs, frozen(node.attrs), node.shape, _kind(node))

    def _leaf(self, node: Tensor) -> Expression:
        value = node.value
        if value is None:
            return name(node.name or "x", node.shape, _kind(node))
        if value.size == 1 and value.ndim == 0 and value.dtype.kind != "b":
            return number(value.item())
        if value.size and np.all(value == value.flat[0]) and value.dtype.kind == "f":
            uniform = number(value.flat[0].item())
            return Expression(BROADCAST, (uniform,), frozen({"shape": node.shape}), node.shape)
        return self._constant(node)

    def _constant(self, node: Tensor) -> Expression:
        """Return an array that the formulas read, under a name."""
        value = node.value
        assert value is not None
        for label, known in self.constants.items():
            if known is value:
                return name(label, node.shape, _kind(node))
        k = 1
        while (label := f"c{k}") in self.constants or label in self.label.values():
            k += 1
        self.constants[label] = value
        return name(label, node.shape, _kind(node))


def _kind(node: Tensor) -> str:
    return node.dtype.kind if node.dtype.kind in "fb" else "i"


def unnamed_landmarks(
    outputs: Sequence[Tensor], gradients: Sequence[Tensor], longest: int, network: Tensor
) -> list[Tensor]:
    """Return the values of a forward pass that deserve a name of their own.

    Those are what is used more than once on the way there and back and holds sums, products or several operations,
    and what would make a formula too long. Within the loss, which comes after the output of the `network`, element by
    element operations are left together.
    """
    inside = {id(n) for n in topological([network])}
    forward = topological(outputs)
    users: dict[int, set[int]] = {}
    for node in topological([*outputs, *gradients]):
        for x in node.inputs:
            users.setdefault(id(x), set()).add(id(node))
    length: dict[int, int] = {}
    reducing: dict[int, bool] = {}
    found = []
    last = {id(o) for o in outputs}
    for node in forward:
        if node.op is None:
            length[id(node)], reducing[id(node)] = 0, False
            continue
        passing = node.op.passes  # it gets no name
        most = longest if id(node) in inside else 3 * longest
        inner = sum(length[id(x)] for x in node.inputs) + (not passing)
        sums = any(reducing[id(x)] for x in node.inputs) or (node.op.kind in _REDUCING and not passing)
        several = sums or (inner >= 6 and id(node) in inside)
        shared = several and len(users.get(id(node), ())) > 1 and not passing and node.op.differentiable
        if node.name is None and id(node) not in last and node.dtype.kind == "f" and (shared or inner > most):
            found.append(node)
        cut = node.name is not None or (bool(found) and found[-1] is node)
        length[id(node)], reducing[id(node)] = (0, False) if cut else (inner, sums)
    return found


class StructureChanges(Exception):
    """The graphs for two numbers of examples are not alike: formulas hold for this number only."""


def generalised(first: Expression, second: Expression, m: int, n: int) -> Expression:
    """Return the one expression that holds for m examples as `first` does, and for n as `second` does."""
    if first.op is not second.op or len(first.inputs) != len(second.inputs):
        raise StructureChanges
    if first.op is NAME:
        if first["name"] != second["name"]:
            raise StructureChanges
        return first
    if first.op is NUMBER:
        return _number(first["value"], second["value"], m, n)
    inputs = tuple(generalised(a, b, m, n) for a, b in zip(first.inputs, second.inputs, strict=True))
    attrs = tuple((k, _attribute(v, second[k], m, n)) for k, v in first.attrs)
    return replace(first, inputs=inputs, attrs=attrs)


def _number(a: float, b: float, m: int, n: int) -> Expression:
    if a == b or (math.isnan(a) and math.isnan(b)):
        return number(a)
    for batch in (-1, 1, -2, 2):
        per_example = a / float(m) ** batch
        if math.isclose(per_example, b / float(n) ** batch, rel_tol=1e-12):
            near = round(per_example * 2) / 2
            return number(near if math.isclose(near, per_example, rel_tol=1e-12) else per_example, batch)
    raise StructureChanges


def _attribute(a: Any, b: Any, m: int, n: int) -> Any:
    if type(a) is tuple and type(b) is tuple and len(a) == len(b):
        return tuple(_attribute(x, y, m, n) for x, y in zip(a, b, strict=True))
    if a == b:
        return a
    if type(a) is int and type(b) is int and a % m == 0 and a * n == b * m:
        return Batch(a // m)
    raise StructureChanges
