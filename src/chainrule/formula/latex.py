"""Expressions as LaTeX: the patterns of the operation table, put together."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from ..core.op import Shape
from .expression import NAME, NUMBER, Expression
from .numpy_form import without_ones
from .text import ATOM, GREEK, MATRIX, POWER, PRODUCT, SUM, Printed, filled, flattens, index_parts, name_parts, scale

Spelling = Callable[[str], str]

_INDICES = "ijkl"
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
_FUNCTION = re.compile(r"\\[^ ]+ \{0\}")  # \tanh x, which gets its brackets here
_PRECEDENCE = {0: SUM, 1: PRODUCT, 2: POWER, 3: ATOM}
_UNSEEN = frozenset({"cast", "identity", "stop_gradient", "broadcast_to"})


def escaped(text: str) -> str:
    """Return a user's text for LaTeX: what is special there is written out, control characters are gone."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    return "".join(_SPECIAL.get(c, c) for c in clean)


def latex_name(label: str, spelled: Spelling = escaped) -> str:
    r"""Return a name: ``dZ_{1}``, ``d\gamma_{1}``; what is no plain name is set as text."""
    parts = name_parts(label)
    if parts is None:
        return rf"\text{{{spelled(label)}}}"
    d, letters, digits = parts
    if letters in GREEK:
        base = d + "\\" + letters
    else:
        base = d + letters if len(letters) == 1 else rf"\mathit{{{d + letters}}}"
    return base + (f"_{{{digits}}}" if digits else "")


def latex_shape(shape: Shape) -> str:
    r"""Return ``32 \times 10``."""
    return r" \times ".join(map(str, shape)) if shape else "1"


def latex_form(e: Expression) -> str:
    """Return an expression as LaTeX, for math mode."""
    return LatexPrinter().text(e)[0]


