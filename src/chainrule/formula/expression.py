"""Formulas as trees: names, numbers and operations of the table, each with its shape.

A tree is what stands between two named values of a recorded graph. Everything that is shown, evaluated or written as
source comes from such trees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.op import Array, Operation, Shape
from ..core.tensor import Tensor
from ..ops.index import Slot
from .rows import ADD, CAST, MULTIPLY, NAME, NUMBER, RESHAPE

#: Number of operations from one named value to the next, above which a value in between gets a name.
LONGEST = 14


@dataclass(frozen=True)
class Batch:
    """A length of an axis that is a multiple of the number of examples m: ``times · m``."""

    times: int

    def __str__(self) -> str:
        return "m" if self.times == 1 else f"{self.times} * m"


@dataclass(frozen=True)
class Range:
    """A slice, which Python before 3.12 cannot hash."""

    start: Any
    stop: Any
    step: Any


@dataclass(frozen=True)
class Expression:
    """One node of a formula.

    Attributes
    ----------
    op : Operation
        A row of the table, or one of the leaves `NAME` and `NUMBER`.
    inputs : tuple of Expression
    attrs : tuple of (str, value)
        The operation's static attributes; of a name: ``name``; of a number: ``value`` and ``batch``, the number being
        value · m**batch with m the number of examples.
    shape : tuple of int
    kind : str
        ``"f"``, ``"i"`` or ``"b"``, as of a dtype.
    """

    op: Operation
    inputs: tuple[Expression, ...]
    attrs: tuple[tuple[str, Any], ...]
    shape: Shape
    kind: str = "f"

    def __getitem__(self, attribute: str) -> Any:
        return dict(self.attrs)[attribute]

    @property
    def axes(self) -> tuple[int, ...] | None:
        """The axes that a reduction, or a softmax, goes over; None for other operations."""
        axis = dict(self.attrs).get("axis")
        return axis if type(axis) is tuple else None

    @property
    def moves_ones(self) -> bool:
        """Whether it is a change of shape that only adds or removes axes of length 1."""
        return self.op is RESHAPE and without_ones(self.inputs[0].shape) == without_ones(self.shape)

    def walk(self) -> Iterator[Expression]:
        """Yield this node and all below it."""
        stack = [self]
        while stack:
            e = stack.pop()
            yield e
            stack.extend(reversed(e.inputs))

    def names(self) -> list[str]:
        """Return the names in it, each once, in the order of reading."""
        return list(dict.fromkeys(e["name"] for e in self.walk() if e.op is NAME))

    def mapped(self, change: Callable[[Expression], Expression | None]) -> Expression:
        """Return the tree with `change` applied to every node from the leaves up; None leaves a node unchanged."""
        inputs = tuple(x.mapped(change) for x in self.inputs)
        e = self if all(a is b for a, b in zip(inputs, self.inputs, strict=True)) else replace(self, inputs=inputs)
        made = change(e)
        return e if made is None else made

    def renamed(self, names: Mapping[str, str]) -> Expression:
        """Return the tree with names exchanged."""

        def change(e: Expression) -> Expression | None:
            return name(names[e["name"]], e.shape, e.kind) if e.op is NAME and e["name"] in names else None

        return self.mapped(change)

    def value(self, values: Mapping[str, Any], m: int | None = None) -> Any:
        """Compute the formula, each node by its row; arrays and tensors are taken, as wherever NumPy is."""
        if self.op is NAME:
            return values[self["name"]]
        if self.op is NUMBER:
            return np.asarray(self["value"] * float(m or 1) ** self["batch"])
        inputs = [x.value(values, m) for x in self.inputs]
        if self.kind == "f" and all(x.kind == "b" for x in self.inputs):
            inputs = [1.0 * x for x in inputs]  # truth values that are added up are numbers
        attrs = in_double(self.op, {k: _thawed(v, m) for k, v in self.attrs})
        if any(isinstance(x, Tensor) for x in inputs):
            tensors = [x if isinstance(x, Tensor) else Tensor(np.asarray(x)) for x in inputs]
            return apply(self.op, tuple(tensors), attrs)
        return self.op.evaluate(*map(np.asarray, inputs), **attrs)


def in_double(op: Operation, attrs: dict[str, Any]) -> dict[str, Any]:
    """Return attributes for a computation in float64: conversions to another precision are left out."""
    if op is CAST and np.dtype(attrs["dtype"]).kind == "f":
        return {**attrs, "dtype": np.dtype(np.float64)}
    return attrs


def deviation(e: Expression, truth: Array, values: Mapping[str, Any], m: int | None) -> float:
    """Return how far a formula's value is from the one it stands for, relative to the largest of its elements."""
    with np.errstate(all="ignore"):
        got = np.asarray(e.value(values, m))
    if got.shape != truth.shape:
        return float("inf")
    if np.array_equal(got, truth, equal_nan=truth.dtype.kind == "f"):
        return 0.0
    size = max(1e-300, float(np.max(np.abs(truth), initial=0.0)))
    return float(np.max(np.abs(got * 1.0 - truth), initial=0.0)) / size


