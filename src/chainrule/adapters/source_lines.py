"""Which line of the user's file has made an array: `making_lines` watches a call and looks for values as they appear.

A copied function runs the code of the original, so its lines are those of the user's file, or of a notebook's cell.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import linecache
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.op import Array

#: Lines that are watched, at most, and elements of a container that are looked at.
MOST_LINES, MOST_ELEMENTS, DEEPEST = 20_000, 100, 3
_NOT_THE_USERS = (str(Path(__file__).resolve().parents[1]), str(Path(inspect.__file__).parent), "<frozen")


@dataclass(frozen=True)
class SourceLine:
    """A statement of the user's: its file, the line on which it starts, and its text.

    `file` is ``<cell>`` for a cell of a notebook.
    """

    file: str
    line: int
    statement: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class _Made:
    """A value that appeared: in which place of which function, and the line."""

    place: str
    code: types.CodeType
    line: int


def making_lines(
    call: Callable[[], Any], wanted: Mapping[str, Array], names: Mapping[str, str]
) -> dict[str, SourceLine]:
    """Call a function, and return the statements that made the arrays which are equal to those wanted.

    Parameters
    ----------
    call
        Runs the user's code.
    wanted
        Arrays by name.
    names
        What each is likely to be called in the code, as "dW1".

    Returns
    -------
    dict
        Without those that were not seen.
    """
    watch = _Watching(wanted)
    before = sys.gettrace()
    sys.settrace(watch.called)
    try:
        call()
    finally:
        sys.settrace(before)
    found: dict[str, SourceLine] = {}
    for name, made in watch.made.items():
        best = _best(made, names.get(name, name))
        if best is not None:
            found[name] = statement_at(best.code.co_filename, best.line)
    return found


def definition_of(f: Any) -> SourceLine | None:
    """Return the line on which a function, or the class of an object, begins; None if it has no source."""
    f = inspect.unwrap(getattr(f, "__func__", getattr(f, "func", f)))
    code = getattr(f, "__code__", None)
    if code is None and not inspect.isclass(f):
        f = getattr(type(f), "backward", None) or getattr(type(f), "update", None) or type(f).__call__
        code = getattr(f, "__code__", None)
    return None if code is None else statement_at(code.co_filename, code.co_firstlineno)


def statement_at(filename: str, line: int) -> SourceLine:
    """Return the innermost statement that a line belongs to."""
    lines = linecache.getlines(filename)
    file = filename if Path(filename).exists() else "<cell>" if "ipy" in filename or lines else filename
    start, end = line, line
    for node in _statements("".join(lines)):
        if node.lineno <= line <= (node.end_lineno or node.lineno):
            start, end = node.lineno, min(node.end_lineno or line, _before_body(node))
    return SourceLine(file, start, " ".join(part.partition("  #")[0].strip() for part in lines[start - 1 : end]))


@functools.lru_cache(4)  # an audit asks for many lines of the same few files
def _statements(source: str) -> tuple[ast.stmt, ...]:
    """Return all statements of a program, outer ones first; none if it is not Python."""
    try:
        nodes: list[ast.AST] = [ast.parse(source)]
    except SyntaxError:
        return ()
    for node in nodes:  # expressions, most of a program, contain no statements
        nodes += [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr)]
    return tuple(node for node in nodes if isinstance(node, ast.stmt))


def _before_body(node: ast.stmt) -> int:
    """Return the last line of a statement's head."""
    body = getattr(node, "body", None)
    return max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or node.lineno


