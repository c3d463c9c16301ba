"""Functions that are made from functions, such as gradients; unlike nested functions, they can be pickled."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from typing import Any


def place_of(function: Any) -> str | None:
    """Return the name under which a function's module has it, as one that a decorator made; None if it hasn't."""
    place = str(getattr(function, "__qualname__", ""))
    found: Any = sys.modules.get(getattr(function, "__module__", ""))
    for name in place.split("."):
        found = getattr(found, name, None)
    return place if found is function else None


class Derived:
    """A function that `make` returns for `f`; pickled as the two of them, or by its name where it decorates `f`.

    Examples
    --------
    >>> import pickle
    >>> import numpy as np
    >>> import chainrule as cr
    >>> slope = pickle.loads(pickle.dumps(cr.grad(np.sin)))
    >>> slope(0.0)
    array(1.)
    """

    def __init__(self, make: Any, f: Any, args: tuple[Any, ...], kwargs: dict[str, Any], call: Any) -> None:
        functools.update_wrapper(self, call, updated=())
        self._make, self._f, self._args, self._kwargs, self._call = make, f, args, kwargs, call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self._call(*args, **kwargs)

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        return self if owner is None else types.MethodType(self, owner)

    def __repr__(self) -> str:
        return f"<{self._make.__name__} of {getattr(self._f, '__name__', type(self._f).__name__)}>"

    def __reduce__(self) -> Any:
        again = functools.partial(self._make, **self._kwargs), (self._f, *self._args)
        return place_of(self) or again


def derives(make: Callable[..., Callable[..., Any]]) -> Callable[..., Any]:
    """Let a function that returns nested functions return them as `Derived`."""

    @functools.wraps(make)
    def made(f: Any, *args: Any, **kwargs: Any) -> Any:
        return Derived(made, f, args, kwargs, make(f, *args, **kwargs))

    return made
