"""The functions of ``scipy.linalg`` that work on tensors, with SciPy's signatures.

Examples
--------
>>> import numpy as np
>>> import chainrule as cr
>>> from chainrule.scipy import linalg
>>> cr.grad(lambda a: np.sum(linalg.expm(a)))(np.zeros((2, 2)))
array([[1., 1.],
       [1., 1.]])
"""

from __future__ import annotations

from typing import Any

from ._table import function_of, names_in

__all__ = names_in("scipy.linalg")


def __getattr__(name: str) -> Any:
    return function_of("scipy.linalg", name)


def __dir__() -> list[str]:
    return __all__
