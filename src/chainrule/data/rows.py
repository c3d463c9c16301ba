"""Rows of arrays, and of tuples and dicts of arrays that have as many rows each."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.tree import flatten, tree_map


def length(nest: Any) -> int:
    """Return the number of rows."""
    return len(flatten(nest)[0][0])


def take(nest: Any, rows: Any) -> Any:
    """Return these rows of all arrays."""
    return tree_map(lambda a: a[rows], nest)


def joined(nests: Sequence[Any]) -> Any:
    """Return nests of one structure with their arrays one below the other."""
    return nests[0] if len(nests) == 1 else tree_map(lambda *parts: np.concatenate(parts), *nests)
