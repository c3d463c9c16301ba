"""The steps of a derivation: forward, and backward in the order in which it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.op import Array, Shape
from ..formula.expression import Expression, is_name, is_number, make, name, number, times
from ..formula.factoring import factored, shares
from ..formula.rows import ADD, DIVIDE, LOG, MATMUL, MULTIPLY, NEGATIVE, RESHAPE, SUBTRACT, SUM, TRANSPOSE
from ..formula.rules import simplify
from ..ops.activations import binary_cross_entropy_with_logits
from ..ops.logits import CROSS_ENTROPY
from ..ops.table import row_of
from .graph import StructureChanges, generalised
from .recording import LOSS, Formulas

BINARY_CROSS_ENTROPY = row_of(binary_cross_entropy_with_logits)


@dataclass(frozen=True)
class Forward:
    """One named value: ``name = expression``."""

    name: str
    expression: Expression

    @property
    def shape(self) -> Shape:
        """The value's shape."""
        return self.expression.shape


@dataclass(frozen=True)
class Backward:
    """One gradient.

    Attributes
    ----------
    name, of : str
        ``dW1`` and ``W1``.
    expression : Expression
        The gradient, in terms of what is known by then.
    users : tuple of str
        The values that `of` goes into directly: what the chain rule sums over.
    local : dict
        User -> the local derivative: what its gradient is multiplied by, element by element or as a matrix. Missing
        where it is neither.
    reused : tuple of str
        Gradients from the steps before that the formula takes up.
    inner : Backward or None
        The step that was substituted into this one, which has no separate formula then.
    """

    name: str
    of: str
    expression: Expression
    users: tuple[str, ...]
    local: dict[str, Expression] = field(default_factory=dict)
    reused: tuple[str, ...] = ()
    inner: Backward | None = None

    @property
    def shape(self) -> Shape:
        """The gradient's shape, that of the value."""
        return self.expression.shape


@dataclass(frozen=True)
class Steps:
    """All steps, and what they are about. See `recording.Formulas`."""

    forward: tuple[Forward, ...]
    loss: Forward | None
    backward: tuple[Backward, ...]
    raw_loss: Expression | None
    values: dict[str, Array]
    inputs: tuple[str, ...]
    parameters: tuple[str, ...]
    constants: tuple[str, ...]
    output: str
    given: str | None
    m: int | None
    fixed: bool
    by_example: frozenset[str] = frozenset()


def steps_of(first: Formulas, second: Formulas | None) -> Steps:
    """Return the steps; with a second recording of another batch size, the formulas hold for any."""
    forward, backward, fixed = _for_any_number(first, second)
    forward = {k: simplify(e) for k, e in forward.items()}
    values = dict(first.values)
    swap: dict[str, str] = {}
    for alias, label in first.alias.items():
        forward = _inserted(forward, label, alias, name(label, values[label].shape))
        values[alias] = values[label]
        swap[label] = alias
    ahead = _ancestors(forward, first.output)
    late = {k for k in forward if k not in ahead and k not in swap.values()}
    forward = {k: e.renamed(swap) if k in late else e for k, e in forward.items()}
    raw_loss = forward.pop(LOSS, None)
    loss = None
    if raw_loss is not None:
        raw_loss = raw_loss.renamed(swap)
        loss = Forward(LOSS, simplify(in_probabilities(raw_loss, first.activation)))
    outputs = {*swap, first.output}
    users = _users({k: e for k, e in forward.items() if k not in swap.values()}, raw_loss)
    for label, alias in swap.items():
        users[label] = [*users.get(label, []), *users.get(alias, [])]
    back, known = [], frozenset(first.gradients)
    for label, e in backward.items():
        of = label[1:]
        if (of in outputs or of in late) and raw_loss is not None:
            e = e.renamed(swap)
        found, coefficients = factored(e, known)
        reused = tuple(n for n in found.names() if n in known)
        fed = tuple(users.get(of, ()))
        local = {g[1:]: c for g, c in (coefficients or shares(found, known)).items()} or local_matrices(found, fed)
        back.append(Backward(label, of, found, fed, local, reused))
    return Steps(
        forward=tuple(Forward(k, e) for k, e in _where_needed(forward, first.inputs).items()),
        loss=loss,
        backward=tuple(back),
        raw_loss=raw_loss,
        values=values,
        inputs=tuple(first.inputs),
        parameters=tuple(first.parameters),
        constants=tuple(first.constants),
        output=swap.get(first.output, first.output),
        given=None if first.has_loss else f"d{first.output}",
        m=first.m,
        fixed=fixed,
        by_example=_by_example(first, second),
    )


def _by_example(first: Formulas, second: Formulas | None) -> frozenset[str]:
    """Return the vectors that have a number for each example, not for each feature."""
    vectors = [k for k, v in first.values.items() if v.ndim == 1]
    if second is None:
        return frozenset(k for k in vectors if first.values[k].shape[0] == first.m and k in ("Y", first.output))
    return frozenset(k for k in vectors if k in second.values and second.values[k].shape != first.values[k].shape)