class _Watching:
    """A trace function that looks, after each line of the user's, for new arrays with wanted values."""

    def __init__(self, wanted: Mapping[str, Array]) -> None:
        self._wanted = {n: np.asarray(a) for n, a in wanted.items()}
        self._shapes = {a.shape for a in self._wanted.values()}
        self.made: dict[str, list[_Made]] = {n: [] for n in wanted}
        self._seen: dict[tuple[int, str], tuple[str, ...]] = {}
        self._left = MOST_LINES
        self._last: dict[int, int] = {}

    def called(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        """Watch the frames of the user's code."""
        file = frame.f_code.co_filename
        if file.startswith(_NOT_THE_USERS) or "site-packages" in file or self._left <= 0:
            return None
        self._last[id(frame)] = frame.f_lineno
        for place, value in _arrays(frame.f_locals):  # the arguments
            self._matches(frame, place, value)
        return self._line

    def _line(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        if event not in ("line", "return"):
            return self._line
        self._left -= 1
        if self._left <= 0:
            return None
        line = self._last.get(id(frame), frame.f_lineno)
        for place, value in _arrays(frame.f_locals):
            self._record(frame, place, value, line)
        if event == "return":
            for place, value in _arrays({"return": arg}):
                self._record(frame, place, value, frame.f_lineno)
            self._last.pop(id(frame), None)
            for key in [k for k in self._seen if k[0] == id(frame)]:
                del self._seen[key]
        else:
            self._last[id(frame)] = frame.f_lineno
        return self._line

    def _record(self, frame: types.FrameType, place: str, value: Array, line: int) -> None:
        new = self._matches(frame, place, value)
        for name in new:
            self.made[name].append(_Made(place, frame.f_code, line))

    def _matches(self, frame: types.FrameType, place: str, value: Array) -> list[str]:
        """Return the wanted arrays that a place holds now and did not hold before."""
        key = (id(frame), place)
        before = self._seen.get(key, ())
        found = () if value.shape not in self._shapes else tuple(n for n, a in self._wanted.items() if _same(a, value))
        self._seen[key] = found
        return [n for n in found if n not in before]


def _same(a: Array, b: Array) -> bool:
    if a.shape != b.shape or b.dtype.kind not in "fiub":
        return False
    if a.size and not (a.flat[0] == b.flat[0] or (a.flat[0] != a.flat[0] and b.flat[0] != b.flat[0])):
        return False
    return bool(np.array_equal(a, b, equal_nan=b.dtype.kind == "f"))


def _arrays(scope: Mapping[str, Any]) -> Iterator[tuple[str, Array]]:
    """Yield the arrays in variables, and in the containers and objects that they hold, each with its place."""
    stack = [(name, value, 0) for name, value in list(scope.items())]
    while stack:
        place, value, depth = stack.pop()
        if isinstance(value, np.ndarray):
            yield place, value
        elif isinstance(value, float | np.floating):
            yield place, np.asarray(value)
        elif depth < DEEPEST:
            stack += [(f"{place}.{k}", v, depth + 1) for k, v in itertools.islice(_parts(value), MOST_ELEMENTS)]


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        return iter(list(value.items()))
    if isinstance(value, list | tuple):
        return iter(list(enumerate(value)))
    if isinstance(value, type | types.ModuleType) or (callable(value) and inspect.isroutine(value)):
        return iter(())
    return iter(list(getattr(value, "__dict__", {}).items()))


def _best(made: list[_Made], name: str) -> _Made | None:
    """Return where a value was made: in a place of its name if there is one, else where it was first.

    ``dZ1 = dA1`` gives dZ1 a value that was there before; the place says which statement is meant. A value that a
    function of the user's returned was made in there.
    """
    if not made:
        return None
    named = (i for i, m in enumerate(made) if m.place.rpartition(".")[2].lower() == name.lower())
    k = next(named, None)
    if k is None:
        k = next((i for i, m in enumerate(made) if m.place.startswith("return")), 0)
    elif k and made[k - 1].place.startswith("return") and made[k - 1].code is not made[k].code:
        k -= 1
    if not made[k].place.startswith("return"):
        return made[k]
    held = [m for m in made[:k] if m.code is made[k].code and not m.place.startswith("return")]
    return held[-1] if held else made[k]
