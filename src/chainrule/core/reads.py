"""Which variables, attributes and containers a function reads, found in its code and in that of what it calls."""

from __future__ import annotations

import dis
import functools
import operator
import os
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from .tensor import Parameter, Tensor
from .trace import Holder

#: Containers with more entries are not looked into.
MOST_ENTRIES = 1000

_PLAIN = (int, float, complex, str, bytes, type(None), np.generic, np.dtype)
_METHODS = (types.FunctionType, staticmethod, classmethod, property, functools.cached_property)
_LIBRARIES = frozenset({"chainrule", "numpy", "scipy", *sys.stdlib_module_names} - {"__main__"})

#: Modules whose functions give another result at each call, and cannot be noticed by the state of a generator.
_CHANGEFUL = {
    "time": {"time", "time_ns", "monotonic", "perf_counter", "perf_counter_ns", "process_time", "localtime", "gmtime"},
    "datetime": {"now", "today", "utcnow"},
    "os": {"urandom"},
    "secrets": {"token_bytes", "randbelow", "randbits", "choice"},
    "uuid": {"uuid1", "uuid4"},
}
_UNSEEDED = {"default_rng", "RandomState", "SeedSequence", "PCG64", "Random", "SystemRandom"}

#: Returns the current values of a few variables; in C where it can be, since it is called with each call of a plan.
Reader: TypeAlias = Callable[[], Iterable[Any]]


class Code:
    """The names that a code object and those nested in it load.

    A name that is only counted up (``self.calls += 1``) is not read: it cannot influence the result.
    """

    def __init__(self, code: types.CodeType) -> None:
        self.globals: set[str] = set()
        self.attributes: set[str] = set()
        self.cells: set[str] = set()
        self.counted: set[str] = set()
        self.unseeded: set[str] = set()
        self.probed: set[str] = set()  # names that hasattr, getattr or globals() may be given
        self.texts: set[str] = set()
        self.valued: set[str] = set()  # names of what ``.value`` is asked of; "" for an expression
        loads: dict[tuple[str, str], int] = {}
        for one in _nested(code):
            instructions = [i for i in dis.get_instructions(one) if i.opname not in ("PUSH_NULL", "PRECALL", "CACHE")]
            for k, i in enumerate(instructions):
                kind, _, what = i.opname.partition("_")
                what = {"METHOD": "ATTR", "NAME": "GLOBAL", "CLASSDEREF": "DEREF", "CLOSURE": "DEREF"}.get(what, what)
                if kind == "LOAD" and what in ("GLOBAL", "ATTR", "DEREF"):
                    loads[what, i.argval] = loads.get((what, i.argval), 0) + 1
                    if (what, i.argval) == ("ATTR", "value"):
                        self.valued.add(_loaded(instructions[k - 1]))
                    following = instructions[k + 1] if k + 1 < len(instructions) else i
                    if i.argval in _UNSEEDED and following.opname == "CALL" and following.argval == 0:
                        self.unseeded.add(i.argval)
                elif kind == "STORE" and what in ("GLOBAL", "ATTR", "DEREF"):
                    before = [j for j in instructions[max(k - 4, 0) : k] if j.opname not in ("SWAP", "LOAD_FAST")]
                    if before and before[-1].opname == "BINARY_OP" and before[-1].argrepr.endswith("="):
                        loads[what, i.argval] = loads.get((what, i.argval), 0) - 1
        for what, found in (("GLOBAL", self.globals), ("ATTR", self.attributes), ("DEREF", self.cells)):
            found |= {name for (kind, name), count in loads.items() if kind == what and count > 0}
        self.counted = {name for (kind, name), count in loads.items() if kind == "ATTR" and count <= 0}
        self.texts = {c for one in _nested(code) for c in one.co_consts if isinstance(c, str)}
        if self.globals & {"hasattr", "getattr", "globals"}:
            self.probed = {text for text in self.texts if text.isidentifier()}
        self.environment = bool({"environ", "getenv"} & (self.globals | self.attributes | self.cells))


