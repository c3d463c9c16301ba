"""Objects with ``forward`` and ``backward``, their parameters and gradients in attributes, dicts or lists."""

from __future__ import annotations

import itertools
import operator
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from ..core.op import Array
from ..core.transforms import grad
from .attribute_names import RETURNED_INPUTS, attribute_of_gradient, value_of_gradient
from .backward_pass import BackwardPass
from .containers import Arguments, as_kind_of, is_float_array, named_leaves
from .layer_functions import SEED
from .recorded_run import AuditError
from .recording import Traced, Untraceable
from .signatures import ALIASES, LEARNING_RATES, argument_names, required, takes_upstream

#: Methods that set accumulated gradients to zero; called before each forward pass, as a training loop does.
ZEROING = ("zero_grad", "zero_grads", "zero_gradients", "reset_grad", "reset_grads", "clear_grad", "clear_grads")
#: The learning rate that is passed where ``backward`` asks for one.
RATE = 0.1

Slot = tuple[str, Any, Any, Any]  # name, owner, key or attribute, value


class Objects(BackwardPass):
    """An object with ``forward(*inputs)`` and ``backward(dout)``, or a list of them, called one after the other.

    Parameters
    ----------
    module
        The object, or the list.
    inputs
        What the first ``forward`` takes.
    loss, Y
        A loss of the output; without one the upstream gradient is random.
    """

    def __init__(
        self, module: Any, inputs: Sequence[Any], *, loss: Callable[..., Any] | None = None, Y: Any = None
    ) -> None:
        modules = list(module) if isinstance(module, list | tuple) else [module]
        if not modules:
            raise AuditError("module is an empty list; expected at least one object")
        for m in modules:
            for needed in ("forward", "backward"):
                if not callable(getattr(m, needed, None)):
                    raise AuditError(f"{type(m).__name__} has no method {needed}; expected forward and backward")
        super().__init__(modules=modules, loss=loss)
        self.names = argument_names(modules[0].forward, len(inputs))
        self._arguments = Arguments(dict(zip(self.names, inputs, strict=True)))
        self.values = self._arguments.leaves()
        if Y is not None:
            self.values["Y"] = np.asarray(Y)
        self.title = "Audit of " + " → ".join(type(m).__name__ for m in modules)
        self._gradients: dict[str, str] = {}  # parameter -> attribute that holds its gradient
        self._rates: dict[str, float] = {}  # parameter that backward updates -> the learning rate
        self._others: set[str] = set()  # further names of the parameters
        self._inputs: list[Any] = []
        self.values.update(self._find_parameters())
        self.exact = tuple(n for n, v in self.values.items() if is_float_array(v) and n != "Y")
        self.optional = tuple(n for n in self.exact if n not in self._gradients and n not in self._rates)

    def describe(self) -> str:
        """Return how the code was understood, in a line."""
        parts = ["class " + " → ".join(type(m).__name__ for m in self.handed_over["modules"])]
        parameters = [*self._gradients, *self._rates]
        parts.append(f"parameters {', '.join(parameters)}" if parameters else "no parameters")
        if self._gradients:
            parts.append(f"gradients in {', '.join(self._gradients.values())}")
        if self._rates:
            rates = ", ".join(f"{r:g}" for r in dict.fromkeys(self._rates.values()))
            parts.append(f"gradients of {', '.join(self._rates)} from the update with learning rate {rates}")
        return "; ".join(parts)

    # -- parameters and their gradients --------------------------------------------------------------------------------

    def copied(self, *, recording: bool = False) -> Self:
        """Return the same with fresh copies of the objects, and with gradients that earlier calls left set to zero."""
        twin = super().copied(recording=recording)
        keys = set(self._gradients.values())
        for name, _, _, value in twin._slots():
            if name in keys and is_float_array(value):
                value[...] = 0.0
        return twin

    def _slots(self) -> list[Slot]:
        """Return all that the objects hold: "W", or "linear1.W" for one of several."""
        modules = self.code["modules"]
        if len(modules) == 1:
            return list(_slots(modules[0], "", {id(modules[0])}))
        named = [(m, f"{type(m).__name__.lower()}{i}") for i, m in enumerate(modules)]
        return [slot for m, name in named for slot in _slots(m, name, {id(m)})]

    def _attributes(self) -> dict[str, Any]:
        return {name: value for name, _, _, value in self._slots()}

    def _find_parameters(self) -> dict[str, Array]:
        """Run both passes once; return the parameters: what forward leaves alone and backward has a gradient for."""
        twin = self.copied()
        before = twin._attributes()
        try:
            with np.errstate(all="ignore"):
                output = twin._called(self.values)
                between = twin._attributes()
                kept = {n: np.asanyarray(v) for n, v in before.items() if is_float_array(v) and between.get(n) is v}
                old = {n: v.copy() for n, v in kept.items()}
                twin._backward(output, twin._dout(output, self.values), self.values)
        except Exception as error:
            raise AuditError(f"the module fails on your inputs: {type(error).__name__}: {error}") from error
        after = twin._attributes()
        by_array: dict[int, list[str]] = {}  # one array may have several names: W and params[0]
        for name, value in kept.items():
            by_array.setdefault(id(value), []).append(name)
        synonyms = {min(names, key=lambda n: "[" in n): names for names in by_array.values()}
        for name, names in synonyms.items():
            keys = [key for n in names if (key := attribute_of_gradient(n, after)) is not None and key != n]
            if found := [key for key in keys if value_of_gradient(after, key) is not None]:
                self._gradients[name] = found[0]
        for name, names in synonyms.items():
            known = name in self._gradients or set(names) & set(self._gradients.values())
            changed = name in after and not np.array_equal(after[name], old[name])
            if not known and changed and self._used(name) and (rate := self._rate(name, before)):
                self._rates[name] = rate
        parameters = (*self._gradients, *self._rates)
        self._others = {n for name in parameters for n in synonyms[name] if n != name}
        return {n: np.array(old[n], np.float64) for n in parameters}

    def _used(self, name: str) -> bool:
        """Whether the output depends on an array that the objects hold."""
        outputs = []
        for factor in (1.0, 1.01):
            twin = self.copied()
            array = twin._attributes()[name]
            array[...] = factor * array + (factor - 1)
            with np.errstate(all="ignore"):
                outputs.append(np.asarray(twin._called(self.values)))
        return not np.array_equal(outputs[0], outputs[1], equal_nan=True)

    def _rate(self, name: str, attributes: Mapping[str, Any]) -> float | None:
        """Return the learning rate that a parameter is updated with: an attribute near it, or the one passed."""
        near = [
            (-len(key.rpartition(".")[0]), float(value))
            for key, value in attributes.items()
            if key.rpartition(".")[2] in LEARNING_RATES
            and isinstance(value, int | float)
            and name.startswith(key.rpartition(".")[0].rpartition(".")[0])
        ]
        asked = any(p.name in LEARNING_RATES for m in self.code["modules"] for p in required(m.backward))
        return RATE if asked else min(near)[1] if near else None

    def _set(self, values: Mapping[str, Any]) -> None:
        """Put other arrays in the place of the parameters, under all their names."""
        slots = self._slots()
        new = {id(v): values[n] for n, _, _, v in slots if n in values and (n in self._gradients or n in self._rates)}
        for _, owner, key, old in slots:
            if id(old) in new and not isinstance(owner, tuple):
                array = as_kind_of(old, new[id(old)])
                (operator.setitem if isinstance(owner, Mapping | list) else setattr)(owner, key, array)

    # -- the passes ----------------------------------------------------------------------------------------------------

    def _called(self, values: Mapping[str, Any]) -> Any:
        modules = self.code["modules"]
        for m, name in itertools.product(modules, ZEROING):
            if callable(zero := getattr(m, name, None)):
                zero()
        self._inputs = self._arguments.parts(values)
        out: Any = self._inputs
        for i, m in enumerate(modules):
            forward = m if callable(m) else m.forward
            out = forward(*out) if i == 0 else forward(out)
        return out

    def forward(self, values: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return (output, cache); the cache is in the objects."""
        self._set(values)
        return self._called(values), None

    def _dout(self, output: Any, values: Mapping[str, Any]) -> Any:
        if (loss := self.code["loss"]) is not None:
            return np.asarray(grad(lambda o: loss(o, values.get("Y")))(np.asarray(output, np.float64)))
        return np.random.default_rng(SEED).normal(size=np.shape(output))

    def loss_of(self, output: Any, values: Mapping[str, Any]) -> Any:
        """Return the loss."""
        if isinstance(output, tuple | list | dict):
            raise Untraceable("the module returns several arrays")
        if self.code["loss"] is not None:
            return self.code["loss"](output, values.get("Y"))
        dout = self._dout(output, values)
        self.given = {"out": dout}
        return np.sum(output * dout)

    def extra_names(self, output: Any, cache: Any) -> dict[str, Any]:
        """Return values to be named, beyond the inputs."""
        left_out = {*self._gradients.values(), *self._others}
        return {**{n: v for n, v in self._attributes().items() if n not in left_out}, "out": output}

    def _backward(self, output: Any, dout: Any, values: Mapping[str, Any]) -> Any:
        if hasattr(output, "__dict__"):
            output.g = dout
        for m in reversed(self.code["modules"]):
            more = {
                p.name: RATE if p.name in LEARNING_RATES else values["Y"]
                for p in required(m.backward)[1:]
                if p.name in LEARNING_RATES or (p.name in ALIASES["Y"] and "Y" in values)
            }
            dout = m.backward(dout, **more) if takes_upstream(m.backward) else m.backward()
        return dout

    def backward(self, cache: Any, output: Any, values: Mapping[str, Any]) -> Any:
        """Return the gradients as the objects give them: returned, in attributes, or from what the update changed."""
        dout = self._dout(output, values)
        handed = np.array(dout)
        old = {n: np.array(v) for n, v in self._attributes().items() if n in self._rates}
        result = self._backward(output, handed, values)
        self.dout_changed = not np.array_equal(handed, dout)
        after = self._attributes()
        grads = self._gradients_of_inputs(result, after)
        for name, key in self._gradients.items():
            grads[_key(name)] = np.array(value_of_gradient(after, key))
        for name, rate in self._rates.items():
            grads[_key(name)] = (old[name] - after[name]) / rate
        changed = {n for n in self._gradients if not np.array_equal(after[n], values[n], equal_nan=True)}
        self.updated = tuple(n for n in values if n in self._rates or n in changed)
        return grads

    def _gradients_of_inputs(self, result: Any, after: Mapping[str, Any]) -> dict[str, Any]:
        parts = list(result) if isinstance(result, tuple | list) else [result]
        grads = {}
        for i, (name, part) in enumerate(zip(self.names, parts, strict=False)):
            if part is None:
                keys = ["d" + name, *(RETURNED_INPUTS if i == 0 else ())]
                part = next((after[k] for k in keys if after.get(k) is not None), None)
            if part is None:
                part = _carried(self._inputs[i], after)
            if part is not None:
                grads.update({k: np.array(v) for k, v in named_leaves(part, "d" + name).items()})
        return grads

    def gradients_by_key(self, grads: Any) -> dict[str, Any]:
        """Return the gradients by key."""
        return dict(grads)


def _key(name: str) -> str:
    head, dot, last = name.rpartition(".")
    return f"{head}.d{last}" if dot else f"d{name}"


def _carried(whole: Any, attributes: Mapping[str, Any]) -> Any:
    """Return the gradient that an input carries in .g, or a view of it among the attributes does."""
    for array in (whole, *attributes.values()):
        shared = array is whole or (isinstance(array, np.ndarray) and np.shares_memory(array, whole))
        if shared and getattr(array, "g", None) is not None:
            return array.g
    return None


def _slots(owner: Any, prefix: str, seen: set[int]) -> Iterator[Slot]:
    """Yield what an object holds, by name; one that stands for an array (.data, .value) has its own name."""
    if isinstance(owner, Mapping):
        items = [(k, v, f"{prefix}.{k}" if prefix else str(k)) for k, v in owner.items()]
    elif isinstance(owner, list | tuple):
        items = [(i, v, f"{prefix}[{i}]") for i, v in enumerate(owner)]
    else:
        items = [
            (k, v, prefix if k in ("data", "value") and prefix else f"{prefix}.{k}" if prefix else k)
            for k, v in vars(owner).items()
        ]
    for key, value, name in items:
        if not (isinstance(value, Mapping | list | tuple) or _has_attributes(value)):
            yield name, owner, key, value
        elif id(value) not in seen:
            yield from _slots(value, name, seen | {id(value)})


def _has_attributes(value: Any) -> bool:
    if isinstance(value, np.ndarray | Traced | type | types.ModuleType):
        return False
    return hasattr(value, "__dict__") and (hasattr(value, "forward") or not callable(value))
