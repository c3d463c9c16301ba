"""Copies of the user's functions and objects, which run without touching the originals.

A copied function has the code of the original and a copy of its module's namespace, in which ``np`` is a stand-in: its
random numbers come from a private generator, and while a forward pass is recorded its new arrays record what is written
into them. Whatever the code changes (attributes, globals, lists, generators) it changes in the copies, so that neither
the user nor another thread sees anything of it, and every set of copies starts from the same state.

What cannot be copied (installed packages, compiled code, large data) is shared.
"""

from __future__ import annotations

import abc
import builtins
import collections
import copy
import enum
import functools
import math
import random
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import Any

import numpy as np

from .recording import MAKERS, Traced

#: Folders of what is installed: packages and the standard library.
_INSTALLED = ("site-packages", "dist-packages", PurePath(types.__file__).parent.name)
#: Packages that are never copied, wherever they are.
_SHARED = {"numpy", "scipy", "chainrule", "torch", "jax", *sys.builtin_module_names}
#: Larger arrays and containers are shared: they are data, and copying them for each run would take too long.
LARGEST_ARRAY = 1_000_000
LARGEST_CONTAINER = 10_000

_ATOMS = (type(None), bool, int, float, complex, str, bytes, np.generic, np.dtype, enum.Enum, types.CodeType)
#: Kinds of classes that are never copied: their memory layout or identity is special.
_SHARED_KINDS = (BaseException, enum.Enum, np.ndarray, tuple, list, dict, set, int, float, str, bytes)
#: Attributes of classes that each class has for itself, or that its copy is made with.
_NOT_COPIED = set(
    "__dict__ __weakref__ __slots__ __doc__ __module__ __qualname__ __abstractmethods__ _abc_impl".split()
)
_CONTAINERS = (list, dict, set, collections.deque)


class StandIn(types.ModuleType):
    """A module in the place of another, whose names are looked up when they are used."""

    def __init__(self, name: str, look_up: Callable[[str], Any]) -> None:
        super().__init__(name)
        self.__dict__["_look_up"] = look_up

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["_look_up"](name)


class _CopiedClass(type):
    """A copied class takes the instances of the original as its own, since some of them are not copied."""

    _original: type

    def __instancecheck__(cls, x: Any) -> bool:
        return type.__instancecheck__(cls, x) or isinstance(x, cls._original)


class _CopiedAbstractClass(_CopiedClass, abc.ABCMeta):
    """The same for classes with abstract methods."""


