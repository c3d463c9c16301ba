"""Graph to graph: composite rows expanded, common subexpressions shared, what does nothing removed."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..core.apply import apply, with_inputs
from ..core.node import STANDING
from ..core.op import ELEMENTWISE, REDUCE, Operation
from ..core.tensor import Parameter, Tensor, inputs_of, latest, traced_leaf
from ..ops.index import SLICE
from ..ops.loop import SCAN
from ..ops.pooling import MAX_POOL
from ..ops.table import broadcast_shape, row_of
from ..ops.windows import OVERLAP_ADD
from .joins import Joins, cut_joined
from .pooled import back_through_relu, pooled
from .window_products import cut_windows, overlapped, product

ADD, SUBTRACT, MULTIPLY, DIVIDE, NEGATIVE = (
    row_of(f) for f in (np.add, np.subtract, np.multiply, np.divide, np.negative)
)
RESHAPE, TRANSPOSE, BROADCAST_TO = (row_of(f) for f in (np.reshape, np.transpose, np.broadcast_to))
CONCATENATE, RELU, MATMUL = row_of(np.concatenate), row_of(ops.relu), row_of(np.matmul)


class Followed(Exception):
    """Besides its arguments the function uses a tensor that an outer derivative tracks: it gets no plan.

    Examples
    --------
    `chainrule.compile` then calls the function itself, as part of the outer derivative:

    >>> import chainrule as cr
    >>> float(cr.grad(lambda a: cr.compile(lambda x: a * x)(3.0))(2.0))
    3.0
    """


class Rewriter:
    """Rebuilds a graph node by node, each node once, simplified.

    Nodes of the result are shared: two nodes of one operation, inputs and attributes become one.
    """

    #: Whether operations may change places where that leaves less to compute; formulas keep the order of the program.
    reorders = True

    def __init__(self) -> None:
        self._shared: dict[Any, Tensor] = {}
        self._new: dict[int, Tensor] = {}
        self._old: list[Tensor] = []  # keeps ids of rewritten nodes from being used again
        self.names: dict[str, Tensor] = {}
        self.captured: dict[int, tuple[Parameter, Tensor]] = {}
        self.loops = False  # whether the graph has any
        self.joins = Joins()

    def rewrite(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        """Return the simplified nodes of `outputs`."""
        outputs = [latest(t) for t in outputs]
        new = self._new
        stack: list[Tensor | None] = list(reversed(outputs))
        while stack:
            node = stack.pop()
            ready = node is None  # marks that all inputs of the next node have been rewritten
            if node is None:
                node = stack.pop()
                assert node is not None
            if id(node) in new:
                continue
            if node.op is None:
                self._finish(node, self._leaf(node))
            elif not ready:
                stack += (node, None)
                stack += [x for x in inputs_of(node) if id(x) not in new]
            else:
                inputs = tuple([new[id(x)] for x in node.inputs])
                made = self._made(node.op, inputs, node.attrs, node)
                if made is None:  # a composite: its parts are rewritten in its place
                    expanded = node.op.expand(*inputs, **node.attrs)  # type: ignore[misc]
                    for x in inputs:
                        new[id(x)] = x
                    (made,) = self.rewrite([expanded])
                self._finish(node, made)
        return [new[id(t)] for t in outputs]

    def _finish(self, old: Tensor, new: Tensor) -> None:
        self._new[id(old)] = new
        self._old.append(old)
        if new is not old:
            self._old.append(new)
            self._new.setdefault(id(new), new)
        if old.name is not None:
            self.names[old.name] = new

    def _leaf(self, node: Tensor) -> Tensor:
        """Parameters become inputs, read anew at each run; equal scalar constants become one."""
        if isinstance(node, Parameter):
            if id(node) not in self.captured:
                self.captured[id(node)] = (
                    node,
                    traced_leaf(node.shape, node.dtype, node.recordings, name=node.name),
                )
            return self.captured[id(node)][1]
        if node.value is None:
            return node
        if node.recordings and any(r.active and r is not STANDING for r in node.recordings):
            raise Followed
        value = node.value
        if value.size == 1:
            key = ("scalar", value.dtype, value.shape, value.tobytes())
            return self._shared.setdefault(key, node)
        return node

    def constant(self, value: Any) -> Tensor:
        """Return the leaf of a constant."""
        leaf = self._leaf(Tensor(np.asarray(value)))
        self._old.append(leaf)
        return leaf

    def _made(
        self, op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any], like: Tensor | None = None
    ) -> Tensor | None:
        """Return the simplified node, None for a composite; `like` is the node that it takes the place of, if any."""
        if op.expand is not None:
            return None
        if op.kind == ELEMENTWISE:
            inputs = self._without_broadcasts(op, inputs)
        if op.kind == REDUCE and attrs.get("keepdims"):
            # a reduction with its axes kept is a view of the one without: both share one computation
            reduced = self._made(op, inputs, {**attrs, "keepdims": False})
            assert reduced is not None
            return self._made(RESHAPE, (reduced,), {"shape": op.shape(*inputs, **attrs)[0]})
        rule = RULES.get(op)
        simpler = _unchanged(op, inputs, attrs) if rule is None else rule(op, inputs, attrs, self)
        return self.node(op, inputs, attrs, like) if simpler is None else simpler

    def made(self, op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> Tensor:
        """Return the simplified node of a row that is not a composite."""
        made = self._made(op, inputs, attrs)
        assert made is not None
        return made

    def node(
        self, op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any], like: Tensor | None = None
    ) -> Tensor:
        """Return the one node of this operation on these inputs, of the shape and dtype of `like` if that is given."""
        ids = [id(x) for x in inputs]
        if op.commutative:
            ids.sort()
        key = (op.name, *ids, _key(attrs)) if attrs else (op.name, *ids)
        made = self._shared.get(key)
        if made is None:
            if like is not None and any([x.value is None for x in inputs]):
                same = like.value is None and all(map(operator.is_, inputs, like.inputs))
                made = like if same else with_inputs(like, inputs)
            else:
                made = apply(op, inputs, attrs, shared=False)
                if not isinstance(made, Tensor) or made.value is not None:
                    # what is computed from constants alone is a constant; it is computed here, once
                    made = self._leaf(Tensor(np.asarray(_value(made))))
            self._old += inputs
            self._shared[key] = made
            self._old.append(made)
        return made

    def existing(self, op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> Tensor | None:
        """Return that node if it is part of the graph already."""
        ids = [id(x) for x in inputs]
        return self._shared.get((op.name, *ids, _key(attrs)) if attrs else (op.name, *ids))

    def _without_broadcasts(self, op: Operation, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Let an elementwise operation broadcast by itself where another input already has the full shape."""
        for i, x in enumerate(inputs):
            if x.shape == () or (x.op is not BROADCAST_TO and x.value is None):
                continue
            smaller = x
            if _made_by(x, BROADCAST_TO):
                smaller = x.inputs[0]
            elif x.value is not None and _uniform(x.value):
                smaller = self.constant(x.value[(0,) * x.ndim].copy())
            if smaller is not x:
                fewer = (*inputs[:i], smaller, *inputs[i + 1 :])
                if len(inputs) > 1 and broadcast_shape(op.name, *fewer) == broadcast_shape(op.name, *inputs):
                    inputs = fewer
        return inputs


