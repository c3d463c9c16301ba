"""Documents for a terminal: lines of words with a tone, as plain text or in rich's colours."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import document as doc
from .document import clean, pieces

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

WIDTH = 80
#: Where the note beside a formula begins, at most; and the widest label of fields.
_BESIDE, _WIDEST_LABEL = 46, 24

#: Parts of a line, each with its style.
Line = list[tuple[str, str]]

_STYLES = {"strong": "bold", "dim": "dim", "good": "green", "bad": "red", "warn": "yellow"}


def text(document: doc.Document, width: int = WIDTH) -> str:
    """Return a document as plain text."""
    return "\n".join("".join(word for word, _ in line).rstrip() for line in lines(document.blocks, width))


@dataclass(frozen=True)
class Drawn:
    """What rich prints: a document at the width of the console."""

    document: doc.Document

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        for line in lines(self.document.blocks, options.max_width):
            yield Text.assemble(*line, no_wrap=True)


def cells(words: str) -> int:
    """Return how many columns a terminal gives to words."""
    if words.isascii():
        return len(words)
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in words)


# -- blocks ------------------------------------------------------------------------------------------------------------


def lines(blocks: Iterable[doc.Block], width: int) -> Iterator[Line]:
    """Yield the lines of blocks, each at most so wide."""
    before: doc.Block | None = None
    for block in blocks:
        if before is not None and _apart(before, block):
            yield []
        yield from _lines(block, max(width, 1))
        before = block


def _apart(before: doc.Block, block: doc.Block) -> bool:
    """Whether there is an empty line between two blocks."""
    if isinstance(before, doc.Heading):
        return isinstance(block, doc.Heading)
    return isinstance(before, doc.Section | doc.Columns) or isinstance(
        block, doc.Heading | doc.Section | doc.Table | doc.Columns | doc.Details
    )


def _lines(block: doc.Block, width: int) -> Iterator[Line]:
    match block:
        case doc.Heading(content, level):
            yield from wrapped(content, width, "bold" if level < 4 else "")
        case doc.Paragraph(content, tone):
            yield from wrapped(content, width, _STYLES.get(tone, ""))
        case doc.Formula():
            yield from _formula(block, width)
        case doc.Fields(rows):
            yield from _labelled([(label, content) for label, content in rows], width)
        case doc.Table():
            yield from _table(block, width)
        case doc.Items(items):
            yield from _labelled([("·", item) for item in items], width)
        case doc.Section():
            yield from _section(block, width)
        case doc.Details(summary, inner):
            yield from wrapped(summary, width, "bold")
            yield from lines(inner, width)
        case doc.Tree(branches):
            for branch in branches:
                margin = 2 * min(branch.depth, width // 4)
                yield from _indented(wrapped(branch.content, width - margin), margin)
                yield from _indented(lines(branch.blocks, width - margin - 2), margin + 2)
        case doc.Columns(groups):
            for group in groups:
                yield from lines(group, width)
        case doc.LineChart(title=title) | doc.Picture(title=title) | doc.Place(title=title):
            yield from wrapped(f"[{title}]", width, "dim")


def _formula(block: doc.Formula, width: int) -> Iterator[Line]:
    """Yield a formula with its note beside it, or below where it does not fit."""
    left = list(wrapped(block.math, width, hanging=4))
    note = list(wrapped(block.note, max(width - 4, 1), "dim"))
    if note and len(left) == len(note) == 1:
        column = max(_length(left[0]) + 2, min(_BESIDE, width - _length(note[0])))
        if column + _length(note[0]) <= width:
            yield [*left[0], (" " * (column - _length(left[0])), ""), *note[0]]
            return
    yield from left
    yield from _indented(note, min(4, width - 1))


def _section(block: doc.Section, width: int) -> Iterator[Line]:
    """Yield the head behind its number, and the rest below it, indented."""
    number = f"{block.number}. " if block.number else ""
    margin = min(len(number), width - 1)
    head = list(_lines(block.head, width - margin))
    yield [(number[:margin], "bold"), *(head[0] if head else [])]
    yield from _indented(head[1:], margin)
    yield from _indented(lines(block.blocks, width - margin), margin)


def _indented(inner: Iterable[Line], margin: int) -> Iterator[Line]:
    for line in inner:
        yield [(" " * margin, ""), *line] if line else []


def _labelled(rows: list[tuple[str, doc.Content]], width: int) -> Iterator[Line]:
    """Yield values behind their labels; below them where there is little room."""
    names = [shortened(clean(label), _WIDEST_LABEL) for label, _ in rows]
    column = max(map(cells, names), default=0) + 2
    for name, (_, content) in zip(names, rows, strict=True):
        if column > width // 2:
            yield from wrapped(doc.Text(name, "dim"), width)
            yield from wrapped(content, width)
            continue
        first, *rest = list(wrapped(content, width - column)) or [[]]
        yield [(name + " " * (column - cells(name)), "dim"), *first]
        yield from _indented(rest, column)


def _table(block: doc.Table, width: int) -> Iterator[Line]:
    rows = [[list(pieces(cell)) for cell in row] for row in block.rows]
    named = any(column.name for column in block.columns)
    texts = [[clean("".join(p.text for p in cell)) for cell in row] for row in rows]
    heads = [[column.name for column in block.columns]] if named else []
    widths = _widths([*heads, *texts], width)
    if named:
        head: list[list[doc.Piece]] = [[doc.Text(column.name, "strong")] for column in block.columns]
        yield from _row(block.columns, head, widths, "")
    for i, row in enumerate(rows):
        yield from _row(block.columns, row, widths, _STYLES.get(block.tones.get(i, ""), ""))


def _widths(rows: list[list[str]], width: int) -> list[int]:
    """Return widths of columns, two apart, that fit: the widest ones give way."""
    widths = [max(1, *map(cells, column)) for column in zip(*rows, strict=True)]
    room = max(width - 2 * (len(widths) - 1), len(widths))
    while sum(widths) > room:
        widths[widths.index(max(widths))] -= 1
    return widths


def _row(columns: tuple[doc.Column, ...], row: list[list[doc.Piece]], widths: list[int], style: str) -> Iterator[Line]:
    """Yield one row: wide cells are wrapped, the others shortened."""
    found: list[list[Line]] = []
    for k, (column, cell, wide) in enumerate(zip(columns, row, widths, strict=True)):
        if column.kind == "wide":
            found.append(list(wrapped(tuple(cell), wide)))
            continue
        words = shortened(clean("".join(piece.text for piece in cell)), wide)
        tone = style if k < 2 and style else _style(cell[0]) if cell else ""
        found.append([[(words.rjust(wide) if column.kind == "number" else words, tone)]])
    for k in range(max(map(len, found))):
        line: Line = []
        for cell_lines, wide in zip(found, widths, strict=True):
            part = cell_lines[k] if k < len(cell_lines) else []
            line += [*part, (" " * (wide - _length(part) + 2), "")]
        yield line[:-1] if len(line) > 1 else line


# -- words -------------------------------------------------------------------------------------------------------------


def shortened(words: str, width: int) -> str:
    """Return words that take a limited number of columns."""
    if cells(words) <= width:
        return words
    while words and cells(words) > width - 1:
        words = words[:-1]
    return words + "…"


def wrapped(content: doc.Content, width: int, style: str = "", hanging: int = 0) -> Iterator[Line]:
    """Yield the lines of a content, broken at spaces, and within a word that is longer than a line."""
    line: Line = []
    for word in _words(content, style):
        if line and _length(line) + 1 + _length(word) > width:
            yield line
            line = [(" " * hanging, "")] if hanging < width // 2 else []
        elif line:
            line.append((" ", ""))
        for text, own in word:
            while (room := width - _length(line)) < cells(text) and (line or len(text) > 1):
                cut = _cut(text, room)
                yield [*line, (text[:cut], own)]
                line, text = [], text[cut:]
            line.append((text, own))
    if line:
        yield line


def _cut(text: str, width: int) -> int:
    """Return how many characters fit; one at least where there is room for one that is not wide."""
    return next((k for k in range(len(text)) if cells(text[: k + 1]) > max(width, 0)), len(text)) or int(width > 0)


def _words(content: doc.Content, style: str) -> Iterator[Line]:
    """Yield what lies between spaces: the parts of a word, each with its style."""
    word: Line = []
    for piece in pieces(content):
        first, *rest = clean(piece.text).split(" ")
        own = _style(piece) or style
        word += [(first, own)] if first else []
        for part in rest:
            if word:
                yield word
            word = [(part, own)] if part else []
    if word:
        yield word


def _style(piece: doc.Piece) -> str:
    if isinstance(piece, doc.Text | doc.Code) and piece.tone:
        return _STYLES[piece.tone]
    return "cyan" if isinstance(piece, doc.Code) else ""


def _length(line: Line) -> int:
    return sum(cells(word) for word, _ in line)
