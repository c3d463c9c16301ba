"""Expressions as plain text, ``dZ₂ = (A₂ − Y) / m``, and as LaTeX: a method for each kind of layout."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from ..core.notation import Layout, Part
from ..core.op import Shape
from ..show.latex import escaped
from .expression import Expression, index_parts, is_name, name
from .names import GREEK, SUBSCRIPTS, display_name, error_signals, latex_name, shape_text
from .numbers import LATEX, SUPERSCRIPTS, TEXT, scale
from .rows import BROADCAST, DIVIDE, MULTIPLY, NAME, NUMBER, RESHAPE, SUM, TRANSPOSE

#: How tightly a written form binds.
ADDED, PRODUCT, MATRIX, POWERED, ATOM = range(5)
Printed = tuple[str, int]


def text_form(e: Expression) -> str:
    """Return an expression as plain text.

    Examples
    --------
    >>> from chainrule.formula.expression import make, name, number
    >>> from chainrule.formula.rows import DIVIDE, SUBTRACT
    >>> text_form(make(DIVIDE, make(SUBTRACT, name("A2", (4, 3)), name("Y", (4, 3))), number(1.0, 1)))
    '(A₂ − Y) / m'
    """
    return TextPrinter().form(e)


def latex_form(e: Expression) -> str:
    """Return an expression as LaTeX, for math mode."""
    return LatexPrinter().form(e)


def latex_signs(text: str) -> str:
    """Return a formula of words and signs, with spaces between them, as LaTeX."""
    return " ".join(_SIGNS.get(word, word) for word in text.split(" ")).replace("…", _SIGNS["…"])


def printer_of(*, latex: bool = False, delta: bool = False) -> TextPrinter:
    """Return what writes formulas as text or LaTeX; in δ notation with error signals and outer products."""
    if latex:
        names = error_signals(latex_name, r"\frac{{\partial L}}{{\partial {}}}") if delta else latex_name
        return LatexPrinter(names, outer=delta)
    return TextPrinter(error_signals(display_name, "∂L/∂{}") if delta else display_name, outer=delta)


class TextPrinter:
    """Writes expressions on one line.

    Parameters
    ----------
    names
        How a name is written.
    outer
        Whether a gradient times a transposed value is written as an outer product: ``δ₁ ⊗ X``.
    """

    target, axes, scaling = TEXT, "ᵢⱼₖₗ", " "

    def __init__(self, names: Callable[[str], str] = display_name, outer: bool = False) -> None:
        self.names, self.outer = names, outer

    def form(self, e: Expression) -> str:
        """Return an expression as it stands alone."""
        return self.text(e)[0]

    def text(self, e: Expression) -> Printed:
        """Return what is written, and how tightly it binds."""
        if e.op is NAME:
            return self.names(e["name"]), ATOM
        return self._number(e) if e.op is NUMBER else self._laid(e.op.layout, e)

    def bracketed(self, e: Expression, level: int) -> str:
        """Return what is written, in brackets if it binds less tightly than `level`."""
        return self._fitted(self.text(e), level)

    def _laid(self, layout: Layout, e: Expression) -> Printed:
        return getattr(self, f"_{layout.kind}")(layout, e)  # type: ignore[no-any-return]

    def _parts(self, layout: Layout, e: Expression) -> list[Printed]:
        return [self._part(p, e) for p in layout.parts or range(len(e.inputs))]

    def _part(self, part: Part, e: Expression) -> Printed:
        if isinstance(part, Layout):
            return self._laid(part, e)
        return (part, ATOM) if isinstance(part, str) else self.text(e.inputs[part])

    def _fitted(self, printed: Printed, level: int) -> str:
        return self._in_brackets(printed[0]) if printed[1] < level else printed[0]

    # -- signs and marks that differ in LaTeX --------------------------------------------------------------------------

    def _in_brackets(self, text: str) -> str:
        return f"({text})"

    def _sign(self, sign: str) -> str:
        return sign

    def _words(self, words: str) -> str:
        return words

    def _superscripted(self, text: str, exponent: str) -> str:
        return text + exponent.translate(SUPERSCRIPTS)

    def _indicator(self, condition: str) -> str:
        return f"1[{condition}]"

    def _fenced(self, before: str, inner: str, after: str) -> str:
        return f"abs({inner})" if before == "|" and "|" in inner else f"{before}{inner}{after}"

    def _shape(self, shape: Shape) -> str:
        return shape_text(shape)

    # -- layouts -------------------------------------------------------------------------------------------------------

    def _call(self, layout: Layout, e: Expression) -> Printed:
        return self._words(layout.sign) + self._in_brackets(", ".join(t for t, _ in self._parts(layout, e))), ATOM

    def _pattern(self, layout: Layout, e: Expression) -> Printed:
        return self._call(Layout("call", e.op.name), e)

    def _infix(self, layout: Layout, e: Expression) -> Printed:
        a, b = self._parts(layout, e)
        own = ADDED if layout.sign in "+−" else PRODUCT
        return f"{self._fitted(a, own)} {self._sign(layout.sign)} {self._fitted(b, own + 1)}", own

    def _condition(self, layout: Layout, e: Expression) -> Printed:
        return self._indicator(self.condition(e)), ATOM

    def condition(self, e: Expression) -> str:
        """Return a condition as it stands after an if."""
        if e.op.layout.kind != "condition":
            return self.form(e)
        nested = [x.op.layout.kind == "condition" for x in e.inputs]
        a, b = (
            self._in_brackets(self.condition(x)) if n else self.form(x) for n, x in zip(nested, e.inputs, strict=True)
        )
        return f"{a} {self._sign(e.op.layout.sign)} {b}"

    def _negative(self, layout: Layout, e: Expression) -> Printed:
        return self._sign("−") + self.bracketed(e.inputs[0], PRODUCT), ADDED

    def _product(self, layout: Layout, e: Expression) -> Printed:
        a, b = e.inputs
        if a.op is NUMBER:
            return self._scaled(a, b)
        scalar = e.shape == ()
        dot = self.scaling if () in (a.shape, b.shape) and not scalar else f" {self._sign('·' if scalar else '⊙')} "
        return f"{self._factor(a, PRODUCT)}{dot}{self._factor(b, MATRIX)}", PRODUCT

    def _factor(self, e: Expression, level: int) -> str:
        return self.bracketed(e, POWERED if e.op.layout.kind in ("matrix", "big") else level)

    def _number(self, e: Expression) -> Printed:
        negative, over, under = scale(e["value"], e["batch"], self.target)
        text = self._sign("−") * negative + (over or "1")
        if under:
            text = f"{text} / {_group(under)}"
        return text, ADDED if negative else PRODUCT if under or re.search("[/ ·]", text) else ATOM

    def _scaled(self, c: Expression, rest: Expression) -> Printed:
        """Write a number times something: ``2 (A − Y) / (10 m)``."""
        counted = rest.op is SUM or c["batch"] != 0
        negative, over, under = scale(c["value"], c["batch"], self.target, counted)
        rest, divisor = rest.inputs if rest.op is DIVIDE else (rest, None)
        joins = rest.op in (MULTIPLY, SUM)  # needs no brackets after a number
        inner = over + self.scaling + self.bracketed(rest, PRODUCT if joins else MATRIX) if over else ""
        text = self._over(inner, over, rest, under, divisor)
        return self._sign("−") * negative + text, ADDED if negative else PRODUCT

    def _over(self, inner: str, over: str, rest: Expression, under: list[str], divisor: Expression | None) -> str:
        parts = [*under, *([self.bracketed(divisor, POWERED)] if divisor is not None else [])]
        inner = inner or self.bracketed(rest, PRODUCT)
        return f"{inner} / {_group(parts)}" if parts else inner

    def _fraction(self, layout: Layout, e: Expression) -> Printed:
        return f"{self.bracketed(e.inputs[0], PRODUCT)} / {self.bracketed(e.inputs[1], POWERED)}", PRODUCT

    def _matrix(self, layout: Layout, e: Expression) -> Printed:
        if self.outer and not layout.parts and outer_product(e):
            gradient, value = (self.bracketed(x, POWERED) for x in (e.inputs[0], e.inputs[1].inputs[0]))
            return f"{gradient} {self._sign('⊗')} {value}", PRODUCT
        a, b = self._parts(layout, replace(e, inputs=tuple(_filled(x) for x in e.inputs)))
        return f"{self._fitted(a, MATRIX)}{self.scaling}{self._fitted(b, POWERED)}", MATRIX

    def _superscript(self, layout: Layout, e: Expression) -> Printed:
        return self._superscripted(self._fitted(self._parts(layout, e)[0], ATOM), layout.sign), POWERED

    def _power(self, layout: Layout, e: Expression) -> Printed:
        exponent = e.inputs[1]
        if exponent.op is NUMBER and exponent["value"] in (3, 4, 5) and exponent["batch"] == 0:
            return self._superscripted(self.bracketed(e.inputs[0], ATOM), str(int(exponent["value"]))), POWERED
        return f"{self.bracketed(e.inputs[0], ATOM)}^{self.bracketed(exponent, ATOM)}", POWERED

    def _raised(self, layout: Layout, e: Expression) -> Printed:
        word = "exp" + layout.sign.removeprefix("e")
        return f"{word}({self._parts(layout, e)[0][0]})", ATOM

    def _root(self, layout: Layout, e: Expression) -> Printed:
        inner = self._parts(layout, e)[0][0]
        plain = is_name(e.inputs[0]) and not layout.parts
        return layout.sign + (inner if plain else f"({inner})"), POWERED

    def _fences(self, layout: Layout, e: Expression) -> Printed:
        before, after = map(self._sign, layout.sign.split())
        return self._fenced(before, ", ".join(t for t, _ in self._parts(layout, e)), after), ATOM

    def _transposed(self, layout: Layout, e: Expression) -> Printed:
        axes, n = e["axes"], len(e["axes"])
        if n >= 2 and axes == (*range(n - 2), n - 1, n - 2):
            return self._superscripted(self.bracketed(e.inputs[0], ATOM), "ᵀ"), POWERED
        if cuts_into_heads(e):
            return self._words("heads") + self._in_brackets(self.form(e.inputs[0].inputs[0])), ATOM
        return self._words("transpose") + self._in_brackets(f"{self.form(e.inputs[0])}, {axes}"), ATOM

    def _passed(self, layout: Layout, e: Expression) -> Printed:
        return self.text(e.inputs[0])

    def _reshaped(self, layout: Layout, e: Expression) -> Printed:
        inner = e.inputs[0]
        if e.moves_ones:
            return self.text(inner)
        if flattens(e):
            return self._words("flat") + self._in_brackets(self.form(inner)), ATOM
        if joins_heads(e):
            return self._words("joined") + self._in_brackets(self.form(inner.inputs[0])), ATOM
        arrow = f"{self.form(inner)} {self._sign('→')} {self._shape(e['shape'])}"
        return self._words("reshape") + self._in_brackets(arrow), ATOM

    def _big(self, layout: Layout, e: Expression) -> Printed:
        return f"{self._running(layout.sign, self.over(e))} {self.bracketed(e.inputs[0], MATRIX)}", PRODUCT

    def over(self, e: Expression) -> str:
        """Return the indices that a reduction runs over; none where it runs over all axes."""
        axes, ndim = e["axis"], len(e.inputs[0].shape)
        return "" if len(axes) == ndim or ndim > len(self.axes) else "".join(self.axes[i] for i in axes)

    def _running(self, sign: str, over: str) -> str:
        return sign + over

    def _steps(self, layout: Layout, e: Expression) -> Printed:
        return f"{self._over_time(e['first'], e['last'])} {self.bracketed(e.inputs[0], MATRIX)}", PRODUCT

    def _over_time(self, first: int, last: int) -> str:
        return "Σₜ₌" + str(first).translate(SUBSCRIPTS) + str(last).translate(SUPERSCRIPTS)

    def _cases(self, layout: Layout, e: Expression) -> Printed:
        condition, a, b = e.inputs
        return f"{{{self.form(a)} if {self.condition(condition)}, else {self.form(b)}}}", ATOM

    def _index(self, layout: Layout, e: Expression) -> Printed:
        arrays = [self.form(x) for x in e.inputs[1:]]
        return (
            f"{self.bracketed(e.inputs[0], ATOM)}[{', '.join(index_parts(e['index'], arrays, self._sign('…')))}]",
            ATOM,
        )

    def _assigned(self, layout: Layout, e: Expression) -> Printed:
        into, *arrays, values = e.inputs
        parts = index_parts(e["index"], [self.form(x) for x in arrays], self._sign("…"))
        return f"{self.bracketed(into, ATOM)}[{', '.join(parts)} {self._sign('←')} {self.form(values)}]", ATOM

    def _scattered(self, layout: Layout, e: Expression) -> Printed:
        values, *arrays = (self.form(x) for x in e.inputs)
        inner = f"{values} {self._sign('→')} {self._words('rows')} {', '.join(arrays)}"
        return self._words(layout.sign) + self._in_brackets(inner), ATOM


_SIGNS = {
    "−": "-",
    "·": r"\cdot",
    "⊙": r"\odot",
    "⊗": r"\otimes",
    "⋆": r"\star",
    "∗": r"\ast",
    "→": r"\to",
    "←": r"\gets",
    "≤": r"\leq",
    "≥": r"\geq",
    "≠": r"\neq",
    "∧": r"\land",
    "∨": r"\lor",
    "⊕": r"\oplus",
    "Σ": r"\sum",
    "Π": r"\prod",
    "max": r"\max",
    "min": r"\min",
    "⌊": r"\lfloor",
    "⌋": r"\rfloor",
    "⌈": r"\lceil",
    "⌉": r"\rceil",
    "‖": r"\|",
    "‖₂": r"\|_{2}",
    "…": r"\ldots",
}
_LETTERS = {greek: f"\\{word}" for word, greek in GREEK.items()}
_LETTERS |= {"Γ": r"\Gamma", "Φ": r"\Phi", "ψ": r"\psi", "ζ": r"\zeta"}
#: Functions that LaTeX has a command for.
_COMMANDS = frozenset("sin cos tan arcsin arccos arctan sinh cosh tanh log exp det max min".split())


class LatexPrinter(TextPrinter):
    """Writes expressions for math mode."""

    target, axes, scaling = LATEX, "ijkl", r" \, "

    def __init__(self, names: Callable[[str], str] = latex_name, outer: bool = False) -> None:
        super().__init__(names, outer)

    def _in_brackets(self, text: str) -> str:
        return rf"\left({text}\right)"

    def _sign(self, sign: str) -> str:
        return _SIGNS.get(sign, sign)

    def _words(self, words: str) -> str:
        return " ".join(map(_command, words.split()))

    def _superscripted(self, text: str, exponent: str) -> str:
        return text + "^{" + (r"\mathsf{T}" if exponent == "ᵀ" else exponent.replace("−", "-")) + "}"

    def _indicator(self, condition: str) -> str:
        return rf"\mathbf{{1}}\left[{condition}\right]"

    def _fenced(self, before: str, inner: str, after: str) -> str:
        gap = " " if before.startswith("\\") else ""
        return rf"\left{before}{gap}{inner}\right{after}"

    def _shape(self, shape: Shape) -> str:
        return shape_text(shape).replace("×", r" \times ")

    def _pattern(self, layout: Layout, e: Expression) -> Printed:
        """Return the row's LaTeX with its inputs, in brackets where it does not enclose them."""
        parts = []
        for i, x in enumerate(e.inputs):
            enclosed = re.search(rf"[({{,|\[]\s*\{{{i}\}}|\{{{i}\}}\s*[)}}|\],]", layout.sign) is not None
            parts.append(self.form(x) if enclosed else self.bracketed(x, ATOM))
        return layout.sign.format(*parts, **dict(e.attrs)), ADDED

    def _number(self, e: Expression) -> Printed:
        negative, over, under = scale(e["value"], e["batch"], LATEX)
        text = "-" * negative + (over or "1")
        return (rf"\frac{{{text}}}{{{' '.join(under)}}}" if under else text), ADDED if negative else ATOM

    def _over(self, inner: str, over: str, rest: Expression, under: list[str], divisor: Expression | None) -> str:
        if divisor is not None:
            under = [*under, self.bracketed(divisor, POWERED) if under else self.form(divisor)]
        elif under and rest.op is SUM:
            return rf"\frac{{{over or 1}}}{{{' '.join(under)}}} {self.bracketed(rest, PRODUCT)}"
        if not under:
            return inner or self.bracketed(rest, PRODUCT)
        return rf"\frac{{{inner or self.form(rest)}}}{{{' '.join(under)}}}"

    def _fraction(self, layout: Layout, e: Expression) -> Printed:
        return rf"\frac{{{self.form(e.inputs[0])}}}{{{self.form(e.inputs[1])}}}", PRODUCT

    def _power(self, layout: Layout, e: Expression) -> Printed:
        return f"{self.bracketed(e.inputs[0], ATOM)}^{{{self.form(e.inputs[1])}}}", POWERED

    def _raised(self, layout: Layout, e: Expression) -> Printed:
        return f"{layout.sign}^{{{self._parts(layout, e)[0][0]}}}", POWERED

    def _root(self, layout: Layout, e: Expression) -> Printed:
        command = r"\sqrt[3]" if layout.sign == "∛" else r"\sqrt"
        return f"{command}{{{self._parts(layout, e)[0][0]}}}", ATOM

    def _running(self, sign: str, over: str) -> str:
        return self._sign(sign) + (f"_{{{over}}}" if over else "")

    def _over_time(self, first: int, last: int) -> str:
        return rf"\sum_{{t={first}}}^{{{last}}}"

    def _cases(self, layout: Layout, e: Expression) -> Printed:
        condition, a, b = e.inputs
        cases = rf"{self.form(a)} & \text{{if }} {self.condition(condition)} \\ {self.form(b)} & \text{{else}}"
        return rf"\begin{{cases}} {cases} \end{{cases}}", ADDED


