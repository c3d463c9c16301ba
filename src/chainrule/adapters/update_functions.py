"""Updates of optimisers as they are written: functions and objects, in place or returning, with a state or without.

How an update wants to be called is seen from the names of its arguments; where these leave a choice (an array, a dict,
a list; gradients under "W" or "dW"; state as a dict or as arrays of zeros), the first that works is taken.
"""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..core.op import Array
from .code_copies import CodeCopies
from .recorded_run import AuditError
from .settings_names import COUNTERS, SETTINGS, setting_of

#: Methods that make a step, in the order in which they are looked for.
_METHODS = "update step update_params update_parameters apply apply_gradients optimize get_update __call__".split()
_STATES = set("s state states config cache opt_state memory history cfg conf st opt store d".split())
_NAMES = set("param_name name key layer layer_name idx index".split())
_GRADIENT_FIRST = ("g", "grad", "grads", "gradient", "gradients", "dw", "dx", "dp")
_MANY = ("params", "parameters", "weights", "variables", "thetas", "ws", "p_list", "theta_dict")
_OBJECT_PARAMETERS = ("params", "parameters", "param_list", "weights", "variables")
_VALUES, _GRADIENTS = ("data", "value", "val", "w", "array"), ("grad", "g", "gradient", "d", "dw")


@dataclass
class UpdateRun:
    """What the steps of an update have made of the parameters.

    Attributes
    ----------
    parameters : list of dict
        By name, before the first step and after each.
    read_as : str
    settings : dict
        Hyperparameters that were found on the object, in its config or among its defaults.
    changed_gradients : bool
        Whether the update has written into the gradients.
    drawn : list of dict
        The gradients, where those given did not fit the parameters that the object holds.
    """

    parameters: list[dict[str, Array]]
    read_as: str
    settings: dict[str, float] = field(default_factory=dict)
    changed_gradients: bool = False
    drawn: list[dict[str, Array]] = field(default_factory=list)


@dataclass(frozen=True)
class _Layout:
    """How parameters and gradients are handed over: name, what becomes of a dict of arrays, and back."""

    name: str
    parameters: Callable[[dict[str, Array]], Any]
    gradients: Callable[[dict[str, Array]], Any]
    back: Callable[[Any, list[str]], dict[str, Any]]


def _only(arrays: dict[str, Array]) -> Any:
    return next(iter(arrays.values()))


def _listed(found: Any, names: list[str]) -> dict[str, Any]:
    if not isinstance(found, list | tuple):
        raise TypeError("no list of parameters was returned")
    return dict(zip(names, found, strict=True))


def _named(found: Any, names: list[str]) -> dict[str, Any]:
    return {n: found[n] for n in names}


def _prefixed(arrays: dict[str, Array]) -> Any:
    return {"d" + n: a for n, a in arrays.items()}


_ARRAY = _Layout("an array", _only, _only, lambda found, names: {names[0]: found})
_DICTS = (
    _Layout("a dict", dict, dict, _named),
    _Layout('a dict, gradients called "d" and the name', dict, _prefixed, _named),
)
_LIST = _Layout("a list", lambda a: list(a.values()), lambda a: list(a.values()), _listed)


def run_update(
    update: Any,
    start: Mapping[str, Array],
    gradients: Sequence[Mapping[str, Array]],
    settings: Mapping[str, float],
    config: Mapping[str, Any] | None,
    first_count: int = 1,
) -> UpdateRun:
    """Make the steps with a copy of the update, in the first way of calling it that works.

    Parameters
    ----------
    update
        A function, an object with a method that makes a step, or its class.
    start
        The parameters, by name.
    gradients
        Those of each step.
    settings
        Hyperparameters that the caller has given, handed over where the update has arguments for them.
    config
        The dict that the update keeps its settings and its state in.
    first_count
        The first value of a step count among the arguments.
    """
    unmoved: UpdateRun | None = None
    reasons: list[str] = []
    for attempt in _attempts(update, settings, config, first_count):
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                run = attempt(dict(start), gradients)
        except AuditError:
            raise
        except Exception as error:  # whatever a call in the wrong form raises
            reasons.append(f"{type(error).__name__}: {error}")
            continue
        if any(not np.array_equal(run.parameters[-1][n], start[n]) for n in start if n in run.parameters[-1]):
            return run
        unmoved = unmoved or run
    if unmoved is not None:
        return unmoved
    tried = "; ".join(dict.fromkeys(reasons[:4])) or "it has no method that makes a step"
    raise AuditError(
        f"update: no way of calling it was found ({tried}). Expected update(w, dw) or update(params, grads), "
        "followed by a state, settings or a step count, or an object with such a method; wrap yours in such a function"
    )


