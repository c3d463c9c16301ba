"""autograd's ``tracer``: values behind tensors, primitives, and traces with nodes of the caller's own class."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ...core.apply import apply
from ...core.node import Recording
from ...core.op import Operation
from ...core.reverse import leading_to
from ...core.tensor import Tensor
from ...core.tree import Structure, flatten, unflatten
from .boxes import Box, Cotangent, boxed, has_box, node_of

Function = Callable[..., Any]


class NoDerivativeError(TypeError, NotImplementedError):
    """A primitive without a rule for an argument that a derivative is taken of."""


def isbox(x: Any) -> bool:
    """Whether `x` is a tensor or a box: a value that a derivative is being taken through, or a result of one."""
    return isinstance(x, Box)


def getval(x: Any) -> Any:
    """Return the value behind a tensor or a box, through which no derivative is taken; anything else as it is."""
    if isinstance(x, Tensor):
        return plain(x.concrete("getval"))
    return x._value if isinstance(x, Box) else x


def plain(x: Any) -> Any:
    """Return an array without axes as a NumPy scalar, as autograd does; anything else as it is."""
    return x[()] if type(x) is np.ndarray and x.ndim == 0 else x


def all_plain(nest: Any) -> Any:
    """Apply `plain` to the leaves of a nest."""
    if isinstance(nest, np.ndarray):
        return plain(nest)
    leaves, structure = flatten(nest)
    return unflatten(structure, [plain(x) for x in leaves])


# -- primitives --------------------------------------------------------------------------------------------------------


def primitive(f_raw: Function) -> Any:
    """Return `f_raw` as one operation: it gets values, and its derivative is what ``defvjp`` says.

    Examples
    --------
    >>> from chainrule.compat.autograd import grad
    >>> from chainrule.compat.autograd.extend import defvjp, primitive
    >>> double = primitive(lambda x: 2 * float(x))
    >>> defvjp(double, lambda ans, x: lambda g: 2 * g)
    >>> float(grad(double)(1.0))
    2.0
    """

    @functools.wraps(f_raw, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = flatten(args)
        if not any(isbox(x) for x in (*leaves, *flatten(list(kwargs.values()))[0])):
            return f_raw(*args, **kwargs)
        return _Call(wrapped, leaves, structure, kwargs).result()

    wrapped.fun = f_raw  # type: ignore[attr-defined]
    wrapped.vjp = None  # type: ignore[attr-defined]
    return wrapped


def notrace_primitive(f_raw: Function) -> Function:
    """Return `f_raw` so that it gets values in place of tensors; no derivative is taken through it."""

    @functools.wraps(f_raw, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = flatten(args)
        return f_raw(*unflatten(structure, [getval(x) for x in leaves]), **kwargs)

    return wrapped


class _Call:
    """One call of a primitive: a node of the graph, whose arguments and result may be nests."""

    def __init__(self, function: Any, leaves: list[Any], structure: Structure, kwargs: dict[str, Any]) -> None:
        self.function, self.leaves, self.structure, self.kwargs = function, leaves, structure, kwargs
        self.name = getattr(function, "__name__", "function")
        for name, value in kwargs.items():
            if any(isbox(x) and node_of(x).requires_grad for x in flatten(value)[0]):
                raise TypeError(
                    f"{name}, a keyword argument of the primitive {self.name}, would lose its gradient: pass it by "
                    "position"
                )
        self.positions = [i for i, x in enumerate(leaves) if isbox(x)]
        counts = [child.leaves for child in structure.children]
        self.owners = [a for a, count in enumerate(counts) for _ in range(count)]
        self.argnums = tuple(sorted({self.owners[i] for i in self.positions if node_of(leaves[i]).requires_grad}))
        self.pulled: tuple[Any, dict[int, list[Any]]] | None = None

    def result(self) -> Any:
        """Run the function on values; its result depends on the tensors through the rules of the primitive."""
        inputs = tuple(node_of(self.leaves[i]) for i in self.positions)
        values = [x.concrete(f"{self.name}, a primitive,") for x in inputs]
        found = self.function.fun(*self.arguments(values), **self.kwargs)
        self.outputs, self.shape = flatten(found)
        self.real = [i for i, x in enumerate(self.outputs) if has_box(x) or np.asarray(x).dtype.kind == "f"]
        self.own = self.outputs[0] if len(self.outputs) == 1 and has_box(self.outputs[0]) else None
        if self.own is None and any(map(has_box, self.outputs)):
            raise TypeError(f"{self.name}, a primitive, returned a value of a registered class among others")
        if not self.argnums or not self.real:
            return found
        packed = self.packed(self.outputs)
        ready = [packed]

        def kernel(*xs: Any) -> Any:
            if ready:
                return ready.pop()
            return self.packed(flatten(self.function.fun(*self.arguments(xs), **self.kwargs))[0])

        op = Operation(
            self.name,
            shape=lambda *xs: (packed.shape, packed.dtype),
            vjp=self.rule,
            kernel=kernel,
            examples=lambda rng: (),
        )
        return self.unpacked(apply(op, inputs, {}), self.outputs)

    def arguments(self, values: Any) -> tuple[Any, ...]:
        """Return the positional arguments, with values in place of the tensors and boxes.

        Among tensors, when the derivative is followed by another, a box remains.
        """
        leaves = list(self.leaves)
        for i, value in zip(self.positions, values, strict=True):
            if isinstance(leaves[i], Tensor):
                leaves[i] = plain(value)
            elif not isinstance(value, Tensor):
                leaves[i] = getval(leaves[i])
        arguments: tuple[Any, ...] = unflatten(self.structure, leaves)
        return arguments

    def packed(self, outputs: list[Any]) -> Any:
        """Return the real numbers of a result as one array; 0 stands for a value of a registered class."""
        real = [np.zeros(()) if has_box(outputs[i]) else np.asarray(outputs[i]) for i in self.real]
        return real[0] if len(real) == 1 else np.concatenate([np.ravel(x) for x in real])

    def unpacked(self, packed: Any, others: list[Any]) -> Any:
        """Return the function's result (or its cotangent) from the array of all its real numbers, and the others."""
        if isinstance(packed, Cotangent):
            return packed.value
        if self.own is not None:
            return boxed(self.own, packed) if isinstance(packed, Tensor) else self.own
        leaves = list(others)
        begin = 0
        for i in self.real:
            shape = np.shape(self.outputs[i])
            size = int(np.prod(shape))
            leaves[i] = plain(packed if len(self.real) == 1 else np.reshape(packed[begin : begin + size], shape))
            begin += size
        return unflatten(self.shape, leaves)

    def rule(self, index: int, g: Any, out: Any, *inputs: Any) -> Any:
        """Return the cotangent of one tensor; those of one argument, or of all of them, are computed at once."""
        if self.pulled is None or self.pulled[0] is not g:
            self.pulled = (g, {})
        parts, argnum = self.pulled[1], self.owners[self.positions[index]]
        if argnum not in parts:
            if self.function.vjp is None:
                raise NoDerivativeError(
                    f"{self.name} is a primitive without a derivative: defvjp({self.name}, …) of argument {argnum} is "
                    "missing"
                )
            args = self.arguments(inputs)
            cotangents = self.function.vjp(self.argnums, argnum, self.unpacked(out, self.outputs), args, self.kwargs)
            zeros = [np.zeros(np.shape(x)) for x in self.outputs]
            for a, cotangent in cotangents(self.unpacked(g, zeros)).items():
                parts[a] = self.gradients(a, cotangent)
        return parts[argnum][self.positions[index] - self.owners.index(argnum)]

    def gradients(self, argnum: int, cotangent: Any) -> list[Any]:
        """Return a cotangent of an argument as arrays or tensors, one for each of its leaves."""
        count = self.structure.children[argnum].leaves
        leaves = flatten(cotangent)[0] if cotangent is not None else [None] * count
        if len(leaves) != count:
            raise ValueError(
                f"the rule of {self.name} for argument {argnum} returned {len(leaves)} arrays, expected {count}"
            )
        return [_cotangent(x) for x in leaves]


