"""The command ``chainrule audit``: import a program, find the parts of its backward pass, audit them."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

from ..adapters.program import imported
from ..adapters.recorded_run import AuditError
from ..adapters.signatures import required
from ..adapters.training_scripts import CHOICES, TrainingScript, has_only_a_loop
from . import audit, audit_layer
from .report import RIGHT, Report
from .run import report_on

_SHOWN = 20


def audit_program(path: Path, names: dict[str, str], ascent: bool) -> Report:
    """Audit the program at `path`; `names` says what forward, backward, loss, parameters, X, Y are called there.

    Where it has no function of the name of the backward pass, but a loop that trains, that loop is audited.
    """
    if path.is_file() and names["backward"] == "backward" and has_only_a_loop(path, names["backward"]):
        return audit_script(path)
    with imported(path) as program:
        loss = names["loss"]
        if not hasattr(program, loss) and loss != "loss":
            parts = parts_of(program, path, {role: name for role, name in names.items() if role != "loss"})
            parts["loss"] = loss  # the name of one of the library's
        else:
            parts = parts_of(program, path, names)
        given = {role: value_of(parts[role]) for role in ("parameters", "X", "Y")}
        report = audit(parts["backward"], forward=parts["forward"], loss=parts["loss"], ascent=ascent, **given)
    return _titled(report, path, names)


def audit_script(path: Path) -> Report:
    """Audit the training loop of a script or a notebook that has nothing to call."""
    subject = TrainingScript(path)
    reports = [_of_script(subject)]
    for assumed in range(1, CHOICES if subject.assumed else 1):
        if reports[-1].ok:
            break
        with contextlib.suppress(AuditError):
            reports.append(_of_script(TrainingScript(path, assumed)))
    return max(reports, key=lambda r: (r.ok, sum(s.verdict == RIGHT for s in r.steps)))


def _of_script(subject: TrainingScript) -> Report:
    data = tuple(n for n in subject.names if n not in subject.exact)
    report = report_on(subject, data, False)
    if not report.ok and all(f.name in subject.signals for f in report.findings):
        subject.signals = set()
        returned = report_on(subject, data, False)
        report = returned if returned.ok else report
    return report


def audit_layer_of(path: Path, names: dict[str, str]) -> Report:
    """Audit one layer: forward's inputs are called in the program as in forward's signature, or are its ``inputs``."""
    with imported(path) as program:
        parts = parts_of(program, path, {role: names[role] for role in ("forward", "backward")})
        report = audit_layer(parts["forward"], parts["backward"], *layer_inputs(program, path, parts["forward"]))
    return _titled(report, path, names)


def layer_inputs(program: ModuleType, path: Path, forward: Any) -> tuple[Any, ...]:
    """Return the inputs of a layer: the program's ``inputs``, or what it has under the names of forward's arguments."""
    if hasattr(program, "inputs"):
        found = value_of(program.inputs)
        return tuple(found.values() if isinstance(found, dict) else found)
    wanted = [p.name for p in required(forward)]
    return tuple(map(value_of, parts_of(program, path, {name: name for name in wanted}).values()))


def _titled(report: Report, path: Path, names: dict[str, str]) -> Report:
    return dataclasses.replace(report, title=f"Audit of {names['backward']} in {path.name}")


def value_of(found: Any) -> Any:
    """Return data, or what a function without arguments returns."""
    return found() if callable(found) else found


def parts_of(program: ModuleType, path: Path, names: dict[str, str]) -> dict[str, Any]:
    """Return what the program has under the names, by role; a `LookupError` says which are missing."""
    missing = [name for name in names.values() if not hasattr(program, name)]
    if missing:
        own = _own(program)
        has = ", ".join(own[:_SHOWN]) + (", …" if len(own) > _SHOWN else "") or "no names of its own"
        looked = ", ".join(names.values())
        raise LookupError(
            f"{path} has no {', '.join(missing)}; looked for {looked}. It has {has}. "
            "Options such as --backward NAME say what a part is called"
        )
    return {role: getattr(program, name) for role, name in names.items()}


def _own(program: ModuleType) -> list[str]:
    """Return the program's names without what it imports."""
    return [
        name
        for name, value in vars(program).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and (not callable(value) or getattr(value, "__module__", None) == program.__name__)
    ]