def takes_count(update: Any) -> bool:
    """Whether a step count is among the arguments."""
    method = update if inspect.isclass(update) else _method(update)
    return any(p.lower() in COUNTERS for p in inspect.signature(method).parameters) if method is not None else False


Attempt = Callable[[dict[str, Array], Sequence[Mapping[str, Array]]], UpdateRun]


def _attempts(update: Any, settings: Mapping[str, float], config: Any, first_count: int) -> Iterator[Attempt]:
    holder = _instance(update, settings) if inspect.isclass(update) else update
    method = _method(holder)
    if method is None:
        return
    names = [p.name for p in inspect.signature(method).parameters.values() if p.kind is not p.VAR_KEYWORD]
    if len(names) < 2 or names[0] in ("layer", "model"):
        yield lambda start, gradients: _run_held(holder, method.__name__, start, gradients)
        yield lambda start, gradients: _run_layer(holder, method.__name__, start, gradients)
        if len(names) < 2:
            return
    many = any(names[0].lower().endswith(m) for m in _MANY) or names[0].lower().endswith("s")
    layouts = [*_DICTS, _LIST, _ARRAY] if many else [_ARRAY, *_DICTS, _LIST]
    states = ("dict", "gradients", "parameters", "none") if config is None else ("config",)
    for layout, state in itertools.product(layouts, states):
        caller = _Caller(holder, layout, state, settings, config, first_count)
        yield caller.run


def _instance(kind: type, settings: Mapping[str, float]) -> Any:
    arguments = {}
    for p in inspect.signature(kind).parameters.values():
        known = setting_of(p.name, settings)
        if known is not None:
            arguments[p.name] = known
    try:
        return kind(**arguments)
    except TypeError as error:
        raise AuditError(f"update: {kind.__name__} needs more than its settings ({error}); pass an instance") from error


def _method(x: Any) -> Any:
    if inspect.isroutine(x) or not hasattr(type(x), "__mro__"):
        return x
    if hasattr(x, "func") and not isinstance(x, type):  # functools.partial
        return x
    return next((getattr(x, m) for m in _METHODS if hasattr(x, m)), None)


def _copied(x: Any) -> Any:
    return CodeCopies([x], np.random.get_state(), recording=False).of(x)


