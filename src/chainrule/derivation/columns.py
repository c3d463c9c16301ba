"""Formulas for examples in columns: every matrix transposed, every vector a column."""

from __future__ import annotations

from dataclasses import replace

from ..op import Array, Shape
from .expression import NAME, NUMBER, Expression, frozen, make
from .rules import simplify

_ELEMENTWISE_AXES = frozenset({"sum", "max", "min", "prod", "logsumexp", "softmax", "norm2"})


def turned(e: Expression, by_example: frozenset[str]) -> Expression:
    """Return the formula that gives the transpose of what `e` gives, from transposed values.

    Raises
    ------
    ValueError
        For formulas on arrays of more than two axes, which have no columns.
    """
    return simplify(_Turner(by_example).turn(e))


def turned_array(array: Array, by_example: bool) -> Array:
    """Return a value as it lies when examples are in columns."""
    if array.ndim == 2:
        return array.T
    if array.ndim == 1 and array.dtype.kind == "f":
        return array[None, :] if by_example else array[:, None]
    return array


class _Turner:
    """Transposes formulas. A vector of features is a column, a vector of examples is a row."""

    def __init__(self, by_example: frozenset[str]) -> None:
        self.by_example = by_example

    def turn(self, e: Expression) -> Expression:
        if len(e.shape) > 2:
            raise ValueError(f"layout='columns' is for matrices; {e.op} gives an array of shape {e.shape}")
        if e.op == NUMBER or (e.op == NAME and e.shape == ()):
            return e
        if e.op == NAME:
            return replace(e, shape=self.shape_of_name(e))
        if e.op == "matmul":
            a, b = e.inputs
            return make("matmul", self.turn(b), self.turn(a))
        if e.op == "transpose":
            return make("transpose", self.turn(e.inputs[0]), axes=(1, 0))
        if e.op in _ELEMENTWISE_AXES:
            return self.reduction(e)
        if e.op == "reshape":
            return self.reshape(e)
        if e.op == "one_hot":
            return self.transposed(e)
        if e.op == "broadcast_to":
            shape = e["shape"][::-1] if len(e.shape) == 2 else (*e["shape"], 1)
            actual = e.shape[::-1] if len(e.shape) == 2 else (*e.shape, 1)
            return Expression(e.op, (self.turn(e.inputs[0]),), frozen({"shape": shape}), actual)
        if e.row.kind != "elementwise":
            raise ValueError(f"layout='columns' has no form of {e.op}")
        return make(e.op, *[self.turn(x) for x in e.inputs], **dict(e.attrs))

    def shape_of_name(self, e: Expression) -> Shape:
        """Return the shape of the transposed value."""
        if len(e.shape) == 1:
            vector = (1, *e.shape) if e["name"] in self.by_example else (*e.shape, 1)
            return e.shape if e.kind == "i" else vector
        return e.shape[::-1]

    def transposed(self, e: Expression) -> Expression:
        return make("transpose", e, axes=(1, 0))

    def reduction(self, e: Expression) -> Expression:
        x = self.turn(e.inputs[0])
        if len(e.inputs[0].shape) != 2:
            axes = (0, 1) if e.op != "softmax" else (0,)
        else:
            axes = tuple(sorted(1 - a for a in e["axis"]))
        if e.op == "softmax":
            return make("softmax", x, axis=axes)
        keep = e["keepdims"] or len(axes) == 1 or e.shape != ()
        return make(e.op, x, axis=axes, keepdims=bool(keep))

    def reshape(self, e: Expression) -> Expression:
        """Leave out what only turned a vector to a row or column; other changes of shape mix the examples."""
        x = self.turn(e.inputs[0])
        old = tuple(d for d in e.inputs[0].shape if d != 1)
        if old != tuple(d for d in e.shape if d != 1):
            raise ValueError("layout='columns' has no form of reshape")
        wanted = e.shape[::-1]
        if len(e.shape) == 1 or x.shape == wanted:
            return x
        return Expression("reshape", (x,), frozen({"shape": wanted}), wanted)
