"""The reverse pass of a loop: another loop, which runs backwards over values that the first one had.

The reverse pass of one step is recorded as a graph. What it reads of the step's own values are stacked inputs of the
new loop: values that cost something to compute are kept, views and cheap combinations of kept ones are computed again.
Of a value that is read in parts only, the parts are kept if they are smaller.
Cotangents of the carry are its carry. Those of constants, sums over all steps, are carried as well, unless a product
of matrices has them: the sum over t of A_tᵀ B_t is one product of all rows, computed after the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.op import CONTRACT, ELEMENTWISE, VIEW
from ..core.replay import computed, inside, one_of
from ..core.reverse import reverse
from ..core.tensor import Tensor
from .loop_body import Body, Part, leaf_like
from .table import row_of

ADD = row_of(np.add)

Stacked = Callable[[Tensor], Any]
Total = Callable[[Stacked], Any]


class Reverse:
    """The loop that computes cotangents: of any node of `body` that gives `parts`."""

    def __init__(self, body: Body, parts: tuple[Part, ...]) -> None:
        self.body, self.parts = body, parts
        self.real = [k for k, leaf in enumerate(body.carries) if leaf.dtype.kind == "f"]
        self.given = [k for k, p in enumerate(parts) if p.stacked and body.node(p).dtype.kind == "f"]
        carried = {k: leaf_like(body.carries[k]) for k in self.real}
        upstream = [leaf_like(body.node(parts[k])) for k in self.given]
        starts = [body.new[k] for k in self.real] + [body.node(parts[k]) for k in self.given]
        targets = [leaf for leaf in body.leaves if leaf.dtype.kind == "f"]
        found, _ = reverse(starts, [*carried.values(), *upstream], targets)
        gradients = {id(leaf): _node(x, leaf) for leaf, x in zip(targets, found, strict=True) if x is not None}
        self.saved = _to_save(body, gradients.values())
        own = {id(node): leaf_like(node) for node in self.saved}
        order, _ = inside(gradients.values(), one_of([*body.leaves, *carried.values(), *upstream, *self.saved]))
        made = computed(order, own)
        gradients = {key: _node(made[id(x)], x) for key, x in gradients.items()}
        self.gradients = gradients
        self.sums = Sums([gradients[id(leaf)] for leaf in body.constants if id(leaf) in gradients],
                         [gradients[id(leaf)] for leaf in body.xs if id(leaf) in gradients],
                         {id(leaf) for leaf in body.constants})  # fmt: skip
        kept = [own[id(node)] for node in self.saved]
        before = [body.carries[k] for k in self.real]
        new = [gradients[id(leaf)] if id(leaf) in gradients else _zeros(leaf) for leaf in before]
        new += [leaf + x for leaf, x in self.sums.carried]
        carries = [*carried.values(), *(leaf for leaf, _ in self.sums.carried)]
        leaves = carries, [*kept, *body.xs, *upstream], list(body.constants)
        every = [leaf for some in leaves for leaf in some]
        order, _ = inside([*new, *gradients.values(), *self.sums.stacked], one_of(every))
        self.loop = Body(leaves, new, order, body.length, not body.reverse)


class Sums:
    """How the sums over the steps of some nodes are computed.

    Attributes
    ----------
    carried : list of (Tensor, Tensor)
        A new leaf, and the node that is added to it in each step.
    stacked : list of Tensor
        The nodes of which all values are needed.
    """

    def __init__(self, nodes: Sequence[Tensor], stacked: Sequence[Tensor], constants: set[int]) -> None:
        self.stacked: list[Tensor] = []
        self.constants = constants
        self.carried: list[tuple[Tensor, Tensor]] = []
        for node in nodes:
            self._factors(node)
        self._kept = {id(n) for n in (*self.stacked, *stacked)}
        self._totals = {id(node): self._total(node) for node in nodes}

    def total(self, node: Tensor) -> Total:
        """Return a function that computes the sum from what the loop gives."""
        return self._totals[id(node)]

    def _factors(self, node: Tensor) -> None:
        """Note the factors of the products in a sum."""
        if _is_product(node, self.constants):
            self.stacked += [_source(x) for x in node.inputs]
        elif node.op is ADD or _passes_sums(node):
            for x in node.inputs:
                self._factors(x)

    def _total(self, node: Tensor) -> Total:
        if id(node) in self._kept:
            return lambda stacked: np.sum(stacked(node), axis=0)
        if _is_product(node, self.constants):
            return lambda stacked: _product(node, stacked)
        if node.op is ADD and all(x.shape == node.shape for x in node.inputs):
            one, other = (self._total(x) for x in node.inputs)
            return lambda stacked: one(stacked) + other(stacked)
        if _passes_sums(node):
            op, attrs, (x,) = node.op, node.attrs, node.inputs
            assert op is not None
            if x.size <= node.size or self._has_rows(x):
                inner = self._total(x)
                return lambda stacked: apply(op, (inner(stacked),), attrs)
        if all(other is not node for _, other in self.carried):
            self.carried.append((leaf_like(node), node))
        return lambda stacked: stacked(node)

    def _has_rows(self, node: Tensor) -> bool:
        """Whether a sum is computed after the loop anyway."""
        if id(node) in self._kept or _is_product(node, self.constants):
            return True
        return (node.op is ADD or _passes_sums(node)) and all(self._has_rows(x) for x in node.inputs)


def _is_product(node: Tensor, constants: set[int]) -> bool:
    """Whether a node is a product of two matrices that change from step to step."""
    if node.op is None or node.op.kind != CONTRACT or any(x.ndim != 2 for x in node.inputs):
        return False
    return all(source.value is None and id(source) not in constants for source in map(_source, node.inputs))


def _source(node: Tensor) -> Tensor:
    """Return the matrix that a node is the transpose of, or the node itself."""
    return node.inputs[0] if _is_transposed(node) else node


def _is_transposed(node: Tensor) -> bool:
    return node.op is not None and node.op.kind == VIEW and node.attrs.get("axes") == (1, 0)


def _product(node: Tensor, stacked: Stacked) -> Any:
    """Return the sum of the products of all steps: one product of all rows."""
    one, other = (stacked(_source(x)) for x in node.inputs)
    first, second = (_is_transposed(x) for x in node.inputs)
    return np.tensordot(one, other, axes=((0, 1 if first else 2), (0, 2 if second else 1)))


def _passes_sums(node: Tensor) -> bool:
    """Whether the sum of a node's values is the node of the sum of its input's."""
    op = node.op
    linear = op is not None and len(node.inputs) == 1 and op.takes_factor(1) == ((0,),)
    return linear and node.inputs[0].dtype == node.dtype


def _to_save(body: Body, gradients: Any) -> list[Tensor]:
    """Return the nodes of a step whose values its reverse pass gets from the forward pass."""
    own = {id(node): k for k, node in enumerate(body.order)}
    free = {id(leaf) for leaf in (*body.xs, *body.constants)}
    wanted = _read(inside(gradients, one_of(body.order))[1], free)
    cheap: set[int] = set()

    def at_hand(x: Tensor) -> bool:
        if id(x) in free or id(x) in wanted or (x.op is None and x.value is not None):
            return True
        seen_through = x.op is not None and (x.op.kind == VIEW or x.dtype.kind != "f" or id(x) in cheap)
        return seen_through and all(at_hand(y) for y in x.inputs)

    for key in sorted(wanted, key=own.__getitem__):
        node = wanted.pop(key)
        combines = node.op is not None and node.op.kind == ELEMENTWISE and bool(node.op.linear)
        if combines and all(at_hand(x) for x in node.inputs):
            cheap.add(key)
        else:
            wanted[key] = node
    return sorted(wanted.values(), key=lambda node: own[id(node)])


def _read(nodes: Sequence[Tensor], free: set[int]) -> dict[int, Tensor]:
    """Return what values that are read are made of: the sources of views, or the views if these are smaller."""
    ways: dict[int, tuple[Tensor, dict[int, Tensor]]] = {}  # source -> the views, or itself, by which it is read
    seen: set[tuple[int, int]] = set()
    left = [(node, node) for node in nodes]
    while left:
        node, read = left.pop()
        constant = node.op is None and node.value is not None
        if constant or id(node) in free or (id(node), id(read)) in seen:
            continue
        seen.add((id(node), id(read)))
        if node.op is not None and node.op.kind == VIEW and len(node.inputs) == 1:
            left.append((node.inputs[0], read))
        elif node.op is not None and (node.op.kind == VIEW or node.dtype.kind != "f"):
            left += [(x, x) for x in node.inputs]
        else:
            ways.setdefault(id(node), (node, {}))[1][id(read)] = read
    wanted: dict[int, Tensor] = {}
    for key, (node, views) in ways.items():
        smaller = sum([view.size for view in views.values()]) < node.size
        wanted |= views if smaller else {key: node}
    return wanted


def _node(x: Any, like: Tensor) -> Tensor:
    """Return a gradient as a node; one that is zero everywhere is an array."""
    return x if isinstance(x, Tensor) else Tensor(np.asarray(x, like.dtype))


def _zeros(leaf: Tensor) -> Tensor:
    return Tensor(np.zeros(leaf.shape, leaf.dtype))
