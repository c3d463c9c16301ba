"""Engines: both run the same plans. The NumPy engine is the reference; the native one is faster where it was built."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import replace

from ..core.arguments import integer
from ..core.op import Array
from ..plan.model import Plan
from .base import Binding

__all__ = ["ENGINES", "Binding", "available", "bind", "choose"]

ENGINES = ("numpy", "native")
"""The engines' names, the reference first."""


def available() -> tuple[str, ...]:
    """Return the engines that can be used here; the native one only where it was built on installation.

    Examples
    --------
    >>> from chainrule import engine
    >>> engine.available()[0]
    'numpy'
    """
    built = importlib.util.find_spec(f"{__name__}._native") is not None
    return ENGINES if built else ENGINES[:1]


def choose(engine: str | None = None) -> str:
    """Return the engine to use: `engine`, else the environment's CHAINRULE_ENGINE, else the fastest available.

    Examples
    --------
    >>> from chainrule import engine
    >>> engine.choose("numpy")
    'numpy'
    """
    wanted = engine or os.environ.get("CHAINRULE_ENGINE") or available()[-1]
    if wanted not in ENGINES:
        raise ValueError(f"engine: expected one of {', '.join(ENGINES)}, got {wanted!r}")
    if wanted not in available():
        raise ValueError(
            "engine 'native' is not available: chainrule was installed without it, because no C++ compiler was found. "
            "Install one and reinstall, or use engine 'numpy'."
        )
    return wanted


def noted(plan: Plan, engine: str) -> Plan:
    """Return the plan with a note of the steps that the native engine leaves to NumPy, if that is the engine."""
    if engine != ENGINES[1]:
        return plan
    from .native import without_kernel

    return replace(plan, through_numpy=frozenset(without_kernel(plan)))


def bind(plan: Plan, states: Sequence[Array] = (), *, engine: str | None = None, threads: int | None = None) -> Binding:
    """Bind a plan to memory on an engine.

    Parameters
    ----------
    plan
        A verified plan.
    states
        One C-ordered array per state; read and updated in place by each run.
    engine
        By name; None for the default.
    threads
        How many threads the engine may use; None for as many as the process may. The NumPy engine leaves that to
        NumPy's BLAS.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> from chainrule import engine
    >>> plan = cr.compile(lambda x: x + 1).plan(np.zeros(2))
    >>> binding = engine.bind(plan, engine="numpy")
    >>> binding.run([np.array([1.0, 2.0])])
    >>> binding.value(plan.outputs[0])
    array([2., 3.])
    """
    if threads is not None:
        threads = integer("threads", threads, at_least=1, alternative=" or None")
    if choose(engine) == "native":
        from .native import NativeBinding

        return NativeBinding(plan, states, threads)
    from .numpy import NumPyBinding

    return NumPyBinding(plan, states)