def _for_any_number(
    first: Formulas, second: Formulas | None
) -> tuple[dict[str, Expression], dict[str, Expression], bool]:
    if second is None or first.m is None or second.m is None:
        return first.forward, first.backward, True
    if not all(np.array_equal(first.values[n], second.values.get(n, np.nan)) for n in first.constants):
        return first.forward, first.backward, True
    try:
        both = []
        for one, other in ((first.forward, second.forward), (first.backward, second.backward)):
            if list(one) != list(other):
                raise StructureChanges
            both.append({k: generalised(e, other[k], first.m, second.m) for k, e in one.items()})
        return both[0], both[1], False
    except StructureChanges:
        return first.forward, first.backward, True


def _ancestors(forward: dict[str, Expression], label: str) -> set[str]:
    found: set[str] = set()
    stack = [label]
    while stack:
        n = stack.pop()
        if n not in found:
            found.add(n)
            stack += forward[n].names() if n in forward else []
    return found


def _where_needed(forward: dict[str, Expression], inputs: Sequence[str]) -> dict[str, Expression]:
    """Return the steps with those that read no input (a dropout's mask) right before the first that reads them."""
    fixed: set[str] = set()
    for label, e in forward.items():
        if not any(n in inputs or (n in forward and n not in fixed) for n in e.names()):
            fixed.add(label)
    result: dict[str, Expression] = {}

    def place(label: str) -> None:
        for used in forward[label].names():
            if used in fixed and used not in result:
                place(used)
        result[label] = forward[label]

    for label in [*(k for k in forward if k not in fixed), *(k for k in forward if k in fixed)]:
        if label not in result:
            place(label)
    return result


def _inserted(forward: dict[str, Expression], after: str, label: str, e: Expression) -> dict[str, Expression]:
    result: dict[str, Expression] = {}
    for k, x in forward.items():
        result[k] = x
        if k == after:
            result[label] = e
    return result


def _users(forward: dict[str, Expression], loss: Expression | None) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for label, e in forward.items():
        for used in e.names():
            found.setdefault(used, []).append(label)
    for used in loss.names() if loss is not None else ():
        found.setdefault(used, []).append(LOSS)
        found[used] = [u for u in found[used] if u == LOSS]  # probabilities beside the loss are no way to it
    return found


def in_probabilities(e: Expression, activation: str | None) -> Expression:
    """Return a cross entropy written with the probabilities A in place of the logits that it is computed from."""
    if activation is None:
        return e

    def change(x: Expression) -> Expression | None:
        if x.op is CROSS_ENTROPY:
            z, t = x.inputs
            terms = make(MULTIPLY, t, make(LOG, name(str(activation), z.shape)))
            return make(NEGATIVE, make(SUM, terms, axis=(len(z.shape) - 1,), keepdims=False))
        if x.op is BINARY_CROSS_ENTROPY:
            z, t = x.inputs
            a = name(str(activation), z.shape)
            one = number(1.0)
            yes = make(MULTIPLY, t, make(LOG, a))
            no = make(MULTIPLY, make(SUBTRACT, one, t), make(LOG, make(SUBTRACT, one, a)))
            return make(NEGATIVE, make(ADD, yes, no))
        return None

    return e.mapped(change)


def local_matrices(e: Expression, users: Sequence[str]) -> dict[str, Expression]:
    """Return, for a gradient that is a matrix product or a sum of one user's gradient, what it is multiplied by."""
    if len(users) != 1:
        return {}
    g = f"d{users[0]}"
    if e.op is RESHAPE:
        return local_matrices(e.inputs[0], users)
    if e.op is NEGATIVE:
        return {u: simplify(make(NEGATIVE, c)) for u, c in local_matrices(e.inputs[0], users).items()}
    if e.op is MULTIPLY and is_number(e.inputs[0]):
        return {u: simplify(times(e.inputs[0], c)) for u, c in local_matrices(e.inputs[1], users).items()}
    if e.op is DIVIDE and g not in e.inputs[1].names():  # a sum over a feature, by what is the same in all of it
        found = local_matrices(e.inputs[0], users)
        over = {u: make(DIVIDE, c, e.inputs[1]) for u, c in found.items()}
        return {u: simplify(c) for u, c in over.items() if c.shape == found[u].shape}
    if e.op is MATMUL:
        for i in (0, 1):
            if is_name(e.inputs[i], g):
                other = e.inputs[1 - i]
                return {users[0]: other.inputs[0] if other.op is TRANSPOSE else other}
    if e.op is SUM:
        inner, coefficients = factored(e.inputs[0], [g])
        if g in coefficients and inner.shape == e.inputs[0].shape:
            return {users[0]: coefficients[g]}
    return {}


def second_batch(array: Any) -> Array:
    """Return the array with its first example repeated at the end."""
    x = np.asarray(array)
    return np.concatenate([x, x[:1]])
