"""``autograd.scipy.linalg``."""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg

from ..core import defvjp, primitive
from .tables import functions_of as _functions_of

globals().update(_functions_of("scipy.linalg"))


@primitive
def solve_banded(l_and_u: tuple[int, int], ab: Any, b: Any) -> Any:
    """As ``scipy.linalg.solve_banded``; differentiable in the bands and the right-hand side."""
    return scipy.linalg.solve_banded(l_and_u, ab, b)


def _adjoint(ans: Any, l_and_u: tuple[int, int], ab: Any, g: Any) -> tuple[Any, Any, Any, Any]:
    """Return w = A⁻ᵀ g, and which elements (row, column) of A the bands hold, with a mask of those outside."""
    lower, upper = l_and_u
    n = ab.shape[1]
    band, column = np.indices((lower + upper + 1, n))
    row = band - upper + column
    inside = (row >= 0) & (row < n)
    row = np.clip(row, 0, n - 1)
    source = column + band - lower  # the row of the transpose that its band holds: a column of A
    transposed = np.where((source >= 0) & (source < n), ab[::-1][band, np.clip(source, 0, n - 1)], 0.0)
    return solve_banded((upper, lower), transposed, g), row, column, inside


def _vjp_bands(ans: Any, l_and_u: tuple[int, int], ab: Any, b: Any) -> Callable[[Any], Any]:
    def vjp(g: Any) -> Any:
        w, row, column, inside = _adjoint(ans, l_and_u, ab, g)
        product = w[row] * ans[column]
        return -np.where(inside, product if len(np.shape(b)) == 1 else np.sum(product, axis=-1), 0.0)

    return vjp


defvjp(
    solve_banded,
    None,
    _vjp_bands,
    lambda ans, l_and_u, ab, b: lambda g: _adjoint(ans, l_and_u, ab, g)[0],
)