def name(label: str, shape: Shape, kind: str = "f") -> Expression:
    """Return a reference to a named value."""
    return Expression(NAME, (), (("name", label),), tuple(shape), kind)


def number(value: float, batch: int = 0) -> Expression:
    """Return value · m**batch."""
    return Expression(NUMBER, (), (("value", float(value)), ("batch", batch)), ())


def is_number(e: Expression, value: float | None = None) -> bool:
    """Whether it is a number; the given one, if one is given."""
    return e.op is NUMBER and (value is None or (e["value"] == value and e["batch"] == 0))


def is_name(e: Expression, label: str | None = None) -> bool:
    """Whether it is a name; the given one, if one is given."""
    return e.op is NAME and (label is None or e["name"] == label)


def make(op: Operation, *inputs: Expression, **attrs: Any) -> Expression:
    """Return an operation on expressions, its shape by the row's rule."""
    stand_ins = [_Shaped(x.shape, np.dtype({"f": float, "b": bool, "i": int}[x.kind])) for x in inputs]
    shape, dtype = op.shape(*stand_ins, **attrs)
    kind = dtype.kind if dtype.kind in "fb" else "i"
    if kind != "f" and op.differentiable and op is not CAST and any(x.kind == "f" for x in inputs):
        kind = "f"
    return Expression(op, inputs, frozen(attrs), tuple(shape), kind)


@dataclass(frozen=True)
class _Shaped:
    shape: Shape
    dtype: np.dtype[Any]


def frozen(attrs: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return attributes in a form that can be hashed."""
    return tuple((k, _frozen(v)) for k, v in attrs.items())


def _frozen(x: Any) -> Any:
    if isinstance(x, slice):
        return Range(x.start, x.stop, x.step)
    return tuple(_frozen(i) for i in x) if isinstance(x, list | tuple) else x


def _thawed(x: Any, m: int | None) -> Any:
    if isinstance(x, Range):
        return slice(*(_thawed(i, m) for i in (x.start, x.stop, x.step)))
    if isinstance(x, Batch):
        return x.times * (m or 1)
    return tuple(_thawed(i, m) for i in x) if type(x) is tuple else x


def plus(a: Expression, b: Expression) -> Expression:
    """Return a + b."""
    return make(ADD, a, b)


def times(a: Expression, b: Expression) -> Expression:
    """Return a ⊙ b, without factors of one."""
    if is_number(a, 1.0):
        return b
    return a if is_number(b, 1.0) else make(MULTIPLY, a, b)


def without_ones(shape: Shape) -> Shape:
    """Return a shape without its axes of length 1."""
    return tuple(d for d in shape if d != 1)


def index_parts(index: Any, arrays: list[str], dots: str) -> list[str]:
    """Return the parts of an index as they stand between brackets; `arrays` are the index arrays in it."""
    parts = []
    for part in index:
        if type(part) is Slot:
            parts.append(arrays[part])
        elif isinstance(part, Range):
            ends = ["" if x is None else str(x) for x in (part.start, part.stop, part.step)]
            parts.append(":".join(ends if part.step is not None else ends[:2]))
        else:
            parts.append(dots if part is Ellipsis else str(part))
    return parts
