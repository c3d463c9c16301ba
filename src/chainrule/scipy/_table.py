"""The functions of the operation table under SciPy's names, as the contents of modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.node import FUNCTIONS


def names_in(module: str) -> list[str]:
    """Return the functions that the table has under the name of a module, such as ``scipy.special``."""
    start = f"{module}."
    return sorted(key.removeprefix(start) for key in FUNCTIONS if isinstance(key, str) and key.startswith(start))


def function_of(module: str, name: str) -> Callable[..., Any]:
    """Return one of them; raise AttributeError, as a module does, where there is none."""
    try:
        return FUNCTIONS[f"{module}.{name}"]
    except KeyError:
        raise AttributeError(
            f"module 'chainrule.{module}' has no attribute {name!r}; there are {', '.join(names_in(module))}"
        ) from None
