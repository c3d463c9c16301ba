"""What an estimator's settings may be; found out in fit, as scikit-learn wants it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..train.callbacks import as_callback


def choice(name: str, value: Any, among: Iterable[str]) -> str:
    """Return `value`; raise unless it is one of some names."""
    known = tuple(among)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} is {value!r}; {', '.join(map(repr, known))} would do")
    return value


def whole(name: str, value: Any, least: int = 1) -> int:
    """Return a whole number; raise unless it is one from `least`."""
    if isinstance(value, bool | np.bool) or not hasattr(value, "__index__") or value < least:
        raise ValueError(f"{name} is {value!r}; a whole number from {least} would do")
    return int(value)


def number(name: str, value: Any, least: float = 0.0, most: float = math.inf, *, open_: str = "") -> float:
    """Return a number; raise unless it lies between two, the ends that `open_` names ("least", "most") left out."""
    fits = isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool)
    fits = fits and math.isfinite(value) and least <= value <= most
    if not fits or ("least" in open_ and value == least) or ("most" in open_ and value == most):
        start = f"above {least:g}" if "least" in open_ else f"from {least:g}"
        end = "" if most == math.inf else f" to {'below ' * ('most' in open_)}{most:g}"
        raise ValueError(f"{name} is {value!r}; a number {start}{end} would do")
    return float(value)


def truth(name: str, value: Any) -> bool:
    """Return True or False; raise for anything else."""
    if not isinstance(value, bool | np.bool):
        raise ValueError(f"{name} is {value!r}; True or False would do")
    return bool(value)


def patience(name: str, value: Any) -> float:
    """Return a whole number from 1, or infinity."""
    return math.inf if isinstance(value, float) and value == math.inf else whole(name, value)


def threads(value: Any) -> int | None:
    """Return how many threads to use, or None."""
    return None if value is None else whole("threads", value)


def batch_size(value: Any) -> int | None:
    """Return a whole number from 1; None for "auto"."""
    if isinstance(value, str) and value == "auto":
        return None
    try:
        return whole("batch_size", value)
    except ValueError:
        raise ValueError(f"batch_size is {value!r}; 'auto' or a whole number from 1 would do") from None


def loss(value: Any, known: tuple[str, ...]) -> None:
    """Raise unless `value` is a loss: one of some names, or a function."""
    if not (callable(value) or (isinstance(value, str) and value in known)):
        raise ValueError(f"loss is {value!r}; {', '.join(known)}, or a function (output, target) -> scalar would do")


def callbacks(value: Any) -> tuple[Any, ...]:
    """Return callbacks as the training loop takes them."""
    if not isinstance(value, Iterable):
        raise ValueError(f"callbacks is {value!r}; a list would do: callbacks=[…]")
    return tuple(as_callback(c) for c in value)
