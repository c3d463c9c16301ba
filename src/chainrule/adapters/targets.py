"""Inputs that by convention have no gradient, although they hold floating-point numbers: targets and masks."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from .containers import is_float_array
from .object_methods import TARGET, role

_NAMES = re.compile(r"target|label|one_?hot|truth|true|mask", re.IGNORECASE)


def is_target(name: str, value: Any) -> bool:
    """Whether a value is a target or a mask, by its name or as it holds zeros and ones alone.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.adapters.targets import is_target
    >>> is_target("q", np.eye(3)[[0, 2, 2, 1]]), is_target("gamma", np.ones(3)), is_target("W", np.eye(3))
    (True, False, False)
    """
    if role(name) == TARGET or _NAMES.search(name):
        return True
    if not is_float_array(value) or value.ndim == 0 or set(np.unique(value)) != {0.0, 1.0}:
        return False
    return not (value.ndim == 2 and value.shape[0] == value.shape[1] and np.array_equal(value, np.eye(len(value))))