class _Caller:
    """Calls an update with the arguments that their names ask for."""

    def __init__(
        self, update: Any, layout: _Layout, state: str, settings: Mapping[str, float], config: Any, first_count: int
    ) -> None:
        self.update, self.layout, self.state_kind = _copied(update), layout, state
        self.call = _method(self.update)
        self.settings, self.config, self.first = settings, config, first_count
        self.states: dict[str, Any] = {}

    def run(self, start: dict[str, Array], gradients: Sequence[Mapping[str, Array]]) -> UpdateRun:
        """Make the steps."""
        if self.layout is _ARRAY and not self._takes_name():
            start = {n: start[n] for n in list(start)[:1]}
        held = {n: a.copy() for n, a in start.items()}
        rows, changed = [{n: a.copy() for n, a in held.items()}], False
        for n, given in enumerate(gradients):
            g = {name: given[name].copy() for name in start}
            if self.layout is _ARRAY:
                held = {k: self._step({k: held[k]}, {k: g[k]}, n, k)[k] for k in held}
            else:
                held = self._step(held, g, n, "")
            for name in start:
                if np.shape(held[name]) != start[name].shape:
                    raise ValueError(f"the parameter came back with shape {np.shape(held[name])}")
            changed = changed or any(not np.array_equal(g[k], given[k]) for k in g)
            rows.append({k: np.array(a, np.float64) for k, a in held.items()})
        return UpdateRun(rows, self._read_as(), found_settings(self.update, self.states), changed)

    def _takes_name(self) -> bool:
        return any(p in _NAMES for p in inspect.signature(self.call).parameters)

    def _step(self, held: dict[str, Array], g: dict[str, Array], n: int, name: str) -> dict[str, Any]:
        names = list(held)
        parameters, given = self.layout.parameters(held), self.layout.gradients(g)
        arguments, keywords = self._arguments(parameters, given, n, name)
        result = self.call(*arguments, **keywords)
        if result is None or (isinstance(result, tuple) and not result):
            return self.layout.back(parameters, names)
        if isinstance(result, tuple) and not (self.layout is _LIST and len(result) == len(names)):
            self._keep(result[1:], name)
            result = result[0]
        return self.layout.back(parameters if result is None else result, names)

    def _arguments(self, parameters: Any, given: Any, n: int, name: str) -> tuple[list[Any], dict[str, Any]]:
        wanted = list(inspect.signature(self.call).parameters.values())
        first, second = wanted[0].name.lower(), wanted[1].name.lower()
        pair = [parameters, given]
        if first.startswith(_GRADIENT_FIRST) and not second.startswith(_GRADIENT_FIRST):
            pair = [given, parameters]
        positional, keywords = pair, {}
        for p in wanted[2:]:
            if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                continue
            value = self._value(p, given, parameters, n, name)
            if value is p.empty:
                continue
            if p.kind is p.KEYWORD_ONLY:
                keywords[p.name] = value
            elif len(positional) == wanted.index(p):
                positional.append(value)
            else:
                keywords[p.name] = value
        return positional, keywords

    def _value(self, p: inspect.Parameter, given: Any, parameters: Any, n: int, name: str) -> Any:
        if p.name.lower() in COUNTERS:
            return self.first + n
        known = setting_of(p.name, self.settings)
        if known is not None:
            return known
        if p.default not in (p.empty, None):
            return p.empty
        if p.name in _NAMES:
            return name
        if p.name in SETTINGS and p.name not in _STATES:
            raise AuditError(f"update needs {p.name}; give {SETTINGS[p.name]}=…")
        key = f"{p.name} of {name}" if name else p.name
        if key not in self.states:
            self.states[key] = self._new_state(parameters, given)
        return self.states[key]

    def _new_state(self, parameters: Any, given: Any) -> Any:
        if self.state_kind == "config":
            return dict(self.config)
        if self.state_kind == "none":
            return None
        if self.state_kind == "dict":
            return {}
        like = given if self.state_kind == "gradients" else parameters
        if isinstance(like, dict):
            return {k: np.zeros_like(v) for k, v in like.items()}
        return [np.zeros_like(v) for v in like] if isinstance(like, list) else np.zeros_like(like)

    def _keep(self, returned: Iterable[Any], name: str) -> None:
        mine = [k for k in self.states if not name or k.endswith(f" of {name}")]
        for key, value in zip(mine, returned, strict=False):
            self.states[key] = value

    def _read_as(self) -> str:
        what = getattr(self.call, "__name__", "") or type(self.update).__name__
        if inspect.ismethod(self.call):
            what = f"{type(self.call.__self__).__name__}.{what}"
        states = (
            f"; state in {', '.join(dict.fromkeys(k.partition(' of ')[0] for k in self.states))}" if self.states else ""
        )
        return f"{what}, parameters as {self.layout.name}{states}"


# -- objects that hold their parameters --------------------------------------------------------------------------------


