"""The name ``autograd`` for these modules, on request."""

from __future__ import annotations

import importlib
import pkgutil
import sys


def install() -> None:
    """Let ``import autograd`` and its submodules find these modules, from now on and in this process.

    Raises
    ------
    RuntimeError
        If the other library has been imported already.
    """
    package = sys.modules[__package__]
    present = sys.modules.setdefault("autograd", package)
    if present is not package:
        raise RuntimeError("autograd itself has been imported already: call install() before the first import of it")
    for found in pkgutil.walk_packages(package.__path__, f"{__package__}.", onerror=_without_scipy):
        if not found.name.endswith("__main__"):
            try:
                importlib.import_module(found.name)
            except ModuleNotFoundError as error:
                _without_scipy(found.name, error)
    for name in [name for name in sys.modules if name.startswith(f"{__package__}.")]:
        sys.modules["autograd" + name.removeprefix(__package__)] = sys.modules[name]


def _without_scipy(name: str, error: BaseException | None = None) -> None:
    """Pass over a module that needs SciPy where it is not installed."""
    error = error or sys.exc_info()[1]
    if error is not None and getattr(error, "name", None) != "scipy":
        raise error
