"""`gradcheck`: is a gradient right? Held to central differences in float64."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..adapters.gradient_forms import Subject, subject_of
from .comparison import Comparison, Settings
from .failure import failure
from .result import GradcheckError, GradcheckResult
from .second_order import second_order


def checked(
    f: Any,
    args: tuple[Any, ...],
    grad: Callable[..., Any] | None,
    vjp: Callable[..., Any] | None,
    backward: Callable[..., Any] | None,
    jacobian: Callable[..., Any] | None,
    hessian: Callable[..., Any] | None,
    hvp: Callable[..., Any] | None,
    order: int,
    argnums: int | Sequence[int] | None,
    full: bool | None,
    rtol: float | None,
    atol: float | None,
    seed: int,
    raises: bool,
) -> GradcheckResult | GradcheckError:
    """Return the outcome, or raise it; see `chainrule.gradcheck`."""
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
