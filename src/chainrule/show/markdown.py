"""Documents as Markdown, with formulas in LaTeX between dollar signs."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator

from . import document as doc
from .document import clean, pieces

_BREAK = {"number": "---:", "text": "---", "wide": "---"}


def markdown(document: doc.Document) -> str:
    """Return a document as Markdown; what stands in it is shown, and never read as markup."""
    return "\n".join(_lines(document.blocks)).rstrip("\n") + "\n"


def escaped(words: str) -> str:
    """Return words with a backslash, or a name, for what Markdown would take for markup."""
    return re.sub(r"([\\`*_{}\[\]|~#$])", r"\\\1", html.escape(clean(words), quote=False))


def code(words: str) -> str:
    """Return words as code, between as many backticks as it takes."""
    words = clean(words)
    fence = "`" * (max((len(run) for run in re.findall("`+", words)), default=0) + 1)
    space = " " if words[:1] in ("`", " ", "") or words[-1] in "` " else ""
    return f"{fence}{space}{words}{space}{fence}"


def line(content: doc.Content) -> str:
    """Return a content as a line; at its beginning there is nothing that makes a list or a heading of it."""
    text = "".join(map(_piece, pieces(content)))
    return re.sub(r"^(\s*\d*)([-+.)=])(?=[\s=-]|$)", r"\1\\\2", text)


def _piece(piece: doc.Piece) -> str:
    match piece:
        case doc.Code(text):
            return code(text)
        case doc.Math(_, latex):
            return f"${latex}$"
        case doc.Link(text, anchor):
            return f"[{escaped(text)}](#{anchor})"
    return f"**{escaped(piece.text)}**" if piece.tone == "strong" else escaped(piece.text)


def _lines(blocks: Iterable[doc.Block], depth: int = 0) -> Iterator[str]:
    """Yield the lines of blocks; `depth` is added to the levels of headings."""
    for block in blocks:
        yield from _block(block, depth)


def _block(block: doc.Block, depth: int) -> Iterator[str]:
    match block:
        case doc.Heading(content, level):
            yield from (f"{'#' * min(level + depth, 6)} {line(content)}", "")
        case doc.Paragraph(content, tone):
            text = line(content)
            yield from (f"**{text}**" if tone in ("strong", "good", "bad") and text else text, "")
        case doc.Formula(doc.Math(_, latex), note):
            yield from (f"$${latex}$$", "", *((line(note), "") if note else ()))
        case doc.Formula(doc.Code() as written, note):
            yield from (_piece(written), "", *((line(note), "") if note else ()))
        case doc.Fields(rows):
            yield from (*(f"- {escaped(label)}: {line(content)}" for label, content in rows), "")
        case doc.Table():
            yield from _table(block)
        case doc.Items(items):
            yield from (*(f"- {line(item)}" for item in items), "")
        case doc.Section(head, inner, number):
            yield from _section(head, number, depth)
            yield from _lines(inner, depth + 1)
        case doc.Details(summary, inner):
            yield from (f"**{line(summary)}**", "")
            yield from _lines(inner, depth)
        case doc.Tree(branches):
            for branch in branches:
                yield f"{'  ' * branch.depth}- {line(branch.content)}"
            yield ""
        case doc.Columns(groups):
            for group in groups:
                yield from _lines(group, depth)
        case doc.LineChart(title=title) | doc.Picture(title=title) | doc.Place(title=title):
            yield from (f"*{escaped(title)}*", "")


def _section(head: doc.Heading | doc.Formula | doc.Paragraph, number: int, depth: int) -> Iterator[str]:
    if isinstance(head, doc.Heading):
        yield from (f"{'#' * min(head.level + depth, 6)} {f'{number}. ' if number else ''}{line(head.content)}", "")
        return
    if number:
        note = line(head.note) if isinstance(head, doc.Formula) else ""
        yield from (f"**{number}.** {note}".rstrip(), "")
        head = doc.Formula(head.math) if isinstance(head, doc.Formula) else head
    yield from _block(head, depth)


def _table(block: doc.Table) -> Iterator[str]:
    yield _row(escaped(column.name) for column in block.columns)
    yield "|" + "|".join(_BREAK[column.kind] for column in block.columns) + "|"
    yield from (_row(map(line, row)) for row in block.rows)
    yield ""


def _row(values: Iterable[str]) -> str:
    """Return a row of a table; a bar ends a cell even within code, unless a backslash stands before it."""
    return "| " + " | ".join(re.sub(r"(?<!\\)\|", r"\\|", value) for value in values) + " |"
