"""The package's own source, read and parsed once for the tests of what is written in it."""

import ast
import functools
import gc
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "chainrule"


@functools.cache
def texts() -> dict[Path, str]:
    """Return the text of each module, by its path below the package's folder."""
    return {path.relative_to(SOURCE): path.read_text(encoding="utf-8") for path in sorted(SOURCE.rglob("*.py"))}


@functools.cache
def trees() -> dict[Path, ast.Module]:
    """Return the syntax tree of each module; garbage collections, now and later, do not go through their many nodes."""
    gc.disable()
    try:
        return {path: ast.parse(text) for path, text in texts().items()}
    finally:
        gc.freeze()
        gc.enable()
