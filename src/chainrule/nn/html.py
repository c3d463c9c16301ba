"""A network as a tree for notebooks: each module with its settings and its number of parameters, below it those."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.tensor import Parameter
from ..show.document import Block, Branch, Column, Content, Document, Paragraph, Table, Text, Tree
from .outline import Part

#: Modules that are written out; the others are counted.
MOST = 1000

_COLUMNS = (Column(""), Column(""), Column("", "number"), Column("", "number"), Column(""))


def document(parts: Sequence[Part], facts: Sequence[str]) -> Document:
    """Return the tree of a network, with further facts about all of it in its first line."""
    branches = [_branch(part, () if part.depth else facts) for part in parts[:MOST]]
    blocks: tuple[Block, ...] = (Tree(tuple(branches)),)
    if len(parts) > MOST:
        blocks += (Paragraph(f"and {len(parts) - MOST:,} more modules", "dim"),)
    return Document(parts[0].call[0], blocks)


def _branch(part: Part, facts: Sequence[str]) -> Branch:
    count = [f"{part.count:,} parameter{'s' * (part.count != 1)}"] if part.count else []
    content = (
        Text(f"({part.name}) " if part.name else "", "dim"),
        Text(part.call[0], "strong"),
        f"({part.call[1]})",
        Text(f" {' · '.join([*count, *facts])}".rstrip(), "dim"),
    )
    own = tuple(_cells(name, parameter) for name, parameter in part.own)
    return Branch(part.depth, content, (Table(_COLUMNS, own),) if own else ())


def _cells(name: str, parameter: Parameter) -> tuple[Content, ...]:
    named = parameter.name if parameter.name and parameter.name != name else ""
    shape = " × ".join(map(str, parameter.shape)) or "scalar"
    return name, named, shape, f"{parameter.size:,}", str(parameter.dtype)
