"""Reads a formula in LaTeX as a reader would: what is typeset becomes the same formula on one line, for `Reader`."""

import re

_WORDS = {
    "odot": " ⊙ ",
    "cdot": " · ",
    "times": "×",
    "otimes": " ⊗ ",
    "partial": "∂",
    "leq": "≤",
    "geq": "≥",
    "gamma": "γ",
    "beta": "β",
    "sigma": "σ",
    "mu": "μ",
    "delta": "δ",
    "pi": "π",
    "left": "",
    "right": "",
    "quad": " ",
    ",": " ",
    "_": "_",
    "text": "",
    "operatorname": "",
    "mathit": "",
    "sum": "Σ",
    "max": "max",
    "min": "min",
    "infty": "∞",
    "tanh": "tanh",
    "log": "log",
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "arcsin": "arcsin",
    "arccos": "arccos",
    "arctan": "arctan",
    "sinh": "sinh",
    "cosh": "cosh",
    "lfloor": "⌊",
    "rfloor": "⌋",
    "lceil": "⌈",
    "rceil": "⌉",
}
_AXES = dict(zip("ijkl", "ᵢⱼₖₗ", strict=True))
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_SUPERSCRIPTS = str.maketrans("−0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class LatexReader:
    """Goes through LaTeX once; every command must be known."""

    def __init__(self, latex: str) -> None:
        self.latex, self.at = latex, 0

    def line(self) -> str:
        """Return the formula on one line."""
        found = ""
        while self.at < len(self.latex):
            found += self.part(found)
        return found

    def part(self, before: str) -> str:
        c = self.latex[self.at]
        if c == "\\":
            return self.command()
        if c == "{":
            return LatexReader(self.group()).line()
        self.at += 1
        if c == "_":
            inner = self.script()
            if before.endswith(("Σ", "max")):
                return "".join(_AXES[i] for i in inner)
            assert inner.isdecimal(), inner
            return inner.translate(_SUBSCRIPTS)
        if c == "^":
            return self.raised(self.script())
        if c == "e" and self.latex.startswith("^", self.at) and not before[-1:].isalpha():
            self.at += 1
            return f"exp({LatexReader(self.script()).line()})"
        if c == "2" and self.latex.startswith("^{", self.at) and not self.latex.startswith("^{2}", self.at):
            self.at += 1
            return f"exp2({LatexReader(self.script()).line()})"
        return "−" if c == "-" else c

    def raised(self, inner: str) -> str:
        if inner == r"\mathsf{T}":
            return "ᵀ"
        inner = LatexReader(inner).line()
        assert re.fullmatch(r"−?\d+", inner), inner
        return inner.translate(_SUPERSCRIPTS)

    def script(self) -> str:
        if self.latex[self.at] == "{":
            return self.group()
        self.at += 1
        return self.latex[self.at - 1]

    def group(self) -> str:
        """Return what stands between the braces that begin here."""
        assert self.latex[self.at] == "{", self.latex[self.at :]
        depth, begin = 0, self.at
        while True:
            c = self.latex[self.at]
            depth += (c == "{") - (c == "}")
            self.at += 1
            if depth == 0:
                return self.latex[begin + 1 : self.at - 1]

    def command(self) -> str:
        match = re.compile(r"\\([A-Za-z]+|.)").match(self.latex, self.at)
        assert match
        word = match[1]
        self.at = match.end()
        if word == "frac":
            above, below = (LatexReader(self.group()).line() for _ in range(2))
            if above.startswith("∂") and below.startswith("∂"):
                return f" {above}/{below} ".replace("∂ ", "∂")
            return f"(({above}) / ({below}))"
        if word == "sqrt":
            sign = "∛" if self.latex.startswith("[3]", self.at) else "√"
            self.at += 3 * (sign == "∛")
            return f"({sign}({LatexReader(self.group()).line()}))"
        if word == "mathbf":
            assert self.group() == "1"
            return "1"
        if word == "begin":
            assert self.group() == "cases"
            end = self.closing_cases()
            inner, self.at = self.latex[self.at : end], end + len(r"\end{cases}")
            yes, no = self.split(inner, r"\\")
            first, condition = self.split(yes, "&")
            second, otherwise = self.split(no, "&")
            assert condition.strip().startswith(r"\text{if }") and otherwise.strip() == r"\text{else}"
            condition = condition.strip().removeprefix(r"\text{if }")
            parts = [LatexReader(x).line().strip() for x in (first, condition, second)]
            return "{" + f"{parts[0]} if {parts[1]}, else {parts[2]}" + "}"
        return _WORDS[word]

    def closing_cases(self) -> int:
        depth = 1
        for match in re.compile(r"\\(begin|end)\{cases\}").finditer(self.latex, self.at):
            depth += 1 if match[1] == "begin" else -1
            if depth == 0:
                return match.start()
        raise AssertionError("cases without an end")

    @staticmethod
    def split(latex: str, sign: str) -> list[str]:
        """Split at a sign outside inner cases."""
        parts, depth, at, begin = [], 0, 0, 0
        while at < len(latex):
            if latex.startswith(r"\begin{cases}", at):
                depth += 1
            if latex.startswith(r"\end{cases}", at):
                depth -= 1
            if depth == 0 and latex.startswith(sign, at):
                parts.append(latex[begin:at])
                begin = at + len(sign)
                at = begin
                continue
            at += 1
        return [*parts, latex[begin:]]


def on_one_line(latex: str) -> str:
    """Return a formula in LaTeX as plain text."""
    return LatexReader(latex).line()