class LatexPrinter:
    """Writes expressions for math mode; `spelled` writes names that are set as text."""

    def __init__(self, spelled: Spelling = escaped) -> None:
        self.spelled = spelled

    def name(self, e: Expression) -> Printed:
        """Return a name."""
        return latex_name(e["name"], self.spelled), ATOM

    def text(self, e: Expression) -> Printed:
        """Return LaTeX and how tightly it binds."""
        if e.op == NAME:
            return self.name(e)
        special = getattr(self, "_" + e.op, None)
        if special is not None:
            return special(e)  # type: ignore[no-any-return]
        if e.op in _UNSEEN:
            return self.text(e.inputs[0])
        if e.kind == "b" and isinstance(e.row.latex, str) and e.row.precedence == 0:
            return rf"\mathbf{{1}}\left[{self._pattern(e)}\right]", ATOM
        if isinstance(e.row.latex, str) and _FUNCTION.fullmatch(e.row.latex):
            function = e.row.latex.removesuffix(" {0}").format()
            return rf"{function}\left({self.text(e.inputs[0])[0]}\right)", ATOM
        return self._pattern(e), _PRECEDENCE[e.row.precedence]

    def bracketed(self, e: Expression, precedence: int) -> str:
        """Return LaTeX, in brackets if it binds less tightly than `precedence`."""
        text, own = self.text(e)
        return rf"\left({text}\right)" if own < precedence else text

    def _pattern(self, e: Expression) -> str:
        """Return the row's pattern with its inputs, in brackets where the pattern does not enclose them."""
        latex = e.row.latex
        if callable(latex):
            return latex(*[self.bracketed(x, ATOM) for x in e.inputs], **dict(e.attrs))
        parts = []
        for i, x in enumerate(e.inputs):
            enclosed = re.search(rf"[({{,|\[]\s*\{{{i}\}}|\{{{i}\}}\s*[)}}|\],]", latex) is not None
            parts.append(self.text(x)[0] if enclosed else self.bracketed(x, ATOM))
        return latex.format(*parts, **dict(e.attrs)) if latex else rf"\text{{{escaped(e.op)}}}({', '.join(parts)})"

    def _number(self, e: Expression) -> Printed:
        over, under = scale(e["value"], e["batch"], latex=True)
        over = _latex_number(over or "1")
        own = SUM if e["value"] < 0 else ATOM
        return (rf"\frac{{{over}}}{{{' '.join(under)}}}" if under else over), own

    def _add(self, e: Expression) -> Printed:
        return f"{self.bracketed(e.inputs[0], SUM)} + {self.bracketed(e.inputs[1], PRODUCT)}", SUM

    def _subtract(self, e: Expression) -> Printed:
        return f"{self.bracketed(e.inputs[0], SUM)} - {self.bracketed(e.inputs[1], PRODUCT)}", SUM

    def _negative(self, e: Expression) -> Printed:
        return "-" + self.bracketed(e.inputs[0], PRODUCT), SUM

    def _multiply(self, e: Expression) -> Printed:
        c, rest = e.inputs
        if c.op == NUMBER:
            return self._scaled(c, rest)
        dot = r" \cdot " if e.shape == () else r" \, " if () in (c.shape, rest.shape) else r" \odot "
        return f"{self._factor(c, PRODUCT)}{dot}{self._factor(rest, MATRIX)}", PRODUCT

    def _factor(self, e: Expression, precedence: int) -> str:
        return self.bracketed(e, POWER if e.op in ("matmul", "sum", "max", "min", "prod") else precedence)

    def _scaled(self, c: Expression, rest: Expression) -> Printed:
        over, under = scale(c["value"], c["batch"], latex=True, counted=rest.op == "sum" or c["batch"] != 0)
        sign = ""
        if over.startswith("−"):
            sign, over = "-", over[1:]
            over = "" if over == "1" else over
        over = _latex_number(over)
        if rest.op == "divide":
            top, bottom = (self.text(x)[0] for x in rest.inputs)
            top = rf"{over} \, {self.bracketed(rest.inputs[0], MATRIX)}" if over else top
            bottom = " ".join([*under, self.bracketed(rest.inputs[1], POWER) if under else bottom])
            return rf"{sign}\frac{{{top}}}{{{bottom}}}", SUM if sign else PRODUCT
        if under and rest.op != "sum":
            top = rf"{over} \, {self.bracketed(rest, MATRIX)}" if over else self.text(rest)[0]
            return rf"{sign}\frac{{{top}}}{{{' '.join(under)}}}", SUM if sign else PRODUCT
        if under:
            return rf"{sign}\frac{{{over or 1}}}{{{' '.join(under)}}} {self.bracketed(rest, PRODUCT)}", (
                SUM if sign else PRODUCT
            )
        return rf"{sign}{over} \, {self.bracketed(rest, MATRIX)}", SUM if sign else PRODUCT

    def _divide(self, e: Expression) -> Printed:
        a, b = (self.text(x)[0] for x in e.inputs)
        return rf"\frac{{{a}}}{{{b}}}", PRODUCT

    def _matmul(self, e: Expression) -> Printed:
        e = replace(e, inputs=tuple(filled(x) for x in e.inputs))
        return rf"{self.bracketed(e.inputs[0], MATRIX)} \, {self.bracketed(e.inputs[1], POWER)}", MATRIX

    def _square(self, e: Expression) -> Printed:
        return self.bracketed(e.inputs[0], ATOM) + "^{2}", POWER

    def _power(self, e: Expression) -> Printed:
        return f"{self.bracketed(e.inputs[0], ATOM)}^{{{self.text(e.inputs[1])[0]}}}", POWER

    def _transpose(self, e: Expression) -> Printed:
        return self.bracketed(e.inputs[0], ATOM) + r"^{\mathsf{T}}", POWER

    def _reshape(self, e: Expression) -> Printed:
        if without_ones(e.inputs[0].shape) == without_ones(e.shape):
            return self.text(e.inputs[0])
        if flattens(e):
            return rf"\operatorname{{flat}}\left({self.text(e.inputs[0])[0]}\right)", ATOM
        return (
            rf"\operatorname{{reshape}}_{{{latex_shape(e['shape'])}}}\left({self.text(e.inputs[0])[0]}\right)",
            ATOM,
        )

    def _reduced(self, sign: str, e: Expression) -> Printed:
        axes, ndim = e["axis"], len(e.inputs[0].shape)
        over = "" if len(axes) == ndim or ndim > len(_INDICES) else "_{" + "".join(_INDICES[i] for i in axes) + "}"
        return f"{sign}{over} {self.bracketed(e.inputs[0], MATRIX)}", PRODUCT

    def _sum(self, e: Expression) -> Printed:
        return self._reduced(r"\sum", e)

    def _prod(self, e: Expression) -> Printed:
        return self._reduced(r"\prod", e)

    def _max(self, e: Expression) -> Printed:
        return self._reduced(r"\max", e)

    def _min(self, e: Expression) -> Printed:
        return self._reduced(r"\min", e)

    def _where(self, e: Expression) -> Printed:
        condition, a, b = e.inputs
        holds = self._pattern(condition) if condition.kind == "b" and condition.inputs else self.text(condition)[0]
        cases = rf"{self.text(a)[0]} & \text{{if }} {holds} \\ {self.text(b)[0]} & \text{{else}}"
        return rf"\begin{{cases}} {cases} \end{{cases}}", SUM

    def _slice(self, e: Expression) -> Printed:
        return f"{self.bracketed(e.inputs[0], ATOM)}[{index_parts(e['index'], [])}]".replace("…", r"\ldots"), ATOM

    def _gather(self, e: Expression) -> Printed:
        arrays = [self.text(x)[0] for x in e.inputs[1:]]
        return f"{self.bracketed(e.inputs[0], ATOM)}[{index_parts(e['index'], arrays)}]".replace("…", r"\ldots"), ATOM


def _latex_number(text: str) -> str:
    """Return a decimal as LaTeX writes it: ``1e-05`` is 10^{-5}."""
    match = re.fullmatch(r"(−?)([\d.]+)e([-+]\d+)", text)
    if match is None:
        return text.replace("−", "-")
    factor = "" if match[2] == "1" else rf"{match[2]} \cdot "
    return ("-" if match[1] else "") + rf"{factor}10^{{{int(match[3])}}}"
