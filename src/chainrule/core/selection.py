"""Where a cotangent is zero because a selection took another value: such zeros meet no infinite derivative.

``np.where(x > 0, np.sqrt(x), 0)`` has the derivative 0 at x = 0, but 0 times the infinite one of the root is NaN.
The reverse pass therefore carries, from each selection (a row with `selects`) to the values that it was made from, the
condition under which they were taken, and puts zeros where none of the conditions holds. A zero that comes from a
derivative instead is not known to be exact, and is left alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .broadcasting import unbroadcast
from .node import FUNCTIONS
from .op import ELEMENTWISE, REDUCE, VIEW
from .tensor import Tensor

Literal = tuple["Condition", bool]
Term = tuple[Literal, ...]
_add: Any = np.add
_and: Any = np.logical_and
_or: Any = np.logical_or


class Condition:
    """A truth value for every element of a node, computed when it is first needed; explicit if a caller gave it."""

    def __init__(self, compute: Callable[[], Any], explicit: bool) -> None:
        self.explicit = explicit
        self._compute: Callable[[], Any] | None = compute
        self._value: Any = None

    def value(self) -> Any:
        """Return the array or tensor of truth values."""
        if self._compute is not None:
            self._value, self._compute = self._compute(), None
        return self._value


class Taken:
    """When an element's value is taken: all conditions of one of several terms hold.

    Parameters
    ----------
    terms : iterable of tuple
        The conditions of each, with the truth value that they must have; formulas show them in this order.
    """

    def __init__(self, terms: Iterable[Term]) -> None:
        different: dict[frozenset[Literal], Term] = {}
        for term in terms:
            different.setdefault(frozenset(term), term)
        self.terms = tuple(different.values())
        self.explicit = any(condition.explicit for term in self.terms for condition, _ in term)

    def mask(self) -> Any:
        """Return the truth values, of a shape that broadcasts against the node's."""
        found = None
        for term in self.terms:
            both = None
            for condition, wanted in term:
                one = condition.value() if wanted else np.logical_not(condition.value())
                both = one if both is None else _and(both, one)
            found = both if found is None else _or(found, both)
        return found

    def zeroed(self, part: Any) -> Any:
        """Return `part` with zeros where the value is not taken."""
        if len(self.terms) == 1:
            (term,) = self.terms
            if len(term) == 1:
                ((condition, wanted),) = term
                if not wanted:  # reads better than a negated condition, in formulas too
                    return np.where(condition.value(), 0.0, part)
        return np.where(self.mask(), part, 0.0)

    def within(self, outer: Taken | None) -> Taken:
        """Return when both this and `outer` hold."""
        if outer is None:
            return self
        return Taken(tuple(dict.fromkeys(a + b)) for a in self.terms for b in outer.terms)

    def either(self, other: Taken) -> Taken | None:
        """Return when one of the two holds; None for always."""
        either = Taken(self.terms + other.terms)
        single = {literal for term in either.terms if len(term) == 1 for literal in term}
        if any((condition, not wanted) in single for condition, wanted in single):
            return None
        return either if len(either.terms) <= _MOST_TERMS else None


_MOST_TERMS = 8