def _value(x: Any) -> Any:
    return x.value if isinstance(x, Tensor) else x


def _key(x: Any) -> Any:
    """Return a hashable stand-in for static attributes: equal for what is the same, and only for that.

    Types count: an index 0 is a position, while ``Slot(0)`` stands for an index array.
    """
    kind = type(x)
    if kind is int or kind is bool or x is None:
        return (kind, x)
    if kind is dict:
        return tuple([(k, _key(x[k])) for k in sorted(x)])
    if isinstance(x, tuple | list):
        return (kind, tuple([_key(i) for i in x]))
    if isinstance(x, slice):
        return ("slice", _key(x.start), _key(x.stop), _key(x.step))
    if isinstance(x, np.ndarray):
        return ("array", x.shape, x.dtype.str, x.tobytes())
    if isinstance(x, float):
        return (kind, np.float64(x).tobytes())  # tells -0 from 0; one nan is like another
    return (kind, x)


def _uniform(value: Any) -> bool:
    if value.size == 0:
        return False
    if not any(value.strides):
        return True
    return bool(value.size <= 4096 and value.tobytes() == value[(0,) * value.ndim].tobytes() * value.size)


def _is(x: Tensor, number: float) -> bool:
    return x.value is not None and x.value.size == 1 and bool(x.value.item() == number)


