"""A report as HTML: one file that loads nothing, light or dark as the reader has it."""

from __future__ import annotations

from html import escape

from ..show.html import document
from .report import CAUSES, Finding, Report, Step
from .wording import COLUMNS, cells, clean, details, headline, legend, lists, page_of, sentence

_STYLE = """
.chainrule-audit {
  color-scheme: light dark;
  --back: #fff; --fore: #1c2128; --dim: #5b6470; --line: #d8dde3; --box: #f5f7f9;
  --right: #176f2c; --wrong: #b3261e; --inherited: #8a5a00; --unseen: #5b6470;
  background: var(--back); color: var(--fore); font: 16px/1.5 system-ui, sans-serif;
  box-sizing: border-box; max-width: 60rem; margin: 0 auto; padding: 1.25rem; overflow-wrap: anywhere;
}
@media (prefers-color-scheme: dark) { .chainrule-audit {
  --back: #14171b; --fore: #e4e7eb; --dim: #9aa4b0; --line: #353c45; --box: #1d2228;
  --right: #62c87a; --wrong: #ff8a80; --inherited: #e5b454; --unseen: #9aa4b0;
} }
.chainrule-audit h1 { font-size: 1.4rem; line-height: 1.25; margin: 0 0 .5rem; }
.chainrule-audit h2 { font-size: 1.1rem; margin: 1.75rem 0 .5rem; }
.chainrule-audit p { margin: .25rem 0; }
.chainrule-audit code { font: .9em ui-monospace, monospace; white-space: pre-wrap; }
.chainrule-audit .dim { color: var(--dim); font-size: .875rem; }
.chainrule-audit .right { color: var(--right); }
.chainrule-audit .wrong { color: var(--wrong); }
.chainrule-audit .inherited { color: var(--inherited); }
.chainrule-audit .unseen { color: var(--unseen); }
.chainrule-audit .headline { font-size: 1.1rem; font-weight: 600; }
.chainrule-audit article {
  background: var(--box); border-left: 4px solid var(--wrong); border-radius: 4px; margin: 1rem 0; padding: .75rem 1rem;
}
.chainrule-audit article h2 { margin: 0 0 .25rem; }
.chainrule-audit article h2 span { font-weight: normal; font-size: .9rem; }
.chainrule-audit dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .5rem 0 0; }
.chainrule-audit dt { color: var(--dim); }
.chainrule-audit dd { margin: 0; text-align: left; }
.chainrule-audit ul { margin: 0; padding-left: 1.25rem; }
.chainrule-audit table {
  border-collapse: collapse; width: 100%; margin: 0 0 .5rem; font-variant-numeric: tabular-nums;
}
.chainrule-audit th, .chainrule-audit td {
  background: none; border: 0; border-bottom: 1px solid var(--line); padding: .35rem .75rem .35rem 0;
  text-align: left; vertical-align: top; white-space: nowrap; font-size: .9rem;
  max-width: 14rem; overflow: hidden; text-overflow: ellipsis;
}
.chainrule-audit th { color: var(--dim); font-weight: 600; }
.chainrule-audit .number { text-align: right; }
.chainrule-audit .formula { white-space: normal; max-width: none; width: 45%; }
@media (max-width: 40rem) {
  .chainrule-audit { padding: .75rem; }
  .chainrule-audit table, .chainrule-audit thead, .chainrule-audit tbody { display: block; }
  .chainrule-audit tr {
    display: grid; grid-template-columns: 1fr 1.5fr 1.2fr 1fr 1fr; column-gap: .5rem;
    border-bottom: 1px solid var(--line); padding: .35rem 0;
  }
  .chainrule-audit th, .chainrule-audit td { border: 0; padding: 0; font-size: .8125rem; }
  .chainrule-audit .formula { grid-column: 1 / -1; width: auto; }
}
"""


def page(report: Report) -> str:
    """Return the report as a file of its own."""
    return document(sentence(report.title), fragment(report))


def fragment(report: Report) -> str:
    """Return the report as an element to be put into a page, as notebooks do."""
    verdict = "right" if report.ok else "wrong"
    parts = [
        f'<div class="chainrule-audit">\n<style>{_STYLE}</style>',
        f"<h1>{_text(report.title)}</h1>",
        f'<p class="headline {verdict}">{escape(headline(report))}</p>',
        f'<p class="dim">loss {report.loss:.6g}</p>',
        *(_finding(i, finding) for i, finding in enumerate(report.findings, 1)),
    ]
    if report.steps:
        parts += ["<h2>Steps</h2>", _table(report.steps), f'<p class="dim">{escape(legend(report))}</p>']
    for heading, lines in lists(report):
        items = "\n".join(f"<li>{escape(line)}</li>" for line in lines)
        parts.append(f"<h2>{heading}</h2>\n<ul>\n{items}\n</ul>")
    return "\n".join([*parts, "</div>"])


def _text(words: str) -> str:
    return escape(sentence(words))


def _finding(number: int, finding: Finding) -> str:
    cause = escape(clean(finding.cause))
    lines = [
        "<article>",
        f'<h2>{number}. <code>{escape(clean(finding.name))}</code> <span class="wrong">{cause}</span></h2>',
        f"<p>{_text(finding.message)}</p>",
        "<dl>",
    ]
    for label, prose, formula in details(finding):
        style = {"right": ' class="right"', "yours": ' class="wrong"'}.get(label, "")
        code = f"<code{style}>{escape(formula)}</code>" if formula else ""
        lines.append(f"<dt>{label}</dt><dd>{': '.join(p for p in (escape(prose), code) if p)}</dd>")
    meaning = escape(CAUSES.get(finding.cause, ""))
    lines.append(f'<dt>see</dt><dd class="dim"><code>{escape(page_of(finding.cause))}</code> {meaning}</dd>')
    return "\n".join([*lines, "</dl>", "</article>"])


def _table(steps: tuple[Step, ...]) -> str:
    head = "".join(f'<th role="columnheader"{_kind(name)}>{name}</th>' for name in COLUMNS)
    rows = [_row(step) for step in steps]
    return "\n".join(
        ['<table role="table">', f'<thead><tr role="row">{head}</tr></thead>', "<tbody>", *rows, "</tbody>", "</table>"]
    )


def _row(step: Step) -> str:
    name, verdict, *rest, formula = cells(step)
    colour = {"right", "wrong", "inherited", "unseen"} & {step.verdict}
    values = [
        f'<td role="cell" title="{escape(name)}"><code>{escape(name)}</code></td>',
        f'<td role="cell" class="{"".join(colour)}">{escape(verdict)}</td>',
        *(f'<td role="cell"{_kind(c)}>{escape(v)}</td>' for c, v in zip(COLUMNS[2:5], rest, strict=True)),
        f'<td role="cell" class="formula"><code>{escape(formula)}</code></td>',
    ]
    return f'<tr role="row">{"".join(values)}</tr>'


def _kind(column: str) -> str:
    kind = {"error": "number", "total": "number", "formula": "formula"}.get(column)
    return f' class="{kind}"' if kind else ""
