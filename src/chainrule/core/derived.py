"""Functions that are made from functions, such as gradients; unlike nested functions, they can be pickled."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any


class Derived:
    """A function that `make` returns for `f`; pickled as the two of them.

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
        return functools.partial(self._make, **self._kwargs), (self._f, *self._args)


def derives(make: Callable[..., Callable[..., Any]]) -> Callable[..., Any]:
    """Let a function that returns nested functions return them as `Derived`."""

    @functools.wraps(make)
    def made(f: Any, *args: Any, **kwargs: Any) -> Any:
        return Derived(made, f, args, kwargs, make(f, *args, **kwargs))

    return made
