"""autograd's ``misc.tracers``: a function recorded at its first call, and run from the record afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....core.tree import flatten
from ..tracer import operations, plain

Function = Callable[..., Any]


def const_graph(fun: Function, *args: Any, **kwargs: Any) -> Function:
    """Return ``fun(*args, …, **kwargs)`` as a function that is run once; later calls repeat its operations.

    A branch that depends on values is the first call's. ``chainrule.compile`` also plans such a function.
    """
    recorded: list[Any] = []

    def repeated(*rest: Any) -> Any:
        leaves, _ = flatten(rest)
        if not recorded:
            value, nodes, end = operations(lambda xs: fun(*args, *xs, **kwargs), rest)
            if end is None:
                raise ValueError("const_graph: the output does not depend on the arguments")
            recorded.append((nodes, end))
            return value
        nodes, end = recorded[0]
        values = dict(zip(map(id, nodes), leaves, strict=False))
        for node in nodes[len(leaves) :]:
            values[id(node)] = node.op.evaluate(*[values.get(id(x), x.value) for x in node.inputs], **node.attrs)
        return plain(values[id(end)])

    return repeated
