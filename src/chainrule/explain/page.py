"""A derivation as Markdown, as a LaTeX document, and as HTML with formulas in MathML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from ..formula.dimensions import dimensions
from ..formula.names import Spelling, escaped
from .steps import Backward
from .wording import (
    AS_A_WHOLE,
    MOST_STEPS,
    Style,
    chain_rule,
    dimension_check,
    headline,
    in_words,
    legend,
    local_derivatives,
    one_line,
    reuse,
    value_text,
)

if TYPE_CHECKING:
    from .derivation import Derivation

#: Around a formula within a sentence; no user's text holds them.
_BEGIN, _END = "\x02", "\x03"


@dataclass(frozen=True)
class Section:
    """One step: its formula, and labelled lines, each of them math or a sentence."""

    formula: str
    reused: str = ""
    math: tuple[tuple[str, str], ...] = ()
    text: tuple[tuple[str, str], ...] = ()


@dataclass
class _Spelled:
    """Names that are no plain names, as placeholders that a converter leaves alone."""

    names: list[str] = field(default_factory=list)

    def __call__(self, label: str) -> str:
        if label not in self.names:
            self.names.append(label)
        return f"Qname{self.names.index(label)}q"

    def restored(self, markup: str) -> str:
        """Put the names back, escaped."""
        return re.sub(r"Qname(\d+)q", lambda m: escape(one_line(self.names[int(m[1])])), markup)


def _style(derivation: Derivation, spelled: Spelling | None = None) -> Style:
    return Style(True, derivation.notation == "delta", spelled or escaped, _BEGIN, _END)


def forward_sections(derivation: Derivation, style: Style) -> Iterator[Section]:
    """Yield the forward pass."""
    steps = [*derivation.forward, *([derivation.loss] if derivation.loss else [])]
    for label in derivation.steps.inputs if derivation.steps.m is None else ():
        yield Section(style.name(label), text=(("value", value_text(derivation.values[label])),))
    for f in steps[:MOST_STEPS]:
        rows = [("shapes", dimensions(f.expression))]
        if derivation.steps.m is None:
            rows = [("value", value_text(derivation.values[f.name])), *(rows if f.shape else [])]
        yield Section(f"{style.name(f.name)} = {style.form(f.expression)}", text=tuple(rows))


def backward_sections(derivation: Derivation, style: Style) -> Iterator[Section]:
    """Yield the backward pass."""
    for step in derivation.backward[:MOST_STEPS]:
        yield _backward_section(derivation, step, style)


def _backward_section(derivation: Derivation, step: Backward, style: Style) -> Section:
    math = [("chain rule", chain_rule(derivation, step, style))]
    local = local_derivatives(derivation, step, style)
    math += [("local derivative", line) for line in local]
    rows: list[tuple[str, str]] = [] if local else [("local derivative", AS_A_WHOLE)]
    rows += [("shapes", dimension_check(step))] if step.shape or derivation.steps.m is not None else []
    if derivation.steps.m is None:
        rows.append(("value", value_text(derivation.values[step.name])))
    rows.append(("in words", in_words(derivation, step, style)))
    formula = f"{style.name(step.name)} = {style.form(step.expression)}"
    return Section(formula, reuse(step, style), tuple(math), tuple(rows))


# -- Markdown ------------------------------------------------------------------------------------------------------


def markdown(derivation: Derivation) -> str:
    """Return Markdown with LaTeX between dollar signs."""
    style = _style(derivation)
    lines = [f"# {_markdown_text(headline(derivation))}", "", _markdown_text(legend(derivation)), "", "## Forward", ""]
    for s in forward_sections(derivation, style):
        lines += [f"$${s.formula}$$", "", *(f"{label}: {_markdown_line(text)}  " for label, text in s.text), ""]
    lines += ["## Backward", ""]
    for k, s in enumerate(backward_sections(derivation, style), 1):
        lines += [f"**{k}.** {'reuses ' + _markdown_line(s.reused) if s.reused else ''}".rstrip(), ""]
        lines += [f"$${s.formula}$$", ""]
        lines += [f"- {label}: ${formula}$" for label, formula in s.math]
        lines += [f"- {label}: {_markdown_line(text)}" for label, text in s.text]
        lines.append("")
    lines += ["## Cost", "", "| | | |", "|---|---:|---|"]
    lines += [f"| {what} | {much} | {note} |" for what, much, note in derivation.cost.rows()]
    return "\n".join(lines) + "\n"


def _markdown_line(text: str) -> str:
    return "".join(f"${part}$" if math else _markdown_text(part) for math, part in _parts(text))


def _markdown_text(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]#|$])", r"\\\1", escape(text, quote=False))


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    """Yield (whether it is math, part) of a sentence."""
    for i, chunk in enumerate(text.split(_BEGIN)):
        math, _, plain = chunk.partition(_END) if i else ("", "", chunk)
        if math:
            yield True, math
        if plain:
            yield False, plain


# -- LaTeX ---------------------------------------------------------------------------------------------------------

_DOCUMENT = r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage{amsmath, amssymb, graphicx}
\setlength{\parindent}{0pt}
\setlength{\lineskiplimit}{3pt}
\setlength{\lineskip}{4pt}
%% a formula, made smaller where it is wider than the page
\newsavebox{\formulabox}
\newcommand{\formula}[1]{\sbox{\formulabox}{$\displaystyle #1$}%%
  \ifdim\wd\formulabox>\linewidth\resizebox{\linewidth}{!}{\usebox{\formulabox}}\else\usebox{\formulabox}\fi}
\begin{document}
\section*{%s}
%s
\end{document}
"""


