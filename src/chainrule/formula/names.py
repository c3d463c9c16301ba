"""Names as formulas show them: ``dZ₁`` and ``dZ_{1}``; in δ notation ``δ₁`` and ``∂L/∂W₁``."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..core.op import Shape
from ..show.latex import escaped

GREEK = {"gamma": "γ", "beta": "β", "sigma": "σ", "mu": "μ", "delta": "δ", "alpha": "α", "lambda": "λ", "theta": "θ"}
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def name_parts(label: str) -> tuple[str, str, str, str] | None:
    """Return the d of a gradient (or nothing), letters, digits and brackets of a name; None if it is not plain."""
    match = re.fullmatch(r"([A-Za-z]+?)([0-9]*)((?:\[[\w., −+]+\])*)", label, re.ASCII)
    if match is None:
        return None
    letters, digits, brackets = match[1], match[2], match[3]
    if letters[0] == "d" and len(letters) > 1 and letters not in GREEK:
        return "d", letters[1:], digits, brackets
    return "", letters, digits, brackets


def display_name(label: str) -> str:
    """Return a name as plain text shows it: ``dZ₁``, ``dγ₁``, ``h₁[3]``."""
    parts = name_parts(label)
    if parts is None:
        return label if label.isprintable() else " ".join("".join(c if c.isprintable() else " " for c in label).split())
    d, letters, digits, brackets = parts
    return d + GREEK.get(letters, letters) + digits.translate(SUBSCRIPTS) + brackets


def latex_name(label: str) -> str:
    r"""Return a name in LaTeX: ``dZ_{1}``, ``d\gamma_{1}``, ``h_{1}[3]``; other names are set as text."""
    parts = name_parts(label)
    if parts is None:
        return rf"\text{{{escaped(label)}}}"
    d, letters, digits, brackets = parts
    if letters in GREEK:
        base = d + "\\" + letters
    else:
        base = d + letters if len(letters) == 1 else rf"\mathit{{{d + letters}}}"
    return base + (f"_{{{digits}}}" if digits else "") + re.sub(r"\[([^]]+)\]", _bracketed, brackets)


def _bracketed(found: re.Match[str]) -> str:
    if re.fullmatch(r"\d+|t(?:[−+]\d+)?", found[1]):
        return f"[{found[1].replace('−', '-')}]"
    return rf"[\text{{{escaped(found[1])}}}]"


def error_signals(plain: Callable[[str], str], partial: str) -> Callable[[str], str]:
    """Return how δ notation writes names: δ₁ for dZ₁, and `partial` with W₁ inserted for dW₁."""

    def named(label: str) -> str:
        signal, parts = re.fullmatch(r"dZ(\d+)", label), name_parts(label)
        if signal:
            return plain(f"delta{signal[1]}")
        return partial.format(plain(label[1:])) if parts and parts[0] else plain(label)

    return named


def shape_text(shape: Shape) -> str:
    """Return ``32×10``; a number alone for one axis."""
    return "×".join(map(str, shape)) if shape else "1"
