"""SciPy's functions called on tensors: found by name, so that SciPy is not imported before the user has done so."""

from __future__ import annotations

import sys
from collections.abc import Container
from types import FrameType, FunctionType
from typing import Any


def ufunc_name(ufunc: Any) -> str:
    """Return ``scipy.special.gammaln`` for SciPy's ufunc of that name, ``np.tanh`` for NumPy's."""
    name = str(ufunc.__name__)
    special = sys.modules.get("scipy.special._ufuncs")
    return f"scipy.special.{name.lstrip('_')}" if getattr(special, name, None) is ufunc else f"np.{name}"


def calling_function(known: Container[Any]) -> str | None:
    """Return the public name of the SciPy function that the caller runs in, preferring one in `known`; None outside.

    It is read from the frames, since most functions of SciPy do not say who called them; used only for messages.
    """
    frame: FrameType | None = sys._getframe(1)
    found: list[str] = []
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("scipy."):
            found += _names(module, frame)
        elif found or not module.startswith(("numpy", __package__)):
            break  # the user's own code, which SciPy may have called
        frame = frame.f_back
    outermost = found[::-1]
    return next((name for name in outermost if name in known), outermost[0] if outermost else None)


def _names(module: str, frame: FrameType) -> list[str]:
    """Return how a frame's function is called from outside: scipy.linalg.expm, scipy.stats.norm.logpdf."""
    function = frame.f_code.co_name
    if module.startswith("scipy._"):  # a decorator's wrapper, which refers to the public function
        wrapped = [x for x in frame.f_locals.values() if isinstance(x, FunctionType)]
        module, function = (wrapped[0].__module__, wrapped[0].__name__) if wrapped else (module, "_")
    package = ".".join(module.split(".")[:2])
    if function.startswith(("_", "<")):
        return []
    own = frame.f_locals.get("self")
    if package != "scipy.stats" or own is None:
        return [f"{package}.{function}"]
    distribution = getattr(own, "dist", own)  # that of a frozen one
    kind = getattr(distribution, "name", None) or type(distribution).__name__.removesuffix("_gen")
    return [f"{package}.{kind}.{function}"]
