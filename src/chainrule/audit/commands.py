"""The command ``chainrule audit``: import a program, find the parts of its backward pass, audit them."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ..adapters.program import FAILED, drawn, imported, tolerant
from ..adapters.program_parts import Part, argument_names_of, contents, parts_in
from ..adapters.recorded_run import AuditError
from ..adapters.signatures import required
from ..adapters.training_scripts import (
    CHOICES,
    TrainingScript,
    is_uncalled,
    loop_in_function,
    own_source,
    training_loop,
    tree_of,
)
from . import audit, audit_layer
from .discovery import Audited, audited_parts, report_on_parts
from .report import RIGHT, Report
from .run import report_on_loss

_SHOWN = 20
#: So many draws of the arguments of a function that the file does not call are tried.
MOST_DRAWS = 7


def audit_program(path: Path, names: dict[str, str], ascent: bool = False, shapes: Sequence[str] = ()) -> Report:
    """Audit the program at `path`; `names` says what forward, backward, loss, parameters, X, Y are called there.

    Where it has not all of these, its pairs of functions, its classes and its training loop are found by their names,
    and audited on small data, whose `shapes` may be given: ``["x=6,4"]``.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; expected a Python file or a notebook")
    chosen = {role: name for role, name in names.items() if name != role}
    if not (set(chosen) - {"forward", "backward"}) and not _defines(path, names):
        return audit_parts(path, tuple(chosen.values()), shapes)
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


def audit_parts(path: Path, chosen: Sequence[str] = (), shapes: Sequence[str] = ()) -> Report:
    """Audit all that is found in a program; with `chosen`, only what has one of these names.

    Raises
    ------
    LookupError
        Where nothing is found, or nothing that was found could be read; it says why.
    """
    tree = tree_of(path)
    reports: list[Audited] = []
    if not chosen and training_loop(tree.body) is not None:
        reports.append(_script_as_part(path))
    with imported(path, tolerant(tree, str(path)), own_source(path)) as program:
        everything = parts_in(program)
        parts = [p for p in everything if not chosen or _is_chosen(p, chosen)]
        if everything and not parts:
            there = ", ".join(p.name for p in everything)
            raise LookupError(f"{path} has no {', '.join(chosen)} among what can be audited: {there}")
        reports += audited_parts(program, parts, _given(shapes, parts))
        failed = list(getattr(program, FAILED, ()))
        if not chosen and training_loop(tree.body) is None and loop_in_function(tree) is not None:
            inside = _script_as_part(path)
            reports += [inside] if inside.report is not None or not reports else []
        if not reports:
            found = f"{_LOOKED_FOR}. It has {contents(program)}."
            if failed:
                raise ValueError(f"{path}, line {failed[0][0]}: {failed[0][1]}; without it, nothing to audit; {found}")
            raise LookupError(f"{path} has nothing to audit; {found}")
    if all(a.report is None for a in reports):
        reasons = "; ".join(f"{a.part.name}: {a.reason}" for a in reports)
        raise LookupError(f"{path}: nothing could be read. {reasons}. {_skipped(failed)}".rstrip())
    read = [a.report for a in reports if a.report is not None]
    if len(reports) == 1 and reports[0].part.kind == SCRIPT:
        return read[0]
    report = report_on_parts(f"Audit of {path.name}", reports)
    return dataclasses.replace(report, notes=(*report.notes, *([_skipped(failed)] if failed else [])))


_LOOKED_FOR = (
    "looked for pairs of functions such as f_forward and f_backward, or f and f_prime, functions that return "
    "(loss, gradients), classes with forward and backward methods, and a loop that updates parameters. Options such as "
    "--backward NAME say what a part is called"
)
SCRIPT = "script"


def _script_as_part(path: Path) -> Audited:
    part = Part(SCRIPT, "training loop", None)
    try:
        return Audited(part, audit_script(path))
    except Exception as error:  # of the program's, too
        return Audited(part, None, f"{type(error).__name__}: {error}")


def _defines(path: Path, names: Mapping[str, str]) -> bool:
    """Whether a file has something called as each of `names`, or can't be parsed, which running a program says."""
    try:
        tree = tree_of(path)
    except (SyntaxError, ValueError):
        return path.suffix != ".ipynb"
    defined = {getattr(n, "name", getattr(n, "id", "")) for s in tree.body for n in _outside_functions(s)}
    return set(names.values()) <= defined


def _outside_functions(statement: ast.AST) -> Iterator[ast.AST]:
    yield statement
    if not isinstance(statement, ast.FunctionDef | ast.ClassDef):
        for inner in ast.iter_child_nodes(statement):
            yield from _outside_functions(inner)


def _given(shapes: Sequence[str], parts: Sequence[Part]) -> dict[str, Any]:
    """Return the arrays whose shapes are given, by names of arguments."""
    given, names = drawn(shapes, 0), {n: None for part in parts for n in argument_names_of(part)}
    if unknown := [n for n in given if n not in names]:
        raise ValueError(f"shape is given for {', '.join(unknown)}; the arguments are {', '.join(names)}")
    return given


def _is_chosen(part: Part, chosen: Sequence[str]) -> bool:
    return part.name in chosen or getattr(part.forward, "__name__", "") in chosen


def _skipped(failed: Sequence[tuple[int, str]]) -> str:
    """Return which statements of the program failed, and were left out."""
    return f"left out, since they fail: {', '.join(f'line {n} ({why})' for n, why in failed[:6])}" if failed else ""


def audit_script(path: Path) -> Report:
    """Audit the training loop of a script or a notebook that has nothing to call.

    Where arguments have to be drawn, or a loss is assumed, the likely ones are tried until the pass is right with one.
    """
    reports: list[Report] = []
    reasons: list[Exception] = []
    for draw in range(MOST_DRAWS if is_uncalled(path) else 1):
        try:
            reports += _of_losses(path, draw)
        except Exception as error:  # of the program's, too
            reasons.append(error)
        if reports and reports[-1].ok:
            break
    if not reports:
        raise reasons[0]
    return max(reports, key=lambda r: (r.ok, sum(s.verdict == RIGHT for s in r.steps)))


def _of_losses(path: Path, draw: int) -> list[Report]:
    subject = TrainingScript(path, draw=draw)
    reports = [_of_script(subject)]
    for assumed in range(1, CHOICES if subject.assumed else 1):
        if reports[-1].ok:
            break
        with contextlib.suppress(AuditError):
            reports.append(_of_script(TrainingScript(path, assumed, draw)))
    return reports


_SIZE_KEPT = "judged with as many examples as there are, since the loop uses their number from outside"


def _of_script(subject: TrainingScript) -> Report:
    data = tuple(n for n in subject.names if n not in subject.exact)
    report = report_on_loss(subject, data, batch=not subject.fixed_lengths)
    if subject.fixed_lengths:
        report = dataclasses.replace(report, notes=(_SIZE_KEPT, *report.notes))
    if subject.assumed:
        report = dataclasses.replace(report, provisos=(f"{subject.loss_text[:1].upper()}{subject.loss_text[1:]}.",))
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
