"""What is checked: a function of arrays, seen as a list of arrays in and arrays out, with the gradient in question.

A `Subject` hides where the gradient comes from: chainrule's reverse pass, the caller's own function, or PyTorch.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.op import Array
from ..core.tensor import Tensor
from ..core.transforms import vjp
from ..core.tree import Structure, flatten, paths, unflatten
from ..nn import Module, functional_call

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
class Subject:
    """A function and its gradient in question.

    Attributes
    ----------
    name : str
        What messages call it.
    whose : str
        Whose gradient it is: "yours", "chainrule's", "torch's".
    leaves : list of Leaf
        All arrays of real numbers that the function is called with.
    """

    name: str
    whose: str
    leaves: list[Leaf]
    structure: Structure | None = None
    real: list[bool] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    output_labels: list[str] = field(default_factory=list)
    output_eps: float = float(np.finfo(np.float64).eps)

    def call(self, point: list[Array]) -> Any:
        """Return what the function returns at `point`, an array for every leaf."""
        raise AssertionError("a Subject is one of its subclasses")

    def linearize(self, point: list[Array]) -> Pullback:
        """Return the pullback at `point`: what the gradient in question makes of cotangents."""
        raise AssertionError("a Subject is one of its subclasses")

    def learn(self, point: list[Array]) -> None:
        """Learn from one call what the function returns: structure, shapes, names and dtype."""
        with np.errstate(all="ignore"):
            result = self.call(point)
        values, self.structure = flatten(result)
        arrays = [as_array(v) for v in values]
        self.real = [a is not None and a.dtype.kind == "f" for a in arrays]
        if any(a is not None and a.dtype.kind == "c" for a in arrays):
            raise TypeError(f"{self.name} returned complex numbers; a gradient is of real ones")
        if not any(self.real):
            kinds = ", ".join(
                type(v).__name__ if a is None else str(a.dtype) for v, a in zip(values, arrays, strict=True)
            )
            raise TypeError(f"{self.name} returned {kinds or 'nothing'}; floating-point numbers would do")
        kept = [a for a, real in zip(arrays, self.real, strict=True) if real and a is not None]
        self.shapes = [a.shape for a in kept]
        labels = paths(result)
        self.output_labels = [label for label, real in zip(labels, self.real, strict=True) if real]
        self.output_eps = max(float(np.finfo(a.dtype).eps) for a in kept)

    def outputs(self, point: list[Array]) -> Array:
        """Return the real outputs at `point`, flat, one after the other, in float64."""
        with np.errstate(all="ignore"):
            values, structure = flatten(self.call(point))
        arrays = [as_array(v) for v, real in zip(values, self.real, strict=False) if real]
        if structure != self.structure or [None if a is None else a.shape for a in arrays] != self.shapes:
            raise TypeError(
                f"{self.name} returned outputs of other kinds or shapes when its arguments changed a little"
            )
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
        """Return cotangents in the structure of the outputs; zeros for outputs that are not real numbers."""
        given = iter(parts)
        assert self.structure is not None
        return unflatten(self.structure, [next(given) if real else None for real in self.real])


@dataclass
class Nested(Subject):
    """A function called with nests of arguments; the leaves are put back into their places."""

    f: Callable[..., Any] = lambda *a: None
    structure_in: Structure | None = None
    fixed: list[Any] = field(default_factory=list)  # all leaves of the arguments
    where: list[int] = field(default_factory=list)  # which of them are the subject's

    def rebuilt(self, point: Sequence[Any]) -> tuple[Any, ...]:
        """Return the arguments at `point`."""
        values = list(self.fixed)
        for k, x in zip(self.where, point, strict=True):
            values[k] = x
        assert self.structure_in is not None
        arguments: tuple[Any, ...] = unflatten(self.structure_in, values)
        return arguments


@dataclass
class ChainruleSubject(Nested):
    """A function written with NumPy functions, differentiated by chainrule."""

    def flat(self, *leaves: Any) -> list[Any]:
        """Return the real outputs of the function as a list."""
        values, _ = flatten(self.f(*self.rebuilt(leaves)))
        return [v for v, real in zip(values, self.real, strict=True) if real]

    def call(self, point: list[Array]) -> Any:
        """Return what the function returns at `point`."""
        return self.f(*self.rebuilt([Tensor(x.copy()) for x in point]))

    def linearize(self, point: list[Array]) -> Pullback:
        """Return the pullback at `point`."""
        _, pullback = vjp(self.flat, *[x.copy() for x in point])
        return lambda cotangents: list(pullback(list(cotangents)))


@dataclass
class ModuleSubject(ChainruleSubject):
    """A module, as a function of its parameters and inputs. Its buffers take part, in the dtype of the point."""

    def __post_init__(self) -> None:
        module = self.f
        assert isinstance(module, Module)
        names = [name for name, _ in module.named_parameters()]
        buffers = {n: np.asarray(b) for n, b in module.named_buffers() if np.asarray(b).dtype.kind == "f"}

        def called(parameters: list[Any], *inputs: Any) -> Any:
            dtype = parameters[0].dtype if parameters else np.float64
            values = dict(zip(names, parameters, strict=True)) | {n: b.astype(dtype) for n, b in buffers.items()}
            return functional_call(module, values, *inputs)[0]

        self.f = called


@dataclass
class OwnSubject(Nested):
    """A function on NumPy arrays with a gradient written by hand."""

    form: str = "grad"
    derivative: Callable[..., Any] = lambda *a: None
    names: list[str] = field(default_factory=list)  # of the arguments

    def called(self, point: Sequence[Array]) -> tuple[Any, ...]:
        """Return the arguments at `point`, in memory of their own; numbers as numbers."""
        own = [np.float64(x) if leaf.number else x.copy() for x, leaf in zip(point, self.leaves, strict=True)]
        return self.rebuilt(own)

    def call(self, point: list[Array]) -> Any:
        """Return what the function returns at `point`."""
        result = self.f(*self.called(point))
        if self.form != "backward":
            return result
        return self._pair(result)[0]

    def _pair(self, result: Any) -> tuple[Any, Any]:
        if not (isinstance(result, tuple) and len(result) == 2):
            raise TypeError(
                f"{self.name} returned a {type(result).__name__}; with backward= it returns (output, cache), and "
                "backward(dout, cache) the gradients. For a function that returns its output alone, give vjp= or grad="
            )
        return result

    def linearize(self, point: list[Array]) -> Pullback:
        """Return the pullback at `point`."""
        if self.form == "grad":
            if self.shapes and [int(np.prod(s)) for s in self.shapes] != [1]:
                found = ", ".join(map(str, self.shapes))
                raise ValueError(
                    f"{self.name} returned shape {found}; grad= is the gradient of a single number. For other outputs "
                    "give vjp(*args, cotangent), backward(dout, cache) or jacobian(*args)"
                )
            gradients = self._matched(self.derivative(*self.called(point)))
            return lambda parts: [g if g is None else np.asarray(g) * float(parts[0].reshape(())) for g in gradients]
        if self.form == "jacobian":
            return self._by_jacobian(self.derivative(*self.called(point)))
        if self.form == "vjp":
            return lambda parts: self._matched(self.derivative(*self.called(point), self._given(parts)))

        def backward(parts: list[Array]) -> list[Any]:
            _, cache = self._pair(self.f(*self.called(point)))
            return self._matched(self.derivative(self._given(parts), cache))

        return backward

    def _given(self, parts: Sequence[Any]) -> Any:
        return self.cotangent([p.copy() if p.shape else p.dtype.type(p) for p in parts])

    def _by_jacobian(self, result: Any) -> Pullback:
        blocks = [result] if len(self.shapes) == 1 else list(result)
        by_output = [self._matched(block, lead=shape) for block, shape in zip(blocks, self.shapes, strict=True)]

        def pulled(parts: list[Array]) -> list[Any]:
            total: list[Any] = [None] * len(self.leaves)
            for jacobians, part, shape in zip(by_output, parts, self.shapes, strict=True):
                for k, j in enumerate(jacobians):
                    if j is not None:
                        g = np.tensordot(part, j, len(shape))
                        total[k] = g if total[k] is None else total[k] + g
            return total

        return pulled

    def _matched(self, result: Any, lead: tuple[int, ...] = ()) -> list[Any]:
        """Return the gradients leaf by leaf, None for what is not checked; `lead` are axes before the leaf's own."""
        arguments = self.rebuilt(range(len(self.leaves)))  # every leaf stands in its place as its number
        wanted = [i for i in range(len(arguments)) if any(leaf.argument == i and leaf.checked for leaf in self.leaves)]
        found: list[Any] = [None] * len(self.leaves)
        for i, gradient in self._by_argument(result, arguments, wanted):
            self._fill(found, arguments[i], gradient, f"argument {i} ({self.names[i]})")
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
                    f"jacobian of {self.name} has shape {found[k].shape} for {leaf.label}; {lead + leaf.value.shape} "
                    "would do: the output's axes, then the argument's"
                )
        return found

    def _by_argument(self, result: Any, arguments: tuple[Any, ...], wanted: list[int]) -> list[tuple[int, Any]]:
        if isinstance(result, dict):
            named = {n: i for i, name in enumerate(self.names) for n in (f"d{name}", name)}
            if set(result) <= set(named) and not (len(wanted) == 1 and isinstance(arguments[wanted[0]], dict)):
                return [(named[key], g) for key, g in result.items()]
        alone = len(wanted) == 1
        if isinstance(result, tuple | list):
            if not alone or not isinstance(arguments[wanted[0]], tuple | list):
                if len(result) == len(arguments):
                    return [(i, g) for i, g in enumerate(result) if i in wanted]
                if len(result) == len(wanted):
                    return list(zip(wanted, result, strict=True))
                if not alone:
                    raise ValueError(
                        f"{self.form} of {self.name} returned {len(result)} gradients; one each for "
                        f"{', '.join(f'argument {i} ({self.names[i]})' for i in wanted)} would do"
                    )
            elif len(result) == 1 and len(arguments[wanted[0]]) != 1:
                return [(wanted[0], result[0])]
        if alone:
            return [(wanted[0], result)]
        raise TypeError(
            f"{self.form} of {self.name} returned a {type(result).__name__}; a tuple with a gradient each for "
            f"{', '.join(f'argument {i} ({self.names[i]})' for i in wanted)}, or a dict with their names, would do"
        )

    def _fill(self, found: list[Any], place: Any, gradient: Any, where: str) -> None:
        """Walk through an argument, its leaves replaced by their numbers, and its gradient side by side."""
        if isinstance(place, dict):
            if not isinstance(gradient, Mapping):
                raise TypeError(
                    f"the gradient for {where} is a {type(gradient).__name__}; a dict with its keys would do"
                )
            for key, below in place.items():
                g = gradient.get(key, gradient.get(f"d{key}") if isinstance(key, str) else None)
                if g is not None:
                    self._fill(found, below, g, f"{where}[{key!r}]")
        elif isinstance(place, tuple | list):
            if not isinstance(gradient, tuple | list) or len(gradient) != len(place):
                gradient = self._as_sequence(gradient, len(place), where)
            for i, (below, g) in enumerate(zip(place, gradient, strict=True)):
                if g is not None:
                    self._fill(found, below, g, f"{where}[{i}]")
        elif type(place) is int and place < len(self.leaves) and gradient is not None:
            array = as_array(gradient)
            if array is None or array.dtype.kind not in "fiub":
                raise TypeError(f"the gradient for {where} is a {type(gradient).__name__}; an array would do")
            found[place] = array if array.dtype.kind == "f" else array.astype(np.float64)

    def _as_sequence(self, gradient: Any, length: int, where: str) -> Sequence[Any]:
        array = as_array(gradient)
        if array is None or array.shape[:1] != (length,):
            raise TypeError(f"the gradient for {where} is a {type(gradient).__name__}; a list of {length} would do")
        return list(array)

    def rebuilt(self, point: Sequence[Any]) -> tuple[Any, ...]:
        """Return the arguments at `point`; a range puts the numbers of the leaves into their places."""
        if isinstance(point, range):  # numbers of leaves: what is fixed must not look like one
            values: list[Any] = [None] * len(self.fixed)
            for k, number in zip(self.where, point, strict=True):
                values[k] = number
            assert self.structure_in is not None
            places: tuple[Any, ...] = unflatten(self.structure_in, values)
            return places
        return super().rebuilt(point)


