"""The command ``chainrule gradcheck file.py:function``: import a program, find the function's arguments, check it."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

from ..adapters.program import arguments, attribute, blaming, drawn, imported
from ..adapters.signatures import positional
from ..nn import Module
from . import gradcheck
from .result import GradcheckError, GradcheckResult

#: Option -> names under which the function's gradient is looked for.
NAMES = {
    "grad": ("{}_grad", "grad_{}", "{}_gradient", "gradient_{}", "d{}"),
    "vjp": ("{}_vjp", "vjp_{}"),
    "backward": ("{}_backward", "backward_{}"),
    "jacobian": ("{}_jacobian", "jacobian_{}"),
}


def check_named(
    target: str, given: dict[str, str | None], shapes: list[str], order: int, seed: int
) -> GradcheckResult | GradcheckError:
    """Check ``file.py:function``.

    Parameters
    ----------
    target : str
        The file, a colon, and the name of the function, or of a module made there.
    given : dict
        Form of the gradient (grad, vjp, backward, jacobian) -> its name in the file, or None.
    shapes : list of str
        ``"W=3,4"``: draw an argument at random. The others are the file's values of the same names.
    order, seed : int
        For `gradcheck`.
    """
    path, colon, name = target.rpartition(":")
    if not colon or not path or not name.isidentifier():
        raise ValueError(f"{target!r} does not name a function; expected file.py:function")
    file = Path(path)
    with imported(file) as program:
        f = attribute(program, name, file)
        named = {form: attribute(program, n, file) for form, n in given.items() if n is not None}
        args = arguments(program, file, _parameters(f), drawn(shapes, seed))
        with blaming(file):
            return gradcheck(f, *args, order=order, seed=seed, raises=False, **(named or _found(program, name)))


def _found(program: ModuleType, function: str) -> dict[str, Any]:
    """Return a gradient found by its name, under the name of its form; nothing where there is none."""
    names = [(form, pattern.format(function)) for form, patterns in NAMES.items() for pattern in patterns]
    if function == "forward":
        names.insert(0, ("backward", "backward"))
    for form, name in names:
        if callable(found := getattr(program, name, None)):
            return {form: found}
    return {}


def _parameters(f: Any) -> list[inspect.Parameter]:
    """Return what `f` takes, without the context of PyTorch's functions."""
    forward = getattr(f, "forward", f) if isinstance(f, Module | type) else f
    taken = positional(forward)
    return taken[1:] if isinstance(f, type) and taken and taken[0].name == "ctx" else taken
