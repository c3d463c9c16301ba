"""Expressions as NumPy source."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..core.op import Shape
from .expression import NAME, NUMBER, Batch, Expression, Range, fraction

COMPARED, SUM, PRODUCT, SIGN, POWER, ATOM = range(6)
Printed = tuple[str, int]
Naming = Callable[[str], str]

_INFIX = {
    "add": ("+", SUM),
    "subtract": ("-", SUM),
    "multiply": ("*", PRODUCT),
    "divide": ("/", PRODUCT),
    "matmul": ("@", PRODUCT),
}
_COMPARISON = {
    "greater": ">",
    "greater_equal": ">=",
    "less": "<",
    "less_equal": "<=",
    "equal": "==",
    "not_equal": "!=",
}
_REDUCTION = {"sum": "np.sum", "max": "np.max", "min": "np.min", "prod": "np.prod", "all": "np.all", "any": "np.any"}
#: Operations that NumPy has no function for; the source defines them.
DEFINED = frozenset(
    "sigmoid softmax logsumexp norm2 cross_entropy_with_logits binary_cross_entropy_with_logits erf scatter_add place "
    "uniform cofactor".split()
)


def numpy_form(e: Expression, naming: Naming = str) -> str:
    """Return an expression as NumPy source; `naming` says how a name is written there."""
    return NumpyPrinter(naming).text(e)[0]


class NumpyPrinter:
    """Writes expressions as NumPy source.

    Parameters
    ----------
    naming
        How a name is written.
    defined
        The name of the function that the source defines for an operation; None for what NumPy has.
    """

    def __init__(self, naming: Naming, defined: Callable[[Expression], str | None] | None = None) -> None:
        self.naming, self.defined = naming, defined

    def text(self, e: Expression) -> Printed:
        """Return source, and how tightly it binds."""
        if e.op == NAME:
            return self.naming(e["name"]), ATOM
        if e.op == NUMBER:
            return _number(e["value"], e["batch"])
        called = self.defined(e) if self.defined is not None else None
        if called is not None and e.op not in ("scatter_add", "place", "uniform"):
            return f"{called}({', '.join(self.text(x)[0] for x in e.inputs)})", ATOM
        special = getattr(self, "_" + e.op, None)
        if special is not None:
            return special(e)  # type: ignore[no-any-return]
        if e.op in _INFIX:
            return self._infix(e)
        if e.op in _COMPARISON:
            a, b = (self.bracketed(x, SUM) for x in e.inputs)
            return f"{a} {_COMPARISON[e.op]} {b}", COMPARED
        if e.op in _REDUCTION:
            return self._reduced(_REDUCTION[e.op], e)
        return self._call(e.op if e.op in DEFINED else f"np.{_NUMPY_NAMES.get(e.op, e.op)}", e)

    def bracketed(self, e: Expression, precedence: int) -> str:
        """Return source, in brackets if it binds less tightly than `precedence`."""
        text, own = self.text(e)
        return f"({text})" if own < precedence else text

    def _infix(self, e: Expression) -> Printed:
        sign, own = _INFIX[e.op]
        a, b = e.inputs
        left = self.bracketed(a, own)
        if e.op in ("add", "subtract") and a.kind == b.kind == "b":
            left = f"1.0 * {left}"
        if e.op == "multiply" and a.op == NUMBER:
            return self._scaled(a, b)
        return f"{left} {sign} {self.bracketed(b, own + 1)}", own

    def _scaled(self, c: Expression, e: Expression) -> Printed:
        """Print a number times e: ``2.0 * (A - Y) / (3 * m)``."""
        minus, over, under = _scale(c["value"], c["batch"])
        if e.op == "divide":
            e, divisor = e.inputs
            under = [*under, self.bracketed(divisor, POWER)]
        inner = self.bracketed(e, PRODUCT if not over or e.op == "multiply" else SIGN)
        text = f"{over} * {inner}" if over else inner
        if under:
            text += f" / {under[0]}" if len(under) == 1 else f" / ({' * '.join(under)})"
        return minus + text, PRODUCT

    def _identity(self, e: Expression) -> Printed:
        return self.text(e.inputs[0])

    _stop_gradient = _identity

    def _negative(self, e: Expression) -> Printed:
        return "-" + self.bracketed(e.inputs[0], PRODUCT), SIGN

    def _square(self, e: Expression) -> Printed:
        return self.bracketed(e.inputs[0], ATOM) + "**2", POWER

    def _power(self, e: Expression) -> Printed:
        base, exponent = self.bracketed(e.inputs[0], ATOM), e.inputs[1]
        if (
            exponent.op == NUMBER
            and exponent["batch"] == 0
            and exponent["value"].is_integer()
            and exponent["value"] > 0
        ):
            return f"{base}**{int(exponent['value'])}", POWER
        return f"{base} ** {self.bracketed(exponent, ATOM)}", POWER

    def _transpose(self, e: Expression) -> Printed:
        if e["axes"] == (1, 0):
            return self.bracketed(e.inputs[0], ATOM) + ".T", ATOM
        return f"np.transpose({self.text(e.inputs[0])[0]}, {_tuple(e['axes'])})", ATOM

    def _reshape(self, e: Expression) -> Printed:
        inner = e.inputs[0]
        if without_ones(inner.shape) == without_ones(e.shape):
            return self.bracketed(inner, ATOM) + _unit_axes(inner.shape, e.shape), ATOM
        return f"np.reshape({self.text(inner)[0]}, {_tuple(e['shape'])})", ATOM

    def _broadcast_to(self, e: Expression) -> Printed:
        return f"np.broadcast_to({self.text(e.inputs[0])[0]}, {_tuple(e['shape'])})", ATOM

    def _relu(self, e: Expression) -> Printed:
        return f"np.maximum({self.text(e.inputs[0])[0]}, 0.0)", ATOM

    def _softplus(self, e: Expression) -> Printed:
        return f"np.logaddexp({self.text(e.inputs[0])[0]}, 0.0)", ATOM

    def _cast(self, e: Expression) -> Printed:
        kind = {"f": "float", "i": "int", "b": "bool"}[e.kind]
        return f"{self.bracketed(e.inputs[0], ATOM)}.astype({kind})", ATOM

    def _one_hot(self, e: Expression) -> Printed:
        return f"np.eye({e['classes']})[{self.text(e.inputs[0])[0]}]", ATOM

    def _concatenate(self, e: Expression) -> Printed:
        parts = ", ".join(self.text(x)[0] for x in e.inputs)
        return f"np.concatenate(({parts}), axis={e['axis']})", ATOM

    def _slice(self, e: Expression) -> Printed:
        return f"{self.bracketed(e.inputs[0], ATOM)}[{index_text(e['index'], ())}]", ATOM

    def _gather(self, e: Expression) -> Printed:
        arrays = [self.text(x)[0] for x in e.inputs[1:]]
        return f"{self.bracketed(e.inputs[0], ATOM)}[{index_text(e['index'], arrays)}]", ATOM

    def _scatter_add(self, e: Expression) -> Printed:
        arrays = [self.text(x)[0] for x in e.inputs[1:]]
        index = index_text(e["index"], arrays, as_value=True)
        return f"scatter_add({self.text(e.inputs[0])[0]}, {index}, {_tuple(e['shape'])})", ATOM

    def _place(self, e: Expression) -> Printed:
        index = index_text(e["index"], (), as_value=True)
        return f"place({self.text(e.inputs[0])[0]}, {index}, {_tuple(e['shape'])})", ATOM

    def _uniform(self, e: Expression) -> Printed:
        counter = self.text(e.inputs[0])[0]
        return f"uniform({counter}, {e['seed']}, {e['stream']}, {_tuple(e['shape'])})", ATOM

    def _reduced(self, function: str, e: Expression) -> Printed:
        inner = self.text(e.inputs[0])[0]
        axes = e["axis"]
        more = "" if len(axes) == len(e.inputs[0].shape) else f", axis={axes[0] if len(axes) == 1 else _tuple(axes)}"
        return f"{function}({inner}{more}{', keepdims=True' if e['keepdims'] else ''})", ATOM

    def _call(self, function: str, e: Expression) -> Printed:
        """Print a call with its attributes; an axis alone goes as a number."""
        parts = [self.text(x)[0] for x in e.inputs]
        for key, value in e.attrs:
            if key == "dtype" or value is False or value is None:
                continue
            short = value[0] if key == "axis" and type(value) is tuple and len(value) == 1 else value
            parts.append(f"{key}={_tuple(short) if type(short) is tuple else repr(short)}")
        return f"{function}({', '.join(parts)})", ATOM


_NUMPY_NAMES = {
    "inv": "linalg.inv",
    "solve": "linalg.solve",
    "det": "linalg.det",
    "cholesky": "linalg.cholesky",
    "pinv": "linalg.pinv",
}


def _number(value: float, batch: int) -> Printed:
    if not math.isfinite(value):
        return {"nan": "np.nan", "inf": "np.inf", "-inf": "-np.inf"}[repr(value)], SIGN if value < 0 else ATOM
    minus, over, under = _scale(value, batch)
    text = minus + (over or "1.0")
    if under:
        text += f" / {under[0]}" if len(under) == 1 else f" / ({' * '.join(under)})"
    return text, PRODUCT if under or "*" in text or "/" in text else SIGN if minus else ATOM


def _scale(value: float, batch: int) -> tuple[str, str, list[str]]:
    """Return the sign, what stands above the line and what below it, for value · m**batch."""
    minus, size = ("-" if value < 0 else ""), abs(value)
    over, under = _above_and_below(size)
    power = "m" if abs(batch) == 1 else f"m**{abs(batch)}"
    if batch > 0:
        over = f"{over} * {power}" if over else power
    if batch < 0:
        under.append(power)
    return minus, over, under


def _above_and_below(size: float) -> tuple[str, list[str]]:
    for known, (above, below) in _KNOWN.items():
        if math.isclose(known, size, rel_tol=1e-15):
            return above, [below] if below else []
    if size == 1.0:
        return "", []
    whole = f"{size:.1f}" if size.is_integer() and size < 1e15 else repr(size)
    small = fraction(size)
    if len(whole) <= 7 or small is None or small.denominator == 1:
        return whole, []
    return ("" if small.numerator == 1 else f"{small.numerator}.0"), [str(small.denominator)]


#: Numbers as they are written: above the line, and below it.
_KNOWN = {
    math.pi: ("np.pi", ""),
    math.sqrt(2 / math.pi): ("np.sqrt(2.0 / np.pi)", ""),
    math.log(2.0): ("np.log(2.0)", ""),
    math.log(10.0): ("np.log(10.0)", ""),
    1 / math.sqrt(2.0): ("", "np.sqrt(2.0)"),
    1 / math.sqrt(2 * math.pi): ("", "np.sqrt(2.0 * np.pi)"),
    2 / math.sqrt(math.pi): ("2.0", "np.sqrt(np.pi)"),
}


def _tuple(values: Any) -> str:
    parts = [str(v) for v in values]
    return "(" + ", ".join(parts) + ("," if len(parts) == 1 else "") + ")"


def without_ones(shape: Shape) -> Shape:
    """Return a shape without its axes of length 1."""
    return tuple(d for d in shape if d != 1)


def _unit_axes(old: Shape, new: Shape) -> str:
    """Return the index that adds and removes axes of length 1: ``[:, None]``."""
    parts: list[str] = []
    i = 0
    for d in new:
        while i < len(old) and old[i] == 1 and d != 1:
            parts.append("0")
            i += 1
        if i < len(old) and old[i] == d:
            parts.append(":")
            i += 1
        else:
            parts.append("None")
    parts += ["0"] * (len(old) - i)
    return f"[{', '.join(parts)}]"


def index_text(index: Any, arrays: Any, *, as_value: bool = False) -> str:
    """Return an index as it stands between brackets, or as a tuple."""
    from ..ops.index import Slot

    parts = []
    for part in index:
        if type(part) is Slot:
            parts.append(arrays[part])
        elif isinstance(part, Range):
            ends = [("None" if as_value else "") if x is None else str(x) for x in (part.start, part.stop, part.step)]
            shown = ends if as_value or part.step is not None else ends[:2]
            parts.append(f"slice({', '.join(shown)})" if as_value else ":".join(shown))
        else:
            parts.append("..." if part is Ellipsis else str(part))
    text = ", ".join(parts)
    if as_value:
        return f"({text},)" if len(parts) == 1 else f"({text})"
    return text or "..."


def has_batch(e: Expression) -> bool:
    """Whether the number of examples m occurs in the expression's source."""
    for x in e.walk():
        if x.op == NUMBER and x["batch"]:
            return True
        if any(_holds_batch(v) for k, v in x.attrs if k in ("shape",)) and _shows_shape(x):
            return True
    return False


def _shows_shape(e: Expression) -> bool:
    return e.op != "reshape" or without_ones(e.inputs[0].shape) != without_ones(e.shape)


def _holds_batch(x: Any) -> bool:
    return isinstance(x, Batch) or (type(x) is tuple and any(_holds_batch(i) for i in x))
