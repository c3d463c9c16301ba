"""Expressions as plain text: ``dZ₂ = (A₂ − Y) / m``."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

from ..core.op import Shape
from .expression import NAME, NUMBER, Expression, Range, fraction, name
from .numpy_form import without_ones

SUM, PRODUCT, MATRIX, POWER, ATOM = range(5)
Printed = tuple[str, int]

GREEK = {"gamma": "γ", "beta": "β", "sigma": "σ", "mu": "μ", "delta": "δ", "alpha": "α", "lambda": "λ", "theta": "θ"}
CONSTANTS = {
    math.sqrt(2 / math.pi): ("√(2/π)", r"\sqrt{2/\pi}"),
    math.pi: ("π", r"\pi"),
    math.log(2.0): ("ln 2", r"\ln 2"),
    math.log(10.0): ("ln 10", r"\ln 10"),
}
DIVISORS = {
    1 / math.sqrt(2.0): ("", "√2", r"\sqrt{2}"),
    1 / math.sqrt(2 * math.pi): ("", "√(2π)", r"\sqrt{2\pi}"),
    2 / math.sqrt(math.pi): ("2", "√π", r"\sqrt{\pi}"),
}
COMPARISONS = {"greater": ">", "greater_equal": "≥", "less": "<", "less_equal": "≤", "equal": "=", "not_equal": "≠"}
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_AXES = "ᵢⱼₖₗ"
_FUNCTIONS = {
    "sigmoid": "σ",
    "logaddexp": "logaddexp",
    "one_hot": "onehot",
    "cross_entropy_with_logits": "cross_entropy",
    "binary_cross_entropy_with_logits": "binary_cross_entropy",
    "scatter_add": "scatter",
    "exp": "exp",
}
_JOINING = frozenset({"multiply", "sum"})  # need no brackets after a number
_UNSEEN = frozenset({"cast", "identity", "stop_gradient", "broadcast_to"})


def display_name(label: str) -> str:
    """Return a name as it is shown: ``dZ₁``, ``dγ₁``."""
    parts = name_parts(label)
    if parts is None:
        return label if label.isprintable() else " ".join("".join(c if c.isprintable() else " " for c in label).split())
    d, letters, digits = parts
    return d + GREEK.get(letters, letters) + digits.translate(_SUBSCRIPTS)


def name_parts(label: str) -> tuple[str, str, str] | None:
    """Return the d of a gradient (or nothing), the letters and the digits of a plain name; None for any other."""
    match = re.fullmatch(r"([A-Za-z]+?)([0-9]*)", label)
    if match is None:
        return None
    letters, digits = match[1], match[2]
    if letters[0] == "d" and len(letters) > 1 and letters not in GREEK:
        return "d", letters[1:], digits
    return "", letters, digits


def shape_text(shape: Shape) -> str:
    """Return ``32×10``; a number alone for one axis."""
    return "×".join(map(str, shape)) if shape else "1"


def text_form(e: Expression) -> str:
    """Return an expression as plain text."""
    return TextPrinter().text(e)[0]


class TextPrinter:
    """Writes expressions on one line."""

    def name(self, e: Expression) -> Printed:
        """Return a name."""
        return display_name(e["name"]), ATOM

    def text(self, e: Expression) -> Printed:
        """Return text and how tightly it binds."""
        if e.op == NAME:
            return self.name(e)
        special = getattr(self, "_" + e.op, None)
        if special is not None:
            return special(e)  # type: ignore[no-any-return]
        if e.op in _UNSEEN:
            return self.text(e.inputs[0])
        if e.op in COMPARISONS:
            a, b = (self.bracketed(x, SUM) for x in e.inputs)
            return f"1[{a} {COMPARISONS[e.op]} {b}]", ATOM
        arguments = ", ".join(self.text(x)[0] for x in e.inputs)
        return f"{_FUNCTIONS.get(e.op, e.op)}({arguments})", ATOM

    def bracketed(self, e: Expression, precedence: int) -> str:
        """Return text, in brackets if it binds less tightly than `precedence`."""
        text, own = self.text(e)
        return f"({text})" if own < precedence else text

    def _number(self, e: Expression) -> Printed:
        over, under = scale(e["value"], e["batch"])
        text = _power_of_ten(over or "1")
        if under:
            text = f"{text} / {_group(under)}"
        return text, SUM if e["value"] < 0 else PRODUCT if under or re.search("[/ ·]", text) else ATOM

    def _add(self, e: Expression) -> Printed:
        return f"{self.bracketed(e.inputs[0], SUM)} + {self.bracketed(e.inputs[1], PRODUCT)}", SUM

    def _subtract(self, e: Expression) -> Printed:
        return f"{self.bracketed(e.inputs[0], SUM)} − {self.bracketed(e.inputs[1], PRODUCT)}", SUM

    def _negative(self, e: Expression) -> Printed:
        return "−" + self.bracketed(e.inputs[0], PRODUCT), SUM

    def _multiply(self, e: Expression) -> Printed:
        c, rest = e.inputs
        if c.op == NUMBER:
            return self._scaled(c, rest)
        dot = " " if () in (c.shape, rest.shape) else " ⊙ "
        if () == e.shape:
            dot = " · "
        return f"{self._factor(c, PRODUCT)}{dot}{self._factor(rest, MATRIX)}", PRODUCT

    def _factor(self, e: Expression, precedence: int) -> str:
        return self.bracketed(e, POWER if e.op in ("matmul", "sum", "max", "min", "prod") else precedence)

    def _scaled(self, c: Expression, rest: Expression) -> Printed:
        """Write a number times something: ``2 (A − Y) / (10 m)``."""
        over, under = scale(c["value"], c["batch"], counted=rest.op == "sum" or c["batch"] != 0)
        sign = ""
        if over.startswith("−"):
            sign, over = "−", over[1:]
            over = "" if over == "1" else over
        divisor = None
        if rest.op == "divide":
            rest, divisor = rest.inputs
        over = _power_of_ten(over)
        inner = self.bracketed(rest, MATRIX if over and rest.op not in _JOINING else PRODUCT)
        text = f"{over} {inner}" if over else inner
        parts = [*under, *([self.bracketed(divisor, POWER)] if divisor is not None else [])]
        if parts:
            text = f"{text} / {_group(parts)}"
        return sign + text, SUM if sign else PRODUCT

    def _divide(self, e: Expression) -> Printed:
        return f"{self.bracketed(e.inputs[0], PRODUCT)} / {self.bracketed(e.inputs[1], POWER)}", PRODUCT

    def _matmul(self, e: Expression) -> Printed:
        e = replace(e, inputs=tuple(filled(x) for x in e.inputs))
        return f"{self.bracketed(e.inputs[0], MATRIX)} {self.bracketed(e.inputs[1], POWER)}", MATRIX

    def _square(self, e: Expression) -> Printed:
        return self.bracketed(e.inputs[0], ATOM) + "²", POWER

    def _power(self, e: Expression) -> Printed:
        exponent = e.inputs[1]
        if exponent.op == NUMBER and exponent["value"] in (3.0, 4.0, 5.0):
            return self.bracketed(e.inputs[0], ATOM) + "³⁴⁵"[int(exponent["value"]) - 3], POWER
        return f"{self.bracketed(e.inputs[0], ATOM)}^{self.bracketed(exponent, ATOM)}", POWER

    def _transpose(self, e: Expression) -> Printed:
        axes = e["axes"]
        n = len(axes)
        if n >= 2 and axes == (*range(n - 2), n - 1, n - 2):
            return self.bracketed(e.inputs[0], ATOM) + "ᵀ", POWER
        return f"transpose({self.text(e.inputs[0])[0]}, {axes})", ATOM

    def _reshape(self, e: Expression) -> Printed:
        inner = e.inputs[0]
        if without_ones(inner.shape) == without_ones(e.shape):
            return self.text(inner)
        if flattens(e):
            return f"flat({self.text(inner)[0]})", ATOM
        return f"reshape({self.text(inner)[0]} → {shape_text(e['shape'])})", ATOM

    def _sum(self, e: Expression) -> Printed:
        return f"Σ{self._over(e)} {self.bracketed(e.inputs[0], MATRIX)}", PRODUCT

    def _max(self, e: Expression) -> Printed:
        return f"max{self._over(e)} {self.bracketed(e.inputs[0], MATRIX)}", PRODUCT

    def _min(self, e: Expression) -> Printed:
        return f"min{self._over(e)} {self.bracketed(e.inputs[0], MATRIX)}", PRODUCT

    def _prod(self, e: Expression) -> Printed:
        return f"Π{self._over(e)} {self.bracketed(e.inputs[0], MATRIX)}", PRODUCT

    @staticmethod
    def _over(e: Expression) -> str:
        axes, ndim = e["axis"], len(e.inputs[0].shape)
        return "" if len(axes) == ndim or ndim > len(_AXES) else "".join(_AXES[i] for i in axes)

    def _relu(self, e: Expression) -> Printed:
        return f"max(0, {self.text(e.inputs[0])[0]})", ATOM

    def _absolute(self, e: Expression) -> Printed:
        inner = self.text(e.inputs[0])[0]
        return (f"abs({inner})" if "|" in inner else f"|{inner}|"), ATOM

    def _sqrt(self, e: Expression) -> Printed:
        inner = e.inputs[0]
        return (f"√{self.text(inner)[0]}" if inner.op == NAME else f"√({self.text(inner)[0]})"), POWER

    def _expm1(self, e: Expression) -> Printed:
        return f"exp({self.text(e.inputs[0])[0]}) − 1", SUM

    def _log1p(self, e: Expression) -> Printed:
        return f"log(1 + {self.bracketed(e.inputs[0], PRODUCT)})", ATOM

    def _softplus(self, e: Expression) -> Printed:
        return f"log(1 + exp({self.text(e.inputs[0])[0]}))", ATOM

    def _where(self, e: Expression) -> Printed:
        condition, a, b = (self.text(x)[0] for x in e.inputs)
        return "{" + f"{a} if {_condition(condition)}, else {b}" + "}", ATOM

    def _concatenate(self, e: Expression) -> Printed:
        return "[" + ", ".join(self.text(x)[0] for x in e.inputs) + "]", ATOM

    def _slice(self, e: Expression) -> Printed:
        return f"{self.bracketed(e.inputs[0], ATOM)}[{index_parts(e['index'], [])}]", ATOM

    def _gather(self, e: Expression) -> Printed:
        arrays = [self.text(x)[0] for x in e.inputs[1:]]
        return f"{self.bracketed(e.inputs[0], ATOM)}[{index_parts(e['index'], arrays)}]", ATOM

    def _scatter_add(self, e: Expression) -> Printed:
        arrays = [self.text(x)[0] for x in e.inputs[1:]]
        return f"scatter({self.text(e.inputs[0])[0]} → rows {', '.join(arrays)})", ATOM

    def _inv(self, e: Expression) -> Printed:
        return self.bracketed(e.inputs[0], ATOM) + "⁻¹", POWER


def _condition(text: str) -> str:
    """Return a condition without the bracket of its indicator."""
    return text[2:-1] if text.startswith("1[") and text.index("]") == len(text) - 1 else text


def index_parts(index: Any, arrays: list[str]) -> str:
    """Return an index as it stands between brackets."""
    from ..ops.index import Slot

    parts = []
    for part in index:
        if type(part) is Slot:
            parts.append(arrays[part])
        elif isinstance(part, Range):
            ends = ["" if x is None else str(x) for x in (part.start, part.stop, part.step)]
            parts.append(":".join(ends if part.step is not None else ends[:2]))
        else:
            parts.append("…" if part is Ellipsis else str(part))
    return ", ".join(parts)


def filled(e: Expression) -> Expression:
    """Return an operand of a product that is a number spread over a matrix under a name: ``ones(5×6)``."""
    if e.op != "broadcast_to" or e.inputs[0].op != NUMBER:
        return e
    value = e.inputs[0]["value"]
    what = {0.0: "zeros(", 1.0: "ones("}.get(value, f"full({value:g}, ")
    return name(f"{what}{shape_text(e['shape'])})", e.shape)


def flattens(e: Expression) -> bool:
    """Whether a change of shape puts everything that belongs to an example into one row."""
    return len(e.shape) == 2 and len(e.inputs[0].shape) > 2 and e.inputs[0].shape[0] == e.shape[0]


def _power_of_ten(text: str) -> str:
    """Return a decimal as a person writes it: ``1e-05`` is 10⁻⁵."""
    match = re.fullmatch(r"(−?)([\d.]+)e([-+]\d+)", text)
    if match is None:
        return text
    power = "10" + str(int(match[3])).translate(_SUPERSCRIPTS)
    return match[1] + (power if match[2] == "1" else f"{match[2]}·{power}")


def _group(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 and " " not in parts[0] else "(" + " ".join(parts) + ")"


def scale(value: float, batch: int, *, latex: bool = False, counted: bool = False) -> tuple[str, list[str]]:
    """Return what stands above and below the line for value · m**batch; above, nothing stands for 1.

    `counted` says that it scales a sum: then one tenth is a division by the number of terms, else it is 0.1.
    """
    sign, size = ("−" if value < 0 else ""), abs(value)
    over, under = _above_and_below(size, latex, counted)
    count = abs(batch)
    power = "m" if count == 1 else f"m^{{{count}}}" if latex else "m" + str(count).translate(_SUPERSCRIPTS)
    if batch > 0:
        over = f"{over} {power}".strip()
    if batch < 0:
        under.append(power)
    if sign:
        over = sign + (over or "1")
    return over, under


def _above_and_below(size: float, latex: bool, counted: bool) -> tuple[str, list[str]]:
    for known, constant in CONSTANTS.items():
        if math.isclose(known, size, rel_tol=1e-14):
            return constant[1 if latex else 0], []
    for known, (over, below, below_latex) in DIVISORS.items():
        if math.isclose(known, size, rel_tol=1e-14):
            return over, [below_latex if latex else below]
    small, decimal = fraction(size), f"{size:.6g}"
    if small is None or (len(decimal) <= 5 and small.denominator % 10 == 0 and not counted):
        return decimal, []
    over = "" if small.numerator == 1 else str(small.numerator)
    if small.denominator == 1:
        return over, []
    if small.numerator == 1 or small.denominator <= 12:
        return over, [str(small.denominator)]
    return decimal, []


# -- shapes --------------------------------------------------------------------------------------------------------


def dimensions(e: Expression) -> str:
    """Return the formula with the shapes in the names' places: ``(32×64)(64×10) + (10) → 32×10``."""
    changed = e.op == "transpose" or (e.op == "reshape" and without_ones(e.inputs[0].shape) != without_ones(e.shape))
    if changed and e.inputs[0].op != NAME:
        return f"{dimensions(e.inputs[0])} → {shape_text(e.shape)}"
    inner = _Dimensions().text(e)[0]
    if e.op in _MOVED:
        inner = ", ".join(f"({shape_text(x.shape)})" for x in e.inputs)
    if inner.startswith("[") and inner.find("]") == len(inner) - 1:
        inner = inner[1:-1]
    if e.op == NAME or inner.count("(") == 0:
        inner = f"({shape_text(e.shape)})"
    return f"{inner} → {shape_text(e.shape)}"


