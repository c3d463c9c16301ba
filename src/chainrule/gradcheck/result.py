"""The outcome of a gradient check: `GradcheckResult` or `GradcheckError`."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import Any

Index = tuple[int, ...]

GRADCHECK_CAUSES = {
    "sign": "the gradient has the wrong sign",
    "constant-factor": "the gradient is a constant multiple of the right one",
    "zero": "the gradient is zero and should not be",
    "transposed": "the gradient is the transpose of the right one",
    "swapped": "the gradients of two arguments are exchanged",
    "added-multiple": "a multiple of the argument, or a constant, is added to the right gradient",
    "overwritten-overlap": "an engine keeps the last contribution to a value that is used several times",
    "accumulates": "an engine runs what is below a value once for each of its uses, with what was added up by then",
    "missing-term": "an engine passes a value on too early, or takes a computed value for a constant",
    "wrong-shape": "the gradient does not have the shape of its argument",
    "nonfinite": "there are values that are not finite",
    "float32": "float32 rounding: computed in float64 the gradient is right",
    "kink": "the value is not between the one-sided slopes at a kink",
    "noise": "the differences do not converge at any step",
    "other-value": "the function returns other values while its gradient is taken than on NumPy arrays",
    "nondeterministic": "the function returns different results for the same arguments",
    "mutates": "the function changes its arguments",
    "unknown": "none of the known mistakes explains the numbers",
}
"""Values of ``GradcheckError.cause``, and what they mean."""


@dataclass(frozen=True)
class Kink:
    """An element where the function is not differentiable; any value between the one-sided slopes passes.

    Examples
    --------
    >>> from chainrule.gradcheck.result import Kink
    >>> print(Kink("argument 0 (x)", (1,), -1.0, 1.0, 0.5))
    kink at argument 0 (x)[1]: 0.5 is between the slopes -1 and 1
    """

    argument: str
    input_index: Index
    low: float
    high: float
    analytic: float

    def __str__(self) -> str:
        low, high = sorted((self.low, self.high))
        value = f"{figure(self.analytic)} is between the slopes {figure(low)} and {figure(high)}"
        what = "kink" if abs(low) + abs(high) < float("inf") else "jump"
        return f"{what} at {self.argument}{element(self.input_index)}: {value}"


@dataclass(frozen=True)
class Mismatch:
    """How many values of an argument's gradient were compared, how many are wrong, and why.

    Examples
    --------
    >>> from chainrule.gradcheck.result import Mismatch
    >>> print(Mismatch("argument 0 (x)", 2, 6, "sign", "The sign is wrong."))
    argument 0 (x): 2 of 6 wrong. The sign is wrong.
    """

    argument: str
    wrong: int
    compared: int
    cause: str
    explanation: str

    def __str__(self) -> str:
        return f"{self.argument}: {self.wrong} of {self.compared} wrong. {self.explanation}".rstrip()


@dataclass(frozen=True)
class GradcheckResult:
    """The gradient is right. True as a condition; ``str()`` gives a summary.

    Attributes
    ----------
    name : str
        Name of the function.
    checked : int
        How many values were compared.
    max_error : float
        The largest difference, relative to the largest entry of its argument's gradient.
    full : bool
        Whether the full Jacobian was compared; otherwise random directions and a sample of the elements of each
        argument.
    kinks : tuple of Kink
        Elements where the function is not differentiable and the gradient lies between the one-sided slopes.
    notes : tuple of str
        Remarks, for example on float32 rounding.
    read_as : str
        How the function and its gradient were understood.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> result = cr.gradcheck(lambda x: np.maximum(x, 0.0), np.array([1.0, 0.0]))
    >>> bool(result), result.kinks[0].input_index
    (True, (1,))
    """

    name: str
    checked: int
    max_error: float
    full: bool
    kinks: tuple[Kink, ...] = ()
    notes: tuple[str, ...] = ()
    read_as: str = ""

    @property
    def ok(self) -> bool:
        """True."""
        return True

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        how = "the full Jacobian" if self.full else "random directions and a sample of the elements"
        lines = [
            f"The gradient of {self.name} is right: {self.checked:,} numbers compared ({how}), largest relative error "
            f"{self.max_error:.1e}."
        ]
        lines += [f"{kink}." for kink in self.kinks[:5]]
        if len(self.kinks) > 5:
            lines.append(f"{len(self.kinks) - 5} more kinks.")
        return filled([*lines, *self.notes])


class GradcheckError(AssertionError):
    """The gradient is wrong, or could not be checked. False as a condition; ``str()`` gives the explanation.

    Attributes
    ----------
    cause : str
        One of ``GRADCHECK_CAUSES``.
    explanation : str
        The cause in a sentence.
    argument : int or None
        The argument with the largest error; None for a parameter of a module, or if no argument is concerned.
    argument_name : str
        ``"argument 1 (W)"``.
    input_index, output_index : tuple of int, or None
        The elements of the argument and of the output; () for scalars.
    numeric, analytic : float or None
        The finite difference, and the value of the gradient that was checked.
    relative_error, ratio : float or None
        ``|numeric - analytic| / max(|numeric|, |analytic|)`` and ``analytic / numeric``.
    mismatches : tuple of Mismatch
        All arguments with a wrong gradient, in order.
    kinks : tuple of Kink
    checked : int
        How many values were compared.
    read_as : str
        How the function and its gradient were understood.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> try:
    ...     cr.gradcheck(np.sin, np.array([0.5, 1.0]), vjp=lambda x, g: -g * np.cos(x))
    ... except cr.GradcheckError as error:
    ...     print(error.cause, error.argument_name, error.input_index)
    sign argument 0 (x) (0,)
    """

    argument: int | None = None
    argument_name: str = ""
    input_index: Index | None = None
    output: str = ""
    output_index: Index | None = None
    numeric: float | None = None
    analytic: float | None = None
    mismatches: tuple[Mismatch, ...] = ()
    kinks: tuple[Kink, ...] = ()
    checked: int = 0
    name: str = "f"
    whose: str = "yours"
    read_as: str = ""

    def __init__(self, cause: str, explanation: str, **known: Any) -> None:
        super().__init__(cause, explanation)
        self.cause = cause
        self.explanation = explanation
        for key, value in known.items():
            setattr(self, key, value)

    @property
    def ok(self) -> bool:
        """False."""
        return False

    def __bool__(self) -> bool:
        return False

    @property
    def ratio(self) -> float | None:
        """``analytic / numeric``; None where it is not defined."""
        if self.numeric is None or self.analytic is None or self.numeric == 0:
            return None
        return self.analytic / self.numeric

    @property
    def relative_error(self) -> float | None:
        """The difference relative to the larger of the two values; None where they are not known."""
        if self.numeric is None or self.analytic is None:
            return None
        scale = max(abs(self.numeric), abs(self.analytic))
        return abs(self.numeric - self.analytic) / scale if scale else 0.0

    def __str__(self) -> str:
        lines = []
        if self.numeric is not None and self.analytic is not None:
            lines.append(self._values())
        lines.append(self.explanation)
        if self.mismatches:
            lines.append(self._counts())
            lines += [
                f"{m.argument}: {m.explanation}"
                for m in self.mismatches[:5]
                if m.argument != self.argument_name and m.explanation not in ("", self.explanation)
            ]
        lines += [f"{kink}." for kink in self.kinks[:3]]
        return filled(lines)

    def _values(self) -> str:
        where = self.argument_name + (f", element {list(self.input_index)}" if self.input_index else "")
        if self.input_index is None:
            where += ", along a random direction"
        if self.output or self.output_index:
            where += f", of output {self.output}{element(self.output_index or ())}"
        assert self.numeric is not None and self.analytic is not None
        line = f"{self.name}'s gradient with respect to {where}: "
        line += f"numeric {figure(self.numeric)}, {self.whose} {figure(self.analytic)}"
        relative = self.relative_error
        extra = [compared] if (compared := compare(self.ratio)) else []
        if relative is not None and relative == relative:
            extra.append(f"relative error {relative:.1e}")
        return f"{line} ({', '.join(extra)})." if extra else f"{line}."

    def _counts(self) -> str:
        parts = [f"{m.wrong:,} of {m.compared:,} for {m.argument}" for m in self.mismatches[:6]]
        more = f" and {len(self.mismatches) - 6} more" if len(self.mismatches) > 6 else ""
        return f"{self.checked:,} numbers compared; wrong: {', '.join(parts)}{more}."


def figure(x: float) -> str:
    """Return a number in five digits."""
    return f"{x:.5g}"


def element(index: Index) -> str:
    """Return ``[2, 0]``; nothing for a number."""
    return f"[{', '.join(map(str, index))}]" if index else ""


def compare(ratio: float | None) -> str:
    """Return a ratio in words."""
    if ratio is None or not math.isfinite(ratio) or ratio == 0 or abs(ratio - 1) < 0.05:
        return ""
    if abs(ratio + 1) < 1e-3:
        return "the opposite sign"
    return f"{ratio:.4g} times as large" if ratio > 0 else f"{ratio:.4g} times the right one"


def filled(lines: list[str]) -> str:
    """Return paragraphs wrapped within 80 columns."""
    return "\n".join(textwrap.fill(line, 79, subsequent_indent="  ", break_long_words=False) for line in lines if line)
