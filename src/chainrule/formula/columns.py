"""Formulas for examples in columns: every matrix transposed, every vector a column."""

from __future__ import annotations

from dataclasses import replace

from ..core.op import ELEMENTWISE, Array, Shape
from .expression import Expression, frozen, make
from .rows import BROADCAST, MATMUL, NAME, NUMBER, RESHAPE, SUM, TRANSPOSE
from .rules import simplify


def turned(e: Expression, by_example: frozenset[str], label: str = "") -> Expression:
    """Return the formula that gives the transpose of what `e` gives, from transposed values; `label` is what it gives.

    Notes
    -----
    Arrays of more than two axes are unchanged, examples first; so does what an operation without a transposed form
    reads, whose result is transposed.
    """
    made = _Turner(by_example).turn(e)
    wanted = (1, *e.shape) if label in by_example else (*e.shape, 1)
    if label and len(e.shape) == 1 and e.kind == "f" and made.shape != wanted:
        made = make(RESHAPE, made, shape=wanted)
    return simplify(made)


def turned_array(array: Array, by_example: bool) -> Array:
    """Return a value in the layout with examples in columns."""
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
        if len(e.shape) > 2 or any(len(x.shape) > 2 for x in e.inputs):
            return self.laid(e)
        if e.op is NUMBER or (e.op is NAME and e.shape == ()):
            return e
        if e.op is NAME:
            return replace(e, shape=self.shape_of_name(e))
        if e.op is MATMUL:
            a, b = e.inputs
            return make(MATMUL, self.turn(b), self.turn(a))
        if e.op is TRANSPOSE:
            return make(TRANSPOSE, self.turn(e.inputs[0]), axes=(1, 0))
        if e.axes is not None:
            return self.reduction(e)
        if e.op is RESHAPE:
            return self.reshape(e)
        if e.op is BROADCAST:
            shape = e["shape"][::-1] if len(e.shape) == 2 else (*e["shape"], 1)
            actual = e.shape[::-1] if len(e.shape) == 2 else (*e.shape, 1)
            return Expression(e.op, (self.turn(e.inputs[0]),), frozen({"shape": shape}), actual)
        if e.op.kind != ELEMENTWISE:
            return self.laid(e)
        return make(e.op, *[self.turn(x) for x in e.inputs], **dict(e.attrs))

    def shape_of_name(self, e: Expression) -> Shape:
        """Return the shape of the transposed value."""
        if len(e.shape) == 1:
            vector = (1, *e.shape) if e["name"] in self.by_example else (*e.shape, 1)
            return e.shape if e.kind == "i" else vector
        return e.shape[::-1]

    def laid(self, e: Expression) -> Expression:
        """Return what `e` gives from values as they lie in rows, transposed where it has rows."""
        by_rows = e.mapped(self.as_in_rows)
        if len(e.shape) == 2:
            return make(TRANSPOSE, by_rows, axes=(1, 0))
        if len(e.shape) == 1 and e.kind == "f":
            over_examples = e.op is not SUM or 0 in e["axis"]
            return make(RESHAPE, by_rows, shape=(*e.shape, 1) if over_examples else (1, *e.shape))
        return by_rows

    def as_in_rows(self, e: Expression) -> Expression | None:
        """Return a name's value as it lies when examples are in rows."""
        if e.op != NAME or len(e.shape) not in (1, 2):
            return None
        turned_name = replace(e, shape=self.shape_of_name(e))
        if len(e.shape) == 2:
            return make(TRANSPOSE, turned_name, axes=(1, 0))
        return make(RESHAPE, turned_name, shape=e.shape) if turned_name.shape != e.shape else None

    def reduction(self, e: Expression) -> Expression:
        x = self.turn(e.inputs[0])
        reduces = "keepdims" in dict(e.attrs)
        if len(e.inputs[0].shape) == 2:
            axes = tuple(sorted(1 - a for a in e["axis"]))
        else:
            axes = (0, 1) if reduces else (0,)
        if not reduces:  # a softmax
            return make(e.op, x, axis=axes)
        keep = e["keepdims"] or len(axes) == 1 or e.shape != ()
        return make(e.op, x, axis=axes, keepdims=bool(keep))

    def reshape(self, e: Expression) -> Expression:
        """Leave out what only turned a vector to a row or column; other changes of shape mix the examples."""
        x = self.turn(e.inputs[0])
        old = tuple(d for d in e.inputs[0].shape if d != 1)
        if old != tuple(d for d in e.shape if d != 1):
            return self.laid(e)
        wanted = e.shape[::-1]
        if len(e.shape) == 1 or x.shape == wanted:
            return x
        return Expression(RESHAPE, (x,), frozen({"shape": wanted}), wanted)