class Selections:
    """The conditions of one reverse pass, by the node whose cotangent they make zero."""

    def __init__(self) -> None:
        self._taken: dict[int, Taken] = {}
        self._conditions: dict[Any, Condition] = {}

    def __bool__(self) -> bool:
        return bool(self._taken)

    def guarded(self, node: Tensor, index: int, part: Any, arguments: tuple[Any, ...], first: bool) -> Any:
        """Return a rule's result with zeros where its node's value was not taken, and pass the condition on.

        Parameters
        ----------
        node, index
            The node, and which input of it gets `part`.
        part
            What the rule returned, before it is summed over broadcast axes.
        arguments
            The rule's other arguments: ``out, *inputs``.
        first
            Whether the input has no cotangent from another node yet.
        """
        op, x = node.op, node.inputs[index]
        assert op is not None
        taken = self._taken.get(id(node))
        reads = op.reads(index, node.inputs)
        if taken is not None and reads and op.kind in (ELEMENTWISE, REDUCE):
            part = _zeroed(part, taken, node, x)
        below = self._below(node, index, taken, arguments, reads)
        key = id(x)
        if first:
            if below is not None:
                self._taken[key] = below
        elif key in self._taken:
            both = None if below is None else self._taken[key].either(below)
            if both is None:
                del self._taken[key]
            else:
                self._taken[key] = both
        return part

    def _below(
        self, node: Tensor, index: int, taken: Taken | None, arguments: tuple[Any, ...], reads: bool
    ) -> Taken | None:
        """Return when an input's value is taken."""
        op, x = node.op, node.inputs[index]
        assert op is not None
        selected = None if op.selects is None else self._selected(node, index, arguments)
        if op.kind == REDUCE:  # what it selects is told for the elements of its input
            outer = None if taken is None else _moved(taken, node, index, arguments, reads)
            return outer if selected is None else selected.within(outer)
        both = taken if selected is None else selected.within(taken)
        if both is None or ((op.kind == ELEMENTWISE or selected is not None) and x.shape == node.shape):
            return both
        if op.kind != ELEMENTWISE and (reads or not (op.passes or op.kind == VIEW)):
            return None
        if op.kind == ELEMENTWISE and not both.explicit:
            return None  # what a whole axis is scaled by, in a normalisation before a relu, say
        return _moved(both, node, index, arguments, reads)

    def _selected(self, node: Tensor, index: int, arguments: tuple[Any, ...]) -> Taken | None:
        assert node.op is not None and node.op.selects is not None
        chosen = node.op.selects(index, *arguments, **node.attrs)
        if chosen is None:
            return None
        compute, wanted = chosen
        place = compute if isinstance(compute, int) else None
        key = ("input", id(node.inputs[place])) if place is not None else (id(node), index)
        if key not in self._conditions:
            given = place is not None
            self._conditions[key] = Condition((lambda: arguments[1 + (place or 0)]) if given else compute, given)
        return Taken([((self._conditions[key], wanted),)])


def _zeroed(part: Any, taken: Taken, node: Tensor, x: Tensor) -> Any:
    if not isinstance(part, Tensor):
        if math.isfinite(_add.reduce(part, axis=None)):
            return part
    elif not (taken.explicit or any(op is not None and op.steep for op in (node.op, *(y.op for y in node.inputs)))):
        return part  # below a relu, say, finite numbers give no infinite derivative here
    if node.shape != x.shape and node.op is not None and node.op.kind == REDUCE:
        return np.where(_spread(taken.mask(), node, x), part, 0.0)
    return taken.zeroed(part)


def _spread(mask: Any, node: Tensor, x: Tensor) -> Any:
    """Return a condition on a reduction's result as one on the elements that it is made from."""
    axis = node.attrs["axis"]
    kept = tuple(1 if i in axis else d for i, d in enumerate(x.shape))
    return np.reshape(np.broadcast_to(mask, node.shape), kept)


def _moved(taken: Taken, node: Tensor, index: int, arguments: tuple[Any, ...], reads: bool) -> Taken:
    """Return the condition for the elements of an input from that for the elements of its node."""
    condition = Condition(lambda: _moved_mask(taken, node, index, arguments, reads), taken.explicit)
    return Taken([((condition, True),)])


def _moved_mask(taken: Taken, node: Tensor, index: int, arguments: tuple[Any, ...], reads: bool) -> Any:
    op, x = node.op, node.inputs[index]
    assert op is not None
    mask = taken.mask()
    if reads and op.kind == REDUCE:
        return np.broadcast_to(_spread(mask, node, x), x.shape)
    ones = FUNCTIONS["astype"](np.broadcast_to(mask, node.shape), node.dtype)
    if not reads:  # the rule moves values without changing them, up to a factor: it moves conditions, too
        rule = op.rule(index)
        assert rule is not None
        ones = rule(ones, *arguments, **node.attrs)
    return np.not_equal(unbroadcast(ones, x.shape), 0)
