"""The gradient check: a gradient compared with central differences.

Only `gradcheck` itself stands here; what it needs is loaded when it is called.
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

    The differences are taken in float64, with steps ``eps**(1/3) * max(1, |x|)``. What does not agree is looked at
    again with other steps and from either side before it counts as wrong.

    Parameters
    ----------
    f : callable
        A function of arrays, numbers, or dicts, lists and tuples of them, to any of these; a `chainrule.nn.Module`
        (its parameters and inputs are checked); where PyTorch is loaded also a function on its tensors, a subclass of
        ``torch.autograd.Function``, or a ``torch.nn.Module``.
    *args
        The point. Real numbers are varied; integers, booleans and anything else are held fixed.
    grad, vjp, backward, jacobian : callable, optional
        The gradient to check, in one of four forms; by default the derivative that chainrule (or PyTorch) computes:

        - ``grad(*args)``: gradients of an `f` that returns one number;
        - ``vjp(*args, cotangent)``: for any output, cotangentᵀ · Jacobian; the cotangent has the output's structure;
        - ``backward(dout, cache)``: `f` returns ``(output, cache)``;
        - ``jacobian(*args)``: arrays with the output's axes, then the argument's.

        They return a tuple with one gradient each for the arguments, or for those that are real numbers; or a dict
        with the arguments' names as keys, with or without a ``d`` before them; for one argument, its gradient will do.
    hessian, hvp : callable, optional
        With ``order=2``: the derivative of `grad` to check, as ``hessian(*args)`` or ``hvp(*args, v)``.
    order : int
        2 checks the derivative of the gradient as well. Without `hessian` and `hvp`, a gradient of the caller's own is
        checked for the symmetry that second derivatives have.
    argnums : int or sequence of int, optional
        Which arguments to check; default: all.
    full : bool, optional
        Compare the full Jacobian, element by element; default: when inputs × outputs are at most 10,000. Otherwise, for
        every argument, random directions and a sample of its elements are compared.
    rtol, atol : float, optional
        Largest difference, relative to the entry and absolute. Default: 1e-6 of the entry plus 1e-7 of the largest
        entry of the argument's gradient, for gradients in float64; 1e-3 and 1e-4 in float32. The rounding of the
        differences themselves is allowed for.
    seed : int
        Of the random directions and samples.
    raises : bool
        False returns a `GradcheckError` instead of raising it.

    Returns
    -------
    GradcheckResult
        True as a condition; says how many numbers were compared, the largest error and the kinks.

    Raises
    ------
    GradcheckError
        When the gradient is wrong: it names the argument, the elements, both values, and what explains them.
    TypeError, ValueError
        When there is nothing to check, or arguments don't fit.
    """
    from .check import checked

    forms = {"grad": grad, "vjp": vjp, "backward": backward, "jacobian": jacobian}
    second = {"order": order, "hessian": hessian, "hvp": hvp}
    options = {"full": full, "rtol": rtol, "atol": atol, "seed": seed}
    return checked(f, args, forms, second, argnums, options, raises)