def _cotangent(x: Any) -> Any:
    if has_box(x):
        return Cotangent(x)
    return x if x is None or isinstance(x, Tensor) else np.asarray(x)


# -- traces ------------------------------------------------------------------------------------------------------------


class Node:
    """Base of the nodes of `trace`; subclasses define ``__init__`` and ``initialize_root``."""

    __slots__: tuple[str, ...] = ()

    def __init__(self, value: Any, fun: Any, args: Any, kwargs: Any, parent_argnums: Any, parents: Any) -> None:
        pass

    def initialize_root(self, *args: Any, **kwargs: Any) -> None:
        """Prepare the node of the input."""

    @classmethod
    def new_root(cls, *args: Any, **kwargs: Any) -> Any:
        """Return the node of the input."""
        root = cls.__new__(cls)
        root.initialize_root(*args, **kwargs)
        return root


def operations(fun: Function, x: Any) -> tuple[Any, list[Tensor], Tensor | None]:
    """Record ``fun(x)``; return its value, the nodes from `x` on (inputs before users), and the last."""
    with Recording(f"trace of {getattr(fun, '__name__', 'a function')}") as recording:
        leaves, structure = flatten(x)
        starts = [Tensor(np.asarray(v), recordings=frozenset({recording})) for v in leaves]
        end = fun(unflatten(structure, starts))
    if not (isinstance(end, Tensor) and recording in end.recordings):
        return end, starts, None
    found, _ = leading_to({id(s) for s in starts}, [end])
    return plain(end.value), starts + [node for node in found if node.op is not None], end


def trace(start_node: Any, fun: Function, x: Any) -> tuple[Any, Any]:
    """Run ``fun(x)``, making a node of the class of `start_node` for each operation; return the value and its node."""
    value, found, end = operations(fun, x)
    if end is None:
        return value, None
    nodes = {id(found[0]): start_node}
    for tensor in found[1:]:
        assert tensor.op is not None
        name = tensor.op.name
        parent_argnums = tuple(i for i, p in enumerate(tensor.inputs) if id(p) in nodes)

        def function(*args: Any, _op: Operation = tensor.op, **attrs: Any) -> Any:
            return _op.evaluate(*args, **attrs)

        function.__name__ = name
        args = tuple(plain(p.value) for p in tensor.inputs)
        parents = tuple(nodes[id(tensor.inputs[i])] for i in parent_argnums)
        nodes[id(tensor)] = type(start_node)(plain(tensor.value), function, args, tensor.attrs, parent_argnums, parents)
    return value, nodes[id(end)]
