"""Texts of characters: reading, the characters as ids, windows for a network, and what simple counts predict."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.arguments import integer, number
from .record import Record
from .task import Task
from .wording import counted

#: What stands for characters that the training text does not have.
UNKNOWN = "\ufffd"
FORMAT = 1


@dataclass(frozen=True, eq=False, repr=False)
class Text:
    r"""A text, as `read_text` reads it.

    Attributes
    ----------
    content : str
        With "\n" at the ends of lines.
    source : str
        Where it came from.
    notes : tuple of str
        Remarks on what was changed while reading.

    Examples
    --------
    >>> from chainrule import data
    >>> text = data.Text("to be or not to be", "made")
    >>> [part.content for part in text.split(0.25)]
    ['to be or not t', 'o be']
    """

    content: str
    source: str = "a text"
    notes: tuple[str, ...] = ()
    task_reason: str = ""
    test: None = None
    validation: None = None

    def __len__(self) -> int:
        """The number of characters."""
        return len(self.content)

    def __repr__(self) -> str:
        return f"<Text {self.source}: {counted(len(self), 'character')}>"

    def split(self, fraction: float = 0.1, seed: int = 0) -> "tuple[Text, Text]":
        """The beginning, and the rest, a `fraction` of the text; `seed` has no effect."""
        fraction = number("fraction", fraction, above=0, below=1)
        kept = len(self) - round(len(self) * fraction)
        return Text(self.content[:kept], self.source), Text(self.content[kept:], f"the end of {self.source}")

    def fingerprint(self) -> str:
        """SHA-256 of the contents, in hexadecimal."""
        import hashlib  # loads OpenSSL, which reading does not need

        return hashlib.sha256(self.content.encode("utf-8", "surrogatepass")).hexdigest()


def read_text(path: str | os.PathLike[str]) -> Text:
    r"""Read a file of text in UTF-8.

    Raises
    ------
    ValueError
        For a folder, and for files that are not UTF-8, hold the character NUL, or are empty.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from chainrule import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "poem.txt")
    ...     _ = file.write_bytes("Größe\r\n".encode())
    ...     data.read_text(file).content
    'Größe\n'
    """
    place = Path(path)
    if place.is_dir():
        raise ValueError(f"{path}: a folder, expected a file of text in UTF-8")
    if not place.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    content = place.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not a text in UTF-8 (byte {error.start:,} is {content[error.start]:02x}); convert it first, such "
            "as with iconv -t UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError(f"{path}: holds the character NUL, so it is no text; expected a file of text in UTF-8")
    if not text:
        raise ValueError(f"{path}: is empty; expected a text")
    return Text(text.replace("\r\n", "\n").replace("\r", "\n"), f"{path}")


@dataclass(frozen=True)
class Characters:
    """From texts to a network's inputs and targets: the id of each character, in windows of one length.

    Attributes
    ----------
    vocabulary : str
        The characters in the order of their ids; the first stands for all that the training text does not have.
    context : int
        Characters in a window. The target of each is the next character.
    notes : tuple of str
        Sentences on what was done.

    Examples
    --------
    >>> from chainrule import data
    >>> letters = data.Characters.fit(data.Text("abcabca"), context=3)
    >>> letters.transform(data.Text("abcabcx")), letters.transform_target(data.Text("abcabcx"))
    (array([[1, 2, 3],
           [1, 2, 3]]), array([[2, 3, 1],
           [2, 3, 0]]))
    """

    kind = "characters"
    task: Task = "multiclass"
    target_name = None
    image_shape = None
    vocabulary: str = UNKNOWN
    context: int = 64
    notes: tuple[str, ...] = ()

    @classmethod
    def fit(cls, train: Text, context: int = 64) -> "Characters":
        """Collect the characters of the training text.

        Raises
        ------
        ValueError
            For a text that is no longer than `context`, or that has one character only.
        """
        integer("context", context, at_least=1)
        found = sorted(set(train.content) - {UNKNOWN})
        if len(train) <= context:
            raise ValueError(
                f"{train.source}: {counted(len(train), 'character')} to train, more than {context} are needed, the "
                "context; use a longer text or a smaller context"
            )
        if len(found) < 2:
            raise ValueError(f"{train.source}: holds one character only; expected a text")
        return cls(vocabulary=UNKNOWN + "".join(found), context=context, notes=(f"{len(found):,} characters",))

    @property
    def classes(self) -> tuple[str, ...]:
        """The character of each id."""
        return tuple(self.vocabulary)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the network's input for one window."""
        return (self.context,)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the network's output for one window: a number for each character that may come next."""
        return (self.context, len(self.vocabulary))

    def example(self, rows: int = 1, rng: "np.random.Generator | None" = None) -> NDArray[np.int64]:
        """Return an input of the network to see what it takes: random characters, or the first one."""
        shape = (rows, self.context)
        return np.zeros(shape, np.int64) if rng is None else rng.integers(0, len(self.vocabulary), shape)

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the id of each character."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        known = np.array([ord(c) for c in self.vocabulary[1:]], np.uint32)  # in order
        places = np.minimum(np.searchsorted(known, codes), len(known) - 1)
        return np.where(known[places] == codes, places + 1, 0).astype(np.int64)

    def decode(self, ids: Any) -> str:
        """Return the text of ids."""
        return "".join(self.vocabulary[i] for i in np.asarray(ids).tolist())

    def transform(self, text: Text) -> NDArray[np.int64]:
        """Return the windows ``(n, context)`` of a text, side by side; an incomplete one at the end is left out."""
        return self._windows(text, 0)

    def transform_target(self, text: Text) -> NDArray[np.int64]:
        """Return the next character of each in the windows."""
        return self._windows(text, 1)

    def _windows(self, text: Text, start: int) -> NDArray[np.int64]:
        number = (len(text) - 1) // self.context
        if number < 1:
            raise ValueError(
                f"{text.source}: {counted(len(text), 'character')}, more than {self.context} are needed, the context"
            )
        return self.encode(text.content)[start : start + number * self.context].reshape(number, self.context)

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types; `from_dict` gives back an equal object."""
        return {
            "format": FORMAT, "kind": self.kind, "vocabulary": self.vocabulary, "context": self.context,
            "notes": list(self.notes),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Characters":
        """Read what `to_dict` wrote; anything malformed is a `ValueError`."""
        record = Record(data, "preprocessing")
        record.require(record.whole("format", 1) == FORMAT, f"this version reads format {FORMAT}")
        record.choice("kind", (cls.kind,))
        vocabulary, context, notes = record.text("vocabulary"), record.whole("context", 1), record.texts("notes")
        record.finish()
        known = vocabulary[1:]
        ordered = len(known) > 1 and all(a < b for a, b in pairwise(known))
        record.require(vocabulary[:1] == UNKNOWN and ordered, "vocabulary must hold different characters, in order")
        return cls(vocabulary=vocabulary, context=context, notes=notes)


def count_losses(train: NDArray[np.int64], test: NDArray[np.int64], classes: int) -> dict[str, float]:
    """Return what counts of characters, and of pairs, of one text cost in nats for each character of another.

    A network should do better. Characters count one more than they occur; a pair as often as it occurs, and its second
    character by itself once more for the first.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.data.text import count_losses
    >>> ids = np.array([0, 1] * 50)
    >>> {name: round(loss, 2) for name, loss in count_losses(ids, ids, 2).items()}
    {'single characters': 0.69, 'pairs': 0.01}
    """
    counts = np.bincount(train, minlength=classes) + 1.0
    single = counts / counts.sum()
    pairs, times = np.unique(train[:-1] * classes + train[1:], return_counts=True)
    asked = test[:-1] * classes + test[1:]
    places = np.minimum(np.searchsorted(pairs, asked), len(pairs) - 1)
    seen = np.where(pairs[places] == asked, times[places], 0)
    firsts = np.bincount(train[:-1], minlength=classes)
    share = (seen + single[test[1:]]) / (firsts[test[:-1]] + 1.0)
    return {"single characters": float(-np.log(single[test[1:]]).mean()), "pairs": float(-np.log(share).mean())}
