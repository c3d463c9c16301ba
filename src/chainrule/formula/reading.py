"""From recorded graphs to expressions: what stands between one named value and the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.node import Recording
from ..core.op import Array, Operation, Shape
from ..core.reverse import topological
from ..core.tensor import Tensor, traced_leaf
from ..plan.simplify import Rewriter
from .expression import Expression, frozen, in_double, name, number
from .factoring import coefficient
from .rows import BROADCAST
from .rules import simplify


class Readable(Rewriter):
    """The plan's simplifications, but for those that a reader would not make: composites stay what they are."""

    reorders = False

    def _made(
        self, op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any], like: Tensor | None = None
    ) -> Tensor | None:
        # nodes of its own, not `like`: they get names and values
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


def slope(op: Operation, z: str, a: str, shape: Shape) -> Expression | None:
    """Return the derivative of an elementwise row of one input `z` with output `a`, by its reverse rule."""
    rule, labels = op.rule(0), (z, a, "upstream gradient")
    if rule is None:
        return None
    with Recording("a derivative") as recording:
        leaves = [traced_leaf(shape, np.dtype(np.float64), frozenset({recording}), name=n) for n in labels]
        (made,) = simplified(dict(zip(labels, leaves, strict=True)), [rule(leaves[2], leaves[1], leaves[0])])
    factor = coefficient(Reader([]).read(made, ""), labels[2])
    return simplify(factor) if factor is not None else None
