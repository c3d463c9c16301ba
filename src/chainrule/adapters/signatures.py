"""What a user's function takes: the names of its arguments, and a call with what those names mean."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

#: What the caller gives -> the usual names of functions' arguments for it.
ALIASES = {
    "X": ("X", "x", "inputs", "input", "A0", "data", "X_batch", "xs"),
    "parameters": ("parameters", "params", "p", "P", "weights", "theta", "model", "param"),
    "Y": ("Y", "y", "target", "targets", "T", "t", "labels", "Y_batch", "y_true", "ys"),
    "cache": ("cache", "caches", "c", "store", "memory"),
    "output": ("output", "out", "A", "AL", "Y_hat", "y_hat", "y_pred", "pred", "yhat", "prediction", "predictions"),
}
#: Names of a learning rate, as an argument or an attribute.
LEARNING_RATES = ("lr", "learning_rate", "eta", "alpha", "rate", "step_size")


def positional(f: Any) -> list[inspect.Parameter]:
    """Return the parameters that `f` takes by position; none where it has no signature."""
    parameters = parameters_of(f)
    variable = parameters and all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)
    wrapped = _wrapped(f) if variable else None
    if wrapped is not None:
        return positional(wrapped)[inspect.ismethod(f) :]
    return [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def parameters_of(f: Any) -> list[inspect.Parameter]:
    """Return all parameters of `f`; none where it has no signature."""
    try:
        return list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        return []


def _wrapped(f: Any) -> Any:
    """Return the function that a decorator without `functools.wraps` put another in the place of."""
    outer = getattr(f, "__func__", f)
    held = [cell.cell_contents for cell in getattr(outer, "__closure__", None) or ()]
    inner = [v for v in held if inspect.isfunction(v) and v is not outer]
    return inner[0] if len(inner) == 1 else None


def required(f: Any) -> list[inspect.Parameter]:
    """Return the parameters that `f` takes by position and has no default for."""
    return [p for p in positional(f) if p.default is p.empty]


def argument_names(f: Any, count: int) -> list[str]:
    """Return the names of the first `count` positional arguments; x0, x1, … where they have none."""
    names = [p.name for p in positional(f)][:count]
    return names + [f"x{i}" for i in range(len(names), count)]


def signature_text(f: Any) -> str:
    """Return how `f` is called: ``forward(X, parameters)``."""
    name = getattr(f, "__name__", None) or type(f).__name__
    return f"{name}({', '.join(p.name for p in positional(f))})"


def call(function: Callable[..., Any], order: Sequence[str], available: Mapping[str, Any]) -> Any:
    """Call `function` with what its parameters' names mean, or by position in `order`."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return function(*[available[k] for k in order])
    if any(p.kind == p.VAR_POSITIONAL for p in parameters):
        return function(*[available[k] for k in order])
    taken = positional(function)
    needed = [p for p in taken if p.default is p.empty]
    meant = [next((k for k, names in ALIASES.items() if p.name in names and k in available), None) for p in taken]
    known = [k for p, k in zip(taken, meant, strict=True) if p.default is p.empty or k is not None]
    if known and None not in known and len(set(known)) == len(known):
        pairs = [(p.name, k) for p, k in zip(taken, meant, strict=True) if k is not None]
        if all(p.kind == p.POSITIONAL_OR_KEYWORD for p in taken):
            return function(**{name: available[k] for name, k in pairs})
    count = min(len(order), max(len(needed), min(len(taken), 2)))
    count = len(order) if len(needed) <= len(order) <= len(taken) and meant[len(order) - 1] is not None else count
    return function(*[available[k] for k in order[:count]])


def takes_upstream(backward: Any) -> bool:
    """Whether a method ``backward`` takes the upstream gradient, with a default for it or without."""
    taken = positional(backward)
    if not taken or required(backward):
        return bool(taken)
    first = taken[0]
    is_number = first.default is None or (
        isinstance(first.default, int | float) and not isinstance(first.default, bool)
    )
    return is_number and first.name not in LEARNING_RATES
