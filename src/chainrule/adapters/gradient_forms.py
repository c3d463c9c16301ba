"""Functions with a gradient to check: chainrule's own, or one written by hand in one of four forms.

A `CheckedFunction` sees all of them alike: arrays in, arrays out, and a pullback from cotangents of the outputs to a
gradient for each array. PyTorch's functions are in `torch_functions`; `checked_functions`
finds out which of them a function is.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.arrays import as_array as plain_array
from ..core.op import Array
from ..core.tensor import Tensor
from ..core.transforms import vjp
from ..core.tree import is_dataclass, map_named, named_leaves, values_of
from ..nn import Module
from .signatures import signature_text

Pullback = Callable[[list[Array]], list[Any]]  # cotangents of the real outputs -> a gradient for every leaf


@dataclass(frozen=True)
class Leaf:
    """One array of real numbers among the arguments."""

    argument: int | None  # None: a parameter of a module
    label: str  # "argument 0 (p)['W']"
    value: Array
    number: bool = False  # given as a Python float
    checked: bool = True


@dataclass
class CheckedFunction(ABC):
    """A function and the gradient to check.

    Attributes
    ----------
    name : str
        What messages call it.
    whose : str
        Whose gradient it is: "yours", "chainrule's", "torch's".
    f : callable
        The function, on the arguments.
    arguments : tuple
        As given by the caller.
    labels : list of str
        How messages call the arguments.
    leaves : list of Leaf
        All arrays of real numbers that the function is called with.
    """

    name: str
    whose: str
    f: Callable[..., Any]
    arguments: tuple[Any, ...]
    labels: list[str]
    leaves: list[Leaf]
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    output_labels: list[str] = field(default_factory=list)
    output_eps: float = float(np.finfo(np.float64).eps)

    def describe(self) -> str:
        """Return how the code was understood, in a line."""
        return f"{self.name} of {', '.join(self.labels)}; gradient: {self.whose}"

    def call(self, point: list[Array]) -> Any:
        """Return what the function returns at `point`, an array for every leaf."""
        return self.f(*self.rebuilt(point))

    def own_arrays(self, point: Sequence[Array]) -> list[Any]:
        """Return copies of a point; numbers as numbers."""
        return [np.float64(x) if leaf.number else x.copy() for x, leaf in zip(point, self.leaves, strict=True)]

    def differentiated(self, point: list[Array]) -> Array | None:
        """Return the outputs, flat, as they are computed while the gradient is taken; None if as always."""
        return None

    @abstractmethod
    def linearize(self, point: list[Array]) -> Pullback:
        """Return the pullback at `point`: what the gradient makes of cotangents."""

    def rebuilt(self, point: Sequence[Any]) -> tuple[Any, ...]:
        """Return the arguments with the values of `point` for their leaves."""
        values = dict(zip((leaf.label for leaf in self.leaves), point, strict=True))
        return self._mapped(lambda label, old: values.get(label, old))

    def _mapped(self, function: Callable[[str, Any], Any]) -> tuple[Any, ...]:
        return tuple(map_named(function, a, n) for a, n in zip(self.arguments, self.labels, strict=True))

    # -- what it returns -----------------------------------------------------------------------------------------------

    def learn(self, point: list[Array]) -> None:
        """Learn from one call what the function returns: structure, shapes, names and dtype."""
        with np.errstate(all="ignore"):
            self._result = self.call(point)
        values = named_leaves(self._result, "")
        arrays = {label: array for label, v in values.items() if (array := as_array(v)) is not None}
        if any(a.dtype.kind == "c" for a in arrays.values()):
            raise TypeError(f"{self.name} returned complex numbers; expected real ones")
        kept = {label: a for label, a in arrays.items() if a.dtype.kind == "f"}
        if not kept:
            kinds = [str(arrays[n].dtype) if n in arrays else type(v).__name__ for n, v in values.items()]
            raise TypeError(f"{self.name} returned {', '.join(kinds) or 'nothing'}; expected floating-point numbers")
        self.output_labels, self.shapes = list(kept), [a.shape for a in kept.values()]
        self.output_eps = max(float(np.finfo(a.dtype).eps) for a in kept.values())

    def real_outputs(self, result: Any) -> list[Any]:
        """Return the real numbers among what the function returned."""
        values = named_leaves(result, "")
        return [values[label] for label in self.output_labels if label in values]

    def outputs(self, point: list[Array]) -> Array:
        """Return the real outputs at `point`, flat, one after the other, in float64."""
        with np.errstate(all="ignore"):
            arrays = [as_array(v) for v in self.real_outputs(self.call(point))]
        if [None if a is None else a.shape for a in arrays] != self.shapes:
            raise TypeError(f"{self.name} returned outputs of other shapes when its arguments changed a little")
        return np.concatenate([np.asarray(a, dtype=np.float64).reshape(-1) for a in arrays])

    def split(self, flat: Array) -> list[Array]:
        """Cut a flat vector over the outputs into arrays of their shapes."""
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        parts = np.split(flat, np.cumsum(sizes)[:-1])
        return [p.reshape(shape) for p, shape in zip(parts, self.shapes, strict=True)]

    def place(self, j: int) -> tuple[str, tuple[int, ...]]:
        """Return the label of the output, and the index in it, of place `j` in the flat outputs."""
        for label, shape in zip(self.output_labels, self.shapes, strict=True):
            size = int(np.prod(shape))
            if j < size:
                return label, tuple(int(i) for i in np.unravel_index(j, shape)) if shape else ()
            j -= size
        raise IndexError(j)

    def cotangent(self, parts: Sequence[Any]) -> Any:
        """Return cotangents in the structure of the outputs; None for outputs that are not real numbers."""
        given = dict(zip(self.output_labels, parts, strict=True))
        return map_named(lambda label, old: given.get(label), self._result, "")


@dataclass
class ChainruleFunction(CheckedFunction):
    """A function written with NumPy functions, differentiated by chainrule.

    It is evaluated on plain arrays, so that it is compared with what NumPy computes; where it cannot be, on tensors.
    """

    plain: bool = True
    note: str = ""

    def learn(self, point: list[Array]) -> None:
        """Learn what the function returns, and whether it can be evaluated on plain arrays."""
        try:
            super().learn(point)
        except Exception as error:
            if not self.plain:
                raise
            self.plain = False
            super().learn(point)  # raises what tensors raise, too
            self.note = (
                f"{self.name} was evaluated on tensors, also for the differences, since on NumPy arrays it raises "
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            )

    def differentiated(self, point: list[Array]) -> Array | None:
        """Return the outputs as tensors give them."""
        with np.errstate(all="ignore"):
            values, _ = vjp(self.flat, *[x.copy() for x in point])
        return np.concatenate([np.asarray(v, dtype=np.float64).reshape(-1) for v in values])

    def flat(self, *leaves: Any) -> list[Any]:
        """Return the real outputs of the function as a list."""
        return self.real_outputs(self.f(*self.rebuilt(leaves)))

    def call(self, point: list[Array]) -> Any:
        """Return what the function returns at `point`."""
        own = self.own_arrays(point) if self.plain else [Tensor(x.copy()) for x in point]
        return self.f(*self.rebuilt(own))

    def linearize(self, point: list[Array]) -> Pullback:
        """Return the pullback at `point`."""
        _, pullback = vjp(self.flat, *[x.copy() for x in point])
        return lambda cotangents: list(pullback(list(cotangents)))

    def gradients(self, leaves: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
        """Return the gradient for every leaf, on tensors."""
        _, pullback = vjp(self.flat, *leaves)
        return list(pullback(list(cotangents)))


@dataclass
class HandWritten(CheckedFunction):
    """A function on NumPy arrays with a gradient written by hand: grad, vjp, backward or jacobian."""

    form: str = "grad"
    derivative: Callable[..., Any] = lambda *a: None
    names: list[str] = field(default_factory=list)  # of the arguments

    def describe(self) -> str:
        """Return how the code was understood, in a line."""
        return f"function {signature_text(self.f)}; {self.form}: {signature_text(self.derivative)}"

    def call(self, point: list[Array]) -> Any:
        """Return what the function returns at `point`."""
        result = self.f(*self.rebuilt(self.own_arrays(point)))
        return self._pair(result)[0] if self.form == "backward" else result

    def _pair(self, result: Any) -> tuple[Any, Any]:
        if not (isinstance(result, tuple) and len(result) == 2):
            raise TypeError(
                f"{self.name} returned a {type(result).__name__}; with backward=, expected (output, cache), of which "
                "backward(dout, cache) makes the gradients. A function that returns its output alone takes vjp="
            )
        return result

    def linearize(self, point: list[Array]) -> Pullback:
        """Return the pullback at `point`."""
        if self.form == "vjp":
            return lambda parts: self._matched(self._derivative(point, self._given(parts)))
        if self.form == "jacobian":
            return self._by_jacobian(self._derivative(point))
        if self.form == "backward":
            return lambda parts: self._matched(
                self.derivative(self._given(parts), self._pair(self.f(*self.rebuilt(self.own_arrays(point))))[1])
            )
        if self.shapes and [int(np.prod(s)) for s in self.shapes] != [1]:
            raise ValueError(
                f"{self.name} returned shape {', '.join(map(str, self.shapes))}; grad= is the gradient of a single "
                "number. For other outputs give vjp(*args, cotangent), backward(dout, cache) or jacobian(*args)"
            )
        first, second = (self._matched(self._derivative(point)) for _ in range(2))
        calls = iter((first, second))  # a gradient that accumulates shows when it is computed again

        def scaled(parts: list[Array]) -> list[Any]:
            factor = float(parts[0].reshape(()))
            return [g if g is None else np.asarray(g) * factor for g in next(calls, first)]

        return scaled

    def _derivative(self, point: list[Array], *more: Any) -> Any:
        return self.derivative(*self.rebuilt(self.own_arrays(point)), *more)

    def _given(self, parts: Sequence[Any]) -> Any:
        return self.cotangent([p.copy() if p.shape else p.dtype.type(p) for p in parts])

    def _by_jacobian(self, result: Any) -> Pullback:
        blocks = [result] if len(self.shapes) == 1 else list(result)
        by_output = [self._matched(block, lead=shape) for block, shape in zip(blocks, self.shapes, strict=True)]

        def pulled(parts: list[Array]) -> list[Any]:
            return [
                None
                if not leaf.checked
                else sum(
                    np.tensordot(part, jacobians[k], len(shape))
                    for jacobians, part, shape in zip(by_output, parts, self.shapes, strict=True)
                )
                for k, leaf in enumerate(self.leaves)
            ]

        return pulled

    # -- which gradient belongs to which argument ----------------------------------------------------------------------

    def _matched(self, result: Any, lead: tuple[int, ...] = ()) -> list[Any]:
        """Return the gradients leaf by leaf, None for what is not checked; `lead` are axes before the leaf's own."""
        numbers = {leaf.label: k for k, leaf in enumerate(self.leaves)}
        places = self._mapped(lambda label, old: numbers.get(label))
        wanted = [i for i in range(len(places)) if any(leaf.argument == i and leaf.checked for leaf in self.leaves)]
        found: list[Any] = [None] * len(self.leaves)
        for i, gradient in self._by_argument(result, places, wanted):
            self._fill(found, places[i], gradient, self.labels[i])
        for k, leaf in enumerate(self.leaves):
            if not leaf.checked:
                found[k] = None
            elif found[k] is None:
                raise ValueError(
                    f"{self.form} of {self.name} has no gradient for {leaf.label}; return one, or leave the argument "
                    "out with argnums="
                )
            elif lead and found[k].size == int(np.prod(lead)) * leaf.value.size:
                found[k] = found[k].reshape(lead + leaf.value.shape)  # a matrix (outputs, inputs) is a Jacobian, too
            elif lead:
                raise ValueError(
                    f"jacobian of {self.name} has shape {found[k].shape} for {leaf.label}; expected "
                    f"{lead + leaf.value.shape}: the output's axes, then the argument's"
                )
        return found

    def _by_argument(self, result: Any, places: tuple[Any, ...], wanted: list[int]) -> list[tuple[int, Any]]:
        """Return (argument, gradient), the gradients being returned by name, by position, or alone."""
        alone = wanted[0] if len(wanted) == 1 else None
        if isinstance(result, dict):
            named = {n: i for i, name in enumerate(self.names) for n in (f"d{name}", name)}
            if set(result) <= set(named) and not (alone is not None and isinstance(places[alone], dict)):
                return [(named[key], g) for key, g in result.items()]
        if isinstance(result, tuple | list) and not (alone is not None and isinstance(places[alone], tuple | list)):
            if len(result) == len(places):
                return [(i, result[i]) for i in wanted]
            if len(result) == len(wanted):
                return list(zip(wanted, result, strict=True))
        elif isinstance(result, tuple | list) and alone is not None and len(result) == 1 != len(places[alone]):
            return [(alone, result[0])]
        if alone is not None:
            return [(alone, result)]
        listed = ", ".join(self.labels[i] for i in wanted)
        if isinstance(result, tuple | list):
            raise ValueError(f"{self.form} of {self.name} returned {len(result)} gradients; expected one for {listed}")
        raise TypeError(
            f"{self.form} of {self.name} returned a {type(result).__name__}; expected a tuple with a gradient for each "
            f"of {listed}, or a dict with their names"
        )

    def _fill(self, found: list[Any], place: Any, gradient: Any, where: str) -> None:
        """Walk through an argument, its leaves replaced by their numbers, and its gradient side by side."""
        if is_dataclass(place):
            place = values_of(place)
            gradient = values_of(gradient) if is_dataclass(gradient) else gradient
        if isinstance(place, dict):
            if not isinstance(gradient, Mapping):
                raise TypeError(
                    f"the gradient for {where} is a {type(gradient).__name__}; expected a dict with its keys"
                )
            for key, below in place.items():
                g = gradient.get(key, gradient.get(f"d{key}") if isinstance(key, str) else None)
                if g is not None:
                    self._fill(found, below, g, f"{where}[{key!r}]")
        elif isinstance(place, tuple | list):
            if not isinstance(gradient, tuple | list):
                array = as_array(gradient)
                gradient = [] if array is None or array.ndim == 0 else list(array)
            if len(gradient) != len(place):
                raise TypeError(f"the gradient for {where} has {len(gradient)} parts; expected a list of {len(place)}")
            for i, (below, g) in enumerate(zip(place, gradient, strict=True)):
                if g is not None:
                    self._fill(found, below, g, f"{where}[{i}]")
        elif place is not None and gradient is not None:
            array = as_array(gradient)
            if array is None or array.dtype.kind not in "fiub":
                raise TypeError(f"the gradient for {where} is a {type(gradient).__name__}; expected an array")
            found[place] = array if array.dtype.kind == "f" else array.astype(np.float64)


