"""A network as a list of its modules: what its repr and its page in a notebook show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.tensor import Parameter


@dataclass(frozen=True)
class Part:
    """One module of a network.

    Attributes
    ----------
    depth
        The number of modules above it.
    name
        Its path from the module above.
    call
        Its class and settings: ``Linear(4, 2)``, as two strings.
    own
        Its own parameters under their attributes' names.
    count
        The number of parameters here and below.
    """

    depth: int
    name: str
    call: tuple[str, str]
    own: tuple[tuple[str, Parameter], ...]
    count: int


def text(parts: Sequence[Part], dtype: str) -> str:
    """Return a table with one line per module; the first part is the network."""
    rows = []
    for part in parts:
        label = f"({part.name}) " if part.depth else ""
        shapes = ", ".join(f"{name} {p.shape}{'' if p.requires_grad else ' frozen'}" for name, p in part.own)
        size = f"{sum(p.size for _, p in part.own):,}" if part.own else ""
        rows.append((f"{'  ' * part.depth}{label}{part.call[0]}({part.call[1]})", shapes, size))
    total = f"{parts[0].count:,} parameters" + (f", {dtype}" if dtype else "")
    if len(rows) == 1:
        return " ".join(piece for piece in (*rows[0][:2], f"[{total}]") if piece)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}".rstrip() for a, b, c in rows]
    return "\n".join([*lines, total])
