"""Reports for other programs: annotations of GitHub, and SARIF for code scanning."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from .. import show
from ..show.document import printable
from .document import document, shown_file
from .mistakes import CAUSES

if TYPE_CHECKING:
    from .report import Finding, Report

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def to_github(report: Report) -> str:
    """Return a workflow command per finding: GitHub shows it at its line of a pull request."""
    lines = []
    for finding in report.findings:
        place = {"file": shown_file(finding.file), "line": str(finding.line)} if finding.file else {}
        place["title"] = f"{finding.name}: {finding.cause}"
        options = ",".join(f"{key}={_option(value)}" for key, value in place.items())
        lines.append(f"::error {options}::{_data(_sentence(finding))}\n")
    return "".join(lines)


def _sentence(finding: Finding) -> str:
    right = f" The right formula: {finding.formula}" if finding.formula else ""
    return printable(finding.message + right)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _option(text: str) -> str:
    return _data(printable(text)).replace(":", "%3A").replace(",", "%2C")


def to_sarif(report: Report) -> str:
    """Return the findings in SARIF 2.1.0."""
    causes = sorted({f.cause for f in report.findings})
    rules = [{"id": c, "shortDescription": {"text": CAUSES.get(c, c)}} for c in causes]
    driver = {"name": "chainrule", "informationUri": "https://pypi.org/project/chainrule/", "rules": rules}
    results = [_result(f, causes.index(f.cause)) for f in report.findings]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"


def _result(finding: Finding, index: int) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.cause,
        "ruleIndex": index,
        "level": "error",
        "message": {"text": _sentence(finding)},
    }
    if finding.file and not finding.file.startswith("<"):  # code without a file, as "<stdin>"
        place: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.file)}}
        if finding.line:
            place["region"] = {"startLine": finding.line, "snippet": {"text": printable(finding.statement)}}
        result["locations"] = [{"physicalLocation": place}]
    return result


def _uri(file: str) -> str:
    shown = Path(shown_file(file))
    if shown.is_absolute():
        return shown.as_uri()
    from urllib.parse import quote

    return quote(str(PurePosixPath(*shown.parts)))


#: Format -> the report as text; the text of a terminal is made by the command.
FORMS: dict[str, Callable[[Report], str]] = {
    "json": lambda report: report.to_json() + "\n",
    "github": to_github,
    "sarif": to_sarif,
    "html": lambda report: show.as_page(document(report)),
    "markdown": lambda report: show.as_markdown(document(report)),
    "text": lambda report: f"{report}\n",
}
