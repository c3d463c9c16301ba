"""LaTeX formulas as MathML, by latex2mathml where it is installed."""

from __future__ import annotations

import re
from html import escape

from .document import clean
from .latex import unescaped

#: What `\text{…}` holds, in which braces stand only with a backslash before them or as `{}`.
_NAME = re.compile(r"\\text\{((?:\\[^a-zA-Z]|\\[a-zA-Z]+\{\}|[^{}\\])*)\}")


def mathml(latex: str) -> str:
    """Return a formula as MathML; nothing where latex2mathml isn't installed."""
    try:
        from latex2mathml.converter import convert
    except ImportError:
        return ""
    names: list[str] = []

    def placeholder(match: re.Match[str]) -> str:
        """Return a placeholder, unchanged by a converter, for a name that is set as text."""
        names.append(unescaped(match[1]))
        return rf"\text{{Qname{len(names) - 1}q}}"

    markup = str(convert(_NAME.sub(placeholder, latex)))
    return re.sub(r"Qname(\d+)q", lambda match: escape(clean(names[int(match[1])])), markup)