def latex_document(derivation: Derivation) -> str:
    """Return a LaTeX document for pdflatex that needs amsmath, amssymb and graphicx."""
    style = _style(derivation, _latex_text)
    lines = [_latex_text(legend(derivation)), "", r"\subsection*{Forward}"]
    for s in forward_sections(derivation, style):
        lines += [
            rf"\[ \formula{{{s.formula}}} \]",
            *(_latex_line(f"{label}: {text}") + r"\par" for label, text in s.text),
        ]
    lines.append(r"\subsection*{Backward}")
    for k, s in enumerate(backward_sections(derivation, style), 1):
        lines.append(rf"\paragraph{{{k}.}} {'reuses ' + _latex_line(s.reused) if s.reused else ''}")
        lines.append(rf"\[ \formula{{{s.formula}}} \]")
        lines += [rf"{label}: $\displaystyle {formula}$\par" for label, formula in s.math]
        lines += [rf"{label}: {_latex_line(text)}\par" for label, text in s.text]
    lines += [r"\subsection*{Cost}", r"\begin{tabular}{@{}lrp{0.4\linewidth}@{}}"]
    lines += [" & ".join(map(_latex_text, row)) + r" \\" for row in derivation.cost.rows()]
    lines.append(r"\end{tabular}")
    return _DOCUMENT % (_latex_text(headline(derivation)), "\n".join(lines))


def _latex_line(text: str) -> str:
    return "".join(f"${part}$" if math else _latex_text(part) for math, part in _parts(text))


_LATEX_SIGNS = {
    "×": r"$\times$",
    "⊙": r"$\odot$",
    "→": r"$\to$",
    "Σ": r"$\Sigma$",
    "−": "$-$",
    "–": "--",
    "ᵢ": "$_i$",
    "ⱼ": "$_j$",
    "ₖ": "$_k$",
    "ₗ": "$_l$",
    "γ": r"$\gamma$",
    "β": r"$\beta$",
    "σ": r"$\sigma$",
    "μ": r"$\mu$",
    "δ": r"$\delta$",
    "α": r"$\alpha$",
    "λ": r"$\lambda$",
    "θ": r"$\theta$",
    "…": r"\ldots{}",
    "∂": r"$\partial$",
    "⊗": r"$\otimes$",
    **{sign: f"$_{digit}$" for digit, sign in enumerate("₀₁₂₃₄₅₆₇₈₉")},
}


def _latex_text(text: str) -> str:
    """Return text for pdflatex, which knows Latin letters only: other signs go by their numbers."""
    return "".join(
        _LATEX_SIGNS.get(c) or (c if c.isascii() or c in _LETTERS else f"[U+{ord(c):04X}]") for c in escaped(text)
    )


_LETTERS = frozenset("ÄÀÁÂÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ")


# -- HTML ----------------------------------------------------------------------------------------------------------

