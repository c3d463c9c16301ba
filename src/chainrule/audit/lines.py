"""Findings with the lines of the user's file that they are about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..adapters.backward_pass import BackwardPass, Point
from ..adapters.objects import Objects
from ..adapters.source_lines import SourceLine
from .report import Finding


def with_lines(subject: BackwardPass, own: Point, findings: list[Finding]) -> list[Finding]:
    """Return the findings with the statements that made what they are about; else with where backward is defined."""
    if not findings:
        return findings
    names = {key: name for name, key in own.keys.items()}
    try:
        found = subject.lines_of(own, [names[f.name] for f in findings if f.name in names])
    except Exception:  # whatever the user's code raises when it is called once more
        found = {}
    lines = [found.get(names.get(f.name, "")) for f in findings]
    begin = subject.backward_line() if None in lines else None
    return [at(f, begin if line is None else line) for f, line in zip(findings, lines, strict=True)]


def once_for_each_class(subject: BackwardPass, findings: list[Finding]) -> list[Finding]:
    """Return the findings, one for all that the same statement of a class does wrong in several objects.

    It is in the place of the first of them. Signals that objects pass on are named after the last, the gradient that
    the caller gets, if among them; parameters after the first.
    """
    if not isinstance(subject, Objects):
        return findings
    classes = subject.passed_on()
    groups: dict[Any, list[Finding]] = {}
    for f in findings:
        if f.name in classes:
            key: Any = (classes[f.name], f.cause, f.file, f.line)
        else:
            key = (f.name.rpartition(".")[2], f.cause, f.file, f.line) if "." in f.name and f.file else id(f)
        groups.setdefault(key, []).append(f)
    return [_as_one(group, group[-1] if group[0].name in classes else group[0]) for group in groups.values()]


def _as_one(group: list[Finding], named: Finding) -> Finding:
    if len(group) == 1:
        return named
    others = [f.name for f in group if f is not named]
    so = f"So {'is' if len(others) == 1 else 'are'} {', '.join(others)}: the same code."
    return replace(named, message=f"{named.message} {so}")


def at(finding: Finding, line: SourceLine | None) -> Finding:
    """Return the finding with a line."""
    return finding if line is None else replace(finding, file=line.file, line=line.line, statement=line.statement)
