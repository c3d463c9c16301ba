"""autograd's ``core``: derivatives of functions of one argument, rules of primitives, vector spaces."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

from ...core.tensor import Tensor
from ...core.transforms import jvp as _jvp
from ...core.transforms import vjp as _vjp
from ...core.tree import flatten, unflatten
from .boxes import Cotangent, boxed, has_box
from .tracer import NoDerivativeError, all_plain, plain
from .tracer import primitive as _primitive
from .vspaces import VSpace, differentiable, vspace

__all__ = [
    "VSpace",
    "defjvp",
    "defjvp_argnum",
    "defjvp_argnums",
    "defvjp",
    "defvjp_argnum",
    "defvjp_argnums",
    "make_jvp",
    "make_vjp",
    "primitive",
    "vspace",
]

Function = Callable[..., Any]


def make_vjp(fun: Function, x: Any) -> tuple[Function, Any]:
    """Return the pullback of `fun` at `x`, and the value. What the value doesn't depend on has the gradient zero."""
    given, nest = flatten(differentiable(x))

    def checked(starts: list[Any]) -> Any:
        value = fun(unflatten(nest, [boxed(v, s) if has_box(v) else s for v, s in zip(given, starts, strict=True)]))
        reached = frozenset[Any]().union(*[v.recordings for v in flatten(value)[0] if isinstance(v, Tensor)])
        if not any(v.recordings & reached for v in starts):
            warnings.warn("Output seems independent of input.", stacklevel=2)
        return value

    checked.__name__ = getattr(fun, "__name__", "function")
    value, pullback = _vjp(checked, [0.0 if has_box(v) else v for v in given])
    structure = flatten(value)[1]

    def vjp(g: Any) -> Any:
        pulled = pullback(unflatten(structure, flatten(g)[0]))[0]
        return unflatten(nest, [_gradient(v, p) for v, p in zip(given, pulled, strict=True)])

    return vjp, all_plain(value)


def _gradient(x: Any, pulled: Any) -> Any:
    if not has_box(x):
        return plain(pulled)
    return pulled.value if isinstance(pulled, Cotangent) else vspace(x).zeros()


def make_jvp(fun: Function, x: Any) -> Function:
    """Return what maps a tangent of `x` to the value of `fun` and its tangent."""
    x = differentiable(x)

    def jvp(v: Any) -> tuple[Any, Any]:
        value, tangent = _jvp(fun, (x,), (v,))
        return all_plain(value), all_plain(tangent)

    return jvp


# -- rules -------------------------------------------------------------------------------------------------------------


def _rules_of(fun: Any) -> Any:
    if not hasattr(fun, "vjp"):
        name = getattr(fun, "__name__", fun)
        raise TypeError(f"{name} is not a primitive: its derivative is known. For another one: f = primitive({name})")
    return fun


def defvjp_argnums(fun: Any, vjpmaker: Function) -> None:
    """Set ``vjpmaker(argnums, ans, args, kwargs)``, which returns a function of g to the gradients of `argnums`."""

    def rule(wanted: tuple[int, ...], argnum: int, ans: Any, args: Any, kwargs: Any) -> Function:
        vjp = vjpmaker(wanted, ans, args, kwargs)
        return lambda g: dict(zip(wanted, vjp(g), strict=True))

    _rules_of(fun).vjp = rule


def defvjp_argnum(fun: Any, vjpmaker: Function) -> None:
    """Set ``vjpmaker(argnum, ans, args, kwargs)``, which returns a function of g to the gradient of `argnum`."""

    def rule(wanted: tuple[int, ...], argnum: int, ans: Any, args: Any, kwargs: Any) -> Function:
        vjp = vjpmaker(argnum, ans, args, kwargs)
        return lambda g: {argnum: vjp(g)}

    _rules_of(fun).vjp = rule


def defvjp(fun: Any, *vjpmakers: Function | None, argnums: Any = None) -> None:
    """Set the rules of a primitive: ``vjpmaker(ans, *args, **kwargs)`` returns a function of g, one per argument.

    None in place of a rule: the gradient is zero.
    """
    makers = dict(zip(itertools.count() if argnums is None else argnums, vjpmakers, strict=False))

    def rule(argnum: int, ans: Any, args: Any, kwargs: Any) -> Function:
        if argnum not in makers:
            raise NoDerivativeError(f"defvjp of {getattr(fun, '__name__', fun)} has no rule for argument {argnum}")
        maker = makers[argnum]
        if maker is None:
            return lambda g: None
        vjp: Function = maker(ans, *args, **kwargs)
        return vjp

    defvjp_argnum(fun, rule)


def primitive(f_raw: Function) -> Any:
    """Return `f_raw` as one operation, with methods ``defvjp``, ``defgrad`` and ``defvjp_is_zero`` as in 1.1."""
    wrapped = _primitive(f_raw)
    makers: dict[int, Function | None] = {}

    def defgrad(maker: Function | None, argnum: int = 0) -> None:
        makers[argnum] = maker
        defvjp(wrapped, *makers.values(), argnums=tuple(makers))

    def defvjp_at_once(rule: Function, argnum: int = 0) -> None:
        def maker(ans: Any, *args: Any, **kwargs: Any) -> Function:
            return lambda g: rule(g, ans, vspace(args[argnum]), vspace(g), *args, **kwargs)

        defgrad(maker, argnum)

    def defvjp_is_zero(argnums: Any = (0,)) -> None:
        for argnum in argnums:
            defgrad(None, argnum)

    wrapped.defgrad, wrapped.defvjp, wrapped.defvjp_is_zero = defgrad, defvjp_at_once, defvjp_is_zero
    return wrapped


def defjvp_argnums(fun: Any, jvpmaker: Function) -> None:
    """Accept a forward rule; products with the Jacobian are derived from the reverse rule."""
    _rules_of(fun)


def defjvp_argnum(fun: Any, jvpmaker: Function) -> None:
    """Accept a forward rule; products with the Jacobian are derived from the reverse rule."""
    _rules_of(fun)


def defjvp(fun: Any, *jvpfuns: Any, argnums: Any = None) -> None:
    """Accept forward rules; products with the Jacobian are derived from the reverse rules."""
    _rules_of(fun)