@functools.lru_cache(1024)
def _code(code: types.CodeType) -> Code:
    """Return the names in a code object, which is read again for each signature of a compiled function."""
    return Code(code)


def _loaded(instruction: dis.Instruction) -> str:
    """Return the name that an instruction loads, "" if it does not load a variable or an attribute."""
    is_name = instruction.opname.startswith("LOAD_") and "FAST" not in instruction.opname
    return instruction.argval if is_name and isinstance(instruction.argval, str) else ""


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    stack = [code]
    while stack:
        one = stack.pop()
        yield one
        stack += [c for c in one.co_consts if isinstance(c, types.CodeType)]


class Reads:
    """What `functions` read, as `bindings`: names, a function that returns the values, whether these are entries."""

    def __init__(self, functions: Iterable[Any]) -> None:
        self.bindings: list[tuple[tuple[str, ...], Reader, bool]] = []
        self.generators: list[tuple[str, Any]] = []
        self.notes: list[str] = []  # calls whose results differ from call to call
        self.parameters: list[Parameter] = []  # those whose ``.value`` may be read
        self._parameters: list[tuple[str, Parameter]] = []
        self._valued: set[str] = set()
        self._names: set[str] = set()
        self._counted: set[str] = set()
        self._probed: set[str] = set()
        self._seen: dict[int, Any] = {}
        self._objects: list[tuple[str, Any]] = []
        self._attributes: dict[int, set[str]] = {}  # of objects: those that are guarded already
        self._functions: list[types.FunctionType] = []
        for f in functions:
            self._value(f, "")
        while self._look_at_attributes():
            pass
        self._definitions()
        known = {name.rpartition(".")[2] for names, _, _ in self.bindings for name in names} - {""}
        others = bool(self._valued - known)  # of an expression, or a local variable: it may be any
        self.parameters = [p for name, p in self._parameters if others or name in self._valued]

    def _value(self, x: Any, where: str) -> None:
        if isinstance(x, _PLAIN) or id(x) in self._seen:
            return
        self._seen[id(x)] = x
        if isinstance(x, types.FunctionType):
            self._function(x)
        elif isinstance(x, types.MethodType):
            self._value(x.__self__, where or "self")
            self._value(x.__func__, where)
        elif isinstance(x, functools.partial):
            self._value(x.func, where)
            self._fixed((*x.args, *x.keywords.values()), where or "an argument of the partial function")
        elif _is_generator(x):
            self.generators.append((where or "a generator", x))
        elif isinstance(x, dict):
            self._container(tuple(x), list(x.values()), (x.keys, x.values), where)
        elif isinstance(x, list | tuple | set | frozenset):
            self._container(tuple(range(len(x))), list(x), (functools.partial(tuple, x),), where)
        elif isinstance(x, Parameter):
            self._parameters.append((where.rpartition(".")[2], x))
        elif not isinstance(x, np.ndarray | Tensor | types.BuiltinFunctionType | np.ufunc):
            self._objects.append((where or type(x).__name__, x))
            self._value(getattr(x, "__wrapped__", None), where)

    def _function(self, f: types.FunctionType) -> None:
        # where it was written: functools.wraps gives a function of a library the __module__ of the one it calls
        code = None if _of_a_library(f.__globals__.get("__name__")) else _code(f.__code__)
        cells = dict(zip(f.__code__.co_freevars, f.__closure__ or (), strict=True))
        filled = {n: c for n, c in cells.items() if _filled(c) and (code is None or n in code.cells)}
        if filled:
            contents = functools.partial(map, operator.attrgetter("cell_contents"), tuple(filled.values()))
            self._variables(tuple(filled), contents)
        self._fixed((*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()), f"a default of {f.__name__}")
        if code is None:
            return
        self._functions.append(f)
        self._names |= code.attributes | code.probed
        self._probed |= code.probed
        self._counted |= code.counted
        self._valued |= code.valued
        # also names that are not there, or of builtins: they may be defined later
        wanted = code.globals | (code.probed if "globals" in code.globals else set())
        names = tuple(sorted(n for n in wanted if _guarded(f.__globals__.get(n))))
        if names:
            self._variables(names, _found(f.__globals__, names))
        if code.environment:
            self._environment(tuple(sorted(code.texts)))
        for name in code.globals:
            self._note(f.__globals__.get(name), code.attributes, name)
        self.notes += [f"{name}() without a seed" for name in sorted(code.unseeded)]

    def _definitions(self) -> None:
        """Guard the code and the defaults of functions, which IPython's autoreload replaces."""
        for attribute in ("__code__", "__defaults__", "__kwdefaults__"):
            if having := [f for f in self._functions if getattr(f, attribute) is not None]:
                names = tuple([f"{f.__name__}.{attribute}" for f in having])
                self.bindings.append((names, functools.partial(map, operator.attrgetter(attribute), having), False))

    def _note(self, x: Any, attributes: set[str], name: str) -> None:
        """Note a call of a function that gives another result each time."""
        module = x.__name__ if isinstance(x, types.ModuleType) else getattr(x, "__module__", None)
        used = _CHANGEFUL.get(str(module), set()) & (
            attributes if not isinstance(x, types.BuiltinFunctionType) else {name}
        )
        self.notes += [f"{module}.{n}" for n in sorted(used)]

    def _environment(self, names: tuple[str, ...]) -> None:
        """Guard the environment variables that code may ask for: those that it names, or all of them."""
        if any(n in os.environ or n.isupper() for n in names):
            get: Reader = functools.partial(map, os.environ.get, names)
            self.bindings.append((tuple([f"os.environ[{n!r}]" for n in names]), get, False))
        else:
            self.bindings.append((("os.environ",), lambda: (repr(sorted(os.environ.items())),), False))

    def _variables(self, names: tuple[str, ...], get: Reader, within: str = "") -> None:
        self.bindings.append((tuple([within + n for n in names]), get, False))
        for name, value in zip(names, get(), strict=True):
            self._value(value, within + name)

    def _fixed(self, values: tuple[Any, ...], where: str) -> None:
        """Guard the contents of values that are never replaced."""
        if any(not isinstance(v, _PLAIN) for v in values):
            self._variables((where,) * len(values), functools.partial(tuple, values))

    def _container(self, keys: tuple[Any, ...], values: list[Any], readers: tuple[Reader, ...], where: str) -> None:
        """Guard the entries of a container, unless it is a large one."""
        if len(keys) > MOST_ENTRIES:
            return
        names = tuple([f"{where}[{k!r}]" for k in keys])
        self.bindings += [(names or (where,), get, True) for get in readers]
        for name, value in zip(names, values, strict=True):
            self._value(value, name)

    def _look_at_attributes(self) -> bool:
        """Guard the attributes, of all objects found, that code refers to; return whether there were new ones."""
        before = len(self.bindings), len(self._objects), len(self._names)
        for where, x in list(self._objects):
            done = self._attributes.setdefault(id(x), set())
            self._methods(x, where, done)
            self._guard_missing(where, x, done)
            new = tuple(sorted(n for n in _attributes(x, self._names) if n not in done | (self._counted - self._names)))
            if new:
                done.update(new)
                in_space = set(new) <= getattr(x, "__dict__", {}).keys()
                get: Reader = _items(x.__dict__, new) if in_space else functools.partial(_attributes_of, x, new)
                self.bindings.append((tuple([f"{where}.{n}" for n in new]), get, False))
                for name, value in zip(new, get(), strict=True):
                    if not _is_own(x) or isinstance(value, Holder | Parameter | list | tuple | np.ndarray):
                        self._value(value, f"{where}.{name}")
        return before != (len(self.bindings), len(self._objects), len(self._names))

    def _guard_missing(self, where: str, x: Any, done: set[str]) -> None:
        """Guard that attributes which code asks for with hasattr or getattr are not there."""
        space = getattr(x, "__dict__", None)
        if not isinstance(space, dict):
            return
        self._absent(where, space, {n for n in self._probed - space.keys() if not hasattr(type(x), n)}, done)

    def _absent(self, where: str, space: Mapping[str, Any], names: set[str], done: set[str]) -> None:
        """Guard that names are not in a namespace."""
        if missing := tuple(sorted(names - done)):
            done.update(missing)
            self.bindings.append((tuple([f"{where}.{n}" for n in missing]), _found(space, missing), False))

    def _methods(self, x: Any, where: str, done: set[str]) -> None:
        """Read the code of the methods that are called, or that operators call; guard that no others replace them."""
        kinds = [k for k in (x if isinstance(x, type) else type(x)).__mro__ if not _of_a_library(k.__module__)]
        methods = {"forward": None} if isinstance(x, Holder) else {}
        for kind in kinds:
            for name, member in vars(kind).items():
                function = getattr(member, "__func__", getattr(member, "fget", member))
                special = name.startswith("__") or isinstance(x, Holder)
                if isinstance(function, types.FunctionType) and (special or name in self._names):
                    methods[name] = None
                    self._value(function, name)
        for kind in kinds:
            self._absent(kind.__name__, vars(kind), {*methods}, self._attributes.setdefault(id(kind), set()))
        space = getattr(x, "__dict__", None)
        if isinstance(space, dict):
            self._absent(where, space, {n for n in methods if n not in space and not n.startswith("__")}, done)


