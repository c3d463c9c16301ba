"""Full-batch minimisation through SciPy, with the library's gradients and Hessian-vector products."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.arguments import choice, integer
from ..core.arrays import checked_array
from ..core.op import Array
from ..core.tensor import Tensor
from ..core.transforms import hvp, value_and_grad
from ..core.tree import flatten, paths, unflatten
from ..nn import losses
from ..nn.functional import functional_call
from ..nn.module import Module

#: SciPy's methods that take a gradient, and whether they use Hessian-vector products.
METHODS = {
    **dict.fromkeys(("L-BFGS-B", "BFGS", "CG", "TNC", "SLSQP"), False),
    **dict.fromkeys(("Newton-CG", "trust-ncg", "trust-krylov", "trust-constr"), True),
}


@dataclass(frozen=True)
class Minimum:
    """The result of a minimisation.

    Attributes
    ----------
    parameters
        The best parameters found, in the structure and dtypes of the initial ones.
    loss : float
        At these parameters, including the penalty if any.
    gradient_norm : float
        Euclidean norm of the gradient there, over all parameters.
    iterations, evaluations : int
    success : bool
        Whether the method reports convergence.
    message : str
        The method's message.
    losses : tuple of float
        After each iteration.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import optim
    >>> found = optim.minimize_function(lambda x: np.sum((x - 3) ** 2), np.zeros(2), method="BFGS")
    >>> found.parameters.round(6), found.iterations == len(found.losses)
    (array([3., 3.]), True)
    """

    parameters: Any
    loss: float
    gradient_norm: float
    iterations: int
    evaluations: int
    success: bool
    message: str
    losses: tuple[float, ...]


class _Stop(Exception):
    """The callback asked to stop."""


class _Objective:
    """A function of nested parameters as one of a flat float64 vector; remembers the best point."""

    def __init__(self, f: Callable[[Any], Any], start: Any) -> None:
        leaves, self.structure = flatten(start)
        self.where = paths(start, "params")
        arrays = [
            checked_array(x.value if isinstance(x, Tensor) else x, w) for x, w in zip(leaves, self.where, strict=True)
        ]
        self.shapes = [a.shape for a in arrays]
        self.dtypes = [a.dtype if a.dtype.kind == "f" else np.dtype(np.float64) for a in arrays]
        self.start = np.concatenate([np.zeros(0), *[a.astype(np.float64).ravel() for a in arrays]])
        if not self.start.size:
            raise ValueError("there are no parameters to minimise over")
        self.f, self.both = f, value_and_grad(f)
        self.evaluations = 0
        self.best: tuple[float, Array, Array] | None = None

    def nest(self, flat: Array, dtypes: Any = None) -> Any:
        parts, at = [], 0
        for i, shape in enumerate(self.shapes):
            size = math.prod(shape)
            part = flat[at : at + size].reshape(shape)
            parts.append(part.astype(dtypes[i]) if dtypes else part)
            at += size
        return unflatten(self.structure, parts)

    def __call__(self, flat: Array) -> tuple[float, Array]:
        flat = np.array(flat, dtype=np.float64)
        with np.errstate(all="ignore"):  # too long a step is rejected because of its loss
            value, gradient = self.both(self.nest(flat))
        self.evaluations += 1
        loss = float(value)
        slope = np.concatenate([np.asarray(g, dtype=np.float64).ravel() for g in flatten(gradient)[0]])
        if self.best is None and not (math.isfinite(loss) and np.isfinite(slope).all()):
            raise ValueError(
                f"the loss or its gradient is not finite at the start (loss {loss:g}); "
                "check the data and the initial weights"
            )
        if self.best is None or loss < self.best[0]:
            self.best = loss, flat, slope
        return loss, slope

    def product(self, flat: Array, direction: Array) -> Array:
        with np.errstate(all="ignore"):
            moved = hvp(self.f, self.nest(np.array(flat)), self.nest(np.array(direction, dtype=np.float64)))
        return np.concatenate([np.asarray(g, dtype=np.float64).ravel() for g in flatten(moved)[0]])


def minimize_function(
    f: Callable[[Any], Any],
    params: Any,
    *,
    method: str = "L-BFGS-B",
    max_iter: int = 200,
    tol: float | None = None,
    callback: Callable[[int, float], Any] | None = None,
) -> Minimum:
    """Minimise ``f(params)``, a scalar, over a nest of arrays.

    Parameters
    ----------
    f
        Written with NumPy functions, of a nest like `params`; called with float64.
    params
        Initial parameters: a dict, list or tuple of arrays, or an array. Not changed.
    method
        ``"L-BFGS-B"``, ``"BFGS"``, ``"CG"``, ``"TNC"``, ``"SLSQP"``; with Hessian-vector products ``"Newton-CG"``,
        ``"trust-ncg"``, ``"trust-krylov"``, ``"trust-constr"``.
    max_iter : int
    tol : float, optional
        The method's own tolerance; default: SciPy's.
    callback
        ``callback(iteration, loss)`` after each iteration (from 1); stops when it returns True.

    Returns
    -------
    Minimum
        The best point found, also after Ctrl-C (with ``success=False``).

    Raises
    ------
    ImportError
        Without SciPy: ``pip install 'chainrule[optimize]'``.
    ValueError
        For an unknown method, or a loss that is not finite at the start.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import optim
    >>> def f(p):
    ...     return (p["x"] - 1) ** 2 + (p["y"] + 2) ** 4
    >>> found = optim.minimize_function(f, {"x": np.array(0.0), "y": np.array(0.0)})
    >>> found.success, round(float(found.parameters["x"]), 3)
    (True, 1.0)
    """
    choice("method", method, METHODS)
    integer("max_iter", max_iter, at_least=1)
    scipy_minimize = _scipy()
    objective = _Objective(f, params)
    history: list[float] = []

    def after(*args: Any, **kwargs: Any) -> None:
        assert objective.best is not None
        history.append(objective.best[0])
        if callback is not None and callback(len(history), history[-1]) is True:
            raise _Stop

    more: dict[str, Any] = {"hessp": objective.product} if METHODS[method] else {}
    options: dict[str, Any] = {"maxfun" if method == "TNC" else "maxiter": int(max_iter)}
    if method == "L-BFGS-B":
        options["maxfun"] = 20 * int(max_iter)
    success, message = False, ""
    try:
        found = scipy_minimize(
            objective, objective.start, jac=True, method=method, tol=tol, callback=after, options=options, **more
        )
        success, message = bool(found.success), str(found.message)
    except _Stop:
        message = "stopped by the callback"
    except KeyboardInterrupt:
        message = "interrupted"
        if objective.best is None:
            raise
    assert objective.best is not None
    loss, flat, slope = objective.best
    return Minimum(
        objective.nest(flat, objective.dtypes), loss, gradient_norm=float(np.sqrt(np.sum(np.square(slope)))),
        iterations=len(history), evaluations=objective.evaluations, success=success, message=message,
        losses=tuple(history),
    )  # fmt: skip


def minimize(
    model: Module,
    X: Any,
    y: Any,
    *,
    loss: Any = "cross_entropy",
    method: str = "L-BFGS-B",
    l1: float = 0.0,
    l2: float = 0.0,
    max_iter: int = 200,
    tol: float | None = None,
    callback: Callable[[int, float], Any] | None = None,
) -> Minimum:
    """Train `model` on all of X at once; assign the best parameters found, at the end, in the model's dtype.

    Frozen parameters keep their values.

    Computed in float64 whatever the model's dtype. Buffers are constant meanwhile (dropout keeps one mask, since
    the objective must not change), and are updated by one more pass at the end.

    Parameters
    ----------
    model, X, y
        Examples in rows.
    loss
        A name of ``nn.losses``, or a function (output, target) -> scalar.
    method, max_iter, tol, callback
        As for `minimize_function`.
    l1, l2 : float
        Penalty on the weights, ``nn.losses.penalty``.

    Returns
    -------
    Minimum
        Its `parameters` by dotted path.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn, optim
    >>> X = np.array([[0.0], [1.0], [2.0]])
    >>> model = nn.Linear(1, 1, dtype=np.float64)
    >>> found = optim.minimize(model, X, 2 * X + 1, loss="mse")
    >>> model.weight.value.round(3), model.bias.value.round(3)
    (array([[2.]]), array([1.]))
    """
    of = losses.get(loss)
    X, y = _data(X, "X"), _data(y, "y")

    def objective(parameters: dict[str, Any]) -> Any:
        output, _ = functional_call(model, parameters, X)
        return of(output, y) + losses.penalty(parameters, l1, l2)

    start = {path: np.asarray(p.value) for path, p in model.named_parameters() if p.requires_grad}
    losses.check_custom(loss, np.shape(functional_call(model, start, X)[0]), y)
    found = minimize_function(objective, start, method=method, max_iter=max_iter, tol=tol, callback=callback)
    targets = dict(model.named_parameters())
    for path, value in found.parameters.items():
        targets[path].assign(value)
    _, buffers = functional_call(model, found.parameters, X)
    model.load_state_dict(buffers, strict=False)
    return found


def _data(x: Any, argument: str) -> Any:
    return x if isinstance(x, Tensor) else checked_array(x, argument)


def _scipy() -> Any:
    try:
        from scipy.optimize import minimize as scipy_minimize
    except ImportError:
        raise ImportError("full-batch minimisation needs SciPy: pip install 'chainrule[optimize]'") from None
    return scipy_minimize
