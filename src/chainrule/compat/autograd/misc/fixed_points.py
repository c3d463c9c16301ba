"""autograd's ``misc.fixed_points``: the fixed point of an iteration, differentiated implicitly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core import defvjp, make_vjp, primitive, vspace

Function = Callable[..., Any]


@primitive
def fixed_point(f: Function, a: Any, x0: Any, distance: Function, tol: float) -> Any:
    """Return x with ``x = f(a)(x)``, iterated from `x0` until two steps are within `tol`."""
    step = f(a)
    x, before = step(x0), x0
    while distance(x, before) > tol:
        x, before = step(x), x
    return x


def _vjp(ans: Any, f: Function, a: Any, x0: Any, distance: Function, tol: float) -> Function:
    """The cotangent of `a`: w + g at its fixed point w = Jᵀ w + g, pulled back through one step."""

    def adjoint_step(params: Any) -> Function:
        a, x, g = params
        pull, _ = make_vjp(f(a), x)
        return lambda w: vspace(x).add(pull(w), g)

    def vjp(g: Any) -> Any:
        pull_a, _ = make_vjp(lambda y: f(y)(ans), a)
        return pull_a(fixed_point(adjoint_step, (a, ans, g), vspace(x0).zeros(), distance, tol))

    return vjp


defvjp(fixed_point, None, _vjp, None)
