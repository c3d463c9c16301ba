"""NumPy's protocols: functions of NumPy that are called with tensors."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .node import FUNCTIONS, Node
from .scipy_calls import ufunc_name


class Dispatched(Node):
    """``__array_ufunc__`` and ``__array_function__``, which look functions up in `FUNCTIONS`."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if not kwargs and method == "__call__":
            try:
                implementation = FUNCTIONS[ufunc]
            except KeyError:
                pass
            else:
                return implementation(*inputs)
        name = ufunc_name(ufunc)
        if method == "at":
            return FUNCTIONS["ufunc.at"](ufunc, *inputs)
        out = _out(kwargs, name)
        if out is not None:
            where, casting = kwargs.pop("where", True), kwargs.pop("casting", "same_kind")
            return FUNCTIONS["into"](out, getattr(ufunc, method)(*inputs, **kwargs), casting, where)
        if method == "__call__":
            function = FUNCTIONS.get(ufunc) or FUNCTIONS.get(name)
            if function is not None:
                dtype = kwargs.pop("dtype", None)
                if ufunc.signature is not None and "axis" in kwargs:  # np.vecdot and the like
                    return function(*inputs, **kwargs)
                if not kwargs:
                    result = function(*inputs)
                    return result if dtype is None else result.astype(dtype)
                raise TypeError(f"{name} on tensors does not take {', '.join(sorted(kwargs))}")
        else:
            function = FUNCTIONS.get((ufunc, method))
            if function is not None:
                return function(*inputs, **kwargs)
        raise TypeError(missing(name + ("" if method == "__call__" else "." + method)))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        own = type(self)
        for kind in types:
            if kind is not own and kind is not np.ndarray and hasattr(kind, "of_tensors"):
                return NotImplemented  # a pair of tensors, which is complex, takes the call
        try:
            function = FUNCTIONS[func]
        except KeyError:
            function = None
        if len(args) > 2:
            args, kwargs = _named_out(func, args, kwargs)
        if function is not None and "out" not in kwargs:
            return function(*args, **kwargs)
        where = getattr(func, "__module__", "numpy") or "numpy"
        name = f"{where.removeprefix('numpy').lstrip('.')}.{func.__name__}".lstrip(".")
        if function is None:
            raise TypeError(missing(f"np.{name}"))
        out = _out(kwargs, f"np.{name}")
        result = func(*args, **kwargs)
        return result if out is None else FUNCTIONS["into"](out, result)


def missing(name: str) -> str:
    """Return the message for a function of NumPy or SciPy without a rule."""
    return (
        f"{name} has no rule in chainrule, so its gradient would be lost. Express it through functions that have "
        "one (chainrule.ops.names() lists them), or apply it to tensor.detach() if it needs no derivative."
    )


def _named_out(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments with ``out`` given by name; those after it must have been given by name, too."""
    at = _place_of_out(function)
    if at is None or at >= len(args):
        return args, kwargs
    return args[:at] + (None,) * (len(args) > at + 1) + args[at + 1 :], {**kwargs, "out": args[at]}


@functools.lru_cache(1024)
def _place_of_out(function: Any) -> int | None:
    """Return the position of the argument ``out`` of the Python function that NumPy wraps, None if it has none."""
    code = getattr(getattr(function, "__wrapped__", None), "__code__", None)
    names = () if code is None else code.co_varnames[: code.co_argcount]
    return names.index("out") if "out" in names else None


def _out(kwargs: dict[str, Any], name: str) -> Node | None:
    """Take ``out`` from keyword arguments: a tensor to write to, or None."""
    out = kwargs.pop("out", None)
    if isinstance(out, tuple):
        if len(out) > 1 and any(o is not None for o in out):
            raise TypeError(f"{name} on tensors takes no out= of several arrays; assign the results: x[...] = …")
        out = out[0]
    if out is None or isinstance(out, Node):
        return out
    raise TypeError(
        f"{name}(…, out=a) or an in-place operator (a += tensor) writes into a plain array, where the gradient would "
        f"be lost. Make a tensor to write to, a = np.zeros_like(tensor, shape={np.shape(out)}), or use a = a + tensor."
    )
