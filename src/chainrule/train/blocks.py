"""Parameters that lie together in vectors, so that an optimiser updates all of a kind by one chain of operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.op import Array


class Blocks:
    """Copies of parameters in one vector per dtype and group of the optimiser.

    Parameters
    ----------
    arrays : mapping of name to array
    groups : mapping of name to int
        Which group of the optimiser's settings a parameter belongs to.

    Attributes
    ----------
    vectors : dict
        Name of a block -> vector.
    groups : list of int
        The group of each block.
    """

    def __init__(self, arrays: Mapping[str, Array], groups: Mapping[str, int]) -> None:
        self._shapes = {name: array.shape for name, array in arrays.items()}
        self._places: dict[str, tuple[str, int, int]] = {}  # block, start, stop
        parts: dict[tuple[str, int], list[Array]] = {}
        for name, array in arrays.items():
            dtype, group = array.dtype.name, groups.get(name, 0)
            start = sum(part.size for part in parts.setdefault((dtype, group), []))
            parts[dtype, group].append(array.reshape(-1))
            self._places[name] = _label(dtype, group), start, start + array.size
        self.vectors: dict[str, Array] = {_label(*key): np.concatenate(parts[key]) for key in sorted(parts)}
        self.groups = [group for _, group in sorted(parts)]

    def cut(self, vectors: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters as parts of the vectors that they lie in."""
        return {
            name: vectors[block][start:stop].reshape(self._shapes[name])
            for name, (block, start, stop) in self._places.items()
        }

    def joined(self, gradients: Mapping[str, Any]) -> dict[str, Any]:
        """Return gradients of the parameters in vectors like those of the parameters."""
        return {
            block: np.concatenate(
                [np.reshape(gradients[name], -1) for name, (of, *_) in self._places.items() if of == block]
            )
            for block in self.vectors
        }


def _label(dtype: str, group: int) -> str:
    return f"{dtype} {group}" if group else dtype
