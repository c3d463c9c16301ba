"""Every public name has a docstring that agrees with its signature, and a place in the reference."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import inspect
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.tables import for_each

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "chainrule"
REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.md"))

#: Public modules need a package that may be missing here.
NEEDS = {"chainrule.sklearn": "sklearn"}


#: Packages for the use of other packages only.
INTERNAL = {"chainrule.adapters", "chainrule.audit.mistakes", "chainrule.formula", "chainrule.runs", "chainrule.show"}


def public_packages() -> list[str]:
    """Return the packages whose ``__all__`` lists public names; that of a module only allows re-exports."""
    found = []
    for path in sorted(SOURCE.rglob("__init__.py")):
        if re.search(r"^__all__\b", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            name = ".".join(("chainrule", *path.relative_to(SOURCE).parent.parts))
            if name in INTERNAL or name.startswith("chainrule.compat"):  # documented by the libraries they follow
                continue
            needed = next((package for prefix, package in NEEDS.items() if name.startswith(prefix)), None)
            if needed is None or importlib.util.find_spec(needed):
                found.append(name)
    return found


def public_names() -> Iterator[tuple[str, Any]]:
    """Yield every public name with what it stands for."""
    for module_name in public_packages():
        module = importlib.import_module(module_name)
        for name in module.__all__:
            yield f"{module_name}.{name}", getattr(module, name)


NAMES = dict(public_names())
LOOKED_UP = {name: value for name, value in NAMES.items() if inspect.isroutine(value) or inspect.isclass(value)}


def resolved(path: str) -> Any:
    """Return what a dotted path stands for, a module before what has its name in the package above."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        with contextlib.suppress(ModuleNotFoundError):
            value: Any = importlib.import_module(".".join(parts[:end]))
            break
    for part in parts[end:]:
        value = getattr(value, part)
    return value


def listed() -> list[str]:
    """Return the dotted paths that the reference's pages show."""
    return [
        path for page in REFERENCE for path in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), flags=re.M)
    ]


# -- docstrings --------------------------------------------------------------------------------------------------------


def constant_doc(module: ModuleType, name: str) -> str | None:
    """Return the string that stands right after the assignment to a module's name."""
    body = ast.parse(inspect.getsource(module)).body
    for statement, following in itertools.pairwise(body):
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        assigned = any(isinstance(t, ast.Name) and t.id == name for t in targets)
        if assigned and isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            return str(following.value.value)
    return None


def documented(path: str, value: Any) -> bool:
    """Whether a public name has a docstring of its own."""
    if inspect.ismodule(value) or inspect.isroutine(value) or inspect.isclass(value):
        return bool(inspect.getdoc(value))
    module, _, name = path.rpartition(".")
    home = importlib.import_module(module)
    return any(constant_doc(m, name) for m in (home, *map(importlib.import_module, _imported_from(home, name))))


def _imported_from(module: ModuleType, name: str) -> list[str]:
    """Return the modules of this package that `module` imports `name` from."""
    found = []
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ImportFrom) and node.level and any(a.name == name for a in node.names):
            found.append(importlib.util.resolve_name("." * node.level + (node.module or ""), module.__package__))
    return found


@for_each("path", NAMES)
def test_a_public_name_has_a_docstring(path: str) -> None:
    assert documented(path, NAMES[path]), f"{path} has no docstring"


@for_each("path", NAMES)
def test_a_public_name_is_in_the_reference(path: str) -> None:
    value, shown = NAMES[path], listed()
    last = path.rpartition(".")[2]
    itself = path in shown and resolved(path) is value
    elsewhere = any(other.endswith("." + last) and resolved(other) is value for other in shown)
    by_its_module = any(path.startswith(other + ".") and inspect.ismodule(resolved(other)) for other in shown)
    by_its_parts = inspect.ismodule(value) and any(other.startswith(path + ".") for other in shown)
    assert itself or elsewhere or by_its_module or by_its_parts, f"no page of docs/reference/ has ::: {path}"


@for_each("path", [p for p in listed() if not p.startswith(tuple(NEEDS)) or p in NAMES])
def test_what_the_reference_lists_exists(path: str) -> None:
    assert resolved(path) is not None


def test_the_reference_lists_nothing_twice() -> None:
    paths = listed()
    assert sorted(set(paths)) == sorted(paths)


# -- parameters --------------------------------------------------------------------------------------------------------


def stated_parameters(docstring: str) -> list[str] | None:
    """Return the names in a NumPy-style "Parameters" section; None where there is no such section."""
    lines = inspect.cleandoc(docstring).splitlines()
    for i in range(len(lines) - 1):
        if lines[i] == "Parameters" and re.fullmatch("-{3,}", lines[i + 1]):
            section = lines[i + 2 :]
            break
    else:
        return None
    end = next((i for i in range(len(section) - 1) if re.fullmatch("-{3,}", section[i + 1])), len(section))
    heads = [line.split(" : ")[0] for line in section[:end] if line and not line.startswith(" ")]
    return [name.strip().lstrip("*") for head in heads for name in head.split(",")]


def taken_parameters(value: Any) -> list[str]:
    """Return the names of the parameters that a callable takes; a class takes those of its ``__init__``."""
    return [name for name in inspect.signature(value).parameters if name not in ("self", "cls")]


def callables() -> Iterator[tuple[str, Any]]:
    """Yield public functions, classes, their public methods, and what the public modules of the reference hold."""
    found = dict(LOOKED_UP)
    for path in listed():
        if not path.startswith(tuple(NEEDS)) or path in NAMES:
            value = resolved(path)
            if inspect.ismodule(value):
                members = {f"{path}.{n}": v for n, v in vars(value).items() if getattr(v, "__module__", "") == path}
                found |= {p: v for p, v in members.items() if inspect.isroutine(v) or inspect.isclass(v)}
            elif inspect.isclass(value):
                found[path] = value
    for path, value in found.items():
        yield path, value
        if inspect.isclass(value):
            for name, member in vars(value).items():
                method = getattr(member, "__func__", member)  # of classmethod and staticmethod
                if inspect.isfunction(method) and not name.startswith("_"):
                    yield f"{path}.{name}", method


CALLABLES = {path: value for path, value in callables() if stated_parameters(inspect.getdoc(value) or "") is not None}


@for_each("path", CALLABLES)
def test_stated_parameters_are_those_that_are_taken(path: str) -> None:
    value = CALLABLES[path]
    assert sorted(stated_parameters(inspect.getdoc(value) or "") or []) == sorted(taken_parameters(value))


def test_there_are_parameters_to_compare() -> None:
    assert len(CALLABLES) > 60


# -- the tests of the tests --------------------------------------------------------------------------------------------


def test_sections_are_read() -> None:
    text = """Do.

    Parameters
    ----------
    a, b
        Two of them.

        More.
    *rest
    c : int, optional
        One.

    Returns
    -------
    d
        Not one.
    """
    assert stated_parameters(text) == ["a", "b", "rest", "c"]
    assert stated_parameters("Do.\n\nReturns\n-------\nx") is None


def test_a_name_without_docstring_is_seen() -> None:
    def bare() -> None: ...

    assert not documented("chainrule.bare", bare)
    assert not documented("chainrule.engine.NONE", ())