@dataclass
class TorchSubject(Nested):
    """A function on PyTorch's tensors, an ``autograd.Function`` or an ``nn.Module``."""

    create_graph: bool = False

    def _tensors(self, point: Sequence[Array], follow: bool) -> list[Any]:
        torch = sys.modules["torch"]
        return [torch.from_numpy(np.array(x)).requires_grad_(follow) for x in point]

    def call(self, point: list[Array]) -> Any:
        """Return what the function returns at `point`."""
        return self.f(*self.rebuilt(self._tensors(point, follow=self.create_graph)))

    def linearize(self, point: list[Array]) -> Pullback:
        """Return the pullback at `point`."""
        torch = sys.modules["torch"]
        leaves = self._tensors(point, follow=True)
        values, _ = flatten(self.f(*self.rebuilt(leaves)))
        outputs = [v for v, real in zip(values, self.real, strict=True) if real]

        def pulled(parts: list[Array]) -> list[Any]:
            used = [(o, torch.from_numpy(np.array(p)).to(o.dtype)) for o, p in zip(outputs, parts, strict=True)]
            used = [(o, p) for o, p in used if o.requires_grad]
            if not used:
                return [np.zeros(x.shape) for x in point]
            ends, starts = zip(*used, strict=True)
            found = torch.autograd.grad(ends, leaves, starts, retain_graph=True, allow_unused=True)
            return [np.zeros(x.shape) if g is None else g.detach().numpy() for x, g in zip(point, found, strict=True)]

        return pulled


