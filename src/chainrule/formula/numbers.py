"""Numbers as a person writes them: ``2 / 3``, ``√(2/π)``, ``10⁻⁵``, ``1 / (5 m)``."""

from __future__ import annotations

import math
import re
from fractions import Fraction

SUPERSCRIPTS = str.maketrans("-−+0123456789", "⁻⁻⁺⁰¹²³⁴⁵⁶⁷⁸⁹")
TEXT, LATEX, NUMPY = range(3)
#: Value -> (above, below the fraction's line) as text, in LaTeX and in NumPy source.
_CONSTANTS = {
    math.pi: (("π", ""), (r"\pi", ""), ("np.pi", "")),
    math.sqrt(2 / math.pi): (("√(2/π)", ""), (r"\sqrt{2/\pi}", ""), ("np.sqrt(2.0 / np.pi)", "")),
    math.log(2.0): (("ln 2", ""), (r"\ln 2", ""), ("np.log(2.0)", "")),
    math.log(10.0): (("ln 10", ""), (r"\ln 10", ""), ("np.log(10.0)", "")),
    1 / math.sqrt(2.0): (("", "√2"), ("", r"\sqrt{2}"), ("", "np.sqrt(2.0)")),
    1 / math.sqrt(2 * math.pi): (("", "√(2π)"), ("", r"\sqrt{2\pi}"), ("", "np.sqrt(2.0 * np.pi)")),
    2 / math.sqrt(math.pi): (("2", "√π"), ("2", r"\sqrt{\pi}"), ("2.0", "np.sqrt(np.pi)")),
}


def fraction(value: float) -> Fraction | None:
    """Return a number as a fraction of small integers, or None if there is none."""
    if not math.isfinite(value):
        return None
    small = Fraction(value).limit_denominator(100_000)
    exact = abs(float(small) - value) <= 1e-15 * abs(value) and (small.denominator <= 1000 or small.numerator <= 100)
    return small if exact and abs(small.numerator) < 1_000_000 else None


def scale(value: float, batch: int, target: int, counted: bool = False) -> tuple[bool, str, list[str]]:
    """Return the sign of value · m**batch, what stands above the fraction's line ("" for 1), and what stands below.

    `counted` says that it scales a sum: then one tenth is a division by the number of terms, else it is 0.1.
    """
    size, count = abs(value), abs(batch)
    known = next((c for v, c in _CONSTANTS.items() if math.isclose(v, size, rel_tol=1e-14)), None)
    if known is not None:
        over, below = known[target]
        under = [below] if below else []
    else:
        over, under = _in_source(size) if target == NUMPY else _as_written(size, target, counted)
    power = "m" if count == 1 else f"m{_exponent(str(count), target)}"
    if batch > 0:
        over = f"{over} * {power}".removeprefix(" * ") if target == NUMPY else f"{over} {power}".strip()
    if batch < 0:
        under.append(power)
    return value < 0, over, under


def _exponent(digits: str, target: int) -> str:
    return (digits.translate(SUPERSCRIPTS), f"^{{{digits}}}", f"**{digits}")[target]


def _as_written(size: float, target: int, counted: bool) -> tuple[str, list[str]]:
    small, decimal = fraction(size), f"{size:.6g}"
    written = _power_of_ten(decimal, target)
    if small is None or (len(decimal) <= 5 and small.denominator % 10 == 0 and not counted):
        return written, []
    over = "" if small.numerator == 1 else _power_of_ten(str(small.numerator), target)
    if small.denominator == 1:
        return over, []
    return (over, [str(small.denominator)]) if small.numerator == 1 or small.denominator <= 12 else (written, [])


def _power_of_ten(text: str, target: int) -> str:
    """Return a decimal without an e: ``1e-05`` is 10⁻⁵; and infinity by its sign."""
    if text == "inf":
        return r"\infty" if target == LATEX else "∞"
    match = re.fullmatch(r"([\d.]+)e([-+]\d+)", text)
    if match is None:
        return text
    power = f"10{_exponent(str(int(match[2])), target)}"
    return power if match[1] == "1" else f"{match[1]} \\cdot {power}" if target == LATEX else f"{match[1]}·{power}"


def _in_source(size: float) -> tuple[str, list[str]]:
    if size == 1.0:
        return "", []
    whole = f"{size:.1f}" if size.is_integer() and size < 1e15 else repr(size)
    small = fraction(size)
    if len(whole) <= 7 or small is None or small.denominator == 1:
        return whole, []
    return ("" if small.numerator == 1 else f"{small.numerator}.0"), [str(small.denominator)]
