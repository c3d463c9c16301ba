"""``autograd.scipy.integrate``: ordinary differential equations, differentiated by the adjoint equation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy  # which loads scipy.integrate when it is used

from ..core import defvjp_argnums, make_vjp, primitive
from ..misc.flatten import flatten


@primitive
def odeint(func: Callable[..., Any], y0: Any, t: Any, args: Any = (), **kwargs: Any) -> Any:
    """As ``scipy.integrate.odeint``; differentiable in `y0`, `t` and `args`."""
    return scipy.integrate.odeint(func, y0, t, tuple(args), **kwargs)


def _adjoint(argnums: tuple[int, ...], ys: Any, arguments: Any, kwargs: Any) -> Callable[[Any], list[Any]]:
    """Integrate y, its cotangent and those of `args` backwards, from one time of `t` to the one before."""
    func, _, t, *rest = arguments
    args = rest[0] if rest else ()
    vector, unflatten = flatten(args)
    n = np.shape(ys)[1]

    def slope(y: Any, time: Any, vector: Any) -> Any:
        return func(y, time, *unflatten(vector))

    def backwards(state: Any, time: Any, vector: Any) -> Any:
        pull, dy = make_vjp(lambda a: slope(*a), (state[:n], time, vector))
        parts = pull(-state[n : 2 * n])
        return np.concatenate([dy, *[np.ravel(x) for x in parts]])

    def vjp(g: Any) -> list[Any]:
        w, w_start, w_args, w_times = g[-1], np.zeros(()), np.zeros(np.shape(vector)), []
        for i in range(len(t) - 1, 0, -1):
            at_time = np.dot(slope(ys[i], t[i], vector), g[i])
            w_times.append(at_time)
            state = np.concatenate([ys[i], w, np.reshape(w_start - at_time, (1,)), w_args])
            end = odeint(backwards, state, np.stack([t[i], t[i - 1]]), (vector,), **kwargs)[1]
            w, w_start, w_args = end[n : 2 * n] + g[i - 1], end[2 * n], end[2 * n + 1 :]
        of_times = np.stack([*w_times, w_start])[::-1]
        every = {1: w, 2: of_times, 3: unflatten(w_args)}
        return [every[a] for a in argnums]

    return vjp


defvjp_argnums(odeint, _adjoint)
