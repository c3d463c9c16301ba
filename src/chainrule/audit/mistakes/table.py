"""The table of known mistakes: a cause for each kind, with its page, and the rows that say what a mistake computes.

Both are registered where they are written, in one file per family; nothing else lists them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from .variants import Context, Variant

_CAUSES: dict[str, str] = {}
_PAGES: dict[str, type[Cause]] = {}
_MISTAKES: list[Mistake] = []

#: Cause -> what it means, in one line.
CAUSES: Mapping[str, str] = MappingProxyType(_CAUSES)


class Cause:
    """A kind of mistake: a subclass for each, whose docstring is its documentation page.

    The first line says what it means. Then follow the sections *Wrong*, a program or the lines of one, one of them
    marked ``# wrong``; *Right*, what belongs in place of that line; *How it shows*; *Why it is wrong*; and *Notes*.
    ``tools/make_cause_pages.py`` makes pages of them.

    Attributes
    ----------
    code : str
        The stable name in reports.
    meaning : str
        The first line, as part of a sentence.
    shown_in : str
        Where the audit of the wrong program finds it; by default the variable that its wrong line assigns.
    rank : int
        Of several causes that fit, one with a lower rank is the simpler explanation.
    paired : bool
        Whether it is also tried together with a second mistake in the same step.
    spreads : bool
        Whether it is a mistake in an error signal, which shows in every parameter behind it when the signal itself is
        not returned.
    """

    code: ClassVar[str]
    meaning: ClassVar[str]
    shown_in: ClassVar[str] = ""
    rank: ClassVar[int] = 0
    paired: ClassVar[bool] = False
    spreads: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        if cls.code in _PAGES:
            raise ValueError(f"cause {cls.code!r} is in the table already")
        first = cls.page().partition("\n")[0].rstrip(".") or cls.code.replace("-", " ")
        cls.meaning = first[0].lower() + first[1:]
        _PAGES[cls.code] = cls
        _CAUSES[cls.code] = cls.meaning

    @classmethod
    def page(cls) -> str:
        """Return the docstring, without its indentation."""
        return inspect.cleandoc(cls.__doc__ or "")


Matches = Callable[[Context], Iterator[Variant]]


@dataclass(frozen=True)
class Mistake:
    """A row of the table.

    Attributes
    ----------
    cause : type of Cause
    sentence : str
        What the step does wrong; ``{fields}`` are filled with the words of the match.
    matches : callable
        ``matches(context)`` yields a `Variant` wherever the gradient graph of a step has a place for this mistake.
    """

    cause: type[Cause]
    sentence: str
    matches: Matches

    def variants(self, context: Context) -> Iterator[Variant]:
        """Yield what this mistake would compute, with its cause and its sentence."""
        for variant in self.matches(context):
            variant.cause = variant.cause or self.cause.code
            variant.message = self.sentence.format(**variant.words)
            yield variant


def mistake(cause: type[Cause], sentence: str) -> Callable[[Matches], Matches]:
    """Register the decorated generator as a row of the table.

    Of several that fit a step, the one that was registered first is named first.
    """

    def register(matches: Matches) -> Matches:
        _MISTAKES.append(Mistake(cause, sentence, matches))
        return matches

    return register


def mistakes() -> tuple[Mistake, ...]:
    """Return the rows of the table, in the order in which they were registered."""
    return tuple(_MISTAKES)


def pages() -> Mapping[str, type[Cause]]:
    """Return the causes by their codes."""
    return MappingProxyType(_PAGES)
