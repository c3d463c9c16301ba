"""Expressions as NumPy source."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.op import Shape
from ..ops.index import Slot
from .expression import Batch, Expression, Range, index_parts
from .numbers import NUMPY, scale
from .rows import DIVIDE, MULTIPLY, NAME, NUMBER

COMPARED, ADDED, PRODUCT, SIGNED, POWERED, ATOM = range(6)
Printed = tuple[str, int]
Naming = Callable[[str], str]

#: Python's operators for NumPy's functions, and how tightly they bind.
_OPERATORS = {
    np.add: ("+", ADDED),
    np.subtract: ("-", ADDED),
    np.multiply: ("*", PRODUCT),
    np.divide: ("/", PRODUCT),
    np.matmul: ("@", PRODUCT),
    np.greater: (">", COMPARED),
    np.greater_equal: (">=", COMPARED),
    np.less: ("<", COMPARED),
    np.less_equal: ("<=", COMPARED),
    np.equal: ("==", COMPARED),
    np.not_equal: ("!=", COMPARED),
}


def numpy_form(e: Expression, naming: Naming = str) -> str:
    """Return an expression as NumPy source; `naming` says how a name is written there.

    Examples
    --------
    >>> from chainrule.formula.expression import make, name, number
    >>> from chainrule.formula.rows import MULTIPLY, SUBTRACT
    >>> numpy_form(make(MULTIPLY, number(2.0, -1), make(SUBTRACT, name("A2", (4, 3)), name("Y", (4, 3)))))
    '2.0 * (A2 - Y) / m'
    """
    return NumpyPrinter(naming).form(e)


class NumpyPrinter:
    """Writes expressions as NumPy source.

    Parameters
    ----------
    naming
        How a name is written.
    defined
        Returns the name of the function that the source defines for an operation that NumPy lacks. By default, that is
        the row's name, and the call shows the attributes.
    """

    def __init__(self, naming: Naming, defined: Callable[[Expression], str] | None = None) -> None:
        self.naming, self.defined = naming, defined

    def form(self, e: Expression) -> str:
        """Return an expression as it stands alone."""
        return self.text(e)[0]

    def bracketed(self, e: Expression, level: int) -> str:
        """Return source, in brackets if it binds less tightly than `level`."""
        text, own = self.text(e)
        return f"({text})" if own < level else text

    def text(self, e: Expression) -> Printed:
        """Return source, and how tightly it binds."""
        function = e.op.numpy
        if e.op is NAME:
            return self.naming(e["name"]), ATOM
        if e.op is NUMBER:
            return _number(e["value"], e["batch"])
        if isinstance(function, str):
            return self._pattern(function, e)
        if function in _OPERATORS:
            return self._infix(e, *_OPERATORS[function])
        draw = _SPELLINGS.get(function)
        return draw(self, e) if draw is not None else self._call(e)

    def _infix(self, e: Expression, sign: str, own: int) -> Printed:
        a, b = e.inputs
        if e.op is MULTIPLY and a.op is NUMBER:
            return self._scaled(a, b)
        left = self.bracketed(a, max(own, ADDED))
        if own == ADDED and a.kind == b.kind == "b":
            left = f"1.0 * {left}"
        return f"{left} {sign} {self.bracketed(b, own + 1)}", own

    def _scaled(self, c: Expression, e: Expression) -> Printed:
        """Print a number times e: ``2.0 * (A - Y) / (3 * m)``."""
        negative, over, under = scale(c["value"], c["batch"], NUMPY)
        if e.op is DIVIDE:
            e, divisor = e.inputs
            under = [*under, self.bracketed(divisor, POWERED)]
        inner = self.bracketed(e, PRODUCT if not over or e.op is MULTIPLY else SIGNED)
        return "-" * negative + _divided(f"{over} * {inner}" if over else inner, under), PRODUCT

    def _negative(self, e: Expression) -> Printed:
        return "-" + self.bracketed(e.inputs[0], PRODUCT), SIGNED

    def _square(self, e: Expression) -> Printed:
        return self.bracketed(e.inputs[0], ATOM) + "**2", POWERED

    def _power(self, e: Expression) -> Printed:
        base, exponent = self.bracketed(e.inputs[0], ATOM), e.inputs[1]
        if exponent.op is NUMBER and exponent["batch"] == 0 and 0 < exponent["value"] == int(exponent["value"]):
            return f"{base}**{int(exponent['value'])}", POWERED
        return f"{base} ** {self.bracketed(exponent, ATOM)}", POWERED

    def _transpose(self, e: Expression) -> Printed:
        if e["axes"] == (1, 0):
            return self.bracketed(e.inputs[0], ATOM) + ".T", ATOM
        return self._call(e)

    def _reshape(self, e: Expression) -> Printed:
        if e.moves_ones:
            return self.bracketed(e.inputs[0], ATOM) + _unit_axes(e.inputs[0].shape, e.shape), ATOM
        return f"np.reshape({self.form(e.inputs[0])}, {_tuple(e['shape'])})", ATOM

    def _concatenate(self, e: Expression) -> Printed:
        return f"np.concatenate(({', '.join(map(self.form, e.inputs))}), axis={e['axis']})", ATOM

    def _pattern(self, pattern: str, e: Expression) -> Printed:
        if pattern == "{0}":
            return self.text(e.inputs[0])
        attrs = {k: _argument(k, v, e) for k, v in e.attrs}
        if "index" in attrs:
            attrs["index"] = index_source(e["index"], [self.form(x) for x in e.inputs[1:]])
        parts = [self.bracketed(x, ATOM) if pattern.startswith("{0}") else self.form(x) for x in e.inputs]
        return pattern.format(*parts, **attrs), ATOM

    def _call(self, e: Expression) -> Printed:
        """Print a call with its attributes."""
        function, given = e.op.numpy, dict(e.attrs)
        spelled = numpy_name(function)
        if function is None and self.defined is not None:
            given = {}  # the function that the source defines has them in it
        parts = [self.form(x) for x in e.inputs]
        if "index" in given:
            count = sum(type(i) is Slot for i in given["index"])
            given["index"] = index_source(given["index"], parts[1 : 1 + count], as_value=True)
            del parts[1 : 1 + count]
        if spelled and e.axes is not None and len(e.axes) == len(e.inputs[0].shape):
            del given["axis"]  # all axes, as without one
        if spelled or given.get("dtype") == np.float64:
            given.pop("dtype", None)
        parts += [f"{k}={_argument(k, v, e)}" for k, v in given.items() if v is not None and v is not False]
        spelled = spelled or (self.defined(e) if self.defined is not None else e.op.name)
        return f"{spelled}({', '.join(parts)})", ATOM


_SPELLINGS: dict[Any, Callable[[NumpyPrinter, Expression], Printed]] = {
    np.negative: NumpyPrinter._negative,
    np.square: NumpyPrinter._square,
    np.power: NumpyPrinter._power,
    np.transpose: NumpyPrinter._transpose,
    np.reshape: NumpyPrinter._reshape,
    np.concatenate: NumpyPrinter._concatenate,
}


def numpy_name(function: Any) -> str:
    """Return how source calls a function of NumPy; "" for any other."""
    for where, module in (("np.", np), ("np.linalg.", np.linalg)):
        name = getattr(function, "__name__", "")
        if name and getattr(module, name, None) is function:
            return where + name
    return ""


def _argument(key: str, value: Any, e: Expression) -> str:
    """Return an attribute as source; an axis alone goes as a number."""
    if key == "index" or isinstance(value, Batch):
        return str(value)
    if key == "dtype":
        return f"np.{value}" if callable(e.op.numpy) else {"f": "float", "i": "int", "b": "bool"}[e.kind]
    if key == "axis" and type(value) is tuple and len(value) == 1:
        return str(value[0])
    return _tuple(value) if type(value) is tuple else repr(value)


def _number(value: float, batch: int) -> Printed:
    if not math.isfinite(value):
        return {"nan": "np.nan", "inf": "np.inf", "-inf": "-np.inf"}[repr(value)], SIGNED if value < 0 else ATOM
    negative, over, under = scale(value, batch, NUMPY)
    text = _divided("-" * negative + (over or "1.0"), under)
    return text, PRODUCT if under or "*" in text or "/" in text else SIGNED if negative else ATOM


def _divided(text: str, under: list[str]) -> str:
    if not under:
        return text
    return f"{text} / {under[0]}" if len(under) == 1 else f"{text} / ({' * '.join(under)})"


def _tuple(values: Any) -> str:
    parts = [str(v) for v in values]
    return "(" + ", ".join(parts) + ("," if len(parts) == 1 else "") + ")"


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


def index_source(index: Any, arrays: list[str], *, as_value: bool = False) -> str:
    """Return an index as it stands between brackets, or as a tuple."""
    parts = index_parts(index, arrays, "...")
    if not as_value:
        return ", ".join(parts) or "..."
    ranges = [isinstance(i, Range) for i in index]
    return _tuple(
        [f"slice({i.start}, {i.stop}, {i.step})" if r else p for i, p, r in zip(index, parts, ranges, strict=True)]
    )


def has_batch(e: Expression) -> bool:
    """Whether the number of examples m occurs in the expression's source."""
    for x in e.walk():
        if x.op is NUMBER and x["batch"]:
            return True
        if not x.moves_ones and any(_holds_batch(v) for k, v in x.attrs if k == "shape"):
            return True
    return False


def _holds_batch(x: Any) -> bool:
    return isinstance(x, Batch) or (type(x) is tuple and any(_holds_batch(i) for i in x))
