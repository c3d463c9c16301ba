"""What ``chainrule gradcheck file.py:function`` does: import a program, find the function's arguments, check it."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..adapters.program import blaming, imported
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
        ``"W=3,4"``: draw an argument at random. The others are what the file calls by their names.
    order, seed : int
        For `gradcheck`.
    """
    path, function = _parts(target)
    with imported(path) as program:
        f = _attribute(program, function, path)
        form, derivative = _derivative(program, function, path, given)
        args = _arguments(program, f, path, _drawn(shapes, seed))
        with blaming(path):
            return gradcheck(f, *args, order=order, seed=seed, raises=False, **({form: derivative} if form else {}))


def _parts(target: str) -> tuple[Path, str]:
    path, colon, function = target.rpartition(":")
    if not colon or not path or not function.isidentifier():
        raise ValueError(f"{target!r} does not name a function; expected file.py:function")
    return Path(path), function


def _attribute(program: ModuleType, name: str, path: Path) -> Any:
    if hasattr(program, name):
        return getattr(program, name)
    own = [n for n, v in vars(program).items() if getattr(v, "__module__", None) == program.__name__ and callable(v)]
    raise LookupError(f"{path} has no {name}; its functions are {', '.join(own) or 'none'}")


def _derivative(program: ModuleType, function: str, path: Path, given: dict[str, str | None]) -> tuple[str | None, Any]:
    """Return the form of the gradient and the function named for it, or found by its name."""
    named = {form: name for form, name in given.items() if name is not None}
    if len(named) > 1:
        raise ValueError(f"--{' and --'.join(named)} are given; expected one form of the gradient")
    for form, name in named.items():
        return form, _attribute(program, name, path)
    if function == "forward" and callable(getattr(program, "backward", None)):
        return "backward", program.backward
    for form, patterns in NAMES.items():
        for pattern in patterns:
            if callable(found := getattr(program, pattern.format(function), None)):
                return form, found
    return None, None


def _drawn(shapes: list[str], seed: int) -> dict[str, Any]:
    """Read ``["W=3,4", "b="]`` and draw."""
    rng = np.random.default_rng(seed)
    drawn = {}
    for text in shapes:
        name, equals, sizes = text.partition("=")
        try:
            shape = tuple(int(n) for n in sizes.replace("x", ",").split(",") if n.strip())
        except ValueError:
            shape = (-1,)
        if not equals or not name.isidentifier() or min(shape, default=0) < 0:
            raise ValueError(f"shape is {text!r}; expected a name and its sizes, such as W=3,4")
        drawn[name] = rng.normal(size=shape)
    return drawn


def _arguments(program: ModuleType, f: Any, path: Path, drawn: dict[str, Any]) -> list[Any]:
    """Return what the file, or a draw, holds under the names of the function's arguments."""
    torch_forward = getattr(f, "forward", None) if isinstance(f, type) else None
    signature = inspect.signature(f.forward if isinstance(f, Module) else torch_forward or f)
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    wanted = [p for p in signature.parameters.values() if p.kind in positional]
    if torch_forward is not None and wanted and wanted[0].name == "ctx":
        wanted = wanted[1:]
    args, missing = [], []
    for p in wanted:
        if p.name in drawn:
            args.append(drawn[p.name])
        elif hasattr(program, p.name):
            value = getattr(program, p.name)
            args.append(value() if inspect.isfunction(value) else value)
        elif p.default is inspect.Parameter.empty:
            missing.append(p.name)
        else:
            args.append(p.default)
    if missing:
        raise LookupError(
            f"{path} has no {', '.join(missing)}, which the function takes; define arrays of that name in the file, "
            f"or draw one with --shape {missing[0]}=3,4"
        )
    unknown = [name for name in drawn if name not in [p.name for p in wanted]]
    if unknown:
        raise ValueError(
            f"shape is given for {', '.join(unknown)}; the arguments are {', '.join(p.name for p in wanted)}"
        )
    return args
