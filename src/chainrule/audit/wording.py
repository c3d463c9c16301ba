"""The words of a report that its renderings share: headline, details of a finding, cells of the table, JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .report import INHERITED, RIGHT, UNSEEN, WRONG, Finding, Report, Step

MARKS = {RIGHT: "✓", WRONG: "✗", INHERITED: "↳", UNSEEN: "?"}

COLUMNS = ("step", "verdict", "shape", "error", "total", "formula")

_LONGEST = 300
_OTHERS = 3


def clean(text: str) -> str:
    """Return `text` in one line, with what a terminal would obey or could not show as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def sentence(text: str) -> str:
    """Return prose in one line, cleaned."""
    return clean(" ".join(text.split()))


def headline(report: Report) -> str:
    """Return what matters most, in a sentence or two."""
    findings = report.findings
    if findings:
        first = clean(findings[0].name)
        if len(findings) == 1:
            found = f"One thing is wrong: {first}."
        else:
            found = f"{len(findings)} things are wrong. Put {first} right first."
        inherited = sum(step.verdict == INHERITED for step in report.steps)
        if inherited:
            found += f" {inherited} more {'step follows' if inherited == 1 else 'steps follow'} from what is wrong."
        return found
    unseen = sum(step.verdict == UNSEEN for step in report.steps)
    seen = len(report.steps) - unseen
    if not seen:
        return "Nothing was found wrong, but no step could be judged."
    if unseen:
        return f"Nothing was found wrong: {seen} of {len(report.steps)} steps are right, {unseen} could not be judged."
    return f"Right: all {seen} steps." if seen > 1 else f"Right: {clean(report.steps[0].name)}, the only step."


def details(finding: Finding) -> Iterable[tuple[str, str, str]]:
    """Yield (label, prose, formula) for what stands below a finding's message; prose or formula may be empty."""
    if finding.formula:
        yield "right", "", sentence(finding.formula)
    others = finding.candidates[1:]
    if finding.candidates and finding.candidates[0].formula:
        yield "yours", "", sentence(finding.candidates[0].formula)
    for candidate in others[:_OTHERS]:
        yield "or", sentence(f"{candidate.cause}: {candidate.message}"), sentence(candidate.formula)
    if len(others) > _OTHERS:
        yield "or", f"{len(others) - _OTHERS} more, in the finding's candidates", ""
    if seen := "; ".join(evidence(finding.evidence)):
        yield "seen", seen, ""


def evidence(values: Mapping[str, Any]) -> list[str]:
    """Return evidence in words; shapes only where they differ."""
    shapes = {"expected_shape", "found_shape"}
    same = shapes <= set(values) and tuple(values["expected_shape"]) == tuple(values["found_shape"])
    return [
        f"{clean(key.replace('_', ' '))} {shown(key, value)}"
        for key, value in values.items()
        if not (same and key in shapes)
    ]


def page_of(cause: str) -> str:
    """Return where the page of a cause is."""
    return f"docs/causes/{clean(cause)}.md"


def cells(step: Step) -> tuple[str, ...]:
    """Return a step's row of the table, under ``COLUMNS``."""
    source = "from " + ", ".join(map(clean, step.upstream)) if step.upstream else ""
    return (
        clean(step.name),
        f"{MARKS.get(step.verdict, '?')} {clean(step.verdict)}",
        shape(step.shape),
        error(step.error),
        error(step.total_error),
        sentence(step.formula) or source,
    )


def legend(report: Report) -> str:
    """Return what the words of the table mean, as far as they occur."""
    words = "error: relative, given your own upstream gradients; total: against the gradient of the loss."
    if any(candidate.formula for finding in report.findings for candidate in finding.candidates):
        words = "yours: the formula that gives your numbers. " + words
    if any(step.verdict == INHERITED for step in report.steps):
        words += " inherited: it follows rightly from what is wrong."
    return words


def lists(report: Report) -> list[tuple[str, list[str]]]:
    """Return the headings that follow the table, each with its lines."""
    conventions = [sentence(f"{c.name}: {c.message}" if c.name else c.message) for c in report.conventions]
    found = [("Conventions (not errors)", conventions), ("Notes", [sentence(note) for note in report.notes])]
    return [(heading, lines) for heading, lines in found if lines]


def shape(sizes: Iterable[Any]) -> str:
    """Return ``3×4``; ``()`` for a number."""
    return "×".join(map(str, sizes)) or "()"


def error(value: float | None) -> str:
    """Return a relative error with two digits."""
    return "–" if value is None else f"{value:.2g}"


def shown(key: str, value: Any) -> str:
    """Return a value of a finding's evidence as it is printed."""
    text = _shown(key, value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _shown(key: str, value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (float, np.floating)):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{clean(str(k)).replace('_', ' ')} {_shown(str(k), v)}" for k, v in value.items())
    if isinstance(value, (tuple, list)):
        if "shape" in key and all(isinstance(v, (int, np.integer)) for v in value):
            return shape(value)
        return "(" + ", ".join(_shown("", v) for v in value) + ")"
    return sentence(str(value))


def as_dict(report: Report) -> dict[str, Any]:
    """Return a report as JSON has it."""
    fields = {f.name: plain(getattr(report, f.name)) for f in dataclasses.fields(report)}
    return {"title": fields.pop("title"), "ok": report.ok, "loss": fields.pop("loss"), **fields}


def plain(value: Any) -> Any:
    """Return `value` as JSON has it: dicts, lists, strings, booleans, whole numbers, finite numbers."""
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, (tuple, list, set, frozenset)):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)