_STYLE = """
.chainrule-derivation {
  color-scheme: light dark;
  --back: #fff; --fore: #1c2128; --dim: #5b6470; --line: #d8dde3; --box: #f5f7f9; --mark: #0b5cad;
  background: var(--back); color: var(--fore); font: 16px/1.5 system-ui, sans-serif;
  box-sizing: border-box; max-width: 60rem; margin: 0 auto; padding: 1.25rem; overflow-wrap: anywhere;
}
@media (prefers-color-scheme: dark) { .chainrule-derivation {
  --back: #14171b; --fore: #e4e7eb; --dim: #9aa4b0; --line: #353c45; --box: #1d2228; --mark: #7db7f0;
} }
.chainrule-derivation h1 { font-size: 1.4rem; line-height: 1.25; margin: 0 0 .5rem; }
.chainrule-derivation h2 { font-size: 1.1rem; margin: 1.75rem 0 .5rem; }
.chainrule-derivation .dim { color: var(--dim); font-size: .875rem; }
.chainrule-derivation section {
  background: var(--box); border-left: 4px solid var(--line); border-radius: 4px; margin: .75rem 0; padding: .5rem 1rem;
}
.chainrule-derivation .formula { font-size: 1.15rem; margin: .25rem 0; overflow-x: auto; }
.chainrule-derivation .reuse { color: var(--mark); font-size: .875rem; float: right; }
.chainrule-derivation dl {
  display: grid; grid-template-columns: max-content 1fr; align-items: baseline; gap: .3rem 1rem; margin: .25rem 0 0;
}
.chainrule-derivation dt { color: var(--dim); font-size: .875rem; }
.chainrule-derivation dd { margin: 0; font-size: .9375rem; text-align: left; overflow-x: auto; }
.chainrule-derivation table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.chainrule-derivation td {
  border: 0; border-bottom: 1px solid var(--line); padding: .3rem 1rem .3rem 0; text-align: left; background: none;
}
.chainrule-derivation td.number { text-align: right; }
.chainrule-derivation .formula math, .chainrule-derivation dd.math math { math-style: normal; }
.chainrule-derivation mtd { text-align: left; }
@media (max-width: 40rem) {
  .chainrule-derivation dl { grid-template-columns: 1fr; gap: 0; }
  .chainrule-derivation dd { margin: 0 0 .4rem; }
  .chainrule-derivation .reuse { float: none; }
}
"""


_FRAME = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 0; background: #fff; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #14171b; }} }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def _document(title: str, body: str) -> str:
    """Return a whole document; `title` is plain text, `body` HTML."""
    return _FRAME.format(title=escape(title), body=body)


def html_page(derivation: Derivation) -> str:
    """Return a file of its own: it loads nothing and runs nothing."""
    return _document(headline(derivation), html_fragment(derivation))


def html_fragment(derivation: Derivation) -> str:
    """Return an element to be put into a page, as notebooks do."""
    spelled = _Spelled()
    style = _style(derivation, spelled)
    parts = [
        f'<div class="chainrule-derivation">\n<style>{_STYLE}</style>',
        f"<h1>{escape(headline(derivation))}</h1>",
        f'<p class="dim">{escape(legend(derivation))}</p>',
        "<h2>Forward</h2>",
        *(_html_section(s) for s in forward_sections(derivation, style)),
        "<h2>Backward</h2>",
        *(_html_section(s) for s in backward_sections(derivation, style)),
        "<h2>Cost</h2>",
        "<table>",
    ]
    for what, much, note in derivation.cost.rows():
        parts.append(f'<tr><td>{escape(what)}</td><td class="number">{escape(much)}</td><td>{escape(note)}</td></tr>')
    return spelled.restored("\n".join([*parts, "</table>", "</div>"]))


def _html_section(s: Section) -> str:
    lines = ["<section>"]
    if s.reused:
        lines.append(f'<div class="reuse">reuses {_html_line(s.reused)}</div>')
    lines.append(f'<div class="formula">{_mathml(s.formula)}</div>')
    items = "".join(f'<dt>{label}</dt><dd class="math">{_mathml(formula)}</dd>' for label, formula in s.math)
    items += "".join(f"<dt>{label}</dt><dd>{_html_line(text)}</dd>" for label, text in s.text)
    return "\n".join([*lines, f"<dl>{items}</dl>", "</section>"])


def _html_line(text: str) -> str:
    return "".join(_mathml(part) if math else escape(part) for math, part in _parts(text))


def _mathml(formula: str) -> str:
    try:
        from latex2mathml.converter import convert
    except ImportError as error:
        raise ImportError("HTML needs latex2mathml: pip install 'chainrule[explain]'") from error
    return str(convert(formula))
