"""What an operation is: one row of the table.

A row owns everything the library knows about an operation: how NumPy computes it, which shape it gives, its
derivative, how it is written. The rows themselves stand in ``chainrule.ops``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

Shape: TypeAlias = tuple[int, ...]
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Attrs: TypeAlias = Mapping[str, Any]
Rule: TypeAlias = Callable[..., Any]

ELEMENTWISE, REDUCE, VIEW, CONTRACT, OTHER = "elementwise", "reduce", "view", "contract", "other"
KINDS = (ELEMENTWISE, REDUCE, VIEW, CONTRACT, OTHER)


@dataclass(frozen=True)
class Example:
    """One point at which the table tests try a row: inputs and attributes."""

    inputs: tuple[Any, ...]
    attrs: Attrs = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Operation:
    """One row of the operation table.

    Parameters
    ----------
    name
        The row's key; also how plans and errors call it.
    shape
        ``shape(*inputs, **attrs) -> (shape, dtype)``; reads only ``.shape`` and ``.dtype`` of its inputs and raises
        ``ValueError`` or ``TypeError`` saying what does not fit.
    vjp
        The reverse rules, one an input: ``rule(g, out, *inputs, **attrs)`` gives the input's cotangent, before
        un-broadcasting. None in an input's place: the derivative there is zero almost everywhere (or the input is an
        index). A single callable ``rule(index, g, out, *inputs, **attrs)`` serves operations with any number of inputs.
    kernel
        ``kernel(*arrays, out=None, **attrs) -> array``. The NumPy engine's implementation.
    expand
        For an operation that is computed through simpler rows but has a derivative of its own (for numerical
        stability): ``expand(*inputs, **attrs)``, written with NumPy functions, works on arrays and on tensors. Plans
        replace the operation by what it expands to, so that parts are shared. Exactly one of kernel and expand is
        given.
    kind
        What plans need to know: ``elementwise`` (broadcasts, may be fused, may write over an input), ``view`` (shares
        its input's memory), ``reduce``, ``contract`` (matrix multiplies) or ``other``.
    differentiable
        False for operations whose result is no real number (comparisons, arg-reductions): nothing flows through them.
    latex
        A pattern with ``{0}``, ``{1}``, … for the inputs and the attributes' names, or a callable on them.
    precedence
        How tightly the written form binds, for brackets: 0 additive … 3 atomic.
    domain
        One (low, high) an input, where the table tests draw their points, for elementwise rows.
    examples
        ``examples(rng) -> sequence of Example`` for all other rows.
    kinks
        Points without a derivative, each with the chosen subgradients: ``(inputs, gradients of every input)``.
    flops
        ``flops(out_shape, *input_shapes, **attrs)``: floating-point operations of one evaluation.
    commutative
        Whether the two inputs may be exchanged; lets plans find more common subexpressions.
    aliases
        Which inputs an elementwise kernel may overwrite with its result; None: any of them.
    native
        ``native(out, *inputs, **attrs) -> integers``: the attributes in the order in which the native engine's kernel
        of this name reads them; ``out`` and ``inputs`` have a shape and a dtype. None: its axes, if it has any.
    source
        Where the formula is from, when it isn't plain calculus.
    """

    name: str
    shape: Callable[..., tuple[Shape, np.dtype[Any]]]
    vjp: Sequence[Rule | None] | Rule
    kernel: Callable[..., Any] | None = None
    expand: Callable[..., Any] | None = None
    kind: str = OTHER
    differentiable: bool = True
    latex: str | Callable[..., str] = ""
    precedence: int = 3
    domain: tuple[tuple[float, float], ...] = ()
    examples: Callable[[np.random.Generator], Sequence[Example]] | None = None
    kinks: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()
    flops: Callable[..., int] | None = None
    commutative: bool = False
    aliases: tuple[int, ...] | None = None
    native: Callable[..., Sequence[int]] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if (self.kernel is None) == (self.expand is None):
            raise TypeError(f"operation {self.name!r}: give exactly one of kernel and expand")
        if self.kind not in KINDS:
            raise TypeError(f"operation {self.name!r}: kind {self.kind!r} is none of {', '.join(KINDS)}")
        if not callable(self.vjp) and self.differentiable and not any(self.vjp) and self.name not in FLAT:
            raise TypeError(f"operation {self.name!r} is differentiable but has no reverse rule")
        if not self.domain and self.examples is None:
            raise TypeError(f"operation {self.name!r} has neither a domain nor examples: nothing could test it")

    def __repr__(self) -> str:
        return f"<operation {self.name}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return row, (self.name,)

    def rule(self, index: int) -> Rule | None:
        """Return the reverse rule of input `index`, as ``rule(g, out, *inputs, **attrs)``."""
        if callable(self.vjp):
            variadic = self.vjp

            def of_index(*args: Any, **attrs: Any) -> Any:
                return variadic(index, *args, **attrs)

            return of_index
        return self.vjp[index]

    def evaluate(self, *arrays: Any, **attrs: Any) -> Any:
        """Compute the operation on NumPy arrays."""
        if self.kernel is not None:
            return self.kernel(*arrays, **attrs)
        assert self.expand is not None
        with np.errstate(all="ignore"):
            return self.expand(*arrays, **attrs)


#: Real-valued operations that are constant between their jumps: their derivative is zero wherever it exists.
FLAT = frozenset({"sign", "floor", "ceil", "rint", "trunc", "zeros_like", "stop_gradient"})


def describe(x: Any) -> str:
    """Return "shape (3, 2), float32", for messages."""
    return f"shape {tuple(x.shape)}, {x.dtype}"


_ROWS: dict[str, Operation] = {}


def register(op: Operation) -> Operation:
    """Add a row to the table and return it."""
    if op.name in _ROWS:
        raise ValueError(f"operation {op.name!r} stands in the table already")
    _ROWS[op.name] = op
    return op


def row(name: str) -> Operation:
    """Return the row called `name`."""
    try:
        return _ROWS[name]
    except KeyError:
        raise KeyError(f"no operation {name!r}; there are {', '.join(sorted(_ROWS))}") from None


def rows() -> tuple[Operation, ...]:
    """Return all rows of the table, in the order of their registration."""
    return tuple(_ROWS.values())
