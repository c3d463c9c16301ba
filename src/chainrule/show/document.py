"""A document: headings, paragraphs, tables, formulas, figures and lists, as plain data.

What a result shows is put together here once; the modules beside this one write it for a terminal, as Markdown, as HTML
and as LaTeX. Text is given unescaped: each backend escapes what has a meaning in its language.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

#: Spaces that keep a number and its unit on one line.
_NARROW_SPACES = "\u00a0\u202f"

Tone = Literal["", "strong", "dim", "good", "bad", "warn"]


@dataclass(frozen=True)
class Text:
    """Words within a line."""

    text: str
    tone: Tone = ""


@dataclass(frozen=True)
class Code:
    """A name, a path or a line of code within a line."""

    text: str
    tone: Tone = ""


@dataclass(frozen=True)
class Math:
    """A formula within a line: as plain text, and in LaTeX for math mode; ``a + " = " + b`` puts formulas together."""

    text: str
    latex: str

    def __add__(self, other: Math | str) -> Math:
        other = Math(other, other) if isinstance(other, str) else other
        return Math(self.text + other.text, self.latex + other.latex)

    def in_brackets(self) -> Math:
        """Return the formula in brackets."""
        return Math(f"({self.text})", rf"\left({self.latex}\right)")


@dataclass(frozen=True)
class Link:
    """Words that lead to the heading with this anchor."""

    text: str
    anchor: str


Piece = Text | Code | Math | Link
Content = str | Piece | tuple[str | Piece, ...]


def pieces(content: Content) -> tuple[Piece, ...]:
    """Return the pieces of a line, strings as `Text`, empty ones left out."""
    parts = content if isinstance(content, tuple) else (content,)
    found = (Text(part) if isinstance(part, str) else part for part in parts)
    return tuple(part for part in found if part.text)


def sentence(template: str, **parts: Content) -> Content:
    """Return a sentence whose places in braces are filled with pieces: ``sentence("at {x}", x=Math("x", "x"))``."""
    found: list[str | Piece] = []
    for words, name, _, _ in string.Formatter().parse(template):
        found += [words, *(pieces(parts[name]) if name else ())]
    return tuple(found)


def joined(contents: Iterable[Content], separator: str = ", ") -> Content:
    """Return contents with a separator between them."""
    found: list[str | Piece] = []
    for content in contents:
        found += [*([separator] if found else []), *pieces(content)]
    return tuple(found)


def clean(text: str) -> str:
    """Return text in one line, with an escape for what a terminal would obey or could not show."""
    return printable(re.sub(rf"[^\S{_NARROW_SPACES}]+", " ", text))


def printable(text: str, keep: str = "") -> str:
    """Return text with an escape for what a terminal would obey or could not show, unless it is in `keep`.

    These are control characters, line breaks among them, and marks that turn the direction of writing.
    """
    if text.isprintable():
        return text
    kept = _NARROW_SPACES + keep
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title of the document."""

    content: Content
    level: int = 2
    anchor: str = ""


@dataclass(frozen=True)
class Paragraph:
    """A paragraph."""

    content: Content
    tone: Tone = ""


@dataclass(frozen=True)
class Formula:
    """A displayed formula with a note next to it."""

    math: Math | Code
    note: Content = ""


@dataclass(frozen=True)
class Fields:
    """Values with a label each."""

    rows: tuple[tuple[str, Content], ...]


@dataclass(frozen=True)
class Column:
    """A column of a table: numbers stand at the right; a wide column takes the room that the others leave."""

    name: str
    kind: Literal["text", "number", "wide"] = "text"


@dataclass(frozen=True)
class Table:
    """A table; of rows with a tone it is that of the row's first two cells."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Content, ...], ...]
    tones: Mapping[int, Tone] = field(default_factory=dict)


@dataclass(frozen=True)
class Items:
    """A list of lines."""

    items: tuple[Content, ...]


@dataclass(frozen=True)
class Section:
    """A numbered or marked part: a head, and what belongs to it."""

    head: Heading | Formula | Paragraph
    blocks: tuple[Block, ...] = ()
    number: int = 0
    tone: Tone = ""


@dataclass(frozen=True)
class Details:
    """Blocks below a line, to be unfolded where that is possible."""

    summary: Content
    blocks: tuple[Block, ...]
    unfolded: bool = False


@dataclass(frozen=True)
class Branch:
    """A line of a tree, and what belongs to it."""

    depth: int
    content: Content
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Tree:
    """Branches from the root on, each below the nearest one before it that is less deep."""

    branches: tuple[Branch, ...]


@dataclass(frozen=True)
class Columns:
    """Groups of blocks beside each other where there is room; `least` is their least width, in characters."""

    groups: tuple[tuple[Block, ...], ...]
    least: int = 40


@dataclass(frozen=True)
class LineChart:
    """Curves over one axis; the points of a curve are (x, y), finite, by ascending x."""

    curves: Mapping[str, tuple[tuple[float, float], ...]]
    title: str
    axis: str


@dataclass(frozen=True)
class Picture:
    """An image as the bytes of a PNG file."""

    png: bytes
    title: str


@dataclass(frozen=True)
class Place:
    """A place in a page that a script fills; `markup`, which isn't escaped, is what stands there before it runs."""

    title: str
    attributes: Mapping[str, str]
    markup: str = ""


Block = (
    Heading
    | Paragraph
    | Formula
    | Fields
    | Table
    | Items
    | Section
    | Details
    | Tree
    | Columns
    | LineChart
    | Picture
    | Place
)


@dataclass(frozen=True)
class Document:
    """Blocks from top to bottom; the title is that of the file."""

    title: str
    blocks: tuple[Block, ...]
