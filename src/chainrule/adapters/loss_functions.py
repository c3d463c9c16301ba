"""One function that computes a loss and its gradients: ``loss, grads = f(params, X, y)``, ``cost, dW, db = f(…)``.

What the function computes on the way is known by the names of its variables, which are read when it returns.
"""

from __future__ import annotations

import copy
import dis
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .backward_pass import BackwardPass, Point
from .containers import Arguments, as_arrays, as_kind_of, is_float_array, mapped, named_leaves
from .drawn_arguments import number_named
from .recorded_run import AuditError, target_of
from .recording import Traced
from .signatures import argument_names, signature_text

#: Names of variables that hold the loss.
LOSSES = ("loss", "cost", "J", "total_loss", "data_loss", "error", "L", "E", "obj", "objective", "nll", "mse")


class LossFunction(BackwardPass):
    """``f(*args, **options)``, which returns the loss and the gradients of its arguments, or of what it reads outside.

    Parameters
    ----------
    f : callable
        A function or a method; it returns a number and arrays, or dicts and lists of arrays.
    args, options
        What it is called with.
    cost : callable, optional
        A function of the same arguments that returns the loss, where `f` returns the gradients only.
    """

    def __init__(self, f: Any, args: Sequence[Any], options: Mapping[str, Any], cost: Any = None) -> None:
        super().__init__(function=f, cost=cost)
        self._options = dict(options)
        self.names = argument_names(f, len(args))
        self._take(dict(zip(self.names, args, strict=True)))
        self._within: dict[str, tuple[str, str]] = {}  # value outside the arguments -> name of its owner, its leaf
        self._variables: set[str] = set()  # variables that the loss is computed from
        self.signals: set[str] = set()  # variables that hold their gradients
        self.title = f"Audit of {getattr(f, '__name__', type(f).__name__)}"
        self._understand()

    def _take(self, parts: Mapping[str, Any]) -> None:
        containers = [n for n, x in parts.items() if isinstance(x, Mapping) and named_leaves(x)]
        self._arguments = Arguments(parts, containers[0] if len(containers) == 1 else None)
        self.values = self._arguments.leaves()

    def describe(self) -> str:
        """Return how the code was understood, in a line."""
        cost, names = self.handed_over["cost"], ", ".join(self.exact)
        text = f"function {signature_text(self.handed_over['function'])}"
        if cost is None:
            text += f"; returns the loss, gradients of {names}"
        else:
            text += f"; gradients of {names}, as returned; loss {signature_text(cost)}"
        if outside := [n for n in self.exact if n in self._within]:
            text += f"; reads {', '.join(outside)} from outside its arguments"
        return text + (f"; variables {', '.join(sorted(self.signals))}" if self.signals else "")

    # -- what the function returns and reads ---------------------------------------------------------------------------

    def _understand(self) -> None:
        """Run the function once; find the gradients that it returns, and the variables on the way to the loss."""
        if numbers := self._numbers_with_gradients():
            parts = {n: self._arguments.part(n, self.values) for n in self.names}
            self._take({n: np.asarray(x) if n in numbers else x for n, x in parts.items()})
        places = self._places()
        outside = {n: np.array(v) for n, v in places.items() if n not in self.values}
        self._within = {n: self._within[n] for n in outside}
        everything = {**outside, **self.values}
        self.values = {**self.values, **outside}
        found = [
            n
            for key in self._keys(everything)
            if (n := target_of(key, everything)) is not None and is_float_array(everything[n])
        ]
        roots = {_root(n) for n in found if _root(n) != n}
        several = self._arguments_of(found)
        wanted = [n for n, v in everything.items() if is_float_array(v)]
        self.exact = tuple(n for n in wanted if n in found or _root(n) in roots or n in several)
        self._within = {n: p for n, p in self._within.items() if n in self.exact}
        self.values = {n: v for n, v in everything.items() if n in self._within or n not in outside}
        self._find_variables()

    def _keys(self, values: Mapping[str, Any]) -> list[str]:
        """Return the keys of the gradients that the function returns."""
        twin = self.copied()
        try:
            with np.errstate(all="ignore"):
                output, cache = twin.forward(values)
                return list(twin.gradients_by_key(twin.backward(cache, output, values)))
        except AuditError:
            raise
        except Exception as error:
            raise AuditError(f"the function fails on the data given: {type(error).__name__}: {error}") from error

    def _numbers_with_gradients(self) -> set[str]:
        """Return the arguments that are plain numbers and have a gradient, by name or in the order of the arguments."""
        keys = self._keys(self.values)
        names = {target_of(key, self.values) for key in keys}
        for i, (key, name) in enumerate(zip(keys, self.names, strict=False)):
            if key == f"returned value {i + 1}" and number_named(name) is None:  # no setting, such as a penalty
                names.add(name)
            elif key != f"d{name}":
                break
        return {n for n in self.names if n in names and isinstance(self.values.get(n), float)}

    def _arguments_of(self, found: Sequence[str]) -> set[str]:
        """Return all leaves of arguments that are containers and have gradients among `found`."""
        leaves = [set(self._arguments.leaves(n)) for n in self.names]
        return {n for names in leaves if len(names) > 1 and names & set(found) for n in names}

    def _places(self) -> dict[str, Any]:
        """Return arrays that the function may read outside its arguments, by name; remember where they are."""
        found: dict[str, Any] = {}
        for owner, space in _owners(self.code["function"]).items():
            for key, value in space.items():
                unnamed = isinstance(value, Mapping)
                for name, array in named_leaves(as_arrays(value), "" if unnamed else key).items():
                    if is_float_array(array) and name not in found:
                        found[name] = array
                        self._within[name] = owner, key
        return found

    def _find_variables(self) -> None:
        try:
            point = self.copied(recording=True).recorded_variables()
        except Exception:  # whatever the user's code raises when it gets stand-ins for arrays
            return
        reached = {id(n) for n in point.order}
        once = _bound_once(self.handed_over["function"])
        on_the_way = {n: t for n, t in point.nodes.items() if id(t) in reached and t.inputs and n in once}
        variables = self._variables = {n for n, t in on_the_way.items() if t.size > 1}
        names = dict.fromkeys(variables)
        signals = {n for n in once if n not in self.values and n not in on_the_way and n not in point.rewritten}
        self.signals = {n for n in signals if target_of(n, names) not in (None, n)}

    def recorded_variables(self) -> Point:
        """Record the function with all its variables; those that were written into are in `rewritten`."""
        self._all = True
        point = Point("your data", self.values)
        self._record(point)
        point.rewritten = {n for n, a in self._last.items() if isinstance(a, Traced) and a.versions}
        return point

    # -- the passes ----------------------------------------------------------------------------------------------------

    _all = False
    _last: Mapping[str, Any] = {}

    def forward(self, values: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return (loss, what the function returned with its variables)."""
        function = self.code["function"]
        self._put(function, values)
        args = [copy.copy(p) if isinstance(p, Traced) else p for p in self._arguments.parts(values)]
        cost = self.code["cost"]
        known = None if cost is None else cost(*self._arguments.parts(values))
        result, variables = with_variables(function, *args, **copy.deepcopy(self._options))
        self._last = variables
        if cost is None:
            loss, rest = _parted(result, variables)
        else:
            loss, rest = known, list(result) if isinstance(result, tuple) else [result]
        return loss, {"gradients": rest, "variables": variables}

    def _put(self, function: Any, values: Mapping[str, Any]) -> None:
        for owner, space in _owners(function).items():
            for key in {k for n, (o, k) in self._within.items() if o == owner}:
                prefix = "" if isinstance(space[key], Mapping) else key
                target = getattr(function, "__self__", None) if owner == "object" else None
                new = mapped(as_arrays(space[key]), lambda n, old: as_kind_of(old, values.get(n, old)), prefix)
                if target is not None:
                    setattr(target, key, new)
                else:
                    _plain_function(function).__globals__[key] = new

    def loss_of(self, output: Any, values: Mapping[str, Any]) -> Any:
        """Return the loss."""
        return output

    def extra_names(self, output: Any, cache: Any) -> dict[str, Any]:
        """Return values to be named, beyond the inputs."""
        variables = cache["variables"]
        return {n: v for n, v in variables.items() if self._all or n in self._variables}

    def backward(self, cache: Any, output: Any, values: Mapping[str, Any]) -> Any:
        """Return the gradients as the caller's function gives them."""
        return cache

    def making_call(self, values: Mapping[str, Any]) -> Callable[[], Any]:
        """Return a call that makes the gradients: the function computes them with the loss."""
        return lambda: self.forward(values)

    def gradients_by_key(self, grads: Any) -> dict[str, Any]:
        """Return the gradients by key: that of a dict, the variable's name, or by position among equal shapes."""
        variables = grads["variables"]
        found: dict[str, Any] = {}
        unnamed = []
        for part in grads["gradients"]:
            if isinstance(part, Mapping):
                found.update(named_leaves(part))
                continue
            for leaf in named_leaves(part).values():
                key = next((n for n, v in variables.items() if v is leaf and self._names_a_gradient(n)), None)
                if key is None:
                    unnamed.append(leaf)
                else:
                    found[key] = leaf
        if found:  # what has no name beside those that have one is something else: a state, an accuracy
            found.update({f"returned value {i + 1}": leaf for i, leaf in enumerate(unnamed)})
            unnamed = []
        free = {n: v for n, v in self.values.items() if is_float_array(v)}
        for i, leaf in enumerate(unnamed):
            alike = [n for n, v in free.items() if v.shape == np.shape(leaf)]
            alike += [n for n, v in free.items() if v.size == np.size(leaf) == 1]  # db as a number, b of shape (1,)
            found["d" + alike[0] if alike else f"returned value {i + 1}"] = leaf
            if alike:
                del free[alike[0]]
        return {**{n: variables[n] for n in self.signals if n in variables}, **found}

    def _names_a_gradient(self, key: str) -> bool:
        return target_of(key, self.values) not in (None, key)


def with_variables(function: Any, *args: Any, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Call a function; return its result, and its local variables as they are when it returns."""
    code = getattr(_plain_function(function), "__code__", None)
    found: dict[str, Any] = {}

    def watch(frame: types.FrameType, event: str, arg: Any) -> None:
        if event == "return" and frame.f_code is code:
            found.update(frame.f_locals)

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        result = function(*args, **options)
    finally:
        sys.setprofile(before)
    return result, {n: v for n, v in found.items() if isinstance(v, Traced | np.ndarray | np.number | float)}


def _plain_function(f: Any) -> Any:
    while not isinstance(f, types.FunctionType):
        inner = getattr(f, "__func__", None) or getattr(f, "func", None) or getattr(f, "__wrapped__", None)
        if inner is None:
            return f
        f = inner
    return f


def _owners(f: Any) -> dict[str, dict[str, Any]]:
    """Return what a function reads outside its arguments: attributes of its object, globals."""
    function = _plain_function(f)
    found: dict[str, dict[str, Any]] = {}
    if isinstance(f, types.MethodType) and hasattr(f.__self__, "__dict__"):
        found["object"] = dict(vars(f.__self__))
    if isinstance(function, types.FunctionType):
        space = function.__globals__
        found["globals"] = {n: space[n] for n in function.__code__.co_names if n in space and _holds_arrays(space[n])}
    return found


def _holds_arrays(x: Any) -> bool:
    return isinstance(x, np.ndarray | dict | list) and any(map(is_float_array, named_leaves(as_arrays(x)).values()))


def _bound_once(f: Any) -> set[str]:
    """Return the variables of a function that one statement outside loops assigns."""
    code = getattr(_plain_function(f), "__code__", None)
    if code is None:
        return set()
    steps = list(dis.get_instructions(code))
    loops = [(s.argval, s.offset) for s in steps if "JUMP_BACKWARD" in s.opname]
    stores = [(name, s.offset) for s in steps for name in _stored(s)]
    names = [name for name, _ in stores]
    looped = {name for name, at in stores if any(first <= at <= last for first, last in loops)}
    return {n for n in names if names.count(n) == 1 and n not in looped}


def _stored(step: dis.Instruction) -> tuple[str, ...]:
    """Return the variables that an instruction assigns; some assign one and read another."""
    if not step.opname.startswith(("STORE_FAST", "STORE_DEREF")):
        return ()
    several = step.argval if isinstance(step.argval, tuple) else (step.argval,)
    return several[:1] if "LOAD" in step.opname else several


def _parted(result: Any, variables: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    """Return the loss, and the other parts of what the function returned."""
    parts = list(result) if isinstance(result, tuple | list) else [result]
    numbers = [
        i for i, x in enumerate(parts) if isinstance(x, Traced | np.ndarray | np.generic | float) and np.size(x) == 1
    ]
    if not numbers or len(parts) < 2:
        raise AuditError(
            f"the function returned a {type(result).__name__}; expected the loss, a number, and the gradients: "
            "(loss, grads) or (loss, dW, db)"
        )
    named = {id(variables[n]): n for n in LOSSES if n in variables}
    first = next((i for i in numbers if id(parts[i]) in named), numbers[0])
    return parts[first], parts[:first] + parts[first + 1 :]


def _root(name: str) -> str:
    return name.partition("[")[0].partition(".")[0]
