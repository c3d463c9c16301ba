"""What objects hold, by name."""

from __future__ import annotations

import operator
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .recording import Traced

Slot = tuple[str, Any, Any, Any]  # name, owner, key or attribute, value


def slots(owner: Any, prefix: str, seen: set[int]) -> Iterator[Slot]:
    """Yield what an object holds, by name; one that stands for an array (.data, .value) has its own name."""
    if isinstance(owner, Mapping):
        items = [(k, v, f"{prefix}.{k}" if prefix else str(k)) for k, v in owner.items()]
    elif isinstance(owner, list | tuple):
        items = [(i, v, f"{prefix}[{i}]") for i, v in enumerate(owner)]
    else:
        items = [
            (k, v, prefix if k in ("data", "value") and prefix else f"{prefix}.{k}" if prefix else k)
            for k, v in vars(owner).items()
        ]
    for key, value, name in items:
        if not (isinstance(value, Mapping | list | tuple) or _has_attributes(value)):
            yield name, owner, key, value
        elif id(value) not in seen:
            yield from slots(value, name, seen | {id(value)})


def _has_attributes(value: Any) -> bool:
    if isinstance(value, np.ndarray | Traced | type | types.ModuleType):
        return False
    return hasattr(value, "__dict__") and not isinstance(value, types.FunctionType | types.MethodType)


def identity(name: str, value: Any) -> Any:
    """Return what slots that hold the same array have in common; a number is its own, whatever equals it."""
    return name if isinstance(value, float | int) else id(value)


def assign(owner: Any, key: Any, value: Any) -> None:
    """Put a value in a slot."""
    (operator.setitem if isinstance(owner, Mapping | list) else setattr)(owner, key, value)
