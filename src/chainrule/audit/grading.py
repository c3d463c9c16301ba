"""Grading: the backward passes of a class against one forward pass, with points for each step."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from ..adapters.containers import is_float_array
from ..adapters.program import blaming, imported
from ..adapters.signatures import argument_names
from ..show import document as doc
from . import audit, audit_layer
from .commands import layer_inputs, parts_of, value_of
from .report import INHERITED, RIGHT, WRONG, Report

#: Characters of the longest bar.
_WIDEST = 14
MISSING = "missing"


@dataclass(frozen=True)
class Grade:
    """What a submission got.

    Attributes
    ----------
    name, file : str
        Whose it is: the name of its file or folder.
    points, most : int
        One for each step that is right, given the gradients before it; and how many there are. Every mistake costs one.
    steps : dict
        The verdict on each step; "missing" where no gradient was returned.
    first, cause, line, statement, message : str, str, int, str, str
        The first finding.
    problem : str
        Why it could not be judged.
    """

    name: str
    file: str
    points: int = 0
    most: int = 0
    steps: Mapping[str, str] = field(default_factory=dict)
    first: str = ""
    cause: str = ""
    line: int = 0
    statement: str = ""
    message: str = ""
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether every step is right and nothing was found."""
        return not self.problem and not self.cause and self.points == self.most


def reference_steps(reference: str, names: Mapping[str, str], layer: bool) -> dict[str, Any]:
    """Return the steps that count: those of the reference's own backward pass, if it has one, else the parameters'.

    Where they cannot be told, return the problem.
    """
    try:
        return {"steps": _steps_that_count(reference, names, layer)}
    except Exception as error:
        return {"problem": str(error)}


def _steps_that_count(reference: str, names: Mapping[str, str], layer: bool) -> list[str]:
    with imported(Path(reference)) as program:
        if hasattr(program, names["backward"]):
            report = _audited(program, Path(reference), getattr(program, names["backward"]), names, layer)
            if not report.ok:
                first = report.findings[0]
                raise ValueError(f"{reference}: its own backward pass is wrong: {first.message}")
            return [step.name for step in report.steps]
        if layer:
            forward = parts_of(program, Path(reference), {"forward": names["forward"]})["forward"]
            inputs = layer_inputs(program, Path(reference), forward)
            pairs = zip(argument_names(forward, len(inputs)), inputs, strict=True)
            return ["d" + name for name, value in pairs if is_float_array(value)]
        found = value_of(parts_of(program, Path(reference), {"parameters": names["parameters"]})["parameters"])
    return ["d" + name for name in found] if isinstance(found, Mapping) else []


def grade(reference: str, submission: str, names: Mapping[str, str], layer: bool) -> dict[str, Any]:
    """Audit the backward pass of one file with the forward pass of another; return what a `Grade` is made of."""
    try:
        with _backward_of(Path(submission), names["backward"]) as backward, imported(Path(reference)) as program:
            report = _audited(program, Path(reference), backward, names, layer)
    except Exception as error:
        return {"problem": " ".join(f"{error}".split()) or type(error).__name__}
    found: dict[str, Any] = {"steps": {step.name: step.verdict for step in report.steps}}
    if report.findings:
        first = report.findings[0]
        found |= {"first": first.name, "cause": first.cause, "message": first.message}
        if Path(first.file).name == Path(submission).name:
            found |= {"line": first.line, "statement": first.statement}
    return found


@contextlib.contextmanager
def _backward_of(path: Path, name: str) -> Iterator[Any]:
    with imported(path) as program, blaming(path):
        yield parts_of(program, path, {"backward": name})["backward"]


def _audited(program: ModuleType, path: Path, backward: Any, names: Mapping[str, str], layer: bool) -> Report:
    forward = parts_of(program, path, {"forward": names["forward"]})["forward"]
    if layer:
        return audit_layer(forward, backward, *layer_inputs(program, path, forward))
    roles = {role: names[role] for role in ("parameters", "X", "Y")}
    given = {role: value_of(part) for role, part in parts_of(program, path, roles).items()}
    loss = getattr(program, names["loss"], names["loss"])
    return audit(backward, forward=forward, loss=loss, **given)


