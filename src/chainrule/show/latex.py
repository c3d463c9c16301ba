"""Documents as LaTeX, for pdflatex with amsmath, amssymb and graphicx."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from . import document as doc
from .document import clean, pieces

_DOCUMENT = r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage{amsmath, amssymb, graphicx}
\setlength{\parindent}{0pt}
\setlength{\lineskiplimit}{3pt}
\setlength{\lineskip}{4pt}
\setlength{\emergencystretch}{0.5\textwidth} %% a wide formula in a sentence begins a line
%% a formula, made smaller where it is wider than the page
\newsavebox{\formulabox}
\newcommand{\formula}[1]{\sbox{\formulabox}{$\displaystyle #1$}%%
  \ifdim\wd\formulabox>\linewidth\resizebox{\linewidth}{!}{\usebox{\formulabox}}\else\usebox{\formulabox}\fi}
\begin{document}
%s
\end{document}
"""

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "^": r"\textasciicircum{}",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "%": r"\%",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}
#: Signs in text, with the command that LaTeX has for them in math mode.
_COMMANDS = (
    "× times, ⊙ odot, → to, ⊗ otimes, ⋆ star, ∗ ast, · cdot, ∂ partial, Σ Sigma, "
    "α alpha, β beta, γ gamma, δ delta, θ theta, λ lambda, μ mu, σ sigma"
)
_SIGNS = {
    **{"\u00a0": "~", "\u202f": r"\,", "−": "$-$", "–": "--", "…": r"\ldots{}"},
    **{sign: rf"$\{command}$" for sign, command in (pair.split() for pair in _COMMANDS.split(", "))},
    **{sign: f"$_{letter}$" for letter, sign in zip("ijkl0123456789", "ᵢⱼₖₗ₀₁₂₃₄₅₆₇₈₉", strict=True)},
}
_LETTERS = frozenset("ÄÀÁÂÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ")
_LEVELS = {1: "section", 2: "subsection", 3: "subsubsection"}


def latex(document: doc.Document) -> str:
    """Return a document as a LaTeX file."""
    return _DOCUMENT % "\n".join(_lines(document.blocks))


def escaped(text: str) -> str:
    """Return text for LaTeX: what is special there is written out; letters of all languages stay."""
    return "".join(_SPECIAL.get(c, c) for c in clean(text))


def unescaped(written: str) -> str:
    """Return the text that `escaped` has written so."""
    signs = sorted(_SPECIAL.items(), key=lambda item: -len(item[1]))
    pattern = "|".join(re.escape(command) for _, command in signs)
    return re.sub(pattern, lambda match: next(c for c, command in signs if command == match[0]), written)


def for_pdflatex(written: str) -> str:
    """Return LaTeX with signs that pdflatex knows: others than Latin letters go by a command or by their number."""
    return "".join(c if c.isascii() or c in _LETTERS else _SIGNS.get(c, f"[U+{ord(c):04X}]") for c in written)


def _text(words: str) -> str:
    return for_pdflatex(escaped(words))


def line(content: doc.Content) -> str:
    """Return a content as a line."""
    return "".join(map(_piece, pieces(content)))


def _piece(piece: doc.Piece) -> str:
    if isinstance(piece, doc.Math):
        return f"${for_pdflatex(piece.latex)}$"
    return rf"\texttt{{{_text(piece.text)}}}" if isinstance(piece, doc.Code) else _text(piece.text)


def _displayed(formula: doc.Math | doc.Code) -> str:
    if isinstance(formula, doc.Code):
        return _piece(formula) + r"\par"
    return rf"\[ \formula{{{for_pdflatex(formula.latex)}}} \]"


def _lines(blocks: Iterable[doc.Block]) -> Iterator[str]:
    for block in blocks:
        yield from _block(block)


def _block(block: doc.Block) -> Iterator[str]:
    match block:
        case doc.Heading(content, level):
            yield rf"\{_LEVELS.get(level, 'paragraph')}*{{{line(content)}}}"
        case doc.Paragraph(content):
            yield from (line(content), "")
        case doc.Formula(math, note):
            yield from (_displayed(math), *([line(note) + r"\par"] if note else []))
        case doc.Fields(rows):
            for label, content in rows:
                shown = rf"$\displaystyle {line(content)[1:]}" if isinstance(content, doc.Math) else line(content)
                yield rf"{_text(label)}: {shown}\par"
        case doc.Table():
            yield from _table(block)
        case doc.Items(items):
            yield from (r"\begin{itemize}", *(rf"\item {line(item)}" for item in items), r"\end{itemize}")
        case doc.Section(head, inner, number):
            yield from _section(head, number)
            yield from _lines(inner)
        case doc.Details(summary, inner):
            yield from (rf"\paragraph{{{line(summary)}}}", *_lines(inner))
        case doc.Tree(branches):
            for branch in branches:
                yield rf"\hspace*{{{branch.depth}em}}{line(branch.content)}\par"
                yield from _lines(branch.blocks)
        case doc.Columns(groups):
            for group in groups:
                yield from _lines(group)
        case doc.LineChart(title=title) | doc.Picture(title=title) | doc.Place(title=title):
            yield rf"[{_text(title)}]\par"


def _section(head: doc.Heading | doc.Formula | doc.Paragraph, number: int) -> Iterator[str]:
    """Yield the head behind its number."""
    if not number:
        yield from _block(head)
    elif isinstance(head, doc.Formula):
        yield from (rf"\paragraph{{{number}.}} {line(head.note)}", _displayed(head.math))
    else:
        yield rf"\paragraph{{{number}. {line(head.content)}}}"


def _table(block: doc.Table) -> Iterator[str]:
    kinds = {"text": "l", "number": "r", "wide": r"p{0.4\linewidth}"}
    yield rf"\begin{{tabular}}{{@{{}}{''.join(kinds[column.kind] for column in block.columns)}@{{}}}}"
    if any(column.name for column in block.columns):
        yield " & ".join(_text(column.name) for column in block.columns) + r" \\ \hline"
    yield from (" & ".join(map(line, row)) + r" \\" for row in block.rows)
    yield r"\end{tabular}"
