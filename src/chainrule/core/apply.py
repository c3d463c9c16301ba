"""`apply`, which makes the nodes of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from .node import FUNCTIONS, NOTHING, TRACE, refuse_stale
from .op import VIEW, Operation
from .tensor import Tensor, Written, constant, latest, traced_leaf

_new = object.__new__


def apply(op: Operation, inputs: tuple[Any, ...], attrs: dict[str, Any], *, shared: bool = True) -> Any:
    """Apply `op`: the one place where nodes are made.

    With arrays alone the result is an array; with a tensor among the inputs it is a tensor, computed at once if all
    values are known. A view that no program gets to see is not `shared`: nobody writes into it.
    """
    recordings = NOTHING
    lifted = traced = mixed = False
    given = inputs
    values = []
    for x in inputs:
        if isinstance(x, Tensor):
            lifted = True
            if type(x) is Written:
                x, mixed = latest(x), True
            values.append(x.value)
            if x.value is None:
                traced = True
            if x.recordings is not recordings and x.recordings:
                recordings = recordings | x.recordings if recordings else x.recordings
        else:
            mixed = True
    if not lifted:
        return op.evaluate(*inputs, **attrs)
    if mixed:
        held = _held if recordings or traced else constant
        inputs = tuple([x if type(x) is Tensor else latest(x) if isinstance(x, Tensor) else held(x) for x in inputs])
        values = [x.value for x in inputs]
    node: Any = _new(Tensor)
    node.name = node.grad = node.memory = None
    node.weak = False
    if not traced:
        try:
            value = op.kernel(*values, **attrs) if op.kernel is not None else op.evaluate(*values, **attrs)
        except (ValueError, TypeError, IndexError):
            op.shape(*inputs, **attrs)  # raises the library's own message for shapes that do not fit
            raise
        if type(value) is not np.ndarray:
            value = np.asarray(value)
        node.value, node.shape, node.dtype = value, value.shape, value.dtype
    else:
        refuse_stale(inputs)
        if attrs:
            attrs = {k: _settled(v) for k, v in attrs.items()}
        node.value = None
        node.shape, node.dtype = op.shape(*inputs, **attrs)
    if recordings or traced:
        node.op, node.inputs, node.attrs = op, inputs, attrs
        if not op.differentiable:  # no derivative goes through, but a tensor without a value knows its trace
            recordings = frozenset([r for r in recordings if r.traces]) if traced else NOTHING
        node.recordings = recordings
    elif TRACE.get() is not None and _has_graph(inputs):
        node.op, node.inputs, node.attrs, node.recordings = op, inputs, attrs, NOTHING
    else:  # no derivative needs the operation
        node.op, node.inputs, node.attrs, node.recordings = None, (), {}, NOTHING
    if shared and op.kind is VIEW:
        FUNCTIONS["share"](node, given[0], op, attrs)
    return node


def with_inputs(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return a traced node like `node`, of other inputs with the same shapes and dtypes."""
    made = traced_leaf(node.shape, node.dtype, node.recordings)
    made.op, made.inputs, made.attrs = node.op, inputs, node.attrs
    return made


def _held(x: Any) -> Tensor:
    """Return `x` as a leaf of a recorded graph, which later writes into the array do not reach."""
    return constant(x.copy("K") if type(x) is np.ndarray and x.flags.writeable else x)


def _has_graph(inputs: tuple[Any, ...]) -> bool:
    """Whether constants were computed from parameters, by operations without a derivative."""
    for x in inputs:
        if x.op is not None:
            return True
    return False


def _settled(attribute: Any) -> Any:
    """Return an attribute of an operation with the integers in place of tensors: arguments of a traced function."""
    if isinstance(attribute, Tensor):
        return attribute.concrete("an argument that is not an array").item()
    if type(attribute) in (tuple, list):
        return type(attribute)([_settled(a) for a in attribute])
    if type(attribute) is slice:
        return slice(_settled(attribute.start), _settled(attribute.stop), _settled(attribute.step))
    return attribute
