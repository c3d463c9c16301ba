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

Function = Callable[..., Any]


class NoDerivativeError(TypeError, NotImplementedError):
    """A primitive without a rule for an argument that a derivative is taken of."""


def isbox(x: Any) -> bool:
    """Whether `x` is a tensor: a value that a derivative is being taken through, or a result of one."""
    return isinstance(x, Tensor)


def getval(x: Any) -> Any:
    """Return the value behind a tensor, through which no derivative is taken; anything else as it is."""
    return plain(x.concrete("getval")) if isinstance(x, Tensor) else x


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
        if not any(isinstance(x, Tensor) for x in (*leaves, *flatten(list(kwargs.values()))[0])):
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
            if any(isinstance(x, Tensor) and x.requires_grad for x in flatten(value)[0]):
                raise TypeError(
                    f"{name}, a keyword argument of the primitive {self.name}, would lose its gradient: pass it by "
                    "position"
                )
        self.positions = [i for i, x in enumerate(leaves) if isinstance(x, Tensor)]
        counts = [child.leaves for child in structure.children]
        self.owners = [a for a, count in enumerate(counts) for _ in range(count)]
        self.argnums = tuple(sorted({self.owners[i] for i in self.positions if leaves[i].requires_grad}))
        self.pulled: tuple[Any, dict[int, list[Any]]] | None = None

    def result(self) -> Any:
        """Run the function on values; its result depends on the tensors through the rules of the primitive."""
        inputs = tuple(self.leaves[i] for i in self.positions)
        values = [x.concrete(f"{self.name}, a primitive,") for x in inputs]
        found = self.function.fun(*self.arguments(values), **self.kwargs)
        outputs, self.shape = flatten(found)
        self.shapes = [np.shape(x) for x in outputs]
        if not self.argnums or not outputs or not all(np.asarray(x).dtype.kind == "f" for x in outputs):
            return found
        ready = [_packed(outputs)]

        def kernel(*xs: Any) -> Any:
            if ready:
                return ready.pop()
            return _packed(flatten(self.function.fun(*self.arguments(xs), **self.kwargs))[0])

        packed = ready[0]
        op = Operation(
            self.name,
            shape=lambda *xs: (packed.shape, packed.dtype),
            vjp=self.rule,
            kernel=kernel,
            examples=lambda rng: (),
        )
        return self.unpacked(apply(op, inputs, {}))

    def arguments(self, values: Any) -> tuple[Any, ...]:
        """Return the positional arguments, with values in place of the tensors."""
        leaves = list(self.leaves)
        for i, value in zip(self.positions, values, strict=True):
            leaves[i] = plain(value)
        arguments: tuple[Any, ...] = unflatten(self.structure, leaves)
        return arguments

    def unpacked(self, packed: Any) -> Any:
        """Return the function's result (or its cotangent) from the array of all its numbers."""
        if len(self.shapes) == 1:
            return unflatten(self.shape, [plain(packed)])
        ends = np.cumsum([int(np.prod(s)) for s in self.shapes])
        parts = [np.reshape(packed[e - int(np.prod(s)) : e], s) for s, e in zip(self.shapes, ends, strict=True)]
        return unflatten(self.shape, [plain(x) for x in parts])

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
            cotangents = self.function.vjp(self.argnums, argnum, self.unpacked(out), args, self.kwargs)
            for a, cotangent in cotangents(self.unpacked(g)).items():
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
        return [x if x is None or isinstance(x, Tensor) else np.asarray(x) for x in leaves]


def _packed(outputs: list[Any]) -> Any:
    """Return the numbers of a result as one array."""
    return np.asarray(outputs[0]) if len(outputs) == 1 else np.concatenate([np.ravel(x) for x in outputs])


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
