"""Small changes of an expression: a factor or a term left out, another sign, a square left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ...core.op import Array, Operation
from ...core.reverse import topological
from ...core.tensor import Tensor
from ...ops.table import row_of

ADD, SUBTRACT, NEGATIVE = row_of(np.add), row_of(np.subtract), row_of(np.negative)
MULTIPLY, DIVIDE, SQUARE = row_of(np.multiply), row_of(np.divide), row_of(np.square)

Inputs = Sequence[Array]
#: What one operation is taken for: (what is wrong, how it is computed then).
Alteration = tuple[str, Callable[[Inputs], Array]]

FACTOR, TERM, SIGN, POWER = "factor", "term", "sign", "second power"
_ALTERATIONS: dict[Operation, tuple[Alteration, ...]] = {
    MULTIPLY: ((FACTOR, lambda x: x[0]), (FACTOR, lambda x: x[1])),
    DIVIDE: ((FACTOR, lambda x: x[0]),),
    SQUARE: ((POWER, lambda x: x[0]),),
    NEGATIVE: ((SIGN, lambda x: x[0]),),
    ADD: ((TERM, lambda x: x[0]), (TERM, lambda x: x[1]), (SIGN, lambda x: x[0] - x[1])),
    SUBTRACT: ((TERM, lambda x: x[0]), (TERM, lambda x: -x[1]), (SIGN, lambda x: x[0] + x[1])),
}


def parts(node: Tensor, stop: Callable[[Tensor], bool]) -> list[Tensor]:
    """Return the nodes that an expression consists of, down to those where `stop` says so; inputs before users."""
    stack, inside = [node], set()
    while stack:
        t = stack.pop()
        if id(t) not in inside and t.op is not None and not stop(t):
            inside.add(id(t))
            stack += t.inputs
    return [t for t in topological([node]) if id(t) in inside]


def alterations(expression: Sequence[Tensor]) -> Iterator[tuple[int, int, str]]:
    """Yield (node, alteration, what it is) for every way to change one node of an expression."""
    for j, node in enumerate(expression):
        for k, (what, _) in enumerate(_ALTERATIONS[node.op] if node.op in _ALTERATIONS else ()):
            if what != TERM or not _is_number(node.inputs[k]):  # 1 alone, of 1 - a: rather a factor that is left out
                yield j, k, what


def _is_number(node: Tensor) -> bool:
    return node.op is None and node.size == 1


def altered(expression: Sequence[Tensor], j: int, k: int) -> Array:
    """Return the value of an expression with the `k`-th alteration of its node `j`."""
    new: dict[int, Array] = {}
    for i, node in enumerate(expression[j:], j):
        assert node.op is not None
        if i != j and not any(id(x) in new for x in node.inputs):
            continue
        inputs = [new.get(id(x), np.asarray(x.value)) for x in node.inputs]
        made = _ALTERATIONS[node.op][k][1](inputs) if i == j else node.op.evaluate(*inputs, **node.attrs)
        new[id(node)] = np.broadcast_to(made, node.shape)
    return new[id(expression[-1])]
