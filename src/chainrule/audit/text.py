"""A report in a terminal, as plain text, and as Markdown."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from .report import INHERITED, RIGHT, UNSEEN, WRONG, Finding, Report
from .wording import COLUMNS, cells, clean, details, headline, legend, lists, page_of, sentence

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

_COLOURS = {RIGHT: "green", WRONG: "bold red", INHERITED: "yellow", UNSEEN: "dim"}
_WIDTH = 80


def text(report: Report) -> str:
    """Return the report in 80 columns, without colours."""
    from rich.console import Console

    written = io.StringIO()
    console = Console(
        file=written,
        width=_WIDTH,
        color_system=None,
        force_terminal=False,
        force_jupyter=False,
        legacy_windows=False,
    )
    console.print(rich_text(report))
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


def rich_text(report: Report) -> Group:
    """Return the report as rich draws it."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [
        Text(sentence(report.title), style="bold"),
        Text(headline(report), style="bold green" if report.ok else "bold red"),
        Text(f"loss {report.loss:.6g}", style="dim"),
    ]
    for i, finding in enumerate(report.findings, 1):
        parts += [Text(""), *_finding(i, finding)]
    if report.steps:
        parts += [Text(""), _table(report), Text(legend(report), style="dim")]
    for heading, lines in lists(report):
        parts += [Text(""), Text(heading, style="bold"), _rows([("·", Text(line)) for line in lines])]
    return Group(*parts)


def _finding(number: int, finding: Finding) -> list[RenderableType]:
    from rich.text import Text

    title = Text.assemble(
        (f"{number}. ", "bold"), (clean(finding.name), "bold red"), "  ", (clean(finding.cause), "red")
    )
    rows = []
    for label, prose, formula in details(finding):
        style = {"right": "green", "yours": "red"}.get(label, "cyan")
        between = ": " if prose and formula else ""
        rows.append((label, Text.assemble(prose, between, (formula, style))))
    rows.append(("see", Text(page_of(finding.cause), style="cyan")))
    return [title, _indented(Text(sentence(finding.message))), _indented(_rows(rows))]


def _indented(part: RenderableType) -> RenderableType:
    from rich.padding import Padding

    return Padding(part, (0, 0, 0, 3))


def _rows(rows: list[tuple[str, Any]]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(Text(label, style="dim"), value)
    return grid


def _table(report: Report) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for name in COLUMNS:
        if name == "formula":
            table.add_column(name, overflow="fold", ratio=None)
        else:
            right = name in ("error", "total")
            widest = {"step": 16, "shape": 14}.get(name)
            table.add_column(
                name, justify="right" if right else "left", no_wrap=True, overflow="ellipsis", max_width=widest
            )
    for step in report.steps:
        style = _COLOURS.get(step.verdict, "")
        name, verdict, *rest = cells(step)
        table.add_row(Text(name, style=style), Text(verdict, style=style), *map(Text, rest))
    return table


# -- Markdown ----------------------------------------------------------------------------------------------------------


def markdown(report: Report) -> str:
    """Return the report as Markdown; what stands in it is shown, and never read as markup."""
    lines = [f"# {_prose(report.title)}", "", f"**{_prose(headline(report))}** Loss {report.loss:.6g}.", ""]
    for i, finding in enumerate(report.findings, 1):
        lines += [f"## {i}. {_code(clean(finding.name))}: {_prose(finding.cause)}", "", _prose(finding.message), ""]
        for label, prose, formula in details(finding):
            lines.append(f"- {label}: " + ": ".join(p for p in (_prose(prose), _code(formula)) if p))
        lines += [f"- see: {_code(page_of(finding.cause))}", ""]
    if report.steps:
        lines += ["## Steps", "", _row(COLUMNS), "|---|---|---|---:|---:|---|"]
        for step in report.steps:
            name, verdict, *rest, formula = cells(step)
            lines.append(_row([_code(name), _prose(verdict), *rest, _code(formula)]))
        lines += ["", _prose(legend(report)), ""]
    for heading, found in lists(report):
        lines += [f"## {heading}", "", *(f"- {_prose(line)}" for line in found), ""]
    return "\n".join(lines)


def _prose(words: str) -> str:
    """Return words with a backslash before what Markdown would take for markup."""
    escaped = re.sub(r"([\\`*_\[\]<>|~#&$])", r"\\\1", sentence(words))
    return re.sub(r"^(\d*)([-+.)=])", r"\1\\\2", escaped)


def _code(words: str) -> str:
    if not words:
        return ""
    fence = "`" * (max((len(run) for run in re.findall("`+", words)), default=0) + 1)
    space = " " if words[0] in "` " or words[-1] in "` " else ""
    return f"{fence}{space}{words}{space}{fence}"


def _row(values: Any) -> str:
    """Return a row of a table; a bar ends a cell even within code, unless a backslash stands before it."""
    return "| " + " | ".join(re.sub(r"(?<!\\)\|", r"\\|", v) for v in values) + " |"
