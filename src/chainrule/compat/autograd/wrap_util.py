"""autograd's ``wrap_util``: operators on functions of one argument, for any argument or tuple of arguments."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


def get_name(f: Any) -> str:
    """Return the name of a function, for messages."""
    return str(getattr(f, "__name__", "[unknown name]"))


def get_doc(f: Any) -> str:
    """Return the docstring of a function."""
    return getattr(f, "__doc__", None) or ""


def wraps(fun: Any, namestr: str = "{fun}", docstr: str = "{doc}", **names: Any) -> Callable[[Function], Function]:
    """Return a decorator that gives a function the name and the docstring of `fun`, in the given patterns."""

    def decorate(f: Function) -> Function:
        f.__name__ = namestr.format(fun=get_name(fun), **names)
        f.__doc__ = docstr.format(fun=get_name(fun), doc=get_doc(fun), **names)
        return f

    return decorate


def unary_to_nary(unary_operator: Function) -> Function:
    """Return an operator ``(fun, argnum=0)`` from one on functions of one argument.

    A tuple or list as `argnum` takes the arguments together, as a tuple.
    """

    @functools.wraps(unary_operator)
    def nary_operator(fun: Function, argnum: Any = 0, *op_args: Any, **op_kwargs: Any) -> Function:
        if type(argnum) not in (int, tuple, list):
            raise TypeError(f"argnum: expected the position of an argument or a tuple of positions, got {argnum!r}")
        positions = (argnum,) if isinstance(argnum, int) else tuple(argnum)

        @wraps(
            fun,
            "{op}_of_{fun}_wrt_argnum_{argnum}",
            "    {op} of function {fun} with respect to argument number {argnum}. Takes the\n"
            "    same arguments as {fun} but returns the {op}.\n    ",
            op=get_name(unary_operator),
            argnum=argnum,
        )
        def nary_f(*args: Any, **kwargs: Any) -> Any:
            @wraps(fun)
            def unary_f(x: Any) -> Any:
                subargs = list(args)
                for position, value in zip(positions, (x,) if isinstance(argnum, int) else x, strict=True):
                    subargs[position] = value
                return fun(*subargs, **kwargs)

            x = args[argnum] if isinstance(argnum, int) else tuple(args[i] for i in argnum)
            return unary_operator(unary_f, x, *op_args, **op_kwargs)

        return nary_f

    return nary_operator
