"""`gradcheck`: is a gradient right? Held to central differences in float64."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .comparison import Comparison, Settings
from .failure import failure
from .second import second_order
from .subject import Subject, subject_of
from .verdict import GRADCHECK_CAUSES, GradcheckError, GradcheckResult

__all__ = ["GRADCHECK_CAUSES", "GradcheckError", "GradcheckResult", "gradcheck"]


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
    form, derivative = _chosen(grad=grad, vjp=vjp, backward=backward, jacobian=jacobian)
    settings = _settings(full, rtol, atol, seed)
    if not callable(f):
        raise TypeError(f"f is a {type(f).__name__}; a function, a module or a torch.autograd.Function would do")
    if order not in (1, 2) or isinstance(order, bool):
        raise ValueError(f"order is {order!r}; 1 or 2 would do")
    if (hessian is not None or hvp is not None) and (grad is None or order != 2):
        raise ValueError("hessian and hvp are the derivative of grad=: give grad= too, and order=2")
    subject = subject_of(f, args, form, derivative, _argnums(argnums, len(args)))
    if not any(leaf.checked for leaf in subject.leaves):
        raise TypeError(
            f"{subject.name} has no argument of real numbers{'' if argnums is None else ' among argnums'}; integers "
            "are held fixed: 3.0 instead of 3, or x.astype(np.float64), would do"
        )
    outcome = _checked(subject, settings)
    if order == 2 and outcome:
        assert isinstance(outcome, GradcheckResult)
        second, looser = second_order(subject, args, hessian, hvp, settings.seed)
        if looser and rtol is None:
            settings = Settings(full, 1e-4, atol, seed)
        outcome = _both(outcome, _checked(second, settings))
    if isinstance(outcome, GradcheckError) and raises:
        raise outcome
    return outcome


def _chosen(**forms: Any) -> tuple[str | None, Any]:
    given = {name: value for name, value in forms.items() if value is not None}
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} are given; one form of the gradient would do")
    for name, value in given.items():
        if not callable(value):
            raise TypeError(f"{name} is a {type(value).__name__}; a function of the arguments would do")
        return name, value
    return None, None


def _settings(full: Any, rtol: Any, atol: Any, seed: Any) -> Settings:
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value is not None and not (isinstance(value, int | float) and 0 <= value < float("inf")):
            raise ValueError(f"{name} is {value!r}; a number, 0 or larger, would do")
    if full not in (None, True, False):
        raise TypeError(f"full is {full!r}; True, False or None would do")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed is {seed!r}; a whole number, 0 or larger, would do")
    return Settings(full, rtol, atol, int(seed))


def _argnums(argnums: Any, count: int) -> tuple[int, ...] | None:
    if argnums is None:
        return None
    try:
        wanted = [operator.index(a) for a in (argnums if isinstance(argnums, tuple | list) else [argnums])]
    except TypeError:
        raise TypeError(f"argnums is {argnums!r}; the position of an argument, or a tuple of them, would do") from None
    for a in wanted:
        if not -count <= a < count:
            raise ValueError(f"argnums names argument {a}; there are {count} arguments")
    return tuple(a % count for a in wanted)


def _both(first: GradcheckResult, second: GradcheckResult | GradcheckError) -> GradcheckResult | GradcheckError:
    if isinstance(second, GradcheckError):
        return second
    return GradcheckResult(
        first.name,
        first.checked + second.checked,
        max(first.max_error, second.max_error),
        first.full and second.full,
        first.kinks + second.kinks,
        tuple(
            dict.fromkeys(
                (*first.notes, f"Of these, {second.checked:,} are of the gradient's own derivative.", *second.notes)
            )
        ),
    )


def _checked(subject: Subject, settings: Settings) -> GradcheckResult | GradcheckError:
    comparison = Comparison(subject, settings)
    try:
        outcome = comparison.outcome()
        return outcome if isinstance(outcome, GradcheckResult) else failure(comparison, outcome)
    except GradcheckError as error:
        return error
