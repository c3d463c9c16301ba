"""Reads a formula as it is printed, with the eyes of a reader: juxtaposed matrices multiply, Σⱼ sums over columns."""

import math
import re
from typing import Any

import numpy as np

from chainrule import ops

_TOKEN = re.compile(
    r"\s*(?:(?P<number>10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]*[⁰¹⁶⁷⁸⁹⁻][⁻⁰¹²³⁴⁵⁶⁷⁸⁹]*|\d+(?:\.\d+)?(?:e[-+]?\d+)?)|(?P<name>(?!max[ᵢⱼₖₗ])(?:∂L/∂[A-Za-zα-ω_.]+[₀-₉]*|[A-Za-zα-ωΑ-ΡΤ-Ω_][A-Za-zα-ω_.]*[₀-₉0-9]*))"
    r"|(?P<sign>Σ[ᵢⱼₖₗ]*|max[ᵢⱼₖₗ]+|∞|[-+−⊙·/()\[\]{},²³⁴⁵ᵀ=<>≤≥√∛⌊⌋⌈⌉^⊗→×|]))"
)
_DIGITS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_FUNCTIONS = {
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "abs": np.absolute,
    "sign": np.sign,
    "σ": ops.sigmoid,
    "erf": lambda x: np.vectorize(math.erf)(x),
    "softmax": lambda x: ops.softmax(x, -1),
    "sin": np.sin,
    "cos": np.cos,
    "max": np.maximum,
    "min": np.minimum,
    "cross_entropy": lambda z, t: ops.logsumexp(z, -1) - np.sum(z * t, axis=-1),
    "logsumexp": lambda x: ops.logsumexp(x, -1, keepdims=True),
    "tan": np.tan,
    "arcsin": np.arcsin,
    "arccos": np.arccos,
    "arctan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "arsinh": np.arcsinh,
    "arcosh": np.arccosh,
    "artanh": np.arctanh,
    "exp2": np.exp2,
    "log2": np.log2,
    "log₂": np.log2,
    "log10": np.log10,
    "log₁₀": np.log10,
    "round": np.rint,
    "trunc": np.trunc,
    "flat": lambda x: x.reshape(len(x), -1),
}


class Reader:
    def __init__(self, text: str, values: dict[str, Any]) -> None:
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            assert match, f"cannot read {text[at:]!r}"
            kind = str(match.lastgroup)
            self.tokens.append((kind, match[kind]))
            at = match.end()
        self.values, self.at, self.within = values, 0, 0

    def read(self) -> Any:
        value = self.sum()
        assert self.at == len(self.tokens), self.tokens[self.at :]
        return value

    @property
    def next(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self, text: str = "") -> str:
        token = self.next
        assert not text or token == text, (text, token, self.tokens)
        self.at += 1
        return token

    def sum(self) -> Any:
        if self.next == "−":
            self.take()
            total = -self.product()
        else:
            total = self.product()
        while self.next in ("+", "−"):
            sign = self.take()
            other = self.product()
            total = total + other if sign == "+" else total - other
        return total

    def product(self) -> Any:
        value = self.juxtaposed()
        while self.next in ("⊙", "·", "/", "⊗"):
            sign = self.take()
            other = self.juxtaposed() if sign != "/" else self.power()
            if sign == "⊗":  # outer products of the columns, summed
                value = np.einsum("ij,kj->ik", value, other)
            else:
                value = value / other if sign == "/" else value * other
        return value

    def juxtaposed(self) -> Any:
        value = self.power()
        while self.next and self.next not in self.closing and self.next not in ("if", "else"):
            other = self.power()
            matrices = np.ndim(value) >= 2 and np.ndim(other) >= 2
            value = value @ other if matrices else value * other
        return value

    @property
    def closing(self) -> str:
        return "+−⊙·⊗/)]},=<>≤≥⌋⌉" + ("|" if self.within else "")

    def power(self) -> Any:
        value = self.atom()
        while self.next in ("²", "³", "⁴", "⁵", "ᵀ"):
            sign = self.take()
            value = np.swapaxes(value, -1, -2) if sign == "ᵀ" else value ** ("²³⁴⁵".index(sign) + 2)
        return value

    def atom(self) -> Any:
        kind, token = self.tokens[self.at]
        self.take()
        if kind == "number":
            if token == "1" and self.next == "[":
                return self.indicator()
            digits = token[2:].translate(_DIGITS)
            return 10.0 ** int(digits) if digits != token[2:] else float(token)
        if token.startswith("Σ") or token[-1] in "ᵢⱼₖₗ":
            axes = tuple("ᵢⱼₖₗ".index(c) for c in token.lstrip("Σmax"))
            inner = self.juxtaposed()
            if token.startswith("max"):
                return np.max(inner, axis=axes, keepdims=True)
            return np.sum(inner, axis=axes, keepdims=True) if axes else np.sum(inner)
        if token in "√∛":
            return {"√": np.sqrt, "∛": np.cbrt}[token](self.atom())
        if token in "⌊⌈":
            value = self.sum()
            return np.floor(value) if self.take() == "⌋" else np.ceil(value)
        if token == "|":
            self.within += 1
            value = self.sum()
            self.take("|")
            self.within -= 1
            return np.absolute(value)
        if token == "(":
            value = self.sum()
            self.take(")")
            return value
        if token == "{":
            return self.choice()
        if token in "π∞":
            return math.pi if token == "π" else math.inf
        if token in _FUNCTIONS and self.next == "(":
            self.take("(")
            arguments = [self.sum()]
            while self.next == ",":
                self.take()
                arguments.append(self.sum())
            self.take(")")
            return _FUNCTIONS[token](*arguments)
        return self.values[token]

    def indicator(self) -> Any:
        self.take("[")
        value = self.condition()
        self.take("]")
        return value * 1.0

    def condition(self) -> Any:
        a = self.sum()
        sign = self.take()
        b = self.sum()
        return {">": a > b, "<": a < b, "≤": a <= b, "≥": a >= b, "=": a == b}[sign]

    def choice(self) -> Any:
        yes = self.sum()
        self.take("if")
        condition = self.condition()
        self.take(",")
        self.take("else")
        no = self.sum()
        self.take("}")
        return np.where(condition, yes, no)
