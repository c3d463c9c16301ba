"""The magic ``%%audit`` of notebooks: run a cell, then audit the backward pass that it defines."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

from .audit import audit, audit_layer, audit_module
from .audit.commands import layer_inputs, parts_of, value_of

_ROLES = ("forward", "backward", "loss", "parameters", "X", "Y")


def add_magic(shell: Any) -> None:
    """Register ``%%audit`` in an IPython shell."""

    def cell_magic(line: str, cell: str) -> Any:
        options = _options(line)
        finished = shell.run_cell(cell)
        return report_of(shell.user_ns, options) if finished.success else None

    shell.register_magic_function(cell_magic, "cell", "audit")


def report_of(names: dict[str, Any], options: argparse.Namespace) -> Any:
    """Return the report on what a notebook holds under the names in `options`."""
    program = ModuleType("__main__")
    vars(program).update(names)
    cell = Path("the notebook")
    if options.what:
        module, *inputs = parts_of(program, cell, {name: name for name in options.what}).values()
        return audit_module(module, *inputs)
    chosen = {role: getattr(options, role) for role in _ROLES}
    if options.layer or not hasattr(program, options.loss):
        passes = parts_of(program, cell, {role: chosen[role] for role in ("forward", "backward")})
        return audit_layer(passes["forward"], passes["backward"], *layer_inputs(program, cell, passes["forward"]))
    parts = parts_of(program, cell, chosen)
    data = {role: value_of(parts[role]) for role in ("parameters", "X", "Y")}
    return audit(parts["backward"], forward=parts["forward"], loss=parts["loss"], ascent=options.ascent, **data)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ValueError(f"%%audit: {message}")


def _options(line: str) -> argparse.Namespace:
    parser = _Parser(prog="%%audit", add_help=False)
    parser.add_argument("what", nargs="*")
    parser.add_argument("--layer", action="store_true")
    parser.add_argument("--ascent", action="store_true")
    for role in _ROLES:
        parser.add_argument(f"--{role}", default=role)
    return parser.parse_args(shlex.split(line))
