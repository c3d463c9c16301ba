"""A dict whose rarer entries are registered by modules that are loaded when one of them is first asked for."""

from __future__ import annotations

import importlib
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Registry(dict[K, V]):
    """A dict that loads the modules with the rest of its entries at the first key that is missing.

    Whoever iterates over it sees all entries. Keys that are there are looked up as in a dict.

    Examples
    --------
    >>> digits = Registry({1: "one"})
    >>> digits[1], digits.get(2), 2 in digits
    ('one', None, False)
    """

    #: The module that registers the rest; "" while there is none.
    rest = ""

    def load(self) -> None:
        """Load the rest. While another thread loads it, this one waits."""
        if self.rest:
            importlib.import_module(self.rest)

    def __missing__(self, key: K) -> V:
        self.load()
        if dict.__contains__(self, key):
            return dict.__getitem__(self, key)
        raise KeyError(key)

    def get(self, key: K, default: Any = None) -> Any:
        """As of a dict."""
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        if not dict.__contains__(self, key):
            self.load()
        return dict.__contains__(self, key)

    def __iter__(self) -> Iterator[K]:
        return iter(self.keys())

    def __len__(self) -> int:
        self.load()
        return dict.__len__(self)

    def keys(self) -> KeysView[K]:  # type: ignore[override]
        """As of a dict."""
        self.load()
        return dict.keys(self)

    def values(self) -> ValuesView[V]:  # type: ignore[override]
        """As of a dict."""
        self.load()
        return dict.values(self)

    def items(self) -> ItemsView[K, V]:  # type: ignore[override]
        """As of a dict."""
        self.load()
        return dict.items(self)
