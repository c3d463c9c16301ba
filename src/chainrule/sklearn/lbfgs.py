"""Full-batch training by SciPy's L-BFGS-B, on the same objective."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from .. import nn
from ..compiled import compile
from ..core.op import Array
from ..core.transforms import value_and_grad
from .objective import PenalizedStep


@dataclass(frozen=True)
class Minimised:
    """The result of a minimisation.

    Attributes
    ----------
    loss : float
    iterations : int
    losses : list of float
        After each iteration.
    converged : bool
    message : str
        SciPy's.
    interrupted : bool
        By Ctrl-C; the parameters are those of the last iteration.
    """

    loss: float
    iterations: int
    losses: list[float]
    converged: bool
    message: str
    interrupted: bool = False


def minimise(
    step: PenalizedStep, X: Array, y: Array, *, iterations: int, evaluations: int, tol: float, verbose: bool
) -> Minimised:
    """Minimise the step's objective over all rows at once; its parameters are the best found, and its model's.

    Parameters
    ----------
    step : PenalizedStep
        Its optimiser is not used.
    X, y : arrays
    iterations, evaluations : int
        Upper limits.
    tol : float
        Tolerance for the largest element of the gradient.
    verbose : bool
        Print the loss after each iteration.
    """
    arrays, dtype = step.parameters, next(iter(step.parameters.values())).dtype

    def parts(flat: Any) -> dict[str, Any]:
        found, start = {}, 0
        for name, array in arrays.items():
            found[name] = flat[start : start + array.size].reshape(array.shape)
            start += array.size
        return found

    def objective(flat: Any, X: Any, y: Any) -> Any:
        parameters = parts(flat)
        output, _ = nn.functional_call(step.model, {**parameters, **step.buffers}, X)
        return step.objective(output, y, parameters)[1]

    run = compile(value_and_grad(objective), engine=step.engine, threads=step.threads)
    reached: Array = np.concatenate([array.ravel() for array in arrays.values()]).astype(np.float64)
    latest: list[float] = [np.inf]
    losses: list[float] = []

    def evaluate(flat: Array) -> tuple[float, Array]:
        loss, slope = run(flat.astype(dtype, copy=False), X, y)
        latest[0] = float(loss)
        return latest[0], slope.astype(np.float64, copy=False)

    def after(flat: Array) -> None:
        nonlocal reached
        reached = flat.copy()
        losses.append(latest[0])  # an iteration ends where the objective was last evaluated
        if verbose:
            print(f"Iteration {len(losses)}, loss = {losses[-1]:.8f}")

    found = None
    with contextlib.suppress(KeyboardInterrupt):
        found = minimize(
            evaluate, reached, jac=True, method="L-BFGS-B", callback=after,
            options={"maxiter": iterations, "maxfun": evaluations, "gtol": tol},
        )  # fmt: skip
    for name, value in parts(reached if found is None else np.asarray(found.x)).items():
        arrays[name][...] = value
    step.write_back()
    if found is None:
        return Minimised(losses[-1] if losses else latest[0], len(losses), losses, False, "interrupted", True)
    return Minimised(float(found.fun), int(found.nit), losses, found.status == 0, str(found.message))
