"""The functions of ``scipy.special`` that work on tensors, with SciPy's signatures.

Functions that are ufuncs in SciPy may also be called there: ``scipy.special.gammaln(tensor)``.

Examples
--------
>>> import numpy as np
>>> import chainrule as cr
>>> from chainrule.scipy import special
>>> cr.grad(special.gammaln)(3.0).round(4)
np.float64(0.9228)
>>> special.logsumexp(np.array([1000.0, 1000.0]), b=np.array([3.0, 1.0])).round(4)
np.float64(1001.3863)
"""

from __future__ import annotations

from typing import Any

from ._table import function_of, names_in

__all__ = names_in("scipy.special")


def __getattr__(name: str) -> Any:
    return function_of("scipy.special", name)


def __dir__() -> list[str]:
    return __all__
