"""Engines: both run the same plans. NumPy's is the reference."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..op import Array
from ..plan.model import Plan
from .base import Binding

__all__ = ["ENGINES", "Binding", "bind", "choose"]

ENGINES = ("numpy",)


def choose(engine: str | None = None) -> str:
    """Return the engine to use: `engine`, else the environment's CHAINRULE_ENGINE, else the fastest there is."""
    wanted = engine or os.environ.get("CHAINRULE_ENGINE") or ENGINES[-1]
    if wanted not in ENGINES:
        raise ValueError(f"engine {wanted!r} is not available; there is {', '.join(ENGINES)}")
    return wanted


def bind(
    plan: Plan, states: Sequence[Array] = (), *, engine: str | None = None, threads: int | None = None
) -> Binding:
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
        How many threads the engine may use; the NumPy engine leaves that to NumPy's BLAS.
    """
    choose(engine)
    if threads is not None and threads < 1:
        raise ValueError(f"threads is {threads}; 1 or more would do, or None for what the process may use")
    from .numpy import NumPyBinding

    return NumPyBinding(plan, states)