def _command(word: str) -> str:
    r"""Return a function's name in LaTeX: ``\log_{2}``, ``\operatorname{erf}``, ``\sigma``."""
    if word in _LETTERS:
        return _LETTERS[word]
    match = re.fullmatch(r"([a-z]+)(\d*)", word)
    if match is not None and match[1] in _COMMANDS:
        return f"\\{match[1]}" + (f"_{{{match[2]}}}" if match[2] else "")
    return rf"\operatorname{{{escaped(word)}}}"


def _group(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 and " " not in parts[0] else "(" + " ".join(parts) + ")"


def outer_product(e: Expression) -> bool:
    """Whether a product is Σ δ ⊗ a over the examples: a gradient times a transposed value, examples in columns."""
    a, b = e.inputs
    return is_name(a) and a["name"].startswith("d") and b.op is TRANSPOSE and is_name(b.inputs[0])


def _filled(e: Expression) -> Expression:
    """Return an operand of a product that is a number spread over a matrix under a name: ``ones(5×6)``."""
    if e.op is not BROADCAST or e.inputs[0].op is not NUMBER:
        return e
    value = e.inputs[0]["value"]
    what = {0.0: "zeros(", 1.0: "ones("}.get(value, f"full({value:g}, ")
    return name(f"{what}{shape_text(e['shape'])})", e.shape)


def flattens(e: Expression) -> bool:
    """Whether a change of shape puts everything that belongs to an example into one row."""
    return len(e.shape) == 2 and len(e.inputs[0].shape) > 2 and e.inputs[0].shape[0] == e.shape[0]


def cuts_into_heads(e: Expression) -> bool:
    """Whether rows of length h d become h heads of rows of length d: (m, T, h d) → (m, h, T, d)."""
    if e.op is not TRANSPOSE or e["axes"] != (0, 2, 1, 3) or e.inputs[0].op is not RESHAPE:
        return False
    cut = e.inputs[0]
    return len(cut.inputs[0].shape) == 3 and cut.inputs[0].shape[:2] == cut.shape[:2]


def joins_heads(e: Expression) -> bool:
    """Whether heads are put side by side again: (m, h, T, d) → (m, T, h d)."""
    turned = e.inputs[0]
    if turned.op is not TRANSPOSE or turned["axes"] != (0, 2, 1, 3):
        return False
    return len(e.shape) == 3 and e.shape[:2] == turned.shape[:2]
