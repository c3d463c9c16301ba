"""autograd's ``util``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .test_util import check_grads


def subvals(x: Iterable[Any], ivs: Iterable[tuple[int, Any]]) -> tuple[Any, ...]:
    """Return `x` as a tuple with elements replaced: pairs of a position and a value."""
    items = list(x)
    for i, v in ivs:
        items[i] = v
    return tuple(items)


def subval(x: Iterable[Any], i: int, v: Any) -> tuple[Any, ...]:
    """Return `x` as a tuple with one element replaced."""
    return subvals(x, [(i, v)])


def func(f: Any) -> Any:
    """Return `f`: a method of a class is a function."""
    return f


def quick_grad_check(fun: Any, arg0: Any, extra_args: Any = (), kwargs: Any = None, **settings: Any) -> None:
    """Check the gradient of `fun` in its first argument (autograd's old name of ``check_grads``)."""
    check_grads(lambda x: fun(x, *extra_args, **(kwargs or {})), modes=["rev"], order=1)(arg0)
