"""autograd's ``builtins``: types and tests of types that see the value behind a tensor. Containers are Python's own."""

from __future__ import annotations

import builtins
from typing import Any

from ...core.tensor import Tensor
from .tracer import getval

__all__ = ["dict", "isinstance", "list", "tuple", "type"]


dict, list, tuple = builtins.dict, builtins.list, builtins.tuple


def isinstance(x: Any, kind: Any) -> bool:
    """As Python's, on the value behind a tensor."""
    return builtins.isinstance(_behind(x), kind)


def type(x: Any) -> Any:
    """Return the type of the value behind a tensor."""
    return builtins.type(_behind(x))


def _behind(x: Any) -> Any:
    return x.value if builtins.isinstance(x, Tensor) else getval(x)
