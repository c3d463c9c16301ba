"""Formulas as trees: names, numbers and operations of the table, each with its shape.

A tree is what stands between two named values of a recorded graph. Everything that is shown, evaluated or written as
source comes from such trees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from ..core.op import Operation, Shape, row

NAME, NUMBER = "name", "number"
#: Number of operations on the way from one named value to the next, above which a value in between gets a name.
LONGEST = 14


@dataclass(frozen=True)
class Batch:
    """A length of an axis that is a multiple of the number of examples m: ``times · m``."""

    times: int

    def __str__(self) -> str:
        return "m" if self.times == 1 else f"{self.times} * m"


@dataclass(frozen=True)
class Expression:
    """One node of a formula.

    Attributes
    ----------
    op : str
        ``"name"``, ``"number"``, or an operation of the table.
    inputs : tuple of Expression
    attrs : tuple of (str, value)
        The operation's static attributes; of a name: ``name``; of a number: ``value`` and ``batch``, the number being
        value · m**batch with m the number of examples.
    shape : tuple of int
    kind : str
        ``"f"``, ``"i"`` or ``"b"``, as of a dtype.
    """

    op: str
    inputs: tuple[Expression, ...]
    attrs: tuple[tuple[str, Any], ...]
    shape: Shape
    kind: str = "f"

    def __getitem__(self, attribute: str) -> Any:
        return dict(self.attrs)[attribute]

    @property
    def row(self) -> Operation:
        """The operation's row in the table."""
        return row(self.op)

    def walk(self) -> Iterator[Expression]:
        """Yield this node and all below it."""
        stack = [self]
        while stack:
            e = stack.pop()
            yield e
            stack.extend(reversed(e.inputs))

    def names(self) -> list[str]:
        """Return the names in it, each once, in the order of reading."""
        return list(dict.fromkeys(e["name"] for e in self.walk() if e.op == NAME))

    def size(self) -> int:
        """Return the number of operations."""
        return sum(e.op not in (NAME, NUMBER) for e in self.walk())

    def mapped(self, change: Callable[[Expression], Expression | None]) -> Expression:
        """Return the tree with `change` applied to every node from the leaves up; None leaves a node as it is."""
        inputs = tuple(x.mapped(change) for x in self.inputs)
        e = self if all(a is b for a, b in zip(inputs, self.inputs, strict=True)) else replace(self, inputs=inputs)
        made = change(e)
        return e if made is None else made

    def renamed(self, names: Mapping[str, str]) -> Expression:
        """Return the tree with names exchanged."""

        def change(e: Expression) -> Expression | None:
            return name(names[e["name"]], e.shape, e.kind) if e.op == NAME and e["name"] in names else None

        return self.mapped(change)


def name(label: str, shape: Shape, kind: str = "f") -> Expression:
    """Return a reference to a named value."""
    return Expression(NAME, (), (("name", label),), tuple(shape), kind)


def number(value: float, batch: int = 0) -> Expression:
    """Return value · m**batch."""
    return Expression(NUMBER, (), (("value", float(value)), ("batch", batch)), ())


def is_number(e: Expression, value: float | None = None) -> bool:
    """Whether it is a number; the given one, if one is given."""
    return e.op == NUMBER and (value is None or (e["value"] == value and e["batch"] == 0))


def is_name(e: Expression, label: str | None = None) -> bool:
    """Whether it is a name; the given one, if one is given."""
    return e.op == NAME and (label is None or e["name"] == label)


def make(op: str, *inputs: Expression, **attrs: Any) -> Expression:
    """Return an operation on expressions, its shape by the row's rule."""
    stand_ins = [_Shaped(x.shape, np.dtype({"f": float, "b": bool, "i": int}[x.kind])) for x in inputs]
    shape, dtype = row(op).shape(*stand_ins, **attrs)
    kind = dtype.kind if dtype.kind in "fb" else "i"
    if kind != "f" and row(op).differentiable and op != "cast" and any(x.kind == "f" for x in inputs):
        kind = "f"
    return Expression(op, inputs, frozen(attrs), tuple(shape), kind)


@dataclass(frozen=True)
class _Shaped:
    shape: Shape
    dtype: np.dtype[Any]


def frozen(attrs: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return attributes in a form that can be hashed."""
    return tuple((k, _frozen(v)) for k, v in attrs.items())


@dataclass(frozen=True)
class Range:
    """A slice, which Python before 3.12 cannot hash."""

    start: Any
    stop: Any
    step: Any


def _frozen(x: Any) -> Any:
    if isinstance(x, slice):
        return Range(x.start, x.stop, x.step)
    if isinstance(x, list | tuple):
        return tuple(_frozen(i) for i in x)
    return x


def plus(a: Expression, b: Expression) -> Expression:
    """Return a + b."""
    return make("add", a, b)


def times(a: Expression, b: Expression) -> Expression:
    """Return a ⊙ b, without factors of one."""
    if is_number(a, 1.0):
        return b
    if is_number(b, 1.0):
        return a
    return make("multiply", a, b)


def fraction(value: float) -> Fraction | None:
    """Return a number as a fraction of small integers, or None where it is none."""
    if not math.isfinite(value):
        return None
    small = Fraction(value).limit_denominator(100_000)
    exact = abs(float(small) - value) <= 1e-15 * abs(value) and (small.denominator <= 1000 or small.numerator <= 100)
    return small if exact and abs(small.numerator) < 1_000_000 else None
