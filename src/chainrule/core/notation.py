"""How an operation is written: a layout, which is independent of whether it becomes plain text or LaTeX.

A layout is a small tree. Its leaves are the operation's inputs, by position, and literal text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Layout:
    """One node of a layout.

    Attributes
    ----------
    kind : str
        What is drawn. ``call``, ``infix``, ``raised`` (``e^x``), ``superscript``, ``root`` and ``fences`` have
        functions below. A printer also knows ``condition`` (an infix sign between two values, 1 where it holds),
        ``product``, ``fraction``, ``negative``, ``power``, ``matrix`` (a matrix product), ``transposed``, ``big``
        (a sign with the axes that it runs over), ``cases``, ``index``, ``assigned``, ``scattered``, ``reshaped``,
        ``passed`` (only the input itself) and ``pattern`` (LaTeX with ``{0}``, ``{1}``, … for the inputs).
    sign : str
        The word, sign or pattern of that kind.
    parts : tuple of int, str or Layout
        What it consists of: inputs by position, literal text, layouts. Empty: all inputs.
    """

    kind: str
    sign: str = ""
    parts: tuple[Part, ...] = ()


Part: TypeAlias = int | str | Layout

PASSED = Layout("passed")


def call(word: str, *parts: Part) -> Layout:
    """Return ``word(a, b)``; of several words only the last one has the arguments: ``log det(a)``."""
    return Layout("call", word, parts)


def infix(sign: str, *parts: Part) -> Layout:
    """Return ``a + b``."""
    return Layout("infix", sign, parts)


def raised(base: str, *parts: Part) -> Layout:
    """Return a number to the power of a value; as text, ``exp(x)``."""
    return Layout("raised", base, parts)


def superscript(sign: str, *parts: Part) -> Layout:
    """Return ``a²``, for a fixed exponent."""
    return Layout("superscript", sign, parts)


def root(sign: str, *parts: Part) -> Layout:
    """Return ``√a`` or ``∛a``."""
    return Layout("root", sign, parts)


def fences(signs: str, *parts: Part) -> Layout:
    """Return ``|a|``: the text before, a space, and the text after."""
    return Layout("fences", signs, parts)


_WORD = re.compile(r"\\(?:operatorname\{\{(\w+)\}\}|(\w+))\s*")
_ARGUMENTS = re.compile(r"\{0\}|\(\{0\}(?:, \{\d\})*\)")


def layout(notation: Layout | str, name: str) -> Layout:
    r"""Return the layout that a row's notation stands for.

    A word is the name of a function; a string with ``{0}`` is LaTeX: ``r"\log \cosh {0}"``, of which functions' names
    are recognised, for plain text.
    """
    if isinstance(notation, Layout):
        return notation
    if "{0}" not in notation:
        return call(notation or name)
    words, at = [], 0
    while match := _WORD.match(notation, at):
        words.append(match[1] or match[2])
        at = match.end()
    if words and _ARGUMENTS.fullmatch(notation, at):
        return call(" ".join(words))
    return Layout("pattern", notation)