# -- from the caller's arguments ---------------------------------------------------------------------------------------


def as_array(x: Any) -> Array | None:
    """Return the numbers of an array, a tensor of any kind or a number; None for anything else."""
    if isinstance(x, Tensor):
        return x.value
    if isinstance(x, np.ndarray | np.generic | float | int):
        return np.asarray(x)
    if is_torch(x, "Tensor"):
        x = x.detach().cpu()
        try:
            return np.asarray(x.numpy())
        except TypeError:  # bfloat16 and the like
            return np.asarray(x.to(sys.modules["torch"].float32).numpy())
    return np.asarray(x) if hasattr(x, "__array__") else None


def is_torch(x: Any, kind: str) -> bool:
    """Whether `x` is of a class of PyTorch's, which nobody has made unless torch is loaded."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, getattr(torch, kind, ()))


def name_of(f: Any) -> str:
    """Return what to call `f`; ``f`` where it has no name."""
    name = str(getattr(f, "__name__", None) or (type(f).__name__ if isinstance(f, Module) else "f"))
    return "f" if name == "<lambda>" else name


def labelled(names: Sequence[str]) -> list[str]:
    """Return how messages call arguments: ``argument 1 (W)``."""
    return [f"argument {i} ({name})" for i, name in enumerate(names)]


def leaves_of(
    arguments: tuple[Any, ...], labels: Sequence[str], argnums: tuple[int, ...] | None, parameters: int = 0
) -> list[Leaf]:
    """Return the arrays of real numbers in arguments, of which the first `parameters` are a module's parameters.

    Raises
    ------
    TypeError, ValueError
        For complex numbers, and for values that are not finite.
    """
    leaves = []
    for position, (argument, name) in enumerate(zip(arguments, labels, strict=True)):
        owner = position - parameters if position >= parameters else None
        for label, x in named_leaves(argument, name).items():
            if isinstance(x, np.ndarray):
                plain_array(x, label)  # refuses numpy.matrix and masked values
            array = as_array(x) if not isinstance(x, bool | int) else None
            if array is None or array.dtype.kind not in "fc":
                continue
            if array.dtype.kind == "c":
                raise TypeError(f"{label} has dtype {array.dtype}; expected real numbers")
            bad = np.flatnonzero(~np.isfinite(array))
            if bad.size:
                index = list(map(int, np.unravel_index(bad[0], array.shape)))
                raise ValueError(f"{label} is {array.reshape(-1)[bad[0]]} at {index}; expected finite numbers")
            checked = owner is None or argnums is None or owner in argnums
            leaves.append(Leaf(owner, label, np.array(array), isinstance(x, float), checked))
    return leaves