_REDUCED = frozenset({"sum", "max", "min", "prod"})
_MOVED = frozenset({"concatenate", "slice", "place"})


class _Dimensions(TextPrinter):
    """Writes shapes for names; numbers and functions element by element leave no trace."""

    def text(self, e: Expression) -> Printed:
        if e.op == NAME:
            return (f"({shape_text(e.shape)})" if e.shape else ""), ATOM
        if e.op == NUMBER:
            return "", ATOM
        if e.op == "matmul":
            return "".join(f"({shape_text(x.shape)})" for x in e.inputs), MATRIX
        if e.op == "transpose":
            return f"({shape_text(e.shape)})", ATOM
        if e.op in ("add", "subtract", "multiply", "divide"):
            return self._joined(e)
        if e.op in _REDUCED:
            return self._reduced(e)
        if e.op == "gather":
            return f"({shape_text(e.inputs[0].shape)})[{', '.join(shape_text(x.shape) for x in e.inputs[1:])}]", ATOM
        if e.op in ("scatter_add", "softmax", "reshape", "one_hot"):
            return f"({shape_text(e.inputs[0].shape)})", ATOM
        if e.op in _MOVED:
            return f"({shape_text(e.shape)})", ATOM
        parts = [self.text(x) for x in e.inputs]
        part = next((p for x, p in zip(e.inputs, parts, strict=True) if p[0] and x.shape == e.shape), parts[0])
        return (f"[{part[0]}]" if part[0] and part[1] < MATRIX else part[0]), ATOM

    def _joined(self, e: Expression) -> Printed:
        sign = {"add": "+", "subtract": "−", "multiply": "⊙", "divide": "/"}[e.op]
        a, b = (self.text(x) for x in e.inputs)
        if not a[0] or not b[0]:
            return a if a[0] else b
        own = SUM if e.op in ("add", "subtract") else PRODUCT
        summed = [own == PRODUCT and x.op in _REDUCED for x in e.inputs]
        right = b[0] if (b[1] > own or e.op == "add") and not summed[1] else f"[{b[0]}]"
        left = a[0] if a[1] >= own and not summed[0] else f"[{a[0]}]"
        return f"{left} {sign} {right}", own

    def _reduced(self, e: Expression) -> Printed:
        inner, precedence = self.text(e.inputs[0])
        sign = "Σ" if e.op == "sum" else e.op
        return f"{sign}{self._over(e)} {inner if precedence >= MATRIX else f'[{inner}]'}", PRODUCT
