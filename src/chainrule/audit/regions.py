"""Elementwise parts of a recorded forward pass: activations, masks, factors; and the known activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..adapters.backward_pass import Point
from ..core.apply import apply
from ..core.node import Recording
from ..core.op import ELEMENTWISE, Array, Operation, rows
from ..core.reverse import reverse, topological
from ..core.tensor import Tensor
from ..ops import elu, gelu, leaky_relu, relu, sigmoid, silu, softplus
from ..ops.table import row_of

MULTIPLY = row_of(np.multiply)
LEAKY = leaky_relu.__name__
#: Activations are first looked for at about as many elements.
SAMPLED = 64


@dataclass(frozen=True)
class Activation:
    """A function that networks apply element by element, with its derivative.

    Attributes
    ----------
    function
        Works on arrays and on tensors.
    row
        Its row of the operation table; None for a composition of rows.
    """

    name: str
    function: Callable[[Any], Any]
    row: Operation | None = None

    @property
    def rule(self) -> Any:
        """The reverse rule of the row, or None."""
        return self.row.rule(0) if self.row is not None else None

    def value(self, z: Array) -> Array:
        """Return the activation of z."""
        with np.errstate(all="ignore"):
            return np.asarray(self.function(z))

    def slope(self, z: Array) -> Array:
        """Return the derivative at z."""
        if self.rule is None:
            return slope_of(self.function, z)
        with np.errstate(all="ignore"):
            return np.broadcast_to(self.rule(np.ones_like(z), self.value(z), z), z.shape)

    def slope_by_output(self, a: Array) -> Array | None:
        """Return the row's derivative where it is written with the output alone, as tanh' = 1 - a²; else None."""
        if self.rule is None:
            return None
        try:
            with np.errstate(all="ignore"):
                return np.asarray(self.rule(np.ones_like(a), a, None))
        except (TypeError, AttributeError):  # it reads its input
            return None

    @property
    def reads_output(self) -> bool:
        """Whether the derivative is written with the output alone, and is not the output itself."""
        slope = self.slope_by_output(np.full(1, 0.5))
        return slope is not None and float(slope[0]) != 0.5


def slope_of(function: Callable[[Any], Any], z: Array) -> Array:
    """Return the derivative of an elementwise function."""
    leaf = Tensor(np.asarray(z, np.float64), recordings=frozenset({Recording("the audit of an activation")}))
    with np.errstate(all="ignore"):
        out = function(leaf)
        (g,), _ = reverse([out], [np.ones(out.shape)], [leaf])
    return np.zeros(leaf.shape) if g is None else np.asarray(g)


#: The usual activations of networks, and other functions whose derivatives are confused with theirs.
NETWORK: tuple[Callable[[Any], Any], ...] = (relu, sigmoid, np.tanh, softplus, elu, silu, gelu)
OTHERS: tuple[Callable[[Any], Any], ...] = (np.square, np.exp)


def _activation(function: Callable[[Any], Any]) -> Activation:
    try:
        row = row_of(function)
    except KeyError:  # a composition of rows
        return Activation(function.__name__, function)
    return Activation(row.name, function, row)


USUAL = tuple(_activation(function) for function in (*NETWORK, *OTHERS))


def activations() -> Iterator[Activation]:
    """Yield the usual activations, then every other row of the table that could be one."""
    yield from USUAL
    for op in rows():
        one_input = op.kind == ELEMENTWISE and op.differentiable and len(op.domain) == 1
        if one_input and not (op.passes or op.flat or 0 in op.linear) and all(op is not u.row for u in USUAL):
            yield Activation(op.name, applying(op), op)


def applying(op: Operation) -> Callable[[Any], Any]:
    """Return the function of one input that applies a row."""
    return lambda x: apply(op, (x,), {}) if isinstance(x, Tensor) else op.evaluate(x)


class Region:
    """A part of the forward pass that maps one array to another element by element: an activation, a mask.

    Attributes
    ----------
    source, target : Tensor
    named : bool
        Whether the caller has a name for the source.
    activation : Activation or None
        Which of the known ones it is.
    kind : str
        Its name; "leaky_relu"; "mask" for a constant with zeros, "factor" for another constant; or "".
    parameter : float
        The slope of a leaky ReLU, a factor, the scale of a mask.
    derivative : Array
    """

    def __init__(self, source: Tensor, target: Tensor, named: bool = False) -> None:
        self.source, self.target, self.named = source, target, named
        self.z, self.a = np.asarray(source.value), np.asarray(target.value)
        self.derivative = self.derivative_at(self.z)
        self.activation: Activation | None = None
        self.kind, self.parameter = "", 0.0
        self._recognise()

    def function(self, x: Tensor) -> Any:
        """Return the target computed from another source."""
        memo: dict[int, Any] = {id(self.source): x}
        for node in topological([self.target]):
            if id(node) in memo or node.op is None or not any(id(i) in memo for i in node.inputs):
                continue
            memo[id(node)] = apply(node.op, tuple(memo.get(id(i), i) for i in node.inputs), dict(node.attrs))
        return memo[id(self.target)]

    def derivative_at(self, z: Array) -> Array:
        """Return the derivative at another value of the source."""
        return slope_of(self.function, z)

    def _recognise(self) -> None:
        z, a = self.z, self.a
        with np.errstate(all="ignore"):
            few = slice(None, None, max(1, z.size // SAMPLED))
            some, wanted = z.ravel()[few], a.ravel()[few]
            for activation in activations():
                if not np.allclose(activation.value(some), wanted, rtol=1e-9, atol=1e-12):
                    continue
                if np.allclose(activation.value(z), a, rtol=1e-9, atol=1e-12):
                    self.activation, self.kind = activation, activation.name
                    return
            below = (z < 0) & np.isfinite(z)
            if below.any() and (z > 0).any() and np.allclose(a[z > 0], z[z > 0]):
                slope = float(a[below][0] / z[below][0])
                if np.allclose(a[below], slope * z[below]):
                    self.kind, self.parameter = LEAKY, slope
                    return
            if np.allclose(a, self.derivative * z, rtol=1e-9):
                self._recognise_constant()

    def _recognise_constant(self) -> None:
        constant = self.derivative
        if np.allclose(constant, constant.flat[0] if constant.size else 1.0):
            self.kind, self.parameter = "factor", float(constant.flat[0])
            return
        values = np.unique(np.round(constant, 12))
        if len(values) == 2 and 0 in values and not np.array_equal(constant != 0, self.z > 0):
            self.kind, self.parameter = "mask", float(values.max())


def regions(point: Point) -> list[Region]:
    """Return the elementwise regions of a recorded forward pass, named values being their borders."""
    order = point.order
    masks = [np.asarray(v) != 0 for n, v in point.constants.items() if n not in point.values and v.dtype.kind in "fiub"]
    named = {id(t) for t in point.nodes.values()}
    borders = named | {id(t) for n in order if (t := _masked(n, masks)) is not None}
    users: dict[int, list[Tensor]] = {}
    for node in order:
        for x in node.inputs:
            users.setdefault(id(x), []).append(node)
    sources = _sources(order, borders)
    numbers = any(np.ndim(v) == 0 for v in point.values.values())  # a pass written for single numbers
    result = []
    for node in order:
        found = sources.get(id(node), {})
        if len(found) != 1 or not (node.shape or numbers):
            continue
        (start,) = found.values()
        ends = id(node) in borders or any(
            len(sources.get(id(u), {})) != 1 or u.shape != node.shape for u in users.get(id(node), [])
        )
        if ends and start.shape == node.shape:
            result.append(Region(start, node, id(start) in named))
    return result


def _sources(order: Sequence[Tensor], borders: set[int]) -> dict[int, dict[int, Tensor]]:
    """Return, for each elementwise node, the nodes at borders that it is computed from element by element."""
    sources: dict[int, dict[int, Tensor]] = {}
    for node in order:
        if node.op is None or not node.recordings or node.op.kind != ELEMENTWISE:
            continue
        found: dict[int, Tensor] = {}
        for x in node.inputs:
            if not x.recordings or (x.op is not None and not x.op.differentiable):
                continue
            before = sources.get(id(x)) if id(x) not in borders else None
            found.update(before if before and len(before) == 1 else {id(x): x})
        sources[id(node)] = found
    return sources


def _masked(node: Tensor, masks: Sequence[Array]) -> Tensor | None:
    """Return what a node multiplies by one of the masks that the cache holds; None where it does not."""
    if node.op is not MULTIPLY:
        return None
    for x, mask in (node.inputs, node.inputs[::-1]):
        if not x.recordings or mask.recordings or mask.value is None or x.shape != mask.shape:
            continue
        kept = mask.value != 0
        if not kept.all() and any(kept.shape == m.shape and np.array_equal(kept, m) for m in masks):
            return x
    return None
