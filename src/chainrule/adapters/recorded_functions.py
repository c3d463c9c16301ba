"""What a caller's functions see around them while they are recorded: NumPy, and random generators."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Any

import numpy as np

from .recording import MAKERS

#: Parts of the paths of what is installed: packages, the standard library, code that is generated.
_INSTALLED = ("site-packages", "dist-packages", PurePath(types.__file__).parent.name)


class _NumPy(types.ModuleType):
    """NumPy, except that new arrays can be written into while a forward pass is recorded."""

    def __init__(self) -> None:
        super().__init__("numpy")
        self.__dict__.update(MAKERS)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


_STAND_IN = _NumPy()


@contextlib.contextmanager
def writable_numpy(functions: Iterable[Any]) -> Iterator[None]:
    """While open, the modules in which `functions` were defined see a NumPy whose new arrays can be traced."""
    swapped: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for space in namespaces(functions):
            for name, value in list(space.items()):
                new = _STAND_IN if value is np else _replaced(value)
                if new is not None:
                    swapped.append((space, name, value))
                    space[name] = new
        yield
    finally:
        for space, name, value in swapped:
            space[name] = value


def _replaced(value: Any) -> Any:
    if isinstance(value, types.BuiltinFunctionType | types.FunctionType) or callable(value):
        name = getattr(value, "__name__", None)
        if isinstance(name, str) and name in MAKERS and value is getattr(np, name, None):
            return MAKERS[name]
    return None


def namespaces(functions: Iterable[Any]) -> list[dict[str, Any]]:
    """Return the global names of `functions`, and of the functions and classes among them, each once."""
    found: dict[int, dict[str, Any]] = {}
    pending = [f for f in functions if f is not None]
    while pending:
        f = pending.pop()
        f = getattr(f, "func", f)  # functools.partial
        f = getattr(f, "__func__", f)
        if not isinstance(f, types.FunctionType):
            method = vars(type(f)).get("__call__")
            pending += [v for c in type(f).__mro__ for v in vars(c).values() if isinstance(v, types.FunctionType)]
            f = method if isinstance(method, types.FunctionType) else None
        if f is None or f.__module__ is None or f.__module__.split(".")[0] in ("numpy", "scipy", "chainrule"):
            continue
        cells = [c.cell_contents for c in f.__closure__ or () if _filled(c)]
        pending += [c for c in cells if isinstance(c, types.FunctionType) and id(c.__globals__) not in found]
        if id(f.__globals__) in found:
            continue
        found[id(f.__globals__)] = f.__globals__
        pending += [g for v in list(f.__globals__.values()) for g in _functions_of(v)]
    return list(found.values())


def _functions_of(value: Any) -> list[types.FunctionType]:
    """Return a global value that is a function, or the methods of an object whose class is in no installed package."""
    if isinstance(value, types.FunctionType):
        return [value]
    if isinstance(value, type | types.ModuleType | types.BuiltinFunctionType):
        return []
    methods = [v for c in type(value).__mro__ for v in vars(c).values() if isinstance(v, types.FunctionType)]
    return [m for m in methods if not _is_installed(m.__code__.co_filename)]


def _is_installed(path: str) -> bool:
    folders = path.replace("\\", "/")
    return path == "<string>" or any(f"/{name}/" in folders for name in _INSTALLED)  # the former: made by dataclasses


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


# -- randomness --------------------------------------------------------------------------------------------------------


class Randomness:
    """The state of NumPy's global generator and of those that functions hold, so that a run can be replayed."""

    def __init__(self, functions: Iterable[Any]) -> None:
        self._generators = []
        functions = list(functions)
        for space in namespaces(functions):
            self._generators += [
                v for v in space.values() if isinstance(v, np.random.Generator | np.random.RandomState)
            ]
        for f in functions:
            for cell in getattr(f, "__closure__", None) or ():
                if _filled(cell) and isinstance(cell.cell_contents, np.random.Generator | np.random.RandomState):
                    self._generators.append(cell.cell_contents)
            for value in vars(f).values() if hasattr(f, "__dict__") else ():
                if isinstance(value, np.random.Generator | np.random.RandomState):
                    self._generators.append(value)
        self._global = np.random.get_state()
        self._states = [_state(g) for g in self._generators]

    def restore(self) -> None:
        """Put all generators back to where they were."""
        np.random.set_state(self._global)
        for generator, state in zip(self._generators, self._states, strict=True):
            if isinstance(generator, np.random.Generator):
                generator.bit_generator.state = state
            else:
                generator.set_state(state)


def _state(generator: Any) -> Any:
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.get_state()
