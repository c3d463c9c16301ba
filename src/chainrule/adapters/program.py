"""The user's program: a Python file that is run as a module, errors with line numbers, and its contents."""

from __future__ import annotations

import ast
import contextlib
import copy
import importlib.machinery
import importlib.util
import inspect
import linecache
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np

from ..core.arguments import unexpected


class _Loader(importlib.machinery.SourceFileLoader):
    """The loader of a file that may run a part of it."""

    code: CodeType | None = None

    def get_code(self, fullname: str) -> CodeType | None:
        return self.code if self.code is not None else super().get_code(fullname)


@contextlib.contextmanager
def imported(path: Path, code: CodeType | None = None, source: str | None = None) -> Iterator[ModuleType]:
    """Run a Python file as a module, with its folder to import from, and give the module.

    What the program prints goes to standard error; no bytecode is written beside it. With `code`, that is what runs;
    `source` is the text that its lines are those of, where it is not the file's.

    Raises
    ------
    ValueError
        When it fails, with the line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; expected a Python file")
    before = sys.path[:], sys.argv[:], sys.dont_write_bytecode
    package, folders = _places(path)
    name = f"{package}.__audited__" if package else "__audited__"
    sys.path[:0] = folders
    sys.argv[:] = [str(path)]
    sys.dont_write_bytecode = True
    try:
        with contextlib.redirect_stdout(sys.stderr), blaming(path):
            loader = _Loader(name, str(path))
            loader.code = code
            module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, loader, origin=str(path)))
            module.__file__ = str(path)
            sys.modules[name] = module
            if source is not None:  # a notebook: the lines of its code
                linecache.cache[str(path)] = len(source), None, source.splitlines(keepends=True), str(path)
            loader.exec_module(module)
            yield module
    finally:
        sys.modules.pop(name, None)
        sys.path[:], sys.argv[:], sys.dont_write_bytecode = before


def _places(path: Path) -> tuple[str, list[str]]:
    """Return the package that a file belongs to, "" for none, and the folders to import from.

    A file with relative imports belongs to a package. The folders are its own, and those above it in which the modules
    are that it imports.
    """
    folder = path.resolve().parent
    try:
        imports = [n for n in ast.walk(ast.parse(path.read_bytes())) if isinstance(n, ast.Import | ast.ImportFrom)]
    except (SyntaxError, ValueError):
        return "", [str(folder)]
    levels = max((n.level for n in imports if isinstance(n, ast.ImportFrom)), default=0)
    absolute = [n for n in imports if not getattr(n, "level", 0)]
    names = {n.module if isinstance(n, ast.ImportFrom) else n.names[0].name for n in absolute}
    above = [folder, *folder.parents][: 1 + _HIGHEST]
    if levels >= len(above):
        levels = 0
    tops = {(name or "").partition(".")[0] for name in names}
    places = [p for p in above[1:] if any((p / t).is_dir() or (p / f"{t}.py").is_file() for t in tops if t)]
    package = ".".join(p.name for p in reversed(above[:levels]))
    return package, list(dict.fromkeys(str(p) for p in (folder, *places, *above[levels : levels + 1])))


#: How many folders above a file are looked at for the modules that it imports.
_HIGHEST = 4

#: What a module calls the statements that `tolerant` left out: pairs of a line and a reason.
FAILED = "__failed__"


def tolerant(tree: ast.Module, file: str) -> CodeType:
    """Return the code of a program whose statements that fail are left out, and end in its list `FAILED`.

    Definitions that follow data which are not there, or packages that are not installed, can be used all the same.
    """
    said = "f'{type(error).__name__}: {error}'"
    guard = ast.parse(
        f"try:\n    pass\nexcept (Exception, SystemExit) as error:\n    {FAILED}.append((0, {said}))"
    ).body[0]
    body: list[ast.stmt] = []
    for i, statement in enumerate(tree.body):
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            body.append(statement)
        elif i == 0 and isinstance(statement, ast.Expr):  # the docstring
            body.append(statement)
        else:
            guarded: Any = copy.deepcopy(guard)
            guarded.body = [statement]
            guarded.handlers[0].body[0].value.args[0].elts[0] = ast.Constant(statement.lineno)
            body.append(guarded)
    first = next((i for i, s in enumerate(body) if isinstance(s, ast.Try)), len(body))
    body.insert(first, ast.parse(f"{FAILED} = []").body[0])
    return compile(ast.fix_missing_locations(ast.Module(body, [])), file, "exec")


@contextlib.contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Turn an exception that comes from the program at `path` into a ValueError that names its line."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, GeneratorExit, and the program's own
        if os.environ.get("CHAINRULE_TRACEBACK"):
            raise
        for reason in (error, error.__cause__):
            if (line := _line(reason, str(path))) is not None:
                raise ValueError(f"{path}, line {line}: {type(reason).__name__}: {_text(reason)}") from error
        if isinstance(error, SyntaxError):  # zero bytes: no line
            raise ValueError(f"{path}: {error}") from error
        raise


def attribute(program: ModuleType, name: str, path: Path) -> Any:
    """Return what the program calls `name`."""
    if hasattr(program, name):
        return getattr(program, name)
    own = [n for n, v in vars(program).items() if getattr(v, "__module__", None) == program.__name__ and callable(v)]
    raise LookupError(f"{path} has no {name}; its functions are {', '.join(own) or 'none'}")


def drawn(shapes: Iterable[str], seed: int) -> dict[str, Any]:
    """Read ``["W=3,4", "b="]`` and draw arrays of these shapes, by name."""
    rng = np.random.default_rng(seed)
    found = {}
    for text in shapes:
        name, equals, sizes = text.partition("=")
        try:
            shape = tuple(int(n) for n in sizes.replace("x", ",").split(",") if n.strip())
        except ValueError:
            shape = (-1,)
        if not equals or not name.isidentifier() or min(shape, default=0) < 0:
            raise unexpected("shape", "a name and its sizes, such as W=3,4", text)
        found[name] = rng.normal(size=shape)
    return found


def arguments(
    program: ModuleType, path: Path, wanted: Sequence[inspect.Parameter], draws: Mapping[str, Any]
) -> list[Any]:
    """Return what is drawn, or what the program holds, under the names of a function's parameters."""
    values, missing = [], []
    for p in wanted:
        if p.name in draws:
            values.append(draws[p.name])
        elif hasattr(program, p.name):
            value = getattr(program, p.name)
            values.append(value() if inspect.isfunction(value) else value)
        elif p.default is p.empty:
            missing.append(p.name)
        else:
            values.append(p.default)
    if missing:
        raise LookupError(
            f"{path} has no {', '.join(missing)}, which the function takes; define arrays of that name in the file, "
            f"or draw one with --shape {missing[0]}=3,4"
        )
    names = [p.name for p in wanted]
    if unknown := [name for name in draws if name not in names]:
        raise ValueError(f"shape is given for {', '.join(unknown)}; the arguments are {', '.join(names)}")
    return values


def _text(error: BaseException | None) -> str:
    """Return the message of an exception, which its class may fail to give."""
    try:
        return error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception as reason:
        return f"its message cannot be shown: {type(reason).__name__}"


def _line(error: BaseException | None, file: str) -> int | None:
    """Return the last line of a file that an exception went through, or None."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    lines = [frame.lineno for frame in frames if frame.filename == file]
    return lines[-1] if lines else None
