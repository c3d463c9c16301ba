"""The gradient check: a gradient compared with central differences.

This module holds `gradcheck` only; what it needs is loaded when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .result import GradcheckError, GradcheckResult

__all__ = ["gradcheck"]


def gradcheck(
    f: Any,
    *args: Any,
    grad: Callable[..., Any] | None = None,
    vjp: Callable[..., Any] | None = None,
    backward: Callable[..., Any] | None = None,
    jacobian: Callable[..., Any] | None = None,
    hessian: Callable[..., Any] | None = None,
    hvp: Callable[..., Any] | None = None,
    order: int = 1,
    argnums: int | Sequence[int] | None = None,
    full: bool | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
    raises: bool = True,
) -> GradcheckResult | GradcheckError:
    """Compare the gradient of `f` at `args` with central differences.

    Differences are taken in float64, with steps ``eps**(1/3) * max(1, |x|)``. An element that does not agree is
    compared again with other steps and from both sides before it counts as wrong.

    Parameters
    ----------
    f : callable
        A function that takes and returns arrays, numbers, or dicts, lists and tuples of them; a `chainrule.nn.Module`
        (its parameters and inputs are checked); with PyTorch loaded also a function on its tensors, a subclass of
        ``torch.autograd.Function``, or a ``torch.nn.Module``.
    *args
        The point at which the gradient is checked. Real numbers are varied; integers, booleans and everything else
        stay fixed.
    grad, vjp, backward, jacobian : callable, optional
        The gradient to check, in one of four forms; default: the derivative that chainrule (or PyTorch) computes.

        - ``grad(*args)``: the gradients of an `f` that returns one number;
        - ``vjp(*args, cotangent)``: for any output, cotangentᵀ · Jacobian; the cotangent has the output's structure;
        - ``backward(dout, cache)``: `f` returns ``(output, cache)``;
        - ``jacobian(*args)``: arrays with the output's axes, then the argument's.

        Each returns a tuple with a gradient for each argument, or for each argument of real numbers; or a dict with
        the arguments' names as keys, with or without a leading ``d``; for a single argument, also its gradient alone.
    hessian, hvp : callable, optional
        With ``order=2``: the derivative of `grad` to check, as ``hessian(*args)`` or ``hvp(*args, v)``.
    order : int
        2 checks the derivative of the gradient as well. Without `hessian` and `hvp`, the derivative of a hand-written
        gradient is checked for symmetry.
    argnums : int or sequence of int, optional
        Which arguments to check; default: all.
    full : bool, optional
        Compare the full Jacobian, element by element; default: when inputs × outputs are at most 10,000. Otherwise
        random directions and a sample of the elements of each argument are compared.
    rtol, atol : float, optional
        Largest difference that passes, relative to the entry and absolute. Default: 1e-6 of the entry plus 1e-7 of the
        largest entry of the argument's gradient, for gradients in float64; 1e-3 and 1e-4 in float32. The rounding
        error of the differences is added.
    seed : int
        Seed of the random directions and samples.
    raises : bool
        If False, a `GradcheckError` is returned instead of raised.

    Returns
    -------
    GradcheckResult
        True as a condition; has the number of values compared, the largest error and the kinks.

    Raises
    ------
    GradcheckError
        When the gradient is wrong: names the argument, the element, both values, and the cause where it is known.
    TypeError, ValueError
        When there is nothing to check, or arguments don't fit together.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> x = np.array([1.0, -2.0, 3.0])
    >>> result = cr.gradcheck(lambda x: np.sum(x**2), x, grad=lambda x: 2 * x)
    >>> result.ok, result.checked, result.full
    (True, 3, True)

    A wrong gradient is explained:

    >>> error = cr.gradcheck(lambda x: np.sum(x**2), x, grad=lambda x: x, raises=False)
    >>> error.cause
    'constant-factor'
    >>> print(error.explanation)
    All entries are 2 times too small: a factor 2 is missing.

    The derivative that chainrule computes is checked where no gradient is given:

    >>> cr.gradcheck(lambda x: np.tanh(x) * np.exp(x), x, order=2).ok
    True
    """
    from .check import checked

    forms = {"grad": grad, "vjp": vjp, "backward": backward, "jacobian": jacobian}
    second = {"order": order, "hessian": hessian, "hvp": hvp}
    options = {"full": full, "rtol": rtol, "atol": atol, "seed": seed}
    return checked(f, args, forms, second, argnums, options, raises)
