"""Objects with ``forward`` and ``backward``, parameters and gradients in attributes, brought to the form of a layer."""

from __future__ import annotations

import copy
import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.op import Array
from ..core.transforms import grad
from .backward_pass import AuditError, BackwardPass, Point, input_names
from .containers import as_arrays, is_number_array, mapped, named_leaves
from .recording import Traced, Untraceable


class _Chain(list[Any]):
    """The modules of one run, and the inputs that the first was called with."""

    inputs: list[Any]


class Objects(BackwardPass):
    """A module, or a list of them that are called one after the other.

    Parameters
    ----------
    module
        With ``forward(*inputs)`` and ``backward(dout)``.
    inputs
        What the first module's ``forward`` takes.
    loss, Y
        A loss of the output; without one the gradient from above is random.
    """

    def __init__(
        self, module: Any, inputs: Sequence[Any], *, loss: Callable[..., Any] | None = None, Y: Any = None
    ) -> None:
        modules = list(module) if isinstance(module, list | tuple) else [module]
        if not modules:
            raise AuditError("the list of modules is empty; at least one would do")
        for m in modules:
            for needed in ("forward", "backward"):
                if not callable(getattr(m, needed, None)):
                    raise AuditError(f"a {type(m).__name__} has no method {needed}; forward and backward would do")
        self._template = copy.deepcopy(modules)
        self._single = len(modules) == 1
        self._loss = loss
        self.functions = tuple([*modules, *([loss] if loss is not None else [])])
        self.names = input_names(modules[0].forward, len(inputs))
        self._nests = [as_arrays(x) for x in inputs]
        self.values = {}
        for name, nest in zip(self.names, self._nests, strict=True):
            self.values.update(named_leaves(nest, name))
        if Y is not None:
            self.values["Y"] = np.asarray(Y)
        self._kinds = {n: type(v) for n, v in self.values.items() if isinstance(v, np.ndarray)}
        self.given: dict[str, Array] = {}
        self._reused: Any = None
        self._reuse = False
        self.title = "Audit of " + " → ".join(type(m).__name__ for m in modules)
        self._parameters = self._find_parameters()
        self.values.update({n: np.array(v) for n, v in self._parameters.items()})
        self.exact = tuple(n for n, v in self.values.items() if is_number_array(v) and v.dtype.kind == "f" and n != "Y")
        self._douts: dict[str, Array] = {}

    # -- attributes ----------------------------------------------------------------------------------------------------

    def _slots(self, modules: Sequence[Any]) -> Iterator[tuple[str, Any, Any, Any]]:
        """Yield (name, owner, key, value) of all that the modules hold: "W", or "linear1.W" for one of several."""
        for i, m in enumerate(modules):
            yield from _slots(m, "" if self._single else f"{type(m).__name__.lower()}{i}", {id(m)})

    def _attributes(self, modules: Sequence[Any]) -> dict[str, Any]:
        return {name: value for name, _, _, value in self._slots(modules)}

    def _set(self, modules: Sequence[Any], values: Mapping[str, Any]) -> None:
        for name, owner, key, old in list(self._slots(modules)):
            if name not in self._parameters or name not in values:
                continue
            new = values[name]
            if isinstance(new, np.ndarray) and isinstance(old, np.ndarray) and type(old) is not np.ndarray:
                new = new.view(type(old))
            _assign(owner, key, new)

    def _find_parameters(self) -> dict[str, Array]:
        before = {n: v for n, v in self._attributes(self._template).items() if _floating(v)}
        modules = copy.deepcopy(self._template)
        self._parameters = {}
        try:
            with np.errstate(all="ignore"):
                output = self._chain(modules, self.values)
                self._backward(modules, output, self._dout_of(output, self.values))
        except Exception as error:
            raise AuditError(f"the module fails on the inputs given: {type(error).__name__}: {error}") from error
        after = self._attributes(modules)
        found = {}
        for name, value in before.items():
            key = _gradient_name(name, after)
            if key is not None and _gradient_of(after, key) is not None and key != name:
                found[name] = np.array(value, np.float64)
        gradients = {_gradient_name(name, before) for name in found}
        for name, owner, key, value in list(self._slots(self._template)):  # those of earlier calls would be added to
            if name in gradients and isinstance(value, np.ndarray):
                _assign(owner, key, np.zeros_like(value))
        return found

    # -- the passes ----------------------------------------------------------------------------------------------------

    def _chain(self, modules: Sequence[Any], values: Mapping[str, Any]) -> Any:
        parts = []
        for name, nest in zip(self.names, self._nests, strict=True):

            def leaf(path: str, old: Any) -> Any:
                new = values[path]
                kind = self._kinds.get(path, np.ndarray)
                return new.view(kind) if isinstance(new, np.ndarray) and kind is not np.ndarray else new

            parts.append(mapped(nest, leaf, name))
        if isinstance(modules, _Chain):
            modules.inputs = parts
        out = _called(modules[0], *parts)
        for m in modules[1:]:
            out = _called(m, out)
        return out

    def _backward(self, modules: Sequence[Any], output: Any, dout: Any) -> Any:
        if hasattr(output, "__dict__"):
            output.g = dout
        for m in reversed(list(modules)):
            needed = [
                p
                for p in inspect.signature(m.backward).parameters.values()
                if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
            ]
            dout = m.backward(dout) if needed else m.backward()
        return dout

    def forward(self, values: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return (output, cache)."""
        if self._reuse and self._reused is not None:
            modules = self._reused
        else:
            modules = _Chain(copy.deepcopy(self._template))
            self._reused = modules if self._reuse else None
        self._set(modules, values)
        return self._chain(modules, values), modules

    def _dout_of(self, output: Any, values: Mapping[str, Any]) -> Any:
        if self._loss is not None:
            loss, Y = self._loss, values.get("Y")
            return np.asarray(grad(lambda o: loss(o, Y))(np.asarray(output, np.float64)))
        rng = np.random.default_rng(20180831)
        return rng.normal(size=np.shape(output))

    def loss_of(self, output: Any, values: Mapping[str, Any]) -> Any:
        """Return the loss."""
        if isinstance(output, tuple | list | dict):
            raise Untraceable("the module returns several arrays")
        if self._loss is not None:
            return self._loss(output, values.get("Y"))
        dout = self._dout_of(output, values)
        self.given = {"out": dout}
        return np.sum(output * dout)

    def extra_names(self, output: Any, cache: Any) -> dict[str, Any]:
        """Return values to be named, beyond the cache."""
        gradients = {_gradient_name(n, {k: 0 for k in self._attributes(cache)}) for n in self._parameters}
        named = {n: v for n, v in self._attributes(cache).items() if n not in gradients}
        return {**named, "out": output}

    def backward(self, cache: Any, output: Any, values: Mapping[str, Any]) -> Any:
        """Return the gradients as the caller's function gives them."""
        dout = self._dout_of(output, values)
        handed = np.array(dout)
        result = self._backward(cache, output, handed)
        self.dout_changed = not np.array_equal(handed, dout)
        after = self._attributes(cache)
        grads: dict[str, Any] = {}
        parts = list(result) if isinstance(result, tuple | list) else [result]
        for name, part in zip(self.names, parts, strict=False):
            if part is None:
                whole = cache.inputs[self.names.index(name)]
                part = _carried(whole, after) if after.get("d" + name) is None else after["d" + name]
            if part is not None:
                grads["d" + name] = np.array(part)
        for name in self._parameters:
            key = _gradient_name(name, after)
            if key is not None:
                head, dot, last = name.rpartition(".")
                grads[f"{head}.d{last}" if dot else "d" + name] = np.array(_gradient_of(after, key))
        return grads

    def gradients_by_key(self, grads: Any) -> dict[str, Any]:
        """Return the gradients by key."""
        return dict(grads)

    def again(self) -> Point:
        """Call the same object twice and return the second run."""
        self._reuse, self._reused = True, None
        try:
            self.run(self.values, "your data", record=False)
            return self.run(self.values, "your data", record=False)
        finally:
            self._reuse, self._reused = False, None


def _carried(whole: Any, attributes: Mapping[str, Any]) -> Any:
    """Return the gradient that an input carries in .g, or a view of it among the module's attributes does."""
    for array in (whole, *attributes.values()):
        shared = array is whole or (isinstance(array, np.ndarray) and np.shares_memory(array, whole))
        if shared and getattr(array, "g", None) is not None:
            return array.g
    return None


def _called(module: Any, *inputs: Any) -> Any:
    if callable(module):
        return module(*inputs)
    return module.forward(*inputs)


def _floating(value: Any) -> bool:
    return (is_number_array(value) and value.dtype.kind == "f") or isinstance(value, Traced)


def _slots(owner: Any, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any, Any, Any]]:
    if isinstance(owner, Mapping):
        items = [(k, v, f"{prefix}.{k}" if prefix else str(k)) for k, v in owner.items()]
    elif isinstance(owner, list | tuple):
        items = [(i, v, f"{prefix}[{i}]") for i, v in enumerate(owner)]
    else:  # an object; one that stands for an array, as a Parameter with .data and .grad, has its name
        items = [
            (k, v, prefix if k in ("data", "value") and prefix else f"{prefix}.{k}" if prefix else k)
            for k, v in vars(owner).items()
        ]
    for key, value, name in items:
        if isinstance(value, Mapping | list | tuple) or _is_record(value):
            if id(value) not in seen:
                yield from _slots(value, name, seen | {id(value)})
        else:
            yield name, owner, key, value