def _found(space: Mapping[str, Any], names: tuple[str, ...]) -> Reader:
    """Return a fast function that looks `names` up, some of which are not there."""
    return _items(space, names) if space.keys() >= {*names} else functools.partial(map, space.get, names)


def _items(space: Mapping[str, Any], names: tuple[str, ...]) -> Reader:
    """Return a fast function that looks `names` up."""
    if len(names) == 1:
        return functools.partial(map, space.__getitem__, names)
    return functools.partial(operator.itemgetter(*names), space)


def _attributes_of(x: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple([getattr(x, n) for n in names])


def _is_generator(x: Any) -> bool:
    import random  # with np.random takes longer to import than most of this library

    return isinstance(x, np.random.Generator | np.random.RandomState | random.Random)


def _filled(cell: types.CellType) -> bool:
    try:
        return _guarded(cell.cell_contents)
    except ValueError:  # assigned later
        return False


def _guarded(x: Any) -> bool:
    """Whether a variable that holds `x` is worth a guard; nobody replaces imported modules."""
    return not isinstance(x, types.ModuleType) or not _of_a_library(x.__name__)


def _attributes(x: Any, names: set[str]) -> Iterator[str]:
    """Yield the attributes of an object that are guarded: those in `names`; of our own objects, all settings."""
    space = getattr(x, "__dict__", {})
    for kind in type(x).__mro__:
        if not _of_a_library(kind.__module__):
            data = {n for n in names & vars(kind).keys() if not isinstance(vars(kind)[n], _METHODS)}
            yield from (n for n in data - space.keys() if hasattr(x, n))
    buffers: Any = {*x._buffers, *x._unread} if isinstance(x, Holder) else ()
    own = isinstance(x, Holder) or _is_own(x)
    for name, value in space.items():
        if name not in buffers and _guarded(value) and (name in names or (own and _is_setting(x, name, value))):
            yield name


def _is_own(x: Any) -> bool:
    return type(x).__module__.startswith("chainrule.")


def _is_setting(x: Any, name: str, value: Any) -> bool:
    return not name.startswith("_") or (isinstance(x, Holder) and not isinstance(value, dict))


def _of_a_library(module: str | None) -> bool:
    """Whether a module is Python's, NumPy's, ours or installed: its code is not read."""
    top = (module or "").partition(".")[0]
    if top in _LIBRARIES:
        return True
    path = str(getattr(sys.modules.get(top), "__file__", None) or "")
    return "site-packages" in path or "dist-packages" in path