def _run_held(holder: Any, method: str, start: dict[str, Array], gradients: Sequence[Mapping[str, Array]]) -> UpdateRun:
    """Make steps of an object that was built with its parameters: ``step()``."""
    optimizer = _copied(holder)
    source = next((getattr(optimizer, n) for n in _OBJECT_PARAMETERS if hasattr(optimizer, n)), None)
    held = source() if callable(source) else source
    if held is None:
        raise TypeError(f"it has none of the attributes {', '.join(_OBJECT_PARAMETERS)}")
    keys = list(held) if isinstance(held, dict) else list(range(len(held)))
    grads = next((getattr(optimizer, n) for n in ("grads", "gradients", "dparams") if hasattr(optimizer, n)), None)
    names = [str(k) for k in keys]
    rng = np.random.default_rng(1)
    rows = [{n: _read(held[k]).copy() for n, k in zip(names, keys, strict=True)}]
    drawn = [{n: rng.normal(size=rows[0][n].shape) for n in names} for _ in gradients]
    for row in drawn:
        for n, k in zip(names, keys, strict=True):
            if isinstance(held[k], np.ndarray):
                if grads is None:
                    raise TypeError("it has no gradients")
                grads[k][...] = row[n]
            else:
                setattr(held[k], _name_of(held[k], _GRADIENTS), row[n].copy())
        getattr(optimizer, method)()
        rows.append({n: np.array(_read(held[k]), np.float64) for n, k in zip(names, keys, strict=True)})
    run = UpdateRun(rows, f"{type(optimizer).__name__}.{method}(), parameters it holds", found_settings(optimizer, {}))
    run.drawn = drawn
    return run


def _read(x: Any) -> Any:
    return x if isinstance(x, np.ndarray) else np.asarray(getattr(x, _name_of(x, _VALUES)))


def _name_of(x: Any, names: Iterable[str]) -> str:
    found = next((n for n in names if hasattr(x, n)), None)
    if found is None:
        raise TypeError(f"a parameter is a {type(x).__name__} without {' or '.join(names)}")
    return found


def _run_layer(
    holder: Any, method: str, start: dict[str, Array], gradients: Sequence[Mapping[str, Array]]
) -> UpdateRun:
    """Make steps of an object that updates a layer with ``weights``, ``biases``, ``dweights``, ``dbiases``."""
    optimizer = _copied(holder)
    if not hasattr(optimizer, method):
        raise TypeError("it takes no parameters")
    names = dict(zip(("weights", "biases"), start, strict=False))
    layer = SimpleNamespace(**{attribute: start[n].copy() for attribute, n in names.items()})
    rows = [dict(start)]
    for row in gradients:
        for attribute, n in names.items():
            setattr(layer, "d" + attribute, row[n].copy())
        for step in ("pre_update_params", method, "post_update_params"):
            if hasattr(optimizer, step):
                getattr(optimizer, step)(*([layer] if step == method else []))
        rows.append({n: np.array(getattr(layer, attribute), np.float64) for attribute, n in names.items()})
    read_as = f"{type(optimizer).__name__}.{method}(layer), the layer's weights and biases"
    return UpdateRun(rows, read_as, found_settings(optimizer, {}))


# -- hyperparameters ---------------------------------------------------------------------------------------------------


def found_settings(update: Any, states: Mapping[str, Any]) -> dict[str, float]:
    """Return the hyperparameters on an object, in its config or among defaults, by the names that they have there."""
    found: dict[str, float] = {}
    sources: list[Mapping[str, Any]] = [s for s in states.values() if isinstance(s, dict)]
    owner = getattr(update, "__self__", update)
    if not inspect.isroutine(owner):
        sources.append(vars(owner) if hasattr(owner, "__dict__") else {})
    sources += map(_defaults, _functions(update))
    for source in sources:
        for name, value in source.items():
            if name in ("betas", "beta") and isinstance(value, tuple | list) and len(value) == 2:
                found.setdefault("beta1", float(value[0]))
                found.setdefault("beta2", float(value[1]))
            elif name in SETTINGS and isinstance(value, int | float) and not isinstance(value, bool):
                found.setdefault(name, float(value))
    return found


def _functions(update: Any) -> list[Any]:
    """Return a function, and those in its closure."""
    f = getattr(update, "__func__", update)
    if not inspect.isfunction(f):
        return []
    cells = []
    for cell in f.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:
            continue
    return [f, *(c for c in [*cells, *(f.__defaults__ or ())] if inspect.isfunction(c))]


def _defaults(f: Any) -> dict[str, Any]:
    return {p.name: p.default for p in inspect.signature(f).parameters.values() if p.default is not p.empty}