def _is_record(value: Any) -> bool:
    if isinstance(value, np.ndarray | Traced | type | types.ModuleType):
        return False
    return hasattr(value, "__dict__") and (hasattr(value, "forward") or not callable(value))


def _assign(owner: Any, key: Any, value: Any) -> None:
    if isinstance(owner, dict | list):
        owner[key] = value
    elif not isinstance(owner, tuple):
        setattr(owner, key, value)


def _gradient_name(name: str, attributes: Mapping[str, Any]) -> str | None:
    """Return which attribute holds the gradient of `name`, by the usual names; "W.g" where the array carries it."""
    for ending in (".grad", ".g", ".gradient"):
        if name + ending in attributes:
            return name + ending
    head, dot, last = name.rpartition(".")
    prefix = head + dot
    for pattern in (
        "d{0}",
        "d_{0}",
        "grad_{0}",
        "{0}_grad",
        "g{0}",
        "{0}_g",
        "d{0}s",
        "{0}grad",
        "grad{0}",
        "D{0}",
        "{0}_gradient",
    ):
        for key in (prefix + pattern.format(last), pattern.format(last)):
            if key in attributes:
                return key
    for store in ("grads", "grad", "gradients", "dparams", "d"):
        outer = head.rpartition(".")[0]
        for base in {store, f"{outer}.{store}" if outer else store, f"{head}.{store}" if head else store}:
            for key in (f"{base}.{last}", f"{base}.d{last}"):
                if key in attributes:
                    return key
    if getattr(attributes.get(name), "g", None) is not None or getattr(attributes.get(name), "grad", None) is not None:
        return name + ".g"
    return None


def _gradient_of(attributes: Mapping[str, Any], key: str) -> Any:
    if key in attributes:
        return attributes[key]
    whole = attributes[key[: -len(".g")]]
    return whole.g if getattr(whole, "g", None) is not None else whole.grad
