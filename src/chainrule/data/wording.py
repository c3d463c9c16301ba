"""Parts of the data package's messages: lists of names, counts, the nearest name, places in a file."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from numpy.typing import NDArray


def listed(names: Iterable[object], limit: int = 12) -> str:
    """Join names with commas; beyond `limit` only their number is given."""
    texts = [str(name) for name in names]
    shown = ", ".join(texts[:limit])
    return shown if len(texts) <= limit else f"{shown} … and {len(texts) - limit:,} more"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """``counted(1, "row") == "1 row"``, ``counted(1200, "row") == "1,200 rows"``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def rounded(x: float, digits: int = 6) -> str:
    """``rounded(249033.3) == "249,033"``, ``rounded(7389581.2) == "7,389,580"``: no exponent below 10^15."""
    whole = 10 ** (digits - 1) <= abs(x) < 1e15
    return f"{float(f'{x:.{digits}g}'):,.0f}" if whole else f"{x:,.{digits}g}"


class Counted(str):
    """A sentence about a number of rows, which `added_up` adds to others of its kind.

    Parameters
    ----------
    say : function
        (*about, number, names) -> the sentence.
    about : tuple
        What it is about, such as a column.
    number : int
    names : iterable of str
        Values that the sentence lists.
    """

    say: Callable[..., str]
    about: tuple[Any, ...]
    number: int
    names: frozenset[str]

    def __new__(
        cls, say: Callable[..., str], about: tuple[Any, ...], number: int, names: Iterable[str] = ()
    ) -> "Counted":
        """Make the sentence."""
        values = frozenset(names)
        self = super().__new__(cls, say(*about, number, sorted(values)))
        self.say, self.about, self.number, self.names = say, about, number, values
        return self

    def __reduce__(self) -> Any:
        """Copy it by its parts."""
        return Counted, (self.say, self.about, self.number, self.names)


def added_up(notes: Iterable[str]) -> list[str]:
    """Return sentences about the parts of a table as sentences about all of it."""
    found: dict[Any, str] = {}
    for note in notes:
        key = (note.say, note.about) if isinstance(note, Counted) else note
        before = found.get(key)
        if isinstance(note, Counted) and isinstance(before, Counted):
            note = Counted(note.say, note.about, note.number + before.number, note.names | before.names)
        found[key] = note
    return list(found.values())


def suggestion(name: str, names: Sequence[str]) -> str:
    """A sentence that suggests the nearest of `names`, or nothing if none is near."""
    import difflib  # only needed for errors

    by_folded = {other.casefold(): other for other in reversed(names)}
    near = difflib.get_close_matches(name.casefold(), list(by_folded), n=1)
    return f" Did you mean {by_folded[near[0]]!r}?" if near else ""


def row_in_file(rows: NDArray[Any] | None, index: int) -> int:
    """The 1-based data row of a file (the header not counted) that row `index` of a split came from."""
    return (index if rows is None else int(rows[index])) + 1
