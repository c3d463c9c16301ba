"""What a step of `scan` changes outside of it: one recorded step cannot stand for all if that is a number."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Mapping
from typing import Any

_NO_OBJECTS = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)


class Numbers:
    """The numbers outside of a function that its code names, also as attributes of objects or of modules it calls.

    Parameters
    ----------
    f : callable
    trace : Trace
        Knows the copies of modules that a traced function changes in their place.
    """

    def __init__(self, f: Any, trace: Any) -> None:
        self._f, self._trace = f, trace
        self._before = self._now()

    def check(self, name: str) -> None:
        """Raise if one of them has changed."""
        now = self._now()
        made = {(id(twin), k): v for _, twin, first in self._trace.originals for k, v in _numbers(first).items()}
        for place, before in (made | self._before).items():
            if now.get(place, before) != before:
                owner, key = place
                kinds = [type(twin).__name__ for _, twin, _ in self._trace.originals if id(twin) == owner]
                shown = ".".join([*kinds, key])
                raise ValueError(
                    f"scan: {name} changes {shown} from {before} to {now[place]}. A compiled loop records one step for "
                    "all of them: make it a part of the carry, or of xs if it is the number of the step"
                )

    def _now(self) -> dict[tuple[int, str], Any]:
        """Return them by the id of a copy of a module, 0 for all else, and by name."""
        named = _named(self._f)
        found = {(0, place): value for place, value in _numbers(named).items()}
        for place, value in named.items():
            if not isinstance(value, _NO_OBJECTS):
                found |= {(0, f"{place}.{k}"): v for k, v in _numbers(getattr(value, "__dict__", {})).items()}
        for _, twin, _ in self._trace.originals:
            found |= {(id(twin), k): v for k, v in _numbers(twin.__dict__).items()}
        return found


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if type(v) in (int, float)}


def _named(f: Any) -> dict[str, Any]:
    """Return what the code of a function names outside of it."""
    while isinstance(f, functools.partial):
        f = f.func
    f = inspect.unwrap(f)
    function = getattr(f, "__func__", f)
    code = getattr(function, "__code__", None)
    if code is None:
        return {type(f).__name__: f}
    found: dict[str, Any] = {k: function.__globals__[k] for k in code.co_names if k in function.__globals__}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        if cell != types.CellType():
            found[name] = cell.cell_contents
    if function is not f:
        found["self"] = f.__self__
    return found