class CodeCopies:
    """One set of copies: what is one object in the original is one object here.

    Parameters
    ----------
    handed_over
        The user's functions and objects; their packages are copied even where they are installed.
    random_state
        State of NumPy's global generator (``np.random.get_state()``) in which the copies start.
    recording
        Whether arrays that the copies make record what is written into them.
    """

    def __init__(self, handed_over: Iterable[Any], random_state: Any, recording: bool) -> None:
        single = [y for x in handed_over for y in (x if isinstance(x, list) else [x])]
        self._packages = {_package(x) for x in single} - _SHARED
        self._is_own: dict[str, bool] = {}
        self._named: set[tuple[int, str]] = set()  # global names that are copied
        self._unfilled: list[Callable[[], None]] = []
        self._builtins = {**vars(builtins), "__import__": self._import}
        self._numbers, python_numbers = np.random.RandomState(0), random.Random(0)
        global_numbers: list[Any] = [np.random.rand, random.random]  # methods of the global generators
        self._numbers.set_state(random_state)
        python_numbers.setstate(random.getstate())
        replaced: list[tuple[Any, Any]] = [
            *zip((f.__self__ for f in global_numbers), (self._numbers, python_numbers), strict=True),
            (np.random.default_rng, self._default_rng),
            *((m, StandIn(m.__name__, functools.partial(self._attribute, m))) for m in (np, np.random, random)),
        ]
        if recording:
            replaced += [(getattr(np, name), maker) for name, maker in MAKERS.items()]
            replaced.append((math, StandIn("math", _of_math)))
        # the originals are kept, so that their ids stay taken
        self._copies: dict[int, tuple[Any, Any]] = {id(old): (old, new) for old, new in replaced}

    def of(self, x: Any) -> Any:
        """Return the copy of a function, an object, or a container of them."""
        new = self._copy(x)
        while self._unfilled:
            self._unfilled.pop()()
        return new

    # -- modules and random numbers ------------------------------------------------------------------------------------

    def _attribute(self, module: types.ModuleType, name: str) -> Any:
        return self.of(getattr(module, name))

    def _default_rng(self, seed: Any = None) -> np.random.Generator:
        """As in NumPy, but what is drawn without a seed is the same in each set of copies."""
        return np.random.default_rng(self._numbers.randint(2**31) if seed is None else seed)

    def _import(self, name: str, *scope: Any) -> Any:
        return self.of(builtins.__import__(name, *scope))

    # -- what is copied ------------------------------------------------------------------------------------------------

    def _copy(self, x: Any) -> Any:
        if isinstance(x, _ATOMS):
            return x
        known = self._copies.get(id(x))
        if known is None:
            known = x, self._made(x)
            self._copies[id(x)] = known
        return known[1]

    def _made(self, x: Any) -> Any:
        return next(make for kind, make in self._MAKE if isinstance(x, kind))(self, x)

    def _module(self, module: types.ModuleType) -> Any:
        if not self._owns(module.__name__, getattr(module, "__file__", None)):
            return module
        space = vars(module)

        def look_up(name: str) -> Any:
            if name not in space:
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            self._copy_names(space, (name,))
            return self.of(space[name])

        return StandIn(module.__name__, look_up)

    def _namespace(self, space: dict[str, Any]) -> dict[str, Any]:
        if id(space) not in self._copies:
            self._copies[id(space)] = space, {**space, "__builtins__": self._builtins}
        found: dict[str, Any] = self._copies[id(space)][1]
        return found

    def _copy_names(self, space: dict[str, Any], names: Iterable[str]) -> None:
        shadow = self._namespace(space)
        for name in names:
            if name in space and (id(space), name) not in self._named:
                self._named.add((id(space), name))
                shadow[name] = self._copy(space[name])

    def _function(self, f: types.FunctionType) -> Any:
        space = f.__globals__
        if not self._owns(space.get("__name__", ""), space.get("__file__") or f.__code__.co_filename):
            return f
        cells = tuple(map(self._copy, f.__closure__ or ()))
        new = types.FunctionType(f.__code__, self._namespace(space), f.__name__, closure=cells)
        new.__qualname__, new.__module__, new.__doc__ = f.__qualname__, f.__module__, f.__doc__

        def fill() -> None:
            self._copy_names(space, _names(f.__code__))
            new.__defaults__ = self._copy(f.__defaults__)
            new.__kwdefaults__ = self._copy(f.__kwdefaults__)
            new.__dict__.update((k, self._copy(v)) for k, v in f.__dict__.items())

        self._unfilled.append(fill)
        return new

    def _cell(self, cell: types.CellType) -> types.CellType:
        new = types.CellType()

        def fill() -> None:
            try:
                new.cell_contents = self._copy(cell.cell_contents)
            except ValueError:  # a variable that is not assigned yet
                pass

        self._unfilled.append(fill)
        return new

    def _builtin(self, f: Any) -> Any:
        """Return a method of a built-in object (``cache.append``, ``np.random.rand``) as one of its copy."""
        if f.__self__ is None or isinstance(f.__self__, types.ModuleType | type):
            return f
        owner = self._copy(f.__self__)
        return f if owner is f.__self__ else getattr(owner, f.__name__)

    def _method(self, method: types.MethodType) -> Any:
        return types.MethodType(self._copy(method.__func__), self._copy(method.__self__))

    def _partial(self, x: functools.partial[Any]) -> Any:
        keywords = {k: self._copy(v) for k, v in x.keywords.items()}
        return type(x)(self._copy(x.func), *map(self._copy, x.args), **keywords)

    def _vectorized(self, x: np.vectorize) -> Any:
        new = copy.copy(x)
        new.pyfunc = self._copy(x.pyfunc)
        return new

    def _array(self, x: np.ndarray[Any, Any]) -> Any:
        if x.size > LARGEST_ARRAY:
            return x
        new = copy.deepcopy(x)
        if hasattr(x, "__dict__"):  # of a subclass, with attributes such as .grad
            new.__dict__.update((k, self._copy(v)) for k, v in vars(x).items())
        return new

    def _tuple(self, x: tuple[Any, ...]) -> Any:
        parts = [self._copy(v) for v in x]
        if all(a is b for a, b in zip(parts, x, strict=True)):
            return x
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)

    def _container(self, x: Any) -> Any:
        if len(x) > LARGEST_CONTAINER:
            return x
        new = copy.copy(x)

        def fill() -> None:
            if isinstance(x, dict):
                for key, value in list(x.items()):
                    dict.__setitem__(new, key, self._copy(value))
            elif isinstance(x, set):
                new.clear()
                new.update(self._copy(v) for v in x)
            else:
                for i, value in enumerate(list(x)):
                    new[i] = self._copy(value)

        self._unfilled.append(fill)
        return new

    def _member(self, x: Any) -> Any:
        """Return an attribute of a class, descriptors of functions with the copied functions in them."""
        if isinstance(x, staticmethod | classmethod):
            return type(x)(self._copy(x.__func__))
        if isinstance(x, property):
            return property(self._copy(x.fget), self._copy(x.fset), self._copy(x.fdel), x.__doc__)
        if isinstance(x, functools.cached_property):
            new: Any = functools.cached_property(self._copy(x.func))
            new.attrname = x.attrname
            return new
        return self._copy(x)

    def _class(self, x: type) -> Any:
        """Return a new class with copies of all methods, and with copies of its bases."""
        if type(x) not in (type, abc.ABCMeta) or issubclass(x, _SHARED_KINDS) or not self._owns_class(x):
            return x
        if any("__init_subclass__" in vars(c) for c in x.__mro__[:-1]):  # it would register the copy somewhere
            return x
        kind: Any = _CopiedClass if type(x) is type else _CopiedAbstractClass
        space: dict[str, Any] = {n: vars(x)[n] for n in ("__slots__", "__module__", "__doc__") if n in vars(x)}
        try:
            new: Any = kind(x.__name__, tuple(map(self._copy, x.__bases__)), {**space, "_original": x})
        except TypeError:  # a base that permits no subclass but its own
            return x
        new.__qualname__ = x.__qualname__
        if isinstance(x, abc.ABCMeta):
            new.__abstractmethods__ = x.__abstractmethods__

        def fill() -> None:
            for name, value in list(vars(x).items()):
                slot = isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType)
                if name not in _NOT_COPIED and not slot:
                    type.__setattr__(new, name, self._member(value))

        self._unfilled.append(fill)
        return new

    def _object(self, x: Any) -> Any:
        if not (self._owns_class(type(x)) or isinstance(x, types.SimpleNamespace)):
            return x
        kind = self._copy(type(x))
        try:
            new = types.SimpleNamespace() if isinstance(x, types.SimpleNamespace) else object.__new__(kind)
        except TypeError:  # of a class that builds on compiled code
            return x

        def fill() -> None:
            for name, value in list(getattr(x, "__dict__", {}).items()):
                new.__dict__[name] = self._copy(value)
            for owner in type(x).__mro__:
                slots = vars(owner).get("__slots__", ())
                for name in (slots,) if isinstance(slots, str) else slots:
                    if name not in ("__dict__", "__weakref__") and hasattr(x, name):
                        object.__setattr__(new, name, self._copy(getattr(x, name)))

        self._unfilled.append(fill)
        return new

    _MAKE: tuple[tuple[Any, Callable[[Any, Any], Any]], ...] = (
        (types.ModuleType, _module),
        (types.FunctionType, _function),
        (types.CellType, _cell),
        (types.BuiltinFunctionType, _builtin),
        (types.MethodType, _method),
        (functools.partial, _partial),
        (functools._lru_cache_wrapper, lambda self, x: self._copy(x.__wrapped__)),
        (np.vectorize, _vectorized),
        (type, _class),
        (np.ndarray, _array),
        (np.random.Generator | np.random.RandomState, lambda self, x: copy.deepcopy(x)),
        (tuple, _tuple),
        (_CONTAINERS, _container),
        (object, _object),
    )

    # -- whose it is ---------------------------------------------------------------------------------------------------

    def _owns_class(self, x: type) -> bool:
        return self._owns(x.__module__, getattr(sys.modules.get(x.__module__), "__file__", None))

    def _owns(self, module: str, file: str | None) -> bool:
        """Whether a module is the user's: not installed, or of a package that was passed."""
        if module not in self._is_own:
            package = module.partition(".")[0]
            own = package in self._packages or file is None or not _is_installed(file)
            self._is_own[module] = own and package not in _SHARED
        return self._is_own[module]


def _of_math(name: str) -> Any:
    """Return a function of ``math`` that is NumPy's for arrays that are being recorded."""
    function, of_arrays = getattr(math, name), getattr(np, name, None)
    if not callable(function) or of_arrays is None:
        return function
    return lambda *args: (of_arrays if any(isinstance(x, Traced) for x in args) else function)(*args)


def _package(x: Any) -> str:
    """Return the name of the package that a function or an object comes from."""
    while isinstance(x, functools.partial | types.MethodType):
        x = x.func if isinstance(x, functools.partial) else x.__func__
    module = getattr(x if isinstance(x, types.FunctionType | type) else type(x), "__module__", None) or ""
    return module.partition(".")[0]


def _is_installed(path: str) -> bool:
    return any(f"/{folder}/" in path.replace("\\", "/") for folder in _INSTALLED)


def _names(code: types.CodeType) -> set[str]:
    """Return the names that a function looks up outside itself, those of functions within it included."""
    names = set(code.co_names)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            names |= _names(inner)
    return names
