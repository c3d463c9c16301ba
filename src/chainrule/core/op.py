"""What an operation is: one row of the table.

A row owns everything the library knows about an operation: how NumPy computes it, which shape it gives, its
derivative, how it is written. The rows themselves are in ``chainrule.ops``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ParamSpec, TypeAlias

import numpy as np

from .notation import PASSED, Layout, layout
from .registry import Registry

Shape: TypeAlias = tuple[int, ...]
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Attrs: TypeAlias = Mapping[str, Any]
Rule: TypeAlias = Callable[..., Any]
_Fields = ParamSpec("_Fields")

ELEMENTWISE, REDUCE, VIEW, CONTRACT, LOOP, OTHER = "elementwise", "reduce", "view", "contract", "loop", "other"
KINDS = (ELEMENTWISE, REDUCE, VIEW, CONTRACT, LOOP, OTHER)


@dataclass(frozen=True)
class Example:
    """One point at which an operation is defined, where the table tests evaluate it: inputs and attributes.

    Examples
    --------
    >>> Example((np.zeros((2, 3)),), {"axis": (1,), "keepdims": False}).attrs
    {'axis': (1,), 'keepdims': False}
    """

    inputs: tuple[Any, ...]
    attrs: Attrs = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Operation:
    """One row of the operation table.

    Parameters
    ----------
    name
        The row's key, also used by plans and in errors.
    shape
        ``shape(*inputs, **attrs) -> (shape, dtype)``; reads only ``.shape`` and ``.dtype`` of its inputs and raises
        ``ValueError`` or ``TypeError`` for inputs that do not fit.
    vjp
        The reverse rules, one per input: ``rule(g, out, *inputs, **attrs)`` returns the input's cotangent, before
        un-broadcasting. None in place of a rule: the derivative is zero almost everywhere (or the input is an index).
        A single callable ``rule(index, g, out, *inputs, **attrs)`` serves operations with any number of inputs.
    kernel
        ``kernel(*arrays, out=None, **attrs) -> array``. The NumPy engine's implementation.
    expand
        For an operation that is computed from simpler rows but has its own derivative (for numerical stability):
        ``expand(*inputs, **attrs)``, written with NumPy functions, works on arrays and on tensors. Plans replace the
        operation by its expansion, so that parts are shared. Exactly one of kernel and expand is given.
    kind
        What plans need to know: ``elementwise`` (broadcasts, may be fused, may overwrite an input), ``view`` (shares
        its input's memory), ``reduce``, ``contract`` (matrix multiplication), ``loop`` (of a body) or ``other``.
    differentiable
        False for operations whose result is not a real number (comparisons, arg-reductions): no gradient flows through
        them.
    numpy
        How NumPy source spells the operation: a NumPy function of the same inputs and attributes; a pattern such as
        ``"np.maximum({0}, 0.0)"``; or a plain Python function that uses NumPy alone, which the source then contains.
        None: the source defines a function from `definition`.
    definition
        A plain Python function that computes the operation with NumPy, for source and
        formulas; default: `expand`, or the kernel where `numpy` is not given. None for primitives.
    passes
        Whether the result has the input's values unchanged, possibly in another shape, order or dtype.
    flat
        Whether the operation is constant between its jumps: its derivative is zero wherever it exists.
    notation
        How formulas show it: a layout of ``chainrule.core.notation``, the name of a function (by default the row's),
        or LaTeX with ``{0}``, ``{1}``, … for the inputs. Rows that pass values show their input.
    domain
        One (low, high) per input, from which the table tests draw inputs; for elementwise rows.
    examples
        ``examples(rng) -> sequence of Example`` for all other rows.
    kinks
        Points without a derivative, each with the chosen subgradients: ``(inputs, gradients of every input)``. One
        convention holds for all rows: of the subgradients in the inputs that are differentiated, that of least norm.
        So |x| and max(x, 0) have 0 at x = 0, and a tie of max(a, b) gives each 1/2.
    at_kink
        ``at_kink(out, *inputs, **attrs)``: where inputs lie on a kink, as an array of truth values.
    alone
        The reverse rules that hold where a single input is differentiated, if its subgradient of least norm is another
        then: that of max(a, b) at a tie is 0 if b is a constant.
    squared
        ``squared(*inputs, **attrs)``: the square of the result, computed without the kink of the result; None
        if there is none.
    selects
        For an operation each element of whose result is that of one input: ``selects(index, out, *inputs, **attrs)``
        returns when it is that of input `index`, as ``(condition, truth)``, or None. The condition is the position of
        an input, or a function that computes it.
    batch
        How a batch is computed: ``batch(batched, *inputs, **attrs)``, where ``batched`` says which inputs have one axis
        more, in front; the result has it, too. None, or a result of None, where this follows from the kind
        (elementwise) or from the attribute ``axis``, or where the examples have to be computed one by one.
    of_basis
        As `batch`, where some inputs are a `chainrule.core.vmap.Basis`; None where that has to be an array.
    flops
        ``flops(out_shape, *input_shapes, **attrs)``: floating-point operations of one evaluation.
    commutative
        Whether the two inputs may be exchanged; plans then find more common subexpressions.
    aliases
        Inputs that the kernel may overwrite with its result; None: any of them if the row is elementwise, else none.
    put
        Of a view that can be written: ``put(x, values, **attrs)`` is `x` with `values` in place of what the view shows.
    native
        ``native(out, *inputs, **attrs) -> integers``: the attributes in the order in which the native engine's kernel
        of this name reads them; ``out`` and ``inputs`` have a shape and a dtype. None: its axes, if it has any.
    entry
        One element of the result, in terms of elements of the inputs, for readers: ``entry(**attrs)`` returns its
        indices, a formula with ``{0}``, ``{1}``, … for the inputs, and what the formula runs over; None if there is no
        short one.
    source
        The reference for the formula, where it is not plain calculus.

    Examples
    --------
    >>> from chainrule import ops
    >>> tanh = ops.row("tanh")
    >>> tanh.evaluate(np.array([0.0, 1.0])).round(4)
    array([0.    , 0.7616])
    >>> tanh.rule(0)(1.0, 0.5, None)  # g * (1 - out * out)
    0.75
    """

    name: str
    shape: Callable[..., tuple[Shape, np.dtype[Any]]]
    vjp: Sequence[Rule | None] | Rule
    kernel: Callable[..., Any] | None = None
    expand: Callable[..., Any] | None = None
    kind: str = OTHER
    differentiable: bool = True
    numpy: Callable[..., Any] | str | None = None
    definition: Callable[..., Any] | None = None
    passes: bool = False
    flat: bool = False
    notation: Layout | str = ""
    domain: tuple[tuple[float, float], ...] = ()
    examples: Callable[[np.random.Generator], Sequence[Example]] | None = None
    kinks: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()
    at_kink: Callable[..., Any] | None = None
    alone: tuple[Rule, ...] | None = None
    squared: Callable[..., Any] | None = None
    selects: Callable[..., tuple[Any, bool] | None] | None = None
    batch: Callable[..., Any] | None = None
    of_basis: Callable[..., Any] | None = None
    flops: Callable[..., int] | None = None
    commutative: bool = False
    aliases: tuple[int, ...] | None = None
    put: Rule | None = None
    native: Callable[..., Sequence[int]] | None = None
    entry: Callable[..., tuple[str, str, str] | None] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if (self.kernel is None) == (self.expand is None):
            raise TypeError(f"operation {self.name!r}: give exactly one of kernel and expand")
        if self.kind not in KINDS:
            raise TypeError(f"operation {self.name!r}: kind is {self.kind!r}, expected one of {', '.join(KINDS)}")
        if not callable(self.vjp) and self.differentiable and not any(self.vjp) and not self.flat:
            raise TypeError(f"operation {self.name!r} is differentiable but has no reverse rule")
        if not self.domain and self.examples is None:
            raise TypeError(f"operation {self.name!r} has neither a domain nor examples: it cannot be tested")
        written = PASSED if self.passes and not self.notation else layout(self.notation, self.name)
        object.__setattr__(self, "notation", written)
        if self.definition is None:
            object.__setattr__(self, "definition", self.expand or (self.kernel if self.numpy is None else None))

    def __repr__(self) -> str:
        return f"<operation {self.name}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return row, (self.name,)

    @property
    def layout(self) -> Layout:
        """How formulas show the operation."""
        assert isinstance(self.notation, Layout)
        return self.notation

    def rule(self, index: int) -> Rule | None:
        """Return the reverse rule of input `index`, as ``rule(g, out, *inputs, **attrs)``."""
        if callable(self.vjp):
            variadic = self.vjp

            def of_index(*args: Any, **attrs: Any) -> Any:
                return variadic(index, *args, **attrs)

            return of_index
        return self.vjp[index]

    @property
    def may_overwrite(self) -> bool:
        """Whether the kernel may overwrite some input."""
        return self.kind == ELEMENTWISE if self.aliases is None else bool(self.aliases)

    def evaluate(self, *arrays: Any, **attrs: Any) -> Any:
        """Compute the operation on NumPy arrays."""
        if self.kernel is not None:
            return self.kernel(*arrays, **attrs)
        assert self.expand is not None
        with np.errstate(all="ignore"):
            return self.expand(*arrays, **attrs)

    def points(self, rng: np.random.Generator) -> Sequence[Example]:
        """Return inputs and attributes at which the operation is defined: its examples, or one draw from its domain."""
        if self.examples is not None:
            return self.examples(rng)
        return [Example(tuple(rng.uniform(low, high, (3, 4)) for low, high in self.domain))]

    @cached_property
    def linear(self) -> frozenset[int]:
        """The inputs in which the operation is linear (or affine) when all others are fixed.

        Taken from the reverse rules: one that reads the values neither of the input nor of the output gives a
        derivative that does not depend on the input. A row with kinks may have jumps, and is not linear. For operations
        with any number of inputs, the inputs are those of the row's first example; see `is_linear`.
        """
        if self.kinks:
            return frozenset()
        inputs = [np.asarray(x) for x in self._point.inputs]
        return frozenset(i for i, x in enumerate(inputs) if x.dtype.kind == "f" and self._reads_nothing(i, inputs))

    def reads(self, index: int, inputs: Sequence[Any]) -> bool:
        """Whether the reverse rule of an input reads values that may be infinite: all but finite scalar constants."""
        read = self._read[min(index, len(self._read) - 1)]
        return read is None or any(i < 0 or not _is_finite_scalar(inputs[i]) for i in read)

    @cached_property
    def _read(self) -> tuple[frozenset[int] | None, ...]:
        """For each input the values that its reverse rule reads, -1 being the output; None where that is not known."""
        inputs = [np.asarray(x) for x in self._point.inputs]
        out = np.asarray(self.evaluate(*inputs, **self._point.attrs))
        values = [out, *inputs]
        real = [i for i, x in enumerate(values) if x.dtype.kind == "f"]
        found: list[frozenset[int] | None] = []
        for index in range(len(inputs)):
            same = [self._gives_the_same(index, values, {i}) for i in real]
            read = frozenset(i - 1 for i, is_same in zip(real, same, strict=True) if not is_same)
            found.append(read if self._gives_the_same(index, values, set()) else None)
        return tuple(found)

    @cached_property
    def steep(self) -> bool:
        """Whether finite inputs of an elementwise row may give an infinite or undefined derivative."""
        if self.kind != ELEMENTWISE or not self.differentiable or not self.domain:
            return False
        points = np.array(np.meshgrid(*[(0.0, 1.0, -1.0, 2.0, -0.5, 1e3, -1e3)] * len(self.domain)))
        inputs = [p.reshape(-1) for p in points]
        rules = [rule for i in range(len(inputs)) if (rule := self.rule(i)) is not None]
        with np.errstate(all="ignore"):
            out = self.evaluate(*inputs)
            try:
                return not all(np.isfinite(rule(np.ones_like(out), out, *inputs)).all() for rule in rules)
            except TypeError:  # a rule that refuses
                return True

    def _gives_the_same(self, index: int, values: list[Array], hidden: set[int]) -> bool:
        """Whether the rule of an input gives the same result when some of ``out, *inputs`` are NaN."""
        rule, attrs = self.rule(index), self._point.attrs
        if rule is None:
            return True
        g = np.random.default_rng(1).normal(size=values[0].shape)
        used = [np.full_like(x, np.nan) if i in hidden else x for i, x in enumerate(values)]
        try:
            with np.errstate(all="ignore"):
                return np.array_equal(rule(g, *used, **attrs), rule(g, *values, **attrs))
        except (ValueError, ArithmeticError, TypeError):  # LinAlgError is a ValueError; some rules refuse
            return False

    def is_linear(self, index: int) -> bool:
        """Whether the operation is linear in an input; with any number of inputs, the last ones are treated alike."""
        return min(index, len(self._point.inputs) - 1) in self.linear

    def takes_factor(self, count: int) -> tuple[tuple[int, ...], ...]:
        """Return which of `count` inputs can be scaled by a common factor to scale the result by it.

        ``(0,)`` and ``(1,)`` of a product, ``(0, 1)`` of a sum.
        """
        fits = count == len(self._point.inputs)
        return tuple(inputs for inputs in self._factors if fits or len(inputs) == 1)

    @cached_property
    def _factors(self) -> tuple[tuple[int, ...], ...]:
        inputs, attrs = [np.asarray(x) for x in self._point.inputs], self._point.attrs
        linear = tuple(sorted(self.linear))
        found = [(i,) for i in linear] + [linear] * (len(linear) > 1)
        if not found:
            return ()
        out = self.evaluate(*inputs, **attrs)
        # affine is not enough; a factor of two rounds nothing
        doubled = ([2 * x if i in some else x for i, x in enumerate(inputs)] for some in found)
        return tuple(
            some for some, xs in zip(found, doubled, strict=True)
            if np.array_equal(self.evaluate(*xs, **attrs), 2 * out)
        )  # fmt: skip

    @cached_property
    def _point(self) -> Example:
        return next(e for e in self.points(np.random.default_rng(0)) if all(np.size(x) for x in e.inputs))

    def _reads_nothing(self, index: int, inputs: list[Array]) -> bool:
        """Whether the rule of an input gives the same result when that input and the output are NaN."""
        if not self.differentiable or self.rule(index) is None:
            return False
        out = np.asarray(self.evaluate(*inputs, **self._point.attrs))
        return self._gives_the_same(index, [out, *inputs], {0, index + 1})


def _is_finite_scalar(x: Any) -> bool:
    """Whether a node is a number that does not change."""
    return x.op is None and x.value is not None and x.shape == () and not x.recordings and bool(np.isfinite(x.value))


def describe(x: Any) -> str:
    """Return "shape (3, 2), float32", for messages."""
    return f"shape {tuple(x.shape)}, {x.dtype}"


_ROWS: Registry[str, Operation] = Registry()


def _registering(make: Callable[_Fields, Operation]) -> Callable[_Fields, Operation]:
    """Return what makes a row from the fields of `Operation` and adds it to the table."""

    def register(*args: _Fields.args, **fields: _Fields.kwargs) -> Operation:
        op = make(*args, **fields)
        if op.name in _ROWS:
            raise ValueError(f"operation {op.name!r} is in the table already")
        _ROWS[op.name] = op
        return op

    return register


register = _registering(Operation)


def row(name: str) -> Operation:
    """Return the row called `name`.

    Examples
    --------
    >>> import chainrule.ops
    >>> row("tanh"), row("add").linear
    (<operation tanh>, frozenset({0, 1}))
    """
    try:
        return _ROWS[name]
    except KeyError:
        raise KeyError(f"no operation {name!r}; there are {', '.join(sorted(_ROWS))}") from None


def is_row(name: str) -> bool:
    """Whether the table has a row called `name`.

    Examples
    --------
    >>> import chainrule.ops
    >>> is_row("tanh"), is_row("than")
    (True, False)
    """
    return name in _ROWS


def rows() -> tuple[Operation, ...]:
    """Return all rows of the table, in the order of their registration.

    Examples
    --------
    >>> import chainrule.ops
    >>> sorted(op.name for op in rows() if op.passes)[:3]
    ['barrier', 'broadcast_to', 'cast']
    """
    return tuple(_ROWS.values())
