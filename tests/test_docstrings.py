"""Every public function and class has an Examples section, and every example in a docstring does what it says."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import inspect
import pkgutil
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import chainrule

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"


def modules() -> Iterator[Any]:
    """Yield the package's modules; those for which an optional package is missing are left out."""
    for found in pkgutil.walk_packages(chainrule.__path__, "chainrule."):
        if not found.name.endswith("__main__"):
            with contextlib.suppress(ImportError):
                yield importlib.import_module(found.name)


def examples() -> dict[str, doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    return {test.name: test for module in modules() for test in finder.find(module, module.__name__) if test.examples}


EXAMPLES = examples()


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for example in EXAMPLES[name].examples:
        if example.source in ("import torch\n", "import jax\n") and doctest.SKIP not in example.options:
            pytest.importorskip(example.source.split()[1])  # optional: the example is for those who have it
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(EXAMPLES[name], out=said.append)
    assert not said, "".join(said)


def public() -> dict[str, Any]:
    """Return the functions and classes in ``chainrule.__all__`` and in the reference, by name."""
    names = {f"chainrule.{name}" for name in chainrule.__all__}
    for page in REFERENCE.glob("*.md"):
        names |= set(re.findall(r"^::: (chainrule\.\S+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE))
    found = {}
    for name in sorted(names):
        owner, _, attribute = name.rpartition(".")
        with contextlib.suppress(ImportError, AttributeError):
            value = getattr(importlib.import_module(owner), attribute)
            if inspect.isclass(value) or inspect.isfunction(value):
                found[name] = value
    return found


def test_every_public_function_and_class_has_examples() -> None:
    without = [name for name, value in public().items() if "\nExamples\n-----" not in (inspect.getdoc(value) or "")]
    assert without == []