# -- from the caller's arguments ---------------------------------------------------------------------------------------


def as_array(x: Any) -> Array | None:
    """Return the numbers of an array, a tensor of any kind or a number; None for anything else."""
    if isinstance(x, Tensor):
        return x.value if x.value is not None else None
    if isinstance(x, np.ndarray | np.generic | float | int):
        return np.asarray(x)
    if _is_torch(x, "Tensor"):
        x = x.detach().cpu()
        try:
            return np.asarray(x.numpy())
        except TypeError:  # bfloat16 and the like
            return np.asarray(x.to(sys.modules["torch"].float32).numpy())
    if hasattr(x, "__array__"):
        return np.asarray(x)
    return None


def _is_torch(x: Any, kind: str) -> bool:
    """Whether `x` is of a class of PyTorch's, which nobody has made unless torch is loaded."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, getattr(torch, kind, ()))


def name_of(f: Any) -> str:
    """Return what to call `f`; ``f`` where it has no name."""
    name = getattr(f, "__name__", None) or ("f" if not isinstance(f, Module) else type(f).__name__)
    return "f" if name == "<lambda>" else str(name)


def argument_names(f: Any, count: int) -> list[str]:
    """Return the names of the first `count` positional arguments; x0, x1, … where they have none."""
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:count]
    return names + [f"x{i}" for i in range(len(names), count)]


def subject_of(
    f: Any, args: tuple[Any, ...], form: str | None, derivative: Any, argnums: tuple[int, ...] | None
) -> Subject:
    """Return the subject for a function, its arguments, and the form in which its gradient was given, if any."""
    torch = sys.modules.get("torch")
    function: Any = getattr(getattr(torch, "autograd", None), "Function", None)
    if isinstance(function, type) and isinstance(f, type) and issubclass(f, function):
        return _torch_subject(f, f.apply, args, argnums, forward=f.forward)  # type: ignore[attr-defined]
    if torch is not None and isinstance(f, torch.nn.Module):
        return _torch_module(f, args, argnums)
    if form is None and any(_is_torch(x, "Tensor") for x in flatten(args)[0]):
        return _torch_subject(f, f, args, argnums)
    if isinstance(f, Module):
        return _module_subject(f, args, argnums)
    names = argument_names(f, len(args))
    common = _places(args, names, argnums)
    if form is None:
        return ChainruleSubject(name_of(f), "chainrule's", f=f, **common)
    return OwnSubject(name_of(f), "yours", f=f, form=form, derivative=derivative, names=names, **common)


def _places(args: tuple[Any, ...], names: Sequence[str], argnums: tuple[int, ...] | None) -> dict[str, Any]:
    """Return the leaves of the arguments and how to put them back, as `Nested` takes them."""
    values, structure = flatten(args)
    labels = [p for i, a in enumerate(args) for p in paths(a, f"argument {i} ({names[i]})")]
    owners = [i for i, a in enumerate(args) for _ in paths(a)]
    leaves, where = [], []
    for k, (x, label, owner) in enumerate(zip(values, labels, owners, strict=True)):
        array = as_array(x) if not isinstance(x, bool | int) else None
        if array is None:
            continue
        if array.dtype.kind == "c":
            raise TypeError(f"{label} has dtype {array.dtype}; real numbers would do")
        if array.dtype.kind != "f":
            values[k] = x
            continue
        bad = np.flatnonzero(~np.isfinite(array))
        if bad.size:
            index = list(map(int, np.unravel_index(bad[0], array.shape)))
            raise ValueError(f"{label} is {array.reshape(-1)[bad[0]]} at {index}; a point with finite numbers would do")
        checked = argnums is None or owner in argnums
        leaves.append(Leaf(owner, label, np.array(array), isinstance(x, float), checked))
        where.append(k)
    return {"leaves": leaves, "structure_in": structure, "fixed": values, "where": where}


def _module_subject(module: Module, args: tuple[Any, ...], argnums: tuple[int, ...] | None) -> ModuleSubject:
    parameters = [(path, p) for path, p in module.named_parameters()]
    dtype = module.dtype or np.dtype(np.float64)
    inputs = args
    if args and not module.takes_ids:  # the module would cast them, too
        first = as_array(args[0])
        if first is not None and first.dtype.kind in "iub":
            inputs = (first.astype(dtype), *args[1:])
    names = ["parameters", *argument_names(module.forward, len(args))]
    arrays = [np.array(p.value) for _, p in parameters]
    common = _places((arrays, *inputs), names, None)
    leaves = []
    for k, leaf in enumerate(common["leaves"]):
        if k < len(parameters):
            path, p = parameters[k]
            label = f"parameter {path}" + (f" ({p.name})" if p.name and p.name != path else "")
            leaves.append(Leaf(None, label, leaf.value, checked=True))
            continue
        number = (leaf.argument or 0) - 1
        label = leaf.label.replace(f"argument {leaf.argument}", f"argument {number}", 1)
        checked = argnums is None or number in argnums
        leaves.append(Leaf(number, label, leaf.value.astype(dtype), checked=checked))
    common["leaves"] = leaves
    return ModuleSubject(type(module).__name__, "chainrule's", f=module, **common)


def _torch_subject(
    f: Any, called: Callable[..., Any], args: tuple[Any, ...], argnums: tuple[int, ...] | None, forward: Any = None
) -> TorchSubject:
    names = argument_names(forward or called, len(args) + (forward is not None))[forward is not None :]
    if forward is not None and "setup_context" in vars(f):
        names = argument_names(forward, len(args))
    whose = "yours" if forward is not None else "torch's"
    return TorchSubject(name_of(f), whose, f=called, **_places(args, names, argnums))


def _torch_module(module: Any, args: tuple[Any, ...], argnums: tuple[int, ...] | None) -> TorchSubject:
    torch = sys.modules["torch"]
    parameters = dict(module.named_parameters())
    buffers = {n: b.clone() for n, b in module.named_buffers()}

    def called(values: list[Any], *inputs: Any) -> Any:
        dtype = values[0].dtype if values else torch.float64
        state = {n: b.to(dtype) if b.is_floating_point() else b.clone() for n, b in buffers.items()}
        return torch.func.functional_call(module, dict(zip(parameters, values, strict=True)) | state, inputs)

    names = ["parameters", *argument_names(module.forward, len(args))]
    common = _places((list(parameters.values()), *args), names, None)
    leaves = []
    for k, leaf in enumerate(common["leaves"]):
        if k < len(parameters):
            leaves.append(Leaf(None, f"parameter {list(parameters)[k]}", leaf.value))
        else:
            number = (leaf.argument or 0) - 1
            label = leaf.label.replace(f"argument {leaf.argument}", f"argument {number}", 1)
            leaves.append(Leaf(number, label, leaf.value, checked=argnums is None or number in argnums))
    common["leaves"] = leaves
    return TorchSubject(type(module).__name__, "torch's", f=called, **common)
