"""A module as a tree for notebooks: each with its settings and its number of parameters, below it those."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..core.tensor import Parameter
from ..show.document import Block, Branch, Column, Content, Document, Paragraph, Table, Text, Tree

if TYPE_CHECKING:
    from .module import Module

#: Modules that are written out; the others are counted.
MOST = 1000

_COLUMNS = (Column(""), Column(""), Column("", "number"), Column("", "number"), Column(""))


def document(module: Module) -> Document:
    """Return the tree of a module."""
    rows = list(_rows(module))
    blocks: tuple[Block, ...] = (Tree(tuple(_branch(*row) for row in rows[:MOST])),)
    if len(rows) > MOST:
        blocks += (Paragraph(f"and {len(rows) - MOST:,} more modules", "dim"),)
    return Document(type(module).__name__, blocks)


def _rows(module: Module) -> Iterator[tuple[int, str, Module]]:
    """Yield (depth, name within the module above, module), this one first."""
    depths: dict[str, int] = {}
    for path, inner in module.named_modules():
        parts = path.split(".") if path else []
        above = next((p for k in range(len(parts) - 1, 0, -1) if (p := ".".join(parts[:k])) in depths), "")
        depths[path] = depths[above] + 1 if path else 0
        yield depths[path], path[len(above) :].lstrip("."), inner


def _branch(depth: int, name: str, module: Module) -> Branch:
    own = tuple(_cells(n, v) for n, v in module._members() if isinstance(v, Parameter))
    label = Text(f"({name}) " if name else "", "dim")
    note = " · ".join(_notes(module, depth))
    content = (
        label,
        Text(type(module).__name__, "strong"),
        f"({module._signature()})",
        Text(f" {note}".rstrip(), "dim"),
    )
    return Branch(depth, content, (Table(_COLUMNS, own),) if own else ())


def _notes(module: Module, depth: int) -> Iterator[str]:
    if n := module.num_parameters:
        yield f"{n:,} parameter{'s' * (n != 1)}"
    if depth:
        return
    if module.dtype is not None:
        yield str(module.dtype)
    if not module.training:
        yield "evaluation mode"
    if names := module.feature_names:
        yield "columns " + ", ".join(names[:6]) + (", …" if len(names) > 6 else "")


def _cells(name: str, parameter: Parameter) -> tuple[Content, ...]:
    named = parameter.name if parameter.name and parameter.name != name else ""
    shape = " × ".join(map(str, parameter.shape)) or "scalar"
    return name, named, shape, f"{parameter.size:,}", str(parameter.dtype)
