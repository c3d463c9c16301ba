"""Findings with the lines of the user's file that they are about."""

from __future__ import annotations

from dataclasses import replace

from ..adapters.backward_pass import BackwardPass, Point
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


def at(finding: Finding, line: SourceLine | None) -> Finding:
    """Return the finding with a line."""
    return finding if line is None else replace(finding, file=line.file, line=line.line, statement=line.statement)
