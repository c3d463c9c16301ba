"""The user's program: a Python file that is run as a module, its errors told by their line."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType


@contextlib.contextmanager
def imported(path: Path) -> Iterator[ModuleType]:
    """Run a Python file as a module, with its folder to import from, and give the module.

    What the program prints goes to standard error; no bytecode is written beside it.

    Raises
    ------
    ValueError
        When it fails, with the line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; expected a Python file")
    name = "__audited__"
    before = sys.path[:], sys.argv[:], sys.dont_write_bytecode
    sys.path.insert(0, str(path.resolve().parent))
    sys.argv[:] = [str(path)]
    sys.dont_write_bytecode = True
    try:
        with contextlib.redirect_stdout(sys.stderr), blaming(path):
            loader = importlib.machinery.SourceFileLoader(name, str(path))
            module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, loader, origin=str(path)))
            module.__file__ = str(path)
            sys.modules[name] = module
            loader.exec_module(module)
            yield module
    finally:
        sys.modules.pop(name, None)
        sys.path[:], sys.argv[:], sys.dont_write_bytecode = before


@contextlib.contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Turn an exception that comes from the program at `path` into a ValueError that names its line."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if os.environ.get("CHAINRULE_TRACEBACK"):
            raise
        for reason in (error, error.__cause__):
            if (line := _line(reason, str(path))) is not None:
                raise ValueError(f"{path}, line {line}: {type(reason).__name__}: {reason}") from error
        raise


def _line(error: BaseException | None, file: str) -> int | None:
    """Return the last line of a file that an exception went through, or None."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    lines = [frame.lineno for frame in frames if frame.filename == file]
    return lines[-1] if lines else None
