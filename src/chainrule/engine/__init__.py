"""Engines: both run the same plans. NumPy's is the reference, the native one is faster where it was built."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence

from ..core.op import Array
from ..plan.model import Plan
from .base import Binding

__all__ = ["ENGINES", "Binding", "available", "bind", "choose"]

ENGINES = ("numpy", "native")
"""The engines' names, the reference first."""


def available() -> tuple[str, ...]:
    """Return the engines that can be used here; the native one only where it was built when installing."""
    built = importlib.util.find_spec(f"{__name__}._native") is not None
    return ENGINES if built else ENGINES[:1]


def choose(engine: str | None = None) -> str:
    """Return the engine to use: `engine`, else the environment's CHAINRULE_ENGINE, else the fastest there is."""
    wanted = engine or os.environ.get("CHAINRULE_ENGINE") or available()[-1]
    if wanted not in ENGINES:
        raise ValueError(f"engine {wanted!r} is not available; there is {', '.join(ENGINES)}")
    if wanted not in available():
        raise ValueError(
            "engine 'native' is not available: it was left out when chainrule was installed, for want of a C++ "
            "compiler. Install one and reinstall, or use engine 'numpy'."
        )
    return wanted


def bind(plan: Plan, states: Sequence[Array] = (), *, engine: str | None = None, threads: int | None = None) -> Binding:
    """Bind a plan to memory on an engine.

    Parameters
    ----------
    plan
        A verified plan.
    states
        One C-ordered array a state; read and updated in place by each run.
    engine
        By name; None for the default.
    threads
        How many threads the engine may use; None for as many as the process may. The NumPy engine leaves that to
        NumPy's BLAS.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads is {threads}; 1 or more would do, or None for what the process may use")
    if choose(engine) == "native":
        from .native import NativeBinding

        return NativeBinding(plan, states, threads)
    from .numpy import NumPyBinding

    return NumPyBinding(plan, states)
