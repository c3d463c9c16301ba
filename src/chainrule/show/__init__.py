"""Documents and their backends: a terminal, Markdown, HTML, LaTeX. A backend is loaded when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .document import Document
    from .terminal import Drawn

__all__ = ["as_fragment", "as_latex", "as_markdown", "as_page", "as_rich", "as_text"]


def as_text(document: Document) -> str:
    """Return a document as plain text, 80 columns wide."""
    from .terminal import text

    return text(document)


def as_rich(document: Document) -> Drawn:
    """Return a document as what rich prints, at the width of its console."""
    from .terminal import Drawn

    return Drawn(document)


def as_markdown(document: Document) -> str:
    """Return a document as Markdown, with formulas in LaTeX."""
    from .markdown import markdown

    return markdown(document)


def as_page(document: Document) -> str:
    """Return a document as one HTML file that loads nothing and runs nothing."""
    from .html import page

    return page(document)


def as_fragment(document: Document, bare: bool = False) -> str:
    """Return a document as an HTML element for a notebook; a bare one takes the colours of the page around it."""
    from .html import fragment

    return fragment(document, bare=bare)


def as_latex(document: Document) -> str:
    """Return a document as a LaTeX file for pdflatex."""
    from .latex import latex

    return latex(document)
