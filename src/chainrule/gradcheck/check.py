"""The steps of `chainrule.gradcheck`: read its arguments, compare, and return or raise the outcome."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..adapters.checked_functions import checked_function
from ..adapters.gradient_forms import CheckedFunction
from ..core.arguments import integer, number, unexpected
from .comparison import Comparison, Settings
from .failure import failure
from .result import GradcheckError, GradcheckResult
from .second_order import second_order


def checked(
    f: Any,
    args: tuple[Any, ...],
    forms: Mapping[str, Any],
    second: Mapping[str, Any],
    argnums: Any,
    options: Mapping[str, Any],
    raises: bool,
) -> GradcheckResult | GradcheckError:
    """Return the outcome, or raise it.

    Parameters
    ----------
    f, args, argnums, raises
        As `chainrule.gradcheck` takes them.
    forms : dict
        Its arguments grad, vjp, backward and jacobian.
    second : dict
        Its arguments order, hessian and hvp.
    options : dict
        Its arguments full, rtol, atol and seed.
    """
    form, derivative = _given_form(forms)
    settings = _settings(**options)
    if not callable(f):
        raise TypeError(f"f is a {type(f).__name__}; expected a function, a module or a torch.autograd.Function")
    order, hessian, hvp = integer("order", second["order"], at_least=1, at_most=2), second["hessian"], second["hvp"]
    if (hessian is not None or hvp is not None) and (form != "grad" or order != 2):
        raise ValueError("hessian and hvp are the derivative of grad=: give grad= too, and order=2")
    function = checked_function(f, args, form, derivative, _argnums(argnums, len(args)))
    if not any(leaf.checked for leaf in function.leaves):
        raise TypeError(
            f"{function.name} has no argument of real numbers{'' if argnums is None else ' among argnums'}; integers "
            "are held fixed: give 3.0 instead of 3, or x.astype(np.float64)"
        )
    outcome = _compared(function, settings)
    if order == 2 and isinstance(outcome, GradcheckResult):
        gradient, looser = second_order(function, hessian, hvp, settings.seed)
        if looser and settings.rtol is None:
            settings = replace(settings, rtol=1e-4)
        outcome = _both(outcome, _compared(gradient, settings))
    if isinstance(outcome, GradcheckError) and raises:
        raise outcome
    return outcome


def _given_form(forms: Mapping[str, Any]) -> tuple[str | None, Any]:
    given = {name: value for name, value in forms.items() if value is not None}
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} are given; expected one form of the gradient")
    form, derivative = next(iter(given.items()), (None, None))
    if form is not None and not callable(derivative):
        raise TypeError(f"{form} is a {type(derivative).__name__}; expected a function")
    return form, derivative


def _settings(full: Any, rtol: Any, atol: Any, seed: Any) -> Settings:
    if full not in (None, True, False):
        raise unexpected("full", "True, False or None", full)
    rtol, atol = (
        None if value is None else number(name, value, at_least=0.0, alternative=" or None")
        for name, value in (("rtol", rtol), ("atol", atol))
    )
    return Settings(full, rtol, atol, integer("seed", seed, at_least=0))


def _argnums(argnums: Any, count: int) -> tuple[int, ...] | None:
    if argnums is None:
        return None
    try:
        wanted = [operator.index(a) for a in (argnums if isinstance(argnums, tuple | list) else [argnums])]
    except TypeError:
        raise unexpected("argnums", "the position of an argument, or a tuple of positions", argnums) from None
    for a in wanted:
        if not -count <= a < count:
            raise ValueError(f"argnums names argument {a}; there are {count} arguments")
    return tuple(a % count for a in wanted)


def _both(first: GradcheckResult, second: GradcheckResult | GradcheckError) -> GradcheckResult | GradcheckError:
    if isinstance(second, GradcheckError):
        return second
    notes = (*first.notes, f"Of these, {second.checked:,} are of the gradient's own derivative.", *second.notes)
    return replace(
        first,
        checked=first.checked + second.checked,
        max_error=max(first.max_error, second.max_error),
        full=first.full and second.full,
        kinks=first.kinks + second.kinks,
        notes=tuple(dict.fromkeys(notes)),
    )


def _compared(function: CheckedFunction, settings: Settings) -> GradcheckResult | GradcheckError:
    comparison = Comparison(function, settings)
    try:
        outcome = comparison.outcome()
        return outcome if isinstance(outcome, GradcheckResult) else failure(comparison, outcome)
    except GradcheckError as error:
        return error