def _is_nothing(x: Tensor, sign: float) -> bool:
    """Whether adding (`sign` -1.0) or subtracting (1.0) this zero changes nothing: -0.0 + 0.0 is 0.0."""
    return _is(x, 0.0) and (x.dtype.kind != "f" or np.copysign(1.0, x.value) == sign)  # type: ignore[arg-type]


def _made_by(x: Tensor, op: Operation) -> bool:
    return x.op is op and x.value is None


def _same(op: Operation, inputs: tuple[Tensor, ...], kept: int) -> Tensor | None:
    """Return that input if the operation's result is it: same shape and dtype."""
    shape, dtype = op.shape(*inputs)
    x = inputs[kept]
    return x if x.shape == shape and x.dtype == dtype else None


def _unchanged(op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> Tensor | None:
    """Return the input of an elementwise operation that changes neither its values nor its dtype."""
    keeps = op.passes and op.kind == ELEMENTWISE and op.shape(*inputs, **attrs)[1] == inputs[0].dtype
    return inputs[0] if keeps else None


def _times(op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any], rw: Rewriter) -> Tensor | None:
    a, b = inputs
    if a.value is None and b.value is None:
        for back, mask in ((a, b), (b, a)) if rw.reorders else ():
            masked = back_through_relu(rw, back, mask)
            if masked is not None:
                return masked
        small, large = sorted(inputs, key=lambda x: math.prod(x.shape))
        return _with_the_smaller(op, small, large, rw)
    for i, (x, c) in enumerate(((a, b), (b, a))):
        if _is(c, 1.0):
            return _same(op, inputs, i)
        if _is(c, -1.0) and _same(op, inputs, i) is not None:
            return rw.node(NEGATIVE, (x,), {})
    # c1 * (c2 * x) with scalars: one factor
    for x, c in ((a, b), (b, a)):
        if c.value is not None and c.shape == () and _made_by(x, MULTIPLY):
            for y, inner in (x.inputs, x.inputs[::-1]):
                if inner.value is not None and inner.shape == ():
                    factor = np.asarray(c.value * inner.value)
                    if is_normal(factor):
                        return rw.node(op, (y, rw.constant(factor)), {})
    return None


def _with_the_smaller(op: Operation, small: Tensor, large: Tensor, rw: Rewriter) -> Tensor | None:
    """``a * (2 * x)`` is ``(2 * a) * x``, less to compute where a is broadcast. Factors of 2 and 1/2 round nothing."""
    if math.prod(small.shape) == math.prod(large.shape) or not _made_by(large, op):
        return None
    for y, c in (large.inputs, large.inputs[::-1]):
        if c.value is not None and c.shape == () and abs(c.value) in (0.5, 2.0):
            return rw.made(op, (rw.made(op, (small, c), {}), y), {})
    return None


def is_normal(number: Any) -> bool:
    """Whether a factor neither overflowed nor lost digits: only then two factors may become one."""
    if number.dtype.kind != "f":
        return True
    return bool(np.finfo(number.dtype).tiny <= abs(number) < np.inf)


def _plus(op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any], rw: Rewriter) -> Tensor | None:
    a, b = inputs
    for i, (x, c) in enumerate(((a, b), (b, a))):
        if _is_nothing(c, -1.0):
            return _same(op, inputs, i)
        if _made_by(c, NEGATIVE):
            return rw.node(SUBTRACT, (x, c.inputs[0]), {})
    return rw.joins.joined(rw, a, b)


def _minus(op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any], rw: Rewriter) -> Tensor | None:
    a, b = inputs
    if _is_nothing(b, 1.0):
        return _same(op, inputs, 0)
    return rw.node(ADD, (a, b.inputs[0]), {}) if _made_by(b, NEGATIVE) else None


def _over(op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any], rw: Rewriter) -> Tensor | None:
    return _same(op, inputs, 0) if _is(inputs[1], 1.0) else None


def _twice_negated(op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any], rw: Rewriter) -> Tensor | None:
    return inputs[0].inputs[0] if _made_by(inputs[0], NEGATIVE) else None


def _positive(op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any], rw: Rewriter) -> Tensor | None:
    """``x > 0`` is ``relu(x) > 0``: where relu(x) is computed anyway, x need not be kept for the backward pass."""
    x, zero = inputs
    out = rw.existing(RELU, (x,), {}) if _is(zero, 0.0) else None
    return None if out is None else rw.node(op, (out, zero), attrs)