def graded(name: str, file: str, found: Mapping[str, Any], expected: Sequence[str]) -> Grade:
    """Return the grade: points for the expected steps, or for those that were returned if none are expected.

    A wrong step that is not among the expected ones costs a point as well.
    """
    verdicts = dict(found.get("steps", {}))
    steps = {step: verdicts.get(step, MISSING) for step in (expected or verdicts)}
    points = sum(verdict in (RIGHT, INHERITED) for verdict in steps.values())
    points = max(0, points - sum(verdict == WRONG for step, verdict in verdicts.items() if step not in steps))
    more = {key: found[key] for key in ("first", "cause", "line", "statement", "message", "problem") if key in found}
    if not more and points < len(steps):
        more = {"first": next(s for s, v in steps.items() if v not in (RIGHT, INHERITED)), "cause": MISSING}
    return Grade(name, file, points, len(steps), steps, **more)


# -- the class ---------------------------------------------------------------------------------------------------------


def grades_document(grades: Sequence[Grade], title: str) -> doc.Document:
    """Return the table of a class, and its causes as a bar chart."""
    right = sum(grade.ok for grade in grades)
    unjudged = sum(bool(grade.problem) for grade in grades)
    count = f"{len(grades)} submission{'s' * (len(grades) != 1)}"
    summary = f"{count}: {right} right, {len(grades) - right - unjudged} wrong, {unjudged} not judged."
    columns = (
        doc.Column("submission"),
        doc.Column("points", "number"),
        doc.Column("first wrong"),
        doc.Column("cause"),
        doc.Column("statement", "wide"),
    )
    tones: dict[int, doc.Tone] = {i: "good" if g.ok else "warn" if g.problem else "bad" for i, g in enumerate(grades)}
    blocks: list[doc.Block] = [
        doc.Heading(title, 1),
        doc.Paragraph(summary),
        doc.Table(columns, tuple(map(_row, grades)), tones),
    ]
    if causes := Counter(grade.cause for grade in grades if grade.cause):
        most = max(causes.values())
        bars = tuple(
            (doc.Code(cause), str(count), "█" * max(1, round(_WIDEST * count / most)))
            for cause, count in sorted(causes.items(), key=lambda pair: (-pair[1], pair[0]))
        )
        table = doc.Table((doc.Column("cause"), doc.Column("submissions", "number"), doc.Column("share")), bars)
        blocks += [doc.Heading("Causes of the first mistake"), table]
    return doc.Document(title, tuple(blocks))


def _row(grade: Grade) -> tuple[doc.Content, ...]:
    if grade.problem:
        return grade.name, "–", "", "not judged", grade.problem
    where: doc.Content = (f"line {grade.line}: ", doc.Code(grade.statement)) if grade.line else grade.message
    return grade.name, f"{grade.points}/{grade.most}", doc.Code(grade.first), doc.Code(grade.cause), where


def to_csv(grades: Sequence[Grade]) -> str:
    """Return the table with a column for each step."""
    steps = list(dict.fromkeys(step for grade in grades for step in grade.steps))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["submission", "file", "points", "of", "first_wrong_step", "cause", "line", "problem", *steps])
    for g in grades:
        line = g.line or ""
        row = [
            g.name,
            g.file,
            g.points,
            g.most,
            g.first,
            g.cause,
            line,
            g.problem,
            *(g.steps.get(s, "") for s in steps),
        ]
        writer.writerow([_not_a_formula(cell) for cell in row])
    return text.getvalue()


def _not_a_formula(cell: Any) -> Any:
    """Return a cell that a spreadsheet does not compute: the text comes from submissions."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def to_json(grades: Sequence[Grade]) -> str:
    """Return the grades as a list of objects."""
    return json.dumps([{**asdict(grade), "ok": grade.ok} for grade in grades], indent=2) + "\n"
