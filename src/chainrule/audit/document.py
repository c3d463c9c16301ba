"""The report of an audit as a document."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..show import document as doc
from ..show.document import clean, pieces
from .verdicts import INHERITED, RIGHT, UNSEEN, WRONG

if TYPE_CHECKING:
    from .report import Finding, Report, Step

MARKS = {RIGHT: "✓", WRONG: "✗", INHERITED: "↳", UNSEEN: "?"}
TONES: dict[str, doc.Tone] = {RIGHT: "good", WRONG: "bad", INHERITED: "warn", UNSEEN: "dim"}
COLUMNS = (
    doc.Column("step"),
    doc.Column("verdict"),
    doc.Column("shape"),
    doc.Column("error", "number"),
    doc.Column("total", "number"),
    doc.Column("formula", "wide"),
)

#: Characters of a value of the evidence, and further candidates, that are shown.
_LONGEST, _OTHERS = 300, 3


def document(report: Report) -> doc.Document:
    """Return the headline, how the code was read, the findings, the table of steps, conventions and notes."""
    blocks: list[doc.Block] = [
        doc.Heading(report.title.strip() or "Audit", 1),
        doc.Paragraph(" ".join((headline(report), *report.provisos)), "good" if report.ok else "bad"),
        *([] if math.isnan(report.loss) else [doc.Paragraph(f"loss {report.loss:.6g}", "dim")]),
        *_read_as(report.read_as.splitlines()),
        *(_finding(i, finding) for i, finding in enumerate(report.findings, 1)),
    ]
    if report.steps:
        blocks += [doc.Heading("Steps"), *_tables(report.steps), doc.Paragraph(_legend(report), "dim")]
    reasons, conventions = (
        [f"{c.name}: {c.message}" if c.name else c.message for c in part]
        for part in (report.reasons, report.conventions)
    )
    listed = (("Right, because", reasons), ("Conventions (not errors)", conventions), ("Notes", report.notes))
    for heading, lines in listed:
        if lines:
            blocks += [doc.Heading(heading), doc.Items(tuple(lines))]
    return doc.Document(report.title, tuple(blocks))


def _read_as(lines: list[str]) -> list[doc.Block]:
    if len(lines) < 2:
        return [doc.Paragraph(f"Read as: {line}", "dim") for line in lines]
    return [doc.Paragraph("Read as:", "dim"), doc.Items(tuple(lines))]


def headline(report: Report) -> str:
    """Return the headline, in one or two sentences."""
    if findings := report.findings:
        first = clean(findings[0].name)
        found = (
            f"1 error found: {first}." if len(findings) == 1 else f"{len(findings)} errors found; fix {first} first."
        )
        if inherited := sum(step.verdict == INHERITED for step in report.steps):
            found += f" {inherited} more {'step inherits' if inherited == 1 else 'steps inherit'} an error."
        return found
    unseen = sum(step.verdict == UNSEEN for step in report.steps)
    seen = len(report.steps) - unseen
    if not seen:
        return "No error was found, but no step could be checked."
    if unseen:
        return f"No error was found: {seen} of {len(report.steps)} steps are right, {unseen} could not be checked."
    return f"Right: all {seen} steps." if seen > 1 else f"Right: {clean(report.steps[0].name)}, the only step."


def _finding(number: int, finding: Finding) -> doc.Section:
    head = doc.Heading((doc.Code(finding.name, "bad"), " ", doc.Text(finding.cause, "bad")), 2)
    fields = doc.Fields(tuple((label, value) for label, value in _details(finding) if pieces(value)))
    return doc.Section(head, (doc.Paragraph(finding.message), fields), number, "bad")


def _details(finding: Finding) -> Iterator[tuple[str, doc.Content]]:
    """Yield what stands below a finding's message, each with its label."""
    if finding.file:
        place = f"{shown_file(finding.file)}:{finding.line}"
        yield (
            "line",
            (doc.Code(place), "  ", doc.Code(finding.statement, "bad")) if finding.statement else doc.Code(place),
        )
    yield "right", doc.Code(finding.formula, "good")
    yours = finding.candidates[0].formula if finding.candidates else ""
    yield "yours", doc.Code(yours if yours != finding.formula else "", "bad")
    others = finding.candidates[1:]
    for candidate in others[:_OTHERS]:
        formula = (": ", doc.Code(candidate.formula)) if candidate.formula else ()
        yield "or", (f"{candidate.cause}: {candidate.message}", *formula)
    if len(others) > _OTHERS:
        yield "or", f"{len(others) - _OTHERS} more, in the finding's candidates"
    yield "seen", "; ".join(evidence(finding.evidence))
    yield "see", doc.Code(f"docs/causes/{finding.cause}.md")


def shown_file(file: str) -> str:
    """Return a path from the working directory on, if the file is in there."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


def evidence(values: Mapping[str, Any]) -> list[str]:
    """Return evidence in words; shapes only where they differ."""
    shapes = {"expected_shape", "found_shape"}
    same = shapes <= set(values) and tuple(values["expected_shape"]) == tuple(values["found_shape"])
    shown = ((key, _value(key, value)) for key, value in values.items() if not (same and key in shapes))
    return [
        f"{key.replace('_', ' ')} {text if len(text) <= _LONGEST else text[: _LONGEST - 1] + '…'}"
        for key, text in shown
    ]


def _value(key: str, value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (float, np.floating)):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        said = {"theirs": "yours"}
        return ", ".join(f"{said.get(k, str(k)).replace('_', ' ')} {_value(str(k), v)}" for k, v in value.items())
    if isinstance(value, (tuple, list)):
        if "shape" in key and all(isinstance(v, (int, np.integer)) for v in value):
            return _shape(value)
        return "(" + ", ".join(_value("", v) for v in value) + ")"
    return clean(str(value))


def _tables(steps: tuple[Step, ...]) -> Iterator[doc.Block]:
    """Yield the table of steps, or one for each part of a program, whose steps are called "part: step"."""
    for part, group in itertools.groupby(steps, lambda step: step.name.rpartition(": ")[0]):
        own = [replace(step, name=step.name.rpartition(": ")[2]) for step in group]
        if part:
            yield doc.Heading(doc.Code(part), 3)
        yield doc.Table(COLUMNS, tuple(map(_row, own)), {i: TONES.get(s.verdict, "") for i, s in enumerate(own)})


def _row(step: Step) -> tuple[doc.Content, ...]:
    source: doc.Content = f"from {', '.join(step.upstream)}" if step.upstream else ""
    return (
        doc.Code(step.name),
        f"{MARKS.get(step.verdict, '?')} {step.verdict}",
        _shape(step.shape),
        _error(step.error),
        _error(step.total_error),
        doc.Code(step.formula) if step.formula.strip() else source,
    )


def _legend(report: Report) -> str:
    """Return what the words of the table mean, as far as they occur."""
    if all(step.total_error is None for step in report.steps):
        return "error: relative, given the parameters that your own steps have come to."
    words = "error: relative, given your own upstream gradients; total: against the gradient of the loss."
    if any(candidate.formula for finding in report.findings for candidate in finding.candidates):
        words = "yours: the formula that gives your numbers. " + words
    if any(step.verdict == INHERITED for step in report.steps):
        words += " inherited: it follows correctly from a gradient that is wrong."
    return words


def _shape(sizes: Iterable[Any]) -> str:
    """Return ``3×4``; ``()`` for a number."""
    return "×".join(map(str, sizes)) or "()"


def _error(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"