def _transpose(op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any], rw: Rewriter) -> Tensor | None:
    (x,), axes = inputs, attrs["axes"]
    if axes == tuple(range(len(axes))):
        return x
    return rw.made(op, x.inputs, {"axes": tuple(x.attrs["axes"][i] for i in axes)}) if _made_by(x, op) else None


def _of_the_first(op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any], rw: Rewriter) -> Tensor | None:
    """Of two reshapes (or broadcasts) in a row, only the second counts."""
    (x,) = inputs
    if x.shape == attrs["shape"]:
        return x
    return rw.made(op, x.inputs, attrs) if _made_by(x, op) else None


def _reshape(op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any], rw: Rewriter) -> Tensor | None:
    """Joined arrays that a reshape would copy in another order of the axes are joined in that order."""
    (x,) = inputs
    if not _made_by(x, TRANSPOSE) or not _made_by(x.inputs[0], CONCATENATE):
        return _of_the_first(op, inputs, attrs, rw)
    (joined,), axes = x.inputs, x.attrs["axes"]
    memory = np.empty(joined.shape, np.uint8)  # never accessed
    if np.may_share_memory(np.reshape(np.transpose(memory, axes), attrs["shape"]), memory):
        return None
    parts = tuple([rw.made(TRANSPOSE, (part,), {"axes": axes}) for part in joined.inputs])
    return rw.made(op, (rw.made(CONCATENATE, parts, {"axis": axes.index(joined.attrs["axis"])}),), attrs)


def _sum(op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any], rw: Rewriter) -> Tensor | None:
    (x,), axis = inputs, attrs["axis"]
    if not axis and op.shape(x, **attrs) == (x.shape, x.dtype):
        return x
    if _made_by(x, NEGATIVE):
        return rw.made(NEGATIVE, (rw.made(op, x.inputs, attrs),), {})
    stacked = len(x.shape) > 2 and axis == tuple(range(len(x.shape) - 2)) and _made_by(x, MATMUL)
    if not stacked or attrs.get("keepdims") or x.inputs[0].shape[:-2] != x.inputs[1].shape[:-2]:
        return None
    # a sum of products of matrices is one product: of those on the left side by side and those on the right in a column
    (a, b), n = x.inputs, len(x.shape)
    count = math.prod(b.shape[:-1])
    turned = rw.made(TRANSPOSE, (a,), {"axes": (*range(n - 2), n - 1, n - 2)})
    left = rw.made(RESHAPE, (turned,), {"shape": (count, a.shape[-2])})
    right = rw.made(RESHAPE, (b,), {"shape": (count, b.shape[-1])})
    return rw.made(MATMUL, (rw.made(TRANSPOSE, (left,), {"axes": (1, 0)}), right), {})


def _product(op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any], rw: Rewriter) -> Tensor | None:
    return product(rw, *inputs)


def _overlaps(op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any], rw: Rewriter) -> Tensor | None:
    return overlapped(rw, inputs[0], attrs)


def _pool(op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any], rw: Rewriter) -> Tensor | None:
    return pooled(rw, inputs[0], attrs) if rw.reorders else None


def _loop(op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any], rw: Rewriter) -> Tensor | None:
    rw.loops = True
    return None


def _slice(op: Operation, inputs: tuple[Tensor, ...], attrs: dict[str, Any], rw: Rewriter) -> Tensor | None:
    (x,), index = inputs, attrs["index"]
    return cut_joined(rw, x, index) if len(x.shape) == 1 else cut_windows(rw, x, index)


#: Identities of single operations; all that hold for others as well follow from their rows.
RULES: dict[Operation, Callable[..., Tensor | None]] = {
    MULTIPLY: _times,
    ADD: _plus,
    SUBTRACT: _minus,
    DIVIDE: _over,
    NEGATIVE: _twice_negated,
    row_of(np.greater): _positive,
    row_of(np.sum): _sum,
    TRANSPOSE: _transpose,
    RESHAPE: _reshape,
    BROADCAST_TO: _of_the_first,
    SLICE: _slice,
    MATMUL: _product,
    OVERLAP_ADD: _overlaps,
    MAX_POOL: _pool,
    SCAN: _loop,
}
