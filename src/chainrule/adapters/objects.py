"""Objects with a forward and a backward method, whatever their names, with parameters in attributes, dicts or lists."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from ..core.transforms import grad
from .attribute_names import KEPT_OUTPUTS, value_of_gradient
from .backward_pass import BackwardPass
from .containers import Arguments, as_kind_of, is_float_array, is_number_array, mapped, named_leaves, output_and_cache
from .layer_functions import SEED, apart
from .network_functions import loss_on_rows, named_loss
from .object_gradients import gradient_key, gradients_of_inputs, kept_gradient, returned_gradients
from .object_methods import (
    ARGUMENTS,
    CACHE,
    COUNT,
    INPUT,
    MODE,
    OUTPUT,
    PAIRS,
    RATE,
    STORE,
    TARGET,
    TIMES,
    UPSTREAM,
    Methods,
    called,
    holds_arrays,
    methods_of,
    own_loss_of,
    role,
    set_gradients_to_zero,
    upstream_of,
)
from .object_parameters import Parameters, copied_arrays, find_parameters, fitted_rate
from .object_setup import set_up
from .object_slots import Slot, assign, identity, slots
from .recorded_run import AuditError
from .recording import Untraceable
from .signatures import argument_names, positional, required

#: The learning rate that is passed where ``backward`` asks for one.
USUAL_RATE = 0.1
#: One with which updates change next to nothing.
SMALL_RATE = 1e-7


class Objects(BackwardPass):
    """An object with a forward and a backward method, or a list of them, called one after the other.

    Parameters
    ----------
    module
        The object, or the list.
    inputs
        What the first forward method takes; the targets may follow.
    loss, Y
        A loss of the output; without one the upstream gradient is random, or the object's own loss is taken.
    forward, backward : str, optional
        The names of the methods.
    parameters : sequence of str, optional
        Attributes that are parameters, as "W" or "layers[0].W"; all that have gradients by default.
    gradients : mapping or "update", optional
        Parameter -> attribute that holds its gradient; "update": what backward subtracts from the parameters.
    lr : float, optional
        The learning rate of that update.
    """

    _slow = False

    def __init__(
        self,
        module: Any,
        inputs: Sequence[Any],
        *,
        loss: Callable[..., Any] | str | None = None,
        Y: Any = None,
        forward: str | None = None,
        backward: str | None = None,
        parameters: Sequence[str] | None = None,
        gradients: Mapping[str, str] | str | None = None,
        lr: float | None = None,
    ) -> None:
        modules = list(module) if isinstance(module, list | tuple) else [module]
        if not modules:
            raise AuditError("module is an empty list; expected at least one object")
        self.methods = [methods_of(m, forward, backward, loss is None) for m in modules]
        modules, self._set_up = set_up(modules, self.methods, inputs)
        own = loss is None and len(modules) == 1
        loss = own_loss_of(modules[0], self.methods[0]) if own else loss
        self._named_loss = named_loss(loss)
        upstream = upstream_of(modules[0], self.methods[0]) if own else None
        super().__init__(modules=modules, loss=loss, upstream=upstream)
        self.lr = lr
        if len(inputs) > 1 and self._leaves_out_target(len(inputs)):
            *inputs, last = inputs
            Y = last if Y is None else Y
        self.targets_known = Y is not None or any(m.judges for m in self.methods)
        forwards = self.methods[0].forward_of(modules[0])
        self.names = argument_names(forwards, len(inputs))
        self._arguments = Arguments(dict(zip(self.names, inputs, strict=True)))
        self.values = copied_arrays(self._arguments.leaves())
        if Y is not None:
            self.values["Y"] = np.asarray(Y)
        self._targets = {"Y", *(n for n in self.names if self.methods[0].judges and role(n) == TARGET)}
        self._roles = self._roles_of_backward()
        self._check_loss()
        self.title = "Audit of " + " → ".join(type(m).__name__ for m in modules)
        self.found = Parameters()
        self._inputs: list[Any] = []
        self._calls: list[tuple[Any, Any]] = []  # output and cache of each forward call
        self._between: dict[str, Any] = {}  # gradients that one object passes to the one before it
        self._averaged = ""  # a loss of each example is averaged over "examples" or "elements" by the caller
        before = {n: v for n, v in self.values.items() if n not in self._targets and is_float_array(v)}
        self.found = find_parameters(self, parameters, gradients)
        self.values.update(self.found.values)
        self.exact = tuple([*(before if self._returns_inputs() else ()), *self.found.values])
        self.own_penalty = loss is None and not (self.methods[-1].gives_loss or self.methods[-1].judges)
        self.optional = tuple(n for n in self.exact if n not in self.found.values)
        self._fit()

    def _roles_of_backward(self) -> list[dict[str, str]]:
        pairs = zip(self.methods, self.handed_over["modules"], strict=True)
        return [method.roles(module, self.targets_known, self.lr is not None) for method, module in pairs]

    def _leaves_out_target(self, count: int) -> bool:
        """Whether the last of the inputs is what backward takes as targets, but not forward."""
        method, module = self.methods[0], self.handed_over["modules"][0]
        taken = positional(method.forward_of(module))
        more = count > len(taken) or role(taken[count - 1].name) == MODE
        return more or (method.takes_target(module) and role(taken[count - 1].name) == TARGET and not method.judges)

    def _check_loss(self) -> None:
        method, roles = self.methods[-1], self._roles[-1].values()
        known = self.handed_over["loss"] is not None or method.judges or method.gives_loss
        if TARGET in roles and UPSTREAM not in roles and not known:
            unknown = "takes the targets, and the loss is not known: pass loss=(output, Y) -> number"
            raise AuditError(f"{method.backward} {unknown}")

    def describe(self) -> str:
        """Return how the code was understood, in a line."""
        described = []
        for module, method in zip(self.handed_over["modules"], self.methods, strict=True):
            usual = method.forward in ("", "forward") and method.backward == "backward"
            names = "" if usual else f" ({method.forward or '__call__'}, {method.backward})"
            described.append(type(module).__name__ + names)
        parts = ["class " + " → ".join(described), *self.found.describe()]
        parts += [f"set up by {', '.join(self._set_up)}"] if self._set_up else []
        if self._averaged:
            parts.append(f"loss: the mean of the output over the {self._averaged}")
        return "; ".join(parts)

    # -- what the objects hold -----------------------------------------------------------------------------------------

    def copied(self, *, recording: bool = False) -> Self:
        """Return the same with fresh copies of the objects, and with gradients that earlier calls left set to zero."""
        twin = super().copied(recording=recording)
        keys = set(self.found.attributes.values())
        for name, owner, key, value in twin.slots():
            if self._slow and role(name.rpartition(".")[2]) == RATE and isinstance(value, int | float):
                assign(owner, key, SMALL_RATE)
            elif name in keys and is_float_array(value):
                value[...] = 0.0
            elif name in keys and isinstance(value, float):
                assign(owner, key, 0.0)
        return twin

    def slots(self) -> list[Slot]:
        """Return all that the objects hold: "W", or "linear1.W" for one of several."""
        modules = self.code["modules"]
        return [slot for i, m in enumerate(modules) for slot in slots(m, self.prefix(i), {id(m)})]

    def prefix(self, i: int) -> str:
        """Return how the attributes of one of several objects begin."""
        modules = self.code["modules"]
        return f"{type(modules[i]).__name__.lower()}{i}" if len(modules) > 1 else ""

    def input_name(self, i: int) -> str:
        """Return what the input of one of several objects is called."""
        (name,) = argument_names(self.methods[i].forward_of(self.code["modules"][i]), 1)
        return f"{self.prefix(i)}.{name}" if i else name

    def passed_on(self) -> dict[str, type]:
        """Return the keys of the gradients that the objects pass on, and the class of the object that makes each."""
        return {gradient_key(self.input_name(i)): type(m) for i, m in enumerate(self.code["modules"])}

    def attributes(self) -> dict[str, Any]:
        """Return all that the objects hold, by name."""
        return {name: value for name, _, _, value in self.slots()}

    def put(self, values: Mapping[str, Any]) -> None:
        """Put other arrays in the place of the parameters, under all their names."""
        held = self.slots()
        new = {identity(n, v): values[n] for n, _, _, v in held if n in values and n in self.found.values}
        for name, owner, key, old in held:
            if isinstance(owner, tuple) or not (name in self.found.values or is_float_array(old)):
                continue
            if (same := identity(name, old)) in new:
                assign(owner, key, as_kind_of(old, new[same]))

    # -- the passes ----------------------------------------------------------------------------------------------------

    def called(self, values: Mapping[str, Any]) -> Any:
        """Call the forward methods; return the output."""
        modules = self.code["modules"]
        for m in modules:
            set_gradients_to_zero(m)
        self._inputs, self._calls = self._arguments.parts(values), []
        out: Any = None
        for i, (m, method) in enumerate(zip(modules, self.methods, strict=True)):
            given = self._inputs if i == 0 else [out]
            out, cache = self._forward_call(m, method, given, values)
            self._calls.append((out, cache))
        return out

    def _forward_call(self, module: Any, method: Methods, given: list[Any], values: Mapping[str, Any]) -> Any:
        function, taken = method.caller_of(module), positional(method.forward_of(module))
        more: dict[str, Any] = {}
        for k, p in enumerate(taken):
            kind = role(p.name)
            if kind == TARGET and "Y" in values and len(given) < len(taken):
                if k < len(given):  # loss(y, p) in a list
                    return function(values["Y"], *given), None
                more[p.name] = values["Y"]
            elif kind == MODE and k >= len(given) and p.default in (p.empty, False):
                more[p.name] = True
        result = function(*given, **more)
        if result is None:
            result = next((v for n in KEPT_OUTPUTS if (v := getattr(module, n, None)) is not None), None)
        return result if method.gives_gradients else output_and_cache(result, method.takes_cache(module))

    def forward(self, values: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return (output, cache); the cache is in the objects, or what their forward methods return beside it."""
        self.put(values)
        output = self.called(values)
        caches = [c for _, c in self._calls if c is not None and not self.methods[0].gives_gradients]
        output = apart(output) if isinstance(output, list | Mapping) else output
        return output, caches[0] if len(caches) == 1 else caches or None

    def dout(self, output: Any, values: Mapping[str, Any]) -> Any:
        """Return the upstream gradient: of the loss, random, or 1 for what is a loss itself."""
        if self.code["upstream"] is not None and values.get("Y") is not None:
            return np.asarray(self.code["upstream"](output, values["Y"]), np.float64)
        if self.code["loss"] is not None:
            numbers = mapped(output, lambda _, x: np.asarray(x, np.float64))
            return mapped(grad(lambda o: self._loss(o, values))(numbers), lambda _, x: np.asarray(x))
        if isinstance(output, list | Mapping):
            rng = np.random.default_rng(SEED)
            return mapped(output, lambda _, x: self.drawn_upstream(np.shape(x), rng))
        upstream = [n for n, kind in self._roles[-1].items() if kind == UPSTREAM]
        taken = {p.name for p in required(self.methods[-1].backward_of(self.code["modules"][-1]))}
        scalar = np.size(output) == 1 and not taken & set(upstream)
        if not upstream or scalar or (self.methods[-1].judges and TARGET in self._roles[-1].values()):
            shape = np.shape(output)
            counts = {"examples": shape[:1], "elements": shape}
            return np.full(shape, 1.0 / float(np.prod(counts.get(self._averaged, ()))))
        return self.drawn_upstream(np.shape(output), np.random.default_rng(SEED))

    def _loss(self, output: Any, values: Mapping[str, Any]) -> Any:
        if self._named_loss is not None:
            return loss_on_rows(self._named_loss, output, values.get("Y"))
        return self.code["loss"](output, values.get("Y"))

    def loss_of(self, output: Any, values: Mapping[str, Any]) -> Any:
        """Return the loss."""
        if isinstance(output, tuple):
            raise Untraceable("the module returns several arrays")
        if self.code["loss"] is not None:
            return self._loss(output, values)
        self.given = named_leaves(self.dout(output, values), "out")
        return sum((np.sum(x * self.given[n]) for n, x in named_leaves(output, "out").items()), 0.0)

    def extra_names(self, output: Any, cache: Any) -> dict[str, Any]:
        """Return values to be named, beyond the inputs."""
        left_out = {*self.found.attributes.values(), *self.found.others}
        held = {n: v for n, v in self.attributes().items() if n not in left_out}
        held |= {self.input_name(i + 1): out for i, (out, _) in enumerate(self._calls[:-1])}
        return {**named_leaves(cache, "cache"), **held, **named_leaves(output, "out")}

    def run_backward(self, output: Any, dout: Any, values: Mapping[str, Any]) -> list[Any]:
        """Call the backward methods, the last first; return what each of them returned, in the order of the objects."""
        if hasattr(output, "__dict__"):
            output.g = dout
        if self.methods[0].gives_gradients:
            return [self._calls[0][1]]
        results: list[Any] = []
        self._between = {}
        for i in reversed(range(len(self.methods))):
            module, method, roles = self.code["modules"][i], self.methods[i], self._roles[i]
            inputs = self._inputs if i == 0 else [self._calls[i - 1][0]]
            available = self._available(i, inputs, dout, values)
            for name in method.also:
                called(getattr(module, name), roles, available)
            result = called(method.backward_of(module), roles, available)
            if STORE in roles.values():
                result = (result, available[STORE])
            results.insert(0, result)
            dout = result[0] if isinstance(result, tuple) and result else result
            if dout is None:
                dout = kept_gradient(vars(module) if hasattr(module, "__dict__") else {}, inputs[0])
            if i:
                self._between[gradient_key(self.input_name(i))] = np.array(dout) if is_number_array(dout) else None
        return results

    def _available(self, i: int, inputs: list[Any], dout: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        module, method = self.code["modules"][i], self.methods[i]
        names = argument_names(method.forward_of(module), len(inputs))
        by_name = dict(zip(names, inputs, strict=True))
        target = next((v for n, v in by_name.items() if method.judges and role(n) == TARGET), values.get("Y"))
        predicted: Any = next((v for n, v in by_name.items() if role(n) != TARGET), None)
        output, cache = self._calls[i]
        if method.judges and TARGET in self._roles[i].values():  # backward(predicted, target)
            own: Any = getattr(module, "output", None)
            dout = own if own is not output and np.shape(own) == np.shape(predicted) else predicted
            output = predicted
        known = {UPSTREAM: dout, TARGET: target, INPUT: predicted, OUTPUT: output, TIMES: 1, MODE: True}
        known |= {RATE: self.lr if self.lr is not None else USUAL_RATE, PAIRS: [(predicted, target)], STORE: {}}
        known |= {ARGUMENTS: inputs if method.judges else [dout], COUNT: len(predicted) if np.ndim(predicted) else 1}
        return {**known, **({CACHE: cache} if cache is not None else {}), **by_name}

    def backward(self, cache: Any, output: Any, values: Mapping[str, Any]) -> Any:
        """Return the gradients as the objects give them: returned, in attributes, or from what the update changed."""
        dout = self.dout(output, values) if self.upstream is None else self.upstream
        self.handed = handed = mapped(dout, lambda _, x: np.array(x) if np.ndim(x) else float(x))
        untouched = named_leaves(dout)
        old = {n: np.array(v) for n, v in self.attributes().items() if n in self.found.rates}
        results = self.run_backward(output, handed, values)
        self.dout_changed = any(not np.array_equal(x, untouched[n]) for n, x in named_leaves(handed).items())
        after = self.attributes()
        grads = self._gradients_of_inputs(results[0], after) if self._returns_inputs() else {}
        for name, key in self.found.attributes.items():
            found = value_of_gradient(after, key)
            grads[gradient_key(name)] = None if found is None else np.array(found)
        for name, found in self.returned(results).items():
            if name in self.found.returned:
                grads[gradient_key(name)] = None if found is None else np.array(found)
        grads = {**self._between, **grads}
        if self.code["upstream"] is not None:
            grads["dout"] = np.array(dout)
        for name, rate in self.found.rates.items():
            grads[gradient_key(name)] = (old[name] - after[name]) / rate
        known = {*self.found.attributes, *self.found.returned}
        changed = {n for n in known if not np.array_equal(after[n], values[n], equal_nan=True)}
        self.updated = tuple(n for n in values if n in self.found.rates or n in changed)
        return grads

    def returned(self, results: Sequence[Any]) -> dict[str, Any]:
        """Return the gradients of parameters among what the backward methods returned."""
        found: dict[str, Any] = {}
        for i, result in enumerate(results):
            prefix = self.prefix(i) + "." if self.prefix(i) else ""
            named = {n: s for n, s in self.found.candidates.items() if n.startswith(prefix)}
            several = isinstance(result, tuple | list | Mapping)
            network = self._is_network(i)
            inputs = [] if network else [n for n in self.names if n not in self._targets][: None if i == 0 else 1]
            grads = returned_gradients(result, inputs, named) if several or network else {}
            found.update({n: g for n, g in grads.items() if n in named and n not in inputs})
        return found

    def _is_network(self, i: int) -> bool:
        """Whether backward starts from the targets, and gives the gradients of the parameters."""
        targets = {TARGET, PAIRS} & set(self._roles[i].values())
        trained = not self.methods[i].judges and holds_arrays(self.handed_over["modules"][i])
        return self.methods[i].gives_gradients or (bool(targets) and trained)

    def _returns_inputs(self) -> bool:
        return not self._is_network(0)

    def _gradients_of_inputs(self, result: Any, after: Mapping[str, Any]) -> dict[str, Any]:
        inputs = {n: x for n, x in zip(self.names, self._inputs, strict=True) if n not in self._targets}
        return gradients_of_inputs(result, list(inputs), list(inputs.values()), after)

    def gradients_by_key(self, grads: Any) -> dict[str, Any]:
        """Return the gradients by key."""
        return dict(grads)

    # -- what only numbers tell ----------------------------------------------------------------------------------------

    def _fit(self) -> None:
        """Find a learning rate that is written in the code, and whether a loss of each example is added or averaged."""
        if unknown := self.found.without_rate:
            self.found.rates.update(dict.fromkeys(unknown, fitted_rate(self, unknown)))
        if self.code["loss"] is None and self.methods[-1].judges and self._returns_inputs():
            shape = np.shape(self.copied().forward(dict(self.values))[0])
            ratio = fitted_rate(self, self.exact[:1]) if shape else 1.0
            for of, count in (("examples", shape[0] if shape else 1), ("elements", int(np.prod(shape)))):
                if count > 1 and not self._averaged and abs(ratio * count - 1) < 1e-3:
                    self._averaged = of

    def with_small_rate(self) -> Self:
        """Return the same with so small a learning rate that updates change next to nothing."""
        twin = copy.copy(self)
        twin.lr, twin._slow = SMALL_RATE, True
        twin._roles = twin._roles_of_backward()
        twin.found = dataclasses.replace(self.found, rates=dict.fromkeys(self.found.rates, SMALL_RATE))
        return twin

    def passed_rate(self) -> float | None:
        """Return the learning rate that backward is called with, None if it takes none."""
        each = zip(self.methods, self.handed_over["modules"], self._roles, strict=True)
        rates = [method.learning_rate(module, roles, USUAL_RATE) for method, module, roles in each]
        return next((rate for rate in rates if rate is not None), None)
