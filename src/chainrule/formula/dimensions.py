"""A formula with the shapes in the places of its names: ``(32×64)(64×10) + (10) → 32×10``."""

from __future__ import annotations

from ..core.op import ELEMENTWISE
from .expression import Expression
from .names import shape_text
from .printer import ADDED, ATOM, MATRIX, PRODUCT, Printed, TextPrinter
from .rows import NAME, NUMBER


def dimensions(e: Expression) -> str:
    """Return the shapes of what a formula reads, how they combine, and the shape of its value.

    Examples
    --------
    >>> from chainrule.formula.expression import make, name
    >>> from chainrule.formula.rows import ADD, MATMUL
    >>> dimensions(make(ADD, make(MATMUL, name("X", (32, 64)), name("W", (64, 10))), name("b", (10,))))
    '(32×64)(64×10) + (10) → 32×10'
    """
    moved = e.op.layout.kind in ("transposed", "reshaped") and not e.moves_ones
    if moved and e.inputs[0].op is not NAME:
        return f"{dimensions(e.inputs[0])} → {shape_text(e.shape)}"
    inner = ", ".join(map(_own, e.inputs)) if _moves_elements(e) else _Shapes().form(e)
    if inner.startswith("[") and inner.find("]") == len(inner) - 1:
        inner = inner[1:-1]
    return f"{inner if '(' in inner and e.op is not NAME else _own(e)} → {shape_text(e.shape)}"


def _own(e: Expression) -> str:
    return f"({shape_text(e.shape)})"


def _moves_elements(e: Expression) -> bool:
    """Whether an operation is neither element by element nor one whose sign says what happens to the axes."""
    kind = e.op.layout.kind
    shown = kind in ("matrix", "big", "steps") or (kind == "index" and len(e.inputs) > 1)
    return e.op not in (NAME, NUMBER) and e.op.kind != ELEMENTWISE and not e.op.passes and not shown


class _Shapes(TextPrinter):
    """Writes shapes for names; numbers and functions element by element leave no trace."""

    def text(self, e: Expression) -> Printed:
        kind = e.op.layout.kind
        if e.op is NUMBER:
            return "", ATOM
        if e.op is NAME:
            return (_own(e) if e.shape else ""), ATOM
        if kind == "matrix":
            return "".join(map(_own, e.inputs)), MATRIX
        if kind == "index" and len(e.inputs) > 1:
            return f"{_own(e.inputs[0])}[{', '.join(shape_text(x.shape) for x in e.inputs[1:])}]", ATOM
        if kind == "big":
            inner, level = self.text(e.inputs[0])
            return f"{e.op.layout.sign}{self.over(e)} {inner if level >= MATRIX else f'[{inner}]'}", PRODUCT
        if kind == "steps":
            inner, level = self.text(e.inputs[0])
            return f"Σₜ {inner if level >= MATRIX else f'[{inner}]'}", PRODUCT
        if kind == "transposed" or _moves_elements(e):
            return _own(e), ATOM
        if kind == "reshaped":
            return _own(e.inputs[0]), ATOM
        if kind in _JOINING and not e.op.layout.parts:
            return self._joined(e)
        parts = [self.text(x) for x in e.inputs]
        part = next((p for x, p in zip(e.inputs, parts, strict=True) if p[0] and x.shape == e.shape), parts[0])
        return (f"[{part[0]}]" if part[0] and part[1] < MATRIX else part[0]), ATOM

    def _joined(self, e: Expression) -> Printed:
        sign, own = e.op.layout.sign or _JOINING[e.op.layout.kind], ADDED if e.op.layout.kind == "infix" else PRODUCT
        a, b = (self.text(x) for x in e.inputs)
        if not a[0] or not b[0]:
            return a if a[0] else b
        summed = [own == PRODUCT and x.op.layout.kind == "big" for x in e.inputs]
        right = b[0] if (b[1] > own or sign == "+") and not summed[1] else f"[{b[0]}]"
        left = a[0] if a[1] >= own and not summed[0] else f"[{a[0]}]"
        return f"{left} {sign} {right}", own


_JOINING = {"infix": "", "product": "⊙", "fraction": "/"}
