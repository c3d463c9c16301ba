"""Checks of arguments: return the value in its plain type, or raise an error that names the argument."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

#: Longer representations are replaced by the value's type.
LONGEST = 80


class ArgumentError(ValueError, TypeError):
    """An argument of the wrong type or value.

    Both a ValueError and a TypeError, like scikit-learn's ``InvalidParameterError``: a caller need not know which of
    the two applies to an argument.
    """


def unexpected(name: str, expected: str, value: Any) -> ArgumentError:
    """Return the error for an argument: its name, what is expected, and what was found."""
    found = repr(value)
    if len(found) > LONGEST or "\n" in found:
        found = f"an object of type {type(value).__name__}"
    return ArgumentError(f"{name}: expected {expected}, got {found}")


def integer(
    name: str, value: Any, *, at_least: int | None = None, at_most: int | None = None, alternative: str = ""
) -> int:
    """Return an integer within bounds.

    Parameters
    ----------
    name : str
        Name of the argument in the caller's signature.
    value
        Anything with ``__index__`` except True and False.
    at_least, at_most : int or None
    alternative : str
        What else the caller accepts, for the message, such as ``" or None"``.
    """
    fits = hasattr(value, "__index__") and not isinstance(value, bool | np.bool)
    if fits and (at_least is None or value >= at_least) and (at_most is None or value <= at_most):
        return operator.index(value)
    bounds = _bounds((("≥", at_least), ("≤", at_most)))
    raise unexpected(name, f"an integer{bounds}{alternative}", value)


def number(
    name: str,
    value: Any,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    alternative: str = "",
) -> float:
    """Return a finite number within bounds.

    Parameters
    ----------
    name : str
        Name of the argument in the caller's signature.
    value
        A real number of Python or NumPy, except True and False.
    at_least, above, at_most, below : float or None
    alternative : str
        What else the caller accepts, for the message, such as ``" or a schedule"``.
    """
    fits = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if (
        fits
        and math.isfinite(value)
        and (at_least is None or value >= at_least)
        and (above is None or value > above)
        and (at_most is None or value <= at_most)
        and (below is None or value < below)
    ):
        return float(value)
    bounds = _bounds(((">", above), ("≥", at_least), ("<", below), ("≤", at_most)))
    raise unexpected(name, f"a {'' if bounds else 'finite '}number{bounds}{alternative}", value)


def boolean(name: str, value: Any) -> bool:
    """Return True or False."""
    if not isinstance(value, bool | np.bool):
        raise unexpected(name, "True or False", value)
    return bool(value)


def choice(name: str, value: Any, known: Iterable[T], *, alternative: str = "") -> T:
    """Return `value`, one of those known."""
    options = tuple(known)
    for option in options:
        if type(option) is type(value) and option == value:
            return option
    raise unexpected(name, f"{_listed(options)}{alternative}", value)


def _bounds(limits: Iterable[tuple[str, float | None]]) -> str:
    stated = [f"{sign} {limit:g}" if isinstance(limit, float) else f"{sign} {limit}" for sign, limit in limits
              if limit is not None]  # fmt: skip
    return f" {' and '.join(stated)}" if stated else ""


def _listed(options: tuple[Any, ...]) -> str:
    names = [repr(option) for option in options]
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else "".join(names)
