"""Strict reading of a JSON object: every key is known and every value has its type."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


class Record:
    """A JSON object that is read key by key, each value checked as it is read.

    Parameters
    ----------
    data : mapping
        The result of ``json.loads``.
    what : str
        The object's name in errors.

    Raises
    ------
    ValueError
        From the constructor and every method, naming `what`, the key and what was found.
    """

    def __init__(self, data: Any, what: str) -> None:
        if not isinstance(data, Mapping):
            raise ValueError(f"{what}: expected an object with keys, found {type(data).__name__}")
        self._left = dict(data)
        self._what = what

    def require(self, holds: bool, otherwise: str) -> None:
        """Raise an error with this reason unless `holds`."""
        if not holds:
            raise ValueError(f"{self._what}: {otherwise}")

    def take(self, key: str) -> Any:
        """The value of a key that must be there, unchecked."""
        self.require(key in self._left, f"the key {key!r} is missing")
        return self._left.pop(key)

    def is_null(self, key: str) -> bool:
        """Whether the key holds null; the key then counts as read."""
        self.require(key in self._left, f"the key {key!r} is missing")
        if self._left[key] is None:
            del self._left[key]
            return True
        return False

    def finish(self) -> None:
        """Refuse keys that were not read: they come from another version or another kind of object."""
        self.require(not self._left, f"unknown keys {sorted(map(str, self._left))}")

    def text(self, key: str) -> str:
        """A string."""
        return self._text(self.take(key), key)

    def optional_text(self, key: str) -> str | None:
        """A string or null."""
        value = self.take(key)
        return None if value is None else self._text(value, key)

    def choice(self, key: str, allowed: Sequence[str]) -> str:
        """One of the `allowed` strings."""
        value = self.text(key)
        self.require(value in allowed, f"{key}: expected one of {', '.join(allowed)}, got {value!r}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(self._text(item, key) for item in self._list(key))

    def distinct_texts(self, key: str) -> tuple[str, ...]:
        """A list of distinct strings."""
        values = self.texts(key)
        self.require(len(set(values)) == len(values), f"{key} names something twice")
        return values

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.take(key)
        self.require(isinstance(value, bool), f"{key} must be true or false, found {value!r}")
        return bool(value)

    def number(self, key: str) -> float:
        """A finite number."""
        return self._number(self.take(key), key)

    def numbers(self, key: str, length: int) -> tuple[float, ...]:
        """A list of `length` finite numbers."""
        values = tuple(self._number(item, key) for item in self._list(key))
        self.require(len(values) == length, f"{key}: expected {length} entries, got {len(values)}")
        return values

    def scales(self, key: str, length: int) -> tuple[float, ...]:
        """A list of `length` finite numbers above 0."""
        values = self.numbers(key, length)
        self.require(all(value > 0 for value in values), f"all entries of {key} must be above 0")
        return values

    def whole(self, key: str, least: int) -> int:
        """An integer of at least `least`."""
        return self._whole(self.take(key), key, least)

    def wholes(self, key: str, least: int) -> tuple[int, ...]:
        """A list of integers of at least `least` each."""
        return tuple(self._whole(item, key, least) for item in self._list(key))

    def labels(self, key: str) -> tuple[bool | int | float | str, ...]:
        """A list of labels of one type (booleans, integers, floats or strings), all distinct."""
        values = tuple(self._list(key))
        kinds = {type(value) for value in values}
        self.require(kinds <= {bool, int, float, str} and len(kinds) <= 1, f"{key} must hold labels of one type")
        self.require(all(type(v) is not float or math.isfinite(v) for v in values), f"{key} must be finite")
        self.require(len(set(values)) == len(values), f"{key} names something twice")
        return values

    def _list(self, key: str) -> list[Any]:
        value = self.take(key)
        self.require(isinstance(value, list), f"{key} must be a list, found {type(value).__name__}")
        return list(value)

    def _text(self, value: Any, key: str) -> str:
        self.require(isinstance(value, str), f"{key} must hold text, found {value!r}")
        return str(value)

    def _number(self, value: Any, key: str) -> float:
        # bool is an int in Python, and "mean": true is a mistake, not the number 1.
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        self.require(is_number, f"{key} must hold numbers, found {value!r}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        self.require(math.isfinite(number), f"{key} must hold finite numbers, found {value!r}")
        return number

    def _whole(self, value: Any, key: str, least: int) -> int:
        is_whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
        self.require(is_whole, f"{key} must hold integers ≥ {least}, found {value!r}")
        return int(value)
